import { createHash, type Hash } from 'node:crypto'
import { mkdir, open, readdir, rm, stat } from 'node:fs/promises'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { isIP } from 'node:net'
import path from 'node:path'
import { Agent, type Dispatcher } from 'undici'
import { z } from 'zod'
import { AppError, toFailure } from '../contract/errors.ts'
import { type Json, type JsonObject, tryJson } from '../contract/json.ts'
import type { Mirror } from '../contract/mirror.ts'
import { reasonOf } from '../engine/comfy/client.ts'
import { download } from '../engine/download/download.ts'
import { isPublic, lookupAmong } from '../engine/download/fetch-public.ts'
import { addressesFor } from '../engine/download/mirrors.ts'
import { hashFile } from '../engine/hash-file.ts'
import { ABANDONED_MS, type Depot, readPublished } from '../engine/snapshot/depot.ts'
import type { DepotList, ModelFetching } from '../engine/snapshot/http-depot.ts'
import { readSealed } from '../engine/snapshot/manifest.ts'
import { readIndex } from '../engine/snapshot/pack.ts'
import { freeBytes } from '../engine/volume.ts'
import type { DoorRoute, RouteAsked } from './fc/asked.ts'
import { json } from './wire.ts'

export interface DepotDoorOptions {
  readonly depot: Depot
  /** Where what arrives lies until it is whole. Best on the disk of the depot: then it is moved, not copied. */
  readonly incoming: string
  readonly mirrors: readonly Mirror[]
  /** Only what was signed by one of these, base64, is taken; empty: whatever a key that may publish brings. */
  readonly trusted?: readonly string[]
  /** For tests: which addresses models may come from. */
  readonly mayReach?: (address: string) => boolean
  /** Before a source of a model is asked again. */
  readonly retryMs?: number
  readonly log?: (event: string, facts: JsonObject) => void
}
type Kind = 'packs' | 'models'
type Fetching = { bytes: number; failed: string | null; readonly stop: AbortController }

const MANIFEST_LIMIT_BYTES = 64 << 20
const PART_BYTES = 4 << 20
const ROOM_BYTES = 64 << 20
const SWEEP_MS = 60 * 60_000
const FetchAsked = z.object({
  size: z.int().min(0),
  sources: z
    .array(z.url({ protocol: /^https?$/ }))
    .min(1)
    .max(20),
})

/**
 * The store of an agent, for who may publish. What arrives is checked before it has its name; until then its first bytes
 * are kept, so that whoever sends it can go on from there.
 */
export class DepotDoor {
  readonly #options: DepotDoorOptions
  /** Of what arrives, as far as it came: saves reading it again. */
  readonly #hashes = new Map<string, { readonly hash: Hash; bytes: number }>()
  readonly #writing = new Map<string, Promise<void>>()
  readonly #fetching = new Map<string, Fetching>()
  readonly #internet: Dispatcher
  #sweptAt = 0

  constructor(options: DepotDoorOptions) {
    this.#options = options
    this.#internet = publicOnly(options.mayReach ?? isPublic)
  }

  readonly routes: readonly DoorRoute[] = ['/v1/packs', '/v1/models', '/v1/snapshots'].map((prefix) => ({
    prefix,
    scope: 'publish',
    serve: (asked) => this.#serve(asked),
  }))

