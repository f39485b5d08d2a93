import type { Clock } from '../../main/services/clock.ts'

/** A clock that stands still until it is turned. Starts at noon, wall clock, of a day without a change of hour. */
export function turnableClock(start = new Date(2026, 5, 15, 12).getTime()): Clock & { turn(ms: number): void } {
  let now = start
  const timers = new Set<{ at: number; call: () => void }>()
  return {
    now: () => now,
    after(ms, call) {
      const timer = { at: now + ms, call }
      timers.add(timer)
      return () => timers.delete(timer)
    },
    turn(ms) {
      const until = now + ms
      for (;;) {
        const due = [...timers].filter(({ at }) => at <= until).sort((a, b) => a.at - b.at)[0]
        if (!due) break
        timers.delete(due)
        now = Math.max(now, due.at)
        due.call()
      }
      now = until
    },
  }
}
