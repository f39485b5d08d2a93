import fc from 'fast-check'
import { expect, test } from 'vitest'
import { readTsv, valuesOf, writeTsv } from '../../../renderer/tsv.ts'

test.each([
  [
    'a\tb\nc\td',
    [
      ['a', 'b'],
      ['c', 'd'],
    ],
  ],
  [
    'a\tb\r\nc\td\r\n',
    [
      ['a', 'b'],
      ['c', 'd'],
    ],
  ],
  ['"two\nlines"\tx', [['two\nlines', 'x']]],
  ['"he said ""hi"""\t2', [['he said "hi"', '2']]],
  ['5" screen\tx', [['5" screen', 'x']]],
  ['"never closed\tx', [['"never closed', 'x']]],
  ['"red" boat\tx', [['"red" boat', 'x']]],
  ['', [['']]],
])('%j from the clipboard is read as cells', (text, cells) => {
  expect(readTsv(text)).toEqual(cells)
})

test('what is copied is pasted back unchanged', () => {
  const cell = fc.stringMatching(/^[a"\t\n ,|é猫]{0,6}$/)
  const table = fc
    .integer({ min: 1, max: 4 })
    .chain((width) => fc.array(fc.array(cell, { minLength: width, maxLength: width }), { minLength: 1, maxLength: 4 }))
  fc.assert(
    fc.property(table, (rows) => {
      // a single empty last row is a line break, which spreadsheets add by themselves
      fc.pre(rows.at(-1)!.some((cell) => cell !== ''))
      expect(readTsv(writeTsv(rows))).toEqual(rows)
    }),
    { seed: 19 },
  )
})

test.each([
  ['20, 25,30', ['20', '25', '30']],
  ['红，蓝', ['红', '蓝']],
  ['"a, b", c', ['a, b', 'c']],
  ['a, b\nc', ['a, b', 'c']],
  [' , ', []],
])('%j names the values of a grid', (text, values) => {
  expect(valuesOf(text)).toEqual(values)
})
