import { EventEmitter } from 'node:events'
import type { Dispatcher } from 'undici'
import type { z } from 'zod'
import type {
  Endpoint,
  EndpointAddress,
  EndpointAsked,
  EndpointForm,
  EndpointFound,
  EndpointLine,
  EndpointPace,
  EndpointSettings,
} from '../../core/contract/endpoint.ts'
import { AppError } from '../../core/contract/errors.ts'
import { parseJson, writeJson } from '../../core/contract/json.ts'
import type { ReleaseView } from '../../core/contract/release.ts'
import { AgentClient, codeOf, readAgentUrl } from '../../core/engine/agent-client.ts'
import type { Clock } from './clock.ts'
import type { Database } from './database/open.ts'
import type { Secrets } from './secrets.ts'
import type { Service } from './service.ts'
import { EndpointWorker, type EndpointWorkerOptions } from './workers/endpoint.ts'
import type { Fleet } from './workers/fleet.ts'

interface Deps {
  readonly database: Database
  readonly secrets: Pick<Secrets, 'get' | 'set' | 'remove'>
  readonly fleet: Pick<Fleet, 'host' | 'unhost' | 'get'>
  readonly clock: Clock
  readonly newId: () => string
  /** The way to them: where the settings say so, through a proxy. */
  readonly dispatcher: Dispatcher
  /** For tests: how patiently agents are asked. */
  readonly pace?: Partial<Pick<EndpointWorkerOptions, 'healthEveryMs' | 'firstRetryMs' | 'patienceMs' | 'absenceMs'>>
}
interface Row {
  name: string
  url: string
  enabled: 0 | 1
  capacity: number
  checkpoints: string
  pace: string
  used_at: number | null
  created_at: number
}
/** What is known of one beyond what its worker knows. */
interface Known {
  readonly worker: EndpointWorker
  readonly addedAt: number
  usedAt: number | null
  live: ReleaseView | null
  liveAskedAt: number
  readonly lines: EndpointLine[]
}

const NO_PACE: EndpointPace = { coldSeconds: null, coldRuns: 0, warmSeconds: null, warmRuns: 0 }
const KEPT_LINES = 500
const ASK_LIVE_EVERY_MS = 30_000

/** Remote places with an agent: added, looked after, and each a worker of the fleet. */
export class Endpoints implements Service {
  readonly events = new EventEmitter<{ changed: [name: string] }>()
  readonly #deps: Deps
  readonly #known = new Map<string, Known>()
  #running = false

  constructor(deps: Deps) {
    this.#deps = deps
  }

