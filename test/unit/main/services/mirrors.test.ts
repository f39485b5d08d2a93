import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { parseJson } from '../../../../core/contract/json.ts'
import type { MirrorKindView } from '../../../../core/contract/mirror.ts'
import { Mirrors } from '../../../../core/contract/mirror.ts'
import { resourcesDir } from '../../../../main/services/resources.ts'
import { eventually } from '../../../kit/eventually.ts'
import { aFile, givesFile, hostOf, hubWith, itsHash, networkKit, sendsTo } from '../../../kit/network-kit.ts'
import { serve } from '../../../kit/serve.ts'

const status =
  (code: number): Parameters<typeof hubWith>[0] =>
  (_, response) =>
    void response.writeHead(code).end()
const faults = ([{ places } = { places: [] }]: Pick<MirrorKindView, 'places'>[]) =>
  Object.fromEntries(places.map(({ id, measured }) => [id, measured?.ok ? 'good' : (measured?.fault ?? null)]))

test('each place is good only for the bytes it gives: liars, portals, those who send people away are told apart', async () => {
  const flipped = Buffer.from(aFile)
  flipped[5000]! ^= 1
  const hub = await hubWith(
    givesFile({ afterMs: 40 }),
    () => givesFile(),
    () => givesFile({ bytes: flipped }),
    (official) => sendsTo(`${official}/known.bin`),
    () => status(403),
    () => (_, response) => void response.setHeader('content-type', 'text/html').end('<html>Sign in'),
    () => (_, response) => void response.destroy(),
    () => givesFile({ bytes: aFile.subarray(0, 50_000) }),
  )
  const { network } = networkKit(hub.kind())
  await network.mirrors.test()
  const [good, flips, declines, refuses, portal, resets, short] = hub.mirrors.map(hostOf) as [string, ...string[]]
  expect(faults(network.mirrors.views())).toEqual({
    [hostOf(hub.url)]: 'good',
    [good]: 'good',
    [flips!]: 'wrong',
    [declines!]: 'declined',
    [refuses!]: 'refused',
    [portal!]: 'wrong',
    [resets!]: 'unreachable',
    [short!]: 'wrong',
  })
  const used = network.mirrors.places('huggingface').map(({ id }) => id)
  expect(new Set(used.slice(0, 2))).toEqual(new Set([good, hostOf(hub.url)]))
  expect(used).toHaveLength(4)
  const view = network.mirrors.views()[0]!.places.find(({ id }) => id === declines)!
  expect(view).toMatchObject({ used: false, measured: { reason: `it sends people to ${hostOf(hub.url)}` } })
})

test('the order that measuring showed is remembered, and the best is asked first from then on', async () => {
  const hub = await hubWith(status(503), () => givesFile())
  const kit = networkKit(hub.kind())
  expect(kit.network.addressesFor(`${hub.url}/a/b`)).toEqual([`${hub.url}/a/b`, `${hub.mirrors[0]}/a/b`])
  await kit.network.mirrors.test({ kinds: ['huggingface'] })
  const again = networkKit(hub.kind(), { database: kit.database })
  expect(again.network.addressesFor(`${hub.url}/a/b`)).toEqual([`${hub.mirrors[0]}/a/b`, `${hub.url}/a/b`])
  expect(again.network.hosts()).toEqual([
    { hub: 'huggingface', base: hub.mirrors[0], official: false },
    { hub: 'huggingface', base: hub.url, official: true },
  ])
})

test('a person chooses one, or none at all; what is unknown is refused', async () => {
  const hub = await hubWith(givesFile(), () => givesFile())
  const { network, settings } = networkKit(hub.kind())
  const mirror = hostOf(hub.mirrors[0]!)
  network.mirrors.choose('huggingface', mirror)
  expect(network.mirrors.places('huggingface')[0]!.id).toBe(mirror)
  expect(() => network.mirrors.choose('huggingface', 'nobody.invalid')).toThrow(
    expect.objectContaining({ code: 'mirror.unknown' }),
  )
  network.mirrors.choose('huggingface', null)
  network.set({ mirrors: 'none' })
  expect(network.mirrors.places('huggingface').map(({ id }) => id)).toEqual([hostOf(hub.url)])
  expect(settings.get().network.choices).toEqual({})
})

