import { createHash } from 'node:crypto'
import { EventEmitter } from 'node:events'
import { existsSync } from 'node:fs'
import { lstat, mkdir, realpath, rm, stat } from 'node:fs/promises'
import path from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import type { Artifact } from '../../core/contract/artifact.ts'
import { AppError, type Failure, toFailure } from '../../core/contract/errors.ts'
import type { GetPlan } from '../../core/contract/hub.ts'
import { parseJson, writeJson } from '../../core/contract/json.ts'
import type {
  CheckedModel,
  Duplicates,
  ImportHow,
  MergeResult,
  Model,
  ModelDetail,
  ModelFilter,
  ModelFlag,
  ModelKind,
  ModelLooked,
  ModelPlace,
  ModelProgress,
  ModelRoot,
  ModelState,
  Published,
} from '../../core/contract/model.ts'
import { isModelFile } from '../../core/contract/model-file.ts'
import type { ModelNeeded } from '../../core/contract/snapshot.ts'
import { sayModelFault } from '../../core/domain/model-faults.ts'
import { baseOfCivitai, belongsIn, folderOfKind, kindOfFolder } from '../../core/domain/model-kind.ts'
import { matchFile, modelFilesIn } from '../../core/domain/workflow/models.ts'
import { place } from '../../core/engine/download/disk.ts'
import { type Look, thisMachine } from '../../core/engine/installs.ts'
import { type Beside, readBeside } from '../../core/engine/models/beside.ts'
import { bring } from '../../core/engine/models/bring.ts'
import { canonicalFolder } from '../../core/engine/models/folders.ts'
import { READER } from '../../core/engine/models/header.ts'
import { type FileMark, type FoundModel, keyOf, markOf, sameMark, scanRoot } from '../../core/engine/models/scan.ts'
import type { Clock } from './clock.ts'
import type { Database } from './database/open.ts'
import type { Library } from './library.ts'
import type { LocalEngine } from './local-engine.ts'
import { ModelMerges, type ModelNews } from './model-merges.ts'
import { ModelRoots } from './model-roots.ts'
import { ModelThread } from './model-thread.ts'
import { ModelUses, type PastBatch } from './model-uses.ts'
import { ModelWatch } from './model-watch.ts'
import type { ModelFacts } from './model-worker.ts'
import type { QueuedJob } from './queue.ts'
import type { Service } from './service.ts'
import type { ThumbnailSize, Thumbnails } from './thumbnails.ts'

interface Deps {
  readonly database: Database
  readonly dataDir: string
  readonly clock: Clock
  readonly newId: () => string
  readonly log?: (event: string, facts: object) => void
  readonly localEngine: Pick<LocalEngine, 'list' | 'events'>
  readonly library: Pick<Library, 'modelNames' | 'events'>
  readonly thumbnails: Pick<Thumbnails, 'thumbnail'>
  /** Pictures made in a batch, for those who ask which a model made. */
  readonly artifactsOf: (batchId: string, limit: number) => string[]
  /** What was made before uses were written down. */
  readonly pastBatches?: () => Iterable<PastBatch>
  /** Where Civitai's pages are; null: nowhere. */
  readonly civitai?: () => string | null
  /** What hubs say of a file with this hash; `tell` hears of those that could not be asked. */
  readonly published?: (
    file: PublishedAs,
    tell: (from: string, because: Failure) => void,
    signal: AbortSignal,
  ) => Promise<Published | null>
  /** Nothing is looked through by itself. */
  readonly idle?: boolean
  /** Jobs run: the disks are theirs, and nothing is hashed that nobody asked for. */
  readonly isBusy?: () => boolean
  readonly look?: Look
}

/** A file as the database keeps it, and all that is known of it. */
interface Kept extends FileMark {
  readonly real: string
  readonly facts: ModelFacts
  readonly beside: Beside | null
  readonly besideNames: readonly string[]
  places: ModelPlace[]
  sha256: string | null
}
interface Row {
  real: string
  device: string
  inode: string
  size_bytes: number
  modified_ns: string
  facts: string
  places: string
  sha256: string | null
}
/** One file of the disk, whatever names it has. */
interface Entry {
  readonly model: Model
  readonly kept: Kept
  /** Each name it has without links on the way. */
  readonly reals: string[]
  readonly words: string
}
interface Job {
  progress: ModelProgress
  readonly stopping: AbortController
  readonly startedAt: number
  done: Promise<unknown>
}

const READS_AT_ONCE = 4
const RESCAN_AFTER_MS = 1_500
const RECOUNT_AFTER_MS = 2_000
const HASH_AFTER_MS = 60_000
const FORGET_AFTER_MS = 90 * 24 * 3600_000
const MOST_ARTIFACTS = 24
const STEP_MS = 200

/** Without folders, as file systems that ignore case see it. */
const baseOf = (name: string) => name.replace(/^.*[\\/]/s, '').toLowerCase()

/** By what a hub may know a file. */
export type PublishedAs = Pick<Model, 'name' | 'folder' | 'sizeBytes'> & {
  readonly sha256: string
  readonly path: string
  readonly civitai: Beside['civitai']
}

/** What others ask the library for. */
export type ModelShelf = Pick<
  Models,
  'events' | 'roots' | 'folderFor' | 'bySha256' | 'byName' | 'page' | 'takeIn' | 'sha256Of'
>

/** The models of this machine: where they lie, what they are, what uses them, which are there twice. */
export class Models implements Service {
  readonly events = new EventEmitter<{ changed: []; progress: [] }>()
  readonly #deps: Deps
  readonly #roots: ModelRoots
  readonly #uses: ModelUses
  readonly #thread = new ModelThread()
  readonly #watch: ModelWatch
  readonly #merges: ModelMerges
  readonly #jobs = new Map<ModelProgress['what'], Job>()
  /** What came just now: its hash is not to be lost. */
  readonly #taking = new Set<Promise<Model | null>>()
  #faults: { path: string; failure: Failure }[] = []
  #kept = new Map<string, Kept>()
  #entries: Entry[] = []
  readonly #sorted = new Map<ModelFilter['sort'], readonly Entry[]>()
  #byId = new Map<string, Entry>()
  #byHash = new Map<string, Entry[]>()
  #byBase = new Map<string, Entry[]>()
  #scannedAt: number | null = null
  /** For all who ask for a look while one is under way. */
  #nextScan: Promise<void> | null = null
  #running = false
  #rescan: (() => void) | null = null
  #recount: (() => void) | null = null
  #rehash: (() => void) | null = null
  /** What is hashed now, nobody asked for: it makes way. */
  #unasked = false
  /** A person stopped it. */
  #hashesAlone = true
  #toldAt = 0

