import { hash, randomBytes } from 'node:crypto'
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import type { ModelNeeded } from '../../../../../core/contract/snapshot.ts'
import { FolderDepot } from '../../../../../core/engine/snapshot/depot.ts'
import { Keeper } from '../../../../../core/engine/snapshot/keep.ts'
import { seal } from '../../../../../core/engine/snapshot/manifest.ts'
import { carryOutPush, planPush, pull } from '../../../../../core/engine/snapshot/push.ts'
import { restoreTree } from '../../../../../core/engine/snapshot/restore.ts'
import { ObjectStore } from '../../../../../core/engine/snapshot/store.ts'
import { httpDepot, serveDepot } from '../../../../kit/depot-server.ts'
import { aManifest } from '../../../../kit/manifest.ts'
import { serve } from '../../../../kit/serve.ts'
import { tempDir } from '../../../../kit/temp-dir.ts'

const MIB = 1 << 20

/** An environment of some files, and the models it needs as they lie here. */
async function kept({ models = 2, files = 6, size = 200_000 } = {}) {
  const dir = tempDir()
  for (let n = 0; n < files; n++) writeFileSync(path.join(dir, `${n}.py`), randomBytes(size))
  const store = await ObjectStore.open(tempDir())
  const keeper = await Keeper.open(store, 1)
  const { tree, files: count, bytes } = await keeper.keep(dir)
  await keeper.finish()
  const here = new Map<string, string>()
  const needed = Array.from({ length: models }, (_, n): ModelNeeded => {
    const content = randomBytes(MIB * (n + 1))
    const sha256 = hash('sha256', content)
    const file = path.join(tempDir(), `${n}.safetensors`)
    writeFileSync(file, content)
    here.set(sha256, file)
    return { folder: 'checkpoints', name: `${n}.safetensors`, size: content.length, sha256 }
  })
  const sealed = seal(aManifest({ layers: [{ name: 'comfyui', tree, files: count, bytes }], models: needed }), null)
  const modelHere = async ({ sha256 }: ModelNeeded) => ({ file: here.get(sha256) ?? null, sources: [] as string[] })
  return { dir, store, sealed, needed, here, modelHere }
}
const lastNews = () => {
  const news = { sentBytes: 0, totalBytes: 0 }
  return { news, onNews: (told: typeof news) => void Object.assign(news, told) }
}

test('models go by their hash, each once; what a place has is not sent again, and the plan says so before', async () => {
  const { store, sealed, needed, modelHere } = await kept()
  const at = tempDir()
  const depot = new FolderDepot(at)
  const twice = { ...needed[0]!, folder: 'loras', name: 'the-same.safetensors' }
  const models = [...needed, twice]
  const push = await planPush(store, sealed, depot, { models, modelHere })
  expect(push.plan.models).toEqual({ count: 2, bytes: 3 * MIB, missing: 2, missingBytes: 3 * MIB, fetched: 0 })
  const { news, onNews } = lastNews()
  await carryOutPush(store, push, depot, { onNews })
  expect(news.sentBytes).toBe(news.totalBytes)
  for (const { sha256 } of needed)
    expect(hash('sha256', readFileSync(path.join(at, 'models', sha256.slice(0, 2), sha256)))).toBe(sha256)

  const again = await planPush(store, sealed, depot, { models, modelHere })
  expect(again.plan.models).toMatchObject({ count: 2, missing: 0, missingBytes: 0 })
  const second = lastNews()
  await carryOutPush(store, again, depot, { onNews: second.onNews })
  expect(second.news).toEqual({ sentBytes: 0, totalBytes: 0 })
})

test('what is taken out of several packs goes as several, and arrives whole', async () => {
  const { dir, store } = await kept({ models: 0, files: 66, size: MIB })
  for (let n = 0; n < 66; n += 3) rmSync(path.join(dir, `${n}.py`))
  const keeper = await Keeper.open(store, 1)
  const { tree, files, bytes } = await keeper.keep(dir)
  await keeper.finish()
  const sealed = seal(aManifest({ layers: [{ name: 'comfyui', tree, files, bytes }], models: [] }), null)
  const depot = new FolderDepot(tempDir())
  const push = await planPush(store, sealed, depot, {})
  const { packs } = await carryOutPush(store, push, depot)
  expect([push.parts.size, packs.length - push.whole.length]).toEqual([3, 2])
  const there = await ObjectStore.open(tempDir())
  await pull(there, sealed.id, depot)
  const to = path.join(tempDir(), 'back')
  await restoreTree(there, tree, to, { threads: 1 })
  expect(readdirSync(to)).toHaveLength(44)
  expect(readFileSync(path.join(to, '65.py'))).toEqual(readFileSync(path.join(dir, '65.py')))
})

