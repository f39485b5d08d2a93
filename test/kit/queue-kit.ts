import { randomUUID } from 'node:crypto'
import { EventEmitter } from 'node:events'
import { onTestFinished } from 'vitest'
import type { Artifact } from '../../core/contract/artifact.ts'
import { BatchPlan, type BatchPlanInput } from '../../core/contract/batch.ts'
import type { JobState } from '../../core/contract/job.ts'
import { type Database, openDatabase } from '../../main/services/database/open.ts'
import { Dispatcher, type Made } from '../../main/services/dispatcher.ts'
import { type NewBatch, type NewJob, Queue, type QueuedJob } from '../../main/services/queue.ts'
import type { Worker } from '../../main/services/workers/worker.ts'
import { FakeWorker } from './fake-worker.ts'
import { turnableClock } from './turnable-clock.ts'

/** A real SQLite database, in memory or in a file, with one workflow 'w1'. */
export function testDatabase(file = ':memory:'): Database {
  const database = openDatabase(file)
  onTestFinished(() => void database.close())
  database
    .prepare(
      `INSERT OR IGNORE INTO workflows (id, name, format, container, source_sha256, source_ext, read, imported_at)
       VALUES ('w1', 'workflow', 'api', 'json', 'none', '.json', '{}', 0)`,
    )
    .run()
  return database
}

export const aBatch = (plan: Partial<BatchPlanInput> = {}, batch: Partial<NewBatch> = {}): NewBatch => ({
  workflowId: 'w1',
  name: 'night',
  plan: BatchPlan.parse({ workflowId: 'w1', ...plan }),
  prompt: { '3': { class_type: 'KSampler', inputs: { seed: 18446744073709551615n }, _meta: { title: 'Sampler' } } },
  editor: null,
  parameters: [],
  workers: [],
  pattern: '{row}',
  outDir: '/out',
  ...batch,
})
export const someJobs = (count: number): NewJob[] =>
  Array.from({ length: count }, (_, at) => ({
    row: at + 1,
    index: at,
    overrides: { '3.seed': at },
    label: `seed ${at}`,
  }))

/** What a job went through, told from its attempts. */
export function story(queue: Queue, jobId: string): JobState[] {
  const { tries, state } = queue.get(jobId)
  const passed = tries.flatMap((_, at): JobState[] => (at < tries.length - 1 ? ['running', 'waiting'] : ['running']))
  return ['waiting', ...passed, ...(state === 'running' || (state === 'waiting' && tries.length === 0) ? [] : [state])]
}

export function fakeFleet(workers: FakeWorker[]) {
  const events = new EventEmitter<{ changed: [string] }>()
  const add = (worker: FakeWorker) => worker.told.on('health', () => events.emit('changed', worker.id))
  for (const worker of workers) add(worker)
  return {
    events,
    list: (): Worker[] => workers,
    get: (id: string): Worker | undefined => workers.find((worker) => worker.id === id),
    remove(id: string) {
      workers = workers.filter((worker) => worker.id !== id)
      events.emit('changed', id)
    },
  }
}

/** A queue and a dispatcher over fake workers; `kept` names what was kept, by job; jobs in `finished` had all kept before. */
export async function startKit({
  database = testDatabase(),
  clock = turnableClock(),
  workers = [new FakeWorker()],
  prepare = (_job: QueuedJob, _worker: Worker): Promise<void> => Promise.resolve(),
  keep = (_made: Made): Promise<void> => Promise.resolve(),
} = {}) {
  const queue = new Queue({ database, clock })
  const fleet = fakeFleet(workers)
  const kept = new Map<string, string[]>()
  const finished = new Set<string>()
  const make = () => {
    return new Dispatcher({
      queue,
      fleet,
      clock,
      newId: randomUUID,
      async prepare(job, worker, { promptId }) {
        await prepare(job, worker)
        const pngInfo = { nightshift: { job: job.id, attempt: promptId } }
        return {
          attempt: { promptId, jobId: job.id, prompt: job.batch.prompt, pngInfo },
          record: { prompt: job.batch.prompt, workflow: null, seeds: {}, chosenText: {} },
        }
      },
      artifacts: {
        finished: (jobId) => (finished.has(jobId) ? [{ id: jobId } as Artifact] : null),
        async keep(made) {
          await keep(made)
          const names = made.ending.outputs.map((output) => (output.is === 'file' ? output.file.filename : ''))
          kept.set(made.job.id, [...(kept.get(made.job.id) ?? []), ...names])
          return names.map((name) => ({ id: name }) as Artifact)
        },
      },
    })
  }
  let dispatcher = make()
  onTestFinished(() => dispatcher.stop())
  await dispatcher.start()
  return {
    queue,
    fleet,
    clock,
    kept,
    finished,
    worker: workers[0]!,
    workers,
    get dispatcher() {
      return dispatcher
    },
    /** The host goes and comes: nothing but the database is remembered. */
    async restart() {
      await dispatcher.stop()
      dispatcher = make()
      await dispatcher.start()
    },
  }
}
