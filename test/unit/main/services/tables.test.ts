import { describe, expect, test } from 'vitest'
import { readTable } from '../../../../main/services/tables.ts'
import { workbook, zip } from '../../../kit/workbook.ts'

const csv = (text: string, name = 'rows.csv') => readTable({ name, bytes: Buffer.from(text) })

describe('text tables', () => {
  test.each([
    ['comma', 'a,b\n1,"x,y"\n2,z'],
    ['semicolon', 'a;b\r\n1;x,y\r\n2;z\r\n'],
    ['tab, as pasted from a spreadsheet', 'a\tb\r1\tx,y\r2\tz'],
    ['Excel’s own hint', 'sep=;\na;b\n1;x,y\n2;z'],
  ])('%s is found', (_, text) => {
    expect(csv(text)).toMatchObject({
      columns: ['a', 'b'],
      rows: [
        ['1', 'x,y'],
        ['2', 'z'],
      ],
      notes: [],
    })
  })

  test('a single column is not split at the commas of its texts', () => {
    expect(csv('prompt\na cat, sitting, night\na dog').rows).toEqual([['a cat, sitting, night'], ['a dog']])
  })

  test('quoted cells keep line breaks, quotes and delimiters', () => {
    expect(csv('a,b\n"line 1\nline ""2""",x\n').rows).toEqual([['line 1\nline "2"', 'x']])
  })

  test('a quote that is never closed spoils its own row only', () => {
    const { rows, notes } = csv('a,b\n1,x\n2,"open\n3,y\n4,"z"\n')
    expect(rows).toEqual([
      ['1', 'x'],
      ['2', '"open'],
      ['3', 'y'],
      ['4', 'z'],
    ])
    expect(notes).toEqual([expect.objectContaining({ code: 'table.open-quote', facts: { line: 3 } })])
  })

  test('headers get names of their own, and ragged rows are mended and noted', () => {
    const table = csv('a,,a , \n1,2\n\n1,2,3,4,5\n,,,\n')
    expect(table).toMatchObject({
      columns: ['a', 'column 2', 'a (2)', 'column 4'],
      rows: [
        ['1', '2', '', ''],
        ['1', '2', '3', '4'],
      ],
    })
    expect(table.notes).toMatchObject([
      { code: 'table.empty-rows', facts: { count: 1 } },
      { code: 'table.short-row', facts: { row: 1, cells: 2, width: 4 } },
      { code: 'table.long-row', facts: { row: 2, cells: 5, width: 4, left: '5' } },
    ])
  })

  test('nothing but a header is no table, and a huge one is refused', () => {
    expect(() => csv('a,b\n\n')).toThrow(expect.objectContaining({ code: 'table.empty' }))
    expect(() => csv('')).toThrow(expect.objectContaining({ code: 'table.empty' }))
    expect(() => csv(`a\n${'1\n'.repeat(100_001)}`)).toThrow(expect.objectContaining({ code: 'table.too-large' }))
    expect(csv(`a\n${'1\n'.repeat(100_000)}`).rows).toHaveLength(100_000)
  })
})

