import { createHash } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { Agent } from 'undici'
import { writeJson } from '../../core/contract/json.ts'
import type { AnswerCache, HubNetwork } from '../../core/engine/hubs/ask.ts'
import type { HubHost } from '../../core/engine/hubs/link.ts'
import { serve } from './serve.ts'

/**
 * Servers that answer as hubs do, in the shapes that the Hugging Face Hub API, the ModelScope API (v1) and the Civitai
 * API (v1) were documented to have in November 2026. Written for these tests; nothing in them was recorded.
 */
export interface FarmFile {
  readonly path: string
  readonly content: string
}
export interface FarmRepo {
  readonly commit?: string
  readonly gated?: 'auto' | 'manual'
  readonly licence?: string
  readonly downloads?: number
  readonly files: readonly FarmFile[]
}
export interface Farm {
  huggingface?: Record<string, FarmRepo>
  modelscope?: Record<string, FarmRepo>
  civitai?: readonly {
    modelId: number
    name: string
    type: string
    versionId: number
    baseModel: string
    files: readonly { id: number; name: string; type?: string; content: string; noDownload?: string }[]
  }[]
  /** Answers instead of the farm, where it gives true. */
  instead?: (hub: HubHost['hub'], request: IncomingMessage, reply: ServerResponse) => boolean
  tokens?: Partial<Record<HubHost['hub'], string>>
}
export const COMMIT = 'c0ffee0000000000000000000000000000000000'
export const sha256 = (content: string) => createHash('sha256').update(content).digest('hex')

/** Every request that came, as `hub METHOD path` and its authorisation. */
export interface Asked {
  line: string
  authorization: string | undefined
}

export async function hubFarm(farm: Farm, given: { mirror?: Farm; token?: string } = {}) {
  const asked: Asked[] = []
  const contents = new Map(
    Object.values(farm.huggingface ?? {}).flatMap(({ files }) =>
      files.map(({ content }) => [sha256(content), content] as const),
    ),
  )
  const cdn = await serve((request, reply) => {
    asked.push({ line: `cdn ${request.method} ${request.url}`, authorization: request.headers.authorization })
    const content = contents.get(/^\/bucket\/([\da-f]{64})/.exec(request.url ?? '')?.[1] ?? '')
    if (content === undefined) return void reply.end('bytes')
    const [, from, to] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '') ?? []
    if (from === undefined)
      return void reply.writeHead(200, { 'accept-ranges': 'bytes', 'content-length': content.length }).end(content)
    const last = Math.min(to ? Number(to) : content.length - 1, content.length - 1)
    reply.writeHead(206, {
      'accept-ranges': 'bytes',
      'content-range': `bytes ${from}-${last}/${content.length}`,
      'content-length': last - Number(from) + 1,
    })
    reply.end(content.slice(Number(from), last + 1))
  })
  const start = (hub: HubHost['hub'], of: Farm, name: string) =>
    serve((request, reply) => {
      asked.push({ line: `${name} ${request.method} ${request.url}`, authorization: request.headers.authorization })
      if (of.instead?.(hub, request, reply)) return
      const url = new URL(request.url ?? '/', 'http://farm')
      answers[hub](of, url, request, reply, cdn.url)
    })
  const hosts: HubHost[] = []
  if (given.mirror)
    hosts.push({ hub: 'huggingface', base: (await start('huggingface', given.mirror, 'mirror')).url, official: false })
  for (const hub of ['huggingface', 'modelscope', 'civitai'] as const)
    hosts.push({ hub, base: (await start(hub, farm, hub)).url, official: true })
  const kept = new Map<string, { at: number; text: string }>()
  const cache: AnswerCache = { get: (key) => kept.get(key) ?? null, set: (key, answer) => void kept.set(key, answer) }
  const agent = new Agent()
  const network: HubNetwork & { addressesFor: (url: string) => string[] } = {
    dispatcherFor: () => agent,
    hosts: () => hosts,
    tokenFor: (host) =>
      hosts.some(({ base, official }) => official && URL.parse(base)?.host === host) ? (given.token ?? null) : null,
    cache,
    now: () => 1_800_000_000_000,
    userAgent: 'Nightshift/test',
    addressesFor: (url) => [url],
  }
  const lines = () => asked.map(({ line }) => line)
  return {
    network,
    hosts,
    asked,
    lines,
    cdn: cdn.url,
    base: (hub: HubHost['hub']) => hosts.find((each) => each.hub === hub && each.official)!.base,
  }
}

