// The process that holds the services: a utilityProcess under Electron, a plain child otherwise.
import { parseArgs } from 'node:util'
import { toFailure } from '../core/contract/errors.ts'
import { killPoint } from './kill-point.ts'
import { type Host, openHost } from './open-host.ts'
import { dataDirOf } from './services/data-folder.ts'

interface Parent {
  post(message: unknown): void
  onMessage(listener: (message: unknown) => void): void
}
type ParentPort = {
  postMessage(message: unknown): void
  on(name: 'message', listener: (event: { data: unknown }) => void): void
}

function parentOf({ parentPort }: { parentPort?: ParentPort }): Parent {
  if (parentPort)
    return {
      post: (message) => parentPort.postMessage(message),
      onMessage: (listener) => parentPort.on('message', ({ data }) => listener(data)),
    }
  process.on('disconnect', () => void leave(0)) // the parent died
  return {
    post: (message) => process.send?.(message),
    onMessage: (listener) => process.on('message', listener),
  }
}

const { values } = parseArgs({
  options: {
    data: { type: 'string' },
    door: { type: 'string', default: 'desktop' },
    locale: { type: 'string', default: '' },
    /** The parent's first word is the key that seals the secrets; on the command line all could read it. */
    key: { type: 'boolean', default: false },
  },
})
const parent = parentOf(process as { parentPort?: ParentPort })
let host: Host | undefined
let leaving: Promise<void> | undefined
const keyed = Promise.withResolvers<Uint8Array | undefined>()

function leave(code: number) {
  leaving ??= (host?.stop() ?? Promise.resolve()).then(
    () => process.exit(code),
    () => process.exit(1),
  )
  return leaving
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => void leave(0))
parent.onMessage((message) => {
  if (typeof message !== 'object' || message === null) return
  if ('stop' in message) void leave(0)
  if ('key' in message) keyed.resolve(message.key === null ? undefined : Buffer.from(String(message.key), 'base64'))
})
try {
  host = await openHost({
    dataDir: dataDirOf(values.data, process.env),
    door: values.door === 'headless' ? 'headless' : 'desktop',
    locale: values.locale || Intl.DateTimeFormat().resolvedOptions().locale,
    secretKey: values.key ? await keyed.promise : undefined,
    point: killPoint(process.env.NIGHTSHIFT_KILL_AT, process.env.NIGHTSHIFT_KILL_PID),
  })
  parent.post({ ready: true, socket: host.socket, since: host.served.events.oldest })
} catch (cause) {
  const failed = toFailure(cause)
  console.error(failed.message)
  parent.post({ failed })
  process.exitCode = 1
  setTimeout(() => process.exit(1), 500).unref() // once the message is out
}
