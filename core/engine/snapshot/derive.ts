import { mkdir, rename, rm, utimes, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { AppError } from '../../contract/errors.ts'
import type { Manifest, SealedManifest } from '../../contract/snapshot.ts'
import { CommandFailed, type CommandOptions, runCommand } from '../install/command.ts'
import { removeDir } from '../install/generations.ts'
import { filesIn, normal } from '../install/lock.ts'
import { fromAny } from '../install/uv.ts'
import { capture } from './capture.ts'
import type { Depot } from './depot.ts'
import { askPython, type PythonFacts } from './environment.ts'
import type { KeepNews } from './keep.ts'
import { readManifests, seal, writeManifest } from './manifest.ts'
import { carryOutPush, planPush, pull } from './push.ts'
import { closureOf, type Layout, layoutOf } from './restore.ts'
import { environmentIn, isOfThisSystem, placesIn, restoreLayers, settle } from './restore-environment.ts'
import type { ObjectStore } from './store.ts'

/** What builds, and from where it has what it needs; each list in the order to try. */
export interface Builder {
  /** The program; see findUv. */
  readonly uv: string
  readonly indexes: readonly string[]
  /** Of PyTorch's build for this machine's card; empty: the ordinary index has it. */
  readonly torchIndexes: readonly string[]
  readonly pythonBuilds: readonly string[]
  /** A folder of wheels. */
  readonly findLinks: string | null
}
export interface DeriveOptions {
  readonly builder: Builder
  /** Emptied first, and gone afterwards. */
  readonly buildDir: string
  /** null: uv finds or brings one of the snapshot's version. */
  readonly python: string | null
  readonly creator: string
  readonly signingKey: string | null
  readonly now: () => number
  readonly threads: number
  /** With uvEnvironment. */
  readonly command: CommandOptions
  readonly signal?: AbortSignal
  readonly onNews?: (news: { step: DeriveStep } & Pick<KeepNews, 'bytes' | 'totalBytes'>) => void
}
export type DeriveStep = 'python' | 'sources' | 'packages' | 'keep'

/**
 * A snapshot for this platform out of one for another: the same source, custom nodes and settings, the same versions of
 * packages built for here. Made once; then that is restored exactly, like any. `left`: what is not as it was, and why.
 * @throws AppError 'snapshot.packages-gone' that names each that is nowhere, 'snapshot.build-failed'
 */
export async function deriveSnapshot(
  store: ObjectStore,
  sealed: SealedManifest,
  options: DeriveOptions,
): Promise<{ sealed: SealedManifest; left: { path: string; what: string }[] }> {
  const { buildDir, builder, command, threads, signal, signingKey, creator, now, onNews } = options
  const { manifest } = sealed
  const log = command.log
  const step = async <T>(name: DeriveStep, act: () => Promise<T>): Promise<T> => {
    onNews?.({ step: name, bytes: 0, totalBytes: 0 })
    try {
      return await act()
    } catch (cause) {
      signal?.throwIfAborted()
      if (!(cause instanceof CommandFailed)) throw cause
      throw new AppError('snapshot.build-failed', { step: name, reason: cause.message, log }, { cause })
    }
  }
  await rm(buildDir, { recursive: true, force: true })
  await mkdir(buildDir, { recursive: true })
  try {
    const python = await step('python', () => pythonOfVersion(manifest.python.version, options))
    const where = environmentIn(buildDir)
    const facts = await step('sources', async () => {
      await runCommand(python, ['-I', '-m', 'venv', '--without-pip', path.join(buildDir, 'venv')], command)
      const layers = manifest.layers.filter(({ name }) => name !== 'packages' && name !== 'programs')
      await restoreLayers(store, layers, buildDir, { threads, signal })
      return askPython(where.python, command)
    })
    const left = await step('packages', async () => {
      const { torch, others, edited, left } = planPackages(manifest, process.platform)
      const installer = new Installer(store, manifest, where.python, facts, options)
      await installer.installTorch(torch)
      await installer.installPinned(others)
      for (const { source, name } of edited) {
        const dir = path.join((await placesIn(buildDir)).sources, source)
        await installer.install(['--no-deps', '--editable', dir], builder.indexes)
        left.push({ path: name, what: 'it was built anew from its source' })
      }
      await installer.installMissing([...torch, ...others])
      return left
    })
    await settle({ ...manifest, places: [] }, buildDir, buildDir)
    // else every start of an instance would do it; what cannot be compiled is not imported either
    await runCommand(where.python, ['-m', 'compileall', '-q', '-j', '0', facts.packagesDir], command).catch((cause) => {
      signal?.throwIfAborted()
      if (!(cause instanceof CommandFailed)) throw cause
    })
    const flags = manifest.launch.flags
    const captured = await step('keep', () =>
      capture(
        store,
        { ...where, nodesDir: path.join(where.base, 'custom_nodes') },
        {
          name: manifest.name,
          creator,
          now,
          flags,
          models: manifest.models,
          nodeClasses: manifest.nodeClasses,
          derivedFrom: sealed.id,
        },
        { threads, command, signal, onNews: (news) => onNews?.({ step: 'keep', ...news }) },
      ),
    )
    // the source has been kept as it was; what its repositories said is known from there
    const { comfyui, nodes, modelFolders } = manifest
    const derived = seal({ ...captured.manifest, comfyui, nodes, ...(modelFolders && { modelFolders }) }, signingKey)
    await writeManifest(store.snapshotsDir, derived)
    return { sealed: derived, left: [...left, ...builtInPlace(store, manifest)] }
  } finally {
    await removeDir(buildDir)
  }
}

export interface ExactOptions {
  /** Where others that share it find what was built; null: it stays here. */
  readonly depot: Depot | null
  /** Asked only where one has to be built. */
  readonly build: () => Promise<DeriveOptions>
  readonly signal?: AbortSignal
  readonly onNews?: (news: { bytes: number; totalBytes: number }) => void
}

/**
 * What can be restored here exactly: the snapshot itself, the one that was built from it for this system before, or one
 * that is built now.
 * @throws AppError 'snapshot.*', 'install.unreachable'
 */
export async function exactSnapshot(
  store: ObjectStore,
  sealed: SealedManifest,
  { depot, build, signal, onNews }: ExactOptions,
): Promise<SealedManifest> {
  if (isOfThisSystem(sealed.manifest)) return sealed
  const fits = ({ manifest }: SealedManifest) => manifest.derivedFrom === sealed.id && isOfThisSystem(manifest)
  for (const here of (await readManifests(store.snapshotsDir)).filter(fits)) if (isComplete(store, here)) return here
  for (const id of (await depot?.snapshots(signal)) ?? []) {
    const there = await depot!.getSnapshot(id, signal)
    if (!there || !fits(there.sealed)) continue
    const tell = (news: { sentBytes: number; totalBytes: number }) =>
      onNews?.({ bytes: news.sentBytes, totalBytes: news.totalBytes })
    const pulled = await pull(store, id, depot!, { signal, onNews: tell })
    await writeManifest(store.snapshotsDir, pulled)
    return pulled
  }
  const { sealed: derived } = await deriveSnapshot(store, sealed, await build())
  if (depot) await carryOutPush(store, await planPush(store, derived, depot, { signal, models: [] }), depot, { signal })
  return derived
}

const isComplete = (store: ObjectStore, { manifest }: SealedManifest) => keysIn(store, manifest).length > 0

/** All it is made of; none where a part of it was removed. */
export function keysIn(store: ObjectStore, manifest: Manifest): string[] {
  try {
    return [...closureOf(store, manifest)]
  } catch {
    return []
  }
}

/** A Python of that version, or at least of its minor one, brought where there is none. */
export async function pythonOfVersion(
  version: string,
  { python, builder, command, signal }: Pick<DeriveOptions, 'python' | 'builder' | 'command' | 'signal'>,
): Promise<string> {
  if (python !== null) return python
  if (!/^\d[\w.+]*$/.test(version))
    throw new AppError('snapshot.unsafe', { path: version, reason: 'it is no version of Python' })
  const minor = version.split('.').slice(0, 2).join('.')
  const find = (wanted: string) => runCommand(builder.uv, ['python', 'find', wanted], command)
  for (const wanted of [version, minor]) {
    const found = await find(wanted).catch(() => null)
    if (found !== null) return found.trim()
  }
  signal?.throwIfAborted()
  const builds = builder.pythonBuilds.length > 0 ? builder.pythonBuilds : ['']
  const install = (wanted: string) =>
    fromAny(
      builds,
      (mirror) =>
        runCommand(builder.uv, ['python', 'install', wanted], {
          ...command,
          env: { ...command.env, ...(mirror !== '' && { UV_PYTHON_INSTALL_MIRROR: mirror }) },
        }),
      signal,
    )
  try {
    await install(version)
    return (await find(version)).trim()
  } catch (cause) {
    signal?.throwIfAborted()
    if (!(cause instanceof CommandFailed)) throw cause
    await install(minor) // not every patch was built for everywhere
    return (await find(minor)).trim()
  }
}

const TORCH = new Set(['torch', 'torchvision', 'torchaudio'])
/** PyTorch says itself which of these its build for a card needs. */
const OF_TORCH =
  /^(?:nvidia-|cuda-|pytorch-triton|triton$|triton-(?:windows|rocm|xpu)$|intel-(?:cmplr|sycl|opencl|pti)|mkl$|tbb$)/
const OF_ONE_SYSTEM: Partial<Record<NodeJS.Platform, RegExp>> = {
  win32:
    /^(?:pywin32|pywinpty|pypiwin32|win32-.+|windows-.+|winsdk|winrt-.+|wmi|comtypes|pyreadline3?|python-magic-bin)$/,
  darwin: /^(?:pyobjc.*|appnope|mlx.*|coremltools)$/,
  linux: /^(?:uvloop|python-apt|evdev|jeepney|secretstorage)$/,
}

/** What is to be installed for another system, in uv's words. Pure. */
export function planPackages({ packages, places = [] }: Manifest, target: NodeJS.Platform) {
  const torch: string[] = []
  const others: string[] = []
  const edited: { name: string; source: string }[] = []
  const left: { path: string; what: string }[] = []
  for (const { name, version, url } of packages) {
    if (!/^\w[\w.-]*$/.test(name) || !/^\w[\w.+!-]*$/.test(version)) {
      left.push({ path: name, what: 'it is no name and version of a package' }) // but an option, or a path
      continue
    }
    const key = normal(name)
    const plain = version.replace(/\+.*$/, '') // +cu128 is of the other machine's card
    const foreign = Object.entries(OF_ONE_SYSTEM).find(([system, only]) => system !== target && only.test(key))
    const source = url === null ? null : sourceOf(url, places)
    if (OF_TORCH.test(key)) continue
    if (TORCH.has(key)) torch.push(`${name}==${plain}`)
    else if (foreign) left.push({ path: name, what: `it is for ${foreign[0]} alone` })
    else if (source !== null) edited.push({ name, source })
    else if (url !== null && /^(?:git|hg|svn|bzr)\+/.test(url)) others.push(`${name} @ ${url}`)
    // a wheel's address is of one platform, unless its name says otherwise
    else if (url !== null && /^https?:/.test(url) && (!/\.whl(?:#|$)/.test(url) || /-none-any\.whl/.test(url)))
      others.push(`${name} @ ${url}`)
    else others.push(`${name}==${plain}`)
  }
  return { torch, others, edited, left }
}

/** `0/inner` of the layer of sources; null: it was not installed from one. */
function sourceOf(url: string, places: NonNullable<Manifest['places']>): string | null {
  if (!url.startsWith('file:')) return null
  let dir: string
  try {
    dir = fileURLToPath(url.replace(/#.*$/, ''))
  } catch {
    return null // it is a path of another system
  }
  const place = places.find(({ at, was }) => at.startsWith('sources/') && (dir === was || dir.startsWith(`${was}/`)))
  return place ? place.at.slice('sources/'.length) + dir.slice(place.was.length) : null
}

class Installer {
  readonly #store: ObjectStore
  readonly #manifest: Manifest
  readonly #python: string
  readonly #facts: PythonFacts
  readonly #options: DeriveOptions

  constructor(store: ObjectStore, manifest: Manifest, python: string, facts: PythonFacts, options: DeriveOptions) {
    this.#store = store
    this.#manifest = manifest
    this.#python = python
    this.#facts = facts
    this.#options = options
  }

  async install(args: readonly string[], indexes: readonly string[]) {
    if (args.length === 0) return
    const { builder, signal } = this.#options
    const links = builder.findLinks === null ? [] : ['--find-links', builder.findLinks]
    if (indexes.length === 0) return void (await this.#uv(['install', '--no-index', ...links, ...args]))
    const beside = indexes === builder.torchIndexes ? builder.indexes[0] : undefined
    await fromAny(
      indexes,
      // what an index of PyTorch lacks, such as its own needs, is had from the ordinary one
      (index) => this.#uv(['install', ...links, ...(beside ? ['--index', index] : []), ...args], beside ?? index),
      signal,
    )
  }

  /** Wheels of one's own first; an index of one's own may have it too. */
  async installTorch(specs: readonly string[]) {
    const { findLinks, torchIndexes, indexes } = this.#options.builder
    if (specs.length === 0) return
    const attempts = [
      ...(findLinks === null ? [] : [() => this.install(['--no-deps', ...specs], [])]),
      ...(torchIndexes.length === 0 ? [] : [() => this.install(specs, torchIndexes)]),
      () => this.install(specs, indexes),
    ]
    for (const [n, attempt] of attempts.entries()) {
      try {
        return await attempt()
      } catch (cause) {
        this.#options.signal?.throwIfAborted()
        if (!(cause instanceof CommandFailed) || n === attempts.length - 1) throw cause
      }
    }
  }

  /** The very versions. Where an index has one no more, a package of plain Python is taken from the snapshot itself. */
  async installPinned(requirements: readonly string[]) {
    const { indexes } = this.#options.builder
    if (requirements.length === 0) return
    try {
      await this.install(['--no-deps', '-r', await this.#list('packages.txt', requirements)], indexes)
      return
    } catch (cause) {
      this.#options.signal?.throwIfAborted()
      if (!(cause instanceof CommandFailed)) throw cause
    }
    const had: string[] = []
    const gone: { requirement: string; reason: string }[] = []
    for (const requirement of requirements) {
      try {
        await this.install(['--dry-run', '--no-deps', requirement], indexes)
        had.push(requirement)
      } catch (cause) {
        this.#options.signal?.throwIfAborted()
        if (!(cause instanceof CommandFailed)) throw cause
        gone.push({ requirement, reason: cause.message })
      }
    }
    const packages = this.#manifest.layers.find(({ name }) => name === 'packages')
    const layout = packages ? layoutOf(this.#store, packages.tree) : null
    const nowhere: string[] = []
    for (const { requirement } of gone) {
      const name = /^[\w.-]+/.exec(requirement)![0]
      if (!layout || !(await this.#takeFrom(layout, name))) nowhere.push(requirement)
    }
    if (nowhere.length > 0)
      throw new AppError('snapshot.packages-gone', { packages: nowhere.join(', '), count: nowhere.length })
    if (had.length > 0) await this.install(['--no-deps', '-r', await this.#list('packages.txt', had)], indexes)
  }

  /** What packages need here and did not where they come from. */
  async installMissing(pinned: readonly string[]) {
    const said = await this.#uv(['check']).then(
      () => [],
      (cause) => {
        if (!(cause instanceof CommandFailed)) throw cause
        return cause.lines
      },
    )
    const wanted = new Set(
      said.flatMap((line) => /requires `([\w.-]+)[^`]*`, but it's not installed/.exec(line)?.[1] ?? []),
    )
    const before = new Set(this.#manifest.packages.map(({ name }) => normal(name)))
    const missing = [...wanted].filter((name) => !before.has(normal(name)) || OF_TORCH.test(normal(name)))
    if (missing.length === 0) return
    const pins = pinned.filter((line) => line.includes('=='))
    const constraint = ['--constraint', await this.#list('constraints.txt', pins)]
    // without them it was incomplete there too, so it is no reason to fail
    await this.install([...constraint, ...missing], this.#options.builder.indexes).catch((cause) => {
      this.#options.signal?.throwIfAborted()
      if (!(cause instanceof CommandFailed)) throw cause
    })
  }

  /** A package's own files, where its wheel says that they are for any platform. */
  async #takeFrom({ files }: Layout, name: string): Promise<boolean> {
    const at = new Map(files.map(({ path, entry }) => [path, entry]))
    const nameOf = (file: string) => /^([^/]+?)-[^/-]+\.dist-info\/WHEEL$/.exec(file)?.[1]
    const own = files.find(({ path: file }) => normal(nameOf(file) ?? '') === normal(name))?.path
    if (own === undefined) return false
    const read = (file: string) => {
      const entry = at.get(file)
      if (!entry) return null
      return entry.is === 'file'
        ? this.#store.read(entry.sha256)
        : Buffer.concat(entry.pieces.map(({ sha256 }) => this.#store.read(sha256)))
    }
    const wheel = read(own)!.toString('utf8')
    if (!/^Tag: .*-none-any\s*$/m.test(wheel) || /^Tag: (?!.*-none-any)/m.test(wheel)) return false
    const dir = path.posix.dirname(own)
    const listed = filesIn(read(`${dir}/RECORD`)?.toString('utf8') ?? '').map(({ name }) => name)
    const wanted = new Set([...listed, ...[...at.keys()].filter((file) => file.startsWith(`${dir}/`))])
    for (const file of wanted) {
      const bytes = at.has(file) ? read(file) : null
      if (!bytes) continue // written out of the folder of packages, such as a program
      const to = path.join(this.#facts.packagesDir, file)
      await mkdir(path.dirname(to), { recursive: true })
      await writeFile(`${to}.part`, bytes)
      const { mtime } = at.get(file)!
      await utimes(`${to}.part`, mtime, mtime)
      await rename(`${to}.part`, to)
    }
    return true
  }

  async #list(name: string, lines: readonly string[]): Promise<string> {
    await writeFile(path.join(this.#options.buildDir, name), lines.join('\n'))
    return name // relative, since a list of files is split at spaces
  }

  /** An address may hold credentials, and others can read a command line. */
  #uv([verb = '', ...args]: readonly string[], index?: string): Promise<string> {
    const { builder, command, buildDir } = this.#options
    const env = { ...command.env, ...(index !== undefined && { UV_DEFAULT_INDEX: index }) }
    return runCommand(builder.uv, ['pip', verb, '--python', this.#python, ...args], { ...command, env, cwd: buildDir })
  }
}

/** Compiled for another platform, among the code of custom nodes. */
function builtInPlace(store: ObjectStore, { layers }: Manifest): { path: string; what: string }[] {
  const nodes = layers.find(({ name }) => name === 'nodes')
  const foreign = process.platform === 'win32' ? /\.(?:so|dylib)$/ : /\.(?:pyd|dll|dylib)$/
  const native = nodes ? layoutOf(store, nodes.tree).files.filter(({ path: file }) => foreign.test(file)) : []
  return native.map(({ path: file }) => ({ path: `nodes/${file}`, what: 'it was compiled for another platform' }))
}
