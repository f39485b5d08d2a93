import { mkdir, rm } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { EnvHttpProxyAgent } from 'undici'
import { AppError, type Failure, toFailure } from '../core/contract/errors.ts'
import type { Json, JsonObject } from '../core/contract/json.ts'
import {
  type PublishedWorkflow,
  type Release,
  type ReleaseAsked,
  type ReleasePhase,
  type ReleaseState,
  type ReleaseView,
  releasePhases,
} from '../core/contract/release.ts'
import type { Manifest, SealedManifest } from '../core/contract/snapshot.ts'
import type { ComfyAddress } from '../core/engine/comfy/address.ts'
import { takeName } from '../core/engine/download/lock.ts'
import type { Mirrors } from '../core/engine/download/mirrors.ts'
import { nvidiaCards, probeHardware } from '../core/engine/hardware.ts'
import type { CommandOptions } from '../core/engine/install/command.ts'
import { thisMachine } from '../core/engine/installs.ts'
import { type Pace, sweepOrphans } from '../core/engine/process/supervisor.ts'
import { findBuilder } from '../core/engine/snapshot/builder.ts'
import { type DeriveOptions, exactSnapshot, keysIn, pythonOfVersion } from '../core/engine/snapshot/derive.ts'
import { askPython } from '../core/engine/snapshot/environment.ts'
import { readManifests } from '../core/engine/snapshot/manifest.ts'
import { packFile } from '../core/engine/snapshot/pack.ts'
import { pull } from '../core/engine/snapshot/push.ts'
import {
  codeChanged,
  prepareEnvironment,
  type RestoredEnvironment,
  tidyCache,
} from '../core/engine/snapshot/restore-environment.ts'
import { ObjectStore } from '../core/engine/snapshot/store.ts'
import { canonical } from '../core/engine/snapshot/tree.ts'
import type { Store } from '../core/engine/store/open-store.ts'
import { Crew, type CrewMember } from './crew.ts'
import { linkModels } from './models.ts'
import { type Live, ReleaseBook } from './releases.ts'

/** ComfyUIs that are there already: what runs while nothing was published. */
export interface Standing {
  /** A rehearsal makes no real picture: it is for where nothing is live. */
  readonly kind: 'rehearsal' | 'given'
  readonly places: readonly ComfyAddress[]
  /** null: they answer. */
  ready(): Promise<{ phase: string } | null>
  stop(): Promise<void>
}
export interface LifecycleOptions {
  readonly store: Store
  /** Where the store is a folder that environments may link to. */
  readonly storeDir: string | null
  /** Of this machine: what was fetched and restored. */
  readonly cacheDir: string
  /** Of this agent alone. */
  readonly dir: string
  readonly modelDirs: readonly string[]
  /** Makes the environments; null: the one on the path that fits. */
  readonly python: string | null
  /** null: each NVIDIA card, or the processor. */
  readonly cards: readonly string[] | null
  /** ComfyUIs; null: one for each card. */
  readonly workers: number | null
  /** Runs from the start, whatever is live then; its beginning is enough. */
  readonly snapshotId: string | null
  /** Only snapshots that this key signed. */
  readonly trusted: string | null
  readonly standing: Standing | null
  readonly threads: number
  /** From where what has to be built is fetched. */
  readonly mirrors: Mirrors
  readonly env: NodeJS.ProcessEnv
  readonly now: () => number
  readonly pace?: Partial<Pace>
  readonly lookEveryMs?: number
  readonly log: (event: string, facts: JsonObject) => void
  /** What there is to run on has changed. */
  readonly onChange: () => void
  /** Resolves once nothing runs there any more. */
  readonly drained: (places: readonly ComfyAddress[]) => Promise<void>
}

interface Entry {
  readonly version: number
  /** null: nothing was begun here. */
  state: ReleaseState | null
  seconds: Partial<Record<ReleasePhase, number>>
  crew: Crew | null
  environment: { readonly snapshotId: string; readonly where: RestoredEnvironment } | null
  /** Of one that is live and was refused: when it is tried again (epoch ms), and how often it was. */
  retryAt: number
  tries: number
}

