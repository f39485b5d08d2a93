import { isLink, type ObjectInfo, type Prompt, type PromptNode } from '../../contract/comfyui.ts'
import { isJsonObject, type Json, type JsonObject } from '../../contract/json.ts'
import type { Problem } from '../../contract/workflow.ts'
import { broadcast } from './broadcast.ts'
import { unaccounted } from './conservation.ts'
import { definitionOf, inputNamed, inputsOf, isWidget, widgetTypeOf } from './definitions.ts'
import { type EditorInput, readEditor } from './editor.ts'
import { type Flat, type FlatNode, flatten, promotedTo, type Source, sourceOf } from './flatten.ts'
import { problem } from './problems.ts'
import type { ReadWorkflow } from './read.ts'
import { isEmpty, type PlacedWidget, turned } from './widgets.ts'

/**
 * The prompt a workflow stands for, as the editor would export it. What cannot be brought over is told as a problem of
 * kind `loss`; nothing goes silently. A prompt in API format passes through, cleaned of what servers leave in it.
 */
export function convertWorkflow(read: ReadWorkflow, definitions: ObjectInfo): { prompt: Prompt; problems: Problem[] } {
  const told = read.problems ?? []
  if (read.prompt) {
    const prompt = cleanPrompt(read.prompt)
    return { prompt, problems: [...told, ...checkPrompt(prompt, definitions)] }
  }
  if (!read.editor) return { prompt: {}, problems: [...told] }
  const flat = flatten(readEditor(read.editor), definitions)
  const { prompt, problems } = convertFlat(flat)
  return { prompt, problems: [...told, ...problems, ...checkPrompt(prompt, definitions)] }
}

/** Servers write `is_changed` into the prompts they run; some programs write comments beside the inputs. */
function cleanPrompt(prompt: Prompt): Prompt {
  const clean: Prompt = {}
  for (const [id, { class_type, inputs, _meta }] of Object.entries(prompt)) {
    const node: PromptNode = { class_type, inputs: { ...inputs } }
    if (isJsonObject(_meta)) {
      const { title, ...more }: JsonObject = _meta
      node._meta = typeof title === 'string' ? { title, ...more } : more
    }
    clean[id] = node
  }
  return clean
}

function convertFlat(flat: Flat): { prompt: Prompt; problems: Problem[] } {
  const prompt: Prompt = {}
  const problems: Problem[] = []
  const memo = new Map<string, Source>()
  const nodes = [...flat.nodes].sort(byPath)
  for (const one of nodes) {
    const { id, node, definition } = one
    const title = titleOf(one)
    const inputs: Record<string, Json> = {}
    problems.push(...placementProblems(one, title))
    for (const widget of one.placement.widgets) {
      const value = widgetValue(one, widget)
      if (value !== null || widget.at !== null) inputs[widget.input.name] = literal(widget.input, value)
    }
    for (const input of node.inputs) {
      if (input.link === null || input.name === '') continue
      problems.push(...connect(one, input, sourceOf(one.context, node, input, flat, memo), inputs, title))
    }
    if (node.type === 'CustomCombo') followChoice(inputs)
    if (node.type.startsWith('KSampler')) withoutPrefix(inputs)
    prompt[id] = { class_type: node.type, inputs, _meta: { title: title ?? definition?.display_name ?? node.type } }
  }
  problems.push(...broadcast(flat, nodes, prompt, memo))
  problems.push(...dropDanglingLinks(prompt, nodes))
  problems.push(...unaccounted(flat.document, flat.definitions, prompt, [...problems, ...flat.problems]))
  return { prompt, problems: [...flat.problems, ...problems] }
}

const { compare } = new Intl.Collator('en', { numeric: true })
const byPath = (one: FlatNode, other: FlatNode) => compare(one.id, other.id)
export const titleOf = ({ node, definition }: FlatNode) => node.title ?? (definition?.display_name || node.type)

