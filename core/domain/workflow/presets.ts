import type { Values } from '../../contract/batch.ts'
import type { ObjectInfo, Prompt } from '../../contract/comfyui.ts'
import { isLink } from '../../contract/comfyui.ts'
import { type Facts, fill } from '../../contract/errors.ts'
import { isJsonObject, type Json } from '../../contract/json.ts'
import { type Advice, type Change, type Parameter, type ParameterRole, PresetId } from '../../contract/workflow.ts'
import { withOverrides } from '../batch/materialise.ts'
import { type Family, families, others, type Speed, speeds } from './families.ts'
import { modelFolderOf } from './models.ts'
import { coerceValue } from './parameters.ts'
import { stagesOf } from './stages.ts'
import { literalsBehind, liveNodes } from './trace.ts'

/** Why a value is recommended. Other languages: resources/locales, problems.json, under the same codes. */
export const presetSentences = {
  'preset.steps-fast': 'Fewer steps take less time and lose some detail; see {source}.',
  'preset.steps-balanced': 'A measure of time and detail that suits {family}; see {source}.',
  'preset.steps-quality': 'As many steps as its makers take for their best results; see {source}.',
  'preset.steps-made-for': 'The model was made for exactly this many steps; see {source}.',
  'preset.cfg': 'How strictly {family} is best made to follow the prompt; see {source}.',
  'preset.cfg-built-in':
    '{family} has its guidance built in: more takes twice the time and burns the colours; see {source}.',
  'preset.sampler': 'Goes well with {family}; see {source}.',
  'preset.frame-fast': 'A smaller frame takes a fraction of the time; see {source}.',
  'preset.frame-quality': 'The largest frame {family} was made for; see {source}.',
  'preset.split': 'The second model takes over at the same point of the way.',
  'preset.speed-on': 'Switches the LoRA in that needs only a few steps.',
  'preset.speed-off': 'Without the LoRA for few steps there is more detail, and the negative prompt counts again.',
} as const

/** A workflow with the values a person has chosen. */
export interface Chosen {
  readonly prompt: Prompt
  readonly definitions: ObjectInfo
  readonly parameters: readonly Parameter[]
  readonly values: Values
  readonly live: ReadonlySet<string>
}

/** @param values as on the form; what does not fit is left as the workflow has it */
export function choose(
  prompt: Prompt,
  definitions: ObjectInfo,
  parameters: readonly Parameter[],
  given: Values,
): Chosen {
  const values: Values = {}
  for (const parameter of parameters) {
    if (!Object.hasOwn(given, parameter.key)) continue
    try {
      values[parameter.key] = coerceValue(parameter, given[parameter.key]!)
    } catch {
      // the form tells what is wrong with it
    }
  }
  const chosen = withOverrides(prompt, values, parameters)
  return { prompt: chosen, definitions, parameters, values, live: liveNodes(chosen, definitions) }
}
const again = ({ prompt, definitions, parameters, values }: Chosen, more: Values): Chosen =>
  choose(prompt, definitions, parameters, { ...values, ...more })

export const chosenValue = ({ values }: Chosen, { key, default: standing }: Parameter): Json => values[key] ?? standing

/** What a role means now: parameters of nodes that do something; those on the form where there are any. */
export function playing(chosen: Chosen, role: ParameterRole): Parameter[] {
  const live = chosen.parameters.filter((parameter) => parameter.role === role && chosen.live.has(parameter.node))
  const shown = live.filter((parameter) => parameter.shown)
  return shown.length > 0 ? shown : live
}
/** The one that sets the first, or every, sampling; null: they differ and none leads. */
function leading(chosen: Chosen, role: ParameterRole): Parameter[] {
  const all = playing(chosen, role)
  const stages = stagesOf(chosen.prompt, chosen.definitions)
  const of = (names: RegExp) => all.filter(({ node }) => names.test(stages.get(node) ?? ''))
  const first = of(/first pass|base/)
  if (first.length > 0) return first
  return all.length === 1 || of(/noise/).length === all.length ? all : []
}

export interface Known {
  readonly family: Family
  readonly speed: (Speed & { readonly file: string }) | null
  /** The file or input that told. */
  readonly by: string
}

