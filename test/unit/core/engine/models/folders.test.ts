import { mkdirSync, symlinkSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { type Root, readExtraPaths, rootOfComfy, rootOfFolder } from '../../../../../core/engine/models/folders.ts'
import { type FoundModel, keyOf, scanRoot } from '../../../../../core/engine/models/scan.ts'
import { aLora, put } from '../../../../kit/model-files.ts'
import { tempDir } from '../../../../kit/temp-dir.ts'

const around = { home: '/home/someone', platform: 'linux' as const, env: { MODELS: '/srv/models' } }
const place = (dir: string) => ({ engine: 'local', kind: 'manual' as const, dir, baseDir: null, flags: [] })
async function scan(root: Root) {
  const found: FoundModel[] = []
  const faults = await scanRoot(root, { onFile: (file) => found.push(file) })
  return { faults, found, names: found.map((file) => `${file.place.folder}/${file.place.name}`).toSorted() }
}

test('a list of more folders is read as ComfyUI reads it: groups, base paths, several lines, ~ and variables', async () => {
  const dir = tempDir()
  put(dir, {
    'extra_model_paths.yaml': [
      'shared:',
      '  base_path: $MODELS',
      '  is_default: true',
      '  checkpoints: ckpt',
      '  loras: |',
      '    lora',
      '    lycoris',
      'home:',
      '  base_path: ~/ai',
      '  unet: unet',
      'plain:',
      '  vae: ../vae',
      'empty:',
    ].join('\n'),
  })
  expect(await readExtraPaths(path.join(dir, 'extra_model_paths.yaml'), around)).toEqual({
    fault: null,
    folders: [
      { folder: 'checkpoints', dir: '/srv/models/ckpt', isDefault: true },
      { folder: 'loras', dir: '/srv/models/lora', isDefault: true },
      { folder: 'loras', dir: '/srv/models/lycoris', isDefault: true },
      { folder: 'diffusion_models', dir: '/home/someone/ai/unet', isDefault: false },
      { folder: 'vae', dir: path.join(dir, '../vae'), isDefault: false },
    ],
  })
})

test('a list ComfyUI would stumble over is told, and what can be read of it is', async () => {
  const dir = tempDir()
  put(dir, { 'a.yaml': 'one:\n  checkpoints: [a, b]\n  loras: x\n', 'b.yaml': 'one: [', 'c.yaml': '' })
  const read = (name: string) => readExtraPaths(path.join(dir, name), around)
  expect(await read('a.yaml')).toMatchObject({
    fault: { code: 'model.list-unreadable' },
    folders: [{ folder: 'loras' }],
  })
  expect(await read('b.yaml')).toMatchObject({ fault: { code: 'model.list-unreadable' }, folders: [] })
  expect(await read('c.yaml')).toMatchObject({ fault: { code: 'model.list-unreadable' } })
  expect(await read('none.yaml')).toEqual({ fault: null, folders: [] })
})

test.each([
  ['a line that is cut off', 'one:\n  loras: x\ntwo: [\n', ['x'], /./],
  ['a Windows path in double quotes', 'one:\n  loras: x\ntwo:\n  base_path: "C:\\Users\\me"\n', ['x'], /./],
  ['a tab', 'one:\n  loras: x\ntwo:\n\tvae: y\n', ['x'], /tab.* line 4/],
  ['a base that is none', 'one:\n  base_path:\n  loras: x\ntwo:\n  vae: y\n', ['y'], /one\.base_path/],
  ['a kind without a path', 'one:\n  checkpoints:\n  loras: x\n', ['x'], /one\.checkpoints/],
  ['a group that is a path', 'one: /models\ntwo:\n  loras: x\n', ['x'], /one is no group/],
  ['several documents', 'one:\n  loras: x\n---\ntwo:\n  vae: y\n', ['x'], /./],
  ['another encoding', Buffer.from([...Buffer.from('one:\n  loras: '), 0xb2, 0xe2]), [], /UTF-8/],
  [
    'aliases of aliases',
    `a: &a [${'x, '.repeat(9)}x]\n${['b', 'c', 'd', 'e', 'f'].map((name, at) => `${name}: &${name} [${`*${'abcde'[at]}, `.repeat(9)}*${'abcde'[at]}]`).join('\n')}\n`,
    [],
    /./,
  ],
  ['no end', `one:\n  loras: x\n${'#'.repeat(1024 * 1024)}`, [], /too long/],
])('a list with %s is told, and the folders that can be read of it are', async (_, text, dirs, why) => {
  const dir = tempDir()
  put(dir, { 'list.yaml': text })
  const { folders, fault } = await readExtraPaths(path.join(dir, 'list.yaml'), around)
  expect(folders.map((each) => path.relative(dir, each.dir))).toEqual(dirs)
  expect(fault).toMatchObject({ code: 'model.list-unreadable', facts: { reason: expect.stringMatching(why) } })
})

test('a list is read as PyYAML reads it: yes is true, the last group of a name counts, a mark at its beginning is none', async () => {
  const dir = tempDir()
  put(dir, { 'list.yaml': '\uFEFFone:\n  loras: a\none:\n  is_default: yes\n  vae: b\n  # a comment\n\t# one more\n' })
  expect(await readExtraPaths(path.join(dir, 'list.yaml'), around)).toEqual({
    fault: null,
    folders: [{ folder: 'vae', dir: path.join(dir, 'b'), isDefault: true }],
  })
})

test('folders with two names are one kind, those of packs are theirs, and a list may say where new files go', async () => {
  const dir = tempDir()
  put(dir, {
    'models/unet/a.safetensors': aLora(),
    'models/diffusion_models/b.gguf': 'x',
    'models/clip/c.safetensors': aLora(),
    'models/ipadapter/d.bin': 'x',
    'models/configs/e.yaml': 'x',
    'output/checkpoints/f.safetensors': aLora(),
    'models/loras/put_loras_here': '',
    'models/loras/sub/g.safetensors': aLora(),
    'models/loras/.cache/h.safetensors': aLora(),
    'extra_model_paths.yaml': 'x:\n  is_default: true\n  loras: more\n',
    'more/i.safetensors': aLora(),
  })
  const { root, faults } = await rootOfComfy(place(dir), around)
  expect(faults).toEqual([])
  expect((await scan(root)).names).toEqual([
    'checkpoints/f.safetensors',
    'diffusion_models/a.safetensors',
    'diffusion_models/b.gguf',
    'ipadapter/d.bin',
    'loras/i.safetensors',
    'loras/sub/g.safetensors',
    'text_encoders/c.safetensors',
  ])
  expect(root.folders.filter(({ folder, isDefault }) => folder === 'loras' && isDefault).map((at) => at.dir)).toEqual([
    path.join(dir, 'more'),
  ])
})

test.skipIf(process.platform === 'win32')('links are followed, told as one file, and a loop ends', async () => {
  const dir = tempDir()
  put(dir, { 'models/loras/a.safetensors': aLora(), 'elsewhere/b.safetensors': aLora(1) })
  symlinkSync(path.join(dir, 'models/loras/a.safetensors'), path.join(dir, 'models/loras/again.safetensors'))
  symlinkSync(path.join(dir, 'elsewhere'), path.join(dir, 'models/loras/more'))
  symlinkSync(path.join(dir, 'models/loras'), path.join(dir, 'elsewhere/loop'))
  symlinkSync(path.join(dir, 'nothing'), path.join(dir, 'models/loras/gone.safetensors'))
  const { root } = await rootOfComfy(place(dir), around)
  const { found, names, faults } = await scan(root)
  expect(names).toEqual(['loras/a.safetensors', 'loras/again.safetensors', 'loras/more/b.safetensors'])
  expect(new Set(found.map(keyOf)).size).toBe(2)
  expect(faults.map((fault) => path.basename(fault.path))).toEqual(['gone.safetensors'])
})

test('other programs name their folders otherwise; loose files are told by themselves', async () => {
  const dir = tempDir()
  put(dir, {
    'Models/StableDiffusion/a.safetensors': 'x',
    'Models/Lora/b.safetensors': 'x',
    'Models/LyCORIS/c.safetensors': 'x',
    'loose.safetensors': 'x',
  })
  const { root } = await rootOfFolder(dir, 'added')
  expect((await scan(root)).names).toEqual([
    '/loose.safetensors',
    'checkpoints/a.safetensors',
    'loras/b.safetensors',
    'loras/c.safetensors',
  ])
  mkdirSync(path.join(dir, 'loras'))
  expect((await rootOfFolder(path.join(dir, 'loras'), 'added')).root).toMatchObject({
    folders: [{ folder: 'loras' }],
    mixed: [],
  })
})
