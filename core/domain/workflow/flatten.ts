import type { NodeDefinition, ObjectInfo } from '../../contract/comfyui.ts'
import { AppError } from '../../contract/errors.ts'
import { isJsonObject, type Json } from '../../contract/json.ts'
import type { Problem } from '../../contract/workflow.ts'
import { definitionOf } from './definitions.ts'
import {
  bypassed,
  type EditorDocument,
  type EditorGraph,
  type EditorInput,
  type EditorLink,
  type EditorNode,
  muted,
  subgraphInput,
  subgraphOutput,
  typesFit,
} from './editor.ts'
import { groupAsSubgraph, groupNameOf } from './group-node.ts'
import { problem } from './problems.ts'
import { type Placement, placeWidgets } from './widgets.ts'

/** A graph at one place: the same subgraph has another context in each of its instances. */
export interface Context {
  graph: EditorGraph
  /** Ids of the instances around it, `''` for the root. */
  path: string
  host: { context: Context; node: EditorNode } | null
  /** Values an instance around it gives to widgets inside, by `promotedKey`. */
  promoted: Map<string, PromotedValue>
  inside: Map<string, Context>
}
interface PromotedValue {
  value: Json
  at: Keeper
}
/** Where a file keeps a value: at a position of a node's `widgets_values`, under a name, or both. */
export interface Keeper {
  node: EditorNode
  index: number | string | null
  name: string | null
}
const promotedKey = (node: string, widget: string) => `${node}\0${widget}`

/** A node that will be in the prompt. */
export interface FlatNode {
  id: string
  node: EditorNode
  context: Context
  definition: NodeDefinition | null
  placement: Placement
}
export interface Flat {
  nodes: FlatNode[]
  problems: Problem[]
  /** Nodes of broadcasting packs, with where they are. */
  broadcasters: { node: EditorNode; context: Context }[]
  definitions: ObjectInfo
  document: EditorDocument
}

export type Virtual = 'drop' | 'reroute' | 'primitive' | 'set' | 'get' | 'broadcast' | 'subgraph'

const dropped =
  /^(Note|MarkdownNote|(Label|Bookmark|Fast Groups Muter|Fast Groups Bypasser|Fast Muter|Fast Bypasser|Node Collector|Mute \/ Bypass Repeater|Mute \/ Bypass Relay|Random Unmuter|Fast Actions Button) \(rgthree\))$/
const broadcasts = /^(Anything Everywhere[3?]?|Prompts Everywhere|Seed Everywhere)$/

/** What a node is to the editor alone; null: the server runs it. */
export function virtualOf(
  node: EditorNode,
  { definitions, document }: Pick<Flat, 'definitions' | 'document'>,
): Virtual | null {
  const { type } = node
  if (document.subgraphs.has(type)) return 'subgraph'
  if (definitionOf(definitions, type)) return null
  if (dropped.test(type)) return 'drop'
  if (type === 'Reroute' || type === 'Reroute (rgthree)') return 'reroute'
  if (type === 'PrimitiveNode') return 'primitive'
  if (/^(easy )?setNode$/i.test(type)) return 'set'
  if (/^(easy )?getNode$/i.test(type)) return 'get'
  if (broadcasts.test(type)) return 'broadcast'
  return groupNameOf(type) === null ? null : 'subgraph'
}

export const isUuid = (type: string) => /^[\da-f]{8}-[\da-f]{4}-[\da-f]{4}-[\da-f]{4}-[\da-f]{12}$/i.test(type)
export const pathOf = (context: Context, node: EditorNode) =>
  context.path === '' ? node.id : `${context.path}:${node.id}`

/**
 * Every node the server is to run, with subgraphs and group nodes taken apart.
 * @throws AppError 'import.too-many-nodes': subgraphs in subgraphs multiply
 */
