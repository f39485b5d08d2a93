// npm run chaos:engine -- DIR [--python PATH] [--flag=FLAG]…: a real ComfyUI, run in place with a base folder of its own,
// is killed, kept from its port, given broken nodes and floods its log. A JSON line for each scene; 1 if any failed.
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { parseArgs } from 'node:util'
import type { EngineState } from '../../core/contract/engine.ts'
import { EngineSettings } from '../../core/contract/engine.ts'
import { type Facts, FailureError } from '../../core/contract/errors.ts'
import { readInstall, thisMachine } from '../../core/engine/installs.ts'
import { launchOf } from '../../core/engine/process/launch.ts'
import { LineLog } from '../../core/engine/process/line-log.ts'
import { Supervisor } from '../../core/engine/process/supervisor.ts'
import { systemOf } from '../../core/engine/process/tree.ts'
import { alive } from '../kit/alive.ts'
import { eventually } from '../kit/eventually.ts'

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { python: { type: 'string' }, flag: { type: 'string', multiple: true, default: [] } },
})
const look = thisMachine(process.env)
const install = await readInstall(path.resolve(positionals[0] ?? '.'), look, values.python)
const dir = mkdtempSync(path.join(tmpdir(), 'nightshift-engine-'))
let failed = 0

/** A base folder with these custom nodes. */
function baseWith(name: string, nodes: Record<string, string>): string {
  const base = path.join(dir, name)
  for (const each of ['models', 'input', 'output', 'temp', 'user', 'custom_nodes'])
    mkdirSync(path.join(base, each), { recursive: true })
  for (const [folder, source] of Object.entries(nodes)) {
    mkdirSync(path.join(base, 'custom_nodes', folder))
    writeFileSync(path.join(base, 'custom_nodes', folder, '__init__.py'), source)
  }
  return base
}

function supervise(name: string, nodes: Record<string, string> = {}, port: number | null = null) {
  const baseDir = baseWith(name, nodes)
  const settings = EngineSettings.parse({ cards: [{ card: 'auto', port }], baseDir, flags: values.flag })
  const log = new LineLog(path.join(dir, `${name}.log`), { now: Date.now })
  const supervisor = new Supervisor({
    id: name,
    port,
    stateDir: path.join(dir, 'state'),
    log,
    newId: randomUUID,
    now: Date.now,
    pace: { watchEveryMs: 1_000, answerWithinMs: 20_000 },
    launch: (at) =>
      launchOf({
        ...install,
        settings,
        card: settings.cards[0]!,
        port: at,
        outputDir: null,
        database: path.join(baseDir, 'user', 'nightshift.db'),
        known: new Set(['--database-url', '--disable-all-custom-nodes']),
        platform: process.platform,
        env: process.env,
      }),
  })
  const states: EngineState[] = []
  supervisor.events.on('state', (state) => states.push(state))
  return { supervisor, log, states }
}
const pidOf = ({ state }: Supervisor) => (state.is === 'ready' ? state.pid : 0)
const causeOf = (start: Promise<void>) =>
  start.then(
    () => null,
    (cause: unknown) => (cause instanceof FailureError ? cause.failure : { code: String(cause), facts: {} as Facts }),
  )

async function scene(name: string, play: () => Promise<{ ok: boolean } & Record<string, unknown>>) {
  const started = performance.now()
  const { ok, ...facts } = await play().catch((cause: unknown) => ({ ok: false, cause: String(cause) }))
  if (!ok) failed++
  console.log(
    JSON.stringify({ scene: name, ok, seconds: Math.round((performance.now() - started) / 100) / 10, ...facts }),
  )
}

await scene('killed with SIGKILL, it is started again at the same address', async () => {
  const { supervisor, states } = supervise('killed')
  await supervisor.start()
  const [pid, port] = [pidOf(supervisor), supervisor.port]
  process.kill(pid, 'SIGKILL')
  await eventually(() => pidOf(supervisor) !== 0 && pidOf(supervisor) !== pid, 180_000)
  const again = pidOf(supervisor)
  const { facts } = supervisor
  await supervisor.stop()
  const because = states.flatMap((state) => (state.is === 'pausing' ? [state.because.code] : []))
  return {
    ok: supervisor.port === port && because[0] === 'engine.killed' && !alive(pid) && !alive(again),
    because,
    facts,
  }
})

await scene('a port another program has is left to it', async () => {
  const other = createServer().listen(0, '127.0.0.1')
  await once(other, 'listening')
  const { port } = other.address() as { port: number }
  const { supervisor } = supervise('port', {}, port)
  const because = await causeOf(supervisor.start())
  const ok = because?.code === 'engine.port-taken' && other.listening
  other.close()
  return { ok, because: because?.code }
})

await scene('a custom node that cannot be imported is told, and the rest runs', async () => {
  const { supervisor } = supervise('unimportable', {
    'needs-more': 'import not_a_real_module\n',
    fine: 'NODE_CLASS_MAPPINGS = {}\n',
  })
  await supervisor.start()
  const { customNodes } = supervisor.facts
  await supervisor.stop()
  const bad = customNodes.filter(({ failed }) => failed).map(({ folder }) => path.basename(folder))
  return { ok: bad.join() === 'needs-more' && customNodes.length === 2, bad }
})

await scene('a custom node that crashes ComfyUI is named', async () => {
  const { supervisor } = supervise('crashes', { segv: 'import ctypes\nctypes.string_at(0)\n' })
  const because = await causeOf(supervisor.start())
  await supervisor.stop()
  return {
    ok: because?.code === 'engine.custom-node-broken' && because.facts.folder === 'segv',
    because: because?.code,
  }
})

await scene(
  'a custom node that floods the log with 100 MB leaves us responsive, and children that broke away end',
  async () => {
    const source = [
      'import subprocess, sys',
      'subprocess.Popen(["sleep", "600"], start_new_session=True)',
      'for _ in range(1024):',
      '    sys.stderr.write(("x" * 99 + "\\n") * 1024)',
    ]
    const { supervisor } = supervise('flood', { flood: source.join('\n') })
    const delay = monitorEventLoopDelay({ resolution: 5 })
    const before = process.memoryUsage().rss
    delay.enable()
    await supervisor.start()
    delay.disable()
    const tree = (await systemOf().list('-')).filter(({ ppid }) => ppid === pidOf(supervisor)).map(({ pid }) => pid)
    await supervisor.stop()
    const bytes = readdirSync(dir)
      .filter((name) => name.startsWith('flood.log'))
      .reduce((sum, name) => sum + statSync(path.join(dir, name)).size, 0)
    const grownMiB = Math.round((process.memoryUsage().rss - before) / 2 ** 20)
    const stalledMs = Math.round(delay.max / 1e6)
    const left = tree.filter(alive)
    return {
      ok: bytes < 20 * 2 ** 20 && grownMiB < 250 && stalledMs < 500 && tree.length > 0 && left.length === 0,
      bytes,
      grownMiB,
      stalledMs,
      children: tree.length,
      left,
    }
  },
)

rmSync(dir, { recursive: true, force: true })
process.exitCode = failed === 0 ? 0 : 1
