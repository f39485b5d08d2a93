import { EventEmitter } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import { mkdir, rm, stat } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import path from 'node:path'
import type { Dispatcher } from 'undici'
import { z } from 'zod'
import type { EngineView, InstallChoices } from '../../core/contract/engine.ts'
import { AppError } from '../../core/contract/errors.ts'
import { parseJson, writeJson } from '../../core/contract/json.ts'
import type {
  ModelNeeded,
  PushPlan,
  SealedManifest,
  SecretFound,
  SnapshotChange,
  SnapshotProgress,
  SnapshotView,
} from '../../core/contract/snapshot.ts'
import { compareManifests } from '../../core/domain/snapshot/compare.ts'
import { diskFailure, isFull } from '../../core/engine/download/disk.ts'
import { capture } from '../../core/engine/snapshot/capture.ts'
import { withChangedFiles } from '../../core/engine/snapshot/changed-files.ts'
import type { Depot } from '../../core/engine/snapshot/depot.ts'
import { deriveSnapshot } from '../../core/engine/snapshot/derive.ts'
import { HttpDepot } from '../../core/engine/snapshot/http-depot.ts'
import {
  newSigningKey,
  readManifests,
  readSnapshots,
  seal,
  writeManifest,
} from '../../core/engine/snapshot/manifest.ts'
import { carryOutPush, type ModelHere, planPush, pull } from '../../core/engine/snapshot/push.ts'
import { type RestoredEnvironment, restoreEnvironment } from '../../core/engine/snapshot/restore-environment.ts'
import { ObjectStore } from '../../core/engine/snapshot/store.ts'
import { collect, setAside, type Verified, verifyStore } from '../../core/engine/snapshot/upkeep.ts'
import { credentialsIn, openStore, readCredentials } from '../../core/engine/store/open-store.ts'
import { writeWholeSync } from '../../core/engine/write-whole.ts'
import type { Clock } from './clock.ts'
import type { Installations } from './installations.ts'
import type { Secrets } from './secrets.ts'
import type { Service } from './service.ts'

interface Deps {
  readonly dataDir: string
  readonly clock: Pick<Clock, 'now'>
  readonly secrets: Pick<Secrets, 'get' | 'set'>
  readonly version: string
  readonly env: NodeJS.ProcessEnv
  readonly engines: { list(): EngineView[]; view(name: string): EngineView }
  /** Where the custom nodes are that this engine runs. */
  readonly nodesDir: (engine: EngineView) => string
  /** What its workflows need, hashed. */
  readonly modelsOf: (engine: EngineView) => Promise<ModelNeeded[]>
  /** Where a model of this machine lies. */
  readonly fileOf: (sha256: string) => string | null
  /** Addresses of the internet a file was fetched from. */
  readonly cameFrom: (file: string) => string[]
  /** How places that are not on this machine are spoken to. */
  readonly dispatcher: Dispatcher
  /** What builds one of another system here. */
  readonly builder: Installations['builder']
  /** Classes it offers now; null: it does not run. */
  readonly classesOf: (engine: EngineView) => Promise<string[] | null>
}
/** A folder, s3://…, or the address of an agent with the key that may publish there. */
export interface Place {
  readonly to: string
  readonly key?: string | null
}
interface PushAsked {
  readonly models?: readonly ModelNeeded[] | undefined
  readonly bytesPerSecond?: number | null
  readonly signal?: AbortSignal | undefined
  readonly onNews?: (news: { sentBytes: number; totalBytes: number }) => void
}
const Labels = z.record(z.string(), z.string())
type Labels = z.infer<typeof Labels>
const readLabels = (file: string) => Labels.parse(parseJson(existsSync(file) ? readFileSync(file, 'utf8') : '{}'))
const SIGNING_KEY = 'snapshot-signing'
/** A snapshot that is being made may name what lies here this long without an owner. */
const GRACE_MS = 24 * 60 * 60_000
const PACE_MS = 10_000
/** The host itself has work to do. */
const THREADS = Math.max(1, Math.min(8, availableParallelism()))

/** Environments as they were, kept in one store: made, compared, pushed, restored. One of these at a time. */
export class Snapshots implements Service {
  readonly events = new EventEmitter<{ changed: [] }>()
  readonly #deps: Deps
  #store: Promise<ObjectStore> | null = null
  #running: AbortController | null = null
  #progress: SnapshotProgress | null = null
  #seen: { at: number; bytes: number }[] = []

  constructor(deps: Deps) {
    this.#deps = deps
  }

  async start() {}
  async stop() {
    this.cancel()
  }

  get progress() {
    return this.#progress
  }
  cancel(): boolean {
    this.#running?.abort(new AppError('app.interrupted'))
    return this.#running !== null
  }

