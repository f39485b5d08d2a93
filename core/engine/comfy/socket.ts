import { EventEmitter } from 'node:events'
import { setTimeout as pause } from 'node:timers/promises'
import { WebSocket } from 'ws'
import { AppError } from '../../contract/errors.ts'
import type { ComfyAddress } from './address.ts'
import { type ComfyMessage, readMessage } from './messages.ts'

const PING_EVERY_MS = 10_000
const OPENING_MS = 15_000
const FIRST_PAUSE_MS = 100
const LONGEST_PAUSE_MS = 10_000
const FRAME_LIMIT_BYTES = 64 * 1024 * 1024

/**
 * A socket to a ComfyUI that comes back when it breaks. The old connection is closed and gone before a new one opens:
 * a server that sees the old one end later would forget where the new one is.
 */
export class ComfySocket {
  readonly events = new EventEmitter<{ message: [ComfyMessage]; opened: []; lost: [reason: string] }>()
  readonly #address: ComfyAddress
  readonly #clientId: string
  #stopping: AbortController | undefined
  #running: Promise<void> = Promise.resolve()
  #current: WebSocket | undefined
  #open = false
  #heard = 0
  #lastReason = 'not connected'
  /** Of the last try to connect; none where nothing was answered in time. */
  #refusal: Error | undefined

  constructor(address: ComfyAddress, clientId: string) {
    this.#address = address
    this.#clientId = clientId
    this.events.setMaxListeners(0)
  }

  get isOpen() {
    return this.#open
  }

  /** Messages that came in so far. */
  get heard() {
    return this.#heard
  }

  /** Starts connecting, and keeps connected until `close`. */
  start() {
    if (this.#stopping) return
    this.#stopping = new AbortController()
    this.#running = this.#run(this.#stopping.signal)
  }

  /**
   * Resolves when the server has greeted.
   * @throws AppError 'worker.unreachable' when it does not within `withinMs`
   */
  async opened(signal?: AbortSignal, withinMs = OPENING_MS): Promise<void> {
    this.start()
    if (this.#open) return
    const waiting = AbortSignal.any([AbortSignal.timeout(withinMs), ...(signal ? [signal] : [])])
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const giveUp = () =>
      reject(
        signal?.aborted
          ? signal.reason
          : new AppError(
              'worker.unreachable',
              { url: this.#address.url, reason: `socket: ${this.#lastReason}` },
              { cause: this.#refusal ?? waiting.reason },
            ),
      )
    this.events.once('opened', resolve)
    waiting.addEventListener('abort', giveUp, { once: true })
    try {
      await promise
    } finally {
      this.events.off('opened', resolve)
      waiting.removeEventListener('abort', giveUp)
    }
  }

  /** Drops the connection and makes a new one: when the server seems not to hear or tell us any more. */
  renew() {
    this.#current?.terminate()
  }

  async close() {
    this.#stopping?.abort()
    await this.#running
    this.#stopping = undefined
  }

  async #run(stopping: AbortSignal) {
    let failures = 0
    while (!stopping.aborted) {
      const greeted = await this.#connectOnce(stopping)
      if (stopping.aborted) return
      failures = greeted ? 0 : failures + 1
      const pauseMs = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** failures)
      await pause(pauseMs, undefined, { signal: stopping }).catch(() => {})
    }
  }

  /** Lives as long as one connection; tells whether the server ever greeted on it. */
  async #connectOnce(stopping: AbortSignal): Promise<boolean> {
    const url = new URL(`ws?clientId=${encodeURIComponent(this.#clientId)}`, this.#address.url)
    url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:'
    const { header } = this.#address
    const socket = new WebSocket(url, {
      headers: header ? { [header.name]: header.value } : {},
      handshakeTimeout: OPENING_MS,
      maxPayload: FRAME_LIMIT_BYTES,
      perMessageDeflate: false,
      followRedirects: false,
    })
    socket.binaryType = 'nodebuffer'
    this.#current = socket
    let greeted = false
    let alive = true
    const closed = Promise.withResolvers<void>()
    const beat = setInterval(() => {
      if (!alive) {
        this.#lastReason = 'it stopped answering'
        socket.terminate()
        return
      }
      alive = false
      if (socket.readyState === WebSocket.OPEN) socket.ping()
    }, PING_EVERY_MS)
    const stop = () => socket.terminate()
    stopping.addEventListener('abort', stop, { once: true })

    socket.on('open', () => {
      // the first message, or the server takes us for a client that knows nothing of preview metadata
      socket.send('{"type":"feature_flags","data":{"supports_preview_metadata":true}}')
    })
    socket.on('pong', () => {
      alive = true
    })
    socket.on('message', (data, isBinary) => {
      alive = true
      const message = readMessage(isBinary ? (data as Buffer) : data.toString())
      if (!message) return
      this.#heard++
      if (!greeted) {
        greeted = true
        this.#open = true
        this.events.emit('opened')
      }
      this.events.emit('message', message)
    })
    socket.on('error', (cause) => {
      this.#lastReason = cause.message
      this.#refusal = cause.message === 'Opening handshake has timed out' ? undefined : cause
    })
    socket.on('close', () => closed.resolve())
    await closed.promise
    clearInterval(beat)
    stopping.removeEventListener('abort', stop)
    this.#current = undefined
    if (this.#open) {
      this.#open = false
      this.events.emit('lost', this.#lastReason)
    }
    return greeted
  }
}
