import { expect, test } from 'vitest'
import { linesOf, optionsIn } from '../../../renderer/panel-options.ts'

const options = [
  'euler',
  20,
  { value: 'dpmpp_2m', label: 'Crisp', by: 'me' },
  { value: 'a', thumbnail: 'https://x/a.png' },
]

test('choices are edited as lines, and left alone they stay as they were', () => {
  const text = 'euler\n20\ndpmpp_2m | Crisp\na |  | https://x/a.png'
  expect(linesOf({ options })).toBe(text)
  expect(optionsIn(text, { options })).toEqual(options)
  expect(optionsIn(`${text}\n\n`, { options })).toEqual(options)
})

test('a label or picture given, changed or taken away leaves the value and what else was known of it', () => {
  const text = 'euler | Soft\n20 | Twenty | https://x/20.png\ndpmpp_2m\na | A\nnew | https'
  expect(optionsIn(text, { options })).toEqual([
    { value: 'euler', label: 'Soft' },
    { value: 20, label: 'Twenty', thumbnail: 'https://x/20.png' },
    'dpmpp_2m',
    { value: 'a', label: 'A' },
    { value: 'new', label: 'https' },
  ])
  const crisper = optionsIn('dpmpp_2m | Crisper', { options })
  expect(crisper).toEqual([{ value: 'dpmpp_2m', label: 'Crisper', by: 'me' }])
})

test('a line half typed is already a value; no line at all means the node’s own choices', () => {
  expect(optionsIn('one |', {})).toEqual(['one'])
  expect(optionsIn(' \n', { options })).toBeUndefined()
  expect(linesOf({ options: 'KSampler' })).toBe('')
  expect(linesOf({})).toBe('')
})
