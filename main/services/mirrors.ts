import { EventEmitter } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import type { Dispatcher } from 'undici'
import { AppError } from '../../core/contract/errors.ts'
import { parseJson, writeJson } from '../../core/contract/json.ts'
import {
  type Measured,
  type Mirror,
  type MirrorKind,
  type MirrorKindView,
  Mirrors,
  type MirrorView,
  mirrorKinds,
} from '../../core/contract/mirror.ts'
import { measurePlace } from '../../core/engine/download/measure.ts'
import {
  addressesFor,
  hostIn,
  inOrder,
  kindsOf,
  type MirrorPlace,
  nearMirrors,
  placesOf,
  ranked,
} from '../../core/engine/download/mirrors.ts'
import { writeWholeSync } from '../../core/engine/write-whole.ts'
import type { Clock } from './clock.ts'
import type { Database } from './database/open.ts'
import type { KeptSettings } from './settings.ts'

interface Deps {
  readonly dataDir: string
  readonly resourcesDir: string
  readonly database: Database
  readonly clock: Clock
  readonly settings: KeptSettings
  readonly locale: string
  readonly timeZone?: string
  /** A fresh one, which is ended after a place was tried. */
  readonly dispatcher: () => Dispatcher
  /** What a host is told of who asks. */
  readonly headersFor: (address: string) => Record<string, string>
  readonly log?: (event: string, facts: object) => void
}
type Row = Omit<Measured, 'ok' | 'ranges' | 'latencyMs' | 'bytesPerSecond'> & {
  kind: string
  place: string
  ok: number
  ranges: number | null
  latency_ms: number | null
  bytes_per_second: number | null
}

const AT_ONCE = 2 // more would disturb each other
const FRESH_FOR_MS = 7 * 24 * 60 * 60_000
/** After a failure: how long a kind is not tried again by itself. */
const REST_MS = 10 * 60_000
/** Of less, a rate seen while fetching tells nothing of a place. */
const TELLING_BYTES = 16 * 2 ** 20

/** Where things come from: the official places and those that stand in for them, in the order that measuring showed. */
export class MirrorList {
  readonly events = new EventEmitter<{ changed: [] }>()
  readonly #deps: Deps
  readonly #testing = new Set<string>()
  readonly #triedAt = new Map<MirrorKind, number>()
  #stopping = new AbortController()
  #tests: Promise<unknown> = Promise.resolve()
  #read: { stamp: string; mirrors: Mirrors; own: Mirrors } | undefined

  constructor(deps: Deps) {
    this.#deps = deps
  }

  async start() {
    this.#stopping = new AbortController()
  }
  async stop() {
    this.#stopping.abort()
    await this.#tests.catch(() => {})
  }

  /** What is shipped and what the person has, as they are. @throws AppError 'list.bad-mirrors' */
  all(): Mirrors {
    return this.#files().mirrors
  }

  /** With the mirrors in the order to try them; the official place is among them. `github.com` is that of git. */
  ordered(): Mirrors {
    const all = this.all()
    return { ...all, mirrors: mirrorKinds.flatMap((kind) => inOrder(kind, this.places(kind), all)) }
  }

  /** Of a kind, in the order to try them. */
  places(kind: MirrorKind): MirrorPlace[] {
    const { choices, mirrors: policy } = this.#deps.settings.get().network
    const { locale, timeZone = Intl.DateTimeFormat().resolvedOptions().timeZone } = this.#deps
    const measured = this.#measured(kind)
    return ranked(placesOf(kind, this.all()), {
      choice: choices[kind],
      policy: policy === 'auto' ? (nearMirrors(timeZone, locale) ? 'first' : 'last') : policy,
      measured: (id) => measured.get(id) ?? null,
    })
  }

  /** Where to ask for what is at an address, best first; without a kind, by the address alone. */
  addressesFor(address: string, kind?: MirrorKind): string[] {
    const url = URL.parse(address)
    if (!url) return [address]
    const all = this.all()
    const [of = null] = kind ? [kind] : kindsOf(url, all).filter((each) => each !== 'git')
    if (of === null) return [address]
    return addressesFor(url, inOrder(of, this.places(of), all)).map(({ href }) => href)
  }

