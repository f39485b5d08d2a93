import { spawnSync } from 'node:child_process'
import { createHash, randomUUID } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import path from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { type HardwareReport, InstallChoices, type InstallStepId } from '../../core/contract/engine.ts'
import { dispatcherFor } from '../../core/engine/download/fetch-file.ts'
import { Mirrors } from '../../core/engine/download/mirrors.ts'
import { flagsFor, Journal } from '../../core/engine/install/generations.ts'
import { carryOut } from '../../core/engine/install/installer.ts'
import { planInstall, type Volume } from '../../core/engine/install/plan.ts'
import { bytesSource } from '../../core/engine/metadata/source.ts'
import { readZip } from '../../core/engine/metadata/zip.ts'
import { tempDir } from '../kit/temp-dir.ts'
import { pythonHere, tinyComfy, uvHere, wheel } from '../kit/tiny-comfy.ts'

const uv = uvHere()
const python = pythonHere()
const why = uv === null ? 'no uv here' : python === null ? 'no Python 3.10 to 3.13 here' : null

const machine: HardwareReport = {
  platform: 'linux',
  arch: 'x64',
  osName: 'Debian 12',
  cpu: { name: 'a processor', cores: 8 },
  ramMiB: 65_536,
  ramFreeMiB: 60_000,
  gpus: [
    {
      vendor: 'nvidia',
      name: 'NVIDIA GeForce RTX 4090',
      index: 0,
      uuid: null,
      vramMiB: 24_564,
      vramFreeMiB: null,
      driver: '580.65.06',
      computeCapability: 8.9,
    },
  ],
  nvidiaSmi: 'ok',
  volumes: [],
  pythons: [],
  gits: [],
  installs: [],
  ports: [],
}

type Comfy = Awaited<ReturnType<typeof tinyComfy>>

/** Carries out some steps of an installation of a tiny ComfyUI. */
async function install(
  comfy: Comfy,
  more: Partial<InstallChoices>,
  {
    steps,
    indexes,
    dataDir = path.join(comfy.root, `data-${randomUUID().slice(0, 4)}`),
    ...others
  }: {
    steps?: readonly InstallStepId[]
    indexes?: readonly string[]
    dataDir?: string
    temp?: string
    volumeOf?: (dir: string) => Promise<Volume>
  } = {},
) {
  const choices = InstallChoices.parse({
    source: comfy.source,
    ref: comfy.commits[0]!,
    python: python ?? process.execPath,
    mirrors: 'none',
    ...more,
  })
  const recipe = planInstall(machine, {
    name: 'local',
    dataDir,
    choices,
    mirrors: Mirrors.parse({}),
    timeZone: 'Europe/Berlin',
    locale: 'en',
    noPythonDownloads: true,
    generation: 'g',
  })
  const { plan } = recipe
  const dir = path.join(dataDir, 'engines', 'local', 'generations', 'g')
  const log = path.join(comfy.root, 'install.log')
  const dispatcher = dispatcherFor('none', {})
  const journal = await carryOut({
    recipe: {
      ...recipe,
      ...(indexes && { indexes, torchIndexes: [] }),
      plan: { ...plan, steps: plan.steps.filter(({ id }) => !steps || steps.includes(id)) },
    },
    generation: 'g',
    dir,
    journal: Journal.parse({ purpose: 'install', choices, createdAt: 1 }),
    proxy: 'none',
    withUser: (address) => address,
    log,
    like: null,
    locked: null,
    stateDir: path.join(dataDir, 'engines', '.running'),
    dispatcher,
    env: {
      PATH: `${path.dirname(uv ?? '')}${path.delimiter}${process.env.PATH}`,
      UV_PYTHON_DOWNLOADS: 'never',
      UV_HTTP_TIMEOUT: '5',
      UV_HTTP_RETRIES: '0',
      ...(others.temp && { TMPDIR: others.temp }),
    },
    ...(others.volumeOf && { volumeOf: others.volumeOf }),
    platform: process.platform,
    arch: process.arch,
    pythons: [],
    now: Date.now,
    signal: AbortSignal.timeout(180_000),
    onStep: () => {},
  }).finally(() => dispatcher.destroy())
  return { journal, dir, log }
}

