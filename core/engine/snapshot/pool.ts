import type { Worker } from 'node:worker_threads'
import { AppError } from '../../contract/errors.ts'
import { startThread } from '../start-thread.ts'
import type { FromThread, Task, Tasks, ToThread } from './snapshot-thread.ts'

interface Waiting {
  resolve(gives: never): void
  reject(cause: unknown): void
}
interface Thread {
  readonly worker: Worker
  readonly waiting: Map<number, Waiting>
}
/** How much one thread has before it: while it waits for an answer to one, it works on the other. */
const AT_ONCE = 2

/** Threads that read, hash, pack and write. `wanted` says which of these objects are to be kept by the one that asks. */
export class Pool {
  readonly #threads: Thread[]
  readonly #wanted: (hashes: readonly string[]) => boolean[]
  #lastId = 0

  constructor(threads: number, wanted: (hashes: readonly string[]) => boolean[] = () => []) {
    this.#wanted = wanted
    this.#threads = Array.from({ length: threads }, () => this.#start())
  }

  /** @throws Error with the `code` of the system, AppError 'disk.full' | 'disk.denied' */
  run<T extends Task>(task: T, asked: Tasks[T]['asked'], thread = this.#least()): Promise<Tasks[T]['gives']> {
    const id = ++this.#lastId
    return new Promise((resolve, reject) => {
      thread.waiting.set(id, { resolve, reject })
      thread.worker.postMessage({ id, task, asked } satisfies ToThread)
    })
  }

  /** One task after another, each thread two at a time; the first that fails ends it. */
  async each<T extends Task, I>(
    items: Iterable<I>,
    task: T,
    of: (item: I) => Tasks[T]['asked'],
    got: (gives: Tasks[T]['gives'], item: I) => void,
    signal?: AbortSignal,
  ) {
    const iterator = items[Symbol.iterator]()
    let failed = false
    const line = async (thread: Thread) => {
      for (let next = iterator.next(); !next.done && !failed; next = iterator.next()) {
        signal?.throwIfAborted()
        try {
          got(await this.run(task, of(next.value), thread), next.value)
        } catch (cause) {
          failed = true
          throw cause
        }
      }
    }
    const lines = this.#threads.flatMap((thread) => Array.from({ length: AT_ONCE }, () => line(thread)))
    const ended = await Promise.allSettled(lines)
    for (const one of ended) if (one.status === 'rejected') throw one.reason
  }

  /** Of every thread. */
  all<T extends Task>(task: T, asked: Tasks[T]['asked']): Promise<Tasks[T]['gives'][]> {
    return Promise.all(this.#threads.map((thread) => this.run(task, asked, thread)))
  }

  async end() {
    await Promise.all(this.#threads.map(({ worker }) => worker.terminate()))
  }

  #least(): Thread {
    return this.#threads.reduce((a, b) => (b.waiting.size < a.waiting.size ? b : a))
  }

  #start(): Thread {
    const waiting = new Map<number, Waiting>()
    const hear = (message: FromThread) => {
      if ('ask' in message) {
        const wanted = this.#wanted(message.hashes)
        return worker.postMessage({ answer: message.ask, wanted } satisfies ToThread)
      }
      const one = waiting.get(message.id)
      waiting.delete(message.id)
      if ('gives' in message) one?.resolve(message.gives as never)
      else one?.reject(Object.assign(new Error(message.failed), { code: message.code }))
    }
    const lost = (reason: string) => {
      for (const { reject } of waiting.values()) reject(new AppError('app.internal', { reason }))
      waiting.clear()
    }
    const worker = startThread('snapshot-thread', import.meta.url, hear, lost)
    return { worker, waiting }
  }
}
