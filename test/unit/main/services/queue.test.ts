import { readFileSync, statSync } from 'node:fs'
import path from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { JobState } from '../../../../core/contract/job.ts'
import { jobStates } from '../../../../core/domain/queue/job-state.ts'
import { Queue } from '../../../../main/services/queue.ts'
import { aBatch, someJobs, testDatabase } from '../../../kit/queue-kit.ts'
import { tempDir } from '../../../kit/temp-dir.ts'
import { turnableClock } from '../../../kit/turnable-clock.ts'

const HOUR = 3_600_000
const gpu = { id: 'gpu', kind: 'remote' } as const
const rehearsal = { id: 'rehearsal', kind: 'rehearsal' } as const
const failure = { code: 'prompt.failed', message: 'boom', remedy: 'mend', facts: {} }

function startQueue(file?: string) {
  const clock = turnableClock()
  const database = testDatabase(file)
  const queue = new Queue({ database, clock })
  let attempt = 0
  /** Claims and begins an attempt; its prompt id. */
  const run = (worker: { id: string; kind: 'remote' | 'rehearsal' } = gpu) => {
    const job = queue.claim(worker)!
    const promptId = `attempt-${++attempt}`
    expect(queue.beginAttempt(job.id, { promptId, workerId: worker.id, promptHash: 'h', startedAt: clock.now() })).toBe(
      true,
    )
    return { job, promptId }
  }
  const order = () => queue.page({ states: ['waiting'], limit: 200 }).rows.map(({ label }) => label)
  return { queue, clock, database, run, order }
}

describe('submitting', () => {
  test('a batch keeps its prompt once and every digit of its seeds', () => {
    const { queue, database } = startQueue()
    queue.submit(aBatch(), someJobs(3))
    queue.submit(aBatch({}, { name: 'again' }), [
      { row: 1, index: 0, overrides: { '3.seed': 18446744073709551615n }, label: '' },
    ])
    const prompts = database.prepare('SELECT count(*) FROM prompts').pluck().get()
    expect(prompts).toBe(2) // the prompt and the (empty) parameters
    const job = queue.claim(gpu)!
    expect(job.batch.prompt['3']!.inputs.seed).toBe(18446744073709551615n)
    const [again] = queue.page({ batchId: 'b2' }).rows
    expect(queue.job(again!.id).overrides).toEqual({ '3.seed': 18446744073709551615n })
  })
  test('a job’s time counts from when its server began it, not from when it was handed over', () => {
    const { queue, run, clock } = startQueue()
    queue.submit(aBatch(), someJobs(1))
    const { job, promptId } = run()
    clock.turn(30_000)
    queue.began(promptId)
    const began = clock.now()
    queue.began(promptId) // told twice
    clock.turn(2_000)
    queue.finish(promptId, { seconds: 2, artifacts: 1 })
    const { startedAt, endedAt, tries } = queue.get(job.id)
    expect([startedAt, endedAt, tries[0]!.startedAt]).toEqual([began, clock.now(), began])
  })
  test('a submission that fails half-way leaves nothing', () => {
    const { queue } = startQueue()
    function* broken() {
      yield* someJobs(10)
      throw new Error('the table ended badly')
    }
    expect(() => queue.submit(aBatch(), broken())).toThrow('ended badly')
    expect(queue.batches().total).toBe(0)
    expect(queue.page({}).total).toBe(0)
  })
  test('a batch submitted under a key is found until it has ended', () => {
    const { queue, run } = startQueue()
    queue.submit(aBatch({ continueKey: 'k' }), someJobs(1))
    expect(queue.findOpen('k')).toBe('b1')
    queue.finish(run().promptId, { seconds: 1, artifacts: 1 })
    expect(queue.findOpen('k')).toBeNull()
  })
  test('100 000 jobs of one prompt take little room', () => {
    const file = path.join(tempDir(), 'nightshift.db')
    const { queue, database } = startQueue(file)
    const prompt = Object.fromEntries(
      Array.from({ length: 30 }, (_, at) => [
        `${at}`,
        { class_type: 'CLIPTextEncode', inputs: { text: `${at} `.repeat(200) } },
      ]),
    )
    queue.submit(aBatch({}, { prompt }), someJobs(100_000))
    database.pragma('wal_checkpoint(TRUNCATE)')
    expect(statSync(file).size).toBeLessThan(20 * 2 ** 20)
    expect(queue.counts().waiting).toBe(100_000)
  })
})

