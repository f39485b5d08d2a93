import { createHash, randomBytes } from 'node:crypto'
import type { Readable } from 'node:stream'
import { Hook, isOver, Task } from '../../contract/agent.ts'
import { parseJson, writeJson } from '../../contract/json.ts'
import { type Bucket, type LinkTo, textOf } from '../../engine/store/bucket.ts'

/**
 * Where tasks are kept, so that any agent that shares it answers for any of them. Nothing in it needs more than what
 * object storage has: whole objects, and making one only where there is none.
 */
export interface TaskStore {
  get(id: string): Promise<Task | null>
  /** Only by whoever has claimed its attempt. False: a later one is claimed by now, and nothing was changed. */
  put(task: Task): Promise<boolean>
  /** Sets a mark that was not there: true for one caller only, wherever it runs. */
  mark(id: string, mark: string): Promise<boolean>
  marked(id: string, mark: string): Promise<boolean>
  keep(id: string, name: string, bytes: AsyncIterable<Uint8Array>): Promise<{ sizeBytes: number }>
  read(id: string, name: string): Promise<Readable | null>
  /** A link to one of its files that needs no key; null: what keeps them has no such thing. */
  link(id: string, name: string, to: LinkTo): Promise<string | null>
  /** Tasks that are not over, by id. */
  open(): Promise<string[]>
  /** The newest first. */
  recent(limit: number): Promise<Task[]>
  /** Removes what was last changed before this time (epoch ms), also what never became a task. */
  expire(before: number): Promise<number>
  /** 32 bytes, the same for all who share the store, and known to nobody else. */
  secret(): Promise<Buffer>
  hook(id: string): Promise<Hook | null>
  putHook(hook: Hook): Promise<void>
  /** Tasks whose webhook has not been told yet, by id. */
  owed(): Promise<string[]>
}

/**
 * Tasks in a folder or in object storage, under hashes: a name of theirs never becomes a path. Beside them `open/` and
 * `hooks/` name those with something left to do, `recent/` all, the newest first.
 */
export class BucketTasks implements TaskStore {
  readonly #bucket: Bucket
  /** Known to be listed as open. */
  readonly #opened = new Set<string>()

  constructor(bucket: Bucket) {
    this.#bucket = bucket
  }

  async get(id: string): Promise<Task | null> {
    return this.#read(at(id, TASK))
  }

