import { readFileSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { startupPhases } from '../../../../../core/contract/engine.ts'
import { readStartupLine, StartupStory } from '../../../../../core/engine/process/startup.ts'

const logs = path.resolve(import.meta.dirname, '../../../../fixtures/engine-logs')
const linesOf = (name: string) => readFileSync(path.join(logs, `${name}.txt`), 'utf8').split('\n')

function hear(lines: readonly string[]) {
  const story = new StartupStory()
  const phases = lines.flatMap((line) => {
    const before = story.phase
    story.hear(line)
    return story.phase === before ? [] : [story.phase]
  })
  return { story, phases }
}

test('a start of 0.33 with broken custom nodes tells its phases, versions, device and which nodes failed', () => {
  const { story, phases } = hear(linesOf('0.33.0-broken-nodes'))
  expect(phases).toEqual(['preparing', 'devices', 'nodes', 'database', 'listening'])
  expect(story.url).toBe('http://127.0.0.1:8391')
  const pack = (name: string, failed: boolean) => ({
    folder: `/home/me/comfy/custom_nodes/${name}`,
    seconds: 0,
    failed,
  })
  expect(story.facts).toEqual({
    vramMiB: 24106,
    ramMiB: 24106,
    torchVersion: '2.13.0+cpu',
    vramState: 'DISABLED',
    device: 'cpu',
    attention: 'sub quadratic optimization for attention',
    pythonVersion: '3.11.7',
    comfyuiVersion: '0.33.0',
    frontendVersion: '1.49.6',
    customNodes: [pack('good-pack', false), pack('bad-syntax', true), pack('raises', true), pack('missing-dep', true)],
  })
})

test('a start of 0.3.64, without colours and levels, is understood as well', () => {
  const { story, phases } = hear(linesOf('0.3.64-start'))
  expect(phases).toEqual(['devices', 'nodes', 'database', 'listening'])
  expect(story.facts).toMatchObject({ comfyuiVersion: '0.3.64', frontendVersion: '1.27.10', device: 'cpu' })
})

test.each([
  [
    'Device: cuda:0 NVIDIA GeForce RTX 4090 : cudaMallocAsync',
    { device: 'cuda:0 NVIDIA GeForce RTX 4090 : cudaMallocAsync' },
  ],
  ['Set vram state to: NORMAL_VRAM', { vramState: 'NORMAL_VRAM' }],
  ['Using pytorch attention', { attention: 'pytorch attention' }],
  ['Using sage attention', { attention: 'sage attention' }],
  ['\x1b[32m[INFO]\x1b[0m ComfyUI version: 0.33.0', { comfyuiVersion: '0.33.0' }],
])('%j tells a fact', (line, facts) => {
  expect(readStartupLine(line)?.facts).toEqual(facts)
})

test('a node pack timed before the start proper and when imported is one, failed if either failed', () => {
  const { story } = hear([
    'Prestartup times for custom nodes:',
    '   1.5 seconds (PRESTARTUP FAILED): C:\\ComfyUI\\custom_nodes\\Pack One',
    'Import times for custom nodes:',
    '   0.5 seconds: C:\\ComfyUI\\custom_nodes\\Pack One',
  ])
  expect(story.facts.customNodes).toEqual([{ folder: 'C:\\ComfyUI\\custom_nodes\\Pack One', seconds: 2, failed: true }])
})

test('no line, whatever it holds, makes a phase go back', () => {
  const lines = [
    'Starting server',
    'Total VRAM 1 MB, total RAM 2 MB',
    'Context impl SQLiteImpl.',
    '',
    '\x1b[',
    'x'.repeat(9999),
  ]
  const { story } = hear(lines)
  expect(story.phase).toBe('listening')
  expect(startupPhases.at(-1)).toBe('listening')
})
