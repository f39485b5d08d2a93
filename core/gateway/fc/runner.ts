import { createHash, randomUUID } from 'node:crypto'
import { EventEmitter, once } from 'node:events'
import type { Readable } from 'node:stream'
import { setTimeout as pause } from 'node:timers/promises'
import { isOver, type Task, type TaskFile } from '../../contract/agent.ts'
import type { FileReference, HistoryEntry, Prompt, PromptReply } from '../../contract/comfyui.ts'
import { AppError, toFailure } from '../../contract/errors.ts'
import { isJsonObject, type Json, type JsonObject, parseJson, walkable, writeJson } from '../../contract/json.ts'
import { mediaOf } from '../../domain/media.ts'
import type { ComfyAddress } from '../../engine/comfy/address.ts'
import { ComfyClient, type Submission } from '../../engine/comfy/client.ts'
import {
  cancelPrompt,
  type Ending,
  followPrompt,
  type Pace,
  type Recovered,
  recoverPrompt,
  runPrompt,
} from '../../engine/comfy/run-prompt.ts'
import { chooseSeeds, type InputRules, placeInputs } from './inputs.ts'
import { RunProgress } from './progress.ts'
import { eachOf, type TaskStore } from './tasks.ts'

/** What every surface that runs prompts for others stands on. */
export interface Runner {
  /**
   * Takes a workflow in, alone or as ComfyUI's own POST has it, to be run once however often it is sent under this id.
   * `release`: on that one, not on the one that serves; `owner`: the id of the key it came with.
   * @throws AppError 'agent.task-differs' | 'agent.no-release' | 'agent.busy' | 'agent.stopping' | 'app.bad-request'
   */
  submit(id: string, workflow: Json, asked?: { release?: number | null; owner?: string }): Promise<Task>
  status(id: string): Promise<Task | null>
  /** Asks for its end; the task as it was then. */
  cancel(id: string): Promise<Task | null>
  /** The task once it is over, wherever it runs. @throws AppError 'agent.no-task' | 'agent.stopping' */
  result(id: string, signal: AbortSignal): Promise<Task>
}

export interface RunnerOptions {
  /** ComfyUIs that take prompts now, for tasks of a release; null: for those that ask for none. While there are none, tasks wait. */
  readonly places: (release: number | null) => readonly ComfyAddress[]
  /** Why a task would wait for nothing; null: it may be taken. */
  readonly refusal?: () => AppError | null
  readonly store: TaskStore
  /** Epoch ms. */
  readonly now: () => number
  /** Prompts each ComfyUI has at a time: one that runs, one that is ready. */
  readonly inFlight?: number
  readonly mostWaiting?: number
  readonly limitMs?: number
  /** Of a question to ComfyUI; one that does not answer in time is waited for, up to `limitMs`. */
  readonly timeoutMs?: number
  readonly pace?: Partial<Pace>
  readonly leaseMs?: number
  readonly keepMs?: number
  readonly inputs?: InputRules
  readonly log?: (event: string, facts: JsonObject) => void
}

interface Held {
  task: Task
  prompt: Prompt
  pngInfo: JsonObject
  bytes: number
  readonly stopping: AbortController
  /** Who asked for its end. */
  ended: 'cancel' | 'limit' | 'release' | null
  /** ComfyUI died of it or beside it: it waits for another. */
  again: boolean
  /** Since when there was nothing here to run it on. */
  strandedAt: number | null
  writing: Promise<void>
  writtenAt: number
  beganAt: number
  late: NodeJS.Timeout | undefined
}

const MOST_ATTEMPTS = 3
/** A workflow that ComfyUI dies of again is not tried once more. */
const MOST_DEATHS = 2
const WRITE_EVERY_MS = 250 // what a caller sees of progress is at most this old
const MOST_WAITING_BYTES = 512 * 2 ** 20
const EXPIRE_EVERY_MS = 3_600_000 // object storage has to be asked for all its names
const WORKFLOW = 'workflow'

