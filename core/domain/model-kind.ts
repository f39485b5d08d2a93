import type { ModelKind } from '../contract/model.ts'

/** What a header tells of a file's tensors. A pickle tells names alone: its shapes are empty. */
export interface TensorTable {
  readonly names: readonly string[]
  has(name: string): boolean
  /** Empty: not known. */
  shape(name: string): readonly number[]
}
export interface Told {
  readonly kind: ModelKind | null
  readonly base: string | null
}

export const tensorTable = (shapes: ReadonlyMap<string, readonly number[]>): TensorTable => ({
  names: [...shapes.keys()],
  has: (name) => shapes.has(name),
  shape: (name) => shapes.get(name) ?? [],
})

/**
 * What a file is, by the names and shapes of its tensors, as ComfyUI itself tells them apart (comfy/model_detection.py),
 * and by what its trainer noted. `name` decides only between models that are alike inside.
 */
export function tellKind(table: TensorTable, metadata: Readonly<Record<string, string>>, name: string): Told {
  const told = byTensors(table, metadata)
  const base = (told.base ?? baseInMetadata(metadata)) || null
  return { kind: told.kind, base: base && closer(base, name) }
}

function byTensors(table: TensorTable, metadata: Readonly<Record<string, string>>): Told {
  const some = (pattern: RegExp) => table.names.some((name) => pattern.test(name))
  if (some(/\.lora_(up|down|A|B)\b|\.hada_w1|\.lokr_w|\.oft_blocks|\.dora_scale$|\.lora_linear_layer\./))
    return some(/^lora_controlnet$/)
      ? { kind: 'controlnet', base: 'SDXL' }
      : { kind: 'lora', base: baseInMetadata(metadata) ?? baseOfLora(table) }
  if (
    some(
      /^(control_model|control_net)\.|^(controlnet_(cond_embedding|blocks|x_embedder|down_blocks)|zero_convs|input_hint_block)[._]|^controlnet_mode_embedder/,
    )
  )
    return { kind: 'controlnet', base: baseOfControl(table) }
  if (some(/^(adapter\.)?body\.0\.(resnets|block1|in_conv)/)) return { kind: 'controlnet', base: null }
  if (some(/motion_modules\.\d/)) return { kind: 'motion-module', base: motionBase(table) }
  if (some(/^(ip_adapter|image_proj)\./) || (table.has('image_proj') && table.has('ip_adapter')))
    return { kind: 'ipadapter', base: null }
  if (table.has('redux_up.weight') || table.has('style_embedding')) return { kind: 'style-model', base: null }
  if (some(/^(id_encoder|qformer_perceiver)\./)) return { kind: 'photomaker', base: 'SDXL' }
  if (some(/position_net\.(linears|null_)/)) return { kind: 'gligen', base: null }

  for (const prefix of ['model.diffusion_model.', 'model.model.', 'net.', 'diffusion_model.', '']) {
    if (prefix !== '' && !table.names.some((each) => each.startsWith(prefix))) continue
    const base = baseOfDiffusion(table, prefix)
    if (base === null && prefix !== 'model.diffusion_model.') continue
    const whole = some(/^(first_stage_model|vae|cond_stage_model|conditioner|text_encoders|text_encoder)\./)
    return { kind: whole ? 'checkpoint' : 'diffusion-model', base }
  }
  return byOtherTensors(table, some)
}

