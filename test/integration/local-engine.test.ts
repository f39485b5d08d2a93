import { randomUUID } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { type EngineView, InstallChoices } from '../../core/contract/engine.ts'
import { type Look, thisMachine } from '../../core/engine/installs.ts'
import type { Client } from '../../main/api/client.ts'
import { systemClock } from '../../main/services/clock.ts'
import { LocalEngine } from '../../main/services/local-engine.ts'
import { Fleet } from '../../main/services/workers/fleet.ts'
import type { LocalWorker } from '../../main/services/workers/local.ts'
import { alive } from '../kit/alive.ts'
import { comfyFolder } from '../kit/comfy-folder.ts'
import { quick } from '../kit/engine-kit.ts'
import { eventually } from '../kit/eventually.ts'
import { testDatabase } from '../kit/queue-kit.ts'
import { startApp } from '../kit/start-app.ts'
import { tempDir } from '../kit/temp-dir.ts'
import { workerPromises } from './worker-promises.ts'

const onLinux = process.platform === 'linux' // where another process can be looked into
const readyOf = (view: EngineView, at = 0) => {
  const { state } = view.processes[at]!
  if (state.is !== 'ready') throw new Error(`is ${JSON.stringify(state)}`)
  return state
}
const viewOf = async (client: Client, name = 'local') =>
  (await client.call('engine.list', {})).rows.find((row) => row.name === name)!

/** Engines with a fleet, without the rest of the app. */
async function engines(look?: Look) {
  const dataDir = tempDir()
  const database = testDatabase()
  const pace = { absenceMs: 200, patienceMs: 3_000 }
  const shared = { database, dataDir, clock: systemClock, newId: randomUUID }
  const secrets = { get: () => undefined, set: () => {}, remove: () => {}, values: () => [] }
  const fleet = new Fleet({ ...shared, secrets, pace })
  const localEngine = new LocalEngine({ ...shared, fleet, pace: quick, look })
  await fleet.start()
  await localEngine.start()
  onTestFinished(async () => {
    await localEngine.stop()
    await fleet.stop()
  })
  return { fleet, localEngine, dataDir }
}

workerPromises('a ComfyUI of this machine', async () => {
  const { fleet, localEngine } = await engines()
  await localEngine.adopt(comfyFolder())
  await localEngine.run('local')
  const worker = fleet.get('local')!
  await eventually(() => worker.health.is === 'ready')
  return worker
})

// NIGHTSHIFT_TEST_COMFYUI_DIR=DIR (and NIGHTSHIFT_TEST_COMFYUI_FLAGS=--cpu) makes a real one keep the same promises
const realDir = process.env.NIGHTSHIFT_TEST_COMFYUI_DIR
if (realDir)
  workerPromises(`the ComfyUI in ${realDir}`, async () => {
    const { fleet, localEngine, dataDir } = await engines()
    const baseDir = path.join(dataDir, 'base')
    for (const folder of ['models', 'input', 'output', 'user', 'custom_nodes'])
      mkdirSync(path.join(baseDir, folder), { recursive: true })
    const flags = (process.env.NIGHTSHIFT_TEST_COMFYUI_FLAGS ?? '').split(' ').filter(Boolean)
    await localEngine.adopt({ dir: realDir, settings: { flags, baseDir, autoStart: false } })
    await localEngine.run('local')
    const worker = fleet.get('local')!
    await eventually(() => worker.health.is === 'ready')
    return worker
  })

test('before what runs is replaced its workers get nothing more, and what is under way is waited for', async () => {
  const { fleet, localEngine } = await engines()
  await localEngine.adopt(comfyFolder({ stepMs: 60 }))
  await localEngine.run('local')
  const worker = fleet.get('local')!
  await eventually(() => worker.health.is === 'ready')
  const prompt = {
    '1': { class_type: 'EmptyImage', inputs: { width: 64, height: 48, batch_size: 1, color: 0 } },
    '2': { class_type: 'SaveImage', inputs: { filename_prefix: 'rest', images: ['1', 0] } },
  }
  const run = worker.run({ promptId: randomUUID(), jobId: 'j', prompt, pngInfo: {} }, new AbortController().signal)
  let ended = false
  const all = (async () => {
    for await (const _ of run);
    ended = true
  })()
  await eventually(() => (worker as LocalWorker).inFlight === 1)
  const again = await localEngine.rest('local', new AbortController().signal)
  await all
  expect(ended).toBe(true)
  expect(worker.health.is).toBe('disabled')
  await again()
  await eventually(() => worker.health.is === 'ready')

  const stopped = new AbortController()
  stopped.abort(new Error('no longer'))
  await localEngine.rest('local', stopped.signal) // nothing is under way, so there is nothing to wait for
})

