import type { Values } from '../../contract/batch.ts'
import { isLink, type Prompt } from '../../contract/comfyui.ts'
import { AppError, type Facts } from '../../contract/errors.ts'
import { isJsonObject, type Json, type JsonObject } from '../../contract/json.ts'
import {
  choicesOf,
  fieldOf,
  isGroup,
  isRequired,
  itemFor,
  itemsOf,
  keyOfItem,
  type Panel,
  PanelItem,
  UNREADABLE,
} from '../../contract/panel.ts'
import type { Parameter, ParameterRole, Problem } from '../../contract/workflow.ts'
import { coerceValue, valueSentences } from './parameters.ts'
import { problem } from './problems.ts'

const MOST_NESTING = 16

/** A panel as a file spells it, what could not be read of it kept as it was and told. Null: it is no panel at all. */
export function readPanel(raw: Json | undefined, title: string): { panel: Panel; problems: Problem[] } | null {
  const { prompt: _, ...rest } = isJsonObject(raw) ? raw : {}
  const given = Array.isArray(raw) ? raw : rest.params
  if (!Array.isArray(given)) return null
  const problems: Problem[] = []
  const params = given.map((item, at) => readItem(item, String(at + 1), problems, 0))
  const named = typeof rest.title === 'string' ? rest.title : title
  return { panel: { ...rest, title: named, params } as Panel, problems }
}

function readItem(raw: Json, place: string, problems: Problem[], depth: number): PanelItem {
  const given = isJsonObject(raw) ? raw : null
  const unreadable = (reason: string): PanelItem => {
    const title = typeof given?.title === 'string' && given.title !== '' ? given.title : place
    problems.push(problem('warning', 'panel.unreadable-item', { title, reason }))
    return { type: UNREADABLE, raw }
  }
  if (!given) return unreadable('it is not an object')
  if (given.type === UNREADABLE) return unreadable('its type is not known')
  if (depth > MOST_NESTING) return unreadable('it is nested too deeply')
  const { children, ...own } = given
  if (Array.isArray(children)) {
    const read = children.map((child, at) => readItem(child, `${place}.${at + 1}`, problems, depth + 1))
    const item = PanelItem.safeParse(own)
    // as it was, in its own order of fields
    if (item.success) return { ...(given as JsonObject), children: read } as unknown as PanelItem
    return unreadable(wrongOf(item.error.issues))
  }
  const item = PanelItem.safeParse(given)
  if (!item.success) return unreadable(wrongOf(item.error.issues))
  if (!isGroup(item.data) && keyOfItem(item.data) === null)
    problems.push(problem('warning', 'panel.no-input', { title: item.data.title || place }))
  return given as unknown as PanelItem
}
const wrongOf = (issues: readonly { path: PropertyKey[]; message: string }[]) =>
  issues.map(({ path, message }) => `${path.join('.')}: ${message}`).join('; ')

/** The opposite of `readPanel`. */
export const writePanel = (panel: Panel): Json => ({ ...panel, params: panel.params.map(writeItem) }) as unknown as Json
function writeItem(item: PanelItem): Json {
  if (item.type === UNREADABLE) return item.raw as Json
  const { children } = item
  return (Array.isArray(children) ? { ...item, children: children.map(writeItem) } : item) as unknown as Json
}

/** The file others read and we read again: each panel with the prompt it is for. */
export const writePanels = (panels: readonly Panel[], prompt: Prompt): Json[] =>
  panels.map((panel) => {
    const { title, params, ...rest } = writePanel(panel) as JsonObject
    return { title: title!, prompt: prompt as unknown as Json, params: params!, ...rest }
  })

/** The inputs a panel turns that a prompt does not have, as `NODE.INPUT`. */
export const missingFrom = ({ params }: Panel, prompt: Prompt): string[] => [
  ...new Set(
    [...itemsOf(params)].flatMap(({ key }) => {
      if (key === null) return []
      const [node, input] = split(key)
      return Object.hasOwn(prompt[node]?.inputs ?? {}, input.replace(/\{\{[^}]*\}\}$/, '')) ? [] : [key]
    }),
  ),
]
/** A node's id may hold `:` but no dot. */
const split = (key: string): [node: string, input: string] => {
  const dot = key.indexOf('.')
  return [key.slice(0, dot), key.slice(dot + 1)]
}

/** Items that turn nothing in this workflow. */
export function checkPanel({ params }: Panel, prompt: Prompt, parameters: readonly Parameter[]): Problem[] {
  const known = new Set(parameters.map(({ key }) => key))
  return [...itemsOf(params)].flatMap(({ item, key }): Problem[] => {
    if (key === null || known.has(key)) return []
    const [id, input] = split(key)
    const node = Object.hasOwn(prompt, id) ? prompt[id] : undefined
    const title = item.title || key
    if (!node) return [problem('warning', 'panel.node-missing', { title, node: id }, { node: id, input })]
    const code = isLink(node.inputs[input]) ? 'panel.input-linked' : 'panel.input-missing'
    const nodeTitle = String(node._meta?.title || node.class_type)
    return [problem('warning', code, { title, input, nodeTitle }, { node: id, input })]
  })
}

