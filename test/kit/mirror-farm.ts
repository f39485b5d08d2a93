import { once } from 'node:events'
import { open } from 'node:fs/promises'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import { gzipSync } from 'node:zlib'

/** How a path answers. Without any of it: as a good server does. */
export interface Behaviour {
  /** Its bytes, or the file that holds them. */
  readonly body: Buffer | { readonly file: string; readonly sizeBytes: number }
  /** null: none. */
  readonly etag?: string | null
  readonly lastModified?: string
  readonly type?: string
  readonly ranges?: 'ignored' | 'wrong-start' | 'wrong-total' | 'short' | 'unlabelled' | 'refused' | 'refused-bare'
  /** Answers so, the first so many times (or always), and says when to come again. */
  readonly status?: number
  readonly times?: number
  readonly retryAfter?: string
  readonly says?: string
  /** Leads to another path of the farm, on its second host or the same; what it leads to is refused when it is older. */
  readonly redirect?: {
    readonly to: string
    readonly elsewhere?: boolean
    readonly livesMs?: number
    readonly most?: number
  }
  readonly refusesHead?: boolean
  /** The byte there is another one; with `flipEvery`, so is each that lies so far from the one before. */
  readonly flipAt?: number
  readonly flipEvery?: number
  /** After so many requests it has this. */
  readonly changes?: { readonly after: number; readonly body: Buffer; readonly etag: string }
  /** The connection breaks after so many bytes of an answer: always, or so many times. */
  readonly cutAfter?: number
  readonly cuts?: number
  /** Nothing comes after so many bytes of an answer; `stallsFrom`: after so many of all answers together. */
  readonly stallAfter?: number
  readonly stallsFrom?: number
  /** Of one connection, over all its requests. */
  readonly bytesPerSecond?: number
  readonly delayMs?: number
  /** Waited for before each answer. */
  readonly holds?: () => Promise<unknown>
  /** More at once are turned away with 429. */
  readonly connections?: number
  readonly packed?: boolean
  /** Without a length. */
  readonly chunked?: boolean
}
export interface Asked {
  readonly path: string
  readonly method: string
  readonly host: string
  readonly range: string | null
  readonly headers: IncomingMessage['headers']
  status: number
  sentBytes: number
}

const SLICE_BYTES = 64 * 1024

/** Loopback servers that hold a file well or badly, by path, and remember what they were asked. Two hosts, for redirects. */
export class MirrorFarm {
  readonly asked: Asked[] = []
  /** Answers that are being sent, by path, and the most there were at once. */
  readonly open = new Map<string, { now: number; most: number }>()
  #paths = new Map<string, Behaviour>()
  #counts = new Map<string, number>()
  #sent = new Map<string, number>()
  #servers: Server[] = []
  #paidUntil = new WeakMap<Socket, number>()
  #issued = new Map<string, { at: number; path: string; uses: number }>()

  async start() {
    this.#servers = [0, 1].map(() => createServer((request, response) => void this.#answer(request, response)))
    for (const server of this.#servers) {
      server.keepAliveTimeout = 60_000
      server.listen(0, '127.0.0.1')
      await once(server, 'listening')
    }
    return this
  }
  async stop() {
    for (const server of this.#servers) {
      server.closeAllConnections()
      await new Promise((closed) => server.close(closed))
    }
  }

  /** Gives the address it has from now on. */
  put(path: string, behaviour: Behaviour): string {
    this.#paths.set(path, behaviour)
    this.#counts.set(path, 0)
    return this.url(path)
  }
  url(path: string, elsewhere = false): string {
    const { port } = this.#servers[elsewhere ? 1 : 0]!.address() as AddressInfo
    return `http://127.0.0.1:${port}${path}`
  }
  /** Bytes sent from a path, or from all. */
  sentBytes(path?: string): number {
    return this.asked.reduce((sum, each) => sum + (path === undefined || each.path === path ? each.sentBytes : 0), 0)
  }

  async #answer(request: IncomingMessage, response: ServerResponse) {
    const url = new URL(request.url!, 'http://farm')
    const issued = this.#issued.get(url.searchParams.get('signature') ?? '')
    const path = url.pathname
    const behaviour = this.#paths.get(path)
    const asked: Asked = {
      path,
      method: request.method!,
      host: request.headers.host ?? '',
      range: request.headers.range ?? null,
      headers: request.headers,
      status: 0,
      sentBytes: 0,
    }
    this.asked.push(asked)
    const count = (this.#counts.get(path) ?? 0) + 1
    this.#counts.set(path, count)
    const reply = (status: number, headers: Record<string, string> = {}, text = '') => {
      asked.status = status
      response.writeHead(status, headers).end(text)
    }
    if (!behaviour) return reply(404)
    const { delayMs, redirect } = behaviour
    if (delayMs) await pause(delayMs)
    await behaviour.holds?.()
    if (request.method === 'HEAD' && behaviour.refusesHead) return reply(405)
    if (redirect) {
      const signature = `${path}-${count}`
      this.#issued.set(signature, { at: Date.now(), path, uses: 0 })
      const location = `${this.url(redirect.to, redirect.elsewhere)}?signature=${encodeURIComponent(signature)}`
      return reply(302, { location })
    }
    if (issued) {
      const { livesMs = Number.POSITIVE_INFINITY, most = Number.POSITIVE_INFINITY } = this.#paths.get(issued.path)!
        .redirect!
      issued.uses += 1
      if (Date.now() - issued.at > livesMs || issued.uses > most) return reply(403)
    }
    if (behaviour.status && count <= (behaviour.times ?? Number.POSITIVE_INFINITY)) {
      const after: Record<string, string> =
        behaviour.retryAfter === undefined ? {} : { 'retry-after': behaviour.retryAfter }
      return reply(behaviour.status, { ...after, 'content-type': behaviour.type ?? 'text/plain' }, behaviour.says)
    }
    const open = this.open.get(path) ?? { now: 0, most: 0 }
    this.open.set(path, open)
    if (open.now >= (behaviour.connections ?? Number.POSITIVE_INFINITY)) return reply(429, { 'retry-after': '1' })
    open.now += 1
    open.most = Math.max(open.most, open.now)
    try {
      await this.#send(behaviour, asked, request, response, count)
    } finally {
      open.now -= 1
    }
  }