function byOtherTensors(table: TensorTable, some: (pattern: RegExp) => boolean): Told {
  const { has, shape, names } = table
  const t5 = shape('shared.weight')
  if (some(/^encoder\.block\.0\.layer\.0\.SelfAttention\.|^(enc\.)?blk\.0\.attn_rel_b|^enc\.blk\.0\./))
    return { kind: 'text-encoder', base: t5[0] === 256384 ? 'UMT5-XXL' : (t5[1] ?? 4096) === 4096 ? 'T5-XXL' : 'T5' }
  const clip = shape('text_model.embeddings.token_embedding.weight')
  if (some(/^(text_model\.encoder|text_model\.embeddings|transformer\.text_model)\./) && !some(/^vision_model\./))
    return { kind: 'text-encoder', base: clip[1] === 1280 ? 'CLIP-G' : clip[1] === 768 ? 'CLIP-L' : 'CLIP' }
  if (some(/^(vision_model\.(encoder|embeddings)|visual\.transformer\.resblocks)\./) && !some(/^model\.layers\.0\./))
    return some(/^text_model\./) ? { kind: 'text-encoder', base: 'CLIP' } : { kind: 'clip-vision', base: null }
  if (some(/^(model\.|language_model\.)*layers\.0\.self_attn\.[qk]_proj\./)) {
    const [vocabulary, width] = shape('model.embed_tokens.weight')
    return { kind: 'text-encoder', base: languageModel(vocabulary, width, some) }
  }
  if (some(/^(encoder\.feature_extractor|wav2vec2|audio_encoder)\./)) return { kind: 'audio-encoder', base: null }
  const isDecoder = some(/^(vae\.)?(first_stage_model\.)?decoder\.(conv_in|conv1|up_blocks|middle|up\.)/)
  if (isDecoder && some(/encoder\.(conv_in|conv1|down_blocks|down\.)/))
    return { kind: 'vae', base: baseOfVae(table, some) }
  if (some(/^(encoder|decoder)\.layers\.\d+\.(conv|weight)/) || has('taesd_decoder.1.weight')) {
    if (names.length < 200) return { kind: 'vae-approx', base: null }
  }
  if (names.length > 10 && names.every((each) => /^\d+\.(conv\.\d+\.|skip\.)?(weight|bias)$/.test(each)))
    return { kind: 'vae-approx', base: null }
  if (isDecoder) return { kind: 'vae', base: baseOfVae(table, some) }
  if (some(/^(params(_ema)?\.)?(model\.0\.weight|model\.1\.sub\.\d|conv_first\.|body\.0\.rdb1|conv_body\.)/))
    return { kind: shape('model.0.weight').length === 2 ? null : 'upscaler', base: null }
  if (has('params_ema') || some(/^(layers\.0\.residual_group|body\.0\.weight$|trunk_net|feats\.0)/))
    return { kind: 'upscaler', base: null }
  if (some(/^ultralytics\.|^image_encoder\.blocks\.0\./)) return { kind: 'detector', base: null }
  if (has('emb_params')) return { kind: 'embedding', base: baseOfEmbedding(shape('emb_params').at(-1)) }
  if (has('string_to_param')) return { kind: 'embedding', base: null }
  if (names.length <= 3 && has('clip_g') && has('clip_l')) return { kind: 'embedding', base: 'SDXL' }
  return { kind: null, base: null }
}

