import type { Prompt } from '../../contract/comfyui.ts'
import { isJsonObject, type Json } from '../../contract/json.ts'
import type { Problem } from '../../contract/workflow.ts'
import type { EditorInput, EditorNode } from './editor.ts'
import { type Context, type Flat, type FlatNode, pathOf, type Source, sourceOf } from './flatten.ts'
import { problem } from './problems.ts'
import { safePattern } from './safe-pattern.ts'

/** What a broadcasting node offers to open inputs of its graph. */
interface Offer {
  from: string
  slot: number
  type: string
  /** Names of inputs and titles of nodes it is for; null: any. */
  inputs: RegExp | null
  titles: RegExp | null
  priority: number
  context: Context
  title: string
  id: string
}

/**
 * cg-use-everywhere: connects by type what has no line in the picture. The highest priority wins, as in the pack; of
 * two alike neither is taken, and that is a loss, as is whatever is restricted to groups or colours.
 */
export function broadcast(flat: Flat, nodes: FlatNode[], prompt: Prompt, memo: Map<string, Source>): Problem[] {
  const problems: Problem[] = []
  const offers = flat.broadcasters.flatMap(({ node, context }) => {
    const made = offersOf(node, context, flat, memo)
    if (typeof made !== 'string') return made
    const facts = { title: node.title ?? node.type, reason: made }
    problems.push(
      problem('loss', 'use-everywhere-unclear', facts, { node: pathOf(context, node), classType: node.type }),
    )
    return []
  })
  if (offers.length === 0) return problems
  const filled = new Map<Offer, string[]>()
  for (const one of nodes) {
    if (flat.broadcasters.some(({ node }) => node === one.node)) continue
    const inputs = prompt[one.id]!.inputs
    for (const input of one.node.inputs) {
      if (input.link !== null || !isOpen(one.node, input)) continue
      const name = labelOf(one.node, input).slice(0, maxText)
      const title = (one.node.title ?? nameOf(one.node)).slice(0, maxText)
      const fitting = offers.filter(
        (offer) =>
          offer.context === one.context &&
          offer.type === input.type &&
          offer.from !== one.id &&
          (offer.inputs?.test(name) ?? true) &&
          (offer.titles?.test(title) ?? true),
      )
      const highest = Math.max(...fitting.map(({ priority }) => priority))
      const best = fitting.filter(({ priority }) => priority === highest)
      const [offer] = best
      if (!offer) continue
      if (best.some(({ from, slot }) => from !== offer.from || slot !== offer.slot)) {
        const reason = `several nodes offer ${offer.type} to ${input.name} of ${title}`
        const at = { node: one.id, classType: one.node.type, input: input.name }
        problems.push(problem('loss', 'use-everywhere-unclear', { title: offer.title, reason }, at))
        continue
      }
      inputs[input.name] = [offer.from, offer.slot]
      filled.set(offer, [...(filled.get(offer) ?? []), `${title}.${input.name}`])
    }
  }
  for (const [{ id, title }, names] of filled)
    problems.push(problem('warning', 'use-everywhere', { title, inputs: names.join(', ') }, { node: id }))
  return problems
}

/** What a node broadcasts; a string says why that cannot be followed. */
function offersOf(node: EditorNode, context: Context, flat: Flat, memo: Map<string, Source>): Offer[] | string {
  const { properties } = node
  const rules = isJsonObject(properties.ue_properties) ? properties.ue_properties : {}
  const restricted = [properties, rules].some((one) =>
    ['group_restricted', 'color_restricted'].some((key) => Number(one[key] ?? 0) > 0),
  )
  if (restricted) return 'it is restricted to groups or colours'
  const known = new Set(['version', 'title_regex', 'input_regex', 'prompt_regexes', 'next_input_index'])
  const unknown = Object.entries(rules).find(
    ([key, value]) => !known.has(key) && !/^(widget_ue_connectable|input_ue_unconnectable)$/.test(key) && isSet(value),
  )
  if (unknown) return `its rule ${unknown[0]} is not known here`
  const boost = Number(properties.priority_boost ?? 0) || 0
  const base = { context, title: node.title ?? node.type, id: pathOf(context, node) }
  if (node.type === 'Seed Everywhere')
    return [{ ...base, from: base.id, slot: 0, type: 'INT', inputs: /seed/, titles: null, priority: 5 + boost }]

  const values = Array.isArray(node.raw.widgets_values) ? node.raw.widgets_values : []
  const some = node.type === 'Anything Everywhere?'
  const titles = pattern(some ? values[0] : rules.title_regex)
  const names = pattern(some ? values[1] : rules.input_regex)
  if (titles === undefined || names === undefined) return 'it is restricted by a pattern that is not plain'
  const prompts = node.type === 'Prompts Everywhere' ? [/^prompt|^positive/, /neg/] : []
  const priority = boost + (some ? 10 : prompts.length > 0 ? 5 : node.type === 'Anything Everywhere3' ? 0 : 2)
  const offers: Offer[] = []
  for (const [index, input] of node.inputs.filter(({ widget }) => widget === null).entries()) {
    const source = sourceOf(context, node, input, flat, memo)
    if (source.is !== 'link') continue
    const link = context.graph.links.get(input.link ?? '')
    const type = [source.type, link?.type, input.type].find(
      (one) => typeof one === 'string' && one !== '*' && one !== '',
    )
    if (typeof type !== 'string') return 'the type of what it sends is not known'
    offers.push({
      ...base,
      from: source.id,
      slot: source.slot,
      type,
      inputs: prompts[index] ?? names,
      titles,
      priority,
    })
  }
  return offers
}

/** Of a name, so much is held against a pattern. */
const maxText = 100

const isSet = (value: Json) => value !== null && value !== '' && value !== 0 && value !== false
const nameOf = ({ properties, type }: EditorNode) => {
  const name = properties['Node name for S&R']
  return typeof name === 'string' && name !== '' ? name : type
}

/** The label a person sees on a socket, else its name. */
function labelOf({ raw }: EditorNode, { name }: EditorInput): string {
  const sockets = Array.isArray(raw.inputs) ? raw.inputs.filter(isJsonObject) : []
  const label = sockets.find((socket) => socket.name === name)?.label
  return typeof label === 'string' && label !== '' ? label : name
}

/** A widget takes nothing that is broadcast, unless the person allowed it. */
function isOpen({ properties }: EditorNode, { name, widget }: EditorInput): boolean {
  if (properties.rejects_ue_links === true) return false
  const rules = isJsonObject(properties.ue_properties) ? properties.ue_properties : {}
  const says = (key: string) =>
    [properties[key], rules[key]].some((names) => isJsonObject(names) && names[name] === true)
  return widget === null ? !says('input_ue_unconnectable') : says('widget_ue_connectable')
}

/** null: any text; undefined: a pattern that might not end. */
const pattern = (text: Json | undefined): RegExp | null | undefined =>
  text === undefined || text === null || text === '' || text === '.*' ? null : (safePattern(text) ?? undefined)
