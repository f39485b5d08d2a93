import { createHash, type Hash } from 'node:crypto'
import {
  constants,
  copyFile,
  type FileHandle,
  link,
  lstat,
  open,
  readdir,
  readFile,
  readlink,
  rename,
  rm,
  stat,
  utimes,
} from 'node:fs/promises'
import path from 'node:path'
import { AppError } from '../../contract/errors.ts'
import { patiently, syncFolder } from '../download/disk.ts'

/** How two names come to share their bytes: `reflink` keeps them files of their own, `hard-link` makes them one. */
export type MergeHow = 'reflink' | 'hard-link' | 'none'

/** Paths without links on the way, all said to hold the same bytes. */
export interface SameFiles {
  readonly sha256: string
  readonly paths: readonly string[]
}
export interface PlannedFile {
  readonly path: string
  readonly will: 'kept' | 'merge' | 'same' | 'left'
  /** Why it is left as it is. */
  readonly because: 'linked-elsewhere' | 'in-use' | 'no-links' | 'not-writable' | null
  readonly inode: string
  readonly sizeBytes: number
  readonly modifiedNs: string
  readonly mode: number
  /** What it gives back; a file with several names gives it with the last of them. */
  readonly freesBytes: number
}
export interface VolumePlan {
  readonly mount: string
  readonly device: string
  readonly how: MergeHow
  readonly keep: string
  readonly files: readonly PlannedFile[]
  readonly freedBytes: number
}
export interface GroupPlan {
  readonly sha256: string
  readonly volumes: readonly VolumePlan[]
}

/** One name that is to share its bytes, or does: all that is needed to finish after a crash, and to undo. */
export interface MergedFile {
  readonly path: string
  readonly keep: string
  readonly sha256: string
  readonly sizeBytes: number
  readonly how: Exclude<MergeHow, 'none'>
  /** Of the file that was there before. */
  readonly inode: string
  readonly modifiedNs: string
  readonly mode: number
  readonly freedBytes: number
}
/** `failed`: the disk or its permissions did not allow it; it is as it was. */
export type Outcome = 'merged' | 'undone' | 'changed' | 'in-use' | 'gone' | 'failed'

interface Seen {
  readonly path: string
  readonly device: string
  readonly inode: string
  readonly links: number
  readonly allocated: number
  readonly sizeBytes: number
  readonly modifiedNs: bigint
  readonly mode: number
}

async function see(file: string): Promise<Seen | null> {
  const found = await lstat(file, { bigint: true }).catch(() => null)
  if (!found?.isFile()) return null
  return {
    path: file,
    device: String(found.dev),
    inode: String(found.ino),
    links: Number(found.nlink),
    // Windows does not say what is allocated
    allocated: process.platform === 'win32' ? Number(found.size) : Number(found.blocks) * 512,
    sizeBytes: Number(found.size),
    modifiedNs: found.mtimeNs,
    mode: Number(found.mode) & 0o7777,
  }
}

/**
 * What merging would do, volume by volume, and what it would give back; nothing but a probe of a few bytes is written.
 * What has only one name on its volume is not told of.
 */
