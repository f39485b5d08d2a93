import { expect, test } from 'vitest'
import type { Prompt } from '../../../../../core/contract/comfyui.ts'
import { type JsonObject, writeJson } from '../../../../../core/contract/json.ts'
import { convertWorkflow } from '../../../../../core/domain/workflow/convert.ts'
import { layOutPrompt } from '../../../../../core/domain/workflow/lay-out.ts'
import { readWorkflow } from '../../../../../core/domain/workflow/read.ts'
import { definitions } from '../../../../kit/definitions.ts'

const picture: Prompt = {
  '3': {
    class_type: 'KSampler',
    inputs: {
      seed: 18446744073709551615n,
      steps: 9,
      cfg: 6.5,
      sampler_name: 'euler',
      scheduler: 'karras',
      denoise: 1,
      model: ['4', 0],
      positive: ['6', 0],
      negative: ['6', 0],
      latent_image: ['5', 0],
    },
    _meta: { title: 'The sampler' },
  },
  '4': { class_type: 'CheckpointLoaderSimple', inputs: { ckpt_name: 'a.safetensors' } },
  '5': { class_type: 'EmptyLatentImage', inputs: { width: ['10', 0], height: 512, batch_size: 1 } },
  '6': { class_type: 'CLIPTextEncode', inputs: { text: 'a fox,\n“夜”', clip: ['4', 1] } },
  '8': { class_type: 'VAEDecode', inputs: { samples: ['3', 0], vae: ['4', 2] } },
  '9': { class_type: 'SaveImage', inputs: { filename_prefix: 'x', images: ['8', 0] } },
  '10': { class_type: 'PrimitiveInt', inputs: { value: 768 } },
  '11': { class_type: 'LoadImage', inputs: { image: 'nightshift/cup.png' } },
  '12': { class_type: 'PreviewImage', inputs: { images: ['11', 0] } },
}

test('a prompt without a layout gets one that stands for the very same prompt', () => {
  const workflow = layOutPrompt(picture, definitions) as JsonObject
  const { prompt, problems } = convertWorkflow(readWorkflow('w.json', { json: writeJson(workflow) }), definitions)
  expect(problems.filter(({ kind }) => kind === 'loss')).toEqual([])
  for (const [id, { class_type, inputs }] of Object.entries(picture))
    expect([id, prompt[id]]).toEqual([
      id,
      expect.objectContaining({ class_type, inputs: expect.objectContaining(inputs) }),
    ])
  expect(Object.keys(prompt).sort()).toEqual(Object.keys(picture).sort())
  expect(prompt['3']!._meta!.title).toBe('The sampler')
  // what feeds a node lies to its left, and no two lie on each other
  const nodes = workflow.nodes as { id: number; pos: [number, number]; size: [number, number] }[]
  const at = (id: number) => nodes.find((node) => node.id === id)!.pos
  expect(at(4)[0]).toBeLessThan(at(6)[0])
  expect(at(6)[0]).toBeLessThan(at(3)[0])
  for (const one of nodes)
    for (const other of nodes.slice(nodes.indexOf(one) + 1))
      expect(one.pos[0] === other.pos[0] && Math.abs(one.pos[1] - other.pos[1]) < one.size[1]).toBe(false)
})

test('what cannot certainly be laid out is left to the editor', () => {
  const inner = { '2:3': picture['4']! }
  const unknown = { '1': { class_type: 'NobodyKnows', inputs: { a: 1 } } }
  const undeclared = { '1': { class_type: 'EmptyImage', inputs: { ...picture['5']!.inputs, extra: 1 } } }
  for (const prompt of [{}, inner, unknown, undeclared] as Prompt[])
    expect(layOutPrompt(prompt, definitions)).toBeNull()
})
