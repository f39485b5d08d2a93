import { readdirSync, statSync, utimesSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import type { Hook, Task } from '../../../../../core/contract/agent.ts'
import { FolderBucket, within } from '../../../../../core/engine/store/bucket.ts'
import { BucketTasks, type TaskStore } from '../../../../../core/gateway/fc/tasks.ts'
import { SqliteTasks } from '../../../../../main/services/task-store.ts'
import { aTask } from '../../../../kit/a-task.ts'
import { fakeS3 } from '../../../../kit/fake-s3.ts'
import { testDatabase } from '../../../../kit/queue-kit.ts'
import { tempDir } from '../../../../kit/temp-dir.ts'
import { turnableClock } from '../../../../kit/turnable-clock.ts'

const task = (id: string, state: Task['state'] = 'running', createdAt = 1) =>
  aTask({
    id,
    state,
    createdAt,
    seeds: { 3: 2 ** 52 },
    refusal: { error: { type: 'x' } },
    nodes: { 图: { max: 1, value: 1, start: 1, last_updated: 1, images: null, cached: true } },
  })
const hook = (id: string, nextAt: number | null): Hook => ({
  id,
  url: 'https://receiver.example/done',
  caller: 'k',
  base: 'http://agent.example',
  createdAt: 1,
  tries: 0,
  nextAt,
  toldAt: null,
  reason: null,
})
const filesIn = (dir: string) =>
  readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.join(entry.parentPath, entry.name))
async function* one(text: string) {
  yield Buffer.from(text)
}
const read = async (store: TaskStore, id: string, name: string) => {
  const stream = await store.read(id, name)
  return stream && Buffer.concat(await stream.toArray()).toString()
}

/** `open` again: another agent on the same. `age`: all that is there was last changed in 1970. */
interface Kind {
  open(): TaskStore
  age(): void | Promise<void>
}
const kinds: [string, () => Promise<Kind>][] = [
  [
    'a folder',
    async () => {
      const dir = tempDir()
      return {
        open: () => new BucketTasks(new FolderBucket(dir)),
        age: () => {
          for (const file of filesIn(dir)) utimesSync(file, 1_000, 1_000)
        },
      }
    },
  ],
  [
    'a database',
    async () => {
      const [database, dir] = [testDatabase(), tempDir()]
      const clock = turnableClock(3_000_000)
      return {
        open: () => new SqliteTasks({ database, clock, files: new FolderBucket(dir) }),
        age: () => {
          database.exec('UPDATE tasks SET changed_at = 1000000; UPDATE task_marks SET at = 1000000')
        },
      }
    },
  ],
  [
    'object storage',
    async () => {
      const storage = await fakeS3()
      storage.pageSize = 3
      const stores = await Promise.all(Array.from({ length: 3 }, () => storage.open('agents/one')))
      let next = 0
      return {
        open: () => new BucketTasks(within(stores[next++ % 3]!.bucket, 'tasks/')),
        age: () => {
          for (const entry of storage.objects.values()) entry.at = 1_000_000
        },
      }
    },
  ],
]

