import nodePath from 'node:path'
import type { HardwareReport, InstallChoices, InstallPlan, PlannedStep, TorchBuild } from '../../contract/engine.ts'
import { AppError } from '../../contract/errors.ts'
import { verdictOf } from '../../domain/machine.ts'
import { offersOf, type SpeedUpFacts, torchSpecFor } from '../../domain/speed-ups.ts'
import { addressesFor, isOrdered, type Mirror, type Mirrors, nearMirrors } from '../download/mirrors.ts'

/** What a plan is made from besides the machine. */
export interface PlanFacts {
  readonly name: string
  /** The data folder. */
  readonly dataDir: string
  readonly choices: InstallChoices
  readonly mirrors: Mirrors
  /** Such as Asia/Shanghai, and zh-CN: where mirrors may be needed. */
  readonly timeZone: string
  readonly locale: string
  /** `UV_PYTHON_DOWNLOADS=never` was said. */
  readonly noPythonDownloads: boolean
  readonly generation: string
}
/** A plan, and what is needed to carry it out. */
export interface Recipe {
  readonly plan: InstallPlan
  readonly torchSpec: string
  /** Such as https://…/whl/cu130; empty: the ordinary index has the build. */
  readonly torchIndexes: readonly string[]
  readonly indexes: readonly string[]
  /** Before /{date}/{file}. */
  readonly pythonBuilds: readonly string[]
  readonly source: Source
  readonly python: PythonChoice
  /** What speed-ups are chosen for, as far as it is known before. */
  readonly speedUpFacts: SpeedUpFacts
  /** The addresses of a file under a source, mirrors included. */
  readonly addressesIn: (source: string, path: string) => string[]
}
export type Source = { readonly is: 'folder'; readonly dir: string } | { readonly is: 'git'; readonly url: string }
export type PythonChoice =
  | { readonly is: 'program'; readonly path: string }
  /** uv finds or fetches it. */
  | { readonly is: 'version'; readonly version: string }

const MB = 1_000_000
/** Download and disk of PyTorch with its libraries, in MB; measured roughly, to plan with. */
const TORCH_MB: Record<TorchBuild, readonly [number, number]> = {
  cu118: [2_800, 5_600],
  cu126: [2_700, 6_000],
  cu128: [3_400, 7_400],
  cu130: [2_600, 6_000],
  rocm: [4_800, 16_000],
  xpu: [1_500, 4_500],
  mps: [100, 450],
  cpu: [210, 900],
}
const SIZES_MB = {
  uv: [22, 60],
  python: [30, 110],
  source: [40, 120],
  requirements: [630, 1_800],
  manager: [5, 20],
  'speed-ups': [60, 300],
} as const
const BYTES_A_SECOND = 5 * MB
const WRITES_A_SECOND = 60 * MB
const ROCM_ON_LINUX = 'rocm7.2'
const MANAGED_PYTHON = '3.12'
const OLDEST = [3, 10]
const NEWEST = [3, 13]

