import { lstat, readdir, rename, rm } from 'node:fs/promises'
import path from 'node:path'
import { AppError, toFailure } from '../../core/contract/errors.ts'
import { parseJson, writeJson } from '../../core/contract/json.ts'
import type { LeftModel, TrashedModel } from '../../core/contract/model.ts'
import { bareModelName, isModelFile } from '../../core/contract/model-file.ts'
import { patiently, place, syncFolder } from '../../core/engine/download/disk.ts'
import type { Clock } from './clock.ts'
import type { Database } from './database/open.ts'
import type { Models } from './models.ts'
import type { Service } from './service.ts'

interface Deps {
  readonly database: Database
  readonly clock: Clock
  readonly newId: () => string
  readonly models: Pick<Models, 'filesOf' | 'gone' | 'scan'>
}
interface Row {
  seq: number
  trash_id: string
  at: number
  name: string
  folder: string
  path: string
  lies: string
  beside: string
  size_bytes: number
  freed_bytes: number
}

/**
 * Models put aside: they stay on their disk, in their folder, under a name that no loader takes for a model, until they
 * are put back or thrown away.
 */
export class ModelTrash implements Service {
  readonly #deps: Deps
  constructor(deps: Deps) {
    this.#deps = deps
  }

  /** What somebody put back or threw away by hand is no longer there; of a disk that is away nobody knows. */
  async start() {
    for (const row of this.#rows())
      if (!(await isThere(row.lies)) && (await isThere(path.dirname(row.lies)))) this.#forget(row)
  }
  async stop() {}

  list(): TrashedModel[] {
    return [...Map.groupBy(this.#rows(), (row) => row.trash_id)].map(([id, rows]) => {
      const { name, folder, at } = rows[0]!
      const sum = (pick: (row: Row) => number) => rows.reduce((all, row) => all + pick(row), 0)
      const [sizeBytes, freedBytes] = [sum((row) => row.size_bytes), sum((row) => row.freed_bytes)]
      return { id, name, folder, at, sizeBytes, freedBytes, paths: rows.map((row) => row.path) }
    })
  }

  /** Puts models aside, with every name they have; those that could not be are told. */
  async put(ids: readonly string[]): Promise<{ rows: TrashedModel[]; left: LeftModel[] }> {
    const { database, clock, models, newId } = this.#deps
    const insert = database.prepare(
      `INSERT INTO model_trash (trash_id, at, name, folder, path, lies, beside, size_bytes, freed_bytes)
       VALUES (:id, :at, :name, :folder, :path, :lies, :beside, :size, :freed)`,
    )
    const put: string[] = []
    const left: LeftModel[] = []
    for (const modelId of ids) {
      const id = newId()
      const { model, files } = await models.filesOf(modelId)
      const { name, folder, sizeBytes } = model
      const links = await lstat(files[0]!.path).then(
        ({ nlink }) => nlink,
        () => 1,
      )
      const freed = links > files.filter(({ isLink }) => !isLink).length ? 0 : sizeBytes
      const done: Row[] = []
      try {
        for (const [at, { path: from, beside }] of files.entries()) {
          const lies = await freeName(`${from}.nightshift-trash`)
          const [size, frees] = at === 0 ? [sizeBytes, freed] : [0, 0]
          const facts = { id, at: clock.now(), name, folder, path: from, lies, beside: writeJson([...beside]) }
          insert.run({ ...facts, size, freed: frees })
          await patiently(() => rename(from, lies))
          await syncFolder(lies)
          done.push(this.#rows(id).at(-1)!)
        }
        put.push(id)
        models.gone(files.map((file) => file.path))
      } catch (cause) {
        // all its names, or none
        for (const row of done.toReversed()) await rename(row.lies, row.path).catch(() => {})
        for (const row of this.#rows(id)) if (!(await isThere(row.lies))) this.#forget(row)
        left.push({ name, failure: toFailure(refusalOf(cause, name, files[0]!.path)) })
      }
    }
    return { rows: this.list().filter(({ id }) => put.includes(id)), left }
  }

  /** As they were. What has one of their names by now stays. */
  async restore(ids: readonly string[]): Promise<{ changed: number; left: LeftModel[] }> {
    const left: LeftModel[] = []
    let changed = 0
    for (const id of ids) {
      const rows = this.#rows(id)
      const [first] = rows
      if (!first) throw new AppError('app.not-found', { what: id })
      try {
        const taken = (await Promise.all(rows.map(async (row) => (await isThere(row.path)) && row))).find((row) => row)
        if (taken) throw new AppError('model.taken', { name: first.name, dir: path.dirname(taken.path) })
        for (const row of rows) {
          await place(row.lies, row.path)
          this.#forget(row)
        }
        changed += 1
      } catch (cause) {
        left.push({ name: first.name, failure: toFailure(refusalOf(cause, first.name, first.path)) })
      }
    }
    if (changed > 0) await this.#deps.models.scan()
    return { changed, left }
  }

  /** For good, with the pictures and notes beside them; null: all. */
  async empty(ids: readonly string[] | null): Promise<{ changed: number; freedBytes: number; left: LeftModel[] }> {
    const left: LeftModel[] = []
    let changed = 0
    let freedBytes = 0
    for (const id of ids ?? this.list().map((one) => one.id)) {
      const rows = this.#rows(id)
      const [first] = rows
      if (!first) throw new AppError('app.not-found', { what: id })
      try {
        for (const row of rows) {
          await patiently(() => rm(row.lies, { force: true }))
          await removeBeside(row)
          this.#forget(row)
          freedBytes += row.freed_bytes
        }
        changed += 1
      } catch (cause) {
        left.push({ name: first.name, failure: toFailure(refusalOf(cause, first.name, first.path)) })
      }
    }
    return { changed, freedBytes, left }
  }

  #rows(id?: string): Row[] {
    return this.#deps.database
      .prepare<[string | null], Row>(
        'SELECT * FROM model_trash WHERE trash_id = ifnull(?, trash_id) ORDER BY at DESC, seq',
      )
      .all(id ?? null)
  }
  #forget({ seq }: Row) {
    this.#deps.database.prepare('DELETE FROM model_trash WHERE seq = ?').run(seq)
  }
}

const isThere = (file: string) =>
  lstat(file).then(
    () => true,
    () => false,
  )

async function freeName(wanted: string): Promise<string> {
  for (let n = 1; ; n++) {
    const name = n === 1 ? wanted : `${wanted}-${n}`
    if (!(await isThere(name))) return name
  }
}

/** Unless another model of the same name is there, whose they are as well. */
async function removeBeside(row: Row) {
  const names = parseJson(row.beside) as string[]
  if (names.length === 0) return
  const dir = path.dirname(row.path)
  const stem = bareModelName(path.basename(row.path))
  const others = await readdir(dir)
  if (others.some((name) => isModelFile(name) && bareModelName(name) === stem)) return
  for (const name of names) await rm(path.join(dir, name), { force: true })
}

function refusalOf(cause: unknown, name: string, file: string): unknown {
  const { code } = cause as NodeJS.ErrnoException
  if (code === 'EBUSY' || (code === 'EPERM' && process.platform === 'win32'))
    return new AppError('model.in-use', { name }, { cause })
  if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS')
    return new AppError('disk.denied', { dir: path.dirname(file) }, { cause })
  return code === 'ENOENT' ? new AppError('input.missing', { name }, { cause }) : cause
}
