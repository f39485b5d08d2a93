import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import type { Manifest } from '../../../../../core/contract/snapshot.ts'
import { uvEnvironment } from '../../../../../core/engine/install/uv.ts'
import { capture } from '../../../../../core/engine/snapshot/capture.ts'
import { FolderDepot } from '../../../../../core/engine/snapshot/depot.ts'
import {
  type DeriveOptions,
  deriveSnapshot,
  exactSnapshot,
  planPackages,
} from '../../../../../core/engine/snapshot/derive.ts'
import { readManifests, seal } from '../../../../../core/engine/snapshot/manifest.ts'
import { carryOutPush, planPush } from '../../../../../core/engine/snapshot/push.ts'
import { prepareEnvironment } from '../../../../../core/engine/snapshot/restore-environment.ts'
import { ObjectStore } from '../../../../../core/engine/snapshot/store.ts'
import { facts, put, python, smallComfy } from '../../../../kit/small-comfy.ts'
import { tempDir } from '../../../../kit/temp-dir.ts'

const hasUv = spawnSync('uv', ['--version']).status === 0

const packageOf = (name: string, version: string, url: string | null = null) => ({ name, version, url })
const manifestWith = (packages: Manifest['packages'], places: Manifest['places'] = []) =>
  ({ packages, places }) as unknown as Manifest

test('the versions stay, a card and a system do not', () => {
  const packages = [
    packageOf('torch', '2.8.0+cu128'),
    packageOf('torchvision', '0.23.0+cu128'),
    packageOf('nvidia-cublas-cu12', '12.8.4.1'),
    packageOf('triton-windows', '3.4.0'),
    packageOf('pywin32', '311'),
    packageOf('xformers', '0.0.32+cu128'),
    packageOf('numpy', '2.1.0'),
    packageOf('segment-anything', '1.0', 'git+https://example.org/sam.git@0123456789abcdef0123456789abcdef01234567'),
    packageOf('insightface', '0.7.3', 'https://example.org/insightface-0.7.3-cp312-cp312-win_amd64.whl'),
    packageOf('pure', '1.0', 'https://example.org/pure-1.0-py3-none-any.whl'),
    packageOf('mine', '1.0', 'file:///home/me/project/inner'),
    packageOf('lost', '1.0', 'file:///C:/Users/me/lost'),
    packageOf('--index-url', '1.0'),
    packageOf('odd', '1.0 --pre'),
  ]
  expect(planPackages(manifestWith(packages, [{ at: 'sources/0', was: '/home/me/project' }]), 'linux')).toEqual({
    torch: ['torch==2.8.0', 'torchvision==0.23.0'],
    others: [
      'xformers==0.0.32',
      'numpy==2.1.0',
      'segment-anything @ git+https://example.org/sam.git@0123456789abcdef0123456789abcdef01234567',
      'insightface==0.7.3',
      'pure @ https://example.org/pure-1.0-py3-none-any.whl',
      'lost==1.0',
    ],
    edited: [{ name: 'mine', source: '0/inner' }],
    left: [
      { path: 'pywin32', what: 'it is for win32 alone' },
      { path: '--index-url', what: 'it is no name and version of a package' },
      { path: 'odd', what: 'it is no name and version of a package' },
    ],
  })
})

/** A wheel of one module, made by Python's own zip. */
function wheel(dir: string, name: string, version: string, text: string) {
  mkdirSync(dir, { recursive: true })
  const info = `${name}-${version}.dist-info`
  const files = {
    [`${name}/__init__.py`]: text,
    [`${info}/METADATA`]: `Metadata-Version: 2.1\nName: ${name}\nVersion: ${version}\n`,
    [`${info}/WHEEL`]: 'Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n',
    [`${info}/RECORD`]: `${name}/__init__.py,,\n${info}/METADATA,,\n${info}/WHEEL,,\n${info}/RECORD,,\n`,
  }
  const script =
    'import json, sys, zipfile\nwith zipfile.ZipFile(sys.argv[1], "w") as z:\n  for n, t in json.load(sys.stdin).items(): z.writestr(n, t)'
  const file = path.join(dir, `${name}-${version}-py3-none-any.whl`)
  execFileSync(python!, ['-c', script, file], { input: JSON.stringify(files) })
  return files
}

