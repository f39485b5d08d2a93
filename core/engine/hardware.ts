import { execFile } from 'node:child_process'
import { arch, cpus, freemem, totalmem } from 'node:os'
import { delimiter } from 'node:path'
import { promisify } from 'node:util'
import si from 'systeminformation'
import type { Gpu, HardwareReport } from '../contract/engine.ts'
import { findInstalls, type Look } from './installs.ts'
import { isFree } from './process/ports.ts'

/** Gives what a command prints; throws when it fails. */
export type Tool = (command: string, args: readonly string[], signal?: AbortSignal) => Promise<string>

const WITHIN_MS = 12_000
const PORTS = [8188, 8000, 7860] // ComfyUI, its desktop app, the WebUIs

const toolIn =
  (env: NodeJS.ProcessEnv): Tool =>
  async (command, args, signal) => {
    const { stdout, stderr } = await promisify(execFile)(command, [...args], {
      env: { ...env, LC_ALL: 'C' },
      timeout: WITHIN_MS,
      windowsHide: true,
      signal,
    })
    return stdout || stderr
  }

/** What this machine has. What cannot be learned is left out; nothing is changed. */
export async function probeHardware({
  signal,
  look,
  tool = toolIn(look.env),
}: {
  signal?: AbortSignal
  tool?: Tool
  look: Look
}): Promise<HardwareReport> {
  const orNull = <T>(asked: Promise<T>) => withinTime(asked).catch(() => null)
  const [nvidia, graphics, os, cpu, memory, volumes, pythons, gits, installs, ports] = await Promise.all([
    askNvidia(tool, look.platform, signal),
    orNull(si.graphics()),
    orNull(si.osInfo()),
    orNull(si.cpu()),
    orNull(si.mem()),
    orNull(si.fsSize()),
    programsOf(PYTHONS[look.platform === 'win32' ? 'win32' : 'others'], /Python (\d+\.\d+\.\S+)/, tool, look, signal),
    programsOf(['git'], /git version (\S+)/, tool, look, signal),
    findInstalls(look).catch(() => []),
    Promise.all(PORTS.map(async (port) => ({ port, free: await isFree(port) }))),
  ])
  signal?.throwIfAborted()
  const { platform } = look
  return {
    platform: platform === 'linux' || platform === 'win32' || platform === 'darwin' ? platform : 'other',
    arch: arch(),
    osName: [os?.distro, os?.release].filter(Boolean).join(' ') || platform,
    cpu: { name: [cpu?.manufacturer, cpu?.brand].filter(Boolean).join(' ') || arch(), cores: cpus().length },
    ramMiB: Math.round((memory?.total ?? totalmem()) / 2 ** 20),
    ramFreeMiB: Math.round((memory?.available ?? freemem()) / 2 ** 20),
    gpus: [...(nvidia.gpus ?? []), ...othersOf(graphics?.controllers ?? [], nvidia.gpus, platform)],
    nvidiaSmi: nvidia.is,
    volumes: volumesOf(volumes ?? []),
    pythons,
    gits,
    installs,
    ports,
  }
}

async function withinTime<T>(asked: Promise<T>): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>()
  const timer = setTimeout(() => reject(new Error('no answer')), WITHIN_MS)
  return Promise.race([asked, promise]).finally(() => clearTimeout(timer))
}

// ---- NVIDIA ----

const FIELDS = ['index', 'uuid', 'driver_version', 'memory.total', 'memory.free', 'compute_cap', 'name']
const OLD_FIELDS = FIELDS.filter((field) => field !== 'compute_cap')
const NVIDIA_SMI: Partial<Record<NodeJS.Platform, string[]>> = {
  win32: [
    'nvidia-smi',
    'C:\\Windows\\System32\\nvidia-smi.exe',
    'C:\\Program Files\\NVIDIA Corporation\\NVSMI\\nvidia-smi.exe',
  ],
  linux: ['nvidia-smi', '/usr/bin/nvidia-smi', '/usr/lib/wsl/lib/nvidia-smi'],
}

/** The NVIDIA cards alone, quickly. */
export const nvidiaCards = async (look: Look, tool: Tool = toolIn(look.env)): Promise<Gpu[]> =>
  (await askNvidia(tool, look.platform)).gpus ?? []

async function askNvidia(
  tool: Tool,
  platform: NodeJS.Platform,
  signal?: AbortSignal,
): Promise<{ is: HardwareReport['nvidiaSmi']; gpus?: Gpu[] }> {
  let there = false
  for (const command of NVIDIA_SMI[platform] ?? []) {
    for (const fields of [FIELDS, OLD_FIELDS]) {
      try {
        const args = [`--query-gpu=${fields.join(',')}`, '--format=csv,noheader,nounits']
        return { is: 'ok', gpus: readNvidiaSmi(await tool(command, args, signal), fields) }
      } catch (cause) {
        if ((cause as NodeJS.ErrnoException).code === 'ENOENT') break
        there = true // it is older and does not know a field, or its driver is gone
      }
    }
  }
  return { is: there ? 'failed' : 'absent' }
}

