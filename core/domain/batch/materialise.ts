import type { Values } from '../../contract/batch.ts'
import type { Prompt } from '../../contract/comfyui.ts'
import type { Json } from '../../contract/json.ts'
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
  const chosenText: Record<string, string> = {}
  let prompt = valued
  if (textMagic) {
    const texts: Values = {}
    for (const { key, node, input, dynamicPrompts } of parameters) {
      const text = dynamicPrompts ? valued[node]?.inputs[input] : undefined
      if (typeof text !== 'string') continue
      const chosen = expandChoices(stripComments(text), chanceOf(chance, index, 'text', key))
      if (chosen !== text) texts[key] = chosenText[key] = chosen
    }
    prompt = withOverrides(prompt, texts, parameters)
    prompt = withOverrides(prompt, namedFiles(prompt, now), parameters)
  }
  const seeds: Record<string, Json> = {}
  for (const parameter of parameters) {
    const value = isSeed(parameter) ? prompt[parameter.node]?.inputs[parameter.input] : undefined
    if (value !== undefined && !Array.isArray(value)) seeds[parameter.key] = value
  }
  return { prompt, seeds, chosenText }
}

/** `prompt` with these values, by `NODE.INPUT`; nodes they do not touch are the same objects. */
export function withOverrides(prompt: Prompt, values: Values, parameters: readonly Parameter[]): Prompt {
  const keys = Object.keys(values)
  if (keys.length === 0) return prompt
  const places = new Map(parameters.map((parameter) => [parameter.key, parameter]))
  const changed: Prompt = { ...prompt }
  const own = new Set<string>()
  const targets = keys.flatMap((key) => [key, ...(places.get(key)?.also ?? [])].map((target) => ({ key, target })))
  // A placeholder is filled into the text it stands in, after that text has its own value.
  targets.sort((one, other) => Number(placeholderOf(one.target) !== null) - Number(placeholderOf(other.target) !== null))
  for (const { key, target } of targets) {
    const mark = placeholderOf(target)
    const { node: id, input } = places.get(target) ?? splitKey(mark === null ? target : target.slice(0, -mark.length))
    const node = changed[id]
    if (!node) continue
    if (!own.has(id)) {
      changed[id] = { ...node, inputs: { ...node.inputs } }
      own.add(id)
    }
    const { inputs } = changed[id]!
    inputs[input] = mark === null ? values[key]! : withPlaceholder(inputs[input], mark, values[key]!)
  }
  return changed
}

/** The `{{name}}` at the end of a parameter's key, when it stands for a part of a text. */
const placeholderOf = (key: string): string | null => /\{\{[^{}]+\}\}$/.exec(key)?.[0] ?? null

function withPlaceholder(text: Json | undefined, mark: string, value: Json): Json {
  const name = mark.slice(2, -2).trim()
  if (typeof text !== 'string') return text ?? null
  return text.replace(/\{\{\s*([^{}|]+?)\s*\}\}/g, (whole, found: string) => (found === name ? String(value) : whole))
}

const splitKey = (key: string) => {
  const dot = key.indexOf('.')
  return { node: key.slice(0, dot), input: key.slice(dot + 1) }
}

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
