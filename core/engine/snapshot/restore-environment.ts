import { mkdir, readFile, rename, rm, stat } from 'node:fs/promises'
import path from 'node:path'
import { AppError } from '../../contract/errors.ts'
import type { LayerName, SealedManifest } from '../../contract/snapshot.ts'
import type { CommandOptions } from '../install/command.ts'
import { runCommand } from '../install/command.ts'
import { pythonOf, writeWhole } from '../install/generations.ts'
import { askPython } from './environment.ts'
import { restoreTree } from './restore.ts'
import type { ObjectStore } from './store.ts'

export interface RestoredEnvironment {
  /** Where main.py is. */
  readonly dir: string
  readonly python: string
  /** ComfyUI's `--base-directory`. */
  readonly base: string
}
export interface RestoreEnvironmentOptions {
  /** Of the same version as the snapshot's; what the environment is then run with. */
  readonly python: string
  readonly threads: number
  readonly command: CommandOptions
  readonly signal?: AbortSignal
  readonly onNews?: (news: { layer: LayerName; bytes: number; totalBytes: number }) => void
}

const READY = 'READY'

/**
 * Makes an environment in an empty place, exactly as it was taken: source, custom nodes, packages, settings. It stands
 * beside its name until all of it was checked, so a half one is never found.
 * @throws AppError 'snapshot.*'
 */
export async function restoreEnvironment(
  store: ObjectStore,
  { id, manifest }: SealedManifest,
  to: string,
  { python, threads, command, signal, onNews }: RestoreEnvironmentOptions,
): Promise<RestoredEnvironment> {
  const at = (dir: string): RestoredEnvironment => ({
    dir: path.join(dir, 'ComfyUI'),
    python: pythonOf(dir),
    base: path.join(dir, 'base'),
  })
  const ready = await readFile(path.join(to, READY), 'utf8').catch(() => null)
  if (ready === id) return at(to)
  if (await stat(to).catch(() => null)) throw new AppError('snapshot.not-empty', { dir: to })

  const here = await askPython(python, command)
  const { platform } = manifest
  const mine = `${process.platform} ${process.arch} ${here.abi}`
  const its = `${platform.os} ${platform.arch} ${manifest.python.abi}`
  if (mine !== its) throw new AppError('snapshot.other-platform', { its, mine })

  const part = `${to}.part-${process.pid}`
  const where = at(part)
  try {
    await rm(part, { recursive: true, force: true })
    await mkdir(where.base, { recursive: true })
    await runCommand(python, ['-I', '-m', 'venv', '--without-pip', path.join(part, 'venv')], command)
    const { packagesDir } = await askPython(where.python, command)
    await rm(packagesDir, { recursive: true })
    const places: Record<LayerName, string> = {
      comfyui: where.dir,
      nodes: path.join(where.base, 'custom_nodes'),
      packages: packagesDir,
      settings: path.join(where.base, 'user'),
    }
    for (const { name, tree } of manifest.layers)
      await restoreTree(store, tree, places[name], {
        threads,
        signal,
        onNews: (news) => onNews?.({ ...news, layer: name }),
      })
    for (const name of ['models', 'input', 'output', 'temp'])
      await mkdir(path.join(where.base, name), { recursive: true })
    await writeWhole(path.join(part, READY), id)
    await rename(part, to)
  } catch (cause) {
    await rm(part, { recursive: true, force: true })
    throw cause
  }
  return at(to)
}
