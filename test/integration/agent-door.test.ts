import { createHash, randomUUID } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import sharp from 'sharp'
import { describe, expect, onTestFinished, test } from 'vitest'
import { keyIdOf, signatureOf } from '../../core/gateway/callers.ts'
import { anAgent, asking, aWorkflow, KEY } from '../kit/agent-kit.ts'
import { eventually } from '../kit/eventually.ts'
import { tempDir } from '../kit/temp-dir.ts'

const background = { 'x-fc-invocation-type': 'Async' }
const sha256 = (bytes: string | Uint8Array) => createHash('sha256').update(bytes).digest('hex')

/** The headers of a request that is signed and not accompanied by its key. */
function signing(
  key: string,
  method: string,
  url: string,
  body = '',
  { nonce = String(randomUUID()), ageSeconds = 0 } = {},
) {
  const timestamp = String(Math.floor(Date.now() / 1000) - ageSeconds)
  const bodySha256 = sha256(body)
  return {
    'x-key-id': keyIdOf(key),
    'x-timestamp': timestamp,
    'x-nonce': nonce,
    'x-content-sha256': bodySha256,
    'x-signature': signatureOf(key, { method, url, timestamp, nonce, bodySha256 }),
  }
}

describe('keys', () => {
  test('one that is over or opens something else is refused; so is one that asks too often, with when to come again', async () => {
    const keys = [KEY, 'old expires=2020-01-01', 'pub publish', 'slow run rate=1']
    const { ask } = await anAgent({ keys })
    expect((await ask('/api/tasks', { key: 'old' })).status).toBe(401)
    expect((await ask('/api/tasks', { key: 'pub' })).json()).toMatchObject({ code: 'agent.refused' })
    for (const way of ['/v1/releases', '/v1/packs/x', '/v1/models/x', '/v1/snapshots', '/v1/log', '/pre-stop'])
      expect((await ask(way, { key: 'slow', method: 'POST' })).status, way).toBe(403)
    expect((await ask('/v1/releases', { key: 'pub' })).status).toBe(200)
    const send = (id: string) => ask('/api/run', { key: 'slow', body: aWorkflow(1), headers: { 'task-id': id } })
    const since = Date.now()
    expect((await send('a')).status).toBe(200)
    const late = await send('b')
    expect([late.status, late.json().code]).toEqual([429, 'agent.too-many'])
    const next = Number(late.headers.get('retry-after'))
    expect(next).toBeLessThanOrEqual(60)
    expect(next).toBeGreaterThanOrEqual(60 - Math.ceil((Date.now() - since) / 1000))
    expect((await ask('/api/status?id=a', { key: 'slow' })).status).toBe(200) // asking is not sending
  })

  test('whoever guesses keys is made to wait; the right key still opens', async () => {
    const { ask } = await anAgent()
    const tries = await Promise.all(Array.from({ length: 30 }, (_, at) => ask('/api/tasks', { key: `guess${at}` })))
    expect(new Set(tries.map(({ status }) => status))).toEqual(new Set([401, 429]))
    expect((await ask('/api/tasks')).status).toBe(200)
  })
})

describe('signed requests', () => {
  test('need no key beside them, count once on all agents of the store, and not when old, changed or made up', async () => {
    const store = path.join(tempDir(), 'tasks')
    const { agent, start, logged } = await anAgent({ store })
    const other = await start()
    onTestFinished(() => other.stop(0))
    const [here, there] = [asking(agent), asking(other)]
    const body = JSON.stringify(aWorkflow(1))
    const headers = signing(KEY, 'POST', '/api/run', body)
    expect((await here('/api/run', { key: '', body, headers })).status).toBe(200)
    const again = await here('/api/run', { key: '', body, headers })
    expect([again.status, again.json().error.message]).toEqual([403, expect.stringContaining('used already')])
    expect((await there('/api/run', { key: '', body, headers })).status).toBe(403)
    const fresh = signing(KEY, 'POST', '/api/run', body)
    const changed = await here('/api/run', { key: '', body: body.replace('64', '65'), headers: fresh })
    expect([changed.status, changed.json().error.message]).toEqual([403, expect.stringContaining('not the one')])
    const old = signing(KEY, 'GET', '/api/tasks', '', { ageSeconds: 400 })
    expect((await here('/api/tasks', { key: '', headers: old })).status).toBe(403)
    const other404 = { ...signing('sk_other', 'GET', '/api/tasks'), 'x-key-id': keyIdOf('sk_other') }
    expect((await here('/api/tasks', { key: '', headers: other404 })).status).toBe(401)
    const idOnly = { 'x-key-id': keyIdOf(KEY) }
    expect((await here('/api/tasks', { key: '', headers: idOnly })).status).toBe(401)
    // beside its key a signature counts too
    expect((await here('/api/tasks', { headers: signing('sk_other', 'GET', '/api/tasks') })).status).toBe(403)
    expect((await here('/api/tasks', { headers: signing(KEY, 'GET', '/api/tasks') })).status).toBe(200)
    expect(JSON.stringify(logged)).not.toContain(KEY)
  })
})