test('an adopted folder is run in place, is a worker, and survives a restart of ours', async () => {
  const folder = comfyFolder()
  const before = readdirSync(folder.dir, { recursive: true }).toSorted()
  const first = await startApp()
  const adopted = await first.client.call('engine.adopt', { ...folder, settings: { flags: ['--lowvram'] } })
  expect(adopted).toMatchObject({ name: 'local', kind: 'manual', dir: folder.dir, version: '0.33.0' })
  expect(readdirSync(folder.dir, { recursive: true }).toSorted()).toEqual(before)
  const { pid } = readyOf(await first.client.call('engine.start', { name: 'local' }))
  if (onLinux) expect(readFileSync(`/proc/${pid}/cmdline`, 'utf8')).toContain('--lowvram')
  await first.stop()
  expect(alive(pid)).toBe(false)

  const again = await startApp({ dataDir: first.dataDir })
  const view = await again.client.call('engine.start', { name: 'local' })
  expect(view.settings.flags).toEqual(['--lowvram'])
  const { rows } = await again.client.call('worker.list', {})
  expect(rows.find(({ id }) => id === 'local')).toMatchObject({ kind: 'local', url: `${readyOf(view).url}/` })
})

test('ComfyUI killed twice in the middle of a batch: every picture is made, once', async () => {
  const app = await startApp({ enginePace: { firstPauseMs: 50, longestPauseMs: 100 } })
  await app.client.call('engine.adopt', comfyFolder())
  await app.client.call('engine.start', { name: 'local' })
  const colours = Array.from({ length: 40 }, (_, index) => index)
  const { batchId } = await app.submit({
    workers: ['local'],
    axes: [{ parameter: '1.color', values: colours }],
  })
  let killed = 0
  for (const done of [5, 20]) {
    await eventually(async () => (await app.client.call('batch.get', { id: batchId })).counts.done >= done)
    killed = await eventually(async () => {
      const { state } = (await viewOf(app.client)).processes[0]!
      return state.is === 'ready' && state.pid !== killed && state.pid
    })
    process.kill(killed, 'SIGKILL')
  }
  await app.ended(batchId)
  const { counts } = await app.client.call('batch.get', { id: batchId })
  expect(counts).toMatchObject({ done: 40, failed: 0, parked: 0 })
  const { total } = await app.client.call('artifact.page', { batchId, limit: 1 })
  expect(total).toBe(40)
  // another program may have taken its port while it was away: then it is started once more
  expect((await viewOf(app.client)).processes[0]!.restarts).toBeGreaterThanOrEqual(2)
})

test('a ComfyUI that the machine is found to have is adopted by its name there; no other folder is', async () => {
  const { dir, python } = comfyFolder()
  mkdirSync(path.join(dir, 'venv', 'bin'), { recursive: true })
  symlinkSync(python, path.join(dir, 'venv', 'bin', 'python'))
  const { localEngine } = await engines({ ...thisMachine(process.env), home: path.dirname(dir) })
  const { report, verdict } = await localEngine.machine()
  expect(report.installs).toContainEqual(expect.objectContaining({ dir, version: '0.33.0' }))
  expect(verdict.findings.map(({ facts }) => facts.dir)).toContain(dir)
  await expect(localEngine.adoptFound(tempDir())).rejects.toMatchObject({ code: 'engine.not-found' })
  const adopted = await localEngine.adoptFound(dir)
  expect(adopted.settings.cards.map(({ card }) => card)).toEqual([verdict.torch === 'cpu' ? 'cpu' : 'auto'])
  readyOf(await localEngine.run('local'))
})

