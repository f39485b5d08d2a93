import {
  copyFile,
  lstat,
  mkdir,
  readdir,
  readFile,
  readlink,
  realpath,
  rename,
  rm,
  stat,
  writeFile,
} from 'node:fs/promises'
import path from 'node:path'
import { z } from 'zod'
import { NodeFolder, type NodeOrigin, type NodeSource } from '../../contract/custom-node.ts'
import { AppError } from '../../contract/errors.ts'
import { parseJson, writeJson } from '../../contract/json.ts'
import { fetchFile, hostOf } from '../download/fetch-file.ts'
import { CommandFailed, type CommandOptions, runCommand } from '../install/command.ts'
import { removeDir } from '../install/generations.ts'
import { fromAny } from '../install/uv.ts'
import { openFile } from '../metadata/source.ts'
import { readZip } from '../metadata/zip.ts'
import { copyTree } from './places.ts'
import { readProject } from './requirements.ts'
import { limitsOf, type NodesTools } from './site.ts'

export interface Fetched {
  readonly folder: string
  readonly dir: string
  readonly source: NodeSource
  readonly version: string | null
  readonly sizeBytes: number
}
interface FetchWanted {
  readonly origin: NodeOrigin
  /** It becomes a folder of this one, whole. */
  readonly into: string
  /** null: as the source names it. */
  readonly folder: string | null
  /** What is there now, whose own changes and additions go on. */
  readonly like: string | null
  readonly tools: NodesTools
  readonly command: CommandOptions
  readonly onBytes?: (bytes: number, total: number | null) => void
}

const ARCHIVE_LIMIT_BYTES = 1_000_000_000
/** What we unpacked, kept in its folder. */
const Unpacked = z.object({
  remote: z.string().nullable(),
  commit: z.string().nullable(),
  files: z.array(z.string()),
})
const UNPACKED = '.nightshift.json'
const TRACKING = '.tracking' // the Manager's list of a registry archive's files
const BIG_BYTES = 8 * 2 ** 20

/** What a custom node is, from where it says, under its name in `into`; nothing half is ever there. @throws AppError nodes.* */
export async function fetchNode(wanted: FetchWanted): Promise<Fetched> {
  const { origin, into, tools } = wanted
  const part = path.join(into, `.part-${tools.newId()}`)
  await mkdir(part, { recursive: true })
  try {
    const got = await (origin.is === 'git'
      ? fromGit(wanted, part, origin)
      : origin.is === 'file'
        ? fromFile(wanted, part, origin.url)
        : fromArchive(wanted, part, origin.url, origin.is === 'registry' ? origin : null))
    const sizeBytes = await checkTree(got.dir, got.folder, wanted.like, limitsOf(tools))
    const isCode = got.folder.endsWith('.py') || (await exists(path.join(got.dir, '__init__.py')))
    if (!isCode) throw new AppError('nodes.not-a-node', { source: withoutUser(origin.url) })
    const dir = path.join(into, got.folder)
    await removeDir(dir)
    await rename(got.dir, dir)
    return { ...got, dir, sizeBytes }
  } catch (cause) {
    tools.signal?.throwIfAborted()
    if (cause instanceof AppError && cause.code.startsWith('nodes.')) throw cause
    const reason = cause instanceof CommandFailed ? cause.message : (cause as Error).message
    throw new AppError('nodes.no-source', { source: withoutUser(origin.url), reason }, { cause })
  } finally {
    await removeDir(part)
  }
}

