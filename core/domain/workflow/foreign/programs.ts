import { isJsonObject, type Json, type JsonObject, writeJson } from '../../../contract/json.ts'
import type { Problem } from '../../../contract/workflow.ts'
import { problem } from '../problems.ts'
import { isNumber } from '../python.ts'
import {
  type Described,
  fileOf,
  freeU,
  noticesOf,
  Options,
  seedOf,
  settingsOf,
  side,
  upscalerOf,
  withoutHash,
} from './a1111.ts'
import { nothingFound, readInvokeText, readNovelAiText, takeTags, type Words, wordsOf } from './prompt-text.ts'
import { samplingOf } from './samplers.ts'
import { clamp, isFlow, type PictureSettings } from './settings.ts'

export interface Understood {
  settings: PictureSettings
  problems: Problem[]
}

const text = (value: Json | undefined): string => (typeof value === 'string' ? value : '')
const number = (value: Json | undefined): number | null => {
  const read = typeof value === 'string' ? Number.parseFloat(value) : isNumber(value) ? Number(value) : Number.NaN
  return Number.isFinite(read) ? read : null
}
const list = (value: Json | undefined): Json[] => (Array.isArray(value) ? value : [])
const isSaid = (value: Json | undefined): boolean =>
  value !== undefined &&
  value !== null &&
  value !== '' &&
  value !== false &&
  value !== 0 &&
  !(typeof value === 'string' && /^(none|false|off|disabled|automatic|\[\])$/i.test(value)) &&
  !(typeof value === 'object' && Object.keys(value).length === 0)
const shown = (value: Json) => (typeof value === 'string' ? value : writeJson(value)).slice(0, 80)
const settingsLeft = (value: JsonObject, known: ReadonlySet<string>): string =>
  Object.entries(value)
    .filter(([key, item]) => !known.has(key) && isSaid(item))
    .slice(0, 12)
    .map(([key, item]) => `${key}: ${shown(item)}`)
    .join(', ')
const setOf = (words: string) => new Set(words.split(/\s+/))

