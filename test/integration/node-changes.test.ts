import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type NodeChange, NodeConsent, type NodePlan } from '../../core/contract/custom-node.ts'
import { bisectNodes, readBisect } from '../../core/engine/custom-nodes/bisect.ts'
import { carryOutNodes, planNodes, undoNodes } from '../../core/engine/custom-nodes/change.ts'
import { settle } from '../../core/engine/custom-nodes/places.ts'
import { generationDir, readPointer, writePointer } from '../../core/engine/install/generations.ts'
import { damageIn, readLock, sitePackages } from '../../core/engine/install/lock.ts'
import { hostileRequirements } from '../kit/hostile-requirements.ts'
import { commitTo, nodeCode, nodeRepository, tinyInstalled, writeTree } from '../kit/nodes-kit.ts'
import { pythonHere, uvHere, zipOf } from '../kit/tiny-comfy.ts'

const why = uvHere() === null ? 'no uv here' : pythonHere() === null ? 'no Python 3.10 to 3.13 here' : null
type Engine = Awaited<ReturnType<typeof tinyInstalled>>

const add = (url: string, ref: string | null = null): NodeChange => ({
  is: 'add',
  from: { is: 'git', url, ref },
  folder: null,
})
const all = (plan: NodePlan): NodeConsent => ({
  scripts: plan.scripts.map(({ sha256 }) => sha256),
  builds: true,
  packages: true,
  without: plan.clashes.map(({ wants }) => ({ folder: wants.folder, line: wants.line })),
})
const none = NodeConsent.parse({})
async function change(engine: Engine, changes: NodeChange[], consent?: NodeConsent) {
  const plan = await planNodes(engine.site(), engine.tools(), changes)
  return { plan, result: await carryOutNodes(engine.site(), engine.tools(), plan.id, consent ?? all(plan)) }
}
/** Every file of what runs, with size and time: nothing of it may change. */
async function environmentOf(engine: Engine) {
  const { current } = readPointer(engine.home)!
  const site = await sitePackages(generationDir(engine.home, current))
  const files = readdirSync(site, { recursive: true, encoding: 'utf8' }).filter((file) => !file.includes('__pycache__'))
  return files.toSorted().map((file) => {
    const { size, mtimeMs, ino } = statSync(path.join(site, file))
    return `${file} ${size} ${mtimeMs} ${ino}`
  })
}
const version = async (engine: Engine, name: string) => {
  const lock = await readLock(generationDir(engine.home, readPointer(engine.home)!.current))
  return lock?.packages[name]?.version ?? null
}

