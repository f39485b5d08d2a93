// Pushes of a snapshot with models, cut by kill -9 at random moments: of who sends, and of the agent that takes it. Each time
// the next one goes on; nothing counts before its end, and what arrives is what was sent.
// npm run chaos:push -- [--kills 20] [--mib 160]
import { type ChildProcess, fork } from 'node:child_process'
import { hash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { Agent } from 'undici'
import { parseJson } from '../../core/contract/json.ts'
import { type ModelNeeded, SealedManifest } from '../../core/contract/snapshot.ts'
import { hashFile } from '../../core/engine/hash-file.ts'
import { type Depot, FolderDepot, type Transfer } from '../../core/engine/snapshot/depot.ts'
import { HttpDepot } from '../../core/engine/snapshot/http-depot.ts'
import { Keeper } from '../../core/engine/snapshot/keep.ts'
import { seal, writeManifest } from '../../core/engine/snapshot/manifest.ts'
import { carryOutPush, planPush, pull } from '../../core/engine/snapshot/push.ts'
import { restoreTree } from '../../core/engine/snapshot/restore.ts'
import { ObjectStore } from '../../core/engine/snapshot/store.ts'
import { aManifest } from '../kit/manifest.ts'

const { values } = parseArgs({
  options: {
    kills: { type: 'string', default: '20' },
    mib: { type: 'string', default: '160' },
    child: { type: 'string' },
    to: { type: 'string', default: '' },
    rate: { type: 'string', default: '' },
  },
})
const KEY = 'sk_chaos-of-pushes'
const tell = (event: string, facts: object) => process.stdout.write(`${JSON.stringify({ event, ...facts })}\n`)
const depotAt = (to: string): Depot =>
  to.startsWith('http')
    ? new HttpDepot({ url: to, key: KEY, dispatcher: new Agent(), retryMs: 50 })
    : new FolderDepot(to)

if (values.child) {
  const dir = values.child
  const store = await ObjectStore.open(path.join(dir, 'store'))
  const [name = ''] = readdirSync(store.snapshotsDir)
  const sealed = SealedManifest.parse(parseJson(readFileSync(path.join(store.snapshotsDir, name), 'utf8')))
  const depot = depotAt(values.to)
  let travelled = 0
  const counting = (transfer: Transfer): Transfer => ({
    ...transfer,
    onBytes: (bytes) => {
      travelled += bytes
      process.send?.(travelled)
      return transfer.onBytes?.(bytes)
    },
  })
  const [putPack, putModel] = [depot.putPack.bind(depot), depot.putModel.bind(depot)]
  depot.putPack = (id, file, transfer) => putPack(id, file, counting(transfer))
  depot.putModel = (id, file, transfer) => putModel(id, file, counting(transfer))
  const modelHere = async ({ name }: ModelNeeded) => ({ file: path.join(dir, 'models', name), sources: [] })
  const push = await planPush(store, sealed, depot, { modelHere })
  await carryOutPush(store, push, depot, { bytesPerSecond: Number(values.rate) })
  process.exit(0)
}

const children = new Set<ChildProcess>()
process.on('exit', () => {
  for (const child of children) child.kill('SIGKILL')
})

class Sender {
  readonly #child: ChildProcess
  readonly ended: Promise<number | null>
  readonly #first = Promise.withResolvers<void>()
  code: number | string | null = null
  /** Bytes that travelled. */
  sent = 0

  constructor(dir: string, to: string, rate: number) {
    const args = ['--child', dir, '--to', to, '--rate', String(Math.ceil(rate))]
    this.#child = fork(import.meta.filename, args, { execArgv: [], stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
    children.add(this.#child)
    this.#child.on('message', (travelled: number) => {
      this.sent = travelled
      this.#first.resolve()
    })
    this.ended = once(this.#child, 'exit').then(([code, signal]) => {
      children.delete(this.#child)
      this.code = code ?? signal
      this.#first.resolve()
      return code
    })
  }
  began() {
    return this.#first.promise
  }
  async kill() {
    this.#child.kill('SIGKILL')
    await this.ended
  }
}

/** A real agent on a port of its own. */
class Killable {
  readonly #place: string
  readonly #port: number
  #child: ChildProcess | null = null

