import { statSync } from 'node:fs'
import { mkdir, readdir, readFile, rename, rm, rmdir, stat } from 'node:fs/promises'
import path from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import { AppError } from '../../contract/errors.ts'
import type { Layer, LayerName, Manifest, ModelNeeded, SealedManifest } from '../../contract/snapshot.ts'
import { diskFailure, makeFolder } from '../download/disk.ts'
import { takeName } from '../download/lock.ts'
import { hashFile } from '../hash-file.ts'
import type { CommandOptions } from '../install/command.ts'
import { runCommand } from '../install/command.ts'
import { isThere, pythonOf, removeDir } from '../install/generations.ts'
import { sitePackages } from '../install/lock.ts'
import { writeModelPaths } from '../model-paths.ts'
import { writeWhole } from '../write-whole.ts'
import { askPython, type PythonFacts } from './environment.ts'
import { giveScriptPython, movePlaces, NAMES_PLACES, replaceText } from './places.ts'
import { layoutOf, type Restored, restoreTree } from './restore.ts'
import type { ObjectStore } from './store.ts'
import { setAside, verifyStore } from './upkeep.ts'

export interface RestoredEnvironment {
  /** Where main.py is. */
  readonly dir: string
  readonly python: string
  /** ComfyUI's `--base-directory`. */
  readonly base: string
}
export interface RestoreEnvironmentOptions {
  /** Of the same version as the snapshot's; what the environment is then run with. */
  readonly python: string
  readonly threads: number
  readonly command: CommandOptions
  readonly signal?: AbortSignal
  readonly onNews?: (news: { layer: LayerName; bytes: number; totalBytes: number }) => void
  /** Where layers are kept that the next snapshot may have too. */
  readonly layersDir?: string
}

const READY = 'READY'
const LAYERS = 'layers'
const ENVIRONMENTS = 'environments'
/** Large, the same in many snapshots, and written to by installers alone, which replace files: these may be one file. */
const SHARED = new Set<LayerName>(['packages'])
const STATS_AT_ONCE = 1000
/** A new layer is compared with so many of those that were there. */
const MOST_LIKE = 2

/**
 * An environment to run from, in a cache of this machine: restored once, then found. What it has in common with those
 * restored before is not unpacked again. `cacheDir` is for one machine, and many processes of it.
 * @throws AppError 'snapshot.*', 'disk.full'
 */
export async function prepareEnvironment(
  store: ObjectStore,
  sealed: SealedManifest,
  { cacheDir, ...options }: Omit<RestoreEnvironmentOptions, 'layersDir'> & { readonly cacheDir: string },
): Promise<RestoredEnvironment> {
  const environments = path.join(cacheDir, ENVIRONMENTS)
  const layersDir = path.join(cacheDir, LAYERS)
  for (const dir of [environments, layersDir]) await mkdir(dir, { recursive: true })
  const to = path.join(environments, sealed.id)
  const free = await takeName(path.join(cacheDir, 'prepare'), options.signal ?? NEVER, () => {})
  try {
    for (const dir of [environments, layersDir]) await removeParts(dir)
    if ((await isThere(to)) && !(await isWhole(store, sealed, to))) {
      await rename(to, `${to}.part`)
      await removeDir(`${to}.part`)
    }
    return await restoreEnvironment(store, sealed, to, { ...options, layersDir })
  } catch (cause) {
    // what a disk damaged is fetched anew by the next try
    const { threads, signal } = options
    if (cause instanceof AppError && cause.code === 'snapshot.damaged')
      await setAside(store, (await verifyStore(store, { threads, signal })).damaged)
    throw cause
  } finally {
    await free()
  }
}
const NEVER = new AbortController().signal

/** Removes from a cache what is of no snapshot in `keep`. */
export async function tidyCache(cacheDir: string, keep: readonly SealedManifest[]): Promise<void> {
  const kept = new Set(keep.flatMap(({ id, manifest }) => [id, ...manifest.layers.map(({ tree }) => tree)]))
  const free = await takeName(path.join(cacheDir, 'prepare'), NEVER, () => {})
  try {
    for (const dir of [ENVIRONMENTS, LAYERS].map((name) => path.join(cacheDir, name))) {
      for (const name of await readdir(dir).catch(() => []))
        if (!kept.has(name) && !name.endsWith('.part'))
          await rename(path.join(dir, name), path.join(dir, `${name}.part`))
      await removeParts(dir)
    }
  } finally {
    await free()
  }
}

/** What a killed run had begun. */
async function removeParts(dir: string) {
  for (const name of await readdir(dir).catch(() => []))
    if (name.endsWith('.part')) await removeDir(path.join(dir, name))
}

