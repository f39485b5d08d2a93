import { type ClientRequest, request as httpRequest, type IncomingMessage } from 'node:http'
import { connect as connectSocket } from 'node:net'
import { text } from 'node:stream/consumers'
import { WebSocket } from 'ws'
import { type App, app } from '../../core/contract/app.ts'
import { AppError, type Envelope, FailureError } from '../../core/contract/errors.ts'
import { parseJson, writeJson } from '../../core/contract/json.ts'
import type { InputOf, OutputOf, ProcedureName } from '../../core/contract/procedure.ts'
import { call } from './call.ts'
import type { Frame } from './events.ts'
import type { Served } from './served.ts'

/** The app from outside, whichever way leads to it. */
export interface Client {
  /** @throws FailureError what the app said; AppError 'app.disconnected' */
  call<N extends ProcedureName<App>>(name: N, input: InputOf<App, N>): Promise<OutputOf<App, N>>
  /** As `call`, with the failure as data; for passing on. */
  send(name: string, input: unknown): Promise<Envelope>
  /** Frames after `since` (null: from now on) until unsubscribed; connects again by itself and misses nothing. */
  subscribe(since: number | null, listener: (frame: Frame<App>) => void): () => void
  close(): void
}
/** A client over the control socket, which also fetches files. */
export interface SocketClient extends Client {
  /** One plain request, for passing `/files/…` on. The body of the reply is a stream. */
  request(
    path: string,
    options?: { method?: string; headers?: Record<string, string>; body?: Uint8Array | NodeJS.ReadableStream },
  ): Promise<IncomingMessage>
}

const RECONNECT_FIRST_MS = 100
const RECONNECT_LAST_MS = 2000

/** Speaks to the process that owns a data folder. */
export function connect(socketPath: string): SocketClient {
  const open = new Set<() => void>()

  const request: SocketClient['request'] = (path, { method = 'GET', headers = {}, body } = {}) => {
    const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>()
    const sending: ClientRequest = httpRequest({ socketPath, path, method, headers: { host: 'localhost', ...headers } })
    sending.on('response', resolve)
    sending.on('error', (cause) => reject(new AppError('app.disconnected', {}, { cause })))
    if (body === undefined || body instanceof Uint8Array) sending.end(body)
    else body.pipe(sending)
    return promise
  }

  const send: Client['send'] = async (name, input) => {
    const body = Buffer.from(writeJson(input))
    const headers = { 'content-type': 'application/json', 'content-length': String(body.length) }
    const response = await request(`/rpc/${encodeURIComponent(name)}`, { method: 'POST', headers, body })
    try {
      return parseJson(await text(response)) as unknown as Envelope
    } catch (cause) {
      throw new AppError('app.disconnected', {}, { cause })
    }
  }

  return {
    request,
    send,
    call: callBy(send),
    subscribe(since, listener) {
      let last = since
      let stopped = false
      let pause = RECONNECT_FIRST_MS
      let timer: NodeJS.Timeout | undefined
      let socket: WebSocket | undefined
      const enter = () => {
        const query = last === null ? '' : `?since=${last}`
        socket = new WebSocket(`ws://localhost/events${query}`, { createConnection: () => connectSocket(socketPath) })
        socket.on('open', () => {
          pause = RECONNECT_FIRST_MS
        })
        socket.on('message', (data) => {
          const frame = parseJson(data.toString()) as unknown as Frame<App>
          last = frame.seq
          if (!stopped) listener(frame)
        })
        socket.on('error', () => {}) // a close follows
        socket.on('close', () => {
          if (stopped) return
          last ??= 0 // something may have been missed while away: ask for a reset
          timer = setTimeout(enter, pause)
          pause = Math.min(pause * 2, RECONNECT_LAST_MS)
        })
      }
      const leave = () => {
        stopped = true
        clearTimeout(timer)
        socket?.close()
        open.delete(leave)
      }
      open.add(leave)
      enter()
      return leave
    },
    close() {
      for (const leave of open) leave()
    },
  }
}

/** The same from within the process that holds the services. */
export function connectInProcess({ routers, events, onFault }: Served): Client {
  const open = new Set<() => void>()
  const send: Client['send'] = (name, input) => call(app, routers.local, name, input, 'local', onFault)
  return {
    send,
    call: callBy(send),
    subscribe(since, listener) {
      const leave = events.subscribe(since, listener)
      open.add(leave)
      return leave
    },
    close() {
      for (const leave of open) leave()
    },
  }
}

function callBy(send: Client['send']): Client['call'] {
  return async (name, input) => {
    const envelope = await send(name, input)
    if (!envelope.ok) throw new FailureError(envelope.failure)
    return envelope.value as never
  }
}