/** Pure. @throws AppError 'install.no-python' */
export function planInstall(report: HardwareReport, facts: PlanFacts): Recipe {
  const { name, dataDir, choices, mirrors, generation } = facts
  const path = report.platform === 'win32' ? nodePath.win32 : nodePath.posix
  const { torch: best, gpu, findings } = verdictOf(report)
  const torch = choices.cpu ? 'cpu' : best
  const home = path.join(dataDir, 'engines', name)
  const at = path.join(home, 'generations', generation)
  const tools = path.join(dataDir, 'engines', '.tools')
  const cache = path.join(dataDir, 'cache', 'uv')

  const allowed = mirrorsAllowed(facts)
  const from = (source: string) =>
    choices.mirrors === null && isOrdered(source, mirrors.mirrors)
      ? addressesFor(new URL(source), mirrors.mirrors).map(({ href }) => href)
      : addressesOf(source, mirrors.mirrors, allowed)
  const sourceOf = (kind: string) => mirrors.sources[kind] ?? ''
  const indexes = [...(choices.index ? [choices.index] : []), ...from(sourceOf('python-index'))]
  const torchIndexes = torchIndexOf(torch, report.platform, sourceOf).flatMap(from)
  const python = choosePython(report, facts, torch)
  const source = sourceIn(choices.source ?? sourceOf('comfyui'))
  const speedUpFacts: SpeedUpFacts = {
    platform: report.platform,
    arch: report.arch,
    build: torch,
    gpu: choices.cpu ? null : gpu,
    torch: /==\s*([\d.]+)/.exec(choices.torch ?? '')?.[1] ?? null,
    python: null,
  }
  const torchSpec = choices.torch ?? torchSpecFor(choices.speedUps, speedUpFacts)

  const steps: PlannedStep[] = []
  const add = (
    id: PlannedStep['id'],
    what: string,
    to: string,
    given: { from?: readonly string[]; mb?: readonly [number, number] },
  ) => {
    const [downloadMb, diskMb] = given.mb ?? [0, 0]
    const [downloadBytes, diskBytes] = [downloadMb * MB, diskMb * MB]
    const seconds = Math.ceil(downloadBytes / BYTES_A_SECOND + diskBytes / WRITES_A_SECOND) + (RUNS[id] ?? 1)
    steps.push({ id, what, from: [...(given.from ?? [])], to, downloadBytes, diskBytes, seconds })
  }
  add('uv', 'uv', path.join(tools, 'uv'), { from: indexes, mb: SIZES_MB.uv })
  if (python.is === 'program') add('python', python.path, python.path, {})
  else
    add('python', `Python ${python.version}`, path.join(tools, 'python'), {
      from: from(sourceOf('python-builds')),
      mb: SIZES_MB.python,
    })
  const dir = path.join(at, 'ComfyUI')
  const what = `ComfyUI${choices.ref === null ? '' : ` ${choices.ref}`}`
  if (source.is === 'folder') add('source', what, dir, { from: [source.dir], mb: [0, SIZES_MB.source[1]] })
  else add('source', what, dir, { from: from(source.url), mb: SIZES_MB.source })
  const venv = path.join(at, 'venv')
  add('environment', 'uv venv', venv, {})
  const wheels = choices.findLinks === null ? [] : [choices.findLinks]
  const local = wheels.length > 0 && !/^https?:/.test(wheels[0]!)
  const [torchMb, torchDiskMb] = TORCH_MB[torch]
  add('torch', `${torchSpec} (${torch}), torchvision, torchaudio`, venv, {
    from: [...wheels, ...(torchIndexes.length > 0 ? torchIndexes : indexes)],
    mb: [local ? 0 : torchMb, torchDiskMb],
  })
  add('requirements', 'requirements.txt', venv, { from: indexes, mb: SIZES_MB.requirements })
  if (choices.manager) add('manager', 'ComfyUI-Manager', venv, { from: indexes, mb: SIZES_MB.manager })
  if (choices.speedUps.length > 0)
    add('speed-ups', choices.speedUps.join(', '), venv, { from: indexes, mb: SIZES_MB['speed-ups'] })
  add('lock', 'lock.json', at, {})
  add('check', `import torch${torch === 'cpu' ? '' : ', torch.cuda'}`, venv, {})
  add('trial', 'EmptyImage → SaveImage', path.join(at, 'trial'), {})
  add('switch', 'current', path.join(home, 'current'), {})

  const sum = (key: 'downloadBytes' | 'diskBytes' | 'seconds') => steps.reduce((total, step) => total + step[key], 0)
  const plan: InstallPlan = {
    name,
    home,
    base: path.join(home, 'base'),
    cache,
    torch,
    steps,
    downloadBytes: sum('downloadBytes'),
    diskBytes: sum('diskBytes'),
    seconds: sum('seconds'),
    findings: findings.filter(({ code }) => !IRRELEVANT.test(code) && !(choices.cpu && ABOUT_CARDS.test(code))),
    speedUps: offersOf(speedUpFacts),
  }
  return {
    plan,
    torchSpec,
    torchIndexes,
    indexes,
    pythonBuilds: from(sourceOf('python-builds')),
    source,
    python,
    speedUpFacts,
    addressesIn: (kind, file) => from(`${sourceOf(kind)}/${file}`),
  }
}
/** Seconds that a step takes apart from bytes. */
const RUNS: Partial<Record<PlannedStep['id'], number>> = { check: 8, trial: 25, requirements: 10, environment: 2 }
const IRRELEVANT = /^machine\.(?:install|port-taken)$/
const ABOUT_CARDS = /^machine\.(?:gpu|driver|amd|intel|no-gpu)/

function mirrorsAllowed({ choices, timeZone, locale }: PlanFacts): 'first' | 'last' | 'none' {
  return choices.mirrors ?? (nearMirrors(timeZone, locale) ? 'first' : 'last')
}

