// How long an environment takes into a store, what it takes there, and how long it takes back, against restic and
// `tar | zstd -3 -T0`: npm run bench:snapshot -- [--tree DIR] [--runs 3] [--dir DIR]
// `--tree` is a folder (such as a site-packages) instead of one made up here. Each step is timed by turns, from a cold start
// of each program (ours bundled, as it ships), all of it on the disk at the end.
import { createHash, hash } from 'node:crypto'
import {
  closeSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { execa } from 'execa'
import { build } from 'vite'
import type { Json } from '../../core/contract/json.ts'
import { median, report, timed } from './measure.ts'

const { values } = parseArgs({
  options: { tree: { type: 'string' }, runs: { type: 'string', default: '3' }, dir: { type: 'string' } },
})
const runs = Number(values.runs)
const work = mkdtempSync(path.join(values.dir ?? tmpdir(), 'nightshift-bench-'))
const threads = availableParallelism()
const ours = await bundled('test/bench/snapshot-steps', 'core/engine/snapshot/snapshot-thread')

const tree = path.join(work, 'tree')
if (values.tree) cpSync(values.tree, tree, { recursive: true, verbatimSymlinks: true })
else makeUp(tree)
const files = readdirSync(tree, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
const bytes = files.reduce((sum, { parentPath, name }) => sum + statSync(path.join(parentPath, name)).size, 0)

interface Keeper {
  readonly name: string
  readonly version: string
  /** Takes the tree into the store for the first time, or once more. */
  keep(store: string): Promise<unknown>
  restore(store: string, to: string): Promise<unknown>
}
const step = (name: string, ...args: string[]) => execa(process.execPath, [ours, name, ...args], { stdio: 'ignore' })
const keepers: Keeper[] = [
  {
    name: 'ours',
    version: process.versions.node,
    keep: (store) => step('keep', tree, store),
    restore: (store, to) => step('restore', store, to),
  },
]
const versionOf = async (program: string, ...args: string[]) =>
  (await execa(program, args).catch(() => null))?.stdout.split('\n')[0] ?? null
const restic = await versionOf('restic', 'version')
const env = { RESTIC_PASSWORD: 'bench' }
const quiet = { stdio: 'ignore', env } as const
if (restic) {
  keepers.push({
    name: 'restic',
    version: restic,
    async keep(store) {
      if (!statSync(path.join(store, 'config'), { throwIfNoEntry: false }))
        await execa('restic', ['-r', store, 'init'], quiet)
      await execa('restic', ['-r', store, 'backup', '--quiet', '.'], { ...quiet, cwd: tree })
    },
    restore: (store, to) => execa('restic', ['-r', store, 'restore', 'latest', '--target', to], quiet),
  })
}
const zstd = await versionOf('zstd', '--version')
if (zstd && process.platform !== 'win32') {
  keepers.push({
    name: 'tar+zstd',
    version: zstd,
    // what is packed anew each time has no second push that is smaller
    keep: (store) =>
      execa('sh', [
        '-c',
        `mkdir -p ${store} && tar -cf - -C ${tree} . | zstd -3 -T0 -q -f -o ${store}/a.tar.zst && sync ${store}/a.tar.zst`,
      ]),
    restore: (store, to) => execa('sh', ['-c', `mkdir -p ${to} && zstd -dc ${store}/a.tar.zst | tar -xf - -C ${to}`]),
  })
}

type Numbers = Record<'first' | 'firstBytes' | 'second' | 'secondBytes' | 'restore', number[]>
const seen = new Map<string, Numbers>()
for (const { name } of keepers) seen.set(name, { first: [], firstBytes: [], second: [], secondBytes: [], restore: [] })
for (let run = 0; run < runs; run++) {
  for (const { name, keep } of keepers) {
    const into = seen.get(name)!
    into.first.push(await timed(() => keep(storeOf(name))))
    into.firstBytes.push(sizeOf(storeOf(name)))
  }
  touch(run)
  for (const { name, keep, restore } of keepers) {
    const into = seen.get(name)!
    const before = name === 'tar+zstd' ? 0 : sizeOf(storeOf(name))
    into.second.push(await timed(() => keep(storeOf(name))))
    into.secondBytes.push(sizeOf(storeOf(name)) - before)
    const to = path.join(work, 'restored', name)
    into.restore.push(await timed(() => restore(storeOf(name), to)))
    if (hashOf(to) !== hashOf(tree)) throw new Error(`${name} gave something else back`)
    rmSync(to, { recursive: true })
  }
  for (const { name } of keepers) rmSync(storeOf(name), { recursive: true })
}

const mine = seen.get('ours')!
const oks: boolean[] = []
for (const { name, version } of keepers.slice(1)) {
  const theirs = seen.get(name)!
  const lines: [keyof Numbers, string, string][] = [
    ['first', 'snapshot first push', 'ms'],
    ['firstBytes', 'snapshot first push, bytes', 'bytes'],
    ['second', 'snapshot push after a 1 % change', 'ms'],
    ['secondBytes', 'snapshot push after a 1 % change, bytes', 'bytes'],
    ['restore', 'snapshot restore', 'ms'],
  ]
  for (const [key, bench, unit] of lines) {
    const facts: Json = {
      version,
      node: process.versions.node,
      files: files.length,
      bytes,
      runs,
      threads,
      madeUp: !values.tree,
    }
    const numbers = { ours: median(mine[key]), peer: median(theirs[key]) }
    oks.push(
      report({
        bench,
        n: runs,
        ...numbers,
        peerName: name,
        unit,
        less: true,
        goal: 1,
        facts: facts as Record<string, Json>,
      }),
    )
  }
}
if (keepers.length === 1) console.log(JSON.stringify({ bench: 'snapshot', ...mine }))
rmSync(work, { recursive: true, force: true })
process.exitCode = oks.every(Boolean) ? 0 : 1

/** Where the first of them lies, without types and with all it needs in a few files. */
async function bundled(...sources: string[]): Promise<string> {
  const root = path.resolve(import.meta.dirname, '../..')
  const outDir = path.join(work, 'ours')
  const output = { entryFileNames: '[name].js', chunkFileNames: '[name].js' }
  const input = sources.map((source) => path.join(root, `${source}.ts`))
  await build({
    configFile: false,
    root,
    logLevel: 'warn',
    publicDir: false,
    ssr: { noExternal: true },
    build: {
      ssr: true,
      outDir,
      emptyOutDir: true,
      target: 'node24',
      minify: false,
      rolldownOptions: { input, output },
    },
  })
  return path.join(outDir, `${path.basename(sources[0]!)}.js`)
}

function storeOf(name: string) {
  return path.join(work, 'store', name)
}

/** One file of a hundred gets other bytes at its end. */
function touch(run: number) {
  for (let at = run % 100; at < files.length; at += 100) {
    const { parentPath, name } = files[at]!
    const file = openSync(path.join(parentPath, name), 'a')
    writeSync(file, `# ${run}\n`)
    closeSync(file)
  }
}

function sizeOf(dir: string): number {
  return readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name !== 'seen.json.zst') // ours keeps what it knows of the disk there, restic in a cache
    .reduce((sum, { parentPath, name }) => sum + statSync(path.join(parentPath, name)).size, 0)
}

/** Of names and sizes; the bytes are each program's own to check. */
function hashOf(dir: string): string {
  const found = readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(
      ({ parentPath, name }) =>
        `${path.relative(dir, path.join(parentPath, name))} ${statSync(path.join(parentPath, name)).size}`,
    )
  return hash('sha256', found.toSorted().join('\n'))
}

/** Some thousand small texts and a few large files, half of each like a program, half like noise. */
function makeUp(dir: string) {
  const noise = (seed: string, length: number) => {
    const parts: Buffer[] = []
    for (let n = 0; n * 32 < length; n++) parts.push(createHash('sha256').update(`${seed} ${n}`).digest())
    return Buffer.concat(parts).subarray(0, length)
  }
  for (let folder = 0; folder < 200; folder++) {
    const at = path.join(dir, `package_${folder}`)
    mkdirSync(at, { recursive: true })
    for (let file = 0; file < 40; file++) {
      const lines = Array.from(
        { length: 20 + ((folder * file) % 200) },
        (_, n) => `def function_${folder}_${n}(value):\n    return value + ${n * file}\n`,
      )
      writeFileSync(path.join(at, `module_${file}.py`), lines.join('\n'))
    }
  }
  for (let n = 0; n < 6; n++) {
    const half = noise(`large ${n}`, 16 << 20)
    writeFileSync(
      path.join(dir, `large_${n}.so`),
      Buffer.concat([half, Buffer.alloc(half.length, half.subarray(0, 4096))]),
    )
  }
}
