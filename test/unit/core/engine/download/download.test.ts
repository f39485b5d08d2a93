import { createHash, randomBytes } from 'node:crypto'
import { lookup } from 'node:dns'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { Agent, Dispatcher } from 'undici'
import { expect, onTestFinished, test } from 'vitest'
import { AppError, toFailure } from '../../../../../core/contract/errors.ts'
import {
  type DownloadNews,
  type DownloadOptions,
  download,
  type FileSource,
  type FileWanted,
} from '../../../../../core/engine/download/download.ts'
import { NotPublic } from '../../../../../core/engine/download/fetch-public.ts'
import { Limits } from '../../../../../core/engine/download/limits.ts'
import type { MaybePublicOnly } from '../../../../../core/engine/download/proxy.ts'
import { eventually } from '../../../../kit/eventually.ts'
import { type Behaviour, MirrorFarm } from '../../../../kit/mirror-farm.ts'
import { serve } from '../../../../kit/serve.ts'
import { tempDir } from '../../../../kit/temp-dir.ts'

const MIB = 1 << 20
const SOON_MS = 100
const bytes = randomBytes(4 * MIB + 123_456)
const other = randomBytes(bytes.length)
const sha256 = createHash('sha256').update(bytes).digest('hex')
const good: Behaviour = { body: bytes }
/** Once: where a part is shared out again, what is under way of it comes twice, the more often, the busier the machine. */
const ONCE = 1.5 * bytes.length

async function farmOf(paths: Record<string, Behaviour>) {
  const farm = await new MirrorFarm().start()
  onTestFinished(() => farm.stop())
  const sources = Object.entries(paths).map(
    ([name, behaviour]): FileSource => ({ id: name, address: farm.put(`/${name}/model.bin`, behaviour) }),
  )
  return { farm, sources }
}
function dispatcher() {
  const made = new Agent()
  onTestFinished(() => made.destroy())
  return made
}
const to = () => path.join(tempDir(), 'models', 'model.bin')
const get = (
  wanted: Partial<FileWanted> & { sources: readonly FileSource[] },
  options: Partial<DownloadOptions> = {},
) => {
  const file = wanted.to ?? to()
  const whole = { sizeBytes: bytes.length, sha256, to: file, ...wanted }
  return download(whole, { dispatcher: dispatcher(), stallMs: 5_000, retryMs: 20, ...options }).then((got) => ({
    ...got,
    file,
    /** What lies in its folder. */
    left: readdirSync(path.dirname(file)),
    same: readFileSync(file).equals(bytes),
  }))
}
const isRight = ({ same, left }: { same: boolean; left: string[] }) =>
  expect({ same, left }).toEqual({ same: true, left: ['model.bin'] })

test('a file comes whole over several connections, and its hash is right', async () => {
  const { farm, sources } = await farmOf({ one: { ...good, bytesPerSecond: 8 * MIB } })
  const got = await get({ sources })
  isRight(got)
  expect(got).toMatchObject({ sha256, sizeBytes: bytes.length, switched: [] })
  expect(got.fetchedBytes).toBeLessThan(ONCE)
  expect(farm.open.get('/one/model.bin')!.most).toBeGreaterThan(1)
})

test.each<[string, Behaviour]>([
  ['ignores ranges', { ...good, ranges: 'ignored' }],
  ['ignores ranges and says no length', { ...good, ranges: 'ignored', chunked: true }],
  ['packs what it sends', { ...good, ranges: 'ignored', packed: true, chunked: true }],
  ['sends less than was asked for', { ...good, ranges: 'short' }],
  ['says no length', { ...good, chunked: true }],
  ['has a weak mark', { ...good, etag: 'W/"1"' }],
  ['has no mark', { ...good, etag: null }],
  ['calls it a page', { ...good, type: 'text/html; charset=utf-8' }],
  ['refuses HEAD', { ...good, refusesHead: true }],
  ['breaks off after a while', { ...good, cutAfter: 1_500_000 }],
  ['breaks off every answer at first', { ...good, cutAfter: 1000, cuts: 2 }],
  ['is busy at first', { ...good, status: 503, times: 2, retryAfter: '0' }],
  ['takes two connections only', { ...good, connections: 2, bytesPerSecond: 16 * MIB }],
  ['cannot find it at first', { ...good, status: 404, times: 1 }],
])('from a host that %s, it comes whole', async (_, behaviour) => {
  const { farm, sources } = await farmOf({ one: behaviour })
  isRight(await get({ sources }))
  expect(farm.asked.every(({ method }) => method === 'GET')).toBe(true)
})

