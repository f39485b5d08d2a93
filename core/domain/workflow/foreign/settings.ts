import type { Prompt, PromptNode } from '../../../contract/comfyui.ts'
import type { Json } from '../../../contract/json.ts'
import type { Problem } from '../../../contract/workflow.ts'
import { problem } from '../problems.ts'
import { isEmpty, type Words } from './prompt-text.ts'
import type { Sampling } from './samplers.ts'

/** How another program made a picture, in ComfyUI's terms. */
export interface PictureSettings {
  /** Which program. */
  program: string
  positive: Words
  negative: Words
  model: ModelFiles
  loras: { file: string; model: number; clip: number }[]
  hypernetworks: { file: string; strength: number }[]
  /** The last layer of the text encoder that counts, -1 the very last; null: the model's own. */
  clipLayer: number | null
  sampling: Sampling
  steps: number
  cfg: number
  seed: number | bigint
  width: number
  height: number
  batchSize: number
  /** Distilled guidance, as Flux takes it. */
  guidance: number | null
  /** How far timesteps are moved, of flow models. */
  shift: number | null
  /** Rescaling of the guidance. */
  rescale: number | null
  /** Token merging. */
  merging: number | null
  /** Nodes that change the model and nothing else. */
  patches: { classType: string; title: string; inputs: Record<string, Json> }[]
  /** Made from another picture: how much of it is made anew. */
  from: { denoise: number; masked: boolean } | null
  hires: Hires | null
  refiner: { file: string; switchAt: number } | null
}
export interface ModelFiles {
  /** '' when the picture does not name it. */
  file: string
  /** Loaded apart from it, each with its kind: then `file` is a diffusion model. */
  encoders: string[]
  vae: string | null
}
export interface Hires {
  width: number
  height: number
  /** Cut to the new shape instead of stretched. */
  crop: boolean
  upscaler: { is: 'latent'; method: string } | { is: 'pixels'; method: string } | { is: 'model'; file: string }
  steps: number
  denoise: number
  cfg: number
  guidance: number | null
  sampling: Sampling
  positive: Words | null
  negative: Words | null
  /** Another checkpoint for the second pass. */
  file: string | null
}

type Link = [node: string, slot: number]
interface Loaded {
  model: Link
  clip: Link
  vae: Link
}

export const clamp = (value: number, low: number, high: number) => Math.min(high, Math.max(low, value))

