import type { Dispatcher } from 'undici'
import { AppError } from '../../contract/errors.ts'
import { isJsonObject, type Json, parseJson, writeJson } from '../../contract/json.ts'
import { reasonOf } from '../comfy/client.ts'
import { bytesWithin, follow } from '../download/follow.ts'
import type { HubHost } from './link.ts'

/** Answers of hubs, with the time they were given. */
export interface AnswerCache {
  get(key: string): { at: number; text: string } | null
  set(key: string, answer: { at: number; text: string }): void
}

/** How hubs are reached from here. */
export interface HubNetwork {
  dispatcherFor(url: string): Dispatcher
  /** The best first; of each hub, its official host is among them. */
  hosts(): readonly HubHost[]
  /** The person's token for this host: that of its hub, or of one it stands in for where the person allowed that. */
  tokenFor(host: string): string | null
  cache: AnswerCache
  now(): number
  userAgent: string
}

export interface Answer {
  json: Json
  /** Of the page after this one, as a path on whichever host is asked. */
  next: string | null
  at: number
}
interface Asking {
  signal?: AbortSignal | undefined
  /** An answer no older is not asked for again; 0: always asked. */
  freshMs?: number
  method?: 'GET' | 'PUT'
  body?: Json
}

/** Hubs that nobody could reach just now, and until when they are left alone: the next question fails at once. */
const resting = new WeakMap<HubNetwork['cache'], Map<string, { until: number; because: AppError }>>()
const REST_MS = 30_000
const LIMIT_BYTES = 48 * 1024 * 1024
const TIMEOUT_MS = 20_000
/** An older answer is better than none while nobody can be reached. */
const STALE_MS = 30 * 24 * 60 * 60_000
export const MINUTES = 60_000
export const HOURS = 60 * MINUTES

/**
 * A hub's answer, from whichever of its hosts has it; what the official one says of access counts. Mirrors that redirect
 * to the official host decline, and pages that are no answer of a hub are passed over.
 * @throws AppError hub.*
 */
export async function ask(
  network: HubNetwork,
  hub: HubHost['hub'],
  path: string,
  asking: Asking = {},
): Promise<Answer> {
  const { freshMs = 10 * MINUTES, method = 'GET', body } = asking
  const key = `${hub} ${method} ${path} ${body === undefined ? '' : writeJson(body)}`
  const kept = network.cache.get(key)
  if (kept && network.now() - kept.at < freshMs) return read(kept)
  const rests = resting.get(network.cache) ?? new Map<string, { until: number; because: AppError }>()
  resting.set(network.cache, rests)
  const rest = rests.get(hub)
  let lasting = rest && network.now() < rest.until ? rest.because : undefined
  for (const host of lasting ? [] : network.hosts().filter((each) => each.hub === hub)) {
    try {
      const text = await askHost(network, host, path, { ...asking, method })
      const answer = { at: network.now(), text }
      const found = read(answer)
      network.cache.set(key, answer)
      return found
    } catch (cause) {
      asking.signal?.throwIfAborted()
      const failure = cause instanceof AppError ? cause : unreachable(host, cause)
      // a mirror may lack what the hub has; of the hub itself, a clear no is one
      if (!lasting || host.official) lasting = failure
      if (host.official && !['hub.unreachable', 'hub.wrong-answer', 'hub.busy'].includes(failure.code)) break
    }
  }
  const silent = !lasting || ['hub.unreachable', 'hub.wrong-answer', 'hub.busy'].includes(lasting.code)
  if (lasting && silent && lasting !== rest?.because) {
    const restMs = lasting.code === 'hub.busy' ? Number(lasting.facts.seconds) * 1000 : REST_MS
    rests.set(hub, { until: network.now() + restMs, because: lasting })
  }
  if (silent && kept && network.now() - kept.at < STALE_MS) return read(kept)
  throw lasting ?? new AppError('hub.unreachable', { hub: hubNames[hub], reason: 'no host of it is known' })
}

function read({ at, text }: { at: number; text: string }): Answer {
  const { json, next } = parseJson(text) as unknown as { json: Json; next: string | null }
  return { json, next, at }
}

export const hubNames = { huggingface: 'Hugging Face', modelscope: 'ModelScope', civitai: 'Civitai' } as const

