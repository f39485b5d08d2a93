// An environment is fetched and restored while the process that does so is killed again and again, at moments spread over all
// of its way: npm run chaos:restore -- [--kills 20] [--mib 60] [--seed N]
// After each kill there is a whole environment or none, and the one that served before is what it was.
import { execFileSync, fork } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import type { SealedManifest } from '../../core/contract/snapshot.ts'
import { capture } from '../../core/engine/snapshot/capture.ts'
import { FolderDepot } from '../../core/engine/snapshot/depot.ts'
import { seal } from '../../core/engine/snapshot/manifest.ts'
import { carryOutPush, planPush, pull } from '../../core/engine/snapshot/push.ts'
import { prepareEnvironment, type RestoredEnvironment } from '../../core/engine/snapshot/restore-environment.ts'
import { ObjectStore } from '../../core/engine/snapshot/store.ts'
import { facts, put, python, smallComfy } from '../kit/small-comfy.ts'

const THREADS = 2
const { values } = parseArgs({
  options: {
    kills: { type: 'string', default: '20' },
    mib: { type: 'string', default: '60' },
    seed: { type: 'string' },
    victim: { type: 'string' },
    id: { type: 'string' },
  },
})
if (values.victim) await restore(values.victim, values.id!)
else await rounds()

/** What an agent does with a release, in a process of its own. */
async function restore(work: string, id: string) {
  const store = await ObjectStore.open(path.join(work, 'objects'))
  const sealed = await pull(store, id, new FolderDepot(path.join(work, 'depot')))
  const command = { env: process.env, log: path.join(work, 'commands.log') }
  const options = { cacheDir: path.join(work, 'cache'), python: python!, threads: THREADS, command }
  process.send!(await prepareEnvironment(store, sealed, options))
  process.disconnect()
}

async function rounds() {
  if (!python) throw new Error('there is no Python that can make environments')
  let seed = Number(values.seed ?? Date.now() % 1e6)
  const random = () => {
    seed = (Math.imul(seed, 1103515245) + 12345) & 0x7fffffff
    return seed / 0x80000000
  }
  const say = (what: string, said: object) => console.log(JSON.stringify({ what, ...said }))
  say('chaos', { of: 'restore', seed, kills: Number(values.kills), mib: Number(values.mib) })
  const work = mkdtempSync(path.join(tmpdir(), 'nightshift-chaos-'))
  const violations: string[] = []
  const expect = (holds: boolean, otherwise: string) => {
    if (!holds) violations.push(otherwise)
  }
  try {
    const here = smallComfy(path.join(work, 'desk'))
    for (let n = 0; n < 4000; n++) put(path.join(here.packagesDir, `p${n % 40}`, `m${n}.py`), `n = ${n}\n`.repeat(60))
    for (let n = 0; n < Number(values.mib) / 10; n++)
      put(path.join(here.packagesDir, `large${n}.so`), noise(10 << 20, n))
    const store = await ObjectStore.open(path.join(work, 'store'))
    const depot = new FolderDepot(path.join(work, 'depot'))
    const options = { threads: THREADS, command: { env: process.env, log: path.join(work, 'commands.log') } }
    const publish = async (name: string): Promise<{ sealed: SealedManifest; truth: Map<string, string> }> => {
      const sealed = seal((await capture(store, here, { ...facts, name }, options)).manifest, null)
      await carryOutPush(store, await planPush(store, sealed, depot), depot)
      return { sealed, truth: hashesOf({ ...here, packages: here.packagesDir }) }
    }
    const first = await publish('first')
    const served = await run(work, first.sealed.id, null)
    if (!served.made) throw new Error('the first environment could not be restored')
    const before = served.made
    put(path.join(here.nodesDir, '风格', 'more.py'), 'x = 1\n')
    writeFileSync(path.join(here.packagesDir, 'large0.so'), noise(10 << 20, 99))
    for (let n = 0; n < 40; n++) put(path.join(here.packagesDir, 'new', `m${n}.py`), `n = ${n}\n`)
    const second = await publish('second')
    const third = await publish('third') // all of its layers are there by then

    let kills = 0
    const wanted = Number(values.kills)
    for (let round = 0; kills < wanted; round++) {
      // now with all of its layers to make, now with those of the release before it, now with all there
      const { sealed, truth } = round % 3 === 2 ? third : second
      const target = path.join(work, 'cache', 'environments', sealed.id)
      rmSync(target, { recursive: true, force: true })
      if (round % 3 === 0) {
        rmSync(path.join(work, 'cache', 'layers'), { recursive: true, force: true })
        rmSync(path.join(work, 'objects'), { recursive: true, force: true })
      }
      const alone = mkdtempSync(path.join(work, 'measured-'))
      execFileSync('cp', ['-r', path.join(work, 'depot'), alone])
      const { ms } = await run(alone, sealed.id, null)
      rmSync(alone, { recursive: true, force: true })
      const cuts = Math.min(wanted - kills, 7)
      let done: RestoredEnvironment | null = null
      for (let cut = 0; cut < cuts && !done; cut++) {
        const after = ((cut + random()) / cuts) * ms
        const { made, killed } = await run(work, sealed.id, after)
        done = made
        if (killed) kills++
        const half = existsSync(target) && !made
        if (half)
          expect(same(hashesIn(target), truth), `after ${Math.round(after)} ms half an environment had its name`)
        expect(
          same(hashesOf(placesOf(before)), first.truth),
          `after ${Math.round(after)} ms the one before was changed`,
        )
        say('cut', { round, afterMs: Math.round(after), ofMs: Math.round(ms), killed, there: existsSync(target) })
      }
      done ??= (await run(work, sealed.id, null)).made
      expect(done !== null, 'it could not be restored any more')
      if (!done) break
      expect(same(hashesOf(placesOf(done)), truth), 'what was restored after all is something else')
      const answer = execFileSync(done.python, ['-c', 'import tiny; print(tiny.answer)']).toString().trim()
      expect(answer === '42', 'its Python does not run')
      const left = readdirSync(path.join(work, 'cache'), { recursive: true }).filter((name) =>
        /\.part$/.test(String(name)),
      )
      expect(left.length === 0, `pieces were left: ${left.slice(0, 5).join(', ')}`)
    }
    say('done', { kills, violations: violations.length, ok: violations.length === 0 })
  } finally {
    rmSync(work, { recursive: true, force: true, maxRetries: 5 })
  }
  for (const each of violations) console.error(each)
  process.exitCode = violations.length === 0 ? 0 : 1
}