test('pictures are the server’s own files under another name; stripped ones are files of their own', async () => {
  const app = await startApp()
  const { dir, python } = comfyFolder()
  await app.client.call('engine.adopt', { dir, python })
  await app.client.call('engine.start', { name: 'local' })
  const filesBelow = (folder: string) =>
    readdirSync(folder, { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.png'))
      .map((name) => statSync(path.join(folder, name)).ino)
  const { batchId } = await app.submit({ workers: ['local'], repeat: 2 })
  await app.ended(batchId)
  const [saved, kept] = [filesBelow(path.join(dir, 'output')), filesBelow(app.outputDir)]
  expect(saved).toHaveLength(2)
  expect(kept.toSorted()).toEqual(saved.toSorted())
  const stripped = await app.submit({ workers: ['local'], stripMetadata: true })
  await app.ended(stripped.batchId)
  expect(filesBelow(app.outputDir).filter((ino) => filesBelow(path.join(dir, 'output')).includes(ino))).toHaveLength(2)
})

/** As an installation leaves it: generations beside a folder for what stays. */
function installed(dataDir: string) {
  const home = path.join(dataDir, 'engines', 'local')
  const generation = path.join(home, 'generations', 'g1')
  comfyFolder({ dir: path.join(generation, 'ComfyUI') })
  mkdirSync(path.join(generation, 'venv', 'bin'), { recursive: true })
  const python = path.join(generation, 'venv', 'bin', 'python')
  writeFileSync(python, `#!/bin/sh\nshift\nexec '${process.execPath}' "$@"\n`, { mode: 0o755 }) // -s is Python's
  writeFileSync(path.join(home, 'current'), '{"current":"g1","previous":null}')
  const choices = InstallChoices.parse({ cpu: true })
  const journal = { purpose: 'install', choices, createdAt: 1, done: ['trial', 'switch'] }
  writeFileSync(path.join(generation, 'journal.json'), JSON.stringify(journal))
  return { output: path.join(home, 'base', 'output', 'nightshift') }
}

test.skipIf(!onLinux)(
  'what an installed one saves is linked among the pictures and gone from its own folder, also what a crash left there',
  async () => {
    const dataDir = tempDir()
    const { output } = installed(dataDir)
    const app = await startApp({ dataDir })
    await app.client.call('engine.start', { name: 'local' })
    const { batchId } = await app.submit({ workers: ['local'], repeat: 3 })
    await app.ended(batchId)
    const { rows } = await app.client.call('artifact.page', { batchId, limit: 10 })
    expect(rows).toHaveLength(3)
    await eventually(() => readdirSync(output).length === 0)
    const pictures = readdirSync(app.outputDir, { recursive: true, encoding: 'utf8' }).filter((name) =>
      name.endsWith('.png'),
    )
    expect(pictures).toHaveLength(3)
    const { pid } = readyOf(await viewOf(app.client))
    expect(readFileSync(`/proc/${pid}/cmdline`, 'utf8')).toContain(`--output-directory\0${path.dirname(output)}\0`)

    // a crash between the keeping and the clearing away, and files that are a person's
    const { tries } = await app.client.call('job.get', { id: rows[0]!.jobId })
    const left = path.join(output, `${tries[0]!.promptId}_00001_.png`)
    for (const file of [left, path.join(output, 'mine.png')]) writeFileSync(file, '')
    await app.stop()
    const again = await startApp({ dataDir })
    await again.client.call('engine.start', { name: 'local' })
    expect(readdirSync(output)).toEqual(['mine.png'])
    expect((await again.client.call('artifact.page', { batchId, limit: 10 })).rows).toHaveLength(3)
  },
)

test.skipIf(!onLinux)(
  'a ComfyUI that stands still in the middle of a batch is started again; no job fails of it, none is made twice',
  async () => {
    const app = await startApp({ enginePace: { stopMs: 500 } })
    await app.client.call('engine.adopt', comfyFolder())
    const { pid } = readyOf(await app.client.call('engine.start', { name: 'local' }))
    const colours = Array.from({ length: 20 }, (_, index) => index)
    const { batchId } = await app.submit({ workers: ['local'], axes: [{ parameter: '1.color', values: colours }] })
    await eventually(async () => (await app.client.call('batch.get', { id: batchId })).counts.done >= 5)
    process.kill(pid, 'SIGSTOP')
    await app.client.call('engine.restart', { name: 'local', process: 'local' })
    await app.ended(batchId)
    expect((await app.client.call('batch.get', { id: batchId })).counts).toMatchObject({
      done: 20,
      failed: 0,
      parked: 0,
    })
    expect((await app.client.call('artifact.page', { batchId, limit: 1 })).total).toBe(20)
    expect(alive(pid)).toBe(false)
  },
)

test('jobs wait while the engine is stopped, and begin when it is started', async () => {
  const app = await startApp()
  await app.client.call('engine.adopt', { ...comfyFolder(), settings: { autoStart: false } })
  const { batchId } = await app.submit({ workers: ['local'] })
  const waiting = await app.client.call('worker.list', {})
  expect(waiting.rows.find(({ id }) => id === 'local')!.health).toMatchObject({
    is: 'unreachable',
    because: { code: 'engine.not-running' },
  })
  await app.client.call('engine.start', { name: 'local' })
  await app.ended(batchId)
  expect((await app.client.call('batch.get', { id: batchId })).counts.done).toBe(1)
})

test('two cards are two processes with ports of their own, and two workers; one fewer ends only its own', async () => {
  const app = await startApp()
  const cards = [{ card: '0' }, { card: '1' }]
  await app.client.call('engine.adopt', { ...comfyFolder(), settings: { cards } })
  const view = await app.client.call('engine.start', { name: 'local' })
  expect(view.processes.map(({ id }) => id)).toEqual(['local-0', 'local-1'])
  expect(new Set([readyOf(view, 0).url, readyOf(view, 1).url]).size).toBe(2)
  if (onLinux) {
    const environment = readFileSync(`/proc/${readyOf(view, 1).pid}/environ`, 'utf8')
    expect(environment.split('\0')).toContain('CUDA_VISIBLE_DEVICES=1')
  }
  await app.client.call('engine.set', { name: 'local', settings: { cards: [{ card: '0' }] } })
  const { rows } = await app.client.call('worker.list', {})
  expect(rows.filter(({ kind }) => kind === 'local').map(({ id }) => id)).toEqual(['local'])
})

test('a start that fails tells why, and how its log ends can be searched', async () => {
  const app = await startApp()
  const { dir, python } = comfyFolder()
  await app.client.call('engine.adopt', { dir, python, name: 'broken', settings: { flags: ['--fails'] } })
  await expect(app.client.call('engine.start', { name: 'broken' })).rejects.toMatchObject({
    failure: { code: 'engine.missing-module', facts: { module: 'torch' } },
  })
  const { rows } = await app.client.call('engine.log', { process: 'broken', search: 'modulenotfound' })
  expect(rows.map(({ text }) => text)).toEqual(["ModuleNotFoundError: No module named 'torch'"])
  expect((await app.client.call('worker.list', {})).rows.find(({ id }) => id === 'broken')!.health).toMatchObject({
    because: { code: 'engine.missing-module' },
  })
  await app.client.call('engine.set', { name: 'broken', settings: { flags: [] } })
  readyOf(await app.client.call('engine.start', { name: 'broken' }))
})

test('what is no ComfyUI, a flag of ours, and a name that is taken are refused; removing leaves the folder', async () => {
  const app = await startApp()
  const folder = comfyFolder()
  const adopt = (more: object) =>
    app.client.call('engine.adopt', { ...folder, settings: { autoStart: false }, ...more })
  await expect(adopt({ dir: tempDir() })).rejects.toMatchObject({ failure: { code: 'engine.not-found' } })
  await expect(adopt({ python: '/no/python' })).rejects.toMatchObject({ failure: { code: 'engine.no-python' } })
  await expect(adopt({ settings: { flags: ['--port', '1'] } })).rejects.toMatchObject({
    failure: { code: 'engine.flag-ours' },
  })
  await expect(adopt({ name: 'rehearsal' })).rejects.toMatchObject({ failure: { code: 'engine.name-taken' } })
  expect((await app.client.call('engine.list', {})).rows).toEqual([])
  await adopt({})
  await expect(app.client.call('worker.remove', { id: 'local' })).rejects.toMatchObject({
    failure: { code: 'app.bad-request' },
  })
  await app.client.call('engine.remove', { name: 'local' })
  expect((await app.client.call('worker.list', {})).rows.map(({ id }) => id)).toEqual(['rehearsal'])
  expect(existsSync(path.join(folder.dir, 'main.py'))).toBe(true)
})
