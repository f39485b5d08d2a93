import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, symlinkSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { EngineSettings } from '../../../../../core/contract/engine.ts'
import type { Failure } from '../../../../../core/contract/errors.ts'
import { findCulprits } from '../../../../../core/engine/custom-nodes/bisect.ts'
import { readRepository } from '../../../../../core/engine/custom-nodes/fetch.ts'
import {
  listLive,
  type NodeSet,
  pointAt,
  pointBack,
  setOfLive,
  settle,
  tidyAside,
  writeSet,
} from '../../../../../core/engine/custom-nodes/places.ts'
import { linesOf, readLine, readRequirements } from '../../../../../core/engine/custom-nodes/requirements.ts'
import { changesIn, locksOf } from '../../../../../core/engine/custom-nodes/resolve.ts'
import { scanNodes } from '../../../../../core/engine/custom-nodes/scan.ts'
import { withoutPlaces } from '../../../../../core/engine/custom-nodes/trial.ts'
import { hasGit } from '../../../../kit/has-git.ts'
import { nodeRepository, writeTree } from '../../../../kit/nodes-kit.ts'
import { tempDir } from '../../../../kit/temp-dir.ts'

const failure = (facts: Failure['facts'] = {}): Failure => ({ code: 'x', message: '', remedy: '', facts })
const names = (count: number) => Array.from({ length: count }, (_, at) => `node-${at}`)

describe('which custom nodes break it', () => {
  async function search(order: string[], bad: string[], { hinted = 0, named = false } = {}) {
    let tests = 0
    const found = await findCulprits(order, {
      hinted,
      test: async (set) => {
        tests++
        if (!bad.every((each) => set.includes(each))) return null
        return failure(named ? { folder: bad[0]! } : {})
      },
    })
    return { tests, culprits: found.culprits.toSorted() }
  }

  test('one bad of 40 is found in at most 7 starts, wherever it is', async () => {
    for (const bad of names(40)) {
      const { tests, culprits } = await search(names(40), [bad])
      expect(culprits).toEqual([bad])
      expect(tests).toBeLessThanOrEqual(7)
    }
  })

  test('two that are bad only together are found, and no others, in at most 14', async () => {
    for (const a of [0, 1, 13, 20, 38])
      for (const b of [2, 14, 19, 21, 39]) {
        const bad = [`node-${a}`, `node-${b}`]
        const { tests, culprits } = await search(names(40), bad)
        expect(culprits).toEqual(bad.toSorted())
        expect(tests).toBeLessThanOrEqual(14)
      }
    expect((await search(names(9), ['node-1', 'node-4', 'node-8'])).culprits).toEqual(['node-1', 'node-4', 'node-8'])
  })

  test('one that the log names first is looked at first', async () => {
    const order = ['node-30', ...names(40).filter((name) => name !== 'node-30')]
    expect(await search(order, ['node-30'], { hinted: 1 })).toEqual({ tests: 2, culprits: ['node-30'] })
    expect((await search(order, ['node-7'], { hinted: 1 })).culprits).toEqual(['node-7'])
    expect((await search(names(40), ['node-7'], { named: true })).tests).toBeLessThanOrEqual(5)
  })

  test('none is blamed when all are well, or when it is ill without any', async () => {
    expect((await search(names(40), ['nobody'])).culprits).toEqual([])
    const ill = await findCulprits(names(5), { test: async () => failure() })
    expect(ill).toEqual({ culprits: [], because: failure() })
    expect(await findCulprits([], { test: async () => null })).toEqual({ culprits: [], because: null })
  })
})