  constructor(deps: Deps) {
    this.#deps = deps
    const { clock, log, database, newId, localEngine, pastBatches, look = thisMachine(process.env) } = deps
    this.#roots = new ModelRoots({ database, clock, localEngine, look })
    this.#uses = new ModelUses({ database, ...(pastBatches && { pastBatches }) })
    this.#merges = new ModelMerges({
      ...{ database, clock, newId },
      copies: () => this.#byHash,
      models: () => this.#entries,
      isBusy: () => this.#jobs.has('merge') || this.#jobs.has('undo'),
      job: (what, files, bytes, work) => this.#job(what, files, bytes, work),
      remark: (paths) => this.#remark(paths),
    })
    this.#watch = new ModelWatch({ clock, ...(log && { log }), onChange: () => this.#scanLater() })
  }

  /** What was there the last time is there at once; the disks are looked through afterwards. */
  async start() {
    if (this.#running) return
    this.#running = true
    const { localEngine, library, idle } = this.#deps
    this.#readKept()
    await this.#merges.recover()
    this.#uses.rememberPast()
    await this.#roots.find()
    this.#rebuild()
    localEngine.events.on('changed', this.#scanLater)
    library.events.on('changed', this.#countUses)
    if (!idle) this.#scanLater()
  }

  async stop() {
    if (!this.#running) return
    this.#running = false
    this.#deps.localEngine.events.off('changed', this.#scanLater)
    this.#deps.library.events.off('changed', this.#countUses)
    this.#watch.close()
    this.#rescan?.()
    this.#rescan = null
    this.#recount?.()
    this.#recount = null
    this.#rehash?.()
    this.#rehash = null
    const jobs = [...this.#jobs.values()]
    for (const { stopping } of jobs) stopping.abort(new Error('stopped'))
    await Promise.allSettled(jobs.map(({ done }) => done))
    await Promise.allSettled(this.#taking)
    await this.#thread.close()
  }

  // ---- what others ask ----

  roots(): ModelRoot[] {
    return this.#roots.all.map(({ mixed: _, ...root }) => root)
  }

  /** Where a new model of ComfyUI's `folder` goes; `engine` null: the first there is. null: nobody looks for that. */
  folderFor(engine: string | null, folder: string): string | null {
    return this.#roots.folderFor(engine, folder)
  }

  bySha256(sha256: string): Model | null {
    return this.#byHash.get(sha256.toLowerCase())?.[0]?.model ?? null
  }

  /** Known, or read now. */
  async sha256Of(id: string): Promise<string> {
    const { kept } = this.#must(id)
    const sha256 = kept.sha256 ?? (await this.#hashNow(kept))
    this.#rebuild()
    return sha256
  }

  /**
   * What a loader of `folder` takes by this name: exact, else the other slash, other case, another sub-folder. `engine`:
   * only of what that one loads.
   */
  byName(folder: string, name: string, engine?: string): Model | null {
    const wanted = canonicalFolder(folder)
    const its = this.#roots.idsOf(engine)
    const places = (this.#byBase.get(baseOf(name)) ?? []).flatMap(({ model }) =>
      model.places
        .filter((at) => at.folder === wanted && (engine === undefined || its.has(at.root)))
        .map((at) => ({ at, model })),
    )
    const match = matchFile(
      places.map(({ at }) => at.name),
      name,
    )
    return places.find(({ at }) => at.name === match)?.model ?? null
  }

  page(filter: Partial<ModelFilter> & { offset?: number; limit?: number }): {
    rows: Model[]
    total: number
    bytes: number
  } {
    const { search = '', kind, base, root, flag, unused, sort = 'name', offset = 0, limit = 100 } = filter
    const words = search.toLowerCase().split(/\s+/).filter(Boolean)
    const found = this.#inOrder(sort).filter(
      ({ model, words: all }) =>
        (kind === undefined || model.kind === kind) &&
        (base === undefined || model.base === base) &&
        (root === undefined || model.places.some((at) => at.root === root)) &&
        (flag === undefined || model.flags.includes(flag)) &&
        (unused !== true || isUnused(model)) &&
        words.every((word) => all.includes(word)),
    )
    const rows = found.slice(offset, offset + limit).map(({ model }) => model)
    return { rows, total: found.length, bytes: found.reduce((sum, { model }) => sum + model.sizeBytes, 0) }
  }

  /** All of them, sorted once for all the pages that are asked for. */
  #inOrder(sort: ModelFilter['sort']): readonly Entry[] {
    const sorted = this.#sorted.get(sort) ?? this.#entries.toSorted(orders[sort])
    this.#sorted.set(sort, sorted)
    return sorted
  }

  /** What workflows and pictures name of those this engine loads, hashed first where they were not. */
  async usedBy(engine: string): Promise<ModelNeeded[]> {
    const mine = this.#roots.idsOf(engine)
    const used = () =>
      this.#entries.filter(({ model }) => !isUnused(model) && model.places.some(({ root }) => mine.has(root)))
    const unhashed = used().filter(({ model }) => model.sha256 === null)
    if (unhashed.length > 0) await this.hash({ ids: unhashed.map(({ model }) => model.id) })
    return used().flatMap(({ model }) =>
      model.places.flatMap(({ root, folder, name }) =>
        mine.has(root) && model.sha256 !== null ? [{ folder, name, size: model.sizeBytes, sha256: model.sha256 }] : [],
      ),
    )
  }

  /** A file that came to its final place just now, with the hash it was checked by. */
  takeIn(file: string, sha256: string | null): Promise<Model | null> {
    const taking = this.#takeIn(file, sha256).finally(() => this.#taking.delete(taking))
    this.#taking.add(taking)
    return taking
  }
  async #takeIn(file: string, sha256: string | null): Promise<Model | null> {
    const real = await realpath(file).catch(() => null)
    if (real === null || !isModelFile(real)) return null
    const mark = await markOf(real)
    const facts = await this.#thread.ask({ is: 'read', path: real })
    this.#keep({ ...mark, real, facts, beside: null, besideNames: [], places: this.#roots.placesOf(file), sha256 })
    this.#rebuild()
    this.#scanLater() // what lies beside it, and names that lead to it through links
    return this.#entryAt(real)?.model ?? null
  }

  /** Files that may run code when loaded, that nobody trusts yet, among those a prompt and its values name. */
  unsafeIn(values: unknown): Model[] {
    const suspects = this.#entries.filter(({ model: { flags } }) => isUnsafe(flags))
    if (suspects.length === 0) return []
    const named = new Set(modelFilesIn(writeJson(values)))
    return suspects
      .filter(({ model }) =>
        model.places.some(({ name }) => named.has(baseOf(name)) || named.has(baseOf(name).replace(/\.[^.]+$/, ''))),
      )
      .map(({ model }) => model)
  }

  /** Files by id, or by name as a person types it: these may be loaded from now on, as long as they stay as they are. */
  async trust(ids: readonly string[], trusted = true): Promise<Model[]> {
    const { database, clock } = this.#deps
    const entries = ids.map((id) => this.#must(id))
    for (const { kept } of entries) {
      const sha256 = kept.sha256 ?? (await this.#hashNow(kept))
      if (trusted) database.prepare('INSERT OR IGNORE INTO model_trusted VALUES (?, ?)').run(sha256, clock.now())
      else database.prepare('DELETE FROM model_trusted WHERE sha256 = ?').run(sha256)
    }
    this.#rebuild()
    return entries.map(({ kept }) => this.#entryAt(kept.real)!.model)
  }

  /** The one a person means by an id, a path, a hash or a name. */
  find(asked: string): Model | null {
    const entry =
      this.#byId.get(asked) ??
      this.#entries.find(({ reals, model }) => reals.includes(asked) || model.places.some((at) => at.path === asked)) ??
      (/^[\da-f]{10,64}$/i.test(asked)
        ? this.#entries.find(({ model }) => model.sha256?.startsWith(asked.toLowerCase()))
        : undefined) ??
      this.#entries.find(({ model }) => model.places.some(({ name }) => name === asked)) ??
      this.#byBase.get(baseOf(asked))?.[0]
    return entry?.model ?? null
  }

  state(): ModelState {
    const of = (id: string) => this.#entries.filter(({ model }) => model.places.some((at) => at.root === id))
    const sum = (entries: readonly Entry[]) => entries.reduce((bytes, { model }) => bytes + model.sizeBytes, 0)
    const unused = this.#entries.filter(({ model }) => isUnused(model))
    const count = <T extends string>(pick: (model: Model) => readonly T[]) => {
      const counts = new Map<T, number>()
      for (const { model } of this.#entries) for (const one of pick(model)) counts.set(one, (counts.get(one) ?? 0) + 1)
      return [...counts].toSorted((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1))
    }
    return {
      scannedAt: this.#scannedAt,
      roots: this.roots().map((root) => {
        const mine = of(root.id)
        return { ...root, models: mine.length, bytes: sum(mine) }
      }),
      models: this.#entries.length,
      bytes: sum(this.#entries),
      unhashed: this.#entries.filter(({ model }) => model.sha256 === null).length,
      faults: this.#faults,
      progress: this.progress(),
      kinds: count((model) => [model.kind]).map(([kind, n]) => ({ kind, count: n })),
      bases: count((model) => (model.base === null ? [] : [model.base])).map(([base, n]) => ({ base, count: n })),
      flags: count((model) => model.flags).map(([flag, n]) => ({ flag, count: n })),
      unused: { models: unused.length, bytes: sum(unused) },
    }
  }

  async get(id: string): Promise<ModelDetail> {
    const { model, kept, reals } = this.#must(id)
    const names = new Set(model.places.map(({ name }) => baseOf(name)))
    const { facts, beside } = kept
    const site = this.#deps.civitai?.() ?? null
    const civitai = beside?.civitai
    const url =
      site && civitai
        ? `${site}/models/${civitai.modelId}${civitai.versionId === null ? '' : `?modelVersionId=${civitai.versionId}`}`
        : null
    return {
      ...model,
      note: this.#noteOf(kept, reals) ?? '',
      triggerWords: [...new Set([...(beside?.triggerWords ?? []), ...facts.triggerWords])].slice(0, 40),
      metadata: { ...facts.metadata, ...(beside?.note && { description: beside.note }) },
      faults: facts.faults.map(sayModelFault),
      belongsIn: misplaced(model, facts.kind),
      source: beside?.title ? { title: beside.title, url, version: beside.version } : null,
      workflows: [...this.#deps.library.modelNames()]
        .filter(({ files }) => files.some((file) => names.has(file)))
        .map(({ id, name }) => ({ id, name })),
      artifactIds: this.#uses
        .batchesOf(names)
        .flatMap((batchId) => this.#deps.artifactsOf(batchId, MOST_ARTIFACTS))
        .slice(0, MOST_ARTIFACTS),
      hashes: { autoV2: model.sha256?.slice(0, 10).toUpperCase() ?? null, sha256: model.sha256 },
    }
  }

  note(id: string, note: string): Model {
    const { kept } = this.#must(id)
    const { database } = this.#deps
    if (note.trim() === '')
      database.prepare('DELETE FROM model_notes WHERE real = ? OR sha256 = ?').run(kept.real, kept.sha256)
    else
      database
        .prepare(
          `INSERT INTO model_notes (real, sha256, note) VALUES (?, ?, ?)
           ON CONFLICT (real) DO UPDATE SET sha256 = excluded.sha256, note = excluded.note`,
        )
        .run(kept.real, kept.sha256, note)
    this.#rebuild()
    return this.#entryAt(kept.real)!.model
  }

  /** WebP; null: there is none. */
  async preview(id: string, size: ThumbnailSize): Promise<Uint8Array | null> {
    const { kept } = this.#must(id)
    const { dataDir, thumbnails } = this.#deps
    let picture = kept.beside?.picture ?? null
    if (picture === null && kept.facts.hasThumbnail) {
      const mark = hashOf(`${kept.real}\n${kept.modifiedNs}`)
      picture = path.join(dataDir, 'cache', 'model-pictures', mark)
      if (!existsSync(picture)) await this.#thread.ask({ is: 'thumbnail', path: kept.real, to: picture })
    }
    if (picture === null) return null
    const mark = await stat(picture, { bigint: true }).catch(() => null)
    return mark && thumbnails.thumbnail(hashOf(`${picture}\n${mark.mtimeNs}\n${mark.size}`), picture, size)
  }

  // ---- folders the person added ----

  /** @throws AppError 'model.folder-unreadable' */
  async addFolder(dir: string): Promise<void> {
    await this.#roots.add(dir)
    await this.scan()
  }
  async removeFolder(id: string): Promise<number> {
    const changes = this.#roots.remove(id)
    if (changes > 0) await this.scan()
    return changes
  }

  // ---- looking through the disks ----

  readonly #scanLater = () => {
    if (!this.#running || this.#deps.idle) return
    this.#rescan?.()
    this.#rescan = this.#deps.clock.after(RESCAN_AFTER_MS, () => {
      this.#rescan = null
      this.scan().catch((cause: unknown) => this.#deps.log?.('models.scan-failed', { reason: String(cause) }))
    })
  }
  /** The rest of the index, a file at a time, while nothing else is done. */
  readonly #hashLater = () => {
    if (!this.#running || this.#deps.idle || !this.#hashesAlone || this.#rehash) return
    if (this.#entries.every(({ model }) => model.sha256 !== null)) return
    this.#rehash = this.#deps.clock.after(HASH_AFTER_MS, () => {
      this.#rehash = null
      if (this.#deps.isBusy?.() || this.#jobs.size > 0) return this.#hashLater()
      this.#unasked = true
      const over = (later: boolean) => {
        this.#unasked = false
        if (later) this.#hashLater()
      }
      // what could not be read is tried again after the next look, not every minute
      this.#hash({}).then(
        () => over(this.#deps.isBusy?.() ?? false),
        () => over(true),
      )
    })
  }
  readonly #countUses = () => {
    if (!this.#running || this.#recount) return
    this.#recount = this.#deps.clock.after(RECOUNT_AFTER_MS, () => {
      this.#recount = null
      this.#rebuild()
    })
  }

  progress(): ModelProgress[] {
    return [...this.#jobs.values()].map(({ progress }) => progress)
  }

  /** Looks through every folder, after the look that is under way: that one may have passed by what is new. */
  async scan(): Promise<ModelState> {
    const look = () => this.#job('scan', 0, 0, (signal, news) => this.#scan(signal, news))
    const under = this.#jobs.get('scan')
    if (!under) await look()
    else {
      this.#nextScan ??= under.done
        .catch(() => {})
        .then(() => {
          this.#nextScan = null
          if (this.#running) return look()
        })
      await this.#nextScan
    }
    this.#hashLater()
    return this.state()
  }

  async #scan(signal: AbortSignal, news: ModelNews) {
    const { database, clock } = this.#deps
    const faults = await this.#roots.find()
    const found = new Map<string, { file: FoundModel; places: ModelPlace[] }>()
    const folders = new Set<string>()
    // watched before they are looked into: what comes after that is heard
    const onFolder = (dir: string) => {
      folders.add(dir)
      if (!this.#deps.idle && this.#running) this.#watch.also(dir)
    }
    for (const root of this.#roots.all) {
      onFolder(root.dir)
      // one that is not there yet is made in the folder above
      for (const { dir } of root.folders) onFolder(path.dirname(dir))
      faults.push(
        ...(await scanRoot(root, {
          signal,
          onFolder,
          onFile: (file) => {
            const known = found.get(file.real) ?? { file, places: [] }
            found.set(file.real, known)
            if (!known.places.some((at) => at.path === file.place.path && at.folder === file.place.folder))
              known.places.push({ ...file.place, root: root.id })
          },
        })),
      )
      await turn()
    }
    const inodes = Map.groupBy(this.#kept.values(), ({ inode }) => inode)
    const kept = new Map<string, Kept>()
    const unread: { file: FoundModel; places: ModelPlace[] }[] = []
    for (const [real, { file, places }] of found) {
      const before = this.#kept.get(real)
      const same =
        before && sameMark(before, file)
          ? before
          : inodes
              .get(file.inode)
              ?.find((one) => sameMark(one, file) && one.device === file.device && file.inode !== '0')
      if (!same || same.facts.reader !== READER) unread.push({ file, places })
      else {
        const asBefore = same.besideNames.join('\n') === file.beside.join('\n')
        const beside = asBefore ? same.beside : await readBeside(file.place.path, file.beside)
        const { device, inode, sizeBytes, modifiedNs } = file
        kept.set(real, {
          ...same,
          device,
          inode,
          sizeBytes,
          modifiedNs,
          real,
          places,
          beside,
          besideNames: file.beside,
        })
      }
    }
    news.of(unread.length, 0)
    await atOnce(unread, READS_AT_ONCE, async ({ file, places }) => {
      signal.throwIfAborted()
      news.at(file.place.name)
      try {
        const facts = await this.#thread.ask({ is: 'read', path: file.real }, { signal })
        const beside = file.beside.length > 0 ? await readBeside(file.place.path, file.beside) : null
        const { device, inode, sizeBytes, modifiedNs } = file
        kept.set(file.real, {
          ...{ device, inode, sizeBytes, modifiedNs, real: file.real, facts, beside, places },
          besideNames: file.beside,
          sha256: null,
        })
      } catch (cause) {
        signal.throwIfAborted()
        const failure = new AppError('model.folder-unreadable', { dir: file.real, reason: (cause as Error).message })
        faults.push({ path: file.real, failure: toFailure(failure) })
      }
      news.done(0)
    })
    signal.throwIfAborted()
    const now = clock.now()
    for (const one of kept.values()) {
      const latest = this.#kept.get(one.real) // hashed while we looked
      if (latest && sameMark(latest, one)) one.sha256 ??= latest.sha256
    }
    database.transaction(() => {
      database.prepare(`UPDATE model_files SET places = '[]' WHERE places <> '[]'`).run()
      for (const one of kept.values()) this.#write(one, now)
      database.prepare('DELETE FROM model_files WHERE places = ? AND seen_at < ?').run('[]', now - FORGET_AFTER_MS)
    })()
    // a disk that is away keeps what is known of its files
    for (const [real, one] of this.#kept) if (!kept.has(real)) kept.set(real, { ...one, places: [] })
    this.#kept = kept
    this.#faults = faults
    this.#scannedAt = now
    if (!this.#deps.idle && this.#running) this.#watch.follow(folders)
    this.#rebuild()
  }

  /** Hashes what is not yet; all of it, or those asked for. Resolves when it is done, paused or not. */
  async hash(wish: HashWish = {}): Promise<void> {
    const under = this.#jobs.get('hash')
    if (under && !this.#unasked) throw new AppError('model.busy')
    if (under) this.control('hash', 'stop', true)
    await under?.done.catch(() => {})
    await this.#hash(wish)
  }
  async #hash({ ids, likely = false }: HashWish): Promise<void> {
    const wanted = ids ? ids.map((id) => this.#must(id).kept) : this.#entries.map(({ kept }) => kept)
    // where a copy is likely, it is worth knowing first
    const sizes = Map.groupBy(wanted, ({ sizeBytes }) => sizeBytes)
    const open = wanted
      .filter(({ sha256, sizeBytes }) => sha256 === null && (!likely || sizes.get(sizeBytes)!.length > 1))
      .toSorted((a, b) => sizes.get(b.sizeBytes)!.length - sizes.get(a.sizeBytes)!.length || a.sizeBytes - b.sizeBytes)
    if (open.length === 0) return
    const bytes = open.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
    await this.#job('hash', open.length, bytes, async (signal, news) => {
      const inodes = Map.groupBy(this.#kept.values(), ({ inode }) => inode)
      for (const one of open) {
        if (this.#unasked && this.#deps.isBusy?.()) return
        news.at(path.basename(one.real))
        const alike = inodes.get(one.inode) ?? []
        await this.#hashNow(one, { signal, news, alike }).catch((cause: unknown) => {
          signal.throwIfAborted()
          this.#deps.log?.('models.not-hashed', { reason: (cause as Error).message })
        })
        news.done(one.sizeBytes)
      }
    })
  }
  /** The same, without waiting for it. */
  beginHashing(wish: HashWish) {
    if (this.#jobs.has('hash') && !this.#unasked) return
    this.hash(wish).catch((cause: unknown) => this.#deps.log?.('models.not-hashed', { reason: String(cause) }))
  }
  /** Work of one sort stands still, goes on, or ends. */
  control(what: ModelProgress['what'], how: 'pause' | 'resume' | 'stop', makesWay = false): boolean {
    const job = this.#jobs.get(what)
    if (!job) return false
    if (what === 'hash' && how === 'stop' && !makesWay) this.#hashesAlone = false
    if (how === 'stop') {
      if (job.progress.paused) this.#thread.pause(false)
      job.stopping.abort(new AppError('app.interrupted'))
    } else if (what === 'hash' || what === 'verify') {
      this.#thread.pause(how === 'pause')
      job.progress = { ...job.progress, paused: how === 'pause' }
    }
    this.#tell(true)
    return true
  }

  /** `alike`: among which other names of the same file are looked for. */
  async #hashNow(
    one: Kept,
    {
      signal,
      news,
      alike = this.#kept.values(),
    }: { signal?: AbortSignal; news?: ModelNews; alike?: Iterable<Kept> } = {},
  ): Promise<string> {
    const before = await markOf(one.real)
    let last = 0
    const onBytes = (bytes: number) => {
      news?.bytes(bytes - last)
      last = bytes
    }
    const sha256 = await this.#thread.ask({ is: 'hash', path: one.real }, { signal, onBytes })
    news?.bytes(-last)
    const after = await markOf(one.real)
    if (!sameMark(before, after) || !sameMark(one, after))
      throw new AppError('model.changed', { name: path.basename(one.real) })
    for (const same of alike)
      if (same.inode === one.inode && same.device === one.device && sameMark(same, one) && same.inode !== '0')
        this.#hashed(same, sha256)
    this.#hashed(one, sha256)
    return sha256
  }
  #hashed(one: Kept, sha256: string) {
    const now = this.#kept.get(one.real)
    if (now && sameMark(now, one)) now.sha256 = sha256
    one.sha256 = sha256
    const { database } = this.#deps
    database.prepare('UPDATE model_files SET sha256 = ? WHERE real = ?').run(sha256, one.real)
    database.prepare('UPDATE model_notes SET sha256 = ? WHERE real = ?').run(sha256, one.real)
    this.#merges.forget()
  }

  /**
   * Reads files anew, to the last byte, and compares them with what they were and with what the hubs publish. `silent`:
   * hubs that could not be asked.
   */
  async verify(ids: readonly string[] | null): Promise<{ rows: CheckedModel[]; silent: GetPlan['silent'] }> {
    if (this.#jobs.has('verify')) throw new AppError('model.busy')
    const entries = ids ? ids.map((id) => this.#must(id)) : this.#entries
    const bytes = entries.reduce((sum, { model }) => sum + model.sizeBytes, 0)
    const checked: CheckedModel[] = []
    const silent: GetPlan['silent'] = []
    const tell = (from: string, because: Failure) => {
      if (!silent.some((each) => each.from === from)) silent.push({ from, because })
    }
    await this.#job('verify', entries.length, bytes, async (signal, news) => {
      for (const { kept, model } of entries) {
        news.at(model.name)
        const known = kept.sha256
        const mark = await markOf(kept.real).catch(() => null)
        let is: CheckedModel['is'] = 'gone'
        let sha256: string | null = null
        if (mark) {
          let last = 0
          const onBytes = (at: number) => {
            news.bytes(at - last)
            last = at
          }
          sha256 = await this.#thread.ask({ is: 'hash', path: kept.real }, { signal, onBytes }).catch(() => {
            signal.throwIfAborted()
            return null
          })
          news.bytes(-last)
          is = 'unreadable'
        }
        if (mark && sha256 !== null) {
          const facts = kept.facts.faults.some(({ code }) => DAMAGED.includes(code))
          is = known === null ? (facts ? 'damaged' : 'new') : known === sha256 && !facts ? 'good' : 'damaged'
          if (!sameMark(kept, mark) && known !== null && known !== sha256) is = 'changed'
          if (sameMark(kept, mark) && is !== 'damaged') this.#hashed(kept, sha256)
        }
        const { name, folder, sizeBytes } = model
        const as = { name, folder, sizeBytes: mark?.sizeBytes ?? sizeBytes, path: kept.real }
        const civitai = kept.beside?.civitai ?? null
        const published =
          sha256 === null ? null : ((await this.#deps.published?.({ ...as, sha256, civitai }, tell, signal)) ?? null)
        if (published?.same === true) is = 'good'
        else if (published && (is === 'good' || is === 'new')) is = 'other'
        checked.push({ id: model.id, name, is, sha256, known, published })
        news.done(sizeBytes)
      }
    })
    this.#rebuild()
    return { rows: checked, silent }
  }

  // ---- copies ----

  duplicates(page: { offset?: number; limit?: number } = {}): Promise<Duplicates> {
    return this.#merges.duplicates(page)
  }
  /** Lets copies share their bytes: those of the hashes asked for, or all. */
  merge(hashes: readonly string[] | null): Promise<MergeResult> {
    return this.#merges.merge(hashes)
  }
  /** Gives what was merged bytes of its own again. @throws AppError 'model.no-room' */
  undo(id: string): Promise<MergeResult> {
    return this.#merges.undo(id)
  }

  /** What was changed by us has another inode, and the same bytes as before. */
  async #remark(paths: readonly string[]) {
    const now = this.#deps.clock.now()
    for (const real of paths) {
      const kept = this.#kept.get(real)
      const mark = await markOf(real).catch(() => null)
      if (!kept || !mark) continue
      const changed = { ...kept, ...mark }
      this.#kept.set(real, changed)
      this.#write(changed, now)
    }
    this.#rebuild()
  }

  // ---- files taken in and moved ----

  /** What a file is, and where it would go. @throws AppError 'model.not-a-model' | 'input.missing' */
  async inspect(file: string): Promise<ModelLooked> {
    const name = path.basename(file)
    const found = await stat(file).catch((cause: unknown) => {
      throw new AppError('input.missing', { name: file }, { cause })
    })
    if (!found.isFile() || !isModelFile(name))
      throw new AppError('model.not-a-model', { name, reason: 'it is of another kind' })
    const { kind, base, faults } = await this.#thread.ask({ is: 'read', path: file })
    const folder = kind === null ? null : (folderOfKind[kind] ?? null)
    return { name, kind, base, folder, sizeBytes: found.size, faults: faults.map(sayModelFault) }
  }

  /**
   * Takes a file into the folder its header says, or the one given. A file that is there already, byte for byte, is it.
   * @throws AppError 'model.no-place' | 'model.taken' | 'model.not-a-model' | 'model.bad-name'
   */
  async import(
    file: string,
    { how, folder, engine = null, name }: { how: ImportHow; folder?: string; engine?: string | null; name?: string },
  ): Promise<Model> {
    const looked = await this.inspect(file)
    const broken = looked.faults.find(({ code }) => DAMAGED.includes(code))
    if (broken) throw new AppError('model.not-a-model', { name: looked.name, reason: broken.message })
    const into = folder ?? looked.folder
    const dir = into === null ? null : this.folderFor(engine, into)
    if (dir === null) throw new AppError('model.no-place', { folder: into ?? '?' })
    const wanted = name ?? looked.name
    if (!/^[^/\\:*?"<>|\p{Cc}]{1,200}$/u.test(wanted) || /^\.|[. ]$/.test(wanted))
      throw new AppError('model.bad-name', { name: wanted })
    await mkdir(dir, { recursive: true })
    const to = path.join(dir, wanted)
    // what a link leads to is meant, not the link
    const real = await realpath(file)
    const there = await realpath(to).catch(() => null)
    if (there === real) return this.#settleAt(to, null)
    if (there !== null) {
      const [one, other] = await Promise.all([real, there].map((each) => this.#thread.ask({ is: 'hash', path: each })))
      if (one !== other) throw new AppError('model.taken', { name: wanted, dir })
      if (how === 'move') await rm(real)
      return this.#settleAt(to, other!)
    }
    return this.#settleAt(to, await bring(real, to, how))
  }

  async #settleAt(to: string, sha256: string | null): Promise<Model> {
    const model = await this.takeIn(to, sha256)
    if (!model) throw new AppError('model.not-a-model', { name: path.basename(to), reason: 'it is of another kind' })
    return model
  }

  /** Every name in the folders that a model is loaded by, the file's own first, with what belongs to it beside each. */
  async filesOf(
    id: string,
  ): Promise<{ model: Model; files: { path: string; isLink: boolean; beside: readonly string[] }[] }> {
    const { model, reals } = this.#must(id)
    const files = reals.map((real) => ({
      path: real,
      isLink: false,
      beside: this.#kept.get(real)?.besideNames ?? [],
    }))
    for (const { path: at } of model.places) {
      const isLink = await lstat(at).then(
        (found) => found.isSymbolicLink(),
        () => false,
      )
      if (isLink && !files.some((file) => file.path === at)) files.push({ path: at, isLink, beside: [] })
    }
    return { model, files }
  }
  /** These names are no longer there; what is known of the files is kept, should they come back. */
  gone(paths: readonly string[]) {
    for (const real of paths) {
      const kept = this.#kept.get(real)
      if (kept) this.#keep({ ...kept, places: [] })
    }
    this.#rebuild()
    this.#scanLater()
  }

  /** Into another folder of the same ComfyUI, with what lies beside it. Gives where it was, for moving it back. */
  async move(id: string, folder: string): Promise<{ model: Model; from: string }> {
    const { kept, model } = this.#must(id)
    const at = model.places[0]!
    const dir = this.#roots.beside(at.root, folder)
    if (!dir) throw new AppError('model.no-place', { folder })
    const to = path.join(dir, ...at.name.split('/'))
    if (existsSync(to)) throw new AppError('model.taken', { name: at.name, dir })
    await mkdir(path.dirname(to), { recursive: true })
    await bring(kept.real, to, 'move')
    const stem = (name: string) => name.replace(/\.[^.]+$/, '')
    for (const name of kept.besideNames) {
      const target = path.join(
        path.dirname(to),
        stem(path.basename(to)) + name.slice(stem(path.basename(kept.real)).length),
      )
      // a picture is not worth a failure, nor another's picture
      await place(path.join(path.dirname(kept.real), name), target).catch(() => {})
    }
    this.#kept.delete(kept.real)
    this.#deps.database.prepare('DELETE FROM model_files WHERE real = ?').run(kept.real)
    const note = this.#noteOf(kept, [kept.real])
    const moved = await this.#settleAt(to, kept.sha256)
    if (note) this.note(moved.id, note)
    await this.scan()
    return { model: this.#entryAt(await realpath(to))?.model ?? moved, from: at.folder }
  }

  /** Outputs were kept: their prompt's files made them. */
  made(job: Pick<QueuedJob, 'batch' | 'overrides' | 'batchId'>, kept: readonly Artifact[]) {
    if (this.#uses.made(job, kept)) this.#countUses()
  }

  // ---- inside ----

  #must(id: string): Entry {
    const entry = this.#byId.get(id)
    if (!entry) throw new AppError('app.not-found', { what: `model ${id}` })
    return entry
  }
  #entryAt(real: string): Entry | undefined {
    return this.#entries.find(({ reals }) => reals.includes(real))
  }
  #noteOf(kept: Kept, reals: readonly string[]): string | undefined {
    return this.#deps.database
      .prepare<[string, string | null], string>(
        'SELECT note FROM model_notes WHERE real IN (SELECT value FROM json_each(?)) OR sha256 = ?',
      )
      .pluck()
      .get(writeJson(reals), kept.sha256)
  }

  #readKept() {
    const rows = this.#deps.database.prepare<[], Row>('SELECT * FROM model_files').all()
    for (const row of rows) {
      const { beside, besideNames, ...facts } = parseJson(row.facts) as unknown as ModelFacts &
        Pick<Kept, 'beside' | 'besideNames'>
      this.#kept.set(row.real, {
        real: row.real,
        device: row.device,
        inode: row.inode,
        sizeBytes: row.size_bytes,
        modifiedNs: row.modified_ns,
        facts,
        beside,
        besideNames,
        places: parseJson(row.places) as unknown as ModelPlace[],
        sha256: row.sha256,
      })
    }
  }
  #write(
    { real, device, inode, sizeBytes, modifiedNs, facts, beside, besideNames, places, sha256 }: Kept,
    now: number,
  ) {
    this.#deps.database
      .prepare(
        `INSERT OR REPLACE INTO model_files (real, device, inode, size_bytes, modified_ns, facts, places, sha256, seen_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      )
      .run(
        real,
        device,
        inode,
        sizeBytes,
        modifiedNs,
        writeJson({ ...facts, beside, besideNames }),
        writeJson(places),
        sha256,
        now,
      )
  }
  #keep(one: Kept) {
    this.#kept.set(one.real, one)
    this.#write(one, this.#deps.clock.now())
  }

  /** Everything that is shown, from what is kept. */
  #rebuild() {
    const { database, library } = this.#deps
    const trusted = new Set(database.prepare<[], string>('SELECT sha256 FROM model_trusted').pluck().all())
    const notes = database
      .prepare<[], { real: string; sha256: string | null }>('SELECT real, sha256 FROM model_notes')
      .all()
    const noted = new Set(notes.flatMap(({ real, sha256 }) => (sha256 ? [real, sha256] : [real])))
    const uses = this.#uses.totals()
    const workflows = new Map<string, number>()
    for (const { files } of library.modelNames())
      for (const file of new Set(files)) workflows.set(file, (workflows.get(file) ?? 0) + 1)

    const entries: Entry[] = []
    for (const same of Map.groupBy(this.#kept.values(), keyOf).values()) {
      const all = same.filter(({ places }) => places.length > 0).toSorted((a, b) => (a.real < b.real ? -1 : 1))
      if (all.length > 0) entries.push(this.#toEntry(all, { trusted, noted, uses, workflows }))
    }
    this.#byHash = Map.groupBy(
      entries.filter(({ model }) => model.sha256 !== null),
      ({ model }) => model.sha256!,
    )
    for (const some of this.#byHash.values())
      if (some.length > 1) for (const { model } of some) model.flags.push('duplicate')
    this.#entries = entries
    this.#sorted.clear()
    this.#byId = new Map(entries.map((entry) => [entry.model.id, entry]))
    this.#byBase = new Map()
    for (const entry of entries)
      for (const base of new Set(entry.model.places.map(({ name }) => baseOf(name)))) {
        const some = this.#byBase.get(base) ?? []
        some.push(entry)
        this.#byBase.set(base, some)
      }
    this.#merges.forget()
    this.events.emit('changed')
  }

  #toEntry(
    all: readonly Kept[],
    known: {
      trusted: ReadonlySet<string>
      noted: ReadonlySet<string>
      uses: ReadonlyMap<string, { artifacts: number; at: number }>
      workflows: ReadonlyMap<string, number>
    },
  ): Entry {
    const kept = all[0]!
    const { facts, real, sizeBytes, modifiedNs } = kept
    const beside = all.find((one) => one.beside)?.beside ?? null
    const places = all
      .flatMap((one) => one.places)
      .map((at) => (at.folder === '' ? { ...at, folder: (facts.kind && folderOfKind[facts.kind]) ?? '' } : at))
    const at = places[0]!
    const sha256 = all.find((one) => one.sha256 !== null)?.sha256 ?? null
    const kind = facts.kind ?? kindOfFolder(at.folder)
    const said = beside?.base ? baseOfCivitai(beside.base) : null
    const finer = facts.base === 'SDXL' && said !== null && said !== 'SDXL'
    const bases = new Set(places.map(({ name }) => baseOf(name)))
    if (kind === 'embedding') for (const base of [...bases]) bases.add(base.replace(/\.[^.]+$/, ''))
    const used = [...bases].flatMap((base) => known.uses.get(base) ?? [])
    const flags: ModelFlag[] = []
    if (facts.faults.some(({ code }) => DAMAGED.includes(code))) flags.push('damaged')
    const isTrusted = sha256 !== null && known.trusted.has(sha256)
    if (facts.pickle === 'unsafe') flags.push(isTrusted ? 'trusted' : 'unsafe')
    if (facts.pickle === 'unknown') flags.push(isTrusted ? 'trusted' : 'unknown-code')
    const model: Model = {
      id: hashOf(real).slice(0, 16),
      name: at.name,
      folder: at.folder,
      places,
      sizeBytes,
      modifiedAt: Math.round(Number(BigInt(modifiedNs) / 1_000_000n)),
      format: facts.format,
      kind,
      base: finer ? said : (facts.base ?? said),
      precision: facts.precision,
      parameters: facts.parameters,
      sha256,
      flags,
      hasPreview: beside?.picture != null || facts.hasThumbnail,
      hasNote: all.some((one) => known.noted.has(one.real)) || (sha256 !== null && known.noted.has(sha256)),
      usedBy: {
        workflows: [...bases].reduce((sum, base) => sum + (known.workflows.get(base) ?? 0), 0),
        artifacts: used.reduce((sum, { artifacts }) => sum + artifacts, 0),
      },
      lastUsedAt: used.length > 0 ? Math.max(...used.map((use) => use.at)) : null,
    }
    if (misplaced(model, facts.kind) !== null) model.flags.push('wrong-folder')
    const words = [
      ...places.map(({ name, folder }) => `${folder}/${name}`),
      model.base,
      model.kind,
      model.precision,
      sha256,
      beside?.title,
      ...(beside?.triggerWords ?? []),
      ...facts.triggerWords.slice(0, 10),
    ]
    return { model, kept, reals: all.map((one) => one.real), words: words.filter(Boolean).join('\n').toLowerCase() }
  }

  async #job(
    what: ModelProgress['what'],
    files: number,
    bytes: number,
    work: (signal: AbortSignal, news: ModelNews) => Promise<void>,
  ): Promise<void> {
    const stopping = new AbortController()
    const progress: ModelProgress = {
      ...{ what, file: '', doneFiles: 0, files, doneBytes: 0, bytes },
      ...{ bytesPerSecond: null, etaSeconds: null, paused: false },
    }
    const job: Job = { progress, stopping, startedAt: this.#deps.clock.now(), done: Promise.resolve() }
    const change = (changes: Partial<ModelProgress>) => {
      const next = { ...job.progress, ...changes }
      const seconds = (this.#deps.clock.now() - job.startedAt) / 1000
      const rate = seconds > 0.5 && next.doneBytes > 0 ? next.doneBytes / seconds : null
      job.progress = {
        ...next,
        bytesPerSecond: rate,
        etaSeconds: rate === null ? null : Math.max(0, next.bytes - next.doneBytes) / rate,
      }
      this.#tell()
    }
    const news: ModelNews = {
      of: (count, size) => change({ files: count, bytes: size }),
      at: (file) => change({ file }),
      bytes: (more) => change({ doneBytes: job.progress.doneBytes + more }),
      done: (size) => change({ doneFiles: job.progress.doneFiles + 1, doneBytes: job.progress.doneBytes + size }),
    }
    job.done = work(stopping.signal, news).finally(() => {
      this.#jobs.delete(what)
      this.#rebuild()
      this.#tell(true)
    })
    this.#jobs.set(what, job)
    this.#tell(true)
    await job.done
  }
  #tell(now = false) {
    const at = performance.now()
    if (!now && at - this.#toldAt < STEP_MS) return
    this.#toldAt = at
    this.events.emit('progress')
  }
}

/** `likely`: only those of which there may be a copy, going by their size. */
export interface HashWish {
  readonly ids?: readonly string[]
  readonly likely?: boolean
}
const DAMAGED = ['model.damaged', 'model.truncated', 'model.too-long', 'model.empty', 'model.not-a-model']
const hashOf = (text: string) => createHash('sha256').update(text).digest('hex')
/** Previews load theirs by themselves; no workflow ever names one. */
const isUnused = ({ usedBy, kind }: Model) => usedBy.workflows === 0 && usedBy.artifacts === 0 && kind !== 'vae-approx'
const isUnsafe = (flags: readonly ModelFlag[]) => flags.includes('unsafe') || flags.includes('unknown-code')

const names = new Intl.Collator('en', { numeric: true, sensitivity: 'base' })
const byName = (a: Entry, b: Entry) => names.compare(a.model.name, b.model.name)
const orders: Record<ModelFilter['sort'], (a: Entry, b: Entry) => number> = {
  name: byName,
  newest: (a, b) => b.model.modifiedAt - a.model.modifiedAt || byName(a, b),
  largest: (a, b) => b.model.sizeBytes - a.model.sizeBytes || byName(a, b),
  'last-used': (a, b) => (b.model.lastUsedAt ?? 0) - (a.model.lastUsedAt ?? 0) || byName(a, b),
}

/** Where it belongs, if no loader finds it in any of its places. */
function misplaced({ places }: Model, kind: ModelKind | null): string | null {
  const wrong = places.map(({ folder }) => belongsIn(folder, kind))
  return wrong.every((folder) => folder !== null) ? (wrong[0] ?? null) : null
}

async function atOnce<T>(items: readonly T[], limit: number, act: (item: T) => Promise<void>): Promise<void> {
  const waiting = items.values()
  await Promise.all(
    Array.from({ length: limit }, async () => {
      for (const item of waiting) await act(item)
    }),
  )
}
