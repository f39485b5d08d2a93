import { type ChildProcess, spawn } from 'node:child_process'
import { EventEmitter, once } from 'node:events'
import { access, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { request } from 'undici'
import { z } from 'zod'
import type { EngineState, StartupFacts } from '../../contract/engine.ts'
import { AppError, type Failure, FailureError, toFailure } from '../../contract/errors.ts'
import { isJsonObject, type Json, parseJson, tryJson } from '../../contract/json.ts'
import { diagnose } from './diagnose.ts'
import type { LineLog } from './line-log.ts'
import { freePort, isFree, listenersOn } from './ports.ts'
import { plain, StartupStory } from './startup.ts'
import { endTree, identify, MARK, type ProcessId, type ProcessSystem, systemOf, type Target, treeOf } from './tree.ts'

/** How a process is started: arguments as they are, no shell. */
export interface Launch {
  readonly command: string
  readonly args: readonly string[]
  readonly cwd: string
  readonly env: NodeJS.ProcessEnv
}
export interface Pace {
  /** Between two looks whether it answers already. */
  readyLookMs: number
  /** While starting: no line and no answer for so long. */
  silentMs: number
  /** Between two looks at one that was ready. */
  watchEveryMs: number
  answerWithinMs: number
  /** No answer for so long while it has nothing to do; and while it works, since loading a model may block it. */
  hungIdleMs: number
  hungBusyMs: number
  /** No answer for so long is told. */
  tellSilentMs: number
  firstPauseMs: number
  longestPauseMs: number
  /** So many crashes in a row, none of them after it had answered for so long, and it is not started again. */
  crashes: number
  stableMs: number
  /** Between asking it to end and ending it. */
  stopMs: number
}
export interface SupervisorOptions {
  readonly id: string
  readonly launch: (port: number) => Launch | Promise<Launch>
  /** null: the first that is free. */
  readonly port: number | null
  /** Ports that others of ours are about to use. */
  readonly taken?: () => ReadonlySet<number>
  /** Where it is written down who was started; see sweepOrphans. */
  readonly stateDir: string
  readonly log: LineLog
  readonly newId: () => string
  /** Epoch ms. */
  readonly now: () => number
  readonly pace?: Partial<Pace>
  /** What the person says instead of `hungIdleMs` and `hungBusyMs`; null: nothing. */
  readonly hungAfterMs?: () => number | null
  readonly system?: ProcessSystem
}

const PACE: Pace = {
  readyLookMs: 200,
  silentMs: 10 * 60_000,
  watchEveryMs: 5_000,
  answerWithinMs: 5_000,
  hungIdleMs: 60_000,
  hungBusyMs: 15 * 60_000,
  tellSilentMs: 30_000,
  firstPauseMs: 1_000,
  longestPauseMs: 60_000,
  crashes: 5,
  stableMs: 10 * 60_000,
  stopMs: 10_000,
}
const FIRST_PORT = 8188
const LAST_LINES = 60
const DRAIN_MS = 500
const REPLY_LIMIT_BYTES = 1024 * 1024
const PID_FILE = '.pid.json'

type Life = { stopping: AbortController; done: Promise<void> }
type Exit = { exitCode: number | null; signal: string | null }
/** Why one run ended. `again`: at once, since it asked for that itself. */
type RunEnd = { because: Failure; mayPass: boolean; readyForMs: number } | 'again' | 'stopped'

/** Starts one ComfyUI, waits until it answers, watches it, starts it again when it dies, and ends it with all it began. */
export class Supervisor {
  readonly id: string
  readonly events = new EventEmitter<{ state: [EngineState]; facts: [StartupFacts]; logged: [] }>()
  readonly log: LineLog
  readonly #options: SupervisorOptions
  readonly #pace: Pace
  readonly #system: ProcessSystem
  #state: EngineState = { is: 'stopped' }
  #facts: StartupFacts = { customNodes: [] }
  #life: Life | null = null
  #target: Target | null = null
  #restarts = 0
  /** Kept from start to start, so that its address stays. */
  #port: number | null = null

  constructor(options: SupervisorOptions) {
    this.id = options.id
    this.log = options.log
    this.#options = options
    this.#pace = { ...PACE, ...options.pace }
    this.#system = options.system ?? systemOf()
    this.events.setMaxListeners(0)
  }

  get state() {
    return this.#state
  }
  get facts() {
    return this.#facts
  }
  get restarts() {
    return this.#restarts
  }
  /** The port it has, or had last. */
  get port() {
    return this.#port
  }

  /** How long its processes have worked since they began, ms; null: nobody says, or none runs. */
  async workedMs(): Promise<number | null> {
    const { worked } = this.#system
    if (!this.#target || !worked) return null
    const members = treeOf(await this.#system.list(this.#target.mark), this.#target.root, process.pid)
    return members.length === 0 ? null : worked(members.map(({ pid }) => pid))
  }

  /**
   * Resolves when it answers. Aborting stops the waiting, not the start.
   * @throws what it failed of; AppError 'engine.not-running' when it was stopped meanwhile
   */
  async start(signal?: AbortSignal): Promise<void> {
    this.begin()
    await this.settled(signal)
  }

  /** Starts it unless it is started; `state` tells how that goes. */
  begin() {
    if (this.#life) return
    const stopping = new AbortController()
    this.#restarts = 0
    this.#setState({ is: 'starting', phase: 'launching', since: this.#options.now() })
    const life: Life = { stopping, done: Promise.resolve() }
    this.#life = life
    life.done = this.#live(stopping.signal).then((end) => {
      if (this.#life === life) this.#life = null
      this.#setState(end)
    })
  }

  /** Ends it and everything it started. */
  async stop(): Promise<void> {
    const life = this.#life
    life?.stopping.abort()
    await life?.done
    this.#setState({ is: 'stopped' })
  }

  /** Resolves when it is ready. */
  async settled(signal?: AbortSignal): Promise<void> {
    for (;;) {
      const state = this.#state
      if (state.is === 'ready') return
      if (state.is === 'failed') throw new FailureError(state.because)
      if (!this.#life) throw new AppError('engine.not-running', { name: this.id })
      await once(this.events, 'state', { signal })
    }
  }

  // ---- its lives ----

  /** Gives the state it ends in. */
  async #live(stopping: AbortSignal): Promise<EngineState> {
    let crashes = 0
    await this.log.open()
    while (!stopping.aborted) {
      const end = await this.#run(stopping).catch((cause: unknown): RunEnd => {
        return { because: toFailure(cause), mayPass: false, readyForMs: 0 }
      })
      if (end === 'stopped' || stopping.aborted) break
      if (end === 'again') continue
      crashes = end.readyForMs >= this.#pace.stableMs ? 1 : crashes + 1
      this.log.note(`[nightshift] ${end.because.code}: ${end.because.message}`)
      if (!end.mayPass || crashes >= this.#pace.crashes)
        return { is: 'failed', because: end.because, lastLines: this.log.lastLines(LAST_LINES).map(plain) }
      const pauseMs = Math.min(this.#pace.longestPauseMs, this.#pace.firstPauseMs * 2 ** (crashes - 1))
      this.#setState({ is: 'pausing', restartAt: this.#options.now() + pauseMs, because: end.because })
      await pause(pauseMs, undefined, { signal: stopping }).catch(() => {})
      if (!stopping.aborted) this.#restarts++
    }
    return { is: 'stopped' }
  }

  /** One process, from its start until nothing of it is left. */
  async #run(stopping: AbortSignal): Promise<RunEnd> {
    const { id, launch, stateDir, newId, now } = this.#options
    const story = new StartupStory()
    this.#facts = story.facts
    const since = now()
    if (this.#state.is !== 'starting') this.#setState({ is: 'starting', phase: story.phase, since })
    const port = await this.#choosePort()
    const mark = newId()
    const { command, args, cwd, env } = await launch(port)
    const session = path.join(stateDir, id) // ComfyUI-Manager asks for a restart by a file of this name and .reboot
    await rm(`${session}.reboot`, { force: true })
    const boot = await this.#system.boot().catch(() => '')
    await writeStarted(stateDir, id, { boot, mark, root: null })
    const killsBefore = await outOfMemoryKills()
    this.log.note(`[nightshift] ${[command, ...args].join(' ')}`)
    const child = spawn(command, args, {
      cwd,
      env: { ...env, [MARK]: mark, __COMFY_CLI_SESSION__: session },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: process.platform !== 'win32', // a terminal's Ctrl-C is for us, not for it
      windowsHide: true,
    })
    let root: ProcessId | null = null
    let heardAt = performance.now()
    const exited = exitOf(child)
    const hear = (line: string) => {
      heardAt = performance.now()
      if (this.#state.is !== 'starting' || !story.hear(line)) return
      this.#facts = story.facts
      if (this.#state.phase !== story.phase) this.#setState({ is: 'starting', phase: story.phase, since })
      else this.events.emit('facts', story.facts)
    }
    for (const stream of [child.stdout, child.stderr]) {
      const reader = this.log.reader(hear)
      stream?.on('data', (chunk: Buffer) => {
        reader.write(chunk)
        this.events.emit('logged')
      })
      stream?.on('end', () => reader.end())
      stream?.on('error', () => {})
    }

    let because: AppError | null = null
    let readyAt: number | null = null
    const over = new AbortController()
    void exited.then(() => over.abort())
    const going = AbortSignal.any([stopping, over.signal])
    try {
      const { pid } = child
      if (pid !== undefined) {
        root = await identify(pid, this.#system)
        this.#target = { root, mark }
        await writeStarted(stateDir, id, { boot, mark, root })
      }
      while (!going.aborted) {
        if (await this.#answers(port, { root, mark }, going)) {
          readyAt = performance.now()
          break
        }
        if (performance.now() - heardAt > this.#pace.silentMs) {
          because = new AppError('engine.silent', { seconds: Math.round(this.#pace.silentMs / 1000) })
          break
        }
        await pause(this.#pace.readyLookMs, undefined, { signal: going }).catch(() => {})
      }
      if (readyAt !== null && !going.aborted) {
        this.#setState({ is: 'ready', url: `http://127.0.0.1:${port}`, pid: pid!, since: now(), silentSince: null })
        because = await this.#watch(port, going)
      }
    } finally {
      this.#target = null
      // its children outlive it otherwise; a stop asks first
      const ask = stopping.aborted || because === null
      const left = await endTree({ root, mark }, { askMs: ask ? this.#pace.stopMs : 0, system: this.#system })
      if (left.length === 0) await forgetStarted(stateDir, id)
      else this.log.note(`[nightshift] cannot be ended: ${left.map(({ pid }) => pid).join(', ')}`)
    }
    const readyForMs = readyAt === null ? 0 : performance.now() - readyAt
    const ended = await Promise.race([exited, pause(DRAIN_MS * 4).then((): Exit => ({ exitCode: null, signal: null }))])
    if (stopping.aborted) return 'stopped'
    if (ended instanceof Error) {
      const facts = { command, reason: ended.message }
      return { because: toFailure(new AppError('engine.not-started', facts)), mayPass: false, readyForMs }
    }
    if (because) return { because: toFailure(because), mayPass: true, readyForMs }
    if (ended.exitCode === 0 && (await exists(`${session}.reboot`))) return 'again'
    const { failure, mayPass } = diagnose({
      ...ended,
      lines: this.log.lastLines(300),
      phase: story.phase,
      wasReady: readyAt !== null,
      port,
      memoryRanOut: (await outOfMemoryKills()) > killsBefore,
    })
    return { because: toFailure(await this.#withHolder(failure)), mayPass, readyForMs }
  }

  async #choosePort(): Promise<number> {
    const { port: fixed, taken } = this.#options
    if (fixed !== null) {
      if (await isFree(fixed)) return this.#keepPort(fixed)
      throw await this.#withHolder(new AppError('engine.port-taken', { port: fixed, holder: '' }))
    }
    const others = taken?.() ?? new Set<number>()
    if (this.#port !== null && !others.has(this.#port) && (await isFree(this.#port))) return this.#port
    const port = await freePort(FIRST_PORT, others)
    if (port === null) throw new AppError('engine.port-taken', { port: FIRST_PORT, holder: '' })
    return this.#keepPort(port)
  }
  #keepPort(port: number) {
    this.#port = port
    return port
  }

  /** Who has the port that is taken. */
  async #withHolder(failure: AppError): Promise<AppError> {
    if (failure.code !== 'engine.port-taken') return failure
    const [pid] = (await listenersOn(Number(failure.facts.port))) ?? []
    return pid === undefined
      ? failure
      : new AppError('engine.port-taken', { ...failure.facts, holder: ` (PID ${pid})` })
  }

  // ---- asking it ----

  /** Something answers there as a ComfyUI, and it is ours: whoever else took the port is not believed. */
  async #answers(
    port: number,
    target: { root: ProcessId | null; mark: string },
    signal: AbortSignal,
  ): Promise<boolean> {
    const stats = await this.#ask(port, 'system_stats', signal)
    if (!isJsonObject(stats) || !isJsonObject(stats.system)) return false
    const { argv } = stats.system
    if (Array.isArray(argv) && !argv.includes(String(port))) return false
    const listeners = await listenersOn(port)
    if (listeners === null) return true
    const ours = treeOf(await this.#system.list(target.mark), target.root, process.pid)
    return listeners.some((listener) => ours.some(({ pid }) => pid === listener))
  }

  /** Ends when the process does (null), or when it has been silent too long. */
  async #watch(port: number, going: AbortSignal): Promise<AppError | null> {
    const { watchEveryMs, hungBusyMs, hungIdleMs, tellSilentMs } = this.#pace
    let busy = false
    let answeredAt = performance.now()
    for (;;) {
      await pause(watchEveryMs, undefined, { signal: going }).catch(() => {})
      if (going.aborted) return null
      const reply = await this.#ask(port, 'prompt', going)
      if (reply !== undefined) {
        answeredAt = performance.now()
        this.#silentSince(null)
        const info = isJsonObject(reply) && isJsonObject(reply.exec_info) ? reply.exec_info : {}
        busy = Number(info.queue_remaining ?? 0) > 0
        continue
      }
      const silentMs = performance.now() - answeredAt
      if (silentMs > tellSilentMs) this.#silentSince(Math.round(this.#options.now() - silentMs))
      if (silentMs > (this.#options.hungAfterMs?.() ?? (busy ? hungBusyMs : hungIdleMs)))
        return new AppError('engine.hung', { seconds: Math.round(silentMs / 1000) })
    }
  }

  #silentSince(at: number | null) {
    const state = this.#state
    if (state.is === 'ready' && (state.silentSince === null) !== (at === null))
      this.#setState({ ...state, silentSince: at })
  }

  /** undefined: no answer, or none that is JSON. */
  async #ask(port: number, what: string, signal: AbortSignal): Promise<Json | undefined> {
    const within = AbortSignal.any([signal, AbortSignal.timeout(this.#pace.answerWithinMs)])
    try {
      const reply = await request(`http://127.0.0.1:${port}/${what}`, { signal: within, reset: true })
      if (reply.statusCode !== 200 || Number(reply.headers['content-length'] ?? 0) > REPLY_LIMIT_BYTES) {
        reply.body.on('error', () => {}).destroy()
        return undefined
      }
      return parseJson(await reply.body.text())
    } catch {
      return undefined
    }
  }

  #setState(state: EngineState) {
    if (state.is === 'stopped' && this.#state.is === 'stopped') return
    this.#state = state
    this.events.emit('state', state)
  }
}

/** What it ended with, once its last words are in; an Error: it never began. Children it left may hold its pipes open. */
function exitOf(child: ChildProcess): Promise<Exit | Error> {
  const { promise, resolve } = Promise.withResolvers<Exit | Error>()
  child.once('error', resolve)
  child.once('exit', (exitCode, signal) => {
    const exit = { exitCode, signal }
    const timer = setTimeout(() => resolve(exit), DRAIN_MS)
    child.once('close', () => {
      clearTimeout(timer)
      resolve(exit)
    })
  })
  return promise
}

// ---- who was started ----

const Started = z.object({
  boot: z.string(),
  mark: z.string(),
  root: z.object({ pid: z.int(), startedAt: z.number() }).nullable(),
})

/** Written before a process is started, and again when its id is known: a crash of ours between leaves no stranger. */
export async function writeStarted(stateDir: string, id: string, started: z.infer<typeof Started>) {
  const file = path.join(stateDir, id + PID_FILE)
  await mkdir(stateDir, { recursive: true })
  await writeFile(`${file}.part`, JSON.stringify(started), { flush: true })
  await rename(`${file}.part`, file)
}
/** Nothing of it is left. */
export const forgetStarted = (stateDir: string, id: string) => rm(path.join(stateDir, id + PID_FILE), { force: true })

/** Ends what a crash of ours left running, and only that. Gives how many there were. */
export async function sweepOrphans(stateDir: string, system = systemOf(), askMs = 2_000): Promise<number> {
  const names = (await readdir(stateDir).catch(() => [])).filter((name) => name.endsWith(PID_FILE))
  const counts = await Promise.all(
    names.map(async (name) => {
      const file = path.join(stateDir, name)
      const started = Started.safeParse(tryJson(await readFile(file, 'utf8').catch(() => '')))
      let count = 0
      if (started.success && started.data.boot === (await system.boot().catch(() => ''))) {
        const { root, mark } = started.data
        count = treeOf(await system.list(mark), root, process.pid).length
        if ((await endTree({ root, mark }, { askMs, system })).length > 0) return count // looked for again next time
      }
      await rm(file, { force: true })
      return count
    }),
  )
  return counts.reduce((sum, count) => sum + count, 0)
}

const exists = (file: string) =>
  access(file).then(
    () => true,
    () => false,
  )

/** How often Linux ended a process for want of memory since it started; elsewhere 0. */
async function outOfMemoryKills(): Promise<number> {
  const text = await readFile('/proc/vmstat', 'utf8').catch(() => '')
  return Number(/^oom_kill (\d+)$/m.exec(text)?.[1] ?? 0)
}

/** Between choosing a port and listening there, another program may take it. */
export async function startSomewhere(supervisor: Supervisor, signal: AbortSignal) {
  for (let left = 3; ; left--) {
    try {
      return await supervisor.start(signal)
    } catch (cause) {
      if (!(cause instanceof FailureError) || cause.failure.code !== 'engine.port-taken' || left === 0) throw cause
    }
  }
}
