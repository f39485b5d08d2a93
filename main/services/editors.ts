import { createHash } from 'node:crypto'
import type { EditorSubject } from '../../core/contract/app.ts'
import { AppError } from '../../core/contract/errors.ts'
import { type Json, writeJson } from '../../core/contract/json.ts'
import { coerceValue } from '../../core/domain/workflow/parameters.ts'
import type { ComfyAddress } from '../../core/engine/comfy/address.ts'
import { EditorProxy } from '../../core/engine/comfy/editor-proxy.ts'
import type { Artifacts } from './artifacts.ts'
import type { Library } from './library.ts'
import type { Make } from './prepare.ts'
import type { Queue } from './queue.ts'
import type { Service } from './service.ts'
import type { Fleet } from './workers/fleet.ts'
import type { Worker } from './workers/worker.ts'

type Deps = {
  fleet: Pick<Fleet, 'list' | 'get' | 'addressOf'>
  library: Pick<Library, 'load'>
  queue: Pick<Queue, 'job'>
  artifacts: Pick<Artifacts, 'get' | 'locate'>
  make: Make
  words: () => { notOpened: string; noEntry: string }
}
type Opened = { name: string; content: Json }

/** Ports from here on, one per server: an editor keeps its drafts by its address, so that should stay the same. */
const FIRST_PORT = 20_000
const PORTS = 10_000

/** Opens workflows, and what made a picture, in the editor that a ComfyUI serves. */
export class Editors implements Service {
  readonly #deps: Deps
  readonly #proxies = new Map<string, Promise<EditorProxy>>()
  readonly #stopping = new AbortController()
  #host = '127.0.0.1'

  constructor(deps: Deps) {
    this.#deps = deps
  }

  async start() {}

  async stop() {
    this.#stopping.abort()
    const proxies = await Promise.allSettled(this.#proxies.values())
    this.#proxies.clear()
    await Promise.all(proxies.map((each) => each.status === 'fulfilled' && each.value.stop()))
  }

  /** Browsers reach this machine at `host`: editors opened from now on listen there too. */
  listenOn(host: string) {
    this.#host = host
  }

  /**
   * Where a browser finds it: a port on the host that this page came from, and a path that enters once.
   * @throws AppError 'editor.none', 'worker.unreachable', 'app.port-refused'
   */
  async open(subject: EditorSubject): Promise<{ port: number; path: string; worker: string }> {
    const worker = this.#workerFor(subject)
    const opened = await this.#contentOf(subject, worker)
    const proxy = await this.#proxyOf(worker)
    const named = (name: string) => name.replace(/[\\/:*?"<>|]+/g, ' ').trim() || 'nightshift'
    const path = proxy.open(opened && { name: named(opened.name), json: writeJson(opened.content) })
    return { port: proxy.port, path, worker: worker.id }
  }

  /** The one asked for, the one that made it, or the first that answers. */
  #workerFor({ workerId, artifactId }: EditorSubject): Worker {
    const { fleet, artifacts } = this.#deps
    const made = artifactId === undefined ? undefined : artifacts.get(artifactId).sidecar.worker.id
    const real = fleet.list().filter(({ kind }) => kind !== 'rehearsal' && kind !== 'endpoint') // an agent lets no editor in
    const asked = workerId ?? made
    const found =
      real.find(({ id, health }) => id === asked && (workerId !== undefined || health.is === 'ready')) ??
      real.find(({ health }) => health.is === 'ready') ??
      real[0]
    if (!found || (workerId !== undefined && found.id !== workerId)) throw new AppError('editor.none')
    if (found.health.is !== 'ready')
      throw new AppError('worker.unreachable', { url: found.url ?? found.id, reason: found.health.is })
    return found
  }

  /** null: nothing is asked for but the editor. */
  async #contentOf(subject: EditorSubject, worker: Worker): Promise<Opened | null> {
    const { artifactId, jobId, workflowId, sets = {} } = subject
    if (artifactId === undefined && jobId === undefined && workflowId === undefined) return null
    const { artifacts, queue, library, make } = this.#deps
    const { signal } = this.#stopping
    const made = artifactId ?? (jobId === undefined ? undefined : artifacts.locate({ jobId })[0]?.id)
    if (made !== undefined) {
      const { artifact, sidecar } = artifacts.get(made)
      const name = artifact.name
        .split('/')
        .at(-1)!
        .replace(/\.\w+$/, '')
      return { name, content: sidecar.workflow ?? (sidecar.prompt as unknown as Json) }
    }
    if (jobId !== undefined) {
      const job = queue.job(jobId)
      const { record } = await make(job, worker, signal)
      return { name: `${job.batch.name} ${job.row}`, content: record.workflow ?? (record.prompt as unknown as Json) }
    }
    const { read, prompt, parameters, name } = await library.load(workflowId!, worker.id)
    const overrides = Object.fromEntries(
      Object.entries(sets).flatMap(([key, raw]) => {
        const parameter = parameters.find((one) => one.key === key)
        const isDrawn = parameter?.role === 'seed' && String(raw).trim() === '-1' // by us, for each job
        return parameter && !isDrawn && raw !== '' ? [[key, coerceValue(parameter, raw)]] : []
      }),
    )
    if (Object.keys(overrides).length === 0) return { name, content: (read.editor ?? prompt) as unknown as Json }
    const plan = { textMagic: false, chance: 0 }
    const batch = { prompt, parameters, editor: read.editor as Json, plan, createdAt: 0 }
    const { record } = await make({ index: 0, overrides, batch, asTyped: true }, worker, signal)
    return { name, content: record.workflow ?? (record.prompt as unknown as Json) }
  }

  #proxyOf({ id }: Worker): Promise<EditorProxy> {
    const address = this.#deps.fleet.addressOf(id)
    const key = writeJson([address as unknown as Json, this.#host])
    const known = this.#proxies.get(key)
    if (known) return known
    const starting = startProxy({ address, host: this.#host, port: portFor(address), words: this.#deps.words })
    this.#proxies.set(key, starting)
    starting.catch(() => this.#proxies.delete(key))
    return starting
  }
}

async function startProxy(options: ConstructorParameters<typeof EditorProxy>[0]) {
  const proxy = new EditorProxy(options)
  await proxy.start()
  return proxy
}

const portFor = ({ url }: ComfyAddress) =>
  FIRST_PORT + (createHash('sha256').update(url).digest().readUInt32BE() % PORTS)
