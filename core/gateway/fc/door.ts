import { createHash, randomUUID } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type Duplex, Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { setTimeout as pause } from 'node:timers/promises'
import { type WebSocket, WebSocketServer } from 'ws'
import { isOver, type Task, TaskState } from '../../contract/agent.ts'
import type { Values } from '../../contract/batch.ts'
import { AppError, type Failure, toFailure } from '../../contract/errors.ts'
import { isJsonObject, type Json, type JsonObject, tryJson, writeJson } from '../../contract/json.ts'
import type { KeyScope } from '../../contract/key.ts'
import type { PublishedWorkflow } from '../../contract/release.ts'
import { fillPublished, formOf } from '../../domain/workflow/published.ts'
import type { ComfyAddress } from '../../engine/comfy/address.ts'
import { ComfyClient } from '../../engine/comfy/client.ts'
import { type Caller, type Callers, checkBody, checkSignature, keyIdOf, Nonces } from '../callers.ts'
import { isOurHost, reachableAs } from '../guard.ts'
import { metricsText } from '../metrics.ts'
import { Rate } from '../rate.ts'
import { bytesOf, json, listen, passUpgrade } from '../wire.ts'
import { type Asked, type DoorRoute, parsed, UPLOAD_LIMIT_BYTES } from './asked.ts'
import { isBehind, kindOf, RETRY, statusOf, toldOf } from './failures.ts'
import { hasInput, isInputName, keepInput } from './inputs.ts'
import { Links } from './links.ts'
import { Passing } from './passing.ts'
import { progressMap, seedsHeader } from './progress.ts'
import { type ComfyRunner, told } from './runner.ts'
import type { TaskStore } from './tasks.ts'
import { Webhooks } from './webhooks.ts'

export interface DoorOptions {
  readonly host: string
  readonly port: number
  /** What else this agent is called by those who come, as behind a balancer. */
  readonly names: readonly string[]
  /** Pages of these origins may call. */
  readonly origins: readonly string[]
  readonly callers: Callers
  /** What else is served here, each below its prefix. */
  readonly routes?: readonly DoorRoute[]
  /** Sets a mark that was not there: true once, wherever it is asked; without it, once here. */
  readonly once?: (mark: string) => Promise<boolean>
  readonly runner: ComfyRunner
  /** The runner's. */
  readonly store: TaskStore
  readonly address: () => ComfyAddress
  /** What was published here, under names. */
  readonly workflows?: () => readonly PublishedWorkflow[] | Promise<readonly PublishedWorkflow[]>
  /** A page for people, its files by path; needs no key itself. */
  readonly page?: (path: string) => Promise<{ bytes: Buffer; mediaType: string } | null>
  /** Why tasks are not taken now; null: they are. */
  readonly ready: () => Promise<{ phase: string } | null>
  /** What runs here, and how long it took to get there. */
  readonly snapshot?: () => SnapshotFacts
  /** What it runs on is a person's own, with more in it than what came this way: only what its nodes are is told. */
  readonly own?: boolean
  /** It runs as a function: whatever calls it at /invoke, /initialize and /pre-stop is the platform itself. */
  readonly managed?: boolean
  /** So many requests of a key at once, and so many a second over time. */
  readonly mostAtOnce?: number
  readonly perSecond?: number
  /** Epoch ms. */
  readonly now: () => number
  readonly log?: (event: string, facts: JsonObject) => void
  readonly limitBytes?: number
  /** Hosts that webhooks may lead to besides the internet. */
  readonly webhookHosts?: readonly string[]
  /** For tests: which addresses webhooks may lead to. */
  readonly mayReach?: (address: string) => boolean
}
export interface SnapshotFacts {
  readonly id: string | null
  readonly version: number | null
  readonly phase: string
  /** Of each phase that is over. */
  readonly seconds: Readonly<Record<string, number>>
}
type Serve = (asked: Asked) => unknown

const BODY_LIMIT_BYTES = 64 * 2 ** 20
const PING_EVERY_MS = 30_000
const BODY_WITHIN_MS = 120_000
const MOST_WAIT_SECONDS = 300
const MOST_LISTED = 200
const MOST_LOOKED_THROUGH = 1_000
const INITIALIZE_WITHIN_MS = 300_000
const READY_EVERY_MS = 250
const WRITTEN_EVERY_MS = 20
const TELL_EVERY_MS = 500
const PAGE_RIGHTS = [
  "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; font-src 'self'; connect-src 'self'",
  "img-src 'self' blob: data: http: https:; media-src 'self' blob: http: https:",
  "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
].join('; ')

/** fc-comfyui's HTTP and socket API, and what may be asked of ComfyUI itself, over one port. */
export class FcDoor {
  readonly #options: DoorOptions
  readonly #links: Links
  readonly #webhooks: Webhooks
  readonly #stopped = new AbortController()
  readonly #failing: Rate
  readonly #byKey: Rate
  readonly #runs = new Map<number, Rate>()
  readonly #answered = new Map<number, number>()
  readonly #passing: Passing
  readonly #streams = new Set<Duplex>()
  readonly #sockets = new WebSocketServer({ noServer: true, maxPayload: BODY_LIMIT_BYTES, perMessageDeflate: false })
  #server: Server | undefined
  #beat: NodeJS.Timeout | undefined
  #closing = false

