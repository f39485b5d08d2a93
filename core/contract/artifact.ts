import { z } from 'zod'
import { BatchId, Values } from './batch.ts'
import { JsonValue, NodeId, Prompt } from './comfyui.ts'
import { JobId } from './job.ts'

export const ArtifactId = z.string()
/** A file we kept of what ComfyUI made. `name` is relative to the batch's output folder, with forward slashes. */
export const Artifact = z.object({
  id: ArtifactId,
  jobId: JobId,
  batchId: BatchId,
  node: NodeId,
  index: z.int(),
  name: z.string(),
  sha256: z.string(),
  sizeBytes: z.int(),
  mediaType: z.string(),
  kind: z.enum(['image', 'video', 'audio', 'text', '3d', 'other']),
  width: z.int().nullable(),
  height: z.int().nullable(),
  /** Made by the rehearsal: a sketch, never AI output. */
  rehearsal: z.boolean(),
  createdAt: z.int(),
})
export type Artifact = z.infer<typeof Artifact>

/** The record beside each delivered file (`<name>.json`): all that is needed to make it again. */
export const Sidecar = z.object({
  nightshift: z.string(),
  artifact: Artifact.pick({ id: true, node: true, index: true, name: true, sha256: true, mediaType: true }),
  jobId: JobId,
  batchId: BatchId,
  row: z.int(),
  promptId: z.string(),
  prompt: Prompt,
  workflow: JsonValue.nullable(),
  overrides: Values,
  seeds: z.record(z.string(), JsonValue),
  /** What text magic chose: parameter key → the text sent. */
  chosenText: z.record(z.string(), z.string()),
  worker: z.object({
    id: z.string(),
    kind: z.string(),
    url: z.string().nullable(),
    comfyuiVersion: z.string().nullable(),
  }),
  seconds: z.number(),
  /** Prompt and workflow were taken out of the delivered file; this record keeps them. */
  stripped: z.boolean(),
  createdAt: z.int(),
})
export type Sidecar = z.infer<typeof Sidecar>

export const ArtifactFilter = z.object({
  batchId: BatchId.optional(),
  jobId: JobId.optional(),
  row: z.int().optional(),
  /** Words to find in names and in the values of the job. */
  search: z.string().optional(),
  kind: Artifact.shape.kind.optional(),
})
