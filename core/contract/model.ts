import { z } from 'zod'
import { EngineName } from './engine.ts'
import { Failure } from './errors.ts'

/** Of one place on this machine's disks: the same after a restart, another after the file was moved. */
export const ModelId = z.string()

/** What a file is, by what is in it; where that does not say, by the folder it lies in. */
export const ModelKind = z.enum([
  'checkpoint',
  'diffusion-model',
  'text-encoder',
  'vae',
  'vae-approx',
  'lora',
  'controlnet',
  'model-patch',
  'clip-vision',
  'style-model',
  'ipadapter',
  'upscaler',
  'latent-upscaler',
  'embedding',
  'hypernetwork',
  'gligen',
  'photomaker',
  'audio-encoder',
  'motion-module',
  'detector',
  'other',
])
export type ModelKind = z.infer<typeof ModelKind>

export const ModelFormat = z.enum(['safetensors', 'gguf', 'pickle', 'onnx', 'other'])
export type ModelFormat = z.infer<typeof ModelFormat>

/**
 * `unsafe`: loading it may run code, and `trusted`: the person said it may. `unknown-code`: it names classes nobody here
 * knows to be harmless. `damaged`: cut short, or not what its header says. `wrong-folder`: no loader finds it there.
 */
export const ModelFlag = z.enum(['damaged', 'unsafe', 'unknown-code', 'trusted', 'wrong-folder', 'duplicate'])
export type ModelFlag = z.infer<typeof ModelFlag>

/** A folder ComfyUI looks for files of one kind in. */
export const ModelFolder = z.object({
  /** As ComfyUI names the kind: `loras`, `diffusion_models`. */
  folder: z.string(),
  dir: z.string(),
  /** Where new files of that kind go. */
  isDefault: z.boolean(),
})
export type ModelFolder = z.infer<typeof ModelFolder>

/** What looks for models in folders: a ComfyUI, another program's library, or a folder the person added. */
export const ModelRoot = z.object({
  id: z.string(),
  kind: z.enum(['engine', 'comfyui', 'stability-matrix', 'a1111', 'added']),
  /** The engine of ours that looks there. */
  engine: EngineName.nullable(),
  dir: z.string(),
  folders: z.array(ModelFolder),
})
export type ModelRoot = z.infer<typeof ModelRoot>

/** One name a file can be loaded by. */
export const ModelPlace = z.object({
  root: z.string(),
  folder: z.string(),
  /** Within the folder, with forward slashes: what a loader's list shows. */
  name: z.string(),
  path: z.string(),
  /** The path leads through a link to the file. */
  linked: z.boolean(),
})
export type ModelPlace = z.infer<typeof ModelPlace>

/** A model file of this machine, told of once however many links lead to it. */
export const Model = z.object({
  id: ModelId,
  name: z.string(),
  /** Of its first place. */
  folder: z.string(),
  places: z.array(ModelPlace),
  sizeBytes: z.number(),
  modifiedAt: z.number(),
  format: ModelFormat,
  kind: ModelKind,
  /** The family it belongs to, as its makers call it: `SDXL 1.0`, `Flux.1 D`; null: unknown. */
  base: z.string().nullable(),
  /** Of most of its numbers: `fp16`, `fp8_e4m3fn`, `Q4_K`; null: unknown. */
  precision: z.string().nullable(),
  /** How many numbers it has; null: unknown. */
  parameters: z.number().nullable(),
  /** null: not hashed yet. */
  sha256: z.string().nullable(),
  flags: z.array(ModelFlag),
  /** `GET /files/model/<id>` has a picture. */
  hasPreview: z.boolean(),
  hasNote: z.boolean(),
  /** How many workflows and kept pictures name it. */
  usedBy: z.object({ workflows: z.int(), artifacts: z.int() }),
  lastUsedAt: z.number().nullable(),
})
export type Model = z.infer<typeof Model>

export const ModelDetail = Model.extend({
  note: z.string(),
  triggerWords: z.array(z.string()),
  /** Of its header and of the files beside it, the short ones. */
  metadata: z.record(z.string(), z.string()),
  /** What the header or the pickle told: why it is damaged or unsafe. */
  faults: z.array(z.object({ code: z.string(), message: z.string(), facts: z.record(z.string(), z.string()) })),
  /** The folder it belongs into, where it lies in another. */
  belongsIn: z.string().nullable(),
  source: z.object({ title: z.string(), url: z.string().nullable(), version: z.string().nullable() }).nullable(),
  workflows: z.array(z.object({ id: z.string(), name: z.string() })),
  /** The latest. */
  artifactIds: z.array(z.string()),
  /** Names other than the sha256. */
  hashes: z.object({ autoV2: z.string().nullable(), sha256: z.string().nullable() }),
})
export type ModelDetail = z.infer<typeof ModelDetail>

export const ModelFilter = z.object({
  search: z.string().max(400).default(''),
  kind: ModelKind.optional(),
  base: z.string().optional(),
  root: z.string().optional(),
  flag: ModelFlag.optional(),
  unused: z.boolean().optional(),
  sort: z.enum(['name', 'newest', 'largest', 'last-used']).default('name'),
})
export type ModelFilter = z.infer<typeof ModelFilter>

