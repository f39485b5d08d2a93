import type { EngineCard, Finding, Gpu, HardwareReport, TorchBuild, Verdict } from '../contract/engine.ts'
import { fill } from '../contract/errors.ts'

/** What may be told of a machine. Other languages: resources/locales, problems.json, under the same codes. */
const sentences = {
  'machine.gpu-good': '{name} with {vram} GiB: ComfyUI runs well on it.',
  'machine.gpu-small': '{name} has {vram} GiB of memory: SD 1.5 and quantised models fit; larger ones are slow.',
  'machine.gpu-tiny': '{name} has only {vram} GiB of memory: expect little more than small pictures with SD 1.5.',
  'machine.gpus-many': '{count} cards can each run a ComfyUI of their own.',
  'machine.gpu-too-old': '{name} is too old for any PyTorch that ComfyUI needs; the processor is used.',
  'machine.gpu-old': '{name} is supported by the builds for CUDA 12.6 and older only; new speed-ups do not apply.',
  'machine.driver-update': 'Driver {driver} works; {wanted} or newer allows the fastest builds.',
  'machine.driver-old':
    'Driver {driver} is old: only builds for CUDA 11.8 run, which current ComfyUI hardly supports. Update to {wanted} or newer.',
  'machine.driver-too-old':
    'Driver {driver} is too old for {name}. Update to {wanted} or newer; until then the processor is used.',
  'machine.driver-failed':
    'There is an NVIDIA driver, but it does not answer. Restart the machine or install the driver again.',
  'machine.driver-missing': '{name} is there, but not its driver. Install it; until then the processor is used.',
  'machine.amd-linux': '{name} runs with PyTorch for ROCm; new cards run best.',
  'machine.amd-windows': '{name} runs with AMD’s own PyTorch builds for Windows 11.',
  'machine.amd-none': 'There is no PyTorch for {name} on this system; the processor is used.',
  'machine.intel-arc': '{name} runs with PyTorch for XPU.',
  'machine.intel-none': '{name} is not made for this; the processor is used.',
  'machine.apple': '{name} runs with PyTorch for Metal; its memory is shared with the system.',
  'machine.mac-intel': 'PyTorch no longer supports Macs with Intel processors. Use another machine by its address.',
  'machine.no-gpu': 'No graphics card that can be used was found. ComfyUI runs on the processor, many times slower.',
  'machine.ram-small': '{ram} GiB of memory is little; large models need 32 GiB or more.',
  'machine.ram-tiny': '{ram} GiB of memory is too little for ComfyUI with any model.',
  'machine.disk-small': '{mount} has {free} GiB free; an installation takes about 15 GiB, and each model 2 to 25.',
  'machine.disk-full': 'No disk has the 15 GiB that an installation takes; most are free on {mount}: {free} GiB.',
  'machine.install': 'There is a ComfyUI in {dir} that can be run in place.',
  'machine.port-taken': 'Another program listens on port {port}; Nightshift chooses another one.',
  'machine.no-git': 'There is no git; custom nodes are then fetched as archives.',
} as const
export const findingSentences: Readonly<Record<string, string>> = sentences
type Code = keyof typeof sentences
type Platform = HardwareReport['platform']

const links = {
  nvidia: 'https://www.nvidia.com/drivers',
  rocm: 'https://rocm.docs.amd.com/projects/install-on-linux/en/latest/',
  amdWindows: 'https://www.amd.com/en/support',
  intel: 'https://www.intel.com/content/www/us/en/download-center/home.html',
  git: 'https://git-scm.com/downloads',
} as const

const finding = (
  level: Finding['level'],
  code: Code,
  facts: Finding['facts'] = {},
  link: string | null = null,
): Finding => ({ level, code, message: fill(sentences[code], facts), facts, link })