interface File {
  readonly node: string
  readonly file: string
  readonly folder: string
}
function filesOf(prompt: Prompt, nodes: Iterable<string>): File[] {
  return [...nodes].flatMap((id) => {
    const { class_type, inputs } = prompt[id]!
    return Object.entries(inputs).flatMap(([input, value]): File[] => {
      if (isJsonObject(value) && typeof value.lora === 'string' && value.on !== false)
        return [{ node: id, file: value.lora, folder: 'loras' }]
      if (typeof value !== 'string' || !/\.(safetensors|sft|ckpt|gguf|pth?|bin)$/i.test(value)) return []
      const file = value.slice(Math.max(value.lastIndexOf('/'), value.lastIndexOf('\\')) + 1)
      return [{ node: id, file, folder: modelFolderOf(class_type, input, value) ?? '' }]
    })
  })
}
const isMain = ({ folder }: File) => ['checkpoints', 'diffusion_models', 'diffusers', ''].includes(folder)

/** By the names of its model files; else by how its text encoder is loaded; else, for a checkpoint, by the picture's size. */
export function recognise(chosen: Chosen): Known | null {
  const { prompt, definitions, live } = chosen
  const stages = stagesOf(prompt, definitions)
  const later = (node: string) => /refiner|second|third/.test(stages.get(node) ?? '')
  const files = filesOf(prompt, live).filter(({ node }) => !later(node))
  const mains = files.filter(isMain)
  if (mains.some(({ file }) => others.test(file))) return null
  const told = families.flatMap((family) => {
    const main = mains.find(({ file }) => family.files.test(file))
    return main ? [{ family, by: main.file }] : []
  })[0]
  // a variant nobody here has heard of, under an encoder that others share
  const variant = mains.some(({ file }) => /turbo|distill|lightning|forcing|fast/i.test(file))
  const found = told ?? (variant ? null : (byEncoder(chosen) ?? bySize(chosen, mains)))
  if (!found) return null
  const { family } = found
  const loras = files.filter(({ folder }) => folder === 'loras')
  const quick = [...loras, ...(family.clipOnly && !family.distilled ? mains : [])].flatMap(({ file }) => {
    const speed = speeds.find((each) => each.files.test(file) && (!each.stableOnly || family.clipOnly))
    if (speed) return [{ ...speed, file }]
    const said = stepsIn(file)
    if (said === null || said > 12 || family.clipOnly) return []
    return [{ files: /$^/, source: file, steps: said, cfg: 1, sampler: 'euler', scheduler: 'simple', file }]
  })
  return { ...found, speed: family.distilled ? null : (quick[0] ?? null) }
}

/** The same, as it is told. */
export function familyOf(prompt: Prompt, definitions: ObjectInfo, parameters: readonly Parameter[]): Advice['family'] {
  const known = recognise(choose(prompt, definitions, parameters, {}))
  return known && { id: known.family.id, name: known.family.name, by: known.by }
}

function byEncoder({ prompt, live }: Chosen): Omit<Known, 'speed'> | null {
  const find = (id: string) => families.find((family) => family.id === id)!
  for (const id of live) {
    const { class_type, inputs } = prompt[id]!
    if (/^CLIPTextEncodeSDXL/.test(class_type)) return { family: find('sdxl'), by: class_type }
    if (/^TextEncodeQwenImageEdit/.test(class_type)) return { family: find('qwen-image-edit'), by: class_type }
    if (class_type === 'CLIPTextEncodeFlux') return { family: find('flux-dev'), by: class_type }
    const { type } = inputs
    if (!/CLIP.*Loader/.test(class_type) || typeof type !== 'string') continue
    const family = families.find(({ clip }) => clip?.test(type))
    if (family) return { family, by: `${class_type}: ${type}` }
  }
  return null
}

