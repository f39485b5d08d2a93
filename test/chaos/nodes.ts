// Custom nodes of a real ComfyUI: one bad of 40, and a pair, are found; an update killed at random moments is all old or all
// new. For an engine that `engine install` made in DATA; what custom nodes it has are put aside meanwhile.
// npm run chaos:nodes -- DATA [--find-links DIR] [--index URL] [--kills 10] [--within SECONDS] [--only bisect|kills]
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { NodeConsent } from '../../core/contract/custom-node.ts'
import { bisectNodes, forgetBisect } from '../../core/engine/custom-nodes/bisect.ts'
import { carryOutNodes, planNodes } from '../../core/engine/custom-nodes/change.ts'
import { settle } from '../../core/engine/custom-nodes/places.ts'
import { generationDir, readJournal, readPointer } from '../../core/engine/install/generations.ts'
import { damageIn, readLock } from '../../core/engine/install/lock.ts'
import { sweepOrphans } from '../../core/engine/process/supervisor.ts'
import { commitTo, installedSite, nodeCode, nodeRepository, nodesTools, writeTree } from '../kit/nodes-kit.ts'

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    'find-links': { type: 'string' },
    index: { type: 'string' },
    kills: { type: 'string', default: '10' },
    within: { type: 'string', default: '40' },
    only: { type: 'string', default: 'bisect,kills' },
    child: { type: 'boolean', default: false },
  },
})
const [data] = positionals
if (!data) throw new Error('usage: DATA [--find-links DIR] [--index URL] [--kills 10] [--within SECONDS]')
const tools = nodesTools(data, {
  indexes: values.index === undefined ? [] : [values.index],
  findLinks: values['find-links'] ?? null,
})
const tell = (event: string, facts: object) => process.stdout.write(`${JSON.stringify({ event, ...facts })}\n`)
const site = installedSite(data)
const live = path.join(site.home, 'base', 'custom_nodes')

if (values.child) {
  const plan = await planNodes(site, tools, [{ is: 'update', folder: 'pack', from: null }])
  await carryOutNodes(site, tools, plan.id, NodeConsent.parse({}))
  process.exit(0)
}

const asidePath = `${live}-meanwhile`
renameSync(live, asidePath)
mkdirSync(live)
const root = mkdtempSync(path.join(tmpdir(), 'nightshift-nodes-'))
try {
  if (values.only.includes('bisect')) await bisects()
  if (values.only.includes('kills')) await kills()
} finally {
  rmSync(live, { recursive: true, force: true })
  renameSync(asidePath, live)
  rmSync(root, { recursive: true, force: true })
}

async function bisects() {
  const names = Array.from({ length: 40 }, (_, at) => `tiny-${String(at).padStart(2, '0')}`)
  const rounds: [what: string, check: 'start' | 'picture', code: Record<string, string>][] = [
    ['one ends it', 'start', { 'tiny-37': 'import os\nos._exit(3)' }],
    [
      'one keeps it from painting',
      'picture',
      { 'tiny-02': 'import nodes\nnodes.SaveImage.save_images = lambda self, **_: 1 / 0' },
    ],
    [
      'two are bad only together',
      'picture',
      {
        'tiny-11': 'import nodes\nnodes.TINY = True',
        'tiny-30':
          'import nodes\nif getattr(nodes, "TINY", False): nodes.SaveImage.save_images = lambda self, **_: 1 / 0',
      },
    ],
  ]
  for (const [what, is, bad] of rounds) {
    rmSync(live, { recursive: true, force: true })
    for (const name of names)
      writeTree(path.join(live, name), { '__init__.py': nodeCode([`C${name.slice(5)}`], bad[name]) })
    await forgetBisect(site)
    const since = performance.now()
    const view = await bisectNodes({ site, tools, check: { is } })
    const seconds = Math.round((performance.now() - since) / 1000)
    const { culprits, because, remedies } = view
    tell('bisect', { what, culprits, boots: view.boots.length, seconds, because: because?.code, remedies })
    const most = Object.keys(bad).length === 1 ? 7 : 14
    if (culprits.toSorted().join() !== Object.keys(bad).join() || view.boots.length > most)
      throw new Error(`${what}: wrong`)
  }
  rmSync(live, { recursive: true, force: true })
  mkdirSync(live)
}

async function kills() {
  const repository = path.join(root, 'pack')
  const files = (at: number) => ({
    '__init__.py': nodeCode([`Pack${at}`], 'import humanize'),
    'requirements.txt': at % 2 === 0 ? 'humanize==4.9.0\n' : 'humanize==4.10.0\n',
  })
  nodeRepository(repository, files(0))
  const first = await planNodes(site, tools, [
    { is: 'add', from: { is: 'git', url: repository, ref: null }, folder: null },
  ])
  await carryOutNodes(site, tools, first.id, NodeConsent.parse({}))
  let has = 0
  for (let at = 1; at <= Number(values.kills); at++) {
    commitTo(repository, files(at))
    const child = spawn(process.execPath, [import.meta.filename, ...process.argv.slice(2), '--child'], {
      stdio: 'ignore',
    })
    const ended = once(child, 'close')
    const afterMs = Math.round(Math.random() * Number(values.within) * 1000)
    const finished = await Promise.race([ended.then(() => true), pause(afterMs, false)])
    child.kill('SIGKILL')
    const [code] = await ended
    if (finished && code !== 0) throw new Error(`the change failed (${code})`)
    await sweepOrphans(tools.stateDir) // as each start of Nightshift does
    await settle(site)
    const pointer = readPointer(site.home)!
    const dir = generationDir(site.home, pointer.current)
    const [journal, lock] = await Promise.all([readJournal(dir), readLock(dir)])
    if (!journal?.done.includes('trial') || !lock) throw new Error(`${pointer.current} is not whole`)
    const damages = await damageIn(dir, lock)
    if (damages.length > 0) throw new Error(`${pointer.current} is damaged: ${JSON.stringify(damages[0])}`)
    const now = Number(/Pack(\d+)/.exec(readFileSync(path.join(live, 'pack', '__init__.py'), 'utf8'))![1])
    const wanted = now % 2 === 0 ? '4.9.0' : '4.10.0'
    if (now !== has && now !== at) throw new Error(`it has neither the old nor the new: ${now}`)
    if (lock.packages.humanize?.version !== wanted)
      throw new Error(`${now} with humanize ${lock.packages.humanize?.version}`)
    if (readdirSync(live).join() !== 'pack' || existsSync(path.join(live, 'pack.disabled')))
      throw new Error('more is there')
    tell('kill', { at, afterMs, finished, is: now === at ? 'new' : 'old' })
    has = now
  }
}
