import { z } from 'zod'
import { Failure } from './errors.ts'

/** What a start of ComfyUI is busy with; in this order. */
export const startupPhases = ['launching', 'preparing', 'devices', 'nodes', 'database', 'listening'] as const
export const StartupPhase = z.enum(startupPhases)
export type StartupPhase = z.infer<typeof StartupPhase>

/** Life of one ComfyUI process of ours. Times are epoch ms. */
export const EngineState = z.discriminatedUnion('is', [
  z.object({ is: z.literal('stopped') }),
  z.object({ is: z.literal('starting'), phase: StartupPhase, since: z.number() }),
  z.object({
    is: z.literal('ready'),
    url: z.string(),
    pid: z.int(),
    since: z.number(),
    /** It does not answer since then; that ends it only after as long as the settings say. */
    silentSince: z.number().nullable().default(null),
  }),
  z.object({ is: z.literal('pausing'), restartAt: z.number(), because: Failure }),
  z.object({ is: z.literal('failed'), because: Failure, lastLines: z.array(z.string()) }),
])
export type EngineState = z.infer<typeof EngineState>

export const CustomNodeLoad = z.object({ folder: z.string(), seconds: z.number(), failed: z.boolean() })
export type CustomNodeLoad = z.infer<typeof CustomNodeLoad>
/** What a start told about itself. */
export const StartupFacts = z.object({
  comfyuiVersion: z.string().optional(),
  pythonVersion: z.string().optional(),
  torchVersion: z.string().optional(),
  frontendVersion: z.string().optional(),
  device: z.string().optional(),
  vramMiB: z.number().optional(),
  ramMiB: z.number().optional(),
  vramState: z.string().optional(),
  attention: z.string().optional(),
  customNodes: z.array(CustomNodeLoad),
})
export type StartupFacts = z.infer<typeof StartupFacts>

export const EngineName = z.string().regex(/^[\p{L}\p{N}][\p{L}\p{N}._-]{0,39}$/u)
/** `auto`: what ComfyUI chooses; `cpu`; else the number of a card as `nvidia-smi` counts. */
export const Card = z.string().regex(/^(auto|cpu|\d{1,2})$/)

/** One process: a card, with flags of its own. */
export const EngineCard = z.object({
  card: Card,
  flags: z.array(z.string().max(4000)).max(100).default([]),
  /** null: the first that is free. */
  port: z.int().min(1).max(65535).nullable().default(null),
})
export type EngineCard = z.infer<typeof EngineCard>

export const EngineKind = z.enum(['portable', 'desktop', 'manual', 'stability-matrix', 'installed'])
export type EngineKind = z.infer<typeof EngineKind>

/** How an engine is run; what the person may change. */
export const EngineSettings = z.object({
  /** For every card; before those of the card. */
  flags: EngineCard.shape.flags,
  cards: z.array(EngineCard).min(1).max(16),
  /** ComfyUI's `--base-directory`; null: the folder of main.py. */
  baseDir: z.string().nullable().default(null),
  withCustomNodes: z.boolean().default(true),
  /** With Nightshift. */
  autoStart: z.boolean().default(true),
  /** One that does not answer for so long is started again; null: a minute, a quarter of an hour while it works. */
  hungMinutes: z.int().min(1).max(1440).nullable().default(null),
  /** ComfyUIs whose models it uses too, where they lie. */
  modelsOf: z.array(z.string()).max(20).default([]),
})
export type EngineSettings = z.infer<typeof EngineSettings>

/** Those to change; defaults must not undo what was chosen before. */
export const EngineChange = z.object({
  flags: EngineSettings.shape.flags.unwrap().optional(),
  cards: EngineSettings.shape.cards.optional(),
  withCustomNodes: z.boolean().optional(),
  autoStart: z.boolean().optional(),
  hungMinutes: EngineSettings.shape.hungMinutes.unwrap().optional(),
})
export type EngineChange = z.infer<typeof EngineChange>

export const EngineProcess = z.object({
  /** The worker's id too. */
  id: z.string(),
  card: Card,
  state: EngineState,
  facts: StartupFacts,
  /** Restarts nobody asked for since it was started. */
  restarts: z.int(),
})
export type EngineProcess = z.infer<typeof EngineProcess>

/** A ComfyUI on this machine that Nightshift runs. */
export const EngineView = z.object({
  name: EngineName,
  kind: EngineKind,
  /** Where main.py is. */
  dir: z.string(),
  python: z.string(),
  version: z.string().nullable(),
  settings: EngineSettings,
  processes: z.array(EngineProcess),
})
export type EngineView = z.infer<typeof EngineView>

/** A ComfyUI found on this machine. */
export const FoundInstall = z.object({
  kind: EngineKind,
  dir: z.string(),
  /** null: none was found that belongs to it. */
  python: z.string().nullable(),
  version: z.string().nullable(),
  baseDir: z.string().nullable(),
})
export type FoundInstall = z.infer<typeof FoundInstall>