/** The family of the network that draws; null: nobody here knows it. */
function baseOfDiffusion({ has, shape, names }: TensorTable, prefix: string): string | null {
  const is = (name: string) => has(prefix + name)
  const size = (name: string) => shape(prefix + name)
  const begins = (start: string) => names.some((each) => each.startsWith(prefix + start))

  if (is('joint_blocks.0.context_block.attn.qkv.weight')) {
    const width = size('context_embedder.weight')[0] ?? 0
    if (begins('joint_blocks.0.x_block.attn2.')) return 'SD 3.5 Medium'
    if (width >= 2432) return 'SD 3.5 Large'
    return 'SD 3'
  }
  if (is('clf.1.weight')) return 'Stable Cascade'
  if (begins('transformer.rotary_pos_emb.')) return 'Stable Audio'
  if (is('double_layers.0.attn.w1q.weight')) return 'AuraFlow'
  if (is('mlp_t5.0.weight')) return 'Hunyuan-DiT'
  if (is('txt_in.individual_token_refiner.blocks.0.norm1.weight'))
    return begins('vision_in.') ? 'HunyuanVideo 1.5' : begins('time_r_in.') ? 'HunyuanImage' : 'HunyuanVideo'
  if (begins('double_blocks.0.img_attn.norm.key_norm.')) {
    if (begins('double_stream_modulation_img.')) return 'FLUX.2'
    if (begins('distilled_guidance_layer.')) return 'Chroma'
    const channels = size('img_in.weight')[1] ?? 64
    if (channels === 384) return 'FLUX.1 Fill'
    if (channels === 128) return 'FLUX.1 Canny/Depth'
    if (is('latent_in.weight')) return 'Hunyuan3D'
    return begins('guidance_in.') ? 'FLUX.1 dev' : 'FLUX.1 schnell'
  }
  if (is('latent_in.weight')) return 'Hunyuan3D'
  if (is('t5_yproj.weight')) return 'Mochi'
  if (is('adaln_single.emb.timestep_embedder.linear_1.bias'))
    return begins('audio_adaln_single.') ? 'LTX-2' : begins('pos_embed.proj.') ? 'PixArt' : 'LTX-Video'
  if (is('genre_embedder.weight') || begins('encoder.lyric_encoder.')) return 'ACE-Step'
  if (is('t_block.1.weight')) return 'PixArt'
  if (begins('blocks.block0.blocks.0.block.attn.')) return 'Cosmos'
  if (is('cap_embedder.1.weight') && begins('noise_refiner.0.attention.'))
    return is('cap_pad_token') || size('cap_embedder.1.weight')[0] === 3840 ? 'Z-Image' : 'Lumina 2'
  if (is('head.modulation')) {
    const [width, channels] = size('patch_embedding.weight')
    if (width === 3072) return 'Wan 2.2 5B'
    if (width === 1536) return 'Wan 2.1 1.3B'
    return channels === 36 && !is('img_emb.proj.0.bias') ? 'Wan 2.2' : 'Wan 2.1'
  }
  if (begins('caption_projection.0.linear.')) return 'HiDream'
  if (is('blocks.0.mlp.layer1.weight')) return 'Cosmos Predict2'
  if (begins('time_caption_embed.timestep_embedder.')) return 'OmniGen2'
  if (begins('txt_norm.') && begins('transformer_blocks.0.')) return 'Qwen-Image'
  if (begins('visual_transformer_blocks.0.')) return 'Kandinsky 5'
  if (is('blocks.0.norm1.linear.weight')) return 'CogVideoX'
  if (is('blocks.31.mlp.all.proj_in_gate.weight') || is('blocks.35.mlp.vid.proj_out.weight')) return 'SeedVR2'
  if (is('input_blocks.0.0.weight') || is('conv_in.weight')) return baseOfUnet(size, is, begins)
  return null
}

function baseOfUnet(
  size: (name: string) => readonly number[],
  is: (name: string) => boolean,
  begins: (start: string) => boolean,
): string | null {
  const first = is('input_blocks.0.0.weight')
  if (!first && !begins('down_blocks.')) return null
  const deep = first ? 'input_blocks.4.1.' : 'down_blocks.1.attentions.0.'
  const shallow = first ? 'input_blocks.1.1.' : 'down_blocks.0.attentions.0.'
  const keys = 'transformer_blocks.0.attn2.to_k.weight'
  const width = size(deep + keys)[1] ?? size(shallow + keys)[1]
  if (begins(`${first ? 'input_blocks.1.1' : 'down_blocks.0.attentions.0'}.time_stack`)) return 'SVD'
  if (width === 2048) return 'SDXL'
  if (width === 1280) return 'SDXL Refiner'
  if (width === 1024) return begins('input_blocks.1.2.') ? 'SVD' : 'SD 2'
  if (width === 768) return 'SD 1.5'
  return begins('label_emb.') || begins('add_embedding.') ? 'SDXL' : null
}

