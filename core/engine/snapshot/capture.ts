import { mkdir, readFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import path from 'node:path'
import type { LayerName, Manifest, ModelNeeded, SecretFound } from '../../contract/snapshot.ts'
import { hashFile } from '../hash-file.ts'
import type { CommandOptions } from '../install/command.ts'
import { readExtraPaths, valuesOf } from '../models/folders.ts'
import { askPython, checkoutOf, nodesIn } from './environment.ts'
import { Keeper, type KeepNews, type Kept } from './keep.ts'
import { isWithin, placesNamed } from './places.ts'
import { findSecrets, SECRET_FILES } from './secrets.ts'
import type { ObjectStore } from './store.ts'
import { treeBytes } from './tree.ts'

export interface EnvironmentHere {
  /** Where main.py is. */
  readonly dir: string
  readonly python: string
  /** Where models and user are. */
  readonly base: string
  readonly nodesDir: string
}
export interface CaptureFacts {
  readonly name: string
  readonly creator: string
  readonly now: () => number
  readonly flags: readonly string[]
  readonly models: readonly ModelNeeded[]
  readonly nodeClasses: readonly string[] | null
  readonly derivedFrom?: string
}
export interface CaptureOptions {
  readonly threads: number
  readonly command: CommandOptions
  readonly signal?: AbortSignal
  readonly onNews?: (news: KeepNews & { layer: LayerName }) => void
}
export interface Captured {
  /** Not written yet: what is in `secrets` may have to be consented to first. */
  readonly manifest: Manifest
  readonly secrets: SecretFound[]
  /** What is not in it, and why. */
  readonly left: { readonly path: string; readonly what: string }[]
  readonly newBytes: number
  readonly newObjects: number
}

const CACHES = [
  /(?:^|\/)__pycache__\/$/,
  /\.py[co]$/,
  /(?:^|\/)\.git\/?$/,
  /(?:^|\/)\.(?:pytest_cache|mypy_cache|ruff_cache|cache|DS_Store)\/?$/,
]
/** They say what a person did, and are written to all the time. */
const LOGS = /\.log(?:\.\d+)?$/
const NOT_COMFYUI =
  /^(?:models|input|output|temp|user|custom_nodes|venv|\.venv|env|python_embeded|tests?|tests-unit|\.github|\.ci)\/$/
const NOT_NODES = [
  /^[^/]+\.disabled\/?$/,
  /^\.[^/]*\/?$/,
  /(?:^|\/)(?:\.?venv|node_modules)\/$/,
  /\.(?:part|tmp)(?:-\d+)?\/?$/,
  LOGS,
]
/** Where models lie is said anew on each machine. */
const PATHS_FILE = /^extra_model_paths\.yaml$/
/** What `python -m venv` makes. */
const OF_EVERY_VENV = /^(?:python|pythonw|pypy)[\d.]*(?:t?\.exe)?$|^activate|^deactivate|^Activate\.ps1$/
/** Layers an installer wrote. */
const INSTALLED = new Set<LayerName>(['packages', 'programs'])
/** Everything of a person but how the editor is set. */
const SETTINGS = /^(?!$)(?!default\/$|default\/[^/]+\.json$)/
const ORIGIN = /(?:^|\/)direct_url\.json$/
const MODEL = /\.(?:safetensors|sft|gguf|ckpt|pt|pth|bin|onnx|engine|msgpack|h5|tflite|pkl)$/i
/** Weights that lie among code are models from this size on: they go by their hash. */
const MODEL_FROM_BYTES = 10 << 20

/**
 * Takes an environment into the store, and tells what it is. Nothing of it is changed, and until its manifest is written
 * none of it counts.
 * @throws AppError 'snapshot.*'; the reason of an aborted signal
 */
export async function capture(
  store: ObjectStore,
  here: EnvironmentHere,
  facts: CaptureFacts,
  options: CaptureOptions,
): Promise<Captured> {
  const { threads, command, signal, onNews } = options
  const { nodesDir } = here
  const python = await askPython(here.python, command)
  const comfyui = await checkoutOf(here.dir, command)
  const nodes = await nodesIn(nodesDir, command)
  const roots: { name: LayerName; root: string; except: readonly RegExp[] }[] = [
    { name: 'comfyui', root: here.dir, except: [...CACHES, LOGS, NOT_COMFYUI, PATHS_FILE] },
    { name: 'nodes', root: nodesDir, except: [...CACHES, ...NOT_NODES] },
    // byte-code comes along: without it every start of an instance compiles for many seconds
    { name: 'packages', root: python.packagesDir, except: [] },
    ...(python.programsDir ? [{ name: 'programs', root: python.programsDir, except: [OF_EVERY_VENV] } as const] : []),
    { name: 'settings', root: path.join(here.base, 'user'), except: [SETTINGS] },
  ]
  const known = [...roots.map(({ name, root }) => ({ at: name, was: root })), { at: 'venv', was: python.prefix }]
  const { named, sources, around } = await placesNamed(python.packagesDir, known)
  const keeper = await Keeper.open(store, threads)
  const layers: Manifest['layers'] = []
  const secrets: SecretFound[] = []
  const inside = [...roots.map(({ root }) => root), ...sources]
  const elsewhere = python.elsewhere.filter(({ dir }) => !inside.some((root) => isWithin(dir, root)))
  const left: Captured['left'] = [
    ...elsewhere.map(({ name, dir }) => ({ path: name, what: `it is a package of another Python, in ${dir}` })),
    ...around.map((dir) => ({ path: dir, what: 'a package is edited in a folder around it' })),
  ]
  const models = [...facts.models]
  const take = async (name: LayerName, at: string, root: string, except: readonly RegExp[]) => {
    await mkdir(root, { recursive: true }) // a new ComfyUI has no custom nodes yet
    const isModel = (file: { path: string; size: number }) => file.size >= MODEL_FROM_BYTES && MODEL.test(file.path)
    const kept = await keeper.keep(root, {
      except,
      without: (file) => !INSTALLED.has(name) && (SECRET_FILES.test(file.path) || isModel(file)),
      signal,
      onNews: (news) => onNews?.({ ...news, layer: name }),
    })
    for (const file of kept.without) {
      if (SECRET_FILES.test(file.path)) {
        left.push({ path: `${at}/${file.path}`, what: 'files of this name hold secrets' })
        continue
      }
      const sha256 = await hashFile(path.join(root, file.path), signal)
      models.push({ folder: folderFor(at), name: file.path, size: file.size, sha256 })
    }
    // packages come from an index, and hold examples of keys by the hundred; but from where, a person may have typed
    const typed = INSTALLED.has(name) ? kept.paths.filter((file) => ORIGIN.test(file.path)) : kept.paths
    const found = await findSecrets(root, typed)
    secrets.push(...found.map((each) => ({ ...each, path: `${at}/${each.path}` })))
    left.push(...kept.left.map((each) => ({ ...each, path: `${at}/${each.path}` })))
    return kept
  }
  try {
    for (const { name, root, except } of roots) {
      const { tree, files, bytes } = await take(name, name, root, except)
      layers.push({ name, tree, files, bytes })
    }
    if (sources.length > 0) {
      const all: Kept[] = []
      for (const [n, root] of sources.entries())
        all.push(await take('sources', `sources/${n}`, root, [...CACHES, ...NOT_NODES]))
      const entries = all.map(({ tree }, n) => ({ is: 'folder', name: String(n), tree }) as const)
      const sum = (key: 'files' | 'bytes') => all.reduce((total, kept) => total + kept[key], 0)
      layers.push({
        name: 'sources',
        tree: keeper.keepBytes(treeBytes(entries)),
        files: sum('files'),
        bytes: sum('bytes'),
      })
    }
  } catch (cause) {
    await keeper.abandon()
    throw cause
  }
  const { bytes } = await keeper.finish()
  const places = [...named, ...sources.map((was, n) => ({ at: `sources/${n}`, was }))]
  const folders = await extraFolders(here.dir, facts.flags, command.env)
  if (folders.includes('custom_nodes'))
    left.push({ path: 'extra_model_paths.yaml', what: 'it names folders of custom nodes besides the one that is kept' })
  const torch = python.packages.find(({ name }) => name.toLowerCase() === 'torch')
  const said = await readFile(path.join(here.dir, 'comfyui_version.py'), 'utf8').catch(() => '')
  return {
    secrets,
    left,
    newBytes: bytes,
    newObjects: keeper.newObjects,
    manifest: {
      schema: 'env-snapshot/1',
      name: facts.name,
      createdAt: new Date(facts.now()).toISOString(),
      creator: facts.creator,
      platform: { os: process.platform, arch: process.arch, libc: python.libc },
      python: { version: python.version, implementation: python.implementation, abi: python.abi },
      torch: torch ? { version: torch.version, cuda: python.cuda } : null,
      comfyui: { ...comfyui, version: /__version__\s*=\s*["']([^"']+)/.exec(said)?.[1] ?? null },
      nodes,
      packages: python.packages,
      layers,
      models: models.toSorted((a, b) => (`${a.folder}/${a.name}` < `${b.folder}/${b.name}` ? -1 : 1)),
      launch: { flags: flagsThatTravel(facts.flags) },
      nodeClasses: facts.nodeClasses && [...facts.nodeClasses].toSorted(),
      ...(folders.length > 0 && { modelFolders: folders }),
      ...(places.length > 0 && { places }),
      ...(facts.derivedFrom !== undefined && { derivedFrom: facts.derivedFrom }),
    },
  }
}

/** What a model among code has for its folder: where it is put back, from the environment's base or its ComfyUI. */
const folderFor = (at: string) => (at === 'nodes' ? 'custom_nodes' : at)

/** The kinds of models that an extra_model_paths.yaml names. */
async function extraFolders(dir: string, flags: readonly string[], env: NodeJS.ProcessEnv): Promise<string[]> {
  const given = valuesOf(flags, '--extra-model-paths-config').map((file) => path.resolve(dir, file))
  const files = [path.join(dir, 'extra_model_paths.yaml'), ...given]
  const read = await Promise.all(files.map((file) => readExtraPaths(file, { home: homedir(), env })))
  return [...new Set(read.flatMap(({ folders }) => folders.map(({ folder }) => folder)))].toSorted()
}

const OF_THIS_MACHINE =
  /^--(?:(?:base|output|input|temp|user|models)-directory|extra-model-paths-config|database-url|front-end-root|cuda-device|default-device|listen|port|tls-\w+)$/
/** Without those that say where things are here, or which card is whose. Pure. */
export function flagsThatTravel(flags: readonly string[]): string[] {
  let stays = false
  return flags.filter((flag) => {
    if (flag.startsWith('--')) stays = OF_THIS_MACHINE.test(flag.split('=', 1)[0]!)
    return !stays
  })
}
