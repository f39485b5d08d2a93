import { existsSync, readdirSync } from 'node:fs'
import Sqlite from 'better-sqlite3'
import { expect, test } from 'vitest'
import { FolderBucket } from '../../../../core/engine/store/bucket.ts'
import { migrate } from '../../../../main/services/database/migrate.ts'
import { migrations } from '../../../../main/services/database/migrations/index.ts'
import { SqliteTasks } from '../../../../main/services/task-store.ts'
import { aTask } from '../../../kit/a-task.ts'
import { tempDir } from '../../../kit/temp-dir.ts'
import { turnableClock } from '../../../kit/turnable-clock.ts'

const task = aTask()

test('the tables of tasks come to a database of the version before, and its rows stay', async () => {
  const database = new Sqlite(':memory:')
  migrate(database, migrations.slice(0, 10))
  const insert = database.prepare(
    `INSERT INTO keys (id, name, start, hash, scopes, created_at) VALUES ('1', 'laptop', 'ns_1', 'h', '["run"]', 1)`,
  )
  insert.run()
  migrate(database, migrations.slice(0, 11))
  expect(database.prepare('SELECT name FROM keys').pluck().all()).toEqual(['laptop'])
  const store = new SqliteTasks({ database, clock: turnableClock(), files: new FolderBucket(tempDir()) })
  await store.put(task)
  expect(await store.get('t')).toEqual(task)
  expect(() => database.exec(`UPDATE tasks SET state = 'lost'`)).toThrow(/CHECK/)
})

test('a file that was sent ahead, and asked for since, outlives what was not', async () => {
  const database = new Sqlite(':memory:')
  migrate(database, migrations)
  const [clock, dir] = [turnableClock(), tempDir()]
  const store = new SqliteTasks({ database, clock, files: new FolderBucket(dir) })
  for (const id of ['input a', 'input b'])
    await store.keep(
      id,
      'bytes',
      (async function* () {
        yield Buffer.from(id)
      })(),
    )
  const sentAt = clock.now()
  clock.turn(86_400_000)
  await store.mark('input b', 'asked-1')
  expect(await store.expire(sentAt + 1)).toBe(1)
  expect(await store.read('input a', 'bytes')).toBeNull()
  expect((await (await store.read('input b', 'bytes'))!.toArray()).join('')).toBe('input b')
  clock.turn(86_400_000)
  expect(await store.expire(clock.now())).toBe(1)
  expect(existsSync(dir) ? readdirSync(dir) : []).toEqual([])
})
