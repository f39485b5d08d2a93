import { EventEmitter } from 'node:events'
import { stat } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import type { Dispatcher } from 'undici'
import { isOver } from '../../../core/contract/agent.ts'
import type { FileReference, ObjectInfo } from '../../../core/contract/comfyui.ts'
import type { EndpointPace, EndpointSettings, EndpointState } from '../../../core/contract/endpoint.ts'
import { AppError, type Failure, FailureError, toFailure } from '../../../core/contract/errors.ts'
import type { WorkerHealth } from '../../../core/contract/worker.ts'
import {
  type AgentAddress,
  AgentClient,
  codeOf,
  outputsOf,
  type TaskReport,
} from '../../../core/engine/agent-client.ts'
import { ComfyClient } from '../../../core/engine/comfy/client.ts'
import { HOPELESS } from '../../../core/engine/comfy/run-prompt.ts'
import { hashFile } from '../../../core/engine/hash-file.ts'
import type { Attempt, Ending, JobStep, Recovered, Worker } from './worker.ts'

export interface EndpointWorkerOptions {
  readonly id: string
  readonly address: AgentAddress
  readonly settings: EndpointSettings
  readonly pace: EndpointPace
  /** The way to it; without one, directly. */
  readonly dispatcher?: Dispatcher
  /** Its tasks run on this one, be it live or not. */
  readonly release?: number | undefined
  readonly newId: () => string
  /** Epoch ms. */
  readonly now: () => number
  /** What it has learned is to be kept. */
  readonly onLearned?: (pace: EndpointPace, usedAt: number) => void
  readonly onEnabled?: (enabled: boolean) => void
  /** Something happened that a person may want to read. */
  readonly onNews?: (text: string) => void
  /** Between two looks at one that answers. */
  readonly healthEveryMs?: number
  readonly firstRetryMs?: number
  /** How long it may stay silent before a task is let go of. */
  readonly patienceMs?: number
  /** Between two looks that both found nothing, before a task counts as lost. */
  readonly absenceMs?: number
}

const LONGEST_RETRY_MS = 60_000
const STATUS_WAIT_SECONDS = 20
const LOOK_EVERY_MS = 250 // where an agent answers at once although it was asked to wait
const BUSY_PATIENCE_MS = 120_000
const DEFINITIONS_LAST_MS = 5 * 60_000
/** A task that was alone and still took so long to begin woke the endpoint up. */
const COLD_FROM_SECONDS = 5
const FAILURES_BEFORE_REST = 3
const FIRST_REST_MS = 15_000
const LONGEST_REST_MS = 600_000
const STORE = 'store:'

/** An agent, as a worker: tasks under our prompt ids, several at once, each found again by its id on any of its instances. */
export class EndpointWorker implements Worker {
  readonly id: string
  readonly kind = 'endpoint'
  readonly url: string
  readonly address = null
  readonly hasHeader: boolean
  readonly client: AgentClient
  readonly #options: EndpointWorkerOptions
  readonly #comfy: ComfyClient
  readonly #events = new EventEmitter<{ health: [WorkerHealth] }>()
  #settings: EndpointSettings
  #pace: EndpointPace
  #state: EndpointState
  #facts: Pick<Extract<WorkerHealth, { is: 'ready' }>, 'comfyuiVersion' | 'devices' | 'latencyMs'> | null = null
  #stopping: AbortController | undefined
  #watching: Promise<void> = Promise.resolve()
  #wake = new AbortController()
  #inFlight = 0
  #closed = false
  /** Tasks that failed in a row for no fault of theirs. */
  #failures = 0
  #restUntil = 0
  #rested: Failure | null = null
  #definitions: { asked: Promise<ObjectInfo>; at: number } | undefined
  /** Under way here; aborted: it is to end. */
  readonly #giving = new Map<string, AbortController>()
  readonly #there = new Set<string>()
  readonly #hashes = new Map<string, string>()

  constructor(options: EndpointWorkerOptions) {
    const { id, address, settings, pace, dispatcher } = options
    this.#options = options
    this.id = id
    this.url = address.url
    this.hasHeader = address.key !== null
    this.#settings = settings
    this.#pace = pace
    this.#state = settings.enabled ? { is: 'connecting' } : { is: 'disabled' }
    this.client = new AgentClient(address, dispatcher)
    const header = address.key === null ? null : { name: 'Authorization', value: `Bearer ${address.key}` }
    this.#comfy = new ComfyClient({ url: address.url, header }, { clientId: options.newId(), dispatcher })
    this.#events.setMaxListeners(0)
  }

