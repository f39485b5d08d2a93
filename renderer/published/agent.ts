import { AppError, type Failure, FailureError } from '../../core/contract/errors.ts'
import { isJsonObject, type Json, type JsonObject, parseJson, writeJson } from '../../core/contract/json.ts'
import type { Panel } from '../../core/contract/panel.ts'
import type { Parameter } from '../../core/contract/workflow.ts'
import { failureOf } from '../client/client.ts'

/** A workflow as the agent tells of it: its form, and what the fields turn. */
export interface Offered {
  readonly id: string
  readonly name: string
  readonly panel: Panel
  readonly parameters: readonly Parameter[]
}
export interface Made {
  readonly url: string
  readonly mediaType: string
}
export interface Told {
  readonly state: string
  /** 0 to 1; null: not known. */
  readonly part: number | null
  readonly ahead: number | null
  readonly failure: Failure | null
  readonly files: readonly Made[]
}

const KEPT = 'nightshift.published.key'
/** Where the agent is: with what stands before it in the address, as behind a proxy. */
const [HOME = '/', ASKED = ''] = [...(/^(.*\/)form\/([a-z0-9-]*)/.exec(location.pathname) ?? [])].slice(1)
/** The form that the address names; '': none. */
export const askedForm = ASKED
export const formAddress = (id: string) => `${HOME}form/${id}`

/** Tasks given from this tab, the newest first: a phone may load the page anew at any moment. */
const tasksOf = (id: string) => `nightshift.published.tasks.${id}`
export const keptTasks = (id: string): string[] =>
  (sessionStorage.getItem(tasksOf(id)) ?? '').split('\n').filter(Boolean).slice(0, MOST_KEPT)
export const keepTasks = (id: string, tasks: readonly string[]) =>
  sessionStorage.setItem(tasksOf(id), tasks.slice(0, MOST_KEPT).join('\n'))
const MOST_KEPT = 20

const TRIES = 20
const PATIENCE_MS = 3_000
/** Whoever says this may answer in a moment. */
const PASSING = new Set(['agent.silent', 'agent.stopping', 'agent.too-many', 'worker.unreachable'])

