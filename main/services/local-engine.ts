import { EventEmitter } from 'node:events'
import { mkdir, readFile, rm } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import {
  type EngineCard,
  type EngineKind,
  EngineName,
  EngineSettings,
  type EngineView,
  type HardwareReport,
  type LogLine,
  type SharedModels,
  type Verdict,
} from '../../core/contract/engine.ts'
import { AppError } from '../../core/contract/errors.ts'
import { parseJson, writeJson } from '../../core/contract/json.ts'
import { cardsFor, verdictOf } from '../../core/domain/machine.ts'
import { settle } from '../../core/engine/custom-nodes/places.ts'
import type { NodesSite } from '../../core/engine/custom-nodes/site.ts'
import { nvidiaCards, probeHardware } from '../../core/engine/hardware.ts'
import { currentInstall } from '../../core/engine/install/generations.ts'
import { type Look, readInstall, thisMachine } from '../../core/engine/installs.ts'
import { listModels, lookAtModels } from '../../core/engine/model-paths.ts'
import { flagsIn, launchOf, processId, refuseOurFlags } from '../../core/engine/process/launch.ts'
import { LineLog, type LogQuery } from '../../core/engine/process/line-log.ts'
import { type Pace, Supervisor, sweepOrphans } from '../../core/engine/process/supervisor.ts'
import { outputFolder, sweepOutputs } from '../../core/engine/staging.ts'
import { writeWholeSync } from '../../core/engine/write-whole.ts'
import type { Clock } from './clock.ts'
import type { Database } from './database/open.ts'
import type { Network } from './network.ts'
import type { Service } from './service.ts'
import type { Fleet } from './workers/fleet.ts'
import type { LocalWorker } from './workers/local.ts'

interface Deps {
  readonly database: Database
  readonly fleet: Pick<Fleet, 'addLocal' | 'removeLocal'>
  readonly dataDir: string
  readonly clock: Clock
  readonly newId: () => string
  readonly log?: (event: string, facts: object) => void
  /** Nothing is started by itself, and nothing at all may be: only what is kept is looked at and changed. */
  readonly idle?: boolean
  readonly look?: Look
  readonly env?: NodeJS.ProcessEnv
  /** How what it starts reaches the internet. */
  readonly network?: Pick<Network, 'childEnvironment'>
  readonly pace?: Partial<Pace>
  /** Where the person's pictures go. */
  readonly picturesDir?: () => string
  /** Whether an attempt of ours has ended; what it left behind is nobody's then. */
  readonly hasEnded?: (promptId: string) => boolean
}
type Row = { name: string; kind: EngineKind; dir: string; python: string; settings: string }
interface Engine {
  readonly name: string
  readonly kind: EngineKind
  dir: string
  python: string
  /** Of what is installed now: they are no choice of the person's. */
  ownFlags: readonly string[]
  version: string | null
  settings: EngineSettings
  /** Where it was told to save, once it was started. */
  outputDir: string | null
  processes: Process[]
}
export interface Machine {
  readonly report: HardwareReport
  readonly verdict: Verdict
  readonly at: number
}
interface Process {
  readonly card: EngineCard
  readonly supervisor: Supervisor
  readonly worker: LocalWorker
}

const FIRST_NAME = 'local'
const MACHINE_LASTS_MS = 5 * 60_000
const LOOK_EVERY_MS = 250

/** The ComfyUIs of this machine that Nightshift runs: a process for each chosen card, and a worker for each process. */
export class LocalEngine implements Service {
  readonly events = new EventEmitter<{ changed: [name: string]; logged: [processId: string] }>()
  readonly #deps: Deps
  readonly #look: Look
  readonly #engines = new Map<string, Engine>()
  #running = false
  #machine: Promise<Machine | null> = Promise.resolve(null)

  constructor(deps: Deps) {
    this.#deps = deps
    this.#look = deps.look ?? thisMachine(deps.env ?? process.env)
  }

