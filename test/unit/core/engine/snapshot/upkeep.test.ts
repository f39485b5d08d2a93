import { hash, randomBytes } from 'node:crypto'
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import type { SealedManifest } from '../../../../../core/contract/snapshot.ts'
import { FolderDepot } from '../../../../../core/engine/snapshot/depot.ts'
import { Keeper } from '../../../../../core/engine/snapshot/keep.ts'
import { readManifests, seal, writeManifest } from '../../../../../core/engine/snapshot/manifest.ts'
import { PackWriter, packFile, sha256 } from '../../../../../core/engine/snapshot/pack.ts'
import { carryOutPush, planPush, pull } from '../../../../../core/engine/snapshot/push.ts'
import { closureOf } from '../../../../../core/engine/snapshot/restore.ts'
import { ObjectStore } from '../../../../../core/engine/snapshot/store.ts'
import { treeBytes } from '../../../../../core/engine/snapshot/tree.ts'
import { setAside, verifyStore } from '../../../../../core/engine/snapshot/upkeep.ts'
import { httpDepot, serveDepot } from '../../../../kit/depot-server.ts'
import { aManifest } from '../../../../kit/manifest.ts'
import { tempDir } from '../../../../kit/temp-dir.ts'

const contents = [0, 1, 2].map(() => randomBytes(1_000))
const names = contents.map((bytes, n) => ({
  is: 'file' as const,
  name: `${n}`,
  size: bytes.length,
  mtime: 0,
  sha256: sha256(bytes),
}))
const trees = [treeBytes(names), treeBytes(names.slice(0, 1))]
const snapshotOf = (tree: Buffer) =>
  seal(aManifest({ layers: [{ name: 'comfyui', tree: sha256(tree), files: 1, bytes: 1 }] }), null)
const [all, one] = [snapshotOf(trees[0]!), snapshotOf(trees[1]!)]

/** A store of one pack, each thing in a frame of its own; two snapshots, the second with one file of the first alone. */
async function made() {
  const at = tempDir()
  const store = await ObjectStore.open(at)
  const writer = new PackWriter(store.packsDir, 'made')
  for (const bytes of [...contents, ...trees]) writer.add(bytes, [{ hash: sha256(bytes), length: bytes.length }])
  const { id, ...written } = writer.close()!
  store.take({ id, ...written })
  for (const each of [all, one]) await writeManifest(store.snapshotsDir, each)
  return { at, store, id, file: packFile(store.packsDir, id), frames: written.index.frames }
}
/** As a disk that rots would. */
function damage(file: string, at: number) {
  const bytes = readFileSync(file)
  bytes[at]! ^= 255
  rmSync(file)
  writeFileSync(file, bytes)
}
const readAll = (store: ObjectStore, { manifest }: SealedManifest) => {
  for (const key of closureOf(store, manifest)) store.read(key)
}

test('what a disk damaged is told and set aside; made again it is whole, and what was whole stays', async () => {
  const { at, id, file, frames } = await made()
  damage(file, frames[2]!.at + 100)
  const store = await ObjectStore.open(at)
  const found = await verifyStore(store, { threads: 1 })
  expect(found.damaged).toMatchObject([{ pack: id, objects: [names[2]!.sha256] }])
  expect(found.broken).toMatchObject([{ id: all.id }])
  await setAside(store, found.damaged)

  const later = await ObjectStore.open(at)
  readAll(later, one)
  expect(() => readAll(later, all)).toThrow(/missing/)
  const dir = tempDir()
  for (const [n, bytes] of contents.entries()) {
    writeFileSync(path.join(dir, `${n}`), bytes)
    utimesSync(path.join(dir, `${n}`), 0, 0)
  }
  const keeper = await Keeper.open(later, 1)
  await keeper.keep(dir)
  await keeper.finish()
  expect(keeper.newObjects).toBe(1)
  readAll(later, all)
})

test('a pack whose objects are whole, but not all of its bytes, is told, and loses nothing', async () => {
  const { at, id, file } = await made()
  damage(file, 2)
  const store = await ObjectStore.open(at)
  const found = await verifyStore(store, { threads: 1 })
  expect(found).toMatchObject({ damaged: [{ pack: id, objects: [] }], broken: [] })
  await setAside(store, found.damaged)
  const later = await ObjectStore.open(at)
  readAll(later, all)
  expect(hash('sha256', readFileSync(file))).toBe(id)
})

