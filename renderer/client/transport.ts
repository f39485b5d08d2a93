import type { App } from '../../core/contract/app.ts'
import type { Bridge } from '../../core/contract/desktop.ts'
import type { Envelope, Failure } from '../../core/contract/errors.ts'
import { isJsonObject, type Json, parseJson, writeJson } from '../../core/contract/json.ts'
import type { Told } from '../../core/contract/procedure.ts'

/** `locked`: the address was opened without its key, so nothing may be asked. */
export type Connection = 'connecting' | 'connected' | 'disconnected' | 'locked'

export interface Listener {
  told(event: Told<App>): void
  /** What was missed can no longer be told: whatever is on screen must be asked again. */
  reset(): void
  connection(state: Connection): void
}

export interface Transport {
  call(name: string, input: unknown): Promise<Envelope>
  subscribe(listener: Listener): () => void
}

/** What the desktop's preload puts on the window. */
declare global {
  interface Window {
    readonly bridge?: Bridge
  }
}

const disconnected: Failure = {
  code: 'app.disconnected',
  message: 'The connection to Nightshift was lost.',
  remedy: 'Start Nightshift again; nothing that was queued is lost.',
  facts: {},
}
const FIRST_PAUSE_MS = 500
const LONGEST_PAUSE_MS = 8_000

/** Passes a frame on and gives its number; see BridgeFrame for the two names that are no event. */
function pass(frame: unknown, listener: Listener): number | null {
  if (!isJsonObject(frame as Json)) return null
  const { seq, name, payload } = frame as { seq?: number; name?: string; payload?: unknown }
  if (name === 'reset') listener.reset()
  else if (name === 'connection')
    listener.connection(JSON.stringify(payload).includes('"connected"') ? 'connected' : 'disconnected')
  else listener.told(frame as unknown as Told<App>)
  return typeof seq === 'number' ? seq : null
}

export function bridgeTransport(bridge: Bridge): Transport {
  return {
    call: (name, input) => bridge.call(name, input),
    subscribe(listener) {
      listener.connection('connected')
      return bridge.subscribe(null, (frame) => pass(frame, listener))
    },
  }
}

export function httpTransport(origin: string): Transport {
  const entered = enter()
  return {
    async call(name, input) {
      await entered
      try {
        const response = await fetch(`${origin}/rpc/${name}`, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: writeJson(input),
        })
        return parseJson(await response.text()) as unknown as Envelope
      } catch (cause) {
        return { ok: false, failure: { ...disconnected, facts: { reason: String(cause) } } }
      }
    },
    subscribe(listener) {
      let ended = false
      let since: number | null = null
      let pauseMs = FIRST_PAUSE_MS
      let socket: WebSocket | null = null
      let timer = 0
      const open = async () => {
        await entered
        if (ended) return
        const query = since === null ? '' : `?since=${since}`
        socket = new WebSocket(`${origin.replace(/^http/, 'ws')}/events${query}`)
        socket.onopen = () => {
          pauseMs = FIRST_PAUSE_MS
          listener.connection('connected')
        }
        socket.onmessage = ({ data }) => {
          since = pass(parseJson(String(data)), listener) ?? since
        }
        socket.onclose = async () => {
          if (ended) return
          const locked = await isLocked()
          if (ended) return
          listener.connection(locked ? 'locked' : 'disconnected')
          timer = window.setTimeout(open, pauseMs)
          pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS)
        }
      }
      const soon = () => {
        if (socket?.readyState === WebSocket.OPEN || socket?.readyState === WebSocket.CONNECTING) return
        clearTimeout(timer)
        pauseMs = FIRST_PAUSE_MS
        void open()
      }
      window.addEventListener('online', soon)
      void open()
      return () => {
        ended = true
        clearTimeout(timer)
        window.removeEventListener('online', soon)
        socket?.close()
      }
    },
  }

  /** Exchanges the key of the address (`#t=…`) for a session, and takes it out of the address bar. */
  async function enter() {
    const token = /[#&]t=([^&]+)/.exec(location.hash)?.[1]
    if (!token) return
    history.replaceState(null, '', `${location.pathname}${location.search}#/`)
    await fetch(`${origin}/session`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: writeJson({ token: decodeURIComponent(token) }),
    }).catch(() => null)
  }

  async function isLocked() {
    try {
      const response = await fetch(`${origin}/rpc/app.info`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: '{}',
      })
      return response.status === 401 || response.status === 403
    } catch {
      return false
    }
  }
}
