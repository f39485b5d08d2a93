import { z } from 'zod'
import { JsonRecord, NodeId } from './comfyui.ts'
import { Failure } from './errors.ts'

// What an agent tells whoever calls it: fc-comfyui's progress map, with fields of ours beside its own.

export const TaskState = z.enum(['queued', 'running', 'succeeded', 'failed', 'cancelled'])
export type TaskState = z.infer<typeof TaskState>
export const isOver = (state: TaskState) => state !== 'queued' && state !== 'running'

/** Of a node: `max` 0, it has not begun; `value` = `max`, it is done. Times are whole seconds. */
export const NodeReport = z.object({
  max: z.int(),
  value: z.int(),
  start: z.int(),
  last_updated: z.int(),
  images: z.array(z.object({ filename: z.string(), subfolder: z.string(), type: z.string() })).nullable(),
  cached: z.literal(true).optional(),
  /** All it showed besides pictures, as ComfyUI told it. */
  outputs: JsonRecord.optional(),
  /** Of its files, in the order of `urls`. */
  mime: z.array(z.string()).optional(),
  /** Where its files are had, on any agent that shares the store; pictures first, as in `images`. */
  urls: z.array(z.string()).optional(),
  error: z.custom<TaskError>().optional(),
})
export type NodeReport = z.infer<typeof NodeReport>
export interface TaskError {
  type: string
  message: string
  node_type?: string
  node_id?: string
}

export const TaskFile = z.object({
  node: NodeId,
  /** Its place among the files of its node. */
  index: z.int(),
  key: z.string(),
  name: z.string(),
  mediaType: z.string(),
  sizeBytes: z.int(),
})
export type TaskFile = z.infer<typeof TaskFile>

/** Who is to be told when a task is over, and how far that has come. */
export const Hook = z.object({
  id: z.string(),
  url: z.string(),
  /** The key that asked for it. */
  caller: z.string(),
  /** How the agent was called then: links in what is told begin so. */
  base: z.string(),
  createdAt: z.int(),
  tries: z.int(),
  /** Epoch ms; null: told, or given up. */
  nextAt: z.int().nullable(),
  toldAt: z.int().nullable(),
  /** Why the last try failed. */
  reason: z.string().nullable(),
})
export type Hook = z.infer<typeof Hook>

/** What is kept of a task, for whichever agent is asked. */
export const Task = z.object({
  id: z.string(),
  /** Of the workflow as it came: the same id may not mean another. */
  sha256: z.string(),
  promptId: z.string(),
  state: TaskState,
  createdAt: z.int(),
  updatedAt: z.int(),
  /** On which it runs; null: on whichever serves. */
  release: z.int().nullable().default(null),
  /** Id of the key it came with. */
  owner: z.string().optional(),
  /** Whoever has claimed this number works on it. */
  attempt: z.int(),
  /** How often a ComfyUI began it. */
  begun: z.int().optional(),
  /** Epoch ms by the clock of whoever works on it, who moves it on and on; 0, and not over: nobody does. */
  leaseUntil: z.int(),
  queuePosition: z.int().nullable(),
  /** What -1 became, by node. */
  seeds: z.record(z.string(), z.int()),
  failure: Failure.nullable(),
  /** ComfyUI's own words, where it refused. */
  refusal: JsonRecord.nullable(),
  nodes: z.record(z.string(), NodeReport),
  files: z.array(TaskFile),
  /** Of a task that succeeded: how long ComfyUI worked on it. */
  seconds: z.number().optional(),
})
export type Task = z.infer<typeof Task>

/** Which inputs name a file that a caller may send along: as base64, or by its address. */
export const imageInputs: Record<string, Record<string, 'image' | 'video' | 'audio'>> = {
  LoadImage: { image: 'image' },
  LoadImageMask: { image: 'image' },
  LoadImageOutput: { image: 'image' },
  LoadVideo: { file: 'video' },
  LoadAudio: { audio: 'audio' },
  VHS_LoadVideo: { video: 'video' },
  VHS_LoadAudioUpload: { audio: 'audio' },
}
