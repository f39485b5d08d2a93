// The bundles: renderer (a page), host, main and agent (Node ESM), preload (CommonJS, as the sandbox demands).
import { builtinModules } from 'node:module'
import path from 'node:path'
import { build, type InlineConfig } from 'vite'

const root = path.resolve(import.meta.dirname, '..')
const native = ['electron', 'better-sqlite3', 'sharp', /^@img\//]
const external = [...native, /^node:/, ...builtinModules]

function nodeBundle(
  name: string,
  entries: Record<string, string>,
  format: 'es' | 'cjs',
  only = external,
  emptyOutDir = true,
): InlineConfig {
  return {
    configFile: false,
    root,
    logLevel: 'warn',
    publicDir: false,
    ssr: { noExternal: true },
    resolve: { conditions: ['node'], mainFields: ['module', 'main'] },
    build: {
      ssr: true,
      outDir: path.join(root, 'out', name),
      emptyOutDir,
      target: 'node24',
      minify: false,
      sourcemap: true,
      license: { fileName: `${Object.keys(entries).join('-')}.licences.md` },
      rolldownOptions: {
        input: Object.fromEntries(Object.entries(entries).map(([entry, file]) => [entry, path.join(root, file)])),
        external: only,
        output: {
          format,
          entryFileNames: format === 'cjs' ? '[name].cjs' : '[name].js',
          codeSplitting: false,
        },
      },
    },
  }
}

const started = performance.now()
await build({ configFile: path.join(root, 'vite.config.ts'), logLevel: 'warn' })
await build(nodeBundle('main', { index: 'main/electron.ts' }, 'es'))
await build(nodeBundle('host', { index: 'main/host.ts' }, 'es'))
await build(nodeBundle('headless', { index: 'main/cli.ts' }, 'es'))
for (const name of ['host', 'headless']) {
  for (const thread of [
    'main/services/media-worker',
    'main/services/import-worker',
    'main/services/model-worker',
    'core/engine/download/hash-worker',
    'core/engine/snapshot/snapshot-thread',
  ])
    await build(nodeBundle(name, { [path.basename(thread)]: `${thread}.ts` }, 'es', external, false))
}
await build(nodeBundle('agent', { index: 'agent/index.ts' }, 'es'))
for (const thread of ['core/engine/download/hash-worker', 'core/engine/snapshot/snapshot-thread'])
  await build(nodeBundle('agent', { [path.basename(thread)]: `${thread}.ts` }, 'es', external, false))
await build({ configFile: path.join(root, 'vite.published.config.ts'), logLevel: 'warn' })
await build(nodeBundle('preload', { index: 'preload/index.ts' }, 'cjs', ['electron']))
console.log(`built in ${Math.round(performance.now() - started)} ms`)
