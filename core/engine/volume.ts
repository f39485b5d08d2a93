import { link, mkdir, rm, stat, statfs, writeFile } from 'node:fs/promises'
import path from 'node:path'
import type { HardwareReport } from '../contract/engine.ts'

/** What Linux calls a file system, by the number statfs gives; see statfs(2). */
const MAGIC: Record<number, string> = {
  538032816: 'exfat',
  19780: 'vfat',
  26985: 'nfs',
  20859: 'smb',
  4266872130: 'smb2',
  4283649346: 'cifs',
  16914839: '9p',
  1397114950: 'drvfs',
  1397113167: 'afs',
  1702057283: 'fuse',
}

/** The kind of volume a folder is on, such as exfat, nfs or 9p; null: nothing is known that would matter. */
export async function volumeType(
  dir: string,
  report: Pick<HardwareReport, 'platform' | 'volumes'>,
): Promise<string | null> {
  if (report.platform === 'linux') {
    const { type } = await statfs(dir).catch(() => ({ type: 0 }))
    const known = MAGIC[type >>> 0]
    if (known !== undefined && known !== 'fuse') return known
  }
  return volumeOf(dir, report)?.type ?? null
}

/** Room in a folder, or where it will be once it is made; null: it cannot be asked. */
export async function freeBytes(dir: string): Promise<number | null> {
  for (let at = path.resolve(dir); ; at = path.dirname(at)) {
    try {
      const { bavail, bsize } = await statfs(at)
      return bavail * bsize
    } catch {
      if (at === path.dirname(at)) return null
    }
  }
}

/** The volume a path lies on, by the longest place it is mounted at. Pure. */
export function volumeOf(dir: string, { platform, volumes }: Pick<HardwareReport, 'platform' | 'volumes'>) {
  const [separator, fold] = platform === 'win32' ? ['\\', true] : ['/', false]
  const plain = (text: string) => (fold ? text.toLowerCase() : text)
  const holds = (mount: string) =>
    plain(dir) === plain(mount) || plain(dir).startsWith(plain(mount.endsWith(separator) ? mount : mount + separator))
  return volumes.filter(({ mount }) => holds(mount)).toSorted((a, b) => b.mount.length - a.mount.length)[0]
}

/** Whether a file of one folder can have a second name in another; null: it cannot be tried. */
export async function canLink(from: string, to: string, mark: string): Promise<boolean | null> {
  const [one, other] = [path.join(from, `.${mark}-1`), path.join(to, `.${mark}-2`)]
  try {
    await mkdir(from, { recursive: true })
    await writeFile(one, '')
  } catch {
    return null
  }
  try {
    await link(one, other)
    return (await stat(other)).ino === (await stat(one)).ino
  } catch {
    return false
  } finally {
    await Promise.all([rm(one, { force: true }), rm(other, { force: true })])
  }
}
