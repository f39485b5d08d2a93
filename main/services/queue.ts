import { createHash } from 'node:crypto'
import { EventEmitter } from 'node:events'
import { zstdCompressSync, zstdDecompressSync } from 'node:zlib'
import type { Batch, BatchPlan, JobCounts, Values } from '../../core/contract/batch.ts'
import type { Prompt } from '../../core/contract/comfyui.ts'
import { AppError, type Failure } from '../../core/contract/errors.ts'
import type { Job, JobDetail, JobSelection, JobState, PauseState } from '../../core/contract/job.ts'
import { type Json, parseJson, writeJson } from '../../core/contract/json.ts'
import type { WorkerView } from '../../core/contract/worker.ts'
import type { Parameter } from '../../core/contract/workflow.ts'
import { withOverrides } from '../../core/domain/batch/materialise.ts'
import { mayName, mayTake, usesOne } from '../../core/domain/queue/choose-worker.ts'
import { jobStates, statesBefore } from '../../core/domain/queue/job-state.ts'
import { retryAfterMs } from '../../core/domain/queue/retry.ts'
import { isOpen, minuteOfDay, opensNext, planWindow, type Window } from '../../core/domain/queue/window.ts'
import type { Clock } from './clock.ts'
import type { Database } from './database/open.ts'

/** What `submit` keeps once for all jobs of a batch. */
export interface NewBatch {
  workflowId: string
  name: string
  /** Kept without its rows: the jobs hold them. */
  plan: BatchPlan
  prompt: Prompt
  editor: Json | null
  parameters: readonly Parameter[]
  /** Worker ids; none: any but the rehearsal. */
  workers: readonly string[]
  pattern: string
  outDir: string
}
export interface NewJob {
  row: number
  index: number
  /** Parameter key → value: all that makes this job differ from its batch. */
  overrides: Values
  label: string
  /** Table columns that are no parameter. */
  extra?: Record<string, string>
}

export interface KeptBatch extends NewBatch {
  readonly id: string
  readonly createdAt: number
}
/** A job with all that is needed to make its prompt. */
export interface QueuedJob {
  readonly id: string
  readonly batchId: string
  readonly row: number
  readonly index: number
  readonly overrides: Values
  readonly label: string
  readonly extra: Record<string, string>
  readonly createdAt: number
  readonly batch: KeptBatch
}
/** What a person asked for while the job was running. */
export type Wanted = 'cancel' | 'requeue'
/** An attempt that has not ended, as far as we know. */
export interface OpenAttempt {
  readonly promptId: string
  readonly workerId: string
  readonly startedAt: number
  readonly submitted: boolean
  readonly began: boolean
  readonly lostAfterBegin: number
  readonly lostAfterSubmit: number
  readonly job: QueuedJob
}
type Taker = { readonly id: string; readonly kind: WorkerView['kind']; readonly checkpoints?: readonly string[] }
type JobEvents = {
  /** Counts, order or the pause changed. */
  changed: []
  /** These jobs changed; no ids: too many to name. */
  jobs: [batchId: string, ids: string[]]
  batch: [batchId: string]
  batchEnded: [Batch]
}
type Deps = { database: Database; clock: Clock; point?: (name: string) => void }

const CHUNK = 256 // jobs; these two as in table `chunks`
const LARGE_CHUNK = 16_384
const CHUNKS = [
  [8, CHUNK],
  [14, LARGE_CHUNK],
] as const
const GAP = 2 ** 20 // between the positions of neighbours
const MOST_FOUND = 10_000
const BATCHES_REMEMBERED = 8
const SEARCH_KEPT_MS = 2_000
const TONIGHT_MS = 12 * 60 * 60 * 1000

/** Every statement about batches, jobs and attempts. */
export class Queue {
  readonly events = new EventEmitter<JobEvents>()
  /** Seconds until this many jobs are made by these workers, if anyone can say. */
  estimate: (jobs: number, workers: readonly string[]) => number | null = () => null
  readonly #db: Database
  readonly #clock: Clock
  readonly #point: (name: string) => void
  readonly #sql: ReturnType<typeof statements>
  readonly #transaction: (work: () => unknown) => unknown
  readonly #batches = new Map<number, KeptBatch>()
  readonly #counted = new Map<string, readonly number[]>()
  #found: { key: string; at: number; seqs: number[] } | null = null

