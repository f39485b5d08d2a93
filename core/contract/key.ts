import { z } from 'zod'

/**
 * What a key opens. `comfyui`: the ComfyUIs of this machine, for another Nightshift; `run`: sending workflows;
 * `publish`: changing what an endpoint runs.
 */
export const KeyScope = z.enum(['comfyui', 'run', 'publish'])
export type KeyScope = z.infer<typeof KeyScope>

/** A key or token of somebody else's, as a person pastes it. Kept as a secret, sent to its own place only. */
export const SecretText = z
  .string()
  .trim()
  .regex(/^[\x21-\x7e]{8,500}$/)

export const KeyName = z.string().trim().min(1).max(60)
/** A key that lets another program in. What opens with it is shown once, when it is made, and kept only as a hash. */
export const Key = z.object({
  id: z.string(),
  name: KeyName,
  /** How it begins, to tell keys apart. */
  start: z.string(),
  scopes: z.array(KeyScope),
  createdAt: z.number(),
  usedAt: z.number().nullable(),
  /** It opens nothing from then on. */
  expiresAt: z.number().nullable(),
  revokedAt: z.number().nullable(),
})
export type Key = z.infer<typeof Key>

/** Where the ComfyUIs of this machine are shared; `names`: what others call this machine, if not by its address. */
export const ShareSettings = z.object({
  on: z.boolean(),
  host: z
    .string()
    .max(255)
    .regex(/^[\w.:-]+$/),
  port: z.int().min(0).max(65535),
  names: z
    .array(
      z
        .string()
        .max(255)
        .regex(/^[\w.-]+$/),
    )
    .max(20),
})
export type ShareSettings = z.infer<typeof ShareSettings>
export const noShare: ShareSettings = { on: false, host: '0.0.0.0', port: 8421, names: [] }

/** Where other programs may send workflows, as to an agent; pages of `origins` may, too. */
export const TaskDoorSettings = ShareSettings.extend({
  origins: z
    .array(
      z
        .string()
        .max(255)
        .regex(/^https?:\/\/[\w.:[\]-]+$/),
    )
    .max(20),
})
export type TaskDoorSettings = z.infer<typeof TaskDoorSettings>
export const noTaskDoor: TaskDoorSettings = { on: false, host: '127.0.0.1', port: 9000, names: [], origins: [] }
