import { expect, test } from 'vitest'
import { HardwareReport } from '../../../../core/contract/engine.ts'
import { othersOf, probeHardware, readNvidiaSmi, type Tool, volumesOf } from '../../../../core/engine/hardware.ts'
import { thisMachine } from '../../../../core/engine/installs.ts'

const two = `0, GPU-0a1b2c3d-0000-0000-0000-000000000001, 580.65.06, 24564, 23012, 8.9, NVIDIA GeForce RTX 4090
1, GPU-0a1b2c3d-0000-0000-0000-000000000002, 580.65.06, [N/A], [N/A], 9.0, NVIDIA GH200, 480GB
`

test('cards are read from nvidia-smi, also what it does not know and a name with a comma', () => {
  expect(readNvidiaSmi(two)).toEqual([
    {
      vendor: 'nvidia',
      name: 'NVIDIA GeForce RTX 4090',
      index: 0,
      uuid: 'GPU-0a1b2c3d-0000-0000-0000-000000000001',
      vramMiB: 24564,
      vramFreeMiB: 23012,
      driver: '580.65.06',
      computeCapability: 8.9,
    },
    expect.objectContaining({ name: 'NVIDIA GH200, 480GB', vramMiB: null, computeCapability: 9 }),
  ])
  expect(readNvidiaSmi('No devices were found\n')).toEqual([])
  expect(readNvidiaSmi('\r\n0, GPU-1, 531.18, 8192, 7000, 6.1, NVIDIA GeForce GTX 1080\r\n')).toHaveLength(1)
})

const missing = () => Promise.reject(Object.assign(new Error('spawn ENOENT'), { code: 'ENOENT' }))
const look = { ...thisMachine(process.env), platform: 'linux' as const, env: { PATH: '' }, list: async () => [] }

test('an nvidia-smi that does not know the compute capability is asked without it', async () => {
  const asked: string[] = []
  const tool: Tool = async (command, [query]) => {
    if (command !== '/usr/lib/wsl/lib/nvidia-smi') return missing()
    asked.push(query!)
    if (query!.includes('compute_cap')) throw new Error('Field "compute_cap" is not a valid field to query.')
    return '0, GPU-1, 470.256.02, 11178, 11000, NVIDIA GeForce GTX 1080 Ti\n'
  }
  const report = await probeHardware({ tool, look })
  expect(asked).toHaveLength(2)
  expect(report.nvidiaSmi).toBe('ok')
  expect(report.gpus[0]).toMatchObject({
    name: 'NVIDIA GeForce GTX 1080 Ti',
    driver: '470.256.02',
    computeCapability: null,
  })
})

test('no nvidia-smi, and one whose driver is gone, are told apart', async () => {
  expect((await probeHardware({ tool: missing, look })).nvidiaSmi).toBe('absent')
  const broken: Tool = async () => {
    throw Object.assign(new Error('NVIDIA-SMI has failed because it couldn’t communicate with the NVIDIA driver'), {
      code: 9,
    })
  }
  expect((await probeHardware({ tool: broken, look })).nvidiaSmi).toBe('failed')
})

test('other cards are noted by vendor; a virtual display is none, and NVIDIA’s are not told twice', () => {
  const controller = (vendor: string, model: string, vram = 8192, vramDynamic = false) => ({
    vendor,
    model,
    vram,
    vramDynamic,
    driverVersion: '31.0',
  })
  const controllers = [
    controller('Advanced Micro Devices, Inc. [AMD/ATI]', 'Navi 31 [Radeon RX 7900 XTX]', 24576),
    controller('Intel Corporation', 'UHD Graphics 770', 128, true),
    controller('Apple', 'Apple M3 Max', 0),
    controller('NVIDIA Corporation', 'AD102 [GeForce RTX 4090]'),
    controller('Red Hat, Inc.', 'QXL paravirtual graphic card'),
  ]
  const found = othersOf(controllers, readNvidiaSmi(two), 'linux')
  expect(found.map(({ vendor, vramMiB }) => [vendor, vramMiB])).toEqual([
    ['amd', 24576],
    ['intel', null],
    ['apple', null],
  ])
  expect(othersOf(controllers, undefined, 'win32').find(({ vendor }) => vendor === 'nvidia')).toMatchObject({
    driver: null,
  })
})

test('a volume is told once, by its shortest mount, and not if nobody keeps files there', () => {
  const volume = (fs: string, mount: string, type = 'ext4', size = 2 ** 40) => ({
    fs,
    mount,
    type,
    size,
    available: size / 2,
  })
  expect(
    volumesOf([
      volume('/dev/sda1', '/'),
      volume('/dev/sda1', '/var/lib/docker'),
      volume('tmpfs', '/run', 'tmpfs'),
      volume('/dev/loop1', '/snap/x', 'squashfs'),
      volume('/dev/sdb1', '/boot', 'vfat', 2 ** 28),
    ]),
  ).toEqual([{ mount: '/', type: 'ext4', sizeBytes: 2 ** 40, freeBytes: 2 ** 39 }])
})

test('this machine is seen', async () => {
  const report = HardwareReport.parse(await probeHardware({ look: thisMachine(process.env) }))
  expect(report.ramMiB).toBeGreaterThan(500)
  expect(report.cpu.cores).toBeGreaterThan(0)
  expect(report.platform).toBe(process.platform)
})