export async function planMerge(groups: readonly SameFiles[], signal?: AbortSignal): Promise<GroupPlan[]> {
  const abilities = new Map<string, Promise<MergeHow>>()
  const mounts = new Map<string, Promise<string>>()
  const looked: { sha256: string; seen: Seen[] }[] = []
  for (const { sha256, paths } of groups) {
    signal?.throwIfAborted()
    const seen = await Promise.all([...new Set(paths)].map(see))
    looked.push({ sha256, seen: seen.filter((one) => one !== null) })
  }
  const used = await usedAmong(looked.flatMap(({ seen }) => seen))
  const plans: GroupPlan[] = []
  for (const { sha256, seen } of looked) {
    signal?.throwIfAborted()
    const volumes: VolumePlan[] = []
    for (const [device, files] of Map.groupBy(seen, (one) => one.device)) {
      if (files.length < 2) continue
      const inodes = [...Map.groupBy(files, (one) => one.inode).values()]
      // what others link to as well is best kept; else the older one, which more is likely to know
      inodes.sort(
        (a, b) =>
          b[0]!.links - a[0]!.links ||
          Number(a[0]!.modifiedNs - b[0]!.modifiedNs) ||
          (a[0]!.path < b[0]!.path ? -1 : 1),
      )
      const [kept, ...others] = inodes
      const keep = kept![0]!
      if (!abilities.has(device)) abilities.set(device, abilityOf(path.dirname(keep.path)))
      if (!mounts.has(device)) mounts.set(device, mountOf(keep.path, device))
      const how = others.length === 0 ? 'hard-link' : await abilities.get(device)!
      const planned: PlannedFile[] = kept!.map((one, at) => told(one, at === 0 ? 'kept' : 'same'))
      for (const names of others) {
        const first = names[0]!
        const because =
          how === 'none'
            ? 'no-links'
            : first.links > names.length
              ? 'linked-elsewhere'
              : used.has(`${first.device}:${first.inode}`)
                ? 'in-use'
                : null
        for (const [at, one] of names.entries())
          planned.push(
            because
              ? told(one, 'left', because)
              : told(one, 'merge', null, at === names.length - 1 ? one.allocated : 0),
          )
      }
      const freedBytes = planned.reduce((sum, { freesBytes }) => sum + freesBytes, 0)
      volumes.push({ mount: await mounts.get(device)!, device, how, keep: keep.path, files: planned, freedBytes })
    }
    if (volumes.length > 0) plans.push({ sha256, volumes })
  }
  return plans
}

const told = (
  { path: file, inode, sizeBytes, modifiedNs, mode }: Seen,
  will: PlannedFile['will'],
  because: PlannedFile['because'] = null,
  freesBytes = 0,
): PlannedFile => ({ path: file, will, because, inode, sizeBytes, modifiedNs: String(modifiedNs), mode, freesBytes })

const PROBE = '.nightshift-probe'

/** What a volume can do is tried, since neither its name nor its type tells for sure. */
async function abilityOf(dir: string): Promise<MergeHow> {
  const from = path.join(dir, `${PROBE}-${process.pid}`)
  const to = `${from}-to`
  try {
    const file = await open(from, 'w')
    await file.writeFile(Buffer.alloc(8192, 1))
    await file.close()
    const clones = await copyFile(from, to, constants.COPYFILE_FICLONE_FORCE).then(
      () => true,
      () => false,
    )
    if (clones) return 'reflink'
    await rm(to, { force: true })
    await link(from, to)
    return 'hard-link'
  } catch {
    return 'none'
  } finally {
    await rm(from, { force: true }).catch(() => {})
    await rm(to, { force: true }).catch(() => {})
  }
}

/** The highest folder of the same volume. */
export async function mountOf(file: string, device: string): Promise<string> {
  let at = path.dirname(file)
  for (;;) {
    const above = path.dirname(at)
    const found = above === at ? null : await stat(above, { bigint: true }).catch(() => null)
    if (!found || String(found.dev) !== device) return at
    at = above
  }
}

/**
 * Which of these files other programs have open or mapped, as `device:inode`, as far as the system says (Linux). One that
 * is merged while it is loaded is still there for who loaded it, but gives back nothing until then.
 */
