import { mkdir, readFile, rename, rm, stat } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as pause, setImmediate as turn } from 'node:timers/promises'
import { AppError } from '../../contract/errors.ts'
import { writeJson } from '../../contract/json.ts'
import type { ModelNeeded, PublishedSnapshot, PushPlan, SealedManifest } from '../../contract/snapshot.ts'
import { diskFailure } from '../download/disk.ts'
import { hashFile } from '../hash-file.ts'
import { writeWhole } from '../write-whole.ts'
import type { Depot, Transfer } from './depot.ts'
import { readSealed } from './manifest.ts'
import { copyFrames, damageOr, footerOf, INDEX_TAIL_BYTES, PackWriter, packFile, readIndex, readTail } from './pack.ts'
import { closureOf } from './restore.ts'
import type { ObjectStore } from './store.ts'

/** Where a model lies here, and addresses on the public internet that have it too. */
export interface ModelHere {
  readonly file: string | null
  readonly sources: readonly string[]
}
export interface PushPlanOptions {
  /** Those to be there; else all of the snapshot's. */
  readonly models?: readonly ModelNeeded[]
  readonly modelHere?: (model: ModelNeeded) => Promise<ModelHere>
  readonly signal?: AbortSignal
}
export interface PushOptions {
  /** Packs on their way at once. */
  readonly lines?: number
  /** null: as fast as it goes. */
  readonly bytesPerSecond?: number | null
  readonly signal?: AbortSignal
  readonly onNews?: (news: { sentBytes: number; totalBytes: number }) => void
}
/**
 * What is to travel: packs as they are, and packs of only those frames that are missing there. Nothing goes along that is
 * not of the snapshot: what lies beside it may be of another, or was left out because it is secret.
 */
export interface Push {
  readonly plan: PushPlan
  readonly sealed: SealedManifest
  /** All it is made of. */
  readonly objects: ReadonlySet<string>
  readonly whole: readonly string[]
  readonly parts: ReadonlyMap<string, ReadonlySet<number>>
  /** Packs there that hold what is not sent. */
  readonly there: ReadonlySet<string>
  /** Models that are not there. */
  readonly models: readonly (ModelNeeded & ModelHere)[]
}

/** A pack goes as it is when so much of it is wanted; else its wanted frames go alone. */
const MOSTLY = 0.7
const LINES = 4

/**
 * What the place lacks of a snapshot. Reads the indexes of packs it has not seen before, once.
 * @throws AppError 'snapshot.no-model'
 */
export async function planPush(
  store: ObjectStore,
  sealed: SealedManifest,
  depot: Depot,
  { models = sealed.manifest.models, modelHere = nowhere, signal }: PushPlanOptions = {},
): Promise<Push> {
  const each = [...new Map(models.map((model) => [model.sha256, model])).values()]
  const lacking = await modelsLacking(each, depot, modelHere, signal)
  const known = await objectsAt(store, depot, signal)
  const all = closureOf(store, sealed.manifest)
  const there = new Set<string>()
  const missing = new Map<string, Set<number>>()
  const frames = { all: new Set<string>(), missing: 0 }
  let objects = 0
  for (const key of all) {
    const { pack, frame } = store.find(key)
    frames.all.add(`${pack}.${frame}`)
    const at = known.get(key)
    if (at) there.add(at)
    else {
      objects++
      const inPack = missing.get(pack) ?? new Set<number>()
      missing.set(pack, inPack.add(frame))
    }
  }
  const whole: string[] = []
  const parts = new Map<string, Set<number>>()
  let bytes = 0
  for (const [pack, wanted] of missing) {
    const { frames, objects } = store.packs.get(pack)!
    const stored = (some: Iterable<number>) => [...some].reduce((sum, n) => sum + frames[n]!.stored, 0)
    const mostly = stored(wanted) >= MOSTLY * stored(frames.keys()) && [...objects.keys()].every((key) => all.has(key))
    if (mostly) whole.push(pack)
    else parts.set(pack, wanted)
    bytes += mostly ? stored(frames.keys()) : stored(wanted)
  }
  const storedOf = (of: string) => {
    const [pack = '', frame] = of.split('.')
    return store.packs.get(pack)!.frames[Number(frame)]!.stored
  }
  return {
    models: lacking,
    objects: all,
    sealed,
    whole,
    parts,
    there,
    plan: {
      id: sealed.id,
      where: depot.where,
      objects: { missing: objects, all: all.size },
      bytes: { missing: bytes, all: [...frames.all].reduce((sum, of) => sum + storedOf(of), 0) },
      packs: whole.length + (parts.size > 0 ? 1 : 0),
      models: {
        count: each.length,
        bytes: sizeOf(each),
        missing: lacking.length,
        missingBytes: sizeOf(lacking),
        fetched: lacking.filter(({ sources }) => isFetched(sources, depot)).length,
      },
    },
  }
}