  private constructor(place: string, port: number) {
    this.#place = place
    this.#port = port
  }
  static async agent(place: string) {
    writeFileSync(path.join(place, 'api-key'), `${KEY}\n`)
    const probe = createServer().listen(0, '127.0.0.1')
    await once(probe, 'listening')
    const { port } = probe.address() as { port: number }
    await new Promise((closed) => probe.close(closed))
    const agent = new Killable(place, port)
    await agent.start()
    return agent
  }
  get url() {
    return `http://127.0.0.1:${this.#port}`
  }
  async start() {
    const args = ['--store', this.#place, '--port', String(this.#port), '--worker', 'none']
    const child = fork(path.resolve(import.meta.dirname, '../../agent/index.ts'), args, {
      execArgv: [],
      stdio: ['ignore', 'pipe', 'ignore', 'ipc'],
    })
    this.#child = child
    children.add(child)
    await new Promise<void>((ready, failed) => {
      child.stdout!.on('data', (text: Buffer) => text.includes('"listening"') && ready())
      child.once('exit', () => failed(new Error('the agent did not start')))
    })
  }
  async kill() {
    const child = this.#child!
    if (child.exitCode !== null || child.signalCode !== null) return
    child.kill('SIGKILL')
    await once(child, 'exit')
    children.delete(child)
  }
}

const wanted = Number(values.kills)
const root = mkdtempSync(path.join(tmpdir(), 'nightshift-chaos-'))
const violations: string[] = []
try {
  const made = await makeUp(path.join(root, 'here'), Number(values.mib) << 20)
  for (const target of ['agent', 'folder'] as const) {
    let [kills, runs, pushes] = [0, 0, 0]
    const victims = { sender: 0, agent: 0 }
    let mostSent = 0
    while (kills < wanted) {
      const place = path.join(root, `${target}-${pushes}`)
      mkdirSync(place)
      const agent = target === 'agent' ? await Killable.agent(place) : null
      let sent = 0
      for (let done = false; !done; runs++) {
        const sender = new Sender(path.join(root, 'here'), agent?.url ?? place, made.bytes / (wanted * 0.25))
        await sender.began()
        const cutAt = kills < wanted ? 50 + Math.random() * 400 : null
        const victim = agent && Math.random() < 0.5 ? 'agent' : 'sender'
        if (cutAt !== null) await Promise.race([sender.ended, new Promise((late) => setTimeout(late, cutAt))])
        if (cutAt !== null && sender.code === null) {
          victims[victim]++
          kills++
          await (victim === 'agent' ? agent : sender)!.kill()
          await wholeOrNothing(place, made)
          if (victim === 'agent') await agent!.start()
        }
        // who sends waits for an agent that comes again, and needs nobody to begin anew
        const code = await sender.ended
        if (victim === 'agent' || cutAt === null) if (code !== 0) violations.push(`the sender ended with ${code}`)
        sent += sender.sent
        done = code === 0
      }
      await arrived(agent?.url ?? place, place, made)
      mostSent = Math.max(mostSent, sent / made.bytes)
      await agent?.kill()
      rmSync(place, { recursive: true })
      pushes++
    }
    tell('chaos', {
      target,
      kills,
      victims,
      runs,
      pushes,
      mib: Math.round(made.bytes / 2 ** 20),
      mostSentTimes: Number(mostSent.toFixed(3)),
      violations,
    })
  }
} finally {
  for (const child of children) child.kill('SIGKILL')
  rmSync(root, { recursive: true, force: true, maxRetries: 5 })
}
process.exit(violations.length === 0 ? 0 : 1)

interface Made {
  readonly sealed: SealedManifest
  readonly tree: string
  readonly models: readonly ModelNeeded[]
  readonly bytes: number
}

async function makeUp(dir: string, bytes: number): Promise<Made> {
  const tree = path.join(dir, 'tree')
  mkdirSync(path.join(tree, '节点'), { recursive: true })
  mkdirSync(path.join(dir, 'models'))
  const models: ModelNeeded[] = []
  for (const [n, share] of [0.3, 0.15].entries()) {
    const content = randomBytes(Math.floor(bytes * share))
    writeFileSync(path.join(dir, 'models', `${n}.safetensors`), content)
    models.push({
      folder: 'checkpoints',
      name: `${n}.safetensors`,
      size: content.length,
      sha256: hash('sha256', content),
    })
  }
  for (let n = 0; n < 4; n++) writeFileSync(path.join(tree, `large-${n}.so`), randomBytes(Math.floor(bytes * 0.12)))
  for (let n = 0; n < 200; n++) writeFileSync(path.join(tree, '节点', `${n}.py`), randomBytes(2_000 + n * 50))
  const store = await ObjectStore.open(path.join(dir, 'store'))
  const keeper = await Keeper.open(store, 2)
  const kept = await keeper.keep(tree)
  await keeper.finish()
  const layers = [{ name: 'comfyui' as const, tree: kept.tree, files: kept.files, bytes: kept.bytes }]
  const sealed = seal(aManifest({ layers, models }), null)
  await writeManifest(store.snapshotsDir, sealed)
  return { sealed, tree, models, bytes: kept.bytes + models.reduce((sum, { size }) => sum + size, 0) }
}

/** What has its name in a place is all there and what the name says; a snapshot is there only with all of its parts. */
async function wholeOrNothing(place: string, { sealed, models }: Made) {
  const depot = new FolderDepot(place)
  for (const [kind, ids] of [
    ['packs', await depot.packs()],
    ['models', await depot.models()],
  ] as const)
    for (const id of ids.keys()) {
      const file = path.join(place, kind, id.slice(0, 2), kind === 'packs' ? `${id}.pack` : id)
      if ((await hashFile(file)) !== id) violations.push(`${kind}/${id.slice(0, 12)} is not what its name says`)
    }
  const published = await depot.getSnapshot(sealed.id)
  if (!published) return
  const packs = await depot.packs()
  const there = await depot.models()
  if (!published.packs.every(({ id }) => packs.has(id)) || !models.every(({ sha256 }) => there.has(sha256)))
    violations.push('the snapshot was there before its parts')
}

async function arrived(to: string, place: string, made: Made) {
  await wholeOrNothing(place, made)
  const store = await ObjectStore.open(path.join(place, 'pulled'))
  const { manifest } = await pull(store, made.sealed.id, depotAt(to))
  const back = path.join(place, 'back')
  await restoreTree(store, manifest.layers[0]!.tree, back, { threads: 2 })
  if (contentOf(back) !== contentOf(made.tree)) violations.push('it came back as something else')
  const left = readdirSync(path.join(place, to === place ? 'packs' : 'incoming'), {
    withFileTypes: true,
    recursive: true,
  }).filter((entry) => /\.part/.test(entry.name))
  if (left.length > 0) violations.push(`${left.length} files are left of what arrived`)
}

function contentOf(dir: string) {
  const files = readdirSync(dir, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
  const lines = files.map(({ parentPath, name }) => {
    const file = path.join(parentPath, name)
    return `${path.relative(dir, file)} ${hash('sha256', readFileSync(file))}`
  })
  return lines.toSorted().join('\n')
}
