import { EventEmitter } from 'node:events'
import { readFile, rm } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { z } from 'zod'
import type { Values } from '../../core/contract/batch.ts'
import { type FileReference, Prompt } from '../../core/contract/comfyui.ts'
import { AppError, Failure, FailureError, toFailure } from '../../core/contract/errors.ts'
import { type Json, parseJson, writeJson } from '../../core/contract/json.ts'
import { isModelFile } from '../../core/contract/model-file.ts'
import { Panel } from '../../core/contract/panel.ts'
import {
  type Compared,
  Proof,
  type ProofSide,
  type Publication,
  type PublishAsk,
  type PublishPlan,
  type PublishState,
  PublishStep,
  publishSteps,
  type VersionView,
} from '../../core/contract/publish.ts'
import type { PublishedWorkflow, ReleaseView } from '../../core/contract/release.ts'
import { type ModelNeeded, PushPlan, type SealedManifest } from '../../core/contract/snapshot.ts'
import { Parameter } from '../../core/contract/workflow.ts'
import { isWebAddress } from '../../core/domain/batch/check.ts'
import { isSeed, newSeed } from '../../core/domain/batch/expand.ts'
import { withOverrides } from '../../core/domain/batch/materialise.ts'
import { HEAD_BYTES, mediaOf } from '../../core/domain/media.ts'
import { modelFilesIn } from '../../core/domain/workflow/models.ts'
import { type AgentClient, codeOf } from '../../core/engine/agent-client.ts'
import type { Clock } from './clock.ts'
import type { Database } from './database/open.ts'
import type { Inputs } from './inputs.ts'
import type { Library } from './library.ts'
import type { Make } from './prepare.ts'
import { type Proving, prove } from './prove.ts'
import type { Service } from './service.ts'
import type { Snapshots } from './snapshots.ts'
import type { Worker } from './workers/worker.ts'

/** An endpoint, as publishing needs it. */
export interface Target {
  readonly client: Pick<AgentClient, 'releases' | 'release' | 'publish' | 'promote'>
  /** It is on this very machine. */
  readonly isHere: boolean
  /** What it runs on a release that need not be live; null: on the one that is. Whoever asks closes it. */
  worker(release: number | null): Worker
  planPush(snapshotId: string, models: readonly ModelNeeded[], signal?: AbortSignal): Promise<PushPlan>
  push(snapshotId: string, models: readonly ModelNeeded[], options: PushOptions): Promise<PushPlan>
}
interface PushOptions {
  readonly bytesPerSecond: number | null
  readonly signal: AbortSignal
  readonly onNews: (news: { sentBytes: number; totalBytes: number }) => void
}

interface Deps {
  readonly database: Database
  readonly clock: Clock
  readonly newId: () => string
  readonly random: () => number
  readonly dataDir: string
  /** Who is at this machine; kept with a consent. */
  readonly person: () => string
  readonly snapshots: Pick<Snapshots, 'create' | 'get' | 'list' | 'diff'>
  readonly library: Pick<Library, 'load'>
  readonly inputs: Pick<Inputs, 'add' | 'addUrl' | 'resolve'>
  readonly make: Make
  /** @throws AppError 'endpoint.unknown' */
  readonly target: (endpoint: string) => Target
  /** A ComfyUI of this machine, started where it did not run. @throws AppError 'snapshot.which-engine' | 'engine.*' */
  readonly desk: (engine: string | undefined, signal: AbortSignal) => Promise<Worker>
  readonly compare: (desk: string, endpoint: string, difference: string) => Promise<Compared>
  readonly log?: (event: string, facts: object) => void
  /** Open publications stay as they are. */
  readonly idle?: boolean
  /** Between two looks at what an endpoint does. */
  readonly lookEveryMs?: number
}

/** What is published under a name, with what it was made from here. */
const Offered = z.object({
  workflowId: z.string(),
  id: z.string(),
  name: z.string(),
  prompt: Prompt,
  panel: Panel.nullable(),
  parameters: z.array(Parameter),
  /** Seeds that were chosen and input files that were found here; null: not looked for yet. */
  overrides: z.custom<Values>().nullable(),
})
type Offered = z.infer<typeof Offered>

