import { createHash, createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import { existsSync } from 'node:fs'
import { chmod, rm } from 'node:fs/promises'
import type { IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import path from 'node:path'
import type { Readable } from 'node:stream'
import fastifyStatic from '@fastify/static'
import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify'
import { WebSocketServer } from 'ws'
import { z } from 'zod'
import { type App, app } from '../../core/contract/app.ts'
import { AppError, type Envelope, toFailure } from '../../core/contract/errors.ts'
import { parseJson, writeJson } from '../../core/contract/json.ts'
import { ProofSide } from '../../core/contract/publish.ts'
import { checkWorkflowSize } from '../../core/engine/metadata/read-file.ts'
import { isOurHost, reachableAs } from '../../core/gateway/guard.ts'
import { thumbnailSizes } from '../services/thumbnails.ts'
import { call } from './call.ts'
import type { EventHub } from './events.ts'
import type { Served } from './served.ts'

/** The control socket: whoever can open it is this user on this machine. */
export type LocalEntry = { readonly reach: 'local'; readonly socket: string }
/** A TCP port: browsers come here, so every request shows the session that `token` was exchanged for. */
export type OpenEntry = {
  readonly reach: 'any'
  readonly host: string
  readonly port: number
  readonly token: string
  /** The built renderer; null: procedures only. */
  readonly rendererDir: string | null
}
export interface HttpDoor {
  /** Without the token; the control socket has none. */
  readonly url: string
  /** Enters once, within two minutes: for an address that other programs may see on a command line. */
  ticket(): string
  close(): Promise<void>
}

const MiB = 1024 * 1024
const BODY_LIMIT = 8 * MiB
/** A file of 64 MiB in base64, with some room; and a table of 100 000 rows. */
const LARGE_BODY_LIMIT = 96 * MiB
const LARGE = [
  'workflow.import',
  'workflow.importMany',
  'workflow.inspect',
  'workflow.convert',
  'input.add',
  'table.read',
  'batch.preview',
  'batch.submit',
] as const satisfies (keyof App)[]
/** A listener this far behind is let go; it comes back and asks for what it missed. */
const SOCKET_BACKLOG_LIMIT = 8 * MiB
const PING_EVERY_MS = 30_000
const TICKET_LASTS_MS = 120_000
const COOKIE = 'nightshift'

export async function serveHttp(served: Served, entry: LocalEntry | OpenEntry): Promise<HttpDoor> {
  const http = fastify({ forceCloseConnections: true, bodyLimit: BODY_LIMIT, routerOptions: { maxParamLength: 500 } })
  const guard = entry.reach === 'any' ? guardOf(entry, () => portOf(http)) : null

  http.removeAllContentTypeParsers()
  http.addContentTypeParser('application/json', { parseAs: 'string' }, (_request, text, done) => {
    try {
      done(null, text === '' ? {} : parseJson(text as string))
    } catch (cause) {
      done(new AppError('app.bad-request', { reason: 'the body is not JSON' }, { cause }), undefined)
    }
  })
  http.addContentTypeParser('application/octet-stream', (_request, body, done) => done(null, body))
  http.setErrorHandler((cause, request, reply) => replyWith(reply, failed(asAppError(cause, request.raw))))
  http.setNotFoundHandler((request, reply) =>
    replyWith(reply, failed(new AppError('app.not-found', { what: pathOf(request.url) }))),
  )
  http.addHook('onRequest', async (request, reply) => {
    reply.headers(securityHeaders(request.headers.host ?? ''))
    guard?.check(request.raw, request.routeOptions.url)
  })

  const tickets = new Set<string>()
  const rpc = (name: string, body: unknown) =>
    call(app, served.routers[entry.reach], name, body, entry.reach, served.onFault)
  for (const name of LARGE)
    http.post(`/rpc/${name}`, { bodyLimit: LARGE_BODY_LIMIT }, async ({ body }, reply) =>
      replyWith(reply, await rpc(name, body ?? {})),
    )
  http.post<{ Params: { name: string } }>('/rpc/:name', async ({ params, body }, reply) =>
    replyWith(reply, await rpc(params.name, body ?? {})),
  )
  await serveFiles(http, served, entry.reach === 'any' ? entry.rendererDir : null)
  if (entry.reach === 'any')
    http.post('/session', async ({ body }, reply) => {
      const { token } = z.object({ token: z.string() }).catch({ token: '' }).parse(body)
      if (!same(token, entry.token) && !tickets.delete(token))
        throw new AppError('app.refused', { reason: 'the token is not right' })
      const year = 365 * 24 * 60 * 60
      void reply.header(
        'set-cookie',
        `${COOKIE}=${sessionOf(entry.token)}; HttpOnly; SameSite=Strict; Path=/; Max-Age=${year}`,
      )
      return replyWith(reply, { ok: true, value: {} })
    })

  const sockets = serveEvents(http, served.events, guard)
  await http.ready()
  await listen(http, entry)
  return {
    url: entry.reach === 'any' ? `http://${reachableAs(entry.host)}:${portOf(http)}/` : '',
    ticket() {
      const ticket = randomBytes(32).toString('base64url')
      tickets.add(ticket)
      setTimeout(() => tickets.delete(ticket), TICKET_LASTS_MS).unref()
      return ticket
    },
    async close() {
      for (const socket of sockets.clients) socket.close(1001)
      sockets.close()
      await http.close()
      for (const socket of sockets.clients) socket.terminate()
    },
  }
}

async function serveFiles(http: FastifyInstance, { files }: Served, rendererDir: string | null) {
  const built = rendererDir !== null && existsSync(path.join(rendererDir, 'index.html'))
  await http.register(fastifyStatic, {
    root: built ? rendererDir : import.meta.dirname,
    serve: built,
    cacheControl: false,
    setHeaders: (reply, file) => {
      // the bundler names assets by their content; the page itself must be asked for again
      const forever = path.basename(path.dirname(file)) === 'assets'
      void reply.header('cache-control', forever ? 'public, max-age=31536000, immutable' : 'no-cache')
    },
  })
  if (rendererDir !== null && !built)
    http.get('/', (_request, reply) => reply.code(503).type('text/plain; charset=utf-8').send(NOT_BUILT))

  http.get<{ Params: { id: string }; Querystring: { download?: string } }>(
    '/files/artifact/:id',
    async (request, reply) => {
      const { range, 'if-none-match': ifNoneMatch } = request.headers
      const { status, headers, stream } = await files.artifact(request.params.id, { range, ifNoneMatch })
      void reply.code(status).headers(headers)
      if (request.query.download !== undefined)
        void reply.header('content-disposition', headers['content-disposition']?.replace(/^inline/, 'attachment'))
      return reply.send(stream ?? '')
    },
  )
  http.get<{ Params: { id: string }; Querystring: { size?: string } }>('/files/thumb/:id', async (request, reply) => {
    const bytes = await files.thumbnail(request.params.id, sizeFor(request.query.size))
    if (!bytes) throw new AppError('app.not-found', { what: 'The thumbnail' })
    return reply.header('cache-control', 'private, max-age=31536000, immutable').type('image/webp').send(bytes)
  })
  http.get<{ Querystring: { of?: string; workflow?: string; size?: string } }>(
    '/files/input-thumb',
    async (request, reply) => {
      const { of = '', workflow = '', size } = request.query
      const bytes = await files.inputThumbnail(of, workflow, sizeFor(size))
      if (!bytes) throw new AppError('app.not-found', { what: 'The thumbnail' })
      return reply.header('cache-control', 'private, max-age=86400').type('image/webp').send(bytes)
    },
  )
  http.get<{ Params: { id: string }; Querystring: { size?: string } }>('/files/model/:id', async (request, reply) => {
    const bytes = await files.modelPicture(request.params.id, sizeFor(request.query.size))
    if (!bytes) throw new AppError('app.not-found', { what: 'The picture' })
    return reply.header('cache-control', 'private, max-age=3600').type('image/webp').send(bytes)
  })
  http.get<{ Params: { id: string; at: string; side: string } }>(
    '/files/proof/:id/:at/:side',
    async (request, reply) => {
      const { id, at, side } = request.params
      const read = ProofSide.safeParse(side)
      const picture = read.success ? await files.proofPicture(id, Number(at), read.data) : null
      if (!picture) throw new AppError('app.not-found', { what: 'The picture' })
      return reply.header('cache-control', 'private, no-cache').type(picture.mediaType).send(picture.bytes)
    },
  )
  http.get<{ Params: { id: string } }>('/files/preview/:id', (request, reply) => {
    const preview = files.preview(request.params.id)
    if (!preview) throw new AppError('app.not-found', { what: 'The preview' })
    return reply.header('cache-control', 'no-store').type(preview.mediaType).send(preview.bytes)
  })
  const post = (route: string, take: (name: string, body: Readable, request: FastifyRequest) => Promise<unknown>) =>
    http.post<{ Querystring: { name?: string } }>(
      route,
      { bodyLimit: Number.MAX_SAFE_INTEGER },
      async (request, reply) => {
        const name = request.query.name?.trim()
        if (!name) throw new AppError('app.bad-request', { reason: 'the file has no name' })
        if (request.headers['content-type'] !== 'application/octet-stream')
          throw new AppError('app.bad-request', { reason: 'a file is sent as application/octet-stream' })
        return replyWith(reply, { ok: true, value: await take(name, request.body as Readable, request) })
      },
    )
  post('/files/input', (name, body) => files.addInput(name, body))
  post('/files/model', (name, body) => files.addModel(name, body))
  post('/files/workflow', async (name, body, { headers, query }) => {
    const sizeBytes = Number(headers['content-length'] ?? Number.POSITIVE_INFINITY)
    const cameWith = String((query as { with?: string }).with ?? '')
      .split(',')
      .filter(Boolean)
    if (/\.(json|txt)$/i.test(name)) checkWorkflowSize(name, headers['content-length'] ? sizeBytes : 0) // before it is sent
    return { results: await files.importWorkflow(name, body, { sizeBytes, cameWith }) }
  })
}

const sizeFor = (wanted = '256') => thumbnailSizes.find((each) => each >= Number(wanted)) ?? thumbnailSizes.at(-1)!

const NOT_BUILT = 'The pages are not built yet. Run "npm run build" and reload.\n'

/** `GET /events?since=N` as a socket: one frame per event, `{seq, name, payload}`; nothing is read from it. */
function serveEvents(http: FastifyInstance, events: EventHub<App>, guard: Guard | null) {
  const sockets = new WebSocketServer({ noServer: true, maxPayload: 1024, perMessageDeflate: false })
  http.server.on('upgrade', (request, stream, head) => {
    stream.on('error', () => stream.destroy())
    try {
      if (pathOf(request.url) !== '/events') throw new AppError('app.not-found', { what: pathOf(request.url) })
      guard?.check(request, '/events')
    } catch (cause) {
      const status = statusOf(toFailure(cause).code)
      stream.end(`HTTP/1.1 ${status} Refused\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`)
      return
    }
    const since = new URL(request.url ?? '/', 'http://here').searchParams.get('since')
    sockets.handleUpgrade(request, stream, head, (socket) => {
      const unsubscribe = events.subscribe(since === null ? null : Number(since) || 0, (frame) => {
        if (socket.bufferedAmount > SOCKET_BACKLOG_LIMIT) socket.close(1013, 'too far behind')
        else if (socket.readyState === socket.OPEN) socket.send(writeJson(frame))
      })
      let answered = true
      const ping = setInterval(() => {
        if (!answered) return socket.terminate()
        answered = false
        socket.ping()
      }, PING_EVERY_MS)
      socket.on('pong', () => {
        answered = true
      })
      socket.on('error', () => socket.terminate())
      socket.on('close', () => {
        clearInterval(ping)
        unsubscribe()
      })
    })
  })
  return sockets
}

async function listen(http: FastifyInstance, entry: LocalEntry | OpenEntry) {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  http.server.once('error', reject)
  http.server.once('listening', resolve)
  if (entry.reach === 'any') http.server.listen(entry.port, entry.host)
  else if (process.platform === 'win32') http.server.listen(entry.socket)
  else {
    await rm(entry.socket, { force: true }) // of an owner that died; whoever holds the lock may
    const before = process.umask(0o177) // a socket is bound within this call: never open to others, not for a moment
    try {
      http.server.listen(entry.socket)
    } finally {
      process.umask(before)
    }
  }
  await promise
  http.server.removeListener('error', reject)
  if (entry.reach === 'local' && process.platform !== 'win32') await chmod(entry.socket, 0o600)
}

const portOf = (http: FastifyInstance) => (http.server.address() as AddressInfo | null)?.port ?? 0
const pathOf = (url = '/') => url.split('?', 1)[0] as string

interface Guard {
  /** `route`: what will answer, since an address can be written in many ways. @throws AppError 'app.refused' */
  check(request: IncomingMessage, route: string | undefined): void
}
/** Open without a session: pages, entering, and what does not exist. */
const OPEN = [undefined, '/', '/*', '/session']

/**
 * Who may enter by TCP. The page itself is open to all, since it holds nothing; procedures, events and files ask for
 * the session. A name that is not ours in Host is DNS rebinding; an Origin that is not ours is another site's page.
 */
function guardOf(entry: OpenEntry, port: () => number): Guard {
  const session = sessionOf(entry.token)
  return {
    check(request, route) {
      const { host = '', origin, authorization } = request.headers
      const site = request.headers['sec-fetch-site']
      const open = OPEN.includes(route)
      const navigation = request.method === 'GET' && open && request.headers['sec-fetch-mode'] === 'navigate'
      const changes = request.method !== 'GET' && request.method !== 'HEAD'
      const bearer = authorization?.startsWith('Bearer ') && same(authorization.slice('Bearer '.length), entry.token)

      if (!isOurHost(host, entry.host, port())) throw refused('this address is not one of ours')
      if (site !== undefined && site !== 'same-origin' && site !== 'none' && !navigation)
        throw refused('the request came from another site')
      if (origin !== undefined && origin !== `http://${host}`) throw refused('the request came from another origin')
      if (origin === undefined && !bearer && (changes || route === '/events'))
        throw refused('the request names no origin')
      if (!open && !bearer && !same(cookieOf(request), session)) throw refused('there is no session')
    },
  }
}

const refused = (reason: string) => new AppError('app.refused', { reason })

function cookieOf({ headers }: IncomingMessage): string {
  const pairs = (headers.cookie ?? '').split(';').map((pair) => pair.trim())
  return pairs.find((pair) => pair.startsWith(`${COOKIE}=`))?.slice(COOKIE.length + 1) ?? ''
}

/** What the cookie holds: made from the token, so that it lives as long, but does not tell it. */
const sessionOf = (token: string) => createHmac('sha256', token).update('session').digest('base64url')
const digest = (text: string) => createHash('sha256').update(text).digest()
const same = (one: string, other: string) => timingSafeEqual(digest(one), digest(other))

const securityHeaders = (host: string) => ({
  'content-security-policy': [
    "default-src 'self'",
    "script-src 'self'",
    "style-src 'self' 'unsafe-inline'",
    "img-src 'self' data: blob:",
    // 'self' does not cover ws: in every browser
    /^[\w.:[\]-]+$/.test(host) ? `connect-src 'self' ws://${host}` : "connect-src 'self'",
    "object-src 'none'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join('; '),
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
})

const failed = (cause: unknown): Envelope => ({ ok: false, failure: toFailure(cause) })

/** What a procedure says is data and answers 200, well or not; only what never reached one has a status of its own. */
function statusOf(code: string): number {
  if (code === 'app.refused') return 403
  if (code === 'app.too-large') return 413
  if (code === 'app.bad-request') return 400
  if (code === 'app.not-found' || code === 'app.unknown-procedure') return 404
  return code === 'app.internal' ? 500 : 200
}

function replyWith(reply: FastifyReply, envelope: Envelope) {
  return reply
    .code(envelope.ok ? 200 : statusOf(envelope.failure.code))
    .header('cache-control', 'no-store')
    .type('application/json; charset=utf-8')
    .send(writeJson(envelope))
}

function asAppError(cause: unknown, request: IncomingMessage): unknown {
  const { code, statusCode = 500, message = '' } = cause as { code?: string; statusCode?: number; message?: string }
  if (cause instanceof AppError) return cause
  if (code === 'FST_ERR_CTP_BODY_TOO_LARGE') {
    const large = LARGE.some((name) => request.url === `/rpc/${name}`)
    const sizeMiB = Math.ceil(Number(request.headers['content-length'] ?? 0) / MiB)
    return new AppError('app.too-large', {
      name: 'The request',
      sizeMiB,
      limitMiB: (large ? LARGE_BODY_LIMIT : BODY_LIMIT) / MiB,
    })
  }
  return statusCode < 500 ? new AppError('app.bad-request', { reason: message }, { cause }) : cause
}
