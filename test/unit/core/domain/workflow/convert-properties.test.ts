/** Whatever an editor can fold, reroute or bypass without changing the work, the prompt stays the same up to ids. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { Prompt } from '../../../../../core/contract/comfyui.ts'
import { isJsonObject, type Json, type JsonObject } from '../../../../../core/contract/json.ts'
import { unaccounted } from '../../../../../core/domain/workflow/conservation.ts'
import { convertWorkflow } from '../../../../../core/domain/workflow/convert.ts'
import { readEditor } from '../../../../../core/domain/workflow/editor.ts'
import { definitions } from '../../../../kit/definitions.ts'

interface Socket {
  name: string
  type: string
  widget?: true
}
interface Node {
  id: number
  type: string
  mode: number
  inputs: Socket[]
  outputs: string[]
  values: Json[]
  inside?: Graph
  title?: string
}
interface Link {
  from: number
  fromSlot: number
  to: number
  toSlot: number
}
interface Graph {
  nodes: Node[]
  links: Link[]
  inputs: Socket[]
  outputs: string[]
}

const kinds: Record<string, Pick<Node, 'inputs' | 'outputs' | 'values'>> = {
  EmptyImage: {
    inputs: ['width', 'height', 'batch_size', 'color'].map((name) => ({ name, type: 'INT', widget: true })),
    outputs: ['IMAGE'],
    values: [64, 32, 1, 7],
  },
  PrimitiveInt: { inputs: [{ name: 'value', type: 'INT', widget: true }], outputs: ['INT'], values: [640, 'fixed'] },
  ImageInvert: { inputs: [{ name: 'image', type: 'IMAGE' }], outputs: ['IMAGE'], values: [] },
  ImageToMask: {
    inputs: [
      { name: 'image', type: 'IMAGE' },
      { name: 'channel', type: 'COMBO', widget: true },
    ],
    outputs: ['MASK'],
    values: ['green'],
  },
  MaskToImage: { inputs: [{ name: 'mask', type: 'MASK' }], outputs: ['IMAGE'], values: [] },
  ImageCompositeMasked: {
    inputs: [
      { name: 'destination', type: 'IMAGE' },
      { name: 'source', type: 'IMAGE' },
      { name: 'mask', type: 'MASK' },
      { name: 'x', type: 'INT', widget: true },
      { name: 'y', type: 'INT', widget: true },
      { name: 'resize_source', type: 'BOOLEAN', widget: true },
    ],
    outputs: ['IMAGE'],
    values: [3, 4, true],
  },
  SaveImage: {
    inputs: [
      { name: 'images', type: 'IMAGE' },
      { name: 'filename_prefix', type: 'STRING', widget: true },
    ],
    outputs: [],
    values: ['cats'],
  },
}
const names = Object.keys(kinds)
const IN = -10
const OUT = -20

/** A graph without folds: each input is connected to an earlier node of its type, or to nothing. */
const flatGraphs = fc
  .array(
    fc.record({
      kind: fc.constantFrom(...names),
      mode: fc.constantFrom(0, 0, 0, 0, 2, 4),
      picks: fc.array(fc.nat(40), { minLength: 6, maxLength: 6 }),
    }),
    { minLength: 2, maxLength: 14 },
  )
  .map((specs): Graph => {
    const nodes: Node[] = []
    const links: Link[] = []
    specs.forEach(({ kind, mode, picks }, index) => {
      const id = index + 1
      const { inputs, outputs, values } = kinds[kind]!
      inputs.forEach(({ type, widget }, toSlot) => {
        const pick = picks[toSlot] ?? 0
        const fitting = nodes.filter((node) => node.outputs[0] === type)
        if (fitting.length === 0 || (widget && pick % 3 !== 0)) return
        links.push({ from: fitting[pick % fitting.length]!.id, fromSlot: 0, to: id, toSlot })
      })
      nodes.push({ id, type: kind, mode, inputs: inputs.map((input) => ({ ...input })), outputs, values: [...values] })
    })
    return { nodes, links, inputs: [], outputs: [] }
  })

/** Hands out numbers no other node has. */
const counter = () => {
  let last = 1000
  return () => ++last
}

const graphsIn = (graph: Graph, depth = 0): { graph: Graph; depth: number }[] => [
  { graph, depth },
  ...graph.nodes.flatMap(({ inside }) => (inside ? graphsIn(inside, depth + 1) : [])),
]

