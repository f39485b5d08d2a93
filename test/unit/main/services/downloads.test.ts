import { createHash, randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import { Agent } from 'undici'
import { expect, onTestFinished, test } from 'vitest'
import type { DownloadView, DownloadWanted } from '../../../../core/contract/download.ts'
import { AppError } from '../../../../core/contract/errors.ts'
import { systemClock } from '../../../../main/services/clock.ts'
import { Downloads } from '../../../../main/services/downloads.ts'
import { KeptSettings } from '../../../../main/services/settings.ts'
import { eventually } from '../../../kit/eventually.ts'
import { testDatabase } from '../../../kit/queue-kit.ts'
import { serve } from '../../../kit/serve.ts'
import { tempDir } from '../../../kit/temp-dir.ts'
import { turnableClock } from '../../../kit/turnable-clock.ts'

const bytes = randomBytes(3_000_000)
const sha256 = createHash('sha256').update(bytes).digest('hex')

/** A host whose files are all the same; `hold` keeps their ends back until `release`. */
async function aHost() {
  const asked: string[] = []
  let held = false
  const waiting = new Set<() => void>()
  const answer = (request: IncomingMessage, response: ServerResponse) => {
    asked.push(`${request.url} ${request.headers.range ?? '-'}`)
    const [, from = '0', to = String(bytes.length - 1)] = /bytes=(\d+)-(\d*)/.exec(request.headers.range ?? '') ?? []
    const end = Math.min(Number(to || bytes.length - 1), bytes.length - 1)
    const part = bytes.subarray(Number(from), end + 1)
    response.writeHead(request.headers.range ? 206 : 200, {
      'content-length': part.length,
      etag: '"one"',
      ...(request.headers.range && { 'content-range': `bytes ${from}-${end}/${bytes.length}` }),
    })
    if (!held) return void response.end(part)
    response.write(part.subarray(0, part.length / 2))
    waiting.add(() => response.end(part.subarray(part.length / 2)))
  }
  const { url } = await serve(answer)
  return {
    url,
    asked,
    hold: () => {
      held = true
    },
    release: () => {
      held = false
      for (const goOn of waiting) goOn()
      waiting.clear()
    },
  }
}

type Given = Partial<ConstructorParameters<typeof Downloads>[0]> & { dir?: string }
function aKit({ dir = tempDir(), database = testDatabase(), clock = systemClock, ...more }: Given = {}) {
  const settings = more.settings ?? new KeptSettings(database)
  const agent = new Agent()
  const told: DownloadView[] = []
  const downloads = new Downloads({
    database,
    clock,
    settings,
    dispatcher: () => agent,
    sourcesOf: async (refs, known) => ({
      sources: refs.map((ref) => ({ id: 'host', address: ref.hub === 'url' ? ref.url : '' })),
      gitSha1: null,
      ...known,
    }),
    stallMs: 5_000,
    ...more,
  })
  downloads.events.on('done', (view) => told.push(view))
  onTestFinished(async () => {
    await downloads.stop()
    await agent.destroy()
  })
  const wanted = (host: { url: string }, name: string, also: Partial<DownloadWanted> = {}): DownloadWanted => ({
    name,
    kind: 'model',
    to: path.join(dir, 'checkpoints', name),
    sources: [{ hub: 'url', url: `${host.url}/${name}` }],
    sizeBytes: bytes.length,
    sha256,
    ...also,
  })
  const states = () => downloads.list().rows.map(({ name, state }) => `${name} ${state}`)
  const becomes = (id: string, state: DownloadView['state']) =>
    eventually(() => (downloads.get(id).state === state ? downloads.get(id) : null))
  const set = (change: Partial<ReturnType<KeptSettings['get']>['downloads']>) =>
    settings.set({ downloads: { ...settings.get().downloads, ...change } })
  return { downloads, database, settings, dir, told, wanted, states, becomes, set }
}

test('a file is had whole and told of; what it is about is kept with it', async () => {
  const host = await aHost()
  const { downloads, wanted, told, becomes } = aKit()
  await downloads.start()
  const { id } = downloads.add(
    wanted(host, 'a.safetensors', { about: { page: 'https://hub.invalid/a', folder: 'vae' } }),
  )
  const view = await becomes(id, 'done')
  expect(readFileSync(view.to).equals(bytes)).toBe(true)
  expect(view).toMatchObject({
    doneBytes: bytes.length,
    sha256,
    page: 'https://hub.invalid/a',
    about: { folder: 'vae' },
    failure: null,
    endedAt: expect.any(Number),
  })
  expect(told.map((each) => each.id)).toEqual([id])
  expect(readdirSync(path.dirname(view.to))).toEqual(['a.safetensors'])
})

test('however often a file is asked for, it is one download and one fetch', async () => {
  const host = await aHost()
  const { downloads, wanted, becomes } = aKit()
  await downloads.start()
  const [one, two] = [wanted(host, 'a.bin'), wanted(host, 'a.bin')].map((asked) => downloads.add(asked).id)
  expect(two).toBe(one)
  await becomes(one!, 'done')
  const count = host.asked.length
  expect(new Set(host.asked).size).toBe(count)
  expect(() => downloads.add(wanted(host, 'b.bin', { to: 'relative/b.bin' }))).toThrow('a whole path')
})

test('the same content under two names comes over the network once', async () => {
  const host = await aHost()
  const { downloads, wanted, becomes } = aKit()
  await downloads.start()
  const one = downloads.add(wanted(host, 'a.bin')).id
  const two = downloads.add(wanted(host, 'b.bin')).id
  const [first, second] = [await becomes(one, 'done'), await becomes(two, 'done')]
  expect([first, second].map(({ to }) => readFileSync(to).equals(bytes))).toEqual([true, true])
  expect(host.asked.every((line) => line.startsWith('/a.bin'))).toBe(true)
})

const shm = '/dev/shm'
const twoVolumes = existsSync(shm) && statSync(shm).dev !== statSync(tmpdir()).dev
test.skipIf(!twoVolumes)('what is copied from another volume has its name when it is whole, not before', async () => {
  const host = await aHost()
  const { downloads, database, wanted, becomes } = aKit()
  const there = mkdtempSync(path.join(shm, 'nightshift-test-'))
  onTestFinished(() => rmSync(there, { recursive: true }))
  await downloads.start()
  const { id, to: from } = downloads.add(wanted(host, 'a.bin'))
  await becomes(id, 'done')
  const large = Buffer.alloc(64 << 20, 'night')
  const hash = createHash('sha256').update(large).digest('hex')
  writeFileSync(from, large)
  database.prepare('UPDATE downloads SET sha256 = ?').run(hash)
  const to = path.join(there, 'b.bin')
  const copy = downloads.add(wanted(host, 'b.bin', { to, sha256: hash, sizeBytes: large.length })).id
  const seen = new Set<number>()
  while (downloads.get(copy).state !== 'done') {
    const size = statSync(to, { throwIfNoEntry: false })?.size
    if (size !== undefined) seen.add(size)
    await turn()
  }
  expect([...seen].filter((size) => size !== large.length)).toEqual([])
  expect(readFileSync(to).equals(large)).toBe(true)
  expect(readdirSync(there)).toEqual(['b.bin'])
})

test('as many as may run do, in their order; one put first runs instead of the last', async () => {
  const host = await aHost()
  host.hold()
  const kit = aKit()
  const { downloads, wanted, states, becomes } = kit
  kit.set({ atOnce: 1 })
  await downloads.start()
  const ids = ['a', 'b', 'c'].map((name) => downloads.add(wanted(host, name, { sha256: null })).id)
  downloads.add(wanted(host, 'd', { sha256: null, priority: 5 }))
  await becomes(ids[0]!, 'running')
  expect(states()).toEqual(['d waiting', 'a running', 'b waiting', 'c waiting'])
  downloads.move(ids[2]!, 0)
  await eventually(() => states().join() === 'c running,d waiting,a waiting,b waiting')
  host.release()
  await eventually(() => downloads.totals().counts.done === 4)
})

test('a paused one goes on from what it has; a cancelled one leaves nothing behind', async () => {
  const host = await aHost()
  const { downloads, wanted, becomes } = aKit()
  await downloads.start()
  host.hold()
  const { id, to } = downloads.add(wanted(host, 'a.bin'))
  await eventually(() => downloads.get(id).doneBytes >= bytes.length / 4)
  expect(await downloads.pause({ ids: [id] })).toBe(1)
  const paused = downloads.get(id)
  expect(paused).toMatchObject({ state: 'paused', waitsFor: null, bytesPerSecond: null })
  expect(paused.doneBytes).toBeGreaterThan(0)
  host.release()
  const before = host.asked.length
  expect(downloads.resume({ ids: [id] })).toBe(1)
  await becomes(id, 'done')
  expect(host.asked.slice(before).some((line) => !/bytes=0-/.test(line))).toBe(true)
  expect(readFileSync(to).equals(bytes)).toBe(true)

  host.hold()
  const other = downloads.add(wanted(host, 'b.bin', { sha256: null }))
  await eventually(() => downloads.get(other.id).doneBytes > 0)
  await downloads.cancel({ ids: [other.id] })
  expect(downloads.get(other.id)).toMatchObject({ state: 'cancelled', doneBytes: 0 })
  expect(readdirSync(path.dirname(to))).toEqual(['a.bin'])
  host.release()
  expect(downloads.retry({ ids: [other.id] })).toBe(1)
  await becomes(other.id, 'done')
  expect(downloads.clear({ all: true, states: ['done'] })).toBe(2)
  expect(downloads.list().total).toBe(0)
  expect(existsSync(to)).toBe(true)
})

test('what ran when the app ended, or was killed, goes on by itself at the next start', async () => {
  const host = await aHost()
  host.hold()
  const first = aKit()
  await first.downloads.start()
  const { id } = first.downloads.add(first.wanted(host, 'a.bin'))
  await eventually(() => first.downloads.get(id).doneBytes > 0)
  await first.downloads.stop()
  expect(first.downloads.get(id).state).toBe('waiting')
  // killed: nobody said that it stopped
  first.database.prepare(`UPDATE downloads SET state = 'running'`).run()
  host.release()
  const second = aKit({ database: first.database, dir: first.dir })
  await second.downloads.start()
  expect(readFileSync((await second.becomes(id, 'done')).to).equals(bytes)).toBe(true)
})

test('a short command only runs what it asked for itself', async () => {
  const host = await aHost()
  const first = aKit()
  const left = first.downloads.add(first.wanted(host, 'left.bin'))
  const second = aKit({ database: first.database, dir: first.dir, idle: true })
  await second.downloads.start()
  const mine = second.downloads.add(second.wanted(host, 'mine.bin', { sha256: null }))
  await second.becomes(mine.id, 'done')
  expect(second.downloads.get(left.id).state).toBe('waiting')
})

test('by night only: it waits for its hour, stops at its end, and goes on the next night', async () => {
  const host = await aHost()
  host.hold()
  const clock = turnableClock()
  const { downloads, wanted, becomes, set } = aKit({ clock })
  await downloads.start()
  const hour = 60 * 60_000
  const { id } = downloads.add(wanted(host, 'a.bin', { startAt: '23:00', stopAt: '06:00' }))
  expect(downloads.get(id)).toMatchObject({ state: 'waiting', waitsFor: 'hours', opensAt: clock.now() + 11 * hour })
  expect(downloads.active()).toBe(true) // the machine is wanted awake at that hour
  clock.turn(11 * hour)
  await becomes(id, 'running')
  await eventually(() => host.asked.length > 0)
  clock.turn(7 * hour)
  await becomes(id, 'waiting')
  expect(downloads.get(id).waitsFor).toBe('hours')
  // hours for all of them count too
  downloads.schedule({ ids: [id] }, null, null)
  await becomes(id, 'running')
  set({ startAt: '23:00', stopAt: '05:00' })
  await becomes(id, 'waiting')
  host.release()
  set({ startAt: null, stopAt: null })
  await becomes(id, 'done')
})

test('held, none runs and none keeps the machine awake; let go, they go on', async () => {
  const host = await aHost()
  host.hold()
  const { downloads, wanted, becomes } = aKit()
  await downloads.start()
  const { id } = downloads.add(wanted(host, 'a.bin'))
  await becomes(id, 'running')
  downloads.hold(true)
  expect((await becomes(id, 'waiting')).waitsFor).toBe('hold')
  expect([downloads.active(), downloads.totals().held]).toEqual([false, true])
  host.release()
  downloads.hold(false)
  await becomes(id, 'done')
})

test('a file that needs consent fails at once, with its page and what to do', async () => {
  const page = 'https://hub.invalid/o/r'
  const { downloads, wanted, becomes } = aKit({
    sourcesOf: async () => {
      throw new AppError('hub.gated', { hub: 'Hub', what: 'o/r', page })
    },
  })
  await downloads.start()
  const { id } = downloads.add(wanted({ url: 'http://hub.invalid' }, 'a.bin'))
  expect(await becomes(id, 'failed')).toMatchObject({
    failure: { code: 'hub.gated' },
    remedies: ['open-page', 'add-token'],
    page,
  })
})

test('a hub that cannot be reached is asked again by itself, with longer waits, and in the end given up', async () => {
  const clock = turnableClock()
  let asked = 0
  const host = await aHost()
  const { downloads, wanted, becomes } = aKit({
    clock,
    sourcesOf: async () => {
      asked += 1
      throw new AppError('hub.unreachable', { hub: 'Hub', reason: 'no network' })
    },
  })
  await downloads.start()
  const { id } = downloads.add(wanted(host, 'a.bin'))
  const waits: number[] = []
  for (let tries = 1; tries <= 5; tries++) {
    const view = await eventually(() =>
      asked === tries && downloads.get(id).waitsFor === 'retry' ? downloads.get(id) : null,
    )
    expect(view.failure?.code).toBe('hub.unreachable')
    waits.push(view.opensAt! - clock.now())
    clock.turn(waits.at(-1)!)
  }
  expect(waits).toEqual([15_000, 60_000, 300_000, 900_000, 3_600_000])
  expect(await becomes(id, 'failed')).toMatchObject({ remedies: ['check-network', 'test-mirrors'] })
  downloads.retry({ ids: [id] })
  await eventually(() => asked === 7)
  // a person who cannot wait has it tried now
  await eventually(() => downloads.get(id).waitsFor === 'retry')
  downloads.resume({ ids: [id] })
  await eventually(() => asked === 8)
})

test('another file under that name is never written over', async () => {
  const host = await aHost()
  const { downloads, wanted, becomes, dir } = aKit()
  await downloads.start()
  mkdirSync(path.join(dir, 'checkpoints'))
  writeFileSync(path.join(dir, 'checkpoints', 'a.bin'), 'mine')
  const { id } = downloads.add(wanted(host, 'a.bin'))
  expect((await becomes(id, 'failed')).failure?.code).toBe('download.exists')
  expect(readFileSync(path.join(dir, 'checkpoints', 'a.bin'), 'utf8')).toBe('mine')
})

test('the rate that was set holds, and ends with the hours for full speed', async () => {
  const host = await aHost()
  const { downloads, wanted, becomes, set } = aKit({ clock: turnableClock() }) // it is noon
  set({ bytesPerSecond: 1_000_000 })
  await downloads.start()
  const begun = performance.now()
  const { id } = downloads.add(wanted(host, 'a.bin'))
  await eventually(() => downloads.get(id).doneBytes > 300_000)
  expect(performance.now() - begun).toBeGreaterThan(40) // the first quarter of a second may come at once
  expect(downloads.get(id).state).toBe('running')
  set({ bytesPerSecond: 1_000, fullSpeedFrom: '11:00', fullSpeedTo: '13:00' })
  await becomes(id, 'done')
})

test('totals count what is left and say when it will be there', async () => {
  const host = await aHost()
  host.hold()
  const { downloads, wanted } = aKit()
  downloads.add(wanted(host, 'a.bin'))
  downloads.add(wanted(host, 'b.bin', { sizeBytes: 1000, sha256: null }))
  expect(downloads.totals()).toMatchObject({
    counts: { waiting: 2, running: 0 },
    leftBytes: bytes.length + 1000,
    bytesPerSecond: 0,
    etaSeconds: null,
  })
  expect(downloads.list({ search: 'B.B' }).rows.map(({ name }) => name)).toEqual(['b.bin'])
})

test('a host that asks to be left alone for years is asked again within the hour', async () => {
  const clock = turnableClock()
  const busy = new AppError('hub.busy', { hub: 'A hub', host: 'hub.example', seconds: 1e9 })
  const { downloads, wanted } = aKit({ clock, sourcesOf: () => Promise.reject(busy) })
  await downloads.start()
  const { id } = downloads.add(wanted({ url: 'http://hub.example' }, 'a.safetensors'))
  const view = await eventually(() => (downloads.get(id).waitsFor === 'retry' ? downloads.get(id) : null))
  expect(view.opensAt! - clock.now()).toBe(60 * 60_000)
})
