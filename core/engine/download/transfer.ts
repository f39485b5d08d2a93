import { once } from 'node:events'
import type { FileHandle } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { createBrotliDecompress, createGunzip, createInflate, type Gunzip } from 'node:zlib'
import { AppError, type Failure, toFailure } from '../../contract/errors.ts'
import { isModelFile } from '../../contract/model-file.ts'
import { reasonOf } from '../comfy/client.ts'
import { freeBytes } from '../volume.ts'
import { isFull, noSpace } from './disk.ts'
import type { ConnectionNews, DownloadOptions, FileWanted, SourceNews } from './download.ts'
import type { Share } from './limits.ts'
import { type Control, type Headers, type Receiver, type Source, SourceError } from './source.ts'
import { type Span, Spans } from './spans.ts'

const MIB = 1 << 20
/** What is collected before it is written. */
const WRITE_BYTES = MIB
/** Of one connection, received and not written yet. */
const PENDING_BYTES = 4 * MIB
const FIRST_SEGMENT_BYTES = 2 * MIB
const LARGEST_SEGMENT_BYTES = 8 * MIB
/** A segment takes about so long. */
const SEGMENT_SECONDS = 0.5
/** How far ahead of the first missing byte others are fetched, so that the hash keeps up and no disk fills a hole. */
const WINDOW_BYTES = 64 * MIB
const WINDOW_SECONDS = 8
const SMALLEST_SPLIT_BYTES = 256 * 1024
/** Of a smaller file one source at a time is asked. */
const SMALLEST_SHARED_BYTES = 4 * MIB
const SAMPLE_BYTES = 256 * 1024
const SOURCES_AT_ONCE = 3
/** A source without a byte for so long has its bytes fetched elsewhere, where somebody is idle. */
const QUIET_MS = 3_000
const SLOW_AFTER_MS = 20_000
const SLOW_PART = 0.1 // of the median connection
const TRIES = 5
const LONGEST_REST_SECONDS = 60
const TICK_MS = 100
const SYNC_MS = 1_000
const SYNC_BYTES = 64 * MIB
const NOT_THIS_FILE = /^(text\/html|application\/(problem\+)?json|text\/json)\b/i
const ROOM_BYTES = 64 * MIB
const LOOK_FOR_ROOM_MS = 500
const TRY_WITHOUT_ROOM_MS = 5_000 // a quota is not seen in what is free
/** What stands for a file at the wrong address, whatever it is labelled: a page, an error, the pointer that git keeps. */
const TEXT = /^\s*(?:[<{][\t\n\r -~]{4}|version https:\/\/git-lfs)/
const aPage = (type: string) => `it sent a page (${type}) instead of the file`
const SOMETHING_ELSE = 'it sent something else'
const DONE = new Error('all that was wanted came')

/** Where what comes is kept. */
export interface Kept {
  readonly handle: FileHandle
  wrote(from: number, to: number, source: number): void
  lost(from: number, to: number): void
  marked(source: Source): void
  sync(): Promise<void>
}
export interface TransferTask {
  readonly wanted: FileWanted
  readonly sources: readonly Source[]
  readonly have: Spans
  readonly share: Share
  readonly options: DownloadOptions
  readonly signal: AbortSignal
  /** Called once, as soon as the size is known; null: it will not be before the end. */
  readonly keep: (sizeBytes: number | null) => Promise<Kept>
  /** What an earlier run kept is read from. */
  readonly sampleOf: (span: Span) => Promise<Buffer>
  readonly tell: () => void
}

interface Segment {
  readonly source: Source
  kind: 'part' | 'whole' | 'sample'
  host: string
  from: number
  /** The next byte that comes. */
  at: number
  to: number
  readonly startedAt: number
  firstByteAt: number
  lastAt: number
  /** Held by us: limits, a slow disk or a full one. */
  held: boolean
  bytes: number
  bytesPerSecond: number
  seenBytes: number
  /** Came, and is not being written yet. */
  chunks: Buffer[]
  chunksFrom: number
  chunkBytes: number
  pendingBytes: number
  /** That nobody had before. */
  usefulBytes: number
  /** Where the answer ends: beyond `to` where others took the rest of it. */
  answerTo: number
  unpacker: Gunzip | null
  over: boolean
  control: Control | null
}

/**
 * Moves the bytes of one file over many connections and sources: the first missing ones first, each by whoever is free.
 */
export class Transfer {
  sizeBytes: number | null
  full: Failure | null = null
  fetchedBytes = 0
  bytesPerSecond = 0
  readonly have: Spans
  readonly #task: TransferTask
  readonly #sources: readonly Source[]
  readonly #segments = new Set<Segment>()
  /** There, or being written: nothing is written twice. */
  readonly #claimed = new Spans()
  readonly #writes = new Set<Promise<void>>()
  readonly #fetching = new Set<Promise<void>>()
  #kept: Promise<Kept> | null = null
  #poolSample: Buffer | null = null
  #room: Promise<void> | null = null
  #resetting = false
  #anew = 0
  #unsynced = 0
  #syncedAt = performance.now()
  #syncing: Promise<void> | null = null
  #seen = { bytes: 0, at: performance.now() }
  #run: PromiseWithResolvers<void> | null = null
  #plans: number[][] | null = null
  #startedOver = false

  constructor(task: TransferTask) {
    this.#task = task
    this.#sources = task.sources
    this.have = task.have
    this.sizeBytes = task.wanted.sizeBytes
    for (const { from, to, source } of task.have.runs) this.#claimed.add(from, to, source)
  }

  get #stallMs() {
    return this.#task.options.stallMs ?? 15_000
  }
  get #now() {
    return this.#task.options.now ?? Date.now
  }
  get #byHash() {
    return this.#task.wanted.sha256 !== null
  }
  get complete(): boolean {
    return this.sizeBytes !== null && this.have.covers(0, this.sizeBytes)
  }

  /** Resolves when every byte is there and written. */
  async run(): Promise<void> {
    const { signal } = this.#task
    signal.throwIfAborted()
    const run = Promise.withResolvers<void>()
    run.promise.catch(() => {}) // it may fail before it is waited for
    this.#run = run
    const aborted = () => this.#fail(signal.reason as Error)
    signal.addEventListener('abort', aborted)
    const ticking = setInterval(() => this.#tick(), Math.min(TICK_MS, this.#stallMs / 3))
    try {
      if (this.sizeBytes !== null) await this.#keep(this.sizeBytes)
      const span = this.#sampleSpan
      if (this.#poolSample === null && this.#shared && this.have.covers(span.from, span.to))
        this.#poolSample = await this.#task.sampleOf(span)
      this.fill()
      await run.promise
    } finally {
      clearInterval(ticking)
      signal.removeEventListener('abort', aborted)
      this.#run = null
      await this.#stopAll()
    }
  }

  /** All of it is on disk. */
  async sync() {
    await this.#withRoom(async () => (await this.#kept)?.sync())
  }

  /** Opens as many connections as there is work and leave for. */
  fill() {
    if (!this.#run || this.#resetting || this.#room) return
    if (this.complete && this.#writes.size === 0) {
      this.#run.resolve()
      return
    }
    for (let segment = this.#nextSegment(); segment; segment = this.#nextSegment()) {
      const fetching = this.#fetch(segment)
      this.#fetching.add(fetching)
      void fetching.finally(() => this.#fetching.delete(fetching))
    }
    if (this.#segments.size === 0 && this.#writes.size === 0) this.#giveUpIfHopeless()
  }

  /**
   * The hash is wrong: what one source gave is fetched from others, one source after the other; then those that had
   * something else from the start are believed; then all of it is fetched again, once.
   * @returns false: nothing is left to try
   */
  async mend(): Promise<boolean> {
    this.#plans ??= this.#plansOf(new Set(this.have.runs.map(({ source }) => source)))
    for (const source of this.#sources) source.suspect = false
    for (let plan = this.#plans.shift(); plan; plan = this.#plans.shift()) {
      const suspects = new Set(plan)
      if (!this.#sources.some((each) => each.is === 'in' && !suspects.has(each.index))) continue
      const runs = this.have.runs.filter(({ source }) => suspects.has(source))
      if (runs.length === 0) continue
      for (const index of plan) if (this.#sources[index]) this.#sources[index].suspect = true
      for (const { from, to } of runs) this.#lose(from, to)
      return true
    }
    this.#plans = null
    for (const source of this.#sources) if (source.is === 'in') this.#blame(source)
    if (await this.#believeOthers()) return true
    if (!this.#sources.some(({ is }) => is === 'new')) {
      if (this.#startedOver) return false
      this.#startedOver = true
      for (const source of this.#sources) if (source.reason === SOMETHING_ELSE) source.is = 'in'
    }
    await this.#forget()
    return true
  }

  /** The hash is right: whoever was left out of it is to blame. */
  settle() {
    for (const source of this.#sources) {
      if (source.suspect) this.#blame(source)
      source.suspect = false
    }
  }

  news(): { sources: SourceNews[]; connections: ConnectionNews[] } {
    const now = this.#now()
    const sources = this.#sources.map((source): SourceNews => {
      const own = [...this.#segments].filter((each) => each.source === source)
      const resting = source.againAt > now
      const is = ['out', 'differs'].includes(source.is)
        ? 'passed-over'
        : own.length > 0
          ? 'active'
          : resting
            ? 'resting'
            : 'waiting'
      return {
        id: source.given.id,
        host: source.host,
        is,
        againAt: is === 'resting' ? source.againAt : null,
        connections: own.length,
        bytesPerSecond: own.reduce((sum, each) => sum + each.bytesPerSecond, 0),
        fetchedBytes: source.fetchedBytes,
        reason: is === 'passed-over' || is === 'resting' ? source.reason : null,
      }
    })
    const connections = [...this.#segments].map(({ source, from, to, at, bytesPerSecond }) => {
      return {
        source: source.given.id,
        from,
        to: Math.min(to, this.sizeBytes ?? at),
        doneBytes: at - from,
        bytesPerSecond,
      }
    })
    return { sources, connections }
  }

  // — who fetches what —

  /** Several sources at once: only where each can be held to what the others have. */
  get #shared(): boolean {
    return this.#byHash && this.#sources.length > 1 && (this.sizeBytes ?? 0) >= SMALLEST_SHARED_BYTES
  }

  get #sampleSpan(): Span {
    const from = Math.floor((this.sizeBytes ?? 0) / 2)
    return { from, to: Math.min(from + SAMPLE_BYTES, this.sizeBytes ?? 0) }
  }

  #nextSegment(): Segment | null {
    const now = this.#now()
    const left = this.#sources.filter(({ is, suspect }) => (is === 'new' || is === 'in') && !suspect)
    const ranged = left.filter(({ whole, failures }) => !whole && failures < 2)
    const wanted = ranged.length > 0 ? ranged : left
    const asked = this.#shared && ranged.length > 0 ? this.#several(wanted) : this.#one(wanted, now)
    const free = asked
      .filter((source) => source.againAt <= now && source.active < this.#mostOf(source))
      .toSorted(
        (a, b) =>
          Number(a.is === 'new') - Number(b.is === 'new') || (b.bytesPerSecond ?? 1e12) - (a.bytesPerSecond ?? 1e12),
      )
    for (const source of free) {
      const begun = this.have.runs[0]?.source
      if (!this.#byHash && begun !== undefined && (begun !== source.index || source.whole)) {
        if (this.#segments.size === 0 && this.#writes.size === 0) void this.#startAnew()
        return null
      }
      if (!this.#task.share.tryOpen(source.host)) continue
      const span = this.#claim(source)
      if (span) return this.#begin(source, span.kind, span)
      this.#task.share.close(source.host)
    }
    return null
  }

  #mostOf(source: Source): number {
    const proven = source.is === 'in' && source.ranges
    return proven && !source.whole && (this.#byHash || source.mayContinue)
      ? Math.min(source.lanes, source.mostConnections)
      : 1
  }

  #several(sources: readonly Source[]): Source[] {
    // one that failed for good is tried again as long as others go on
    const usable = sources.filter(({ failures }) => failures < TRIES || this.#segments.size > 0)
    const quiet = usable.filter((source) => this.#isQuiet(source)).length
    return usable.slice(0, SOURCES_AT_ONCE + quiet)
  }

  /** Best first; the next where it rests or is quiet. What is not known by hash is not begun by one and continued by another. */
  #one(sources: readonly Source[], now: number): Source[] {
    const able = sources.find((source) => source.againAt <= now && source.failures < TRIES && !this.#isQuiet(source))
    if (this.#byHash) return able ? [able] : []
    const begun = sources.find(({ index }) => this.have.runs.some(({ source }) => source === index))
    const current = begun && begun.failures < 2 && !begun.whole ? begun : able
    const busy = [...this.#segments].find(({ source }) => source !== current)
    return current && !busy ? [current] : []
  }

  #isQuiet(source: Source): boolean {
    const now = performance.now()
    const own = [...this.#segments].filter((each) => each.source === source)
    const patience = Math.min(QUIET_MS, this.#stallMs)
    return own.length > 0 && own.every(({ lastAt, held }) => !held && now - lastAt > patience)
  }

  #claim(source: Source): (Span & { kind: Segment['kind'] }) | null {
    const { sizeBytes } = this
    if (source.whole) {
      if (this.#segments.size > 0 || (sizeBytes !== null && this.#claimed.covers(0, sizeBytes))) return null
      return { kind: 'whole', from: 0, to: sizeBytes ?? Number.POSITIVE_INFINITY }
    }
    if (source.is === 'new') {
      if (this.#shared) return source.active === 0 ? { kind: 'sample', ...this.#sampleSpan } : null
      source.is = 'in'
    }
    if (sizeBytes === null && this.#byHash && this.#sources.length > 1)
      return source.active === 0 ? { kind: 'sample', from: 0, to: SAMPLE_BYTES } : null // its size is learned
    const gap = this.#firstGap()
    if (sizeBytes === null || !this.#byHash) {
      if (gap && this.#segments.size === 0)
        return { kind: 'part', from: gap.from, to: sizeBytes ?? Number.POSITIVE_INFINITY }
      return sizeBytes === null ? null : this.#steal(source)
    }
    if (!gap) return this.#steal(source)
    const rate = source.bytesPerSecond
    const usual = rate === null ? FIRST_SEGMENT_BYTES : Math.min(LARGEST_SEGMENT_BYTES, rate * SEGMENT_SECONDS)
    const lanes = Math.max(1, this.#segments.size)
    const length = Math.max(MIB, Math.min(usual, (sizeBytes - this.have.bytes) / lanes))
    const end = Math.ceil((gap.from + length) / MIB) * MIB
    return { kind: 'part', from: gap.from, to: gap.to - end < SMALLEST_SPLIT_BYTES ? gap.to : end }
  }

  /** The first bytes nobody has or fetches, as far ahead as is allowed. */
  #firstGap(): Span | null {
    const { sizeBytes } = this
    const end = sizeBytes ?? Number.POSITIVE_INFINITY
    const front = this.have.front
    const window = Math.max(WINDOW_BYTES, this.bytesPerSecond * WINDOW_SECONDS)
    const under = [...this.#segments].filter(({ kind }) => kind !== 'sample').toSorted((a, b) => a.at - b.at)
    for (const gap of this.#claimed.gaps(front, end)) {
      let { from } = gap
      for (const segment of under) {
        const [taken, until] = [segment.at - segment.chunkBytes, segment.to]
        if (until <= from) continue
        if (taken >= gap.to) break
        if (taken > from) return this.#within(from, Math.min(taken, gap.to), front + window)
        from = Math.max(from, until)
      }
      if (from < gap.to) return this.#within(from, gap.to, front + window)
    }
    return null
  }

  #within(from: number, to: number, limit: number): Span | null {
    return from < limit ? { from, to } : null
  }

  /** Part of what a slower connection would take longer for, or all of it. */
  #steal(source: Source): (Span & { kind: 'part' }) | null {
    let best: { victim: Segment; seconds: number } | null = null
    const now = performance.now()
    for (const victim of this.#segments) {
      if (victim.kind !== 'part' || victim.over || victim.held || !Number.isFinite(victim.to)) continue
      if (victim.firstByteAt === 0 && now - victim.startedAt < QUIET_MS) continue
      const quiet = now - victim.lastAt > Math.min(QUIET_MS, this.#stallMs)
      const seconds = quiet ? Number.POSITIVE_INFINITY : (victim.to - victim.at) / rateOf(victim)
      if (victim.to > victim.at && (!best || seconds > best.seconds)) best = { victim, seconds }
    }
    if (!best) return null
    const { victim, seconds } = best
    const left = victim.to - victim.at
    const theirs = rateOf(victim)
    const own = source.bytesPerSecond ?? theirs
    const start = (source.roundTripMs * 2) / 1000 + 0.05
    if (Number.isFinite(seconds)) {
      const fraction = own / (own + theirs)
      const stolen = Math.floor((left * fraction) / SMALLEST_SPLIT_BYTES) * SMALLEST_SPLIT_BYTES
      const gained = seconds - Math.max(start + stolen / own, (left - stolen) / theirs)
      if (stolen > 0 && stolen < left && gained > start) {
        const to = victim.to
        victim.to -= stolen
        return { kind: 'part', from: victim.to, to }
      }
      if (seconds < 2 * (start + left / own) || left > 2 * SMALLEST_SPLIT_BYTES) return null
    } else if (victim.source === source && victim.source.bytesPerSecond === null) {
      return null // it never gave a byte
    }
    const { at: from, to } = victim
    victim.to = victim.at
    this.#stop(victim, Number.isFinite(seconds) ? DONE : new SourceError('rest', 'it stalled')) // to be slower is no fault
    return { kind: 'part', from, to }
  }

  // — one connection —

  #begin(source: Source, kind: Segment['kind'], { from, to }: Span): Segment {
    const now = performance.now()
    const segment: Segment = {
      source,
      kind,
      host: source.host,
      from,
      at: from,
      to,
      startedAt: now,
      firstByteAt: 0,
      lastAt: now,
      held: false,
      bytes: 0,
      bytesPerSecond: 0,
      seenBytes: 0,
      chunks: [],
      chunksFrom: from,
      chunkBytes: 0,
      pendingBytes: 0,
      usefulBytes: 0,
      answerTo: to,
      unpacker: null,
      over: false,
      control: null,
    }
    source.active += 1
    this.#segments.add(segment)
    return segment
  }

  async #fetch(segment: Segment) {
    const { source } = segment
    const { options, share, signal } = this.#task
    const range: Headers = {}
    if (segment.kind !== 'whole')
      range.range = `bytes=${segment.from}-${Number.isFinite(segment.to) ? segment.to - 1 : ''}`
    if (!this.#byHash && segment.kind === 'part' && segment.from > 0 && source.etag) range['if-range'] = source.etag
    const asking = {
      dispatcher: options.dispatcher,
      signal,
      now: this.#now,
      headersTimeoutMs: this.#stallMs,
      declines: (host: string, by: Source) =>
        this.#sources.some((each) => each !== by && URL.parse(each.given.address)?.host === host),
    }
    let failure: SourceError | null = null
    let ended = false
    try {
      await source.ask(range, this.#receiver(segment), asking, (control) => {
        segment.control = control
        if (segment.over) control.stop(DONE)
      })
      if (segment.unpacker) {
        segment.unpacker.end()
        await once(segment.unpacker, 'end')
      }
      ended = true
      if (segment.bytes === 0 && segment.to > segment.from && this.sizeBytes !== 0)
        failure = new SourceError('rest', 'it sent nothing')
      else if (segment.kind === 'whole' && Number.isFinite(segment.to) && segment.at < segment.to)
        failure = new SourceError('rest', 'it ended early')
    } catch (cause) {
      failure = cause === DONE || signal.aborted ? null : toSourceError(cause)
    }
    segment.over = true
    this.#segments.delete(segment)
    source.active -= 1
    share.close(segment.host)
    if (segment.kind === 'sample') {
      const span = { from: segment.from, to: segment.to }
      if (!failure && segment.at === segment.to) await this.#sampled(source, Buffer.concat(segment.chunks), span)
    } else {
      this.#flush(segment)
      if (ended && !failure && segment.kind === 'whole') this.sizeBytes ??= segment.at
      if (segment.firstByteAt > 0) source.measure(segment.bytes, performance.now() - segment.startedAt)
    }
    if (failure) this.#failed(segment, failure)
    else if (ended && source.is === 'in') source.reason = null
    this.fill()
  }

  #failed({ source, usefulBytes }: Segment, failure: SourceError) {
    const { verdict, status } = failure
    // a connection that gave much before it broke is opened again at once
    const again = verdict === 'rest' && failure.restMs === null && usefulBytes >= SMALLEST_SPLIT_BYTES
    source.failed(
      again ? new SourceError('rest', failure.message, { status, restMs: 0 }) : failure,
      this.#now(),
      this.#task.options.retryMs,
    )
    if ((status === 429 || status === 503) && source.active > 0) source.mostConnections = Math.max(1, source.active)
    if (verdict === 'anew') void this.#startAnew()
    if (source.is === 'out') for (const each of this.#segments) if (each.source === source) this.#stop(each, DONE)
    this.#task.tell()
  }

  #stop(segment: Segment, reason: Error) {
    segment.over = true
    segment.control?.stop(reason)
  }

  #receiver(segment: Segment): Receiver {
    let came = (bytes: Buffer) => this.#came(segment, bytes)
    return {
      answered: (status, headers) => {
        this.#answered(segment, status, headers)
        this.#movedTo(segment)
        const packed = headers['content-encoding']?.trim().toLowerCase() ?? 'identity'
        if (packed !== 'identity' && packed !== '') came = this.#unpack(segment, packed)
      },
      came: (bytes) => came(bytes),
    }
  }

  /** It answers from another host than it was asked at: that is whose limits hold. */
  #movedTo(segment: Segment) {
    const { share } = this.#task
    const { host } = segment.source
    if (host === segment.host) return
    share.move(segment.host, host)
    segment.host = host
  }

  /** @throws SourceError */
  #answered(segment: Segment, status: number, headers: Headers) {
    const { source } = segment
    segment.lastAt = performance.now()
    if (status === 206) {
      const [, from, end, total] = /^bytes (\d+)-(\d+)\/(\d+|\*)$/.exec(headers['content-range'] ?? '') ?? []
      if (from === undefined) throw new SourceError('whole', 'it does not say which bytes it sends')
      if (headers['content-encoding'] && headers['content-encoding'] !== 'identity')
        throw new SourceError('whole', 'it packs what it sends')
      if (Number(from) !== segment.from) throw new SourceError('whole', 'it sends other bytes than were asked for')
      const said = total === '*' ? null : Number(total)
      this.#checkType(headers, said ?? this.sizeBytes)
      this.#sizeIs(said)
      this.#sameAsBefore(source, headers)
      source.ranges = true
      if (!Number.isFinite(segment.to)) segment.to = this.sizeBytes ?? Number(end) + 1
      segment.answerTo = Math.max(Number(end) + 1, segment.from)
      segment.to = Math.min(segment.to, segment.answerTo)
      return
    }
    if (status === 200) {
      const length = headers['content-length'] === undefined ? null : Number(headers['content-length'])
      const packed = headers['content-encoding'] !== undefined && headers['content-encoding'] !== 'identity'
      this.#checkType(headers, length)
      if (segment.kind === 'sample') throw new SourceError('whole', 'it does not send parts')
      if (segment.kind === 'part') {
        const others = this.#sources.some(
          (each) => each !== source && each.is !== 'out' && each.is !== 'differs' && !each.whole && !each.suspect,
        )
        if (this.#byHash && (others || this.#segments.size > 1))
          throw new SourceError('whole', 'it does not send parts')
        if (!this.#byHash && segment.from > 0) throw new SourceError('anew', 'its file changed')
      }
      if (!packed) this.#sizeIs(length)
      this.#sameAsBefore(source, headers)
      source.whole = true
      Object.assign(segment, { kind: 'whole', from: 0, at: 0, chunksFrom: 0 })
      segment.to = segment.answerTo = this.sizeBytes ?? Number.POSITIVE_INFINITY
      if (!this.#kept) void this.#keep(this.sizeBytes)
      return
    }
    if (status === 416) {
      const total = /\*\/(\d+)/.exec(headers['content-range'] ?? '')?.[1]
      if (total === '0' && this.sizeBytes === null) {
        this.#sizeIs(0)
        throw DONE
      }
      if (total !== undefined && this.sizeBytes !== null && Number(total) !== this.sizeBytes)
        throw new SourceError('out', 'its size is wrong', { status })
      throw new SourceError('rest', 'it does not send these bytes (HTTP 416)', { status })
    }
    const said = (headers['x-error-message'] ?? '').slice(0, 200)
    const reason = said ? `HTTP ${status}: ${said}` : `HTTP ${status}`
    const restMs = waitOf(headers, this.#now())
    if (status === 401 || status === 403 || status === 407 || status === 451)
      throw new SourceError('refused', reason, { status })
    if (status === 404 && source.failures === 0) throw new SourceError('rest', reason, { status }) // some stores say so in passing
    const passing = [408, 425, 429].includes(status) || status >= 500
    throw new SourceError(passing ? 'rest' : 'out', reason, { status, restMs })
  }

  #sizeIs(total: number | null) {
    const { wanted } = this.#task
    if (total !== null && this.sizeBytes !== null && total !== this.sizeBytes) {
      if (wanted.sizeBytes !== null) throw new SourceError('out', 'its size is wrong')
      throw new SourceError(
        this.#byHash ? 'differs' : 'anew',
        this.#byHash ? 'its size is another' : 'its file changed',
      )
    }
    if (total === null || this.sizeBytes !== null) return
    if (total === 0 && !this.#byHash && isModelFile(wanted.to)) throw new SourceError('out', 'it sent nothing')
    if (wanted.limitBytes !== undefined && total > wanted.limitBytes) throw new SourceError('out', 'it is too large')
    this.sizeBytes = total
    void this.#keep(total)
  }

  #checkType(headers: Headers, length: number | null) {
    const { to, sha256, sizeBytes } = this.#task.wanted
    const type = headers['content-type'] ?? ''
    if (!NOT_THIS_FILE.test(type) || /\.(json|html?)$/i.test(to)) return
    // a wrong type alone is no reason where size and hash are known
    if (sha256 !== null && sizeBytes !== null && length === sizeBytes) return
    throw new SourceError('out', aPage(type.split(';')[0]!))
  }

  /** What a source shows of its file stays as it was. Marks of different hosts have nothing to do with each other. */
  #sameAsBefore(source: Source, headers: Headers) {
    const etag = headers.etag && !/^w\//i.test(headers.etag) ? headers.etag : null
    const was = source.etag ?? source.lastModified
    // where the hash is known it decides: the machines behind one name often disagree about marks
    if (!this.#byHash && was !== null && was !== (source.etag === null ? headers['last-modified'] : etag)) {
      source.etag = null
      source.lastModified = null
      throw new SourceError('anew', 'its file changed')
    }
    const first = source.etag === null && etag !== null
    source.etag = etag
    source.lastModified = headers['last-modified'] ?? null
    const age = Date.parse(headers.date ?? '') - Date.parse(headers['last-modified'] ?? '')
    source.mayContinue = etag !== null || age >= 60_000
    if (first)
      void this.#kept?.then(
        (kept) => kept.marked(source),
        () => {},
      )
  }

  #unpack(segment: Segment, packed: string): (bytes: Buffer) => boolean {
    const unpackers: Record<string, () => ReturnType<typeof createGunzip>> = {
      gzip: createGunzip,
      'x-gzip': createGunzip,
      deflate: createInflate,
      br: createBrotliDecompress as never,
    }
    // a server that labels by name: the file itself is packed
    if (/\.(gz|tgz|br)$/i.test(this.#task.wanted.to)) return (bytes) => this.#came(segment, bytes)
    const make = unpackers[packed]
    if (!make) throw new SourceError('out', `it packs what it sends (${packed.slice(0, 20)})`)
    const unpacker = make()
    unpacker.on('data', (bytes: Buffer) => void this.#came(segment, bytes))
    unpacker.on('error', (cause) => this.#stop(segment, toSourceError(cause)))
    segment.unpacker = unpacker
    return (bytes) => {
      const more = unpacker.write(bytes)
      if (!more) unpacker.once('drain', () => segment.control?.resume())
      return more
    }
  }

  #came(segment: Segment, bytes: Buffer): boolean {
    if (segment.over) return true
    const { source } = segment
    const now = performance.now()
    segment.lastAt = now
    if (segment.firstByteAt === 0) segment.firstByteAt = now
    if (
      segment.at === 0 &&
      !this.#byHash &&
      isModelFile(this.#task.wanted.to) &&
      TEXT.test(bytes.toString('latin1', 0, 64))
    )
      this.#stop(segment, new SourceError('out', aPage('text')))
    if (segment.over) return true
    const room = segment.to - segment.at
    const wanted = bytes.length > room ? bytes.subarray(0, room) : bytes
    this.fetchedBytes += bytes.length
    segment.bytes += bytes.length
    source.fetchedBytes += bytes.length
    if (segment.kind === 'whole' && this.sizeBytes === null) {
      const { limitBytes } = this.#task.wanted
      if (limitBytes !== undefined && segment.at + bytes.length > limitBytes)
        this.#stop(segment, new SourceError('out', 'it is too large'))
    }
    segment.chunks.push(wanted)
    segment.chunkBytes += wanted.length
    segment.at += wanted.length
    if (segment.chunkBytes >= WRITE_BYTES && segment.kind !== 'sample') this.#flush(segment)
    if (bytes.length > room && segment.kind === 'whole')
      this.#stop(segment, new SourceError('out', 'its size is wrong'))
    else if (segment.at === segment.to && segment.to < segment.answerTo) this.#stop(segment, DONE)
    const paid = this.#task.share.spend(segment.host, bytes.length)
    if (paid) {
      segment.held = true
      void paid.then(() => this.#letGo(segment))
      return false
    }
    if (segment.pendingBytes > PENDING_BYTES || this.#room) {
      segment.held = true
      return false
    }
    return true
  }

  #letGo(segment: Segment) {
    if (!segment.held || segment.pendingBytes > PENDING_BYTES || this.#room) return
    segment.held = false
    segment.lastAt = performance.now()
    segment.control?.resume()
  }

  // — what came —

  #keep(sizeBytes: number | null): Promise<Kept> {
    this.#kept ??= this.#task.keep(sizeBytes)
    this.#kept.catch((cause) => this.#fail(localError(cause, this.#task.wanted.to)))
    return this.#kept
  }

  #flush(segment: Segment) {
    const { chunks, chunksFrom, chunkBytes, source } = segment
    if (chunkBytes === 0) return
    segment.chunks = []
    segment.chunksFrom += chunkBytes
    segment.chunkBytes = 0
    this.#write(chunks, chunksFrom, source, segment)
  }

  /** Only what is not there yet: the hash has read the rest. */
  #write(chunks: Buffer[], from: number, source: Source, segment: Segment | null) {
    const size = chunks.reduce((sum, { length }) => sum + length, 0)
    for (const gap of [...this.#claimed.gaps(from, from + size)]) {
      const whole = gap.to - gap.from === size
      const bytes = whole ? chunks : [Buffer.concat(chunks).subarray(gap.from - from, gap.to - from)]
      this.#claimed.add(gap.from, gap.to, source.index)
      if (segment) {
        segment.pendingBytes += gap.to - gap.from
        segment.usefulBytes += gap.to - gap.from
      }
      const write = this.#writeAll(bytes, gap)
        .then((kept) => {
          this.have.add(gap.from, gap.to, source.index)
          kept.wrote(gap.from, gap.to, source.index)
          this.#unsynced += gap.to - gap.from
          source.gave()
        })
        .catch((cause) => {
          this.#claimed.remove(gap.from, gap.to)
          this.#fail(cause)
        })
        .finally(() => {
          this.#writes.delete(write)
          if (segment) {
            segment.pendingBytes -= gap.to - gap.from
            this.#letGo(segment)
          }
          if (this.#writes.size === 0) this.fill()
        })
      this.#writes.add(write)
    }
  }

  async #writeAll(chunks: Buffer[], { from, to }: Span): Promise<Kept> {
    const kept = await this.#keep(this.sizeBytes)
    let at = from
    let rest = chunks
    while (at < to) {
      at += await this.#withRoom(async () => (await kept.handle.writev(rest, at)).bytesWritten)
      if (at < to) rest = [Buffer.concat(chunks).subarray(at - from)] // a full disk takes a part of it
    }
    return kept
  }

  /** Waits where the disk is full, and does it again. */
  async #withRoom<T>(act: () => Promise<T>): Promise<T> {
    const { signal, options, wanted } = this.#task
    for (;;) {
      try {
        return await act()
      } catch (cause) {
        if (!isFull(cause)) throw localError(cause, wanted.to)
        signal.throwIfAborted()
        const left = Math.max(MIB, (this.sizeBytes ?? 0) - this.have.bytes)
        const failure = await noSpace(wanted.to, left, cause)
        if (options.waitForSpace === false) throw failure
        this.#room ??= this.#waitForRoom(failure, left)
        await this.#room
      }
    }
  }

  async #waitForRoom(failure: AppError, left: number) {
    const { signal, wanted, tell } = this.#task
    this.full = toFailure(failure)
    tell()
    try {
      const since = performance.now()
      do await pause(LOOK_FOR_ROOM_MS, undefined, { signal })
      while (
        performance.now() - since < TRY_WITHOUT_ROOM_MS &&
        ((await freeBytes(path.dirname(wanted.to))) ?? 0) < Math.min(left, ROOM_BYTES)
      )
    } finally {
      this.#room = null
    }
    // what waited tries again; only when that went well is there room
    void Promise.allSettled(this.#writes).then(() => {
      if (this.#room) return
      this.full = null
      tell()
    })
    for (const segment of this.#segments) this.#letGo(segment)
    this.fill()
  }

  // — whom to believe —

  async #sampled(source: Source, bytes: Buffer, span: Span) {
    if (!this.#shared || span.from !== this.#sampleSpan.from) return // it was only asked for its size
    source.sample = bytes
    if (this.#poolSample === null) {
      this.#poolSample = bytes
      this.#write([bytes], span.from, source, null)
    }
    if (this.#poolSample.equals(bytes)) {
      source.is = 'in'
      return
    }
    source.is = 'differs'
    source.reason = 'it has another file'
    const votes = this.#sources.filter((each) => each.sample?.equals(bytes)).length
    const pool = this.#sources.filter(({ is }) => is === 'in')
    if (votes <= Math.max(1, pool.length)) return
    for (const each of pool) {
      each.is = 'differs'
      each.reason = 'the others have another file'
    }
    await this.#believeOthers()
  }

  /** The largest group of those that agree with each other is what is fetched from now on. */
  async #believeOthers(): Promise<boolean> {
    const differing = this.#sources.filter(({ is }) => is === 'differs')
    const agreeing = (one: Source) =>
      differing.filter(({ sample }) => (sample && one.sample ? sample.equals(one.sample) : sample === one.sample))
    const group = differing.map(agreeing).toSorted((a, b) => b.length - a.length)[0]
    if (!group) return false
    for (const source of group) source.is = 'in'
    await this.#forget()
    this.#poolSample = group[0]!.sample
    return true
  }

  #plansOf(givers: ReadonlySet<number>): number[][] {
    const bytesOf = (index: number) =>
      this.have.runs.reduce((sum, { source, from, to }) => sum + (source === index ? to - from : 0), 0)
    const one = [...givers].toSorted((a, b) => bytesOf(a) - bytesOf(b)).map((index) => [index])
    const good = this.#sources.filter(({ is }) => is === 'in')
    const allBut = givers.size < 3 ? [] : good.map(({ index }) => [...givers].filter((each) => each !== index))
    return [...one, ...allBut]
  }

  #blame(source: Source) {
    source.is = 'out'
    source.reason = SOMETHING_ELSE
  }

  #lose(from: number, to: number) {
    this.have.remove(from, to)
    this.#claimed.remove(from, to)
    void this.#kept?.then((kept) => kept.lost(from, to))
  }

  /** A part of what an earlier run left is not what it was. */
  lose(from: number, to: number) {
    for (const run of this.have.runs.filter((each) => each.from < to && each.to > from))
      this.#lose(Math.max(from, run.from), Math.min(to, run.to))
    this.fill()
  }

  /** All that is there is of another file than the one that is wanted. */
  async #forget() {
    this.#resetting = true
    try {
      for (const segment of this.#segments) {
        segment.chunks = []
        segment.chunkBytes = 0
        this.#stop(segment, DONE)
      }
      await Promise.allSettled(this.#writes)
      const end = this.have.runs.at(-1)?.to ?? 0
      this.#lose(0, end)
      this.#claimed.remove(0, Number.POSITIVE_INFINITY)
      this.#poolSample = null
      const size = this.#task.wanted.sizeBytes
      if (this.sizeBytes !== size) {
        this.sizeBytes = size
        await this.#kept?.catch(() => {})
        this.#kept = null
      }
    } finally {
      this.#resetting = false
    }
  }

  async #startAnew() {
    if (this.#resetting) return
    this.#anew += 1
    if (this.#anew > 3 + 2 * this.#sources.length) return this.#fail(this.#whyNot())
    await this.#forget()
    this.fill()
  }

  // — when it cannot go on —

  #giveUpIfHopeless() {
    const left = this.#sources.filter(({ is, suspect }) => (is === 'new' || is === 'in') && !suspect)
    const able = left.filter(({ failures }) => failures < TRIES)
    const [first] = able.toSorted((a, b) => a.againAt - b.againAt)
    if (first) {
      const seconds = Math.ceil((first.againAt - this.#now()) / 1000)
      // whoever has to wait so long lets others go first
      if (seconds > LONGEST_REST_SECONDS && !this.#sources.some(({ is }) => is === 'differs'))
        this.#fail(new AppError('hub.busy', { hub: first.host, host: first.host, seconds }))
      return
    }
    if (left.length > 0 || !this.#sources.some(({ is }) => is === 'differs')) this.#fail(this.#whyNot())
    else void this.#believeOthers().then(() => this.fill())
  }

  #whyNot(): AppError {
    const file = path.basename(this.#task.wanted.to)
    const said = this.#sources.find(({ because }) => because !== null)?.because
    if (said && this.#sources.every(({ is }) => is === 'out')) return said
    const refused = this.#sources.find(({ refusedStatus }) => refusedStatus !== null)
    if (refused && this.#sources.every(({ is }) => is === 'out'))
      return new AppError('download.refused', {
        file,
        host: refused.host,
        status: refused.refusedStatus,
        reason: refused.reason,
      })
    const reasons = this.#sources.filter(({ reason }) => reason !== null)
    if (this.#sources.length > 0 && this.#sources.every(({ reason }) => GONE.test(reason ?? '')))
      return new AppError('download.not-found', { file, hosts: this.#sources.map(({ host }) => host).join(', ') })
    const reason = reasons.map((source) => `${source.given.id}: ${source.reason}`).join('; ')
    return new AppError('download.unreachable', { file, reason: reason || 'no source is left' })
  }

  #fail(cause: unknown) {
    this.#run?.reject(cause)
  }

  async #stopAll() {
    for (const segment of this.#segments) this.#stop(segment, DONE)
    await Promise.allSettled(this.#fetching)
    await Promise.allSettled(this.#writes)
    await this.#kept?.catch(() => {}) // what is being opened is there to be closed
  }

  // — as time goes by —

  #tick() {
    const now = performance.now()
    const seconds = (now - this.#seen.at) / 1000
    if (seconds >= 0.25) {
      const rate = (this.fetchedBytes - this.#seen.bytes) / seconds
      this.bytesPerSecond += (this.bytesPerSecond === 0 ? 1 : 0.2) * (rate - this.bytesPerSecond)
      for (const segment of this.#segments) {
        const own = (segment.bytes - segment.seenBytes) / seconds
        segment.bytesPerSecond += (segment.seenBytes === 0 ? 1 : 0.4) * (own - segment.bytesPerSecond)
        segment.seenBytes = segment.bytes
      }
      for (const source of this.#sources) source.grow(seconds, now)
      this.#seen = { bytes: this.fetchedBytes, at: now }
      this.#task.tell()
    }
    for (const segment of this.#segments) {
      if (segment.held || segment.over) continue
      if (now - segment.lastAt > this.#stallMs) this.#stop(segment, new SourceError('rest', 'it stalled'))
      else if (this.#isSlow(segment, now)) this.#stop(segment, new SourceError('rest', 'it became slow', { restMs: 0 }))
    }
    if (this.#unsynced > SYNC_BYTES || (this.#unsynced > 0 && now - this.#syncedAt > SYNC_MS)) this.#syncSoon()
    this.fill()
  }

  /** Much slower than the others of its source for long, while others wait for what it holds. */
  #isSlow(segment: Segment, now: number): boolean {
    if (now - segment.startedAt < SLOW_AFTER_MS || segment.kind !== 'part') return false
    const rates = [...this.#segments].filter(({ source }) => source === segment.source).map(rateOf)
    const median = rates.toSorted((a, b) => a - b)[Math.floor(rates.length / 2)]!
    return rates.length > 2 && segment.bytesPerSecond < SLOW_PART * median
  }

  #syncSoon() {
    if (this.#syncing) return
    this.#unsynced = 0
    this.#syncing = this.sync()
      .catch((cause) => this.#fail(cause))
      .finally(() => {
        this.#syncing = null
        this.#syncedAt = performance.now()
      })
  }
}

const rateOf = ({ bytesPerSecond, source, bytes, startedAt }: Segment) =>
  Math.max(1, bytesPerSecond || source.bytesPerSecond || (bytes / (performance.now() - startedAt)) * 1000)

const GONE = /^HTTP (?:404|410)\b/
const PASSING = new Set(['hub.unreachable', 'hub.wrong-answer', 'hub.busy'])
const TLS = /^(ERR_TLS_|CERT_|DEPTH_ZERO_SELF_SIGNED_CERT|SELF_SIGNED_CERT|UNABLE_TO_(VERIFY|GET)_)/

function toSourceError(cause: unknown): SourceError {
  if (cause instanceof SourceError) return cause
  // a hub said why: only some of it passes by itself
  if (cause instanceof AppError)
    return new SourceError(PASSING.has(cause.code) ? 'rest' : 'out', cause.message, {
      because: cause,
      restMs: cause.code === 'hub.busy' ? Math.min(Number(cause.facts.seconds), 3600) * 1000 : null,
    })
  const { code } = cause as NodeJS.ErrnoException
  return new SourceError(TLS.test(code ?? '') ? 'out' : 'rest', reasonOf(cause))
}

/** `Retry-After`, or what is left of a window that `RateLimit` tells of. */
function waitOf(headers: Headers, now: number): number | null {
  const after = headers['retry-after']
  const seconds =
    after === undefined ? Number.NaN : /^\d+$/.test(after) ? Number(after) : (Date.parse(after) - now) / 1000
  const window = Number(/;t=(\d+)/.exec(headers.ratelimit ?? '')?.[1] ?? Number.NaN) + 1
  const wait = Number.isFinite(seconds) ? seconds : window
  return Number.isFinite(wait) ? Math.min(Math.max(0, wait), 3600) * 1000 : null
}

function localError(cause: unknown, to: string): unknown {
  const { code } = (cause ?? {}) as NodeJS.ErrnoException
  const denied = ['EACCES', 'EPERM', 'EROFS'].includes(code ?? '')
  return denied ? new AppError('disk.denied', { dir: path.dirname(to) }, { cause }) : cause
}
