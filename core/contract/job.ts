import { z } from 'zod'
import { BatchId, JobCounts, Values } from './batch.ts'
import { NodeId } from './comfyui.ts'
import { Failure } from './errors.ts'

export const JobId = z.string()
export const JobState = z.enum(['waiting', 'running', 'done', 'failed', 'cancelled', 'parked'])
export type JobState = z.infer<typeof JobState>

export const Job = z.object({
  id: JobId,
  batchId: BatchId,
  /** 1-based row of the table it came from; its place in the batch. */
  row: z.int(),
  index: z.int(),
  state: JobState,
  priority: z.int(),
  /** The values that make this job differ from the others of its batch, short enough for a list. */
  label: z.string(),
  workerId: z.string().nullable(),
  attempts: z.int(),
  artifacts: z.int(),
  failure: Failure.nullable(),
  createdAt: z.int(),
  startedAt: z.int().nullable(),
  endedAt: z.int().nullable(),
})
export type Job = z.infer<typeof Job>

export const AttemptView = z.object({
  promptId: z.string(),
  workerId: z.string(),
  startedAt: z.int(),
  endedAt: z.int().nullable(),
  ended: z.enum(['done', 'failed', 'cancelled', 'lost']).nullable(),
})
export const JobDetail = Job.extend({ overrides: Values, tries: z.array(AttemptView) })
export type JobDetail = z.infer<typeof JobDetail>

export const JobProgress = z.object({
  jobId: JobId,
  workerId: z.string(),
  node: NodeId.nullable(),
  nodeTitle: z.string(),
  /** Within the node: steps done of all. */
  value: z.number(),
  max: z.number(),
  /** Of the whole prompt, 0 to 1. */
  overall: z.number(),
  /** Grows with each preview picture; `GET /files/preview/<jobId>?n=` serves it. 0: none yet. */
  preview: z.int(),
})
export type JobProgress = z.infer<typeof JobProgress>

export const JobFilter = z.object({
  batchId: BatchId.optional(),
  states: z.array(JobState).optional(),
  search: z.string().optional(),
})
export const Page = z.object({ offset: z.int().min(0).default(0), limit: z.int().min(1).max(200).default(100) })

/** Which jobs an action is for: these, or all of a batch in these states. */
export const JobSelection = z.union([
  z.object({ ids: z.array(JobId).min(1).max(10_000) }),
  z.object({ batchId: BatchId, states: z.array(JobState).optional() }),
  z.object({ all: z.literal(true), states: z.array(JobState).optional() }),
])
export type JobSelection = z.infer<typeof JobSelection>

/** `after-current`: what runs may finish. `now`: what runs is interrupted and waits again. */
export const PauseState = z.enum(['no', 'after-current', 'now'])
export type PauseState = z.infer<typeof PauseState>

export const QueueState = z.object({
  counts: JobCounts,
  paused: PauseState,
  etaSeconds: z.number().nullable(),
  /** Why nothing moves although jobs wait: outside every window, no worker, paused, the disk is full. */
  stalled: z.object({ code: z.string(), message: z.string() }).nullable(),
  running: z.array(JobProgress),
})
export type QueueState = z.infer<typeof QueueState>