  /** One at a time while it is not known whether it is well again. */
  get capacity() {
    return this.#failures > 0 ? 1 : this.#settings.capacity
  }
  get checkpoints() {
    return this.#settings.checkpoints
  }
  get settings() {
    return this.#settings
  }
  get enabled() {
    return this.#settings.enabled
  }
  get inFlight() {
    return this.#inFlight
  }
  get state() {
    return this.#state
  }
  get pace() {
    return this.#pace
  }
  get facts() {
    return this.#facts
  }

  get health(): WorkerHealth {
    const state = this.#state
    switch (state.is) {
      case 'ready':
        return { is: 'ready', comfyuiVersion: null, devices: [], latencyMs: 0, ...this.#facts, queueLength: 0 }
      case 'starting':
        return { is: 'unreachable', because: notReady(state.phase), retryAt: this.#options.now() }
      case 'resting':
        return { is: 'unreachable', because: state.because, retryAt: state.retryAt }
      default:
        return state
    }
  }

  start() {
    if (this.#stopping || !this.enabled) return
    this.#stopping = new AbortController()
    this.#setState({ is: 'connecting' })
    this.#watching = this.#watch(this.#stopping.signal)
  }

  change(settings: EndpointSettings) {
    this.#settings = settings
    this.#events.emit('health', this.health)
  }

  /** Disabled: takes nothing new; what it already has goes on. */
  async enable(enabled: boolean) {
    if (enabled === this.enabled) return
    this.#settings = { ...this.#settings, enabled }
    this.#options.onEnabled?.(enabled)
    if (enabled) return this.start()
    await this.#stopWatching()
    this.#setState({ is: 'disabled' })
  }

  onHealth(listener: (health: WorkerHealth) => void) {
    this.#events.on('health', listener)
    return () => {
      this.#events.off('health', listener)
    }
  }

  /** Asks now how it is, instead of at the next turn; a rest is over. */
  lookNow() {
    this.#restUntil = 0
    this.#wake.abort()
  }

  definitions(_signal?: AbortSignal): Promise<ObjectInfo> {
    const { now } = this.#options
    if (!this.#definitions || now() - this.#definitions.at > DEFINITIONS_LAST_MS) {
      const asked = this.#comfy.objectInfo()
      this.#definitions = { asked, at: now() }
      asked.catch(() => {
        if (this.#definitions?.asked === asked) this.#definitions = undefined
      })
    }
    return this.#definitions.asked
  }

  modelFiles(folder: string, signal?: AbortSignal) {
    return this.client.modelFiles(folder, signal)
  }
  modelFolders(signal?: AbortSignal) {
    return this.client.modelFolders(signal)
  }

  // ---- tasks ----

  async *run(attempt: Attempt, signal: AbortSignal): AsyncGenerator<JobStep> {
    const { promptId, prompt, pngInfo } = attempt
    const { release } = this.#options
    const alone = this.#inFlight === 0
    yield* this.#counted(promptId, async function* (this: EndpointWorker): AsyncGenerator<JobStep> {
      const asked = performance.now()
      try {
        const given = await this.#whenItMay(
          promptId,
          () => this.client.run(promptId, prompt, { pngInfo, release, signal }),
          signal,
        )
        if (!given) return yield { is: 'interrupted' }
      } catch (cause) {
        signal.throwIfAborted()
        if (!(cause instanceof FailureError)) throw this.#lostTouch(cause)
        yield { is: 'failed', failure: cause.failure, retryable: RETRYABLE.has(cause.failure.code) }
        return
      }
      if (this.#giving.get(promptId)?.signal.aborted) await this.cancel(promptId, signal) // asked while the agent did not know it yet
      yield { is: 'submitted' }
      yield* this.#listen(promptId, Object.keys(prompt).length, alone ? asked : null, signal)
    })
  }

  async *follow(promptId: string, signal: AbortSignal): AsyncGenerator<JobStep> {
    yield* this.#counted(promptId, async function* (this: EndpointWorker): AsyncGenerator<JobStep> {
      yield* this.#listen(promptId, null, null, signal)
    })
  }

