import type { Manifest } from '../../core/contract/snapshot.ts'

/** Of an environment of nothing. */
export const aManifest = (more: Partial<Manifest> = {}): Manifest => ({
  schema: 'env-snapshot/1',
  name: 'test',
  createdAt: '2026-01-01T00:00:00.000Z',
  creator: 'test',
  platform: { os: 'linux', arch: 'x64', libc: null },
  python: { version: '3.12.0', implementation: 'cpython', abi: 'cp312' },
  torch: null,
  comfyui: { remote: null, commit: null, describe: null, changed: [], untracked: [], version: null },
  nodes: [],
  packages: [],
  layers: [],
  models: [],
  launch: { flags: [] },
  nodeClasses: null,
  ...more,
})
