import { access, mkdir, readdir, rm } from 'node:fs/promises'
import path from 'node:path'
import { canLink } from './volume.ts'

/** Where the prompts of ours save: their `filename_prefix` begins so; see main/services/prepare.ts. */
const OURS = 'nightshift'

/**
 * Where a ComfyUI should save, so that its pictures get their place among the person's by another name and not by a copy:
 * its own output folder where that is on their volume, else a folder beside them. What a person makes in its own editor
 * lies there too, so the folder can be seen and is never emptied, only of what is ours.
 */
export async function outputFolder(
  own: string,
  { picturesDir, name, mark }: { picturesDir: string; name: string; mark: string },
): Promise<string> {
  const linked = await canLink(own, await existing(picturesDir), mark)
  if (linked !== false) return own
  const beside = path.join(picturesDir, `ComfyUI ${name}`)
  try {
    await mkdir(beside, { recursive: true })
    return (await canLink(beside, picturesDir, mark)) ? beside : own // no links at all there: copied either way
  } catch {
    return own
  }
}

/** Removes the files of prompts that have ended: kept under another name, or nobody's. Gives how many there were. */
export async function sweepOutputs(outputDir: string, hasEnded: (promptId: string) => boolean): Promise<number> {
  const dir = path.join(outputDir, OURS)
  let count = 0
  for (const name of await readdir(dir).catch(() => [])) {
    const [promptId] = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?=_)/.exec(name) ?? []
    if (promptId === undefined || !hasEnded(promptId)) continue
    await rm(path.join(dir, name), { force: true }).then(
      () => count++,
      () => {},
    )
  }
  return count
}

/** The folder, or the nearest above it that is there. */
async function existing(dir: string): Promise<string> {
  for (let at = dir; ; at = path.dirname(at)) {
    const there = await access(at).then(
      () => true,
      () => false,
    )
    if (there || at === path.dirname(at)) return at
  }
}
