import type { Prompt, PromptNode } from '../../contract/comfyui.ts'
import { AppError } from '../../contract/errors.ts'
import { isJsonObject, type Json, type JsonObject } from '../../contract/json.ts'
import type { Problem, WorkflowFormat } from '../../contract/workflow.ts'
import { type EditorWorkflow, isEditorWorkflow, readEditor } from './editor.ts'
import { parseForeignJson } from './json-text.ts'
import { problem } from './problems.ts'

export type { EditorWorkflow } from './editor.ts'

/** What a file held. With both, `prompt` is what made the picture, and `editor` how it looked in the editor. */
export interface ReadWorkflow {
  format: WorkflowFormat
  editor: EditorWorkflow | null
  prompt: Prompt | null
  /** What was in the file and could not be read. */
  problems?: Problem[]
}

export const maxNodes = 50_000
/** A history entry in a request in a file …: how deep to look for a workflow. */
const maxNesting = 6

/**
 * @param texts `json` for a whole file, else a picture's metadata by key
 * @throws AppError import.*
 */
export function readWorkflow(name: string, texts: Record<string, string>): ReadWorkflow {
  const found: Found = { format: null, editor: null, prompt: null, problems: [] }
  if (texts.json !== undefined) {
    look(name, parseForeignJson(name, texts.json), found, 0)
    if (!found.editor && !found.prompt) throw new AppError('import.unknown-format', { name })
  } else {
    lookInMetadata(name, texts, found)
    if (!found.editor && !found.prompt) throw new AppError('import.no-workflow', { name })
  }
  const { editor, prompt, problems } = found
  const nodes = Math.max(Array.isArray(editor?.nodes) ? editor.nodes.length : 0, Object.keys(prompt ?? {}).length)
  if (nodes > maxNodes) throw new AppError('import.too-many-nodes', { name, nodes, limit: maxNodes })
  if (editor) readEditor(editor, name) // refuses now what could not be converted later
  const format = editor ? editorFormat(editor) : (found.format ?? 'api')
  return { format, editor, prompt, ...(problems.length > 0 && { problems }) }
}

interface Found {
  format: WorkflowFormat | null
  editor: EditorWorkflow | null
  prompt: Prompt | null
  problems: Problem[]
}

/** A picture's texts: the known keys first, then whatever looks like JSON; some programs swap or merge them. */
function lookInMetadata(name: string, texts: Record<string, string>, found: Found) {
  const others = Object.keys(texts).filter((key) => key !== 'workflow' && key !== 'prompt')
  let first: unknown = null
  for (const key of ['workflow', 'prompt', ...others]) {
    const text = Object.hasOwn(texts, key) ? texts[key] : undefined
    const known = key === 'workflow' || key === 'prompt'
    if (text === undefined || (!known && !/^\s*[{"]/.test(text))) continue
    try {
      look(name, parseForeignJson(name, text), found, 0)
    } catch (cause) {
      if (!known || !(cause instanceof AppError)) continue
      first ??= cause
      found.problems.push(problem('warning', 'metadata-unreadable', { key, reason: cause.message }))
    }
  }
  if (first !== null && !found.editor && !found.prompt) throw first
}

/** Keeps the first workflow and the first prompt it comes upon. */
function look(name: string, value: Json | undefined, found: Found, depth: number) {
  if (depth > maxNesting || value === undefined || value === null) return
  if (typeof value === 'string') {
    if (/^\s*[{["]/.test(value)) look(name, parseForeignJson(name, value), found, depth + 1)
    return
  }
  if (Array.isArray(value)) {
    // a queue or history record: [number, id, prompt, extra_data, outputs]
    const [, , prompt, extra] = value
    if (isJsonObject(prompt) && typeof value[1] === 'string') {
      look(name, prompt, found, depth + 1)
      look(name, extra, found, depth + 1)
    }
    return
  }
  if (!isJsonObject(value)) return
  if (isEditorWorkflow(value)) {
    found.editor ??= value
    return
  }
  const nodes = promptNodes(value)
  if (nodes !== null) {
    if (found.prompt === null) {
      found.prompt = nodes.prompt
      found.problems.push(...nodes.problems)
    }
    return
  }
  const template = isJsonObject(value.workflow_template) ? value.workflow_template : value
  const templateNodes = isJsonObject(template.nodes) ? promptNodes(template.nodes) : null
  if (templateNodes !== null && found.prompt === null) {
    found.prompt = templateNodes.prompt
    found.problems.push(...templateNodes.problems)
    found.format = 'template'
    return
  }
  look(name, value.workflow, found, depth + 1)
  look(name, value.prompt, found, depth + 1)
  look(name, value.extra_data, found, depth + 1)
  look(name, value.extra_pnginfo, found, depth + 1)
  if (found.editor || found.prompt) return
  const records = Object.values(value)
  if (records.length === 1) look(name, records[0], found, depth + 1) // {prompt id: history entry}
}

/** The nodes of an object that is a prompt; null when it is none. Entries that are no nodes are told, not dropped. */
function promptNodes(value: JsonObject): { prompt: Prompt; problems: Problem[] } | null {
  const entries = Object.entries(value)
  if (!entries.some(([, node]) => isJsonObject(node) && typeof node.class_type === 'string')) return null
  const prompt: Prompt = {}
  const problems: Problem[] = []
  for (const [id, node] of entries) {
    const read = isJsonObject(node) ? promptNode(node) : null
    if (read) prompt[id] = read
    else if (id !== 'extra_data' && id !== 'version') problems.push(problem('loss', 'not-a-node', { key: id }))
  }
  return { prompt, problems }
}

function promptNode(node: JsonObject): PromptNode | null {
  const { class_type, inputs, ...rest } = node
  if (typeof class_type !== 'string' || (inputs !== undefined && !isJsonObject(inputs))) return null
  return { ...rest, class_type, inputs: inputs ?? {} }
}

function editorFormat({ version }: EditorWorkflow): WorkflowFormat {
  return typeof version === 'number' && version >= 1 ? 'editor-1.0' : 'editor-0.4'
}
