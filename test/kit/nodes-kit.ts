import { execFileSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { EngineSettings, InstallChoices } from '../../core/contract/engine.ts'
import type { NodesSite, NodesTools } from '../../core/engine/custom-nodes/site.ts'
import { dispatcherFor } from '../../core/engine/download/fetch-file.ts'
import {
  currentInstall,
  generationDir,
  pythonOf,
  writeJournal,
  writePointer,
} from '../../core/engine/install/generations.ts'
import { writeLock } from '../../core/engine/install/lock.ts'
import { tempDir } from './temp-dir.ts'
import { pythonHere, tinyServer, uvHere, wheel } from './tiny-comfy.ts'

const git = (dir: string, ...args: string[]) =>
  execFileSync('git', ['-c', 'user.name=t', '-c', 'user.email=t@t', '-c', 'commit.gpgsign=false', ...args], {
    cwd: dir,
    encoding: 'utf8',
  }).trim()

/** Python of a custom node with these classes; `code` runs when it is loaded. */
export const nodeCode = (classes: readonly string[], code = '') => `${code}
class _Node:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": ("INT", {"default": 0})}}
    RETURN_TYPES = ("INT",)
    FUNCTION = "run"
    CATEGORY = "tiny"
    def run(self, value):
        return (value,)
NODE_CLASS_MAPPINGS = {${classes.map((name) => `"${name}": type("${name}", (_Node,), {})`).join(', ')}}
`

/** Writes files below a folder. */
export function writeTree(dir: string, files: Record<string, string | Uint8Array>) {
  for (const [name, content] of Object.entries(files)) {
    const file = path.join(dir, name)
    mkdirSync(path.dirname(file), { recursive: true })
    writeFileSync(file, content)
  }
}

/** A repository of a custom node; each of `commits` is written over the one before. Gives their ids. */
export function nodeRepository(dir: string, ...commits: Record<string, string | Uint8Array>[]): string[] {
  mkdirSync(dir, { recursive: true })
  git(dir, 'init', '-q', '-b', 'main')
  return commits.map((files) => commitTo(dir, files))
}
export function commitTo(dir: string, files: Record<string, string | Uint8Array>): string {
  writeTree(dir, files)
  git(dir, 'add', '-A')
  git(dir, 'commit', '-qm', 'x')
  return git(dir, 'rev-parse', 'HEAD')
}

/** An engine that was installed in a data folder. */
export function installedSite(data: string, name = 'local'): NodesSite {
  const home = path.join(data, 'engines', name)
  const { dir, python } = currentInstall(home)!
  const settings = EngineSettings.parse({ cards: [{ card: 'cpu' }], baseDir: path.join(home, 'base') })
  return { name, kind: 'installed', dir, python, settings, home }
}

/** What changes custom nodes where nothing else runs. */
export function nodesTools(data: string, given: Partial<NodesTools> = {}): NodesTools {
  return {
    dispatcher: dispatcherFor('none', process.env),
    env: process.env,
    childEnv: { UV_HTTP_RETRIES: '0' },
    platform: process.platform,
    arch: process.arch,
    pythons: [],
    now: Date.now,
    newId: randomUUID,
    addressesFor: (_, url) => [url],
    indexes: [],
    findLinks: null,
    cache: path.join(data, 'cache', 'uv'),
    toolsDir: path.join(data, 'engines', '.tools'),
    stateDir: path.join(data, 'engines', '.running'),
    proxy: null,
    url: null,
    whileStopped: (change) => change(),
    ...given,
  }
}

/**
 * An engine as an installation leaves it, with a tiny ComfyUI that loads custom nodes and a few tiny packages, and wheels
 * of others.
 */
export async function tinyInstalled(root = tempDir()) {
  const data = path.join(root, 'data 夜')
  const wheels = path.join(root, 'wheels')
  const home = path.join(data, 'engines', 'local')
  const id = '20260101000000-aaaa'
  const dir = generationDir(home, id)
  mkdirSync(wheels, { recursive: true })
  for (const [name, version, requires = []] of WHEELS) wheel(wheels, name, version, { requires: [...requires] })
  writeTree(path.join(dir, 'ComfyUI'), {
    'main.py': await tinyServer(),
    'comfyui_version.py': '__version__ = "0.1.0"\n',
    'comfy/cli_args.py': ['--port', '--base-directory'].map((flag) => `parser.add_argument("${flag}")`).join('\n'),
    'requirements.txt': 'comfyui-frontend-package==1.49.6\ntorch\ntinydep>=1\nnumpy>=1.25.0\n',
  })
  for (const name of ['custom_nodes', 'models', 'input']) mkdirSync(path.join(home, 'base', name), { recursive: true })
  const uv = uvHere()!
  const quiet = { stdio: 'ignore', env: { ...process.env, UV_CACHE_DIR: path.join(data, 'cache', 'uv') } } as const
  execFileSync(
    uv,
    ['venv', '--quiet', '--python', pythonHere()!, '--no-python-downloads', path.join(dir, 'venv')],
    quiet,
  )
  const local = ['--no-index', '--find-links', wheels]
  execFileSync(uv, ['pip', 'install', '--python', pythonOf(dir), ...local, ...INSTALLED], quiet)
  await writeLock(dir)
  await writeJournal(dir, {
    purpose: 'install',
    choices: InstallChoices.parse({}),
    createdAt: 1,
    done: ['trial', 'switch'],
    python: pythonHere(),
    version: '0.1.0',
    commit: null,
    torch: '2.13.0+cpu',
    findings: [],
    switched: [],
    speedUps: [],
    manager: null,
    sizeBytes: null,
  })
  await writePointer(home, { current: id, previous: null })
  const env = { ...process.env, PATH: `${path.dirname(uv)}${path.delimiter}${process.env.PATH}` }
  return {
    root,
    data,
    home,
    wheels,
    live: path.join(home, 'base', 'custom_nodes'),
    site: () => installedSite(data),
    tools: (given: Partial<NodesTools> = {}) => nodesTools(data, { env, findLinks: wheels, ...given }),
  }
}
const WHEELS: readonly (readonly [name: string, version: string, requires?: readonly string[]])[] = [
  ['torch', '2.13.0+cpu'],
  ['torch', '2.4.0'],
  ['tinydep', '1.5.0', ['torch']],
  ['tinydep', '1.6.0', ['torch']],
  ['numpy', '2.3.1'],
  ['numpy', '1.26.4'],
  ['pip', '99.0'],
  ['uv', '99.0'],
  ['comfyui_frontend_package', '1.49.6'],
  ['comfyui_frontend_package', '1.20.0'],
  ['opencv_python_headless', '4.11.0'],
  ['opencv_python', '4.11.0'],
  ['opencv_contrib_python', '4.11.0'],
  ['wants_old_numpy', '1.0', ['numpy<2']],
  ['wants_old_torch', '1.0', ['torch==2.4.0']],
  ['harmless', '1.0'],
  ['harmless', '2.0'],
  ['needs_harmless_one', '1.0', ['harmless<2']],
]
const INSTALLED = [
  'torch==2.13.0+cpu',
  'tinydep==1.5.0',
  'numpy==2.3.1',
  'opencv-python-headless',
  'comfyui-frontend-package==1.49.6',
]
