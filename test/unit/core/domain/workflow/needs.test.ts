import { expect, test } from 'vitest'
import type { ObjectInfo, Prompt } from '../../../../../core/contract/comfyui.ts'
import { madeWith, modelNeeds, onWorkers } from '../../../../../core/domain/workflow/needs.ts'
import { compareVersions } from '../../../../../core/domain/workflow/versions.ts'
import { definitions } from '../../../../kit/definitions.ts'

const needs = (prompt: Prompt, editor: object | null = null) => modelNeeds(prompt, definitions, editor as never, false)
const short = (prompt: Prompt, editor: object | null = null) =>
  needs(prompt, editor).map(({ folder, file, node, input }) => `${node}.${input} ${folder}/${file}`)

test('files are found in loaders, prompts, tags and the inputs of classes nobody knows', () => {
  const prompt: Prompt = {
    '1': {
      class_type: 'CLIPTextEncode',
      inputs: { text: 'a cat, (embedding:bad-hands:1.2), <lora:not:1>', clip: ['9', 1] },
    },
    '2': { class_type: 'LoraTagLoader', inputs: { text: '<lora:style/Ink:0.7> and <lora:second>' } },
    '3': {
      class_type: 'Power Lora Loader (rgthree)',
      inputs: {
        lora_1: { on: true, lora: 'a.safetensors', strength: 1 },
        lora_2: { on: false, lora: 'off.safetensors', strength: 1 },
        lora_3: { on: true, lora: 'None', strength: 1 },
      },
    },
    '4': {
      class_type: 'SomePack',
      inputs: { depth_model: 'depth/x.PTH', note: 'see https://example.com/y.safetensors' },
    },
    '5': { class_type: 'VAELoader', inputs: { vae_name: 'taesd' } },
    '6': { class_type: 'LoadMoGeModel', inputs: { model_name: 'moge.safetensors' } },
    '7': { class_type: 'WanVideoModelLoader', inputs: { model: 'wan.safetensors', quantization: 'fp8' } },
    '8': { class_type: 'WanVideoVAELoader', inputs: { model_name: 'wan_vae.pth' } },
    '9': { class_type: 'LoadWanVideoT5TextEncoder', inputs: { model_name: 'umt5.safetensors' } },
    '10': { class_type: 'WanVideoLoraSelect', inputs: { lora: 'fast.safetensors' } },
    '57:8': { class_type: 'UNETLoader', inputs: { unet_name: 'sub\\flux.safetensors' } },
  }
  expect(short(prompt)).toEqual([
    '1.text embeddings/bad-hands',
    '2.text loras/style/Ink',
    '2.text loras/second',
    '3.lora_1 loras/a.safetensors',
    '4.depth_model depth/depth/x.PTH',
    '6.model_name geometry_estimation/moge.safetensors',
    '7.model diffusion_models/wan.safetensors',
    '8.model_name vae/wan_vae.pth',
    '9.model_name text_encoders/umt5.safetensors',
    '10.lora loras/fast.safetensors',
    '57:8.unet_name diffusion_models/sub\\flux.safetensors',
  ])
})

test('links in notes are sources, and say the folder where the loader does not', () => {
  const text = [
    'See [the page](https://example.com/about).',
    '## Models',
    '**ipadapter**',
    '- [face.bin](https://example.com/blob/main/Face%20v2.bin?download=true)',
    '**LoRA**',
    '- https://example.com/ink.safetensors',
  ].join('\n')
  const editor = { nodes: [{ id: 9, type: 'MarkdownNote', widgets_values: [text] }], links: [] }
  const prompt: Prompt = {
    '1': { class_type: 'FaceThing', inputs: { weights_file: 'Face v2.bin', other: 'face.bin' } },
    '2': { class_type: 'LoraLoaderModelOnly', inputs: { lora_name: 'x/ink.safetensors' } },
  }
  const url = 'https://example.com/blob/main/Face%20v2.bin?download=true'
  expect(needs(prompt, editor)).toMatchObject([
    { folder: 'ipadapter', file: 'Face v2.bin', sources: [{ url }] },
    { folder: 'ipadapter', file: 'face.bin', sources: [{ url }] },
    { folder: 'loras', file: 'x/ink.safetensors', sources: [{ url: 'https://example.com/ink.safetensors' }] },
  ])
})

test('each server is looked up for itself: its lists, its other spelling, its folders, or no word', () => {
  const prompt: Prompt = {
    '1': { class_type: 'UNETLoader', inputs: { unet_name: 'Sub/Flux.safetensors' } },
    '2': { class_type: 'CLIPTextEncode', inputs: { text: 'embedding:bad', clip: ['3', 0] } },
  }
  const listing = (...names: string[]): ObjectInfo => ({
    UNETLoader: { ...definitions.UNETLoader!, input: { required: { unet_name: [names] } } },
  })
  const none = new Map()
  const found = onWorkers(
    needs(prompt),
    prompt,
    [
      { worker: 'windows', definitions: listing('sub\\flux.safetensors'), files: none },
      {
        worker: 'disk',
        definitions: listing('Sub/Flux.safetensors'),
        files: new Map([
          ['diffusion_models', [{ name: 'Sub/Flux.safetensors', sizeBytes: 7 }]],
          ['embeddings', [{ name: 'bad.pt', sizeBytes: 3 }]],
        ]),
      },
      { worker: 'empty', definitions: listing(), files: new Map([['embeddings', []]]) },
      { worker: 'silent', definitions: null, files: none },
    ],
    'disk',
  )
  expect(found.map(({ workers, sizeBytes, present }) => ({ workers, sizeBytes, present }))).toEqual([
    {
      present: true,
      sizeBytes: 7,
      workers: [
        { worker: 'windows', present: true, as: 'sub\\flux.safetensors' },
        { worker: 'disk', present: true },
        { worker: 'empty', present: false },
        { worker: 'silent', present: null },
      ],
    },
    {
      present: true,
      sizeBytes: 3,
      workers: [
        { worker: 'windows', present: null },
        { worker: 'disk', present: true, as: 'bad.pt' },
        { worker: 'empty', present: false },
        { worker: 'silent', present: null },
      ],
    },
  ])
})

test.each([
  ['0.3.64', '0.33.0', -1],
  ['v1.10', '1.9.9', 1],
  ['1.2', '1.2.0', 0],
  ['nightly', '0', 0],
])('version %s against %s', (a, b, sign) => expect(Math.sign(compareVersions(a, b))).toBe(sign))

test('a workflow says what it was saved with, as far as the editor noted it', () => {
  const node = (id: number, cnr_id: string, ver: string) => ({ id, type: `T${id}`, properties: { cnr_id, ver } })
  const nodes = [node(1, 'comfy-core', '0.3.9'), node(2, 'comfy-core', '0.3.64'), node(3, 'some-pack', '9.9.9')]
  const editor = { nodes, links: [], extra: { frontendVersion: '1.28.8' } }
  expect(madeWith(editor as never)).toEqual({ comfyui: '0.3.64', editor: '1.28.8' })
  expect(madeWith({ nodes: [], links: [] } as never)).toEqual({ comfyui: null, editor: null })
  expect(madeWith(null)).toEqual({ comfyui: null, editor: null })
})
