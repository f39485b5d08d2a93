// npm start: the window where Electron's program is or can be had, else the same app in the browser, saying why.
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'

const root = path.resolve(import.meta.dirname, '..')
const electronDir = path.join(root, 'node_modules', 'electron')
const FETCH_LIMIT_MS = 180_000

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

const built = ['renderer/index.html', 'main/index.js', 'host/index.js', 'headless/index.js', 'preload/index.cjs']
if (!built.every((file) => existsSync(path.join(root, 'out', file)))) {
  const { status } = spawnSync(process.execPath, [path.join(root, 'scripts', 'build.ts')], { stdio: 'inherit' })
  if (status !== 0) process.exit(status ?? 1)
}

const why = whyNoElectron()
if (why) console.log(`No window: ${why}. Starting in the browser instead.`)
const [program, args] = why
  ? [process.execPath, [path.join(root, 'out', 'headless', 'index.js'), 'serve', '--open', ...process.argv.slice(2)]]
  : [electronProgram()!, [root, ...process.argv.slice(2)]]
const child = spawn(program, args, { stdio: 'inherit', cwd: root })
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => child.kill(signal))
child.on('exit', (code, signal) => process.exit(code ?? (signal ? 1 : 0)))
