import { access, chmod, constants, open, readFile, rm, stat, statfs } from 'node:fs/promises'
import path from 'node:path'
import type { EngineKind, Finding, HardwareReport, Verdict } from '../../contract/engine.ts'
import type { Failure } from '../../contract/errors.ts'
import { isJsonObject, parseJson } from '../../contract/json.ts'
import { driverFits } from '../../domain/machine.ts'
import { pathPitfalls, upkeep } from '../../domain/upkeep.ts'
import { canLink, volumeType } from '../volume.ts'
import { CommandFailed, type CommandOptions, runCommand } from './command.ts'
import { isThere } from './generations.ts'
import { type Damage, damageIn, type Lock, readLock } from './lock.ts'

/** A ComfyUI to look over. */
export interface Patient {
  readonly kind: EngineKind
  /** Where main.py is. */
  readonly dir: string
  readonly python: string
  /** Where models, input, output, user and custom nodes lie. */
  readonly base: string
  /** Of one that Nightshift installed. */
  readonly installed: {
    readonly home: string
    readonly generation: string
    readonly cache: string
    readonly cpu: boolean
  } | null
  readonly machine: { readonly report: HardwareReport; readonly verdict: Verdict }
  /** Why the last start failed; null: it did not. */
  readonly failed: Failure | null
  readonly failedNodes: readonly string[]
  readonly command: CommandOptions
  /** A name that no file has. */
  readonly mark: string
  readonly mayWrite?: (dir: string, mark: string) => Promise<boolean>
  readonly volumeType?: typeof volumeType
}
export interface Examined {
  readonly findings: Finding[]
  readonly lock: Lock | null
  readonly damages: readonly Damage[]
  /** Folders that could not be written to. */
  readonly denied: readonly string[]
}

const LOW_DISK_BYTES = 5 * 2 ** 30
const WORKED_IN = ['models', 'input', 'output', 'user', 'custom_nodes']
const NODES_TO_BLAME = /^engine\.(?:custom-node-broken|nodes-ended-it)$/

/** All that is wrong with an installation, the worst first. What is written to try a folder is taken away again. */
export async function examine(patient: Patient): Promise<Examined> {
  const { kind, dir, python, base, installed, machine, failed, failedNodes, mark } = patient
  const { report } = machine
  const findings: Finding[] = []
  const mend = installed ? ({ mend: 'repair' } as const) : {}

  const there = await Promise.all(
    [python, path.join(dir, 'main.py')].map(async (file) => ({ file, is: await isThere(file) })),
  )
  for (const { file, is } of there)
    if (!is) findings.push({ ...upkeep('bad', 'doctor.program-missing', { path: file }), ...mend })

  const lock = installed ? await readLock(installed.generation).catch(() => null) : null
  const damages = installed && lock ? await damageIn(installed.generation, lock) : []
  findings.push(...told(damages))
  if (installed && !lock) findings.push({ ...upkeep('warning', 'doctor.not-in-lock'), mend: 'repair' })
  if (there.every(({ is }) => is)) findings.push(...(await aboutPython(patient, damages.length > 0)))

  if (failed && NODES_TO_BLAME.test(failed.code))
    findings.push({ ...upkeep('bad', 'doctor.nodes-broken', { reason: failed.message }), mend: 'bisect' })
  if (failedNodes.length > 0) findings.push(upkeep('warning', 'doctor.nodes-failed', { nodes: failedNodes.join(', ') }))

  const places = [...new Set([installed?.home ?? dir, base])]
  const denied: string[] = []
  const tried = [...new Set([...places, ...WORKED_IN.map((name) => path.join(base, name))])]
  // in a folder that is not ours nothing is written, not even to try
  const mayWrite = patient.mayWrite ?? (installed ? canWrite : seemsWritable)
  for (const place of tried) if ((await isThere(place)) && !(await mayWrite(place, mark))) denied.push(place)
  for (const place of denied) findings.push({ ...upkeep('bad', 'doctor.denied', { dir: place }), mend: 'permissions' })

  const seen = new Set<number | string>()
  for (const place of places) {
    const [space, at] = await Promise.all([statfs(place).catch(() => null), stat(place).catch(() => null)])
    if (space && at && !seen.has(at.dev) && space.bavail * space.bsize < LOW_DISK_BYTES) {
      const free = Math.floor((space.bavail * space.bsize) / 2 ** 30)
      findings.push(upkeep('warning', 'doctor.disk-low', { dir: place, free }))
    }
    if (at) seen.add(at.dev)
    const type = await (patient.volumeType ?? volumeType)(place, report)
    const within = places.some((other) => other !== place && place.startsWith(other + path.sep))
    const pitfalls = pathPitfalls(place, report.platform, type)
    if (!within) findings.push(...pitfalls)
  }
  if (installed && !findings.some(({ code }) => /^doctor\.path-(?:exfat|fat32)$/.test(code)))
    if ((await canLink(installed.cache, installed.home, mark)) === false)
      findings.push(upkeep('note', 'doctor.no-links', { cache: installed.cache, dir: installed.home }))

  if (!findings.some(({ level }) => level === 'bad') && (kind !== 'installed' || lock))
    findings.push(upkeep('good', 'doctor.healthy', { count: Object.keys(lock?.packages ?? {}).length }))
  const order: Finding['level'][] = ['bad', 'warning', 'note', 'good']
  return {
    findings: findings.toSorted((a, b) => order.indexOf(a.level) - order.indexOf(b.level)),
    lock,
    damages,
    denied,
  }
}

