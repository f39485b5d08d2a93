import { EventEmitter } from 'node:events'
import path from 'node:path'
import type { z } from 'zod'
import type { ObjectInfo } from '../../../core/contract/comfyui.ts'
import { AppError } from '../../../core/contract/errors.ts'
import type { WorkerAddress, WorkerContents, WorkerFound, WorkerView } from '../../../core/contract/worker.ts'
import type { WorkerFiles } from '../../../core/domain/workflow/needs.ts'
import { type ComfyAddress, readAddress, readHeader } from '../../../core/engine/comfy/address.ts'
import { bundledDefinitions } from '../../../core/engine/definitions.ts'
import { sweepOrphans } from '../../../core/engine/process/supervisor.ts'
import type { RehearsalOptions } from '../../../core/engine/rehearsal/server.ts'
import { isSshAddress, readSshAddress, sshAddress, sshProgram } from '../../../core/engine/remote/ssh.ts'
import type { Clock } from '../clock.ts'
import type { Database } from '../database/open.ts'
import { ACCOUNT_KEY } from '../secrets.ts'
import type { Service } from '../service.ts'
import { ComfyWorker, type ComfyWorkerOptions } from './comfy-worker.ts'
import { DefinitionsCache } from './definitions-cache.ts'
import type { EndpointWorker } from './endpoint.ts'
import { LocalWorker } from './local.ts'
import { REHEARSAL, type RehearsalWorker, startRehearsal } from './rehearsal.ts'
import { nameFor, sharedAt, testAddress } from './remote.ts'
import { TunnelledWorker, type Tunnelling, testTunnel } from './tunnelled.ts'
import type { Worker } from './worker.ts'

type Deps = {
  database: Database
  /** Headers, by worker; never in the database. */
  secrets: { get(key: string): string | undefined; set(key: string, value: string): void; remove(key: string): void }
  clock: Clock
  newId: () => string
  dataDir: string
  rehearsal?: Partial<RehearsalOptions>
  pace?: ComfyWorkerOptions['pace']
  log?: (event: string, facts: object) => void
  /** For tests: what is run as ssh, and how patiently. */
  ssh?: Partial<Pick<Tunnelling, 'programs' | 'env' | 'pace'>>
}
type Row = { id: string; url: string; has_header: 0 | 1; enabled: 0 | 1 }
type Address = z.input<typeof WorkerAddress>

export interface Definitions {
  definitions: ObjectInfo
  /** A worker's id, or `bundled`. */
  from: string
  version?: string
  /** The worker does not answer; these are from then. */
  cachedAt?: number
}

/** What the fleet knows of its workers beyond what the dispatcher does. */
type Member = ComfyWorker | LocalWorker | EndpointWorker

const FILES_WITHIN_MS = 8_000

/** Every place that takes attempts: the rehearsal, always; the ComfyUIs a person added by address; those we run ourselves. */
export class Fleet implements Service {
  readonly events = new EventEmitter<{ changed: [workerId: string] }>()
  readonly #deps: Deps
  readonly #workers = new Map<string, Member>()
  readonly #cache: DefinitionsCache
  #rehearsal: RehearsalWorker | undefined
  #running = false

  constructor(deps: Deps) {
    this.#deps = deps
    this.#cache = new DefinitionsCache(path.join(deps.dataDir, 'cache'))
  }