/** After a power cut a folder may have its name and files without their bytes; and a custom node may have changed packages. */
async function isWhole(store: ObjectStore, { id, manifest }: SealedManifest, dir: string): Promise<boolean> {
  if ((await readFile(path.join(dir, READY), 'utf8').catch(() => null)) !== id) return false
  if (!(await stat(pythonOf(dir)).catch(() => null))) return false // a link to a Python of the system, which may be gone
  const places = await placesIn(dir)
  for (const { name, tree } of manifest.layers) {
    if (name !== 'packages' && name !== 'comfyui') continue // what is written to by those who run
    for (const [n, { path: at, entry }] of layoutOf(store, tree).files.entries()) {
      if (name === 'packages' && NAMES_PLACES.test(at)) continue // says where things are now
      const found = statSync(path.join(places[name], at), { throwIfNoEntry: false })
      if (found?.size !== entry.size) return false
      if (n % STATS_AT_ONCE === 0) await turn() // others are served meanwhile
    }
  }
  return (await codeChanged(store, manifest, environmentIn(dir))).length === 0
}

/**
 * Python of ComfyUI and its custom nodes that is not what the snapshot has: what no commit says once it is unpacked. As
 * `custom_nodes/NAME/a.py`, with the commit it should be of.
 */
export async function codeChanged(
  store: ObjectStore,
  { layers, comfyui, nodes }: Manifest,
  { dir, base }: RestoredEnvironment,
): Promise<{ path: string; commit: string | null }[]> {
  const changed: { path: string; commit: string | null }[] = []
  for (const { name, tree } of layers) {
    if (name !== 'comfyui' && name !== 'nodes') continue
    for (const { path: at, entry } of layoutOf(store, tree).files) {
      if (entry.is !== 'file' || !at.endsWith('.py')) continue
      const file = name === 'comfyui' ? path.join(dir, at) : path.join(base, 'custom_nodes', at)
      if ((await hashFile(file).catch(() => null)) === entry.sha256) continue
      const of = name === 'comfyui' ? comfyui : nodes.find(({ folder }) => at.startsWith(`${folder}/`))
      changed.push({ path: name === 'comfyui' ? at : `custom_nodes/${at}`, commit: of?.commit ?? null })
    }
  }
  return changed
}

/**
 * Makes an environment in an empty place, exactly as it was taken: source, custom nodes, packages, settings. It stands
 * beside its name until all of it was checked, so a half one is never found.
 * @throws AppError 'snapshot.*', 'disk.full'
 */
export async function restoreEnvironment(
  store: ObjectStore,
  { id, manifest }: SealedManifest,
  to: string,
  options: RestoreEnvironmentOptions,
): Promise<RestoredEnvironment> {
  const { python, command, signal } = options
  const ready = await readFile(path.join(to, READY), 'utf8').catch(() => null)
  if (ready === id) return environmentIn(to)
  const isEmpty = (await readdir(to).catch(() => null))?.length === 0
  if (!isEmpty && (await isThere(to))) throw new AppError('snapshot.not-empty', { dir: to })
  refuseOutside(manifest)
  refuseOtherPlatform(manifest, await askPython(python, command))

  const part = `${to}.nightshift.part` // it is emptied, and beside it may be others' files
  const where = environmentIn(part)
  await makeFolder(path.dirname(to))
  const free = await takeName(to, signal ?? NEVER, () => {})
  try {
    await rm(part, { recursive: true, force: true })
    await makeFolder(where.base)
    await runCommand(python, ['-I', '-m', 'venv', '--without-pip', path.join(part, 'venv')], command)
    const places = await placesIn(part)
    await rm(places.packages, { recursive: true })
    await restoreLayers(store, manifest.layers, part, options)
    await settle(manifest, part, to)
    await writeWhole(path.join(part, READY), id)
    if (isEmpty) await rmdir(to)
    await rename(part, to)
  } catch (cause) {
    await removeDir(part)
    throw diskFailure(cause, path.dirname(to))
  } finally {
    await free()
  }
  return environmentIn(to)
}

/** Layers into an environment that is being made. */
export async function restoreLayers(
  store: ObjectStore,
  layers: readonly Layer[],
  part: string,
  options: Pick<RestoreEnvironmentOptions, 'threads' | 'signal' | 'onNews' | 'layersDir'>,
) {
  const { threads, signal, layersDir, onNews } = options
  const places = await placesIn(part)
  for (const layer of layers) {
    const tell = (news: { bytes: number; totalBytes: number }) => onNews?.({ ...news, layer: layer.name })
    const like = layersDir && SHARED.has(layer.name) ? [await layerIn(store, layersDir, layer, options, tell)] : []
    await restoreTree(store, layer.tree, places[layer.name], { threads, signal, like, onNews: tell })
  }
  for (const name of ['models', 'input', 'output', 'temp'])
    await mkdir(path.join(environmentIn(part).base, name), { recursive: true })
}

