import { hash, randomBytes } from 'node:crypto'
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { Agent } from 'undici'
import { expect, onTestFinished, test } from 'vitest'
import type { EngineView } from '../../core/contract/engine.ts'
import type { ModelNeeded, SnapshotProgress } from '../../core/contract/snapshot.ts'
import { FolderDepot } from '../../core/engine/snapshot/depot.ts'
import { pull } from '../../core/engine/snapshot/push.ts'
import { ObjectStore } from '../../core/engine/snapshot/store.ts'
import { Snapshots } from '../../main/services/snapshots.ts'
import { anAgent } from '../kit/agent-kit.ts'
import { CREDENTIALS, fakeS3 } from '../kit/fake-s3.ts'
import { put, python, smallComfy } from '../kit/small-comfy.ts'
import { tempDir } from '../kit/temp-dir.ts'

const secret = () => randomBytes(24).toString('hex')

/** The service over one small ComfyUI with one model. */
function desk() {
  const root = tempDir()
  const here = smallComfy(root)
  const content = randomBytes(3 << 20)
  const model: ModelNeeded = {
    folder: 'loras',
    name: '风格.safetensors',
    size: content.length,
    sha256: hash('sha256', content),
  }
  const file = path.join(root, 'models', 'elsewhere.safetensors')
  put(file, content)
  const engine = { name: 'local', dir: here.dir, python: here.python, settings: { baseDir: here.base, flags: [] } }
  const dispatcher = new Agent()
  onTestFinished(() => dispatcher.destroy())
  const dataDir = tempDir()
  const kept = new Map<string, string>()
  const snapshots = new Snapshots({
    dataDir,
    clock: { now: Date.now },
    secrets: { get: (name) => kept.get(name), set: (name, value) => void kept.set(name, value) },
    version: 'test',
    env: process.env,
    engines: { list: () => [engine as unknown as EngineView], view: () => engine as unknown as EngineView },
    nodesDir: () => here.nodesDir,
    modelsOf: async () => [model],
    fileOf: (sha256) => (sha256 === model.sha256 ? file : null),
    cameFrom: () => [],
    dispatcher,
    builder: () => {
      throw new Error('nothing is built here')
    },
    classesOf: async () => null,
  })
  return { ...here, snapshots, model, file, dataDir }
}

