import { expect, test } from 'vitest'
import type { NodePack } from '../../../../../core/contract/workflow.ts'
import { isExtensionMap, withPacks } from '../../../../../core/domain/workflow/node-packs.ts'
import { safePattern } from '../../../../../core/domain/workflow/safe-pattern.ts'

const need = (classType: string, ...packs: NodePack[]) => ({ classType, candidates: packs.map(({ id }) => id), packs })
const own = (id: string, url: string | null = null): NodePack => ({ id, title: id, url, why: 'file', version: '1.2' })

test('what the file names comes first, then the owner, who lists the class, whose pattern fits; who brings more leads a tie', () => {
  const map = {
    'https://github.com/p/Patterns': [[], { nodename_pattern: ' \\(p\\)$' }],
    'https://github.com/a/Small': [['Blur (p)'], { title_aux: 'Small' }],
    'https://github.com/b/Big.git': [['Blur (p)', 'Other'], { title_aux: 'Big' }],
    'https://github.com/c/Claims/': [['x'], { title_aux: 'Claims', preemptions: ['Blur (p)'] }],
    'https://github.com/Owner/Named-Pack': [['Other'], { title_aux: 'Named' }],
    'https://github.com/comfyanonymous/ComfyUI': [['Sampler9'], { title_aux: 'ComfyUI' }],
  } as never
  const found = withPacks(
    [
      need('Blur (p)'),
      need('Other', own('named-pack'), own('owner/named-pack', 'https://github.com/owner/named-pack')),
      need('Sampler9'),
      need('None'),
    ],
    map,
  )
  expect(found.map(({ classType, packs }) => [classType, packs.map(({ id, why }) => `${id} ${why}`)])).toEqual([
    ['Blur (p)', ['c/Claims owner', 'b/Big exact', 'a/Small exact', 'p/Patterns pattern']],
    ['Other', ['named-pack file', 'b/Big exact']],
    ['Sampler9', ['comfy-core exact']],
    ['None', []],
  ])
  expect(found[1]).toMatchObject({
    candidates: ['named-pack', 'b/Big'],
    packs: [{ title: 'Named', url: 'https://github.com/Owner/Named-Pack', version: '1.2' }, {}],
  })
})

test.each([
  ['Inspire$', 'Load Inspire', true],
  ['^CR ', 'CR Text', true],
  ['\\(rgthree\\)$', 'Any Switch (rgthree)', true],
  ['(a+)+$', 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!', null],
  ['(a|a)*b', 'a', null],
  ['(.)\\1', 'aa', null],
  ['.*.*.*.*x', 'a', null],
  ['(?<=a)b', 'ab', null],
  ['[', 'a', null],
  ['a{1,9999}b{1,9999}c{1,9999}d{1,9999}', 'a', null],
  [7, 'a', null],
])('the pattern %s', (source, name, fits) => {
  const pattern = safePattern(source)
  expect(pattern ? pattern.test(name) : null).toBe(fits)
})

test.each([
  [{ 'https://x': [['A'], {}] }, true],
  [{}, false],
  [[], false],
  [{ 'https://x': ['A'] }, false],
  [{ message: 'not found' }, false],
])('%j is a map: %s', (value, is) => expect(isExtensionMap(value as never)).toBe(is))
