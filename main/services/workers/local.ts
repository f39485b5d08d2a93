import { EventEmitter } from 'node:events'
import { rm } from 'node:fs/promises'
import path from 'node:path'
import type { FileReference } from '../../../core/contract/comfyui.ts'
import type { EngineState } from '../../../core/contract/engine.ts'
import { AppError, toFailure } from '../../../core/contract/errors.ts'
import type { WorkerHealth, WorkerView } from '../../../core/contract/worker.ts'
import { type ComfyAddress, readAddress } from '../../../core/engine/comfy/address.ts'
import { ComfyWorker, type ComfyWorkerOptions } from './comfy-worker.ts'
import type { Attempt, JobStep, Worker } from './worker.ts'

export type LocalWorkerOptions = Omit<ComfyWorkerOptions, 'kind' | 'address'> & {
  kind?: WorkerView['kind']
  /** Sent with every request. */
  header?: ComfyAddress['header']
  startWithinMs?: number
  /** Its output folder. */
  outputDir?: () => string
  /** That folder is ours: what was kept elsewhere need not stay there. */
  discards?: boolean
}

/** One process of ours that answers. Another start is another session: it remembers nothing of the one before. */
type Session = { worker: ComfyWorker; gone: AbortController }

const START_WITHIN_MS = 30_000

/**
 * A ComfyUI that Nightshift itself runs. It is spoken to only while its supervisor says it answers, so that whoever takes
 * its port meanwhile is given nothing; what was under way when it died is looked up when it is back.
 */
export class LocalWorker implements Worker {
  readonly id: string
  readonly kind: WorkerView['kind']
  readonly capacity = 2
  readonly hasHeader: boolean
  readonly #options: LocalWorkerOptions
  readonly #events = new EventEmitter<{ health: [WorkerHealth] }>()
  #session: Session | null = null
  #closing = new Set<Promise<void>>()
  #health: WorkerHealth
  #state: EngineState = { is: 'stopped' }
  #enabled: boolean

  constructor(options: LocalWorkerOptions) {
    this.#options = options
    this.id = options.id
    this.kind = options.kind ?? 'local'
    this.hasHeader = (options.header ?? null) !== null
    this.#enabled = options.enabled ?? true
    this.#health = this.#healthWithout()
    this.#events.setMaxListeners(0)
  }

  get url(): string | null {
    return this.#session?.worker.url ?? null
  }
  get address() {
    return this.#session?.worker.address ?? null
  }
  get health() {
    return this.#health
  }
  get inFlight() {
    return this.#session?.worker.inFlight ?? 0
  }
  get enabled() {
    return this.#enabled
  }

  start() {}

  /** What its supervisor says of it. */
  heed(state: EngineState) {
    this.#state = state
    const before = this.#session
    if (state.is === 'ready' && before?.worker.url === readAddress(state.url).url && !before.gone.signal.aborted) return
    this.#session = null
    if (before) this.#end(before)
    if (state.is === 'ready') this.#session = this.#begin(state.url)
    this.#setHealth(this.#session?.worker.health ?? this.#healthWithout())
  }