/** By the layers a LoRA changes, and how wide they are. */
function baseOfLora({ names, shape }: TensorTable): string | null {
  const some = (pattern: RegExp) => names.some((name) => pattern.test(name))
  const width = (pattern: RegExp) => {
    const found = names.find((name) => pattern.test(name) && /lora_(down|A)\b/.test(name))
    return found === undefined ? undefined : shape(found)[1]
  }
  if (
    some(/double_stream_modulation|single_blocks.*linear1.*/) &&
    width(/double_blocks[._]0[._]img_attn[._]qkv/) === 6144
  )
    return 'FLUX.2'
  if (some(/double_blocks[._]\d+[._]img_attn_qkv/)) return 'HunyuanVideo'
  if (some(/double_blocks[._]\d+[._]img_attn[._]qkv/)) return 'FLUX.1 dev'
  if (some(/individual_token_refiner/)) return 'HunyuanVideo'
  if (some(/single_transformer_blocks[._]\d+[._]/)) return 'FLUX.1 dev'
  if (some(/joint_blocks[._]\d+/)) return 'SD 3.5 Large'
  if (some(/transformer_blocks[._]\d+[._](img_mlp|img_mod|txt_mlp|txt_mod|attn[._]add_q_proj)/)) return 'Qwen-Image'
  if (some(/\blayers[._]\d+[._]attention[._]/) || some(/noise_refiner[._]/))
    return (width(/layers[._]\d+[._]attention/) ?? 3840) === 3840 ? 'Z-Image' : 'Lumina 2'
  if (some(/blocks[._]\d+[._](self_attn|cross_attn)[._][qkvo]\b/)) {
    const wide = width(/blocks[._]\d+[._]self_attn[._]q\b/)
    return wide === 3072 ? 'Wan 2.2 5B' : wide === 1536 ? 'Wan 2.1 1.3B' : 'Wan 2.1'
  }
  if (some(/^lora_te[12]_|text_encoder_2\./)) return 'SDXL'
  const context = width(/attn2[._]to_k/)
  if (context === 2048) return 'SDXL'
  if (context === 1280) return 'SDXL Refiner'
  if (context === 1024) return 'SD 2'
  if (context === 768) return 'SD 1.5'
  if (some(/transformer_blocks[._]\d+[._]attn1[._]/) && !some(/down_blocks|input_blocks/)) return 'LTX-Video'
  if (some(/^lora_unet_input_blocks_[78]_1_transformer_blocks_[2-9]/)) return 'SDXL'
  return null
}

function baseOfControl({ names, shape }: TensorTable): string | null {
  if (names.some((name) => /double_blocks\.|single_transformer_blocks\.|controlnet_x_embedder/.test(name)))
    return names.some((name) => name.includes('img_mlp')) && names.some((name) => name.includes('txt_norm'))
      ? 'Qwen-Image'
      : 'FLUX.1 dev'
  const keys = names.find((name) => /attn2\.to_k\.weight$/.test(name))
  const width = keys === undefined ? undefined : shape(keys)[1]
  return width === 2048 ? 'SDXL' : width === 1024 ? 'SD 2' : width === 768 ? 'SD 1.5' : null
}

function motionBase({ names }: TensorTable): string | null {
  return names.some((name) => /^down_blocks\.3\./.test(name)) ? 'SD 1.5' : 'SDXL'
}

function baseOfVae({ shape, has }: TensorTable, some: (pattern: RegExp) => boolean): string | null {
  if (some(/decoder\.middle\.0\.residual\.0\.gamma$/)) {
    const channels = shape('decoder.conv1.weight')[1]
    return channels === 48 ? 'Wan 2.2 5B' : 'Wan 2.1'
  }
  if (some(/decoder\.up_blocks\.0\.res_blocks\.0\.conv1\.conv\./)) return 'LTX-Video'
  const [, channels, ...kernel] =
    shape('decoder.conv_in.weight').length > 0 ? shape('decoder.conv_in.weight') : shape('decoder.conv_in.conv.weight')
  if (has('decoder.conv_in.conv.weight')) return 'HunyuanVideo'
  if (channels === 32) return 'FLUX.2'
  if (channels === 16 && kernel.length <= 2) return 'FLUX.1'
  return null
}

const baseOfEmbedding = (width: number | undefined) =>
  width === 768 ? 'SD 1.5' : width === 1024 ? 'SD 2' : width === 1280 ? 'SDXL' : null

