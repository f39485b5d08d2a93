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
  },
})
const parent = parentOf(process as { parentPort?: ParentPort })
let host: Host | undefined
let leaving: Promise<void> | undefined

function leave(code: number) {
  leaving ??= (host?.stop() ?? Promise.resolve()).then(
    () => process.exit(code),
    () => process.exit(1),
  )
  return leaving
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => void leave(0))
parent.onMessage((message) => {
  if (typeof message === 'object' && message !== null && 'stop' in message) void leave(0)
})
try {
  host = await openHost({
    dataDir: dataDirOf(values.data, process.env),
    door: values.door === 'headless' ? 'headless' : 'desktop',
    locale: values.locale || Intl.DateTimeFormat().resolvedOptions().locale,
    point: killPoint(process.env.NIGHTSHIFT_KILL_AT),
  })
  parent.post({ ready: true, socket: host.socket, since: host.served.events.oldest })
} catch (cause) {
  const failed = toFailure(cause)
  console.error(failed.message)
  parent.post({ failed })
  process.exitCode = 1
  setTimeout(() => process.exit(1), 500).unref() // once the message is out
}
