import { randomUUID } from 'node:crypto'
import { connect } from 'node:net'
import { request } from 'undici'
import { describe, expect, onTestFinished, test } from 'vitest'
import { WebSocket } from 'ws'
import { readAddress } from '../../core/engine/comfy/address.ts'
import { RehearsalServer } from '../../core/engine/rehearsal/server.ts'
import { ShareDoor } from '../../core/gateway/share.ts'
import { comfyFolder } from '../kit/comfy-folder.ts'
import { eventually } from '../kit/eventually.ts'
import { startApp } from '../kit/start-app.ts'
import { tempDir } from '../kit/temp-dir.ts'

const tokens: Record<string, string> = { 'key-of-ann': 'ann', 'key-of-bob': 'bob' }

/** One ComfyUI shared to Ann and Bob. */
async function aDoor({ names = [] as string[], now = Date.now, mostAtOnce = 2_000 } = {}) {
  const comfyui = new RehearsalServer({ dir: tempDir(), stepMs: 0, assumeModels: true })
  await comfyui.start()
  const logged: object[] = []
  const door = new ShareDoor({
    host: '127.0.0.1',
    port: 0,
    names,
    places: () => [
      { id: '卡 0', device: 'NVIDIA', address: readAddress(comfyui.url) },
      { id: 'off', device: null, address: null },
    ],
    enter: (token) => (tokens[token] ? { id: tokens[token] } : null),
    now,
    mostAtOnce,
    log: (event, facts) => logged.push({ event, ...facts }),
  })
  await door.start()
  onTestFinished(async () => {
    await door.stop()
    await comfyui.stop()
  })
  const base = `${door.url}gpu/${encodeURIComponent('卡 0')}/`
  const ask = async (
    path: string,
    { key = 'key-of-ann', method = 'GET', body = undefined as unknown, headers = {} } = {},
  ) => {
    const reply = await request(path.startsWith('http') ? path : base + path, {
      method: method as 'GET',
      headers: { ...(key && { authorization: `Bearer ${key}` }), ...headers },
      body: body === undefined ? undefined : JSON.stringify(body),
    })
    const text = await reply.body.text()
    return { status: reply.statusCode, text, json: () => JSON.parse(text), headers: reply.headers }
  }
  return { door, base, ask, comfyui, logged }
}

/** The bytes of a request as they are, whatever a client would make of them. */
async function raw(url: string, line: string, key = 'key-of-ann') {
  const { hostname, port, host } = new URL(url)
  const socket = connect(Number(port), hostname)
  socket.write(`${line} HTTP/1.1\r\nHost: ${host}\r\nAuthorization: Bearer ${key}\r\nConnection: close\r\n\r\n`)
  let said = ''
  for await (const chunk of socket) said += chunk
  return Number(said.split(' ')[1])
}

const upgrade = (url: string, headers: Record<string, string> = {}) =>
  new Promise<number>((resolve) => {
    const socket = new WebSocket(url.replace('http', 'ws'), { headers })
    socket.on('open', () => {
      socket.close()
      resolve(101)
    })
    socket.on('unexpected-response', (_request, response) => resolve(response.statusCode ?? 0))
    socket.on('error', () => resolve(0))
  })

