import { type ChildProcess, fork } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import type { Artifact, Sidecar } from '../../core/contract/artifact.ts'
import { AppError } from '../../core/contract/errors.ts'
import type { Job, JobDetail } from '../../core/contract/job.ts'
import { isJsonObject, parseJson, writeJson } from '../../core/contract/json.ts'
import { textsIn } from '../../core/engine/metadata/read-file.ts'
import { connect, type SocketClient } from '../../main/api/client.ts'
import { eventually } from '../kit/eventually.ts'
import { ownPort } from '../kit/own-port.ts'

/** Where a job's way is cut, in the order it comes by. */
export const points = [
  'job-row',
  'attempt-row',
  'posted',
  'mid-run',
  'server-saved',
  'downloaded',
  'before-artifact-commit',
  'after-artifact-commit',
] as const
export type Point = (typeof points)[number]
export type Victim = 'host' | 'server'
export type Hits = Record<Point, number>
export const noHits = () => Object.fromEntries(points.map((point) => [point, 0])) as Hits

export interface Round {
  readonly jobs: number
  readonly outputs: number
  /** Prompts the server began to run; more than jobs only where the server itself was killed. */
  readonly executed: number | null
  readonly attempts: number
  readonly violations: string[]
}

const BATCHES = 5 // a round is submitted in so many pieces, each of which can be cut at 'job-row'
const PATIENCE_MS = 60_000
const root = path.resolve(import.meta.dirname, '../..')

/**
 * One round: `jobs` jobs are queued on a host of its own and a server of its own; again and again the victim is killed at
 * the point with the fewest hits so far, until every point has `times`, or the jobs are all done. Then all must be there.
 */
export async function playRound(options: { jobs: number; victim: Victim; hits: Hits; times: number }): Promise<Round> {
  const { jobs, victim, hits, times } = options
  const dir = mkdtempSync(path.join(tmpdir(), 'nightshift-chaos-'))
  const outDir = path.join(dir, 'out')
  mkdirSync(outDir)
  const server = new Server(path.join(dir, 'server'), await ownPort())
  const host = new Host(path.join(dir, 'data'))
  try {
    await server.start()
    await host.start()
    await host.client.call('worker.add', { url: server.url, name: 'comfy', header: null })
    const prompt = Buffer.from(writeJson(sketch)).toString('base64')
    const workflow = await host.client.call('workflow.import', { name: 'sketch.json', base64: prompt })

    const submit = (piece: number) => {
      const [from, to] = [piece, piece + 1].map((at) => Math.floor((at * jobs) / BATCHES)) as [number, number]
      const rows = Array.from({ length: to - from }, (_, at) => ({ '3.seed': 1000 + from + at }))
      const named = { name: `piece ${piece}`, continueKey: `piece ${piece}`, pattern: '{batch}/{row:04}-{seed}' }
      return host.client.call('batch.submit', { workflowId: workflow.id, workers: ['comfy'], rows, outDir, ...named })
    }
    for (let piece = 0; piece < BATCHES; piece += 1) {
      if (hits['job-row'] >= times) {
        await submit(piece)
        continue
      }
      await host.restart({ point: 'job-row', pid: victim === 'server' ? server.pid : null })
      await submit(piece).catch((cause: unknown) => {
        if (!(cause instanceof AppError) || cause.code !== 'app.disconnected') throw cause
      })
      await (victim === 'host' ? host.died() : server.died())
      hits['job-row'] += 1
      await (victim === 'host' ? host.start() : server.start())
      await submit(piece) // continued where it was kept, and only there
    }

    const left = async () => {
      const { counts } = await host.client.call('queue.state', {})
      return counts.waiting + counts.running
    }
    for (;;) {
      const point = points.filter((each) => hits[each] < times).sort((a, b) => hits[a] - hits[b])[0]
      if (!point) break
      await host.restart({ point, pid: victim === 'server' ? server.pid : null })
      let cut = false
      void (victim === 'host' ? host : server).died().then(() => {
        cut = true
      })
      await eventually(async () => cut || (await left()) === 0, PATIENCE_MS, 100)
      if (!cut) break
      hits[point] += 1
      if (victim === 'host') {
        await host.start()
      } else {
        const lost = await host.client.call('job.page', { states: ['running'] })
        await server.start()
        // a prompt that was running twice when its server died would rightly be given up: let these end first
        await ended(host, lost.rows)
      }
      if ((await left()) === 0) break
    }
    await host.restart(null)
    await eventually(async () => (await left()) === 0, PATIENCE_MS, 100)
    return await inspect(host.client, { jobs, outDir, executed: victim === 'host' ? await server.executed() : null })
  } finally {
    await host.kill()
    await server.kill()
    rmSync(dir, { recursive: true, force: true, maxRetries: 5 })
  }
}