test('when one fails in use, its kind is tried again by itself; not over and over', async () => {
  let well = true
  const hub = await hubWith(
    givesFile({ afterMs: 30 }),
    () => (request, response) => (well ? givesFile()(request, response) : void response.writeHead(403).end()),
  )
  const { network, clock } = networkKit(hub.kind())
  await network.mirrors.test()
  const mirror = hostOf(hub.mirrors[0]!)
  well = false
  const count = hub.asked.length
  network.mirrors.failed(mirror, '403')
  // it was tried just before
  expect(network.mirrors.views()[0]!.places.some(({ testing }) => testing)).toBe(false)
  expect(hub.asked).toHaveLength(count)
  clock.turn(11 * 60_000)
  network.mirrors.failed(mirror, '403')
  await eventually(() => faults(network.mirrors.views())[mirror] === 'refused')
  expect(network.mirrors.places('huggingface')[0]!.id).toBe(hostOf(hub.url))
})

test('what was measured long ago is measured again before the next use', async () => {
  const hub = await hubWith(givesFile(), () => givesFile())
  const { network, clock } = networkKit(hub.kind())
  network.mirrors.freshen('huggingface')
  await eventually(() => hub.asked.length === 2)
  await eventually(() => network.mirrors.views()[0]!.places.every(({ testing }) => !testing))
  clock.turn(60_000)
  network.mirrors.freshen('huggingface')
  expect(network.mirrors.views()[0]!.places.some(({ testing }) => testing)).toBe(false)
  clock.turn(8 * 24 * 60 * 60_000)
  network.mirrors.freshen('huggingface')
  await eventually(() => hub.asked.length === 4)
})

test('a mirror of one’s own goes before those shipped, is tried like them, and can be taken away', async () => {
  const hub = await hubWith(givesFile())
  const mine = await serve(givesFile())
  const { network, dataDir } = networkKit(hub.kind())
  const id = network.mirrors.add('huggingface', { address: `${mine.url}/`, prefix: false, name: 'Mine', direct: true })
  await network.mirrors.test({ id })
  expect(network.mirrors.views()[0]!.places).toContainEqual(
    expect.objectContaining({
      id,
      name: 'Mine',
      own: true,
      direct: true,
      measured: expect.objectContaining({ ok: true }),
    }),
  )
  expect(parseJson(readFileSync(path.join(dataDir, 'mirrors.json'), 'utf8'))).toEqual({
    mirrors: [{ standsInFor: hostOf(hub.url), pattern: `${mine.url}{path}`, name: 'Mine', direct: true }],
  })
  network.mirrors.remove('huggingface', id)
  expect(network.mirrors.views()[0]!.places.map((place) => place.id)).toEqual([hostOf(hub.url)])
  for (const address of ['nonsense', 'ftp://x.invalid', 'https://user:secret@x.invalid', 'https://x.invalid/{nothing}'])
    expect(() => network.mirrors.add('huggingface', { address, prefix: false, direct: false })).toThrow(
      expect.objectContaining({
        code: 'mirror.bad-address',
        facts: { address: expect.not.stringContaining('secret') },
      }),
    )
})

test('a file of before, with lists and mirrors alone, is read; a broken one is named', async () => {
  const hub = await hubWith(givesFile())
  const { network, dataDir } = networkKit(hub.kind())
  const file = path.join(dataDir, 'mirrors.json')
  writeFileSync(
    file,
    JSON.stringify({ mirrors: [{ standsInFor: hostOf(hub.url), pattern: 'https://old.invalid{path}' }] }),
  )
  expect(network.mirrors.places('huggingface').map(({ id }) => id)).toContain('old.invalid')
  writeFileSync(file, '{"mirrors": 3}')
  expect(() => network.mirrors.all()).toThrow(expect.objectContaining({ code: 'list.bad-mirrors' }))
})

test('a Python index is good when the file its page names is, wherever the page leads but to the official place', async () => {
  const { hosts, kind } = await indexes()
  const { network } = networkKit(kind)
  await network.mirrors.test()
  expect(faults(network.mirrors.views())).toEqual({
    [hosts.official]: 'good',
    [hosts.html]: 'good',
    [hosts.borrows]: 'declined',
    [hosts.lacks]: 'wrong',
    [hosts.lies]: 'wrong',
  })
})