/** All bytes of a folder, and of what its packs hold. */
async function dumpOf(dir: string): Promise<string> {
  const files = readdirSync(dir, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
  const parts = files.map(({ parentPath, name }) => readFileSync(path.join(parentPath, name), 'latin1'))
  const store = await ObjectStore.open(dir)
  for (const { objects } of store.packs.values())
    for (const key of objects.keys()) parts.push(store.read(key).toString('latin1'))
  return parts.join('\n')
}

/** What was written down of it here. */
const said = (dataDir: string) => {
  const logs = path.join(dataDir, 'logs')
  return readdirSync(logs)
    .map((name) => readFileSync(path.join(logs, name), 'utf8'))
    .join('\n')
}

test.skipIf(!python)(
  'an environment and its model go to an agent with a key that may publish; none of five secrets goes along',
  async () => {
    const { snapshots, nodesDir, base, packagesDir, model, dataDir } = desk()
    const key = `sk_${secret()}`
    const planted = { env: secret(), netrc: secret(), node: secret(), url: secret(), key }
    put(path.join(nodesDir, '风格', '.env'), `TOKEN=${planted.env}`)
    put(path.join(base, 'user', 'default', '.netrc'), `machine x password ${planted.netrc}`)
    put(path.join(nodesDir, '风格', 'config.json'), `{"api_key": "${planted.node}"}`)
    const direct = path.join(packagesDir, 'tiny-1.2.dist-info', 'direct_url.json')
    put(direct, `{"url": "https://me:${planted.url}@example.org/tiny.git"}`)

    const first = await snapshots.create({})
    expect(first.snapshot).toBeNull()
    expect(first.secrets.map((each) => each.path).toSorted()).toEqual([
      'nodes/风格/config.json',
      'packages/tiny-1.2.dist-info/direct_url.json',
    ])
    rmSync(path.join(nodesDir, '风格', 'config.json'))
    writeFileSync(direct, '{"url": "https://example.org/tiny.git"}')
    const { id, labels } = (await snapshots.create({ label: 'good' })).snapshot!
    expect(labels).toEqual(['good'])
    await Promise.all(['a', 'b'].map((label) => snapshots.label('good', label, true)))
    expect((await snapshots.label(id, 'a', false)).labels.toSorted()).toEqual(['b', 'good'])

    const store = tempDir()
    const { agent, logged } = await anAgent({ keys: [`${key} publish`, 'sk_runner run'], store })
    const place = { to: agent.url, key }
    await expect(snapshots.planPush(id, { to: agent.url })).rejects.toMatchObject({ code: 'depot.no-key' })
    await expect(snapshots.planPush(id, { to: agent.url, key: 'sk_runner' })).rejects.toMatchObject({
      code: 'depot.refused',
      facts: { status: 403 },
    })
    const plan = await snapshots.planPush(id, place)
    expect(plan.models).toEqual({ count: 1, bytes: 3 << 20, missing: 1, missingBytes: 3 << 20, fetched: 0 })
    expect(plan.objects.missing).toBe(plan.objects.all)

    const seen: SnapshotProgress[] = []
    snapshots.events.on('changed', () => snapshots.progress && seen.push(snapshots.progress))
    await snapshots.push(id, place)
    expect(seen.at(-1)).toMatchObject({ what: 'push', bytes: seen.at(-1)!.totalBytes })
    expect(seen.at(-1)!.totalBytes).toBeGreaterThan(3 << 20)
    expect((await snapshots.planPush(id, place)).models.missing).toBe(0)

    const there = new FolderDepot(store)
    expect([...(await there.models()).keys()]).toEqual([model.sha256])
    const fetched = await ObjectStore.open(tempDir())
    expect((await pull(fetched, id, there)).id).toBe(id)

    // it lies beside what travels: the first try took it in
    expect(await dumpOf(path.join(dataDir, 'snapshots'))).toContain(planted.node)
    const dump = `${await dumpOf(store)}\n${JSON.stringify(logged)}\n${said(dataDir)}`
    for (const [name, value] of Object.entries(planted)) expect(dump.includes(value), name).toBe(false)
    expect(dump).toContain('answer = 42') // what was looked through is the environment
  },
)

test.skipIf(!python)('a push to an agent is cancelled, and the next one goes on', async () => {
  const { snapshots } = desk()
  const { id } = (await snapshots.create({})).snapshot!
  const { agent } = await anAgent({ keys: ['sk_key'] })
  const place = { to: agent.url, key: 'sk_key' }
  const cancelled = snapshots.push(id, place, { bytesPerSecond: 1 << 20, onNews: () => snapshots.cancel() })
  await expect(cancelled).rejects.toMatchObject({ code: 'app.interrupted' })
  expect(snapshots.progress).toBeNull()
  await snapshots.push(id, place)
  expect((await snapshots.planPush(id, place)).objects.missing).toBe(0)
})

test.skipIf(!python)(
  'an environment and its model go to object storage once, with credentials that stay here, and come back from it',
  async () => {
    const storage = await fakeS3()
    const { snapshots, dataDir, packagesDir } = desk()
    put(path.join(packagesDir, 'tiny-1.2.dist-info', 'direct_url.json'), '{"url": "https://example.org/tiny.git"}')
    const { id } = (await snapshots.create({})).snapshot!
    const place = { to: storage.address('studio'), key: `${CREDENTIALS.accessKeyId}:${CREDENTIALS.secretAccessKey}` }
    await expect(snapshots.push(id, { ...place, key: 'AKIDTEST:wrong' })).rejects.toMatchObject({
      code: 'store.refused',
    })
    const sent = await snapshots.push(id, place)
    expect(sent).toMatchObject({
      models: { missing: 1 },
      where: expect.not.stringContaining(CREDENTIALS.secretAccessKey),
    })
    const again = await snapshots.planPush(id, place)
    expect([again.objects.missing, again.bytes.missing, again.models.missing]).toEqual([0, 0, 0])
    const elsewhere = desk()
    const to = path.join(tempDir(), 'back')
    await elsewhere.snapshots.restore(id, to, { python: python!, from: place.to, key: place.key })
    expect(readdirSync(to).length).toBeGreaterThan(0)
    expect(await dumpOf(path.join(dataDir, 'snapshots'))).not.toContain(CREDENTIALS.secretAccessKey)
  },
)

test.skipIf(!python)(
  'damage is mended by the next snapshot; one that cannot be read keeps all others from being tidied away',
  async () => {
    const { snapshots, nodesDir, dataDir } = desk()
    const dir = path.join(dataDir, 'snapshots')
    put(path.join(nodesDir, '风格', 'noise.txt'), randomBytes(5_000).toString('base64'))
    const first = (await snapshots.create({})).snapshot!
    const packs = path.join(dir, 'packs')
    for (const name of readdirSync(packs, { recursive: true }).map(String)) {
      if (!name.endsWith('.pack')) continue
      const bytes = readFileSync(path.join(packs, name))
      bytes[100]! ^= 255
      writeFileSync(path.join(packs, name), bytes)
    }
    expect((await snapshots.verify()).broken).toMatchObject([{ id: first.id }])
    await snapshots.create({})
    expect(await snapshots.verify()).toMatchObject({ damaged: [], broken: [] })

    writeFileSync(path.join(dir, 'snapshots', `${first.id}.json`), '{"half')
    await expect(snapshots.collect({ graceMs: 0 })).rejects.toMatchObject({ code: 'snapshot.unreadable' })
    await snapshots.remove(first.id)
    await snapshots.collect({ graceMs: 0 })
    expect(await snapshots.verify()).toMatchObject({ damaged: [], broken: [] })
    expect(await snapshots.list()).toHaveLength(1)
  },
)
