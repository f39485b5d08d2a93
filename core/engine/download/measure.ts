import { createHash } from 'node:crypto'
import type { Dispatcher } from 'undici'
import { isJsonObject, parseJson } from '../../contract/json.ts'
import type { Measured, MirrorCheck } from '../../contract/mirror.ts'
import { reasonOf } from '../comfy/client.ts'
import { follow } from './follow.ts'
import { addressAt, type MirrorPlace } from './mirrors.ts'

export interface Measuring {
  /** A fresh one: the first connection counts. */
  readonly dispatcher: Dispatcher
  /** Where a mirror may not send people: whoever does has declined. */
  readonly officialHosts: readonly string[]
  readonly headersFor?: (address: string) => Record<string, string>
  readonly now: () => number
  readonly signal?: AbortSignal
  readonly timeoutMs?: number
}

const TIMEOUT_MS = 20_000
const BULK_BYTES = 4 * 2 ** 20
const BULK_MS = 5_000
/** Of less, only the latency tells. */
const RATE_BYTES = 32 * 2 ** 10
const LIMIT_BYTES = 16 * 2 ** 20

/** Why a place is no good. */
class Fault extends Error {
  readonly fault: NonNullable<Measured['fault']>
  constructor(fault: NonNullable<Measured['fault']>, reason: string) {
    super(reason)
    this.fault = fault
  }
}
interface Taken {
  readonly bytes: Buffer
  readonly sizeBytes: number
  readonly latencyMs: number
  readonly ms: number
  readonly url: string
  readonly headers: Dispatcher.ResponseData['headers']
  readonly statusCode: number
}

/** Tries a place with real files; good only where every one of them is what it should be. */
export async function measurePlace(
  place: MirrorPlace,
  checks: readonly MirrorCheck[],
  measuring: Measuring,
): Promise<Measured> {
  const { now, signal } = measuring
  const seen: Measured = {
    at: now(),
    ok: false,
    fault: null,
    reason: null,
    latencyMs: null,
    bytesPerSecond: null,
    ranges: null,
  }
  let largest = 0
  const count = ({ latencyMs, ms, sizeBytes }: Taken) => {
    seen.latencyMs = Math.round(Math.min(seen.latencyMs ?? Number.POSITIVE_INFINITY, latencyMs))
    if (sizeBytes <= largest || sizeBytes < RATE_BYTES) return
    largest = sizeBytes
    seen.bytesPerSecond = Math.round(sizeBytes / (Math.max(ms, 1) / 1000))
  }
  try {
    let checked = false
    for (const check of checks) {
      const address = addressAt(place, check.url)
      if (address === null) continue
      if (check.is === 'file') {
        const got = await take(address, measuring, {})
        refuseUnless(got.sizeBytes === (check.sizeBytes ?? got.sizeBytes) && isHash(got.bytes, check.sha256), got)
        count(got)
        checked = true
      } else if (check.is === 'index') {
        const got = await fromIndex(address, check, measuring)
        count(got)
        checked = true
      } else if (check.is === 'git') {
        const got = await take(`${address}/info/refs?service=git-upload-pack`, measuring, {})
        const told = got.bytes.toString('latin1')
        refuseUnless(told.startsWith('001e# service=git-upload-pack') && told.includes(check.commit), got)
        count(got)
        checked = true
      } else {
        const got = await take(address, measuring, { upTo: BULK_BYTES })
        const total = Number(/\/(\d+)$/.exec(String(got.headers['content-range'] ?? ''))?.[1])
        const length = Number(got.headers['content-length'])
        seen.ranges = got.statusCode === 206
        refuseUnless((seen.ranges ? total : length) === check.sizeBytes, got)
        count(got)
      }
    }
    if (!checked) throw new Fault('refused', 'nothing of it can be checked')
    return { ...seen, ok: true }
  } catch (cause) {
    signal?.throwIfAborted()
    const fault = cause instanceof Fault ? cause.fault : 'unreachable'
    return { ...seen, fault, reason: reasonOf(cause) }
  }
}

