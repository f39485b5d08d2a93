import { expect, test } from 'vitest'
import { materialise, withOverrides } from '../../../../../core/domain/batch/materialise.ts'
import { aParameter, aTextPrompt, textParameters } from '../../../../kit/batch-kit.ts'

const now = new Date(2026, 10, 21, 4, 5, 6)
const occasion = { chance: 1, index: 0, textMagic: true, now }

test('values go where they belong, the base stays as it was, and untouched nodes are shared', () => {
  const base = aTextPrompt()
  const { prompt, seeds, chosenText } = materialise(
    base,
    { '3.seed': 2n ** 63n, '6.text': 'a dog' },
    textParameters(),
    occasion,
  )
  expect(prompt['3']?.inputs).toEqual({ ...base['3']?.inputs, seed: 2n ** 63n })
  expect(prompt['6']?.inputs.text).toBe('a dog')
  expect(prompt['4']).toBe(base['4'])
  expect(base).toEqual(aTextPrompt())
  expect(seeds).toEqual({ '3.seed': 2n ** 63n })
  expect(chosenText).toEqual({})
})

test('choices are made per job, the same for the same job, and kept', () => {
  const overrides = { '6.text': 'a {red|green|blue|black|white|grey} cat // not this' }
  const made = (index: number) => materialise(aTextPrompt(), overrides, textParameters(), { ...occasion, index })
  const texts = Array.from({ length: 20 }, (_, index) => made(index).prompt['6']?.inputs.text)
  for (const text of texts) expect(text).toMatch(/^a (red|green|blue|black|white|grey) cat $/)
  expect(new Set(texts).size).toBeGreaterThan(2)
  expect(made(3)).toEqual(made(3))
  expect(made(3).chosenText).toEqual({ '6.text': texts[3] })
})

test('with text magic off every brace and token is sent as it stands', () => {
  const base = withOverrides(aTextPrompt(), { '9.filename_prefix': '%date:yyyy%', '6.text': '{a|b} /* c */' }, [])
  const { prompt, chosenText } = materialise(base, {}, textParameters(), { ...occasion, textMagic: false })
  expect(prompt).toEqual(base)
  expect(chosenText).toEqual({})
})

test('a file name prefix takes the date and the values the job has', () => {
  const base = withOverrides(aTextPrompt(), { '9.filename_prefix': '%date:yyyy-MM-dd%/%KSampler.seed%_%width%' }, [])
  const { prompt } = materialise(base, { '3.seed': 77 }, textParameters(), occasion)
  expect(prompt['9']?.inputs.filename_prefix).toBe('2026-11-21/77_%width%')
})

test('a placeholder is filled everywhere it stands, as a value and within texts', () => {
  const base = aTextPrompt()
  base['6']!.inputs.text = 'a {{colour}} {{ animal }} is {{colour}}'
  base['7']!.inputs.text = 'not {{colour}}'
  base['5']!.inputs.width = '{{size}}'
  base['5']!.inputs.height = '{{size}}'
  const parameters = [
    aParameter('6.text{{colour}}', { input: 'text', also: ['7.text{{colour}}'] }),
    aParameter('6.text{{animal}}', { input: 'text' }),
    aParameter('5.width', { also: ['5.height'] }),
  ]
  const values = { '6.text{{colour}}': 'red$&', '6.text{{animal}}': 'fox', '5.width': 640 }
  const prompt = withOverrides(base, values, parameters)
  expect(prompt['6']?.inputs.text).toBe('a red$& fox is red$&')
  expect(prompt['7']?.inputs.text).toBe('not red$&')
  expect(prompt['5']?.inputs).toMatchObject({ width: 640, height: 640 })
})

test('what fills a placeholder is taken by its letters, also where it looks like another placeholder', () => {
  const base = aTextPrompt()
  base['6']!.inputs.text = '{{one}} and {{two}}'
  const parameters = [aParameter('6.text{{one}}', { input: 'text' }), aParameter('6.text{{two}}', { input: 'text' })]
  const values = { '6.text{{one}}': 'a {{two}}', '6.text{{two}}': 'b {{one}}' }
  expect(withOverrides(base, values, parameters)['6']?.inputs.text).toBe('a {{two}} and b {{one}}')
  const { '6.text{{one}}': one, '6.text{{two}}': two } = values
  expect(withOverrides(base, { '6.text{{two}}': two, '6.text{{one}}': one }, parameters)['6']?.inputs.text).toBe(
    'a {{two}} and b {{one}}',
  )
})

test('a node id may hold dots and colons', () => {
  const prompt = { '57:8': { class_type: 'A', inputs: { 'format.codec': 'x' } } }
  expect(withOverrides(prompt, { '57:8.format.codec': 'y' }, [])['57:8']?.inputs).toEqual({ 'format.codec': 'y' })
})
