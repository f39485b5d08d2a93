import { expect, test } from 'vitest'
import type { CustomNode, NodeSource } from '../../../../../core/contract/custom-node.ts'
import {
  differenceFrom,
  managerSnapshotName,
  readManagerSnapshot,
  writeManagerSnapshot,
} from '../../../../../core/domain/custom-nodes/manager-snapshot.ts'
import { refuseOtherKinds } from '../../../../../core/domain/workflow/other-kinds.ts'

const node = (folder: string, source: NodeSource, enabled = true): CustomNode => ({
  folder,
  title: folder,
  enabled,
  source,
  version: null,
  changedAt: null,
  changedFiles: [],
  addedFiles: [],
  requirements: [],
  scripts: [],
  runsAtStart: false,
  classes: null,
  load: null,
})
const git = (remote: string, commit: string): NodeSource => ({ is: 'git', remote, commit, branch: 'main' })
const here = [
  node('Impact', git('https://github.com/a/Impact', 'aaaa')),
  node('KJ', git('https://github.com/k/KJ.git', 'bbbb'), false),
  node('easy', { is: 'registry', id: 'easy', version: '1.2.0' }),
  node('x.py', { is: 'file' }),
  node('Stray', git('https://github.com/s/Stray', 'cccc')),
  node('ComfyUI-Manager', git('https://github.com/l/ComfyUI-Manager', 'dddd')),
]

// as ComfyUI-Manager 3.41 writes them
const snapshot = {
  comfyui: '0123abcd',
  git_custom_nodes: {
    'https://github.com/A/impact.git': { hash: 'a1a1', disabled: false },
    'https://github.com/k/KJ': { hash: 'bbbb', disabled: false },
    'https://github.com/n/New': { hash: 'eeee', disabled: false },
    'https://github.com/n/Off': { hash: 'ffff', disabled: true },
  },
  cnr_custom_nodes: { Easy: '1.2.0', other: '2.0.1' },
  file_custom_nodes: [
    { filename: 'x.py', disabled: true },
    { filename: 'gone.py', disabled: false },
  ],
  pips: { 'numpy==2.2.0': '', somepkg: 'git+https://github.com/p/q@hash' },
}

test('a snapshot becomes what has to change: other commits, what is missing, what it does not name switched off', () => {
  const read = readManagerSnapshot(snapshot)!
  expect(differenceFrom(read, here, '0123abcd')).toEqual({
    wishes: [
      { is: 'update', folder: 'Impact', from: { is: 'git', url: 'https://github.com/A/impact.git', ref: 'a1a1' } },
      { is: 'enable', folder: 'KJ' },
      { is: 'add', from: { is: 'git', url: 'https://github.com/n/New', ref: 'eeee' }, folder: null },
      { is: 'registry', id: 'other', version: '2.0.1', folder: null },
      { is: 'disable', folder: 'x.py' },
      { is: 'disable', folder: 'Stray' },
    ],
    same: 1,
    lost: ['gone.py'],
    comfyui: null,
  })
  expect(differenceFrom(read, here, 'other').comfyui).toBe('0123abcd')
  expect(read.packages).toEqual(snapshot.pips)
})

test('what is written is read back as no change at all', () => {
  const packages = new Map([
    ['numpy', { version: '2.2.0', url: null }],
    ['mine', { version: '1', url: 'file:///mine.whl' }],
  ])
  const written = writeManagerSnapshot(here, '0123abcd', packages)
  expect(written).toMatchObject({
    comfyui: '0123abcd',
    git_custom_nodes: { 'https://github.com/k/KJ.git': { hash: 'bbbb', disabled: true } },
    cnr_custom_nodes: { easy: '1.2.0' },
    file_custom_nodes: [{ filename: 'x.py', disabled: false }],
    pips: { 'numpy==2.2.0': '', mine: 'file:///mine.whl' },
  })
  const { wishes, same, lost } = differenceFrom(readManagerSnapshot(written)!, here, null)
  expect([wishes, same, lost]).toEqual([[], 6, []])
})

test('its YAML exports are wrapped once more; other files are none', () => {
  expect(readManagerSnapshot({ custom_nodes: snapshot })).toEqual(readManagerSnapshot(snapshot))
  for (const other of [null, [], {}, { custom_nodes: [] }, { git_custom_nodes: [] }, { nodes: [] }])
    expect(readManagerSnapshot(other as never)).toBeNull()
  expect(readManagerSnapshot({ cnr_custom_nodes: { a: 1 }, git_custom_nodes: { b: 'c' }, pips: null })).toEqual({
    comfyui: null,
    git: [],
    registry: [],
    files: [],
    packages: null,
  })
})

test('a snapshot that is imported as a workflow is called what it is', () => {
  expect(() => refuseOtherKinds('s.json', snapshot)).toThrow(expect.objectContaining({ code: 'import.node-snapshot' }))
})

test('a snapshot is called as the Manager calls them', () => {
  expect(managerSnapshotName(new Date(2026, 7, 3, 4, 5, 6))).toBe('2026-08-03_04-05-06_snapshot.json')
})
