import { execFileSync } from 'node:child_process'
import { mkdirSync, truncateSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { onTestFinished } from 'vitest'
import { tempDir } from './temp-dir.ts'

const run = (command: string, args: string[]) => execFileSync(command, args, { stdio: 'pipe' })

/** Whether volumes of our own can be mounted here: Linux, root, loop devices. */
export const mayMount = (() => {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return false
  try {
    run('mkfs.ext4', ['-V'])
    run('losetup', ['--find'])
    return true
  } catch {
    return false
  }
})()

/** Volumes of some mebibytes each, mounted until the test ends. */
export function mountVolumes(sizesMiB: readonly number[]): string[] {
  const dir = tempDir()
  return sizesMiB.map((size, at) => {
    const image = path.join(dir, `${at}.img`)
    const mount = path.join(dir, `volume ${at}`)
    writeFileSync(image, '')
    truncateSync(image, size << 20)
    run('mkfs.ext4', ['-q', '-m', '0', image])
    mkdirSync(mount)
    run('mount', ['-o', 'loop', image, mount])
    onTestFinished(() => void run('umount', [mount]))
    return mount
  })
}
