/** The time, and a way to be called later; tests turn it by hand. */
export interface Clock {
  /** Epoch milliseconds. */
  now(): number
  /** Calls once after `ms`; returns what calls it off. */
  after(ms: number, call: () => void): () => void
}

export const systemClock: Clock = {
  now: Date.now,
  after(ms, call) {
    const timer = setTimeout(call, ms)
    return () => clearTimeout(timer)
  },
}
