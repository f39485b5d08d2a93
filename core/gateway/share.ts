import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'
import { Agent, FormData, request } from 'undici'
import type { FileReference, HistoryEntry } from '../contract/comfyui.ts'
import { AppError, type ErrorCode, toFailure } from '../contract/errors.ts'
import { isJsonObject, type Json, parseJson, writeJson } from '../contract/json.ts'
import type { ComfyAddress } from '../engine/comfy/address.ts'
import { collectOutputs } from '../engine/comfy/outputs.ts'
import { bytesWithin } from '../engine/download/follow.ts'
import { isOurHost, reachableAs } from './guard.ts'
import { Rate } from './rate.ts'
import { bytesOf, json, listen, passReply, passUpgrade, textOf } from './wire.ts'

/** A ComfyUI that is shared. */
export interface Place {
  readonly id: string
  readonly device: string | null
  /** null: it does not run now. */
  readonly address: ComfyAddress | null
}
interface Options {
  readonly host: string
  readonly port: number
  /** What else this machine is called by those who come. */
  readonly names: readonly string[]
  readonly places: () => readonly Place[]
  /** Whose key it is; null: nobody's. */
  readonly enter: (token: string) => { readonly id: string } | null
  /** Epoch ms. */
  readonly now: () => number
  readonly log?: (event: string, facts: object) => void
  /** What a key may ask: so often at once, and so often a second over time. */
  readonly mostAtOnce?: number
  readonly perSecond?: number
}
interface Asked {
  readonly key: string
  readonly place: Place & { readonly address: ComfyAddress }
  /** Without /api before it. */
  readonly route: string
  readonly search: URLSearchParams
  readonly request: IncomingMessage
  readonly reply: ServerResponse
}
type Route = {
  readonly methods: readonly string[]
  readonly path: RegExp
  readonly serve: (asked: Asked, found: string) => unknown
}

const PROMPT_LIMIT_BYTES = 64 * 2 ** 20
const UPLOAD_LIMIT_BYTES = 256 * 2 ** 20
const REPLY_LIMIT_BYTES = 256 * 2 ** 20
const MOST_REMEMBERED = 50_000
const MOST_CONNECTIONS = 500
const WORD = '[A-Za-z0-9_.-]{1,200}'
const ID = '[0-9A-Za-z-]{1,100}'

/**
 * The ComfyUIs of this machine for another Nightshift that has a key: what it needs of ComfyUI's own routes, each
 * ComfyUI below a path of its own, on a port of its own. What came with one key is neither seen nor ended with another,
 * nor are this machine's own prompts; routes that custom nodes bring are not there at all.
 */
export class ShareDoor {
  readonly #options: Options
  readonly #agent = new Agent({ headersTimeout: 300_000, bodyTimeout: 60_000 })
  readonly #byKey: Rate
  readonly #failing: Rate
  /** Whose prompt, whose file. */
  readonly #owners = new Map<string, string>()
  readonly #streams = new Set<Duplex>()
  readonly #sockets = new Map<Duplex, string>()
  #server: Server | undefined

  constructor(options: Options) {
    this.#options = options
    this.#byKey = new Rate(options.mostAtOnce ?? 2_000, options.perSecond ?? 200, options.now)
    this.#failing = new Rate(20, 0.2, options.now)
  }