/** Folds some nodes of a graph into a subgraph; a widget of one may be shown outside, where its value then is. */
function wrap(graph: Graph, chosen: Node[], promote: number, id: number) {
  const ids = new Set(chosen.map((node) => node.id))
  const inside: Graph = { nodes: chosen, links: [], inputs: [], outputs: [] }
  const instance: Node = { id, type: `S${id}`, mode: 0, inputs: [], outputs: [], values: [], inside }
  const kept: Link[] = []
  for (const link of graph.links) {
    const { from, fromSlot, to, toSlot } = link
    if (ids.has(from) && ids.has(to)) inside.links.push(link)
    else if (ids.has(to)) {
      const { type, widget } = chosen.find((node) => node.id === to)!.inputs[toSlot]!
      const slot = inside.inputs.push({ name: `in ${inside.inputs.length}`, type, widget }) - 1
      inside.links.push({ from: IN, fromSlot: slot, to, toSlot })
      kept.push({ from, fromSlot, to: id, toSlot: slot })
    } else if (ids.has(from)) {
      let slot = inside.links.find((one) => one.to === OUT && one.from === from && one.fromSlot === fromSlot)?.toSlot
      if (slot === undefined) {
        const source = chosen.find((node) => node.id === from)
        const type = source?.outputs[fromSlot] ?? '*'
        slot = inside.outputs.push(type) - 1
        inside.links.push({ from, fromSlot, to: OUT, toSlot: slot })
      }
      kept.push({ from: id, fromSlot: slot, to, toSlot })
    } else kept.push(link)
  }
  // A linked widget keeps a value on the instance as well; links win.
  const values: Json[] = inside.inputs.flatMap(({ widget }) => (widget ? ['unused'] : []))
  const open = chosen.flatMap((node) =>
    node.inputs.flatMap((input, toSlot) => {
      const linked = inside.links.some((link) => link.to === node.id && link.toSlot === toSlot)
      const at = node.inputs.slice(0, toSlot).filter(({ widget }) => widget).length
      return input.widget && !linked && node.mode === 0 && !node.inside && kinds[node.type]
        ? [{ node, toSlot, at, type: input.type }]
        : []
    }),
  )
  const shown = open[promote % Math.max(1, open.length * 2)]
  if (shown) {
    const { node, toSlot, at, type } = shown
    const slot = inside.inputs.push({ name: `shown ${inside.inputs.length}`, type, widget: true }) - 1
    inside.links.push({ from: IN, fromSlot: slot, to: node.id, toSlot })
    values.push(node.values[at]!)
    node.values[at] = typeof node.values[at] === 'number' ? 1 : node.values[at]!
  }
  instance.inputs = inside.inputs.map((input) => ({ ...input }))
  instance.outputs = inside.outputs
  instance.values = values
  graph.nodes = [...graph.nodes.filter((node) => !ids.has(node.id)), instance]
  graph.links = kept
}

const typeOf = (graph: Graph, { from, fromSlot }: Link): string =>
  from === IN
    ? (graph.inputs[fromSlot]?.type ?? '*')
    : (graph.nodes.find(({ id }) => id === from)?.outputs[fromSlot] ?? '*')

/** Puts something into a connection that hands on what it gets. */
function insert(graph: Graph, link: Link, how: number, next: () => number) {
  const type = typeOf(graph, link)
  const { to, toSlot } = link
  const between = (node: Omit<Node, 'id' | 'mode'> & { mode?: number }): Node => {
    const made = { mode: 0, ...node, id: next() }
    graph.nodes.push(made)
    return made
  }
  const put = (first: Node, last = first) => {
    link.to = first.id
    link.toSlot = 0
    graph.links.push({ from: last.id, fromSlot: 0, to, toSlot })
  }
  const socket = (name: string) => [{ name, type }]
  const bypass = { IMAGE: 'ImageInvert', MASK: 'InvertMask' }[type]
  if (how === 0) put(between({ type: 'Reroute', inputs: [{ name: '', type: '*' }], outputs: ['*'], values: [] }))
  else if (how === 1) put(between({ type: 'Reroute (rgthree)', inputs: socket(''), outputs: [type], values: [] }))
  else if (how === 2) {
    const name = `variable ${next()}`
    put(
      between({ type: 'SetNode', inputs: socket(type), outputs: [type], values: [name] }),
      between({ type: 'GetNode', inputs: [], outputs: [type], values: [name] }),
    )
  } else if (bypass)
    put(
      between({
        type: bypass,
        mode: 4,
        inputs: socket(type === 'IMAGE' ? 'image' : 'mask'),
        outputs: [type],
        values: [],
      }),
    )
}