/** The prompt ComfyUI makes the same kind of picture with, and what in it still wants a person. */
export function promptOf(settings: PictureSettings): { prompt: Prompt; problems: Problem[] } {
  const prompt: Prompt = {}
  const problems: Problem[] = []
  let count = 0
  const add = (class_type: string, title: string, inputs: Record<string, Json>): string => {
    const id = String(++count)
    const node: PromptNode = { class_type, inputs, _meta: { title } }
    prompt[id] = node
    return id
  }
  const build: Build = { add, settings }
  const { program, width, height, from, hires, refiner } = settings
  const base = load(build, settings.model, '')
  const patched = patch(build, base, '')
  const positive = guided(build, encode(build, settings.positive, patched.clip, 'Positive prompt'), settings.guidance)
  const negative = encode(build, settings.negative, patched.clip, 'Negative prompt')

  let latent: Link
  if (from) {
    const image = add('LoadImage', 'Picture to start from', { image: '' })
    problems.push(
      problem('bad-value', 'foreign-needs-image', { program }, { node: image, classType: 'LoadImage', input: 'image' }),
    )
    const scaled = add('ImageScale', 'Fit the picture', {
      image: [image, 0],
      upscale_method: 'lanczos',
      width,
      height,
      crop: 'center',
    })
    latent = [add('VAEEncode', 'Picture to latent', { pixels: [scaled, 0], vae: patched.vae }), 0]
    if (from.masked) latent = [add('SetLatentNoiseMask', 'Mask', { samples: latent, mask: [image, 1] }), 0]
  } else {
    const { file } = settings.model
    const empty = isFlux2(file) ? 'EmptyFlux2LatentImage' : isFlow(file) ? 'EmptySD3LatentImage' : 'EmptyLatentImage'
    latent = [add(empty, 'Size of the picture', { width, height, batch_size: settings.batchSize }), 0]
  }
  if (from && settings.batchSize > 1) {
    const amount = Math.min(64, settings.batchSize)
    latent = [add('RepeatLatentBatch', 'Pictures at once', { samples: latent, amount }), 0]
  }
  let vae = patched.vae
  const { sampling, steps, cfg, seed } = settings
  if (refiner) {
    const switchStep = Math.max(1, Math.min(steps, Math.round(steps * refiner.switchAt)))
    const sample = { steps, cfg, sampler_name: sampling.sampler, scheduler: sampling.scheduler }
    const first = add('KSamplerAdvanced', 'Sampler', {
      ...sample,
      model: patched.model,
      add_noise: 'enable',
      noise_seed: seed,
      positive,
      negative,
      latent_image: latent,
      start_at_step: from ? Math.round(steps * (1 - from.denoise)) : 0,
      end_at_step: switchStep,
      return_with_leftover_noise: 'enable',
    })
    const second = load(build, { file: refiner.file, encoders: [], vae: null }, 'Refiner: ')
    const scores = /refiner/i.test(refiner.file) // the refiner of SDXL wants a score of beauty
    const words = (side: Words, title: string, score: number) =>
      encode(build, side, second.clip, title, scores ? { ascore: score, width, height } : undefined)
    latent = [
      add('KSamplerAdvanced', 'Refiner: sampler', {
        ...sample,
        model: second.model,
        add_noise: 'disable',
        noise_seed: seed,
        positive: words(settings.positive, 'Refiner: positive prompt', 6),
        negative: words(settings.negative, 'Refiner: negative prompt', 2.5),
        latent_image: [first, 0],
        start_at_step: switchStep,
        end_at_step: 10000,
        return_with_leftover_noise: 'disable',
      }),
      0,
    ]
    if (settings.model.vae === null) vae = second.vae
  } else {
    latent = [
      add('KSampler', 'Sampler', {
        model: patched.model,
        seed,
        steps,
        cfg,
        sampler_name: sampling.sampler,
        scheduler: sampling.scheduler,
        positive,
        negative,
        latent_image: latent,
        denoise: from?.denoise ?? 1,
      }),
      0,
    ]
  }
  if (hires) ({ latent, vae } = secondPass(build, hires, { latent, vae, patched, positive, negative }))
  const image = add('VAEDecode', 'Latent to picture', { samples: latent, vae })
  add('SaveImage', 'Save the picture', { images: [image, 0], filename_prefix: 'ComfyUI' })
  for (const [node, { class_type: classType, inputs, _meta }] of Object.entries(prompt)) {
    for (const input of Object.keys(inputs).filter((one) => loaded.test(one) && inputs[one] === '')) {
      problems.push(
        problem('bad-value', 'foreign-no-model', { program, title: String(_meta?.title) }, { node, classType, input }),
      )
    }
  }
  return { prompt, problems }
}
/** Inputs that name a model's file. */
const loaded = /^(ckpt|unet|clip|vae)_name\d?$/

interface Build {
  add: (classType: string, title: string, inputs: Record<string, Json>) => string
  settings: PictureSettings
}

/** Models whose noise has sixteen channels and moves in a straight line. */
export const isFlow = (file: string) =>
  /flux|chroma|sd3|sd_?3\.?5|stable-?diffusion-?3|z[-_ ]?image|lumina|qwen|hidream/i.test(file)