/** Least drivers, as NVIDIA's compatibility tables have them; a CUDA release runs on its whole family's driver. */
const DRIVERS = {
  linux: { cu130: '580', cu12: '525.60.13', cu118: '450.80.02' },
  win32: { cu130: '580', cu12: '528.33', cu118: '452.39' },
} as const
const LEAST_BLACKWELL_DRIVER = '570'
const TURING = 7.5 // CUDA 13 begins here
const MAXWELL = 5
const BLACKWELL = 10 // known to builds for CUDA 12.8 and later only

export interface Choice {
  readonly torch: TorchBuild
  readonly findings: Finding[]
}

/** The build of PyTorch that makes the most of a card, and what to say about it. */
export function torchFor(gpu: Gpu, platform: Platform, arch: string): Choice {
  const { vendor, name } = gpu
  if (platform === 'darwin') {
    return vendor === 'apple' && arch === 'arm64'
      ? { torch: 'mps', findings: [finding('good', 'machine.apple', { name })] }
      : { torch: 'cpu', findings: [] }
  }
  if (vendor === 'nvidia') return torchForNvidia(gpu, platform)
  if (vendor === 'amd') return torchForAmd(name, platform)
  if (vendor === 'intel') {
    return /\bArc\b|Battlemage|Data Center GPU|Core Ultra/i.test(name)
      ? { torch: 'xpu', findings: [finding('good', 'machine.intel-arc', { name }, links.intel)] }
      : { torch: 'cpu', findings: [finding('note', 'machine.intel-none', { name })] }
  }
  return { torch: 'cpu', findings: [] }
}

function torchForNvidia({ name, driver, computeCapability }: Gpu, platform: Platform): Choice {
  const cpu = (found: Finding): Choice => ({ torch: 'cpu', findings: [found] })
  if (driver === null) return cpu(finding('bad', 'machine.driver-missing', { name }, links.nvidia))
  const least = DRIVERS[platform === 'win32' ? 'win32' : 'linux']
  const capability = computeCapability ?? capabilityOf(name)
  const has = (wanted: string) => atLeast(driver, wanted)
  if (capability < MAXWELL) return cpu(finding('bad', 'machine.gpu-too-old', { name }))
  if (capability >= BLACKWELL) {
    if (has(least.cu130)) return { torch: 'cu130', findings: [] }
    if (has(LEAST_BLACKWELL_DRIVER)) return { torch: 'cu128', findings: [update(driver, least.cu130)] }
    return cpu(tooOld(name, driver, least.cu130))
  }
  if (capability >= TURING) {
    if (has(least.cu130)) return { torch: 'cu130', findings: [] }
    if (has(least.cu12)) return { torch: 'cu128', findings: [update(driver, least.cu130)] }
  } else if (has(least.cu12)) return { torch: 'cu126', findings: [finding('note', 'machine.gpu-old', { name })] }
  const wanted = capability >= TURING ? least.cu130 : least.cu12
  if (has(least.cu118))
    return { torch: 'cu118', findings: [finding('warning', 'machine.driver-old', { driver, wanted }, links.nvidia)] }
  return cpu(tooOld(name, driver, wanted))
}
/** Whether a card's driver runs a build; what is not known is taken to fit. */
export function driverFits(
  build: string,
  { vendor, name, driver, computeCapability }: Gpu,
  platform: Platform,
): boolean {
  if (vendor !== 'nvidia' || driver === null || !build.startsWith('cu')) return true
  const least = DRIVERS[platform === 'win32' ? 'win32' : 'linux']
  if (build === 'cu118') return atLeast(driver, least.cu118)
  if (/^cu1[3-9]/.test(build)) return atLeast(driver, least.cu130)
  const blackwell = (computeCapability ?? capabilityOf(name)) >= BLACKWELL
  return atLeast(driver, blackwell ? LEAST_BLACKWELL_DRIVER : least.cu12)
}

const update = (driver: string, wanted: string) =>
  finding('note', 'machine.driver-update', { driver, wanted }, links.nvidia)