/** A checkpoint with CLIP in it is a Stable Diffusion; its size tells which. */
function bySize(chosen: Chosen, mains: File[]): Omit<Known, 'speed'> | null {
  const encodes = [...chosen.live].some((id) => chosen.prompt[id]!.class_type === 'CLIPTextEncode')
  const [main] = mains.filter(({ node }) => chosen.prompt[node]!.class_type === 'CheckpointLoaderSimple')
  if (mains.some(({ folder }) => folder === 'diffusion_models') || playing(chosen, 'length').length > 0) return null
  const [width] = playing(chosen, 'width')
  const [height] = playing(chosen, 'height')
  if (!main || !encodes || !width || !height) return null
  const sides = [chosenValue(chosen, width), chosenValue(chosen, height)].map(Number)
  const pixels = sides[0]! * sides[1]!
  if (!(pixels > 0)) return null
  const id = pixels >= 800 * 800 ? 'sdxl' : 'sd1.5'
  return { family: families.find((family) => family.id === id)!, by: sides.join(' × ') }
}

/** A change from what is chosen now; null where it is none, or its node would not take it. */
export function changeTo(
  chosen: Chosen,
  parameter: Parameter,
  value: Json,
  [code, why]: readonly [code: string, why: string],
  facts: Facts,
): Change | null {
  const from = chosenValue(chosen, parameter)
  let to: Json
  try {
    to = coerceValue(parameter, value)
  } catch {
    return null
  }
  if (to === from || (typeof from !== 'string' && typeof to !== 'string' && Number(from) === Number(to))) return null
  if (parameter.options && parameter.options.length > 0 && !parameter.options.includes(to)) return null
  return { key: parameter.key, from, to, why: fill(why, facts), code, facts: facts as Change['facts'] }
}

/** A switch that brings in a LoRA for few steps, and what it brings. */
function speedSwitch(chosen: Chosen): Parameter | null {
  const switches = playing(chosen, 'switch').filter((one) => typeof chosenValue(chosen, one) === 'boolean')
  const named = switches.filter(({ name, nodeTitle }) =>
    /lightning|turbo|distill|lightx2v|lcm|hyper|\d+ ?-?steps?/i.test(`${name} ${nodeTitle}`),
  )
  if (named.length === 1) return named[0]!
  const brings = switches.filter((one) => {
    const on = again(chosen, { [one.key]: true })
    const off = again(chosen, { [one.key]: false })
    const added = filesOf(
      on.prompt,
      [...on.live].filter((id) => !off.live.has(id)),
    )
    return added.some(({ file, folder }) => folder === 'loras' && speeds.some(({ files }) => files.test(file)))
  })
  return brings.length === 1 ? brings[0]! : null
}

/** What one press of a preset would change. */
export function presetsFor(chosen: Chosen, known: Known | null): Advice['presets'] {
  if (!known) return []
  return PresetId.options.map((id) => ({ id, changes: preset(chosen, id) }))
}

const sentence = (code: keyof typeof presetSentences) => [code, presetSentences[code]] as const

function preset(before: Chosen, id: PresetId): Change[] {
  const changes: (Change | null)[] = []
  const way = speedSwitch(before)
  let chosen = before
  if (way) {
    const on = id === 'fast'
    changes.push(changeTo(before, way, on, sentence(on ? 'preset.speed-on' : 'preset.speed-off'), {}))
    chosen = again(before, { [way.key]: on })
  }
  const known = recognise(chosen)
  if (!known) return []
  const { family, speed } = known
  const source = speed?.source ?? family.source
  const facts: Facts = { family: family.name, source }
  const put = (role: ParameterRole, value: Json, code: keyof typeof presetSentences) => {
    for (const parameter of leading(chosen, role))
      changes.push(changeTo(chosen, parameter, value, sentence(code), facts))
  }

  const count = speed ? (stepsIn(speed.file) ?? speed.steps) : family.steps[id]
  const fixed = speed !== null || new Set(Object.values(family.steps)).size === 1
  // a switch's own branch has the steps its LoRA needs
  if (!(way && id === 'fast')) put('steps', count, fixed ? 'preset.steps-made-for' : `preset.steps-${id}`)
  changes.push(...splits(chosen, count))

  const cfg = speed ? ([speed.cfg, 1, Math.max(speed.cfg, 2)] as const) : family.cfg
  if (cfg && !(way && id === 'fast')) {
    const off = leading(chosen, 'cfg').filter((one) => !isWithin(Number(chosenValue(chosen, one)), cfg))
    if (off.length > 0) put('cfg', cfg[0], cfg[0] === 1 ? 'preset.cfg-built-in' : 'preset.cfg')
  }
  const { guidance } = family
  if (guidance) {
    const off = leading(chosen, 'guidance').filter((one) => !isWithin(Number(chosenValue(chosen, one)), guidance))
    if (off.length > 0) put('guidance', guidance[0], 'preset.cfg')
  }
  const quick = speed !== null && family.clipOnly ? speed : family
  if (quick.sampler) put('sampler', quick.sampler, 'preset.sampler')
  if (quick.scheduler) put('scheduler', quick.scheduler, 'preset.sampler')

  const frame = family.frame?.[id]
  const [width] = leading(chosen, 'width')
  const [height] = leading(chosen, 'height')
  if (frame && width && height && playing(chosen, 'image').length === 0) {
    const now = [Number(chosenValue(chosen, width)), Number(chosenValue(chosen, height))] as const
    const [toWidth, toHeight] = fitted(now, frame, family.multiple)
    const code = id === 'fast' ? 'preset.frame-fast' : 'preset.frame-quality'
    changes.push(changeTo(chosen, width, toWidth, sentence(code), facts))
    changes.push(changeTo(chosen, height, toHeight, sentence(code), facts))
  }
  return changes.filter((change) => change !== null)
}

