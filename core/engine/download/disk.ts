import { link, lstat, mkdir, open, rename, stat, statfs, unlink } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { AppError } from '../../contract/errors.ts'
import { freeBytes } from '../volume.ts'

const GIB = 1 << 30
const FAT_LIMIT_BYTES = 4 * GIB - 1
// Linux: statfs.f_type
const VFAT = 0x4d44
const EXFAT = 0x2011bab0

/** What is left to be written by each download, by volume. */
const pledged = new Map<number, Set<() => number>>()

/** Room that others count as taken until it is given back. */
export async function pledge(dir: string, leftBytes: () => number): Promise<() => void> {
  const { dev } = await stat(dir)
  const there = pledged.get(dev) ?? new Set()
  pledged.set(dev, there)
  there.add(leftBytes)
  return () => void there.delete(leftBytes)
}

/**
 * Whether a file has room, beside all that is pledged on its volume.
 * @throws AppError 'download.no-space', 'download.too-large-for-disk'
 */
export async function makeSure(file: string, sizeBytes: number) {
  const dir = path.dirname(file)
  const { type, bavail, bsize, blocks } = await statfs(dir)
  if (type === VFAT && sizeBytes > FAT_LIMIT_BYTES) throw tooLarge(file, sizeBytes)
  const { dev } = await stat(dir)
  const need = [...(pledged.get(dev) ?? [])].reduce((sum, left) => sum + left(), 0)
  const reserve = Math.min(GIB, blocks * bsize * 0.02)
  if (need > 0 && bavail * bsize < need + reserve) throw await noSpace(file, need + reserve)
}

export async function noSpace(file: string, needBytes: number, cause?: unknown): Promise<AppError> {
  const dir = path.dirname(file)
  const inGiB = (bytes: number) => Number((bytes / GIB).toFixed(2))
  const facts = {
    dir,
    file: path.basename(file),
    freeGiB: inGiB((await freeBytes(dir)) ?? 0),
    needGiB: inGiB(needBytes),
  }
  return new AppError('download.no-space', facts, { cause })
}

export const isFull = (cause: unknown) =>
  ['ENOSPC', 'EDQUOT'].includes((cause as NodeJS.ErrnoException | null)?.code ?? '')

/** What went wrong with a file in `dir`, as an AppError where the disk has no room for it or takes none. */
export function diskFailure(cause: unknown, dir: string): unknown {
  const { code = '', message = '' } = cause as NodeJS.ErrnoException
  if (isFull(cause) || /No space left on device/.test(message)) return new AppError('disk.full', { dir }, { cause })
  return ['EACCES', 'EROFS', 'EPERM'].includes(code) ? new AppError('disk.denied', { dir }, { cause }) : cause
}

function tooLarge(file: string, sizeBytes: number, cause?: unknown) {
  const facts = { file: path.basename(file), dir: path.dirname(file), sizeGiB: Number((sizeBytes / GIB).toFixed(1)) }
  return new AppError('download.too-large-for-disk', facts, { cause })
}

/** Gives a file its size at once, without writing it, except where that would write zeros. */
export async function allocate(file: string, sizeBytes: number) {
  const handle = await open(file, 'w')
  try {
    const { type } = await statfs(path.dirname(file))
    // on FAT that writes zeros, so the last byte alone is kept back until it is there
    if (type !== VFAT && type !== EXFAT) await handle.truncate(sizeBytes)
    return handle
  } catch (cause) {
    await handle.close()
    const { code } = cause as NodeJS.ErrnoException
    if (sizeBytes > FAT_LIMIT_BYTES && (code === 'EFBIG' || code === 'EINVAL')) throw tooLarge(file, sizeBytes, cause)
    throw cause
  }
}

/**
 * Gives a finished file its name. Whatever has that name already stays.
 * @throws AppError 'download.exists'
 */
export async function place(part: string, to: string) {
  const taken = (cause?: unknown) => new AppError('download.exists', { path: to }, { cause })
  try {
    await link(part, to)
    await patiently(() => unlink(part))
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException
    if (code === 'EEXIST') throw taken(cause)
    if (isFull(cause) || (await stat(part).catch(() => null)) === null) throw cause
    // a file system without links: an empty file in its place for a moment would be worse than to look first
    if (await lstat(to).catch(() => null)) throw taken()
    await patiently(() => rename(part, to))
  }
  await syncFolder(to)
}

/** On Windows a scanner may hold a new file for a moment. */
export async function patiently(act: () => Promise<void>) {
  for (let tries = 0; ; tries++) {
    try {
      return await act()
    } catch (cause) {
      const busy = ['EPERM', 'EACCES', 'EBUSY'].includes((cause as NodeJS.ErrnoException).code ?? '')
      if (process.platform !== 'win32' || !busy || tries === 10) throw cause
      await pause(300)
    }
  }
}

/** The names in a file's folder survive a power cut. Windows does so by itself. */
export async function syncFolder(file: string) {
  if (process.platform === 'win32') return
  const folder = await open(path.dirname(file), 'r')
  await folder.sync().catch(() => {}) // some network file systems have no such thing
  await folder.close()
}

/** With those around it. @throws AppError 'disk.full' | 'disk.denied' */
export async function makeFolder(dir: string) {
  try {
    await mkdir(dir, { recursive: true })
  } catch (cause) {
    throw new AppError(isFull(cause) ? 'disk.full' : 'disk.denied', { dir }, { cause }) // ENOENT where it is only read
  }
}