const tooOld = (name: string, driver: string, wanted: string) =>
  finding('bad', 'machine.driver-too-old', { name, driver, wanted }, links.nvidia)

function torchForAmd(name: string, platform: Platform): Choice {
  const none: Choice = { torch: 'cpu', findings: [finding('warning', 'machine.amd-none', { name })] }
  const recent = /\bRX ?[79]\d{3}|\b(?:8050S|8060S|880M|890M|780M)\b|AI PRO R9|\bW7\d00|Strix Halo|Ryzen AI Max/i.test(
    name,
  )
  if (platform === 'win32')
    return recent
      ? { torch: 'rocm', findings: [finding('good', 'machine.amd-windows', { name }, links.amdWindows)] }
      : none
  if (platform !== 'linux') return none
  const supported = recent || /\bRX ?6\d{3}|\bW6\d00|Instinct|\bMI\d{2,3}|Radeon VII|Radeon PRO V/i.test(name)
  return supported ? { torch: 'rocm', findings: [finding('good', 'machine.amd-linux', { name }, links.rocm)] } : none
}

/** For drivers too old to tell themselves. An unknown name is taken for a card of today. */
export function capabilityOf(name: string): number {
  for (const [pattern, capability] of capabilities) if (pattern.test(name)) return capability
  return TURING
}
const capabilities: [RegExp, number][] = [
  [/RTX 50\d\d|RTX PRO \d000 Blackwell/i, 12],
  [/\bG?B[123]00\b/i, 10],
  [/\bG?H[128]00\b/i, 9],
  [/RTX 40\d\d|\bL4\b|\bL40|\bL20\b|Ada/i, 8.9],
  [/RTX 30\d\d|\bA(?:2|10|16|40|\d000)\b/i, 8.6],
  [/\bA(?:30|100|800)\b/i, 8],
  [/RTX 20\d\d|GTX 16\d\d|\bT4\b|Quadro RTX|Titan RTX|\bT\d{3,4}\b/i, 7.5],
  [/\bV100|Titan V\b/i, 7],
  [/GTX 10\d\d|GT 10\d\d|\bP(?:4|6|40|100|\d000)\b|Titan Xp?\b|\bMX(?:1|2|3)\d\d\b/i, 6.1],
  [/GTX 9\d\d|\bM(?:4|6|10|40|60)\b|Quadro M/i, 5.2],
  [/GTX 7[45]\d|\b9[1-4]0MX?\b/i, 5],
  [/GTX [4-7]\d\d|GT [4-7]\d\d|\bK\d{2}\b|Quadro K|NVS/i, 3.5],
]

/** `580.65.06` against `525.60.13`. */
export function atLeast(version: string, wanted: string): boolean {
  const parts = (text: string) => text.split('.').map((part) => Number.parseInt(part, 10) || 0)
  const [a, b] = [parts(version), parts(wanted)]
  for (let at = 0; at < Math.max(a.length, b.length); at++) {
    const difference = (a[at] ?? 0) - (b[at] ?? 0)
    if (difference !== 0) return difference > 0
  }
  return true
}

const GiB = 1024
const rounded = (mebibytes: number) => Math.round(mebibytes / GiB)
const ORDER: TorchBuild[] = ['cu130', 'cu128', 'cu126', 'rocm', 'mps', 'xpu', 'cu118', 'cpu']
const INSTALL_GIB = 15
const ROOMY_GIB = 60
const COMFYUI_PORT = 8188

