import { randomUUID } from 'node:crypto'
import type { RequestListener } from 'node:http'
import path from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { WorkerView } from '../../core/contract/worker.ts'
import { RehearsalServer } from '../../core/engine/rehearsal/server.ts'
import { systemClock } from '../../main/services/clock.ts'
import { type Database, openDatabase } from '../../main/services/database/open.ts'
import { EndpointWorker } from '../../main/services/workers/endpoint.ts'
import { Fleet } from '../../main/services/workers/fleet.ts'
import { anAgent, KEY } from '../kit/agent-kit.ts'
import { eventually } from '../kit/eventually.ts'
import { ownPort } from '../kit/own-port.ts'
import { serve } from '../kit/serve.ts'
import { tempDir } from '../kit/temp-dir.ts'

function aFolder() {
  const dataDir = tempDir()
  const database = openDatabase(path.join(dataDir, 'nightshift.db'))
  onTestFinished(() => void database.close())
  return { dataDir, database, secrets: new Map<string, string>() }
}
async function aFleet({
  dataDir,
  database,
  secrets,
}: {
  dataDir: string
  database: Database
  secrets: Map<string, string>
}) {
  const port = {
    get: (key: string) => secrets.get(key),
    set: (key: string, value: string) => void secrets.set(key, value),
    remove: (key: string) => void secrets.delete(key),
  }
  const fleet = new Fleet({
    database,
    dataDir,
    secrets: port,
    clock: systemClock,
    newId: randomUUID,
    rehearsal: { stepMs: 0 },
  })
  onTestFinished(() => fleet.stop())
  await fleet.start()
  return fleet
}
async function aComfyui() {
  const server = new RehearsalServer({ dir: tempDir(), stepMs: 0, port: await ownPort() })
  await server.start()
  onTestFinished(() => server.stop())
  return server
}
const aServer = async (listener: RequestListener) => (await serve(listener)).url

test('the rehearsal is always there and becomes ready by itself', async () => {
  const fleet = await aFleet(aFolder())
  await eventually(() => fleet.get('rehearsal')?.health.is === 'ready')
  expect(fleet.view()).toEqual([
    expect.objectContaining({
      id: 'rehearsal',
      kind: 'rehearsal',
      url: null,
      hasHeader: false,
      enabled: true,
      capacity: 2,
    }),
  ])
  await expect(fleet.remove('rehearsal')).rejects.toMatchObject({ code: 'app.bad-request' })
})

test('a worker added by host and port is ready at once, and there again after a restart', async () => {
  const folder = aFolder()
  const host = new URL((await aComfyui()).url).host
  const fleet = await aFleet(folder)
  const added = await fleet.add({ url: host })
  expect(added).toMatchObject({
    id: host,
    kind: 'remote',
    url: `http://${host}/`,
    health: { is: 'ready', comfyuiVersion: '0.33.0' },
  })
  await fleet.stop()
  const again = await aFleet(folder)
  expect(again.view().map(({ id }) => id)).toEqual(['rehearsal', host])
  await eventually(() => again.get(host)?.health.is === 'ready')
  expect(await again.remove(host)).toBe(1)
  expect(again.view().map(({ id }) => id)).toEqual(['rehearsal'])
})

test('the same address is added once, a name is given once', async () => {
  const fleet = await aFleet(aFolder())
  const [first, second] = [await aComfyui(), await aComfyui()]
  await fleet.add({ url: first.url, name: 'gpu' })
  await expect(fleet.add({ url: `${first.url}/` })).rejects.toMatchObject({ code: 'worker.duplicate' })
  await expect(fleet.add({ url: second.url, name: 'gpu' })).rejects.toMatchObject({ code: 'worker.name-taken' })
  expect(fleet.find(first.url)?.id).toBe('gpu')
  expect((await fleet.ensure({ url: first.url })).id).toBe('gpu')
})

