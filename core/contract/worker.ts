import { z } from 'zod'
import { Failure } from './errors.ts'

export const WorkerId = z.string()
export const Device = z.object({
  name: z.string(),
  type: z.string(),
  vramTotalBytes: z.number(),
  vramFreeBytes: z.number(),
})
export const WorkerHealth = z.discriminatedUnion('is', [
  z.object({ is: z.literal('connecting') }),
  z.object({
    is: z.literal('ready'),
    comfyuiVersion: z.string().nullable(),
    devices: z.array(Device),
    /** On the server, ours and others'. */
    queueLength: z.int(),
    latencyMs: z.number(),
  }),
  z.object({ is: z.literal('unreachable'), because: Failure, retryAt: z.int() }),
  z.object({ is: z.literal('disabled') }),
])
export type WorkerHealth = z.infer<typeof WorkerHealth>

/** A place that takes attempts. `id` is its name too: `rehearsal`, or what the person called it. */
export const WorkerView = z.object({
  id: WorkerId,
  kind: z.enum(['rehearsal', 'remote', 'local', 'endpoint']),
  url: z.string().nullable(),
  hasHeader: z.boolean(),
  enabled: z.boolean(),
  capacity: z.int(),
  inFlight: z.int(),
  health: WorkerHealth,
  /** A prompt of ours that runs there and has told nothing since. Time alone does not say that it hangs. */
  quiet: z
    .object({
      jobId: z.string(),
      since: z.number(),
      /** Neither the card nor the process does anything; null: it cannot be seen from here. */
      idle: z.boolean().nullable(),
    })
    .nullable()
    .default(null),
})
export type WorkerView = z.infer<typeof WorkerView>

/** What a worker shown to a key of another Nightshift is called there, and where. */
export const SharedPlace = z.object({ id: z.string(), url: z.string(), device: z.string().nullable() })
export type SharedPlace = z.infer<typeof SharedPlace>
/** Who is at an address: a ComfyUI, or another Nightshift that shares some. */
export const WorkerFound = z.union([WorkerHealth, z.object({ is: z.literal('shared'), places: z.array(SharedPlace) })])
export type WorkerFound = z.infer<typeof WorkerFound>

/** What a server has, as it says itself. */
export const WorkerContents = z.object({
  /** Folders with files in them. */
  models: z.array(
    z.object({
      folder: z.string(),
      files: z.array(z.object({ name: z.string(), sizeBytes: z.number().nullable() })),
    }),
  ),
  /** By the folder each is in. */
  customNodes: z.array(z.object({ folder: z.string(), classes: z.int() })),
  /** Node classes, its own and others'. */
  classes: z.int(),
  /** It does not answer now; this is what it said then. */
  cachedAt: z.number().nullable(),
})
export type WorkerContents = z.infer<typeof WorkerContents>

export const WorkerName = z.string().regex(/^[^\s,]{1,60}$/u)
/**
 * `header`: `Name: value`, sent with every request to this worker only; `token`: one that stands for
 * `Authorization: Bearer token`. Both are kept as secrets. `url` may be `ssh://user@host:22/?comfyui=8188&key=FILE`.
 */
export const WorkerAddress = z.object({
  url: z.string(),
  name: WorkerName.optional(),
  header: z
    .string()
    .regex(/^[\w-]+:\s*\S.*$/)
    .nullable()
    .default(null),
  token: z
    .string()
    .regex(/^[\x21-\x7e]{8,500}$/)
    .nullable()
    .default(null),
})
