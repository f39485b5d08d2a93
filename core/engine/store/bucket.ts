import { randomUUID } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { link, mkdir, open, readdir, rename, rm, rmdir, stat } from 'node:fs/promises'
import path from 'node:path'
import type { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { AppError } from '../../contract/errors.ts'
import { isFull, patiently, syncFolder } from '../download/disk.ts'

export interface Kept {
  readonly name: string
  readonly sizeBytes: number
  /** Epoch ms, by the clock of whoever keeps it. */
  readonly changedAt: number
}
export type Bytes = string | Uint8Array | AsyncIterable<Uint8Array>
export interface Range {
  readonly from: number
  readonly length: number
}
export interface ListOptions {
  /** Names that come later than this one. */
  readonly after?: string
  readonly signal?: AbortSignal
}
/** How what a link leads to is called and what it is; `seconds`: until it leads nowhere. */
export interface LinkTo {
  readonly as: string
  readonly mediaType: string
  readonly seconds: number
}

/**
 * Whole objects by name: a folder or mounted share, or object storage. Whoever reads finds all of one, or what was there
 * before; what was put is there for everybody at once. Names are of a-z, 0-9, `.`, `_`, `-`, in folders by `/`.
 */
export interface Bucket {
  /** Shown. Holds no credentials. */
  readonly where: string
  get(name: string, range?: Range, signal?: AbortSignal): Promise<Readable | null>
  stat(name: string, signal?: AbortSignal): Promise<Kept | null>
  /** In place of what was there. */
  put(name: string, bytes: Bytes, signal?: AbortSignal): Promise<{ sizeBytes: number }>
  /** Only where there is none: true for one of however many try, wherever they are. */
  create(name: string, bytes: string | Uint8Array, signal?: AbortSignal): Promise<boolean>
  /** All below a folder (`packs/`), by name. */
  list(folder: string, options?: ListOptions): AsyncIterable<Kept>
  remove(name: string): Promise<void>
  /** Leads there without a key; null: this bucket has no such thing. */
  link(name: string, to: LinkTo): Promise<string | null>
}

/** A small object as text. */
export async function textOf(bucket: Bucket, name: string): Promise<string | null> {
  const stream = await bucket.get(name)
  return stream && Buffer.concat((await stream.toArray()) as Buffer[]).toString('utf8')
}

/** Part of another, as one of its own. */
export const within = (bucket: Bucket, folder: string): Bucket => ({
  where: bucket.where,
  get: (name, range, signal) => bucket.get(folder + name, range, signal),
  stat: async (name, signal) => {
    const kept = await bucket.stat(folder + name, signal)
    return kept && { ...kept, name }
  },
  put: (name, bytes, signal) => bucket.put(folder + name, bytes, signal),
  create: (name, bytes, signal) => bucket.create(folder + name, bytes, signal),
  async *list(below, { after, signal } = {}) {
    const found = bucket.list(folder + below, { signal, ...(after !== undefined && { after: folder + after }) })
    for await (const kept of found) yield { ...kept, name: kept.name.slice(folder.length) }
  },
  remove: (name) => bucket.remove(folder + name),
  link: (name, to) => bucket.link(folder + name, to),
})

const NAME = /^(?:[a-z0-9_-][a-z0-9._-]*\/)*[a-z0-9_-][a-z0-9._-]*$/
/** Nothing that climbs, is hidden, or is two names on one disk and one on another. */
export function checkName(name: string): string {
  if (!NAME.test(name) || name.length > 512) throw new Error(`no name for an object: ${name.slice(0, 100)}`)
  return name
}

const PART = /\.[\da-f-]{36}\.part$/

export class FolderBucket implements Bucket {
  readonly where: string

  constructor(dir: string) {
    this.where = path.resolve(dir)
  }

  async get(name: string, range?: Range): Promise<Readable | null> {
    const handle = await open(this.#at(name)).catch(orNothing)
    if (!handle) return null
    const { from = 0, length = Number.POSITIVE_INFINITY } = range ?? {}
    return createReadStream('', { fd: handle, start: from, end: from + length - 1, highWaterMark: 1 << 18 })
  }

  async stat(name: string): Promise<Kept | null> {
    const found = await stat(this.#at(name)).catch(orNothing)
    return found && { name, sizeBytes: found.size, changedAt: found.mtimeMs }
  }

  async put(name: string, bytes: Bytes): Promise<{ sizeBytes: number }> {
    const file = this.#at(name)
    return this.#written(file, bytes, false, (part) => patiently(() => rename(part, file)))
  }

  async create(name: string, bytes: string | Uint8Array): Promise<boolean> {
    const file = this.#at(name)
    if (await stat(file).catch(orNothing)) return false
    let made = true
    await this.#written(file, bytes, true, async (part) => {
      try {
        await link(part, file)
      } catch (cause) {
        const { code } = cause as NodeJS.ErrnoException
        made = code !== 'EEXIST' && (await exclusively(file, bytes)) // a share without links
      }
      await rm(part)
      await syncFolder(file)
    })
    return made
  }

  async *list(folder: string, { after = '' }: ListOptions = {}): AsyncIterable<Kept> {
    const below = await readdir(path.join(this.where, folder), { recursive: true, withFileTypes: true }).catch(
      orNothing,
    )
    const names = (below ?? [])
      .filter((entry) => entry.isFile() && !PART.test(entry.name))
      .map((entry) => path.relative(this.where, path.join(entry.parentPath, entry.name)).replaceAll(path.sep, '/'))
      .filter((name) => name > after && NAME.test(name))
      .toSorted((a, b) => (a < b ? -1 : 1))
    for (const name of names) {
      const kept = await this.stat(name)
      if (kept) yield kept
    }
  }

  async remove(name: string) {
    const file = this.#at(name)
    await rm(file, { force: true })
    // folders nobody needs any more; one that is not empty stays
    for (let dir = path.dirname(file); dir.startsWith(this.where + path.sep); dir = path.dirname(dir))
      if (
        !(await rmdir(dir).then(
          () => true,
          () => false,
        ))
      )
        return
  }

  async link() {
    return null
  }

  async #written(file: string, bytes: Bytes, flush: boolean, take: (part: string) => Promise<void>) {
    const part = `${file}.${randomUUID()}.part`
    const handle = await opened(part)
    try {
      const stream = handle.createWriteStream({ flush })
      await pipeline(typeof bytes === 'string' ? [Buffer.from(bytes)] : isWhole(bytes) ? [bytes] : bytes, stream)
      await take(part)
      return { sizeBytes: stream.bytesWritten }
    } catch (cause) {
      await rm(part, { force: true })
      throw isFull(cause) ? new AppError('disk.full', { dir: this.where }, { cause }) : cause
    }
  }

  #at(name: string) {
    return path.join(this.where, ...checkName(name).split('/'))
  }
}
const isWhole = (bytes: Bytes): bytes is Uint8Array => bytes instanceof Uint8Array

/** Its folder may go the moment it was made, with the last that was in it. */
async function opened(part: string) {
  for (let tries = 0; ; tries++) {
    try {
      await mkdir(path.dirname(part), { recursive: true, mode: 0o700 })
      return await open(part, 'wx', 0o600)
    } catch (cause) {
      const { code = '' } = cause as NodeJS.ErrnoException
      // or while it was made, which is then told as if a file had been in its way
      if (!['ENOENT', 'ENOTDIR'].includes(code) || tries === 20) throw cause
    }
  }
}

/** For a moment it may be seen without its content. */
async function exclusively(file: string, bytes: string | Uint8Array): Promise<boolean> {
  const handle = await open(file, 'wx', 0o600).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === 'EEXIST') return null
    throw cause
  })
  await handle?.writeFile(bytes)
  await handle?.sync()
  await handle?.close()
  return handle !== null
}

function orNothing(cause: NodeJS.ErrnoException): null {
  if (cause.code === 'ENOENT' || cause.code === 'ENOTDIR') return null
  throw cause
}
