import type { Dispatcher } from 'undici'
import { AppError } from '../../core/contract/errors.ts'
import { isLoopback } from '../../core/gateway/guard.ts'
import type { Clock } from './clock.ts'
import type { Endpoints } from './endpoints.ts'
import type { LocalEngine } from './local-engine.ts'
import type { Target } from './publish.ts'
import type { Snapshots } from './snapshots.ts'
import { EndpointWorker } from './workers/endpoint.ts'
import type { Fleet } from './workers/fleet.ts'
import type { Worker } from './workers/worker.ts'

interface Deps {
  readonly endpoints: Pick<Endpoints, 'client'>
  readonly snapshots: Pick<Snapshots, 'engineFor' | 'planPush' | 'push'>
  readonly localEngine: Pick<LocalEngine, 'run' | 'view'>
  readonly fleet: Pick<Fleet, 'get'>
  readonly newId: () => string
  readonly dispatcher: Dispatcher
  readonly clock: Pick<Clock, 'now'>
}

/** An agent that is started anew is silent for a while. */
const PATIENCE_MS = 60_000

/** From where to where it is published: the ComfyUI here, and the agents of endpoints. */
export function publishPlaces({ endpoints, snapshots, localEngine, fleet, newId, dispatcher, clock }: Deps) {
  return {
    target(name: string): Target {
      const client = endpoints.client(name)
      const { address } = client
      const place = { to: address.url, key: address.key }
      return {
        client,
        isHere: isLoopback(new URL(address.url).hostname.replace(/^\[|\]$/g, '')),
        worker: (release) =>
          new EndpointWorker({
            id: name,
            address,
            settings: { enabled: true, capacity: 1, checkpoints: [] },
            pace: { coldSeconds: null, coldRuns: 0, warmSeconds: null, warmRuns: 0 },
            ...(release !== null && { release }),
            newId,
            dispatcher,
            patienceMs: PATIENCE_MS,
            now: clock.now,
          }),
        planPush: (id, models, signal) => snapshots.planPush(id, place, { models, signal }),
        push: (id, models, options) => snapshots.push(id, place, { models, ...options }),
      }
    },

    /** A ComfyUI of this machine that answers; started where none of its processes does. */
    async desk(given: string | undefined, signal: AbortSignal): Promise<Worker> {
      const { name } = snapshots.engineFor(given)
      const readyOne = () => localEngine.view(name).processes.find(({ state }) => state.is === 'ready')
      if (!readyOne()) await localEngine.run(name, undefined, signal)
      const worker = fleet.get(readyOne()?.id ?? '')
      if (!worker) throw new AppError('engine.not-running', { name })
      await untilReady(worker, signal)
      return worker
    },
  }
}

/** @throws AppError what keeps it from answering */
async function untilReady(worker: Worker, signal: AbortSignal): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const look = ({ health } = worker) => {
    if (health.is === 'ready') resolve()
    else if (health.is === 'disabled') reject(new AppError('engine.not-running', { name: worker.id }))
  }
  const leave = worker.onHealth(() => look())
  const stop = () => reject(signal.reason)
  signal.addEventListener('abort', stop)
  look()
  await promise.finally(() => {
    leave()
    signal.removeEventListener('abort', stop)
  })
}