/** A mirrors.json by which these hubs are the only ones, and no list is had: a test with it needs no network. */
export function mirrorsOf({ base }: { base: (hub: HubHost['hub']) => string }): string {
  const kindOf = (hub: HubHost['hub']) => ({ official: base(hub), standsIn: [new URL(base(hub)).host], checks: [] })
  const kinds = { huggingface: kindOf('huggingface'), modelscope: kindOf('modelscope'), civitai: kindOf('civitai') }
  const lists = { 'model-list': { url: `${base('civitai')}/list.json`, licence: 'none' } }
  return writeJson({ kinds, lists })
}

const send = (reply: ServerResponse, status: number, body: unknown, headers: Record<string, string> = {}) => {
  reply.writeHead(status, { 'content-type': 'application/json; charset=utf-8', ...headers })
  reply.end(JSON.stringify(body))
}
type Answer = (farm: Farm, url: URL, request: IncomingMessage, reply: ServerResponse, cdn: string) => void

const isLarge = (path: string) => /\.(safetensors|gguf|ckpt|pth|bin)$/.test(path)

const answers: Record<HubHost['hub'], Answer> = {
  huggingface({ huggingface = {} }, url, request, reply, cdn) {
    const token = request.headers.authorization
    const refuse = (status: number, code: string) =>
      send(reply, status, { error: code }, { 'x-error-code': code, 'x-error-message': code })
    const listing = /^\/api\/models$/.exec(url.pathname)
    if (listing) {
      const [author, words = ''] = [url.searchParams.get('author'), url.searchParams.get('search') ?? '']
      const found = Object.entries(huggingface).filter(([id]) =>
        author
          ? id.startsWith(`${author}/`)
          : words
              .toLowerCase()
              .split(/\s+/)
              .every((word) => id.toLowerCase().includes(word)),
      )
      return send(
        reply,
        200,
        found.map(([id, repo]) => ({
          id,
          modelId: id,
          gated: repo.gated ?? false,
          downloads: repo.downloads ?? 0,
          tags: [`license:${repo.licence ?? 'apache-2.0'}`],
          siblings: repo.files.map(({ path }) => ({ rfilename: path })),
        })),
      )
    }
    const [, id = '', what = ''] = /^\/api\/models\/([^/]+\/[^/]+)(\/.*)?$/.exec(url.pathname) ?? []
    const repo = huggingface[id]
    if (id !== '') {
      if (!repo) return refuse(401, 'RepoNotFound')
      if (what === '/auth-check')
        return repo.gated && !token
          ? refuse(401, 'GatedRepo')
          : repo.gated === 'manual'
            ? refuse(403, 'GatedRepo')
            : send(reply, 200, {})
      const revision = decodeURIComponent(/^\/revision\/(.+)$/.exec(what)?.[1] ?? 'main')
      if (!['main', repo.commit ?? COMMIT].includes(revision)) return refuse(404, 'RevisionNotFound')
      return send(reply, 200, {
        id,
        sha: repo.commit ?? COMMIT,
        gated: repo.gated ?? false,
        downloads: repo.downloads ?? 0,
        cardData: { license: repo.licence ?? 'apache-2.0' },
        siblings: repo.files.map(({ path, content }) => ({
          rfilename: path,
          size: content.length,
          blobId: createHash('sha1').update(`blob ${content.length}\0${content}`).digest('hex'),
          ...(isLarge(path) && { lfs: { sha256: sha256(content), size: content.length, pointerSize: 134 } }),
        })),
      })
    }
    const [, at = '', revision = '', path = ''] = /^\/([^/]+\/[^/]+)\/resolve\/([^/]+)\/(.+)$/.exec(url.pathname) ?? []
    const file = huggingface[at]?.files.find((each) => each.path === decodeURIComponent(path))
    if (!file) return refuse(404, 'EntryNotFound')
    if (huggingface[at]?.gated && !token) return refuse(401, 'GatedRepo')
    const commit = revision === 'main' ? COMMIT : revision
    if (!isLarge(file.path)) {
      reply.writeHead(200, { 'x-repo-commit': commit, 'content-length': file.content.length })
      return void reply.end(request.method === 'HEAD' ? undefined : file.content)
    }
    reply.writeHead(302, {
      'x-repo-commit': commit,
      'x-linked-size': file.content.length,
      'x-linked-etag': `"${sha256(file.content)}"`,
      location: `${cdn}/bucket/${sha256(file.content)}?X-Amz-Date=20270115T080000Z&X-Amz-Expires=3600&X-Amz-Signature=s`,
    })
    reply.end()
  },
  modelscope({ modelscope = {} }, url, request, reply, cdn) {
    const done = (Data: unknown) => send(reply, 200, { Code: 200, Success: true, Message: '', Data })
    const [, id = ''] = /^\/api\/v1\/models\/([^/]+\/[^/]+)\/repo\/files$/.exec(url.pathname) ?? []
    if (id !== '') {
      const repo = modelscope[id]
      if (!repo) return send(reply, 200, { Code: 404, Success: false, Message: 'not found' })
      return done({
        Files: repo.files.map(({ path, content }) => ({
          Name: path.replace(/^.*\//, ''),
          Path: path,
          Type: 'blob',
          Size: content.length,
          IsLFS: isLarge(path),
          Sha256: sha256(content),
        })),
      })
    }
    if (url.pathname === '/api/v1/dolphin/models' && request.method === 'PUT') {
      let body = ''
      request.on('data', (part) => {
        body += part
      })
      request.on('end', () => {
        const { Name } = JSON.parse(body) as { Name: string }
        const found = Object.keys(modelscope).filter((each) =>
          each.toLowerCase().includes(Name.toLowerCase().split(' ')[0]!),
        )
        done({
          Model: {
            Models: found.map((each) => ({
              Path: each.split('/')[0],
              Name: each.split('/')[1],
              License: 'apache-2.0',
              Downloads: 5,
            })),
            TotalCount: found.length,
          },
        })
      })
      return
    }
    if (/^\/models\/.+\/resolve\//.test(url.pathname)) {
      reply.writeHead(302, { location: `${cdn}/ms?auth_key=1900000000-0-0-abc` })
      return void reply.end()
    }
    send(reply, 200, { Code: 404, Success: false, Message: 'not found' })
  },
  civitai({ civitai = [] }, url, _request, reply, cdn) {
    const version = (model: NonNullable<Farm['civitai']>[number]) => ({
      id: model.versionId,
      modelId: model.modelId,
      name: 'v1',
      baseModel: model.baseModel,
      model: { name: model.name, type: model.type },
      files: model.files.map((file, at) => ({
        id: file.id,
        name: file.name,
        type: file.type ?? 'Model',
        sizeKB: file.content.length / 1024,
        primary: at === 0,
        metadata: { format: 'SafeTensor' },
        hashes: { AutoV2: sha256(file.content).slice(0, 10).toUpperCase(), SHA256: sha256(file.content).toUpperCase() },
      })),
    })
    const [, hash] = /^\/api\/v1\/model-versions\/by-hash\/(\w+)$/.exec(url.pathname) ?? []
    const [, versionId] = /^\/api\/(?:v1\/model-versions|download\/models)\/(\d+)$/.exec(url.pathname) ?? []
    const [, modelId] = /^\/api\/v1\/models\/(\d+)$/.exec(url.pathname) ?? []
    if (hash) {
      const found = civitai.find(({ files }) =>
        files.some(({ content }) => [sha256(content), sha256(content).slice(0, 10)].includes(hash.toLowerCase())),
      )
      return found ? send(reply, 200, version(found)) : send(reply, 404, { error: 'Model not found' })
    }
    if (url.pathname.startsWith('/api/download/')) {
      const file = civitai.find((each) => String(each.versionId) === versionId)?.files[0]
      if (!file) return send(reply, 404, { error: 'File not found' })
      if (file.noDownload) return send(reply, Number(file.noDownload.slice(0, 3)), JSON.parse(file.noDownload.slice(4)))
      reply.writeHead(307, { location: `${cdn}/r2?X-Amz-Date=20270115T080000Z&X-Amz-Expires=86400&X-Amz-Signature=s` })
      return void reply.end()
    }
    const found = civitai.find((each) => String(each.versionId) === versionId || String(each.modelId) === modelId)
    const asModel = (model: NonNullable<Farm['civitai']>[number]) => ({
      id: model.modelId,
      name: model.name,
      type: model.type,
      stats: { downloadCount: 7 },
      modelVersions: [version(model)],
    })
    if (url.pathname === '/api/v1/models') {
      const words = (url.searchParams.get('query') ?? '').toLowerCase().split(/\s+/)
      return send(reply, 200, {
        items: civitai.filter(({ name }) => words.some((word) => name.toLowerCase().includes(word))).map(asModel),
        metadata: {},
      })
    }
    if (!found) return send(reply, 404, { error: 'not found' })
    send(reply, 200, modelId ? asModel(found) : version(found))
  },
}