describe.each(kinds)('tasks in %s', (_, make) => {
  test.each(['t-1', '../../outside', '/etc/passwd', '.', 'a/b', 'CON', 'a b', '名'])(
    'one called %j comes back',
    async (id) => {
      const { open } = await make()
      expect(await open().get(id)).toBeNull()
      await open().put(task(id))
      expect(await open().get(id)).toEqual(task(id))
    },
  )

  test('who reads while it is written finds a whole task', async () => {
    const store = (await make()).open()
    await store.put(task('a'))
    const writing = Promise.all(Array.from({ length: 30 }, () => store.put(task('a'))))
    const seen = await Promise.all(Array.from({ length: 30 }, () => store.get('a')))
    await writing
    expect(seen.every((each) => each?.id === 'a')).toBe(true)
  })

  test('a mark is set by one alone, of however many', async () => {
    const { open } = await make()
    const tries = Array.from({ length: 12 }, () => open().mark('a', 'attempt-1'))
    expect((await Promise.all(tries)).filter(Boolean)).toHaveLength(1)
    expect(await open().marked('a', 'attempt-1')).toBe(true)
    expect(await open().marked('a', 'attempt-2')).toBe(false)
    expect(await open().marked('b', 'attempt-1')).toBe(false)
  })

  test('whoever was overtaken by a later attempt changes nothing any more', async () => {
    const { open } = await make()
    const [slow, quick] = [open(), open()]
    await slow.put(task('a'))
    expect(await quick.mark('a', 'attempt-2')).toBe(true)
    await quick.put({ ...task('a'), attempt: 2 })
    await slow.put({ ...task('a', 'failed'), attempt: 1 })
    expect(await quick.get('a')).toMatchObject({ state: 'running', attempt: 2 })
    expect(await quick.open()).toEqual(['a'])
  })

  test('what is not over is listed until it is, for all of them', async () => {
    const { open } = await make()
    const store = open()
    await store.put(task('a', 'queued'))
    await store.put(task('b', 'running'))
    expect((await open().open()).toSorted()).toEqual(['a', 'b'])
    await store.put(task('a', 'failed'))
    expect(await open().open()).toEqual(['b'])
  })

  test('the newest come first, and no more than were asked for', async () => {
    const { open } = await make()
    for (const [at, id] of ['first', 'second', 'third'].entries())
      await open().put(task(id, 'queued', 1_000 * (at + 1)))
    await open().put(task('second', 'succeeded', 2_000))
    expect((await open().recent(2)).map(({ id, state }) => [id, state])).toEqual([
      ['third', 'queued'],
      ['second', 'succeeded'],
    ])
  })

  test('files are kept whole, replaced, and not at all when they break off', async () => {
    const { open } = await make()
    expect(await read(open(), 'a', '0')).toBeNull()
    expect(await open().keep('a', '0', one('first'))).toEqual({ sizeBytes: 5 })
    await open().keep('a', '0', one('picture'))
    expect(await read(open(), 'a', '0')).toBe('picture')
    async function* broken() {
      yield Buffer.from('half')
      throw new Error('cut')
    }
    await expect(open().keep('a', '1', broken())).rejects.toThrow('cut')
    expect(await read(open(), 'a', '1')).toBeNull()
  })

  test('what is old goes, with its files; what is not stays, and what never became a task is old in its own time', async () => {
    const { open, age } = await make()
    const store = open()
    await store.put(task('old', 'running'))
    await store.put(task('old', 'succeeded'))
    await store.keep('old', '0', one('picture'))
    await store.putHook(hook('old', 5))
    await store.mark('once 1', 'once')
    await age()
    await store.put(task('new', 'running'))
    await store.mark('once 2', 'once')
    expect(await store.expire(2_000_000)).toBe(2)
    expect([await store.get('old'), await read(store, 'old', '0'), await store.hook('old')]).toEqual([null, null, null])
    expect(await store.marked('once 1', 'once')).toBe(false)
    expect(await store.marked('once 2', 'once')).toBe(true)
    expect(await store.owed()).toEqual([])
    expect((await store.recent(9)).map(({ id }) => id)).toEqual(['new'])
  })

  test('all who share it have one secret', async () => {
    const { open } = await make()
    const secrets = await Promise.all(Array.from({ length: 5 }, () => open().secret()))
    expect(new Set(secrets.map((secret) => secret.toString('hex'))).size).toBe(1)
    expect(secrets[0]).toHaveLength(32)
  })

  test('a webhook is owed until it was told', async () => {
    const { open } = await make()
    expect(await open().hook('a')).toBeNull()
    await open().putHook(hook('a', 5))
    await open().putHook(hook('b', 5))
    expect((await open().owed()).toSorted()).toEqual(['a', 'b'])
    await open().putHook({ ...hook('a', null), toldAt: 7 })
    expect(await open().owed()).toEqual(['b'])
    expect(await open().hook('a')).toEqual({ ...hook('a', null), toldAt: 7 })
  })
})

test.skipIf(process.platform === 'win32')('of a folder of tasks nobody else may read anything', async () => {
  const dir = tempDir()
  const store = new BucketTasks(new FolderBucket(path.join(dir, 'tasks')))
  await store.put(task('../../outside'))
  await store.mark('a', 'cancel')
  await store.keep('a', '0', one('x'))
  await store.secret()
  expect(new Set(filesIn(dir).map((file) => statSync(file).mode & 0o777))).toEqual(new Set([0o600]))
  expect(readdirSync(dir)).toEqual(['tasks'])
})

test('which tasks are open is asked for once for each', async () => {
  const bucket = new FolderBucket(tempDir())
  const asked: string[] = []
  const get = bucket.get.bind(bucket)
  bucket.get = (name, ...range) => {
    asked.push(name)
    return get(name, ...range)
  }
  const store = new BucketTasks(bucket)
  for (const id of ['a', 'b']) await store.put(task(id, 'queued'))
  for (let looks = 0; looks < 3; looks++) expect((await store.open()).toSorted()).toEqual(['a', 'b'])
  expect(asked).toHaveLength(2)
})

test('of a folder of tasks nothing is left once all are old', async () => {
  const dir = tempDir()
  const store = new BucketTasks(new FolderBucket(dir))
  await store.put(task('a'))
  await store.put(task('a', 'succeeded'))
  await store.keep('a', '0', one('x'))
  expect(await store.expire(Date.now() + 60_000)).toBe(1)
  expect(readdirSync(dir)).toEqual([])
})
