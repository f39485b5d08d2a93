import { createHash, randomUUID } from 'node:crypto'
import { createReadStream, existsSync, mkdirSync, readdirSync, rmSync, statSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { freemem, platform, totalmem } from 'node:os'
import path from 'node:path'
import { Readable } from 'node:stream'
import sharp from 'sharp'
import { type WebSocket, WebSocketServer } from 'ws'
import type { HistoryEntry, NodeDefinition, NodeId, ObjectInfo, Prompt } from '../../contract/comfyui.ts'
import { isJsonObject, type Json, parseJson, tryJson, writeJson } from '../../contract/json.ts'
import { mediaOf } from '../../domain/media.ts'
import { validatePrompt } from '../../domain/workflow/validate.ts'
import { bundledDefinitions } from '../definitions.ts'
import { type Cache, execute, Interrupted } from './execute.ts'
import { NodeFailure } from './nodes.ts'
import { pythonJson } from './png-text.ts'

/** What a test can make go wrong with the next prompt. */
export type Fault =
  | 'error' // a node fails
  | 'oom' // … for want of memory
  | 'hold' // waits at its first node until release()
  | 'die-mid-run' // the server is gone at its first node
  | 'die-after-saving' // … after a file was written, before it said so
  | 'drop-socket' // every socket is cut at its first node
  | 'deaf-socket' // nothing about it is told on any socket
  | 'finish-before-reply' // `POST /prompt` answers when it is over
  | 'node-errors-200' // accepted, with an output dropped
  | 'http-500' // `POST /prompt` breaks
  | 'truncate-view' // its first download breaks off half-way

export interface RehearsalOptions {
  /** Holds `input`, `output` and `temp`; output and temp are emptied at start, as a staging folder may be. */
  readonly dir: string
  readonly port?: number
  /** How long a sampler step takes. */
  readonly stepMs?: number
  /** Unknown custom nodes pass things on by type, instead of being refused. */
  readonly sketchUnknown?: boolean
  /** Any model file is taken to be installed. */
  readonly assumeModels?: boolean
  /** Keep what an earlier server left in `output`. */
  readonly keepOutput?: boolean
  /** Of what it saved, keep only this many newest files. */
  readonly keepFiles?: number
  readonly definitions?: ObjectInfo
}

interface Item {
  number: number
  id: string
  prompt: Prompt
  extra: Record<string, Json>
  clientId: string | undefined
  outputs: NodeId[]
  definitions: ObjectInfo
  fault: Fault | undefined
  over: PromiseWithResolvers<void>
}

const MAX_BODY = 104_857_600
const HISTORY_LIMIT = 10_000
const VERSION = '0.33.0'
/** Shown for a picture that is an address of the web. */
const STAND_IN = 'stand-in.png'

/** A ComfyUI that needs no GPU: its protocol over real HTTP and a real socket on loopback; image nodes done, sampling sketched. */
export class RehearsalServer {
  readonly #options: RehearsalOptions
  readonly #definitions: ObjectInfo
  #http: Server | undefined
  #sockets = new Map<string, WebSocket>()
  #connections = new Set<Socket>()
  #port = 0
  #counter = 0
  #pending: Item[] = []
  #running: Item | undefined
  #interrupted = false
  #history = new Map<string, HistoryEntry>()
  #cache: Cache = new Map()
  #counters = new Map<string, Map<string, number>>()
  #savedFiles: string[] = []
  #faults: Fault[] = []
  #truncateNextView = false
  #hold: PromiseWithResolvers<void> | undefined
  #held = Promise.withResolvers<void>()
  #life = 0
  /** How many prompts were accepted since it was made, over all its lives. */
  submissions = 0

  constructor(options: RehearsalOptions) {
    this.#options = options
    this.#definitions = options.definitions ?? bundledDefinitions().definitions
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}`
  }
  /** The faults come in the order they were asked for, one a prompt. */
  onNext(...faults: Fault[]) {
    this.#faults.push(...faults)
  }
  /** Resolves when a prompt waits because of 'hold'. */
  async held() {
    await this.#held.promise
  }
  release() {
    this.#hold?.resolve()
    this.#hold = undefined
    this.#held = Promise.withResolvers<void>()
  }
  get alive() {
    return this.#http !== undefined
  }

  async start() {
    if (this.#http) return
    for (const part of ['input', 'output', 'temp']) {
      const dir = path.join(this.#options.dir, part)
      if (part !== 'input' && !this.#options.keepOutput && this.#life === 0)
        rmSync(dir, { recursive: true, force: true })
      mkdirSync(dir, { recursive: true })
    }
    if (this.#options.assumeModels) {
      const grey = { width: 512, height: 512, channels: 3, background: '#8a94ad' } as const
      await sharp({ create: grey }).png().toFile(path.join(this.#options.dir, STAND_IN))
    }
    this.#life += 1
    const http = createServer((request, response) => void this.#answer(request, response))
    const sockets = new WebSocketServer({ noServer: true, maxPayload: 1024 * 1024 })
    http.on('connection', (socket) => {
      this.#connections.add(socket)
      socket.on('close', () => this.#connections.delete(socket))
    })
    http.on('upgrade', (request, socket, head) => {
      const { pathname, searchParams } = new URL(request.url ?? '/', 'http://rehearsal')
      if ((pathname !== '/ws' && pathname !== '/api/ws') || isForeign(request)) return socket.destroy()
      sockets.handleUpgrade(request, socket, head, (ws) => this.#welcome(ws, searchParams.get('clientId')))
    })
    await new Promise<void>((resolve, reject) => {
      http.once('error', reject)
      http.listen(this.#port || (this.#options.port ?? 0), '127.0.0.1', resolve)
    })
    this.#port = (http.address() as AddressInfo).port
    this.#http = http
  }

  async stop() {
    this.die()
    await this.#idle
  }

  /** As a crash: nothing is told, queue and history are forgotten, files stay. `start()` brings it back on its port. */
  die() {
    const http = this.#http
    this.#http = undefined
    this.#life += 1
    this.#pending = []
    this.#history.clear()
    this.#cache.clear()
    this.#counters.clear()
    this.release()
    for (const socket of this.#connections) socket.destroy()
    this.#connections.clear()
    this.#sockets.clear()
    http?.close()
  }

  // ── sockets ──────────────────────────────────────────────────────────────────────────────────────────────────────

  #welcome(ws: WebSocket, asked: string | null) {
    const sid = asked || randomUUID().replaceAll('-', '')
    this.#sockets.set(sid, ws)
    let first = true
    ws.on('error', () => ws.terminate())
    ws.on('close', () => {
      // as the real one: whoever has the name now loses it
      this.#sockets.delete(sid)
    })
    ws.on('message', (data, isBinary) => {
      if (!first || isBinary) return
      first = false
      const message = tryJson(String(data))
      if (isJsonObject(message) && message.type === 'feature_flags')
        ws.send(writeJson({ type: 'feature_flags', data: features }))
    })
    ws.send(writeJson({ type: 'status', data: { status: this.#status(), sid } }))
    if (this.#running?.clientId === sid && this.#at) ws.send(writeJson({ type: 'executing', data: { node: this.#at } }))
  }
  #at: NodeId | undefined

  #status() {
    return { exec_info: { queue_remaining: this.#pending.length + (this.#running ? 1 : 0) } }
  }
  #tellStatus() {
    const frame = writeJson({ type: 'status', data: { status: this.#status() } })
    for (const ws of this.#sockets.values()) ws.send(frame)
  }
  #tell(item: Item, type: string, data: Record<string, Json>) {
    if (item.fault === 'deaf-socket' || item.clientId === undefined) return
    this.#sockets.get(item.clientId)?.send(writeJson({ type, data }))
  }
  #tellPreview(item: Item, node: NodeId, jpeg: Buffer) {
    if (item.fault === 'deaf-socket' || item.clientId === undefined) return
    const about = {
      node_id: node,
      prompt_id: item.id,
      display_node_id: node,
      parent_node_id: null,
      real_node_id: node,
      image_type: 'image/jpeg',
    }
    const head = Buffer.from(writeJson(about))
    const frame = Buffer.alloc(8 + head.length + jpeg.length)
    frame.writeUInt32BE(PREVIEW_WITH_METADATA, 0)
    frame.writeUInt32BE(head.length, 4)
    head.copy(frame, 8)
    jpeg.copy(frame, 8 + head.length)
    this.#sockets.get(item.clientId)?.send(frame)
  }

  // ── the one executor ─────────────────────────────────────────────────────────────────────────────────────────────

  #idle: Promise<void> = Promise.resolve()
  #working = false
  #wake() {
    if (this.#working) return
    this.#working = true
    this.#idle = this.#work().finally(() => {
      this.#working = false
      if (this.#pending.length > 0) this.#wake()
    })
  }
  async #work() {
    const life = this.#life
    for (;;) {
      this.#pending.sort((a, b) => a.number - b.number)
      const item = this.#pending.shift()
      if (!item || life !== this.#life) return
      this.#running = item
      this.#interrupted = false
      this.#tellStatus()
      const entry = await this.#runItem(item, life)
      this.#running = undefined
      this.#at = undefined
      item.over.resolve()
      if (life !== this.#life || !entry) return
      this.#history.set(item.id, entry)
      if (this.#history.size > HISTORY_LIMIT) this.#history.delete(this.#history.keys().next().value!)
      this.#tellStatus()
      this.#tell(item, 'executing', { node: null, prompt_id: item.id })
    }
  }

  async #runItem(item: Item, life: number): Promise<HistoryEntry | undefined> {
    const messages: [string, Record<string, Json>][] = []
    const record = (type: string, data: Record<string, Json>) => {
      const whole = { ...data, prompt_id: item.id, timestamp: Date.now() }
      messages.push([type, whole])
      this.#tell(item, type, whole)
    }
    const entry = (ok: boolean, outputs: HistoryEntry['outputs']): HistoryEntry => ({
      prompt: [item.number, item.id, item.prompt as unknown as Json, item.extra, item.outputs],
      outputs,
      status: { status_str: ok ? 'success' : 'error', completed: ok, messages },
      meta: Object.fromEntries(
        Object.keys(outputs).map((id) => [id, { node_id: id, display_node: id, parent_node: null, real_node_id: id }]),
      ),
    })
    let saved = false
    const gone = () => life !== this.#life
    const at = async (node: NodeId, moment: 'start' | 'step' | 'saved') => {
      if (gone()) throw new Interrupted()
      this.#at = node
      const fault = item.fault
      if (moment === 'saved') {
        saved = true
        if (fault === 'die-after-saving') this.die()
        if (gone()) throw new Interrupted()
        return
      }
      if (fault === 'hold') {
        item.fault = undefined
        this.#hold = Promise.withResolvers<void>()
        this.#held.resolve()
        await this.#hold.promise
      }
      if (fault === 'drop-socket') {
        item.fault = undefined
        for (const ws of [...this.#sockets.values()]) ws.terminate()
      }
      if (fault === 'die-mid-run') this.die()
      if (fault === 'error') throw new NodeFailure('RuntimeError', 'the rehearsal was asked to fail')
      if (fault === 'oom')
        throw new NodeFailure('torch.OutOfMemoryError', 'CUDA out of memory. Tried to allocate 2.00 GiB. (rehearsed)')
      if (moment === 'step') await this.#stepTime()
      if (gone() || this.#interrupted) throw new Interrupted()
    }
    record('execution_start', {})
    const outputs: HistoryEntry['outputs'] = {}
    try {
      const done = await execute(
        item.prompt,
        item.outputs,
        {
          definitions: item.definitions,
          inputFile: (name) => this.#inputFile(name),
          inputMark: (name) => this.#inputMark(name),
          save: (kind, prefix, extension, bytes) => this.#save(kind, prefix, extension, bytes),
          texts: () => this.#texts(item),
          at,
          send: (type, data) => {
            if (gone()) return
            if (type === 'execution_cached') return record(type, data)
            const nodes = data.nodes
            if (type === 'progress_state' && isJsonObject(nodes))
              for (const state of Object.values(nodes)) if (isJsonObject(state)) state.prompt_id = item.id
            this.#tell(item, type, { ...data, prompt_id: item.id })
          },
          previews:
            typeof item.extra.preview_method === 'string' && !/^(none|default)$/.test(item.extra.preview_method),
          preview: (node, jpeg) => gone() || this.#tellPreview(item, node, jpeg),
        },
        this.#cache,
      )
      Object.assign(outputs, done.ui)
      if (gone()) return undefined
      record('execution_success', {})
      return entry(true, outputs)
    } catch (cause) {
      if (gone()) return undefined
      const node = this.#at ?? ''
      const about = { node_id: node, node_type: item.prompt[node]?.class_type ?? '', executed: [] }
      if (cause instanceof Interrupted) record('execution_interrupted', about)
      else
        record('execution_error', {
          ...about,
          exception_message: `${cause instanceof Error ? cause.message : String(cause)}\n`,
          exception_type: cause instanceof NodeFailure ? cause.type : 'RuntimeError',
          traceback: [],
          current_inputs: {},
          current_outputs: [],
        })
      return entry(false, saved ? outputs : {})
    }
  }
  /** A sampler step is work that takes time: this is the work. */
  #stepTime() {
    const ms = this.#options.stepMs ?? 15
    return ms > 0 ? new Promise<void>((resolve) => setTimeout(resolve, ms)) : undefined
  }

  #texts(item: Item): Record<string, string> {
    const info = isJsonObject(item.extra.extra_pnginfo) ? item.extra.extra_pnginfo : {}
    const texts = { prompt: item.prompt as unknown as Json, ...info }
    return Object.fromEntries(Object.entries(texts).map(([key, value]) => [key, pythonJson(value)]))
  }

  #inside(root: string, relative: string): string | undefined {
    const file = path.resolve(root, relative)
    return file === root || file.startsWith(root + path.sep) ? file : undefined
  }
  #folder(type: string) {
    return path.resolve(this.#options.dir, type)
  }
  /** `name`, possibly `sub/name [output]` → the file. */
  #inputFile(name: string): string {
    const [, bare = name, type = 'input'] = /^(.*?)(?: \[(input|output|temp)\])?$/s.exec(name) ?? []
    // what cannot be had is sketched, as models are
    if (this.#options.assumeModels && /^https?:\/\//i.test(name)) return path.join(this.#options.dir, STAND_IN)
    const file = this.#inside(this.#folder(type), bare)
    if (!file || !existsSync(file))
      throw new NodeFailure('FileNotFoundError', `[Errno 2] No such file or directory: '${bare}'`)
    return file
  }
  #inputMark(name: string): string {
    try {
      const { mtimeMs, size } = statSync(this.#inputFile(name))
      return `${mtimeMs}:${size}`
    } catch {
      return ''
    }
  }

  async #save(kind: 'output' | 'temp', prefix: string, extension: string, bytes: (counter: number) => Promise<Buffer>) {
    const now = new Date()
    const two = (value: number) => String(value).padStart(2, '0')
    const filled = prefix
      .replaceAll('%year%', String(now.getFullYear()))
      .replaceAll('%month%', two(now.getMonth() + 1))
      .replaceAll('%day%', two(now.getDate()))
      .replaceAll('%hour%', two(now.getHours()))
      .replaceAll('%minute%', two(now.getMinutes()))
      .replaceAll('%second%', two(now.getSeconds()))
    const root = this.#folder(kind)
    const target = this.#inside(root, filled)
    if (!target || target === root)
      throw new NodeFailure('Exception', '**** ERROR: Saving image outside the output folder is not allowed.')
    const [dir, name] = [path.dirname(target), path.basename(target)]
    mkdirSync(dir, { recursive: true })
    const counter = this.#nextCounter(dir, name)
    const filename = `${name}_${String(counter).padStart(5, '0')}_.${extension}`
    await writeFile(path.join(dir, filename), await bytes(counter))
    this.#savedFiles.push(path.join(dir, filename))
    if (this.#savedFiles.length > (this.#options.keepFiles ?? Number.POSITIVE_INFINITY))
      rmSync(this.#savedFiles.shift()!, { force: true })
    return { filename, subfolder: path.relative(root, dir).split(path.sep).join('/'), type: kind }
  }
  #nextCounter(dir: string, name: string): number {
    let known = this.#counters.get(dir)
    if (!known) {
      known = new Map()
      for (const file of readdirSync(dir)) {
        const found = /^(.*)_(\d+)_?\.[^.]*$/.exec(file)
        if (found) known.set(found[1]!, Math.max(known.get(found[1]!) ?? 0, Number(found[2])))
      }
      this.#counters.set(dir, known)
    }
    const counter = (known.get(name) ?? 0) + 1
    known.set(name, counter)
    return counter
  }

  // ── HTTP ─────────────────────────────────────────────────────────────────────────────────────────────────────────

  async #answer(request: IncomingMessage, response: ServerResponse) {
    try {
      if (isForeign(request)) return send(response, 403, '')
      const url = new URL(request.url ?? '/', 'http://rehearsal')
      const route = url.pathname.replace(/^\/api(?=\/)/, '').replace(/^\//, '')
      await this.#route(
        request,
        response,
        `${request.method === 'HEAD' ? 'GET' : request.method} ${route}`,
        url.searchParams,
      )
    } catch (cause) {
      if (response.headersSent) response.destroy()
      else if (cause instanceof TooLarge) send(response, 413, 'Request Entity Too Large')
      else send(response, 500, '500 Internal Server Error\n\nServer got itself in trouble')
    }
  }

  async #route(
    request: IncomingMessage,
    response: ServerResponse,
    route: string,
    query: URLSearchParams,
  ): Promise<void> {
    const json = (value: unknown, status = 200) => sendJson(response, status, value)
    const part = (prefix: string) =>
      route.startsWith(prefix) ? decodeURIComponent(route.slice(prefix.length)) : undefined
    switch (route) {
      case 'POST prompt':
        return this.#post(await bodyOf(request), response)
      case 'GET prompt':
        return json(this.#status())
      case 'GET queue':
        return json({
          queue_running: this.#running ? [asQueued(this.#running)] : [],
          queue_pending: this.#pending.map(asQueued),
        })
      case 'POST queue': {
        const body = asObject(parseJson(await textOf(request)))
        if (body.clear) this.#drop(() => true)
        if (Array.isArray(body.delete)) this.#drop(({ id }) => (body.delete as Json[]).includes(id))
        return send(response, 200, '')
      }
      case 'POST interrupt': {
        const body = asObject(tryJson(await textOf(request)) ?? {})
        if (body.prompt_id === undefined || body.prompt_id === this.#running?.id) this.#interrupt()
        return send(response, 200, '')
      }
      case 'POST free':
        if (asObject(parseJson(await textOf(request))).free_memory) this.#cache.clear()
        return send(response, 200, '')
      case 'GET history':
        return json(this.#historyPage(query))
      case 'POST history': {
        const body = asObject(parseJson(await textOf(request)))
        if (body.clear) this.#history.clear()
        if (Array.isArray(body.delete)) for (const id of body.delete) this.#history.delete(String(id))
        return send(response, 200, '')
      }
      case 'GET system_stats':
        return json(systemStats(this.#port))
      case 'GET features':
        return json(features)
      case 'GET object_info':
        return json(this.#objectInfo())
      case 'GET extensions':
        return json([])
      case 'GET embeddings':
        return json([])
      case 'GET models':
        return json(modelFolders)
      case 'POST upload/image':
      case 'POST upload/mask':
        return this.#upload(request, response)
      case 'GET view':
        return this.#view(request, response, query)
      case 'GET ':
        return send(
          response,
          200,
          '<!doctype html><title>Rehearsal</title><p>Nightshift’s rehearsal speaks ComfyUI’s protocol.',
        )
    }
    const history = part('GET history/')
    if (history !== undefined) {
      const entry = this.#history.get(history)
      return json(entry ? { [history]: entry } : {})
    }
    const info = part('GET object_info/')
    if (info !== undefined) {
      const all = this.#objectInfo()
      return json(Object.hasOwn(all, info) ? { [info]: all[info] } : {})
    }
    const folder = part('GET models/')
    if (folder !== undefined) return modelFolders.includes(folder) ? json([]) : send(response, 404, '')
    const cancel = /^POST jobs\/([^/]+)\/cancel$/.exec(route)?.[1]
    if (cancel !== undefined) {
      const dropped = this.#drop(({ id }) => id === cancel)
      const running = this.#running?.id === cancel
      if (running) this.#interrupt()
      return json({ cancelled: dropped || running })
    }
    return send(response, 404, '404: Not Found')
  }

  #drop(which: (item: Item) => boolean): boolean {
    const before = this.#pending.length
    for (const item of this.#pending.filter(which)) item.over.resolve()
    this.#pending = this.#pending.filter((item) => !which(item))
    if (before !== this.#pending.length) this.#tellStatus()
    return before !== this.#pending.length
  }
  #interrupt() {
    if (!this.#running) return
    this.#interrupted = true
    this.release()
  }

  async #post(text: string, response: ServerResponse): Promise<void> {
    const fault = this.#faults.shift()
    if (fault === 'http-500') return send(response, 500, '500 Internal Server Error\n\nServer got itself in trouble')
    if (fault === 'truncate-view') this.#truncateNextView = true
    const body = asObject(parseJson(text))
    const refuse = (error: unknown, node_errors: unknown = {}) => sendJson(response, 400, { error, node_errors })
    const id = body.prompt_id ?? randomUUID()
    if (typeof id !== 'string' || !/^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$/.test(id))
      return refuse({
        type: 'invalid_prompt_id',
        message: 'prompt_id must be a valid UUID',
        details:
          'prompt_id must be a UUID string in canonical lowercase hyphenated form; omit it to let the server generate one',
        extra_info: {},
      })
    if (body.prompt === undefined)
      return refuse({ type: 'no_prompt', message: 'No prompt provided', details: 'No prompt provided', extra_info: {} })
    const prompt = body.prompt as unknown as Prompt
    if (!Object.values(asObject(body.prompt)).every(isJsonObject)) throw new Error('a node is no object')
    const definitions = this.#options.sketchUnknown ? withUnknown(prompt, this.#definitions) : this.#definitions
    const verdict = validatePrompt(prompt, definitions, {
      hasInputFile: (name) => this.#inputMark(name) !== '',
      assumeModels: this.#options.assumeModels ?? false,
      ...(Array.isArray(body.partial_execution_targets) ? { targets: body.partial_execution_targets.map(String) } : {}),
    })
    if (verdict.error) return refuse(verdict.error, verdict.node_errors)
    const number = typeof body.number === 'number' ? body.number : body.front ? -this.#counter : this.#counter
    this.#counter += 1
    const extra = isJsonObject(body.extra_data) ? { ...body.extra_data } : {}
    if (body.client_id !== undefined) extra.client_id = body.client_id
    const item: Item = {
      number,
      id,
      prompt: verdict.prompt,
      extra,
      clientId: typeof extra.client_id === 'string' ? extra.client_id : undefined,
      outputs: verdict.good_outputs,
      definitions,
      fault,
      over: Promise.withResolvers<void>(),
    }
    this.#pending.push(item)
    this.submissions += 1
    this.#tellStatus()
    this.#wake()
    if (fault === 'finish-before-reply') await item.over.promise
    const node_errors =
      fault === 'node-errors-200'
        ? {
            '0': {
              errors: [
                { type: 'value_not_in_list', message: 'Value not in list', details: 'rehearsed', extra_info: {} },
              ],
              dependent_outputs: ['0'],
              class_type: 'SaveImage',
            },
          }
        : verdict.node_errors
    return sendJson(response, 200, { prompt_id: id, number, node_errors })
  }

  #historyPage(query: URLSearchParams): Record<string, HistoryEntry> {
    const entries = [...this.#history]
    const most = integer(query.get('max_items'))
    const offset = integer(query.get('offset')) ?? -1
    if (offset >= 0) return Object.fromEntries(entries.slice(offset, most === undefined ? undefined : offset + most))
    return Object.fromEntries(most === undefined ? entries : entries.slice(Math.max(0, entries.length - most)))
  }

  /** The definitions, with the pictures of the input folder where a node lets one be chosen. */
  #objectInfo(): ObjectInfo {
    const files = readdirSync(this.#folder('input'), { withFileTypes: true })
      .filter((file) => file.isFile())
      .map(({ name }) => name)
      .sort()
    const { LoadImage } = this.#definitions
    if (!LoadImage) return this.#definitions
    const image: [Json[], Record<string, Json>] = [files, { image_upload: true }]
    return { ...this.#definitions, LoadImage: { ...LoadImage, input: { ...LoadImage.input, required: { image } } } }
  }

  async #upload(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const bytes = await bytesOf(request)
    const form = await new Response(new Uint8Array(bytes), {
      headers: { 'content-type': request.headers['content-type'] ?? '' },
    }).formData()
    const file = form.get('image')
    if (!(file instanceof File) || file.name === '') return send(response, 400, '')
    const type = String(form.get('type') ?? 'input')
    if (!['input', 'output', 'temp'].includes(type)) throw new Error('no such folder')
    const subfolder = String(form.get('subfolder') ?? '')
    const dir = this.#inside(this.#folder(type), subfolder)
    if (!dir) return send(response, 400, '')
    mkdirSync(dir, { recursive: true })
    const content = Buffer.from(await file.arrayBuffer())
    const { name: stem, ext } = path.parse(path.basename(file.name))
    let name = stem + ext
    const overwrite = ['true', '1'].includes(String(form.get('overwrite')))
    for (let n = 1; !overwrite && existsSync(path.join(dir, name)); n += 1) {
      if (sha256(await readFile(path.join(dir, name))) === sha256(content))
        return sendJson(response, 200, { name, subfolder, type })
      name = `${stem} (${n})${ext}`
    }
    await writeFile(path.join(dir, name), content)
    return sendJson(response, 200, { name, subfolder, type })
  }

  async #view(request: IncomingMessage, response: ServerResponse, query: URLSearchParams): Promise<void> {
    const asked = query.get('filename')
    if (asked === null) return send(response, 404, '')
    const [, name = '', annotated] = /^(.*?)(?: \[(input|output|temp)\])?$/s.exec(asked) ?? []
    const type = annotated ?? query.get('type') ?? 'output'
    if (name === '' || name.startsWith('/') || name.includes('..') || !['input', 'output', 'temp'].includes(type))
      return send(response, 400, '')
    const dir = this.#inside(this.#folder(type), query.get('subfolder') ?? '')
    if (!dir) return send(response, 403, '')
    const file = path.join(dir, path.basename(name))
    if (!existsSync(file) || !statSync(file).isFile()) return send(response, 404, '')
    const preview = query.get('preview')
    if (preview) {
      const [format = 'webp', quality = '90'] = preview.split(';')
      const picture = sharp(await readFile(file))
      const bytes = await (format === 'jpeg'
        ? picture.jpeg({ quality: Number(quality) })
        : picture.webp({ quality: Number(quality) })
      ).toBuffer()
      response.writeHead(200, {
        'content-type': `image/${format === 'jpeg' ? 'jpeg' : 'webp'}`,
        'content-length': bytes.length,
      })
      response.end(bytes)
      return
    }
    const { size } = statSync(file)
    const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '')
    const start = range ? Number(range[1]) : 0
    const end = range?.[2] ? Math.min(Number(range[2]), size - 1) : size - 1
    if (start >= size && size > 0) {
      response.writeHead(416, { 'content-range': `bytes */${size}` }).end()
      return
    }
    response.writeHead(range ? 206 : 200, {
      'content-type': mediaOf(new Uint8Array(), name).mediaType,
      'content-length': Math.max(0, end - start + 1),
      'accept-ranges': 'bytes',
      'content-disposition': `filename="${encodeURIComponent(path.basename(name))}"`,
      ...(range ? { 'content-range': `bytes ${start}-${end}/${size}` } : {}),
    })
    if (this.#truncateNextView) {
      this.#truncateNextView = false
      const half = (await readFile(file)).subarray(start, start + Math.ceil((end - start + 1) / 2))
      response.write(half, () => response.destroy())
      return
    }
    createReadStream(file, { start, end }).pipe(response)
  }
}

const PREVIEW_WITH_METADATA = 4
const features = {
  supports_preview_metadata: true,
  max_upload_size: MAX_BODY,
  supports_model_type_tags: true,
  extension: { manager: { supports_v4: true } },
  node_replacements: true,
  assets: false,
}
const modelFolders = [
  'checkpoints',
  'configs',
  'loras',
  'vae',
  'text_encoders',
  'diffusion_models',
  'clip_vision',
  'style_models',
  'embeddings',
  'diffusers',
  'vae_approx',
  'controlnet',
  'gligen',
  'upscale_models',
  'hypernetworks',
  'photomaker',
  'classifiers',
  'model_patches',
  'audio_encoders',
]
const systemStats = (port: number) => ({
  system: {
    os: platform(),
    ram_total: totalmem(),
    ram_free: freemem(),
    comfyui_version: VERSION,
    required_frontend_version: null,
    python_version: `none (Nightshift rehearsal)`,
    pytorch_version: 'none',
    embedded_python: false,
    argv: ['rehearsal', '--port', String(port)],
  },
  devices: [
    {
      name: 'Rehearsal (no GPU)',
      type: 'cpu',
      index: null,
      vram_total: 0,
      vram_free: 0,
      torch_vram_total: 0,
      torch_vram_free: 0,
    },
  ],
})

/** Definitions for classes nobody knows: any input, and the outputs that are linked from. */
function withUnknown(prompt: Prompt, definitions: ObjectInfo): ObjectInfo {
  if (!isJsonObject(prompt)) return definitions
  const unknown = new Map<string, NodeDefinition>()
  const nodes = Object.entries(prompt).filter(([, node]) => isJsonObject(node) && isJsonObject(node.inputs))
  for (const [, { class_type, inputs }] of nodes) {
    if (typeof class_type !== 'string' || Object.hasOwn(definitions, class_type)) continue
    const optional = { ...unknown.get(class_type)?.input.optional }
    for (const name of Object.keys(inputs)) optional[name] = ['*']
    unknown.set(class_type, {
      input: { required: {}, optional },
      output: unknown.get(class_type)?.output ?? [],
      name: class_type,
      output_node: /save|preview|output/i.test(class_type),
    })
  }
  for (const [, { inputs }] of nodes)
    for (const value of Object.values(inputs)) {
      if (!Array.isArray(value) || typeof value[1] !== 'number' || value[1] < 0 || value[1] > 99) continue
      const source = unknown.get((prompt[String(value[0])] as Prompt[string] | undefined)?.class_type ?? '')
      while (source && source.output.length <= value[1]) source.output.push('*')
    }
  return unknown.size === 0 ? definitions : { ...definitions, ...Object.fromEntries(unknown) }
}

/** A page of another origin asks through the browser of whoever runs us; ComfyUI refuses it too. */
function isForeign({ headers }: IncomingMessage): boolean {
  if (headers['sec-fetch-site'] === 'cross-site') return true
  const { origin, host } = headers
  return origin !== undefined && (!URL.canParse(origin) || new URL(origin).host !== host)
}

class TooLarge extends Error {}
async function bytesOf(request: IncomingMessage): Promise<Buffer> {
  const parts: Buffer[] = []
  let size = 0
  for await (const part of Readable.from(request)) {
    size += (part as Buffer).length
    if (size > MAX_BODY) throw new TooLarge()
    parts.push(part as Buffer)
  }
  return Buffer.concat(parts)
}
const textOf = async (request: IncomingMessage) => String(await bytesOf(request))
const bodyOf = textOf
function asObject(value: Json | undefined): Record<string, Json> {
  if (!isJsonObject(value)) throw new Error('not an object')
  return value
}
const integer = (text: string | null): number | undefined => {
  if (text === null) return undefined
  if (!/^-?\d+$/.test(text)) throw new Error('not a number')
  return Number(text)
}
const asQueued = ({ number, id, prompt, extra, outputs }: Item) => [number, id, prompt, extra, outputs]
const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')
function send(response: ServerResponse, status: number, text: string) {
  response.writeHead(status, {
    'content-type': text.startsWith('<') ? 'text/html; charset=utf-8' : 'text/plain; charset=utf-8',
  })
  response.end(text)
}
function sendJson(response: ServerResponse, status: number, value: unknown) {
  response.writeHead(status, { 'content-type': 'application/json; charset=utf-8' })
  response.end(writeJson(value))
}
