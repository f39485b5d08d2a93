import type { Contract, EventName, PayloadOf, Told } from '../../core/contract/procedure.ts'

/** Said instead of a replay when what was missed is no longer kept: ask for everything again. */
export const RESET = 'reset'
export type Frame<C extends Contract = Contract> = Told<C> | { seq: number; name: typeof RESET; payload: object }

/** Numbers what happens and keeps the last of it, so that a listener who was away can catch up. */
export class EventHub<C extends Contract> {
  #seq: number
  #oldest: number
  #kept: Told<C>[] = []
  #limit: number
  #listeners = new Set<(frame: Frame<C>) => void>()

  /** `first`: the clock's milliseconds, so that the numbers of an earlier run of this program are always smaller. */
  constructor(first: number, limit = 2000) {
    this.#seq = first
    this.#oldest = first
    this.#limit = limit
  }

  get seq() {
    return this.#seq
  }
  /** Whoever asks from here hears all that is still kept. */
  get oldest() {
    return this.#oldest
  }

  tell<N extends EventName<C>>(name: N, payload: PayloadOf<C, N>) {
    this.#seq += 1
    const told: Told<C> = { seq: this.#seq, name, payload }
    this.#kept.push(told)
    // trimmed in halves: shifting one by one would move the whole list for each event
    if (this.#kept.length > this.#limit * 2) {
      this.#kept = this.#kept.slice(-this.#limit)
      this.#oldest = this.#kept[0]!.seq - 1
    }
    for (const listener of this.#listeners) listener(told)
  }

  /**
   * Tells the listener what came after `since`, then all that follows. Where that is no longer kept (or `since` is
   * from another run) the first frame is a reset, whose `seq` is the one to ask from next time. null: only what follows.
   */
  subscribe(since: number | null, listener: (frame: Frame<C>) => void): () => void {
    if (since !== null) {
      if (since < this.#oldest || since > this.#seq) listener({ seq: this.#seq, name: RESET, payload: {} })
      else for (const told of this.#kept.filter(({ seq }) => seq > since)) listener(told)
    }
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }
}

/** Calls `tell` after a push, at most once in `everyMs`; the first time at once. */
export function throttled(tell: () => void, everyMs: number) {
  let timer: NodeJS.Timeout | undefined
  let waiting = false
  const look = () => {
    timer = undefined
    if (!waiting) return
    waiting = false
    timer = setTimeout(look, everyMs)
    tell()
  }
  const flush = () => {
    clearTimeout(timer)
    look()
  }
  return {
    push() {
      waiting = true
      if (timer === undefined) look()
    },
    flush,
    /** What was not told yet is told now, and nothing after. */
    stop() {
      flush()
      clearTimeout(timer)
      timer = undefined
    },
  }
}

/** The same for things by name: each that was pushed meanwhile is told once. */
export function throttledEach(tell: (name: string) => void, everyMs: number) {
  const waiting = new Set<string>()
  const { push, stop } = throttled(() => {
    for (const name of waiting) tell(name)
    waiting.clear()
  }, everyMs)
  return {
    push(name: string) {
      waiting.add(name)
      push()
    },
    stop,
  }
}