export function flatten(document: EditorDocument, definitions: ObjectInfo, maxNodes = 50_000): Flat {
  const flat: Flat = { nodes: [], problems: [], broadcasters: [], definitions, document }
  const root: Context = { graph: document.root, path: '', host: null, promoted: new Map(), inside: new Map() }
  const waiting: Context[] = [root]
  let seen = 0
  for (let context = waiting.pop(); context; context = waiting.pop()) {
    for (const node of context.graph.nodes.values()) {
      if (++seen > maxNodes) {
        throw new AppError('import.too-many-nodes', { name: 'The workflow', nodes: seen, limit: maxNodes })
      }
      if (node.mode === muted || node.mode === bypassed) continue
      const virtual = virtualOf(node, flat)
      if (virtual === 'subgraph') {
        const inside = enter(context, node, flat)
        if (inside) waiting.push(inside)
      } else if (virtual === 'broadcast') {
        flat.broadcasters.push({ node, context })
      } else if (virtual === null) {
        const definition = definitionOf(definitions, node.type)
        const id = pathOf(context, node)
        if (definition === null && isUuid(node.type)) {
          const facts = { title: node.title ?? node.type }
          flat.problems.push(problem('loss', 'subgraph-missing', facts, { node: id, classType: node.type }))
        } else {
          flat.nodes.push({ id, node, context, definition, placement: placeWidgets(node, definition) })
        }
      }
    }
  }
  return flat
}

/** The inside of an instance of a subgraph; null, with a problem, where there is none. */
export function enter(context: Context, node: EditorNode, flat: Flat): Context | null {
  const known = context.inside.get(node.id)
  if (known) return known
  const fail = (code: 'subgraph-recursive' | 'group-node' | 'subgraph-missing', reason: string) => {
    const id = pathOf(context, node)
    const told = flat.problems.some((one) => one.node === id && one.code === code)
    const facts = { title: node.title ?? node.type, reason }
    if (!told) flat.problems.push(problem('loss', code, facts, { node: id, classType: node.type }))
    return null
  }
  let graph = flat.document.subgraphs.get(node.type) ?? null
  if (graph) {
    for (let outer: Context | null = context; outer; outer = outer.host?.context ?? null) {
      if (outer.graph === graph) return fail('subgraph-recursive', '')
    }
  } else {
    const group = flat.document.groupNodes.get(groupNameOf(node.type) ?? '')
    if (!group) return fail('subgraph-missing', '')
    const made = groupAsSubgraph(group, node)
    if (typeof made === 'string') return fail('group-node', made)
    graph = made
  }
  const inside: Context = {
    graph,
    path: pathOf(context, node),
    host: { context, node },
    promoted: promotedValues(context, node, graph, flat),
    inside: new Map(),
  }
  context.inside.set(node.id, inside)
  return inside
}

/**
 * The values an instance keeps for widgets inside it. Editors stored them in four ways: one for each promoted input in
 * order; beside `proxyWidgets`; nowhere (the inner widgets count); by name.
 */
function promotedValues(context: Context, node: EditorNode, graph: EditorGraph, flat: Flat): Context['promoted'] {
  const promoted: Context['promoted'] = new Map()
  const give = (input: string, given: PromotedValue) => {
    const slot = graph.inputs.findIndex(({ name }) => name === input)
    for (const link of linksFrom(graph, slot)) {
      const widget = graph.nodes
        .get(link.to)
        ?.inputs.find(({ link: id }) => id !== null && graph.links.get(id) === link)
      if (widget) promoted.set(promotedKey(link.to, widget.widget ?? widget.name), given)
    }
  }
  const keep = (input: string, value: Json | undefined, index: number | null, name: string | null) => {
    if (value !== undefined && value !== null) give(input, { value, at: { node, index, name } })
  }
  const values = Array.isArray(node.raw.widgets_values) ? node.raw.widgets_values : []
  const named = isJsonObject(node.raw.widgets_values_named) ? node.raw.widgets_values_named : {}
  const proxies = proxyWidgets(node)
  proxies.forEach(([inner, widget], index) => {
    const value = values[index]
    if (value === undefined || value === null) return
    const linked = inner === '-1' ? widget : inputLeadingTo(graph, inner, widget)
    if (linked !== null) keep(linked, value, index, null)
    else if (graph.nodes.has(inner))
      promoted.set(promotedKey(inner, widget), { value, at: { node, index, name: null } })
  })
  const positions = proxies.length > 0 ? [] : promotedInputs(graph, flat)
  positions.forEach((name, index) => {
    keep(name, values[index], index, null)
  })
  for (const [name, value] of Object.entries(named)) {
    const index = positions.indexOf(name)
    keep(name, value, index < 0 ? null : index, name)
  }
  for (const { name } of graph.inputs) {
    const outer = context.promoted.get(promotedKey(node.id, name)) // promoted once more, further out: that one counts
    if (outer) give(name, outer)
  }
  return promoted
}

