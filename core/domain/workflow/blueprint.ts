import { isJsonObject, type Json, type JsonObject } from '../../contract/json.ts'
import type { Problem } from '../../contract/workflow.ts'
import type { EditorWorkflow } from './editor.ts'
import { problem } from './problems.ts'

const list = (value: Json | undefined): JsonObject[] => (Array.isArray(value) ? value.filter(isJsonObject) : [])
const text = (value: Json | undefined): string => (typeof value === 'string' ? value : '')

/**
 * The workflow an editor saved; null when it is none. Some programs write nodes and links as objects by id, and what is
 * copied in the editor holds its subgraphs beside the nodes.
 */
export function asEditor(value: JsonObject): EditorWorkflow | null {
  const { nodes, links, subgraphs, definitions } = value
  const nodesByKey = isJsonObject(nodes) ? Object.entries(nodes) : []
  const isByKey = nodesByKey.length > 0 && nodesByKey.every(([, node]) => isJsonObject(node) && 'type' in node)
  if (!Array.isArray(nodes) && !isByKey) return null
  const editor: JsonObject = { ...value }
  if (isByKey) editor.nodes = nodesByKey.map(([id, node]) => ({ id, ...(node as JsonObject) }))
  if (isJsonObject(links)) {
    editor.links = Object.entries(links).map(([id, link]) => (isJsonObject(link) ? { id, ...link } : link))
  }
  if (Array.isArray(subgraphs) && definitions === undefined) editor.definitions = { subgraphs }
  return editor
}

/** A subgraph's definition on its own, as nodes libraries and the inside of a workflow have it. */
export const isBlueprint = (value: JsonObject): boolean =>
  Array.isArray(value.nodes) && isJsonObject(value.inputNode) && isJsonObject(value.outputNode)

/** A workflow with one instance of the subgraph; `others` are the definitions it may use inside. */
export function blueprintOf(definition: JsonObject, others: readonly JsonObject[] = []): EditorWorkflow {
  const type = typeof definition.id === 'string' && definition.id !== '' ? definition.id : 'blueprint'
  const sockets = (key: 'inputs' | 'outputs') =>
    list(definition[key]).map(({ name, type, label }) => ({
      name: name ?? '',
      type: type ?? '*',
      ...(label !== undefined && { label }),
    }))
  const known = others.filter(({ id }) => id !== definition.id)
  // The editor gives nodes inside another number when one outside has it.
  const inside = [definition, ...known].flatMap(({ nodes }) => list(nodes).map(({ id }) => Number(id)))
  const id = inside.reduce((most, one) => (Number.isSafeInteger(one) ? Math.max(most, one) : most), 0) + 1
  const instance = {
    id,
    type,
    pos: [0, 0],
    size: [320, 240],
    flags: {},
    order: 0,
    mode: 0,
    title: text(definition.name) || 'Subgraph',
    inputs: sockets('inputs').map((input) => ({ ...input, link: null })),
    outputs: sockets('outputs').map((output) => ({ ...output, links: [] })),
    properties: {},
    widgets_values: [],
  }
  return {
    last_node_id: id,
    last_link_id: 0,
    nodes: [instance],
    links: [],
    version: 0.4,
    definitions: { subgraphs: [{ ...definition, id: type }, ...known] },
    extra: {},
  }
}

/** Each subgraph of a file without a workflow that is not part of another one. */
export function looseBlueprints(value: JsonObject): { title: string | null; value: Json }[] {
  if ('nodes' in value) return []
  const holder = isJsonObject(value.definitions) ? value.definitions : value
  const definitions = list(holder.subgraphs).filter(isBlueprint)
  const used = new Set(definitions.flatMap(({ nodes }) => list(nodes).map(({ type }) => text(type))))
  const roots = definitions.filter(({ id }) => !used.has(text(id)))
  return roots.map((definition) => ({
    title: roots.length > 1 ? text(definition.name) || null : null,
    value: blueprintOf(definition, definitions),
  }))
}

/** A file that is one subgraph and nothing else is a piece to build with: what it still wants is told. */
export function unconnected(editor: EditorWorkflow): Problem[] {
  const nodes = list(editor.nodes)
  const [node] = nodes
  const definitions = isJsonObject(editor.definitions) ? list(editor.definitions.subgraphs) : []
  const definition = nodes.length === 1 ? definitions.find(({ id }) => text(id) === text(node?.type)) : undefined
  if (!node || !definition) return []
  const inputs = list(definition.inputs).filter(({ name }) => !isGiven(node, definition, text(name)))
  const outputs = list(definition.outputs)
  const names = (sockets: JsonObject[]) =>
    sockets.map(({ label, localized_name, name }) => text(label) || text(localized_name) || text(name)).join(', ')
  const title = text(node.title) || text(definition.name)
  const at = { node: String(node.id), classType: text(node.type) }
  const problems: Problem[] = []
  if (inputs.length > 0) problems.push(problem('bad-value', 'blueprint-inputs', { title, inputs: names(inputs) }, at))
  const saves = list(definition.nodes).some(({ type }) => /^(Save|Preview)/.test(text(type)))
  if (outputs.length > 0 && !saves) {
    problems.push(problem('bad-value', 'blueprint-outputs', { title, outputs: names(outputs) }, at))
  }
  return problems
}

/** Whether an input of the only node has a value: connected, or a widget that shows outside. */
function isGiven(node: JsonObject, definition: JsonObject, name: string): boolean {
  const own = list(node.inputs).find((input) => input.name === name)
  if (own && (own.link ?? null) !== null) return true
  if (own && isJsonObject(own.widget)) return true
  const index = list(definition.inputs).findIndex((input) => input.name === name)
  const inside = list(definition.links).filter(
    ({ origin_id, origin_slot }) => String(origin_id) === '-10' && origin_slot === index,
  )
  if (inside.length === 0) return true // leads nowhere
  return inside.every(({ target_id, target_slot }) => {
    const target = list(definition.nodes).find(({ id }) => String(id) === String(target_id))
    const socket = target ? list(target.inputs)[Number(target_slot)] : undefined
    return isJsonObject(socket?.widget) || socket?.shape === 7 // a widget, or optional
  })
}