/** The editor's file of a graph, its subgraphs beside it. */
function render(root: Graph): JsonObject {
  const subgraphs: JsonObject[] = []
  const bare = (graph: Graph) => {
    const at = (to: number, toSlot: number) => {
      const found = graph.links.findIndex((link) => link.to === to && link.toSlot === toSlot)
      return found < 0 ? null : found + 1
    }
    return graph.nodes.map(({ id, type, mode, inputs, outputs, values, inside, title }): JsonObject => {
      if (inside) {
        const links = inside.links.map(({ from, fromSlot, to, toSlot }, index) => ({
          id: index + 1,
          origin_id: from,
          origin_slot: fromSlot,
          target_id: to,
          target_slot: toSlot,
          type: '*',
        }))
        const nodes = bare(inside)
        subgraphs.push({
          id: type,
          nodes,
          links,
          inputs: inside.inputs.map(({ name, type }) => ({ name, type })),
          outputs: inside.outputs.map((type, slot) => ({ name: `out ${slot}`, type })),
        })
      }
      const sockets = inputs.map(({ name, type, widget }, toSlot) => ({
        name,
        type,
        link: at(id, toSlot),
        ...(widget && { widget: { name } }),
      }))
      const outs = outputs.map((type) => ({ name: type, type }))
      return { id, type, mode, inputs: sockets, outputs: outs, widgets_values: values, ...(title && { title }) }
    })
  }
  const nodes = bare(root)
  const links = root.links.map(({ from, fromSlot, to, toSlot }, index) => [index + 1, from, fromSlot, to, toSlot, '*'])
  return { version: 0.4, nodes, links, definitions: { subgraphs } }
}

const convert = (workflow: JsonObject) =>
  convertWorkflow({ format: 'editor-0.4', editor: workflow, prompt: null }, definitions)

/** Node id → class and inputs, with ids by what `nameOf` says: paths through subgraphs come down to their last part. */
function bare(prompt: Prompt, nameOf = (id: string) => id.split(':').at(-1)!): JsonObject {
  const value = (input: Json): Json =>
    Array.isArray(input) && typeof input[0] === 'string' ? [nameOf(input[0]), input[1]!] : input
  return Object.fromEntries(
    Object.entries(prompt).map(([id, { class_type, inputs }]) => {
      const named = Object.entries(inputs).map(([name, input]) => [name, value(input)])
      return [nameOf(id), { class_type, inputs: Object.fromEntries(named) }]
    }),
  )
}
const losses = ({ problems }: ReturnType<typeof convert>) => problems.filter(({ kind }) => kind === 'loss')

const steps = fc.array(
  fc.record({ what: fc.constantFrom('wrap', 'wrap', 'insert'), at: fc.nat(50), pick: fc.nat(1 << 14), how: fc.nat(3) }),
  { maxLength: 12 },
)

test('folding into subgraphs up to five deep, rerouting, Set and Get, and bypassing change nothing but ids', () => {
  let deepest = 0
  fc.assert(
    fc.property(flatGraphs, steps, (given, steps) => {
      const graph = structuredClone(given)
      const before = convert(render(graph))
      const next = counter()
      for (const { what, at, pick, how } of steps) {
        const places = graphsIn(graph).filter(({ depth }) => depth < 5)
        const { graph: place, depth } = places[at % places.length]!
        if (what === 'insert') {
          const links = place.links.filter(({ to, toSlot }) => {
            // A socket that takes anything passes by place, not by type.
            const target = place.nodes.find(({ id }) => id === to)
            return target !== undefined && !target.inputs[toSlot]?.widget && kinds[target.type]
          })
          if (links.length > 0) insert(place, links[pick % links.length]!, how, next)
        } else {
          const chosen = place.nodes.filter(
            (_, index) => (pick >> index) & 1 && !/etNode$/.test(place.nodes[index]!.type),
          )
          if (chosen.length === 0) continue
          wrap(place, chosen, pick, next())
          deepest = Math.max(deepest, depth + 1)
        }
      }
      const after = convert(render(graph))
      expect(bare(after.prompt)).toEqual(bare(before.prompt))
      expect(losses(before)).toEqual([])
      expect(losses(after)).toEqual([])
    }),
    { numRuns: 600, seed: 7 },
  )
  expect(deepest).toBe(5)
})

