import { setTimeout as pause } from 'node:timers/promises'
import type { App } from '../../core/contract/app.ts'
import { AppError } from '../../core/contract/errors.ts'
import type { OutputOf } from '../../core/contract/procedure.ts'
import { type Client, connect, connectInProcess } from '../api/client.ts'
import { killPoint } from '../kill-point.ts'
import { openHost } from '../open-host.ts'
import { ownerOf } from '../services/data-folder.ts'
import { type Context, localeOf } from './context.ts'

/** The app as a command reaches it: the running owner's, or one of its own, which ends with the command. */
export interface Reached {
  readonly client: Client
  /** True: another process does the work. */
  readonly elsewhere: boolean
  close(): Promise<void>
}

const OWNER_STARTS_WITHIN_MS = 20_000
const LOOK_AGAIN_MS = 50

/** `work`: jobs may run here; else only what is kept is looked at and changed. */
export async function reachApp({ dataDir, env }: Context, { work }: { work: boolean }): Promise<Reached> {
  const until = performance.now() + OWNER_STARTS_WITHIN_MS
  for (;;) {
    const owner = await ownerOf(dataDir)
    try {
      if (owner) return await speakTo(owner.socket)
      const host = await openHost({
        dataDir,
        door: 'cli',
        locale: localeOf(env),
        idle: !work,
        point: killPoint(env.NIGHTSHIFT_KILL_AT, env.NIGHTSHIFT_KILL_PID),
      })
      const client = connectInProcess(host.served)
      return {
        client,
        elsewhere: false,
        async close() {
          client.close()
          await host.stop()
        },
      }
    } catch (cause) {
      // an owner that starts does not listen yet; one that ends no longer does; or another was quicker than us
      const passing = cause instanceof AppError && ['app.disconnected', 'app.data-in-use'].includes(cause.code)
      if (!passing || performance.now() > until) throw cause
      await pause(LOOK_AGAIN_MS)
    }
  }
}

async function speakTo(socket: string): Promise<Reached> {
  const client = connect(socket)
  await client.call('app.info', {})
  return { client, elsewhere: true, close: async () => client.close() }
}

/** The workers, once each has said how it is, or `withinMs` have passed. */
export async function settledWorkers(client: Client, withinMs: number) {
  const { promise, resolve, reject } = Promise.withResolvers<OutputOf<App, 'worker.list'>>()
  const look = async (enough = false) => {
    const workers = await client.call('worker.list', {})
    if (enough || workers.rows.every(({ enabled, health }) => !enabled || health.is !== 'connecting')) resolve(workers)
  }
  const leave = client.subscribe(null, ({ name }) => {
    if (name === 'worker.changed') look().catch(reject)
  })
  const timer = setTimeout(() => look(true).catch(reject), withinMs)
  look().catch(reject)
  return promise.finally(() => {
    clearTimeout(timer)
    leave()
  })
}
