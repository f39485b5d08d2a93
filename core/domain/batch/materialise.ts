import type { Values } from '../../contract/batch.ts'
import type { Prompt } from '../../contract/comfyui.ts'
import { isJsonObject, type Json, type JsonObject, writeJson } from '../../contract/json.ts'
import type { Parameter } from '../../contract/workflow.ts'
import { expandChoices, replaceTokens, stripComments } from '../workflow/text.ts'
import { chanceOf } from './chance.ts'
import { isSeed } from './expand.ts'

export interface Materialised {
  readonly prompt: Prompt
  /** The value of every seed, by parameter key. */
  readonly seeds: Record<string, Json>
  /** Parameter key → the text sent, where text magic changed it. */
  readonly chosenText: Record<string, string>
}

interface Occasion {
  /** The batch's; with `index` it decides everything that is left to chance. */
  readonly chance: number
  readonly index: number
  readonly textMagic: boolean
  /** What `%date:…%` says: when the batch was queued. */
  readonly now: Date
}

/** The prompt of one job, always the same for the same job. `base` is not changed, and what no value touches is shared. */
export function materialise(
  base: Prompt,
  overrides: Values,
  parameters: readonly Parameter[],
  { chance, index, textMagic, now }: Occasion,
): Materialised {
  const valued = withOverrides(base, overrides, parameters)
  const chosenText = textMagic ? chooseTexts(valued, parameters, chance, index) : {}
  let prompt = valued
  if (textMagic) {
    prompt = withOverrides(prompt, chosenText, [])
    prompt = withOverrides(prompt, namedFiles(prompt, now), [])
  }
  const seeds: Record<string, Json> = {}
  for (const parameter of parameters) {
    const value = isSeed(parameter) ? prompt[parameter.node]?.inputs[parameter.input] : undefined
    if (value !== undefined && !Array.isArray(value)) seeds[parameter.key] = value
  }
  return { prompt, seeds, chosenText }
}

/** By parameter key: texts of which choices such as `{warm|cold}` or comments make something else. */
export function chooseTexts(
  prompt: Prompt,
  parameters: readonly Parameter[],
  chance: number,
  index: number,
): Record<string, string> {
  const texts: Record<string, string> = {}
  for (const { key, node, input, dynamicPrompts } of parameters) {
    const text = dynamicPrompts ? prompt[node]?.inputs[input] : undefined
    if (typeof text !== 'string') continue
    const chosen = expandChoices(stripComments(text), chanceOf(chance, index, 'text', key))
    if (chosen !== text) texts[key] = chosen
  }
  return texts
}

/** An input of a node, or one `{{mark}}` in its text. */
interface Place {
  readonly node: string
  readonly input: string
  readonly mark?: string
}

/** `NODE.INPUT`, or `NODE.INPUT{{mark}}`. */
function placeOf(key: string): Place {
  const [, before = key, mark] = /^(.*?)\{\{(.*)\}\}$/s.exec(key) ?? []
  const dot = before.indexOf('.')
  return { node: before.slice(0, dot), input: before.slice(dot + 1), mark }
}

/** Everywhere a parameter's value goes. */
export const placesOf = ({ key, node, input, also = [] }: Parameter): Place[] => [
  { ...placeOf(key), node, input },
  ...also.map(placeOf),
]

/** `prompt` with these values, by parameter key; nodes they do not touch are the same objects. */
export function withOverrides(prompt: Prompt, values: Values, parameters: readonly Parameter[]): Prompt {
  const keys = Object.keys(values)
  if (keys.length === 0) return prompt
  const wanted = new Set(keys)
  const known = new Map(parameters.flatMap((it) => (wanted.has(it.key) ? [[it.key, placesOf(it)]] : [])))
  const changed: Prompt = { ...prompt }
  const inputsAt = (id: string) => {
    const node = changed[id]
    if (node && node === prompt[id]) changed[id] = { ...node, inputs: { ...node.inputs } }
    return changed[id]?.inputs
  }
  const put = ({ node, input }: Place, value: Json) => {
    const inputs = inputsAt(node)
    if (!inputs) return
    const holder = holderOf(inputs, input)
    if (holder !== null) {
      const part = input.slice(holder.length + 1)
      inputs[holder] = { ...(inputs[holder] as JsonObject), [part]: value }
    } else inputs[input] = value
  }
  const places = keys.flatMap((key) =>
    (known.get(key) ?? [placeOf(key)]).map((place, index) => ({ place, key, shared: index > 0 })),
  )
  // What is given for an input itself wins over what it shares. A whole text first, then what is marked in it.
  places.sort((one, other) => Number(other.shared) - Number(one.shared))
  const marked = new Map<string, { place: Place; said: Map<string, Json> }>()
  for (const { place, key } of places) {
    if (place.mark === undefined) put(place, values[key]!)
    else {
      const at = writeJson([place.node, place.input])
      const { said } = marked.get(at) ?? { said: new Map<string, Json>() }
      marked.set(at, { place, said: said.set(place.mark, values[key]!) })
    }
  }
  for (const { place, said } of marked.values()) {
    const inputs = inputsAt(place.node)
    if (inputs) inputs[place.input] = filled(inputs[place.input], said)
  }
  return changed
}

/** `lora_1.strength` is a part of the object that `lora_1` holds, where no input is called so; else null. */
function holderOf(inputs: JsonObject, input: string): string | null {
  const dot = input.lastIndexOf('.')
  if (dot < 1 || Object.hasOwn(inputs, input)) return null
  const holder = input.slice(0, dot)
  return isJsonObject(inputs[holder]) ? holder : null
}

const MARK = /\{\{\s*([^{}|]+?)\s*\}\}/g

/** All at once: what a value says is no mark of the text's own. */
const filled = (text: Json | undefined, said: ReadonlyMap<string, Json>): Json =>
  typeof text === 'string'
    ? text.replace(MARK, (whole, name: string) => (said.has(name) ? String(said.get(name)) : whole))
    : (text ?? '')

function namedFiles(prompt: Prompt, now: Date): Values {
  const named: Values = {}
  for (const [id, { inputs }] of Object.entries(prompt)) {
    const prefix = inputs.filename_prefix
    if (typeof prefix !== 'string' || !prefix.includes('%')) continue
    const text = replaceTokens(prefix, { now, prompt })
    if (text !== prefix) named[`${id}.filename_prefix`] = text
  }
  return named
}