test('muting a subgraph is muting all that is in it', () => {
  fc.assert(
    fc.property(flatGraphs, fc.nat(1 << 14), (given, pick) => {
      const graph = structuredClone(given)
      const chosen = graph.nodes.filter((_, index) => (pick >> index) & 1)
      fc.pre(chosen.length > 0)
      const modes = chosen.map(({ mode }) => mode)
      for (const node of chosen) node.mode = 2
      const flat = bare(convert(render(graph)).prompt)
      chosen.forEach((node, index) => {
        node.mode = modes[index]!
      })
      wrap(graph, chosen, pick, 500)
      graph.nodes.at(-1)!.mode = 2
      expect(bare(convert(render(graph)).prompt)).toEqual(flat)
    }),
    { numRuns: 200, seed: 8 },
  )
})

test('a group node of old is what its nodes are on their own', () => {
  fc.assert(
    fc.property(flatGraphs, fc.nat(1 << 14), (graph, pick) => {
      const chosen = graph.nodes.filter((node, index) => (pick >> index) & 1 && node.mode === 0)
      fc.pre(chosen.length > 0)
      const ids = chosen.map(({ id }) => id)
      const flat = bare(convert(render(graph)).prompt)
      const { workflow, nameOf } = grouped(graph, ids)
      const converted = convert(workflow)
      expect(bare(converted.prompt, nameOf)).toEqual(flat)
      expect(losses(converted)).toEqual([])
    }),
    { numRuns: 200, seed: 9 },
  )
})

/** The same graph with some of its nodes as a group node numbered 900. */
function grouped(graph: Graph, ids: number[]) {
  const workflow = render(graph)
  const raw = (workflow.nodes as JsonObject[]).filter(({ id }) => ids.includes(Number(id)))
  const rest = (workflow.nodes as JsonObject[]).filter(({ id }) => !ids.includes(Number(id)))
  const index = (id: number) => ids.indexOf(id)
  const inner = graph.links.filter(({ from, to }) => ids.includes(from) && ids.includes(to))
  const leaving = graph.links.filter(({ from, to }) => ids.includes(from) && !ids.includes(to))
  const external = [...new Set(leaving.map(({ from }) => from))].map((from) => [index(from), 0, '*'])
  const isInner = (id: number, slot: number) => inner.some(({ to, toSlot }) => to === id && toSlot === slot)
  const inputs: JsonObject[] = []
  for (const node of raw) {
    ;(node.inputs as JsonObject[]).forEach((input, slot) => {
      if (isInner(Number(node.id), slot) || (isJsonObject(input.widget) && input.link === null)) return
      inputs.push({ name: `${node.id} ${input.name}`, type: input.type!, link: input.link! })
    })
  }
  const outputs: JsonObject[] = []
  const slots = new Map<number, number>()
  for (const node of raw) {
    const id = Number(node.id)
    const feeding = inner.some(({ from }) => from === id)
    const leaves = leaving.some(({ from }) => from === id)
    if ((node.outputs as Json[]).length === 0 || (feeding && !leaves)) continue
    slots.set(id, outputs.push({ name: `${id}`, type: (node.outputs as JsonObject[])[0]!.type!, links: [] }) - 1)
  }
  const links = (workflow.links as number[][]).flatMap((link) => {
    const [id, from, slot, to, toSlot] = link as [number, number, number, number, number]
    if (ids.includes(from) && ids.includes(to)) return []
    if (ids.includes(from)) return [[id, 900, slots.get(from)!, to, toSlot, '*']]
    return ids.includes(to) ? [[id, from, slot, 900, 0, '*']] : [link]
  })
  const values = raw.flatMap(({ widgets_values }) => widgets_values as Json[])
  // Unlinked widgets are no sockets of the stored inner nodes.
  const stored = raw.map((node) => ({
    ...node,
    inputs: (node.inputs as JsonObject[])
      .filter((input) => !isJsonObject(input.widget) || input.link !== null)
      .map((input) => ({ ...input, link: null })),
  }))
  const slotIn = (id: number, slot: number) => {
    const node = raw.find((one) => Number(one.id) === id)!
    const kept = (node.inputs as JsonObject[]).filter((input) => !isJsonObject(input.widget) || input.link !== null)
    return kept.indexOf((node.inputs as JsonObject[])[slot]!)
  }
  const group = {
    nodes: stored,
    links: inner.map(({ from, fromSlot, to, toSlot }) => [index(from), fromSlot, index(to), slotIn(to, toSlot), '*']),
    external,
  }
  return {
    workflow: {
      ...workflow,
      nodes: [...rest, { id: 900, type: 'workflow>G', mode: 0, inputs, outputs, widgets_values: values }],
      links: links as Json,
      extra: { groupNodes: { G: group } },
    } as JsonObject,
    nameOf: (id: string) => (id.startsWith('900:') ? String(ids[Number(id.slice(4))]) : id),
  }
}