/** The subgraph input that is connected to this widget of an inner node. */
function inputLeadingTo(graph: EditorGraph, inner: string, widget: string): string | null {
  const socket = graph.nodes.get(inner)?.inputs.find((input) => (input.widget ?? input.name) === widget)
  const link = socket?.link ? graph.links.get(socket.link) : undefined
  return link?.from === subgraphInput ? (graph.inputs[link.fromSlot]?.name ?? null) : null
}

function linksFrom(graph: EditorGraph, slot: number): EditorLink[] {
  return slot < 0 ? [] : (indexOf(graph).fromInput.get(slot) ?? [])
}

/** Subgraph inputs that lead to a widget, in order: each has a value on the instance. */
function promotedInputs(graph: EditorGraph, flat: Flat): string[] {
  return graph.inputs.flatMap(({ name }, slot) => {
    const leads = linksFrom(graph, slot).some((link) => {
      const target = graph.nodes.get(link.to)
      const input = target?.inputs.find(({ link: id }) => id !== null && graph.links.get(id) === link)
      return input !== undefined && (input.widget !== null || (target !== undefined && isVirtualWidget(target, flat)))
    })
    return leads ? [name] : []
  })
}
const isVirtualWidget = (node: EditorNode, flat: Flat) => virtualOf(node, flat) === 'primitive'

/** `[inner node or -1, widget]`; saved as a list or as JSON in a string. Controls and previews are no inputs. */
function proxyWidgets(node: EditorNode): [string, string][] {
  let raw = node.properties.proxyWidgets
  if (typeof raw === 'string') {
    try {
      raw = JSON.parse(raw) as Json
    } catch {
      return []
    }
  }
  if (!Array.isArray(raw)) return []
  return raw.map((entry) => (Array.isArray(entry) ? [String(entry[0]), String(entry[1])] : ['', '']))
}

interface GraphIndex {
  fromInput: Map<number, EditorLink[]>
  toOutput: Map<number, EditorLink>
  sets: Map<string, EditorNode>
}
const indexes = new WeakMap<EditorGraph, GraphIndex>()
function indexOf(graph: EditorGraph): GraphIndex {
  const known = indexes.get(graph)
  if (known) return known
  const index: GraphIndex = { fromInput: new Map(), toOutput: new Map(), sets: new Map() }
  for (const link of graph.links.values()) {
    if (link.from === subgraphInput) {
      const links = index.fromInput.get(link.fromSlot)
      if (links) links.push(link)
      else index.fromInput.set(link.fromSlot, [link])
    }
    if (link.to === subgraphOutput) index.toOutput.set(link.toSlot, link)
  }
  for (const node of graph.nodes.values()) {
    if (!/^(easy )?setNode$/i.test(node.type)) continue
    const name = variableOf(node)
    if (name !== null && !index.sets.has(name)) index.sets.set(name, node)
  }
  indexes.set(graph, index)
  return index
}

/** The name a Set or Get node goes by. */
function variableOf({ raw }: EditorNode): string | null {
  const values = raw.widgets_values
  const first = Array.isArray(values) ? values[0] : isJsonObject(values) ? Object.values(values)[0] : undefined
  return typeof first === 'string' && first !== '' ? first : null
}

export type Source =
  | { is: 'link'; id: string; slot: number; type: Json }
  /** A value from a primitive, or from the instance around. */
  | {
      is: 'value'
      value: Json
      from: 'primitive' | 'instance'
      at: Keeper | null
    }
  | {
      is: 'nothing'
      because: 'open' | 'muted' | 'bypassed' | 'dangling' | 'cycle' | 'no-set' | 'primitive'
      name?: string
    }

