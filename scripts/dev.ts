// npm run dev: the host restarted on change, the renderer built again on change; reload the page to see it.
import { spawn } from 'node:child_process'
import path from 'node:path'
import { build } from 'vite'

const root = path.resolve(import.meta.dirname, '..')
await build({ configFile: path.join(root, 'vite.config.ts'), logLevel: 'warn', build: { watch: {}, minify: false } })
const host = spawn(
  process.execPath,
  ['--watch', '--watch-preserve-output', path.join(root, 'main', 'cli.ts'), 'serve', ...process.argv.slice(2)],
  { stdio: 'inherit', cwd: root },
)
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => host.kill(signal))
host.on('exit', (code) => process.exit(code ?? 0))