function load({ add }: Build, { file, encoders, vae }: ModelFiles, prefix: string): Loaded {
  const gguf = (name: string) => (/\.gguf$/i.test(name) ? 'GGUF' : '')
  // A GGUF file is only ever the diffusion model: an encoder nobody named has to be chosen.
  const unnamed = /flux/i.test(file) && !isFlux2(file) ? ['', ''] : ['']
  const names = encoders.length === 0 && gguf(file) ? unnamed : encoders.slice(0, 4)
  let loaded: Omit<Loaded, 'vae'> & { vae: Link | null }
  if (names.length === 0) {
    const checkpoint = add('CheckpointLoaderSimple', `${prefix}Checkpoint`, { ckpt_name: file })
    loaded = { model: [checkpoint, 0], clip: [checkpoint, 1], vae: [checkpoint, 2] }
  } else {
    const unet = gguf(file)
      ? add('UnetLoaderGGUF', `${prefix}Diffusion model`, { unet_name: file })
      : add('UNETLoader', `${prefix}Diffusion model`, { unet_name: file, weight_dtype: 'default' })
    const inputs: Record<string, Json> = Object.fromEntries(
      names.map((name, at) => [names.length === 1 ? 'clip_name' : `clip_name${at + 1}`, name]),
    )
    if (names.length <= 2) inputs.type = encoderType(file, names)
    const classType = encoderLoaders[names.length - 1]! + (names.some(gguf) ? 'GGUF' : '')
    loaded = { model: [unet, 0], clip: [add(classType, `${prefix}Text encoder`, inputs), 0], vae: null }
  }
  const { model, clip } = loaded
  if (vae === null && loaded.vae) return { model, clip, vae: loaded.vae }
  return { model, clip, vae: [add('VAELoader', `${prefix}VAE`, { vae_name: vae ?? '' }), 0] }
}
const encoderLoaders = ['CLIPLoader', 'DualCLIPLoader', 'TripleCLIPLoader', 'QuadrupleCLIPLoader']

const isFlux2 = (file: string) => /flux[-_. ]?2/i.test(file)
const isSd3 = (file: string) => /sd_?3|diffusion-?3/i.test(file)

function encoderType(file: string, names: readonly string[]): string {
  const has = (pattern: RegExp) => names.some((name) => pattern.test(name))
  if (names.length > 1) return isSd3(file) ? 'sd3' : has(/t5/i) || isFlow(file) ? 'flux' : 'sdxl'
  if (isFlux2(file)) return 'flux2'
  if (/chroma/i.test(file)) return 'chroma'
  if (/qwen[-_ ]?image/i.test(file)) return 'qwen_image'
  if (/z[-_ ]?image|lumina/i.test(file) || has(/gemma|qwen_?3/i)) return 'lumina2'
  if (has(/t5/i)) return 'sd3'
  return 'stable_diffusion'
}

function patch({ add, settings }: Build, base: Loaded, prefix: string): Loaded {
  let { model, clip } = base
  for (const { file, model: strength_model, clip: strength_clip } of settings.loras) {
    const name = file.replace(/^.*[\\/]/s, '').replace(/\.\w+$/, '')
    const lora = add('LoraLoader', `${prefix}LoRA: ${name}`, {
      model,
      clip,
      lora_name: file,
      strength_model: clamp(strength_model, -100, 100),
      strength_clip: clamp(strength_clip, -100, 100),
    })
    model = [lora, 0]
    clip = [lora, 1]
  }
  for (const { file, strength } of settings.hypernetworks) {
    model = [
      add('HypernetworkLoader', `${prefix}Hypernetwork`, {
        model,
        hypernetwork_name: file,
        strength: clamp(strength, -10, 10),
      }),
      0,
    ]
  }
  if (settings.clipLayer !== null) {
    clip = [add('CLIPSetLastLayer', `${prefix}Clip skip`, { clip, stop_at_clip_layer: settings.clipLayer }), 0]
  }
  const shift = settings.shift === null ? null : clamp(settings.shift, 0, 100)
  const { rescale, merging } = settings
  if (shift !== null) {
    const { file } = settings.model
    const { width, height } = settings
    model = /flux/i.test(file)
      ? [add('ModelSamplingFlux', `${prefix}Shift`, { model, max_shift: shift, base_shift: shift, width, height }), 0]
      : [add(isSd3(file) ? 'ModelSamplingSD3' : 'ModelSamplingAuraFlow', `${prefix}Shift`, { model, shift }), 0]
  }
  if (rescale !== null)
    model = [add('RescaleCFG', `${prefix}Guidance rescale`, { model, multiplier: clamp(rescale, 0, 1) }), 0]
  if (merging !== null) model = [add('TomePatchModel', `${prefix}Token merging`, { model, ratio: merging }), 0]
  for (const { classType, title, inputs } of settings.patches) {
    model = [add(classType, `${prefix}${title}`, { model, ...inputs }), 0]
  }
  return { model, clip, vae: base.vae }
}

const guided = ({ add }: Build, conditioning: Link, guidance: number | null): Link =>
  guidance === null
    ? conditioning
    : [add('FluxGuidance', 'Guidance', { conditioning, guidance: clamp(guidance, 0, 100) }), 0]

