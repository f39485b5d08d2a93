import { chmodSync, existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { EngineSettings } from '../../../../../core/contract/engine.ts'
import { toFailure } from '../../../../../core/contract/errors.ts'
import { planNodes } from '../../../../../core/engine/custom-nodes/change.ts'
import type { NodesSite } from '../../../../../core/engine/custom-nodes/site.ts'
import { nodesTools } from '../../../../kit/nodes-kit.ts'
import { tempDir } from '../../../../kit/temp-dir.ts'

/** A ComfyUI that is not ours, whose Python is this shell script; null: there is none. */
function siteWith(script: string | null): NodesSite {
  const home = tempDir()
  const dir = path.join(home, 'ComfyUI')
  mkdirSync(path.join(dir, 'custom_nodes', 'old'), { recursive: true })
  writeFileSync(path.join(dir, 'custom_nodes', 'old', '__init__.py'), '')
  const python = path.join(home, 'python')
  if (script !== null) {
    writeFileSync(python, script)
    chmodSync(python, 0o755)
  }
  const settings = EngineSettings.parse({ cards: [{ card: 'cpu' }] })
  return { name: 'mine', kind: 'manual', dir, python, settings, home: path.join(home, 'engine') }
}
const adding = { is: 'add', folder: 'new', from: { is: 'git', url: 'https://nowhere.invalid/new', ref: null } } as const

test.skipIf(process.platform === 'win32').each([
  ['is not there', null, /spawn .*python ENOENT/],
  [
    'breaks',
    '#!/bin/sh\necho "ModuleNotFoundError: No module named \'encodings\'" >&2\nexit 1\n',
    /No module named 'encodings'/,
  ],
  ['is of another machine', '\x7fELF not for here', /./],
])(
  'where the Python %s, a plan says so before anything is fetched, and removing still works',
  async (_, script, why) => {
    const site = siteWith(script)
    const tools = nodesTools(site.home)
    const asked = planNodes(site, tools, [adding]).catch((cause: unknown) => toFailure(cause))
    expect(await asked).toMatchObject({
      code: 'nodes.no-python',
      facts: { python: site.python, reason: expect.stringMatching(why) },
    })
    expect(readdirSync(path.join(site.dir, 'custom_nodes'))).toEqual(['old'])
    expect(existsSync(path.join(site.home, 'node-plan', 'plan.json'))).toBe(false)
    expect(await planNodes(site, tools, [{ is: 'remove', folder: 'old' }])).toMatchObject({
      nodes: [{ folder: 'old', change: 'remove' }],
    })
  },
)
