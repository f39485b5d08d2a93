import type { Json } from '../../../contract/json.ts'
import type { Problem } from '../../../contract/workflow.ts'
import { problem } from '../problems.ts'
import { isNumber } from '../python.ts'
import { type Found, nothingFound, readA1111Text, takeTags, type Words } from './prompt-text.ts'
import { samplingOf } from './samplers.ts'
import { clamp, type Hires, isFlow, type ModelFiles, type PictureSettings } from './settings.ts'

/** Settings as `Key: value` lines spell them, keys in lower case, taken away as they are understood. */
export class Options {
  #values = new Map<string, { key: string; value: string }>()
  constructor(values: Iterable<readonly [key: string, value: string]>) {
    for (const [key, value] of values) this.put(key.trim(), value.trim())
  }

  has = (key: string) => this.#values.has(key)

  put(key: string, value: string) {
    this.#values.set(key.toLowerCase(), { key, value })
  }

  /** The first of the keys that is there and says something. */
  take(...keys: string[]): string | null {
    let taken: string | null = null
    for (const key of keys) {
      const value = this.#values.get(key)?.value
      this.#values.delete(key)
      if (taken === null && value !== undefined && value !== '' && !/^(none|null|undefined)$/i.test(value))
        taken = value
    }
    return taken
  }

  number(...keys: string[]): number | null {
    const value = this.take(...keys)
    const number = value === null ? Number.NaN : Number.parseFloat(value)
    return Number.isFinite(number) ? number : null
  }

