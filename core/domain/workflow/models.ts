import { bareModelName, isModelFile } from '../../contract/model-file.ts'
import type { InputDefinition } from './definitions.ts'

/** Which folder under models/ a loader's input names a file of (ComfyUI folder_paths and nodes). */
const byInput: readonly [classType: RegExp, input: RegExp, folder: string][] = [
  [/checkpoint|ImageOnly|^CheckpointLoader/i, /^ckpt_name$/, 'checkpoints'],
  [/./, /^ckpt_name\d?$|^base_ckpt_name$|^refiner_ckpt_name$/, 'checkpoints'],
  [/^CheckpointLoader$/, /^config_name$/, 'configs'],
  [/./, /^unet_name$/, 'diffusion_models'],
  [/CLIPVision/i, /^clip_name$/, 'clip_vision'],
  [/CLIP.*Loader|LoadCLIP|TextEncoder/i, /^clip_name\d?$|^text_encoder$/, 'text_encoders'],
  [/./, /^vae_name$/, 'vae'],
  [/./, /^lora_name(_\d+)?$|^lora_\d+$/, 'loras'],
  [/./, /^control_net_name$/, 'controlnet'],
  [/./, /^style_model_name$/, 'style_models'],
  [/^TrainLoraNode$/, /^existing_lora$/, 'loras'],
  [/^Load(MoGe|DA3)Model$/, /^model_name$/, 'geometry_estimation'],
  [/^LoadMediaPipe/, /^model_name$/, 'detection'],
  [/FrameInterpolation/i, /^model_name$/, 'frame_interpolation'],
  [/OpticalFlow/i, /^model_name$/, 'optical_flow'],
  [/LatentUpscale/i, /^model_name$/, 'latent_upscale_models'],
  [/Upscale/i, /^model_name$/, 'upscale_models'],
  [/./, /^hypernetwork_name$/, 'hypernetworks'],
  [/./, /^gligen_name$/, 'gligen'],
  [/./, /^photomaker_model_name$/, 'photomaker'],
  [/^ModelPatchLoader$/, /^name$/, 'model_patches'],
  [/./, /^audio_encoder_name$/, 'audio_encoders'],
  [/^DiffusersLoader$/, /^model_path$/, 'diffusers'],
  [/IPAdapter/i, /^ipadapter_file$/, 'ipadapter'],
  [/AnimateDiff|ADE_/i, /^model_name$/, 'animatediff_models'],
  [/InstantID/i, /^instantid_file$/, 'instantid'],
  [/SAMLoader|SAMModelLoader/i, /^model_name$/, 'sams'],
  [/Ultralytics/i, /^model_name$/, 'ultralytics'],
  [/BackgroundRemoval/i, /^(bg_removal_)?(model_)?name$/, 'background_removal'],
  // loaders of packs that call their input just "model": the class says of what kind
  [/VAE/i, /^(model|model_name|vae)$/, 'vae'],
  [/Lora/i, /^(model|model_name|lora)$/, 'loras'],
  [/CLIP_?Vision/i, /^(model|model_name|clip_vision)$/, 'clip_vision'],
  [/T5|Text_?Encode|Gemma/i, /^(model|model_name|text_encoder)$/, 'text_encoders'],
  [/Control_?Net/i, /^(model|model_name|controlnet)$/, 'controlnet'],
  [
    /(Video|Diffusion|Unet|DiT|Flux|Wan|Hunyuan|Qwen|Cosmos|Mochi|CogV|LTX).*Load/i,
    /^(model|model_name|dit|transformer)$/,
    'diffusion_models',
  ],
]

/** A value that names a model file: one line, no address of the web. */
export const namesModelFile = (value: string) =>
  isModelFile(value) && value.length <= 400 && !value.includes('\n') && !value.includes('://')
/** Every model file that JSON names, lower case and without folders; of embeddings in a text, the word. */
export function modelFilesIn(json: string): string[] {
  const names = new Set<string>()
  for (const [, name] of json.matchAll(/"([^"\n]{1,400}\.(?:safetensors|sft|ckpt|pt2?|pth|bin|pkl|gguf|onnx))"/gi))
    if (!name!.includes('://')) names.add(name!.replace(/^.*[\\/]/s, '').toLowerCase())
  for (const [, name] of json.matchAll(/\bembedding:(?:[^\s"\\/,:;()]*[\\/])*([\w.-]+)/gi))
    names.add(name!.toLowerCase())
  return [...names]
}

/** Choices of VAELoader that are built in. */
const builtIn = /^(taesd|taesdxl|taesd3|taef1|taef2|pixel_space|none|baked vae)$/i

/** The models folder a file named by this input lies in; null: the input names no model file. */
export function modelFolderOf(classType: string, input: string, value: unknown): string | null {
  if (typeof value !== 'string' || value === '' || builtIn.test(value)) return null
  if (classType === 'LoraLoader' || classType === 'LoraLoaderModelOnly') return input === 'lora_name' ? 'loras' : null
  for (const [classes, inputs, folder] of byInput) {
    if (classes.test(classType) && inputs.test(input))
      return isModelFile(value) || folder === 'diffusers' || folder === 'configs' ? folder : null
  }
  return null
}

/** The same for a class nobody put in the table: a choice among model files is one. */
export function looksLikeModel({ choices }: InputDefinition, value: unknown): boolean {
  if (typeof value !== 'string' || !isModelFile(value)) return false
  return choices === null || choices.every((choice) => typeof choice === 'string')
}

/**
 * The choice that means the same file: exact; with the other slash (Windows writes `\\`); in other case; in another
 * folder; and where the name has no ending, as in a prompt's text, with any. null: none, or more than one.
 */
export function matchFile(choices: readonly unknown[], value: string): string | null {
  const names = choices.filter((choice) => typeof choice === 'string')
  if (names.includes(value)) return value
  const slashed = (name: string) => name.replaceAll('\\', '/')
  const lower = (name: string) => slashed(name).toLowerCase()
  const base = (name: string) => lower(name).replace(/^.*\//s, '')
  const bare = (part: (name: string) => string) => (name: string) => bareModelName(part(name))
  for (const same of [slashed, lower, base, ...(isModelFile(value) ? [] : [bare(lower), bare(base)])]) {
    const found = names.filter((name) => same(name) === same(value))
    if (found.length === 1) return found[0]!
    if (found.length > 1) return null
  }
  return null
}