const Facts = z.object({
  engine: z.string().nullable(),
  workflows: z.array(Offered),
  note: z.string(),
  acceptDifferent: z.boolean(),
  bytesPerSecond: z.number().nullable(),
  /** The newest release there before ours was asked for; null: not asked for yet. */
  before: z.int().nullable(),
  seconds: z.partialRecord(PublishStep, z.number()),
  /** As a version before may have written them otherwise, they count only as far as they are understood. */
  sent: PushPlan.nullable().catch(null),
  proof: Proof.nullable().catch(null),
  /** By picture, from `proofs/<id>`. */
  files: z.array(z.record(z.string(), z.string().nullable())),
})
type Facts = z.infer<typeof Facts>

interface Row {
  readonly id: string
  readonly endpoint: string
  readonly snapshot_id: string
  readonly version: number | null
  readonly step: PublishStep
  readonly state: PublishState['is']
  readonly facts: string
  readonly failure: string | null
  readonly consent_by: string | null
  readonly consent_at: number | null
  readonly created_at: number
  readonly ended_at: number | null
}
interface Going {
  readonly stopping: AbortController
  readonly ended: Promise<void>
  step: PublishStep
  since: number
  phase: ReleaseView['state'] extends infer S ? (S extends { phase: infer P } ? P | null : never) : never
  done: number
  total: number
  /** What was done when it was first told of. */
  from: number | null
}
interface Begin {
  readonly endpoint: string
  readonly snapshot: string
  readonly engine?: string | undefined
  readonly workflows: readonly string[]
  readonly note: string
  readonly acceptDifferent: boolean
  readonly bytesPerSecond: number | null
}

const LOOK_EVERY_MS = 1_000
/** An endpoint that is silent so long while it prepares is given up; the same publication goes on later. */
const PATIENCE_MS = 60_000
/** Said by an endpoint that may do better in a moment. */
const PASSING = ['worker.unreachable', 'agent.stopping', 'agent.too-many', 'agent.not-ready']
const MOST_ROWS = 100
/** Of each endpoint so many keep the pictures they were compared by. */
const KEEP_PROOFS = 20

/**
 * Snapshots to endpoints: pushed, made ready there, proven and promoted. Every step is written down before the next, and
 * done again does nothing twice, so that a publication goes on where it was after any end of this program.
 */
export class Publish implements Service {
  readonly events = new EventEmitter<{ changed: [id: string] }>()
  readonly #deps: Deps
  readonly #going = new Map<string, Going>()
  #stopped = false

  constructor(deps: Deps) {
    this.#deps = deps
  }

