import { createReadStream } from 'node:fs'
import type { Readable } from 'node:stream'
import { Agent, type Dispatcher, request } from 'undici'
import { z } from 'zod'
import { NodeReport, TaskState } from '../contract/agent.ts'
import type { FileReference, HistoryEntry, NodeId, Prompt } from '../contract/comfyui.ts'
import { EndpointForm } from '../contract/endpoint.ts'
import { AppError, errors, type Facts, type Failure, FailureError, fill } from '../contract/errors.ts'
import { isJsonObject, type Json, type JsonObject, tryJson, writeJson } from '../contract/json.ts'
import { type ReleaseAsked, ReleaseList, ReleaseView } from '../contract/release.ts'
import type { Device } from '../contract/worker.ts'
import { reasonOf } from './comfy/client.ts'
import { collectOutputs, type Output } from './comfy/outputs.ts'
import { bytesWithin } from './download/follow.ts'

export interface AgentAddress {
  /** http or https, ending in a slash. */
  readonly url: string
  /** Sent to this address and to no other. */
  readonly key: string | null
}

/** What an agent tells of a task. */
export interface TaskReport {
  readonly id: string
  readonly promptId: string
  readonly state: TaskState
  readonly queuePosition: number | null
  readonly seeds: Readonly<Record<NodeId, number>>
  readonly failure: Failure | null
  /** Of one that succeeded: how long ComfyUI worked on it. */
  readonly seconds: number
  /** Without the task's own entry. */
  readonly nodes: Readonly<Record<NodeId, NodeReport>>
}

interface Asking {
  readonly method?: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'DELETE'
  readonly headers?: Record<string, string>
  readonly body?: string | Readable
  readonly signal?: AbortSignal | undefined
  readonly timeoutMs?: number
}
type Reply = Pick<Dispatcher.ResponseData, 'statusCode' | 'headers' | 'body'>

const REPLY_LIMIT_BYTES = 64 * 2 ** 20
const TIMEOUT_MS = 30_000
const UPLOAD_TIMEOUT_MS = 600_000

/**
 * An agent, by its address. What does not answer throws AppError 'worker.unreachable'; what it refuses, the failure it
 * gave, of which `codeOf` tells the code.
 */
export class AgentClient {
  readonly address: AgentAddress
  readonly #dispatcher: Dispatcher
  readonly #own: Agent | null
  readonly #closed = new AbortController()

  /** `dispatcher`: the way to it, which others go too; without one, directly. */
  constructor(address: AgentAddress, dispatcher?: Dispatcher) {
    this.address = address
    this.#own = dispatcher ? null : new Agent({ connect: { timeout: 10_000 } })
    this.#dispatcher = dispatcher ?? this.#own!
  }

  /** null: it runs what it is given; else what it does meanwhile. @throws AppError 'endpoint.not-agent' */
  async phase(signal?: AbortSignal): Promise<string | null> {
    const reply = await this.#send('readyz', { signal, timeoutMs: 10_000 })
    const said = await this.#read(reply)
    const known = isJsonObject(said) && typeof said.ok === 'boolean' ? said : null
    if (!known) throw reply.statusCode >= 500 ? this.#unreachable(`HTTP ${reply.statusCode}`) : this.#notAgent()
    if (known.ok) return null
    return typeof known.phase === 'string' ? known.phase : 'starting'
  }

  /** What it says of the ComfyUI behind it. */
  async stats(signal?: AbortSignal): Promise<{ comfyuiVersion: string | null; devices: z.infer<typeof Device>[] }> {
    const said = await this.#ask('api/system_stats', { signal })
    const { system, devices } = isJsonObject(said) ? said : {}
    const version = isJsonObject(system) ? system.comfyui_version : null
    const rows = Array.isArray(devices) ? devices.filter(isJsonObject) : []
    return {
      comfyuiVersion: typeof version === 'string' ? version : null,
      devices: rows.map(({ name, type, vram_total, vram_free }) => ({
        name: textOf(name),
        type: textOf(type),
        vramTotalBytes: numberOf(vram_total),
        vramFreeBytes: numberOf(vram_free),
      })),
    }
  }

  /** The folders it looks for models in. */
  async modelFolders(signal?: AbortSignal): Promise<string[]> {
    const said = await this.#ask('api/models', { signal })
    return Array.isArray(said) ? said.filter((name) => typeof name === 'string') : []
  }

