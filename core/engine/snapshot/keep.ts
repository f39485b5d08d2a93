import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { zstdCompressSync, zstdDecompressSync } from 'node:zlib'
import { AppError } from '../../contract/errors.ts'
import { parseJson, writeJson } from '../../contract/json.ts'
import { writeWhole } from '../write-whole.ts'
import { CHUNKED_FROM } from './chunk.ts'
import { sha256 } from './pack.ts'
import { Pool } from './pool.ts'
import type { Content, FileToKeep, Found } from './snapshot-thread.ts'
import type { ObjectStore } from './store.ts'
import { type Entry, type Tree, treeBytes } from './tree.ts'

/** Small files of neighbouring names go to a thread together, and into one frame. */
const BATCH_BYTES = 4 << 20
const BATCH_FILES = 1000
/** A file that changes each time it is read is given up. */
const TRIES = 4
const SEEN = 'seen.json.zst'

export interface Kept {
  /** The sha256 of the root's tree. */
  readonly tree: string
  readonly files: number
  readonly bytes: number
  /** Every file of it, by its path from the root. */
  readonly paths: { readonly path: string; readonly size: number }[]
  /** What `without` took out. */
  readonly without: { readonly path: string; readonly size: number }[]
  /** What is no file, folder or link, and so is not in it. */
  readonly left: { readonly path: string; readonly what: string }[]
}
export interface KeepOptions {
  readonly except?: readonly RegExp[]
  readonly without?: (file: { path: string; size: number }) => boolean
  readonly signal?: AbortSignal
  readonly onNews?: (news: KeepNews) => void
}
export interface KeepNews {
  readonly files: number
  readonly bytes: number
  readonly totalFiles: number
  readonly totalBytes: number
}

/**
 * Takes folders into a store: what it has already is not written, what did not change since is not even read. `finish`
 * writes what is open and has to be called once; until a snapshot names it, all of it is rubbish.
 */
export class Keeper {
  readonly #store: ObjectStore
  readonly #pool: Pool
  readonly #claimed = new Set<string>()
  readonly #seen: Seen
  readonly #trees: Buffer[] = []
  /** What was new to the store, in its packs. */
  newObjects = 0
  readBytes = 0

  private constructor(store: ObjectStore, threads: number, seen: Seen) {
    this.#store = store
    this.#seen = seen
    this.#pool = new Pool(threads, (hashes) => hashes.map((key) => this.#claim(key)))
  }

  static async open(store: ObjectStore, threads: number): Promise<Keeper> {
    return new Keeper(store, threads, await readSeen(store.dir))
  }

