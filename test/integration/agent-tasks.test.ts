import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import path from 'node:path'
import { expect, onTestFinished, test, vi } from 'vitest'
import { type ComfyAddress, readAddress } from '../../core/engine/comfy/address.ts'
import { RehearsalServer } from '../../core/engine/rehearsal/server.ts'
import { FolderBucket } from '../../core/engine/store/bucket.ts'
import { ComfyRunner, type RunnerOptions } from '../../core/gateway/fc/runner.ts'
import { BucketTasks } from '../../core/gateway/fc/tasks.ts'
import { aWorkflow } from '../kit/agent-kit.ts'
import { eventually } from '../kit/eventually.ts'
import { tempDir } from '../kit/temp-dir.ts'

const LEASE_MS = 150

async function aComfy() {
  const comfyui = new RehearsalServer({ dir: tempDir(), stepMs: 0, assumeModels: true, sketchUnknown: true })
  await comfyui.start()
  onTestFinished(async () => {
    comfyui.release()
    await comfyui.stop()
  })
  return { comfyui, places: [readAddress(comfyui.url)] }
}
function aStore() {
  const dir = tempDir()
  return { dir, store: new BucketTasks(new FolderBucket(dir)) }
}
function aRunner(store: BucketTasks, places: readonly ComfyAddress[], options: Partial<RunnerOptions> = {}) {
  const runner = new ComfyRunner({ places: () => places, store, now: Date.now, leaseMs: LEASE_MS, ...options })
  onTestFinished(() => runner.stop(0))
  return runner
}
const soon = () => AbortSignal.timeout(60_000)

test('a task that could not be kept as it came is taken in when it is sent again', async () => {
  const { places } = await aComfy()
  const { store } = aStore()
  const keep = store.keep.bind(store)
  store.keep = async () => {
    store.keep = keep
    throw new Error('the storage is away')
  }
  const runner = aRunner(store, places)
  await expect(runner.submit('t', aWorkflow(1))).rejects.toThrow('away')
  await runner.submit('t', aWorkflow(1))
  expect(await runner.result('t', soon())).toMatchObject({ state: 'succeeded' })
})

test('a task that only ever waited is not given up, however many agents hand it on', async () => {
  const { places } = await aComfy()
  const { store } = aStore()
  const first = aRunner(store, places, { inFlight: 0 })
  await first.submit('t', aWorkflow(1))
  await first.stop(0)
  for (let agents = 0; agents < 4; agents++) {
    const next = aRunner(store, places, { inFlight: 0 })
    await next.start()
    await eventually(() => next.counts.waiting === 1)
    await next.stop(0)
  }
  const last = aRunner(store, places)
  await last.start()
  expect(await last.result('t', soon())).toMatchObject({ state: 'succeeded', failure: null })
})

test('agents whose clocks differ leave each other’s tasks alone, and take over those of one that is gone', async () => {
  const [here, there] = [await aComfy(), await aComfy()]
  const { store } = aStore()
  here.comfyui.onNext('hold')
  const patient = { leaseMs: 2_000 }
  const places = (release: number | null) => (release === null ? here.places : []) // 'gone' is not for it
  const behind = aRunner(store, [], { ...patient, places, now: () => Date.now() - 3_600_000 })
  await behind.start()
  await behind.submit('t', aWorkflow(1))
  await here.comfyui.held()
  const { attempt, ...task } = (await behind.status('t'))!
  await store.mark('gone', 'attempt-1') // by one whose clock is ahead
  await store.keep('gone', 'workflow', bytes(JSON.stringify(aWorkflow(2))))
  await store.put({ ...task, id: 'gone', release: 7, attempt, leaseUntil: Date.now() + 3_600_000 })
  const other = aRunner(store, there.places, patient)
  await other.start()
  expect(await other.result('gone', soon())).toMatchObject({ state: 'succeeded', attempt: 2 })
  here.comfyui.release()
  expect(await other.result('t', soon())).toMatchObject({ state: 'succeeded', attempt: 1 })
  expect([here.comfyui.submissions, there.comfyui.submissions]).toEqual([1, 1])
})

