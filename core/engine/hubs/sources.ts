import { request } from 'undici'
import { AppError } from '../../contract/errors.ts'
import type { FileRef, HubFile } from '../../contract/hub.ts'
import type { FileSource } from '../download/download.ts'
import { bytesWithin } from '../download/follow.ts'
import { authorisation, type HubNetwork, hubNames, refusal } from './ask.ts'
import { civitaiFile, civitaiPath } from './civitai.ts'
import { hfFile, hfMayFetch, hfPath } from './huggingface.ts'
import type { HubHost } from './link.ts'
import { msFile, msFiles, msPath } from './modelscope.ts'

/** Addresses of a plain file: that of its reference, and those of mirrors that stand in for its host. */
export type AddressesFor = (url: string) => readonly string[]

/** What a download needs, and as much as the hubs say of the file. */
export interface Sources {
  sources: FileSource[]
  sizeBytes: number | null
  sha256: string | null
  gitSha1: string | null
}

/**
 * Every place the file of these references comes from now, the best first, with signed links asked for late. Where no
 * hash is known, only one place is used and no mirror is believed. Hubs that cannot be asked are left out; the first
 * reason is thrown when none is left.
 * @throws AppError hub.*
 */
export async function sourcesOf(
  network: HubNetwork & { addressesFor: AddressesFor },
  refs: readonly FileRef[],
  known: { sizeBytes: number | null; sha256: string | null },
  signal?: AbortSignal,
): Promise<Sources> {
  let { sizeBytes, sha256 } = known
  let gitSha1: string | null = null
  const faults: unknown[] = []
  const files: { file: HubFile; large: boolean }[] = []
  for (const ref of refs) {
    try {
      const file = ref.hub === 'url' ? null : await fileOf(network, ref, signal)
      if (!file) continue
      // the same name may be another file by now
      if (sha256 !== null && file.sha256 !== null && file.sha256 !== sha256)
        throw new AppError('hub.not-found', {
          hub: hubNames[ref.hub as HubHost['hub']],
          what: file.name,
          page: file.page ?? '',
        })
      files.push({ file, large: !('large' in file) || file.large === true })
      sha256 ??= file.sha256
      sizeBytes ??= ref.hub === 'civitai' ? null : file.sizeBytes
      gitSha1 ??= file.gitSha1
    } catch (cause) {
      signal?.throwIfAborted()
      faults.push(cause)
    }
  }
  const plain = refs.filter((ref) => ref.hub === 'url')
  const checked = sha256 !== null || gitSha1 !== null
  const sources = files.flatMap(({ file, large }) => hubSources(network, file, { large, checked, sha256, sizeBytes }))
  const twin = sha256 === null ? null : await twinOnModelScope(network, files, sha256, signal).catch(() => null)
  if (twin) sources.push(...hubSources(network, twin.file, { large: twin.large, checked, sha256, sizeBytes }))
  for (const { url } of plain) sources.push(...plainSources(network, url, checked))
  if (sources.length === 0) throw faults[0] ?? new AppError('hub.not-found', { hub: '', what: '', page: '' })
  return { sources: unique(checked ? sources : sources.slice(0, 1)), sizeBytes, sha256, gitSha1 }
}

/** What its hub says of one file. @throws AppError hub.* */
export function fileOf(
  network: HubNetwork,
  ref: Exclude<FileRef, { hub: 'url' }>,
  signal?: AbortSignal,
): Promise<HubFile> {
  if (ref.hub === 'huggingface') return hfFile(network, ref, signal)
  return ref.hub === 'modelscope' ? msFile(network, ref, signal) : civitaiFile(network, ref, signal)
}

/** Before it is queued: whether it can be had at all, without fetching any of it. @throws AppError hub.* */
export async function mayFetch(network: HubNetwork, { ref, gated, page, title }: HubFile, signal?: AbortSignal) {
  if (!gated) return
  const facts = { hub: 'Hugging Face', what: title, page: page ?? '' }
  if (ref.hub === 'civitai') throw new AppError('hub.early-access', { ...facts, hub: 'Civitai', until: '' })
  if (ref.hub !== 'huggingface') return
  const official = network.hosts().find((host) => host.hub === 'huggingface' && host.official)
  if (!official || authorisation(network, official).authorization === undefined) throw new AppError('hub.gated', facts)
  await hfMayFetch(network, ref, signal)
}

