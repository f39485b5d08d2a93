import type { Finding, Gpu, HardwareReport, SpeedUp, SpeedUpOffer, TorchBuild } from '../contract/engine.ts'
import { capabilityOf } from './machine.ts'
import { upkeep } from './upkeep.ts'

/** What a speed-up is installed for. */
export interface SpeedUpFacts {
  readonly platform: HardwareReport['platform']
  readonly arch: string
  readonly build: TorchBuild
  readonly gpu: Gpu | null
  /** Such as 2.13.0, or 2.13.0+cu130; null: not chosen yet. */
  readonly torch: string | null
  /** Such as 3.12; null: not known yet. */
  readonly python: string | null
}
/** A package of the Python index, or a file under a source of resources/mirrors.json. */
export type SpeedUpPackage =
  | { readonly is: 'spec'; readonly spec: string }
  | { readonly is: 'file'; readonly source: string; readonly path: string }
export type SpeedUpChoice =
  | {
      readonly is: 'known'
      readonly packages: readonly SpeedUpPackage[]
      readonly what: string
      /** That ComfyUI uses it with; null: it is used where it is found. */
      readonly flag: string | null
      /** Above this version of PyTorch no package is known; exclusive. */
      readonly torchBelow: string
      readonly torchFrom: string
    }
  | { readonly is: 'none'; readonly why: Finding }

export const speedUps: readonly SpeedUp[] = ['sage-attention', 'triton', 'flash-attention']
export const speedUpNames: Record<SpeedUp, string> = {
  'sage-attention': 'SageAttention',
  triton: 'Triton',
  'flash-attention': 'FlashAttention',
}

/** The release of Triton that each release of PyTorch is built with, as PyTorch's own packages require it. */
const TRITON_OF: Record<string, string> = {
  '2.7': '3.3',
  '2.8': '3.4',
  '2.9': '3.5',
  '2.10': '3.6',
  '2.11': '3.6',
  '2.12': '3.7',
  '2.13': '3.7',
}
/** Releases of triton-windows on the Python index, November 2026: up to 3.7. */
const TRITON_WINDOWS_BELOW = '2.14'
const SAGE_WINDOWS = 'v2.2.0-windows.post4'
const AMPERE = 8
const HOPPER = 9
const BLACKWELL = 10

const none = (why: Finding): SpeedUpChoice => ({ is: 'none', why })
const release = (version: string) => /^(\d+\.\d+)/.exec(version)?.[1] ?? ''

/** Which package makes this machine faster; only those that are known to be there. */
export function speedUpFor(id: SpeedUp, facts: SpeedUpFacts): SpeedUpChoice {
  const { platform, arch, build, gpu, torch, python } = facts
  if (!/^cu1[23]/.test(build) || gpu?.vendor !== 'nvidia') return none(upkeep('note', 'speed-up.needs-nvidia'))
  const { name } = gpu
  const capability = gpu.computeCapability ?? capabilityOf(name)
  const noWheel = none(upkeep('note', 'speed-up.no-wheel', { torch: torch ?? '?', python: python ?? '?' }))
  const old = (wanted: number) =>
    capability < wanted ? none(upkeep('note', 'speed-up.card-old', { name, wanted: wanted.toFixed(1) })) : null
  const known = (
    packages: readonly SpeedUpPackage[],
    what: string,
    flag: string | null,
    torchFrom: string,
    torchBelow: string,
  ): SpeedUpChoice =>
    torch !== null && !within(torch, torchFrom, torchBelow)
      ? noWheel
      : { is: 'known', packages, what, flag, torchFrom, torchBelow }
  const windows = platform === 'win32' && arch === 'x64'
  const linux = platform === 'linux' && arch === 'x64'
  if (!windows && !linux) return noWheel

  const triton = TRITON_OF[release(torch ?? '2.13')]
  const [, minor = 0] = (triton ?? '').split('.').map(Number)
  const tritonWindows = `triton-windows>=${triton},<3.${minor + 1}`
  if (id === 'triton') {
    if (linux) return none(upkeep('note', 'speed-up.has-it'))
    // of cards before Turing newer releases of Triton know nothing
    return old(7.5) ?? known([{ is: 'spec', spec: tritonWindows }], tritonWindows, null, '2.7', TRITON_WINDOWS_BELOW)
  }
  if (id === 'sage-attention') {
    const tooOld = old(AMPERE)
    if (tooOld) return tooOld
    const flag = '--use-sage-attention'
    // of pure Python, with kernels in Triton, which PyTorch for Linux brings along
    if (linux) return known([{ is: 'spec', spec: 'sageattention==1.0.6' }], 'sageattention 1.0.6', flag, '2.7', '3')
    if (build !== 'cu128' && build !== 'cu130') return noWheel
    const file = `sageattention-2.2.0+${build}torch2.9.0andhigher.post4-cp39-abi3-win_amd64.whl`
    const packages: SpeedUpPackage[] = [
      { is: 'spec', spec: tritonWindows },
      { is: 'file', source: 'sage-attention-windows', path: `${SAGE_WINDOWS}/${encodeURIComponent(file)}` },
    ]
    return known(packages, 'sageattention 2.2.0, triton-windows', flag, '2.9', TRITON_WINDOWS_BELOW)
  }
  // the makers' own wheels: CUDA 12, for Linux, of Python 3.9 to 3.13, up to PyTorch 2.8
  const tooOld = old(AMPERE)
  if (tooOld) return tooOld
  if (capability >= BLACKWELL || capability > HOPPER) return none(upkeep('note', 'speed-up.card-unknown', { name }))
  const tag = python === null ? null : `cp3${python.split('.')[1]}`
  if (!linux || build === 'cu130' || (tag !== null && !/^cp3(?:9|1[0-3])$/.test(tag))) return noWheel
  const torchTag = release(torch ?? '2.8')
  const file = `flash_attn-2.8.3+cu12torch${torchTag}cxx11abiTRUE-${tag}-${tag}-linux_x86_64.whl`
  const packages: SpeedUpPackage[] = [
    { is: 'file', source: 'flash-attention-linux', path: `v2.8.3/${encodeURIComponent(file)}` },
  ]
  return known(packages, 'flash-attn 2.8.3', '--use-flash-attention', '2.7', '2.9')
}

export const offersOf = (facts: SpeedUpFacts): SpeedUpOffer[] =>
  speedUps.map((id) => {
    const choice = speedUpFor(id, facts)
    return choice.is === 'known' ? { id, what: choice.what, why: null } : { id, what: '', why: choice.why }
  })

/** PyTorch for those chosen: the newest that all of them are known for. */
export function torchSpecFor(wanted: readonly SpeedUp[], facts: SpeedUpFacts): string {
  const known = wanted.map((id) => speedUpFor(id, { ...facts, torch: null })).filter((choice) => choice.is === 'known')
  const below = known.map(({ torchBelow }) => torchBelow).toSorted(compare)[0]
  return below === undefined ? 'torch' : `torch<${below}`
}

/** Of those chosen, the flags to start with; ComfyUI takes one kind of attention. */
export function flagsOf(wanted: readonly SpeedUp[]): string[] {
  if (wanted.includes('sage-attention')) return ['--use-sage-attention']
  return wanted.includes('flash-attention') ? ['--use-flash-attention'] : []
}

const compare = (a: string, b: string) => a.localeCompare(b, 'en', { numeric: true })
const within = (version: string, from: string, below: string) =>
  compare(release(version), from) >= 0 && compare(release(version), below) < 0
