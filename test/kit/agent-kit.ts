import { once } from 'node:events'
import { connect } from 'node:net'
import path from 'node:path'
import { onTestFinished } from 'vitest'
import { type AgentOptions, type RunningAgent, startAgent } from '../../agent/agent.ts'
import { type Json, writeJson } from '../../core/contract/json.ts'
import { type Fault, RehearsalServer } from '../../core/engine/rehearsal/server.ts'
import { tempDir } from './temp-dir.ts'

export { aWorkflow } from './a-workflow.ts'

export const KEY = 'sk_test'
/** An agent before a rehearsal that does as it is told. */
export async function anAgent(options: Partial<AgentOptions> = {}, faults: Fault[] = []) {
  const comfyui = new RehearsalServer({ dir: tempDir(), stepMs: 0, assumeModels: true, sketchUnknown: true })
  await comfyui.start()
  comfyui.onNext(...faults)
  const logged: { event: string; [fact: string]: unknown }[] = []
  const start = (more: Partial<AgentOptions> = {}) =>
    startAgent({
      host: '127.0.0.1',
      port: 0,
      names: [],
      origins: [],
      keys: [KEY],
      store: path.join(tempDir(), 'tasks'),
      worker: comfyui.url,
      log: (event, facts) => logged.push({ event, ...facts }),
      ...options,
      ...more,
    })
  const agent = await start()
  onTestFinished(async () => {
    comfyui.release()
    await agent.stop(0)
    await comfyui.stop()
  })
  return { agent, comfyui, logged, start, ask: asking(agent) }
}

export const asking =
  ({ url }: Pick<RunningAgent, 'url'>) =>
  async (way: string, { body, headers = {}, method, signal, key = KEY }: Asked = {}) => {
    const reply = await fetch(url + way, {
      method: method ?? (body === undefined ? 'GET' : 'POST'),
      headers: { ...(key && { 'x-api-key': key }), ...headers },
      body:
        typeof body === 'string' || body instanceof Uint8Array
          ? new Uint8Array(Buffer.from(body))
          : writeJson(body as Json),
      signal,
    })
    const text = await reply.text()
    return { status: reply.status, headers: reply.headers, text, json: () => JSON.parse(text) }
  }
interface Asked {
  body?: unknown
  headers?: Record<string, string>
  method?: string
  signal?: AbortSignal
  key?: string
}

/** What comes back for these bytes. */
export async function raw(url: string, text: string | Uint8Array) {
  const { hostname, port } = new URL(url)
  const socket = connect(Number(port), hostname)
  socket.on('error', () => {})
  socket.write(text)
  let said = ''
  socket.on('data', (chunk) => {
    said += chunk
    if (said.startsWith('HTTP/1.1 ') && said.includes('\r\n\r\n')) socket.destroy()
  })
  await once(socket, 'close')
  return said
}
