import { readdir, realpath, stat } from 'node:fs/promises'
import path from 'node:path'
import type { ModelPlace } from '../../contract/model.ts'
import { bareModelName, isModelFile } from '../../contract/model-file.ts'
import { type FolderFault, folderByName, isAbsent, type Root, unreadable } from './folders.ts'

/** What tells one file of a disk from another, and whether it changed. Numbers beyond 2^53 are kept as text. */
export interface FileMark {
  readonly device: string
  readonly inode: string
  readonly sizeBytes: number
  /** Nanoseconds. */
  readonly modifiedNs: string
}
export interface FoundModel extends FileMark {
  /** With no link on the way. */
  readonly real: string
  readonly place: Omit<ModelPlace, 'root'>
  /** Names beside it that belong to it: pictures and notes of other programs. */
  readonly beside: readonly string[]
}

const PASSED_OVER = /^(\.|__pycache__$|node_modules$|__MACOSX$|venv$)/
const BESIDE =
  /^(?:\.?(?:preview|thumb)?\.?(?:png|jpe?g|webp|gif|avif)|\.civitai\.info|\.cm-info\.json|\.metadata\.json|\.json|\.preview\.(?:png|jpe?g|webp|gif|avif)|\.safetensors\.(?:png|jpe?g|webp))$/i
const FOLDERS_AT_ONCE = 16

const LONGEST_BESIDE = '.safetensors.webp'.length

/** What lies beside each model of a folder, by its name without its ending. */
function besideByStem(names: readonly string[]): Map<string, string[]> {
  const found = new Map<string, string[]>()
  for (const name of names) {
    if (isModelFile(name)) continue
    for (let at = Math.max(0, name.length - LONGEST_BESIDE); at < name.length; at++) {
      if (!BESIDE.test(name.slice(at))) continue
      const stem = name.slice(0, at)
      found.set(stem, [...(found.get(stem) ?? []), name])
    }
  }
  return found
}

/** The same file has the same key, whatever leads to it. Some network volumes number nothing: there the path decides. */
export const keyOf = ({ device, inode, real }: FileMark & { real: string }) =>
  inode === '0' ? real : `${device}:${inode}`

export async function markOf(file: string): Promise<FileMark> {
  const { dev, ino, size, mtimeNs } = await stat(file, { bigint: true })
  return { device: String(dev), inode: String(ino), sizeBytes: Number(size), modifiedNs: String(mtimeNs) }
}
export const sameMark = (a: FileMark, b: FileMark) =>
  a.inode === b.inode && a.sizeBytes === b.sizeBytes && a.modifiedNs === b.modifiedNs

/**
 * Every model file of a root, as its loaders would list it. A folder is walked once for each kind that looks in it, a
 * link that leads back into itself not at all. What cannot be read is told and passed over.
 */
export async function scanRoot(
  root: Root,
  {
    signal,
    onFile,
    onFolder,
  }: {
    signal?: AbortSignal
    onFile: (file: FoundModel) => void
    /** Before it is looked into. */
    onFolder?: (dir: string) => void
  },
): Promise<FolderFault[]> {
  const faults: FolderFault[] = []
  const starts = [
    ...root.folders.map(({ folder, dir }) => ({ folder, dir })),
    ...root.mixed.map((dir) => ({ folder: null, dir })),
  ]
  const listed = new Set(root.folders.map(({ dir }) => dir))
  for (const { folder, dir } of starts) {
    signal?.throwIfAborted()
    const realStart = await realpath(dir).catch(() => null)
    if (realStart === null) continue // ComfyUI, too, passes over what is not there
    let waiting = [{ at: dir, real: realStart, linked: realStart !== dir, folder }]
    const walked = new Set([realStart])
    while (waiting.length > 0) {
      signal?.throwIfAborted()
      const found = await Promise.all(waiting.splice(0, FOLDERS_AT_ONCE).map((one) => look(one)))
      waiting = [...found.flat(), ...waiting]
    }

    async function look(one: { at: string; real: string; linked: boolean; folder: string | null }) {
      const deeper: (typeof one)[] = []
      onFolder?.(one.real)
      const entries = await readdir(one.at, { withFileTypes: true }).catch((cause: unknown) => {
        if (!isAbsent(cause)) faults.push({ path: one.at, failure: unreadable(one.at, cause) })
        return []
      })
      const beside = besideByStem(entries.map(({ name }) => name))
      for (const entry of entries) {
        const { name } = entry
        if (PASSED_OVER.test(name)) continue
        const file = path.join(one.at, name)
        const isLink = entry.isSymbolicLink()
        if (!isLink && !entry.isDirectory() && !isModelFile(name)) continue
        try {
          const real = isLink ? await realpath(file) : path.join(one.real, name)
          const isFolder = isLink ? (await stat(file)).isDirectory() : entry.isDirectory()
          if (isFolder) {
            if (walked.has(real) || (listed.has(file) && file !== dir)) continue
            walked.add(real)
            const inner = one.folder ?? (folder === null ? folderByName(name) : folder)
            deeper.push({ at: file, real, linked: one.linked || isLink, folder: inner })
            continue
          }
          if (!isModelFile(name)) continue
          const mark = await markOf(file)
          const stem = bareModelName(name)
          onFile({
            ...mark,
            real,
            place: {
              folder: one.folder ?? '',
              name: path.relative(dir, file).split(path.sep).join('/'),
              path: file,
              linked: one.linked || isLink,
            },
            beside: (beside.get(stem) ?? []).filter((each) => each !== name),
          })
        } catch (cause) {
          faults.push({ path: file, failure: unreadable(file, cause) })
        }
      }
      return deeper
    }
  }
  return faults
}
