import { createHash } from 'node:crypto'
import { EventEmitter, once } from 'node:events'
import type { Artifact } from '../../core/contract/artifact.ts'
import type { NodeId, Prompt } from '../../core/contract/comfyui.ts'
import { AppError, type Failure, FailureError, toFailure } from '../../core/contract/errors.ts'
import type { JobProgress, QueueState } from '../../core/contract/job.ts'
import { type Json, writeJson } from '../../core/contract/json.ts'
import { chooseWorker, mayTake } from '../../core/domain/queue/choose-worker.ts'
import { reconcile } from '../../core/domain/queue/reconcile.ts'
import type { Clock } from './clock.ts'
import type { OpenAttempt, Queue, QueuedJob } from './queue.ts'
import type { Service } from './service.ts'
import type { Attempt, Ending, JobStep, Recovered, Worker } from './workers/worker.ts'

/** What the sidecar of an artifact needs beyond the job: the same for the same job, whenever it is prepared. */
export interface AttemptRecord {
  readonly prompt: Prompt
  /** The editor's graph with the values used. */
  readonly workflow: Json | null
  readonly seeds: Record<string, Json>
  readonly chosenText: Record<string, string>
}
/** Makes a job's prompt for one worker, its input files uploaded there. `at`: the moment `%date%` means. */
export type Prepare = (
  job: QueuedJob,
  worker: Worker,
  attempt: { promptId: string; at: number },
  signal: AbortSignal,
) => Promise<{ attempt: Attempt; record: AttemptRecord }>
/** What one attempt gave, to be kept as artifacts. */
export interface Made {
  readonly job: QueuedJob
  readonly attempt: { readonly promptId: string; readonly startedAt: number }
  readonly record: AttemptRecord
  readonly worker: Worker
  readonly ending: Extract<Ending, { is: 'saved' }>
  readonly signal: AbortSignal
}
interface Deps {
  queue: Queue
  fleet: {
    list(): readonly Worker[]
    get(id: string): Worker | undefined
    readonly events: EventEmitter<{ changed: [workerId: string] }>
  }
  prepare: Prepare
  artifacts: {
    /** Keeping the same attempt twice gives the same artifacts. */
    keep(made: Made): Promise<Artifact[]>
    /** All that an attempt gave, if it is kept already; null: the worker must be asked. */
    finished(jobId: string, promptId: string): Artifact[] | null
  }
  clock: Clock
  newId: () => string
  point?: (name: string) => void
  log?: (event: string, facts: Record<string, Json>) => void
}

/** One job on its way: from its claim until its artifacts are kept. */
interface Flight {
  readonly job: QueuedJob
  readonly worker: Worker
  readonly promptId: string
  readonly startedAt: number
  readonly controller: AbortController
  /** Ends the fetching of its outputs. */
  readonly letGo: AbortController
  letGoLater: (() => void) | null
  phase: 'preparing' | 'on-server' | 'keeping'
  record: AttemptRecord | null
  /** What `cancel` learned before the worker told. */
  ending: Ending | null
  cancelling: boolean
  /** The attempt has ended here; what the worker tells of it no longer matters. */
  over: boolean
  progress: JobProgress
  preview: Preview | null
  began: boolean
  /** When its worker last told anything of it. */
  heardAt: number
  toldAt: number
  tellLater: (() => void) | null
}
/** An open attempt nobody is watching. */
interface Unknown {
  readonly workerId: string
  readonly record: AttemptRecord | null
  readonly tries: number
  readonly nextAt: number
}
export interface Preview {
  readonly mediaType: string
  readonly bytes: Uint8Array
  readonly n: number
}

const TELL_EVERY_MS = 100
const LOOK_AGAIN_MS = 1_000
const LOOK_AGAIN_MOST_MS = 30_000
const WAKE_AT_LEAST_EVERY_MS = 60_000 // the wall clock may jump: sleep, daylight saving, a person
const KEEPING_AT_ONCE = 8
const LET_GO_AFTER_MS = 5_000 // a picture that is nearly here is kept, although its job was cancelled
const PACE_OF = 20 // prompts

