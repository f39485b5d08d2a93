import { randomUUID } from 'node:crypto'
import Sqlite from 'better-sqlite3'
import { expect, test } from 'vitest'
import { migrate } from '../../../../main/services/database/migrate.ts'
import { migrations } from '../../../../main/services/database/migrations/index.ts'
import { Keys } from '../../../../main/services/keys.ts'
import { testDatabase } from '../../../kit/queue-kit.ts'
import { turnableClock } from '../../../kit/turnable-clock.ts'

function someKeys() {
  const database = testDatabase()
  const clock = turnableClock()
  return { database, clock, keys: new Keys({ database, clock, newId: randomUUID }) }
}

test('a key opens what it is for until it is revoked; of it only its beginning and a hash are kept', () => {
  const { keys, database } = someKeys()
  const { key, token } = keys.make('laptop', ['comfyui'])
  expect(keys.enter(token, 'comfyui')?.id).toBe(key.id)
  expect(keys.enter(`${token}x`, 'comfyui')).toBeNull()
  expect(keys.enter(token.slice(0, -1), 'comfyui')).toBeNull()
  expect(keys.enter('', 'comfyui')).toBeNull()
  const kept = JSON.stringify(database.prepare('SELECT * FROM keys').all())
  expect(kept).not.toContain(token.slice(10))
  expect(token.startsWith(key.start)).toBe(true)

  const told: string[] = []
  keys.events.on('revoked', (id) => told.push(id))
  expect(keys.revoke(key.id).revokedAt).not.toBeNull()
  expect(keys.enter(token, 'comfyui')).toBeNull()
  expect(told).toEqual([key.id])
  expect(() => keys.revoke('nobody')).toThrow(expect.objectContaining({ code: 'app.not-found' }))
})

test('a key does not open what it is not for, and when it was used last is noted', () => {
  const { keys, database, clock } = someKeys()
  const { key, token } = keys.make('laptop', ['comfyui'])
  database.prepare(`UPDATE keys SET scopes = '["other"]'`).run()
  expect(keys.enter(token, 'comfyui')).toBeNull()
  expect(keys.list()[0]!.usedAt).toBeNull()
  database.prepare(`UPDATE keys SET scopes = '["comfyui"]'`).run()
  keys.enter(token, 'comfyui')
  expect(keys.list()).toEqual([{ ...key, usedAt: clock.now() }])
})

test('a key opens nothing once its time is over', () => {
  const { keys, clock } = someKeys()
  const { key, token } = keys.make('guest', ['run'], clock.now() + 1_000)
  expect(keys.list()[0]).toEqual({ ...key, expiresAt: clock.now() + 1_000 })
  expect(keys.enter(token, 'run')?.id).toBe(key.id)
  clock.turn(1_000)
  expect(keys.enter(token, 'run')).toBeNull()
})

test('keys from before they could end go on without an end', () => {
  const database = new Sqlite(':memory:')
  migrate(database, migrations.slice(0, 8))
  const kept = `INSERT INTO keys (id, name, start, hash, scopes, created_at) VALUES ('k', 'laptop', 'ns_', 'h', '["run"]', 1)`
  database.prepare(kept).run()
  migrate(database, migrations)
  const [key] = new Keys({ database, clock: turnableClock(), newId: randomUUID }).list()
  expect(key).toMatchObject({ id: 'k', name: 'laptop', expiresAt: null })
  database.close()
})

test('a file from before keys keeps its workers and can have keys', () => {
  const database = new Sqlite(':memory:')
  migrate(database, migrations.slice(0, 4))
  database.prepare(`INSERT INTO workers (id, kind, created_at) VALUES ('gpu', 'remote', 1)`).run()
  migrate(database, migrations)
  new Keys({ database, clock: turnableClock(), newId: randomUUID }).make('laptop', ['comfyui'])
  expect(database.prepare('SELECT id FROM workers').pluck().all()).toEqual(['gpu'])
  expect(database.prepare('SELECT name FROM keys').pluck().all()).toEqual(['laptop'])
  database.close()
})