async function indexes() {
  const file = 'thing-1.0-py3-none-any.whl'
  const answer =
    (page: () => string, type: string, bytes = aFile): Parameters<typeof serve>[0] =>
    (request, response) =>
      request.url!.endsWith('/') ? void response.setHeader('content-type', type).end(page()) : void response.end(bytes)
  const json = () => JSON.stringify({ files: [{ filename: file, url: `../../files/${file}`, hashes: {} }] })
  const html = `<a href="../../packages/${file}#sha256=${itsHash}">${file}</a>`
  const official = await serve(answer(json, 'application/vnd.pypi.simple.v1+json'))
  const others = {
    html: await serve(answer(() => html, 'text/html')),
    borrows: await serve(answer(() => `<a href="${official.url}/files/${file}">${file}</a>`, 'text/html')),
    lacks: await serve(answer(() => '<a href="other.whl">other.whl</a>', 'text/html')),
    lies: await serve(answer(() => html, 'text/html', Buffer.alloc(aFile.length))),
  }
  const standsIn = `${hostOf(official.url)}/simple`
  const kind: Partial<Mirrors> = {
    kinds: {
      'python-index': {
        official: `${official.url}/simple`,
        standsIn: [standsIn],
        checks: [{ is: 'index', url: `${official.url}/simple/thing/`, file, sha256: itsHash }],
      },
    },
    mirrors: Object.values(others).map(({ url }) => ({ standsInFor: standsIn, pattern: `${url}/simple{rest}` })),
  }
  const hosts = { official: hostOf(official.url), ...mapped(others) }
  return { hosts, kind }
}
const mapped = <K extends string>(servers: Record<K, { url: string }>) =>
  Object.fromEntries(Object.entries<{ url: string }>(servers).map(([name, { url }]) => [name, hostOf(url)])) as Record<
    K,
    string
  >

test('a place for git is good when it lists the commit; the start of a large file tells rate and ranges', async () => {
  const commit = 'a'.repeat(40)
  const large = Buffer.alloc(6 * 2 ** 20, 7)
  const { url } = await serve((request, response) => {
    if (request.url!.includes('info/refs'))
      return void response.end(`001e# service=git-upload-pack\n0000${commit} refs/heads/main\n`)
    const [, to] = /bytes=0-(\d+)/.exec(request.headers.range ?? '') ?? []
    response.writeHead(206, { 'content-range': `bytes 0-${to}/${large.length}` })
    response.end(large.subarray(0, Number(to) + 1))
  })
  const kind = { official: url, standsIn: [hostOf(url)] }
  const { network } = networkKit({
    kinds: {
      git: { ...kind, checks: [{ is: 'git', url: `${url}/o/r.git`, commit }] },
      huggingface: { ...kind, checks: [{ is: 'bulk', url: `${url}/large`, sizeBytes: large.length }] },
      github: {
        ...kind,
        checks: [
          { is: 'git', url: `${url}/o/r.git`, commit },
          { is: 'bulk', url: `${url}/large`, sizeBytes: large.length },
        ],
      },
    },
  })
  await network.mirrors.test()
  const seen = Object.fromEntries(network.mirrors.views().map(({ kind: name, places }) => [name, places[0]!.measured]))
  expect(seen.git).toMatchObject({ ok: true, fault: null })
  expect(seen.github).toMatchObject({ ok: true, ranges: true, bytesPerSecond: expect.any(Number) })
  // its beginning alone tells nothing of what is in it
  expect(seen.huggingface).toMatchObject({ ok: false, fault: 'refused' })
})

test('what is shipped is well-formed: each kind is tried with content that is known, and each mirror can be asked', () => {
  const file = path.join(resourcesDir, 'mirrors.json')
  expect(existsSync(file)).toBe(true)
  const shipped = Mirrors.parse(parseJson(readFileSync(file, 'utf8')))
  for (const [kind, { checks, official, standsIn }] of Object.entries(shipped.kinds)) {
    expect([kind, checks.some(({ is }) => is !== 'bulk')]).toEqual([kind, true])
    expect(standsIn.some((place) => official.includes(place))).toBe(true)
    for (const { url } of checks) expect(standsIn.some((place) => url.includes(place))).toBe(true)
  }
  const known = Object.values(shipped.kinds).flatMap(({ standsIn }) => standsIn)
  for (const { standsInFor } of shipped.mirrors) expect(known).toContain(standsInFor)
  // what is measured here is what installations take from
  for (const source of ['python-index', 'python-builds'] as const)
    expect(shipped.sources[source]).toBe(shipped.kinds[source]?.official)
})