function encode(
  { add }: Build,
  { parts }: Words,
  clip: Link,
  title: string,
  score?: { ascore: number; width: number; height: number },
): Link {
  const encoded = new Map<string, Link>()
  const one = (text: string): Link => {
    const known = encoded.get(text)
    if (known) return known
    const name = encoded.size === 0 ? title : `${title} (${encoded.size + 1})`
    const classType = score ? 'CLIPTextEncodeSDXLRefiner' : 'CLIPTextEncode'
    const link: Link = [add(classType, name, { ...score, text, clip }), 0]
    encoded.set(text, link)
    return link
  }
  const kept = parts.length > 1 ? parts.filter((part) => !isEmpty({ parts: [part] })) : parts
  let all: Link | null = null
  for (const { weight, spans } of kept.length > 0 ? kept : parts.slice(0, 1)) {
    for (const { start, end, texts } of spans) {
      let whole: Link | null = null
      for (const text of texts) {
        const next = one(text)
        whole = whole
          ? [add('ConditioningConcat', `${title}: joined`, { conditioning_to: whole, conditioning_from: next }), 0]
          : next
      }
      if (!whole) continue
      if (weight !== 1) {
        whole = [add('ConditioningSetAreaStrength', `${title}: weight`, { conditioning: whole, strength: weight }), 0]
      }
      if (start > 0 || end < 1) {
        whole = [add('ConditioningSetTimestepRange', `${title}: when`, { conditioning: whole, start, end }), 0]
      }
      all = all
        ? [add('ConditioningCombine', `${title}: combined`, { conditioning_1: all, conditioning_2: whole }), 0]
        : whole
    }
  }
  return all ?? one('')
}

interface FirstPass {
  latent: Link
  vae: Link
  patched: Loaded
  positive: Link
  negative: Link
}

function secondPass(build: Build, hires: Hires, first: FirstPass): { latent: Link; vae: Link } {
  const { add, settings } = build
  const { width, height, upscaler, sampling } = hires
  const crop = hires.crop ? 'center' : 'disabled'
  let loaded = first.patched
  if (hires.file !== null) {
    const model: ModelFiles = { ...settings.model, file: hires.file }
    loaded = patch(build, load(build, model, 'Hires fix: '), 'Hires fix: ')
  }
  let latent: Link
  if (upscaler.is === 'latent') {
    const inputs = { samples: first.latent, upscale_method: upscaler.method, width, height, crop }
    latent = [add('LatentUpscale', 'Hires fix: enlarge', inputs), 0]
  } else {
    let image: Link = [add('VAEDecode', 'Hires fix: latent to picture', { samples: first.latent, vae: first.vae }), 0]
    if (upscaler.is === 'model') {
      const model = add('UpscaleModelLoader', 'Hires fix: upscaler', { model_name: upscaler.file })
      image = [add('ImageUpscaleWithModel', 'Hires fix: enlarge', { upscale_model: [model, 0], image }), 0]
    }
    const upscale_method = upscaler.is === 'pixels' ? upscaler.method : 'lanczos'
    image = [add('ImageScale', 'Hires fix: size', { image, upscale_method, width, height, crop }), 0]
    latent = [add('VAEEncode', 'Hires fix: picture to latent', { pixels: image, vae: loaded.vae }), 0]
  }
  const isSame = hires.file === null
  const words = (side: Words | null, before: Words, link: Link, title: string): Link =>
    isSame && side === null ? link : encode(build, side ?? before, loaded.clip, title)
  const same = isSame && hires.positive === null && hires.guidance === settings.guidance
  const positive = same
    ? first.positive
    : guided(
        build,
        encode(build, hires.positive ?? settings.positive, loaded.clip, 'Hires fix: positive prompt'),
        hires.guidance,
      )
  const sampler = add('KSampler', 'Hires fix: sampler', {
    model: loaded.model,
    seed: settings.seed,
    steps: hires.steps,
    cfg: hires.cfg,
    sampler_name: sampling.sampler,
    scheduler: sampling.scheduler,
    positive,
    negative: words(hires.negative, settings.negative, first.negative, 'Hires fix: negative prompt'),
    latent_image: latent,
    denoise: hires.denoise,
  })
  return { latent: [sampler, 0], vae: loaded.vae }
}