/** Often a hub has what the other has, under the same name: only the hash tells that it is the same file. */
async function twinOnModelScope(
  network: HubNetwork,
  files: readonly { file: HubFile }[],
  sha256: string,
  signal?: AbortSignal,
): Promise<{ file: HubFile; large: boolean } | null> {
  if (files.some(({ file }) => file.ref.hub === 'modelscope')) return null
  const there = files.find(({ file }) => file.ref.hub === 'huggingface' && file.ref.kind === 'models')?.file
  if (there?.ref.hub !== 'huggingface') return null
  const { repo } = there.ref
  for (const each of [repo, `AI-ModelScope/${repo.replace(/^.*\//, '')}`]) {
    const asked = { repo: each, revision: 'master' }
    const twin = (await msFiles(network, asked, signal).catch(() => [])).find((file) => file.sha256 === sha256)
    if (!twin) continue
    const ref = { hub: 'modelscope', ...asked, path: twin.path } as const
    return { file: { ...there, ref, title: each, gated: false, gitSha1: null }, large: twin.large }
  }
  return null
}

type Expected = { large: boolean; checked: boolean; sha256: string | null; sizeBytes: number | null }

function hubSources(network: HubNetwork, { ref, gated }: HubFile, expected: Expected): FileSource[] {
  if (ref.hub === 'url') return []
  const path = pathOf(ref)
  return (
    network
      .hosts()
      .filter((host) => host.hub === ref.hub)
      // mirrors are given no token, so what needs one is the official host's; and only what is checked may be theirs
      .filter((host) => host.official || (expected.checked && !gated))
      .map((host) => ({
        id: URL.parse(host.base)?.host ?? host.base,
        address: host.base + path,
        headers: { 'user-agent': network.userAgent, ...authorisation(network, host) },
        ...(ref.hub === 'modelscope' && { connections: 8, ...(!expected.large && { whole: true }) }),
        resolve: (signal: AbortSignal) => resolve(network, host, path, expected, signal),
      }))
  )
}

/** Where anybody finds a file, its own hub's address; null: nowhere known. */
export function officialAddress(hosts: readonly HubHost[], ref: FileRef): string | null {
  if (ref.hub === 'url') return ref.url
  const base = hosts.find(({ hub, official }) => hub === ref.hub && official)?.base
  return base === undefined ? null : base + pathOf(ref)
}
const pathOf = (ref: Exclude<FileRef, { hub: 'url' }>) =>
  ref.hub === 'huggingface' ? hfPath(ref) : ref.hub === 'modelscope' ? msPath(ref) : civitaiPath(ref)

const REDIRECTS = 10

/**
 * Where the bytes are now. Redirects within a hub are followed with its credential; the first that leads elsewhere is the
 * signed address, which is given none.
 * @throws AppError hub.*
 */