  async stop() {
    for (const { stop } of this.#fetching.values()) stop.abort()
    await this.#internet.destroy()
  }

  async #serve(asked: RouteAsked) {
    const { method, reply, request } = asked
    try {
      const [, kind, id, more] =
        /^\/v1\/(packs|models|snapshots)(?:\/([0-9a-f]{64})(\/fetch)?)?$/.exec(asked.path) ?? []
      const { depot } = this.#options
      const is = `${method === 'HEAD' ? 'GET' : method} ${kind}${id ? ' one' : ''}${more ?? ''}`
      if (is === 'GET packs') return json(reply, 200, { bytes: Object.fromEntries(await depot.packs()) } satisfies List)
      if (is === 'GET models')
        return json(reply, 200, { bytes: Object.fromEntries(await depot.models()) } satisfies List)
      if (is === 'GET snapshots') return json(reply, 200, { ids: await depot.snapshots() })
      if (is === 'GET packs one' || is === 'GET models one') return await this.#give(kind as Kind, id!, asked)
      if (is === 'PUT packs one' || is === 'PUT models one') return await this.#take(kind as Kind, id!, asked)
      if (is === 'GET snapshots one') return await this.#tell(id!, reply)
      if (is === 'PUT snapshots one') return await this.#takeSnapshot(id!, asked)
      if (is === 'POST models one/fetch') return await this.#fetch(id!, asked)
      throw new AppError('app.not-found', { what: asked.path.slice(0, 100) })
    } catch (cause) {
      const failure = toFailure(cause)
      if (failure.code === 'app.internal') this.#options.log?.('depot.failed', { reason: failure.message })
      if (reply.headersSent || reply.destroyed) return void reply.destroy()
      if (!request.complete) {
        reply.setHeader('connection', 'close')
        request.resume()
      }
      json(reply, STATUS[failure.code] ?? 500, failure.code === 'app.internal' ? UNSAID : (failure as unknown as Json))
    }
  }

  // ---- packs and models ----

  async #give(kind: Kind, id: string, { method, request, reply }: RouteAsked) {
    const { depot } = this.#options
    const size = await (kind === 'packs' ? depot.packBytes(id) : depot.modelBytes(id))
    if (method === 'HEAD' || size === null) reply.setHeader('upload-offset', await sizeOf(this.#partOf(kind, id))) // who finds it cut short sends it anew
    if (size === null) {
      if (method === 'HEAD') return void reply.writeHead(404).end()
      throw new AppError('app.not-found', { what: id.slice(0, 12) })
    }
    const range = rangeOf(request.headers.range, size)
    if (range === 'none') {
      reply.setHeader('content-range', `bytes */${size}`)
      return void reply.writeHead(416).end()
    }
    const { from, to } = range ?? { from: 0, to: size }
    if (range) reply.setHeader('content-range', `bytes ${from}-${to - 1}/${size}`)
    reply.writeHead(range ? 206 : 200, {
      'content-type': 'application/octet-stream',
      'content-length': to - from,
      'accept-ranges': 'bytes',
    })
    if (method === 'HEAD') return void reply.end()
    const gone = new AbortController()
    reply.on('close', () => gone.abort())
    const read = (at: number, length: number) =>
      kind === 'packs' ? depot.readPack(id, at, length, gone.signal) : depot.readModel(id, at, length, gone.signal)
    for (let at = from; at < to; ) {
      const part = await read(at, Math.min(PART_BYTES, to - at))
      if (part.length === 0 || gone.signal.aborted) return void reply.destroy()
      at += part.length
      if (!reply.write(part)) await new Promise((done) => reply.once('drain', done).once('close', done))
    }
    reply.end()
  }

  /** Pieces of one file come after each other, whoever sends them. */
  async #take(kind: Kind, id: string, asked: RouteAsked) {
    const key = `${kind}/${id}`
    for (let busy = this.#writing.get(key); busy; busy = this.#writing.get(key)) await busy
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#writing.set(key, promise)
    try {
      await this.#takePiece(kind, id, asked)
    } finally {
      this.#writing.delete(key)
      resolve()
    }
  }

  async #takePiece(kind: Kind, id: string, { request, reply }: RouteAsked) {
    const { depot, incoming } = this.#options
    const [, first, total] =
      /^bytes (?:(\d{1,15})-\d{1,15}|\*)\/(\d{1,15})$/.exec(request.headers['content-range'] ?? '') ?? []
    const size = Number(total ?? request.headers['content-length'])
    if (!Number.isSafeInteger(size)) throw new AppError('app.bad-request', { reason: 'how long it is was not said' })
    const there = await (kind === 'packs' ? depot.packBytes(id) : depot.modelBytes(id))
    if (there === size) {
      request.resume()
      return json(reply, 200, { bytes: there })
    }
    const part = this.#partOf(kind, id)
    await mkdir(incoming, { recursive: true })
    await this.#sweep()
    const had = await sizeOf(part)
    if (had !== Number(first ?? had) || had > size) {
      if (had > size) await rm(part, { force: true })
      request.resume()
      reply.setHeader('upload-offset', had > size ? 0 : had)
      return json(reply, 409, { bytes: had > size ? 0 : had })
    }
    const free = await freeBytes(incoming)
    if (free !== null && free < size - had + ROOM_BYTES)
      throw new AppError('disk.full', { dir: path.basename(incoming) })
    const now = await this.#append(part, had, size, request)
    reply.setHeader('upload-offset', now)
    if (now < size) return json(reply, 202, { bytes: now })
    const hashed = this.#hashes.get(part)
    this.#hashes.delete(part)
    const actual = hashed?.bytes === size ? hashed.hash.digest('hex') : await hashFile(part)
    if (actual !== id) {
      await rm(part, { force: true })
      throw new AppError('snapshot.damaged', { reason: `${id.slice(0, 12)} arrived as something else` })
    }
    if (kind === 'packs') {
      await this.#refuseNoPack(part)
      await depot.putPack(id, part, { mayMove: true })
    } else await depot.putModel(id, part, { mayMove: true })
    await rm(part, { force: true })
    this.#options.log?.('depot.taken', { kind, id, bytes: size })
    json(reply, 201, { bytes: size })
  }