function languageModel(vocabulary = 0, width = 0, some: (pattern: RegExp) => boolean): string | null {
  const sees = some(/^(model\.)?visual\./)
  if (vocabulary === 152064 && width === 3584) return 'Qwen2.5-VL 7B'
  if (vocabulary === 151936) {
    if (sees) return 'Qwen-VL'
    return width === 2560 ? 'Qwen3 4B' : width === 4096 ? 'Qwen3 8B' : width === 1024 ? 'Qwen3 0.6B' : 'Qwen'
  }
  if (vocabulary >= 128256 && vocabulary <= 128330 && width === 4096) return 'Llama 3.1 8B'
  if (vocabulary === 256000 && width === 2304) return 'Gemma 2 2B'
  if (vocabulary === 262208 || vocabulary === 262144) return width === 3840 ? 'Gemma 3 12B' : 'Gemma 3'
  if (vocabulary === 131072) return 'Mistral'
  return null
}

/** As trainers and the model specification note it. */
function baseInMetadata(metadata: Readonly<Record<string, string>>): string | null {
  const said = [metadata.ss_base_model_version, metadata['modelspec.architecture'], metadata['general.architecture']]
  for (const each of said) {
    const found = each === undefined ? undefined : noted.find(([pattern]) => pattern.test(each))
    if (found) return found[1]
  }
  return null
}

const noted: readonly [RegExp, string][] = [
  [/xl.*refiner/i, 'SDXL Refiner'],
  [/sdxl|stable-diffusion-xl/i, 'SDXL'],
  [/sd_?v?1|stable-diffusion-v1|^sd1/i, 'SD 1.5'],
  [/sd_?v?2|stable-diffusion-v2/i, 'SD 2'],
  [/sd3\.?5.*medium|3\.5-medium/i, 'SD 3.5 Medium'],
  [/sd3\.?5|stable-diffusion-3\.5|stable-diffusion-v3\.5/i, 'SD 3.5 Large'],
  [/^sd3|stable-diffusion-3|stable-diffusion-v3/i, 'SD 3'],
  [/flux.?2/i, 'FLUX.2'],
  [/flux.*schnell/i, 'FLUX.1 schnell'],
  [/flux.*kontext/i, 'FLUX.1 Kontext'],
  [/flux/i, 'FLUX.1 dev'],
  [/chroma/i, 'Chroma'],
  [/wan.?2[._]?2.*(5b|ti2v)/i, 'Wan 2.2 5B'],
  [/wan.?2[._]?2/i, 'Wan 2.2'],
  [/wan.*1[._]3b/i, 'Wan 2.1 1.3B'],
  [/wan/i, 'Wan 2.1'],
  [/qwen.?image/i, 'Qwen-Image'],
  [/hunyuan.?video.?1[._]5/i, 'HunyuanVideo 1.5'],
  [/hunyuan.?video|^hyvid/i, 'HunyuanVideo'],
  [/ltx.?v?.?2|ltxav/i, 'LTX-2'],
  [/ltx/i, 'LTX-Video'],
  [/z.?image/i, 'Z-Image'],
  [/lumina/i, 'Lumina 2'],
  [/hidream/i, 'HiDream'],
  [/aura/i, 'AuraFlow'],
  [/cosmos/i, 'Cosmos'],
]

/** Families that are alike inside and differ in training alone. */
const alike: readonly [base: string, name: RegExp, closer: string][] = [
  ['Wan 2.1', /wan_?-?(video_?)?2[._]?2/i, 'Wan 2.2'],
  ['FLUX.1 dev', /kontext/i, 'FLUX.1 Kontext'],
  ['FLUX.1 dev', /krea/i, 'FLUX.1 Krea'],
  ['FLUX.1 dev', /fill/i, 'FLUX.1 Fill'],
  ['FLUX.2', /klein/i, 'FLUX.2 klein'],
  ['Qwen-Image', /edit/i, 'Qwen-Image-Edit'],
  ['Z-Image', /turbo/i, 'Z-Image Turbo'],
  ['SD 3', /3[._]?5.*medium/i, 'SD 3.5 Medium'],
  ['SDXL', /pony/i, 'Pony'],
  ['SDXL', /noob/i, 'NoobAI'],
  ['SDXL', /illustrious|wai.?(nsfw|ill)/i, 'Illustrious'],
]
const closer = (base: string, name: string) =>
  alike.find(([from, pattern]) => from === base && pattern.test(name))?.[2] ?? base