test('a prompt that lost a node, a connection or a value, or connects elsewhere, is told of as a loss', () => {
  const kind = fc.constantFrom('node', 'link', 'other link', 'value')
  let told = 0
  fc.assert(
    fc.property(flatGraphs, fc.nat(1 << 14), kind, fc.nat(100), (given, pick, kind, at) => {
      const graph = structuredClone(given)
      const chosen = graph.nodes.filter((_, index) => (pick >> index) & 1)
      if (chosen.length > 0) wrap(graph, chosen, 1, 500)
      const workflow = render(graph)
      const { prompt, problems } = convert(workflow)
      const document = readEditor(workflow)
      const find = (prompt: Prompt) => unaccounted(document, definitions, prompt, problems)
      expect(find(prompt)).toEqual([])

      const spoiled = structuredClone(prompt)
      const inputs = Object.entries(spoiled).flatMap(([id, node]) =>
        Object.entries(node.inputs).map(([name, value]) => ({ id, name, value, inputs: node.inputs })),
      )
      const ids = Object.keys(spoiled)
      if (kind === 'node') {
        fc.pre(ids.length > 0)
        delete spoiled[ids[at % ids.length]!]
      } else {
        const wanted = inputs.filter(({ id, value, name }) => {
          if (kind !== 'value') return Array.isArray(value) && plain(graph, id, name)
          const fed = graphsIn(graph).some(({ graph }) => graph.links.some(({ to }) => `${to}` === id))
          return typeof value === 'number' && !fed
        })
        fc.pre(wanted.length > 0)
        const { id, name, inputs: there } = wanted[at % wanted.length]!
        if (kind === 'link') delete there[name]
        else if (kind === 'other link') there[name] = [id, 0]
        else {
          // The one shown outside is not compared, since the instance turns it.
          fc.pre(!id.includes(':'))
          there[name] = 12345
        }
      }
      expect(find(spoiled)).not.toEqual([])
      told++
    }),
    { numRuns: 600, seed: 10 },
  )
  expect(told).toBe(600)
})

/** Its connection comes straight from a node that runs; bypassed ones in between are not followed by the count. */
function plain(graph: Graph, path: string, name: string): boolean {
  const all = graphsIn(graph)
  const id = Number(path.split(':').at(-1))
  const place = all.find(({ graph }) => graph.nodes.some((node) => node.id === id))!.graph
  const toSlot = place.nodes.find((node) => node.id === id)!.inputs.findIndex((input) => input.name === name)
  let link = place.links.find((one) => one.to === id && one.toSlot === toSlot)
  let here = place
  while (link?.from === IN) {
    const instance = graph.nodes.find(({ inside }) => inside === here)!
    const slot = link.fromSlot
    here = graph
    link = here.links.find((one) => one.to === instance.id && one.toSlot === slot)
  }
  const from = here.nodes.find((node) => node.id === link?.from)
  if (!from || !link) return false
  if (!from.inside) return from.mode === 0
  const slot = link.fromSlot
  const leaving = from.inside.links.find((one) => one.to === OUT && one.toSlot === slot)
  return from.inside.nodes.find((node) => node.id === leaving?.from)?.mode === 0
}

test('a widget shown through thousands of subgraphs ends', () => {
  const levels = 5000
  const subgraphs = Array.from({ length: levels }, (_, level) => ({
    id: `L${level}`,
    inputs: [{ name: 'width', type: 'INT' }],
    nodes: [
      {
        id: level + 10,
        type: level + 1 < levels ? `L${level + 1}` : 'EmptyImage',
        inputs: [{ name: 'width', type: 'INT', link: 1, widget: { name: 'width' } }],
        widgets_values: [64, 8, 1, 0],
      },
    ],
    links: [{ id: 1, origin_id: -10, origin_slot: 0, target_id: level + 10, target_slot: 0 }],
  }))
  const { prompt } = convert({
    nodes: [{ id: 1, type: 'L0', widgets_values: [640] }],
    links: [],
    definitions: { subgraphs },
  })
  expect(Object.keys(prompt)).toHaveLength(1)
})
