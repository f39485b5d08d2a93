import { readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { type ComfyAddress, readAddress } from '../../core/engine/comfy/address.ts'
import { RehearsalServer } from '../../core/engine/rehearsal/server.ts'
import { FolderBucket } from '../../core/engine/store/bucket.ts'
import { ComfyRunner } from '../../core/gateway/fc/runner.ts'
import { BucketTasks } from '../../core/gateway/fc/tasks.ts'
import { aWorkflow } from '../kit/agent-kit.ts'
import { eventually } from '../kit/eventually.ts'
import { published } from '../kit/published-kit.ts'
import { aDesk, aModel, spoilPacks } from '../kit/release-kit.ts'
import { put, python } from '../kit/small-comfy.ts'
import { tempDir } from '../kit/temp-dir.ts'

const picture = (seed: number) => ({
  1: { class_type: 'EmptyImage', inputs: { width: 64, height: 64, batch_size: 1, color: seed } },
  2: { class_type: 'SaveImage', inputs: { images: ['1', 0], filename_prefix: 'p' } },
})

describe.skipIf(!python)('a release', { timeout: 300_000 }, () => {
  test('is made ready while nothing changes, can be tried, serves once it is promoted; one that lacks something never does', async () => {
    const desk = aDesk()
    const box = await desk.agent()
    expect((await box.ask('/readyz')).json()).toEqual({ ok: false, phase: 'no-release' })
    expect(await box.ask('/api/run', { body: picture(1) })).toMatchObject({ status: 503 })

    const first = await box.publish({ snapshotId: await desk.push() })
    const ready = await box.until(first, 'ready')
    expect(Object.keys(ready.seconds)).toEqual(['fetch', 'restore', 'models', 'start', 'verify', 'canary'])
    expect((await box.ask('/readyz')).status).toBe(503)
    const tried = await box.ask('/api/run', { body: picture(2), headers: { 'x-release': String(first) } })
    expect(tried.json()['2']).toMatchObject({ images: [{ type: 'output' }] })
    expect((await box.ask('/api/run', { body: picture(3), headers: { 'x-release': '9' } })).status).toBe(409)

    expect((await box.promote(first)).json()).toMatchObject({ version: 1, state: { is: 'live' } })
    expect((await box.ask('/readyz')).status).toBe(200)
    expect((await box.ask('/api/run', { body: picture(4) })).status).toBe(200)
    expect((await box.ask('/api/snapshot')).json()).toMatchObject({ version: 1, phase: 'ready' })

    put(path.join(desk.here.nodesDir, '风格', '__init__.py'), 'NODE_CLASS_MAPPINGS = {"New": 1}\n')
    const lacks = await box.publish({ snapshotId: await desk.push({ nodeClasses: ['SaveImage', 'Missing节点'] }) })
    const refusal = (version: number) =>
      eventually(async () => {
        const { state } = await box.view(version)
        return state.is === 'refused' && state.failure
      })
    expect(await refusal(lacks)).toMatchObject({
      code: 'release.no-classes',
      facts: { classes: 'Missing节点', count: 1 },
    })

    put(path.join(desk.here.nodesDir, 'dies', '__init__.py'), '')
    const dies = await box.publish({ snapshotId: await desk.push() })
    expect((await refusal(dies)).code).toMatch(/^engine\./)
    rmSync(path.join(desk.here.nodesDir, 'dies'), { recursive: true })
    const program = path.join(desk.here.dir, 'main.py')
    const code = readFileSync(program, 'utf8')
    const itself = 'os.path.join(base, "custom_nodes", "风格", "__init__.py")'
    put(program, code.replace('node =', `open(${itself}, "a").write("# other\\n")\nnode =`))
    const changes = await box.publish({ snapshotId: await desk.push() })
    expect(await refusal(changes)).toMatchObject({
      code: 'release.other-versions',
      facts: { differences: 'custom_nodes/风格/__init__.py (–)', count: 1 },
    })
    put(program, code)
    const before = new Set(await desk.packs())
    put(path.join(desk.here.nodesDir, '风格', 'more.py'), 'x = 1\n'.repeat(500))
    const snapshotId = await desk.push()
    spoilPacks(
      desk.storeDir,
      (await desk.packs()).filter((pack) => !before.has(pack)),
    )
    const damaged = await refusal(await box.publish({ snapshotId }))
    expect(damaged.code).toBe('snapshot.damaged')

    expect((await box.view(first)).state).toEqual({ is: 'live' })
    expect((await box.ask('/api/run', { body: picture(5) })).status).toBe(200)
    expect(
      (await box.ask('/v1/log'))
        .json()
        .rows.map(({ text }: { text: string }) => text)
        .join('\n'),
    ).toContain('release.refused version=3')
  })

  test('takes over while the one before ends what it runs; going back is the same way; the others of the store follow', async () => {
    const desk = aDesk()
    const box = await desk.agent()
    const one = await box.publish({ snapshotId: await desk.push() })
    await box.promote(one)
    await box.until(one, 'live')
    const workflows = [published({ panel: null, parameters: [] })]
    const two = await box.publish({ snapshotId: await desk.push(), workflows, note: '第二版' })
    await box.until(two, 'ready')
    desk.hold()
    const long = box.ask('/api/run', { body: aWorkflow(1), headers: { 'task-id': 'long' } })
    await eventually(async () => (await box.ask('/api/status?id=long')).json()[''].state === 'running')
    expect((await box.promote(two)).json().state).toEqual({ is: 'live' })
    expect((await box.view(one)).state).toEqual({ is: 'retired' })
    expect((await box.ask('/api/status?id=long')).json()[''].state).toBe('running')
    desk.letGo()
    expect((await long).status).toBe(200)
    const other = await desk.agent()
    expect((await other.ask('/readyz')).status).toBe(503)
    expect((await other.ask('/api/workflows')).json()).toMatchObject({ workflows: [{ id: 'postcard' }] })
    await other.until(two, 'live')
    expect((await other.ask('/api/run', { body: picture(1) })).status).toBe(200)
    await eventually(() => box.logged.some(({ event, version }) => event === 'release.ended' && version === one))

    await box.promote(one)
    await Promise.all([box.until(one, 'live'), other.until(one, 'live')])
    expect((await box.ask('/v1/releases')).json().rows).toMatchObject([
      { version: 2, note: '第二版', state: { is: 'retired' } },
      { version: 1, state: { is: 'live' } },
    ])
  })

  test('a model that is nowhere is named; found by its content under another name, it is linked, and the release is the same one', async () => {
    const desk = aDesk()
    const { dir, file, needed } = aModel()
    const bytes = readFileSync(file)
    rmSync(file)
    const box = await desk.agent({ models: [dir], cache: path.join(desk.storeDir, 'cache') })
    const { prompt, ...offered } = published({ panel: null, parameters: [] })
    const workflow = {
      ...offered,
      prompt: { ...prompt, 4: { class_type: 'SaveImage', inputs: { seed: 2n ** 64n - 1n } } },
    }
    const asked = { snapshotId: await desk.push({ models: [needed] }), models: [needed], workflows: [workflow] }
    const version = await box.publish(asked)
    const refused = await eventually(async () => {
      const { state } = await box.view(version)
      return state.is === 'refused' && state.failure
    })
    expect(refused).toMatchObject({ code: 'release.no-models', facts: { count: 1 } })
    expect(refused.message).toContain('checkpoints/画风/a.safetensors')

    writeFileSync(file, bytes)
    expect(await box.publish(asked)).toBe(version)
    await box.until(version, 'ready')
    const base = path.join(desk.storeDir, 'cache', 'environments', asked.snapshotId, 'base')
    expect(readlinkSync(path.join(base, 'models', 'checkpoints', '画风', 'a.safetensors'))).toBe(file)

    const foreign = { ...needed, name: 'b.safetensors' }
    const reply = await box.ask('/v1/releases', { body: { ...asked, models: [foreign], workflows: [] } })
    expect(reply).toMatchObject({ status: 422 })
    expect(reply.json().code).toBe('release.not-its-model')
    const nowhere = await box.ask('/v1/releases', { body: { snapshotId: 'a'.repeat(64), models: [], workflows: [] } })
    expect(nowhere.json()).toMatchObject({ code: 'release.no-snapshot' })
  })

  test('of a ComfyUI that is killed a task is done by the next; two share what comes', async () => {
    const desk = aDesk()
    const id = await desk.push()
    const box = await desk.agent({ snapshot: id.slice(0, 12), workers: 2, inFlight: 1 })
    await eventually(async () => (await box.ask('/readyz')).status === 200)
    expect((await box.ask('/v1/releases')).json().rows).toMatchObject([{ snapshotId: id, state: { is: 'live' } }])
    desk.hold()
    const runs = [1, 2].map((seed) =>
      box.ask('/api/run', { body: aWorkflow(seed), headers: { 'task-id': `t${seed}` } }),
    )
    const state = async (id: string) => (await box.ask(`/api/status?id=${id}`)).json()[''].state
    await eventually(async () => (await state('t1')) === 'running' && (await state('t2')) === 'running')
    const { pid } = await eventually(() => {
      const text = readFileSync(path.join(box.processes, 'release-1-0.pid.json'), 'utf8')
      return JSON.parse(text).root as { pid: number } | null
    })
    process.kill(pid, 'SIGKILL')
    desk.letGo()
    expect((await Promise.all(runs)).map(({ status }) => status)).toEqual([200, 200])
    expect(box.logged.filter(({ event }) => event === 'task.again')).toHaveLength(1)
    const said = (await box.ask('/api/snapshot')).json()
    expect(said.workers).toMatchObject([{ restarts: 1 }, { restarts: 0 }])
  })
})

test('only a key that may publish sees releases', async () => {
  const desk = aDesk()
  const box = await desk.agent({ keys: ['sk_test run'], worker: 'rehearsal' })
  for (const way of ['/v1/releases', '/v1/releases/1', '/v1/log']) expect((await box.ask(way)).status).toBe(403)
  expect((await box.ask('/v1/releases', { body: {} })).status).toBe(403)
})

test('a task that waits where no ComfyUI comes up is done by another agent of the store', async () => {
  const comfyui = new RehearsalServer({ dir: tempDir(), stepMs: 0 })
  await comfyui.start()
  const store = new BucketTasks(new FolderBucket(tempDir()))
  const runner = (places: ComfyAddress[]) =>
    new ComfyRunner({ places: () => places, store, now: Date.now, leaseMs: 150 })
  const [stranded, other] = [runner([]), runner([readAddress(comfyui.url)])]
  onTestFinished(async () => {
    await Promise.all([stranded.stop(0), other.stop(0)])
    await comfyui.stop()
  })
  await stranded.start()
  await stranded.submit('t', picture(1))
  await other.start()
  const task = await stranded.result('t', AbortSignal.timeout(60_000))
  expect(task).toMatchObject({ state: 'succeeded', attempt: 2 })
})