/** Where the value of an input comes from, through everything that only the editor knows. Walks; never recurses. */
export function sourceOf(
  context: Context,
  node: EditorNode,
  input: EditorInput,
  flat: Flat,
  memo: Map<string, Source>,
): Source {
  const passed: string[] = []
  const wanted = input.type
  let fallback: Source | null = null
  const end = (source: Source) => {
    for (const key of passed) memo.set(key, source)
    return source.is === 'nothing' && source.because === 'open' && fallback ? fallback : source
  }
  let here: { context: Context; node: EditorNode; input: EditorInput } | null = { context, node, input }
  let origin: { context: Context; node: string; slot: number } | null = null
  const seen = new Set<string>()
  for (;;) {
    if (here) {
      const { graph, host } = here.context
      if (here.input.link === null) return end({ is: 'nothing', because: 'open' })
      const link = graph.links.get(here.input.link)
      if (!link) return end({ is: 'nothing', because: 'dangling' })
      if (link.from === subgraphInput && host) {
        const climbed = climb(here, link, host, flat)
        if ('is' in climbed) return end(climbed)
        fallback ??= keptValue(here, link, flat)
        here = climbed
        if (!visit(`in ${here.context.path} ${here.node.id} ${here.input.name}`))
          return end({ is: 'nothing', because: 'cycle' })
        continue
      }
      origin = { context: here.context, node: link.from, slot: link.fromSlot }
      here = null
    }
    if (!origin) return end({ is: 'nothing', because: 'open' })
    const key: string = `${origin.context.path} ${origin.node} ${origin.slot} ${typeof wanted === 'string' ? wanted : '?'}`
    const known = memo.get(key)
    if (known) return end(known)
    if (!visit(key)) return end({ is: 'nothing', because: 'cycle' })
    passed.push(key)
    const step: Source | Step = follow(origin, wanted, flat)
    if ('is' in step) return end(step)
    here = step.here ?? null
    origin = step.origin ?? null
  }
  function visit(key: string) {
    if (seen.has(key)) return false
    seen.add(key)
    return true
  }
}

interface Step {
  here?: { context: Context; node: EditorNode; input: EditorInput }
  origin?: { context: Context; node: string; slot: number }
}

/** From an input inside a subgraph to the same input of the instance around it, or to the value kept there. */
function climb(
  here: { context: Context; node: EditorNode; input: EditorInput },
  link: EditorLink,
  host: NonNullable<Context['host']>,
  flat: Flat,
): { context: Context; node: EditorNode; input: EditorInput } | Source {
  const declared = here.context.graph.inputs[link.fromSlot]
  if (!declared) return { is: 'nothing', because: 'dangling' }
  const outer =
    host.node.inputs.find(({ name }) => name === declared.name) ??
    (host.node.inputs.length === here.context.graph.inputs.length
      ? sameType(host.node.inputs[link.fromSlot], declared.type)
      : undefined)
  if (outer && outer.link !== null) return { context: host.context, node: host.node, input: outer }
  return keptValue(here, link, flat) ?? { is: 'nothing', because: 'open' }
}
function keptValue(here: { context: Context; input: EditorInput }, link: EditorLink, flat: Flat): Source | null {
  const { graph, promoted } = here.context
  const kept = promoted.get(promotedKey(link.to, here.input.widget ?? here.input.name))
  if (kept) return { is: 'value', value: kept.value, from: 'instance', at: kept.at }
  if (here.input.widget !== null) return null
  // A socket beside a widget on the same subgraph input gets what that widget holds.
  for (const other of linksFrom(graph, link.fromSlot)) {
    const node = graph.nodes.get(other.to)
    const socket = node?.inputs.find(({ link: id }) => id !== null && graph.links.get(id) === other)
    if (!node || !socket || socket.widget === null || virtualOf(node, flat) !== null) continue
    const { widgets } = placeWidgets(node, definitionOf(flat.definitions, node.type))
    const widget = widgets.find(({ input }) => input.name === socket.widget)
    if (widget)
      return {
        is: 'value',
        value: widget.value,
        from: 'instance',
        at: { node, index: widget.at, name: widget.input.name },
      }
  }
  return null
}
const sameType = (input: EditorInput | undefined, type: Json) =>
  input && typesFit(input.type, type) ? input : undefined

