import { randomBytes } from 'node:crypto'
import {
  createServer,
  request as httpRequest,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http'
import { request as httpsRequest } from 'node:https'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'
import { AppError } from '../../contract/errors.ts'
import { writeJson } from '../../contract/json.ts'
import type { ComfyAddress } from './address.ts'

/** A file for the editor to open, as if it was dropped there: a workflow or a prompt, as JSON. */
export interface EditorFile {
  readonly name: string
  readonly json: string
}
interface Options {
  address: ComfyAddress
  /** Where to listen; a `port` that is taken gives way to any other. */
  host: string
  port: number
  /** Said in the page when the editor does not come up, and to who comes without a ticket. */
  words: () => { notOpened: string; noEntry: string }
}

const OWN = '/nightshift/'
const COOKIE = 'nightshift-editor'
const TICKET_LASTS_MS = 120_000
const MOST_FILES = 20
/** Between one hop and the next, and what only concerns us and the browser: cookies of other ports are among them. */
const KEPT_BACK = new Set(
  'connection keep-alive proxy-authenticate proxy-authorization te trailer transfer-encoding upgrade host cookie set-cookie referer origin authorization'.split(
    ' ',
  ),
)

/**
 * The editor that a ComfyUI serves, on a port of its own on this machine: what runs there is another origin than ours,
 * our session is never sent on, and the header that the server wants is added. Who comes with a ticket may stay.
 */
export class EditorProxy {
  readonly #options: Options
  readonly #files = new Map<string, EditorFile>()
  readonly #tickets = new Map<string, NodeJS.Timeout>()
  readonly #session = randomBytes(32).toString('base64url')
  readonly #streams = new Set<Duplex>()
  #server: Server | undefined

  constructor(options: Options) {
    this.#options = options
  }

  get port(): number {
    return (this.#server?.address() as AddressInfo | null)?.port ?? 0
  }

  /** @throws AppError 'app.port-refused' */
  async start() {
    const { host, port } = this.#options
    const server = createServer((request, reply) => void this.#answer(request, reply))
    server.on('upgrade', (request, stream, head) => this.#upgrade(request, stream, head))
    server.on('connection', (stream) => {
      this.#streams.add(stream)
      stream.on('close', () => this.#streams.delete(stream))
    })
    this.#server = server
    const listen = (port: number) =>
      new Promise<void>((resolve, reject) => {
        server.once('error', reject)
        server.listen(port, host, () => {
          server.off('error', reject)
          resolve()
        })
      })
    await listen(port)
      .catch(() => listen(0))
      .catch((cause: NodeJS.ErrnoException) => {
        throw new AppError('app.port-refused', { host, port: 0, reason: cause.code ?? cause.message }, { cause })
      })
  }

  async stop() {
    for (const timer of this.#tickets.values()) clearTimeout(timer)
    for (const stream of this.#streams) stream.destroy()
    const server = this.#server
    this.#server = undefined
    if (server?.listening) await new Promise((resolve) => server.close(resolve))
  }

  /** The path, on this port, that opens the editor, with the file if there is one; it enters once, within two minutes. */
  open(file: EditorFile | null): string {
    const opens = file === null ? '' : `&open=${this.#keepFile(file)}`
    const ticket = randomBytes(32).toString('base64url')
    this.#tickets.set(ticket, setTimeout(() => this.#tickets.delete(ticket), TICKET_LASTS_MS).unref())
    return `${OWN}enter?ticket=${ticket}${opens}`
  }

  #keepFile(file: EditorFile): string {
    const id = randomBytes(9).toString('base64url')
    this.#files.set(id, file)
    for (const oldest of this.#files.keys()) {
      if (this.#files.size <= MOST_FILES) break
      this.#files.delete(oldest)
    }
    return id
  }

  async #answer(request: IncomingMessage, reply: ServerResponse) {
    const { pathname, searchParams } = new URL(request.url ?? '/', 'http://here')
    reply.setHeader('x-frame-options', 'SAMEORIGIN')
    if (pathname === `${OWN}enter` && request.method === 'GET') return this.#enter(request, reply, searchParams)
    if (!this.#mayPass(request)) return this.#refuse(reply)
    if (pathname.startsWith(OWN)) return this.#own(pathname.slice(OWN.length), reply)
    const opens = pathname === '/' && request.method === 'GET' && searchParams.has('nightshift')
    const upstream = this.#ask(request, opens ? { 'accept-encoding': 'identity' } : {})
    upstream.on('error', (cause) => this.#failed(reply, cause))
    upstream.on('response', (response) => {
      reply.writeHead(response.statusCode ?? 502, passedOn(response.headers, opens ? ['content-length', 'etag'] : []))
      if (!opens) return void response.pipe(reply)
      let page = ''
      response.setEncoding('utf8')
      response.on('data', (part: string) => (page += part))
      response.on('end', () => reply.end(page.replace(/<\/head>/i, `<script src="${OWN}open.js" defer></script>$&`)))
    })
    request.pipe(upstream)
    reply.on('close', () => upstream.destroy())
  }

  #enter(request: IncomingMessage, reply: ServerResponse, asked: URLSearchParams) {
    const ticket = asked.get('ticket') ?? ''
    clearTimeout(this.#tickets.get(ticket))
    if (!this.#tickets.delete(ticket) && !this.#hasSession(request)) return this.#refuse(reply)
    const file = asked.get('open')
    reply.writeHead(302, {
      location: file === null ? '/' : `/?nightshift=${encodeURIComponent(file)}`,
      'set-cookie': `${COOKIE}-${this.port}=${this.#session}; HttpOnly; SameSite=Strict; Path=/`,
      'cache-control': 'no-store',
    })
    reply.end()
  }

  #own(path: string, reply: ServerResponse) {
    const file = path.startsWith('file/') ? this.#files.get(path.slice('file/'.length)) : undefined
    const { notOpened } = this.#options.words()
    if (path === 'open.js')
      reply
        .writeHead(200, { 'content-type': 'text/javascript; charset=utf-8', 'cache-control': 'no-store' })
        .end(OPENER)
    else if (path.startsWith('file/')) {
      reply.writeHead(file ? 200 : 404, { 'content-type': 'application/json', 'cache-control': 'no-store' })
      reply.end(writeJson({ notOpened, name: file?.name ?? null, json: file?.json ?? null }))
    } else reply.writeHead(404).end()
  }

  #upgrade(request: IncomingMessage, stream: Duplex, head: Buffer) {
    stream.on('error', () => stream.destroy())
    if (!this.#mayPass(request) || request.headers.origin === undefined)
      return void stream.end('HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: 0\r\n\r\n')
    const upstream = this.#ask(request, { connection: 'Upgrade', upgrade: 'websocket' })
    const failed = () => stream.end('HTTP/1.1 502 Bad Gateway\r\nConnection: close\r\nContent-Length: 0\r\n\r\n')
    upstream.on('error', failed)
    upstream.on('response', failed)
    upstream.on('upgrade', (response, other, first) => {
      const headers = Object.entries({
        ...passedOn(response.headers),
        connection: 'Upgrade',
        upgrade: 'websocket',
      }).map(([name, value]) => `${name}: ${value}\r\n`)
      stream.write(`HTTP/1.1 101 Switching Protocols\r\n${headers.join('')}\r\n`)
      stream.write(first)
      other.write(head)
      other.on('error', () => stream.destroy())
      other.on('close', () => stream.destroy())
      stream.on('close', () => other.destroy())
      other.pipe(stream).pipe(other)
    })
    upstream.end()
  }

  #ask(request: IncomingMessage, more: Record<string, string>) {
    const { url, header } = this.#options.address
    const target = new URL(url.replace(/\/$/, '') + (request.url ?? '/'))
    const headers: Record<string, unknown> = { ...passedOn(request.headers), ...more, host: target.host }
    if (request.headers.origin !== undefined) headers.origin = target.origin
    if (header) headers[header.name.toLowerCase()] = header.value
    const ask = target.protocol === 'https:' ? httpsRequest : httpRequest
    return ask(target, { method: request.method, headers: headers as Record<string, string> })
  }

  #hasSession({ headers }: IncomingMessage): boolean {
    const wanted = `${COOKIE}-${this.port}=${this.#session}`
    return (headers.cookie ?? '').split(';').some((pair) => pair.trim() === wanted)
  }

  /** Its own page asks, or a person navigates; another page on this machine may not. */
  #mayPass(request: IncomingMessage): boolean {
    const { origin, host, 'sec-fetch-site': site, 'sec-fetch-mode': mode } = request.headers
    const navigates = request.method === 'GET' && mode === 'navigate'
    if (site !== undefined && site !== 'same-origin' && site !== 'none' && !navigates) return false
    if (origin !== undefined && origin !== `http://${host}`) return false
    return this.#hasSession(request)
  }

  #refuse(reply: ServerResponse) {
    reply.writeHead(403, { 'content-type': 'text/plain; charset=utf-8' }).end(this.#options.words().noEntry)
  }

  #failed(reply: ServerResponse, cause: Error) {
    if (reply.headersSent) return void reply.destroy()
    const { message } = new AppError('worker.unreachable', { url: this.#options.address.url, reason: cause.message })
    reply.writeHead(502, { 'content-type': 'text/plain; charset=utf-8' }).end(message)
  }
}

function passedOn(headers: IncomingHttpHeaders, without: readonly string[] = []) {
  const passed = Object.entries(headers).filter(
    ([name, value]) => value !== undefined && !KEPT_BACK.has(name) && !without.includes(name),
  )
  return Object.fromEntries(passed) as Record<string, string | string[]>
}

/**
 * Runs in the editor's page: gives the file to the editor, as a drop would, once it has drawn its own. It opens beside
 * what was open. `vueAppReady` and the spinner are there since frontend 1.20 at least (looked at in 1.27.10 and 1.49.6).
 */
const OPENER = `(async () => {
  const id = new URLSearchParams(location.search).get('nightshift')
  const { name, json, notOpened } = await (await fetch('${OWN}file/' + id)).json()
  try {
    if (json === null) throw new Error('no file ' + id)
    for (let looks = 0; !(window.app?.vueAppReady && window.app.extensionManager?.spinner === false); looks += 1) {
      if (looks === 600) throw new Error('the editor did not start')
      await new Promise((done) => setTimeout(done, 100))
    }
    await window.app.handleFile(new File([json], name + '.json', { type: 'application/json' }))
    const address = new URL(location.href)
    address.searchParams.delete('nightshift')
    history.replaceState(history.state, '', address)
    document.documentElement.dataset.nightshift = 'opened'
  } catch (cause) {
    console.error(cause)
    alert(notOpened)
  }
})()
`