  async enable(enabled: boolean) {
    this.#enabled = enabled
    await this.#session?.worker.enable(enabled)
    if (!this.#session) this.#setHealth(this.#healthWithout())
  }

  onHealth(listener: (health: WorkerHealth) => void) {
    this.#events.on('health', listener)
    return () => {
      this.#events.off('health', listener)
    }
  }

  /** While it starts, this waits for it. */
  async definitions(signal?: AbortSignal) {
    if (!this.#session && this.#state.is === 'starting') await this.#answers(signal)
    return this.#within((worker, going) => worker.definitions(going), signal)
  }
  modelFiles(folder: string, signal?: AbortSignal) {
    return this.#within((worker, going) => worker.modelFiles(folder, going), signal)
  }
  modelFolders(signal?: AbortSignal) {
    return this.#within((worker, going) => worker.modelFolders(going), signal)
  }
  recover(promptId: string, signal?: AbortSignal) {
    return this.#within((worker, going) => worker.recover(promptId, going), signal)
  }
  cancel(promptId: string, signal?: AbortSignal) {
    return this.#within((worker, going) => worker.cancel(promptId, going), signal)
  }
  upload(file: { path: string; name: string }, signal?: AbortSignal) {
    return this.#within((worker, going) => worker.upload(file, going), signal)
  }
  hasInput(name: string, signal?: AbortSignal) {
    return this.#within((worker, going) => worker.hasInput(name, going), signal)
  }
  run(attempt: Attempt, signal: AbortSignal): AsyncIterable<JobStep> {
    return this.#through((worker, going) => worker.run(attempt, going), signal)
  }
  follow(promptId: string, signal: AbortSignal): AsyncIterable<JobStep> {
    return this.#through((worker, going) => worker.follow(promptId, going), signal)
  }
  fetch(file: FileReference, signal?: AbortSignal): AsyncIterable<Uint8Array> {
    return this.#through((worker, going) => worker.fetch(file, going), signal)
  }

  pathOf({ filename, subfolder, type }: FileReference): string | null {
    const dir = this.#options.outputDir?.()
    if (dir === undefined || type !== 'output') return null
    const file = path.resolve(dir, subfolder, filename)
    return file.startsWith(path.resolve(dir) + path.sep) ? file : null
  }

  /** A file of ours that was kept; one whose name is not the attempt's alone may be somebody's. */
  async discard(promptId: string, file: FileReference) {
    const there = this.#options.discards && file.filename.startsWith(promptId) ? this.pathOf(file) : null
    if (there !== null) await rm(there, { force: true }).catch(() => {}) // looked for again at its next start
  }

  async close() {
    const session = this.#session
    this.#session = null
    if (session) this.#end(session)
    await Promise.all(this.#closing)
    this.#events.removeAllListeners()
  }

  // ---- sessions ----

  #begin(url: string): Session {
    const worker = new ComfyWorker({
      ...this.#options,
      kind: this.kind,
      address: { ...readAddress(url), header: this.#options.header ?? null },
      enabled: this.#enabled,
    })
    const session = { worker, gone: new AbortController() }
    worker.onHealth((health) => {
      if (this.#session === session) this.#setHealth(health)
    })
    worker.start()
    return session
  }

  #end({ worker, gone }: Session) {
    gone.abort()
    const closing = worker.close().finally(() => this.#closing.delete(closing))
    this.#closing.add(closing)
  }

  async #within<T>(ask: (worker: ComfyWorker, going: AbortSignal) => Promise<T>, signal?: AbortSignal): Promise<T> {
    const session = this.#session
    if (!session) throw this.#unreachable()
    try {
      return await ask(session.worker, bothOf(session, signal))
    } catch (cause) {
      throw this.#explain(session, signal, cause)
    }
  }

  async *#through<T>(
    ask: (worker: ComfyWorker, going: AbortSignal) => AsyncIterable<T>,
    signal?: AbortSignal,
  ): AsyncGenerator<T> {
    const session = this.#session
    if (!session) throw this.#unreachable()
    try {
      yield* ask(session.worker, bothOf(session, signal))
    } catch (cause) {
      throw this.#explain(session, signal, cause)
    }
  }

  /** The process went away in the middle: what was asked for is looked up when it is back. */
  #explain({ gone }: Session, signal: AbortSignal | undefined, cause: unknown) {
    return gone.signal.aborted && !signal?.aborted ? this.#unreachable(cause) : cause
  }

  #unreachable(cause?: unknown) {
    const state = this.#state
    const reason = state.is === 'failed' || state.is === 'pausing' ? state.because.message : `it is ${state.is}`
    return new AppError('worker.unreachable', { url: this.id, reason }, { cause })
  }

  async #answers(signal?: AbortSignal) {
    const within = AbortSignal.timeout(this.#options.startWithinMs ?? START_WITHIN_MS)
    const waiting = signal ? AbortSignal.any([signal, within]) : within
    const { promise, resolve } = Promise.withResolvers<void>()
    const look = () => {
      if (this.#session || this.#state.is !== 'starting' || waiting.aborted) resolve()
    }
    const off = this.onHealth(look)
    waiting.addEventListener('abort', look)
    look()
    await promise
    off()
    waiting.removeEventListener('abort', look)
  }

  #healthWithout(): WorkerHealth {
    if (!this.#enabled) return { is: 'disabled' }
    const state = this.#state
    const now = this.#options.now()
    switch (state.is) {
      case 'starting':
      case 'ready':
        return { is: 'connecting' }
      case 'pausing':
        return { is: 'unreachable', because: state.because, retryAt: Math.round(state.restartAt) }
      case 'failed':
        return { is: 'unreachable', because: state.because, retryAt: now }
      case 'stopped': {
        const because = toFailure(new AppError('engine.not-running', { name: this.id }))
        return { is: 'unreachable', because, retryAt: now }
      }
    }
  }

  #setHealth(health: WorkerHealth) {
    this.#health = health
    this.#events.emit('health', health)
  }
}

const bothOf = ({ gone }: Session, signal?: AbortSignal) =>
  signal ? AbortSignal.any([gone.signal, signal]) : gone.signal
