import { cp, mkdir, readdir, readFile, rename, rm, stat } from 'node:fs/promises'
import path from 'node:path'
import type { Dispatcher } from 'undici'
import { AppError } from '../../contract/errors.ts'
import { fetchFile, latestTag, type Switched } from '../download/fetch-file.ts'
import { CommandFailed, type CommandOptions, runCommand } from './command.ts'
import { removeDir } from './generations.ts'
import type { Source } from './plan.ts'
import { fromAny } from './uv.ts'

export interface SourceWanted {
  readonly source: Source
  /** In the order to try them; the same repository. */
  readonly addresses: readonly string[]
  readonly ref: string | null
  readonly to: string
  /** An older checkout, whose objects need not be fetched again. */
  readonly like: string | null
  readonly python: string
  readonly dispatcher: Dispatcher
  readonly command: CommandOptions
  readonly onBytes: (bytes: number, total: number | null) => void
}
export interface SourceGot {
  readonly version: string | null
  readonly commit: string | null
  readonly switched: readonly Switched[]
}

/** What grows in a ComfyUI's folder and is not its source. */
const NOT_SOURCE = /^(?:models|input|output|temp|user|venv|\.venv|env|__pycache__|python_embeded)$/
const ARCHIVE_LIMIT_BYTES = 500_000_000

/** ComfyUI's source under its final name; it appears there whole. @throws AppError 'install.no-source' */
export async function getSource(wanted: SourceWanted): Promise<SourceGot> {
  const { source, to, command } = wanted
  const part = `${to}.part-${process.pid}` // what a killed run of ours still writes is elsewhere
  const from = source.is === 'folder' ? source.dir : source.url
  try {
    await removeDir(part)
    await mkdir(path.dirname(part), { recursive: true })
    const switched = source.is === 'folder' ? await fromFolder(wanted, source.dir, part) : await fromGit(wanted, part)
    if (!(await stat(path.join(part, 'main.py')).catch(() => null)))
      throw new AppError('install.no-source', { source: from, reason: 'there is no main.py' })
    await removeDir(to)
    await rename(part, to)
    const said = await readFile(path.join(to, 'comfyui_version.py'), 'utf8').catch(() => '')
    const commit = await git(['rev-parse', 'HEAD'], { ...command, cwd: to }).catch(() => null)
    const own = await stat(path.join(to, '.git')).catch(() => null) // a folder above may be a repository too
    return { version: /__version__\s*=\s*["']([^"']+)/.exec(said)?.[1] ?? null, commit: own ? commit : null, switched }
  } catch (cause) {
    await removeDir(part)
    command.signal?.throwIfAborted()
    if (cause instanceof CommandFailed)
      throw new AppError('install.no-source', { source: from, reason: cause.message }, { cause })
    throw cause
  }
}

const git = async (args: readonly string[], options: CommandOptions) =>
  (await runCommand('git', ['-c', 'core.longpaths=true', '-c', 'advice.detachedHead=false', ...args], options)).trim()

async function fromFolder({ ref, command }: SourceWanted, dir: string, part: string): Promise<readonly Switched[]> {
  const repository = await stat(path.join(dir, '.git')).catch(() => null)
  const clean =
    repository && (ref !== null || (await git(['status', '--porcelain', '-uno'], { ...command, cwd: dir })) === '')
  if (clean) {
    await git(['clone', '--no-hardlinks', '--no-checkout', '--quiet', dir, part], command)
    const commit = await git(['rev-parse', `${ref ?? 'HEAD'}^{commit}`], { ...command, cwd: dir })
    await git(['checkout', '--detach', '--quiet', commit], { ...command, cwd: part })
    return []
  }
  if (ref !== null)
    throw new AppError('install.no-source', { source: dir, reason: `it is no repository that holds ${ref}` })
  await cp(dir, part, {
    recursive: true,
    filter: (from) => {
      const within = path.relative(dir, from)
      return !NOT_SOURCE.test(within) && path.basename(from) !== '__pycache__'
    },
  })
  return []
}

async function fromGit(wanted: SourceWanted, part: string): Promise<readonly Switched[]> {
  const { addresses, command, dispatcher, like } = wanted
  const { signal } = command
  const hasGit = await git(['--version'], command).then(
    () => true,
    () => false,
  )
  signal?.throwIfAborted()
  const [first] = addresses
  const canonical = wanted.source.is === 'git' ? wanted.source.url : first!
  const ref = wanted.ref ?? (await newestRelease(wanted, hasGit, canonical, dispatcher, signal))
  if (!hasGit) return fromArchive(wanted, ref, part)
  try {
    const { switched } = await fromAny(
      addresses,
      async (address) => {
        await removeDir(part)
        await git(['init', '--quiet', part], command)
        const within = { ...command, cwd: part }
        await git(['remote', 'add', 'origin', canonical], within)
        if (like && (await stat(path.join(like, '.git')).catch(() => null)))
          await git(['fetch', '--quiet', '--depth', '1', like, 'HEAD'], within).catch(() => {})
        await git(['fetch', '--depth', '1', '--no-tags', address, ref], within)
        await git(['checkout', '--detach', '--quiet', 'FETCH_HEAD'], within)
      },
      signal,
    )
    return switched
  } catch (cause) {
    signal?.throwIfAborted()
    if (!/^https?:\/\/github\.com\//.test(canonical)) throw cause
    return fromArchive(wanted, ref, part)
  }
}

async function newestRelease(
  { addresses, command }: SourceWanted,
  hasGit: boolean,
  canonical: string,
  dispatcher: Dispatcher,
  signal: AbortSignal | undefined,
): Promise<string> {
  if (!hasGit) return (await latestTag(`${canonical.replace(/\.git$/, '')}/releases`, dispatcher, signal)) ?? 'HEAD'
  const { value } = await fromAny(
    addresses,
    (address) => git(['ls-remote', '--tags', '--refs', address, 'v*'], command),
    signal,
  )
  return newestTag(value) ?? 'HEAD'
}

/** `<commit>\trefs/tags/v0.33.0` a line. Pure. */
export function newestTag(listed: string): string | null {
  const tags = [...listed.matchAll(/\trefs\/tags\/(v\d+(?:\.\d+)+)$/gm)].map(([, tag]) => tag!)
  return tags.toSorted((a, b) => b.localeCompare(a, 'en', { numeric: true }))[0] ?? null
}

/** Without git, or where no mirror speaks it. */
async function fromArchive(
  { addresses, to, python, dispatcher, command, onBytes }: SourceWanted,
  ref: string,
  part: string,
) {
  const archive = `${to}.zip`
  const { switched } = await fetchFile({
    addresses: addresses.map((address) => `${address.replace(/\.git$/, '')}/archive/${encodeURIComponent(ref)}.zip`),
    to: archive,
    limitBytes: ARCHIVE_LIMIT_BYTES,
    dispatcher,
    signal: command.signal,
    onBytes,
  })
  const unpacked = `${part}-zip`
  await removeDir(unpacked)
  await runCommand(python, ['-m', 'zipfile', '-e', archive, unpacked], command)
  const [inside] = await readdir(unpacked)
  await rename(path.join(unpacked, inside!), part)
  await removeDir(unpacked)
  await rm(archive, { force: true })
  return switched
}
