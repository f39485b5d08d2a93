import { z } from 'zod'
import { JsonRecord, JsonValue, NodeId, Prompt } from './comfyui.ts'
import { Failure } from './errors.ts'
import { Panel } from './panel.ts'

export const WorkflowId = z.string()

/** What a parameter does for a person; found by tracing the graph. `null`: an input like any other. */
export const ParameterRole = z.enum([
  'prompt',
  'negative',
  'seed',
  'steps',
  'cfg',
  'sampler',
  'scheduler',
  'denoise',
  'width',
  'height',
  'batch-size',
  'length',
  'fps',
  'guidance',
  'strength',
  'checkpoint',
  'lora',
  'vae',
  'model',
  'image',
  'mask',
  'video',
  'audio',
  'filename-prefix',
  'placeholder',
  'lyrics',
  'aspect-ratio',
  'megapixels',
  'duration',
  'switch',
])
export type ParameterRole = z.infer<typeof ParameterRole>

/**
 * An input a person may turn. `key` is `NODE.INPUT` (`NODE.INPUT{{name}}` for a placeholder within a text) and never changes; `name` is what people call it, unique in its
 * workflow. `type` is ComfyUI's (INT, FLOAT, STRING, BOOLEAN, COMBO …). Numbers beyond 2^53 are bigints.
 */
export const Parameter = z.object({
  key: z.string(),
  name: z.string(),
  node: NodeId,
  input: z.string(),
  classType: z.string(),
  nodeTitle: z.string(),
  type: z.string(),
  role: ParameterRole.nullable(),
  default: JsonValue,
  min: JsonValue.optional(),
  max: JsonValue.optional(),
  step: JsonValue.optional(),
  options: z.array(JsonValue).optional(),
  multiline: z.boolean().optional(),
  /** A local file may be given; it is uploaded to the worker. */
  upload: z.enum(['image', 'video', 'audio']).optional(),
  /** What the editor did with the value after each queueing. */
  control: z.enum(['fixed', 'increment', 'decrement', 'randomize', 'increment-wrap']).optional(),
  /** Other inputs (`NODE.INPUT`) that take the same value: a placeholder written in several places. */
  also: z.array(z.string()).optional(),
  /** The value is text in which `{a|b}` is a choice (a switch turns it off). */
  dynamicPrompts: z.boolean().optional(),
  /** Shown on the form: those with a role are, until the person says otherwise. */
  shown: z.boolean(),
  pinned: z.boolean(),
})
export type Parameter = z.infer<typeof Parameter>

/** Something conversion or validation found. `loss`: part of the workflow would not be in the prompt. */
export const Problem = z.object({
  kind: z.enum(['loss', 'missing-node', 'missing-model', 'bad-value', 'warning']),
  node: NodeId.nullable(),
  classType: z.string().nullable(),
  input: z.string().nullable(),
  /** A sentence in English; `code` and `facts` let a screen say it in another language. */
  message: z.string(),
  code: z.string(),
  facts: JsonRecord.optional(),
})
export type Problem = z.infer<typeof Problem>

export const ModelNeed = z.object({
  file: z.string(),
  folder: z.string(),
  node: NodeId,
  /** On the server whose definitions were used; null: it could not say. */
  present: z.boolean().nullable(),
  sources: z.array(z.object({ url: z.string(), hash: z.string().optional() })),
  /** The input that names it. */
  input: z.string().optional(),
  /** On each server that answers: `as` is what the file is called there, where that differs. */
  workers: z
    .array(z.object({ worker: z.string(), present: z.boolean().nullable(), as: z.string().optional() }))
    .default([]),
  /** As a server's disk has it; null: no server said. */
  sizeBytes: z.number().nullable().default(null),
})
export type ModelNeed = z.infer<typeof ModelNeed>

/** A package that may bring a class, and what says so: the file itself, a list of its classes, or a pattern of their names. */
export const NodePack = z.object({
  /** The registry's id, else `owner/repository`, else the address. */
  id: z.string(),
  title: z.string(),
  url: z.string().nullable(),
  /** `registry`: the Comfy registry says so; `name`: nobody does, and its name or those of its other classes are alike. */
  why: z.enum(['file', 'owner', 'exact', 'pattern', 'registry', 'name']),
  /** The version, or commit, that the workflow was saved with. */
  version: z.string().optional(),
  stars: z.int().nullable().optional(),
  /** On one of the ComfyUIs of this machine. */
  installed: z.boolean().optional(),
})
export type NodePack = z.infer<typeof NodePack>
export const CustomNodeNeed = z.object({
  classType: z.string(),
  /** Best first: the ids of `packs`. */
  candidates: z.array(z.string()),
  packs: z.array(NodePack).default([]),
})
export type CustomNodeNeed = z.infer<typeof CustomNodeNeed>

/** Where the lists of packages were from; `because`: why there are none, or only older ones. */
export const NodeLists = z.object({
  fetchedAt: z.int().nullable(),
  url: z.string().nullable(),
  licence: z.string(),
  because: Failure.nullable(),
})
export type NodeLists = z.infer<typeof NodeLists>

/** Roughly what the GPU must hold at once, with the parts it was reckoned from; null: some sizes are unknown. */
export const VramNeed = z.object({
  aboutBytes: z.number().nullable(),
  because: z.array(
    z.object({
      what: z.enum(['model', 'text-encoder', 'vae', 'control', 'lora', 'activations', 'unknown-size']),
      name: z.string(),
      bytes: z.number().nullable(),
    }),
  ),
})
export type VramNeed = z.infer<typeof VramNeed>

