import { mkdir, readFile } from 'node:fs/promises'
import path from 'node:path'
import type { LayerName, Manifest, ModelNeeded, SecretFound } from '../../contract/snapshot.ts'
import { hashFile } from '../hash-file.ts'
import type { CommandOptions } from '../install/command.ts'
import { askPython, checkoutOf, nodesIn } from './environment.ts'
import { Keeper, type KeepNews } from './keep.ts'
import { findSecrets, SECRET_FILES } from './secrets.ts'
import type { ObjectStore } from './store.ts'

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
const NOT_COMFYUI =
  /^(?:models|input|output|temp|user|custom_nodes|venv|\.venv|env|python_embeded|tests?|tests-unit|\.github|\.ci)\/$/
const NOT_NODES = [
  /^[^/]+\.disabled\/?$/,
  /^\.[^/]*\/?$/,
  /(?:^|\/)(?:\.?venv|node_modules)\/$/,
  /\.(?:part|tmp)(?:-\d+)?\/?$/,
  /\.log$/,
]
/** Everything of a person but how the editor is set. */
const SETTINGS = /^(?!$)(?!default\/$|default\/[^/]+\.json$)/
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
  const roots: { name: LayerName; root: string; except: RegExp[] }[] = [
    { name: 'comfyui', root: here.dir, except: [...CACHES, SECRET_FILES, NOT_COMFYUI] },
    { name: 'nodes', root: nodesDir, except: [...CACHES, SECRET_FILES, ...NOT_NODES] },
    // byte-code comes along: without it every start of an instance compiles for many seconds
    { name: 'packages', root: python.packagesDir, except: [] },
    { name: 'settings', root: path.join(here.base, 'user'), except: [SETTINGS, SECRET_FILES] },
  ]
  const keeper = await Keeper.open(store, threads)
  const layers: Manifest['layers'] = []
  const secrets: SecretFound[] = []
  const left: Captured['left'] = []
  const models = [...facts.models]
  try {
    for (const { name, root, except } of roots) {
      await mkdir(root, { recursive: true }) // a new ComfyUI has no custom nodes yet
      const isModel = (file: { path: string; size: number }) =>
        name !== 'packages' && file.size >= MODEL_FROM_BYTES && MODEL.test(file.path)
      const kept = await keeper.keep(root, {
        except,
        without: isModel,
        signal,
        onNews: (news) => onNews?.({ ...news, layer: name }),
      })
      for (const file of kept.without) {
        const sha256 = await hashFile(path.join(root, file.path), signal)
        models.push({ folder: name === 'nodes' ? 'custom_nodes' : name, name: file.path, size: file.size, sha256 })
      }
      // packages come from an index, and hold examples of keys by the hundred
      if (name !== 'packages') {
        const found = await findSecrets(root, kept.paths)
        secrets.push(...found.map((each) => ({ ...each, path: `${name}/${each.path}` })))
      }
      left.push(...kept.left.map((each) => ({ ...each, path: `${name}/${each.path}` })))
      layers.push({ name, tree: kept.tree, files: kept.files, bytes: kept.bytes })
    }
  } catch (cause) {
    await keeper.abandon()
    throw cause
  }
  const { bytes } = await keeper.finish()
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
      launch: { flags: [...facts.flags] },
      nodeClasses: facts.nodeClasses && [...facts.nodeClasses].toSorted(),
    },
  }
}
