import { EventEmitter } from 'node:events'
import { existsSync } from 'node:fs'
import { access, constants, mkdir, readdir, statfs } from 'node:fs/promises'
import path from 'node:path'
import {
  EngineName,
  EngineSettings,
  type Finding,
  type Generation,
  type InstallChoices,
  type InstallPlan,
  type InstallPurpose,
  type InstallStep,
  type InstallView,
} from '../../core/contract/engine.ts'
import { AppError, toFailure } from '../../core/contract/errors.ts'
import { pathPitfalls, upkeep } from '../../core/domain/upkeep.ts'
import { dispatcherFor } from '../../core/engine/download/fetch-file.ts'
import type { Mirrors } from '../../core/engine/download/mirrors.ts'
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
import { carryOut, flagsFor, logOf } from '../../core/engine/install/installer.ts'
import { type Damage, damageIn, type Lock, readLock } from '../../core/engine/install/lock.ts'
import { planInstall, type Recipe } from '../../core/engine/install/plan.ts'
import type { Clock } from './clock.ts'
import type { LocalEngine } from './local-engine.ts'
import type { Service } from './service.ts'

interface Deps {
  readonly dataDir: string
  readonly localEngine: LocalEngine
  readonly mirrors: () => Mirrors
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

const LOW_DISK_BYTES = 5 * 2 ** 30

/** ComfyUIs that Nightshift installs itself: made beside what runs, tried, and only then run. */
export class Installations implements Service {
  readonly events = new EventEmitter<{ changed: [name: string] }>()
  readonly #deps: Deps
  readonly #running = new Map<string, Running>()
  readonly #ended = new Map<string, InstallView>()

  constructor(deps: Deps) {
    this.#deps = deps
  }

