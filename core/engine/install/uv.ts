import { chmod, mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import type { Dispatcher } from 'undici'
import { AppError } from '../../contract/errors.ts'
import { isJsonObject, parseJson } from '../../contract/json.ts'
import { fetchFile, fetchText, hostOf, type Switched } from '../download/fetch-file.ts'
import { openFile } from '../metadata/source.ts'
import { readZip } from '../metadata/zip.ts'
import { CommandFailed, runCommand } from './command.ts'

/** What is left of an environment for uv and what it starts: other Pythons' and installers' settings out, a person's own indexes in. */
export function uvEnvironment(
  env: NodeJS.ProcessEnv,
  { cache, pythons, proxy }: { cache: string; pythons: string; proxy: string | null },
): NodeJS.ProcessEnv {
  const kept = Object.entries(env).filter(([name]) => !NOT_INHERITED.test(name))
  const own: NodeJS.ProcessEnv = {
    UV_CACHE_DIR: cache,
    UV_PYTHON_INSTALL_DIR: pythons,
    UV_NO_CONFIG: '1',
    UV_NO_PROGRESS: '1',
    UV_SYSTEM_CERTS: '1',
    UV_NATIVE_TLS: '1', // its name before
    UV_LINK_MODE: 'hardlink',
    UV_CONCURRENT_DOWNLOADS: '6', // mirrors refuse more
    UV_HTTP_TIMEOUT: '30', // without a byte; then another source is tried
    UV_HTTP_RETRIES: '1',
    GIT_TERMINAL_PROMPT: '0',
    GCM_INTERACTIVE: 'never',
    GIT_LFS_SKIP_SMUDGE: '1',
    GIT_HTTP_LOW_SPEED_LIMIT: '1000',
    GIT_HTTP_LOW_SPEED_TIME: '30',
    PYTHONUTF8: '1',
    PYTHONDONTWRITEBYTECODE: '1', // what is checked against the lock stays as it was installed
  }
  for (const [name, as] of Object.entries(RESPECTED)) if (env[name]) own[as] = env[name]
  const all = { ...Object.fromEntries(kept), ...own }
  if (proxy === null) return all
  const without = Object.entries(all).filter(([name]) => !/^(?:https?|all)_proxy$/i.test(name))
  return {
    ...Object.fromEntries(without),
    ...(proxy !== 'none' && { HTTP_PROXY: proxy, HTTPS_PROXY: proxy, ALL_PROXY: proxy }),
  }
}
const NOT_INHERITED =
  /^(?:PYTHON(?:HOME|PATH|STARTUP|SAFEPATH|INSPECT|BREAKPOINT)|VIRTUAL_ENV.*|CONDA_.*|PIP_.*|UV_.*|NIGHTSHIFT_.*|ELECTRON_.*|NODE_OPTIONS|GIT_DIR|GIT_WORK_TREE|GIT_INDEX_FILE|__PYVENV_LAUNCHER__)$/i
const RESPECTED: Record<string, string> = {
  UV_PYTHON_DOWNLOADS: 'UV_PYTHON_DOWNLOADS',
  UV_INSECURE_HOST: 'UV_INSECURE_HOST',
  UV_HTTP_TIMEOUT: 'UV_HTTP_TIMEOUT',
  UV_HTTP_RETRIES: 'UV_HTTP_RETRIES',
  PIP_EXTRA_INDEX_URL: 'UV_EXTRA_INDEX_URL',
  UV_EXTRA_INDEX_URL: 'UV_EXTRA_INDEX_URL',
  UV_INDEX: 'UV_INDEX',
}

/** The Python index a person set up for all programs; null: none. */
export const indexSetIn = (env: NodeJS.ProcessEnv): string | null =>
  env.UV_DEFAULT_INDEX || env.UV_INDEX_URL || env.PIP_INDEX_URL || null

export interface UvWanted {
  readonly toolsDir: string
  readonly indexes: readonly string[]
  readonly dispatcher: Dispatcher
  readonly env: NodeJS.ProcessEnv
  /** With a person's own settings of pip. */
  readonly pipEnv: NodeJS.ProcessEnv
  readonly log: string
  readonly platform: NodeJS.Platform
  readonly arch: string
  /** Pythons whose pip may get it where the index cannot be read by us. */
  readonly pythons: readonly string[]
  readonly signal?: AbortSignal
  readonly onBytes?: (bytes: number, total: number | null) => void
  readonly stallMs?: number
}

/**
 * A uv that runs: the system's, the one fetched before, or its wheel from a Python index, which needs neither GitHub nor a
 * Python.
 * @throws AppError 'install.unreachable'
 */
export async function findUv(wanted: UvWanted): Promise<{ uv: string; switched: Switched[] }> {
  const { toolsDir, platform, signal } = wanted
  const program = platform === 'win32' ? 'uv.exe' : 'uv'
  const runs = async (uv: string) => {
    const { env, log } = wanted
    return /^uv \d+\.\d+/.test(await runCommand(uv, ['--version'], { env, log, signal }).catch(() => ''))
  }
  const versions = await readdir(toolsDir).catch(() => [])
  const kept = versions.filter((name) => /^\d/.test(name)).map((name) => path.join(toolsDir, name, program))
  for (const uv of ['uv', ...kept.reverse()]) if (await runs(uv)) return { uv, switched: [] }
  signal?.throwIfAborted()
  try {
    const found = await fromIndex(wanted, program)
    if (await runs(found.uv)) return found
    throw new AppError('install.unreachable', { what: 'uv', reason: 'it does not run here' })
  } catch (cause) {
    signal?.throwIfAborted()
    const uv = await fromPip(wanted, program, runs)
    if (uv === null) throw cause
    return { uv, switched: [{ from: 'index', to: 'pip', reason: (cause as Error).message }] }
  }
}

async function fromIndex(wanted: UvWanted, program: string): Promise<{ uv: string; switched: Switched[] }> {
  const { indexes, dispatcher, signal, toolsDir, platform, arch, onBytes, stallMs } = wanted
  const addresses = indexes.map((index) => `${index.replace(/\/$/, '')}/uv/`)
  const page = await fetchText({
    what: 'uv',
    addresses,
    dispatcher,
    signal,
    stallMs,
    accept: 'application/vnd.pypi.simple.v1+json, text/html;q=0.5',
    isRight: (text) => newestWheel(text, '', platform, arch) !== null,
  })
  const wheel = newestWheel(page.text, page.url, platform, arch)!
  // one file has one path on every full mirror
  const asked = [hostOf(page.url), ...page.switched.map(({ from }) => from)]
  const others = addresses.filter((address) => !asked.includes(hostOf(address)))
  const pages = await Promise.all(
    others.map((address) =>
      fetchText({ what: 'uv', addresses: [address], dispatcher, signal, stallMs, isRight: () => true }).catch(
        () => null,
      ),
    ),
  )
  const same = pages.flatMap((other) => {
    const found = other && wheelsIn(other.text, other.url).find(({ name }) => name === wheel.name)
    return found && found.sha256 === wheel.sha256 ? [found.url] : []
  })
  const to = path.join(toolsDir, wheel.name)
  const fetched = await fetchFile({
    addresses: [wheel.url, ...same],
    to,
    sha256: wheel.sha256,
    ...(wheel.sizeBytes !== null && { sizeBytes: wheel.sizeBytes }),
    limitBytes: 200_000_000,
    dispatcher,
    signal,
    stallMs,
    onBytes,
  })
  const dir = path.join(toolsDir, wheel.version)
  const uv = path.join(dir, program)
  await unpack(to, `uv-${wheel.version}.data/scripts/${program}`, uv)
  await rm(to, { force: true })
  return { uv, switched: [...page.switched, ...fetched.switched] }
}

async function unpack(wheel: string, entry: string, to: string) {
  const source = openFile(wheel)
  try {
    const found = readZip(path.basename(wheel), source).find(({ name }) => name === entry)
    if (!found) throw new AppError('install.unreachable', { what: 'uv', reason: `${entry} is not in its wheel` })
    const bytes = found.open()
    await mkdir(path.dirname(to), { recursive: true })
    await writeFile(`${to}.part`, bytes.read(0, bytes.sizeBytes), { flush: true })
    await chmod(`${to}.part`, 0o755)
    await rename(`${to}.part`, to)
  } finally {
    source.close()
  }
}

/** pip knows a person's own indexes and certificates. */
async function fromPip(
  wanted: UvWanted,
  program: string,
  runs: (uv: string) => Promise<boolean>,
): Promise<string | null> {
  const { pythons, toolsDir, pipEnv, log, signal } = wanted
  for (const python of pythons) {
    const target = path.join(toolsDir, 'pip')
    try {
      await runCommand(python, ['-m', 'pip', 'install', '--quiet', '--upgrade', '--target', target, 'uv'], {
        env: pipEnv,
        log,
        signal,
      })
    } catch (cause) {
      if (!(cause instanceof CommandFailed)) throw cause
      continue
    }
    const uv = path.join(target, 'bin', program)
    if (await runs(uv)) return uv
  }
  return null
}

export interface Wheel {
  readonly name: string
  readonly version: string
  readonly url: string
  readonly sha256: string
  readonly sizeBytes: number | null
}

/** The wheels a page of a Python index names, in HTML or JSON. Pure. */
export function wheelsIn(page: string, url: string): Wheel[] {
  const found: { name: string; href: string; sha256: string | undefined; sizeBytes: number | null }[] = []
  if (page.trimStart().startsWith('{')) {
    const { files } = parseJson(page) as { files?: unknown }
    for (const file of Array.isArray(files) ? files : []) {
      if (!isJsonObject(file) || file.yanked || typeof file.filename !== 'string' || typeof file.url !== 'string')
        continue
      const sha256 =
        isJsonObject(file.hashes) && typeof file.hashes.sha256 === 'string' ? file.hashes.sha256 : undefined
      found.push({
        name: file.filename,
        href: file.url,
        sha256,
        sizeBytes: typeof file.size === 'number' ? file.size : null,
      })
    }
  } else {
    for (const [, tag, text] of page.matchAll(/<a\s([^>]{1,2000})>([^<]{1,300})<\/a>/g)) {
      if (/data-yanked/.test(tag!)) continue
      const href = /href="([^"]+)"/.exec(tag!)?.[1]?.replaceAll('&amp;', '&') ?? ''
      found.push({ name: text!.trim(), href, sha256: /#sha256=([0-9a-f]{64})/.exec(href)?.[1], sizeBytes: null })
    }
  }
  return found.flatMap(({ name, href, sha256, sizeBytes }) => {
    const version = /^[^-]+-([^-]+)-.+\.whl$/.exec(name)?.[1]
    const base = url === '' ? 'http://none/' : url
    if (!version || !sha256 || !URL.canParse(href, base)) return []
    return [{ name, version, url: new URL(href, base).href.replace(/#.*$/, ''), sha256, sizeBytes }]
  })
}

/** Of those that run here. Pure. */
export function newestWheel(page: string, url: string, platform: NodeJS.Platform, arch: string): Wheel | null {
  let wheels: Wheel[]
  try {
    wheels = wheelsIn(page, url)
  } catch {
    return null
  }
  const fits = wheels.filter(({ name, version }) => /^\d+(\.\d+)+$/.test(version) && tagFits(name, platform, arch))
  return fits.toSorted((a, b) => b.version.localeCompare(a.version, 'en', { numeric: true }))[0] ?? null
}

function tagFits(name: string, platform: NodeJS.Platform, arch: string): boolean {
  const arm = arch === 'arm64'
  if (platform === 'win32') return name.endsWith(arm ? 'win_arm64.whl' : 'win_amd64.whl')
  if (platform === 'darwin') return new RegExp(`macosx_[\\d_]+_${arm ? 'arm64' : 'x86_64'}\\.whl$`).test(name)
  return /manylinux/.test(name) && name.endsWith(arm ? 'aarch64.whl' : 'x86_64.whl')
}

export interface UvProgress {
  readonly bytes: number
  readonly totalBytes: number | null
}

const UNITS: Record<string, number> = { KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30 }

/** Follows what uv says: files over 1 MiB as they begin and end. */
export class UvStory {
  readonly #sizes = new Map<string, number>()
  #done = 0
  #total = 0

  /** null: nothing changed. Pure but for itself. */
  hear(line: string): UvProgress | null {
    const begins = /^\s*Downloading (\S+) \(([\d.]+)([KMG]iB)\)/.exec(line)
    if (begins) {
      const bytes = Number(begins[2]) * UNITS[begins[3]!]!
      this.#sizes.set(begins[1]!, bytes)
      this.#total += bytes
    } else {
      const ends = /^\s*Downloaded (\S+)/.exec(line)
      if (!ends) return null
      this.#done += this.#sizes.get(ends[1]!) ?? 0
    }
    return { bytes: Math.round(this.#done), totalBytes: Math.round(this.#total) }
  }
}

/** Another source may have it; else it would fail there too. */
export const mayBeTheSource = (cause: unknown): boolean =>
  cause instanceof CommandFailed &&
  /error sending request|timed out|connection (?:reset|refused|closed)|dns error|\btls\b|unexpected eof|decoding response|too many requests|bad gateway|40[1347]|5\d\d |invalid package format|read from zip|extract archive|not found in the package registry|there (?:is|are) no versions? of|failed to (?:fetch|download|unzip)|could not connect|hash mismatch|could not resolve host|unable to access/i.test(
    cause.lines.join('\n'),
  )

/** Tries each source in turn; gives which failed. */
export async function fromAny<T>(
  sources: readonly string[],
  attempt: (source: string) => Promise<T>,
  signal?: AbortSignal,
): Promise<{ value: T; switched: Switched[] }> {
  const failed: { from: string; reason: string }[] = []
  for (const [at, source] of sources.entries()) {
    try {
      const value = await attempt(source)
      return { value, switched: failed.map(({ from, reason }) => ({ from, to: hostOf(source), reason })) }
    } catch (cause) {
      signal?.throwIfAborted()
      if (at === sources.length - 1 || !mayBeTheSource(cause)) throw cause
      failed.push({ from: hostOf(source), reason: (cause as Error).message.slice(0, 300) })
    }
  }
  throw new AppError('install.unreachable', { what: '', reason: 'no source is known' })
}
