import { z } from 'zod'
import { Prompt } from './comfyui.ts'
import { Failure } from './errors.ts'
import { Panel } from './panel.ts'
import { ModelNeeded, SnapshotId } from './snapshot.ts'
import { Parameter } from './workflow.ts'

/** A workflow that is offered where it was published: its prompt, and the form it is filled in with. */
export const PublishedWorkflow = z.object({
  /** In addresses. */
  id: z.string().regex(/^[a-z0-9][a-z0-9-]{0,59}$/),
  name: z.string(),
  prompt: Prompt,
  panel: Panel.nullable(),
  parameters: z.array(Parameter),
})
export type PublishedWorkflow = z.infer<typeof PublishedWorkflow>

/** What is to run from one moment on: a snapshot, the models it is given, the workflows it offers. */
export const ReleaseAsked = z.object({
  snapshotId: SnapshotId,
  /** Beyond the snapshot's own. */
  flags: z.array(z.string()).default([]),
  /** Those that must be there; a part of the snapshot's. */
  models: z.array(ModelNeeded),
  workflows: z.array(PublishedWorkflow),
  note: z.string().max(2000).default(''),
})
export type ReleaseAsked = z.infer<typeof ReleaseAsked>

/** Never changes. `version` counts up from 1 in its store. */
export const Release = ReleaseAsked.extend({ version: z.int().min(1), createdAt: z.int() })
export type Release = z.infer<typeof Release>

/** What making one ready goes through, in order. */
export const releasePhases = ['fetch', 'restore', 'models', 'start', 'verify', 'canary'] as const
export const ReleasePhase = z.enum(releasePhases)
export type ReleasePhase = z.infer<typeof ReleasePhase>

/** `ready`: it may be promoted; `live`: it serves; `retired`: it did, and may again. */
export const ReleaseState = z.discriminatedUnion('is', [
  z.object({ is: z.literal('preparing'), phase: ReleasePhase, bytes: z.number(), totalBytes: z.number() }),
  z.object({ is: z.literal('ready') }),
  z.object({ is: z.literal('live') }),
  z.object({ is: z.literal('retired') }),
  z.object({ is: z.literal('refused'), failure: Failure }),
])
export type ReleaseState = z.infer<typeof ReleaseState>

/** A release as the asked agent sees it. */
export const ReleaseView = z.object({
  version: z.int(),
  snapshotId: SnapshotId,
  note: z.string(),
  createdAt: z.int(),
  workflows: z.array(z.object({ id: z.string(), name: z.string() })),
  models: z.int(),
  state: ReleaseState,
  /** How long each phase took here; those that were done before are absent. */
  seconds: z.partialRecord(ReleasePhase, z.number()),
})
export type ReleaseView = z.infer<typeof ReleaseView>

/** `GET /v1/releases`: the newest first. */
export const ReleaseList = z.object({ rows: z.array(ReleaseView) })