const LOOK_EVERY_MS = 2_000
/** A release is made ready to be promoted for so long after it was published. */
const CANDIDATE_MS = 60 * 60_000
const FIRST_RETRY_MS = 10_000
const LONGEST_RETRY_MS = 10 * 60_000
/** Those that served before are found again at once. */
const KEPT_BEFORE = 2
const MOST_SHOWN = 50
const MOST_LINES = 500
const SUPERSEDED = Symbol('another release goes first')

/**
 * Makes releases ready, one at a time, and follows the store in which of them serves: what served before goes on until the
 * next was proven, and a release that fails anywhere on its way never serves.
 */
export class Lifecycle {
  readonly book: ReleaseBook
  readonly #options: LifecycleOptions
  readonly #startedAt: number
  readonly #entries = new Map<number, Entry>()
  readonly #lines: { at: number; text: string }[] = []
  readonly #stopping = new AbortController()
  #standing: Standing | null
  #serving: Entry | null = null
  #live: Live | null = null
  #newest: Release | null = null
  /** What `--snapshot` said. */
  #first: number | null = null
  /** Asked for here: goes live as soon as it is ready. */
  #wanted: number | null = null
  #making: { readonly version: number; readonly abort: AbortController; readonly done: Promise<void> } | null = null
  #watch: Promise<void> = Promise.resolve()
  readonly #leaving = new Set<Promise<void>>()

  constructor(options: LifecycleOptions) {
    this.#options = options
    this.#standing = options.standing
    this.#startedAt = options.now()
    this.book = new ReleaseBook(options.store.bucket, options.now)
  }

  /** @throws AppError 'release.no-snapshot' */
  async start() {
    const { dir, snapshotId } = this.#options
    await mkdir(dir, { recursive: true })
    const orphans = await sweepOrphans(path.join(dir, 'processes'))
    if (orphans > 0) this.#log('processes.swept', { count: orphans })
    if (snapshotId !== null) this.#first = (await this.#releaseOf(snapshotId)).version
    await this.#look()
    if (this.#standing?.kind === 'rehearsal' && this.#liveVersion() !== null) {
      await this.#standing.stop()
      this.#standing = null
    }
    this.#watch = this.#keepWatch()
  }

