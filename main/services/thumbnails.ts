import fs from 'node:fs/promises'
import path from 'node:path'
import type { Worker } from 'node:worker_threads'
import type { Compared } from '../../core/contract/publish.ts'
import { startThread } from '../../core/engine/start-thread.ts'
import type { MediaReply, MediaTask } from './media-worker.ts'
import type { Service } from './service.ts'

export const thumbnailSizes = [128, 256, 512] as const
export type ThumbnailSize = (typeof thumbnailSizes)[number]

type Deps = {
  /** Thumbnails are kept in `thumbs` below it. */
  cacheDir: string
  limitBytes?: number
}
/** What a thread that could not do it said; `code` is the system's (ENOENT …) where it had one. */
class MediaError extends Error {
  readonly code: string | undefined
  constructor(reason: string, code?: string) {
    super(reason)
    this.code = code
  }
}
type Waiting = { resolve(value: Uint8Array | string | Compared): void; reject(cause: Error): void }

const DEFAULT_LIMIT_BYTES = 1 << 30
const THUMBNAIL = /^[0-9a-f]{64}-\d+\.webp$/

/** Small pictures, made in a thread of their own and kept by the sha256 of what they show. */
export class Thumbnails implements Service {
  #dir: string
  #limitBytes: number
  #usedBytes = 0
  #thread: Worker | null = null
  #nextId = 1
  #waiting = new Map<number, Waiting>()
  #making = new Map<string, Promise<Uint8Array | null>>()
  #tidying: Promise<void> = Promise.resolve()
  #tidyingNow = false

  constructor({ cacheDir, limitBytes = DEFAULT_LIMIT_BYTES }: Deps) {
    this.#dir = path.join(cacheDir, 'thumbs')
    this.#limitBytes = limitBytes
  }

  async start() {
    await fs.mkdir(this.#dir, { recursive: true })
    this.#tidy()
  }

  async stop() {
    await this.#tidying
    await Promise.allSettled(this.#making.values())
    await this.#thread?.terminate()
    this.#thread = null
  }

  /** WebP bytes; null when the file is no picture that can be shown small. */
  thumbnail(sha256: string, file: string, size: ThumbnailSize): Promise<Uint8Array | null> {
    const name = `${sha256}-${size}.webp`
    const making = this.#making.get(name)
    if (making) return making
    const made = this.#fromCacheOrMade(name, file, size).finally(() => this.#making.delete(name))
    this.#making.set(name, made)
    return made
  }

  /** The sha256 of a file, in hex. */
  async hash(file: string): Promise<string> {
    return (await this.#ask({ is: 'hash', path: file })) as string
  }

  /** How alike two files are; where pictures differ, `difference` shows where. */
  async compare(path: string, other: string, difference: string): Promise<Compared> {
    return (await this.#ask({ is: 'compare', path, other, difference })) as Compared
  }

  async #fromCacheOrMade(name: string, file: string, size: number): Promise<Uint8Array | null> {
    const cached = path.join(this.#dir, name)
    try {
      const bytes = await fs.readFile(cached)
      const now = new Date()
      await fs.utimes(cached, now, now)
      return bytes
    } catch {
      // Not there yet, or tidied away between the two lines: made anew.
    }
    let bytes: Uint8Array
    try {
      bytes = (await this.#ask({ is: 'thumbnail', path: file, size })) as Uint8Array
    } catch {
      return null
    }
    await this.#store(cached, bytes)
    return bytes
  }

  /** A cache that cannot be written (disk full) only costs time. */
  async #store(cached: string, bytes: Uint8Array) {
    const part = `${cached}.part`
    try {
      await fs.writeFile(part, bytes)
      await fs.rename(part, cached)
    } catch {
      await fs.rm(part, { force: true }).catch(() => {})
      return
    }
    this.#usedBytes += bytes.length
    if (this.#usedBytes > this.#limitBytes) this.#tidy()
  }

  #tidy() {
    if (this.#tidyingNow) return
    this.#tidyingNow = true
    this.#tidying = this.#removeOldest().finally(() => {
      this.#tidyingNow = false
    })
  }

  /** Above the limit, those not looked at for longest go, until a tenth is free. */
  async #removeOldest() {
    const files: { file: string; sizeBytes: number; usedAt: number }[] = []
    for (const name of await fs.readdir(this.#dir).catch(() => [])) {
      const file = path.join(this.#dir, name)
      const stat = await fs.stat(file).catch(() => null)
      if (!stat) continue
      if (THUMBNAIL.test(name)) files.push({ file, sizeBytes: stat.size, usedAt: stat.mtimeMs })
    }
    this.#usedBytes = files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
    if (this.#usedBytes <= this.#limitBytes) return
    files.sort((a, b) => a.usedAt - b.usedAt)
    for (const { file, sizeBytes } of files) {
      if (this.#usedBytes <= this.#limitBytes * 0.9) break
      await fs.rm(file, { force: true }).catch(() => {})
      this.#usedBytes -= sizeBytes
    }
  }

  #ask(task: MediaTask): Promise<Uint8Array | string | Compared> {
    this.#thread ??= this.#startThread()
    const thread = this.#thread
    const id = this.#nextId++
    thread.ref()
    return new Promise<Uint8Array | string | Compared>((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject })
      thread.postMessage({ id, task })
    })
  }

  #startThread(): Worker {
    const hear = (reply: MediaReply) => {
      const waiting = this.#waiting.get(reply.id)
      this.#waiting.delete(reply.id)
      if (this.#waiting.size === 0) thread.unref()
      if (reply.ok) waiting?.resolve(reply.value)
      else waiting?.reject(new MediaError(reply.reason, reply.errno))
    }
    const lost = (reason: string) => {
      if (this.#thread === thread) this.#thread = null
      for (const { reject } of this.#waiting.values()) reject(new MediaError(reason))
      this.#waiting.clear()
    }
    const thread = startThread('media-worker', import.meta.url, hear, lost)
    thread.unref() // idle, it keeps no process alive
    return thread
  }
}
