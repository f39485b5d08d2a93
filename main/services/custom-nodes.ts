import { EventEmitter } from 'node:events'
import { existsSync, readFileSync, rmSync, statSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { z } from 'zod'
import {
  type BisectCheck,
  type BisectView,
  type CustomNode,
  NodeChange,
  type NodeChangeView,
  NodeConsent,
  NodeFolder,
  type NodeOrigin,
  type NodePlan,
  type NodeStep,
  nodeSteps,
} from '../../core/contract/custom-node.ts'
import type { EngineView } from '../../core/contract/engine.ts'
import { AppError, toFailure } from '../../core/contract/errors.ts'
import { type Json, parseJson, writeJson } from '../../core/contract/json.ts'
import type { FoundPack, MissingClass, NodeRules } from '../../core/contract/pack.ts'
import type { CustomNodeNeed, NodeLists } from '../../core/contract/workflow.ts'
import {
  differenceFrom,
  managerSnapshotName,
  readManagerSnapshot,
  writeManagerSnapshot,
} from '../../core/domain/custom-nodes/manager-snapshot.ts'
import { keyOf, type ListedPack, tellPack } from '../../core/domain/custom-nodes/packs.ts'
import { bisectNodes, forgetBisect, hintsOf, readBisect } from '../../core/engine/custom-nodes/bisect.ts'
import {
  carryOutNodes,
  commandOf,
  forgetPlan,
  hasUndo,
  mendPackages,
  planNodes,
  readPlan,
  undoNodes,
} from '../../core/engine/custom-nodes/change.ts'
import { scanNodes } from '../../core/engine/custom-nodes/scan.ts'
import { currentSite, type NodesSite, type NodesTools, nodesLog } from '../../core/engine/custom-nodes/site.ts'
import { classesOf } from '../../core/engine/custom-nodes/trial.ts'
import { generationDir, type Journal, readJournal, readPointer, tidy } from '../../core/engine/install/generations.ts'
import { readLock } from '../../core/engine/install/lock.ts'
import { indexSetIn } from '../../core/engine/install/uv.ts'
import { writeWholeSync } from '../../core/engine/write-whole.ts'
import type { Clock } from './clock.ts'
import type { Installations } from './installations.ts'
import type { Library } from './library.ts'
import type { LocalEngine } from './local-engine.ts'
import type { Network } from './network.ts'
import type { NodePacks } from './node-packs.ts'
import type { Service } from './service.ts'
import type { KeptSettings } from './settings.ts'

interface Deps {
  readonly dataDir: string
  readonly localEngine: LocalEngine
  readonly installations: Installations
  readonly nodePacks: NodePacks
  readonly network: Pick<Network, 'dispatcher' | 'addressesFor' | 'childEnvironment'>
  readonly settings: Pick<KeptSettings, 'get'>
  readonly library: Pick<Library, 'list' | 'load'>
  readonly pythonIndex: () => string
  readonly clock: Clock
  readonly newId: () => string
  readonly env?: NodeJS.ProcessEnv
  /** What was begun is not gone on with. */
  readonly idle?: boolean | undefined
  readonly log?: (event: string, facts: object) => void
  readonly point?: ((name: string) => void) | undefined
  /** For tests. */
  readonly pace?: NodesTools['pace']
}
/** A change that was begun; kept, so that the next start goes on with it. `plan`: null while it is made again. */
const Begun = z.object({ changes: z.array(NodeChange), plan: z.string().nullable(), consent: NodeConsent })
type Begun = z.infer<typeof Begun>
interface Running {
  readonly what: 'change' | 'bisect'
  readonly stopping: AbortController
  done: Promise<void>
}
export interface Asker {
  /** It may name files of this machine. */
  readonly mayUsePaths: boolean
}

const MOST_WORKFLOWS = 200
const SCAN_LASTS_MS = 2_000
const MOST_MATCHED = 20
const SNAPSHOT_LIMIT_BYTES = 4 * 1024 * 1024

/** Adds to, takes from, and looks after the custom nodes of the ComfyUIs of this machine. */
export class CustomNodes implements Service {
  readonly events = new EventEmitter<{ changed: [engine: string]; progress: [engine: string] }>()
  readonly #deps: Deps
  readonly #views = new Map<string, NodeChangeView>()
  readonly #bisects = new Map<string, BisectView>()
  readonly #running = new Map<string, Running>()
  readonly #changes = new Map<string, readonly NodeChange[]>()
  readonly #scans = new Map<string, { at: number; ready: boolean; nodes: Promise<CustomNode[]> }>()

  constructor(deps: Deps) {
    this.#deps = deps
  }

  /** A change that was cut off is gone on with; a plan that waits for its answer is there again. */
  async start() {
    for (const engine of this.#deps.localEngine.list()) {
      const site = this.#site(engine)
      if (!existsSync(site.home)) continue
      const begun = this.#begun(engine.name)
      const plan = await readPlan(site).catch(() => null)
      if (begun && !this.#deps.idle && (begun.plan === null || begun.plan === plan?.id)) {
        this.#show(engine.name, { is: 'running', plan })
        this.#run(engine.name, 'change', (signal) => this.#carryOut(engine.name, begun, signal))
        continue
      }
      if (plan) this.#show(engine.name, { is: 'planned', plan })
      const bisect = await readBisect(site).catch(() => null)
      if (bisect) this.#bisects.set(engine.name, { ...bisect, is: bisect.is === 'running' ? 'cancelled' : bisect.is })
      if (!this.#deps.idle) {
        if (begun) rmSync(this.#begunFile(engine.name), { force: true })
        if (bisect?.is === 'running') await this.bisect(engine.name, bisect.check)
        await mendPackages(site, await this.#tools(engine, { pythons: false })).catch((cause) =>
          this.#deps.log?.('nodes.not-mended', { engine: engine.name, reason: toFailure(cause).message }),
        )
      }
    }
  }

  async stop() {
    const all = [...this.#running.values()]
    for (const { stopping } of all) stopping.abort()
    await Promise.all(all.map(({ done }) => done))
  }

  // ---- what is there ----

  /** @throws AppError 'engine.unknown' */
  async list(name?: string) {
    const { localEngine, installations } = this.#deps
    const all = localEngine.list()
    const engines = all.map((engine) => engine.name)
    const engine = name === undefined ? all[0] : localEngine.view(name)
    if (!engine) return { engine: null, engines, way: 'beside' as const, mayRollBack: false, rows: [] }
    const site = this.#site(engine)
    const installed = engine.kind === 'installed'
    const mayRollBack = installed
      ? (await installations.generations(engine.name)).length > 1 && (await this.#undoneToo(engine.name)) === null
      : await hasUndo(site).catch(() => false)
    const way = installed ? ('beside' as const) : ('in-place' as const)
    return { engine: engine.name, engines, way, mayRollBack, rows: await this.#scan(engine) }
  }

  async search(given: { engine?: string | undefined; search: string; limit: number; offset: number }) {
    const { nodePacks, localEngine } = this.#deps
    const { hits, from } = await nodePacks.search(given.search)
    const engine = localEngine.list().find(({ name }) => given.engine === undefined || name === given.engine)
    const here = engine ? await this.#scan(engine) : []
    const rows = hits.slice(given.offset, given.offset + given.limit).map(({ pack, classes }): FoundPack => {
      const node = here.find((each) => isOf(each, pack))
      return {
        ...tellPack(pack),
        matched: classes.slice(0, MOST_MATCHED),
        installed: node?.folder ?? null,
        enabled: node?.enabled ?? false,
      }
    })
    return { rows, total: hits.length, lists: from }
  }

  async find(classTypes: readonly string[]): Promise<{ rows: CustomNodeNeed[]; lists?: NodeLists }> {
    const needs = [...new Set(classTypes)].map((classType) => ({ classType, candidates: [], packs: [] }))
    const { customNodes, nodeLists } = await this.complete(needs)
    return { rows: customNodes, ...(nodeLists && { lists: nodeLists }) }
  }

  /** The packages that bring each class; those that are on a ComfyUI of this machine are marked. */
  async complete(needs: readonly CustomNodeNeed[]) {
    if (needs.length === 0) return { customNodes: [] }
    const scans = await Promise.all(this.#deps.localEngine.list().map((engine) => this.#scan(engine).catch(() => [])))
    const here = scans.flat()
    return this.#deps.nodePacks.complete(needs, (pack) => here.some((node) => isOf(node, pack)))
  }

  /** Classes that the workflows use and this ComfyUI lacks. */
  async missing(name?: string): Promise<{ rows: MissingClass[]; lists?: NodeLists }> {
    const { library, localEngine } = this.#deps
    const engine = localEngine.list().find((each) => name === undefined || each.name === name)
    const worker = engine?.processes[0]?.id
    const needs = new Map<string, CustomNodeNeed>()
    const users = new Map<string, { id: string; name: string }[]>()
    for (const { id, name } of library.list({ limit: MOST_WORKFLOWS }).rows) {
      const loaded = await library.load(id, worker).catch(() => library.load(id))
      for (const need of loaded.inspection.customNodes) {
        const before = needs.get(need.classType)
        if (!before || before.packs.length < need.packs.length) needs.set(need.classType, need)
        users.set(need.classType, [...(users.get(need.classType) ?? []), { id, name }])
      }
    }
    const { customNodes, nodeLists } = await this.complete([...needs.values()])
    const rows = customNodes.map((need) => ({ ...need, workflows: users.get(need.classType) ?? [] }))
    rows.sort((a, b) => b.workflows.length - a.workflows.length || a.classType.localeCompare(b.classType))
    return { rows, ...(nodeLists && { lists: nodeLists }) }
  }

  /** Those under way, and how the last ones ended. */
  views(): NodeChangeView[] {
    return [...this.#views.values()]
  }

  // ---- changing ----

  /**
   * Begins to find out what a change would do.
   * @throws AppError 'install.busy' | 'nodes.no-engine' | 'nodes.which-engine' | 'nodes.unknown-item' | 'nodes.ambiguous'
   * | 'nodes.not-allowed' | 'app.refused'
   */
  async plan(
    given: { engine?: string | undefined; items: readonly string[]; changes: readonly NodeChange[] },
    asker: Asker,
  ): Promise<NodeChangeView> {
    const engine = this.#engine(given.engine)
    this.#refuseBusy(engine.name)
    for (const change of given.changes) if ('from' in change && change.from) refusePaths(change.from, asker)
    const rules = this.#deps.settings.get().customNodes
    const added = await Promise.all(given.items.map((item) => this.#added(item, asker)))
    const changes = [...given.changes, ...added.flat()]
    for (const change of changes) await this.#refuseForbidden(change, rules)
    return this.#plan(engine.name, changes)
  }

  /** @throws AppError 'nodes.bad-snapshot', and those of `plan` */
  async planSnapshot(given: { engine?: string | undefined; name: string; bytes: Uint8Array }, asker: Asker) {
    const engine = this.#engine(given.engine)
    const snapshot = readManagerSnapshot(await readSnapshotFile(given.name, given.bytes))
    if (!snapshot) throw new AppError('nodes.bad-snapshot', { name: given.name, reason: 'it lists no custom nodes' })
    const here = await this.#scan(engine)
    const { wishes, same, lost, comfyui } = differenceFrom(snapshot, here, await this.#commitOf(engine))
    const changes: NodeChange[] = []
    for (const wish of wishes) {
      if (wish.is !== 'registry') changes.push(wish)
      else {
        const from = await this.#fromRegistry(wish.id, wish.version)
        if (!from) throw new AppError('nodes.unknown-item', { item: `${wish.id}@${wish.version}` })
        changes.push(
          wish.folder === null
            ? { is: 'add', from, folder: null }
            : { is: 'update', folder: NodeFolder.parse(wish.folder), from },
        )
      }
    }
    const view = changes.length === 0 ? null : await this.plan({ engine: engine.name, items: [], changes }, asker)
    return { view, same, lost: [...lost], comfyui }
  }

  /** The installed ones as ComfyUI-Manager writes them down. */
  async snapshot(name?: string): Promise<{ name: string; text: string }> {
    const engine = this.#engine(name)
    const pointer = engine.kind === 'installed' ? readPointer(this.#site(engine).home) : null
    const lock = pointer ? await readLock(generationDir(this.#site(engine).home, pointer.current)) : null
    const packages = lock
      ? new Map(Object.entries(lock.packages).map(([each, { version }]) => [each, { version, url: null }]))
      : null
    const told = writeManagerSnapshot(await this.#scan(engine), await this.#commitOf(engine), packages)
    return { name: managerSnapshotName(new Date(this.#deps.clock.now())), text: writeJson(told, 4) }
  }

  /** Carries out the plan that was seen. @throws AppError 'install.busy' | 'nodes.plan-gone' */
  async begin(name: string, planId: string, consent: NodeConsent): Promise<NodeChangeView> {
    this.#refuseBusy(name)
    const plan = await readPlan(this.#site(this.#engine(name)))
    if (plan?.id !== planId) throw new AppError('nodes.plan-gone', { id: planId })
    const changes = [...(this.#changes.get(name) ?? changesIn(plan))]
    const begun: Begun = { changes, plan: planId, consent }
    writeWholeSync(this.#begunFile(name), writeJson(begun as never), { mode: 0o600 })
    this.#show(name, { is: 'running', plan, result: null, failure: null, steps: [] })
    this.#run(name, 'change', (signal) => this.#carryOut(name, begun, signal))
    return this.#views.get(name)!
  }

  /** Ends what is under way, or forgets a plan. Gives whether there was any. */
  async cancel(name: string): Promise<boolean> {
    const running = await this.#stop(name, 'change')
    const view = this.#views.get(name)
    if (view?.is === 'planned' || view?.plan) await forgetPlan(this.#site(this.#engine(name)))
    rmSync(this.#begunFile(name), { force: true })
    if (!running && view?.is !== 'planned') return this.#views.delete(name)
    this.#show(name, { is: 'cancelled' })
    return true
  }

  /**
   * As it was before the last change.
   * @throws AppError 'install.busy' | 'install.no-generation' | 'nodes.no-undo' | 'nodes.undoes-more'
   */
  async rollBack(name: string): Promise<void> {
    this.#refuseBusy(name)
    const engine = this.#engine(name)
    const what = engine.kind === 'installed' ? await this.#undoneToo(name) : null
    if (what !== null) throw new AppError('nodes.undoes-more', { name, what })
    if (engine.kind === 'installed') await this.#deps.installations.rollback(name)
    else
      await this.#deps.installations.alone(name, async () => undoNodes(this.#site(engine), await this.#tools(engine)))
    await forgetPlan(this.#site(this.#engine(name)))
    this.#views.delete(name)
    this.#scans.delete(name)
    this.events.emit('changed', name)
  }

  // ---- finding what breaks ----

  bisects(): BisectView[] {
    return [...this.#bisects.values()]
  }

  /** Begins to look for the custom nodes that break something, or goes on with it. @throws AppError 'install.busy' */
  async bisect(name: string, check: BisectCheck): Promise<BisectView> {
    this.#refuseBusy(name)
    const engine = this.#engine(name)
    const site = this.#site(engine)
    this.#showBisect({
      engine: name,
      check,
      is: 'running',
      folders: [],
      suspects: [],
      boots: [],
      culprits: [],
      because: null,
      remedies: [],
      failure: null,
    })
    this.#run(name, 'bisect', (signal) =>
      this.#deps.installations.alone(name, async () => {
        const tools = await this.#tools(engine, { signal })
        const onNews = (view: BisectView) => this.#showBisect(view)
        this.#showBisect(await bisectNodes({ site, tools, check, hints: hintsOf(engine), onNews }))
      }),
    )
    return this.#bisects.get(name)!
  }

  /** Ends the search, or forgets one that is over. */
  async cancelBisect(name: string): Promise<boolean> {
    if (await this.#stop(name, 'bisect')) return true
    await forgetBisect(this.#site(this.#engine(name)))
    const was = this.#bisects.delete(name)
    if (was) this.events.emit('progress', name)
    return was
  }

  /** Ends and forgets whatever is under way for an engine that is to be forgotten. */
  async leave(name: string): Promise<void> {
    await this.#stop(name, 'change')
    await this.#stop(name, 'bisect')
    rmSync(this.#begunFile(name), { force: true })
    await forgetBisect({ home: this.#home(name) })
    this.#views.delete(name)
    this.#bisects.delete(name)
  }

  // ---- inside ----

  async #stop(name: string, what: Running['what']): Promise<boolean> {
    const running = this.#running.get(name)
    if (running?.what !== what) return false
    running.stopping.abort()
    await running.done
    return true
  }

  #showBisect(view: BisectView) {
    this.#bisects.set(view.engine, view)
    this.events.emit('progress', view.engine)
  }

  #plan(name: string, changes: readonly NodeChange[]): NodeChangeView {
    this.#changes.set(name, changes)
    this.#show(name, { is: 'planning', plan: null, result: null, failure: null, steps: stepsOf(['fetch', 'resolve']) })
    this.#run(name, 'change', async (signal) => {
      const engine = this.#engine(name)
      const tools = await this.#tools(engine, { signal })
      const plan = await planNodes(this.#site(engine), tools, changes)
      this.#show(name, { is: 'planned', plan })
    })
    return this.#views.get(name)!
  }

  async #carryOut(name: string, begun: Begun, signal: AbortSignal) {
    const { installations, log } = this.#deps
    const { consent, changes } = begun
    await installations.alone(name, async () => {
      const engine = this.#engine(name)
      const tools = await this.#tools(engine, { signal })
      const site = this.#site(engine)
      let plan = (await readPlan(site)) ?? null
      if (begun.plan === null || (plan && mustPlanAgain(plan, consent))) {
        // what may be built, or be gone without, changes what is resolved
        writeWholeSync(this.#begunFile(name), writeJson({ ...begun, plan: null } as never), { mode: 0o600 })
        plan = await planNodes(site, tools, changes, consent)
        writeWholeSync(this.#begunFile(name), writeJson({ ...begun, plan: plan.id } as never), { mode: 0o600 })
        this.#show(name, { plan })
        const open = plan.clashes.some(({ wants }) => !consent.without.some((one) => one.line === wants.line))
        if (open) {
          rmSync(this.#begunFile(name), { force: true })
          return this.#show(name, { is: 'planned', plan })
        }
      }
      log?.('nodes.begun', { engine: name, changes: changes.length })
      const result = await carryOutNodes(site, tools, plan?.id ?? begun.plan ?? '', consent)
      rmSync(this.#begunFile(name), { force: true })
      log?.('nodes.ended', { engine: name, generation: result.generation })
      if (result.generation !== null) await tidy(site.home)
      this.#show(name, { is: 'done', result })
    })
  }

  /** Runs one thing of an engine; how it ends is in its view. */
  #run(name: string, what: Running['what'], work: (signal: AbortSignal) => Promise<void>) {
    const stopping = new AbortController()
    const running: Running = { what, stopping, done: Promise.resolve() }
    this.#running.set(name, running)
    running.done = work(stopping.signal)
      .catch((cause) => {
        const failure = toFailure(cause)
        if (what === 'bisect') return this.#showBisect({ ...this.#bisects.get(name)!, is: 'failed', failure })
        if (stopping.signal.aborted) return this.#show(name, { is: 'cancelled' })
        // of a change that failed nothing is left to go on with
        rmSync(this.#begunFile(name), { force: true })
        this.#deps.log?.('nodes.failed', { engine: name, code: failure.code })
        this.#show(name, { is: 'failed', failure })
      })
      .finally(() => {
        this.#running.delete(name)
        this.#scans.delete(name)
        this.events.emit('changed', name)
      })
  }

  #refuseBusy(name: string) {
    if (this.#running.has(name)) throw new AppError('install.busy', { name })
  }

  #show(name: string, news: Partial<NodeChangeView>) {
    const before = this.#views.get(name) ?? {
      engine: name,
      is: 'planning' as const,
      steps: [],
      plan: null,
      result: null,
      failure: null,
      log: nodesLog({ home: this.#home(name) }),
    }
    this.#views.set(name, { ...before, ...news })
    this.events.emit('progress', name)
  }

  #onStep(name: string, step: NodeStep) {
    const { steps, is } = this.#views.get(name) ?? { steps: [], is: 'planning' }
    const all = steps.length > 0 ? steps : stepsOf(is === 'planning' ? ['fetch', 'resolve'] : nodeSteps.slice(2))
    const known = all.some(({ id }) => id === step.id)
    this.#show(name, { steps: known ? all.map((each) => (each.id === step.id ? step : each)) : [...all, step] })
  }

  /** @throws AppError 'nodes.no-engine' | 'nodes.which-engine' | 'engine.unknown' */
  #engine(name?: string): EngineView {
    const { localEngine } = this.#deps
    if (name !== undefined) return localEngine.view(name)
    const [first, ...others] = localEngine.list()
    if (!first) throw new AppError('nodes.no-engine')
    if (others.length > 0)
      throw new AppError('nodes.which-engine', { candidates: [first, ...others].map((each) => each.name).join(', ') })
    return first
  }

  #home = (name: string) => path.join(this.#deps.dataDir, 'engines', name)
  #begunFile = (name: string) => path.join(this.#home(name), 'node-change.json')
  #begun(name: string): Begun | null {
    try {
      return Begun.parse(parseJson(readFileSync(this.#begunFile(name), 'utf8')))
    } catch {
      return null
    }
  }

  #site({ name, kind, dir, python, settings }: EngineView): NodesSite {
    return { name, kind, dir, python, settings, home: this.#home(name) }
  }

  /** Many ask at once; what was just seen is seen again. */
  #scan(engine: EngineView): Promise<CustomNode[]> {
    const ready = engine.processes.some(({ state }) => state.is === 'ready')
    const before = this.#scans.get(engine.name)
    if (before && before.ready === ready && performance.now() - before.at < SCAN_LASTS_MS) return before.nodes
    const nodes = this.#scanNow(engine)
    this.#scans.set(engine.name, { at: performance.now(), ready, nodes })
    nodes.catch(() => this.#scans.delete(engine.name))
    return nodes
  }
  async #scanNow(engine: EngineView): Promise<CustomNode[]> {
    const ready = engine.processes.find(({ state }) => state.is === 'ready')
    const url = ready?.state.is === 'ready' ? ready.state.url : null
    const loads = (ready ?? engine.processes[0])?.facts.customNodes ?? []
    const classes = url === null ? null : await classesOf(url, AbortSignal.timeout(10_000)).catch(() => null)
    const site = this.#site(engine)
    return scanNodes(currentSite(site), {
      classes,
      loads,
      command: commandOf(site, await this.#tools(engine, { pythons: false })),
    })
  }

  /** What the generation before is that no change of custom nodes made: another ComfyUI, or what was mended; null: nothing. */
  async #undoneToo(name: string): Promise<string | null> {
    const home = this.#home(name)
    const { current, previous } = readPointer(home) ?? {}
    const [now, before] = await Promise.all(
      [current, previous].map((id) => (id ? readJournal(generationDir(home, id)) : null)),
    )
    if (!now || !before) return null
    const newer = now.createdAt > before.createdAt ? now : before
    if (newer.purpose === 'nodes') return null
    const told = ({ version, commit, torch }: Journal) =>
      `ComfyUI ${version ?? ''} ${commit?.slice(0, 10) ?? ''}, PyTorch ${torch ?? ''}`
    return told(before) === told(now) ? `${newer.purpose}, ${told(now)}` : `${told(before)} → ${told(now)}`
  }

  async #journal(engine: EngineView): Promise<Journal | null> {
    const home = this.#home(engine.name)
    const pointer = engine.kind === 'installed' ? readPointer(home) : null
    return pointer && readJournal(generationDir(home, pointer.current))
  }

  async #commitOf(engine: EngineView): Promise<string | null> {
    const journal = await this.#journal(engine)
    if (journal) return journal.commit
    return readCommit(engine.dir)
  }

  /** `pythons`: not needed where nothing is installed; to look for them takes a while. */
  async #tools(
    engine: EngineView,
    { signal, pythons = true }: { signal?: AbortSignal; pythons?: boolean } = {},
  ): Promise<NodesTools> {
    const { network, dataDir, clock, newId, env = process.env, localEngine, pythonIndex, point, pace } = this.#deps
    const found = pythons ? (await localEngine.machine()).report.pythons : []
    const choices = (await this.#journal(engine))?.choices
    const own = choices?.index ?? indexSetIn(env)
    const ready = engine.processes.find(({ state }) => state.is === 'ready')
    return {
      dispatcher: network.dispatcher(),
      env,
      childEnv: addedTo(env, network.childEnvironment(env)),
      platform: process.platform,
      arch: process.arch,
      pythons: found.map((python) => python.path),
      now: clock.now,
      newId,
      ...(signal && { signal }),
      addressesFor: (kind, url) => network.addressesFor(url, kind),
      indexes: [...(own ? [own] : []), ...network.addressesFor(pythonIndex(), 'python-index')],
      findLinks: choices?.findLinks ?? null,
      cache: path.join(dataDir, 'cache', 'uv'),
      toolsDir: path.join(dataDir, 'engines', '.tools'),
      stateDir: path.join(dataDir, 'engines', '.running'),
      proxy: choices?.proxy ?? null,
      onStep: (step) => this.#onStep(engine.name, step),
      url: ready?.state.is === 'ready' ? ready.state.url : null,
      whileStopped: (change) => this.#whileStopped(engine.name, change, signal),
      ...(point && { point }),
      ...(pace && { pace }),
    }
  }

  /** What runs there is waited for; then it is stopped, and started again as it then is. */
  async #whileStopped(name: string, change: () => Promise<void>, signal = new AbortController().signal) {
    const { localEngine } = this.#deps
    const again = await localEngine.rest(name, signal)
    try {
      await localEngine.whileStopped(name, change)
    } finally {
      await again()
    }
  }

  // ---- what a person means ----

  async #added(item: string, asker: Asker): Promise<NodeChange[]> {
    const add = (from: NodeOrigin): NodeChange => ({ is: 'add', from, folder: null })
    const { name, ref } = splitItem(item)
    const place = placeOf(name, ref)
    if (place) {
      refusePaths(place, asker)
      return [add(place)]
    }
    const { nodePacks } = this.#deps
    const meant = await nodePacks.meant(name)
    const [pack] = meant
    if (meant.length > 1)
      throw new AppError('nodes.ambiguous', { item, candidates: meant.map(({ id }) => id).join(', ') })
    const byRegistry = pack === undefined || pack.registryId?.toLowerCase() === name.toLowerCase()
    if (byRegistry || (ref !== null && /^\d+\.\d+/.test(ref) && pack?.registryId)) {
      const found = await this.#fromRegistry(pack?.registryId ?? name, ref).catch((cause) => {
        if (pack) return null // its repository is known all the same
        throw cause
      })
      if (found) return [add(found)]
    }
    if (!pack) throw new AppError('nodes.unknown-item', { item })
    if (pack.how === 'git') return [add({ is: 'git', url: pack.files[0]!, ref })]
    return pack.files.map((url) => add({ is: pack.how === 'files' ? 'file' : 'archive', url }))
  }

  async #fromRegistry(id: string, version: string | null): Promise<NodeOrigin | null> {
    if (!/^[\w.-]+$/.test(id)) return null
    const found = await this.#deps.nodePacks.version(id, version)
    return found && { is: 'registry', id: found.id, version: found.version, url: found.url }
  }

  /** @throws AppError 'nodes.not-allowed' */
  async #refuseForbidden(change: NodeChange, { from: allowed, chosen }: NodeRules) {
    // what an update is fetched from may be named too
    if (!('from' in change) || change.from === null || allowed === 'any') return
    const { from } = change
    const item = from.is === 'registry' ? from.id : from.url
    const key = keyOf(item)
    const fits = (rule: string) => {
      const wanted = keyOf(/^[\w-]+\/[\w.*-]+$/.test(rule) ? `https://github.com/${rule}` : rule)
      return wanted.endsWith('/*') ? key.startsWith(wanted.slice(0, -1)) : key === wanted
    }
    if (allowed === 'chosen' ? chosen.some(fits) : from.is === 'registry') return
    const listed = allowed === 'listed' ? (await this.#deps.nodePacks.all()).packs : []
    if (listed.some((pack) => pack.key === key || pack.files.some((file) => keyOf(file) === key))) return
    throw new AppError('nodes.not-allowed', { item })
  }
}

/** What is in the second environment and not in the first. */
const addedTo = (env: NodeJS.ProcessEnv, all: NodeJS.ProcessEnv): NodeJS.ProcessEnv =>
  Object.fromEntries(Object.entries(all).filter(([name, value]) => env[name] !== value))

const stepsOf = (ids: readonly NodeStep['id'][]): NodeStep[] =>
  ids.map((id) => ({ id, is: 'waiting', bytes: 0, totalBytes: null }))

const mustPlanAgain = ({ clashes, builds }: NodePlan, consent: NodeConsent) =>
  (clashes.length > 0 && consent.without.length > 0) ||
  (consent.builds && (builds.length > 0 || clashes.some(({ because }) => because === 'build')))

/** What a plan that was made before the last start does. */
const changesIn = ({ nodes }: NodePlan): NodeChange[] =>
  nodes.flatMap(({ folder, change, to }): NodeChange[] => {
    if (change === 'add' || change === 'update') {
      const from = to && 'remote' in to && to.remote !== null ? { url: to.remote, ref: to.commit } : null
      if (!from) return []
      return change === 'add'
        ? [{ is: 'add', from: { is: 'git', ...from }, folder }]
        : [{ is: 'update', folder, from: { is: 'git', ...from } }]
    }
    return [{ is: change, folder }]
  })

const alike = (name: string) => name.toLowerCase().replaceAll('_', '-')
/** Whether an installed one is this package. */
function isOf({ source, folder }: CustomNode, pack: ListedPack): boolean {
  if (source.is === 'registry') return pack.registryId !== null && alike(pack.registryId) === alike(source.id)
  if ('remote' in source && source.remote !== null) {
    const key = keyOf(source.remote)
    return key === pack.key || pack.files.some((file) => keyOf(file) === key)
  }
  if (source.is === 'file') return pack.how === 'files' && pack.files.some((file) => file.endsWith(`/${folder}`))
  return alike(pack.key.replace(/^.*\//, '')) === alike(folder)
}

/** `thing@version`, where the `@` is none of an address. */
export function splitItem(item: string): { name: string; ref: string | null } {
  const [, name, ref] = /^(.+[^/:@])@([\w.+-]+)$/.exec(item) ?? []
  if (name !== undefined && !(/^git$/i.test(name) || /^[a-z+]+:\/\/[^/]*$/i.test(name))) return { name, ref: ref! }
  const [, address, branch] = /^(.+\.git|[a-z+]+:\/\/.+)#([\w./+-]+)$/i.exec(item) ?? []
  return address !== undefined ? { name: address, ref: branch! } : { name: item, ref: null }
}

/** An address, or a file or repository of this machine; null: it is neither. */
export function placeOf(name: string, ref: string | null): NodeOrigin | null {
  const isLocal = /^(?:[./~]|[a-z]:[\\/]|\\\\|file:)/i.test(name)
  if (!isLocal && !/^(?:[a-z+]+:\/\/|git@)/i.test(name)) return null
  const url = isLocal && /^file:/i.test(name) ? fileURLToPath(name) : name
  const plain = url.replace(/[?#].*$/, '')
  if (isLocal && !existsSync(url)) throw new AppError('input.missing', { name })
  if (/\.zip$/i.test(plain)) return { is: 'archive', url }
  if (/\.py$/i.test(plain) && (!isLocal || statSync(url).isFile())) return { is: 'file', url }
  return { is: 'git', url, ref }
}

/** @throws AppError 'app.refused' */
function refusePaths(from: NodeOrigin, { mayUsePaths }: Asker) {
  if (!mayUsePaths && !/^(?:https?|ssh|git):\/\/|^git@/i.test(from.url))
    throw new AppError('app.refused', { reason: 'files of this machine can only be named on the machine itself' })
}

async function readSnapshotFile(name: string, bytes: Uint8Array): Promise<Json> {
  if (bytes.length > SNAPSHOT_LIMIT_BYTES) throw new AppError('nodes.bad-snapshot', { name, reason: 'it is too large' })
  const text = new TextDecoder().decode(bytes)
  try {
    if (/^\s*\{/.test(text)) return parseJson(text)
    const { parse } = await import('yaml')
    return parseJson(writeJson(parse(text, { maxAliasCount: 10 }) ?? null))
  } catch (cause) {
    throw new AppError('nodes.bad-snapshot', { name, reason: (cause as Error).message.split('\n')[0]! })
  }
}

/** The commit of a checkout, without git. */
function readCommit(dir: string): string | null {
  try {
    const head = readFileSync(path.join(dir, '.git', 'HEAD'), 'utf8').trim()
    const [, ref] = /^ref: (refs\/[\w./-]+)$/.exec(head) ?? []
    const commit =
      ref === undefined || ref.includes('..') ? head : readFileSync(path.join(dir, '.git', ref), 'utf8').trim()
    return /^[0-9a-f]{40,64}$/.test(commit) ? commit : null
  } catch {
    return null
  }
}