/** The value of a widget: the one an instance around it gives, else the node's own. */
const widgetValue = (one: FlatNode, widget: PlacedWidget): Json =>
  promotedTo(one, widget.input.name)?.value ?? widget.value

/** The index of a custom combo is not stored truth: the editor looks for the choice among the options. */
function followChoice(inputs: Record<string, Json>) {
  if (isLink(inputs.choice) || !('index' in inputs)) return
  const options = Object.entries(inputs).filter(([name]) => name.startsWith('option'))
  inputs.index = options.findIndex(([, option]) => option === inputs.choice)
}

/** Samplers were once stored as the names of their functions. */
function withoutPrefix(inputs: Record<string, Json>) {
  const { sampler_name } = inputs
  if (typeof sampler_name === 'string') inputs.sampler_name = sampler_name.replace(/^sample_/, '')
}

/** A list would be read as a link, so it is wrapped; the server unwraps it. */
export function literal(input: PlacedWidget['input'], value: Json): Json {
  if (!Array.isArray(value)) return value
  return widgetTypeOf(input) === 'CURVE' ? { __type__: 'CURVE', __value__: value } : { __value__: value }
}

function placementProblems({ id, node, definition, placement }: FlatNode, title: string): Problem[] {
  const at = { node: id, classType: node.type }
  const { actual, expected, leftOver, misfits, defaulted } = placement
  if (placement.unknown) return [problem('loss', 'values-unknown', { title, actual }, at)]
  const problems: Problem[] = []
  if (misfits.length > 0 && actual !== expected) {
    problems.push(problem('loss', 'values-misaligned', { title, actual, expected, inputs: misfits.join(', ') }, at))
  }
  const lost = leftOver.filter((value) => !isEmpty(value))
  if (lost.length > 0) {
    const values = lost.map(shown).join(', ')
    // A class without widgets stores what it showed; nothing the server could take.
    const kind = definition && !inputsOf(definition).some(isWidget) ? 'warning' : 'loss'
    problems.push(problem(kind, 'values-left-over', { title, actual, expected, values }, at))
  }
  for (const { input, value } of placement.widgets) {
    if (!browserWidgets.has(input.type) || !isEmpty(value)) continue
    // Without its view of a model, a node takes the camera's usual place.
    const kind = input.name === 'viewport_state' ? 'warning' : 'loss'
    problems.push(problem(kind, 'browser-widget', { title, input: input.name }, { ...at, input: input.name }))
  }
  const linked = new Set(node.inputs.flatMap(({ name, link }) => (link === null ? [] : [name])))
  const missing = defaulted.filter((name) => !linked.has(name))
  if (missing.length > 0)
    problems.push(problem('warning', 'values-defaulted', { title, inputs: missing.join(', ') }, at))
  return problems
}
/** Widgets whose value is made in the browser at the moment of queueing: a camera's picture, a view of a 3D model. */
const browserWidgets = new Set([
  'WEBCAM',
  'AUDIO_RECORD',
  'PAINTER',
  'LOAD_3D',
  'LOAD_3D_ANIMATION',
  'LOAD_3D_ADVANCED',
])
const shown = (value: Json) => (typeof value === 'object' ? '{…}' : String(value).slice(0, 60))