test.each<[string, Behaviour, { sha256: string | null; sizeBytes: number | null }]>([
  ['its hash', good, { sha256, sizeBytes: null }],
  ['its size', good, { sha256: null, sizeBytes: bytes.length }],
  ['nothing', good, { sha256: null, sizeBytes: null }],
  ['nothing, and the host ignores ranges', { ...good, ranges: 'ignored' }, { sha256: null, sizeBytes: null }],
  [
    'nothing, and the host says no length',
    { ...good, ranges: 'ignored', chunked: true },
    { sha256: null, sizeBytes: null },
  ],
  ['its hash, and the host says no length', { ...good, ranges: 'ignored', chunked: true }, { sha256, sizeBytes: null }],
])('of a file of which %s is known, all of it comes', async (_, behaviour, known) => {
  const { sources } = await farmOf({ one: behaviour })
  const got = await get({ sources, ...known })
  isRight(got)
  expect(got).toMatchObject({ sha256, sizeBytes: bytes.length })
  expect(got.fetchedBytes).toBeLessThan(ONCE)
})

test.each<[string, Behaviour]>([
  ['refuses', { ...good, status: 403 }],
  ['is gone', { ...good, status: 404 }],
  ['sends a page', { body: Buffer.from('<html>Log in</html>'), type: 'text/html', ranges: 'ignored' }],
  ['sends an error as JSON', { body: Buffer.from('{"Code":404}'), type: 'application/json', ranges: 'ignored' }],
  ['has a file of another size', { body: other.subarray(1) }],
  ['has another file of that size', { body: other }],
  ['has another file of that size, and ignores ranges', { body: other, ranges: 'ignored' }],
  ['sends other bytes than were asked for', { ...good, ranges: 'wrong-start' }],
  ['says another size with each part', { ...good, ranges: 'wrong-total' }],
  ['does not say which bytes it sends', { ...good, ranges: 'unlabelled' }],
  ['refuses the range (416)', { ...good, ranges: 'refused' }],
  ['refuses the range (416) without a word', { ...good, ranges: 'refused-bare' }],
  ['stalls', { ...good, stallAfter: 200_000 }],
  ['stalls after a while', { ...good, stallsFrom: 3 * MIB }],
  ['resets', { ...good, cutAfter: 0 }],
  ['flips a byte', { ...good, flipAt: 4_000_000 }],
  ['changes its file meanwhile', { ...good, changes: { after: 3, body: other, etag: '"2"' } }],
  ['breaks off halfway, and ignores ranges', { ...good, ranges: 'ignored', cutAfter: 3 * MIB }],
])('beside one that %s, another host gives it whole, in either order', async (_, behaviour) => {
  const { sources } = await farmOf({
    bad: { ...behaviour, bytesPerSecond: 60 * MIB },
    good: { ...good, bytesPerSecond: 60 * MIB },
  })
  // a busy machine is taken for a stall where that is short
  const options = /stall/.test(Object.keys(behaviour).join()) ? { stallMs: 400 } : {}
  isRight(await get({ sources }, options))
  isRight(await get({ sources: sources.toReversed() }, options))
})