  constructor(options: DoorOptions) {
    this.#options = options
    const { store, now, log, mayReach, webhookHosts: hosts } = options
    this.#links = new Links(store, now)
    const { address, own = false } = options
    this.#passing = new Passing({ address, own, text: this.#text })
    this.#webhooks = new Webhooks({ store, links: this.#links, now, mayReach, hosts, log })
    this.#failing = new Rate(20, 0.5, options.now)
    this.#byKey = new Rate(options.mostAtOnce ?? 2_000, options.perSecond ?? 200, options.now)
  }

  get url(): string {
    const port = (this.#server?.address() as AddressInfo | null)?.port ?? 0
    return `http://${reachableAs(this.#options.host)}:${port}`
  }

  /** @throws AppError 'app.port-in-use' | 'app.port-refused' */
  async start() {
    const { host, port } = this.#options
    const server = createServer({ requestTimeout: 3_600_000, headersTimeout: 20_000 }, (asked, reply) => {
      void this.#answer(asked, reply)
    })
    server.maxConnections = 2_000
    server.on('upgrade', (asked, stream, head) => void this.#upgrade(asked, stream, head))
    server.on('connection', (stream) => {
      this.#streams.add(stream)
      stream.on('close', () => this.#streams.delete(stream))
    })
    await listen(server, host, port)
    this.#server = server
    this.#beat = setInterval(() => this.#ping(), PING_EVERY_MS)
    this.#webhooks.start()
  }

  /** From now on it is not ready, so that nobody sends more. */
  close() {
    this.#closing = true
  }

  async stop() {
    this.#closing = true
    clearInterval(this.#beat)
    const server = this.#server
    this.#server = undefined
    if (server) {
      const closed = new Promise((resolve) => server.close(resolve))
      server.closeIdleConnections()
      const late = setTimeout(() => this.#cut(), 1_000) // answers just given are on their way
      for (const socket of this.#sockets.clients) socket.close(1001)
      await closed
      clearTimeout(late)
    }
    this.#stopped.abort()
    await this.#webhooks.stop()
    await this.#passing.stop()
  }

  #cut() {
    for (const stream of this.#streams) stream.destroy()
  }

  // ---- who comes ----

  /** The origin to let in, if a page asks. @throws AppError */
  #origin({ headers, socket }: IncomingMessage): string | null {
    const { host, names, origins } = this.#options
    if (!isOurHost(headers.host ?? '', host, socket.localPort ?? 0, names))
      throw new AppError('agent.refused', { reason: 'the agent is not called so' })
    const { origin } = headers
    const site = headers['sec-fetch-site']
    if (origin === undefined) {
      if (site === undefined || site === 'none' || site === 'same-origin') return null
    } else if (origins.includes(origin)) return origin
    else if (URL.canParse(origin) && new URL(origin).host === headers.host) return null
    throw new AppError('agent.refused', { reason: 'this page may not ask the agent' })
  }

  /** By its key, or by what it signed with its key. @throws AppError */
  async #enter({ headers, socket, method = 'GET', url = '/' }: IncomingMessage) {
    const { callers, once, now, log } = this.#options
    const [, bearer] = /^Bearer ([\x21-\x7e]{1,500})$/i.exec(headers.authorization ?? '') ?? []
    const key = bearer ?? headers['x-api-key']
    const id = headers['x-key-id']
    const signing =
      typeof key === 'string'
        ? { key, caller: callers.enter(key) }
        : typeof id === 'string'
          ? callers.signing?.(id)
          : undefined
    const signed = headers['x-signature'] !== undefined
    if (!signing?.caller || (key === undefined && !signed)) {
      const from = socket.remoteAddress ?? ''
      const seconds = this.#failing.wait(from)
      if (seconds > 0) throw new AppError('agent.too-many', { seconds })
      log?.('door.refused', { from })
      throw new AppError('agent.no-key')
    }
    const { caller } = signing
    if (!signed) return { caller, bodySha256: null }
    const { nonce, bodySha256 } = checkSignature(signing.key, method, url, headers, now())
    const mark = `nonce ${keyIdOf(signing.key)} ${nonce}`
    if (!this.#nonces.take(mark, now()) || !(await (once?.(mark) ?? true)))
      throw new AppError('agent.refused', { reason: 'this signature has been used already' })
    return { caller, bodySha256 }
  }
  readonly #nonces = new Nonces()

  /** Whether it may, and has not done so too often. @throws AppError 'agent.refused' | 'agent.too-many' */
  #may({ id, scopes }: Caller, scope: KeyScope) {
    if (!scopes.includes(scope))
      throw new AppError('agent.refused', { reason: `this key does not open ${scope}`, scope })
    const seconds = this.#byKey.wait(id)
    if (seconds > 0) throw new AppError('agent.too-many', { seconds })
  }

  #maySend({ id, perMinute }: Caller) {
    if (perMinute === undefined) return
    const rate = this.#runs.get(perMinute) ?? new Rate(perMinute, perMinute / 60, this.#options.now)
    this.#runs.set(perMinute, rate)
    const seconds = rate.wait(id)
    if (seconds > 0) throw new AppError('agent.too-many', { seconds })
  }

  // ---- HTTP ----

  async #answer(request: IncomingMessage, reply: ServerResponse) {
    const { headers, url = '/', method = 'GET' } = request
    const requestId = requestIdOf(headers['x-fc-request-id'])
    const [path = '', query = ''] = url.split('?', 2)
    const before = {
      method,
      path,
      route: routeIn(path),
      search: new URLSearchParams(query),
      headers,
      request,
      reply,
      requestId,
      body: (limitBytes: number) => inTime(bytesOf(request, limitBytes)),
      caller: NOBODY,
    }
    let asked: Asked = before
    request.on('error', () => {}) // it left; the reply is closed with it
    reply.setHeader('x-fc-request-id', requestId)
    reply.setHeader('x-content-type-options', 'nosniff')
    reply.setHeader('cache-control', 'no-store')
    reply.setHeader('content-security-policy', "default-src 'none'; sandbox")
    try {
      reply.on('finish', () => {
        const { statusCode } = reply
        this.#answered.set(statusCode, (this.#answered.get(statusCode) ?? 0) + 1)
      })
      const page = method === 'GET' || method === 'HEAD' ? await this.#options.page?.(path) : null
      if (page) return this.#page(asked, page)
      const health = HEALTH[path]
      if (health && (method === 'GET' || method === 'HEAD')) return await this.#health(asked, health)
      const hook = method === 'POST' || method === HOOK_METHOD[path] ? this.#hooks[path] : undefined
      if (hook && this.#options.managed && headers['x-fc-control-path'] === path)
        return await hook({ ...asked, caller: PLATFORM })
      if (path === '/api/result' && asked.search.has('signature') && (method === 'GET' || method === 'HEAD')) {
        await this.#links.check(asked.search) // whoever has it needs nothing else, from whatever page
        reply.setHeader('access-control-allow-origin', '*')
        return await this.#result({ ...asked, caller: LINK })
      }
      const origin = this.#origin(request)
      if (origin !== null) letIn(reply, origin)
      if (method === 'OPTIONS') return void reply.writeHead(204).end()
      const { caller, bodySha256 } = await this.#enter(request)
      asked = { ...before, caller }
      if (bodySha256 !== null) {
        const body = async (limitBytes: number) => {
          const bytes = await before.body(limitBytes)
          checkBody(bytes, bodySha256)
          return bytes
        }
        asked = { ...asked, body }
      }
      const mounted = this.#options.routes?.find(({ prefix }) => path === prefix || path.startsWith(`${prefix}/`))
      if (mounted && CLEAN.test(path)) {
        this.#may(caller, mounted.scope)
        return await mounted.serve(asked)
      }
      if (hook) {
        this.#may(caller, path === '/pre-stop' ? 'publish' : 'run')
        return await hook(asked)
      }
      this.#may(caller, 'run')
      await this.#serve(asked)
    } catch (cause) {
      this.#fail(asked, cause)
    }
  }

  async #serve(asked: Asked) {
    const { path, route, method, reply } = asked
    const own = path.startsWith('/api/') ? this.#own[route.replace(/^(inputs|workflows)\/.*/, '$1')] : undefined
    if (own) {
      if (own.methods.includes(method)) return void (await own.serve(asked))
      reply.setHeader('allow', own.methods.join(', '))
      return this.#fail(asked, new AppError('app.bad-request', { reason: `${method} is not for ${path}` }), 405)
    }
    if (path === '/metrics' && method === 'GET') return this.#metrics(asked)
    if (!CLEAN.test(path)) throw new AppError('agent.refused', { reason: path.slice(0, 100) })
    await this.#passing.serve(asked)
  }

  readonly #own: Record<string, { methods: readonly string[]; serve: Serve }> = {
    __proto__: null as never,
    run: { methods: ['POST'], serve: (asked) => this.#run(asked) },
    status: { methods: ['GET', 'HEAD', 'POST'], serve: (asked) => this.#status(asked) },
    result: { methods: ['GET', 'HEAD'], serve: (asked) => this.#result(asked) },
    cancel: { methods: ['POST', 'DELETE'], serve: (asked) => this.#cancel(asked) },
    webhook: { methods: ['GET', 'HEAD', 'POST'], serve: (asked) => this.#webhook(asked) },
    inputs: { methods: ['GET', 'HEAD', 'PUT'], serve: (asked) => this.#inputs(asked) },
    workflows: { methods: ['GET', 'HEAD', 'POST'], serve: (asked) => this.#workflows(asked) },
    tasks: { methods: ['GET', 'HEAD'], serve: (asked) => this.#tasks(asked) },
    snapshot: { methods: ['GET', 'HEAD'], serve: (asked) => this.#snapshot(asked) },
  }

  /** How a platform that runs it as a function speaks to it. */
  readonly #hooks: Record<string, (asked: Asked) => Promise<unknown>> = {
    __proto__: null as never,
    '/invoke': (asked) => this.#invoke(asked),
    '/initialize': (asked) => this.#initialize(asked),
    '/pre-stop': (asked) => this.#preStop(asked),
  }

  /** An event: a request as JSON `{ path, method, headers, body }`, or a workflow alone. */
  async #invoke(asked: Asked) {
    const event = parsed(await this.#text(asked))
    const { path: way, method = 'POST', headers = {}, body } = isJsonObject(event) ? event : {}
    const whole = typeof way === 'string' && way.startsWith('/')
    const said = whole ? (body ?? '') : event
    const text = Buffer.from(typeof said === 'string' ? said : writeJson(said))
    const [path = '', query = ''] = (whole ? way : '/api/run').split('?', 2)
    const given = Object.entries(isJsonObject(headers) ? headers : {}).flatMap(([name, value]) =>
      typeof value === 'string' && !/[\r\n]/.test(value) ? [[name.toLowerCase(), value]] : [],
    )
    const { 'task-id': taskId, 'x-fc-async-task-id': asyncId } = asked.headers
    const inner: Asked = {
      ...asked,
      method: whole && typeof method === 'string' ? method.toUpperCase() : 'POST',
      path,
      route: routeIn(path),
      search: new URLSearchParams(query),
      headers: { ...((taskId ?? asyncId) && { 'task-id': taskId ?? asyncId }), ...Object.fromEntries(given) },
      body: async () => text,
    }
    if (!CLEAN.test(path)) throw new AppError('agent.refused', { reason: path.slice(0, 100) })
    await this.#serve(inner)
  }

  /** Once what runs here is ready. */
  async #initialize({ reply, request }: Asked) {
    request.resume()
    const left = new AbortController()
    reply.on('close', () => left.abort())
    const signal = AbortSignal.any([left.signal, AbortSignal.timeout(INITIALIZE_WITHIN_MS)])
    let phase = await this.#options.ready()
    while (phase && !signal.aborted) {
      await pause(READY_EVERY_MS, undefined, { signal }).catch(() => {})
      phase = await this.#options.ready()
    }
    json(reply, phase ? 503 : 200, { ok: phase === null, ...phase })
  }

  /** Takes nothing more; answers once what runs has ended, and what waits is left to others. */
  async #preStop({ reply, request }: Asked) {
    request.resume()
    this.close()
    await this.#options.runner.stop()
    json(reply, 200, { ok: true })
  }

  /** Of this key; with one that may publish, of all. */
  async #tasks({ reply, search, caller }: Asked) {
    const { runner, store } = this.#options
    const limit = Math.min(MOST_LISTED, Number(/^\d{1,4}$/.exec(search.get('limit') ?? '')?.[0] ?? 50))
    const wanted = search.get('state')
    const all = caller.scopes.includes('publish')
    const state = wanted === null ? null : TaskState.safeParse(wanted)
    if (state && !state.success)
      throw new AppError('app.bad-request', { reason: `state is one of ${TaskState.options.join(', ')}` })
    const kept = await store.recent(all && !state ? limit : MOST_LOOKED_THROUGH)
    const byId = new Map([...kept, ...runner.tasks].map((task) => [task.id, task]))
    const rows = [...byId.values()]
      .filter((task) => (all || task.owner === caller.id) && (!state || task.state === state.data))
      .toSorted((a, b) => b.createdAt - a.createdAt)
      .slice(0, limit)
      .map(({ id, state, createdAt, updatedAt, queuePosition, release, failure }) => ({
        id,
        state,
        createdAt,
        updatedAt,
        queuePosition,
        release,
        error: failure && { type: failure.code, message: toldOf(failure).message },
      }))
    json(reply, 200, { rows, ...runner.counts })
  }

  async #snapshot({ reply }: Asked) {
    const { snapshot, ready } = this.#options
    const now = await ready()
    json(reply, 200, snapshot?.() ?? { id: null, version: null, phase: now?.phase ?? 'ready', seconds: {} })
  }

  /** As Prometheus reads it. */
  async #metrics({ reply }: Asked) {
    const { runner, ready, snapshot } = this.#options
    const { succeeded, failed, cancelled, seconds, within } = runner.ended
    const { running, waiting } = runner.counts
    const phase = await ready()
    const devices = phase ? [] : (await Promise.all(runner.places.map(devicesOf))).flat()
    const text = metricsText({
      ready: [{ value: phase || this.#closing ? 0 : 1 }],
      tasks: [
        { value: running, state: 'running' },
        { value: waiting, state: 'queued' },
      ],
      tasks_total: Object.entries({ succeeded, failed, cancelled }).map(([state, value]) => ({ value, state })),
      task_seconds_bucket: [
        ...[...within].map(([le, value]) => ({ value, le: String(le) })),
        { value: succeeded, le: '+Inf' },
      ],
      task_seconds_sum: [{ value: seconds }],
      task_seconds_count: [{ value: succeeded }],
      requests_total: [...this.#answered].map(([status, value]) => ({ value, status: String(status) })),
      start_phase_seconds: Object.entries(snapshot?.().seconds ?? {}).map(([name, value]) => ({ value, phase: name })),
      vram_bytes: devices.map(({ comfyui, name, vram_total: value }) => ({ value, comfyui, device: name })),
      vram_free_bytes: devices.map(({ comfyui, name, vram_free: value }) => ({ value, comfyui, device: name })),
      memory_bytes: [{ value: process.memoryUsage.rss() }],
    })
    reply.writeHead(200, { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' }).end(text)
  }

  /** With rights of a page's own: its scripts, and what it shows. */
  #page({ reply, method }: Asked, { bytes, mediaType }: { bytes: Buffer; mediaType: string }) {
    reply.setHeader('content-security-policy', PAGE_RIGHTS)
    reply.setHeader('referrer-policy', 'no-referrer')
    reply.writeHead(200, { 'content-type': mediaType, 'content-length': bytes.length })
    reply.end(method === 'HEAD' ? undefined : bytes)
  }

  /** What was published here; one by its name is run like any workflow, by the values of its form. */
  async #workflows(asked: Asked) {
    const { route, method, reply } = asked
    if (method === 'POST') return this.#run(asked)
    const all = (await this.#options.workflows?.()) ?? []
    const told = all.map((workflow) => ({
      id: workflow.id,
      name: workflow.name,
      panel: formOf(workflow),
      parameters: workflow.parameters,
    }))
    const [, id] = /^workflows\/([^/]+)$/.exec(route) ?? []
    if (id === undefined) return json(reply, 200, { workflows: told })
    const found = told.find((workflow) => workflow.id === id)
    if (!found) throw new AppError('app.not-found', { what: id })
    json(reply, 200, found)
  }

  /** @throws AppError 'app.not-found' | 'app.bad-request' | 'agent.bad-value' */
  async #filled({ route }: Asked, text: string, taskId: string): Promise<Json> {
    const id = route.slice('workflows/'.length)
    const workflow = (await this.#options.workflows?.())?.find((each) => each.id === id)
    if (!workflow) throw new AppError('app.not-found', { what: id })
    const chance = createHash('sha256').update(taskId).digest().readUInt32BE() // asked twice, it is the same task
    const said = text.trim() === '' ? { values: {} } : parsed(text)
    const given = isJsonObject(said) && isJsonObject(said.values) ? said.values : null
    if (!given) throw new AppError('app.bad-request', { reason: 'the body is {"values": {FIELD: value}}' })
    const { prompt, faults, unknown, fields } = fillPublished(workflow, given as Values, chance)
    if (unknown[0] !== undefined)
      throw new AppError('app.bad-request', {
        reason: `the form has no field ${unknown[0].slice(0, 100)}; it has ${fields.join(', ')}`,
      })
    const [fault] = faults
    if (fault)
      throw new AppError('agent.bad-value', {
        field: fault.title,
        reason: fault.reason,
        faults: faults as unknown as Json,
      })
    return prompt as unknown as Json
  }

  async #run(asked: Asked) {
    const { headers, reply, search, caller } = asked
    const wish = `${headers['x-fc-invocation-type'] ?? ''}, ${headers.prefer ?? ''}`
    const background = /^async\b|(?:^|[,\s])respond-async\b/i.test(wish)
    const id = taskIdOf(headers['task-id'] ?? headers['x-fc-async-task-id'])
    const text = await this.#text(asked)
    const published = asked.route.startsWith('workflows/')
    const workflow = published ? await this.#filled(asked, text, id) : parsed(text)
    reply.setHeader('task-id', id)
    this.#maySend(caller)
    const webhook = headers.webhook ?? search.get('webhook')
    if (typeof webhook === 'string') await this.#webhooks.owe(id, webhook, caller.id, baseOf(asked))
    const sent = { release: releaseOf(asked), owner: caller.id }
    const task = await this.#options.runner.submit(id, workflow, sent).catch(async (cause) => {
      if (typeof webhook === 'string') await this.#webhooks.drop(id)
      throw cause
    })
    if (!mayHave(caller, task)) throw new AppError('agent.task-differs', { id })
    if (typeof webhook === 'string') this.#tellWhenOver(id)
    const seeds = seedsHeader(task.seeds)
    if (seeds !== null) reply.setHeader('x-comfy-seeds', seeds)
    if (background) {
      reply.setHeader('location', `/api/status?${new URLSearchParams({ id })}`)
      if (headers.prefer) reply.setHeader('preference-applied', 'respond-async')
      return json(reply, 202, { taskId: id })
    }
    const left = new AbortController()
    reply.on('close', () => left.abort())
    const ended = await this.#options.runner.result(id, left.signal).catch((cause: unknown) => {
      if (left.signal.aborted) return null // it left; the task goes on
      throw cause
    })
    if (!ended) return
    if (ended.state === 'succeeded' || search.get('legacyStatus') === '1') return this.#results(asked, ended)
    this.#fail(asked, ended)
  }

  /** The map of what is over, with its pictures in it or, `?results=links&seconds=3600`, with links that need no key. */
  async #results(asked: Asked, task: Task) {
    if (!wantsLinks(asked)) return this.#whole(task, asked.reply, asked.search.get('legacyBase64') === '1')
    json(asked.reply, 200, progressMap(await this.#linked(asked, task)))
  }
  async #linked(asked: Asked, task: Task): Promise<Task> {
    if (!wantsLinks(asked)) return task
    const seconds = Number(/^\d{1,7}$/.exec(asked.search.get('seconds') ?? '')?.[0] ?? LINK_SECONDS)
    return this.#links.withLinks(task, seconds, baseOf(asked))
  }

  #tellWhenOver(id: string) {
    const { runner, store } = this.#options
    const { signal } = this.#stopped
    const tell = async () => {
      await runner.result(id, signal)
      // whoever tells it reads it there
      for (let tries = 0; tries < 100 && !isOver((await store.get(id))?.state ?? 'queued'); tries++)
        await pause(WRITTEN_EVERY_MS, undefined, { signal })
      this.#webhooks.look(id)
    }
    tell().catch(() => {}) // it is looked after all the same, only later
  }

  /** What the caller's webhooks are signed with; of a task, how far telling has come, and once more with POST. */
  async #webhook(asked: Asked) {
    const { reply, request, caller, search, method } = asked
    request.resume()
    if (!search.has('id') && method !== 'POST')
      return json(reply, 200, { secret: await this.#webhooks.secretOf(caller.id) })
    const { id } = await this.#known(asked)
    const hook = await this.#options.store.hook(id)
    if (!hook) throw new AppError('app.not-found', { what: id })
    const { url, tries, nextAt, toldAt, reason } = method === 'POST' ? await this.#webhooks.again(id) : hook
    json(reply, 200, { id, url, tries, nextAt, toldAt, reason })
  }

  /** Of this key, or of any for one that may publish; of others nobody learns that there is one. */
  async #known({ search, caller }: Asked): Promise<Task> {
    const id = taskIdOf(search.get('id') ?? '')
    const task = await this.#options.runner.status(id)
    if (!task || !mayHave(caller, task)) throw new AppError('agent.no-task', { id })
    return task
  }

  /** `?wait=20`: as soon as something moves, and at the latest after so many seconds. */
  async #status(asked: Asked) {
    const { request, reply, search } = asked
    request.resume()
    let task = await this.#known(asked)
    const seconds = Math.min(MOST_WAIT_SECONDS, Number(/^\d{1,5}$/.exec(search.get('wait') ?? '')?.[0] ?? 0))
    if (seconds > 0 && !isOver(task.state)) {
      const left = new AbortController()
      reply.on('close', () => left.abort())
      const signal = AbortSignal.any([left.signal, AbortSignal.timeout(seconds * 1000)])
      const begun = performance.now()
      task = (await this.#options.runner.moved(task.id, signal)) ?? task
      // what moves often is told a few times a second
      const early = TELL_EVERY_MS - (performance.now() - begun)
      if (early > 0 && !isOver(task.state)) {
        const soon = AbortSignal.any([signal, AbortSignal.timeout(Math.ceil(early))])
        await this.#options.runner.result(task.id, soon).catch(() => {}) // its end is told at once
      }
      if (left.signal.aborted) return
      task = (await this.#options.runner.status(task.id)) ?? task
    }
    json(reply, 200, progressMap(await this.#linked(asked, task)))
  }

  /** Files for tasks to come, in the store that all its agents share. */
  async #inputs({ route, method, request, reply }: Asked) {
    const { store, now } = this.#options
    const name = route.slice('inputs/'.length)
    if (!isInputName(name))
      throw new AppError('app.bad-request', { reason: 'a file is called by its SHA-256 and its ending' })
    const there = await hasInput(store, name, now())
    if (method !== 'PUT') {
      if (!there) throw new AppError('app.not-found', { what: name })
      return json(reply, 200, { name, value: `store:${name}` })
    }
    if (there) request.resume()
    else await keepInput(store, name, request.iterator({ destroyOnReturn: false }), UPLOAD_LIMIT_BYTES)
    json(reply, there ? 200 : 201, { name, value: `store:${name}` })
  }

  /** The whole map with results, or one file. */
  async #result(asked: Asked) {
    const { search, reply, request } = asked
    const task = await this.#known(asked)
    const [node, index] = [search.get('node'), search.get('index')]
    if (node === null) {
      if (!isOver(task.state)) return json(reply, 202, progressMap(task))
      if (task.state !== 'succeeded') return this.#fail(asked, task)
      return this.#results(asked, task)
    }
    const file = task.files.find((each) => each.node === node && String(each.index) === (index ?? '0'))
    const bytes = file && (await this.#options.runner.file(task, file))
    if (!file || !bytes) throw new AppError('app.not-found', { what: `${node} ${index ?? '0'}`.slice(0, 100) })
    reply.setHeader(
      'content-disposition',
      `attachment; filename*=UTF-8''${encodeURIComponent(file.name.toWellFormed())}`,
    )
    reply.writeHead(200, { 'content-type': file.mediaType, 'content-length': file.sizeBytes })
    if (request.method !== 'HEAD') return pipeline(bytes, reply).catch(() => reply.destroy())
    bytes.destroy()
    reply.end()
  }

  async #cancel(asked: Asked) {
    asked.request.resume()
    const { id } = await this.#known(asked)
    const task = await this.#options.runner.cancel(id)
    json(asked.reply, 200, { taskId: id, state: task?.state ?? 'cancelled' })
  }

  async #health({ reply }: Asked, which: 'alive' | 'ready' | 'ping') {
    const phase = which === 'alive' ? null : this.#closing ? { phase: 'stopping' } : await this.#options.ready()
    if (which === 'ping' && phase) return void reply.writeHead(204).end()
    json(reply, phase ? 503 : 200, { ok: phase === null, ...phase })
  }

  /** Its map, pictures in it, sent as they are read. */
  async #whole(task: Task, reply: ServerResponse, unpadded: boolean) {
    reply.writeHead(200, { 'content-type': 'application/json; charset=utf-8' })
    await pipeline(Readable.from(this.#pieces(task, unpadded)), reply).catch(() => reply.destroy())
  }
  async *#pieces(task: Task, unpadded: boolean) {
    let text = '{'
    for (const [node, entry] of Object.entries(progressMap(task))) {
      if (text !== '{') text = ','
      text += `${writeJson(node)}:${writeJson(entry)}`
      const pictures = task.files.filter((file) => file.node === node && file.key === 'images')
      if (pictures.length === 0) {
        yield text
        continue
      }
      yield `${text.slice(0, -1)},"results":[`
      for (const [at, file] of pictures.entries()) {
        yield at === 0 ? '"' : ',"'
        const bytes = await this.#options.runner.file(task, file)
        if (bytes) yield* base64(bytes, unpadded)
        yield '"'
      }
      yield ']}'
    }
    yield '}'
  }

  /** `failed`: a task that did not succeed, or what was thrown. */
  #fail({ reply, request, requestId }: Asked, failed: unknown, status?: number) {
    const task = isTask(failed) ? failed : null
    if (request.errored) return void reply.destroy() // it left before all of what it asked was here
    const failure: Failure = task ? (task.failure ?? toFailure(new AppError('prompt.interrupted'))) : toFailure(failed)
    if (!task && isBehind(failure)) this.#options.log?.('door.failed', { requestId, reason: failure.message })
    if (reply.headersSent) return void reply.destroy()
    if (reply.destroyed) return
    const { code, facts } = failure
    const progress = task ? progressMap(task) : undefined
    const error: Json = task?.refusal ?? (progress?.['']?.error as JsonObject | undefined) ?? toldOf(failure)
    const retry = typeof facts.seconds === 'number' ? String(facts.seconds) : RETRY[code]
    if (code in RETRY) reply.setHeader('retry-after', retry!)
    if (code === 'agent.no-key') reply.setHeader('www-authenticate', 'Bearer')
    if (!request.complete) {
      reply.setHeader('connection', 'close')
      reply.on('finish', () => request.destroy())
    }
    json(reply, status ?? statusOf(failure), {
      message: kindOf(code),
      error,
      code,
      requestId,
      ...(progress && { progress }),
    })
  }

  #text = async ({ body }: Asked) => (await body(this.#options.limitBytes ?? BODY_LIMIT_BYTES)).toString('utf8')

  // ---- sockets ----

  async #upgrade(request: IncomingMessage, stream: Duplex, head: Buffer) {
    stream.on('error', () => stream.destroy())
    const refuse = (status: number) =>
      stream.end(`HTTP/1.1 ${status} Refused\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`)
    try {
      this.#origin(request)
      const { caller } = await this.#enter(request)
      this.#may(caller, 'run')
      if (this.#closing) throw new AppError('agent.stopping')
      const [path = '', query = ''] = (request.url ?? '/').split('?', 2)
      const search = new URLSearchParams(query)
      if (path === '/api/run/ws')
        return this.#sockets.handleUpgrade(request, stream, head, (socket) => {
          const id = request.headers['task-id'] ?? search.get('task-id') ?? undefined
          this.#converse(socket, id, caller)
        })
      if ((path !== '/ws' && path !== '/api/ws') || this.#options.own)
        throw new AppError('agent.refused', { reason: path })
      const client = search.get('clientId')
      const way = client === null ? 'ws' : `ws?clientId=${encodeURIComponent(client.toWellFormed())}`
      passUpgrade(request, stream, head, this.#options.address(), way, () => refuse(502))
    } catch (cause) {
      refuse(statusOf(toFailure(cause)))
    }
  }

  /** One workflow a connection; what comes after it only ends the conversation, and not the task. */
  #converse(socket: WebSocket, wanted: string | string[] | undefined, caller: Caller) {
    const left = new AbortController()
    const send = (type: string, data: unknown) => {
      if (socket.readyState === socket.OPEN) socket.send(writeJson({ type, data }))
    }
    let begun = false
    const alive = socket as WebSocket & { alive?: boolean }
    alive.alive = true
    socket.on('pong', () => {
      alive.alive = true
    })
    socket.on('error', () => socket.terminate())
    socket.on('close', () => left.abort())
    socket.on('message', (data, isBinary) => {
      const text = isBinary ? '' : String(data)
      if (begun) {
        const said = tryJson(text)
        if (!isJsonObject(said) || said.type === 'close') socket.close(1000)
        return
      }
      begun = true
      this.#follow(text, wanted, caller, left.signal, socket, send).catch((cause: unknown) => {
        if (left.signal.aborted) return
        const failure = toFailure(cause)
        if (isBehind(failure)) this.#options.log?.('door.failed', { reason: failure.message })
        send('error', {
          message: kindOf(failure.code),
          error: toldOf(failure).message,
          code: failure.code,
        })
        socket.close(1000)
      })
    })
  }

  async #follow(
    text: string,
    wanted: string | string[] | undefined,
    caller: Caller,
    signal: AbortSignal,
    socket: WebSocket,
    send: (type: string, data: unknown) => void,
  ) {
    const { runner } = this.#options
    const id = taskIdOf(wanted)
    let newest: Task | null = null
    // whoever reads slowly is told only how it is by then
    const tell = () => {
      if (!newest || socket.bufferedAmount > 0) return
      if (socket.readyState !== socket.OPEN) return
      const told = newest
      newest = null
      socket.send(writeJson({ type: 'progress', data: progressMap(told) }), () => tell())
    }
    const hear = (task: Task) => {
      newest = task
      tell()
    }
    this.#maySend(caller)
    const taken = await runner.submit(id, parsed(text), { owner: caller.id })
    if (!mayHave(caller, taken)) throw new AppError('agent.task-differs', { id })
    runner.events.on(told(id), hear)
    try {
      hear(taken)
      const task = await runner.result(id, signal)
      newest = null
      if (task.state === 'succeeded') {
        let whole = ''
        for await (const piece of this.#pieces(task, false)) whole += piece
        if (socket.readyState === socket.OPEN) socket.send(`{"type":"result","data":${whole}}`)
      } else {
        const failure = task.failure ?? toFailure(new AppError('prompt.interrupted'))
        const error = task.refusal ?? (progressMap(task)[''] as JsonObject).error ?? toldOf(failure).message
        send('error', { message: kindOf(failure.code), error, code: failure.code, progress: progressMap(task) })
      }
      socket.close(1000)
    } finally {
      runner.events.off(told(id), hear)
    }
  }

  #ping() {
    for (const socket of this.#sockets.clients as Set<WebSocket & { alive?: boolean }>) {
      if (!socket.alive) socket.terminate()
      socket.alive = false
      socket.ping()
    }
  }
}