  /** Where it ends afterwards. What came before a cut is kept. @throws AppError when more comes than was said */
  async #append(part: string, had: number, size: number, request: IncomingMessage): Promise<number> {
    const known = had === 0 ? { hash: createHash('sha256'), bytes: 0 } : this.#hashes.get(part)
    const hashed = known?.bytes === had ? known : null
    if (hashed) this.#hashes.set(part, hashed)
    else this.#hashes.delete(part)
    const file = await open(part, 'a', 0o600)
    let at = had
    try {
      for await (const chunk of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
        if (at + chunk.length > size) throw new AppError('app.bad-request', { reason: 'more came than was said' })
        await file.appendFile(chunk)
        hashed?.hash.update(chunk)
        at += chunk.length
        if (hashed) hashed.bytes = at
      }
      if (at === size) await file.sync()
      return at
    } catch (cause) {
      const { code } = cause as NodeJS.ErrnoException
      this.#hashes.delete(part) // a write may have stopped half-way
      if (code === 'ENOSPC') throw new AppError('disk.full', { dir: path.basename(path.dirname(part)) }, { cause })
      if (cause instanceof AppError || request.destroyed === false) throw cause
      return at // whoever sent it has gone
    } finally {
      await file.close()
    }
  }

  async #refuseNoPack(part: string) {
    try {
      readIndex(part)
    } catch (cause) {
      await rm(part, { force: true })
      throw new AppError('snapshot.damaged', { reason: (cause as Error).message }, { cause })
    }
  }

  /** Removes what nobody went on with. Agents that share a store see each other's. */
  async #sweep() {
    const now = Date.now()
    if (now - this.#sweptAt < SWEEP_MS) return
    this.#sweptAt = now
    const { incoming, log } = this.#options
    for (const name of await readdir(incoming)) {
      const file = path.join(incoming, name)
      const found = await stat(file).catch(() => null)
      if (!found?.isFile() || now - found.mtimeMs < ABANDONED_MS) continue
      await rm(file, { force: true })
      log?.('depot.abandoned', { name, bytes: found.size })
    }
  }

  #partOf(kind: Kind, id: string) {
    return path.join(this.#options.incoming, `${kind}-${id}.part`)
  }

  // ---- snapshots ----

  async #tell(id: string, reply: ServerResponse) {
    const published = await this.#options.depot.getSnapshot(id)
    if (!published) throw new AppError('app.not-found', { what: id.slice(0, 12) })
    json(reply, 200, published)
  }

  /** Last of all: only with every pack it names. */
  async #takeSnapshot(id: string, { body, reply }: RouteAsked) {
    const { depot, trusted = [] } = this.#options
    const text = (await body(MANIFEST_LIMIT_BYTES)).toString('utf8')
    const published = readPublished(text)
    const { sealed } = published
    readSealed(JSON.stringify(sealed))
    if (sealed.id !== id) throw new AppError('snapshot.damaged', { reason: 'its description is not what its id says' })
    if (trusted.length > 0 && !(sealed.signature !== null && trusted.includes(sealed.publicKey ?? '')))
      throw new AppError('snapshot.untrusted', { id: id.slice(0, 12) })
    const there = await depot.packs()
    for (const pack of published.packs)
      if (there.get(pack.id) !== pack.bytes) throw new AppError('snapshot.incomplete', { what: pack.id.slice(0, 12) })
    await depot.putSnapshot(published)
    this.#options.log?.('depot.snapshot', { id, packs: published.packs.length })
    json(reply, 201, { id })
  }

  // ---- models from elsewhere ----

  /** Begins it, or tells how it stands: asked again and again until it is there. */
  async #fetch(id: string, { body, reply }: RouteAsked) {
    const said = FetchAsked.safeParse(tryJson((await body(100_000)).toString('utf8')))
    if (!said.success) throw new AppError('app.bad-request', { reason: 'its size and sources were not understood' })
    const tell = (state: ModelFetching) => json(reply, state.is === 'fetching' ? 202 : 200, state)
    if ((await this.#options.depot.modelBytes(id)) !== null) {
      this.#fetching.delete(id)
      return tell({ is: 'there' })
    }
    let state = this.#fetching.get(id)
    if (state?.failed) {
      this.#fetching.delete(id) // told once; who asks again wants it tried again
      return tell({ is: 'failed', reason: state.failed })
    }
    if (!state) {
      state = { bytes: 0, failed: null, stop: new AbortController() }
      this.#fetching.set(id, state)
      void this.#fetchNow(id, said.data, state)
    }
    tell({ is: 'fetching', bytes: state.bytes })
  }

  async #fetchNow(id: string, { size, sources }: z.infer<typeof FetchAsked>, state: Fetching) {
    const { depot, incoming, mirrors, retryMs, log } = this.#options
    const addresses = [...new Set(sources.flatMap((source) => addressesFor(new URL(source), mirrors).map(String)))]
    const to = path.join(incoming, `fetched-${id}`)
    try {
      await download(
        { to, sizeBytes: size, sha256: id, sources: addresses.map((address) => ({ id: address, address })) },
        {
          dispatcher: this.#internet,
          signal: state.stop.signal,
          waitForSpace: false,
          ...(retryMs !== undefined && { retryMs }),
          onNews: ({ doneBytes }) => {
            state.bytes = doneBytes
          },
        },
      )
      await depot.putModel(id, to, { mayMove: true, signal: state.stop.signal })
      await rm(to, { force: true })
      log?.('depot.fetched', { id, bytes: size })
    } catch (cause) {
      const { message } = toFailure(cause)
      state.failed = cause instanceof AppError ? message : reasonOf(cause)
      log?.('depot.not-fetched', { id, reason: state.failed })
    }
  }
}

