import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Prompt } from '../../../../../core/contract/comfyui.ts'
import { AppError } from '../../../../../core/contract/errors.ts'
import type { Json } from '../../../../../core/contract/json.ts'
import type { Parameter } from '../../../../../core/contract/workflow.ts'
import { withOverrides } from '../../../../../core/domain/batch/materialise.ts'
import { convertWorkflow } from '../../../../../core/domain/workflow/convert.ts'
import {
  arrange,
  coerceValue,
  findParameters,
  resolveParameter,
} from '../../../../../core/domain/workflow/parameters.ts'
import { readWorkflow } from '../../../../../core/domain/workflow/read.ts'
import { definitions } from '../../../../kit/definitions.ts'

const node = (class_type: string, inputs: Record<string, Json> = {}, title?: string) => ({
  class_type,
  inputs,
  ...(title !== undefined && { _meta: { title } }),
})
const encode = (text: Json) => node('CLIPTextEncode', { text, clip: ['1', 1] })
const sampler = (positive: Json, negative: Json, more: Record<string, Json> = {}) =>
  node('KSampler', {
    seed: 1,
    steps: 20,
    cfg: 7,
    sampler_name: 'euler',
    scheduler: 'normal',
    denoise: 1,
    model: ['1', 0],
    positive,
    negative,
    latent_image: ['5', 0],
    ...more,
  })
const base = {
  '1': node('CheckpointLoaderSimple', { ckpt_name: 'a.safetensors' }),
  '5': node('EmptyLatentImage', { width: 512, height: 768, batch_size: 1 }),
}
const find = (prompt: Prompt) => findParameters(prompt, definitions, null)
const roles = (prompt: Prompt) =>
  Object.fromEntries(
    find(prompt).flatMap(({ key, role }) => (role === 'prompt' || role === 'negative' ? [[key, role]] : [])),
  )
const refusal = (run: () => unknown) => {
  try {
    run()
  } catch (cause) {
    if (cause instanceof AppError) return cause.message
    throw cause
  }
  return null
}

test('a plain text-to-picture prompt has a named parameter for each thing a person would turn', () => {
  const prompt = {
    ...base,
    '2': encode('a cat'),
    '3': encode('bad'),
    '4': sampler(['2', 0], ['3', 0]),
    '6': node('SaveImage', { filename_prefix: 'x', images: ['4', 0] }),
  }
  expect(find(prompt).map(({ key, role, name, shown }) => `${shown ? '' : '- '}${key} ${role} ${name}`)).toEqual([
    '2.text prompt Prompt',
    '3.text negative Negative prompt',
    '4.seed seed Seed',
    '5.width width Width',
    '5.height height Height',
    '5.batch_size batch-size Batch size',
    '4.steps steps Steps',
    '4.cfg cfg CFG',
    '4.sampler_name sampler Sampler',
    '4.scheduler scheduler Scheduler',
    '4.denoise denoise Denoise',
    '1.ckpt_name checkpoint Checkpoint',
    '- 6.filename_prefix filename-prefix Filename prefix',
  ])
  expect(find(prompt)[2]).toMatchObject({ type: 'INT', default: 1, min: 0, max: 18446744073709551615n })
})

