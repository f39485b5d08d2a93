import { randomUUID } from 'node:crypto'
import { mkdir, readdir, readFile, rm, stat, statfs, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import type { Dispatcher } from 'undici'
import type { Finding, InstallStep, InstallStepId, SpeedUp } from '../../contract/engine.ts'
import { EngineSettings } from '../../contract/engine.ts'
import { AppError, toFailure } from '../../contract/errors.ts'
import { isJsonObject, parseJson } from '../../contract/json.ts'
import { flagsOf, speedUpFor, speedUpNames } from '../../domain/speed-ups.ts'
import { upkeep } from '../../domain/upkeep.ts'
import { hostOf } from '../download/fetch-file.ts'
import { flagsIn, launchOf } from '../process/launch.ts'
import { LineLog } from '../process/line-log.ts'
import { type Pace, Supervisor, startSomewhere } from '../process/supervisor.ts'
import { paintCanary } from './canary.ts'
import { CommandFailed, type CommandOptions, runCommand } from './command.ts'
import {
  flagsFor,
  type Journal,
  pythonOf,
  readPointer,
  removeDir,
  sizeOf,
  sourceDir,
  writeJournal,
  writePointer,
} from './generations.ts'
import { type Damage, type Lock, requirementsIn, sitePackages, writeLock } from './lock.ts'
import { checkSpace, placesOf, type Recipe, type Volume } from './plan.ts'
import { getSource } from './source.ts'
import { findUv, fromAny, indexSetIn, UvStory, uvEnvironment } from './uv.ts'

export interface Job {
  readonly recipe: Recipe
  readonly generation: string
  /** generations/<id> */
  readonly dir: string
  readonly journal: Journal
  /** As chosen, with its credentials, which the journal does not hold. */
  readonly proxy: string | null
  /** The same of addresses: how they read without credentials, and with them. */
  readonly withUser: (address: string) => string
  readonly log: string
  /** Called before what runs is replaced: resolves when nothing is under way there. */
  readonly beforeSwitch?: () => Promise<void>
  /** The checkout that runs now; what it has need not be fetched. */
  readonly like: string | null
  /** What to install instead of what the source requires. */
  readonly locked: { readonly lock: Lock; readonly damages: readonly Damage[] } | null
  readonly stateDir: string
  readonly dispatcher: Dispatcher
  readonly env: NodeJS.ProcessEnv
  readonly platform: NodeJS.Platform
  readonly arch: string
  readonly pythons: readonly string[]
  readonly now: () => number
  readonly signal: AbortSignal
  readonly onStep: (step: InstallStep) => void
  /** For tests of recovery. */
  readonly point?: (name: string) => void
  readonly pace?: Partial<Pace>
  readonly volumeOf?: (dir: string) => Promise<Volume>
}

const COMPANIONS = ['torchvision', 'torchaudio']
const TORCH_FAMILY = /^\s*(torch|torchvision|torchaudio)\s*(?:$|[\s<>=!~;[#@])/i

/**
 * Makes a generation and points the engine at it; goes on where the journal ends.
 * @throws AppError install.*, engine.*; the reason of an aborted signal
 */
export async function carryOut(job: Job): Promise<Journal> {
  const { recipe, journal, dir, signal, point } = job
  await mkdir(dir, { recursive: true })
  await refuseSmallDisks(job)
  const install = new Installation(job)
  const todo = recipe.plan.steps.map(({ id }) => id)
  for (const id of todo) {
    signal.throwIfAborted()
    // uv is looked for each time: it may be gone
    if (journal.done.includes(id) && id !== 'uv') {
      job.onStep({ id, is: 'done', bytes: 0, totalBytes: null, etaSeconds: null })
      continue
    }
    const since = performance.now()
    const tell = (is: InstallStep['is'], bytes = 0, totalBytes: number | null = null) => {
      const rate = bytes / Math.max(0.001, (performance.now() - since) / 1000)
      const etaSeconds = totalBytes === null || rate === 0 ? null : Math.ceil((totalBytes - bytes) / rate)
      job.onStep({ id, is, bytes, totalBytes, etaSeconds })
    }
    tell('running')
    point?.(`install.${id}`)
    try {
      await install.steps[id]((bytes, total) => tell('running', bytes, total))
    } catch (cause) {
      tell('failed')
      signal.throwIfAborted()
      if (!(cause instanceof CommandFailed)) throw cause
      throw new AppError('install.step-failed', { step: id, reason: cause.message, log: job.log }, { cause })
    }
    if (!journal.done.includes(id)) journal.done.push(id)
    await writeJournal(dir, journal)
    point?.(`install.${id}.done`)
    tell('done')
  }
  return journal
}

async function refuseSmallDisks({ recipe: { plan }, journal, env, volumeOf = volumeOfDir }: Job) {
  const temp = env.TMPDIR ?? env.TEMP ?? tmpdir()
  const places = placesOf(plan, { temp, missing: (id) => !journal.done.includes(id) })
  checkSpace(await Promise.all(places.map(async (place) => ({ ...place, volume: await volumeOf(place.dir) }))))
}

/** Of a folder that may not be there yet. */
async function volumeOfDir(dir: string): Promise<Volume> {
  for (let at = dir; ; at = path.dirname(at)) {
    try {
      const [{ dev }, { bavail, bsize }] = await Promise.all([stat(at), statfs(at)])
      return { id: String(dev), freeBytes: bavail * bsize }
    } catch (cause) {
      if (at === path.dirname(at)) throw cause
    }
  }
}

/** As settings of git in the environment, since others can read a command line. */
function gitCredentials({ journal, withUser }: Job): NodeJS.ProcessEnv {
  const { source } = journal.choices
  const full = source === null ? null : withUser(source)
  if (source === null || full === source) return {}
  return { GIT_CONFIG_COUNT: '1', GIT_CONFIG_KEY_0: `url.${full}.insteadOf`, GIT_CONFIG_VALUE_0: source }
}

type OnBytes = (bytes: number, total: number | null) => void

class Installation {
  readonly #job: Job
  readonly #command: CommandOptions
  readonly #python: string
  #uv = 'uv'

  constructor(job: Job) {
    this.#job = job
    const { recipe, dir, signal, proxy, log } = job
    const tools = path.join(path.dirname(recipe.plan.home), '.tools')
    const env = uvEnvironment(job.env, {
      cache: recipe.plan.cache,
      pythons: path.join(tools, 'python'),
      proxy,
    })
    this.#command = { env: { ...env, ...gitCredentials(job) }, signal, log }
    this.#python = pythonOf(dir, job.platform)
  }

  readonly steps: Record<InstallStepId, (onBytes: OnBytes) => Promise<void>> = {
    uv: (onBytes) => this.#findUv(onBytes),
    python: () => this.#choosePython(),
    source: (onBytes) => this.#source(onBytes),
    environment: () => this.#environment(),
    torch: (onBytes) => this.#torch(onBytes),
    requirements: (onBytes) => this.#requirements(onBytes),
    manager: (onBytes) => this.#manager(onBytes),
    'speed-ups': (onBytes) => this.#speedUps(onBytes),
    lock: () => this.#lock(),
    check: () => this.#check(),
    trial: () => this.#trial(),
    switch: () => this.#switch(),
  }

  // ---- the steps ----

  async #findUv(onBytes: OnBytes) {
    const { recipe, dispatcher, platform, arch, pythons, signal } = this.#job
    const { env, log } = this.#command
    const toolsDir = path.join(path.dirname(recipe.plan.home), '.tools', 'uv')
    const indexes = this.#indexes()
    const pipEnv = this.#job.env
    const wanted = { toolsDir, indexes, dispatcher, env, pipEnv, log, platform, arch, pythons, signal, onBytes }
    const { uv, switched } = await findUv(wanted)
    this.#uv = uv
    this.#note({ switched })
  }

  async #choosePython() {
    const { recipe, journal } = this.#job
    const { python } = recipe
    let program = python.is === 'program' ? python.path : null
    if (python.is === 'version') {
      const builds = recipe.pythonBuilds.length > 0 ? recipe.pythonBuilds : ['']
      const { switched } = await fromAny(
        builds,
        (mirror) =>
          runCommand(this.#uv, ['python', 'install', python.version], {
            ...this.#command,
            env: { ...this.#command.env, ...(mirror !== '' && { UV_PYTHON_INSTALL_MIRROR: mirror }) },
          }),
        this.#job.signal,
      )
      this.#note({ switched })
      program = (
        await runCommand(this.#uv, ['python', 'find', '--managed-python', python.version], this.#command)
      ).trim()
    }
    const version = await runCommand(
      program!,
      ['-c', 'import sys; print("%d.%d" % sys.version_info[:2])'],
      this.#command,
    ).catch((cause: Error) => {
      throw new AppError('install.no-python', { found: `${program}: ${cause.message}` })
    })
    const [major = 0, minor = 0] = version.trim().split('.').map(Number)
    if (major !== 3 || minor < 10) throw new AppError('install.no-python', { found: version.trim() })
    journal.python = program
  }

  async #source(onBytes: OnBytes) {
    const { recipe, journal, dir, dispatcher, like, locked } = this.#job
    const source = locked && like ? ({ is: 'folder', dir: like } as const) : recipe.source
    const got = await getSource({
      source,
      addresses: recipe.plan.steps.find(({ id }) => id === 'source')!.from,
      ref: locked ? null : journal.choices.ref,
      to: sourceDir(dir),
      like,
      python: journal.python!,
      dispatcher,
      command: this.#command,
      onBytes,
    })
    journal.version = got.version
    journal.commit = got.commit
    this.#note(got)
  }

  async #environment() {
    const { dir, journal } = this.#job
    const venv = path.join(dir, 'venv')
    await removeDir(venv)
    await runCommand(
      this.#uv,
      ['venv', '--quiet', '--python', journal.python!, '--no-python-downloads', venv],
      this.#command,
    )
  }

  async #torch(onBytes: OnBytes) {
    const { recipe, journal, locked } = this.#job
    const { findLinks } = journal.choices
    const kept = locked?.lock.packages.torch
    const spec = kept ? `torch==${kept.version}` : recipe.torchSpec
    if (locked) await this.#forget(locked.damages)
    if (locked && !kept) return
    if (!locked && !(await this.#requires()).has('torch') && journal.choices.torch === null) return
    const alone = () => this.#pip(['--no-deps', '--no-index', '--find-links', findLinks!, spec], onBytes)
    const found =
      findLinks !== null &&
      (await alone().then(
        () => true,
        (cause) => {
          if (!(cause instanceof CommandFailed)) throw cause
          return false
        },
      ))
    if (!found) await this.#fromTorchIndex([spec], onBytes)
    journal.torch = (await this.#installed()).get('torch') ?? null
    await this.#constrain()
    if (locked) return
    const required = await this.#requires()
    for (const name of COMPANIONS) if (required.has(name)) await this.#companion(name, onBytes)
    await this.#constrain()
  }

  async #requirements(onBytes: OnBytes) {
    const { dir, locked, recipe } = this.#job
    const file = path.join(dir, 'requirements.txt')
    if (locked) {
      await writeFile(file, requirementsIn(locked.lock).join('\n'))
      await this.#fromIndexes(['--no-deps', '-r', file], onBytes)
      await this.#mendCompanions(locked.lock)
      return
    }
    const said = await readFile(path.join(sourceDir(dir), 'requirements.txt'), 'utf8')
    const others = said.split(/\r?\n/).filter((line) => !TORCH_FAMILY.test(line))
    // many custom nodes call pip
    await writeFile(file, [...others, 'pip'].join('\n'))
    await this.#fromIndexes(['-r', file, ...this.#constraints()], onBytes)
    await this.#nodesRequirements(path.join(recipe.plan.base, 'custom_nodes'), onBytes)
  }

  /** A ComfyUI that can use the Manager as a package names the version it wants. */
  async #manager(onBytes: OnBytes) {
    const { dir, journal, locked } = this.#job
    const source = sourceDir(dir)
    const file = path.join(source, 'manager_requirements.txt')
    const flags = await readFile(path.join(source, 'comfy', 'cli_args.py'), 'utf8').catch(() => '')
    if (!flagsIn(flags).has('--enable-manager') || !(await stat(file).catch(() => null))) {
      journal.manager = false
      this.#note({ findings: [upkeep('warning', 'install.manager-older')] })
      return
    }
    if (!locked) await this.#fromIndexes(['-r', file, ...this.#constraints()], onBytes)
    journal.manager = true
  }

  /** Each is tried on the card before it stays. */
  async #speedUps(onBytes: OnBytes) {
    const { recipe, journal, locked } = this.#job
    const wanted = journal.choices.speedUps
    journal.speedUps = []
    const python = (
      await runCommand(this.#python, ['-c', 'import sys; print("%d.%d" % sys.version_info[:2])'], this.#command)
    ).trim()
    for (const id of wanted) {
      const speedUp = speedUpNames[id]
      const choice = speedUpFor(id, { ...recipe.speedUpFacts, torch: journal.torch, python })
      if (choice.is === 'none') {
        this.#note({ findings: [upkeep('warning', 'install.speed-up-none', { speedUp, reason: choice.why.message })] })
        continue
      }
      try {
        for (const each of choice.packages) {
          if (locked) break
          if (each.is === 'spec') await this.#fromIndexes([each.spec, ...this.#constraints()], onBytes)
          else {
            const addresses = recipe.addressesIn(each.source, each.path)
            const attempt = (address: string) => this.#pip(['--no-deps', address], onBytes)
            this.#note(await fromAny(addresses, attempt, this.#job.signal))
          }
        }
        await runCommand(this.#python, ['-c', SPEED_UP_CHECKS[id]], this.#command)
        journal.speedUps.push(id)
      } catch (cause) {
        this.#job.signal.throwIfAborted()
        if (!(cause instanceof CommandFailed)) throw cause
        await this.#dropSpeedUp(id, cause.message)
      }
    }
  }

  async #dropSpeedUp(id: SpeedUp, reason: string) {
    const { journal } = this.#job
    journal.speedUps = journal.speedUps.filter((each) => each !== id)
    const there = await this.#installed()
    const packages = SPEED_UP_PACKAGES[id].filter((name) => there.has(name))
    if (packages.length > 0)
      await runCommand(this.#uv, ['pip', 'uninstall', '--python', this.#python, ...packages], this.#command)
    this.#note({ findings: [upkeep('warning', 'install.speed-up-dropped', { speedUp: speedUpNames[id], reason })] })
  }

  async #lock() {
    const { journal } = this.#job
    const now = (await this.#installed()).get('torch') ?? null
    if (journal.torch !== null && now !== journal.torch)
      throw new AppError('install.torch-changed', { wanted: journal.torch, found: now ?? '-' })
    await writeLock(this.#job.dir)
  }

  /** A first start, and without what is to make it faster a second one where the first fails. */
  async #trial() {
    const { journal, dir, signal } = this.#job
    try {
      await this.#start()
    } catch (cause) {
      signal.throwIfAborted()
      if (flagsOf(journal.speedUps).length === 0) throw cause
      const { message } = toFailure(cause)
      for (const id of journal.speedUps) if (flagsOf([id]).length > 0) await this.#dropSpeedUp(id, message)
      await writeLock(dir)
      await this.#start()
    }
    journal.sizeBytes = await sizeOf(dir)
  }

  async #check() {
    const { journal, recipe } = this.#job
    if (journal.torch === null) return
    const ask = () => runCommand(this.#python, ['-c', CHECK], this.#command)
    // libraries of more than a gigabyte may not load in a moment of little memory
    const said = parseJson(await ask().catch(ask))
    if (!isJsonObject(said)) throw new AppError('app.internal', { reason: 'PyTorch says nothing' })
    const { torch } = recipe.plan
    if (/^cu|^rocm/.test(torch) && said.cuda !== true)
      throw new AppError('install.no-cuda', { torch: String(said.version) })
  }

  /** In a folder of its own, with a picture. */
  async #start() {
    const { dir, recipe, stateDir, env, platform, now, signal, pace } = this.#job
    const base = path.join(dir, 'trial')
    await removeDir(base)
    await Promise.all(
      ['models', 'input', 'output', 'user', 'custom_nodes', 'temp'].map((name) =>
        mkdir(path.join(base, name), { recursive: true }),
      ),
    )
    const card = { card: recipe.plan.torch === 'cpu' ? 'cpu' : 'auto', flags: [], port: null }
    const settings = EngineSettings.parse({ cards: [card], baseDir: base, flags: flagsFor(this.#job.journal) })
    const source = sourceDir(dir)
    const declared = await readFile(path.join(source, 'comfy', 'cli_args.py'), 'utf8').catch(() => null)
    const known = declared === null ? null : flagsIn(declared)
    const log = new LineLog(path.join(dir, 'trial.log'), { now })
    const supervisor = new Supervisor({
      id: `${recipe.plan.name}.trial`,
      port: null,
      taken: () => new Set([8188]), // where people look for theirs
      stateDir,
      log,
      newId: randomUUID,
      now,
      pace: { crashes: 1, ...pace },
      launch: (port) =>
        launchOf({
          kind: 'installed',
          dir: source,
          python: this.#python,
          settings,
          card,
          port,
          outputDir: null,
          database: path.join(base, 'trial.db'),
          known,
          platform,
          env: { ...env, PYTHONDONTWRITEBYTECODE: '1' },
        }),
    })
    try {
      await startSomewhere(supervisor, signal)
      const { state } = supervisor
      if (state.is === 'ready') await paintCanary(state.url, signal)
    } finally {
      await supervisor.stop()
      log.close()
      await removeDir(base)
    }
  }

  async #switch() {
    const { recipe, generation, point } = this.#job
    const { home, base } = recipe.plan
    await Promise.all(
      ['models', 'input', 'output', 'user', 'custom_nodes'].map((name) =>
        mkdir(path.join(base, name), { recursive: true }),
      ),
    )
    const before = readPointer(home)
    if (before?.current === generation) return
    await this.#job.beforeSwitch?.()
    await writePointer(home, { current: generation, previous: before?.current ?? null })
    point?.('install.switched')
  }

  // ---- torch's companions ----

  /** torchvision or torchaudio for the PyTorch that is there; a build for another loses its compiled part, or goes. */
  async #companion(name: string, onBytes: OnBytes) {
    const { findLinks } = this.#job.journal.choices
    const local = ['--no-deps', '--no-index', '--find-links', findLinks ?? '', name]
    const attempts = [
      ...(findLinks === null ? [] : [() => this.#pip([...local, ...this.#constraints()], onBytes)]),
      ...(findLinks === null ? [() => this.#fromTorchIndex([name, ...this.#constraints()], onBytes)] : []),
      // with what it needs resolved, so that the version fits; nothing else is there to change
      () => this.#fromIndexes([name, ...this.#constraints()], onBytes),
      () => this.#fromIndexes(['--no-deps', name, ...this.#constraints()], onBytes),
    ]
    for (const attempt of attempts) {
      try {
        await attempt()
      } catch (cause) {
        if (!(cause instanceof CommandFailed)) throw cause
        continue
      }
      if (await this.#imports(name)) return
      if (await this.#withoutCompiled(name)) {
        this.#note({ findings: [upkeep('warning', 'install.companion-partial', { package: name })] })
        return
      }
      await runCommand(this.#uv, ['pip', 'uninstall', '--python', this.#python, name], this.#command)
    }
    this.#note({ findings: [upkeep('warning', 'install.companion-missing', { package: name })] })
  }

  #imports(name: string): Promise<boolean> {
    return runCommand(this.#python, ['-c', `import ${name}`], this.#command).then(
      () => true,
      (cause) => {
        if (!(cause instanceof CommandFailed)) throw cause
        return false
      },
    )
  }

  /** Both packages go on without their libraries, once these are not there or what they would have registered is. */
  async #withoutCompiled(name: string): Promise<boolean> {
    const site = await sitePackages(this.#job.dir)
    const dir = path.join(site, name)
    if (name === 'torchaudio') {
      const libraries = (await readdir(path.join(dir, 'lib')).catch(() => [])).filter((file) =>
        /\.(?:so|pyd|dll|dylib)$/.test(file),
      )
      for (const file of libraries) await rm(path.join(dir, 'lib', file), { force: true })
    } else {
      const fakes = await readFile(path.join(dir, '_meta_registrations.py'), 'utf8').catch(() => '')
      const operators = [...fakes.matchAll(/register_fake\("torchvision::(\w+)"\)/g)].map(([, operator]) => operator!)
      if (operators.length === 0) return false
      await writeFile(path.join(site, 'nightshift_torchvision.py'), declaring(operators))
      await writeFile(path.join(site, 'nightshift_torchvision.pth'), 'import nightshift_torchvision\n')
    }
    return this.#imports(name)
  }

  async #mendCompanions({ packages }: Lock) {
    for (const name of COMPANIONS) if (packages[name] && !(await this.#imports(name))) await this.#withoutCompiled(name)
  }

  // ---- uv ----

  /** Custom nodes may ask for anything but another PyTorch. */
  async #nodesRequirements(customNodes: string, onBytes: OnBytes) {
    for (const folder of await readdir(customNodes).catch(() => [])) {
      const file = path.join(customNodes, folder, 'requirements.txt')
      const said = /\.disabled$|^\./.test(folder) ? null : await readFile(file, 'utf8').catch(() => null)
      if (said === null) continue
      const lines = said.split(/\r?\n/).filter((line) => !TORCH_FAMILY.test(line))
      const own = path.join(this.#job.dir, 'node-requirements.txt')
      await writeFile(own, lines.join('\n'))
      try {
        await this.#fromIndexes(['-r', own, ...this.#constraints()], onBytes)
      } catch (cause) {
        if (!(cause instanceof CommandFailed)) throw cause
        this.#note({ findings: [upkeep('warning', 'install.nodes-requirements', { folder, reason: cause.message })] })
      }
    }
  }

  /** The torch packages a source asks for. */
  async #requires(): Promise<Set<string>> {
    const said = await readFile(path.join(sourceDir(this.#job.dir), 'requirements.txt'), 'utf8').catch(() => '')
    return new Set(said.split(/\r?\n/).flatMap((line) => TORCH_FAMILY.exec(line)?.[1]?.toLowerCase() ?? []))
  }

  #links(): string[] {
    const { findLinks } = this.#job.journal.choices
    return findLinks === null ? [] : ['--find-links', findLinks]
  }

  #indexes(): readonly string[] {
    const own = indexSetIn(this.#job.env)
    const { indexes } = this.#job.recipe
    return own === null || this.#job.journal.choices.index !== null ? indexes : [own, ...indexes]
  }

  async #fromIndexes(args: readonly string[], onBytes: OnBytes) {
    const attempt = (index: string) => this.#pip([...this.#links(), ...args], onBytes, index)
    this.#note(await fromAny(this.#indexes(), attempt, this.#job.signal))
  }

  async #fromTorchIndex(args: readonly string[], onBytes: OnBytes) {
    const { torchIndexes } = this.#job.recipe
    if (torchIndexes.length === 0) return this.#fromIndexes(args, onBytes)
    const ordinary = this.#indexes()
    const attempt = (index: string) => {
      const beside = ordinary[torchIndexes.indexOf(index)] ?? ordinary[0]!
      return this.#pip([...this.#links(), '--index', index, ...args], onBytes, beside)
    }
    try {
      this.#note(await fromAny(torchIndexes, attempt, this.#job.signal))
    } catch (cause) {
      // an index of one's own may have it too
      if (this.#job.journal.choices.findLinks === null || !(cause instanceof CommandFailed)) throw cause
      await this.#fromIndexes(args, onBytes)
    }
  }

  /** Addresses that may hold credentials are not said on the command line, which others can read. */
  #pip(args: readonly string[], onBytes: OnBytes, index?: string): Promise<string> {
    const { withUser } = this.#job
    const { findLinks } = this.#job.journal.choices
    const secretLinks = findLinks !== null && withUser(findLinks) !== findLinks
    const at = secretLinks ? args.indexOf('--find-links') : -1
    const said = at < 0 ? args : args.toSpliced(at, 2)
    const story = new UvStory()
    const onLine = (line: string) => {
      const heard = story.hear(line)
      if (heard) onBytes(heard.bytes, heard.totalBytes)
    }
    // relative, since a list of files is split at spaces
    return runCommand(this.#uv, ['pip', 'install', '--python', this.#python, ...said], {
      ...this.#command,
      env: {
        ...this.#command.env,
        ...(index !== undefined && { UV_DEFAULT_INDEX: withUser(index) }),
        ...(at >= 0 && { UV_FIND_LINKS: withUser(findLinks!) }),
      },
      cwd: this.#job.dir,
      onLine,
    })
  }

  #constraints(): string[] {
    return this.#job.journal.torch === null ? [] : ['--constraint', path.join(this.#job.dir, 'torch.txt')]
  }

  /** What is there of PyTorch stays: nothing installed later may bring another. */
  async #constrain() {
    const installed = await this.#installed()
    const family = ['torch', ...COMPANIONS].flatMap((name) =>
      installed.has(name) ? [`${name}==${installed.get(name)}`] : [],
    )
    await writeFile(path.join(this.#job.dir, 'torch.txt'), family.join('\n'))
  }

  /** What was damaged may be so in the cache too, since both are one file. */
  async #forget(damages: readonly Damage[]) {
    const names = [...new Set(damages.map((damage) => damage.package))]
    if (names.length > 0) await runCommand(this.#uv, ['cache', 'clean', ...names], this.#command)
  }

  async #installed(): Promise<Map<string, string>> {
    const said = await runCommand(this.#uv, ['pip', 'freeze', '--python', this.#python], this.#command)
    return new Map(
      [...said.matchAll(/^([\w.-]+)(?:==| @ )(\S+)$/gm)].map(([, name, version]) => [name!.toLowerCase(), version!]),
    )
  }

  #note({
    switched = [],
    findings = [],
  }: {
    switched?: readonly Journal['switched'][number][]
    findings?: readonly Finding[]
  }) {
    const { journal } = this.#job
    for (const each of switched)
      journal.switched.push({ from: hostOf(each.from), to: hostOf(each.to), reason: each.reason })
    journal.findings.push(...findings)
  }
}

const CHECK = `import json, torch
cuda = getattr(torch, "cuda", None)
print(json.dumps({"version": str(torch.__version__), "cuda": bool(cuda and cuda.is_available())}))`

/** Runs before torchvision is imported, and only then; see Python's site module for .pth files. */
const declaring = (
  operators: readonly string[],
) => `"""Written by Nightshift: torchvision's compiled part does not fit this PyTorch, so the names it would have registered
are declared here. Whatever calls them is told that they are not implemented."""
import sys
from importlib.abc import MetaPathFinder

_kept = []


class _Declare(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "torchvision":
            sys.meta_path.remove(self)
            import torch

            library = torch.library.Library("torchvision", "FRAGMENT")
            for operator in ${JSON.stringify(operators)}:
                library.define(operator + "(Tensor a, Tensor b, float c) -> Tensor")
            _kept.append(library)
        return None


sys.meta_path.insert(0, _Declare())
`

const SPEED_UP_PACKAGES: Record<SpeedUp, readonly string[]> = {
  'sage-attention': ['sageattention'],
  triton: ['triton-windows'],
  'flash-attention': ['flash-attn', 'flash_attn'],
}
/** ComfyUI goes on with PyTorch's own attention where another fails, so each is asked itself. */
const COMPARED = (attention: string) => `import sys, torch
${attention}
q, k, v = (torch.randn(1, 8, 256, 64, dtype=torch.float16, device="cuda") for _ in range(3))
want = torch.nn.functional.scaled_dot_product_attention(q, k, v)
got = attend(q, k, v)
off = (got.float() - want.float()).abs().max().item()
if not off < 0.1:
    sys.exit("it computes something else (by %s)" % off)`
const SPEED_UP_CHECKS: Record<SpeedUp, string> = {
  'sage-attention': COMPARED(`from sageattention import sageattn
attend = lambda q, k, v: sageattn(q, k, v, tensor_layout="HND", is_causal=False)`),
  'flash-attention': COMPARED(`from flash_attn import flash_attn_func
turned = lambda x: x.transpose(1, 2).contiguous()
attend = lambda q, k, v: turned(flash_attn_func(turned(q), turned(k), turned(v)))`),
  triton: `import os, sys, tempfile
file = os.path.join(tempfile.mkdtemp(), "kernel.py") # Triton reads a kernel's source from its file
open(file, "w").write('''import torch, triton, triton.language as tl
@triton.jit
def twice(x, y, n: tl.constexpr):
    at = tl.arange(0, n)
    tl.store(y + at, tl.load(x + at) * 2)
a = torch.arange(64, device="cuda", dtype=torch.float32)
b = torch.empty_like(a)
twice[(1,)](a, b, 64)
assert torch.equal(b, a * 2), "it computes something else"
''')
import runpy
runpy.run_path(file)`,
}
