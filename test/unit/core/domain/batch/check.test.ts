import { expect, test } from 'vitest'
import { checkRows, faultOf } from '../../../../../core/domain/batch/check.ts'
import type { Row } from '../../../../../core/domain/batch/expand.ts'
import { aParameter, textParameters } from '../../../../kit/batch-kit.ts'

const check = (
  rows: Row[],
  parameters = textParameters(),
  given: string[] = [],
  columns: Record<string, string> = {},
) =>
  checkRows(rows, {
    parameters,
    columns,
    given: new Set(given),
    checkFile: (value) => (value.includes('missing') ? faultOf('row.file-missing') : undefined),
  })

test('of 1 000 rows the 12 faulty ones are named with column, value and reason, and 988 are good', () => {
  const bad: Record<number, string> = { 7: 'soon', 88: '1.5', 99: '0', 100: '20000' }
  const rows = Array.from({ length: 1000 }, (_, at): Row => {
    const row = at + 1
    return { row, values: { '6.text': `cat ${row}`, '3.steps': bad[row] ?? (row % 120 === 60 ? 'x' : '20') } }
  })
  const { good, faults } = check(rows, textParameters(), [], { '3.steps': '步数' })
  expect(faults.map(({ row }) => row)).toEqual([7, 60, 88, 99, 100, 180, 300, 420, 540, 660, 780, 900])
  expect(faults[0]).toEqual({
    row: 7,
    column: '步数',
    value: 'soon',
    reason: 'must be a whole number, not "soon"',
    code: 'value.not-whole',
    facts: { value: '"soon"' },
  })
  expect(good).toHaveLength(988)
  expect(good[0]).toEqual({ row: 1, values: { '6.text': 'cat 1', '3.steps': 20 } })
})

test('a row with two faults tells both', () => {
  const { good, faults } = check([{ row: 3, values: { '3.steps': 'a', '3.seed': 'b' } }])
  expect(good).toEqual([])
  expect(faults.map(({ column }) => column)).toEqual(['Steps', 'Seed'])
})

test('an empty cell keeps the workflow’s value, and empty texts are counted', () => {
  const { good, emptyTexts } = check([{ row: 1, values: { '6.text': ' ', '3.steps': '', '5.width': null } }])
  expect(good[0]?.values).toEqual({})
  expect(emptyTexts).toBe(1)
})

test('a seed beyond 2^53 keeps every digit, and −1 is allowed', () => {
  const rows = [
    { row: 1, values: { '3.seed': '18446744073709551615' } },
    { row: 2, values: { '3.seed': '-1' } },
  ]
  expect(check(rows).good.map(({ values }) => values['3.seed'])).toEqual([18446744073709551615n, -1])
})

test('a file that is not there is a fault, one the worker has is not asked for', () => {
  const parameters = [
    aParameter('1.image', {
      name: 'Image',
      type: 'COMBO',
      role: 'image',
      upload: 'image',
      options: ['a.png'],
      default: 'a.png',
    }),
  ]
  const values = ['/pictures/missing.png', '/pictures/here.png', 'b.png']
  const { good, faults } = check(
    values.map((image, at) => ({ row: at + 1, values: { '1.image': image } })),
    parameters,
  )
  expect(faults).toEqual([
    {
      row: 1,
      column: 'Image',
      value: '/pictures/missing.png',
      reason: 'There is no such file.',
      code: 'row.file-missing',
      facts: {},
    },
  ])
  expect(good.map(({ row }) => row)).toEqual([2, 3])
})

test('a placeholder without a value is a fault of each row, unless it is given for the batch or its text is replaced', () => {
  const parameters = [
    aParameter('5.width', { name: 'width', default: '{{width}}' }),
    aParameter('6.text', { name: 'Prompt', type: 'STRING', default: 'a {{who}}' }),
    aParameter('6.text{{who}}', {
      name: 'who',
      input: 'text',
      type: 'STRING',
      role: 'placeholder',
      default: '{{who}}',
    }),
    aParameter('3.seed', { role: 'seed', default: '{{seed}}' }),
  ]
  const columnsOf = (values: Row['values'], given: string[] = []) =>
    check([{ row: 1, values }], parameters, given).faults.map(({ column, reason }) => `${column}: ${reason}`)
  expect(columnsOf({})).toEqual(['width: {{width}} has no value.', 'who: {{who}} has no value.'])
  expect(columnsOf({ '5.width': '' }, ['6.text{{who}}'])).toEqual(['width: {{width}} has no value.'])
  expect(columnsOf({ '5.width': 'wide', '6.text{{who}}': 'cat' })).toEqual([expect.stringContaining('whole number')])
  expect(columnsOf({ '5.width': '64', '6.text': 'all new' })).toEqual([])
})