  /** `consent`: ids of secrets that may travel. `snapshot` null: there are others, and nothing was made. */
  async create(asked: { engine?: string; name?: string; consent?: readonly string[]; label?: string }): Promise<{
    snapshot: SnapshotView | null
    secrets: SecretFound[]
    left: { path: string; what: string }[]
    newBytes: number
  }> {
    const engine = this.engineFor(asked.engine)
    return this.#alone('create', async (signal) => {
      const { clock, version, env, nodesDir, modelsOf, classesOf } = this.#deps
      const store = await this.#open()
      const { dir, python, settings } = engine
      const here = { dir, python, base: settings.baseDir ?? dir, nodesDir: nodesDir(engine) }
      const captured = await capture(
        store,
        here,
        {
          name: asked.name ?? engine.name,
          creator: `nightshift/${version}`,
          now: clock.now,
          flags: settings.flags,
          models: await modelsOf(engine),
          nodeClasses: await classesOf(engine),
        },
        {
          threads: THREADS,
          command: this.#command(env, signal),
          signal,
          onNews: ({ bytes, totalBytes, layer }) => this.#tell('create', layer, bytes, totalBytes),
        },
      )
      const consent = new Set(asked.consent)
      const secrets = captured.secrets.filter(({ id }) => !consent.has(id))
      const { left, newBytes, manifest } = captured
      if (secrets.length > 0) return { snapshot: null, secrets, left, newBytes }
      const sealed = seal(manifest, this.#signingKey())
      await writeManifest(store.snapshotsDir, sealed)
      if (asked.label) await this.#label(sealed.id, asked.label, true)
      return { snapshot: await this.#view(sealed), secrets, left, newBytes }
    })
  }