  /** Where others reach it. */
  get url(): string {
    const port = (this.#server?.address() as AddressInfo | null)?.port ?? 0
    return `http://${reachableAs(this.#options.host)}:${port}/`
  }

  /** @throws AppError 'app.port-in-use' | 'app.port-refused' */
  async start() {
    const { host, port } = this.#options
    const server = createServer((request, reply) => void this.#answer(request, reply))
    server.maxConnections = MOST_CONNECTIONS
    server.on('upgrade', (request, stream, head) => this.#upgrade(request, stream, head))
    server.on('connection', (stream) => {
      this.#streams.add(stream)
      stream.on('close', () => this.#streams.delete(stream))
    })
    await listen(server, host, port)
    this.#server = server
  }

  async stop() {
    const server = this.#server
    this.#server = undefined
    for (const stream of this.#streams) stream.destroy()
    if (server) await new Promise((resolve) => server.close(resolve))
    await this.#agent.destroy()
  }

  /** The key opens nothing any more: what is open with it is closed. */
  drop(key: string) {
    for (const [stream, owner] of this.#sockets) if (owner === key) stream.destroy()
  }

  // ---- who comes ----

  /** @throws AppError */
  #enter({ headers, socket }: IncomingMessage): string {
    const { host, names, enter, log } = this.#options
    const refuse = (code: ErrorCode, reason: string) => {
      log?.('share.refused', { from: socket.remoteAddress ?? '', reason })
      return new AppError(code, { reason })
    }
    if (!isOurHost(headers.host ?? '', host, socket.localPort ?? 0, names))
      throw refuse('share.refused', 'this machine is not called so')
    const site = headers['sec-fetch-site']
    if (headers.origin !== undefined || (site !== undefined && site !== 'none'))
      throw refuse('share.refused', 'it is not for web pages')
    const [, token] = /^Bearer ([\x21-\x7e]{1,500})$/.exec(headers.authorization ?? '') ?? []
    const key = token === undefined ? null : enter(token)
    if (!key) {
      const patient = this.#failing.take(socket.remoteAddress ?? '')
      throw patient ? refuse('share.no-key', 'no key') : new AppError('share.too-many')
    }
    if (!this.#byKey.take(key.id)) throw new AppError('share.too-many')
    return key.id
  }

  /** Which ComfyUI, and what of it; undefined: the list of them. Taken apart strictly, so that no path means another. */
  #wanted({ url = '/' }: IncomingMessage): { place: Place; route: string; search: URLSearchParams } | undefined {
    const [path = '', query = ''] = url.split('?', 2)
    if (path === '/') return undefined
    const [, name = '', rest = ''] = /^\/gpu\/([^/]+)\/(?:api\/)?(.*)$/.exec(path) ?? []
    const id = decoded(name)
    const place = this.#options.places().find((each) => each.id === id)
    const unclean = rest.split('/').some((part) => part === '..' || part === '.' || part === '')
    if (!place || unclean) throw new AppError('app.not-found', { what: path.slice(0, 200) })
    return { place, route: rest, search: new URLSearchParams(query) }
  }

  // ---- HTTP ----

  async #answer(request: IncomingMessage, reply: ServerResponse) {
    reply.setHeader('x-nightshift', 'shared')
    reply.setHeader('x-content-type-options', 'nosniff')
    reply.setHeader('cache-control', 'no-store')
    reply.setHeader('content-security-policy', "default-src 'none'; sandbox")
    try {
      const key = this.#enter(request)
      const wanted = this.#wanted(request)
      const { method = 'GET' } = request
      if (!wanted) return this.#list(method, reply)
      const { place, route, search } = wanted
      const serving = this.#routes.find(({ methods, path }) => methods.includes(method) && path.test(route))
      if (!serving) throw new AppError('share.refused', { reason: `${method} ${route.slice(0, 100)}` })
      const { address } = place
      if (!address) throw new AppError('share.not-running', { id: place.id })
      const [, found = ''] = serving.path.exec(route) ?? []
      await serving.serve({ key, place: { ...place, address }, route, search, request, reply }, found)
    } catch (cause) {
      this.#failed(reply, cause)
      request.resume()
    }
  }

  #list(method: string, reply: ServerResponse) {
    if (method !== 'GET' && method !== 'HEAD') throw new AppError('share.refused', { reason: method })
    const places = this.#options.places().map(({ id, device }) => ({ id, device }))
    json(reply, 200, { nightshift: 'shared', places })
  }

  readonly #routes: readonly Route[] = [
    {
      methods: ['GET', 'HEAD'],
      path: /^(?:prompt|features|embeddings|models|object_info)$/,
      serve: (asked) => this.#pass(asked),
    },
    {
      methods: ['GET'],
      path: new RegExp(`^(?:object_info|models|experiment/models)/${WORD}$`),
      serve: (asked) => this.#pass(asked),
    },
    { methods: ['GET'], path: /^system_stats$/, serve: (asked) => this.#stats(asked) },
    { methods: ['GET'], path: /^queue$/, serve: (asked) => this.#queue(asked) },
    { methods: ['GET'], path: new RegExp(`^history/(${ID})$`), serve: (asked, id) => this.#history(asked, id) },
    { methods: ['GET', 'HEAD'], path: /^view$/, serve: (asked) => this.#view(asked) },
    { methods: ['POST'], path: /^prompt$/, serve: (asked) => this.#submit(asked) },
    { methods: ['POST'], path: /^(?:queue|interrupt)$/, serve: (asked) => this.#end(asked) },
    { methods: ['POST'], path: new RegExp(`^jobs/(${ID})/cancel$`), serve: (asked, id) => this.#cancel(asked, id) },
    { methods: ['POST'], path: /^upload\/image$/, serve: (asked) => this.#upload(asked) },
  ]

  /** As it is. */
  async #pass({ request: { method, headers }, reply, ...asked }: Asked, path = asked.route, body?: string | FormData) {
    const passed: Record<string, string> = {}
    for (const name of ['range', 'accept'] as const) if (headers[name]) passed[name] = headers[name]
    if (typeof body === 'string') passed['content-type'] = 'application/json'
    const answer = await this.#ask(asked.place, path, { method: method as 'GET', headers: passed, body })
    await passReply(answer, reply)
  }

  /** Without the command line, which tells of this machine's folders. */
  async #stats(asked: Asked) {
    const { status, said } = await this.#read(asked)
    if (isJsonObject(said) && isJsonObject(said.system)) delete said.system.argv
    json(asked.reply, status, said)
  }

  /** The prompts of others are there as places in the queue, and nothing else of them. */
  async #queue(asked: Asked) {
    const { status, said } = await this.#read(asked)
    const own = (items: Json | undefined) =>
      (Array.isArray(items) ? items : []).map((item) =>
        Array.isArray(item) && this.#owns(asked, String(item[1]))
          ? item
          : [Array.isArray(item) ? item[0]! : 0, '', {}, {}, []],
      )
    const { queue_running, queue_pending } = isJsonObject(said) ? said : {}
    json(asked.reply, status, { queue_running: own(queue_running), queue_pending: own(queue_pending) })
  }

  async #history(asked: Asked, id: string) {
    if (!this.#owns(asked, id)) return json(asked.reply, 200, {})
    const { status, said } = await this.#read(asked)
    const entry = isJsonObject(said) ? said[id] : undefined
    if (isJsonObject(entry))
      for (const output of collectOutputs((entry as unknown as HistoryEntry).outputs ?? {}))
        if (output.is === 'file') this.#remember(asked.place, fileMark(output.file), asked.key)
    json(asked.reply, status, said)
  }

  /** Files that its prompts made, and those it sent; whether an input is there may be asked of all. */
  async #view(asked: Asked) {
    const { search, request } = asked
    const file = {
      filename: search.get('filename') ?? '',
      subfolder: search.get('subfolder') ?? '',
      type: search.get('type') ?? 'output',
    } as FileReference
    const looks = file.type === 'input' && request.method === 'HEAD'
    if (!looks && !this.#owns(asked, fileMark(file))) throw new AppError('app.not-found', { what: file.filename })
    await this.#pass(asked, `view?${new URLSearchParams({ ...file })}`)
  }

  async #submit(asked: Asked) {
    const body = await textOf(asked.request, PROMPT_LIMIT_BYTES)
    const said = parsed(body)
    const id = said.prompt_id
    if (said.front !== undefined || said.number !== undefined)
      throw new AppError('share.refused', { reason: 'a place in the queue' })
    if (id !== undefined && (typeof id !== 'string' || !UUID.test(id)))
      throw new AppError('app.bad-request', { reason: 'prompt_id is no UUID' })
    if (typeof id === 'string') {
      const owner = this.#owners.get(markOf(asked.place, id))
      if (owner !== undefined && owner !== asked.key) throw new AppError('app.bad-request', { reason: 'prompt_id' })
      this.#remember(asked.place, id, asked.key) // before: its events may be quicker than the reply
    }
    const reply = await this.#ask(asked.place, 'prompt', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body,
    })
    const text = (await bytesWithin(reply, REPLY_LIMIT_BYTES)).toString('utf8')
    const given = /"prompt_id":\s*"([0-9a-f-]{36})"/i.exec(text)?.[1]
    if (given !== undefined && reply.statusCode === 200) this.#remember(asked.place, given, asked.key)
    asked.reply.writeHead(reply.statusCode, {
      'content-type': String(reply.headers['content-type'] ?? 'application/json'),
    })
    asked.reply.end(text)
  }

  /** `queue` takes waiting prompts out, `interrupt` ends the one that runs: only its own. */
  async #end(asked: Asked) {
    const said = parsed(await textOf(asked.request, PROMPT_LIMIT_BYTES))
    if (asked.route === 'interrupt') {
      const id = said.prompt_id
      if (typeof id !== 'string' || !this.#owns(asked, id)) throw new AppError('share.refused', { reason: 'interrupt' })
      return this.#pass(asked, 'interrupt', writeJson({ prompt_id: id }))
    }
    if (!Array.isArray(said.delete) || said.clear !== undefined)
      throw new AppError('share.refused', { reason: 'clear' })
    const own = said.delete.filter((id) => typeof id === 'string' && this.#owns(asked, id))
    await this.#pass(asked, 'queue', writeJson({ delete: own }))
  }

  async #cancel(asked: Asked, id: string) {
    asked.request.resume()
    if (!this.#owns(asked, id)) return json(asked.reply, 200, { cancelled: false })
    await this.#pass(asked, `api/jobs/${id}/cancel`, '{}')
  }

  /** Into the input folder only, and over nothing. */
  async #upload(asked: Asked) {
    const bytes = await bytesOf(asked.request, UPLOAD_LIMIT_BYTES)
    const type = asked.request.headers['content-type'] ?? ''
    const form = await new Response(new Uint8Array(bytes), { headers: { 'content-type': type } })
      .formData()
      .catch(() => null)
    const image = form?.get('image')
    if (!form || !(image instanceof File)) throw new AppError('app.bad-request', { reason: 'no file' })
    const passed = new FormData()
    passed.set('image', image, image.name)
    passed.set('type', 'input')
    passed.set('subfolder', String(form.get('subfolder') ?? ''))
    const reply = await this.#ask(asked.place, 'upload/image', { method: 'POST', headers: {}, body: passed })
    const text = (await bytesWithin(reply, REPLY_LIMIT_BYTES)).toString('utf8')
    if (reply.statusCode === 200) {
      const { name, subfolder, type } = parsed(text)
      const file = { filename: String(name), subfolder: String(subfolder ?? ''), type: String(type) } as FileReference
      this.#remember(asked.place, fileMark(file), asked.key)
    }
    asked.reply.writeHead(reply.statusCode, { 'content-type': 'application/json' }).end(text)
  }

  // ---- the socket ----

  #upgrade(request: IncomingMessage, stream: Duplex, head: Buffer) {
    stream.on('error', () => stream.destroy())
    const refuse = (status: number) =>
      stream.end(`HTTP/1.1 ${status} Refused\r\nX-Nightshift: shared\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`)
    try {
      const key = this.#enter(request)
      const wanted = this.#wanted(request)
      if (wanted?.route !== 'ws') throw new AppError('share.refused', { reason: 'only the socket is one' })
      const { place, search } = wanted
      if (!place.address) throw new AppError('share.not-running', { id: place.id })
      const clientId = search.get('clientId')
      const path = clientId === null ? 'ws' : `ws?clientId=${encodeURIComponent(clientId)}`
      passUpgrade(request, stream, head, place.address, path, () => refuse(502))
      this.#sockets.set(stream, key)
      stream.on('close', () => this.#sockets.delete(stream))
    } catch (cause) {
      refuse(statusOf(toFailure(cause).code))
    }
  }

  // ---- helpers ----

  async #ask(
    { address }: { address: ComfyAddress },
    path: string,
    options: { method: 'GET' | 'HEAD' | 'POST'; headers: Record<string, string>; body?: string | FormData },
  ) {
    const { url, header } = address
    const headers = { ...options.headers, ...(header && { [header.name]: header.value }) }
    return request(new URL(path, url), { ...options, headers, dispatcher: this.#agent }).catch((cause) => {
      throw new AppError('worker.unreachable', { url: 'ComfyUI', reason: (cause as Error).message }, { cause })
    })
  }

  async #read({ place, route }: Asked): Promise<{ status: number; said: Json }> {
    const reply = await this.#ask(place, route, { method: 'GET', headers: {} })
    const bytes = await bytesWithin(reply, REPLY_LIMIT_BYTES)
    return { status: reply.statusCode, said: parseJson(bytes.toString('utf8')) }
  }

  #owns({ place, key }: Asked, what: string) {
    return this.#owners.get(markOf(place, what)) === key
  }
  #remember(place: Place, what: string, key: string) {
    this.#owners.set(markOf(place, what), key)
    if (this.#owners.size > MOST_REMEMBERED) this.#owners.delete(this.#owners.keys().next().value!)
  }

  #failed(reply: ServerResponse, cause: unknown) {
    if (reply.headersSent) return void reply.destroy()
    const failure = toFailure(cause)
    if (failure.code === 'app.internal') this.#options.log?.('share.failed', { reason: failure.message })
    const { code, message, remedy } = failure
    if (!reply.writableEnded)
      json(reply, statusOf(code), { error: { type: code, message, details: remedy, extra_info: {} } })
  }
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i
const markOf = ({ id }: Place, what: string) => `${id}\0${what}`
const fileMark = ({ filename, subfolder, type }: FileReference) => `${type}\0${subfolder}\0${filename}`

function statusOf(code: string): number {
  if (code === 'share.no-key') return 401
  if (code === 'share.too-many') return 429
  if (code === 'share.refused') return 403
  if (code === 'share.not-running') return 503
  if (code === 'app.not-found') return 404
  if (code === 'app.too-large') return 413
  return code === 'app.bad-request' ? 400 : 502
}

function decoded(text: string): string | null {
  try {
    return decodeURIComponent(text)
  } catch {
    return null
  }
}

function parsed(text: string): Record<string, Json> {
  try {
    const said = parseJson(text)
    if (isJsonObject(said)) return said
  } catch {}
  throw new AppError('app.bad-request', { reason: 'the body is no JSON object' })
}
