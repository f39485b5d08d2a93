import { EventEmitter } from 'node:events'
import { openAsBlob } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import { Agent, type Dispatcher, FormData, request } from 'undici'
import {
  type FileReference,
  type HistoryEntry,
  type ObjectInfo,
  type Prompt,
  type PromptReply,
  readObjectInfo,
  type SystemStats,
} from '../../contract/comfyui.ts'
import { AppError } from '../../contract/errors.ts'
import { isJsonObject, type Json, parseJson, parseJsonWithFloats, tryJson, writeJson } from '../../contract/json.ts'
import { bytesWithin } from '../download/follow.ts'
import type { ComfyAddress } from './address.ts'
import { wholeNumber } from './messages.ts'
import { ComfySocket } from './socket.ts'

/** One prompt as it waits or runs: number, prompt id, prompt, extra data, outputs to execute. */
export type QueueItem = [number, string, Prompt, Record<string, Json>, string[]]
export interface Queue {
  running: QueueItem[]
  /** In the order they will run. */
  pending: QueueItem[]
}
export interface Submission {
  /** Ours, a lower-case UUID. */
  promptId: string
  prompt: Prompt
  /** Goes to `extra_data.extra_pnginfo`; each key becomes a text of the saved picture. */
  pngInfo: Record<string, Json>
  /** The person's key for nodes that call a paid service; the server takes it out of all it tells. */
  accountKey?: string | undefined
}
export interface ModelFile {
  name: string
  /** null: the server does not say. */
  sizeBytes: number | null
}
export interface ClientOptions {
  /** Ours alone: two sockets with one id leave one of them deaf. */
  clientId: string
  timeoutMs?: number
  /** The way to it, which others go too; without one, directly. */
  dispatcher?: Dispatcher | undefined
}

const REPLY_LIMIT_BYTES = 256 * 1024 * 1024
const ERROR_LIMIT_BYTES = 1024 * 1024
const REDIRECTS = 4

/** HTTP and socket to any ComfyUI. What cannot be reached throws AppError 'worker.unreachable'. */
export class ComfyClient {
  readonly address: ComfyAddress
  readonly clientId: string
  readonly socket: ComfySocket
  /** The server no longer has a prompt, and its socket may say nothing of it. */
  readonly events = new EventEmitter<{ cancelled: [promptId: string] }>()
  readonly #timeoutMs: number
  readonly #dispatcher: Dispatcher
  readonly #own: Agent | null
  /** Whether `/api/jobs/{id}/cancel` exists there (ComfyUI 0.25 and later); unknown until tried. */
  #cancelsJobs: boolean | undefined

  constructor(address: ComfyAddress, { clientId, timeoutMs = 30_000, dispatcher }: ClientOptions) {
    this.address = address
    this.clientId = clientId
    this.#timeoutMs = timeoutMs
    this.#own = dispatcher ? null : new Agent({ connect: { timeout: 10_000 } })
    this.#dispatcher = dispatcher ?? this.#own!
    this.socket = new ComfySocket(address, clientId)
    this.events.setMaxListeners(0)
  }

  /**
   * Who answers there. `url` is where a redirect led, so that later requests go straight to it.
   * @throws AppError 'worker.unreachable' | 'worker.unauthorised' | 'worker.not-comfyui'
   */
  async probe(signal?: AbortSignal): Promise<{ stats: SystemStats; url: string }> {
    const reply = await this.#send('GET', 'system_stats', { signal })
    const { status, body } = await this.#readText(reply, ERROR_LIMIT_BYTES)
    this.#refuseIfUnauthorised(status)
    if (status >= 500) throw this.#unreachable(`HTTP ${status}`)
    const stats = status === 200 ? tryJson(body) : undefined
    if (!isJsonObject(stats) || !isJsonObject(stats.system) || !Array.isArray(stats.devices))
      throw new AppError('worker.not-comfyui', { url: this.address.url })
    const { url } = this.address
    const from = reply.from.endsWith('/system_stats') ? reply.from.slice(0, -'system_stats'.length) : url
    return { stats: stats as unknown as SystemStats, url: from }
  }