test('a liar is named, and no more of it is used than has to be', async () => {
  const lies = { ...good, flipAt: 4_100_000, bytesPerSecond: 20 * MIB }
  const honest = { ...good, bytesPerSecond: 20 * MIB }
  const { sources } = await farmOf({ liar: lies, honest, fair: honest })
  const got = await get({ sources })
  isRight(got)
  // whoever gave least is tried first: of three that gave as much, the last two give what the others gave as well
  expect(got.fetchedBytes).toBeLessThan(3.1 * bytes.length)
  for (const { id, reason } of got.perSource) if (id !== 'liar') expect(reason).toBe(null)
})

test('one that has something else from the start is found before it gave more than a sample', async () => {
  const right = { ...good, bytesPerSecond: 2 * MIB }
  const { farm, sources } = await farmOf({ first: right, liar: { body: other }, second: right })
  // by then the first was compared
  const holds = () => eventually(() => farm.asked.filter(({ path }) => path.startsWith('/first/')).length > 1)
  farm.put('/liar/model.bin', { body: other, holds })
  const got = await get({ sources })
  isRight(got)
  expect(farm.sentBytes('/liar/model.bin')).toBeLessThan(MIB)
  expect(got.switched).toMatchObject([{ from: 'liar', reason: 'it has another file' }])
})

test('one that is only slower than another is not told to have failed', async () => {
  const { sources } = await farmOf({
    fast: { ...good, bytesPerSecond: 4 * MIB },
    slow: { ...good, bytesPerSecond: MIB / 2 },
  })
  const got = await get({ sources: sources.map((source) => ({ ...source, connections: 1 })) })
  isRight(got)
  expect(got.switched).toEqual([])
})

test('when no host has the right file, nothing is put under its name', async () => {
  const { sources } = await farmOf({ one: { body: other } })
  const file = to()
  await expect(get({ sources, to: file })).rejects.toMatchObject({ code: 'download.damaged' })
  expect(readdirSync(path.dirname(file))).toEqual([])
})

test('a token goes to its own host, is dropped where that redirects, and a link that expired is asked for anew', async () => {
  const farm = await new MirrorFarm().start()
  onTestFinished(() => farm.stop())
  farm.put('/cdn', { ...good, bytesPerSecond: 30 * MIB })
  const address = farm.put('/hub', { body: bytes, redirect: { to: '/cdn', elsewhere: true, most: 1 } })
  const got = await get({ sources: [{ id: 'hub', address, headers: { authorization: 'Bearer secret' } }] })
  isRight(got)
  const at = (where: string) => farm.asked.filter((each) => each.path === where)
  expect(at('/hub').every(({ headers }) => headers.authorization === 'Bearer secret')).toBe(true)
  expect(at('/cdn').some(({ headers }) => headers.authorization !== undefined)).toBe(false)
  expect(at('/cdn').some(({ status }) => status === 403)).toBe(true)
  expect(at('/hub').length).toBeGreaterThan(1)
  expect(at('/hub').length).toBeLessThan(at('/cdn').length)
})

test('a mirror that sends everybody to the place itself is passed over', async () => {
  const { farm, sources } = await farmOf({ origin: { ...good, bytesPerSecond: 20 * MIB } })
  farm.put('/mirror', { body: bytes, redirect: { to: '/origin/model.bin' } })
  const mirror = { id: 'mirror', address: farm.url('/mirror', true) }
  farm.put('/mirror', { body: bytes, redirect: { to: '/origin/model.bin', elsewhere: false } })
  const got = await get({ sources: [mirror, ...sources] })
  isRight(got)
  expect(got.switched).toMatchObject([{ from: 'mirror', to: 'origin' }])
})

test.each([sha256, null])('a host that always breaks off at the same place is given up (hash %s)', async (hash) => {
  const { farm, sources } = await farmOf({ one: { ...good, ranges: 'ignored', cutAfter: 3 * MIB } })
  const asked = get({ sources, sha256: hash, sizeBytes: null }, { retryMs: 5 })
  await expect(asked).rejects.toMatchObject({ code: 'download.unreachable' })
  expect(farm.asked.length).toBeLessThan(40)
})

