import { access, readdir, readFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import nodePath from 'node:path'
import type { EngineKind, FoundInstall } from '../contract/engine.ts'
import { AppError } from '../contract/errors.ts'
import { parseJson } from '../contract/json.ts'

/** What looking for programs needs of a machine. */
export interface Look {
  readonly platform: NodeJS.Platform
  readonly home: string
  readonly env: NodeJS.ProcessEnv
  exists(path: string): Promise<boolean>
  /** Names in a folder; none where there is no such folder. */
  list(dir: string): Promise<string[]>
  /** null: not there. */
  read(file: string): Promise<string | null>
}

export const thisMachine = (env: NodeJS.ProcessEnv): Look => ({
  platform: process.platform,
  home: homedir(),
  env,
  exists: (path) =>
    access(path).then(
      () => true,
      () => false,
    ),
  list: (dir) => readdir(dir).catch(() => []),
  read: (file) => readFile(file, 'utf8').catch(() => null),
})

/** Of a folder that is none itself but is called after it: each of its folders may be one. */
const MOST_INSIDE = 40

const pathOf = ({ platform }: Look) => (platform === 'win32' ? nodePath.win32 : nodePath.posix)

/**
 * The ComfyUI a person means by a folder: the one with main.py, a portable build's, the base folder of the desktop app.
 * @throws AppError 'engine.not-found' | 'engine.no-python'
 */
export async function readInstall(
  given: string,
  look: Look,
  python?: string,
): Promise<FoundInstall & { python: string }> {
  const found = await findIn(given, look)
  if (!found) throw new AppError('engine.not-found', { dir: given })
  const chosen = python ?? found.python
  if (chosen === null || !(await look.exists(chosen))) throw new AppError('engine.no-python', { dir: found.dir })
  return { ...found, python: chosen }
}

/** null: there is none in this folder. */
async function findIn(given: string, look: Look): Promise<FoundInstall | null> {
  const path = pathOf(look)
  for (const inside of [
    '.',
    'ComfyUI',
    path.join('resources', 'ComfyUI'),
    path.join('Contents', 'Resources', 'ComfyUI'),
  ]) {
    const dir = path.join(given, inside)
    if (!(await isComfy(dir, look))) continue
    const { kind, python, baseDir } = await pythonFor(dir, look)
    return { kind, dir, python, baseDir, version: await versionOf(dir, look) }
  }
  return findDesktop(given, look)
}

/** The folder the desktop app keeps models and its Python in; the program itself lies elsewhere. */
async function findDesktop(baseDir: string, look: Look): Promise<FoundInstall | null> {
  const path = pathOf(look)
  const python = await firstThere(pythonsIn(path.join(baseDir, '.venv'), look), look)
  if (python === null || !(await look.exists(path.join(baseDir, 'custom_nodes')))) return null
  const dir = await firstThere(
    desktopApps(look).map((app) => path.join(app, 'main.py')),
    look,
  )
  if (dir === null) return null
  const program = path.dirname(dir)
  return { kind: 'desktop', dir: program, python, baseDir, version: await versionOf(program, look) }
}

/** Where the desktop app's ComfyUI lies. */
function desktopApps(look: Look): string[] {
  const path = pathOf(look)
  if (look.platform === 'darwin') return ['/Applications/ComfyUI.app/Contents/Resources/ComfyUI']
  const local = look.env.LOCALAPPDATA ?? path.join(look.home, 'AppData', 'Local')
  if (look.platform === 'win32')
    return ['@comfyorgcomfyui-electron', 'comfyui-electron', 'ComfyUI'].map((name) =>
      path.join(local, 'Programs', name, 'resources', 'ComfyUI'),
    )
  return ['/opt/ComfyUI/resources/ComfyUI']
}

const isComfy = async (dir: string, look: Look) => {
  const path = pathOf(look)
  const there = await Promise.all(['main.py', 'nodes.py', 'comfy'].map((name) => look.exists(path.join(dir, name))))
  return there.every(Boolean)
}

const pythonsIn = (environment: string, look: Look) =>
  look.platform === 'win32'
    ? [pathOf(look).join(environment, 'Scripts', 'python.exe')]
    : ['bin/python', 'bin/python3'].map((name) => pathOf(look).join(environment, name))

/** Pythons that come with a ComfyUI, beside it or in it: the official build (sic), and packs that others put together. */
const EMBEDDED = [
  ['python_embeded', 'python.exe'],
  ['python_embeded', 'bin', 'python3'],
  ['python_embedded', 'python.exe'],
  ['python', 'python.exe'],
  ['python_standalone', 'python.exe'],
]

async function pythonFor(
  dir: string,
  look: Look,
): Promise<{ kind: EngineKind; python: string | null; baseDir: string | null }> {
  const path = pathOf(look)
  const parent = path.dirname(dir)
  const embedded = await firstThere(
    [parent, dir].flatMap((at) => EMBEDDED.map((names) => path.join(at, ...names))),
    look,
  )
  if (embedded !== null) return { kind: 'portable', python: embedded, baseDir: null }
  const environments = [dir, parent].flatMap((at) => ['venv', '.venv', 'env'].map((name) => path.join(at, name)))
  const python = await firstThere(
    environments.flatMap((environment) => pythonsIn(environment, look)),
    look,
  )
  const matrix =
    path.basename(parent).toLowerCase() === 'packages' &&
    /stability ?matrix|^data$/i.test(path.basename(path.dirname(parent)))
  return { kind: matrix ? 'stability-matrix' : 'manual', python, baseDir: null }
}

async function firstThere(paths: readonly string[], look: Look): Promise<string | null> {
  for (const path of paths) if (await look.exists(path)) return path
  return null
}

async function versionOf(dir: string, look: Look): Promise<string | null> {
  const path = pathOf(look)
  const said = await look.read(path.join(dir, 'comfyui_version.py'))
  const project = said ?? (await look.read(path.join(dir, 'pyproject.toml')))
  return /^(?:__version__|version)\s*=\s*["']([^"']+)/m.exec(project ?? '')?.[1] ?? null
}

/** Folders with ComfyUIs where people and installers put them; a few looks, no search of the disk. */
export async function findInstalls(look: Look): Promise<FoundInstall[]> {
  const path = pathOf(look)
  const { home, env, platform } = look
  const folders = [
    home,
    ...['Documents', 'Desktop', 'Downloads', 'AI', 'ai', 'git', 'src', 'projects'].map((name) => path.join(home, name)),
  ]
  if (platform === 'win32')
    folders.push(...['C', 'D', 'E', 'F', 'G'].flatMap((drive) => [`${drive}:\\`, `${drive}:\\AI`]))
  else folders.push('/opt', '/workspace', '/srv', '/data', '/mnt')
  const appData = env.APPDATA ?? path.join(home, 'AppData', 'Roaming')
  const matrix =
    platform === 'win32'
      ? [
          path.join(appData, 'StabilityMatrix', 'Packages'),
          ...['C', 'D', 'E'].map((drive) => `${drive}:\\StabilityMatrix\\Data\\Packages`),
        ]
      : [
          path.join(home, '.config', 'StabilityMatrix', 'Packages'),
          path.join(home, 'StabilityMatrix', 'Data', 'Packages'),
          path.join(home, 'Library', 'Application Support', 'StabilityMatrix', 'Packages'),
        ]
  const config =
    platform === 'darwin'
      ? path.join(home, 'Library', 'Application Support', 'ComfyUI')
      : platform === 'win32'
        ? path.join(appData, 'ComfyUI')
        : path.join(home, '.config', 'ComfyUI')

  const candidates = new Set<string>()
  const desktop = basePathIn(await look.read(path.join(config, 'config.json')))
  if (desktop !== null) candidates.add(desktop)
  for (const folder of [...folders, ...matrix])
    for (const name of await look.list(folder)) if (/comfy/i.test(name)) candidates.add(path.join(folder, name))
  const found = new Map<string, FoundInstall>()
  for (const candidate of candidates) {
    const inside = async () => {
      const names = (await look.list(candidate)).slice(0, MOST_INSIDE)
      return Promise.all(names.map((name) => findIn(path.join(candidate, name), look)))
    }
    const direct = await findIn(candidate, look)
    for (const install of direct ? [direct] : await inside())
      if (install && !found.has(install.dir)) found.set(install.dir, install)
  }
  return [...found.values()]
}

function basePathIn(config: string | null): string | null {
  try {
    const read = config === null ? null : (parseJson(config) as { basePath?: unknown } | null)
    return typeof read?.basePath === 'string' ? read.basePath : null
  } catch {
    return null
  }
}
