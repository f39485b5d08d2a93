import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { realpath, stat } from 'node:fs/promises'
import path from 'node:path'
import type { EngineView } from '../../core/contract/engine.ts'
import { AppError } from '../../core/contract/errors.ts'
import type { ModelPlace } from '../../core/contract/model.ts'
import { findInstalls, type Look } from '../../core/engine/installs.ts'
import { foldersOf } from '../../core/engine/model-paths.ts'
import {
  canonicalFolder,
  type FolderFault,
  matrixModels,
  type Root,
  rootOfComfy,
  rootOfFolder,
} from '../../core/engine/models/folders.ts'
import type { Clock } from './clock.ts'
import type { Database } from './database/open.ts'
import type { LocalEngine } from './local-engine.ts'

interface Deps {
  readonly database: Database
  readonly clock: Clock
  readonly localEngine: Pick<LocalEngine, 'list'>
  readonly look: Look
}

/** Where models lie: the folders of each ComfyUI and of other programs of this machine, and those the person added. */
export class ModelRoots {
  readonly #deps: Deps
  #all: (Root & { id: string })[] = []

  constructor(deps: Deps) {
    this.#deps = deps
  }

  get all(): readonly (Root & { id: string })[] {
    return this.#all
  }
  idsOf(engine: string | undefined): ReadonlySet<string> {
    return new Set(this.#all.filter((root) => root.engine === engine).map(({ id }) => id))
  }

  /** Where a new model of ComfyUI's `folder` goes; `engine` null: the first there is. null: nobody looks for that. */
  folderFor(engine: string | null, folder: string): string | null {
    const wanted = canonicalFolder(folder)
    const mine = this.#all.filter((root) => (engine === null ? true : root.engine === engine))
    const rank = ({ engine: name, kind }: Root) => (name !== null ? 0 : kind === 'added' ? 1 : 2)
    const sorted = mine.toSorted((a, b) => rank(a) - rank(b))
    for (const root of sorted) {
      const found = root.folders.filter((each) => each.folder === wanted)
      const best = found.find(({ isDefault }) => isDefault) ?? found[0]
      if (best) return best.dir
    }
    // a kind of a custom node's, of which there is nothing yet
    const own = sorted[0]?.folders.find((each) => each.folder === 'checkpoints' && each.isDefault)
    return own && /^[\w-]+$/.test(wanted) ? path.join(path.dirname(own.dir), wanted) : null
  }

  /** Another folder of the same ComfyUI; in what the person added, beside those it has. */
  beside(id: string, folder: string): string | null {
    const root = this.#all.find((each) => each.id === id)
    const found = this.folderFor(root?.engine ?? null, folder)
    if (found !== null || !root) return found
    return root.folders.find((each) => each.folder === folder)?.dir ?? path.join(root.dir, folder)
  }

  /** The names by which loaders know a path. */
  placesOf(file: string): ModelPlace[] {
    return this.#all.flatMap((root) =>
      [...root.folders, ...root.mixed.map((dir) => ({ folder: '', dir }))].flatMap(({ folder, dir }) => {
        const name = path.relative(dir, file)
        if (name === '' || name.startsWith('..') || path.isAbsolute(name)) return []
        return [{ root: root.id, folder, name: name.split(path.sep).join('/'), path: file, linked: false }]
      }),
    )
  }

  /** @throws AppError 'model.folder-unreadable' */
  async add(dir: string): Promise<void> {
    const real = await realpath(dir).catch((cause: unknown) => {
      throw new AppError('model.folder-unreadable', { dir, reason: (cause as Error).message }, { cause })
    })
    if (!(await stat(real)).isDirectory())
      throw new AppError('model.folder-unreadable', { dir, reason: 'it is no folder' })
    this.#deps.database
      .prepare('INSERT OR IGNORE INTO model_roots VALUES (?, ?)')
      .run(path.resolve(dir), this.#deps.clock.now())
  }
  remove(id: string): number {
    const root = this.#all.find((each) => each.id === id)
    return this.#deps.database.prepare('DELETE FROM model_roots WHERE dir = ?').run(root?.dir ?? '').changes
  }

  /** Looks for them anew. Gives what could not be read. */
  async find(): Promise<FolderFault[]> {
    const { localEngine, database, look } = this.#deps
    const around = { home: look.home, platform: look.platform, env: look.env }
    const faults: FolderFault[] = []
    const roots: Root[] = []
    const add = ({ root, faults: more }: { root: Root; faults: FolderFault[] }) => {
      roots.push(root)
      faults.push(...more)
    }
    const comfys = new Map<
      string,
      {
        name: string | null
        kind: EngineView['kind']
        dir: string
        baseDir: string | null
        flags: string[]
        others: readonly string[]
      }
    >()
    for (const { name, kind, dir, settings } of localEngine.list())
      comfys.set(`${dir}\n${settings.baseDir ?? ''}`, {
        name,
        kind,
        dir,
        baseDir: settings.baseDir,
        flags: [...settings.flags, ...settings.cards.flatMap((card) => card.flags)],
        others: settings.modelsOf,
      })
    for (const { kind, dir, baseDir } of await findInstalls(look))
      if (![...comfys.values()].some((one) => one.dir === dir))
        comfys.set(`${dir}\n${baseDir ?? ''}`, { name: null, kind, dir, baseDir, flags: [], others: [] })
    const matrix = new Set<string>()
    for (const { name, others, ...comfy } of comfys.values()) {
      const read = await rootOfComfy({ engine: name, ...comfy }, around)
      for (const dir of others)
        for (const folder of await foldersOf(dir, around)) read.root.folders.push({ ...folder, isDefault: false })
      add(read)
      const shared = matrixModels(comfy)
      if (shared !== null && existsSync(shared)) matrix.add(shared)
    }
    for (const dir of matrix) add(await rootOfFolder(dir, 'stability-matrix'))
    const added = database.prepare<[], string>('SELECT dir FROM model_roots ORDER BY added_at, dir').pluck().all()
    for (const dir of added) add(await rootOfFolder(dir, 'added'))
    this.#all = roots.map((root) => ({
      ...root,
      id: hashOf(root.engine === null ? `${root.kind}\n${root.dir}` : `engine\n${root.engine}`).slice(0, 12),
    }))
    return faults
  }
}

const hashOf = (text: string) => createHash('sha256').update(text).digest('hex')
