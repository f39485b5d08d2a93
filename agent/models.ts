import { link, mkdir, readdir, readFile, rename, rm, stat, symlink } from 'node:fs/promises'
import path from 'node:path'
import { z } from 'zod'
import { AppError } from '../core/contract/errors.ts'
import { tryJson, writeJson } from '../core/contract/json.ts'
import type { ModelNeeded } from '../core/contract/snapshot.ts'
import { hashFile } from '../core/engine/hash-file.ts'
import { type Depot, modelKey } from '../core/engine/snapshot/depot.ts'
import { modelFile, type RestoredEnvironment } from '../core/engine/snapshot/restore-environment.ts'
import { writeWhole } from '../core/engine/write-whole.ts'

export interface ModelPlaces {
  /** Folders of this machine with models under any name. */
  readonly dirs: readonly string[]
  readonly depot: Depot
  /** Where the depot is a folder that environments may link to. */
  readonly depotDir: string | null
  /** Where those are kept that had to be fetched, by hash, and which hash the files in `dirs` have. */
  readonly cacheDir: string
}
interface Options {
  readonly signal: AbortSignal
  readonly onNews: (news: { bytes: number; totalBytes: number }) => void
}

/** Of a file: as long as these are the same, so is its hash. */
const Hashes = z.record(z.string(), z.object({ mark: z.string(), sha256: z.string() }))
type Hashes = z.infer<typeof Hashes>

/**
 * Gives an environment its models: each is linked under its name to the file of its content, which all environments share.
 * @throws AppError 'release.no-models' that names each that is nowhere
 */
export async function linkModels(
  needed: readonly ModelNeeded[],
  environment: RestoredEnvironment,
  places: ModelPlaces,
  { signal, onNews }: Options,
) {
  const here = await Here.open(places)
  const there = await places.depot.models(signal)
  const news = { bytes: 0, totalBytes: needed.reduce((sum, { size }) => sum + size, 0) }
  const missing: ModelNeeded[] = []
  const found: { model: ModelNeeded; file: string | null }[] = []
  for (const model of needed) {
    const file = await here.find(model, signal)
    if (file === null && there.get(model.sha256) !== model.size) missing.push(model)
    else found.push({ model, file })
  }
  if (missing.length > 0) throw new AppError('release.no-models', { models: named(missing), count: missing.length })
  for (const { model, file } of found) {
    const from = file ?? (await here.fetch(model, signal, (bytes) => onNews({ ...news, bytes: news.bytes + bytes })))
    await linkTo(from, modelFile(environment, model))
    news.bytes += model.size
    onNews(news)
  }
}

const named = (models: readonly ModelNeeded[]) =>
  models.map(({ folder, name, size }) => `${folder}/${name} (${(size / 2 ** 20).toFixed(0)} MiB)`).join(', ')

async function linkTo(file: string, to: string) {
  await mkdir(path.dirname(to), { recursive: true })
  const part = `${to}.part-${process.pid}`
  await rm(part, { force: true })
  await symlink(file, part).catch(() => link(file, part)) // Windows makes symbolic links for few
  await rename(part, to)
}

/** What lies on this machine, by content. */
class Here {
  readonly #places: ModelPlaces
  readonly #bySize = new Map<number, string[]>()
  #hashes: Hashes = {}

  private constructor(places: ModelPlaces) {
    this.#places = places
  }

  static async open(places: ModelPlaces): Promise<Here> {
    const here = new Here(places)
    for (const dir of places.dirs)
      for (const entry of await readdir(dir, { recursive: true, withFileTypes: true })) {
        if (entry.isDirectory()) continue
        const file = path.join(entry.parentPath, entry.name)
        const found = await stat(file).catch(() => null)
        if (found?.isFile()) here.#bySize.set(found.size, [...(here.#bySize.get(found.size) ?? []), file])
      }
    const text = await readFile(here.#hashesFile, 'utf8').catch(() => '{}')
    const read = Hashes.safeParse(tryJson(text))
    if (read.success) here.#hashes = read.data
    return here
  }

  /** Those of its size are hashed, once; null: none is it. */
  async find({ sha256, size, name }: ModelNeeded, signal: AbortSignal): Promise<string | null> {
    const { depotDir } = this.#places
    const whole = [this.#fetched(sha256), ...(depotDir === null ? [] : [path.join(depotDir, modelKey(sha256))])]
    for (const file of whole) if ((await stat(file).catch(() => null))?.size === size) return file
    const like = (file: string) => Number(path.basename(file) !== path.basename(name))
    for (const file of (this.#bySize.get(size) ?? []).toSorted((a, b) => like(a) - like(b)))
      if ((await this.#hashOf(file, signal)) === sha256) return file
    return null
  }

  /** From the store into the cache. */
  async fetch({ sha256, size }: ModelNeeded, signal: AbortSignal, onBytes: (bytes: number) => void): Promise<string> {
    const { depot } = this.#places
    const to = this.#fetched(sha256)
    await mkdir(path.dirname(to), { recursive: true })
    const part = `${to}.part`
    let bytes = 0
    const count = (some: number) => {
      bytes += some
      onBytes(bytes)
    }
    await depot.getModel(sha256, part, { signal, onBytes: count, onThere: count })
    if ((await stat(part)).size !== size || (await hashFile(part, signal)) !== sha256) {
      await rm(part, { force: true })
      throw new AppError('snapshot.damaged', { reason: `model ${sha256.slice(0, 12)} of ${depot.where}` })
    }
    await rename(part, to)
    return to
  }

  async #hashOf(file: string, signal: AbortSignal): Promise<string> {
    const { dev, ino, size, mtimeMs, ctimeMs } = await stat(file)
    const mark = [dev, ino, size, mtimeMs, ctimeMs].join(' ')
    const known = this.#hashes[file]
    if (known?.mark === mark) return known.sha256
    const sha256 = await hashFile(file, signal)
    this.#hashes[file] = { mark, sha256 }
    await mkdir(this.#places.cacheDir, { recursive: true })
    await writeWhole(this.#hashesFile, writeJson(this.#hashes))
    return sha256
  }

  get #hashesFile() {
    return path.join(this.#places.cacheDir, 'hashes.json')
  }
  #fetched(sha256: string) {
    return path.join(this.#places.cacheDir, sha256.slice(0, 2), sha256)
  }
}
