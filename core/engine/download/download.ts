import { stat } from 'node:fs/promises'
import type { Dispatcher } from 'undici'
import type { Failure } from '../../contract/errors.ts'
import { hashFile } from '../hash-file.ts'
import { fetchFile } from './fetch-file.ts'
import type { Limits } from './limits.ts'

/** A place that has the file. */
export interface FileSource {
  /** Shown: a host or a hub. Unique among the sources of a file. */
  readonly id: string
  /** Where it lies, as it may be kept and shown: without a token, not signed. */
  readonly address: string
  /** A token and the like: sent to the origin of `address` only, dropped wherever it redirects to. */
  readonly headers?: Readonly<Record<string, string>>
  /** It answers ranges badly: asked for all of it, on one connection, and only when no other source is left. */
  readonly whole?: boolean
  /** At most so many at once; otherwise what the limits say of its host. */
  readonly connections?: number
  /**
   * Asked instead of `address` where that has to be found out first (a signed link): once, its answer is shared by all
   * connections, and again when it expired or is refused. `expiresAt`: epoch milliseconds; null: not known.
   */
  readonly resolve?: (signal: AbortSignal) => Promise<{ address: string; expiresAt: number | null }>
}

export interface FileWanted {
  /** Its final name. Beside it, until then: `.part`, `.part.json` and `.part.lock`. */
  readonly to: string
  /** Best first; more than one are used at once only where `sha256` is known. */
  readonly sources: readonly FileSource[]
  readonly sizeBytes: number | null
  /** Lower-case hex. */
  readonly sha256: string | null
  /** Of small files that a hub keeps in git: sha1 of `blob <size>\0` and the content. */
  readonly gitSha1?: string | null
  /** More than that is refused, where no size is known. */
  readonly limitBytes?: number
}

export interface SourceNews {
  readonly id: string
  /** Where its bytes come from now, after redirects. */
  readonly host: string
  /** `resting`: asked to wait, or it failed and is tried again at `againAt`. `passed-over`: not asked any more. */
  readonly is: 'waiting' | 'active' | 'resting' | 'passed-over'
  readonly againAt: number | null
  readonly connections: number
  readonly bytesPerSecond: number
  readonly fetchedBytes: number
  /** Why it rests or was passed over. */
  readonly reason: string | null
}
export interface ConnectionNews {
  readonly source: string
  /** The bytes it was asked for, and how many of them came. */
  readonly from: number
  readonly to: number
  readonly doneBytes: number
  readonly bytesPerSecond: number
}
export interface DownloadNews {
  /**
   * `checking`: what was fetched before is read again. `elsewhere`: another program fetches the same file. `full`: the disk
   * is; it goes on as soon as there is room. `verifying`: all is there, the last of it is read.
   */
  readonly is: 'checking' | 'elsewhere' | 'fetching' | 'full' | 'verifying'
  readonly doneBytes: number
  readonly sizeBytes: number | null
  readonly hashedBytes: number
  readonly bytesPerSecond: number
  readonly etaSeconds: number | null
  /** Only with `full`: 'download.no-space' with its facts. */
  readonly failure: Failure | null
  readonly sources: readonly SourceNews[]
  readonly connections: readonly ConnectionNews[]
}

export interface DownloadOptions {
  readonly dispatcher: Dispatcher
  readonly limits?: Limits
  /** Pauses: what was fetched stays, and the same call goes on from there. */
  readonly signal?: AbortSignal
  /** Epoch milliseconds. */
  readonly now?: () => number
  /** Some four times a second, and whenever `is` changes. */
  readonly onNews?: (news: DownloadNews) => void
  /** Without a byte for so long, a connection is given up. */
  readonly stallMs?: number
  /** false: a full disk fails instead of being waited for. */
  readonly waitForSpace?: boolean
}

export interface Switched {
  readonly from: string
  readonly to: string
  readonly reason: string
}
export interface Downloaded {
  readonly sizeBytes: number
  readonly sha256: string
  /** Over the network, now; what was there before is not in it. */
  readonly fetchedBytes: number
  readonly switched: readonly Switched[]
  readonly perSource: readonly { id: string; host: string; fetchedBytes: number; reason: string | null }[]
}

/**
 * A file, whole and checked, under its name at last, which is never written over. What is under `to` already is taken
 * where it is the same. Whoever asks for a file that is being fetched already, waits for that.
 * @throws AppError 'download.unreachable', 'download.refused', 'download.damaged', 'download.exists',
 *   'download.no-space', 'download.too-large-for-disk', 'disk.denied'
 */
export async function download(wanted: FileWanted, options: DownloadOptions): Promise<Downloaded> {
  const { to, sources, sizeBytes, sha256, limitBytes = Number.MAX_SAFE_INTEGER } = wanted
  const addresses = sources.map(({ address }) => address)
  const known = { ...(sizeBytes !== null && { sizeBytes }), ...(sha256 !== null && { sha256 }) }
  const { dispatcher, signal, stallMs } = options
  const got = await fetchFile({
    addresses,
    to,
    ...known,
    limitBytes,
    dispatcher,
    ...(signal && { signal }),
    ...(stallMs !== undefined && { stallMs }),
  })
  return {
    sizeBytes: (await stat(to)).size,
    sha256: await hashFile(to),
    fetchedBytes: got.fetchedBytes,
    switched: got.switched,
    perSource: [],
  }
}
