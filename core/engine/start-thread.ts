import { Worker } from 'node:worker_threads'

/**
 * A thread that runs `name`, a module beside the caller's (`here`: its import.meta.url): from source the source, bundled its
 * own bundle. `onLost` hears once that it failed or ended.
 */
export function startThread<Message>(
  name: string,
  here: string,
  onMessage: (message: Message) => void,
  onLost: (reason: string) => void,
  workerData?: unknown,
): Worker {
  const entry = `./${name}.${here.endsWith('.ts') ? 'ts' : 'js'}`
  const thread = new Worker(new URL(entry, here), { execArgv: [], workerData }) // no arguments of ours, such as --inspect
  let reason: string | null = null
  thread.on('message', onMessage)
  thread.on('error', (cause) => {
    reason = cause instanceof Error ? cause.message : String(cause) // its exit follows
  })
  thread.on('exit', (code) => onLost(reason ?? `a thread ended (${code})`))
  return thread
}
