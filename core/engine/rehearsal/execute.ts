import { createHash } from 'node:crypto'
import { isLink, type NodeDefinition, type NodeId, type ObjectInfo, type Prompt } from '../../contract/comfyui.ts'
import { type Json, writeJson } from '../../contract/json.ts'
import { carryOut, type Given, type NodeContext, type NodeResult, type Thing } from './nodes.ts'

/** The prompt was interrupted at a node. */
export class Interrupted extends Error {}

export interface Tools {
  definitions: ObjectInfo
  inputFile(name: string): string
  save: NodeContext['save']
  texts(): Record<string, string>
  /** Throws Interrupted, NodeFailure; told at each node's start and each sampler step. */
  at(node: NodeId, moment: 'start' | 'step' | 'saved'): Promise<void>
  send(type: string, data: Record<string, Json>): void
  /** Whether somebody asked for pictures of what is being sampled. */
  previews: boolean
  preview(node: NodeId, jpeg: Buffer): void
  /** Changes when a file of the input folder does. */
  inputMark(name: string): string
}
export interface Executed {
  ui: Record<NodeId, Record<string, Json>>
  executed: NodeId[]
}
interface Kept {
  mark: string
  result: NodeResult
}
const MOST_TOLD = 300
/** Results of the last prompt, by node. */
export type Cache = Map<NodeId, Kept>

/** Runs the outputs of a prompt and what they need, telling it as ComfyUI does. `cache` is read and renewed. */
export async function execute(
  prompt: Prompt,
  outputs: readonly NodeId[],
  tools: Tools,
  cache: Cache,
): Promise<Executed> {
  const upstream = upstreamOf(prompt, outputs)
  const marks = marksOf(prompt, upstream, tools)
  const wanted = wantedIn(prompt, tools.definitions)
  const known = new Map([...cache].filter(([id, { mark }]) => marks.get(id) === mark))
  cache.clear()
  for (const [id, kept] of known) cache.set(id, kept)
  tools.send('execution_cached', { nodes: upstream.filter((id) => known.has(id)) })

  const progress = new Map<NodeId, Record<string, Json>>()
  const tellProgress = (node: NodeId, value: number, max: number, state: string) => {
    const about = { node_id: node, display_node_id: node, parent_node_id: null, real_node_id: node }
    progress.set(node, { value, max, state, ...about })
    // all that is not pending; of a huge graph only the newest, since every frame repeats them
    if (progress.size > MOST_TOLD) progress.delete(progress.keys().next().value!)
    tools.send('progress_state', { nodes: Object.fromEntries(structuredClone(progress)) })
  }
  const done: Executed = { ui: {}, executed: [] }
  for (const id of orderOf(prompt, outputs, tools.definitions, known)) {
    const node = prompt[id]!
    const kept = known.get(id)
    if (kept) {
      if (tools.definitions[node.class_type]?.output_node) {
        tools.send('executed', { node: id, display_node: id, output: kept.result.ui ?? null })
        if (kept.result.ui) done.ui[id] = kept.result.ui
      }
      tellProgress(id, 1, 1, 'finished')
      continue
    }
    tellProgress(id, 0, 1, 'running')
    tools.send('executing', { node: id, display_node: id })
    await tools.at(id, 'start')
    const definition = tools.definitions[node.class_type]!
    const result = await carryOut({
      classType: node.class_type,
      definition,
      inputs: inputsOf(prompt, id, definition, cache),
      wanted: wanted.get(id) ?? [],
      inputFile: tools.inputFile,
      save: tools.save,
      texts: tools.texts,
      async step(value, max, preview) {
        await tools.at(id, 'step')
        tellProgress(id, value, max, 'running')
        if (tools.previews) tools.preview(id, await preview())
        tools.send('progress', { value, max, node: id })
      },
    })
    if (result.ui) {
      await tools.at(id, 'saved')
      tools.send('executed', { node: id, display_node: id, output: result.ui })
      done.ui[id] = result.ui
    }
    cache.set(id, { mark: marks.get(id)!, result })
    done.executed.push(id)
    const { max = 1 } = progress.get(id) ?? {}
    tellProgress(id, Number(max), Number(max), 'finished')
  }
  return done
}

/**
 * The order in which ComfyUI runs them: of the nodes that may run, an output first, then one an output waits for, so that
 * a person sees something early (comfy_execution/graph.py). What is known already stands in nobody's way.
 */
