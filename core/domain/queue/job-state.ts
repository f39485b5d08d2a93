import type { JobState } from '../../contract/job.ts'

/** The only legal moves of a job; the database refuses all others too. */
export const moves = {
  waiting: ['running', 'cancelled', 'parked'],
  running: ['done', 'failed', 'cancelled', 'waiting', 'parked'], // waiting again only when the prompt is surely gone
  done: [],
  failed: ['waiting'],
  cancelled: ['waiting'],
  parked: ['waiting', 'cancelled'], // needs a person
} as const satisfies Record<JobState, readonly JobState[]>

export const jobStates = Object.keys(moves) as JobState[]

/** The states a job may be in to move to `to`. */
export const statesBefore = (to: JobState) =>
  jobStates.filter((from) => (moves[from] as readonly JobState[]).includes(to))