  /** The newest first. */
  async list(): Promise<SnapshotView[]> {
    const all = await readManifests((await this.#open()).snapshotsDir)
    return Promise.all(all.map((sealed) => this.#view(sealed)))
  }

  /** By id, its beginning, or a label. @throws AppError 'app.not-found' */
  async get(asked: string): Promise<SealedManifest> {
    const all = await readManifests((await this.#open()).snapshotsDir)
    const labelled = (await this.#labels())[asked]
    const found = all.filter(({ id }) => id === labelled || (asked.length >= 6 && id.startsWith(asked)))
    if (found.length !== 1) throw new AppError('app.not-found', { what: asked })
    return found[0]!
  }

  async diff(before: string, after: string): Promise<SnapshotChange[]> {
    const [a, b] = [(await this.get(before)).manifest, (await this.get(after)).manifest]
    return withChangedFiles(compareManifests(a, b), a, b, await this.#open())
  }

  /** `on` false: takes it away. A label is on one snapshot at a time. */
  async label(asked: string, label: string, on: boolean): Promise<SnapshotView> {
    const sealed = await this.get(asked)
    await this.#label(sealed.id, label, on)
    this.events.emit('changed')
    return this.#view(sealed)
  }

  #label(id: string, label: string, on: boolean) {
    return this.#changeLabels(({ [label]: _, ...others }) => (on ? { ...others, [label]: id } : others))
  }

  async remove(asked: string): Promise<void> {
    const { unreadable } = await readSnapshots((await this.#open()).snapshotsDir)
    const { id } = unreadable.find((each) => asked.length >= 6 && each.id.startsWith(asked)) ?? (await this.get(asked))
    await rm(path.join((await this.#open()).snapshotsDir, `${id}.json`), { force: true })
    await this.#changeLabels((labels) => Object.fromEntries(Object.entries(labels).filter(([, of]) => of !== id)))
    this.events.emit('changed')
  }

  /** What is damaged is not there afterwards: made or fetched again, it is whole. */
  verify(): Promise<Verified> {
    return this.#alone('verify', async (signal) => {
      const store = await this.#open(true)
      const onNews = ({ bytes, totalBytes }: { bytes: number; totalBytes: number }) =>
        this.#tell('verify', '', bytes, totalBytes)
      const found = await verifyStore(store, { threads: THREADS, signal, onNews })
      await setAside(store, found.damaged)
      return found
    })
  }

  /** Removes what no snapshot needs. */
  collect({ graceMs = GRACE_MS }: { graceMs?: number } = {}): Promise<{ packs: number; bytes: number }> {
    return this.#alone('collect', async () => {
      const store = await this.#open(true)
      const { manifests, unreadable } = await readSnapshots(store.snapshotsDir)
      const [first] = unreadable
      // what it needs is not known, and may be had from it again
      if (first) throw new AppError('snapshot.unreadable', { id: first.id.slice(0, 12) })
      return collect(store, manifests, { graceMs, now: this.#deps.clock.now() })
    })
  }

  /** What a push would send. `models`: those to be there; else all of the snapshot's. */
  async planPush(asked: string, place: Place, { models, signal }: PushAsked = {}): Promise<PushPlan> {
    const { sealed, ...options } = await this.#whatToPush(asked, models)
    return this.#at(
      place,
      async (depot) => (await planPush(await this.#open(), sealed, depot, { ...options, signal })).plan,
    )
  }

  push(
    asked: string,
    place: Place,
    { models, bytesPerSecond = null, signal, onNews }: PushAsked = {},
  ): Promise<PushPlan> {
    return this.#alone('push', async (cancelled) => {
      const until = signal ? AbortSignal.any([signal, cancelled]) : cancelled
      const { sealed, ...options } = await this.#whatToPush(asked, models)
      return this.#at(place, async (depot) => {
        const store = await this.#open()
        const push = await planPush(store, sealed, depot, { ...options, signal: until })
        const tell = (news: { sentBytes: number; totalBytes: number }) => {
          this.#tell('push', '', news.sentBytes, news.totalBytes)
          onNews?.(news)
        }
        await carryOutPush(store, push, depot, { bytesPerSecond, signal: until, onNews: tell })
        return push.plan
      })
    })
  }

  async #whatToPush(asked: string, models: readonly ModelNeeded[] | undefined) {
    const sealed = await this.get(asked)
    return {
      sealed,
      models: models ?? sealed.manifest.models,
      modelHere: (model: ModelNeeded) => this.#modelHere(model),
    }
  }

  /** Among the models; or, weights that a custom node keeps for itself, in one of the engines. */
  async #modelHere({ folder, name, size, sha256 }: ModelNeeded): Promise<ModelHere> {
    const { engines, nodesDir, fileOf, cameFrom } = this.#deps
    const within = (engine: EngineView) => {
      const base = engine.settings.baseDir ?? engine.dir
      if (folder === 'custom_nodes') return nodesDir(engine)
      return folder === 'settings'
        ? path.join(base, 'user')
        : folder === 'comfyui'
          ? engine.dir
          : path.join(base, 'models', folder)
    }
    const known = fileOf(sha256)
    const places = engines.list().map((engine) => path.join(within(engine), name))
    for (const file of known === null ? places : [known, ...places]) {
      const there = await stat(file).catch(() => null)
      if (there?.size === size) return { file, sources: cameFrom(file) }
    }
    return { file: null, sources: known === null ? [] : cameFrom(known) }
  }

  async #at<T>({ to, key = null }: Place, act: (depot: Depot) => Promise<T>): Promise<T> {
    const { env, dispatcher } = this.#deps
    if (/^https?:/i.test(to)) {
      if (key === null) throw new AppError('depot.no-key', { where: to })
      return act(new HttpDepot({ url: to, key, dispatcher }))
    }
    const credentials = key === null ? credentialsIn(env) : readCredentials(key, to)
    const store = await openStore(to, { credentials, dispatcher })
    try {
      return await act(store.depot)
    } finally {
      await store.close()
    }
  }

  /** `from`: a place it was pushed to; null: it is here. */
  restore(
    asked: string,
    to: string,
    { python, from = null, key = null }: { python?: string; from?: string | null; key?: string | null },
  ): Promise<RestoredEnvironment> {
    return this.#alone('restore', async (signal) => {
      const store = await this.#open()
      if (from !== null) {
        const onNews = ({ sentBytes, totalBytes }: { sentBytes: number; totalBytes: number }) =>
          this.#tell('restore', 'fetch', sentBytes, totalBytes)
        await this.#at({ to: from, key }, async (depot) => {
          const ids = (await depot.snapshots(signal)).filter((id) => id.startsWith(asked))
          if (ids.length !== 1 || asked.length < 6) throw new AppError('app.not-found', { what: asked })
          await writeManifest(store.snapshotsDir, await pull(store, ids[0]!, depot, { signal, onNews }))
        })
      }
      const sealed = await this.get(asked)
      return restoreEnvironment(store, sealed, to, {
        python: python ?? this.#python(),
        threads: THREADS,
        command: this.#command(this.#deps.env, signal),
        signal,
        onNews: ({ layer, bytes, totalBytes }) => this.#tell('restore', layer, bytes, totalBytes),
      })
    })
  }

