import { createReadStream, createWriteStream } from 'node:fs'
import { rm, stat } from 'node:fs/promises'
import { Readable, Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { setTimeout as pause } from 'node:timers/promises'
import { type Dispatcher, request } from 'undici'
import { z } from 'zod'
import { AppError, type Failure, FailureError } from '../../contract/errors.ts'
import { parseJson, tryJson, writeJson } from '../../contract/json.ts'
import type { PublishedSnapshot } from '../../contract/snapshot.ts'
import { reasonOf } from '../comfy/client.ts'
import { type Depot, type ModelSource, readPublished, type Transfer } from './depot.ts'
import { canonical } from './tree.ts'

export interface HttpDepotOptions {
  /** Of an agent: http(s)://host[:port]. */
  readonly url: string
  /** Sent to that host only. */
  readonly key: string
  readonly dispatcher: Dispatcher
  /** Before the first try again; each next waits twice as long. */
  readonly retryMs?: number
  /** How often in a row a transfer may come no further before it is given up. */
  readonly tries?: number
  /** Without an answer, or a byte of it, for so long, a try is given up. */
  readonly stallMs?: number
}

/** What an agent tells of a model that it gets for itself. */
export const ModelFetching = z.discriminatedUnion('is', [
  z.object({ is: z.literal('there') }),
  z.object({ is: z.literal('fetching'), bytes: z.number() }),
  z.object({ is: z.literal('failed'), reason: z.string() }),
])
export type ModelFetching = z.infer<typeof ModelFetching>
export const DepotList = z.object({ bytes: z.record(z.string().regex(/^[0-9a-f]{64}$/), z.int().min(0)) })
const SnapshotList = z.object({ ids: z.array(z.string().regex(/^[0-9a-f]{64}$/)) })
/** The place's own words, where it has some. */
const Said = z.object({
  code: z.string(),
  message: z.string(),
  remedy: z.string(),
  facts: z.record(z.string(), z.json()),
})
const DoorSaid = z.object({ error: z.object({ message: z.string() }) })

type Kind = 'packs' | 'models'
type Asked = {
  method: Dispatcher.HttpMethod
  headers?: Record<string, string>
  body?: Readable | string
  signal?: AbortSignal | undefined
}

/** What is sent at once: it grows while the way is fast, and shrinks where a cut would lose much. A place may refuse more. */
const PIECE = { first: 1 << 20, least: 64 << 10, most: 16 << 20 } as const
const QUICK_MS = 1_000
const SLOW_MS = 10_000
const POLL_MS = 1_000
const LARGEST_REPLY_BYTES = 256 << 20

/**
 * The store of an agent, over HTTP. What is sent goes in pieces, each after the other; the place says how much of it is
 * there, so that a cut, on either side, costs a piece at most.
 */
export class HttpDepot implements Depot {
  readonly where: string
  readonly #options: HttpDepotOptions
  #pieceBytes: number = PIECE.first
  #answered = false

  /** @throws AppError 'app.bad-request' */
  constructor(options: HttpDepotOptions) {
    const url = URL.parse(options.url)
    if (!url || !/^https?:$/.test(url.protocol) || url.username || url.password || url.search || url.hash)
      throw new AppError('app.bad-request', {
        reason: 'the address of an agent is http(s)://host, without a key in it',
      })
    this.where = url.href.replace(/\/+$/, '')
    this.#options = options
  }

  packs(signal?: AbortSignal) {
    return this.#list('packs', signal)
  }
  models(signal?: AbortSignal) {
    return this.#list('models', signal)
  }
  packBytes(id: string, signal?: AbortSignal) {
    return this.#bytesOf('packs', id, signal)
  }
  modelBytes(sha256: string, signal?: AbortSignal) {
    return this.#bytesOf('models', sha256, signal)
  }
  readPack(id: string, from: number, length: number, signal?: AbortSignal) {
    return this.#read('packs', id, from, length, signal)
  }
  readModel(sha256: string, from: number, length: number, signal?: AbortSignal) {
    return this.#read('models', sha256, from, length, signal)
  }
  putPack(id: string, file: string, transfer: Transfer) {
    return this.#put('packs', id, file, transfer)
  }
  putModel(sha256: string, file: string, transfer: Transfer) {
    return this.#put('models', sha256, file, transfer)
  }
  getPack(id: string, file: string, transfer: Transfer) {
    return this.#get('packs', id, file, transfer)
  }
  getModel(sha256: string, file: string, transfer: Transfer) {
    return this.#get('models', sha256, file, transfer)
  }

  async snapshots(signal?: AbortSignal) {
    return SnapshotList.parse(await this.#json('/v1/snapshots', { method: 'GET', signal })).ids
  }

  async getSnapshot(id: string, signal?: AbortSignal) {
    const reply = await this.#ask(`/v1/snapshots/${id}`, { method: 'GET', signal }, [404])
    return reply.statusCode === 404 ? null : readPublished(reply.text)
  }

  async putSnapshot(published: PublishedSnapshot, signal?: AbortSignal) {
    const headers = { 'content-type': 'application/json' }
    const body = canonical(published)
    await this.#ask(`/v1/snapshots/${published.sealed.id}`, { method: 'PUT', headers, body, signal })
  }

  /** @throws AppError 'download.unreachable': it could not get it either */
  async fetchModel({ sha256, size, sources }: ModelSource, { signal, onBytes }: Transfer) {
    const headers = { 'content-type': 'application/json' }
    const body = writeJson({ size, sources: [...sources] })
    for (let told = 0; ; ) {
      const state = ModelFetching.parse(
        await this.#json(`/v1/models/${sha256}/fetch`, { method: 'POST', headers, body, signal }),
      )
      if (state.is === 'failed')
        throw new AppError('download.unreachable', { file: sha256.slice(0, 12), reason: state.reason })
      const bytes = state.is === 'there' ? size : state.bytes
      if (bytes > told) await onBytes?.(bytes - told)
      told = Math.max(told, bytes)
      if (state.is === 'there') return
      await pause(Math.min(POLL_MS, 2 * this.#retryMs), undefined, { signal })
    }
  }

  // ---- transfers ----

  async #list(kind: Kind, signal?: AbortSignal): Promise<Map<string, number>> {
    const { bytes } = DepotList.parse(await this.#json(`/v1/${kind}`, { method: 'GET', signal }))
    return new Map(Object.entries(bytes))
  }

  async #bytesOf(kind: Kind, id: string, signal?: AbortSignal): Promise<number | null> {
    const { statusCode, headers } = await this.#ask(`/v1/${kind}/${id}`, { method: 'HEAD', signal }, [404])
    return statusCode === 404 ? null : Number(headers['content-length'])
  }

  async #read(kind: Kind, id: string, from: number, length: number, signal?: AbortSignal): Promise<Buffer> {
    const range = from < 0 ? `bytes=-${Math.min(-from, length)}` : `bytes=${from}-${from + length - 1}`
    return (await this.#ask(`/v1/${kind}/${id}`, { method: 'GET', headers: { range }, signal })).bytes
  }

  /** null: all of it is there; else so many of its first bytes. */
  async #thereOf(kind: Kind, id: string, size: number, signal?: AbortSignal): Promise<number | null> {
    const { statusCode, headers } = await this.#ask(`/v1/${kind}/${id}`, { method: 'HEAD', signal }, [404])
    if (statusCode !== 404 && Number(headers['content-length']) === size) return null
    return Number(headers['upload-offset'] ?? 0)
  }

  async #put(kind: Kind, id: string, file: string, { signal, onBytes, onThere }: Transfer) {
    const { size } = await stat(file)
    let at = await this.#thereOf(kind, id, size, signal)
    if (at === null) return onThere?.(size)
    if (at > 0) onThere?.(at)
    let told = at
    for (let failed = 0; ; ) {
      const to = Math.min(size, at + this.#pieceBytes)
      const count = new Transform({
        transform: (chunk: Buffer, _, done) => {
          Promise.resolve(onBytes?.(chunk.length)).then(() => done(null, chunk), done)
          told += chunk.length
        },
      })
      const nothing = at === size // all of it arrived, and was not taken yet
      const body = nothing ? Readable.from([]) : createReadStream(file, { start: at, end: to - 1 })
      const sending = pipeline(body, count).catch(() => {}) // what went wrong is told by the answer, or by count
      const span = nothing ? '*' : `${at}-${to - 1}`
      const headers = { 'content-range': `bytes ${span}/${size}`, 'content-length': String(to - at) }
      const began = performance.now()
      let there: number | null = at
      try {
        const ask: Asked = { method: 'PUT', headers, body: count, signal }
        const reply = await this.#once(`/v1/${kind}/${id}`, ask, [409])
        there =
          reply.statusCode === 200 || reply.statusCode === 201 ? null : Number(reply.headers['upload-offset'] ?? 0)
        this.#learn(performance.now() - began)
      } catch (cause) {
        signal?.throwIfAborted()
        if (!(cause instanceof Unanswered)) throw cause
        this.#learn(Infinity)
        if (++failed >= this.#tries) throw this.#givenUp(cause)
        await this.#rest(failed, cause, signal)
        there = await this.#thereOf(kind, id, size, signal)
      } finally {
        body.destroy()
        await sending
      }
      if (there === null) return
      if (there > at) failed = 0
      else if (there === at && ++failed >= this.#tries)
        throw this.#givenUp(new Unanswered('it keeps nothing of what is sent'))
      // told twice is told back, so that what was sent adds up to what is there
      if (there !== told) onThere?.(there - told)
      told = there
      at = there
    }
  }

  async #get(kind: Kind, id: string, file: string, { signal, onBytes, onThere }: Transfer) {
    const sizeNow = () =>
      stat(file).then(
        ({ size }) => size,
        () => 0,
      )
    let at = await sizeNow()
    if (at > 0) onThere?.(at)
    let told = at
    for (let failed = 0; ; ) {
      const headers: Record<string, string> = at > 0 ? { range: `bytes=${at}-` } : {}
      const count = new Transform({
        transform: (chunk: Buffer, _, done) => {
          Promise.resolve(onBytes?.(chunk.length)).then(() => done(null, chunk), done)
          told += chunk.length
        },
      })
      try {
        const reply = await this.#open(`/v1/${kind}/${id}`, { method: 'GET', headers, signal }, [416])
        if (reply.statusCode === 416) {
          await reply.body.dump()
          const [, size] = /\/(\d+)$/.exec(String(reply.headers['content-range'])) ?? []
          if (Number(size) === at) return
          await rm(file, { force: true }) // longer than it is there: something else
          onThere?.(-told)
          told = at = 0
          continue
        }
        if (reply.statusCode === 200 && at > 0) {
          onThere?.(-told) // it gives no parts
          told = at = 0
        }
        const out = createWriteStream(file, { flags: at > 0 ? 'a' : 'w', flush: true })
        await pipeline(reply.body, count, out, { signal })
        return
      } catch (cause) {
        signal?.throwIfAborted()
        const broken = cause instanceof AppError || cause instanceof FailureError ? null : unanswered(cause)
        if (!broken) throw cause
        const now = await sizeNow()
        failed = now > at ? 1 : failed + 1
        if (failed >= this.#tries) throw this.#givenUp(broken)
        if (now !== told) onThere?.(now - told)
        told = at = now
        await this.#rest(failed, broken, signal)
      }
    }
  }

  #learn(tookMs: number) {
    if (tookMs < QUICK_MS) this.#pieceBytes = Math.min(PIECE.most, this.#pieceBytes * 2)
    else if (tookMs > SLOW_MS) this.#pieceBytes = Math.max(PIECE.least, this.#pieceBytes >> 1)
  }

  // ---- asking ----

  get #retryMs() {
    return this.#options.retryMs ?? 500
  }
  /** What never answered is not waited for long: its address may be wrong. */
  get #tries() {
    return this.#answered ? (this.#options.tries ?? 8) : Math.min(this.#options.tries ?? 8, 3)
  }

  async #json(path: string, asked: Asked): Promise<unknown> {
    const { text } = await this.#ask(path, asked)
    try {
      return parseJson(text)
    } catch (cause) {
      throw new AppError('depot.refused', { where: this.where, status: 200, reason: 'it is no agent' }, { cause })
    }
  }

  /** Asks again after what may pass. Only for what has no body, or one that can be sent twice. */
  async #ask(path: string, asked: Asked, also: readonly number[] = []): Promise<Answer> {
    for (let failed = 1; ; failed++) {
      try {
        return await this.#once(path, asked, also)
      } catch (cause) {
        asked.signal?.throwIfAborted()
        if (!(cause instanceof Unanswered)) throw cause
        if (failed >= this.#tries) throw this.#givenUp(cause)
        await this.#rest(failed, cause, asked.signal)
      }
    }
  }

  async #once(path: string, asked: Asked, also: readonly number[] = []): Promise<Answer> {
    const { statusCode, headers, body } = await this.#open(path, asked, also)
    try {
      const chunks: Buffer[] = []
      let size = 0
      for await (const chunk of body as AsyncIterable<Buffer>) {
        chunks.push(chunk)
        size += chunk.length
        if (size > LARGEST_REPLY_BYTES) throw new Error('its answer never ends')
      }
      const bytes = Buffer.concat(chunks)
      return { statusCode, headers, bytes, text: bytes.toString('utf8') }
    } catch (cause) {
      throw unanswered(cause)
    }
  }

  /** @throws Unanswered when it may be asked again; AppError or FailureError when not */
  async #open(path: string, { method, headers, body, signal }: Asked, also: readonly number[]) {
    const { key, dispatcher, stallMs = 120_000 } = this.#options
    const sent = { authorization: `Bearer ${key}`, ...headers }
    const reply = await request(`${this.where}${path}`, {
      method,
      headers: sent,
      dispatcher,
      headersTimeout: stallMs,
      bodyTimeout: stallMs,
      ...(body !== undefined && { body }),
      ...(signal && { signal }),
    }).catch((cause: unknown) => {
      throw unanswered(cause)
    })
    const { statusCode: status } = reply
    this.#answered ||= status < 500
    if ((status >= 200 && status < 300) || also.includes(status)) return reply
    const text = (await reply.body.text().catch(() => '')).slice(0, 100_000)
    const said = wordsIn(text)
    if (said?.code === 'disk.full' || said?.code.startsWith('snapshot.')) throw new FailureError(said)
    const reason = said?.message ?? doorWords(text) ?? (/^\s*[{<]/.test(text) ? '' : text.trim().slice(0, 200))
    if (status === 408 || status === 429 || status >= 500)
      throw new Unanswered(reason || `HTTP ${status}`, Number(reply.headers['retry-after']) * 1000 || 0)
    throw new AppError('depot.refused', { where: this.where, status, reason: reason || `HTTP ${status}` })
  }

  #rest(failed: number, { afterMs }: Unanswered, signal?: AbortSignal) {
    const doubling = this.#retryMs * 2 ** Math.min(failed - 1, 6)
    // not all lines at the same moment
    return pause(Math.max(afterMs, doubling * (0.75 + Math.random() / 2)), undefined, { signal })
  }

  #givenUp(cause: Unanswered) {
    return new AppError('depot.unreachable', { where: this.where, reason: cause.message }, { cause })
  }
}

interface Answer {
  readonly statusCode: number
  readonly headers: Dispatcher.ResponseData['headers']
  readonly bytes: Buffer
  readonly text: string
}
/** It may answer another time. */
class Unanswered extends Error {
  readonly afterMs: number
  constructor(reason: string, afterMs = 0) {
    super(reason)
    this.afterMs = afterMs
  }
}
const unanswered = (cause: unknown) => (cause instanceof Unanswered ? cause : new Unanswered(reasonOf(cause)))

/** As the door says why it does not let somebody in. */
const doorWords = (text: string): string | null => DoorSaid.safeParse(tryJson(text)).data?.error.message ?? null
const wordsIn = (text: string): Failure | null => (Said.safeParse(tryJson(text)).data as Failure | undefined) ?? null
