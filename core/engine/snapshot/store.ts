import { closeSync, openSync } from 'node:fs'
import { mkdir, readdir } from 'node:fs/promises'
import path from 'node:path'
import { AppError } from '../../contract/errors.ts'
import { type PackIndex, type Place, packFile, readFrame, readIndex, takeObject } from './pack.ts'
import type { Written } from './snapshot-thread.ts'

const RECENT_FRAMES = 16

export interface Located extends Place {
  readonly pack: string
}

/**
 * What snapshots are made of, each thing once: `packs/<2 hex>/<id>.pack`, immutable, named by what they hold, and
 * `snapshots/<id>.json`, written last. What is in no snapshot is rubbish, never damage.
 */
export class ObjectStore {
  readonly dir: string
  readonly #packs = new Map<string, PackIndex>()
  readonly #objects = new Map<string, Located>()
  /** Frames unpacked lately: the folders of a tree lie together in a few. */
  readonly #recent = new Map<string, Buffer>()
  /** Packs that could not be read. */
  readonly damaged: { pack: string; reason: string }[] = []

  private constructor(dir: string) {
    this.dir = dir
  }

  static async open(dir: string): Promise<ObjectStore> {
    const store = new ObjectStore(dir)
    await mkdir(store.packsDir, { recursive: true })
    await mkdir(store.snapshotsDir, { recursive: true })
    for (const id of await listPacks(store.packsDir)) {
      try {
        store.take({ id, bytes: 0, index: readIndex(packFile(store.packsDir, id)) })
      } catch (cause) {
        const { code = '', message } = cause as NodeJS.ErrnoException
        if (/^E[A-Z]+$/.test(code) && code !== 'ENOENT') throw cause // a disk that does not answer damages nothing
        store.damaged.push({ pack: id, reason: message })
      }
    }
    return store
  }

  get packsDir() {
    return path.join(this.dir, 'packs')
  }
  get snapshotsDir() {
    return path.join(this.dir, 'snapshots')
  }

  take({ id, index }: Written) {
    this.#packs.set(id, index)
    for (const [key, place] of index.objects) this.#objects.set(key, { pack: id, ...place })
  }
  forget(id: string) {
    this.#packs.delete(id)
    for (const [key, { pack }] of this.#objects) if (pack === id) this.#objects.delete(key)
    // another pack may hold the same object
    for (const [pack, { objects }] of this.#packs)
      for (const [key, place] of objects) if (!this.#objects.has(key)) this.#objects.set(key, { pack, ...place })
  }

  has = (key: string) => this.#objects.has(key)
  get packs(): ReadonlyMap<string, PackIndex> {
    return this.#packs
  }
  find(key: string): Located {
    const found = this.#objects.get(key)
    if (!found) throw new AppError('snapshot.incomplete', { what: key.slice(0, 12) })
    return found
  }

  /** One object, small ones beside it soon after for nothing. @throws AppError 'snapshot.incomplete' | 'snapshot.damaged' */
  read(key: string): Buffer {
    const { pack, ...place } = this.find(key)
    try {
      const of = `${pack}.${place.frame}`
      let frame = this.#recent.get(of)
      if (!frame) {
        const handle = openSync(packFile(this.packsDir, pack), 'r')
        try {
          frame = readFrame(handle, this.#packs.get(pack)!.frames[place.frame]!)
        } finally {
          closeSync(handle)
        }
        const [oldest] = this.#recent.keys()
        if (this.#recent.size >= RECENT_FRAMES) this.#recent.delete(oldest!)
        this.#recent.set(of, frame)
      }
      return takeObject(frame, key, place)
    } catch (cause) {
      throw new AppError('snapshot.damaged', { reason: (cause as Error).message }, { cause })
    }
  }
}

/** Follows the name of a pack that was set aside. */
export const DAMAGED = '.damaged'

export async function listPacks(packsDir: string): Promise<string[]> {
  const names = await readdir(packsDir, { recursive: true })
  return names.flatMap((name) => /(?:^|[\\/])([0-9a-f]{64})\.pack$/.exec(name)?.[1] ?? [])
}