const nowhere = async () => ({ file: null, sources: [] })
const sizeOf = (models: readonly ModelNeeded[]) => models.reduce((sum, { size }) => sum + size, 0)
const isFetched = (sources: readonly string[], depot: Depot) => depot.fetchModel !== undefined && sources.length > 0

async function modelsLacking(
  models: readonly ModelNeeded[],
  depot: Depot,
  modelHere: NonNullable<PushPlanOptions['modelHere']>,
  signal?: AbortSignal,
): Promise<(ModelNeeded & ModelHere)[]> {
  if (models.length === 0) return []
  const there = await depot.models(signal)
  const lacking = models.filter(({ sha256, size }) => there.get(sha256) !== size)
  return Promise.all(
    lacking.map(async (model) => {
      const here = await modelHere(model)
      if (here.file === null && !isFetched(here.sources, depot))
        throw new AppError('snapshot.no-model', { name: `${model.folder}/${model.name}` })
      return { ...model, ...here }
    }),
  )
}

/** Has the place get it where it can, so that it does not travel from here; else sends it. */
async function bringModel({ file, sources, ...model }: ModelNeeded & ModelHere, depot: Depot, transfers: Transfers) {
  if (isFetched(sources, depot)) {
    let fetched = 0
    const count = (bytes: number) => {
      fetched += bytes
      transfers.count(bytes)
    }
    try {
      return await depot.fetchModel!({ ...model, sources }, { signal: transfers.send.signal, onBytes: count })
    } catch (cause) {
      transfers.send.signal?.throwIfAborted()
      if (file === null) throw cause
      transfers.count(-fetched)
    }
  }
  await depot.putModel(model.sha256, file!, transfers.send)
}

interface Transfers {
  /** What counts, and how fast it may go. */
  readonly send: Transfer
  count(bytes: number): void
}

/**
 * Sends what is missing, several packs and models at once, then the snapshot itself. Stopped at any moment, what has arrived is
 * there and the next push goes on from it.
 */
export async function carryOutPush(
  store: ObjectStore,
  push: Push,
  depot: Depot,
  options: PushOptions = {},
): Promise<PublishedSnapshot> {
  const { lines = LINES, bytesPerSecond = null, signal, onNews } = options
  const outbox = path.join(store.dir, 'outbox')
  try {
    const made = await gather(store, push, outbox, signal)
    const files = [...push.whole.map((id) => ({ id, file: packFile(store.packsDir, id) })), ...made]
    const sizes = await Promise.all(files.map(async ({ file }) => (await stat(file)).size))
    const news = { sentBytes: 0, totalBytes: sizes.reduce((a, b) => a + b, sizeOf(push.models)) }
    const brake = bytesPerSecond === null ? null : new Brake(bytesPerSecond)
    const count = (bytes: number) => {
      news.sentBytes += bytes
      onNews?.(news)
    }
    const send: Transfer = {
      signal,
      onThere: count,
      onBytes: (bytes) => {
        count(bytes)
        return brake?.take(bytes, signal)
      },
    }
    // the large ones first, so that no line is left with one at the end
    const models = push.models
      .toSorted((a, b) => b.size - a.size)
      .map((model) => () => bringModel(model, depot, { send, count }))
    const packed = files.map(
      ({ id, file }) =>
        () =>
          depot.putPack(id, file, send),
    )
    await inLines([...models, ...packed], lines, (bring) => bring())
    const there = await depot.packs(signal)
    const packs = [...push.there, ...files.map(({ id }) => id)].map((id) => {
      const bytes = there.get(id)
      if (bytes === undefined) throw new AppError('snapshot.incomplete', { what: id.slice(0, 12) })
      return { id, bytes }
    })
    const published = { sealed: push.sealed, packs }
    await depot.putSnapshot(published, signal)
    return published
  } finally {
    await rm(outbox, { recursive: true, force: true })
  }
}

/**
 * Fetches a snapshot's packs into a store here; each is checked before it counts, what lies here already is not fetched.
 * @throws AppError 'snapshot.*'
 */
