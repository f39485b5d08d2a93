import { isLink, type Link, type NodeDefinition, type ObjectInfo, type Prompt } from '../../contract/comfyui.ts'
import type { Json } from '../../contract/json.ts'
import { definitionOf, inputNamed, inputsOf } from './definitions.ts'

type Side = 'prompt' | 'negative'
/** The text of a second condition is a prompt of its own, unless it is also the negative one. */
type Towards = Side | 'second'
const weight: Readonly<Record<Towards, number>> = { second: 0, negative: 1, prompt: 2 }

/** Inputs that hold text a person wrote, in classes nobody here knows. */
const textInput =
  /^(text\d*|text_[a-z]+|prompt\d*|prompts?_[a-z]+|(positive|negative)(_[a-z]+)?|user_prompt|wildcard_text|caption|tags|string\d*|value|t5xxl|clip_[lg]|llama)$/i
/** The same where nothing leads to a sampler that anybody here knows: only what can hardly mean anything else. */
const plainly = /^((text_)?(positive|negative)(_prompt|_text|_[gl])?|wildcard_text|prompt)$/i
const spokenInput = /(^|[._])(text_)?prompt(_text)?$|^(negative_prompt|lyrics|text)$/i
const notWritten =
  /delimiter|separator|find|replace|regex|pattern|expression|json|filename|prefix|suffix|path|url|(^|[._])(system|structured)_|model/i
/** How authors call the text that tells a language model what to do with the prompt. */
const instruction = /system|instruction|rewrite|prompt.?template|系统|指令/i

/**
 * `NODE.INPUT` of every text that steers a sampler, and towards which side: walked upstream from each sampler or
 * guider along its conditioning. Text that feeds both counts as the prompt; instructions to a language model do not
 * where there is another.
 */
export function traceTexts(prompt: Prompt, definitions: ObjectInfo): Map<string, Side> {
  const found = new Map<string, Towards>()
  const visited = new Set<string>()
  const waiting: { link: Link; side: Towards }[] = []
  for (const [id, { class_type, inputs }] of Object.entries(prompt)) {
    const definition = definitionOf(definitions, class_type)
    if (!endsConditioning(definition, inputs)) continue
    for (const [name, value] of Object.entries(inputs)) {
      if (!isLink(value) || !isConditioning(definition, name, inputs)) continue
      waiting.push({ link: value, side: /neg/i.test(name) ? 'negative' : name === 'cond2' ? 'second' : 'prompt' })
    }
    if (definition === null && 'sampler_name' in inputs) collectTexts(id, null)
  }
  for (let step = waiting.pop(); step; step = waiting.pop()) {
    const { link, side } = step
    const [id, slot] = link
    const key = `${side} ${id} ${slot}`
    if (visited.has(key) || !Object.hasOwn(prompt, id)) continue
    visited.add(key)
    const { class_type, inputs } = prompt[id]!
    // An empty condition: the text behind it is the other side's.
    if (class_type === 'ConditioningZeroOut' && side !== 'prompt') continue
    const definition = definitionOf(definitions, class_type)
    const links = Object.entries(inputs).filter(
      (entry): entry is [string, Link] => isLink(entry[1]) && isConditioning(definition, entry[0], inputs),
    )
    const output = definition?.output_name?.[slot]
    const pair = links.filter(([name]) =>
      definition ? name === output : name === (side === 'negative' ? side : 'positive'),
    )
    // A node that hands on both sides says by the output's name which one this is.
    const towards = pair.length > 0 && output === 'negative' && side === 'second' ? 'negative' : side
    for (const [, upstream] of pair.length > 0 ? pair : liveLinks(class_type, inputs, prompt, links))
      waiting.push({ link: upstream, side: towards })
    if (links.length === 0 || definition !== null) collectTexts(id, side)
  }
  for (const [id, { class_type, inputs }] of Object.entries(prompt)) {
    const definition = definitionOf(definitions, class_type)
    if (definition && !outputsConditioning(definition)) collectSpokenTexts(id, definition, inputs)
  }
  if (![...found.values()].includes('prompt')) {
    for (const [id, { class_type, inputs }] of Object.entries(prompt)) {
      if (definitionOf(definitions, class_type) !== null) continue
      for (const [name, value] of Object.entries(inputs)) {
        if (!plainly.test(name) || (typeof value !== 'string' && !isLink(value))) continue
        const keys = isLink(value) ? literalsBehind(value, 'STRING', prompt, definitions) : [`${id}.${name}`]
        for (const key of keys) if (!found.has(key)) found.set(key, /neg/i.test(name) ? 'negative' : 'prompt')
      }
    }
  }
  const told = [...found].map(([key, side]): [string, Side] => [key, side === 'second' ? 'prompt' : side])
  const isInstruction = ([key]: [string, Side]) =>
    instruction.test(titleOf(prompt, definitions, key.slice(0, key.indexOf('.'))))
  const written = new Set(told.filter((each) => !isInstruction(each)).map(([, side]) => side))
  return new Map(told.filter((each) => !written.has(each[1]) || !isInstruction(each)))

  /** Nodes that need no conditioning, such as those of paid services, take their prompts as plain text. */
  function collectSpokenTexts(id: string, definition: NodeDefinition, inputs: Record<string, Json>) {
    for (const [name, value] of Object.entries(inputs)) {
      const input = inputNamed(definition, name, inputs)
      if (input?.type !== 'STRING' || input.options.multiline !== true) continue
      if (!spokenInput.test(name) || /(^|[._])(system|structured)_/i.test(name)) continue
      const keys = isLink(value) ? literalsBehind(value, 'STRING', prompt, definitions) : [`${id}.${name}`]
      for (const key of keys) if (!found.has(key)) found.set(key, /neg/i.test(name) ? 'negative' : 'prompt')
    }
  }

  function collectTexts(id: string, side: Towards | null) {
    const { class_type, inputs } = prompt[id]!
    const definition = definitionOf(definitions, class_type)
    const texts = Object.entries(inputs).filter(([name, value]) => isText(definition, name, value, inputs))
    const both = texts.some(([name]) => /neg/i.test(name)) && texts.some(([name]) => !/neg/i.test(name))
    for (const [name, value] of texts) {
      if (definition === null && isLink(value) && /^(positive|negative)$/.test(name)) continue // conditions, not texts
      const named = /neg/i.test(name) ? 'negative' : 'prompt'
      const keys = isLink(value) ? literalsBehind(value, 'STRING', prompt, definitions) : [`${id}.${name}`]
      const isPair = keys.some(isNegative) && !keys.every(isNegative) // one node gives both
      for (const key of keys) {
        const towards = isPair ? (isNegative(key) ? 'negative' : 'prompt') : both || side === null ? named : side
        const known = found.get(key)
        if (known === undefined || weight[towards] > weight[known]) found.set(key, towards)
      }
    }
  }
}

