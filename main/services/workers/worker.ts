import type { FileReference, NodeId, ObjectInfo, Prompt } from '../../../core/contract/comfyui.ts'
import type { Failure } from '../../../core/contract/errors.ts'
import type { Json } from '../../../core/contract/json.ts'
import type { WorkerHealth, WorkerView } from '../../../core/contract/worker.ts'

/** One submission, complete: what is sent is exactly this. */
export interface Attempt {
  /** Ours, a lower-case UUID, committed before it is sent. */
  readonly promptId: string
  readonly jobId: string
  readonly prompt: Prompt
  /** Goes to `extra_data.extra_pnginfo`: `workflow` (the editor's, with the values used) and `nightshift: {job, attempt}`. */
  readonly pngInfo: Record<string, Json>
}

/** A file, or a piece of text, that a node of the prompt gave out. */
export type Output =
  | {
      readonly is: 'file'
      readonly node: NodeId
      readonly index: number
      readonly key: string
      readonly file: FileReference
    }
  | { readonly is: 'text'; readonly node: NodeId; readonly index: number; readonly text: string }

/** How a prompt ended. */
export type Ending =
  | { readonly is: 'saved'; readonly outputs: readonly Output[]; readonly seconds: number }
  /** `retryable`: the same prompt may work another time (out of memory, connection), unlike a refused value. */
  | { readonly is: 'failed'; readonly failure: Failure; readonly retryable: boolean }
  | { readonly is: 'interrupted' }
  /** The server no longer knows it: neither queue nor history. */
  | { readonly is: 'lost' }

export type JobStep =
  | { readonly is: 'submitted' }
  | { readonly is: 'started' }
  | {
      readonly is: 'progress'
      readonly node: NodeId | null
      readonly value: number
      readonly max: number
      readonly overall: number
    }
  | { readonly is: 'preview'; readonly mediaType: string; readonly bytes: Uint8Array }
  | Ending

/** What became of an attempt we lost sight of. Throws AppError 'worker.unreachable' when nobody can say. */
export type Recovered = Ending | { readonly is: 'queued' } | { readonly is: 'running' }

export interface Worker {
  readonly id: string
  readonly kind: WorkerView['kind']
  readonly url: string | null
  /** Attempts it takes at once: two for one ComfyUI (one running, one ready), more for an endpoint. */
  readonly capacity: number
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
  /** The bytes of an output file. */
  fetch(file: FileReference, signal?: AbortSignal): AsyncIterable<Uint8Array>
  close(): Promise<void>
}
