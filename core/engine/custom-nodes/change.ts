import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { z } from 'zod'
import {
  type NodeChange,
  NodeConsent,
  type NodeOrigin,
  NodePlan,
  type NodeResult,
  type NodeScript,
  type NodeSource,
  type NodeStepId,
  type PackageChange,
  type PlannedNode,
  type ScriptRun,
} from '../../contract/custom-node.ts'
import type { Finding } from '../../contract/engine.ts'
import { AppError, FailureError } from '../../contract/errors.ts'
import { parseJson, writeJson } from '../../contract/json.ts'
import { upkeep } from '../../domain/upkeep.ts'
import { CommandFailed, type CommandOptions, runCommand } from '../install/command.ts'
import {
  generationDir,
  pythonOf,
  readJournal,
  readPointer,
  removeDir,
  sourceDir,
  tidy,
  unfinishedOf,
  writeJournal,
} from '../install/generations.ts'
import { normal, writeLock } from '../install/lock.ts'
import { findUv, UvStory, uvEnvironment } from '../install/uv.ts'
import { freeBytes } from '../volume.ts'
import { writeWhole } from '../write-whole.ts'
import { type Fetched, fetchNode } from './fetch.ts'
import {
  copyTree,
  type LiveNode,
  listLive,
  NodeSet,
  pointAt,
  pointBack,
  pointerOf,
  readSet,
  setOfLive,
  settle,
  tidyAside,
  whereIs,
  writeSet,
} from './places.ts'
import { readProject, readRequirements, type Wanted } from './requirements.ts'
import {
  COMFYUI,
  installedIn,
  installResolved,
  isLine,
  locksOf,
  namesOf,
  type Resolved,
  type Resolver,
  resolve,
} from './resolve.ts'
import { scriptsIn, sourceOf } from './scan.ts'
import { currentSite, limitsOf, type NodesSite, type NodesTools, nodesLog, placesOf } from './site.ts'
import { classesIn, classesOf, type NodeClasses, type Trial, type TrialNode, tryNodes } from './trial.ts'

const WantedLine = z.object({
  folder: z.string(),
  file: z.string(),
  line: z.string(),
  package: z.string().nullable(),
  spec: z.string(),
  url: z.string().nullable(),
})
/** A plan with what carrying it out needs, kept until the next one. */
const Kept = z.object({
  plan: NodePlan,
  /** What ran when it was made. */
  at: z.string().nullable(),
  before: NodeSet,
  after: NodeSet,
  taken: z.array(WantedLine),
})
type Kept = z.infer<typeof Kept>

/** The classes and environment of one that is not ours, as they were; for undoing. */
const Packages = z.record(z.string(), z.string())
const PYTHON_MS = 60_000
const UNDO = 'packages.json'
const SHARED_BYTES = 256 * 1024
const BIG_BYTES = 8 * 2 ** 20
const LONGEST_LOG_BYTES = 5e6

const planDir = (site: NodesSite) => path.join(site.home, 'node-plan')

// ---- planning ----

/**
 * What the changes would do; new contents lie aside then, and nothing that runs was touched. The plan before is gone.
 * @throws AppError nodes.*
 */
