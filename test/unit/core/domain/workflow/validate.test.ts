import { describe, expect, test } from 'vitest'
import type { NodeErrors, ObjectInfo, Prompt, PromptReply } from '../../../../../core/contract/comfyui.ts'
import type { Json } from '../../../../../core/contract/json.ts'
import { choicesOf, finalInputs, fits, validatePrompt } from '../../../../../core/domain/workflow/validate.ts'
import { bundledDefinitions } from '../../../../../core/engine/definitions.ts'
import { readTrace } from '../../../../kit/trace-server.ts'

const { definitions } = bundledDefinitions()
const image = (inputs: Record<string, Json> = {}) => ({
  class_type: 'EmptyImage',
  inputs: { width: 64, height: 64, batch_size: 1, color: 0, ...inputs },
})
const save = (from: Json) => ({ class_type: 'SaveImage', inputs: { images: from, filename_prefix: 'x' } })
const typesIn = (errors: NodeErrors) =>
  Object.entries(errors).map(([id, node]) => [
    id,
    node.errors.map(({ type, details }) => [type, details]),
    node.dependent_outputs,
  ])

describe('the refusals recorded from a real server', () => {
  const scenes = readTrace('validation_errors').http.filter(({ request }) => request.path === '/prompt')
  // 0.33 words these two otherwise, and names a cycle
  const worded: Record<string, string> = { invalid_prompt: 'missing_node_type' }
  test.each(scenes.map((scene, index) => [index, scene] as const))('number %i is refused alike', (_index, scene) => {
    const prompt = scene.request.body!.prompt as Prompt
    const reply = scene.response as unknown as PromptReply
    const verdict = validatePrompt(prompt, definitions, { hasInputFile: () => false })
    const type = reply.error?.type ?? null
    expect(verdict.error?.type ?? null).toBe(type === null ? null : (worded[type] ?? type))
    if (Object.keys(reply.node_errors!).length > 0) {
      expect(verdict.error?.details ?? null).toBe(reply.error?.details ?? null)
      expect(typesIn(verdict.node_errors)).toEqual(typesIn(reply.node_errors!))
    }
  })
  test('were all there', () => expect(scenes.length).toBeGreaterThan(10))
})

test('literals are converted as the server does, and the prompt given stays as it was', () => {
  const prompt: Prompt = {
    1: image({ width: ' 32 ', height: 33.9, batch_size: true, color: { __value__: '7' } }),
    2: save(['1', 0]),
  }
  const before = structuredClone(prompt)
  const verdict = validatePrompt(prompt, definitions)
  expect(verdict.error).toBeNull()
  expect(verdict.prompt['1']!.inputs).toEqual({ width: 32, height: 33, batch_size: 1, color: 7 })
  expect(prompt).toEqual(before)
})

test('a seed keeps every digit up to the largest, and one more is too big', () => {
  const withSeed = (seed: Json): Prompt => ({
    1: image(),
    3: {
      class_type: 'KSampler',
      inputs: {
        seed,
        steps: 1,
        cfg: 1,
        sampler_name: 'euler',
        scheduler: 'normal',
        denoise: 1,
        model: ['4', 0],
        positive: ['7', 0],
        negative: ['7', 0],
        latent_image: ['5', 0],
      },
    },
    4: { class_type: 'CheckpointLoaderSimple', inputs: { ckpt_name: 'any.safetensors' } },
    5: { class_type: 'EmptyLatentImage', inputs: { width: 64, height: 64, batch_size: 1 } },
    6: { class_type: 'PreviewAny', inputs: { source: ['3', 0] } },
    7: { class_type: 'CLIPTextEncode', inputs: { text: 'a cat', clip: ['4', 1] } },
  })
  const judged = (seed: Json) => validatePrompt(withSeed(seed), definitions, { assumeModels: true })
  const reasons = (seed: Json) =>
    judged(seed).node_errors['3']?.errors.map(({ type, message }) => [type, message]) ?? []
  expect(judged(18446744073709551615n).prompt['3']!.inputs.seed).toBe(18446744073709551615n)
  expect(judged('18446744073709551615').prompt['3']!.inputs.seed).toBe(18446744073709551615n)
  expect(reasons(18446744073709551615n)).toEqual([])
  expect(reasons(18446744073709551616n)).toContainEqual([
    'value_bigger_than_max',
    'Value 18446744073709551616 bigger than max of 18446744073709551615',
  ])
})

test('a model that is not in the list is refused, unless models are assumed', () => {
  const prompt: Prompt = {
    1: { class_type: 'CheckpointLoaderSimple', inputs: { ckpt_name: 'mine.safetensors' } },
    2: { class_type: 'PreviewAny', inputs: { source: ['1', 0] } },
  }
  expect(validatePrompt(prompt, definitions).node_errors['1']!.errors[0]!.details).toBe(
    "ckpt_name: 'mine.safetensors' not in []",
  )
  expect(validatePrompt(prompt, definitions, { assumeModels: true }).error).toBeNull()
})