describe('encodings', () => {
  const text = 'prompt,n\n一只猫,1\n'
  const utf16 = Buffer.from(text, 'utf16le')
  const gb18030 = Buffer.from([
    ...Buffer.from('prompt,n\n'),
    0xd2,
    0xbb,
    0xd6,
    0xbb,
    0xc3,
    0xa8,
    ...Buffer.from(',1\n'),
  ])
  test.each([
    ['utf-8', Buffer.from(text)],
    ['utf-8', Buffer.from(`\ufeff${text}`)],
    ['utf-16le', Buffer.concat([Buffer.from([0xff, 0xfe]), utf16])],
    ['utf-16be', Buffer.concat([Buffer.from([0xfe, 0xff]), Buffer.from(utf16).swap16()])],
    ['gb18030', gb18030],
  ])('%s is read', (encoding, bytes) => {
    expect(readTable({ name: 'a.csv', bytes })).toMatchObject({
      encoding,
      columns: ['prompt', 'n'],
      rows: [['一只猫', '1']],
    })
  })

  test('UTF-16 without a mark is known by its zero bytes', () => {
    expect(readTable({ name: 'a.csv', bytes: Buffer.from('ab,cd\n1,2\n', 'utf16le') })).toMatchObject({
      encoding: 'utf-16le',
      rows: [['1', '2']],
    })
  })

  test('one damaged byte in much UTF-8 loses that character alone', () => {
    const bytes = Buffer.concat([
      Buffer.from(`prompt\n${'一只猫\n'.repeat(30)}`),
      Buffer.from([0xff]),
      Buffer.from('狗\n'),
    ])
    const table = readTable({ name: 'a.csv', bytes })
    expect(table).toMatchObject({
      encoding: 'utf-8',
      notes: [expect.objectContaining({ code: 'table.damaged-text', facts: { count: 1 } })],
    })
    expect(table.rows.at(-1)).toEqual(['\ufffd狗'])
  })

  test.each([
    ['binary data', Buffer.from([1, 0, 0, 2, 0, 3, 0, 0, 9])],
    ['an old Excel file', Buffer.from([0xd0, 0xcf, 0x11, 0xe0, 0xa1, 0xb1])],
    ['a broken archive', Buffer.from('PK\u0003\u0004 and nothing more')],
  ])('%s is refused with a reason', (_, bytes) => {
    expect(() => readTable({ name: 'x.csv', bytes })).toThrow(expect.objectContaining({ code: 'table.unreadable' }))
  })
})

describe('workbooks', () => {
  const rows = `
    <row r="1"><c r="A1" t="s"><v>0</v></c><c r="B1" t="inlineStr"><is><t>seed</t></is></c><c r="C1" t="inlineStr"><is><t>when</t></is></c><c r="D1" t="str"><v>sum</v></c></row>
    <row r="2"><c r="A2" t="s"><v>1</v></c><c r="B2"><v>42</v></c><c r="C2" s="1"><v>46347</v></c><c r="D2"><f>B2+1</f><v>43</v></c></row>
    <row r="4"><c r="A4" t="s"><v>99</v></c><c r="B4"><v>0.30000000000000004</v></c><c r="C4" s="2"><v>46347.5</v></c><c r="D4" t="str"><f>A1&amp;"x"</f></c></row>
    <row r="5"><c r="A5" t="b"><v>1</v></c><c r="B5"><v>1.8446744073709552E+19</v></c><c r="D5" t="e"><f>1/0</f><v>#DIV/0!</v></c></row>`

  test('every cell is read as its text, formulas by their stored values; what has none is noted', async () => {
    const table = readTable({ name: 'a.xlsx', bytes: await workbook({ Rows: rows }) })
    expect(table).toMatchObject({
      columns: ['prompt', 'seed', 'when', 'sum'],
      rows: [
        ['a cat & dog', '42', '2026-11-21', '43'],
        ['', '0.3', '2026-11-21 12:00:00', ''],
        ['TRUE', '18446744073709551616', '', '#DIV/0!'],
      ],
      sheet: 'Rows',
      sheets: ['Rows'],
    })
    expect(table.notes).toMatchObject([
      { code: 'table.no-stored-value', message: expect.stringMatching(/^D4: a formula without a stored value/) },
      { code: 'table.long-number', facts: { cells: 'B5' } },
      { code: 'table.empty-rows' },
    ])
  })

  test('a sheet is chosen by name or number, else the first that holds something', async () => {
    const one = (text: string) =>
      `<row><c t="inlineStr"><is><t>head</t></is></c></row><row><c t="inlineStr"><is><t>${text}</t></is></c></row>`
    const bytes = await workbook({ Empty: '', 'A &amp; B': one('first'), 图: one('second') })
    const read = (sheet?: string) => readTable({ name: 'a.xlsx', bytes, sheet })
    expect(read()).toMatchObject({ sheet: 'A & B', sheets: ['Empty', 'A & B', '图'], rows: [['first']] })
    expect(read('图').rows).toEqual([['second']])
    expect(read('3').rows).toEqual([['second']])
    expect(() => read('none')).toThrow('no sheet named none')
  })

  test('another archive is refused', async () => {
    const bytes = await zip({ 'readme.txt': 'hello' })
    expect(() => readTable({ name: 'a.xlsx', bytes })).toThrow('not an Excel')
  })
})