  async stop() {
    this.#stopping.abort()
    this.#making?.abort.abort()
    await this.#watch
    await this.#making?.done
    await Promise.all([...this.#entries.values()].map(({ crew }) => crew?.stop()))
    await this.#standing?.stop()
    await Promise.all(this.#leaving)
  }

  // ---- what runs ----

  /** Of what serves, or of one release; none: they start, or it does not run here. */
  places(version: number | null): readonly ComfyAddress[] {
    if (version === null) return this.#serving?.crew?.places ?? this.#standing?.places ?? []
    const entry = this.#entries.get(version)
    return entry?.state?.is === 'ready' || entry?.state?.is === 'live' ? (entry.crew?.places ?? []) : []
  }

  /** Why tasks cannot be run at once; null: they can. */
  async ready(): Promise<{ phase: string } | null> {
    if (this.#serving?.crew) return this.#serving.crew.places.length > 0 ? null : { phase: this.#crewPhase() }
    if (this.#standing) return this.#standing.ready()
    return { phase: this.phase }
  }

  /** In one word. */
  get phase(): string {
    if (this.#serving?.crew) return this.#serving.crew.places.length > 0 ? 'ready' : this.#crewPhase()
    if (this.#standing) return 'ready'
    const version = this.#wanted ?? this.#liveVersion()
    const state = version === null ? null : this.#entries.get(version)?.state
    if (state?.is === 'preparing') return state.phase
    return state?.is === 'refused' ? 'refused' : version === null ? 'no-release' : releasePhases[0]
  }
  #crewPhase() {
    const states = this.#serving?.crew?.members.map(({ state }) => state) ?? []
    return states.includes('starting') || states.includes('pausing') ? 'start' : 'failed'
  }

  /** Why a task would wait for nothing; null: it may be taken. */
  refusal(): AppError | null {
    if (this.#serving || this.#standing) return null
    const { phase } = this
    if (phase === 'no-release') return new AppError('agent.not-ready', { reason: 'nothing was published here yet' })
    if (phase !== 'refused') return null
    const state = this.#entries.get(this.#liveVersion()!)?.state
    return new AppError('agent.not-ready', { reason: state?.is === 'refused' ? state.failure.message : phase })
  }

  get facts() {
    const version = this.#serving?.version ?? this.#wanted ?? this.#liveVersion()
    const entry = version === null ? null : this.#entries.get(version)
    const id = entry?.environment?.snapshotId ?? null
    return { id, version, phase: this.phase, seconds: entry?.seconds ?? {}, workers: this.members }
  }
  get members(): CrewMember[] {
    return this.#serving?.crew?.members ?? []
  }
  /** Of what is live, also while it is being made ready: what is sent waits for it. */
  async workflows(): Promise<readonly PublishedWorkflow[]> {
    const version = this.#serving?.version ?? this.#liveVersion()
    return (version === null ? null : await this.book.get(version))?.workflows ?? []
  }

  /** What was said here lately, and by what serves or is being made ready. */
  async lines(limit = MOST_LINES): Promise<{ at: number; text: string }[]> {
    const crews = new Set([this.#serving?.crew, ...[...this.#entries.values()].map(({ crew }) => crew)])
    const theirs = await Promise.all([...crews].map((crew) => crew?.lines(limit) ?? []))
    return [...this.#lines, ...theirs.flat()].toSorted((a, b) => a.at - b.at).slice(-limit)
  }

  // ---- releases ----

  /** The newest first. */
  async list(): Promise<ReleaseView[]> {
    const versions = (await this.book.versions()).slice(0, MOST_SHOWN)
    return (await Promise.all(versions.map((version) => this.view(version)))).filter((view) => view !== null)
  }

  async view(version: number): Promise<ReleaseView | null> {
    const release = await this.book.get(version)
    if (!release) return null
    const { snapshotId, note, createdAt, workflows, models } = release
    const entry = this.#entries.get(version)
    const seconds = entry?.seconds ?? {}
    const state = this.#stateOf(release)
    return {
      version,
      snapshotId,
      note,
      createdAt,
      workflows: workflows.map(({ id, name }) => ({ id, name })),
      models: models.length,
      state,
      seconds,
    }
  }

  #stateOf(release: Release): ReleaseState {
    const { version } = release
    const entry = this.#entries.get(version)
    if (entry && this.#serving === entry) return { is: 'live' }
    const coming = version === this.#wanted || version === this.#liveVersion() || this.#isCandidate(release)
    return entry?.state ?? (coming ? BEGINNING : { is: 'retired' })
  }

  /**
   * A new release, made ready from now on. The same once more, while it does not serve yet, is that one, tried again.
   * @throws AppError 'release.no-snapshot' | 'release.not-its-model'
   */
  async publish(asked: ReleaseAsked): Promise<ReleaseView> {
    const { manifest } = await this.#published(asked.snapshotId)
    const its = new Set(manifest.models.map((model) => canonical(model)))
    for (const model of asked.models)
      if (!its.has(canonical(model)))
        throw new AppError('release.not-its-model', { model: `${model.folder}/${model.name}` })
    await this.#look()
    const before = this.#newest
    const again = before !== null && sameAsked(before, asked) && !this.#live?.served.includes(before.version)
    const release = again ? before : await this.book.add(asked)
    this.#log('release.published', { version: release.version, snapshot: asked.snapshotId.slice(0, 12) })
    this.#newest = release
    const entry = this.#entryOf(release.version)
    if (entry.state?.is === 'refused') entry.state = null
    this.#reconsider()
    return (await this.view(release.version))!
  }

  /** It serves from now on, or once it is ready. null: there is none. */
  async promote(version: number): Promise<ReleaseView | null> {
    if (!(await this.book.get(version))) return null
    const entry = this.#entryOf(version)
    this.#wanted = version
    if (this.#serving === entry || this.#isReady(entry)) await this.#goLive(entry)
    else if (this.#making?.version !== version) entry.state = BEGINNING
    this.#reconsider()
    return this.view(version)
  }

  // ---- following the store ----

  async #keepWatch() {
    const { signal } = this.#stopping
    while (!signal.aborted) {
      await pause(this.#options.lookEveryMs ?? LOOK_EVERY_MS, undefined, { signal }).catch(() => {})
      if (signal.aborted) return
      try {
        await this.#look()
      } catch (cause) {
        this.#log('store.unreadable', { reason: (cause as Error).message })
      }
      this.#reconsider()
    }
  }

  async #look() {
    this.#live = await this.book.live()
    const [newest] = await this.book.versions()
    this.#newest = newest === undefined ? null : await this.book.get(newest)
  }

  /** What should serve here. */
  #liveVersion(): number | null {
    if (this.#first !== null && !(this.#live && this.#live.since > this.#startedAt)) return this.#first
    return this.#live?.version ?? null
  }

  #isCandidate({ version, createdAt }: Release) {
    if (this.#live?.served.includes(version)) return false
    return version > (this.#liveVersion() ?? 0) && createdAt > this.#options.now() - CANDIDATE_MS
  }

  #isReady({ state, crew }: Entry) {
    return (
      crew !== null &&
      crew.places.length > 0 &&
      (state?.is === 'ready' || state?.is === 'live' || state?.is === 'retired')
    )
  }

  /** What is to be made ready now; null: nothing. */
  #next(): number | null {
    const live = this.#liveVersion()
    const due = live !== null && live !== this.#serving?.version ? this.#entryOf(live) : null
    if (due && due.state?.is !== 'refused') return due.version
    if (this.#wanted !== null) return this.#wanted
    if (due && due.retryAt <= this.#options.now()) return due.version
    const newest = this.#newest
    const untouched = newest !== null && (this.#entries.get(newest.version)?.state ?? null) === null
    return untouched && this.#isCandidate(newest) ? newest.version : null
  }

  /** Begins what is to be done; ends what something else goes before. */
  #reconsider() {
    if (this.#stopping.signal.aborted) return
    const version = this.#next()
    if (this.#making) {
      if (version !== null && version !== this.#making.version) this.#making.abort.abort(SUPERSEDED)
      return
    }
    if (version === null) return
    const entry = this.#entryOf(version)
    const abort = new AbortController()
    const done = (async () => {
      try {
        if (!this.#isReady(entry)) await this.#make(entry, abort.signal)
        await this.#isMade(entry)
      } catch (cause) {
        await this.#isRefused(entry, cause, abort.signal)
      } finally {
        this.#making = null
        this.#options.onChange()
        this.#reconsider()
      }
    })()
    this.#making = { version, abort, done }
  }

  async #isMade(entry: Entry) {
    entry.tries = 0
    const { version } = entry
    if (version === this.#liveVersion() || version === this.#wanted) return this.#goLive(entry)
    // one candidate at a time: each holds memory of the card
    for (const other of this.#entries.values())
      if (other !== entry && other !== this.#serving && other.state?.is === 'ready') this.#leave(this.#retire(other))
  }

  async #isRefused(entry: Entry, cause: unknown, signal: AbortSignal) {
    await entry.crew?.stop()
    entry.crew = null
    if (signal.aborted) {
      entry.state = null
      return
    }
    const failure: Failure = toFailure(cause)
    entry.tries += 1
    entry.retryAt = this.#options.now() + Math.min(LONGEST_RETRY_MS, FIRST_RETRY_MS * 2 ** (entry.tries - 1))
    entry.state = { is: 'refused', failure }
    if (this.#wanted === entry.version) this.#wanted = null
    this.#log('release.refused', { version: entry.version, code: failure.code, reason: failure.message })
  }

  /** From here on it takes what comes; what runs on the one before ends there. */
  async #goLive(entry: Entry) {
    const { onChange } = this.#options
    const { version } = entry
    if (this.#wanted === version || this.#live === null) {
      this.#live = await this.book.promote(version)
      if (this.#wanted === version) this.#wanted = null
    }
    const before = this.#serving
    if (before === entry) return
    this.#serving = entry
    entry.state = { is: 'live' }
    onChange()
    this.#log('release.live', { version, before: before?.version ?? null })
    const standing = this.#standing
    this.#standing = null
    if (before) this.#leave(this.#retire(before))
    if (standing) this.#leave(this.#options.drained(standing.places).then(() => standing.stop()))
    this.#leave(this.#tidy())
  }

  /** Its ComfyUIs end once nothing runs on them. */
  async #retire(entry: Entry) {
    const { crew, version } = entry
    entry.state = { is: this.#live?.served.includes(version) ? 'retired' : 'ready' }
    if (!crew) return
    await this.#options.drained(crew.addresses)
    await crew.idle(this.#stopping.signal)
    if (this.#serving === entry || entry.crew !== crew) return // it serves again
    entry.crew = null
    await crew.stop()
    this.#log('release.ended', { version })
  }

  #leave(leaving: Promise<void>) {
    const told = leaving.catch((cause) => this.#log('release.not-ended', { reason: (cause as Error).message }))
    this.#leaving.add(told)
    void told.then(() => this.#leaving.delete(told))
  }

  // ---- making ready ----

  async #make(entry: Entry, signal: AbortSignal) {
    const { store, storeDir, cacheDir, modelDirs, dir, threads, env, now, pace, onChange } = this.#options
    const release = (await this.book.get(entry.version))!
    const { version, snapshotId } = release
    await entry.crew?.stop()
    entry.crew = null
    entry.seconds = {}
    const phase = async <T>(name: ReleasePhase, act: (onNews: (bytes: number, all: number) => void) => Promise<T>) => {
      signal.throwIfAborted()
      const tell = (bytes: number, totalBytes: number) => {
        entry.state = { is: 'preparing', phase: name, bytes, totalBytes }
      }
      tell(0, 0)
      this.#log('release.phase', { version, phase: name })
      const begun = performance.now()
      const given = await act(tell)
      entry.seconds[name] = Math.round((performance.now() - begun) / 10) / 100
      return given
    }
    await mkdir(cacheDir, { recursive: true })
    const command: CommandOptions = { env, signal, log: path.join(dir, 'restore.log') }
    const sealed = await phase('fetch', async (tell) =>
      this.#exact(await this.#fetch(snapshotId, signal, tell), command, signal, tell),
    )
    const { manifest } = sealed
    const where = await phase('restore', async (tell) => {
      // one that somebody runs from is not looked through and made anew under them
      const used = [...this.#entries.values()].find(
        ({ crew, environment }) => crew !== null && environment?.snapshotId === snapshotId,
      )
      if (used) return used.environment!.where
      const objects = await ObjectStore.open(this.#objectsDir)
      const python = await this.#pythonFor(manifest, command, signal)
      const onNews = ({ bytes, totalBytes }: { bytes: number; totalBytes: number }) => tell(bytes, totalBytes)
      return prepareEnvironment(objects, sealed, { cacheDir, python, command, threads, signal, onNews })
    })
    entry.environment = { snapshotId, where }
    await phase('models', (tell) => {
      const places = {
        dirs: modelDirs,
        depot: store.depot,
        depotDir: storeDir,
        cacheDir: path.join(cacheDir, 'models'),
      }
      const onNews = ({ bytes, totalBytes }: { bytes: number; totalBytes: number }) => tell(bytes, totalBytes)
      return linkModels(release.models, where, places, { signal, onNews })
    })
    const taken = new Set([...this.#entries.values()].flatMap(({ crew }) => crew?.ports ?? []))
    const cards = await this.#cardsFor(manifest)
    const crew = new Crew({ release, manifest, environment: where, cards, dir, taken, env, now, pace, onChange })
    entry.crew = crew
    await phase('start', () => crew.start(signal))
    await phase('verify', async () => {
      const objects = await ObjectStore.open(this.#objectsDir)
      await crew.verify(command, signal, await codeChanged(objects, manifest, where))
    })
    await phase('canary', () => crew.paint(signal))
    signal.throwIfAborted()
    entry.state = { is: 'ready' }
    this.#log('release.ready', { version, seconds: entry.seconds as Json })
  }

  async #fetch(snapshotId: string, signal: AbortSignal, tell: (bytes: number, all: number) => void) {
    const { store, cacheDir, trusted } = this.#options
    await this.#published(snapshotId)
    const free = await takeName(path.join(cacheDir, 'fetch'), signal, () => {})
    try {
      const objects = await ObjectStore.open(this.#objectsDir)
      const onNews = ({ sentBytes, totalBytes }: { sentBytes: number; totalBytes: number }) =>
        tell(sentBytes, totalBytes)
      return await pull(objects, snapshotId, store.depot, { trusted, signal, onNews })
    } finally {
      await free()
    }
  }

  /** One of another system is built for this one, once for all agents of the store; where each is to be signed, here alone. */
  async #exact(
    sealed: SealedManifest,
    command: CommandOptions,
    signal: AbortSignal,
    tell: (bytes: number, all: number) => void,
  ): Promise<SealedManifest> {
    const { store, cacheDir, python, threads, trusted, now } = this.#options
    const onNews = ({ bytes, totalBytes }: { bytes: number; totalBytes: number }) => tell(bytes, totalBytes)
    const build = async (): Promise<DeriveOptions> => {
      this.#log('release.building', { snapshot: sealed.id })
      const found = await this.#builder(command, signal)
      return {
        builder: found.builder,
        buildDir: path.join(cacheDir, 'build'),
        python,
        creator: sealed.manifest.creator,
        signingKey: null,
        now,
        threads,
        command: { ...command, env: found.env },
        signal,
        onNews,
      }
    }
    const free = await takeName(path.join(cacheDir, 'fetch'), signal, () => {})
    try {
      const objects = await ObjectStore.open(this.#objectsDir)
      const depot = trusted === null ? store.depot : null
      return await exactSnapshot(objects, sealed, { depot, build, signal, onNews })
    } finally {
      await free()
    }
  }

  async #builder(command: CommandOptions, signal: AbortSignal) {
    const { cacheDir, cards, env, mirrors } = this.#options
    const dispatcher = new EnvHttpProxyAgent()
    try {
      return await findBuilder({
        report: await probeHardware({ signal, look: thisMachine(env) }),
        dataDir: cacheDir,
        mirrors,
        choices: { cpu: cards?.every((card) => card === 'cpu') ?? false },
        dispatcher,
        env,
        log: command.log,
        locale: env.LANG ?? '',
        signal,
      })
    } finally {
      await dispatcher.destroy()
    }
  }

  /** @throws AppError 'release.no-snapshot' */
  async #published(snapshotId: string): Promise<SealedManifest> {
    const published = await this.#options.store.depot.getSnapshot(snapshotId)
    if (!published) throw new AppError('release.no-snapshot', { id: snapshotId.slice(0, 12) })
    return published.sealed
  }

  /** The newest of a snapshot; one is made where there is none. */
  async #releaseOf(asked: string): Promise<Release> {
    const ids = (await this.#options.store.depot.snapshots()).filter((id) => asked.length >= 6 && id.startsWith(asked))
    if (ids.length !== 1) throw new AppError('release.no-snapshot', { id: asked.slice(0, 12) })
    const [snapshotId = ''] = ids
    for (const version of await this.book.versions()) {
      const release = await this.book.get(version)
      if (release?.snapshotId === snapshotId) return release
    }
    const { manifest } = await this.#published(snapshotId)
    return this.book.add({ snapshotId, flags: [], models: manifest.models, workflows: [], note: '' })
  }

  /** On the path, or brought by uv. @throws AppError 'release.no-python' */
  async #pythonFor({ python }: Manifest, command: CommandOptions, signal: AbortSignal): Promise<string> {
    const given = this.#options.python
    if (given !== null) return given
    const minor = python.version.split('.').slice(0, 2).join('.')
    const found: string[] = []
    const fits = async (program: string) => {
      const facts = await askPython(program, command).catch(() => null)
      if (facts) found.push(`${program} ${facts.version}`)
      return facts?.abi === python.abi
    }
    for (const name of [`python${minor}`, 'python3', 'python']) if (await fits(name)) return name
    try {
      const { builder, env } = await this.#builder(command, signal)
      const brought = await pythonOfVersion(python.version, {
        python: null,
        builder,
        command: { ...command, env },
        signal,
      })
      if (await fits(brought)) return brought
    } catch (cause) {
      signal.throwIfAborted()
      this.#log('release.no-python', { version: python.version, reason: (cause as Error).message })
    }
    throw new AppError('release.no-python', { version: minor, found: found.join(', ') || '–' })
  }

  async #cardsFor({ torch }: Manifest): Promise<string[]> {
    const { cards: given, workers, env } = this.#options
    let cards = [...(given ?? [])]
    if (cards.length === 0 && torch?.cuda) {
      const nvidia = await nvidiaCards(thisMachine(env))
      cards = nvidia.flatMap(({ index }) => (index === null ? [] : [String(index)]))
    }
    if (cards.length === 0)
      cards = [
        torch !== null && !torch.cuda && /\+rocm|\+xpu/.test(torch.version)
          ? 'auto'
          : process.platform === 'darwin'
            ? 'auto'
            : 'cpu',
      ]
    return Array.from({ length: workers ?? cards.length }, (_, at) => cards[at % cards.length]!)
  }

  /** Of what was fetched and restored: what serves, what did last, and what may come stay. */
  async #tidy() {
    const { cacheDir, store } = this.#options
    const versions = [
      ...(this.#live?.served ?? []).slice(-1 - KEPT_BEFORE),
      this.#serving?.version,
      this.#first,
      this.#newest?.version,
      this.#wanted,
      this.#making?.version,
      ...[...this.#entries.values()].filter(({ crew }) => crew !== null).map(({ version }) => version),
    ]
    const keep = new Map<string, Awaited<ReturnType<typeof store.depot.getSnapshot>>>()
    for (const version of versions) {
      const release = version === undefined || version === null ? null : await this.book.get(version)
      if (release) keep.set(release.snapshotId, await store.depot.getSnapshot(release.snapshotId))
    }
    const kept = [...keep.values()].filter((each) => each !== null)
    const packs = new Set(kept.flatMap((each) => each.packs.map(({ id }) => id)))
    const free = await takeName(path.join(cacheDir, 'fetch'), this.#stopping.signal, () => {})
    try {
      const objects = await ObjectStore.open(this.#objectsDir)
      const built = (await readManifests(objects.snapshotsDir)).filter(({ manifest }) =>
        keep.has(manifest.derivedFrom ?? ''),
      )
      await tidyCache(cacheDir, [...kept.map(({ sealed }) => sealed), ...built])
      for (const key of built.flatMap(({ manifest }) => keysIn(objects, manifest))) packs.add(objects.find(key).pack)
      for (const id of objects.packs.keys())
        if (!packs.has(id)) await rm(packFile(objects.packsDir, id), { force: true })
    } finally {
      await free()
    }
  }

  get #objectsDir() {
    return path.join(this.#options.cacheDir, 'objects')
  }

  #entryOf(version: number): Entry {
    const known = this.#entries.get(version)
    if (known) return known
    const entry: Entry = { version, state: null, seconds: {}, crew: null, environment: null, retryAt: 0, tries: 0 }
    this.#entries.set(version, entry)
    return entry
  }

  #log(event: string, facts: JsonObject) {
    const words = Object.entries(facts).map(
      ([name, value]) => `${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`,
    )
    this.#lines.push({ at: this.#options.now(), text: [event, ...words].join(' ') })
    if (this.#lines.length > MOST_LINES) this.#lines.shift()
    this.#options.log(event, facts)
  }
}

const BEGINNING: ReleaseState = { is: 'preparing', phase: releasePhases[0], bytes: 0, totalBytes: 0 }

const sameAsked = ({ version: _, createdAt: __, ...before }: Release, asked: ReleaseAsked) =>
  canonical(before) === canonical(asked)