test('a refusal says who refuses and why', async () => {
  const { sources } = await farmOf({ one: { ...good, status: 401 } })
  await expect(get({ sources })).rejects.toMatchObject({
    code: 'download.refused',
    facts: { file: 'model.bin', status: 401 },
  })
})

test('a page in place of a file of which nothing is known is refused, and leaves nothing', async () => {
  const { sources } = await farmOf({ one: { body: Buffer.from('<html>log in</html>'), type: 'text/html' } })
  const file = to()
  const cause = await get({ sources, to: file, sizeBytes: null, sha256: null }).catch((failure: unknown) => failure)
  expect(toFailure(cause)).toMatchObject({ code: 'download.unreachable' })
  expect(toFailure(cause).facts.reason).toContain('it sent a page (text/html) instead of the file')
  await pause(SOON_MS) // what was not waited for would come now
  expect(readdirSync(path.dirname(file))).toEqual([])
})

test.each([
  ['a page', '<!DOCTYPE html><p>log in</p>'],
  ['an error', '{"error":"Unauthorized"}'],
  ['the pointer of a file kept elsewhere', 'version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n'],
  ['nothing', ''],
])('%s that is labelled as any file is taken for no model', async (_, text) => {
  const { sources } = await farmOf({ one: { body: Buffer.from(text), etag: null } })
  const file = path.join(tempDir(), 'dream.safetensors')
  const cause = await get({ sources, to: file, sizeBytes: null, sha256: null }).catch((failure: unknown) => failure)
  expect(toFailure(cause)).toMatchObject({ code: 'download.unreachable' })
  expect(existsSync(file)).toBe(false)
})

test('what is stopped while its file is being opened holds nothing open', async () => {
  const { sources } = await farmOf({ one: good })
  const stopping = new AbortController()
  const agent = dispatcher()
  const stopsAtOnce = new (class extends Dispatcher {
    override dispatch(options: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandler) {
      const answered = handler.onResponseStart!.bind(handler)
      handler.onResponseStart = (...answer) => {
        answered(...answer)
        stopping.abort(new Error('stopped'))
      }
      return agent.dispatch(options, handler)
    }
  })()
  const threads = () => process.getActiveResourcesInfo().filter((name) => name === 'MessagePort').length
  const before = threads()
  const asked = { signal: stopping.signal, dispatcher: stopsAtOnce }
  await expect(get({ sources, sizeBytes: null }, asked)).rejects.toThrow('stopped')
  await pause(SOON_MS) // what was not waited for would come now
  await expect.poll(threads).toBeLessThanOrEqual(before)
})

test('a file that is nowhere any more is said to be gone, whatever the proxy; one that is refused says why once', async () => {
  const gone = await farmOf({ one: { ...good, status: 404 }, two: { ...good, status: 410 } })
  const cause = await get({ sources: gone.sources }, { retryMs: 5 }).catch((failure: unknown) => failure)
  expect(toFailure(cause)).toMatchObject({ code: 'download.not-found', facts: { file: 'model.bin' } })
  expect(toFailure(cause).remedy).not.toMatch(/proxy/)
  const mixed = await farmOf({ one: { ...good, status: 404 }, two: { ...good, status: 500 } })
  await expect(get({ sources: mixed.sources }, { retryMs: 5 })).rejects.toMatchObject({ code: 'download.unreachable' })
  const { sources } = await farmOf({ one: { ...good, status: 403 } })
  const refused = toFailure(await get({ sources }).catch((failure: unknown) => failure))
  expect(refused.message.match(/\b403\b/g)).toHaveLength(1)
  expect(refused).toMatchObject({ code: 'download.refused', facts: { status: 403 } })
})