  async put(task: Task): Promise<boolean> {
    const { id, attempt, createdAt, state } = task
    const hash = hashOf(id)
    if (await this.marked(id, `attempt-${attempt + 1}`)) {
      this.#opened.delete(hash)
      return false
    }
    const open = `open/${hash}`
    if (!isOver(state) && !this.#opened.has(hash)) {
      const age = String(LAST_MS - createdAt).padStart(AGE_DIGITS, '0')
      await Promise.all([this.#bucket.put(open, id), this.#bucket.put(`recent/${age}-${hash}`, id)])
      this.#opened.add(hash)
    }
    await this.#bucket.put(at(id, TASK), writeJson(task))
    if (isOver(state)) {
      await this.#bucket.remove(open)
      this.#opened.delete(hash)
    }
    return true
  }

  mark(id: string, mark: string): Promise<boolean> {
    return this.#bucket.create(at(id, `mark-${mark}`), '')
  }

  async marked(id: string, mark: string): Promise<boolean> {
    return (await this.#bucket.stat(at(id, `mark-${mark}`))) !== null
  }

  keep(id: string, name: string, bytes: AsyncIterable<Uint8Array>) {
    return this.#bucket.put(at(id, `file-${name}`), bytes)
  }

  read(id: string, name: string): Promise<Readable | null> {
    return this.#bucket.get(at(id, `file-${name}`))
  }

  link(id: string, name: string, to: LinkTo) {
    return this.#bucket.link(at(id, `file-${name}`), to)
  }

  open(): Promise<string[]> {
    return this.#idsIn('open/')
  }

  async recent(limit: number): Promise<Task[]> {
    const tasks: Task[] = []
    let asked: Promise<Task | null>[] = []
    const answered = async () => {
      for (const task of await Promise.all(asked)) if (task && tasks.length < limit) tasks.push(task)
      asked = []
    }
    for await (const { name } of this.#bucket.list('recent/')) {
      const hash = name.slice(-HASH_DIGITS)
      asked.push(this.#read(`${folderOf(hash)}${TASK}`).catch(() => null)) // one of another version hides none beside it
      if (asked.length === MOST_AT_ONCE) await answered()
      if (tasks.length >= limit) return tasks
    }
    await answered()
    return tasks
  }

  async expire(before: number): Promise<number> {
    const ages = new Map<string, string>()
    for await (const { name } of this.#bucket.list('recent/')) ages.set(name.slice(-HASH_DIGITS), name)
    let removed = 0
    let names: string[] = []
    let [hash, changedAt, task] = ['', 0, false]
    const end = async () => {
      if (hash === '' || changedAt > before) return
      for (const name of [...names, `open/${hash}`, `hooks/${hash}`, ages.get(hash)])
        if (name !== undefined) await this.#bucket.remove(name)
      removed += 1
    }
    for await (const kept of this.#bucket.list('')) {
      const [, first, rest, file] = /^([\da-f]{2})\/([\da-f]{62})\/(.+)$/.exec(kept.name) ?? []
      if (first === undefined || rest === undefined) continue
      if (hash !== first + rest) {
        await end()
        ;[hash, changedAt, task, names] = [first + rest, 0, false, []]
      }
      names.push(kept.name)
      // a task's files and marks count for nothing beside itself
      if (file === TASK) [task, changedAt] = [true, kept.changedAt]
      else if (!task) changedAt = Math.max(changedAt, kept.changedAt)
    }
    await end()
    return removed
  }

  /** All there is of one. */
  async forget(id: string) {
    for await (const { name } of this.#bucket.list(at(id, ''))) await this.#bucket.remove(name)
  }

  async secret(): Promise<Buffer> {
    const text = await textOf(this.#bucket, 'secret')
    if (text !== null) return Buffer.from(text, 'hex')
    await this.#bucket.create('secret', randomBytes(32).toString('hex'))
    return this.secret()
  }

  async hook(id: string): Promise<Hook | null> {
    const text = await textOf(this.#bucket, at(id, HOOK))
    return text === null ? null : Hook.parse(parseJson(text))
  }

  async putHook(hook: Hook) {
    const { id, nextAt } = hook
    const owed = `hooks/${hashOf(id)}`
    if (nextAt !== null) await this.#bucket.put(owed, id)
    await this.#bucket.put(at(id, HOOK), writeJson(hook))
    if (nextAt === null) await this.#bucket.remove(owed)
  }

  owed(): Promise<string[]> {
    return this.#idsIn('hooks/')
  }

  async #idsIn(folder: string): Promise<string[]> {
    const names: string[] = []
    for await (const { name } of this.#bucket.list(folder)) names.push(name)
    const before = this.#ids.get(folder)
    const ids = new Map<string, string>()
    await eachOf(names, async (name) => {
      const id = before?.get(name) ?? (await textOf(this.#bucket, name))
      if (id !== null) ids.set(name, id)
    })
    this.#ids.set(folder, ids)
    return [...ids.values()]
  }
  /** By folder and name; what such an object says never changes. */
  readonly #ids = new Map<string, ReadonlyMap<string, string>>()

  async #read(name: string): Promise<Task | null> {
    const text = await textOf(this.#bucket, name)
    return text === null ? null : Task.parse(parseJson(text))
  }
}

/** Some at a time: storage far away answers slowly, and each connection costs. @throws the first failure, where nobody hears of them */
export async function eachOf<T>(
  all: readonly T[],
  act: (one: T) => Promise<void>,
  failed: (cause: unknown) => void = (cause) => {
    throw cause
  },
) {
  const next = all.values()
  const work = async () => {
    for (const one of next) await act(one).catch(failed)
  }
  await Promise.all(Array.from({ length: MOST_AT_ONCE }, work))
}

const TASK = 'task.json'
const HOOK = 'hook.json'
const MOST_AT_ONCE = 64
const HASH_DIGITS = 64
/** So that what came later comes first by name. */
const LAST_MS = 9_999_999_999_999
const AGE_DIGITS = 13
const hashOf = (id: string) => createHash('sha256').update(id).digest('hex')
const folderOf = (hash: string) => `${hash.slice(0, 2)}/${hash.slice(2)}/`
const at = (id: string, name: string) => folderOf(hashOf(id)) + name
