import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import type { Gpu, HardwareReport } from '../../../../../core/contract/engine.ts'
import { InstallChoices } from '../../../../../core/contract/engine.ts'
import { Mirrors } from '../../../../../core/engine/download/mirrors.ts'
import { checkSpace, planInstall } from '../../../../../core/engine/install/plan.ts'

const GiB = 2 ** 30
const nvidia: Gpu = {
  vendor: 'nvidia',
  name: 'NVIDIA GeForce RTX 4090',
  index: 0,
  uuid: null,
  vramMiB: 24_564,
  vramFreeMiB: null,
  driver: '580.65.06',
  computeCapability: 8.9,
}
const machine: HardwareReport = {
  platform: 'linux',
  arch: 'x64',
  osName: 'Debian 12',
  cpu: { name: 'a processor', cores: 8 },
  ramMiB: 65_536,
  ramFreeMiB: 60_000,
  gpus: [nvidia],
  nvidiaSmi: 'ok',
  volumes: [{ mount: '/', type: 'ext4', sizeBytes: 1000 * GiB, freeBytes: 500 * GiB }],
  pythons: [
    { path: '/usr/bin/python3.9', version: '3.9.2' },
    { path: '/usr/bin/python3', version: '3.11.7' },
    { path: '/usr/bin/python3.13', version: '3.13.0' },
  ],
  gits: [{ path: '/usr/bin/git', version: '2.39.2' }],
  installs: [],
  ports: [],
}
const mirrors = Mirrors.parse(JSON.parse(readFileSync('resources/mirrors.json', 'utf8')))
type Given = { report?: Partial<HardwareReport>; choices?: Partial<InstallChoices>; never?: boolean; timeZone?: string }
const plan = ({ report = {}, choices = {}, never = false, timeZone = 'Europe/Berlin' }: Given = {}) =>
  planInstall(
    { ...machine, ...report },
    {
      name: 'local',
      dataDir: report.platform === 'win32' ? 'C:\\数据' : '/data',
      choices: InstallChoices.parse(choices),
      mirrors,
      timeZone,
      locale: 'en-US',
      noPythonDownloads: never,
      generation: 'g1',
    },
  )
const stepOf = (recipe: ReturnType<typeof plan>, id: string) => recipe.plan.steps.find((step) => step.id === id)!

const amd: Gpu = { ...nvidia, vendor: 'amd', name: 'AMD Radeon RX 7900 XTX', driver: null, computeCapability: null }
test.each<[string, Given, string, string | undefined, string]>([
  ['a card of today', {}, 'cu130', 'https://download.pytorch.org/whl/cu130', '3.12'],
  [
    'an older driver',
    { report: { gpus: [{ ...nvidia, driver: '550.54' }] } },
    'cu128',
    'https://download.pytorch.org/whl/cu128',
    '3.12',
  ],
  [
    'a card of 2016',
    { report: { gpus: [{ ...nvidia, computeCapability: 6.1 }] } },
    'cu126',
    'https://download.pytorch.org/whl/cu126',
    '3.12',
  ],
  ['no card', { report: { gpus: [] } }, 'cpu', 'https://download.pytorch.org/whl/cpu', '3.12'],
  [
    'the processor, though there is a card',
    { choices: { cpu: true } },
    'cpu',
    'https://download.pytorch.org/whl/cpu',
    '3.12',
  ],
  ['AMD on Linux', { report: { gpus: [amd] } }, 'rocm', 'https://download.pytorch.org/whl/rocm7.2', '3.12'],
  [
    'AMD on Windows',
    { report: { gpus: [amd], platform: 'win32' } },
    'rocm',
    'https://stable.repo.amd.com/rocm/whl-next/',
    '3.13',
  ],
  [
    'Apple',
    { report: { platform: 'darwin', arch: 'arm64', gpus: [{ ...amd, vendor: 'apple', name: 'Apple M3' }] } },
    'mps',
    undefined,
    '3.12',
  ],
])('%s: the build, its index and the Python', (_, given, torch, index, version) => {
  const recipe = plan(given)
  expect({ torch: recipe.plan.torch, index: recipe.torchIndexes[0], python: recipe.python }).toEqual({
    torch,
    index,
    python: { is: 'version', version },
  })
})

test('offline: wheels of one’s own come before any index, nothing is counted as fetched for them, a folder is the source', () => {
  const recipe = plan({
    choices: { source: '/src/ComfyUI', findLinks: '/wheels', torch: 'torch==2.13.0', cpu: true, python: 'system' },
    never: true,
  })
  expect(recipe).toMatchObject({
    torchSpec: 'torch==2.13.0',
    source: { is: 'folder', dir: '/src/ComfyUI' },
    python: { is: 'program', path: '/usr/bin/python3.13' },
  })
  expect(stepOf(recipe, 'torch')).toMatchObject({ downloadBytes: 0 })
  expect(stepOf(recipe, 'torch').from[0]).toBe('/wheels')
  expect(stepOf(recipe, 'source')).toMatchObject({ downloadBytes: 0, to: '/data/engines/local/generations/g1/ComfyUI' })
})

