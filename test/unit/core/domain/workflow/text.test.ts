import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { expandChoices, formatDate, replaceTokens, stripComments } from '../../../../../core/domain/workflow/text.ts'

const first = () => 0
const last = () => 0.999999

describe('choices', () => {
  test.each([
    ['a {red|green} cat', 'a red cat', 'a green cat'],
    ['{a|{b|c} d} e', 'a e', 'c d e'],
    ['{a|b}{c|d}', 'ac', 'bd'],
    ['{|x}y', 'y', 'xy'],
    ['{only}', 'only', 'only'],
    ['{}', '', ''],
    ['\\{a\\|b\\} {c|\\}}', '{a|b} c', '{a|b} }'],
    ['back\\slash \\n', 'back\\slash \\n', 'back\\slash \\n'],
    ['open {a|b', 'open a', 'open b'],
    ['closed} |', 'closed} |', 'closed} |'],
    ['(cat:1.2)', '(cat:1.2)', '(cat:1.2)'],
  ])('%j can become %j and %j', (text, one, other) => {
    expect([expandChoices(text, first), expandChoices(text, last)]).toEqual([one, other])
  })

  test('each alternative is as likely as the others', () => {
    let state = 0
    const counting = () => (state++ % 4) / 4
    expect([1, 2, 3, 4].map(() => expandChoices('{a|b|c|d}', counting)).join('')).toBe('abcd')
  })

  test('a text without braces stays as it is, and none with them is too deep', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), (text) => {
        fc.pre(!/[{}|\\]/.test(text))
        expect(expandChoices(text, first)).toBe(text)
      }),
      { seed: 1 },
    )
    const deep = `${'{'.repeat(100_000)}x${'}'.repeat(100_000)}`
    expect(expandChoices(deep, first)).toBe('x')
  })
})

test('comments go, to the end of the line or between their marks', () => {
  expect(stripComments('a /* b\nc */ d // e\nf')).toBe('a  d \nf')
  expect(stripComments('see https://example.org/x, more\nnext')).toBe('see https:\nnext')
  expect(stripComments('a /* never closed')).toBe('a /* never closed')
})

test('dates take the editor’s letters', () => {
  const at = new Date(2026, 0, 2, 3, 4, 5)
  expect(formatDate('yyyy-MM-dd hh:mm:ss', at)).toBe('2026-01-02 03:04:05')
  expect(formatDate('yy M d h m s', at)).toBe('26 1 2 3 4 5')
})

test('a token takes the value of the node it names; what is unclear or the server’s own stays', () => {
  const prompt = {
    '1': { class_type: 'KSampler', inputs: { seed: 2n ** 60n, name: 'a/b:c' }, _meta: { title: 'Main sampler' } },
    '2': { class_type: 'Text', inputs: { text: 'x' } },
    '3': { class_type: 'Text', inputs: { text: 'y', link: ['2', 0] } },
  }
  const replaced = (text: string) => replaceTokens(text, { now: new Date(2026, 0, 2), prompt })
  expect(replaced('%KSampler.seed%-%Main sampler.name%')).toBe('1152921504606846976-a_b_c')
  expect(replaced('%Text.text% %3.link% %width% %year% 100% %date:yyyyMMdd%')).toBe(
    '%Text.text% %3.link% %width% %year% 100% 20260102',
  )
})
