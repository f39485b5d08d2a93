import { z } from 'zod'

export const SnapshotId = z.string().regex(/^[0-9a-f]{64}$/)
const Sha256 = z.string().regex(/^[0-9a-f]{64}$/)

/** Parts of an environment that are kept as they lie, each a tree of its own. */
export const layerNames = ['comfyui', 'nodes', 'packages', 'programs', 'sources', 'settings'] as const
export const LayerName = z.enum(layerNames)
export type LayerName = z.infer<typeof LayerName>
/** Where something was that files of the snapshot name: a layer, a folder of one (`sources/0`), or `venv`. */
export const Place = z.object({ at: z.string(), was: z.string() })
export type Place = z.infer<typeof Place>
export const Layer = z.object({ name: LayerName, tree: Sha256, files: z.int(), bytes: z.number() })
export type Layer = z.infer<typeof Layer>

/** A repository as it lies: from where, which commit, and what differs from it. Addresses hold no credentials. */
export const Checkout = z.object({
  remote: z.string().nullable(),
  commit: z.string().nullable(),
  describe: z.string().nullable(),
  /** Tracked files that differ from the commit, and files it does not know; paths from the checkout. */
  changed: z.array(z.string()),
  untracked: z.array(z.string()),
})
export type Checkout = z.infer<typeof Checkout>

export const NodeKept = Checkout.extend({ folder: z.string(), version: z.string().nullable() })
export type NodeKept = z.infer<typeof NodeKept>

export const ModelNeeded = z.object({
  /** ComfyUI's folder, such as checkpoints. */
  folder: z.string(),
  name: z.string(),
  size: z.number(),
  sha256: Sha256,
})
export type ModelNeeded = z.infer<typeof ModelNeeded>

/**
 * An environment: trees to restore exactly on the same platform, and the recipe to build it anew on another. Its id is the
 * sha256 of this, written with sorted keys and no spaces.
 */
export const Manifest = z.object({
  schema: z.literal('env-snapshot/1'),
  name: z.string(),
  /** ISO 8601, UTC. */
  createdAt: z.string(),
  creator: z.string(),
  platform: z.object({ os: z.string(), arch: z.string(), libc: z.string().nullable() }),
  python: z.object({ version: z.string(), implementation: z.string(), abi: z.string() }),
  torch: z.object({ version: z.string(), cuda: z.string().nullable() }).nullable(),
  comfyui: Checkout.extend({ version: z.string().nullable() }),
  nodes: z.array(NodeKept),
  /** `url`: where it was installed from, if not from an index. */
  packages: z.array(z.object({ name: z.string(), version: z.string(), url: z.string().nullable() })),
  layers: z.array(Layer),
  models: z.array(ModelNeeded),
  /** Flags but those that say where things are on that machine. */
  launch: z.object({ flags: z.array(z.string()) }),
  /** Kinds of models its extra_model_paths.yaml names; where they lie is another matter on each machine. */
  modelFolders: z.array(z.string()).optional(),
  places: z.array(Place).optional(),
  /** The snapshot it was built from for another platform. */
  derivedFrom: SnapshotId.optional(),
  /** Classes the running ComfyUI offered; null: it did not run. */
  nodeClasses: z.array(z.string()).nullable(),
})
export type Manifest = z.infer<typeof Manifest>

/** `signature`: Ed25519 over the id's 32 bytes, by `publicKey`; both base64. */
export const SealedManifest = z.object({
  id: SnapshotId,
  manifest: Manifest,
  signature: z.string().nullable(),
  publicKey: z.string().nullable(),
})
export type SealedManifest = z.infer<typeof SealedManifest>

/** Something that looks like a secret in a file that would travel. `shown`: its beginning only. */
export const SecretFound = z.object({
  path: z.string(),
  line: z.int(),
  kind: z.string(),
  shown: z.string(),
  /** What consent is given to: this secret, wherever it is. */
  id: z.string(),
})
export type SecretFound = z.infer<typeof SecretFound>

export const SnapshotLabel = z.string().regex(/^[\p{L}\p{N}][\p{L}\p{N}._-]{0,39}$/u)

export const SnapshotView = z.object({
  id: SnapshotId,
  name: z.string(),
  labels: z.array(z.string()),
  createdAt: z.string(),
  platform: z.string(),
  comfyuiVersion: z.string().nullable(),
  commit: z.string().nullable(),
  nodes: z.int(),
  packages: z.int(),
  models: z.int(),
  files: z.int(),
  bytes: z.number(),
})
export type SnapshotView = z.infer<typeof SnapshotView>

export const SnapshotChange = z.object({
  what: z.enum(['comfyui', 'python', 'torch', 'node', 'package', 'model', 'flag', 'class', 'file']),
  is: z.enum(['added', 'removed', 'changed']),
  name: z.string(),
  before: z.string().nullable(),
  after: z.string().nullable(),
})
export type SnapshotChange = z.infer<typeof SnapshotChange>

/** A snapshot at a place it was pushed to, with the packs there that hold all of it. */
export const PublishedSnapshot = z.object({
  sealed: SealedManifest,
  packs: z.array(z.object({ id: Sha256, bytes: z.number() })),
})
export type PublishedSnapshot = z.infer<typeof PublishedSnapshot>

/** What a push would send, or sends. Objects and bytes of `all` are those of the snapshot, bytes as stored. */
export const PushPlan = z.object({
  id: SnapshotId,
  where: z.string(),
  objects: z.object({ missing: z.int(), all: z.int() }),
  bytes: z.object({ missing: z.number(), all: z.number() }),
  packs: z.int(),
  /** Those to be there, each once. `missing`: not there yet; of those, `fetched` get there from elsewhere if they can. */
  models: z.object({
    count: z.int(),
    bytes: z.number(),
    missing: z.int(),
    missingBytes: z.number(),
    fetched: z.int(),
  }),
})
export type PushPlan = z.infer<typeof PushPlan>

/** What is going on; `part`: a layer, or empty. Bytes 0 of 0: not known yet. */
export const SnapshotProgress = z.object({
  what: z.enum(['create', 'verify', 'collect', 'push', 'restore']),
  part: z.string(),
  bytes: z.number(),
  totalBytes: z.number(),
  /** null: not known yet. */
  bytesPerSecond: z.number().nullable(),
  etaSeconds: z.number().nullable(),
})
export type SnapshotProgress = z.infer<typeof SnapshotProgress>
