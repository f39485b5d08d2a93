import { isLink, type ObjectInfo, type Prompt } from '../../contract/comfyui.ts'
import { isJsonObject, type Json, type JsonObject, writeJson } from '../../contract/json.ts'
import { defaultOf } from './definitions.ts'
import { type EditorNode, type EditorWorkflow, readEditor } from './editor.ts'
import { type FlatNode, flatten, type Keeper, keepersOf, promotedTo } from './flatten.ts'

/**
 * The workflow as the editor would have saved it with the values of `prompt` in its widgets: a picture that carries it
 * opens with its layout and with what really made it. `editor` is not changed. Braces in texts are what was sent, so the
 * editor must not choose between them again; `asTyped`: they are what a person typed, to be chosen from.
 */
export function withValues(
  editor: EditorWorkflow,
  definitions: ObjectInfo,
  prompt: Prompt,
  { asTyped = false } = {},
): Json {
  const workflow = copy(editor) as JsonObject
  for (let tries = 0; tries < MOST_CONFLICTS; tries++) {
    const conflict = write(workflow, definitions, prompt, asTyped)
    if (!conflict || !part(workflow, conflict)) break
  }
  return workflow
}

const MOST_CONFLICTS = 200

/** Two inputs that the file keeps once, and that were given different values. */
type Conflict = readonly [Wish, Wish]
interface Wish {
  one: FlatNode
  name: string
  keeper: Keeper
  value: Json
}

function write(workflow: JsonObject, definitions: ObjectInfo, prompt: Prompt, asTyped: boolean): Conflict | null {
  const flat = flatten(readEditor(workflow), definitions)
  const keepers = keepersOf(flat)
  const wishes = new Map<JsonObject, Map<string, Wish>>()
  let conflict: Conflict | null = null
  for (const one of flat.nodes) {
    const inputs = prompt[one.id]?.inputs
    if (!inputs) continue
    const written = asTyped ? inputs : literally(one, inputs)
    for (const [name, used] of Object.entries(written)) {
      if (isLink(used)) continue
      const value = unwrapped(used)
      const keeper = keepers.get(`${one.id}.${name}`)
      putIntoPrimitive(one, name, value)
      if (!keeper) continue
      const { raw, offset } = keeper.node.keptIn ?? { raw: keeper.node.raw, offset: 0 }
      const place =
        keeper.index === null
          ? `${keeper.name}`
          : `${typeof keeper.index === 'number' ? keeper.index + offset : keeper.index}`
      const places = wishes.get(raw) ?? new Map<string, Wish>()
      wishes.set(raw, places)
      const before = places.get(place)
      const wish = { one, name, keeper, value }
      if (before && writeJson(before.value) !== writeJson(value)) conflict ??= [before, wish]
      places.set(place, wish)
      put(keeper, value)
    }
    append(one, written, keepers)
  }
  return conflict
}

/** Makes room for both values: a subgraph of its own for one instance, or a widget that is no longer fed. */
function part(workflow: JsonObject, [one, other]: Conflict): boolean {
  const [path, otherPath] = [hostsOf(one.one), hostsOf(other.one)]
  const level = otherPath.findIndex((host, at) => host !== path[at] && host.type === path[at]?.type)
  if (level !== -1) return ownSubgraph(workflow, otherPath[level]!, other.one.id)
  // a socket without a widget of its own can only take what feeds it
  const fed = [other, one].find(
    ({ one: { node, placement }, name, keeper }) =>
      keeper.node !== node &&
      linkInto(node, name) !== null &&
      placement.widgets.some(({ input }) => input.name === name),
  )
  return fed !== undefined && cutLink(workflow, fed)
}

function isOwnOrPrimitives({ node, context: { graph } }: FlatNode, name: string): boolean {
  const link = linkInto(node, name)
  return link === null || graph.nodes.get(graph.links.get(link)?.from ?? '')?.type === 'PrimitiveNode'
}

/** An instance around it has a widget for it, with or without a value. */
function isShownOutside(one: FlatNode, name: string): boolean {
  if (promotedTo(one, name)) return true
  const proxies = one.context.host?.node.properties.proxyWidgets
  const list = typeof proxies === 'string' ? proxies : writeJson(proxies ?? null)
  return list.includes(`["${one.node.id}","${name}"]`)
}

/** The instances around a node, the outermost first. */
function hostsOf({ context }: FlatNode): EditorNode[] {
  const hosts: EditorNode[] = []
  for (let { host } = context; host; { host } = host.context) hosts.unshift(host.node)
  return hosts
}

const linkInto = (node: EditorNode, name: string) => node.inputs.find((input) => input.name === name)?.link ?? null
const objects = (value: Json | undefined): JsonObject[] => (Array.isArray(value) ? value.filter(isJsonObject) : [])

/** Every graph of the file, with the list that holds it: the root, and what is defined in it or in another. */
function* graphsIn(holder: JsonObject): Iterable<{ graph: JsonObject; list: Json[] | null }> {
  yield { graph: holder, list: null }
  const definitions = isJsonObject(holder.definitions) ? holder.definitions.subgraphs : null
  if (!Array.isArray(definitions)) return
  for (const graph of objects(definitions))
    for (const found of graphsIn(graph)) yield { ...found, list: found.list ?? definitions }
}

