import { isLink, type ObjectInfo, type Prompt } from '../../contract/comfyui.ts'
import type { Parameter, ParameterRole } from '../../contract/workflow.ts'
import { definitionOf, inputNamed } from './definitions.ts'
import { modelFolderOf } from './models.ts'
import { roleSaid } from './role-words.ts'
import { regionsOf, samplingNodes, stagesOf } from './stages.ts'
import { titleOf } from './trace.ts'

/** Every one is a key of resources/locales names.json. */
export const roleLabels: Readonly<Record<ParameterRole, string>> = {
  prompt: 'Prompt',
  negative: 'Negative prompt',
  seed: 'Seed',
  steps: 'Steps',
  cfg: 'CFG',
  sampler: 'Sampler',
  scheduler: 'Scheduler',
  denoise: 'Denoise',
  width: 'Width',
  height: 'Height',
  'batch-size': 'Batch size',
  length: 'Length',
  fps: 'FPS',
  guidance: 'Guidance',
  strength: 'Strength',
  checkpoint: 'Checkpoint',
  lora: 'LoRA',
  vae: 'VAE',
  model: 'Model',
  image: 'Image',
  mask: 'Mask',
  video: 'Video',
  audio: 'Audio',
  'filename-prefix': 'Filename prefix',
  placeholder: 'Placeholder',
  lyrics: 'Lyrics',
  'aspect-ratio': 'Aspect ratio',
  megapixels: 'Megapixels',
  duration: 'Duration',
  switch: 'Switch',
}
export const folderLabels: Readonly<Record<string, string>> = {
  diffusion_models: 'Diffusion model',
  text_encoders: 'Text encoder',
  clip_vision: 'CLIP vision model',
  controlnet: 'ControlNet',
  style_models: 'Style model',
  upscale_models: 'Upscale model',
  latent_upscale_models: 'Latent upscale model',
}
const strengthLabels: readonly [RegExp, string][] = [
  [/lora/i, 'LoRA strength'],
  [/control/i, 'ControlNet strength'],
]
/** What the input that something leads to says of it. Every value is a key of resources/locales names.json. */
export const uses: readonly [RegExp, string][] = [
  [/^(start|first)_?(image|frame|frame_image)?$/i, 'first frame'],
  [/^(end|last)_?(image|frame|frame_image)?$/i, 'last frame'],
  [/^(control|hint)(_?(image|video|net|map))?$/i, 'control'],
  [/^ref(erence)?(_?(images?|latents?|video|frames?))?$/i, 'reference'],
  [/^style(_?image)?$/i, 'style'],
  [/^mask$/i, 'mask'],
  [/^pose(_?(image|video))?$/i, 'pose'],
  [/^face(_?(image|video))?$/i, 'face'],
  [/^background(_?(image|video))?$/i, 'background'],
  [/^(clip_l|text_l)$/i, 'CLIP-L'],
  [/^(clip_g|text_g)$/i, 'CLIP-G'],
  [/^t5xxl$/i, 'T5-XXL'],
  [/^llama$/i, 'Llama'],
]
const wordFor = (input: string) =>
  uses.find(([inputs]) => inputs.test(input.slice(input.lastIndexOf('.') + 1)))?.[1] ?? null

/** What samplers have, and other nodes as well: those that touch up faces, or write a prompt. */
const ofSampling: ReadonlySet<ParameterRole> = new Set([
  ...(['seed', 'steps', 'cfg', 'sampler', 'scheduler', 'denoise'] as const),
])
/** Text that goes before or after what a person writes. */
const besides = /trigger|prefix|suffix|append|style/i

/**
 * Gives each a name of its own. Those with a role come first and are called by it. Where several have one role, the one
 * that does the work now keeps the plain name; the others say which they are: the sampling they serve, what their
 * author calls them, where they lead, else a number. Those without a role add their node's title only where they must.
 */
