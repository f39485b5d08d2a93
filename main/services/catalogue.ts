import { access, link, mkdir, realpath, symlink } from 'node:fs/promises'
import path from 'node:path'
import { z } from 'zod'
import type { DownloadView, DownloadWanted } from '../../core/contract/download.ts'
import { AppError, type Failure, toFailure } from '../../core/contract/errors.ts'
import type { Candidate, FileRef, FoundModel, GetAsk, GetPlan, GetRow, HubFile } from '../../core/contract/hub.ts'
import { isJsonObject, type Json, type JsonObject, parseJson } from '../../core/contract/json.ts'
import type { Model, Published } from '../../core/contract/model.ts'
import { isModelFile } from '../../core/contract/model-file.ts'
import type { ModelNeed, NodeLists } from '../../core/contract/workflow.ts'
import { safeFileName } from '../../core/domain/artifact-name.ts'
import {
  aboutBytes,
  folderKind,
  folderOfListed,
  type ListedFile,
  ListedFiles,
  rank,
  tellsApart,
} from '../../core/domain/workflow/sources.ts'
import { type HubNetwork, hubNames } from '../../core/engine/hubs/ask.ts'
import { type HubHost, type Meant, readMeant, sameFile, sayRef } from '../../core/engine/hubs/link.ts'
import { byHash, byName, filesMeant, plainFile, search, unasked } from '../../core/engine/hubs/look.ts'
import { fileOf, mayFetch } from '../../core/engine/hubs/sources.ts'
import { freeBytes } from '../../core/engine/volume.ts'
import type { ModelShelf, PublishedAs } from './models.ts'

interface Deps {
  readonly network: HubNetwork
  /** What resources/models.json holds. */
  readonly own: () => Promise<string>
  /** ComfyUI-Manager's list, as far as it could be had. */
  readonly manager: () => Promise<{ list: Json | undefined; from: NodeLists }>
  readonly shelf: Pick<ModelShelf, 'roots' | 'folderFor' | 'bySha256' | 'byName' | 'page' | 'takeIn' | 'sha256Of'>
  readonly downloads: {
    add(wanted: DownloadWanted): DownloadView | Promise<DownloadView>
    /** Those that wait, run or are paused. */
    open(): readonly Pick<DownloadView, 'id' | 'to'>[]
    /** What was fetched to this path before. */
    cameFrom(to: string): readonly FileRef[]
  }
  /** The models a workflow names, with what is there. */
  readonly needsOf: (workflowId: string) => Promise<readonly ModelNeed[]>
}

const OwnList = z.object({
  /** Whose repositories are looked through for a name first. */
  publishers: z.array(z.string()),
  models: z.array(
    z.object({
      title: z.string(),
      base: z.string(),
      licence: z.string(),
      /** What a card needs for it at an ordinary size; null: little, or it comes with another. */
      vramGiB: z.number().nullable(),
      files: z.array(z.object({ folder: z.string(), at: z.string(), sha256: z.string().optional() })),
    }),
  ),
})
type OwnList = z.infer<typeof OwnList>
type OwnModel = OwnList['models'][number]

const AT_ONCE = 4
const GiB = 1024 ** 3
type Silent = GetPlan['silent']

/** Where model files can be had: lists of known models, and hubs, asked when nobody here knows. */
export class Catalogue {
  readonly #deps: Deps
  #lists: { own: OwnList; files: ListedFiles; manager: Json | undefined } | undefined

  constructor(deps: Deps) {
    this.#deps = deps
  }

