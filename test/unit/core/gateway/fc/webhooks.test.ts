import { createHmac } from 'node:crypto'
import { expect, onTestFinished, test, vi } from 'vitest'
import type { Task } from '../../../../../core/contract/agent.ts'
import { parseJson } from '../../../../../core/contract/json.ts'
import { FolderBucket } from '../../../../../core/engine/store/bucket.ts'
import { Links } from '../../../../../core/gateway/fc/links.ts'
import { BucketTasks } from '../../../../../core/gateway/fc/tasks.ts'
import { Webhooks } from '../../../../../core/gateway/fc/webhooks.ts'
import { aTask } from '../../../../kit/a-task.ts'
import { serve } from '../../../../kit/serve.ts'
import { tempDir } from '../../../../kit/temp-dir.ts'
import { turnableClock } from '../../../../kit/turnable-clock.ts'

const task = (id: string, state: Task['state']) =>
  aTask({
    id,
    state,
    nodes: { 9: { max: 1, value: 1, start: 1, last_updated: 1, images: null } },
    files: [{ node: '9', index: 0, key: 'images', name: '猫.png', mediaType: 'image/png', sizeBytes: 3 }],
  })

interface Told {
  headers: Record<string, string | string[] | undefined>
  body: string
}
/** Somebody who is told, and answers with one status after the other. */
async function aReceiver(...statuses: number[]) {
  const told: Told[] = []
  const { url } = await serve(async (asked, reply) => {
    let body = ''
    for await (const chunk of asked) body += chunk
    told.push({ headers: asked.headers, body })
    reply.writeHead(statuses.shift() ?? 200, { location: '/elsewhere' }).end()
  })
  return { told, url }
}
function agents() {
  const [dir, clock] = [tempDir(), turnableClock()]
  const store = new BucketTasks(new FolderBucket(dir))
  const links = new Links(store, clock.now)
  const start = (mayReach?: (address: string) => boolean, hosts?: string[]) => {
    const hooks = new Webhooks({ store, links, now: clock.now, mayReach, hosts, lookEveryMs: 5 })
    onTestFinished(() => hooks.stop())
    hooks.start()
    return hooks
  }
  return { store, clock, links, start }
}
const anywhere = () => true
const OPTIONS = { timeout: 30_000, interval: 5 }

test('who asked is told once the task is over, signed for its key, with links', async () => {
  const { store, start, links } = agents()
  const { told, url } = await aReceiver()
  const hooks = start(anywhere)
  await hooks.owe('t', `${url}/done?n=1`, 'key-1', 'https://agent.example')
  await store.put(task('t', 'running'))
  hooks.look('t')
  await store.put(task('t', 'succeeded'))
  hooks.look('t')
  await vi.waitFor(() => expect(told).toHaveLength(1), OPTIONS)
  const [{ headers, body }] = told as [Told]
  const secret = Buffer.from((await hooks.secretOf('key-1')).replace('whsec_', ''), 'base64')
  const signed = `${headers['webhook-id']}.${headers['webhook-timestamp']}.${body}`
  expect(headers['webhook-signature']).toBe(`v1,${createHmac('sha256', secret).update(signed).digest('base64')}`)
  expect(await hooks.secretOf('key-2')).not.toBe(await hooks.secretOf('key-1'))
  const said = parseJson(body) as { type: string; data: Record<string, { state?: string; urls?: string[] }> }
  expect(said.type).toBe('task.succeeded')
  expect(said.data['']).toMatchObject({ state: 'succeeded', task_id: 't' })
  const [link] = said.data[9]!.urls!
  expect(link).toMatch(/^https:\/\/agent\.example\/api\/result\?id=t&node=9&index=0&until=\d+&signature=[\da-f]{64}$/)
  await links.check(new URL(link!).searchParams)
  await vi.waitFor(async () => expect(await store.owed()).toEqual([]), OPTIONS)
  expect(await store.hook('t')).toMatchObject({ tries: 1, nextAt: null, reason: null })
})

test('a task that ends while it is being looked at is told of at once', async () => {
  const { store, start } = agents()
  const { told, url } = await aReceiver()
  const hooks = start(anywhere)
  await store.put(task('t', 'running'))
  const [seen, goOn] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  const get = store.get.bind(store)
  store.get = async (id) => {
    const found = await get(id)
    seen.resolve()
    await goOn.promise
    return found
  }
  await hooks.owe('t', url, 'k', '')
  await seen.promise
  await store.put(task('t', 'succeeded'))
  hooks.look('t')
  goOn.resolve()
  await vi.waitFor(() => expect(told).toHaveLength(1), OPTIONS)
})

test('a receiver that is down is told later, and later still, under the same id', async () => {
  const { store, clock, start } = agents()
  const { told, url } = await aReceiver(500, 302, 200)
  await store.put(task('t', 'failed'))
  await start(anywhere).owe('t', url, 'k', '')
  await vi.waitFor(async () => expect(await store.hook('t')).toMatchObject({ tries: 1, reason: 'HTTP 500' }), OPTIONS)
  clock.turn(6_100)
  await vi.waitFor(async () => expect(await store.hook('t')).toMatchObject({ tries: 2, reason: 'HTTP 302' }), OPTIONS)
  clock.turn(20_000) // not yet
  expect(told).toHaveLength(2)
  clock.turn(20_000)
  await vi.waitFor(async () => expect(await store.hook('t')).toMatchObject({ tries: 3, nextAt: null }), OPTIONS)
  expect(new Set(told.map(({ headers }) => headers['webhook-id'])).size).toBe(1)
})