test('what cannot be a worker is refused, saying why', async () => {
  const fleet = await aFleet(aFolder())
  const page = await aServer((_request, reply) => void reply.end('<h1>It works!</h1>'))
  const closed = await aServer((_request, reply) => void reply.writeHead(401).end())
  const broken = await aServer((_request, reply) => void reply.writeHead(502).end())
  const codeOf = (url: string) => fleet.add({ url }).then(String, (cause) => cause.code)
  expect(await codeOf(page)).toBe('worker.not-comfyui')
  expect(await codeOf(closed)).toBe('worker.unauthorised')
  expect(await codeOf(broken)).toBe('worker.unreachable')
  expect(await codeOf('http://127.0.0.1:1')).toBe('worker.unreachable')
  for (const url of ['', 'not an address', 'ftp://host', 'http://', 'javascript:alert(1)'])
    expect([url, await codeOf(url)]).toEqual([url, 'worker.bad-address'])
  expect(fleet.view().map(({ id }) => id)).toEqual(['rehearsal'])
})

test('a header goes to its own server, below its path, and never along a redirect to another', async () => {
  const folder = aFolder()
  const seen: [string, string | undefined][] = []
  const stats = { system: { os: 'linux', python_version: '3', comfyui_version: '9.9.9' }, devices: [] }
  const elsewhere = await aServer((request, reply) => {
    seen.push(['elsewhere', request.headers['x-key'] as string | undefined])
    reply.end(JSON.stringify(stats))
  })
  const home = await aServer((request, reply) => {
    seen.push([request.url!, request.headers['x-key'] as string | undefined])
    if (request.url === '/comfy/system_stats') return void reply.end(JSON.stringify(stats))
    if (request.url === '/comfy/prompt') return void reply.end('{"exec_info":{"queue_remaining":3}}')
    if (request.url === '/moved/system_stats') return void reply.writeHead(302, { location: elsewhere }).end()
    reply.writeHead(404).end()
  })
  const fleet = await aFleet(folder)
  const added = await fleet.add({ url: `${home}/comfy`, name: 'far', header: 'X-Key: s3cret' })
  expect(added).toMatchObject({ hasHeader: true, health: { is: 'ready', comfyuiVersion: '9.9.9', queueLength: 3 } })
  expect(JSON.stringify(added)).not.toContain('s3cret')
  expect(JSON.stringify(folder.database.prepare('SELECT * FROM workers').all())).not.toContain('s3cret')
  expect(seen.filter(([, key]) => key !== 's3cret')).toEqual([])
  await fleet.test({ url: `${home}/moved`, header: 'X-Key: s3cret' }).catch(() => {})
  expect(seen.filter(([where]) => where === 'elsewhere')).toEqual([['elsewhere', undefined]])
  await fleet.remove('far')
  expect([...folder.secrets]).toEqual([])
})

test('a header stays with its server when that moves to another port of the same host', async () => {
  const keys: (string | undefined)[] = []
  const stats = { system: {}, devices: [] }
  const elsewhere = await aServer((request, reply) => {
    keys.push(request.headers['x-key'] as string | undefined)
    reply.end(JSON.stringify(request.url === '/prompt' ? { exec_info: {} } : stats))
  })
  const home = await aServer((request, reply) =>
    reply.writeHead(302, { location: new URL(request.url!, elsewhere).href }).end(),
  )
  const fleet = await aFleet(aFolder())
  expect(await fleet.add({ url: home, header: 'X-Key: s3cret' })).toMatchObject({ url: `${home}/`, hasHeader: true })
  expect(new Set(keys)).toEqual(new Set([undefined]))
})

test.each([
  ['a queue of no number', '{"system":{},"devices":[]}', '{"exec_info":{"queue_remaining":"x"}}'],
  ['an endless queue', '{"system":{},"devices":[]}', '{"exec_info":{"queue_remaining":1e999}}'],
  ['a version of no text', '{"system":{"comfyui_version":{}},"devices":[]}', '{}'],
  ['devices of nothing', '{"system":{},"devices":[null,3,{"name":5,"vram_total":NaN,"vram_free":{}}]}', '{}'],
])('%s does not spoil the list of workers', async (_what, stats, prompt) => {
  const url = await aServer((request, reply) => void reply.end(request.url === '/prompt' ? prompt : stats))
  const fleet = await aFleet(aFolder())
  await fleet.add({ url, name: 'odd' })
  expect(WorkerView.array().parse(fleet.view())[1]).toMatchObject({
    id: 'odd',
    health: { is: 'ready', queueLength: 0 },
  })
})

