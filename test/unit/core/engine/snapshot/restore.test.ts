import { execFileSync } from 'node:child_process'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { expect, test } from 'vitest'
import type { Manifest } from '../../../../../core/contract/snapshot.ts'
import { capture, flagsThatTravel } from '../../../../../core/engine/snapshot/capture.ts'
import { Keeper } from '../../../../../core/engine/snapshot/keep.ts'
import { seal } from '../../../../../core/engine/snapshot/manifest.ts'
import { packFile } from '../../../../../core/engine/snapshot/pack.ts'
import { moveIn } from '../../../../../core/engine/snapshot/places.ts'
import { layoutOf, restoreTree } from '../../../../../core/engine/snapshot/restore.ts'
import { codeChanged, prepareEnvironment, tidyCache } from '../../../../../core/engine/snapshot/restore-environment.ts'
import { ObjectStore } from '../../../../../core/engine/snapshot/store.ts'
import { treeBytes } from '../../../../../core/engine/snapshot/tree.ts'
import { facts, put, python, smallComfy } from '../../../../kit/small-comfy.ts'
import { tempDir } from '../../../../kit/temp-dir.ts'

const windows = process.platform === 'win32'
const optionsOf = () => ({ threads: 1, command: { env: process.env, log: path.join(tempDir(), 'commands.log') } })

async function keep(store: ObjectStore, dir: string) {
  const keeper = await Keeper.open(store, 1)
  const { tree } = await keeper.keep(dir)
  await keeper.finish()
  return tree
}
/** The bytes of a file, whatever its time. */
function spoil(file: string) {
  const { mtime, mode } = statSync(file)
  const bytes = readFileSync(file)
  bytes[0]! ^= 1
  chmodSync(file, 0o644)
  writeFileSync(file, bytes)
  utimesSync(file, mtime, mtime)
  chmodSync(file, mode)
}

test('what was restored before is used again, unless its bytes are not what they were', async () => {
  const dir = tempDir()
  for (const n of [1, 2, 3]) put(path.join(dir, `${n}.py`), `n = ${n}\n`)
  const store = await ObjectStore.open(tempDir())
  const first = await keep(store, dir)
  const one = path.join(tempDir(), 'one')
  const layout = await restoreTree(store, first, one, { threads: 1, readOnly: true })
  put(path.join(dir, '3.py'), 'n = 33\n')
  const second = await keep(store, dir)
  // of the packs of the first, only what describes it is left to be read
  const two = path.join(tempDir(), 'two')
  await restoreTree(store, second, two, { threads: 1, like: [{ dir: one, layout }], readAgain: 1 })
  expect(readdirSync(two).map((name) => readFileSync(path.join(two, name), 'utf8'))).toEqual([
    'n = 1\n',
    'n = 2\n',
    'n = 33\n',
  ])
  expect(statSync(path.join(two, '1.py')).mode & 0o222).toBe(0) // it may be the very same file
  expect(statSync(path.join(two, '3.py')).mode & 0o222).not.toBe(0)

  spoil(path.join(one, '2.py'))
  const three = path.join(tempDir(), 'three')
  await restoreTree(store, first, three, { threads: 1, like: [{ dir: one, layout }], readAgain: 1 })
  expect(readFileSync(path.join(three, '2.py'), 'utf8')).toBe('n = 2\n')
  expect(existsSync(one)).toBe(false) // which of its other files are damaged, nobody knows
})

test('a folder of a thousand folders that are all one, forty deep, is refused at once', async () => {
  const store = await ObjectStore.open(tempDir())
  const keeper = await Keeper.open(store, 1)
  let tree = keeper.keepBytes(treeBytes([]))
  for (let depth = 0; depth < 40; depth++) {
    const inner = tree
    tree = keeper.keepBytes(
      treeBytes(Array.from({ length: 1000 }, (_, n) => ({ is: 'folder', name: String(n), tree: inner }))),
    )
  }
  await keeper.finish()
  expect(() => layoutOf(store, tree)).toThrow(expect.objectContaining({ code: 'snapshot.unsafe' }))
})