/** How Civitai calls families that we call otherwise; what is not here keeps its name. */
export function baseOfCivitai(said: string): string | null {
  if (/^(other|unknown|)$/i.test(said)) return null
  if (/^sdxl/i.test(said)) return 'SDXL'
  if (/^sd 1\./i.test(said)) return 'SD 1.5'
  if (/^sd 2\./i.test(said)) return 'SD 2'
  if (/^flux\.1 d/i.test(said)) return 'FLUX.1 dev'
  if (/^flux\.1 s/i.test(said)) return 'FLUX.1 schnell'
  const found = /^(pony|illustrious|noobai)/i.test(said) ? undefined : noted.find(([pattern]) => pattern.test(said))
  return found?.[1] ?? said
}

/** ComfyUI's folder for a kind. */
export const folderOfKind: Readonly<Partial<Record<ModelKind, string>>> = {
  checkpoint: 'checkpoints',
  'diffusion-model': 'diffusion_models',
  'text-encoder': 'text_encoders',
  vae: 'vae',
  'vae-approx': 'vae_approx',
  lora: 'loras',
  controlnet: 'controlnet',
  'model-patch': 'model_patches',
  'clip-vision': 'clip_vision',
  'style-model': 'style_models',
  ipadapter: 'ipadapter',
  upscaler: 'upscale_models',
  'latent-upscaler': 'latent_upscale_models',
  embedding: 'embeddings',
  hypernetwork: 'hypernetworks',
  gligen: 'gligen',
  photomaker: 'photomaker',
  'audio-encoder': 'audio_encoders',
  'motion-module': 'animatediff_models',
}
const kindsByFolder = new Map(Object.entries(folderOfKind).map(([kind, folder]) => [folder, kind as ModelKind]))
/** What lies in a folder, where the file itself does not say. */
export const kindOfFolder = (folder: string): ModelKind =>
  kindsByFolder.get(folder) ?? (/ultralytics|sams|detection|insightface/.test(folder) ? 'detector' : 'other')

/** Kinds each loader takes from its folder; folders that are not here are not judged. */
const takes: Readonly<Record<string, readonly ModelKind[]>> = {
  checkpoints: ['checkpoint', 'motion-module'],
  diffusion_models: ['diffusion-model', 'checkpoint', 'motion-module', 'model-patch'],
  unet_gguf: ['diffusion-model', 'checkpoint'],
  clip_gguf: ['text-encoder'],
  loras: ['lora', 'model-patch'],
  vae: ['vae', 'vae-approx', 'checkpoint'],
  text_encoders: ['text-encoder', 'clip-vision'],
  clip_vision: ['clip-vision', 'text-encoder'],
  controlnet: ['controlnet', 'lora', 'diffusion-model', 'ipadapter', 'style-model'],
  upscale_models: ['upscaler'],
  embeddings: ['embedding'],
}
const judged: readonly ModelKind[] = [
  'checkpoint',
  'diffusion-model',
  'lora',
  'vae',
  'controlnet',
  'text-encoder',
  'clip-vision',
  'upscaler',
  'embedding',
]

/** The folder a file belongs into, by what is in it; null: where it lies is right, or nobody can say. */
export function belongsIn(folder: string, kind: ModelKind | null): string | null {
  const taken = Object.hasOwn(takes, folder) ? takes[folder] : undefined
  if (kind === null || !taken || taken.includes(kind) || !judged.includes(kind)) return null
  return folderOfKind[kind] ?? null
}
