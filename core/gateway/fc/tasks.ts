import { createHash, randomUUID } from 'node:crypto'
import { createReadStream, createWriteStream } from 'node:fs'
import { mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises'
import path from 'node:path'
import type { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { Task } from '../../contract/agent.ts'
import { parseJson, writeJson } from '../../contract/json.ts'

/**
 * Where tasks are kept, so that any agent that shares it answers for any of them. Nothing in it needs more than what
 * object storage has: whole objects, and making one only where there is none.
 */
export interface TaskStore {
  get(id: string): Promise<Task | null>
  /** Only by whoever has claimed its attempt. */
  put(task: Task): Promise<void>
  /** Sets a mark that was not there: true for one caller only, wherever it runs. */
  mark(id: string, mark: string): Promise<boolean>
  marked(id: string, mark: string): Promise<boolean>
  keep(id: string, name: string, bytes: AsyncIterable<Uint8Array>): Promise<{ sizeBytes: number }>
  read(id: string, name: string): Promise<Readable | null>
  /** Tasks that are not over, by id. */
  open(): Promise<string[]>
  /** Those that changed last, the newest first. */
  recent(limit: number): Promise<Task[]>
  /** Removes what was last changed before this time (epoch ms), also what never became a task. */
  expire(before: number): Promise<number>
}

/** Tasks as a folder of files, one or several agents on it; a name of theirs never becomes a path. */
export class FolderTasks implements TaskStore {
  readonly #dir: string

  constructor(dir: string) {
    this.#dir = dir
  }

  async get(id: string): Promise<Task | null> {
    const text = await readFile(this.#at(id, 'task.json'), 'utf8').catch(orNothing)
    return text === null ? null : Task.parse(parseJson(text))
  }

  async put(task: Task) {
    await writeWhole(this.#at(task.id, 'task.json'), [Buffer.from(writeJson(task))])
    const open = path.join(this.#dir, 'open', hashOf(task.id))
    if (task.state === 'queued' || task.state === 'running') {
      if (!(await stat(open).catch(orNothing))) await writeWhole(open, [Buffer.from(task.id)])
    } else await rm(open, { force: true })
  }

  async mark(id: string, mark: string): Promise<boolean> {
    const file = this.#at(id, `mark-${mark}`)
    await mkdir(path.dirname(file), { recursive: true, mode: 0o700 })
    try {
      await (await open(file, 'wx', 0o600)).close()
      return true
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === 'EEXIST') return false
      throw cause
    }
  }

  async marked(id: string, mark: string): Promise<boolean> {
    return (await stat(this.#at(id, `mark-${mark}`)).catch(orNothing)) !== null
  }

  async keep(id: string, name: string, bytes: AsyncIterable<Uint8Array>) {
    return { sizeBytes: await writeWhole(this.#at(id, `file-${name}`), bytes) }
  }

  async read(id: string, name: string): Promise<Readable | null> {
    const file = await open(this.#at(id, `file-${name}`)).catch(orNothing)
    return file && createReadStream('', { fd: file })
  }

  async open(): Promise<string[]> {
    const dir = path.join(this.#dir, 'open')
    const names = (await readdir(dir).catch(orNothing)) ?? []
    const ids = await Promise.all(
      names.filter((name) => HASH.test(name)).map((name) => readFile(path.join(dir, name), 'utf8').catch(orNothing)),
    )
    return ids.filter((id) => id !== null)
  }

  async recent(limit: number): Promise<Task[]> {
    const changed: { file: string; at: number }[] = []
    for await (const { dir } of this.#all()) {
      const file = path.join(dir, 'task.json')
      const found = await stat(file).catch(orNothing)
      if (found) changed.push({ file, at: found.mtimeMs })
    }
    const newest = changed.toSorted((a, b) => b.at - a.at).slice(0, limit)
    const texts = await Promise.all(newest.map(({ file }) => readFile(file, 'utf8').catch(orNothing)))
    return texts.filter((text) => text !== null).map((text) => Task.parse(parseJson(text)))
  }

  async expire(before: number): Promise<number> {
    let removed = 0
    for await (const { dir, hash } of this.#all()) {
      const changed = (await stat(path.join(dir, 'task.json')).catch(orNothing)) ?? (await stat(dir).catch(orNothing))
      if (!changed || changed.mtimeMs > before) continue
      await rm(dir, { recursive: true, force: true })
      await rm(path.join(this.#dir, 'open', hash), { force: true })
      removed += 1
    }
    return removed
  }

  async *#all() {
    for (const first of (await readdir(this.#dir).catch(orNothing)) ?? []) {
      if (!/^[\da-f]{2}$/.test(first)) continue
      for (const rest of (await readdir(path.join(this.#dir, first)).catch(orNothing)) ?? [])
        yield { dir: path.join(this.#dir, first, rest), hash: first + rest }
    }
  }

  #at(id: string, name: string): string {
    const hash = hashOf(id)
    return path.join(this.#dir, hash.slice(0, 2), hash.slice(2), name)
  }
}

const HASH = /^[\da-f]{64}$/
const hashOf = (id: string) => createHash('sha256').update(id).digest('hex')

function orNothing(cause: NodeJS.ErrnoException): null {
  if (cause.code === 'ENOENT') return null
  throw cause
}

/** The file takes its name last, so whoever reads it finds all of it. */
async function writeWhole(file: string, bytes: Iterable<Uint8Array> | AsyncIterable<Uint8Array>): Promise<number> {
  await mkdir(path.dirname(file), { recursive: true, mode: 0o700 })
  const part = `${file}.${randomUUID()}.part`
  try {
    const stream = createWriteStream(part, { mode: 0o600, flags: 'wx' })
    await pipeline(bytes, stream)
    await rename(part, file)
    return stream.bytesWritten
  } catch (cause) {
    await rm(part, { force: true })
    throw cause
  }
}
