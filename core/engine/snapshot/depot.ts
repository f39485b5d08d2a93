import { createReadStream, createWriteStream } from 'node:fs'
import { open, readdir, readFile, rename, rm, stat, utimes } from 'node:fs/promises'
import path from 'node:path'
import { Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { AppError } from '../../contract/errors.ts'
import { parseJson } from '../../contract/json.ts'
import { PublishedSnapshot } from '../../contract/snapshot.ts'
import { diskFailure, makeFolder } from '../download/disk.ts'
import { takeName } from '../download/lock.ts'
import { hashFile } from '../hash-file.ts'
import { packFile } from './pack.ts'
import { DAMAGED, listPacks } from './store.ts'
import { canonical } from './tree.ts'

/**
 * A place that keeps packs and snapshots: a folder or share, an object storage, an agent. A pack has its name only when all
 * of it is there, and then never changes.
 */
export interface Depot {
  /** Shown. Holds no credentials. */
  readonly where: string
  packs(signal?: AbortSignal): Promise<Map<string, number>>
  /** null: it is not there. */
  packBytes(id: string, signal?: AbortSignal): Promise<number | null>
  /** Bytes of a pack, from its end when `from` is below zero. */
  readPack(id: string, from: number, length: number, signal?: AbortSignal): Promise<Buffer>
  /** From a file of that content; one that is there already is left, unless it was cut short. */
  putPack(id: string, file: string, transfer: Transfer): Promise<void>
  /** Into a file; what was fetched of it before is gone on with. Who asked checks it. */
  getPack(id: string, file: string, transfer: Transfer): Promise<void>
  /** A pack that is not what its name says: the next push is to bring it anew. Absent where the place sees to that itself. */
  setAside?(id: string): Promise<void>
  snapshots(signal?: AbortSignal): Promise<string[]>
  /** null: there is none. */
  getSnapshot(id: string, signal?: AbortSignal): Promise<PublishedSnapshot | null>
  /** Last of all. */
  putSnapshot(published: PublishedSnapshot, signal?: AbortSignal): Promise<void>
  /** Bytes of each model that is there, by its sha256. All environments share them. */
  models(signal?: AbortSignal): Promise<Map<string, number>>
  /** As `packBytes`, `readPack`, `putPack`, `getPack`. */
  modelBytes(sha256: string, signal?: AbortSignal): Promise<number | null>
  readModel(sha256: string, from: number, length: number, signal?: AbortSignal): Promise<Buffer>
  putModel(sha256: string, file: string, transfer: Transfer): Promise<void>
  getModel(sha256: string, file: string, transfer: Transfer): Promise<void>
  /** Has the place get a model for itself from one of `sources`; absent where nobody is there to do it. */
  fetchModel?(model: ModelSource, transfer: Transfer): Promise<void>
}
export interface ModelSource {
  readonly sha256: string
  readonly size: number
  /** Addresses on the public internet. */
  readonly sources: readonly string[]
}
export interface Transfer {
  readonly signal?: AbortSignal
  /** The file was checked, and may be moved instead of copied. */
  readonly mayMove?: boolean
  /** Told piece by piece; what it waits for holds the transfer back. */
  readonly onBytes?: (bytes: number) => void | Promise<void>
  /** Some of it lies there from before; below zero: of what was told, so much did not get there after all. */
  readonly onThere?: (bytes: number) => void
}

const NEVER = new AbortController().signal

/** What a push that stopped had begun is kept for so long. */
export const ABANDONED_MS = 7 * 24 * 60 * 60_000

/** Where a model is in a folder or under a prefix of objects. */
export const modelKey = (sha256: string) => `models/${sha256.slice(0, 2)}/${sha256}`

/**
 * A folder: of another disk, a mounted share, or the store of an agent on this machine. What is copied into it is hashed on
 * the way; a copy that was cut off is gone on with.
 */
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

  packBytes(id: string) {
    return bytesOf(packFile(this.#packs, id))
  }

  readPack(id: string, from: number, length: number) {
    return readPart(packFile(this.#packs, id), from, length)
  }

  putPack(id: string, file: string, transfer: Transfer) {
    return this.#put(id, file, packFile(this.#packs, id), transfer)
  }

  async getPack(id: string, file: string, transfer: Transfer) {
    await copyOn(packFile(this.#packs, id), file, transfer).catch(orMissing(id))
  }

  async setAside(id: string) {
    const file = packFile(this.#packs, id)
    await rename(file, `${file}${DAMAGED}`)
    await utimes(`${file}${DAMAGED}`, new Date(), new Date())
  }

  async models() {
    const names = await readdir(path.join(this.#dir, 'models'), { recursive: true }).catch(() => [] as string[])
    const ids = names.flatMap((name) => /(?:^|[\\/])([0-9a-f]{64})$/.exec(name)?.[1] ?? [])
    return new Map(await Promise.all(ids.map(async (id) => [id, (await stat(this.#model(id))).size] as const)))
  }

  modelBytes(sha256: string) {
    return bytesOf(this.#model(sha256))
  }

  readModel(sha256: string, from: number, length: number) {
    return readPart(this.#model(sha256), from, length)
  }

  putModel(sha256: string, file: string, transfer: Transfer) {
    return this.#put(sha256, file, this.#model(sha256), transfer)
  }

  async getModel(sha256: string, file: string, transfer: Transfer) {
    await copyOn(this.#model(sha256), file, transfer).catch(orMissing(sha256))
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
    await makeFolder(path.dirname(to))
    const part = `${to}.part-${process.pid}`
    try {
      const handle = await open(part, 'w')
      try {
        await handle.writeFile(canonical(published))
        await handle.sync()
      } finally {
        await handle.close()
      }
      await rename(part, to)
    } catch (cause) {
      await rm(part, { force: true })
      throw diskFailure(cause, this.#dir)
    }
    for (const folder of [this.#packs, path.join(this.#dir, 'models')]) await removeAbandoned(folder)
  }

  get #packs() {
    return path.join(this.#dir, 'packs')
  }
  #model(sha256: string) {
    return path.join(this.#dir, modelKey(sha256))
  }

  async #put(id: string, file: string, to: string, transfer: Transfer) {
    await makeFolder(path.dirname(to))
    try {
      const letGo = await takeName(to, transfer.signal ?? NEVER, () => {})
      try {
        const [{ size }, there] = await Promise.all([stat(file), bytesOf(to)])
        if (there === size) return transfer.onThere?.(there)
        if (transfer.mayMove && (await moved(file, to))) return
        const part = `${to}.part`
        await copyOn(file, part, transfer)
        if ((await hashFile(part, transfer.signal)) !== id) {
          await rm(part, { force: true }) // another machine copied into it as well, or the file is no longer what it was
          throw new AppError('snapshot.damaged', { reason: `${id.slice(0, 12)} arrived as something else` })
        }
        await rename(part, to)
      } finally {
        await letGo()
      }
    } catch (cause) {
      throw diskFailure(cause, this.#dir)
    }
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

function orMissing(id: string) {
  return (cause: NodeJS.ErrnoException): never => {
    throw cause.code === 'ENOENT' ? new AppError('snapshot.incomplete', { what: id.slice(0, 12) }, { cause }) : cause
  }
}

const bytesOf = (file: string) =>
  stat(file).then(
    ({ size }) => size,
    () => null,
  )

async function readPart(file: string, from: number, length: number): Promise<Buffer> {
  const handle = await open(file, 'r')
  try {
    const { size } = await handle.stat()
    const at = from < 0 ? Math.max(0, size + from) : from
    const bytes = Buffer.allocUnsafe(Math.max(0, Math.min(length, size - at)))
    const { bytesRead } = await handle.read(bytes, 0, bytes.length, at)
    return bytes.subarray(0, bytesRead)
  } finally {
    await handle.close()
  }
}

/** Goes on after what is there of it. */
async function copyOn(from: string, to: string, { signal, onBytes, onThere }: Transfer) {
  const [{ size }, had] = await Promise.all([stat(from), stat(to).catch(() => null)])
  const start = had && had.size <= size ? had.size : 0
  if (start > 0) onThere?.(start)
  const count = new Transform({
    transform(chunk: Buffer, _, done) {
      Promise.resolve(onBytes?.(chunk.length)).then(() => done(null, chunk), done)
    },
  })
  const out = createWriteStream(to, { flags: start > 0 ? 'a' : 'w', flush: true })
  await pipeline(createReadStream(from, { start, highWaterMark: 1 << 20 }), count, out, { signal })
}

async function removeAbandoned(dir: string) {
  const names = await readdir(dir, { recursive: true }).catch(() => [] as string[])
  for (const file of names.filter((name) => /\.(?:part|damaged)$/.test(name)).map((name) => path.join(dir, name))) {
    const found = await stat(file).catch(() => null)
    if (found?.isFile() && Date.now() - found.mtimeMs > ABANDONED_MS) await rm(file, { force: true }).catch(() => {})
  }
}

/** false: it lies on another disk. */
async function moved(from: string, to: string): Promise<boolean> {
  try {
    await rename(from, to)
    return true
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'EXDEV') return false
    throw cause
  }
}