async function ended(host: Host, jobs: readonly Job[]) {
  const isOver = async ({ id }: Job) =>
    !['waiting', 'running'].includes((await host.client.call('job.get', { id })).state)
  await eventually(async () => (await Promise.all(jobs.map(isOver))).every(Boolean), PATIENCE_MS, 100)
}

/** Every job done once, every picture there once, under the mark of the attempt that made it. */
async function inspect(
  client: SocketClient,
  round: { jobs: number; outDir: string; executed: number | null },
): Promise<Round> {
  const violations: string[] = []
  const expect = (holds: boolean, otherwise: string) => {
    if (!holds) violations.push(otherwise)
  }
  const jobs: JobDetail[] = []
  for (let offset = 0; ; offset += 200) {
    const page = await client.call('job.page', { offset, limit: 200 })
    for (const { id } of page.rows) jobs.push(await client.call('job.get', { id }))
    if (offset + 200 >= page.total) break
  }
  const artifacts: { artifact: Artifact; sidecar: Sidecar }[] = []
  const { rows } = await client.call('artifact.page', { limit: 200 })
  for (const { id } of rows) artifacts.push(await client.call('artifact.get', { id }))
  const files = readdirSync(round.outDir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.relative(round.outDir, path.join(entry.parentPath, entry.name)).replaceAll(path.sep, '/'))
  const pictures = files.filter((file) => !file.endsWith('.json'))

  expect(jobs.length === round.jobs, `${jobs.length} jobs of ${round.jobs}`)
  expect(pictures.length === round.jobs, `${pictures.length} files of ${round.jobs}: ${pictures.join(', ')}`)
  expect(files.length === 2 * round.jobs, `${files.length - pictures.length} sidecars of ${round.jobs}`)
  expect(artifacts.length === round.jobs, `${artifacts.length} artifacts of ${round.jobs}`)
  expect(
    new Set(artifacts.map(({ artifact }) => artifact.sha256)).size === round.jobs,
    'two artifacts are the same picture',
  )
  for (const job of jobs) {
    const open = job.tries.filter(({ ended }) => ended === null).length
    const done = job.tries.filter(({ ended }) => ended === 'done')
    expect(job.state === 'done', `${job.id} is ${job.state}: ${job.failure?.message ?? ''}`)
    expect(open === 0 && done.length === 1, `${job.id} has ${open} open and ${done.length} finished attempts`)
    const own = artifacts.filter(({ artifact }) => artifact.jobId === job.id)
    expect(own.length === 1, `${job.id} has ${own.length} artifacts`)
    for (const { artifact, sidecar } of own) {
      const bytes = readFileSync(path.join(round.outDir, artifact.name))
      const mark = parseJson(textsIn(bytes).nightshift ?? 'null')
      const marked = isJsonObject(mark) ? mark : {}
      const maker = job.tries.find(({ promptId }) => promptId === sidecar.promptId)
      expect(marked.job === job.id, `${artifact.name} of ${job.id} carries the mark of job ${String(marked.job)}`)
      expect(marked.attempt === sidecar.promptId, `${artifact.name} is not of the attempt its sidecar names`)
      expect(maker !== undefined, `${artifact.name} was made by an attempt its job does not know`)
      const sha256 = createHash('sha256').update(bytes).digest('hex')
      expect(sha256 === artifact.sha256, `${artifact.name} is not what its row says`)
      const seed = Object.values(job.overrides)[0]
      expect(sidecar.prompt['3']?.inputs.seed === seed, `${artifact.name} was not made with seed ${String(seed)}`)
    }
  }
  expect(
    round.executed === null || round.executed === round.jobs,
    `${round.executed} prompts run for ${round.jobs} jobs`,
  )
  const attempts = jobs.reduce((sum, { tries }) => sum + tries.length, 0)
  return { jobs: round.jobs, outputs: pictures.length, executed: round.executed, attempts, violations }
}

