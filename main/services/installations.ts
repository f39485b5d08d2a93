import { EventEmitter } from 'node:events'
import { mkdir, readdir, readFile, rm } from 'node:fs/promises'
import path from 'node:path'
import { z } from 'zod'
import {
  EngineName,
  EngineSettings,
  type Finding,
  type Generation,
  type InstallChoices,
  type InstallPlan,
  type InstallPurpose,
  type InstallStep,
  InstallView,
  type SpeedUp,
  type SpeedUpOffer,
} from '../../core/contract/engine.ts'
import { AppError, toFailure } from '../../core/contract/errors.ts'
import { parseJson, writeJson } from '../../core/contract/json.ts'
import { offersOf } from '../../core/domain/speed-ups.ts'
import { upkeep } from '../../core/domain/upkeep.ts'
import { dispatcherFor } from '../../core/engine/download/fetch-file.ts'
import { allowWriting, type Examined, examine } from '../../core/engine/install/examine.ts'
import {
  generationDir,
  type Journal,
  listGenerations,
  readJournal,
  readPointer,
  removeDir,
  sourceDir,
  tidy,
  unfinishedOf,
  writeJournal,
  writePointer,
} from '../../core/engine/install/generations.ts'
import { carryOut } from '../../core/engine/install/installer.ts'
import type { Damage, Lock } from '../../core/engine/install/lock.ts'
import { planInstall, type Recipe } from '../../core/engine/install/plan.ts'
import { findBuilder } from '../../core/engine/snapshot/builder.ts'
import { writeWholeSync } from '../../core/engine/write-whole.ts'
import type { Clock } from './clock.ts'
import type { LocalEngine } from './local-engine.ts'
import type { Network } from './network.ts'
import type { Secrets } from './secrets.ts'
import type { Service } from './service.ts'

interface Deps {
  readonly dataDir: string
  readonly localEngine: LocalEngine
  readonly secrets: Secrets
  readonly network: Pick<Network, 'mirrors' | 'dispatcher' | 'childEnvironment'>
  readonly clock: Clock
  readonly newId: () => string
  readonly locale: string
  readonly env?: NodeJS.ProcessEnv
  readonly log?: (event: string, facts: object) => void
  readonly point?: (name: string) => void
}
interface Running {
  readonly stopping: AbortController
  view: InstallView
  done: Promise<void>
}

/** How many of each engine are remembered, with what they said. */
const REMEMBERED = 10
const LOG_LINES = 1000

/** ComfyUIs that Nightshift installs itself: made beside what runs, tried, and only then run. */
export class Installations implements Service {
  readonly events = new EventEmitter<{ changed: [name: string] }>()
  readonly #deps: Deps
  readonly #running = new Map<string, Running>()
  /** By engine, the newest first. */
  readonly #ended = new Map<string, InstallView[]>()
  /** Engines that another service changes now. */
  readonly #lent = new Set<string>()

  constructor(deps: Deps) {
    this.#deps = deps
  }

