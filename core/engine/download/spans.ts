/** Bytes of a file, the last one not included. */
export interface Span {
  readonly from: number
  readonly to: number
}
/** Bytes that came from one source, by its place among them. */
export interface Run extends Span {
  readonly source: number
}

/** Which bytes of a file are there, and where each came from. Runs neither overlap nor touch one of the same source. */
export class Spans {
  #runs: Run[] = []
  #bytes = 0

  get runs(): readonly Run[] {
    return this.#runs
  }
  get bytes(): number {
    return this.#bytes
  }
  /** All bytes before it are there. */
  get front(): number {
    let front = 0
    for (const { from, to } of this.#runs) {
      if (from > front) break
      front = to
    }
    return front
  }

  /** What was known of these bytes before is forgotten. */
  add(from: number, to: number, source: number) {
    if (to <= from) return
    this.remove(from, to)
    let at = this.#after(from)
    let run: Run = { from, to, source }
    const [before, next] = [this.#runs[at - 1], this.#runs[at]]
    let drop = 0
    if (before && before.to === from && before.source === source) {
      run = { ...run, from: before.from }
      at -= 1
      drop += 1
    }
    if (next && next.from === to && next.source === source) {
      run = { ...run, to: next.to }
      drop += 1
    }
    this.#runs.splice(at, drop, run)
    this.#bytes += to - from
  }

  remove(from: number, to: number) {
    let at = this.#after(from)
    if (at > 0 && this.#runs[at - 1]!.to > from) at -= 1
    const kept: Run[] = []
    let end = at
    for (; end < this.#runs.length && this.#runs[end]!.from < to; end++) {
      const run = this.#runs[end]!
      this.#bytes -= Math.min(run.to, to) - Math.max(run.from, from)
      if (run.from < from) kept.push({ ...run, to: from })
      if (run.to > to) kept.push({ ...run, from: to })
    }
    if (end > at) this.#runs.splice(at, end - at, ...kept)
  }

  /** What is missing between two places, in order. */
  *gaps(from: number, to: number): Iterable<Span> {
    let at = from
    for (let index = Math.max(0, this.#after(from) - 1); index < this.#runs.length; index++) {
      const run = this.#runs[index]!
      if (run.from >= to) break
      if (run.from > at) yield { from: at, to: run.from }
      at = Math.max(at, run.to)
    }
    if (at < to) yield { from: at, to }
  }

  covers(from: number, to: number): boolean {
    for (const _ of this.gaps(from, to)) return false
    return true
  }

  /** The place of the first run that begins after `at`. */
  #after(at: number): number {
    let [low, high] = [0, this.#runs.length]
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.#runs[middle]!.from <= at) low = middle + 1
      else high = middle
    }
    return low
  }
}
