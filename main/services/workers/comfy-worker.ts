import { EventEmitter } from 'node:events'
import { stat } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import type { FileReference, ObjectInfo, SystemStats } from '../../../core/contract/comfyui.ts'
import { AppError, toFailure } from '../../../core/contract/errors.ts'
import { isJsonObject, parseJson, writeJson } from '../../../core/contract/json.ts'
import type { WorkerHealth, WorkerView } from '../../../core/contract/worker.ts'
import type { ComfyAddress } from '../../../core/engine/comfy/address.ts'
import { ComfyClient, type ModelFile } from '../../../core/engine/comfy/client.ts'
import {
  cancelPrompt,
  followPrompt,
  type JobStep,
  type Pace,
  type Recovered,
  recoverPrompt,
  runPrompt,
} from '../../../core/engine/comfy/run-prompt.ts'
import { hashFile } from '../../../core/engine/hash-file.ts'
import type { Attempt, Worker } from './worker.ts'

export interface ComfyWorkerOptions {
  id: string
  kind: WorkerView['kind']
  address: ComfyAddress
  /** A new UUID: the client id, ours alone. */
  newId: () => string
  /** Epoch milliseconds. */
  now: () => number
  /** The key of the person's account for paid nodes; asked when it is needed, and kept nowhere. */
  accountKey?: () => string | undefined
  enabled?: boolean
  pace?: Partial<Pace>
  /** Between two looks at a server that answers. */
  healthEveryMs?: number
}

const CAPACITY = 2 // one running, one ready: the card never idles, and the order stays ours
const FIRST_RETRY_MS = 1_000
const LONGEST_RETRY_MS = 30_000
const QUEUE_LENGTH_EVERY_MS = 1_000
const DEFINITIONS_LAST_MS = 5 * 60_000 // models come and go while a server runs
const UPLOADS = 'nightshift' // the sub-folder of the server's input folder that is ours

/** One ComfyUI, wherever it is. */
export class ComfyWorker implements Worker {
  readonly id: string
  readonly kind: WorkerView['kind']
  readonly url: string | null
  readonly capacity = CAPACITY
  readonly hasHeader: boolean
  readonly #options: ComfyWorkerOptions
  readonly #client: ComfyClient
  readonly #events = new EventEmitter<{ health: [WorkerHealth] }>()
  #health: WorkerHealth
  #enabled: boolean
  #stopping: AbortController | undefined
  #watching: Promise<void> = Promise.resolve()
  #wake = new AbortController()
  #inFlight = 0
  #definitions: { asked: Promise<ObjectInfo>; at: number } | undefined
  /** By folder; as old as its definitions at most. */
  readonly #modelFiles = new Map<string, { asked: Promise<ModelFile[] | null>; at: number }>()
  /** What this server was given since it started: our name of the file → the value for the prompt. */
  readonly #uploads = new Map<string, FileReference>()
  readonly #hashes = new Map<string, string>()
  #queueLengthAt = 0