async function resolve(
  network: HubNetwork,
  host: HubHost,
  path: string,
  { sha256, sizeBytes }: Expected,
  signal: AbortSignal,
): Promise<{ address: string; expiresAt: number | null }> {
  const home = new URL(host.base).origin
  let target = new URL(host.base + path)
  const headers = { 'user-agent': network.userAgent, 'accept-encoding': 'identity', ...authorisation(network, host) }
  for (let redirects = 0; redirects < REDIRECTS; redirects += 1) {
    // Civitai misreads who asks on HEAD, and ModelScope may not know it
    const head = host.hub === 'huggingface'
    const reply = await request(target, {
      method: head ? 'HEAD' : 'GET',
      dispatcher: network.dispatcherFor(target.href),
      signal: AbortSignal.any([signal, AbortSignal.timeout(20_000)]),
      headers: head ? headers : { ...headers, range: 'bytes=0-0' },
    })
    const { statusCode } = reply
    const said = (name: string) => String(reply.headers[name] ?? '')
    const found = said('location') === '' ? null : URL.parse(said('location'), target.href)
    const moved = statusCode >= 301 && statusCode <= 308 && statusCode !== 304 && found !== null
    if (!moved && statusCode !== 200 && statusCode !== 206) {
      const text = head ? '' : (await bytesWithin(reply, 1024 * 1024).catch(() => Buffer.alloc(0))).toString('utf8')
      throw refusal(host, statusCode, reply.headers, text, path, network)
    }
    // the body may be all of the file
    reply.body.on('error', () => {}).destroy()
    if (moved && /[?&]reason=download-auth/.test(found.search))
      throw new AppError('hub.needs-token', { hub: hubNames[host.hub], what: path, page: host.base })
    const isHub = network.hosts().some((each) => each.hub === host.hub && new URL(each.base).origin === found?.origin)
    if (moved && isHub && found.origin !== home)
      throw new AppError('hub.unreachable', {
        hub: hubNames[host.hub],
        reason: `${target.host} sends on to ${found.host}`,
      })
    if (host.hub === 'huggingface') {
      const leaves = !moved || found.origin !== home
      if (leaves && said('x-repo-commit') === '')
        throw new AppError('hub.wrong-answer', { hub: hubNames[host.hub], host: target.host })
      const has = /[\da-f]{64}/i.exec(said('x-linked-etag'))?.[0].toLowerCase()
      const size = said('x-linked-size')
      if ((has && sha256 && has !== sha256) || (size !== '' && sizeBytes !== null && Number(size) !== sizeBytes))
        throw new AppError('hub.wrong-answer', { hub: hubNames[host.hub], host: `${target.host} (another file)` })
    }
    if (!moved) {
      if (/^(text\/html|application\/json)\b/i.test(said('content-type')) && !/\.(json|html?|txt)$/i.test(path))
        throw new AppError('hub.wrong-answer', { hub: hubNames[host.hub], host: target.host })
      return { address: target.href, expiresAt: null }
    }
    if (found.origin !== home) return { address: found.href, expiresAt: expiryOf(found, network.now()) }
    target = found
  }
  throw new AppError('hub.unreachable', { hub: hubNames[host.hub], reason: 'it redirects too often' })
}

const UNSAID_MS = 4 * 60_000

/** When a signed address ends, as the ways of signing say it; four minutes where it does not say. */
export function expiryOf({ searchParams: asked, pathname }: URL, now: number): number {
  const date = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(asked.get('X-Amz-Date') ?? '')
  const lives = Number(asked.get('X-Amz-Expires') ?? Number.NaN)
  if (date && Number.isFinite(lives)) {
    const [, year, month, day, hour, minute, second] = date.map(Number)
    return Date.UTC(year!, month! - 1, day, hour, minute, second) + lives * 1000
  }
  const unix = /^\d{9,11}$/.exec(asked.get('Expires') ?? asked.get('auth_key')?.split('-')[0] ?? '')?.[0]
  if (unix !== undefined) return Number(unix) * 1000
  const until = Date.parse(asked.get('se') ?? '')
  if (Number.isFinite(until)) return until
  const [, body] = /^[\w-]+\.([\w-]+)\.[\w-]+$/.exec(asked.get('jwt') ?? asked.get('token') ?? pathname.slice(1)) ?? []
  const exp =
    body === undefined ? null : /"exp":\s*(\d{9,11})/.exec(Buffer.from(body, 'base64url').toString('utf8'))?.[1]
  return exp ? Number(exp) * 1000 : now + UNSAID_MS
}

/** A plain address and those that stand in for it; what only they could say is not believed. */
function plainSources(
  network: HubNetwork & { addressesFor: AddressesFor },
  url: string,
  checked: boolean,
): FileSource[] {
  const addresses = checked ? network.addressesFor(url) : [url]
  return [...new Set([...addresses, url])].map((address) => ({
    id: URL.parse(address)?.host ?? address,
    address,
    headers: { 'user-agent': network.userAgent, ...ofItsHost(network, address) },
    ...(address !== url && { connections: 4 }),
  }))
}

/** The person's own token of any host, for that host. */
function ofItsHost(network: HubNetwork, address: string): { authorization?: string } {
  const { host = '', protocol = '' } = URL.parse(address) ?? {}
  const token = protocol === 'https:' ? network.tokenFor(host) : null
  return token === null ? {} : { authorization: `Bearer ${token}` }
}

/** Each host once, and shown by a name of its own. */
function unique(sources: readonly FileSource[]): FileSource[] {
  const names = new Map<string, number>()
  const kept = sources.filter(({ address }, place) => sources.findIndex((each) => each.address === address) === place)
  return kept.map((source) => {
    const count = (names.get(source.id) ?? 0) + 1
    names.set(source.id, count)
    return count === 1 ? source : { ...source, id: `${source.id} ${count}` }
  })
}
