import path from 'node:path'
import { expect, test } from 'vitest'
import { findInstalls, type Look, readInstall } from '../../../../core/engine/installs.ts'

/** A machine of nothing but these files. */
function machine(platform: NodeJS.Platform, files: Record<string, string>, env: NodeJS.ProcessEnv = {}): Look {
  const { sep } = platform === 'win32' ? path.win32 : path.posix
  const names = Object.keys(files)
  const inside = (dir: string) => (dir.endsWith(sep) ? dir : dir + sep)
  return {
    platform,
    home: platform === 'win32' ? 'C:\\Users\\me' : '/home/me',
    env,
    exists: async (wanted) => names.some((name) => name === wanted || name.startsWith(inside(wanted))),
    list: async (dir) => [
      ...new Set(
        names
          .filter((name) => name.startsWith(inside(dir)))
          .map((name) => name.slice(inside(dir).length).split(sep)[0]!),
      ),
    ],
    read: async (file) => files[file] ?? null,
  }
}
const comfy = (dir: string, sep = '/', version = '0.33.0') => ({
  [`${dir}${sep}main.py`]: '',
  [`${dir}${sep}nodes.py`]: '',
  [`${dir}${sep}comfy${sep}cli_args.py`]: '',
  [`${dir}${sep}comfyui_version.py`]: `# made by a tool\n__version__ = "${version}"\n`,
})

const portable = 'D:\\AI\\ComfyUI_windows_portable'
const desktopProgram = 'C:\\Users\\me\\AppData\\Local\\Programs\\@comfyorgcomfyui-electron\\resources\\ComfyUI'
const windows = machine('win32', {
  ...comfy(`${portable}\\ComfyUI`, '\\'),
  [`${portable}\\python_embeded\\python.exe`]: '',
  ...comfy(desktopProgram, '\\', '0.30.1'),
  'C:\\Users\\me\\Documents\\ComfyUI\\.venv\\Scripts\\python.exe': '',
  'C:\\Users\\me\\Documents\\ComfyUI\\custom_nodes\\x.py': '',
  'C:\\Users\\me\\AppData\\Roaming\\ComfyUI\\config.json': '{"basePath": "C:\\\\Users\\\\me\\\\Documents\\\\ComfyUI"}',
  ...comfy('C:\\Users\\me\\AppData\\Roaming\\StabilityMatrix\\Packages\\ComfyUI', '\\'),
  'C:\\Users\\me\\AppData\\Roaming\\StabilityMatrix\\Packages\\ComfyUI\\venv\\Scripts\\python.exe': '',
  'C:\\Users\\me\\Desktop\\ComfyUI notes\\read.txt': '',
})

test('on Windows the portable build, the desktop app and Stability Matrix’s are found where they are', async () => {
  expect(await findInstalls(windows)).toEqual([
    {
      kind: 'desktop',
      dir: desktopProgram,
      python: 'C:\\Users\\me\\Documents\\ComfyUI\\.venv\\Scripts\\python.exe',
      baseDir: 'C:\\Users\\me\\Documents\\ComfyUI',
      version: '0.30.1',
    },
    {
      kind: 'portable',
      dir: `${portable}\\ComfyUI`,
      python: `${portable}\\python_embeded\\python.exe`,
      baseDir: null,
      version: '0.33.0',
    },
    {
      kind: 'stability-matrix',
      dir: 'C:\\Users\\me\\AppData\\Roaming\\StabilityMatrix\\Packages\\ComfyUI',
      python: 'C:\\Users\\me\\AppData\\Roaming\\StabilityMatrix\\Packages\\ComfyUI\\venv\\Scripts\\python.exe',
      baseDir: null,
      version: '0.33.0',
    },
  ])
})

test('a portable build may be named by either folder', async () => {
  for (const dir of [portable, `${portable}\\ComfyUI`])
    expect(await readInstall(dir, windows)).toMatchObject({ kind: 'portable', dir: `${portable}\\ComfyUI` })
})

test.each([
  ['D:\\ComfyUI-aki-v1.7', 'D:\\ComfyUI-aki-v1.7'],
  ['D:\\ComfyUI-aki-v2', 'D:\\ComfyUI-aki-v2\\ComfyUI'],
])('packs that others put together bring their Python: %s', async (folder, dir) => {
  const look = machine('win32', { ...comfy(dir, '\\'), [`${folder}\\python\\python.exe`]: '' })
  const found = { kind: 'portable', dir, python: `${folder}\\python\\python.exe` }
  expect(await findInstalls(look)).toEqual([expect.objectContaining(found)])
  expect(await readInstall(folder, look)).toMatchObject(found)
})

test('on Linux a clone is run by the environment in it, else by the one beside it', async () => {
  const look = machine('linux', {
    ...comfy('/home/me/ComfyUI'),
    '/home/me/ComfyUI/venv/bin/python': '',
    ...comfy('/srv/comfyui/ComfyUI'),
    '/srv/comfyui/venv/bin/python': '',
  })
  expect((await findInstalls(look)).map(({ dir }) => dir)).toEqual(['/home/me/ComfyUI', '/srv/comfyui/ComfyUI'])
  expect(await readInstall('/home/me/ComfyUI', look)).toMatchObject({
    kind: 'manual',
    python: '/home/me/ComfyUI/venv/bin/python',
  })
  expect((await readInstall('/srv/comfyui/ComfyUI', look)).python).toBe('/srv/comfyui/venv/bin/python')
})

test('a folder without a ComfyUI, and one without its Python, are told apart; a Python may be named', async () => {
  const look = machine('linux', { ...comfy('/a/ComfyUI'), '/usr/bin/python3': '', '/b/readme': '' })
  await expect(readInstall('/b', look)).rejects.toMatchObject({ code: 'engine.not-found' })
  await expect(readInstall('/a/ComfyUI', look)).rejects.toMatchObject({ code: 'engine.no-python' })
  await expect(readInstall('/a/ComfyUI', look, '/no/python')).rejects.toMatchObject({ code: 'engine.no-python' })
  expect((await readInstall('/a/ComfyUI', look, '/usr/bin/python3')).python).toBe('/usr/bin/python3')
})