/** The file a page of a Python index names; where the page leads is part of what is measured. */
async function fromIndex(
  address: string,
  { file, sha256 }: Extract<MirrorCheck, { is: 'index' }>,
  measuring: Measuring,
): Promise<Taken> {
  const accept = 'application/vnd.pypi.simple.v1+json, text/html;q=0.5'
  const page = await take(address, measuring, { accept })
  const link = linkOf(page.bytes.toString('utf8'), page.url, file)
  if (link === null) throw new Fault('wrong', `it does not list ${file}`)
  refuseOfficial(new URL(link), address, measuring)
  const got = await take(link, measuring, {}, address)
  refuseUnless(isHash(got.bytes, sha256), got)
  return { ...got, latencyMs: page.latencyMs }
}

/** Where a page of an index says that a file is. Pure. */
export function linkOf(page: string, url: string, file: string): string | null {
  if (page.trimStart().startsWith('{')) {
    const read = parseJson(page)
    const files = isJsonObject(read) && Array.isArray(read.files) ? read.files : []
    const found = files.filter(isJsonObject).find(({ filename }) => filename === file)
    return typeof found?.url === 'string' ? new URL(found.url, url).href : null
  }
  for (const [, href] of page.matchAll(/href="([^"]+)"/g)) {
    const link = URL.parse(href!.replaceAll('&amp;', '&'), url)
    if (link && decodeURIComponent(link.pathname).endsWith(`/${file}`)) return link.href.replace(/#.*$/, '')
  }
  return null
}

const isHash = (bytes: Buffer, sha256: string) => createHash('sha256').update(bytes).digest('hex') === sha256
function refuseUnless(right: boolean, { headers }: Taken) {
  const page = /html/i.test(String(headers['content-type'] ?? ''))
  if (!right) throw new Fault('wrong', page ? 'it sent a web page' : 'it sent something else')
}

function refuseOfficial(target: URL, asked: string, { officialHosts }: Measuring) {
  const from = new URL(asked).host
  if (target.host !== from && officialHosts.includes(target.host) && !officialHosts.includes(from))
    throw new Fault('declined', `it sends people to ${target.host}`)
}

async function take(
  address: string,
  measuring: Measuring,
  { accept = '*/*', upTo }: { accept?: string; upTo?: number },
  from = address,
): Promise<Taken> {
  const { dispatcher, now, signal, timeoutMs = TIMEOUT_MS, headersFor } = measuring
  const within = AbortSignal.any([AbortSignal.timeout(timeoutMs), ...(signal ? [signal] : [])])
  const begun = now()
  const headers: Record<string, string> = {
    accept,
    'accept-encoding': 'identity',
    'user-agent': 'Nightshift',
    ...(upTo !== undefined && { range: `bytes=0-${upTo - 1}` }),
    ...headersFor?.(address),
  }
  // what is for one host goes to no other
  const reply = await follow(address, { dispatcher, signal: within, headers }, (target) => {
    refuseOfficial(target, from, measuring)
    if (target.origin !== new URL(address).origin) for (const name of CREDENTIALS) delete headers[name]
  })
  const { statusCode, body, url } = reply
  const chunks: Uint8Array[] = []
  let sizeBytes = 0
  let latencyMs = now() - begun
  const first = now()
  body.on('error', () => {})
  if (statusCode !== 200 && statusCode !== 206) {
    body.destroy()
    throw new Fault('refused', `HTTP ${statusCode}`)
  }
  try {
    for await (const chunk of body as AsyncIterable<Uint8Array>) {
      if (sizeBytes === 0) latencyMs = now() - begun
      sizeBytes += chunk.length
      if (upTo === undefined) chunks.push(chunk)
      if (sizeBytes > LIMIT_BYTES) throw new Fault('wrong', 'it sent something else')
      if (upTo !== undefined && (sizeBytes >= upTo || now() - first > BULK_MS)) break
    }
  } catch (cause) {
    signal?.throwIfAborted()
    if (within.aborted && sizeBytes > 0)
      throw new Fault('slow', `${Math.round(sizeBytes / 1024)} KiB in ${timeoutMs / 1000} s`)
    throw cause
  } finally {
    body.destroy()
  }
  return {
    bytes: Buffer.concat(chunks),
    sizeBytes,
    latencyMs,
    ms: now() - first,
    url,
    headers: reply.headers,
    statusCode,
  }
}
const CREDENTIALS = ['authorization', 'cookie'] as const