test('a model that is nowhere is told before anything is sent', async () => {
  const { store, sealed, needed, here, modelHere } = await kept()
  here.delete(needed[1]!.sha256)
  const at = tempDir()
  await expect(planPush(store, sealed, new FolderDepot(at), { modelHere })).rejects.toMatchObject({
    code: 'snapshot.no-model',
    facts: { name: 'checkpoints/1.safetensors' },
  })
  expect(readdirSync(at)).toEqual([])
  const without = await planPush(store, sealed, new FolderDepot(at), { models: [] })
  expect(without.plan.models).toMatchObject({ count: 0, missing: 0 })
})

test('a file that became another since it was hashed is not published as what it was', async () => {
  const { store, sealed, needed, here, modelHere } = await kept({ models: 1 })
  const depot = new FolderDepot(tempDir())
  const push = await planPush(store, sealed, depot, { modelHere })
  writeFileSync(here.get(needed[0]!.sha256)!, randomBytes(MIB))
  await expect(carryOutPush(store, push, depot)).rejects.toMatchObject({ code: 'snapshot.damaged' })
  expect(await depot.getSnapshot(sealed.id)).toBeNull()
  expect(await depot.models()).toEqual(new Map())
})

test('an agent fetches what is published elsewhere; what it cannot get there is sent after all', async () => {
  const { store, sealed, needed, here } = await kept()
  const [published, gone] = needed as [ModelNeeded, ModelNeeded]
  const hub = await serve((request, reply) => {
    if (request.url !== '/published') return void reply.writeHead(404).end()
    reply.end(readFileSync(here.get(published.sha256)!))
  })
  const modelHere = async ({ sha256 }: ModelNeeded) => ({
    file: here.get(sha256)!,
    sources: [`${hub.url}/${sha256 === published.sha256 ? 'published' : 'gone'}`],
  })
  const server = await serveDepot(new FolderDepot(tempDir()))
  const depot = httpDepot(server.url)
  const push = await planPush(store, sealed, depot, { modelHere })
  expect(push.plan.models.fetched).toBe(2)
  const { news, onNews } = lastNews()
  await carryOutPush(store, push, depot, { onNews })
  expect(news.sentBytes).toBe(news.totalBytes)
  const puts = server.answers.filter((answer) => /^PUT \/v1\/models/.test(answer))
  expect(puts.length).toBeGreaterThan(0)
  for (const put of puts) expect(put).toContain(gone.sha256.slice(0, 12))
  expect([...(await depot.models()).keys()].toSorted()).toEqual([published.sha256, gone.sha256].toSorted())
})

test('a push through an agent that is killed again and again arrives, and nothing counts before its end', async () => {
  const { store, sealed, modelHere } = await kept()
  const at = tempDir()
  const server = await serveDepot(new FolderDepot(at))
  let requests = 0
  server.fault = (request) => {
    if (request.method !== 'PUT' || ++requests % 3 !== 0) return false
    request.socket.destroy()
    server.restart()
    return true
  }
  const depot = httpDepot(server.url)
  await carryOutPush(store, await planPush(store, sealed, depot, { modelHere }), depot)
  expect(server.answers.filter((answer) => /^PUT \/v1\/snapshots.* \d+$/.test(answer))).toHaveLength(1)
  const there = await ObjectStore.open(tempDir())
  expect((await pull(there, sealed.id, depot)).id).toBe(sealed.id)
})

test('so many bytes a second pass, and no more', async () => {
  const { store, sealed, modelHere } = await kept({ models: 0, files: 2 })
  const depot = new FolderDepot(tempDir())
  const push = await planPush(store, sealed, depot, { modelHere })
  const began = performance.now()
  await carryOutPush(store, push, depot, { bytesPerSecond: 1_000_000 })
  const seconds = (performance.now() - began) / 1000
  expect(seconds).toBeGreaterThan((push.plan.bytes.missing / 1_000_000) * 0.9)
})
