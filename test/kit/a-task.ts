import type { Task } from '../../core/contract/agent.ts'

/** A task that is over, as a store keeps it. */
export const aTask = (more: Partial<Task> = {}): Task => ({
  id: 't',
  sha256: 'a',
  promptId: 'p',
  state: 'succeeded',
  createdAt: 1,
  updatedAt: 2,
  attempt: 1,
  leaseUntil: 3,
  queuePosition: null,
  release: null,
  seeds: {},
  failure: null,
  refusal: null,
  nodes: {},
  files: [],
  ...more,
})