const isNegative = (key: string) => /neg/i.test(key.slice(key.indexOf('.')))

/** What the author calls a node; empty where it is only called what every such node is. */
export function titleOf(prompt: Prompt, definitions: ObjectInfo, id: string): string {
  const node = prompt[id]
  const title = String(node?._meta?.title ?? '').trim()
  if (!node || title === node.class_type || title === definitionOf(definitions, node.class_type)?.display_name)
    return ''
  return title
}

const outputsConditioning = (definition: NodeDefinition) => definition.output.includes('CONDITIONING')

/** A node that takes conditioning and gives something else: a sampler, a guider. */
function endsConditioning(definition: NodeDefinition | null, inputs: Record<string, Json>): boolean {
  if (definition) {
    return !outputsConditioning(definition) && inputsOf(definition).some(({ type }) => type === 'CONDITIONING')
  }
  return (
    isLink(inputs.positive) &&
    isLink(inputs.negative) &&
    ['sampler_name', 'steps', 'cfg', 'seed', 'latent_image'].some((name) => name in inputs)
  )
}

function isConditioning(definition: NodeDefinition | null, name: string, inputs: Record<string, Json>): boolean {
  if (!definition) return /cond|positive|negative/i.test(name)
  const input = inputNamed(definition, name, inputs)
  if (!input) return false
  if (input.type === '*' || input.type.includes('COMFY_'))
    return outputsConditioning(definition) || isSwitch(definition)
  return input.type.split(',').includes('CONDITIONING')
}
const isSwitch = ({ output }: NodeDefinition) => output.includes('COMFY_MATCHTYPE_V3') || output.includes('*')

/** Whether a switch is on: as its own literal says, or a boolean primitive it is linked to; null: decided at run time. */
function switchSide(value: Json | undefined, prompt: Prompt): { on: boolean; key: string | null } | null {
  if (typeof value === 'boolean') return { on: value, key: null }
  if (!isLink(value ?? null)) return null
  const [id] = value as Link
  const node = Object.hasOwn(prompt, id) ? prompt[id]! : null
  if (!node || !/primitive|boolean/i.test(node.class_type) || typeof node.inputs.value !== 'boolean') return null
  return { on: node.inputs.value, key: `${id}.value` }
}
const isSwitchNode = (classType: string) => classType === 'ComfySwitchNode'

/** `NODE.INPUT` of the booleans that decide which branch of a graph is taken. */
export function switchKeys(prompt: Prompt): Set<string> {
  const keys = new Set<string>()
  for (const [id, { class_type, inputs }] of Object.entries(prompt)) {
    const side = isSwitchNode(class_type) ? switchSide(inputs.switch, prompt) : null
    if (side) keys.add(side.key ?? `${id}.switch`)
  }
  return keys
}