  constructor({ database, clock, point }: Deps) {
    this.#db = database
    this.#clock = clock
    this.#point = point ?? (() => {})
    this.#sql = statements(database)
    this.#transaction = database.transaction((work: () => unknown) => work()).immediate
    this.events.setMaxListeners(0)
    this.events.on('changed', () => this.#counted.clear())
  }

  /** All or nothing; once it returns, the jobs survive anything. `jobs` is read while it writes. */
  submit(batch: NewBatch, jobs: Iterable<NewJob>): { batchId: string; jobs: number } {
    const now = this.#clock.now()
    const sql = this.#sql
    const submitted = this.#atomically(() => {
      const last = sql.lastJob.get() ?? 0
      const first = Math.ceil((last + 1) / CHUNK) * CHUNK
      const { plan } = batch
      const { lastInsertRowid } = sql.addBatch.run({
        workflow: batch.workflowId,
        name: batch.name,
        plan: writeJson({ ...plan, rows: [], extra: [] }),
        prompt: this.#keepOnce(batch.prompt),
        editor: batch.editor === null ? null : this.#keepOnce(batch.editor),
        parameters: this.#keepOnce(batch.parameters),
        workers: JSON.stringify(batch.workers),
        pattern: batch.pattern,
        outDir: batch.outDir,
        priority: plan.priority,
        startAt: plan.startAt,
        stopAt: plan.stopAt,
        continueKey: plan.continueKey,
        first,
        now,
        ...planWindow(plan.startAt, plan.stopAt, now),
      })
      const number = Number(lastInsertRowid)
      let seq = first
      for (const { row, index, overrides, label, extra } of jobs) {
        const others = extra === undefined ? null : JSON.stringify(extra)
        sql.addJob.run(seq, number, row, index, plan.priority, seq * GAP, now, label, writeJson(overrides), others)
        seq += 1
      }
      const count = seq - first
      for (const [bits, size] of CHUNKS) {
        for (let from = first; from < seq; ) {
          const chunk = Math.floor(from / size)
          const end = Math.min(seq, (chunk + 1) * size)
          sql.addChunk.run({ bits, chunk, waiting: end - from })
          from = end
        }
      }
      sql.countNew.run({ number, count, endedAt: count === 0 ? now : null })
      return { batchId: `b${number}`, jobs: count }
    })
    this.#point('job-row')
    this.#told(submitted.batchId, [])
    return submitted
  }

  /** A batch submitted under this key that has not ended. */
  findOpen(continueKey: string): string | null {
    const number = this.#sql.findOpen.get(continueKey)
    return number === undefined ? null : `b${number}`
  }

  /** The next job this worker may have, now running; no two callers get the same. */
  claim(worker: Taker): QueuedJob | null {
    const now = this.#clock.now()
    const real = worker.kind === 'rehearsal' ? 0 : 1
    const asked = { worker: worker.id, real, now, minute: minuteOfDay(now) }
    const choosy = worker.checkpoints?.length ? worker.checkpoints : null
    const row = choosy ? this.#claimUsing(choosy, asked) : this.#lightly(() => this.#sql.claim.get(asked))
    if (!row) return null
    this.#told(`b${row.batch}`, [`j${row.seq}`])
    return this.#queuedJob(row)
  }

  /** For a worker that takes only some: the first of those each batch would give it. */
  #claimUsing(checkpoints: readonly string[], asked: { worker: string; real: number; now: number; minute: number }) {
    // most rows name none, which their text tells before anything is made of it
    const asIs = new Map<number, boolean>()
    const mayUse = ({ batch, overrides }: JobRow) => {
      if (!asIs.has(batch)) asIs.set(batch, usesOne(checkpoints, this.#batch(batch).prompt))
      return asIs.get(batch) || mayName(checkpoints, overrides)
    }
    let seq: number | null = null
    for (const row of this.#sql.offered.iterate(asked)) {
      if (!mayUse(row)) continue
      const { batch, overrides } = this.#queuedJob(row)
      if (!usesOne(checkpoints, withOverrides(batch.prompt, overrides, batch.parameters))) continue
      seq = row.seq
      break
    }
    if (seq === null) return undefined
    const { worker, now } = asked
    const found = seq
    return this.#lightly(() => this.#sql.claimThis.get({ worker, now, seq: found }))
  }

  /** Committed before the prompt is sent. False: the job is no longer to be made (see `wanted`). */
  beginAttempt(
    jobId: string,
    attempt: { promptId: string; workerId: string; promptHash: string; startedAt: number },
  ): boolean {
    const { changes } = this.#sql.beginAttempt.run({ ...attempt, job: numberOf('j', jobId) })
    return changes > 0
  }
  submitted(promptId: string) {
    this.#lightly(() => this.#sql.submitted.run(this.#clock.now(), promptId))
  }
  began(promptId: string) {
    const now = this.#clock.now()
    this.#lightly(() => {
      const job = this.#sql.began.get(now, promptId)
      if (job !== undefined) this.#sql.startedNow.run(now, job) // until then it only waited on the server
    })
  }

  /** The prompt gave its outputs, and they are kept. */
  finish(promptId: string, made: { seconds: number | null; artifacts: number }) {
    return this.#end(promptId, 'done', made.seconds, null, (seq, now) => this.#sql.done.run(made.artifacts, now, seq))
  }

  /** Failed, or waiting to be tried again, as the batch's `retries` allow. */
  fail(promptId: string, failure: Failure, retryable: boolean) {
    return this.#end(promptId, 'failed', null, failure, (seq, now) => {
      const { failures, retries } = this.#sql.failures.get(seq) ?? { failures: 1, retries: 0 }
      const pauseMs = retryAfterMs({ failures, retries, retryable })
      if (pauseMs === null) this.#sql.failed.run(writeJson(failure), now, seq)
      else this.#sql.waitAgain.run(now + pauseMs, writeJson(failure), seq)
    })
  }

  /** The server does not know the prompt any more: it will be made anew. */
  lose(promptId: string) {
    return this.#end(promptId, 'lost', null, null, (seq) => this.#sql.waitAgain.run(0, null, seq))
  }
  /** The server lost it too often. */
  forget(promptId: string, failure: Failure) {
    return this.#end(promptId, 'lost', null, failure, (seq, now) => this.#sql.failed.run(writeJson(failure), now, seq))
  }
  /** Interrupted by a pause: it keeps its place and waits again. */
  requeue(promptId: string) {
    return this.#end(promptId, 'cancelled', null, null, (seq) => this.#sql.waitAgain.run(0, null, seq))
  }
  /** Interrupted for good. `leftover`: the worker could not be told yet, and is when it comes back. */
  cancelAttempt(promptId: string, leftover = false) {
    return this.#end(promptId, 'cancelled', null, null, (seq, now) => {
      if (leftover) this.#sql.leaveOver.run(promptId)
      this.#sql.cancelled.run(now, seq)
    })
  }
  /** Nobody can say what became of it: a person decides. */
  park(promptId: string, failure: Failure) {
    return this.#end(promptId, 'lost', null, failure, (seq, now) => this.#sql.parked.run(writeJson(failure), now, seq))
  }

  /** A claimed job that no attempt was begun for goes back, not before `afterMs`. */
  release(jobId: string, afterMs = 0) {
    const seq = numberOf('j', jobId)
    this.#moved(this.#sql.waitAgain.run(afterMs === 0 ? 0 : this.#clock.now() + afterMs, null, seq).changes, seq)
  }
  /** As `release`, for a job whose prompt cannot be made. */
  refuse(jobId: string, failure: Failure) {
    const seq = numberOf('j', jobId)
    this.#moved(this.#sql.failed.run(writeJson(failure), this.#clock.now(), seq).changes, seq)
  }
  /** As `release`, for a job that was cancelled before its attempt began. */
  cancelClaimed(jobId: string) {
    const seq = numberOf('j', jobId)
    this.#moved(this.#sql.cancelled.run(this.#clock.now(), seq).changes, seq)
  }
  /** After a crash: jobs claimed, but never sent. */
  releaseStrays(): number {
    const strays = this.#sql.strays.all()
    for (const { seq, wanted } of strays) {
      if (wanted === 'cancel') this.cancelClaimed(`j${seq}`)
      else this.release(`j${seq}`)
    }
    return strays.length
  }

  openAttempts(): OpenAttempt[] {
    return this.#sql.openAttempts.all().map((row) => {
      const lost = this.#sql.lostBefore.get(row.seq)
      return {
        promptId: row.prompt_id,
        workerId: row.attempt_worker,
        startedAt: row.attempt_started,
        submitted: row.submitted_at !== null,
        began: row.began_at !== null,
        lostAfterBegin: lost?.began ?? 0,
        lostAfterSubmit: lost?.submitted ?? 0,
        job: this.#queuedJob(row),
      }
    })
  }
  openAttempt(promptId: string): OpenAttempt | undefined {
    return this.openAttempts().find((attempt) => attempt.promptId === promptId)
  }
  /** An attempt of ours that is over, however it ended. */
  hasEnded(promptId: string): boolean {
    return this.#sql.ended.get(promptId) === 1
  }
  /** Running jobs a person wants ended. */
  wanted(): Map<string, Wanted> {
    return new Map(this.#sql.wanted.all().map(({ seq, wanted }) => [`j${seq}`, wanted]))
  }
  /** Prompts given up while their worker was away, to be cancelled there. */
  leftovers(workerId: string): string[] {
    return this.#sql.leftovers.all(workerId)
  }
  clearLeftover(promptId: string) {
    this.#sql.clearLeftover.run(promptId)
  }

  /** The job with its batch, whatever its state. */
  job(id: string): QueuedJob {
    return this.#queuedJob(this.#row(id))
  }
  batchOf(id: string): KeptBatch {
    return this.#batch(numberOf('b', id))
  }
  get(id: string): JobDetail {
    const row = this.#row(id)
    const tries = this.#sql.tries.all(row.seq)
    return { ...toJob(row), overrides: parseJson(row.overrides) as Values, tries }
  }

  /**
   * Jobs as a list shows them. Waiting ones alone: in the order they will run. Else the newest batch first, each in the
   * order it was submitted. Any offset costs the same.
   */
  page(filter: { batchId?: string; states?: readonly JobState[]; search?: string; offset?: number; limit?: number }) {
    const { offset = 0, limit = 100, search = '' } = filter
    const states = filter.states?.length ? [...new Set(filter.states)] : jobStates
    const batch = filter.batchId === undefined ? null : numberOf('b', filter.batchId)
    const { seqs, total } =
      search.trim() === ''
        ? states.length === 1 && states[0] === 'waiting'
          ? this.#waitingPage(batch, offset, limit)
          : this.#statePage(batch, states, offset, limit)
        : this.#searchPage(batch, states, search.trim(), offset, limit)
    const rows = this.#sql.jobs.all(JSON.stringify(seqs))
    return { rows: rows.map(toJob), total }
  }

  counts(): JobCounts {
    return this.#sql.counts.get()!
  }

  batches({ offset = 0, limit = 100, workflowId }: { offset?: number; limit?: number; workflowId?: string } = {}) {
    if (workflowId !== undefined) {
      const rows = this.#sql.batchesFrom.all(workflowId, limit, offset)
      return { rows: rows.map((row) => this.#toBatch(row)), total: this.batchesOf(workflowId) }
    }
    const rows = this.#sql.batches.all(limit, offset)
    return { rows: rows.map((row) => this.#toBatch(row)), total: this.#sql.batchCount.get() ?? 0 }
  }
  batch(id: string): Batch {
    return this.#toBatch(this.#batchRow(numberOf('b', id)))
  }
  batchesOf(workflowId: string): number {
    return this.#sql.batchesOf.get(workflowId) ?? 0
  }

  /** Waiting and parked jobs are cancelled at once; running ones when their worker has ended them. */
  cancel(selection: JobSelection): number {
    const now = this.#clock.now()
    return this.#select(selection, [...statesBefore('cancelled')], (where, values) => {
      const ended = this.#db
        .prepare(`UPDATE jobs SET state = 'cancelled', ended_at = ? WHERE ${where} AND state <> 'running'`)
        .run(now, ...values)
      const asked = this.#db
        .prepare(`UPDATE jobs SET wanted = 'cancel' WHERE ${where} AND state = 'running'`)
        .run(...values)
      return ended.changes + asked.changes
    })
  }
  /** Failed, cancelled and parked jobs wait again, in the places they had. */
  retry(selection: JobSelection): number {
    const states = statesBefore('waiting').filter((state) => state !== 'running')
    return this.#select(selection, states, (where, values) => {
      const set = `state = 'waiting', failure = NULL, ended_at = NULL, started_at = NULL, not_before = 0, retried_at = ?`
      return this.#db.prepare(`UPDATE jobs SET ${set} WHERE ${where}`).run(this.#clock.now(), ...values).changes
    })
  }
  /** Waiting jobs of higher priority run first. */
  prioritise(selection: JobSelection, priority: number): number {
    return this.#select(selection, ['waiting'], (where, values) => {
      return this.#db.prepare(`UPDATE jobs SET priority = ? WHERE ${where}`).run(priority, ...values).changes
    })
  }
  /** Puts a waiting job at a place among the waiting, 0 = next; its priority follows its neighbours'. */
  move(id: string, position: number): number {
    const seq = numberOf('j', id)
    const changes = this.#atomically(() => {
      const job = this.#row(id)
      if (job.state !== 'waiting') return 0
      const others = this.#sql.neighbours
      const [before] = position === 0 ? [] : others.all(seq, 1, position - 1)
      const [after] = others.all(seq, 1, position)
      const last = before ?? (position === 0 ? undefined : this.#sql.lastWaiting.get(seq))
      if (!last && !after) return 0
      const priority = Math.max(
        Math.min(job.priority, last?.priority ?? Number.MAX_SAFE_INTEGER),
        after?.priority ?? Number.MIN_SAFE_INTEGER,
      )
      const from = last?.priority === priority ? last.position : null
      const to = after?.priority === priority ? after.position : null
      if (from !== null && to !== null && to - from < 2) {
        this.#spread(priority, from)
        return this.move(id, position)
      }
      const place =
        from !== null && to !== null
          ? Math.floor((from + to) / 2)
          : from !== null
            ? from + GAP
            : to !== null
              ? to - GAP
              : job.position
      return this.#sql.place.run(priority, place, seq).changes
    })
    if (changes > 0) this.#told(`b${this.#row(id).batch}`, [id])
    return changes
  }

  paused(): PauseState {
    return this.#sql.paused.get()!.paused
  }
  /** Why the queue paused itself, if it did. */
  pausedBecause(): Failure | null {
    const { because } = this.#sql.paused.get()!
    return because === null ? null : (parseJson(because) as unknown as Failure)
  }
  pause(how: Exclude<PauseState, 'no'>, because: Failure | null = null) {
    this.#sql.pause.run(how, because === null ? null : writeJson(because))
    if (how === 'now') this.#sql.requeueAll.run()
    this.events.emit('changed')
  }
  resume() {
    this.#sql.pause.run('no', null)
    this.events.emit('changed')
  }
  pauseBatch(id: string, how: Exclude<PauseState, 'no'>): number {
    const number = numberOf('b', id)
    const { changes } = this.#sql.pauseBatch.run(how, number)
    if (how === 'now') this.#sql.requeueBatch.run(number)
    this.#batchChanged(id)
    return changes
  }
  resumeBatch(id: string): number {
    const { changes } = this.#sql.pauseBatch.run('no', numberOf('b', id))
    this.#batchChanged(id)
    return changes
  }
  /** Opens and closes the batch by the wall clock, from now on. */
  setWindow(id: string, startAt: string | null, stopAt: string | null): number {
    const window = planWindow(startAt, stopAt, this.#clock.now())
    const { changes } = this.#sql.setWindow.run({ ...window, startAt, stopAt, number: numberOf('b', id) })
    this.#batchChanged(id)
    return changes
  }

  /** When a job that may not run now may, if nothing else happens; null: never by itself. */
  nextMoment(): number | null {
    const now = this.#clock.now()
    const moments = this.#sql.withWork.all().flatMap((batch) => opensNext(toWindow(batch), now) ?? [])
    const heldBack = this.#sql.heldBack.get(now)
    if (heldBack != null) moments.push(heldBack)
    return moments.length === 0 ? null : Math.min(...moments)
  }
  /** Whether a job could run now or tonight, were a worker free: a machine that slept would miss the hour it begins at. */
  runnable(): boolean {
    const { waiting, running } = this.counts()
    if (running > 0) return true
    if (waiting === 0 || this.paused() !== 'no') return false
    const now = this.#clock.now()
    return this.#sql.withWork.all().some((batch) => {
      const opens = opensNext(toWindow(batch), now)
      return batch.paused === 'no' && (isOpen(toWindow(batch), now) || (opens !== null && opens - now <= TONIGHT_MS))
    })
  }
  /** Why nothing moves although jobs wait, as a code of problems.json or errors.ts. */
  stalled(ready: readonly Taker[]): { code: string; message: string } | null {
    const because = this.pausedBecause()
    if (because) return { code: because.code, message: because.message }
    const { waiting, running } = this.counts()
    if (waiting === 0 || running > 0) return null
    const say = (code: keyof typeof STALLED) => ({ code, message: STALLED[code] })
    if (this.paused() !== 'no') return say('queue.paused')
    const now = this.#clock.now()
    const batches = this.#sql.withWork.all()
    const going = batches.filter(({ paused }) => paused === 'no')
    if (going.length === 0) return say('queue.batch-paused')
    const open = going.filter((batch) => isOpen(toWindow(batch), now))
    if (open.length === 0) return say('queue.outside-window')
    const takers = open.flatMap(({ workers }) =>
      ready.filter((worker) => mayTake(JSON.parse(workers) as string[], worker)),
    )
    if (takers.length === 0) return say('queue.no-worker')
    if (takers.every(({ checkpoints }) => checkpoints?.length)) return say('queue.other-checkpoints')
    return this.#sql.heldBack.get(now) == null ? null : say('queue.retry-later')
  }
  /** Jobs still to be made, by the workers they may go to. */
  remaining(): { workers: string[]; jobs: number }[] {
    return this.#sql.remaining.all().map(({ workers, jobs }) => ({ workers: JSON.parse(workers) as string[], jobs }))
  }
  /** How long the latest prompts of each worker took, newest first. */
  recentSeconds(): { workerId: string; seconds: number }[] {
    return this.#sql.recentSeconds.all()
  }

  #waitingPage(batch: number | null, offset: number, limit: number) {
    const total = batch === null ? this.counts().waiting : this.#batchRow(batch).waiting
    const rest = Math.max(0, total - offset)
    const wanted = Math.min(limit, rest)
    const fromEnd = offset > total / 2 // the end that is nearer
    const skip = fromEnd ? rest - wanted : offset
    const list = fromEnd ? this.#sql.waitingFromEnd : this.#sql.waitingInOrder
    const listOf = fromEnd ? this.#sql.waitingOfFromEnd : this.#sql.waitingOf
    const seqs = batch === null ? list.all(wanted, skip) : listOf.all(batch, wanted, skip)
    return { seqs: fromEnd ? seqs.toReversed() : seqs, total }
  }

  #statePage(only: number | null, states: readonly JobState[], offset: number, limit: number) {
    const sum = states.length === jobStates.length ? 'jobs' : states.join(' + ')
    const batches =
      only === null ? this.#totals(sum) : [{ first: this.#batchRow(only).first_job, ...this.#totalOf(sum, only) }]
    const seqs: number[] = []
    let total = 0
    for (const { first, jobs, n } of batches) {
      if (total + n > offset && seqs.length < limit) {
        const skip = Math.max(0, offset - total)
        const take = Math.min(limit - seqs.length, n - skip)
        if (n === jobs) for (let at = 0; at < take; at += 1) seqs.push(first + skip + at)
        else seqs.push(...this.#inState(first, first + jobs, states, sum, skip, take))
      }
      total += n
    }
    return { seqs, total }
  }
  #totals(sum: string) {
    return this.#db
      .prepare<[], { first: number; jobs: number; n: number }>(
        `SELECT first_job AS first, jobs, ${sum} AS n FROM batches WHERE ${sum} > 0 ORDER BY number DESC`,
      )
      .all()
  }
  #totalOf(sum: string, number: number) {
    return this.#db
      .prepare<[number], { jobs: number; n: number }>(`SELECT jobs, ${sum} AS n FROM batches WHERE number = ?`)
      .get(number)!
  }
  #inState(first: number, end: number, states: readonly JobState[], sum: string, offset: number, limit: number) {
    const { from, skip } = offset === 0 ? { from: first, skip: 0 } : this.#seek(first, end, sum, offset)
    const each = states.map(
      (state) =>
        `SELECT seq FROM jobs INDEXED BY jobs_by_state WHERE state = '${state}' AND seq >= :from AND seq < :end`,
    )
    return this.#db // each in order already, so they are only merged, as far as the limit
      .prepare<[Record<string, number>], number>(`${each.join(' UNION ALL ')} ORDER BY seq LIMIT :limit OFFSET :skip`)
      .pluck()
      .all({ from, end, limit, skip })
  }
  /** The small chunk that holds the place `offset`, and how far into it. */
  #seek(first: number, end: number, sum: string, offset: number): { from: number; skip: number } {
    let from = first
    let skip = offset
    /** Passes whole chunks up to `to`; true: the place is in the one at `from`. */
    const walk = (bits: number, size: number, to: number): boolean => {
      for (const n of this.#countsOf(sum, bits, from / size, to / size)) {
        if (skip < n) return true
        skip -= n
        from += size
      }
      return false
    }
    // small chunks up to the first large one, large ones, and small ones inside the last of them
    const whole = Math.min(end, Math.ceil(first / LARGE_CHUNK) * LARGE_CHUNK)
    if (walk(8, CHUNK, whole)) return { from, skip }
    walk(14, LARGE_CHUNK, Math.floor(end / LARGE_CHUNK) * LARGE_CHUNK)
    walk(8, CHUNK, Math.min(end, from + LARGE_CHUNK))
    return { from, skip }
  }
  /** Jobs per chunk, from one up to another; remembered until a job changes. */
  #countsOf(sum: string, bits: number, from: number, to: number): readonly number[] {
    if (from >= to) return []
    const key = `${sum} ${bits} ${from} ${to}`
    const known = this.#counted.get(key)
    if (known) return known
    const counts = this.#db
      .prepare<number[], number>(`SELECT ${sum} FROM chunks WHERE bits = ? AND chunk >= ? AND chunk < ? ORDER BY chunk`)
      .pluck()
      .all(bits, from, to)
    this.#counted.set(key, counts)
    return counts
  }
  #searchPage(batch: number | null, states: readonly JobState[], search: string, offset: number, limit: number) {
    const key = JSON.stringify([batch, states, search])
    const now = this.#clock.now()
    if (this.#found?.key !== key || now - this.#found.at > SEARCH_KEPT_MS) {
      const like = `%${search.replace(/[\\%_]/g, '\\$&')}%`
      const row = batch === null ? null : this.#batchRow(batch)
      const [from, to] = row ? [row.first_job, row.first_job + row.jobs] : [0, Number.MAX_SAFE_INTEGER]
      this.#found = {
        key,
        at: now,
        seqs: this.#sql.search.all(from, to, JSON.stringify(states), like, like, MOST_FOUND),
      }
    }
    const { seqs } = this.#found
    return { seqs: seqs.slice(offset, offset + limit), total: seqs.length }
  }

  #atomically<T>(work: () => T): T {
    return this.#transaction(work) as T
  }
  /**
   * A commit that a power cut (not a crash) may undo until the next full one: whatever of an attempt is lost so is found
   * again, on its worker or among the artifacts, which are on the disk before their job is done.
   */
  #lightly<T>(work: () => T): T {
    this.#db.exec('PRAGMA synchronous = NORMAL')
    try {
      return work()
    } finally {
      this.#db.exec('PRAGMA synchronous = FULL')
    }
  }

  /** Ends an open attempt and moves its job, in one commit. False: it had ended before. */
  #end(
    promptId: string,
    ended: 'done' | 'failed' | 'cancelled' | 'lost',
    seconds: number | null,
    failure: Failure | null,
    moveJob: (seq: number, now: number) => void,
  ): boolean {
    const now = this.#clock.now()
    const end = () => {
      const why = failure === null ? null : writeJson(failure)
      const seq = this.#sql.endAttempt.get({ promptId, ended, seconds, failure: why, now })
      if (seq !== undefined) moveJob(seq, now)
      return seq
    }
    const seq = this.#lightly(() => this.#atomically(end))
    if (seq === undefined) return false
    this.#moved(1, seq)
    return true
  }
  #moved(changes: number, seq: number) {
    if (changes === 0) return
    const batch = this.#sql.batchOf.get(seq)!
    if (this.#sql.nothingLeft.get(batch) !== undefined) this.#endBatches(batch)
    this.#told(`b${batch}`, [`j${seq}`])
  }
  #endBatches(number: number | null) {
    const now = this.#clock.now()
    const ended = number === null ? this.#sql.endBatches.all(now) : this.#sql.endBatch.all(now, number)
    for (const row of ended) this.events.emit('batchEnded', this.#toBatch(row))
  }
  #told(batchId: string, ids: string[]) {
    this.events.emit('jobs', batchId, ids)
    this.events.emit('changed')
  }
  #batchChanged(id: string) {
    this.events.emit('batch', id)
    this.events.emit('changed')
  }

  #select(
    selection: JobSelection,
    states: readonly JobState[],
    act: (where: string, values: (string | number)[]) => number,
  ): number {
    const asked = 'states' in selection && selection.states ? selection.states : states
    const inStates = `state IN (${states
      .filter((state) => asked.includes(state))
      .map((state) => `'${state}'`)
      .join(', ')})`
    const touched: number[] = []
    const changed = this.#atomically(() => {
      let changed = 0
      if ('ids' in selection) {
        const list = JSON.stringify(selection.ids.map((id) => numberOf('j', id)))
        touched.push(...this.#sql.batchesWith.all(list))
        changed = act(`${inStates} AND seq IN (SELECT value FROM json_each(?))`, [list])
      } else if ('batchId' in selection) {
        const row = this.#batchRow(numberOf('b', selection.batchId))
        touched.push(row.number)
        changed = act(`${inStates} AND seq >= ? AND seq < ?`, [row.first_job, row.first_job + row.jobs])
      } else {
        changed = act(inStates, [])
      }
      this.#sql.reopen.run()
      return changed
    })
    if (changed > 0) {
      this.#endBatches(null)
      const ids = 'ids' in selection && selection.ids.length <= 200 ? selection.ids : []
      for (const batch of touched) this.events.emit('jobs', `b${batch}`, touched.length === 1 ? ids : [])
      if (touched.length === 0)
        for (const { number } of this.#sql.batchIds.all()) this.events.emit('jobs', `b${number}`, [])
      this.events.emit('changed')
    }
    return changed
  }

  /** Makes room between waiting jobs that have come too close. */
  #spread(priority: number, around: number) {
    for (let count = 64; ; count *= 2) {
      const jobs = this.#sql.crowd.all({ priority, around, count })
      const [first, last] = [jobs[0], jobs.at(-1)]
      const complete = jobs.length < count * 2
      if (!first || !last) return
      const step = complete ? GAP : Math.floor((last.position - first.position) / (jobs.length - 1))
      if (step < 1024 && !complete) continue
      jobs.forEach(({ seq }, at) => {
        this.#sql.place.run(priority, first.position + at * step, seq)
      })
      return
    }
  }

  #keepOnce(document: unknown): string {
    const text = writeJson(document)
    const hash = createHash('sha256').update(text).digest('hex')
    if (this.#sql.hasDocument.get(hash) === undefined) this.#sql.keepDocument.run(hash, zstdCompressSync(text))
    return hash
  }
  #document(hash: string): Json {
    return parseJson(zstdDecompressSync(this.#sql.document.get(hash)!).toString())
  }
  #batch(number: number): KeptBatch {
    const known = this.#batches.get(number)
    if (known) return known
    const row = this.#batchRow(number)
    const batch: KeptBatch = {
      id: `b${number}`,
      workflowId: row.workflow_id,
      name: row.name,
      plan: parseJson(row.plan) as unknown as BatchPlan,
      prompt: this.#document(row.prompt) as unknown as Prompt,
      editor: row.editor === null ? null : this.#document(row.editor),
      parameters: this.#document(row.parameters) as unknown as Parameter[],
      workers: JSON.parse(row.workers) as string[],
      pattern: row.pattern,
      outDir: row.out_dir,
      createdAt: row.created_at,
    }
    if (this.#batches.size >= BATCHES_REMEMBERED) this.#batches.delete(this.#batches.keys().next().value!)
    this.#batches.set(number, batch)
    return batch
  }
  #batchRow(number: number): BatchRow {
    const row = this.#sql.batch.get(number)
    if (!row) throw new AppError('app.not-found', { what: `Batch b${number}` })
    return row
  }
  #row(id: string): JobRow {
    const row = this.#sql.job.get(numberOf('j', id))
    if (!row) throw new AppError('app.not-found', { what: `Job ${id}` })
    return row
  }
  #queuedJob(row: JobRow): QueuedJob {
    return {
      id: `j${row.seq}`,
      batchId: `b${row.batch}`,
      row: row.row,
      index: row.idx,
      overrides: parseJson(row.overrides) as Values,
      label: row.label,
      extra: row.extra === null ? {} : (JSON.parse(row.extra) as Record<string, string>),
      createdAt: row.created_at,
      batch: this.#batch(row.batch),
    }
  }
  #toBatch(row: BatchRow): Batch {
    const workers = JSON.parse(row.workers) as string[]
    const left = row.waiting + row.running
    return {
      id: `b${row.number}`,
      workflowId: row.workflow_id,
      name: row.name,
      counts: {
        waiting: row.waiting,
        running: row.running,
        done: row.done,
        failed: row.failed,
        cancelled: row.cancelled,
        parked: row.parked,
      },
      paused: row.paused !== 'no',
      priority: row.priority,
      workers,
      startAt: row.start_at,
      stopAt: row.stop_at,
      outDir: row.out_dir,
      pattern: row.pattern,
      createdAt: row.created_at,
      endedAt: row.ended_at,
      etaSeconds: left === 0 ? null : this.estimate(left, workers),
    }
  }
}

