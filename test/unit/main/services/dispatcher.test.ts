import { once } from 'node:events'
import { describe, expect, test } from 'vitest'
import { AppError, toFailure } from '../../../../core/contract/errors.ts'
import type { JobProgress } from '../../../../core/contract/job.ts'
import type { Made } from '../../../../main/services/dispatcher.ts'
import { eventually } from '../../../kit/eventually.ts'
import { FakeWorker } from '../../../kit/fake-worker.ts'
import { aBatch, someJobs, startKit, story } from '../../../kit/queue-kit.ts'

const idsOf = (kit: Awaited<ReturnType<typeof startKit>>) => kit.queue.page({}).rows.map(({ id }) => id)

test('every job of a batch is made once, in order, never more than two at the server', async () => {
  const kit = await startKit()
  kit.queue.submit(aBatch(), someJobs(20))
  await kit.dispatcher.settle()
  const ids = idsOf(kit)
  expect(kit.worker.submitted.map(({ jobId }) => jobId)).toEqual(ids)
  expect(kit.queue.counts().done).toBe(20)
  expect(kit.worker.mostHeld).toBeLessThanOrEqual(2)
  expect([...kit.kept.values()].map((names) => names.length)).toEqual(ids.map(() => 1))
})

test('one prompt runs and one is ready; the next goes when the first ends', async () => {
  const kit = await startKit()
  kit.worker.holding = true
  kit.queue.submit(aBatch(), someJobs(3))
  await eventually(() => kit.worker.submissions === 2)
  kit.worker.complete()
  await eventually(() => kit.worker.submissions === 3)
  expect(kit.worker.mostHeld).toBe(2)
})

test('two workers share a batch', async () => {
  const workers = [new FakeWorker('a'), new FakeWorker('b')]
  for (const worker of workers) worker.holding = true
  const kit = await startKit({ workers })
  kit.queue.submit(aBatch(), someJobs(4))
  await eventually(() => workers.every(({ submissions }) => submissions === 2))
})