/** Work that goes on over many files; `waiting`: paused by the person. */
export const ModelProgress = z.object({
  what: z.enum(['scan', 'hash', 'verify', 'merge', 'undo']),
  file: z.string(),
  doneFiles: z.int(),
  files: z.int(),
  doneBytes: z.number(),
  bytes: z.number(),
  bytesPerSecond: z.number().nullable(),
  etaSeconds: z.number().nullable(),
  paused: z.boolean(),
})
export type ModelProgress = z.infer<typeof ModelProgress>

export const ModelState = z.object({
  /** null: never. */
  scannedAt: z.number().nullable(),
  roots: z.array(ModelRoot.extend({ models: z.int(), bytes: z.number() })),
  models: z.int(),
  bytes: z.number(),
  unhashed: z.int(),
  /** Of the last scan: folders that could not be read, lists that could not be understood. */
  faults: z.array(z.object({ path: z.string(), failure: Failure })),
  progress: z.array(ModelProgress),
  kinds: z.array(z.object({ kind: ModelKind, count: z.int() })),
  bases: z.array(z.object({ base: z.string(), count: z.int() })),
  flags: z.array(z.object({ flag: ModelFlag, count: z.int() })),
  unused: z.object({ models: z.int(), bytes: z.number() }),
})
export type ModelState = z.infer<typeof ModelState>

/** The same bytes several times on one volume. */
export const DuplicateGroup = z.object({
  sha256: z.string(),
  sizeBytes: z.number(),
  name: z.string(),
  kind: ModelKind,
  volumes: z.array(
    z.object({
      mount: z.string(),
      files: z.array(
        z.object({
          path: z.string(),
          /** `kept`: the others become this one. `same`: it is already. `other`: why it is left as it is. */
          will: z.enum(['kept', 'merge', 'same', 'left']),
          because: z.string().nullable(),
        }),
      ),
      /** `none`: this volume has neither, so the copies stay. */
      how: z.enum(['reflink', 'hard-link', 'none']),
      freedBytes: z.number(),
    }),
  ),
})
export type DuplicateGroup = z.infer<typeof DuplicateGroup>

export const Duplicates = z.object({
  groups: z.array(DuplicateGroup),
  total: z.int(),
  /** What merging all of them would give back. */
  freed: z.array(z.object({ mount: z.string(), bytes: z.number(), files: z.int() })),
  /** Merged before and still to be undone. */
  merges: z.array(
    z.object({ id: z.string(), at: z.number(), files: z.int(), freedBytes: z.number(), undone: z.boolean() }),
  ),
  /** Files of the same size that are not hashed yet, so that nobody knows. */
  unhashed: z.int(),
})
export type Duplicates = z.infer<typeof Duplicates>

/** How a file that is taken in comes to its folder. */
export const ImportHow = z.enum(['move', 'copy', 'link'])
export type ImportHow = z.infer<typeof ImportHow>

/** What a hub says of a file: that it has exactly this one, or another of its name and size. */
export const Published = z.object({
  same: z.boolean(),
  hub: z.string(),
  title: z.string(),
  page: z.string().nullable(),
  sha256: z.string(),
})
export type Published = z.infer<typeof Published>

/**
 * `new`: nothing was known to compare it with, here or at a hub. `changed`: it was written since it was last looked at.
 * `other`: not what the hub has that it is of.
 */
export const CheckedModel = z.object({
  id: ModelId,
  name: z.string(),
  is: z.enum(['good', 'new', 'changed', 'other', 'damaged', 'unreadable', 'gone']),
  sha256: z.string().nullable(),
  known: z.string().nullable(),
  /** null: no hub that answers knows it. */
  published: Published.nullable(),
})
export type CheckedModel = z.infer<typeof CheckedModel>

/** A model that was put aside, until it is put back or thrown away. */
export const TrashedModel = z.object({
  id: z.string(),
  name: z.string(),
  folder: z.string(),
  at: z.number(),
  sizeBytes: z.number(),
  /** What throwing it away gives back: nothing where a name of it stays elsewhere. */
  freedBytes: z.number(),
  /** Every name it had. */
  paths: z.array(z.string()),
})
export type TrashedModel = z.infer<typeof TrashedModel>

/** A model nothing was done to, and why. */
export const LeftModel = z.object({ name: z.string(), failure: Failure })
export type LeftModel = z.infer<typeof LeftModel>

export const MergeResult = z.object({
  /** For undoing it. */
  id: z.string(),
  files: z.array(
    z.object({
      path: z.string(),
      outcome: z.enum(['merged', 'undone', 'changed', 'in-use', 'gone', 'failed']),
      freedBytes: z.number(),
    }),
  ),
  freedBytes: z.number(),
})
export type MergeResult = z.infer<typeof MergeResult>

/** A file before it is taken in. `folder` null: its header does not say. */
export const ModelLooked = z.object({
  name: z.string(),
  kind: ModelKind.nullable(),
  base: z.string().nullable(),
  folder: z.string().nullable(),
  sizeBytes: z.number(),
  faults: ModelDetail.shape.faults,
})
export type ModelLooked = z.infer<typeof ModelLooked>
