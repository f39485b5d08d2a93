import type { Readable } from 'node:stream'
import type { z } from 'zod'
import type { App, InputFile } from '../../core/contract/app.ts'
import type { Router } from '../../core/contract/procedure.ts'
import type { EventHub } from './events.ts'

/** Bytes that are no JSON: they travel beside the procedures. */
export interface Files {
  artifact(id: string): Promise<{ path: string; name: string; mediaType: string }>
  /** `size`: the longer side, in pixels. */
  thumbnail(id: string, size: number): Promise<{ path: string; mediaType: string }>
  /** The latest preview picture of a running job. */
  preview(jobId: string): { bytes: Uint8Array; mediaType: string } | null
  addInput(name: string, body: Readable): Promise<z.output<typeof InputFile>>
}

/** What every door leads to. */
export interface Served {
  readonly router: Router<App>
  readonly events: EventHub<App>
  readonly files: Files
  /** Told of faults that are ours. */
  readonly onFault: (cause: unknown, name: string) => void
}