test('the steps stand in their order, with paths of the system, and their sums', () => {
  const { plan: made } = plan({ report: { platform: 'win32' }, choices: { manager: true } })
  expect(made.steps.map(({ id }) => id)).toEqual([
    'uv',
    'python',
    'source',
    'environment',
    'torch',
    'requirements',
    'manager',
    'lock',
    'check',
    'trial',
    'switch',
  ])
  expect(made.home).toBe('C:\\数据\\engines\\local')
  expect(made.downloadBytes).toBe(made.steps.reduce((sum, { downloadBytes }) => sum + downloadBytes, 0))
  expect(made.downloadBytes).toBeGreaterThan(2.5e9)
  expect(made.seconds).toBeGreaterThan(made.downloadBytes / 5e6)
})

test('mirrors come first in mainland China, last elsewhere, and not at all when unwanted; an own index before all', () => {
  const hosts = (given: Given) => plan(given).indexes.map((url) => new URL(url).host)
  const source = new URL(mirrors.sources['python-index']!).host
  expect(hosts({})[0]).toBe(source)
  expect(hosts({}).length).toBeGreaterThan(1)
  expect(hosts({ timeZone: 'Asia/Shanghai' }).at(-1)).toBe(source)
  expect(hosts({ timeZone: 'Asia/Shanghai', choices: { mirrors: 'none' } })).toEqual([source])
  expect(hosts({ choices: { index: 'https://index.example/simple' } })[0]).toBe('index.example')
  const [torch] = mirrors.mirrors.filter(({ standsInFor }) => standsInFor.includes('pytorch'))
  expect(plan({ timeZone: 'Asia/Shanghai' }).torchIndexes[0]).toBe(torch!.pattern.replace('{rest}', '/cu130'))
})

test('without any usable Python, and none to be fetched, it is said which there are', () => {
  expect(() => plan({ report: { pythons: [machine.pythons[0]!] }, never: true })).toThrowError(
    expect.objectContaining({ code: 'install.no-python', facts: { found: '3.9.2' } }),
  )
})

const place = (role: 'target' | 'cache' | 'temp', id: string, need: number, free: number) => ({
  role,
  dir: `/${role}`,
  needBytes: need * GiB,
  volume: { id, freeBytes: free * GiB },
})
test.each<[string, ReturnType<typeof place>[], string | null]>([
  [
    'three volumes with room',
    [place('target', 'a', 8, 20), place('cache', 'b', 8, 20), place('temp', 'c', 1, 20)],
    null,
  ],
  ['a small target', [place('target', 'a', 8, 5), place('cache', 'b', 8, 20), place('temp', 'c', 1, 20)], 'target'],
  ['a small cache', [place('target', 'a', 8, 20), place('cache', 'b', 8, 5), place('temp', 'c', 1, 20)], 'cache'],
  ['a small temp', [place('target', 'a', 8, 20), place('cache', 'b', 8, 20), place('temp', 'c', 1, 0.5)], 'temp'],
  [
    'one volume, where the cache is linked',
    [place('target', 'a', 8, 10), place('cache', 'a', 8, 10), place('temp', 'a', 1, 10)],
    null,
  ],
  [
    'one volume, too small',
    [place('target', 'a', 8, 9), place('cache', 'a', 8, 9), place('temp', 'a', 1, 9)],
    'target',
  ],
])('room: %s', (_, places, refused) => {
  if (refused === null) expect(() => checkSpace(places)).not.toThrow()
  else
    expect(() => checkSpace(places)).toThrowError(
      expect.objectContaining({ code: 'install.no-space', facts: expect.objectContaining({ role: refused }) }),
    )
})

test('speed-ups are offered with the plan; one that is wanted has its step, its PyTorch, and its file from mirrors too', () => {
  const recipe = plan({
    report: { platform: 'win32' },
    choices: { speedUps: ['sage-attention'] },
    timeZone: 'Asia/Shanghai',
  })
  expect(recipe.plan.speedUps.map(({ id, why }) => [id, why === null])).toEqual([
    ['sage-attention', true],
    ['triton', true],
    ['flash-attention', false],
  ])
  expect(recipe.torchSpec).toBe('torch<2.14')
  expect(stepOf(recipe, 'speed-ups').downloadBytes).toBeGreaterThan(0)
  const addresses = recipe.addressesIn('sage-attention-windows', 'v1/a%2Bb.whl')
  expect(addresses.at(-1)).toBe(`${mirrors.sources['sage-attention-windows']}/v1/a%2Bb.whl`)
  expect(addresses.length).toBeGreaterThan(1)
  expect(plan().plan.steps.map(({ id }) => id)).not.toContain('speed-ups')
  expect(plan({ report: { gpus: [] } }).plan.speedUps.map(({ why }) => why?.code)).toEqual(
    Array(3).fill('speed-up.needs-nvidia'),
  )
})
