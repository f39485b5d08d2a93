import type { Prompt, PromptNode } from '../../contract/comfyui.ts'
import { AppError } from '../../contract/errors.ts'
import { isJsonObject, type Json, type JsonObject } from '../../contract/json.ts'
import type { Problem, WorkflowFormat } from '../../contract/workflow.ts'
import { asEditor, blueprintOf, isBlueprint, looseBlueprints, unconnected } from './blueprint.ts'
import { type EditorWorkflow, readEditor } from './editor.ts'
import { type ForeignPrompt, readForeignJson, readForeignText, readForeignTexts } from './foreign/read-foreign.ts'
import { fencedTexts, parseForeignJson } from './json-text.ts'
import { refuseOtherKinds } from './other-kinds.ts'
import { problem } from './problems.ts'

export type { EditorWorkflow } from './editor.ts'

/** What a file held. With both, `prompt` is what made the picture, and `editor` how it looked in the editor. */
export interface ReadWorkflow {
  format: WorkflowFormat
  editor: EditorWorkflow | null
  /** null with no `editor` either: a panel whose workflow comes separately. */
  prompt: Prompt | null
  /** An entry of `[{title, prompt, params}]` without its prompt, as the file has it; `readPanel` understands it. */
  panel?: Json
  /** What was in the file and could not be read. */
  problems?: Problem[]
}
export interface FoundWorkflow {
  /** What the file itself calls it. */
  title: string | null
  read: ReadWorkflow
}

export const maxNodes = 50_000
/** A history entry in a request in a file …: how deep to look for a workflow. */
const maxNesting = 8

/** The only workflow of a file; of several, the first, which then says so. @throws as readWorkflows */
export function readWorkflow(name: string, texts: Record<string, string>): ReadWorkflow {
  const all = readWorkflows(name, texts)
  const first = all.find(({ read }) => read.editor || read.prompt) ?? all[0]!
  const told = [...(first.read.problems ?? [])]
  if (!first.read.editor && !first.read.prompt) told.push(problem('loss', 'panel-alone', {}))
  if (all.length > 1) {
    const others = all.flatMap((one, at) => (one === first ? [] : [one.title ?? `#${at + 1}`]))
    told.push(problem('warning', 'more-workflows', { count: all.length, titles: listed(others) }))
  }
  return { ...first.read, ...(told.length > 0 && { problems: told }) }
}

/**
 * All workflows of a file, at least one.
 * @param texts `json` for a whole file, else a picture's metadata by key
 * @throws AppError import.*
 */
export function readWorkflows(name: string, texts: Record<string, string>): FoundWorkflow[] {
  const found = texts.json === undefined ? [inMetadata(name, texts)] : inFile(name, texts.json)
  const nodes = found.reduce((sum, { read }) => sum + countNodes(read), 0)
  if (nodes > maxNodes) throw new AppError('import.too-many-nodes', { name, nodes, limit: maxNodes })
  for (const { read } of found) if (read.editor) readEditor(read.editor, name) // refuses now what could not be converted later
  return found
}

const countNodes = ({ editor, prompt }: ReadWorkflow) =>
  Math.max(Array.isArray(editor?.nodes) ? editor.nodes.length : 0, Object.keys(prompt ?? {}).length)

function inFile(name: string, text: string): FoundWorkflow[] {
  const entries = parsed(name, text).flatMap((value) => entriesOf(name, value, null))
  const found: FoundWorkflow[] = []
  const failed: Problem[] = []
  let first: unknown = null
  for (const [index, { title, value }] of entries.entries()) {
    try {
      const one = newFound()
      look(name, value, one, 0)
      if (isNone(one)) takeForeign(one, readForeignJson(value))
      found.push({ title, read: resultOf(name, one, 'import.unknown-format') })
    } catch (cause) {
      if (!(cause instanceof AppError)) throw cause
      first ??= cause
      failed.push(problem('loss', 'entry-unreadable', { entry: title ?? `#${index + 1}`, reason: cause.message }))
    }
  }
  const [one] = found
  if (!one) throw first ?? new AppError('import.unknown-format', { name })
  if (failed.length > 0) one.read.problems = [...(one.read.problems ?? []), ...failed.slice(0, mostTold)]
  return found
}

