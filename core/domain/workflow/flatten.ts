import type { NodeDefinition, ObjectInfo } from '../../contract/comfyui.ts'
import { AppError } from '../../contract/errors.ts'
import { isJsonObject, type Json } from '../../contract/json.ts'
import type { Problem } from '../../contract/workflow.ts'
import { definitionOf, inputsOf, isWidget } from './definitions.ts'
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
  /** What the widgets of the instance around it hold, by the number of the subgraph's input. */
  given: Map<number, GivenValue>
  /** Values for widgets inside that no input of the subgraph leads to, by `promotedKey`. */
  promoted: Map<string, GivenValue>
  inside: Map<string, Context>
}
interface GivenValue {
  value: Json
  at: Keeper | null
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
  /** The widgets of instances, and those their subgraphs show, worked out once. */
  hosts: Map<EditorNode, Host>
  shown: Map<EditorGraph, (WidgetBehind | null)[]>
  /** How many instances inside each other are being looked into. */
  depth: number
}
/** The editor follows a widget through so many subgraphs. */
const maxDepth = 100
/** An instance of a subgraph as a node: the values it has for what is inside. */
interface Host {
  given: Map<number, GivenValue>
  promoted: Map<string, GivenValue>
}

export type Virtual = 'drop' | 'reroute' | 'primitive' | 'set' | 'get' | 'broadcast' | 'subgraph'

/** Nodes that packs draw for people only, and that switch other nodes, which the file then has switched. */
const dropped = new Set([
  ...['Note', 'MarkdownNote', 'Note Plus (mtb)', 'easy bookmark'],
  ...[
    ...[
      'Label',
      'Bookmark',
      'Fast Groups Muter',
      'Fast Groups Bypasser',
      'Fast Muter',
      'Fast Node Muter',
      'Fast Bypasser',
    ],
    ...['Node Collector', 'Node Combiner', 'Mute / Bypass Repeater', 'Mute / Bypass Relay', 'Random Unmuter'],
    'Fast Actions Button',
  ].map((name) => `${name} (rgthree)`),
])
const setter = /^(easy )?setNode( \[\w+\])?$/i
const getter = /^(easy )?getNode( \[\w+\])?$/i
const broadcasts = /^(Anything Everywhere[3?]?|Prompts Everywhere|Seed Everywhere)$/

