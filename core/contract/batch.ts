import { z } from 'zod'
import { JsonRecord, JsonValue } from './comfyui.ts'
import { walkable } from './json.ts'
import { WorkflowId } from './workflow.ts'

export const BatchId = z.string()

const Value = JsonValue.refine((value) => walkable(value), 'it is nested too deeply')

/** Parameter key (`NODE.INPUT`) or name → value. A number may come as text, as it stands in a table. */
export const Values = z.record(z.string(), Value)
export type Values = z.infer<typeof Values>

/** The values one parameter takes, in order. */
export const Axis = z.object({ parameter: z.string(), values: z.array(Value).min(1) })
export type Axis = z.infer<typeof Axis>

/** "22:00", the wall clock of the machine Nightshift runs on. */
export const ClockTime = z.string().regex(/^([01]?\d|2[0-3]):[0-5]\d$/)

/**
 * Prompts to make from one workflow: rows × axes × repeat, every job with `sets` first, then its row, then its axes.
 * No rows means one row of nothing.
 */
export const BatchPlan = z.object({
  workflowId: WorkflowId,
  name: z.string().optional(),
  sets: Values.default({}),
  rows: z.array(Values).default([]),
  /** What each row is called, where its place among `rows` is not its place in the table; same length as rows, or empty. */
  rowNumbers: z.array(z.int().min(1)).default([]),
  /** The original column of each parameter in `rows`, for messages, names and reports. */
  columns: z.record(z.string(), z.string()).default({}),
  /** Values of table columns that are no parameter, by column; output names may use them. Same length as rows, or empty. */
  extra: z.array(z.record(z.string(), z.string())).default([]),
  axes: z.array(Axis).default([]),
  repeat: z.int().min(1).max(100_000).default(1),
  /** Ids or names of workers, or addresses; empty: whichever real worker is connected, else the rehearsal. */
  workers: z.array(z.string()).default([]),
  /** Output name pattern, see `artifact-name.ts`; empty: the setting. */
  pattern: z.string().default(''),
  /** Absolute folder on this machine; empty: the setting. Only a local door may give one. */
  outDir: z.string().default(''),
  priority: z.int().min(-1000).max(1000).default(0),
  /** How often a job that failed on the worker is tried again by itself. */
  retries: z.int().min(0).max(10).default(0),
  startAt: ClockTime.nullable().default(null),
  stopAt: ClockTime.nullable().default(null),
  /** `{a|b}`, comments, `%date:…%`, `%Node.widget%` replaced per job, as the editor does. */
  textMagic: z.boolean().default(true),
  /** Remove prompt and workflow from delivered pictures. */
  stripMetadata: z.boolean().default(false),
  /** Queue the good rows and leave faulty ones out; false: refuse the batch when a row has a fault. */
  skipFaulty: z.boolean().default(true),
  allowPaid: z.boolean().default(false),
  /** Queue even what cannot be brought over whole; what is left out is told by the workflow's problems. */
  allowLoss: z.boolean().default(false),
  /** Same key and not ended: the batch is continued instead of made again. */
  continueKey: z.string().nullable().default(null),
  /** The seed of all choices made by chance (text magic, seed −1); kept with the batch. */
  chance: z.int().nonnegative().nullable().default(null),
})
export type BatchPlan = z.output<typeof BatchPlan>
export type BatchPlanInput = z.input<typeof BatchPlan>

/** `row`: 1 for the first row below the header. */
export const RowFault = z.object({
  row: z.int(),
  column: z.string(),
  value: z.string(),
  /** A sentence in English; `code` and `facts`, where given, let a screen say it in another language. */
  reason: z.string(),
  code: z.string().optional(),
  facts: JsonRecord.optional(),
})
export type RowFault = z.infer<typeof RowFault>

/** A sentence in English, with the code and the facts to say it in another language. */
export const Sentence = z.object({
  code: z.string(),
  message: z.string(),
  facts: z.record(z.string(), JsonValue).optional(),
})
export type Sentence = z.infer<typeof Sentence>

export const BatchPreview = z.object({
  jobs: z.int(),
  rows: z.int(),
  goodRows: z.int(),
  /** Prompts that differ in more than their seed and file name. */
  distinctPrompts: z.int(),
  exampleNames: z.array(z.string()),
  faults: z.array(RowFault),
  /** A repeated fixed seed, a worker that lacks a node … */
  warnings: z.array(Sentence),
})
export type BatchPreview = z.infer<typeof BatchPreview>

export const JobCounts = z.object({
  waiting: z.int(),
  running: z.int(),
  done: z.int(),
  failed: z.int(),
  cancelled: z.int(),
  parked: z.int(),
})
export type JobCounts = z.infer<typeof JobCounts>

export const Batch = z.object({
  id: BatchId,
  workflowId: WorkflowId,
  name: z.string(),
  counts: JobCounts,
  paused: z.boolean(),
  priority: z.int(),
  workers: z.array(z.string()),
  startAt: z.string().nullable(),
  stopAt: z.string().nullable(),
  outDir: z.string(),
  pattern: z.string(),
  createdAt: z.int(),
  endedAt: z.int().nullable(),
  etaSeconds: z.number().nullable(),
})
export type Batch = z.infer<typeof Batch>

/** A table as read: every cell as the text a person saw. */
export const Table = z.object({
  columns: z.array(z.string()),
  rows: z.array(z.array(z.string())),
  encoding: z.string(),
  sheet: z.string().nullable(),
  sheets: z.array(z.string()),
  /** What a person should know: formulas without stored values, rows longer than the header … */
  notes: z.array(Sentence),
})
export type Table = z.infer<typeof Table>