/** One step upstream from a node's output. */
function follow(origin: { context: Context; node: string; slot: number }, wanted: Json, flat: Flat): Source | Step {
  const { context, slot } = origin
  const node = context.graph.nodes.get(origin.node)
  if (!node) return { is: 'nothing', because: 'dangling' }
  const virtual = virtualOf(node, flat)
  if (virtual === 'primitive') {
    // even a muted one gives its value: the editor copies it while the person types
    const values = node.raw.widgets_values
    const value = Array.isArray(values) ? values[0] : undefined
    if (value === undefined) return { is: 'nothing', because: 'primitive' }
    return { is: 'value', value, from: 'primitive', at: { node, index: 0, name: null } }
  }
  if (node.mode === muted) return { is: 'nothing', because: 'muted' }
  const through = (input: EditorInput | undefined): Source | Step =>
    input
      ? { here: { context, node, input } }
      : { is: 'nothing', because: node.mode === bypassed ? 'bypassed' : 'open' }
  if (node.mode === bypassed && virtual !== 'get') return through(passThrough(node, slot, wanted))
  switch (virtual) {
    case null:
      return { is: 'link', id: pathOf(context, node), slot, type: node.outputs[slot]?.type ?? '*' }
    case 'get': {
      const name = variableOf(node)
      for (let scope: Context | null = context; scope && name !== null; scope = scope.host?.context ?? null) {
        const set = indexOf(scope.graph).sets.get(name)
        if (!set) continue
        if (set.mode === muted) return { is: 'nothing', because: 'muted' }
        const [input] = set.inputs
        return input ? { here: { context: scope, node: set, input } } : { is: 'nothing', because: 'open' }
      }
      return { is: 'nothing', because: 'no-set', name: name ?? '' }
    }
    case 'subgraph': {
      const inside = enter(context, node, flat)
      if (!inside) return { is: 'nothing', because: 'dangling' }
      const link = indexOf(inside.graph).toOutput.get(slot)
      if (!link) return { is: 'nothing', because: 'open' }
      if (link.from !== subgraphInput) return { origin: { context: inside, node: link.from, slot: link.fromSlot } }
      const name = inside.graph.inputs[link.fromSlot]?.name
      return through(node.inputs.find((input) => input.name === name))
    }
    case 'reroute':
    case 'set':
      return through(node.inputs[0])
    default:
      return through(node.inputs[slot])
  }
}

/** The input whose value a bypassed node hands to one of its outputs. */
export function passThrough(node: EditorNode, slot: number, wanted: Json): EditorInput | undefined {
  const { inputs } = node
  const type = node.outputs[slot]?.type
  if (wanted === '*' || wanted === '' || wanted === 0) return inputs[slot] ?? inputs[0]
  const fits = (input: EditorInput | undefined) =>
    input !== undefined && typesFit(input.type, type) && typesFit(input.type, wanted)
  if (fits(inputs[slot])) return inputs[slot]
  return inputs.find((input) => input.type === type && typesFit(input.type, wanted)) ?? inputs.find(fits)
}

/** Where the file keeps the value of each literal, by `NODE.INPUT`: a primitive, an instance around it, its own node. */
export function keepersOf(flat: Flat): Map<string, Keeper> {
  const keepers = new Map<string, Keeper>()
  const memo = new Map<string, Source>()
  for (const one of flat.nodes) {
    const { id, node, context, placement } = one
    for (const { input, at } of placement.widgets) {
      const promoted = promotedTo(one, input.name)
      if (promoted) keepers.set(`${id}.${input.name}`, promoted.at)
      else if (at !== null) keepers.set(`${id}.${input.name}`, { node, index: at, name: input.name })
    }
    for (const input of node.inputs) {
      if (input.link === null) continue
      const source = sourceOf(context, node, input, flat, memo)
      if (source.is === 'value' && source.at) keepers.set(`${id}.${input.name}`, source.at)
    }
  }
  return keepers
}

/** The value the instance around gives to a widget that has no link. */
export const promotedTo = ({ context, node }: FlatNode, widget: string): PromotedValue | undefined =>
  context.promoted.get(promotedKey(node.id, widget))
