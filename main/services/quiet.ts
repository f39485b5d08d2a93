import { execFile } from 'node:child_process'
import { EventEmitter } from 'node:events'
import { promisify } from 'node:util'
import type { WorkerView } from '../../core/contract/worker.ts'
import type { Clock } from './clock.ts'
import type { LocalEngine } from './local-engine.ts'
import type { Service } from './service.ts'

/** A prompt of ours that runs on a worker, and when it last told anything. */
export interface RunningPrompt {
  readonly workerId: string
  readonly jobId: string
  readonly heardAt: number
}
interface Deps {
  readonly clock: Clock
  readonly running: () => readonly RunningPrompt[]
  readonly localEngine: Pick<LocalEngine, 'worked'>
  /** How busy a card is, 0 to 100, as `nvidia-smi` counts; null: nobody says. */
  readonly cardUse?: (card: string) => Promise<number | null>
  readonly quietAfterMs?: number
  readonly lookEveryMs?: number
  readonly log?: (event: string, facts: object) => void
}

const QUIET_AFTER_MS = 10 * 60_000
const LOOK_EVERY_MS = 20_000
/** Of the time between two looks, what a program does that only waits. */
const IDLE_SHARE = 0.02

/**
 * Prompts that run and tell nothing any more. Time ends none of them: loading a large model, or a slow node, tells nothing
 * either. What is seen is told, with whether the card and the process do anything; what to do is the person's to say.
 */
export class Quiet implements Service {
  readonly events = new EventEmitter<{ changed: [workerId: string] }>()
  readonly #deps: Deps
  #found = new Map<string, NonNullable<WorkerView['quiet']>>()
  /** What a process had done when it was looked at last. */
  readonly #before = new Map<string, { at: number; workedMs: number; used: boolean }>()
  #wake: (() => void) | null = null
  #looking: Promise<void> = Promise.resolve()

  constructor(deps: Deps) {
    this.#deps = deps
  }

  async start() {
    this.#wake ??= this.#later()
  }

  async stop() {
    this.#wake?.()
    this.#wake = null
    await this.#looking
  }

  of(workerId: string): WorkerView['quiet'] {
    return this.#found.get(workerId) ?? null
  }

  // ---- inside ----

  #later() {
    const { clock, lookEveryMs = LOOK_EVERY_MS } = this.#deps
    return clock.after(lookEveryMs, () => {
      this.#looking = this.#look().finally(() => {
        if (this.#wake) this.#wake = this.#later()
      })
    })
  }

  async #look() {
    const { clock, running, quietAfterMs = QUIET_AFTER_MS, log } = this.#deps
    const now = clock.now()
    const found = new Map<string, NonNullable<WorkerView['quiet']>>()
    for (const { workerId, jobId, heardAt } of running()) {
      if (now - heardAt < quietAfterMs || (found.get(workerId)?.since ?? now) <= heardAt) continue
      found.set(workerId, { jobId, since: heardAt, idle: await this.#isIdle(workerId) })
    }
    for (const id of this.#before.keys()) if (!found.has(id)) this.#before.delete(id)
    const before = this.#found
    this.#found = found
    for (const id of new Set([...before.keys(), ...found.keys()])) {
      const [one, other] = [before.get(id), found.get(id)]
      if (one?.jobId === other?.jobId && one?.idle === other?.idle) continue
      if (other) log?.('worker.quiet', { id, ...other })
      this.events.emit('changed', id)
    }
  }

  /** Between this look and the last: neither its card nor its processes did anything. null: it cannot be told, or not yet. */
  async #isIdle(workerId: string): Promise<boolean | null> {
    const { localEngine, cardUse = askCard, clock } = this.#deps
    const process = await localEngine.worked(workerId)
    if (!process) return null
    const use = /^\d+$/.test(process.card) ? await cardUse(process.card) : null
    if (process.workedMs === null) return use === null ? null : use === 0
    const before = this.#before.get(workerId)
    const seen = { at: clock.now(), workedMs: process.workedMs, used: (use ?? 0) > 0 }
    this.#before.set(workerId, seen)
    if (!before || seen.at <= before.at) return null
    const share = (seen.workedMs - before.workedMs) / (seen.at - before.at)
    return share < IDLE_SHARE && !seen.used && !before.used
  }
}

const askCard = async (card: string): Promise<number | null> => {
  const args = [`--id=${card}`, '--query-gpu=utilization.gpu', '--format=csv,noheader,nounits']
  const said = await promisify(execFile)('nvidia-smi', args, { timeout: 5_000, windowsHide: true }).catch(() => null)
  const use = Number.parseInt(said?.stdout ?? '', 10)
  return Number.isFinite(use) ? use : null
}