/** In English; other languages have them in resources/locales, problems.json. */
const STALLED = {
  'queue.paused': 'The queue is paused.',
  'queue.batch-paused': 'Every batch with waiting jobs is paused.',
  'queue.outside-window': 'The waiting jobs start later, as their batch says.',
  'queue.no-worker': 'No worker that may take the waiting jobs is connected.',
  'queue.other-checkpoints': 'The endpoints that are ready are for other checkpoints than the waiting jobs use.',
  'queue.retry-later': 'The waiting jobs failed before and are tried again soon.',
}

interface JobRow {
  seq: number
  batch: number
  row: number
  idx: number
  state: JobState
  priority: number
  position: number
  wanted: Wanted | null
  worker_id: string | null
  attempts: number
  artifacts: number
  created_at: number
  started_at: number | null
  ended_at: number | null
  label: string
  overrides: string
  extra: string | null
  failure: string | null
}
interface BatchRow extends JobCounts {
  number: number
  workflow_id: string
  name: string
  plan: string
  prompt: string
  editor: string | null
  parameters: string
  workers: string
  pattern: string
  out_dir: string
  priority: number
  paused: PauseState
  start_at: string | null
  stop_at: string | null
  from_minute: number | null
  to_minute: number | null
  opens_at: number | null
  closes_at: number | null
  first_job: number
  jobs: number
  created_at: number
  ended_at: number | null
}
interface AttemptRow {
  prompt_id: string
  attempt_worker: string
  attempt_started: number
  submitted_at: number | null
  began_at: number | null
}

