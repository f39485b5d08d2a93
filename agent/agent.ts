import { mkdtemp, rm } from 'node:fs/promises'
import { availableParallelism, tmpdir } from 'node:os'
import path from 'node:path'
import { AppError, toFailure } from '../core/contract/errors.ts'
import type { JsonObject } from '../core/contract/json.ts'
import { Mirrors } from '../core/contract/mirror.ts'
import { type ComfyAddress, readAddress } from '../core/engine/comfy/address.ts'
import { ComfyClient } from '../core/engine/comfy/client.ts'
import type { Pace } from '../core/engine/process/supervisor.ts'
import { RehearsalServer } from '../core/engine/rehearsal/server.ts'
import { within } from '../core/engine/store/bucket.ts'
import { type Credentials, isS3, openStore } from '../core/engine/store/open-store.ts'
import { KeyList } from '../core/gateway/callers.ts'
import { DepotDoor } from '../core/gateway/depot-door.ts'
import { FcDoor } from '../core/gateway/fc/door.ts'
import { ComfyRunner } from '../core/gateway/fc/runner.ts'
import { BucketTasks } from '../core/gateway/fc/tasks.ts'
import { pageOf } from '../core/gateway/page.ts'
import { Lifecycle, type Standing } from './lifecycle.ts'
import { releaseRoutes } from './release-routes.ts'

export interface AgentOptions {
  readonly host: string
  readonly port: number
  readonly names: readonly string[]
  readonly origins: readonly string[]
  /** As `KeyList` reads them. */
  readonly keys: readonly string[]
  /** A folder, or s3://…; see openStore. */
  readonly store: string
  readonly credentials?: Credentials | null
  /** What this machine fetched and restored. */
  readonly cache?: string
  /** `rehearsal`, or addresses of ComfyUIs, which run until a release is live; none: nothing does. */
  readonly worker: string | readonly string[]
  /** Runs from the start. */
  readonly snapshot?: string | null
  readonly models?: readonly string[]
  readonly python?: string | null
  readonly cards?: readonly string[] | null
  /** ComfyUIs of a release, or rehearsals. */
  readonly workers?: number | null
  readonly trusted?: string | null
  /** That unpack. */
  readonly threads?: number
  readonly mirrors?: Mirrors
  readonly env?: NodeJS.ProcessEnv
  readonly inFlight?: number
  readonly limitMs?: number
  /** Of one workflow. */
  readonly limitBytes?: number
  readonly leaseMs?: number
  readonly stepMs?: number
  readonly lookEveryMs?: number
  readonly pace?: Partial<Pace>
  /** Hosts that webhooks may lead to besides the internet. */
  readonly webhookHosts?: readonly string[]
  /** The page with the forms of what was published, built. */
  readonly pageDir?: string
  /** As a function of a platform, which calls its hooks. */
  readonly managed?: boolean
  /** For tests: which addresses pictures may come from. */
  readonly mayReach?: (address: string) => boolean
  readonly log?: (event: string, facts: JsonObject) => void
}
export interface RunningAgent {
  readonly url: string
  /** Takes nothing more, lets what runs end within `graceMs`, and is gone. */
  stop(graceMs?: number): Promise<void>
}

const PROBED_FOR_MS = 1_000