  async recover(promptId: string, signal?: AbortSignal): Promise<Recovered> {
    const report = (await this.#status(promptId, 0, signal)) ?? (await this.#statusLater(promptId, signal))
    if (!report) return { is: 'lost' }
    if (report.state === 'queued' || report.state === 'running') return { is: report.state }
    return endingOf(report)
  }

  async cancel(promptId: string, signal?: AbortSignal): Promise<void> {
    this.#giving.get(promptId)?.abort()
    try {
      await this.client.cancel(promptId, signal)
      for (;;) {
        const asked = performance.now()
        const report = await this.client.status(promptId, { waitSeconds: STATUS_WAIT_SECONDS, signal })
        if (!report || isOver(report.state)) return
        await this.#atLeast(asked, signal)
      }
    } catch (cause) {
      signal?.throwIfAborted()
      throw this.#lostTouch(cause)
    }
  }

  async upload(file: { path: string; name: string }, signal?: AbortSignal): Promise<string> {
    const found = await stat(file.path).catch((cause) => {
      throw new AppError('input.missing', { name: file.name }, { cause })
    })
    const key = `${file.path}\0${found.size}\0${found.mtimeMs}`
    const sha256 = this.#hashes.get(key) ?? (await hashFile(file.path, signal))
    this.#hashes.set(key, sha256)
    const [, ext = 'bin'] = /\.([a-z\d]{1,8})$/.exec(path.extname(file.name).toLowerCase()) ?? []
    const name = `${sha256}.${ext}`
    try {
      if (!this.#there.has(name) && !(await this.client.hasInput(name, signal)))
        await this.client.putInput(name, { path: file.path, sizeBytes: found.size }, signal)
    } catch (cause) {
      signal?.throwIfAborted()
      throw this.#lostTouch(cause)
    }
    this.#there.add(name)
    return STORE + name
  }

  async hasInput(name: string, signal?: AbortSignal): Promise<boolean> {
    const plain = name.replace(/ \[input\]$/, '')
    if (!plain.startsWith(STORE)) return this.#comfy.hasInput(name, signal)
    return this.client.hasInput(plain.slice(STORE.length), signal)
  }

  fetch(file: FileReference, signal?: AbortSignal): AsyncIterable<Uint8Array> {
    return file.url === undefined ? this.#comfy.view(file, signal) : this.client.file(file, signal)
  }

  async close() {
    this.#closed = true
    await this.#stopWatching()
    await Promise.all([this.client.close(), this.#comfy.close()])
    this.#events.removeAllListeners()
  }

  // ---- following a task ----

  /** `nodes`: how many the prompt has, where that is known; `alone`: when it was given, with nothing else under way. */
  async *#listen(id: string, nodes: number | null, alone: number | null, signal: AbortSignal): AsyncGenerator<JobStep> {
    let begun = false
    let told = -1
    for (;;) {
      const asked = performance.now()
      const report = (await this.#status(id, STATUS_WAIT_SECONDS, signal)) ?? (await this.#statusLater(id, signal))
      if (!report) return yield { is: 'lost' }
      const { state } = report
      if (!begun && (state === 'running' || state === 'succeeded')) {
        begun = true
        yield { is: 'started' }
        if (alone !== null && state === 'running') this.#learnCold((asked - alone) / 1000, COLD_FROM_SECONDS)
      }
      const step = begun ? progressOf(report, nodes) : null
      if (step && step.overall > told) {
        told = step.overall
        yield step
      }
      if (isOver(state)) {
        const ending = endingOf(report)
        this.#learn(ending)
        return yield ending
      }
      await this.#atLeast(asked, signal)
    }
  }

  /** As long as it is silent no longer than our patience lasts. @throws AppError 'worker.unreachable' */
  async #status(id: string, waitSeconds: number, signal?: AbortSignal): Promise<TaskReport | null> {
    const { patienceMs = 10_000 } = this.#options
    const until = performance.now() + patienceMs
    for (let waitMs = 100; ; waitMs = Math.min(2_000, waitMs * 2)) {
      try {
        return await this.client.status(id, { waitSeconds, signal })
      } catch (cause) {
        signal?.throwIfAborted()
        const enough = this.#closed || codeOf(cause) === 'endpoint.key-refused' || performance.now() > until
        if (enough) throw this.#lostTouch(cause)
        await pause(waitMs, undefined, { signal })
      }
    }
  }
  async #statusLater(id: string, signal?: AbortSignal): Promise<TaskReport | null> {
    await pause(this.#options.absenceMs ?? 1_000, undefined, { signal })
    return this.#status(id, 0, signal)
  }

  /** Where it has no room, or not yet, it is asked again when it says, for a while. False: it was to end before. */
  async #whenItMay(promptId: string, give: () => Promise<void>, signal: AbortSignal): Promise<boolean> {
    const until = performance.now() + BUSY_PATIENCE_MS
    const ended = this.#giving.get(promptId)!.signal
    while (!ended.aborted) {
      try {
        await give()
        return true
      } catch (cause) {
        signal.throwIfAborted()
        if (!LATER.has(codeOf(cause))) throw cause
        if (performance.now() > until) throw this.#lostTouch(cause)
        const seconds = cause instanceof FailureError ? Number(cause.failure.facts.retryAfterSeconds) : Number.NaN
        const either = AbortSignal.any([signal, ended])
        await pause(Math.min(60, seconds > 0 ? seconds : 2) * 1000, undefined, { signal: either }).catch(() => {})
        signal.throwIfAborted()
      }
    }
    return false
  }

  async #atLeast(since: number, signal?: AbortSignal) {
    const early = LOOK_EVERY_MS - (performance.now() - since)
    if (early > 0) await pause(early, undefined, { signal })
  }

  /** Whatever keeps us from a task that may go on there. */
  #lostTouch(cause: unknown): AppError {
    if (cause instanceof AppError && cause.code === 'worker.unreachable') return cause
    const reason = toFailure(cause).message
    return new AppError('worker.unreachable', { url: this.url, reason }, { cause })
  }

