import { expect, test } from 'vitest'
import { type HubHost, readMeant, sameFile, sayRef } from '../../../../../core/engine/hubs/link.ts'

const hosts: HubHost[] = [
  { hub: 'huggingface', base: 'https://hf-copy.example', official: false },
  { hub: 'huggingface', base: 'https://faces.example', official: true, also: ['hf.example'] },
  { hub: 'modelscope', base: 'https://scope.example', official: true },
  { hub: 'civitai', base: 'https://civ.example', official: true, also: ['civ-red.example'] },
]
const hf = (path: string, revision = 'main', kind = 'models') => ({
  is: 'file',
  ref: { hub: 'huggingface', kind, repo: 'Comfy-Org/z_image_turbo', revision, path },
})
const ae = 'split_files/vae/ae.safetensors'
const civ = (versionId: number, fileId: number | null = null) => ({
  is: 'file',
  ref: { hub: 'civitai', versionId, fileId },
})
const repo = (hub: string, more: object = {}) => ({
  is: 'repo',
  hub,
  kind: 'models',
  repo: 'Comfy-Org/z_image_turbo',
  revision: null,
  dir: '',
  ...more,
})
const url = (address: string) => ({ is: 'file', ref: { hub: 'url', url: address } })

test.each([
  [`https://faces.example/Comfy-Org/z_image_turbo/resolve/main/${ae}`, hf(ae)],
  [`https://faces.example/Comfy-Org/z_image_turbo/resolve/main/${ae}?download=true`, hf(ae)],
  [`https://faces.example/Comfy-Org/z_image_turbo/blob/main/${ae}`, hf(ae)],
  [`https://faces.example/Comfy-Org/z_image_turbo/raw/main/${ae}`, hf(ae)],
  [`https://www.faces.example/Comfy-Org/z_image_turbo/blob/main/${ae}#L1`, hf(ae)],
  [`http://hf.example/Comfy-Org/z_image_turbo/resolve/main/${ae}`, hf(ae)],
  [`https://hf-copy.example/Comfy-Org/z_image_turbo/resolve/main/${ae}`, hf(ae)],
  [
    'https://faces.example/Comfy-Org/z_image_turbo/resolve/refs%2Fpr%2F3/a%20b.safetensors',
    hf('a b.safetensors', 'refs/pr/3'),
  ],
  [`https://faces.example/datasets/Comfy-Org/z_image_turbo/resolve/main/${ae}`, hf(ae, 'main', 'datasets')],
  ['https://faces.example/Comfy-Org/z_image_turbo', repo('huggingface')],
  ['https://faces.example/Comfy-Org/z_image_turbo/', repo('huggingface')],
  [
    'https://faces.example/Comfy-Org/z_image_turbo/tree/main/split_files/vae',
    repo('huggingface', { revision: 'main', dir: 'split_files/vae' }),
  ],
  ['https://faces.example/api/models/Comfy-Org/z_image_turbo', repo('huggingface')],
  ['https://faces.example/Comfy-Org/z_image_turbo/discussions/4', repo('huggingface')],
  ['hf:Comfy-Org/z_image_turbo', repo('huggingface')],
  [`hf:Comfy-Org/z_image_turbo/${ae}`, hf(ae)],
  [`hf://Comfy-Org/z_image_turbo@refs%2Fpr%2F3/${ae}`, hf(ae, 'refs/pr/3')],
  [`Comfy-Org/z_image_turbo/${ae}`, hf(ae)],
  ['Comfy-Org/z_image_turbo', repo('huggingface')],
  [
    `ms:Comfy-Org/z_image_turbo/${ae}`,
    { is: 'file', ref: { hub: 'modelscope', repo: 'Comfy-Org/z_image_turbo', revision: 'master', path: ae } },
  ],
  [
    'https://scope.example/models/Comfy-Org/z_image_turbo/file/view/master/split_files%2Fvae%2Fae.safetensors?status=2',
    { is: 'file', ref: { hub: 'modelscope', repo: 'Comfy-Org/z_image_turbo', revision: 'master', path: ae } },
  ],
  [
    `https://scope.example/models/Comfy-Org/z_image_turbo/resolve/v1/${ae}`,
    { is: 'file', ref: { hub: 'modelscope', repo: 'Comfy-Org/z_image_turbo', revision: 'v1', path: ae } },
  ],
  [
    `https://scope.example/api/v1/models/Comfy-Org/z_image_turbo/repo?Revision=master&FilePath=${encodeURIComponent(ae)}`,
    { is: 'file', ref: { hub: 'modelscope', repo: 'Comfy-Org/z_image_turbo', revision: 'master', path: ae } },
  ],
  ['https://scope.example/models/Comfy-Org/z_image_turbo/files', repo('modelscope')],
  ['https://civ.example/models/827184/some-name?modelVersionId=2514310', civ(2514310)],
  ['https://civ-red.example/models/827184?modelVersionId=2514310', civ(2514310)],
  ['https://civ.example/models/827184/some-name', { is: 'model', modelId: 827184 }],
  ['https://civ.example/api/download/models/2514310?type=Model&format=SafeTensor', civ(2514310)],
  ['https://civ.example/api/download/models/2514310?fileId=77&token=secret', civ(2514310, 77)],
  ['https://civ.example/api/v1/model-versions/2514310', civ(2514310)],
  ['https://civ.example/api/v1/model-versions/by-hash/6A35A78557', { is: 'hash', hash: '6a35a78557' }],
  ['urn:air:sdxl:checkpoint:civitai:827184@2514310', civ(2514310)],
  ['urn:air:sdxl:lora:civitai:827184@2514310:layer.safetensors', civ(2514310)],
  ['air:sdxl:checkpoint:civitai:827184', { is: 'model', modelId: 827184 }],
  [`urn:air:zimage:vae:huggingface:Comfy-Org/z_image_turbo/${ae}`, hf(ae)],
  ['civitai:827184@2514310', civ(2514310)],
  ['https://github.com/o/r/releases/download/v1/x.pth', url('https://github.com/o/r/releases/download/v1/x.pth')],
  ['https://github.com/o/r/blob/main/weights/x.pth', url('https://github.com/o/r/raw/main/weights/x.pth')],
  [
    'https://proxy.example/https://github.com/o/r/releases/download/v1/x.pth',
    url('https://github.com/o/r/releases/download/v1/x.pth'),
  ],
  ['https://me:secret@files.example/x.pth', url('https://files.example/x.pth')],
  ['6A35A78557', { is: 'hash', hash: '6a35a78557' }],
  ['a'.repeat(64), { is: 'hash', hash: 'a'.repeat(64) }],
  ['ae.safetensors', { is: 'name', name: 'ae.safetensors' }],
  ['vae/ae.safetensors', { is: 'name', name: 'vae/ae.safetensors' }],
  ['Flux dev', { is: 'name', name: 'Flux dev' }],
])('%s is read as what it means', (text, meant) => {
  expect(readMeant(`  ${text}\n`, hosts)).toEqual(meant)
})