  /** @throws AppError 'snapshot.changing' when a file is written to all the time */
  async keep(root: string, { except = [], without = () => false, signal, onNews }: KeepOptions = {}): Promise<Kept> {
    const walked = await this.#pool.run('walk', { root, except })
    const found = walked.filter((each) => each.is !== 'file' || !without(each))
    const files = found.filter((each) => each.is === 'file')
    const contents = new Map<string, Taken>()
    const news = { files: 0, bytes: 0, totalFiles: files.length, totalBytes: sum(files.map(({ size }) => size)) }
    const have = (file: FileFound, content: Content) => {
      contents.set(file.path, { file, content })
      news.files++
      news.bytes += file.size
    }
    let todo: FileFound[] = []
    for (const file of files) {
      const seen = this.#seen.get(path.join(root, file.path))
      if (seen?.stamp === file.stamp && this.#hasAll(seen.content)) have(file, seen.content)
      else todo.push(file)
    }
    onNews?.(news)
    for (let tries = 0; todo.length > 0; tries++) {
      if (tries === TRIES) throw new AppError('snapshot.changing', { path: path.join(root, todo[0]!.path) })
      const changed: FileFound[] = []
      await this.#pool.each(
        batches(todo),
        'keep',
        (batch) => ({ files: batch.map((file) => within(root, file)), packs: this.#store.packsDir }),
        (kept, batch) => {
          for (const [n, file] of batch.entries()) {
            const content = kept[n]
            if (!content) changed.push(file)
            else {
              have(file, content)
              this.readBytes += file.size
              this.#seen.set(path.join(root, file.path), { stamp: file.stamp, content })
            }
          }
          onNews?.(news)
        },
        signal,
      )
      // those that changed are looked at once more
      const again = changed.length === 0 ? [] : await this.#pool.run('walk', { root, except })
      const now = new Map(again.flatMap((each) => (each.is === 'file' ? [[each.path, each] as const] : [])))
      todo = changed.flatMap(({ path }) => now.get(path) ?? [])
    }
    const { tree } = this.#makeTrees(found, contents)
    return {
      tree,
      files: contents.size,
      bytes: news.bytes,
      paths: [...contents.values()].map(({ file: { path, size } }) => ({ path, size })),
      without: walked.flatMap((each) => (each.is === 'file' && without(each) ? [each] : [])),
      left: found.flatMap((each) => (each.is === 'other' ? [{ path: each.path, what: each.what }] : [])),
    }
  }

  /** An object of our own making, such as a list. */
  keepBytes(bytes: Buffer): string {
    this.#trees.push(bytes)
    return sha256(bytes)
  }

  /** All of it is on the disk after this. */
  async finish(): Promise<{ packs: string[]; bytes: number }> {
    try {
      await this.#pool.run('keepBytes', { objects: this.#trees, packs: this.#store.packsDir })
      const closing = this.#pool.all('close', {})
      const [closed] = await Promise.all([closing, writeSeen(this.#store, this.#seen)])
      const written = closed.flat()
      for (const each of written) this.#store.take(each)
      return { packs: written.map(({ id }) => id), bytes: sum(written.map(({ bytes }) => bytes)) }
    } finally {
      await this.#pool.end()
    }
  }

  async abandon() {
    await this.#pool.all('abandon', {}).catch(() => {})
    await this.#pool.end()
  }

  #claim(key: string): boolean {
    if (this.#store.has(key) || this.#claimed.has(key)) return false
    this.#claimed.add(key)
    this.newObjects++
    return true
  }

  #hasAll(content: Content): boolean {
    const has = (key: string) => this.#store.has(key) || this.#claimed.has(key)
    return 'sha256' in content ? has(content.sha256) : content.pieces.every(({ sha256 }) => has(sha256))
  }

  /** Folders from the deepest up, each named by what is in it. */
  #makeTrees(found: readonly Found[], contents: ReadonlyMap<string, Taken>): { tree: string } {
    const folders = new Map<string, Tree>([['', []]])
    for (const each of found) if (each.is === 'folder') folders.set(each.path, [])
    const put = (at: string, entry: Entry) => folders.get(parentOf(at))!.push(entry)
    for (const each of found) {
      const name = each.path.slice(parentOf(each.path).length).replace(/^\//, '')
      if (each.is === 'link') put(each.path, { is: 'link', name, to: each.to })
      if (each.is !== 'file') continue
      const taken = contents.get(each.path)
      if (!taken) continue // it went away meanwhile
      const { content } = taken
      const { size, mtime, executable } = taken.file
      const about = { name, size, mtime, ...(executable && { executable: true as const }) }
      put(
        each.path,
        'sha256' in content ? { is: 'file', ...about, ...content } : { is: 'pieces', ...about, ...content },
      )
    }
    const deepest = [...folders.keys()].filter((at) => at !== '').sort((a, b) => depthOf(b) - depthOf(a))
    for (const at of deepest) {
      const name = at.slice(parentOf(at).length).replace(/^\//, '')
      put(at, { is: 'folder', name, tree: this.keepBytes(treeBytes(folders.get(at)!)) })
    }
    return { tree: this.keepBytes(treeBytes(folders.get('')!)) }
  }
}

type Seen = Map<string, { stamp: string; content: Content }>
type FileFound = Extract<Found, { is: 'file' }>
/** `file` as it was when its content was read, which may be later than when it was found. */
type Taken = { readonly file: FileFound; readonly content: Content }

const within = (root: string, { path: at, size, stamp }: FileFound): FileToKeep => ({
  path: path.join(root, at),
  size,
  stamp,
})
const parentOf = (at: string) => at.slice(0, Math.max(0, at.lastIndexOf('/')))
const depthOf = (at: string) => at.split('/').length
const sum = (numbers: readonly number[]) => numbers.reduce((a, b) => a + b, 0)

function* batches(files: readonly FileFound[]): Generator<FileFound[]> {
  // the large ones first, so that no thread is left with one at the end
  const large = files.filter(({ size }) => size >= CHUNKED_FROM).sort((a, b) => b.size - a.size)
  for (const file of large) yield [file]
  let batch: FileFound[] = []
  let bytes = 0
  for (const file of files) {
    if (file.size >= CHUNKED_FROM) continue
    batch.push(file)
    bytes += file.size
    if (bytes < BATCH_BYTES && batch.length < BATCH_FILES) continue
    yield batch
    batch = []
    bytes = 0
  }
  if (batch.length > 0) yield batch
}

async function readSeen(dir: string): Promise<Seen> {
  try {
    const text = zstdDecompressSync(await readFile(path.join(dir, SEEN))).toString('utf8')
    return new Map(parseJson(text) as never)
  } catch {
    return new Map() // all is read again
  }
}

async function writeSeen(store: ObjectStore, seen: Seen) {
  await writeWhole(path.join(store.dir, SEEN), zstdCompressSync(writeJson([...seen])))
}