  views(): MirrorKindView[] {
    const all = this.all()
    const { own } = this.#files()
    const { choices, tokensTo } = this.#deps.settings.get().network
    return mirrorKinds.flatMap((kind): MirrorKindView[] => {
      const every = placesOf(kind, all)
      if (every.length === 0) return []
      const used = this.places(kind)
      const left = every.filter(({ id }) => !used.some((place) => place.id === id))
      const measured = this.#measured(kind)
      const places = [...used, ...left].map(
        ({ id, mirror }): MirrorView => ({
          id,
          name: mirror?.name ?? id,
          pattern: mirror?.pattern ?? all.kinds[kind]!.official,
          official: mirror === null,
          used: used.some((place) => place.id === id),
          own: mirror !== null && own.mirrors.some(({ pattern }) => pattern === mirror.pattern),
          direct: mirror?.direct ?? false,
          note: mirror?.note ?? null,
          measured: measured.get(id) ?? null,
          testing: this.#testing.has(`${kind} ${id}`),
          hasToken: tokensTo.some((pair) => pair.endsWith(`:${id}`)),
        }),
      )
      return [{ kind, choice: choices[kind] ?? 'auto', places }]
    })
  }

  /**
   * Tries places from here; each is told of as soon as it is known.
   * @throws AppError 'mirror.unknown'
   */
  async test(
    asked: { kinds?: readonly MirrorKind[] | undefined; id?: string | undefined } = {},
    onMeasured: (kind: MirrorKind, id: string, measured: Measured) => void = () => {},
    signal?: AbortSignal,
  ): Promise<void> {
    const all = this.all()
    const places = (asked.kinds ?? mirrorKinds).flatMap((kind) =>
      placesOf(kind, all)
        .filter(({ id }) => asked.id === undefined || id === asked.id)
        .map((place) => ({ kind, place })),
    )
    if (places.length === 0)
      throw new AppError('mirror.unknown', { id: asked.id ?? '-', kind: asked.kinds?.join(', ') ?? '-' })
    const within = AbortSignal.any([this.#stopping.signal, ...(signal ? [signal] : [])])
    const marks = places.map(({ kind, place }) => `${kind} ${place.id}`)
    for (const mark of marks) this.#testing.add(mark)
    this.events.emit('changed')
    const queue = places.values()
    const work = async () => {
      for (const { kind, place } of queue) {
        if (within.aborted) return
        const measured = await this.#measure(kind, place, within)
        this.#keep(kind, place.id, measured)
        this.#testing.delete(`${kind} ${place.id}`)
        this.#triedAt.set(kind, measured.at)
        onMeasured(kind, place.id, measured)
        this.events.emit('changed')
      }
    }
    const working = Promise.all(Array.from({ length: AT_ONCE }, work))
    this.#tests = Promise.allSettled([this.#tests, working])
    try {
      await working
    } finally {
      for (const mark of marks) this.#testing.delete(mark)
      this.events.emit('changed')
    }
    signal?.throwIfAborted()
  }

  /** Asked before a kind is used: one that has mirrors and was not tried for long is, meanwhile. */
  freshen(kind: MirrorKind) {
    const { clock, settings } = this.#deps
    if (settings.get().network.mirrors === 'none') return
    const every = placesOf(kind, this.all())
    if (every.length < 2 || every.some(({ id }) => this.#testing.has(`${kind} ${id}`))) return
    const measured = this.#measured(kind)
    const old = every.some(({ id }) => clock.now() - (measured.get(id)?.at ?? 0) > FRESH_FOR_MS)
    if (old && clock.now() - (this.#triedAt.get(kind) ?? 0) > REST_MS) this.#testQuietly(kind)
  }

  /** A place failed while it was used: all of its kind are tried again. */
  failed(host: string, reason: string) {
    const { clock, log } = this.#deps
    for (const kind of this.#kindsAt(host)) {
      if (clock.now() - (this.#triedAt.get(kind) ?? 0) < REST_MS) continue
      log?.('mirrors.tried-again', { kind, host, reason })
      this.#testQuietly(kind)
    }
  }

  /** How fast it was while it was used tells more than a small file does. */
  served(host: string, fetchedBytes: number, ms: number) {
    if (fetchedBytes < TELLING_BYTES || ms <= 0) return
    const rate = (fetchedBytes / ms) * 1000
    for (const kind of this.#kindsAt(host)) {
      const before = this.#measured(kind).get(host)
      if (!before?.ok) continue
      const bytesPerSecond = Math.round(((before.bytesPerSecond ?? rate) + rate) / 2)
      this.#keep(kind, host, { ...before, bytesPerSecond, ranges: before.ranges })
    }
    this.events.emit('changed')
  }

  /** Which to ask first; null: the best measured. @throws AppError 'mirror.unknown' */
  choose(kind: MirrorKind, id: string | null) {
    const { settings } = this.#deps
    if (id !== null && !placesOf(kind, this.all()).some((place) => place.id === id))
      throw new AppError('mirror.unknown', { id, kind })
    const { network } = settings.get()
    const { [kind]: _, ...others } = network.choices
    settings.set({ network: { ...network, choices: id === null ? others : { ...others, [kind]: id } } })
    this.events.emit('changed')
  }

  /**
   * A mirror of the person's own: a pattern, or the address before which (`prefix`) or in place of which paths are asked.
   * @throws AppError 'mirror.bad-address'
   */
  add(
    kind: MirrorKind,
    given: { address: string; prefix: boolean; name?: string | undefined; direct: boolean },
  ): string {
    const facts = this.all().kinds[kind]
    const [standsInFor = ''] = facts?.standsIn ?? []
    const base = given.address.trim()
    const rest = standsInFor.includes('/') ? '{rest}' : '{path}'
    const pattern = base.includes('{') ? base : `${base.replace(/\/+$/, '')}${given.prefix ? '/{url}' : rest}`
    const asked = URL.parse(`${facts?.official}/a/b/c/d`)
    const [sample] = asked ? addressesFor(asked, [{ standsInFor, pattern }]) : []
    const usable = sample && sample.href !== asked?.href && /^https?:$/.test(sample.protocol) && sample.username === ''
    if (!usable) throw new AppError('mirror.bad-address', { address: base.replace(/\/\/[^/@]*@/, '//***@') })
    const { own } = this.#files()
    const mirror: Mirror = {
      standsInFor,
      pattern,
      ...(given.name && { name: given.name }),
      ...(given.direct && { direct: true }),
      ...(this.#sharesHost(standsInFor) && { kinds: [kind] }),
    }
    this.#writeOwn({ ...own, mirrors: [...own.mirrors.filter((each) => each.pattern !== pattern), mirror] })
    return hostIn(pattern)
  }

  /** @throws AppError 'mirror.unknown' */
  remove(kind: MirrorKind, id: string) {
    const { own } = this.#files()
    const standsIn = this.all().kinds[kind]?.standsIn ?? []
    const isIt = ({ standsInFor, pattern, kinds }: Mirror) =>
      hostIn(pattern) === id && standsIn.includes(standsInFor) && (!kinds || kinds.includes(kind))
    if (!own.mirrors.some(isIt)) throw new AppError('mirror.unknown', { id, kind })
    if (this.#deps.settings.get().network.choices[kind] === id) this.choose(kind, null)
    this.#writeOwn({ ...own, mirrors: own.mirrors.filter((mirror) => !isIt(mirror)) })
  }

  // ---- inside ----

  #testQuietly(kind: MirrorKind) {
    this.#triedAt.set(kind, this.#deps.clock.now())
    this.test({ kinds: [kind] }).catch((cause) =>
      this.#deps.log?.('mirrors.not-tried', { kind, reason: String(cause) }),
    )
  }

  async #measure(kind: MirrorKind, place: MirrorPlace, signal: AbortSignal): Promise<Measured> {
    const { clock, headersFor } = this.#deps
    const all = this.all()
    const dispatcher = this.#deps.dispatcher()
    try {
      return await measurePlace(place, all.kinds[kind]?.checks ?? [], {
        dispatcher,
        officialHosts: Object.values(all.kinds).flatMap(({ standsIn }) => standsIn.map((at) => at.split('/')[0]!)),
        headersFor,
        now: clock.now,
        signal,
      })
    } finally {
      await dispatcher.destroy()
    }
  }

  #kindsAt(host: string): MirrorKind[] {
    const all = this.all()
    return mirrorKinds.filter((kind) => {
      const every = placesOf(kind, all)
      return every.length > 1 && every.some(({ id }) => id === host)
    })
  }

  /** Several kinds come from one host, each in its own way. */
  #sharesHost(standsInFor: string): boolean {
    return Object.values(this.all().kinds).filter(({ standsIn }) => standsIn.includes(standsInFor)).length > 1
  }

  #measured(kind: MirrorKind): Map<string, Measured> {
    const rows = this.#deps.database
      .prepare<[string], Row>('SELECT * FROM mirror_measurements WHERE kind = ?')
      .all(kind)
    return new Map(
      rows.map(({ place, ok, ranges, latency_ms, bytes_per_second, at, fault, reason }) => [
        place,
        {
          at,
          ok: ok === 1,
          fault,
          reason,
          latencyMs: latency_ms,
          bytesPerSecond: bytes_per_second,
          ranges: ranges === null ? null : ranges === 1,
        },
      ]),
    )
  }

  #keep(kind: MirrorKind, place: string, { ok, ranges, ...measured }: Measured) {
    this.#deps.database
      .prepare(`INSERT OR REPLACE INTO mirror_measurements
        (kind, place, at, ok, fault, reason, latency_ms, bytes_per_second, ranges)
        VALUES (:kind, :place, :at, :ok, :fault, :reason, :latencyMs, :bytesPerSecond, :ranges)`)
      .run({ kind, place, ...measured, ok: Number(ok), ranges: ranges === null ? null : Number(ranges) })
  }

  #files() {
    const { dataDir, resourcesDir } = this.#deps
    const own = path.join(dataDir, 'mirrors.json')
    const text = existsSync(own) ? readFileSync(own, 'utf8') : ''
    if (this.#read?.stamp === text) return this.#read
    const theirs = readOwn(own)
    this.#read = {
      stamp: text,
      own: theirs,
      mirrors: joined(readMirrors(path.join(resourcesDir, 'mirrors.json')), theirs),
    }
    return this.#read
  }

  #writeOwn(own: Mirrors) {
    const { lists, sources, kinds, accounts, mirrors } = own
    const kept = Object.entries({ lists, sources, kinds, accounts }).filter(
      ([, value]) => Object.keys(value).length > 0,
    )
    writeWholeSync(
      path.join(this.#deps.dataDir, 'mirrors.json'),
      `${writeJson({ ...Object.fromEntries(kept), mirrors }, 2)}\n`,
    )
    this.events.emit('changed')
  }
}

/** A person's own lists and mirrors go before ours. @throws AppError 'list.bad-mirrors' */
export const readAllMirrors = (dataDir: string, resourcesDir: string): Mirrors =>
  joined(readMirrors(path.join(resourcesDir, 'mirrors.json')), readOwn(path.join(dataDir, 'mirrors.json')))

const readOwn = (file: string) => (existsSync(file) ? readMirrors(file) : Mirrors.parse({}))
const joined = (ours: Mirrors, theirs: Mirrors): Mirrors => ({
  lists: { ...ours.lists, ...theirs.lists },
  sources: { ...ours.sources, ...theirs.sources },
  kinds: { ...ours.kinds, ...theirs.kinds },
  accounts: { ...ours.accounts, ...theirs.accounts },
  mirrors: [...theirs.mirrors, ...ours.mirrors],
})

function readMirrors(file: string): Mirrors {
  try {
    return Mirrors.parse(parseJson(readFileSync(file, 'utf8')))
  } catch (cause) {
    throw new AppError('list.bad-mirrors', { file, reason: cause instanceof Error ? cause.message : String(cause) })
  }
}
