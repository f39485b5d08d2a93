import { existsSync } from 'node:fs'
import path from 'node:path'
import { AppError } from '../../core/contract/errors.ts'
import type { DuplicateGroup, Duplicates, MergeResult, Model } from '../../core/contract/model.ts'
import {
  type GroupPlan,
  type MergedFile,
  merge,
  mergesIn,
  type Outcome,
  planMerge,
  recoverMerge,
  undoMerge,
} from '../../core/engine/models/duplicates.ts'
import { freeBytes } from '../../core/engine/volume.ts'
import type { Clock } from './clock.ts'
import type { Database } from './database/open.ts'

/** How work over many files goes. */
export interface ModelNews {
  of(files: number, bytes: number): void
  at(file: string): void
  bytes(more: number): void
  done(sizeBytes: number): void
}
interface Copy {
  readonly model: Model
  /** Each name it has without links on the way. */
  readonly reals: readonly string[]
}
interface Deps {
  readonly database: Database
  readonly clock: Clock
  readonly newId: () => string
  readonly copies: () => ReadonlyMap<string, readonly Copy[]>
  readonly models: () => readonly Copy[]
  readonly isBusy: () => boolean
  readonly job: (
    what: 'merge' | 'undo',
    files: number,
    bytes: number,
    work: (signal: AbortSignal, news: ModelNews) => Promise<void>,
  ) => Promise<void>
  /** These are other files from now on, of the same bytes. */
  readonly remark: (paths: readonly string[]) => Promise<void>
}
type MergeRow = {
  seq: number
  merge_id: string
  at: number
  path: string
  keep: string
  sha256: string
  size_bytes: number
  how: MergedFile['how']
  inode: string
  modified_ns: string
  mode: number
  freed_bytes: number
  state: 'merging' | 'merged' | 'undoing' | 'undone' | 'left'
}

const toMiB = (bytes: number) => Math.ceil(bytes / 2 ** 20)
const wins = ({ volumes }: DuplicateGroup) => volumes.reduce((sum, { freedBytes }) => sum + freedBytes, 0)

/** Models that are there twice, and those made to share their bytes, until that is undone. */
export class ModelMerges {
  readonly #deps: Deps
  #duplicates: Promise<GroupPlan[]> | null = null

  constructor(deps: Deps) {
    this.#deps = deps
  }

  /** The models or what is known of them changed. */
  forget() {
    this.#duplicates = null
  }