  async start() {
    if (this.#running) return
    this.#running = true
    const { database, idle, log } = this.#deps
    const swept = await sweepOrphans(this.#stateDir)
    if (swept > 0) log?.('engine.orphans-ended', { processes: swept })
    for (const row of database.prepare<[], Row>('SELECT * FROM engines ORDER BY created_at, name').all()) {
      const engine = this.#build(row, EngineSettings.parse(parseJson(row.settings)))
      engine.version = await this.#versionOf(engine)
      if (engine.settings.autoStart && !idle) for (const { supervisor } of engine.processes) supervisor.begin()
    }
  }

  async stop() {
    if (!this.#running) return
    this.#running = false
    const processes = [...this.#engines.values()].flatMap((engine) => engine.processes)
    await Promise.all(processes.map(endProcess))
    this.#engines.clear()
  }

  /** What this machine has and what will run on it. */
  async machine(again = false): Promise<Machine> {
    const { clock } = this.#deps
    const before = await this.#machine
    if (before && !again && clock.now() - before.at < MACHINE_LASTS_MS) return before
    const looking = probeHardware({ look: this.#look }).then((report) => ({
      report,
      verdict: verdictOf(report),
      at: clock.now(),
    }))
    this.#machine = looking.catch(() => null)
    return looking
  }

  /** What an engine should run on here, unless the person says otherwise. */
  async cards(cpu = false): Promise<EngineCard[]> {
    const { platform } = this.#look
    const seen = await this.#machine
    const gpus = seen?.report.gpus ?? (await nvidiaCards(this.#look))
    const known = platform === 'linux' || platform === 'win32' || platform === 'darwin' ? platform : 'other'
    return cardsFor(gpus, known, process.arch, cpu || seen?.verdict.torch === 'cpu')
  }

  list(): EngineView[] {
    return [...this.#engines.values()].map(viewOf)
  }
  view(name: string): EngineView {
    return viewOf(this.#must(name))
  }

  /**
   * Runs an existing ComfyUI in place from now on; nothing in its folder is changed.
   * @throws AppError 'engine.not-found' | 'engine.no-python' | 'engine.name-taken' | 'engine.flag-ours'
   */
  async adopt(given: {
    dir: string
    python?: string
    name?: string
    settings?: Partial<EngineSettings>
  }): Promise<EngineView> {
    const { database, clock } = this.#deps
    const found = await readInstall(path.resolve(given.dir), this.#look, given.python)
    const same = [...this.#engines.values()].find(({ dir }) => dir === found.dir)
    if (same && given.name === undefined) return this.change(same.name, given.settings ?? {})
    const name = EngineName.parse(given.name ?? this.#freeName())
    if (this.#engines.has(name)) throw new AppError('engine.name-taken', { name })
    const settings = EngineSettings.parse({
      cards: given.settings?.cards ?? (await this.cards()),
      baseDir: found.baseDir,
      ...given.settings,
    })
    this.#check(settings)
    const engine = this.#build({ name, kind: found.kind, dir: found.dir, python: found.python }, settings)
    engine.version = found.version
    database
      .prepare(
        `INSERT INTO engines (name, kind, dir, python, settings, created_at)
         VALUES (:name, :kind, :dir, :python, :settings, :at)`,
      )
      .run({
        name,
        kind: found.kind,
        dir: found.dir,
        python: found.python,
        settings: writeJson(settings as never),
        at: clock.now(),
      })
    if (settings.autoStart && !this.#deps.idle) for (const { supervisor } of engine.processes) supervisor.begin()
    this.events.emit('changed', name)
    return viewOf(engine)
  }

  /**
   * One of those the machine was found to have.
   * @throws AppError 'engine.not-found'
   */
  async adoptFound(dir: string): Promise<EngineView> {
    const { report } = await this.machine()
    const found = report.installs.find((install) => install.dir === dir)
    if (!found) throw new AppError('engine.not-found', { dir })
    return this.adopt({ dir: found.baseDir ?? found.dir, python: found.python ?? undefined })
  }

  /**
   * One that Nightshift installed in `home`, run from now on; known already, its current generation is, and what ran is
   * started again.
   */
  async takeOver(name: string, home: string, settings: EngineSettings): Promise<EngineView> {
    const { database, clock, idle } = this.#deps
    const known = this.#engines.get(name)
    if (known) {
      const ran = known.processes.some(({ supervisor }) => !['stopped', 'failed'].includes(supervisor.state.is))
      Object.assign(known, currentInstall(home))
      known.version = await this.#versionOf(known)
      await this.#replaceProcesses(known)
      await settle(this.#site(known))
      if (ran) for (const { supervisor } of known.processes) supervisor.begin()
      this.events.emit('changed', name)
      return viewOf(known)
    }
    const engine = this.#build({ name, kind: 'installed', dir: home, python: '' }, settings)
    engine.version = await this.#versionOf(engine)
    database
      .prepare(
        `INSERT INTO engines (name, kind, dir, python, settings, created_at)
         VALUES (:name, 'installed', :home, '', :settings, :at)`,
      )
      .run({ name, home, settings: writeJson(settings as never), at: clock.now() })
    if (settings.autoStart && !idle) for (const { supervisor } of engine.processes) supervisor.begin()
    this.events.emit('changed', name)
    return viewOf(engine)
  }

  /** Where its custom nodes are, and what runs them. */
  site(name: string): NodesSite {
    return this.#site(this.#must(name))
  }
  #site({ name, kind, dir, python, settings }: Engine): NodesSite {
    return { name, kind, dir, python, settings, home: path.join(this.#deps.dataDir, 'engines', name) }
  }

  /** Changes something that no process of it may be using; what ran is started again as it then is. */
  async whileStopped(name: string, change: () => Promise<void>): Promise<void> {
    const engine = this.#must(name)
    const ran = engine.processes.filter(({ supervisor }) => !['stopped', 'failed'].includes(supervisor.state.is))
    await Promise.all(engine.processes.map(({ supervisor }) => supervisor.stop()))
    try {
      await change()
    } finally {
      if (engine.kind === 'installed') Object.assign(engine, currentInstall(this.#site(engine).home))
      engine.version = await this.#versionOf(engine)
      for (const { supervisor } of ran) supervisor.begin()
      this.events.emit('changed', name)
    }
  }

  /** Other flags or cards hold from the next start on; what ran is started again. */
  async change(name: string, changes: Partial<EngineSettings>): Promise<EngineView> {
    const engine = this.#must(name)
    const settings = EngineSettings.parse({ ...engine.settings, ...changes })
    this.#check(settings)
    const { autoStart: _, ...before } = engine.settings
    const { autoStart: __, ...after } = settings
    const restart = writeJson(before as never) !== writeJson(after as never)
    const ran = engine.processes.some(({ supervisor }) => !['stopped', 'failed'].includes(supervisor.state.is))
    engine.settings = settings
    if (restart) {
      await this.#replaceProcesses(engine)
      if (ran) for (const { supervisor } of engine.processes) supervisor.begin()
    }
    const { database } = this.#deps
    database.prepare('UPDATE engines SET settings = ? WHERE name = ?').run(writeJson(settings as never), name)
    this.events.emit('changed', name)
    return viewOf(engine)
  }

  /** Starts every process that is not, or one; resolves when all asked for answer. */
  async run(name: string, processId?: string, signal?: AbortSignal): Promise<EngineView> {
    const engine = this.#must(name)
    if (this.#deps.idle) throw new AppError('app.internal', { reason: 'this process may not start ComfyUI' })
    const chosen = engine.processes.filter(({ supervisor }) => processId === undefined || supervisor.id === processId)
    engine.version = await this.#versionOf(engine)
    await Promise.all(chosen.map(({ supervisor }) => supervisor.start(signal)))
    return viewOf(engine)
  }

  /** Ends a process that hangs and starts it again; what it was busy with is looked up then, and done again if it is lost. */
  async restart(name: string, processId: string): Promise<EngineView> {
    const engine = this.#must(name)
    const found = engine.processes.find(({ supervisor }) => supervisor.id === processId)
    if (!found) throw new AppError('engine.unknown', { name: processId })
    await found.supervisor.stop()
    return this.run(name, processId)
  }

  /** How long a process has worked since it began, ms, and on which card; null: it does not run here, or nobody says. */
  async worked(processId: string): Promise<{ card: string; workedMs: number | null } | null> {
    for (const { processes } of this.#engines.values())
      for (const { supervisor, card } of processes)
        if (supervisor.id === processId) return { card: card.card, workedMs: await supervisor.workedMs() }
    return null
  }

  async halt(name: string): Promise<EngineView> {
    const engine = this.#must(name)
    await Promise.all(engine.processes.map(({ supervisor }) => supervisor.stop()))
    return viewOf(engine)
  }

  /** Forgets it; its folder stays as it is. */
  async remove(name: string): Promise<void> {
    const { processes } = this.#must(name)
    await Promise.all(processes.map(endProcess))
    for (const { supervisor } of processes) await this.#deps.fleet.removeLocal(supervisor.id)
    this.#engines.delete(name)
    this.#deps.database.prepare('DELETE FROM engines WHERE name = ?').run(name)
    await rm(path.join(this.#deps.dataDir, 'engines', name, 'run'), { recursive: true, force: true })
    this.events.emit('changed', name)
  }

  /** What a process said; see LineLog. */
  async log(processId: string, query: LogQuery): Promise<LogLine[]> {
    for (const { processes } of this.#engines.values())
      for (const { supervisor } of processes) if (supervisor.id === processId) return supervisor.log.read(query)
    throw new AppError('engine.unknown', { name: processId })
  }

  /** The engine a process or name belongs to. */
  engineOf(nameOrProcess: string): string | null {
    for (const { name, processes } of this.#engines.values())
      if (name === nameOrProcess || processes.some(({ supervisor }) => supervisor.id === nameOrProcess)) return name
    return null
  }

  /**
   * Gives an engine's workers nothing more and resolves when nothing is under way there. What is returned, and aborting,
   * lets them take more again.
   */
  async rest(name: string, signal: AbortSignal): Promise<() => Promise<void>> {
    const workers = (this.#engines.get(name)?.processes ?? [])
      .map(({ worker }) => worker)
      .filter((each) => each.enabled)
    const again = async () => {
      await Promise.all(workers.map((worker) => worker.enable(true)))
    }
    try {
      for (const worker of workers) if (worker.inFlight > 0) await worker.enable(false)
      while (workers.some((worker) => worker.inFlight > 0)) await pause(LOOK_EVERY_MS, undefined, { signal })
      return again
    } catch (cause) {
      await again()
      throw cause
    }
  }

  /** What using the models of another ComfyUI would bring. @throws AppError 'engine.no-models' */
  lookAtModels(dir: string): Promise<SharedModels> {
    return lookAtModels(path.resolve(dir), this.#look)
  }

  /** Uses the models of another ComfyUI where they lie, or no longer. @throws AppError 'engine.no-models' */
  async shareModels(name: string, given: string, use: boolean): Promise<EngineView> {
    const { modelsOf } = this.#must(name).settings
    const dir = path.resolve(given)
    const others = modelsOf.filter((each) => each !== dir)
    if (use) await this.lookAtModels(dir)
    return this.change(name, { modelsOf: use ? [...others, dir] : others })
  }

  // ---- inside ----

  /** The flags to use models that lie elsewhere with. */
  async #writeShared({ settings, dir }: Engine, file: string): Promise<string[]> {
    const base = settings.baseDir ?? dir
    const others = settings.modelsOf.filter((each) => each !== base)
    const text = await listModels(others, this.#look)
    if (text === null) return []
    writeWholeSync(file, text)
    return ['--extra-model-paths-config', file]
  }

  /**
   * Where one that we installed is told to save. An adopted one is used as it is, by the person's other programs too:
   * its pictures stay where those look for them, and ours are further names of them, or copies from another volume.
   */
  async #outputOf(engine: Engine, known: ReadonlySet<string> | null): Promise<string | null> {
    const { picturesDir, newId, hasEnded, log } = this.#deps
    const { kind, settings, name, dir } = engine
    const own = path.join(settings.baseDir ?? dir, 'output')
    if (kind !== 'installed' || !picturesDir || !known?.has('--output-directory')) return null
    const to = await outputFolder(own, { picturesDir: picturesDir(), name, mark: newId() })
    for (const each of new Set([own, to])) {
      const swept = hasEnded ? await sweepOutputs(each, hasEnded) : 0
      if (swept > 0) log?.('engine.outputs-swept', { name, files: swept })
    }
    return to
  }

  get #stateDir() {
    return path.join(this.#deps.dataDir, 'engines', '.running')
  }

  #must(name: string): Engine {
    const engine = this.#engines.get(name)
    if (!engine) throw new AppError('engine.unknown', { name })
    return engine
  }

  #check({ flags, cards }: EngineSettings) {
    refuseOurFlags([...flags, ...cards.flatMap((card) => card.flags)])
    if (new Set(cards.map(({ card }) => card)).size !== cards.length)
      throw new AppError('app.bad-request', { reason: 'a card is named twice' })
  }

  #freeName(): string {
    for (let number = 1; ; number++) {
      const name = number === 1 ? FIRST_NAME : `${FIRST_NAME}-${number}`
      if (!this.#engines.has(name)) return name
    }
  }

  #build({ name, kind, ...row }: Omit<Row, 'settings'>, settings: EngineSettings): Engine {
    // of an installed one the row says only where its generations are
    const current = (kind === 'installed' ? currentInstall(row.dir) : null) ?? { ...row, ownFlags: [] }
    const engine: Engine = { name, kind, ...current, version: null, settings, outputDir: null, processes: [] }
    engine.processes = settings.cards.map((card) => this.#process(engine, card))
    this.#engines.set(name, engine)
    return engine
  }

  #process(engine: Engine, card: EngineCard, kept?: LocalWorker): Process {
    const { fleet, dataDir, clock, newId, pace } = this.#deps
    const { name, settings } = engine
    const id = processId(name, settings.cards, card)
    const worker = kept ?? fleet.addLocal(id, () => outputDirOf(engine), engine.kind === 'installed')
    const log = new LineLog(path.join(dataDir, 'logs', `engine-${id}.log`), { now: clock.now })
    const supervisor = new Supervisor({
      id,
      port: card.port,
      taken: () => this.#portsBut(id),
      stateDir: this.#stateDir,
      log,
      newId,
      now: clock.now,
      pace,
      hungAfterMs: () => (engine.settings.hungMinutes === null ? null : engine.settings.hungMinutes * 60_000),
      launch: async (port) => {
        const dir = path.join(dataDir, 'engines', name, 'run')
        await mkdir(dir, { recursive: true })
        await settle(this.#site(engine)) // a change of custom nodes may have been cut off
        const declared = await readFile(path.join(engine.dir, 'comfy', 'cli_args.py'), 'utf8').catch(() => null)
        const known = declared === null ? null : flagsIn(declared)
        const { kind, python } = engine
        const { platform, env } = this.#look
        const database = path.join(dir, `${id}.db`)
        const shared = await this.#writeShared(engine, path.join(dir, 'models.yaml'))
        const own = engine.ownFlags.filter((flag) => !engine.settings.flags.includes(flag))
        const settings = { ...engine.settings, flags: [...own, ...shared, ...engine.settings.flags] }
        engine.outputDir = await this.#outputOf(engine, known)
        const { dir: cwd, outputDir } = engine
        const launch = launchOf({
          kind,
          dir: cwd,
          python,
          settings,
          card,
          port,
          outputDir,
          database,
          known,
          platform,
          env,
        })
        return { ...launch, env: this.#deps.network?.childEnvironment(launch.env) ?? launch.env }
      },
    })
    supervisor.events.on('state', (state) => {
      const facts = state.is === 'failed' || state.is === 'pausing' ? { code: state.because.code } : {}
      this.#deps.log?.('engine.state', { id, is: state.is, ...facts })
      worker.heed(state)
      this.events.emit('changed', name)
    })
    supervisor.events.on('facts', () => this.events.emit('changed', name))
    supervisor.events.on('logged', () => this.events.emit('logged', id))
    return { card, supervisor, worker }
  }

  /** Two that start at once must not choose the same. */
  #portsBut(id: string): Set<number> {
    const ports = new Set<number>()
    for (const { processes } of this.#engines.values())
      for (const { supervisor, card } of processes) {
        if (supervisor.id === id) continue
        const port = card.port ?? supervisor.port
        if (port !== null) ports.add(port)
      }
    return ports
  }

  /** A worker that stays keeps what it has to do; one that goes gives it back. */
  async #replaceProcesses(engine: Engine) {
    const before = new Map(engine.processes.map((process) => [process.supervisor.id, process]))
    await Promise.all(engine.processes.map(endProcess))
    const { cards } = engine.settings
    engine.processes = cards.map((card) => {
      const id = processId(engine.name, cards, card)
      const worker = before.get(id)?.worker
      before.delete(id)
      return this.#process(engine, card, worker)
    })
    for (const id of before.keys()) await this.#deps.fleet.removeLocal(id)
  }

  async #versionOf({ dir }: Engine): Promise<string | null> {
    const found = await readInstall(dir, this.#look, process.execPath).catch(() => null)
    return found?.version ?? null
  }
}

/** Where a ComfyUI started by us saves. */
function outputDirOf({ dir, settings, outputDir }: Engine): string {
  const said = (flag: string) => {
    const flags = [...settings.flags, ...settings.cards.flatMap((card) => card.flags)]
    const at = flags.findLastIndex((each) => each === flag || each.startsWith(`${flag}=`))
    return at < 0 ? undefined : flags[at] === flag ? flags[at + 1] : flags[at]!.slice(flag.length + 1)
  }
  const base = said('--base-directory') ?? settings.baseDir ?? dir
  return path.resolve(dir, said('--output-directory') ?? outputDir ?? path.join(base, 'output'))
}

async function endProcess({ supervisor }: Process) {
  await supervisor.stop()
  supervisor.log.close()
  supervisor.events.removeAllListeners()
}

const viewOf = ({ name, kind, dir, python, version, settings, processes }: Engine): EngineView => ({
  name,
  kind,
  dir,
  python,
  version: processes[0]?.supervisor.facts.comfyuiVersion ?? version,
  settings,
  processes: processes.map(({ card, supervisor }) => ({
    id: supervisor.id,
    card: card.card,
    state: supervisor.state,
    facts: supervisor.facts,
    restarts: supervisor.restarts,
  })),
})
