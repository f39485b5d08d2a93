import { expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { asking, aWorkflow } from '../kit/agent-kit.ts'
import { eventually } from '../kit/eventually.ts'
import { startApp } from '../kit/start-app.ts'

const settings = { on: true, host: '127.0.0.1', port: 0, names: [], origins: [] }

async function open() {
  const app = await startApp({})
  const { client } = app
  await client.call('settings.set', { taskDoor: settings })
  const state = await eventually(async () => {
    const seen = await client.call('taskDoor.state', {})
    return seen.places.length > 0 && seen
  })
  const { key, token } = await client.call('key.make', { name: 'script', scopes: ['run'] })
  return { ...app, key, token, state, ask: asking({ url: state.url! }) }
}

test('the app takes workflows from other programs once it is switched on, by key, and runs them on what is ready here', async () => {
  const { client, state, ask, key, token } = await open()
  expect(state).toMatchObject({ on: true, given: false, failure: null, places: ['rehearsal'], running: 0 })
  const run = await ask('/api/run', { key: token, body: aWorkflow(7), headers: { 'task-id': 'mine' } })
  expect(run.json()[9].results).toHaveLength(1)
  expect((await ask('/api/tasks', { key: token })).json().rows).toMatchObject([{ id: 'mine', state: 'succeeded' }])
  const { url } = await client.call('taskDoor.state', {})
  await client.call('settings.set', { taskDoor: { ...settings, on: false } })
  expect((await client.call('taskDoor.state', {})).url).toBeNull()
  await expect(fetch(`${url}/healthz`)).rejects.toThrow()
  expect((await client.call('key.list', {})).rows).toMatchObject([{ id: key.id, usedAt: expect.any(Number) }])
})

test('of the ComfyUI behind it nothing is told but what its nodes are', async () => {
  const { ask, token, state } = await open()
  expect((await ask('/object_info/KSampler', { key: token })).status).toBe(200)
  for (const way of ['/history', '/queue', '/view?filename=x.png', '/prompt'])
    expect((await ask(way, { key: token })).status, way).toBe(403)
  expect((await ask('/prompt', { key: token, body: { prompt: aWorkflow(1) } })).status).toBe(403)
  const socket = new WebSocket(`${state.url!.replace('http', 'ws')}/ws?clientId=x`, { headers: { 'x-api-key': token } })
  await expect(
    new Promise((resolve, reject) => {
      socket.on('open', resolve)
      socket.on('error', reject)
    }),
  ).rejects.toThrow('403')
})

test('keys for other things, and those that are over or revoked, do not open it', async () => {
  const { client, ask, key, token } = await open()
  const status = async (by: string) => (await ask('/api/tasks', { key: by })).status
  const shared = await client.call('key.make', { name: 'other', scopes: ['comfyui'] })
  const over = await client.call('key.make', { name: 'over', scopes: ['run'], expiresAt: 1 })
  expect([await status(token), await status(shared.token), await status(over.token)]).toEqual([200, 401, 401])
  await client.call('key.revoke', { id: key.id })
  expect(await status(token)).toBe(401)
})

test('where nothing can run it says so, and answers when something can', async () => {
  const { client, ask, token } = await open()
  await client.call('worker.enable', { id: 'rehearsal', enabled: false })
  expect((await ask('/readyz')).json()).toEqual({ ok: false, phase: 'no-comfyui' })
  expect((await ask('/object_info', { key: token })).json().code).toBe('agent.not-ready')
  expect((await ask('/metrics', { key: token })).text).toContain('nightshift_ready 0\n')
  const run = ask('/api/run', { key: token, body: aWorkflow(1) })
  await client.call('worker.enable', { id: 'rehearsal', enabled: true })
  expect((await run).status).toBe(200)
})

test('what waited or ran as the app stopped is done after its next start', async () => {
  const { client, ask, token, dataDir, stop } = await open()
  const send = (id: string, steps: number) =>
    ask('/api/run', { key: token, body: aWorkflow(1, { steps }), headers: { 'task-id': id, prefer: 'respond-async' } })
  const stateOf = async (id: string, by = ask) => (await by(`/api/status?id=${id}`, { key: token })).json()[''].state
  await send('runs', 40)
  await eventually(async () => (await stateOf('runs')) === 'running')
  await client.call('worker.enable', { id: 'rehearsal', enabled: false })
  await send('waits', 1)
  expect(await stateOf('waits')).toBe('queued')
  await stop()

  const next = await startApp({ dataDir })
  await next.client.call('worker.enable', { id: 'rehearsal', enabled: true })
  const { url } = await next.client.call('taskDoor.state', {})
  const again = asking({ url: url! })
  for (const id of ['waits', 'runs']) await eventually(async () => (await stateOf(id, again)) === 'succeeded')
})
