import { createHash } from 'node:crypto'
import { type FileHandle, open, readFile, realpath, rm, stat } from 'node:fs/promises'
import path from 'node:path'
import type { Dispatcher } from 'undici'
import { AppError, type Failure } from '../../contract/errors.ts'
import { hashFile } from '../hash-file.ts'
import { systemOf } from '../process/tree.ts'
import { allocate, makeFolder, makeSure, place, pledge } from './disk.ts'
import { Hasher } from './hasher.ts'
import { type Continued, discard, Journal, journalOf, readJournal } from './journal.ts'
import { Limits } from './limits.ts'
import { takeName } from './lock.ts'
import { Source } from './source.ts'
import { type Span, Spans } from './spans.ts'
import { Transfer } from './transfer.ts'

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
  /** Its final name. Beside it, until then: `.part` and its journal, `.part.json`. */
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
  /** Before the first try again; each next waits twice as long. */
  readonly retryMs?: number
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

const MIB = 1 << 20
const MOST_BLOCKS = 4096

/** By final name: who is fetching it, and who else waits for that. */
const underWay = new Map<string, Shared>()
interface Shared {
  readonly sha256: string | null
  readonly done: Promise<Downloaded>
  readonly waiting: Set<DownloadOptions>
  news: DownloadNews | null
  readonly stop: (reason: unknown) => void
}

/**
 * A file, whole and checked, under its name at last, which is never written over. What is under `to` already is taken
 * where it is the same. Whoever asks for a file that is being fetched already, waits for that.
 * @throws AppError 'download.unreachable', 'download.refused', 'download.damaged', 'download.exists',
 *   'download.no-space', 'download.too-large-for-disk', 'disk.denied'
 */
export async function download(wanted: FileWanted, options: DownloadOptions): Promise<Downloaded> {
  options.signal?.throwIfAborted()
  const to = path.resolve(wanted.to)
  await makeFolder(path.dirname(to))
  const key = path.join(await realpath(path.dirname(to)), path.basename(to))
  for (;;) {
    const others = underWay.get(key)
    if (!others) return await joined(begin(key, { ...wanted, to }, options), options)
    if (others.sha256 === wanted.sha256) return await joined(others, options)
    await joined(others, options).catch(() => options.signal?.throwIfAborted()) // then its name is taken, or free
  }
}

/** One fetch goes on as long as anybody waits for it. */
async function joined(shared: Shared, options: DownloadOptions): Promise<Downloaded> {
  const { signal } = options
  shared.waiting.add(options)
  if (shared.news) options.onNews?.(shared.news)
  const left = Promise.withResolvers<never>()
  const leave = () => {
    shared.waiting.delete(options)
    if (shared.waiting.size > 0) left.reject(signal?.reason)
    else shared.stop(signal?.reason)
  }
  signal?.addEventListener('abort', leave)
  if (signal?.aborted) leave() // while its folder was looked at
  try {
    return await Promise.race([shared.done, left.promise])
  } finally {
    signal?.removeEventListener('abort', leave)
    shared.waiting.delete(options)
  }
}

function begin(key: string, wanted: FileWanted, options: DownloadOptions): Shared {
  const stopping = new AbortController()
  const tell = (news: DownloadNews) => {
    shared.news = news
    for (const each of shared.waiting) each.onNews?.(news)
  }
  const done = fetchOnce(wanted, { ...options, signal: stopping.signal, onNews: tell }).finally(() => {
    if (underWay.get(key) === shared) underWay.delete(key)
  })
  const shared: Shared = {
    sha256: wanted.sha256,
    done,
    waiting: new Set(),
    news: null,
    stop: (reason) => {
      underWay.delete(key)
      stopping.abort(reason)
    },
  }
  underWay.set(key, shared)
  return shared
}

type Told = DownloadOptions & { signal: AbortSignal; onNews: (news: DownloadNews) => void }

async function fetchOnce(wanted: FileWanted, options: Told): Promise<Downloaded> {
  const { onNews, signal } = options
  const say = (is: DownloadNews['is']) => onNews({ ...NOTHING_YET, is, sizeBytes: wanted.sizeBytes })
  const letGo = await takeName(wanted.to, signal, () => say('elsewhere'))
  try {
    return (await sameThere(wanted, signal, () => say('checking'))) ?? (await new Fetch(wanted, options).run())
  } finally {
    await letGo()
  }
}

const NOTHING_YET: Omit<DownloadNews, 'is' | 'sizeBytes'> = {
  doneBytes: 0,
  hashedBytes: 0,
  bytesPerSecond: 0,
  etaSeconds: null,
  failure: null,
  sources: [],
  connections: [],
}

/**
 * What has the name already, where it is what is wanted.
 * @throws AppError 'download.exists'
 */
