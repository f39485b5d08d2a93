// npm run bench:download -- [--mib 2048] [--runs 3] [--case plain|throttled|mirrors] [--dir DIR] [--connections N]
// One file from servers in processes of their own, in turn by us and by aria2c. Ours is a process as well, timed from its
// start until the file is hashed, synced and has its name; aria2c until it ends, hash included, not synced.
import { type ChildProcess, execFileSync, fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { Agent } from 'undici'
import { download, type FileWanted } from '../../core/engine/download/download.ts'
import { hashFile } from '../../core/engine/hash-file.ts'
import { type Behaviour, MirrorFarm } from '../kit/mirror-farm.ts'
import { median, report } from './measure.ts'

const MIB = 1 << 20
const [role, task] = process.argv.slice(2)
if (role === 'serve') await serve()
else if (role === 'fetch') await fetchIt(JSON.parse(task!) as FileWanted)
else await bench()

/** A mirror, in its own process: told what it has and how it behaves, it tells its address. */
async function serve() {
  const farm = await new MirrorFarm().start()
  process.on('message', (behaviour: Behaviour) => process.send!(farm.put('/model.safetensors', behaviour)))
  process.on('disconnect', () => process.exit())
  process.send!('ready')
}

async function fetchIt(wanted: FileWanted) {
  const got = await download(wanted, { dispatcher: new Agent() })
  const { user, system } = process.cpuUsage()
  process.send!({ cpuSeconds: (user + system) / 1e6, fetchedBytes: got.fetchedBytes, switched: got.switched })
  process.disconnect()
  process.exit()
}

interface Run {
  readonly seconds: number
  readonly cpuSeconds: number
  readonly exit: number
  readonly fetchedBytes?: number
  readonly switched?: readonly { from: string; reason: string }[]
}

async function bench() {
  const { values } = parseArgs({
    options: {
      mib: { type: 'string', default: '2048' },
      runs: { type: 'string', default: '3' },
      case: { type: 'string' },
      dir: { type: 'string', default: tmpdir() },
      connections: { type: 'string', default: '16' },
    },
  })
  const version = versionOf('aria2c')
  if (!version) throw new Error('aria2c is not installed: it is the peer of this benchmark')
  const [size, runs] = [Number(values.mib) * MIB, Number(values.runs)]
  const connections = Number(values.connections)
  const dir = mkdtempSync(path.join(values.dir, 'nightshift-bench-'))
  const children: ChildProcess[] = []
  const out = path.join(dir, 'out')
  try {
    const file = path.join(dir, 'served', 'model.safetensors')
    mkdirSync(path.dirname(file))
    execFileSync('head', ['-c', String(size), '/dev/urandom'], { stdio: ['ignore', openSync(file, 'w'), 'inherit'] })
    const sha256 = await hashFile(file)
    execFileSync('sync')
    const body = { file, sizeBytes: size }

    const ours = (addresses: string[]): Promise<Run> => {
      const sources = addresses.map((address, at) => ({ id: `mirror ${at + 1}`, address, connections }))
      const wanted: FileWanted = { to: path.join(out, 'ours.safetensors'), sources, sizeBytes: size, sha256 }
      return timedFetch(wanted)
    }
    const aria2 = (addresses: string[]) =>
      timedAria2([
        ...['-q', '-x16', '-s16', '-k1M', '--file-allocation=falloc', '--timeout=15', '--connect-timeout=15'],
        ...[`--checksum=sha-256=${sha256}`, '-d', out, '-o', 'aria2.safetensors', ...addresses],
      ])
    const clear = async () => {
      rmSync(out, { recursive: true, force: true })
      mkdirSync(out)
      execFileSync('sync')
      await pause(300)
    }
    const inTurn = async (name: string, addresses: () => Promise<{ all: string[]; honest: string[] }>) => {
      if (values.case && values.case !== name) return
      const mine: Run[] = []
      const theirs: Run[] = []
      const synced: number[] = []
      let misled: Run | null = null
      for (let run = 0; run < runs; run++) {
        await clear()
        const { all } = await addresses()
        const own = await ours(all)
        if (own.exit !== 0) throw new Error(`${name}: our download failed`)
        mine.push(own)
        await clear()
        const { honest, all: again } = await addresses()
        const peer = await aria2(honest)
        if (peer.exit !== 0) throw new Error(`${name}: aria2c ended with ${peer.exit}`)
        theirs.push(peer)
        synced.push(await syncSeconds(path.join(out, 'aria2.safetensors')))
        if (run === 0 && again.length > honest.length) {
          await clear()
          misled = await aria2((await addresses()).all)
        }
      }
      const perGB = (each: readonly Run[]) => round(median(each.map(({ cpuSeconds }) => cpuSeconds)) / (size / 1e9))
      report({
        bench: `download ${name}`,
        n: size,
        ours: median(mine.map(({ seconds }) => seconds)),
        peer: median(theirs.map(({ seconds }) => seconds)),
        peerName: `aria2c ${version}`,
        unit: 's',
        less: true,
        goal: 1,
        facts: {
          ...{ runs, sizeMiB: size / MIB, connectionsPerMirror: connections },
          oursSeconds: mine.map(({ seconds }) => round(seconds)),
          peerSeconds: theirs.map(({ seconds }) => round(seconds)),
          oursCpuSecondsPerGB: perGB(mine),
          peerCpuSecondsPerGB: perGB(theirs),
          oursTimer: 'process start to hashed, synced and renamed',
          peerTimer: 'process start to its end, --checksum included, not synced',
          peerSecondsToSync: round(median(synced)),
          peerArguments: '-x16 -s16 -k1M --file-allocation=falloc --timeout=15 --checksum=sha-256=…',
          oursFetchedMiB: Math.round((mine[0]!.fetchedBytes ?? 0) / MIB),
          oursPassedOver: (mine[0]!.switched ?? []).map(({ from, reason }) => `${from}: ${reason}`),
          ...(name === 'mirrors' && {
            peerSources: 'the two that are honest; ours has all three',
            peerWithAllThree: misled && `ended with ${misled.exit} after ${round(misled.seconds)} s`,
          }),
        },
      })
    }

    const plain = (await nginx(dir, path.dirname(file), children)) ?? (await mirror(children))
    const one = await mirror(children)
    const three = await Promise.all([mirror(children), mirror(children), mirror(children)])
    await inTurn('plain', async () => {
      const address = typeof plain === 'string' ? plain : await plain({ body })
      return { all: [address], honest: [address] }
    })
    await inTurn('throttled', async () => {
      const address = await one({ body, bytesPerSecond: 12 * MIB })
      return { all: [address], honest: [address] }
    })
    await inTurn('mirrors', async () => {
      const [fast, stalls, lies] = (await Promise.all([
        three[0]!({ body, bytesPerSecond: 12 * MIB }),
        three[1]!({ body, bytesPerSecond: 6 * MIB, stallsFrom: size / 10 }),
        three[2]!({ body, bytesPerSecond: 3 * MIB, flipAt: 700_000, flipEvery: MIB }),
      ])) as [string, string, string]
      return { all: [lies, stalls, fast], honest: [stalls, fast] }
    })
  } finally {
    for (const child of children) child.kill()
    rmSync(dir, { recursive: true, force: true, maxRetries: 5 })
  }
}

async function timedFetch(wanted: FileWanted): Promise<Run> {
  const began = performance.now()
  const child = fork(import.meta.filename, ['fetch', JSON.stringify(wanted)], { stdio: 'inherit', execArgv: [] })
  let done = { seconds: 0, cpuSeconds: 0 }
  child.on('message', (told: { cpuSeconds: number }) => {
    done = { ...told, seconds: (performance.now() - began) / 1000 }
  })
  const [exit] = (await once(child, 'exit')) as [number]
  if (exit === 0 && (await hashFile(wanted.to)) !== wanted.sha256) throw new Error('our file is wrong')
  return { ...done, exit }
}

/** Its processor time as bash measures it: of a process that ended, Node cannot say. */
async function timedAria2(args: readonly string[]): Promise<Run> {
  const began = performance.now()
  const child = spawn('bash', ['-c', 'TIMEFORMAT="%U %S"; time aria2c "$@"', 'bash', ...args], {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  let said = ''
  child.stderr.on('data', (text: Buffer) => {
    said += text.toString()
  })
  const [exit] = (await once(child, 'exit')) as [number]
  const seconds = (performance.now() - began) / 1000
  const [user, system] = said.trim().split('\n').at(-1)!.split(' ').map(Number) as [number, number]
  return { seconds, cpuSeconds: user + system, exit }
}

async function syncSeconds(file: string): Promise<number> {
  const began = performance.now()
  const handle = await open(file, 'r+')
  await handle.sync()
  await handle.close()
  return (performance.now() - began) / 1000
}

async function mirror(children: ChildProcess[]) {
  const child = fork(import.meta.filename, ['serve'], { stdio: 'inherit', execArgv: [] })
  children.push(child)
  await once(child, 'message')
  return async (
    behaviour: Omit<Behaviour, 'body'> & { body: { file: string; sizeBytes: number } },
  ): Promise<string> => {
    child.send(behaviour)
    const [address] = (await once(child, 'message')) as [string]
    return address
  }
}

/** A real server where there is one: its address. */
async function nginx(dir: string, root: string, children: ChildProcess[]): Promise<string | null> {
  const program = ['/usr/sbin/nginx', '/usr/local/sbin/nginx', '/opt/homebrew/bin/nginx'].find((each) =>
    existsSync(each),
  )
  if (!program) return null
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const { port } = probe.address() as { port: number }
  await new Promise((closed) => probe.close(closed))
  const temp = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${dir}/${name};`)
  const config = path.join(dir, 'nginx.conf')
  writeFileSync(
    config,
    `daemon off; ${process.getuid?.() === 0 ? 'user root;' : ''} pid ${dir}/nginx.pid; error_log ${dir}/nginx.log;
     events {} http { access_log off; sendfile on; ${temp.join(' ')}
     server { listen 127.0.0.1:${port}; root ${root}; } }`,
  )
  const child = spawn(program, ['-c', config], { stdio: 'ignore' })
  children.push(child)
  const address = `http://127.0.0.1:${port}/model.safetensors`
  for (let tries = 0; tries < 100 && child.exitCode === null; tries++) {
    const reply = await fetch(address, { method: 'HEAD' }).catch(() => null)
    if (reply?.ok) return address
    await pause(50)
  }
  return null
}

function versionOf(program: string): string | null {
  try {
    return /version ([\d.]+)/.exec(execFileSync(program, ['--version'], { encoding: 'utf8' }))?.[1] ?? null
  } catch {
    return null
  }
}

function round(value: number): number {
  return Number(value.toPrecision(3))
}