/** Gives waiting jobs to free workers, and their outputs to the gallery. */
export class Dispatcher implements Service {
  readonly events = new EventEmitter<{
    /** At most ten times a second for each job, and the last one always. */
    progress: [JobProgress]
    kept: [QueuedJob, Artifact[]]
  }>()
  readonly #deps: Deps
  readonly #flights = new Map<string, Flight>()
  readonly #unknown = new Map<string, Unknown>()
  readonly #runs = new Set<Promise<void>>()
  readonly #pace = new Map<string, number[]>()
  readonly #cancellingLeftovers = new Set<string>()
  #stopping: AbortController | null = null
  #tending = false
  #tendAgain = false
  #wake: (() => void) | null = null

  constructor(deps: Deps) {
    this.#deps = deps
  }

  async start() {
    const { queue, fleet, artifacts } = this.#deps
    if (this.#stopping) return
    this.#stopping = new AbortController()
    queue.releaseStrays()
    for (const { promptId, workerId, job } of queue.openAttempts()) {
      const kept = artifacts.finished(job.id, promptId) // we died between keeping them and saying so
      if (kept) queue.finish(promptId, { seconds: null, artifacts: kept.length })
      else this.#watchLater(promptId, workerId, null, -1)
    }
    for (const { workerId, seconds } of queue.recentSeconds().toReversed()) this.#pacedBy(workerId, seconds)
    queue.estimate = (jobs, workers) => this.#estimate([{ jobs, workers }])
    queue.events.on('changed', this.#tend)
    fleet.events.on('changed', this.#tend)
    this.#tend()
  }

  /** Lets go of what runs: the prompts run on, and the next start finds them. */
  async stop() {
    const stopping = this.#stopping
    if (!stopping) return
    this.#deps.queue.events.off('changed', this.#tend)
    this.#deps.fleet.events.off('changed', this.#tend)
    this.#wake?.()
    this.#wake = null
    stopping.abort()
    for (const flight of this.#flights.values()) flight.controller.abort()
    while (this.#runs.size > 0) await Promise.allSettled(this.#runs)
    this.#unknown.clear()
    this.#stopping = null
  }

  /** Resolves when nothing is under way; what waits for a time, a worker or a person may still be waiting. */
  async settle() {
    while (this.#runs.size > 0) await Promise.race(this.#runs)
  }

  state(): QueueState {
    const { queue } = this.#deps
    return {
      counts: queue.counts(),
      paused: queue.paused(),
      etaSeconds: this.#estimate(queue.remaining()),
      stalled: queue.stalled(this.#ready()),
      running: this.progress(),
    }
  }
  progress(): JobProgress[] {
    return [...this.#flights.values()].filter(({ began }) => began).map(({ progress }) => progress)
  }
  /** The latest picture of a job under way. */
  preview(jobId: string): Preview | null {
    return this.#flights.get(jobId)?.preview ?? null
  }
  /** Prompts a worker has of us, as far as we know. */
  inFlight(workerId: string): number {
    const flying = [...this.#flights.values()].filter((flight) => flight.worker.id === workerId)
    const unknown = [...this.#unknown.values()].filter((open) => open.workerId === workerId)
    return flying.filter(({ phase }) => phase !== 'keeping').length + unknown.length
  }

  #ready() {
    return this.#deps.fleet.list().filter(({ health }) => health.is === 'ready')
  }

  /** Looks at everything that could go on, and lets it. Called whenever anything changed. */
  readonly #tend = () => {
    this.#tendAgain = true
    if (this.#tending) return
    this.#tending = true
    try {
      while (this.#tendAgain && this.#going) {
        this.#tendAgain = false
        this.#heedWanted()
        this.#lookForUnknown()
        this.#assign()
      }
    } finally {
      this.#tending = false
    }
    this.#setAlarm()
  }
  get #going() {
    return this.#stopping !== null && !this.#stopping.signal.aborted
  }

  #assign() {
    const { queue, clock, newId } = this.#deps
    let candidates = this.#ready()
    while (candidates.length > 0) {
      const keeping = (id: string) =>
        [...this.#flights.values()].filter(({ worker, phase }) => worker.id === id && phase === 'keeping').length
      const chosen = chooseWorker(
        candidates
          .filter(({ id }) => keeping(id) < KEEPING_AT_ONCE)
          .map((worker) => ({ worker, capacity: worker.capacity, inFlight: this.inFlight(worker.id) })),
      )
      if (!chosen) return
      const { worker } = chosen
      const job = queue.claim(worker)
      if (!job) {
        candidates = candidates.filter((candidate) => candidate !== worker)
        continue
      }
      const flight = this.#newFlight(job, worker, newId(), clock.now(), 'preparing', null)
      this.#launch(flight, () => this.#make(flight))
    }
  }

  /** Open attempts nobody watches are looked up, one after the other, on each worker that answers. */
  #lookForUnknown() {
    const { queue, fleet, clock } = this.#deps
    for (const [promptId, unknown] of this.#unknown) {
      const worker = fleet.get(unknown.workerId)
      if (!worker) {
        this.#unknown.delete(promptId)
        const reason = `the worker ${unknown.workerId} was removed`
        queue.park(promptId, toFailure(new AppError('prompt.unclear', { reason })))
        continue
      }
      if (worker.health.is !== 'ready' || unknown.nextAt > clock.now()) continue
      const open = queue.openAttempt(promptId)
      this.#unknown.delete(promptId)
      if (!open || this.#flights.has(open.job.id)) continue
      const flight = this.#newFlight(open.job, worker, promptId, open.startedAt, 'on-server', unknown.record)
      this.#launch(flight, () => this.#recover(flight, open, unknown))
    }
    for (const worker of this.#ready()) {
      for (const promptId of queue.leftovers(worker.id)) this.#cancelLeftover(worker, promptId)
    }
  }

  /** What a person wants ended is ended on its worker; when that is gone, here, and there when it is back. */
  #heedWanted() {
    const { queue, fleet, clock } = this.#deps
    const wanted = queue.wanted()
    if (wanted.size === 0) return
    // the latest first, one after the other: an interrupted prompt must not make room for the one behind it
    const before = new Map<Worker, Promise<void>>()
    for (const flight of [...this.#flights.values()].reverse()) {
      if (!wanted.has(flight.job.id)) continue
      if (flight.phase === 'preparing') flight.controller.abort()
      else if (flight.phase === 'on-server' && !flight.cancelling)
        before.set(flight.worker, this.#interrupt(flight, before.get(flight.worker)))
      else if (flight.phase === 'keeping' && wanted.get(flight.job.id) === 'cancel')
        flight.letGoLater ??= clock.after(LET_GO_AFTER_MS, () => flight.letGo.abort())
    }
    for (const promptId of this.#unknown.keys()) {
      const open = queue.openAttempt(promptId)
      if (!open || wanted.get(open.job.id) !== 'cancel') continue
      if (fleet.get(open.workerId)?.health.is === 'ready') continue
      this.#unknown.delete(promptId)
      queue.cancelAttempt(promptId, true)
    }
  }

  #setAlarm() {
    this.#wake?.()
    this.#wake = null
    if (!this.#going) return
    const { queue, clock } = this.#deps
    const now = clock.now()
    const moments = [now + WAKE_AT_LEAST_EVERY_MS, ...[...this.#unknown.values()].map(({ nextAt }) => nextAt)]
    const next = queue.nextMoment()
    if (next !== null) moments.push(next)
    // what is due already waits for something else than the time: a worker, a resume
    const due = Math.min(...moments.filter((moment) => moment > now))
    this.#wake = clock.after(due - now, this.#tend)
  }

  #newFlight(
    job: QueuedJob,
    worker: Worker,
    promptId: string,
    startedAt: number,
    phase: Flight['phase'],
    record: AttemptRecord | null,
  ): Flight {
    const progress = { jobId: job.id, workerId: worker.id, node: null, nodeTitle: '', value: 0, max: 0, overall: 0 }
    return {
      job,
      worker,
      promptId,
      startedAt,
      phase,
      record,
      controller: new AbortController(),
      letGo: new AbortController(),
      letGoLater: null,
      ending: null,
      cancelling: false,
      over: false,
      progress: { ...progress, preview: 0 },
      preview: null,
      began: false,
      heardAt: this.#deps.clock.now(),
      toldAt: 0,
      tellLater: null,
    }
  }

  #launch(flight: Flight, work: () => Promise<void>) {
    this.#flights.set(flight.job.id, flight)
    void this.#track(async () => {
      try {
        await work()
      } finally {
        flight.tellLater?.()
        flight.letGoLater?.()
        this.#flights.delete(flight.job.id)
      }
    })
  }
  #track(work: () => Promise<void>): Promise<void> {
    const run: Promise<void> = work()
      .catch((cause: unknown) => this.#log('dispatcher.failed', { reason: toFailure(cause).message }))
      .finally(() => {
        this.#runs.delete(run)
        this.#tend()
      })
    this.#runs.add(run)
    return run
  }

  async #make(flight: Flight) {
    const { queue, prepare } = this.#deps
    const { job, worker, promptId, controller } = flight
    let attempt: Attempt
    try {
      const prepared = await prepare(job, worker, { promptId, at: flight.startedAt }, controller.signal)
      attempt = prepared.attempt
      flight.record = prepared.record
    } catch (cause) {
      this.#notBegun(flight, cause)
      return
    }
    const promptHash = createHash('sha256').update(writeJson(attempt.prompt)).digest('hex')
    const begun = { promptId, workerId: worker.id, promptHash, startedAt: flight.startedAt }
    if (controller.signal.aborted || !queue.beginAttempt(job.id, begun)) {
      this.#notBegun(flight, null)
      return
    }
    this.#point('attempt-row')
    flight.phase = 'on-server'
    await this.#follow(flight, worker.run(attempt, controller.signal))
  }
  #notBegun({ job, controller }: Flight, cause: unknown) {
    const { queue } = this.#deps
    if (queue.wanted().get(job.id) === 'cancel') queue.cancelClaimed(job.id)
    else if (cause === null || controller.signal.aborted) queue.release(job.id)
    else if (isUnreachable(cause)) queue.release(job.id, LOOK_AGAIN_MS)
    else queue.refuse(job.id, toFailure(cause))
  }

  async #follow(flight: Flight, steps: AsyncIterable<JobStep>) {
    let ending: Ending | null = null
    let because: unknown = null
    try {
      for await (const step of steps) {
        ending = this.#step(flight, step)
        if (ending) break
      }
    } catch (cause) {
      because = cause
    }
    ending ??= flight.ending
    if (flight.over || (!ending && !this.#going)) return
    if (ending) await this.#end(flight, ending)
    else this.#lostSight(flight, because)
  }

  #step(flight: Flight, step: JobStep): Ending | null {
    const { queue, clock } = this.#deps
    flight.heardAt = clock.now()
    switch (step.is) {
      case 'submitted':
        this.#point('posted')
        queue.submitted(flight.promptId)
        if (queue.wanted().has(flight.job.id)) this.#tend()
        return null
      case 'started':
        this.#begin(flight)
        return null
      case 'progress': {
        this.#begin(flight)
        const { node, value, max, overall } = step
        flight.progress = { ...flight.progress, node, nodeTitle: titleOf(flight, node), value, max, overall }
        this.#tell(flight)
        this.#point('mid-run')
        return null
      }
      case 'preview': {
        const n = flight.progress.preview + 1
        flight.preview = { mediaType: step.mediaType, bytes: step.bytes, n }
        flight.progress = { ...flight.progress, preview: n }
        this.#tell(flight)
        return null
      }
      default:
        return step
    }
  }
  /** Prompts that run, and when each last told anything. */
  running(): { workerId: string; jobId: string; heardAt: number }[] {
    return [...this.#flights.values()].flatMap(({ began, phase, worker, job, heardAt }) =>
      began && phase === 'on-server' ? [{ workerId: worker.id, jobId: job.id, heardAt }] : [],
    )
  }

  #begin(flight: Flight) {
    if (flight.began) return
    flight.began = true
    this.#deps.queue.began(flight.promptId)
    this.#tell(flight)
  }
  #tell(flight: Flight) {
    if (flight.tellLater) return
    const { clock } = this.#deps
    const tell = () => {
      flight.tellLater = null
      flight.toldAt = clock.now()
      this.events.emit('progress', flight.progress)
    }
    const rest = flight.toldAt + TELL_EVERY_MS - clock.now()
    if (rest <= 0) tell()
    else flight.tellLater = clock.after(rest, tell)
  }

  async #recover(flight: Flight, open: OpenAttempt, unknown: Unknown) {
    const { queue, prepare } = this.#deps
    const { worker, promptId, controller, job } = flight
    let seen: Recovered
    try {
      seen = await worker.recover(promptId, controller.signal)
      const decision = reconcile(open, seen)
      if (decision === 'adopt' || decision === 'reattach') {
        const made = { promptId, at: flight.startedAt }
        flight.record ??= (await prepare(job, worker, made, controller.signal)).record
      }
      this.#log('attempt.reconciled', { promptId, jobId: job.id, seen: seen.is, decision })
      if (decision === 'reattach') {
        if (seen.is === 'running') this.#begin(flight)
        queue.submitted(promptId)
        this.#tend() // it may have been cancelled while it was out of sight
        await this.#follow(flight, worker.follow(promptId, controller.signal))
        return
      }
      if (decision === 'park') throw new Error(`the worker said ${seen.is}`)
    } catch (cause) {
      if (flight.over || !this.#going) return
      if (isUnreachable(cause)) this.#watchLater(promptId, worker.id, flight.record, unknown.tries)
      else queue.park(promptId, toFailure(new AppError('prompt.unclear', { reason: toFailure(cause).message })))
      return
    }
    await this.#end(flight, seen as Ending)
  }

  #lostSight(flight: Flight, cause: unknown) {
    const reason = cause === null ? 'the worker stopped telling' : toFailure(cause).message
    this.#log('attempt.out-of-sight', { promptId: flight.promptId, jobId: flight.job.id, reason })
    this.#watchLater(flight.promptId, flight.worker.id, flight.record, 0)
  }
  #watchLater(promptId: string, workerId: string, record: AttemptRecord | null, triesBefore: number) {
    const tries = triesBefore + 1
    const pauseMs = tries === 0 ? 0 : Math.min(LOOK_AGAIN_MS * 2 ** (tries - 1), LOOK_AGAIN_MOST_MS)
    this.#unknown.set(promptId, { workerId, record, tries, nextAt: this.#deps.clock.now() + pauseMs })
  }

  async #end(flight: Flight, ending: Ending) {
    const { queue } = this.#deps
    const { promptId, job } = flight
    flight.phase = 'keeping'
    this.#tend() // its place on the worker is free
    const wanted = queue.wanted().get(job.id)
    switch (ending.is) {
      case 'saved':
        this.#point('server-saved')
        this.#pacedBy(flight.worker.id, ending.seconds)
        await this.#keep(flight, ending)
        return
      case 'failed':
        if (wanted === 'cancel') queue.cancelAttempt(promptId)
        else queue.fail(promptId, ending.failure, ending.retryable)
        return
      case 'interrupted':
        if (wanted === 'cancel') queue.cancelAttempt(promptId)
        else if (wanted === 'requeue') queue.requeue(promptId)
        else queue.fail(promptId, toFailure(new AppError('prompt.interrupted')), false)
        return
      case 'lost': {
        const open = queue.openAttempt(promptId)
        if (wanted === 'cancel') queue.cancelAttempt(promptId)
        else if (open && reconcile(open, ending) === 'forgotten') {
          queue.forget(promptId, toFailure(new AppError('prompt.forgotten')))
        } else queue.lose(promptId)
      }
    }
  }

