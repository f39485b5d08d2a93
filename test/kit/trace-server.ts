import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { onTestFinished } from 'vitest'
import { type WebSocket, WebSocketServer } from 'ws'
import type { HistoryEntry, Prompt } from '../../core/contract/comfyui.ts'
import { type JsonObject, parseJson, writeJson } from '../../core/contract/json.ts'

interface Frame {
  t_ms?: number
  second_socket?: true
  text?: { type: string; data: JsonObject }
  /** Of a binary frame only its length and its beginning were kept. */
  binary?: { event_type: number; second_u32?: number; bytes?: number; head_hex?: string }
}
export interface Trace {
  scene: string
  server: string
  http: {
    t_ms: number
    request: { method: string; path: string; body?: JsonObject & { prompt?: Prompt } }
    status: number
    response: JsonObject | string
  }[]
  websocket: Frame[]
}

/** What was recorded from a real ComfyUI 0.3.64. */
export function readTrace(scene: string): Trace {
  const file = new URL(`../fixtures/comfyui-0.3.64/${scene}.json`, import.meta.url)
  return parseJson(readFileSync(file, 'utf8')) as unknown as Trace
}

/** The prompt of the scene's first accepted submission, with the id the server gave it. */
export function submissionOf(trace: Trace): { promptId: string; prompt: Prompt; pngInfo: JsonObject } {
  const accepted = trace.http.find(({ request, status }) => request.path === '/prompt' && status === 200)!
  const { prompt_id } = accepted.response as { prompt_id: string }
  return { promptId: prompt_id, prompt: accepted.request.body!.prompt!, pngInfo: {} }
}

export interface TraceServer {
  readonly url: string
  /** `GET /history/…`, `POST /free` … in the order they came. */
  readonly requests: string[]
}

/**
 * Answers as the recorded server did. The frames that followed a submission are sent at once, before its reply: the worst
 * order a client can meet. A trace that was cut over to a second socket cuts the first one at that point.
 */
export async function serveTrace(trace: Trace): Promise<TraceServer> {
  const { promptId } = submissionOf(trace)
  const requests: string[] = []
  const sockets: WebSocket[] = []
  let submitted = false
  let ended = false
  const before = trace.websocket.slice(0, 1)
  const first = trace.websocket.slice(1).filter((frame) => !frame.second_socket)
  const second = trace.websocket.filter((frame) => frame.second_socket)
  const send = (socket: WebSocket, frames: readonly Frame[]) => {
    for (const frame of frames) socket.send(frame.text ? writeJson(frame.text) : binaryOf(frame, promptId))
  }

  const server = createServer(async (request, reply) => {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    const [method, path] = [request.method!, request.url!]
    requests.push(`${method} ${path}`)
    const answer = (status: number, body: unknown) => {
      reply
        .writeHead(status, { 'content-type': 'application/json' })
        .end(typeof body === 'string' ? body : writeJson(body))
    }
    const recorded = trace.http.find(
      ({ request: asked, status }) => asked.method === method && asked.path === path && status === 200,
    )
    if (method === 'POST' && path === '/prompt') {
      submitted = true
      send(sockets.at(-1)!, first)
      if (second.length > 0) sockets.at(-1)!.close()
      else ended = true
      return answer(200, recorded!.response)
    }
    if (path === `/history/${promptId}`)
      return answer(200, ended ? (recorded?.response ?? historyOf(trace, promptId)) : {})
    if (path === '/queue' && method === 'GET') {
      answer(200, { queue_running: submitted && !ended ? [[0, promptId, {}, {}, []]] : [], queue_pending: [] })
      ended ||= sockets.length > 1 // who looks right after reconnecting still sees it run
      return
    }
    if (recorded) return answer(recorded.status, recorded.response)
    answer(404, '')
  })
  const accepting = new WebSocketServer({ server, path: '/ws' })
  accepting.on('connection', (socket) => {
    sockets.push(socket)
    if (sockets.length === 1) return send(socket, before)
    send(socket, second)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(async () => {
    for (const socket of accepting.clients) socket.terminate()
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`, requests }
}

/** The history entry that the frames of a scene lead to, where the recording did not ask for it. */
function historyOf(trace: Trace, promptId: string): Record<string, HistoryEntry> {
  const told = trace.websocket.flatMap(({ text }) => (text && text.data.prompt_id === promptId ? [text] : []))
  const outputs = told.filter(({ type }) => type === 'executed').map(({ data }) => [data.node, data.output])
  const messages = told
    .filter(({ type }) => type.startsWith('execution_'))
    .map(({ type, data }) => [type, data] as [string, JsonObject])
  return {
    [promptId]: {
      prompt: [],
      outputs: Object.fromEntries(outputs),
      status: { status_str: 'success', completed: true, messages },
    },
  }
}

function binaryOf({ binary }: Frame, promptId: string): Buffer {
  const { event_type, bytes = 700, head_hex = '0000000100000001' } = binary!
  const head = Buffer.from(head_hex, 'hex')
  if (event_type === 4) {
    const facts = `{"node_id": "1", "prompt_id": "${promptId}", "display_node_id": "1", "parent_node_id": null, "real_node_id": "1", "image_type": "image/jpeg"}`
    head.writeUInt32BE(facts.length, 4)
    return Buffer.concat([head.subarray(0, 8), Buffer.from(facts), Buffer.from([0xff, 0xd8, 0xff])])
  }
  return Buffer.concat([head, Buffer.alloc(Math.max(0, bytes - head.length))])
}