describe.skipIf(why !== null)(
  `custom nodes of a tiny ComfyUI with the real uv${why === null ? '' : ` (${why})`}`,
  () => {
    let engine: Engine
    beforeAll(async () => {
      engine = await tinyInstalled(realpathSync(mkdtempSync(path.join(tmpdir(), 'nightshift-'))))
    })
    afterAll(() => rmSync(engine.root, { recursive: true, force: true, maxRetries: 5 }))

    test.for(hostileRequirements)(
      '$name: what runs stays as it is, and what is in the way is named',
      async (hostile) => {
        const repository = path.join(engine.root, 'hostile', hostile.name)
        nodeRepository(repository, { '__init__.py': nodeCode(['Hostile']), ...hostile.files })
        const before = await environmentOf(engine)
        const plan = await planNodes(
          engine.site(),
          engine.tools(),
          [{ ...add(repository), folder: 'hostile' } as NodeChange],
          {
            ...none,
            builds: hostile.builds ?? false,
          },
        )
        expect(plan.clashes.map((clash) => [clash.package, clash.because])).toEqual(hostile.clashes ?? [])
        expect(plan.leftOut.map(({ reason }) => reason)).toEqual(hostile.leftOut ?? [])
        expect(plan.packages.map((each) => each.package)).toEqual(hostile.adds ?? [])
        for (const clash of plan.clashes)
          if (clash.because !== 'missing' && clash.because !== 'build') expect(clash.against).not.toEqual([])
        if (plan.clashes.length > 0)
          await expect(carryOutNodes(engine.site(), engine.tools(), plan.id, none)).rejects.toMatchObject({
            code: 'nodes.clash',
          })
        if (hostile.fails)
          await expect(carryOutNodes(engine.site(), engine.tools(), plan.id, none)).rejects.toMatchObject({
            code: hostile.fails,
          })
        expect(await environmentOf(engine)).toEqual(before)
        expect(readdirSync(engine.live)).toEqual([])
      },
    )

    test('a package whose building sleeps is ended in its time, and named', async () => {
      const repository = path.join(engine.root, 'sleeper')
      const sdist = path.join(engine.root, 'sdist', 'sleeper-1.0')
      writeTree(sdist, {
        'setup.py': 'import time\ntime.sleep(600)\n',
        'pyproject.toml':
          '[build-system]\nrequires = []\nbuild-backend = "slow"\nbackend-path = ["."]\n[project]\nname = "sleeper"\ndynamic = ["version"]\n',
        'slow.py': 'import time\ntime.sleep(600)\n',
        'PKG-INFO': 'Metadata-Version: 2.1\nName: sleeper\nVersion: 1.0\n',
      })
      execFileSync('tar', [
        'czf',
        path.join(engine.wheels, 'sleeper-1.0.tar.gz'),
        '-C',
        path.dirname(sdist),
        'sleeper-1.0',
      ])
      nodeRepository(repository, { '__init__.py': nodeCode(['Sleeper']), 'requirements.txt': 'sleeper\n' })
      const asked = await planNodes(engine.site(), engine.tools(), [add(repository)])
      expect(asked.clashes).toMatchObject([{ package: 'sleeper', because: 'build' }])
      const consent = { ...none, builds: true }
      const plan = await planNodes(engine.site(), engine.tools(), [add(repository)], consent)
      expect(plan.builds).toEqual(['sleeper'])
      const tools = engine.tools({ limits: { installMs: 6_000 } })
      await expect(carryOutNodes(engine.site(), tools, plan.id, consent)).rejects.toMatchObject({
        code: 'nodes.too-long',
        facts: { what: expect.stringContaining('sleeper') },
      })
      expect(readdirSync(path.join(engine.home, 'generations'))).toHaveLength(1)
    })
  },
)

