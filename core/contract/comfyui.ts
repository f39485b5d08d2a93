import { z } from 'zod'
import { isJsonObject, type Json, type JsonObject } from './json.ts'

/** Any JSON value, bigints included; not walked, since prompts are large and come from our own parser. */
export const JsonValue = z.custom<Json>((value) => value !== undefined && typeof value !== 'function')
export const JsonRecord = z.custom<Record<string, Json>>(isJsonObject)

export const NodeId = z.string()
export type NodeId = z.infer<typeof NodeId>

/** A link to another node's output, `[node id, output index]`; any other value is literal. */
export type Link = [NodeId, number]
export const isLink = (value: Json | undefined): value is Link =>
  Array.isArray(value) && value.length === 2 && typeof value[0] === 'string' && typeof value[1] === 'number'

/** One node of a prompt, in ComfyUI's API format. */
export interface PromptNode {
  class_type: string
  inputs: Record<string, Json>
  _meta?: { title?: string; [key: string]: Json | undefined }
}
/** The graph ComfyUI runs: node id → node. */
export type Prompt = Record<NodeId, PromptNode>
export const Prompt = z.custom<Prompt>(
  (value) =>
    isJsonObject(value) &&
    Object.values(value).every(
      (node) => isJsonObject(node) && typeof node.class_type === 'string' && isJsonObject(node.inputs),
    ),
)

/** `[type]` or `[type, options]`; a type that is a list is a combo's choices (V1). */
export type InputSpec = [string | Json[], Record<string, Json>?]
/** A node class as `/object_info` describes it. */
export interface NodeDefinition {
  input: {
    required?: Record<string, InputSpec>
    optional?: Record<string, InputSpec>
    hidden?: Record<string, Json>
  }
  input_order?: { required?: string[]; optional?: string[]; hidden?: string[] }
  output: (string | Json[])[]
  output_is_list?: boolean[]
  output_name?: string[]
  name: string
  display_name?: string
  description?: string
  python_module?: string
  category?: string
  output_node?: boolean
  deprecated?: boolean | null
  experimental?: boolean | null
  api_node?: boolean | null
}
/** class_type → definition. */
export type ObjectInfo = Record<string, NodeDefinition>

/** `/object_info` as it came: what a pack's class says in no known form counts as unsaid, and what is no class is left out. */
export function readObjectInfo(said: Json): ObjectInfo {
  const classes: ObjectInfo = {}
  for (const [type, definition] of isJsonObject(said) ? Object.entries(said) : [])
    if (isJsonObject(definition)) classes[type] = readDefinition(type, definition)
  return classes
}

function readDefinition(type: string, said: JsonObject): NodeDefinition {
  const definition = { ...said }
  if (typeof said.name !== 'string') definition.name = type
  for (const key of ['display_name', 'description', 'python_module', 'category'])
    if (said[key] !== undefined && typeof said[key] !== 'string') delete definition[key]
  if (!Array.isArray(said.output)) definition.output = []
  for (const key of ['output_is_list', 'output_name']) if (!Array.isArray(said[key])) delete definition[key]
  definition.input = only(isJsonObject, said.input)
  if (said.input_order !== undefined) definition.input_order = only(Array.isArray, said.input_order)
  return definition as unknown as NodeDefinition
}

const only = (isGood: (section: Json) => boolean, sections: Json | undefined): JsonObject =>
  isJsonObject(sections) ? Object.fromEntries(Object.entries(sections).filter(([, each]) => isGood(each))) : {}

/** One error about one node, exactly as the server words it. */
export const NodeErrorReason = z.object({
  type: z.string(),
  message: z.string(),
  details: z.string(),
  extra_info: JsonRecord,
})
export type NodeErrorReason = z.infer<typeof NodeErrorReason>
export interface NodeErrors {
  [nodeId: NodeId]: { errors: NodeErrorReason[]; dependent_outputs: NodeId[]; class_type: string }
}
export interface PromptError {
  type: string
  message: string
  details: string
  extra_info: Record<string, Json>
}
/** `POST /prompt`: accepted when `prompt_id` is there; even then `node_errors` may name outputs that were dropped. */
export interface PromptReply {
  prompt_id?: string
  number?: number
  error?: PromptError
  node_errors?: NodeErrors
}

/** A file a history entry names. */
export interface FileReference {
  filename: string
  subfolder: string
  type: 'output' | 'temp' | 'input'
  /** Where an agent has it, whatever it is called. */
  url?: string
}
export interface HistoryEntry {
  prompt: Json[]
  outputs: Record<NodeId, Record<string, Json>>
  status?: { status_str: string; completed: boolean; messages: [string, Record<string, Json>][] }
  meta?: Record<NodeId, Json>
}
export interface SystemStats {
  system: {
    os: string
    comfyui_version?: string
    python_version: string
    pytorch_version?: string
    argv?: string[]
    ram_total?: number
    ram_free?: number
  }
  devices: {
    name: string
    type: string
    index: number | null
    vram_total: number
    vram_free: number
    torch_vram_total: number
    torch_vram_free: number
  }[]
}
