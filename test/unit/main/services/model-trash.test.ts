import { existsSync, linkSync, lstatSync, mkdirSync, readFileSync, renameSync, rmSync, symlinkSync } from 'node:fs'
import path from 'node:path'
import Sqlite from 'better-sqlite3'
import { expect, onTestFinished, test } from 'vitest'
import { migrate } from '../../../../main/services/database/migrate.ts'
import { migrations } from '../../../../main/services/database/migrations/index.ts'
import { ModelTrash } from '../../../../main/services/model-trash.ts'
import { aCheckpoint, aLora, put } from '../../../kit/model-files.ts'
import { modelsKit } from '../../../kit/models-kit.ts'
import { tempDir } from '../../../kit/temp-dir.ts'

async function kit(given: Parameters<typeof modelsKit>[0] = {}) {
  const library = await modelsKit(given)
  const { models, database, clock } = library
  let ids = 0
  const open = () => new ModelTrash({ database, clock, models, newId: () => `trash-${++ids}` })
  const trash = open()
  await trash.start()
  const idOf = (name: string) => models.find(name)!.id
  return { ...library, trash, open, idOf }
}

test('what is put in the trash is gone for loaders, keeps its bytes and its place, and comes back with hash and note', async () => {
  const dir = tempDir()
  put(dir, { 'models/loras/a.safetensors': aLora(1), 'models/loras/a.preview.png': 'picture' })
  put(dir, { 'models/checkpoints/b.safetensors': aCheckpoint() })
  const { models, trash, idOf, open } = await kit({ dir })
  await models.scan()
  await models.hash()
  const before = models.note(idOf('a.safetensors'), 'a good one')
  const file = before.places[0]!.path
  const { rows, left } = await trash.put([before.id])
  expect(left).toEqual([])
  expect(rows).toMatchObject([
    {
      name: 'a.safetensors',
      folder: 'loras',
      paths: [file],
      sizeBytes: before.sizeBytes,
      freedBytes: before.sizeBytes,
    },
  ])
  expect(models.find('a.safetensors')).toBeNull()
  expect([existsSync(file), existsSync(path.join(dir, 'models/loras/a.preview.png'))]).toEqual([false, true])
  await models.scan()
  expect(models.page({}).rows.map(({ name }) => name)).toEqual(['b.safetensors'])

  const later = open() // another start of the app
  await later.start()
  expect(later.list()).toEqual(rows)
  expect(await later.restore([rows[0]!.id])).toEqual({ changed: 1, left: [] })
  expect(readFileSync(file)).toEqual(aLora(1))
  expect(models.find('a.safetensors')).toMatchObject({ sha256: before.sha256, hasNote: true, hasPreview: true })
  expect(later.list()).toEqual([])
})

test('nothing is overwritten when it comes back; a second one of a name lies beside the first', async () => {
  const dir = tempDir()
  put(dir, { 'models/loras/a.safetensors': aLora(1) })
  const { models, trash, idOf } = await kit({ dir })
  await models.scan()
  const [first] = (await trash.put([idOf('a.safetensors')])).rows
  put(dir, { 'models/loras/a.safetensors': aLora(2) })
  await models.scan()
  const refused = await trash.restore([first!.id])
  expect(refused).toMatchObject({ changed: 0, left: [{ name: 'a.safetensors', failure: { code: 'model.taken' } }] })
  const [second] = (await trash.put([idOf('a.safetensors')])).rows
  expect(trash.list()).toHaveLength(2)
  expect(await trash.restore([first!.id])).toMatchObject({ changed: 1 })
  expect(readFileSync(path.join(dir, 'models/loras/a.safetensors'))).toEqual(aLora(1))
  expect(await trash.empty([second!.id])).toMatchObject({ changed: 1, freedBytes: aLora(2).length })
  expect(trash.list()).toEqual([])
})

test('every name of a file goes and comes back, links too; bytes are freed only with the last name', async () => {
  const dir = tempDir()
  const outside = tempDir()
  put(dir, { 'models/loras/a.safetensors': aLora(1), 'models/loras/c.safetensors': aLora(3) })
  const at = (name: string) => path.join(dir, 'models', name)
  mkdirSync(at('checkpoints'), { recursive: true })
  linkSync(at('loras/a.safetensors'), at('checkpoints/twin.safetensors'))
  symlinkSync(at('loras/a.safetensors'), at('loras/link.safetensors'))
  linkSync(at('loras/c.safetensors'), path.join(outside, 'elsewhere.safetensors'))
  const { models, trash, idOf } = await kit({ dir })
  await models.scan()
  const { rows } = await trash.put([idOf('a.safetensors'), idOf('c.safetensors')])
  expect(models.page({}).total).toBe(0)
  const freed = Object.fromEntries(rows.map(({ paths, freedBytes }) => [paths.length, freedBytes]))
  expect(freed).toEqual({ 3: aLora(1).length, 1: 0 })
  expect(await trash.restore(rows.map(({ id }) => id))).toEqual({ changed: 2, left: [] })
  expect(lstatSync(at('loras/link.safetensors')).isSymbolicLink()).toBe(true)
  expect(readFileSync(at('loras/link.safetensors'))).toEqual(aLora(1))
  expect(lstatSync(at('checkpoints/twin.safetensors')).ino).toBe(lstatSync(at('loras/a.safetensors')).ino)
})