test('what was owed when an agent went is told by the next, and by one of two', async () => {
  const { store, start } = agents()
  const { told, url } = await aReceiver()
  const first = start(anywhere)
  await first.owe('t', url, 'k', '')
  await first.stop()
  await store.put(task('t', 'cancelled'))
  start(anywhere)
  start(anywhere)
  await vi.waitFor(async () => expect(await store.owed()).toEqual([]), OPTIONS)
  expect(told).toHaveLength(1)
})

test('a try whose agent went before it told of it is made again by another', async () => {
  const { store, clock, start } = agents()
  const { told, url } = await aReceiver()
  await store.put(task('t', 'succeeded'))
  await store.mark('t', 'hook-1')
  const hooks = start(anywhere)
  await hooks.owe('t', url, 'k', '')
  await vi.waitFor(async () => {
    clock.turn(11_000)
    expect(await store.owed()).toEqual([])
  }, OPTIONS)
  expect(told).toHaveLength(1)
  expect(await store.hook('t')).toMatchObject({ tries: 2, reason: null })
})

test('it gives up after six tries, at once when the receiver is gone for good, and tells once more when asked to', async () => {
  const { store, clock, start } = agents()
  const down = await aReceiver(500, 500, 500, 500, 500, 500)
  const gone = await aReceiver(410)
  await store.put(task('t', 'succeeded'))
  await store.put(task('u', 'succeeded'))
  const hooks = start(anywhere)
  await hooks.owe('t', down.url, 'k', '')
  await hooks.owe('u', gone.url, 'k', '')
  await vi.waitFor(async () => {
    clock.turn(600_000)
    expect(await store.owed()).toEqual([])
  }, OPTIONS)
  expect([down.told.length, gone.told.length]).toEqual([6, 1])
  expect(await store.hook('t')).toMatchObject({ tries: 6, toldAt: null, reason: 'HTTP 500' })
  await hooks.again('t')
  await vi.waitFor(async () => expect((await store.hook('t'))?.toldAt).not.toBeNull(), OPTIONS)
})

test('what is not on the internet is never asked, by address or by name', async () => {
  const { store, start } = agents()
  const { told, url } = await aReceiver()
  await store.put(task('t', 'succeeded'))
  const hooks = start()
  for (const bad of [
    'http://127.0.0.1:1/',
    'http://[::1]/',
    'http://169.254.169.254/',
    'file:///etc/passwd',
    'x',
    'http://a:b@c.example/',
  ])
    await expect(hooks.owe('t', bad, 'k', '')).rejects.toMatchObject({ code: 'app.bad-request' })
  await hooks.owe('t', url.replace('127.0.0.1', 'localhost'), 'k', '')
  await vi.waitFor(
    async () => expect(await store.hook('t')).toMatchObject({ reason: 'it is not on the internet' }),
    OPTIONS,
  )
  expect(told).toEqual([])
})

test('a host that whoever runs the agent has named is told, also inside; its neighbours are not', async () => {
  const { store, start } = agents()
  const { told, url } = await aReceiver()
  await store.put(task('t', 'succeeded'))
  const hooks = start(undefined, ['LocalHost'])
  await expect(hooks.owe('t', url, 'k', '')).rejects.toMatchObject({ code: 'app.bad-request' })
  await hooks.owe('t', url.replace('127.0.0.1', 'localhost'), 'k', '')
  await vi.waitFor(async () => expect(await store.owed()).toEqual([]), OPTIONS)
  expect(told).toHaveLength(1)
})

test('a task that was refused owes nothing; one that is sent again is told once', async () => {
  const { store, start } = agents()
  const { told, url } = await aReceiver()
  const hooks = start(anywhere)
  await hooks.owe('refused', url, 'k', '')
  await hooks.drop('refused')
  await store.put(task('t', 'succeeded'))
  await hooks.owe('t', url, 'k', '')
  await vi.waitFor(async () => expect(await store.owed()).toEqual([]), OPTIONS)
  await hooks.owe('t', url, 'k', '')
  await hooks.drop('t')
  expect(await store.owed()).toEqual([])
  expect(told).toHaveLength(1)
})

test('a task that was refused at first, as by an agent that is busy, is told of once it is taken', async () => {
  const { store, start } = agents()
  const { told, url } = await aReceiver()
  const hooks = start(anywhere)
  await hooks.owe('t', url, 'k', '')
  await hooks.drop('t')
  await hooks.owe('t', url, 'k', '')
  await store.put(task('t', 'succeeded'))
  hooks.look('t')
  await vi.waitFor(() => expect(told).toHaveLength(1), OPTIONS)
})

test('nobody is told of a task of another key', async () => {
  const { store, start } = agents()
  const { told, url } = await aReceiver()
  const hooks = start(anywhere)
  await store.put({ ...task('t', 'succeeded'), owner: 'its' })
  await hooks.owe('t', url, 'another', '')
  await vi.waitFor(async () => expect(await store.owed()).toEqual([]), OPTIONS)
  expect(told).toEqual([])
  await hooks.owe('t', url, 'its', '')
  await vi.waitFor(() => expect(told).toHaveLength(1), OPTIONS)
})

test('a link opens what it names until it ends, and nothing else', async () => {
  const { clock, links } = agents()
  const linked = await links.withLinks(task('a&b=c', 'succeeded'), 60, 'http://agent.example')
  const search = new URL(linked.nodes[9]!.urls![0]!).searchParams
  await links.check(search)
  const other = (name: string, value: string) => {
    const changed = new URLSearchParams(search)
    changed.set(name, value)
    return links.check(changed)
  }
  for (const [name, value] of [
    ['id', 'x'],
    ['node', '8'],
    ['index', '1'],
    ['until', '9999999999'],
    ['signature', ''],
  ] as const)
    await expect(other(name, value)).rejects.toMatchObject({ code: 'agent.refused' })
  clock.turn(61_000)
  await expect(links.check(search)).rejects.toMatchObject({ code: 'agent.refused' })
})
