import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { isJsonObject, type JsonObject, parseJson } from '../../core/contract/json.ts'
import { alive } from '../kit/alive.ts'
import { comfyFolder } from '../kit/comfy-folder.ts'
import { eventually } from '../kit/eventually.ts'
import { promptFile } from '../kit/start-app.ts'
import { tempDir } from '../kit/temp-dir.ts'

const cli = path.resolve(import.meta.dirname, '../../main/cli.ts')

/** A command line of its own process, on one data folder. */
function start(data: string, ...args: string[]) {
  const child = spawn(process.execPath, [cli, '--data', data, '--json', ...args], {
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  onTestFinished(() => void child.kill('SIGKILL'))
  let out = ''
  child.stdout.on('data', (data) => (out += data))
  const events = () => out.split('\n').filter(Boolean).map(parseJson).filter(isJsonObject)
  const ended = once(child, 'close').then(([code]) => ({ code: code as number, events: events() }))
  return { child, events, ended }
}
const of = (events: readonly JsonObject[], name: string) => events.filter(({ event }) => event === name)
const processOf = (event: JsonObject | undefined) => (event as { processes: { state: JsonObject }[] }).processes[0]!

test('engine: a ComfyUI is adopted, makes a batch’s pictures, tells its log, and is forgotten', async () => {
  const data = tempDir()
  const { dir, python } = comfyFolder()
  const adopted = await start(data, 'engine', 'adopt', dir, '--python', python, '--flag=--lowvram', '--no-auto-start')
    .ended
  expect(adopted.code).toBe(0)
  expect(of(adopted.events, 'engine')[0]).toMatchObject({
    name: 'local',
    dir,
    settings: { flags: ['--lowvram'], autoStart: false },
  })
  const seen = await start(data, 'engine', 'status').ended
  expect(of(seen.events, 'machine')[0]).toMatchObject({ verdict: { runs: expect.any(String) } })
  expect(processOf(of(seen.events, 'engine')[0]).state).toEqual({ is: 'stopped' })

  const workflow = path.join(data, 'picture.json')
  writeFileSync(workflow, promptFile())
  const out = path.join(data, 'out')
  const ran = await start(data, 'run', workflow, '--worker', 'local', '--grid', '1.color=1,2,3', '--out', out).ended
  expect(ran.code).toBe(0)
  expect(of(ran.events, 'state').map(({ is }) => is)).toContain('starting')
  expect(of(ran.events, 'done')[0]).toMatchObject({ ok: true, done: 3 })
  expect(readdirSync(out, { recursive: true }).filter((name) => String(name).endsWith('.png'))).toHaveLength(3)

  const logs = await start(data, 'engine', 'logs', '--search', 'gui go to').ended
  expect(of(logs.events, 'line').map(({ text }) => text)).toEqual([
    expect.stringMatching(/^To see the GUI go to: http/),
  ])
  expect((await start(data, 'engine', 'remove').ended).code).toBe(0)
  expect((await start(data, 'engine', 'start', 'local').ended).events.at(-2)).toMatchObject({ code: 'engine.unknown' })
})

test('engine start stays until it is interrupted; others stop and start it meanwhile; a failure names its cause', async () => {
  const data = tempDir()
  const { dir, python } = comfyFolder()
  await start(data, 'engine', 'adopt', dir, '--python', python, '--no-auto-start').ended
  const owner = start(data, 'engine', 'start')
  const ready = await eventually(() => of(owner.events(), 'engine')[0])
  const pid = Number(processOf(ready).state.pid)
  expect(alive(pid)).toBe(true)
  expect(of((await start(data, 'engine', 'stop').ended).events, 'engine')[0]).toMatchObject({
    processes: [{ state: { is: 'stopped' } }],
  })
  expect(alive(pid)).toBe(false)
  const again = await start(data, 'engine', 'start').ended
  expect(processOf(of(again.events, 'engine')[0]).state.is).toBe('ready')
  owner.child.kill('SIGINT')
  expect((await owner.ended).code).toBe(0)
  expect(alive(Number(processOf(of(again.events, 'engine')[0]).state.pid))).toBe(false)

  await start(data, 'engine', 'set', '--flag=--fails').ended
  const failed = await start(data, 'engine', 'start').ended
  expect(failed.code).toBe(4)
  expect(of(failed.events, 'error')[0]).toMatchObject({ code: 'engine.missing-module', facts: { module: 'torch' } })

  await start(data, 'engine', 'set', '--cpu').ended
  const ported = await start(data, 'engine', 'set', '--port', '8599').ended
  expect(of(ported.events, 'engine')[0]).toMatchObject({ settings: { cards: [{ card: 'cpu', port: 8599 }] } })
})
