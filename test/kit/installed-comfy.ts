import { chmodSync, cpSync, mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { EngineName, InstallChoices, installSteps } from '../../core/contract/engine.ts'
import { Journal, writeJournal, writePointer } from '../../core/engine/install/generations.ts'
import { comfyFolder } from './comfy-folder.ts'
import { tempDir } from './temp-dir.ts'

/** Says of itself what a Python with PyTorch would, and runs Node for the rest. */
const PYTHON = `#!/bin/sh
[ "$1" = -s ] && shift
if [ "$1" = -c ]; then echo '{"missing":[],"torch":"2.13.0+cpu"}'; exit 0; fi
exec "${process.execPath}" "$@"
`

/** A data folder with an engine as an installation leaves it: two generations, whose program is the rehearsal. */
export async function installedComfy({ dataDir = tempDir(), journal = {} as Partial<Journal> } = {}) {
  const name = EngineName.parse('local')
  const home = path.join(dataDir, 'engines', name)
  const { dir: source } = comfyFolder({ dir: path.join(dataDir, 'source', 'ComfyUI 夜') })
  const nothing = path.join(dataDir, 'nothing')
  mkdirSync(nothing, { recursive: true })
  const nowhere = {
    cpu: true,
    python: 'system',
    findLinks: nothing,
    index: pathToFileURL(nothing).href,
    mirrors: 'none',
  }
  const generations = ['20261101120000-aaaa', '20261121090000-bbbb']
  for (const [at, id] of generations.entries()) {
    const dir = path.join(home, 'generations', id)
    cpSync(source, path.join(dir, 'ComfyUI'), { recursive: true })
    writeFileSync(path.join(dir, 'ComfyUI', 'comfyui_version.py'), `__version__ = "0.${32 + at}.0"\n`)
    writeFileSync(path.join(dir, 'ComfyUI', 'requirements.txt'), 'torch\ntinydep\n')
    const bin = path.join(dir, 'venv', 'bin')
    const site = path.join(dir, 'venv', 'lib', 'python3.12', 'site-packages')
    mkdirSync(bin, { recursive: true })
    mkdirSync(path.join(site, 'tinydep-1.5.0.dist-info'), { recursive: true })
    mkdirSync(path.join(site, 'tinydep'))
    writeFileSync(path.join(site, 'tinydep', '__init__.py'), 'whole = True\n')
    writeFileSync(path.join(site, 'tinydep-1.5.0.dist-info', 'RECORD'), 'tinydep/__init__.py,,13\n')
    writeFileSync(path.join(bin, 'python'), PYTHON)
    chmodSync(path.join(bin, 'python'), 0o755)
    await writeJournal(
      dir,
      Journal.parse({
        purpose: at === 0 ? 'install' : 'update',
        choices: InstallChoices.parse({ ...nowhere, source }),
        createdAt: Date.UTC(2026, 10, 1 + 20 * at),
        done: installSteps,
        python: process.execPath,
        version: `0.${32 + at}.0`,
        commit: `${at}`.repeat(40),
        torch: '2.13.0+cpu',
        sizeBytes: 1_534_000_000 + at,
        manager: false,
        ...journal,
      }),
    )
  }
  for (const each of ['models', 'input', 'output', 'user', 'custom_nodes'])
    mkdirSync(path.join(home, 'base', each), { recursive: true })
  await writePointer(home, { current: generations[1]!, previous: generations[0]! })
  return { dataDir, name, home, generations, current: path.join(home, 'generations', generations[1]!) }
}