describe('recovery', () => {
  test('a job whose server saved its picture and died before telling is adopted, not run again', async () => {
    const kit = await startKit()
    kit.worker.onNext('die-after-saving')
    kit.queue.submit(aBatch(), someJobs(1))
    await kit.dispatcher.settle()
    const [id] = idsOf(kit)
    expect(kit.queue.get(id!).state).toBe('running') // nobody knows yet
    kit.worker.comeBack()
    kit.clock.turn(1000)
    await eventually(() => kit.queue.counts().done === 1)
    expect(story(kit.queue, id!)).toEqual(['waiting', 'running', 'done'])
    expect(kit.worker.submissions).toBe(1)
  })
  test('a server that died and forgot: the job runs again once', async () => {
    const kit = await startKit()
    kit.worker.onNext('die-mid-run')
    kit.queue.submit(aBatch(), someJobs(1))
    await kit.dispatcher.settle()
    kit.worker.comeBack({ forgetful: true })
    kit.clock.turn(1000)
    await eventually(() => kit.queue.counts().done === 1)
    const [id] = idsOf(kit)
    expect(story(kit.queue, id!)).toEqual(['waiting', 'running', 'waiting', 'running', 'done'])
    expect(kit.worker.submissions).toBe(2)
  })
  test('a prompt that was running both times its server died is not run a third time', async () => {
    const kit = await startKit()
    kit.worker.onNext('die-mid-run', 'die-mid-run')
    kit.queue.submit(aBatch(), someJobs(1))
    for (const _ of [1, 2]) {
      await eventually(() => kit.worker.health.is === 'unreachable')
      await kit.dispatcher.settle()
      kit.worker.comeBack({ forgetful: true })
      kit.clock.turn(1000)
    }
    await eventually(() => kit.queue.counts().failed === 1)
    expect(kit.queue.get(idsOf(kit)[0]!).failure?.code).toBe('prompt.forgotten')
    expect(kit.worker.submissions).toBe(2)
  })
  test('a prompt that never arrived goes again, however often', async () => {
    const kit = await startKit({ workers: [new FakeWorker('w1', { capacity: 1 })] })
    kit.worker.onNext(...Array.from({ length: 6 }, () => 'die-before-taking' as const))
    kit.queue.submit(aBatch(), someJobs(1))
    for (let at = 0; at < 6; at += 1) {
      await eventually(() => kit.worker.health.is === 'unreachable')
      await kit.dispatcher.settle()
      kit.worker.comeBack()
      kit.clock.turn(1000)
    }
    await eventually(() => kit.queue.counts().done === 1)
    expect(kit.worker.submissions).toBe(1)
    expect(kit.queue.get(idsOf(kit)[0]!).attempts).toBe(7)
  })
  test('time alone never makes a job run twice', async () => {
    const kit = await startKit()
    kit.worker.onNext('die-mid-run')
    kit.queue.submit(aBatch(), someJobs(1))
    await kit.dispatcher.settle()
    kit.clock.turn(48 * 3_600_000)
    await kit.dispatcher.settle()
    expect(kit.queue.get(idsOf(kit)[0]!)).toMatchObject({ state: 'running', attempts: 1 })
  })
  test('quitting with a long prompt running and starting again adopts its picture', async () => {
    const kit = await startKit()
    kit.worker.holding = true
    kit.queue.submit(aBatch(), someJobs(1))
    await eventually(() => kit.worker.running)
    await kit.dispatcher.stop()
    expect(kit.queue.counts().running).toBe(1)
    kit.worker.complete()
    await kit.restart()
    await eventually(() => kit.queue.counts().done === 1)
    expect(kit.worker.submissions).toBe(1)
  })
  test('artifacts kept just before the host died count, even if the worker has forgotten the prompt', async () => {
    const kit = await startKit()
    kit.worker.holding = true
    kit.queue.submit(aBatch(), someJobs(1))
    await eventually(() => kit.worker.running)
    await kit.dispatcher.stop()
    kit.finished.add(idsOf(kit)[0]!)
    kit.worker.server.clear()
    await kit.restart()
    expect(kit.queue.counts().done).toBe(1)
    expect(kit.worker.submissions).toBe(1)
  })
  test('one still running at the next start is followed to its end', async () => {
    const kit = await startKit()
    kit.worker.holding = true
    kit.queue.submit(aBatch(), someJobs(3))
    await eventually(() => kit.worker.submissions === 2)
    await kit.restart()
    kit.worker.complete()
    await eventually(() => kit.worker.submissions === 3)
    kit.worker.complete()
    kit.worker.complete()
    await eventually(() => kit.queue.counts().done === 3)
    expect(kit.worker.mostHeld).toBe(2)
  })
  test('a lost attempt of a worker that was removed needs a person', async () => {
    const kit = await startKit()
    kit.worker.onNext('die-mid-run')
    kit.queue.submit(aBatch(), someJobs(1))
    await kit.dispatcher.settle()
    kit.fleet.remove('w1')
    const job = kit.queue.get(idsOf(kit)[0]!)
    expect([job.state, job.failure?.code]).toEqual(['parked', 'prompt.unclear'])
    expect(kit.queue.retry({ ids: [job.id] })).toBe(1)
  })
})

