import { type ChildProcess, spawn } from 'node:child_process'
import { EventEmitter, once } from 'node:events'
import { createInterface } from 'node:readline'
import { setTimeout as pause } from 'node:timers/promises'
import { request } from 'undici'
import { AppError, type Failure, FailureError, toFailure } from '../../contract/errors.ts'
import { freePort, isFree } from '../process/ports.ts'
import { forgetStarted, writeStarted } from '../process/supervisor.ts'
import { endTree, identify, MARK, type ProcessId, type ProcessSystem, systemOf } from '../process/tree.ts'
import { forwardFailure, type SshTarget, sshArguments, sshFailure } from './ssh.ts'

export type TunnelState =
  | { readonly is: 'stopped' }
  | { readonly is: 'starting' }
  /** Something answers through it, at an address of this machine. */
  | { readonly is: 'ready'; readonly url: string }
  | { readonly is: 'pausing'; readonly because: Failure; readonly retryAt: number }

export interface TunnelPace {
  readyLookMs: number
  watchEveryMs: number
  answerWithinMs: number
  /** Connected, and nothing answers for so long. */
  silentMs: number
  firstPauseMs: number
  longestPauseMs: number
  stopMs: number
}
export interface TunnelOptions {
  readonly id: string
  readonly target: SshTarget
  /** Where it may be, in the order to try, each with what comes before our arguments. */
  readonly programs: readonly (readonly [command: string, ...args: string[]])[]
  readonly env: NodeJS.ProcessEnv
  /** Where it is written down what was started; see sweepOrphans. */
  readonly stateDir: string
  readonly newId: () => string
  /** Epoch ms. */
  readonly now: () => number
  readonly log?: (event: string, facts: object) => void
  readonly pace?: Partial<TunnelPace>
  readonly system?: ProcessSystem
}

const PACE: TunnelPace = {
  readyLookMs: 200,
  watchEveryMs: 5_000,
  answerWithinMs: 10_000,
  silentMs: 45_000,
  firstPauseMs: 1_000,
  longestPauseMs: 60_000,
  stopMs: 2_000,
}
const FIRST_PORT = 28_188
const LAST_LINES = 40

/** A port of this machine that leads to a ComfyUI elsewhere, through the system's ssh; connected again when it breaks. */
export class Tunnel {
  readonly events = new EventEmitter<{ state: [TunnelState] }>()
  readonly #options: TunnelOptions
  readonly #pace: TunnelPace
  readonly #system: ProcessSystem
  #state: TunnelState = { is: 'stopped' }
  #life: { stopping: AbortController; done: Promise<void> } | null = null
  /** Kept from connection to connection, so that the address stays. */
  #port: number | null = null

  constructor(options: TunnelOptions) {
    this.#options = options
    this.#pace = { ...PACE, ...options.pace }
    this.#system = options.system ?? systemOf()
    this.events.setMaxListeners(0)
  }

  get state() {
    return this.#state
  }

