import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import path from 'node:path'

const root = path.resolve(import.meta.dirname, '../..')
const BUNDLES = [
  'renderer/index.html',
  'main/index.js',
  'host/index.js',
  'headless/index.js',
  'preload/index.cjs',
  'agent/form/index.html',
]

/** Builds what is not there; `npm test` has just built everything. */
export function ensureBuilt() {
  if (BUNDLES.every((file) => existsSync(path.join(root, 'out', file)))) return
  const { status } = spawnSync(process.execPath, [path.join(root, 'scripts/build.ts')], { cwd: root, stdio: 'inherit' })
  if (status !== 0) throw new Error('the bundles could not be built')
}