describe('failures', () => {
  test('out of memory is tried again by itself after a while, a refused prompt is not', async () => {
    const kit = await startKit()
    kit.worker.onNext('out-of-memory', 'refuse')
    kit.queue.submit(aBatch({ retries: 1 }), someJobs(2))
    await kit.dispatcher.settle()
    expect(kit.queue.page({}).rows.map(({ state }) => state)).toEqual(['waiting', 'failed'])
    kit.clock.turn(5_000)
    await kit.dispatcher.settle()
    expect(kit.queue.page({}).rows.map(({ state }) => state)).toEqual(['done', 'failed'])
  })
  test('a prompt that cannot be made fails its job and stops nothing else', async () => {
    const kit = await startKit({
      prepare: async (job) => {
        if (job.index === 0) throw new AppError('input.missing', { name: 'fox.png' })
      },
    })
    kit.queue.submit(aBatch(), someJobs(2))
    await kit.dispatcher.settle()
    const [first, second] = kit.queue.page({}).rows
    expect([first!.failure?.code, first!.attempts, second!.state]).toEqual(['input.missing', 0, 'done'])
  })
  test('a full disk pauses the queue, loses nothing, and resuming keeps what was made', async () => {
    let full = true
    const kit = await startKit({
      keep: async () => {
        if (full) throw new AppError('disk.full', { dir: '/out' })
      },
    })
    kit.queue.submit(aBatch(), someJobs(4))
    await eventually(() => kit.queue.paused() === 'after-current')
    expect(kit.dispatcher.state().stalled?.code).toBe('disk.full')
    full = false
    kit.queue.resume()
    await kit.dispatcher.settle()
    expect([kit.queue.counts().done, kit.worker.submissions, kit.kept.size]).toEqual([4, 4, 4])
  })
  test('a restart while the disk is full keeps the picture later', async () => {
    let full = true
    const kit = await startKit({
      keep: async () => {
        if (full) throw new AppError('disk.full', { dir: '/out' })
      },
    })
    kit.queue.submit(aBatch(), someJobs(1))
    await eventually(() => kit.queue.paused() === 'after-current')
    full = false
    await kit.restart()
    await eventually(() => kit.queue.counts().done === 1)
    expect(kit.worker.submissions).toBe(1)
  })
  test('outputs that cannot be fetched while the worker is away are kept when it is back', async () => {
    let away = true
    const kit = await startKit({
      keep: async () => {
        if (away) throw new AppError('worker.unreachable', { url: 'http://fake', reason: 'reset' })
      },
    })
    kit.queue.submit(aBatch(), someJobs(1))
    await kit.dispatcher.settle()
    away = false
    kit.clock.turn(1000)
    await eventually(() => kit.queue.counts().done === 1)
    expect(kit.worker.submissions).toBe(1)
  })
})

describe('cancelling and pausing', () => {
  test('cancelling a running job interrupts it on the worker, and one that waits there too', async () => {
    const kit = await startKit()
    kit.worker.holding = true
    kit.queue.submit(aBatch(), someJobs(3))
    await eventually(() => kit.worker.submissions === 2)
    kit.queue.cancel({ all: true })
    await eventually(() => kit.queue.counts().cancelled === 3)
    await kit.dispatcher.settle()
    expect(kit.worker.running).toBeUndefined()
    expect(kit.queue.batch('b1').endedAt).not.toBeNull()
  })
  test('a job cancelled while its worker is away is cancelled at once, and on the worker when it is back', async () => {
    const kit = await startKit()
    kit.worker.holding = true
    kit.queue.submit(aBatch(), someJobs(1))
    const promptId = await eventually(() => kit.worker.running)
    kit.worker.die()
    await kit.dispatcher.settle()
    kit.queue.cancel({ all: true })
    expect(kit.queue.counts().cancelled).toBe(1)
    expect(kit.worker.server.get(promptId)?.ending).toBeNull()
    kit.worker.comeBack()
    await eventually(() => kit.worker.server.get(promptId)?.ending?.is === 'interrupted')
    await eventually(() => kit.queue.leftovers('w1').length === 0)
  })
  test('pausing after the current ones lets them finish; pausing now puts them back, uncounted', async () => {
    const kit = await startKit()
    kit.worker.holding = true
    kit.queue.submit(aBatch(), someJobs(4))
    await eventually(() => kit.worker.submissions === 2)
    kit.queue.pause('after-current')
    kit.worker.complete()
    await eventually(() => kit.queue.counts().done === 1)
    expect(kit.queue.counts()).toMatchObject({ running: 1, waiting: 2 })
    kit.queue.pause('now')
    await eventually(() => kit.queue.counts().waiting === 3)
    expect(kit.queue.counts()).toMatchObject({ running: 0, failed: 0, cancelled: 0 })
    expect(kit.queue.page({ states: ['waiting'] }).rows.map(({ row }) => row)).toEqual([2, 3, 4])
    kit.worker.holding = false
    kit.queue.resume()
    await kit.dispatcher.settle()
    expect(kit.queue.counts().done).toBe(4)
  })
  test('pausing now, the prompt that was ready never begins', async () => {
    const kit = await startKit()
    kit.worker.holding = true
    kit.queue.submit(aBatch(), someJobs(4))
    await eventually(() => kit.worker.submissions === 2)
    kit.queue.pause('now')
    await eventually(() => kit.queue.counts().waiting === 4)
    expect([...kit.worker.began]).toEqual([kit.worker.submitted[0]!.promptId])
  })
  test('pausing one batch now leaves the others running', async () => {
    const kit = await startKit({ workers: [new FakeWorker('w1', { capacity: 1 })] })
    kit.worker.holding = true
    kit.queue.submit(aBatch(), someJobs(1))
    kit.queue.submit(aBatch(), someJobs(1))
    await eventually(() => kit.worker.running)
    kit.queue.pauseBatch('b1', 'now')
    await eventually(() => kit.queue.batch('b2').counts.running === 1)
    expect(kit.queue.batch('b1').counts.waiting).toBe(1)
  })
  test('a prompt interrupted by someone else fails, saying so', async () => {
    const kit = await startKit()
    kit.worker.holding = true
    kit.queue.submit(aBatch(), someJobs(1))
    await kit.worker.cancel(await eventually(() => kit.worker.running))
    await eventually(() => kit.queue.counts().failed === 1)
    expect(kit.queue.get(idsOf(kit)[0]!).failure).toEqual(toFailure(new AppError('prompt.interrupted')))
  })
  test('a cancelled job whose picture does not come to an end is let go of after a while', async () => {
    const keep = async ({ signal }: Made) => {
      await once(signal, 'abort')
      throw signal.reason
    }
    const kit = await startKit({ keep })
    kit.queue.submit(aBatch(), someJobs(1))
    await eventually(() => kit.worker.submissions === 1 && kit.dispatcher.inFlight('w1') === 0)
    kit.queue.cancel({ all: true })
    kit.clock.turn(4_000)
    expect(kit.queue.counts()).toMatchObject({ running: 1 })
    kit.clock.turn(2_000)
    await eventually(() => kit.queue.counts().cancelled === 1)
    expect(kit.kept.size).toBe(0)
  })
  test('a job cancelled while its prompt is being made is never sent', async () => {
    const prepared = Promise.withResolvers<void>()
    const kit = await startKit({ prepare: () => prepared.promise })
    kit.queue.submit(aBatch(), someJobs(1))
    await eventually(() => kit.queue.counts().running === 1)
    kit.queue.cancel({ all: true })
    prepared.resolve()
    await eventually(() => kit.queue.counts().cancelled === 1)
    expect(kit.worker.submissions).toBe(0)
  })
})

