import { existsSync, readFileSync, rmSync } from 'node:fs'
import path from 'node:path'
import { AppError, type Failure, toFailure } from '../../core/contract/errors.ts'
import { type JsonObject, parseJson, writeJson } from '../../core/contract/json.ts'
import type { CustomNodeNeed, NodeLists } from '../../core/contract/workflow.ts'
import { type ExtensionMap, isExtensionMap, withPacks } from '../../core/domain/workflow/node-packs.ts'
import { fetchList } from '../../core/engine/download/fetch-list.ts'
import { addressesFor, Mirrors } from '../../core/engine/download/mirrors.ts'
import type { Clock } from './clock.ts'
import { writeWhole } from './write-whole.ts'

interface Deps {
  dataDir: string
  /** Where `mirrors.json` is. */
  resourcesDir: string
  clock: Pick<Clock, 'now'>
  patienceMs?: number
  timeoutMs?: number
  waitMs?: number
}
/** The copy we keep, and where it is from. */
interface Kept {
  url: string
  etag: string | null
  fetchedAt: number
}

const LIST = 'extension-node-map'
const FRESH_FOR_MS = 24 * 60 * 60_000
/** After nobody gave it: how long nobody is asked again. */
const REST_MS = 10 * 60_000
/** How long somebody who asks is kept waiting for the list. */
const WAIT_MS = 10_000
const LIMIT_BYTES = 32 * 1024 * 1024

/**
 * Which packages bring a class: the list that ComfyUI-Manager keeps. It is another's work, under its own licence, so it is
 * fetched when it is first wanted and kept in the cache alone.
 */
export class NodePacks {
  readonly #deps: Deps
  readonly #dir: string
  readonly #closing = new AbortController()
  #map: ExtensionMap | undefined
  #kept: Kept | undefined
  #asking: Promise<void> | undefined
  #failed: { at: number; because: Failure } | undefined

  constructor(deps: Deps) {
    this.#deps = deps
    this.#dir = path.join(deps.dataDir, 'cache', 'lists')
  }

  /**
   * Without the list, each class still has the packages its file names; `nodeLists.because` says why there are no more. A
   * list that takes its time is not waited for: it is there the next time.
   */
  async complete(
    customNodes: readonly CustomNodeNeed[],
  ): Promise<{ customNodes: CustomNodeNeed[]; nodeLists?: NodeLists }> {
    if (customNodes.length === 0) return { customNodes: [] }
    let licence = ''
    let slow = false
    try {
      const { lists, mirrors } = this.#mirrors()
      const source = lists[LIST]
      if (!source) throw new AppError('list.unreachable', { reason: `mirrors.json names no ${LIST}` })
      licence = source.licence
      this.#asking ??= this.#refresh(new URL(source.url), mirrors)
        .catch((cause) => this.#fail(cause))
        .finally(() => {
          this.#asking = undefined
        })
      slow = await isLate(this.#asking, this.#deps.waitMs ?? WAIT_MS)
    } catch (cause) {
      this.#fail(cause)
    }
    const late = slow && !this.#map ? toFailure(new AppError('list.unreachable', { reason: 'it takes long' })) : null
    const nodeLists = {
      fetchedAt: this.#kept?.fetchedAt ?? null,
      url: this.#kept?.url ?? null,
      licence,
      because: this.#failed?.because ?? late,
    }
    return { customNodes: this.#map ? withPacks(customNodes, this.#map) : [...customNodes], nodeLists }
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

  #mirrors(): Mirrors {
    return readAllMirrors(this.#deps.dataDir, this.#deps.resourcesDir)
  }

  async #refresh(source: URL, mirrors: Mirrors['mirrors']) {
    const { clock, patienceMs, timeoutMs } = this.#deps
    this.#readKept()
    const now = clock.now()
    this.#failed ??= this.#readKeptFailure()
    if (this.#map && this.#kept && now - this.#kept.fetchedAt < FRESH_FOR_MS) return
    if (this.#failed && now - this.#failed.at < REST_MS) return
    // nothing but its shape can be checked, so the one who keeps it is asked before those who copy it
    const addresses = addressesFor(source, mirrors)
    const etag = this.#map && this.#kept?.etag ? { url: this.#kept.url, value: this.#kept.etag } : null
    const found = await fetchList({
      addresses: [addresses.at(-1)!, ...addresses.slice(0, -1)],
      isRight: isExtensionMap,
      limitBytes: LIMIT_BYTES,
      etag,
      signal: this.#closing.signal,
      ...(patienceMs !== undefined && { patienceMs }),
      ...(timeoutMs !== undefined && { timeoutMs }),
    })
    this.#failed = undefined
    rmSync(path.join(this.#dir, `${LIST}.failed.json`), { force: true })
    if (found.is === 'new') {
      this.#map = found.list as unknown as ExtensionMap
      this.#kept = { url: found.url, etag: found.etag, fetchedAt: now }
      this.#write('.json', found.text)
    } else this.#kept = { ...this.#kept!, fetchedAt: now }
    this.#write('.about.json', writeJson(this.#kept))
  }

  #readKept() {
    if (this.#map) return
    try {
      const list = parseJson(readFileSync(path.join(this.#dir, `${LIST}.json`), 'utf8'))
      const about = parseJson(readFileSync(path.join(this.#dir, `${LIST}.about.json`), 'utf8')) as JsonObject
      if (!isExtensionMap(list)) return
      this.#map = list as unknown as ExtensionMap
      this.#kept = about as unknown as Kept
    } catch {
      // nothing is kept, or it was damaged: it is fetched again
    }
  }

  /** Another process may have tried just now. */
  #readKeptFailure(): { at: number; because: Failure } | undefined {
    try {
      return parseJson(readFileSync(path.join(this.#dir, `${LIST}.failed.json`), 'utf8')) as never
    } catch {
      return undefined
    }
  }

  #write(ending: string, text: string) {
    writeWhole(path.join(this.#dir, LIST + ending), text)
  }
}

/** A person's own lists and mirrors go before ours. @throws AppError 'list.bad-mirrors' */
export function readAllMirrors(dataDir: string, resourcesDir: string): Mirrors {
  const own = path.join(dataDir, 'mirrors.json')
  const ours = readMirrors(path.join(resourcesDir, 'mirrors.json'))
  const theirs = existsSync(own) ? readMirrors(own) : Mirrors.parse({})
  return {
    lists: { ...ours.lists, ...theirs.lists },
    sources: { ...ours.sources, ...theirs.sources },
    mirrors: [...theirs.mirrors, ...ours.mirrors],
  }
}

function readMirrors(file: string): Mirrors {
  try {
    return Mirrors.parse(parseJson(readFileSync(file, 'utf8')))
  } catch (cause) {
    throw new AppError('list.bad-mirrors', { file, reason: cause instanceof Error ? cause.message : String(cause) })
  }
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
