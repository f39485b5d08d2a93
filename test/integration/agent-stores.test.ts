import { createHmac } from 'node:crypto'
import { request } from 'undici'
import { expect, onTestFinished, test, vi } from 'vitest'
import type { AgentOptions } from '../../agent/agent.ts'
import { anAgent, asking, aWorkflow, KEY } from '../kit/agent-kit.ts'
import { CREDENTIALS, fakeS3 } from '../kit/fake-s3.ts'
import { serve } from '../kit/serve.ts'
import { tempDir } from '../kit/temp-dir.ts'

type Start = Awaited<ReturnType<typeof anAgent>>['start']
async function another(start: Start, options: Partial<AgentOptions>) {
  const agent = await start(options)
  onTestFinished(() => agent.stop(0))
  return { agent, ask: asking(agent) }
}
const isPng = (bytes: ArrayBuffer) => Buffer.from(bytes).subarray(1, 4).toString() === 'PNG'

test('agents that share object storage answer for each other, and give links of the storage', async () => {
  const storage = await fakeS3()
  const shared = { store: storage.address('agents'), credentials: CREDENTIALS, leaseMs: 2_000 }
  const { ask, start, comfyui } = await anAgent(shared)
  const other = await another(start, shared)
  const headers = { 'task-id': 't-1', prefer: 'respond-async' }
  expect((await ask('/api/run', { body: aWorkflow(7), headers })).status).toBe(202)
  await vi.waitFor(async () => {
    const { status, json } = await other.ask('/api/status?id=t-1&wait=5')
    expect([status, json()[''].state]).toEqual([200, 'succeeded'])
  }, 20_000)
  // sent once more, to the other: it is the same task
  const again = await other.ask('/api/run?results=links&seconds=60', {
    body: aWorkflow(7),
    headers: { 'task-id': 't-1' },
  })
  expect(again.status).toBe(200)
  expect(again.json()[9].results).toBeUndefined()
  const [link] = again.json()[9].urls as string[]
  expect(link!.startsWith(`${storage.endpoint}/`)).toBe(true)
  expect(link).not.toContain(KEY)
  const picture = await fetch(link!)
  expect([picture.status, picture.headers.get('content-type')]).toEqual([200, 'image/png'])
  expect(isPng(await picture.arrayBuffer())).toBe(true)
  expect(comfyui.submissions).toBe(1)
  expect((await other.ask('/api/tasks')).json().rows).toMatchObject([{ id: 't-1', state: 'succeeded' }])
})

test('links of a folder are good at every agent of it without a key, and for nothing else', async () => {
  const shared = { store: tempDir() }
  const { ask, start } = await anAgent(shared)
  const other = await another(start, shared)
  const made = await ask('/api/run?results=links', { body: aWorkflow(8) })
  const [link] = made.json()[9].urls as string[]
  expect(link).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/api\/result\?.*signature=/)
  for (const at of [link!, link!.replace(/^http:\/\/[^/]+/, other.agent.url)]) {
    const picture = await fetch(at)
    expect([picture.status, isPng(await picture.arrayBuffer())]).toEqual([200, true])
  }
  const elsewhere = { origin: 'https://shop.example', 'sec-fetch-site': 'cross-site' }
  const embedded = await request(link!, { headers: elsewhere })
  expect([embedded.statusCode, embedded.headers['access-control-allow-origin']]).toEqual([200, '*'])
  await embedded.body.dump()
  expect((await fetch(link!.replace('index=0', 'index=1'))).status).toBe(403)
  expect((await fetch(link!.replace('/api/result', '/api/status'))).status).toBe(401)
  const status = (await ask(`/api/status?id=${made.headers.get('task-id')}&results=links`)).json()
  expect((await fetch(status[9].urls[0])).status).toBe(200)
  expect((await ask(`/api/result?id=${made.headers.get('task-id')}`)).json()[9].results).toHaveLength(1)
})

test('whoever is to be told of a task is, by a signature of the key that sent it', async () => {
  const told: { signature: unknown; id: unknown; at: unknown; body: string }[] = []
  const receiver = await serve(async (asked, reply) => {
    let body = ''
    for await (const chunk of asked) body += chunk
    const { 'webhook-signature': signature, 'webhook-id': id, 'webhook-timestamp': at } = asked.headers
    told.push({ signature, id, at, body })
    reply.end()
  })
  const { ask } = await anAgent({ mayReach: () => true })
  const headers = { 'task-id': 't-2', prefer: 'respond-async', webhook: `${receiver.url}/done` }
  expect((await ask('/api/run', { body: aWorkflow(9), headers })).status).toBe(202)
  await vi.waitFor(() => expect(told).toHaveLength(1), 20_000)
  const [{ signature, id, at, body }] = told as [(typeof told)[number]]
  const { secret } = (await ask('/api/webhook')).json()
  const key = Buffer.from(secret.replace('whsec_', ''), 'base64')
  expect(signature).toBe(`v1,${createHmac('sha256', key).update(`${id}.${at}.${body}`).digest('base64')}`)
  const said = JSON.parse(body)
  expect([said.type, said.data[''].state]).toEqual(['task.succeeded', 'succeeded'])
  expect((await fetch(said.data[9].urls[0])).status).toBe(200)
  await vi.waitFor(async () => {
    expect((await ask('/api/webhook?id=t-2')).json()).toMatchObject({ tries: 1, nextAt: null, reason: null })
  }, 20_000)
})

test('a webhook that leads inside is refused, and its task with it', async () => {
  const { ask, comfyui } = await anAgent()
  const headers = { webhook: 'http://169.254.169.254/latest' }
  const refused = await ask('/api/run', { body: aWorkflow(1), headers })
  expect([refused.status, refused.json().code]).toEqual([400, 'app.bad-request'])
  expect((await ask('/api/run?webhook=file:///etc/passwd', { body: aWorkflow(1) })).status).toBe(400)
  expect(comfyui.submissions).toBe(0)
})
