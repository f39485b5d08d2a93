import { z } from 'zod'
import { CustomNodeLoad, EngineName, Finding } from './engine.ts'
import { Failure } from './errors.ts'

/** As ComfyUI names it: a folder, or a file that ends in `.py`; never with what disables it. */
export const NodeFolder = z
  .string()
  .min(1)
  .max(200)
  .regex(/^(?![.])[^/\\:*?"<>|\p{Cc}]+(?<![. ])$/u)
export type NodeFolder = z.infer<typeof NodeFolder>

/** Where an installed custom node is from. Remotes are without credentials. */
export const NodeSource = z.discriminatedUnion('is', [
  z.object({
    is: z.literal('git'),
    remote: z.string().nullable(),
    commit: z.string().nullable(),
    branch: z.string().nullable(),
  }),
  z.object({ is: z.literal('registry'), id: z.string(), version: z.string() }),
  /** Unpacked; `remote` and `commit` where we did it. */
  z.object({ is: z.literal('archive'), remote: z.string().nullable(), commit: z.string().nullable() }),
  /** One `.py`. */
  z.object({ is: z.literal('file') }),
])
export type NodeSource = z.infer<typeof NodeSource>

/** Code that a custom node runs when it is installed. */
export const NodeScript = z.object({
  folder: NodeFolder,
  /** Within the folder. */
  file: z.string(),
  sha256: z.string(),
  sizeBytes: z.number(),
  /** Its beginning; for a person to read. */
  text: z.string(),
})
export type NodeScript = z.infer<typeof NodeScript>

/** A line of what a custom node requires. */
export const NodeRequirement = z.object({
  folder: NodeFolder,
  /** Within the folder, with the line as it is there. */
  file: z.string(),
  line: z.string(),
  /** The package; null: it names none. */
  package: z.string().nullable(),
})
export type NodeRequirement = z.infer<typeof NodeRequirement>

/** An installed custom node. */
export const CustomNode = z.object({
  folder: NodeFolder,
  title: z.string(),
  enabled: z.boolean(),
  source: NodeSource,
  version: z.string().nullable(),
  /** Epoch ms of what is there: its commit where it is git's, else the folder. */
  changedAt: z.number().nullable(),
  /** Files of git's that were changed or removed here, and others that were added; at most 50 of each. */
  changedFiles: z.array(z.string()),
  addedFiles: z.array(z.string()),
  requirements: z.array(NodeRequirement),
  scripts: z.array(NodeScript),
  /** `prestartup_script.py`: runs at each start, before all else. */
  runsAtStart: z.boolean(),
  /** null: no server said so yet. */
  classes: z.array(z.string()).nullable(),
  load: CustomNodeLoad.nullable(),
})
export type CustomNode = z.infer<typeof CustomNode>

// ---- changing them ----

/** Where to take a custom node from. */
export const NodeOrigin = z.discriminatedUnion('is', [
  /** `ref`: a commit, tag or branch; null: the newest. */
  z.object({ is: z.literal('git'), url: z.string().max(2000), ref: z.string().max(200).nullable().default(null) }),
  /** A version of the Comfy registry, and the archive it names. */
  z.object({
    is: z.literal('registry'),
    id: z.string().max(200),
    version: z.string().max(100),
    url: z.string().max(2000),
  }),
  /** An archive (zip): an address or a file of this machine. */
  z.object({ is: z.literal('archive'), url: z.string().max(4000) }),
  /** One `.py`: an address or a file of this machine. */
  z.object({ is: z.literal('file'), url: z.string().max(4000) }),
])
export type NodeOrigin = z.infer<typeof NodeOrigin>

/** What a person wants changed. */
export const NodeChange = z.discriminatedUnion('is', [
  /** `folder` null: as its source names it. */
  z.object({ is: z.literal('add'), from: NodeOrigin, folder: NodeFolder.nullable().default(null) }),
  /** To another commit or version; `from` null: the newest of where it is from. */
  z.object({ is: z.literal('update'), folder: NodeFolder, from: NodeOrigin.nullable().default(null) }),
  z.object({ is: z.literal('enable'), folder: NodeFolder }),
  z.object({ is: z.literal('disable'), folder: NodeFolder }),
  /** It is kept aside until the generation that had it is gone. */
  z.object({ is: z.literal('remove'), folder: NodeFolder }),
])
export type NodeChange = z.infer<typeof NodeChange>

/** What becomes of one package. `from` null: it is new; `to` null: it goes. */
export const PackageChange = z.object({
  package: z.string(),
  from: z.string().nullable(),
  to: z.string().nullable(),
})
export type PackageChange = z.infer<typeof PackageChange>

/** Why a line of requirements was not taken as it is. */
export const LeftOutReason = z.enum([
  'option', // `--index-url` and the like: where packages come from is ours to say
  'editable', // `-e`, or a path
  'outside', // `-r` of a file that is not in the folder
  'not-https', // git+ssh, http, file …
  'tool', // pip and uv themselves
  'core', // ComfyUI's own pages: a statement, nothing to install
  'same', // another build of what is there, such as OpenCV without windows
  'unreadable',
  'chosen', // the person goes without it
])
export type LeftOutReason = z.infer<typeof LeftOutReason>
export const LeftOut = z.object({ ...NodeRequirement.shape, reason: LeftOutReason })
export type LeftOut = z.infer<typeof LeftOut>

/** Who wants what of a package: a custom node's folder, `comfyui`, or `gpu` for what belongs to the graphics card. */
export const NodeClash = z.object({
  package: z.string(),
  /** The line that asks for it. */
  wants: NodeRequirement,
  against: z.array(z.object({ who: z.string(), wants: z.string() })),
  /** `clash`: it cannot be together; `missing`: nobody has it; `build`: it would have to be built here. */
  because: z.enum(['clash', 'missing', 'build', 'gpu']),
  /** What uv says. */
  reason: z.string(),
})
export type NodeClash = z.infer<typeof NodeClash>

/** One custom node in a plan. */
export const PlannedNode = z.object({
  folder: NodeFolder,
  change: z.enum(['add', 'update', 'enable', 'disable', 'remove']),
  from: NodeSource.nullable(),
  to: NodeSource.nullable(),
  version: z.string().nullable(),
  sizeBytes: z.number(),
})
export type PlannedNode = z.infer<typeof PlannedNode>

/** What a change would do. Nothing that runs was touched for it. */
export const NodePlan = z.object({
  id: z.string(),
  engine: EngineName,
  /** `beside`: in a new generation; `in-place`: in a ComfyUI that is not ours. */
  way: z.enum(['beside', 'in-place']),
  nodes: z.array(PlannedNode),
  packages: z.array(PackageChange),
  /** Packages that no custom node may change. */
  locked: z.array(z.object({ package: z.string(), version: z.string() })),
  clashes: z.array(NodeClash),
  leftOut: z.array(LeftOut),
  /** Packages that would be built here, which runs their code. */
  builds: z.array(z.string()),
  scripts: z.array(NodeScript),
  diskBytes: z.number(),
  findings: z.array(Finding),
})
export type NodePlan = z.infer<typeof NodePlan>

/** What a person agreed to. */
export const NodeConsent = z.object({
  /** SHA-256 of the scripts that may run; others do not. */
  scripts: z.array(z.string()).default([]),
  /** Packages may be built here. */
  builds: z.boolean().default(false),
  /** Packages of a ComfyUI that is not ours may change. */
  packages: z.boolean().default(false),
  /** Lines of requirements to go without: `folder`, `line`. */
  without: z.array(z.object({ folder: NodeFolder, line: z.string() })).default([]),
})
export type NodeConsent = z.infer<typeof NodeConsent>

/** In this order. */
export const nodeSteps = ['fetch', 'resolve', 'environment', 'packages', 'scripts', 'trial', 'switch'] as const
export const NodeStepId = z.enum(nodeSteps)
export type NodeStepId = z.infer<typeof NodeStepId>
export const NodeStep = z.object({
  id: NodeStepId,
  is: z.enum(['waiting', 'running', 'done', 'failed']),
  bytes: z.number(),
  totalBytes: z.number().nullable(),
})
export type NodeStep = z.infer<typeof NodeStep>

export const ScriptRun = z.object({
  folder: NodeFolder,
  file: z.string(),
  is: z.enum(['done', 'failed', 'too-long', 'not-allowed']),
  lastLines: z.array(z.string()),
})
export type ScriptRun = z.infer<typeof ScriptRun>

/** What a change has done. */
export const NodeResult = z.object({
  /** The one that runs now; null: the ComfyUI is not ours. */
  generation: z.string().nullable(),
  packages: z.array(PackageChange),
  /** Per folder: the classes it brings. */
  classes: z.record(z.string(), z.array(z.string())),
  scripts: z.array(ScriptRun),
  findings: z.array(Finding),
})
export type NodeResult = z.infer<typeof NodeResult>

/** A change that is under way, or the last one. */
export const NodeChangeView = z.object({
  engine: EngineName,
  is: z.enum(['planning', 'planned', 'running', 'done', 'failed', 'cancelled']),
  steps: z.array(NodeStep),
  plan: NodePlan.nullable(),
  result: NodeResult.nullable(),
  failure: Failure.nullable(),
  log: z.string(),
})
export type NodeChangeView = z.infer<typeof NodeChangeView>

// ---- finding what broke ----

/** What must go well: it starts; it paints; no custom node fails to load; a class is there. */
export const BisectCheck = z.discriminatedUnion('is', [
  z.object({ is: z.literal('start') }),
  z.object({ is: z.literal('picture') }),
  z.object({ is: z.literal('loads') }),
  z.object({ is: z.literal('class'), classType: z.string().max(500) }),
])
export type BisectCheck = z.infer<typeof BisectCheck>

export const NodeRemedy = z.enum(['disable', 'update', 'roll-back'])
export type NodeRemedy = z.infer<typeof NodeRemedy>
export const BisectBoot = z.object({ folders: z.array(NodeFolder), failure: Failure.nullable(), seconds: z.number() })
export type BisectBoot = z.infer<typeof BisectBoot>
/** A search for the custom nodes that break something; kept, so that it goes on after a restart. */
export const BisectView = z.object({
  engine: EngineName,
  check: BisectCheck,
  is: z.enum(['running', 'done', 'cancelled', 'failed']),
  /** The set that is looked through. */
  folders: z.array(NodeFolder),
  /** Those that may still be it. */
  suspects: z.array(NodeFolder),
  boots: z.array(BisectBoot),
  /** One, or those that break it only together; empty when done: all of them together are well. */
  culprits: z.array(NodeFolder),
  because: Failure.nullable(),
  /** Most useful first. */
  remedies: z.array(NodeRemedy),
  /** Why the search itself ended. */
  failure: Failure.nullable(),
})
export type BisectView = z.infer<typeof BisectView>