/** A switch hands on the branch it is set to; both when that is decided at run time. */
function liveLinks(classType: string, inputs: Record<string, Json>, prompt: Prompt, links: [string, Link][]) {
  const side = isSwitchNode(classType) ? switchSide(inputs.switch, prompt) : null
  return side ? links.filter(([name]) => name === (side.on ? 'on_true' : 'on_false')) : links
}

/** The branches of a switch that stand behind a link, the one it is set to first; none where it leads to no switch. */
export function branchesOf([id]: Link, prompt: Prompt): Link[] {
  const node = Object.hasOwn(prompt, id) ? prompt[id]! : null
  if (!node || !isSwitchNode(node.class_type)) return []
  const { on_true, on_false, switch: value } = node.inputs
  const branches = switchSide(value, prompt)?.on ? [on_true, on_false] : [on_false, on_true]
  return branches.filter((branch) => branch !== undefined && isLink(branch)) as Link[]
}

/** The nodes whose work reaches something that is kept, as the switches stand. */
export function liveNodes(prompt: Prompt, definitions: ObjectInfo): Set<string> {
  const linked = new Set(
    Object.values(prompt).flatMap(({ inputs }) =>
      Object.values(inputs).flatMap((value) => (isLink(value) ? value[0] : [])),
    ),
  )
  const waiting = Object.entries(prompt).flatMap(([id, { class_type }]) => {
    const definition = definitionOf(definitions, class_type)
    return (definition ? definition.output_node === true : !linked.has(id)) ? [id] : []
  })
  if (waiting.length === 0) return new Set(Object.keys(prompt))
  const live = new Set<string>()
  for (let id = waiting.pop(); id !== undefined; id = waiting.pop()) {
    if (live.has(id) || !Object.hasOwn(prompt, id)) continue
    live.add(id)
    const { class_type, inputs } = prompt[id]!
    const links = Object.entries(inputs).filter((entry): entry is [string, Link] => isLink(entry[1]))
    const taken = liveLinks(class_type, inputs, prompt, links)
    if (isLink(inputs.switch ?? null)) taken.push(['switch', inputs.switch as Link])
    for (const [, [upstream]] of taken) waiting.push(upstream)
  }
  return live
}

function isText(definition: NodeDefinition | null, name: string, value: Json, inputs: Record<string, Json>): boolean {
  if (notWritten.test(name)) return false
  const input = definition ? inputNamed(definition, name, inputs) : null
  if (input) {
    if (input.type !== 'STRING') return false
    return input.options.multiline === true || input.options.dynamicPrompts === true || textInput.test(name)
  }
  return definition === null && textInput.test(name) && (typeof value === 'string' || isLink(value))
}

const plainTypes = new Set(['INT', 'FLOAT', 'STRING', 'BOOLEAN', 'COMBO', '*'])

/** `NODE.INPUT` of the literals a linked value comes from: through primitives, switches, concatenations. */
export function literalsBehind(link: Link, type: string, prompt: Prompt, definitions: ObjectInfo): string[] {
  const keys: string[] = []
  const visited = new Set<string>()
  const waiting: Link[] = [link]
  for (let step = waiting.pop(); step; step = waiting.pop()) {
    const [id, slot] = step
    if (visited.has(id) || !Object.hasOwn(prompt, id)) continue
    visited.add(id)
    const { class_type, inputs } = prompt[id]!
    const definition = definitionOf(definitions, class_type)
    const outputs = definition?.output
    const same = definition?.output_name?.[slot] // handed on as it came in
    if (type !== 'STRING' && same !== undefined && Object.hasOwn(inputs, same)) {
      const given = inputs[same]!
      if (isLink(given)) waiting.push(given)
      else keys.push(`${id}.${same}`)
      continue
    }
    if (
      outputs &&
      !outputs.some(
        (output) =>
          typeof output !== 'string' || plainTypes.has(output) || output === type || output.startsWith('COMFY_'),
      )
    ) {
      continue // it is made of something else: a picture, a model
    }
    const links = Object.entries(inputs).filter((entry): entry is [string, Link] => isLink(entry[1]))
    const carries = (name: string) => {
      const input = definition ? inputNamed(definition, name, inputs) : null
      return input === null
        ? definition === null
        : input.type === type || input.type === '*' || input.type.startsWith('COMFY_')
    }
    for (const [name, upstream] of liveLinks(class_type, inputs, prompt, links))
      if (carries(name)) waiting.push(upstream)
    const isTemplate = isLink(inputs.replace ?? null) // the text comes in by what is replaced
    for (const [name, value] of Object.entries(inputs)) {
      if (isLink(value) || notWritten.test(name) || isTemplate) continue
      const input = definition ? inputNamed(definition, name, inputs) : null
      const isString = type === 'STRING'
      const fits = input
        ? input.type === type &&
          (!isString || input.options.multiline === true || textInput.test(name) || /^string_/.test(name))
        : isString && typeof value === 'string' && textInput.test(name)
      if (fits) keys.push(`${id}.${name}`)
    }
  }
  return keys
}
