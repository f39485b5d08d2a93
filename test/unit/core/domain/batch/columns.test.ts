import { expect, test } from 'vitest'
import { guessColumns } from '../../../../../core/domain/batch/columns.ts'
import { aParameter, textParameters } from '../../../../kit/batch-kit.ts'

const guess = (columns: string[], row: string[] = [], parameters = textParameters()) =>
  guessColumns(columns, row.length ? [row] : [], parameters)

test.each([
  [
    ['Prompt', 'Seed'],
    ['6.text', '3.seed'],
  ],
  [
    ['提示词', '负面提示词', '种子', '步数', '宽'],
    ['6.text', '7.text', '3.seed', '3.steps', '5.width'],
  ],
  [
    ['正向', '反向'],
    ['6.text', '7.text'],
  ],
  [
    ['positive_prompt', 'negative-prompt'],
    ['6.text', '7.text'],
  ],
  [
    ['3.seed', 'seed'],
    ['3.seed', null],
  ],
  [
    ['ＳＥＥＤ', 'sampling steps'],
    ['3.seed', '3.steps'],
  ],
  [
    ['图片提示词（中文）', '备注'],
    ['6.text', null],
  ],
  [
    ['price', 'name', ''],
    [null, null, null],
  ],
])('%j are taken for %j', (columns, expected) => {
  expect(Object.values(guess(columns))).toEqual(expected)
})

test('no parameter is given to two columns; the better name wins wherever it stands', () => {
  expect(guess(['text', 'prompt', 'negative prompt'])).toEqual({
    text: null,
    prompt: '6.text',
    'negative prompt': '7.text',
  })
})

test('a column of words is not taken for a number by a mere likeness', () => {
  expect(guess(['宽度说明'], ['很宽'])).toEqual({ 宽度说明: null })
  expect(guess(['宽度说明'], ['512'])).toEqual({ 宽度说明: '5.width' })
})

test('of parameters with the same words the one on the form comes first', () => {
  const parameters = [
    aParameter('1.seed', { role: 'seed', shown: false, name: 'A' }),
    aParameter('2.seed', { role: 'seed', name: 'B' }),
  ]
  expect(guess(['种子'], [], parameters)).toEqual({ 种子: '2.seed' })
})

test('a placeholder is found by its name', () => {
  const parameters = [aParameter('6.text{{product}}', { name: 'product', type: 'STRING', role: 'placeholder' })]
  expect(guess(['Product'], ['mug'], parameters)).toEqual({ Product: '6.text{{product}}' })
})

test('a column may be called as a form calls its field, which tells less than the parameter’s own name', () => {
  const titles = new Map([
    ['6.text', ['参考形象描述']],
    ['3.steps', ['Seed', 'Patience']],
  ])
  const columns = ['参考形象描述', 'patience', 'seed']
  expect(guessColumns(columns, [], textParameters(), titles)).toEqual({
    参考形象描述: '6.text',
    patience: '3.steps',
    seed: '3.seed',
  })
})