/** Runs tasks on one ComfyUI or several, first come first served; what another agent of the same store left undone, too. */
export class ComfyRunner implements Runner {
  /** Of each task that is held here, under `told(id)`. */
  readonly events = new EventEmitter<Record<ReturnType<typeof told>, [Task]>>()
  readonly #options: RunnerOptions
  readonly #leaseMs: number
  /** Waiting and running, in the order they came. */
  readonly #held = new Map<string, Held>()
  readonly #running = new Map<string, { readonly run: Promise<void>; place: ComfyAddress }>()
  readonly #taking = new Map<string, Promise<Task>>()
  readonly #stopped = new AbortController()
  #stopping = false
  #watch: Promise<void> = Promise.resolve()

  constructor(options: RunnerOptions) {
    this.#options = options
    this.#leaseMs = options.leaseMs ?? 15_000
    this.events.setMaxListeners(0)
  }

  async start() {
    this.#watch = this.#keepWatch()
  }

  /** What runs may end within `graceMs`; what waits is left to another agent, or to the next start. */
  async stop(graceMs = 30_000) {
    this.#stopping = true
    const waiting = [...this.#held.values()].filter(({ task }) => !this.#running.has(task.id))
    // what cannot be written now is taken up when its lease ends
    await eachOf(waiting, (held) => this.#release(held), this.#unreadable)
    await Promise.race([
      Promise.allSettled(this.#runs()),
      pause(graceMs, undefined, { ref: false, signal: this.#stopped.signal }).catch(() => {}),
    ])
    for (const held of this.#held.values()) {
      held.ended ??= 'release'
      held.stopping.abort()
    }
    this.#stopped.abort()
    await Promise.allSettled([...this.#runs(), this.#watch])
  }

  /** What there is to run on has changed. */
  look() {
    this.#next()
  }

  /** Resolves once nothing runs there any more; `places` gives none of them by now. */
  async drained(places: readonly ComfyAddress[]) {
    await Promise.allSettled(this.#runs((place) => places.includes(place)))
  }

  #runs(at: (place: ComfyAddress) => boolean = () => true) {
    return [...this.#running.values()].filter(({ place }) => at(place)).map(({ run }) => run)
  }

  get counts() {
    return { running: this.#running.size, waiting: this.#held.size - this.#running.size }
  }

  /** What takes tasks that name no release. */
  get places() {
    return this.#options.places(null)
  }

  /** As they are now, of what is held here. */
  get tasks(): Task[] {
    return [...this.#held.values()].map(({ task }) => task)
  }

  /** Of what ended here since it started; the times are of what succeeded. */
  readonly ended = {
    succeeded: 0,
    failed: 0,
    cancelled: 0,
    seconds: 0,
    within: new Map(SECONDS.map((most) => [most, 0])),
  }

  #count({ task: { state }, beganAt }: Held) {
    if (state === 'queued' || state === 'running') return
    this.ended[state] += 1
    if (state !== 'succeeded') return
    const seconds = (performance.now() - beganAt) / 1000
    this.ended.seconds += seconds
    for (const most of SECONDS) if (seconds <= most) this.ended.within.set(most, this.ended.within.get(most)! + 1)
  }

  async submit(id: string, workflow: Json, asked: { release?: number | null; owner?: string } = {}): Promise<Task> {
    const { release = null, owner } = asked
    const sent = readSent(workflow)
    const text = writeJson(writeSent(sent))
    const sha256 = createHash('sha256').update(text).digest('hex')
    const same = (task: Task) => {
      if (task.sha256 === sha256 && task.release === release) return task
      throw new AppError('agent.task-differs', { id })
    }
    // two requests at once with one id: the second waits for what becomes of the first
    const before = this.#taking.get(id)
    if (before) return same(await before)
    const taking = this.#take(id, sent, text.length, { sha256, release, owner }, same)
    this.#taking.set(id, taking)
    try {
      return await taking
    } finally {
      this.#taking.delete(id)
    }
  }

  async status(id: string): Promise<Task | null> {
    return this.#held.get(id)?.task ?? this.#options.store.get(id)
  }

  async cancel(id: string): Promise<Task | null> {
    const { store } = this.#options
    const held = this.#held.get(id)
    if (held) await this.#end(held)
    else {
      const task = await store.get(id)
      if (!task) return null
      if (!isOver(task.state)) await store.mark(id, 'cancel')
    }
    return this.status(id)
  }

  async result(id: string, signal: AbortSignal): Promise<Task> {
    const listening = AbortSignal.any([signal, this.#stopped.signal])
    try {
      for (;;) {
        const task = await this.status(id)
        if (!task) throw new AppError('agent.no-task', { id })
        if (isOver(task.state)) return task
        if (this.#stopping && !this.#running.has(id)) throw new AppError('agent.stopping')
        if (!this.#held.has(id)) {
          await pause(LOOK_EVERY_MS, undefined, { signal: listening })
          continue
        }
        const [changed] = (await once(this.events, told(id), { signal: listening })) as [Task]
        if (isOver(changed.state) && !this.#held.has(id)) return changed
      }
    } catch (cause) {
      if (this.#stopped.signal.aborted && !signal.aborted) throw new AppError('agent.stopping', {}, { cause })
      throw cause
    }
  }

  /** The task once something of it moves, or when `signal` ends, or it is over. */
  async moved(id: string, signal: AbortSignal): Promise<Task | null> {
    const before = await this.status(id)
    const listening = AbortSignal.any([signal, this.#stopped.signal])
    let task = before
    while (task && !isOver(task.state) && task.updatedAt === before?.updatedAt && !listening.aborted) {
      const change = this.#held.has(id)
        ? once(this.events, told(id), { signal: listening })
        : pause(LOOK_EVERY_MS, undefined, { signal: listening })
      await change.catch(() => {})
      task = await this.status(id)
    }
    return task
  }

  /** One of its files. */
  file(task: Task, { node, index }: Pick<TaskFile, 'node' | 'index'>): Promise<Readable | null> {
    const at = task.files.findIndex((file) => file.node === node && file.index === index)
    return at < 0 ? Promise.resolve(null) : this.#options.store.read(task.id, String(at))
  }

  // ---- taking in ----

  async #take(
    id: string,
    { prompt, pngInfo }: Sent,
    bytes: number,
    asked: Pick<Task, 'sha256' | 'release' | 'owner'>,
    same: (task: Task) => Task,
  ): Promise<Task> {
    const { store, mostWaiting = 1_000, now } = this.#options
    const known = await this.status(id)
    if (known) {
      same(known)
      return isOver(known.state) || known.leaseUntil > 0 ? known : ((await this.#adopt(known)) ?? known)
    }
    if (this.#stopping) throw new AppError('agent.stopping')
    const { release } = asked
    const refusal = release === null ? this.#options.refusal?.() : null
    if (refusal) throw refusal
    if (release !== null && this.#options.places(release).length === 0)
      throw new AppError('agent.no-release', { version: release })
    const waitingBytes = [...this.#held.values()].reduce((sum, { bytes }) => sum + bytes, 0)
    if (this.counts.waiting >= mostWaiting || waitingBytes + bytes > MOST_WAITING_BYTES)
      throw new AppError('agent.busy', { count: this.counts.waiting })
    let attempt = 1
    for (; !(await store.mark(id, `attempt-${attempt}`)); attempt++) {
      const taken = await this.#elsewhere(id)
      if (taken) return same(taken)
    }
    const chosen = chooseSeeds(prompt)
    const sent = { prompt: chosen.prompt, pngInfo }
    await store.keep(id, WORKFLOW, one(Buffer.from(writeJson(writeSent(sent)))))
    const task: Task = {
      id,
      ...asked,
      promptId: UUID.test(id) ? id.toLowerCase() : randomUUID(),
      state: 'queued',
      createdAt: now(),
      updatedAt: now(),
      attempt,
      leaseUntil: now() + this.#leaseMs,
      queuePosition: this.counts.waiting,
      seeds: chosen.seeds,
      failure: null,
      refusal: null,
      nodes: new RunProgress(prompt).nodes,
      files: [],
    }
    if (await store.put(task)) this.#hold(task, sent, bytes)
    return task
  }

  /** Another agent is just taking it in; null: it failed, or is gone, between its mark and its task. */
  async #elsewhere(id: string): Promise<Task | null> {
    for (const until = performance.now() + this.#leaseMs; performance.now() < until; await pause(LOOK_EVERY_MS)) {
      const task = await this.#options.store.get(id)
      if (task) return task
    }
    return null
  }

  #hold(task: Task, { prompt, pngInfo }: Sent, bytes: number) {
    const held: Held = {
      task,
      prompt,
      pngInfo,
      bytes,
      stopping: new AbortController(),
      ended: null,
      again: false,
      strandedAt: null,
      writing: Promise.resolve(),
      writtenAt: performance.now(),
      beganAt: 0,
      late: undefined,
    }
    this.#held.set(task.id, held)
    this.#next()
  }

  /** What an agent that is gone left undone; null where another one was quicker. */
  async #adopt(left: Task): Promise<Task | null> {
    const { store, now, log } = this.#options
    if (this.#stopping || this.#held.has(left.id) || this.#options.places(left.release).length === 0) return null
    const seen = this.#see(left)
    const attempt = seen.next
    if (!(await store.mark(left.id, `attempt-${attempt}`))) {
      Object.assign(seen, { next: attempt + 1, silentMs: 0 }) // unless whoever has it says so within a lease
      return null
    }
    const task = { ...left, attempt, leaseUntil: now() + this.#leaseMs, updatedAt: now() }
    const kept = await store.read(left.id, WORKFLOW)
    if (!kept || (left.begun ?? 0) >= MOST_ATTEMPTS) {
      const lost = { ...task, state: 'failed' as const, failure: toFailure(new AppError('prompt.forgotten')) }
      await store.put(lost)
      return lost
    }
    const parts = (await kept.toArray()) as Buffer[]
    const text = Buffer.concat(parts).toString('utf8')
    log?.('task.adopted', { id: task.id, attempt })
    if (!(await store.put(task))) return null
    this.#hold(task, readSent(parseJson(text)), text.length)
    return task
  }

  // ---- running ----

  #next() {
    if (this.#stopping) return
    const { inFlight = 2 } = this.#options
    let queuePosition = 0
    for (const held of this.#held.values()) {
      const { id, release } = held.task
      if (this.#running.has(id)) continue
      const places = this.#options.places(release).map((place) => ({ place, load: this.#loadOf(place) }))
      const [best] = places.toSorted((a, b) => a.load - b.load)
      if (best && best.load < inFlight) {
        const run = this.#run(held, best.place).finally(() => {
          this.#running.delete(id)
          if (!held.again) this.#held.delete(id)
          held.again = false
          this.events.emit(told(held.task.id), held.task)
          this.#next()
        })
        this.#running.set(id, { run, place: best.place })
      } else if (held.task.queuePosition !== queuePosition++) this.#change(held, { queuePosition: queuePosition - 1 })
    }
  }
  #loadOf(place: ComfyAddress) {
    return this.#runs((each) => each.url === place.url).length
  }

  async #run(held: Held, place: ComfyAddress): Promise<void> {
    const { limitMs = 3_600_000, timeoutMs, log } = this.#options
    const pace = { ...PACE, ...this.#options.pace }
    const { id, promptId, attempt } = held.task
    held.beganAt = performance.now()
    const limit = setTimeout(() => {
      held.ended ??= 'limit'
      held.stopping.abort()
    }, limitMs)
    limit.unref()
    const { signal } = held.stopping
    const progress = new RunProgress(held.prompt)
    const tell = (change: Partial<Task> = {}) => this.#change(held, { ...change, nodes: progress.nodes })
    let client: HearingClient | undefined
    /** Up to its end, or up to where ComfyUI falls silent. */
    const follow = async (lostSight: boolean) => {
      const { seen, at } = lostSight ? await this.#lookFor(held, place) : { seen: LOST, at: place }
      if (client && seen.is === 'lost' && (held.task.begun ?? 0) > 0) throw new AppError('prompt.forgotten')
      await client?.close()
      client = new HearingClient(at, { clientId: randomUUID(), timeoutMs })
      client.socket.events.on('message', (message) => {
        const { is } = message
        if ('promptId' in message && message.promptId !== null && message.promptId !== promptId) return
        if (is !== 'preview' && progress.hear(message, this.#seconds())) tell()
      })
      const prompt =
        seen.is === 'lost'
          ? await placeInputs(client, held.prompt, signal, { ...this.#options.inputs, store: this.#options.store })
          : {}
      const steps =
        seen.is === 'lost'
          ? runPrompt(
              client,
              { promptId, prompt, pngInfo: { nightshift: { task: id }, ...held.pngInfo } },
              signal,
              pace,
            )
          : seen.is === 'queued' || seen.is === 'running'
            ? followPrompt(client, promptId, signal, pace)
            : [seen]
      for await (const step of steps) {
        if (step.is === 'started') {
          const { begun = 0 } = held.task
          tell({ state: 'running', queuePosition: null, begun: seen.is === 'running' ? Math.max(1, begun) : begun + 1 })
        } else if (isEnding(step)) await this.#ending(held, client, progress, step)
      }
    }
    try {
      signal.throwIfAborted()
      for (let lostSight = attempt > 1; ; lostSight = true) {
        try {
          await follow(lostSight)
          break
        } catch (cause) {
          if (signal.aborted || !this.#isBusy(held, place, cause)) throw cause
          log?.('task.unheard', { id, reason: (cause as Error).message })
        }
      }
    } catch (cause) {
      if (held.ended === 'release') return await this.#release(held)
      if (held.ended === null && this.#mayAgain(held, place, cause) && (await this.#again(held))) return
      if (held.ended && client) await this.#giveUp(client, promptId)
      if (held.ended === 'cancel') tell({ state: 'cancelled', queuePosition: null })
      else {
        const long = new AppError('agent.too-long', { seconds: Math.round(limitMs / 1000) })
        tell({ state: 'failed', queuePosition: null, failure: toFailure(held.ended === 'limit' ? long : cause) })
      }
    } finally {
      clearTimeout(limit)
      clearTimeout(held.late)
      await client?.close()
    }
    await this.#write(held).catch((cause) => log?.('task.not-written', { id, reason: (cause as Error).message }))
    log?.('task.over', { id, state: held.task.state, code: held.task.failure?.code ?? null })
  }

  /** Where a prompt of ours is that we lost sight of; `place` where nobody knows it. */
  async #lookFor({ task, stopping }: Held, place: ComfyAddress): Promise<{ seen: Recovered; at: ComfyAddress }> {
    const all = await Promise.all(
      this.#options.places(task.release).map(async (at) => {
        const client = new ComfyClient(at, { clientId: randomUUID(), timeoutMs: this.#options.timeoutMs })
        const seen = await recoverPrompt(client, task.promptId, stopping.signal).finally(() => client.close())
        return { seen, at }
      }),
    )
    const found = all.find(({ seen }) => seen.is !== 'lost') ?? { seen: LOST, at: place }
    this.#running.get(task.id)!.place = found.at
    return found
  }

  /** It takes connections and says nothing: loading a model can hold it for minutes. Who watches it ends it, if anybody. */
  #isBusy({ task }: Held, place: ComfyAddress, cause: unknown) {
    if (!(cause instanceof AppError) || cause.code !== 'worker.unreachable') return false
    return (
      (cause.cause as Error | undefined)?.name === 'TimeoutError' && this.#options.places(task.release).includes(place)
    )
  }

  /** It is certain that it runs no more: its ComfyUI has forgotten it, or has ended. */
  #mayAgain({ task }: Held, place: ComfyAddress, cause: unknown) {
    if ((task.begun ?? 0) >= MOST_DEATHS || !(cause instanceof AppError)) return false
    if (cause.code === 'prompt.forgotten') return true
    return /^(worker|output)\./.test(cause.code) && !this.#options.places(task.release).includes(place)
  }

  /** Waits for another ComfyUI, before those that came after it; false: another agent has it by now. */
  async #again(held: Held): Promise<boolean> {
    const attempt = held.task.attempt + 1
    if (!(await this.#options.store.mark(held.task.id, `attempt-${attempt}`))) return false
    this.#options.log?.('task.again', { id: held.task.id, attempt })
    held.again = true
    this.#change(held, { state: 'queued', attempt, nodes: new RunProgress(held.prompt).nodes })
    await this.#write(held)
    return true
  }

  async #ending(held: Held, client: HearingClient, progress: RunProgress, ending: Ending) {
    const tell = (change: Partial<Task>) =>
      this.#change(held, { ...change, queuePosition: null, nodes: progress.nodes })
    const failed = ending.is === 'failed' && ending.failure.code !== 'prompt.no-files'
    if (ending.is === 'interrupted') return tell({ state: 'cancelled' })
    if (ending.is === 'lost') throw new AppError('prompt.forgotten')
    if (failed) return tell({ state: 'failed', failure: ending.failure, refusal: client.refusal })
    const entry = await client.history(held.task.promptId, held.stopping.signal)
    for (const [node, output] of Object.entries(entry?.outputs ?? {}))
      if (isJsonObject(output)) progress.show(node, output, this.#seconds())
    progress.succeed(this.#seconds())
    const files = await this.#keepFiles(held, client, entry)
    const nodes = progress.nodes
    for (const [node, report] of Object.entries(nodes)) {
      const own = files.filter((file) => file.node === node)
      if (own.length === 0) continue
      report.mime = own.map(({ mediaType }) => mediaType)
      report.urls = own.map(
        ({ index }) => `/api/result?${new URLSearchParams({ id: held.task.id, node, index: String(index) })}`,
      )
    }
    const seconds = ending.is === 'saved' ? ending.seconds : undefined
    this.#change(held, { state: 'succeeded', queuePosition: null, files, nodes, seconds })
  }

  /** All that it saved and showed, put where every agent of the store has it; pictures first. */
  async #keepFiles(held: Held, client: HearingClient, entry: HistoryEntry | undefined): Promise<TaskFile[]> {
    const files: TaskFile[] = []
    for (const [node, output] of Object.entries(entry?.outputs ?? {})) {
      const lists = Object.entries(isJsonObject(output) ? output : {})
      const ordered = lists.toSorted(([a], [b]) => Number(b === 'images') - Number(a === 'images'))
      let index = 0
      for (const [key, list] of ordered)
        for (const item of Array.isArray(list) ? list : []) {
          const file = fileIn(item)
          if (!file) continue
          let head: Uint8Array = new Uint8Array()
          const bytes = client.view(file, held.stopping.signal)
          const { sizeBytes } = await this.#options.store.keep(
            held.task.id,
            String(files.length),
            tapped(bytes, (first) => {
              head = first
            }),
          )
          const { mediaType } = mediaOf(head, file.filename)
          files.push({ node, index: index++, key, name: file.filename, mediaType, sizeBytes })
        }
    }
    return files
  }

  /** It is ended at ComfyUI too, as far as that answers. */
  async #giveUp(client: ComfyClient, promptId: string) {
    const reason = AbortSignal.timeout(10_000)
    await cancelPrompt(client, promptId, reason).catch((cause) =>
      this.#options.log?.('task.not-cancelled', { promptId, reason: (cause as Error).message }),
    )
  }

  async #end(held: Held) {
    held.ended ??= 'cancel'
    held.stopping.abort()
    const running = this.#running.get(held.task.id)
    if (running) return running.run
    this.#held.delete(held.task.id)
    this.#change(held, { state: 'cancelled', queuePosition: null })
    await this.#write(held)
  }

  /** Whoever comes next may have it. */
  async #release(held: Held) {
    this.#held.delete(held.task.id)
    held.ended = 'release' // no lease is taken any more
    held.task = { ...held.task, leaseUntil: 0, state: 'queued' }
    try {
      await this.#write(held)
    } finally {
      this.events.emit(told(held.task.id), held.task)
    }
  }

  /** Another agent has it by now: what becomes of it is in the store. */
  #letGo(held: Held) {
    if (held.ended === 'release') return
    held.ended = 'release'
    held.stopping.abort()
    if (!this.#running.has(held.task.id)) this.#held.delete(held.task.id)
    this.#options.log?.('task.overtaken', { id: held.task.id })
    this.events.emit(told(held.task.id), held.task)
  }

  // ---- keeping ----

  /** A change of state is written at once, progress a few times a second. */
  #change(held: Held, change: Partial<Task>) {
    const before = held.task.state
    if (isOver(before)) return
    held.task = { ...held.task, ...change, updatedAt: this.#options.now() }
    if (isOver(held.task.state)) this.#count(held)
    this.events.emit(told(held.task.id), held.task)
    if (held.task.state !== before)
      void this.#write(held).catch(() => {}) // written again at its end, and told there
    else if (held.late === undefined && this.#running.has(held.task.id))
      held.late = setTimeout(
        () => {
          held.late = undefined
          void this.#write(held).catch(() => {})
        },
        Math.max(0, held.writtenAt + WRITE_EVERY_MS - performance.now()),
      )
  }

  /** One after the other, each with the newest. */
  #write(held: Held): Promise<void> {
    clearTimeout(held.late)
    held.late = undefined
    held.writtenAt = performance.now()
    const write = async () => {
      if (held.ended !== 'release') held.task = { ...held.task, leaseUntil: this.#options.now() + this.#leaseMs }
      if (!(await this.#options.store.put(held.task))) this.#letGo(held)
    }
    held.writing = held.writing.then(write, write)
    return held.writing
  }

  /** What is held is looked after, however long it takes to see what others left. */
  async #keepWatch() {
    let expiredAt = Number.NEGATIVE_INFINITY
    await Promise.all([
      this.#whileUp(() => eachOf([...this.#held.values()], (held) => this.#lookAfter(held), this.#unreadable)),
      this.#whileUp(async () => {
        await this.#takeWhatIsLeft()
        if (performance.now() - expiredAt < EXPIRE_EVERY_MS) return
        expiredAt = performance.now()
        const { store, now, keepMs = 7 * 86_400_000 } = this.#options
        await store.expire(now() - keepMs)
      }),
    ])
  }
  async #whileUp(act: () => Promise<unknown>) {
    while (!this.#stopped.signal.aborted) {
      await act().catch(this.#unreadable)
      await pause(this.#leaseMs / 10, undefined, { signal: this.#stopped.signal }).catch(() => {})
    }
  }
  #unreadable = (cause: unknown) => this.#options.log?.('tasks.unreadable', { reason: (cause as Error).message })

  async #takeWhatIsLeft() {
    const { store } = this.#options
    const open = new Set(await store.open())
    for (const id of this.#seen.keys()) if (!open.has(id)) this.#seen.delete(id)
    const left: Task[] = []
    const look = async (id: string) => {
      if (this.#held.has(id) || this.#taking.has(id) || this.#stopping) return
      const task = await store.get(id)
      if (task && !isOver(task.state) && this.#isLeft(task)) left.push(task)
    }
    await eachOf([...open], look, this.#unreadable)
    for (const task of left.toSorted((a, b) => a.createdAt - b.createdAt)) await this.#adopt(task)
  }

  /** Says that it is held; hears what others want of it. */
  async #lookAfter(held: Held) {
    if (await this.#options.store.marked(held.task.id, 'cancel')) void this.#end(held).catch(this.#unreadable)
    else if (this.#isStranded(held)) await this.#release(held)
    else if (performance.now() - held.writtenAt > this.#leaseMs / 3) await this.#write(held)
  }

  /** Whoever works on it says so again and again. How long it said nothing is measured here: clocks of others may be wrong. */
  #isLeft(task: Task): boolean {
    const { silentMs, next } = this.#see(task)
    return (task.leaseUntil === 0 && next === task.attempt + 1) || silentMs > this.#leaseMs
  }
  /** For how long it was looked at and is as it is, and which attempt is the next that nobody is known to have claimed. */
  #see({ id, attempt, leaseUntil }: Task) {
    const as = `${attempt} ${leaseUntil}`
    const lookedAt = performance.now()
    const before = this.#seen.get(id)
    if (before?.as === as) {
      // a machine that stood still for longer kept the others of it from saying anything, too
      before.silentMs += Math.min(lookedAt - before.lookedAt, this.#leaseMs / 2)
      before.lookedAt = lookedAt
      return before
    }
    const seen = { as, lookedAt, silentMs: 0, next: attempt + 1 }
    this.#seen.set(id, seen)
    return seen
  }
  readonly #seen = new Map<string, { readonly as: string; lookedAt: number; silentMs: number; next: number }>()

  /** It has waited long for any ComfyUI here to be there: another agent may have one. */
  #isStranded(held: Held): boolean {
    const waits = !this.#running.has(held.task.id) && this.#options.places(held.task.release).length === 0
    if (!waits) held.strandedAt = null
    else held.strandedAt ??= performance.now()
    return held.strandedAt !== null && performance.now() - held.strandedAt > 2 * this.#leaseMs
  }

  #seconds() {
    return Math.floor(this.#options.now() / 1000)
  }
}

const LOOK_EVERY_MS = 250
/** Upper bounds of what is counted by how long it took. */
const SECONDS = [1, 2.5, 5, 10, 30, 60, 120, 300, 900, 3_600]
export const told = (id: string) => `task ${id}` as const
const PACE = { lookEveryMs: 2_000 }
const LOST = { is: 'lost' } as const
const UUID = /^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$/i

/** Keeps what ComfyUI said when it refused. */
class HearingClient extends ComfyClient {
  refusal: JsonObject | null = null
  override async submit(submission: Submission, signal?: AbortSignal): Promise<PromptReply> {
    const reply = await super.submit(submission, signal)
    if (reply.error) this.refusal = reply as unknown as JsonObject
    return reply
  }
}

interface Sent {
  readonly prompt: Prompt
  /** Texts for the pictures it saves. */
  readonly pngInfo: JsonObject
}
/** A workflow alone, or `{ prompt, extra_data: { extra_pnginfo } }`. @throws AppError 'app.bad-request' */
function readSent(said: Json): Sent {
  const { prompt, extra_data: extra } = isJsonObject(said) ? said : {}
  if (!isJsonObject(prompt) || typeof prompt.class_type === 'string') return { prompt: readWorkflow(said), pngInfo: {} }
  const pngInfo = isJsonObject(extra) && isJsonObject(extra.extra_pnginfo) ? extra.extra_pnginfo : {}
  if (!walkable(pngInfo)) throw new AppError('app.bad-request', { reason: 'it is nested too deeply' })
  return { prompt: readWorkflow(prompt), pngInfo }
}
const writeSent = ({ prompt, pngInfo }: Sent) =>
  Object.keys(pngInfo).length === 0 ? prompt : { prompt, extra_data: { extra_pnginfo: pngInfo } }

/** @throws AppError 'app.bad-request' */
export function readWorkflow(workflow: Json): Prompt {
  const refuse = (reason: string) => new AppError('app.bad-request', { reason })
  if (!isJsonObject(workflow)) throw refuse('the body is no workflow in API format')
  if (!walkable(workflow)) throw refuse('it is nested too deeply')
  const nodes = Object.entries(workflow)
  if (nodes.length === 0) throw refuse('the workflow has no node')
  for (const [id, node] of nodes) {
    if (id === '' || !isJsonObject(node)) throw refuse(`node ${id.slice(0, 60)} is no object`)
    if (typeof node.class_type !== 'string' || node.class_type === '')
      throw refuse(`node ${id.slice(0, 60)} has no class_type`)
    if (!isJsonObject(node.inputs)) throw refuse(`node ${id.slice(0, 60)} has no inputs`)
  }
  return workflow as unknown as Prompt
}

function fileIn(item: Json): FileReference | null {
  if (!isJsonObject(item) || typeof item.filename !== 'string' || item.filename === '') return null
  const { filename, subfolder, type } = item
  const kind = type === 'temp' || type === 'input' ? type : 'output'
  return { filename, subfolder: typeof subfolder === 'string' ? subfolder : '', type: kind }
}

async function* one(bytes: Uint8Array) {
  yield bytes
}

async function* tapped(bytes: AsyncIterable<Uint8Array>, first: (chunk: Uint8Array) => void) {
  let seen = false
  for await (const chunk of bytes) {
    if (!seen) first(chunk)
    seen = true
    yield chunk
  }
}

const isEnding = (step: { is: string }): step is Ending => ['saved', 'failed', 'interrupted', 'lost'].includes(step.is)