test('emptying removes files for good, with what lies beside them unless another model has the same name', async () => {
  const dir = tempDir()
  put(dir, { 'models/loras/a.safetensors': aLora(1), 'models/loras/a.png': 'a', 'models/loras/b.png': 'b' })
  put(dir, { 'models/loras/b.safetensors': aLora(2), 'models/loras/b.gguf': 'GGUF' })
  const { models, trash, idOf } = await kit({ dir })
  await models.scan()
  await trash.put([idOf('a.safetensors'), idOf('b.safetensors')])
  expect(await trash.empty(null)).toMatchObject({ changed: 2, left: [] })
  const left = ['a.safetensors', 'a.png', 'b.safetensors', 'b.png', 'b.gguf']
  expect(left.filter((name) => existsSync(path.join(dir, 'models/loras', name)))).toEqual(['b.png', 'b.gguf'])
})

test('what was cut off before it was done, or undone by hand, is not in the trash; a disk that is away keeps its own', async () => {
  const dir = tempDir()
  const away = path.join(tempDir(), 'disk')
  put(dir, { 'models/loras/a.safetensors': aLora(1) })
  const { models, trash, open, idOf, database } = await kit({ dir })
  await models.scan()
  const insert = database.prepare(`INSERT INTO model_trash VALUES (NULL, ?, 1, 'x', 'loras', ?, ?, '[]', 1, 1)`)
  const file = path.join(dir, 'models/loras/a.safetensors')
  insert.run('cut off', file, `${file}.nightshift-trash`)
  insert.run('away', path.join(away, 'x.safetensors'), path.join(away, 'x.safetensors.nightshift-trash'))
  const later = open()
  await later.start()
  expect(later.list().map(({ id }) => id)).toEqual(['away'])
  const [put1] = (await trash.put([idOf('a.safetensors')])).rows
  renameSync(`${file}.nightshift-trash`, file)
  await later.start()
  expect(later.list().map(({ id }) => id)).not.toContain(put1!.id)
})

test.skipIf(process.getuid?.() === 0 || process.platform === 'win32')(
  'a folder that may not be written leaves all as it is, and says so',
  async () => {
    const dir = tempDir()
    put(dir, { 'models/loras/a.safetensors': aLora(1) })
    const { models, trash, idOf } = await kit({ dir })
    await models.scan()
    const { chmodSync } = await import('node:fs')
    chmodSync(path.join(dir, 'models/loras'), 0o500)
    onTestFinished(() => chmodSync(path.join(dir, 'models/loras'), 0o700))
    const { rows, left } = await trash.put([idOf('a.safetensors')])
    expect([rows, left]).toMatchObject([[], [{ failure: { code: 'disk.denied' } }]])
    expect([trash.list(), models.page({}).total]).toEqual([[], 1])
  },
)

test('a file that went meanwhile is told, and nothing is written down of it', async () => {
  const dir = tempDir()
  put(dir, { 'models/loras/a.safetensors': aLora(1), 'models/loras/b.safetensors': aLora(2) })
  const { models, trash, idOf } = await kit({ dir })
  await models.scan()
  const ids = [idOf('a.safetensors'), idOf('b.safetensors')]
  rmSync(path.join(dir, 'models/loras/a.safetensors'))
  expect(await trash.put(ids)).toMatchObject({
    rows: [{ name: 'b.safetensors' }],
    left: [{ name: 'a.safetensors', failure: { code: 'input.missing' } }],
  })
  expect(trash.list()).toHaveLength(1)
})

test('a database from before has no trash, and keeps its models', () => {
  const database = new Sqlite(path.join(tempDir(), 'old.db'))
  onTestFinished(() => void database.close())
  const before = migrations.findIndex((sql) => sql.includes('CREATE TABLE model_trash'))
  migrate(database, migrations.slice(0, before))
  database.prepare(`INSERT INTO model_files VALUES ('/m/a', '1', '2', 3, '4', '{}', '[]', NULL, 5)`).run()
  migrate(database, migrations)
  expect(database.prepare('SELECT count(*) FROM model_trash').pluck().get()).toBe(0)
  expect(database.prepare('SELECT real FROM model_files').pluck().all()).toEqual(['/m/a'])
})
