// npm start: the window where Electron's program is or can be had, else the same app in the browser, saying why.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import path from 'node:path'

const root = path.resolve(import.meta.dirname, '..')
const electronDir = path.join(root, 'node_modules', 'electron')
const FETCH_LIMIT_MS = 180_000
const SEEN_AFTER_MS = 5_000

/** The program's path, without importing the package (which would start a download at once). */
function electronProgram(): string | undefined {
  const marker = path.join(electronDir, 'path.txt')
  if (!existsSync(marker)) return undefined
  const program = path.join(electronDir, 'dist', readFileSync(marker, 'utf8').trim())
  return existsSync(program) ? program : undefined
}

function whyNoElectron(): string | undefined {
  if (process.env.NIGHTSHIFT_HEADLESS) return 'NIGHTSHIFT_HEADLESS is set'
  if (process.platform === 'linux' && !process.env.DISPLAY && !process.env.WAYLAND_DISPLAY) return 'there is no display'
  if (process.platform === 'linux' && process.getuid?.() === 0) return 'Electron does not run as root'
  if (electronProgram()) return undefined
  const installer = path.join(electronDir, 'install.js')
  if (!existsSync(installer)) return 'the electron package is not installed'
  console.log('Fetching Electron’s program once (set ELECTRON_MIRROR to use a mirror) …')
  const fetched = spawnSync(process.execPath, [installer], {
    stdio: ['ignore', 'ignore', 'pipe'],
    timeout: FETCH_LIMIT_MS,
  })
  if (electronProgram()) return undefined
  const reason = String(fetched.stderr ?? '')
    .split('\n')
    .find((line) => /error/i.test(line))
  return `Electron’s program could not be fetched${reason ? ` (${reason.trim().slice(0, 120)})` : ''}`
}

const newest = (...files: string[]) => Math.max(...files.map((file) => statSync(file).mtimeMs))
const filesIn = (dir: string) =>
  readdirSync(path.join(root, dir), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.join(entry.parentPath, entry.name))

/** Whether all bundles are there, and no source is newer. */
function isBuilt(): boolean {
  const bundles = ['renderer/index.html', 'main/index.js', 'host/index.js', 'headless/index.js', 'preload/index.cjs']
  const files = bundles.map((file) => path.join(root, 'out', file))
  if (!files.every((file) => existsSync(file))) return false
  const sources = ['core', 'main', 'preload', 'renderer', 'resources', 'scripts'].flatMap(filesIn)
  const oldest = Math.min(...files.map((file) => statSync(file).mtimeMs))
  return newest(...sources, path.join(root, 'package-lock.json')) < oldest
}

if (!isBuilt()) {
  const { status } = spawnSync(process.execPath, [path.join(root, 'scripts', 'build.ts')], { stdio: 'inherit' })
  if (status !== 0) process.exit(status ?? 1)
}

let child: ChildProcess
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => child.kill(signal))

const ended = (program: string, args: string[]) => {
  child = spawn(program, args, { stdio: 'inherit', cwd: root })
  const { promise, resolve } = Promise.withResolvers<{ code: number | null; signal: NodeJS.Signals | null }>()
  child.on('error', () => resolve({ code: 1, signal: null }))
  child.on('exit', (code, signal) => resolve({ code, signal }))
  return promise
}
const inBrowser = (why: string) => {
  console.log(`No window: ${why}. Starting in the browser instead.`)
  const headless = path.join(root, 'out', 'headless', 'index.js')
  return ended(process.execPath, [headless, 'serve', '--open', ...process.argv.slice(2)])
}

const why = whyNoElectron()
const started = performance.now()
let end = why ? await inBrowser(why) : await ended(electronProgram()!, [root, ...process.argv.slice(2)])
// a machine without the libraries a window needs: it is gone before anyone has seen it
const neverSeen = !why && end.code !== 0 && !end.signal && performance.now() - started < SEEN_AFTER_MS
if (neverSeen) end = await inBrowser(`Electron ended with ${end.code}`)
process.exit(end.code ?? 1)