/** Writes what a connected input gets into `inputs`. */
function connect(
  one: FlatNode,
  input: EditorInput,
  source: Source,
  inputs: Record<string, Json>,
  title: string,
): Problem[] {
  const { id, node, definition } = one
  const { name } = input
  const at = { node: id, classType: node.type, input: name }
  const facts = { title, input: name }
  const declared = definition ? inputNamed(definition, name, inputs) : null
  if (source.is === 'link') {
    const ours = definition?.python_module?.startsWith('custom_nodes') !== true
    if (definition && !declared && ours) return [problem('loss', 'unknown-input', facts, at)]
    inputs[name] = [source.id, source.slot]
    return definition && !declared ? [problem('warning', 'undeclared-input', facts, at)] : []
  }
  if (source.is === 'value') {
    // A primitive only turns widgets; an instance hands its value to whatever is connected inside.
    const turns =
      source.from === 'instance' ||
      (declared ? isWidget(declared) : definition === null && (input.widget !== null || Object.hasOwn(inputs, name)))
    if (!turns) return [problem('warning', 'primitive-not-a-widget', facts, at)]
    const value = declared && source.from === 'primitive' ? turned(declared, source.value) : source.value
    if (declared) inputs[name] = literal(declared, value)
    else inputs[name] = Array.isArray(value) ? { __value__: value } : value
    return source.instead ? [problem('warning', 'link-replaced', facts, at)] : []
  }
  switch (source.because) {
    case 'muted':
      return [problem('warning', 'link-from-muted', facts, at)]
    case 'bypassed':
      return [problem('warning', 'link-through-bypassed', facts, at)]
    case 'dangling':
      return [problem('loss', 'dangling-link', facts, at)]
    case 'cycle':
      return [problem('loss', 'link-cycle', facts, at)]
    case 'no-set':
      return [problem('loss', 'no-set-node', { ...facts, name: source.name ?? '' }, at)]
    default:
      return []
  }
}

/** Links must name nodes that are in the prompt. */
function dropDanglingLinks(prompt: Prompt, nodes: FlatNode[]): Problem[] {
  const problems: Problem[] = []
  for (const one of nodes) {
    const { inputs } = prompt[one.id]!
    for (const [name, value] of Object.entries(inputs)) {
      if (!isLink(value) || Object.hasOwn(prompt, value[0])) continue
      delete inputs[name]
      const facts = { title: titleOf(one), input: name, from: value[0] }
      problems.push(problem('loss', 'bad-link', facts, { node: one.id, classType: one.node.type, input: name }))
    }
  }
  return problems
}

/** What would make any server refuse the prompt before it looks at values. */
function checkPrompt(prompt: Prompt, definitions: ObjectInfo): Problem[] {
  const problems: Problem[] = []
  for (const [id, { class_type, inputs, _meta }] of Object.entries(prompt)) {
    const definition = definitionOf(definitions, class_type)
    if (!definition) {
      problems.push(
        problem('missing-node', 'missing-node', { classType: class_type }, { node: id, classType: class_type }),
      )
    }
    for (const [input, value] of Object.entries(inputs)) {
      if (!isLink(value) || Object.hasOwn(prompt, value[0])) continue
      const facts = { title: _meta?.title ?? class_type, input, from: value[0] }
      problems.push(problem('loss', 'bad-link', facts, { node: id, classType: class_type, input }))
    }
  }
  const circle = findCycle(prompt)
  if (circle) problems.push(problem('loss', 'cycle', { nodes: circle.join(' → ') }, { node: circle[0] ?? '' }))
  return problems
}

/** The first circle of links, from a node back to itself. */
export function findCycle(prompt: Prompt): string[] | null {
  const state = new Map<string, 'open' | 'done'>()
  for (const start of Object.keys(prompt)) {
    if (state.has(start)) continue
    const path: { id: string; next: string[] }[] = [{ id: start, next: sourcesOf(prompt, start) }]
    state.set(start, 'open')
    for (let top = path.at(-1); top; top = path.at(-1)) {
      const next = top.next.pop()
      if (next === undefined) {
        state.set(top.id, 'done')
        path.pop()
      } else if (state.get(next) === 'open') {
        const ids = path.map(({ id }) => id)
        return [...ids.slice(ids.indexOf(next)), next].reverse()
      } else if (!state.has(next) && Object.hasOwn(prompt, next)) {
        state.set(next, 'open')
        path.push({ id: next, next: sourcesOf(prompt, next) })
      }
    }
  }
  return null
}
const sourcesOf = (prompt: Prompt, id: string) =>
  Object.values(prompt[id]?.inputs ?? {}).flatMap((value) => (isLink(value) ? [value[0]] : []))
