import { z } from 'zod'
import { Failure } from './errors.ts'
import { SecretText } from './key.ts'
import { PublishedWorkflow, ReleaseView } from './release.ts'
import { Device, WorkerName } from './worker.ts'

/** Its worker's name too: what batches call it. */
export const EndpointName = WorkerName
export const MOST_IN_FLIGHT = 64
/** What may be changed of one. */
export const EndpointSettings = z.object({
  enabled: z.boolean(),
  /** Tasks it is given at once. */
  capacity: z.int().min(1).max(MOST_IN_FLIGHT),
  /** It takes only jobs that use one of these checkpoints; [] = any job. */
  checkpoints: z.array(z.string().min(1).max(500)).max(200),
})
export type EndpointSettings = z.infer<typeof EndpointSettings>
export const EndpointAddress = z.object({ url: z.string().max(2_000), key: SecretText.nullable().default(null) })
export const EndpointAsked = EndpointAddress.extend({
  name: EndpointName.optional(),
  capacity: EndpointSettings.shape.capacity.default(4),
  checkpoints: EndpointSettings.shape.checkpoints.default([]),
})

export const EndpointState = z.discriminatedUnion('is', [
  z.object({ is: z.literal('connecting') }),
  z.object({ is: z.literal('ready') }),
  /** It answers, and is not ready to run anything. `phase` is its own word for what it does meanwhile. */
  z.object({ is: z.literal('starting'), phase: z.string(), since: z.int() }),
  z.object({ is: z.literal('unreachable'), because: Failure, retryAt: z.int() }),
  /** It answers, and has failed so often in a row that it is given nothing until then. */
  z.object({ is: z.literal('resting'), because: Failure, retryAt: z.int(), failures: z.int() }),
  z.object({ is: z.literal('disabled') }),
])
export type EndpointState = z.infer<typeof EndpointState>

/** Learned from the tasks it was given; null: there was none of the kind yet. */
export const EndpointPace = z.object({
  /** From giving a task to an endpoint that was not ready until it began. */
  coldSeconds: z.number().nullable(),
  coldRuns: z.int(),
  /** From the beginning of a task to its end. */
  warmSeconds: z.number().nullable(),
  warmRuns: z.int(),
})
export type EndpointPace = z.infer<typeof EndpointPace>

/** A remote place with an agent, by its address: a worker, and where snapshots are published. */
export const Endpoint = EndpointSettings.extend({
  name: EndpointName,
  url: z.string(),
  hasKey: z.boolean(),
  addedAt: z.int(),
  inFlight: z.int(),
  state: EndpointState,
  pace: EndpointPace,
  usedAt: z.int().nullable(),
  comfyuiVersion: z.string().nullable(),
  devices: z.array(Device),
  latencyMs: z.number().nullable(),
  /** What is live there, as it was last asked; null: nothing was published, or it does not say. */
  live: ReleaseView.nullable(),
})
export type Endpoint = z.infer<typeof Endpoint>

/** Who answered at an address, asked once. */
export const EndpointFound = z.object({
  url: z.string(),
  /** null: it runs what it is given. */
  phase: z.string().nullable(),
  comfyuiVersion: z.string().nullable(),
  devices: z.array(Device),
  latencyMs: z.number(),
  /** Whether this key may publish there too. */
  mayPublish: z.boolean(),
})
export type EndpointFound = z.infer<typeof EndpointFound>

/** What is live there, filled in by people who were given a key. */
export const EndpointForm = z.object({
  id: PublishedWorkflow.shape.id,
  name: z.string(),
  /** Opens for a person with a key of the agent. */
  url: z.string(),
})
export type EndpointForm = z.infer<typeof EndpointForm>

/** A line of what happened to or at an endpoint. */
export const EndpointLine = z.object({ at: z.int(), from: z.enum(['here', 'agent']), text: z.string() })
export type EndpointLine = z.infer<typeof EndpointLine>