describe('custom nodes of a generation', () => {
  const settings = EngineSettings.parse({ cards: [{ card: 'cpu' }] })
  const kit = () => {
    const home = tempDir()
    const dir = path.join(home, 'ComfyUI')
    const live = path.join(dir, 'custom_nodes')
    mkdirSync(live, { recursive: true })
    const site = { name: 'mine', kind: 'manual' as const, dir, settings, home, python: '' }
    const read = (folder: string) => readFileSync(path.join(live, folder, '__init__.py'), 'utf8')
    return { home, live, site, read, aside: path.join(live, '.nightshift.disabled') }
  }
  /** One is updated, one removed, one switched off, one added; one is nobody's. */
  async function changed() {
    const it = kit()
    writeTree(it.live, {
      'updated/__init__.py': 'old',
      'removed/__init__.py': 'removed',
      'off/__init__.py': 'off',
      'single.py': 'single',
    })
    const before = await setOfLive(it.site, 'live-1')
    await writeSet(it.site, 'one', before)
    await pointAt(it.site, 'one')
    await settle(it.site)
    writeTree(path.join(it.aside, 'two'), { 'updated/__init__.py': 'new', 'added/__init__.py': 'added' })
    writeTree(it.live, { 'unknown/__init__.py': 'mine' })
    const { removed: _, ...others } = before.nodes
    const after: NodeSet = {
      nodes: {
        ...others,
        updated: { key: 'two', enabled: true },
        added: { key: 'two', enabled: true },
        off: { ...before.nodes.off!, enabled: false },
        'single.py': { ...before.nodes['single.py']!, enabled: false },
      },
      classes: null,
    }
    await writeSet(it.site, 'two', after)
    return it
  }
  const OLD = ['off', 'removed', 'single.py', 'unknown', 'updated']
  const NEW = ['added', 'off.disabled', 'single.py.disabled', 'unknown', 'updated']
  const there = (live: string) =>
    readdirSync(live)
      .filter((name) => !name.startsWith('.'))
      .toSorted()

  test('take their places when it is switched to, and go back with it', async () => {
    const { site, live, read } = await changed()
    await pointAt(site, 'two')
    await settle(site)
    expect(there(live)).toEqual(NEW)
    expect(read('updated')).toBe('new')
    await pointBack(site)
    await settle(site)
    expect(there(live)).toEqual(OLD)
    expect([read('updated'), read('unknown')]).toEqual(['old', 'mine'])
    await tidyAside(site)
    await pointBack(site)
    await settle(site)
    expect([there(live), read('updated'), read('added')]).toEqual([NEW, 'new', 'added'])
  })

  test('are whole after whoever moved them was killed between any two moves', async () => {
    for (let at = 0; ; at++) {
      const { site, live, read } = await changed()
      await pointAt(site, 'two')
      let moves = 0
      const cut = () => {
        if (moves++ === at) throw new Error('killed')
      }
      const done = await settle(site, cut).then(
        () => true,
        () => false,
      )
      await settle(site)
      expect(there(live)).toEqual(NEW)
      expect([read('updated'), read('added'), read('unknown')]).toEqual(['new', 'added', 'mine'])
      if (done) {
        expect(at).toBeGreaterThan(4)
        break
      }
    }
  })

  test('stay as a person changes them by hand afterwards', async () => {
    const { site, live } = await changed()
    await pointAt(site, 'two')
    await settle(site)
    renameSync(path.join(live, 'off.disabled'), path.join(live, 'off'))
    await settle(site)
    expect(existsSync(path.join(live, 'off'))).toBe(true)
  })

  test.skipIf(!hasGit)(
    'are found with where they are from, what they changed and what runs when they are installed',
    async () => {
      const { live, site, home } = kit()
      nodeRepository(path.join(live, 'by-git'), {
        '__init__.py': 'a',
        'install.py': 'print(1)',
        'requirements.txt': 'numpy\n',
      })
      writeTree(live, {
        'by-git/__init__.py': 'changed here',
        'by-git/mine.txt': 'x',
        'from-registry/pyproject.toml':
          '[project]\nname = "From-Registry"\nversion = "1.2.3"\n[tool.comfy]\nPublisherId = "p"\nDisplayName = "Nice Name"\n',
        'from-registry/.tracking': '__init__.py\ngone.py\npyproject.toml',
        'from-registry/__init__.py': '',
        'from-registry/config.json': '{}',
        'broken-toml/pyproject.toml': '[[[',
        'broken-toml/__init__.py': '',
        'off.disabled/__init__.py': '',
        '.disabled/old-pack@1_0_0/__init__.py': '',
        'one.py': '',
        'readme.md': '',
        '__pycache__/x.pyc': '',
      })
      const command = { env: process.env, log: path.join(home, 'log') }
      const nodes = await scanNodes(site, { classes: { nodes: { one: ['One'] }, core: [] }, loads: [], command })
      expect(nodes.map(({ folder, enabled, source }) => [folder, enabled, source.is])).toEqual([
        ['broken-toml', true, 'archive'],
        ['by-git', true, 'git'],
        ['from-registry', true, 'registry'],
        ['off', false, 'archive'],
        ['old-pack', false, 'archive'],
        ['one.py', true, 'file'],
      ])
      const [, byGit, registry, , , single] = nodes
      expect(byGit).toMatchObject({
        changedFiles: ['__init__.py'],
        addedFiles: ['mine.txt'],
        scripts: [{ file: 'install.py' }],
      })
      expect(registry).toMatchObject({
        title: 'Nice Name',
        version: '1.2.3',
        changedFiles: ['gone.py'],
        addedFiles: ['config.json'],
      })
      expect(single).toMatchObject({ title: 'one', classes: ['One'] })
    },
  )

  test('a link in place of a folder is moved as a link', async () => {
    const { live, site, home, aside } = kit()
    writeTree(home, { 'elsewhere/__init__.py': 'linked' })
    symlinkSync(path.join(home, 'elsewhere'), path.join(live, 'linked'), 'junction')
    await writeSet(site, 'one', await setOfLive(site, 'live-1'))
    await pointAt(site, 'one')
    await settle(site)
    await writeSet(site, 'two', { nodes: {}, classes: null })
    await pointAt(site, 'two')
    await settle(site)
    expect(await listLive(live)).toEqual([])
    expect(readFileSync(path.join(aside, 'live-1', 'linked', '__init__.py'), 'utf8')).toBe('linked')
    await pointBack(site)
    await settle(site)
    expect(readFileSync(path.join(home, 'elsewhere', '__init__.py'), 'utf8')).toBe('linked')
  })
})

