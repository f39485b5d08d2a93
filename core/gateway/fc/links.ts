import { createHmac, timingSafeEqual } from 'node:crypto'
import type { Task, TaskFile } from '../../contract/agent.ts'
import { AppError } from '../../contract/errors.ts'
import type { TaskStore } from './tasks.ts'

const MOST_SECONDS = 7 * 86_400

/** Links to files of tasks that need no key until they end: the storage's own, else ours, good at every agent of a store. */
export class Links {
  readonly #store: TaskStore
  readonly #now: () => number
  #key: Promise<Buffer> | undefined

  /** `now` in epoch ms. */
  constructor(store: TaskStore, now: () => number) {
    this.#store = store
    this.#now = now
  }

  /** The task with links in its map, in the order of its files. `base`: how this agent is called by whoever asked. */
  async withLinks(task: Task, seconds: number, base: string): Promise<Task> {
    const good = Math.min(Math.max(1, seconds), MOST_SECONDS)
    const nodes = { ...task.nodes }
    for (const node of new Set(task.files.map((file) => file.node))) {
      const own = task.files.filter((file) => file.node === node)
      const report = nodes[node]
      if (!report) continue
      nodes[node] = { ...report, urls: await Promise.all(own.map((file) => this.#link(task, file, good, base))) }
    }
    return { ...task, nodes }
  }

  /** Of an address that claims to be a link. @throws AppError 'agent.refused' */
  async check(search: URLSearchParams) {
    const [id, node, index, until] = ['id', 'node', 'index', 'until'].map((name) => search.get(name) ?? '')
    const expected = Buffer.from(await this.#signature(id!, node!, index!, until!))
    const given = Buffer.from(search.get('signature') ?? '')
    if (given.length !== expected.length || !timingSafeEqual(given, expected))
      throw new AppError('agent.refused', { reason: 'this link is not one of ours' })
    if (!(Number(until) * 1000 > this.#now())) throw new AppError('agent.refused', { reason: 'this link has ended' })
  }

  async #link(task: Task, file: TaskFile, seconds: number, base: string): Promise<string> {
    const { node, index, name, mediaType } = file
    const kept = await this.#store.link(task.id, String(task.files.indexOf(file)), { as: name, mediaType, seconds })
    if (kept !== null) return kept
    const until = String(Math.floor(this.#now() / 1000) + seconds)
    const signature = await this.#signature(task.id, node, String(index), until)
    return `${base}/api/result?${new URLSearchParams({ id: task.id, node, index: String(index), until, signature })}`
  }

  async #signature(...said: [id: string, node: string, index: string, until: string]) {
    this.#key ??= this.#store.secret()
    return createHmac('sha256', await this.#key)
      .update(JSON.stringify(['link', ...said]))
      .digest('hex')
  }
}