describe('claiming', () => {
  test('where only endpoints for other checkpoints are ready, that is why nothing moves', () => {
    const { queue } = startQueue()
    queue.submit(aBatch(), someJobs(1))
    const choosy = { id: 'gpu', kind: 'endpoint' as const, checkpoints: ['a.safetensors'] }
    expect(queue.claim(choosy)).toBeNull()
    expect(queue.stalled([choosy])?.code).toBe('queue.other-checkpoints')
    expect(queue.stalled([choosy, gpu])).toBeNull()
  })
  test('a worker for one checkpoint takes the jobs that use it, also behind others, and nothing else', () => {
    const { queue } = startQueue()
    const prompt = { '1': { class_type: 'CheckpointLoaderSimple', inputs: { ckpt_name: 'base.safetensors' } } }
    const uses = (name: string, at: number) => ({
      row: at + 1,
      index: at,
      overrides: { '1.ckpt_name': name },
      label: name,
    })
    queue.submit(aBatch({}, { prompt }), [
      uses('other.safetensors', 0),
      uses('sdxl\\Juggernaut.safetensors', 1),
      { row: 3, index: 2, overrides: {}, label: 'as it was' },
    ])
    const only = (checkpoint: string) => ({ id: 'gpu', kind: 'endpoint' as const, checkpoints: [checkpoint] })
    const claim = (checkpoint: string) => queue.claim(only(checkpoint))?.label ?? null
    expect(claim('juggernaut.safetensors')).toBe('sdxl\\Juggernaut.safetensors')
    expect(claim('juggernaut.safetensors')).toBeNull()
    expect(queue.stalled([only('juggernaut.safetensors')])?.code ?? null).toBeNull() // one runs
    expect(claim('base.safetensors')).toBe('as it was')
    expect(queue.claim(gpu)?.label).toBe('other.safetensors')
  })
  test('a worker for one checkpoint is not kept waiting by however many jobs for another', () => {
    const { queue } = startQueue()
    const jobs = Array.from({ length: 600 }, (_, at) => ({
      ...{ row: at + 1, index: at, label: String(at) },
      overrides: { '1.ckpt_name': at < 450 ? 'red.safetensors' : 'Blue 蓝.safetensors' },
    }))
    const prompt = { '1': { class_type: 'CheckpointLoaderSimple', inputs: { ckpt_name: 'red.safetensors' } } }
    queue.submit(aBatch({}, { prompt }), jobs)
    const blue = { id: 'gpu', kind: 'endpoint' as const, checkpoints: ['blue 蓝.safetensors'] }
    expect(queue.claim(blue)?.label).toBe('450')
    expect(queue.claim(blue)?.label).toBe('451')
  })
  test('higher priority first, then the order of submission', () => {
    const { queue } = startQueue()
    queue.submit(aBatch(), someJobs(2))
    queue.submit(aBatch({ priority: 5 }), someJobs(2))
    const claimed = [1, 2, 3, 4].map(() => queue.claim(gpu)!)
    expect(claimed.map(({ batchId, row }) => [batchId, row])).toEqual([
      ['b2', 1],
      ['b2', 2],
      ['b1', 1],
      ['b1', 2],
    ])
    expect(queue.claim(gpu)).toBeNull()
  })
  test('a batch without named workers goes to real ones only, a named one only to its own', () => {
    const { queue } = startQueue()
    queue.submit(aBatch(), someJobs(1))
    queue.submit(aBatch({}, { workers: ['rehearsal', 'other'] }), someJobs(1))
    expect(queue.claim(rehearsal)?.batchId).toBe('b2')
    expect(queue.claim(rehearsal)).toBeNull()
    expect(queue.claim(gpu)?.batchId).toBe('b1')
    expect(queue.claim(gpu)).toBeNull()
  })
  test('a paused batch is passed over, however long it is, and says so when nothing else is there', () => {
    const { queue } = startQueue()
    queue.submit(aBatch({ priority: 9 }), someJobs(5000))
    queue.submit(aBatch(), someJobs(1))
    queue.pauseBatch('b1', 'after-current')
    expect(queue.claim(gpu)?.batchId).toBe('b2')
    expect(queue.claim(gpu)).toBeNull()
    queue.resumeBatch('b1')
    expect(queue.claim(gpu)?.batchId).toBe('b1')
  })
  test('a batch with a window is claimed only inside it, each night', () => {
    const { queue, clock } = startQueue() // noon
    queue.submit(aBatch({ startAt: '22:00', stopAt: '07:00' }), someJobs(9))
    expect(queue.claim(gpu)).toBeNull()
    expect(queue.nextMoment()).toBe(clock.now() + 10 * HOUR)
    expect(queue.stalled([gpu])?.code).toBe('queue.outside-window')
    expect(queue.runnable()).toBe(true) // asleep, the machine would miss its start
    clock.turn(10 * HOUR)
    expect(queue.runnable()).toBe(true)
    expect(queue.claim(gpu)?.row).toBe(1)
    clock.turn(9 * HOUR)
    expect(queue.claim(gpu)).toBeNull()
    clock.turn(16 * HOUR)
    expect(queue.claim(gpu)?.row).toBe(2)
    clock.turn(10 * HOUR)
    queue.setWindow('b1', null, null)
    expect(queue.claim(gpu)?.row).toBe(3)
  })
  test('a window that opens more than half a day from now lets the machine sleep until then', () => {
    const { queue, clock } = startQueue() // noon
    queue.submit(aBatch({ startAt: '02:00', stopAt: '07:00' }), someJobs(1))
    expect(queue.runnable()).toBe(false)
    clock.turn(2 * HOUR)
    expect(queue.runnable()).toBe(true)
  })
  test('the claim in SQL and the rule agree on every window, worker and pause', () => {
    fc.assert(
      fc.property(
        fc.option(fc.constantFrom('00:00', '07:00', '12:00', '22:00'), { nil: null }),
        fc.option(fc.constantFrom('00:00', '07:00', '12:00', '22:00'), { nil: null }),
        fc.integer({ min: 0, max: 48 }),
        fc.constantFrom([], ['gpu'], ['rehearsal'], ['gpu', 'rehearsal']),
        fc.constantFrom(gpu, rehearsal),
        fc.boolean(),
        (startAt, stopAt, hours, workers, worker, paused) => {
          const clock = turnableClock()
          const database = testDatabase()
          const queue = new Queue({ database, clock })
          queue.submit(aBatch({ startAt, stopAt }, { workers }), someJobs(1))
          if (paused) queue.pauseBatch('b1', 'after-current')
          clock.turn(hours * HOUR)
          const stalled = queue.stalled([worker])
          expect(queue.claim(worker) === null).toBe(stalled !== null)
          database.close()
        },
      ),
      { numRuns: 60, seed: 17 },
    )
  })
})

