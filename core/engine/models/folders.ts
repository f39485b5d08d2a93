import { readdir, readFile, stat } from 'node:fs/promises'
import path from 'node:path'
import { parseDocument } from 'yaml'
import { AppError, type Failure, toFailure } from '../../contract/errors.ts'
import { isJsonObject, type JsonObject } from '../../contract/json.ts'
import type { ModelFolder, ModelRoot } from '../../contract/model.ts'

/** A ComfyUI, as far as it decides where models are looked for. */
export interface ComfyPlace {
  readonly engine: string | null
  readonly kind: 'portable' | 'desktop' | 'manual' | 'stability-matrix' | 'installed'
  /** Where main.py is. */
  readonly dir: string
  readonly baseDir: string | null
  readonly flags: readonly string[]
}
export interface Root extends Omit<ModelRoot, 'id'> {
  /** Folders whose kind is told by the names of the folders in them, or by the files themselves. */
  readonly mixed: readonly string[]
}
export interface FolderFault {
  readonly path: string
  readonly failure: Failure
}
export interface Surroundings {
  readonly home: string
  readonly platform: NodeJS.Platform
  readonly env: NodeJS.ProcessEnv
}

/** ComfyUI's own kinds with their folders under models/, in the order they are looked through (folder_paths.py). */
const own: Readonly<Record<string, readonly string[]>> = {
  checkpoints: ['checkpoints'],
  diffusion_models: ['diffusion_models', 'unet'],
  text_encoders: ['text_encoders', 'clip'],
  vae: ['vae'],
  loras: ['loras'],
  controlnet: ['controlnet', 't2i_adapter'],
  clip_vision: ['clip_vision'],
  style_models: ['style_models'],
  upscale_models: ['upscale_models'],
  latent_upscale_models: ['latent_upscale_models'],
  embeddings: ['embeddings'],
  hypernetworks: ['hypernetworks'],
  gligen: ['gligen'],
  photomaker: ['photomaker'],
  vae_approx: ['vae_approx'],
  model_patches: ['model_patches'],
  audio_encoders: ['audio_encoders'],
  diffusers: ['diffusers'],
  classifiers: ['classifiers'],
  background_removal: ['background_removal'],
  frame_interpolation: ['frame_interpolation'],
  geometry_estimation: ['geometry_estimation'],
  optical_flow: ['optical_flow'],
  detection: ['detection'],
}
/** What it saved itself is found again. */
const SAVED = ['checkpoints', 'clip', 'vae', 'diffusion_models', 'loras']
/** One that was written by hand has some lines. */
const LONGEST_LIST = 1024 * 1024
const NOT_MODELS = ['configs', 'custom_nodes', 'datasets', 'fonts']

/** How other programs call their folders (Stability Matrix, A1111 and Forge, InvokeAI, SwarmUI), lower case, bare. */
const aliases: Readonly<Record<string, string>> = {
  unet: 'diffusion_models',
  clip: 'text_encoders',
  t2iadapter: 'controlnet',
  stablediffusion: 'checkpoints',
  checkpoint: 'checkpoints',
  svd: 'checkpoints',
  lora: 'loras',
  lycoris: 'loras',
  approxvae: 'vae_approx',
  vaeapprox: 'vae_approx',
  textencoder: 'text_encoders',
  textencoders: 'text_encoders',
  clipvision: 'clip_vision',
  diffusionmodels: 'diffusion_models',
  controlnets: 'controlnet',
  controlnetpreprocessor: 'controlnet_aux',
  textualinversion: 'embeddings',
  embedding: 'embeddings',
  hypernetwork: 'hypernetworks',
  esrgan: 'upscale_models',
  realesrgan: 'upscale_models',
  swinir: 'upscale_models',
  bsrgan: 'upscale_models',
  scunet: 'upscale_models',
  dat: 'upscale_models',
  ldsr: 'upscale_models',
  upscalemodels: 'upscale_models',
  ipadapter: 'ipadapter',
  ipadapters: 'ipadapter',
  ipadapters15: 'ipadapter',
  ipadaptersxl: 'ipadapter',
  gfpgan: 'facerestore_models',
  codeformer: 'facerestore_models',
  adetailer: 'ultralytics',
  stylemodels: 'style_models',
  animatediff: 'animatediff_models',
  motionmodule: 'animatediff_models',
}
const bare = (name: string) => name.toLowerCase().replace(/[-_ .]/g, '')
const ownByBareName = new Map(Object.keys(own).map((folder) => [bare(folder), folder]))
/** ComfyUI's name for a folder another program made; null: it says nothing. */
export const folderByName = (name: string): string | null =>
  ownByBareName.get(bare(name)) ?? (Object.hasOwn(aliases, bare(name)) ? aliases[bare(name)]! : null)