test('a file that says another size than it has is refused, and nothing is left of it', async () => {
  const store = await ObjectStore.open(tempDir())
  const keeper = await Keeper.open(store, 1)
  const sha256 = keeper.keepBytes(Buffer.from('small'))
  const tree = keeper.keepBytes(treeBytes([{ is: 'file', name: 'a', size: 5_000_000, mtime: 0, sha256 }]))
  await keeper.finish()
  const to = path.join(tempDir(), 'restored')
  await expect(restoreTree(store, tree, to, { threads: 1 })).rejects.toMatchObject({ code: 'snapshot.unsafe' })
  expect(readdirSync(path.dirname(to))).toEqual([])
})

test.skipIf(windows)('what a link outside leads to is kept as it is; a circle and what is gone are told', async () => {
  const outside = tempDir()
  put(path.join(outside, 'dev', 'node.py'), 'x = 1\n')
  const dir = tempDir()
  put(path.join(dir, 'own', 'a.py'), 'a = 1\n')
  symlinkSync(path.join(outside, 'dev'), path.join(dir, 'linked'))
  symlinkSync(path.join(outside, 'dev', 'node.py'), path.join(dir, 'one.py'))
  symlinkSync('own/a.py', path.join(dir, 'inside.py'))
  symlinkSync(dir, path.join(outside, 'dev', 'back'))
  symlinkSync('/nowhere/at/all', path.join(dir, 'gone'))
  const store = await ObjectStore.open(tempDir())
  const keeper = await Keeper.open(store, 1)
  const { tree, left } = await keeper.keep(dir)
  await keeper.finish()
  const { files, links } = layoutOf(store, tree)
  expect(files.map(({ path }) => path).toSorted()).toEqual(['linked/node.py', 'one.py', 'own/a.py'])
  expect(links).toEqual([{ path: 'inside.py', to: 'own/a.py' }])
  expect(left.map(({ path }) => path).toSorted()).toEqual(['gone', 'linked/back'])
})

test('flags that say where things are on one machine do not travel', () => {
  const flags = [
    '--cpu',
    '--output-directory',
    '/home/me/out',
    '--lowvram',
    '--extra-model-paths-config',
    'a.yaml',
    'b.yaml',
  ]
  expect(flagsThatTravel([...flags, '--database-url=sqlite:///x', '--fast', 'fp16'])).toEqual([
    '--cpu',
    '--lowvram',
    '--fast',
    'fp16',
  ])
})

test.skipIf(!python || windows)('a package that lies in another Python is told', { timeout: 60_000 }, async () => {
  const here = smallComfy(tempDir())
  const other = tempDir()
  put(path.join(other, 'far-2.0.dist-info', 'METADATA'), 'Metadata-Version: 2.1\nName: far\nVersion: 2.0\n')
  put(path.join(here.packagesDir, 'system.pth'), `import sys; sys.path.append(${JSON.stringify(other)})\n`)
  const { left } = await capture(await ObjectStore.open(tempDir()), here, facts, optionsOf())
  expect(left).toEqual([{ path: 'far', what: `it is a package of another Python, in ${other}` }])
})

test('a place is found in a line, in a string and in an address, and not where a name only begins like it', () => {
  const moves = [
    { was: '/home/me/ComfyUI', is: '/srv/a b' },
    { was: '/home/me/ComfyUI/custom_nodes', is: '/srv/nodes' },
  ]
  const text =
    '/home/me/ComfyUI/custom_nodes/x\n"/home/me/ComfyUI/y" file:///home/me/ComfyUI/z /home/me/ComfyUI2 /home/me/ComfyUI'
  expect(moveIn(text, moves)).toBe('/srv/nodes/x\n"/srv/a b/y" file:///srv/a%20b/z /home/me/ComfyUI2 /srv/a b')
})

