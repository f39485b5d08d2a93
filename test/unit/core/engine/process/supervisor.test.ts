import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import path from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { sweepOrphans } from '../../../../../core/engine/process/supervisor.ts'
import { alive } from '../../../../kit/alive.ts'
import { supervise } from '../../../../kit/engine-kit.ts'
import { eventually } from '../../../../kit/eventually.ts'
import { stopwatch } from '../../../../kit/stopwatch.ts'
import { tempDir } from '../../../../kit/temp-dir.ts'

const onLinux = test.runIf(process.platform === 'linux')
const kinds = (states: readonly { is: string }[]) =>
  states.map(({ is }) => is).filter((is, index, list) => is !== list[index - 1])
function ready({ supervisor }: ReturnType<typeof supervise>) {
  const { state } = supervisor
  if (state.is !== 'ready') throw new Error(`is ${state.is}`)
  return state
}
/** Ready as another process than before. */
async function readyAnew(kit: ReturnType<typeof supervise>, before: number) {
  await eventually(() => kit.supervisor.state.is === 'ready' && ready(kit).pid !== before)
  return ready(kit)
}

test('it is ready when it answers, tells its phases on the way, and leaves nothing when stopped', async () => {
  const kit = supervise()
  await kit.supervisor.start()
  const { url, pid } = ready(kit)
  expect(kit.started()).toEqual([pid])
  expect(await (await fetch(`${url}/system_stats`)).json()).toMatchObject({ system: { pid } })
  expect(kit.supervisor.facts).toMatchObject({
    comfyuiVersion: '0.33.0',
    vramMiB: 24564,
    device: 'cuda:0 NVIDIA GeForce RTX 4090 : cudaMallocAsync',
    customNodes: [{ folder: '/c/custom_nodes/pack', seconds: 0.3, failed: true }],
  })
  await kit.supervisor.stop()
  expect(kinds(kit.states)).toEqual(['starting', 'ready', 'stopped'])
  const phases = kit.states.flatMap((state) => (state.is === 'starting' ? [state.phase] : []))
  expect(phases).toEqual(['launching', 'devices', 'nodes', 'listening'])
  expect(kit.log.lastLines(1)).toEqual(['Stopped server'])
  expect(alive(pid)).toBe(false)
  expect(readdirSync(path.join(kit.dir, 'state'))).toEqual([])
})

test('one that dies is started again at the same address, and its end is told', async () => {
  const kit = supervise()
  await kit.supervisor.start()
  const first = ready(kit)
  process.kill(first.pid, 'SIGKILL')
  const second = await readyAnew(kit, first.pid)
  expect(second.url).toBe(first.url)
  expect(kit.supervisor.restarts).toBe(1)
  const pausing = kit.states.find(({ is }) => is === 'pausing')
  expect(pausing).toMatchObject({ because: { code: 'engine.killed', facts: { how: 'SIGKILL' } } })
})

test('crashes before it ever answered are tried again with a growing pause, and it comes up', async () => {
  const fuse = path.join(tempDir(), 'fuse')
  writeFileSync(fuse, '2')
  const kit = supervise(['--fails-times', fuse], { pace: { crashes: 9 } })
  await kit.supervisor.start()
  expect(kinds(kit.states)).toEqual(['starting', 'pausing', 'starting', 'pausing', 'starting', 'ready'])
})

test('a crash loop ends, with the cause and the last lines', async () => {
  const fuse = path.join(tempDir(), 'fuse')
  writeFileSync(fuse, '99')
  const kit = supervise(['--fails-times', fuse], { pace: { crashes: 3 } })
  await expect(kit.supervisor.start()).rejects.toMatchObject({ failure: { code: 'engine.crashed' } })
  expect(kit.started()).toHaveLength(3)
  expect(kit.supervisor.state).toMatchObject({
    is: 'failed',
    because: { facts: { how: 'SIGSEGV' } },
    lastLines: expect.arrayContaining(['Import times for custom nodes:']),
  })
  writeFileSync(fuse, '0')
  await kit.supervisor.start()
  expect(kit.supervisor.restarts).toBe(0)
})

test('crashes after it was up for long are not held against it, crashes soon after each start are', async () => {
  const kill = async (kit: ReturnType<typeof supervise>, times: number) => {
    for (let time = 0; time < times; time++) {
      await eventually(() => kit.supervisor.state.is === 'ready')
      const { pid } = ready(kit)
      process.kill(pid, 'SIGKILL')
      await eventually(() => kit.supervisor.state.is !== 'ready' || ready(kit).pid !== pid)
    }
  }
  const stable = supervise([], { pace: { crashes: 2, stableMs: 0 } })
  await stable.supervisor.start()
  await kill(stable, 3)
  await eventually(() => stable.supervisor.state.is === 'ready')
  expect(stable.supervisor.restarts).toBe(3)
  const shaky = supervise([], { pace: { crashes: 2, stableMs: 60_000 } })
  await shaky.supervisor.start()
  await kill(shaky, 2)
  await eventually(() => shaky.supervisor.state.is === 'failed')
})

