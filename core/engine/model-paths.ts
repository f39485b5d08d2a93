import path from 'node:path'
import type { SharedModels } from '../contract/engine.ts'
import { AppError } from '../contract/errors.ts'
import type { ModelFolder } from '../contract/model.ts'
import { isThere } from './install/generations.ts'
import { rootOfComfy, rootOfFolder, type Surroundings } from './models/folders.ts'
import { keyOf, scanRoot } from './models/scan.ts'

/** Where a ComfyUI, or another program's folder of models, has them. */
async function rootOf(dir: string, around: Surroundings) {
  const isComfy = await isThere(path.join(dir, 'models'))
  const place = { engine: null, kind: 'manual', dir, baseDir: null, flags: [] } as const
  const { root } = isComfy ? await rootOfComfy(place, around) : await rootOfFolder(dir, 'added')
  return { ...root, mixed: [] }
}

/** The folders that are used of it. */
export const foldersOf = async (dir: string, around: Surroundings) => (await rootOf(dir, around)).folders

/** What using the models of another program would bring; nothing is changed. @throws AppError 'engine.no-models' */
export async function lookAtModels(dir: string, around: Surroundings, signal?: AbortSignal): Promise<SharedModels> {
  const root = await rootOf(dir, around)
  const sums = new Map<string, { files: number; sizeBytes: number }>()
  const seen = new Set<string>()
  await scanRoot(root, {
    signal,
    onFile(file) {
      const { folder } = file.place
      if (seen.has(`${folder} ${keyOf(file)}`)) return
      seen.add(`${folder} ${keyOf(file)}`)
      const sum = sums.get(folder) ?? { files: 0, sizeBytes: 0 }
      sums.set(folder, { files: sum.files + 1, sizeBytes: sum.sizeBytes + file.sizeBytes })
    },
  })
  if (sums.size === 0) throw new AppError('engine.no-models', { dir })
  const folders = [...sums].map(([folder, sum]) => ({ folder, ...sum }))
  return { dir, folders: folders.toSorted((a, b) => b.sizeBytes - a.sizeBytes) }
}

/** The same as an extra_model_paths.yaml of ours: it says nothing of custom nodes. null: there are none. */
export async function listModels(dirs: readonly string[], around: Surroundings): Promise<string | null> {
  const all = await Promise.all(
    dirs.map(async (dir) => {
      const { folders } = await rootOf(dir, around)
      const there = await Promise.all(folders.map((folder) => isThere(folder.dir)))
      return folders.filter((_, at) => there[at])
    }),
  )
  return writeModelPaths(all.flat())
}

/** JSON's strings are YAML's too. Pure. */
export function writeModelPaths(paths: readonly Pick<ModelFolder, 'folder' | 'dir'>[]): string | null {
  const folders = Map.groupBy(paths, ({ folder }) => folder)
  if (folders.size === 0) return null
  const lines = [...folders].map(([folder, dirs]) => {
    const all = [...new Set(dirs.map(({ dir }) => dir))].join('\n')
    return `  ${JSON.stringify(folder)}: ${JSON.stringify(all)}`
  })
  return `nightshift:\n${lines.join('\n')}\n`
}
