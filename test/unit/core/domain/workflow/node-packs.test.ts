import { expect, test } from 'vitest'
import type { NodePack } from '../../../../../core/contract/workflow.ts'
import { isExtensionMap, readPacks } from '../../../../../core/domain/custom-nodes/packs.ts'
import { withPacks } from '../../../../../core/domain/workflow/node-packs.ts'
import { safePattern } from '../../../../../core/domain/workflow/safe-pattern.ts'

const need = (classType: string, ...packs: NodePack[]) => ({ classType, candidates: packs.map(({ id }) => id), packs })
const own = (id: string, url: string | null = null): NodePack => ({ id, title: id, url, why: 'file', version: '1.2' })

const found = (needs: Parameters<typeof withPacks>[0], lists: object, isInstalled?: Parameters<typeof withPacks>[2]) =>
  withPacks(needs, readPacks(lists as never), isInstalled)
const told = (needs: ReturnType<typeof found>) =>
  needs.map(({ classType, packs }) => [classType, packs.map(({ id, why }) => `${id} ${why}`)])

const map = {
  'https://github.com/p/Patterns': [[], { nodename_pattern: ' \\(p\\)$' }],
  'https://github.com/a/Small': [['Blur (p)'], { title_aux: 'Small' }],
  'https://github.com/b/Big.git': [['Blur (p)', 'Other'], { title_aux: 'Big' }],
  'https://github.com/c/Claims/': [['x'], { title_aux: 'Claims', preemptions: ['Blur (p)'] }],
  'https://github.com/Owner/Named-Pack': [['Other'], { title_aux: 'Named' }],
  'https://github.com/comfyanonymous/ComfyUI': [['Sampler9'], { title_aux: 'ComfyUI' }],
}

test('what the file names comes first, then the owner, then who lists the class or whose pattern fits; who brings more leads a tie', () => {
  const needs = found(
    [
      need('Blur (p)'),
      need('Other', own('named-pack'), own('owner/named-pack', 'https://github.com/owner/named-pack')),
      need('Sampler9'),
      need('None'),
    ],
    { map },
  )
  expect(told(needs)).toEqual([
    ['Blur (p)', ['c/Claims owner', 'b/Big exact', 'p/Patterns pattern', 'a/Small exact']],
    ['Other', ['named-pack file', 'b/Big exact']],
    ['Sampler9', ['comfy-core exact']],
    ['None', []],
  ])
  expect(needs[1]).toMatchObject({
    candidates: ['named-pack', 'b/Big'],
    packs: [{ title: 'Named', url: 'https://github.com/Owner/Named-Pack', version: '1.2' }, {}],
  })
})

test('of those that list a class, what is installed leads, then the better known, however few classes it brings', () => {
  const stats = { 'https://github.com/A/small': { stars: 900 }, 'https://github.com/b/Big': { stars: 5 } }
  const of = (isInstalled?: Parameters<typeof withPacks>[2]) =>
    told(found([need('Blur (p)'), need('Other')], { map, stats }, isInstalled))[0]![1]
  expect(of()).toEqual(['c/Claims owner', 'a/Small exact', 'b/Big exact', 'p/Patterns pattern'])
  expect(of(({ id }) => id === 'p/Patterns')).toEqual([
    'c/Claims owner',
    'p/Patterns pattern',
    'a/Small exact',
    'b/Big exact',
  ])
})

test('a class that nobody lists is guessed from what it says in brackets, and the guess is called one', () => {
  const list = {
    custom_nodes: ['o/ComfyUI-Lora-Manager', 'o/Other'].map((id) => ({ reference: `https://github.com/${id}` })),
  }
  expect(told(found([need('Loader (LoraManager)'), need('Loader (of)'), need('LoraManager')], { list }))).toEqual([
    ['Loader (LoraManager)', ['o/ComfyUI-Lora-Manager name']],
    ['Loader (of)', []],
    ['LoraManager', []],
  ])
})

test('of those that list a class, a package that is needed for another anyway leads the better known', () => {
  const map = {
    'https://github.com/a/Known': [['Selector'], {}],
    'https://github.com/b/Planner': [['Selector', 'Planner'], {}],
  }
  const stats = { 'https://github.com/a/known': { stars: 900 } }
  expect(told(found([need('Selector')], { map, stats }))).toEqual([['Selector', ['a/Known exact', 'b/Planner exact']]])
  expect(told(found([need('Selector'), need('Planner')], { map, stats }))).toEqual([
    ['Selector', ['b/Planner exact', 'a/Known exact']],
    ['Planner', ['b/Planner exact']],
  ])
})

test('a class that nobody lists is guessed from a family of classes that begins as it does, if one package has most of it', () => {
  const family = (word: string, count: number) => Array.from({ length: count }, (_, n) => `${word}${'ABCDEFGH'[n]}x`)
  const map = {
    'https://github.com/a/Trellis': [family('Trellis2', 6), {}],
    'https://github.com/b/Also': [[...family('Trellis2', 3), ...family('Wan', 5), ...family('Shared', 5)], {}],
    'https://github.com/c/Few': [[...family('Few', 4), ...family('Shared', 3)], {}],
    ...Object.fromEntries(Array.from({ length: 41 }, (_, n) => [`https://github.com/o/l${n}`, [['LoadIt'], {}]])),
    'https://github.com/d/Loads': [family('Load', 8), {}],
  } as const
  const names = ['Trellis2MeshPBR', 'WanLoader', 'SharedNode', 'FewMore', 'LoadMore', 'trellis2mesh']
  expect(
    told(
      found(
        names.map((name) => need(name)),
        { map },
      ),
    ),
  ).toEqual([
    ['Trellis2MeshPBR', ['a/Trellis name']],
    ['WanLoader', []], // a word of three letters says little
    ['SharedNode', []],
    ['FewMore', []],
    ['LoadMore', []],
    ['trellis2mesh', []],
  ])
})

test('the registry’s id that a file names is the one of the list, or the repository’s name however it is spelt', () => {
  const list = {
    custom_nodes: [
      { reference: 'https://github.com/m/comfy_mtb', title: 'MTB' },
      { reference: 'https://github.com/x/Y', id: 'seed-vr', title: 'Seed' },
    ],
  }
  expect(found([need('A', own('comfy-mtb')), need('B', own('seed_vr')), need('C', own('y'))], { list })).toMatchObject([
    { packs: [{ id: 'comfy-mtb', title: 'MTB' }] },
    { packs: [{ id: 'seed_vr', title: 'Seed' }] },
    { packs: [{ id: 'y', title: 'y' }] },
  ])
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
