import { createReadStream, createWriteStream } from 'node:fs'
import { mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises'
import path from 'node:path'
import { Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { AppError } from '../../contract/errors.ts'
import { parseJson } from '../../contract/json.ts'
import { PublishedSnapshot } from '../../contract/snapshot.ts'
import { packFile } from './pack.ts'
import { listPacks } from './store.ts'
import { canonical } from './tree.ts'

/**
 * A place that keeps packs and snapshots: a folder or share, an object storage, an agent. A pack has its name only when all
 * of it is there, and then never changes.
 */
export interface Depot {
  /** Shown. Holds no credentials. */
  readonly where: string
  packs(signal?: AbortSignal): Promise<Map<string, number>>
  /** Bytes of a pack, from its end when `from` is below zero. */
  readPack(id: string, from: number, length: number, signal?: AbortSignal): Promise<Buffer>
  /** From a file of that content; one that is there already is left. */
  putPack(id: string, file: string, transfer: Transfer): Promise<void>
  /** Into a file; what was fetched of it before is gone on with. Who asked checks it. */
  getPack(id: string, file: string, transfer: Transfer): Promise<void>
  snapshots(signal?: AbortSignal): Promise<string[]>
  /** null: there is none. */
  getSnapshot(id: string, signal?: AbortSignal): Promise<PublishedSnapshot | null>
  /** Last of all. */
  putSnapshot(published: PublishedSnapshot, signal?: AbortSignal): Promise<void>
}
export interface Transfer {
  readonly signal?: AbortSignal
  /** Told piece by piece; what it waits for holds the transfer back. */
  readonly onBytes?: (bytes: number) => void | Promise<void>
}

/** A folder: of another disk, a mounted share, or the store of an agent on this machine. */
export class FolderDepot implements Depot {
  readonly where: string
  readonly #dir: string

  constructor(dir: string) {
    this.where = dir
    this.#dir = dir
  }

  async packs() {
    const ids = await listPacks(this.#packs).catch(() => [])
    return new Map(
      await Promise.all(ids.map(async (id) => [id, (await stat(packFile(this.#packs, id))).size] as const)),
    )
  }

  async readPack(id: string, from: number, length: number) {
    const handle = await open(packFile(this.#packs, id), 'r')
    try {
      const { size } = await handle.stat()
      const bytes = Buffer.alloc(Math.min(length, size))
      const { bytesRead } = await handle.read(bytes, 0, bytes.length, from < 0 ? Math.max(0, size + from) : from)
      return bytes.subarray(0, bytesRead)
    } finally {
      await handle.close()
    }
  }

  async putPack(id: string, file: string, transfer: Transfer) {
    const to = packFile(this.#packs, id)
    await mkdir(path.dirname(to), { recursive: true })
    if (await stat(to).catch(() => null)) return
    const part = `${to}.part-${process.pid}`
    try {
      await copyWhole(file, part, 0, transfer)
      await rename(part, to)
    } catch (cause) {
      await rm(part, { force: true })
      throw whatHappened(cause, this.#dir)
    }
  }

  async getPack(id: string, file: string, transfer: Transfer) {
    const had = await stat(file).then(
      ({ size }) => size,
      () => 0,
    )
    await copyWhole(packFile(this.#packs, id), file, had, transfer)
  }

  async snapshots() {
    const names = await readdir(path.join(this.#dir, 'snapshots')).catch(() => [] as string[])
    return names.flatMap((name) => /^([0-9a-f]{64})\.json$/.exec(name)?.[1] ?? [])
  }

  async getSnapshot(id: string) {
    const text = await readFile(path.join(this.#dir, 'snapshots', `${id}.json`), 'utf8').catch(() => null)
    return text === null ? null : readPublished(text)
  }

  async putSnapshot(published: PublishedSnapshot) {
    const to = path.join(this.#dir, 'snapshots', `${published.sealed.id}.json`)
    await mkdir(path.dirname(to), { recursive: true })
    const part = `${to}.part-${process.pid}`
    const handle = await open(part, 'w')
    try {
      await handle.writeFile(canonical(published))
      await handle.sync()
    } finally {
      await handle.close()
    }
    await rename(part, to)
  }

  get #packs() {
    return path.join(this.#dir, 'packs')
  }
}

/** @throws AppError 'snapshot.damaged' */
export function readPublished(text: string): PublishedSnapshot {
  try {
    return PublishedSnapshot.parse(parseJson(text))
  } catch (cause) {
    throw new AppError('snapshot.damaged', { reason: 'its description cannot be read' }, { cause })
  }
}

async function copyWhole(from: string, to: string, start: number, { signal, onBytes }: Transfer) {
  const count = new Transform({
    transform(chunk: Buffer, _, done) {
      Promise.resolve(onBytes?.(chunk.length)).then(() => done(null, chunk), done)
    },
  })
  const out = createWriteStream(to, { flags: start > 0 ? 'a' : 'w', flush: true })
  await pipeline(createReadStream(from, { start, highWaterMark: 1 << 20 }), count, out, { signal })
}

const whatHappened = (cause: unknown, dir: string) => {
  const { code } = cause as NodeJS.ErrnoException
  if (code === 'ENOSPC') return new AppError('disk.full', { dir }, { cause })
  return code === 'EACCES' || code === 'EROFS' || code === 'EPERM'
    ? new AppError('disk.denied', { dir }, { cause })
    : cause
}
