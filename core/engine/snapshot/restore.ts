import { chmod, mkdir, open, rename, rm, symlink, utimes } from 'node:fs/promises'
import path from 'node:path'
import { AppError } from '../../contract/errors.ts'
import type { Manifest } from '../../contract/snapshot.ts'
import { freeBytes } from '../volume.ts'
import { damageOr, packFile } from './pack.ts'
import { Pool } from './pool.ts'
import type { To, Unpack } from './snapshot-thread.ts'
import type { ObjectStore } from './store.ts'
import { checkTree, type Entry, MOST_DEPTH, parseTree, readTree, type Tree } from './tree.ts'

/** Folders count too: a list of ten that are all itself one deeper would fill the memory. */
const MOST_NAMES = 2_000_000
/** Read and written by one thread before the next turn. */
const BATCH_OBJECTS = 2000
const READ_AGAIN = 0.02

export interface RestoreOptions {
  readonly threads: number
  readonly platform?: NodeJS.Platform
  /** Nothing made may be written to: its files may get other names. */
  readonly readOnly?: boolean
  /** Restored before, by us alone: files that are the same are not unpacked again. One that is found damaged is removed. */
  readonly like?: readonly Restored[]
  /** The share of those whose bytes are read, since a disk may rot. */
  readonly readAgain?: number
  readonly signal?: AbortSignal
  readonly onNews?: (news: { bytes: number; totalBytes: number }) => void
}
export interface Restored {
  readonly dir: string
  readonly layout: Layout
}
export interface Layout {
  readonly folders: string[]
  readonly files: { readonly path: string; readonly entry: Extract<Entry, { size: number }> }[]
  readonly links: { readonly path: string; readonly to: string }[]
  readonly bytes: number
}

/** Everything under a tree, by path. @throws AppError 'snapshot.unsafe' | 'snapshot.incomplete' | 'snapshot.damaged' */
export function layoutOf(store: ObjectStore, tree: string, platform: NodeJS.Platform = process.platform): Layout {
  const layout = {
    folders: [] as string[],
    files: [] as Layout['files'][number][],
    links: [] as Layout['links'][number][],
    bytes: 0,
  }
  const trees = new Map<string, { tree: Tree; names: number }>()
  // by hash, since the same folder may be in itself a thousand times without being any larger
  const look = (key: string, at: string, depth: number): number => {
    if (depth > MOST_DEPTH) throw new AppError('snapshot.unsafe', { path: at, reason: 'its folders never end' })
    const seen = trees.get(key)
    if (seen) return seen.names
    const tree = parseTree(store.read(key), at)
    const names = tree.reduce(
      (sum, entry) => sum + 1 + (entry.is === 'folder' ? look(entry.tree, join(at, entry.name), depth + 1) : 0),
      0,
    )
    trees.set(key, { tree, names })
    return names
  }
  if (look(tree, '', 0) > MOST_NAMES)
    throw new AppError('snapshot.unsafe', { path: '', reason: 'it holds too many files' })
  const open = (key: string, at: string, depth: number) => {
    const { tree } = trees.get(key)!
    checkTree(tree, at, depth, platform)
    for (const entry of tree) {
      const here = join(at, entry.name)
      if (entry.is === 'folder') {
        layout.folders.push(here)
        open(entry.tree, here, depth + 1)
      } else if (entry.is === 'link') layout.links.push({ path: here, to: entry.to })
      else {
        layout.files.push({ path: here, entry })
        layout.bytes += entry.size
      }
    }
  }
  open(tree, '', 0)
  return layout
}

const join = (at: string, name: string) => (at === '' ? name : `${at}/${name}`)

/** The keys of all a snapshot is made of. @throws AppError 'snapshot.incomplete' when one is missing */
export function closureOf(store: ObjectStore, { layers }: Pick<Manifest, 'layers'>): Set<string> {
  const keys = new Set<string>()
  const need = (key: string) => {
    store.find(key)
    keys.add(key)
  }
  const open = (key: string, depth: number) => {
    if (keys.has(key)) return
    if (depth > MOST_DEPTH) throw new AppError('snapshot.unsafe', { path: key, reason: 'its folders never end' })
    need(key)
    for (const entry of readTree(store.read(key), '', MOST_DEPTH, 'linux')) {
      if (entry.is === 'folder') open(entry.tree, depth + 1)
      else if (entry.is === 'file') need(entry.sha256)
      else if (entry.is === 'pieces') for (const { sha256 } of entry.pieces) need(sha256)
    }
  }
  for (const { tree } of layers) open(tree, 0)
  return keys
}

/**
 * Makes a folder what its tree says. It is made beside its name and gets it when every object was checked and written;
 * until then nothing is there.
 * @throws AppError 'snapshot.*', 'disk.full'
 */
