import { expect, test } from 'vitest'
import type { Gpu, SpeedUp } from '../../../../core/contract/engine.ts'
import { flagsOf, offersOf, type SpeedUpFacts, speedUpFor, torchSpecFor } from '../../../../core/domain/speed-ups.ts'

const card = (name: string, computeCapability: number): Gpu => ({
  vendor: 'nvidia',
  name,
  index: 0,
  uuid: null,
  vramMiB: 24_000,
  vramFreeMiB: null,
  driver: '580.65',
  computeCapability,
})
const ada = card('NVIDIA GeForce RTX 4090', 8.9)
const blackwell = card('NVIDIA GeForce RTX 5090', 12)
const turing = card('NVIDIA GeForce RTX 2080 Ti', 7.5)
const pascal = card('NVIDIA GeForce GTX 1080', 6.1)
const radeon: Gpu = { ...card('AMD Radeon RX 7900 XTX', 0), vendor: 'amd', computeCapability: null }
const linux: SpeedUpFacts = {
  platform: 'linux',
  arch: 'x64',
  build: 'cu130',
  gpu: ada,
  torch: '2.13.0+cu130',
  python: '3.12',
}
const windows: SpeedUpFacts = { ...linux, platform: 'win32' }
const sageWindows = (build: string) =>
  `v2.2.0-windows.post4/sageattention-2.2.0%2B${build}torch2.9.0andhigher.post4-cp39-abi3-win_amd64.whl`
const flash = (torch: string, tag: string) =>
  `v2.8.3/flash_attn-2.8.3%2Bcu12torch${torch}cxx11abiTRUE-${tag}-${tag}-linux_x86_64.whl`

test.each<[string, SpeedUp, SpeedUpFacts, string[] | string]>([
  ['Linux, Ada', 'sage-attention', linux, ['sageattention==1.0.6']],
  ['Linux, Blackwell', 'sage-attention', { ...linux, gpu: blackwell }, ['sageattention==1.0.6']],
  [
    'Linux, an older driver’s build',
    'sage-attention',
    { ...linux, build: 'cu128', torch: '2.9.1' },
    ['sageattention==1.0.6'],
  ],
  ['Linux, Turing', 'sage-attention', { ...linux, gpu: turing }, 'speed-up.card-old'],
  ['Linux, PyTorch too old', 'sage-attention', { ...linux, torch: '2.6.0' }, 'speed-up.no-wheel'],
  ['Linux on ARM', 'sage-attention', { ...linux, arch: 'arm64' }, 'speed-up.no-wheel'],
  ['the processor', 'sage-attention', { ...linux, build: 'cpu', gpu: null }, 'speed-up.needs-nvidia'],
  ['AMD', 'sage-attention', { ...linux, build: 'rocm', gpu: radeon }, 'speed-up.needs-nvidia'],
  [
    'Apple',
    'sage-attention',
    { ...linux, platform: 'darwin', arch: 'arm64', build: 'mps', gpu: null },
    'speed-up.needs-nvidia',
  ],
  ['Windows, CUDA 13', 'sage-attention', windows, ['triton-windows>=3.7,<3.8', sageWindows('cu130')]],
  [
    'Windows, CUDA 12.8',
    'sage-attention',
    { ...windows, build: 'cu128', torch: '2.9.1' },
    ['triton-windows>=3.5,<3.6', sageWindows('cu128')],
  ],
  ['Windows, CUDA 12.6', 'sage-attention', { ...windows, build: 'cu126' }, 'speed-up.no-wheel'],
  ['Windows, PyTorch 2.8', 'sage-attention', { ...windows, torch: '2.8.0' }, 'speed-up.no-wheel'],
  [
    'Windows, a PyTorch that no Triton is known for',
    'sage-attention',
    { ...windows, torch: '2.14.0' },
    'speed-up.no-wheel',
  ],
  ['Windows, Pascal', 'sage-attention', { ...windows, gpu: pascal }, 'speed-up.card-old'],
  ['Windows', 'triton', { ...windows, torch: '2.10.0' }, ['triton-windows>=3.6,<3.7']],
  ['Windows, Turing', 'triton', { ...windows, gpu: turing, torch: '2.8.0' }, ['triton-windows>=3.4,<3.5']],
  ['Windows, Pascal', 'triton', { ...windows, gpu: pascal }, 'speed-up.card-old'],
  ['Windows, PyTorch 2.14', 'triton', { ...windows, torch: '2.14.0' }, 'speed-up.no-wheel'],
  ['Linux', 'triton', linux, 'speed-up.has-it'],
  [
    'Linux, PyTorch 2.8',
    'flash-attention',
    { ...linux, build: 'cu128', torch: '2.8.0+cu128' },
    [flash('2.8', 'cp312')],
  ],
  [
    'Linux, PyTorch 2.7, Python 3.10',
    'flash-attention',
    { ...linux, build: 'cu126', torch: '2.7.1', python: '3.10' },
    [flash('2.7', 'cp310')],
  ],
  ['Linux, PyTorch 2.13', 'flash-attention', { ...linux, build: 'cu128' }, 'speed-up.no-wheel'],
  ['Linux, CUDA 13', 'flash-attention', { ...linux, torch: '2.8.0' }, 'speed-up.no-wheel'],
  [
    'Linux, Python 3.14',
    'flash-attention',
    { ...linux, build: 'cu128', torch: '2.8.0', python: '3.14' },
    'speed-up.no-wheel',
  ],
  [
    'Linux, Blackwell',
    'flash-attention',
    { ...linux, build: 'cu128', gpu: blackwell, torch: '2.8.0' },
    'speed-up.card-unknown',
  ],
  ['Linux, Turing', 'flash-attention', { ...linux, build: 'cu128', gpu: turing, torch: '2.8.0' }, 'speed-up.card-old'],
  ['Windows', 'flash-attention', { ...windows, build: 'cu128', torch: '2.8.0' }, 'speed-up.no-wheel'],
])('%s: %s', (_, id, facts, expected) => {
  const choice = speedUpFor(id, facts)
  if (choice.is === 'none') expect(choice.why.code).toBe(expected)
  else expect(choice.packages.map((each) => (each.is === 'spec' ? each.spec : each.path))).toEqual(expected)
})

test('before a PyTorch is chosen, the newest is that all those wanted are known for', () => {
  const open = { torch: null, python: null }
  expect(torchSpecFor([], { ...windows, ...open })).toBe('torch')
  expect(torchSpecFor(['sage-attention', 'triton'], { ...windows, ...open })).toBe('torch<2.14')
  expect(torchSpecFor(['sage-attention', 'flash-attention'], { ...linux, build: 'cu128', ...open })).toBe('torch<2.9')
  expect(torchSpecFor(['sage-attention'], { ...linux, ...open, build: 'cpu', gpu: null })).toBe('torch')
})

test('ComfyUI is given one kind of attention; what does not fit is offered with its reason', () => {
  expect(flagsOf(['triton', 'flash-attention'])).toEqual(['--use-flash-attention'])
  expect(flagsOf(['flash-attention', 'sage-attention'])).toEqual(['--use-sage-attention'])
  expect(
    offersOf({ ...windows, torch: null, python: null }).map(({ id, what, why }) => [id, what !== '', why?.code]),
  ).toEqual([
    ['sage-attention', true, undefined],
    ['triton', true, undefined],
    ['flash-attention', false, 'speed-up.no-wheel'],
  ])
})