  /** The model files of one folder there; null where it has no such folder. */
  async modelFiles(folder: string, signal?: AbortSignal): Promise<{ name: string; sizeBytes: null }[] | null> {
    const reply = await this.#send(`api/models/${encodeURIComponent(folder)}`, { signal })
    if (reply.statusCode === 404) {
      await reply.body.dump()
      return null
    }
    await this.#refuse(reply)
    const said = await this.#read(reply)
    return Array.isArray(said)
      ? said.flatMap((name) => (typeof name === 'string' ? [{ name, sizeBytes: null }] : []))
      : null
  }

  // ---- tasks ----

  /**
   * Gives it a task, once however often it is sent under this id. `pngInfo`: texts of the pictures it saves;
   * `release`: run on this one, not on the one that is live.
   */
  async run(
    id: string,
    prompt: Prompt,
    { pngInfo, release, signal }: { pngInfo?: JsonObject; release?: number; signal?: AbortSignal } = {},
  ): Promise<void> {
    const headers: Record<string, string> = {
      'content-type': 'application/json',
      'task-id': id,
      prefer: 'respond-async',
      ...(release !== undefined && { 'x-release': String(release) }),
    }
    const body = writeJson(pngInfo ? { prompt, extra_data: { extra_pnginfo: pngInfo } } : prompt)
    await this.#ask('api/run', { method: 'POST', headers, body, signal, timeoutMs: 120_000 })
  }

