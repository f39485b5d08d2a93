import type { InputSpec, NodeDefinition, ObjectInfo } from '../../core/contract/comfyui.ts'
import { isJsonObject, type Json, type JsonObject } from '../../core/contract/json.ts'

const list = (value: Json | undefined): JsonObject[] => (Array.isArray(value) ? value.filter(isJsonObject) : [])
const object = (value: Json | undefined): JsonObject => (isJsonObject(value) ? value : {})
const uuid = /^[\da-f]{8}-([\da-f]{4}-){3}[\da-f]{12}$/i

/** Every node of a workflow, those inside subgraphs and group nodes included. */
export function nodesOf(workflow: JsonObject): JsonObject[] {
  const subgraphs = list(object(workflow.definitions).subgraphs)
  const groups = Object.values(object(object(workflow.extra).groupNodes)).filter(isJsonObject)
  return [...list(workflow.nodes), ...groups.flatMap((group) => list(group.nodes)), ...subgraphs.flatMap(nodesOf)]
}

/** Definitions for classes nobody knows, as the workflows' own nodes describe them. */
export function declareMissing(workflows: JsonObject[], known: (type: string) => boolean): ObjectInfo {
  const found = new Map<string, JsonObject[]>()
  for (const node of workflows.flatMap(nodesOf)) {
    const { type } = node
    if (typeof type !== 'string' || known(type) || uuid.test(type) || /^workflow[/>]/.test(type)) continue
    found.set(type, [...(found.get(type) ?? []), node])
  }
  return Object.fromEntries([...found].map(([type, nodes]) => [type, declare(type, nodes)]))
}

function declare(type: string, nodes: JsonObject[]): NodeDefinition {
  const required: Record<string, InputSpec> = {}
  const richest = (side: 'inputs' | 'outputs') =>
    nodes.map((node) => list(node[side])).reduce((most, one) => (one.length > most.length ? one : most), [])
  const values = nodes.map(({ widgets_values }) => (Array.isArray(widgets_values) ? widgets_values : []))
  const longest = values.reduce((most, one) => (one.length > most.length ? one : most), [])
  const sockets = richest('inputs').filter(({ name }) => typeof name === 'string')
  for (const { name, type, widget } of sockets)
    if (!isJsonObject(widget)) required[String(name)] = [typeof type === 'string' ? type : '*', {}]
  // Files name only some of the widgets: those go to the first value they fit, others are named by their place.
  const named = sockets.filter(({ widget }) => isJsonObject(widget))
  for (let at = 0; at < longest.length; at++) {
    const controlled = controls.has(longest[at + 1] ?? null)
    const seen = [...new Set(values.flatMap((one) => one.slice(at, at + 1)))]
    const [next] = named
    const type = typeof next?.type === 'string' ? next.type : 'COMBO'
    const fits =
      next &&
      (named.length >= longest.length - at ||
        (type === typeOf(longest[at]!) && !/seed/.test(String(next.name))) ||
        controlled)
    if (fits) named.shift()
    required[fits ? String(next.name) : `value_${at}`] = specOf(fits ? type : typeOf(longest[at]!), seen, controlled)
    if (controlled) at++
  }
  const outputs = richest('outputs')
  return {
    input: { required },
    input_order: { required: Object.keys(required) },
    output: outputs.map((output) => (typeof output.type === 'string' ? output.type : '*')),
    output_is_list: outputs.map(() => false),
    output_name: outputs.map(({ name }) => String(name)),
    name: type,
    display_name: type,
    description: '',
    python_module: 'custom_nodes.declared',
    category: 'declared',
    output_node: outputs.length === 0,
  }
}

const controls = new Set<Json>(['fixed', 'increment', 'decrement', 'randomize'])

function specOf(type: string, seen: Json[], control: boolean): InputSpec {
  switch (type) {
    case 'COMBO':
      return [seen, {}]
    case 'INT':
    case 'FLOAT': {
      const limit = type === 'INT' ? Number.MAX_SAFE_INTEGER : 1e9
      return [type, { default: 0, min: -limit, max: limit, ...(control && { control_after_generate: true }) }]
    }
    default:
      return [type, {}]
  }
}

function typeOf(value: Json): string {
  if (typeof value === 'boolean') return 'BOOLEAN'
  if (typeof value === 'number' || typeof value === 'bigint') return Number.isInteger(Number(value)) ? 'INT' : 'FLOAT'
  return 'STRING'
}