export async function restoreTree(
  store: ObjectStore,
  tree: string,
  to: string,
  options: RestoreOptions,
): Promise<Layout> {
  const { threads, platform = process.platform, readOnly = false, signal, onNews } = options
  const layout = layoutOf(store, tree, platform)
  const part = `${to}.part`
  await rm(part, { recursive: true, force: true })
  await mkdir(part, { recursive: true })
  const pool = new Pool(threads)
  try {
    for (const folder of layout.folders) await mkdir(path.join(part, folder))
    const news = { bytes: 0, totalBytes: layout.bytes }
    const taken = await takeFiles(pool, layout, part, options, (bytes) => {
      news.bytes += bytes
      onNews?.(news)
    })
    await refuseSmallDisk(part, layout.bytes - news.bytes)
    const work = new Map<string, Map<string, To[]>>()
    const pieced: { path: string; mtime: number; mode: number }[] = []
    const send = (key: string, size: number, to: To) => {
      const { pack, length } = store.find(key)
      if (length !== size)
        throw new AppError('snapshot.unsafe', { path: to.path, reason: 'it has another size than said' })
      const inPack = work.get(pack) ?? new Map<string, To[]>()
      work.set(pack, inPack)
      const places = inPack.get(key)
      if (places) places.push(to)
      else inPack.set(key, [to])
    }
    for (const { path: at, entry } of layout.files) {
      if (taken.has(at)) continue
      const file = path.join(part, at)
      const mode = (entry.executable ? 0o755 : 0o644) & (readOnly ? 0o555 : 0o777)
      if (entry.is === 'file') send(entry.sha256, entry.size, { path: file, mtime: entry.mtime, mode })
      else {
        const handle = await open(file, 'wx', 0o644)
        await handle.truncate(entry.size)
        await handle.close()
        pieced.push({ path: file, mtime: entry.mtime, mode })
        let position = 0
        for (const { sha256, size } of entry.pieces) {
          send(sha256, size, { path: file, at: position })
          position += size
        }
      }
    }
    await pool.each(
      batches(store, work),
      'unpack',
      ({ pack, objects }) => ({ pack: packFile(store.packsDir, pack), objects }),
      (_, { objects }) => {
        for (const { place, to } of objects) news.bytes += place.length * to.length
        onNews?.(news)
      },
      signal,
    )
    for (const { path: file, mtime, mode } of pieced) {
      await utimes(file, mtime, mtime)
      if (mode !== 0o644) await chmod(file, mode)
    }
    // last, so that nothing is ever written through one
    for (const link of layout.links) await symlink(link.to, path.join(part, link.path))
    await rename(part, to)
    return layout
  } catch (cause) {
    await rm(part, { recursive: true, force: true })
    const { code } = cause as NodeJS.ErrnoException
    if (code === 'ENAMETOOLONG')
      throw new AppError('snapshot.unsafe', { path: to, reason: 'its names are too long here' })
    // a disk that takes a and A for one, whatever the system
    if (code === 'EEXIST') throw new AppError('snapshot.unsafe', { path: to, reason: 'two of its names are one here' })
    if (code === 'ENOSPC') throw new AppError('disk.full', { dir: to }, { cause })
    throw damageOr(cause)
  } finally {
    await pool.end()
  }
}

/** Gives files of folders restored before a name, or a clone, in `to`; those that are not what they were are not taken. */
async function takeFiles(
  pool: Pool,
  { files }: Layout,
  to: string,
  { like = [], readAgain = READ_AGAIN, signal }: RestoreOptions,
  onBytes: (bytes: number) => void,
): Promise<ReadonlySet<string>> {
  const taken = new Set<string>()
  for (const { dir, layout } of like) {
    const there = new Map(layout.files.map(({ path: at, entry }) => [sameness(entry), at]))
    const same = files.flatMap(({ path: at, entry }) => {
      const from = taken.has(at) ? undefined : there.get(sameness(entry))
      return from === undefined ? [] : [{ path: at, entry, from }]
    })
    const from = new Set<string>()
    let bytes = 0
    let damaged = false
    await pool.each(
      slices(same, BATCH_OBJECTS),
      'take',
      (some) => ({
        files: some.map(({ path: at, entry, from }) => ({
          from: path.join(dir, from),
          to: path.join(to, at),
          size: entry.size,
          mtime: entry.mtime,
          sha256: entry.is === 'file' && Math.random() < readAgain ? entry.sha256 : null,
        })),
      }),
      (said, some) => {
        const before = bytes
        for (const [n, how] of said.entries()) {
          if (how === 'damaged') damaged = true
          if (how !== 'taken') continue
          from.add(some[n]!.path)
          bytes += some[n]!.entry.size
        }
        onBytes(bytes - before)
      },
      signal,
    )
    if (damaged) {
      // which others are, nobody knows
      for (const at of from) await rm(path.join(to, at))
      await rm(dir, { recursive: true, force: true })
      onBytes(-bytes)
    } else for (const at of from) taken.add(at)
  }
  return taken
}

/** Two files of which this is equal may be one on the disk. */
const sameness = (entry: Layout['files'][number]['entry']) => {
  const content = entry.is === 'file' ? entry.sha256 : entry.pieces.map(({ sha256 }) => sha256).join()
  return `${content} ${entry.mtime} ${entry.executable === true}`
}

function* slices<T>(items: readonly T[], size: number): Generator<T[]> {
  for (let at = 0; at < items.length; at += size) yield items.slice(at, at + size)
}

/** Frame by frame, so that each is unpacked once. */
function* batches(
  store: ObjectStore,
  work: ReadonlyMap<string, Map<string, To[]>>,
): Generator<{ pack: string; objects: Unpack[] }> {
  for (const [pack, inPack] of work) {
    const objects = [...inPack].map(([key, to]) => ({ key, place: store.find(key), to }))
    objects.sort((a, b) => a.place.frame - b.place.frame || a.place.offset - b.place.offset)
    let batch: Unpack[] = []
    for (const object of objects) {
      if (batch.length >= BATCH_OBJECTS && batch.at(-1)!.place.frame !== object.place.frame) {
        yield { pack, objects: batch }
        batch = []
      }
      batch.push(object)
    }
    yield { pack, objects: batch }
  }
}

async function refuseSmallDisk(dir: string, bytes: number) {
  const free = await freeBytes(dir)
  if (free !== null && free < bytes)
    throw new AppError('snapshot.no-room', {
      dir,
      needMiB: Math.ceil(bytes / 2 ** 20),
      freeMiB: Math.floor(free / 2 ** 20),
    })
}