const toWindow = (row: BatchRow): Window => ({
  fromMinute: row.from_minute,
  toMinute: row.to_minute,
  opensAt: row.opens_at,
  closesAt: row.closes_at,
})

const toJob = (row: JobRow): Job => ({
  id: `j${row.seq}`,
  batchId: `b${row.batch}`,
  row: row.row,
  index: row.idx,
  state: row.state,
  priority: row.priority,
  label: row.label,
  workerId: row.worker_id,
  attempts: row.attempts + (row.state === 'running' ? 1 : 0),
  artifacts: row.artifacts,
  failure: row.failure === null ? null : (parseJson(row.failure) as unknown as Failure),
  createdAt: row.created_at,
  startedAt: row.started_at,
  endedAt: row.ended_at,
})

/** 'j2048' → 2048. An id that is none is a thing that is not there. */
function numberOf(letter: 'j' | 'b', id: string): number {
  const number = id.startsWith(letter) ? Number(id.slice(1)) : Number.NaN
  if (!Number.isSafeInteger(number)) throw new AppError('app.not-found', { what: id })
  return number
}

function statements(db: Database) {
  const get = <P extends unknown[], R>(sql: string) => db.prepare<P, R>(sql)
  const pluck = <P extends unknown[], R>(sql: string) => db.prepare<P, R>(sql).pluck()
  /** A batch b lets worker :worker take its jobs at :now. */
  const eligible = `b.waiting > 0 AND b.paused = 'no'
    AND (b.opens_at IS NULL OR b.opens_at <= :now) AND (b.closes_at IS NULL OR b.closes_at > :now)
    AND (b.from_minute IS NULL OR CASE WHEN b.from_minute < b.to_minute
      THEN :minute >= b.from_minute AND :minute < b.to_minute ELSE :minute >= b.from_minute OR :minute < b.to_minute END)
    AND CASE b.workers WHEN '[]' THEN :real ELSE EXISTS (SELECT 1 FROM json_each(b.workers) WHERE value = :worker) END`
  return {
    lastJob: pluck<[], number | null>(`SELECT max(seq) FROM jobs`),
    addBatch: get(`INSERT INTO batches (workflow_id, name, plan, prompt, editor, parameters, workers, pattern, out_dir,
        priority, start_at, stop_at, from_minute, to_minute, opens_at, closes_at, continue_key, first_job, created_at)
      VALUES (:workflow, :name, :plan, :prompt, :editor, :parameters, :workers, :pattern, :outDir,
        :priority, :startAt, :stopAt, :fromMinute, :toMinute, :opensAt, :closesAt, :continueKey, :first, :now)`),
    addJob: get(`INSERT INTO jobs (seq, batch, row, idx, state, priority, position, created_at, label, overrides, extra)
      VALUES (?, ?, ?, ?, 'waiting', ?, ?, ?, ?, ?, ?)`),
    addChunk: get(`INSERT INTO chunks (bits, chunk, waiting) VALUES (:bits, :chunk, :waiting)
      ON CONFLICT DO UPDATE SET waiting = waiting + :waiting`),
    countNew: get(`UPDATE batches SET jobs = :count, waiting = :count, ended_at = :endedAt WHERE number = :number`),
    hasDocument: pluck<[string], number>(`SELECT 1 FROM prompts WHERE hash = ?`),
    keepDocument: get(`INSERT INTO prompts (hash, body) VALUES (?, ?)`),
    document: pluck<[string], Buffer>(`SELECT body FROM prompts WHERE hash = ?`),
    findOpen: pluck<[string], number>(
      `SELECT number FROM batches WHERE continue_key = ? AND ended_at IS NULL ORDER BY number DESC LIMIT 1`,
    ),
    // no two callers claim the same job; each batch offers its first, the best of them is taken
    claim: get<[{ worker: string; real: number; now: number; minute: number }], JobRow>(`UPDATE jobs
      SET state = 'running', worker_id = :worker, started_at = :now, wanted = NULL, failure = NULL
      WHERE seq = (SELECT j.seq FROM batches b CROSS JOIN jobs j ON j.seq =
          (SELECT seq FROM jobs WHERE batch = b.number AND state = 'waiting' AND not_before <= :now
            ORDER BY priority DESC, position LIMIT 1)
        WHERE ${eligible} AND (SELECT paused FROM queue) = 'no' ORDER BY j.priority DESC, j.position LIMIT 1)
      RETURNING *`),
    /** What batches would give a worker next, as far as one looks ahead. */
    offered: get<[{ worker: string; real: number; now: number; minute: number }], JobRow>(`SELECT j.*
      FROM batches b CROSS JOIN jobs j ON j.seq IN
          (SELECT seq FROM jobs WHERE batch = b.number AND state = 'waiting' AND not_before <= :now
            ORDER BY priority DESC, position LIMIT 2000)
        WHERE ${eligible} AND (SELECT paused FROM queue) = 'no' ORDER BY j.priority DESC, j.position`),
    claimThis: get<[{ worker: string; now: number; seq: number }], JobRow>(`UPDATE jobs
      SET state = 'running', worker_id = :worker, started_at = :now, wanted = NULL, failure = NULL
      WHERE seq = :seq AND state = 'waiting' RETURNING *`),
    beginAttempt: get(
      `INSERT INTO attempts (prompt_id, job, worker_id, prompt_hash, started_at)
       SELECT :promptId, seq, :workerId, :promptHash, :startedAt FROM jobs
       WHERE seq = :job AND state = 'running' AND wanted IS NULL`,
    ),
    submitted: get(`UPDATE attempts SET submitted_at = ? WHERE prompt_id = ? AND submitted_at IS NULL`),
    began: pluck<[number, string], number>(
      `UPDATE attempts SET began_at = ? WHERE prompt_id = ? AND began_at IS NULL RETURNING job`,
    ),
    startedNow: get(`UPDATE jobs SET started_at = ? WHERE seq = ?`),
    endAttempt: pluck<[Record<string, unknown>], number>(`UPDATE attempts
      SET ended = :ended, ended_at = :now, seconds = :seconds, failure = :failure
      WHERE prompt_id = :promptId AND ended IS NULL RETURNING job`),
    done: get(
      `UPDATE jobs SET state = 'done', artifacts = ?, ended_at = ?, wanted = NULL WHERE seq = ? AND state = 'running'`,
    ),
    failed: get(
      `UPDATE jobs SET state = 'failed', failure = ?, ended_at = ?, wanted = NULL WHERE seq = ? AND state = 'running'`,
    ),
    parked: get(
      `UPDATE jobs SET state = 'parked', failure = ?, ended_at = ?, wanted = NULL WHERE seq = ? AND state = 'running'`,
    ),
    cancelled: get(
      `UPDATE jobs SET state = 'cancelled', ended_at = ?, wanted = NULL WHERE seq = ? AND state = 'running'`,
    ),
    waitAgain: get(`UPDATE jobs SET state = 'waiting', not_before = ?, failure = ?, wanted = NULL, worker_id = NULL,
        started_at = NULL WHERE seq = ? AND state = 'running'`),
    failures: get<[number], { failures: number; retries: number }>(`SELECT
        (SELECT count(*) FROM attempts WHERE job = j.seq AND ended = 'failed' AND started_at >= j.retried_at) AS failures,
        (SELECT json_extract(plan, '$.retries') FROM batches WHERE number = j.batch) AS retries
      FROM jobs j WHERE seq = ?`),
    lostBefore: get<[number], { began: number; submitted: number }>(`SELECT
        count(began_at) AS began, count(submitted_at) AS submitted FROM attempts
      WHERE job = ? AND ended = 'lost' AND started_at >= (SELECT retried_at FROM jobs WHERE seq = attempts.job)`),
    strays: get<[], { seq: number; wanted: Wanted | null }>(`SELECT seq, wanted FROM jobs WHERE state = 'running'
      AND NOT EXISTS (SELECT 1 FROM attempts WHERE job = seq AND ended IS NULL)`),
    openAttempts: get<[], JobRow & AttemptRow>(`SELECT jobs.*, prompt_id, attempts.worker_id AS attempt_worker,
        attempts.started_at AS attempt_started, submitted_at, began_at
      FROM attempts INDEXED BY one_attempt_at_a_time JOIN jobs ON seq = job WHERE ended IS NULL
      ORDER BY attempts.started_at, seq`),
    ended: pluck<[string], number>(`SELECT ended IS NOT NULL FROM attempts WHERE prompt_id = ?`),
    wanted: get<[], { seq: number; wanted: Wanted }>(
      `SELECT seq, wanted FROM jobs WHERE state = 'running' AND wanted IS NOT NULL`,
    ),
    leaveOver: get(`UPDATE attempts SET leftover = 1 WHERE prompt_id = ?`),
    leftovers: pluck<[string], string>(`SELECT prompt_id FROM attempts WHERE worker_id = ? AND leftover = 1`),
    clearLeftover: get(`UPDATE attempts SET leftover = 0 WHERE prompt_id = ?`),
    job: get<[number], JobRow>(`SELECT * FROM jobs WHERE seq = ?`),
    jobs: get<[string], JobRow>(`SELECT jobs.* FROM json_each(?) CROSS JOIN jobs ON seq = value ORDER BY key`),
    tries: get<[number], JobDetail['tries'][number]>(`SELECT prompt_id AS promptId, worker_id AS workerId,
        coalesce(began_at, started_at) AS startedAt, ended_at AS endedAt, ended FROM attempts WHERE job = ?
        ORDER BY started_at, rowid`),
    counts: get<[], JobCounts>(`SELECT total(waiting) AS waiting, total(running) AS running, total(done) AS done,
        total(failed) AS failed, total(cancelled) AS cancelled, total(parked) AS parked FROM batches`),
    batch: get<[number], BatchRow>(`SELECT * FROM batches WHERE number = ?`),
    batches: get<[number, number], BatchRow>(`SELECT * FROM batches ORDER BY number DESC LIMIT ? OFFSET ?`),
    batchesFrom: get<[string, number, number], BatchRow>(
      `SELECT * FROM batches WHERE workflow_id = ? ORDER BY number DESC LIMIT ? OFFSET ?`,
    ),
    batchIds: get<[], { number: number }>(`SELECT number FROM batches WHERE jobs > 0 ORDER BY number DESC LIMIT 1000`),
    batchCount: pluck<[], number>(`SELECT count(*) FROM batches`),
    batchesOf: pluck<[string], number>(`SELECT count(*) FROM batches WHERE workflow_id = ?`),
    batchesWith: pluck<[string], number>(
      `SELECT DISTINCT batch FROM jobs WHERE seq IN (SELECT value FROM json_each(?))`,
    ),
    withWork: get<[], BatchRow>(`SELECT * FROM batches WHERE waiting > 0`),
    remaining: get<[], { workers: string; jobs: number }>(
      `SELECT workers, sum(waiting + running) AS jobs FROM batches WHERE waiting > 0 OR running > 0 GROUP BY workers`,
    ),
    endBatches: get<[number], BatchRow>(
      `UPDATE batches SET ended_at = ? WHERE ended_at IS NULL AND waiting = 0 AND running = 0 RETURNING *`,
    ),
    endBatch: get<[number, number], BatchRow>(
      `UPDATE batches SET ended_at = ? WHERE number = ? AND ended_at IS NULL AND waiting = 0 AND running = 0 RETURNING *`,
    ),
    batchOf: pluck<[number], number>(`SELECT batch FROM jobs WHERE seq = ?`),
    nothingLeft: pluck<[number], number>(`SELECT 1 FROM batches WHERE number = ? AND waiting = 0 AND running = 0`),
    reopen: get(`UPDATE batches SET ended_at = NULL WHERE ended_at IS NOT NULL AND waiting > 0`),
    paused: get<[], { paused: PauseState; because: string | null }>(`SELECT paused, because FROM queue`),
    pause: get(`UPDATE queue SET paused = ?, because = ?`),
    pauseBatch: get(`UPDATE batches SET paused = ? WHERE number = ?`),
    requeueAll: get(`UPDATE jobs SET wanted = 'requeue' WHERE state = 'running' AND wanted IS NULL`),
    requeueBatch: get(`UPDATE jobs SET wanted = 'requeue' WHERE state = 'running' AND wanted IS NULL AND batch = ?`),
    setWindow: get(`UPDATE batches SET start_at = :startAt, stop_at = :stopAt, from_minute = :fromMinute,
        to_minute = :toMinute, opens_at = :opensAt, closes_at = :closesAt WHERE number = :number`),
    heldBack: pluck<[number], number | null>(
      `SELECT min(not_before) FROM jobs WHERE state = 'waiting' AND not_before > 0 AND not_before > ?`,
    ),
    recentSeconds: get<[], { workerId: string; seconds: number }>(`SELECT worker_id AS workerId, seconds FROM attempts
      WHERE job IN (SELECT seq FROM jobs WHERE state = 'done' ORDER BY seq DESC LIMIT 40) AND ended = 'done' AND seconds IS NOT NULL
      ORDER BY ended_at DESC`),
    waitingInOrder: pluck<[number, number], number>(
      `SELECT seq FROM jobs INDEXED BY jobs_in_order WHERE state = 'waiting' ORDER BY priority DESC, position LIMIT ? OFFSET ?`,
    ),
    waitingFromEnd: pluck<[number, number], number>(
      `SELECT seq FROM jobs INDEXED BY jobs_in_order WHERE state = 'waiting' ORDER BY priority, position DESC LIMIT ? OFFSET ?`,
    ),
    waitingOf: pluck<[number, number, number], number>(
      `SELECT seq FROM jobs INDEXED BY jobs_to_claim WHERE state = 'waiting' AND batch = ? ORDER BY priority DESC, position LIMIT ? OFFSET ?`,
    ),
    waitingOfFromEnd: pluck<[number, number, number], number>(
      `SELECT seq FROM jobs INDEXED BY jobs_to_claim WHERE state = 'waiting' AND batch = ? ORDER BY priority, position DESC LIMIT ? OFFSET ?`,
    ),
    neighbours: get<[number, number, number], { priority: number; position: number }>(
      `SELECT priority, position FROM jobs INDEXED BY jobs_in_order WHERE state = 'waiting' AND seq <> ? ORDER BY priority DESC, position LIMIT ? OFFSET ?`,
    ),
    lastWaiting: get<[number], { priority: number; position: number }>(
      `SELECT priority, position FROM jobs INDEXED BY jobs_in_order WHERE state = 'waiting' AND seq <> ? ORDER BY priority, position DESC LIMIT 1`,
    ),
    place: get(`UPDATE jobs SET priority = ?, position = ? WHERE seq = ?`),
    crowd: get<
      [{ priority: number; around: number; count: number }],
      { seq: number; position: number }
    >(`SELECT * FROM (
        SELECT * FROM (SELECT seq, position FROM jobs WHERE state = 'waiting' AND priority = :priority
          AND position <= :around ORDER BY position DESC LIMIT :count)
        UNION ALL SELECT * FROM (SELECT seq, position FROM jobs WHERE state = 'waiting' AND priority = :priority
          AND position > :around ORDER BY position LIMIT :count)) ORDER BY position`),
    search: pluck<[number, number, string, string, string, number], number>(`SELECT seq FROM jobs
      WHERE seq >= ? AND seq < ? AND state IN (SELECT value FROM json_each(?))
        AND (label LIKE ? ESCAPE '\\' OR overrides LIKE ? ESCAPE '\\') ORDER BY seq DESC LIMIT ?`),
  }
}
