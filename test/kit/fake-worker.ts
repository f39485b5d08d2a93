import { EventEmitter } from 'node:events'
import { AppError, toFailure } from '../../core/contract/errors.ts'
import type { WorkerHealth } from '../../core/contract/worker.ts'
import type { Attempt, Ending, JobStep, Recovered, Worker } from '../../main/services/workers/worker.ts'

type Fault = 'die-after-saving' | 'die-mid-run' | 'die-before-taking' | 'out-of-memory' | 'refuse'
interface Held {
  is: 'queued' | 'running'
  ending: Ending | null
}

/**
 * A worker whose server is in this process and does as told: prompts end at once, or when `complete` says so while
 * `holding`. It runs one prompt at a time, keeps its history, and can die, come back, and forget.
 */
export class FakeWorker implements Worker {
  readonly id: string
  readonly kind: Worker['kind']
  readonly url = null
  readonly capacity: number
  health: WorkerHealth = ready
  /** Prompts that arrived, in order. */
  readonly submitted: Attempt[] = []
  /** Prompts it began to run. */
  readonly began = new Set<string>()
  /** The most it ever held at once. */
  mostHeld = 0
  holding = false
  readonly server = new Map<string, Held>()
  readonly told = new EventEmitter<{ health: []; server: [] }>()
  #faults: Fault[] = []

  constructor(id = 'w1', { capacity = 2, kind = 'remote' as Worker['kind'] } = {}) {
    this.id = id
    this.kind = kind
    this.capacity = capacity
    this.told.setMaxListeners(0)
  }
  get submissions() {
    return this.submitted.length
  }
  get running(): string | undefined {
    return [...this.server].find(([, { is, ending }]) => is === 'running' && !ending)?.[0]
  }
  onNext(...faults: Fault[]) {
    this.#faults.push(...faults)
  }
  complete(promptId = this.running, ending: Ending = saved(promptId ?? '')) {
    const held = this.server.get(promptId ?? '')
    if (!held) throw new Error(`no prompt ${promptId}`)
    held.ending = ending
    this.#next()
  }
  die() {
    this.health = { is: 'unreachable', because: toFailure(gone()), retryAt: 0 }
    this.told.emit('server')
    this.told.emit('health')
  }
  comeBack({ forgetful = false } = {}) {
    if (forgetful) this.server.clear()
    this.health = ready
    this.#next()
    this.told.emit('health')
  }

  onHealth() {
    return () => {}
  }
  async hasInput() {
    return true
  }
  async definitions() {
    return {}
  }
  async *run(attempt: Attempt, signal: AbortSignal): AsyncIterable<JobStep> {
    const fault = this.#faults.shift()
    if (fault === 'die-before-taking') this.die()
    this.#reachable()
    this.submitted.push(attempt)
    const { promptId } = attempt
    if (fault === 'refuse') {
      yield { is: 'failed', failure: toFailure(new AppError('prompt.rejected', { reason: 'seed' })), retryable: false }
      return
    }
    this.server.set(promptId, { is: 'queued', ending: null })
    this.mostHeld = Math.max(this.mostHeld, [...this.server.values()].filter(({ ending }) => !ending).length)
    this.#next()
    yield { is: 'submitted' }
    if (fault === 'out-of-memory') {
      const failure = toFailure(new AppError('prompt.out-of-memory', { nodeType: 'KSampler' }))
      this.complete(promptId, { is: 'failed', failure, retryable: true })
    }
    if (fault === 'die-after-saving') this.complete(promptId)
    if (fault === 'die-after-saving' || fault === 'die-mid-run') {
      yield { is: 'started' }
      this.die()
    }
    if (!fault && !this.holding) this.complete(promptId)
    yield* this.follow(promptId, signal)
  }
  async *follow(promptId: string, signal: AbortSignal): AsyncIterable<JobStep> {
    for (let began = false; ; ) {
      this.#reachable()
      const held = this.server.get(promptId)
      if (!held) return yield { is: 'lost' }
      if (held.is === 'running' && !began) {
        began = true
        yield { is: 'started' }
        yield { is: 'progress', node: '3', value: 1, max: 4, overall: 0.25 }
        continue
      }
      if (held.ending) return yield held.ending
      await new Promise<void>((resolve, reject) => {
        this.told.once('server', resolve)
        signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true })
        if (signal.aborted) reject(signal.reason as Error)
      })
    }
  }
  async recover(promptId: string): Promise<Recovered> {
    this.#reachable()
    const held = this.server.get(promptId)
    return held ? (held.ending ?? { is: held.is }) : { is: 'lost' }
  }
  async cancel(promptId: string) {
    this.#reachable()
    const held = this.server.get(promptId)
    if (!held || held.ending) return
    if (held.is === 'queued') this.server.delete(promptId)
    else held.ending = { is: 'interrupted' }
    this.#next()
  }
  async upload(file: { name: string }) {
    return file.name
  }
  async *fetch() {
    yield new Uint8Array()
  }
  async close() {}

  #reachable() {
    if (this.health.is !== 'ready') throw gone()
  }
  #next() {
    const waiting = [...this.server].find(([, { ending }]) => !ending)
    if (waiting) {
      waiting[1].is = 'running'
      this.began.add(waiting[0])
    }
    this.told.emit('server')
  }
}

const ready: WorkerHealth = { is: 'ready', comfyuiVersion: '0.33.0', devices: [], queueLength: 0, latencyMs: 1 }
const gone = () => new AppError('worker.unreachable', { url: 'http://fake', reason: 'connection refused' })
/** Outputs that carry the mark of their attempt. */
export const saved = (promptId: string): Ending => ({
  is: 'saved',
  seconds: 2,
  outputs: [
    {
      is: 'file',
      node: '9',
      index: 0,
      key: 'images',
      file: { filename: `${promptId}_00001_.png`, subfolder: '', type: 'output' },
    },
  ],
})