export const WorkflowFormat = z.enum(['api', 'editor-0.4', 'editor-1.0', 'template', 'panels', 'a1111'])
export type WorkflowFormat = z.infer<typeof WorkflowFormat>

/** What a file is, by its bytes; of an archive, the file in it. `json`: text of any kind. */
export const Container = z.enum([
  'json',
  'png',
  'webp',
  'jpeg',
  'avif',
  'heif',
  'jxl',
  'tiff',
  'exr',
  'gif',
  'svg',
  'mp4',
  'mov',
  'webm',
  'mkv',
  'avi',
  'flac',
  'mp3',
  'ogg',
  'wav',
  'glb',
  'safetensors',
])
export type Container = z.infer<typeof Container>

/** How the names of files end that can hold a workflow. */
export const workflowExtensions =
  'json png webp jpg jpeg avif heic heif jxl tif tiff exr gif svg mp4 m4v mov webm mkv avi flac mp3 ogg opus m4a wav glb safetensors latent zip gz'.split(
    ' ',
  )

export const Family = z.object({ id: z.string(), name: z.string(), by: z.string() })

/** What a file turned out to hold; also what `inspect` prints. */
export const Inspection = z.object({
  format: WorkflowFormat,
  container: Container,
  nodes: z.int(),
  parameters: z.array(Parameter),
  models: z.array(ModelNeed),
  customNodes: z.array(CustomNodeNeed),
  paid: z.array(z.string()),
  outputs: z.array(z.object({ node: NodeId, classType: z.string(), title: z.string() })),
  /** Which models it is made for, as presets know them; null: nobody here knows. `by`: what told. */
  family: Family.nullable().optional(),
  problems: z.array(Problem),
  /**
   * Whose definitions were used: a worker's name, a file, or `bundled` (captured from ComfyUI `version`). `cachedAt`: the
   * worker could not be asked, and these are from then.
   */
  definitions: z.object({ from: z.string(), version: z.string().optional(), cachedAt: z.int().optional() }),
  /** What the workflow was last saved with, as far as the editor noted it. */
  madeWith: z.object({ comfyui: z.string().nullable(), editor: z.string().nullable() }).optional(),
  vram: VramNeed.optional(),
  /** Only where classes are missing. */
  nodeLists: NodeLists.optional(),
  /** Forms in the same file. */
  panels: z.array(Panel).optional(),
})
export type Inspection = z.infer<typeof Inspection>

export const WorkflowSummary = z.object({
  id: WorkflowId,
  name: z.string(),
  format: WorkflowFormat,
  nodes: z.int(),
  problems: z.int(),
  /** False: something would be lost or a node is unknown, so it cannot be queued as it is. */
  runnable: z.boolean(),
  batches: z.int(),
  /** How many forms were made for it. */
  panelCount: z.int(),
  importedAt: z.int(),
  usedAt: z.int().nullable(),
})
export type WorkflowSummary = z.infer<typeof WorkflowSummary>

/** A node as the read-only picture of the graph draws it. Positions are the editor's, or laid out where it has none. */
export const GraphNode = z.object({
  id: NodeId,
  title: z.string(),
  classType: z.string(),
  x: z.number(),
  y: z.number(),
  width: z.number(),
  height: z.number(),
  mode: z.enum(['active', 'muted', 'bypassed', 'virtual']),
  known: z.boolean(),
  values: z.array(z.object({ name: z.string(), value: z.string() })),
})
export const GraphEdge = z.object({
  from: NodeId,
  fromSlot: z.int(),
  to: NodeId,
  toInput: z.string(),
  type: z.string(),
})
export const Graph = z.object({ nodes: z.array(GraphNode), edges: z.array(GraphEdge), laidOut: z.boolean() })
export type Graph = z.infer<typeof Graph>

export const Workflow = WorkflowSummary.extend({
  inspection: Inspection,
  graph: Graph,
  prompt: Prompt,
  panels: z.array(Panel),
  /** What in them turns nothing here. */
  panelProblems: z.array(Problem),
})
export type Workflow = z.infer<typeof Workflow>

/** How a person arranged one parameter; the order of the list is the order on the form. */
export const ParameterChoice = z.object({ key: z.string(), name: z.string(), shown: z.boolean(), pinned: z.boolean() })
export type ParameterChoice = z.infer<typeof ParameterChoice>

/** A value that would be other; `why` in English, with `code` and `facts` for other languages. Nothing has changed yet. */
export const Change = z.object({
  key: z.string(),
  from: JsonValue,
  to: JsonValue,
  why: z.string(),
  code: z.string(),
  facts: JsonRecord,
})
export type Change = z.infer<typeof Change>

export const PresetId = z.enum(['fast', 'balanced', 'quality'])
export type PresetId = z.infer<typeof PresetId>

/** What the models' makers recommend, and what a workflow's values and its prompt suggest. */
export const Advice = z.object({
  /** null: nothing here is known of its models. */
  family: Family.nullable(),
  /** Empty for a family nobody knows; a preset without changes is what is set already. */
  presets: z.array(z.object({ id: PresetId, changes: z.array(Change) })),
  /** Without changes: only good to know. */
  suggestions: z.array(
    z.object({ id: z.string(), message: z.string(), code: z.string(), facts: JsonRecord, changes: z.array(Change) }),
  ),
  /** Keys of parameters that count, or no longer do, because switches are not as in the workflow's file. */
  awake: z.array(z.string()),
  asleep: z.array(z.string()),
})
export type Advice = z.infer<typeof Advice>