/** The models of another ComfyUI, as they would be used. */
export const SharedModels = z.object({
  dir: z.string(),
  /** The largest first. */
  folders: z.array(z.object({ folder: z.string(), files: z.int(), sizeBytes: z.number() })),
})
export type SharedModels = z.infer<typeof SharedModels>

export const LogLine = z.object({
  /** Counts up over all that was ever logged here. */
  n: z.int(),
  at: z.number(),
  text: z.string(),
})
export type LogLine = z.infer<typeof LogLine>

/** What a person can do about a failure with one press. */
export const EngineRemedy = z.enum([
  'start',
  'without-custom-nodes',
  'with-custom-nodes',
  'on-cpu',
  'any-port',
  'repair',
  'show-log',
])
export type EngineRemedy = z.infer<typeof EngineRemedy>

/** Most useful first. */
export function remediesFor(code: string, kind: EngineKind = 'manual'): EngineRemedy[] {
  const mendable =
    /^engine\.(missing-module|missing-file|syntax-error|frontend-missing|wrong-python|not-started)$/.test(code)
  if (kind === 'installed' && mendable)
    return code === 'engine.missing-module'
      ? ['repair', 'without-custom-nodes', 'show-log']
      : ['repair', 'start', 'show-log']
  if (/^engine\.(custom-node-broken|nodes-ended-it|missing-module|missing-library|syntax-error)$/.test(code))
    return ['without-custom-nodes', 'start', 'show-log']
  if (/^engine\.(torch-without-cuda|driver-too-old|no-gpu|gpu-unsupported|cuda-failed)$/.test(code))
    return ['start', 'on-cpu', 'show-log']
  if (code === 'engine.port-taken') return ['any-port', 'start']
  return code.startsWith('engine.') ? ['start', 'show-log'] : ['start']
}

// ---- the machine ----

export const GpuVendor = z.enum(['nvidia', 'amd', 'intel', 'apple', 'other'])
export const Gpu = z.object({
  vendor: GpuVendor,
  name: z.string(),
  /** As `nvidia-smi` counts; null: not NVIDIA's. */
  index: z.int().nullable(),
  uuid: z.string().nullable(),
  /** null: unknown, or shared with the system. */
  vramMiB: z.number().nullable(),
  vramFreeMiB: z.number().nullable(),
  driver: z.string().nullable(),
  /** NVIDIA's compute capability, such as 8.9. */
  computeCapability: z.number().nullable(),
})
export type Gpu = z.infer<typeof Gpu>

export const HardwareReport = z.object({
  platform: z.enum(['linux', 'win32', 'darwin', 'other']),
  arch: z.string(),
  osName: z.string(),
  cpu: z.object({ name: z.string(), cores: z.int() }),
  ramMiB: z.number(),
  ramFreeMiB: z.number(),
  gpus: z.array(Gpu),
  /** `failed`: the tool is there, the driver does not answer it. */
  nvidiaSmi: z.enum(['ok', 'absent', 'failed']),
  /** A volume once. */
  volumes: z.array(z.object({ mount: z.string(), type: z.string(), sizeBytes: z.number(), freeBytes: z.number() })),
  pythons: z.array(z.object({ path: z.string(), version: z.string() })),
  gits: z.array(z.object({ path: z.string(), version: z.string() })),
  installs: z.array(FoundInstall),
  /** Ports ComfyUI and its launchers like, with who has them. */
  ports: z.array(z.object({ port: z.int(), free: z.boolean() })),
})
export type HardwareReport = z.infer<typeof HardwareReport>

/** A build of PyTorch, as its index calls it. */
export const TorchBuild = z.enum(['cu118', 'cu126', 'cu128', 'cu130', 'rocm', 'xpu', 'mps', 'cpu'])
export type TorchBuild = z.infer<typeof TorchBuild>

/** Something a person should know; the sentences of other languages go by its code. */
export const Finding = z.object({
  level: z.enum(['good', 'note', 'warning', 'bad']),
  code: z.string(),
  message: z.string(),
  facts: z.record(z.string(), z.union([z.string(), z.number()])),
  link: z.string().nullable(),
  /** What `engine.doctor` does about it when asked to mend, or `nodes.bisect`; not there: a person has to. */
  mend: z.enum(['repair', 'torch', 'permissions', 'bisect']).optional(),
})
export type Finding = z.infer<typeof Finding>
export const Verdict = z.object({
  /** What runs here best. */
  torch: TorchBuild,
  /** The card it is for; null: the processor. */
  gpu: Gpu.nullable(),
  /** `well`: on a card; `slowly`: on the processor; `not`: it cannot. */
  runs: z.enum(['well', 'slowly', 'not']),
  findings: z.array(Finding),
})
export type Verdict = z.infer<typeof Verdict>

// ---- installing ----

