import { randomUUID } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { expect, test as plain } from 'vitest'
import { readAddress } from '../../core/engine/comfy/address.ts'
import { RehearsalServer } from '../../core/engine/rehearsal/server.ts'
import { ComfyWorker } from '../../main/services/workers/comfy-worker.ts'
import { eventually } from '../kit/eventually.ts'
import { ownPort } from '../kit/own-port.ts'
import { tempDir } from '../kit/temp-dir.ts'
import { all, anAttempt, aPicture, fetched, filesOf, soon } from './worker-promises.ts'

const test = plain.extend<{ server: RehearsalServer; worker: ComfyWorker }>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads the names a fixture asks for
  server: async ({}, use) => {
    const server = new RehearsalServer({ dir: tempDir(), stepMs: 0, port: await ownPort() })
    await server.start()
    await use(server)
    await server.stop()
  },
  worker: async ({ server }, use) => {
    const worker = new ComfyWorker({
      id: 'rehearsal',
      kind: 'rehearsal',
      address: readAddress(server.url),
      newId: randomUUID,
      now: Date.now,
      pace: { lookEveryMs: 200, absenceMs: 50, patienceMs: 600 },
      healthEveryMs: 100,
    })
    worker.start()
    await eventually(() => worker.health.is === 'ready')
    await use(worker)
    await worker.close()
  },
})

test('a prompt that is over before the server replies is not missed', async ({ server, worker }) => {
  server.onNext('finish-before-reply')
  expect((await all(worker.run(anAttempt(aPicture()), soon()))).at(-1)!.is).toBe('saved')
})

test('a prompt nothing is told of is found in the history', async ({ server, worker }) => {
  server.onNext('deaf-socket')
  expect((await all(worker.run(anAttempt(aPicture()), soon()))).at(-1)!.is).toBe('saved')
})

test('a node that repeats the key of the account in its failure tells nobody', async ({ server }) => {
  const worker = new ComfyWorker({
    id: 'gpu',
    kind: 'remote',
    address: readAddress(server.url),
    newId: randomUUID,
    now: Date.now,
    accountKey: () => 'asked',
  })
  worker.start()
  try {
    server.onNext('error')
    const attempt = { ...anAttempt(aPicture()), paid: true }
    const ending = (await all(worker.run(attempt, soon()))).at(-1)!
    expect(ending).toMatchObject({ is: 'failed', failure: { facts: { reason: 'the rehearsal was ••• to fail' } } })
    expect(await worker.recover(attempt.promptId)).toEqual(ending)
  } finally {
    await worker.close()
  }
})

test('a socket cut mid-run does not lose the prompt', async ({ server, worker }) => {
  server.onNext('drop-socket')
  expect((await all(worker.run(anAttempt(aPicture()), soon()))).at(-1)!.is).toBe('saved')
  expect(server.submissions).toBe(1)
})

test('a server that dies mid-run is unreachable; restarted, it knows nothing of the prompt', async ({
  server,
  worker,
}) => {
  server.onNext('die-mid-run')
  const attempt = anAttempt(aPicture())
  await expect(all(worker.run(attempt, soon()))).rejects.toMatchObject({ code: 'worker.unreachable' })
  await expect(worker.recover(attempt.promptId)).rejects.toMatchObject({ code: 'worker.unreachable' })
  await eventually(() => worker.health.is === 'unreachable')
  await server.start()
  await eventually(() => worker.health.is === 'ready')
  expect(await worker.recover(attempt.promptId)).toEqual({ is: 'lost' })
  expect((await all(worker.run(anAttempt(aPicture()), soon()))).at(-1)!.is).toBe('saved')
})

test('a server that dies and is back at once while a prompt is followed: the prompt is lost, not waited for', async ({
  server,
  worker,
}) => {
  server.onNext('hold')
  const attempt = anAttempt(aPicture())
  const run = all(worker.run(attempt, soon()))
  await server.held()
  server.die()
  await server.start()
  expect((await run).at(-1)).toEqual({ is: 'lost' })
})

test('a download that breaks off is taken up where it broke', async ({ server, worker }) => {
  server.onNext('truncate-view')
  const [file] = filesOf(await all(worker.run(anAttempt(aPicture({ width: 700, height: 500 })), soon())))
  const broken = await fetched(worker, file!)
  expect(broken).toEqual(await fetched(worker, file!))
  expect(broken.subarray(-8, -4).toString('latin1')).toBe('IEND')
})

test('running out of memory may be tried again', async ({ server, worker }) => {
  server.onNext('oom')
  expect((await all(worker.run(anAttempt(aPicture()), soon()))).at(-1)).toMatchObject({
    is: 'failed',
    retryable: true,
    failure: { code: 'prompt.out-of-memory', facts: { nodeType: 'EmptyImage' } },
  })
})

test('a server that stumbles over the submission is said so, and another try may work', async ({ server, worker }) => {
  server.onNext('http-500')
  expect(await all(worker.run(anAttempt(aPicture()), soon()))).toEqual([
    {
      is: 'failed',
      retryable: true,
      failure: expect.objectContaining({ code: 'prompt.rejected', message: expect.stringContaining('HTTP 500') }),
    },
  ])
  expect(server.submissions).toBe(0)
})

test('a running prompt is interrupted by cancelling it', async ({ server, worker }) => {
  server.onNext('hold')
  const attempt = anAttempt(aPicture())
  const run = all(worker.run(attempt, soon()))
  await server.held()
  await worker.cancel(attempt.promptId)
  expect((await run).at(-1)).toEqual({ is: 'interrupted' })
})

test('an input file that was changed is another file', async ({ worker }) => {
  const file = path.join(tempDir(), 'a.png')
  writeFileSync(file, 'first')
  const value = await worker.upload({ path: file, name: 'a.png' })
  const there = { filename: value.split('/')[1]!, subfolder: 'nightshift', type: 'input' as const }
  expect((await fetched(worker, there)).toString()).toBe('first')
  writeFileSync(file, 'second, longer')
  expect(await worker.upload({ path: file, name: 'a.png' })).not.toBe(value)
})

test('an input file that is not there is said to be missing', async ({ worker }) => {
  await expect(worker.upload({ path: '/nowhere/a.png', name: 'a.png' })).rejects.toMatchObject({
    code: 'input.missing',
  })
})