async function askHost(network: HubNetwork, host: HubHost, path: string, asking: Asking): Promise<string> {
  const { method = 'GET', body } = asking
  const signals = [AbortSignal.timeout(TIMEOUT_MS), ...(asking.signal ? [asking.signal] : [])]
  const url = host.base + path
  const reply = await follow(
    url,
    {
      method,
      dispatcher: network.dispatcherFor(url),
      signal: AbortSignal.any(signals),
      headers: {
        'user-agent': network.userAgent,
        accept: 'application/json',
        ...(body !== undefined && { 'content-type': 'application/json' }),
        ...authorisation(network, host),
      },
      ...(body !== undefined && { body: writeJson(body) }),
    },
    // a credential goes to no other host, and a mirror that sends people to the hub has declined
    (target) => {
      if (target.origin !== URL.parse(host.base)?.origin)
        throw new AppError('hub.unreachable', {
          hub: hubNames[host.hub],
          reason: `${hostName(host)} sends on to ${target.host}`,
        })
    },
  )
  const { statusCode, headers } = reply
  const bytes = await bytesWithin(reply, LIMIT_BYTES)
  const text = bytes.toString('utf8')
  if (statusCode !== 200) throw refusal(host, statusCode, headers, text, path, network)
  const kind = String(headers['content-type'] ?? '')
  let json: Json
  try {
    if (/html/i.test(kind)) throw new Error('a web page')
    json = parseJson(text)
  } catch (cause) {
    throw new AppError('hub.wrong-answer', { hub: hubNames[host.hub], host: hostName(host) }, { cause })
  }
  const [, next = null] = /<([^>]+)>\s*;\s*rel="?next"?/i.exec(String(headers.link ?? '')) ?? []
  const at = next === null ? null : URL.parse(next, url)
  return writeJson({ json, next: at ? at.pathname + at.search : null })
}

/** The credential of a host, if it may have one: a mirror's only where the person said so. */
export function authorisation(network: HubNetwork, host: HubHost): { authorization?: string } {
  const token = network.tokenFor(URL.parse(host.base)?.host ?? '')
  return token === null ? {} : { authorization: `Bearer ${token}` }
}
const hostName = ({ base }: HubHost) => URL.parse(base)?.host ?? base
const unreachable = (host: HubHost, cause: unknown) =>
  new AppError(
    'hub.unreachable',
    { hub: hubNames[host.hub], reason: `${hostName(host)}: ${reasonOf(cause)}` },
    { cause },
  )

/** What a status other than success means at each hub, with what a person can do. */
export function refusal(
  host: HubHost,
  status: number,
  headers: Record<string, string | string[] | undefined>,
  text: string,
  what: string,
  network: Pick<HubNetwork, 'tokenFor'>,
): AppError {
  const hub = hubNames[host.hub]
  const page = pageOf(host, what)
  const facts = { hub, page, what: whatOf(what) }
  const code = String(headers['x-error-code'] ?? '')
  const said = `${String(headers['x-error-message'] ?? '')} ${text.slice(0, 2000)}`
  const hasToken = network.tokenFor(URL.parse(host.base)?.host ?? '') !== null
  if (status === 429 || (status === 403 && /rate limit|unusual amount/i.test(said)))
    return new AppError('hub.busy', { hub, host: hostName(host), seconds: waitOf(headers) })
  if (/access to this resource is disabled|has disabled downloads/i.test(said))
    return new AppError('hub.disabled', facts)
  if (status === 410) return new AppError('hub.disabled', facts)
  if (status === 403 && /early access/i.test(said))
    return new AppError('hub.early-access', { ...facts, until: /"deadline":\s*"([^"]+)"/.exec(said)?.[1] ?? '' })
  if (code === 'GatedRepo') return new AppError(hasToken ? 'hub.no-access' : 'hub.gated', facts)
  if (status === 401) return new AppError(hasToken ? 'hub.bad-token' : 'hub.needs-token', facts)
  if (status === 403) return new AppError(hasToken ? 'hub.no-access' : 'hub.needs-token', facts)
  if (status === 404) return new AppError('hub.not-found', facts)
  return new AppError('hub.unreachable', { hub, reason: `${hostName(host)}: HTTP ${status}` })
}

/** Seconds a busy hub asks to be left alone for. */
function waitOf(headers: Record<string, string | string[] | undefined>): number {
  const window = /;t=(\d+)/.exec(String(headers.ratelimit ?? ''))?.[1]
  const after = /^\d+$/.exec(String(headers['retry-after'] ?? ''))?.[0]
  return window !== undefined ? Number(window) + 1 : after !== undefined ? Number(after) : 300
}

const whatOf = (path: string) =>
  path
    .replace(/^\/(api\/(v1\/)?)?(models\/)?/, '')
    .replace(/[?#].*$/s, '')
    .slice(0, 300)
/** Of the official host, since only there can conditions be agreed to. */
function pageOf(host: HubHost, path: string): string {
  const [, repo] = /^\/(?:api\/(?:v1\/)?)?(?:models\/)?([^/?]+\/[^/?]+)/.exec(path) ?? []
  if (host.hub === 'huggingface') return `${host.base}/${repo ?? ''}`
  return host.hub === 'modelscope' ? `${host.base}/models/${repo ?? ''}` : host.base
}

/** A field of foreign JSON, only where it is what it should be. */
export const textIn = (value: unknown, key: string) =>
  isJsonObject(value) && typeof value[key] === 'string' && value[key] !== '' ? value[key] : null
export const numberIn = (value: unknown, key: string) =>
  isJsonObject(value) && typeof value[key] === 'number' && Number.isFinite(value[key]) ? value[key] : null
export const listIn = (value: unknown, key: string): Json[] =>
  isJsonObject(value) && Array.isArray(value[key]) ? value[key] : []
export const sizeOf = (value: number | null) => (value !== null && value >= 0 ? Math.round(value) : null)
export const sha256Of = (value: string | null) =>
  value !== null && /^[\da-f]{64}$/i.test(value) ? value.toLowerCase() : null
