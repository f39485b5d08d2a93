import { isLink, type NodeDefinition, type ObjectInfo, type Prompt, type PromptNode } from '../../contract/comfyui.ts'
import { isJsonObject, type Json, writeJson } from '../../contract/json.ts'
import type { Problem } from '../../contract/workflow.ts'
import { definitionOf, inputsOf } from './definitions.ts'
import {
  bypassed,
  type EditorDocument,
  type EditorGraph,
  type EditorNode,
  muted,
  subgraphInput,
  subgraphOutput,
} from './editor.ts'
import { virtualOf } from './flatten.ts'
import { groupNameOf } from './group-node.ts'
import { problem } from './problems.ts'

/** A graph at one place, with the instance it is the inside of. */
interface Place {
  graph: EditorGraph
  path: string
  host: { place: Place; node: EditorNode } | null
}

/**
 * The conversion counted again from the file's side, without its flattening, its resolver and its widgets: each active
 * node is in the prompt, each of its connections leads where a plain walk leads, each value it stores is there; or a
 * problem says why not. What is found here is a fault of the conversion.
 */
export function unaccounted(
  document: EditorDocument,
  definitions: ObjectInfo,
  prompt: Prompt,
  told: readonly Problem[],
): Problem[] {
  const toldInputs = new Set(told.map(({ node, input }) => `${node} ${input ?? ''}`))
  const toldNodes = new Set(told.filter(({ kind }) => kind === 'loss').map(({ node }) => node))
  const toldValues = new Set(told.filter(({ code }) => code.startsWith('values-')).map(({ node }) => node))
  const missing: Problem[] = []
  const kindOf = (node: EditorNode) => virtualOf(node, { definitions, document })
  const waiting: Place[] = [{ graph: document.root, path: '', host: null }]
  for (let place = waiting.pop(); place; place = waiting.pop()) {
    for (const node of place.graph.nodes.values()) {
      const kind = kindOf(node)
      const inside = document.subgraphs.get(node.type)
      const off = node.mode === muted || node.mode === bypassed
      const id = idAt(place, node)
      if (off && !(kind === 'subgraph' && place.host)) continue
      if (inside) {
        if (!holds(place, inside)) waiting.push({ graph: inside, path: id, host: { place, node } })
      } else if (kind === 'subgraph') {
        missing.push(...groupMissing(node, id))
      } else if (kind === null) {
        const made = Object.hasOwn(prompt, id) ? prompt[id] : undefined
        if (made?.class_type === node.type) {
          missing.push(...linksMissing(place, node, made, id), ...valuesMissing(place, node, made, id))
        } else if (!toldNodes.has(id)) {
          missing.push(
            problem('loss', 'node-unaccounted', { title: titleOf(node) }, { node: id, classType: node.type }),
          )
        }
      }
    }
  }
  return missing

  /** The inner nodes of a group node, by their place in it. */
  function groupMissing(node: EditorNode, id: string): Problem[] {
    const group = document.groupNodes.get(groupNameOf(node.type) ?? '')
    const inner = Array.isArray(group?.nodes) ? group.nodes : []
    if (toldNodes.has(id)) return []
    return inner.flatMap((raw, index) => {
      if (!isJsonObject(raw) || typeof raw.type !== 'string' || raw.mode === muted || raw.mode === bypassed) return []
      if (!definitionOf(definitions, raw.type) || Object.hasOwn(prompt, `${id}:${index}`)) return []
      const facts = { title: typeof raw.title === 'string' ? raw.title : raw.type }
      return [problem('loss', 'node-unaccounted', facts, { node: `${id}:${index}`, classType: raw.type })]
    })
  }

  function linksMissing(place: Place, node: EditorNode, { inputs }: PromptNode, id: string): Problem[] {
    return node.inputs.flatMap(({ name, link }) => {
      const from = link === null ? null : walk(place, link)
      if (from === null || toldInputs.has(`${id} ${name}`)) return []
      const value = inputs[name]
      if (isLink(value) && value[0] === from) return []
      return [problem('loss', 'link-unaccounted', { title: titleOf(node), input: name }, about(node, id, name))]
    })
  }

  /** The id of the node a link comes from, over reroutes and the borders of subgraphs; null where it is not plain. */
  function walk(start: Place, first: string): string | null {
    let place = start
    let link = first
    for (let hops = 0; hops < 1000; hops++) {
      const found = place.graph.links.get(link)
      if (!found) return null
      let next: string | null | undefined
      if (found.from === subgraphInput && place.host) {
        const name = place.graph.inputs[found.fromSlot]?.name
        next = place.host.node.inputs.find((input) => input.name === name)?.link
        place = place.host.place
      } else {
        const node = place.graph.nodes.get(found.from)
        if (!node || node.mode === muted || node.mode === bypassed) return null
        const kind = kindOf(node)
        if (kind === null) return idAt(place, node)
        const inside = document.subgraphs.get(node.type)
        if (inside && !holds(place, inside)) {
          place = { graph: inside, path: idAt(place, node), host: { place, node } }
          const leaving = [...inside.links].filter(
            ([, { to, toSlot }]) => to === subgraphOutput && toSlot === found.fromSlot,
          )
          const named = inside.outputs[found.fromSlot]?.links.find((id) => inside.links.has(id))
          next = named ?? leaving[0]?.[0]
        } else if (kind === 'reroute') next = node.inputs[0]?.link
      }
      if (next === null || next === undefined) return null
      link = next
    }
    return null
  }

  /** Stored values that are nowhere in the node's inputs, beyond what links and instances may have replaced. */
  function valuesMissing(place: Place, node: EditorNode, { inputs }: PromptNode, id: string): Problem[] {
    const definition = definitionOf(definitions, node.type)
    const stored = node.raw.widgets_values
    if (!definition || !Array.isArray(stored) || toldValues.has(id) || shapeless.test(node.type)) return []
    const there = new Map<string, number>()
    for (const value of Object.values(inputs)) {
      const key = writeJson(value)
      there.set(key, (there.get(key) ?? 0) + 1)
    }
    const lost = stored.filter((value) => {
      if (value === null || value === '' || words.has(value) || typeof value === 'object') return false
      const key = writeJson(typeof value === 'string' ? value.replace(/^sample_/, '') : value)
      const left = there.get(key) ?? 0
      if (left > 0) there.set(key, left - 1)
      return left === 0
    })
    const links = node.inputs.filter(({ name, link }) => {
      const from = place.graph.nodes.get(place.graph.links.get(link ?? '')?.from ?? '')
      return link !== null && (isLink(inputs[name]) || from?.mode !== muted || kindOf(from) === 'primitive')
    })
    const replaced = links.length + turnedFromOutside(place, node)
    if (lost.length <= replaced + spare(definition)) return []
    const values = lost.map((value) => String(value).slice(0, 60)).join(', ')
    const facts = { title: titleOf(node), values }
    return [problem('loss', 'value-unaccounted', facts, { node: id, classType: node.type })]
  }
}

