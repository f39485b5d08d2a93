import { randomUUID } from 'node:crypto'
import { createWriteStream, mkdirSync, readdirSync, rmSync } from 'node:fs'
import { readdir, rm, stat } from 'node:fs/promises'
import path from 'node:path'
import type { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { pipeline } from 'node:stream/promises'
import { setImmediate } from 'node:timers/promises'
import type { Worker } from 'node:worker_threads'
import type { z } from 'zod'
import { decoded } from '../../core/contract/address.ts'
import type { ImportResult as ImportResultSchema, ImportSource as ImportSourceSchema } from '../../core/contract/app.ts'
import { AppError, type Failure, FailureError, toFailure } from '../../core/contract/errors.ts'
import type { Panel } from '../../core/contract/panel.ts'
import { type WorkflowSummary, workflowExtensions } from '../../core/contract/workflow.ts'
import { fetchPublic, isPublic } from '../../core/engine/download/fetch-public.ts'
import { startThread } from '../../core/engine/start-thread.ts'
import type { DefinitionsNow, ImportReply, ImportRequest, Looked } from './import-worker.ts'
import type { Definitions, Library } from './library.ts'
import type { ReadSource } from './read-import.ts'
import type { Service } from './service.ts'

export type ImportSource = z.output<typeof ImportSourceSchema>
export type ImportResult = z.input<typeof ImportResultSchema>

interface Deps {
  dataDir: string
  library: Pick<Library, 'keep' | 'attachPanels' | 'summary'>
  fleet: { definitionsFor(): Promise<Definitions>; view(): { url: string | null }[] }
  /** For tests. */
  patienceMs?: number
}
type Place = ImportRequest['from']
type Reply = NonNullable<ImportReply['found']>
interface Waiting {
  readonly name: string
  readonly from: Place
  readonly to: ImportRequest['to']
  readonly known: Definitions
  found(reply: Reply): void
  done(): void
}

const MiB = 1024 * 1024
/** Smaller uploads are not written to the disk first. */
const IN_MEMORY_BYTES = 8 * MiB
const MOST_FETCHED_BYTES = 256 * MiB
const MOST_IN_FOLDER = 10_000
/** The longest that rows are written without letting others have their turn. */
const BREATH_MS = 15
/** So that the thread reads one while another is kept. */
const AT_ONCE = 3
/** A file that says nothing for so long is given up, and the thread with it. */
const PATIENCE_MS = 60_000
/** A thread without work ends. */
const IDLE_MS = 60_000

/** Brings dropped files into the library: read and converted in a thread of their own, kept as they are found. */
export class Importer implements Service {
  #deps: Deps
  #dir: string
  #uploads: string
  #thread: Worker | null = null
  #told: Definitions | null = null
  #nextId = 1
  #waiting = new Map<number, Waiting>()
  #watch: NodeJS.Timeout | undefined

  constructor(deps: Deps) {
    this.#deps = deps
    this.#dir = path.join(deps.dataDir, 'workflows')
    this.#uploads = path.join(deps.dataDir, 'uploads')
  }

  async start() {
    mkdirSync(this.#uploads, { recursive: true })
    for (const name of readdirSync(this.#uploads)) rmSync(path.join(this.#uploads, name), { force: true })
  }

  async stop() {
    await this.#lose('the app is closing', true)
  }

  /** One file for a caller who wants one workflow: the first that is in it. @throws FailureError the first failure */
  async import(name: string, bytes: Uint8Array): Promise<WorkflowSummary> {
    const results = await this.#finish([await this.#read(name, { bytes })], [])
    const first = results.find((result) => result.ok)
    if (first?.ok) return first.workflow
    const [fault] = results
    throw fault && !fault.ok ? new FailureError(fault.failure) : new AppError('import.no-workflow', { name })
  }

  /**
   * Everything given, each told of on its own: one that fails stops no other. Forms without a workflow go to one that
   * came with them.
   */
  async importMany(
    sources: readonly ImportSource[],
    { mayUsePaths, cameWith = [] }: { mayUsePaths: boolean; cameWith?: readonly string[] },
  ): Promise<ImportResult[]> {
    const read: Found[][] = sources.map(() => [])
    let next = 0
    const some = async () => {
      for (let at = next++; at < sources.length; at = next++) {
        const source = sources[at]!
        try {
          for (const { name, from } of await this.#files(source, mayUsePaths))
            read[at]!.push(...(await this.#read(name, from)))
        } catch (cause) {
          read[at]!.push({ name: nameOf(source), failure: toFailure(cause) })
        }
      }
    }
    await Promise.all(Array.from({ length: AT_ONCE }, some))
    return this.#finish(read, cameWith)
  }

  /** A file as it is sent. */
  async importStream(
    name: string,
    body: Readable,
    { sizeBytes, cameWith = [] }: { sizeBytes: number; cameWith?: readonly string[] },
  ): Promise<ImportResult[]> {
    if (sizeBytes <= IN_MEMORY_BYTES)
      return this.#finish([await this.#read(name, { bytes: await buffer(body) })], cameWith)
    const file = path.join(this.#uploads, `${randomUUID()}.part`)
    try {
      await pipeline(body, createWriteStream(file, { flags: 'wx' }))
      return await this.#finish([await this.#read(name, { path: file })], cameWith)
    } catch (cause) {
      const { code } = cause as NodeJS.ErrnoException
      throw code === 'ENOSPC' || code === 'EDQUOT'
        ? new AppError('disk.full', { dir: this.#uploads }, { cause })
        : cause
    } finally {
      await rm(file, { force: true })
    }
  }

  async #files(source: ImportSource, mayUsePaths: boolean): Promise<{ name: string; from: Place }[]> {
    if ('base64' in source) return [{ name: source.name, from: { bytes: Buffer.from(source.base64, 'base64') } }]
    if ('url' in source) return [await this.#fetch(source.url, mayUsePaths)]
    if (!mayUsePaths)
      throw new AppError('app.refused', { reason: 'a file can only be named on the machine it lies on' })
    return filesUnder(source.path).then((files) =>
      files.map((file) => ({ name: path.basename(file), from: { path: file } })),
    )
  }

  /**
   * What a person on this machine names may be anywhere, such as a ComfyUI beside it; what a browser names, which may
   * be on another one, only on the internet or on a worker.
   */
  async #fetch(url: string, isLocal: boolean): Promise<{ name: string; from: Place }> {
    const name = nameInUrl(url)
    if (url.startsWith('data:')) return { name, from: { bytes: bytesInUrl(url) } }
    const origins = this.#deps.fleet.view().map((worker) => URL.parse(worker.url ?? '')?.origin)
    const isKnown = isLocal || origins.includes(URL.parse(url)?.origin)
    const mayReach = isKnown ? () => true : isPublic
    const { bytes } = await fetchPublic(asSaved(url), { limitBytes: MOST_FETCHED_BYTES, timeoutMs: 60_000, mayReach })
    return { name, from: { bytes } }
  }

  /** What a file holds, or the prompt it stands for, without keeping it. @throws FailureError import.* */
  async look<W extends keyof Looked>(to: W, name: string, bytes: Uint8Array, known: Definitions): Promise<Looked[W]> {
    const [found] = await this.#askFor(name, { bytes }, to, known)
    if (found && 'looked' in found) return found.looked as Looked[W]
    throw new FailureError((found as { failure: Failure }).failure)
  }

  /** What was read of each, into the library; then the forms that came alone. */
  async #finish(read: readonly Found[][], cameWith: readonly string[]): Promise<ImportResult[]> {
    const { library } = this.#deps
    const results: ImportResult[] = []
    const loose: { name: string; panels: readonly Panel[] }[] = []
    let since = performance.now()
    for (const found of read.flat()) {
      if (performance.now() - since > BREATH_MS) {
        await setImmediate()
        since = performance.now()
      }
      if ('failure' in found) results.push({ ok: false, name: found.name, failure: found.failure })
      else {
        for (const workflow of library.keep(found)) results.push({ ok: true, name: found.name, workflow })
        if (found.loosePanels.length > 0) loose.push({ name: found.name, panels: found.loosePanels })
      }
    }
    const ids = results.flatMap((result) => (result.ok ? [result.workflow.id] : []))
    for (const { name, panels } of loose)
      try {
        for (const { id, titles } of await library.attachPanels(panels, [...ids, ...cameWith]))
          results.push({ ok: true, name, workflow: library.summary(id), forms: titles })
      } catch (cause) {
        results.push({ ok: false, name, failure: toFailure(cause) })
      }
    return results
  }

  async #read(name: string, from: Place): Promise<Found[]> {
    const known = await this.#deps.fleet.definitionsFor()
    return (await this.#askFor(name, from, { keep: this.#dir }, known)) as Found[]
  }

  async #askFor(name: string, from: Place, to: ImportRequest['to'], known: Definitions): Promise<Reply[]> {
    const found: Reply[] = []
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#ask({ name, from, to, known, found: (reply) => void found.push(reply), done: resolve })
    await promise
    return found
  }

  #ask(waiting: Waiting) {
    this.#thread ??= this.#startThread()
    const thread = this.#thread
    const { name, from, to, known } = waiting
    const id = this.#nextId++
    if (this.#told?.definitions !== known.definitions || this.#told.from !== known.from) {
      // its own copy of what came with Nightshift needs no sending
      const { definitions, ...origin } = known
      const isBundled = known.from === 'bundled'
      thread.postMessage({ known: { ...origin, ...(!isBundled && { definitions }) } satisfies DefinitionsNow })
      this.#told = known
    }
    this.#waiting.set(id, waiting)
    if (this.#waiting.size === 1) this.#watchOver()
    thread.ref()
    thread.postMessage({ id, name, from, to } satisfies ImportRequest)
  }

  #watchOver() {
    clearTimeout(this.#watch)
    this.#watch = setTimeout(() => void this.#lose('it takes too long to read'), this.#deps.patienceMs ?? PATIENCE_MS)
    this.#watch.unref()
  }

  /** The first that waits is the one it was at; the others are asked of the next thread, unless there shall be none. */
  #lose(reason: string, last = false) {
    const thread = this.#thread
    const [first, ...others] = this.#waiting.values()
    clearTimeout(this.#watch)
    this.#thread = null
    this.#told = null
    this.#waiting.clear()
    for (const { name, found, done } of last && first ? [first, ...others] : first ? [first] : []) {
      found({ name, failure: toFailure(new AppError('import.damaged', { name, reason })) })
      done()
    }
    if (!last) for (const one of others) this.#ask(one)
    return thread?.terminate()
  }

  #startThread(): Worker {
    const hear = ({ id, found }: ImportReply) => {
      const waiting = this.#waiting.get(id)
      if (found) waiting?.found(found)
      else {
        this.#waiting.delete(id)
        waiting?.done()
      }
      if (this.#waiting.size > 0) return this.#watchOver()
      clearTimeout(this.#watch)
      thread.unref()
      this.#watch = setTimeout(() => void this.#lose('', true), IDLE_MS) // it holds definitions, some tens of megabytes
      this.#watch.unref()
    }
    const lost = (reason: string) => {
      if (this.#thread === thread) void this.#lose(reason)
    }
    const thread = startThread('import-worker', import.meta.url, hear, lost)
    thread.unref()
    return thread
  }
}

type Found = { name: string; failure: Failure } | ReadSource

/** A file, or what can hold a workflow in a folder and those within, in the order people expect; hidden ones are left out. */
export async function filesUnder(place: string): Promise<string[]> {
  const found = await stat(place).catch(() => null)
  if (!found) throw new AppError('input.missing', { name: path.basename(place) })
  if (!found.isDirectory()) return [place]
  const entries = await readdir(place, { withFileTypes: true, recursive: true })
  const files = entries
    .filter((entry) => entry.isFile())
    .map((entry) => path.join(entry.parentPath, entry.name))
    .filter((file) => workflowExtensions.includes(path.extname(file).slice(1).toLowerCase()))
    .filter(
      (file) =>
        !path
          .relative(place, file)
          .split(path.sep)
          .some((part) => part.startsWith('.')),
    )
  if (files.length > MOST_IN_FOLDER)
    throw new AppError('import.too-many-files', { name: path.basename(place), limit: MOST_IN_FOLDER })
  return files.sort(inPeoplesOrder.compare)
}
const inPeoplesOrder = new Intl.Collator('en', { numeric: true })

function nameOf(source: ImportSource): string {
  if ('url' in source) return nameInUrl(source.url)
  return 'path' in source ? path.basename(source.path) : source.name
}

/** ComfyUI names the file in `filename`; else it is the last part of the path. */
function nameInUrl(url: string): string {
  if (url.startsWith('data:')) return 'picture'
  const parsed = URL.parse(url)
  const last = parsed?.searchParams.get('filename') ?? parsed?.pathname.split('/').filter(Boolean).at(-1) ?? ''
  return path.posix.basename(decoded(last)).slice(0, 200) || (parsed?.host ?? 'file')
}

/** ComfyUI shows pictures converted, which takes their texts away; without these it gives the file. */
function asSaved(url: string): string {
  const parsed = URL.parse(url)
  if (!parsed?.pathname.endsWith('/view')) return url
  for (const key of ['preview', 'channel']) parsed.searchParams.delete(key)
  return parsed.href
}

function bytesInUrl(url: string): Uint8Array {
  const comma = url.indexOf(',')
  const data = url.slice(comma + 1)
  return /;base64$/i.test(url.slice(0, comma)) ? Buffer.from(data, 'base64') : Buffer.from(decoded(data))
}
