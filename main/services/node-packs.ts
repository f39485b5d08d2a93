import { createHash } from 'node:crypto'
import path from 'node:path'
import { AppError } from '../../core/contract/errors.ts'
import { isJsonObject, type Json, type JsonObject } from '../../core/contract/json.ts'
import type { CustomNodeNeed, NodeLists } from '../../core/contract/workflow.ts'
import {
  idOf,
  isExtensionMap,
  isPackList,
  isStats,
  keyOf,
  type ListedPack,
  type PackHit,
  packsMeant,
  readPacks,
  searchPacks,
} from '../../core/domain/custom-nodes/packs.ts'
import { withPacks } from '../../core/domain/workflow/node-packs.ts'
import { compareVersions } from '../../core/domain/workflow/versions.ts'
import { fetchList } from '../../core/engine/download/fetch-list.ts'
import { type KeepingDeps, KeptList, listNamed } from './kept-list.ts'

/** A version of a package as the Comfy registry gives it. */
export interface RegistryVersion {
  readonly id: string
  readonly version: string
  /** Where its archive is. */
  readonly url: string
  /** Nobody has looked at it there yet. */
  readonly pending: boolean
  readonly deprecated: boolean
}

/** How many classes nobody lists the registry is asked about at a time. */
const MOST_ASKED = 12
/** After it did not answer: how long the registry is not asked about classes. */
const REST_MS = 10 * 60_000
const ANSWER_LIMIT_BYTES = 4 * 1024 * 1024
const SEARCH_WAIT_MS = 4_000
const ENOUGH_HITS = 12

/**
 * Which packages of custom nodes there are, and which of them bring a class: by the lists that ComfyUI-Manager keeps, and
 * by the Comfy registry for what these do not know.
 */
export class NodePacks {
  readonly #deps: KeepingDeps
  readonly #lists: Record<'map' | 'list' | 'stats', KeptList>
  readonly #closing = new AbortController()
  readonly #answers = new Map<string, KeptList>()
  readonly #found = new Map<string, { at: number; packs: ListedPack[] }>()
  #read: { of: Json[]; packs: ListedPack[] } = { of: [], packs: [] }
  #silentSince = -REST_MS

