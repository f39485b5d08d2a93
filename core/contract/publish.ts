import { z } from 'zod'
import { NodeId } from './comfyui.ts'
import { EndpointName } from './endpoint.ts'
import { EngineName } from './engine.ts'
import { Failure } from './errors.ts'
import { ReleasePhase, ReleaseView } from './release.ts'
import { PushPlan, SecretFound, SnapshotChange, SnapshotId, SnapshotView } from './snapshot.ts'
import { WorkflowId } from './workflow.ts'

/** What was made here and there: every bit the same; alike to the eye (SSIM ≥ 0.95); or neither. */
export const ProofVerdict = z.enum(['identical', 'equivalent', 'different'])
export type ProofVerdict = z.infer<typeof ProofVerdict>

export const Compared = z.object({
  verdict: ProofVerdict,
  /** Structural similarity, 1: the same; it and what follows are null where pictures cannot be laid on one another. */
  ssim: z.number().nullable(),
  /** Share of pixels that differ. */
  changed: z.number().nullable(),
  /** By how much the one pixel that differs most, of 255. */
  largest: z.number().nullable(),
  /** Why they are different. */
  why: z.enum(['unlike', 'size', 'kind', 'not-measured', 'missing', 'extra']).nullable(),
})
export type Compared = z.infer<typeof Compared>

export const proofSides = ['desk', 'endpoint', 'difference'] as const
export const ProofSide = z.enum(proofSides)
export type ProofSide = z.infer<typeof ProofSide>
/** One file of a workflow, made here and on the endpoint with the same seed and inputs. */
export const ProofPicture = Compared.extend({
  workflow: z.string(),
  node: NodeId,
  mediaType: z.string(),
  /** Which there are to look at. */
  shows: z.array(ProofSide),
})
export type ProofPicture = z.infer<typeof ProofPicture>

export const Proof = z.object({
  /** One machine with one build has to make the same bits; others need only make what looks the same. */
  demands: z.enum(['identical', 'equivalent']),
  verdict: ProofVerdict,
  pictures: z.array(ProofPicture),
  seconds: z.object({ desk: z.number(), endpoint: z.number() }),
})
export type Proof = z.infer<typeof Proof>

export const publishSteps = ['push', 'release', 'prepare', 'prove', 'promote'] as const
export const PublishStep = z.enum(publishSteps)
export type PublishStep = z.infer<typeof PublishStep>

export const PublicationId = z.string()

/** `asking`: pictures differ more than they may, and a person has to say whether it is published all the same. */
export const PublishState = z.discriminatedUnion('is', [
  z.object({
    is: z.literal('running'),
    step: PublishStep,
    /** What the endpoint does with it. */
    phase: ReleasePhase.nullable(),
    /** Bytes; while it is proven, workflows made here and there. 0 of 0: not known. */
    done: z.number(),
    total: z.number(),
    /** Since the step began; null: nothing moved yet. */
    perSecond: z.number().nullable(),
    etaSeconds: z.number().nullable(),
  }),
  z.object({ is: z.literal('asking') }),
  z.object({ is: z.literal('done') }),
  z.object({ is: z.literal('failed'), step: PublishStep, failure: Failure }),
  z.object({ is: z.literal('stopped'), step: PublishStep }),
])
export type PublishState = z.infer<typeof PublishState>

export const Consent = z.object({ by: z.string(), at: z.int() })
export type Consent = z.infer<typeof Consent>

/** A snapshot on its way to an endpoint, or there. Stopped at any moment, it goes on where it was. */
export const Publication = z.object({
  id: PublicationId,
  endpoint: z.string(),
  snapshotId: SnapshotId,
  workflows: z.array(z.object({ id: WorkflowId, name: z.string() })),
  note: z.string(),
  createdAt: z.int(),
  endedAt: z.int().nullable(),
  /** Of the release that came of it. */
  version: z.int().nullable(),
  state: PublishState,
  seconds: z.partialRecord(PublishStep, z.number()),
  /** What of the snapshot had to travel. */
  sent: PushPlan.nullable(),
  /** null: not compared, as without workflows. */
  proof: Proof.nullable(),
  /** To pictures that differ. */
  consent: Consent.nullable(),
})
export type Publication = z.infer<typeof Publication>

export const PublishAsk = z.object({
  endpoint: EndpointName,
  /** By id, its beginning, or a label; absent: of how it is now. */
  snapshot: z.string().optional(),
  engine: EngineName.optional(),
  workflows: z.array(WorkflowId).max(50).default([]),
  /** Ids of secrets that may travel. */
  consent: z.array(z.string()).max(1_000).default([]),
})
export type PublishAsk = z.infer<typeof PublishAsk>

/** What would be published, and what stands against it. */
export const PublishPlan = z.object({
  endpoint: z.string(),
  /** null: there are secrets that nobody consented to, and nothing was made. */
  snapshot: SnapshotView.nullable(),
  secrets: z.array(SecretFound),
  push: PushPlan.nullable(),
  models: z.array(z.object({ folder: z.string(), name: z.string(), size: z.number() })),
  workflows: z.array(z.object({ id: WorkflowId, name: z.string() })),
  /** What serves there now. */
  live: ReleaseView.nullable(),
  /** Since then; null: its snapshot is not known here. */
  changes: z.array(SnapshotChange).nullable(),
  /** Why the endpoint would refuse it. */
  refusals: z.array(Failure),
})
export type PublishPlan = z.infer<typeof PublishPlan>

/** A release with what is known here of how it was published. */
export const VersionView = ReleaseView.extend({
  publicationId: PublicationId.nullable(),
  verdict: ProofVerdict.nullable(),
  consent: Consent.nullable(),
})
export type VersionView = z.infer<typeof VersionView>
