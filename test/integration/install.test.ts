import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { describe, expect, onTestFinished, test } from 'vitest'
import { installSteps } from '../../core/contract/engine.ts'
import { isJsonObject, type JsonObject, parseJson } from '../../core/contract/json.ts'
import { pythonHere, tinyComfy, uvHere } from '../kit/tiny-comfy.ts'

const cli = path.resolve(import.meta.dirname, '../../main/cli.ts')
const uv = uvHere()
const python = pythonHere()
const why = uv === null ? 'no uv here' : python === null ? 'no Python 3.10 to 3.13 here' : null

async function kit() {
  const comfy = await tinyComfy()
  // all that paths of people have: spaces, other letters, pictographs, and more than 240 characters
  const data = path.join(
    comfy.root,
    'data 夜 🌙',
    ...Array.from({ length: 4 }, () => 'a folder with a rather long name, as people have them'),
  )
  const index = path.join(comfy.root, 'index')
  mkdirSync(index)
  const env: NodeJS.ProcessEnv = {
    ...process.env,
    PATH: `${path.dirname(uv!)}${path.delimiter}${process.env.PATH}`,
    UV_PYTHON_DOWNLOADS: 'never',
  }
  const run = async (args: string[], killAt?: string) => {
    const child = spawn(process.execPath, [cli, '--data', data, '--json', 'engine', ...args], {
      stdio: ['ignore', 'pipe', 'ignore'],
      env: { ...env, ...(killAt && { NIGHTSHIFT_KILL_AT: killAt }) },
    })
    onTestFinished(() => void child.kill('SIGKILL'))
    let out = ''
    child.stdout.on('data', (text) => (out += text))
    const [code, signal] = await once(child, 'close')
    const events = out.split('\n').filter(Boolean).map(parseJson).filter(isJsonObject)
    return { code: code as number | null, signal: signal as string | null, events }
  }
  const [first] = comfy.commits
  const choices = [
    '--source',
    comfy.source,
    '--python',
    python!,
    '--find-links',
    comfy.wheels,
    '--torch',
    'torch==2.13.0',
    '--cpu',
    '--mirrors',
    'none',
  ]
  const home = path.join(data, 'engines', 'local')
  return {
    ...comfy,
    data,
    home,
    run,
    install: (killAt?: string) =>
      run(['install', ...choices, '--index', pathToFileURL(index).href, '--ref', first!], killAt),
    /** The version the engine runs now; it must always be whole. */
    current() {
      const { current } = JSON.parse(readFileSync(path.join(home, 'current'), 'utf8')) as { current: string }
      const dir = path.join(home, 'generations', current)
      const said = readFileSync(path.join(dir, 'ComfyUI', 'comfyui_version.py'), 'utf8')
      const { done } = JSON.parse(readFileSync(path.join(dir, 'journal.json'), 'utf8')) as { done: string[] }
      expect(done).toContain('trial')
      return { id: current, dir, version: /"(.+)"/.exec(said)![1]! }
    },
  }
}
const of = (events: readonly JsonObject[], name: string) => events.filter(({ event }) => event === name)

describe.skipIf(why !== null)(`installing a tiny ComfyUI with the real uv${why === null ? '' : ` (${why})`}`, () => {
  test('from nothing to a picture; update; a version that does not start is refused; back; mended; removed', {
    timeout: 300_000,
  }, async () => {
    const { run, install, current, commits, home } = await kit()
    const installed = await install()
    expect(installed.events.at(-1)).toEqual({ event: 'done', ok: true })
    expect(of(installed.events, 'generation')).toMatchObject([{ current: true, version: '0.1.0', torch: '2.13.0+cpu' }])
    const first = current()

    expect((await run(['update', '--ref', commits[1]!])).code).toBe(0)
    expect(current().version).toBe('0.2.0')
    expect(readdirSync(path.join(home, 'generations'))).toHaveLength(2)

    const refused = await run(['update', '--ref', commits[2]!])
    expect(refused.code).not.toBe(0)
    expect(of(refused.events, 'error')[0]).toMatchObject({ code: 'engine.missing-module' })
    expect(current().version).toBe('0.2.0')

    expect((await run(['rollback'])).code).toBe(0)
    expect(current().id).toBe(first.id)

    const site = path.join(first.dir, 'venv', 'lib')
    const [version] = readdirSync(site)
    rmSync(path.join(site, version!, 'site-packages', 'tinydep'), { recursive: true })
    const sick = await run(['doctor'])
    expect(sick.code).toBe(1)
    expect(of(sick.events, 'finding')).toContainEqual(
      expect.objectContaining({ level: 'bad', code: 'doctor.package-damaged' }),
    )
    const mended = await run(['doctor', '--mend'])
    expect(mended.events.at(-1)).toEqual({ event: 'done', ok: true })
    expect(current()).toMatchObject({ version: '0.1.0' })
    expect((await run(['doctor'])).code).toBe(0)

    expect((await run(['remove'])).code).toBe(0)
    expect(existsSync(path.join(home, 'generations'))).toBe(false)
    expect(existsSync(path.join(home, 'base', 'models'))).toBe(true)
  })

  test('killed at any step of an update, the next start is the old or the new whole, and the same command finishes', {
    timeout: 900_000,
  }, async () => {
    const { run, install, current, commits } = await kit()
    expect((await install()).code).toBe(0)
    // after a step's journal comes the next step's beginning: between them nothing happens
    const steps = installSteps.filter((id) => !/^(?:uv|python|manager|speed-ups|check)$/.test(id))
    const points = [...steps.map((id) => `install.${id}`), 'install.switched', 'install.switch.done']
    for (const [at, point] of points.entries()) {
      const [ref, before, after] = at % 2 === 0 ? [commits[1]!, '0.1.0', '0.2.0'] : [commits[0]!, '0.2.0', '0.1.0']
      const killed = await run(['update', '--ref', ref], point)
      expect(killed.signal, point).toBe('SIGKILL')
      const switched = /switched|switch\.done/.test(point)
      expect(current().version, point).toBe(switched ? after : before)
      const again = await run(['update', '--ref', ref])
      expect(again.code, point).toBe(0)
      expect(current().version, point).toBe(after)
    }
  })
})
