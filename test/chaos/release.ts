// An agent that is killed while it makes releases ready and promotes them: what serves is always a whole one, the newest that
// was promoted serves in the end, and nothing of a ComfyUI is left over. `--rounds N` (20), `--seed N`.
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as pause } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { isJsonObject, parseJson } from '../../core/contract/json.ts'
import type { ReleaseView } from '../../core/contract/release.ts'
import { AgentClient, codeOf } from '../../core/engine/agent-client.ts'
import { deskAt } from '../kit/desk.ts'
import { eventually } from '../kit/eventually.ts'
import { put } from '../kit/small-comfy.ts'

const { values } = parseArgs({
  options: { rounds: { type: 'string', default: '20' }, seed: { type: 'string', default: '1' } },
})
const rounds = Number(values.rounds)
let state = Number(values.seed)
/** Park and Miller. */
const random = () => {
  state = (state * 48271) % 2147483647
  return state / 2147483647
}

const root = mkdtempSync(path.join(tmpdir(), 'nightshift-chaos-'))
const desk = deskAt(path.join(root, 'desk'), path.join(root, 'store'))
const keys = path.join(root, 'keys')
writeFileSync(keys, 'sk_chaos_0123456789 run,publish\n')
const picture = {
  1: { class_type: 'EmptyImage', inputs: { width: 64, height: 64, batch_size: 1, color: 1 } },
  2: { class_type: 'SaveImage', inputs: { images: ['1', 0], filename_prefix: 'p' } },
}
const running: { agent: ChildProcess | null } = { agent: null }
let url = ''

async function start() {
  const args = ['--port=9377', `--store=${desk.storeDir}`, `--cache=${path.join(root, 'cache')}`, '--worker=none']
  const program = path.resolve(import.meta.dirname, '../../agent/index.ts')
  const child = spawn(process.execPath, [program, ...args, `--api-key-file=${keys}`, `--python=${desk.here.python}`], {
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  running.agent = child
  for await (const line of createInterface({ input: child.stdout })) {
    const said = parseJson(line)
    if (isJsonObject(said) && typeof said.url === 'string') {
      url = `${said.url}/`
      return
    }
    throw new Error(line)
  }
}
const asking = async <T>(act: (client: AgentClient) => Promise<T>): Promise<T> => {
  const client = new AgentClient({ url, key: 'sk_chaos_0123456789' })
  try {
    return await act(client)
  } finally {
    await client.close()
  }
}

const violations: string[] = []
const phases = new Map<string, number>()
let promised = 0
try {
  await start()
  for (let round = 1; round <= rounds; round++) {
    put(path.join(desk.here.nodesDir, '风格', '__init__.py'), `NODE_CLASS_MAPPINGS = {}\n# ${round}\n`)
    const snapshotId = await desk.push()
    const asked = { snapshotId, flags: [], models: [], workflows: [], note: '' }
    const view = await asking((client) => client.publish(asked))
    const promoting = asking((client) => client.promote(view.version)).then(
      () => {
        promised = view.version
      },
      () => {},
    )
    await pause(random() * 6_000)
    const before: ReleaseView | null = await asking((client) => client.release(view.version)).catch(() => null)
    const at = before?.state.is === 'preparing' ? before.state.phase : (before?.state.is ?? 'unknown')
    phases.set(at, (phases.get(at) ?? 0) + 1)
    running.agent!.kill('SIGKILL')
    await promoting
    await start()
    const served = await eventually(async () => {
      const rows = await asking((client) => client.releases())
      const live = rows.find(({ state }) => state.is === 'live')
      const ready = (await asking((client) => client.phase())) === null
      if (ready && !live) violations.push(`round ${round}: ready, and nothing is live`)
      return (ready && live) || (round === 1 && at !== 'live' && rows.some((row) => row.state.is === 'ready'))
    }, 60_000)
    if (typeof served === 'object') {
      const id = `round-${round}`
      await asking((client) => client.run(id, picture as never))
      const task = await eventually(async () => {
        const task = await asking((client) => client.status(id, { waitSeconds: 5 }))
        return task && task.state !== 'queued' && task.state !== 'running' && task
      })
      if (task.state !== 'succeeded') violations.push(`round ${round}: ${task.failure?.code}`)
    }
    // what was cut off goes on when it is asked for again
    await asking((client) => client.promote(view.version))
    await eventually(async () => {
      const { state } = await asking((client) => client.release(view.version))
      if (state.is === 'refused') violations.push(`round ${round}: refused, ${state.failure.message}`)
      return state.is === 'live' || state.is === 'refused'
    }, 60_000)
    console.log(
      JSON.stringify({ event: 'round', round, killedIn: at, version: view.version, violations: violations.length }),
    )
  }
  running.agent!.kill('SIGTERM')
  await new Promise((ended) => running.agent!.on('exit', ended))
} catch (cause) {
  violations.push(`${codeOf(cause)} ${(cause as Error).message}`)
  running.agent?.kill('SIGKILL')
} finally {
  rmSync(root, { recursive: true, force: true, maxRetries: 5 })
}
console.log(JSON.stringify({ event: 'done', rounds, promised, killedIn: Object.fromEntries(phases), violations }))
process.exitCode = violations.length > 0 ? 1 : 0
