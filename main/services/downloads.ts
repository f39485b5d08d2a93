import { EventEmitter } from 'node:events'
import { link, mkdir, stat } from 'node:fs/promises'
import path from 'node:path'
import type { Dispatcher } from 'undici'
import { z } from 'zod'
import {
  type DownloadFilter,
  type DownloadRemedy,
  type DownloadSelection,
  DownloadState,
  type DownloadTotals,
  type DownloadView,
  DownloadWanted,
  type SourceView,
} from '../../core/contract/download.ts'
import { AppError, Failure, toFailure } from '../../core/contract/errors.ts'
import { FileRef } from '../../core/contract/hub.ts'
import { parseJson, writeJson } from '../../core/contract/json.ts'
import { isOpen, opensNext, planWindow, type Window } from '../../core/domain/queue/window.ts'
import { place } from '../../core/engine/download/disk.ts'
import { type DownloadNews, download, type FileSource } from '../../core/engine/download/download.ts'
import { discard } from '../../core/engine/download/journal.ts'
import { Limits } from '../../core/engine/download/limits.ts'
import { takeName } from '../../core/engine/download/lock.ts'
import { hashFile } from '../../core/engine/hash-file.ts'
import { copyBytes } from '../../core/engine/models/duplicates.ts'
import type { Clock } from './clock.ts'
import type { Database } from './database/open.ts'
import type { Service } from './service.ts'
import type { KeptSettings } from './settings.ts'

/** Where a file comes from now, and what is known of it. */
export interface FoundSources {
  readonly sources: readonly FileSource[]
  readonly sizeBytes: number | null
  readonly sha256: string | null
  readonly gitSha1: string | null
}
interface Deps {
  readonly database: Database
  readonly clock: Clock
  readonly settings: KeptSettings
  readonly dispatcher: () => Dispatcher
  /** Asked at each start, so that links are never old. @throws AppError hub.* */
  readonly sourcesOf: (
    refs: readonly FileRef[],
    known: { sizeBytes: number | null; sha256: string | null },
    signal: AbortSignal,
  ) => Promise<FoundSources>
  /** Told how hosts did. */
  readonly mirrors?: {
    failed(host: string, reason: string): void
    served(host: string, fetchedBytes: number, ms: number): void
  }
  readonly log?: (event: string, facts: object) => void
  /** Only what is asked for or resumed by this process runs. */
  readonly idle?: boolean
  /** For tests of the engine's waiting. */
  readonly stallMs?: number
}
interface Row {
  number: number
  name: string
  kind: DownloadView['kind']
  path: string
  sources: string
  size_bytes: number | null
  sha256: string | null
  git_sha1: string | null
  about: string
  state: DownloadState
  priority: number
  place: number
  start_at: string | null
  stop_at: string | null
  from_minute: number | null
  to_minute: number | null
  opens_at: number | null
  closes_at: number | null
  tries: number
  not_before: number
  done_bytes: number
  per_source: string
  switched: string
  failure: string | null
  created_at: number
  started_at: number | null
  ended_at: number | null
}
interface Running {
  readonly stopping: AbortController
  readonly begunAt: number
  phase: NonNullable<DownloadView['phase']>
  news: DownloadNews | null
  keptAt: number
  done: Promise<void>
}

/** Why it is no fault that these stopped. */
type Halt = 'paused' | 'cancelled' | 'waiting'
const SwitchedList = z.array(z.object({ from: z.string(), to: z.string(), reason: z.string() }))

const KEEP_EVERY_MS = 5_000
/** Before the n-th time it is tried again by itself. */
const AGAIN_MS = [15_000, 60_000, 5 * 60_000, 15 * 60_000, 60 * 60_000]
/** Whatever a host asks for. */
const LONGEST_WAIT_MS = 60 * 60_000
const PASSING = new Set(['download.unreachable', 'hub.unreachable', 'hub.busy', 'hub.wrong-answer'])
const TONIGHT_MS = 24 * 60 * 60_000
const OPEN = ['waiting', 'running', 'paused', 'failed'] as const
const MOST_SWITCHED = 50

