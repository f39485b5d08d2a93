import { expect, test } from 'vitest'
import { withOverrides } from '../../../../../core/domain/batch/materialise.ts'
import { nameFacts } from '../../../../../core/domain/batch/telling.ts'
import { aParameter, aTextPrompt, textParameters } from '../../../../kit/batch-kit.ts'

const told = (overrides = {}, extra = {}, parameters = textParameters()) =>
  nameFacts({
    batch: 'Night',
    workflow: 'cats',
    row: 3,
    index: 2,
    overrides,
    extra,
    columns: { '6.text': '提示词' },
    parameters,
    prompt: withOverrides(aTextPrompt(), overrides, parameters),
  })

test('a job is told by its row, its columns, its parameters and its first seed', () => {
  expect(told({ '6.text': 'a red fox', '3.seed': 2n ** 60n }, { price: '5' })).toEqual({
    batch: 'Night',
    workflow: 'cats',
    row: 3,
    index: 3,
    seed: 2n ** 60n,
    name: 'a red fox',
    columns: { 提示词: 'a red fox', price: '5' },
    params: { Prompt: 'a red fox', Negative: 'blurry', Seed: 2n ** 60n, Steps: 20, Width: 512 },
  })
})

test.each([
  ['a column called name', { '6.text': 'a fox' }, { 名称: '杯子 01' }, '杯子 01'],
  [
    'its own prompt, without weights',
    { '6.text': '(masterpiece:1.2),  ((a fox)), snow\nnight' },
    {},
    'masterpiece, a fox, snow night',
  ],
  ['the workflow’s prompt when it has no text of its own', { '3.steps': 5 }, { name: ' ' }, 'a cat'],
])('the telling words are those of %s', (_, overrides, extra, expected) => {
  expect(told(overrides, extra).name).toBe(expected)
})

test('an input file is told by its name, without folder and extension', () => {
  const parameters = [aParameter('1.image', { name: 'Image', role: 'image', type: 'COMBO', upload: 'image' })]
  const prompt = { '1': { class_type: 'LoadImage', inputs: { image: 'sub/red mug.png' } } }
  const overrides = { '1.image': `input:${'a'.repeat(64)}/red mug.png` }
  const { name, params, columns } = nameFacts({
    ...{ batch: '', workflow: '', row: 1, index: 0, extra: {}, columns: { '1.image': 'photo' } },
    ...{ overrides, parameters, prompt },
  })
  expect({ name, params, columns }).toEqual({
    name: 'red mug',
    params: { Image: 'red mug' },
    columns: { photo: 'red mug' },
  })
})