describe('positive and negative are told apart by tracing', () => {
  test.each<[string, Prompt, Record<string, string>]>([
    [
      'through a ControlNet that hands on both',
      {
        ...base,
        '2': encode('yes'),
        '3': encode('no'),
        '7': node('ControlNetApplyAdvanced', { positive: ['2', 0], negative: ['3', 0], strength: 1 }),
        '4': sampler(['7', 0], ['7', 1]),
      },
      { '2.text': 'prompt', '3.text': 'negative' },
    ],
    [
      'through guidance and combination',
      {
        ...base,
        '2': encode('yes'),
        '3': encode('also'),
        '8': encode('no'),
        '7': node('ConditioningCombine', { conditioning_1: ['2', 0], conditioning_2: ['3', 0] }),
        '9': node('FluxGuidance', { conditioning: ['7', 0], guidance: 3 }),
        '4': sampler(['9', 0], ['8', 0]),
      },
      { '2.text': 'prompt', '3.text': 'prompt', '8.text': 'negative' },
    ],
    [
      'with an empty negative made of the positive',
      {
        ...base,
        '2': encode('yes'),
        '7': node('ConditioningZeroOut', { conditioning: ['2', 0] }),
        '4': sampler(['2', 0], ['7', 0]),
      },
      { '2.text': 'prompt' },
    ],
    [
      'with one text for both sides',
      { ...base, '2': encode('both'), '4': sampler(['2', 0], ['2', 0]) },
      { '2.text': 'prompt' },
    ],
    [
      'with a guider',
      { ...base, '2': encode('yes'), '7': node('BasicGuider', { model: ['1', 0], conditioning: ['2', 0] }) },
      { '2.text': 'prompt' },
    ],
    [
      'from text made elsewhere',
      {
        ...base,
        '2': encode(['7', 0]),
        '7': node('StringConcatenate', { string_a: ['8', 0], string_b: 'tail', delimiter: ', ' }),
        '8': node('PrimitiveStringMultiline', { value: 'head' }),
        '4': sampler(['2', 0], ['2', 0]),
      },
      { '7.string_b': 'prompt', '8.value': 'prompt' },
    ],
    [
      'past nodes nobody knows',
      {
        ...base,
        '2': encode('yes'),
        '3': encode('no'),
        '7': node('Mystery', { positive: ['2', 0], negative: ['3', 0] }),
        '4': sampler(['7', 1], ['7', 2]),
      },
      { '2.text': 'prompt', '3.text': 'negative' },
    ],
    [
      'in a circle',
      {
        ...base,
        '2': encode('yes'),
        '7': node('ConditioningCombine', { conditioning_1: ['8', 0], conditioning_2: ['2', 0] }),
        '8': node('ConditioningCombine', { conditioning_1: ['7', 0], conditioning_2: ['7', 0] }),
        '4': sampler(['8', 0], ['9', 0]),
      },
      { '2.text': 'prompt' },
    ],
  ])('%s', (_, prompt, expected) => {
    expect(roles(prompt)).toEqual(expected)
  })

  test('a switch is followed on the side it is set to', () => {
    const prompt = (on: boolean) => ({
      ...base,
      '2': encode('off'),
      '3': encode('on'),
      '8': encode(''),
      '7': node('ComfySwitchNode', { switch: on, on_false: ['2', 0], on_true: ['3', 0] }),
      '4': sampler(['7', 0], ['8', 0]),
    })
    expect(roles(prompt(true))).toEqual({ '3.text': 'prompt', '8.text': 'negative' })
    expect(roles(prompt(false))).toEqual({ '2.text': 'prompt', '8.text': 'negative' })
  })
})

test('a value behind a link is the parameter, and a seed that adds no noise is none', () => {
  const advanced = (add_noise: string, more: Record<string, Json>) =>
    node('KSamplerAdvanced', {
      add_noise,
      noise_seed: 1,
      steps: 20,
      cfg: 7,
      sampler_name: 'euler',
      scheduler: 'normal',
      ...more,
    })
  const prompt = {
    '7': node('PrimitiveInt', { value: 30 }),
    '4': advanced('enable', { steps: ['7', 0] }),
    '8': advanced('disable', {}),
  }
  const found = Object.fromEntries(find(prompt).map(({ key, role }) => [key, role]))
  expect(found).toMatchObject({ '7.value': 'steps', '4.noise_seed': 'seed', '8.noise_seed': null })
})