/** As much of PyTorch as is asked of it, where attention is what `attends` says. */
const torchThat = (attends: string) => `
__version__ = "2.13.0+cu130"
class _Cuda:
    def is_available(self): return True
cuda = _Cuda()
float16 = None
class Tensor:
    def float(self): return self
    def __sub__(self, other): return self
    def abs(self): return self
    def max(self): return self
    def item(self): return ${attends}
def randn(*shape, **more): return Tensor()
class _Functional:
    def scaled_dot_product_attention(self, q, k, v): return Tensor()
class nn:
    functional = _Functional()
`
function makeFast(comfy: Comfy, off: string) {
  for (const file of readdirSync(comfy.wheels).filter((name) => name.startsWith('torch-')))
    rmSync(path.join(comfy.wheels, file))
  wheel(comfy.wheels, 'torch', '2.13.0+cu130', { code: torchThat(off) })
  wheel(comfy.wheels, 'sageattention', '1.0.6', { code: 'def sageattn(q, k, v, **more): return q\n' })
}

describe.skipIf(why !== null)(`steps of an installation with the real uv${why === null ? '' : ` (${why})`}`, () => {
  test.each<[string, string, string, string[]]>([
    ['that works stays, with its flag', '0.001', '', ['--use-sage-attention']],
    ['whose kernel computes something else is left out', '0.5', '', []],
    ['that ComfyUI does not start with is left out, and it starts without', '0.001', 'exits', []],
  ])('a speed-up %s', async (_, off, start, flags) => {
    const comfy = await tinyComfy(
      start === 'exits'
        ? 'import sys\nif "--use-sage-attention" in sys.argv: sys.exit("it cannot be used here")\n'
        : '',
    )
    makeFast(comfy, off)
    const empty = path.join(comfy.root, 'index')
    mkdirSync(empty)
    const { journal, dir } = await install(comfy, {
      findLinks: comfy.wheels,
      index: `file://${encodeURI(empty)}`,
      torch: 'torch==2.13.0',
      speedUps: ['sage-attention'],
    })
    expect(journal.done).toContain('switch')
    expect(flagsFor(journal)).toEqual(flags)
    const told = journal.findings.filter(({ code }) => code.startsWith('install.speed-up')).map(({ code }) => code)
    expect(told).toEqual(flags.length > 0 ? [] : ['install.speed-up-dropped'])
    const [version] = readdirSync(path.join(dir, 'venv', 'lib'))
    expect(existsSync(path.join(dir, 'venv', 'lib', version!, 'site-packages', 'sageattention'))).toBe(flags.length > 0)
    expect(readFileSync(path.join(dir, 'lock.json'), 'utf8').includes('sageattention')).toBe(flags.length > 0)
  })

  test.each(['403', 'stalls', 'resets', 'a wrong size', 'a wrong hash'] as const)(
    'an index that gives %s is passed over: the packages come from the next, nothing twice, and it is told',
    async (fault) => {
      const comfy = await tinyComfy()
      const bad = await indexOf(comfy.wheels, fault)
      const good = await indexOf(comfy.wheels, null)
      const { journal, dir } = await install(
        comfy,
        { torch: 'torch==2.13.0+cpu' },
        {
          steps: ['uv', 'python', 'source', 'environment', 'torch', 'requirements'],
          indexes: [`${bad.url}/simple`, `${good.url}/simple`],
        },
      )
      const [version] = readdirSync(path.join(dir, 'venv', 'lib'))
      expect(existsSync(path.join(dir, 'venv', 'lib', version!, 'site-packages', 'tinydep', '__init__.py'))).toBe(true)
      expect(journal.switched).toContainEqual(
        expect.objectContaining({ from: new URL(bad.url).host, to: new URL(good.url).host }),
      )
      const whole = ['torch-2.13.0+cpu', 'tinydep-1.5.0', 'pip-99.0'].reduce(
        (sum, name) => sum + readFileSync(path.join(comfy.wheels, `${name}-py3-none-any.whl`)).length,
        0,
      )
      expect(good.sentBytes()).toBeLessThanOrEqual(whole * 1.05)
    },
  )
})