describe('attempts', () => {
  test('a job has one open attempt at a time', () => {
    const { queue, run } = startQueue()
    queue.submit(aBatch(), someJobs(1))
    const { job } = run()
    const second = { promptId: 'second', workerId: 'gpu', promptHash: 'h', startedAt: 0 }
    expect(() => queue.beginAttempt(job.id, second)).toThrow('UNIQUE')
  })
  test('an attempt ends once; what comes later changes nothing', () => {
    const { queue, run } = startQueue()
    queue.submit(aBatch(), someJobs(1))
    const { promptId, job } = run()
    expect(queue.finish(promptId, { seconds: 2, artifacts: 3 })).toBe(true)
    expect(queue.fail(promptId, failure, true)).toBe(false)
    expect(queue.get(job.id)).toMatchObject({ state: 'done', artifacts: 3, attempts: 1, failure: null })
  })
  test('a retryable failure waits a growing while, as often as the batch allows, and keeps its place', () => {
    const { queue, clock, run, order } = startQueue()
    queue.submit(aBatch({ retries: 2 }), someJobs(2))
    const first = run()
    queue.fail(first.promptId, failure, true)
    expect(queue.get(first.job.id)).toMatchObject({ state: 'waiting', failure })
    expect(order()).toEqual(['seed 0', 'seed 1'])
    expect(queue.nextMoment()).toBe(clock.now() + 5_000)
    expect(queue.claim(gpu)?.label).toBe('seed 1')
    expect(queue.claim(gpu)).toBeNull()
    clock.turn(5_000)
    queue.fail(run().promptId, failure, true)
    clock.turn(15_000)
    queue.fail(run().promptId, failure, true)
    expect(queue.get(first.job.id)).toMatchObject({ state: 'failed', attempts: 3, failure })
  })
  test('a person’s retry counts from nought', () => {
    const { queue, clock, run } = startQueue()
    queue.submit(aBatch({ retries: 1 }), someJobs(1))
    const { job, promptId } = run()
    queue.fail(promptId, failure, false)
    expect(queue.get(job.id).state).toBe('failed')
    expect(queue.batch('b1').endedAt).not.toBeNull()
    clock.turn(1000)
    expect(queue.retry({ ids: [job.id] })).toBe(1)
    expect(queue.batch('b1').endedAt).toBeNull()
    queue.fail(run().promptId, failure, true)
    expect(queue.get(job.id).state).toBe('waiting')
  })
  test('a job claimed when the host died, and never sent, waits again', () => {
    const { queue, run } = startQueue()
    queue.submit(aBatch(), someJobs(2))
    queue.claim(gpu)
    run()
    expect(queue.releaseStrays()).toBe(1)
    expect(queue.counts()).toMatchObject({ waiting: 1, running: 1 })
  })
})