  async start() {
    this.#stopped = false
    if (this.#deps.idle) return
    for (const { id } of this.#rows(`WHERE state = 'running'`)) this.#go(id)
  }

  async stop() {
    this.#stopped = true
    const all = [...this.#going.values()]
    for (const { stopping } of all) stopping.abort(new AppError('app.interrupted'))
    await Promise.all(all.map(({ ended }) => ended))
  }

  // ---- what would be ----

  /** Makes a snapshot of how it is now, unless one is named, and looks what of it the endpoint lacks. Nothing travels. */
  async plan(asked: PublishAsk, signal = new AbortController().signal): Promise<PublishPlan> {
    const { snapshots, desk } = this.#deps
    const target = this.#deps.target(asked.endpoint)
    const releases = await target.client.releases(signal)
    const live = releases.find(({ state }) => state.is === 'live') ?? null
    const plan = { endpoint: asked.endpoint, live }
    let id = asked.snapshot
    if (id === undefined) {
      await desk(asked.engine, signal) // a snapshot of what runs says which classes there are
      const { snapshot, secrets } = await snapshots.create({ engine: asked.engine, consent: asked.consent })
      if (snapshot === null) {
        const none = { push: null, models: [], changes: null, refusals: [] }
        return { ...plan, ...none, snapshot, secrets, workflows: await this.#named(asked.workflows) }
      }
      id = snapshot.id
    }
    const sealed = await snapshots.get(id)
    const { offered, refusals } = await this.#offer(asked.workflows, sealed)
    const models = modelsFor(sealed, offered)
    const views = await snapshots.list()
    return {
      ...plan,
      snapshot: views.find((view) => view.id === sealed.id) ?? null,
      secrets: [],
      push: await target.planPush(sealed.id, models, signal),
      models: models.map(({ folder, name, size }) => ({ folder, name, size })),
      workflows: offered.map(({ workflowId, name }) => ({ id: workflowId, name })),
      changes:
        live && views.some((view) => view.id === live.snapshotId)
          ? await snapshots.diff(live.snapshotId, sealed.id)
          : null,
      refusals: refusals.map(toFailure),
    }
  }

  // ---- publishing ----

  /** @throws AppError 'publish.busy' | 'publish.missing-class' | 'publish.missing-model' … */
  async begin(asked: Begin): Promise<Publication> {
    const { database, clock, newId, snapshots } = this.#deps
    this.#deps.target(asked.endpoint)
    const sealed = await snapshots.get(asked.snapshot)
    const { offered, refusals } = await this.#offer(asked.workflows, sealed)
    if (refusals[0]) throw refusals[0]
    const facts: Facts = {
      engine: asked.engine ?? null,
      workflows: offered,
      note: asked.note,
      acceptDifferent: asked.acceptDifferent,
      bytesPerSecond: asked.bytesPerSecond,
      before: null,
      seconds: {},
      sent: null,
      proof: null,
      files: [],
    }
    const id = newId()
    this.#mustBeFree(asked.endpoint)
    database
      .prepare(
        `INSERT INTO publications (id, endpoint, snapshot_id, step, state, facts, created_at)
         VALUES (?, ?, ?, 'push', 'running', ?, ?)`,
      )
      .run(id, asked.endpoint, sealed.id, writeJson(facts), clock.now())
    this.#go(id)
    await this.#forgetOldProofs(asked.endpoint)
    return this.get(id)
  }

  /** Something is on its way: the machine should stay awake. */
  active(): boolean {
    return this.#going.size > 0
  }

  /** The newest first. */
  list(endpoint?: string): Publication[] {
    const rows =
      endpoint === undefined
        ? this.#rows(`ORDER BY created_at DESC, rowid DESC LIMIT ${MOST_ROWS}`)
        : this.#rows(`WHERE endpoint = ? ORDER BY created_at DESC, rowid DESC LIMIT ${MOST_ROWS}`, endpoint)
    return rows.map((row) => this.#view(row))
  }

  /** @throws AppError 'app.not-found' */
  get(id: string): Publication {
    return this.#view(this.#row(id))
  }

  /** Stops it where it is; `resume` goes on there. */
  async cancel(id: string): Promise<Publication> {
    const going = this.#going.get(id)
    going?.stopping.abort(new AppError('app.interrupted'))
    await going?.ended
    return this.get(id)
  }

  /** Of an endpoint that goes. */
  async cancelAll(endpoint: string): Promise<void> {
    await Promise.all(this.#rows(`WHERE endpoint = ? AND state = 'running'`, endpoint).map(({ id }) => this.cancel(id)))
  }

  /** What the endpoint refused is sent and asked for again: what it lacked may be here by now. @throws AppError 'publish.busy' */
  resume(id: string): Publication {
    const row = this.#row(id)
    if (row.state === 'failed' || row.state === 'stopped') {
      this.#mustBeFree(row.endpoint)
      const refused =
        row.state === 'failed' && (row.step === 'prepare' || this.#failureOf(row).code.startsWith('release.'))
      const step = refused ? 'push' : row.step
      this.#set(id, { state: 'running', step, failure: null, ended_at: null })
      this.#go(id)
    }
    return this.get(id)
  }

  /** A person's word on pictures that differ; it is kept who gave it. */
  answer(id: string, accept: boolean): Publication {
    const { clock, person } = this.#deps
    const { state } = this.#row(id)
    if (state !== 'asking') return this.get(id)
    const now = clock.now()
    if (accept) {
      this.#set(id, { state: 'running', step: 'promote', consent_by: person(), consent_at: now })
      this.#go(id)
    } else {
      const failure = toFailure(differing(this.#factsOf(this.#row(id)).proof!))
      this.#set(id, { state: 'failed', failure: writeJson(failure as unknown as Json), ended_at: now })
    }
    return this.get(id)
  }

  /** Resolves when it no longer runs: done, failed, stopped, or asking. */
  async settled(id: string): Promise<Publication> {
    await this.#going.get(id)?.ended
    return this.get(id)
  }

  // ---- what is there ----

  /** The newest first. */
  async versions(endpoint: string, signal?: AbortSignal): Promise<VersionView[]> {
    const rows = await this.#deps.target(endpoint).client.releases(signal)
    const known = new Map(
      this.#rows('WHERE endpoint = ? AND version IS NOT NULL ORDER BY created_at', endpoint).map((row) => [
        `${row.version} ${row.snapshot_id}`,
        this.#view(row),
      ]),
    )
    return rows.map((row) => {
      const publication = known.get(`${row.version} ${row.snapshotId}`)
      return {
        ...row,
        publicationId: publication?.id ?? null,
        verdict: publication?.proof?.verdict ?? null,
        consent: publication?.consent ?? null,
      }
    })
  }

  /** To a version that served before; the one before the live one where none is named. @throws AppError 'publish.no-version' */
  async rollBack(
    endpoint: string,
    version: number | null,
    signal = new AbortController().signal,
  ): Promise<ReleaseView> {
    const { client } = this.#deps.target(endpoint)
    const rows = await client.releases(signal)
    const live = rows.find(({ state }) => state.is === 'live')
    const earlier = rows.filter((row) => row.state.is === 'retired' && (!live || row.version < live.version))
    const wanted = version === null ? earlier[0] : rows.find((row) => row.version === version)
    if (!wanted) throw new AppError('publish.no-version', { endpoint })
    if (wanted.state.is === 'live') return wanted
    this.#mustBeFree(endpoint, ['running'])
    const now = await this.#promote(client, wanted.version, signal)
    this.#deps.log?.('publish.rolled-back', { endpoint, from: live?.version ?? 0, to: wanted.version })
    this.events.emit('changed', '')
    return now
  }

  /** null: there is none, or it is no picture. */
  async picture(id: string, at: number, side: ProofSide): Promise<{ bytes: Uint8Array; mediaType: string } | null> {
    const file = this.#factsOf(this.#row(id)).files[at]?.[side]
    const bytes = file ? await readFile(path.join(this.#proofDir(id), file)).catch(() => null) : null
    if (!file || !bytes) return null
    const { mediaType, kind } = mediaOf(bytes.subarray(0, HEAD_BYTES), file)
    return kind === 'image' && mediaType !== 'image/svg+xml' ? { bytes, mediaType } : null
  }

  // ---- the steps ----

  readonly #steps: Record<PublishStep, (row: Row, going: Going) => Promise<void>> = {
    push: async (row, going) => {
      const { workflows, bytesPerSecond } = this.#factsOf(row)
      const models = modelsFor(await this.#deps.snapshots.get(row.snapshot_id), workflows)
      const sent = await this.#deps.target(row.endpoint).push(row.snapshot_id, models, {
        bytesPerSecond,
        signal: going.stopping.signal,
        onNews: ({ sentBytes, totalBytes }) => this.#tell(row.id, going, sentBytes, totalBytes),
      })
      this.#note(row.id, { sent })
    },

    release: async (row, going) => {
      const { signal } = going.stopping
      const { client, worker } = this.#deps.target(row.endpoint)
      const facts = this.#factsOf(row)
      const workflows: Offered[] = []
      for (const offered of facts.workflows)
        workflows.push(offered.overrides ? offered : await this.#settle(offered, facts.engine, signal))
      const [newest] = await client.releases(signal)
      const before = facts.before ?? newest?.version ?? 0
      this.#note(row.id, { workflows, before })
      const asked = {
        snapshotId: row.snapshot_id,
        flags: [],
        models: modelsFor(await this.#deps.snapshots.get(row.snapshot_id), workflows),
        workflows: await this.#withInputs(workflows, worker(null), signal),
        note: facts.note,
      }
      // asked for before, and the answer was lost
      const ours = (await client.releases(signal)).find(
        ({ version, snapshotId, note, state }) =>
          version > before && snapshotId === row.snapshot_id && note === facts.note && state.is !== 'refused',
      )
      const { version } = ours ?? (await client.publish(asked, signal))
      this.#set(row.id, { version })
    },

    prepare: async (row, going) => {
      const { client } = this.#deps.target(row.endpoint)
      await this.#until(client, row.version!, going.stopping.signal, ({ state }) => {
        if (state.is !== 'preparing') return true
        if (going.phase !== state.phase) going.from = null
        going.phase = state.phase
        this.#tell(row.id, going, state.bytes, state.totalBytes)
        return false
      })
    },

    prove: async (row, going) => {
      const { make, newId, clock, compare, target, desk } = this.#deps
      const { workflows, engine } = this.#factsOf(row)
      if (workflows.length === 0) return
      const { signal } = going.stopping
      const { client, isHere, worker } = target(row.endpoint)
      // an endpoint that was restarted makes it ready once more
      await this.#until(client, row.version!, signal, ({ state }) => state.is !== 'preparing')
      const here = await desk(engine ?? undefined, signal)
      const there = worker(row.version)
      // a release is ready only with the very classes of the snapshot, and one that is not live is not asked for them
      there.definitions = (until) => here.definitions(until)
      try {
        const dir = this.#proofDir(row.id)
        const { proof, files } = await prove(workflows.map(provingOf), {
          desk: here,
          endpoint: there,
          demands: isHere ? 'identical' : 'equivalent',
          make,
          newId,
          now: clock.now,
          compare,
          dir,
          signal,
          onNews: ({ done, total }) => this.#tell(row.id, going, done, total),
        })
        const relative = files.map((each) =>
          Object.fromEntries(
            Object.entries(each).map(([side, file]) => [side, file === null ? null : path.relative(dir, file)]),
          ),
        )
        this.#note(row.id, { proof, files: relative })
      } finally {
        await there.close()
      }
    },

    promote: async (row, going) => {
      await this.#promote(this.#deps.target(row.endpoint).client, row.version!, going.stopping.signal)
    },
  }

  async #promote(client: Target['client'], version: number, signal: AbortSignal): Promise<ReleaseView> {
    const now = await client.promote(version, signal)
    if (now.state.is === 'live') return now
    return this.#until(client, version, signal, ({ state }) => state.is === 'live')
  }

  /** Looks until it is as it should be. @throws the failure it was refused for */
  async #until(
    client: Target['client'],
    version: number,
    signal: AbortSignal,
    isSo: (view: ReleaseView) => boolean,
  ): Promise<ReleaseView> {
    const { lookEveryMs = LOOK_EVERY_MS } = this.#deps
    let heardAt = performance.now()
    for (;;) {
      try {
        const view = await client.release(version, signal)
        heardAt = performance.now()
        if (view.state.is === 'refused') throw new FailureError(view.state.failure)
        if (isSo(view)) return view
      } catch (cause) {
        signal.throwIfAborted()
        if (!PASSING.includes(codeOf(cause)) || performance.now() - heardAt > PATIENCE_MS) throw cause
      }
      await pause(lookEveryMs, undefined, { signal })
    }
  }

  // ---- carrying out ----

  #go(id: string) {
    if (this.#going.has(id) || this.#stopped) return
    const stopping = new AbortController()
    const { promise: ended, resolve } = Promise.withResolvers<void>()
    const { step } = this.#row(id)
    const going: Going = { stopping, ended, step, since: 0, phase: null, done: 0, total: 0, from: null }
    this.#going.set(id, going)
    void this.#carryOut(id, going).finally(() => {
      this.#going.delete(id)
      this.events.emit('changed', id)
      resolve()
    })
  }

  async #carryOut(id: string, going: Going) {
    const { clock, log, person } = this.#deps
    try {
      await this.#startOverUnlessThere(this.#row(id), going.stopping.signal)
      for (let row = this.#row(id); row.state === 'running'; row = this.#row(id)) {
        const { step } = row
        Object.assign(going, { step, since: clock.now(), phase: null, done: 0, total: 0, from: null })
        this.events.emit('changed', id)
        await this.#steps[step](row, going)
        const facts = this.#factsOf(this.#row(id))
        this.#note(id, { seconds: { ...facts.seconds, [step]: (clock.now() - going.since) / 1000 } })
        log?.('publish.step', { id, endpoint: row.endpoint, step })
        const next = publishSteps[publishSteps.indexOf(step) + 1]
        const asks = step === 'prove' && facts.proof !== null && needsConsent(facts.proof) && row.consent_by === null
        if (asks && facts.acceptDifferent)
          this.#set(id, { step: 'promote', consent_by: person(), consent_at: clock.now() })
        else if (asks) this.#set(id, { state: 'asking' })
        else if (next) this.#set(id, { step: next })
        else this.#set(id, { state: 'done', ended_at: clock.now() })
      }
    } catch (cause) {
      if (going.stopping.signal.aborted) {
        if (!this.#stopped) this.#set(id, { state: 'stopped', ended_at: clock.now() })
        return
      }
      const failure = toFailure(cause)
      log?.('publish.failed', { id, step: going.step, code: failure.code })
      this.#set(id, { state: 'failed', failure: writeJson(failure as unknown as Json), ended_at: clock.now() })
    }
  }

  /** From a release that the endpoint no longer has nothing goes on: it may be another one by now, or was emptied. */
  async #startOverUnlessThere({ id, endpoint, step, version, snapshot_id }: Row, signal: AbortSignal) {
    if (version === null || step === 'push' || step === 'release') return
    const { client } = this.#deps.target(endpoint)
    const there = await this.#until(client, version, signal, () => true).catch((cause: unknown) => {
      if (codeOf(cause) === 'app.not-found') return null
      throw cause
    })
    if (there?.snapshotId === snapshot_id) return
    this.#note(id, { before: null, seconds: {}, proof: null, files: [] })
    this.#set(id, { step: 'push', version: null, consent_by: null, consent_at: null })
  }