test('encoders with the same text, and samplers of one schedule, are turned together, and can be turned alone', () => {
  const prompt = {
    ...base,
    '2': encode('same'),
    '3': encode('same'),
    '8': encode('no'),
    '4': sampler(['2', 0], ['8', 0]),
    '9': sampler(['3', 0], ['8', 0]),
  }
  const parameters = find(prompt)
  expect(resolveParameter(parameters, 'prompt')).toMatchObject({ key: '2.text', name: 'Prompt', also: ['3.text'] })
  expect(resolveParameter(parameters, '3.text')).toMatchObject({ role: null, shown: false })
  const both = withOverrides(prompt, { '2.text': 'new' }, parameters)
  expect([both['2']!.inputs.text, both['3']!.inputs.text]).toEqual(['new', 'new'])
  const apart = withOverrides(prompt, { '3.text': 'own', '2.text': 'new' }, parameters)
  expect([apart['2']!.inputs.text, apart['3']!.inputs.text]).toEqual(['new', 'own'])
})

describe('placeholders', () => {
  test('are parameters by their own names, one for all their places', () => {
    const parameters = find({
      ...base,
      '2': encode('{{subject}}'),
      '3': encode('{{subject}}'),
      '4': sampler(['2', 0], ['3', 0], { seed: '{{the seed}}' }),
    })
    expect(resolveParameter(parameters, 'subject')).toMatchObject({
      key: '2.text',
      role: 'prompt',
      default: '{{subject}}',
      also: ['3.text'],
      shown: true,
    })
    expect(resolveParameter(parameters, 'the_seed')).toMatchObject({
      key: '4.seed',
      role: 'seed',
      type: 'INT',
      max: 18446744073709551615n,
    })
  })

  test('within a text each are parameters, filled in together', () => {
    const prompt = {
      ...base,
      '2': encode('a {{animal}} in {{ place }}, {{animal}}'),
      '3': encode('no'),
      '4': sampler(['2', 0], ['3', 0]),
    }
    const parameters = find(prompt)
    expect(parameters.filter(({ role }) => role === 'placeholder').map(({ key, name }) => [key, name])).toEqual([
      ['2.text{{animal}}', 'animal'],
      ['2.text{{place}}', 'place'],
    ])
    const filled = withOverrides(prompt, { '2.text{{animal}}': 'cat', '2.text{{place}}': '$& Rome' }, parameters)
    expect(filled['2']!.inputs.text).toBe('a cat in $& Rome, cat')
  })
})

test('names are unique in any case, by title or else by number', () => {
  const titled = find({
    ...base,
    '2': node('CLIPTextEncode', { text: 'x', clip: ['1', 1] }, 'Sky'),
    '3': node('CLIPTextEncode', { text: 'y', clip: ['1', 1] }, 'Sea'),
    '4': sampler(['2', 0], ['9', 0]),
    '8': sampler(['3', 0], ['9', 0]),
  })
  expect(titled.filter(({ role }) => role === 'prompt').map(({ name }) => name)).toEqual([
    'Prompt (Sky)',
    'Prompt (Sea)',
  ])
  expect(titled.filter(({ role }) => role === 'seed').map(({ name }) => name)).toEqual(['Seed 1', 'Seed 2'])
  const names = titled.map(({ name }) => name.toLowerCase())
  expect(new Set(names).size).toBe(names.length)
})

test('a parameter is found by key, name, role or input, however it is spelt; several are asked about', () => {
  const parameters = find({
    ...base,
    '2': encode('a'),
    '3': encode('b'),
    '4': sampler(['2', 0], ['3', 0]),
    '8': sampler(['2', 0], ['3', 0]),
  })
  const keyOf = (asked: string) => resolveParameter(parameters, asked).key
  expect(
    ['2.text', 'Prompt', 'PROMPT', 'negative', 'negative-prompt', 'Negative_Prompt', 'batch size', 'ckpt_name'].map(
      keyOf,
    ),
  ).toEqual(['2.text', '2.text', '2.text', '3.text', '3.text', '3.text', '5.batch_size', '1.ckpt_name'])
  expect(refusal(() => keyOf('seed'))).toBe('seed could be any of 4.seed (Seed 1), 8.seed (Seed 2).')
  expect(refusal(() => keyOf('colour'))).toBe('The workflow has no parameter colour.')
})