describe('what is told', () => {
  test('progress comes at most ten times a second, and the last always', async () => {
    const kit = await startKit()
    kit.worker.holding = true
    const told: JobProgress[] = []
    kit.dispatcher.events.on('progress', (progress) => told.push(progress))
    kit.queue.submit(aBatch(), someJobs(1))
    await eventually(() => kit.dispatcher.progress()[0]?.overall === 0.25)
    expect(told.map(({ overall }) => overall)).toEqual([0])
    kit.clock.turn(100)
    expect(told.map(({ overall, nodeTitle }) => [overall, nodeTitle])).toEqual([
      [0, ''],
      [0.25, 'Sampler'],
    ])
  })
  test('the time left follows the pace of the workers that may take the jobs', async () => {
    const kit = await startKit({ workers: [new FakeWorker('a'), new FakeWorker('b')] })
    kit.queue.submit(aBatch(), someJobs(2))
    await kit.dispatcher.settle() // two seconds each
    kit.queue.pause('after-current')
    kit.queue.submit(aBatch(), someJobs(10))
    kit.queue.submit(aBatch({}, { workers: ['b'] }), someJobs(10))
    expect(kit.queue.batch('b2').etaSeconds).toBe(10)
    expect(kit.queue.batch('b3').etaSeconds).toBe(20)
    expect(kit.dispatcher.state().etaSeconds).toBe(30)
  })
  test('jobs no connected worker may take are said to wait for one', async () => {
    const kit = await startKit()
    kit.queue.submit(aBatch({}, { workers: ['elsewhere'] }), someJobs(1))
    await kit.dispatcher.settle()
    expect(kit.dispatcher.state().stalled?.code).toBe('queue.no-worker')
  })
})