describe('what a person may do', () => {
  test('cancelling ends waiting jobs at once and asks for running ones', () => {
    const { queue, run } = startQueue()
    queue.submit(aBatch(), someJobs(3))
    const { job, promptId } = run()
    expect(queue.cancel({ batchId: 'b1' })).toBe(3)
    expect(queue.counts()).toMatchObject({ running: 1, cancelled: 2 })
    expect(queue.wanted()).toEqual(new Map([[job.id, 'cancel']]))
    queue.cancelAttempt(promptId)
    expect(queue.counts().cancelled).toBe(3)
    expect(queue.wanted().size).toBe(0)
    expect(queue.batch('b1').endedAt).not.toBeNull()
  })
  test('done jobs are neither cancelled nor retried', () => {
    const { queue, run } = startQueue()
    queue.submit(aBatch(), someJobs(1))
    queue.finish(run().promptId, { seconds: 1, artifacts: 1 })
    expect([
      queue.cancel({ all: true }),
      queue.retry({ all: true }),
      queue.retry({ all: true, states: ['done'] }),
    ]).toEqual([0, 0, 0])
  })
  test('a job is moved to any place among the waiting, again and again', () => {
    const { queue, order } = startQueue()
    queue.submit(aBatch(), someJobs(6))
    const model = order()
    const ids = new Map(queue.page({}).rows.map(({ id, label }) => [label, id]))
    fc.assert(
      fc.property(fc.nat(5), fc.nat(5), (from, to) => {
        const [label] = model.splice(from, 1)
        model.splice(to, 0, label!)
        queue.move(ids.get(label!)!, to)
        expect(order()).toEqual(model)
      }),
      { numRuns: 300, seed: 18 },
    )
  })
  test('places that have come too close are spread, order kept', () => {
    const { queue, order } = startQueue()
    queue.submit(aBatch(), someJobs(3))
    const [a, b, c] = queue.page({}).rows
    for (let at = 0; at < 60; at += 1) {
      queue.move((at % 2 ? b : c)!.id, 1)
      expect(order()[1]).toBe(at % 2 ? 'seed 1' : 'seed 2')
    }
    expect(order()[0]).toBe(a!.label)
  })
  test('a job moved among those of another priority takes theirs', () => {
    const { queue, order } = startQueue()
    queue.submit(aBatch({ priority: 3 }), someJobs(2))
    queue.submit(aBatch(), [{ row: 1, index: 0, overrides: {}, label: 'late' }])
    const late = queue.page({ batchId: 'b2' }).rows[0]!
    queue.move(late.id, 1)
    expect(order()).toEqual(['seed 0', 'late', 'seed 1'])
    queue.move(late.id, 2)
    expect(order()).toEqual(['seed 0', 'seed 1', 'late'])
    queue.prioritise({ ids: [late.id] }, 100)
    expect(order()).toEqual(['late', 'seed 0', 'seed 1'])
  })
  test('the pause, and why, are there after a restart', () => {
    const clock = turnableClock()
    const database = testDatabase()
    const before = new Queue({ database, clock })
    before.submit(aBatch(), someJobs(1))
    before.pause('now', { ...failure, code: 'disk.full' })
    const after = new Queue({ database, clock })
    expect([after.paused(), after.stalled([gpu])?.code, after.claim(gpu)]).toEqual(['now', 'disk.full', null])
    after.resume()
    expect(after.stalled([gpu])).toBeNull()
    expect(after.claim(gpu)).not.toBeNull()
  })
})

