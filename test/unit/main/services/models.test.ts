import {
  existsSync,
  linkSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import path from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import Sqlite from 'better-sqlite3'
import { expect, test } from 'vitest'
import type { Artifact } from '../../../../core/contract/artifact.ts'
import { AppError, toFailure } from '../../../../core/contract/errors.ts'
import { writeJson } from '../../../../core/contract/json.ts'
import { migrate } from '../../../../main/services/database/migrate.ts'
import { migrations } from '../../../../main/services/database/migrations/index.ts'
import type { Models } from '../../../../main/services/models.ts'
import { eventually } from '../../../kit/eventually.ts'
import { aCheckpoint, aLora, aPickle, put } from '../../../kit/model-files.ts'
import { modelsKit as kit } from '../../../kit/models-kit.ts'
import { stopwatch } from '../../../kit/stopwatch.ts'
import { tempDir } from '../../../kit/temp-dir.ts'

const names = (rows: readonly { name: string }[]) => rows.map(({ name }) => name)

test('what a look found is there again after a restart, hashes and all, and nothing unchanged is read twice', async () => {
  const dir = tempDir()
  put(dir, { 'models/loras/sub/a.safetensors': aLora(), 'models/checkpoints/b.safetensors': aCheckpoint() })
  const first = await kit({ dir })
  await first.models.scan()
  await first.models.hash()
  const { rows } = first.models.page({})
  expect(rows).toMatchObject([
    { name: 'b.safetensors', kind: 'checkpoint', base: 'SD 1.5', folder: 'checkpoints', precision: 'fp16', flags: [] },
    { name: 'sub/a.safetensors', kind: 'lora', base: 'SDXL', folder: 'loras' },
  ])
  expect(first.models.byName('loras', 'sub\\A.safetensors')?.id).toBe(rows[1]!.id)
  expect(first.models.bySha256(rows[0]!.sha256!.toUpperCase())?.name).toBe('b.safetensors')
  expect(first.models.folderFor('local', 'unet')).toBe(path.join(dir, 'models', 'diffusion_models'))
  expect(first.models.folderFor(null, 'a-pack-of-its-own')).toBe(path.join(dir, 'models', 'a-pack-of-its-own'))
  await first.stop()

  const again = await kit({ dir, data: first.data })
  expect(again.models.page({}).rows).toEqual(rows)
  rmSync(path.join(dir, 'models/checkpoints/b.safetensors')) // as a disk that is away
  await again.models.scan()
  expect(names(again.models.page({}).rows)).toEqual(['sub/a.safetensors'])
  put(dir, { 'models/loras/c.safetensors': aLora(3) })
  await again.models.scan()
  expect(again.models.state()).toMatchObject({ models: 2, unhashed: 1, faults: [] })
})

test('who asks for a look while one is under way hears of what that one passed by', async () => {
  const { models, dir } = await kit()
  put(dir, { 'models/loras/a.safetensors': aLora() })
  const first = models.scan()
  // the folder is listed, and what is in it is read
  while (models.state().scannedAt === null && !models.progress()[0]?.files) await turn()
  put(dir, { 'models/loras/b.safetensors': aLora(1) })
  const [one, other] = await Promise.all([models.scan(), models.scan(), first])
  expect([one.models, other.models, models.state().models]).toEqual([2, 2, 2])
})

test('the hash a file came with is kept, even where all ends just then', async () => {
  const { models, dir, data, stop } = await kit()
  put(dir, { 'models/loras/a.safetensors': aLora() })
  const taken = models.takeIn(path.join(dir, 'models/loras/a.safetensors'), 'f'.repeat(64)).catch(() => null)
  await stop()
  await taken
  const { models: later } = await kit({ dir, data })
  expect(later.page({}).rows.map(({ sha256 }) => sha256)).toEqual(['f'.repeat(64)])
})

test('what an older reader said of a file is asked anew; its hash is kept', async () => {
  const dir = tempDir()
  put(dir, { 'models/checkpoints/a.ckpt': aPickle('os', 'system') })
  const first = await kit({ dir })
  await first.models.scan()
  await first.models.hash()
  const { sha256 } = first.models.find('a.ckpt')!
  expect(sha256).toMatch(/^[\da-f]{64}$/)
  first.database.exec(`UPDATE model_files SET facts = json_set(json_remove(facts, '$.reader'), '$.pickle', 'clean')`)
  await first.stop()
  const { models } = await kit({ dir, data: first.data })
  expect(models.find('a.ckpt')!.flags).toEqual([])
  await models.scan()
  expect(models.find('a.ckpt')).toMatchObject({ flags: ['unsafe'], sha256 })
})

test('search, filters, order and what nothing uses', async () => {
  const dir = tempDir()
  put(dir, {
    'models/loras/style.safetensors': aLora(0, { 'modelspec.trigger_phrase': 'ink wash' }),
    'models/checkpoints/dream.safetensors': aCheckpoint(),
    'models/checkpoints/big.safetensors': Buffer.concat([aCheckpoint(1, 2048)]),
    'models/checkpoints/lora.safetensors': aLora(1),
    'models/vae/cut.safetensors': aCheckpoint().subarray(0, -5),
  })
  const workflows = [{ id: 'w1', name: 'Night', files: ['dream.safetensors'] }]
  const { models, clock } = await kit({ dir, workflows })
  await models.scan()
  const found = (filter: Parameters<Models['page']>[0]) => names(models.page(filter).rows)
  expect(found({ search: 'INK' })).toEqual(['style.safetensors'])
  expect(found({ search: 'checkpoints sd' })).toContain('dream.safetensors')
  expect(found({ kind: 'lora' })).toEqual(['lora.safetensors', 'style.safetensors'])
  expect(found({ flag: 'wrong-folder' })).toEqual(['lora.safetensors'])
  expect(found({ flag: 'damaged' })).toEqual(['cut.safetensors'])
  expect(found({ unused: true })).not.toContain('dream.safetensors')
  expect(found({ sort: 'largest' })[0]).toBe('big.safetensors')
  const detail = await models.get(models.find('dream.safetensors')!.id)
  expect(detail).toMatchObject({ workflows: [{ id: 'w1', name: 'Night' }], usedBy: { workflows: 1, artifacts: 0 } })

  const artifact = { rehearsal: false, createdAt: 5 } as Artifact
  const prompt = { '1': { class_type: 'LoraLoader', inputs: { lora_name: 'sub\\style.safetensors' } } }
  models.made({ batchId: 'b1', overrides: {}, batch: { prompt } as never }, [artifact, artifact])
  models.made({ batchId: 'b2', overrides: {}, batch: { prompt } as never }, [{ ...artifact, rehearsal: true }])
  clock.turn(5_000)
  expect(models.find('style.safetensors')).toMatchObject({ usedBy: { artifacts: 2 }, lastUsedAt: 5 })
  expect((await models.get(models.find('style.safetensors')!.id)).artifactIds).toEqual(['picture of b1'])
})

test('what other programs put beside a model is shown; a note of ours stays with the file when it is moved', async () => {
  const dir = tempDir()
  put(dir, {
    'models/checkpoints/x.safetensors': aLora(),
    'models/checkpoints/x.preview.png': 'picture',
    'models/checkpoints/x.civitai.info': writeJson({
      ...{ id: 22, modelId: 11, name: 'v2', baseModel: 'Pony', trainedWords: ['glow'] },
      model: { name: 'Glow', type: 'LORA' },
    }),
  })
  const { models } = await kit({ dir })
  await models.scan()
  const [model] = models.page({}).rows
  models.note(model!.id, 'at 0.6')
  expect(await models.get(model!.id)).toMatchObject({
    ...{ base: 'Pony', hasPreview: true, note: 'at 0.6', triggerWords: ['glow'], belongsIn: 'loras' },
    source: { title: 'Glow', version: 'v2', url: 'https://models.example/models/11?modelVersionId=22' },
  })
  expect(String(await models.preview(model!.id, 128))).toBe('picture')
  const { model: moved, from } = await models.move(model!.id, 'loras')
  expect([moved.folder, from, moved.flags]).toEqual(['loras', 'checkpoints', []])
  expect(existsSync(path.join(dir, 'models/loras/x.preview.png'))).toBe(true)
  expect(await models.get(moved.id)).toMatchObject({ note: 'at 0.6', hasPreview: true })
  expect(String(await models.preview(moved.id, 128))).toBe('picture')
  const back = await models.move(moved.id, from)
  expect(back.model.id).toBe(model!.id)
})

test('a file that may run code is named until it is trusted, and again once it is another', async () => {
  const dir = tempDir()
  const file = path.join(dir, 'models/embeddings/bad.pt')
  put(dir, { 'models/embeddings/bad.pt': aPickle('os', 'system'), 'models/loras/good.safetensors': aLora() })
  const { models } = await kit({ dir })
  await models.scan()
  const said = { '1': { class_type: 'CLIPTextEncode', inputs: { text: 'a cat, (embedding:bad:1.1)' } } }
  expect(names(models.unsafeIn(said))).toEqual(['bad.pt'])
  expect(models.unsafeIn({ a: 'good.safetensors', b: 'badger' })).toEqual([])
  expect(names(models.unsafeIn([{ '3.lora_name': 'folder\\bad.pt' }]))).toEqual(['bad.pt'])
  const [trusted] = await models.trust([models.find('bad.pt')!.id])
  expect(trusted!.flags).toContain('trusted')
  expect(models.unsafeIn(said)).toEqual([])
  writeFileSync(file, aPickle('os', 'popen'))
  await models.scan()
  expect(names(models.unsafeIn(said))).toEqual(['bad.pt'])
})

test('copies are found by hash, merged in place, told of as one file, and undone after a restart', async () => {
  const dir = tempDir()
  const bytes = aLora(7)
  put(dir, {
    'models/loras/a.safetensors': bytes,
    'models/loras/b.safetensors': bytes,
    'models/loras/c.safetensors': aLora(8),
  })
  const [a, b] = ['a', 'b'].map((name) => path.join(dir, `models/loras/${name}.safetensors`)) as [string, string]
  utimesSync(a, 1_600_000_000, 1_600_000_000)
  const first = await kit({ dir })
  await first.models.scan()
  expect(await first.models.duplicates()).toMatchObject({ total: 0, unhashed: 3 })
  await first.models.hash({ likely: true })
  const { groups, freed, unhashed } = await first.models.duplicates()
  expect([groups.length, freed[0]!.files, unhashed]).toEqual([1, 1, 0])
  const merged = await first.models.merge(null)
  expect(merged).toMatchObject({ id: 'merge-1', files: [{ path: b, outcome: 'merged' }] })
  expect(merged.freedBytes).toBe(freed[0]!.bytes)
  const isLinked = statSync(a).ino === statSync(b).ino
  if (isLinked) expect(names(first.models.page({}).rows)).toEqual(['a.safetensors', 'c.safetensors'])
  expect(first.models.state().unhashed).toBe(0)
  await first.stop()

  const { models } = await kit({ dir, data: first.data })
  expect((await models.duplicates()).merges).toMatchObject([{ id: 'merge-1', files: 1, undone: false }])
  expect(await models.undo('merge-1')).toMatchObject({ files: [{ path: b, outcome: 'undone' }] })
  expect(statSync(a).ino).not.toBe(statSync(b).ino)
  expect(readFileSync(b)).toEqual(bytes)
  expect((await models.duplicates()).merges).toMatchObject([{ undone: true }])
  expect((await models.duplicates()).total).toBe(1)
})

test('a merge that was killed in the middle is finished or forgotten at the next start', async () => {
  const dir = tempDir()
  put(dir, { 'models/loras/a.safetensors': aLora(7), 'models/loras/b.safetensors': aLora(7) })
  const [a, b] = ['a', 'b'].map((name) => path.join(dir, `models/loras/${name}.safetensors`)) as [string, string]
  const first = await kit({ dir })
  const inode = String(statSync(b).ino)
  const part = path.join(dir, 'models/loras/.nightshift-b.safetensors.part')
  linkSync(a, part)
  first.database
    .prepare(
      `INSERT INTO model_merges VALUES (NULL, 'm', 1, ?, ?, 'x', 1, 'hard-link', ?, '1000000', 420, 4096, 'merging')`,
    )
    .run(b, a, inode)
  await first.stop()
  const { models } = await kit({ dir, data: first.data })
  expect(existsSync(part)).toBe(false)
  expect(readFileSync(b)).toEqual(aLora(7))
  expect((await models.duplicates()).merges).toEqual([])
})

test('verifying tells whole files from damaged and changed ones', async () => {
  const dir = tempDir()
  put(dir, { 'models/loras/a.safetensors': aLora(1), 'models/loras/b.safetensors': aLora(2) })
  const { models } = await kit({ dir })
  await models.scan()
  const checked = async () => Object.fromEntries((await models.verify(null)).rows.map(({ name, is }) => [name, is]))
  expect(await checked()).toEqual({ 'a.safetensors': 'new', 'b.safetensors': 'new' })
  const file = path.join(dir, 'models/loras/b.safetensors')
  const { atime, mtime } = statSync(file)
  const bytes = aLora(2)
  bytes[bytes.length - 1]! ^= 1 // as a disk that forgets: the same time and size
  writeFileSync(file, bytes)
  utimesSync(file, atime, mtime)
  expect(await checked()).toMatchObject({
    'a.safetensors': 'good',
    'b.safetensors': expect.stringMatching(/damaged|changed/),
  })
  rmSync(file)
  mkdirSync(file)
  expect(await checked()).toEqual({ 'a.safetensors': 'good', 'b.safetensors': 'unreadable' })
})

test('what a hub publishes decides: a file it has is whole, one it has otherwise is told, and silent hubs are named', async () => {
  const dir = tempDir()
  put(dir, { 'models/loras/a.safetensors': aLora(1), 'models/loras/b.safetensors': aLora(2) })
  put(dir, { 'models/loras/c.safetensors': aLora(3) })
  const theirs = { hub: 'Hugging Face', title: 'owner/repo', page: null, sha256: 'f'.repeat(64) }
  const asked: string[] = []
  const { models } = await kit({
    dir,
    async published({ name, folder, path: at, sha256 }, tell) {
      asked.push(`${folder}/${name} ${path.relative(dir, at)}`)
      expect(sha256).toMatch(/^[\da-f]{64}$/)
      if (name === 'c.safetensors') tell('civitai', toFailure(new AppError('hub.unreachable', { hub: 'Civitai' })))
      return name === 'c.safetensors' ? null : { ...theirs, same: name === 'a.safetensors' }
    },
  })
  await models.scan()
  const first = await models.verify(null)
  expect(Object.fromEntries(first.rows.map(({ name, is }) => [name, is]))).toEqual({
    ...{ 'a.safetensors': 'good', 'b.safetensors': 'other', 'c.safetensors': 'new' },
  })
  expect(first.silent).toMatchObject([{ from: 'civitai', because: { code: 'hub.unreachable' } }])
  expect(asked).toContain(`loras/a.safetensors ${path.join('models', 'loras', 'a.safetensors')}`)
  // though it is as it was before
  expect((await models.verify([models.find('b.safetensors')!.id])).rows).toMatchObject([
    { is: 'other', known: expect.any(String) },
  ])
})

test('a file is taken into the folder its header says; what is there already is it, and nothing is overwritten', async () => {
  const dir = tempDir()
  const outside = tempDir()
  put(outside, { 'x.safetensors': aLora(1), 'y.safetensors': aCheckpoint(), 'page.safetensors': '{"error":"log in"}' })
  const from = (name: string) => path.join(outside, name)
  const { models } = await kit({ dir })
  await models.scan()
  const taken = await models.import(from('x.safetensors'), { how: 'copy' })
  expect(taken).toMatchObject({ folder: 'loras', kind: 'lora', name: 'x.safetensors' })
  expect(existsSync(from('x.safetensors'))).toBe(true)
  expect((await models.import(from('x.safetensors'), { how: 'move' })).id).toBe(taken.id)
  expect(existsSync(from('x.safetensors'))).toBe(false)
  put(outside, { 'x.safetensors': aLora(2) })
  await expect(models.import(from('x.safetensors'), { how: 'move' })).rejects.toMatchObject({ code: 'model.taken' })
  await expect(models.import(from('page.safetensors'), { how: 'copy' })).rejects.toMatchObject({
    code: 'model.not-a-model',
  })
  await expect(models.import(from('y.safetensors'), { how: 'copy', name: '../y.safetensors' })).rejects.toMatchObject({
    code: 'model.bad-name',
  })
  expect(await models.import(from('y.safetensors'), { how: 'link' })).toMatchObject({ folder: 'checkpoints' })
})

test('five thousand models are shown, searched and sorted at once', async () => {
  const data = tempDir()
  const first = await kit({ data })
  put(first.dir, { 'models/loras/style 0.safetensors': aLora() })
  await first.models.scan()
  const copy = first.database.prepare(
    `INSERT INTO model_files SELECT real || CAST(? AS INTEGER), device, ?, size_bytes, CAST(CAST(modified_ns AS INTEGER) + CAST(? AS INTEGER) AS TEXT), facts, replace(places, 'style 0', 'style ' || CAST(? AS INTEGER)), NULL, seen_at
     FROM model_files WHERE inode NOT LIKE 'x%' LIMIT 1`,
  )
  first.database.transaction(() => {
    for (let at = 1; at < 5000; at++) copy.run(at, `x${at}`, at * 1_000_000, at)
  })()
  await first.stop()
  const { models } = await kit({ dir: first.dir, data })
  const took = stopwatch()
  for (let round = 0; round < 20; round++) {
    expect(models.page({ search: 'style 49', sort: 'newest', limit: 100 }).rows[0]!.name).toBe('style 4999.safetensors')
    expect(models.state().models).toBe(5000)
  }
  expect(took() / 20).toBeLessThan(150)
  const paged = stopwatch()
  for (let offset = 0; offset < 5000; offset += 200) expect(models.page({ offset, limit: 200 }).rows).toHaveLength(200)
  expect(paged()).toBeLessThan(1000)
})

test('the tables come to a database of the version before, and its rows stay', () => {
  const database = new Sqlite(':memory:')
  const before = migrations.findIndex((sql) => sql.includes('CREATE TABLE model_files'))
  migrate(database, migrations.slice(0, before))
  database.prepare(`INSERT INTO engines VALUES ('local', 'manual', '/x', 'python', '{}', 1)`).run()
  migrate(database, migrations)
  expect(database.prepare('SELECT name FROM engines').pluck().all()).toEqual(['local'])
  expect(database.prepare('SELECT count(*) FROM model_files').pluck().get()).toBe(0)
  database.close()
})

test('a file that a model folder only leads to is not moved away from under it', async () => {
  const { models, dir } = await kit()
  const file = path.join(tempDir(), 'a.safetensors')
  writeFileSync(file, aLora())
  put(dir, { 'models/loras/other.safetensors': aLora(1) })
  const link = path.join(dir, 'models/loras/a.safetensors')
  symlinkSync(file, link)
  await models.scan()
  await models.import(file, { how: 'move', folder: 'loras' })
  expect(readFileSync(link)).toEqual(aLora())
})

test('of a link it is the file it leads to that is taken in', async () => {
  const { models, dir } = await kit()
  const from = tempDir()
  writeFileSync(path.join(from, 'real.safetensors'), aLora())
  symlinkSync('real.safetensors', path.join(from, 'b.safetensors'))
  put(dir, { 'models/loras/other.safetensors': aLora(1) })
  await models.scan()
  await models.import(path.join(from, 'b.safetensors'), { how: 'link', folder: 'loras' })
  expect(readFileSync(path.join(dir, 'models/loras/b.safetensors'))).toEqual(aLora())
})

test('undo is still there once a disk that was away is back', async () => {
  const { models, dir } = await kit()
  put(dir, { 'models/loras/a.safetensors': aLora(), 'models/loras/away/b.safetensors': aLora() })
  await models.scan()
  await models.hash()
  const { id, files } = await models.merge(null)
  const away = path.dirname(files[0]!.path).endsWith('away')
    ? path.join(dir, 'models/loras/away')
    : path.join(dir, 'models/loras')
  renameSync(away, path.join(dir, 'aside'))
  expect((await models.undo(id)).files).toMatchObject([{ outcome: 'gone' }])
  renameSync(path.join(dir, 'aside'), away)
  expect((await models.undo(id)).files).toMatchObject([{ outcome: 'undone' }])
})

test('what has no hash gets one while nothing else is done, makes way for who asks, and ends where a person says so', async () => {
  const dir = tempDir()
  put(dir, { 'models/loras/a.safetensors': aLora(), 'models/loras/b.safetensors': aLora(1) })
  const work = { busy: true }
  const { models, clock } = await kit({ dir, isBusy: () => work.busy })
  const unhashed = () => models.state().unhashed
  clock.turn(2_000)
  await eventually(() => models.state().scannedAt !== null && models.progress().length === 0)
  clock.turn(120_000)
  expect([unhashed(), models.progress()]).toEqual([2, []])
  work.busy = false
  clock.turn(60_000)
  expect(models.progress()).toMatchObject([{ what: 'hash', files: 2 }])
  await models.hash({ ids: [models.find('b.safetensors')!.id] }) // it makes way
  expect(models.find('b.safetensors')!.sha256).not.toBeNull()
  clock.turn(60_000)
  await eventually(() => unhashed() === 0 && models.progress().length === 0)

  put(dir, { 'models/loras/c.safetensors': aLora(2) })
  await models.scan()
  // that the file came is heard, and may have the folders looked through once more before
  await eventually(() => {
    clock.turn(60_000)
    return models.control('hash', 'stop')
  })
  await eventually(() => models.progress().length === 0)
  clock.turn(600_000)
  expect([unhashed(), models.progress()]).toEqual([1, []])
})