test('agents of a machine that stood still a while leave each other’s tasks alone', async () => {
  const [here, there] = [await aComfy(), await aComfy()]
  const { store, dir } = aStore()
  const seen = new BucketTasks(new FolderBucket(dir))
  const { get } = seen
  let looks = 0
  seen.get = async (id) => {
    const task = await get.call(seen, id)
    looks += 1
    return task
  }
  here.comfyui.onNext('hold')
  const patient = { leaseMs: 2_000 }
  const one = aRunner(store, here.places, patient)
  const other = aRunner(seen, there.places, patient)
  await one.start()
  await one.submit('t', aWorkflow(1))
  await here.comfyui.held()
  await eventually(async () => (await store.get('t'))?.state === 'running')
  await other.start()
  // whoever has it is the last to go on
  const { marked } = store
  const goesOn = Promise.withResolvers<void>()
  store.marked = async (id, mark) => {
    await goesOn.promise
    return marked.call(store, id, mark)
  }
  const { leaseUntil } = (await store.get('t'))!
  const looksBy = (more: number, wanted = looks + more) => eventually(() => looks >= wanted)
  await looksBy(1)
  const now = performance.now.bind(performance)
  const stood = vi.spyOn(performance, 'now').mockImplementation(() => now() + 60_000)
  onTestFinished(() => stood.mockRestore())
  await looksBy(2)
  goesOn.resolve()
  await eventually(async () => (await store.get('t'))!.leaseUntil > leaseUntil)
  here.comfyui.release()
  expect(await other.result('t', soon())).toMatchObject({ state: 'succeeded', attempt: 1 })
  expect([here.comfyui.submissions, there.comfyui.submissions]).toEqual([1, 0])
})

test.each([
  ['before it handed the task on', 0],
  ['while it had the task', 1],
])(
  'a task whose next agent claimed it and was gone at once is done all the same, claimed %s',
  async (_, leaseUntil) => {
    const { places } = await aComfy()
    const { store } = aStore()
    const first = aRunner(store, [])
    const task = await first.submit('t', aWorkflow(1))
    await store.put({ ...task, leaseUntil })
    await store.mark('t', 'attempt-2')
    const next = aRunner(store, places)
    await next.start()
    expect(await next.result('t', soon())).toMatchObject({ state: 'succeeded', attempt: 3 })
  },
)

test('what waited where an agent stopped is done by another at once', async () => {
  const { places } = await aComfy()
  const { store } = aStore()
  const first = aRunner(store, [])
  await first.submit('t', aWorkflow(1))
  await first.stop(0)
  const next = aRunner(store, places, { leaseMs: 60_000 })
  await next.start()
  expect(await next.result('t', soon())).toMatchObject({ state: 'succeeded', attempt: 2 })
})

test('who claims a task and is overtaken before it can say so does not run it', async () => {
  const { comfyui, places } = await aComfy()
  const { store } = aStore()
  const first = aRunner(store, [])
  await first.submit('t', aWorkflow(1))
  await first.stop(0)
  const read = store.read.bind(store)
  store.read = async (id, name) => {
    store.read = read
    await store.mark('t', 'attempt-3')
    await store.put({ ...(await store.get('t'))!, attempt: 3, state: 'succeeded' })
    return read(id, name)
  }
  const overtaken = aRunner(store, places, { leaseMs: 30_000 })
  await overtaken.start()
  expect(await overtaken.result('t', soon())).toMatchObject({ attempt: 3 })
  await overtaken.stop()
  expect(comfyui.submissions).toBe(0)
})

test('a prompt that runs on while agents come and go is not given up', async () => {
  const { comfyui, places } = await aComfy()
  const { store } = aStore()
  comfyui.onNext('hold')
  const first = aRunner(store, places)
  await first.submit('t', aWorkflow(1))
  await comfyui.held()
  await first.stop(0)
  for (let agents = 0; agents < 4; agents++) {
    const next = aRunner(store, places)
    await next.start()
    await eventually(async () => next.counts.running === 1 && (await store.get('t'))?.state === 'running')
    await next.stop(0)
  }
  const last = aRunner(store, places)
  await last.start()
  comfyui.release()
  expect(await last.result('t', soon())).toMatchObject({ state: 'succeeded', begun: 1 })
  expect(comfyui.submissions).toBe(1)
})

