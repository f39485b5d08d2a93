import { randomUUID } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import path from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { type AgentOptions, startAgent } from '../../agent/agent.ts'
import { RehearsalServer } from '../../core/engine/rehearsal/server.ts'
import { EndpointWorker, type EndpointWorkerOptions } from '../../main/services/workers/endpoint.ts'
import { eventually } from '../kit/eventually.ts'
import { ownPort } from '../kit/own-port.ts'
import { httpProxy } from '../kit/proxies.ts'
import { startApp } from '../kit/start-app.ts'
import { tempDir } from '../kit/temp-dir.ts'
import { all, anAttempt, aPicture, fetched, filesOf, slowPicture, soon, workerPromises } from './worker-promises.ts'

const UPLOADS = { uploads: /^store:[0-9a-f]{64}\.png$/ }
workerPromises('an endpoint', async () => (await open({}, { worker: await comfy() })).worker, {
  uploads: /^store:[0-9a-f]{64}\.png$/,
})

// NIGHTSHIFT_TEST_COMFYUI=http://127.0.0.1:8188,… makes agents before real ones keep the same promises
for (const url of (process.env.NIGHTSHIFT_TEST_COMFYUI ?? '').split(',').filter(Boolean))
  workerPromises(`an endpoint before ${url}`, async () => (await open({}, { worker: url })).worker, UPLOADS)

/** A ComfyUI that knows only what it has. */
async function comfy() {
  const server = new RehearsalServer({ dir: tempDir(), stepMs: 0 })
  await server.start()
  onTestFinished(() => server.stop())
  return server.url
}

const KEY = 'sk_test_of_endpoints'

async function agentOn(store = tempDir(), more: Partial<AgentOptions> = {}) {
  const agent = await startAgent({
    host: '127.0.0.1',
    port: 0,
    names: [],
    origins: [],
    keys: [KEY],
    store,
    worker: 'rehearsal',
    ...more,
  })
  onTestFinished(() => agent.stop(0))
  return agent
}

async function open(options: Partial<EndpointWorkerOptions> = {}, more: Partial<AgentOptions> = {}) {
  const agent = await agentOn(more.store, more)
  const { worker } = made({ address: { url: `${agent.url}/`, key: KEY }, ...options })
  const ready = new Promise<void>((resolve) => worker.onHealth(({ is }) => is === 'ready' && resolve()))
  worker.start()
  await ready
  return { agent, worker }
}

function made(options: Partial<EndpointWorkerOptions> & Pick<EndpointWorkerOptions, 'address'>) {
  const worker = new EndpointWorker({
    id: 'gpu',
    settings: { enabled: true, capacity: 4, checkpoints: [] },
    pace: { coldSeconds: null, coldRuns: 0, warmSeconds: null, warmRuns: 0 },
    newId: randomUUID,
    now: Date.now,
    healthEveryMs: 200,
    absenceMs: 50,
    ...options,
  })
  onTestFinished(() => worker.close())
  return { worker }
}

test('the same task given twice is one, and its files come from any agent of the store', async () => {
  const store = tempDir()
  const { worker } = await open({}, { store })
  const attempt = anAttempt(aPicture())
  const once = filesOf(await all(worker.run(attempt, soon())))
  expect(filesOf(await all(worker.run(attempt, soon())))).toEqual(once)
  const other = await open({}, { store })
  expect(await other.worker.recover(attempt.promptId)).toEqual(await worker.recover(attempt.promptId))
  expect((await fetched(other.worker, once[0]!)).equals(await fetched(worker, once[0]!))).toBe(true)
})

test('an agent that goes away is unreachable, and what it had is found when it is back', async () => {
  const store = tempDir()
  const comfyUrl = await comfy()
  const port = await ownPort()
  const { agent, worker } = await open({ firstRetryMs: 50, patienceMs: 200 }, { store, port, worker: comfyUrl })
  const attempt = anAttempt(slowPicture(30))
  const steps = worker.run(attempt, soon())[Symbol.asyncIterator]()
  expect((await steps.next()).value).toEqual({ is: 'submitted' })
  await agent.stop(0)
  const rest = async () => {
    for (;;) if ((await steps.next()).done) return
  }
  await expect(rest()).rejects.toMatchObject({ code: 'worker.unreachable' })
  await eventually(() => worker.health.is === 'unreachable')
  await agentOn(store, { port, worker: comfyUrl })
  await eventually(() => worker.health.is === 'ready')
  expect(filesOf(await all(worker.follow(attempt.promptId, soon())))).toHaveLength(1)
})

test('a key that is not right is said, and the worker takes nothing', async () => {
  const agent = await agentOn()
  const { worker } = made({ address: { url: `${agent.url}/`, key: 'sk_another_key' } })
  worker.start()
  await eventually(() => worker.health.is === 'unreachable')
  expect(worker.state).toMatchObject({ is: 'unreachable', because: { code: 'endpoint.key-refused' } })
})