test('what is damaged here is not pushed as if it were whole', async () => {
  const { store, file, frames } = await made()
  damage(file, frames[0]!.at + 100)
  const depot = new FolderDepot(tempDir())
  const push = await planPush(store, one, depot)
  expect(push.parts.size).toBe(1)
  await expect(carryOutPush(store, push, depot)).rejects.toMatchObject({ code: 'snapshot.damaged' })
  expect([...(await depot.packs()), ...(await depot.snapshots())]).toEqual([])
})

test.each(['a folder', 'an agent'])(
  'what was cut short or damaged in %s comes anew with the next push',
  async (kind) => {
    const { store } = await made()
    const where = tempDir()
    const folder = new FolderDepot(where)
    const depot = kind === 'a folder' ? folder : httpDepot((await serveDepot(folder)).url)
    const push = async () => carryOutPush(store, await planPush(store, all, depot), depot)
    const { packs } = await push()
    const [{ id } = { id: '' }] = packs
    const there = packFile(path.join(where, 'packs'), id)
    truncateSync(there, 100)
    expect(await push()).toMatchObject({ packs })
    expect(hash('sha256', readFileSync(there))).toBe(id)

    if (kind !== 'a folder') return // who runs from the folder finds damage out
    damage(there, 1000)
    const elsewhere = await ObjectStore.open(tempDir())
    await expect(pull(elsewhere, all.id, depot)).rejects.toMatchObject({ code: 'snapshot.damaged' })
    await expect(pull(elsewhere, all.id, depot)).rejects.toMatchObject({ code: 'snapshot.incomplete' })
    await push()
    readAll(elsewhere, await pull(elsewhere, all.id, depot))
  },
)

test('a pack that never ends is not waited for, and nothing of it stays', async () => {
  const { store } = await made()
  const folder = new FolderDepot(tempDir())
  await carryOutPush(store, await planPush(store, all, folder), folder)
  const server = await serveDepot(folder)
  let ended = false
  server.fault = (request, reply) => {
    if (request.method !== 'GET' || !request.url?.startsWith('/v1/packs/')) return false
    const more = () => !reply.destroyed && reply.write(Buffer.alloc(1 << 20), () => setImmediate(more))
    reply.on('close', () => {
      ended = true
    })
    more()
    return true
  }
  const elsewhere = await ObjectStore.open(tempDir())
  await expect(pull(elsewhere, all.id, httpDepot(server.url))).rejects.toMatchObject({ code: 'snapshot.damaged' })
  expect(readdirSync(path.join(elsewhere.dir, 'inbox'))).toEqual([])
  await expect.poll(() => ended).toBe(true)
})

test('a folder that cannot be written to is told by its name', async () => {
  const { store } = await made()
  const file = path.join(tempDir(), 'file')
  writeFileSync(file, '')
  const depot = new FolderDepot(path.join(file, 'below'))
  const push = planPush(store, all, depot).then((planned) => carryOutPush(store, planned, depot))
  await expect(push).rejects.toMatchObject({ code: 'disk.denied' })
})

test('what nobody went on with for a week in a folder goes with the next push', async () => {
  const { store } = await made()
  const where = tempDir()
  const depot = new FolderDepot(where)
  const begun = ['1', '8'].map((days) => {
    const file = path.join(where, 'models', 'ab', `${days}.part`)
    mkdirSync(path.dirname(file), { recursive: true })
    writeFileSync(file, days)
    const at = Date.now() / 1000 - Number(days) * 86_400
    utimesSync(file, at, at)
    return file
  })
  await carryOutPush(store, await planPush(store, all, depot), depot)
  expect(begun.map((file) => existsSync(file))).toEqual([true, false])
})

test('a snapshot whose description is damaged is told, and whole again once it is written anew', async () => {
  const { store } = await made()
  const file = path.join(store.snapshotsDir, `${all.id}.json`)
  writeFileSync(file, readFileSync(file, 'utf8').slice(0, 100))
  expect((await verifyStore(store, { threads: 1 })).broken).toMatchObject([{ id: all.id }])
  await writeManifest(store.snapshotsDir, all)
  expect((await readManifests(store.snapshotsDir)).map(({ id }) => id).toSorted()).toEqual([all.id, one.id].toSorted())
})