function orderOf(
  prompt: Prompt,
  outputs: readonly NodeId[],
  definitions: ObjectInfo,
  known: ReadonlyMap<NodeId, unknown>,
): NodeId[] {
  const waitsFor = new Map<NodeId, number>() // in the order the server comes across them
  const holdsUp = new Map<NodeId, Set<NodeId>>()
  for (const output of outputs) {
    const stack = [output]
    const links: [from: NodeId, to: NodeId][] = []
    while (stack.length > 0) {
      const id = stack.pop()!
      if (waitsFor.has(id)) continue
      waitsFor.set(id, 0)
      holdsUp.set(id, new Set())
      for (const value of Object.values(prompt[id]!.inputs)) {
        if (!isLink(value) || known.has(value[0])) continue
        stack.push(value[0])
        links.push([value[0], id])
      }
    }
    for (const [from, to] of links) {
      if (holdsUp.get(from)!.has(to)) continue
      holdsUp.get(from)!.add(to)
      waitsFor.set(to, waitsFor.get(to)! + 1)
    }
  }
  const isOutput = (id: NodeId) => definitions[prompt[id]!.class_type]?.output_node === true
  const holdsOutput = (id: NodeId) => [...holdsUp.get(id)!].some(isOutput)
  const order: NodeId[] = []
  while (waitsFor.size > 0) {
    const ready = [...waitsFor].filter(([, count]) => count === 0).map(([id]) => id)
    const next =
      ready.find(isOutput) ??
      ready.find(holdsOutput) ??
      ready.find((id) => [...holdsUp.get(id)!].some(holdsOutput)) ??
      ready[0]!
    waitsFor.delete(next)
    for (const id of holdsUp.get(next)!) waitsFor.set(id, waitsFor.get(id)! - 1)
    order.push(next)
  }
  return order
}

/** The outputs and all they need, what is needed first. */
function upstreamOf(prompt: Prompt, outputs: readonly NodeId[]): NodeId[] {
  const order: NodeId[] = []
  const seen = new Set<NodeId>()
  // an own stack: a chain of ten thousand nodes is deeper than the language's
  const stack = outputs.map((id) => ({ id, entered: false }))
  while (stack.length > 0) {
    const { id, entered } = stack.pop()!
    if (entered) order.push(id)
    else if (!seen.has(id)) {
      seen.add(id)
      stack.push({ id, entered: true })
      for (const value of Object.values(prompt[id]!.inputs))
        if (isLink(value) && !seen.has(value[0])) stack.push({ id: value[0], entered: false })
    }
  }
  return order
}

/** What each node's result depends on: its class, its literals, its files, and all before it. */
function marksOf(prompt: Prompt, order: readonly NodeId[], tools: Tools): Map<NodeId, string> {
  const marks = new Map<NodeId, string>()
  for (const id of order) {
    const { class_type, inputs } = prompt[id]!
    const parts = Object.entries(inputs)
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, value]) => {
        if (isLink(value)) return [name, marks.get(value[0]) ?? '', value[1]]
        return [
          name,
          value,
          typeof value === 'string' && /^(image|video|audio|file)$/.test(name) ? tools.inputMark(value) : '',
        ]
      })
    marks.set(
      id,
      createHash('sha256')
        .update(writeJson([class_type, parts]))
        .digest('hex'),
    )
  }
  return marks
}

function inputsOf(prompt: Prompt, id: NodeId, definition: NodeDefinition, cache: Cache): Given {
  const specs = { ...definition.input.required, ...definition.input.optional }
  const given: Given = {}
  for (const [name, value] of Object.entries(prompt[id]!.inputs)) {
    if (isLink(value)) {
      const thing: Thing | undefined = cache.get(value[0])?.result.things[value[1]]
      if (thing) given[name] = thing
    } else {
      const type = specs[name]?.[0]
      given[name] = { kind: typeof type === 'string' ? type : 'COMBO', literal: value }
    }
  }
  return given
}

/** The types that the nodes after each node want of its outputs. */
function wantedIn(prompt: Prompt, definitions: ObjectInfo): Map<NodeId, string[]> {
  const wanted = new Map<NodeId, string[]>()
  for (const node of Object.values(prompt))
    for (const [name, value] of Object.entries(node.inputs)) {
      if (!isLink(value)) continue
      const { required, optional } = definitions[node.class_type]?.input ?? {}
      const type = (required?.[name] ?? optional?.[name])?.[0]
      if (typeof type !== 'string' || type === '*') continue
      const types = wanted.get(value[0]) ?? []
      types[value[1]] ??= type.split(',')[0]!
      wanted.set(value[0], types)
    }
  return wanted
}
