import { EventEmitter } from 'node:events'
import type { App } from '../../core/contract/app.ts'
import type { BridgeFrame } from '../../core/contract/desktop.ts'
import { AppError, type Envelope, type Failure, toFailure } from '../../core/contract/errors.ts'
import type { InputOf, OutputOf, ProcedureName } from '../../core/contract/procedure.ts'
import { connect, type SocketClient } from '../api/client.ts'

/** A utilityProcess, or what stands in for it. */
export interface HostProcess {
  on(event: 'message', listener: (message: unknown) => void): unknown
  on(event: 'exit', listener: (code: number) => void): unknown
  postMessage(message: unknown): void
  kill(): boolean
  readonly stderr: NodeJS.ReadableStream | null
}
export interface HostLinkDeps {
  readonly fork: () => HostProcess
  readonly connectTo?: (socket: string) => SocketClient
  readonly firstPauseMs?: number
}

const FIRST_PAUSE_MS = 300
const LONGEST_PAUSE_MS = 30_000
/** Alive this long, it is no longer counted as failing again and again. */
const WELL_AFTER_MS = 60_000
const GIVE_UP_AFTER = 6
const STOP_WITHIN_MS = 15_000
const LAST_LINES = 20

/** `birth`: all that a host tells, from its first word on, and again from the next host's; null: from the asking on. */
type Since = number | 'birth' | null
interface Subscription {
  last: Since
  readonly listener: (frame: BridgeFrame) => void
  leave: (() => void) | undefined
}

/**
 * Keeps a host running and speaks to it. A host that dies is started again after a growing pause; calls fail with
 * 'app.disconnected' meanwhile, subscriptions hear of it and go on where they were.
 */
export class HostLink {
  /** `failed`: it could not start, or died again and again; nothing more is tried until `start`. */
  readonly events = new EventEmitter<{ up: []; down: []; failed: [Failure] }>()
  #deps: HostLinkDeps
  #process: HostProcess | undefined
  #client: SocketClient | undefined
  /** The number before the first event of the host that is up. */
  #born = 0
  /** The newest event anybody here has heard of. */
  #newest = 0
  #subscriptions = new Set<Subscription>()
  #deaths = 0
  #wellTimer: NodeJS.Timeout | undefined
  #restartTimer: NodeJS.Timeout | undefined
  #stopping = false
  #exited: Promise<void> = Promise.resolve()
  /** Resolves when the first host answers, or cannot be had. */
  #first = Promise.withResolvers<void>()
  #lastLines: string[] = []

  constructor(deps: HostLinkDeps) {
    this.#deps = deps
  }

  start() {
    this.#stopping = false
    this.#deaths = 0
    this.#fork()
  }

  /** Asks the host to park its work and end; ends it when it does not. */
  async stop() {
    this.#stopping = true
    clearTimeout(this.#restartTimer)
    clearTimeout(this.#wellTimer)
    this.#first.resolve()
    const host = this.#process
    if (!host) return
    host.postMessage({ stop: true })
    const killer = setTimeout(() => host.kill(), STOP_WITHIN_MS)
    await this.#exited
    clearTimeout(killer)
  }

  /** As the control socket's, but never throws. While the first host starts, calls wait for it. */
  async send(name: string, input: unknown): Promise<Envelope> {
    await this.#first.promise
    try {
      if (!this.#client) throw new AppError('app.disconnected')
      return await this.#client.send(name, input)
    } catch (cause) {
      return { ok: false, failure: toFailure(cause) }
    }
  }

  /** @throws FailureError, AppError */
  async call<N extends ProcedureName<App>>(name: N, input: InputOf<App, N>): Promise<OutputOf<App, N>> {
    await this.#first.promise
    if (!this.#client) throw new AppError('app.disconnected')
    return this.#client.call(name, input)
  }

  /** One plain request, for `/files/…`. @throws AppError 'app.disconnected' */
  async request(...args: Parameters<SocketClient['request']>): ReturnType<SocketClient['request']> {
    await this.#first.promise
    if (!this.#client) throw new AppError('app.disconnected')
    return this.#client.request(...args)
  }

  subscribe(since: Since, listener: (frame: BridgeFrame) => void): () => void {
    const subscription: Subscription = { last: since, listener, leave: undefined }
    this.#subscriptions.add(subscription)
    if (this.#client) this.#attach(subscription, this.#client)
    return () => {
      this.#subscriptions.delete(subscription)
      subscription.leave?.()
    }
  }

  #fork() {
    const host = this.#deps.fork()
    this.#process = host
    const exited = Promise.withResolvers<void>()
    this.#exited = exited.promise
    let failure: Failure | undefined
    this.#lastLines = []
    host.stderr?.on('data', (chunk: Buffer) => {
      this.#lastLines = [...this.#lastLines, ...String(chunk).split('\n').filter(Boolean)].slice(-LAST_LINES)
    })
    host.on('message', (message) => {
      const said = message as { ready?: boolean; socket: string; since: number; failed?: Failure }
      failure = said.failed ?? failure
      if (said.ready) this.#up(said.socket, said.since)
    })
    host.on('exit', (code) => {
      this.#process = undefined
      this.#down()
      exited.resolve()
      if (!this.#stopping) this.#died(code, failure)
    })
  }

  #up(socket: string, since: number) {
    if (this.#stopping) return
    this.#born = since
    this.#newest = since
    const client = (this.#deps.connectTo ?? connect)(socket)
    this.#client = client
    this.#wellTimer = setTimeout(() => {
      this.#deaths = 0
    }, WELL_AFTER_MS)
    for (const subscription of this.#subscriptions) this.#attach(subscription, client)
    this.#first.resolve()
    this.events.emit('up')
  }

  #down() {
    clearTimeout(this.#wellTimer)
    const client = this.#client
    if (!client) return
    this.#client = undefined
    client.close()
    for (const subscription of this.#subscriptions) {
      subscription.leave = undefined
      subscription.listener({ seq: seqOf(subscription), name: 'connection', payload: 'disconnected' })
    }
    this.events.emit('down')
  }

  #died(code: number, failure: Failure | undefined) {
    this.#deaths += 1
    if (failure || this.#deaths > GIVE_UP_AFTER) {
      this.#first.resolve()
      const reason = `the host ended with ${code}: ${this.#lastLines.slice(-3).join(' ')}`
      this.events.emit('failed', failure ?? toFailure(new AppError('app.internal', { reason })))
      return
    }
    const pauseMs = Math.min((this.#deps.firstPauseMs ?? FIRST_PAUSE_MS) * 3 ** (this.#deaths - 1), LONGEST_PAUSE_MS)
    this.#restartTimer = setTimeout(() => this.#fork(), pauseMs)
  }

  #attach(subscription: Subscription, client: SocketClient) {
    subscription.last ??= this.#newest // what happens while its way to the host opens is not missed
    subscription.listener({ seq: seqOf(subscription), name: 'connection', payload: 'connected' })
    subscription.leave = client.subscribe(subscription.last === 'birth' ? this.#born : subscription.last, (frame) => {
      this.#newest = Math.max(this.#newest, frame.seq)
      if (subscription.last !== 'birth') subscription.last = frame.seq
      subscription.listener(frame)
    })
  }
}

const seqOf = ({ last }: Subscription) => (typeof last === 'number' ? last : 0)