  async objectInfo(signal?: AbortSignal): Promise<ObjectInfo> {
    const read = parseJsonWithFloats // what it says of a prompt shows them as they were written
    return readObjectInfo(await this.#getJson('object_info', { signal, timeoutMs: 180_000, read }))
  }

  /** The folders it looks for models in, by their names; none where it cannot say. */
  async modelFolders(signal?: AbortSignal): Promise<string[]> {
    const reply = await this.#send('GET', 'models', { signal })
    const { status, body } = await this.#readText(reply, ERROR_LIMIT_BYTES)
    this.#refuseIfUnauthorised(status)
    const list = status === 200 ? tryJson(body) : undefined
    return Array.isArray(list) ? list.filter((name) => typeof name === 'string') : []
  }

  /** The model files of one folder, as the server names them; null where it has no such folder. */
  async modelFiles(folder: string, signal?: AbortSignal): Promise<ModelFile[] | null> {
    const name = encodeURIComponent(folder)
    for (const path of [`experiment/models/${name}`, `models/${name}`]) {
      const reply = await this.#send('GET', path, { signal })
      const { status, body } = await this.#readText(reply, REPLY_LIMIT_BYTES)
      this.#refuseIfUnauthorised(status)
      const list = status === 200 ? tryJson(body) : undefined
      if (!Array.isArray(list)) continue
      return list.flatMap((file) => {
        if (typeof file === 'string') return [{ name: file, sizeBytes: null }]
        if (!isJsonObject(file) || typeof file.name !== 'string') return []
        return [{ name: file.name, sizeBytes: typeof file.size === 'number' && file.size > 0 ? file.size : null }]
      })
    }
    return null
  }

  /** Waiting and running prompts, ours and others'. */
  async queueLength(signal?: AbortSignal): Promise<number> {
    const reply = await this.#getJson('prompt', { signal })
    const info = isJsonObject(reply) && isJsonObject(reply.exec_info) ? reply.exec_info : {}
    return wholeNumber(info.queue_remaining)
  }

  async queue(signal?: AbortSignal): Promise<Queue> {
    const reply = (await this.#getJson('queue', { signal })) as unknown as {
      queue_running?: QueueItem[]
      queue_pending?: QueueItem[]
    }
    // the server hands out its heap as it lies in memory
    const pending = (reply.queue_pending ?? []).toSorted((a, b) => a[0] - b[0])
    return { running: reply.queue_running ?? [], pending }
  }

  /** Undefined while it waits or runs, and when the server does not know it. */
  async history(promptId: string, signal?: AbortSignal): Promise<HistoryEntry | undefined> {
    const reply = await this.#getJson(`history/${promptId}`, { signal })
    const entry = isJsonObject(reply) ? reply[promptId] : undefined
    return isJsonObject(entry) ? (entry as unknown as HistoryEntry) : undefined
  }

  /**
   * The server's verdict, also when it refused (`error`); a refusal that is not ComfyUI's own JSON is worded as one.
   * After a throw nobody knows whether it was accepted.
   */
  async submit({ promptId, prompt, pngInfo, accountKey }: Submission, signal?: AbortSignal): Promise<PromptReply> {
    const body = writeJson({
      prompt,
      prompt_id: promptId,
      client_id: this.clientId,
      extra_data: {
        extra_pnginfo: pngInfo,
        preview_method: 'auto',
        ...(accountKey !== undefined && { api_key_comfy_org: accountKey }),
      },
    })
    const { status, body: text } = await this.#postJson('prompt', body, signal, 120_000)
    const reply = tryJson(text)
    if (isJsonObject(reply) && (status === 200 || isJsonObject(reply.error) || typeof reply.error === 'string')) {
      if (typeof reply.error !== 'string') return reply as unknown as PromptReply
      return { error: { type: 'refused', message: reply.error, details: '', extra_info: {} } }
    }
    this.#refuseIfUnauthorised(status)
    if (status >= 502 && status <= 504) throw this.#unreachable(`HTTP ${status}`)
    const message =
      status === 413 ? 'the prompt is larger than this ComfyUI takes' : `HTTP ${status} ${text.slice(0, 300).trim()}`
    return { error: { type: `http_${status}`, message, details: '', extra_info: {} } }
  }

  async deletePending(promptId: string, signal?: AbortSignal) {
    await this.#postForEffect('queue', { delete: [promptId] }, signal)
  }

  /** Before 0.3.56 this interrupts whatever runs, so look first. */
  async interrupt(promptId: string, signal?: AbortSignal) {
    await this.#postForEffect('interrupt', { prompt_id: promptId }, signal)
  }

  /** Ends a waiting or running prompt in one step; false where the server cannot. */
  async cancelJob(promptId: string, signal?: AbortSignal): Promise<boolean> {
    if (this.#cancelsJobs === false) return false
    const { status } = await this.#postJson(`api/jobs/${promptId}/cancel`, '{}', signal)
    this.#refuseIfUnauthorised(status)
    if (status >= 500) return false
    this.#cancelsJobs = status === 200
    return this.#cancelsJobs
  }

  /** Asks the server to let go of models and results when it is idle, as one does after the GPU ran out of memory. */
  async free(signal?: AbortSignal) {
    await this.#postForEffect('free', { unload_models: true, free_memory: true }, signal)
  }

  /** Puts a file into the server's input folder; the reply is where it lies there. */
  async upload(
    file: ({ path: string } | { bytes: Uint8Array<ArrayBuffer> }) & { name: string; subfolder: string },
    signal?: AbortSignal,
  ): Promise<FileReference> {
    const form = new FormData()
    form.set('image', 'bytes' in file ? new Blob([file.bytes]) : await openAsBlob(file.path), file.name)
    form.set('type', 'input')
    form.set('subfolder', file.subfolder)
    const reply = await this.#send('POST', 'upload/image', { body: form, signal, timeoutMs: 600_000 })
    const { status, body } = await this.#readText(reply, ERROR_LIMIT_BYTES)
    this.#refuseIfUnauthorised(status)
    if (status !== 200) throw this.#unreachable(`upload: HTTP ${status}`)
    const { name, subfolder, type } = parseJson(body) as unknown as { name: string } & Omit<FileReference, 'filename'>
    return { filename: name, subfolder, type }
  }

  /** Whether an input file is there, named as a prompt names it. */
  hasInput(name: string, signal?: AbortSignal): Promise<boolean> {
    return this.hasFile(inputReference(name), signal)
  }

  /** @throws AppError 'worker.unauthorised' | 'worker.unreachable' */
  async hasFile(file: FileReference, signal?: AbortSignal): Promise<boolean> {
    const reply = await this.#send('HEAD', viewPath(file), { signal })
    await reply.body.dump()
    const { statusCode } = reply
    if ([200, 400, 403, 404].includes(statusCode)) return statusCode === 200 // 403: a name that leads out of the folder
    this.#refuseIfUnauthorised(statusCode)
    throw this.#unreachable(`HTTP ${statusCode}`)
  }

  /**
   * The bytes of a file; a transfer that breaks is taken up where it broke.
   * @throws AppError 'output.missing' | 'output.damaged' | 'worker.unreachable'
   */
  async *view(file: FileReference, signal?: AbortSignal): AsyncGenerator<Uint8Array> {
    const { filename } = file
    let received = 0
    let total: number | undefined
    for (let barren = 0; ; ) {
      const before = received
      const headers: Record<string, string> = received > 0 ? { range: `bytes=${received}-` } : {}
      const reply = await this.#send('GET', viewPath(file), { signal, headers, timeoutMs: null })
      const { statusCode, body } = reply
      if (statusCode !== 200 && statusCode !== 206) {
        await body.dump()
        this.#refuseIfUnauthorised(statusCode === 403 ? 0 : statusCode)
        if (statusCode >= 500) throw this.#unreachable(`HTTP ${statusCode}`)
        throw new AppError('output.missing', { name: filename })
      }
      const length = Number(reply.headers['content-length'] ?? Number.NaN)
      const size = statusCode === 206 ? received + length : length
      if (total !== undefined && Number.isFinite(size) && size !== total) {
        await body.dump()
        throw new AppError('output.damaged', { name: filename }) // another file lies there now
      }
      if (Number.isFinite(size)) total = size
      let skip = statusCode === 200 ? received : 0
      let broken: unknown
      try {
        for await (const chunk of body as AsyncIterable<Uint8Array>) {
          const fresh = skip >= chunk.length ? undefined : chunk.subarray(skip)
          skip = Math.max(0, skip - chunk.length)
          if (!fresh) continue
          received += fresh.length
          yield fresh
        }
        if (total === undefined || received === total) return
      } catch (cause) {
        signal?.throwIfAborted()
        broken = cause
      }
      barren = received > before ? 0 : barren + 1
      if (barren >= 4) throw new AppError('output.damaged', { name: filename }, { cause: broken })
      await pause(100 * 2 ** barren, undefined, { signal })
    }
  }

  async close() {
    await this.socket.close()
    await this.#own?.destroy()
  }

  // ---- requests ----

  async #getJson(
    path: string,
    { signal, timeoutMs, read }: { signal?: AbortSignal; timeoutMs?: number; read?: (text: string) => Json },
  ): Promise<Json> {
    const reply = await this.#send('GET', path, { signal, timeoutMs })
    const { status, body } = await this.#readText(reply, REPLY_LIMIT_BYTES)
    this.#refuseIfUnauthorised(status)
    if (status !== 200) throw this.#unreachable(`${path}: HTTP ${status}`)
    const json = tryJson(body, read)
    if (json === undefined) throw new AppError('worker.not-comfyui', { url: this.address.url })
    return json
  }

  async #postJson(path: string, body: string, signal?: AbortSignal, timeoutMs?: number) {
    const headers = { 'content-type': 'application/json' }
    return this.#readText(await this.#send('POST', path, { body, headers, signal, timeoutMs }), ERROR_LIMIT_BYTES)
  }