/** What a node is to the editor alone; null: the server runs it. */
export function virtualOf(
  node: EditorNode,
  { definitions, document }: Pick<Flat, 'definitions' | 'document'>,
): Virtual | null {
  const { type } = node
  if (document.subgraphs.has(type)) return 'subgraph'
  if (definitionOf(definitions, type)) return null
  if (dropped.has(type)) return 'drop'
  if (type === 'Reroute' || type === 'Reroute (rgthree)') return 'reroute'
  if (type === 'PrimitiveNode') return 'primitive'
  if (setter.test(type)) return 'set'
  if (getter.test(type)) return 'get'
  if (broadcasts.test(type) && type !== 'Seed Everywhere') return 'broadcast'
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
  const memo = { hosts: new Map(), shown: new Map(), depth: 0 }
  const flat: Flat = { nodes: [], problems: [], broadcasters: [], definitions, document, ...memo }
  const nobody = { given: new Map(), promoted: new Map() }
  const root: Context = { graph: document.root, path: '', host: null, ...nobody, inside: new Map() }
  const waiting: Context[] = [root]
  let seen = 0
  for (let context = waiting.pop(); context; context = waiting.pop()) {
    for (const node of context.graph.nodes.values()) {
      if (++seen > maxNodes) {
        throw new AppError('import.too-many-nodes', { name: 'The workflow', nodes: seen, limit: maxNodes })
      }
      const virtual = virtualOf(node, flat)
      // A muted or bypassed instance inside a subgraph keeps its nodes: the editor asks for the mode at the root only.
      const kept = virtual === 'subgraph' && context.host !== null
      const off = node.mode === muted || node.mode === bypassed
      if (off && !kept) continue
      if (off) {
        const at = { node: pathOf(context, node), classType: node.type }
        flat.problems.push(problem('warning', 'muted-inside', { title: node.title ?? node.type }, at))
      }
      // Where the pack is installed, the server runs its nodes as well.
      if (broadcasts.test(node.type)) flat.broadcasters.push({ node, context })
      if (virtual === 'subgraph') {
        const inside = enter(context, node, flat)
        if (inside) waiting.push(inside)
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
    ...hostOf(node, graph, flat),
    inside: new Map(),
  }
  context.inside.set(node.id, inside)
  return inside
}

/**
 * The widgets an instance has, one for each input of its subgraph that leads to a widget: at first they hold what the
 * widget inside holds; then what the instance stored for them in order; then what it stored beside `proxyWidgets`,
 * which may also name a widget that no input leads to; then by name.
 */
function hostOf(node: EditorNode, graph: EditorGraph, flat: Flat): Host {
  const known = flat.hosts.get(node)
  if (known) return known
  const host: Host = { given: new Map(), promoted: new Map() }
  flat.hosts.set(node, host) // before looking inside: a subgraph may hold itself
  const sources = widgetsShown(graph, flat)
  const values = Array.isArray(node.raw.widgets_values) ? node.raw.widgets_values : []
  const named = isJsonObject(node.raw.widgets_values_named) ? node.raw.widgets_values_named : {}
  const saved = quarantined(node)
  let position = 0
  sources.forEach((source, slot) => {
    if (!source) return
    const { name } = graph.inputs[slot]!
    const index = position++
    const byName = named[name] ?? saved.get(name)
    const value = byName ?? values[index] ?? null
    const at = { node, index: index < values.length ? index : null, name }
    host.given.set(slot, value === null ? source.holds : { value, at })
  })
  proxyWidgets(node).forEach(([inner, widget], index) => {
    const value = values[index] ?? null
    const given = value === null ? null : { value, at: { node, index, name: null } }
    const slot =
      inner === '-1'
        ? graph.inputs.findIndex(({ name }) => name === widget)
        : sources.findIndex((source) => source?.node === inner && source.widget === widget)
    const target = graph.nodes.get(inner)
    if (sources[slot]) host.given.set(slot, given ?? host.given.get(slot)!)
    else if (target)
      for (const [key, value] of turnedBy(target, widget, given, graph, flat)) host.promoted.set(key, value)
  })
  return host
}

/** What a proxy turns inside a subgraph where no input leads to its widget: today's editor makes such an input. */
function turnedBy(
  node: EditorNode,
  widget: string,
  given: GivenValue | null,
  graph: EditorGraph,
  flat: Flat,
): [string, GivenValue][] {
  if (virtualOf(node, flat) === 'primitive') {
    const targets = primitiveTargets(node, graph, flat)
    const first = targets.map(({ node, input }) => widgetOf(node, input, flat)).find((one) => one !== null)
    const value = given ?? first
    return value ? targets.map(({ node, input }) => [promotedKey(node.id, input.name), value]) : []
  }
  const name = widgetMeant(node, widget, flat)
  const input = node.inputs.find((one) => (one.widget ?? one.name) === name)
  // The new input takes the place of a link, even where the instance has no value for it.
  const value = given ?? (input && input.link !== null ? widgetOf(node, input, flat) : null)
  return value ? [[promotedKey(node.id, name), value]] : []
}

/** The widgets a primitive turns, by the slots its links name; none where one of them does not fit. */
function primitiveTargets(primitive: EditorNode, graph: EditorGraph, flat: Flat) {
  const [output] = Array.isArray(primitive.raw.outputs) ? primitive.raw.outputs : []
  const ids = isJsonObject(output) && Array.isArray(output.links) ? output.links.map(String) : []
  const targets = ids.flatMap((id) => {
    const link = graph.links.get(id)
    const node = graph.nodes.get(link?.to ?? '')
    const input = node && link && inputsAsShown(node, flat)[link.toSlot]
    return node && input ? [{ node, input }] : []
  })
  const type = primitive.outputs[0]?.type ?? '*'
  const fits = ({ input }: { input: EditorInput }) => input.type === type || input.type === '*' || type === '*'
  return targets.length === ids.length && targets.every(fits) ? targets : []
}

/** What the widget behind a socket holds. */
function widgetOf(node: EditorNode, input: EditorInput, flat: Flat): GivenValue | null {
  const virtual = virtualOf(node, flat)
  if (virtual === 'subgraph') {
    const inside = flat.document.subgraphs.get(node.type)
    const slot = inside?.inputs.findIndex(({ name }) => name === input.name) ?? -1
    return (inside && hostOf(node, inside, flat).given.get(slot)) ?? null
  }
  if (virtual !== null) return null
  const definition = definitionOf(flat.definitions, node.type)
  const name = definition ? input.name : input.widget
  const placed = placeWidgets(node, definition).widgets.find((one) => one.input.name === name)
  return placed ? { value: placed.value, at: { node, index: placed.at, name: placed.input.name } } : null
}

/**
 * The sockets of a node as the editor orders them, whatever the file's order: those of its definition, first without
 * a widget, then with. Inputs that come and go stand as the file has them.
 */
function inputsAsShown(node: EditorNode, flat: Flat): EditorInput[] {
  const definition = definitionOf(flat.definitions, node.type)
  const declared = definition ? inputsOf(definition) : []
  if (!definition || declared.some(({ type }) => /^COMFY_(DYNAMIC|AUTOGROW|MATCHTYPE)/.test(type))) return node.inputs
  const byName = new Map(node.inputs.map((input) => [input.name, input]))
  const shown = declared.map((input): EditorInput => {
    const widget = isWidget(input) ? input.name : null
    return { link: null, ...byName.get(input.name), name: input.name, type: input.type, widget }
  })
  const names = new Set(declared.map(({ name }) => name))
  return [
    ...shown.filter(({ widget }) => widget === null),
    ...shown.filter(({ widget }) => widget !== null),
    ...node.inputs.filter(({ name }) => !names.has(name)),
  ]
}

function widgetsShown(graph: EditorGraph, flat: Flat): (WidgetBehind | null)[] {
  const known = flat.shown.get(graph)
  if (known || flat.depth >= maxDepth) return known ?? []
  flat.depth++
  const shown = graph.inputs.map((_, slot) => widgetBehind(graph, slot, flat))
  flat.depth--
  flat.shown.set(graph, shown)
  return shown
}
interface WidgetBehind {
  node: string
  widget: string
  holds: GivenValue
}
/** The first widget that an input of a subgraph leads to: it is shown on the instances. */
function widgetBehind(graph: EditorGraph, slot: number, flat: Flat): WidgetBehind | null {
  const { fromInput } = indexOf(graph)
  const listed = graph.inputs[slot]!.links.filter((id) => graph.links.get(id)?.fromSlot === slot)
  const ids = listed.length > 0 ? listed : (fromInput.get(slot) ?? [])
  for (const id of ids) {
    const link = graph.links.get(id)
    const node = graph.nodes.get(link?.to ?? '')
    const input = node?.inputs.find((one) => one.link === id)
    if (!node || !input) continue
    const holds = widgetOf(node, input, flat)
    const isInstance = virtualOf(node, flat) === 'subgraph'
    if (holds) return { node: node.id, widget: isInstance ? input.name : (holds.at?.name ?? input.name), holds }
  }
  return null
}

/** Proxies may name a widget of an instance inside by what it leads to, and carry numbers of nodes in front. */
function widgetMeant(node: EditorNode, widget: string, flat: Flat): string {
  const name = widget.replace(/^(?:\s*\d+\s*:)+\s*/, '')
  const inside = flat.document.subgraphs.get(node.type)
  if (!inside || inside.inputs.some((input) => input.name === widget)) return inside ? widget : name
  const slot = widgetsShown(inside, flat).findIndex((shown) => shown?.widget === name)
  return inside.inputs[slot]?.name ?? name
}

/** Values the editor kept aside when it could not bring a proxy over. */
function quarantined({ properties }: EditorNode): Map<string, Json> {
  const entries = Array.isArray(properties.proxyWidgetErrorQuarantine) ? properties.proxyWidgetErrorQuarantine : []
  const kept = new Map<string, Json>()
  for (const entry of entries) {
    if (!isJsonObject(entry) || !Array.isArray(entry.originalEntry)) continue
    const [node, name] = entry.originalEntry
    const { hostValue = null } = entry
    if (String(node) === '-1' && typeof name === 'string' && hostValue !== null && !kept.has(name))
      kept.set(name, hostValue)
  }
  return kept
}

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
  /** Ids of the links from each of the subgraph's inputs. */
  fromInput: Map<number, string[]>
  toOutput: Map<number, EditorLink>
  sets: Map<string, EditorNode>
}
const indexes = new WeakMap<EditorGraph, GraphIndex>()
function indexOf(graph: EditorGraph): GraphIndex {
  const known = indexes.get(graph)
  if (known) return known
  const index: GraphIndex = { fromInput: new Map(), toOutput: new Map(), sets: new Map() }
  for (const [id, link] of graph.links) {
    if (link.from === subgraphInput) {
      const links = index.fromInput.get(link.fromSlot)
      if (links) links.push(id)
      else index.fromInput.set(link.fromSlot, [id])
    }
    if (link.to !== subgraphOutput) continue
    // Of several links into one output, the first that the output names counts.
    const [first] = graph.outputs[link.toSlot]?.links.filter((one) => graph.links.has(one)) ?? []
    if (first === id || !index.toOutput.has(link.toSlot)) index.toOutput.set(link.toSlot, link)
  }
  for (const node of graph.nodes.values()) {
    if (!setter.test(node.type)) continue
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
      /** There is a connection as well, which has no effect. */
      instead?: boolean
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
  const turned = promotedIn(context, node, input.widget ?? input.name)
  if (turned) return { is: 'value', from: 'instance', instead: true, ...turned }
  const passed: string[] = []
  let wanted = input.type
  const end = (source: Source) => {
    for (const key of passed) memo.set(key, source)
    return source
  }
  let here: Place | null = { context, node, input }
  let origin: { context: Context; node: string; slot: number } | null = null
  const seen = new Set<string>()
  for (;;) {
    if (here) {
      const { graph, host } = here.context
      if (here.input.link === null) return end({ is: 'nothing', because: 'open' })
      const link = graph.links.get(here.input.link)
      if (!link) return end({ is: 'nothing', because: 'dangling' })
      if (link.from === subgraphInput && host) {
        const climbed: Place | Source = climb(here, link, host)
        if ('is' in climbed) return end(climbed)
        here = climbed
        wanted = here.input.type
        if (!visit(`in ${here.context.path} ${here.node.id} ${here.input.name}`))
          return end({ is: 'nothing', because: 'cycle' })
        continue
      }
      origin = { context: here.context, node: link.from, slot: link.fromSlot }
      here = null
    }
    if (!origin) return end({ is: 'nothing', because: 'open' })
    const primitive = primitiveAt(origin, flat)
    if (primitive) {
      // The editor writes its value into the widgets it is connected to, and nowhere further.
      const direct = origin.context === context && context.graph.links.get(input.link ?? '')?.from === origin.node
      return direct ? primitive : end({ is: 'nothing', because: 'primitive' })
    }
    const key: string = `${origin.context.path} ${origin.node} ${origin.slot} ${typeof wanted === 'string' ? wanted : '?'}`
    const known = memo.get(key)
    if (known) return end(known)
    if (!visit(key)) return end({ is: 'nothing', because: 'cycle' })
    passed.push(key)
    const step: Source | Step = follow(origin, wanted, flat)
    if ('is' in step) return end(step)
    here = step.here ?? null
    origin = step.origin ?? null
    if (here?.node.mode === bypassed) wanted = here.input.type
  }
  function visit(key: string) {
    if (seen.has(key)) return false
    seen.add(key)
    return true
  }
}

interface Place {
  context: Context
  node: EditorNode
  input: EditorInput
}
interface Step {
  here?: Place
  origin?: { context: Context; node: string; slot: number }
}

/** From an input inside a subgraph to the same input of the instance around it, or to the value its widget holds. */
function climb(here: Place, link: EditorLink, host: NonNullable<Context['host']>): Place | Source {
  const { graph, given } = here.context
  const declared = graph.inputs[link.fromSlot]
  if (!declared) return { is: 'nothing', because: 'dangling' }
  const outer =
    host.node.inputs.find(({ name }) => name === declared.name) ??
    (host.node.inputs.length === graph.inputs.length
      ? sameType(host.node.inputs[link.fromSlot], declared.type)
      : undefined)
  const further = promotedIn(host.context, host.node, declared.name)
  if (!further && outer && outer.link !== null) return { context: host.context, node: host.node, input: outer }
  const kept = further ?? given.get(link.fromSlot)
  return kept ? { is: 'value', from: 'instance', ...kept } : { is: 'nothing', because: 'open' }
}

/** What a primitive turns its widgets to, even a muted one. */
function primitiveAt({ context, node: id }: NonNullable<Step['origin']>, flat: Flat): Source | null {
  const node = context.graph.nodes.get(id)
  if (!node || virtualOf(node, flat) !== 'primitive') return null
  const values = node.raw.widgets_values
  const value = Array.isArray(values) ? values[0] : undefined
  if (value !== undefined) return { is: 'value', value, from: 'primitive', at: { node, index: 0, name: null } }
  // One that stores nothing holds what the first widget it turns held.
  const [output] = Array.isArray(node.raw.outputs) ? node.raw.outputs : []
  const first = isJsonObject(output) && Array.isArray(output.links) ? String(output.links[0]) : ''
  const target = context.graph.nodes.get(context.graph.links.get(first)?.to ?? '')
  const input = target?.inputs.find(({ link }) => link === first)
  const holds = target && input ? widgetOf(target, input, flat) : null
  return holds ? { is: 'value', from: 'primitive', ...holds } : { is: 'nothing', because: 'primitive' }
}
const sameType = (input: EditorInput | undefined, type: Json) =>
  input && typesFit(input.type, type) ? input : undefined

/** One step upstream from a node's output. */
function follow(origin: { context: Context; node: string; slot: number }, wanted: Json, flat: Flat): Source | Step {
  const { context, slot } = origin
  const node = context.graph.nodes.get(origin.node)
  if (!node) return { is: 'nothing', because: 'dangling' }
  const virtual = virtualOf(node, flat)
  if (node.mode === muted) return { is: 'nothing', because: 'muted' }
  const through = (input: EditorInput | undefined): Source | Step =>
    input
      ? { here: { context, node, input } }
      : { is: 'nothing', because: node.mode === bypassed ? 'bypassed' : 'open' }
  if (node.mode === bypassed && virtual !== 'get') return through(passThrough(node, slot, wanted, flat))
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
function passThrough(node: EditorNode, slot: number, wanted: Json, flat: Flat): EditorInput | undefined {
  const inputs = inputsAsShown(node, flat)
  if (wanted === '*' || wanted === '') return inputs[slot] ?? inputs[0]
  const declared = definitionOf(flat.definitions, node.type)?.output[slot]
  const type = typeof declared === 'string' && declared !== 'COMFY_MATCHTYPE_V3' ? declared : node.outputs[slot]?.type
  const fits = (input: EditorInput | undefined) =>
    input !== undefined && typesFit(input.type, type) && typesFit(input.type, wanted)
  if (fits(inputs[slot])) return inputs[slot]
  return inputs.find((input) => input.type === wanted) ?? inputs.find(fits)
}

/** Where the file keeps the value of each literal, by `NODE.INPUT`: a primitive, an instance around it, its own node. */
export function keepersOf(flat: Flat): Map<string, Keeper> {
  const keepers = new Map<string, Keeper>()
  const memo = new Map<string, Source>()
  for (const one of flat.nodes) {
    const { id, node, context, placement } = one
    for (const { input, at } of placement.widgets) {
      const promoted = promotedTo(one, input.name)
      if (promoted?.at) keepers.set(`${id}.${input.name}`, promoted.at)
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
export const promotedTo = ({ context, node }: FlatNode, widget: string): GivenValue | undefined =>
  promotedIn(context, node, widget)
function promotedIn({ promoted }: Context, node: EditorNode, widget: string): GivenValue | undefined {
  return promoted.size === 0 ? undefined : promoted.get(promotedKey(node.id, widget))
}