  /** What has to be fetched for a workflow or for the items a person named; nothing is changed. */
  async plan(ask: GetAsk, signal?: AbortSignal): Promise<GetPlan> {
    const { shelf } = this.#deps
    const { engine } = ask
    if (engine !== undefined && !shelf.roots().some((root) => root.engine === engine))
      throw new AppError('engine.unknown', { name: engine })
    const silent: Silent = []
    const tell = (from: string, because: Failure) => {
      if (!silent.some((each) => each.from === from)) silent.push({ from, because })
    }
    const { files: lists, because } = await this.#listed()
    if (because) tell('manager', because)
    const ofWorkflow = ask.workflowId === undefined ? [] : await this.#deps.needsOf(ask.workflowId)
    const needs = uniqueNeeds([...ofWorkflow, ...ask.needs])
    const wantedWith = new Set(needs.map(({ file }) => baseOf(file).toLowerCase()))
    const work = [
      ...needs.map((need) => async () => [await this.#needed(need, { ask, lists, wantedWith, tell, signal })]),
      ...ask.items.map((item) => () => this.#named(item, { ask, lists, tell, signal })),
    ]
    const rows = await inLanes(work, AT_ONCE)
    const ready = rows.flat().filter(({ state }) => state.is === 'ready')
    const sizes = ready.map((row) => chosenOf(row)?.sizeBytes ?? null)
    const place = ready[0]?.to ?? shelf.folderFor(engine ?? null, 'checkpoints')
    return {
      rows: rows.flat(),
      totalBytes: sizes.reduce<number>((sum, size) => sum + (size ?? 0), 0),
      unknownSizes: sizes.filter((size) => size === null).length,
      freeBytes: place === null ? null : await freeBytes(place),
      silent,
    }
  }

  /** Carries a plan out: links what is here, queues what is ready. Gives the rows as they are then. */
  async get(ask: GetAsk, signal?: AbortSignal): Promise<GetPlan> {
    const plan = await this.plan(ask, signal)
    const rows: GetRow[] = []
    for (const row of plan.rows) {
      if (ask.choices[row.item]?.take === false) rows.push(row)
      else {
        try {
          rows.push(await this.#take(row, ask))
        } catch (cause) {
          rows.push({ ...row, state: { is: 'refused', because: toFailure(cause) } })
        }
      }
    }
    return { ...plan, rows }
  }

  /** Whether a line that was dropped or pasted means a model rather than a workflow or picture. */
  meansModel(text: string): boolean {
    const meant = readMeant(text, this.#deps.network.hosts())
    if (!meant || meant.is === 'name') return false
    if (meant.is !== 'file' || meant.ref.hub === 'civitai') return true
    return isModelFile(meant.ref.hub === 'url' ? plainFile(meant.ref.url).name : meant.ref.path)
  }

  /** Models whose name, family or files hold the words, from the lists and the hubs asked for. */
  async find(
    { search: text, hubs }: { search: string; hubs: readonly ('huggingface' | 'modelscope' | 'civitai')[] },
    signal?: AbortSignal,
  ): Promise<{ rows: FoundModel[]; silent: Silent; manager: NodeLists }> {
    const { files, own, because, from: manager } = await this.#listed()
    const words = text.trim()
    const meant = words === '' ? null : readMeant(words, this.#deps.network.hosts())
    if (meant && meant.is !== 'name') {
      const found = await this.#meant(meant, signal)
      return { rows: found, silent: [], manager }
    }
    const rows: FoundModel[] = []
    for (const model of own.models) {
      const mine = files.all.filter((file) => file.from === 'own' && file.title === model.title)
      if (words === '' || files.search(words).some((file) => mine.includes(file)))
        rows.push(this.#ownModel(model, mine))
    }
    if (words !== '')
      for (const file of files.search(words).slice(0, 60))
        if (file.from === 'manager') rows.push(this.#managerModel(file))
    const silent: Silent = because ? [{ from: 'manager', because }] : []
    if (words !== '') {
      for (const { from, found, because: why } of await search(this.#deps.network, words, hubs, signal)) {
        if (why) silent.push({ from, because: why })
        rows.push(
          ...found.map(({ files: some, ...about }) => ({
            ...about,
            from,
            vramBytes: null,
            note: null,
            files: (some ?? []).filter(({ name }) => isModelFile(name)).map((file) => this.#withState(file)),
          })),
        )
      }
    }
    return { rows, silent, manager }
  }

  /**
   * What hubs publish under a file's hash, or else as the file it is: where it was fetched from, what a note beside it
   * says, what lists have under its name. `tell` hears of hubs that could not be asked. null: nobody knows it.
   */
  async published(
    { name, folder, sizeBytes, sha256, path: at, civitai }: PublishedAs,
    tell: Tell,
    signal?: AbortSignal,
  ): Promise<Published | null> {
    const { network, downloads } = this.#deps
    const base = baseOf(name)
    const tried = async (hub: string, ask: () => Promise<HubFile[]>) => {
      try {
        return await ask()
      } catch (cause) {
        signal?.throwIfAborted()
        this.#tellOf(hub, cause, tell)
        return []
      }
    }
    // a name says little, but of the same size as well it is that file or a damaged one; Civitai rounds
    const isMeant = (file: HubFile) =>
      file.sizeBytes !== null && Math.abs(file.sizeBytes - sizeBytes) < (file.ref.hub === 'civitai' ? 1024 : 1)
    const { files: lists } = await this.#listed()
    const ways: (() => Promise<HubFile[]>)[] = [
      ...downloads
        .cameFrom(at)
        .flatMap((ref) =>
          ref.hub === 'url' ? [] : [() => tried(ref.hub, async () => [await fileOf(network, ref, signal)])],
        ),
      async () => {
        const { files, silent } = await byHash(network, sha256, signal)
        for (const { from, because } of silent) tell(from, because)
        return files.filter((file) => file.sha256 === sha256)
      },
      async () => {
        if (civitai?.versionId == null) return []
        const ref = { hub: 'civitai', versionId: civitai.versionId, fileId: null } as const
        const files = await tried('civitai', () => filesMeant(network, { is: 'file', ref }, signal))
        return files.filter((file) => file.name.toLowerCase() === base.toLowerCase() && isMeant(file))
      },
      ...lists.find({ file: name, folder }).map(({ file, sure }) => async () => {
        if (sure !== 'catalogue') return []
        const asked = file.sha256 === sha256 ? asHubFile(file) : await this.#asked(asHubFile(file), tell, signal)
        return isMeant(asked) || asked.sha256 === sha256 ? [asked] : []
      }),
    ]
    let other: HubFile | null = null
    for (const way of ways)
      for (const file of await way()) {
        if (file.sha256 === sha256) return publishedAs(file, true)
        if (file.sha256 !== null) other ??= file
      }
    return other && publishedAs(other, false)
  }

  // ── lists ──

  async #listed(): Promise<{ files: ListedFiles; own: OwnList; because: Failure | null; from: NodeLists }> {
    const { list, from } = await this.#deps.manager()
    if (!this.#lists || this.#lists.manager !== list) {
      const own = this.#lists?.own ?? OwnList.parse(parseJson(await this.#deps.own()))
      const hosts = this.#deps.network.hosts()
      this.#lists = {
        own,
        manager: list,
        files: new ListedFiles([...ownFiles(own, hosts), ...managerFiles(list, hosts)]),
      }
    }
    return { ...this.#lists, because: from.because && unlisted(from.because), from }
  }

  #ownModel(model: OwnModel, files: readonly ListedFile[]): FoundModel {
    return {
      from: 'own',
      item: model.title,
      title: model.title,
      page: null,
      licence: model.licence,
      baseModel: model.base || null,
      gated: false,
      downloads: null,
      vramBytes: model.vramGiB === null ? null : model.vramGiB * GiB,
      note: null,
      files: files.map((file) => this.#withState(asHubFile(file))),
    }
  }

  #managerModel(file: ListedFile): FoundModel {
    return {
      from: 'manager',
      item: sayRef(file.ref),
      title: file.title,
      page: file.page,
      licence: file.licence,
      baseModel: file.base,
      gated: false,
      downloads: null,
      vramBytes: null,
      note: null,
      files: [this.#withState(asHubFile(file))],
    }
  }

  async #meant(meant: Meant, signal?: AbortSignal): Promise<FoundModel[]> {
    const files = await filesMeant(this.#deps.network, meant, signal)
    const byTitle = new Map<string, HubFile[]>()
    for (const file of files) byTitle.set(file.title, [...(byTitle.get(file.title) ?? []), file])
    return [...byTitle].map(([title, some]) => {
      const first = some[0]!
      return {
        from: first.ref.hub === 'url' ? 'link' : first.ref.hub,
        item: sayRef(first.ref),
        title,
        page: first.page,
        licence: first.licence,
        baseModel: first.baseModel,
        gated: first.gated,
        downloads: first.downloads,
        vramBytes: null,
        note: null,
        files: some.map((file) => this.#withState(file)),
      }
    })
  }

  #withState(file: HubFile): FoundModel['files'][number] {
    const { shelf, downloads } = this.#deps
    const here =
      (file.sha256 === null ? null : shelf.bySha256(file.sha256)) ??
      (file.folder === null ? null : shelf.byName(folderKind(file.folder), file.name))
    const queued = downloads.open().find(({ to }) => path.basename(to) === file.name)
    return { ...file, item: sayRef(file.ref), present: here !== null, downloadId: queued?.id ?? null }
  }

  // ── one file ──

  async #needed(need: ModelNeed, { ask, lists, wantedWith, tell, signal }: Asked): Promise<GetRow> {
    const item = `${need.folder}/${need.file}`
    const base = { item, name: need.file.replaceAll('\\', '/'), folder: need.folder, folderBy: 'node' as const }
    const nothing = { candidates: [], chosen: null, to: null }
    // what some server has says nothing of the one it is to be had for
    const isThere =
      ask.engine === undefined && (need.present === true || need.workers.some(({ present }) => present === true))
    if (isThere || this.#deps.shelf.byName(folderKind(need.folder), need.file, ask.engine))
      return { ...base, ...nothing, state: { is: 'present' } }
    const hash = need.sources
      .map((source) => source.hash?.toLowerCase())
      .find((each) => /^[\da-f]{64}$/.test(each ?? ''))
    const found = await this.#given(item, baseOf(need.file), { ask, tell, signal })
    for (const source of need.sources)
      found.push(...(await this.#said(source.url, hash, baseOf(need.file), tell, signal)))
    for (const { file, sure } of lists.find(need, wantedWith))
      found.push({ ...(await this.#asked(asHubFile(file), tell, signal)), sure, from: file.from })
    if (!found.some(({ sure }) => sure !== 'name')) found.push(...(await this.#looked(need.file, hash, tell, signal)))
    const confirmed = found.map((candidate) => confirm(candidate, hash))
    const { candidates, chosen } = rank(confirmed, sameFile)
    return this.#settle({ ...base, candidates, chosen }, ask)
  }

  async #named(item: string, { ask, lists, tell, signal }: Omit<Asked, 'wantedWith'>): Promise<GetRow[]> {
    const failed = (cause: unknown): GetRow[] => [
      {
        item,
        name: item.slice(0, 200),
        folder: null,
        folderBy: null,
        to: null,
        candidates: [],
        chosen: null,
        state: { is: 'refused', because: toFailure(cause) },
      },
    ]
    try {
      const meant = readMeant(item, this.#deps.network.hosts())
      if (!meant) throw new AppError('hub.nothing-meant', { text: item.slice(0, 200) })
      if (meant.is === 'name') return await this.#byName(meant.name, item, { ask, lists, tell, signal })
      const files = (await filesMeant(this.#deps.network, meant, signal)).filter(
        (file) => file.ref.hub !== 'url' || isModelFile(file.name),
      )
      if (files.length === 0) throw new AppError('hub.nothing-meant', { text: item.slice(0, 200) })
      const sure = meant.is === 'hash' && /^[\da-f]{64}$/.test(meant.hash) ? 'hash' : 'author'
      const from = files[0]!.ref.hub === 'url' ? 'link' : files[0]!.ref.hub
      const candidates = files.map((file): Candidate => ({ ...file, sure, from }))
      // several files may be meant: which, is the person's to say
      return [await this.#settle(this.#row(item, candidates, candidates.length === 1 ? 0 : null, lists), ask)]
    } catch (cause) {
      signal?.throwIfAborted()
      return failed(cause)
    }
  }

  /** A model of the catalogue means all its files; else it is the name of one. */
  async #byName(
    name: string,
    item: string,
    { ask, lists, tell, signal }: Omit<Asked, 'wantedWith'>,
  ): Promise<GetRow[]> {
    const wanted = name.toLowerCase()
    const set = lists.all.filter((file) => file.from === 'own' && file.title.toLowerCase() === wanted)
    if (set.length > 0)
      return Promise.all(
        set.map(async (file) => {
          const candidate = {
            ...(await this.#asked(asHubFile(file), tell, signal)),
            sure: 'catalogue',
            from: 'own',
          } as const
          return this.#settle(this.#row(sayRef(file.ref), [candidate], 0, lists), ask)
        }),
      )
    const [folder, file] = /^([\w-]+)\/(.+)$/.exec(name)?.slice(1) ?? ['', name]
    const found = await this.#given(item, baseOf(name), { ask, tell, signal })
    const named = lists.all.filter((each) => each.name.toLowerCase() === baseOf(file!).toLowerCase())
    for (const each of named)
      found.push({ ...(await this.#asked(asHubFile(each), tell, signal)), sure: 'catalogue', from: each.from })
    if (found.length === 0 && isModelFile(name)) found.push(...(await this.#looked(name, undefined, tell, signal)))
    if (found.length === 0) {
      const near = lists.search(name)
      if (near.length === 1 && near[0]) return this.#byName(near[0].name, item, { ask, lists, tell, signal })
      if (near.length > 1)
        found.push(
          ...near.slice(0, 30).map((each): Candidate => ({ ...asHubFile(each), sure: 'name', from: each.from })),
        )
    }
    const { candidates, chosen } = rank(found, sameFile)
    const row = this.#row(item, candidates, chosen, lists)
    return [await this.#settle(folder && row.folder === null ? { ...row, folder, folderBy: 'person' } : row, ask)]
  }

  #row(item: string, candidates: Candidate[], chosen: number | null, lists: ListedFiles): Unsettled {
    const first = candidates[chosen ?? 0]
    const listed = first ? lists.all.find(({ ref }) => sameFile(ref, first.ref)) : undefined
    const folder = first?.folder ?? listed?.folder ?? (first && folderInPath(first.ref)) ?? null
    const by = folder === null ? null : listed ? 'catalogue' : 'hub'
    return { item, name: first?.name ?? item.slice(0, 200), folder, folderBy: by, candidates, chosen }
  }

  /** What the person chose, where it goes, and whether it can be had. */
  async #settle(row: Unsettled, ask: GetAsk): Promise<GetRow> {
    const choice = ask.choices[row.item] ?? {}
    const folder = choice.folder ?? row.folder
    const picked = choice.ref ? row.candidates.findIndex(({ ref }) => sameFile(ref, choice.ref!)) : -1
    const chosen = picked >= 0 ? picked : row.chosen
    const candidate = chosen === null ? undefined : row.candidates[chosen]
    // the name a workflow uses stays; else it is the file's
    const name = row.folderBy === 'node' ? row.name : (candidate?.name ?? row.name)
    const settled = { ...row, name, folder, chosen, folderBy: choice.folder ? ('person' as const) : row.folderBy }
    const state = (state: GetRow['state'], to: string | null = null): GetRow => ({ ...settled, to, state })
    const dir = folder === null ? null : this.#deps.shelf.folderFor(ask.engine ?? null, folderKind(folder))
    const rest = folder?.replaceAll('\\', '/').split('/').slice(1) ?? []
    const to = dir === null ? null : placeIn(dir, [...rest, ...name.split('/')])
    if (!candidate) {
      const here = this.#elsewhere(settled, undefined, ask)
      if (here) return state(here, to)
      return state(row.candidates.length === 0 ? { is: 'unknown' } : { is: 'asks', what: 'file' })
    }
    if (folder === null) return state({ is: 'asks', what: 'folder' })
    if (dir === null) return state({ is: 'refused', because: toFailure(new AppError('model.no-place', { folder })) })
    if (to === null) return state({ is: 'refused', because: toFailure(new AppError('model.bad-name', { name })) })
    if (
      await access(to).then(
        () => true,
        () => false,
      )
    )
      return state({ is: 'present' }, to) // fetched just now
    const here = this.#elsewhere(settled, candidate, ask)
    if (here) return state(here, to)
    const queued = this.#deps.downloads.open().find((each) => each.to === to)
    if (queued) return state({ is: 'queued', downloadId: queued.id }, to)
    try {
      await mayFetch(this.#deps.network, candidate)
    } catch (cause) {
      return state({ is: 'refused', because: toFailure(cause) }, to)
    }
    return state({ is: 'ready' }, to)
  }

  /** The same file may be here already. */
  #elsewhere(
    { name, folder }: Unsettled,
    candidate: Candidate | undefined,
    { engine }: GetAsk,
  ): GetRow['state'] | null {
    const { shelf } = this.#deps
    if (folder !== null && shelf.byName(folderKind(folder), name, engine)) return { is: 'present' }
    const said = (model: Model, sure: 'hash' | 'name'): GetRow['state'] => ({
      is: 'elsewhere',
      modelId: model.id,
      at: `${model.folder}/${model.name}`,
      sure,
    })
    const byHashHere = candidate?.sha256 ? shelf.bySha256(candidate.sha256) : null
    if (byHashHere) return said(byHashHere, 'hash')
    // another engine loads one by this very name
    const theirs = engine === undefined || folder === null ? null : shelf.byName(folderKind(folder), name)
    if (theirs && (candidate?.sizeBytes == null || candidate.sizeBytes === theirs.sizeBytes))
      return said(theirs, 'name')
    const alike = shelf
      .page({ search: baseOf(name), sort: 'name', offset: 0, limit: 20 })
      .rows.find(
        (model) =>
          baseOf(model.name).toLowerCase() === baseOf(name).toLowerCase() &&
          (candidate?.sha256 == null || model.sha256 === null) &&
          (candidate?.sizeBytes == null || candidate.sizeBytes === model.sizeBytes) &&
          !model.flags.includes('damaged'),
      )
    // without a size to compare, a name in another folder says too little
    return alike && candidate?.sizeBytes != null ? said(alike, 'name') : null
  }

  async #take(row: GetRow, ask: GetAsk): Promise<GetRow> {
    const candidate = chosenOf(row)
    const { to, state } = row
    if (state.is === 'elsewhere' && to !== null) {
      const { modelId } = state
      const { rows } = this.#deps.shelf.page({ search: baseOf(row.name), sort: 'name', offset: 0, limit: 200 })
      const model =
        rows.find(({ id }) => id === modelId) ??
        (candidate?.sha256 ? this.#deps.shelf.bySha256(candidate.sha256) : null)
      const [place] = model?.places ?? []
      if (!model || !place) throw new AppError('input.missing', { name: row.name })
      // a name and a size say little: where the hash is known it decides, and another file is fetched after all
      const wanted = candidate?.sha256 ?? null
      const sha256 = model.sha256 ?? (wanted === null ? null : await this.#deps.shelf.sha256Of(model.id))
      if (wanted === null || sha256 === wanted) {
        await linkTo(place.path, to)
        await this.#deps.shelf.takeIn(to, sha256)
        return { ...row, state: { is: 'present' } }
      }
    } else if (state.is !== 'ready') return row
    if (to === null || !candidate) return row
    const { licence, page } = candidate
    const view = await this.#deps.downloads.add({
      name: baseOf(row.name),
      kind: 'model',
      to,
      // others are the same file only where the hash says so
      sources: [
        candidate,
        ...row.candidates.filter(
          (each) => each !== candidate && each.sha256 !== null && each.sha256 === candidate.sha256,
        ),
      ].map(({ ref }) => ref),
      sizeBytes: candidate.ref.hub === 'civitai' ? null : candidate.sizeBytes,
      sha256: candidate.sha256,
      gitSha1: candidate.gitSha1,
      about: {
        folder: row.folder ?? '',
        ...(licence !== null && { licence }),
        ...(page !== null && { page }),
        ...(ask.workflowId !== undefined && { workflowId: ask.workflowId }),
      },
    })
    return { ...row, state: { is: 'queued', downloadId: view.id } }
  }

  // ── asking hubs ──

  /** What the person says it is at. @throws AppError 'hub.nothing-meant' */
  async #given(
    item: string,
    name: string,
    { ask, tell, signal }: Pick<Asked, 'ask' | 'tell' | 'signal'>,
  ): Promise<Candidate[]> {
    const link = ask.choices[item]?.link?.trim()
    if (!link) return []
    const found = await this.#said(link, undefined, name, tell, signal)
    return found.map((candidate) => ({ ...candidate, from: 'link' }))
  }

  /** What a person or an author said a file is at: one address may be a page with several. */
  async #said(
    url: string,
    hash: string | undefined,
    name: string,
    tell: Tell,
    signal?: AbortSignal,
  ): Promise<Candidate[]> {
    const meant = readMeant(url, this.#deps.network.hosts())
    if (!meant || meant.is === 'name' || meant.is === 'hash') return []
    if (meant.is === 'file' && meant.ref.hub === 'url')
      return [{ ...plainFile(meant.ref.url), sha256: hash ?? null, sure: 'author', from: 'workflow' }]
    try {
      const files = await filesMeant(this.#deps.network, meant, signal)
      const mine = files.length === 1 ? files : files.filter((file) => file.name.toLowerCase() === name.toLowerCase())
      return mine.map((file) => ({ ...file, sure: 'author', from: 'workflow' }))
    } catch (cause) {
      signal?.throwIfAborted()
      this.#tellOf(meant.is === 'file' ? meant.ref.hub : meant.is === 'repo' ? meant.hub : 'civitai', cause, tell)
      // the address stands, though its hub could not be asked about it
      if (meant.is !== 'file' || toFailure(cause).code === 'hub.not-found') return []
      return [{ ...unasked(meant.ref, name), sha256: hash ?? null, sure: 'author', from: 'workflow' }]
    }
  }

  /** With what its hub says of it; as the list tells where that cannot be asked. */
  async #asked(file: HubFile, tell: Tell, signal?: AbortSignal): Promise<HubFile> {
    if (file.ref.hub === 'url') return file
    try {
      const found = await fileOf(this.#deps.network, file.ref, signal)
      return { ...found, folder: file.folder ?? found.folder, licence: found.licence ?? file.licence, name: file.name }
    } catch (cause) {
      signal?.throwIfAborted()
      this.#tellOf(file.ref.hub, cause, tell)
      return file
    }
  }

  async #looked(name: string, hash: string | undefined, tell: Tell, signal?: AbortSignal): Promise<Candidate[]> {
    const { network } = this.#deps
    const { own } = await this.#listed()
    const known = hash === undefined ? { files: [], silent: [] } : await byHash(network, hash, signal)
    // hundreds of files have such a name: who has one says nothing
    const named = tellsApart(name)
      ? await byName(network, baseOf(name), own.publishers, signal)
      : { official: [], others: [], silent: [] }
    for (const { from, because } of [...known.silent, ...named.silent]) tell(from, because)
    const as =
      (sure: Candidate['sure']) =>
      (file: HubFile): Candidate => ({
        ...file,
        sure,
        from: file.ref.hub === 'url' ? 'link' : file.ref.hub,
      })
    return [...known.files.map(as('hash')), ...named.official.map(as('official')), ...named.others.map(as('name'))]
  }

  #tellOf(hub: string, cause: unknown, tell: Tell) {
    const because = toFailure(cause)
    if (['hub.unreachable', 'hub.wrong-answer', 'hub.busy'].includes(because.code)) tell(hub, because)
  }
}

const publishedAs = ({ ref, title, page, sha256 }: HubFile, same: boolean): Published => ({
  ...{ same, title, page, sha256: sha256! },
  hub: ref.hub === 'url' ? title : hubNames[ref.hub],
})

type Tell = (from: string, because: Failure) => void
type Asked = {
  ask: GetAsk
  lists: ListedFiles
  wantedWith: ReadonlySet<string>
  tell: Tell
  signal: AbortSignal | undefined
}
type Unsettled = Pick<GetRow, 'item' | 'name' | 'folder' | 'folderBy' | 'candidates' | 'chosen'>

/** The same failure, of this list. */
const unlisted = ({ facts }: Failure) =>
  toFailure(new AppError('hub.unreachable', { hub: 'ComfyUI-Manager', reason: String(facts.reason ?? '') }))

const baseOf = (file: string) => file.replaceAll('\\', '/').replace(/^.*\//s, '')
const chosenOf = ({ candidates, chosen }: GetRow) => (chosen === null ? undefined : candidates[chosen])

/** A hash that the author noted confirms a file, or shows that it is another by now. */
function confirm(candidate: Candidate, hash: string | undefined): Candidate {
  if (hash === undefined || candidate.sha256 === null || candidate.sure === 'hash') return candidate
  const asked = candidate.ref.hub !== 'url' && candidate.sizeBytes !== null
  if (candidate.sha256 !== hash) return { ...candidate, sure: 'name' }
  return asked ? { ...candidate, sure: 'hash' } : candidate
}

function uniqueNeeds(needs: readonly ModelNeed[]): ModelNeed[] {
  return [...new Map(needs.map((need) => [`${need.folder}/${need.file}`, need])).values()]
}

/** Repackaged repositories name their folders as ComfyUI does. */
const FOLDERS =
  /(?:^|\/)(checkpoints|diffusion_models|text_encoders|vae|vae_approx|loras|controlnet|clip_vision|style_models|upscale_models|latent_upscale_models|model_patches|audio_encoders|embeddings)\/[^/]+$/
const folderInPath = (ref: FileRef) =>
  ref.hub === 'huggingface' || ref.hub === 'modelscope' ? (FOLDERS.exec(ref.path)?.[1] ?? null) : null

/** Below `dir`, each part a name that every file system takes; null: it is none. */
function placeIn(dir: string, parts: readonly string[]): string | null {
  const safe = parts.map((part) => safeFileName(part))
  if (parts.length === 0 || parts.some((part, at) => part === '' || part === '.' || part === '..' || safe[at] !== part))
    return null
  return path.join(dir, ...safe)
}

const asHubFile = (file: ListedFile): HubFile => ({
  ...unasked(file.ref, file.name),
  title: file.title,
  page: file.page,
  licence: file.licence,
  baseModel: file.base,
  folder: file.folder,
  sha256: file.sha256,
})

function ownFiles(own: OwnList, hosts: readonly HubHost[]): ListedFile[] {
  return own.models.flatMap(({ title, base, licence, files }) =>
    files.flatMap(({ folder, at, sha256 = null }): ListedFile[] => {
      const meant = readMeant(at, hosts)
      if (meant?.is !== 'file') return []
      const name = baseOf(meant.ref.hub === 'huggingface' ? meant.ref.path : at)
      return [
        {
          name,
          folder,
          ref: meant.ref,
          from: 'own',
          title,
          base: base || null,
          licence,
          page: null,
          sha256,
          aboutBytes: null,
        },
      ]
    }),
  )
}

export const isManagerModels = (list: Json): boolean =>
  isJsonObject(list) &&
  Array.isArray(list.models) &&
  list.models.length > 0 &&
  list.models.every((model) => isJsonObject(model))

export function managerFiles(list: Json | undefined, hosts: readonly HubHost[]): ListedFile[] {
  const models = isJsonObject(list) && Array.isArray(list.models) ? list.models : []
  return models.flatMap((model): ListedFile[] => {
    const said = (key: string) =>
      isJsonObject(model) && typeof model[key] === 'string' ? ((model as JsonObject)[key] as string) : ''
    const name = said('filename')
    const folder = folderOfListed(said('save_path'), said('type'))
    const meant = readMeant(said('url'), hosts)
    if (!isModelFile(name) || folder === null || meant?.is !== 'file') return []
    return [
      {
        name,
        folder,
        ref: meant.ref,
        from: 'manager',
        title: said('name') || name,
        base: said('base') || null,
        licence: null,
        page: /^https?:/.test(said('reference')) ? said('reference') : null,
        sha256: null,
        aboutBytes: aboutBytes(said('size')),
      },
    ]
  })
}

/** The results in their order, a few at a time. */
async function inLanes<T>(work: readonly (() => Promise<T>)[], lanes: number): Promise<T[]> {
  const results: T[] = []
  const left = work.entries()
  await Promise.all(
    Array.from({ length: lanes }, async () => {
      for (const [at, run] of left) results[at] = await run()
    }),
  )
  return results
}

async function linkTo(place: string, to: string) {
  const from = await realpath(place) // what a link leads to, or it would lead from elsewhere
  await mkdir(path.dirname(to), { recursive: true })
  try {
    await link(from, to)
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException
    if (code === 'EEXIST') throw new AppError('download.exists', { path: to }, { cause })
    await symlink(from, to) // another volume, or a file system without links of that kind
  }
}
