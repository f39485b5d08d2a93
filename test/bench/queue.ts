// Our queue against plainjob, and against BullMQ where it can be had: `npm install --prefix DIR bullmq ioredis`, then
// `npm run bench:queue -- --peers DIR` with redis-server on PATH. Neither BullMQ nor Redis is a dependency of ours.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import Sqlite from 'better-sqlite3'
import { better, defineQueue } from 'plainjob'
import { BatchPlan } from '../../core/contract/batch.ts'
import type { Prompt } from '../../core/contract/comfyui.ts'
import type { JobState } from '../../core/contract/job.ts'
import { parseJson, writeJson } from '../../core/contract/json.ts'
import { systemClock } from '../../main/services/clock.ts'
import { openDatabase } from '../../main/services/database/open.ts'
import { type NewJob, Queue } from '../../main/services/queue.ts'
import { median, report, timed } from './measure.ts'

const { values } = parseArgs({
  options: {
    jobs: { type: 'string', default: '100000' },
    rows: { type: 'string', default: '1000000' },
    cycles: { type: 'string', default: '2000' },
    runs: { type: 'string', default: '3' },
    prompt: { type: 'string' },
    peers: { type: 'string', default: process.cwd() },
  },
})
const jobs = Number(values.jobs)
const rows = Number(values.rows)
const cycles = Number(values.cycles)
const runs = Number(values.runs)
const dir = mkdtempSync(path.join(tmpdir(), 'nightshift-bench-'))
const worker = { id: 'bench', kind: 'remote' } as const
const prompt = realPrompt()
const promptBytes = writeJson(prompt).length
const SLICE = 10_000 // jobs handed to a peer at once: it builds all their texts before it writes the first
let allOk = true
const tell = (measured: Parameters<typeof report>[0]) => {
  allOk = report(measured) && allOk
}

/** 28 nodes as recorded, their texts as long as people write them: about 20 KB. */
function realPrompt(): Prompt {
  const file = values.prompt ?? path.join(import.meta.dirname, '../fixtures/couple-photo/prompt.json')
  const read = parseJson(readFileSync(file, 'utf8')) as unknown as Prompt
  if (values.prompt) return read
  const texts = Object.values(read).filter(({ inputs }) => typeof inputs.text === 'string')
  const missing = 20_000 - writeJson(read).length
  const sentence = 'soft window light over a quiet street, detailed faces, film grain, shallow depth of field, '
  for (const node of texts) {
    node.inputs.text = `${node.inputs.text}, ${sentence.repeat(Math.ceil(missing / texts.length / sentence.length))}`
  }
  return read
}
const samplers = Object.entries(prompt).filter(([, { inputs }]) => typeof inputs.seed === 'number')
const [sampler] = samplers[0] ?? Object.keys(prompt)
/** The whole prompt of one job, as a queue that knows no batches must hold it. */
const wholePrompt = (seed: number): Prompt => {
  const node = prompt[sampler!]!
  return { ...prompt, [sampler!]: { ...node, inputs: { ...node.inputs, seed } } }
}
function* newJobs(count: number): Iterable<NewJob> {
  for (let at = 0; at < count; at += 1) {
    yield { row: at + 1, index: at, overrides: { [`${sampler}.seed`]: at }, label: `seed ${at}` }
  }
}

