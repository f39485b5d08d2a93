import { expect, test } from 'vitest'
import type { Measured } from '../../../../../core/contract/mirror.ts'
import {
  addressAt,
  addressesFor,
  baseAt,
  goodput,
  inOrder,
  isOrdered,
  kindsOf,
  Mirrors,
  nearMirrors,
  placesOf,
  ranked,
} from '../../../../../core/engine/download/mirrors.ts'

const code = { standsIn: ['code.example'], official: 'https://code.example', checks: [] }
const all = Mirrors.parse({
  kinds: {
    git: code,
    github: code,
    'python-index': { standsIn: ['py.example/simple'], official: 'https://py.example/simple', checks: [] },
    'python-builds': {
      standsIn: ['code.example/builds/releases/download'],
      official: 'https://code.example/builds/releases/download',
      checks: [],
    },
  },
  mirrors: [
    { standsInFor: 'code.example', pattern: 'https://proxy.example/{url}' },
    { standsInFor: 'code.example', pattern: 'https://clone.example{path}', kinds: ['git'] },
    { standsInFor: 'py.example/simple', pattern: 'https://near.example/pypi/simple{rest}' },
  ],
})
const measured = (bytesPerSecond: number, more: Partial<Measured> = {}): Measured => ({
  at: 1,
  ok: true,
  fault: null,
  reason: null,
  latencyMs: 10,
  bytesPerSecond,
  ranges: null,
  ...more,
})
const bad = (fault: NonNullable<Measured['fault']>) => measured(0, { ok: false, fault, bytesPerSecond: null })

test('a kind has its official place and the mirrors that serve it, each host once', () => {
  const ids = (kind: 'git' | 'github') => placesOf(kind, all).map(({ id }) => id)
  expect(ids('git')).toEqual(['code.example', 'proxy.example', 'clone.example'])
  expect(ids('github')).toEqual(['code.example', 'proxy.example'])
  const twice = {
    ...all,
    mirrors: [...all.mirrors, { ...all.mirrors[0]!, pattern: 'https://proxy.example/other/{url}' }],
  }
  expect(placesOf('github', twice).map(({ mirror }) => mirror?.pattern)).toEqual([
    undefined,
    'https://proxy.example/{url}',
  ])
})

test('an address is of the kind that says most of its path', () => {
  expect(kindsOf(new URL('https://code.example/builds/releases/download/1/a.tgz'), all)[0]).toBe('python-builds')
  expect(kindsOf(new URL('https://code.example/o/r.git'), all)).toEqual(['git', 'github'])
  expect(kindsOf(new URL('https://elsewhere.example/'), all)).toEqual([])
})

test.each([
  ['nothing is measured, mirrors last', {}, 'last', undefined, ['code.example', 'proxy.example', 'clone.example']],
  ['nothing is measured, mirrors first', {}, 'first', undefined, ['proxy.example', 'clone.example', 'code.example']],
  ['mirrors are not wanted', { 'proxy.example': measured(9e6) }, 'none', undefined, ['code.example']],
  [
    'one is faster than the official one',
    { 'code.example': measured(1e5), 'proxy.example': measured(9e6) },
    'last',
    undefined,
    ['proxy.example', 'code.example', 'clone.example'],
  ],
  [
    'one lies and one sends people away',
    { 'proxy.example': bad('wrong'), 'clone.example': bad('declined') },
    'first',
    undefined,
    ['code.example'],
  ],
  [
    'nobody is reached',
    { 'code.example': bad('unreachable'), 'proxy.example': bad('unreachable'), 'clone.example': bad('refused') },
    'last',
    undefined,
    ['code.example', 'proxy.example', 'clone.example'],
  ],
  [
    'a person chose the slower one',
    { 'code.example': measured(9e6), 'clone.example': measured(1e5) },
    'last',
    'clone.example',
    ['clone.example', 'code.example', 'proxy.example'],
  ],
  [
    'a person chose one that lies',
    { 'proxy.example': bad('wrong') },
    'last',
    'proxy.example',
    ['proxy.example', 'code.example', 'clone.example'],
  ],
] as const)('when %s, the order is as it should be', (_, seen: Record<string, Measured>, policy, choice, order) => {
  const places = ranked(placesOf('git', all), { choice, policy, measured: (id) => seen[id] ?? null })
  expect(places.map(({ id }) => id)).toEqual(order)
})

test('the official place is asked where the order says, and only once', () => {
  const [official, proxy, clone] = placesOf('git', all)
  const order = inOrder('git', [proxy!, official!, clone!], all)
  const source = new URL('https://code.example/o/r.git')
  expect(addressesFor(source, order).map(String)).toEqual([
    'https://proxy.example/https://code.example/o/r.git',
    'https://code.example/o/r.git',
    'https://clone.example/o/r.git',
  ])
  expect([isOrdered(source.href, order), isOrdered(source.href, all.mirrors)]).toEqual([true, false])
})

test('what follows an address is kept at a mirror, and its base is found for those who need that', () => {
  const [, proxy, clone] = placesOf('git', all)
  const [, near] = placesOf('python-index', all)
  expect(addressAt(clone!, 'https://code.example/o/r/info?service=x')).toBe('https://clone.example/o/r/info?service=x')
  expect(addressAt(proxy!, 'https://other.example/x')).toBeNull()
  expect(baseAt(proxy!, 'https://code.example')).toBe('https://proxy.example/https://code.example/')
  expect(baseAt(clone!, 'https://code.example')).toBe('https://clone.example/')
  expect(baseAt(near!, 'https://py.example/simple')).toBe('https://near.example/pypi/simple/')
})

test('a quick answer does not make up for a slow line', () => {
  expect(goodput(measured(10e6, { latencyMs: 300 }))).toBeGreaterThan(goodput(measured(1e6, { latencyMs: 5 })))
  expect(goodput(measured(0, { bytesPerSecond: null, latencyMs: 5 }))).toBeGreaterThan(
    goodput(measured(0, { bytesPerSecond: null, latencyMs: 500 })),
  )
})

test.each([
  ['Asia/Shanghai', 'en', true],
  ['Europe/Berlin', 'zh-CN', true],
  ['Asia/Taipei', 'zh-TW', false],
  ['America/New_York', 'en', false],
])('%s with %s: mirrors are near: %s', (zone, locale, near) => expect(nearMirrors(zone, locale)).toBe(near))