test.skipIf(!python || !hasUv)(
  'a snapshot of another system is built for this one: same source and versions, then restored exactly',
  { timeout: 60_000 },
  async () => {
    const here = smallComfy(tempDir())
    const wheels = tempDir()
    wheel(wheels, 'tiny', '1.2', 'answer = 43\n')
    // of plain Python, and in no index any more: `renamed` has another name there now
    for (const [file, text] of Object.entries(wheel(tempDir(), 'renamed', '0.1', 'here = True\n')))
      put(path.join(here.packagesDir, file), text)
    put(
      path.join(here.packagesDir, 'native-3.0.dist-info', 'METADATA'),
      'Metadata-Version: 2.1\nName: native\nVersion: 3.0\n',
    )
    put(path.join(here.nodesDir, '风格', 'fast.pyd'), 'MZ')
    const store = await ObjectStore.open(tempDir())
    const work = tempDir()
    const env = uvEnvironment(process.env, {
      cache: path.join(work, 'uv'),
      pythons: path.join(work, 'pythons'),
      proxy: null,
    })
    const command = { env, log: path.join(work, 'commands.log') }
    const { manifest } = await capture(store, here, { ...facts, flags: [] }, { threads: 1, command })
    // its repository is gone, and nobody asks it: its files are in the snapshot
    const nodes = manifest.nodes.map((node) => ({
      ...node,
      remote: 'https://gone.invalid/x.git',
      commit: 'a'.repeat(40),
    }))
    const desk = { ...manifest, nodes, platform: { os: 'win32', arch: 'x64', libc: null } }
    const options: DeriveOptions = {
      builder: { uv: 'uv', indexes: [], torchIndexes: [], pythonBuilds: [], findLinks: wheels },
      buildDir: path.join(work, 'build'),
      python: here.python,
      creator: 'test',
      signingKey: null,
      now: () => 1000,
      threads: 1,
      command,
    }
    const derive = (from: Manifest) => deriveSnapshot(store, seal(from, null), options)

    // what is compiled for another system and in no index is named, and no snapshot is made
    await expect(derive(desk)).rejects.toMatchObject({
      code: 'snapshot.packages-gone',
      facts: { packages: 'native==3.0', count: 1 },
    })
    expect(await readManifests(store.snapshotsDir)).toEqual([])
    expect(existsSync(path.join(work, 'build'))).toBe(false)

    const without = { ...desk, packages: desk.packages.filter(({ name }) => name !== 'native') }
    const from = seal(without, null)
    const { sealed, left } = await derive(without)
    expect(left).toEqual([{ path: 'nodes/风格/fast.pyd', what: 'it was compiled for another platform' }])
    expect(sealed.manifest).toMatchObject({
      derivedFrom: from.id,
      platform: { os: process.platform },
      nodeClasses: ['A', 'B'],
      packages: [{ name: 'renamed' }, { name: 'tiny', version: '1.2' }],
    })
    const depot = new FolderDepot(tempDir())
    const build = async () => options
    expect((await exactSnapshot(store, from, { depot, build })).id).toBe(sealed.id) // built once
    const push = await planPush(store, sealed, depot)
    await carryOutPush(store, push, depot)
    const elsewhere = await ObjectStore.open(tempDir())
    const never = () => Promise.reject(new Error('it was built before'))
    expect((await exactSnapshot(elsewhere, from, { depot, build: never })).id).toBe(sealed.id)
    expect(await exactSnapshot(elsewhere, sealed, { depot: null, build: never })).toBe(sealed)

    const made = await prepareEnvironment(elsewhere, sealed, {
      cacheDir: tempDir(),
      python: here.python,
      threads: 1,
      command,
    })
    const said = execFileSync(made.python, ['-c', 'import tiny, renamed; print(tiny.answer, renamed.here)']).toString()
    expect(said.trim()).toBe('43 True')
    expect(readFileSync(path.join(made.base, 'custom_nodes', '风格', '__init__.py'), 'utf8')).toContain('NODE_CLASS')
  },
)
