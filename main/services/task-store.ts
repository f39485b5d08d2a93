import { Hook, Task } from '../../core/contract/agent.ts'
import { parseJson, writeJson } from '../../core/contract/json.ts'
import type { Bucket, LinkTo } from '../../core/engine/store/bucket.ts'
import { BucketTasks, type TaskStore } from '../../core/gateway/fc/tasks.ts'
import type { Clock } from './clock.ts'
import type { Database } from './database/open.ts'

type Deps = { database: Database; clock: Pick<Clock, 'now'>; files: Bucket }

/** Tasks of this machine in its database; their files in a folder beside it. */
export class SqliteTasks implements TaskStore {
  readonly #database: Database
  readonly #clock: Pick<Clock, 'now'>
  readonly #files: BucketTasks

  constructor({ database, clock, files }: Deps) {
    this.#database = database
    this.#clock = clock
    this.#files = new BucketTasks(files)
  }

  async get(id: string): Promise<Task | null> {
    const body = this.#database.prepare<[string], string>('SELECT body FROM tasks WHERE id = ?').pluck().get(id)
    return body === undefined ? null : Task.parse(parseJson(body))
  }

  async put(task: Task): Promise<boolean> {
    const { id, state, attempt, createdAt } = task
    const put = this.#database.prepare(`
        INSERT INTO tasks (id, state, attempt, created_at, changed_at, body)
        SELECT :id, :state, :attempt, :createdAt, :now, :body
        WHERE NOT EXISTS (SELECT 1 FROM task_marks WHERE task_id = :id AND mark = :later)
        ON CONFLICT (id) DO UPDATE SET state = :state, attempt = :attempt, changed_at = :now, body = :body`)
    const later = `attempt-${attempt + 1}`
    return put.run({ id, state, attempt, createdAt, now: this.#now, body: writeJson(task), later }).changes === 1
  }

  async mark(id: string, mark: string): Promise<boolean> {
    const insert = this.#database.prepare('INSERT OR IGNORE INTO task_marks (task_id, mark, at) VALUES (?, ?, ?)')
    return insert.run(id, mark, this.#now).changes === 1
  }

  async marked(id: string, mark: string): Promise<boolean> {
    const found = this.#database.prepare('SELECT 1 FROM task_marks WHERE task_id = ? AND mark = ?').get(id, mark)
    return found !== undefined
  }

  async keep(id: string, name: string, bytes: AsyncIterable<Uint8Array>) {
    await this.mark(id, 'files') // before they are there: `expire` finds them by it
    return this.#files.keep(id, name, bytes)
  }

  read(id: string, name: string) {
    return this.#files.read(id, name)
  }

  link(id: string, name: string, to: LinkTo) {
    return this.#files.link(id, name, to)
  }

  async open(): Promise<string[]> {
    const open = `SELECT id FROM tasks WHERE state IN ('queued', 'running') ORDER BY created_at, id`
    return this.#database.prepare<[], string>(open).pluck().all()
  }

  async recent(limit: number): Promise<Task[]> {
    const newest = this.#database
      .prepare<[number], string>('SELECT body FROM tasks ORDER BY created_at DESC, id LIMIT ?')
      .pluck()
    return newest.all(limit).map((body) => Task.parse(parseJson(body)))
  }

  async expire(before: number): Promise<number> {
    const old = this.#database
      .prepare<{ before: number }, string>(`
        SELECT id FROM tasks WHERE changed_at < :before
        UNION ALL
        SELECT task_id FROM task_marks WHERE task_id NOT IN (SELECT id FROM tasks)
        GROUP BY task_id HAVING max(at) < :before`)
      .pluck()
      .all({ before })
    for (const id of old) {
      await this.#files.forget(id)
      this.#remove(id)
    }
    return old.length
  }
  #remove(id: string) {
    const all = this.#database.transaction(() => {
      this.#database.prepare('DELETE FROM tasks WHERE id = ?').run(id)
      this.#database.prepare('DELETE FROM task_marks WHERE task_id = ?').run(id)
      this.#database.prepare('DELETE FROM task_hooks WHERE task_id = ?').run(id)
    })
    all()
  }

  secret() {
    return this.#files.secret()
  }

  async hook(id: string): Promise<Hook | null> {
    const find = this.#database.prepare<[string], string>('SELECT body FROM task_hooks WHERE task_id = ?').pluck()
    const body = find.get(id)
    return body === undefined ? null : Hook.parse(parseJson(body))
  }

  async putHook(hook: Hook) {
    await this.mark(hook.id, 'hook')
    this.#database
      .prepare(`
        INSERT INTO task_hooks (task_id, next_at, body) VALUES (:id, :nextAt, :body)
        ON CONFLICT (task_id) DO UPDATE SET next_at = :nextAt, body = :body`)
      .run({ id: hook.id, nextAt: hook.nextAt, body: writeJson(hook) })
  }

  async owed(): Promise<string[]> {
    const owed = 'SELECT task_id FROM task_hooks WHERE next_at IS NOT NULL ORDER BY next_at'
    return this.#database.prepare<[], string>(owed).pluck().all()
  }

  get #now() {
    return Math.floor(this.#clock.now())
  }
}
