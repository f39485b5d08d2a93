import { EventEmitter } from 'node:events'
import { mkdir, readFile, rm } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import path from 'node:path'
import { z } from 'zod'
import type { EngineView } from '../../core/contract/engine.ts'
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
import { capture } from '../../core/engine/snapshot/capture.ts'
import { FolderDepot } from '../../core/engine/snapshot/depot.ts'
import { newSigningKey, readManifests, seal, writeManifest } from '../../core/engine/snapshot/manifest.ts'
import { carryOutPush, planPush, pull } from '../../core/engine/snapshot/push.ts'
import { type RestoredEnvironment, restoreEnvironment } from '../../core/engine/snapshot/restore-environment.ts'
import { ObjectStore } from '../../core/engine/snapshot/store.ts'
import { collect, type Verified, verifyStore } from '../../core/engine/snapshot/upkeep.ts'
import type { Clock } from './clock.ts'
import type { Secrets } from './secrets.ts'
import type { Service } from './service.ts'
import { writeWhole } from './write-whole.ts'

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
  /** Classes it offers now; null: it does not run. */
  readonly classesOf: (engine: EngineView) => Promise<string[] | null>
}
const Labels = z.record(z.string(), z.string())
const SIGNING_KEY = 'snapshot-signing'
/** A snapshot that is being made may name what lies here this long without an owner. */
const GRACE_MS = 24 * 60 * 60_000
/** The host itself has work to do. */
const THREADS = Math.max(1, Math.min(8, availableParallelism()))

/** Environments as they were, kept in one store: made, compared, pushed, restored. One of these at a time. */
export class Snapshots implements Service {
  readonly events = new EventEmitter<{ changed: [] }>()
  readonly #deps: Deps
  #store: Promise<ObjectStore> | null = null
  #running: AbortController | null = null
  #progress: SnapshotProgress | null = null

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
  async create(asked: { engine?: string; name?: string; consent?: readonly string[] }): Promise<{
    snapshot: SnapshotView | null
    secrets: SecretFound[]
    left: { path: string; what: string }[]
    newBytes: number
  }> {
    const engine = this.#engineFor(asked.engine)
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
    return compareManifests((await this.get(before)).manifest, (await this.get(after)).manifest)
  }

  /** `on` false: takes it away. A label is on one snapshot at a time. */
  async label(asked: string, label: string, on: boolean): Promise<SnapshotView> {
    const sealed = await this.get(asked)
    const { [label]: _, ...others } = await this.#labels()
    writeWhole(await this.#labelsFile(), writeJson(on ? { ...others, [label]: sealed.id } : others))
    this.events.emit('changed')
    return this.#view(sealed)
  }

  async remove(asked: string): Promise<void> {
    const { id } = await this.get(asked)
    await rm(path.join((await this.#open()).snapshotsDir, `${id}.json`), { force: true })
    const labels = Object.entries(await this.#labels()).filter(([, of]) => of !== id)
    writeWhole(await this.#labelsFile(), writeJson(Object.fromEntries(labels)))
    this.events.emit('changed')
  }

  verify(): Promise<Verified> {
    return this.#alone('verify', async (signal) => {
      const store = await this.#open(true)
      const onNews = ({ bytes, totalBytes }: { bytes: number; totalBytes: number }) =>
        this.#tell('verify', '', bytes, totalBytes)
      return verifyStore(store, { threads: THREADS, signal, onNews })
    })
  }

  /** Removes what no snapshot needs. */
  collect({ graceMs = GRACE_MS }: { graceMs?: number } = {}): Promise<{ packs: number; bytes: number }> {
    return this.#alone('collect', async () => {
      const store = await this.#open(true)
      const now = this.#deps.clock.now()
      return collect(store, await readManifests(store.snapshotsDir), { graceMs, now })
    })
  }

  /** What a push would send. */
  async planPush(asked: string, to: string): Promise<PushPlan> {
    return (await planPush(await this.#open(), await this.get(asked), new FolderDepot(to))).plan
  }

  push(asked: string, to: string, bytesPerSecond: number | null = null): Promise<PushPlan> {
    return this.#alone('push', async (signal) => {
      const store = await this.#open()
      const depot = new FolderDepot(to)
      const push = await planPush(store, await this.get(asked), depot, signal)
      const onNews = ({ sentBytes, totalBytes }: { sentBytes: number; totalBytes: number }) =>
        this.#tell('push', '', sentBytes, totalBytes)
      await carryOutPush(store, push, depot, { bytesPerSecond, signal, onNews })
      return push.plan
    })
  }

  /** `from`: a place it was pushed to; null: it is here. */
  restore(
    asked: string,
    to: string,
    { python, from = null }: { python?: string; from?: string | null },
  ): Promise<RestoredEnvironment> {
    return this.#alone('restore', async (signal) => {
      const store = await this.#open()
      if (from !== null) {
        const onNews = ({ sentBytes, totalBytes }: { sentBytes: number; totalBytes: number }) =>
          this.#tell('restore', 'fetch', sentBytes, totalBytes)
        const depot = new FolderDepot(from)
        const ids = (await depot.snapshots()).filter((id) => id.startsWith(asked))
        if (ids.length !== 1 || asked.length < 6) throw new AppError('app.not-found', { what: asked })
        await writeManifest(store.snapshotsDir, await pull(store, ids[0]!, depot, { signal, onNews }))
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

  #engineFor(name: string | undefined): EngineView {
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
  async #labels(): Promise<z.infer<typeof Labels>> {
    const text = await readFile(await this.#labelsFile(), 'utf8').catch(() => '{}')
    return Labels.parse(parseJson(text))
  }

  #tell(what: SnapshotProgress['what'], part: string, bytes: number, totalBytes: number) {
    this.#progress = { what, part, bytes, totalBytes }
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
    } finally {
      this.#running = null
      this.#progress = null
      this.events.emit('changed')
    }
  }
}