async function usedAmong(files: readonly Seen[]): Promise<ReadonlySet<string>> {
  const used = new Set<string>()
  if (process.platform !== 'linux') return used
  const byInode = Map.groupBy(files, ({ inode }) => inode)
  const names = new Set(files.map((file) => path.basename(file.path)))
  for (const pid of await readdir('/proc').catch(() => [])) {
    if (!/^\d+$/.test(pid) || pid === String(process.pid)) continue
    const maps = await readFile(`/proc/${pid}/maps`, 'utf8').catch(() => '')
    for (const [, inode] of maps.matchAll(/^\S+ \S+ \S+ \S+ ([1-9]\d*) +\//gm))
      for (const { device } of byInode.get(inode!) ?? []) used.add(`${device}:${inode}`)
    const dir = `/proc/${pid}/fd`
    await Promise.all(
      (await readdir(dir).catch(() => [])).map(async (name) => {
        const target = await readlink(`${dir}/${name}`).catch(() => '')
        if (!names.has(path.basename(target))) return
        const found = await stat(`${dir}/${name}`, { bigint: true }).catch(() => null)
        if (found) used.add(`${found.dev}:${found.ino}`)
      }),
    )
  }
  return used
}

export interface Carrying {
  readonly signal?: AbortSignal
  /** Kept for good before a name changes, and after it has. */
  readonly planned: (file: MergedFile, part: string) => void
  readonly settled: (file: MergedFile, outcome: Outcome) => void
  readonly onBytes?: (bytes: number) => void
}

/** The name of a file on its way, beside the one it will replace. */
export const partOf = (file: string) =>
  path.join(path.dirname(file), `.nightshift-${path.basename(file).slice(0, 80)}.part`)

/** What a plan is carried out as, in order. */
export const mergesIn = (plans: readonly GroupPlan[]): MergedFile[] =>
  plans.flatMap(({ sha256, volumes }) =>
    volumes.flatMap(({ how, keep, files }) =>
      files.flatMap(({ path: file, will, freesBytes, inode, sizeBytes, modifiedNs, mode }) =>
        will !== 'merge' || how === 'none'
          ? []
          : [{ path: file, keep, sha256, sizeBytes, how, inode, modifiedNs, mode, freedBytes: freesBytes }],
      ),
    ),
  )

/**
 * Lets names share their bytes. What was hashed once may have changed without a trace, so both are compared to the last
 * byte first; what differs, or changed meanwhile, stays as it is. Each name always leads to a whole file.
 */
export async function merge(files: readonly MergedFile[], carrying: Carrying): Promise<void> {
  for (const file of files) {
    carrying.signal?.throwIfAborted()
    carrying.settled(file, await evenIfOneFails(carrying, () => mergeOne(file, carrying)))
  }
}

/** The others are carried out all the same. */
async function evenIfOneFails({ signal }: Carrying, act: () => Promise<Outcome>): Promise<Outcome> {
  try {
    return await act()
  } catch {
    signal?.throwIfAborted()
    return 'failed'
  }
}

async function mergeOne(file: MergedFile, { signal, planned, onBytes }: Carrying): Promise<Outcome> {
  const isAsBefore = async () => {
    const [now, keep] = await Promise.all([see(file.path), see(file.keep)])
    if (!now || !keep) return 'gone' as const
    const same = now.inode === file.inode && String(now.modifiedNs) === file.modifiedNs && now.device === keep.device
    return same && keep.inode !== now.inode ? keep : ('changed' as const)
  }
  const before = await isAsBefore()
  if (typeof before === 'string') return before
  if (!(await sameBytes(file.path, file.keep, signal, onBytes))) return 'changed'
  const after = await isAsBefore()
  if (typeof after === 'string') return after
  if (after.modifiedNs !== before.modifiedNs || after.inode !== before.inode) return 'changed'
  const part = partOf(file.path)
  planned(file, part)
  await rm(part, { force: true })
  try {
    if (file.how === 'hard-link') await link(file.keep, part)
    else {
      await copyFile(file.keep, part, constants.COPYFILE_FICLONE_FORCE)
      await flush(part, file)
    }
    await takePlace(part, file.path)
  } catch (cause) {
    await rm(part, { force: true }).catch(() => {})
    if (cause instanceof AppError && cause.code === 'model.in-use') return 'in-use'
    throw cause
  }
  return 'merged'
}

/** Gives names bytes of their own again, each checked by its hash on the way. */
export async function undoMerge(files: readonly MergedFile[], carrying: Carrying): Promise<void> {
  for (const file of files) {
    carrying.signal?.throwIfAborted()
    carrying.settled(file, await evenIfOneFails(carrying, () => undoOne(file, carrying)))
  }
}

async function undoOne(file: MergedFile, { signal, planned, onBytes }: Carrying): Promise<Outcome> {
  const now = await see(file.path)
  if (!now) return 'gone'
  if (now.sizeBytes !== file.sizeBytes) return 'changed'
  if (file.how === 'hard-link' && now.links === 1) return 'undone' // the others have gone: it has its bytes for itself
  const part = partOf(file.path)
  planned(file, part)
  await rm(part, { force: true })
  try {
    const sha256 = await copyBytes(file.path, part, signal, onBytes)
    if (sha256 !== file.sha256) {
      await rm(part, { force: true })
      return 'changed'
    }
    await flush(part, file)
    const again = await see(file.path)
    if (again?.inode !== now.inode || again.modifiedNs !== now.modifiedNs) {
      await rm(part, { force: true })
      return 'changed'
    }
    await takePlace(part, file.path)
  } catch (cause) {
    await rm(part, { force: true }).catch(() => {})
    if (cause instanceof AppError && cause.code === 'model.in-use') return 'in-use'
    throw cause
  }
  return 'undone'
}

/** What a crash left: the part goes, and the name tells by its file how far it came. */
export async function recoverMerge(file: MergedFile, was: 'merging' | 'undoing'): Promise<Outcome | 'as-before'> {
  await rm(partOf(file.path), { force: true })
  const [now, keep] = await Promise.all([see(file.path), see(file.keep)])
  if (!now) return 'gone'
  if (was === 'merging') return now.inode === file.inode ? 'as-before' : 'merged'
  if (file.how === 'hard-link') return keep && keep.inode === now.inode ? 'merged' : 'undone'
  return 'merged' // a clone cannot be told from a copy; undoing it once more is harmless
}

async function flush(part: string, { modifiedNs, mode }: Pick<MergedFile, 'modifiedNs' | 'mode'>) {
  const file = await open(part, 'r+')
  try {
    await file.chmod(mode).catch(() => {})
    await file.sync()
  } finally {
    await file.close()
  }
  const seconds = Number(BigInt(modifiedNs) / 1_000_000n) / 1000
  await utimes(part, seconds, seconds)
}

/** Takes a name from the file that has it; Windows refuses while a program has that one open. */
async function takePlace(part: string, file: string) {
  try {
    await patiently(() => rename(part, file))
  } catch (cause) {
    const busy = ['EPERM', 'EACCES', 'EBUSY'].includes((cause as NodeJS.ErrnoException).code ?? '')
    if (!busy || process.platform !== 'win32') throw cause
    throw new AppError('model.in-use', { name: path.basename(file) }, { cause })
  }
  await syncFolder(file).catch(() => {}) // it has the name already
}

const PIECE = 4 << 20

async function sameBytes(one: string, other: string, signal?: AbortSignal, onBytes?: (bytes: number) => void) {
  const files: FileHandle[] = []
  try {
    for (const file of [one, other]) files.push(await open(file, 'r'))
    const [a, b] = files as [FileHandle, FileHandle]
    const pieces = [Buffer.allocUnsafe(PIECE), Buffer.allocUnsafe(PIECE)] as const
    for (let at = 0; ; ) {
      signal?.throwIfAborted()
      const [left, right] = await Promise.all([fill(a, pieces[0], at), fill(b, pieces[1], at)])
      if (left !== right || !pieces[0].subarray(0, left).equals(pieces[1].subarray(0, right))) return false
      if (left === 0) return true
      at += left
      onBytes?.(left)
    }
  } finally {
    for (const file of files) await file.close()
  }
}

/** As much as there is, up to the whole buffer. */
async function fill(file: FileHandle, buffer: Buffer, at: number): Promise<number> {
  let filled = 0
  while (filled < buffer.length) {
    const { bytesRead } = await file.read(buffer, filled, buffer.length - filled, at + filled)
    if (bytesRead === 0) break
    filled += bytesRead
  }
  return filled
}

/** Plainly, byte for byte: what the system calls a copy may share the bytes again. Gives the sha256. */
export async function copyBytes(
  from: string,
  to: string,
  signal?: AbortSignal,
  onBytes?: (bytes: number) => void,
): Promise<string> {
  const hash: Hash = createHash('sha256')
  const source = await open(from, 'r')
  try {
    const target = await open(to, 'wx')
    try {
      const piece = Buffer.allocUnsafe(PIECE)
      for (let at = 0; ; ) {
        signal?.throwIfAborted()
        const length = await fill(source, piece, at)
        if (length === 0) break
        const bytes = piece.subarray(0, length)
        hash.update(bytes)
        for (let written = 0; written < length; ) {
          const { bytesWritten } = await target.write(bytes, written, length - written, at + written)
          written += bytesWritten
        }
        at += length
        onBytes?.(length)
      }
      await target.sync()
    } finally {
      await target.close()
    }
  } catch (cause) {
    await rm(to, { force: true }).catch(() => {})
    throw cause
  } finally {
    await source.close()
  }
  return hash.digest('hex')
}