/** @throws AppError 'worker.bad-address' | 'store.*' | 'release.no-snapshot' | 'app.port-in-use' | 'app.port-refused' */
export async function startAgent(options: AgentOptions): Promise<RunningAgent> {
  const { host, port, names, origins, keys, log, inFlight, limitMs, leaseMs, limitBytes, mayReach } = options
  const { snapshot = null, models = [], python = null, cards = null, workers = null, trusted = null } = options
  const mirrors = options.mirrors ?? Mirrors.parse({})
  const { now } = Date
  const store = await openStore(options.store, { credentials: options.credentials ?? null })
  const storeDir = isS3(options.store) ? null : path.resolve(options.store)
  const cacheDir = options.cache ?? path.join(storeDir ?? tmpdir(), 'cache')
  const dir = path.join(cacheDir, 'agents', String(port))
  const tasks = new BucketTasks(within(store.bucket, 'tasks/'))
  const lifecycle = new Lifecycle({
    store,
    storeDir,
    cacheDir,
    dir,
    modelDirs: models,
    python,
    cards,
    workers,
    snapshotId: snapshot,
    trusted,
    standing: await openStanding(options),
    threads: options.threads ?? Math.min(8, availableParallelism()),
    mirrors,
    env: options.env ?? {},
    now,
    pace: options.pace,
    lookEveryMs: options.lookEveryMs,
    log: (event, facts) => log?.(event, facts),
    onChange: () => runner.look(),
    drained: (places) => runner.drained(places),
  })
  const sketchUnreachable = options.worker === 'rehearsal'
  const inputs = { sketchUnreachable, ...(mayReach && { mayReach }) }
  const runner = new ComfyRunner({
    places: (release) => lifecycle.places(release),
    refusal: () => lifecycle.refusal(),
    store: tasks,
    now,
    inFlight,
    limitMs,
    leaseMs,
    inputs,
    log,
  })
  const address = () => {
    const [first] = lifecycle.places(null)
    if (first) return first
    throw new AppError('agent.not-ready', { reason: lifecycle.phase })
  }
  const depotDoor = new DepotDoor({
    depot: store.depot,
    incoming: path.join(storeDir ?? dir, 'incoming'),
    mirrors: mirrors.mirrors,
    ...(trusted !== null && { trusted: [trusted] }),
    ...(mayReach && { mayReach }),
    ...(log && { log }),
  })
  const callers = new KeyList(keys, now)
  const once = (mark: string) => tasks.mark(mark, 'once') // no task is called so: marks have a blank
  const door = new FcDoor({
    host,
    port,
    names,
    origins,
    callers,
    once,
    routes: [...depotDoor.routes, ...releaseRoutes(lifecycle)],
    runner,
    store: tasks,
    address,
    workflows: () => lifecycle.workflows(),
    ...(options.pageDir !== undefined && { page: pageOf(options.pageDir, '/form') }),
    ready: () => lifecycle.ready(),
    snapshot: () => lifecycle.facts,
    now,
    log,
    limitBytes,
    managed: options.managed,
    webhookHosts: options.webhookHosts,
    ...(mayReach && { mayReach }),
  })
  const close = async () => {
    await lifecycle.stop()
    await depotDoor.stop()
    await store.close()
  }
  try {
    await lifecycle.start()
    await door.start()
    await runner.start()
  } catch (cause) {
    await close()
    throw cause
  }
  let stopping: Promise<void> | undefined
  return {
    url: door.url,
    stop(graceMs) {
      stopping ??= (async () => {
        door.close()
        await runner.stop(graceMs)
        await door.stop()
        await close()
      })()
      return stopping
    },
  }
}

/** What runs while nothing was published. */
async function openStanding({ worker, workers, stepMs }: AgentOptions): Promise<Standing | null> {
  if (worker !== 'rehearsal') {
    const places = [worker].flat().map((url) => readAddress(url))
    return places.length === 0 ? null : { kind: 'given', places, ready: readiness(places), stop: async () => {} }
  }
  const servers = await Promise.all(
    Array.from({ length: workers ?? 1 }, async () => {
      const dir = await mkdtemp(path.join(tmpdir(), 'nightshift-rehearsal-'))
      const server = new RehearsalServer({ dir, stepMs, sketchUnknown: true, assumeModels: true, keepFiles: 500 })
      await server.start()
      return { dir, server }
    }),
  )
  const places = servers.map(({ server }) => readAddress(server.url))
  return {
    kind: 'rehearsal',
    places,
    ready: readiness(places),
    async stop() {
      for (const { server, dir } of servers) {
        await server.stop()
        await rm(dir, { recursive: true, force: true, maxRetries: 5 })
      }
    },
  }
}

/** Asks each ComfyUI, once for all who ask within a second; one that answers is enough. */
function readiness(places: readonly ComfyAddress[]) {
  let asked: { at: number; answer: Promise<{ phase: string } | null> } | undefined
  const ask = async (place: ComfyAddress) => {
    const client = new ComfyClient(place, { clientId: 'readiness', timeoutMs: 5_000 })
    try {
      await client.probe()
      return null
    } catch (cause) {
      return { phase: toFailure(cause).code === 'worker.not-comfyui' ? 'not-comfyui' : 'starting' }
    } finally {
      await client.close()
    }
  }
  return () => {
    if (asked && performance.now() - asked.at < PROBED_FOR_MS) return asked.answer
    const answer = Promise.all(places.map(ask)).then((all) => (all.includes(null) ? null : all[0]!))
    asked = { at: performance.now(), answer }
    return answer
  }
}
