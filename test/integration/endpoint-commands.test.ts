import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { expect, onTestFinished, test, vi } from 'vitest'
import { startAgent } from '../../agent/agent.ts'
import { runCli } from '../../main/cli/main.ts'
import { aPublishedDoor, published } from '../kit/published-kit.ts'
import { promptFile } from '../kit/start-app.ts'
import { tempDir } from '../kit/temp-dir.ts'

const KEY = 'sk_on_the_command_line'

/** One command line in this process, and what it printed. */
async function cli(dataDir: string, args: string[]) {
  const printed = { out: '', err: '' }
  const keep = (where: keyof typeof printed) => (text: string | Uint8Array) => {
    printed[where] += String(text)
    return true
  }
  const out = vi.spyOn(process.stdout, 'write').mockImplementation(keep('out'))
  const err = vi.spyOn(process.stderr, 'write').mockImplementation(keep('err'))
  try {
    const code = await runCli(['--data', dataDir, '--json', ...args], { LANG: 'en_US.UTF-8' })
    const events = printed.out
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    return { code, ...printed, first: (name: string) => events.find(({ event }) => event === name) }
  } finally {
    out.mockRestore()
    err.mockRestore()
  }
}

test('on the command line an endpoint is added by the file of its key, used, asked, changed and removed', async () => {
  const common = { host: '127.0.0.1', port: 0, names: [], origins: [], store: tempDir(), worker: 'rehearsal' }
  const agent = await startAgent({ ...common, keys: [KEY] })
  onTestFinished(() => agent.stop(0))
  const dir = tempDir()
  const [keyFile, workflow, data] = ['keys', 'picture.json', 'data'].map((name) => path.join(dir, name)) as [
    string,
    string,
    string,
  ]
  writeFileSync(keyFile, `${KEY} run,publish expires=2999-01-01\n`)
  writeFileSync(workflow, promptFile())

  expect((await cli(data, ['endpoint', 'list'])).code).toBe(0)
  const without = await cli(data, ['endpoint', 'add', agent.url])
  expect([without.code, without.first('error').code]).toEqual([4, 'endpoint.key-refused'])
  const add = ['endpoint', 'add', agent.url, '--name', 'night', '--api-key-file', keyFile, '--in-flight', '2']
  const added = await cli(data, add)
  expect(added.first('endpoint')).toMatchObject({ name: 'night', capacity: 2, hasKey: true, state: { is: 'ready' } })
  expect(added.out + added.err).not.toContain(KEY)

  const run = await cli(data, ['endpoint', 'invoke', 'night', workflow, '--out', path.join(dir, 'out')])
  expect([run.code, run.first('done')]).toMatchObject([0, { ok: true, done: 1 }])
  const status = await cli(data, ['endpoint', 'status', 'night'])
  expect([status.code, status.first('endpoint')]).toMatchObject([0, { pace: { warmRuns: 1 } }])
  const set = await cli(data, ['endpoint', 'set', 'night', '--checkpoint', 'a.safetensors'])
  expect(set.first('endpoint')).toMatchObject({ capacity: 2, checkpoints: ['a.safetensors'] })
  expect((await cli(data, ['endpoint', 'status', 'day'])).first('error').code).toBe('endpoint.unknown')
  expect((await cli(data, ['endpoint', 'invoke'])).code).toBe(2)
  expect((await cli(data, ['endpoint', 'remove', 'night'])).code).toBe(0)
  expect((await cli(data, ['endpoint', 'list'])).first('endpoint')).toBeUndefined()
})

test('the forms of what is live at an endpoint are told with their addresses, also to a key that may only run', async () => {
  const { url } = await aPublishedDoor([published(), published({ id: 'w-2', name: '第二个' })], undefined, [
    'sk_runs_only run',
  ])
  const dir = tempDir()
  writeFileSync(path.join(dir, 'keys'), 'sk_runs_only run\n')
  const added = ['endpoint', 'add', url, '--name', 'day', '--api-key-file', path.join(dir, 'keys')]
  expect((await cli(path.join(dir, 'data'), added)).code).toBe(0)
  const { code, out } = await cli(path.join(dir, 'data'), ['endpoint', 'status', 'day'])
  const forms = out.split('\n').filter((line) => line.includes('"event":"form"'))
  const rolledBack = await cli(path.join(dir, 'data'), ['endpoint', 'rollback', 'day'])
  expect(rolledBack.first('error').code).toBe('endpoint.may-not-publish')
  expect([code, forms.map((line) => JSON.parse(line))]).toMatchObject([
    0,
    [
      { endpoint: 'day', id: 'postcard', name: 'Postcard', url: `${url}/form/postcard` },
      { endpoint: 'day', id: 'w-2', name: '第二个', url: `${url}/form/w-2` },
    ],
  ])
})