test('what another try cannot mend is told at once', async () => {
  const text = path.join(tempDir(), 'text')
  writeFileSync(
    text,
    'Traceback (most recent call last):\n  File "main.py", line 1, in <module>\nModuleNotFoundError: No module named \'torch\'',
  )
  const kit = supervise(['--dies-of', text])
  await expect(kit.supervisor.start()).rejects.toMatchObject({
    failure: { code: 'engine.missing-module', facts: { module: 'torch' } },
  })
  expect(kit.started()).toHaveLength(1)
})

test('a program that is not there is said to be', async () => {
  const kit = supervise([], { command: path.join(tempDir(), 'no-python') })
  await expect(kit.supervisor.start()).rejects.toMatchObject({ failure: { code: 'engine.not-started' } })
})

/** Somebody else's ComfyUI. */
async function foreign(port = 0) {
  let asked = 0
  const server = createServer((_, response) => {
    asked++
    response.end(JSON.stringify({ system: { argv: ['main.py', '--port', String(port)] }, devices: [] }))
  })
  server.listen(port, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => void server.close())
  return { server, port: (server.address() as AddressInfo).port, asked: () => asked }
}

test('a port that another program has is left to it, and the program is named', async () => {
  const { server, port } = await foreign()
  const kit = supervise([], { port })
  await expect(kit.supervisor.start()).rejects.toMatchObject({
    failure: { code: 'engine.port-taken', facts: { port, holder: ` (PID ${process.pid})` } },
  })
  expect(kit.started()).toEqual([])
  expect(server.listening).toBe(true)
})

onLinux('a stranger that takes the port after the choice is not taken for ours', async () => {
  let stranger: Awaited<ReturnType<typeof foreign>> | undefined
  const whenChosen = async (port: number) => {
    stranger = await foreign(port)
  }
  const kit = supervise(['--silent'], { pace: { silentMs: 100, crashes: 1 }, whenChosen })
  await expect(kit.supervisor.start()).rejects.toMatchObject({ failure: { code: 'engine.silent' } })
  expect(stranger!.asked()).toBeGreaterThan(0)
  expect(kinds(kit.states)).not.toContain('ready')
})

test('one that answers with an error at first is asked again, and nothing of ours ends of it', async () => {
  const kit = supervise(['--unwell'])
  await kit.supervisor.start()
  expect(ready(kit).pid).toBe(kit.started()[0])
})

/** Gives a process that stands still a limit, and any other one a long one, since a busy machine may stand still as well. */
function limited(within: number | null) {
  let still: number | null = null
  const hungAfterMs = (kit: ReturnType<typeof supervise>) =>
    kit.supervisor.state.is === 'ready' && kit.supervisor.state.pid === still ? within : 60_000
  return {
    hungAfterMs,
    from: (pid: number) => {
      still = pid
    },
  }
}

test('one that stops answering while it has nothing to do is ended and started again', async () => {
  const usual = limited(null)
  const pace = { answerWithinMs: 500, hungIdleMs: 600 }
  const kit: ReturnType<typeof supervise> = supervise([], { pace, hungAfterMs: () => usual.hungAfterMs(kit) })
  await kit.supervisor.start()
  const { url, pid } = ready(kit)
  await fetch(`${url}/hang`)
  usual.from(pid)
  await readyAnew(kit, pid)
  expect(kit.states.find(({ is }) => is === 'pausing')).toMatchObject({ because: { code: 'engine.hung' } })
  expect(alive(pid)).toBe(false)
})

test.skipIf(process.platform === 'win32').each([
  ['with nothing to do', []],
  ['while a prompt runs', ['--busy']],
])(
  'one that stands still %s says so, and is ended and started again after as long as the person said',
  async (_when, flags) => {
    const said = limited(100)
    const pace = { answerWithinMs: 200, tellSilentMs: 50 }
    const kit: ReturnType<typeof supervise> = supervise(flags, { pace, hungAfterMs: () => said.hungAfterMs(kit) })
    await kit.supervisor.start()
    const { pid } = ready(kit)
    await eventually(() => kit.asked() > 0) // it was seen to be busy, or not
    process.kill(pid, 'SIGSTOP')
    const silent = await eventually(() =>
      kit.states.find((state) => state.is === 'ready' && state.silentSince !== null),
    )
    expect(silent).toMatchObject({ is: 'ready', pid })
    process.kill(pid, 'SIGCONT')
    await eventually(() => kit.supervisor.state.is === 'ready' && kit.supervisor.state.silentSince === null)
    expect(kit.started()).toEqual([pid])
    process.kill(pid, 'SIGSTOP')
    said.from(pid)
    await readyAnew(kit, pid)
    expect(kit.states.find(({ is }) => is === 'pausing')).toMatchObject({ because: { code: 'engine.hung' } })
    expect(alive(pid)).toBe(false)
  },
)