describe('lists', () => {
  test('a page at any offset is what counting there would give', () => {
    const { queue } = startQueue()
    const submit = (count: number) => queue.submit(aBatch(), someJobs(count))
    for (const count of [3000, 1, 60_000]) submit(count)
    for (let at = 0; at < 700; at += 1) {
      const job = queue.claim(gpu)!
      if (at % 3 === 0) queue.refuse(job.id, failure)
    }
    queue.cancel({ ids: queue.page({ batchId: 'b3', offset: 2100, limit: 200 }).rows.map(({ id }) => id) })
    for (let offset = 5000; offset < 60_000; offset += 900) {
      queue.cancel({ ids: queue.page({ batchId: 'b3', offset, limit: 90 }).rows.map(({ id }) => id) })
    }
    const all = [1, 2, 3].flatMap((_, at) => {
      const rows = []
      for (let offset = 0; offset < 60_000; offset += 200)
        rows.push(...queue.page({ batchId: `b${3 - at}`, offset, limit: 200 }).rows)
      return rows
    })
    expect(all.length).toBe(63_001)
    const filters: JobState[][] = [
      [...jobStates],
      ['waiting', 'running'],
      ['failed'],
      ['failed', 'cancelled', 'running'],
      ['parked'],
    ]
    for (const states of filters) {
      const expected = all.filter(({ state }) => states.includes(state)).map(({ id }) => id)
      for (const offset of [0, 1, 466, 467, 2499, 5400, 9000, 16_500, 40_001, 55_000, 62_000, 70_000]) {
        const { rows, total } = queue.page({ states, offset, limit: 150 })
        expect(total).toBe(expected.length)
        expect(rows.map(({ id }) => id)).toEqual(expected.slice(offset, offset + 150))
      }
    }
    const waiting = all.filter(({ state, batchId }) => state === 'waiting' && batchId === 'b3').map(({ id }) => id)
    for (const offset of [0, 1200, 40_000, waiting.length - 5]) {
      const { rows } = queue.page({ batchId: 'b3', states: ['waiting'], offset, limit: 10 })
      expect(rows.map(({ id }) => id)).toEqual(waiting.slice(offset, offset + 10))
    }
  })
  test('a search finds words in labels and values, literally', () => {
    const { queue } = startQueue()
    queue.submit(aBatch(), [
      { row: 1, index: 0, overrides: { '6.text': 'a red fox, 100%' }, label: 'a red fox' },
      { row: 2, index: 1, overrides: { '6.text': '一只狐狸' }, label: '一只狐狸' },
      { row: 3, index: 2, overrides: { '6.text': '1000' }, label: '1000' },
    ])
    const rows = (search: string) => queue.page({ search }).rows.map(({ row }) => row)
    expect([rows('RED fox'), rows('狐狸'), rows('100%'), rows('nothing')]).toEqual([[1], [2], [1], []])
  })
  test('an id that is not there says so', () => {
    const { queue } = startQueue()
    const missing = expect.objectContaining({ code: 'app.not-found' })
    expect(() => queue.get('j1')).toThrow(missing)
    expect(() => queue.batch('nonsense')).toThrow(missing)
  })
})

test('events name what changed, and a batch ends once', () => {
  const { queue, run } = startQueue()
  const told: unknown[] = []
  queue.events.on('jobs', (batchId, ids) => told.push([batchId, ids]))
  queue.events.on('batchEnded', ({ id, counts }) => told.push([id, counts.done]))
  queue.submit(aBatch(), someJobs(1))
  const { job, promptId } = run()
  queue.finish(promptId, { seconds: 1, artifacts: 1 })
  queue.finish(promptId, { seconds: 1, artifacts: 1 })
  expect(told).toEqual([
    ['b1', []],
    ['b1', [job.id]],
    ['b1', 1],
    ['b1', [job.id]],
  ])
})

test('every reason for a stall has its words', () => {
  const words = JSON.parse(readFileSync('resources/locales/en/problems.json', 'utf8')) as Record<string, string>
  const { queue } = startQueue()
  queue.submit(aBatch({ startAt: '22:00', stopAt: '07:00' }), someJobs(1))
  const reasons = [queue.stalled([gpu])]
  queue.pauseBatch('b1', 'after-current')
  reasons.push(queue.stalled([gpu]))
  queue.pause('after-current')
  reasons.push(queue.stalled([gpu]))
  queue.resume()
  queue.resumeBatch('b1')
  queue.setWindow('b1', null, null)
  reasons.push(queue.stalled([rehearsal]))
  queue.release(queue.claim(gpu)!.id, 1000)
  reasons.push(queue.stalled([gpu]))
  const codes = ['outside-window', 'batch-paused', 'paused', 'no-worker', 'retry-later'].map((code) => `queue.${code}`)
  expect(reasons).toEqual(codes.map((code) => ({ code, message: words[code] })))
})
