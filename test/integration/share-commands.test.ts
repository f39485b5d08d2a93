import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { expect, test, vi } from 'vitest'
import { runCli } from '../../main/cli/main.ts'
import { comfyFolder } from '../kit/comfy-folder.ts'
import { eventually } from '../kit/eventually.ts'
import { startApp } from '../kit/start-app.ts'
import { tempDir } from '../kit/temp-dir.ts'

/** One command line in this process, and what it printed. */
async function cli(dataDir: string, args: string[], env: NodeJS.ProcessEnv = {}) {
  const printed = { out: '', err: '' }
  const keep = (where: keyof typeof printed) => (text: string | Uint8Array) => {
    printed[where] += String(text)
    return true
  }
  const out = vi.spyOn(process.stdout, 'write').mockImplementation(keep('out'))
  const err = vi.spyOn(process.stderr, 'write').mockImplementation(keep('err'))
  try {
    const code = await runCli(['--data', dataDir, '--json', ...args], { ...env, LANG: 'en_US.UTF-8' })
    const events = printed.out
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    return { code, events, ...printed, first: (name: string) => events.find(({ event }) => event === name) }
  } finally {
    out.mockRestore()
    err.mockRestore()
  }
}

test('on the command line: shared for a run, a key made, added by its file, shown, and shut out', async () => {
  const there = await startApp({ share: { host: '127.0.0.1', port: 0 } })
  await there.client.call('engine.adopt', comfyFolder())
  await there.client.call('engine.start', { name: 'local' })
  await eventually(async () => (await there.client.call('share.state', {})).places[0]?.ready)
  const share = (await cli(there.dataDir, ['workers', 'share'])).first('share')
  expect(share).toMatchObject({ on: true, given: true, failure: null, places: [{ id: 'local', ready: true }] })
  const { token, id } = (await cli(there.dataDir, ['workers', 'keys', 'make', 'laptop'])).first('key')
  const listed = await cli(there.dataDir, ['workers', 'keys'])
  expect(listed.first('key')).toMatchObject({ id, name: 'laptop', revokedAt: null })
  expect(listed.out).not.toContain(token)

  const here = tempDir()
  const file = path.join(here, 'token')
  writeFileSync(file, `${token}\n`)
  expect((await cli(here, ['workers', 'add', share.url])).first('error').code).toBe('worker.unauthorised')
  const added = await cli(here, ['workers', 'add', share.url, '--token-file', file])
  expect(added.first('worker')).toMatchObject({ id: '127.0.0.1-local', hasHeader: true, health: { is: 'ready' } })
  expect(added.out + added.err).not.toContain(token)
  expect(readFileSync(path.join(here, 'nightshift.db')).includes(token)).toBe(false)
  expect((await cli(here, ['workers', 'show', '127.0.0.1-local'])).first('contents')).toMatchObject({ customNodes: [] })
  await cli(here, ['workers', 'remove', '127.0.0.1-local'])
  const byEnvironment = await cli(here, ['workers', 'add', share.url], { NIGHTSHIFT_TOKEN: token })
  expect(byEnvironment.code).toBe(0)
  await cli(here, ['workers', 'remove', '127.0.0.1-local'])
  const onArgv = await cli(here, ['workers', 'add', share.url, '--token', token])
  expect([onArgv.code, /can be seen by other programs/.test(onArgv.err)]).toEqual([0, true])

  expect((await cli(there.dataDir, ['workers', 'keys', 'revoke', 'laptop'])).code).toBe(0)
  expect((await cli(there.dataDir, ['workers', 'keys', 'revoke', 'laptop'])).code).toBe(2)
  const { code, events } = await cli(here, ['workers', 'status'])
  expect(code).toBe(1)
  expect(events.find((event) => event.id === '127.0.0.1-local').health.because.code).toBe('worker.unauthorised')
})

test('on the command line: sharing is kept for the next start, and what is no address or no ssh is refused', async () => {
  const dir = tempDir()
  expect((await cli(dir, ['workers', 'share', '127.0.0.1:8499'])).first('share')).toMatchObject({
    on: true,
    host: '127.0.0.1',
    port: 8499,
    url: null,
  })
  expect((await cli(dir, ['workers', 'share', 'off'])).first('share')).toMatchObject({ on: false, port: 8499 })
  for (const args of [
    ['share', 'x:y'],
    ['share', '1.2.3.4:99999'],
    ['keys', 'lose'],
    ['add', 'http://x', '--key', '/k'],
    ['add', 'ssh://a b'],
  ])
    expect([args, (await cli(dir, ['workers', ...args])).code]).toEqual([args, 2])
})

test('on the command line: workflows of other programs are taken where it is said, by keys for that, until they are over', async () => {
  const there = await startApp({ tasks: { host: '127.0.0.1', port: 0 } })
  await eventually(async () => (await there.client.call('taskDoor.state', {})).places.length > 0)
  const { url, places } = (await cli(there.dataDir, ['workers', 'tasks'])).first('tasks')
  expect(places).toEqual(['rehearsal'])
  const make = async (...more: string[]) =>
    (await cli(there.dataDir, ['workers', 'keys', 'make', 'n', ...more])).first('key')
  const key = await make('--for', 'tasks', '--days', '2')
  expect(key).toMatchObject({ scopes: ['run'] })
  expect(key.expiresAt - key.createdAt).toBeCloseTo(2 * 86_400_000, -6) // within minutes
  const ask = (token: string) => fetch(`${url}/api/tasks`, { headers: { authorization: `Bearer ${token}` } })
  expect((await ask(key.token)).status).toBe(200)
  expect((await ask((await make()).token)).status).toBe(401) // for shared ComfyUIs
  await cli(there.dataDir, ['workers', 'keys', 'revoke', key.id])
  expect((await ask(key.token)).status).toBe(401)
})

test('on the command line: where workflows are taken is kept for the next start, and pages may be let in', async () => {
  const dir = tempDir()
  const tasks = async (...args: string[]) => (await cli(dir, ['workers', 'tasks', ...args])).first('tasks')
  expect(await tasks('9911', '--origin', 'https://page.example')).toMatchObject({
    on: true,
    host: '127.0.0.1',
    port: 9911,
    origins: ['https://page.example'],
    url: null,
  })
  expect(await tasks('off')).toMatchObject({ on: false, port: 9911, origins: ['https://page.example'] })
  expect(await tasks('--origin=')).toMatchObject({ on: false, origins: [] })
  for (const args of [
    ['tasks', 'x:y'],
    ['keys', 'make', 'n', '--for', 'all'],
    ['keys', 'make', 'n', '--days', '0'],
  ])
    expect((await cli(dir, ['workers', ...args])).code, args.join(' ')).toBe(2)
})