  constructor(deps: KeepingDeps) {
    this.#deps = deps
    const kept = (name: string, isRight: (list: Json) => boolean) =>
      new KeptList(deps, { name, source: listNamed(name), isRight })
    this.#lists = {
      map: kept('extension-node-map', isExtensionMap),
      list: kept('custom-node-list', isPackList),
      stats: kept('github-stats', isStats),
    }
  }

  /** All packages that lists name; any of these may be missing. */
  async all(): Promise<{ packs: readonly ListedPack[]; from: Record<'map' | 'list', NodeLists> }> {
    const { map, list, stats } = this.#lists
    const [classes, texts, numbers] = await Promise.all([map.current(), list.current(), stats.current()])
    const of = [classes.list, texts.list, numbers.list].map((each) => each ?? null)
    if (of.some((each, at) => each !== this.#read.of[at])) {
      const [map, list, stats] = of as [Json, Json, Json]
      this.#read = { of, packs: readPacks({ map, list, stats }) }
    }
    return { packs: this.#read.packs, from: { map: classes.from, list: texts.from } }
  }

  /**
   * Without lists, each class still has the packages its file names; `nodeLists.because` says why there are no more. A
   * list that takes its time is not waited for: it is there the next time.
   */
  async complete(
    customNodes: readonly CustomNodeNeed[],
    isInstalled?: (pack: ListedPack) => boolean,
  ): Promise<{ customNodes: CustomNodeNeed[]; nodeLists?: NodeLists }> {
    if (customNodes.length === 0) return { customNodes: [] }
    const { packs, from } = await this.all()
    const needs = withPacks(customNodes, packs, isInstalled)
    const unknown = needs.filter((need) => need.packs.every(({ why }) => why === 'name')).slice(0, MOST_ASKED)
    const said = new Map(
      await Promise.all(unknown.map(async ({ classType }) => [classType, await this.#bringing(classType)] as const)),
    )
    const completed = needs.map((need) => {
      const found = said.get(need.classType)
      if (!found) return need
      const known = packsMeant(packs, found.url ?? found.id)[0] ?? packsMeant(packs, found.registryId ?? found.id)[0]
      const { id, title, url, stars } = known ?? found
      const installed = isInstalled?.(known ?? found) ? { installed: true } : {}
      const told = [
        { id, title, url, stars, why: 'registry' as const, ...installed },
        ...need.packs.filter((pack) => pack.id !== id),
      ]
      return { ...need, packs: told, candidates: told.map((pack) => pack.id) }
    })
    return { customNodes: completed, nodeLists: from.map }
  }

  /** By name, author, description or class; where lists have few, the registry is asked too. */
  async search(text: string): Promise<{ hits: PackHit[]; from: NodeLists }> {
    const { packs, from } = await this.all()
    const hits = searchPacks(packs, text)
    if (text.trim().length < 3 || hits.length >= ENOUGH_HITS) return { hits, from: from.list }
    const there = new Set(hits.flatMap(({ pack }) => [pack.key, pack.registryId?.toLowerCase()]))
    const more = (await this.#searchRegistry(text.trim())).filter(
      ({ key, registryId }) => !there.has(key) && !there.has(registryId?.toLowerCase()),
    )
    return { hits: [...hits, ...more.map((pack) => ({ pack, classes: [] }))], from: from.list }
  }

  /** The packages that these words may mean: an address, `owner/repository`, an id of the registry, or a title. */
  async meant(item: string): Promise<ListedPack[]> {
    const { packs } = await this.all()
    return packsMeant(packs, item)
  }

  /**
   * One version, or the newest; asked for each time. null: the registry has none.
   * @throws AppError 'list.unreachable' | 'nodes.withdrawn'
   */
  async version(id: string, version: string | null): Promise<RegistryVersion | null> {
    const base = this.#registry()
    if (!base) return null
    const found = await fetchList({
      ...this.#asking(),
      addresses: [new URL(`${base}/nodes/${encodeURIComponent(id)}/versions`)],
      isRight: Array.isArray,
      mayLack: true,
      limitBytes: ANSWER_LIMIT_BYTES,
    })
    const all = found.is === 'new' && Array.isArray(found.list) ? found.list.filter(isJsonObject) : []
    const said = (each: JsonObject) => String(each.version ?? '')
    const wanted = version === null ? all : all.filter((each) => said(each) === version)
    const given = wanted.filter(({ status }) => !/Banned|Flagged|Deleted/.test(String(status)))
    if (wanted.length > 0 && given.length === 0) throw new AppError('nodes.withdrawn', { id, version: version ?? '*' })
    const newest = given
      .filter(({ downloadUrl }) => typeof downloadUrl === 'string' && URL.canParse(downloadUrl))
      .toSorted((a, b) => compareVersions(said(b), said(a)))[0]
    if (!newest) return null
    const { downloadUrl, status, deprecated } = newest
    return {
      id,
      version: said(newest),
      url: String(downloadUrl),
      pending: /Pending/.test(String(status)),
      deprecated: deprecated === true,
    }
  }

  /** Lets go of lists that are on their way. */
  close() {
    this.#closing.abort()
    for (const list of [...Object.values(this.#lists), ...this.#answers.values()]) list.close()
  }

  // ---- the registry ----

  #registry(): string | null {
    try {
      return this.#deps.mirrors().sources['node-registry']?.replace(/\/+$/, '') ?? null
    } catch {
      return null // which file is wrong is said where lists are told of
    }
  }
  #asking() {
    const { dispatcher, timeoutMs } = this.#deps
    return {
      signal: this.#closing.signal,
      ...(dispatcher && { dispatcher: dispatcher() }),
      ...(timeoutMs !== undefined && { timeoutMs }),
    }
  }

  /** Who brings a class, as the registry says. */
  async #bringing(classType: string): Promise<ListedPack | null> {
    const base = this.#registry()
    if (!base || this.#deps.clock.now() - this.#silentSince < REST_MS) return null
    const url = `${base}/comfy-nodes/${encodeURIComponent(classType)}/node`
    const name = path.join('registry', createHash('sha256').update(url).digest('hex').slice(0, 24))
    const answer =
      this.#answers.get(name) ??
      new KeptList(
        { ...this.#deps, waitMs: Math.min(SEARCH_WAIT_MS, this.#deps.waitMs ?? SEARCH_WAIT_MS) },
        { name, source: () => ({ url, licence: '' }), isRight: isRegistryNode, mayLack: true },
      )
    this.#answers.set(name, answer)
    const { list, from } = await answer.current()
    if (list === undefined && from.because) this.#silentSince = this.#deps.clock.now()
    return isJsonObject(list) ? ofRegistry(list) : null
  }

  async #searchRegistry(text: string): Promise<ListedPack[]> {
    const base = this.#registry()
    const now = this.#deps.clock.now()
    const before = this.#found.get(text)
    if (before && now - before.at < REST_MS) return before.packs
    if (!base || now - this.#silentSince < REST_MS) return []
    try {
      const found = await fetchList({
        ...this.#asking(),
        timeoutMs: SEARCH_WAIT_MS,
        addresses: [new URL(`${base}/nodes/search?search=${encodeURIComponent(text)}&limit=30`)],
        isRight: (list) => isJsonObject(list) && Array.isArray(list.nodes),
        limitBytes: ANSWER_LIMIT_BYTES,
      })
      const nodes = found.is === 'new' && isJsonObject(found.list) ? found.list.nodes : []
      const packs = (Array.isArray(nodes) ? nodes : [])
        .filter(isRegistryNode)
        .map((node) => ofRegistry(node as JsonObject))
      this.#found.set(text, { at: now, packs })
      return packs
    } catch {
      this.#silentSince = now
      return []
    }
  }
}

const isRegistryNode = (value: Json) =>
  isJsonObject(value) && typeof value.id === 'string' && !/Banned|Deleted/.test(String(value.status))

/** A package as the registry tells of it. */
function ofRegistry(node: JsonObject): ListedPack {
  const text = (value: Json | undefined) => (typeof value === 'string' ? value : '')
  const repository = /^https?:\/\//i.test(text(node.repository)) ? text(node.repository) : null
  const id = text(node.id)
  const publisher = isJsonObject(node.publisher) ? text(node.publisher.name) : ''
  const latest = isJsonObject(node.latest_version) ? Date.parse(text(node.latest_version.createdAt)) : Number.NaN
  return {
    key: repository ? keyOf(repository) : id.toLowerCase(),
    id: repository ? idOf(repository) : id,
    registryId: id,
    title: text(node.name) || id,
    author: text(node.author) || publisher,
    description: text(node.description).slice(0, 600),
    url: repository,
    how: repository ? 'git' : 'archive',
    stars: typeof node.github_stars === 'number' ? Math.floor(node.github_stars) : null,
    updatedAt: Number.isNaN(latest) ? null : latest,
    classes: 0,
    pip: [],
    system: [],
    files: repository ? [repository] : [],
    classNames: [],
    owns: [],
    pattern: null,
  }
}