const HEALTH: Record<string, 'alive' | 'ready' | 'ping'> = { '/healthz': 'alive', '/readyz': 'ready', '/ping': 'ping' }
/** How Function Compute calls that one. */
const HOOK_METHOD: Record<string, string> = { '/pre-stop': 'GET' }
const wantsLinks = ({ search }: Asked) => search.get('results') === 'links'
const LINK_SECONDS = 3_600
/** How whoever asks calls us, also through a proxy that speaks TLS for us. */
const baseOf = ({ request: { headers } }: Asked) =>
  `${headers['x-forwarded-proto'] === 'https' ? 'https' : 'http'}://${headers.host ?? ''}`
const routeIn = (path: string) => path.replace(/^\/(?:api\/)?/, '')
/** A path that means what it says: no dots that climb, nothing hidden by escapes of slashes. */
const CLEAN = /^(?!.*(?:\/\.{1,2}(?:\/|$)|%2e%2e|%2f|%5c|\\|\/\/))\/[\x21-\x7e]*$/i

/** @throws AppError 'app.bad-request' */
function taskIdOf(given: string | string[] | undefined): string {
  if (given === undefined) return randomUUID()
  if (typeof given === 'string' && /^[\x21-\x7e]{1,128}$/.test(given)) return given
  throw new AppError('app.bad-request', { reason: 'a task id has 1 to 128 characters, no blanks' })
}
/** @throws AppError 'app.bad-request' */
function releaseOf({ headers }: Asked): number | null {
  const given = headers['x-release']
  if (given === undefined) return null
  if (typeof given === 'string' && /^\d{1,9}$/.test(given)) return Number(given)
  throw new AppError('app.bad-request', { reason: 'x-release is the number of a release' })
}
const requestIdOf = (given: string | string[] | undefined) =>
  typeof given === 'string' && /^[\w.:-]{1,128}$/.test(given) ? given : randomUUID()

