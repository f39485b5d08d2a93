import { readFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import type { Prompt } from '../../../../../core/contract/comfyui.ts'
import type { Json } from '../../../../../core/contract/json.ts'
import { sayName } from '../../../../../core/contract/names.ts'
import { withOverrides } from '../../../../../core/domain/batch/materialise.ts'
import { convertWorkflow } from '../../../../../core/domain/workflow/convert.ts'
import { folderLabels, roleLabels, uses } from '../../../../../core/domain/workflow/names.ts'
import { findParameters, resolveParameter } from '../../../../../core/domain/workflow/parameters.ts'
import { readWorkflow } from '../../../../../core/domain/workflow/read.ts'
import { regions } from '../../../../../core/domain/workflow/stages.ts'
import { definitions } from '../../../../kit/definitions.ts'
import { stopwatch } from '../../../../kit/stopwatch.ts'

const locale = (language: string): Record<string, string> =>
  JSON.parse(
    readFileSync(path.resolve(import.meta.dirname, `../../../../../resources/locales/${language}/names.json`), 'utf8'),
  )
const chinese = locale('zh-CN')

const node = (class_type: string, inputs: Record<string, Json> = {}, title?: string) => ({
  class_type,
  inputs,
  ...(title !== undefined && { _meta: { title } }),
})
const encode = (text: Json, title?: string) => node('CLIPTextEncode', { text, clip: ['1', 1] }, title)
const sampler = (more: Record<string, Json>) =>
  node('KSampler', {
    seed: 1,
    steps: 20,
    cfg: 7,
    sampler_name: 'euler',
    scheduler: 'normal',
    denoise: 1,
    model: ['1', 0],
    latent_image: ['5', 0],
    ...more,
  })
const advanced = (more: Record<string, Json>) =>
  node('KSamplerAdvanced', {
    add_noise: 'enable',
    noise_seed: 1,
    steps: 20,
    cfg: 7,
    sampler_name: 'euler',
    scheduler: 'normal',
    start_at_step: 0,
    end_at_step: 10,
    return_with_leftover_noise: 'enable',
    ...more,
  })
const saved = (samples: Json) => ({
  '90': node('VAEDecode', { samples, vae: ['1', 2] }),
  '91': node('SaveImage', { images: ['90', 0], filename_prefix: 'x' }),
})
const base = {
  '1': node('CheckpointLoaderSimple', { ckpt_name: 'a.safetensors' }),
  '5': node('EmptyLatentImage', { width: 512, height: 512, batch_size: 1 }),
}
const find = (prompt: Prompt) => findParameters(prompt, definitions, null)
/** `key name` of those on the form with one of these roles. */
const shown = (prompt: Prompt, ...roles: string[]) =>
  find(prompt).flatMap(({ key, name, role, shown }) => (shown && roles.includes(role ?? '') ? [`${key} ${name}`] : []))

describe('several of a kind are told apart', () => {
  test('base and refiner, by their sampling', () => {
    const prompt = {
      ...base,
      '1': node('CheckpointLoaderSimple', { ckpt_name: 'sd_xl_base_1.0.safetensors' }),
      '2': node('CheckpointLoaderSimple', { ckpt_name: 'sd_xl_refiner_1.0.safetensors' }),
      '6': encode('a castle'),
      '7': node('CLIPTextEncodeSDXLRefiner', {
        text: 'a fine castle',
        ascore: 6,
        width: 1024,
        height: 1024,
        clip: ['2', 1],
      }),
      '10': advanced({ model: ['1', 0], positive: ['6', 0], negative: ['6', 0], latent_image: ['5', 0] }),
      '11': advanced({
        model: ['2', 0],
        positive: ['7', 0],
        negative: ['7', 0],
        latent_image: ['10', 0],
        add_noise: 'disable',
      }),
      ...saved(['11', 0]),
    }
    expect(shown(prompt, 'prompt', 'checkpoint', 'seed', 'steps')).toEqual([
      '6.text Prompt (base)',
      '7.text Prompt (refiner)',
      '10.noise_seed Seed',
      '10.steps Steps',
      '1.ckpt_name Checkpoint (base)',
      '2.ckpt_name Checkpoint (refiner)',
    ])
    expect(resolveParameter(find(prompt), 'prompt (refiner)').key).toBe('7.text')
  })

  test('the two experts of Wan, and what belongs to each', () => {
    const expert = (noise: string) => `wan2.2_t2v_${noise}_noise_14B.safetensors`
    const lora = (noise: string, model: string) =>
      node('LoraLoaderModelOnly', {
        lora_name: `speed_${noise}_noise.safetensors`,
        strength_model: 1,
        model: [model, 0],
      })
    const prompt = {
      '1': node('UNETLoader', { unet_name: expert('high'), weight_dtype: 'default' }),
      '2': node('UNETLoader', { unet_name: expert('low'), weight_dtype: 'default' }),
      '3': lora('high', '1'),
      '4': lora('low', '2'),
      '6': node('CLIPTextEncode', { text: 'a wave', clip: ['7', 0] }),
      '10': advanced({ cfg: 3.5, model: ['3', 0], positive: ['6', 0], negative: ['6', 0] }),
      '11': advanced({
        cfg: 3,
        model: ['4', 0],
        positive: ['6', 0],
        negative: ['6', 0],
        latent_image: ['10', 0],
        add_noise: 'disable',
      }),
      ...saved(['11', 0]),
    }
    expect(shown(prompt, 'model', 'lora', 'strength', 'cfg', 'steps')).toEqual([
      '10.steps Steps',
      '10.cfg CFG (high noise)',
      '11.cfg CFG (low noise)',
      '3.lora_name LoRA (high noise)',
      '4.lora_name LoRA (low noise)',
      '3.strength_model LoRA strength (high noise)',
      '4.strength_model LoRA strength (low noise)',
      '1.unet_name Diffusion model (high noise)',
      '2.unet_name Diffusion model (low noise)',
    ])
  })

  test('the passes of an enlargement; samplers beside each other stay numbered', () => {
    const two = (second: Record<string, Json>): Prompt => ({
      ...base,
      '6': encode('a cat'),
      '10': sampler({ positive: ['6', 0], negative: ['6', 0] }),
      '12': node('LatentUpscale', {
        samples: ['10', 0],
        upscale_method: 'bilinear',
        width: 1024,
        height: 1024,
        crop: 'disabled',
      }),
      '11': sampler({ positive: ['6', 0], negative: ['6', 0], denoise: 0.5, ...second }),
    })
    expect(shown(two({ latent_image: ['12', 0] }), 'denoise', 'width')).toEqual([
      '5.width Width',
      '10.denoise Denoise (first pass)',
      '11.denoise Denoise (second pass)',
    ])
    expect(shown(two({ latent_image: ['5', 0] }), 'denoise')).toEqual(['10.denoise Denoise 1', '11.denoise Denoise 2'])
  })

  test('pictures by where they lead', () => {
    const load = (image: string) => node('LoadImage', { image })
    const prompt = {
      '2': load('b.png'),
      '1': load('a.png'),
      '3': node('ImageScale', { image: ['1', 0], upscale_method: 'area', width: 8, height: 8, crop: 'disabled' }),
      '4': node('WanFirstLastFrameToVideo', {
        start_image: ['3', 0],
        end_image: ['2', 0],
        width: 832,
        height: 480,
        length: 81,
        batch_size: 1,
      }),
    }
    expect(shown(prompt, 'image')).toEqual(['1.image Image (first frame)', '2.image Image (last frame)'])
    const edit = {
      '7': load('b.png'),
      '8': load('a.png'),
      '9': node('TextEncodeQwenImageEditPlus', { prompt: 'swap', image1: ['8', 0], image2: ['7', 0] }),
    }
    expect(shown(edit, 'image')).toEqual(['7.image Image 2', '8.image Image 1'])
  })

  test('texts by their encoder’s input, by their part of the picture, by their author', () => {
    const flux = {
      ...base,
      '2': node('CLIPTextEncodeFlux', { clip_l: 'cat', t5xxl: 'a cat', guidance: 3.5, clip: ['1', 1] }),
    }
    expect(shown({ ...flux, '4': node('BasicGuider', { model: ['1', 0], conditioning: ['2', 0] }) }, 'prompt')).toEqual(
      ['2.clip_l Prompt (CLIP-L)', '2.t5xxl Prompt (T5-XXL)'],
    )
    const area = (from: string, x: number) =>
      node('ConditioningSetArea', { conditioning: [from, 0], x, y: 0, width: 512, height: 512, strength: 1 })
    const regional = (title?: string): Prompt => ({
      ...base,
      '2': encode('sun', title),
      '3': encode('moon'),
      '6': area('2', 0),
      '7': area('3', 512),
      '8': node('ConditioningCombine', { conditioning_1: ['6', 0], conditioning_2: ['7', 0] }),
      '4': sampler({ positive: ['8', 0], negative: ['9', 0] }),
    })
    expect(shown(regional(), 'prompt')).toEqual(['2.text Prompt (left)', '3.text Prompt (right)'])
    expect(shown(regional('Sky'), 'prompt')).toEqual(['2.text Prompt (Sky)', '3.text Prompt (right)'])
  })

  test('what makes the picture keeps the plain name beside what does not', () => {
    const prompt = {
      ...base,
      '2': encode(['7', 0]),
      '7': node('StringConcatenate', { string_a: ['8', 0], string_b: ['9', 0], delimiter: ' ' }),
      '8': node('PrimitiveStringMultiline', { value: 'sksk style' }, 'LoRA trigger word'),
      '9': node('PrimitiveStringMultiline', { value: 'a cat' }, 'Subject'),
      '6': node('TextGenerate', {
        prompt: ['10', 0],
        max_length: 256,
        sampling_mode: 'on',
        'sampling_mode.seed': 3,
        clip: ['1', 1],
      }),
      '10': node('PrimitiveStringMultiline', { value: 'You write prompts.' }, 'System Prompt'),
      '4': sampler({ positive: ['2', 0], negative: ['6', 0] }),
      ...saved(['4', 0]),
    }
    expect(shown(prompt, 'prompt', 'seed')).toEqual([
      '8.value Prompt (LoRA trigger word)',
      '9.value Prompt',
      '4.seed Seed',
      '6.sampling_mode.seed Seed (Generate Text)',
    ])
  })
})

describe('a switch', () => {
  const prompt = (on: boolean): Prompt => ({
    ...base,
    '2': encode('a cat'),
    '6': node('PrimitiveInt', { value: 30 }, 'Steps'),
    '7': node('PrimitiveInt', { value: 8 }, 'Steps'),
    '8': node('PrimitiveBoolean', { value: on }, 'Boolean (Enable turbo LoRA)'),
    '9': node('ComfySwitchNode', { switch: ['8', 0], on_false: ['6', 0], on_true: ['7', 0] }),
    '4': sampler({ positive: ['2', 0], negative: ['2', 0], steps: ['9', 0] }),
    ...saved(['4', 0]),
  })
  test.each([
    [false, '6.value'],
    [true, '7.value'],
  ])('set to %s is followed to the steps that count, and stands on the form itself', (on, live) => {
    expect(shown(prompt(on), 'steps', 'switch')).toEqual(['8.value Enable turbo LoRA', `${live} Steps`])
    expect(resolveParameter(find(prompt(on)), 'steps').key).toBe(live)
    expect(find(prompt(on)).find(({ name }) => name === 'Steps (not in use)')).toMatchObject({
      role: 'steps',
      shown: false,
    })
  })
})

test('a number of its own is what its author calls it, and sizes within the graph step back', () => {
  const prompt = {
    '1': node('PrimitiveInt', { value: 1280 }, 'Width'),
    '2': node('ComfyMathExpression', { expression: 'a/2', 'values.a': ['1', 0] }),
    '3': node('EmptyImage', { width: 512, height: ['2', 1], batch_size: 1, color: 0 }),
    '4': node('SaveImage', { images: ['3', 0], filename_prefix: 'x' }),
  }
  expect(shown(prompt, 'width')).toEqual(['1.value Width'])
})

test('a text and its opposite in one encoder are prompt and negative prompt', () => {
  const prompt = {
    ...base,
    '2': node('TextEncodeBooguEdit', { prompt: 'remove the hat', negative_prompt: 'blurry', clip: ['1', 1] }),
    '4': sampler({ positive: ['2', 0], negative: ['2', 1] }),
  }
  expect(shown(prompt, 'prompt', 'negative')).toEqual(['2.prompt Prompt', '2.negative_prompt Negative prompt'])
})

test('a text for a second condition is the negative one where it is that too', () => {
  const prompt = {
    ...base,
    '2': encode('a cat'),
    '3': encode('blurry'),
    '4': node('DualCFGGuider', {
      model: ['1', 0],
      cond1: ['2', 0],
      cond2: ['3', 0],
      negative: ['3', 0],
      cfg_conds: 5,
      cfg_cond2_negative: 2,
      style: 'regular',
    }),
  }
  expect(shown(prompt, 'prompt', 'negative')).toEqual(['2.text Prompt', '3.text Negative prompt'])
})

test('LoRAs kept as objects are parameters part by part', () => {
  const one = { on: true, lora: 'style.safetensors', strength: 0.8 }
  const prompt = { '1': node('Power Lora Loader (rgthree)', { lora_1: one, lora_2: { ...one, on: false } }) }
  const parameters = find(prompt)
  expect(parameters.map(({ key, name, shown }) => `${shown ? '' : '- '}${key} ${name}`)).toEqual([
    '1.lora_1.lora LoRA',
    '- 1.lora_2.lora LoRA 2',
    '1.lora_1.strength LoRA strength',
    '- 1.lora_2.strength LoRA strength 2',
    '- 1.lora_1.on Lora 1 on',
    '- 1.lora_2.on Lora 2 on',
  ])
  const changed = withOverrides(prompt, { '1.lora_1.strength': 0.5, '1.lora_2.on': true }, parameters)
  expect(changed['1']!.inputs).toEqual({ lora_1: { ...one, strength: 0.5 }, lora_2: { ...one, on: true } })
  expect(prompt['1']!.inputs.lora_1).toBe(one)
})

describe('nodes that nobody here knows', () => {
  test.each<[string, Prompt, string[]]>([
    [
      'a loader with both texts and the size',
      {
        '1': node('Efficient Loader', {
          positive: 'a cat',
          negative: 'bad',
          empty_latent_width: 512,
          empty_latent_height: 768,
          batch_size: 1,
        }),
        '2': node('KSampler (Efficient)', {
          seed: 5,
          sampler_name: 'euler',
          positive: ['1', 1],
          negative: ['1', 2],
          latent_image: ['1', 3],
        }),
      },
      [
        '1.positive Prompt',
        '1.negative Negative prompt',
        '2.seed Seed',
        '1.empty_latent_width Width',
        '1.empty_latent_height Height',
      ],
    ],
    [
      'texts handed on through one node, and a size with proportions',
      {
        ...base,
        '5': node('CR SDXL Aspect Ratio', { width: 1024, height: 1024, aspect_ratio: '3:4', batch_size: 1 }),
        '7': node('SDXLPromptStyler', { text_positive: 'a fox', text_negative: 'blurry', style: 'base' }),
        '2': encode(['7', 0]),
        '3': encode(['7', 1]),
        '4': sampler({ positive: ['2', 0], negative: ['3', 0], latent_image: ['5', 4] }),
      },
      [
        ...['7.text_positive Prompt', '7.text_negative Negative prompt', '4.seed Seed', '5.aspect_ratio Aspect ratio'],
        ...['5.width Width', '5.height Height'],
      ],
    ],
    [
      'a video of a pack with conditions of its own',
      {
        '1': node('WanVideoModelLoader', { model: 'wan2.1_t2v_14B.safetensors' }),
        '3': node('WanVideoTextEncode', { positive_prompt: 'a wave', negative_prompt: 'blurry' }),
        '4': node('WanVideoEmptyEmbeds', { width: 832, height: 480, num_frames: 81 }),
        '5': node('WanVideoSampler', {
          steps: 30,
          seed: 42,
          model: ['1', 0],
          text_embeds: ['3', 0],
          image_embeds: ['4', 0],
        }),
      },
      [
        ...[
          '3.positive_prompt Prompt',
          '3.negative_prompt Negative prompt',
          '5.seed Seed',
          '4.width Width',
          '4.height Height',
        ],
        '4.num_frames Length',
      ],
    ],
    [
      'a wildcard encoder whose seed is not the picture’s, and a node that touches up faces',
      {
        ...base,
        '2': node('ImpactWildcardEncode', {
          wildcard_text: 'a __animal__',
          populated_text: 'a fox',
          seed: 3,
          clip: ['1', 1],
        }),
        '4': sampler({ positive: ['2', 2], negative: ['2', 2] }),
        '6': node('VAEDecode', { samples: ['4', 0], vae: ['1', 2] }),
        '7': node('FaceDetailer', { seed: 4, image: ['6', 0], positive: ['2', 2], negative: ['2', 2] }),
      },
      [
        ...[
          '2.wildcard_text Prompt',
          '2.seed Seed (ImpactWildcardEncode)',
          '4.seed Seed',
          '7.seed Seed (FaceDetailer)',
        ],
        ...['5.width Width', '5.height Height'],
      ],
    ],
  ])('%s', (_, prompt, expected) => {
    const roles = ['prompt', 'negative', 'seed', 'aspect-ratio', 'width', 'height', 'length']
    expect(shown(prompt, ...roles)).toEqual(expected)
  })
})

describe('what its author put on the outside of a subgraph', () => {
  const uuid = '11111111-2222-4333-8444-555555555555'
  const slot = (name: string, type: string, link: number | null) => ({ name, type, link, widget: { name } })
  /** A subgraph around an encoder and an upscaling; its inputs lead to widgets within. */
  const file = (extra: object) => ({
    version: 0.4,
    extra,
    nodes: [
      {
        id: 7,
        type: uuid,
        properties: { proxyWidgets: [['2', 'megapixels']] },
        outputs: [{ name: 'IMAGE', type: 'IMAGE', links: [9] }],
      },
      { id: 8, type: 'SaveImage', inputs: [{ name: 'images', type: 'IMAGE', link: 9 }], widgets_values: ['x'] },
    ],
    links: [[9, 7, 0, 8, 0, 'IMAGE']],
    definitions: {
      subgraphs: [
        {
          id: uuid,
          name: 'Make',
          inputs: [{ id: 'a', name: 'upscale_method', label: 'how_to_enlarge', type: 'COMBO', linkIds: [1] }],
          outputs: [{ id: 'b', name: 'IMAGE', type: 'IMAGE', linkIds: [3] }],
          nodes: [
            {
              id: 1,
              type: 'LoadImage',
              outputs: [{ name: 'IMAGE', type: 'IMAGE', links: [2] }],
              widgets_values: ['a.png', 'image'],
            },
            {
              id: 2,
              type: 'ImageScaleToTotalPixels',
              inputs: [{ name: 'image', type: 'IMAGE', link: 2 }, slot('upscale_method', 'COMBO', 1)],
              outputs: [{ name: 'IMAGE', type: 'IMAGE', links: [3] }],
              widgets_values: ['area', 2, 1],
            },
          ],
          links: [
            { id: 1, origin_id: -10, origin_slot: 0, target_id: 2, target_slot: 1, type: 'COMBO' },
            { id: 2, origin_id: 1, origin_slot: 0, target_id: 2, target_slot: 0, type: 'IMAGE' },
            { id: 3, origin_id: 2, origin_slot: 0, target_id: -20, target_slot: 0, type: 'IMAGE' },
          ],
        },
      ],
    },
  })
  const parametersOf = (extra: object) => {
    const read = readWorkflow('w.json', { json: JSON.stringify(file(extra)) })
    return findParameters(convertWorkflow(read, definitions).prompt, definitions, read.editor)
  }

  test('is on the form, called as they call it', () => {
    const seen = parametersOf({}).filter(({ shown }) => shown)
    expect(seen.map(({ key, name, pinned }) => [key, name, pinned])).toEqual([
      ['7:1.image', 'Image', false],
      ['7:2.megapixels', 'Megapixels', false],
      ['7:2.upscale_method', 'How to enlarge', false],
    ])
  })

  test.each([
    [
      'by the node around',
      [
        ['7', 'upscale_method'],
        ['7', 'megapixels'],
      ],
    ],
    [
      'by the node within',
      [
        ['2', 'upscale_method'],
        ['2', 'megapixels'],
      ],
    ],
    [
      'by the graph, the node and the widget',
      [
        [`${uuid}:7:upscale_method`, 'upscale_method'],
        [`${uuid}:7:megapixels`, 'megapixels'],
      ],
    ],
  ])('comes first, in the order of their app, when it is named there %s', (_, inputs) => {
    const pinned = parametersOf({ linearData: { inputs } }).filter(({ pinned }) => pinned)
    expect(pinned.map(({ key }) => key)).toEqual(['7:2.upscale_method', '7:2.megapixels'])
  })
})

test('a graph of twenty thousand nodes of one kind is named in a moment', () => {
  const prompt: Prompt = {}
  for (let id = 0; id < 20_000; id++) prompt[String(id)] = node('LoadImage', { image: 'a.png' })
  const took = stopwatch()
  expect(find(prompt).at(-1)!.name).toBe('Image 20000')
  expect(took()).toBeLessThan(5_000)
})

describe('in Chinese', () => {
  test('every word names are made of is there', () => {
    const words = [
      ...Object.values(roleLabels),
      ...Object.values(folderLabels),
      ...uses.map(([, word]) => word),
      ...regions.flat(),
    ]
    expect(words.filter((word) => chinese[word] === undefined)).toEqual([])
    expect(Object.entries(locale('en')).filter(([word, said]) => word !== said.trim())).toEqual([])
  })

  test.each([
    ['Prompt', '提示词'],
    ['Prompt (refiner)', '提示词（精修）'],
    ['Seed 2', '种子 2'],
    ['LoRA strength (high noise)', 'LoRA 强度（高噪声）'],
    ['Prompt (Sky at night) 2', '提示词（Sky at night） 2'],
    ['My own name', 'My own name'],
    ['Steps of the night', 'Steps of the night'],
  ])('%s is %s', (name, said) => {
    expect(sayName(name, chinese)).toBe(said)
  })

  test('a parameter is found by what it is called there, in any brackets, and by other words for what it does', () => {
    const prompt = {
      ...base,
      '2': encode('a'),
      '3': encode('b'),
      '4': sampler({ positive: ['2', 0], negative: ['3', 0] }),
    }
    const parameters = find(prompt)
    const keyOf = (name: string) => resolveParameter(parameters, name, [({ name }) => sayName(name, chinese)]).key
    expect(
      ['提示词', '反向提示词', '负面提示词', '步数', '采样步数', '随机种子', '大模型', 'Prompt'].map(keyOf),
    ).toEqual([...['2.text', '3.text', '3.text', '4.steps', '4.steps', '4.seed', '1.ckpt_name', '2.text']])
    const two = find({ ...prompt, '6': sampler({ positive: ['2', 0], negative: ['3', 0], latent_image: ['4', 0] }) })
    const inTwo = (name: string) => resolveParameter(two, name, [({ name }) => sayName(name, chinese)]).key
    expect(['步数（第二遍）', '步数(第二遍)', '步数 (第二遍)'].map(inTwo)).toEqual(['6.steps', '6.steps', '6.steps'])
  })
})
