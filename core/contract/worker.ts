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
})
export type WorkerView = z.infer<typeof WorkerView>

/** `header`: `Name: value`, sent with every request to this worker only; kept as a secret. */
export const WorkerAddress = z.object({
  url: z.string(),
  name: z
    .string()
    .regex(/^[^\s,]{1,60}$/u)
    .optional(),
  header: z
    .string()
    .regex(/^[\w-]+:\s*\S.*$/)
    .nullable()
    .default(null),
})