test('one that is silent while it works is given time', async () => {
  const usual = limited(null)
  const pace = { answerWithinMs: 200, tellSilentMs: 50, hungIdleMs: 50, hungBusyMs: 60_000 }
  const kit: ReturnType<typeof supervise> = supervise(['--busy'], { pace, hungAfterMs: () => usual.hungAfterMs(kit) })
  await kit.supervisor.start()
  const { url, pid } = ready(kit)
  // asked anew, and not known to be silent: it said that it works
  await eventually(() => kit.asked() > 1 && ready(kit).silentSince === null)
  usual.from(pid)
  await fetch(`${url}/hang`)
  const asked = kit.asked()
  await eventually(() => kit.asked() > asked + 2)
  expect(kit.started()).toEqual([pid])
  expect(kinds(kit.states)).toEqual(['starting', 'ready'])
})

test('a restart that ComfyUI-Manager asks for comes at once and is no crash', async () => {
  const kit = supervise([], { pace: { crashes: 1 } })
  await kit.supervisor.start()
  const { url, pid } = ready(kit)
  fetch(`${url}/reboot`).catch(() => {})
  await readyAnew(kit, pid)
  expect(kinds(kit.states)).toEqual(['starting', 'ready', 'starting', 'ready'])
})

test('a flood of 100 MB of log leaves us responsive, and is bounded', async () => {
  const kit = supervise()
  await kit.supervisor.start()
  const { url, pid } = ready(kit)
  const before = process.memoryUsage().rss
  // how long others would have waited for us
  let longestMs = 0
  let worked = stopwatch()
  const looking = setInterval(() => {
    longestMs = Math.max(longestMs, worked())
    worked = stopwatch()
  }, 5)
  onTestFinished(() => clearInterval(looking))
  await fetch(`${url}/flood`)
  await eventually(() => kit.log.lastLines(300).includes('the flood is over'))
  expect(longestMs).toBeLessThan(1_000)
  expect(process.memoryUsage().rss - before).toBeLessThan(250 * 1024 * 1024)
  const written = readdirSync(kit.dir)
    .filter((name) => name.startsWith('engine.log'))
    .reduce((sum, name) => sum + statSync(path.join(kit.dir, name)).size, 0)
  expect(written).toBeLessThan(20 * 1024 * 1024)
  expect(ready(kit).pid).toBe(pid)
})

onLinux('stopping ends what ignores signals, with its children', async () => {
  const kit = supervise(['--stubborn'], { pace: { stopMs: 200 } })
  await kit.supervisor.start()
  expect(kit.started()).toHaveLength(3)
  await kit.supervisor.stop()
  expect(kit.started().filter(alive)).toEqual([])
})

onLinux('children that a dead one left are ended before it is started again', async () => {
  const kit = supervise(['--stubborn'], { pace: { stopMs: 200 } })
  await kit.supervisor.start()
  const { pid } = ready(kit)
  const before = kit.started()
  process.kill(pid, 'SIGKILL')
  await readyAnew(kit, pid)
  expect(before.filter(alive)).toEqual([])
  expect(kit.started().filter(alive)).toHaveLength(3)
})

onLinux('what a crash of ours left running is ended at the next start, and nothing else', async () => {
  const dir = tempDir()
  const host = spawn(process.execPath, [path.resolve(import.meta.dirname, '../../../../kit/start-and-wait.ts'), dir], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const [told] = (await once(host.stdout, 'data')) as [Buffer]
  const pids = told.toString().trim().split(' ').map(Number)
  expect(pids).toHaveLength(3)
  const stranger = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { stdio: 'ignore' })
  onTestFinished(() => {
    for (const pid of [...pids, stranger.pid!]) if (alive(pid)) process.kill(pid, 'SIGKILL')
  })
  host.kill('SIGKILL')
  await once(host, 'exit')
  expect(pids.filter(alive)).toHaveLength(3)
  expect(await sweepOrphans(path.join(dir, 'state'))).toBe(3)
  expect(pids.filter(alive)).toEqual([])
  expect(alive(stranger.pid!)).toBe(true)
  expect(existsSync(path.join(dir, 'state', 'local.pid.json'))).toBe(false)
  expect(await sweepOrphans(path.join(dir, 'state'))).toBe(0)
})

test('a stop while it starts, and one before it ever did, leave nothing', async () => {
  const kit = supervise(['--silent'])
  await kit.supervisor.stop()
  kit.supervisor.begin()
  await eventually(() => kit.started().length === 1)
  const waiting = kit.supervisor.settled()
  await Promise.all([kit.supervisor.stop(), expect(waiting).rejects.toMatchObject({ code: 'engine.not-running' })])
  expect(kit.started().filter(alive)).toEqual([])
})