  /** What was finished by a run of ours that was killed before it could say so is taken over. */
  async start() {
    const { dataDir, localEngine } = this.#deps
    for (const name of await readdir(path.join(dataDir, 'engines')).catch(() => [])) {
      if (!EngineName.safeParse(name).success || !readPointer(this.#home(name))) continue
      if (localEngine.list().some((engine) => engine.name === name)) continue
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
  async update(name: string, ref: string | null): Promise<InstallView> {
    const { journal } = await this.#current(name)
    return this.#begin(name, 'update', { ...journal.choices, ref }, null)
  }

  /**
   * Looks an installation over. `mend`: what is damaged is made again beside it.
   * @throws AppError 'install.not-ours'
   */
  async doctor(name: string, mend: boolean): Promise<{ findings: Finding[]; mending: InstallView | null }> {
    const { dir, journal } = await this.#current(name)
    const home = this.#home(name)
    const { report, verdict } = await this.#deps.localEngine.machine()
    const lock = await readLock(dir)
    const damages = lock ? await damageIn(dir, lock) : []
    const findings = told(damages)
    const build = /\+(cu\d+|cpu|rocm|xpu)/.exec(journal.torch ?? '')?.[1]
    if (build && verdict.gpu && !journal.choices.cpu && build !== verdict.torch)
      findings.push(upkeep('warning', 'doctor.torch-other', { found: build, wanted: verdict.torch }))
    const { bavail, bsize } = await statfs(home)
    if (bavail * bsize < LOW_DISK_BYTES)
      findings.push(upkeep('warning', 'doctor.disk-low', { dir: home, free: Math.floor((bavail * bsize) / 2 ** 30) }))
    for (const place of [home, path.join(home, 'base', 'output'), path.join(home, 'base', 'user')])
      if (existsSync(place) && !(await mayWrite(place))) findings.push(upkeep('bad', 'doctor.denied', { dir: place }))
    const volume = report.volumes
      .filter(({ mount }) => home.startsWith(mount))
      .toSorted((a, b) => b.mount.length - a.mount.length)[0]
    findings.push(...pathPitfalls(home, report.platform, volume?.type ?? null))
    if (damages.length === 0)
      findings.push(upkeep('good', 'doctor.healthy', { count: Object.keys(lock?.packages ?? {}).length }))
    const broken = damages.length > 0 || lock === null
    const mending =
      mend && broken ? await this.#begin(name, 'repair', journal.choices, lock && { lock, damages }) : null
    return { findings, mending }
  }

  /** Back to the generation before; a second time, forth again. @throws AppError 'install.no-generation' | 'install.busy' */
  async rollback(name: string): Promise<Generation[]> {
    if (this.#running.has(name)) throw new AppError('install.busy', { name })
    const home = this.#home(name)
    const pointer = readPointer(home)
    const before = pointer?.previous ? await readJournal(generationDir(home, pointer.previous)) : null
    if (!pointer?.previous || !before?.done.includes('trial')) throw new AppError('install.no-generation', { name })
    await writePointer(home, { current: pointer.previous, previous: pointer.current })
    await this.#takeOver(name)
    return listGenerations(home)
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

  /** The one under way, or how the last one ended; null: there was none. */
  view(name: string): InstallView | null {
    return this.#running.get(name)?.view ?? this.#ended.get(name) ?? null
  }
  views(): InstallView[] {
    return [
      ...new Map([...this.#ended, ...[...this.#running].map(([name, { view }]) => [name, view] as const)]).values(),
    ]
  }

  /** Removes an installed ComfyUI's program; models, pictures and custom nodes stay. Others are not touched. */
  async remove(name: string): Promise<void> {
    await this.cancel(name)
    const home = this.#home(name)
    if (!readPointer(home) && !(await unfinishedOf(home))) return
    for (const file of ['current', 'current.part']) await removeDir(path.join(home, file))
    await tidy(home)
    await removeDir(path.join(home, 'generations'))
    this.#ended.delete(name)
    this.events.emit('changed', name)
  }

  // ---- inside ----

  #home(name: string) {
    return path.join(this.#deps.dataDir, 'engines', name)
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

  async #recipe(name: string, choices: InstallChoices, generation: string): Promise<Recipe> {
    const { dataDir, localEngine, mirrors, locale, env = process.env } = this.#deps
    const { report } = await localEngine.machine()
    return planInstall(report, {
      name,
      dataDir,
      choices,
      mirrors: mirrors(),
      timeZone: Intl.DateTimeFormat().resolvedOptions().timeZone,
      locale,
      noPythonDownloads: env.UV_PYTHON_DOWNLOADS === 'never',
      generation,
    })
  }

  async #begin(
    name: string,
    purpose: InstallPurpose,
    choices: InstallChoices,
    locked: { lock: Lock; damages: Damage[] } | null,
  ): Promise<InstallView> {
    if (this.#running.has(name)) throw new AppError('install.busy', { name })
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
      view.log = logOf(dir)
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
    const { localEngine, dataDir, clock, env = process.env, log, point } = this.#deps
    const home = this.#home(name)
    const pointer = readPointer(home)
    const { report } = await localEngine.machine()
    const dispatcher = dispatcherFor(job.journal.choices.proxy, env)
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
        like: pointer ? sourceDir(generationDir(home, pointer.current)) : null,
        stateDir: path.join(dataDir, 'engines', '.running'),
        dispatcher,
        env,
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
      await dispatcher.destroy()
      log?.('install.ended', { name, is: view.is, ...(view.failure && { code: view.failure.code }) })
      this.#running.delete(name)
      this.#ended.set(name, view)
      this.events.emit('changed', name)
    }
  }

  /** The engine runs what the pointer says from now on. */
  async #takeOver(name: string) {
    const { localEngine } = this.#deps
    const home = this.#home(name)
    const pointer = readPointer(home)
    const journal = pointer && (await readJournal(generationDir(home, pointer.current)))
    if (!journal) return
    const settings = EngineSettings.parse({
      cards: [{ card: journal.choices.cpu ? 'cpu' : 'auto' }],
      baseDir: path.join(home, 'base'),
      flags: flagsFor(journal),
    })
    await localEngine.takeOver(name, home, settings)
  }
}

const told = (damages: readonly Damage[]): Finding[] =>
  [...Map.groupBy(damages, (damage) => damage.package).values()].map(([first]) =>
    first!.file === null
      ? upkeep('bad', 'doctor.package-missing', { package: first!.package, version: first!.version })
      : upkeep('bad', 'doctor.package-damaged', {
          package: first!.package,
          version: first!.version,
          file: first!.file,
        }),
  )

const mayWrite = (dir: string) =>
  access(dir, constants.W_OK).then(
    () => true,
    () => false,
  )