  /** The same source and versions, built for this machine: a snapshot of its own. `left`: what is not as it was. */
  derive(
    asked: string,
    { python = null, ...choices }: Partial<Pick<InstallChoices, 'python' | 'findLinks' | 'index' | 'cpu'>>,
  ): Promise<{ snapshot: SnapshotView; left: { path: string; what: string }[] }> {
    return this.#alone('restore', async (signal) => {
      const store = await this.#open()
      const { clock, version, builder } = this.#deps
      const command = this.#command(this.#deps.env, signal)
      const found = await builder(choices, { log: command.log, signal })
      const { sealed, left } = await deriveSnapshot(store, await this.get(asked), {
        builder: found.builder,
        buildDir: path.join(this.#deps.dataDir, 'cache', 'build'),
        python,
        creator: `nightshift/${version}`,
        signingKey: this.#signingKey(),
        now: clock.now,
        threads: THREADS,
        command: { ...command, env: found.env },
        signal,
        onNews: ({ step, bytes, totalBytes }) => this.#tell('restore', step, bytes, totalBytes),
      })
      return { snapshot: await this.#view(sealed), left }
    })
  }

  /** The one meant, where it is clear. @throws AppError 'snapshot.which-engine' */
  engineFor(name: string | undefined): EngineView {
    const { engines } = this.#deps
    if (name !== undefined) return engines.view(name)
    const [first, ...others] = engines.list()
    if (!first || others.length > 0)
      throw new AppError('snapshot.which-engine', {
        engines: engines
          .list()
          .map((each) => each.name)
          .join(', '),
      })
    return first
  }

  /** One that an engine here runs with; which fits is seen when it is asked. */
  #python(): string {
    const [engine] = this.#deps.engines.list()
    return engine?.python ?? (process.platform === 'win32' ? 'python' : 'python3')
  }

  #signingKey(): string {
    const { secrets } = this.#deps
    const kept = secrets.get(SIGNING_KEY)
    if (kept !== undefined) return kept
    const made = newSigningKey()
    secrets.set(SIGNING_KEY, made)
    return made
  }

  #command(env: NodeJS.ProcessEnv, signal: AbortSignal) {
    return { env, signal, log: path.join(this.#deps.dataDir, 'logs', 'snapshots.log') }
  }

  #open(again = false): Promise<ObjectStore> {
    if (again) this.#store = null
    this.#store ??= ObjectStore.open(path.join(this.#deps.dataDir, 'snapshots'))
    return this.#store
  }

  async #view({ id, manifest }: SealedManifest): Promise<SnapshotView> {
    const { name, createdAt, platform, comfyui, nodes, packages, models, layers } = manifest
    const labels = Object.entries(await this.#labels()).flatMap(([label, of]) => (of === id ? [label] : []))
    return {
      id,
      name,
      labels,
      createdAt,
      platform: `${platform.os} ${platform.arch}`,
      comfyuiVersion: comfyui.version,
      commit: comfyui.commit,
      nodes: nodes.length,
      packages: packages.length,
      models: models.length,
      files: layers.reduce((sum, { files }) => sum + files, 0),
      bytes: layers.reduce((sum, { bytes }) => sum + bytes, 0),
    }
  }

  async #labelsFile() {
    return path.join((await this.#open()).dir, 'labels.json')
  }
  async #labels(): Promise<Labels> {
    return readLabels(await this.#labelsFile())
  }
  async #changeLabels(change: (labels: Labels) => Labels) {
    const file = await this.#labelsFile()
    writeWholeSync(file, writeJson(change(readLabels(file))))
  }

  #tell(what: SnapshotProgress['what'], part: string, bytes: number, totalBytes: number) {
    const now = performance.now()
    const goesOn = this.#progress?.what === what && this.#progress.part === part
    if (!goesOn) this.#seen = []
    // the rate of the last seconds, so that what lay there from before or was slow once is forgotten
    if (now - (this.#seen.at(-1)?.at ?? 0) > PACE_MS / 20) this.#seen.push({ at: now, bytes })
    while (this.#seen.length > 2 && now - this.#seen[0]!.at > PACE_MS) this.#seen.shift()
    const [first] = this.#seen
    const seconds = first ? (now - first.at) / 1000 : 0
    const bytesPerSecond = seconds > 1 ? Math.max(0, (bytes - first!.bytes) / seconds) : null
    const etaSeconds = bytesPerSecond && totalBytes >= bytes ? Math.ceil((totalBytes - bytes) / bytesPerSecond) : null
    this.#progress = { what, part, bytes, totalBytes, bytesPerSecond, etaSeconds }
    this.events.emit('changed')
  }

  /** @throws AppError 'snapshot.busy' */
  async #alone<T>(what: SnapshotProgress['what'], act: (signal: AbortSignal) => Promise<T>): Promise<T> {
    if (this.#running) throw new AppError('snapshot.busy')
    const running = new AbortController()
    this.#running = running
    this.#tell(what, '', 0, 0)
    try {
      await mkdir(path.join(this.#deps.dataDir, 'logs'), { recursive: true })
      return await act(running.signal)
    } catch (cause) {
      throw isFull(cause) ? diskFailure(cause, this.#deps.dataDir) : cause
    } finally {
      this.#running = null
      this.#progress = null
      this.events.emit('changed')
    }
  }
}