/** The files to have, as a person sees them: in order, when they may run, and how each one does. */
export class Downloads implements Service {
  readonly events = new EventEmitter<{ changed: [ids: string[]]; done: [DownloadView]; active: [] }>()
  readonly #deps: Deps
  readonly #limits = new Limits()
  readonly #running = new Map<number, Running>()
  /** With `idle`: those that this process was asked for. */
  readonly #asked = new Set<number>()
  #started = false
  #callOff: () => void = () => {}

  constructor(deps: Deps) {
    this.#deps = deps
  }

  /** What ran when the app was ended, however, goes on. */
  async start() {
    if (this.#started) return
    this.#started = true
    this.#deps.database.prepare(`UPDATE downloads SET state = 'waiting' WHERE state = 'running'`).run()
    this.#deps.settings.events.on('changed', this.#look)
    this.#look()
  }

  async stop() {
    if (!this.#started) return
    this.#started = false
    this.#callOff()
    this.#deps.settings.events.off('changed', this.#look)
    const all = [...this.#running.values()]
    for (const { stopping } of all) stopping.abort('waiting' satisfies Halt)
    await Promise.all(all.map(({ done }) => done))
  }

  /** Asked for again before it is there, it is the same download; `sources` are those given last. */
  add(asked: DownloadWanted): DownloadView {
    const { database, clock } = this.#deps
    const wanted = DownloadWanted.parse(asked)
    if (!path.isAbsolute(wanted.to)) throw new AppError('app.bad-request', { reason: 'a whole path is needed' })
    const to = path.normalize(wanted.to)
    const same = database
      .prepare<[string], Row>(
        `SELECT * FROM downloads WHERE path = ? AND state IN ('waiting', 'running', 'paused', 'failed')`,
      )
      .get(to)
    if (same) {
      const otherFile = same.sha256 !== null && wanted.sha256 !== null && same.sha256 !== wanted.sha256
      if (otherFile) throw new AppError('download.exists', { path: to })
      this.#update(same.number, { sources: writeJson(wanted.sources), sha256: same.sha256 ?? wanted.sha256 })
      if (wanted.priority > same.priority) this.#update(same.number, { priority: wanted.priority })
      if (same.state === 'failed' || same.state === 'paused') this.#again([same.number])
      else this.#asked.add(same.number)
      this.#look()
      return this.get(idOf(same.number))
    }
    const now = clock.now()
    const { lastInsertRowid } = database
      .prepare(`INSERT INTO downloads (name, kind, path, sources, size_bytes, sha256, git_sha1, about, priority, place,
        start_at, stop_at, from_minute, to_minute, opens_at, closes_at, created_at)
        VALUES (:name, :kind, :to, :sources, :sizeBytes, :sha256, :gitSha1, :about, :priority,
        (SELECT ifnull(max(place), 0) + 1 FROM downloads),
        :startAt, :stopAt, :fromMinute, :toMinute, :opensAt, :closesAt, :now)`)
      .run({
        ...wanted,
        ...planWindow(wanted.startAt, wanted.stopAt, now),
        to,
        sources: writeJson(wanted.sources),
        about: writeJson(wanted.about),
        now,
      })
    const number = Number(lastInsertRowid)
    this.#asked.add(number)
    this.#tell(number)
    this.#look()
    return this.get(idOf(number))
  }

  /** @throws AppError 'app.not-found' */
  get(id: string): DownloadView {
    const row = this.#row(numberOf(id))
    if (!row) throw new AppError('app.not-found', { what: id })
    return this.#view(row)
  }

  /** Those that wait, run, are paused or failed. */
  open(): DownloadView[] {
    return this.#rows(OPEN).map((row) => this.#view(row))
  }

  /** Where the file that was fetched to this path came from; none: it was not, or nobody remembers. */
  cameFrom(to: string): FileRef[] {
    const row = this.#deps.database
      .prepare<[string], string>(
        `SELECT sources FROM downloads WHERE path = ? AND state = 'done' ORDER BY number DESC LIMIT 1`,
      )
      .pluck()
      .get(path.normalize(to))
    return row === undefined ? [] : FileRef.array().parse(parseJson(row))
  }

  /** What is to be done in its order, then what ended, the newest first. */
  list({ states, search = '', offset = 0, limit = 100 }: DownloadFilter & { offset?: number; limit?: number } = {}): {
    rows: DownloadView[]
    total: number
    totals: DownloadTotals
  } {
    const wanted = states ?? DownloadState.options
    const words = search.trim().toLowerCase()
    const rows = this.#rows(wanted).filter(
      ({ name, path: to }) => words === '' || `${name}\n${to}`.toLowerCase().includes(words),
    )
    return {
      rows: rows.slice(offset, offset + limit).map((row) => this.#view(row)),
      total: rows.length,
      totals: this.totals(),
    }
  }

  totals(): DownloadTotals {
    const counts = { waiting: 0, running: 0, paused: 0, done: 0, failed: 0, cancelled: 0 }
    const counted = this.#deps.database
      .prepare<[], { state: DownloadState; count: number }>(
        'SELECT state, count(*) AS count FROM downloads GROUP BY state',
      )
      .all()
    for (const { state, count } of counted) counts[state] = count
    const views = this.#rows(['waiting', 'running']).map((row) => this.#view(row))
    const bytesPerSecond = views.reduce((sum, view) => sum + (view.bytesPerSecond ?? 0), 0)
    const leftBytes = views.reduce(
      (sum, { sizeBytes, doneBytes }) => sum + Math.max(0, (sizeBytes ?? 0) - doneBytes),
      0,
    )
    const known = views.every(({ sizeBytes }) => sizeBytes !== null)
    return {
      counts,
      bytesPerSecond,
      leftBytes,
      etaSeconds: known && bytesPerSecond > 0 ? Math.ceil(leftBytes / bytesPerSecond) : null,
      held: this.#deps.settings.get().downloads.held,
    }
  }

  /** Whether the machine is wanted awake: something runs, or could now or tonight. */
  active(): boolean {
    if (this.#running.size > 0) return true
    const { downloads } = this.#deps.settings.get()
    if (downloads.held || !this.#started) return false
    const now = this.#deps.clock.now()
    return this.#rows(['waiting']).some((row) => {
      const opens = this.#opensAt(row, now)
      return this.#mayStart(row) && (opens === null || opens - now <= TONIGHT_MS)
    })
  }

  /** What came so far stays, and is gone on from. Gives how many. */
  async pause(selection: DownloadSelection): Promise<number> {
    return this.#halt(this.#chosen(selection, ['waiting', 'running']), 'paused')
  }

  /** What is paused goes on; what failed or was cancelled is tried again. */
  resume(selection: DownloadSelection): number {
    const rows = this.#chosen(selection, ['paused', ...('ids' in selection ? (['waiting'] as const) : [])])
    this.#again(rows.map(({ number }) => number))
    return rows.length
  }

  retry(selection: DownloadSelection): number {
    const rows = this.#chosen(selection, ['failed', 'cancelled']).filter(({ number, path: to }) => {
      const other = this.#deps.database
        .prepare<[string, number], { number: number }>(
          `SELECT number FROM downloads WHERE path = ? AND number <> ? AND state IN ('waiting', 'running', 'paused', 'failed')`,
        )
        .get(to, number)
      return !other
    })
    this.#again(rows.map(({ number }) => number))
    return rows.length
  }

  /** What came so far is thrown away. */
  async cancel(selection: DownloadSelection): Promise<number> {
    const rows = this.#chosen(selection, OPEN)
    const count = await this.#halt(rows, 'cancelled')
    for (const { path: to } of rows) await discard(to)
    return count
  }

  /** Takes what ended out of the list; files stay. */
  clear(selection: DownloadSelection): number {
    const rows = this.#chosen(selection, ['done', 'cancelled', 'failed'])
    const remove = this.#deps.database.prepare('DELETE FROM downloads WHERE number = ?')
    for (const { number } of rows) {
      remove.run(number)
      this.#tell(number)
    }
    return rows.length
  }

  /** Position among those to be done, 0 = next. */
  move(id: string, position: number): number {
    const rows = this.#rows(['running', 'waiting', 'paused', 'failed'])
    const from = rows.findIndex(({ number }) => number === numberOf(id))
    const moved = rows[from]
    if (!moved) throw new AppError('app.not-found', { what: id })
    rows.splice(from, 1)
    rows.splice(Math.min(position, rows.length), 0, moved)
    const at = rows.indexOf(moved)
    // whoever goes between others is as urgent as they are
    const priority = at === 0 ? Math.max(moved.priority, rows[1]?.priority ?? moved.priority) : rows[at - 1]!.priority
    this.#deps.database.transaction(() => {
      for (const [place, row] of rows.entries()) this.#update(row.number, { place, ...(row === moved && { priority }) })
    })()
    this.#giveWay(moved.number)
    return 1
  }

  prioritise(selection: DownloadSelection, priority: number): number {
    const rows = this.#chosen(selection, OPEN)
    for (const { number } of rows) this.#update(number, { priority })
    this.#look()
    return rows.length
  }

  /** When these may run, each day; null: whenever downloads may. */
  schedule(selection: DownloadSelection, startAt: string | null, stopAt: string | null): number {
    const rows = this.#chosen(selection, OPEN)
    const window = planWindow(startAt, stopAt, this.#deps.clock.now())
    for (const { number } of rows)
      this.#update(number, {
        start_at: startAt,
        stop_at: stopAt,
        from_minute: window.fromMinute,
        to_minute: window.toMinute,
        opens_at: window.opensAt,
        closes_at: window.closesAt,
      })
    this.#look()
    return rows.length
  }

  /** All of them wait, until `release`. */
  hold(held: boolean) {
    const { settings } = this.#deps
    settings.set({ downloads: { ...settings.get().downloads, held } })
  }

  // ---- what runs, and when ----

  /** Starts and halts what the order, the hours and the settings say; and again when one of them will say otherwise. */
  #look = () => {
    if (!this.#started) return
    const { clock, settings } = this.#deps
    const { downloads } = settings.get()
    const now = clock.now()
    this.#limit(now)
    for (const [number, { stopping }] of this.#running) {
      const row = this.#row(number)
      if (!row || downloads.held || this.#opensAt(row, now) !== null || !this.#isOpen(row, now))
        stopping.abort('waiting' satisfies Halt)
    }
    if (!downloads.held)
      for (const row of this.#rows(['waiting'])) {
        const active = [...this.#running.values()].filter(({ stopping }) => !stopping.signal.aborted)
        if (active.length >= downloads.atOnce) break
        if (!this.#running.has(row.number) && this.#mayStart(row) && this.#isOpen(row, now)) this.#begin(row)
      }
    this.#lookLater(now)
    this.events.emit('active')
  }

  #mayStart({ number, sha256 }: Row): boolean {
    if (this.#deps.idle && !this.#asked.has(number)) return false
    // a file is fetched once: another of the same content waits for it
    return (
      sha256 === null ||
      ![...this.#running.keys()].some((other) => other !== number && this.#row(other)?.sha256 === sha256)
    )
  }

  #isOpen(row: Row, now: number): boolean {
    const { startAt, stopAt } = this.#deps.settings.get().downloads
    return row.not_before <= now && isOpen(windowOf(row), now) && isOpen(planWindow(startAt, stopAt, now), now)
  }

  /** null: it may run now, or nobody knows when. */
  #opensAt(row: Row, now: number): number | null {
    const { startAt, stopAt } = this.#deps.settings.get().downloads
    const moments = [opensNext(windowOf(row), now), opensNext(planWindow(startAt, stopAt, now), now)]
    if (row.not_before > now) moments.push(row.not_before)
    const known = moments.filter((moment) => moment !== null)
    return known.length === 0 ? null : Math.max(...known)
  }

  #lookLater(now: number) {
    this.#callOff()
    const { downloads } = this.#deps.settings.get()
    const waits = this.#rows(['waiting', 'running']).flatMap((row) => {
      const opens = this.#opensAt(row, now)
      return opens === null ? [] : [opens]
    })
    // hours end, and rates change, on the minute
    const hours = [downloads.startAt, downloads.fullSpeedFrom].some((time) => time !== null)
    const own = [...this.#running.keys()].some((number) => this.#row(number)?.stop_at !== null)
    if (hours || own) waits.push(Math.floor(now / 60_000 + 1) * 60_000)
    if (waits.length === 0) return
    this.#callOff = this.#deps.clock.after(Math.max(0, Math.min(...waits) - now), this.#look)
  }

  #limit(now: number) {
    const {
      bytesPerSecond,
      bytesPerSecondPerHost,
      connections,
      connectionsPerHost,
      hosts,
      fullSpeedFrom,
      fullSpeedTo,
    } = this.#deps.settings.get().downloads
    const full =
      fullSpeedFrom !== null && fullSpeedTo !== null && isOpen(planWindow(fullSpeedFrom, fullSpeedTo, now), now)
    const rate = (limit: number | null) => (full ? null : limit)
    const set = {
      bytesPerSecond: rate(bytesPerSecond),
      bytesPerSecondPerHost: rate(bytesPerSecondPerHost),
      connections,
      connectionsPerHost,
      hosts: Object.fromEntries(
        Object.entries(hosts).map(([host, limit]) => [
          host,
          {
            ...(limit.bytesPerSecond !== null && { bytesPerSecond: rate(limit.bytesPerSecond) }),
            ...(limit.connections !== undefined && { connections: limit.connections }),
          },
        ]),
      ),
    }
    if (writeJson(set) !== writeJson(this.#limits.current)) this.#limits.change(set)
  }

  /** What was put before others runs instead of the last of them. */
  #giveWay(number: number) {
    const { downloads } = this.#deps.settings.get()
    const first = this.#rows(['running', 'waiting']).toSorted(byOrder).slice(0, downloads.atOnce)
    const row = first.find((each) => each.number === number)
    if (row?.state === 'waiting' && this.#running.size >= downloads.atOnce)
      for (const [other, { stopping }] of this.#running)
        if (!first.some((each) => each.number === other)) stopping.abort('waiting' satisfies Halt)
    this.#look()
  }

  #begin(row: Row) {
    const { clock, log } = this.#deps
    const now = clock.now()
    this.#update(row.number, { state: 'running', started_at: row.started_at ?? now, ended_at: null })
    const running: Running = {
      stopping: new AbortController(),
      begunAt: now,
      phase: 'asking',
      news: null,
      keptAt: now,
      done: Promise.resolve(),
    }
    this.#running.set(row.number, running)
    log?.('download.begun', { id: idOf(row.number), name: row.name })
    running.done = this.#run(row, running)
      .then(
        (end) => end,
        (cause): Ending => this.#endingOf(row.number, running, cause),
      )
      .then((end) => this.#end(row.number, end))
      .catch((cause) => log?.('download.not-kept', { id: idOf(row.number), reason: String(cause) }))
  }

  async #run(row: Row, running: Running): Promise<Ending> {
    const { dispatcher, sourcesOf, clock, stallMs, mirrors } = this.#deps
    const { signal } = running.stopping
    await mkdir(path.dirname(row.path), { recursive: true }).catch((cause: NodeJS.ErrnoException) => {
      throw new AppError(
        cause.code === 'ENOSPC' ? 'disk.full' : 'disk.denied',
        { dir: path.dirname(row.path) },
        { cause },
      )
    })
    const copied = await this.#fromHere(row, signal)
    if (copied !== null) return { state: 'done', sizeBytes: copied, switched: [] }
    const refs = FileRef.array().parse(parseJson(row.sources))
    const found = await sourcesOf(refs, { sizeBytes: row.size_bytes, sha256: row.sha256 }, signal)
    signal.throwIfAborted()
    const sha256 = row.sha256 ?? found.sha256
    const sizeBytes = row.size_bytes ?? found.sizeBytes
    this.#update(row.number, { sha256, size_bytes: sizeBytes, git_sha1: row.git_sha1 ?? found.gitSha1 })
    running.phase = 'fetching'
    const got = await download(
      { to: row.path, sources: found.sources, sizeBytes, sha256, gitSha1: row.git_sha1 ?? found.gitSha1 },
      {
        dispatcher: dispatcher(),
        limits: this.#limits,
        signal,
        now: clock.now,
        ...(stallMs !== undefined && { stallMs }),
        onNews: (news) => this.#hear(row.number, running, news),
      },
    )
    const ms = clock.now() - running.begunAt
    for (const { id, fetchedBytes, reason } of got.perSource) {
      mirrors?.served(id, fetchedBytes, ms)
      if (reason !== null && fetchedBytes === 0) mirrors?.failed(id, reason)
    }
    this.#update(row.number, { sha256: got.sha256 })
    return { state: 'done', sizeBytes: got.sizeBytes, switched: [...got.switched] }
  }

  /** The same content may be here under another name already; gives its size. */
  async #fromHere(row: Row, signal: AbortSignal): Promise<number | null> {
    if (row.sha256 === null) return null
    const same = this.#deps.database
      .prepare<[string, number], Row>(`SELECT * FROM downloads WHERE sha256 = ? AND state = 'done' AND number <> ?`)
      .all(row.sha256, row.number)
    for (const { path: from } of same) {
      const before = await stat(from).catch(() => null)
      if (!before?.isFile() || from === row.path) continue
      const isSame = (await hashFile(from, signal).catch(() => null)) === row.sha256
      signal.throwIfAborted()
      if (!isSame) continue
      const letGo = await takeName(row.path, signal, () => {})
      try {
        if (await stat(row.path).catch(() => null)) return null // the engine says what is there
        await discard(row.path)
        const part = `${row.path}.part`
        const linked = await link(from, part).then(
          () => true,
          () => false,
        )
        // another disk, or one with no room: then it is fetched, which says so
        if (!linked && (await copyBytes(from, part, signal).catch(() => null)) !== row.sha256) {
          signal.throwIfAborted()
          continue
        }
        await place(part, row.path)
        return before.size
      } finally {
        await letGo()
      }
    }
    return null
  }

  #hear(number: number, running: Running, news: DownloadNews) {
    const { clock } = this.#deps
    running.news = news
    running.phase = news.is
    const now = clock.now()
    if (now - running.keptAt >= KEEP_EVERY_MS) {
      running.keptAt = now
      this.#keep(number, news)
    }
    this.#tell(number)
  }

  /** What a list shows after a start, before the engine has looked. */
  #keep(number: number, { doneBytes, sizeBytes, sources }: DownloadNews) {
    this.#update(
      number,
      {
        done_bytes: doneBytes,
        per_source: writeJson(sources.map(atRest)),
        ...(sizeBytes !== null && { size_bytes: sizeBytes }),
      },
      false,
    )
  }

  #endingOf(number: number, { stopping }: Running, cause: unknown): Ending {
    if (stopping.signal.aborted) return { state: stopping.signal.reason as Halt }
    const failure = toFailure(cause)
    const tries = this.#row(number)?.tries ?? 0
    const again = PASSING.has(failure.code) ? AGAIN_MS[tries] : undefined
    const wait =
      failure.code === 'hub.busy'
        ? Math.max(again ?? 0, Math.min(Number(failure.facts.seconds ?? 0) * 1000, LONGEST_WAIT_MS))
        : again
    const host = String(failure.facts.host ?? '')
    if (host !== '') this.#deps.mirrors?.failed(host, failure.code)
    if (again === undefined) return { state: 'failed', failure }
    return { state: 'waiting', failure, tries: tries + 1, notBefore: this.#deps.clock.now() + (wait ?? 0) }
  }

  #end(number: number, end: Ending) {
    const { clock, log } = this.#deps
    const { news = null } = this.#running.get(number) ?? {}
    this.#running.delete(number)
    const row = this.#row(number)
    if (!row) return this.#look()
    if (news) this.#keep(number, news)
    const { state, failure, tries, notBefore } = end
    const switched = [...SwitchedList.parse(parseJson(row.switched)), ...(end.switched ?? [])].slice(-MOST_SWITCHED)
    this.#update(number, {
      // paused or cancelled by a person while it ended: what they said counts
      state,
      failure: failure ? writeJson(failure) : null,
      switched: writeJson(switched),
      tries: state === 'done' ? 0 : (tries ?? row.tries),
      not_before: notBefore ?? 0,
      ...(end.sizeBytes !== undefined && { done_bytes: end.sizeBytes, size_bytes: end.sizeBytes }),
      ...(state === 'cancelled' && { done_bytes: 0 }),
      ended_at: state === 'done' || state === 'failed' || state === 'cancelled' ? clock.now() : null,
    })
    log?.('download.ended', { id: idOf(number), name: row.name, state, ...(failure && { code: failure.code }) })
    if (state === 'done') this.events.emit('done', this.get(idOf(number)))
    this.#look()
  }

  async #halt(rows: readonly Row[], as: Exclude<Halt, 'waiting'>): Promise<number> {
    const ends: Promise<void>[] = []
    for (const { number, state } of rows) {
      const running = this.#running.get(number)
      if (running) {
        running.stopping.abort(as satisfies Halt)
        ends.push(running.done)
      } else if (state !== as)
        this.#update(number, {
          state: as,
          not_before: 0,
          ...(as === 'cancelled' && { done_bytes: 0, ended_at: this.#deps.clock.now() }),
        })
    }
    await Promise.all(ends)
    // one that was halted for another reason just before says that
    for (const { number } of rows) {
      const now = this.#row(number)
      if (now && now.state !== as && now.state !== 'done') this.#update(number, { state: as })
    }
    this.#look()
    return rows.length
  }

  #again(numbers: readonly number[]) {
    for (const number of numbers) {
      this.#asked.add(number)
      this.#update(number, { state: 'waiting', failure: null, tries: 0, not_before: 0, ended_at: null })
    }
    this.#look()
  }

  // ---- rows ----

  #row(number: number): Row | undefined {
    return this.#deps.database.prepare<[number], Row>('SELECT * FROM downloads WHERE number = ?').get(number)
  }

  #rows(states: readonly DownloadState[]): Row[] {
    const marks = states.map(() => '?').join(', ')
    return this.#deps.database
      .prepare<string[], Row>(
        `SELECT * FROM downloads WHERE state IN (${marks}) ORDER BY
          CASE WHEN state IN ('running', 'waiting', 'paused', 'failed') THEN 0 ELSE 1 END,
          CASE WHEN state IN ('done', 'cancelled') THEN -ifnull(ended_at, 0) END,
          priority DESC, place, number`,
      )
      .all(...states)
  }

  #chosen(selection: DownloadSelection, states: readonly DownloadState[]): Row[] {
    if ('ids' in selection) {
      const rows = selection.ids.map((id) => this.#row(numberOf(id)))
      return rows.filter((row): row is Row => row !== undefined && states.includes(row.state))
    }
    return this.#rows(states.filter((state) => selection.states?.includes(state) ?? true))
  }

  #update(number: number, changes: Partial<Row>, tell = true) {
    const names = Object.keys(changes)
    this.#deps.database
      .prepare(`UPDATE downloads SET ${names.map((name) => `${name} = :${name}`).join(', ')} WHERE number = :number`)
      .run({ ...changes, number })
    if (tell) this.#tell(number)
  }

  #tell(number: number) {
    this.events.emit('changed', [idOf(number)])
  }

  #view(row: Row): DownloadView {
    const running = this.#running.get(row.number)
    const news = running?.news
    const { downloads } = this.#deps.settings.get()
    const now = this.#deps.clock.now()
    const failure = news?.failure ?? (row.failure === null ? null : Failure.parse(parseJson(row.failure)))
    const about = z.record(z.string(), z.string()).parse(parseJson(row.about))
    const opensAt = row.state === 'waiting' ? this.#opensAt(row, now) : null
    const page = /^https?:\/\//.test(String(failure?.facts.page ?? ''))
      ? String(failure?.facts.page)
      : (about.page ?? null)
    const waitsFor = () => {
      if (row.state !== 'waiting') return null
      if (downloads.held) return 'hold'
      if (row.not_before > now) return 'retry'
      return this.#isOpen(row, now) ? 'turn' : 'hours'
    }
    return {
      id: idOf(row.number),
      name: row.name,
      kind: row.kind,
      to: row.path,
      state: row.state,
      waitsFor: waitsFor(),
      opensAt,
      startAt: row.start_at,
      stopAt: row.stop_at,
      priority: row.priority,
      phase: running?.phase ?? null,
      sizeBytes: news?.sizeBytes ?? row.size_bytes,
      doneBytes: news?.doneBytes ?? row.done_bytes,
      bytesPerSecond: news?.bytesPerSecond ?? null,
      etaSeconds: news?.etaSeconds ?? null,
      sha256: row.sha256,
      sources: news ? [...news.sources] : z.custom<SourceView[]>().parse(parseJson(row.per_source)),
      connections: news ? [...news.connections] : [],
      switched: SwitchedList.parse(parseJson(row.switched)),
      failure,
      remedies: failure ? remediesOf(failure, page) : [],
      page,
      about,
      createdAt: row.created_at,
      startedAt: row.started_at,
      endedAt: row.ended_at,
    }
  }
}