test('what is secret is neither logged, told nor kept', async () => {
  const store = tempDir()
  const secret = (name: string) => `${name}-${randomUUID()}`
  const [key, wrong, password, hook] = ['key', 'wrong', 'password', 'hook'].map(secret) as [
    string,
    string,
    string,
    string,
  ]
  const nonce = secret('nonce')
  const { agent, ask, logged } = await anAgent({ store, keys: [`${key} run,publish`] })
  const told: string[] = []
  const tell = async (way: string, asked: Parameters<typeof ask>[1] = {}) => {
    const { text, headers } = await ask(way, { key, ...asked })
    told.push(text, JSON.stringify([...headers]))
  }
  await tell('/api/run', { body: aWorkflow(1), headers: { 'task-id': 'plain' } })
  await tell('/api/tasks', { key: wrong })
  await tell(`/api/tasks?key=${wrong}`, { key: '' })
  await tell('/api/tasks', { key: '', headers: signing(key, 'GET', '/api/tasks', '', { nonce }) })
  await tell('/api/tasks', { key: '', headers: signing(key, 'GET', '/api/tasks', '', { nonce }) })
  const picture = `http://user:${password}@127.0.0.1:1/x.png`
  const workflow = { 1: { class_type: 'LoadImage', inputs: { image: picture } }, 2: aWorkflow(1)[9] }
  await tell('/api/run', { body: workflow, headers: { 'task-id': 'by-address' } })
  await tell('/api/run', { body: aWorkflow(2), headers: { webhook: `http://127.0.0.1:1/${hook}` } })
  for (const way of [
    '/api/status?id=by-address',
    '/api/result?id=by-address',
    '/api/tasks',
    '/metrics',
    '/api/snapshot',
  ])
    await tell(way)
  await agent.stop(0)
  const secrets = { key, wrong, password, hook, nonce }
  const without = (text: string) => Object.entries(secrets).filter(([, value]) => text.includes(value))
  expect(without(JSON.stringify(logged))).toEqual([])
  expect(without(told.join('\n'))).toEqual([])
  // the workflow itself, for whoever takes it over, and where to call back: what was asked for
  const kept = readdirSync(store, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name !== 'file-workflow' && !entry.parentPath.includes('hooks'))
    .map(({ parentPath, name }) => readFileSync(path.join(parentPath, name), 'latin1') + name)
  expect(kept.length).toBeGreaterThan(5)
  expect(without(kept.join('\n'))).toEqual([])
})

describe('files sent ahead', () => {
  test('are checked, kept once, and put before any node on any agent of the store', async () => {
    const store = path.join(tempDir(), 'tasks')
    const { agent, start } = await anAgent({ store })
    const other = await start()
    onTestFinished(() => other.stop(0))
    const [here, there] = [asking(agent), asking(other)]
    const picture = await sharp({ create: { width: 40, height: 24, channels: 3, background: '#3a6' } })
      .png()
      .toBuffer()
    const name = `${sha256(picture)}.png`
    const put = (bytes: Uint8Array, called = name) => here(`/api/inputs/${called}`, { method: 'PUT', body: bytes })
    expect((await here(`/api/inputs/${name}`)).status).toBe(404)
    const damaged = await put(picture.subarray(1))
    expect([damaged.status, damaged.json().code]).toEqual([422, 'agent.bad-file'])
    expect((await there(`/api/inputs/${name}`, { method: 'HEAD' })).status).toBe(404)
    const kept = await put(picture)
    expect([kept.status, kept.json()]).toEqual([201, { name, value: `store:${name}` }])
    expect((await put(picture)).status).toBe(200)
    expect((await there(`/api/inputs/${name}`, { method: 'HEAD' })).status).toBe(200)
    const workflow = (image: string) => ({
      1: { class_type: 'LoadImage', inputs: { image } },
      2: { class_type: 'SaveImage', inputs: { filename_prefix: 'x', images: ['1', 0] } },
    })
    const map = (await there('/api/run', { body: workflow(`store:${name}`) })).json()
    const meta = await sharp(Buffer.from(map[2].results[0], 'base64')).metadata()
    expect([meta.width, meta.height]).toEqual([40, 24])
    const missing = await there('/api/run', { body: workflow(`store:${'0'.repeat(64)}.png`) })
    expect([missing.status, missing.json().code]).toEqual([422, 'agent.bad-input'])
    for (const called of ['..%2f..%2fx', 'x.png', `${sha256('x')}.p/g`, `${sha256('x').toUpperCase()}.png`])
      expect((await put(picture, called)).status).toBe(400)
  })
})

