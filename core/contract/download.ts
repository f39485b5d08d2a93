import { z } from 'zod'
import { ClockTime } from './batch.ts'
import { Failure } from './errors.ts'
import { FileRef } from './hub.ts'

export const DownloadId = z.string()
export const DownloadState = z.enum(['waiting', 'running', 'paused', 'done', 'failed', 'cancelled'])
export type DownloadState = z.infer<typeof DownloadState>

/** A file to have. Asked for again while it is on its way, it is the same download. */
export const DownloadWanted = z.object({
  name: z.string().min(1).max(500),
  kind: z.enum(['model', 'file']),
  /** Absolute, the final name: the file is there whole or not at all. */
  to: z.string().min(1),
  /** The best first; all of them the same file. */
  sources: z.array(FileRef).min(1).max(50),
  sizeBytes: z.int().nonnegative().nullable().default(null),
  sha256: z
    .string()
    .regex(/^[\da-f]{64}$/)
    .nullable()
    .default(null),
  gitSha1: z
    .string()
    .regex(/^[\da-f]{40}$/)
    .nullable()
    .default(null),
  /** Higher goes first; those of one priority go in the order they were asked for. */
  priority: z.int().min(-1000).max(1000).default(0),
  /** When it may run, each day, on the clock of this machine; null: whenever downloads may. */
  startAt: ClockTime.nullable().default(null),
  stopAt: ClockTime.nullable().default(null),
  /** What whoever asked wants to know again: `page`, `licence`, `folder`, `workflowId` … */
  about: z.record(z.string(), z.string()).default({}),
})
export type DownloadWanted = z.input<typeof DownloadWanted>

/** A place that a file comes from, as it is now. */
export const SourceView = z.object({
  id: z.string(),
  /** Where its bytes come from, after redirects. */
  host: z.string(),
  /** `passed-over`: not asked any more. */
  is: z.enum(['waiting', 'active', 'resting', 'passed-over']),
  againAt: z.number().nullable(),
  connections: z.int(),
  fetchedBytes: z.number(),
  bytesPerSecond: z.number(),
  /** Why it rests or was passed over. */
  reason: z.string().nullable(),
})
export type SourceView = z.infer<typeof SourceView>
/** The bytes of the file that one connection was asked for, and how many of them came. */
export const ConnectionView = z.object({
  source: z.string(),
  from: z.number(),
  to: z.number(),
  doneBytes: z.number(),
  bytesPerSecond: z.number(),
})
export type ConnectionView = z.infer<typeof ConnectionView>

/** What a person can do about a failure, besides trying again. */
export const DownloadRemedy = z.enum(['open-page', 'add-token', 'make-room', 'test-mirrors', 'check-network'])
export type DownloadRemedy = z.infer<typeof DownloadRemedy>

export const DownloadView = z.object({
  id: DownloadId,
  name: z.string(),
  kind: DownloadWanted.shape.kind,
  to: z.string(),
  state: DownloadState,
  /** Why it waits: its turn, its hours, that all are held, or a while before it is tried again; null: it does not wait. */
  waitsFor: z.enum(['turn', 'hours', 'hold', 'retry']).nullable(),
  /** When it may go on; null: now, or nobody knows. */
  opensAt: z.number().nullable(),
  startAt: z.string().nullable(),
  stopAt: z.string().nullable(),
  priority: z.int(),
  /**
   * What a running one is at. `asking`: hubs, for addresses. `checking`: what was fetched before is read again.
   * `elsewhere`: another program fetches the same file. `full`: the disk is; it goes on as soon as there is room.
   */
  phase: z.enum(['asking', 'checking', 'elsewhere', 'fetching', 'full', 'verifying']).nullable(),
  sizeBytes: z.number().nullable(),
  doneBytes: z.number(),
  /** null: not running, or too early to say. */
  bytesPerSecond: z.number().nullable(),
  etaSeconds: z.number().nullable(),
  sha256: z.string().nullable(),
  sources: z.array(SourceView),
  connections: z.array(ConnectionView),
  /** Sources that failed, and what went on instead; the newest last. */
  switched: z.array(z.object({ from: z.string(), to: z.string(), reason: z.string() })),
  /** Why it failed, or waits for room on the disk. */
  failure: Failure.nullable(),
  remedies: z.array(DownloadRemedy),
  /** The page of the file's hub. */
  page: z.string().nullable(),
  about: z.record(z.string(), z.string()),
  createdAt: z.number(),
  startedAt: z.number().nullable(),
  endedAt: z.number().nullable(),
})
export type DownloadView = z.infer<typeof DownloadView>

export const DownloadFilter = z.object({ states: z.array(DownloadState).optional(), search: z.string().default('') })
export type DownloadFilter = z.input<typeof DownloadFilter>
/** Which downloads an action is for. */
export const DownloadSelection = z.union([
  z.object({ ids: z.array(DownloadId).min(1).max(1000) }),
  z.object({ all: z.literal(true), states: z.array(DownloadState).optional() }),
])
export type DownloadSelection = z.infer<typeof DownloadSelection>

/** All of them together. */
export const DownloadTotals = z.object({
  counts: z.record(DownloadState, z.int()),
  bytesPerSecond: z.number(),
  /** Of those that wait or run. */
  leftBytes: z.number(),
  etaSeconds: z.number().nullable(),
  held: z.boolean(),
})
export type DownloadTotals = z.infer<typeof DownloadTotals>

/** How the person lets all of them go. */
export const DownloadSettings = z.object({
  /** Bytes a second; null: as fast as it goes. */
  bytesPerSecond: z.int().min(1024).nullable().default(null),
  bytesPerSecondPerHost: z.int().min(1024).nullable().default(null),
  connections: z.int().min(1).max(128).default(32),
  connectionsPerHost: z.int().min(1).max(32).default(16),
  /** By host, in place of what holds for every host. */
  hosts: z
    .record(
      z.string().max(253),
      z.object({
        bytesPerSecond: z.int().min(1024).nullable().default(null),
        connections: z.int().min(1).max(32).optional(),
      }),
    )
    .default({}),
  /** None runs until the person lets them go on. */
  held: z.boolean().default(false),
  /** Files at once. */
  atOnce: z.int().min(1).max(16).default(3),
  /** Only between these, each day; null: at any time. */
  startAt: ClockTime.nullable().default(null),
  stopAt: ClockTime.nullable().default(null),
  /** The rate limits are for the day: between these there are none. */
  fullSpeedFrom: ClockTime.nullable().default(null),
  fullSpeedTo: ClockTime.nullable().default(null),
})
export type DownloadSettings = z.infer<typeof DownloadSettings>