async function sameThere(wanted: FileWanted, signal: AbortSignal, checking: () => void): Promise<Downloaded | null> {
  const { to, sizeBytes, sha256, gitSha1 } = wanted
  const there = await stat(to).catch(() => null)
  if (!there) return null
  const couldBe = there.isFile() && (sizeBytes === null || there.size === sizeBytes) && (sha256 ?? gitSha1)
  if (couldBe) {
    checking()
    const actual = await hashFile(to, signal)
    if (sha256 === null ? (await gitSha1Of(to)) === gitSha1 : actual === sha256) {
      await discard(to) // an end between the name and the tidying leaves it
      return { sizeBytes: there.size, sha256: actual, fetchedBytes: 0, switched: [], perSource: [] }
    }
  }
  throw new AppError('download.exists', { path: to })
}

/** As git names the content of a file. Only small ones are known by it. */
async function gitSha1Of(file: string): Promise<string> {
  const bytes = await readFile(file)
  return createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex')
}

/** One file on its way: what is kept of it on disk, and what became of it. */
class Fetch {
  readonly #wanted: FileWanted
  readonly #options: Told
  readonly #part: string
  readonly #sources: Source[]
  #transfer!: Transfer
  #continued: Continued | null = null
  #handle: FileHandle | null = null
  #hasher: Hasher | null = null
  #journal: Journal | null = null
  #verifying = false
  #checkingTo = 0

  constructor(wanted: FileWanted, options: Told) {
    this.#wanted = wanted
    this.#options = options
    this.#part = `${wanted.to}.part`
    this.#sources = wanted.sources.map((source, index) => new Source(source, index))
  }

