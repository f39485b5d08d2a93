import type { Prompt } from '../../core/contract/comfyui.ts'
import type { Parameter } from '../../core/contract/workflow.ts'

export function aParameter(key: string, more: Partial<Parameter> = {}): Parameter {
  const dot = key.indexOf('.')
  const input = key.slice(dot + 1)
  return {
    key,
    name: input,
    node: key.slice(0, dot),
    input,
    classType: 'Node',
    nodeTitle: 'Node',
    type: 'INT',
    role: null,
    default: 0,
    shown: true,
    pinned: false,
    ...more,
  }
}

/** A prompt of six nodes, and the parameters a person sees of it. */
export const aTextPrompt = (): Prompt => ({
  '4': { class_type: 'CheckpointLoaderSimple', inputs: { ckpt_name: 'xl.safetensors' } },
  '6': { class_type: 'CLIPTextEncode', inputs: { text: 'a cat', clip: ['4', 1] }, _meta: { title: 'Positive' } },
  '7': { class_type: 'CLIPTextEncode', inputs: { text: 'blurry', clip: ['4', 1] } },
  '5': { class_type: 'EmptyLatentImage', inputs: { width: 512, height: 512, batch_size: 1 } },
  '3': {
    class_type: 'KSampler',
    inputs: { seed: 42, steps: 20, model: ['4', 0], positive: ['6', 0], negative: ['7', 0], latent_image: ['5', 0] },
  },
  '9': { class_type: 'SaveImage', inputs: { images: ['3', 0], filename_prefix: 'cats' } },
})
export const textParameters = (): Parameter[] => [
  aParameter('6.text', { name: 'Prompt', role: 'prompt', type: 'STRING', default: 'a cat', dynamicPrompts: true }),
  aParameter('7.text', { name: 'Negative', role: 'negative', type: 'STRING', default: 'blurry', dynamicPrompts: true }),
  aParameter('3.seed', { name: 'Seed', role: 'seed', default: 42, min: 0, max: 18446744073709551615n }),
  aParameter('3.steps', { name: 'Steps', role: 'steps', default: 20, min: 1, max: 10000 }),
  aParameter('5.width', { name: 'Width', role: 'width', default: 512, min: 16, max: 16384, step: 8 }),
]