/** From the link, once: whoever looks at the address afterwards does not see it. */
export function keyFromLink(): string | null {
  const [, given] = /[#&]key=([^&]+)/.exec(location.hash) ?? []
  if (given !== undefined) {
    sessionStorage.setItem(KEPT, decodeURIComponent(given))
    history.replaceState(null, '', location.pathname + location.search)
  }
  return sessionStorage.getItem(KEPT)
}
export const keepKey = (key: string) => sessionStorage.setItem(KEPT, key)
export const forgetKey = () => sessionStorage.removeItem(KEPT)

/** The agent that this page came from. */
export class PublishedAt {
  readonly #key: string
  readonly #onRefused: () => void

  constructor(key: string, onRefused: () => void) {
    this.#key = key
    this.#onRefused = onRefused
  }

  async workflows(): Promise<Offered[]> {
    const { workflows } = (await this.#ask('/api/workflows')) as { workflows?: unknown }
    return workflows as Offered[]
  }

  /** @returns the task's id */
  async run(id: string, values: Readonly<Record<string, Json>>): Promise<string> {
    const { taskId } = await this.#ask(`/api/workflows/${id}`, {
      method: 'POST',
      headers: { prefer: 'respond-async', 'content-type': 'application/json' },
      body: writeJson({ values: values as JsonObject }),
    })
    return String(taskId)
  }

  /** Each time something moves, until it is over. */
  async *follow(taskId: string, signal: AbortSignal): AsyncIterable<Told> {
    let tries = 0
    for (let wait = 0; ; wait = 20) {
      let told: Told
      try {
        told = read(
          await this.#ask(`/api/status?${new URLSearchParams({ id: taskId, wait: String(wait) })}`, { signal }),
        )
      } catch (cause) {
        if (signal.aborted || !PASSING.has(failureOf(cause).code) || ++tries > TRIES) throw cause
        await new Promise((resolve) => setTimeout(resolve, PATIENCE_MS))
        signal.throwIfAborted()
        continue
      }
      tries = 0
      yield told
      if (told.state !== 'queued' && told.state !== 'running') return
    }
  }

  async cancel(taskId: string): Promise<void> {
    await this.#ask(`/api/cancel?${new URLSearchParams({ id: taskId })}`, { method: 'POST' })
  }

  /** What stands for a file in a value: its name at the agent; itself where a browser makes no hashes, which plain http is. */
  async keep(file: File): Promise<string> {
    if (!isSecureContext) return dataOf(file)
    const bytes = await file.arrayBuffer()
    const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes))
    const sha256 = Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('')
    const [, ending = 'bin'] = /\.([a-z\d]{1,8})$/i.exec(file.name) ?? []
    const name = `${sha256}.${ending.toLowerCase()}`
    await this.#ask(`/api/inputs/${name}`, { method: 'PUT', body: bytes })
    return `store:${name}`
  }

  /** The bytes of a file that was made, as an address of this page's own, and what it is called. */
  async fetch({ url, mediaType }: Made): Promise<{ url: string; name: string }> {
    const reply = await this.#fetch(url, {})
    const [, given] = /filename\*=UTF-8''([^;]+)/i.exec(reply.headers.get('content-disposition') ?? '') ?? []
    const name = given === undefined ? `picture.${mediaType.split(/[/+]/)[1] ?? 'png'}` : decodeURIComponent(given)
    return { url: URL.createObjectURL(await reply.blob()), name }
  }

  async #ask(path: string, init: RequestInit = {}): Promise<JsonObject> {
    const reply = await this.#fetch(path, init)
    const text = await reply.text()
    const said = text === '' ? {} : parseJson(text)
    return isJsonObject(said) ? said : {}
  }

  /** @throws FailureError with what the agent said */
  async #fetch(path: string, { headers, ...init }: RequestInit): Promise<Response> {
    const target = new URL(path, location.origin)
    const own = target.origin === location.origin
    if (own && !target.pathname.startsWith(HOME)) target.pathname = HOME + target.pathname.slice(1)
    const reply = await fetch(target, {
      ...init,
      headers: { ...headers, ...(own && { authorization: `Bearer ${this.#key}` }) },
    }).catch((cause: unknown) => {
      if (init.signal?.aborted) throw cause
      throw new AppError('agent.silent', { host: target.host }, { cause })
    })
    if (reply.ok) return reply
    if (own && reply.status === 401) this.#onRefused()
    throw new FailureError(failureIn(await reply.text(), reply.status))
  }
}

const dataOf = (file: File) =>
  new Promise<string>((resolve, reject) => {
    const reader = new FileReader()
    reader.onload = () => resolve(String(reader.result))
    reader.onerror = () => reject(reader.error)
    reader.readAsDataURL(file)
  })

function failureIn(text: string, status: number): Failure {
  let said: Json = null
  try {
    said = parseJson(text)
  } catch {
    // not from the agent
  }
  const { code, error } = isJsonObject(said) ? said : {}
  const { message, remedy, facts } = isJsonObject(error) ? error : {}
  return {
    code: typeof code === 'string' ? code : 'app.internal',
    message: typeof message === 'string' ? message : `HTTP ${status}`,
    remedy: typeof remedy === 'string' ? remedy : '',
    facts: isJsonObject(facts) ? facts : {},
  }
}

function read(map: JsonObject): Told {
  const { '': whole, ...nodes } = map
  const own = isJsonObject(whole) ? whole : {}
  const entries = Object.values(nodes).filter((entry) => isJsonObject(entry))
  const parts = entries.map(({ max, value }) => (Number(max) > 0 ? Number(value) / Number(max) : 0))
  const error = isJsonObject(own.error) ? own.error : null
  return {
    state: String(own.state ?? 'queued'),
    part: parts.length === 0 ? null : parts.reduce((sum, part) => sum + part, 0) / parts.length,
    ahead: typeof own.queue_position === 'number' ? own.queue_position : null,
    failure: error && {
      code: String(error.type ?? 'app.internal'),
      message: String(error.message ?? ''),
      remedy: String(error.remedy ?? ''),
      facts: isJsonObject(error.facts) ? error.facts : {},
    },
    files: entries.flatMap(({ urls, mime }) =>
      Array.isArray(urls)
        ? urls.map((url, at) => ({ url: String(url), mediaType: String(Array.isArray(mime) ? (mime[at] ?? '') : '') }))
        : [],
    ),
  }
}