  async duplicates({ offset = 0, limit = 50 }: { offset?: number; limit?: number } = {}): Promise<Duplicates> {
    const plans = await this.#plans()
    const freed = new Map<string, { bytes: number; files: number }>()
    for (const { volumes } of plans)
      for (const { mount, files, freedBytes } of volumes) {
        const before = freed.get(mount) ?? { bytes: 0, files: 0 }
        const merging = files.filter(({ will }) => will === 'merge').length
        if (merging > 0) freed.set(mount, { bytes: before.bytes + freedBytes, files: before.files + merging })
      }
    const sizes = Map.groupBy(this.#deps.models(), ({ model }) => model.sizeBytes)
    const unhashed = this.#deps
      .models()
      .filter(({ model }) => model.sha256 === null && sizes.get(model.sizeBytes)!.length > 1).length
    const groups = plans
      .map((plan) => this.#toGroup(plan))
      .toSorted((a, b) => wins(b) - wins(a) || (a.name < b.name ? -1 : 1))
    return {
      groups: groups.slice(offset, offset + limit),
      total: groups.length,
      freed: [...freed].map(([mount, sums]) => ({ mount, ...sums })),
      merges: this.#merges(),
      unhashed,
    }
  }
  #plans(): Promise<GroupPlan[]> {
    this.#duplicates ??= planMerge(
      [...this.#deps.copies()]
        .map(([sha256, entries]) => ({ sha256, paths: entries.flatMap(({ reals }) => reals) }))
        .filter(({ paths }) => paths.length > 1),
    )
    this.#duplicates.catch(() => {
      this.#duplicates = null
    })
    return this.#duplicates
  }
  #toGroup({ sha256, volumes }: GroupPlan): DuplicateGroup {
    const { model } = this.#deps.copies().get(sha256)![0]!
    return {
      sha256,
      sizeBytes: model.sizeBytes,
      name: model.name,
      kind: model.kind,
      volumes: volumes.map(({ mount, how, files, freedBytes }) => ({
        mount,
        how,
        freedBytes,
        files: files.map(({ path: file, will, because }) => ({ path: file, will, because })),
      })),
    }
  }
  #merges(): Duplicates['merges'] {
    return this.#deps.database
      .prepare<[], { merge_id: string; at: number; files: number; freed: number; open: number }>(
        `SELECT merge_id, min(at) AS at, count(*) AS files, sum(freed_bytes) AS freed, sum(state <> 'undone') AS open
         FROM model_merges WHERE state <> 'left' GROUP BY merge_id ORDER BY at DESC LIMIT 50`,
      )
      .all()
      .map(({ merge_id, at, files, freed, open }) => ({
        id: merge_id,
        at,
        files,
        freedBytes: freed,
        undone: open === 0,
      }))
  }

  /** Lets copies share their bytes: those of the hashes asked for, or all. */
  async merge(hashes: readonly string[] | null): Promise<MergeResult> {
    if (this.#deps.isBusy()) throw new AppError('model.busy')
    this.#duplicates = null
    const plans = (await this.#plans()).filter(({ sha256 }) => hashes === null || hashes.includes(sha256))
    const files = mergesIn(plans)
    const id = this.#deps.newId()
    const bytes = files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
    return this.#change('merge', id, files, bytes, (carrying) => merge(files, carrying))
  }

  /** Gives what was merged bytes of its own again. @throws AppError 'model.no-room' */
  async undo(id: string): Promise<MergeResult> {
    if (this.#deps.isBusy()) throw new AppError('model.busy')
    const rows = this.#deps.database
      .prepare<[string], MergeRow>(`SELECT * FROM model_merges WHERE merge_id = ? AND state = 'merged' ORDER BY seq`)
      .all(id)
    const files = rows.map(toMerged)
    const bytes = files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
    for (const [dir, some] of Map.groupBy(files, (file) => path.dirname(file.path))) {
      const need = some.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
      const free = (await freeBytes(dir)) ?? Number.POSITIVE_INFINITY
      if (free < need) throw new AppError('model.no-room', { dir, needMiB: toMiB(need), freeMiB: toMiB(free) })
    }
    return this.#change('undo', id, files, bytes, (carrying) => undoMerge(files, carrying))
  }

  async #change(
    what: 'merge' | 'undo',
    id: string,
    files: readonly MergedFile[],
    bytes: number,
    carryOut: (carrying: Parameters<typeof merge>[1]) => Promise<void>,
  ): Promise<MergeResult> {
    const { database, clock } = this.#deps
    const outcomes: { path: string; outcome: Outcome; freedBytes: number }[] = []
    if (files.length === 0) return { id, files: outcomes, freedBytes: 0 }
    const insert = database.prepare(
      `INSERT INTO model_merges
         (merge_id, at, path, keep, sha256, size_bytes, how, inode, modified_ns, mode, freed_bytes, state)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'merging')`,
    )
    const set = database.prepare('UPDATE model_merges SET state = ? WHERE merge_id = ? AND path = ?')
    await this.#deps
      .job(what, files.length, bytes, async (signal, news) => {
        await carryOut({
          signal,
          onBytes: (more) => news.bytes(more),
          planned: (file) => {
            const { keep, sha256, sizeBytes, how, inode, modifiedNs, mode, freedBytes } = file
            if (what === 'merge')
              insert.run(id, clock.now(), file.path, keep, sha256, sizeBytes, how, inode, modifiedNs, mode, freedBytes)
            else set.run('undoing', id, file.path)
          },
          settled: (file, outcome) => {
            const isDone = outcome === 'merged' || outcome === 'undone'
            // what was deleted is undone by nobody; what is on a disk that is away, once it is back
            const isOver = what === 'merge' || (outcome === 'gone' && existsSync(path.dirname(file.path)))
            set.run(isDone ? outcome : isOver ? 'left' : 'merged', id, file.path)
            outcomes.push({ path: file.path, outcome, freedBytes: outcome === 'merged' ? file.freedBytes : 0 })
            news.at(path.basename(file.path))
            news.done(0)
          },
        })
      })
      .finally(async () => {
        await this.recover() // one that was stopped halfway
        await this.#deps.remark(outcomes.map((one) => one.path))
      })
    return { id, files: outcomes, freedBytes: outcomes.reduce((sum, { freedBytes }) => sum + freedBytes, 0) }
  }

  /** What was cut off in the middle is finished or forgotten. */
  async recover() {
    const { database } = this.#deps
    const open = database
      .prepare<[], MergeRow>(`SELECT * FROM model_merges WHERE state IN ('merging', 'undoing')`)
      .all()
    const set = database.prepare('UPDATE model_merges SET state = ? WHERE seq = ?')
    for (const row of open) {
      const outcome = await recoverMerge(toMerged(row), row.state as 'merging' | 'undoing').catch(() => null)
      if (outcome === null) continue // its disk does not let us look
      set.run(outcome === 'merged' || outcome === 'undone' ? outcome : 'left', row.seq)
    }
  }
}

const toMerged = (row: MergeRow): MergedFile => ({
  path: row.path,
  keep: row.keep,
  sha256: row.sha256,
  sizeBytes: row.size_bytes,
  how: row.how,
  inode: row.inode,
  modifiedNs: row.modified_ns,
  mode: row.mode,
  freedBytes: row.freed_bytes,
})