export function named(
  parameters: Parameter[],
  definitions: ObjectInfo,
  prompt: Prompt,
  live: ReadonlySet<string>,
  /** What the author calls an input, by key. */
  labels: ReadonlyMap<string, string>,
): Parameter[] {
  const stages = stagesOf(prompt, definitions)
  const places = regionsOf(prompt, definitions)
  const sampling = samplingNodes(prompt, definitions)
  const consumers = consumersOf(prompt)
  const names: string[] = []
  const taken = new Set<string>()
  const numbers = new Map<string, number>()
  /** `first`: the number to begin with; 2 gives the first the plain name. */
  const take = (index: number, name: string, first = 2) => {
    let free = name
    if (first === 1 || taken.has(name.toLowerCase())) {
      let number = numbers.get(name) ?? first
      while (taken.has(`${name} ${number}`.toLowerCase())) number++
      numbers.set(name, number + 1)
      free = `${name} ${number}`
    }
    taken.add(free.toLowerCase())
    names[index] = free
  }
  parameters.forEach(({ name }, index) => {
    if (name !== '') take(index, name)
  })
  const own = parameters.flatMap(({ name, role, pinned }, index) =>
    name === '' && (role !== null || pinned) ? [index] : [],
  )
  const title = (index: number) => {
    const said = switchTitle(titleOf(prompt, definitions, parameters[index]!.node))
    return roleSaid(said) === parameters[index]!.role ? null : said || null
  }
  /** Each in turn gives its words to those whom it tells from the others; the last two to all or nobody. */
  const ways: [say: (index: number) => string | number | null, each: boolean][] = [
    [(index) => stages.get(parameters[index]!.node) ?? null, true],
    [title, true],
    [(index) => places.get(parameters[index]!.node) ?? null, true],
    [(index) => leadsTo(parameters[index]!, consumers), false],
    [(index) => (live.has(parameters[index]!.node) ? null : 'not in use'), false],
  ]
  const groups = new Map<string, number[]>()
  for (const index of own) {
    const label = labelOf(parameters[index]!, definitions, prompt, labels)
    const group = groups.get(label)
    if (group) group.push(index)
    else groups.set(label, [index])
  }
  for (const [label, group] of groups) {
    const main = group.length === 1 ? group[0]! : mainOf(group)
    if (main !== null && !taken.has(label.toLowerCase())) take(main, label)
    const left = () => group.filter((index) => names[index] === undefined)
    for (const [say, each] of ways) {
      const said = left().map((index) => ({ index, words: say(index) }))
      const counts = tally(said.map(({ words }) => String(words ?? '')))
      const apart = said.filter(({ words }) => words !== null && counts.get(String(words).toLowerCase()) === 1)
      if (!each && apart.length < said.length) continue
      for (const { index, words } of apart)
        take(index, typeof words === 'number' ? `${label} ${words}` : `${label} (${words})`)
    }
    const rest = left()
    const beside = group.filter((index) => !names[index]?.endsWith(')'))
    const titles = tally(beside.map((index) => parameters[index]!.nodeTitle))
    const isTitled = rest.every((index) => titles.get(parameters[index]!.nodeTitle.toLowerCase()) === 1)
    const isShared = rest.length === 1 && main === null // by several samplings
    for (const index of rest) {
      if (isTitled && !isShared) take(index, `${label} (${parameters[index]!.nodeTitle})`)
      else take(index, label, main === null && !isShared ? 1 : 2)
    }
  }
  parameters.forEach((parameter, index) => {
    if (names[index] !== undefined) return
    const label = labelOf(parameter, definitions, prompt, labels)
    take(index, taken.has(label.toLowerCase()) ? `${label} (${parameter.nodeTitle})` : label)
  })
  return parameters.map((parameter, index) => ({ ...parameter, name: names[index]! }))

  /** The one of several that `--set prompt=…` means beyond doubt; null: there is none. */
  function mainOf(group: number[]): number | null {
    let left = group.filter((index) => parameters[index]!.shown)
    const { role } = parameters[group[0]!]!
    if (role !== null && ofSampling.has(role)) {
      const samples = left.filter((index) => {
        const { node, classType } = parameters[index]!
        const output = definitionOf(definitions, classType)?.output
        const isText = output ? output.includes('STRING') : /wildcard|text|prompt/i.test(classType)
        return sampling.has(node) && !isText
      })
      if (samples.length > 0) left = samples
    }
    if (left.length > 1 && role === 'prompt')
      left = left.filter((index) => !besides.test(titleOf(prompt, definitions, parameters[index]!.node)))
    return left.length === 1 ? left[0]! : null
  }
}