  async start() {
    if (this.#running) return
    this.#running = true
    const { database, dataDir, clock, newId, pace } = this.#deps
    const keep = `INSERT INTO workers (id, kind, created_at) VALUES (?, 'rehearsal', ?) ON CONFLICT DO NOTHING`
    database.prepare(keep).run(REHEARSAL, clock.now())
    const enabled = (id: string) =>
      database.prepare<[string], Row>('SELECT enabled FROM workers WHERE id = ?').get(id)?.enabled === 1
    this.#rehearsal = await startRehearsal(
      { newId, now: clock.now, pace, enabled: enabled(REHEARSAL) },
      { dir: path.join(dataDir, 'cache', 'rehearsal'), ...this.#deps.rehearsal },
    )
    this.#adopt(this.#rehearsal.worker)
    await sweepOrphans(this.#tunnelling.stateDir)
    const rows = database.prepare<[], Row>(`SELECT * FROM workers WHERE kind = 'remote' ORDER BY created_at, id`).all()
    for (const row of rows) this.#adopt(this.#connect(row))
  }

  async stop() {
    if (!this.#running) return
    this.#running = false
    const remotes = [...this.#workers.values()].filter((worker) => worker.id !== REHEARSAL)
    this.#workers.clear()
    await Promise.all([...remotes.map((worker) => worker.close()), this.#rehearsal?.close()])
    this.#rehearsal = undefined
  }

  list(): Worker[] {
    return [...this.#workers.values()]
  }

  get(id: string): Worker | undefined {
    return this.#workers.get(id)
  }

  /** Where a worker's server is, with the header it asks for: never to leave this process. */
  addressOf(id: string): ComfyAddress {
    const { address } = this.#must(id)
    if (!address) throw new AppError('engine.not-running', { name: id })
    return address
  }

  view(): WorkerView[] {
    return [...this.#workers.values()].map((worker) => this.#viewOf(worker))
  }

  /** The worker a person means by a name or an address. */
  find(nameOrUrl: string): WorkerView | undefined {
    const named = this.#workers.get(nameOrUrl)
    if (named) return this.#viewOf(named)
    try {
      const { url } = readTyped({ url: nameOrUrl })
      return this.view().find((view) => view.url === url)
    } catch {
      return undefined
    }
  }

  async test(given: Address): Promise<WorkerFound> {
    return (await this.#find(given)).found
  }

  /** Only what answers as a ComfyUI is added, so that a mistyped address is noticed at once. */
  async add(given: Address): Promise<WorkerView> {
    const { database, secrets, clock } = this.#deps
    this.#refuseDuplicate(readTyped(given).url)
    const { found, address } = await this.#find(given)
    if (found.is === 'shared') {
      const [only, ...others] = found.places
      if (!only) throw new AppError('worker.shares-none', { url: address.url })
      if (others.length === 0) return this.add({ ...given, url: only.url })
      throw new AppError('worker.shares-several', {
        url: address.url,
        places: found.places.map(({ url }) => url).join(' '),
      })
    }
    this.#refuseDuplicate(address.url)
    if (given.name !== undefined && this.#workers.has(given.name))
      throw new AppError('worker.name-taken', { name: given.name })
    const row: Row = {
      id: given.name ?? this.#freeName(nameFor(address)),
      url: address.url,
      has_header: address.header ? 1 : 0,
      enabled: 1,
    }
    if (address.header) secrets.set(secretOf(row.id), `${address.header.name}: ${address.header.value}`)
    database
      .prepare(
        `INSERT INTO workers (id, kind, url, has_header, enabled, created_at)
         VALUES (:id, 'remote', :url, :has_header, :enabled, :at)`,
      )
      .run({ ...row, at: clock.now() })
    const worker = this.#connect(row)
    this.#adopt(worker)
    await firstHealth(worker)
    return this.#viewOf(worker)
  }

  /**
   * A worker for a ComfyUI of ours; its engine tells it how the process is. `discards`: its output folder is ours.
   * @throws AppError 'engine.name-taken'
   */
  addLocal(id: string, outputDir?: () => string, discards = false): LocalWorker {
    const { database, clock, newId, secrets, pace } = this.#deps
    if (this.#workers.has(id)) throw new AppError('engine.name-taken', { name: id })
    const keep = `INSERT INTO workers (id, kind, created_at) VALUES (?, 'local', ?) ON CONFLICT DO NOTHING`
    database.prepare(keep).run(id, clock.now())
    const row = database.prepare<[string], Row & { kind: string }>('SELECT * FROM workers WHERE id = ?').get(id)
    if (row?.kind !== 'local') throw new AppError('engine.name-taken', { name: id })
    const accountKey = () => secrets.get(ACCOUNT_KEY)
    const worker = new LocalWorker({
      id,
      newId,
      now: clock.now,
      accountKey,
      pace,
      outputDir,
      discards,
      enabled: row.enabled === 1,
    })
    this.#adopt(worker)
    return worker
  }

  async removeLocal(id: string): Promise<void> {
    this.#must(id)
    this.#deps.database.prepare(`DELETE FROM workers WHERE id = ? AND kind = 'local'`).run(id)
    await this.unhost(id, true)
  }

  /** Takes a worker in that another service made; in the place of one of its name, whose tasks it finds again. */
  async host(worker: EndpointWorker): Promise<void> {
    const before = this.#workers.get(worker.id)
    this.#adopt(worker)
    await before?.close()
  }
  /** Closes what was taken in. `forget`: it does not come back. */
  async unhost(id: string, forget = false): Promise<void> {
    const worker = this.#workers.get(id)
    if (!worker) return
    this.#workers.delete(id)
    if (forget) this.#cache.forget(id)
    await worker.close()
    this.events.emit('changed', id)
  }

  /** The worker at this address, added if it is new. */
  async ensure(given: Address): Promise<WorkerView> {
    return this.find(given.url) ?? this.add(given)
  }

  async enable(id: string, enabled: boolean): Promise<WorkerView> {
    const worker = this.#must(id)
    this.#deps.database.prepare('UPDATE workers SET enabled = ? WHERE id = ?').run(enabled ? 1 : 0, id)
    await worker.enable(enabled)
    return this.#viewOf(worker)
  }

  async remove(id: string): Promise<number> {
    if (id === REHEARSAL) throw new AppError('app.bad-request', { reason: 'the rehearsal is always there; disable it' })
    const worker = this.#must(id)
    if (worker.kind === 'local')
      throw new AppError('app.bad-request', { reason: `${id} is run by an engine; remove that` })
    if (worker.kind === 'endpoint')
      throw new AppError('app.bad-request', { reason: `${id} is an endpoint; remove that` })
    const { changes } = this.#deps.database.prepare('DELETE FROM workers WHERE id = ?').run(id)
    this.#deps.secrets.remove(secretOf(id))
    this.#workers.delete(id)
    await worker.close()
    this.#cache.forget(id)
    this.events.emit('changed', id)
    return changes
  }

  /**
   * What nodes look like on one worker; without one, on the first real worker that answers, endpoints last: they run what
   * was published from here. What a worker said before it went away serves while nobody answers, and where there is
   * nothing of that, what came with Nightshift.
   * @throws AppError 'batch.unknown-worker' | 'worker.unreachable'
   */
  async definitionsFor(workerId?: string): Promise<Definitions> {
    const { definitions, version } = bundledDefinitions()
    if (workerId === REHEARSAL) return { definitions, from: REHEARSAL, version }
    if (workerId !== undefined) {
      const id = this.find(workerId)?.id
      const worker = id === undefined ? undefined : this.#workers.get(id)
      if (!worker) throw new AppError('batch.unknown-worker', { name: workerId })
      const kept = worker.health.is === 'unreachable' ? this.#keptFor(worker) : null
      if (kept) return kept
      try {
        return await this.#definitionsOf(worker)
      } catch (cause) {
        const before = this.#keptFor(worker)
        if (!before || !(cause instanceof AppError)) throw cause
        return before
      }
    }
    const isThere = ({ kind }: Member) => Number(kind === 'endpoint')
    const nearest = [...this.#workers.values()].toSorted((a, b) => isThere(a) - isThere(b))
    for (const worker of nearest) {
      if (worker.id === REHEARSAL || worker.health.is !== 'ready') continue
      try {
        return await this.#definitionsOf(worker)
      } catch (cause) {
        if (!(cause instanceof AppError)) throw cause // it stopped answering just now: the next one may know
      }
    }
    for (const worker of nearest) {
      const kept = worker.enabled && worker.id !== REHEARSAL ? this.#keptFor(worker) : null
      if (kept) return kept
    }
    return { definitions, from: 'bundled', version }
  }

  /** The model files of these folders on every real worker that answers; what one does not say in time is left out. */
  async filesOf(folders: readonly string[]): Promise<WorkerFiles[]> {
    const real = [...this.#workers.values()].filter(
      ({ id, enabled, health }) => id !== REHEARSAL && enabled && health.is === 'ready',
    )
    const signal = AbortSignal.timeout(FILES_WITHIN_MS)
    return Promise.all(
      real.map(async (worker): Promise<WorkerFiles> => {
        const [definitions, ...lists] = await Promise.all([
          worker.definitions(signal).catch(() => null),
          ...folders.map((folder) => worker.modelFiles(folder, signal).catch(() => null)),
        ])
        const files = new Map<string, NonNullable<(typeof lists)[number]>>()
        folders.forEach((folder, at) => {
          const list = lists[at]
          if (list) files.set(folder, list)
        })
        return { worker: worker.id, definitions, files }
      }),
    )
  }

  /** What a server has; while it does not answer, its classes as they were, and no model. */
  async contents(id: string): Promise<WorkerContents> {
    const worker = this.#must(id)
    const { definitions, cachedAt } = await this.definitionsFor(id)
    const packs = Map.groupBy(Object.values(definitions), ({ python_module }) => packOf(python_module))
    packs.delete(null)
    const customNodes = [...packs].map(([folder, classes]) => ({ folder: folder!, classes: classes.length }))
    const signal = AbortSignal.timeout(FILES_WITHIN_MS)
    const models = cachedAt === undefined && id !== REHEARSAL ? await filesIn(worker, signal) : []
    return {
      models,
      customNodes: customNodes.toSorted((a, b) => a.folder.localeCompare(b.folder)),
      classes: Object.keys(definitions).length,
      cachedAt: cachedAt ?? null,
    }
  }

  async #definitionsOf(worker: Member): Promise<Definitions> {
    const definitions = await worker.definitions()
    const version = worker.health.is === 'ready' ? (worker.health.comfyuiVersion ?? undefined) : undefined
    this.#cache.keep(worker.id, { definitions, version, at: this.#deps.clock.now() })
    return { definitions, from: worker.id, version }
  }

  #keptFor({ id }: Member): Definitions | null {
    const kept = this.#cache.latest(id)
    return kept && { definitions: kept.definitions, from: id, version: kept.version, cachedAt: kept.at }
  }

  #connect({ id, url, has_header, enabled }: Row): Member {
    const { clock, newId, secrets, pace } = this.#deps
    const header = has_header ? readHeader(secrets.get(secretOf(id)) ?? null) : null
    const accountKey = () => secrets.get(ACCOUNT_KEY)
    const options = { id, newId, now: clock.now, accountKey, pace, enabled: enabled === 1 }
    if (isSshAddress(url)) return new TunnelledWorker({ ...options, header }, readSshAddress(url), this.#tunnelling)
    return new ComfyWorker({ ...options, kind: 'remote', address: { url, header } })
  }

  /** Who is at an address a person typed, and the address to keep. */
  async #find(given: Address): Promise<{ found: WorkerFound; address: ComfyAddress }> {
    const typed = readTyped(given)
    const { newId } = this.#deps
    if (isSshAddress(typed.url))
      return { found: await testTunnel(readSshAddress(typed.url), typed.header, this.#tunnelling), address: typed }
    const places = await sharedAt(typed)
    if (places) return { found: { is: 'shared', places }, address: typed }
    const { health, address } = await testAddress(typed, newId())
    return { found: health, address }
  }

  get #tunnelling(): Tunnelling {
    const { dataDir, newId, clock, log, ssh } = this.#deps
    return {
      programs: sshProgram(process.platform, process.env).map((program) => [program]),
      env: process.env,
      stateDir: path.join(dataDir, 'tunnels'),
      newId,
      now: clock.now,
      log,
      ...ssh,
    }
  }

  #adopt(worker: Member) {
    this.#workers.set(worker.id, worker)
    worker.onHealth(() => this.events.emit('changed', worker.id))
    worker.start()
    this.events.emit('changed', worker.id)
  }

  #must(id: string): Member {
    const worker = this.#workers.get(id)
    if (!worker) throw new AppError('app.not-found', { what: id })
    return worker
  }

  #refuseDuplicate(url: string) {
    if ([...this.#workers.values()].some((worker) => worker.url === url))
      throw new AppError('worker.duplicate', { url })
  }

  #freeName(name: string): string {
    for (let number = 1; ; number++) {
      const candidate = number === 1 ? name : `${name}-${number}`
      if (!this.#workers.has(candidate)) return candidate
    }
  }

  #viewOf(worker: Member): WorkerView {
    const { id, kind, url, capacity, health, enabled, inFlight, hasHeader } = worker
    return { id, kind, url, hasHeader, enabled, capacity, inFlight, health, quiet: null }
  }
}

/** @throws AppError 'worker.bad-address' | 'tunnel.bad-address' */
function readTyped({ url, header, token }: Address): ComfyAddress {
  const line = token ? `Authorization: Bearer ${token}` : (header ?? null)
  return isSshAddress(url) ? { url: sshAddress(readSshAddress(url)), header: readHeader(line) } : readAddress(url, line)
}

const secretOf = (id: string) => `worker:${id}`

/** The folder in custom_nodes that a class is from; null: it is ComfyUI's own. */
const packOf = (module = '') => /^custom_nodes\.(.+)$/.exec(module)?.[1] ?? null

async function filesIn(worker: Member, signal: AbortSignal): Promise<WorkerContents['models']> {
  const folders = (await worker.modelFolders(signal)).filter((folder) => !NOT_MODELS.includes(folder))
  const lists = await Promise.all(folders.map((folder) => worker.modelFiles(folder, signal)))
  return folders.map((folder, at) => ({ folder, files: lists[at] ?? [] })).filter(({ files }) => files.length > 0)
}
const NOT_MODELS = ['configs', 'custom_nodes']

/** Resolves when the worker has said for the first time how it is. */
async function firstHealth(worker: Member) {
  if (worker.health.is !== 'connecting') return
  const { promise, resolve } = Promise.withResolvers<void>()
  const off = worker.onHealth(({ is }) => is !== 'connecting' && resolve())
  await promise
  off()
}
