import { readdir, rename, rm, stat, utimes } from 'node:fs/promises'
import path from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import { AppError } from '../../contract/errors.ts'
import type { SealedManifest } from '../../contract/snapshot.ts'
import { readSnapshots } from './manifest.ts'
import { copyFrames, PackWriter, packFile } from './pack.ts'
import { Pool } from './pool.ts'
import { closureOf } from './restore.ts'
import { DAMAGED, type ObjectStore } from './store.ts'

export interface Verified {
  readonly packs: number
  readonly bytes: number
  /** Packs that hold something else than they say, with the objects that are lost. */
  readonly damaged: { readonly pack: string; readonly reason: string; readonly objects: string[] }[]
  /** Snapshots that cannot be restored, and why. */
  readonly broken: { readonly id: string; readonly reason: string }[]
}

/** Reads every byte of a store, and says which snapshots it can still give back. */
export async function verifyStore(
  store: ObjectStore,
  {
    threads,
    signal,
    onNews,
  }: { threads: number; signal?: AbortSignal; onNews?: (news: { bytes: number; totalBytes: number }) => void },
): Promise<Verified> {
  const pool = new Pool(threads)
  const damaged: Verified['damaged'][number][] = store.damaged.map(({ pack, reason }) => ({
    pack,
    reason,
    objects: [],
  }))
  const lost = new Set<string>()
  const files = await Promise.all(
    [...store.packs.keys()].map(async (id) => {
      const file = packFile(store.packsDir, id)
      return { id, file, bytes: (await stat(file).catch(() => null))?.size ?? 0 }
    }),
  )
  const news = { bytes: 0, totalBytes: files.reduce((sum, { bytes }) => sum + bytes, 0) }
  try {
    await pool.each(
      files,
      'check',
      ({ id, file }) => ({ id, pack: file }),
      ({ damaged: objects, reason }, { id, bytes }) => {
        news.bytes += bytes
        onNews?.(news)
        if (reason === null) return
        const all = objects ?? [...store.packs.get(id)!.objects.keys()]
        damaged.push({ pack: id, reason, objects: all })
        for (const key of all) lost.add(key)
      },
      signal,
    )
  } finally {
    await pool.end()
  }
  const { manifests, unreadable } = await readSnapshots(store.snapshotsDir)
  const broken: Verified['broken'][number][] = [...unreadable]
  for (const { id, manifest } of manifests) {
    try {
      for (const key of closureOf(store, manifest))
        if (lost.has(key)) throw new AppError('snapshot.incomplete', { what: key.slice(0, 12) })
    } catch (cause) {
      broken.push({ id, reason: cause instanceof Error ? cause.message : String(cause) })
    }
  }
  return { packs: files.length, bytes: news.totalBytes, damaged, broken }
}

/**
 * Takes damaged packs out of a store. What is whole of one is in another then; what is not is nowhere, so that it is made
 * or fetched anew.
 */
export async function setAside(store: ObjectStore, damaged: Verified['damaged']): Promise<void> {
  const lost = new Map(damaged.map(({ pack, objects }) => [pack, new Set(objects)]))
  const writer = new PackWriter(store.packsDir, `${process.pid}-whole`)
  for (const [id, objects] of lost) {
    const index = store.packs.get(id)
    if (!index) continue
    const isWhole = (key: string) => !objects.has(key)
    const wanted = new Set([...index.objects].flatMap(([key, { frame }]) => (isWhole(key) ? [frame] : [])))
    for (const _ of copyFrames(packFile(store.packsDir, id), index, wanted, writer, isWhole)) await turn()
  }
  const written = writer.close()
  for (const id of lost.keys()) {
    const file = packFile(store.packsDir, id)
    if (id !== written?.id && (await stat(file).catch(() => null))) {
      await rename(file, `${file}${DAMAGED}`)
      const now = new Date()
      await utimes(`${file}${DAMAGED}`, now, now) // not rubbish at once
    }
    store.forget(id)
  }
  if (written) store.take(written)
}

/** A pack of which less is wanted than this is written anew without the rest. */
const WORTH_KEEPING = 0.5

/**
 * Removes what no snapshot needs. Packs younger than `graceMs` stay: a snapshot that is being made may be about to name
 * them. Gives the bytes that became free.
 */
export async function collect(
  store: ObjectStore,
  keep: readonly SealedManifest[],
  { graceMs, now }: { graceMs: number; now: number },
): Promise<{ packs: number; bytes: number }> {
  const live = new Set<string>()
  for (const { manifest } of keep) for (const key of closureOf(store, manifest)) live.add(key)
  const freed = { packs: 0, bytes: 0 }
  const writer = new PackWriter(store.packsDir, `${process.pid}-collected`)
  const emptied: { id: string; bytes: number }[] = []
  for (const [id, { frames, objects }] of store.packs) {
    const file = packFile(store.packsDir, id)
    const { size, mtimeMs } = await stat(file)
    if (now - mtimeMs < graceMs) continue
    const wanted = new Set<number>()
    for (const [key, { frame }] of objects) if (live.has(key) && store.find(key).pack === id) wanted.add(frame)
    const stored = (some: Iterable<number>) => [...some].reduce((sum, n) => sum + frames[n]!.stored, 0)
    if (stored(wanted) >= WORTH_KEEPING * stored(frames.keys())) continue
    for (const _ of copyFrames(file, { frames, objects }, wanted, writer)) await turn()
    emptied.push({ id, bytes: size })
  }
  const written = writer.close()
  if (written) {
    store.take(written)
    freed.bytes -= written.bytes
    // it is as old as what it was made of
    const old = new Date(now - graceMs - 1000)
    await utimes(packFile(store.packsDir, written.id), old, old)
  }
  for (const { id, bytes } of emptied) {
    if (id === written?.id) continue
    await rm(packFile(store.packsDir, id), { force: true })
    store.forget(id)
    freed.packs++
    freed.bytes += bytes
  }
  freed.bytes += await removeParts(store.packsDir, now - graceMs)
  return freed
}

/** What a killed run had begun, and what was damaged. */
async function removeParts(packsDir: string, before: number): Promise<number> {
  let bytes = 0
  for (const name of await readdir(packsDir, { recursive: true })) {
    if (!/\.(?:part(?:-\d+)?|damaged)$/.test(name)) continue
    const file = path.join(packsDir, name)
    const found = await stat(file).catch(() => null)
    if (!found || found.mtimeMs > before) continue
    bytes += found.size
    await rm(file, { force: true })
  }
  return bytes
}
