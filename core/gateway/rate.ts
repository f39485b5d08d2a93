interface Bucket {
  left: number
  at: number
}

/** So many at once, and so many a second over time, for each name on its own. */
export class Rate {
  readonly #most: number
  readonly #perSecond: number
  readonly #now: () => number
  readonly #buckets = new Map<string, Bucket>()

  /** `now` in milliseconds. */
  constructor(most: number, perSecond: number, now: () => number) {
    this.#most = most
    this.#perSecond = perSecond
    this.#now = now
  }

  /** False: too many. */
  take(name: string): boolean {
    return this.wait(name) === 0
  }

  /** Takes one, and 0; or in how many seconds there will be one. */
  wait(name: string): number {
    const now = this.#now()
    const known = this.#buckets.get(name) ?? { left: this.#most, at: now }
    const left = Math.min(this.#most, known.left + ((now - known.at) / 1000) * this.#perSecond)
    this.#buckets.delete(name)
    this.#buckets.set(name, { left: left >= 1 ? left - 1 : left, at: now })
    if (this.#buckets.size > MOST_NAMES) this.#buckets.delete(this.#buckets.keys().next().value!)
    return left >= 1 ? 0 : Math.max(1, Math.ceil((1 - left) / this.#perSecond))
  }
}

const MOST_NAMES = 10_000
