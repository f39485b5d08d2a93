import path from 'node:path'
import { expect, test } from 'vitest'
import {
  EngineSettings,
  type EngineView,
  InstallChoices,
  type InstallPurpose,
} from '../../../../core/contract/engine.ts'
import { generationDir, writeJournal, writePointer } from '../../../../core/engine/install/generations.ts'
import { CustomNodes } from '../../../../main/services/custom-nodes.ts'
import { tempDir } from '../../../kit/temp-dir.ts'

const [OLD, NEW] = ['20260101000000-aaaa', '20260102000000-bbbb']

test.for<[newer: InstallPurpose, commit: string, refused: string | null]>([
  ['nodes', 'a'.repeat(40), null],
  ['update', 'b'.repeat(40), 'ComfyUI 1 aaaaaaaaaa, PyTorch 2 → ComfyUI 1 bbbbbbbbbb, PyTorch 2'],
  ['repair', 'a'.repeat(40), 'repair, ComfyUI 1 aaaaaaaaaa, PyTorch 2'],
])('going back to the custom nodes before, after %s %s, undoes nothing else: %s', async ([purpose, commit, what]) => {
  const dataDir = tempDir()
  const home = path.join(dataDir, 'engines', 'local')
  const journal = {
    purpose: 'install' as InstallPurpose,
    choices: InstallChoices.parse({}),
    createdAt: 1,
    done: ['trial' as const],
    python: 'python',
    version: '1',
    commit: 'a'.repeat(40),
    torch: '2',
    findings: [],
    switched: [],
    speedUps: [],
    manager: null,
    sizeBytes: null,
  }
  await writeJournal(generationDir(home, OLD), journal)
  await writeJournal(generationDir(home, NEW), { ...journal, purpose, commit, createdAt: 2 })
  await writePointer(home, { current: NEW, previous: OLD })
  const settings = EngineSettings.parse({ cards: [{ card: 'cpu' }] })
  const went: string[] = []
  const nodes = new CustomNodes({
    dataDir,
    localEngine: { view: (name: string) => ({ name, kind: 'installed', dir: '', python: '', settings }) as EngineView },
    installations: { rollback: async (name: string) => went.push(name) },
  } as never)
  const back = nodes.rollBack('local')
  if (what === null) await back
  else await expect(back).rejects.toMatchObject({ code: 'nodes.undoes-more', facts: { what } })
  expect(went).toEqual(what === null ? ['local'] : [])
})
