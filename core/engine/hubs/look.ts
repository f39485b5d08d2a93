import { type Failure, toFailure } from '../../contract/errors.ts'
import type { FileRef, HubFile } from '../../contract/hub.ts'
import { bareModelName, isModelFile, isPickleFile } from '../../contract/model-file.ts'
import type { HubNetwork } from './ask.ts'
import { civitaiByHash, civitaiFind, civitaiModel, civitaiVersion } from './civitai.ts'
import { type HfListed, hfFind, hfHubFile, hfRepo } from './huggingface.ts'
import type { Meant } from './link.ts'
import { msFiles, msFind, msHubFile } from './modelscope.ts'
import { fileOf } from './sources.ts'

/** One of the parts a large model was cut into for other programs. */
const isPart = (path: string) => /-\d{5}-of-\d{5}\./.test(path)

export interface Looked {
  files: HubFile[]
  /** Hubs that could not be asked. */
  silent: { from: string; because: Failure }[]
}

/** The files that a link or reference means: one, or those to choose from. @throws AppError hub.* */
export async function filesMeant(network: HubNetwork, meant: Meant, signal?: AbortSignal): Promise<HubFile[]> {
  switch (meant.is) {
    case 'file':
      if (meant.ref.hub === 'url') return [plainFile(meant.ref.url)]
      // of a version without a file, all its files may be meant
      if (meant.ref.hub === 'civitai' && meant.ref.fileId === null)
        return civitaiVersion(network, meant.ref.versionId, signal)
      return [await fileOf(network, meant.ref, signal)]
    case 'model':
      return civitaiModel(network, meant.modelId, signal)
    case 'repo': {
      const { hub, repo, kind } = meant
      const inDir = ({ path }: { path: string }) => meant.dir === '' || path.startsWith(`${meant.dir}/`)
      if (hub === 'modelscope') {
        const revision = meant.revision ?? 'master'
        const files = (await msFiles(network, { repo, revision }, signal)).filter(inDir)
        return modelsOf(files).map((file) => msHubFile(network, repo, revision, file))
      }
      const found = await hfRepo(network, { kind, repo, revision: meant.revision ?? 'main' }, signal)
      return modelsOf(found.files.filter(inDir)).map((file) => hfHubFile(network, found, file, kind))
    }
    case 'hash':
      return (await byHash(network, meant.hash, signal)).files
    case 'name':
      return []
  }
}

/** What loaders read, since the rest of a repository is for other programs: the whole ones; where there are only parts, those. */
function modelsOf<F extends { path: string }>(files: readonly F[]): F[] {
  const models = files.filter(({ path }) => isModelFile(path))
  const whole = models.filter(({ path }) => !isPart(path))
  return whole.length > 0 ? whole : models
}