test('what the editor did with a seed is known from its file', () => {
  const text = JSON.stringify({ nodes: [{ id: 4, type: 'RandomNoise', widgets_values: [7, 'increment'] }], links: [] })
  const read = readWorkflow('w.json', { json: text })
  const { prompt } = convertWorkflow(read, definitions)
  expect(findParameters(prompt, definitions, read.editor)).toMatchObject([
    { key: '4.noise_seed', control: 'increment' },
  ])
})

test('what the editor keeps once is one parameter: a primitive that turns two nodes', () => {
  const target = (id: number, link: number) => ({
    id,
    type: 'KSampler',
    inputs: [{ name: 'seed', type: 'INT', link, widget: { name: 'seed' } }],
    widgets_values: [0, 'fixed', 20, 7, 'euler', 'normal', 1],
  })
  const read = readWorkflow('w.json', {
    json: JSON.stringify({
      nodes: [target(1, 1), target(2, 2), { id: 3, type: 'PrimitiveNode', widgets_values: [9, 'fixed'] }],
      links: [
        [1, 3, 0, 1, 0, 'INT'],
        [2, 3, 0, 2, 0, 'INT'],
      ],
    }),
  })
  const { prompt } = convertWorkflow(read, definitions)
  expect(resolveParameter(findParameters(prompt, definitions, read.editor), 'seed')).toMatchObject({
    key: '1.seed',
    default: 9,
    also: ['2.seed'],
  })
})

test('texts of nodes that take no conditioning are prompts by their names', () => {
  const paid = Object.entries(definitions).find(
    ([, { api_node, input }]) => api_node && input.required?.prompt?.[1]?.multiline === true,
  )!
  expect(roles({ '1': node(paid[0], { prompt: 'a cat' }) })).toEqual({ '1.prompt': 'prompt' })
})

test('a person’s arrangement holds; parameters they have not seen follow', () => {
  const parameters = find(base)
  const arranged = arrange(parameters, [
    { key: '5.height', name: 'Tall', shown: true, pinned: true },
    { key: 'gone', name: 'x', shown: true, pinned: false },
    { key: '5.width', name: '', shown: false, pinned: false },
  ])
  expect(arranged.map(({ key, name, shown }) => `${key} ${name} ${shown}`)).toEqual([
    '5.height Tall true',
    '5.width Width false',
    '5.batch_size Batch size true',
    '1.ckpt_name Checkpoint true',
  ])
})