  async #keep(flight: Flight, ending: Made['ending']) {
    const { queue, artifacts } = this.#deps
    const { job, worker, promptId, startedAt, record } = flight
    const stopping = this.#stopping!.signal
    const signal = AbortSignal.any([stopping, flight.letGo.signal])
    for (;;) {
      try {
        const made = { job, worker, record: record!, attempt: { promptId, startedAt }, ending, signal }
        const kept = await artifacts.keep(made)
        if (queue.finish(promptId, { seconds: ending.seconds, artifacts: kept.length })) {
          this.events.emit('kept', job, kept)
          for (const output of ending.outputs) if (output.is === 'file') await worker.discard?.(promptId, output.file)
        }
        return
      } catch (cause) {
        if (stopping.aborted) return
        if (signal.aborted) {
          queue.cancelAttempt(promptId)
          return
        }
        const failure = toFailure(cause)
        if (isUnreachable(cause)) {
          this.#watchLater(promptId, worker.id, record, 0)
          return
        }
        if (failure.code !== 'disk.full' && failure.code !== 'disk.denied') {
          queue.fail(promptId, failure, RETRYABLE_KEEPING.includes(failure.code))
          return
        }
        if (!(await this.#resumed(job.id, failure, signal))) {
          if (!stopping.aborted) queue.cancelAttempt(promptId)
          return
        }
      }
    }
  }
  /** The disk has no room: nothing more is begun until a person resumes. False: the job was cancelled meanwhile. */
  async #resumed(jobId: string, failure: Failure, signal: AbortSignal): Promise<boolean> {
    const { queue } = this.#deps
    queue.pause('after-current', failure)
    while (queue.paused() !== 'no') {
      if (queue.wanted().get(jobId) === 'cancel') return false
      try {
        await once(queue.events, 'changed', { signal })
      } catch {
        return false
      }
    }
    return true
  }

  #interrupt(flight: Flight, after?: Promise<void>): Promise<void> {
    const { queue, clock } = this.#deps
    const { worker, promptId, job, controller } = flight
    flight.cancelling = true
    return this.#track(async () => {
      await after
      try {
        await worker.cancel(promptId, this.#stopping!.signal)
        const seen = await worker.recover(promptId, this.#stopping!.signal)
        if (seen.is === 'queued' || seen.is === 'running' || flight.phase !== 'on-server') return
        flight.ending ??= seen.is === 'lost' ? { is: 'interrupted' } : seen
        controller.abort()
      } catch (cause) {
        if (!this.#going || flight.phase !== 'on-server') return
        this.#log('attempt.not-cancelled', { promptId, jobId: job.id, reason: toFailure(cause).message })
        if (queue.wanted().get(job.id) !== 'cancel') {
          clock.after(LOOK_AGAIN_MS, () => {
            flight.cancelling = false
            this.#tend()
          })
          return
        }
        flight.over = true
        queue.cancelAttempt(promptId, true)
        controller.abort()
      }
    })
  }
  #cancelLeftover(worker: Worker, promptId: string) {
    if (this.#cancellingLeftovers.has(promptId)) return
    this.#cancellingLeftovers.add(promptId)
    void this.#track(async () => {
      try {
        await worker.cancel(promptId, this.#stopping!.signal)
        this.#deps.queue.clearLeftover(promptId)
        this.#cancellingLeftovers.delete(promptId)
      } catch {
        this.#deps.clock.after(LOOK_AGAIN_MS, () => this.#cancellingLeftovers.delete(promptId))
      }
    })
  }

  #pacedBy(workerId: string, seconds: number) {
    const paces = this.#pace.get(workerId) ?? []
    paces.push(seconds)
    if (paces.length > PACE_OF) paces.shift()
    this.#pace.set(workerId, paces)
  }
  /** Each group is shared among the workers it may go to, by their pace; the busiest worker ends last. */
  #estimate(groups: readonly { jobs: number; workers: readonly string[] }[]): number | null {
    const mean = (seconds: readonly number[]) => seconds.reduce((sum, each) => sum + each, 0) / seconds.length
    const known = [...this.#pace.values()].map(mean)
    if (groups.length === 0 || known.length === 0) return null
    const secondsOf = (id: string) => Math.max(0.001, this.#pace.has(id) ? mean(this.#pace.get(id)!) : mean(known))
    const load = new Map<string, number>()
    for (const { jobs, workers } of groups) {
      const takers = this.#ready().filter((worker) => mayTake(workers, worker))
      if (takers.length === 0) return null
      const rate = takers.reduce((sum, { id }) => sum + 1 / secondsOf(id), 0)
      for (const { id } of takers) load.set(id, (load.get(id) ?? 0) + jobs / rate)
    }
    return Math.max(...load.values())
  }

  #point(name: string) {
    this.#deps.point?.(name)
  }
  #log(event: string, facts: Record<string, Json>) {
    this.#deps.log?.(event, facts)
  }
}

const RETRYABLE_KEEPING = ['output.missing', 'output.damaged']

const isUnreachable = (cause: unknown) =>
  (cause instanceof AppError && cause.code === 'worker.unreachable') ||
  (cause instanceof FailureError && cause.failure.code === 'worker.unreachable')

function titleOf({ record }: Flight, node: NodeId | null): string {
  const found = node === null ? undefined : record?.prompt[node]
  return found?._meta?.title ?? found?.class_type ?? node ?? ''
}
