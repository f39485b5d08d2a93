import { isLink, type ObjectInfo, type Prompt } from '../../contract/comfyui.ts'
import { isJsonObject, type Json } from '../../contract/json.ts'
import type { Graph } from '../../contract/workflow.ts'
import { definitionOf } from './definitions.ts'
import { bypassed, type EditorDocument, type EditorNode, muted, readEditor, subgraphInput } from './editor.ts'
import { virtualOf } from './flatten.ts'
import type { ReadWorkflow } from './read.ts'

type GraphNode = Graph['nodes'][number]

/** The read-only picture of a workflow: as the editor placed it, or laid out in layers from left to right. */
export function drawGraph(read: ReadWorkflow, prompt: Prompt, definitions: ObjectInfo): Graph {
  if (!read.editor) return { ...layOut(drawPrompt(prompt, definitions)), laidOut: true }
  const document = readEditor(read.editor)
  const graph = drawEditor(document, prompt, definitions)
  const placed = graph.nodes.every(({ x, y }) => Number.isFinite(x) && Number.isFinite(y))
  return placed ? { ...graph, laidOut: false } : { ...layOut(graph), laidOut: true }
}

const width = 220
const row = 22
const heightOf = (rows: number) => 48 + row * Math.max(1, rows)

function drawPrompt(prompt: Prompt, definitions: ObjectInfo): Omit<Graph, 'laidOut'> {
  const nodes: GraphNode[] = []
  const edges: Graph['edges'] = []
  for (const [id, { class_type, inputs, _meta }] of Object.entries(prompt)) {
    const definition = definitionOf(definitions, class_type)
    const values = valuesOf(inputs)
    nodes.push({
      id,
      title: String(_meta?.title || definition?.display_name || class_type),
      classType: class_type,
      x: 0,
      y: 0,
      width,
      height: heightOf(Object.keys(inputs).length),
      mode: 'active',
      known: definition !== null,
      values,
    })
    for (const [name, value] of Object.entries(inputs)) {
      if (!isLink(value) || !Object.hasOwn(prompt, value[0])) continue
      const type = definitionOf(definitions, prompt[value[0]]!.class_type)?.output[value[1]]
      edges.push({
        from: value[0],
        fromSlot: value[1],
        to: id,
        toInput: name,
        type: typeof type === 'string' ? type : '*',
      })
    }
  }
  return { nodes, edges }
}

function drawEditor(document: EditorDocument, prompt: Prompt, definitions: ObjectInfo): Omit<Graph, 'laidOut'> {
  const { root, subgraphs } = document
  const nodes = [...root.nodes.values()].map((node): GraphNode => {
    const definition = definitionOf(definitions, node.type)
    const virtual = virtualOf(node, { definitions, document })
    const subgraph = subgraphs.get(node.type)
    const [x, y] = pair(node.raw.pos)
    const [wide, high] = pair(node.raw.size)
    const inputs = prompt[node.id]?.inputs
    return {
      id: node.id,
      title: node.title ?? subgraph?.name ?? definition?.display_name ?? node.type,
      classType: subgraph?.name ?? node.type,
      x,
      y,
      width: Number.isFinite(wide) ? wide : width,
      height: Number.isFinite(high) ? high : heightOf(node.inputs.length),
      mode:
        node.mode === muted
          ? 'muted'
          : node.mode === bypassed
            ? 'bypassed'
            : virtual !== null && virtual !== 'subgraph'
              ? 'virtual'
              : 'active',
      known:
        definition !== null ||
        (virtual !== null && (virtual !== 'subgraph' || subgraph !== undefined || document.groupNodes.size > 0)),
      values: inputs ? valuesOf(inputs) : storedValues(node),
    }
  })
  const edges = [...root.nodes.values()].flatMap((node) =>
    node.inputs.flatMap(({ name, link: id }): Graph['edges'] => {
      const link = id === null ? undefined : root.links.get(id)
      if (!link || link.from === subgraphInput || !root.nodes.has(link.from)) return []
      const type = typeof link.type === 'string' ? link.type : '*'
      return [{ from: link.from, fromSlot: link.fromSlot, to: node.id, toInput: name, type }]
    }),
  )
  return { nodes, edges }
}

/** `[x, y]`, or `{"0": x, "1": y}` in old files. */
function pair(value: Json | undefined): [number, number] {
  const [x, y] = Array.isArray(value) ? value : isJsonObject(value) ? [value[0], value[1]] : []
  return [typeof x === 'number' ? x : Number.NaN, typeof y === 'number' ? y : Number.NaN]
}

const clip = (text: string) => (text.length > 200 ? `${text.slice(0, 199)}…` : text)
const valuesOf = (inputs: Record<string, Json>) =>
  Object.entries(inputs).flatMap(([name, value]) =>
    isLink(value) ? [] : [{ name, value: clip(typeof value === 'object' && value !== null ? '{…}' : String(value)) }],
  )
function storedValues({ raw }: EditorNode): GraphNode['values'] {
  const values = Array.isArray(raw.widgets_values) ? raw.widgets_values : []
  return values.flatMap((value) => (typeof value === 'object' ? [] : [{ name: '', value: clip(String(value)) }]))
}

/** Layers by the longest way from a source; within a layer, near to what feeds them. Circles do not trouble it. */
function layOut({ nodes, edges }: Omit<Graph, 'laidOut'>): Omit<Graph, 'laidOut'> {
  const depth = depths(nodes, edges)
  const feeders = new Map<string, string[]>()
  for (const { from, to } of edges) {
    const list = feeders.get(to)
    if (list) list.push(from)
    else feeders.set(to, [from])
  }
  const layers: GraphNode[][] = []
  for (const node of nodes) {
    const layer = depth.get(node.id) ?? 0
    layers[layer] ??= []
    layers[layer].push(node)
  }
  const middle = new Map<string, number>()
  const placed = new Map<string, GraphNode>()
  layers.forEach((layer, column) => {
    const wish = (node: GraphNode) => {
      const above = (feeders.get(node.id) ?? []).flatMap((from) => middle.get(from) ?? [])
      return above.length === 0 ? 0 : above.reduce((sum, y) => sum + y, 0) / above.length
    }
    let y = 0
    for (const { node } of layer.map((node) => ({ node, at: wish(node) })).sort((one, other) => one.at - other.at)) {
      placed.set(node.id, { ...node, x: column * (width + 100), y })
      middle.set(node.id, y + node.height / 2)
      y += node.height + 40
    }
  })
  return { nodes: nodes.map(({ id }) => placed.get(id)!), edges }
}

function depths(nodes: GraphNode[], edges: Graph['edges']): Map<string, number> {
  const next = new Map<string, string[]>(nodes.map(({ id }) => [id, []]))
  const waits = new Map<string, number>(nodes.map(({ id }) => [id, 0]))
  for (const { from, to } of edges) {
    next.get(from)?.push(to)
    waits.set(to, (waits.get(to) ?? 0) + 1)
  }
  const depth = new Map<string, number>()
  const ready = nodes.filter(({ id }) => waits.get(id) === 0).map(({ id }) => id)
  for (let id = ready.pop(); id !== undefined; id = ready.pop()) {
    const own = depth.get(id) ?? 0
    depth.set(id, own)
    for (const to of next.get(id) ?? []) {
      depth.set(to, Math.max(depth.get(to) ?? 0, own + 1))
      const left = waits.get(to)! - 1
      waits.set(to, left)
      if (left === 0) ready.push(to)
    }
  }
  return depth // a node in a circle keeps what reached it
}
