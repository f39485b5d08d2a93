import type { Json } from '../../core/contract/json.ts'

export interface Measured {
  readonly bench: string
  readonly n: number
  /** Medians, in `unit`. */
  readonly ours: number
  readonly peer: number
  readonly peerName: string
  readonly unit: string
  /** Whether a smaller number is the better one. */
  readonly less: boolean
  readonly goal: number
  readonly facts: Record<string, Json>
}

/** Prints one JSON line; a ratio of 1 is as good as the peer, more is better. False: below the goal. */
export function report({ less, ...measured }: Measured): boolean {
  const { ours, peer, goal } = measured
  const ratio = less ? peer / ours : ours / peer
  const ok = ratio >= goal
  const round = (value: number) => Number(value.toPrecision(4))
  const { facts, ...rest } = measured
  console.log(JSON.stringify({ ...rest, ours: round(ours), peer: round(peer), ratio: round(ratio), ok, facts }))
  return ok
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = Math.floor(sorted.length / 2)
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

/** Milliseconds that `work` took. */
export async function timed(work: () => unknown): Promise<number> {
  const before = performance.now()
  await work()
  return performance.now() - before
}
