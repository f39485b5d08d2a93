import path from 'node:path'
import Sqlite from 'better-sqlite3'
import { expect, test } from 'vitest'
import { jobStates, moves } from '../../../../core/domain/queue/job-state.ts'
import { migrate } from '../../../../main/services/database/migrate.ts'
import { migrations } from '../../../../main/services/database/migrations/index.ts'
import { openDatabase } from '../../../../main/services/database/open.ts'
import { Queue } from '../../../../main/services/queue.ts'
import { aBatch, someJobs, testDatabase } from '../../../kit/queue-kit.ts'
import { tempDir } from '../../../kit/temp-dir.ts'
import { turnableClock } from '../../../kit/turnable-clock.ts'

test('a new file is brought to the newest version, and opening it again changes nothing', () => {
  const file = path.join(tempDir(), 'nightshift.db')
  const first = openDatabase(file)
  const schema = first.prepare('SELECT name, sql FROM sqlite_schema ORDER BY name').all()
  expect(first.pragma('user_version', { simple: true })).toBe(migrations.length)
  expect(first.pragma('journal_mode', { simple: true })).toBe('wal')
  first.close()
  const second = openDatabase(file)
  expect(second.prepare('SELECT name, sql FROM sqlite_schema ORDER BY name').all()).toEqual(schema)
  expect(second.pragma('integrity_check', { simple: true })).toBe('ok')
  second.close()
})

test('a migration that fails leaves the version before it, with its rows', () => {
  const database = new Sqlite(':memory:')
  migrate(database, ['CREATE TABLE a (x INTEGER) STRICT; INSERT INTO a VALUES (1);'])
  const broken = ['', 'ALTER TABLE a ADD COLUMN y TEXT;', 'INSERT INTO a VALUES (nonsense);']
  expect(() => migrate(database, broken)).toThrow('nonsense')
  expect(database.prepare('SELECT * FROM a').all()).toEqual([{ x: 1 }])
  expect(database.pragma('user_version', { simple: true })).toBe(1)
  database.close()
})

test('a file from before engines keeps its workers, and may have one that an engine runs', () => {
  const database = new Sqlite(':memory:')
  migrate(database, migrations.slice(0, 2))
  const add = `INSERT INTO workers (id, kind, url, created_at) VALUES (?, ?, ?, 1)`
  database.prepare(add).run('render', 'remote', 'http://10.0.0.2:8188/')
  migrate(database, migrations)
  database.prepare(add).run('local', 'local', null)
  const engine = `INSERT INTO engines (name, kind, dir, python, settings, created_at) VALUES ('local', ?, '/c', '/p', '{}', 1)`
  database.prepare(engine).run('manual')
  expect(database.prepare('SELECT id FROM workers ORDER BY id').pluck().all()).toEqual(['local', 'render'])
  expect(() => database.prepare(engine.replace("'local'", "'b'")).run('rented')).toThrow('CHECK')
  database.close()
})

test('a file from before downloads keeps what it has, and one file is fetched once at a time', () => {
  const database = new Sqlite(':memory:')
  migrate(database, migrations.slice(0, 3))
  database.exec(`INSERT INTO engines VALUES ('local', 'manual', '/c', '/p', '{}', 1)`)
  migrate(database, migrations)
  expect(database.prepare('SELECT name FROM engines').pluck().all()).toEqual(['local'])
  const add = database.prepare(`INSERT INTO downloads (name, kind, path, sources, about, state, place, created_at)
    VALUES ('a', 'model', '/m/a', '[]', '{}', ?, 1, 1)`)
  add.run('done')
  add.run('waiting')
  expect(() => add.run('paused')).toThrow('UNIQUE')
  const measured = `INSERT INTO mirror_measurements (kind, place, at, ok, fault) VALUES ('git', 'a', 1, ?, ?)`
  expect(() => database.prepare(measured).run(1, 'wrong')).toThrow('CHECK')
  database.close()
})

test('a file from before publications keeps its models, and an endpoint is published to once at a time', () => {
  const database = new Sqlite(':memory:')
  migrate(database, migrations.slice(0, 7))
  database.exec(`INSERT INTO model_roots VALUES ('/models', 1)`)
  migrate(database, migrations)
  expect(database.prepare('SELECT dir FROM model_roots').pluck().all()).toEqual(['/models'])
  const add = database.prepare(`INSERT INTO publications (id, endpoint, snapshot_id, step, state, facts, created_at)
    VALUES (?, 'gpu', 's', 'push', ?, '{}', 1)`)
  add.run('a', 'done')
  add.run('b', 'running')
  expect(() => add.run('c', 'asking')).toThrow('UNIQUE')
  expect(() => add.run('c', 'sleeping')).toThrow('CHECK')
  database.close()
})

test('a file from before endpoints keeps what was published, and no two endpoints have one address', () => {
  const database = new Sqlite(':memory:')
  migrate(database, migrations.slice(0, 9))
  database.exec(`INSERT INTO publications (id, endpoint, snapshot_id, step, state, facts, created_at)
    VALUES ('p', 'gpu', 's', 'push', 'done', '{}', 1)`)
  migrate(database, migrations)
  expect(database.prepare('SELECT endpoint FROM publications').pluck().all()).toEqual(['gpu'])
  const add = database.prepare(`INSERT INTO endpoints (name, url, capacity, checkpoints, pace, created_at)
    VALUES (?, 'http://10.0.0.2:9000/', 4, '[]', '{}', 1)`)
  add.run('gpu')
  expect(() => add.run('again')).toThrow('UNIQUE')
  database.close()
})

test('a file from a newer app is refused, untouched', () => {
  const file = path.join(tempDir(), 'nightshift.db')
  const newer = openDatabase(file)
  newer.pragma(`user_version = ${migrations.length + 1}`)
  newer.close()
  expect(() => openDatabase(file)).toThrow(expect.objectContaining({ code: 'database.newer-than-app' }))
})

test('the database allows exactly the moves the rules name', () => {
  const database = testDatabase()
  const queue = new Queue({ database, clock: turnableClock() })
  queue.submit(aBatch(), someJobs(1))
  const seq = Number(queue.page({}).rows[0]!.id.slice(1))
  const force = (state: string) => {
    database.exec('DROP TRIGGER jobs_move')
    database.prepare('UPDATE jobs SET state = ? WHERE seq = ?').run(state, seq)
    database.exec(moveTrigger)
  }
  const moveTrigger = database.prepare(`SELECT sql FROM sqlite_schema WHERE name = 'jobs_move'`).pluck().get() as string
  const allowed = Object.fromEntries(
    jobStates.map((from) => [
      from,
      jobStates.filter((to) => {
        if (from === to) return false
        force(from)
        try {
          database.prepare('UPDATE jobs SET state = ? WHERE seq = ?').run(to, seq)
          return true
        } catch {
          return false
        }
      }),
    ]),
  )
  const ordered = Object.fromEntries(
    jobStates.map((from) => [from, jobStates.filter((to) => (moves[from] as readonly string[]).includes(to))]),
  )
  expect(allowed).toEqual(ordered)
})
