import { readFileSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import type { Gpu, HardwareReport } from '../../../../core/contract/engine.ts'
import { atLeast, cardsFor, findingSentences, torchFor, verdictOf } from '../../../../core/domain/machine.ts'

const card = (
  name: string,
  driver: string | null,
  computeCapability: number | null = null,
  vendor: Gpu['vendor'] = 'nvidia',
): Gpu => ({
  vendor,
  name,
  driver,
  computeCapability,
  index: 0,
  uuid: null,
  vramMiB: 16 * 1024,
  vramFreeMiB: null,
})
type Row = [
  os: HardwareReport['platform'],
  name: string,
  driver: string | null,
  capability: number | null,
  torch: string,
  codes: string[],
]

// driver × card × system
test.each<Row>([
  ['win32', 'NVIDIA GeForce RTX 5090', '581.15', 12, 'cu130', []],
  ['win32', 'NVIDIA GeForce RTX 5070', '572.16', 12, 'cu128', ['machine.driver-update']],
  ['linux', 'NVIDIA GeForce RTX 5090', '560.35.03', 12, 'cpu', ['machine.driver-too-old']],
  ['linux', 'NVIDIA H200', '580.65.06', 9, 'cu130', []],
  ['linux', 'NVIDIA GeForce RTX 4090', '580.65.06', 8.9, 'cu130', []],
  ['linux', 'NVIDIA GeForce RTX 4090', '535.183.01', 8.9, 'cu128', ['machine.driver-update']],
  ['win32', 'NVIDIA GeForce RTX 3060', '527.41', 8.6, 'cu118', ['machine.driver-old']],
  ['linux', 'NVIDIA GeForce RTX 3060', '527.41', 8.6, 'cu128', ['machine.driver-update']],
  ['win32', 'NVIDIA GeForce RTX 2060', '580.88', 7.5, 'cu130', []],
  ['linux', 'Tesla V100-SXM2-32GB', '580.65.06', 7, 'cu126', ['machine.gpu-old']],
  ['win32', 'NVIDIA GeForce GTX 1080 Ti', '581.15', 6.1, 'cu126', ['machine.gpu-old']],
  ['linux', 'NVIDIA GeForce GTX 1080 Ti', '470.256.02', 6.1, 'cu118', ['machine.driver-old']],
  ['win32', 'NVIDIA GeForce GTX 970', '472.12', 5.2, 'cu118', ['machine.driver-old']],
  ['linux', 'NVIDIA GeForce GTX 770', '470.256.02', 3, 'cpu', ['machine.gpu-too-old']],
  ['linux', 'NVIDIA GeForce GTX 660', '390.157', null, 'cpu', ['machine.gpu-too-old']],
  ['linux', 'NVIDIA GeForce RTX 3090', '440.33.01', null, 'cpu', ['machine.driver-too-old']],
  ['win32', 'NVIDIA GeForce RTX 4070', null, null, 'cpu', ['machine.driver-missing']],
])('%s, %s, driver %s', (platform, name, driver, capability, torch, codes) => {
  const found = torchFor(card(name, driver, capability), platform, 'x64')
  expect([found.torch, found.findings.map(({ code }) => code)]).toEqual([torch, codes])
})

test.each<[HardwareReport['platform'], string, Gpu['vendor'], string, string]>([
  ['linux', 'AMD Radeon RX 7900 XTX', 'amd', 'rocm', 'machine.amd-linux'],
  ['linux', 'AMD Instinct MI300X', 'amd', 'rocm', 'machine.amd-linux'],
  ['linux', 'AMD Radeon RX 580', 'amd', 'cpu', 'machine.amd-none'],
  ['win32', 'AMD Radeon RX 9070 XT', 'amd', 'rocm', 'machine.amd-windows'],
  ['win32', 'AMD Radeon RX 6800', 'amd', 'cpu', 'machine.amd-none'],
  ['win32', 'Intel(R) Arc(TM) A770 Graphics', 'intel', 'xpu', 'machine.intel-arc'],
  ['linux', 'Intel UHD Graphics 630', 'intel', 'cpu', 'machine.intel-none'],
  ['darwin', 'Apple M3 Max', 'apple', 'mps', 'machine.apple'],
])('%s, %s', (platform, name, vendor, torch, code) => {
  const found = torchFor(card(name, null, null, vendor), platform, platform === 'darwin' ? 'arm64' : 'x64')
  expect([found.torch, found.findings.map((each) => each.code)]).toEqual([torch, [code]])
})

const report = (more: Partial<HardwareReport> = {}): HardwareReport => ({
  platform: 'linux',
  arch: 'x64',
  osName: 'Debian 13',
  cpu: { name: 'AMD', cores: 16 },
  ramMiB: 64 * 1024,
  ramFreeMiB: 40 * 1024,
  gpus: [],
  nvidiaSmi: 'absent',
  volumes: [{ mount: '/', type: 'ext4', sizeBytes: 2 ** 40, freeBytes: 2 ** 39 }],
  pythons: [],
  gits: [{ path: '/usr/bin/git', version: '2.47' }],
  installs: [],
  ports: [{ port: 8188, free: true }],
  ...more,
})
const told = (more: Partial<HardwareReport>) => {
  const { torch, runs, findings } = verdictOf(report(more))
  return { torch, runs, codes: findings.map(({ code }) => code) }
}

test('a good machine is told so in one sentence', () => {
  expect(told({ gpus: [card('NVIDIA GeForce RTX 4090', '580.65.06', 8.9)] })).toEqual({
    torch: 'cu130',
    runs: 'well',
    codes: ['machine.gpu-good'],
  })
})

test('of several cards the best decides, whichever is named first, and equals are counted', () => {
  const intel = card('Intel UHD Graphics 770', null, null, 'intel')
  const big = card('NVIDIA GeForce RTX 3090', '580.65.06', 8.6)
  const small = { ...big, name: 'NVIDIA GeForce RTX 3050', vramMiB: 6 * 1024 }
  const verdict = verdictOf(report({ gpus: [intel, small, big] }))
  expect(verdict.gpu?.name).toBe('NVIDIA GeForce RTX 3090')
  expect(verdict.findings.map(({ code }) => code)).toEqual(['machine.gpu-good', 'machine.gpus-many'])
})

test('without a card it runs slowly; a Mac with an Intel processor not at all', () => {
  expect(told({})).toEqual({ torch: 'cpu', runs: 'slowly', codes: ['machine.no-gpu'] })
  expect(told({ platform: 'darwin' })).toEqual({ torch: 'cpu', runs: 'not', codes: ['machine.mac-intel'] })
})

test('what is short, in the way, or useful is told with a link where there is one', () => {
  const verdict = verdictOf(
    report({
      nvidiaSmi: 'failed',
      ramMiB: 8 * 1024,
      volumes: [{ mount: 'C:', type: 'NTFS', sizeBytes: 2 ** 38, freeBytes: 9 * 2 ** 30 }],
      gits: [],
      ports: [{ port: 8188, free: false }],
      installs: [{ kind: 'portable', dir: 'D:\\ComfyUI', python: 'D:\\python.exe', version: '0.33.0', baseDir: null }],
    }),
  )
  expect(verdict.findings.map(({ code, level }) => [code, level])).toEqual([
    ['machine.driver-failed', 'bad'],
    ['machine.no-gpu', 'warning'],
    ['machine.ram-small', 'warning'],
    ['machine.disk-full', 'bad'],
    ['machine.install', 'good'],
    ['machine.port-taken', 'note'],
    ['machine.no-git', 'note'],
  ])
  expect(verdict.findings[0]!.link).toMatch(/^https:\/\/www\.nvidia\.com/)
})

test('versions are compared by number', () => {
  expect([
    atLeast('580.65.06', '580'),
    atLeast('99.1', '100'),
    atLeast('525.60.13', '525.60.13'),
    atLeast('525.60', '525.60.13'),
  ]).toEqual([true, false, true, false])
})

test('both languages have every sentence', () => {
  for (const language of ['en', 'zh-CN']) {
    const file = path.resolve(import.meta.dirname, `../../../../resources/locales/${language}/problems.json`)
    const words = JSON.parse(readFileSync(file, 'utf8'))
    if (language === 'en') expect(words).toMatchObject(findingSentences)
    else expect(Object.keys(words)).toEqual(expect.arrayContaining(Object.keys(findingSentences)))
  }
})

test.each<[string, Gpu[], string[]]>([
  ['none', [], ['auto']],
  ['one', [card('NVIDIA GeForce RTX 4090', '580.65.06', 8.9)], ['auto']],
  [
    'two alike',
    [
      card('NVIDIA GeForce RTX 4090', '580.65.06', 8.9),
      { ...card('NVIDIA GeForce RTX 3090', '580.65.06', 8.6), index: 1 },
    ],
    ['0', '1'],
  ],
  [
    'two of which one PyTorch drives only one',
    [
      card('NVIDIA GeForce GTX 1080', '580.65.06', 6.1),
      { ...card('NVIDIA GeForce RTX 4090', '580.65.06', 8.9), index: 1 },
    ],
    ['auto'],
  ],
  [
    'two beside one that is too old',
    [
      card('NVIDIA GeForce GT 710', '580.65.06', 3.5),
      { ...card('NVIDIA GeForce RTX 4090', '580.65.06', 8.9), index: 1 },
      { ...card('NVIDIA GeForce RTX 4080', '580.65.06', 8.9), index: 2 },
    ],
    ['1', '2'],
  ],
  [
    'one beside the processor’s own',
    [card('NVIDIA GeForce RTX 4090', '580.65.06', 8.9), { ...card('Intel UHD 770', null, null, 'intel'), index: null }],
    ['auto'],
  ],
])('with %s, a process for each card that one PyTorch drives', (_what, gpus, expected) => {
  expect(cardsFor(gpus, 'linux', 'x64', false).map((each) => each.card)).toEqual(expected)
  expect(cardsFor(gpus, 'linux', 'x64', true).map((each) => each.card)).toEqual(['cpu'])
})
