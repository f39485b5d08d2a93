import { isLink, type ObjectInfo, type Prompt } from '../../contract/comfyui.ts'
import { isJsonObject, type Json, type JsonObject, writeJson } from '../../contract/json.ts'
import { convertWorkflow } from './convert.ts'
import {
  childrenOf,
  defaultOf,
  definitionOf,
  type InputDefinition,
  inputsOf,
  isDynamicCombo,
  isWidget,
  uploadOf,
  widgetTypeOf,
} from './definitions.ts'
import type { EditorWorkflow } from './editor.ts'
import { drawGraph } from './graph.ts'

/** The editor's nodes are larger than those of our picture of a graph. */
const STRETCH = 1.6
/** Widgets that keep more than their value, or keep it elsewhere. */
const odd = new Set(['IMAGECOMPARE', 'LOAD_3D', 'BOUNDING_BOX'])

/**
 * A workflow with a layout of ours for a prompt that came without one, as the editor would save it; null: none that
 * certainly stands for the same prompt, which the editor then lays out by itself.
 */
export function layOutPrompt(prompt: Prompt, definitions: ObjectInfo): EditorWorkflow | null {
  const ids = Object.keys(prompt)
  if (ids.length === 0 || !ids.every((id) => /^\d{1,9}$/.test(id))) return null
  const { nodes: drawn } = drawGraph({ editor: null } as Parameters<typeof drawGraph>[0], prompt, definitions)
  const links: Json[] = []
  const taken = new Map<string, Map<number, number[]>>()
  const nodes: JsonObject[] = []
  for (const { id, x, y, width, height } of drawn) {
    const { class_type: type, inputs: given, _meta } = prompt[id]!
    const definition = definitionOf(definitions, type)
    const values = definition && valuesOf(inputsOf(definition), given)
    if (!definition || !values) return null
    const inputs = Object.entries(given).flatMap(([name, value]): JsonObject[] => {
      if (!isLink(value)) return []
      const [from, slot] = value
      const origin = definitionOf(definitions, prompt[from]?.class_type ?? '')
      const made = origin?.output[slot]
      const linkType = typeof made === 'string' ? made : '*'
      const link = links.length + 1
      links.push([link, Number(from), slot, Number(id), -1, linkType])
      const slots = taken.get(from) ?? new Map<number, number[]>()
      taken.set(from, slots.set(slot, [...(slots.get(slot) ?? []), link]))
      const isValue = inputsOf(definition).some((input) => input.name === name && isWidget(input))
      return [{ name, type: linkType, link, ...(isValue && { widget: { name } }) }]
    })
    inputs.forEach(({ link }, place) => {
      const row = links[Number(link) - 1] as Json[]
      row[4] = place
    })
    nodes.push({
      id: Number(id),
      type,
      pos: [Math.round(x * STRETCH), Math.round(y * STRETCH)],
      size: [Math.round(width * STRETCH), height],
      flags: {},
      order: nodes.length,
      mode: 0,
      inputs,
      ...(typeof _meta?.title === 'string' && _meta.title !== definition.display_name && { title: _meta.title }),
      properties: { 'Node name for S&R': type },
      widgets_values: values,
    })
  }
  for (const node of nodes) {
    const { output, output_name } = definitionOf(definitions, String(node.type))!
    node.outputs = output.map((made, slot) => ({
      name: output_name?.[slot] ?? String(made),
      type: typeof made === 'string' ? made : 'COMBO',
      links: taken.get(String(node.id))?.get(slot) ?? null,
    }))
  }
  const lastNode = Math.max(...ids.map(Number))
  const workflow: EditorWorkflow = {
    revision: 0,
    last_node_id: lastNode,
    last_link_id: links.length,
    nodes,
    links,
    groups: [],
    config: {},
    extra: {},
    version: 0.4,
  }
  return standsFor(workflow, prompt, definitions) ? workflow : null
}

/** In the order the editor stores them; null: nobody can say how this node stores its values. */
function valuesOf(declared: InputDefinition[], given: Record<string, Json>): Json[] | null {
  const values: Json[] = []
  const take = (input: InputDefinition): boolean => {
    if (!isWidget(input)) return true
    if (odd.has(widgetTypeOf(input)) || isJsonObject(input.options.remote)) return false
    const used = given[input.name]
    const value = used === undefined || isLink(used) ? defaultOf(input) : used
    values.push(isJsonObject(value) && value.__value__ !== undefined ? value.__value__ : value)
    const slots = controlSlots(input)
    if (slots > 0) values.push('fixed')
    if (slots > 1) values.push('')
    return !isDynamicCombo(input) || childrenOf(input, value).every(take)
  }
  if (!declared.filter(({ required }) => required).every(take)) return null
  if (declared.some((input) => input.required && uploadOf(input) !== null)) values.push('image')
  return declared.filter(({ required }) => !required).every(take) ? values : null
}

/** Stored after the value: what the editor does with it after each queueing, and a combo's filter. */
function controlSlots({ type, name, options }: InputDefinition): number {
  const flag = options.control_after_generate
  if (type === 'COMBO') return flag ? 2 : 0
  return type === 'INT' && (flag || (flag === undefined && (name === 'seed' || name === 'noise_seed'))) ? 1 : 0
}

/** The conversion gives back every node, link and value; what the prompt leaves to defaults may be said. */
function standsFor(workflow: EditorWorkflow, prompt: Prompt, definitions: ObjectInfo): boolean {
  const read = { editor: workflow, prompt: null, panels: [], name: '' } as unknown as Parameters<
    typeof convertWorkflow
  >[0]
  const { prompt: again, problems } = convertWorkflow(read, definitions)
  if (problems.some(({ kind }) => kind === 'loss') || Object.keys(again).length !== Object.keys(prompt).length)
    return false
  return Object.entries(prompt).every(([id, { class_type, inputs }]) => {
    const made = again[id]
    if (made?.class_type !== class_type) return false
    return Object.entries(inputs).every(([name, value]) => {
      const same = made.inputs[name]
      return same !== undefined && writeJson(same) === writeJson(value)
    })
  })
}
