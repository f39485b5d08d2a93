import { isLink, type Link, type NodeDefinition, type ObjectInfo, type Prompt } from '../../contract/comfyui.ts'
import type { Json } from '../../contract/json.ts'
import { definitionOf, inputNamed, inputsOf } from './definitions.ts'

type Side = 'prompt' | 'negative'

/** Inputs that hold text a person wrote, in classes nobody here knows. */
const textInput =
  /^(text|text_[a-z]+|prompt|prompts?_[a-z]+|positive|negative|user_prompt|positive_prompt|negative_prompt|caption|tags|string|value|t5xxl|clip_[lg]|llama)$/i
const spokenInput = /(^|[._])(text_)?prompt(_text)?$|^(negative_prompt|lyrics|text)$/i
const notWritten = /delimiter|separator|find|replace|regex|pattern|filename|prefix|suffix|path|url|^system|model/i

/**
 * `NODE.INPUT` of every text that steers a sampler, and towards which side: walked upstream from each sampler or
 * guider along its conditioning. Text that feeds both counts as the prompt.
 */
export function traceTexts(prompt: Prompt, definitions: ObjectInfo): Map<string, Side> {
  const found = new Map<string, Side>()
  const visited = new Set<string>()
  const waiting: { link: Link; side: Side }[] = []
  for (const [id, { class_type, inputs }] of Object.entries(prompt)) {
    const definition = definitionOf(definitions, class_type)
    if (!endsConditioning(definition, inputs)) continue
    for (const [name, value] of Object.entries(inputs)) {
      if (!isLink(value) || !isConditioning(definition, name, inputs)) continue
      waiting.push({ link: value, side: /neg/i.test(name) ? 'negative' : 'prompt' })
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
    if (class_type === 'ConditioningZeroOut' && side === 'negative') continue
    const definition = definitionOf(definitions, class_type)
    const links = Object.entries(inputs).filter(
      (entry): entry is [string, Link] => isLink(entry[1]) && isConditioning(definition, entry[0], inputs),
    )
    const output = definition?.output_name?.[slot]
    const pair = links.filter(([name]) =>
      definition ? name === output : name === (side === 'prompt' ? 'positive' : side),
    )
    const next = pair.length > 0 ? pair : chosenBranch(class_type, inputs, links)
    for (const [, upstream] of next) waiting.push({ link: upstream, side })
    if (links.length === 0 || definition !== null) collectTexts(id, side)
  }
  for (const [id, { class_type, inputs }] of Object.entries(prompt)) {
    const definition = definitionOf(definitions, class_type)
    if (definition && !outputsConditioning(definition)) collectSpokenTexts(id, definition, inputs)
  }
  return found

  /** Nodes that need no conditioning, such as those of paid services, take their prompts as plain text. */
  function collectSpokenTexts(id: string, definition: NodeDefinition, inputs: Record<string, Json>) {
    for (const [name, value] of Object.entries(inputs)) {
      const input = inputNamed(definition, name, inputs)
      if (input?.type !== 'STRING' || input.options.multiline !== true || !spokenInput.test(name)) continue
      const keys = isLink(value) ? literalsBehind(value, 'STRING', prompt, definitions) : [`${id}.${name}`]
      for (const key of keys) if (!found.has(key)) found.set(key, /neg/i.test(name) ? 'negative' : 'prompt')
    }
  }

  function collectTexts(id: string, side: Side | null) {
    const { class_type, inputs } = prompt[id]!
    const definition = definitionOf(definitions, class_type)
    for (const [name, value] of Object.entries(inputs)) {
      if (!isText(definition, name, value, inputs)) continue
      const towards = side ?? (/neg/i.test(name) ? 'negative' : 'prompt')
      const keys = isLink(value) ? literalsBehind(value, 'STRING', prompt, definitions) : [`${id}.${name}`]
      for (const key of keys) if (found.get(key) !== 'prompt') found.set(key, towards)
    }
  }
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

/** A switch hands on the branch its literal chooses; both when that is decided at run time. */
function chosenBranch(classType: string, inputs: Record<string, Json>, links: [string, Link][]): [string, Link][] {
  if (classType !== 'ComfySwitchNode' || typeof inputs.switch !== 'boolean') return links
  return links.filter(([name]) => name === (inputs.switch ? 'on_true' : 'on_false'))
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
    const [id] = step
    if (visited.has(id) || !Object.hasOwn(prompt, id)) continue
    visited.add(id)
    const { class_type, inputs } = prompt[id]!
    const definition = definitionOf(definitions, class_type)
    const outputs = definition?.output
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
    for (const [name, upstream] of chosenBranch(class_type, inputs, links)) if (carries(name)) waiting.push(upstream)
    for (const [name, value] of Object.entries(inputs)) {
      if (isLink(value) || notWritten.test(name)) continue
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