const children = new Set<ChildProcess>()
process.on('exit', () => {
  for (const child of children) child.kill('SIGKILL')
})

class Program {
  protected child: ChildProcess | null = null
  get alive() {
    return this.child !== null && this.child.exitCode === null && this.child.signalCode === null
  }
  get pid(): number {
    return this.child!.pid!
  }
  protected async launch(
    script: string,
    args: string[],
    env: NodeJS.ProcessEnv = {},
  ): Promise<Record<string, unknown>> {
    const child = fork(path.join(root, script), args, {
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    })
    this.child = child
    let said = ''
    child.stderr?.on('data', (text: Buffer) => {
      said = (said + text.toString()).slice(-2000)
    })
    children.add(child)
    child.once('exit', () => children.delete(child))
    // the host says it over the channel, the server in its first line
    return await new Promise<Record<string, unknown>>((resolve, reject) => {
      child.once('message', (message) => resolve(message as Record<string, unknown>))
      child.stdout?.on('data', (line: Buffer) => {
        if (line.includes('"listening"')) resolve({})
      })
      child.once('exit', (code, signal) =>
        reject(new Error(`${script} ended (${code ?? signal}) before it was ready: ${said}`)),
      )
    })
  }
  async died() {
    const { child } = this
    if (child && this.alive) await once(child, 'exit')
  }
  async kill() {
    const { child } = this
    if (!child || !this.alive) return
    child.kill('SIGKILL')
    await this.died()
  }
}

class Server extends Program {
  readonly #dir: string
  readonly #port: number
  constructor(dir: string, port: number) {
    super()
    this.#dir = dir
    this.#port = port
  }
  get url() {
    return `http://127.0.0.1:${this.#port}`
  }
  async start() {
    const options = ['--dir', this.#dir, '--port', String(this.#port), '--step-ms', '25']
    await this.launch('core/engine/rehearsal/main.ts', options)
  }
  /** Prompts in its history: every one it ran. */
  async executed(): Promise<number> {
    const reply = await fetch(`${this.url}/history?max_items=10000`)
    return Object.keys((await reply.json()) as object).length
  }
}

class Host extends Program {
  readonly #dir: string
  client!: SocketClient
  constructor(dir: string) {
    super()
    this.#dir = dir
  }
  /** `cut`: kills itself, or the process `pid`, the first time `point` is passed. */
  async start(cut: { point: Point; pid: number | null } | null = null) {
    const env = { NIGHTSHIFT_KILL_AT: cut?.point ?? '', NIGHTSHIFT_KILL_PID: cut?.pid ? String(cut.pid) : '' }
    const { socket, failed } = await this.launch('main/host.ts', ['--data', this.#dir, '--door', 'headless'], env)
    if (failed) throw new Error(`the host did not start: ${JSON.stringify(failed)}`)
    this.client = connect(socket as string)
  }
  async restart(cut: { point: Point; pid: number | null } | null) {
    await this.quiet()
    await this.start(cut)
  }
  /** Quits as a person would. */
  async quiet() {
    if (!this.alive) return
    this.child?.kill('SIGTERM')
    await this.died()
  }
}

/** A picture from text, long enough to be caught at it: twenty steps of 25 ms. */
const sketch = {
  '3': {
    class_type: 'KSampler',
    inputs: {
      seed: 1,
      steps: 20,
      cfg: 7,
      sampler_name: 'euler',
      scheduler: 'normal',
      denoise: 1,
      model: ['4', 0],
      positive: ['6', 0],
      negative: ['7', 0],
      latent_image: ['5', 0],
    },
  },
  '4': { class_type: 'CheckpointLoaderSimple', inputs: { ckpt_name: 'chaos.safetensors' } },
  '5': { class_type: 'EmptyLatentImage', inputs: { width: 64, height: 64, batch_size: 1 } },
  '6': { class_type: 'CLIPTextEncode', inputs: { text: 'a lighthouse in a storm', clip: ['4', 1] } },
  '7': { class_type: 'CLIPTextEncode', inputs: { text: 'calm', clip: ['4', 1] } },
  '8': { class_type: 'VAEDecode', inputs: { samples: ['3', 0], vae: ['4', 2] } },
  '9': { class_type: 'SaveImage', inputs: { filename_prefix: 'chaos', images: ['8', 0] } },
}
