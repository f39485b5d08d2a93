import { z } from 'zod'
import { JsonRecord, JsonValue, NodeId, Prompt } from './comfyui.ts'

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
  /** null: no worker could say. */
  present: z.boolean().nullable(),
  sources: z.array(z.object({ url: z.string(), hash: z.string().optional() })),
})
export type ModelNeed = z.infer<typeof ModelNeed>
export const CustomNodeNeed = z.object({ classType: z.string(), candidates: z.array(z.string()) })

export const WorkflowFormat = z.enum(['api', 'editor-0.4', 'editor-1.0', 'template', 'panels'])
export type WorkflowFormat = z.infer<typeof WorkflowFormat>

/** What a file turned out to hold; also what `inspect` prints. */
export const Inspection = z.object({
  format: WorkflowFormat,
  container: z.enum(['json', 'png', 'webp']),
  nodes: z.int(),
  parameters: z.array(Parameter),
  models: z.array(ModelNeed),
  customNodes: z.array(CustomNodeNeed),
  paid: z.array(z.string()),
  outputs: z.array(z.object({ node: NodeId, classType: z.string(), title: z.string() })),
  problems: z.array(Problem),
  /** Whose definitions were used: a worker's name, a file, or `bundled` (captured from ComfyUI `version`). */
  definitions: z.object({ from: z.string(), version: z.string().optional() }),
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
})
export type Workflow = z.infer<typeof Workflow>

/** How a person arranged one parameter; the order of the list is the order on the form. */
export const ParameterChoice = z.object({ key: z.string(), name: z.string(), shown: z.boolean(), pinned: z.boolean() })
export type ParameterChoice = z.infer<typeof ParameterChoice>
