const FIRST_PAUSE_MS = 5_000
const LONGEST_PAUSE_MS = 300_000

/**
 * How long a job that failed waits before it is tried again by itself, or null: it is not.
 * `failures` counts this one; the pause grows threefold, so that a worker in trouble is left alone.
 */
export function retryAfterMs(failed: { failures: number; retries: number; retryable: boolean }): number | null {
  if (!failed.retryable || failed.failures > failed.retries) return null
  return Math.min(FIRST_PAUSE_MS * 3 ** (failed.failures - 1), LONGEST_PAUSE_MS)
}