let files = 0
function openOurs() {
  const file = path.join(dir, `ours-${++files}.db`)
  const database = openDatabase(file)
  database
    .prepare(
      `INSERT INTO workflows (id, name, format, container, source_sha256, source_ext, read, imported_at)
       VALUES ('w', 'bench', 'api', 'json', '', '.json', '{}', 0)`,
    )
    .run()
  const queue = new Queue({ database, clock: systemClock })
  const submit = (count: number) => {
    const plan = BatchPlan.parse({ workflowId: 'w' })
    const kept = { workflowId: 'w', name: 'bench', plan, prompt, editor: null, parameters: [] }
    return queue.submit({ ...kept, workers: [], pattern: '', outDir: '' }, newJobs(count))
  }
  return { queue, submit, bytes: () => fileBytes(database), close: () => closeAndRemove(database, file) }
}
function openPlainjob(synchronous: 'FULL' | 'NORMAL') {
  const file = path.join(dir, `plainjob-${++files}.db`)
  const database = new Sqlite(file)
  const silent = { error() {}, warn() {}, info() {}, debug() {} }
  const queue = defineQueue({ connection: better(database), logger: silent })
  database.pragma(`synchronous = ${synchronous}`)
  const close = () => {
    queue.close()
    closeAndRemove(database, file)
  }
  const addMany = (count: number) => {
    for (let from = 0; from < count; from += SLICE) {
      const slice = Array.from({ length: Math.min(SLICE, count - from) }, (_, at) => wholePrompt(from + at))
      queue.addMany('prompt', slice)
    }
  }
  return { queue, addMany, bytes: () => fileBytes(database), close }
}
function fileBytes(database: Sqlite.Database): number {
  database.pragma('wal_checkpoint(TRUNCATE)')
  return (database.pragma('page_count', { simple: true }) as number) * 4096
}
function closeAndRemove(database: Sqlite.Database, file: string) {
  if (database.open) database.close()
  for (const end of ['', '-wal', '-shm']) rmSync(file + end, { force: true })
}

