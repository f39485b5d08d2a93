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
  /** Of a subgraph: what its instances show outside, and the links inside. */
  inputs: { name: string; label: string | null; type: Json; links: string[] }[]
  outputs: { name: string; type: Json; links: string[] }[]
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
  const root = readGraph(workflow, name)
  renumber(workflow, root, subgraphs)
  return { root, subgraphs, groupNodes }
}

/**
 * Gives nodes inside subgraphs numbers of their own where another graph has the same, as today's editor does when it
 * opens a file: in the order of the file, each the next above the highest so far. A file without the editor's counter
 * was written by hand or program, and keeps its numbers.
 */
function renumber(workflow: EditorWorkflow, root: EditorGraph, subgraphs: EditorDocument['subgraphs']) {
  const listed = list(object(workflow.definitions).subgraphs).flatMap((raw) => {
    const graph = subgraphs.get(idOf(object(raw).id) ?? '')
    return graph ? [graph] : []
  })
  const used = new Set([...root.nodes.values()].flatMap(({ id, raw }) => (typeof raw.id === 'number' ? [id] : [])))
  const counter = workflow.version === 0.4 ? workflow.last_node_id : object(workflow.state).lastNodeId
  if (typeof counter !== 'number') return
  let last = counter
  const renamed = new Map<EditorGraph, Map<string, string>>()
  for (const graph of new Set(listed)) {
    const names = new Map<string, string>()
    for (const { id } of graph.nodes.values()) {
      const number = /^(0|[1-9]\d{0,8})$/.test(id) ? Number(id) : 0
      if (!used.has(id)) last = Math.max(last, number)
      else {
        while (used.has(String(++last)));
        names.set(id, String(last))
      }
      used.add(names.get(id) ?? id)
    }
    if (names.size > 0) renamed.set(graph, names)
  }
  for (const [graph, names] of renamed) rename(graph, names)
  if (renamed.size === 0) return
  for (const graph of [root, ...listed]) {
    for (const node of graph.nodes.values()) {
      const inside = subgraphs.get(node.type)
      const names = inside && renamed.get(inside)
      const { proxyWidgets } = node.properties
      if (!names || !Array.isArray(proxyWidgets)) continue
      const renewed = proxyWidgets.map((entry) => {
        const name = Array.isArray(entry) ? names.get(String(entry[0])) : undefined
        return Array.isArray(entry) && name !== undefined ? [name, ...entry.slice(1)] : entry
      })
      node.properties = { ...node.properties, proxyWidgets: renewed }
    }
  }
}

function rename(graph: EditorGraph, names: Map<string, string>) {
  graph.nodes = new Map([...graph.nodes.values()].map((node) => [names.get(node.id) ?? node.id, node]))
  for (const [id, node] of graph.nodes) node.id = id
  for (const link of graph.links.values()) {
    link.from = names.get(link.from) ?? link.from
    link.to = names.get(link.to) ?? link.to
  }
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
      const { name, type, label, localized_name, linkIds } = object(input)
      const links = list(linkIds).flatMap((id) => idOf(id) ?? [])
      return { name: text(name) ?? '', type: type ?? '*', label: text(label) ?? text(localized_name), links }
    }),
    outputs: list(graph.outputs).map((output) => ({
      name: text(object(output).name) ?? '',
      type: object(output).type ?? '*',
      links: list(object(output).linkIds).flatMap((id) => idOf(id) ?? []),
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