/** As ComfyUI names it, also where a workflow says it the old way. */
export const canonicalFolder = (folder: string) =>
  folder === 'unet' ? 'diffusion_models' : folder === 'clip' ? 'text_encoders' : folder

/** Where one ComfyUI looks, with its extra_model_paths.yaml. */
export async function rootOfComfy(
  place: ComfyPlace,
  around: Surroundings,
): Promise<{ root: Root; faults: FolderFault[] }> {
  const { engine, kind, dir, flags } = place
  const lastOf = (flag: string) => valuesOf(flags, flag).at(-1)
  const base = path.resolve(dir, lastOf('--base-directory') ?? place.baseDir ?? dir)
  const models = path.resolve(dir, lastOf('--models-directory') ?? path.join(base, 'models'))
  const output = path.resolve(dir, lastOf('--output-directory') ?? path.join(base, 'output'))
  const folders: ModelFolder[] = []
  const faults: FolderFault[] = []
  const add = (folder: string, at: string, isDefault: boolean) => {
    if (!folders.some((known) => known.folder === folder && known.dir === at))
      folders.push({ folder, dir: at, isDefault })
  }
  for (const [folder, names] of Object.entries(own))
    for (const [at, name] of names.entries()) add(folder, path.join(models, name), at === 0)
  const ours = new Set(Object.values(own).flat())
  for (const name of await foldersIn(models, faults))
    if (!ours.has(name) && !NOT_MODELS.includes(name) && !name.startsWith('.')) add(name, path.join(models, name), true)
  for (const name of SAVED) add(canonicalFolder(name), path.join(output, name), false)

  const lists = [
    path.join(dir, 'extra_model_paths.yaml'),
    ...valuesOf(flags, '--extra-model-paths-config').map((file) => path.resolve(dir, file)),
    ...(kind === 'desktop' ? [path.join(desktopConfig(around), 'extra_models_config.yaml')] : []),
  ]
  for (const list of lists) {
    const read = await readExtraPaths(list, around)
    if (read.fault) faults.push({ path: list, failure: read.fault })
    for (const { folder, dir: at, isDefault } of read.folders) {
      if (NOT_MODELS.includes(folder)) continue
      if (isDefault) for (const known of folders) if (known.folder === folder) known.isDefault = false
      add(folder, at, isDefault)
      const known = folders.find((each) => each.folder === folder && each.dir === at)
      if (known && isDefault) known.isDefault = true
    }
  }
  return { root: { kind: engine === null ? 'comfyui' : 'engine', engine, dir, folders, mixed: [] }, faults }
}

/** All values of a flag that may be given several times, each with several. */
export function valuesOf(flags: readonly string[], flag: string): string[] {
  const values: string[] = []
  for (let at = 0; at < flags.length; at++) {
    if (flags[at]!.startsWith(`${flag}=`)) values.push(flags[at]!.slice(flag.length + 1))
    if (flags[at] !== flag) continue
    while (at + 1 < flags.length && !flags[at + 1]!.startsWith('--')) values.push(flags[++at]!)
  }
  return values
}

function desktopConfig({ home, platform, env }: Surroundings): string {
  if (platform === 'win32') return path.join(env.APPDATA ?? path.join(home, 'AppData', 'Roaming'), 'ComfyUI')
  if (platform === 'darwin') return path.join(home, 'Library', 'Application Support', 'ComfyUI')
  return path.join(home, '.config', 'ComfyUI')
}

async function foldersIn(dir: string, faults: FolderFault[]): Promise<string[]> {
  try {
    const entries = await readdir(dir, { withFileTypes: true })
    return entries.filter((entry) => entry.isDirectory() || entry.isSymbolicLink()).map(({ name }) => name)
  } catch (cause) {
    if (!isAbsent(cause)) faults.push({ path: dir, failure: unreadable(dir, cause) })
    return []
  }
}

export const isAbsent = (cause: unknown) => ['ENOENT', 'ENOTDIR'].includes((cause as NodeJS.ErrnoException).code ?? '')
export const unreadable = (dir: string, cause: unknown): Failure =>
  toFailure(new AppError('model.folder-unreadable', { dir, reason: (cause as Error).message }, { cause }))

/**
 * A list of more folders: groups of kind → path or paths, relative to `base_path`, which is relative to the list. One that
 * ComfyUI would stumble over is a fault; what can be read of it is.
 */
