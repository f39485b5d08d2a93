import type { EventEmitter } from 'node:events'
import type { Model, ModelFilter, ModelRoot } from '../../core/contract/model.ts'

/** What others ask the model library for. */
export interface ModelShelf {
  readonly events: EventEmitter<{ changed: [] }>
  roots(): ModelRoot[]
  /** Where a new model of ComfyUI's `folder` goes; `engine` null: the first there is. null: no engine has that folder. */
  folderFor(engine: string | null, folder: string): string | null
  bySha256(sha256: string): Model | null
  /** What a loader of `folder` would take by this name: exact, else the other slash, other case, another sub-folder. */
  byName(folder: string, name: string): Model | null
  page(filter: ModelFilter & { offset: number; limit: number }): { rows: Model[]; total: number }
  /** A file that came to its final place just now, with the hash it was checked by. */
  takeIn(file: string, sha256: string | null): Promise<Model | null>
}