function tally(names: string[]): Map<string, number> {
  const counts = new Map<string, number>()
  for (const name of names) counts.set(name.toLowerCase(), (counts.get(name.toLowerCase()) ?? 0) + 1)
  return counts
}

const general = /^(images?|pixels|input|samples|video|frames|source|any|\*|value)$/i
/** `image2` → 2; lists that grow count from 0: `images.image0` → 1. */
function placeOf(input: string): number | null {
  const [, list, number] =
    /^(.*\.)?(?:images?|img|input|pixels|video|audio|ref(?:erence)?_image)_?(\d+)$/i.exec(input) ?? []
  return number === undefined ? null : Number(number) + (list ? 1 : 0)
}

/** Which inputs a node's outputs lead to, each as the node and the input. */
function consumersOf(prompt: Prompt): ReadonlyMap<string, readonly (readonly [node: string, input: string])[]> {
  const consumers = new Map<string, [string, string][]>()
  for (const [id, { inputs }] of Object.entries(prompt)) {
    for (const [name, value] of Object.entries(inputs)) {
      if (!isLink(value)) continue
      const known = consumers.get(value[0])
      if (known) known.push([id, name])
      else consumers.set(value[0], [[id, name]])
    }
  }
  return consumers
}

/** What a text is of its encoder, or where a file leads: a word, or its place among equals (1 for the first). */
function leadsTo({ role, node, input }: Parameter, consumers: ReturnType<typeof consumersOf>): string | number | null {
  if (role === 'prompt' || role === 'negative')
    return wordFor(input) ?? (/^(text|prompt|value|string)$/i.test(input) ? null : input)
  if (role !== 'image' && role !== 'video' && role !== 'audio' && role !== 'mask') return null
  const seen = new Set([node])
  let from = [node]
  for (let depth = 0; depth < 8 && from.length > 0; depth++) {
    const found = new Set<string>()
    const next: string[] = []
    for (const [id, name] of from.flatMap((each) => consumers.get(each) ?? [])) {
      if (!general.test(name.slice(name.lastIndexOf('.') + 1))) found.add(name)
      else if (!seen.has(id)) {
        seen.add(id)
        next.push(id)
      }
    }
    const told = new Set([...found].map((name) => wordFor(name) ?? placeOf(name)).filter((one) => one !== null))
    if (told.size > 0) return told.size === 1 ? [...told][0]! : null
    from = next
  }
  return null
}

function labelOf(
  { key, role, input, classType, node, default: value }: Parameter,
  definitions: ObjectInfo,
  prompt: Prompt,
  labels: ReadonlyMap<string, string>,
): string {
  if (role === 'model') return folderLabels[modelFolderOf(classType, input, value) ?? ''] ?? roleLabels.model
  if (role === 'strength')
    return strengthLabels.find(([classes]) => classes.test(classType))?.[1] ?? roleLabels.strength
  if (role === 'switch') return switchTitle(titleOf(prompt, definitions, node)) || roleLabels.switch
  if (role) return roleLabels[role]
  const given = labels.get(key)
  if (given && given !== 'value') return humanised(given)
  const title = titleOf(prompt, definitions, node)
  if (input === 'value' && title !== '') return switchTitle(title)
  const definition = definitionOf(definitions, classType)
  const declared = definition ? inputNamed(definition, input, prompt[node]?.inputs ?? {}) : null
  const display = declared?.options.display_name
  return typeof display === 'string' && display !== '' ? display : humanised(input)
}
/** "Boolean (Enable Lightning LoRA)" → "Enable Lightning LoRA". */
export const switchTitle = (title: string) => /^[A-Za-z ]+[(（](.+)[)）]$/.exec(title)?.[1]?.trim() ?? title

const humanised = (input: string) => {
  const words = input.replace(/[_.]+/g, ' ').trim()
  return words === '' ? input : words.charAt(0).toUpperCase() + words.slice(1)
}
