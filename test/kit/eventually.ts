import { setTimeout as pause } from 'node:timers/promises'

type Truthy<T> = Exclude<T, null | undefined | false | 0 | ''>

/** Asks again until `look` gives something truthy; fails after `withinMs` with the last thing seen. */
export async function eventually<T>(look: () => T | Promise<T>, withinMs = 60_000, everyMs = 20): Promise<Truthy<T>> {
  const until = performance.now() + withinMs
  let seen: unknown
  while (performance.now() < until) {
    try {
      const found = await look()
      if (found) return found as Truthy<T>
      seen = found
    } catch (cause) {
      seen = cause
    }
    await pause(everyMs)
  }
  throw new Error(
    `did not happen within ${withinMs} ms; last seen: ${seen instanceof Error ? seen.message : JSON.stringify(seen)}`,
  )
}