  #tell(id: string, going: Going, done: number, total: number) {
    going.from ??= done
    Object.assign(going, { done, total })
    this.events.emit('changed', id)
  }

  // ---- what is published ----

  async #named(ids: readonly string[]) {
    const all = await Promise.all(ids.map((id) => this.#deps.library.load(id)))
    return all.map(({ id, name }) => ({ id, name }))
  }

  /** The workflows as they will be offered, and why an endpoint with this snapshot could not run them. */
  async #offer(ids: readonly string[], { manifest }: SealedManifest) {
    const offered: Offered[] = []
    const refusals: AppError[] = []
    const slugs = new Set<string>()
    const classes = manifest.nodeClasses === null ? null : new Set(manifest.nodeClasses)
    const files = new Set(manifest.models.map(({ name }) => bare(name)))
    for (const id of ids) {
      const { name, prompt, inspection, parameters, panels } = await this.#deps.library.load(id)
      const losses = inspection.problems.filter(({ kind }) => kind === 'loss').length
      if (losses > 0) refusals.push(new AppError('convert.would-lose', { name, count: losses }))
      if (inspection.outputs.length === 0) refusals.push(new AppError('publish.no-output', { workflow: name }))
      if (inspection.paid.length > 0)
        refusals.push(new AppError('publish.paid', { workflow: name, classTypes: inspection.paid.join(', ') }))
      const used = [...new Set(Object.values(prompt).map(({ class_type }) => class_type))]
      const lacking = classes === null ? [] : used.filter((each) => !classes.has(each))
      if (lacking.length > 0)
        refusals.push(new AppError('publish.missing-class', { workflow: name, classTypes: lacking.join(', ') }))
      const needed = inspection.models.map(({ file }) => file).filter((file) => isModelFile(file))
      const absent = [...new Set(needed.filter((file) => !files.has(bare(file))))]
      if (absent.length > 0)
        refusals.push(new AppError('publish.missing-model', { workflow: name, models: absent.join(', ') }))
      const slug = slugOf(name, id, slugs)
      slugs.add(slug)
      const [panel = null] = panels
      offered.push({ workflowId: id, id: slug, name, prompt, panel, parameters, overrides: null })
    }
    return { offered, refusals }
  }

  /** Random seeds are chosen once, and input files that lie in the ComfyUI here are kept, so that both sides have them. */
  async #settle(offered: Offered, engine: string | null, signal: AbortSignal): Promise<Offered> {
    const { inputs, desk, random } = this.#deps
    const overrides: Values = {}
    for (const parameter of offered.parameters) {
      const value = offered.prompt[parameter.node]?.inputs[parameter.input]
      if (isSeed(parameter) && value === -1) overrides[parameter.key] = newSeed(parameter, random)
      if (!parameter.upload || typeof value !== 'string' || value.startsWith('input:')) continue
      if (isWebAddress(value)) overrides[parameter.key] = await inputs.addUrl(value)
      else {
        const worker = await desk(engine ?? undefined, signal)
        if (!(await worker.hasInput(value, signal))) continue // refused where it is run
        const file = inputFile(value)
        const kept = await inputs.add(file.filename, worker.fetch(file, signal))
        overrides[parameter.key] = kept.ref
      }
    }
    return { ...offered, overrides }
  }

  /** As they are offered: with input files that lie in the endpoint's store. */
  async #withInputs(workflows: readonly Offered[], worker: Worker, signal: AbortSignal): Promise<PublishedWorkflow[]> {
    try {
      const all: PublishedWorkflow[] = []
      for (const { workflowId: _, overrides, prompt, parameters, ...offered } of workflows) {
        const there: Values = {}
        for (const parameter of parameters.filter(({ upload }) => upload)) {
          const value = overrides?.[parameter.key] ?? prompt[parameter.node]?.inputs[parameter.input]
          if (typeof value === 'string' && value.startsWith('input:'))
            there[parameter.key] = await worker.upload(this.#deps.inputs.resolve(value), signal)
        }
        all.push({ ...offered, parameters, prompt: withOverrides(prompt, there, parameters) })
      }
      return all
    } finally {
      await worker.close()
    }
  }

  // ---- rows ----

  #rows(where: string, ...values: string[]): Row[] {
    return this.#deps.database.prepare<string[], Row>(`SELECT * FROM publications ${where}`).all(...values)
  }
  #row(id: string): Row {
    const [row] = this.#rows('WHERE id = ?', id)
    if (!row) throw new AppError('app.not-found', { what: id })
    return row
  }
  #factsOf({ facts }: Row): Facts {
    return Facts.parse(parseJson(facts))
  }
  #failureOf({ failure }: Pick<Row, 'failure'>): Failure {
    return Failure.parse(parseJson(failure!))
  }
  #note(id: string, some: Partial<Facts>) {
    this.#set(id, { facts: writeJson({ ...this.#factsOf(this.#row(id)), ...some } as unknown as Json) })
  }
  #set(id: string, columns: Partial<Omit<Row, 'id'>>) {
    const names = Object.keys(columns)
    this.#deps.database
      .prepare(`UPDATE publications SET ${names.map((name) => `${name} = :${name}`).join(', ')} WHERE id = :id`)
      .run({ ...columns, id })
    this.events.emit('changed', id)
  }

  #mustBeFree(endpoint: string, from: readonly PublishState['is'][] = ['running', 'asking']) {
    if (this.#rows('WHERE endpoint = ?', endpoint).some(({ state }) => from.includes(state)))
      throw new AppError('publish.busy', { endpoint })
  }

  #view(row: Row): Publication {
    const facts = this.#factsOf(row)
    return {
      id: row.id,
      endpoint: row.endpoint,
      snapshotId: row.snapshot_id,
      workflows: facts.workflows.map(({ workflowId, name }) => ({ id: workflowId, name })),
      note: facts.note,
      createdAt: row.created_at,
      endedAt: row.ended_at,
      version: row.version,
      state: this.#stateOf(row),
      seconds: facts.seconds,
      sent: facts.sent,
      proof: facts.proof,
      consent: row.consent_by === null ? null : { by: row.consent_by, at: row.consent_at! },
    }
  }

  #stateOf({ id, state, step, failure }: Row): PublishState {
    if (state === 'failed') return { is: state, step, failure: this.#failureOf({ failure }) }
    if (state === 'stopped') return { is: state, step }
    if (state !== 'running') return { is: state }
    const going = this.#going.get(id)
    if (!going) return { is: state, step, phase: null, done: 0, total: 0, perSecond: null, etaSeconds: null }
    const { phase, done, total, from, since } = going
    const seconds = (this.#deps.clock.now() - since) / 1000
    const perSecond = from !== null && done > from && seconds > 0 ? (done - from) / seconds : null
    return {
      ...{ is: state, step: going.step, phase, done, total, perSecond },
      etaSeconds: perSecond === null || total < done ? null : Math.ceil((total - done) / perSecond),
    }
  }

  #proofDir(id: string) {
    return path.join(this.#deps.dataDir, 'proofs', id)
  }
  async #forgetOldProofs(endpoint: string) {
    const old = this.#rows('WHERE endpoint = ? ORDER BY created_at DESC, rowid DESC', endpoint).slice(KEEP_PROOFS)
    await Promise.all(old.map(({ id }) => rm(this.#proofDir(id), { recursive: true, force: true })))
  }
}

/** Of the snapshot's: what the workflows name, and what lies among its nodes; all of them where none is offered. */
function modelsFor({ manifest }: SealedManifest, offered: readonly Pick<Offered, 'prompt'>[]): ModelNeeded[] {
  if (offered.length === 0) return manifest.models
  const named = new Set(offered.flatMap(({ prompt }) => modelFilesIn(writeJson(prompt))))
  return manifest.models.filter(({ folder, name }) => folder === 'custom_nodes' || named.has(bare(name)))
}
const bare = (name: string) => name.replace(/^.*[\\/]/s, '').toLowerCase()

/** Ascii, for addresses; a name that has none of it is known by its id. */
function slugOf(name: string, id: string, taken: ReadonlySet<string>): string {
  const ascii = name
    .replace(/\.\w{1,5}$/, '')
    .normalize('NFKD')
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-+|-+$/g, '')
    .slice(0, 50)
  const slug =
    ascii ||
    `w-${id
      .replace(/[^a-z0-9]/gi, '')
      .toLowerCase()
      .slice(0, 8)}`
  for (let n = 1; ; n++) {
    const tried = n === 1 ? slug : `${slug}-${n}`
    if (!taken.has(tried)) return tried
  }
}

const provingOf = ({ name, prompt, parameters, overrides }: Offered): Proving => ({
  name,
  overrides: overrides ?? {},
  batch: { prompt, parameters, editor: null, createdAt: 0, plan: { chance: 0, textMagic: true } },
})

/** `sub/name.png [output]`, as ComfyUI names a file that lies there. */
function inputFile(value: string): FileReference {
  const [, name = value, type = 'input'] = /^(.*?)(?: \[(input|output|temp)\])?$/s.exec(value) ?? []
  const subfolder = name.includes('/') ? path.posix.dirname(name) : ''
  return { filename: path.posix.basename(name), subfolder, type: type as FileReference['type'] }
}

/** On one machine with one build the same is demanded to the last bit; else what looks the same will do. */
const needsConsent = ({ demands, verdict }: Proof) =>
  verdict === 'different' || (demands === 'identical' && verdict !== 'identical')

function differing({ pictures, demands }: Proof): AppError {
  const bad = pictures.filter(({ verdict }) => needsConsent({ demands, verdict } as Proof))
  return new AppError('publish.different', { count: bad.length, all: pictures.length })
}