export async function planNodes(
  given: NodesSite,
  tools: NodesTools,
  changes: readonly NodeChange[],
  consent: NodeConsent = NodeConsent.parse({}),
): Promise<NodePlan> {
  const site = currentSite(given)
  await mkdir(site.home, { recursive: true })
  await settle(site)
  await tidyAside(site)
  await removeDir(planDir(site))
  await mkdir(planDir(site), { recursive: true })
  const log = await stat(nodesLog(site)).catch(() => null)
  if (log && log.size > LONGEST_LOG_BYTES) await removeDir(nodesLog(site))
  const id = stampOf(tools)
  const command = commandOf(site, tools)
  // nothing is fetched for a Python that could not load it
  if (changes.some(({ is }) => is !== 'remove' && is !== 'disable')) await mustAnswer(site, command)
  const places = placesOf(site)
  const into = path.join(places.aside, id)
  const there = await listLive(places.live)
  const before = await setOfLive(site, `live-${id}`)
  const after: NodeSet = { nodes: { ...before.nodes }, classes: null }
  const nodes: PlannedNode[] = []
  const fetched: Fetched[] = []

  await step(tools, 'fetch', async (onBytes) => {
    for (const change of changes) {
      if (change.is === 'add') {
        const got = await fetchNode({
          origin: change.from,
          into,
          folder: change.folder,
          like: null,
          tools,
          command,
          onBytes,
        })
        await refuseTwice(got, places.live, there)
        fetched.push(got)
        after.nodes[got.folder] = { key: id, enabled: true }
        nodes.push(planned('add', got.folder, null, got))
        continue
      }
      const node = there.find(({ folder }) => folder === change.folder)
      if (!node) throw new AppError('nodes.unknown', { folder: change.folder })
      const dir = path.join(places.live, node.name)
      const { source: from, version } = await sourceOf(dir, await readProject(dir))
      if (change.is === 'update') {
        const origin = change.from ?? originOf(from, node.folder)
        const got = await fetchNode({ origin, into, folder: node.folder, like: dir, tools, command, onBytes })
        fetched.push(got)
        after.nodes[node.folder] = { key: id, enabled: node.enabled }
        nodes.push(planned('update', node.folder, from, got))
        continue
      }
      if (change.is === 'remove') delete after.nodes[node.folder]
      else after.nodes[node.folder] = { ...after.nodes[node.folder]!, enabled: change.is === 'enable' }
      nodes.push({
        folder: node.folder,
        change: change.is,
        from,
        to: change.is === 'remove' ? null : from,
        version,
        sizeBytes: 0,
      })
    }
  })

  const asking = new Set(nodes.filter(({ change }) => /add|update|enable/.test(change)).map(({ folder }) => folder))
  const [wanted, leftOut]: [Wanted[], NodePlan['leftOut']] = [[], []]
  const others: Wanted[] = []
  const scripts: NodeScript[] = []
  for (const [folder, { key, enabled }] of Object.entries(after.nodes)) {
    const dir = enabled ? await whereIs(places, folder, key, there) : null
    if (dir === null) continue
    const read = await readRequirements(dir, folder)
    if (!asking.has(folder)) {
      others.push(...read.wanted)
      continue
    }
    leftOut.push(...read.leftOut)
    for (const line of read.wanted) {
      const { spec: _, url: __, ...told } = line
      if (consent.without.some((each) => isLine(line, each.folder, each.line)))
        leftOut.push({ ...told, reason: 'chosen' })
      else wanted.push(line)
    }
    if (fetched.some((each) => each.folder === folder)) scripts.push(...(await scriptsIn(dir, folder)))
  }

  let resolved: Resolved = { packages: [], locked: [], clashes: [], builds: [], leftOut: [], taken: [] }
  if (wanted.length > 0)
    await step(tools, 'resolve', async () => {
      const resolver = await resolverOf(site, tools, command)
      const comfyui = (await readRequirements(site.dir, COMFYUI)).wanted
      resolved = await resolve(resolver, { comfyui, others, wanted, mayBuild: consent.builds })
    })
  else tools.onStep?.({ id: 'resolve', is: 'done', bytes: 0, totalBytes: null })

  const plan: NodePlan = {
    id,
    engine: site.name,
    way: site.kind === 'installed' ? 'beside' : 'in-place',
    nodes,
    packages: resolved.packages,
    locked: resolved.locked,
    clashes: resolved.clashes,
    leftOut: [...leftOut, ...resolved.leftOut],
    builds: resolved.builds,
    scripts,
    diskBytes: fetched.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
    findings: [],
  }
  const kept: Kept = { plan, at: pointerOf(site)?.current ?? null, before, after, taken: [...resolved.taken] }
  await writeWhole(path.join(planDir(site), 'plan.json'), writeJson(kept as never))
  return plan
}

/** @throws AppError 'nodes.no-python' */
async function mustAnswer({ python }: NodesSite, command: CommandOptions) {
  const late = AbortSignal.timeout(PYTHON_MS)
  const signal = AbortSignal.any([late, ...(command.signal ? [command.signal] : [])])
  try {
    await runCommand(python, ['-I', '-c', 'import importlib.metadata, json'], { ...command, signal })
  } catch (cause) {
    command.signal?.throwIfAborted()
    const reason = late.aborted ? 'no answer in time' : (cause as Error).message
    throw new AppError('nodes.no-python', { python, reason }, { cause })
  }
}

const planned = (change: 'add' | 'update', folder: string, from: NodeSource | null, got: Fetched): PlannedNode => ({
  folder,
  change,
  from,
  to: got.source,
  version: got.version,
  sizeBytes: got.sizeBytes,
})

/** The newest of where it is from. */
function originOf(source: NodeSource, folder: string): NodeOrigin {
  if (source.is === 'git' && source.remote !== null) return { is: 'git', url: source.remote, ref: source.branch }
  if (source.is === 'archive' && source.remote !== null)
    return source.commit === null && /\.zip(?:$|\?)/.test(source.remote)
      ? { is: 'archive', url: source.remote }
      : { is: 'git', url: source.remote, ref: null }
  throw new AppError('nodes.no-source', { source: folder, reason: 'it is not known where it is from' })
}