/** What was made in `part` and is to be `to` learns where it will be. */
export async function settle({ modelFolders = [], places = [] }: Manifest, part: string, to: string) {
  const now = await placesIn(part)
  const venv = path.join(part, 'venv')
  const programs = path.dirname(pythonOf(part))
  const made = (await readdir(programs))
    .filter((name) => /^activate/i.test(name))
    .map((name) => path.join(programs, name))
  for (const file of [path.join(venv, 'pyvenv.cfg'), ...made])
    await replaceText(file, (await readFile(file, 'utf8')).replaceAll(part, to))
  for (const name of await readdir(now.programs).catch(() => [])) {
    const file = path.join(programs, name)
    if (await isThere(file)) continue // venv has made its own
    await rename(path.join(now.programs, name), file)
    if (process.platform !== 'win32') await giveScriptPython(file, pythonOf(to))
  }
  await removeDir(now.programs)
  const at: Record<string, string> = { ...now, programs, venv }
  const moves = places.flatMap(({ at: name, was }) => {
    const [layer = '', ...rest] = name.split('/')
    const dir = Object.hasOwn(at, layer) ? path.join(at[layer]!, ...rest) : null
    return dir === null ? [] : [{ was, is: path.join(to, path.relative(part, dir)) }]
  })
  await movePlaces(now.packages, moves)
  const folders = modelFolders.filter((folder) => folder !== 'custom_nodes')
  const models = path.join(environmentIn(to).base, 'models')
  const lists = writeModelPaths(folders.map((folder) => ({ folder, dir: path.join(models, folder) })))
  if (lists) await writeWhole(path.join(now.comfyui, 'extra_model_paths.yaml'), lists)
}

/** A layer as it was taken, for others to share its files. */
async function layerIn(
  store: ObjectStore,
  layersDir: string,
  { tree }: Layer,
  { threads, signal }: Pick<RestoreEnvironmentOptions, 'threads' | 'signal'>,
  onNews: (news: { bytes: number; totalBytes: number }) => void,
): Promise<Restored> {
  const dir = path.join(layersDir, tree)
  if (!(await isThere(dir))) {
    const like = await othersIn(store, layersDir)
    await restoreTree(store, tree, dir, { threads, signal, readOnly: true, like, onNews })
  }
  return { dir, layout: layoutOf(store, tree) }
}

/** The newest first. */
async function othersIn(store: ObjectStore, layersDir: string): Promise<Restored[]> {
  const names = (await readdir(layersDir)).filter((name) => store.has(name))
  const dated = await Promise.all(
    names.map(async (name) => ({ name, at: (await stat(path.join(layersDir, name))).ctimeMs })),
  )
  const newest = dated.toSorted((a, b) => b.at - a.at).slice(0, MOST_LIKE)
  return newest.flatMap(({ name }) => {
    try {
      return [{ dir: path.join(layersDir, name), layout: layoutOf(store, name) }]
    } catch {
      return [] // a part of it was collected
    }
  })
}

/** Where a model of a snapshot belongs in its environment. Its name was checked when that was restored. */
export function modelFile({ dir, base }: RestoredEnvironment, { folder, name }: Pick<ModelNeeded, 'folder' | 'name'>) {
  // weights that lay among code, see capture
  if (folder === 'comfyui') return path.join(dir, name)
  if (folder === 'custom_nodes') return path.join(base, folder, name)
  if (folder === 'settings') return path.join(base, 'user', name)
  if (folder.startsWith('sources/')) return path.join(path.dirname(base), folder, name)
  return path.join(base, 'models', folder, name)
}

/** Models are put where a manifest says; it may come from anybody. */
function refuseOutside({ models, layers }: Manifest) {
  for (const [n, { name }] of layers.entries())
    if (layers.findIndex((layer) => layer.name === name) !== n)
      throw new AppError('snapshot.unsafe', { path: name, reason: 'it is there twice' })
  for (const { folder, name } of models) {
    const at = `${folder}/${name}`
    if (/[\\\0]|^[a-z]:/i.test(at) || at.split('/').some((each) => each === '' || each === '.' || each === '..'))
      throw new AppError('snapshot.unsafe', { path: at, reason: 'it is no place of a model' })
  }
}

function refuseOtherPlatform(manifest: Manifest, here: PythonFacts) {
  if (isOfThisSystem(manifest) && manifest.python.abi === here.abi) return
  const { platform, python } = manifest
  const named = (os: string, arch: string, libc: string | null, abi: string) =>
    [os, arch, libc, abi].filter((part) => part !== null).join(' ')
  throw new AppError('snapshot.other-platform', {
    its: named(platform.os, platform.arch, platform.libc, python.abi),
    mine: named(process.platform, process.arch, here.libc, here.abi),
  })
}

/** Whether it can be restored exactly with some Python here. */
export const isOfThisSystem = ({ platform: { os, arch, libc } }: Manifest): boolean =>
  os === process.platform && arch === process.arch && isGlibc(libc) === glibcHere
const isGlibc = (libc: string | null) => /^glibc/.test(libc ?? '')
/** Wheels are made for an old glibc, but none of them runs on musl. */
const glibcHere = 'glibcVersionRuntime' in (process.report.getReport() as { header: object }).header

export const environmentIn = (dir: string): RestoredEnvironment => ({
  dir: path.join(dir, 'ComfyUI'),
  python: pythonOf(dir),
  base: path.join(dir, 'base'),
})

export async function placesIn(dir: string): Promise<Record<LayerName, string>> {
  const { dir: comfyui, base } = environmentIn(dir)
  return {
    comfyui,
    nodes: path.join(base, 'custom_nodes'),
    packages: await sitePackages(dir),
    programs: path.join(dir, 'programs'), // until they are among those of the venv
    sources: path.join(dir, 'sources'),
    settings: path.join(base, 'user'),
  }
}
