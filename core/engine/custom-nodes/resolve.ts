import { mkdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import type { LeftOut, NodeClash, NodePlan, NodeRequirement, PackageChange } from '../../contract/custom-node.ts'
import { AppError } from '../../contract/errors.ts'
import { CommandFailed, type CommandOptions, runCommand } from '../install/command.ts'
import { normal } from '../install/lock.ts'
import { fromAny } from '../install/uv.ts'
import { CORE_PACKAGES, GPU_PACKAGES, othersOf, suffices, type Wanted } from './requirements.ts'

export interface Resolver {
  readonly uv: string
  readonly python: string
  readonly command: CommandOptions
  /** Its own; what uv is given lies here. */
  readonly workDir: string
  /** In the order to try; empty: `findLinks` alone. */
  readonly indexes: readonly string[]
  readonly findLinks: string | null
  readonly limitMs: number
}
interface Demands {
  /** ComfyUI's own lines, as those of a folder `comfyui`. */
  readonly comfyui: readonly Wanted[]
  /** Of the custom nodes that stay. */
  readonly others: readonly Wanted[]
  readonly wanted: readonly Wanted[]
  readonly mayBuild: boolean
}
export interface Resolved extends Pick<NodePlan, 'packages' | 'locked' | 'clashes' | 'builds'> {
  readonly leftOut: readonly LeftOut[]
  /** What of the wanted can be had together. */
  readonly taken: readonly Wanted[]
}

export const COMFYUI = 'comfyui'
const GPU = 'gpu'
const LONGEST_REASON = 1_500
const UNREACHABLE =
  /error sending request|timed out|connection (?:reset|refused|closed)|dns error|too many requests|bad gateway/i

/** Name → version of what is installed; of an address, the address. */
export async function installedIn({ uv, python, command }: Pick<Resolver, 'uv' | 'python' | 'command'>) {
  const said = await runCommand(uv, ['pip', 'freeze', '--python', python], command)
  return new Map(
    [...said.matchAll(/^([\w.-]+)(?:==| @ )(\S+)\s*$/gm)].map(
      ([, name, version]) => [normal(name!), version!] as const,
    ),
  )
}

/** Packages that stay as they are, and NumPy, which others were built against. Pure. */
export function locksOf(installed: ReadonlyMap<string, string>): { package: string; version: string; line: string }[] {
  const locks: { package: string; version: string; line: string }[] = []
  for (const [name, version] of installed) {
    if (/:\/\//.test(version)) continue
    if (GPU_PACKAGES.test(name) || CORE_PACKAGES.test(name))
      locks.push({ package: name, version, line: `${name}==${version}` })
    const major = name === 'numpy' ? /^(\d+)\./.exec(version)?.[1] : undefined
    if (major !== undefined) locks.push({ package: name, version, line: `numpy>=${version},<${Number(major) + 1}` })
  }
  return locks
}

/**
 * What installing `wanted` would do to what is installed, so that all that is there goes on having what it requires.
 * Nothing is changed. What cannot be had together is named and left out.
 * @throws AppError 'nodes.resolve-failed' | 'nodes.too-long'
 */
export async function resolve(resolver: Resolver, demands: Demands): Promise<Resolved> {
  await mkdir(resolver.workDir, { recursive: true })
  const within = new Limit(resolver)
  const timed: Resolver = { ...resolver, command: { ...resolver.command, signal: within.signal } }
  try {
    return await resolveWithin(timed, demands, within)
  } catch (cause) {
    resolver.command.signal?.throwIfAborted()
    if (within.signal.aborted) throw within.failure()
    throw cause
  }
}

/** Packages may run for ever when they are built. */
class Limit {
  readonly signal: AbortSignal
  readonly #seconds: number
  #building: string | null = null
  constructor({ limitMs, command }: Resolver) {
    this.#seconds = Math.round(limitMs / 1000)
    this.signal = AbortSignal.any([AbortSignal.timeout(limitMs), ...(command.signal ? [command.signal] : [])])
  }
  hear(line: string) {
    this.#building = /^\s*Building (\S+)/.exec(line)?.[1] ?? this.#building
  }
  failure() {
    return new AppError('nodes.too-long', { what: this.#building ?? 'uv', seconds: this.#seconds })
  }
}

async function resolveWithin(resolver: Resolver, demands: Demands, limit: Limit): Promise<Resolved> {
  const installed = await installedIn(resolver)
  const locks = locksOf(installed)
  const kept = await satisfied(resolver, [...demands.comfyui, ...demands.others])
  const { wanted, leftOut, clashes, never } = oneOfEach(demands.wanted, [...kept], installed)
  const broken = await inconsistent(resolver)
  await write(
    resolver,
    'installed.txt',
    [...installed.keys()].filter((name) => !broken.has(name)),
  )
  await write(
    resolver,
    'kept.txt',
    kept.map(({ spec }) => spec),
  )
  await write(
    resolver,
    'locked.txt',
    locks.map(({ line }) => line),
  )
  await write(
    resolver,
    'never.txt',
    never.map((name) => `${name} ; sys_platform == 'never'`),
  )

  const attempt = (lines: readonly Wanted[]) => dryRun(resolver, lines, demands.mayBuild, limit)
  const owners: Owner[] = [
    ...locks.map(({ package: name, line }) => ({
      package: name,
      who: GPU_PACKAGES.test(name) ? GPU : COMFYUI,
      wants: line,
    })),
    ...kept.flatMap((each) =>
      each.package === null ? [] : [{ package: each.package, who: each.folder, wants: each.line }],
    ),
  ]
  const taken = [...wanted]
  let told: string[]
  for (;;) {
    const run = await attempt(taken)
    if (run.ok) {
      told = run.lines
      break
    }
    const text = run.lines.join('\n')
    const ofALine = taken.some(
      ({ url }) => url !== null && text.includes(URL.parse(url.replace(/^git\+/, ''))?.host ?? url),
    )
    if (UNREACHABLE.test(text) && !/No solution found/.test(text) && !ofALine)
      throw new AppError('nodes.resolve-failed', { reason: reasonIn(run.lines) })
    const culprit = await culpritAmong(taken, run.lines, attempt)
    if (culprit === null) throw new AppError('nodes.resolve-failed', { reason: reasonIn(run.lines) })
    const [line] = taken.splice(culprit.at, 1)
    clashes.push(clashOf(line!, culprit.lines, owners, taken))
  }
  const packages = changesIn(told)
  for (const lock of locks) {
    const changed = packages.find((change) => change.package === lock.package)
    if (changed && lock.package !== 'numpy')
      throw new AppError('nodes.locked-changed', {
        who: taken.map(({ folder }) => folder)[0] ?? '?',
        package: lock.package,
        wanted: lock.version,
        found: changed.to ?? '-',
      })
  }
  const builds = demands.mayBuild ? await builtAmong(resolver, packages) : []
  const locked = locks.map(({ package: name, version }) => ({ package: name, version }))
  return { packages, locked, clashes, builds, leftOut, taken }
}

/** Those that nobody has built for this system. */
async function builtAmong(resolver: Resolver, packages: readonly PackageChange[]): Promise<string[]> {
  const builds: string[] = []
  for (;;) {
    const others = packages.filter((each) => each.to !== null && !builds.includes(each.package))
    if (others.length === 0) return builds
    const ready = others.flatMap((each) => ['--only-binary', each.package])
    const { ok, lines } = await pip(resolver, ['--dry-run', ...ready], true)
    const text = lines.join('\n')
    const found = ok ? undefined : others.find((each) => mentions(text, each.package))
    if (found === undefined) return builds
    builds.push(found.package)
  }
}

/** Of packages that bring the same module only one may be there. Pure. */
function oneOfEach(wanted: readonly Wanted[], kept: readonly Wanted[], installed: ReadonlyMap<string, string>) {
  const [leftOut, clashes, never]: [LeftOut[], NodeClash[], string[]] = [[], [], []]
  const chosen = new Map<string, string>() // the first of a group → what is there or will be
  const groupOf = (name: string) => [name, ...othersOf(name)].toSorted()[0]!
  for (const name of installed.keys()) if (othersOf(name).length > 0) chosen.set(groupOf(name), name)
  for (const { package: name } of wanted.toSorted((a, b) => (b.package ?? '').length - (a.package ?? '').length))
    if (name !== null && othersOf(name).length > 0 && !chosen.has(groupOf(name))) chosen.set(groupOf(name), name)
  const left = wanted.filter((line) => {
    const name = line.package
    const there = name === null ? undefined : chosen.get(groupOf(name))
    if (name === null || there === undefined || there === name || installed.has(name)) return true
    const { spec: _, url: __, ...told } = line
    if (suffices(there, name)) leftOut.push({ ...told, reason: 'same' })
    else {
      const owners = kept.filter((each) => each.package === there)
      const against = owners.map((each) => ({ who: each.folder, wants: each.line }))
      const wants = installed.has(there) ? `${there}==${installed.get(there)}` : there
      clashes.push({
        package: name,
        wants: told,
        against: against.length > 0 ? against : [{ who: COMFYUI, wants }],
        because: 'clash',
        reason: `${name}, ${there}`,
      })
    }
    return false
  })
  for (const there of chosen.values()) for (const other of othersOf(there)) if (!installed.has(other)) never.push(other)
  return { wanted: left, leftOut, clashes, never }
}

// ---- asking uv ----

const write = ({ workDir }: Resolver, name: string, lines: readonly string[]) =>
  writeFile(path.join(workDir, name), `${lines.join('\n')}\n`)

/** Packages that others' demands on are not met already; they are not held to anything. */
async function inconsistent({ uv, python, command }: Resolver): Promise<Set<string>> {
  const { lines } = await ask(uv, ['pip', 'check', '--python', python], command)
  return new Set(lines.flatMap((line) => /^The package `([\w.-]+)/.exec(line)?.[1] ?? []).map(normal))
}

/** The lines that what is installed meets already: they must be met afterwards too. */
async function satisfied(resolver: Resolver, lines: readonly Wanted[]): Promise<Wanted[]> {
  const asked = lines.filter(({ url }) => url === null)
  if (asked.length === 0) return []
  await write(
    resolver,
    'check.txt',
    asked.map(({ spec }) => spec.replace(/ --hash=\S+/g, '')),
  )
  const { uv, python, command, workDir } = resolver
  const args = ['--dry-run', '--offline', '--no-index', '--no-deps', '--no-build', '-r', 'check.txt']
  const run = await ask(uv, ['pip', 'install', '--python', python, ...args], { ...command, cwd: workDir })
  if (run.ok && run.lines.some((line) => /Would make no changes/.test(line))) return asked
  if (asked.length === 1) return []
  const half = asked.length >> 1
  return [...(await satisfied(resolver, asked.slice(0, half))), ...(await satisfied(resolver, asked.slice(half)))]
}

interface Run {
  readonly ok: boolean
  readonly lines: string[]
}
async function dryRun(resolver: Resolver, wanted: readonly Wanted[], mayBuild: boolean, limit: Limit): Promise<Run> {
  await write(
    resolver,
    'wanted.txt',
    wanted.map(({ spec }) => spec),
  )
  return pip(resolver, ['--dry-run'], mayBuild, (line) => limit.hear(line))
}

/**
 * Installs what was resolved, into another Python that has the same packages. `planned`: the versions that were told.
 * @throws CommandFailed
 */
export async function installResolved(
  resolver: Resolver,
  { packages, taken }: Pick<Resolved, 'packages' | 'taken'>,
  mayBuild: boolean,
  { limitMs, onLine }: { limitMs: number; onLine?: (line: string) => void },
) {
  const limit = new Limit({ ...resolver, limitMs })
  const pins = packages
    .filter(({ to }) => to !== null && !/:\/\//.test(to))
    .map((each) => `${each.package}==${each.to}`)
  await write(
    resolver,
    'wanted.txt',
    taken.map(({ spec }) => spec),
  )
  await write(resolver, 'planned.txt', pins)
  const timed = { ...resolver, command: { ...resolver.command, signal: limit.signal } }
  try {
    const run = await pip(timed, ['-c', 'planned.txt'], mayBuild, (line) => {
      limit.hear(line)
      onLine?.(line)
    })
    if (!run.ok) throw new CommandFailed('uv', reasonIn(run.lines), run.lines)
  } catch (cause) {
    resolver.command.signal?.throwIfAborted()
    if (limit.signal.aborted) throw limit.failure()
    throw cause
  }
}

/** All of it in one go, so that uv sees what must hold together. */
async function pip(
  { uv, python, command, workDir, indexes, findLinks }: Resolver,
  args: readonly string[],
  mayBuild: boolean,
  onLine?: (line: string) => void,
): Promise<Run> {
  const links = findLinks === null ? [] : ['--find-links', findLinks]
  const files = [
    '-r',
    'installed.txt',
    '-r',
    'kept.txt',
    '-r',
    'wanted.txt',
    '-c',
    'locked.txt',
    '--overrides',
    'never.txt',
  ]
  const building = mayBuild
    ? ['xformers', 'flash-attn', 'torch', 'triton'].flatMap((name) => ['--only-binary', name]) // hours, and a compiler
    : ['--no-build']
  const from = (index: string) => (index === '' ? ['--no-index'] : ['--default-index', index])
  const attempt = async (index: string) => {
    const run = await ask(
      uv,
      ['pip', 'install', '--python', python, ...args, ...files, ...building, ...from(index), ...links],
      { ...command, cwd: workDir }, // relative, since a list of files is split at spaces
      onLine,
    )
    if (!run.ok) throw new CommandFailed('uv', 'failed', run.lines)
    return run
  }
  try {
    return (await fromAny(indexes.length > 0 ? indexes : [''], attempt, command.signal)).value
  } catch (cause) {
    if (!(cause instanceof CommandFailed)) throw cause
    return { ok: false, lines: [...cause.lines] }
  }
}

async function ask(
  program: string,
  args: readonly string[],
  command: CommandOptions,
  onLine?: (line: string) => void,
): Promise<Run> {
  const lines: string[] = []
  const hear = (line: string) => {
    lines.push(line)
    onLine?.(line)
  }
  try {
    await runCommand(program, args, { ...command, onLine: hear })
    return { ok: true, lines }
  } catch (cause) {
    if (!(cause instanceof CommandFailed)) throw cause
    return { ok: false, lines }
  }
}

/** What a run says it would change. Pure. */
export function changesIn(lines: readonly string[]): PackageChange[] {
  const found = new Map<string, { from: string | null; to: string | null }>()
  for (const line of lines) {
    const [, sign, name, version] = /^ ([-+~]) ([\w.-]+)(?:==(\S+)| @ (?:\S+))?/.exec(line) ?? []
    if (!sign || !name) continue
    const key = normal(name)
    const change = found.get(key) ?? { from: null, to: null }
    const shown = /\(from ([^)]+)\)/.exec(line)?.[1] ?? version ?? ''
    if (sign === '-') change.from = version ?? shown
    else if (sign === '+') change.to = shown
    found.set(key, change)
  }
  return [...found].filter(([, { from, to }]) => from !== to).map(([name, change]) => ({ package: name, ...change }))
}

// ---- whom to name ----

interface Owner {
  readonly package: string
  readonly who: string
  readonly wants: string
}

/** The first line without which those before it are well; null: it is none of them. */
async function culpritAmong(
  lines: readonly Wanted[],
  said: readonly string[],
  attempt: (lines: readonly Wanted[]) => Promise<Run>,
): Promise<{ at: number; lines: readonly string[] } | null> {
  // uv names packages; where only one line is of those, it is asked alone
  const text = said.join('\n')
  const named = lines.flatMap((line, at) => (line.package !== null && mentions(text, line.package) ? [at] : []))
  for (const at of named.length <= 2 ? named : []) {
    const run = await attempt([lines[at]!])
    if (!run.ok) return { at, lines: run.lines }
  }
  let [well, ill] = [0, lines.length]
  let told = said
  while (ill - well > 1) {
    const middle = (well + ill) >> 1
    const run = await attempt(lines.slice(0, middle))
    if (run.ok) well = middle
    else [ill, told] = [middle, run.lines]
  }
  if (well === 0) {
    const alone = await attempt([])
    if (!alone.ok) return null
  }
  return lines.length === 0 ? null : { at: ill - 1, lines: told }
}

const mentions = (text: string, name: string) =>
  new RegExp(`(?<![\\w.-])${name.replace(/[-_.]+/g, '[-_.]+')}(?![\\w-]|\\.[a-z])`, 'i').test(text)

function clashOf(line: Wanted, said: readonly string[], owners: readonly Owner[], rest: readonly Wanted[]): NodeClash {
  const reason = reasonIn(said)
  const others = rest.flatMap((each) =>
    each.package === null ? [] : [{ package: each.package, who: each.folder, wants: each.line }],
  )
  const named = [...owners, ...others].filter((owner) => mentions(reason, owner.package))
  const of = (name: string | null) => named.filter((owner) => owner.package === name)
  // those whose very words uv repeats, else who wants something of the same package, else of any that is in the way
  const bare = (text: string) => text.replace(/\s/g, '')
  const quoted = named.filter(({ wants }) => /[<>=!~]/.test(wants) && bare(reason).includes(bare(wants)))
  const chosen = quoted.length > 0 ? quoted : of(line.package).length > 0 ? of(line.package) : named
  const against = chosen.map(({ who, wants }) => ({ who, wants }))
  const build =
    /no usable wheels|building from source is disabled|Building source distributions|Failed to build|build backend|Failed to (?:prepare|parse) /i
  const because = build.test(said.join('\n'))
    ? 'build'
    : against.some(({ who }) => who === GPU)
      ? 'gpu'
      : against.length > 0 && /unsatisfiable|conflict/i.test(reason)
        ? 'clash'
        : 'missing'
  const { spec: _, url: __, ...wants } = line
  const unique = [...new Map(against.map((each) => [`${each.who} ${each.wants}`, each])).values()]
  return { package: line.package ?? line.line, wants, against: unique.slice(0, 8), because, reason }
}

/** What uv said of its failing, without what is only advice. */
function reasonIn(lines: readonly string[]): string {
  const at = lines.findIndex((line) => /^error:|^\s*×/.test(line))
  const told = (at < 0 ? lines.slice(-10) : lines.slice(at))
    .filter((line) => !/^(?:hint|warning)?:?\s*$/.test(line.trim()))
    .map((line) => line.replace(/^\s*(?:error:|cause:|×|[├╰]─▶|│)\s*/, '').trim())
  return told
    .join(' ')
    .replace(/(:\/\/)[^/\s]*@/g, '$1')
    .slice(0, LONGEST_REASON)
}

/** For a person: who is in the way. */
export const namesOf = ({ against, because }: NodeClash): string =>
  against.length === 0 ? because : against.map(({ who, wants }) => `${who} (${wants})`).join(', ')
export const isLine = (line: NodeRequirement, folder: string, text: string) =>
  line.folder === folder && line.line === text
