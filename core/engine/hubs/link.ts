import { decoded } from '../../contract/address.ts'
import { FileRef, type HubId } from '../../contract/hub.ts'
import { isModelFile } from '../../contract/model-file.ts'

/** A host that speaks a hub's language: the hub itself, or a mirror of it. */
export interface HubHost {
  readonly hub: Exclude<HubId, 'url'>
  /** `https://host`, without a slash at the end. */
  readonly base: string
  /** The hub itself; mirrors are given no token, and believed only where a hash is known. */
  readonly official: boolean
  /** Other hosts whose links mean the same. */
  readonly also?: readonly string[]
}

/** What a person's line may mean. */
export type Meant =
  | { is: 'file'; ref: FileRef }
  | {
      is: 'repo'
      hub: 'huggingface' | 'modelscope'
      kind: RepoKind
      repo: string
      revision: string | null
      dir: string
    }
  /** A page that shows several versions. */
  | { is: 'model'; modelId: number }
  | { is: 'hash'; hash: string }
  | { is: 'name'; name: string }
type RepoKind = 'models' | 'datasets' | 'spaces'

/**
 * A link, reference or AIR as people paste and workflows write them, without its host; null: it names nothing.
 * Credentials in an address are dropped.
 */
export function readMeant(text: string, hosts: readonly HubHost[]): Meant | null {
  const said = text.trim().replace(/^<(.*)>$/s, '$1')
  if (said === '' || said.length > 4000 || /[\n\0]/.test(said)) return null
  if (/^https?:\/\//i.test(said)) return readLink(said, hosts)
  if (/^(urn:)?air:/i.test(said)) return readAir(said)
  const [, scheme = '', rest = ''] = /^(hf|huggingface|ms|modelscope|civitai):(?:\/\/)?(.+)$/is.exec(said) ?? []
  if (scheme) return readReference(scheme.toLowerCase(), rest)
  if (/^([\da-f]{64}|[\da-f]{10}|[\da-f]{12}|[\da-f]{8})$/i.test(said)) return { is: 'hash', hash: said.toLowerCase() }
  const parts = said.split('/')
  const looksLikeRepo = /^[\w-][\w.-]*$/.test(parts[0]!) && /^[\w-][\w.-]*$/.test(parts[1] ?? '')
  if (looksLikeRepo && (parts.length > 2 || (parts.length === 2 && !isModelFile(said))))
    return readReference('hf', said)
  return { is: 'name', name: said }
}

/** `owner/repo[@revision][/path]`; Civitai's is `MODEL@VERSION`. */
function readReference(scheme: string, rest: string): Meant | null {
  if (scheme === 'civitai') {
    const [, model, version, file] =
      /^(?:models\/)?(\d{1,15})(?:@(\d{1,15})(?:\?fileId=(\d{1,15}))?)?$/.exec(rest) ?? []
    if (version) return civitaiFile(Number(version), file === undefined ? null : Number(file))
    return model ? { is: 'model', modelId: Number(model) } : null
  }
  const [, kind = 'models', owner, name, revision, path = ''] =
    /^(?:(models|datasets|spaces)\/)?([^/@]+)\/([^/@]+)(?:@([^/]+))?(?:\/(.*))?$/s.exec(rest) ?? []
  if (!owner || !name) return null
  const hub = scheme.startsWith('h') ? 'huggingface' : 'modelscope'
  const at = revision === undefined ? null : decoded(revision)
  return path === '' || path.endsWith('/')
    ? repoOf(hub, kind as RepoKind, `${owner}/${name}`, at, path)
    : fileOf(hub, kind as RepoKind, `${owner}/${name}`, at, path)
}

/** AIR, the AI resource name: `urn:air:{ecosystem}:{type}:{source}:{id}@{version}`. */
function readAir(said: string): Meant | null {
  const [, source, id] = /^(?:urn:)?air:(?:[\w.-]*:[\w.-]*:)?(civitai|huggingface|modelscope):(.+)$/is.exec(said) ?? []
  if (!source || !id) return null
  // a layer after a colon or a format after a dot changes nothing of which version is meant
  const numbers = /^(\d+)(?:@(\d+))?/.exec(id)
  if (source.toLowerCase() === 'civitai')
    return numbers ? readReference('civitai', numbers[2] ? `${numbers[1]}@${numbers[2]}` : numbers[1]!) : null
  return readReference(source.toLowerCase(), id)
}

function readLink(said: string, hosts: readonly HubHost[]): Meant | null {
  const url = URL.parse(unproxied(said))
  if (!url) return null
  url.username = ''
  url.password = ''
  const bare = (host: string) => host.replace(/^www\./, '')
  const host = hosts.find(
    ({ base, also = [] }) =>
      bare(URL.parse(base)?.host ?? '') === bare(url.host) || also.some((each) => bare(each) === bare(url.host)),
  )
  const parts = url.pathname.split('/').filter(Boolean).map(decoded)
  const known = host && { huggingface, modelscope, civitai }[host.hub](parts, url.searchParams)
  if (known) return known
  const plain = gitHosted(url, parts)
  plain.hash = ''
  const ref = FileRef.safeParse({ hub: 'url', url: plain.href })
  return ref.success ? { is: 'file', ref: ref.data } : null
}

/** What a proxy before an address stands before. */
const unproxied = (said: string) => /^https?:\/\/[^/]+\/(?:\?|[\w-]+\/)?(https?:\/\/.+)$/is.exec(said)?.[1] ?? said

/** A page that shows a file of a code host is not the file. */
function gitHosted(url: URL, parts: string[]): URL {
  if (bareHost(url) !== 'github.com' || !['blob', 'raw'].includes(parts[2] ?? '') || parts.length < 5) return url
  const to = new URL(url)
  to.pathname = url.pathname.replace(/^(\/[^/]+\/[^/]+)\/blob\//, '$1/raw/')
  to.search = ''
  return to
}
const bareHost = (url: URL) => url.host.replace(/^www\./, '')

function huggingface(parts: string[]): Meant | null {
  const rest = parts[0] === 'api' ? parts.slice(1) : parts
  const kind = ['models', 'datasets', 'spaces'].includes(rest[0] ?? '') ? (rest[0] as RepoKind) : 'models'
  const [owner, name, verb, revision, ...path] = rest[0] === kind ? rest.slice(1) : rest
  if (!owner || !name) return null
  const repo = `${owner}/${name}`
  if (verb === undefined) return repoOf('huggingface', kind, repo, null, '')
  if (/^(blob|resolve|raw|blame|edit)$/.test(verb) && revision && path.length > 0)
    return fileOf('huggingface', kind, repo, revision, path.join('/'))
  if (/^(tree|revision|commits)$/.test(verb)) return repoOf('huggingface', kind, repo, revision ?? null, path.join('/'))
  return /^(discussions|commit|paths-info|settings)$/.test(verb) ? repoOf('huggingface', kind, repo, null, '') : null
}

function modelscope(parts: string[], query: URLSearchParams): Meant | null {
  const rest = parts[0] === 'api' ? parts.slice(2) : parts
  const [kind, owner, name, verb, ...more] = rest
  if (kind !== 'models' || !owner || !name) return null
  const repo = `${owner}/${name}`
  const asked = query.get('FilePath')
  if (verb === 'repo' && asked) return fileOf('modelscope', kind, repo, query.get('Revision'), asked)
  const [revision, ...path] = verb === 'file' && more[0] === 'view' ? more.slice(1) : verb === 'resolve' ? more : []
  if (revision && path.length > 0) return fileOf('modelscope', kind, repo, revision, path.join('/'))
  return repoOf('modelscope', kind, repo, query.get('Revision'), '')
}

function civitai(parts: string[], query: URLSearchParams): Meant | null {
  const line = parts.join('/')
  const number = (value: string | null | undefined) => (/^\d{1,15}$/.test(value ?? '') ? Number(value) : null)
  const fileId = number(query.get('fileId'))
  const version = number(
    /^(?:api\/download\/models|(?:api\/v1\/)?model-versions)\/(\d+)$/.exec(line)?.[1] ?? query.get('modelVersionId'),
  )
  if (version !== null) return civitaiFile(version, fileId)
  const hash = /^api\/v1\/model-versions\/by-hash\/([\da-f]+)$/i.exec(line)?.[1]
  if (hash) return { is: 'hash', hash: hash.toLowerCase() }
  const modelId = number(/^(?:api\/v1\/)?models\/(\d+)(?:\/|$)/.exec(line)?.[1])
  return modelId === null ? null : { is: 'model', modelId }
}

function fileOf(
  hub: 'huggingface' | 'modelscope',
  kind: RepoKind,
  repo: string,
  revision: string | null,
  path: string,
): Meant | null {
  const ref = FileRef.safeParse({
    hub,
    repo,
    path,
    ...(hub === 'huggingface' && { kind }),
    ...(revision !== null && { revision }),
  })
  return ref.success ? { is: 'file', ref: ref.data } : null
}

function repoOf(
  hub: 'huggingface' | 'modelscope',
  kind: RepoKind,
  repo: string,
  revision: string | null,
  dir: string,
): Meant | null {
  // whatever a file of it may be called decides about the rest
  if (!FileRef.safeParse({ hub, repo, path: 'x' }).success) return null
  return { is: 'repo', hub, kind, repo, revision, dir: dir.replace(/\/+$/, '') }
}

const civitaiFile = (versionId: number, fileId: number | null): Meant | null => {
  const ref = FileRef.safeParse({ hub: 'civitai', versionId, fileId })
  return ref.success ? { is: 'file', ref: ref.data } : null
}

/** The reference as one line that `readMeant` reads again: what commands print and take. */
export function sayRef(ref: FileRef): string {
  switch (ref.hub) {
    case 'huggingface':
      return `hf:${ref.kind === 'models' ? '' : `${ref.kind}/`}${ref.repo}${at(ref.revision, 'main')}/${ref.path}`
    case 'modelscope':
      return `ms:${ref.repo}${at(ref.revision, 'master')}/${ref.path}`
    case 'civitai':
      return `civitai:0@${ref.versionId}${ref.fileId === null ? '' : `?fileId=${ref.fileId}`}`
    case 'url':
      return ref.url
  }
}
const at = (revision: string, usual: string) => (revision === usual ? '' : `@${encodeURIComponent(revision)}`)

/** Whether two references mean one file, at whatever revision. */
export function sameFile(one: FileRef, other: FileRef): boolean {
  if (one.hub === 'huggingface' && other.hub === 'huggingface')
    return one.kind === other.kind && one.repo === other.repo && one.path === other.path
  if (one.hub === 'modelscope' && other.hub === 'modelscope') return one.repo === other.repo && one.path === other.path
  if (one.hub === 'civitai' && other.hub === 'civitai')
    return one.versionId === other.versionId && (one.fileId ?? other.fileId) === (other.fileId ?? one.fileId)
  return one.hub === 'url' && other.hub === 'url' && one.url === other.url
}