describe('what a custom node requires', () => {
  test.for<[string, object]>([
    ['numpy', { is: 'wanted', package: 'numpy', spec: 'numpy' }],
    [
      'Pillow >= 10, <12 ; python_version > "3.9"',
      { package: 'pillow', spec: 'Pillow>= 10, <12 ; python_version > "3.9"' },
    ],
    ['diffusers[torch]~=0.30', { package: 'diffusers', spec: 'diffusers[torch]~=0.30' }],
    ['some_pack(>=1.0)', { package: 'some-pack', spec: 'some_pack>=1.0' }],
    [
      'sam2 @ git+https://github.com/o/sam2.git@main',
      { package: 'sam2', url: 'git+https://github.com/o/sam2.git@main' },
    ],
    ['git+https://github.com/o/Some.Pack.git', { package: 'some-pack' }],
    ['https://example.org/dlib-19.24-cp311-cp311-win_amd64.whl', { package: 'dlib' }],
    [
      'x --extra-index-url https://example.org/simple',
      { spec: 'x', without: '--extra-index-url https://example.org/simple' },
    ],
    ['--pre', { is: 'left-out', reason: 'option' }],
    ['-e git+https://github.com/o/r#egg=r', { reason: 'editable' }],
    ['./wheels/x.whl', { reason: 'editable' }],
    ['..\\x', { reason: 'editable' }],
    ['C:\\x', { reason: 'editable' }],
    ['x @ file:///x.whl', { reason: 'editable' }],
    ['http://example.org/x-1.whl', { reason: 'not-https' }],
    ['git@github.com:o/r.git', { reason: 'not-https' }],
    ['UV', { reason: 'tool', package: 'uv' }],
    ['comfyui_frontend_package>=1', { reason: 'core' }],
    ['x; --index-url', { is: 'wanted' }],
    ['numpy = 1', { reason: 'unreadable' }],
    ['import os', { reason: 'unreadable' }],
    ['x @ https://example.org/$' + '{TOKEN}', { reason: 'unreadable' }],
  ])('%s', ([line, expected]) => {
    expect(readLine(line)).toMatchObject(expected)
  })

  test('lines go on, end in every way, and may be remarks', () => {
    expect(linesOf('# a\r\nb \\\r\n  --hash=sha256:00 # c\rd\u2028e#f\n\n')).toEqual([
      'b    --hash=sha256:00',
      'd',
      'e#f',
    ])
  })

  test('a link out of the folder is not read', async () => {
    const dir = tempDir()
    writeTree(dir, { 'secret.txt': 'secret-line', 'node/requirements.txt': '-r linked.txt\nnumpy\n' })
    symlinkSync(path.join(dir, 'secret.txt'), path.join(dir, 'node', 'linked.txt'))
    const { wanted, leftOut } = await readRequirements(path.join(dir, 'node'), 'node')
    expect(wanted.map(({ spec }) => spec)).toEqual(['numpy'])
    expect(leftOut).toMatchObject([{ reason: 'outside' }])
  })

  test('what belongs to the card and to ComfyUI stays, NumPy within its major version', () => {
    const installed = {
      torch: '2.9.0+cu128',
      'nvidia-cublas-cu12': '12.8',
      numpy: '2.3.1',
      pillow: '12',
      'comfyui-frontend-package': '1.2',
    }
    expect(locksOf(new Map(Object.entries(installed))).map(({ line }) => line)).toEqual([
      'torch==2.9.0+cu128',
      'nvidia-cublas-cu12==12.8',
      'numpy>=2.3.1,<3',
      'comfyui-frontend-package==1.2',
    ])
  })

  test('what uv says it would do', () => {
    const said = [
      'Resolved 3 packages in 1s',
      ' - a==1',
      ' + a==2',
      ' + b==0.1 (from git+https://example.org/b)',
      ' ~ c==3',
      ' - d==4',
    ]
    expect(changesIn(said)).toEqual([
      { package: 'a', from: '1', to: '2' },
      { package: 'b', from: null, to: 'git+https://example.org/b' },
      { package: 'd', from: '4', to: null },
    ])
  })
})

test('a repository’s page names its address and its branch', () => {
  expect(readRepository('https://github.com/o/r/tree/dev')).toEqual({
    url: 'https://github.com/o/r',
    ref: 'dev',
    name: 'r',
  })
  expect(readRepository(' https://github.com/o/r.git/ ')).toEqual({
    url: 'https://github.com/o/r.git',
    ref: null,
    name: 'r',
  })
  expect(readRepository('git@github.com:o/My.Pack.git')).toEqual({
    url: 'git@github.com:o/My.Pack.git',
    ref: null,
    name: 'My.Pack',
  })
})

test('a trial has places of its own', () => {
  const flags = ['--cpu', '--base-directory', '/a', '--output-directory=/b', '--fast', '--user-directory', '/c']
  expect(withoutPlaces(flags)).toEqual(['--cpu', '--fast'])
})
