import { randomBytes } from 'node:crypto'
import {
  existsSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { readdir } from 'node:fs/promises'
import path from 'node:path'
import { expect, test } from 'vitest'
import type { Manifest } from '../../../../../core/contract/snapshot.ts'
import { CHUNK, nextCut } from '../../../../../core/engine/snapshot/chunk.ts'
import { FolderDepot } from '../../../../../core/engine/snapshot/depot.ts'
import { Keeper } from '../../../../../core/engine/snapshot/keep.ts'
import { newSigningKey, readSealed, seal, writeManifest } from '../../../../../core/engine/snapshot/manifest.ts'
import { PackWriter, packFile, sha256 } from '../../../../../core/engine/snapshot/pack.ts'
import { carryOutPush, planPush, pull } from '../../../../../core/engine/snapshot/push.ts'
import { restoreTree } from '../../../../../core/engine/snapshot/restore.ts'
import { ObjectStore } from '../../../../../core/engine/snapshot/store.ts'
import { readTree, staysInside, type Tree, treeBytes } from '../../../../../core/engine/snapshot/tree.ts'
import { collect, verifyStore } from '../../../../../core/engine/snapshot/upkeep.ts'
import { tempDir } from '../../../../kit/temp-dir.ts'

const windows = process.platform === 'win32'

/** An environment in small: a Chinese name, a script, a link, the same file twice, an empty one, and one kept in pieces. */
function environment(dir: string): string {
  mkdirSync(path.join(dir, 'custom_nodes', '风格节点'), { recursive: true })
  mkdirSync(path.join(dir, 'empty'))
  writeFileSync(path.join(dir, 'main.py'), 'print("hello")\n'.repeat(300))
  writeFileSync(path.join(dir, 'custom_nodes', '风格节点', '节点.py'), 'NODE_CLASS_MAPPINGS = {}\n')
  writeFileSync(path.join(dir, 'custom_nodes', 'again.py'), 'NODE_CLASS_MAPPINGS = {}\n')
  writeFileSync(path.join(dir, 'nothing'), '')
  writeFileSync(path.join(dir, 'run.sh'), '#!/bin/sh\n', { mode: 0o755 })
  writeFileSync(path.join(dir, 'large.so'), large)
  if (!windows) symlinkSync('custom_nodes/again.py', path.join(dir, 'link.py'))
  utimesSync(path.join(dir, 'main.py'), 1_700_000_000, 1_700_000_000)
  return dir
}
const large = randomBytes(11 << 20)

async function keep(store: ObjectStore, dir: string) {
  const keeper = await Keeper.open(store, 2)
  const kept = await keeper.keep(dir)
  const { bytes } = await keeper.finish()
  return { ...kept, newBytes: bytes, newObjects: keeper.newObjects, readBytes: keeper.readBytes }
}

function manifestOf(kept: { tree: string; files: number; bytes: number }): Manifest {
  return {
    schema: 'env-snapshot/1',
    name: 'test',
    createdAt: '2026-01-01T00:00:00.000Z',
    creator: 'test',
    platform: { os: 'linux', arch: 'x64', libc: null },
    python: { version: '3.12.0', implementation: 'cpython', abi: 'cp312' },
    torch: null,
    comfyui: { remote: null, commit: null, describe: null, changed: [], untracked: [], version: null },
    nodes: [],
    packages: [],
    layers: [{ name: 'comfyui', tree: kept.tree, files: kept.files, bytes: kept.bytes }],
    models: [],
    launch: { flags: [] },
    nodeClasses: null,
  }
}

test('a folder comes back as it was: names, bytes, seconds, scripts and links', async () => {
  const dir = environment(tempDir())
  const store = await ObjectStore.open(tempDir())
  const { tree } = await keep(store, dir)

  const to = path.join(tempDir(), 'restored')
  await restoreTree(store, tree, to, { threads: 2 })
  const names = async (of: string) => (await readdir(of, { recursive: true })).toSorted()
  expect(await names(to)).toEqual(await names(dir))
  expect(readFileSync(path.join(to, 'large.so')).equals(large)).toBe(true)
  expect(readFileSync(path.join(to, 'custom_nodes', '风格节点', '节点.py'), 'utf8')).toBe('NODE_CLASS_MAPPINGS = {}\n')
  expect(statSync(path.join(to, 'main.py')).mtimeMs).toBe(1_700_000_000_000)
  expect(statSync(path.join(to, 'nothing')).size).toBe(0)
  if (!windows) {
    expect(statSync(path.join(to, 'run.sh')).mode & 0o777).toBe(0o755)
    expect(readlinkSync(path.join(to, 'link.py'))).toBe('custom_nodes/again.py')
  }
})

test('what did not change is not read again, and one changed file adds only itself and its folders', async () => {
  const dir = environment(tempDir())
  const at = tempDir()
  const first = await keep(await ObjectStore.open(at), dir)
  const again = await keep(await ObjectStore.open(at), dir)
  expect(again).toMatchObject({ tree: first.tree, newObjects: 0, newBytes: 0, readBytes: 0 })

  writeFileSync(path.join(dir, 'custom_nodes', '风格节点', '节点.py'), 'NODE_CLASS_MAPPINGS = {"A": 1}\n')
  const changed = await keep(await ObjectStore.open(at), dir)
  expect(changed.newObjects).toBe(4) // the file, its folder, custom_nodes, the root
  expect(changed.newBytes).toBeLessThan(first.newBytes / 100)
})

test('bytes put into the front of a large file leave most of its pieces as they were', () => {
  const cuts = (bytes: Uint8Array) => {
    const found = new Set<string>()
    for (let from = 0; from < bytes.length; ) {
      const to = nextCut(bytes, from)
      expect(to - from).toBeLessThanOrEqual(CHUNK.max)
      found.add(sha256(bytes.subarray(from, to)))
      from = to
    }
    return found
  }
  const bytes = Buffer.concat([large, large.toReversed(), large])
  const before = cuts(bytes)
  const after = cuts(Buffer.concat([Buffer.from('a new header'), bytes]))
  expect([...after].filter((key) => !before.has(key)).length).toBeLessThanOrEqual(2)
})

test('a damaged pack is told, and nothing is there afterwards', async () => {
  const at = tempDir()
  const store = await ObjectStore.open(at)
  const { tree } = await keep(store, environment(tempDir()))
  const [id, { frames }] = [...store.packs].find(([, { frames }]) => frames.some(({ raw }) => raw > 1 << 20))!
  const file = packFile(store.packsDir, id)
  const bytes = readFileSync(file)
  const frame = frames.find(({ raw }) => raw > 1 << 20)!
  bytes[frame.at + (frame.stored >> 1)]! ^= 1
  writeFileSync(file, bytes)

  const to = path.join(tempDir(), 'restored')
  await expect(restoreTree(await ObjectStore.open(at), tree, to, { threads: 1 })).rejects.toMatchObject({
    code: 'snapshot.damaged',
  })
  expect(existsSync(to)).toBe(false)
  expect(await readdir(path.dirname(to))).toEqual([])
})

test.each<[string, Tree | string, NodeJS.Platform, RegExp]>([
  ['a name with a way up', [file('..')], 'linux', /no name/],
  ['a name with a slash', [file('a/b')], 'linux', /no name/],
  ['a name with a backslash', [file('a\\b')], 'linux', /no name/],
  ['an empty name', [file('')], 'linux', /no name/],
  ['half a letter', [file('\ud801')], 'linux', /no name/],
  ['one name twice', [file('a'), file('a')], 'linux', /another file/],
  ['names that differ by capitals, on Windows', [file('Model'), file('model')], 'win32', /another file/],
  ['two spellings of one letter, on a Mac', [file('\u00e9'), file('e\u0301')], 'darwin', /another file/],
  ['a device of Windows', [file('nul.txt')], 'win32', /Windows/],
  ['a stream of Windows', [file('a.txt:evil')], 'win32', /Windows/],
  ['a link to an absolute path', [link('/etc/passwd')], 'linux', /leads out/],
  ['a link upwards', [link('../x')], 'linux', /leads out/],
  ['a link through another and up', [link('a/../../x')], 'linux', /leads out/],
  ['a device file', '[{"is":"device","name":"sda"}]', 'linux', /cannot be read/],
  ['no list at all', 'nonsense', 'linux', /cannot be read/],
])('%s is refused', (_, tree, platform, reason) => {
  const bytes = typeof tree === 'string' ? Buffer.from(tree) : treeBytes(tree)
  expect(() => readTree(bytes, '', 0, platform)).toThrow(reason)
})

test('names that differ by capitals are fine where the system keeps them apart', () => {
  expect(readTree(treeBytes([file('Model'), file('model')]), '', 0, 'linux')).toHaveLength(2)
})

test.each([
  ['b', 0, true],
  ['../b', 1, true],
  ['../b', 0, false],
  ['./b/c', 0, true],
  ['b/../c', 5, false],
  ['C:\\x', 0, false],
  ['', 0, false],
])('a link to %j under %i folders stays inside: %s', (to, depth, inside) => {
  expect(staysInside(to, depth)).toBe(inside)
})

test('a frame that says it is small and unpacks without end is refused', async () => {
  const dir = tempDir()
  const writer = new PackWriter(path.join(dir, 'packs'), 'bomb')
  const { zstdCompressSync } = await import('node:zlib')
  const key = sha256(treeBytes([]))
  writer.addFrame(zstdCompressSync(Buffer.alloc(64 << 20)), 2, 1, [[key, { offset: 0, length: 2 }]])
  writer.close()
  const store = await ObjectStore.open(dir)
  expect(() => store.read(key)).toThrow(/damaged/)
})

test('a snapshot is known by its content and by who signed it', () => {
  const key = newSigningKey()
  const sealed = seal(manifestOf({ tree: 'a'.repeat(64), files: 1, bytes: 1 }), key)
  const text = JSON.stringify(sealed)
  expect(readSealed(text, sealed.publicKey).id).toBe(sealed.id)
  expect(() => readSealed(text.replace('"test"', '"tést"'))).toThrow(/not what its id says/)
  expect(() => readSealed(text, seal(sealed.manifest, newSigningKey()).publicKey)).toThrow(/not signed/)
  expect(() => readSealed(JSON.stringify({ ...sealed, signature: null }), sealed.publicKey)).toThrow(/not signed/)
  const other = seal({ ...sealed.manifest, name: 'other' }, key)
  expect(() => readSealed(JSON.stringify({ ...sealed, signature: other.signature }))).toThrow(/not signed/)
})

test('a push sends what the place lacks, a second one only what is new, and it comes back whole', async () => {
  const dir = environment(tempDir())
  const store = await ObjectStore.open(tempDir())
  const depot = new FolderDepot(tempDir())
  const first = seal(manifestOf(await keep(store, dir)), null)
  const push = await planPush(store, first, depot)
  expect(push.plan.objects.missing).toBe(push.plan.objects.all)
  let sent = 0
  await carryOutPush(store, push, depot, { onNews: ({ sentBytes }) => (sent = sentBytes) })
  expect(sent).toBeGreaterThan(11 << 20)

  writeFileSync(path.join(dir, 'main.py'), 'print("changed")\n')
  const second = seal(manifestOf(await keep(store, dir)), null)
  const more = await planPush(store, second, depot)
  expect(more.plan.objects.missing).toBe(2)
  let sentNow = 0
  await carryOutPush(store, more, depot, { onNews: ({ sentBytes }) => (sentNow = sentBytes) })
  expect(sentNow).toBeLessThan(sent / 100)

  const there = await ObjectStore.open(tempDir())
  const pulled = await pull(there, second.id, depot)
  const to = path.join(tempDir(), 'restored')
  await restoreTree(there, pulled.manifest.layers[0]!.tree, to, { threads: 1 })
  expect(readFileSync(path.join(to, 'main.py'), 'utf8')).toBe('print("changed")\n')
  expect(readFileSync(path.join(to, 'large.so')).equals(large)).toBe(true)
})

test('a push that is stopped goes on where it was, and until its end nothing can be restored', async () => {
  const store = await ObjectStore.open(tempDir())
  const dir = environment(tempDir())
  const at = tempDir()
  const depot = new FolderDepot(at)
  const sealed = seal(manifestOf(await keep(store, dir)), null)
  const stop = new AbortController()
  const push = await planPush(store, sealed, depot)
  const stopped = carryOutPush(store, push, depot, { lines: 1, signal: stop.signal, onNews: () => stop.abort() })
  await expect(stopped).rejects.toThrow()
  expect(await depot.getSnapshot(sealed.id)).toBeNull()

  await carryOutPush(store, await planPush(store, sealed, depot), depot)
  expect((await planPush(store, sealed, depot)).plan).toMatchObject({
    objects: { missing: 0 },
    bytes: { missing: 0 },
    packs: 0,
  })
})

test('a pack that was damaged where it was pushed to is found out when it is fetched', async () => {
  const store = await ObjectStore.open(tempDir())
  const at = tempDir()
  const depot = new FolderDepot(at)
  const sealed = seal(manifestOf(await keep(store, environment(tempDir()))), null)
  const { packs } = await carryOutPush(store, await planPush(store, sealed, depot), depot)
  const file = packFile(path.join(at, 'packs'), packs[0]!.id)
  const bytes = readFileSync(file)
  bytes[bytes.length >> 1]! ^= 1
  rmSync(file)
  writeFileSync(file, bytes)
  await expect(pull(await ObjectStore.open(tempDir()), sealed.id, depot)).rejects.toMatchObject({
    code: 'snapshot.damaged',
  })
})

test('what no snapshot needs is removed, what one needs stays, and all of it can be checked', async () => {
  const at = tempDir()
  const dir = environment(tempDir())
  const store = await ObjectStore.open(at)
  const first = seal(manifestOf(await keep(store, dir)), null)
  rmSync(path.join(dir, 'large.so'))
  writeFileSync(path.join(dir, 'main.py'), 'print("second")\n')
  const second = seal(manifestOf(await keep(store, dir)), null)
  await writeManifest(store.snapshotsDir, second)

  const now = Date.now()
  expect(await collect(store, [first, second], { graceMs: 60_000, now })).toEqual({ packs: 0, bytes: 0 })
  const { bytes } = await collect(store, [second], { graceMs: 0, now: now + 60_000 })
  expect(bytes).toBeGreaterThan(10 << 20)
  const left = await ObjectStore.open(at)
  expect(await verifyStore(left, { threads: 1 })).toMatchObject({ damaged: [], broken: [] })
  const to = path.join(tempDir(), 'restored')
  await restoreTree(left, second.manifest.layers[0]!.tree, to, { threads: 1 })
  expect(readFileSync(path.join(to, 'main.py'), 'utf8')).toBe('print("second")\n')
})

function file(name: string) {
  return { is: 'file' as const, name, size: 1, mtime: 0, sha256: 'a'.repeat(64) }
}
function link(to: string) {
  return { is: 'link' as const, name: 'l', to }
}