test('a redirect to nowhere is an answer nobody can use', async () => {
  const url = await aServer((_request, reply) => void reply.writeHead(302, { location: 'http://[' }).end())
  await expect((await aFleet(aFolder())).add({ url })).rejects.toMatchObject({ code: 'worker.unreachable' })
})

test('a disabled worker says so and takes up again when enabled, also after a restart', async () => {
  const folder = aFolder()
  const fleet = await aFleet(folder)
  await eventually(() => fleet.get('rehearsal')?.health.is === 'ready')
  expect(await fleet.enable('rehearsal', false)).toMatchObject({ enabled: false, health: { is: 'disabled' } })
  await fleet.stop()
  const again = await aFleet(folder)
  expect(again.get('rehearsal')?.health).toEqual({ is: 'disabled' })
  await again.enable('rehearsal', true)
  await eventually(() => again.get('rehearsal')?.health.is === 'ready')
})

test('a worker that goes away and comes back is noticed both times, and told', async () => {
  const comfyui = await aComfyui()
  const fleet = await aFleet(aFolder())
  const { id } = await fleet.add({ url: comfyui.url })
  const told: string[] = []
  fleet.events.on('changed', (changed) => changed === id && told.push(fleet.get(id)!.health.is))
  comfyui.die()
  await eventually(() => fleet.get(id)?.health.is === 'unreachable')
  await comfyui.start()
  await eventually(() => fleet.get(id)?.health.is === 'ready')
  expect(told).toEqual(expect.arrayContaining(['unreachable', 'ready']))
})

test('definitions come from the worker asked, else from a real one that answers, else from what is bundled', async () => {
  const fleet = await aFleet(aFolder())
  expect(await fleet.definitionsFor()).toMatchObject({ from: 'bundled', version: '0.33.0' })
  expect(await fleet.definitionsFor('rehearsal')).toMatchObject({ from: 'rehearsal' })
  const comfyui = await aComfyui()
  await fleet.add({ url: comfyui.url, name: 'gpu' })
  expect(await fleet.definitionsFor()).toMatchObject({ from: 'gpu', version: '0.33.0' })
  await expect(fleet.definitionsFor('nobody')).rejects.toMatchObject({ code: 'batch.unknown-worker' })
})

test('a ComfyUI of one’s own says what nodes there are before an endpoint does, though it came later', async () => {
  const fleet = await aFleet(aFolder())
  const { agent } = await anAgent()
  const endpoint = new EndpointWorker({
    id: 'there',
    address: { url: `${agent.url}/`, key: KEY },
    settings: { enabled: true, capacity: 4, checkpoints: [] },
    pace: { coldSeconds: null, coldRuns: 0, warmSeconds: null, warmRuns: 0 },
    newId: randomUUID,
    now: Date.now,
  })
  endpoint.start()
  await fleet.host(endpoint)
  await eventually(() => fleet.get('there')?.health.is === 'ready')
  expect(await fleet.definitionsFor()).toMatchObject({ from: 'there' })
  await fleet.add({ url: (await aComfyui()).url, name: 'gpu' })
  expect(await fleet.definitionsFor()).toMatchObject({ from: 'gpu' })
})

