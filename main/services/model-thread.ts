import type { Worker } from 'node:worker_threads'
import { startThread } from '../../core/engine/start-thread.ts'
import type { ModelFacts, ModelOrder, ModelReply, ModelTask } from './model-worker.ts'

type Waiting = { resolve(value: never): void; reject(cause: Error): void; onBytes?: (bytes: number) => void }
type ValueOf<T extends ModelTask['is']> = { read: ModelFacts; hash: string; thumbnail: boolean }[T]

/** The thread that reads headers and hashes models: started when it is first asked, ended with `close`. */
export class ModelThread {
  #thread: Worker | null = null
  #nextId = 1
  #paused = false
  readonly #waiting = new Map<number, Waiting>()

  ask<T extends ModelTask['is']>(
    task: ModelTask & { is: T },
    { signal, onBytes }: { signal?: AbortSignal; onBytes?: (bytes: number) => void } = {},
  ): Promise<ValueOf<T>> {
    if (signal?.aborted) return Promise.reject(signal.reason as Error)
    this.#thread ??= this.#start()
    const thread = this.#thread
    const id = this.#nextId++
    thread.ref()
    return new Promise<ValueOf<T>>((resolve, reject) => {
      const stop = () => {
        this.#order({ is: 'stop', id })
        this.#settle(id)?.reject(signal?.reason as Error)
      }
      this.#waiting.set(id, {
        onBytes,
        resolve(value) {
          signal?.removeEventListener('abort', stop)
          resolve(value)
        },
        reject(cause) {
          signal?.removeEventListener('abort', stop)
          reject(cause)
        },
      })
      signal?.addEventListener('abort', stop)
      this.#order({ id, task })
    })
  }

  /** Hashing stands still at the next few megabytes. */
  pause(paused: boolean) {
    this.#paused = paused
    if (this.#thread) this.#order({ is: paused ? 'pause' : 'resume' })
  }

  async close() {
    await this.#thread?.terminate()
    this.#thread = null
  }

  #order(order: ModelOrder) {
    this.#thread?.postMessage(order)
  }
  #settle(id: number): Waiting | undefined {
    const waiting = this.#waiting.get(id)
    this.#waiting.delete(id)
    if (this.#waiting.size === 0) this.#thread?.unref()
    return waiting
  }

  #start(): Worker {
    const hear = (reply: ModelReply) => {
      if ('bytes' in reply) return this.#waiting.get(reply.id)?.onBytes?.(reply.bytes)
      const waiting = this.#settle(reply.id)
      if (reply.ok) waiting?.resolve(reply.value as never)
      else waiting?.reject(Object.assign(new Error(reply.reason), { code: reply.errno }))
    }
    const lost = (reason: string) => {
      if (this.#thread === thread) this.#thread = null
      for (const { reject } of this.#waiting.values()) reject(new Error(reason))
      this.#waiting.clear()
    }
    const thread = startThread('model-worker', import.meta.url, hear, lost)
    thread.unref()
    if (this.#paused) thread.postMessage({ is: 'pause' } satisfies ModelOrder)
    return thread
  }
}