  constructor(options: ComfyWorkerOptions) {
    this.#options = options
    this.id = options.id
    this.kind = options.kind
    this.url = options.kind === 'rehearsal' ? null : options.address.url
    this.hasHeader = options.address.header !== null
    this.#enabled = options.enabled ?? true
    this.#health = this.#enabled ? { is: 'connecting' } : { is: 'disabled' }
    this.#client = new ComfyClient(options.address, { clientId: options.newId() })
    this.#events.setMaxListeners(0)
    const { events } = this.#client.socket
    events.on('opened', this.#onServerMayBeNew)
    events.on('lost', this.#lookNow)
    events.on('message', (message) => {
      if (message.is === 'status') this.#onQueueLength(message.queueRemaining)
    })
  }

  get health() {
    return this.#health
  }

  get address() {
    return this.#options.address
  }

  get inFlight() {
    return this.#inFlight
  }

  get enabled() {
    return this.#enabled
  }

  /** Starts connecting and watching; `health` tells when it is ready. */
  start() {
    if (this.#stopping || !this.#enabled) return
    this.#stopping = new AbortController()
    this.#setHealth({ is: 'connecting' })
    this.#client.socket.start()
    this.#watching = this.#watch(this.#stopping.signal)
  }

  /** Disabled: takes nothing new; what it already has goes on. */
  async enable(enabled: boolean) {
    if (enabled === this.#enabled) return
    this.#enabled = enabled
    if (enabled) return this.start()
    await this.#stopWatching()
    this.#setHealth({ is: 'disabled' })
  }

  onHealth(listener: (health: WorkerHealth) => void) {
    this.#events.on('health', listener)
    return () => {
      this.#events.off('health', listener)
    }
  }

  definitions(signal?: AbortSignal): Promise<ObjectInfo> {
    const { now } = this.#options
    if (!this.#definitions || now() - this.#definitions.at > DEFINITIONS_LAST_MS) {
      const asked = this.#client.objectInfo()
      this.#definitions = { asked, at: now() }
      asked.catch(() => {
        if (this.#definitions?.asked === asked) this.#definitions = undefined
      })
    }
    return unlessAborted(this.#definitions.asked, signal)
  }

  /** The model files of one folder there; null where it has no such folder. */
  modelFiles(folder: string, signal?: AbortSignal): Promise<ModelFile[] | null> {
    const { now } = this.#options
    let known = this.#modelFiles.get(folder)
    if (!known || now() - known.at > DEFINITIONS_LAST_MS) {
      const asked = this.#client.modelFiles(folder)
      known = { asked, at: now() }
      this.#modelFiles.set(folder, known)
      asked.catch(() => this.#modelFiles.delete(folder))
    }
    return unlessAborted(known.asked, signal)
  }

  /** The folders it looks for models in. */
  modelFolders(signal?: AbortSignal): Promise<string[]> {
    return this.#client.modelFolders(signal)
  }

  run(attempt: Attempt, signal: AbortSignal): AsyncIterable<JobStep> {
    const accountKey = attempt.paid ? this.#options.accountKey?.() : undefined
    const submission = { ...attempt, ...(accountKey !== undefined && { accountKey }) }
    return this.#counted(runPrompt(this.#client, submission, signal, this.#options.pace))
  }

  follow(promptId: string, signal: AbortSignal): AsyncIterable<JobStep> {
    return this.#counted(followPrompt(this.#client, promptId, signal, this.#options.pace))
  }

  async recover(promptId: string, signal?: AbortSignal): Promise<Recovered> {
    return this.#withoutKey(await recoverPrompt(this.#client, promptId, signal, this.#options.pace?.absenceMs))
  }

  cancel(promptId: string, signal?: AbortSignal): Promise<void> {
    return cancelPrompt(this.#client, promptId, signal)
  }

  async upload(file: { path: string; name: string }, signal?: AbortSignal): Promise<string> {
    // named by its content: the same file is sent once, and never lands on another's name
    const name = `${(await this.#hash(file, signal)).slice(0, 32)}${path.extname(file.name).toLowerCase()}`
    let there = this.#uploads.get(name)
    if (!there || !(await this.#client.hasFile(there, signal))) {
      there = await this.#client.upload({ path: file.path, name, subfolder: UPLOADS }, signal)
      this.#uploads.set(name, there)
    }
    return there.subfolder ? `${there.subfolder}/${there.filename}` : there.filename
  }

  hasInput(name: string, signal?: AbortSignal): Promise<boolean> {
    return this.#client.hasInput(name, signal)
  }

  fetch(file: FileReference, signal?: AbortSignal): AsyncIterable<Uint8Array> {
    return this.#client.view(file, signal)
  }

  async close() {
    await this.#stopWatching()
    await this.#client.close()
    this.#events.removeAllListeners()
  }

  // ---- health ----

  async #stopWatching() {
    this.#stopping?.abort()
    await this.#watching
    this.#stopping = undefined
  }

  async #watch(stopping: AbortSignal) {
    const { now, healthEveryMs = 5_000 } = this.#options
    for (let failures = 0; !stopping.aborted; ) {
      let waitMs = healthEveryMs
      try {
        this.#setHealth(await this.#look(stopping))
        failures = 0
      } catch (cause) {
        if (stopping.aborted) return
        waitMs = Math.min(LONGEST_RETRY_MS, FIRST_RETRY_MS * 2 ** failures++)
        this.#setHealth({ is: 'unreachable', because: toFailure(cause), retryAt: now() + waitMs })
      }
      this.#wake = new AbortController()
      await pause(waitMs, undefined, { signal: AbortSignal.any([stopping, this.#wake.signal]) }).catch(() => {})
    }
  }

  async #look(signal: AbortSignal): Promise<WorkerHealth> {
    const started = performance.now()
    const queueLength = await this.#client.queueLength(signal)
    const latencyMs = Math.round((performance.now() - started) * 10) / 10
    const { stats } = await this.#client.probe(signal)
    return readyHealth(stats, queueLength, latencyMs)
  }

  #lookNow = () => this.#wake.abort()

  /** A connection that comes back may come from a server that was restarted: nothing learned before is certain. */
  #onServerMayBeNew = () => {
    this.#definitions = undefined
    this.#modelFiles.clear()
    this.#uploads.clear()
    if (this.#health.is !== 'ready') this.#lookNow()
  }

  #onQueueLength(queueLength: number) {
    const { now } = this.#options
    if (this.#health.is !== 'ready' || this.#health.queueLength === queueLength) return
    if (now() - this.#queueLengthAt < QUEUE_LENGTH_EVERY_MS) return
    this.#queueLengthAt = now()
    this.#setHealth({ ...this.#health, queueLength })
  }

  #setHealth(health: WorkerHealth) {
    this.#health = health
    this.#events.emit('health', health)
  }

  // ---- helpers ----

  async *#counted(steps: AsyncGenerator<JobStep>): AsyncGenerator<JobStep> {
    this.#inFlight++
    try {
      for await (const step of steps) yield this.#withoutKey(step)
    } catch (cause) {
      if (cause instanceof AppError && cause.code === 'worker.unreachable') this.#lookNow()
      throw cause
    } finally {
      this.#inFlight--
    }
  }

  /** A node that failed may repeat what it was given: the key is in nothing we pass on. */
  #withoutKey<T extends JobStep | Recovered>(step: T): T {
    if (step.is !== 'failed') return step
    const key = this.#options.accountKey?.()
    if (!key) return step
    const hidden = writeJson(step.failure).replaceAll(JSON.stringify(key).slice(1, -1), '•••')
    return { ...step, failure: parseJson(hidden) }
  }

  async #hash({ path: file, name }: { path: string; name: string }, signal?: AbortSignal): Promise<string> {
    const found = await stat(file).catch((cause) => {
      throw new AppError('input.missing', { name }, { cause })
    })
    const key = `${file}\0${found.size}\0${found.mtimeMs}`
    let sha256 = this.#hashes.get(key)
    if (!sha256) {
      sha256 = await hashFile(file, signal)
      this.#hashes.set(key, sha256)
    }
    return sha256
  }
}

/** What the server says may be anything: one that talks nonsense must not spoil the list of all workers. */
export function readyHealth(stats: SystemStats, queueLength: number, latencyMs: number): WorkerHealth {
  const text = (value: unknown) => (typeof value === 'string' ? value : '')
  const bytes = (value: unknown) => (Number.isFinite(Number(value)) ? Number(value) : 0)
  return {
    is: 'ready',
    comfyuiVersion: text(stats.system.comfyui_version) || null,
    devices: stats.devices.filter(isJsonObject).map(({ name, type, vram_total, vram_free }) => ({
      name: text(name),
      type: text(type),
      vramTotalBytes: bytes(vram_total),
      vramFreeBytes: bytes(vram_free),
    })),
    queueLength,
    latencyMs,
  }
}

/** Stops waiting when aborted; what is waited for goes on for others. */
function unlessAborted<T>(wanted: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return wanted
  signal.throwIfAborted()
  const { promise, reject } = Promise.withResolvers<never>()
  const onAbort = () => reject(signal.reason)
  signal.addEventListener('abort', onAbort, { once: true })
  return Promise.race([wanted, promise]).finally(() => signal.removeEventListener('abort', onAbort))
}