test('one that fails three times in a row is left alone, until somebody asks; one success, and it is trusted again', async () => {
  const news: string[] = []
  const [comfyUrl, port] = [await comfy(), await ownPort()]
  const { worker, agent } = await open(
    { firstRetryMs: 50, patienceMs: 0, onNews: (text) => news.push(text), now: () => 0 }, // its rest does not end by itself
    { worker: comfyUrl, port },
  )
  expect(worker.capacity).toBe(4)
  await agent.stop(0)
  for (let at = 0; at < 3; at += 1)
    await expect(all(worker.run(anAttempt(aPicture()), soon()))).rejects.toMatchObject({ code: 'worker.unreachable' })
  expect(worker.capacity).toBe(1)
  await agentOn(tempDir(), { port, worker: comfyUrl })
  await eventually(() => worker.state.is === 'resting')
  expect(worker.health).toMatchObject({ is: 'unreachable', because: { code: 'worker.unreachable' } })
  expect(news.at(-1)).toContain('3 failures in a row')
  worker.lookNow()
  await eventually(() => worker.health.is === 'ready')
  await all(worker.run(anAttempt(aPicture()), soon()))
  expect(worker.capacity).toBe(4)
})

test('what it learns of its pace is told, and a task that another sent under the same id is refused for good', async () => {
  const learned: number[] = []
  const { worker } = await open({ onLearned: ({ warmRuns }) => learned.push(warmRuns) })
  const attempt = anAttempt(aPicture())
  await all(worker.run(attempt, soon()))
  expect(learned).toEqual([1])
  const steps = await all(worker.run({ ...attempt, prompt: aPicture() }, soon()))
  expect(steps).toEqual([
    { is: 'failed', retryable: false, failure: expect.objectContaining({ code: 'agent.task-differs' }) },
  ])
})

test('an endpoint and what was learned of it outlive the app; its key is in no file as it is, and gone with it', async () => {
  const agent = await agentOn()
  const first = await startApp()
  const { client, dataDir } = first
  const asked = { url: agent.url, key: KEY, name: 'night', capacity: 3, checkpoints: [] }
  await expect(client.call('endpoint.add', { ...asked, key: 'sk_of_another' })).rejects.toMatchObject({
    failure: { code: 'endpoint.key-refused' },
  })
  await client.call('endpoint.add', asked)
  await expect(client.call('endpoint.add', { ...asked, name: 'twice' })).rejects.toMatchObject({
    failure: { code: 'worker.duplicate' },
  })
  const { batchId } = await first.submit({ workers: ['night'], repeat: 6 })
  expect((await first.ended(batchId)).counts).toMatchObject({ done: 6, failed: 0 })
  await first.stop()

  const { client: again, ended, submit, stop } = await startApp({ dataDir })
  const [kept] = (await again.call('endpoint.list', {})).rows
  expect(kept).toMatchObject({ name: 'night', url: `${agent.url}/`, capacity: 3, hasKey: true, pace: { warmRuns: 6 } })
  const more = await submit({ workers: ['night'] })
  expect((await ended(more.batchId)).counts.done).toBe(1)
  const { rows: workers } = await again.call('worker.list', {})
  expect(workers.find(({ id }) => id === 'night')).toMatchObject({ kind: 'endpoint', hasHeader: true })
  await expect(again.call('worker.remove', { id: 'night' })).rejects.toMatchObject({
    failure: { code: 'app.bad-request' },
  })
  await again.call('worker.enable', { id: 'night', enabled: false })
  expect((await again.call('endpoint.list', {})).rows[0]).toMatchObject({ enabled: false, state: { is: 'disabled' } })
  await again.call('endpoint.remove', { name: 'night' })
  expect((await again.call('endpoint.list', {})).rows).toEqual([])
  await stop()
  for (const file of readdirSync(dataDir, { recursive: true, withFileTypes: true }))
    if (file.isFile()) expect(readFileSync(path.join(file.parentPath, file.name)).includes(KEY), file.name).toBe(false)
})

test('an endpoint elsewhere is reached through the proxy, one on this machine is not', async () => {
  const proxy = await httpProxy()
  const { client, submit, ended } = await startApp()
  await client.call('network.set', { settings: { proxy: 'manual', proxyAddress: `http://${proxy.host}` } })
  const { port } = new URL((await agentOn(tempDir(), { names: ['gpu.invalid'] })).url)
  await client.call('endpoint.add', { url: (await agentOn()).url, key: KEY, name: 'here' })
  const here = await submit({ workers: ['here'] })
  expect((await ended(here.batchId)).counts.done).toBe(1)
  expect(proxy.asked).toEqual([])
  await client.call('endpoint.add', { url: `gpu.invalid:${port}`, key: KEY, name: 'abroad' })
  const abroad = await submit({ workers: ['abroad'] })
  expect((await ended(abroad.batchId)).counts.done).toBe(1)
  expect(proxy.asked.length).toBeGreaterThan(0)
})

