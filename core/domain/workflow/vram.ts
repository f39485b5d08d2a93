import { isLink, type Prompt } from '../../contract/comfyui.ts'
import type { ModelNeed, VramNeed } from '../../contract/workflow.ts'

type Part = VramNeed['because'][number]
const GIB = 1024 ** 3

/**
 * What ComfyUI keeps free beside the weights (model_management.py: minimum_inference_memory, 0.8 GiB, and 0.4 GiB that
 * it leaves to others).
 */
const RESERVE = 1.2 * GIB
/**
 * Bytes of activations for each place of the latent: model_base.py, memory_required: places × 2 bytes × 0.01 MiB × a
 * factor of the family (supported_models.py: 0.5 to 3.5 for most image models, about 1 for Wan 2.x, 5.5 for the largest).
 */
const BYTES_PER_PLACE = 2 * 0.01 * 1024 ** 2 * 2
/** A guidance above 1 runs the positive and the negative prompt at once. */
const CONDITIONS = 2

const folders: Record<string, Part['what']> = {
  checkpoints: 'model',
  diffusion_models: 'model',
  diffusers: 'model',
  text_encoders: 'text-encoder',
  clip_vision: 'text-encoder',
  vae: 'vae',
  controlnet: 'control',
  model_patches: 'control',
  style_models: 'control',
  ipadapter: 'control',
  loras: 'lora',
  upscale_models: 'model',
  latent_upscale_models: 'model',
}

/**
 * Roughly the video memory a prompt wants for full speed. ComfyUI moves models in and out as their turn comes
 * (model_management.py, load_models_gpu), so what counts is the largest turn: all text encoders of one loader together; or
 * one diffusion model with what guides it and its activations. Less still runs, slower, with parts kept in main memory.
 */
export function estimateVram(models: readonly ModelNeed[], prompt: Prompt): VramNeed {
  const parts = new Map<string, Part & { node: string }>()
  for (const { folder, file, node, sizeBytes } of models) {
    const what = folders[folder]
    if (what && !parts.has(`${folder}/${file}`))
      parts.set(`${folder}/${file}`, { what, name: file, bytes: sizeBytes, node })
  }
  const all = [...parts.values()]
  if (all.length === 0) return { aboutBytes: null, because: [] }
  const unknown = all.filter(({ what, bytes }) => bytes === null && what !== 'lora' && what !== 'vae')
  const told = ({ what, name, bytes }: Part): Part => ({ what, name, bytes })
  if (unknown.length > 0)
    return { aboutBytes: null, because: unknown.map(({ name }) => ({ what: 'unknown-size', name, bytes: null })) }

  const sum = (some: readonly Part[]) => some.reduce((total, { bytes }) => total + (bytes ?? 0), 0)
  const of = (wanted: Part['what']) => all.filter(({ what }) => what === wanted)
  const largest = (turns: Part[][]) => turns.toSorted((a, b) => sum(b) - sum(a))[0] ?? []
  const encoders = of('text-encoder').reduce(
    (byNode, part) => byNode.set(part.node, [...(byNode.get(part.node) ?? []), part]),
    new Map<string, typeof all>(),
  )
  const places = latentPlaces(prompt)
  const activations: Part[] =
    places === null ? [] : [{ what: 'activations', name: '', bytes: places * CONDITIONS * BYTES_PER_PLACE }]
  const sampling = of('model').map((model) => [model, ...of('control'), ...activations])
  const turn = largest([...encoders.values(), ...sampling, of('vae')])
  return { aboutBytes: sum(turn) + RESERVE, because: turn.map(told) }
}

/** Places of the largest latent a node asks for, over all frames and the batch; null: no node says so in numbers. */
function latentPlaces(prompt: Prompt): number | null {
  const number = (value: unknown): number | null => {
    if (typeof value === 'number') return value
    if (!isLink(value as never)) return null
    const source = prompt[(value as [string, number])[0]]
    const inner = source?.inputs.value
    return typeof inner === 'number' ? inner : null
  }
  let most: number | null = null
  for (const { inputs } of Object.values(prompt)) {
    const [width, height] = [number(inputs.width), number(inputs.height)]
    if (width === null || height === null || !('length' in inputs || 'batch_size' in inputs || 'frames' in inputs))
      continue
    const length = number(inputs.length) ?? number(inputs.frames)
    const frames = length === null ? 1 : Math.ceil(length / 4)
    const places = (width / 8) * (height / 8) * frames * Math.max(1, number(inputs.batch_size) ?? 1)
    most = Math.max(most ?? 0, places)
  }
  return most
}
