import type { Readable } from 'node:stream'
import type { z } from 'zod'
import type { App, ImportResult, InputFile } from '../../core/contract/app.ts'
import type { StagedModel } from '../../core/contract/hub.ts'
import type { Reach, Router } from '../../core/contract/procedure.ts'
import type { ProofSide } from '../../core/contract/publish.ts'
import type { ServedFile } from '../services/artifacts.ts'
import type { ThumbnailSize } from '../services/thumbnails.ts'
import type { EventHub } from './events.ts'

/** Bytes that are no JSON: they travel beside the procedures. */
export interface Files {
  artifact(id: string, asked: { range?: string; ifNoneMatch?: string }): Promise<ServedFile>
  /** WebP; null: it cannot be shown small. */
  thumbnail(id: string, size: ThumbnailSize): Promise<Uint8Array | null>
  /** What is shown for a model, as small WebP; null as above. */
  modelPicture(id: string, size: ThumbnailSize): Promise<Uint8Array | null>
  /** A picture of a publication's proof; null: there is none. */
  proofPicture(id: string, at: number, side: ProofSide): Promise<{ bytes: Uint8Array; mediaType: string } | null>
  /** The latest preview picture of a running job. */
  preview(jobId: string): { bytes: Uint8Array; mediaType: string } | null
  /** A kept input file, or one at an address that a form of the workflow names, as small WebP; null as above. */
  inputThumbnail(of: string, workflowId: string, size: ThumbnailSize): Promise<Uint8Array | null>
  addInput(name: string, body: Readable): Promise<z.output<typeof InputFile>>
  addModel(name: string, body: Readable): Promise<StagedModel>
  /** `sizeBytes` as the sender said; `cameWith` as in `workflow.importMany`. */
  importWorkflow(
    name: string,
    body: Readable,
    facts: { sizeBytes: number; cameWith: string[] },
  ): Promise<z.input<typeof ImportResult>[]>
}

/** What every door leads to. */
export interface Served {
  /** What each reach may do: only callers on this machine may name its files. */
  readonly routers: Readonly<Record<Reach, Router<App>>>
  readonly events: EventHub<App>
  readonly files: Files
  /** Told of faults that are ours. */
  readonly onFault: (cause: unknown, name: string) => void
}