  /** What was finished by a run of ours that was killed before it could say so is taken over. */
  async start() {
    const { dataDir, localEngine } = this.#deps
    for (const name of await readdir(path.join(dataDir, 'engines')).catch(() => [])) {
      if (!EngineName.safeParse(name).success) continue
      await this.#remember(name)
      if (!readPointer(this.#home(name)) || localEngine.list().some((engine) => engine.name === name)) continue
      await this.#takeOver(name)
    }
  }

  async stop() {
    const all = [...this.#running.values()]
    for (const { stopping } of all) stopping.abort()
    await Promise.all(all.map(({ done }) => done))
  }

  /** What an installation would do; nothing is fetched or written. */
  async plan(name: string, choices: InstallChoices): Promise<InstallPlan> {
    return (await this.#recipe(name, choices, '…')).plan
  }

  /** What builds a snapshot of another system for this machine. @throws AppError 'install.unreachable' */
  async builder(choices: Partial<InstallChoices>, { log, signal }: { log: string; signal: AbortSignal }) {
    const { dataDir, localEngine, network, locale, env = process.env } = this.#deps
    return findBuilder({
      report: (await localEngine.machine()).report,
      dataDir,
      mirrors: network.mirrors.ordered(),
      choices,
      dispatcher: network.dispatcher(),
      env: network.childEnvironment(env, { mirrors: false }),
      log,
      locale,
      signal,
    })
  }

  /**
   * Begins an installation, or goes on with one of the same choices. `view` and `events` tell how it goes.
   * @throws AppError 'install.busy' | 'install.no-python' | 'engine.name-taken'
   */
  async install(name: string, choices: InstallChoices): Promise<InstallView> {
    const { localEngine } = this.#deps
    const taken = localEngine.list().find((engine) => engine.name === name)
    if (taken && taken.kind !== 'installed') throw new AppError('engine.name-taken', { name })
    return this.#begin(name, 'install', choices, null)
  }

  /** @throws AppError 'install.busy' | 'install.not-ours' */
  async update(name: string, ref: string | null, speedUps?: readonly SpeedUp[]): Promise<InstallView> {
    const { journal } = await this.#current(name)
    return this.#begin(name, 'update', { ...journal.choices, ref, ...(speedUps && { speedUps: [...speedUps] }) }, null)
  }

  /** Goes on with what was stopped, failed or killed. @throws AppError 'install.nothing-begun' | 'install.busy' */
  async resume(name: string): Promise<InstallView> {
    const unfinished = await unfinishedOf(this.#home(name))
    if (!unfinished) throw new AppError('install.nothing-begun', { name })
    const { purpose, choices } = unfinished.journal
    if (purpose !== 'repair') return this.#begin(name, purpose, choices, null)
    return this.#repair(name, choices, await this.#examine(name))
  }

  /** What may make this engine faster, and why not. @throws AppError 'install.not-ours' */
  async speedUps(name: string): Promise<SpeedUpOffer[]> {
    const { journal } = await this.#current(name)
    const { speedUpFacts } = await this.#recipe(name, journal.choices, '…')
    return offersOf({ ...speedUpFacts, torch: null })
  }

  /** Looks an engine over. `mend`: what can be mended is; a damaged installation is made again beside itself. */
  async doctor(name: string, mend: boolean): Promise<{ findings: Finding[]; mending: InstallView | null }> {
    const lost = await this.#lost(name)
    if (lost && (!mend || !lost.newest)) return { findings: [lost.finding], mending: null }
    if (lost?.newest) {
      this.#refuseBusy(name)
      await writePointer(this.#home(name), { current: lost.newest.id, previous: null })
      await this.#takeOver(name)
    }
    const before = await this.#examine(name)
    if (!mend) return { findings: before.findings, mending: null }
    await allowWriting(before.denied)
    const examined = before.denied.length > 0 ? await this.#examine(name) : before
    const { findings } = examined
    const wanted = new Set(findings.map((finding) => finding.mend))
    if (!wanted.has('repair') && !wanted.has('torch')) return { findings, mending: null }
    const { journal } = await this.#current(name)
    const { choices, commit } = journal
    const mending = wanted.has('torch')
      ? await this.#begin(name, 'update', { ...choices, ref: commit ?? choices.ref }, null)
      : await this.#repair(name, choices, examined)
    return { findings, mending }
  }

  /** Back to the generation before; a second time, forth again. @throws AppError 'install.no-generation' | 'install.busy' */
  async rollback(name: string): Promise<Generation[]> {
    this.#refuseBusy(name)
    const home = this.#home(name)
    const pointer = readPointer(home)
    const before = pointer?.previous ? await readJournal(generationDir(home, pointer.previous)) : null
    if (!pointer?.previous || !before?.done.includes('trial')) throw new AppError('install.no-generation', { name })
    await writePointer(home, { current: pointer.previous, previous: pointer.current })
    await this.#takeOver(name)
    return listGenerations(home)
  }

  /** Lets another service change an engine, while nothing else does. @throws AppError 'install.busy' */
  async alone<T>(name: string, change: () => Promise<T>): Promise<T> {
    this.#refuseBusy(name)
    this.#lent.add(name)
    try {
      return await change()
    } finally {
      this.#lent.delete(name)
    }
  }

  generations(name: string): Promise<Generation[]> {
    return listGenerations(this.#home(name))
  }

  /** Ends it where it is; the next one goes on from there. */
  async cancel(name: string): Promise<void> {
    const running = this.#running.get(name)
    running?.stopping.abort()
    await running?.done
  }

  /** Of every engine the one under way, or how the last one ended. */
  views(): InstallView[] {
    const names = new Set([...this.#ended.keys(), ...this.#running.keys()])
    return [...names].flatMap((name) => this.viewsOf(name).slice(0, 1))
  }
  /** All that are remembered, the newest first. */
  viewsOf(name: string): InstallView[] {
    const running = this.#running.get(name)?.view
    return [...(running ? [running] : []), ...(this.#ended.get(name) ?? [])]
  }

  /** The last lines of what one of them said. */
  async log(name: string, generation: string, search = ''): Promise<string[]> {
    const wanted = search.toLowerCase()
    const text = await readFile(this.#logOf(name, generation), 'utf8').catch(() => '')
    const lines = text.split('\n').filter((line) => line !== '' && line.toLowerCase().includes(wanted))
    return lines.slice(-LOG_LINES)
  }

  /** Removes an installed ComfyUI's program; models, pictures and custom nodes stay. Others are not touched. */
  async remove(name: string): Promise<void> {
    await this.cancel(name)
    const home = this.#home(name)
    if (!readPointer(home) && !(await unfinishedOf(home))) return
    for (const file of ['current', 'current.part']) await removeDir(path.join(home, file))
    await tidy(home)
    await removeDir(path.join(home, 'generations'))
    await rm(path.join(home, HISTORY), { force: true })
    this.#ended.delete(name)
    this.events.emit('changed', name)
  }

  // ---- inside ----

  #home(name: string) {
    return path.join(this.#deps.dataDir, 'engines', name)
  }

  #logOf(name: string, generation: string) {
    return path.join(this.#deps.dataDir, 'logs', `install-${name}-${generation}.log`)
  }

  /** How earlier ones ended; one that was killed is told as stopped. */
  async #remember(name: string) {
    const home = this.#home(name)
    const text = await readFile(path.join(home, HISTORY), 'utf8').catch(() => null)
    const kept = text === null ? null : History.safeParse(orNull(() => parseJson(text)))
    const views = kept?.success ? kept.data : []
    const unfinished = await unfinishedOf(home)
    if (unfinished && !views.some(({ generation }) => generation === unfinished.id)) {
      const { purpose, findings, switched, createdAt, done } = unfinished.journal
      views.unshift({
        ...{ name, purpose, findings, switched, is: 'cancelled', failure: null },
        ...{ log: this.#logOf(name, unfinished.id), generation: unfinished.id, startedAt: createdAt },
        steps: done.map((id) => ({ id, is: 'done', bytes: 0, totalBytes: null, etaSeconds: null })),
      })
    }
    if (views.length > 0) this.#ended.set(name, views)
  }

  async #keep(view: InstallView) {
    const { name, generation } = view
    const others = (this.#ended.get(name) ?? []).filter((each) => each.generation !== generation)
    const all = [view, ...others]
    this.#ended.set(name, all.slice(0, REMEMBERED))
    for (const gone of all.slice(REMEMBERED)) await rm(this.#logOf(name, gone.generation), { force: true })
    writeWholeSync(path.join(this.#home(name), HISTORY), writeJson(this.#ended.get(name) as never))
  }

  async #examine(name: string): Promise<Examined> {
    const { localEngine, dataDir, newId, env = process.env } = this.#deps
    const { kind, dir, python, settings, processes } = localEngine.view(name)
    const machine = await localEngine.machine()
    const current = kind === 'installed' ? await this.#current(name) : null
    const states = processes.map(({ state }) => state)
    const failed = states.find((state) => state.is === 'failed')
    const nodes = processes.flatMap(({ facts }) => facts.customNodes.filter((node) => node.failed))
    await mkdir(path.join(dataDir, 'logs'), { recursive: true })
    return examine({
      kind,
      dir,
      python,
      base: settings.baseDir ?? dir,
      installed: current && {
        home: this.#home(name),
        generation: current.dir,
        cache: path.join(dataDir, 'cache', 'uv'),
        cpu: current.journal.choices.cpu,
      },
      machine,
      failed: failed?.is === 'failed' ? failed.because : null,
      failedNodes: [...new Set(nodes.map(({ folder }) => path.basename(folder)))],
      command: {
        env: { ...env, PYTHONDONTWRITEBYTECODE: '1' },
        signal: AbortSignal.timeout(EXAMINE_WITHIN_MS),
        log: path.join(dataDir, 'logs', `doctor-${name}.log`),
      },
      mark: `nightshift-${newId()}`,
    })
  }

  #repair(name: string, choices: InstallChoices, { lock, damages }: Examined): Promise<InstallView> {
    return this.#begin(name, 'repair', choices, lock && { lock, damages: [...damages] })
  }

  /** Credentials in addresses are kept with the other secrets, apart from what is written down of an installation. */
  #withoutUsers(choices: InstallChoices): InstallChoices {
    const { secrets } = this.#deps
    const plain = (address: string | null) => {
      const { bare, user } = withoutUser(address)
      if (bare !== null && user !== null && secrets.get(SECRET + bare) !== user) secrets.set(SECRET + bare, user)
      return bare
    }
    const { source, findLinks, index, proxy } = choices
    return { ...choices, source: plain(source), findLinks: plain(findLinks), index: plain(index), proxy: plain(proxy) }
  }
  #withUser(address: string): string {
    const user = this.#deps.secrets.get(SECRET + address)
    return user === undefined ? address : address.replace('://', `://${user}@`)
  }

  async #current(name: string): Promise<{ dir: string; journal: Journal }> {
    const engine = this.#deps.localEngine.view(name)
    const pointer = readPointer(this.#home(name))
    if (engine.kind !== 'installed' || !pointer) throw new AppError('install.not-ours', { name })
    const dir = generationDir(this.#home(name), pointer.current)
    const journal = await readJournal(dir)
    if (!journal) throw new AppError('install.not-ours', { name })
    return { dir, journal }
  }

  /** What runs cannot be read any more: the newest that can; null: it can. */
  async #lost(name: string): Promise<{ finding: Finding; newest: Generation | undefined } | null> {
    const { kind } = this.#deps.localEngine.view(name)
    const home = this.#home(name)
    const pointer = readPointer(home)
    if (kind !== 'installed' || (pointer && (await readJournal(generationDir(home, pointer.current))))) return null
    const [newest] = await listGenerations(home)
    const finding: Finding = newest
      ? { ...upkeep('bad', 'doctor.lost', { dir: home, generation: newest.id }), mend: 'repair' }
      : upkeep('bad', 'doctor.lost-all', { dir: home })
    return { finding, newest }
  }

  async #recipe(name: string, choices: InstallChoices, generation: string): Promise<Recipe> {
    const { dataDir, localEngine, network, locale, env = process.env } = this.#deps
    const { report } = await localEngine.machine()
    return planInstall(report, {
      name,
      dataDir,
      choices,
      mirrors: network.mirrors.ordered(),
      timeZone: Intl.DateTimeFormat().resolvedOptions().timeZone,
      locale,
      noPythonDownloads: env.UV_PYTHON_DOWNLOADS === 'never',
      generation,
    })
  }

  async #begin(
    name: string,
    purpose: InstallPurpose,
    given: InstallChoices,
    locked: { lock: Lock; damages: Damage[] } | null,
  ): Promise<InstallView> {
    this.#refuseBusy(name)
    const choices = this.#withoutUsers(given)
    const stopping = new AbortController()
    const view: InstallView = {
      name,
      purpose,
      is: 'running',
      steps: [],
      findings: [],
      switched: [],
      failure: null,
      log: '',
      generation: '',
      startedAt: this.#deps.clock.now(),
    }
    const running: Running = { stopping, view, done: Promise.resolve() }
    this.#running.set(name, running)
    try {
      const { clock, newId } = this.#deps
      const home = this.#home(name)
      const unfinished = await unfinishedOf(home)
      const same =
        unfinished?.journal.purpose === purpose &&
        JSON.stringify(unfinished.journal.choices) === JSON.stringify(choices)
      const stamp = new Date(clock.now())
        .toISOString()
        .replace(/\.\d+Z$/, '')
        .replace(/\D/g, '')
      const generation = same ? unfinished.id : `${stamp}-${newId().slice(0, 4)}`
      const dir = generationDir(home, generation)
      const recipe = await this.#recipe(name, choices, generation)
      view.findings = [...recipe.plan.findings.filter(({ level }) => level !== 'good')]
      view.steps = recipe.plan.steps.map(({ id }) => ({
        id,
        is: 'waiting',
        bytes: 0,
        totalBytes: null,
        etaSeconds: null,
      }))
      view.log = this.#logOf(name, generation)
      view.generation = generation
      await mkdir(path.dirname(view.log), { recursive: true })
      const journal: Journal = same
        ? unfinished.journal
        : {
            purpose,
            choices,
            createdAt: clock.now(),
            done: [],
            python: null,
            version: null,
            commit: null,
            torch: null,
            findings: [],
            switched: [],
            speedUps: [],
            manager: null,
            sizeBytes: null,
          }
      await mkdir(dir, { recursive: true })
      await tidy(home, generation)
      if (!same) await writeJournal(dir, journal)
      running.done = this.#carryOut(running, { recipe, generation, dir, journal, locked })
    } catch (cause) {
      this.#running.delete(name)
      throw cause
    }
    return structuredClone(view)
  }

  async #carryOut(
    { stopping, view }: Running,
    job: {
      recipe: Recipe
      generation: string
      dir: string
      journal: Journal
      locked: { lock: Lock; damages: Damage[] } | null
    },
  ) {
    const { name } = view
    const { localEngine, dataDir, clock, network, env = process.env, log, point } = this.#deps
    const home = this.#home(name)
    const pointer = readPointer(home)
    const { report } = await localEngine.machine()
    const { proxy } = job.journal.choices
    const fullProxy = proxy === null ? null : this.#withUser(proxy)
    const own = fullProxy === null ? null : dispatcherFor(fullProxy, env)
    let again = async () => {}
    const onStep = (step: InstallStep) => {
      view.steps = view.steps.map((before) => (before.id === step.id ? step : before))
      view.findings = [...job.recipe.plan.findings.filter(({ level }) => level !== 'good'), ...job.journal.findings]
      view.switched = job.journal.switched
      this.events.emit('changed', name)
    }
    log?.('install.begun', { name, purpose: view.purpose, generation: job.generation })
    try {
      await carryOut({
        ...job,
        proxy: fullProxy,
        withUser: (address) => this.#withUser(address),
        log: view.log,
        beforeSwitch: async () => {
          again = await localEngine.rest(name, stopping.signal)
        },
        like: pointer ? sourceDir(generationDir(home, pointer.current)) : null,
        stateDir: path.join(dataDir, 'engines', '.running'),
        dispatcher: own ?? network.dispatcher(),
        env: network.childEnvironment(env, { mirrors: false }),
        platform: process.platform,
        arch: process.arch,
        pythons: report.pythons.map((python) => python.path),
        now: clock.now,
        signal: stopping.signal,
        onStep,
        point,
      })
      await this.#takeOver(name)
      await tidy(home)
      view.is = 'done'
    } catch (cause) {
      view.is = stopping.signal.aborted ? 'cancelled' : 'failed'
      if (view.is === 'failed') view.failure = toFailure(cause)
    } finally {
      await Promise.all([own?.destroy(), again()])
      log?.('install.ended', { name, is: view.is, ...(view.failure && { code: view.failure.code }) })
      this.#running.delete(name)
      await this.#keep(view).catch(() => {}) // a full disk must not hide how it ended
      this.events.emit('changed', name)
    }
  }

  #refuseBusy(name: string) {
    if (this.#running.has(name) || this.#lent.has(name)) throw new AppError('install.busy', { name })
  }

  /** The engine runs what the pointer says from now on. */
  async #takeOver(name: string) {
    const { localEngine } = this.#deps
    const home = this.#home(name)
    const pointer = readPointer(home)
    const journal = pointer && (await readJournal(generationDir(home, pointer.current)))
    if (!journal) return
    const settings = EngineSettings.parse({
      cards: await localEngine.cards(journal.choices.cpu),
      baseDir: path.join(home, 'base'),
    })
    await localEngine.takeOver(name, home, settings)
  }
}

const HISTORY = 'installs.json'
const History = z.array(InstallView)
const EXAMINE_WITHIN_MS = 120_000
const SECRET = 'install '

/** An address, and the `user:password` in it. Pure. */
export function withoutUser(address: string | null): { bare: string | null; user: string | null } {
  const found = address === null ? null : /^([a-z][a-z\d+.-]*:\/\/)([^/@\s]*:[^/@\s]*)@(.*)$/i.exec(address)
  return found ? { bare: found[1]! + found[3]!, user: found[2]! } : { bare: address, user: null }
}

function orNull<T>(read: () => T): T | null {
  try {
    return read()
  } catch {
    return null
  }
}