/** A frame as large as another, upright or wide as it is now; kept where it is nearly as large already. */
function fitted(
  now: readonly [number, number],
  frame: readonly [number, number],
  multiple: number,
): readonly [number, number] {
  const pixels = frame[0] * frame[1]
  const ratio = now[0] / now[1]
  if (!(ratio > 0) || Math.abs((now[0] * now[1]) / pixels - 1) < 0.05) return now
  for (const [width, height] of [frame, [frame[1], frame[0]] as const])
    if (Math.abs(Math.log(ratio / (width / height))) < 0.15) return [width, height]
  const round = (side: number) => Math.round(side / multiple) * multiple
  return [round(Math.sqrt(pixels * ratio)), round(Math.sqrt(pixels / ratio))]
}

export const isWithin = (value: number, [, from, to]: readonly [number, number, number]) => value >= from && value <= to

/** `…-8steps-V1.0` → 8 */
export function stepsIn(file: string): number | null {
  const [, count] = /(\d{1,2})[-_ ]?steps?(?![a-z])/i.exec(file) ?? []
  return count === undefined ? null : Number(count)
}

/** Where one sampler hands over to the next, in proportion to the steps. */
function splits(chosen: Chosen, steps: number): Change[] {
  const { prompt, definitions, live } = chosen
  const found = new Map<string, Change>()
  for (const id of live) {
    const { class_type, inputs } = prompt[id]!
    if (class_type !== 'KSamplerAdvanced') continue
    const before = numberAt(chosen, `${id}.steps`, inputs.steps)
    for (const input of ['start_at_step', 'end_at_step'] as const) {
      const value = inputs[input]
      const keys = isLink(value ?? null)
        ? literalsBehind(value as never, 'INT', prompt, definitions)
        : [`${id}.${input}`]
      const parameter = chosen.parameters.find(({ key, also }) => key === keys[0] || also?.includes(keys[0]!))
      if (keys.length !== 1 || !parameter || before === null) continue
      const at = Number(chosenValue(chosen, parameter))
      if (!(at > 0 && at < before) || before === steps) continue
      const to = Math.min(steps - 1, Math.max(1, Math.round((at / before) * steps)))
      const change = changeTo(chosen, parameter, to, sentence('preset.split'), {})
      if (change && to !== at) found.set(parameter.key, change)
    }
  }
  return [...found.values()]
}

/** The number an input has now, also from behind a link. */
function numberAt({ prompt, definitions }: Chosen, key: string, value: Json | undefined): number | null {
  if (!isLink(value ?? null)) return typeof value === 'number' ? value : null
  const [behind, other] = literalsBehind(value as never, 'INT', prompt, definitions)
  if (behind === undefined || other !== undefined || behind === key) return null
  const dot = behind.lastIndexOf('.')
  const literal = prompt[behind.slice(0, dot)]?.inputs[behind.slice(dot + 1)]
  return typeof literal === 'number' ? literal : null
}
