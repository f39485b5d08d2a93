import { readFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import path from 'node:path'

/** `Nightshift` in the person's pictures folder, which Linux desktops name in their own language. */
export async function picturesDir(): Promise<string> {
  const home = homedir()
  const standard = path.join(home, 'Pictures', 'Nightshift')
  if (process.platform !== 'linux') return standard
  const named = await readFile(path.join(home, '.config', 'user-dirs.dirs'), 'utf8').catch(() => '')
  const [, given] = /^XDG_PICTURES_DIR="(.+)"$/m.exec(named) ?? []
  const dir = given?.replace(/^\$HOME(?=\/|$)/, () => home)
  return dir && path.isAbsolute(dir) && dir !== home ? path.join(dir, 'Nightshift') : standard
}
