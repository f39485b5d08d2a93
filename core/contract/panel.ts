import { z } from 'zod'
import { decoded } from './address.ts'
import { JsonValue } from './comfyui.ts'
import { isJsonObject, type Json, writeJson } from './json.ts'
import type { Parameter, ParameterRole } from './workflow.ts'

/** One choice of an image or select: its value, or with a label and an address of a small picture. */
export const PanelOption = z.union([
  z.string(),
  z.number(),
  z.bigint(),
  z.boolean(),
  z.looseObject({ value: JsonValue, label: z.string().optional(), thumbnail: z.string().optional() }),
])
export type PanelOption = z.infer<typeof PanelOption>

const Bound = z.union([z.number(), z.bigint()]).nullish()
/**
 * One control, or a group of them, as files of `[{title, prompt, params}]` spell it: `id` is the node, `key` its input.
 * What we do not know is kept, so that a panel is written as it was read. `type` says how it looks; one we do not know
 * looks as its parameter does.
 */
export const PanelItem = z.looseObject({
  type: z.string(),
  id: z.union([z.string(), z.number()]).nullish(),
  key: z.string().nullish(),
  title: z.string().nullish(),
  description: z.string().nullish(),
  placeholder: z.string().nullish(),
  /** Fixed choices; or the class of a node whose own choices for `key` are offered. */
  options: z.union([z.array(PanelOption), z.string()]).nullish(),
  min: Bound,
  max: Bound,
  step: Bound,
  /** Not on the form; with a `default` that value is always sent. */
  hidden: z.boolean().nullish(),
  /** Must be filled in; files must be, unless this is false. */
  required: z.boolean().nullish(),
  /** Instead of the workflow's own value. */
  default: JsonValue.optional(),
  multiline: z.boolean().nullish(),
  get children() {
    return z.array(PanelItem).nullish()
  },
})
export type PanelItem = z.infer<typeof PanelItem>

/** A form for one workflow. */
export const Panel = z.looseObject({ title: z.string(), params: z.array(PanelItem) })
export type Panel = z.infer<typeof Panel>

/** The types a panel's editor offers, besides `group`. */
export const controlTypes = ['string', 'number', 'select', 'image', 'video', 'audio', 'boolean', 'seed'] as const

/** An item that could not be read; `raw` is written back as it was. */
export const UNREADABLE = 'unreadable'
export const isGroup = (item: PanelItem) => item.type === 'group'

/** `NODE.INPUT`, the key of the parameter an item turns; null: it turns none. */
export const keyOfItem = ({ type, id, key }: PanelItem): string | null =>
  type === 'group' || type === UNREADABLE || id === undefined || id === null || !key ? null : `${id}.${key}`

/** Every item but groups, in the order of the form. `hidden`: it or a group around it is. */
export function* itemsOf(
  items: readonly PanelItem[],
  hidden = false,
): Generator<{ item: PanelItem; key: string | null; hidden: boolean }> {
  for (const item of items) {
    const isHidden = hidden || item.hidden === true
    if (isGroup(item)) yield* itemsOf(item.children ?? [], isHidden)
    else yield { item, key: keyOfItem(item), hidden: isHidden }
  }
}

export interface PanelChoice {
  readonly value: Json
  readonly label: string
  /** The address of a small picture of it. */
  readonly thumbnail: string | null
}
const isAddress = (value: Json): value is string => typeof value === 'string' && /^https?:\/\//i.test(value)

/** An item's own choices; null: whatever its parameter takes. Addresses of pictures go by the name of their file. */
export function choicesOf({ options }: PanelItem): PanelChoice[] | null {
  if (!Array.isArray(options) || options.length === 0) return null
  return options.map((option) => {
    const given = isJsonObject(option) ? (option as { value: Json; label?: string; thumbnail?: string }) : null
    const value = given ? given.value : (option as Json)
    return {
      value,
      label:
        given?.label || (isAddress(value) ? fileNameOf(value) : typeof value === 'string' ? value : writeJson(value)),
      thumbnail: given?.thumbnail ?? (isAddress(value) ? value : null),
    }
  })
}

function fileNameOf(address: string): string {
  const last = address.split(/[?#]/, 1)[0]!.split('/').filter(Boolean).at(-1) ?? address
  return decoded(last).replace(/\.[a-z0-9]{2,5}$/i, '') || address
}

/** A parameter as an item shows it: its title and default, its bounds within the node's, its own choices. */
export function fieldOf(item: PanelItem, parameter: Parameter): Parameter {
  const choices = choicesOf(item)
  const tighter = (bound: Json | undefined, own: number | bigint | null | undefined, side: 1 | -1) => {
    if (own === undefined || own === null) return bound
    if (typeof bound !== 'number' && typeof bound !== 'bigint') return own
    return (own > bound ? 1 : -1) === side ? own : bound
  }
  const min = tighter(parameter.min, item.min, 1)
  const max = tighter(parameter.max, item.max, -1)
  const upload = item.type === 'image' || item.type === 'video' || item.type === 'audio' ? item.type : parameter.upload
  return {
    ...parameter,
    name: item.title || parameter.name,
    default: item.default === undefined ? parameter.default : item.default,
    ...(min !== undefined && { min }),
    ...(max !== undefined && { max }),
    ...(item.step && { step: item.step }),
    ...(choices && { options: choices.map(({ value }) => value) }),
    ...(item.type === 'seed' && { role: 'seed' as const }),
    ...(upload && { upload }),
    ...(parameter.type === 'STRING' && item.type === 'string' && { multiline: item.multiline ?? true }),
  }
}

/** Files must be given, unless the panel says otherwise; anything else only where it says so. */
export const isRequired = (item: PanelItem, { upload }: Parameter) => item.required ?? upload !== undefined

/** The control that fits a parameter. */
export function itemFor(parameter: Parameter, title = parameter.name): PanelItem {
  const { node: id, role, key, upload, type, options } = parameter
  const about = { id, key: key.slice(id.length + 1), title }
  if (role === 'seed') return { type: 'seed', ...about, default: -1 }
  if (upload) return { type: upload, ...about }
  if (options) return { type: 'select', ...about }
  if (type === 'BOOLEAN') return { type: 'boolean', ...about }
  if (type !== 'INT' && type !== 'FLOAT') return { type: 'string', ...about, multiline: parameter.multiline === true }
  return { type: 'number', ...about, ...boundsFor(parameter) }
}

/** Enormous bounds make no slider; these are what people choose from. */
const usual: Partial<Record<ParameterRole, { min: number; max: number }>> = {
  width: { min: 256, max: 2048 },
  height: { min: 256, max: 2048 },
  'batch-size': { min: 1, max: 8 },
}
function boundsFor({ role, default: value, step }: Parameter) {
  const bounds = role === null ? undefined : usual[role]
  return bounds && Number(value) >= bounds.min && Number(value) <= bounds.max
    ? { ...bounds, step: typeof step === 'number' ? step : 1 }
    : {}
}
