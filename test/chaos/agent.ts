// npm run chaos:agent -- [--callers 200] [--seconds 60] [--tasks 60] [--only load|balancer]: an agent under many callers,
// some of whom leave, read slowly or send nonsense; then three agents of one store behind nginx, one of them killed.
// A JSON line for each scene; 1 if any failed.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as pause } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { Agent, request } from 'undici'
import { isJsonObject, type JsonObject, parseJson } from '../../core/contract/json.ts'
import { RehearsalServer } from '../../core/engine/rehearsal/server.ts'
import { aWorkflow } from '../kit/a-workflow.ts'
import { eventually } from '../kit/eventually.ts'

const { values } = parseArgs({
  options: {
    callers: { type: 'string', default: '200' },
    seconds: { type: 'string', default: '60' },
    tasks: { type: 'string', default: '60' },
    only: { type: 'string' },
  },
})
const root = path.resolve(import.meta.dirname, '../..')
const dir = mkdtempSync(path.join(tmpdir(), 'nightshift-agents-'))
const KEY = `sk_${randomUUID()}`
const keyFile = path.join(dir, 'keys')
writeFileSync(keyFile, `${KEY}\n`, { mode: 0o600 })
const dispatcher = new Agent({ connections: 512, headersTimeout: 120_000, bodyTimeout: 120_000 })
let failed = 0

const scenes: Record<string, () => Promise<{ facts: object; violations: string[] }>> = {
  load: () => load(Number(values.callers), Number(values.seconds)),
  balancer: () => balancer(Number(values.tasks), 'apart'),
  'balancer, one ComfyUI': () => balancer(Number(values.tasks), 'shared'),
}
try {
  for (const [scene, play] of Object.entries(scenes)) {
    if (values.only && !scene.startsWith(values.only)) continue
    const { facts, violations } = await play()
    if (violations.length > 0) failed += 1
    console.log(JSON.stringify({ scene, ok: violations.length === 0, ...facts, violations: violations.slice(0, 10) }))
  }
} finally {
  await dispatcher.destroy()
  rmSync(dir, { recursive: true, force: true, maxRetries: 5 })
}
process.exitCode = failed > 0 ? 1 : 0

interface Reply {
  status: number
  text: string
  retryAfter: number
}
async function ask(url: string, way: string, asked: { body?: string; id?: string; background?: boolean } = {}) {
  const headers: Record<string, string> = { authorization: `Bearer ${KEY}` }
  if (asked.id) headers['task-id'] = asked.id
  if (asked.background) headers.prefer = 'respond-async'
  const method = asked.body === undefined ? 'GET' : 'POST'
  const reply = await request(url + way, { method, headers, body: asked.body, dispatcher })
  const text = await reply.body.text()
  return { status: reply.statusCode, text, retryAfter: Number(reply.headers['retry-after'] ?? 1) } satisfies Reply
}
function read(text: string) {
  return parseJson(text) as { [node: string]: JsonObject }
}

// ---- one agent ----