function letIn(reply: ServerResponse, origin: string) {
  reply.setHeader('access-control-allow-origin', origin)
  reply.setHeader('vary', 'origin')
  reply.setHeader('access-control-allow-methods', 'GET, HEAD, POST, PUT, DELETE, OPTIONS')
  const ask =
    'authorization, content-type, prefer, range, task-id, webhook, x-api-key, x-content-sha256, x-fc-async-task-id, ' +
    'x-fc-invocation-type, x-key-id, x-nonce, x-release, x-signature, x-timestamp'
  reply.setHeader('access-control-allow-headers', ask)
  reply.setHeader('access-control-expose-headers', 'location, retry-after, task-id, x-comfy-seeds, x-fc-request-id')
  reply.setHeader('access-control-max-age', '600')
}

async function* base64(bytes: AsyncIterable<Buffer>, unpadded: boolean) {
  let rest: Buffer = Buffer.alloc(0)
  for await (const chunk of bytes) {
    const whole = Buffer.concat([rest, chunk])
    const cut = whole.length - (whole.length % 3)
    rest = whole.subarray(cut)
    if (cut > 0) yield whole.toString('base64', 0, cut)
  }
  if (rest.length > 0) yield rest.toString('base64').replace(unpadded ? /=+$/ : /$^/, '')
}

