import { link, rm, stat, symlink } from 'node:fs/promises'
import path from 'node:path'
import { AppError } from '../../contract/errors.ts'
import type { ImportHow } from '../../contract/model.ts'
import { place, syncFolder } from '../download/disk.ts'
import { freeBytes } from '../volume.ts'
import { copyBytes } from './duplicates.ts'

const toMiB = (bytes: number) => Math.ceil(bytes / 2 ** 20)

/** A model file under another name. Gives the hash where it had to be read anyway. What is moved goes once its copy is whole. */
export async function bring(file: string, to: string, how: ImportHow): Promise<string | null> {
  const other = (cause: unknown) =>
    ['EXDEV', 'EPERM', 'ENOTSUP', 'EMLINK'].includes((cause as NodeJS.ErrnoException).code ?? '')
  if (how !== 'copy') {
    try {
      await link(file, to)
      if (how === 'move') await rm(file)
      await syncFolder(to)
      return null
    } catch (cause) {
      if (!other(cause)) throw cause
      if (how === 'link') {
        await symlink(path.resolve(file), to)
        return null
      }
    }
  }
  const part = `${to}.nightshift-part`
  await rm(part, { force: true })
  const free = (await freeBytes(path.dirname(to))) ?? Number.POSITIVE_INFINITY
  const { size } = await stat(file)
  if (free < size)
    throw new AppError('model.no-room', { dir: path.dirname(to), needMiB: toMiB(size), freeMiB: toMiB(free) })
  const sha256 = await copyBytes(file, part)
  await place(part, to)
  if (how === 'move') await rm(file)
  return sha256
}
