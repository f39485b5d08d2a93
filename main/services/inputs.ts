import { createHash, randomUUID } from 'node:crypto'
import { constants, createWriteStream, existsSync, mkdirSync, readdirSync, rmSync, statSync } from 'node:fs'
import { copyFile, link, mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import path from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { fileURLToPath } from 'node:url'
import type { z } from 'zod'
import { decoded } from '../../core/contract/address.ts'
import type { InputFile as InputFileSchema } from '../../core/contract/app.ts'
import { AppError } from '../../core/contract/errors.ts'
import { safeFileName } from '../../core/domain/artifact-name.ts'
import type { FileFault } from '../../core/domain/batch/check.ts'
import { HEAD_BYTES, mediaOf } from '../../core/domain/media.ts'
import { fetchPublic, type PublicRequest } from '../../core/engine/download/fetch-public.ts'
import { hashFile } from '../../core/engine/hash-file.ts'

export type InputFile = z.infer<typeof InputFileSchema>

const MEDIA =
  /\.(png|jpe?g|webp|gif|bmp|tiff?|avif|mp4|mov|webm|mkv|avi|m4v|wav|mp3|flac|ogg|opus|m4a|aac|glb|gltf|obj|fbx|stl|ply)$/i
const MOST_FETCHED_BYTES = 64 * 1024 * 1024
const REF = /^input:([0-9a-f]{64})\/([^/\\]+)$/
const inPeoplesOrder = new Intl.Collator('en', { numeric: true })

/** Files kept for LoadImage and its relatives, by their content: what was queued is what runs, whatever happens to the original. */
export class Inputs {
  #dir: string
  /** Which file an address gave, by the address's hash. */
  #addresses: string
  #mayReach: PublicRequest['mayReach']
  #onTheirWay = new Map<string, Promise<string>>()

  constructor(dataDir: string, { mayReach }: Pick<PublicRequest, 'mayReach'> = {}) {
    this.#dir = path.join(dataDir, 'inputs')
    this.#addresses = path.join(this.#dir, 'addresses')
    this.#mayReach = mayReach
    mkdirSync(this.#dir, { recursive: true })
    for (const name of readdirSync(this.#dir)) if (name.endsWith('.part')) rmSync(path.join(this.#dir, name))
  }

  async add(name: string, bytes: Uint8Array | AsyncIterable<Uint8Array>): Promise<InputFile> {
    mustBeMedia(name)
    return this.#keep(name, async (part) => {
      const source = Symbol.asyncIterator in bytes ? bytes : [bytes]
      await pipeline(Readable.from(source), createWriteStream(part, { flags: 'wx', flush: true }))
    })
  }

  /** @throws AppError 'input.missing', 'input.not-media' */
  async addPath(file: string): Promise<InputFile> {
    const from = localPath(file)
    mustBeMedia(from)
    if (!isFile(from)) throw new AppError('input.missing', { name: path.basename(from) })
    return this.#keep(path.basename(from), (part) => copyFile(from, part, constants.COPYFILE_FICLONE))
  }

  /**
   * The picture, film or sound at an address, fetched once and kept like any other; gives its ref. Asked for `anew`, what
   * was kept only serves where the address no longer does.
   * @throws AppError 'input.unreachable', 'input.not-media'
   */
  addUrl(url: string, { anew = false } = {}): Promise<string> {
    const known = this.#onTheirWay.get(url)
    if (known) return known
    const adding = this.#addUrl(url, anew).finally(() => this.#onTheirWay.delete(url))
    this.#onTheirWay.set(url, adding)
    return adding
  }
  async #addUrl(url: string, anew: boolean): Promise<string> {
    const kept = path.join(this.#addresses, createHash('sha256').update(url).digest('hex'))
    const before = await readFile(kept, 'utf8').catch(() => '')
    const isKept = before !== '' && this.check(before, false) === undefined
    if (isKept && !anew) return before
    try {
      return await this.#fetch(url, kept)
    } catch (cause) {
      if (isKept && cause instanceof AppError && cause.code === 'input.unreachable') return before
      throw cause
    }
  }
  async #fetch(url: string, kept: string): Promise<string> {
    const { bytes } = await fetchPublic(url, { limitBytes: MOST_FETCHED_BYTES, mayReach: this.#mayReach })
    const last = decoded(new URL(url).pathname.split('/').filter(Boolean).at(-1) ?? '')
    const head = bytes.subarray(0, HEAD_BYTES)
    const { kind } = mediaOf(head, '') // whatever the address calls it
    const { ext } = mediaOf(head, last)
    if (kind !== 'image' && kind !== 'video' && kind !== 'audio') throw new AppError('input.not-media', { name: url })
    const { ref } = await this.add(`${path.basename(last, path.extname(last)) || 'picture'}.${ext}`, bytes)
    await mkdir(this.#addresses, { recursive: true })
    await writeFile(kept, ref)
    return ref
  }

  /** Every media file directly in a folder, 2 before 10. */
  async addFolder(folder: string): Promise<{ files: InputFile[] }> {
    const dir = localPath(folder)
    const entries = await readdir(dir, { withFileTypes: true }).catch(() => {
      throw new AppError('input.missing', { name: dir })
    })
    const names = entries
      .filter((entry) => !entry.name.startsWith('.') && MEDIA.test(entry.name))
      .map(({ name }) => name)
      .filter((name) => isFile(path.join(dir, name)))
      .sort((one, other) => inPeoplesOrder.compare(one, other))
    const files: InputFile[] = []
    for (const name of names) files.push(await this.addPath(path.join(dir, name)))
    return { files }
  }

  /** @throws AppError 'input.missing' */
  resolve(ref: string): { path: string; name: string; sha256: string } {
    const [, sha256 = '', name = ''] = REF.exec(ref) ?? []
    const file = path.join(this.#dir, sha256, name)
    if (!sha256 || name === '.' || name === '..' || !existsSync(file))
      throw new AppError('input.missing', { name: name || ref })
    return { path: file, name, sha256 }
  }

  /** Why a file, kept or on this machine, cannot be given; undefined: it can. Paths only where `mayUsePaths`. */
  check(value: string, mayUsePaths: boolean): FileFault | undefined {
    if (value.startsWith('input:')) {
      try {
        this.resolve(value)
        return undefined
      } catch {
        return 'row.file-missing'
      }
    }
    if (!mayUsePaths) return 'row.file-by-path'
    const file = localPath(value)
    if (!MEDIA.test(file)) return 'row.file-not-media'
    return isFile(file) ? undefined : 'row.file-missing'
  }

  async #keep(name: string, write: (part: string) => Promise<unknown>): Promise<InputFile> {
    const part = path.join(this.#dir, `${randomUUID()}.part`)
    try {
      await write(part)
      const sha256 = await hashFile(part)
      const { size } = await stat(part)
      const safe = safeFileName(path.basename(name.replaceAll('\\', '/')))
      const folder = path.join(this.#dir, sha256)
      const file = path.join(folder, safe)
      await mkdir(folder, { recursive: true })
      if (!existsSync(file)) await this.#settle(part, folder, file)
      return { ref: `input:${sha256}/${safe}`, name: safe, sizeBytes: size, sha256 }
    } catch (cause) {
      throw diskError(cause, this.#dir)
    } finally {
      await rm(part, { force: true })
    }
  }

  /** The same bytes under another name share their place on disk where the file system can. */
  async #settle(part: string, folder: string, file: string) {
    const known = readdirSync(folder)[0]
    if (known !== undefined) {
      try {
        return await link(path.join(folder, known), file)
      } catch {
        // No hard links here, or someone was first: take our copy.
      }
    }
    await rename(part, file)
  }
}

function mustBeMedia(name: string) {
  if (!MEDIA.test(name)) throw new AppError('input.not-media', { name: path.basename(name) })
}

function isFile(file: string) {
  return statSync(file, { throwIfNoEntry: false })?.isFile() ?? false
}

function localPath(value: string): string {
  const given = value.trim()
  if (given.startsWith('file://')) return fileURLToPath(given)
  return path.resolve(given.replace(/^~(?=[/\\])/, () => homedir()))
}

/** A full or forbidden disk, in words. */
function diskError(cause: unknown, dir: string): unknown {
  const { code } = cause as NodeJS.ErrnoException
  if (code === 'ENOSPC' || code === 'EDQUOT') return new AppError('disk.full', { dir }, { cause })
  if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS') return new AppError('disk.denied', { dir }, { cause })
  return cause
}
