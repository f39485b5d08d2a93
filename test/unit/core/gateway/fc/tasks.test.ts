import { readdirSync, statSync, utimesSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import type { Task } from '../../../../../core/contract/agent.ts'
import { FolderTasks } from '../../../../../core/gateway/fc/tasks.ts'
import { tempDir } from '../../../../kit/temp-dir.ts'

const task = (id: string, state: Task['state'] = 'running'): Task => ({
  id,
  sha256: 'a',
  promptId: 'p',
  state,
  createdAt: 1,
  updatedAt: 2,
  attempt: 1,
  leaseUntil: 3,
  queuePosition: null,
  seeds: { 3: 2 ** 52 },
  failure: null,
  refusal: { error: { type: 'x' } },
  nodes: { 图: { max: 1, value: 1, start: 1, last_updated: 1, images: null, cached: true } },
  files: [],
})
const filesIn = (dir: string) =>
  readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.join(entry.parentPath, entry.name))

test.each(['t-1', '../../outside', '/etc/passwd', '.', 'a/b', 'CON'])(
  'a task called %j comes back, inside the folder',
  async (id) => {
    const dir = tempDir()
    const store = new FolderTasks(path.join(dir, 'store'))
    expect(await store.get(id)).toBeNull()
    await store.put(task(id))
    expect(await store.get(id)).toEqual(task(id))
    expect(readdirSync(dir)).toEqual(['store'])
  },
)

test.skipIf(process.platform === 'win32')('nobody else may read them', async () => {
  const dir = tempDir()
  const store = new FolderTasks(dir)
  await store.put(task('a'))
  await store.mark('a', 'cancel')
  await store.keep(
    'a',
    '0',
    (async function* () {
      yield Buffer.from('x')
    })(),
  )
  expect(filesIn(dir).map((file) => statSync(file).mode & 0o777)).toEqual([0o600, 0o600, 0o600, 0o600])
})

test('who reads while it is written finds a whole task', async () => {
  const store = new FolderTasks(tempDir())
  await store.put(task('a'))
  const writing = Promise.all(Array.from({ length: 50 }, () => store.put(task('a'))))
  const read = await Promise.all(Array.from({ length: 50 }, () => store.get('a')))
  await writing
  expect(read.every((seen) => seen?.id === 'a')).toBe(true)
})

test('a mark is set by one alone, of however many', async () => {
  const dir = tempDir()
  const tries = Array.from({ length: 20 }, () => new FolderTasks(dir).mark('a', 'attempt-1'))
  expect((await Promise.all(tries)).filter(Boolean)).toHaveLength(1)
  expect(await new FolderTasks(dir).marked('a', 'attempt-1')).toBe(true)
  expect(await new FolderTasks(dir).marked('a', 'attempt-2')).toBe(false)
})

test('what is not over is listed until it is', async () => {
  const store = new FolderTasks(tempDir())
  await store.put(task('a', 'queued'))
  await store.put(task('b', 'running'))
  expect((await store.open()).toSorted()).toEqual(['a', 'b'])
  await store.put(task('a', 'failed'))
  expect(await store.open()).toEqual(['b'])
})

test('what is old goes, with its files; what is not stays', async () => {
  const dir = tempDir()
  const store = new FolderTasks(dir)
  await store.put(task('old', 'succeeded'))
  await store.keep(
    'old',
    '0',
    (async function* () {
      yield Buffer.from('picture')
    })(),
  )
  for (const file of filesIn(dir)) utimesSync(file, 1_000, 1_000)
  await store.put(task('new', 'succeeded'))
  expect(await store.expire(2_000_000)).toBe(1)
  expect(await store.get('old')).toBeNull()
  expect(await store.read('old', '0')).toBeNull()
  expect(await store.get('new')).not.toBeNull()
})