/** A real volume of 40 MB where we may make one; else what statfs would say of it. */
function smallVolume(dir: string): { volumeOf?: (dir: string) => Promise<Volume> } {
  mkdirSync(dir, { recursive: true })
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=40m', 'tmpfs', dir]).status === 0
  if (mounted) onTestFinished(() => void spawnSync('umount', ['-l', dir]))
  if (mounted) return {}
  const small = { id: 'small', freeBytes: 40_000_000 }
  const large = { id: 'large', freeBytes: 500 * 2 ** 30 }
  return { volumeOf: async (at) => (at === dir || at.startsWith(dir + path.sep) ? small : large) }
}

test.each(['target', 'cache', 'temp'] as const)(
  'a small volume for the %s: refused before the first byte, and it is the one named',
  async (role) => {
    const root = tempDir()
    const comfy = { root, source: path.join(root, 'source'), wheels: root, commits: ['x'] }
    const [dataDir, temp] = [path.join(root, 'data'), path.join(root, 'temp')]
    mkdirSync(temp)
    const dir = { target: path.join(dataDir, 'engines'), cache: path.join(dataDir, 'cache'), temp }[role]
    const index = await indexOf(root, null)
    const asked = install(comfy, {}, { dataDir, temp, indexes: [`${index.url}/simple`], ...smallVolume(dir) })
    await expect(asked).rejects.toMatchObject({
      code: 'install.no-space',
      facts: { role, dir: expect.stringContaining(dir), freeGiB: 0 },
    })
    expect(index.asked()).toBe(0)
    expect(existsSync(path.join(dataDir, 'engines', '.tools'))).toBe(false)
  },
)

/** A Python index of a folder of wheels, with a fault of its files. */
async function indexOf(wheels: string, fault: '403' | 'stalls' | 'resets' | 'a wrong size' | 'a wrong hash' | null) {
  let [sent, asked] = [0, 0]
  const file = (reply: ServerResponse, name: string) => {
    const bytes = readFileSync(path.join(wheels, name))
    if (fault === '403') return reply.writeHead(403).end()
    if (fault === 'stalls') return reply.writeHead(200, { 'content-length': bytes.length }).flushHeaders()
    if (fault === 'resets') return reply.destroy()
    if (fault === 'a wrong size')
      return reply.writeHead(200, { 'content-length': bytes.length - 9 }).end(bytes.subarray(9))
    const other = fault === 'a wrong hash' ? Buffer.concat([bytes.subarray(0, -1), Buffer.from('x')]) : bytes
    sent += other.length
    return reply.writeHead(200, { 'content-length': other.length }).end(other)
  }
  const server = createServer((request, reply) => {
    asked++
    const url = new URL(request.url ?? '/', 'http://x')
    const [, kind, name = ''] = url.pathname.split('/').map(decodeURIComponent)
    if (kind === 'files' && name.endsWith('.metadata')) {
      const wheel = readFileSync(path.join(wheels, name.replace(/\.metadata$/, '')))
      const entry = readZip(name, bytesSource(wheel))
        .find((each) => each.name.endsWith('/METADATA'))!
        .open()
      return void reply.writeHead(200).end(entry.read(0, entry.sizeBytes))
    }
    if (kind === 'files') return void file(reply, name)
    const found = readdirSync(wheels).filter((each) => each.startsWith(`${name}-`))
    if (found.length === 0) return void reply.writeHead(404).end()
    const links = found.map((each) => {
      const sha256 = createHash('sha256')
        .update(readFileSync(path.join(wheels, each)))
        .digest('hex')
      return `<a href="/files/${encodeURIComponent(each)}#sha256=${sha256}" data-core-metadata="true">${each}</a>`
    })
    reply.writeHead(200, { 'content-type': 'text/html' }).end(`<html><body>${links.join('\n')}</body></html>`)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    sentBytes: () => sent,
    asked: () => asked,
  }
}