/** The JSON of a file, or its text where another program wrote it; of a message, each piece that is one of these. */
function parsed(name: string, text: string): Json[] {
  try {
    return [parseForeignJson(name, text)]
  } catch (cause) {
    const pieces = fencedTexts(text).flatMap((piece) => {
      try {
        return [parseForeignJson(name, piece)]
      } catch {
        return readForeignText(piece) ? [piece] : []
      }
    })
    if (pieces.length > 0) return pieces
    const lines = text.split('\n').filter((line) => line.trim() !== '')
    if (lines.length > 1 && lines.every((line) => /^\s*\{.*\}\s*$/.test(line))) {
      return lines.map((line) => parseForeignJson(name, line)) // one prompt a line
    }
    if (readForeignText(text)) return [text]
    throw cause
  }
}

/** Of a file in which little is a workflow, not every other entry is named. */
const mostTold = 100

interface Entry {
  title: string | null
  value: Json
}

/** Where one file holds several workflows: a list, a history, a queue, subgraphs without a workflow around them. */
function entriesOf(name: string, value: Json, title: string | null): Entry[] {
  refuseOtherKinds(name, value)
  if (Array.isArray(value) && !isRecord(value)) return value.flatMap((item) => entriesOf(name, item, null))
  if (!isJsonObject(value)) return [{ title, value }]
  const { queue_running, queue_pending } = value
  if (Array.isArray(queue_running) || Array.isArray(queue_pending)) {
    const records = [queue_running, queue_pending].flatMap((list) => (Array.isArray(list) ? list : []))
    return records.flatMap((record) => entriesOf(name, record, null))
  }
  const records = Object.entries(value)
  if (records.length > 1 && records.every(([, record]) => isJsonObject(record) && isRecord(record.prompt))) {
    return records.map(([, record]) => ({ title: null, value: record }))
  }
  const loose = looseBlueprints(value)
  if (loose.length > 0) return loose
  const own = typeof value.title === 'string' && 'prompt' in value ? value.title.trim() : ''
  return [{ title: own || title, value }]
}

/** A queue or history record: [number, id, prompt, extra_data, outputs]. */
const isRecord = (value: Json | undefined): boolean =>
  Array.isArray(value) && typeof value[1] === 'string' && isJsonObject(value[2])

interface Found {
  format: WorkflowFormat | null
  editor: EditorWorkflow | null
  prompt: Prompt | null
  panel: Json | null
  problems: Problem[]
  /** Keys beside the workflow that say something we do not use. */
  unused: Set<string>
}
const newFound = (): Found => ({
  format: null,
  editor: null,
  prompt: null,
  panel: null,
  problems: [],
  unused: new Set(),
})

const isNone = ({ editor, prompt, panel }: Found) => !editor && !prompt && panel === null

/** What another program says of its picture counts only where ComfyUI says nothing. */
function takeForeign(found: Found, foreign: ForeignPrompt | null) {
  if (!foreign) return
  found.prompt = foreign.prompt
  found.format = 'a1111'
  found.problems.push(...foreign.problems)
}

/** @throws AppError `ifNone` when nothing was found */
function resultOf(name: string, found: Found, ifNone: 'import.unknown-format' | 'import.no-workflow'): ReadWorkflow {
  const { editor, prompt, panel, problems, unused } = found
  if (isNone(found)) throw new AppError(ifNone, { name })
  if (unused.size > 0) problems.push(problem('warning', 'unused-parts', { keys: listed([...unused]) }))
  if (editor) problems.push(...unconnected(editor))
  const panelOnly = !editor && !prompt
  const format = editor ? editorFormat(editor) : (found.format ?? (panelOnly ? 'panels' : 'api'))
  return { format, editor, prompt, ...(panel !== null && { panel }), ...(problems.length > 0 && { problems }) }
}

const listed = (names: string[]) => {
  const shown = names.slice(0, 12).map((name) => name.slice(0, 60))
  return shown.join(', ') + (names.length > shown.length ? ', …' : '')
}