  /** null: it knows no such task. `waitSeconds`: it may answer that late, when something changes before. */
  async status(
    id: string,
    { waitSeconds = 0, signal }: { waitSeconds?: number; signal?: AbortSignal | undefined } = {},
  ): Promise<TaskReport | null> {
    const search = new URLSearchParams({ id, ...(waitSeconds > 0 && { wait: String(waitSeconds) }) })
    const timeoutMs = TIMEOUT_MS + waitSeconds * 1000
    const said = await this.#ask(`api/status?${search}`, { signal, timeoutMs }).catch((cause: unknown) => {
      if (codeOf(cause) === 'agent.no-task') return null
      throw cause
    })
    return said === null ? null : this.#report(id, said)
  }

  /** Asks for its end. */
  async cancel(id: string, signal?: AbortSignal): Promise<void> {
    await this.#ask(`api/cancel?${new URLSearchParams({ id })}`, { method: 'POST', signal }).catch((cause: unknown) => {
      if (codeOf(cause) !== 'agent.no-task') throw cause
    })
  }

  /** A file that a task told of. @throws AppError 'output.missing' */
  async *file({ url = '', filename }: FileReference, signal?: AbortSignal): AsyncGenerator<Uint8Array> {
    const target = new URL(url, this.address.url)
    const known = new URL(this.address.url)
    // where the results lie in object storage their links open by themselves: the key is not for them
    const own = target.origin === known.origin
    const path = own ? ownPath(target, known) : target
    const reply = await this.#send(path, { signal, timeoutMs: UPLOAD_TIMEOUT_MS }, own)
    if (reply.statusCode === 404) {
      await reply.body.dump()
      throw new AppError('output.missing', { name: filename })
    }
    await this.#refuse(reply)
    try {
      yield* reply.body
    } catch (cause) {
      throw this.#unreachable(reasonOf(cause), cause)
    }
  }

  /** Whether an input file is in its store; `name` is `<sha256>.<ext>`. */
  async hasInput(name: string, signal?: AbortSignal): Promise<boolean> {
    const reply = await this.#send(`api/inputs/${encodeURIComponent(name)}`, { method: 'HEAD', signal })
    await reply.body.dump()
    if (reply.statusCode === 404) return false
    await this.#refuse(reply)
    return true
  }

  /** Puts an input file into its store, which checks that it is what its name says. */
  async putInput(name: string, file: { path: string; sizeBytes: number }, signal?: AbortSignal): Promise<void> {
    await this.#ask(`api/inputs/${encodeURIComponent(name)}`, {
      method: 'PUT',
      headers: { 'content-type': 'application/octet-stream', 'content-length': String(file.sizeBytes) },
      body: createReadStream(file.path),
      signal,
      timeoutMs: UPLOAD_TIMEOUT_MS,
    })
  }

  /** What is live there, each with the page on which people with a key fill in its form. */
  async forms(signal?: AbortSignal): Promise<EndpointForm[]> {
    const { workflows } = this.#said(Workflows, await this.#ask('api/workflows', { signal }))
    return workflows.map(({ id, name }) => ({ id, name, url: new URL(`form/${id}`, this.address.url).href }))
  }

  // ---- releases ----

  /** The newest first. */
  async releases(signal?: AbortSignal): Promise<ReleaseView[]> {
    return this.#said(ReleaseList, await this.#ask('v1/releases', { signal })).rows
  }

  async release(version: number, signal?: AbortSignal): Promise<ReleaseView> {
    return this.#said(ReleaseView, await this.#ask(`v1/releases/${version}`, { signal }))
  }

  /** A new release, which the agent makes ready; it serves nobody until it is promoted. */
  async publish(asked: ReleaseAsked, signal?: AbortSignal): Promise<ReleaseView> {
    const body = writeJson(asked as unknown as JsonObject)
    const headers = { 'content-type': 'application/json' }
    return this.#said(ReleaseView, await this.#ask('v1/releases', { method: 'POST', headers, body, signal }))
  }

  /** From now on it serves. */
  async promote(version: number, signal?: AbortSignal): Promise<ReleaseView> {
    const path = `v1/releases/${version}/promote`
    return this.#said(ReleaseView, await this.#ask(path, { method: 'POST', signal }))
  }

  /** What it has said of itself lately, as lines of its log. */
  async log(signal?: AbortSignal): Promise<{ at: number; text: string }[]> {
    return this.#said(LogLines, await this.#ask('v1/log', { signal })).rows
  }

  async close() {
    this.#closed.abort()
    await this.#own?.destroy()
  }

  // ---- asking ----

  async #ask(path: string, asking: Asking): Promise<Json> {
    const reply = await this.#send(path, asking)
    await this.#refuse(reply)
    const said = await this.#read(reply)
    if (said === undefined) throw this.#notAgent()
    return said
  }

  async #send(path: string | URL, asking: Asking, keyed = true): Promise<Reply> {
    const { method = 'GET', headers = {}, body, signal, timeoutMs = TIMEOUT_MS } = asking
    const { url, key } = this.address
    const within = AbortSignal.timeout(timeoutMs)
    try {
      return await request(new URL(path, url), {
        method,
        headers: { ...headers, ...(keyed && key !== null && { authorization: `Bearer ${key}` }) },
        body,
        signal: AbortSignal.any([within, this.#closed.signal, ...(signal ? [signal] : [])]),
        dispatcher: this.#dispatcher,
        headersTimeout: 300_000,
        bodyTimeout: 60_000,
      })
    } catch (cause) {
      signal?.throwIfAborted()
      throw this.#unreachable(within.aborted ? 'no answer in time' : reasonOf(cause), cause)
    }
  }

  /** undefined: it is no JSON. */
  async #read(reply: Reply): Promise<Json | undefined> {
    let text: string
    try {
      text = (await bytesWithin(reply, REPLY_LIMIT_BYTES)).toString('utf8')
    } catch (cause) {
      throw this.#unreachable(reasonOf(cause), cause)
    }
    return tryJson(text)
  }

  /** Throws what an answer that is none says. */
  async #refuse(reply: Reply) {
    const { statusCode: status } = reply
    if (status >= 200 && status < 300) return
    const said = status < 400 ? null : await this.#read(reply)
    const { url } = this.address
    if (!isJsonObject(said ?? null) || typeof (said as JsonObject).code !== 'string') {
      if (status === 401 || status === 403) throw new AppError('endpoint.key-refused', { url })
      // what stands before it speaks: a balancer, a tunnel, a proxy
      throw status >= 500 || status === 429 || status === 407 ? this.#unreachable(`HTTP ${status}`) : this.#notAgent()
    }
    const failure = failureOf(said as JsonObject)
    if (failure.code === 'agent.no-key') throw new AppError('endpoint.key-refused', { url })
    if (failure.facts.scope === 'publish') throw new AppError('endpoint.may-not-publish', { url })
    if (failure.code === 'agent.refused' && String(failure.facts.reason).endsWith(' /v1/releases'))
      throw new AppError('endpoint.takes-no-releases', { url })
    if (failure.code === 'worker.unreachable') throw this.#unreachable(failure.message)
    const retryAfter = Number(reply.headers['retry-after'])
    const facts = Number.isFinite(retryAfter) ? { ...failure.facts, retryAfterSeconds: retryAfter } : failure.facts
    throw new FailureError({ ...failure, facts })
  }

  #report(id: string, said: Json): TaskReport {
    const map = this.#said(TaskMap, said)
    const { '': own, ...nodes } = map
    const whole = this.#said(OwnEntry, own as Json | undefined)
    const read: Record<NodeId, NodeReport> = {}
    for (const [node, entry] of Object.entries(nodes)) read[node] = this.#said(NodeReport, entry as Json)
    return {
      id,
      promptId: whole.prompt_id,
      state: whole.state,
      queuePosition: whole.queue_position ?? null,
      seeds: whole.seeds ?? {},
      failure: whole.error ? failureOf({ code: whole.error.type, error: whole.error as unknown as JsonObject }) : null,
      seconds: whole.seconds ?? 0,
      nodes: read,
    }
  }

  #said<T extends z.ZodType>(schema: T, said: Json | undefined): z.output<T> {
    const read = schema.safeParse(said)
    if (!read.success) throw this.#notAgent(read.error)
    return read.data
  }

  #notAgent(cause?: unknown) {
    return new AppError('endpoint.not-agent', { url: this.address.url }, { cause })
  }

  #unreachable(reason: string, cause?: unknown) {
    return new AppError('worker.unreachable', { url: this.address.url, reason }, { cause })
  }
}

