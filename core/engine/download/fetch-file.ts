import { mkdir, open, rename, rm, stat } from 'node:fs/promises'
import path from 'node:path'
import { getCACertificates, rootCertificates } from 'node:tls'
import { Agent, type Dispatcher, EnvHttpProxyAgent, request } from 'undici'
import { AppError } from '../../contract/errors.ts'
import { reasonOf } from '../comfy/client.ts'
import { hashFile } from '../hash-file.ts'
import { follow } from './follow.ts'

export interface Switched {
  readonly from: string
  readonly to: string
  readonly reason: string
}
export interface FileRequest {
  /** The same file, in the order to try them. */
  readonly addresses: readonly string[]
  readonly to: string
  /** Without it, what one address began, another cannot continue. */
  readonly sha256?: string
  readonly sizeBytes?: number
  readonly limitBytes: number
  readonly dispatcher: Dispatcher
  readonly signal?: AbortSignal
  /** Without a byte for so long, the next address is tried. */
  readonly stallMs?: number
  readonly onBytes?: (bytes: number, total: number | null) => void
}

/** Speaks to the internet as this system does: its certificates, its proxy or the one given. `none`: directly. */
export function dispatcherFor(proxy: string | null, env: NodeJS.ProcessEnv): Dispatcher {
  const connect = {
    timeout: 10_000,
    ca: [...rootCertificates, ...getCACertificates('system'), ...getCACertificates('extra')],
  }
  if (proxy === 'none') return new Agent({ connect })
  const given = (name: string) => env[name] ?? env[name.toUpperCase()] ?? env.all_proxy ?? env.ALL_PROXY
  const usable = (url: string | undefined) => (url && /^https?:/.test(url) ? url : '')
  return new EnvHttpProxyAgent({
    connect,
    httpProxy: proxy ?? usable(given('http_proxy')),
    httpsProxy: proxy ?? usable(given('https_proxy')),
    noProxy: env.no_proxy ?? env.NO_PROXY ?? 'localhost,127.0.0.1,::1',
  })
}

/**
 * A file, whole and checked, under its name at last; what was fetched before is continued where the hash is known. Gives
 * which addresses failed.
 * @throws AppError 'install.unreachable'
 */
export async function fetchFile(
  asked: FileRequest,
): Promise<{ url: string; fetchedBytes: number; switched: Switched[] }> {
  const { addresses, to, sha256, signal } = asked
  const part = `${to}.part`
  await mkdir(path.dirname(to), { recursive: true })
  const failed: { from: string; reason: string }[] = []
  let fetchedBytes = 0
  for (const address of addresses) {
    signal?.throwIfAborted()
    try {
      if (sha256 === undefined) await rm(part, { force: true })
      await continueFrom(address, part, asked, (bytes) => {
        fetchedBytes += bytes
      })
      const actual = await hashFile(part)
      if (sha256 !== undefined && actual !== sha256) {
        await rm(part, { force: true })
        throw new Error('it sent something else')
      }
      await rename(part, to)
      return {
        url: address,
        fetchedBytes,
        switched: failed.map(({ from, reason }) => ({ from, to: hostOf(address), reason })),
      }
    } catch (cause) {
      signal?.throwIfAborted()
      failed.push({ from: hostOf(address), reason: reasonOf(cause) })
    }
  }
  const reason = failed.map((each) => `${each.from}: ${each.reason}`).join('; ')
  throw new AppError('install.unreachable', { what: path.basename(to), reason })
}

async function continueFrom(address: string, part: string, asked: FileRequest, count: (bytes: number) => void) {
  const { sizeBytes, limitBytes, dispatcher, signal, stallMs = 20_000, onBytes } = asked
  const before = await stat(part).then(
    ({ size }) => size,
    () => 0,
  )
  if (sizeBytes !== undefined && before === sizeBytes) return
  const headers = { 'accept-encoding': 'identity', ...(before > 0 && { range: `bytes=${before}-` }) }
  const reply = await follow(address, { dispatcher, signal, headers, headersTimeout: stallMs, bodyTimeout: stallMs })
  const { statusCode, body } = reply
  const refuse = (reason: string) => {
    body.on('error', () => {}).destroy()
    return new Error(reason)
  }
  if (statusCode !== 200 && statusCode !== 206) throw refuse(`HTTP ${statusCode}`)
  const [, from, total] = /^bytes (\d+)-\d+\/(\d+)/.exec(String(reply.headers['content-range'] ?? '')) ?? []
  if (statusCode === 206 && Number(from) !== before) throw refuse('it continued elsewhere')
  const length = Number(reply.headers['content-length'] ?? Number.NaN)
  const whole = statusCode === 206 ? Number(total) : length
  if (sizeBytes !== undefined && !Number.isNaN(whole) && whole !== sizeBytes) throw refuse('its size is wrong')
  if (whole > limitBytes) throw refuse('it is too large')
  const file = await open(part, statusCode === 206 ? 'a' : 'w')
  try {
    let done = statusCode === 206 ? before : 0
    for await (const chunk of body as AsyncIterable<Uint8Array>) {
      done += chunk.length
      if (done > (sizeBytes ?? limitBytes)) throw refuse('it sent more than there is')
      await file.write(chunk)
      count(chunk.length)
      onBytes?.(done, Number.isNaN(whole) ? null : whole)
    }
    if (!Number.isNaN(whole) && done < whole) throw new Error('it ended early')
    await file.sync()
  } finally {
    await file.close()
  }
}

/** The text of a page, from the first address that has one `isRight` takes. */
export async function fetchText(
  asked: Pick<FileRequest, 'addresses' | 'dispatcher' | 'signal' | 'stallMs'> & {
    what: string
    accept?: string
    isRight: (text: string) => boolean
  },
): Promise<{ url: string; type: string; text: string; switched: Switched[] }> {
  const { addresses, dispatcher, signal, stallMs = 15_000, what, accept = '*/*', isRight } = asked
  const failed: { from: string; reason: string }[] = []
  for (const address of addresses) {
    signal?.throwIfAborted()
    try {
      const within = AbortSignal.any([AbortSignal.timeout(stallMs * 2), ...(signal ? [signal] : [])])
      const options = { dispatcher, signal: within, headers: { accept }, headersTimeout: stallMs, bodyTimeout: stallMs }
      const { statusCode, headers, body, url } = await follow(address, options)
      if (statusCode !== 200) {
        body.on('error', () => {}).destroy()
        throw new Error(`HTTP ${statusCode}`)
      }
      const text = await body.text()
      if (!isRight(text)) throw new Error('it sent something else')
      const switched = failed.map(({ from, reason }) => ({ from, to: hostOf(address), reason }))
      return { url, type: String(headers['content-type'] ?? ''), text, switched }
    } catch (cause) {
      signal?.throwIfAborted()
      failed.push({ from: hostOf(address), reason: reasonOf(cause) })
    }
  }
  const reason = failed.map((each) => `${each.from}: ${each.reason}`).join('; ')
  throw new AppError('install.unreachable', { what, reason })
}

/** Where a release's address leads, which names its tag; null: nowhere. */
export async function latestTag(
  releases: string,
  dispatcher: Dispatcher,
  signal?: AbortSignal,
): Promise<string | null> {
  const reply = await request(`${releases}/latest`, {
    method: 'HEAD',
    dispatcher,
    signal,
    headersTimeout: 15_000,
  }).catch(() => null)
  await reply?.body.dump()
  return /\/releases\/tag\/([^/?#]+)$/.exec(String(reply?.headers.location ?? ''))?.[1] ?? null
}

export const hostOf = (address: string) => URL.parse(address)?.host || address
