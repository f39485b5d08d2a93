/** What we know of an attempt we lost sight of. */
export interface OpenAttempt {
  /** The server said it has the prompt. */
  readonly submitted: boolean
  /** The server began to run it. */
  readonly began: boolean
  /** Earlier attempts of this job that the server began, or only took, and then forgot. */
  readonly lostAfterBegin: number
  readonly lostAfterSubmit: number
}

const ENDED_ELSEWHERE = ['saved', 'failed', 'interrupted']
const IN_HAND = ['queued', 'running']

/**
 * What to do about it after any crash or reconnect; time alone never makes a job run twice.
 * A prompt that was running when its server died may be what killed it: the second time it is `forgotten`, not run
 * again. One that never arrived is no one's fault and goes again.
 */
export function reconcile(
  attempt: OpenAttempt,
  seen: { readonly is: string },
): 'adopt' | 'reattach' | 'rerun' | 'forgotten' | 'park' {
  if (ENDED_ELSEWHERE.includes(seen.is)) return 'adopt'
  if (IN_HAND.includes(seen.is)) return 'reattach'
  if (seen.is !== 'lost') return 'park'
  if (attempt.began && attempt.lostAfterBegin >= 1) return 'forgotten'
  if (attempt.submitted && attempt.lostAfterSubmit >= 4) return 'forgotten'
  return 'rerun'
}
