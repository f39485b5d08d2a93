import path from 'node:path'
import { AppError } from '../core/contract/errors.ts'
import { openLog } from '../core/engine/log.ts'
import { type HttpDoor, serveHttp } from './api/serve-http.ts'
import type { Served } from './api/served.ts'
import { type AppOptions, createApp } from './app.ts'
import { accessToken, takeDataFolder } from './services/data-folder.ts'

/** `dataDir`: not yet anybody's. */
export type HostOptions = Omit<AppOptions, 'log'>
export interface Serving {
  readonly url: string
  /** The same place, by a key that enters once: for the browser's command line. */
  readonly urlOnce: () => string
}
export interface Host {
  readonly served: Served
  readonly socket: string
  /** Opens a TCP port for browsers. The address holds the key that a browser exchanges for its session. */
  serve(open: { host: string; port: number; rendererDir: string | null }): Promise<Serving>
  /** Parks what runs and lets go of the data folder. */
  stop(): Promise<void>
}

/**
 * Takes a data folder, brings its services to life and listens on its control socket.
 * @throws AppError 'app.data-in-use', 'disk.denied', 'disk.full', 'database.newer-than-app'
 */
export async function openHost({ dataDir, ...options }: HostOptions): Promise<Host> {
  const folder = await takeDataFolder(dataDir)
  const opened: (() => Promise<void> | void)[] = [folder.release]
  const stop = async () => {
    for (const close of opened.splice(0).toReversed()) await close()
  }
  try {
    const { log, close } = openLog({ dir: path.join(folder.dir, 'logs') })
    opened.push(close)
    const running = await createApp({ ...options, dataDir: folder.dir, log })
    opened.push(running.close)
    // listening before the services start, so that who finds the lock finds someone to talk to
    const control = await serveHttp(running.served, { reach: 'local', socket: folder.socket })
    opened.push(control.close)
    await running.start()
    opened.push(running.stop)
    log.info({ door: options.door, dir: folder.dir }, 'host.ready')
    return {
      served: running.served,
      socket: folder.socket,
      stop,
      async serve({ host, port, rendererDir }) {
        const token = await accessToken(folder.dir)
        let door: HttpDoor
        try {
          door = await serveHttp(running.served, { reach: 'any', host, port, token, rendererDir })
        } catch (cause) {
          throw asPortError(cause, host, port)
        }
        opened.push(door.close)
        running.listenOn(host)
        log.info({ url: door.url }, 'host.serving')
        return { url: `${door.url}#t=${token}`, urlOnce: () => `${door.url}#t=${door.ticket()}` }
      },
    }
  } catch (cause) {
    await stop()
    throw cause
  }
}

function asPortError(cause: unknown, host: string, port: number): unknown {
  const { code } = cause as NodeJS.ErrnoException
  if (code === 'EADDRINUSE') return new AppError('app.port-in-use', { port }, { cause })
  if (code === 'EACCES' || code === 'EADDRNOTAVAIL' || code === 'ENOTFOUND')
    return new AppError('app.port-refused', { host, port, reason: code }, { cause })
  return cause
}
