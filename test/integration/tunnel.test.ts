import { randomUUID } from 'node:crypto'
import { cpSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { RehearsalServer } from '../../core/engine/rehearsal/server.ts'
import { systemClock } from '../../main/services/clock.ts'
import { Fleet } from '../../main/services/workers/fleet.ts'
import { alive } from '../kit/alive.ts'
import { eventually } from '../kit/eventually.ts'
import { ownPort } from '../kit/own-port.ts'
import { testDatabase } from '../kit/queue-kit.ts'
import { startApp } from '../kit/start-app.ts'
import { tempDir } from '../kit/temp-dir.ts'
import { workerPromises } from './worker-promises.ts'

const pace = { readyLookMs: 20, watchEveryMs: 50, firstPauseMs: 20, longestPauseMs: 50, answerWithinMs: 2_000 }

/** A program that does as ssh would, and what became of it. */
function fakeSsh(dir = tempDir()) {
  const [starts, away] = [path.join(dir, 'starts'), path.join(dir, 'away')]
  const program = path.join(import.meta.dirname, '..', 'kit', 'fake-ssh.mjs')
  return {
    away,
    ssh: {
      programs: [[process.execPath, program]] as const,
      env: { ...process.env, FAKE_SSH_STARTS: starts, FAKE_SSH_AWAY: away },
      pace,
    },
    /** Each with its process id and what it was asked. */
    started: () =>
      existsSync(starts)
        ? readFileSync(starts, 'utf8')
            .trim()
            .split('\n')
            .map((line) => JSON.parse(line))
        : [],
  }
}

async function aComfyui() {
  const server = new RehearsalServer({ dir: tempDir(), stepMs: 0, port: await ownPort() })
  await server.start()
  onTestFinished(() => server.stop())
  return { server, port: Number(new URL(server.url).port) }
}

async function aFleet(ssh: ReturnType<typeof fakeSsh>['ssh'], dataDir = tempDir(), database = testDatabase()) {
  const secrets = { get: () => undefined, set: () => {}, remove: () => {} }
  const shared = { database, dataDir, clock: systemClock, newId: randomUUID, secrets, ssh }
  const fleet = new Fleet({ ...shared, pace: { absenceMs: 200, patienceMs: 3_000 } })
  onTestFinished(() => fleet.stop())
  await fleet.start()
  return { fleet, dataDir, database }
}

workerPromises('a ComfyUI behind ssh', async () => {
  const { port } = await aComfyui()
  const { fleet } = await aFleet(fakeSsh().ssh)
  const { id } = await fleet.add({ url: `ssh://me@gpu/?comfyui=${port}` })
  return fleet.get(id)!
})

test('it is added by its ssh address, is there again after a restart, and no ssh is left when it is removed', async () => {
  const { port } = await aComfyui()
  const { ssh, started } = fakeSsh()
  const { fleet, dataDir, database } = await aFleet(ssh)
  const url = `ssh://me@gpu:2222/?comfyui=${port}`
  expect(await fleet.add({ url })).toMatchObject({ id: 'gpu', kind: 'remote', url, health: { is: 'ready' } })
  await expect(fleet.add({ url })).rejects.toMatchObject({ code: 'worker.duplicate' })
  expect(fleet.find(url)?.id).toBe('gpu')
  await fleet.stop()
  expect(started().filter(([pid]) => alive(pid))).toEqual([])

  const again = await aFleet(ssh, dataDir, database)
  await eventually(() => again.fleet.get('gpu')?.health.is === 'ready')
  await again.fleet.remove('gpu')
  expect(started().filter(([pid]) => alive(pid))).toEqual([])
  expect(readdirSync(path.join(dataDir, 'tunnels'))).toEqual([])
})

test.each([
  ['stranger', 'tunnel.unknown-host'],
  ['changed', 'tunnel.changed-host'],
  ['keyless', 'tunnel.key-refused'],
  ['nowhere', 'tunnel.no-host'],
  ['closed', 'tunnel.closed'],
  ['forbids', 'tunnel.forbidden'],
])('ssh to %s is told as %s, and leaves nothing behind', async (host, code) => {
  const { ssh, started } = fakeSsh()
  const { fleet } = await aFleet(ssh)
  await expect(fleet.test({ url: `ssh://me@${host}/` })).rejects.toMatchObject({ failure: { code } })
  expect(started().filter(([pid]) => alive(pid))).toEqual([])
})

test('where no ssh is, that is said', async () => {
  const { fleet } = await aFleet({ ...fakeSsh().ssh, programs: [['/no/ssh']] as never })
  await expect(fleet.test({ url: 'ssh://gpu' })).rejects.toMatchObject({ failure: { code: 'tunnel.no-ssh' } })
})

test('a ComfyUI that ends over there is told of by name, on the same connection, and is there again when it comes back', async () => {
  const { server, port } = await aComfyui()
  const { ssh, started } = fakeSsh()
  const { fleet } = await aFleet(ssh)
  await fleet.add({ url: `ssh://me@gpu/?comfyui=${port}` })
  const connections = started().length
  server.die()
  await eventually(() => {
    const health = fleet.get('gpu')!.health
    return health.is === 'unreachable' && health.because.code === 'tunnel.no-comfyui'
  })
  await server.start()
  await eventually(() => fleet.get('gpu')!.health.is === 'ready')
  expect(started()).toHaveLength(connections)
})

test('ssh that is killed in the middle of a batch is connected again; every picture is made, once', async () => {
  const { port, server } = await aComfyui()
  const { ssh, away, started } = fakeSsh()
  const app = await startApp({ ssh })
  await app.client.call('worker.add', { url: `ssh://me@gpu/?comfyui=${port}` })
  const colours = Array.from({ length: 30 }, (_, index) => index)
  const { batchId } = await app.submit({ workers: ['gpu'], axes: [{ parameter: '1.color', values: colours }] })
  await eventually(async () => (await app.client.call('batch.get', { id: batchId })).counts.done >= 5)
  writeFileSync(away, '')
  process.kill(started().at(-1)[0], 'SIGKILL')
  await eventually(async () => {
    const { rows } = await app.client.call('worker.list', {})
    const { health } = rows.find(({ id }) => id === 'gpu')!
    return health.is === 'unreachable' && health.because.code === 'tunnel.closed'
  })
  rmSync(away)
  await app.ended(batchId)
  expect((await app.client.call('batch.get', { id: batchId })).counts).toMatchObject({ done: 30, failed: 0 })
  expect((await app.client.call('artifact.page', { batchId, limit: 1 })).total).toBe(30)
  expect(server.submissions).toBe(30)
})

test('what a crash of ours left behind is ended at the next start', async () => {
  const { port } = await aComfyui()
  const { ssh, started } = fakeSsh()
  const { fleet, dataDir } = await aFleet(ssh)
  await fleet.add({ url: `ssh://me@gpu/?comfyui=${port}` })
  const pid = started().at(-1)[0]
  expect(alive(pid)).toBe(true)
  const crashed = tempDir() // as a crash leaves it: what is written there, an ssh that lives, nobody who looks after it
  cpSync(path.join(dataDir, 'tunnels'), path.join(crashed, 'tunnels'), { recursive: true })
  await aFleet(ssh, crashed)
  expect(alive(pid)).toBe(false)
})
