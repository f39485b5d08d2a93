import { readFileSync, rmSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import type { Dispatcher } from 'undici'
import { AppError, type Failure, toFailure } from '../../core/contract/errors.ts'
import { type Json, type JsonObject, parseJson, writeJson } from '../../core/contract/json.ts'
import type { NodeLists } from '../../core/contract/workflow.ts'
import { fetchList } from '../../core/engine/download/fetch-list.ts'
import { addressesFor, type Mirrors } from '../../core/engine/download/mirrors.ts'
import { writeWholeSync } from '../../core/engine/write-whole.ts'
import type { Clock } from './clock.ts'

export interface KeepingDeps {
  dataDir: string
  /** @throws AppError 'list.bad-mirrors' */
  mirrors: () => Mirrors
  clock: Pick<Clock, 'now'>
  /** How the network is reached; not said: directly. */
  dispatcher?: () => Dispatcher
  patienceMs?: number
  timeoutMs?: number
  waitMs?: number
}
export interface WantedList {
  /** Its file in the cache, without an ending. */
  name: string
  /** Where it is, and whose terms it is under. @throws AppError 'list.unreachable' */
  source: (mirrors: Mirrors) => { url: string; formerly?: string | undefined; licence: string }
  isRight: (list: Json) => boolean
  /** That there is none is an answer too: the list is null then. */
  mayLack?: boolean
}
/** The copy we keep, and where it is from. */
interface Kept {
  url: string
  etag: string | null
  fetchedAt: number
}

const FRESH_FOR_MS = 24 * 60 * 60_000
/** After nobody gave it: how long nobody is asked again. */
const REST_MS = 10 * 60_000
/** How long somebody who asks is kept waiting for the list. */
const WAIT_MS = 10_000
const LIMIT_BYTES = 32 * 1024 * 1024

/**
 * A list of somebody else's, under their own licence: fetched when it is first wanted, kept in the cache alone, and asked
 * for again once a day.
 */
export class KeptList {
  readonly #deps: KeepingDeps
  readonly #wanted: WantedList
  readonly #dir: string
  readonly #closing = new AbortController()
  #list: Json | undefined
  #kept: Kept | undefined
  #asking: Promise<void> | undefined
  #failed: { at: number; because: Failure } | undefined

  constructor(deps: KeepingDeps, wanted: WantedList) {
    this.#deps = deps
    this.#wanted = wanted
    this.#dir = path.join(deps.dataDir, 'cache', 'lists')
  }

  /**
   * What there is of it, undefined: nothing; `because` says why there is nothing, or nothing newer. A list that takes its
   * time is not waited for: it is there the next time.
   */
  async current(): Promise<{ list: Json | undefined; from: NodeLists }> {
    let licence = ''
    let slow = false
    try {
      const mirrors = this.#deps.mirrors()
      const source = this.#wanted.source(mirrors)
      licence = source.licence
      this.#asking ??= this.#refresh(source, mirrors.mirrors)
        .catch((cause) => this.#fail(cause))
        .finally(() => {
          this.#asking = undefined
        })
      slow = await isLate(this.#asking, this.#deps.waitMs ?? WAIT_MS)
    } catch (cause) {
      this.#fail(cause)
    }
    const none = this.#list === undefined
    const late = slow && none ? toFailure(new AppError('list.unreachable', { reason: 'it takes long' })) : null
    const { fetchedAt = null, url = null } = this.#kept ?? {}
    return { list: this.#list, from: { fetchedAt, url, licence, because: this.#failed?.because ?? late } }
  }

  /** Lets go of a list that is on its way. */
  close() {
    this.#closing.abort()
  }

  #fail(cause: unknown) {
    if (this.#closing.signal.aborted) return
    this.#failed = { at: this.#deps.clock.now(), because: toFailure(cause) }
    this.#write('.failed.json', writeJson(this.#failed))
  }

  async #refresh({ url, formerly }: { url: string; formerly?: string | undefined }, mirrors: Mirrors['mirrors']) {
    const { clock, dispatcher, patienceMs, timeoutMs } = this.#deps
    const { isRight, mayLack } = this.#wanted
    await this.#readKept()
    const now = clock.now()
    this.#failed ??= this.#readKeptFailure()
    if (this.#list !== undefined && this.#kept && now - this.#kept.fetchedAt < FRESH_FOR_MS) return
    if (this.#failed && now - this.#failed.at < REST_MS) return
    // nothing but its shape can be checked, so the one who keeps it is asked before those who copy it
    const addresses = [url, ...(formerly === undefined ? [] : [formerly])].flatMap((each) => {
      const all = addressesFor(new URL(each), mirrors)
      return [all.at(-1)!, ...all.slice(0, -1)]
    })
    const etag = this.#list !== undefined && this.#kept?.etag ? { url: this.#kept.url, value: this.#kept.etag } : null
    const found = await fetchList({
      addresses,
      isRight,
      mayLack: mayLack ?? false,
      limitBytes: LIMIT_BYTES,
      etag,
      signal: this.#closing.signal,
      ...(dispatcher && { dispatcher: dispatcher() }),
      ...(patienceMs !== undefined && { patienceMs }),
      ...(timeoutMs !== undefined && { timeoutMs }),
    })
    this.#failed = undefined
    rmSync(this.#file('.failed.json'), { force: true })
    if (found.is === 'new') {
      this.#list = found.list
      this.#kept = { url: found.url, etag: found.etag, fetchedAt: now }
      this.#write('.json', found.text)
    } else this.#kept = { ...this.#kept!, fetchedAt: now }
    this.#write('.about.json', writeJson(this.#kept))
  }

  async #readKept() {
    if (this.#list !== undefined) return
    try {
      const list = parseJson(await readFile(this.#file('.json'), 'utf8'))
      const about = parseJson(await readFile(this.#file('.about.json'), 'utf8')) as JsonObject
      if (!(list === null ? this.#wanted.mayLack : this.#wanted.isRight(list))) return
      this.#list = list
      this.#kept = about as unknown as Kept
    } catch {
      // nothing is kept, or it was damaged: it is fetched again
    }
  }

  /** Another process may have tried just now. */
  #readKeptFailure(): { at: number; because: Failure } | undefined {
    try {
      return parseJson(readFileSync(this.#file('.failed.json'), 'utf8')) as never
    } catch {
      return undefined
    }
  }

  #file(ending: string) {
    return path.join(this.#dir, this.#wanted.name + ending)
  }
  #write(ending: string, text: string) {
    writeWholeSync(this.#file(ending), text)
  }
}

/** One of the lists that mirrors.json names. */
export const listNamed =
  (name: string) =>
  ({ lists }: Mirrors) => {
    const source = lists[name]
    if (!source) throw new AppError('list.unreachable', { reason: `mirrors.json names no ${name}` })
    return source
  }

/** Whether a thing that never fails takes longer than this; it goes on. */
async function isLate(thing: Promise<void>, waitMs: number): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<true>()
  const timer = setTimeout(resolve, waitMs, true)
  try {
    return await Promise.race([thing.then(() => false), promise])
  } finally {
    clearTimeout(timer)
  }
}