test('one task that cannot be read keeps nobody from those beside it', async () => {
  const { places } = await aComfy()
  const { dir, store } = aStore()
  const first = aRunner(store, [])
  for (const id of ['a', 'b', 'c', 'd']) await first.submit(id, aWorkflow(1, { prefix: id }))
  await first.stop(0)
  const damaged = createHash('sha256').update('b').digest('hex')
  writeFileSync(path.join(dir, damaged.slice(0, 2), damaged.slice(2), 'task.json'), '{"state":"of another version"}')
  const next = aRunner(store, places)
  await next.start()
  for (const id of ['a', 'c', 'd']) expect(await next.result(id, soon())).toMatchObject({ state: 'succeeded' })
  expect((await store.recent(10)).map(({ id }) => id).toSorted()).toEqual(['a', 'c', 'd'])
})

test('who was overtaken lets go, and tells what the other made of it', async () => {
  const { store } = aStore()
  const { places } = await aComfy()
  const slow = aRunner(store, places, { inFlight: 0 })
  await slow.start()
  const task = await slow.submit('t', aWorkflow(1))
  await store.mark('t', 'attempt-2')
  await store.put({ ...task, attempt: 2, state: 'succeeded' })
  expect(await slow.result('t', soon())).toMatchObject({ state: 'succeeded', attempt: 2 })
  expect(slow.counts).toEqual({ running: 0, waiting: 0 })
})

test('what is held is looked after, however long the storage takes to list what others left', async () => {
  const { places } = await aComfy()
  const { store, dir } = aStore()
  const another = new BucketTasks(new FolderBucket(dir))
  const listed = Promise.withResolvers<string[]>()
  store.open = () => listed.promise
  const runner = aRunner(store, places, { inFlight: 0, leaseMs: 300 })
  await runner.start()
  const { leaseUntil } = await runner.submit('t', aWorkflow(1))
  await eventually(async () => (await another.get('t'))!.leaseUntil > leaseUntil)
  await another.mark('t', 'cancel')
  expect(await runner.result('t', soon())).toMatchObject({ state: 'cancelled' })
  listed.resolve([])
})

test('it stops although nothing can be written any more', async () => {
  const { store } = aStore()
  const runner = aRunner(store, [])
  await runner.submit('a', aWorkflow(1))
  await runner.submit('b', aWorkflow(2))
  store.put = async () => {
    throw new Error('the storage is away')
  }
  await runner.stop(0)
})

test('a ComfyUI that answers nothing for a while, as while it loads a model, is waited for; each task is done once', async () => {
  const { comfyui } = await aComfy()
  const front = await aFront(comfyui.url)
  const { store } = aStore()
  const heard: string[] = []
  const log = (event: string) => heard.push(event)
  const runner = aRunner(store, [readAddress(front.url)], {
    timeoutMs: 100,
    pace: { lookEveryMs: 50, patienceMs: 100 },
    inFlight: 2,
    log,
  })
  await runner.start()
  comfyui.onNext('hold')
  await runner.submit('runs', aWorkflow(1))
  await eventually(async () => (await runner.status('runs'))?.state === 'running')
  await comfyui.held()
  front.freeze()
  await runner.submit('comes', aWorkflow(2))
  const unheard = () => heard.filter((event) => event === 'task.unheard').length
  await eventually(() => unheard() > 1)
  comfyui.release()
  front.thaw()
  for (const id of ['runs', 'comes']) expect(await runner.result(id, soon())).toMatchObject({ state: 'succeeded' })
  expect(comfyui.submissions).toBe(2)
})

/** Stands before a server and lets nothing through while it is frozen. */
async function aFront(to: string) {
  const sockets = new Set<Socket>()
  let frozen = false
  const server = createServer((from) => {
    const onward = connect(Number(new URL(to).port), '127.0.0.1')
    for (const [one, other] of [
      [from, onward],
      [onward, from],
    ] as const) {
      sockets.add(one)
      one.on('error', () => other.destroy())
      one.on('close', () => {
        sockets.delete(one)
        other.destroy()
      })
      one.on('data', (chunk) => other.write(chunk))
      if (frozen) one.pause()
    }
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}`,
    freeze() {
      frozen = true
      for (const socket of sockets) socket.pause()
    },
    thaw() {
      frozen = false
      for (const socket of sockets) socket.resume()
    },
  }
}

async function* bytes(text: string) {
  yield Buffer.from(text)
}
