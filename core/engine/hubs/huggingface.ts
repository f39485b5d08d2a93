import { AppError } from '../../contract/errors.ts'
import type { FileRef, HubFile } from '../../contract/hub.ts'
import { isJsonObject, type Json } from '../../contract/json.ts'
import { isPickleFile } from '../../contract/model-file.ts'
import { type Answer, ask, HOURS, type HubNetwork, listIn, MINUTES, numberIn, sha256Of, sizeOf, textIn } from './ask.ts'

type HfRef = Extract<FileRef, { hub: 'huggingface' }>
export interface HfRepo {
  readonly repo: string
  readonly commit: string
  readonly gated: boolean
  readonly licence: string | null
  readonly downloads: number | null
  readonly baseModel: string | null
  readonly files: readonly HfFile[]
}
interface HfFile {
  readonly path: string
  readonly sizeBytes: number | null
  readonly sha256: string | null
  readonly gitSha1: string | null
}

const COMMIT = /^[\da-f]{40}$/
const segments = (path: string) => path.split('/').map(encodeURIComponent).join('/')
export const hfPath = ({ kind, repo, revision, path }: HfRef) =>
  `/${kind === 'models' ? '' : `${kind}/`}${repo}/resolve/${encodeURIComponent(revision)}/${segments(path)}`

/** A repository at one commit, with the size and hash of each file. @throws AppError hub.* */
export async function hfRepo(
  network: HubNetwork,
  { kind, repo, revision }: Pick<HfRef, 'kind' | 'repo' | 'revision'>,
  signal?: AbortSignal,
): Promise<HfRepo> {
  const path = `/api/${kind}/${repo}/revision/${encodeURIComponent(revision)}?blobs=true`
  // what a commit holds never changes; where a branch stands does
  const answer = await ask(network, 'huggingface', path, {
    signal,
    freshMs: COMMIT.test(revision) ? 30 * 24 * HOURS : 15 * MINUTES,
  })
  return readRepo(answer.json, repo)
}

function readRepo(json: Json, repo: string): HfRepo {
  const commit = textIn(json, 'sha')
  if (!isJsonObject(json) || commit === null || !COMMIT.test(commit) || !Array.isArray(json.siblings))
    throw new AppError('hub.wrong-answer', { hub: 'Hugging Face', host: repo })
  return { ...aboutRepo(json, repo), commit, files: json.siblings.flatMap(readFile) }
}

function aboutRepo(json: Json, repo: string) {
  const card = isJsonObject(json) && isJsonObject(json.cardData) ? json.cardData : {}
  const tags = listIn(json, 'tags').filter((tag) => typeof tag === 'string')
  const tagged = (prefix: string) => tags.find((tag) => tag.startsWith(prefix))?.slice(prefix.length) ?? null
  const licence = textIn(card, 'license') ?? tagged('license:')
  return {
    // repositories are renamed: the hub's own name for it counts
    repo: /^[^/]+\/[^/]+$/.exec(textIn(json, 'id') ?? textIn(json, 'modelId') ?? '')?.[0] ?? repo,
    gated: isJsonObject(json) && json.gated !== undefined && json.gated !== false && json.gated !== null,
    licence: licence === 'other' ? (textIn(card, 'license_name') ?? licence) : licence,
    downloads: sizeOf(numberIn(json, 'downloads')),
    baseModel: textIn(card, 'base_model') ?? tagged('base_model:'),
  }
}

function readFile(value: Json): HfFile[] {
  const path = textIn(value, 'rfilename')
  if (path === null || !isJsonObject(value)) return []
  const sha256 = sha256Of(textIn(value.lfs, 'sha256') ?? textIn(value.lfs, 'oid'))
  const blob = textIn(value, 'blobId')
  return [
    {
      path,
      sizeBytes: sizeOf(numberIn(value.lfs, 'size') ?? numberIn(value, 'size')),
      sha256,
      gitSha1: sha256 === null && blob !== null && COMMIT.test(blob) ? blob : null,
    },
  ]
}

/** The file a reference means, pinned to the commit it was seen at. @throws AppError hub.* */
export async function hfFile(network: HubNetwork, ref: HfRef, signal?: AbortSignal): Promise<HubFile> {
  const repo = await hfRepo(network, ref, signal)
  const file = repo.files.find(({ path }) => path === ref.path)
  if (!file)
    throw new AppError('hub.not-found', {
      hub: 'Hugging Face',
      what: `${ref.repo}/${ref.path}`,
      page: hfPage(network, repo.repo, ref.kind) ?? '',
    })
  return hfHubFile(network, repo, file, ref.kind)
}

export function hfHubFile(network: HubNetwork, repo: HfRepo, file: HfFile, kind: HfRef['kind'] = 'models'): HubFile {
  return {
    ref: { hub: 'huggingface', kind, repo: repo.repo, revision: repo.commit, path: file.path },
    name: file.path.replace(/^.*\//s, ''),
    sizeBytes: file.sizeBytes,
    sha256: file.sha256,
    gitSha1: file.gitSha1,
    title: repo.repo,
    page: hfPage(network, repo.repo, kind),
    licence: repo.licence,
    gated: repo.gated,
    folder: null,
    baseModel: repo.baseModel,
    pickle: isPickleFile(file.path),
    downloads: repo.downloads,
  }
}

function hfPage(network: HubNetwork, repo: string, kind: HfRef['kind']): string | null {
  const official = network.hosts().find((host) => host.hub === 'huggingface' && host.official)
  return official ? `${official.base}/${kind === 'models' ? '' : `${kind}/`}${repo}` : null
}

/** Whether this account, or nobody at all, may fetch files of it. @throws AppError hub.gated, hub.no-access, hub.needs-token */
export async function hfMayFetch(
  network: HubNetwork,
  { kind, repo }: Pick<HfRef, 'kind' | 'repo'>,
  signal?: AbortSignal,
) {
  await ask(network, 'huggingface', `/api/${kind}/${repo}/auth-check`, { signal, freshMs: 0 })
}

/** A repository that was found, with the names of its files, as of when its hub listed it. */
export interface HfListed {
  readonly repo: string
  readonly gated: boolean
  readonly licence: string | null
  readonly downloads: number | null
  readonly baseModel: string | null
  readonly paths: readonly string[]
}
const MOST_PAGES = 4

/** Repositories whose names hold these words, or all of one publisher; the most fetched first. @throws AppError hub.* */
export async function hfFind(
  network: HubNetwork,
  sought: { words: string; limit: number } | { publisher: string },
  signal?: AbortSignal,
): Promise<HfListed[]> {
  const asked: [string, string][] =
    'words' in sought
      ? [
          ['search', sought.words],
          ['limit', String(sought.limit)],
        ]
      : [
          ['author', sought.publisher],
          ['limit', '500'],
        ]
  let path: string | null = `/api/models?${new URLSearchParams([...asked, ['sort', 'downloads'], ['full', 'true']])}`
  const found: HfListed[] = []
  for (let page = 0; path !== null && page < ('words' in sought ? 1 : MOST_PAGES); page += 1) {
    const answer: Answer = await ask(network, 'huggingface', path, { signal, freshMs: 24 * HOURS })
    for (const each of Array.isArray(answer.json) ? answer.json : []) {
      const about = aboutRepo(each, '')
      if (about.repo === '') continue
      found.push({ ...about, paths: listIn(each, 'siblings').flatMap((file) => textIn(file, 'rfilename') ?? []) })
    }
    path = answer.next
  }
  return found
}