test('while nobody answers, what a server said last serves, with its date; also after a restart; a removed one is forgotten', async () => {
  const folder = aFolder()
  const fleet = await aFleet(folder)
  const comfyui = await aComfyui()
  const { id } = await fleet.add({ url: comfyui.url, name: 'gpu' })
  const live = await fleet.definitionsFor()
  expect(live).not.toHaveProperty('cachedAt')
  comfyui.die()
  await eventually(() => fleet.get(id)?.health.is === 'unreachable')
  const kept = await fleet.definitionsFor()
  expect(kept).toMatchObject({ from: 'gpu', version: '0.33.0', cachedAt: expect.any(Number) })
  expect(kept.definitions).toEqual(live.definitions)
  expect((await fleet.definitionsFor('gpu')).definitions).toBe(kept.definitions) // the same one, so nothing is made anew

  await fleet.stop()
  const later = await aFleet(folder)
  expect(await later.definitionsFor()).toMatchObject({ from: 'gpu', cachedAt: kept.cachedAt })
  await comfyui.start()
  await eventually(() => later.get('gpu')?.health.is === 'ready')
  expect(await later.definitionsFor()).not.toHaveProperty('cachedAt')
  await later.remove('gpu')
  expect(await later.definitionsFor()).toMatchObject({ from: 'bundled' })
})

test('each server that answers is asked for the model files of the folders wanted; what it does not say is left out', async () => {
  const sized = JSON.stringify([{ name: 'a.safetensors', pathIndex: 0, size: 7 }, { name: 'b.safetensors' }, 5])
  const url = await aServer((request, response) => {
    const path = request.url!.replace(/^\/(api\/)?/, '')
    const answers: Record<string, string> = {
      system_stats: '{"system":{"os":"linux","python_version":"3","comfyui_version":"0.33.0"},"devices":[]}',
      prompt: '{"exec_info":{"queue_remaining":0}}',
      object_info: '{}',
      'experiment/models/loras': sized,
      'models/embeddings': '["bad"]',
    }
    response.statusCode = path in answers ? 200 : 404
    response.end(answers[path] ?? '')
  })
  const fleet = await aFleet(aFolder())
  await fleet.add({ url, name: 'gpu' })
  const [found, ...others] = await fleet.filesOf(['loras', 'embeddings', 'none'])
  expect(others).toEqual([])
  expect([...found!.files]).toEqual([
    [
      'loras',
      [
        { name: 'a.safetensors', sizeBytes: 7 },
        { name: 'b.safetensors', sizeBytes: null },
      ],
    ],
    ['embeddings', [{ name: 'bad', sizeBytes: null }]],
  ])
})

test('what a server has is listed: models by folder, custom nodes by the folder they are in; while it is away, what is known', async () => {
  const away = { now: false }
  const node = (python_module: string) => ({ input: {}, output: [], name: 'x', python_module })
  const answers: Record<string, unknown> = {
    system_stats: { system: { os: 'linux', python_version: '3', comfyui_version: '0.33.0' }, devices: [] },
    prompt: { exec_info: { queue_remaining: 0 } },
    object_info: {
      A: node('custom_nodes.Pack-夜'),
      B: node('custom_nodes.Pack-夜'),
      C: node('nodes'),
      D: { name: 'D' },
    },
    models: ['checkpoints', 'loras', 'configs', 'custom_nodes', 5],
    'experiment/models/checkpoints': [{ name: 'a.safetensors', size: 7 }],
    'experiment/models/loras': [],
    'experiment/models/configs': [{ name: 'v1.yaml', size: 1 }],
  }
  const url = await aServer((request, response) => {
    const answer = answers[request.url!.slice(1)]
    if (away.now) return void request.socket.destroy()
    response.writeHead(answer === undefined ? 404 : 200).end(JSON.stringify(answer ?? ''))
  })
  const fleet = await aFleet(aFolder())
  await fleet.add({ url, name: 'gpu' })
  const customNodes = [{ folder: 'Pack-夜', classes: 2 }]
  expect(await fleet.contents('gpu')).toEqual({
    models: [{ folder: 'checkpoints', files: [{ name: 'a.safetensors', sizeBytes: 7 }] }],
    customNodes,
    classes: 4,
    cachedAt: null,
  })
  away.now = true
  await fleet.enable('gpu', false)
  await fleet.enable('gpu', true)
  await eventually(() => fleet.get('gpu')?.health.is === 'unreachable')
  expect(await fleet.contents('gpu')).toEqual({ models: [], customNodes, classes: 4, cachedAt: expect.any(Number) })
  await expect(fleet.contents('nobody')).rejects.toMatchObject({ code: 'app.not-found' })
})