test.skipIf(!python)(
  'an environment is prepared once; another snapshot shares its packages; what was deleted or half made is made anew',
  { timeout: 60_000 },
  async () => {
    const here = smallComfy(tempDir())
    const store = await ObjectStore.open(tempDir())
    const options = optionsOf()
    const { manifest } = await capture(store, here, facts, options)
    const [one, two] = [seal(manifest, null), seal({ ...manifest, name: 'other' }, null)]
    const cacheDir = tempDir()
    mkdirSync(path.join(cacheDir, 'layers', 'killed.part'), { recursive: true })
    mkdirSync(path.join(cacheDir, 'environments', `${one.id}.part`, 'venv'), { recursive: true })
    const prepare = (sealed = one, program = here.python) =>
      prepareEnvironment(store, sealed, { ...options, cacheDir, python: program })

    const [made, same] = await Promise.all([prepare(), prepare()])
    expect(same).toEqual(made)
    const packageOf = (dir: string) => execFileSync(dir, ['-c', 'import tiny; print(tiny.__file__, tiny.answer)'])
    const [file, answer] = packageOf(made.python).toString().trim().split(' ')
    expect(answer).toBe('42')
    expect(readdirSync(path.join(cacheDir, 'layers'))).toHaveLength(1)
    expect(readdirSync(path.join(cacheDir, 'environments'))).toEqual([one.id])
    // found, without asking any Python
    expect(await prepare(one, '/no/such/python')).toEqual(made)

    const other = await prepare(two)
    const [shared] = packageOf(other.python).toString().trim().split(' ')
    if (!windows && statSync(file!).nlink > 1) expect(statSync(shared!).ino).toBe(statSync(file!).ino)
    expect(statSync(shared!).mtimeMs).toBe(statSync(file!).mtimeMs)

    rmSync(file!)
    await prepare()
    expect(packageOf(made.python).toString()).toContain('42')

    // a node that changed itself, to as many bytes
    spoil(path.join(made.base, 'custom_nodes', '风格', '__init__.py'))
    put(path.join(made.base, 'custom_nodes', '风格', 'settings.json'), '{}')
    expect(await codeChanged(store, one.manifest, made)).toEqual([
      { path: 'custom_nodes/风格/__init__.py', commit: null },
    ])
    await prepare()
    expect(await codeChanged(store, one.manifest, made)).toEqual([])

    await tidyCache(cacheDir, [two])
    expect(readdirSync(path.join(cacheDir, 'environments'))).toEqual([two.id])
    expect(readdirSync(path.join(cacheDir, 'layers'))).toHaveLength(1)
    await tidyCache(cacheDir, [])
    expect(readdirSync(path.join(cacheDir, 'layers'))).toEqual([])
  },
)

test.skipIf(!python)(
  'a snapshot that cannot be restored leaves those that were restored before as they are',
  { timeout: 60_000 },
  async () => {
    const here = smallComfy(tempDir())
    const storeDir = tempDir()
    const store = await ObjectStore.open(storeDir)
    const options = optionsOf()
    const cacheDir = tempDir()
    const { manifest } = await capture(store, here, facts, options)
    const first = seal(manifest, null)
    const made = await prepareEnvironment(store, first, { ...options, cacheDir, python: here.python })

    const refused = async (changed: Partial<Manifest>, from = store) => {
      const bad = seal({ ...manifest, ...changed }, null)
      const said = await prepareEnvironment(from, bad, { ...options, cacheDir, python: here.python }).catch(
        (cause) => cause.code,
      )
      expect(readdirSync(path.join(cacheDir, 'environments'))).toEqual([first.id])
      return said
    }
    const model = { folder: 'loras', name: '../../../main.py', size: 1, sha256: 'a'.repeat(64) }
    expect(await refused({ models: [model] })).toBe('snapshot.unsafe')
    expect(await refused({ models: [{ ...model, folder: '..', name: 'x' }] })).toBe('snapshot.unsafe')
    expect(await refused({ layers: [{ ...manifest.layers[0]!, tree: 'f'.repeat(64) }] })).toBe('snapshot.incomplete')
    expect(await refused({ layers: [manifest.layers[0]!, manifest.layers[0]!] })).toBe('snapshot.unsafe')

    put(path.join(here.nodesDir, '风格', 'more.py'), 'x = 1\n'.repeat(1000))
    const later = await capture(store, here, facts, options)
    const before = new Set(readdirSync(storeDir, { recursive: true }).map(String))
    expect(before.size).toBeGreaterThan(0)
    const place = store.find(
      layoutOf(store, later.manifest.layers.find(({ name }) => name === 'nodes')!.tree).files.flatMap(
        ({ path, entry }) => (path.endsWith('more.py') && entry.is === 'file' ? [entry.sha256] : []),
      )[0]!,
    )
    const { frames } = store.packs.get(place.pack)!
    const pack = packFile(store.packsDir, place.pack)
    const bytes = readFileSync(pack)
    bytes[frames[place.frame]!.at + 8]! ^= 0xff
    writeFileSync(pack, bytes)
    const damaged = await ObjectStore.open(storeDir)
    expect(await refused({ layers: later.manifest.layers, name: 'later' }, damaged)).toBe('snapshot.damaged')
    expect((await ObjectStore.open(storeDir)).packs.has(place.pack)).toBe(false) // so that it is fetched anew
    expect(execFileSync(made.python, ['-c', 'import tiny; print(tiny.answer)']).toString().trim()).toBe('42')
  },
)