test('what was stopped goes on where it was; what is there already is not fetched', async () => {
  const { farm, sources } = await farmOf({ one: { ...good, bytesPerSecond: 2 * MIB } })
  const file = to()
  const stopping = new AbortController()
  const onNews = ({ doneBytes }: DownloadNews) => {
    if (doneBytes > 2 * MIB) stopping.abort(new Error('paused'))
  }
  await expect(get({ sources, to: file }, { signal: stopping.signal, onNews })).rejects.toThrow('paused')
  expect(existsSync(file)).toBe(false)
  expect(readdirSync(path.dirname(file)).sort()).toEqual(['model.bin.part', 'model.bin.part.json'])
  const got = await get({ sources, to: file })
  isRight(got)
  expect(got.fetchedBytes).toBeLessThan(bytes.length - 2 * MIB)
  const asked = farm.asked.length
  expect(await get({ sources, to: file })).toMatchObject({ fetchedBytes: 0, sha256 })
  expect(farm.asked.length).toBe(asked)
})

test('a byte that changed on disk in between is fetched again, with little around it', async () => {
  // it does not end before what came was read again
  const { farm, sources: given } = await farmOf({ one: { ...good, stallsFrom: 3 * MIB + 1000 } })
  const sources = given.map((source) => ({ ...source, connections: 1 }))
  const file = to()
  const stopping = new AbortController()
  const onNews = ({ hashedBytes }: DownloadNews) => {
    if (hashedBytes > 2 * MIB) stopping.abort(new Error('paused'))
  }
  const asked = { signal: stopping.signal, onNews, stallMs: 60_000 }
  await expect(get({ sources, to: file }, asked)).rejects.toThrow('paused')
  farm.put('/one/model.bin', good)
  const part = readFileSync(`${file}.part`)
  part[1_500_000]! ^= 0xff
  writeFileSync(`${file}.part`, part)
  const got = await get({ sources, to: file })
  isRight(got)
  expect(got.fetchedBytes).toBeLessThan(bytes.length - MIB / 2)
})

test('whoever asks for the same file waits for the same fetch, and one who leaves does not end it', async () => {
  const { farm, sources } = await farmOf({ one: { ...good, bytesPerSecond: 4 * MIB } })
  const file = to()
  const leaving = new AbortController()
  const left = get({ sources, to: file }, { signal: leaving.signal })
  const stayed = [get({ sources, to: file }), get({ sources, to: file })]
  leaving.abort(new Error('left'))
  await expect(left).rejects.toThrow('left')
  for (const got of await Promise.all(stayed)) isRight(got)
  expect(farm.sentBytes()).toBeLessThan(ONCE)
})

test('what an end between the name and the tidying left is tidied', async () => {
  const { sources } = await farmOf({ one: good })
  const file = path.join(tempDir(), 'model.bin')
  for (const name of [file, `${file}.part`]) writeFileSync(name, bytes)
  writeFileSync(`${file}.part.json`, '')
  const got = await get({ sources, to: file })
  isRight(got)
  expect(got.fetchedBytes).toBe(0)
})

test('a file of another content under that name stays', async () => {
  const { sources } = await farmOf({ one: good })
  const file = path.join(tempDir(), 'model.bin')
  writeFileSync(file, 'mine')
  await expect(get({ sources, to: file })).rejects.toMatchObject({ code: 'download.exists' })
  expect(readFileSync(file, 'utf8')).toBe('mine')
})

test('limits hold, and take effect while it runs', async () => {
  const { farm, sources } = await farmOf({ one: { ...good, bytesPerSecond: 4 * MIB } })
  const bytesPerSecond = 32 * 1024 // all of it would take minutes
  const limits = new Limits({ bytesPerSecond, connectionsPerHost: 1 })
  const began = performance.now()
  let held: { came: number; may: number } | null = null
  const onNews = ({ connections }: DownloadNews) => {
    const seconds = (performance.now() - began) / 1000
    if (held || seconds < 1) return
    // a quarter of a second at once, and what was read before it was counted
    const may = (seconds + 0.25) * bytesPerSecond + 128 * 1024
    held = { came: connections.reduce((sum, { doneBytes }) => sum + doneBytes, 0), may }
    limits.change({ bytesPerSecond: null })
  }
  isRight(await get({ sources }, { limits, onNews }))
  expect(held!.came).toBeGreaterThan(0)
  expect(held!.came).toBeLessThan(held!.may)
  expect(farm.open.get('/one/model.bin')!.most).toBe(1)
})