/** Makes a folder writable again, where it is the person's own. */
export async function allowWriting(dirs: readonly string[]): Promise<void> {
  for (const dir of dirs) {
    const found = await stat(dir).catch(() => null)
    if (found) await chmod(dir, found.mode | 0o700).catch(() => {}) // another's stays as it is, and is found again
  }
}

/** What its Python says of PyTorch, and whether ComfyUI's requirements are there. */
async function aboutPython(patient: Patient, damaged: boolean): Promise<Finding[]> {
  const { dir, python, installed, machine, command } = patient
  const { report, verdict } = machine
  const requirements = await readFile(path.join(dir, 'requirements.txt'), 'utf8').catch(() => '')
  const names = requirements
    .split(/\r?\n/)
    .flatMap((line) => /^\s*([A-Za-z\d][\w.-]*)\s*(?:$|[<>=!~;[#])/.exec(line)?.[1] ?? [])
  let said: unknown
  try {
    const out = await runCommand(python, ['-c', ASK, ...names], command)
    said = parseJson(out.trim().split('\n').at(-1) ?? '')
  } catch (cause) {
    command.signal?.throwIfAborted()
    const reason = cause instanceof CommandFailed ? cause.message : 'it says nothing'
    return damaged
      ? []
      : [{ ...upkeep('bad', 'doctor.torch-broken', { reason }), ...(installed && { mend: 'repair' }) }]
  }
  if (!isJsonObject(said)) return []
  const findings: Finding[] = []
  const missing = Array.isArray(said.missing) ? said.missing.map(String) : []
  // of what was installed by us the lock tells more; what it left out on purpose was told then
  if (missing.length > 0 && !installed)
    findings.push(upkeep('bad', 'doctor.requirement-missing', { packages: missing.join(', ') }))
  if (typeof said.broken === 'string' && !damaged)
    findings.push({
      ...upkeep('bad', 'doctor.torch-broken', { reason: said.broken }),
      ...(installed && { mend: 'repair' }),
    })
  const found = /\+(cu\d+|cpu|rocm|xpu)/.exec(String(said.torch ?? ''))?.[1]
  const { gpu, torch: wanted } = verdict
  const mend = installed ? ({ mend: 'torch' } as const) : {}
  if (found && gpu && !driverFits(found, gpu, report.platform))
    findings.push({ ...upkeep('bad', 'doctor.torch-driver', { found, driver: gpu.driver ?? '?', wanted }), ...mend })
  else if (found && gpu && !installed?.cpu && found !== wanted && !(found.startsWith('rocm') && wanted === 'rocm'))
    findings.push({ ...upkeep('warning', 'doctor.torch-other', { found, wanted }), ...mend })
  return findings
}
const ASK = `import json, sys
from importlib import metadata
said = {"missing": []}
for name in sys.argv[1:]:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        said["missing"].append(name)
if "torch" in sys.argv[1:] and "torch" not in said["missing"]:
    try:
        import torch
        said["torch"] = str(torch.__version__)
    except Exception as cause:
        said["broken"] = "%s: %s" % (type(cause).__name__, str(cause).splitlines()[0] if str(cause) else "")
print(json.dumps(said))`

const told = (damages: readonly Damage[]): Finding[] =>
  [...Map.groupBy(damages, (damage) => damage.package).values()].map(([first]) => {
    const { version, file } = first!
    const facts = { package: first!.package, version }
    const finding =
      file === null
        ? upkeep('bad', 'doctor.package-missing', facts)
        : upkeep('bad', 'doctor.package-damaged', { ...facts, file })
    return { ...finding, mend: 'repair' }
  })

const seemsWritable = (dir: string) =>
  access(dir, constants.W_OK).then(
    () => true,
    () => false,
  )
/** Tried, since permissions of Windows, read-only volumes and quotas are not told by asking. */
async function canWrite(dir: string, mark: string): Promise<boolean> {
  const file = path.join(dir, `.${mark}`)
  try {
    await (await open(file, 'wx')).close()
    return true
  } catch {
    return false
  } finally {
    await rm(file, { force: true }).catch(() => {})
  }
}
