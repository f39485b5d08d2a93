import { rm } from 'node:fs/promises'
import path from 'node:path'
import { Agent, type Dispatcher, EnvHttpProxyAgent, request } from 'undici'
import { AppError } from '../../contract/errors.ts'
import { reasonOf } from '../comfy/client.ts'
import { type DownloadNews, download, type Switched } from './download.ts'
import { bytesWithin, follow } from './follow.ts'
import { CONNECT_MS, trusted, tunnelling } from './proxy.ts'

export type { Switched }
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
  const connect = { timeout: CONNECT_MS, ca: trusted() }
  if (proxy === 'none') return new Agent({ connect })
  const given = (name: string) => env[name] ?? env[name.toUpperCase()] ?? env.all_proxy ?? env.ALL_PROXY
  const usable = (url: string | undefined) => (url && /^https?:/.test(url) ? url : '')
  return new EnvHttpProxyAgent({
    connect,
    ...tunnelling(CONNECT_MS),
    httpProxy: proxy ?? usable(given('http_proxy')),
    httpsProxy: proxy ?? usable(given('https_proxy')),
    noProxy: env.no_proxy ?? env.NO_PROXY ?? 'localhost,127.0.0.1,::1',
  })
}

/**
 * A file that an installation needs, in place of what has its name: as `download`, with the failures of an installation.
 * @throws AppError 'install.unreachable'
 */
export async function fetchFile(
  asked: FileRequest,
): Promise<{ url: string; fetchedBytes: number; switched: readonly Switched[] }> {
  const { addresses, to, sha256 = null, sizeBytes = null, limitBytes, onBytes, dispatcher, signal, stallMs } = asked
  await rm(to, { force: true })
  const sources = addresses.map((address) => ({ id: hostOf(address), address }))
  const options = {
    dispatcher,
    ...(signal && { signal }),
    ...(stallMs !== undefined && { stallMs, retryMs: stallMs / 20 }),
    waitForSpace: false,
    onNews: ({ doneBytes, sizeBytes }: DownloadNews) => onBytes?.(doneBytes, sizeBytes),
  }
  try {
    const { perSource, ...got } = await download({ to, sources, sizeBytes, sha256, limitBytes }, options)
    const most = perSource.reduce(
      (best, { fetchedBytes }, at) => (fetchedBytes > perSource[best]!.fetchedBytes ? at : best),
      0,
    )
    return { ...got, url: addresses[most]! }
  } catch (cause) {
    signal?.throwIfAborted()
    if (!(cause instanceof AppError) || !FAILED.includes(cause.code)) throw cause
    const reason = String(cause.facts.reason ?? cause.message)
    throw new AppError('install.unreachable', { what: path.basename(to), reason }, { cause })
  }
}

const FAILED = ['download.unreachable', 'download.not-found', 'download.refused', 'download.damaged', 'hub.busy']

/** The longest pages of a Python index are some MiB. */
const TEXT_LIMIT_BYTES = 32 * 1024 * 1024

/** The text of a page, from the first address that has one `isRight` takes. */
export async function fetchText(
  asked: Pick<FileRequest, 'addresses' | 'dispatcher' | 'signal' | 'stallMs'> & {
    what: string
    accept?: string
    limitBytes?: number
    isRight: (text: string) => boolean
  },
): Promise<{ url: string; type: string; text: string; switched: Switched[] }> {
  const { addresses, dispatcher, signal, stallMs = 15_000, what, accept = '*/*', isRight } = asked
  const { limitBytes = TEXT_LIMIT_BYTES } = asked
  const failed: { from: string; reason: string }[] = []
  for (const address of addresses) {
    signal?.throwIfAborted()
    try {
      const within = AbortSignal.any([AbortSignal.timeout(stallMs * 2), ...(signal ? [signal] : [])])
      const options = { dispatcher, signal: within, headers: { accept }, headersTimeout: stallMs, bodyTimeout: stallMs }
      const reply = await follow(address, options)
      const { statusCode, headers, body, url } = reply
      if (statusCode !== 200) {
        body.on('error', () => {}).destroy()
        throw new Error(`HTTP ${statusCode}`)
      }
      const text = (await bytesWithin(reply, limitBytes)).toString('utf8')
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
