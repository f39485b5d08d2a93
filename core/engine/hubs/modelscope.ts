import { AppError } from '../../contract/errors.ts'
import type { FileRef, HubFile } from '../../contract/hub.ts'
import { isJsonObject, type Json } from '../../contract/json.ts'
import { isPickleFile } from '../../contract/model-file.ts'
import { ask, HOURS, type HubNetwork, listIn, MINUTES, numberIn, sha256Of, sizeOf, textIn } from './ask.ts'

type MsRef = Extract<FileRef, { hub: 'modelscope' }>
export interface MsFile {
  readonly path: string
  readonly sizeBytes: number | null
  readonly sha256: string | null
  /** Only these bear ranges; the others come through a gateway that miscounts. */
  readonly large: boolean
}

const segments = (path: string) => path.split('/').map(encodeURIComponent).join('/')
export const msPath = ({ repo, revision, path }: MsRef) =>
  `/models/${repo}/resolve/${encodeURIComponent(revision)}/${segments(path)}`

/** Success is said in the body; the status is 200 for much that is none. */
function dataOf(json: Json, what: string): Json {
  if (isJsonObject(json) && json.Code === 200 && json.Success !== false && json.Data !== undefined) return json.Data!
  const code = numberIn(json, 'Code')
  if (code === 404 || /not.?(found|exist)/i.test(textIn(json, 'Message') ?? ''))
    throw new AppError('hub.not-found', { hub: 'ModelScope', what, page: '' })
  throw new AppError('hub.wrong-answer', { hub: 'ModelScope', host: textIn(json, 'Message') ?? what })
}

/** Every file of a repository. @throws AppError hub.* */
export async function msFiles(
  network: HubNetwork,
  { repo, revision }: Pick<MsRef, 'repo' | 'revision'>,
  signal?: AbortSignal,
): Promise<MsFile[]> {
  const path = `/api/v1/models/${repo}/repo/files?${new URLSearchParams({ Revision: revision, Recursive: 'True' })}`
  const { json } = await ask(network, 'modelscope', path, { signal, freshMs: 15 * MINUTES })
  return listIn(dataOf(json, repo), 'Files').flatMap((file) => {
    const at = textIn(file, 'Path')
    if (at === null || !isJsonObject(file) || file.Type === 'tree') return []
    return [
      {
        path: at,
        sizeBytes: sizeOf(numberIn(file, 'Size')),
        sha256: sha256Of(textIn(file, 'Sha256')),
        large: file.IsLFS === true,
      },
    ]
  })
}

/** @throws AppError hub.* */
export async function msFile(network: HubNetwork, ref: MsRef, signal?: AbortSignal): Promise<HubFile> {
  const file = (await msFiles(network, ref, signal)).find(({ path }) => path === ref.path)
  if (!file)
    throw new AppError('hub.not-found', {
      hub: 'ModelScope',
      what: `${ref.repo}/${ref.path}`,
      page: msPage(network, ref.repo) ?? '',
    })
  return msHubFile(network, ref.repo, ref.revision, file)
}

export function msHubFile(
  network: HubNetwork,
  repo: string,
  revision: string,
  file: MsFile,
  licence: string | null = null,
): HubFile & Pick<MsFile, 'large'> {
  return {
    large: file.large,
    ref: { hub: 'modelscope', repo, revision, path: file.path },
    name: file.path.replace(/^.*\//s, ''),
    sizeBytes: file.sizeBytes,
    sha256: file.sha256,
    gitSha1: null,
    title: repo,
    page: msPage(network, repo),
    licence,
    gated: false,
    folder: null,
    baseModel: null,
    pickle: isPickleFile(file.path),
    downloads: null,
  }
}

function msPage(network: HubNetwork, repo: string): string | null {
  const official = network.hosts().find((host) => host.hub === 'modelscope' && host.official)
  return official ? `${official.base}/models/${repo}` : null
}

/** Repositories whose names hold these words. @throws AppError hub.* */
export async function msFind(network: HubNetwork, words: string, limit: number, signal?: AbortSignal) {
  const { json } = await ask(network, 'modelscope', '/api/v1/dolphin/models', {
    signal,
    freshMs: 24 * HOURS,
    method: 'PUT',
    body: { PageSize: limit, PageNumber: 1, SortBy: 'DownloadsCount', Name: words },
  })
  const data = dataOf(json, words)
  const models = isJsonObject(data) && isJsonObject(data.Model) ? listIn(data.Model, 'Models') : listIn(data, 'Models')
  return models.flatMap((model) => {
    const repo = `${textIn(model, 'Path') ?? ''}/${textIn(model, 'Name') ?? ''}`
    if (!/^[\w-][\w.-]*\/[\w-][\w.-]*$/.test(repo)) return []
    return [{ repo, licence: textIn(model, 'License'), downloads: sizeOf(numberIn(model, 'Downloads')) }]
  })
}