export async function pull(
  store: ObjectStore,
  id: string,
  depot: Depot,
  { trusted = null, lines = LINES, signal, onNews }: PushOptions & { trusted?: string | null } = {},
): Promise<SealedManifest> {
  const published = await depot.getSnapshot(id, signal)
  if (!published) throw new AppError('app.not-found', { what: id.slice(0, 12) })
  const sealed = readSealed(writeJson(published.sealed), trusted)
  if (sealed.id !== id) throw new AppError('snapshot.damaged', { reason: 'it is another one' })
  const todo = published.packs.filter((pack) => !store.packs.has(pack.id))
  const news = { sentBytes: 0, totalBytes: todo.reduce((sum, { bytes }) => sum + bytes, 0) }
  const inbox = path.join(store.dir, 'inbox')
  await mkdir(inbox, { recursive: true })
  await inLines(todo, lines, async (pack) => {
    const file = path.join(inbox, `${pack.id}.part`)
    const damaged = new AppError('snapshot.damaged', { reason: `pack ${pack.id.slice(0, 12)} of ${depot.where}` })
    for (let tries = 1; ; tries++) {
      let counted = 0
      const count = (bytes: number) => {
        counted += bytes
        news.sentBytes += bytes
        onNews?.(news)
      }
      const onBytes = async (bytes: number) => {
        count(bytes)
        if (counted > pack.bytes) throw damaged // it may never end
      }
      try {
        await depot.getPack(pack.id, file, { signal, onBytes, onThere: count })
      } catch (cause) {
        if (cause === damaged) await rm(file, { force: true })
        throw diskFailure(cause, store.dir)
      }
      if ((await hashFile(file, signal)) === pack.id) break
      await rm(file, { force: true }) // of what was begun before, or on its way: once more from the beginning
      count(-counted)
      if (tries === 1) continue
      await depot.setAside?.(pack.id).catch(() => {})
      throw damaged
    }
    const index = readIndex(file)
    const to = packFile(store.packsDir, pack.id)
    await mkdir(path.dirname(to), { recursive: true })
    await rename(file, to)
    store.take({ id: pack.id, bytes: pack.bytes, index })
  })
  closureOf(store, sealed.manifest) // says what is missing
  await rm(inbox, { recursive: true, force: true })
  return sealed
}

/** By object, which pack of the place holds it. */
async function objectsAt(store: ObjectStore, depot: Depot, signal?: AbortSignal): Promise<Map<string, string>> {
  const at = new Map<string, string>()
  const packs = await depot.packs(signal)
  await inLines([...packs], LINES * 2, async ([id, bytes]) => {
    const here = store.packs.get(id)
    // cut short there, it is no longer the one that is here
    const isSame = here && (await stat(packFile(store.packsDir, id)).catch(() => null))?.size === bytes
    const index = isSame ? here : await indexAt(store, depot, id, bytes, signal)
    for (const key of index?.objects.keys() ?? []) at.set(key, id)
  })
  return at
}

/** Kept here once it was read: a pack never changes. null: it is damaged there, and what it should hold is sent anew. */
async function indexAt(store: ObjectStore, depot: Depot, id: string, packBytes: number, signal?: AbortSignal) {
  const kept = path.join(store.dir, 'indexes', `${id}.idx`)
  try {
    const before = await readFile(kept).catch(() => null)
    if (before) return readTail(before, packBytes)
    let tail = await depot.readPack(id, -INDEX_TAIL_BYTES, INDEX_TAIL_BYTES, signal)
    const { bytes } = footerOf(tail)
    if (bytes > tail.length) tail = await depot.readPack(id, -bytes, bytes, signal)
    const index = readTail(tail, packBytes)
    await mkdir(path.dirname(kept), { recursive: true })
    await writeWhole(kept, tail.subarray(tail.length - bytes))
    return index
  } catch {
    signal?.throwIfAborted()
    return null
  }
}

/** Frames of several packs in one of their own. */
async function gather(store: ObjectStore, { parts, objects }: Push, outbox: string, signal?: AbortSignal) {
  if (parts.size === 0) return []
  const made: { id: string; file: string }[] = []
  let writer = new PackWriter(outbox, `${process.pid}`)
  const close = () => {
    const closed = writer.close()
    if (closed) made.push({ id: closed.id, file: packFile(outbox, closed.id) })
    writer = new PackWriter(outbox, `${process.pid}-${made.length}`)
  }
  try {
    for (const [pack, wanted] of parts) {
      const file = packFile(store.packsDir, pack)
      for (const _ of copyFrames(file, store.packs.get(pack)!, wanted, writer, (key) => objects.has(key))) {
        await turn()
        signal?.throwIfAborted()
      }
      if (writer.isFull) close()
    }
    close()
  } catch (cause) {
    writer.abandon()
    throw damageOr(cause)
  }
  return made
}

/** Several at once; the first that fails ends it. */
async function inLines<T>(items: readonly T[], lines: number, act: (item: T) => Promise<void>) {
  const rest = [...items]
  let failed = false
  const line = async () => {
    for (let item = rest.shift(); item !== undefined && !failed; item = rest.shift()) {
      try {
        await act(item)
      } catch (cause) {
        failed = true
        throw cause
      }
    }
  }
  const ended = await Promise.allSettled(Array.from({ length: lines }, line))
  for (const one of ended) if (one.status === 'rejected') throw one.reason
}

/** Lets so many bytes pass in a second. */
class Brake {
  readonly #perSecond: number
  #freeAt = 0

  constructor(perSecond: number) {
    this.#perSecond = perSecond
  }

  async take(bytes: number, signal?: AbortSignal) {
    const now = performance.now()
    this.#freeAt = Math.max(now, this.#freeAt) + (bytes / this.#perSecond) * 1000
    await pause(this.#freeAt - now, undefined, { signal })
  }
}