describe.skipIf(why !== null)(`a change of custom nodes${why === null ? '' : ` (${why})`}`, () => {
  test('added, updated with a person’s own changes, switched off, removed; and back', async () => {
    const engine = await tinyInstalled()
    const first = readPointer(engine.home)!.current
    writeTree(engine.live, { 'by-hand/__init__.py': nodeCode(['ByHand']), 'by-hand/mine.txt': 'mine' })
    const repository = path.join(engine.root, 'pack')
    const [one, two] = nodeRepository(
      repository,
      {
        '__init__.py': nodeCode(['PackOne'], 'import harmless'),
        'requirements.txt': 'harmless<2\n',
        'notes.txt': 'a\n',
        'install.py': 'open("installed.txt", "w").write("yes")\n',
      },
      { '__init__.py': nodeCode(['PackOne', 'PackTwo'], 'import harmless'), 'requirements.txt': 'harmless\n' },
    )
    const environment = await environmentOf(engine)
    const added = await change(engine, [add(repository, one!)])
    expect(added.result).toMatchObject({
      packages: [{ package: 'harmless', from: null, to: '1.0' }],
      classes: { pack: ['PackOne'] },
      scripts: [{ folder: 'pack', file: 'install.py', is: 'done' }],
    })
    const second = readPointer(engine.home)!
    expect(second).toEqual({ current: added.result.generation, previous: first })
    expect(readFileSync(path.join(engine.live, 'pack', 'installed.txt'), 'utf8')).toBe('yes')
    expect(
      await damageIn(
        generationDir(engine.home, second.current),
        (await readLock(generationDir(engine.home, second.current)))!,
      ),
    ).toEqual([])
    await writePointer(engine.home, { current: first, previous: second.current })
    expect(await environmentOf(engine)).toEqual(environment)
    await writePointer(engine.home, second)

    writeFileSync(path.join(engine.live, 'pack', 'notes.txt'), 'my own\n')
    writeFileSync(path.join(engine.live, 'pack', 'config.json'), '{}')
    const updated = await change(engine, [
      { is: 'update', folder: 'pack', from: { is: 'git', url: repository, ref: two! } },
    ])
    expect(updated.result.classes).toEqual({ pack: ['PackOne', 'PackTwo'] })
    expect(readFileSync(path.join(engine.live, 'pack', 'notes.txt'), 'utf8')).toBe('my own\n')
    expect(existsSync(path.join(engine.live, 'pack', 'config.json'))).toBe(true)

    // back: what was there, with what the person had changed then
    const now = readPointer(engine.home)!
    await writePointer(engine.home, { current: now.previous!, previous: now.current })
    await settle(engine.site())
    expect(readFileSync(path.join(engine.live, 'pack', '__init__.py'), 'utf8')).not.toContain('PackTwo')
    expect(readFileSync(path.join(engine.live, 'pack', 'notes.txt'), 'utf8')).toBe('my own\n')

    await change(engine, [{ is: 'disable', folder: 'pack' }])
    expect(readdirSync(engine.live).toSorted()).toEqual(['by-hand', 'pack.disabled'])
    await change(engine, [{ is: 'enable', folder: 'pack' }])
    await change(engine, [{ is: 'remove', folder: 'pack' }])
    expect(readdirSync(engine.live)).toEqual(['by-hand'])
    const removed = readPointer(engine.home)!
    await writePointer(engine.home, { current: removed.previous!, previous: removed.current })
    await settle(engine.site())
    expect(readdirSync(engine.live).toSorted()).toEqual(['by-hand', 'pack'])
    expect(readFileSync(path.join(engine.live, 'by-hand', 'mine.txt'), 'utf8')).toBe('mine')
  })

  test('one that does not load, takes the others’ classes, or replaces PyTorch by its script, is refused and leaves nothing', async () => {
    const engine = await tinyInstalled()
    const pip = (what: string) =>
      `import subprocess, sys, os\nsubprocess.check_call(["uv", "pip", "install", "--python", sys.executable, "--no-index", "--find-links", ${JSON.stringify(engine.wheels)}, "${what}"])\n`
    const packs: [string, Record<string, string>, string][] = [
      ['broken', { '__init__.py': 'import a_module_that_is_not_there\n' }, 'nodes.broken'],
      ['ends-it', { '__init__.py': 'import os\nos._exit(3)\n' }, 'nodes.broken'],
      [
        'replaces',
        { '__init__.py': nodeCode(['Replaces']), 'install.py': pip('torch==2.4.0') },
        'nodes.locked-changed',
      ],
      ['replaces-when-loaded', { '__init__.py': nodeCode(['Loaded'], pip('torch==2.4.0')) }, 'nodes.locked-changed'],
      ['no-node', { 'readme.md': 'nothing' }, 'nodes.not-a-node'],
    ]
    const before = await environmentOf(engine)
    for (const [name, files, code] of packs) {
      nodeRepository(path.join(engine.root, name), files)
      await expect(change(engine, [add(path.join(engine.root, name))]), name).rejects.toMatchObject({ code })
      expect(await environmentOf(engine)).toEqual(before)
      expect(readdirSync(engine.live)).toEqual([])
      expect(readdirSync(path.join(engine.home, 'generations'))).toHaveLength(1)
    }
    const fine = path.join(engine.root, 'fine')
    nodeRepository(fine, {
      '__init__.py': nodeCode(['Fine']),
      'requirements.txt': 'numpy<2\nharmless\n',
      'install.py': 'raise SystemExit(1)',
    })
    const plan = await planNodes(engine.site(), engine.tools(), [add(fine)])
    const without = plan.clashes.map(({ wants: { folder, line } }) => ({ folder, line }))
    const result = await carryOutNodes(engine.site(), engine.tools(), plan.id, { ...none, without })
    expect(result.scripts).toMatchObject([{ is: 'not-allowed' }])
    expect([await version(engine, 'numpy'), await version(engine, 'harmless')]).toEqual(['2.3.1', '2.0'])
    await expect(change(engine, [add(fine)])).rejects.toMatchObject({ code: 'nodes.already' })
  })

  test('an archive and a file are installed; one that leads outside is refused', async () => {
    const engine = await tinyInstalled()
    const zip = path.join(engine.root, 'pack-main.zip')
    writeFileSync(zip, zipOf({ 'pack-main/__init__.py': nodeCode(['Zipped']), 'pack-main/sub/a.txt': 'a' }))
    const file = path.join(engine.root, 'single.py')
    writeFileSync(file, nodeCode(['Single']))
    const { result } = await change(engine, [
      { is: 'add', from: { is: 'archive', url: zip }, folder: null },
      { is: 'add', from: { is: 'file', url: file }, folder: null },
    ])
    expect(result.classes).toEqual({ pack: ['Zipped'], 'single.py': ['Single'] })
    expect(readdirSync(engine.live).toSorted()).toEqual(['pack', 'single.py'])
    for (const name of [
      '../out.py',
      '/abs.py',
      'a/../../b.py',
      'C:/x.py',
      '.git/hooks/post-checkout',
      'CON\u0000.py',
      'a\\..\\..\\b.py',
    ]) {
      writeFileSync(zip, zipOf({ '__init__.py': '', [name]: 'bad' }))
      const bad = planNodes(engine.site(), engine.tools(), [
        { is: 'add', from: { is: 'archive', url: zip }, folder: 'bad' },
      ])
      await expect(bad, name).rejects.toMatchObject({ code: 'nodes.unsafe' })
    }
    expect(existsSync(path.join(engine.root, 'out.py'))).toBe(false)
  })

  test('in a ComfyUI that is not ours packages change only when agreed, and all of it is undone', async () => {
    const engine = await tinyInstalled()
    const { dir, python, settings } = engine.site()
    const home = path.join(engine.data, 'engines', 'mine')
    const site = { name: 'mine', kind: 'manual' as const, dir, python, settings: { ...settings, baseDir: null }, home }
    const live = path.join(dir, 'custom_nodes')
    writeTree(live, { 'theirs/__init__.py': nodeCode(['Theirs']) })
    const repository = path.join(engine.root, 'pack')
    nodeRepository(repository, {
      '__init__.py': nodeCode(['Pack'], 'import harmless'),
      'requirements.txt': 'harmless\ntinydep>=1.6\n',
    })
    const tools = engine.tools()
    const before = await environmentOf(engine)
    const there = () =>
      readdirSync(live)
        .filter((name) => !/^\.|^__/.test(name))
        .toSorted()

    const plan = await planNodes(site, tools, [add(repository)])
    expect(plan).toMatchObject({ way: 'in-place', packages: [{ package: 'harmless' }, { from: '1.5.0', to: '1.6.0' }] })
    await expect(carryOutNodes(site, tools, plan.id, none)).rejects.toMatchObject({ code: 'nodes.needs-consent' })
    expect([await environmentOf(engine), there()]).toEqual([before, ['theirs']])

    const result = await carryOutNodes(site, tools, plan.id, all(plan))
    expect(result).toMatchObject({ generation: null, classes: { pack: ['Pack'] } })
    expect(there()).toEqual(['pack', 'theirs'])
    await undoNodes(site, tools)
    expect(there()).toEqual(['theirs'])
    const installed = (await environmentOf(engine)).join('\n')
    expect(installed).toContain('tinydep-1.5.0.dist-info')
    expect(installed).not.toContain('harmless')

    // one that installs by itself when it is loaded, even in a trial
    const sly = path.join(engine.root, 'sly')
    const install = ['uv', 'pip', 'install', '--no-index', '--find-links', engine.wheels, 'harmless', '--python']
    nodeRepository(sly, {
      '__init__.py': nodeCode(
        ['Sly'],
        `import subprocess, sys\nsubprocess.check_call(${JSON.stringify(install)} + [sys.executable])`,
      ),
    })
    const quiet = await planNodes(site, tools, [add(sly)])
    expect(quiet.packages).toEqual([])
    await expect(carryOutNodes(site, tools, quiet.id, none)).rejects.toMatchObject({
      code: 'nodes.needs-consent',
      facts: { packages: 'harmless 2.0' },
    })
    expect([(await environmentOf(engine)).join('\n').includes('harmless'), there()]).toEqual([false, ['theirs']])
    const agreed = await carryOutNodes(site, tools, quiet.id, { ...none, packages: true })
    expect(agreed.packages).toEqual([{ package: 'harmless', from: null, to: '2.0' }])
    await undoNodes(site, tools)
    expect([(await environmentOf(engine)).join('\n').includes('harmless'), there()]).toEqual([false, ['theirs']])

    // one that fails its trial puts the packages back
    commitTo(repository, { '__init__.py': 'import a_module_that_is_not_there\n' })
    const broken = await planNodes(site, tools, [add(repository)])
    await expect(carryOutNodes(site, tools, broken.id, all(broken))).rejects.toMatchObject({ code: 'nodes.broken' })
    expect((await environmentOf(engine)).join('\n')).not.toContain('harmless')
    expect(there()).toEqual(['theirs'])
  })

  test('one that was switched to by a process that was killed then is done, whoever asks again', async () => {
    const engine = await tinyInstalled()
    const repository = path.join(engine.root, 'pack')
    nodeRepository(repository, { '__init__.py': nodeCode(['Pack']) })
    const plan = await planNodes(engine.site(), engine.tools(), [add(repository)])
    const dies = engine.tools({
      point: (name) => {
        if (name === 'nodes.settled') throw new Error('killed')
      },
    })
    await expect(carryOutNodes(engine.site(), dies, plan.id, none)).rejects.toThrow('killed')
    const { current } = readPointer(engine.home)!
    const again = await carryOutNodes(engine.site(), engine.tools(), plan.id, none)
    expect(again).toMatchObject({ generation: current, classes: { pack: ['Pack'] } })
    await expect(carryOutNodes(engine.site(), engine.tools(), plan.id, none)).rejects.toMatchObject({
      code: 'nodes.plan-gone',
    })
  })

  test('the one of many that breaks it is found, going on after an interruption, with what helps', async () => {
    const engine = await tinyInstalled()
    const repository = path.join(engine.root, 'pack')
    nodeRepository(repository, { '__init__.py': nodeCode(['Pack']) })
    for (let at = 0; at < 12; at++)
      writeTree(path.join(engine.live, `tiny-${at}`), { '__init__.py': nodeCode([`Tiny${at}`]) })
    await change(engine, [add(repository)])
    writeTree(engine.live, { 'pack/__init__.py': 'import os\nos._exit(3)\n' })
    const stopping = new AbortController()
    const cut = await bisectNodes({
      site: engine.site(),
      tools: engine.tools({ signal: stopping.signal }),
      check: { is: 'start' },
      onNews: ({ boots }) => {
        if (boots.length === 2) stopping.abort()
      },
    })
    expect(cut).toMatchObject({ is: 'cancelled', culprits: [] })
    expect(cut.boots).toHaveLength(2)
    const found = await bisectNodes({ site: engine.site(), tools: engine.tools(), check: { is: 'start' } })
    expect(found).toMatchObject({ is: 'done', culprits: ['pack'], remedies: ['roll-back', 'disable', 'update'] })
    expect(found.boots.slice(0, 2)).toEqual(cut.boots)
    expect(found.boots.length).toBeLessThanOrEqual(5)
    expect(await readBisect(engine.site())).toEqual(found)
    expect(readdirSync(engine.live)).toHaveLength(13)
  })

  test('killed at any point, it is all as it was or all as it should be', { timeout: 300_000 }, async () => {
    const engine = await tinyInstalled()
    const repository = path.join(engine.root, 'pack')
    nodeRepository(repository, {
      '__init__.py': nodeCode(['Pack1'], 'import harmless'),
      'requirements.txt': 'harmless<2\n',
    })
    await change(engine, [add(repository)])
    const points = ['nodes.packages', 'nodes.switched']
    for (const [at, point] of points.entries()) {
      const wanted = at % 2 === 0 ? 'harmless>=2\n' : 'harmless<2\n'
      commitTo(repository, {
        '__init__.py': nodeCode([`Pack${at + 2}`], 'import harmless'),
        'requirements.txt': wanted,
      })
      const child = spawn(
        process.execPath,
        [path.resolve(import.meta.dirname, '../kit/change-and-die.ts'), engine.data, engine.wheels, point],
        {
          stdio: 'inherit',
          env: engine.tools().env,
        },
      )
      const [, signal] = await once(child, 'close')
      expect(signal, point).toBe('SIGKILL')
      await settle(engine.site())
      const switched = points.indexOf(point) >= points.indexOf('nodes.switched')
      const code = readFileSync(path.join(engine.live, 'pack', '__init__.py'), 'utf8')
      const dir = generationDir(engine.home, readPointer(engine.home)!.current)
      const has = /Pack(\d+)/.exec(code)![1]
      const before = /^2/.test((await version(engine, 'harmless')) ?? '')
      expect(await damageIn(dir, (await readLock(dir))!), point).toEqual([])
      if (switched) {
        expect(has, point).toBe(String(at + 2))
        expect(before, point).toBe(at % 2 === 0)
      } else {
        expect(has, point).not.toBe(String(at + 2))
        await change(engine, [{ is: 'update', folder: 'pack', from: null }])
      }
      expect(readFileSync(path.join(engine.live, 'pack', '__init__.py'), 'utf8'), point).toContain(`Pack${at + 2}`)
    }
  })
})
