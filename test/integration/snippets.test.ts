import { execFile, spawnSync } from 'node:child_process'
import { readdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import type { Prompt } from '../../core/contract/comfyui.ts'
import { snippet } from '../../renderer/parts/snippet.ts'
import { KEY } from '../kit/agent-kit.ts'
import { aPublishedDoor, published } from '../kit/published-kit.ts'
import { tempDir } from '../kit/temp-dir.ts'

const run = promisify(execFile)
const has = (command: string) => spawnSync(command, ['--version']).status === 0
/** Two nodes save. */
const prompt: Prompt = {
  '2': { class_type: 'EmptyImage', inputs: { width: 64, height: 48, batch_size: 1, color: 0 } },
  '3': { class_type: 'SaveImage', inputs: { filename_prefix: 'a', images: ['2', 0] } },
  '4': { class_type: 'SaveImage', inputs: { filename_prefix: 'b', images: ['2', 0] } },
}
const env = { PATH: process.env.PATH, NIGHTSHIFT_API_KEY: KEY }

async function inFolder(command: string, file: string, ids: string[], language: Parameters<typeof snippet>[0]) {
  const { url } = await aPublishedDoor([published({ prompt, panel: null })])
  const cwd = tempDir()
  writeFileSync(path.join(cwd, 'workflow-api.json'), JSON.stringify(prompt))
  const said: string[] = []
  for (const id of ids) {
    writeFileSync(path.join(cwd, file), snippet(language, `${url}/`, id))
    said.push((await run(command, [file], { cwd, env })).stdout)
  }
  return { said, pictures: readdirSync(cwd).filter((name) => name.endsWith('.png')) }
}

test.each([
  ['typescript', process.execPath, 'ask.mts'],
  ...(has('python3') ? [['python', 'python3', 'ask.py'] as const] : []),
] as const)(
  'what is copied for %s runs a file and a published workflow, and keeps every picture',
  async (language, command, file) => {
    const { pictures } = await inFolder(command, file, ['', 'postcard'], language)
    expect(pictures.map((name) => name.slice(36)).toSorted()).toEqual(['-3-0.png', '-3-0.png', '-4-0.png', '-4-0.png'])
  },
)

test.skipIf(!has('curl') || process.platform === 'win32')(
  'what is copied for curl answers with addresses that open by themselves',
  async () => {
    const { said } = await inFolder('sh', 'ask.sh', [''], 'curl')
    const nodes = JSON.parse(said[0]!) as Record<string, { urls?: string[] }>
    const [link] = nodes['3']!.urls!
    expect((await fetch(link!)).headers.get('content-type')).toBe('image/png')
  },
)