function addressesOf(source: string, mirrors: readonly Mirror[], allowed: 'first' | 'last' | 'none'): string[] {
  if (source === '') return []
  if (allowed === 'none' || !URL.canParse(source)) return [source]
  const others = addressesFor(new URL(source), mirrors)
    .map(({ href }) => href)
    .filter((address) => address !== new URL(source).href)
  return allowed === 'first' ? [...others, source] : [source, ...others]
}

/** None: the ordinary index has this build. */
function torchIndexOf(
  torch: TorchBuild,
  platform: HardwareReport['platform'],
  sourceOf: (kind: string) => string,
): string[] {
  if (platform === 'darwin') return []
  if (torch === 'rocm' && platform === 'win32') return [sourceOf('torch-index-rocm-win32')]
  return [sourceOf('torch-index').replace('{build}', torch === 'rocm' ? ROCM_ON_LINUX : torch)]
}

const sourceIn = (given: string): Source =>
  /^(?:https?|ssh|git|file):\/\/|^git@/.test(given) ? { is: 'git', url: given } : { is: 'folder', dir: given }

function choosePython(
  { pythons, platform }: HardwareReport,
  { choices, noPythonDownloads }: PlanFacts,
  torch: TorchBuild,
): PythonChoice {
  const usable = pythons
    .filter(({ version }) => inRange(version))
    .toSorted((a, b) => liking(b.version) - liking(a.version))
  const given = choices.python
  if (given !== null && /^\d+(\.\d+){1,2}$/.test(given)) {
    const found = pythons.find(({ version }) => version === given || version.startsWith(`${given}.`))
    return found ? { is: 'program', path: found.path } : { is: 'version', version: given }
  }
  const system = given !== null && /^system$/i.test(given)
  if (given !== null && !system) return { is: 'program', path: given }
  if (system || noPythonDownloads) {
    const [best] = usable
    if (!best)
      throw new AppError('install.no-python', { found: pythons.map(({ version }) => version).join(', ') || '-' })
    return { is: 'program', path: best.path }
  }
  // AMD's builds for Windows are for 3.13 alone
  return { is: 'version', version: torch === 'rocm' && platform === 'win32' ? '3.13' : MANAGED_PYTHON }
}

function inRange(version: string): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number)
  return major === 3 && minor >= OLDEST[1]! && minor <= NEWEST[1]!
}
/** 3.12 and 3.13 are what most custom nodes are tried with. */
const liking = (version: string) => [10, 11, 13, 12].indexOf(Number(version.split('.')[1]))

// ---- room on the disks ----

export interface Place {
  readonly role: 'target' | 'cache' | 'temp'
  readonly dir: string
  readonly needBytes: number
}
/** What statfs says of a folder. */
export interface Volume {
  readonly id: string
  readonly freeBytes: number
}

/** What goes where: the environment, what was fetched (once more when it cannot be linked), what is unpacked meanwhile. */
export function placesOf(
  plan: InstallPlan,
  { temp, missing }: { temp: string; missing: (id: PlannedStep['id']) => boolean },
): Place[] {
  const steps = plan.steps.filter(({ id }) => missing(id))
  const disk = steps.reduce((sum, { diskBytes }) => sum + diskBytes, 0)
  const largest = Math.max(0, ...steps.map(({ downloadBytes }) => downloadBytes))
  return [
    { role: 'target', dir: plan.home, needBytes: disk },
    { role: 'cache', dir: plan.cache, needBytes: disk },
    { role: 'temp', dir: temp, needBytes: Math.min(largest, 500 * MB) },
  ]
}

const RESERVE_BYTES = 500 * MB

/**
 * Refuses before anything is fetched, naming the place that lacks room. On one volume the environment is linked from the
 * cache, so its room is counted once. Pure.
 * @throws AppError 'install.no-space'
 */
export function checkSpace(places: readonly (Place & { volume: Volume })[]): void {
  const volumes = Map.groupBy(places, ({ volume }) => volume.id)
  for (const { role, dir, volume } of places) {
    const same = volumes.get(volume.id)!
    const linked = same.some((place) => place.role === 'cache') && same.some((place) => place.role === 'target')
    const needBytes = same.reduce((sum, place) => sum + (linked && place.role === 'cache' ? 0 : place.needBytes), 0)
    if (same.every((place) => place.needBytes === 0) || volume.freeBytes >= needBytes + RESERVE_BYTES) continue
    const gib = (bytes: number) => Math.ceil((bytes / 2 ** 30) * 10) / 10
    throw new AppError('install.no-space', {
      role,
      dir,
      needGiB: gib(needBytes + RESERVE_BYTES),
      freeGiB: Math.floor((volume.freeBytes / 2 ** 30) * 10) / 10,
    })
  }
}