  async *#counted(promptId: string, steps: (this: EndpointWorker) => AsyncGenerator<JobStep>): AsyncGenerator<JobStep> {
    this.#inFlight++
    this.#giving.set(promptId, new AbortController())
    try {
      for await (const step of steps.call(this)) {
        if (step.is === 'failed') this.#tell(`${promptId} failed: ${step.failure.message}`)
        yield step
      }
    } catch (cause) {
      if (codeOf(cause) === 'worker.unreachable') {
        this.#tell(`${promptId}: ${toFailure(cause).message}`)
        this.#stumble(toFailure(cause))
      }
      throw cause
    } finally {
      this.#inFlight--
      this.#giving.delete(promptId)
    }
  }

  // ---- what is learned ----

  #learn(ending: Ending) {
    if (ending.is === 'saved') {
      this.#failures = 0
      const { warmRuns, warmSeconds } = this.#pace
      this.#keep({ warmSeconds: average(warmSeconds, warmRuns, ending.seconds), warmRuns: warmRuns + 1 })
    } else if (ending.is === 'failed' && ITS_OWN_FAULT.has(ending.failure.code)) this.#stumble(ending.failure)
  }

  #learnCold(seconds: number, from = 0) {
    if (seconds < from) return
    const { coldRuns, coldSeconds } = this.#pace
    this.#keep({ coldSeconds: average(coldSeconds, coldRuns, seconds), coldRuns: coldRuns + 1 })
  }

  #keep(pace: Partial<EndpointPace>) {
    this.#pace = { ...this.#pace, ...pace }
    this.#options.onLearned?.(this.#pace, this.#options.now())
  }

  /** So many in a row, and it is left alone for a while, longer each time. */
  #stumble(because: Failure) {
    this.#failures++
    const over = this.#failures - FAILURES_BEFORE_REST
    if (over >= 0) {
      this.#restUntil = this.#options.now() + Math.min(LONGEST_REST_MS, FIRST_REST_MS * 2 ** over)
      this.#rested = because
      this.#tell(`left alone for a while after ${this.#failures} failures in a row: ${because.message}`)
    }
    this.#wake.abort()
  }

  // ---- health ----

  async #stopWatching() {
    this.#stopping?.abort()
    await this.#watching
    this.#stopping = undefined
  }

  async #watch(stopping: AbortSignal) {
    const { now, healthEveryMs = 10_000, firstRetryMs = 1_000 } = this.#options
    let coldSince: number | null = null
    for (let failures = 0; !stopping.aborted; ) {
      let waitMs = healthEveryMs
      this.#wake = new AbortController()
      try {
        const phase = await this.#look(stopping)
        failures = 0
        if (phase !== null) {
          coldSince ??= performance.now()
          waitMs = Math.min(waitMs, 1_000)
          const since = this.#state.is === 'starting' ? this.#state.since : now()
          this.#setState({ is: 'starting', phase, since })
        } else {
          if (coldSince !== null) this.#learnCold((performance.now() - coldSince) / 1000)
          coldSince = null
          const restMs = this.#restUntil - now()
          if (restMs > 0 && this.#rested) {
            waitMs = restMs
            this.#setState({ is: 'resting', because: this.#rested, retryAt: this.#restUntil, failures: this.#failures })
          } else this.#setState({ is: 'ready' })
        }
      } catch (cause) {
        if (stopping.aborted) return
        coldSince = null
        waitMs = Math.min(LONGEST_RETRY_MS, firstRetryMs * 2 ** failures++)
        this.#setState({ is: 'unreachable', because: toFailure(cause), retryAt: now() + waitMs })
      }
      await pause(waitMs, undefined, { signal: AbortSignal.any([stopping, this.#wake.signal]) }).catch(() => {})
    }
  }

  /** null: it is ready, and takes our key. */
  async #look(signal: AbortSignal): Promise<string | null> {
    const started = performance.now()
    const phase = await this.client.phase(signal)
    const latencyMs = Math.round((performance.now() - started) * 10) / 10
    if (phase === null) this.#facts = { ...(await this.client.stats(signal)), latencyMs }
    return phase
  }

  #setState(state: EndpointState) {
    const before = this.#state
    this.#state = state
    if (state.is !== before.is || (state.is === 'starting' && before.is === 'starting' && state.phase !== before.phase))
      this.#tellOf(state)
    if (state.is === 'ready' && before.is !== 'ready') {
      // another release may serve now, on another store
      this.#definitions = undefined
      this.#there.clear()
    }
    this.#events.emit('health', this.health)
  }

  #tellOf(state: EndpointState) {
    if (state.is === 'unreachable') this.#tell(state.because.message)
    else if (state.is === 'starting') this.#tell(`not ready: ${state.phase}`)
    else if (state.is === 'ready') this.#tell('ready')
    else if (state.is === 'disabled') this.#tell('disabled')
  }

  #tell(text: string) {
    this.#options.onNews?.(text)
  }
}

