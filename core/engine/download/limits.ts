/** What all downloads together may take; null: as much as there is. Every one may change while they run. */
export interface LimitsSet {
  readonly bytesPerSecond: number | null
  readonly connections: number
  readonly connectionsPerHost: number
  /** By host; stricter or looser than for all. */
  readonly hosts: Readonly<Record<string, { readonly bytesPerSecond?: number | null; readonly connections?: number }>>
}

const UNLIMITED: LimitsSet = { bytesPerSecond: null, connections: 32, connectionsPerHost: 16, hosts: {} }

export class Limits {
  #set: LimitsSet
  constructor(set: Partial<LimitsSet> = {}) {
    this.#set = { ...UNLIMITED, ...set }
  }

  get current(): LimitsSet {
    return this.#set
  }

  change(set: Partial<LimitsSet>) {
    this.#set = { ...this.#set, ...set }
  }
}