/** What will run on a machine, what will not, and what to do about it. */
export function verdictOf(report: HardwareReport): Verdict {
  const { platform, arch, gpus } = report
  const choices = gpus
    .map((gpu) => ({ gpu, ...torchFor(gpu, platform, arch) }))
    .toSorted((a, b) => ORDER.indexOf(a.torch) - ORDER.indexOf(b.torch) || (b.gpu.vramMiB ?? 0) - (a.gpu.vramMiB ?? 0))
  const [best] = choices
  const useful = choices.filter(({ torch }) => torch !== 'cpu')
  const hopeless = platform === 'darwin' && arch !== 'arm64'
  const findings: Finding[] = []
  if (hopeless) findings.push(finding('bad', 'machine.mac-intel'))
  if (report.nvidiaSmi === 'failed') findings.push(finding('bad', 'machine.driver-failed', {}, links.nvidia))
  if (best && best.torch !== 'cpu') findings.push(...memoryOf(best.gpu), ...best.findings)
  else {
    for (const choice of choices) findings.push(...choice.findings)
    if (!hopeless) findings.push(finding('warning', 'machine.no-gpu'))
  }
  const same = useful.filter(({ torch }) => torch === best?.torch)
  if (same.length > 1) findings.push(finding('good', 'machine.gpus-many', { count: same.length }))
  findings.push(...memoryAndDisks(report), ...programs(report))
  const torch = hopeless ? 'cpu' : (best?.torch ?? 'cpu')
  const gpu = torch === 'cpu' ? null : best!.gpu
  return { torch, gpu, runs: hopeless ? 'not' : gpu ? 'well' : 'slowly', findings }
}

/**
 * A process for each card where there are several NVIDIA cards that the same PyTorch drives; else what ComfyUI chooses, or
 * the processor: ComfyUI looks for a card unless it is told that there is none, and ends when it finds none.
 */
export function cardsFor(gpus: readonly Gpu[], platform: Platform, arch: string, cpu: boolean): EngineCard[] {
  const of = (card: string): EngineCard => ({ card, flags: [], port: null })
  if (cpu) return [of('cpu')]
  const builds = gpus.map((gpu) => ({ gpu, torch: torchFor(gpu, platform, arch).torch }))
  const best = builds.toSorted((a, b) => ORDER.indexOf(a.torch) - ORDER.indexOf(b.torch))[0]?.torch
  const own = builds.flatMap(({ gpu: { vendor, index }, torch }) =>
    vendor === 'nvidia' && index !== null && torch === best && torch !== 'cpu' ? [String(index)] : [],
  )
  return own.length > 1 ? own.map(of) : [of('auto')]
}

function memoryOf({ name, vramMiB }: Gpu): Finding[] {
  if (vramMiB === null) return []
  const vram = rounded(vramMiB)
  if (vram < 4) return [finding('warning', 'machine.gpu-tiny', { name, vram })]
  if (vram < 8) return [finding('note', 'machine.gpu-small', { name, vram })]
  return [finding('good', 'machine.gpu-good', { name, vram })]
}

function memoryAndDisks({ ramMiB, volumes }: HardwareReport): Finding[] {
  const findings: Finding[] = []
  const ram = rounded(ramMiB)
  if (ram < 7) findings.push(finding('bad', 'machine.ram-tiny', { ram }))
  else if (ram < 15) findings.push(finding('warning', 'machine.ram-small', { ram }))
  const [roomiest] = volumes.toSorted((a, b) => b.freeBytes - a.freeBytes)
  if (roomiest) {
    const free = Math.floor(roomiest.freeBytes / 2 ** 30)
    const facts = { mount: roomiest.mount, free }
    if (free < INSTALL_GIB) findings.push(finding('bad', 'machine.disk-full', facts))
    else if (free < ROOMY_GIB) findings.push(finding('warning', 'machine.disk-small', facts))
  }
  return findings
}

function programs({ installs, ports, gits }: HardwareReport): Finding[] {
  return [
    ...installs.flatMap(({ dir, python }) => (python === null ? [] : [finding('good', 'machine.install', { dir })])),
    ...ports.flatMap(({ port, free }) =>
      free || port !== COMFYUI_PORT ? [] : [finding('note', 'machine.port-taken', { port })],
    ),
    ...(gits.length === 0 ? [finding('note', 'machine.no-git', {}, links.git)] : []),
  ]
}