export async function readExtraPaths(
  file: string,
  { home, env }: Pick<Surroundings, 'home' | 'env'>,
): Promise<{ folders: ModelFolder[]; fault: Failure | null }> {
  const fault = (reason: string) => toFailure(new AppError('model.list-unreadable', { file, reason }))
  let bytes: Buffer
  try {
    if ((await stat(file)).size > LONGEST_LIST) return { folders: [], fault: fault('it is too long') }
    bytes = await readFile(file)
  } catch (cause) {
    return { folders: [], fault: isAbsent(cause) ? null : unreadable(file, cause) }
  }
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    return { folders: [], fault: fault('it is no UTF-8 text; save it as UTF-8') }
  }
  const folders: ModelFolder[] = []
  const expand = (given: string) =>
    given
      .replace(/^~(?=$|[\\/])/, () => home)
      .replace(/\$(\w+)|\$\{(\w+)\}|%(\w+)%/g, (whole, a, b, c) => env[a ?? b ?? c] ?? whole)
  const { groups, wrong: broken } = readGroups(text)
  let wrong = broken
  for (const [name, group] of Object.entries(groups)) {
    if (group === null) continue
    if (!isJsonObject(group)) {
      wrong ??= `${name} is no group`
      continue
    }
    const { base_path, is_default, ...lists } = group
    if (base_path !== undefined && typeof base_path !== 'string') {
      wrong ??= `${name}.base_path is no path`
      continue // where its folders are is not known
    }
    const from = base_path === undefined ? path.dirname(file) : path.resolve(path.dirname(file), expand(base_path))
    for (const [kind, list] of Object.entries(lists)) {
      if (typeof list !== 'string') {
        wrong ??= `${name}.${kind} is no path`
        continue
      }
      if (kind === 'download_model_base') continue
      for (const line of list.split('\n'))
        if (line.trim() !== '')
          folders.push({
            folder: canonicalFolder(kind),
            dir: path.resolve(from, line.trim()),
            isDefault: Boolean(is_default) && !/^(?:no|off)$/i.test(String(is_default)), // YAML 1.1 has these for false
          })
    }
  }
  return { folders, fault: wrong === null ? null : fault(wrong) }
}

/** As PyYAML reads it: of two groups of one name the last counts. */
function readGroups(text: string): { groups: JsonObject; wrong: string | null } {
  const read = parseDocument(text, { merge: true, uniqueKeys: false, logLevel: 'error' })
  const [error] = read.errors
  const tab = text.split('\n').findIndex((line) => /^ *\t\s*[^\s#]/.test(line))
  const at = error?.linePos?.[0].line
  let wrong = error ? error.message.split('\n', 1)[0]!.replace(/:$/, '') : null
  if (tab >= 0 && (at === undefined || tab + 1 <= at)) wrong = `a tab begins line ${tab + 1}; use spaces`
  try {
    const groups: unknown = read.toJS({ maxAliasCount: 100 })
    if (isJsonObject(groups)) return { groups, wrong }
    return { groups: {}, wrong: wrong ?? 'it holds no groups' }
  } catch (cause) {
    return { groups: {}, wrong: wrong ?? (cause as Error).message }
  }
}

/** The models Stability Matrix keeps for all its packages; null: this ComfyUI is none of them. */
export function matrixModels({ kind, dir }: Pick<ComfyPlace, 'kind' | 'dir'>): string | null {
  if (kind !== 'stability-matrix') return null
  return path.join(dir, '..', '..', 'Models')
}

/**
 * A folder of another program, or one the person added: the folders in it whose names say a kind; all else in it is of
 * the kind its files are.
 */
export async function rootOfFolder(dir: string, kind: Root['kind']): Promise<{ root: Root; faults: FolderFault[] }> {
  const faults: FolderFault[] = []
  const folders: ModelFolder[] = []
  const self = folderByName(path.basename(dir))
  const names = await foldersIn(dir, faults)
  const isPlainly = (at: string, name: string) => {
    const folder = folderByName(name)
    if (folder !== null) folders.push({ folder, dir: path.join(at, name), isDefault: false })
  }
  if (self !== null && bare(path.basename(dir)) !== 'models') {
    return { root: { kind, engine: null, dir, folders: [{ folder: self, dir, isDefault: true }], mixed: [] }, faults }
  }
  for (const name of names) {
    if (bare(name) === 'models')
      for (const inner of await foldersIn(path.join(dir, name), faults)) isPlainly(path.join(dir, name), inner)
    isPlainly(dir, name)
  }
  const first = new Set<string>()
  for (const folder of folders) {
    folder.isDefault = !first.has(folder.folder)
    first.add(folder.folder)
  }
  const looksA1111 = folders.some((folder) => /stable-diffusion$/i.test(folder.dir))
  return {
    root: { kind: looksA1111 && kind === 'added' ? 'a1111' : kind, engine: null, dir, folders, mixed: [dir] },
    faults,
  }
}