/** Of an address no hub speaks for, only its name can be read. */
export function plainFile(url: string): HubFile {
  const { pathname = '', host = url } = URL.parse(url) ?? {}
  let name = pathname.replace(/^.*\//s, '')
  try {
    name = decodeURIComponent(name)
  } catch {
    // it stays as it is written
  }
  return { ...unasked({ hub: 'url', url }, name), title: host, page: url }
}

/** What is known of a file before its hub was asked. */
export function unasked(ref: FileRef, name: string): HubFile {
  return {
    ref,
    name,
    sizeBytes: null,
    sha256: null,
    gitSha1: null,
    title: ref.hub === 'civitai' ? String(ref.versionId) : ref.hub === 'url' ? ref.url : ref.repo,
    page: null,
    licence: null,
    gated: false,
    folder: null,
    baseModel: null,
    pickle: isPickleFile(name),
    downloads: null,
  }
}

/** Only Civitai knows files by their hash. */
export async function byHash(network: HubNetwork, hash: string, signal?: AbortSignal): Promise<Looked> {
  try {
    return { files: await civitaiByHash(network, hash, signal), silent: [] }
  } catch (cause) {
    signal?.throwIfAborted()
    const because = toFailure(cause)
    return { files: [], silent: because.code === 'hub.not-found' ? [] : [{ from: 'civitai', because }] }
  }
}

/** Files of exactly this name: `official` at a publisher of those given, `others` anywhere else. */
export interface ByName {
  official: HubFile[]
  others: HubFile[]
  silent: Looked['silent']
}

/**
 * Looks for a file by its name: first at the publishers, whose repositories are listed by name, then by the words of the
 * name at every hub.
 */
export async function byName(
  network: HubNetwork,
  name: string,
  publishers: readonly string[],
  signal?: AbortSignal,
): Promise<ByName> {
  const base = name.replaceAll('\\', '/').replace(/^.*\//s, '')
  const silent: Looked['silent'] = []
  const isIt = (path: string) => path.replace(/^.*\//s, '').toLowerCase() === base.toLowerCase()
  const tried = async <T>(from: string, ask: () => Promise<T[]>): Promise<T[]> => {
    if (silent.some((each) => each.from === from)) return []
    try {
      return await ask()
    } catch (cause) {
      signal?.throwIfAborted()
      const because = toFailure(cause)
      if (because.code !== 'hub.not-found' && !silent.some((each) => each.from === from)) silent.push({ from, because })
      return []
    }
  }
  /** With sizes and hashes, as the repository is now. */
  const opened = async (listed: readonly HfListed[]) => {
    const files: HubFile[] = []
    for (const { repo, paths } of listed) {
      if (!paths.some(isIt)) continue
      files.push(
        ...(await tried('huggingface', async () => {
          const found = await hfRepo(network, { kind: 'models', repo, revision: 'main' }, signal)
          return found.files.filter(({ path }) => isIt(path)).map((file) => hfHubFile(network, found, file))
        })),
      )
    }
    return files
  }
  const official: HubFile[] = []
  for (const publisher of publishers) {
    const listed = await tried('huggingface', () => hfFind(network, { publisher }, signal))
    official.push(...(await opened(listed)))
  }
  const others: HubFile[] = []
  if (official.length === 0) {
    for (const words of wordsOf(base)) {
      const listed = await tried('huggingface', () => hfFind(network, { words, limit: 30 }, signal))
      others.push(...(await opened(listed.slice(0, 30))))
      if (others.length > 0) break
    }
    const civitai = await tried('civitai', () => civitaiFind(network, wordsOf(base)[0] ?? base, 20, signal))
    others.push(...civitai.flat().filter((file) => isIt(file.name)))
    const repos = await tried('modelscope', () => msFind(network, wordsOf(base)[0] ?? base, 10, signal))
    for (const { repo, licence } of repos) {
      const files = await tried('modelscope', () => msFiles(network, { repo, revision: 'master' }, signal))
      others.push(
        ...files.filter(({ path }) => isIt(path)).map((file) => msHubFile(network, repo, 'master', file, licence)),
      )
    }
  }
  return { official: unique(official), others: unique(others), silent }
}

/** The same bytes are one answer, wherever they lie. */
function unique(files: readonly HubFile[]): HubFile[] {
  const seen = new Set<string>()
  return files.filter(({ sha256, ref }) => {
    const key = sha256 ?? JSON.stringify(ref)
    return seen.has(key) ? false : seen.add(key)
  })
}

/** How numbers are stored, and other endings that repositories leave out of their names. */
const STORAGE =
  /[-_.](fp?\d{1,2}|bf16|int\d|nf4|nvfp4|e4m3fn?|e5m2|scaled|mixed|pruned|emaonly|ema|comfyui?|q\d(_[\dk]\w*)?|k[sml]|rank\d+|v?\d+steps?|full|repackaged|convrot|fp\d+mixed)(?=$|[-_.])/gi

/** From the whole name to its first words: what a hub may call the repository it lies in. */
export function wordsOf(name: string): string[] {
  const bare = bareModelName(name)
  let short = bare
  for (let before = ''; before !== short; ) {
    before = short
    short = short.replace(STORAGE, '')
  }
  const words = short.split(/[-_.\s]+/).filter(Boolean)
  const joined = [bare, short, words.slice(0, 4).join(' '), words.slice(0, 2).join(' ')].map((each) =>
    each.replace(/[-_]+/g, ' ').trim(),
  )
  return [...new Set(joined)].filter((each) => each.length >= 3)
}

/** A search for models by words, hub by hub; each hub that cannot be asked is told of. */
export async function search(
  network: HubNetwork,
  words: string,
  hubs: readonly ('huggingface' | 'modelscope' | 'civitai')[],
  signal?: AbortSignal,
): Promise<{ from: 'huggingface' | 'modelscope' | 'civitai'; found: Found[]; because: Failure | null }[]> {
  return Promise.all(
    hubs.map(async (from) => {
      try {
        return { from, found: await searchers[from](network, words, signal), because: null }
      } catch (cause) {
        signal?.throwIfAborted()
        return { from, found: [], because: toFailure(cause) }
      }
    }),
  )
}

/** `files` null: they are listed when the model is opened. */
export interface Found {
  title: string
  page: string | null
  licence: string | null
  baseModel: string | null
  gated: boolean
  downloads: number | null
  /** What `readMeant` reads. */
  item: string
  files: HubFile[] | null
}
const PAGE = 20

const searchers: Record<
  'huggingface' | 'modelscope' | 'civitai',
  (network: HubNetwork, words: string, signal?: AbortSignal) => Promise<Found[]>
> = {
  async huggingface(network, words, signal) {
    const official = network.hosts().find((host) => host.hub === 'huggingface' && host.official)
    const listed = await hfFind(network, { words, limit: PAGE }, signal)
    return listed
      .filter(({ paths }) => paths.length === 0 || paths.some((path) => isModelFile(path)))
      .map(({ repo, gated, licence, downloads, baseModel }) => ({
        title: repo,
        page: official ? `${official.base}/${repo}` : null,
        licence,
        baseModel,
        gated,
        downloads,
        item: `hf:${repo}`,
        files: null,
      }))
  },
  async modelscope(network, words, signal) {
    const official = network.hosts().find((host) => host.hub === 'modelscope' && host.official)
    const found = await msFind(network, words, PAGE, signal)
    return found.map(({ repo, licence, downloads }) => ({
      title: repo,
      page: official ? `${official.base}/models/${repo}` : null,
      licence,
      baseModel: null,
      gated: false,
      downloads,
      item: `ms:${repo}`,
      files: null,
    }))
  },
  async civitai(network, words, signal) {
    const found = await civitaiFind(network, words, PAGE, signal)
    return found.flatMap((files) => {
      const [first] = files
      if (first?.ref.hub !== 'civitai') return []
      const { page, licence, baseModel, gated, downloads } = first
      return [
        {
          title: first.title.replace(/ · [^·]*$/, ''),
          page,
          licence,
          baseModel,
          gated,
          downloads,
          item: `civitai:0@${first.ref.versionId}`,
          files,
        },
      ]
    })
  },
}