test('a chain of ten thousand nodes is judged to its end', () => {
  const prompt: Prompt = { 0: image({ width: 0 }) }
  for (let id = 1; id < 10_000; id++) prompt[id] = { class_type: 'ImageInvert', inputs: { image: [String(id - 1), 0] } }
  prompt.out = save(['9999', 0])
  const verdict = validatePrompt(prompt, definitions)
  expect(typesIn(verdict.node_errors)).toEqual([['0', [['value_smaller_than_min', 'width']], ['out']]])
})

test('a cycle of links ends, and every node of it is named', () => {
  const invert = (from: string) => ({ class_type: 'ImageInvert', inputs: { image: [from, 0] } })
  const verdict = validatePrompt({ a: invert('b'), b: invert('c'), c: invert('a'), out: save(['a', 0]) }, definitions)
  expect(verdict.error?.type).toBe('prompt_outputs_failed_validation')
  expect(typesIn(verdict.node_errors)).toEqual(
    expect.arrayContaining(
      ['a', 'b', 'c'].map((id) => [
        id,
        [['dependency_cycle', 'a (ImageInvert) -> b (ImageInvert) -> c (ImageInvert) -> a (ImageInvert)']],
        ['out'],
      ]),
    ),
  )
})

test('a class named like a property of every object is missing, not found by accident', () => {
  const verdict = validatePrompt({ 1: { class_type: 'constructor', inputs: {} } }, definitions)
  expect(verdict.error).toMatchObject({ type: 'missing_node_type', extra_info: { class_type: 'constructor' } })
})

test('dynamic inputs unfold by what is chosen', () => {
  const chosen = finalInputs(definitions.ResizeImageMaskNode!, { resize_type: 'scale dimensions' })
  expect([...chosen.specs.keys()]).toEqual(
    expect.arrayContaining(['resize_type', 'resize_type.width', 'resize_type.crop']),
  )
  const none = finalInputs(definitions.ResizeImageMaskNode!, { resize_type: 'nonsense' })
  expect([...none.specs.keys()]).not.toContain('resize_type')
  const growing = finalInputs(definitions.BatchImagesNode!, {})
  expect(growing.specs.get('images.image0')).toMatchObject({ required: true })
  expect(growing.specs.get('images.image1')).toMatchObject({ required: false })
})

test.each([
  ['IMAGE', 'IMAGE', true],
  ['IMAGE', 'MASK', false],
  ['INT', 'INT,FLOAT', true],
  ['*', 'MODEL', true],
  ['MODEL', '*', true],
  [['a', 'b'], 'COMBO', true],
  ['COMBO', ['a', 'b'], false],
  ['COMFY_MATCHTYPE_V3', 'IMAGE', true],
] as const)('an output %j feeds an input %j: %s', (given, wanted, fit) => {
  expect(fits(given as string, wanted as string)).toBe(fit)
})

test('the choices of a combo are found in both spellings', () => {
  expect(choicesOf([['a', 'b']])).toEqual(['a', 'b'])
  expect(choicesOf(['COMBO', { options: ['a'] }])).toEqual(['a'])
  expect(choicesOf(['INT', {}])).toBeUndefined()
})

test('what is bundled names every core node and no file of any machine', () => {
  const { definitions: bundled, version } = bundledDefinitions()
  expect(version).toBe('0.33.0')
  expect(Object.keys(bundled).length).toBeGreaterThan(800)
  const models = Object.values(bundled as ObjectInfo).flatMap(({ input }) =>
    Object.values({ ...input.required, ...input.optional }).flatMap((spec) => choicesOf(spec) ?? []),
  )
  expect(models.filter((choice) => /\.(safetensors|ckpt|pth?)$/.test(String(choice)))).toEqual([])
})

test.each([
  [{}],
  [{ input: null, output: null }],
  [
    {
      input: { required: 'x', optional: { a: null, b: 'INT', c: [], d: ['INT', null], e: [7, 'x'] } },
      output: ['IMAGE'],
    },
  ],
  [{ input: { required: { a: ['COMFY_DYNAMICCOMBO_V3', { options: [null, { key: 1 }] }] } }, output: [] }],
  [
    {
      input: {
        required: { a: ['COMFY_AUTOGROW_V3', {}], b: ['COMFY_AUTOGROW_V3', { template: { input: { required: {} } } }] },
      },
    },
  ],
  [
    {
      input: {
        required: { a: ['COMFY_AUTOGROW_V3', { template: { input: { required: { x: ['INT'] } }, max: 1e15 } }] },
      },
    },
  ],
])('a class that a server describes oddly breaks nothing: %j', (definition) => {
  const odd = { Odd: { ...definition, name: 'Odd' } } as unknown as ObjectInfo
  const prompt: Prompt = {
    '1': { class_type: 'Odd', inputs: { a: 1, b: ['1', 0], c: 'x', d: null, e: [] } },
    '2': save(['1', 0]),
  }
  const verdict = validatePrompt(prompt, { ...definitions, ...odd })
  expect(verdict.good_outputs.length + Object.keys(verdict.node_errors).length).toBeGreaterThan(0)
})