interface Ending {
  readonly state: DownloadState
  readonly failure?: Failure
  readonly tries?: number
  readonly notBefore?: number
  readonly sizeBytes?: number
  readonly switched?: readonly { from: string; to: string; reason: string }[]
}

const idOf = (number: number) => `f${number}`
const numberOf = (id: string) => (/^f\d+$/.test(id) ? Number(id.slice(1)) : -1)
const byOrder = (a: Row, b: Row) => b.priority - a.priority || a.place - b.place || a.number - b.number
const windowOf = (row: Row): Window => ({
  fromMinute: row.from_minute,
  toMinute: row.to_minute,
  opensAt: row.opens_at,
  closesAt: row.closes_at,
})
const atRest = (source: SourceView): SourceView => ({
  ...source,
  is: source.is === 'passed-over' ? source.is : 'waiting',
  connections: 0,
  bytesPerSecond: 0,
})

function remediesOf({ code }: Failure, page: string | null): DownloadRemedy[] {
  const open: DownloadRemedy[] = page === null ? [] : ['open-page']
  if (/^hub\.(?:gated|needs-token|bad-token)$/.test(code)) return [...open, 'add-token']
  if (/^(?:hub\.(?:no-access|early-access|not-found)|download\.not-found)$/.test(code)) return open
  if (/^(?:download\.no-space|disk\.full)$/.test(code)) return ['make-room']
  if (/^(?:download\.(?:damaged|refused)|hub\.wrong-answer)$/.test(code)) return ['test-mirrors', ...open]
  if (/^(?:download|hub)\.unreachable$/.test(code)) return ['check-network', 'test-mirrors']
  return []
}