function ownSubgraph(workflow: JsonObject, instance: EditorNode, path: string): boolean {
  const found = [...graphsIn(workflow)].find(({ graph, list }) => list && graph.id === instance.type)
  if (!found) return false
  const taken = new Set([...graphsIn(workflow)].map(({ graph }) => graph.id))
  let id = instance.type
  for (let turn = 0; taken.has(id); turn++) id = hashOf(`${path} ${turn}`) + instance.type.slice(8)
  found.list!.push({ ...(copy(found.graph) as JsonObject), id })
  instance.raw.type = id
  return true
}

/** FNV-1a, eight hexadecimal digits: the beginning of a UUID. */
function hashOf(text: string): string {
  let hash = 0x811c9dc5
  for (const sign of text) hash = Math.imul(hash ^ sign.codePointAt(0)!, 0x01000193)
  return (hash >>> 0).toString(16).padStart(8, '0')
}

function cutLink(workflow: JsonObject, { one: { node }, name }: Wish): boolean {
  const link = linkInto(node, name)
  const holder = [...graphsIn(workflow)].find(({ graph }) => objects(graph.nodes).includes(node.raw))
  if (link === null || !holder) return false
  const without = (ids: Json | undefined) =>
    Array.isArray(ids) ? ids.filter((id) => String(id) !== link) : (ids ?? null)
  const { graph } = holder
  const idOf = (row: Json) => String(Array.isArray(row) ? row[0] : isJsonObject(row) ? row.id : '')
  graph.links = (Array.isArray(graph.links) ? graph.links : []).filter((row) => idOf(row) !== link)
  for (const input of objects(graph.inputs)) input.linkIds = without(input.linkIds)
  for (const origin of objects(graph.nodes))
    for (const output of objects(origin.outputs)) output.links = without(output.links)
  for (const input of objects(node.raw.inputs))
    if (input.link !== undefined && String(input.link) === link) input.link = null
  return true
}

/**
 * Texts in which the editor chooses between `{a|b}`, written so that they come out as they are. It does so for what a
 * node keeps itself or has from a primitive, and for nothing that an instance around it keeps.
 */
function literally(one: FlatNode, inputs: Record<string, Json>) {
  const chosen = new Set(
    one.placement.widgets.flatMap(({ input: { name, options } }) =>
      options.dynamicPrompts === true && isOwnOrPrimitives(one, name) && !isShownOutside(one, name) ? [name] : [],
    ),
  )
  if (chosen.size === 0) return inputs
  const escaped = (text: string) => text.replace(/[{}]/g, '\\$&').replace(/\\\|/g, '\\\\|')
  return Object.fromEntries(
    Object.entries(inputs).map(([name, value]) => [
      name,
      chosen.has(name) && typeof value === 'string' ? escaped(value) : value,
    ]),
  )
}

function put({ node, index, name }: Keeper, value: Json) {
  const { raw, offset } = node.keptIn ?? { raw: node.raw, offset: 0 }
  const values = raw.widgets_values
  if (Array.isArray(values) && typeof index === 'number') values[index + offset] = value
  else if (isJsonObject(values) && index !== null) values[index] = value
  const named = node.raw.widgets_values_named
  if (isJsonObject(named) && name !== null && Object.hasOwn(named, name)) named[name] = value
  for (const entry of setAside(node)) {
    const [inner, input] = Array.isArray(entry.originalEntry) ? entry.originalEntry : []
    if (String(inner) === '-1' && input === name && entry.hostValue !== undefined) entry.hostValue = value
  }
}

/** What the editor could not bring over from an older subgraph, and still takes values from. */
function setAside({ raw }: EditorNode): JsonObject[] {
  const kept = isJsonObject(raw.properties) ? raw.properties.proxyWidgetErrorQuarantine : null
  return Array.isArray(kept) ? kept.filter(isJsonObject) : []
}

/** A primitive that an instance turns keeps the value as well as the widgets it feeds. */
function putIntoPrimitive({ node, context }: FlatNode, name: string, value: Json) {
  const input = node.inputs.find((one) => one.name === name)
  const link = input?.link == null ? undefined : context.graph.links.get(input.link)
  const origin = link && context.graph.nodes.get(link.from)
  const values = origin?.type === 'PrimitiveNode' ? origin.raw.widgets_values : null
  if (Array.isArray(values) && values.length > 0) values[0] = value
}

/** Widgets the file had no value for stand at the end of the list; they are written only when one was turned. */
function append({ id, node, placement }: FlatNode, inputs: Record<string, Json>, keepers: Map<string, Keeper>) {
  const missing = placement.widgets.flatMap(({ input }) => {
    const used = keepers.has(`${id}.${input.name}`) ? undefined : inputs[input.name]
    return used === undefined || isLink(used) ? [] : [{ input, value: unwrapped(used) }]
  })
  if (node.keptIn || !missing.some(({ input, value }) => value !== defaultOf(input))) return
  const values = node.raw.widgets_values
  if (isJsonObject(values)) for (const { input, value } of missing) values[input.name] = value
  else if (Array.isArray(values)) values.push(...missing.map(({ value }) => value))
  else node.raw.widgets_values = missing.map(({ value }) => value)
}

const unwrapped = (value: Json): Json =>
  isJsonObject(value) && value.__value__ !== undefined ? value.__value__ : value

function copy(value: Json): Json {
  if (Array.isArray(value)) return value.map(copy)
  if (!isJsonObject(value)) return value
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, copy(item)]))
}
