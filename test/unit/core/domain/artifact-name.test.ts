import path from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  artifactName,
  clip,
  type NameFacts,
  nextName,
  safeFileName,
  unknownTokens,
} from '../../../../core/domain/artifact-name.ts'

const facts = (more: Partial<NameFacts> = {}): NameFacts => ({
  batch: 'Night',
  workflow: 'cats',
  worker: 'rehearsal',
  row: 7,
  index: 12,
  seed: 42,
  name: 'a cat',
  now: new Date(2026, 10, 21, 4, 5, 6),
  counter: 3,
  node: '9',
  output: 1,
  ext: 'png',
  columns: { 商品: '杯子', n: '5' },
  params: { Steps: 20 },
  ...more,
})
const named = (pattern: string, more: Partial<NameFacts> = {}) => artifactName(pattern, facts(more))

describe('tokens', () => {
  test.each([
    ['{batch}/{row:04}-{name}-{seed}', 'Night/0007-a cat-42.png'],
    ['{date}/{time}_{counter:05}', '2026-11-21/040506_00003.png'],
    ['{date:yyyy/MM}-{index}', '2026_11-12.png'],
    ['{column 商品}-{param Steps}-{n:03}', '杯子-20-005.png'],
    ['{商品}{Steps}', '杯子20.png'],
    ['{param steps}-{steps}-{ROW:03}-{Column 商品}', '20-20-007-杯子.png'],
    ['{workflow}.{ext}', 'cats.png'],
    ['{node}#{output}@{worker}', '9#1@rehearsal.png'],
    ['{column nothing}{row}', '7.png'],
    ['{nonsense}', '{nonsense}.png'],
    ['a\\b', 'a/b.png'],
  ])('%s gives %s', (pattern, expected) => {
    expect(named(pattern)).toBe(expected)
  })

  test('a token with nothing to say takes its separator along', () => {
    expect(named('{row:04}-{name}-{seed}', { seed: null })).toBe('0007-a cat.png')
    expect(named('{name}-{row}', { name: '' })).toBe('7.png')
    expect(named('{name}', { name: '' })).toBe('12.png')
    expect(named('')).toBe('12.png')
  })

  test('a name spelt exactly so wins over one in other case', () => {
    expect(named('{param steps}-{param STEPS}', { params: { Steps: 20, steps: 3 } })).toBe('3-20.png')
    expect(named('{Row}', { columns: { Row: 'second' } })).toBe('second.png')
  })

  test('a seed keeps every digit', () => {
    expect(named('{seed}', { seed: 18446744073709551615n })).toBe('18446744073709551615.png')
  })

  test('tokens that mean nothing are told', () => {
    expect(
      unknownTokens('{batch}/{rwo}-{商品}{column x}{param Steps}{PARAM steps}{Seed}', ['商品'], ['Steps']),
    ).toEqual(['{rwo}', '{column x}'])
  })
})

describe('names that could do harm', () => {
  test.each([
    ['../../x', 'x.png'],
    ['/etc/passwd', 'etc/passwd.png'],
    ['C:\\Windows\\x', 'C_/Windows/x.png'],
    ['{name}', '_.._x.png', { name: '../../x' }],
    ['{name}', 'a_b_c.png', { name: 'a/b\\c' }],
    ['{name}', '_CON.png', { name: 'CON' }],
    ['{name}', '_nul.txt.png', { name: 'nul.txt' }],
    ['aux/{row}', '_aux/7.png'],
    ['com¹ /{row}', '_com¹/7.png'],
    ['{name} /{row}', 'a/7.png', { name: 'a...' }],
    ['{name}', 'what_ _1_ _a_.png', { name: 'what? <1> "a"' }],
    ['{name}', 'gpj.exe.png', { name: '\u202egpj\u200b.exe' }],
    ['{name}', 'a b.png', { name: 'a\n\tb\u0000' }],
    ['{name}', '👩‍👩‍👧 .cat.png', { name: '👩‍👩‍👧 .cat' }],
    ['{name}', '_.png', { name: '\ud800' }],
    ['{name}.PNG', 'a cat.png', {}],
  ])('%s becomes %s', (pattern, expected, more = {}) => {
    expect(named(pattern, more)).toBe(expected)
  })

  test('long names are cut between characters, with room to spare below 255 bytes', () => {
    for (const sign of ['a', '猫', '👩‍👩‍👧', 'é']) {
      const name = named(`{name:400}/${sign.repeat(300)}`, { name: sign.repeat(300) })
      const [folder = '', file = ''] = name.split('/')
      expect(Buffer.byteLength(folder)).toBeLessThanOrEqual(80)
      expect(Buffer.byteLength(file)).toBeLessThanOrEqual(200)
      expect(folder.replaceAll(sign.normalize('NFC'), '')).toBe('')
      expect(file.replaceAll(sign.normalize('NFC'), '')).toBe('.png')
    }
  })

  test('whatever pattern and values say, the file stays in its folder under a name every system takes', () => {
    const nasty = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.string({ unit: 'grapheme', maxLength: 400 }),
      fc.constantFrom('..', '../..', 'CON', 'nul.png', '/', '\\', 'C:', '...', ' ', '~', '\u202e', '{name}', '%00'),
    )
    const patterns = fc.array(
      fc.oneof(nasty, fc.constantFrom('{name}', '{seed}', '/', '\\', '{column x}', '{date:../yyyy}', '{batch:900}')),
      { maxLength: 8 },
    )
    fc.assert(
      fc.property(patterns, nasty, nasty, nasty, (parts, name, batch, x) => {
        const made = artifactName(parts.join(''), facts({ name, batch, columns: { x }, ext: x }))
        for (const system of [path.posix, path.win32]) {
          const root = system === path.win32 ? 'D:\\out' : '/out'
          const landed = system.resolve(root, made)
          expect(landed.startsWith(root + system.sep)).toBe(true)
          expect(system.relative(root, landed).replaceAll('\\', '/')).toBe(made)
        }
        expect(made.isWellFormed()).toBe(true)
        expect(made.split('/').length).toBeLessThanOrEqual(6)
        for (const part of made.split('/')) {
          expect(Buffer.byteLength(part)).toBeLessThanOrEqual(200)
          // biome-ignore lint/suspicious/noControlCharactersInRegex: none of them may be there
          expect(part).not.toMatch(/[<>:"\\|?*\u0000-\u001f\u202a-\u202e]|^[ .]|[ .]$|^$/)
          expect(part).not.toMatch(/^(con|prn|aux|nul|com\d|lpt\d)(\.|$)/i)
        }
      }),
      { seed: 1, numRuns: 2000, examples: [[['CON', ':'], '', '', '']] },
    )
  })
})

test('the next name keeps the extension', () => {
  expect([1, 2, 3].map((times) => nextName('a/b.png', times))).toEqual(['a/b.png', 'a/b (2).png', 'a/b (3).png'])
  expect(nextName('no extension', 2)).toBe('no extension (2)')
})

test('a file a person gives keeps its name as far as servers can take it', () => {
  expect(safeFileName('猫 01.PNG')).toBe('猫 01.PNG')
  expect(safeFileName('..png')).toBe('file.png')
  expect(safeFileName('a:b?.jpg')).toBe('a_b_.jpg')
})

test('words are clipped at a space when one is near', () => {
  expect(clip('a quiet harbour town at night', 20)).toBe('a quiet harbour town')
  expect(clip('a quiet harbour town at night', 18)).toBe('a quiet harbour')
  expect(clip('extraordinarily', 5)).toBe('extra')
})