test('with another key what is under way is found again', async () => {
  const { client, submit, ended } = await startApp()
  const server = new RehearsalServer({ dir: tempDir(), stepMs: 60 })
  await server.start()
  onTestFinished(() => server.stop())
  const agent = await agentOn(tempDir(), { worker: server.url, keys: [KEY, 'sk_the_second_key'] })
  await client.call('endpoint.add', { url: agent.url, key: KEY, name: 'gpu' })
  const { batchId } = await submit({ workers: ['gpu'], repeat: 2 }, slowPicture(30))
  await eventually(async () => (await client.call('queue.state', {})).running.length > 0)
  await client.call('endpoint.setKey', { name: 'gpu', key: 'sk_the_second_key' })
  expect((await ended(batchId)).counts).toMatchObject({ done: 2, parked: 0 })
  const reply = await fetch(`${agent.url}/api/tasks`, { headers: { 'x-api-key': KEY } })
  expect(((await reply.json()) as { rows: unknown[] }).rows).toHaveLength(2)
})

test('what runs on an endpoint that is removed is let go of at once, for a person to decide on', async () => {
  const { client, submit } = await startApp()
  const server = new RehearsalServer({ dir: tempDir() })
  server.onNext('hold')
  await server.start()
  onTestFinished(() => server.stop())
  await client.call('endpoint.add', {
    url: (await agentOn(tempDir(), { worker: server.url })).url,
    key: KEY,
    name: 'gpu',
  })
  const { batchId } = await submit({ workers: ['gpu'] })
  await server.held()
  await eventually(async () => (await client.call('queue.state', {})).running.length === 1)
  await client.call('endpoint.remove', { name: 'gpu' })
  await eventually(async () => (await client.call('batch.get', { id: batchId })).counts.parked === 1)
})

test('two endpoints, each for a checkpoint, get their own jobs of one batch', async () => {
  const { client, submit, ended } = await startApp()
  for (const name of ['red', 'blue'])
    await client.call('endpoint.add', {
      url: (await agentOn()).url,
      key: KEY,
      name,
      checkpoints: [`${name}.safetensors`],
    })
  const prompt = {
    1: { class_type: 'CheckpointLoaderSimple', inputs: { ckpt_name: 'red.safetensors' } },
    2: { class_type: 'EmptyImage', inputs: { width: 32, height: 32, batch_size: 1, color: 0 } },
    3: { class_type: 'SaveImage', inputs: { filename_prefix: 'picture', images: ['2', 0] } },
  }
  const values = ['red.safetensors', 'blue.safetensors', 'red.safetensors', 'blue.safetensors']
  const { batchId } = await submit({ workers: ['red', 'blue'], axes: [{ parameter: '1.ckpt_name', values }] }, prompt)
  expect((await ended(batchId)).counts.done).toBe(4)
  const { rows } = await client.call('artifact.page', { batchId, limit: 10 })
  const made = await Promise.all(rows.map(({ id }) => client.call('artifact.get', { id })))
  for (const { sidecar } of made) expect(sidecar.prompt['1']!.inputs.ckpt_name).toBe(`${sidecar.worker.id}.safetensors`)
})

test('what an endpoint does before it is ready is told, and how long that took is learned', async () => {
  let phase: string | null = 'restore'
  const stats = { system: { comfyui_version: '0.33.0' }, devices: [] }
  const url = await serve((request, reply) => {
    const ready = request.url === '/readyz'
    reply.writeHead(ready && phase !== null ? 503 : 200)
    reply.end(JSON.stringify(ready ? { ok: phase === null, ...(phase !== null && { phase }) } : stats))
  })
  const learned: (number | null)[] = []
  const { worker } = made({
    address: { url, key: KEY },
    healthEveryMs: 20,
    onLearned: ({ coldSeconds }) => learned.push(coldSeconds),
  })
  worker.start()
  await eventually(() => worker.state.is === 'starting')
  expect(worker.state).toMatchObject({ is: 'starting', phase: 'restore' })
  expect(worker.health).toMatchObject({ is: 'unreachable', because: { code: 'agent.not-ready' } })
  phase = null
  await eventually(() => worker.health.is === 'ready')
  expect(learned).toEqual([expect.any(Number)])
  expect(learned[0]).toBeGreaterThan(0)
})

test('a task that is ended while its agent has no room is never given to it', async () => {
  let asked = 0
  const busy = { code: 'agent.busy', message: 'x', error: {}, facts: { count: 1000 } }
  const url = await serve(({ method }, reply) => {
    if (method === 'POST') asked += 1
    reply.writeHead(method === 'POST' ? 429 : 404, { 'retry-after': '60' })
    reply.end(JSON.stringify(method === 'POST' ? busy : { ...busy, code: 'agent.no-task' }))
  })
  const { worker } = made({ address: { url, key: KEY } })
  const attempt = anAttempt(aPicture())
  const steps = all(worker.run(attempt, soon()))
  await eventually(() => asked === 1)
  await worker.cancel(attempt.promptId).catch(() => {})
  expect(await steps).toEqual([{ is: 'interrupted' }])
  expect(asked).toBe(2) // the task, and its end
})

async function serve(answer: RequestListener) {
  const server = createServer(answer)
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening))
  onTestFinished(() => void server.close())
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
}