/** Whoever sends a body slower than this holds a place that others could have. */
async function inTime(body: Promise<Buffer>): Promise<Buffer> {
  let late: NodeJS.Timeout | undefined
  const slow = new Promise<never>((_, reject) => {
    const tell = () => reject(new AppError('app.bad-request', { reason: 'the body did not come in time' }))
    late = setTimeout(tell, BODY_WITHIN_MS)
  })
  return Promise.race([body, slow]).finally(() => clearTimeout(late))
}

async function devicesOf(address: ComfyAddress, comfyui: number) {
  const client = new ComfyClient(address, { clientId: 'metrics', timeoutMs: 2_000 })
  const probed = await client.probe().catch(() => null)
  await client.close()
  return (probed?.stats.devices ?? []).map((device) => ({ ...device, comfyui })) // cards of one kind have one name
}

const NOBODY: Caller = { id: '', scopes: [] }
/** Whoever has a link to one file may have that file, of whomever it is. */
const LINK: Caller = { id: '', scopes: ['publish'] }
const PLATFORM: Caller = { id: 'platform', scopes: ['run'] }

const mayHave = ({ id, scopes }: Caller, { owner = PLATFORM.id }: Task) =>
  owner === PLATFORM.id || owner === id || scopes.includes('publish')
const isTask = (thing: unknown): thing is Task => isJsonObject(thing) && 'promptId' in thing && 'state' in thing