describe('who comes', () => {
  test('without a key, with a wrong one, or by another name, nobody enters; and nobody’s key is logged', async () => {
    const { door, ask, logged } = await aDoor()
    expect((await ask('system_stats')).status).toBe(200)
    expect((await ask('system_stats', { key: '' })).status).toBe(401)
    expect((await ask('system_stats', { key: 'key-of-eve' })).status).toBe(401)
    expect((await ask('system_stats', { headers: { authorization: 'Basic a2V5LW9mLWFubg==' }, key: '' })).status).toBe(
      401,
    )
    expect((await ask(door.url, { key: '' })).status).toBe(401)
    expect((await ask('system_stats', { headers: { host: 'evil.test' } })).status).toBe(403)
    expect((await ask('system_stats', { headers: { origin: door.url.slice(0, -1) } })).status).toBe(403)
    expect((await ask('system_stats', { headers: { 'sec-fetch-site': 'cross-site' } })).status).toBe(403)
    expect((await ask('system_stats?token=key-of-ann', { key: '' })).status).toBe(401)
    expect(JSON.stringify(logged)).not.toMatch(/key-of-/)
  })

  test('a name of one’s own for this machine is let in', async () => {
    const { ask } = await aDoor({ names: ['gpu.example'] })
    expect((await ask('system_stats', { headers: { host: 'gpu.example' } })).status).toBe(200)
  })

  test('the socket asks for a key, too, and is the only one', async () => {
    const { base } = await aDoor()
    const ann = { authorization: 'Bearer key-of-ann' }
    expect(await upgrade(`${base}ws?clientId=x`, ann)).toBe(101)
    expect(await upgrade(`${base}ws`)).toBe(401)
    expect(await upgrade(`${base}ws`, { authorization: 'Bearer key-of-eve' })).toBe(401)
    expect(await upgrade(`${base}ws`, { ...ann, origin: 'http://evil.test' })).toBe(403)
    expect(await upgrade(`${base}ws`, { ...ann, host: 'evil.test' })).toBe(403)
    expect(await upgrade(`${base}pack/ws`, ann)).toBe(403)
    expect(await upgrade(`${base}../ws`, ann)).toBe(404)
    expect(await upgrade(`${new URL(base).origin}/events`, ann)).toBe(404)
  })

  test('whoever guesses is told to wait; the others are not held up by it', async () => {
    const { ask } = await aDoor({ now: () => 0 })
    const guesses = await Promise.all(Array.from({ length: 30 }, (_, at) => ask('prompt', { key: `guess-${at}` })))
    expect(guesses.map(({ status }) => status).toSorted()).toEqual([...Array(20).fill(401), ...Array(10).fill(429)])
    expect((await ask('prompt')).status).toBe(200)
  })

  test('one key that asks without end is told to wait; another is not', async () => {
    const { ask } = await aDoor({ now: () => 0, mostAtOnce: 20 })
    const statuses: number[] = []
    for (let at = 0; at < 21; at++) statuses.push((await ask('features')).status)
    expect(statuses.filter((status) => status === 429)).toHaveLength(1)
    expect((await ask('features', { key: 'key-of-bob' })).status).toBe(200)
  })

  test('a socket is closed when its key is revoked', async () => {
    const { base, door } = await aDoor()
    const socket = new WebSocket(`${base}ws?clientId=a`.replace('http', 'ws'), {
      headers: { authorization: 'Bearer key-of-ann' },
    })
    await new Promise((open) => socket.once('message', open))
    const closed = new Promise((close) => socket.once('close', close))
    door.drop('ann')
    await closed
  })
})

test('of a ComfyUI’s routes those that another Nightshift needs are shared; no path leads to another', async () => {
  const { door } = await aDoor()
  const statusOf = async (line: string) => [line, await raw(door.url, line.replace('gpu/gpu', 'gpu/%E5%8D%A1%200'))]
  for (const path of [
    'system_stats',
    'api/system_stats',
    'prompt',
    'queue',
    'object_info',
    'object_info/KSampler',
    'models',
  ])
    expect(await statusOf(`GET /gpu/gpu/${path}`)).toEqual([`GET /gpu/gpu/${path}`, 200])
  for (const line of NOT_SHARED) expect([403, 404]).toContain((await statusOf(line))[1])
})
const NOT_SHARED = [
  'GET /gpu/gpu/',
  'GET /gpu/gpu/../../',
  'GET /gpu/gpu/userdata',
  'GET /gpu/gpu/settings',
  'GET /gpu/gpu/internal/logs',
  'GET /gpu/gpu/internal/folder_paths',
  'GET /gpu/gpu/history',
  'GET /gpu/gpu/extensions/pack/x.js',
  'GET /gpu/gpu/manager/queue/start',
  'GET /gpu/gpu/customnode/installed',
  'GET /gpu/gpu/experiment/models',
  'GET /gpu/gpu/models/../userdata',
  'GET /gpu/gpu/models/..%2Fuserdata',
  'GET /gpu/gpu/models/%2e%2e/userdata',
  'GET /gpu/gpu/models//etc/passwd',
  'GET /gpu/gpu/models\\..\\userdata',
  'GET /gpu/gpu/object_info/../../settings',
  'GET /gpu/gpu/api/api/queue',
  'GET /gpu/gpu//queue',
  'GET /gpu/gpu/./queue',
  'GET /gpu/gpu/queue/',
  'GET /gpu/gpu/queue%00',
  'GET /gpu/gpu%2Fqueue',
  'GET /gpu/%2e%2e/queue',
  'GET /gpu/other/queue',
  'GET //evil.test/gpu/gpu/queue',
  'GET http://evil.test/gpu/gpu/queue',
  'POST /gpu/gpu/free',
  'POST /gpu/gpu/history',
  'POST /gpu/gpu/upload/mask',
  'POST /gpu/gpu/system_stats',
  'DELETE /gpu/gpu/queue',
  'PUT /gpu/gpu/prompt',
  'OPTIONS /gpu/gpu/prompt',
]

