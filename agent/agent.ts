import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { toFailure } from '../core/contract/errors.ts'
import type { JsonObject } from '../core/contract/json.ts'
import { type ComfyAddress, readAddress } from '../core/engine/comfy/address.ts'
import { ComfyClient } from '../core/engine/comfy/client.ts'
import { RehearsalServer } from '../core/engine/rehearsal/server.ts'
import { FolderBucket } from '../core/engine/store/bucket.ts'
import { KeyList } from '../core/gateway/callers.ts'
import { FcDoor } from '../core/gateway/fc/door.ts'
import { ComfyRunner } from '../core/gateway/fc/runner.ts'
import { BucketTasks } from '../core/gateway/fc/tasks.ts'

export interface AgentOptions {
  readonly host: string
  readonly port: number
  readonly names: readonly string[]
  readonly origins: readonly string[]
  /** As `KeyList` reads them. */
  readonly keys: readonly string[]
  readonly store: string
  /** `rehearsal`, or the address of a ComfyUI. */
  readonly worker: string
  readonly inFlight?: number
  readonly limitMs?: number
  /** Of one workflow. */
  readonly limitBytes?: number
  readonly leaseMs?: number
  readonly stepMs?: number
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

/** @throws AppError 'worker.bad-address' | 'app.port-in-use' | 'app.port-refused' */
export async function startAgent(options: AgentOptions): Promise<RunningAgent> {
  const { host, port, names, origins, keys, store, log, inFlight, limitMs, leaseMs, limitBytes, mayReach } = options
  const { now } = Date
  const place = await openWorker(options)
  const address = () => place.address
  const sketchUnreachable = options.worker === 'rehearsal'
  const inputs = { sketchUnreachable, ...(mayReach && { mayReach }) }
  const tasks = new BucketTasks(new FolderBucket(store))
  const runner = new ComfyRunner({
    places: () => [place.address],
    store: tasks,
    now,
    inFlight,
    limitMs,
    leaseMs,
    inputs,
    log,
  })
  const ready = readiness(address)
  const callers = new KeyList(keys, now)
  const once = (mark: string) => tasks.mark(mark, 'once') // no task is called so: marks have a blank
  const door = new FcDoor({
    host,
    port,
    names,
    origins,
    callers,
    once,
    runner,
    store: tasks,
    address,
    ready,
    now,
    log,
    limitBytes,
    managed: options.managed,
  })
  try {
    await door.start()
    await runner.start()
  } catch (cause) {
    await place.close()
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
        await place.close()
      })()
      return stopping
    },
  }
}

async function openWorker({
  worker,
  stepMs,
}: AgentOptions): Promise<{ address: ComfyAddress; close(): Promise<void> }> {
  if (worker !== 'rehearsal') return { address: readAddress(worker), close: async () => {} }
  const dir = await mkdtemp(path.join(tmpdir(), 'nightshift-rehearsal-'))
  const server = new RehearsalServer({ dir, stepMs, sketchUnknown: true, assumeModels: true, keepFiles: 500 })
  await server.start()
  return {
    address: readAddress(server.url),
    async close() {
      await server.stop()
      await rm(dir, { recursive: true, force: true, maxRetries: 5 })
    },
  }
}

/** Asks ComfyUI, once for all who ask within a second. */
function readiness(address: () => ComfyAddress) {
  let asked: { at: number; answer: Promise<{ phase: string } | null> } | undefined
  return () => {
    if (asked && performance.now() - asked.at < PROBED_FOR_MS) return asked.answer
    const client = new ComfyClient(address(), { clientId: 'readiness', timeoutMs: 5_000 })
    const answer = client
      .probe()
      .then(
        () => null,
        (cause) => ({ phase: toFailure(cause).code === 'worker.not-comfyui' ? 'not-comfyui' : 'starting' }),
      )
      .finally(() => client.close())
    asked = { at: performance.now(), answer }
    return answer
  }
}