/** What a panel proposed by us says, in the person's language. */
export interface PanelWords {
  readonly title: string
  readonly pictures: string
  readonly words: string
  readonly size: string
  readonly more: string
  /** Parameter key → what people call it. */
  readonly names: Readonly<Record<string, string>>
}

const steps: readonly (readonly [step: 'pictures' | 'words' | 'size' | 'more', roles: readonly ParameterRole[]])[] = [
  ['pictures', ['image', 'mask', 'video', 'audio']],
  ['words', ['prompt', 'negative', 'lyrics', 'placeholder']],
  ['size', ['width', 'height', 'aspect-ratio', 'megapixels', 'length', 'duration', 'batch-size']],
  ['more', ['strength', 'denoise', 'switch', 'seed']],
]

/** A first panel: what anyone can judge, in steps; what takes knowledge of ComfyUI only where it was pinned. */
export function panelFromParameters(parameters: readonly Parameter[], words: PanelWords): Panel {
  const seen = parameters.filter(({ shown, pinned }) => shown || pinned)
  // without a picture to start from there is nothing to keep some of
  const startsFromPicture = seen.some(({ role }) => role === 'image' || role === 'video')
  const stepOf = ({ role, pinned }: Parameter) =>
    steps.find(
      ([, roles]) => role !== null && roles.includes(role) && (role !== 'denoise' || startsFromPicture),
    )?.[0] ?? (pinned ? 'more' : null)
  const filled = steps.flatMap(([step]) => {
    const some = seen.filter((parameter) => stepOf(parameter) === step)
    return some.length > 0 ? [{ step, some }] : []
  })
  const params = filled.map(({ step, some }, at): PanelItem => {
    const title = filled.length > 1 ? `${at + 1}. ${words[step]}` : words[step]
    return { type: 'group', title, children: some.map((parameter) => itemFor(parameter, words.names[parameter.key])) }
  })
  return { title: words.title, params }
}

export interface PanelFault {
  key: string
  title: string
  reason: string
  code: string
  facts: Facts
}

/**
 * What a filled-in panel sends, by parameter key, each value as its node takes it: what was given, else the panel's own
 * default; hidden items always send theirs. Items that turn nothing are left out.
 */
export function panelValues(
  { params }: Panel,
  values: Values,
  parameters: readonly Parameter[],
): { values: Values; faults: PanelFault[] } {
  const byKey = new Map(parameters.map((parameter) => [parameter.key, parameter]))
  const read: Values = {}
  const faults: PanelFault[] = []
  for (const { item, key, hidden } of itemsOf(params)) {
    const parameter = key === null ? undefined : byKey.get(key)
    if (key === null || !parameter) continue
    const field = fieldOf(item, parameter)
    const given = hidden || values[key] === undefined || values[key] === null ? item.default : values[key]
    const tell = (reason: string, code: string, facts: Facts) =>
      faults.push({ key, title: field.name, reason, code, facts })
    const value = given === undefined ? field.default : given
    if (!hidden && isRequired(item, field) && String(value).trim() === '') {
      tell(valueSentences['value.needed'], 'value.needed', {})
      continue
    }
    if (given === undefined) continue
    try {
      read[key] = fitted(item, field, given)
    } catch (cause) {
      if (!(cause instanceof AppError)) throw cause
      const { name: _, reason, code, ...facts } = cause.facts
      tell(String(reason ?? cause.message), String(code ?? ''), facts)
    }
  }
  return { values: read, faults }
}

/** The panel's own choices hold for any kind of input, and hold exactly. @throws AppError 'parameter.bad-value' */
function fitted(item: PanelItem, field: Parameter, given: Json): Json {
  const choices = choicesOf(item)
  if (!choices) return coerceValue(field, given)
  const text = String(given).trim()
  const choice = choices.find(({ value }) => value === given) ?? choices.find(({ value }) => String(value) === text)
  if (choice) return coerceValue(field, choice.value)
  return coerceValue({ ...field, type: 'COMBO', role: null, upload: undefined }, given)
}

/** What forms call each parameter, by key. */
export function titlesIn(panels: readonly Panel[]): Map<string, string[]> {
  const titles = new Map<string, string[]>()
  for (const { params } of panels)
    for (const { item, key, hidden } of itemsOf(params))
      if (!hidden && key !== null && item.title) titles.set(key, [...(titles.get(key) ?? []), item.title])
  return titles
}
