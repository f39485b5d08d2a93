import type { Batch } from '../../core/contract/batch.ts'
import { AppError } from '../../core/contract/errors.ts'
import type { Job, JobState } from '../../core/contract/job.ts'
import type { Client } from '../api/client.ts'
import type { Terminal } from './terminal.ts'

const FINAL = ['done', 'failed', 'cancelled', 'parked'] as const satisfies JobState[]
const isFinal = (state: JobState) => (FINAL as readonly JobState[]).includes(state)
/** Events are the news; this is the net below them, and notices a process that has gone. */
const LOOK_EVERY_MS = 1000
const PAGE = 200

/** Follows one batch to its end, through as many connections as it takes. */
export class Follower {
  readonly #batchId: string
  readonly #terminal: Terminal
  /** Jobs told, by id and end: one that was retried ends again. */
  readonly #told = new Set<string>()
  #doneBefore = 0
  #stall: { readonly code: string; readonly since: number; told: boolean } | null = null
  #since = performance.now()

  constructor(batchId: string, terminal: Terminal) {
    this.#batchId = batchId
    this.#terminal = terminal
  }

  /** What ended before is not told again. */
  async skipEnded(client: Client) {
    for await (const job of this.#ended(client)) this.#told.add(endOf(job))
    this.#doneBefore = (await client.call('batch.get', { id: this.#batchId })).counts.done
    this.#since = performance.now()
  }

  /** @throws AppError 'app.disconnected', 'app.interrupted'; what stops the whole queue (a full disk) */
  async toTheEnd(client: Client, signal: AbortSignal): Promise<Batch> {
    const fresh = new Set<string>()
    const running = new Map<string, number>()
    let all = true // whatever happened before we listened
    let wake = () => {}
    const leave = client.subscribe(null, (frame) => {
      if (frame.name === 'job.progress') {
        const { jobId, overall } = frame.payload as { jobId: string; overall: number }
        running.set(jobId, overall)
      } else if (frame.name === 'job.changed') {
        const { batchId, ids } = frame.payload as { batchId: string; ids: string[] }
        if (batchId !== this.#batchId) return
        for (const id of ids) fresh.add(id)
        all ||= ids.length === 0
      } else if (frame.name === 'reset') all = true
      else if (frame.name !== 'queue.changed' && frame.name !== 'batch.ended') return
      wake()
    })
    const interrupted = () => wake()
    signal.addEventListener('abort', interrupted)
    try {
      for (;;) {
        if (signal.aborted) throw new AppError('app.interrupted')
        const ids = [...fresh]
        fresh.clear()
        const scan = all
        all = false
        for (const id of ids) await this.#look(client, await client.call('job.get', { id }), running)
        if (scan) for await (const job of this.#ended(client)) await this.#look(client, job, running)
        const batch = await client.call('batch.get', { id: this.#batchId })
        if (batch.counts.waiting + batch.counts.running === 0) {
          for await (const job of this.#ended(client)) await this.#look(client, job, running)
          return batch
        }
        this.#draw(batch, [...running.values()])
        await this.#lookForStall(client)
        if (fresh.size > 0 || all) continue
        const { promise, resolve } = Promise.withResolvers<void>()
        const timer = setTimeout(resolve, LOOK_EVERY_MS)
        wake = resolve
        if (!signal.aborted) await promise
        clearTimeout(timer)
      }
    } finally {
      signal.removeEventListener('abort', interrupted)
      leave()
    }
  }

  async *#ended(client: Client): AsyncIterable<Job> {
    for (let offset = 0; ; offset += PAGE) {
      const page = { batchId: this.#batchId, states: [...FINAL], offset, limit: PAGE }
      const { rows } = await client.call('job.page', page)
      yield* rows
      if (rows.length < PAGE) return
    }
  }

  async #look(client: Client, job: Job, running: Map<string, number>) {
    if (!isFinal(job.state)) return
    running.delete(job.id)
    if (this.#told.has(endOf(job))) return
    this.#told.add(endOf(job))
    const { id: jobId, row, state, failure } = job
    const files = job.artifacts > 0 ? (await client.call('artifact.locate', { jobId })).files : []
    const artifacts = files.map(({ path }) => path)
    this.#terminal.event('job', { jobId, row, state, artifacts, ...(failure && { failure: { ...failure } }) })
    if (this.#terminal.json) return
    const { run, states } = this.#terminal.speech.words
    if (state === 'done') this.#terminal.say(run.jobDone, { row, files: artifacts.join(', ') })
    else {
      const reason = failure ? this.#terminal.speech.failure(failure).message : ''
      this.#terminal.say(reason ? run.jobFailed : run.jobEnded, { row, state: states[state], reason })
    }
  }

  #draw({ counts, etaSeconds }: Batch, partial: number[]) {
    const done = counts.done + counts.failed + counts.cancelled + counts.parked
    const minutes = (performance.now() - this.#since) / 60_000
    const perMinute = (counts.done - this.#doneBefore) / Math.max(minutes, 1 / 600)
    const left = counts.waiting + counts.running
    this.#terminal.progress({
      done,
      total: done + left,
      partial: partial.reduce((sum, each) => sum + each, 0),
      perMinute,
      secondsLeft: etaSeconds ?? (perMinute > 0 ? (left / perMinute) * 60 : null),
    })
  }

  /**
   * Says once why nothing moves, when it has not for a moment. A disk without room ends the run: nobody is here to make
   * some.
   */
  async #lookForStall(client: Client) {
    const { stalled } = await client.call('queue.state', {})
    if (!stalled) {
      this.#stall = null
      return
    }
    const { code, message } = stalled
    if (code === 'disk.full' || code === 'disk.denied') {
      const { outDir } = await client.call('batch.get', { id: this.#batchId })
      throw new AppError(code, { dir: outDir })
    }
    if (this.#stall?.code !== code) this.#stall = { code, since: performance.now(), told: false }
    if (this.#stall.told || performance.now() - this.#stall.since < LOOK_EVERY_MS / 2) return
    this.#stall.told = true
    this.#terminal.event('stalled', { code, message })
    this.#terminal.note(this.#terminal.speech.words.run.stalled, { reason: this.#terminal.speech.problem(stalled) })
  }
}

const endOf = ({ id, endedAt }: Job) => `${id}@${endedAt}`