/** Tells of one program, gathering what it says. */
class Notes {
  readonly problems: Problem[] = []
  #program: string
  #guessed = new Set<string>()
  constructor(program: string) {
    this.#program = program
  }
  tell(code: Parameters<typeof problem>[1], facts: Record<string, Json> = {}, kind: Problem['kind'] = 'warning') {
    this.problems.push(problem(kind, code, { program: this.#program, ...facts }))
  }
  lost(part: string, value: Json | undefined) {
    if (isSaid(value)) this.tell('foreign-part-missing', { part, details: shown(value!) }, 'loss')
  }
  file(name: string, ending?: string): string {
    const file = fileOf(name, ending)
    if (file !== withoutHash(name)) this.#guessed.add(file)
    return file
  }
  sampling(sampler: string, schedule: string | null) {
    const read = samplingOf(sampler || 'euler', schedule)
    if (read.near) {
      const asked = [sampler, schedule].filter(Boolean).join(', ')
      this.tell('foreign-sampler', { sampler: asked, used: `${read.sampler}, ${read.scheduler}` })
    }
    return read
  }
  done(): Problem[] {
    if (this.#guessed.size > 0) this.tell('foreign-files-guessed', { files: [...this.#guessed].join(', ') })
    return this.problems
  }
}

const plainSettings = (program: string): PictureSettings => ({
  program,
  positive: wordsOf(''),
  negative: wordsOf(''),
  model: { file: '', encoders: [], vae: null },
  loras: [],
  hypernetworks: [],
  clipLayer: null,
  sampling: { sampler: 'euler', scheduler: 'normal', near: false },
  steps: 20,
  cfg: 7,
  seed: 0,
  width: 512,
  height: 512,
  batchSize: 1,
  guidance: null,
  shift: null,
  rescale: null,
  merging: null,
  patches: [],
  from: null,
  hires: null,
  refiner: null,
})
const stepsOf = (value: Json | undefined) => clamp(Math.round(number(value) ?? 20), 1, 10_000)
const cfgOf = (value: Json | undefined, otherwise = 7) => clamp(number(value) ?? otherwise, 0, 100)
const sideOf = (value: Json | undefined, otherwise: number) => side(number(value) || otherwise)

/** Settings as JSON of any program that writes them so; null: none of those known. */
export function readSettings(value: JsonObject): Understood | null {
  const inner = isJsonObject(value.sui_image_params) ? value.sui_image_params : null
  if (inner) return fromSwarm(inner, list(value.sui_models))
  if (typeof value.app_version === 'string' && ('positive_prompt' in value || 'negative_prompt' in value)) {
    return fromInvoke(value)
  }
  if (isJsonObject(value.image) && ('model_weights' in value || 'app_id' in value))
    return fromOldInvoke(value, value.image)
  const named = Object.fromEntries(
    Object.entries(value).map(([key, item]) => [key.toLowerCase().replaceAll(' ', '_'), item]),
  )
  if ('guidance_scale' in named && 'base_model' in named && ('performance' in named || 'resolution' in named)) {
    return fromFooocus(named)
  }
  if ('uc' in value && typeof value.prompt === 'string' && 'sampler' in value) return fromNovelAi(value)
  return fromKeys(value)
}

/** AUTOMATIC1111's requests, Civitai's `meta`, Easy Diffusion, Draw Things: the same settings by other names. */
const keyNames: Readonly<Record<string, string>> = {
  negativePrompt: 'negative_prompt',
  uc: 'negative_prompt',
  c: 'prompt',
  cfg_scale: 'cfg scale',
  cfgScale: 'cfg scale',
  guidance_scale: 'cfg scale',
  scale: 'cfg scale',
  distilled_cfg_scale: 'distilled cfg scale',
  num_inference_steps: 'steps',
  sampler_name: 'sampler',
  sampler_index: 'sampler',
  scheduler: 'schedule type',
  clipSkip: 'clip skip',
  clip_skip: 'clip skip',
  batch_size: 'batch size',
  denoising_strength: 'denoising strength',
  strength: 'denoising strength',
  sd_model_name: 'model',
  sd_model_hash: 'model hash',
  sd_vae_name: 'vae',
  use_stable_diffusion_model: 'model',
  use_vae_model: 'vae',
  hr_scale: 'hires upscale',
  hr_upscaler: 'hires upscaler',
  hr_second_pass_steps: 'hires steps',
  hr_sampler_name: 'hires sampler',
  hr_scheduler: 'hires schedule type',
  hr_prompt: 'hires prompt',
  hr_negative_prompt: 'hires negative prompt',
  hr_checkpoint_name: 'hires checkpoint',
  hr_cfg: 'hires cfg scale',
  hr_distilled_cfg: 'hires distilled cfg scale',
  refiner_checkpoint: 'refiner',
  refiner_switch_at: 'refiner switch at',
  subseed_strength: 'variation seed strength',
  restore_faces: 'face restoration',
  civitaiResources: 'civitai resources',
  resources: 'civitai resources',
}
/** Switches and answers of those programs that say nothing more. */
const keysAside = setOf(
  `enable_hr n_iter send_images save_images do_not_save_samples do_not_save_grid alwayson_scripts script_name script_args
  override_settings override_settings_restore_afterwards subseed all_prompts all_seeds all_subseeds all_negative_prompts
  infotexts job_timestamp index_of_first_image extra_generation_params styles seed_resize_from_h seed_resize_from_w eta
  s_churn s_tmax s_tmin s_noise s_min_uncond comments hashes num_outputs stream_image_progress show_only_filtered_image
  output_format output_quality used_random_seed session_id is_v4 workflow baseModel id version versionId v2 sampler_options
  firstphase_width firstphase_height hr_resize_x hr_resize_y tiling init_images mask images include_init_images`,
)

function fromKeys(value: JsonObject): Understood | null {
  const isText = (key: string) => typeof value[key] === 'string'
  const has = (...keys: string[]) => keys.some((key) => key in value)
  if (!isText('prompt') && !isText('c')) return null
  if (
    !has('steps', 'num_inference_steps') ||
    !has('sampler', 'sampler_name', 'sampler_index', 'cfg_scale', 'cfgScale', 'guidance_scale')
  ) {
    return null
  }
  const entries: [string, string][] = []
  for (const [key, item] of Object.entries(value)) {
    const name = keyNames[key] ?? key
    if (keysAside.has(key) || name === 'prompt' || name === 'negative_prompt' || !isSaid(item)) continue
    if (/^(hr_|hires)/.test(key) && value.enable_hr === false) continue
    entries.push([name, typeof item === 'object' ? writeJson(item) : String(item)])
  }
  const override = isJsonObject(value.override_settings) ? value.override_settings : {}
  if (isText('sd_model_checkpoint')) entries.push(['model', text(value.sd_model_checkpoint)])
  if (text(override.sd_model_checkpoint)) entries.push(['model', text(override.sd_model_checkpoint)])
  if (text(override.sd_vae)) entries.push(['vae', text(override.sd_vae)])
  const layers = number(override.CLIP_stop_at_last_layers)
  if (layers !== null) entries.push(['clip skip', String(layers)])
  const scripts = isJsonObject(value.alwayson_scripts) ? Object.entries(value.alwayson_scripts) : []
  for (const [script, args] of scripts) if (isSaid(args)) entries.push([script, shown(args)])
  const isFromPicture = isSaid(value.init_images)
  if (isFromPicture && !('denoising_strength' in value)) entries.push(['denoising strength', '0.75'])
  if (isSaid(value.mask)) entries.push(['Mask mode', 'given'])
  if (!isFromPicture && value.enable_hr !== true && 'enable_hr' in value) {
    const at = entries.findIndex(([key]) => key === 'denoising strength')
    if (at >= 0) entries.splice(at, 1) // a request holds it even when nothing uses it
  }
  const described: Described = {
    positive: text(value.prompt) || text(value.c),
    negative: text(value.negative_prompt) || text(value.negativePrompt) || text(value.uc),
    options: new Options(entries),
  }
  const isCivitai = 'cfgScale' in value || 'civitaiResources' in value
  const isEasy = 'num_inference_steps' in value
  const program = isCivitai ? 'Civitai' : isEasy ? 'Easy Diffusion' : isText('c') ? 'Draw Things' : undefined
  const understood = settingsOf(described, program)
  const extra = list(value.styles)
  if (extra.length > 0) {
    understood.problems.push(
      problem('loss', 'foreign-part-missing', {
        program: understood.settings.program,
        part: 'Styles',
        details: shown(extra),
      }),
    )
  }
  return understood
}

const fooocusAside = setOf(
  `prompt negative_prompt full_prompt full_negative_prompt prompt_expansion fooocus_v2_expansion styles performance steps
  resolution guidance_scale base_model base_model_hash refiner_model refiner_model_hash refiner_switch clip_skip sampler
  scheduler vae seed loras metadata_scheme version created_by lora_hashes lora_weights image_number user time_sec total_time
  overwrite_switch refiner_swap_method freeu`,
)

function fromFooocus(value: JsonObject): Understood {
  const notes = new Notes('Fooocus')
  const found = nothingFound()
  const words = (full: Json | undefined, raw: Json | undefined): Words => {
    const texts = (list(full).length > 0 ? list(full) : [raw ?? '']).map((one) => takeTags(text(one), found).trim())
    return wordsOf(...texts)
  }
  const positive = words(value.full_prompt, value.prompt)
  const negative = words(value.full_negative_prompt, value.negative_prompt)
  if (list(value.full_prompt).length === 0) notes.lost('Styles', value.styles)
  const [, width, height] = /(\d{2,5})\D+(\d{2,5})/.exec(text(value.resolution)) ?? []
  const loras = list(value.loras).flatMap((one) => {
    const [name, weight] = list(one)
    return typeof name === 'string' ? [{ name, weight: number(weight) ?? 1 }] : []
  })
  const keys = Object.keys(value).filter((key) => /^lora_(combined_)?\d+$/.test(key))
  if (loras.length === 0) {
    for (const key of keys) {
      const [name, weight] = text(value[key]).split(/ : (?=[^:]*$)/)
      if (name && name !== 'None') loras.push({ name, weight: number(weight) ?? 1 })
    }
  }
  for (const { name, model } of found.loras) loras.push({ name, weight: model })
  const refiner = text(value.refiner_model)
  const vae = text(value.vae)
  const skip = number(value.clip_skip)
  const steps = number(value.steps) ?? fooocusSteps[text(value.performance).toLowerCase()] ?? 30
  const settings: PictureSettings = {
    ...plainSettings('Fooocus'),
    positive,
    negative,
    model: {
      file: notes.file(text(value.base_model)),
      encoders: [],
      vae: vae === '' || /^(default.*|none)$/i.test(vae) ? null : notes.file(vae),
    },
    loras: loras.slice(0, 100).map(({ name, weight }) => ({ file: notes.file(name), model: weight, clip: weight })),
    clipLayer: skip !== null && skip > 1 ? -clamp(Math.round(skip), 1, 24) : null,
    patches: freeU(text(value.freeu)),
    sampling: notes.sampling(text(value.sampler), text(value.scheduler) || null),
    steps: stepsOf(steps),
    cfg: cfgOf(value.guidance_scale, 4),
    seed: seedOf(value.seed),
    width: sideOf(width, 1024),
    height: sideOf(height, 1024),
    refiner:
      refiner === '' || refiner === 'None'
        ? null
        : { file: notes.file(refiner), switchAt: clamp(number(value.refiner_switch) ?? 0.8, 0, 1) },
  }
  const left = settingsLeft(value, new Set([...fooocusAside, ...keys]))
  if (left !== '') notes.tell('foreign-settings-unused', { settings: left })
  return { settings, problems: [...notes.done(), ...noticesOf('Fooocus', found, 'CPU')] }
}
const fooocusSteps: Readonly<Record<string, number>> = {
  quality: 60,
  speed: 30,
  'extreme speed': 8,
  lightning: 4,
  'hyper-sd': 4,
}

const invokeAside = setOf(
  `app_version generation_mode positive_prompt negative_prompt positive_style_prompt negative_style_prompt width height seed
  rand_device cfg_scale cfg_rescale_multiplier steps scheduler clip_skip model vae loras strength guidance t5_encoder
  clip_embed_model clip_g_embed_model clip_l_embed_model qwen3_encoder refiner_model refiner_start refiner_steps refiner_scheduler
  refiner_cfg_scale refiner_positive_aesthetic_score refiner_negative_aesthetic_score controlnets ipAdapters t2iAdapters
  control_layers hrf_enabled hrf_method hrf_strength hrf_width hrf_height seamless_x seamless_y init_image canvas_v2_metadata
  ref_images regions`,
)
const nameOf = (value: Json | undefined): string => {
  if (typeof value === 'string') return value
  return isJsonObject(value) ? text(value.name) || text(value.model_name) : ''
}

function fromInvoke(value: JsonObject): Understood {
  const program = 'InvokeAI'
  const notes = new Notes(program)
  const found = nothingFound()
  const words = (own: Json | undefined, style: Json | undefined): Words => {
    if (text(style) !== '' && text(style) !== text(own)) notes.lost('Style prompt', style)
    return wordsOf(readInvokeText(text(own), found))
  }
  const model = notes.file(nameOf(value.model))
  const encoders = [
    value.clip_embed_model,
    value.clip_l_embed_model,
    value.clip_g_embed_model,
    value.t5_encoder,
    value.qwen3_encoder,
  ]
    .map(nameOf)
    .filter((name) => name !== '')
    .map((name) => notes.file(name))
  const loras = list(value.loras).flatMap((one) => {
    if (!isJsonObject(one)) return []
    const name = nameOf(one.model) || nameOf(one.lora)
    const weight = number(one.weight) ?? 1
    return name === '' ? [] : [{ file: notes.file(name), model: weight, clip: weight }]
  })
  for (const { name, model, clip } of found.loras) loras.push({ file: notes.file(name), model, clip })
  const vae = nameOf(value.vae)
  const skip = number(value.clip_skip) ?? 0
  const mode = text(value.generation_mode)
  const masked = /inpaint|outpaint/.test(mode)
  const isFlux = /flux/.test(mode) || isFlow(model) || encoders.length > 0
  const refiner = nameOf(value.refiner_model)
  if (value.hrf_enabled === true) {
    const { hrf_method, hrf_strength } = value
    notes.lost('High resolution fix', { hrf_method: hrf_method ?? null, hrf_strength: hrf_strength ?? null })
  }
  notes.lost('ControlNet', value.controlnets)
  notes.lost('IP-Adapter', value.ipAdapters)
  notes.lost('T2I-Adapter', value.t2iAdapters)
  notes.lost('Reference images', value.ref_images)
  notes.lost('Regions', value.regions)
  notes.lost('Tiling', isSaid(value.seamless_x) || isSaid(value.seamless_y))
  if (masked) notes.lost('Inpainting', mode)
  const settings: PictureSettings = {
    ...plainSettings(program),
    positive: words(value.positive_prompt, value.positive_style_prompt),
    negative: words(value.negative_prompt, value.negative_style_prompt),
    model: { file: model, encoders, vae: vae === '' ? null : notes.file(vae) },
    loras: loras.slice(0, 100),
    clipLayer: skip > 0 && !isFlux ? -clamp(Math.round(skip) + 1, 1, 24) : null,
    sampling: notes.sampling(text(value.scheduler), isFlux ? 'simple' : null),
    steps: stepsOf(value.steps),
    cfg: cfgOf(value.cfg_scale, isFlux ? 1 : 7),
    seed: seedOf(value.seed),
    width: sideOf(value.width, 512),
    height: sideOf(value.height, 512),
    guidance: isFlux ? number(value.guidance) : null,
    rescale: number(value.cfg_rescale_multiplier) || null,
    from: /img2img|inpaint|outpaint/.test(mode)
      ? { denoise: clamp(number(value.strength) ?? 0.75, 0, 1), masked }
      : null,
    refiner:
      refiner === '' ? null : { file: notes.file(refiner), switchAt: clamp(number(value.refiner_start) ?? 0.8, 0, 1) },
  }
  const left = settingsLeft(value, invokeAside)
  if (left !== '') notes.tell('foreign-settings-unused', { settings: left })
  return { settings, problems: [...notes.done(), ...noticesOf(program, found, text(value.rand_device))] }
}

/** InvokeAI before version 3: `sd-metadata`. The negative words stand in square brackets. */
function fromOldInvoke(value: JsonObject, image: JsonObject): Understood {
  const prompt = isJsonObject(list(image.prompt)[0])
    ? text((list(image.prompt)[0] as JsonObject).prompt)
    : text(image.prompt)
  const negatives = [...prompt.matchAll(/\[([^[\]]{0,2000})\]/g)].map(([, words]) => words!)
  return fromInvoke({
    app_version: text(value.app_version),
    positive_prompt: prompt.replace(/\[[^[\]]{0,2000}\]/g, '').trim(),
    negative_prompt: negatives.join(', '),
    model: text(value.model_weights),
    generation_mode: text(image.type),
    scheduler: image.sampler ?? '',
    ...Object.fromEntries(
      ['steps', 'cfg_scale', 'seed', 'width', 'height', 'strength'].flatMap((key) =>
        image[key] === undefined ? [] : [[key, image[key]!]],
      ),
    ),
    ...(image.hires_fix === true && { hrf_enabled: true }),
    ...(isSaid(image.facetool_strength) && { face_restoration: image.facetool_strength! }),
    ...(isSaid(image.variations) && { variations: image.variations! }),
  })
}

const novelAside = setOf(
  `prompt uc steps height width scale seed n_samples noise_schedule sampler request_type v4_prompt v4_negative_prompt
  cfg_rescale signed_hash version params_version legacy legacy_v3_extend hide_debug_overlay sampler_no deliberate_euler_ancestral_bug
  prefer_brownian strength noise add_original_image extra_noise_seed uncond_per_vibe wonky_vibe_correlation stream
  skip_cfg_below_sigma lora_unet_weights lora_clip_weights deliberate_euler_ancestral_bug controlnet_model
  cfg_sched_eligibility explike_fine_detail minimize_sigma_inf uncond_per_vibe reference_image_multiple
  reference_strength_multiple reference_information_extracted_multiple normalize_reference_strength_multiple`,
)

function fromNovelAi(value: JsonObject): Understood {
  const program = 'NovelAI'
  const notes = new Notes(program)
  const found = nothingFound()
  const words = (own: Json | undefined, v4: Json | undefined): Words => {
    const caption = isJsonObject(v4) && isJsonObject(v4.caption) ? v4.caption : {}
    const people = list(caption.char_captions).map((one) => (isJsonObject(one) ? text(one.char_caption) : ''))
    const texts = [text(caption.base_caption) || text(own), ...people.filter((one) => one !== '')]
    return wordsOf(...texts.map((one) => readNovelAiText(one, found)))
  }
  const mode = text(value.request_type)
  const masked = /infill|inpaint/i.test(mode)
  notes.lost('SMEA', value.sm === true || value.sm_dyn === true)
  notes.lost('Vibe transfer', value.reference_image_multiple ?? value.reference_strength_multiple)
  notes.lost('ControlNet', value.controlnet_model)
  if (masked) notes.lost('Inpainting', mode)
  const settings: PictureSettings = {
    ...plainSettings(program),
    positive: words(value.prompt, value.v4_prompt),
    negative: words(value.uc, value.v4_negative_prompt),
    sampling: notes.sampling(text(value.sampler).replace(/_v\d$/, ''), text(value.noise_schedule) || null),
    steps: stepsOf(value.steps),
    cfg: cfgOf(value.scale, 5),
    seed: seedOf(value.seed),
    width: sideOf(value.width, 832),
    height: sideOf(value.height, 1216),
    batchSize: clamp(Math.round(number(value.n_samples) ?? 1), 1, 4096),
    rescale: number(value.cfg_rescale) || null,
    from: /img2img/i.test(mode) || masked ? { denoise: clamp(number(value.strength) ?? 0.7, 0, 1), masked } : null,
  }
  const plainUncond = value.uncond_scale === 1 ? ['uncond_scale'] : []
  const left = settingsLeft(value, new Set([...novelAside, ...plainUncond, 'sm', 'sm_dyn']))
  if (left !== '') notes.tell('foreign-settings-unused', { settings: left })
  return { settings, problems: [...notes.done(), ...noticesOf(program, found)] }
}

const swarmAside = setOf(
  `prompt negativeprompt model seed steps cfgscale aspectratio width height sidelength sampler scheduler vae automaticvae loras
  loraweights loratencweights fluxguidancescale sigmashift initimagecreativity refinermodel refinercontrol
  refinercontrolpercentage refinermethod refinerupscale refinerupscalemethod refinersteps refinercfgscale clipstopatlayer
  batchsize images variationseed variationseedstrength swarm_version date generation_time prep_time used_wildcards original_prompt original_negativeprompt
  personalnote presets internalbackendtype imageformat donotsave wildcardseed modelspecificenhancements outpath
  colorcorrectionbehavior initimage maskimage refinersampler refinerscheduler comfyuisampler comfyuischeduler clipskip t5xxlmodel clipgmodel cliplmodel`,
)

function fromSwarm(value: JsonObject, models: Json[]): Understood {
  const program = 'SwarmUI'
  const notes = new Notes(program)
  const found = nothingFound()
  // The list of models used has their files' names, endings included.
  const files = models.flatMap((one) => (isJsonObject(one) && text(one.name) !== '' ? [text(one.name)] : []))
  const file = (name: string, ending?: string) =>
    files.find((one) => one === name || one.replace(/\.\w+$/, '') === name) ?? notes.file(name, ending)
  const words = (raw: Json | undefined): Words => {
    const marked = text(raw)
      .replace(/<(?:embed|embedding):([^<>:]+)(?::[^<>]*)?>/g, 'embedding:$1')
      .replace(/<comment:[^<>]*>/g, '')
    const texts = takeTags(marked, found, 'model').split(/<break>/)
    return wordsOf(...texts.map((one) => one.trim()))
  }
  const positive = words(value.prompt)
  const negative = words(value.negativeprompt)
  const names = Array.isArray(value.loras) ? value.loras.map(text) : text(value.loras).split(',')
  const weightsOf = (list: Json | undefined) =>
    (Array.isArray(list) ? list : text(list).split(',')).map((one) => number(one))
  const weights = weightsOf(value.loraweights)
  const clips = weightsOf(value.loratencweights)
  const loras = names
    .map((name) => name.trim())
    .flatMap((name, at) => {
      const model = weights[at] ?? 1
      return name === '' ? [] : [{ file: file(name), model, clip: clips[at] ?? model }]
    })
  const known = new Set(loras.map((one) => one.file))
  for (const { name, model, clip } of found.loras)
    if (!known.has(file(name))) loras.push({ file: file(name), model, clip })
  const model = file(text(value.model))
  const vae = text(value.vae)
  const sampling = notes.sampling(
    text(value.sampler) || text(value.comfyuisampler),
    text(value.scheduler) || text(value.comfyuischeduler) || null,
  )
  const width = sideOf(value.width, 512)
  const height = sideOf(value.height, 512)
  const steps = stepsOf(value.steps)
  const flux = isFlow(model)
  const cfg = cfgOf(value.cfgscale, flux ? 1 : 7)
  const guidance = number(value.fluxguidancescale)
  const other = text(value.refinermodel)
  const control = number(value.refinercontrolpercentage) ?? number(value.refinercontrol)
  const scale = number(value.refinerupscale) ?? 1
  const isSwap = /stepswap/i.test(text(value.refinermethod)) && scale === 1
  const method = text(value.refinerupscalemethod)
  const masked = isSaid(value.maskimage)
  const settings: PictureSettings = {
    ...plainSettings(program),
    positive,
    negative,
    model: {
      file: model,
      encoders: [value.cliplmodel, value.clipgmodel, value.t5xxlmodel]
        .map(text)
        .filter(Boolean)
        .map((one) => file(one)),
      vae: vae === '' || /^(none|automatic)$/i.test(vae) ? null : file(vae),
    },
    loras: loras.slice(0, 100),
    clipLayer:
      number(value.clipstopatlayer) === null ? null : clamp(Math.round(number(value.clipstopatlayer)!), -24, -1),
    sampling,
    steps,
    cfg,
    seed: seedOf(value.seed),
    width,
    height,
    batchSize: clamp(Math.round(number(value.batchsize) ?? 1), 1, 4096),
    guidance: guidance ?? (/flux/i.test(model) ? 3.5 : null),
    shift: flux ? number(value.sigmashift) : null,
    from:
      isSaid(value.initimage) || number(value.initimagecreativity) !== null
        ? { denoise: clamp(number(value.initimagecreativity) ?? 0.6, 0, 1), masked }
        : null,
    refiner:
      other !== '' && isSwap && control !== null ? { file: file(other), switchAt: clamp(1 - control, 0, 1) } : null,
    hires:
      control === null || isSwap
        ? null
        : {
            width: side(width * scale),
            height: side(height * scale),
            crop: false,
            upscaler: /^model-/.test(method)
              ? { is: 'model', file: fileOf(method.slice(6), '.pth') }
              : /^latent/.test(method)
                ? { is: 'latent', method: latentMethod(method.slice(7)) }
                : /^(pixel-|$)/.test(method)
                  ? { is: 'pixels', method: pixelMethod(method.slice(6)) }
                  : upscalerOf(method),
            steps: stepsOf(value.refinersteps ?? steps),
            denoise: clamp(control, 0, 1),
            cfg: cfgOf(value.refinercfgscale, cfg),
            guidance: guidance ?? (/flux/i.test(model) ? 3.5 : null),
            sampling:
              text(value.refinersampler) === ''
                ? sampling
                : notes.sampling(text(value.refinersampler), text(value.refinerscheduler) || null),
            positive: null,
            negative: null,
            file: other === '' || /^\(?use base/i.test(other) ? null : file(other),
          },
  }
  for (const [key, item] of Object.entries(value)) {
    if (/^controlnet.*model/.test(key)) notes.lost('ControlNet', item)
    else if (/^video/.test(key)) notes.lost('Video', item)
    else if (key === 'variationseedstrength') notes.lost('Variation seed', item)
  }
  if (masked) notes.lost('Inpainting', 'mask')
  const rest = Object.fromEntries(Object.entries(value).filter(([key]) => !/^(controlnet|video)/.test(key)))
  const left = settingsLeft(rest, swarmAside)
  if (left !== '') notes.tell('foreign-settings-unused', { settings: left })
  return { settings, problems: [...notes.done(), ...noticesOf(program, found, 'CPU')] }
}
const latentMethod = (name: string) =>
  ['nearest-exact', 'bilinear', 'area', 'bicubic', 'bislerp'].find((one) => one === name) ?? 'bilinear'
const pixelMethod = (name: string) =>
  ['nearest-exact', 'bilinear', 'area', 'bicubic', 'lanczos'].find((one) => one === name) ?? 'lanczos'

/** InvokeAI before metadata was JSON: `"a cat [dog]" -s 50 -S 123 -W 512 -H 512 -C 7.5 -A k_lms`. */
export function readDream(line: string): Understood | null {
  const [, quoted, rest] = /^\s*(?:dream>\s*)?"((?:[^"\\]|\\.)*)"(\s+-[^"]*)$/s.exec(line.slice(0, 24_000)) ?? []
  if (quoted === undefined || rest === undefined) return null
  const option = (flag: string) => new RegExp(`\\s-${flag} {0,4}([^\\s]+)`).exec(rest)?.[1]
  const steps = option('s')
  const sampler = option('A')
  if (steps === undefined || sampler === undefined) return null
  const strength = option('f')
  return fromOldInvoke(
    {},
    {
      prompt: quoted,
      sampler,
      steps,
      seed: option('S') ?? '',
      width: option('W') ?? '',
      height: option('H') ?? '',
      cfg_scale: option('C') ?? '',
      type: strength === undefined ? 'txt2img' : 'img2img',
      ...(strength !== undefined && { strength }),
    },
  )
}