const idAt = ({ path }: Place, { id }: EditorNode) => (path === '' ? id : `${path}:${id}`)
const titleOf = ({ title, type }: EditorNode) => title ?? type
const about = ({ type }: EditorNode, node: string, input: string) => ({ node, classType: type, input })

function holds(place: Place | undefined, graph: EditorGraph): boolean {
  for (let here = place; here; here = here.host?.place) if (here.graph === graph) return true
  return false
}

/** Stored beside values: what happens to a seed, and what buttons show. */
const words = new Set<Json>([
  ...['fixed', 'increment', 'decrement', 'randomize', 'increment-wrap', 'image', true, false],
  ...['upload3dmodel', 'uploadExtraResources', 'clear', 'refresh', 'capture'],
])
/** Classes whose widgets a script makes. */
const shapeless = /^CustomCombo$|\(rgthree\)$/

/** Widgets that an instance around may turn without a connection. */
function turnedFromOutside({ host }: Place, node: EditorNode): number {
  const proxies = writeJson(host?.node.properties.proxyWidgets ?? [])
  return proxies.split(writeJson(node.id)).length - 1 + (proxies.includes('\\"') ? 100 : 0)
}

/** Values a class may store that are no inputs of their own: a filter's text, the sides of a box, sockets of old. */
function spare(definition: NodeDefinition): number {
  return inputsOf(definition).reduce((sum, { type, options }) => {
    if (type === 'IMAGECOMPARE') return sum + 100
    if (type === 'BOUNDING_BOX') return sum + 4
    if (type === 'COMBO' && options.control_after_generate) return sum + 1
    return options.forceInput === true || options.audio_upload === true ? sum + 1 : sum
  }, 0)
}