test.skipIf(!python || windows)(
  'packages that are edited elsewhere, programs and extra folders of models work in another place',
  { timeout: 60_000 },
  async () => {
    const root = tempDir()
    const here = smallComfy(root)
    const { packagesDir, nodesDir, venv } = here
    const project = path.join(tempDir(), '我的 project')
    put(path.join(project, 'mine.py'), 'where = __file__\n')
    put(path.join(packagesDir, '__editable__.mine-1.0.pth'), `${project}\n`)
    put(path.join(packagesDir, 'mine-1.0.dist-info', 'METADATA'), 'Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n')
    put(
      path.join(packagesDir, 'mine-1.0.dist-info', 'direct_url.json'),
      `{"url": "${pathToFileURL(project).href}", "dir_info": {"editable": true}}`,
    )
    put(path.join(nodesDir, '风格', 'inner.py'), 'where = __file__\n')
    put(path.join(packagesDir, 'inner.pth'), `${path.join(nodesDir, '风格')}\n`)
    put(path.join(venv, 'bin', 'hello'), `#!${here.python}\nimport sys, tiny\nprint(sys.prefix, tiny.answer)\n`)
    put(path.join(venv, 'bin', 'tool.sh'), '#!/bin/sh\necho tool\n')
    for (const name of ['hello', 'tool.sh']) chmodSync(path.join(venv, 'bin', name), 0o755)
    put(
      path.join(here.dir, 'extra_model_paths.yaml'),
      `mine:\n  base_path: ${root}/weights\n  loras: l\n  special: s\n`,
    )

    const store = await ObjectStore.open(tempDir())
    const options = optionsOf()
    const { manifest, left } = await capture(store, here, facts, options)
    expect(left).toEqual([])
    expect(manifest.modelFolders).toEqual(['loras', 'special'])
    const cacheDir = path.join(tempDir(), 'a cache')
    const made = await prepareEnvironment(store, seal(manifest, null), { ...options, cacheDir, python: python! })
    rmSync(root, { recursive: true })
    rmSync(project, { recursive: true })

    const home = path.dirname(made.dir)
    const ask = 'import mine, inner; print(mine.where); print(inner.where)'
    expect(execFileSync(made.python, ['-c', ask]).toString().trim().split('\n')).toEqual([
      path.join(home, 'sources', '0', 'mine.py'),
      path.join(made.base, 'custom_nodes', '风格', 'inner.py'),
    ])
    const programs = path.dirname(made.python)
    expect(execFileSync(path.join(programs, 'hello')).toString().trim()).toBe(`${path.join(home, 'venv')} 42`)
    expect(execFileSync(path.join(programs, 'tool.sh')).toString().trim()).toBe('tool')
    const lists = readFileSync(path.join(made.dir, 'extra_model_paths.yaml'), 'utf8')
    expect(lists).toContain(JSON.stringify(path.join(made.base, 'models', 'special')))
    for (const file of ['venv/bin/activate', 'venv/pyvenv.cfg'])
      expect(readFileSync(path.join(home, file), 'utf8')).not.toMatch(/\.part/)
    // the layer itself stays what was taken
    const again = await prepareEnvironment(store, seal(manifest, null), { ...options, cacheDir, python: python! })
    expect(again).toEqual(made)
  },
)