test('the list says which there are; one that does not run says so; nothing tells of this machine’s folders', async () => {
  const { door, ask } = await aDoor()
  const list = await ask(door.url)
  expect(list.json()).toEqual({
    nightshift: 'shared',
    places: [
      { id: '卡 0', device: 'NVIDIA' },
      { id: 'off', device: null },
    ],
  })
  expect((await ask(`${door.url}gpu/off/system_stats`)).status).toBe(503)
  expect((await ask('system_stats')).json().system).not.toHaveProperty('argv')
})

test('what came with one key is neither seen nor ended with another', async () => {
  const { ask, comfyui } = await aDoor()
  comfyui.onNext('hold')
  const submit = async (key: string, more = {}) => {
    const id = randomUUID()
    const reply = await ask('prompt', {
      key,
      method: 'POST',
      body: { prompt: sketch(id), prompt_id: id, client_id: key, ...more },
    })
    return { id, reply }
  }
  const ann = await submit('key-of-ann')
  const bob = await submit('key-of-bob')
  expect([ann.reply.status, bob.reply.status]).toEqual([200, 200])
  const idsFor = async (key: string) => {
    const { queue_running, queue_pending } = (await ask('queue', { key })).json()
    return [...queue_running, ...queue_pending].map(([, id]: string[]) => id)
  }
  expect((await idsFor('key-of-ann')).filter(Boolean)).toEqual([ann.id])
  expect(await idsFor('key-of-bob')).toHaveLength(2)
  // not even its number: somebody else's prompt cannot be taken for one's own
  expect((await ask('prompt', { method: 'POST', body: { prompt: {}, prompt_id: bob.id } })).status).toBe(400)
  expect((await submit('key-of-ann', { front: true })).reply.status).toBe(403)
  const end = (path: string, body: object) => ask(path, { method: 'POST', body })
  expect((await end('interrupt', {})).status).toBe(403)
  expect((await end('interrupt', { prompt_id: bob.id })).status).toBe(403)
  expect((await end('queue', { clear: true })).status).toBe(403)
  expect((await end('queue', { delete: [bob.id] })).status).toBe(200)
  expect((await end(`api/jobs/${bob.id}/cancel`, {})).json()).toEqual({ cancelled: false })
  comfyui.release()
  expect((await ask(`history/${bob.id}`)).json()).toEqual({})
  const entry = await eventually(async () => (await ask(`history/${bob.id}`, { key: 'key-of-bob' })).json()[bob.id])
  expect(entry.status.status_str).toBe('success')
  const [file] = (Object.values(entry.outputs) as { images: Record<string, string>[] }[])[0]!.images
  const view = `view?${new URLSearchParams(file)}`
  expect((await ask(view, { key: 'key-of-bob' })).status).toBe(200)
  expect((await ask(view)).status).toBe(404)
  expect(comfyui.submissions).toBe(2)
})