/** It would take the same task another time. */
const LATER = new Set(['agent.busy', 'agent.too-many', 'agent.stopping', 'agent.not-ready'])
/** Not the task's doing: the place is unwell. */
const ITS_OWN_FAULT = new Set(['worker.unreachable', 'prompt.forgotten', 'agent.not-ready', 'app.internal'])
const RETRYABLE = new Set([...ITS_OWN_FAULT, ...LATER, 'prompt.out-of-memory', 'output.missing', 'output.damaged'])

const notReady = (phase: string) => toFailure(new AppError('agent.not-ready', { reason: phase }))

/** The first few count alike; then the newest count more. */
const average = (known: number | null, runs: number, seconds: number) =>
  known === null ? seconds : known + (seconds - known) / Math.min(runs + 1, 8)

function endingOf(report: TaskReport): Ending {
  const { state, seconds } = report
  if (state === 'succeeded') {
    const outputs = outputsOf(report)
    if (outputs.length > 0) return { is: 'saved', outputs, seconds }
    return { is: 'failed', failure: toFailure(new AppError('prompt.no-files')), retryable: false }
  }
  if (state === 'cancelled') return { is: 'interrupted' }
  const failure = report.failure ?? toFailure(new AppError('prompt.forgotten'))
  const mayHelp = failure.code === 'prompt.failed' && !HOPELESS.test(String(failure.facts.exceptionType ?? ''))
  return { is: 'failed', failure, retryable: mayHelp || RETRYABLE.has(failure.code) }
}

/** Of a map: how much of it is done, and the node that is at work. */
function progressOf({ nodes, state }: TaskReport, count: number | null) {
  const entries = Object.entries(nodes)
  const of = Math.max(1, count ?? entries.length)
  const done = entries.reduce((sum, [, { value, max }]) => sum + (max > 0 ? value / max : 0), 0)
  const [node, { value, max }] = entries
    .filter(([, each]) => each.max > 0 && each.start > 0)
    .toSorted(([, a], [, b]) => b.last_updated - a.last_updated || a.value / a.max - b.value / b.max)[0] ?? [
    null,
    { value: 0, max: 1 },
  ]
  const overall = state === 'succeeded' ? 1 : Math.min(1, done / of)
  return { is: 'progress' as const, node, value, max, overall }
}