  async #postForEffect(path: string, body: Json, signal?: AbortSignal) {
    const { status } = await this.#postJson(path, writeJson(body), signal)
    this.#refuseIfUnauthorised(status)
    if (status !== 200) throw this.#unreachable(`${path}: HTTP ${status}`)
  }

  /** Redirects of a GET are followed; our header goes to the address it was given for and nowhere else. */
  async #send(
    method: 'GET' | 'HEAD' | 'POST',
    path: string,
    options: {
      body?: string | FormData
      headers?: Record<string, string>
      signal?: AbortSignal | undefined
      /** null: as long as bytes keep coming. */
      timeoutMs?: number | null | undefined
    },
  ): Promise<Dispatcher.ResponseData & { from: string }> {
    const { timeoutMs = this.#timeoutMs } = options
    const signals = [options.signal, timeoutMs === null ? undefined : AbortSignal.timeout(timeoutMs)]
    const signal = AbortSignal.any(signals.filter((given) => given !== undefined))
    const home = new URL(this.address.url)
    let target = new URL(path, home)
    for (let redirects = 0; ; redirects++) {
      const { header } = this.address
      const headers = { ...options.headers }
      if (header && target.origin === home.origin) headers[header.name] = header.value
      let reply: Dispatcher.ResponseData
      try {
        reply = await request(target, {
          method,
          headers,
          body: options.body,
          signal,
          dispatcher: this.#dispatcher,
          headersTimeout: 300_000,
          bodyTimeout: 60_000,
        })
      } catch (cause) {
        options.signal?.throwIfAborted()
        throw this.#unreachable(reasonOf(cause), cause)
      }
      const { location } = reply.headers
      const moved = reply.statusCode >= 301 && reply.statusCode <= 308 && typeof location === 'string'
      if (!moved || method === 'POST' || redirects === REDIRECTS)
        return { ...reply, body: reply.body, from: target.href }
      await reply.body.dump()
      const next = URL.parse(location, target.href)
      if (!next) throw this.#unreachable('it points to no address')
      target = next
    }
  }

  async #readText(reply: Dispatcher.ResponseData, limit: number): Promise<{ status: number; body: string }> {
    try {
      return { status: reply.statusCode, body: (await bytesWithin(reply, limit)).toString('utf8') }
    } catch (cause) {
      throw this.#unreachable(reasonOf(cause), cause)
    }
  }

  #refuseIfUnauthorised(status: number) {
    if (status === 401 || status === 403 || status === 407)
      throw new AppError('worker.unauthorised', { url: this.address.url, status })
  }

  #unreachable(reason: string, cause?: unknown) {
    return new AppError('worker.unreachable', { url: this.address.url, reason }, { cause })
  }
}

/** Where a file lies that a prompt names: `sub/name.png`, `name.png [output]`. */
function inputReference(name: string): FileReference {
  const said = /^(.+) \[(input|output|temp)\]$/s.exec(name)
  const file = (said?.[1] ?? name).replaceAll('\\', '/') // a server on Windows takes either slash
  const at = file.lastIndexOf('/')
  return {
    filename: file.slice(at + 1),
    subfolder: file.slice(0, Math.max(0, at)),
    type: (said?.[2] as FileReference['type'] | undefined) ?? 'input',
  }
}

function viewPath({ filename, subfolder, type }: FileReference): string {
  return `view?${new URLSearchParams({ filename, subfolder, type })}`
}

/** The words of a failed connection that help: `connect ECONNREFUSED 127.0.0.1:8188`. */
export function reasonOf(cause: unknown): string {
  if (cause instanceof AggregateError && cause.errors.length > 0) return reasonOf(cause.errors[0])
  if (cause instanceof DOMException && cause.name === 'TimeoutError') return 'no answer in time'
  if (cause instanceof Error) return cause.cause instanceof Error ? reasonOf(cause.cause) : cause.message
  return String(cause)
}