/** `killAfterMs` null: to its end. */
async function run(work: string, id: string, killAfterMs: number | null) {
  const began = performance.now()
  const child = fork(import.meta.filename, ['--victim', work, '--id', id], {
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  })
  let made: RestoredEnvironment | null = null
  child.on('message', (said) => {
    made = said as RestoredEnvironment
  })
  const timer = killAfterMs === null ? undefined : setTimeout(() => child.kill('SIGKILL'), killAfterMs)
  const [, signal] = (await once(child, 'exit')) as [number | null, string | null]
  clearTimeout(timer)
  return { made: made as RestoredEnvironment | null, killed: signal !== null, ms: performance.now() - began }
}

interface Places {
  readonly dir: string
  readonly nodesDir: string
  readonly packages: string
}
function placesOf({ dir, base, python: own }: RestoredEnvironment): Places {
  const said = execFileSync(own, ['-c', 'import sysconfig; print(sysconfig.get_path("purelib"))']).toString()
  return { dir, nodesDir: path.join(base, 'custom_nodes'), packages: said.trim() }
}
function hashesIn(home: string) {
  const lib = path.join(home, 'venv', 'lib')
  const [version] = readdirSync(lib)
  return hashesOf({
    dir: path.join(home, 'ComfyUI'),
    nodesDir: path.join(home, 'base', 'custom_nodes'),
    packages: path.join(lib, version!, 'site-packages'),
  })
}
function hashesOf({ dir, nodesDir, packages }: Places): Map<string, string> {
  const all = new Map<string, string>()
  for (const root of [dir, nodesDir, packages]) {
    for (const entry of readdirSync(root, { recursive: true, withFileTypes: true })) {
      if (!entry.isFile() || /__pycache__/.test(entry.parentPath)) continue
      const file = path.join(entry.parentPath, entry.name)
      const sha256 = createHash('sha256').update(readFileSync(file)).digest('hex')
      const name = `${[dir, nodesDir, packages].indexOf(root)}/${path.relative(root, file)}`
      all.set(name, `${sha256} ${Math.floor(statSync(file).mtimeMs / 1000)}`)
    }
  }
  return all
}
function same(a: Map<string, string>, b: Map<string, string>) {
  return a.size === b.size && [...a].every(([name, hash]) => b.get(name) === hash)
}

function noise(bytes: number, seed: number): Buffer {
  const all = Buffer.alloc(bytes)
  let state = seed * 2654435761 + 1
  for (let at = 0; at < bytes; at += 4) {
    state = (Math.imul(state, 1664525) + 1013904223) | 0
    all.writeInt32LE(state, at)
  }
  return all
}