async function load(callers: number, seconds: number) {
  const agent = await anAgent('load', ['--worker', 'rehearsal', '--workers', '2', '--in-flight', '8'])
  const violations: string[] = []
  const took: number[] = []
  const memory: number[] = []
  let throttled = 0
  let asked = 0
  const until = performance.now() + seconds * 1000

  const call = async (caller: number) => {
    for (let at = 0; performance.now() < until; at += 1) {
      const id = `${caller}-${at}`
      const body = JSON.stringify(aWorkflow(caller * 1_000_000 + at, { steps: 1, prefix: `c${id}` }))
      const began = performance.now()
      for (;;) {
        const reply = await ask(agent.url, '/api/run', { body, id }).catch((cause) => String(cause))
        if (typeof reply === 'string') {
          violations.push(`${id} lost: ${reply}`)
          break
        }
        if (reply.status === 429) {
          throttled += 1
          await pause(reply.retryAfter * 1000)
          continue
        }
        const map = reply.status === 200 ? read(reply.text) : null
        const [image] = (map?.[9]?.images ?? []) as JsonObject[]
        if (!String(image?.filename).startsWith(`c${id}_`))
          violations.push(`${id}: ${reply.status} ${reply.text.slice(0, 200)}`)
        break
      }
      took.push(performance.now() - began)
    }
  }
  // they leave at once, or never read what they are given
  const rude = async (caller: number) => {
    for (let at = 0; performance.now() < until; at += 1) {
      const { hostname, port, host } = new URL(agent.url)
      const body = JSON.stringify(aWorkflow(at, { steps: 1, prefix: `rude${caller}` }))
      const socket = connect(Number(port), hostname)
      socket.on('error', () => {})
      socket.write(
        `POST /api/run HTTP/1.1\r\nHost: ${host}\r\nAuthorization: Bearer ${KEY}\r\n` +
          `Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
      )
      socket.pause()
      await pause(caller % 2 ? 20 : 5_000)
      socket.destroy()
      asked += 1
      await pause(1_000)
    }
  }
  let malformed = 0
  const nonsense = async () => {
    const bodies = [
      '',
      '{',
      '[]',
      '{"1":{}}',
      '"x"',
      `${'['.repeat(50_000)}`,
      '{"1":{"class_type":"X","inputs":null}}',
      '\0',
    ]
    for (; malformed < 1_000 && performance.now() < until; malformed += 1) {
      const reply = await ask(agent.url, '/api/run', { body: bodies[malformed % bodies.length]! })
      if (reply.status < 400 || reply.status === 500)
        violations.push(`nonsense: ${reply.status} ${reply.text.slice(0, 100)}`)
      await pause(20)
    }
  }
  const watch = async () => {
    while (performance.now() < until) {
      const { text } = await ask(agent.url, '/metrics')
      memory.push(Number(/^nightshift_memory_bytes (\d+)/m.exec(text)?.[1] ?? 0) / 2 ** 20)
      await pause(2_000)
    }
  }
  await Promise.all([
    ...Array.from({ length: callers }, (_, at) => call(at)),
    ...Array.from({ length: 10 }, (_, at) => rude(at)),
    nonsense(),
    watch(),
  ])
  // what was asked and not waited for is done, too
  const open = async () => {
    const { running, waiting } = parseJson((await ask(agent.url, '/api/tasks?limit=1')).text) as Record<string, number>
    return running === 0 && waiting === 0
  }
  await eventually(open, 60_000)
  const { text } = await ask(agent.url, '/metrics')
  const [, ranSeconds = 0] = /task_seconds_sum ([\d.]+)/.exec(text) ?? []
  const count = (state: string) => Number(new RegExp(`tasks_total\\{state="${state}"\\} (\\d+)`).exec(text)?.[1] ?? 0)
  if (count('failed') > 0) violations.push(`${count('failed')} tasks failed`)
  if (count('succeeded') < took.length) violations.push(`${took.length} answered, ${count('succeeded')} done`)
  if (/requests_total\{status="500"\}/.test(text)) violations.push('a request was answered with 500')
  // the first third fills caches and pools
  const third = Math.ceil(memory.length / 3)
  const [before, after] = [middle(memory.slice(third, 2 * third)), middle(memory.slice(2 * third))]
  if (after > before * 1.25 + 20) violations.push(`memory grew from ${before} to ${after} MiB`)
  const sorted = took.toSorted((a, b) => a - b)
  const at = (share: number) => Math.round(sorted[Math.floor(sorted.length * share)] ?? 0)
  const facts = {
    callers,
    seconds,
    answered: took.length,
    done: count('succeeded'),
    leftOrSlow: asked,
    throttled,
    malformed,
    perSecond: Math.round((count('succeeded') / seconds) * 10) / 10,
    atOnce: 16,
    meanRunMs: Math.round((Number(ranSeconds) / count('succeeded')) * 1000), // at the rehearsals; the rest was waiting for them
    p50Ms: at(0.5),
    p99Ms: at(0.99),
    mostMs: at(0.99999),
    memoryMiB: { before, after, most: Math.round(Math.max(...memory)) },
  }
  await agent.stop()
  return { facts, violations }
}
function middle(numbers: number[]) {
  return Math.round(numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? 0)
}

// ---- three of one store behind a balancer ----

/** `apart`: each has a ComfyUI of its own, which dies with it, as in a container; `shared`: all use one. */
async function balancer(count: number, comfyuis: 'apart' | 'shared') {
  const violations: string[] = []
  const facts: Record<string, unknown> = { tasks: count, agents: 3 }
  if (spawnSync('nginx', ['-v']).status !== 0) return { facts: { skipped: 'no nginx' }, violations }
  const servers: RehearsalServer[] = []
  for (let at = 0; at < (comfyuis === 'shared' ? 1 : 3); at += 1) {
    const server = new RehearsalServer({ dir: path.join(dir, randomUUID()), stepMs: 40, assumeModels: true })
    await server.start()
    servers.push(server)
  }
  const store = path.join(dir, `store-${comfyuis}`)
  const start = (at: number) =>
    anAgent(`${comfyuis}${at}`, [
      '--worker',
      servers[at % servers.length]!.url,
      '--name',
      'balancer.example',
      '--store',
      store,
    ])
  const agents = await Promise.all([0, 1, 2].map(start))
  const nginx = await aBalancer(agents.map(({ url }) => new URL(url).host))
  const ids = Array.from({ length: count }, (): string => randomUUID())
  const prefixes = new Map(ids.map((id, at) => [id, `t${at}`]))
  const send = (id: string) => {
    const body = JSON.stringify(aWorkflow(ids.indexOf(id), { steps: 5, prefix: prefixes.get(id)! }))
    return ask(nginx.url, '/api/run', { body, id, background: true })
  }
  const stateOf = async (url: string, id: string) => {
    const reply = await ask(url, `/api/status?id=${id}`)
    return reply.status === 200 ? String(read(reply.text)['']?.state) : `${reply.status}`
  }
  const sent = await Promise.all(ids.map(send))
  for (const { status, text } of sent) if (status !== 202) violations.push(`not taken: ${status} ${text.slice(0, 100)}`)

  await eventually(async () => (await doneOf(nginx.url, ids)) >= count / 6, 60_000)
  const [victim, ...others] = agents
  victim!.kill()
  if (comfyuis === 'apart') servers[0]!.die()
  facts.doneWhenKilled = await doneOf(others[0]!.url, ids)
  await eventually(async () => (await doneOf(nginx.url, ids)) === count, 120_000)

  for (const id of ids) {
    const states = await Promise.all(others.map(({ url }) => stateOf(url, id)))
    if (states.some((state) => state !== 'succeeded')) violations.push(`${id}: ${states.join(', ')}`)
    const reply = await ask(nginx.url, `/api/result?id=${id}`)
    const entry = reply.status === 200 ? read(reply.text)[9] : undefined
    const [image] = (entry?.images ?? []) as JsonObject[]
    const [result] = (entry?.results ?? []) as string[]
    const whole =
      Buffer.from(result ?? '', 'base64')
        .subarray(-8, -4)
        .toString() === 'IEND'
    if (!whole || !String(image?.filename).startsWith(`${prefixes.get(id)}_`)) violations.push(`${id}: not its picture`)
  }
  const again = await Promise.all(ids.slice(0, 10).map(send))
  if (again.some(({ status }) => status !== 202)) violations.push('what is done was not known when it was sent again')
  const executed = servers.reduce((sum, { submissions }) => sum + submissions, 0)
  // of the one that died with its ComfyUI, what ran there is run again elsewhere: two at most, as many as it has at a time
  const most = comfyuis === 'shared' ? count : count + 2
  if (executed < count || executed > most) violations.push(`${executed} were run, of ${count}`)
  Object.assign(facts, { executed })
  await nginx.stop()
  for (const agent of others) await agent.stop()
  for (const server of servers) await server.stop()
  return { facts, violations }
}

async function doneOf(url: string, ids: string[]): Promise<number> {
  const { text, status } = await ask(url, '/api/tasks?state=succeeded&limit=200')
  const said = status === 200 ? parseJson(text) : null
  const rows = isJsonObject(said) && Array.isArray(said.rows) ? (said.rows as JsonObject[]) : []
  return rows.filter(({ id }) => ids.includes(String(id))).length
}

async function aBalancer(hosts: string[]) {
  const port = await freePort()
  const prefix = path.join(dir, `nginx-${port}`)
  mkdirSync(prefix)
  const paths = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
    .map((name) => `${name}_temp_path ${path.join(prefix, name)};`)
    .join(' ')
  writeFileSync(
    path.join(prefix, 'nginx.conf'),
    `daemon off; pid ${path.join(prefix, 'pid')}; error_log ${path.join(prefix, 'error.log')}; worker_processes 1;
    events { worker_connections 1024; }
    http {
      access_log off; ${paths}
      upstream agents { ${hosts.map((host) => `server ${host} max_fails=1 fail_timeout=2s;`).join(' ')} }
      server {
        listen 127.0.0.1:${port};
        location / {
          proxy_pass http://agents; proxy_http_version 1.1; proxy_set_header Host balancer.example;
          proxy_read_timeout 120s; proxy_buffering off;
          # sending a task twice is sending it once
          proxy_next_upstream error timeout http_503 non_idempotent;
        }
      }
    }`,
  )
  const child = spawn(
    'nginx',
    ['-p', prefix, '-c', path.join(prefix, 'nginx.conf'), '-e', path.join(prefix, 'start.log')],
    {
      stdio: 'ignore',
    },
  )
  const url = `http://127.0.0.1:${port}`
  await eventually(async () => (await request(`${url}/healthz`).catch(() => null))?.statusCode === 200)
  return {
    url,
    async stop() {
      child.kill('SIGQUIT')
      if (child.exitCode === null) await once(child, 'exit')
    },
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  await new Promise((resolve) => server.close(resolve))
  return port
}

// ---- the program ----

async function anAgent(name: string, args: string[]) {
  const given = args.includes('--store') ? args : [...args, '--store', path.join(dir, `store-${name}`)]
  const child: ChildProcess = spawn(
    process.execPath,
    ['agent/index.ts', '--port', '0', '--api-key-file', keyFile, '--cache', path.join(dir, `cache-${name}`), ...given],
    { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] },
  )
  process.on('exit', () => child.kill('SIGKILL'))
  let said = ''
  child.stderr!.on('data', (chunk) => {
    said = (said + chunk).slice(-2_000)
  })
  for await (const line of createInterface({ input: child.stdout! })) {
    const told = parseJson(line) as JsonObject
    if (told.event === 'error') throw new Error(line)
    if (told.event !== 'listening') continue
    child.stdout!.resume()
    const url = String(told.url)
    await eventually(async () => (await ask(url, '/readyz')).status === 200)
    return {
      url,
      kill: () => child.kill('SIGKILL'),
      async stop() {
        child.kill('SIGTERM')
        if (child.exitCode === null) await once(child, 'exit')
      },
    }
  }
  throw new Error(`the agent ${name} did not start: ${said}`)
}