/** Takes a while. */
const sketch = (prefix: string) => ({
  '1': { class_type: 'CheckpointLoaderSimple', inputs: { ckpt_name: 'any.safetensors' } },
  '2': { class_type: 'CLIPTextEncode', inputs: { text: 'night', clip: ['1', 1] } },
  '3': { class_type: 'EmptyLatentImage', inputs: { width: 64, height: 64, batch_size: 1 } },
  '4': {
    class_type: 'KSampler',
    inputs: {
      seed: 1,
      steps: 3,
      cfg: 1,
      sampler_name: 'euler',
      scheduler: 'normal',
      denoise: 1,
      model: ['1', 0],
      positive: ['2', 0],
      negative: ['2', 0],
      latent_image: ['3', 0],
    },
  },
  '5': { class_type: 'VAEDecode', inputs: { samples: ['4', 0], vae: ['1', 2] } },
  '6': { class_type: 'SaveImage', inputs: { filename_prefix: prefix, images: ['5', 0] } },
})

test('a whole batch through two Nightshifts: shared by key, added by its address, with an input; a revoked key ends it', async () => {
  const there = await startApp()
  await there.client.call('engine.adopt', comfyFolder())
  await there.client.call('engine.start', { name: 'local' })
  await eventually(async () => (await there.client.call('share.state', {})).places[0]?.ready)
  await there.client.call('settings.set', { share: { on: true, host: '127.0.0.1', port: 0, names: [] } })
  const share = await there.client.call('share.state', {})
  expect(share).toMatchObject({ on: true, given: false, failure: null, places: [{ id: 'local', ready: true }] })
  const { key, token } = await there.client.call('key.make', { name: 'here', scopes: ['comfyui'] })

  const here = await startApp()
  await expect(here.client.call('worker.test', { url: share.url! })).rejects.toMatchObject({
    failure: { code: 'worker.unauthorised' },
  })
  const found = await here.client.call('worker.test', { url: share.url!, token })
  expect(found).toMatchObject({ is: 'shared', places: [{ id: 'local', url: `${share.url}gpu/local/` }] })
  const worker = await here.client.call('worker.add', { url: share.url!, token, name: 'far' })
  expect(worker).toMatchObject({ id: 'far', kind: 'remote', url: `${share.url}gpu/local/`, hasHeader: true })
  expect(JSON.stringify(worker)).not.toContain(token)

  const input = await here.client.call('input.add', { name: 'a.png', base64: PIXEL })
  const { batchId } = await here.submit(
    { workers: ['far'], axes: [{ parameter: '1.image', values: [input.ref, input.ref, input.ref, input.ref] }] },
    {
      '1': { class_type: 'LoadImage', inputs: { image: 'x.png' } },
      '2': { class_type: 'SaveImage', inputs: { filename_prefix: 'picture', images: ['1', 0] } },
    },
  )
  await here.ended(batchId)
  expect((await here.client.call('batch.get', { id: batchId })).counts).toMatchObject({ done: 4, failed: 0 })
  expect((await here.client.call('artifact.page', { batchId, limit: 1 })).total).toBe(4)
  const contents = await here.client.call('worker.contents', { id: 'far' })
  expect(contents).toMatchObject({ cachedAt: null, customNodes: [] })
  expect(contents.classes).toBeGreaterThan(20)

  await there.client.call('key.revoke', { id: key.id })
  await eventually(async () => {
    const { rows } = await here.client.call('worker.list', {})
    const { health } = rows.find(({ id }) => id === 'far')!
    return health.is === 'unreachable' && health.because.code === 'worker.unauthorised'
  })
})

test('sharing that cannot begin says why, and is tried again when it is changed; off, nothing listens', async () => {
  const app = await startApp()
  expect(await app.client.call('share.state', {})).toMatchObject({ on: false, url: null })
  const taken = new URL((await aDoor()).door.url).port
  const set = (more: object) =>
    app.client.call('settings.set', { share: { on: true, host: '127.0.0.1', port: Number(taken), names: [], ...more } })
  await set({})
  expect(await app.client.call('share.state', {})).toMatchObject({ url: null, failure: { code: 'app.port-in-use' } })
  await set({ port: 0 })
  const { url } = await app.client.call('share.state', {})
  expect((await request(url!)).statusCode).toBe(401)
  await set({ on: false })
  expect(await app.client.call('share.state', {})).toMatchObject({ url: null, failure: null })
  await expect(request(url!)).rejects.toThrow('ECONNREFUSED')
})

/** One red point, as PNG. */
const PIXEL = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=='