/**
 * What a person typed as an agent's address: `gpu.example.com:9000`, `https://host/agent/`. Pure.
 * @throws AppError 'endpoint.bad-address'
 */
export function readAgentUrl(typed: string): string {
  const text = typed.trim()
  const withScheme = /^[a-z][a-z\d+.-]*:\/\//i.test(text) ? text : `http://${text}`
  const url = /\s/.test(text) ? null : URL.parse(withScheme)
  if (!url || !/^https?:$/.test(url.protocol) || url.hostname === '' || url.username !== '' || url.password !== '')
    throw new AppError('endpoint.bad-address', { url: text.replace(/\/\/[^@/]*@/, '//').slice(0, 200) })
  return url.origin + url.pathname.replace(/\/*$/, '/')
}

/** All that a task gave out, each file with where it is had. Pure. */
export function outputsOf({ nodes }: TaskReport): Output[] {
  const outputs: HistoryEntry['outputs'] = {}
  const urls: Record<NodeId, readonly string[]> = {}
  for (const [node, report] of Object.entries(nodes)) {
    outputs[node] = { images: (report.images ?? []) as unknown as Json, ...report.outputs }
    urls[node] = report.urls ?? []
  }
  return collectOutputs(outputs, urls)
}

/** The code of whatever was thrown. */
export const codeOf = (cause: unknown): string =>
  cause instanceof AppError ? cause.code : cause instanceof FailureError ? cause.failure.code : ''

const TaskMap = z.record(z.string(), z.custom<Json>())
const OwnEntry = z.object({
  state: TaskState,
  prompt_id: z.string(),
  queue_position: z.int().optional(),
  seconds: z.number().optional(),
  seeds: z.record(z.string(), z.number()).optional(),
  error: z
    .object({ type: z.string(), message: z.string(), remedy: z.string(), facts: z.custom<Facts>().optional() })
    .optional(),
})
const Workflows = z.object({ workflows: z.array(EndpointForm.omit({ url: true })) })
const LogLines = z.object({ rows: z.array(z.object({ at: z.number(), text: z.string() })) })

/** What an agent says went wrong, in words of ours where the facts are there to make them. */
function failureOf(said: JsonObject): Failure {
  const code = textOf(said.code)
  const error = isJsonObject(said.error) ? said.error : {}
  const facts = (isJsonObject(said.facts) ? said.facts : isJsonObject(error.facts) ? error.facts : {}) as Facts
  const known = Object.hasOwn(errors, code) ? errors[code as keyof typeof errors] : undefined
  const told = Object.keys(facts).length > 0
  return {
    code,
    message: (known && told && fill(known.message, facts)) || textOf(error.message) || known?.message || code,
    remedy: (known && fill(known.remedy, facts)) || textOf(error.remedy),
    facts,
  }
}

/** An agent behind a prefix tells of its files as if it had none. */
function ownPath(target: URL, known: URL): URL {
  if (target.pathname.startsWith(known.pathname)) return target
  return new URL(`${known.origin}${known.pathname}${target.pathname.slice(1)}${target.search}`)
}

const textOf = (value: Json | undefined) => (typeof value === 'string' ? value : '')
const numberOf = (value: Json | undefined) => (Number.isFinite(Number(value)) ? Number(value) : 0)