  async run(): Promise<Downloaded> {
    const { limits = new Limits(), signal } = this.#options
    const boot = await bootOf()
    const left = await readJournal(this.#part, boot)
    this.#continued = left && this.#taken(left)
    const have = this.#continued?.have ?? new Spans()
    const share = limits.join(() => this.#transfer.fill())
    this.#transfer = new Transfer({
      wanted: this.#wanted,
      sources: this.#sources,
      have,
      share,
      options: this.#options,
      signal,
      keep: (sizeBytes) => this.#keep(sizeBytes, boot),
      sampleOf: (span) => this.#read(span),
      tell: () => this.#tell(),
    })
    const dir = path.dirname(this.#wanted.to)
    const giveBack = await pledge(dir, () => Math.max(0, (this.#transfer.sizeBytes ?? 0) - have.bytes))
    try {
      const sha256 = await this.#fetched()
      await this.#close()
      await place(this.#part, this.#wanted.to)
      await rm(journalOf(this.#part), { force: true })
      return this.#downloaded(sha256)
    } finally {
      giveBack()
      share.leave()
      await this.#close()
    }
  }

  /** Until all of it is there and its hash is right. */
  async #fetched(): Promise<string> {
    const transfer = this.#transfer
    const { sha256, gitSha1, to } = this.#wanted
    for (;;) {
      await transfer.run()
      this.#verifying = true
      this.#tell()
      // what is on disk for good is needed in the end: that goes on beside the hash
      const [actual] = await Promise.all([this.#hasher!.digest(), transfer.sync()])
      this.#verifying = false
      this.#options.signal.throwIfAborted()
      if (actual === null) continue
      const right = sha256 === null ? !gitSha1 || (await gitSha1Of(this.#part)) === gitSha1 : actual === sha256
      if (right) {
        transfer.settle()
        return actual
      }
      if (!(await transfer.mend())) {
        await this.#close()
        await discard(to)
        const facts = { file: path.basename(to), expectedSha256: sha256 ?? gitSha1 ?? null, actualSha256: actual }
        throw new AppError('download.damaged', facts)
      }
    }
  }

  /** What an earlier run left, as far as it is of the file that is wanted now. */
  #taken({ kept, have, checks }: Continued): Continued | null {
    const { sha256, sizeBytes } = this.#wanted
    if (kept.sha256 !== sha256 || (sizeBytes !== null && kept.sizeBytes !== sizeBytes)) return null
    const mine = this.#sources.map((source) => keyOf(source.given.address))
    const places = kept.sources.map(({ key }, index) => {
      const at = mine.indexOf(key)
      return at < 0 ? this.#sources.length + index : at
    })
    if (sha256 === null) {
      // only whoever began it may go on, as long as it shows the same mark
      const begun = this.#sources[places[have.runs[0]?.source ?? 0] ?? -1]
      const etag = kept.sources[have.runs[0]?.source ?? 0]?.etag ?? null
      if (!begun || etag === null || new Set(have.runs.map(({ source }) => source)).size > 1) return null
      begun.etag = etag
      begun.mayContinue = true
    }
    const moved = new Spans()
    for (const { from, to, source } of have.runs) moved.add(from, to, places[source] ?? this.#sources.length)
    return { kept, have: moved, checks }
  }

  /** Makes the room for it, or takes up what is there. */
  async #keep(sizeBytes: number | null, boot: string) {
    await this.#close()
    const { to, sha256 } = this.#wanted
    const continued = this.#continued?.kept.sizeBytes === sizeBytes ? this.#continued : null
    this.#continued = null
    const have = this.#transfer.have
    if (sizeBytes !== null) await makeSure(to, sizeBytes)
    await rm(`${this.#part}.json.tmp`, { force: true })
    if (!continued) await rm(journalOf(this.#part), { force: true })
    const handle = continued ? await open(this.#part, 'r+') : await allocate(this.#part, sizeBytes ?? 0)
    this.#handle = handle
    const blockBytes = continued?.kept.blockBytes ?? blockBytesOf(sizeBytes ?? 0)
    const checks = continued?.checks ?? new Uint32Array(Math.ceil((sizeBytes ?? 0) / blockBytes))
    const sources = this.#sources.map((source) => ({ key: keyOf(source.given.address), etag: source.etag }))
    if (continued) await handle.datasync()
    const kept = { v: 1 as const, sizeBytes: sizeBytes ?? 0, sha256, blockBytes, boot, sources }
    const journal = sizeBytes === null ? null : await Journal.begin(this.#part, { kept, have, checks })
    this.#journal = journal
    const hasher = new Hasher({ file: this.#part, blockBytes, expected: checks }, (news) => {
      if ('damaged' in news) {
        const from = news.damaged * blockBytes
        this.#transfer.lose(from, Math.min(from + blockBytes, sizeBytes ?? 0))
      } else {
        journal?.note(['read', news.firstBlock, [...news.blocks]])
      }
    })
    this.#hasher = hasher
    this.#checkingTo = have.front
    hasher.upTo(have.front)
    return {
      handle,
      wrote: (from: number, to: number, source: number) => {
        journal?.note(['wrote', from, to, source])
        journal?.flush().catch(() => {}) // a full disk: tried again with the next
        hasher.upTo(have.front)
      },
      lost: (from: number, to: number) => {
        journal?.note(['lost', from, to])
        hasher.again(from)
      },
      marked: (source: Source) => {
        journal?.note(['source', source.index, { key: keyOf(source.given.address), etag: source.etag }])
      },
      sync: async () => {
        const wrote = journal?.wrote ?? 0
        await handle.datasync()
        journal?.note(['synced', wrote])
        await journal?.flush({ sync: true })
      },
    }
  }

  async #read({ from, to }: Span): Promise<Buffer> {
    const bytes = Buffer.alloc(to - from)
    await this.#handle!.read(bytes, 0, bytes.length, from)
    return bytes
  }

  /** What was written stays and can be continued. */
  async #close() {
    const [handle, hasher, journal] = [this.#handle, this.#hasher, this.#journal]
    this.#handle = this.#hasher = this.#journal = null
    await hasher?.close()
    const wrote = journal?.wrote ?? 0
    const synced = await handle?.datasync().then(
      () => true,
      () => false,
    )
    if (synced) journal?.note(['synced', wrote])
    await journal?.flush({ sync: true }).catch(() => {})
    await journal?.close()
    await handle?.close()
  }

  #tell() {
    const transfer = this.#transfer
    const { sizeBytes, full, bytesPerSecond, have } = transfer
    const hashedBytes = this.#hasher?.hashed ?? 0
    const checking = hashedBytes < this.#checkingTo && transfer.fetchedBytes === 0
    const is = full ? 'full' : this.#verifying ? 'verifying' : checking ? 'checking' : 'fetching'
    const left = sizeBytes === null ? null : sizeBytes - have.bytes
    const etaSeconds = left === null || bytesPerSecond < 1 ? null : Math.ceil(left / bytesPerSecond)
    const rate = Math.round(bytesPerSecond)
    this.#options.onNews({
      ...{ is, doneBytes: have.bytes, sizeBytes, hashedBytes, bytesPerSecond: rate, etaSeconds, failure: full },
      ...transfer.news(),
    })
  }

  #downloaded(sha256: string): Downloaded {
    const most = this.#sources.toSorted((a, b) => b.fetchedBytes - a.fetchedBytes)
    const failed = this.#sources.filter(({ reason }) => reason !== null)
    return {
      sizeBytes: this.#transfer.sizeBytes ?? 0,
      sha256,
      fetchedBytes: this.#transfer.fetchedBytes,
      switched: failed.flatMap((source) => {
        const to = most.find((each) => each !== source && each.fetchedBytes > 0)
        return to ? [{ from: source.given.id, to: to.given.id, reason: source.reason! }] : []
      }),
      perSource: this.#sources.map(({ given: { id }, host, fetchedBytes, reason }) => ({
        id,
        host,
        fetchedBytes,
        reason,
      })),
    }
  }
}

/** An address without showing it: it may hold a secret. */
const keyOf = (address: string) => createHash('sha256').update(address).digest('hex').slice(0, 16)

/** A power of two from 1 MiB, so that there are not too many. */
function blockBytesOf(sizeBytes: number): number {
  let bytes = MIB
  while (sizeBytes / bytes > MOST_BLOCKS) bytes *= 2
  return bytes
}

let boot: Promise<string> | null = null
const bootOf = () => {
  boot ??= systemOf()
    .boot()
    .catch(() => '')
  return boot
}
