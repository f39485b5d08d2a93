import { isJsonObject, type Json, type JsonObject } from '../../contract/json.ts'
import {
  type EditorGraph,
  type EditorLink,
  type EditorNode,
  readNode,
  subgraphInput,
  subgraphOutput,
  typesFit,
} from './editor.ts'

const list = (value: Json | undefined): Json[] => (Array.isArray(value) ? value : [])
const object = (value: Json | undefined): JsonObject => (isJsonObject(value) ? value : {})

/** The name of the group a node is an instance of, in both spellings editors used. */
export const groupNameOf = (type: string): string | null => /^workflow[/>](.+)$/s.exec(type)?.[1] ?? null

/**
 * A legacy group node as a subgraph: its inner nodes, the instance's values in them, and its open sockets as the
 * subgraph's inputs and outputs. A string says why that cannot be done.
 */
export function groupAsSubgraph(group: JsonObject, instance: EditorNode): EditorGraph | string {
  const config = object(group.config)
  const hidden = (index: number, side: 'input' | 'output', name: string) =>
    object(object(object(config[index])[side])[name]).visible === false
  const inner: EditorNode[] = []
  for (const [index, raw] of list(group.nodes).entries()) {
    const node = isJsonObject(raw) ? readNode({ ...raw, id: String(index) }) : null
    if (!node) return `its inner node ${index} is damaged`
    inner.push({ ...node, inputs: node.inputs.map((input) => ({ ...input, link: null })) })
  }

  const links = new Map<string, EditorLink>()
  const feeding = new Set<string>()
  for (const [index, raw] of list(group.links).entries()) {
    const [from, fromSlot, to, toSlot, type] = list(raw)
    if (typeof from !== 'number' || typeof to !== 'number') continue // an outer end: an open socket
    const input = inner[to]?.inputs[Number(toSlot)]
    if (!inner[from] || !input) return `its link ${index} leads nowhere`
    const id = `inner${index}`
    links.set(id, {
      from: String(from),
      fromSlot: Number(fromSlot),
      to: String(to),
      toSlot: Number(toSlot),
      type: type ?? '*',
    })
    input.link = id
    feeding.add(`${from} ${fromSlot}`)
  }

  const open = inner.flatMap((node, index) =>
    node.inputs.flatMap((input) =>
      input.link !== null || hidden(index, 'input', input.name) ? [] : [{ node, input }],
    ),
  )
  const sockets = instance.inputs.filter(({ widget }) => widget === null)
  const openSockets = open.filter(({ input }) => input.widget === null || sockets.length === open.length)
  const inputs: EditorGraph['inputs'] = []
  for (const [index, socket] of sockets.entries()) {
    const match =
      sockets.length === openSockets.length
        ? openSockets[index]
        : openSockets.find(({ input }) => input.name === socket.name && typesFit(input.type, socket.type))
    if (!match || !typesFit(match.input.type, socket.type)) {
      if (socket.link !== null) return `its input ${socket.name} belongs to no inner node`
      continue
    }
    const id = `input${inputs.length}`
    const toSlot = match.node.inputs.indexOf(match.input)
    links.set(id, { from: subgraphInput, fromSlot: inputs.length, to: match.node.id, toSlot, type: match.input.type })
    match.input.link = id
    inputs.push({ name: socket.name, label: null, type: socket.type, links: [id] })
  }

  const exported = new Set(
    list(group.external).map((raw) => {
      const [node, slot] = list(raw)
      return `${isJsonObject(node) ? node.index : node} ${slot}`
    }),
  )
  const openOutputs = inner.flatMap((node, index) =>
    node.outputs.flatMap((output, slot) =>
      (feeding.has(`${index} ${slot}`) && !exported.has(`${index} ${slot}`)) ||
      hidden(index, 'output', String(slot)) ||
      hidden(index, 'output', output.name)
        ? []
        : [{ node, slot, output }],
    ),
  )
  const outputs: EditorGraph['outputs'] = []
  for (const [slot, { name, type, linked }] of instance.outputs.entries()) {
    const match =
      openOutputs.length === instance.outputs.length
        ? openOutputs[slot]
        : openOutputs.find(({ output }) => output.name === name && typesFit(output.type, type))
    if (!match && linked) return `its output ${name} belongs to no inner node`
    if (match) {
      links.set(`output${slot}`, { from: match.node.id, fromSlot: match.slot, to: subgraphOutput, toSlot: slot, type })
    }
    outputs.push({ name, type, links: match ? [`output${slot}`] : [] })
  }

  const nodes = giveValues(inner, instance)
  if (typeof nodes === 'string') return nodes
  return { nodes, links, inputs, outputs, name: instance.type }
}

/** The instance stores the values of all its inner nodes in one list. */
function giveValues(inner: EditorNode[], instance: EditorNode): Map<string, EditorNode> | string {
  const values = list(instance.raw.widgets_values)
  const sizes = inner.map(({ raw }) => list(raw.widgets_values).length)
  const total = sizes.reduce((sum, size) => sum + size, 0)
  if (values.length !== 0 && values.length !== total) {
    return `it stores ${values.length} values, its inner nodes ${total}`
  }
  let at = 0
  const nodes = inner.map((node, index): [string, EditorNode] => {
    const own = values.slice(at, at + sizes[index]!)
    at += sizes[index]!
    if (values.length === 0) return [node.id, node]
    const keptIn = { raw: instance.raw, offset: at - sizes[index]! }
    return [node.id, { ...node, raw: { ...node.raw, widgets_values: own }, keptIn }]
  })
  return new Map(nodes)
}
