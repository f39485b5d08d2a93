import { AppError } from '../../contract/errors.ts'
import { isJsonObject, type Json, type JsonObject } from '../../contract/json.ts'

/** A workflow as the editor saved it, version 0.4 or 1.0, unchanged. */
export type EditorWorkflow = JsonObject

export interface EditorInput {
  name: string
  type: Json
  /** Key of the link in its graph, null when nothing is connected. */
  link: string | null
  /** The widget this socket stands for. */
  widget: string | null
}
export interface EditorNode {
  id: string
  type: string
  mode: number
  title: string | null
  inputs: EditorInput[]
  outputs: { name: string; type: Json; linked: boolean }[]
  properties: JsonObject
  /** As the file has it; `embed.ts` writes into a copy. */
  raw: JsonObject
  /** Whose list holds this node's values, from which position: a group node keeps those of its inner nodes. */
  keptIn?: { raw: JsonObject; offset: number }
}
export interface EditorLink {
  from: string
  fromSlot: number
  to: string
  toSlot: number
  type: Json
}
/** The root graph, or the inside of a subgraph. */
export interface EditorGraph {
  nodes: Map<string, EditorNode>
  links: Map<string, EditorLink>
  /** Of a subgraph: what its instances show outside. */
  inputs: { name: string; label: string | null; type: Json }[]
  outputs: { name: string; type: Json }[]
  name: string
}
export interface EditorDocument {
  root: EditorGraph
  subgraphs: Map<string, EditorGraph>
  /** Legacy group nodes, by name, as the file has them. */
  groupNodes: Map<string, JsonObject>
}

/** Ends of links that leave a subgraph: its inputs and its outputs. */
export const subgraphInput = '-10'
export const subgraphOutput = '-20'

export const muted = 2
export const bypassed = 4

const list = (value: Json | undefined): Json[] => (Array.isArray(value) ? value : [])
const object = (value: Json | undefined): JsonObject => (isJsonObject(value) ? value : {})
const text = (value: Json | undefined): string | null => (typeof value === 'string' ? value : null)
const idOf = (value: Json | undefined): string | null =>
  (typeof value === 'string' && value !== '__proto__') || typeof value === 'number' || typeof value === 'bigint'
    ? String(value)
    : null

export const isEditorWorkflow = (value: Json): boolean => isJsonObject(value) && Array.isArray(value.nodes)

/** @throws AppError 'import.damaged' for what cannot be told apart: two nodes, links or subgraphs with one id */
export function readEditor(workflow: EditorWorkflow, name = 'The workflow'): EditorDocument {
  const subgraphs = new Map<string, EditorGraph>()
  const waiting: JsonObject[] = [workflow]
  for (let holder = waiting.pop(); holder; holder = waiting.pop()) {
    for (const definition of list(object(holder.definitions).subgraphs)) {
      const id = isJsonObject(definition) ? idOf(definition.id) : null
      if (!isJsonObject(definition) || id === null) continue
      if (!subgraphs.has(id)) subgraphs.set(id, readGraph(definition, name)) // a nested copy repeats the same one
      waiting.push(definition)
    }
  }
  const groupNodes = new Map<string, JsonObject>()
  for (const [key, group] of Object.entries(object(object(workflow.extra).groupNodes))) {
    if (isJsonObject(group)) groupNodes.set(key, group)
  }
  return { root: readGraph(workflow, name), subgraphs, groupNodes }
}

function readGraph(graph: JsonObject, name: string): EditorGraph {
  const damaged = (reason: string) => new AppError('import.damaged', { name, reason })
  const nodes = new Map<string, EditorNode>()
  for (const raw of list(graph.nodes)) {
    if (!isJsonObject(raw)) continue
    const node = readNode(raw)
    if (node === null) throw damaged('a node has no id or no type')
    if (nodes.has(node.id)) throw damaged(`two nodes have the id ${node.id}`)
    nodes.set(node.id, node)
  }
  const links = new Map<string, EditorLink>()
  for (const raw of list(graph.links)) {
    const read = readLink(raw)
    if (read === null) continue
    const before = links.get(read.id)
    if (before && (before.from !== read.link.from || before.fromSlot !== read.link.fromSlot)) {
      throw damaged(`two links have the id ${read.id}`)
    }
    links.set(read.id, read.link)
  }
  return {
    nodes,
    links,
    inputs: list(graph.inputs).map((input) => {
      const { name, type, label, localized_name } = object(input)
      return { name: text(name) ?? '', type: type ?? '*', label: text(label) ?? text(localized_name) }
    }),
    outputs: list(graph.outputs).map((output) => ({
      name: text(object(output).name) ?? '',
      type: object(output).type ?? '*',
    })),
    name: text(graph.name) ?? '',
  }
}

export function readNode(raw: JsonObject): EditorNode | null {
  const id = idOf(raw.id)
  const type = text(raw.type)
  if (id === null || type === null) return null
  return {
    id,
    type,
    mode: typeof raw.mode === 'number' ? raw.mode : 0,
    title: text(raw.title),
    inputs: list(raw.inputs).map((input) => {
      const { name, type, link, widget } = object(input)
      return { name: inputName(name), type: type ?? '*', link: idOf(link), widget: text(object(widget).name) }
    }),
    outputs: list(raw.outputs).map((output) => ({
      name: text(object(output).name) ?? '',
      type: object(output).type ?? '*',
      linked: list(object(output).links).length > 0,
    })),
    properties: object(raw.properties),
    raw,
  }
}

const inputName = (name: Json | undefined) => (name === '__proto__' ? '' : (text(name) ?? ''))

/** `[id, from, fromSlot, to, toSlot, type]`, or an object in version 1.0 and in subgraphs. */
function readLink(raw: Json): { id: string; link: EditorLink } | null {
  const [id, from, fromSlot, to, toSlot, type] = Array.isArray(raw)
    ? raw
    : isJsonObject(raw)
      ? [raw.id, raw.origin_id, raw.origin_slot, raw.target_id, raw.target_slot, raw.type]
      : []
  const [linkId, origin, target] = [idOf(id), idOf(from), idOf(to)]
  if (linkId === null || origin === null || target === null) return null
  const slot = (value: Json | undefined) => (typeof value === 'number' ? value : Number(value ?? 0) || 0)
  return {
    id: linkId,
    link: { from: origin, fromSlot: slot(fromSlot), to: target, toSlot: slot(toSlot), type: type ?? '*' },
  }
}

/** Types that fit each other: any, equal, or unions with a member in common. Numbers are LiteGraph's own: 0 any, -1 event. */
export function typesFit(one: Json | undefined, other: Json | undefined): boolean {
  if (one === -1 || other === -1) return one === other
  const names = (type: Json | undefined): string[] | null => {
    if (Array.isArray(type)) return ['COMBO'] // an old combo, whose type is its list of choices
    if (typeof type !== 'string' || type === '' || type === '*') return null
    return type
      .toLowerCase()
      .split(',')
      .map((name) => name.trim())
  }
  const [ones, others] = [names(one), names(other)]
  if (ones === null || others === null) return true
  return ones.some((name) => others.includes(name) || name === '*')
}
