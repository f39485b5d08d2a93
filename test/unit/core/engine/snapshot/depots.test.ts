import { createHash, randomBytes } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { toFailure } from '../../../../../core/contract/errors.ts'
import { type Depot, FolderDepot } from '../../../../../core/engine/snapshot/depot.ts'
import { newSigningKey, seal } from '../../../../../core/engine/snapshot/manifest.ts'
import { PackWriter, packFile } from '../../../../../core/engine/snapshot/pack.ts'
import { httpDepot, serveDepot } from '../../../../kit/depot-server.ts'
import { fakeS3 } from '../../../../kit/fake-s3.ts'
import { tempDir } from '../../../../kit/temp-dir.ts'

const kinds: [string, () => Promise<Depot>][] = [
  ['a folder', async () => new FolderDepot(tempDir())],
  ['object storage', async () => (await (await fakeS3()).open('a/b')).depot],
  ['an agent', async () => httpDepot((await serveDepot(new FolderDepot(tempDir()))).url)],
  [
    'an agent before object storage',
    async () => httpDepot((await serveDepot((await (await fakeS3()).open()).depot)).url),
  ],
]

/** A pack of that much content, which a depot may look into. */
function aFile(length: number) {
  const dir = tempDir()
  const writer = new PackWriter(dir, 'one')
  const content = randomBytes(length)
  writer.add(content, [{ hash: createHash('sha256').update(content).digest('hex'), length }])
  const { id } = writer.close()!
  const file = packFile(dir, id)
  const bytes = readFileSync(file)
  return { file, id, bytes, size: bytes.length }
}
/** What a transfer told of itself. */
function heard() {
  const news = { sent: 0, there: 0 }
  return {
    news,
    onBytes: (bytes: number) => {
      news.sent += bytes
    },
    onThere: (bytes: number) => {
      news.there += bytes
    },
  }
}
const sealed = seal(
  {
    schema: 'env-snapshot/1',
    name: '夜班',
    createdAt: '2026-01-01T00:00:00.000Z',
    creator: 'test',
    platform: { os: 'linux', arch: 'x64', libc: null },
    python: { version: '3.12.0', implementation: 'cpython', abi: 'cp312' },
    torch: null,
    comfyui: { remote: null, commit: null, describe: null, changed: [], untracked: [], version: null },
    nodes: [],
    packages: [],
    layers: [],
    models: [],
    launch: { flags: [] },
    nodeClasses: null,
  },
  newSigningKey(),
)
const things = [
  {
    what: 'packs',
    list: (depot: Depot) => depot.packs(),
    read: (depot: Depot, ...rest: [string, number, number]) => depot.readPack(...rest),
    put: (depot: Depot, ...rest: Parameters<Depot['putPack']>) => depot.putPack(...rest),
    get: (depot: Depot, ...rest: Parameters<Depot['getPack']>) => depot.getPack(...rest),
  },
  {
    what: 'models',
    list: (depot: Depot) => depot.models(),
    read: (depot: Depot, ...rest: [string, number, number]) => depot.readModel(...rest),
    put: (depot: Depot, ...rest: Parameters<Depot['putModel']>) => depot.putModel(...rest),
    get: (depot: Depot, ...rest: Parameters<Depot['getModel']>) => depot.getModel(...rest),
  },
] as const

describe.each(kinds)('a depot in %s', (_, make) => {
  test('has nothing at first', async () => {
    const depot = await make()
    expect([await depot.packs(), await depot.models(), await depot.snapshots()]).toEqual([new Map(), new Map(), []])
    expect(await depot.getSnapshot('b'.repeat(64))).toBeNull()
  })

  test('gives a snapshot back as it was put', async () => {
    const depot = await make()
    const { file, id, size } = aFile(1_000)
    await depot.putPack(id, file, {})
    const snapshot = { sealed, packs: [{ id, bytes: size }] }
    await depot.putSnapshot(snapshot)
    expect(await depot.snapshots()).toEqual([sealed.id])
    expect(await depot.getSnapshot(sealed.id)).toEqual(snapshot)
  })

  describe.each(things)('$what', ({ list, read, put, get }) => {
    test('come back whole, and in parts from either end', async () => {
      const depot = await make()
      const { file, id, bytes, size } = aFile(300_000)
      const sending = heard()
      await put(depot, id, file, sending)
      expect(sending.news).toEqual({ sent: size, there: 0 })
      expect(await list(depot)).toEqual(new Map([[id, size]]))
      expect((await read(depot, id, 10, 20)).equals(bytes.subarray(10, 30))).toBe(true)
      expect((await read(depot, id, -5, 5)).equals(bytes.subarray(-5))).toBe(true)
      expect((await read(depot, id, size - 10, 100)).equals(bytes.subarray(-10))).toBe(true)
      const to = path.join(tempDir(), 'to')
      const fetching = heard()
      await get(depot, id, to, fetching)
      expect(readFileSync(to).equals(bytes)).toBe(true)
      expect(fetching.news).toEqual({ sent: size, there: 0 })
    })

    test('are gone on with where a fetch broke off', async () => {
      const depot = await make()
      const { file, id, bytes, size } = aFile(100_000)
      await put(depot, id, file, {})
      const to = path.join(tempDir(), 'to')
      writeFileSync(to, bytes.subarray(0, 60_000))
      const fetching = heard()
      await get(depot, id, to, fetching)
      expect(readFileSync(to).equals(bytes)).toBe(true)
      expect(fetching.news).toEqual({ sent: size - 60_000, there: 60_000 })
    })

    test('are not sent again', async () => {
      const depot = await make()
      const { file, id, size } = aFile(1_000)
      await put(depot, id, file, {})
      const again = heard()
      await put(depot, id, file, again)
      expect(again.news).toEqual({ sent: 0, there: size })
    })

    test('that are not what they are called never get the name', async () => {
      const depot = await make()
      const { file } = aFile(1_000)
      const refused = await put(depot, 'c'.repeat(64), file, {}).catch(toFailure)
      expect(refused).toMatchObject({ code: 'snapshot.damaged' })
      expect(await list(depot)).toEqual(new Map())
    })

    test('that were stopped on their way are not there, and come with the next push', async () => {
      const depot = await make()
      const { file, id, size } = aFile(3_000_000)
      const stopping = new AbortController()
      const onBytes = () => stopping.abort(new Error('stopped'))
      await expect(put(depot, id, file, { signal: stopping.signal, onBytes })).rejects.toThrow()
      expect(await list(depot)).toEqual(new Map())
      await put(depot, id, file, {})
      expect(await list(depot)).toEqual(new Map([[id, size]]))
    })
  })
})