const repositoryOf = (url: string) =>
  url
    .toLowerCase()
    .replace(/^(?:\w+:\/\/|git@)/, '')
    .replace(':', '/')
    .replace(/(?:\.git)?\/*$/, '')

/** Two of one custom node load twice. @throws AppError 'nodes.already' */
async function refuseTwice({ folder, source }: Fetched, live: string, there: readonly LiveNode[]) {
  for (const node of there) {
    if (node.folder.toLowerCase() === folder.toLowerCase()) throw new AppError('nodes.already', { folder: node.folder })
    if (source.is !== 'git' || source.remote === null) continue
    const dir = path.join(live, node.name)
    const { source: other } = await sourceOf(dir, await readProject(dir))
    if (other.is === 'git' && other.remote !== null && repositoryOf(other.remote) === repositoryOf(source.remote))
      throw new AppError('nodes.already', { folder: node.folder })
  }
}

/** The last one made, with what lies ready for it; null: there is none. */
export async function readPlan(site: NodesSite): Promise<NodePlan | null> {
  return (await readKept(site))?.plan ?? null
}
async function readKept(site: NodesSite): Promise<Kept | null> {
  const text = await readFile(path.join(planDir(site), 'plan.json'), 'utf8').catch(() => null)
  const read = text === null ? null : Kept.safeParse(parseJson(text))
  return read?.success ? read.data : null
}

/** Lets go of what was fetched for it. */
export async function forgetPlan(given: NodesSite) {
  await removeDir(planDir(given))
  await tidyAside(currentSite(given))
}

// ---- carrying out ----

/**
 * Does what the plan says: beside what runs, tried there, and only then run. Ended at any moment, it is all old or all new.
 * @throws AppError nodes.*, engine.*; the reason of an aborted signal
 */
export async function carryOutNodes(
  given: NodesSite,
  tools: NodesTools,
  planId: string,
  consent: NodeConsent,
): Promise<NodeResult> {
  const site = currentSite(given)
  const kept = await readKept(site)
  if (!kept || kept.plan.id !== planId) throw new AppError('nodes.plan-gone', { id: planId })
  const pointer = pointerOf(site)
  // a ComfyUI that is not ours has its first set from the first change on
  if (pointer && pointer.current !== (kept.at ?? `live-${planId}`)) {
    // whoever carried it out was ended after it had switched
    const done = await readSet(site, pointer.current)
    await mendPackages(site, tools)
    if (!done || !sameNodes(done, kept.after)) throw new AppError('nodes.plan-gone', { id: planId })
    await settle(site)
    await removeDir(planDir(site))
    const { nodes, packages } = kept.plan
    const classes = Object.fromEntries(nodes.map(({ folder }) => [folder, done.classes?.[folder] ?? []]))
    const generation = site.kind === 'installed' ? pointer.current : null
    return { generation, packages, classes, scripts: [], findings: [] }
  }
  await mendPackages(site, tools)
  const now = await setOfLive(site, `live-${planId}`)
  if (!sameNodes(now, kept.before)) throw new AppError('nodes.plan-gone', { id: planId })
  for (const clash of kept.plan.clashes)
    if (!consent.without.some((each) => isLine(clash.wants, each.folder, each.line)))
      throw new AppError('nodes.clash', { folder: clash.wants.folder, line: clash.wants.line, against: namesOf(clash) })
  const run = new Change(site, tools, kept, consent)
  const result = await (site.kind === 'installed' ? run.beside() : run.inPlace())
  await removeDir(planDir(site))
  return result
}

const sameNodes = (a: NodeSet, b: NodeSet) => {
  const told = ({ nodes }: NodeSet) =>
    Object.entries(nodes).map(([folder, { key, enabled }]) => `${folder} ${key} ${enabled}`)
  return told(a).toSorted().join('\n') === told(b).toSorted().join('\n')
}

class Change {
  readonly #site: NodesSite
  readonly #tools: NodesTools
  readonly #kept: Kept
  readonly #consent: NodeConsent
  readonly #command: CommandOptions
  readonly #findings: Finding[] = []
  #scripts: ScriptRun[] = []

  constructor(site: NodesSite, tools: NodesTools, kept: Kept, consent: NodeConsent) {
    this.#site = site
    this.#tools = tools
    this.#kept = kept
    this.#consent = consent
    this.#command = commandOf(site, tools)
  }

  /** In a generation of its own, from that which runs. */
  async beside(): Promise<NodeResult> {
    const { home } = this.#site
    const pointer = readPointer(home)
    if (!pointer) throw new AppError('install.not-ours', { name: this.#site.name })
    const old = generationDir(home, pointer.current)
    const journal = await readJournal(old)
    if (!journal) throw new AppError('install.not-ours', { name: this.#site.name })
    await tidyGenerations(home) // what was cut off before
    await this.#refuseSmallDisk(journal.sizeBytes)
    const id = stampOf(this.#tools)
    const dir = generationDir(home, id)
    const site = { ...this.#site, dir: sourceDir(dir), python: pythonOf(dir, this.#tools.platform) }
    try {
      await step(this.#tools, 'environment', async () => {
        await writeJournal(dir, { ...journal, purpose: 'nodes', createdAt: this.#tools.now(), done: [] })
        this.#tools.point?.('nodes.environment')
        await this.#environment(old, dir)
      })
      const before = await this.#beforeClasses()
      const packages = await this.#packages(site)
      await step(this.#tools, 'scripts', () => this.#runScripts(site))
      const { classes, brought } = await this.#watchedTrial(site, before)
      if (packages.length > 0 || brought.length > 0 || this.#scripts.length > 0) await writeLock(dir)
      await writeSet(site, pointer.current, { ...this.#kept.before, classes: before?.nodes ?? null })
      await writeSet(site, id, { ...this.#kept.after, classes: classes?.nodes ?? null })
      await writeJournal(dir, { ...journal, purpose: 'nodes', createdAt: this.#tools.now() })
      this.#tools.point?.('nodes.ready')
      await this.#switch(site, id)
      await tidyGenerations(home)
      await tidyAside(site)
      return this.#result(id, [...packages, ...brought], classes)
    } catch (cause) {
      if (readPointer(home)?.current !== id) await removeDir(dir)
      throw cause
    }
  }

  /** A ComfyUI that is not ours: its folders change places, and its packages only where the person agreed. */
  async inPlace(): Promise<NodeResult> {
    const { packages: wanted } = this.#kept.plan
    const runs = this.#allowed()
    if ((wanted.length > 0 || runs.length > 0) && !this.#consent.packages) {
      throw this.#needsConsent([...namesIn(wanted), ...runs.map(({ folder, file }) => `${folder}/${file}`)])
    }
    const id = stampOf(this.#tools)
    const site = this.#site
    const dir = path.join(site.home, 'node-sets', id)
    await mkdir(dir, { recursive: true })
    const before = await this.#beforeClasses()
    // those of a ComfyUI that was never changed by us are its first set
    const first = pointerOf(site)?.current ?? `live-${this.#kept.plan.id}`
    await writeSet(site, first, { ...this.#kept.before, classes: before?.nodes ?? null })
    if (!pointerOf(site)) {
      await pointAt(site, first)
      await settle(site)
    }
    // even a trial runs code that may install what it likes
    const there = this.#isLess()
      ? null
      : await packagesIn(site, this.#command).catch((cause) => {
          if (wanted.length > 0 || runs.length > 0) throw cause
          return null
        })
    if (there) {
      await writeWhole(path.join(site.home, 'node-sets', first, UNDO), writeJson(Object.fromEntries(there)))
      await writeWhole(path.join(site.home, CHANGING), first)
    }
    try {
      tellDone(this.#tools, 'environment')
      const packages = await this.#packages(site)
      await step(this.#tools, 'scripts', () => this.#runScripts(site))
      const { classes, brought } = await this.#watchedTrial(site, before)
      if (brought.length > 0 && !this.#consent.packages) throw this.#needsConsent(namesIn(brought))
      await writeSet(site, id, { ...this.#kept.after, classes: classes?.nodes ?? null })
      this.#tools.point?.('nodes.ready')
      await this.#switch(site, id)
      await removeDir(path.join(site.home, CHANGING))
      return this.#result(null, [...packages, ...brought], classes)
    } catch (cause) {
      if (there) await mendPackages(site, { ...this.#tools, signal: undefined })
      throw cause
    }
  }

  #needsConsent = (what: readonly string[]) =>
    new AppError('nodes.needs-consent', { name: this.#site.name, packages: what.join(', ') })

  // ---- the steps ----

  /** @throws AppError 'install.no-space' */
  async #refuseSmallDisk(sizeBytes: number | null) {
    const { home } = this.#site
    const copied = this.#allowed().length > 0 ? (sizeBytes ?? 4e9) : 0.5e9 // small files are not shared
    const needBytes = copied + this.#kept.plan.diskBytes + 0.5e9
    const free = await freeBytes(home)
    const gib = (bytes: number) => Math.round((bytes / 2 ** 30) * 10) / 10
    if (free !== null && free < needBytes)
      throw new AppError('install.no-space', {
        role: 'target',
        dir: home,
        needGiB: gib(needBytes),
        freeGiB: gib(free),
      })
  }

  /** The same program and packages again; large files are one with theirs until either is replaced. */
  async #environment(old: string, dir: string) {
    const { signal, platform } = this.#tools
    // what runs scripts may also write into files that are there
    const mayWrite = this.#allowed().length > 0
    const least = this.#kept.plan.packages.length > 0 ? SHARED_BYTES : 0
    const linked = (sizeBytes: number) => !mayWrite && sizeBytes >= least
    await copyTree(path.join(old, 'venv'), path.join(dir, 'venv'), { linked, signal })
    await copyTree(sourceDir(old), sourceDir(dir), { linked: (sizeBytes) => sizeBytes > BIG_BYTES, signal })
    for (const name of ['torch.txt', 'lock.json', 'requirements.txt']) {
      const bytes = await readFile(path.join(old, name)).catch(() => null)
      if (bytes) await writeFile(path.join(dir, name), bytes)
    }
    await moveScripts(path.join(dir, 'venv', platform === 'win32' ? 'Scripts' : 'bin'), old, dir)
  }

  async #packages(site: NodesSite): Promise<PackageChange[]> {
    const { plan, taken } = this.#kept
    const resolved = plan.packages.length > 0
    if (!resolved) return tellDone(this.#tools, 'packages') ?? []
    let before = new Map<string, string>()
    let after = before
    await step(this.#tools, 'packages', async (onBytes) => {
      const resolver = await resolverOf(site, this.#tools, this.#command)
      before = await installedIn(resolver)
      const story = new UvStory()
      const onLine = (line: string) => {
        const heard = story.hear(line)
        if (heard) onBytes(heard.bytes, heard.totalBytes)
      }
      this.#tools.point?.('nodes.packages')
      const { builds } = this.#consent
      await installResolved(resolver, { packages: plan.packages, taken }, builds, {
        limitMs: limitsOf(this.#tools).installMs,
        onLine,
      }).catch((cause: unknown) => {
        if (!(cause instanceof CommandFailed)) throw cause
        throw new AppError('nodes.resolve-failed', { reason: cause.message }, { cause })
      })
      after = await installedIn(resolver)
      refuseOtherLocked(before, after, plan.nodes[0]?.folder ?? '?')
    })
    return differences(before, after)
  }

  #allowed(): NodeScript[] {
    return this.#kept.plan.scripts.filter(({ sha256 }) => this.#consent.scripts.includes(sha256))
  }

  async #runScripts(site: NodesSite) {
    const places = placesOf(site)
    const { scriptMs } = limitsOf(this.#tools)
    for (const script of this.#kept.plan.scripts) {
      const { folder, file } = script
      const told = (is: ScriptRun['is'], lastLines: readonly string[] = []) =>
        this.#scripts.push({ folder, file, is, lastLines: lastLines.slice(-20) })
      if (!this.#consent.scripts.includes(script.sha256)) {
        told('not-allowed')
        continue
      }
      const dir = path.join(places.aside, this.#kept.plan.id, folder)
      const [there] = await scriptsIn(dir, folder)
      if (there?.sha256 !== script.sha256) throw new AppError('nodes.plan-gone', { id: this.#kept.plan.id })
      const resolver = await resolverOf(site, this.#tools, this.#command)
      const before = await installedIn(resolver)
      const constraints = path.join(planDir(this.#site), 'script-locked.txt')
      await writeFile(
        constraints,
        locksOf(before)
          .map(({ line }) => line)
          .join('\n'),
      )
      const bin = path.dirname(site.python)
      const env: NodeJS.ProcessEnv = {
        ...this.#command.env,
        COMFYUI_PATH: site.dir,
        VIRTUAL_ENV: path.dirname(bin),
        PATH: [bin, this.#command.env.PATH ?? this.#command.env.Path].join(path.delimiter),
        PIP_CONSTRAINT: pathToFileURL(constraints).href, // a list of names is split at spaces
        PIP_DISABLE_PIP_VERSION_CHECK: '1',
        PIP_NO_INPUT: '1',
      }
      const limit = AbortSignal.timeout(scriptMs)
      const lines: string[] = []
      this.#tools.point?.('nodes.script')
      try {
        const signal = AbortSignal.any([limit, ...(this.#tools.signal ? [this.#tools.signal] : [])])
        await runCommand(site.python, [file], {
          ...this.#command,
          env,
          cwd: dir,
          signal,
          onLine: (line) => lines.push(line),
        })
        told('done', lines)
      } catch (cause) {
        this.#tools.signal?.throwIfAborted()
        if (limit.aborted) told('too-long', lines)
        else if (cause instanceof CommandFailed) told('failed', lines)
        else throw cause
        this.#findings.push(upkeep('warning', 'nodes.script-failed', { folder, file }))
      }
      refuseOtherLocked(before, await installedIn(resolver), `${folder}/${file}`)
    }
  }

  /** What worked before: the server that runs says it, else one that is started; null: it does not start. */
  async #beforeClasses(): Promise<NodeClasses | null> {
    if (this.#isLess()) return null
    const { url, signal } = this.#tools
    const said = url === null ? null : await classesOf(url, signal).catch(() => null)
    return said ?? this.#triedBefore()
  }
  async #triedBefore(): Promise<NodeClasses | null> {
    const running = this.#kept.before
    const nodes = await this.#trialNodes(running)
    const dir = path.join(this.#site.home, 'trial-before')
    const trial = await tryNodes({ site: this.#site, tools: this.#tools, nodes, dir, check: { is: 'start' } })
    return trial.failure === null ? trial.classes : null
  }

  /** Nothing comes: what is switched off or removed need not be tried, and must go even where nothing starts. */
  #isLess(): boolean {
    return this.#kept.plan.nodes.every(({ change }) => change === 'disable' || change === 'remove')
  }

  async #trialNodes({ nodes }: NodeSet): Promise<TrialNode[]> {
    const places = placesOf(this.#site)
    const there = await listLive(places.live)
    const found: TrialNode[] = []
    for (const [folder, { key, enabled }] of Object.entries(nodes)) {
      const dir = enabled ? await whereIs(places, folder, key, there) : null
      if (dir !== null) found.push({ folder, dir })
    }
    return found
  }

  /**
   * The trial, and what custom nodes installed by themselves when they were loaded in it.
   * @throws AppError 'nodes.locked-changed'
   */
  async #watchedTrial(site: NodesSite, before: NodeClasses | null) {
    if (this.#isLess()) return { classes: await this.#trial(site, before), brought: [] }
    const look = () => packagesIn(site, this.#command).catch(() => new Map<string, string>())
    const packages = await look()
    const tried = await this.#trial(site, before).then(
      (classes) => ({ classes }),
      (cause: unknown) => ({ cause }),
    )
    this.#tools.signal?.throwIfAborted()
    // it may be why the trial failed
    const after = await look()
    refuseOtherLocked(packages, after, this.#kept.plan.nodes.map(({ folder }) => folder).join(', '))
    if ('cause' in tried) throw tried.cause
    return { classes: tried.classes, brought: differences(packages, after) }
  }

  /** Every class is loaded by a server of its own, which then paints. */
  async #trial(site: NodesSite, before: NodeClasses | null): Promise<NodeClasses | null> {
    const dir = path.join(site.home, 'trial')
    if (this.#isLess()) return tellDone(this.#tools, 'trial') ?? null
    let classes: NodeClasses | null = null
    await step(this.#tools, 'trial', async () => {
      const nodes = await this.#trialNodes(this.#kept.after)
      this.#tools.point?.('nodes.trial')
      const trial = await tryNodes({ site, tools: this.#tools, nodes, dir, check: { is: 'picture' } })
      try {
        this.#judge(trial, before)
      } catch (cause) {
        // one that is used has what a trial lacks: compared are two of a kind
        if (this.#tools.url === null || !(cause instanceof AppError) || cause.code !== 'nodes.classes-gone') throw cause
        this.#judge(trial, await this.#triedBefore())
      }
      classes = trial.classes
    })
    return classes
  }

  #judge({ failure, broken, classes, unreadable }: Trial, before: NodeClasses | null) {
    const changed = new Map(this.#kept.plan.nodes.map(({ folder, change }) => [folder, change]))
    if (failure) {
      const named = String(failure.facts.folder ?? '')
      const folder = changed.has(named) ? named : changed.size === 1 ? [...changed.keys()][0]! : null
      // it started before, so it is this one
      if (before && folder !== null) throw new AppError('nodes.broken', { folder, reason: failure.message })
      throw new FailureError(failure)
    }
    for (const [folder, reason] of broken)
      if (changed.has(folder)) throw new AppError('nodes.broken', { folder, reason: reason || '–' })
    if (unreadable.length > 0)
      this.#findings.push(upkeep('warning', 'nodes.classes-unreadable', { classes: unreadable.join(', ') }))
    if (!before || !classes) return
    const now = new Set([...classes.core, ...Object.values(classes.nodes).flat()])
    const gone: string[] = before.core.filter((name) => !now.has(name))
    for (const [module, names] of Object.entries(before.nodes)) {
      const folder = Object.keys(this.#kept.after.nodes).find((each) => each.replace(/\.py$/, '') === module) ?? module
      const enabled = this.#kept.after.nodes[folder]?.enabled === true
      const missing = names.filter((name) => !now.has(name))
      const mine = new Set(classesIn(classes, folder))
      const taken = names.filter((name) => now.has(name) && !mine.has(name))
      if (changed.get(folder) === 'update' && missing.length > 0)
        this.#findings.push(upkeep('warning', 'nodes.classes-removed', { folder, classes: missing.join(', ') }))
      else if (enabled && !changed.has(folder)) gone.push(...missing)
      if (enabled && taken.length > 0)
        this.#findings.push(upkeep('warning', 'nodes.classes-taken', { folder, classes: taken.join(', ') }))
    }
    if (gone.length > 0) throw new AppError('nodes.classes-gone', { classes: gone.slice(0, 20).join(', ') })
  }

  async #switch(site: NodesSite, id: string) {
    const { point } = this.#tools
    await step(this.#tools, 'switch', () =>
      this.#tools.whileStopped(async () => {
        this.#tools.signal?.throwIfAborted()
        await pointAt(site, id)
        point?.('nodes.switched')
        try {
          await settle(site, point)
        } catch (cause) {
          await pointBackFrom(site, id)
          await settle(site).catch(() => {}) // tried again at the next start
          throw cause
        }
        point?.('nodes.settled')
      }),
    )
  }

  #result(generation: string | null, packages: PackageChange[], classes: NodeClasses | null): NodeResult {
    const brought: Record<string, string[]> = {}
    for (const { folder } of this.#kept.plan.nodes) brought[folder] = classesIn(classes, folder) ?? []
    return { generation, packages, classes: brought, scripts: this.#scripts, findings: this.#findings }
  }
}

/** An installation that was cut off may go on. */
async function tidyGenerations(home: string) {
  const unfinished = await unfinishedOf(home)
  await tidy(home, unfinished && unfinished.journal.purpose !== 'nodes' ? unfinished.id : null)
}

/** A folder that cannot be moved leaves things as they were. */
async function pointBackFrom(site: NodesSite, id: string) {
  const pointer = pointerOf(site)
  if (pointer?.current === id && pointer.previous !== null) await pointAt(site, pointer.previous)
}

/** Programs of an environment hold its path. The new one's is as long: so compiled ones may be written too. */
async function moveScripts(bin: string, old: string, dir: string) {
  const [from, to] = [Buffer.from(path.basename(old)), Buffer.from(path.basename(dir))]
  if (from.length !== to.length) throw new Error('generations are named with the same length')
  for (const entry of await readdir(bin, { withFileTypes: true })) {
    const file = path.join(bin, entry.name)
    if (!entry.isFile() || (await stat(file)).size > 2_000_000) continue
    const bytes = await readFile(file)
    if (!bytes.includes(from)) continue
    for (let at = bytes.indexOf(from); at >= 0; at = bytes.indexOf(from, at)) to.copy(bytes, at)
    const { mode } = await stat(file)
    await removeDir(file) // it may be one with theirs
    await writeFile(file, bytes, { mode })
  }
}

/** @throws AppError 'nodes.locked-changed' */
function refuseOtherLocked(before: ReadonlyMap<string, string>, after: ReadonlyMap<string, string>, who: string) {
  for (const { package: name, version } of locksOf(before)) {
    const found = after.get(name) ?? '–'
    const major = (text: string) => text.split('.')[0]
    const same = name === 'numpy' ? major(found) === major(version) : found === version
    if (!same) throw new AppError('nodes.locked-changed', { who, package: name, wanted: version, found })
  }
}

function differences(before: ReadonlyMap<string, string>, after: ReadonlyMap<string, string>): PackageChange[] {
  const names = [...new Set([...before.keys(), ...after.keys()])].toSorted()
  return names
    .filter((name) => before.get(name) !== after.get(name))
    .map((name) => ({ package: name, from: before.get(name) ?? null, to: after.get(name) ?? null }))
}

const namesIn = (packages: readonly PackageChange[]) => packages.map(({ package: name, to }) => `${name} ${to ?? '–'}`)

// ---- one that is not ours ----

const CHANGING = 'node-packages.changing'

/** Puts back the packages of a change that was cut off, or failed. Gives whether there was any. */
export async function mendPackages(given: NodesSite, tools: NodesTools): Promise<boolean> {
  const site = currentSite(given)
  const file = path.join(site.home, CHANGING)
  const of = await readFile(file, 'utf8').catch(() => null)
  if (of === null) return false
  if (of === pointerOf(site)?.current) await restorePackages(site, tools, of)
  await removeDir(file)
  return true
}

const LIST_PACKAGES = `
import importlib.metadata, json
found = {}
for each in importlib.metadata.distributions():
    said = json.loads(each.read_text("direct_url.json") or "{}")
    vcs = said.get("vcs_info")
    at = said.get("url")
    place = f"{vcs['vcs']}+{at}@{vcs['commit_id']}" if vcs else at
    if each.metadata["Name"]:
        found.setdefault(each.metadata["Name"], place or each.version)
print(json.dumps(found))
`
/** Name → version, or address, as its Python says: without uv, which may not be here. */
async function packagesIn({ python }: NodesSite, command: CommandOptions): Promise<Map<string, string>> {
  const said = await runCommand(python, ['-I', '-c', LIST_PACKAGES], command)
  const found = Packages.parse(parseJson(said))
  return new Map(Object.entries(found).map(([name, version]) => [normal(name), version]))
}

async function restorePackages(site: NodesSite, tools: NodesTools, set: string) {
  const text = await readFile(path.join(site.home, 'node-sets', set, UNDO), 'utf8').catch(() => null)
  if (text === null) return
  const wanted = new Map(Object.entries(Packages.parse(parseJson(text))))
  const command = commandOf(site, tools)
  const changes = differences(await packagesIn(site, command), wanted)
  if (changes.length === 0) return
  const { uv, python, indexes, findLinks } = await resolverOf(site, tools, command)
  const gone = changes.filter(({ to }) => to === null).map((each) => each.package)
  if (gone.length > 0) await runCommand(uv, ['pip', 'uninstall', '--python', python, ...gone], command)
  const back = changes.flatMap(({ package: name, to }) =>
    to === null || to.startsWith('file:') ? [] : [/:\/\//.test(to) ? `${name} @ ${to}` : `${name}==${to}`],
  )
  if (back.length === 0) return
  const from = indexes.length > 0 ? ['--default-index', indexes[0]!] : ['--no-index']
  const links = findLinks === null ? [] : ['--find-links', findLinks]
  await runCommand(uv, ['pip', 'install', '--python', python, '--no-deps', ...from, ...links, ...back], command)
}

/**
 * Of a ComfyUI that is not ours: custom nodes and packages as they were before the last change; a second time, forth again
 * for the custom nodes.
 * @throws AppError 'nodes.no-undo'
 */
export async function undoNodes(given: NodesSite, tools: NodesTools): Promise<void> {
  const site = currentSite(given)
  const previous = pointerOf(site)?.previous
  if (!previous) throw new AppError('nodes.no-undo', { name: site.name })
  await restorePackages(site, tools, previous)
  await tools.whileStopped(async () => {
    await pointBack(site)
    await settle(site)
  })
}

/** The sets that an engine that is not ours can go back to. */
export async function hasUndo(site: NodesSite): Promise<boolean> {
  const previous = pointerOf(site)?.previous
  return previous ? (await readSet(site, previous)) !== null : false
}

// ---- common ----

/** As long for each: the programs of an environment hold it. */
const stampOf = ({ now, newId }: NodesTools) =>
  `${new Date(now())
    .toISOString()
    .replace(/\.\d+Z$/, '')
    .replace(/\D/g, '')}-${newId().slice(0, 4)}`

export function commandOf(site: Pick<NodesSite, 'home'>, tools: NodesTools): CommandOptions {
  const { env, childEnv, cache, toolsDir, proxy, signal } = tools
  const own = uvEnvironment(env, { cache, pythons: path.join(toolsDir, 'python'), proxy })
  return {
    env: { ...own, ...childEnv, GIT_ASKPASS: '', GIT_ALLOW_PROTOCOL: 'file:git:http:https:ssh' },
    log: nodesLog(site),
    ...(signal && { signal }),
  }
}

async function resolverOf(site: NodesSite, tools: NodesTools, command: CommandOptions): Promise<Resolver> {
  const { dispatcher, platform, arch, pythons, indexes, findLinks, signal } = tools
  const { uv } = await findUv({
    toolsDir: path.join(tools.toolsDir, 'uv'),
    indexes,
    dispatcher,
    env: command.env,
    pipEnv: tools.env,
    log: command.log,
    platform,
    arch,
    pythons,
    signal,
  })
  const { resolveMs } = limitsOf(tools)
  return { uv, python: site.python, command, workDir: planDir(site), indexes, findLinks, limitMs: resolveMs }
}

async function step(
  { onStep, signal }: NodesTools,
  id: NodeStepId,
  run: (onBytes: (bytes: number, totalBytes: number | null) => void) => Promise<void>,
) {
  signal?.throwIfAborted()
  onStep?.({ id, is: 'running', bytes: 0, totalBytes: null })
  try {
    await run((bytes, totalBytes) => onStep?.({ id, is: 'running', bytes, totalBytes }))
  } catch (cause) {
    onStep?.({ id, is: 'failed', bytes: 0, totalBytes: null })
    throw cause
  }
  onStep?.({ id, is: 'done', bytes: 0, totalBytes: null })
}

function tellDone({ onStep }: NodesTools, id: NodeStepId): undefined {
  onStep?.({ id, is: 'done', bytes: 0, totalBytes: null })
}
