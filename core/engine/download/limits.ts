/** What all downloads together may take. Every one may change while they run. */
export interface LimitsSet {
  /** null: as fast as it goes. */
  readonly bytesPerSecond: number | null
  readonly bytesPerSecondPerHost: number | null
  readonly connections: number
  readonly connectionsPerHost: number
  /** By host, in place of what holds for every host. */
  readonly hosts: Readonly<Record<string, { readonly bytesPerSecond?: number | null; readonly connections?: number }>>
}

const USUAL: LimitsSet = {
  bytesPerSecond: null,
  bytesPerSecondPerHost: null,
  connections: 32,
  connectionsPerHost: 16,
  hosts: {},
}
/** Of a second: what may come at once after a pause. */
const BURST = 0.25

/** Shared by the downloads that are to keep them together. */
export class Limits {
  #set: LimitsSet
  #shares = new Set<Share>()
  #buckets = new Map<string, Bucket>()
  #waiting = new Set<() => void>()

  constructor(set: Partial<LimitsSet> = {}) {
    this.#set = { ...USUAL, ...set }
  }

  get current(): LimitsSet {
    return this.#set
  }

  change(set: Partial<LimitsSet>) {
    this.#set = { ...this.#set, ...set }
    this.#buckets.clear()
    for (const goOn of [...this.#waiting]) goOn()
    for (const share of this.#shares) share.onRoom()
  }

  /** One download's part. `onRoom`: it may try again to open a connection. */
  join(onRoom: () => void): Share {
    const share = new Share(this, onRoom)
    this.#shares.add(share)
    return share
  }

  leave(share: Share) {
    this.#shares.delete(share)
    for (const other of this.#shares) other.onRoom()
  }

  /** An equal part for every download, so that none takes all there are. */
  mayOpen(share: Share, host: string): boolean {
    const { connections, connectionsPerHost, hosts } = this.#set
    const shares = [...this.#shares]
    const sum = (count: (each: Share) => number) => shares.reduce((all, each) => all + count(each), 0)
    const there = shares.filter((each) => each === share || each.at(host) > 0).length
    const perHost = hosts[host]?.connections ?? connectionsPerHost
    const fair = (limit: number, among: number) => Math.max(1, Math.floor(limit / among))
    return (
      sum((each) => each.open) < connections &&
      sum((each) => each.at(host)) < perHost &&
      share.open < fair(connections, shares.length) &&
      share.at(host) < fair(perHost, there)
    )
  }

  /** null: go on. Otherwise when these bytes are paid for. */
  spend(host: string, bytes: number): Promise<void> | null {
    const { bytesPerSecond, bytesPerSecondPerHost, hosts } = this.#set
    const forHost = hosts[host]?.bytesPerSecond
    const owedMs = Math.max(
      this.#owe('', bytesPerSecond, bytes),
      this.#owe(host, forHost === undefined ? bytesPerSecondPerHost : forHost, bytes),
    )
    if (owedMs <= 0) return null
    return new Promise((resolve) => {
      const goOn = () => {
        clearTimeout(timer)
        this.#waiting.delete(goOn)
        resolve()
      }
      const timer = setTimeout(goOn, owedMs)
      this.#waiting.add(goOn)
    })
  }

  #owe(name: string, rate: number | null, bytes: number): number {
    if (rate === null) return 0
    const now = performance.now()
    const bucket = this.#buckets.get(name) ?? { level: rate * BURST, at: now }
    const level = Math.min(rate * BURST, bucket.level + ((now - bucket.at) * rate) / 1000) - bytes
    this.#buckets.set(name, { level, at: now })
    return (-level / rate) * 1000
  }
}

type Bucket = { level: number; at: number }

export class Share {
  readonly onRoom: () => void
  open = 0
  #limits: Limits
  #byHost = new Map<string, number>()

  constructor(limits: Limits, onRoom: () => void) {
    this.#limits = limits
    this.onRoom = onRoom
  }

  at(host: string): number {
    return this.#byHost.get(host) ?? 0
  }
  tryOpen(host: string): boolean {
    if (!this.#limits.mayOpen(this, host)) return false
    this.open += 1
    this.#byHost.set(host, this.at(host) + 1)
    return true
  }
  /** A connection was answered by another host than the one it was counted for. */
  move(from: string, to: string) {
    this.#byHost.set(from, this.at(from) - 1)
    this.#byHost.set(to, this.at(to) + 1)
  }
  /** A connection ended that was counted for `host`. */
  close(host: string) {
    this.open -= 1
    this.#byHost.set(host, this.at(host) - 1)
  }
  spend(host: string, bytes: number): Promise<void> | null {
    return this.#limits.spend(host, bytes)
  }
  leave() {
    this.#limits.leave(this)
  }
}
