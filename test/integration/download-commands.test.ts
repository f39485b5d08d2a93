import { mkdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { expect, test, vi } from 'vitest'
import { isJsonObject, parseJson } from '../../core/contract/json.ts'
import { runCli } from '../../main/cli/main.ts'
import { Terminal } from '../../main/cli/terminal.ts'
import { openDatabase } from '../../main/services/database/open.ts'
import { Downloads } from '../../main/services/downloads.ts'
import { KeptSettings } from '../../main/services/settings.ts'
import { serve } from '../kit/serve.ts'
import { tempDir } from '../kit/temp-dir.ts'
import { turnableClock } from '../kit/turnable-clock.ts'

const bytes = Buffer.from('night '.repeat(4000))

test('downloads are listed, steered, limited and followed to the end from the command line', async () => {
  const data = path.join(tempDir(), 'data')
  mkdirSync(data)
  const { url } = await serve((request, reply) => {
    if (request.url === '/page.bin') return void reply.writeHead(200, { 'content-type': 'text/html' }).end('<p>log in')
    if (request.url !== '/a.bin') return void reply.writeHead(404).end('no such file')
    reply.writeHead(200, { 'content-length': bytes.length }).end(bytes)
  })
  const database = openDatabase(path.join(data, 'nightshift.db'))
  const service = new Downloads({
    database,
    clock: turnableClock(),
    settings: new KeptSettings(database),
    dispatcher: () => {
      throw new Error('it is not started')
    },
    sourcesOf: async () => ({ sources: [], sizeBytes: null, sha256: null, gitSha1: null }),
  })
  const at = (name: string) => path.join(data, name)
  const wanted = (name: string) =>
    service.add({ name, kind: 'file', to: at(name), sources: [{ hub: 'url', url: `${url}/${name}` }] }).id
  const page = wanted('page.bin')
  const [a, b, c] = [wanted('a.bin'), wanted('b.bin'), wanted('c.bin')]
  database.close()

  // in this process: each of its own would take longer than all of them together
  const run = async (...args: string[]) => {
    let text = ''
    const heard = vi.spyOn(process.stdout, 'write').mockImplementation((chunk) => {
      text += String(chunk)
      return true
    })
    const code = await runCli(['--data', data, '--json', 'downloads', ...args], { LANG: 'en_US.UTF-8' }).finally(() =>
      heard.mockRestore(),
    )
    const events = text.split('\n').filter(Boolean).map(parseJson).filter(isJsonObject)
    return { code, events, ended: events.at(-1)?.ok }
  }
  // what fails and is tried again by itself says so meanwhile
  const halted = vi.spyOn(Terminal.prototype, 'event').mockImplementation((event) => {
    if (event === 'retry') process.emit('SIGINT')
  })
  expect((await run('follow', page)).code).toBe(130)
  expect(halted.mock.calls.find(([event]) => event === 'retry')?.[1]).toMatchObject({
    id: page,
    code: 'download.unreachable',
    message: expect.stringContaining('it sent a page (text/html)'),
  })
  halted.mockRestore()
  await run('cancel', page)
  await run('clear', page)

  const rows = async (...args: string[]) =>
    (await run('list', ...args)).events.flatMap(({ event, id, state }) => (event === 'download' ? [[id, state]] : []))

  expect(await rows()).toEqual([
    [a, 'waiting'],
    [b, 'waiting'],
    [c, 'waiting'],
  ])
  expect((await run('move', c, '0')).events[0]).toEqual({ event: 'changed', changed: 1 })
  expect((await run('pause', b)).events[0]).toEqual({ event: 'changed', changed: 1 })
  expect(await rows()).toEqual([
    [c, 'waiting'],
    [a, 'waiting'],
    [b, 'paused'],
  ])
  expect((await run('cancel', c)).code).toBe(0)
  expect(await rows('--all')).toContainEqual([c, 'cancelled'])
  expect((await run('clear', 'all')).events[0]).toEqual({ event: 'changed', changed: 1 })

  await run('hold')
  expect((await run('list')).events.find(({ event }) => event === 'downloads')).toMatchObject({ held: true })
  await run('release')
  expect((await run('limit', '20M')).events[0]).toEqual({ event: 'limited', bytesPerSecond: 20 * 1024 ** 2 })
  expect((await run('limit', 'fast')).code).toBe(2)
  expect((await run('limit', 'none', '--per-host')).events[0]).toEqual({
    event: 'limited',
    bytesPerSecondPerHost: null,
  })
  expect((await run('schedule', a, '--from', '22:00')).code).toBe(2)
  await run('schedule', b, '--from', '22:00', '--until', '06:00')
  expect((await run('show', b)).events[0]).toMatchObject({ startAt: '22:00', stopAt: '06:00', state: 'paused' })
  expect((await run('show', 'f999')).events[0]).toMatchObject({ event: 'error', code: 'app.not-found' })
  expect((await run('pause', 'b1')).code).toBe(2)

  const followed = await run('follow')
  expect([followed.code, followed.ended]).toEqual([0, true])
  expect(followed.events[0]).toMatchObject({ event: 'download', id: a, state: 'done', to: at('a.bin') })
  expect(readFileSync(at('a.bin'))).toEqual(bytes)
})