/** A line a card; the name is last, since it may hold commas. Pure. */
export function readNvidiaSmi(csv: string, fields: readonly string[] = FIELDS): Gpu[] {
  return csv.split('\n').flatMap((line): Gpu[] => {
    const parts = line.trim().split(', ')
    if (parts.length < fields.length || !/^\d+$/.test(parts[0]!)) return []
    const values = [...parts.slice(0, fields.length - 1), parts.slice(fields.length - 1).join(', ')]
    const of = (field: string) => values[fields.indexOf(field)] ?? ''
    const number = (field: string) => (/^\d+(\.\d+)?$/.test(of(field)) ? Number(of(field)) : null) // [N/A], [Not Supported]
    return [
      {
        vendor: 'nvidia',
        name: of('name'),
        index: number('index'),
        uuid: of('uuid') || null,
        vramMiB: number('memory.total'),
        vramFreeMiB: number('memory.free'),
        driver: /^\d/.test(of('driver_version')) ? of('driver_version') : null,
        computeCapability: number('compute_cap'),
      },
    ]
  })
}

// ---- other cards ----

type Controller = Pick<
  si.Systeminformation.GraphicsControllerData,
  'vendor' | 'model' | 'vram' | 'vramDynamic' | 'driverVersion'
>

/** Cards that nvidia-smi did not tell of; pictures of a remote desktop or a server's console are none. Pure. */
export function othersOf(
  controllers: readonly Controller[],
  nvidia: Gpu[] | undefined,
  platform: NodeJS.Platform,
): Gpu[] {
  return controllers.flatMap((controller): Gpu[] => {
    const name = controller.model.trim()
    const vendor = vendorOf(`${controller.vendor} ${name}`)
    if (vendor === null || (vendor === 'nvidia' && nvidia && nvidia.length > 0)) return []
    const shared = controller.vramDynamic || vendor === 'apple'
    return [
      {
        vendor,
        name,
        index: null,
        uuid: null,
        vramMiB: shared || !controller.vram ? null : controller.vram,
        vramFreeMiB: null,
        // the version the system tells of on Windows is not the one NVIDIA's tables go by
        driver: vendor === 'nvidia' && platform === 'win32' ? null : controller.driverVersion || null,
        computeCapability: null,
      },
    ]
  })
}

function vendorOf(text: string): Gpu['vendor'] | null {
  if (/nvidia/i.test(text)) return 'nvidia'
  if (/\bamd\b|\bati\b|radeon|advanced micro devices/i.test(text)) return 'amd'
  if (/intel/i.test(text)) return 'intel'
  if (/apple/i.test(text)) return 'apple'
  return null
}

// ---- disks and programs ----

/** Each volume once, without those no file of a person's lies on. Pure. */
export function volumesOf(
  found: readonly Pick<si.Systeminformation.FsSizeData, 'fs' | 'type' | 'size' | 'available' | 'mount'>[],
) {
  const once = new Map<string, HardwareReport['volumes'][number]>()
  for (const { fs, type, size, available, mount } of found) {
    if (size < 2 ** 30 || /^(?:squashfs|tmpfs|devtmpfs|efivarfs|iso9660|udf)$/i.test(type)) continue
    const before = once.get(fs)
    if (!before || mount.length < before.mount.length)
      once.set(fs, { mount, type, sizeBytes: size, freeBytes: available })
  }
  return [...once.values()]
}

const PYTHONS = {
  win32: ['python', 'py'],
  others: ['python3', 'python', 'python3.13', 'python3.12', 'python3.11', 'python3.10'],
}

/** Programs on the path, each version of each place once. */
async function programsOf(
  names: readonly string[],
  version: RegExp,
  tool: Tool,
  look: Look,
  signal?: AbortSignal,
): Promise<{ path: string; version: string }[]> {
  const exe = look.platform === 'win32' ? '.exe' : ''
  const folders = (look.env.PATH ?? look.env.Path ?? '').split(delimiter).filter(Boolean)
  const separator = look.platform === 'win32' ? '\\' : '/'
  const paths = [...new Set(folders.flatMap((dir) => names.map((name) => `${dir}${separator}${name}${exe}`)))]
  const found = await Promise.all(
    paths.map(async (path) => {
      // the store's placeholder opens the store when it is run
      if (/WindowsApps/i.test(path) || !(await look.exists(path))) return []
      const said = await tool(path, ['--version'], signal).catch(() => '')
      const told = version.exec(said)?.[1]
      return told ? [{ path, version: told }] : []
    }),
  )
  return found.flat()
}