test.each(['', 'a\nb', 'https://', 'urn:air:sdxl:checkpoint:elsewhere:1@2', 'civitai:x', 'hf:only'])(
  '%j means nothing',
  (text) => {
    expect(readMeant(text, hosts)).toBeNull()
  },
)

test.each([
  'https://faces.example/o/r/resolve/main/../../../etc/passwd',
  'https://faces.example/o/r/resolve/main/a/%2e%2e/%2e%2e/b.safetensors',
  'hf:o/r/../../b.safetensors',
  'ms:o/../b.safetensors',
])('%s names no file outside of its repository', (text) => {
  const meant = readMeant(text, hosts)
  if (meant?.is === 'file' && meant.ref.hub !== 'url' && meant.ref.hub !== 'civitai')
    expect(meant.ref.path.split('/')).not.toContain('..')
})

test('a reference is written as a line that means the same file again', () => {
  const refs = [
    hf(ae).ref,
    hf(ae, 'refs/pr/3').ref,
    hf(ae, 'main', 'datasets').ref,
    civ(5).ref,
    civ(5, 6).ref,
    url('https://files.example/x.pth').ref,
    { hub: 'modelscope', repo: 'o/r', revision: 'v1', path: 'x/y.gguf' },
  ] as Parameters<typeof sayRef>[0][]
  expect(refs.map((ref) => readMeant(sayRef(ref), hosts))).toEqual(refs.map((ref) => ({ is: 'file', ref })))
})

test('the same file at another revision is the same file; another of the version is not', () => {
  const one = { hub: 'huggingface', kind: 'models', repo: 'o/r', revision: 'main', path: 'x' } as const
  expect(sameFile(one, { ...one, revision: 'f'.repeat(40) })).toBe(true)
  expect(sameFile(one, { ...one, path: 'y' })).toBe(false)
  const version = { hub: 'civitai', versionId: 1, fileId: 2 } as const
  expect(sameFile(version, { ...version, fileId: null })).toBe(true)
  expect(sameFile(version, { ...version, fileId: 3 })).toBe(false)
})