  async start() {
    if (this.#running) return
    this.#running = true
    const rows = this.#deps.database.prepare<[], Row>('SELECT * FROM endpoints ORDER BY created_at, name').all()
    for (const row of rows) this.#open(row)
  }

  async stop() {
    if (!this.#running) return
    this.#running = false
    const names = [...this.#known.keys()]
    this.#known.clear()
    await Promise.all(names.map((name) => this.#deps.fleet.unhost(name)))
  }

  list(): Endpoint[] {
    return [...this.#known.keys()].map((name) => this.get(name))
  }

  /** @throws AppError 'endpoint.unknown' */
  get(name: string): Endpoint {
    const { worker, addedAt, usedAt, live } = this.#must(name)
    const { url, hasHeader: hasKey, inFlight, state, pace, facts, settings } = worker
    const { comfyuiVersion = null, devices = [], latencyMs = null } = facts ?? {}
    const seen = { comfyuiVersion, devices, latencyMs, live }
    return { ...settings, name, url, hasKey, addedAt, inFlight, state, pace, usedAt, ...seen }
  }

  /** To speak to its agent. Closed with the endpoint, not by the caller. @throws AppError 'endpoint.unknown' */
  client(name: string): AgentClient {
    return this.#must(name).worker.client
  }

  /** @throws AppError 'endpoint.bad-address' | 'endpoint.not-agent' | 'endpoint.key-refused' | 'worker.unreachable' */
  async test({ url, key }: z.output<typeof EndpointAddress>): Promise<EndpointFound> {
    const client = new AgentClient({ url: readAgentUrl(url), key }, this.#deps.dispatcher)
    try {
      const started = performance.now()
      const phase = await client.phase()
      const latencyMs = Math.round(performance.now() - started)
      // what is behind an agent that is not ready cannot be asked, but whether it takes the key can
      const stats = await client.stats().catch((cause: unknown) => {
        if (phase === null || codeOf(cause) === 'endpoint.key-refused') throw cause
        return { comfyuiVersion: null, devices: [] }
      })
      const mayPublish = await client.releases().then(
        () => true,
        (cause: unknown) => {
          if (codeOf(cause) === 'worker.unreachable') throw cause
          return false
        },
      )
      return { url: client.address.url, phase, ...stats, latencyMs, mayPublish }
    } finally {
      await client.close()
    }
  }

  /** Only what answers as an agent, and takes the key, is added. @throws AppError as `test`; 'worker.name-taken', 'worker.duplicate' */
  async add(asked: z.output<typeof EndpointAsked>): Promise<Endpoint> {
    const { database, secrets, clock, fleet } = this.#deps
    const { url } = await this.test(asked)
    if ([...this.#known.values()].some(({ worker }) => worker.url === url))
      throw new AppError('worker.duplicate', { url })
    const name = asked.name ?? this.#freeName(new URL(url).host)
    if (fleet.get(name)) throw new AppError('worker.name-taken', { name })
    const row: Row = {
      name,
      url,
      enabled: 1,
      capacity: asked.capacity,
      checkpoints: writeJson(asked.checkpoints),
      pace: writeJson({ ...NO_PACE }),
      used_at: null,
      created_at: clock.now(),
    }
    if (asked.key !== null) secrets.set(secretOf(name), asked.key)
    database
      .prepare(
        `INSERT INTO endpoints (name, url, enabled, capacity, checkpoints, pace, used_at, created_at)
         VALUES (:name, :url, :enabled, :capacity, :checkpoints, :pace, :used_at, :created_at)`,
      )
      .run(row)
    await firstState(this.#open(row))
    return this.get(name)
  }

  async set(name: string, change: Partial<EndpointSettings>): Promise<Endpoint> {
    const { worker } = this.#must(name)
    const settings = { ...worker.settings, ...change }
    this.#deps.database
      .prepare('UPDATE endpoints SET enabled = ?, capacity = ?, checkpoints = ? WHERE name = ?')
      .run(settings.enabled ? 1 : 0, settings.capacity, writeJson(settings.checkpoints), name)
    worker.change({ ...settings, enabled: worker.enabled })
    await worker.enable(settings.enabled)
    return this.get(name)
  }

  /** From now on it is opened with this one. What is under way there is found again. */
  async setKey(name: string, key: string): Promise<Endpoint> {
    const { url } = this.#must(name).worker
    await this.test({ url, key })
    this.#deps.secrets.set(secretOf(name), key)
    const row = this.#deps.database.prepare<[string], Row>('SELECT * FROM endpoints WHERE name = ?').get(name)
    await firstState(this.#open(row!))
    return this.get(name)
  }

  /** What is published there stays there. */
  async remove(name: string): Promise<number> {
    this.#must(name)
    const { changes } = this.#deps.database.prepare('DELETE FROM endpoints WHERE name = ?').run(name)
    this.#deps.secrets.remove(secretOf(name))
    this.#known.delete(name)
    await this.#deps.fleet.unhost(name, true)
    this.events.emit('changed', name)
    return changes
  }

  /** Asks it again now, also one that was left alone. */
  look(name: string): Endpoint {
    this.#must(name).worker.lookNow()
    return this.get(name)
  }

  /** The newest first. */
  async releases(name: string): Promise<ReleaseView[]> {
    const known = this.#must(name)
    const rows = await known.worker.client.releases()
    known.live = rows.find(({ state }) => state.is === 'live') ?? null
    return rows
  }

  /** What is live there may be changed from elsewhere. A key that may only run is told nothing of it. */
  async #askLive(name: string, known: Known) {
    const now = this.#deps.clock.now()
    if (now - known.liveAskedAt < ASK_LIVE_EVERY_MS) return
    known.liveAskedAt = now
    const before = known.live?.version
    await this.releases(name).catch(() => {})
    if (known.live?.version !== before) this.events.emit('changed', name)
  }

  forms(name: string): Promise<EndpointForm[]> {
    return this.client(name).forms()
  }

  /** What happened, the oldest first; what the agent says of itself too, where it lets this key read it. */
  async log(name: string): Promise<EndpointLine[]> {
    const { worker, lines } = this.#must(name)
    const said = await worker.client.log().catch(() => [])
    const theirs = said.map(({ at, text }): EndpointLine => ({ at, from: 'agent', text }))
    return [...lines, ...theirs].toSorted((a, b) => a.at - b.at)
  }

  #open({ name, url, enabled, capacity, checkpoints, pace, used_at, created_at }: Row) {
    const { secrets, fleet, clock, newId, dispatcher } = this.#deps
    const lines: EndpointLine[] = []
    const worker = new EndpointWorker({
      id: name,
      address: { url, key: secrets.get(secretOf(name)) ?? null },
      settings: { enabled: enabled === 1, capacity, checkpoints: parseJson(checkpoints) as string[] },
      pace: { ...NO_PACE, ...(parseJson(pace) as Partial<EndpointPace>) },
      newId,
      dispatcher,
      now: clock.now,
      onLearned: (learned, usedAt) => this.#learned(name, learned, usedAt),
      onEnabled: (on) =>
        this.#deps.database.prepare('UPDATE endpoints SET enabled = ? WHERE name = ?').run(on ? 1 : 0, name),
      onNews(text) {
        lines.push({ at: clock.now(), from: 'here', text })
        if (lines.length > KEPT_LINES) lines.shift()
      },
      ...this.#deps.pace,
    })
    const known = { worker, addedAt: created_at, usedAt: used_at, live: null, liveAskedAt: 0, lines }
    this.#known.set(name, known)
    worker.onHealth(({ is }) => {
      this.events.emit('changed', name)
      if (is === 'ready') void this.#askLive(name, known)
    })
    void fleet.host(worker)
    return worker
  }

  #learned(name: string, pace: EndpointPace, usedAt: number) {
    const known = this.#known.get(name)
    if (known) known.usedAt = usedAt
    this.#deps.database
      .prepare('UPDATE endpoints SET pace = ?, used_at = ? WHERE name = ?')
      .run(writeJson({ ...pace }), usedAt, name)
    this.events.emit('changed', name)
  }

  #must(name: string): Known {
    const known = this.#known.get(name)
    if (!known) throw new AppError('endpoint.unknown', { name })
    return known
  }

  #freeName(name: string): string {
    for (let number = 1; ; number++) {
      const candidate = number === 1 ? name.slice(0, 56) : `${name.slice(0, 56)}-${number}`
      if (!this.#deps.fleet.get(candidate)) return candidate
    }
  }
}

/** Resolves when it has said for the first time how it is. */
async function firstState(worker: EndpointWorker) {
  const { promise, resolve } = Promise.withResolvers<void>()
  const off = worker.onHealth(() => worker.state.is !== 'connecting' && resolve())
  if (worker.state.is === 'connecting') await promise
  off()
}

const secretOf = (name: string) => `endpoint:${name}`