  begin() {
    if (this.#life) return
    const stopping = new AbortController()
    this.#setState({ is: 'starting' })
    this.#life = { stopping, done: this.#live(stopping.signal) }
  }

  async stop() {
    const life = this.#life
    this.#life = null
    life?.stopping.abort()
    await life?.done
    this.#setState({ is: 'stopped' })
  }

  /**
   * Its address, once something answers through it.
   * @throws what it failed of at first
   */
  async settled(signal?: AbortSignal): Promise<string> {
    for (;;) {
      const state = this.#state
      if (state.is === 'ready') return state.url
      if (state.is === 'pausing') throw new FailureError(state.because)
      await once(this.events, 'state', { signal })
    }
  }

  // ---- inside ----

  async #live(stopping: AbortSignal) {
    let failures = 0
    while (!stopping.aborted) {
      const { because, wasReady } = await this.#connect(stopping).catch((cause: unknown) => ({
        because: cause,
        wasReady: false,
      }))
      if (stopping.aborted) return
      const failure = toFailure(because)
      if (failure.code === 'tunnel.port-taken') this.#port = null
      failures = wasReady ? 1 : failures + 1
      const pauseMs = Math.min(this.#pace.longestPauseMs, this.#pace.firstPauseMs * 2 ** (failures - 1))
      this.#options.log?.('tunnel.lost', { id: this.#options.id, code: failure.code })
      this.#pausing(failure, pauseMs)
      await pause(pauseMs, undefined, { signal: stopping }).catch(() => {})
    }
  }

  /** One connection, until nothing of it is left; gives why it ended. */
  async #connect(stopping: AbortSignal): Promise<{ because: AppError; wasReady: boolean }> {
    const { id, target, stateDir, newId } = this.#options
    const port = await this.#choosePort()
    const mark = newId()
    const boot = await this.#system.boot().catch(() => '')
    await writeStarted(stateDir, id, { boot, mark, root: null })
    const child = await this.#spawn(sshArguments(target, port), mark)
    const lines: string[] = []
    let heard = 0
    createInterface({ input: child.stderr! }).on('line', (line) => {
      heard++
      lines.push(line)
      if (lines.length > LAST_LINES) lines.shift()
    })
    const over = new AbortController()
    let exitCode: number | null = null
    child.once('exit', (code) => {
      exitCode = code
    })
    const closed = once(child, 'close').finally(() => over.abort()) // its last words are in then
    const going = AbortSignal.any([stopping, over.signal])
    let root: ProcessId | null = null
    let wasReady = false
    let silent: AppError | null = null
    try {
      root = child.pid === undefined ? null : await identify(child.pid, this.#system)
      await writeStarted(stateDir, id, { boot, mark, root })
      const begunAt = performance.now()
      let named = false
      while (!going.aborted) {
        const heardBefore = heard
        const url = `http://127.0.0.1:${port}`
        if (await this.#answers(url, going)) {
          wasReady = true
          if (this.#state.is !== 'ready') this.#setState({ is: 'ready', url })
        } else if (!going.aborted) {
          // the connection stands, only what it leads to does not answer
          const said = lines.slice(Math.max(0, lines.length - (heard - heardBefore))).join('\n')
          const forward = heard > heardBefore ? forwardFailure(target, said) : null
          if (forward) this.#pausing(toFailure(forward), this.#pace.watchEveryMs)
          named ||= forward !== null
          // one that answered once may be busy; whether the connection stands is ssh's to find out
          if (!named && !wasReady && performance.now() - begunAt > this.#pace.silentMs) {
            silent = new AppError('tunnel.silent', {
              host: target.host,
              seconds: Math.round(this.#pace.silentMs / 1000),
            })
            break
          }
        }
        const waitMs = wasReady || named ? this.#pace.watchEveryMs : this.#pace.readyLookMs
        await pause(waitMs, undefined, { signal: going }).catch(() => {})
      }
    } finally {
      const left = await endTree({ root, mark }, { askMs: this.#pace.stopMs, system: this.#system })
      if (left.length === 0) await forgetStarted(stateDir, id)
    }
    await closed
    return { because: silent ?? sshFailure(target, lines, exitCode), wasReady }
  }

  /** @throws AppError 'tunnel.no-ssh' */
  async #spawn(args: string[], mark: string): Promise<ChildProcess> {
    const { programs, env } = this.#options
    for (const [command, ...before] of programs) {
      const child = spawn(command, [...before, ...args], {
        env: { ...env, [MARK]: mark, LC_ALL: 'C' }, // what it says of errors is read
        stdio: ['ignore', 'ignore', 'pipe'],
        detached: process.platform !== 'win32', // a terminal's Ctrl-C is for us; and without one it can ask nobody
        windowsHide: true,
      })
      const began = await Promise.race([
        once(child, 'spawn').then(() => true),
        once(child, 'error').then(() => false),
      ]).catch(() => false)
      if (began) return child
    }
    throw new AppError('tunnel.no-ssh')
  }

  async #choosePort(): Promise<number> {
    if (this.#port !== null && (await isFree(this.#port))) return this.#port
    // beginning anywhere, since others of ours choose at the same time
    const from = FIRST_PORT + Math.floor(Number.parseInt(this.#options.newId().slice(0, 4), 16) / 16)
    const port = await freePort(from)
    if (port === null) throw new AppError('tunnel.port-taken', { reason: String(from) })
    this.#port = port
    return port
  }

  /** Whatever it is: who is there is for others to find out. */
  async #answers(url: string, signal: AbortSignal): Promise<boolean> {
    const within = AbortSignal.any([signal, AbortSignal.timeout(this.#pace.answerWithinMs)])
    try {
      const reply = await request(`${url}/system_stats`, { signal: within, reset: true })
      await reply.body.dump()
      return true
    } catch {
      return false
    }
  }

  #pausing(because: Failure, pauseMs: number) {
    this.#setState({ is: 'pausing', because, retryAt: Math.round(this.#options.now() + pauseMs) })
  }

  #setState(state: TunnelState) {
    if (state.is === 'stopped' && this.#state.is === 'stopped') return
    this.#state = state
    this.events.emit('state', state)
  }
}