describe('what is told of tasks', () => {
  test('a status that waits is answered when something moves, and when the time is over', async () => {
    const { ask, comfyui } = await anAgent({}, ['hold'])
    await ask('/api/run', { body: aWorkflow(1), headers: { ...background, 'task-id': 'held' } })
    await comfyui.held()
    await eventually(async () => (await ask('/api/status?id=held')).json()[''].state === 'running')
    // once nothing moves any more
    const still = await eventually(async () => {
      const began = performance.now()
      const map = (await ask('/api/status?id=held&wait=1')).json()
      return performance.now() - began > 900 && map
    })
    expect(still[''].state).toBe('running')
    const end = eventually(async () => {
      const map = (await ask('/api/status?id=held&wait=60')).json()
      return map[''].state === 'succeeded' && map
    })
    comfyui.release()
    expect((await end)[9].urls).toHaveLength(1)
    expect((await ask('/api/status?id=held&wait=60')).json()[''].state).toBe('succeeded') // at once
  })

  test('each key sees the tasks that came with it, one that may publish all; by state and number', async () => {
    const { ask, comfyui } = await anAgent({ keys: [`${KEY} run,publish`, 'one run', 'two run'] })
    const send = (key: string, id: string) =>
      ask('/api/run', { key, body: aWorkflow(id.charCodeAt(0)), headers: { 'task-id': id } })
    await send('one', 'a')
    comfyui.onNext('error')
    await send('two', 'b')
    const seen = async (key: string, search = '') =>
      (await ask(`/api/tasks${search}`, { key }))
        .json()
        .rows.map(({ id, state }: Record<string, string>) => [id, state])
    expect(await seen('one')).toEqual([['a', 'succeeded']])
    expect(await seen('two')).toEqual([['b', 'failed']])
    expect((await seen(KEY)).toSorted()).toEqual([
      ['a', 'succeeded'],
      ['b', 'failed'],
    ])
    expect(await seen(KEY, '?state=failed')).toEqual([['b', 'failed']])
    expect(await seen(KEY, '?limit=1')).toHaveLength(1)
    expect((await ask('/api/tasks?state=lost')).status).toBe(400)
  })

  test('a task is nothing to another key that may only run, whatever it asks of it', async () => {
    const { ask, comfyui } = await anAgent({ keys: [`${KEY} run,publish`, 'one run', 'two run'] }, ['hold'])
    const headers = { 'task-id': 'a', prefer: 'respond-async' }
    await ask('/api/run', { key: 'one', body: aWorkflow(1), headers })
    await comfyui.held()
    const asked = async (key: string) => [
      (await ask('/api/status?id=a', { key })).status,
      (await ask('/api/result?id=a', { key })).status,
      (await ask('/api/run', { key, body: aWorkflow(1), headers })).status,
    ]
    expect(await asked('two')).toEqual([404, 404, 409])
    expect((await ask('/api/cancel?id=a', { key: 'two', method: 'POST' })).json().code).toBe('agent.no-task')
    expect(await asked('one')).toEqual([200, 202, 202])
    expect(await asked(KEY)).toEqual([200, 202, 202])
    comfyui.release()
    await eventually(async () => (await ask('/api/status?id=a', { key: 'one' })).json()[''].state === 'succeeded')
    const linked = await ask('/api/result?id=a&results=links', { key: 'one' })
    expect((await fetch(linked.json()[9].urls[0])).status).toBe(200)
    expect((await ask('/api/result?id=a&node=9', { key: 'two' })).status).toBe(404)
  })

  test('metrics count what ran, and are not for everybody', async () => {
    const { ask } = await anAgent({}, ['error'])
    await ask('/api/run', { body: aWorkflow(1) })
    await ask('/api/run', { body: aWorkflow(2) })
    const { text, headers } = await ask('/metrics')
    expect(headers.get('content-type')).toContain('version=0.0.4')
    expect(text).toContain('nightshift_ready 1\n')
    expect(text).toContain('nightshift_tasks_total{state="succeeded"} 1\n')
    expect(text).toContain('nightshift_tasks_total{state="failed"} 1\n')
    expect(text).toContain('nightshift_task_seconds_bucket{le="+Inf"} 1\n')
    expect(text).toContain('nightshift_requests_total{status="500"} 1\n')
    expect(text).toMatch(/nightshift_vram_bytes\{comfyui="0",device="[^"]+"\} \d+\n/)
    expect((await ask('/metrics', { key: '' })).status).toBe(401)
  })

  test('a workflow as ComfyUI’s own POST has it runs as it is, its texts in the pictures', async () => {
    const { ask, comfyui } = await anAgent()
    const body = { prompt: aWorkflow(1), extra_data: { extra_pnginfo: { workflow: { 图: 1 } } } }
    const map = (await ask('/api/run', { body, headers: { 'task-id': 'wrapped' } })).json()
    const png = Buffer.from(map[9].results[0], 'base64').toString('latin1')
    expect(png).toContain('workflow')
    expect(png).toMatch(/"task": ?"wrapped"/)
    expect((await ask('/api/run', { body: aWorkflow(1), headers: { 'task-id': 'wrapped' } })).status).toBe(409)
    expect(comfyui.submissions).toBe(1)
  })
})

describe('as a function', () => {
  test('an event is a workflow, or a request', async () => {
    const { ask } = await anAgent()
    const map = (await ask('/invoke', { body: aWorkflow(1), headers: { 'x-fc-async-task-id': 'by-event' } })).json()
    expect(map['']).toMatchObject({ state: 'succeeded', task_id: 'by-event' })
    const event = { path: '/api/status?id=by-event', method: 'GET' }
    expect((await ask('/invoke', { body: event })).json()['']).toMatchObject({ state: 'succeeded' })
    const run = {
      path: '/api/run',
      method: 'POST',
      headers: { 'Task-Id': 'inner' },
      body: JSON.stringify(aWorkflow(2)),
    }
    expect((await ask('/invoke', { body: run })).json()[''].task_id).toBe('inner')
    for (const way of ['/v1/releases', '/invoke', '/free', '/../x', '/api/%2e%2e/x'])
      expect((await ask('/invoke', { body: { path: way, method: 'POST' } })).status, way).toBe(403)
    expect((await ask('/invoke', { body: '{' })).status).toBe(400)
  })

  test('it is initialised once ComfyUI answers; before it is stopped what runs ends, and nothing more is taken', async () => {
    const { ask, comfyui } = await anAgent({}, ['hold'])
    expect((await ask('/initialize', { method: 'POST' })).json()).toEqual({ ok: true })
    const run = ask('/api/run', { body: aWorkflow(1) })
    await comfyui.held()
    const stop = ask('/pre-stop', { method: 'POST' })
    await eventually(async () => (await ask('/readyz')).status === 503)
    expect((await ask('/api/run', { body: aWorkflow(2) })).json().code).toBe('agent.stopping')
    comfyui.release()
    expect([(await run).status, (await stop).status]).toEqual([200, 200])
  })

  test('the platform calls without a key only where it runs the agent; nobody else does', async () => {
    const control = (way: string) => ({ method: 'POST', key: '', headers: { 'x-fc-control-path': way } })
    const { ask } = await anAgent()
    expect((await ask('/initialize', control('/initialize'))).status).toBe(401)
    const { ask: managed } = await anAgent({ managed: true, keys: [`${KEY} run`] })
    expect((await managed('/initialize', control('/initialize'))).status).toBe(200)
    const task = (await managed('/invoke', { ...control('/invoke'), body: aWorkflow(1) })).headers.get('task-id')
    expect((await managed(`/api/status?id=${task}`)).status).toBe(200) // the platform sends for all
    expect((await managed('/pre-stop', control('/http-invoke'))).status).toBe(401)
    expect((await managed('/initialize', { ...control('/initialize'), method: 'GET' })).status).toBe(401)
    expect((await managed('/api/tasks', control('/api/tasks'))).status).toBe(401)
    expect((await managed('/pre-stop', { ...control('/pre-stop'), method: 'GET' })).json()).toEqual({ ok: true })
  })
})