/** What makes ComfyUI faster on some cards, with packages made for exactly one PyTorch. */
export const SpeedUp = z.enum(['sage-attention', 'triton', 'flash-attention'])
export type SpeedUp = z.infer<typeof SpeedUp>
export const SpeedUpOffer = z.object({
  id: SpeedUp,
  /** The package and its version; empty: none is known for this machine. */
  what: z.string(),
  /** Why it is not offered; null: it is. */
  why: Finding.nullable(),
})
export type SpeedUpOffer = z.infer<typeof SpeedUpOffer>

/** A tag, branch or commit; git takes what begins with a dash for an option. */
export const GitRef = z
  .string()
  .max(200)
  .regex(/^(?!-)[\p{L}\p{N}._/+@-]+$/u)

/** What a person may choose of an installation; null: what fits. */
export const InstallChoices = z.object({
  /** A folder or an address of git; null: ComfyUI's own. */
  source: z.string().max(4000).nullable().default(null),
  /** A tag, branch or commit; null: the newest release, or what a folder holds. */
  ref: GitRef.nullable().default(null),
  /** A program, `system`, or a version such as 3.12. */
  python: z.string().max(4000).nullable().default(null),
  /** A folder, or an address of a flat list, that holds wheels. */
  findLinks: z.string().max(4000).nullable().default(null),
  /** Such as torch==2.13.0. */
  torch: z.string().max(200).nullable().default(null),
  cpu: z.boolean().default(false),
  manager: z.boolean().default(false),
  /** A Python index of one's own, before all others. */
  index: z.string().max(4000).nullable().default(null),
  /** Before the sources, after them, or not at all; null: by where the machine seems to be. */
  mirrors: z.enum(['first', 'last', 'none']).nullable().default(null),
  /** An address, which may hold credentials, or `none`; null: the system's. */
  proxy: z.string().max(2000).nullable().default(null),
  speedUps: z.array(SpeedUp).default([]),
})
export type InstallChoices = z.infer<typeof InstallChoices>

/** In this order. */
export const installSteps = [
  'uv',
  'python',
  'source',
  'environment',
  'torch',
  'requirements',
  'manager',
  'speed-ups',
  'lock',
  'check',
  'trial',
  'switch',
] as const
export const InstallStepId = z.enum(installSteps)
export type InstallStepId = z.infer<typeof InstallStepId>

/** Sizes and times are estimates; null: unknown. */
export const PlannedStep = z.object({
  id: InstallStepId,
  /** What it fetches or runs. */
  what: z.string(),
  /** In the order they are tried. */
  from: z.array(z.string()),
  /** Where it goes. */
  to: z.string(),
  downloadBytes: z.number(),
  diskBytes: z.number(),
  seconds: z.number(),
})
export type PlannedStep = z.infer<typeof PlannedStep>
export const InstallPlan = z.object({
  name: EngineName,
  /** The engine's folder; what models, pictures and custom nodes live in lies beside the generations. */
  home: z.string(),
  base: z.string(),
  cache: z.string(),
  torch: TorchBuild,
  steps: z.array(PlannedStep),
  downloadBytes: z.number(),
  diskBytes: z.number(),
  seconds: z.number(),
  findings: z.array(Finding),
  speedUps: z.array(SpeedUpOffer),
})
export type InstallPlan = z.infer<typeof InstallPlan>

export const InstallStep = z.object({
  id: InstallStepId,
  is: z.enum(['waiting', 'running', 'done', 'failed']),
  bytes: z.number(),
  /** null: unknown. */
  totalBytes: z.number().nullable(),
  etaSeconds: z.number().nullable(),
})
export type InstallStep = z.infer<typeof InstallStep>
export const InstallPurpose = z.enum(['install', 'update', 'repair', 'nodes'])
export type InstallPurpose = z.infer<typeof InstallPurpose>
/** An installation, update or repair; of one that did not end well, what there is of it is kept to go on with. */
export const InstallView = z.object({
  name: EngineName,
  purpose: InstallPurpose,
  is: z.enum(['running', 'done', 'failed', 'cancelled']),
  steps: z.array(InstallStep),
  findings: z.array(Finding),
  /** Sources that failed, and what stood in. */
  switched: z.array(z.object({ from: z.string(), to: z.string(), reason: z.string() })),
  failure: Failure.nullable(),
  log: z.string(),
  generation: z.string(),
  startedAt: z.number(),
})
export type InstallView = z.infer<typeof InstallView>

export const Generation = z.object({
  id: z.string(),
  current: z.boolean(),
  version: z.string().nullable(),
  /** The commit, where the source is a repository. */
  commit: z.string().nullable(),
  torch: z.string().nullable(),
  createdAt: z.number(),
  /** With what it shares with the cache and other generations; null: not measured. */
  sizeBytes: z.number().nullable(),
  speedUps: z.array(SpeedUp),
})
export type Generation = z.infer<typeof Generation>