/** A picture's texts: the known keys first, then whatever looks like JSON; some programs swap or merge them. */
function inMetadata(name: string, texts: Record<string, string>): FoundWorkflow {
  const found = newFound()
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
  if (isNone(found)) takeForeign(found, readForeignTexts(texts))
  if (first !== null && isNone(found)) throw first
  return { title: null, read: resultOf(name, found, 'import.no-workflow') }
}

/** Where programs that talk to ComfyUI put a workflow, in the order to look; the first of a kind is kept. */
const holders = [
  'workflow',
  'prompt',
  'workflow_api',
  'workflow_api_json',
  'workflow_json',
  'workflow_template',
  'output',
  'input',
  'body',
  'data',
  'request',
  'payload',
  'extra_data',
  'extra_pnginfo',
]
/** What stands beside a workflow and says nothing of how the picture is made. */
const beside = new Set(
  `title name id params description version revision author source info tags category created created_at updated_at
  client_id number front prompt_id partial_execution_targets outputs status meta webhook webhook_url policy timestamp
  create_time delayTime executionTime workerId workflow_id`.split(/\s+/),
)

/** Keeps the first workflow and the first prompt it comes upon. */
function look(name: string, value: Json | undefined, found: Found, depth: number) {
  if (depth > maxNesting || value === undefined || value === null) return
  if (typeof value === 'string') {
    if (!/^\s*[{["]/.test(value)) return
    try {
      look(name, parseForeignJson(name, value), found, depth + 1)
    } catch (cause) {
      if (!(cause instanceof AppError) || cause.code === 'import.other-program') throw cause
      if (!/"(nodes|class_type)"/.test(value)) return // words may begin like JSON too
      const entry = `${value.trim().slice(0, 40)}…`
      found.problems.push(problem('warning', 'entry-unreadable', { entry, reason: cause.message }))
    }
    return
  }
  if (Array.isArray(value)) {
    if (!isRecord(value)) return
    look(name, value[2], found, depth + 1)
    look(name, value[3], found, depth + 1)
    return
  }
  if (!isJsonObject(value)) return
  refuseOtherKinds(name, value)
  if (isBlueprint(value)) {
    found.editor ??= blueprintOf(value)
    return
  }
  const editor = asEditor(value)
  if (editor) {
    found.editor ??= editor
    return
  }
  const nodes = promptNodes(value)
  if (nodes !== null) {
    if (found.prompt === null) {
      found.prompt = nodes.prompt
      found.problems.push(...nodes.problems)
    }
    for (const key of besideNodes) look(name, value[key], found, depth + 1)
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
  if (Array.isArray(value.params) && value.params.every(isJsonObject) && 'prompt' in value) {
    const { prompt: _, ...panel } = value
    found.panel ??= panel
  }
  for (const key of holders) look(name, value[key], found, depth + 1)
  if (found.editor || found.prompt) {
    for (const [key, item] of Object.entries(value)) {
      if (!holders.includes(key) && !beside.has(key) && !isNothing(item)) found.unused.add(key)
    }
    return
  }
  const records = Object.values(value)
  if (records.length === 1) look(name, records[0], found, depth + 1) // {prompt id: history entry}
}

const isNothing = (value: Json) =>
  value === null || value === '' || (typeof value === 'object' && Object.keys(value).length === 0)

/** What programs write among the nodes of a prompt. */
const besideNodes = ['extra_data', 'extra_pnginfo', 'workflow']
const notNodes = new Set([...besideNodes, 'version', 'extraMetadata', 'client_id'])
const isAirs = (item: Json) => isJsonObject(item) && Array.isArray(item.airs) // Civitai's list of the models it used

/** The nodes of an object that is a prompt; null when it is none. Entries that are no nodes are told, not dropped. */
function promptNodes(value: JsonObject): { prompt: Prompt; problems: Problem[] } | null {
  const entries = Object.entries(value)
  if (!entries.some(([, node]) => isJsonObject(node) && typeof node.class_type === 'string')) return null
  const prompt: Prompt = {}
  const problems: Problem[] = []
  for (const [id, node] of entries) {
    const read = isJsonObject(node) ? promptNode(node) : null
    if (read) prompt[id] = read
    else if (!notNodes.has(id) && !isAirs(node)) problems.push(problem('loss', 'not-a-node', { key: id }))
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