test('a disk with too little room is told before the first byte', async () => {
  const { farm, sources } = await farmOf({ one: good })
  const asked = get({ sources, sizeBytes: 2 ** 60 })
  await expect(asked).rejects.toMatchObject({ code: 'download.no-space', facts: { file: 'model.bin' } })
  expect(farm.asked).toEqual([])
})

const keptAs = (more: object) =>
  JSON.stringify({
    ...{ v: 1, sizeBytes: bytes.length, sha256, blockBytes: MIB, boot: 'another', sources: [{ key: 'k', etag: null }] },
    ...more,
  })
test.each([
  ['claims a size that cannot be', `${keptAs({ sizeBytes: 9e15, blockBytes: 1 })}\n`],
  ['tells of blocks before the first', `${keptAs({})}\n["read",-3,[1,2,3]]\n["synced",5]\n`],
  ['tells of blocks after the last', `${keptAs({})}\n["read",300000,[1,2,3]]\n["synced",5]\n`],
  [
    'names sources that were not there',
    `${keptAs({})}\n["source",4000000000,{"key":"k","etag":null}]\n["wrote",0,500,4000000000]\n["synced",5]\n`,
  ],
  ['is of another version', `${keptAs({ v: 2 })}\n["wrote",0,4000000,0]\n["synced",5]\n`],
  ['says that all is there', `${keptAs({})}\n["wrote",0,9000000000,0]\n["synced",5]\n`],
  ['is not text', '\0\0\0'],
])('a journal that %s is no harm: the file comes whole', async (_, journal) => {
  const { sources } = await farmOf({ one: good, two: good })
  const file = path.join(tempDir(), 'model.bin')
  writeFileSync(`${file}.part`, Buffer.alloc(bytes.length, 7))
  writeFileSync(`${file}.part.json`, journal)
  isRight(await get({ sources, to: file }))
})

test('what a hub says of access is what the download says, at once', async () => {
  const refused = new AppError('hub.needs-token', { hub: 'A hub', what: 'a file', page: 'https://hub.example' })
  let asked = 0
  const resolve = () => {
    asked += 1
    return Promise.reject(refused)
  }
  const source = { id: 'hub', address: 'https://hub.example/file', resolve }
  await expect(get({ sources: [source] })).rejects.toBe(refused)
  expect(asked).toBe(1)
})

test('a host that asks to be left alone for an hour is not waited for', async () => {
  const { sources } = await farmOf({ one: { ...good, status: 429, retryAfter: '3600' } })
  await expect(get({ sources })).rejects.toMatchObject({ code: 'hub.busy', facts: { seconds: 3600 } })
})

test('a host of the internet leads nowhere inside this network, by whatever name', async () => {
  const asked: string[] = []
  const { url } = await serve((request, response) => {
    asked.push(request.url!)
    response.writeHead(302, { location: `http://looks-fine.invalid:${new URL(url).port}/inside` }).end()
  })
  const here = new Agent({ connect: { lookup: (_host, options, done) => lookup('127.0.0.1', options, done as never) } })
  const abroad = new Agent({ connect: { lookup: (_host, _options, done) => done(new NotPublic('inside'), '', 4) } })
  class Both extends Dispatcher {
    override dispatch(options: MaybePublicOnly, handler: Dispatcher.DispatchHandler) {
      return (options.publicOnly ? abroad : here).dispatch(options, handler)
    }
  }
  onTestFinished(() => Promise.all([here.destroy(), abroad.destroy()]).then(() => {}))
  const source = { id: 'hub', address: url.replace('127.0.0.1', 'hub.invalid') }
  const got = get({ sources: [source] }, { dispatcher: new Both() })
  await expect(got).rejects.toMatchObject({ facts: { reason: expect.stringContaining('inside this network') } })
  expect(asked).toEqual(['/'])
})
