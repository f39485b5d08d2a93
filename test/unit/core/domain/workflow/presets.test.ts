import { readFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import type { Values } from '../../../../../core/contract/batch.ts'
import type { Prompt } from '../../../../../core/contract/comfyui.ts'
import type { Json } from '../../../../../core/contract/json.ts'
import { families, speeds } from '../../../../../core/domain/workflow/families.ts'
import { findParameters } from '../../../../../core/domain/workflow/parameters.ts'
import { presetSentences } from '../../../../../core/domain/workflow/presets.ts'
import { advise, suggestionSentences } from '../../../../../core/domain/workflow/suggest.ts'
import { definitions } from '../../../../kit/definitions.ts'

const node = (class_type: string, inputs: Record<string, Json> = {}, title?: string) => ({
  class_type,
  inputs,
  ...(title !== undefined && { _meta: { title } }),
})
interface Made {
  text: string
  negative: string
  width: number
  height: number
  sampler: Record<string, Json>
  lora: string
}
/** A picture from a checkpoint, or, with a clip type, from a diffusion model. */
function picture(file: string, clip: string | null, made: Partial<Made> = {}): Prompt {
  const { text = 'a cat', negative = '', width = 1024, height = 1024, sampler = {}, lora } = made
  const loader: Prompt =
    clip === null
      ? { '1': node('CheckpointLoaderSimple', { ckpt_name: file }) }
      : {
          '1': node('UNETLoader', { unet_name: file, weight_dtype: 'default' }),
          '2': node('CLIPLoader', { clip_name: 'text.safetensors', type: clip, device: 'default' }),
        }
  const model: Json = lora ? ['3', 0] : ['1', 0]
  const encoder: Json = clip === null ? ['1', 1] : ['2', 0]
  return {
    ...loader,
    ...(lora && { '3': node('LoraLoaderModelOnly', { lora_name: lora, strength_model: 1, model: ['1', 0] }) }),
    '4': node('CLIPTextEncode', { text, clip: encoder }),
    '5': node('CLIPTextEncode', { text: negative, clip: encoder }),
    '6': node('EmptySD3LatentImage', { width, height, batch_size: 1 }),
    '7': node('KSampler', {
      ...{ seed: 1, steps: 25, cfg: 5, sampler_name: 'euler', scheduler: 'simple', denoise: 1, model },
      ...{ positive: ['4', 0], negative: ['5', 0], latent_image: ['6', 0], ...sampler },
    }),
    '8': node('VAEDecode', { samples: ['7', 0], vae: ['9', 0] }),
    '9': node('VAELoader', { vae_name: 'vae.safetensors' }),
    '10': node('SaveImage', { images: ['8', 0], filename_prefix: 'x' }),
  }
}
function advice(prompt: Prompt, values: Values = {}) {
  const parameters = findParameters(prompt, definitions, null)
  const found = advise(prompt, definitions, parameters, values)
  const nameOf = (key: string) => parameters.find((parameter) => parameter.key === key)!.name
  const said = (changes: (typeof found.presets)[number]['changes']) =>
    changes.map(({ key, from, to }) => `${nameOf(key)} ${from} → ${to}`)
  return {
    family: found.family?.id ?? null,
    by: found.family?.by ?? null,
    presets: Object.fromEntries(found.presets.map(({ id, changes }) => [id, said(changes)])),
    suggestions: found.suggestions.map(({ code, changes }) =>
      [code.replace('suggest.', ''), ...said(changes)].join(': '),
    ),
    found,
  }
}

describe('a family is recognised', () => {
  test.each<[string, string | null, string | null]>([
    ['v1-5-pruned-emaonly.safetensors', null, 'sd1.5'],
    ['v2-1_768-ema-pruned.ckpt', null, 'sd2'],
    ['sd_xl_base_1.0.safetensors', null, 'sdxl'],
    ['juggernautXL_v9.safetensors', null, 'sdxl'],
    ['ponyDiffusionV6XL.safetensors', null, 'sdxl'],
    ['noobaiXLNAIXL_vPred10.safetensors', null, 'sdxl'],
    ['sd_xl_turbo_1.0_fp16.safetensors', null, 'sdxl-turbo'],
    ['sd3_medium_incl_clips.safetensors', null, 'sd3'],
    ['sd3.5_large_fp8_scaled.safetensors', 'sd3', 'sd3.5'],
    ['sd3.5_medium.safetensors', 'sd3', 'sd3.5-medium'],
    ['sd3.5_large_turbo.safetensors', 'sd3', 'sd3.5-turbo'],
    ['flux1-dev-fp8.safetensors', null, 'flux-dev'],
    ['models\\flux\\flux1-schnell.safetensors', null, 'flux-schnell'],
    ['flux1-dev-kontext_fp8_scaled.safetensors', 'flux', 'flux-kontext'],
    ['flux1-krea-dev_fp8_scaled.safetensors', 'flux', 'flux-krea'],
    ['flux1-fill-dev.safetensors', 'flux', 'flux-fill'],
    ['flux2_dev_fp8mixed.safetensors', 'flux2', 'flux2'],
    ['flux-2-klein-4b-fp8.safetensors', 'flux2', 'flux2-klein'],
    ['flux-2-klein-base-9b.safetensors', 'flux2', 'flux2-klein-base'],
    ['z_image_turbo_bf16.safetensors', 'lumina2', 'z-image-turbo'],
    ['z_image_bf16.safetensors', 'lumina2', 'z-image'],
    ['qwen_image_fp8_e4m3fn.safetensors', 'qwen_image', 'qwen-image'],
    ['qwen_image_edit_2511_bf16.safetensors', 'qwen_image', 'qwen-image-edit'],
    ['wan2.1_t2v_1.3B_fp16.safetensors', 'wan', 'wan2.1-1.3b'],
    ['Wan2_1-I2V-14B-480p_fp8.safetensors', 'wan', 'wan2.1'],
    ['wan2.2_t2v_high_noise_14B.safetensors', 'wan', 'wan2.2'],
    ['wan2.2_ti2v_5B_fp16.safetensors', 'wan', 'wan2.2-5b'],
    ['ltx-video-2b-v0.9.5.safetensors', 'ltxv', 'ltx'],
    ['ltx-2-19b-dev.safetensors', 'ltxv', 'ltx-2'],
    ['ltx-2-19b-distilled.safetensors', 'ltxv', 'ltx-distilled'],
    ['hunyuan_video_t2v_720p_bf16.safetensors', 'hunyuan_video', 'hunyuan-video'],
    ['hunyuanvideo1.5_720p_t2v.safetensors', 'hunyuan_video', 'hunyuan-video-1.5'],
    ['Chroma1-HD.safetensors', 'chroma', 'chroma'],
    ['hidream_i1_full_fp8.safetensors', 'hidream', 'hidream'],
    ['hidream_i1_dev_fp8.safetensors', 'hidream', 'hidream-dev'],
    ['lumina_2.safetensors', null, 'lumina'],
    ['mochi_preview_bf16.safetensors', 'mochi', 'mochi'],
    // by how the text is read, where the file says nothing
    ['my-finetune.safetensors', 'qwen_image', 'qwen-image'],
    ['my-finetune.safetensors', 'wan', 'wan2.1'],
    // another model under an encoder that others share, or a variant nobody knows
    ['krea2_turbo_fp8_scaled.safetensors', 'qwen_image', null],
    ['acestep_v1.5_xl_base_bf16.safetensors', 'sdxl', null],
    ['my-lightning-merge.safetensors', 'wan', null],
    ['unheard-of.safetensors', 'unheard-of', null],
  ])('%s (%s) is %s', (file, clip, family) => {
    expect(advice(picture(file, clip)).family).toBe(family)
  })

  test('a checkpoint whose name says nothing is judged by the size of its pictures', () => {
    const anime = (side: number) => picture('cardosAnime_v10.safetensors', null, { width: side, height: side })
    expect(advice(anime(512))).toMatchObject({ family: 'sd1.5', by: '512 × 512' })
    expect(advice(anime(1024)).family).toBe('sdxl')
  })

  test('the checkpoint that a person chose instead is the one that counts', () => {
    const prompt = picture('sd_xl_base_1.0.safetensors', null)
    expect(advice(prompt, { '1.ckpt_name': 'flux1-dev-fp8.safetensors' }).family).toBe('flux-dev')
  })

  test('each family has steps that do not shrink with quality, and says where from', () => {
    for (const { id, steps, source, cfg, guidance } of families) {
      expect([id, steps.fast <= steps.balanced && steps.balanced <= steps.quality]).toEqual([id, true])
      expect(source).toMatch(/^[\w.-]+\/[\w.-]+$/)
      for (const range of [cfg, guidance]) if (range) expect(range[1] <= range[0] && range[0] <= range[2]).toBe(true)
    }
    expect(new Set(families.map(({ id }) => id)).size).toBe(families.length)
    const choices = (input: string) => definitions.KSampler!.input.required![input]![0] as string[]
    for (const { sampler, scheduler } of [...families, ...speeds]) {
      if (sampler) expect(choices('sampler_name')).toContain(sampler)
      if (scheduler) expect(choices('scheduler')).toContain(scheduler)
    }
  })
})

describe('a preset changes', () => {
  test.each<[string, Prompt, Record<string, string[]>]>([
    [
      'the steps and the sampling of SDXL, and leaves a CFG that suits it',
      picture('sd_xl_base_1.0.safetensors', null, { sampler: { cfg: 6, sampler_name: 'dpmpp_2m' } }),
      {
        fast: ['Steps 25 → 20', 'Scheduler simple → karras'],
        balanced: ['Steps 25 → 30', 'Scheduler simple → karras'],
        quality: ['Steps 25 → 50', 'Scheduler simple → karras'],
      },
    ],
    [
      'a CFG that does not suit it',
      picture('qwen_image_fp8.safetensors', 'qwen_image', { sampler: { steps: 30, cfg: 8 } }),
      { fast: ['Steps 30 → 20', 'CFG 8 → 4'], balanced: ['CFG 8 → 4'], quality: ['Steps 30 → 50', 'CFG 8 → 4'] },
    ],
    [
      'the CFG of a model that has its guidance built in',
      picture('z_image_turbo_bf16.safetensors', 'lumina2', { sampler: { cfg: 4, sampler_name: 'res_multistep' } }),
      {
        fast: ['Steps 25 → 6', 'CFG 4 → 1'],
        balanced: ['Steps 25 → 8', 'CFG 4 → 1'],
        quality: ['Steps 25 → 9', 'CFG 4 → 1'],
      },
    ],
    [
      'everything to what a LoRA for few steps was made for',
      picture('sd_xl_base_1.0.safetensors', null, { lora: 'sdxl_lightning_8step_lora.safetensors' }),
      Object.fromEntries(
        ['fast', 'balanced', 'quality'].map((id) => [
          id,
          ['Steps 25 → 8', 'CFG 5 → 1', 'Scheduler simple → sgm_uniform'],
        ]),
      ),
    ],
    [
      'the same for a LoRA of a model that keeps its sampler',
      picture('qwen_image_fp8.safetensors', 'qwen_image', { lora: 'Qwen-Image-Lightning-4steps-V1.0.safetensors' }),
      Object.fromEntries(['fast', 'balanced', 'quality'].map((id) => [id, ['Steps 25 → 4', 'CFG 5 → 1']])),
    ],
    ['nothing of a model nobody knows', picture('unheard-of.safetensors', 'unheard-of'), {}],
  ])('%s', (_, prompt, expected) => {
    expect(advice(prompt).presets).toEqual(expected)
  })

  const wan = (noise: string) =>
    node('UNETLoader', { unet_name: `wan2.2_t2v_${noise}_noise_14B.safetensors`, weight_dtype: 'default' })
  const expert = (model: string, more: Record<string, Json>) =>
    node('KSamplerAdvanced', {
      ...{ add_noise: 'enable', noise_seed: 1, steps: 20, cfg: 3.5, sampler_name: 'euler', scheduler: 'simple' },
      ...{ start_at_step: 0, end_at_step: 10, return_with_leftover_noise: 'enable' },
      ...{ model: [model, 0], positive: ['4', 0], negative: ['4', 0], ...more },
    })
  const video = (width: number, height: number): Prompt => ({
    ...picture('x', null),
    '1': wan('high'),
    '2': wan('low'),
    '4': node('CLIPTextEncode', { text: 'a wave', clip: ['11', 0] }),
    '11': node('CLIPLoader', { clip_name: 'umt5.safetensors', type: 'wan', device: 'default' }),
    '6': node('EmptyHunyuanLatentVideo', { width, height, length: 81, batch_size: 1 }),
    '7': expert('1', { latent_image: ['6', 0] }),
    '12': expert('2', { latent_image: ['7', 0], add_noise: 'disable', start_at_step: 10, end_at_step: 10000 }),
    '8': node('VAEDecode', { samples: ['12', 0], vae: ['9', 0] }),
  })

  test('both experts of a video, their hand-over and its frame, upright or square as it is', () => {
    expect(advice(video(848, 480)).presets).toEqual({
      fast: [],
      balanced: ['Steps 20 → 30', 'Start at step (KSampler (Advanced)) 10 → 15', 'End at step 10 → 15'],
      quality: [
        'Steps 20 → 40',
        ...['Start at step (KSampler (Advanced)) 10 → 20', 'End at step 10 → 20'],
        ...['Width 848 → 1280', 'Height 480 → 720'],
      ],
    })
    const frame = (width: number, height: number) =>
      advice(video(width, height)).presets.quality!.filter((line) => /Width|Height/.test(line))
    expect(frame(480, 832)).toEqual(['Width 480 → 720', 'Height 832 → 1280'])
    expect(frame(640, 640)).toEqual(['Width 640 → 960', 'Height 640 → 960'])
  })

  test('a switch that brings in a LoRA for few steps, and else the steps on its other side', () => {
    const prompt = (on: boolean): Prompt => ({
      ...picture('qwen_image_fp8.safetensors', 'qwen_image', {
        lora: 'Qwen-Image-Lightning-8steps-V1.0.safetensors',
        sampler: { steps: ['22', 0], cfg: 4, model: ['23', 0] },
      }),
      '20': node('PrimitiveInt', { value: 20 }, 'Steps'),
      '21': node('PrimitiveInt', { value: 8 }, 'Steps'),
      '22': node('ComfySwitchNode', { switch: ['24', 0], on_false: ['20', 0], on_true: ['21', 0] }),
      '23': node('ComfySwitchNode', { switch: ['24', 0], on_false: ['1', 0], on_true: ['3', 0] }),
      '24': node('PrimitiveBoolean', { value: on }),
    })
    expect(advice(prompt(false)).presets).toEqual({
      fast: ['Switch false → true'],
      balanced: ['Steps 20 → 30'],
      quality: ['Steps 20 → 50'],
    })
    const { found } = advice(prompt(true))
    expect(found.presets.map(({ id, changes }) => [id, ...changes.map(({ key, to }) => `${key} ${to}`)])).toEqual([
      ['fast'],
      ['balanced', '24.value false', '20.value 30'],
      ['quality', '24.value false', '20.value 50'],
    ])
    const { presets, awake, asleep } = advice(prompt(false), { '24.value': true }).found
    expect([presets[0]!.changes, awake, asleep]).toEqual([
      [],
      ['21.value', '3.lora_name', '3.strength_model'],
      ['20.value'],
    ])
    expect(advice(prompt(false)).found).toMatchObject({ awake: [], asleep: [] })
  })

  test('the first pass of two, whatever its parameters are called', () => {
    const prompt = {
      ...picture('sd_xl_base_1.0.safetensors', null, { sampler: { sampler_name: 'dpmpp_2m', scheduler: 'karras' } }),
      '12': node('KSampler', {
        ...{ seed: 1, steps: 12, cfg: 5, sampler_name: 'dpmpp_2m', scheduler: 'karras', denoise: 0.5 },
        ...{ model: ['1', 0], positive: ['4', 0], negative: ['5', 0], latent_image: ['7', 0] },
      }),
      '8': node('VAEDecode', { samples: ['12', 0], vae: ['9', 0] }),
    }
    const parameters = findParameters(prompt, definitions, null).map((one) => ({ ...one, name: one.key }))
    const [, , quality] = advise(prompt, definitions, parameters, {}).presets
    expect(quality!.changes.map(({ key, to }) => [key, to])).toEqual([['7.steps', 50]])
  })

  test('from what is on the form, and nothing once it is so', () => {
    const prompt = picture('flux1-dev.safetensors', 'flux', { sampler: { cfg: 1 } })
    expect(advice(prompt, { '7.steps': '28' }).presets).toEqual({
      fast: ['Steps 28 → 15'],
      balanced: [],
      quality: ['Steps 28 → 50'],
    })
  })

  test('only to what its node takes', () => {
    const prompt = {
      ...picture('sd_xl_base_1.0.safetensors', null),
      '7': node('OldSampler', { steps: 25, sampler_name: 'x' }),
    }
    for (const { changes } of advice(prompt).found.presets)
      expect(changes.map(({ key }) => key)).not.toContain('7.sampler_name')
  })
})

describe('a prompt suggests', () => {
  const sdxl = (made: Partial<Made>) =>
    picture('sd_xl_base_1.0.safetensors', null, { ...made, sampler: { steps: 30, ...made.sampler } })
  const qwen = (made: Partial<Made>) =>
    picture('qwen_image_fp8.safetensors', 'qwen_image', {
      width: 1328,
      height: 1328,
      ...made,
      sampler: { cfg: 4, ...made.sampler },
    })
  test.each<[string, Prompt, string[]]>([
    [
      'an upright picture, at its makers’ size',
      sdxl({ text: 'portrait of an old sailor' }),
      ['upright: Width 1024 → 832, Height 1024 → 1216'],
    ],
    ['a wide one, in Chinese too', qwen({ text: '雪山风景' }), ['wide: Width 1328 → 1584, Height 1328 → 1056']],
    [
      'a square one',
      sdxl({ text: 'app icon of a fox', width: 1216, height: 832 }),
      ['square: Width 1216 → 1024, Height 832 → 1024'],
    ],
    ['named proportions', qwen({ text: 'a street, 16:9' }), ['ratio: Width 1328 → 1664, Height 1328 → 928']],
    ['no shape where it asks for two', sdxl({ text: 'portrait before a landscape' }), []],
    ['no shape where it has it already', sdxl({ text: 'a landscape', width: 1344, height: 768 }), []],
    [
      'a size its model knows',
      sdxl({ width: 2048, height: 2048 }),
      ['size-large: Width 2048 → 1024, Height 2048 → 1024'],
    ],
    [
      'one that is not too small',
      sdxl({ width: 512, height: 512 }),
      ['size-small: Width 512 → 1024, Height 512 → 1024'],
    ],
    ['sides that its model takes', qwen({ width: 1330, height: 1328 }), ['size-multiple: Width 1330 → 1328']],
    [
      'a gentler hand for photographs',
      sdxl({ text: 'photo of a dog, 35mm', sampler: { cfg: 8 } }),
      ['photo: CFG 8 → 4.5'],
    ],
    [
      'a firmer one for drawings',
      qwen({ text: 'flat vector illustration', sampler: { cfg: 3 } }),
      ['drawing: CFG 3 → 4.5'],
    ],
    ['neither for a drawing of a photograph', sdxl({ text: 'watercolor of a photograph', sampler: { cfg: 8 } }), []],
    [
      'more steps for words',
      qwen({ text: 'a sign that reads "OPEN LATE"', sampler: { steps: 20 } }),
      ['words: Steps 20 → 30'],
    ],
    ['another model for words', sdxl({ text: 'a sign that reads "OPEN"' }), ['words-poor']],
    ['what matters first, when it is long', sdxl({ text: 'a very fine cat, '.repeat(30) }), ['long']],
    ['English, for models that know no other', sdxl({ text: '一只在窗台上睡觉的猫' }), ['english']],
    ['nothing of that to a model that reads Chinese', qwen({ text: '一只在窗台上睡觉的猫' }), []],
    [
      'no negative prompt where it does nothing',
      qwen({ negative: 'blurry', sampler: { cfg: 1 } }),
      ['negative-unused'],
    ],
    ['a schedule that fits', qwen({ sampler: { scheduler: 'karras' } }), ['scheduler: Scheduler karras → simple']],
    ['steps that are enough', qwen({ sampler: { steps: 4 } }), ['too-few-steps: Steps 4 → 20']],
    [
      'the steps and CFG that a fast model was made for',
      picture('flux1-schnell.safetensors', 'flux', { sampler: { steps: 20, cfg: 3.5 } }),
      ['too-many-steps: Steps 20 → 4', 'cfg-built-in: CFG 3.5 → 1'],
    ],
    ['nothing about steps in a picture that is only touched up', qwen({ sampler: { steps: 4, denoise: 0.4 } }), []],
  ])('%s', (_, prompt, expected) => {
    const lines = advice(prompt).suggestions.map((line) => line.replaceAll(': Height', ', Height'))
    expect(lines).toEqual(expected)
  })

  test('a choice of proportions, where the workflow has one', () => {
    const prompt = {
      ...qwen({ text: 'a panorama of the alps' }),
      '20': node('ResolutionSelector', { aspect_ratio: '1:1 (Square)', megapixels: 1, multiple: 8 }),
      '6': node('EmptySD3LatentImage', { width: ['20', 0], height: ['20', 1], batch_size: 1 }),
    }
    expect(advice(prompt).suggestions).toEqual(['wide: Aspect ratio 1:1 (Square) → 3:2 (Photo)'])
  })

  test('frames in the groups that the model makes them in', () => {
    const prompt = {
      ...picture('wan2.1_t2v_14B.safetensors', 'wan'),
      '6': node('EmptyHunyuanLatentVideo', { width: 832, height: 480, length: 80, batch_size: 1 }),
    }
    expect(advice(prompt).suggestions).toEqual(['frames: Length 80 → 77'])
  })

  test('nothing any more when it is done as suggested', () => {
    const prompt = sdxl({ text: 'portrait of an old sailor' })
    const changes = advice(prompt).found.suggestions.flatMap(({ changes }) => changes)
    expect(advice(prompt, Object.fromEntries(changes.map(({ key, to }) => [key, to]))).suggestions).toEqual([])
  })
})

test('the reasons are said in the same words by every door', () => {
  const file = path.resolve(import.meta.dirname, '../../../../../resources/locales/en/problems.json')
  expect(JSON.parse(readFileSync(file, 'utf8'))).toMatchObject({ ...presetSentences, ...suggestionSentences })
})