type List = z.infer<typeof DepotList>
const UNSAID = { code: 'app.internal', message: 'Something went wrong inside the agent.', remedy: '', facts: {} }
const STATUS: Record<string, number> = {
  'app.bad-request': 400,
  'app.not-found': 404,
  'app.too-large': 413,
  'disk.full': 507,
  'snapshot.damaged': 422,
  'snapshot.untrusted': 422,
  'snapshot.incomplete': 409,
}

/** Half open. null: all of it; 'none': nothing of it. */
function rangeOf(header: string | undefined, size: number): { from: number; to: number } | 'none' | null {
  const [, first, last] = /^bytes=(\d{0,15})-(\d{0,15})$/.exec(header ?? '') ?? []
  if (first === undefined || last === undefined || (first === '' && last === '')) return null
  if (first === '') return Number(last) === 0 ? 'none' : { from: Math.max(0, size - Number(last)), to: size }
  const to = last === '' ? size : Math.min(size, Number(last) + 1)
  return Number(first) < to ? { from: Number(first), to } : 'none'
}

/** Speaks to the internet and to nothing on this side of it, whatever a name resolves to and wherever it redirects. */
function publicOnly(mayReach: (address: string) => boolean): Dispatcher {
  return new Agent({ connect: { timeout: 10_000, lookup: lookupAmong(mayReach) } }).compose(
    (dispatch) => (asked, handler) => {
      const host = new URL(String(asked.origin)).hostname.replace(/^\[|\]$/g, '')
      if (isIP(host) && !mayReach(host)) throw new Error('it is not on the internet')
      return dispatch(asked, handler)
    },
  )
}

const sizeOf = (file: string) =>
  stat(file).then(
    ({ size }) => size,
    () => 0,
  )
