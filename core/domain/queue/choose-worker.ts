import type { Prompt } from '../../contract/comfyui.ts'
import type { WorkerView } from '../../contract/worker.ts'

interface Candidate {
  readonly id: string
  readonly kind: WorkerView['kind']
}

/** Whether a batch lets this worker take its jobs. `[]`: any real one; sketches are made only when asked for. */
export const mayTake = (workers: readonly string[], worker: Candidate) =>
  workers.length === 0 ? worker.kind !== 'rehearsal' : workers.includes(worker.id)

/** Whether a prompt uses one of these checkpoints; one without a folder means it in any. `[]`: no matter which. */
export function usesOne(checkpoints: readonly string[], prompt: Prompt): boolean {
  if (checkpoints.length === 0) return true
  const names = new Set(checkpoints.map(plain))
  return Object.values(prompt).some(({ inputs }) =>
    Object.values(inputs).some((value) => {
      if (typeof value !== 'string' || !MODEL.test(value)) return false
      const name = plain(value)
      return names.has(name) || names.has(name.slice(name.lastIndexOf('/') + 1))
    }),
  )
}
/** Whether values, as JSON, could name one of these checkpoints: quickly, and never wrongly no. */
export function mayName(checkpoints: readonly string[], json: string): boolean {
  const text = json.toLowerCase()
  return checkpoints.some((name) => {
    const bare = plain(name).split('/').at(-1)!
    return /["\\\p{Cc}]/u.test(bare) || text.includes(bare)
  })
}
const plain = (name: string) => name.replaceAll('\\', '/').toLowerCase()
const MODEL = /\.(safetensors|sft|ckpt|gguf|pth?|bin)$/i

/** The worker that should have the next job: the emptiest, so that all begin before any has one in reserve. */
export function chooseWorker<T extends { readonly capacity: number; readonly inFlight: number }>(
  workers: readonly T[],
): T | undefined {
  const withRoom = workers.filter(({ capacity, inFlight }) => inFlight < capacity)
  return withRoom.toSorted((a, b) => a.inFlight / a.capacity - b.inFlight / b.capacity)[0]
}