  /** Takes away every key that begins or, with a pattern, looks so. */
  takeLike(pattern: RegExp): { key: string; value: string }[] {
    const like = [...this.#values].filter(([key]) => pattern.test(key))
    for (const [key] of like) this.#values.delete(key)
    return like.map(([, entry]) => entry)
  }
}

export interface Described {
  positive: string
  negative: string
  options: Options
}

/** Far above any text a person writes. */
const maxTextLength = 120_000

/** A text of `parameters`; null: it is none. */
export function parseA1111(text: string): Described | null {
  if (text.length > maxTextLength) return null
  const lines = inLines(text.replaceAll('\r\n', '\n').replace(/(?<!\0)\0+$/, '')).split('\n')
  const last = lines.findLastIndex((line) => isSettings.test(line))
  if (last < 0) return null
  const words = `\n${lines.slice(0, last).join('\n')}`
  const cut = words.lastIndexOf('\nNegative prompt:')
  const positive = cut < 0 ? words : words.slice(0, cut)
  const negative = cut < 0 ? '' : words.slice(cut + '\nNegative prompt:'.length)
  // Templates of dynamic prompts follow on lines of their own; what was drawn from them stands above.
  const rest = lines.slice(last).filter((line) => !/^\s*(Negative )?Template:/.test(line))
  return { positive: positive.trim(), negative: negative.trim(), options: new Options(readOptions(rest.join('\n'))) }
}
const isSettings = /^\s*Steps: *\d{1,6} {0,8}, *[A-Z][\w ]{0,60}: */

/** Pages that show a picture's text often put it on one line. */
function inLines(text: string): string {
  if (text.split('\n').some((line) => isSettings.test(line))) return text
  const at = [...text.matchAll(/[\s.,;]Steps: {0,8}\d{1,6} {0,8}, {0,8}[A-Z][\w ]{0,60}: /g)].at(-1)?.index
  if (at === undefined) return text
  const words = text.slice(0, at + 1)
  const negative = words.lastIndexOf(' Negative prompt:')
  const split = negative < 0 ? words : `${words.slice(0, negative)}\n${words.slice(negative + 1)}`
  return `${split}\n${text.slice(at + 1)}`
}

/** `Key: value, Key: "quoted, value", Key: {json}`; a comma within a value is one no key follows. */
function* readOptions(text: string): Generator<[string, string]> {
  const key = /\s{0,20}([A-Za-z_][\w \-/+.()]{0,60}?):\s?/y
  for (let at = 0; at < text.length; ) {
    key.lastIndex = at
    const match = key.exec(text)
    if (!match) {
      const next = text.slice(at).search(/[,\n]/)
      if (next < 0) return
      at += next + 1
      continue
    }
    const start = at + match[0].length
    const end = endOfValue(text, start)
    const raw = text.slice(start, end).trim()
    yield [match[1]!, unquoted(raw)]
    at = end + 1
  }
}

function endOfValue(text: string, start: number): number {
  const first = text[start]
  let at = start
  if (first === '"') {
    for (at = start + 1; at < text.length && text[at] !== '"'; at++) if (text[at] === '\\') at++
  } else if (first === '{' || first === '[') {
    let depth = 0
    let quoted = false
    for (; at < text.length; at++) {
      const letter = text[at]
      if (quoted && letter === '\\') at++
      else if (letter === '"') quoted = !quoted
      else if (!quoted && (letter === '{' || letter === '[')) depth++
      else if (!quoted && (letter === '}' || letter === ']') && --depth === 0) break
    }
  }
  const next = /[,\n](?=\s{0,20}[A-Za-z_][\w \-/+.()]{0,60}:|\s{0,20}$)/g
  next.lastIndex = at
  return next.exec(text)?.index ?? text.length
}

function unquoted(raw: string): string {
  if (raw.length < 2 || !raw.startsWith('"') || !raw.endsWith('"')) return raw
  return raw.slice(1, -1).replace(/\\(.)/gs, (_, letter: string) => (letter === 'n' ? '\n' : letter))
}

/** `name [abcdef12]` */
export const withoutHash = (name: string) => name.replace(/\[[0-9a-f]{6,64}\]\s*$/i, '').trim()
const modelEnding = /\.(safetensors|sft|ckpt|pt|pth|bin|gguf)$/i
/** A guess at a file's name from a model's; programs leave the ending out. */
export function fileOf(name: string, ending = '.safetensors'): string {
  const bare = withoutHash(name)
  if (bare === '' || modelEnding.test(bare)) return bare
  return bare + (/[-_.]q\d(_[k01])?(_[sml])?$/i.test(bare) ? '.gguf' : ending)
}

/** Names of files that come with the programs. */
const upscalers: Readonly<Record<string, string>> = {
  'r-esrgan 4x+': 'RealESRGAN_x4plus.pth',
  'r-esrgan 4x+ anime6b': 'RealESRGAN_x4plus_anime_6B.pth',
  'r-esrgan 2x+': 'RealESRGAN_x2plus.pth',
  'r-esrgan general 4xv3': 'realesr-general-x4v3.pth',
  'r-esrgan general wdn 4xv3': 'realesr-general-wdn-x4v3.pth',
  'r-esrgan animevideo': 'realesr-animevideov3.pth',
  'swinir 4x': 'SwinIR_4x.pth',
}

export function upscalerOf(name: string | null): Hires['upscaler'] {
  const key = (name ?? 'latent').trim().toLowerCase()
  if (key.startsWith('latent')) {
    const method = key.includes('nearest') ? 'nearest-exact' : key.includes('bicubic') ? 'bicubic' : 'bilinear'
    return { is: 'latent', method }
  }
  if (key === 'none' || key === 'lanczos' || key === 'resize lanczos') return { is: 'pixels', method: 'lanczos' }
  if (key === 'nearest') return { is: 'pixels', method: 'nearest-exact' }
  return { is: 'model', file: upscalers[key] ?? fileOf(name!, '.pth') }
}

/** Parts of a picture's making that ComfyUI has no plain node for; what is listed for each is told together. */
const otherParts: readonly [part: string, keys: RegExp][] = [
  ['ADetailer', /^adetailer/],
  ['ControlNet', /^controlnet|^control(net)? \d/],
  ['Regional Prompter', /^rp |^regional prompt/],
  ['Ultimate SD Upscale', /^ultimate sd upscale/],
  ['SD upscale', /^sd upscale/],
  ['Tiled Diffusion', /^tiled diffusion|^multidiffusion|^tiled vae/],
  ['Dynamic thresholding', /^dynamic thresholding|^dynthres|^mimic scale|^threshold percentile/],
  ['Kohya hires fix', /^kohya_hrfix_/],
  ['Latent modifier', /^latent_modifier_/],
  ['FreeU', /^freeu/],
  ['Self-attention guidance', /^sag |^sag_/],
  ['Perturbed attention guidance', /^pag |^pagi?_/],
  ['ReActor', /^reactor/],
  ['IP-Adapter', /^ip[- ]adapter/],
  ['AnimateDiff', /^animatediff/],
  ['LayerDiffuse', /^layerdiffuse/],
  ['Latent Couple', /^latent couple/],
  ['Variation seed', /^variation seed|^seed resize from|^subseed/],
  ['Face restoration', /^face restoration|^codeformer|^gfpgan/],
  ['Postprocessing', /^postprocess|^extras/],
  ['Script', /^script$|^x type|^y type|^z type|^x values|^y values|^z values|^fixed [xyz] values/],
  ['Soft inpainting', /^soft inpainting/],
  ['Tiling', /^tiling$/],
]
/** What says nothing of how the picture is to be made, or is said otherwise. */
const aside =
  /^(version|user|created date|created by|app|backend|parser|pipeline|operations|comment|time|time taken|model hash|vae hash|refiner hash|lora hashes|ti hashes|ti|lora|loras|hashes|batch pos|model type|workflow|generator|sd model (name|hash)|civitai metadata|template|negative template|wildcard prompt|styles|performance|raw prompt|raw negative prompt|overwrite switch|vae (encoder|decoder)|model class|diffusion in low bits|base model|base model hash|cache fp16 weight for lora|fp8 weight|hires (old|use).*|init image (size|hash)|resize mode|downcast alphas_cumprod|nan check|sha256|hires module \d+|second pass|hires force|nsfw|fooocus v2 expansion|steps)$/

/** Settings understood from texts of AUTOMATIC1111, Forge, SD.Next, Civitai, and Fooocus writing like them. */
export function settingsOf(described: Described, program?: string): { settings: PictureSettings; problems: Problem[] } {
  const { options } = described
  const version = options.take('version') ?? ''
  const maker = program ?? programOf(options, version)
  const problems: Problem[] = []
  const tell = (code: Parameters<typeof problem>[1], facts: Record<string, Json>, kind: Problem['kind'] = 'warning') =>
    problems.push(problem(kind, code, { program: maker, ...facts }))

  const steps = clamp(Math.round(options.number('steps') ?? 20), 1, 10_000)
  const seed = seedOf(options.take('seed'))
  const { width, height } = sizeOf(options)
  const resources = civitaiResources(options.take('civitai resources'))
  const named =
    options.take('model', 'base model', 'sd_model_name', 'sd model checkpoint') ?? resources.checkpoint ?? ''
  const hash = options.take('model hash')
  const guidance = options.number('guidance') // stable-diffusion.cpp writes it for every model
  const cfg = options.number('cfg scale', 'guidance scale') ?? guidance
  const distilled = options.number('distilled cfg scale') ?? (isFlow(named) && cfg !== guidance ? guidance : null)
  const samplerName = options.take('sampler', 'sampler_name')
  const schedule = options.take('schedule type', 'scheduler')
  const sampling = samplingOf(samplerName ?? 'Euler', schedule)
  if (sampling.near) {
    const asked = [samplerName, schedule].filter(Boolean).join(', ')
    tell('foreign-sampler', { sampler: asked, used: `${sampling.sampler}, ${sampling.scheduler}` })
  }

  const found = nothingFound()
  const embeddings = embeddingNames(options.take('ti hashes', 'ti', 'embedding hashes'), resources.embeddings)
  const read: ReadText = (text, side, pass, passSteps) =>
    readA1111Text(text, { side, steps: passSteps, pass, embeddings, found })
  const positive = read(described.positive, 'positive', 0, steps)
  const negative = read(described.negative, 'negative', 0, steps)

  const denoise = options.number('denoising strength')
  const first = { width, height, steps, cfg: cfg ?? 7, distilled, sampling: [samplerName, schedule] as const }
  const hires = hiresOf(options, first, denoise, read)
  if (hires) {
    // Most switches of a text are past when the second sampling begins.
    const again = (words: Words, side: 'positive' | 'negative') =>
      isSwitched(words) ? read(described[side], side, 1, hires.hires.steps) : null
    hires.hires.positive ??= again(positive, 'positive')
    hires.hires.negative ??= again(negative, 'negative')
  }
  if (hires?.near)
    tell('foreign-sampler', {
      sampler: hires.near,
      used: `${hires.hires.sampling.sampler}, ${hires.hires.sampling.scheduler}`,
    })
  const masks = options.takeLike(/^mask |^masked |^inpaint|^conditional mask|^only masked/)
  const isFromPicture = hires === null && ((denoise !== null && denoise > 0 && denoise < 1) || masks.length > 0)
  const from = isFromPicture ? { denoise: clamp(denoise ?? 0.75, 0, 1), masked: masks.length > 0 } : null
  if (masks.length > 0) {
    tell('foreign-part-missing', { part: 'Inpainting', details: detailsOf(masks) }, 'loss')
  }

  const modules = options.takeLike(/^module \d+$/).map(({ value }) => value)
  const files: string[] = []
  const file = (name: string, ending?: string) => {
    const guess = fileOf(name, ending)
    if (guess !== withoutHash(name)) files.push(guess)
    return guess
  }
  const model = modelFiles(named, options.take('vae'), modules, file)
  const loras = lorasOf(found, options, resources.loras).map(({ name, model, clip }) => ({
    file: file(name),
    model,
    clip,
  }))
  const hypernetworks = found.hypernetworks.map(({ name, model }) => ({ file: file(name, '.pt'), strength: model }))
  const refinerName = options.take('refiner')
  const switchAt = options.number('refiner switch at', 'refiner switch')
  const refiner = refinerName === null ? null : { file: file(refinerName), switchAt: clamp(switchAt ?? 0.8, 0, 1) }
  if (hires?.hires.file) hires.hires.file = file(hires.hires.file)
  if (hires?.hires.upscaler.is === 'model' && upscalers[(hires.upscaler ?? '').toLowerCase()] === undefined) {
    if (hires.upscaler !== hires.hires.upscaler.file) files.push(hires.hires.upscaler.file)
  }
  if (files.length > 0) tell('foreign-files-guessed', { files: [...new Set(files)].join(', '), ...(hash && { hash }) })

  const flux = isFlow(model.file) || distilled !== null
  const isMerged =
    flux && distilled === null && cfg !== null && cfg > 1 && /flux/i.test(model.file) && maker !== 'Forge'
  const skip = options.number('clip skip')
  const settings: PictureSettings = {
    program: maker,
    positive,
    negative,
    model,
    loras,
    hypernetworks,
    clipLayer: skip !== null && skip > 1 && !flux ? -clamp(Math.round(skip), 1, 24) : null,
    sampling,
    steps,
    cfg: isMerged ? 1 : clamp(cfg ?? (flux ? 1 : 7), 0, 100),
    seed,
    width,
    height,
    batchSize: clamp(Math.round(options.number('batch size') ?? 1), 1, 4096),
    guidance: isMerged ? cfg : distilled !== null ? clamp(distilled, 0, 100) : null,
    shift: flux ? options.number('shift', 'sampler shift') : null, // otherwise told with what is left
    rescale: unit(options.number('cfg rescale', 'cfg rescale phi', 'guidance rescale')),
    merging: unit(options.number('token merging ratio')),
    patches: patchesOf(options),
    from,
    hires: hires?.hires ?? null,
    refiner,
  }
  problems.push(...noticesOf(maker, found, options.take('rng')))
  for (const [part, keys] of otherParts) {
    const used = options.takeLike(keys).filter(({ value }) => !/^(false|none|off|0|)$/i.test(value))
    if (used.length > 0) tell('foreign-part-missing', { part, details: detailsOf(used) }, 'loss')
  }
  options.takeLike(aside)
  const left = options
    .takeLike(/./)
    .filter(({ value }) => value !== '' && !/^(false|none|null|undefined)$/i.test(value))
  if (left.length > 0) tell('foreign-settings-unused', { settings: detailsOf(left) })
  return { settings, problems }
}

const isSwitched = ({ parts }: Words) => parts.some(({ spans }) => spans.length > 1)
const unit = (value: number | null) => (value === null || value === 0 ? null : clamp(value, 0, 1))
const detailsOf = (entries: { key: string; value: string }[]) => {
  const shown = entries.slice(0, 12).map(({ key, value }) => `${key}: ${value.slice(0, 80)}`)
  return shown.join(', ') + (entries.length > shown.length ? ', …' : '')
}

/** What Forge and SD.Next change in the model, where ComfyUI has a node that does the same. */
function patchesOf(options: Options): PictureSettings['patches'] {
  const patches: PictureSettings['patches'] = []
  const isOn = (key: string) => /^(true|1)$/i.test(options.take(key) ?? '')
  const number = (key: string, otherwise: number, low: number, high: number) =>
    clamp(options.number(key) ?? otherwise, low, high)
  /** Settings ComfyUI's node has at this value and no other; otherwise they stay, to be told. */
  const fixed = (values: Record<string, number>) => {
    for (const [key, value] of Object.entries(values)) {
      const given = options.number(key)
      if (given !== null && given !== value) options.put(key, String(given))
    }
  }
  if (isOn('freeu_enabled')) {
    const inputs = {
      b1: number('freeu_b1', 1.01, 0, 10),
      b2: number('freeu_b2', 1.02, 0, 10),
      s1: number('freeu_s1', 0.99, 0, 10),
      s2: number('freeu_s2', 0.95, 0, 10),
    }
    fixed({ freeu_start: 0, freeu_end: 1 })
    patches.push({ classType: 'FreeU_V2', title: 'FreeU', inputs })
  }
  patches.push(...freeU(options.take('freeu') ?? ''))
  if (isOn('sag_enabled')) {
    const inputs = { scale: number('sag_scale', 0.5, -2, 5), blur_sigma: number('sag_blur_sigma', 2, 0, 10) }
    fixed({ sag_threshold: 1 })
    patches.push({ classType: 'SelfAttentionGuidance', title: 'Self-attention guidance', inputs })
  }
  const perturbed = isOn('pagi_enabled') ? (options.number('pagi_scale') ?? 3) : options.number('pag scale')
  if (perturbed !== null && perturbed > 0) {
    fixed({ pagi_attenuation: 0, pagi_start_step: 0, pagi_end_step: 1, 'pag adaptive': 0 })
    const inputs = { scale: clamp(perturbed, 0, 100) }
    patches.push({ classType: 'PerturbedAttentionGuidance', title: 'Perturbed attention guidance', inputs })
  }
  if (isOn('kohya_hrfix_enabled')) {
    const method = (key: string) => {
      const given = options.take(key)
      return scalings.find((one) => one === given) ?? 'bicubic'
    }
    const inputs = {
      block_number: Math.round(number('kohya_hrfix_block_number', 3, 1, 32)),
      downscale_factor: number('kohya_hrfix_downscale_factor', 2, 0.1, 9),
      start_percent: number('kohya_hrfix_start_percent', 0, 0, 1),
      end_percent: number('kohya_hrfix_end_percent', 0.35, 0, 1),
      downscale_after_skip: isOn('kohya_hrfix_downscale_after_skip'),
      downscale_method: method('kohya_hrfix_downscale_method'),
      upscale_method: method('kohya_hrfix_upscale_method'),
    }
    patches.push({ classType: 'PatchModelAddDownscale', title: 'Kohya hires fix', inputs })
  }
  return patches
}

/** Fooocus writes `(1.01, 1.02, 0.99, 0.95)`. */
export function freeU(text: string): PictureSettings['patches'] {
  const [b1, b2, s1, s2] = [...text.matchAll(/\d{1,4}(?:\.\d{1,9})?/g)].map(([one]) => clamp(Number(one), 0, 10))
  if (b1 === undefined || b2 === undefined || s1 === undefined || s2 === undefined) return []
  return [{ classType: 'FreeU_V2', title: 'FreeU', inputs: { b1, b2, s1, s2 } }]
}
const scalings = ['bicubic', 'nearest-exact', 'bilinear', 'area', 'bislerp']

function programOf(options: Options, version: string): string {
  if (/fooocus/i.test(version)) return 'Fooocus'
  if (/^f\d|forge|neo/i.test(version) || options.has('module 1') || options.has('distilled cfg scale')) return 'Forge'
  if (/sd\.?next/i.test(version) || options.has('app') || options.has('pipeline') || options.has('operations'))
    return 'SD.Next'
  if (options.has('civitai resources') || options.has('created date')) return 'Civitai'
  return 'AUTOMATIC1111'
}

/** Every digit counts; what is no seed is 0. */
export function seedOf(value: Json | undefined): number | bigint {
  const digits = /^\s*(\d{1,20})/.exec(typeof value === 'string' || isNumber(value) ? String(value) : '')?.[1]
  if (digits === undefined) return 0
  const exact = BigInt(digits)
  const most = 0xffff_ffff_ffff_ffffn
  if (exact > most) return most
  return exact <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(exact) : exact
}

/** ComfyUI's latents are made of eights. */
export const side = (value: number) => clamp(Math.round(value / 8) * 8, 16, 16_384)

const sizeIn = (text: string | null) => {
  const [, width, height] = /^\s*(\d{1,6})\s*[xX×]\s*(\d{1,6})/.exec(text ?? '') ?? []
  return width === undefined || height === undefined ? null : { width: Number(width), height: Number(height) }
}

/** The size first sampled at; that of a later pass stays in the options. */
function sizeOf(options: Options): { width: number; height: number } {
  const given = sizeIn(options.take('size', 'resolution'))
  const width = side(given?.width || options.number('width') || 512)
  const height = side(given?.height || options.number('height') || 512)
  // AUTOMATIC1111 before 2023: the size told was the last, the first pass had its own, or with 0x0 about 512 squared.
  const first = sizeIn(options.take('first pass size'))
  if (!first) return { width, height }
  options.put('Hires resize', `${width}x${height}`)
  const scale = Math.sqrt((512 * 512) / (width * height))
  const sixtyFours = (value: number) => Math.ceil((scale * value) / 64) * 64
  return { width: side(first.width || sixtyFours(width)), height: side(first.height || sixtyFours(height)) }
}

function modelFiles(
  name: string,
  vae: string | null,
  modules: readonly string[],
  file: (name: string) => string,
): ModelFiles {
  const isVae = (one: string) => /vae|^ae([._-]|$)|autoencoder/i.test(one)
  const own = vae !== null && !/^(automatic|default.*|built-?in|none)$/i.test(vae) ? vae : modules.find(isVae)
  const encoders = modules.filter((one) => !isVae(one) && !/^(built-?in|automatic|use same choices)$/i.test(one))
  const order = (one: string) => (/clip[-_ ]?l/i.test(one) ? 0 : /clip[-_ ]?g/i.test(one) ? 1 : /t5/i.test(one) ? 2 : 3)
  return {
    file: file(name),
    encoders: encoders.sort((one, other) => order(one) - order(other)).map((one) => file(one)),
    vae: own === undefined ? null : file(own),
  }
}

type ReadText = (text: string, side: 'positive' | 'negative', pass: 0 | 1, steps: number) => Words
interface First {
  width: number
  height: number
  steps: number
  cfg: number
  distilled: number | null
  sampling: readonly [name: string | null, schedule: string | null]
}

function hiresOf(
  options: Options,
  first: First,
  denoise: number | null,
  read: ReadText,
): { hires: Hires; upscaler: string | null; near: string | null } | null {
  const scale = options.number('hires upscale')
  const sizes = [options.take('hires resize'), options.take('hires size')].map(sizeIn)
  const resize = sizes.find((one) => one !== null && one.width + one.height > 0) ?? null
  const upscaler = options.take('hires upscaler')
  const own = {
    steps: options.number('hires steps'),
    cfg: options.number('hires cfg scale', 'hires cfg'),
    guidance: options.number('hires distilled cfg scale'),
    sampler: options.take('hires sampler'),
    schedule: options.take('hires schedule type', 'hires scheduler'),
    positive: options.take('hires prompt'),
    negative: options.take('hires negative prompt'),
    file: options.take('hires checkpoint'),
  }
  options.takeLike(/^hires module \d+$/)
  if (scale === null && resize === null && upscaler === null) return null
  const steps = clamp(Math.round(own.steps || first.steps), 1, 10_000)
  let width = resize ? resize.width : first.width * (scale ?? 2)
  let height = resize ? resize.height : first.height * (scale ?? 2)
  // One side given as 0 follows the other.
  if (width === 0) width = (height * first.width) / first.height
  if (height === 0) height = (width * first.height) / first.width
  const eights = (value: number) => clamp(Math.floor(value / 8) * 8, 16, 16_384)
  const name = own.sampler && !/^use same/i.test(own.sampler) ? own.sampler : first.sampling[0]
  const schedule = own.schedule && !/^use same/i.test(own.schedule) ? own.schedule : first.sampling[1]
  const sampling = samplingOf(name ?? 'Euler', schedule)
  const isOther = name !== first.sampling[0] || schedule !== first.sampling[1]
  return {
    upscaler,
    near: sampling.near && isOther ? [name, schedule].filter(Boolean).join(', ') : null,
    hires: {
      width: eights(width),
      height: eights(height),
      crop: resize !== null && Math.abs(width / height - first.width / first.height) > 0.01,
      upscaler: upscalerOf(upscaler),
      steps,
      denoise: clamp(denoise ?? 0.7, 0, 1),
      cfg: clamp(own.cfg || first.cfg, 0, 100),
      guidance: own.guidance ?? first.distilled,
      sampling,
      positive: own.positive === null ? null : read(own.positive, 'positive', 1, steps),
      negative: own.negative === null ? null : read(own.negative, 'negative', 1, steps),
      file: own.file && !/^use same/i.test(own.file) ? own.file : null,
    },
  }
}

interface Resources {
  checkpoint: string | null
  loras: { name: string; model: number; clip: number }[]
  embeddings: string[]
}

/** What Civitai says it used: names of models on its pages, not of files. */
export function civitaiResources(text: string | null): Resources {
  const resources: Resources = { checkpoint: null, loras: [], embeddings: [] }
  let list: unknown = null
  try {
    list = text === null ? null : JSON.parse(text)
  } catch {
    return resources
  }
  for (const entry of Array.isArray(list) ? list : []) {
    if (typeof entry !== 'object' || entry === null) continue
    const { type, modelName, name, weight, strength } = entry as Record<string, unknown>
    const called = [modelName, name].find((one) => typeof one === 'string' && one !== '') as string | undefined
    if (called === undefined) continue
    const kind = String(type).toLowerCase()
    const amount = [weight, strength].find((one) => typeof one === 'number') as number | undefined
    if (kind === 'checkpoint' || kind === 'model') resources.checkpoint ??= called
    else if (/^(lora|locon|lycoris|dora)$/.test(kind)) {
      resources.loras.push({ name: called, model: amount ?? 1, clip: amount ?? 1 })
    } else if (/^(embed|embedding|textualinversion)$/.test(kind)) resources.embeddings.push(called)
  }
  return resources
}

const embeddingNames = (hashes: string | null, others: readonly string[]) =>
  [
    ...(hashes ?? '')
      .split(',')
      .slice(0, 100)
      .map((one) => one.split(':')[0]!.trim().replace(/^"|"$/g, '')),
    ...others,
  ].filter((name) => /^[^\s,:()[\]{}<>|]{2,100}$/.test(name))

/** Those in the texts, then those a list of weights or of resources adds. */
function lorasOf(found: Found, options: Options, resources: Resources['loras']) {
  const all = [...found.loras]
  const known = new Set(all.map(({ name }) => name.toLowerCase()))
  const weights = nothingFound()
  for (const one of (options.take('lora weights') ?? '').split(',')) {
    const [name, weight] = one.split(':').map((part) => part.trim())
    if (name && weight) takeTags(`<lora:${name}:${weight}>`, weights)
  }
  for (const lora of [...weights.loras, ...(all.length > 0 ? [] : resources)]) {
    if (!known.has(lora.name.toLowerCase())) all.push(lora)
    known.add(lora.name.toLowerCase())
  }
  const seen = new Set<string>()
  return all.filter(({ name }) => !seen.has(name) && seen.add(name)).slice(0, 100)
}

/** What every picture of another program has to be told of. */
export function noticesOf(program: string, found: Found, noise: string | null = null): Problem[] {
  const problems: Problem[] = []
  const tell = (
    code: Parameters<typeof problem>[1],
    facts: Record<string, Json> = {},
    kind: Problem['kind'] = 'warning',
  ) => problems.push(problem(kind, code, { program, ...facts }))
  if (noise?.toUpperCase() !== 'CPU') tell('foreign-noise')
  if (found.weighted) tell('foreign-weights')
  if (found.scheduled) tell('foreign-schedule')
  if (found.combined) tell('foreign-combined')
  if (found.alternated) tell('foreign-alternation', {}, 'loss')
  if (found.tags.length > 0) tell('foreign-tags', { tags: found.tags.slice(0, 12).join(' ').slice(0, 400) }, 'loss')
  return problems
}
