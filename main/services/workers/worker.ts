import type { FileReference, ObjectInfo, Prompt } from '../../../core/contract/comfyui.ts'
import type { Json } from '../../../core/contract/json.ts'
import type { WorkerHealth, WorkerView } from '../../../core/contract/worker.ts'
import type { JobStep, Recovered } from '../../../core/engine/comfy/run-prompt.ts'

/** One submission, complete: what is sent is exactly this. */
export interface Attempt {
  /** Ours, a lower-case UUID, committed before it is sent. */
  readonly promptId: string
  readonly jobId: string
  readonly prompt: Prompt
  /** Goes to `extra_data.extra_pnginfo`: `workflow` (the editor's, with the values used) and `nightshift: {job, attempt}`. */
  readonly pngInfo: Record<string, Json>
  /** Some of its nodes cost money: the worker sends the person's key along. */
  readonly paid?: boolean
}

export type { Output } from '../../../core/engine/comfy/outputs.ts'
export type { Ending, JobStep, Recovered } from '../../../core/engine/comfy/run-prompt.ts'

export interface Worker {
  readonly id: string
  readonly kind: WorkerView['kind']
  readonly url: string | null
  /** Attempts it takes at once: two for one ComfyUI (one running, one ready), more for an endpoint. */
  readonly capacity: number
  /** It takes only jobs that use one of these; none: any. */
  readonly checkpoints?: readonly string[]
  readonly health: WorkerHealth
  /** Told when `health` changes. Returns the function that ends the subscription. */
  onHealth(listener: (health: WorkerHealth) => void): () => void
  /** Node definitions, cached until the server restarts or changes. */
  definitions(signal?: AbortSignal): Promise<ObjectInfo>
  /**
   * Submits an attempt and tells what happens; always ends with an Ending unless aborted or the connection is lost
   * (then it throws AppError 'worker.unreachable': recover later). Aborting lets go of it; the prompt runs on.
   */
  run(attempt: Attempt, signal: AbortSignal): AsyncIterable<JobStep>
  /** As `run`, for an attempt submitted earlier that is queued or running there. */
  follow(promptId: string, signal: AbortSignal): AsyncIterable<JobStep>
  recover(promptId: string, signal?: AbortSignal): Promise<Recovered>
  /** Ends the prompt itself, queued or running; resolves when the server no longer has it. */
  cancel(promptId: string, signal?: AbortSignal): Promise<void>
  /** Uploads an input file; the reply is the value to put into the prompt. */
  upload(file: { path: string; name: string }, signal?: AbortSignal): Promise<string>
  /** Whether an input file is there, named as a prompt names it: `sub/name.png`, `name.png [output]`. */
  hasInput(name: string, signal?: AbortSignal): Promise<boolean>
  /** The bytes of an output file. */
  fetch(file: FileReference, signal?: AbortSignal): AsyncIterable<Uint8Array>
  /** Where an output file lies on this machine, if it does: it may be linked instead of copied. */
  pathOf?(file: FileReference): string | null
  /** An output that is kept elsewhere now need not stay there. */
  discard?(promptId: string, file: FileReference): Promise<void>
  close(): Promise<void>
}
