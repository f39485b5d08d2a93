import type { Worker } from 'node:worker_threads'
import { startThread } from '../start-thread.ts'
import type { HashNews, HashOrder, HashTask } from './hash-worker.ts'

/** Reads a growing file behind those who write it, in a thread of its own, so that its hash is there when the file is. */
export class Hasher {
  /** All before it was read. */
  hashed = 0
  readonly #thread: Worker
  readonly #told: (news: { firstBlock: number; blocks: readonly number[] } | { damaged: number }) => void
  #upTo = 0
  #turn = 0
  #digest: PromiseWithResolvers<string | null> | null = null
  #failed: Error | null = null

  constructor(
    task: HashTask,
    told: (news: { firstBlock: number; blocks: readonly number[] } | { damaged: number }) => void,
  ) {
    this.#told = told
    const hear = (news: HashNews) => this.#hear(news)
    this.#thread = startThread('hash-worker', import.meta.url, hear, (reason) => this.#fail(new Error(reason)), task)
  }

  upTo(bytes: number) {
    if (bytes <= this.#upTo) return
    this.#upTo = bytes
    this.#order({ is: 'up-to', bytes })
  }

  /** What was read from there on counts no more. */
  again(from: number) {
    this.#turn += 1
    this.#upTo = Math.min(this.#upTo, from)
    this.hashed = Math.min(this.hashed, from)
    this.#order({ is: 'again', from, turn: this.#turn })
  }

  /** Of all that `upTo` told of; null: a part of it was not what had been written, and is told. */
  async digest(): Promise<string | null> {
    if (this.#failed) throw this.#failed
    this.#digest = Promise.withResolvers()
    this.#order({ is: 'digest' })
    return await this.#digest.promise
  }

  async close() {
    this.#order({ is: 'close' })
    await this.#thread.terminate()
  }

  #order(order: HashOrder) {
    this.#thread.postMessage(order)
  }

  #hear(news: HashNews) {
    if (news.is === 'failed') this.#fail(Object.assign(new Error(news.reason), { code: news.code }))
    else if (news.is === 'digest') this.#digest?.resolve(news.sha256)
    else if (news.turn === this.#turn) {
      if (news.is === 'damaged') {
        this.#upTo = this.hashed
        this.#told({ damaged: news.block })
        this.#digest?.resolve(null)
      } else {
        this.hashed = news.bytes
        if (news.blocks.length > 0) this.#told(news)
      }
    }
  }

  #fail(cause: Error) {
    this.#failed = cause
    this.#digest?.reject(cause)
  }
}
