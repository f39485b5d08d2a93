// A batch through the whole app against bare clients doing the least that gives the same files, on the rehearsal as a
// process of its own, or on `--worker URL`: any ComfyUI, since only its image nodes are used there.
import { type ChildProcess, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import pino from 'pino'
import { WebSocket } from 'ws'
import { BatchPlan } from '../../core/contract/batch.ts'
import type { HistoryEntry, Prompt } from '../../core/contract/comfyui.ts'
import { writeJson } from '../../core/contract/json.ts'
import { createApp } from '../../main/app.ts'
import { median, report } from './measure.ts'

const { values } = parseArgs({
  options: {
    worker: { type: 'string' },
    jobs: { type: 'string', default: '20' },
    short: { type: 'string', default: '10' },
    runs: { type: 'string', default: '5' },
  },
})
const [jobs, short, runs] = [Number(values.jobs), Number(values.short), Number(values.runs)]
const dir = mkdtempSync(path.join(tmpdir(), 'nightshift-bench-'))

const node = (class_type: string, inputs: Prompt[string]['inputs']) => ({ class_type, inputs })
/** A small picture of one colour: over in a moment. */
const quick: Prompt = {
  '1': node('EmptyImage', { width: 64, height: 64, batch_size: 1, color: 0 }),
  '9': node('SaveImage', { filename_prefix: 'bench', images: ['1', 0] }),
}
/** The same, enlarged and reduced again and again: about a second of real work on a CPU. */
const enlarged: Prompt = {
  '1': node('EmptyImage', { width: 1024, height: 1024, batch_size: 1, color: 0 }),
  ...Object.fromEntries(
    [2560, 1024, 2560, 1024, 2560, 1024, 2560].map((side, at) => {
      const sides = { upscale_method: 'lanczos', width: side, height: side, crop: 'disabled' }
      return [`${at + 2}`, node('ImageScale', { image: [`${at + 1}`, 0], ...sides })]
    }),
  ),
  '9': node('SaveImage', { filename_prefix: 'bench', images: ['8', 0] }),
}
let prompts = 0
const newColour = () => {
  prompts += 1
  return prompts % 0xffffff
}

async function startRehearsal(): Promise<{ url: string; process: ChildProcess }> {
  const main = path.join(import.meta.dirname, '../../core/engine/rehearsal/main.ts')
  const child = spawn(process.execPath, [main, '--dir', path.join(dir, 'server')], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  process.once('exit', () => child.kill('SIGKILL'))
  const [line] = (await once(child.stdout, 'data')) as [Buffer]
  return { url: (JSON.parse(line.toString()) as { url: string }).url, process: child }
}

/** Ours: from `batch.submit` until every picture is on the disk with its record. */
async function openOurs(url: string) {
  const data = path.join(dir, 'data')
  mkdirSync(data)
  const log = pino({ enabled: false })
  const app = await createApp({ dataDir: data, door: 'headless', locale: 'en', log, outputDir: path.join(dir, 'ours') })
  await app.start()
  const router = app.served.routers.local
  const { id: worker } = await router['worker.add']({ url, name: 'bench', header: null, token: null })
  const workflows = new Map<Prompt, string>()
  const run = async (prompt: Prompt, count: number) => {
    const base64 = Buffer.from(writeJson(prompt)).toString('base64')
    const known = workflows.get(prompt) ?? (await router['workflow.import']({ name: 'bench.json', base64 })).id
    workflows.set(prompt, known)
    const rows = Array.from({ length: count }, () => ({ '1.color': newColour() }))
    const ended = Promise.withResolvers<void>()
    let batch: string | undefined
    const unsubscribe = app.served.events.subscribe(null, ({ name, payload }) => {
      if (name === 'batch.ended' && (payload as { id: string }).id === batch) ended.resolve()
    })
    const before = performance.now()
    batch = (await router['batch.submit'](BatchPlan.parse({ workflowId: known, workers: [worker], rows }))).batchId
    await ended.promise
    const took = performance.now() - before
    unsubscribe()
    const { counts } = await router['batch.get']({ id: batch })
    if (counts.done !== count) throw new Error(`ours made ${counts.done} of ${count}: ${JSON.stringify(counts)}`)
    return took
  }
  const close = async () => {
    await app.stop()
    app.close()
  }
  return { run, close }
}

/** What every bare client does alike: sends a prompt of its own, and fetches what it gave. */
function bareClient(url: string, clientId: string) {
  const out = path.join(dir, 'bare')
  mkdirSync(out, { recursive: true })
  const send = async (prompt: Prompt) => {
    const prompt_id = randomUUID()
    const inputs = { ...prompt['1']!.inputs, color: newColour() }
    const marked = { ...prompt['9']!.inputs, filename_prefix: prompt_id }
    const body = { ...prompt, '1': { ...prompt['1'], inputs }, '9': { ...prompt['9'], inputs: marked } }
    const reply = await fetch(`${url}/prompt`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: writeJson({ prompt: body, prompt_id, client_id: clientId }),
    })
    if (!reply.ok) throw new Error(`refused: ${await reply.text()}`)
    return prompt_id
  }
  const entry = async (id: string) => {
    const history = (await (await fetch(`${url}/history/${id}`)).json()) as Record<string, HistoryEntry>
    return history[id]
  }
  const keep = async (id: string, { outputs }: HistoryEntry) => {
    const [file] = outputs['9']!.images as { filename: string; subfolder: string; type: string }[]
    const reply = await fetch(`${url}/view?${new URLSearchParams({ ...file })}`)
    await writeFile(path.join(out, `${id}.png`), Buffer.from(await reply.arrayBuffer()))
  }
  return { send, entry, keep }
}
/** Keeps two prompts queued, hears of their end on the socket, fetches while the next one runs. */
async function twoDeep(url: string, prompt: Prompt, count: number): Promise<number> {
  const clientId = randomUUID()
  const client = bareClient(url, clientId)
  const socket = new WebSocket(`${url.replace(/^http/, 'ws')}/ws?clientId=${clientId}`)
  await once(socket, 'open')
  const over = new Map<string, () => void>()
  const early = new Set<string>()
  socket.on('message', (data: Buffer, binary: boolean) => {
    if (binary) return
    const { type, data: told } = JSON.parse(data.toString()) as {
      type: string
      data: { node?: unknown; prompt_id?: string }
    }
    if (type !== 'executing' || told.node !== null || told.prompt_id === undefined) return
    if (over.has(told.prompt_id)) over.get(told.prompt_id)!()
    else early.add(told.prompt_id)
  })
  const before = performance.now()
  const kept: Promise<void>[] = []
  let left = count
  const lane = async () => {
    while (left > 0) {
      left -= 1
      const id = await client.send(prompt)
      if (!early.has(id)) await new Promise<void>((resolve) => over.set(id, resolve))
      kept.push(client.entry(id).then((entry) => client.keep(id, entry!)))
    }
  }
  await Promise.all([lane(), lane()])
  await Promise.all(kept)
  const took = performance.now() - before
  socket.close()
  return took
}
/** Submits, asks once a second, submits the next. */
async function polling(url: string, prompt: Prompt, count: number): Promise<number> {
  const client = bareClient(url, randomUUID())
  const before = performance.now()
  for (let at = 0; at < count; at += 1) {
    const id = await client.send(prompt)
    let entry: HistoryEntry | undefined
    while (!entry) {
      await pause(1000)
      entry = await client.entry(id)
    }
    await client.keep(id, entry)
  }
  return performance.now() - before
}

let ok = true
let rehearsal: Awaited<ReturnType<typeof startRehearsal>> | undefined
try {
  if (!values.worker) rehearsal = await startRehearsal()
  const url = (values.worker ?? rehearsal!.url).replace(/\/$/, '')
  const ours = await openOurs(url)
  const facts = { node: process.version, server: values.worker ? 'ComfyUI' : 'rehearsal', runs }
  const compare = async (
    bench: string,
    prompt: Prompt,
    n: number,
    peerName: string,
    peer: typeof twoDeep,
    goal: number,
  ) => {
    await ours.run(prompt, 2)
    await peer(url, prompt, 1)
    const took: { ours: number[]; peer: number[] } = { ours: [], peer: [] }
    for (let run = 0; run < runs; run += 1) {
      // who goes first changes from run to run
      if (run % 2 === 0) took.ours.push(await ours.run(prompt, n))
      took.peer.push(await peer(url, prompt, n))
      if (run % 2 === 1) took.ours.push(await ours.run(prompt, n))
    }
    const medians = { ours: median(took.ours), peer: median(took.peer) }
    ok = report({ bench, n, ...medians, peerName, unit: 'ms', less: true, goal, facts }) && ok
  }
  await compare('a batch on one ComfyUI', enlarged, jobs, 'bare client, two prompts queued', twoDeep, 0.97)
  await compare('short prompts', quick, short, 'submit, poll every second, submit', polling, 5)
  await ours.close()
} finally {
  rehearsal?.process.kill()
  rmSync(dir, { recursive: true, force: true, maxRetries: 5 })
}
process.exitCode = ok ? 0 : 1