/** @throws AppError 'nodes.bad-name' */
function nameIt(name: string): string {
  const clean = name.replace(/[\p{Cc}/\\:*?"<>|]/gu, '').replace(/^[. ]+|[. ]+$/g, '')
  const read = NodeFolder.safeParse(clean)
  const reserved = /^(?:con|prn|aux|nul|com\d|lpt\d|__pycache__|example_node)(?:\.|$)|\.disabled$/i
  if (!read.success || reserved.test(clean)) throw new AppError('nodes.bad-name', { name: name.slice(0, 100) })
  return read.data
}

// ---- git ----

/** Nothing of a repository's own or a person's settings is run, and no transport that is a program. */
const GIT = [
  '-c',
  'core.hooksPath=/dev/null',
  '-c',
  'core.fsmonitor=false',
  '-c',
  'core.longpaths=true',
  '-c',
  'advice.detachedHead=false',
  '-c',
  'fetch.fsckObjects=true',
  '-c',
  'safe.directory=*',
  '-c',
  'protocol.ext.allow=never',
  '-c',
  'filter.lfs.required=false',
]
export const git = async (args: readonly string[], options: CommandOptions) =>
  (await runCommand('git', [...GIT, ...args], options)).trim()

type Got = Omit<Fetched, 'sizeBytes'>

/** A repository's address as it is kept, and the ref its page names. Pure. */
export function readRepository(url: string): { url: string; ref: string | null; name: string } {
  const text = url.trim()
  const page = /^(https?:\/\/[^/]+\/[^/]+\/[^/]+?)(?:\.git)?\/(?:tree|commit)\/([^/?#]+)\/?$/.exec(text)
  const bare = (page?.[1] ?? text).replace(/[?#].*$/, '').replace(/\/+$/, '')
  const name = /([^/\\:]+?)(?:\.git)?$/.exec(bare)?.[1] ?? ''
  return { url: bare, ref: page ? decodeURIComponent(page[2]!) : null, name }
}

async function fromGit(wanted: FetchWanted, part: string, origin: NodeOrigin & { is: 'git' }): Promise<Got> {
  const { tools, command, like } = wanted
  const read = readRepository(origin.url)
  const ref = origin.ref ?? read.ref
  const local = path.isAbsolute(read.url)
  if (!local && !/^(?:https?|ssh|git):\/\/[^-]|^[\w.-]+@[\w.-]+:[^-]/.test(read.url))
    throw new AppError('nodes.no-source', { source: withoutUser(read.url), reason: 'it is no address of a repository' })
  if (ref !== null && !/^[\w][\w./@+-]*$/.test(ref))
    throw new AppError('nodes.no-source', { source: withoutUser(read.url), reason: `there is no ${ref}` })
  const folder = nameIt(wanted.folder ?? read.name)
  const dir = path.join(part, 'tree')
  const addresses = local ? [read.url] : tools.addressesFor('git', read.url)
  const hasGit = await git(['--version'], command).then(
    () => true,
    () => false,
  )
  tools.signal?.throwIfAborted()
  const github = /^https:\/\/github\.com\/[^/]+\/[^/]+$/.test(read.url.replace(/\.git$/, ''))
  if (!hasGit) {
    if (!github)
      throw new AppError('nodes.no-source', { source: withoutUser(read.url), reason: 'git is not installed' })
    return fromGithubArchive(wanted, part, read.url, ref ?? 'HEAD')
  }
  const isCommit = ref !== null && /^[0-9a-f]{40}$/.test(ref)
  // what a branch is, its own host says where it can be reached: who copies it may be behind
  const head = isCommit
    ? { commit: ref, branch: null }
    : await headOf([read.url, ...addresses.filter((each) => each !== read.url)], ref, command)
  const { commit, branch } = head ?? { commit: null, branch: null }
  const kept = like !== null && (await exists(path.join(like, '.git')))
  const clean = withoutUser(read.url)
  try {
    await fromAny(
      addresses,
      async (address) => {
        await removeDir(dir)
        // what a person changed or added goes on, and what git has need not be fetched
        if (kept) await copyTree(like, dir, { linked: (size) => size > BIG_BYTES, signal: tools.signal })
        else await git(['init', '--quiet', dir], command)
        const within = { ...command, cwd: dir }
        if (!kept) await git(['remote', 'add', 'origin', clean], within)
        const want = commit ?? ref ?? 'HEAD'
        const fetch = (what: string, ...depth: string[]) =>
          git(['fetch', '--quiet', ...depth, '--no-tags', '--no-recurse-submodules', '--', address, what], within)
        await fetch(want, '--depth', '1').catch(async (cause: unknown) => {
          // not every server gives a commit that no branch ends at
          if (!(cause instanceof CommandFailed) || commit === null) throw cause
          await git(['fetch', '--quiet', '--no-tags', '--', address, '+refs/heads/*:refs/nightshift/*'], within)
          await git(['cat-file', '-e', `${commit}^{commit}`], within)
        })
        const to = commit ?? (await git(['rev-parse', 'FETCH_HEAD'], within))
        const where = branch === null ? ['--detach'] : ['-B', branch] // later updates follow it
        await git(['checkout', '--quiet', ...where, to], within).catch((cause: CommandFailed) => {
          const files = cause.lines.filter((line) => /^\t/.test(line)).map((line) => line.trim())
          if (kept && files.length > 0)
            throw new AppError('nodes.changed-files', { folder, files: files.slice(0, 10).join(', ') })
          throw cause
        })
        if (await exists(path.join(dir, '.gitmodules')))
          await git(['submodule', '--quiet', 'update', '--init', '--recursive', '--depth', '1'], within)
      },
      tools.signal,
    )
  } catch (cause) {
    tools.signal?.throwIfAborted()
    if (!github || !(cause instanceof CommandFailed) || kept) throw cause
    return fromGithubArchive(wanted, part, read.url, commit ?? ref ?? 'HEAD')
  }
  const at = await git(['rev-parse', 'HEAD'], { ...command, cwd: dir })
  if (isCommit && at !== ref) throw new Error(`it gave ${at}`)
  const source = { is: 'git' as const, remote: clean, commit: at, branch }
  return { folder, dir, source, version: (await readProject(dir))?.version ?? null }
}

/** The commit that a branch or tag is at, from whoever answers first in turn; null: nobody does. */
async function headOf(
  addresses: readonly string[],
  ref: string | null,
  command: CommandOptions,
): Promise<{ commit: string; branch: string | null } | null> {
  for (const address of addresses) {
    const patient = AbortSignal.any([AbortSignal.timeout(20_000), ...(command.signal ? [command.signal] : [])])
    const wanted = ref === null ? ['HEAD'] : [`refs/heads/${ref}`, `refs/tags/${ref}`, `refs/tags/${ref}^{}`]
    const said = await git(['ls-remote', '--', address, ...wanted], { ...command, signal: patient }).catch(() => null)
    command.signal?.throwIfAborted()
    // of an annotated tag, the commit is what it is peeled to
    const lines = (said ?? '').split('\n').filter((line) => /^[0-9a-f]{40}\t/.test(line))
    const best = lines.find((line) => line.endsWith('^{}')) ?? lines[0]
    if (best)
      return { commit: best.slice(0, 40), branch: ref !== null && best.endsWith(`\trefs/heads/${ref}`) ? ref : null }
    if (said !== null && ref !== null && !/^[0-9a-f]{7,39}$/.test(ref)) throw new Error(`there is no ${ref}`)
  }
  return null
}

async function fromGithubArchive(wanted: FetchWanted, part: string, url: string, ref: string): Promise<Got> {
  const clean = withoutUser(url).replace(/\.git$/, '')
  const got = await fromArchive(wanted, part, `${clean}/archive/${encodeURIComponent(ref)}.zip`, null, {
    remote: clean,
    commit: /^[0-9a-f]{40}$/.test(ref) ? ref : null,
  })
  return { ...got, folder: nameIt(wanted.folder ?? readRepository(url).name) }
}

// ---- archives and files ----

async function fromArchive(
  { tools, folder, like, onBytes }: FetchWanted,
  part: string,
  url: string,
  registry: (NodeOrigin & { is: 'registry' }) | null,
  about: { remote: string | null; commit: string | null } = { remote: null, commit: null },
): Promise<Got> {
  const archive = path.join(part, 'archive.zip')
  if (path.isAbsolute(url)) await copyFile(url, archive)
  else {
    const addresses = /^https:\/\/github\.com\//.test(url) ? tools.addressesFor('github', url) : [url]
    const { dispatcher, signal } = tools
    await fetchFile({ addresses, to: archive, limitBytes: ARCHIVE_LIMIT_BYTES, dispatcher, signal, onBytes })
  }
  const dir = path.join(part, 'tree')
  const { files, top } = await unpackZip(archive, dir, limitsOf(tools))
  const project = await readProject(dir)
  const stem = path.basename(URL.parse(url)?.pathname ?? url).replace(/\.zip$/i, '')
  const name =
    folder ??
    registry?.id ??
    (project?.isComfy ? project.name : null) ??
    top?.replace(/-(?:[0-9a-f]{40}|main|master)$/, '') ??
    stem
  await carryAdditions(like, dir, files)
  if (registry) await writeFile(path.join(dir, TRACKING), files.join('\n'))
  else {
    const remote = about.remote ?? (path.isAbsolute(url) ? null : withoutUser(url))
    await writeFile(path.join(dir, UNPACKED), writeJson({ ...about, remote, files } as never))
  }
  const source: NodeSource = registry
    ? { is: 'registry', id: registry.id, version: registry.version }
    : { is: 'archive', remote: about.remote ?? (path.isAbsolute(url) ? null : withoutUser(url)), commit: about.commit }
  return { folder: nameIt(name), dir, source, version: registry?.version ?? project?.version ?? null }
}

/** What lies in a folder that its archive did not bring is a person's. */
async function carryAdditions(like: string | null, to: string, files: readonly string[]) {
  if (like === null) return
  const before = await filesOf(like)
  if (before === null) return
  const brought = new Set([...before, ...files, TRACKING, UNPACKED, 'pyproject.toml'])
  for (const name of await readdir(like, { recursive: true }).catch(() => [] as string[])) {
    const within = name.replaceAll(path.sep, '/')
    if (brought.has(within) || /(?:^|\/)(?:__pycache__|\.git)(?:\/|$)/.test(within)) continue
    const [from, target] = [path.join(like, name), path.join(to, name)]
    if (!(await lstat(from)).isFile() || (await exists(target))) continue
    await mkdir(path.dirname(target), { recursive: true })
    await copyFile(from, target)
  }
}

/** What an archive brought, as it was written down then; null: nobody did. */
async function filesOf(dir: string): Promise<string[] | null> {
  const tracked = await readFile(path.join(dir, TRACKING), 'utf8').catch(() => null)
  if (tracked !== null) return tracked.split(/\r?\n/).filter((line) => line !== '')
  return (await readUnpacked(dir))?.files ?? null
}
export async function readUnpacked(dir: string): Promise<z.infer<typeof Unpacked> | null> {
  const text = await readFile(path.join(dir, UNPACKED), 'utf8').catch(() => null)
  if (text === null) return null
  try {
    return Unpacked.parse(parseJson(text))
  } catch {
    return null
  }
}

/** Gives its files, with the one folder that holds them all taken off. @throws AppError 'nodes.unsafe' */
async function unpackZip(
  archive: string,
  to: string,
  { files: mostFiles, bytes: mostBytes }: { files: number; bytes: number },
) {
  const unsafe = (reason: string) => new AppError('nodes.unsafe', { folder: path.basename(archive), reason })
  const source = openFile(archive)
  try {
    const entries = readZip(path.basename(archive), source).filter(({ name }) => !name.endsWith('/'))
    if (entries.length === 0) throw unsafe('it is empty')
    if (entries.length > mostFiles) throw unsafe(`it holds ${entries.length} files`)
    if (entries.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0) > mostBytes) throw unsafe('it is too large')
    const tops = new Set(entries.map(({ name }) => (name.includes('/') ? name.split('/', 1)[0]! : '')))
    const [first] = tops
    const top = tops.size === 1 && first !== '' ? first! : null
    const seen = new Set<string>()
    const files: string[] = []
    for (const entry of entries) {
      const parts = entry.name.split('/')
      const bad = parts.some((each) => /^\.{0,2}$|[\p{Cc}:*?"<>|\\]|[. ]$/u.test(each) || /^\.git$/i.test(each))
      if (bad) throw unsafe(`it holds ${entry.name.slice(0, 200)}`)
      const name = (top === null ? parts : parts.slice(1)).join('/')
      if (seen.has(name.toLowerCase())) throw unsafe(`it holds ${name} twice`)
      seen.add(name.toLowerCase())
      const file = path.join(to, ...name.split('/'))
      await mkdir(path.dirname(file), { recursive: true })
      const bytes = entry.open()
      if (bytes.sizeBytes !== entry.sizeBytes) throw unsafe(`${name} is not as large as it says`)
      // a link in an archive becomes a file that holds where it led
      await writeFile(file, bytes.read(0, bytes.sizeBytes), { flag: 'wx' })
      files.push(name)
    }
    return { files, top }
  } finally {
    source.close()
  }
}

async function fromFile({ tools, folder, onBytes }: FetchWanted, part: string, url: string): Promise<Got> {
  const name = nameIt(folder ?? path.basename(decodeURIComponent(URL.parse(url)?.pathname ?? url)))
  if (!name.endsWith('.py')) throw new AppError('nodes.not-a-node', { source: withoutUser(url) })
  const dir = path.join(part, name)
  const { dispatcher, signal } = tools
  if (path.isAbsolute(url)) await copyFile(url, dir)
  else {
    const addresses = /^https:\/\/(?:raw\.githubusercontent|github)\.com\//.test(url)
      ? tools.addressesFor('github', url)
      : [url]
    await fetchFile({ addresses, to: dir, limitBytes: 20_000_000, dispatcher, signal, onBytes })
  }
  const text = await readFile(dir, 'utf8')
  if (/^\s*<(?:!doctype|html)/i.test(text)) throw new Error(`${hostOf(url)} sent a page`)
  return { folder: name, dir, source: { is: 'file' }, version: null }
}

/** Its size; links that lead out of it, and more than there should be, are refused. @throws AppError 'nodes.unsafe' */
async function checkTree(
  dir: string,
  folder: string,
  like: string | null,
  { files: mostFiles, bytes: mostBytes }: { files: number; bytes: number },
) {
  const root = await realpath(dir)
  if ((await stat(root)).isFile()) return (await stat(root)).size
  let [files, bytes] = [0, 0]
  for (const entry of await readdir(root, { recursive: true, withFileTypes: true })) {
    const file = path.join(entry.parentPath, entry.name)
    if (entry.isSymbolicLink()) {
      // a person may have put models elsewhere
      const theirs = like && (await readlink(path.join(like, path.relative(root, file))).catch(() => null))
      if (theirs !== null && theirs === (await readlink(file))) continue
      const leads = await realpath(file).catch(() => null)
      if (leads === null) await rm(file, { force: true })
      else if (leads !== root && !leads.startsWith(root + path.sep))
        throw new AppError('nodes.unsafe', { folder, reason: `${path.relative(root, file)} leads out of it` })
    } else if (entry.isFile()) {
      bytes += (await lstat(file)).size
      if (++files > mostFiles)
        throw new AppError('nodes.unsafe', { folder, reason: `it holds more than ${mostFiles} files` })
    }
  }
  if (bytes > mostBytes) throw new AppError('nodes.unsafe', { folder, reason: 'it is too large' })
  return bytes
}

const exists = (file: string) =>
  lstat(file).then(
    () => true,
    () => false,
  )
/** Addresses may hold credentials. */
export const withoutUser = (url: string) => url.replace(/(:\/\/)[^/\s]*@/g, '$1')