interface BullQueue {
  addBulk(jobs: { name: string; data: unknown }[]): Promise<unknown>
  obliterate(options: { force: boolean }): Promise<void>
  close(): Promise<void>
}
interface BullJob {
  data: unknown
  moveToCompleted(value: unknown, token: string, fetchNext: boolean): Promise<unknown>
}
interface Bull {
  Queue: new (name: string, options: object) => BullQueue
  Worker: new (
    name: string,
    process: null,
    options: object,
  ) => {
    getNextJob(token: string): Promise<BullJob | undefined>
    waitUntilReady(): Promise<unknown>
    close(): Promise<void>
  }
}
async function loadBull(): Promise<{ bull: Bull; version: string } | null> {
  try {
    const require = createRequire(path.join(path.resolve(values.peers), 'package.json'))
    require.resolve('ioredis') // which BullMQ calls optional, and needs
    const bull = (await import(pathToFileURL(require.resolve('bullmq')).href)) as Bull
    const manifest = path.join(
      require.resolve('bullmq').split(`${path.sep}bullmq${path.sep}`)[0]!,
      'bullmq/package.json',
    )
    return { bull, version: (JSON.parse(readFileSync(manifest, 'utf8')) as { version: string }).version }
  } catch {
    return null
  }
}
async function startRedis(appendfsync: 'everysec' | 'always') {
  const data = mkdtempSync(path.join(dir, 'redis-'))
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const { port } = probe.address() as { port: number }
  await new Promise((closed) => probe.close(closed))
  const options = ['--port', `${port}`, '--bind', '127.0.0.1', '--dir', data, '--save', '', '--appendonly', 'yes']
  const redis: ChildProcess = spawn('redis-server', [...options, '--appendfsync', appendfsync], {
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  for await (const line of redis.stdout!) if (String(line).includes('Ready to accept connections')) break
  redis.stdout!.resume()
  const end = () => redis.kill('SIGKILL')
  process.once('exit', end)
  const stop = async () => {
    process.off('exit', end)
    const gone = once(redis, 'exit')
    end()
    await gone
    rmSync(data, { recursive: true, force: true })
  }
  return { connection: { host: '127.0.0.1', port }, stop }
}
function redisVersion(): Promise<string | null> {
  return new Promise((resolve) => {
    const asked = spawn('redis-server', ['--version'], { stdio: ['ignore', 'pipe', 'ignore'] })
    asked.on('error', () => resolve(null))
    asked.stdout.on('data', (text: Buffer) => resolve(/v=([\d.]+)/.exec(text.toString())?.[1] ?? null))
  })
}

const sqlite = new Sqlite(':memory:').prepare('SELECT sqlite_version()').pluck().get() as string
const shared = { node: process.version, sqlite, promptBytes, nodes: Object.keys(prompt).length }
const ourDurability = 'SQLite WAL, synchronous FULL; a claim and a finish are flushed by the next attempt or artifact'

async function againstPlainjob() {
  const enqueue: { ours: number[]; peer: number[] } = { ours: [], peer: [] }
  const work: { ours: number[]; peer: number[]; peerDefault: number[] } = { ours: [], peer: [], peerDefault: [] }
  const bytes = { ours: 0, peer: 0 }
  for (let run = 0; run < runs; run += 1) {
    const ours = openOurs()
    enqueue.ours.push(await timed(() => ours.submit(jobs)))
    work.ours.push(await timed(() => cycleOurs(ours.queue)))
    bytes.ours = ours.bytes()
    ours.close()
    const peer = openPlainjob('FULL')
    enqueue.peer.push(await timed(() => peer.addMany(jobs)))
    work.peer.push(await timed(() => cyclePlainjob(peer.queue)))
    bytes.peer = peer.bytes()
    peer.close()
    const relaxed = openPlainjob('NORMAL')
    relaxed.addMany(Math.min(jobs, SLICE))
    work.peerDefault.push(await timed(() => cyclePlainjob(relaxed.queue)))
    relaxed.close()
  }
  const facts = { ...shared, runs, ourDurability, peerVersion: version('plainjob') }
  tell({
    bench: 'enqueue',
    n: jobs,
    ours: median(enqueue.ours),
    peer: median(enqueue.peer),
    peerName: 'plainjob addMany',
    unit: 'ms',
    less: true,
    goal: 1,
    facts: { ...facts, peerDurability: 'SQLite WAL, synchronous FULL', ourBytes: bytes.ours, peerBytes: bytes.peer },
  })
  tell({
    bench: 'claim + attempt + finish',
    n: cycles,
    ours: (cycles / median(work.ours)) * 1000,
    peer: (cycles / median(work.peer)) * 1000,
    peerName: 'plainjob (no attempts)',
    unit: 'jobs/s',
    less: false,
    goal: 1,
    facts: {
      ...facts,
      waiting: jobs,
      peerDurability: 'SQLite WAL, synchronous FULL',
      peerAtItsDefault: Math.round((cycles / median(work.peerDefault)) * 1000), // synchronous NORMAL: nothing flushed
    },
  })
}
function cycleOurs(queue: Queue) {
  for (let at = 0; at < cycles; at += 1) {
    const job = queue.claim(worker)!
    const promptId = crypto.randomUUID()
    queue.beginAttempt(job.id, { promptId, workerId: worker.id, promptHash: 'bench', startedAt: Date.now() })
    queue.finish(promptId, { seconds: 1, artifacts: 1 })
  }
}
function cyclePlainjob(queue: ReturnType<typeof defineQueue>) {
  for (let at = 0; at < cycles; at += 1) {
    const { id } = queue.getAndMarkJobAsProcessing('prompt')!
    JSON.parse(queue.getJobById(id)!.data)
    queue.markJobAsDone(id)
  }
}

async function againstBull() {
  const loaded = await loadBull()
  const redis = await redisVersion()
  if (!loaded || redis === null) {
    const missing = [
      loaded ? [] : ['bullmq (npm install --prefix DIR bullmq ioredis, then --peers DIR)'],
      redis ? [] : ['redis-server'],
    ]
    console.error(`BullMQ left out: no ${missing.flat().join(', no ')}.`)
    return
  }
  for (const appendfsync of ['everysec', 'always'] as const) {
    const enqueue: { ours: number[]; peer: number[] } = { ours: [], peer: [] }
    const work: { ours: number[]; peer: number[] } = { ours: [], peer: [] }
    for (let run = 0; run < runs; run += 1) {
      const ours = openOurs()
      enqueue.ours.push(await timed(() => ours.submit(jobs)))
      work.ours.push(await timed(() => cycleOurs(ours.queue)))
      ours.close()
      const server = await startRedis(appendfsync)
      const queue = new loaded.bull.Queue('prompt', server)
      const hand = new loaded.bull.Worker('prompt', null, server)
      await hand.waitUntilReady()
      enqueue.peer.push(
        await timed(async () => {
          for (let from = 0; from < jobs; from += SLICE) {
            const length = Math.min(SLICE, jobs - from)
            await queue.addBulk(Array.from({ length }, (_, at) => ({ name: 'prompt', data: wholePrompt(from + at) })))
          }
        }),
      )
      work.peer.push(
        await timed(async () => {
          for (let at = 0; at < cycles; at += 1) {
            const job = (await hand.getNextJob('bench'))!
            await job.moveToCompleted(null, 'bench', false)
          }
        }),
      )
      await hand.close()
      await queue.close()
      await server.stop()
    }
    const peerDurability = `Redis append-only file, appendfsync ${appendfsync}`
    const facts = { ...shared, runs, ourDurability, peerDurability, peerVersion: loaded.version, redis }
    const peerName = `BullMQ on Redis, appendfsync ${appendfsync}`
    const ms = { ours: median(enqueue.ours), peer: median(enqueue.peer), unit: 'ms', less: true }
    tell({ bench: 'enqueue', n: jobs, ...ms, peerName: `${peerName}, addBulk`, goal: 2, facts })
    const [ours, peer] = [median(work.ours), median(work.peer)].map((time) => (cycles / time) * 1000)
    const rate = { ours: ours!, peer: peer!, unit: 'jobs/s', less: false }
    tell({
      bench: 'claim + attempt + finish',
      n: cycles,
      ...rate,
      peerName,
      goal: 1,
      facts: { ...facts, waiting: jobs },
    })
  }
}

/** The same few things on a small and on a large queue, in turn. */
async function atScale() {
  const small = openOurs()
  const large = openOurs()
  small.submit(1000)
  const submitMs = await timed(() => large.submit(rows))
  for (const { queue } of [small, large]) {
    for (let at = 0; at < 100; at += 1) queue.claim(worker)
    for (const job of queue.page({ states: ['running'], limit: 50 }).rows) {
      queue.refuse(job.id, { code: 'prompt.failed', message: 'x', remedy: '', facts: {} })
    }
  }
  const anywhere = (count: number) => Math.floor(Math.random() * (count - 100))
  const pages: [string, JobState[] | undefined][] = [
    ['page at any offset', undefined],
    ['page of waiting and failed at any offset', ['waiting', 'failed']],
    ['page of failed', ['failed']],
  ]
  const measures: [string, number, (queue: Queue, count: number) => unknown][] = [
    ['claim', 300, (queue) => queue.claim(worker)],
    ...pages.map(([name, states]): [string, number, (queue: Queue, count: number) => unknown] => [
      name,
      300,
      (queue, count) => queue.page({ states, offset: states?.length === 1 ? 0 : anywhere(count), limit: 100 }),
    ]),
    ['first page of waiting, in order', 300, (queue) => queue.page({ states: ['waiting'], limit: 100 })],
    ['counts', 300, (queue) => queue.counts()],
  ]
  for (const [bench, times, act] of measures) {
    const took: { large: number[]; small: number[] } = { large: [], small: [] }
    for (let at = 0; at < times; at += 1) {
      took.large.push(await timed(() => act(large.queue, rows)))
      took.small.push(await timed(() => act(small.queue, 1000)))
    }
    tell({
      bench: `${bench} at ${rows} rows`,
      n: times,
      ours: median(took.large) * 1000,
      peer: median(took.small) * 1000,
      peerName: 'ours at 1000 rows',
      unit: 'µs',
      less: true,
      goal: 0.83,
      facts: { node: process.version, sqlite, ourDurability, submitMs: Math.round(submitMs) },
    })
  }
  small.close()
  large.close()
}

function version(name: string): string {
  const manifest = path.join(import.meta.dirname, '../../node_modules', name, 'package.json')
  return (JSON.parse(readFileSync(manifest, 'utf8')) as { version: string }).version
}

try {
  await againstPlainjob()
  await againstBull()
  await atScale()
} finally {
  rmSync(dir, { recursive: true, force: true })
}
process.exitCode = allOk ? 0 : 1
