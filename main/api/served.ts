import type { Readable } from 'node:stream'
import type { z } from 'zod'
import type { App, InputFile } from '../../core/contract/app.ts'
import type { Reach, Router } from '../../core/contract/procedure.ts'
import type { ServedFile } from '../services/artifacts.ts'
import type { ThumbnailSize } from '../services/thumbnails.ts'
import type { EventHub } from './events.ts'

/** Bytes that are no JSON: they travel beside the procedures. */
export interface Files {
  artifact(id: string, asked: { range?: string; ifNoneMatch?: string }): Promise<ServedFile>
  /** WebP; null: it cannot be shown small. */
  thumbnail(id: string, size: ThumbnailSize): Promise<Uint8Array | null>
  /** The latest preview picture of a running job. */
  preview(jobId: string): { bytes: Uint8Array; mediaType: string } | null
  addInput(name: string, body: Readable): Promise<z.output<typeof InputFile>>
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