describe('a value from a table', () => {
  const parameter = (more: Partial<Parameter>): Parameter => ({
    key: '1.x',
    name: 'X',
    node: '1',
    input: 'x',
    classType: 'K',
    nodeTitle: 'K',
    type: 'INT',
    role: null,
    default: 0,
    shown: true,
    pinned: false,
    ...more,
  })
  const steps = parameter({ name: 'Steps', min: 1, max: 10000 })
  const seed = parameter({ name: 'Seed', role: 'seed', min: 0, max: 18446744073709551615n })
  const combo = parameter({ type: 'COMBO', options: ['euler', 'heun', 'a\\b.safetensors'], default: 'euler' })
  test.each<[string, Parameter, Json, Json]>([
    ['a whole number', steps, ' 20 ', 20],
    ['a spreadsheet’s whole number', steps, '20.0', 20],
    ['a spreadsheet’s large number', steps, '1E+03', 1000],
    ['a seed of 64 bits', seed, '18446744073709551615', 18446744073709551615n],
    ['a seed as bigint', seed, 9007199254740993n, 9007199254740993n],
    ['a small bigint', seed, 5n, 5],
    ['a new seed', seed, '-1', -1],
    ['a fraction', parameter({ type: 'FLOAT', min: 0, max: 1 }), '.5', 0.5],
    ['yes', parameter({ type: 'BOOLEAN' }), 'Yes', true],
    ['no', parameter({ type: 'BOOLEAN' }), '否', false],
    ['a choice', combo, 'heun', 'heun'],
    ['a choice in other case', combo, 'Euler', 'euler'],
    ['a file with the other slash', combo, 'a/b.safetensors', 'a\\b.safetensors'],
    ['a choice that is a number', parameter({ type: 'COMBO', options: [1, 2] }), '2', 2],
    [
      'a picture that is not there yet',
      parameter({ type: 'COMBO', options: ['x.png'], upload: 'image' }),
      'new.png',
      'new.png',
    ],
    [
      'a model of another server',
      parameter({ type: 'COMBO', role: 'checkpoint', options: ['here.ckpt'], default: 'there.ckpt' }),
      'mine.ckpt',
      'mine.ckpt',
    ],
    ['text', parameter({ type: 'STRING' }), ' as it is ', ' as it is '],
    ['a number as text', parameter({ type: 'STRING' }), 7, '7'],
  ])('%s is taken', (_, of, raw, expected) => {
    expect(coerceValue(of, raw)).toEqual(expected)
  })
  test.each<[Parameter, Json, string]>([
    [steps, '0', 'Steps: must be between 1 and 10000'],
    [steps, '12.5', 'Steps: must be a whole number, not "12.5"'],
    [steps, '', 'Steps: must be a whole number, not ""'],
    [steps, null, 'Steps: must be a whole number, not a list'],
    [steps, 'many', 'Steps: must be a whole number, not "many"'],
    [seed, '18446744073709551616', 'Seed: must be between 0 and 18446744073709551615 (or -1 for a new random seed)'],
    [seed, '-2', 'Seed: must be between 0 and 18446744073709551615 (or -1 for a new random seed)'],
    [parameter({ type: 'FLOAT' }), 'NaN', 'X: must be a number, not "NaN"'],
    [parameter({ type: 'FLOAT', min: 0 }), '-1', 'X: must be at least 0'],
    [parameter({ type: 'BOOLEAN' }), 'maybe', 'X: must be true or false, not "maybe"'],
    [combo, 'ddim', 'X: must be one of euler, heun, a\\b.safetensors, not "ddim"'],
  ])('%# is refused with a reason', (of, raw, message) => {
    expect(refusal(() => coerceValue(of, raw))).toBe(message)
  })

  test('whatever it is, is taken within its range or refused', () => {
    fc.assert(
      fc.property(
        fc.oneof(fc.string(), fc.double(), fc.bigInt(), fc.integer().map(String), fc.boolean(), fc.constant(null)),
        (raw) => {
          try {
            const value = coerceValue(steps, raw) as number
            expect(Number.isInteger(value) && value >= 1 && value <= 10000).toBe(true)
          } catch (cause) {
            expect(cause).toBeInstanceOf(AppError)
          }
        },
      ),
      { numRuns: 1000, seed: 4 },
    )
  })
})

const template = path.resolve(
  import.meta.dirname,
  '../../../../../../shared/corpus/placeholder-template/sdxl_advanced_pipeline.json',
)
test.skipIf(!existsSync(template))('the placeholder template imports with its placeholders as parameters', () => {
  const read = readWorkflow('t.json', { json: readFileSync(template, 'utf8') })
  const parameters = findParameters(convertWorkflow(read, definitions).prompt, definitions, null)
  expect(read.format).toBe('template')
  expect(
    parameters
      .filter(({ default: value }) => String(value).startsWith('{{'))
      .map(({ name, role, type, min, max }) => ({ name, role, type, min, max })),
  ).toEqual([
    { name: 'positive_prompt', role: 'prompt', type: 'STRING' },
    { name: 'negative_prompt', role: 'negative', type: 'STRING' },
    { name: 'seed', role: 'seed', type: 'INT', min: 0, max: 18446744073709551615n },
    { name: 'width', role: 'width', type: 'INT', min: 16, max: 16384 },
    { name: 'height', role: 'height', type: 'INT', min: 16, max: 16384 },
    { name: 'steps', role: 'steps', type: 'INT', min: 1, max: 10000 },
    { name: 'guidance_scale', role: 'cfg', type: 'FLOAT', min: 0, max: 100 },
  ])
})
