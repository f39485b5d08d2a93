import type { WorkerView } from '../../contract/worker.ts'

interface Candidate {
  readonly id: string
  readonly kind: WorkerView['kind']
}

/** Whether a batch lets this worker take its jobs. `[]`: any real one; sketches are made only when asked for. */
export const mayTake = (workers: readonly string[], worker: Candidate) =>
  workers.length === 0 ? worker.kind !== 'rehearsal' : workers.includes(worker.id)

/** The worker that should have the next job: the emptiest, so that all begin before any has one in reserve. */
export function chooseWorker<T extends { readonly capacity: number; readonly inFlight: number }>(
  workers: readonly T[],
): T | undefined {
  const withRoom = workers.filter(({ capacity, inFlight }) => inFlight < capacity)
  return withRoom.toSorted((a, b) => a.inFlight / a.capacity - b.inFlight / b.capacity)[0]
}