  async #send(given: Behaviour, asked: Asked, request: IncomingMessage, response: ServerResponse, count: number) {
    const changed = given.changes && count > given.changes.after
    const behaviour = changed ? { ...given, body: given.changes!.body, etag: given.changes!.etag } : given
    const { body, ranges, etag = '"1"', type = 'application/octet-stream' } = behaviour
    const total = Buffer.isBuffer(body) ? body.length : body.sizeBytes
    const headers: Record<string, string | number> = { 'content-type': type, date: new Date().toUTCString() }
    if (etag !== null) headers.etag = etag
    if (behaviour.lastModified) headers['last-modified'] = behaviour.lastModified
    const [, first, last] = /^bytes=(\d+)-(\d*)$/.exec(asked.range ?? '') ?? []
    const ifRange = request.headers['if-range']
    const ranged = first !== undefined && ranges !== 'ignored' && (ifRange === undefined || ifRange === etag)
    let [from, to] = [0, total]
    if (ranged) {
      from = Number(first)
      to = last ? Math.min(Number(last) + 1, total) : total
      if (ranges === 'refused' || ranges === 'refused-bare' || from >= total) {
        asked.status = 416
        response.writeHead(416, ranges === 'refused-bare' ? {} : { 'content-range': `bytes */${total}` }).end()
        return
      }
      if (ranges === 'short') to = Math.min(to, from + 100_000)
      const label = ranges === 'wrong-start' ? from + 1 : from
      headers['content-range'] = `bytes ${label}-${to - 1}/${ranges === 'wrong-total' ? total + 1 : total}`
      if (ranges === 'unlabelled') delete headers['content-range']
    }
    asked.status = ranged ? 206 : 200
    let bytes = Buffer.isBuffer(body) ? body.subarray(from, to) : null
    if (bytes && behaviour.packed) {
      bytes = gzipSync(bytes)
      headers['content-encoding'] = 'gzip'
    }
    if (!behaviour.chunked) headers['content-length'] = bytes?.length ?? to - from
    response.writeHead(asked.status, headers)
    response.flushHeaders()
    const socket = response.socket!
    const file = Buffer.isBuffer(body) ? null : await open(body.file)
    try {
      const end = bytes ? bytes.length : to - from
      for (let at = 0; at < end && !socket.destroyed; ) {
        const [cut, stall] = [behaviour.cutAfter, behaviour.stallAfter]
        const cuts = cut !== undefined && count <= (behaviour.cuts ?? Number.POSITIVE_INFINITY)
        const stop = Math.min(end, at + SLICE_BYTES, cuts ? cut : end, stall ?? end)
        if (cuts && at >= cut) return void socket.destroy()
        if (
          at >= (stall ?? end) ||
          (this.#sent.get(asked.path) ?? 0) >= (behaviour.stallsFrom ?? Number.POSITIVE_INFINITY)
        )
          return void (await once(socket, 'close'))
        let slice = bytes ? bytes.subarray(at, stop) : Buffer.alloc(stop - at)
        if (file) await file.read(slice, 0, slice.length, from + at)
        const flips = flipsIn(behaviour, from + at, from + stop)
        if (flips.length > 0) slice = Buffer.from(slice)
        for (const flip of flips) slice[flip - from - at]! ^= 0xff
        await this.#pay(socket, slice.length, behaviour.bytesPerSecond)
        at = stop
        asked.sentBytes += slice.length
        this.#sent.set(asked.path, (this.#sent.get(asked.path) ?? 0) + slice.length)
        if (!response.write(slice) && !socket.destroyed) await writable(response, socket)
      }
      response.end()
    } finally {
      await file?.close()
    }
  }

  /** Waits as long as a connection of that rate takes. */
  async #pay(socket: Socket, bytes: number, rate: number | undefined) {
    if (rate === undefined) return
    const now = performance.now()
    const until = Math.max(now, this.#paidUntil.get(socket) ?? now) + (bytes / rate) * 1000
    this.#paidUntil.set(socket, until)
    if (until - now > 5) await pause(until - now)
  }
}

function flipsIn({ flipAt, flipEvery }: Behaviour, from: number, to: number): number[] {
  if (flipAt === undefined) return []
  if (flipEvery === undefined) return flipAt >= from && flipAt < to ? [flipAt] : []
  const flips: number[] = []
  for (let at = flipAt + Math.max(0, Math.ceil((from - flipAt) / flipEvery)) * flipEvery; at < to; at += flipEvery)
    flips.push(at)
  return flips
}

function writable(response: ServerResponse, socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    const go = () => {
      response.off('drain', go)
      socket.off('close', go)
      resolve()
    }
    response.once('drain', go)
    socket.once('close', go)
  })
}
