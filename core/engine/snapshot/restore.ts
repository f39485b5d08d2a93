import { chmod, mkdir, open, rename, rm, symlink, utimes } from 'node:fs/promises'
import path from 'node:path'
import { AppError } from '../../contract/errors.ts'
import type { Manifest } from '../../contract/snapshot.ts'
import { freeBytes } from '../volume.ts'
import { packFile } from './pack.ts'
import { Pool } from './pool.ts'
import type { To, Unpack } from './snapshot-thread.ts'
import type { ObjectStore } from './store.ts'
import { type Entry, readTree } from './tree.ts'

/** Deeper than any environment; a tree that holds itself ends here. */
const MOST_DEPTH = 100
const MOST_FILES = 5_000_000
/** Read and written by one thread before the next turn. */
const BATCH_OBJECTS = 2000

export interface RestoreOptions {
  readonly threads: number
  readonly platform?: NodeJS.Platform
  readonly signal?: AbortSignal
  readonly onNews?: (news: { bytes: number; totalBytes: number }) => void
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
  const open = (key: string, at: string, depth: number) => {
    if (depth > MOST_DEPTH) throw new AppError('snapshot.unsafe', { path: at, reason: 'its folders never end' })
    for (const entry of readTree(store.read(key), at, depth, platform)) {
      const here = at === '' ? entry.name : `${at}/${entry.name}`
      if (entry.is === 'folder') {
        layout.folders.push(here)
        open(entry.tree, here, depth + 1)
      } else if (entry.is === 'link') layout.links.push({ path: here, to: entry.to })
      else {
        layout.files.push({ path: here, entry })
        layout.bytes += entry.size
      }
      if (layout.files.length > MOST_FILES)
        throw new AppError('snapshot.unsafe', { path: here, reason: 'it holds too many files' })
    }
  }
  open(tree, '', 0)
  return layout
}

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
  const { threads, platform = process.platform, signal, onNews } = options
  const layout = layoutOf(store, tree, platform)
  const part = `${to}.part-${process.pid}`
  await rm(part, { recursive: true, force: true })
  await mkdir(part, { recursive: true })
  await refuseSmallDisk(part, layout.bytes)
  const pool = new Pool(threads)
  try {
    for (const folder of layout.folders) await mkdir(path.join(part, folder))
    const work = new Map<string, Map<string, To[]>>()
    const pieced: { path: string; entry: Entry & { is: 'pieces' } }[] = []
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
      const file = path.join(part, at)
      if (entry.is === 'file')
        send(entry.sha256, entry.size, { path: file, mtime: entry.mtime, executable: entry.executable === true })
      else {
        const handle = await open(file, 'wx', entry.executable ? 0o755 : 0o644)
        await handle.truncate(entry.size)
        await handle.close()
        pieced.push({ path: file, entry })
        let position = 0
        for (const { sha256, size } of entry.pieces) {
          send(sha256, size, { path: file, at: position })
          position += size
        }
      }
    }
    const news = { bytes: 0, totalBytes: layout.bytes }
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
    for (const { path: file, entry } of pieced) {
      await utimes(file, entry.mtime, entry.mtime)
      if (entry.executable) await chmod(file, 0o755)
    }
    // last, so that nothing is ever written through one
    for (const link of layout.links) await symlink(link.to, path.join(part, link.path))
    await rename(part, to)
    return layout
  } catch (cause) {
    await rm(part, { recursive: true, force: true })
    const { code, message } = cause as NodeJS.ErrnoException
    if (code === 'ENOSPC') throw new AppError('disk.full', { dir: to }, { cause })
    if (/is damaged|ends early|another size|its index/.test(message))
      throw new AppError('snapshot.damaged', { reason: message }, { cause })
    throw cause
  } finally {
    await pool.end()
  }
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
