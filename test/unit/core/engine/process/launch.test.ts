import { expect, test } from 'vitest'
import { EngineSettings } from '../../../../../core/contract/engine.ts'
import { flagsIn, launchOf, processId, type Wish } from '../../../../../core/engine/process/launch.ts'

const settingsOf = (more: object = {}) => EngineSettings.parse({ cards: [{ card: 'auto' }], ...more })
function launch(more: Partial<Wish> = {}) {
  const settings = more.settings ?? settingsOf()
  return launchOf({
    kind: 'manual',
    dir: '/home/我/ComfyUI 夜',
    python: '/home/我/ComfyUI 夜/venv/bin/python',
    settings,
    card: settings.cards[0]!,
    port: 8190,
    outputDir: null,
    database: '/data/engines/local/local.db',
    known: new Set(['--database-url', '--disable-all-custom-nodes']),
    platform: 'linux',
    env: { PATH: '/usr/bin', PYTHONPATH: '/elsewhere', VIRTUAL_ENV: '/x', UV_CACHE_DIR: '/y', NIGHTSHIFT_DATA: '/z' },
    ...more,
  })
}

test('a folder with spaces and 中文 is run in place, listening for this machine alone', () => {
  expect(launch()).toEqual({
    command: '/home/我/ComfyUI 夜/venv/bin/python',
    args: [
      ...['/home/我/ComfyUI 夜/main.py', '--listen', '127.0.0.1', '--port', '8190', '--disable-auto-launch'],
      ...['--database-url', 'sqlite:////data/engines/local/local.db'],
    ],
    cwd: '/home/我/ComfyUI 夜',
    env: { PATH: '/usr/bin', PYTHONUNBUFFERED: '1', PYTHONIOENCODING: 'utf-8' },
  })
})

test('a portable build on Windows runs as its own scripts do, without its browser', () => {
  const { command, args, cwd, env } = launch({
    kind: 'portable',
    dir: 'D:\\AI\\ComfyUI_windows_portable\\ComfyUI',
    python: 'D:\\AI\\ComfyUI_windows_portable\\python_embeded\\python.exe',
    database: 'C:\\Users\\me\\AppData\\Local\\Nightshift\\engines\\local\\local.db',
    platform: 'win32',
  })
  expect([command, ...args].join(' ')).toBe(
    'D:\\AI\\ComfyUI_windows_portable\\python_embeded\\python.exe -s D:\\AI\\ComfyUI_windows_portable\\ComfyUI\\main.py --listen 127.0.0.1 --port 8190 --disable-auto-launch --database-url sqlite:///C:/Users/me/AppData/Local/Nightshift/engines/local/local.db',
  )
  expect(cwd).toBe('D:\\AI\\ComfyUI_windows_portable')
  expect(env.PYTHONUTF8).toBe('1')
})

test('a pack with its Python in ComfyUI’s own folder runs from there', () => {
  const dir = 'D:\\ComfyUI-aki-v1.7'
  const { args, cwd } = launch({ kind: 'portable', dir, python: `${dir}\\python\\python.exe`, platform: 'win32' })
  expect([cwd, args[0], args[1]]).toEqual([dir, '-s', `${dir}\\main.py`])
})

test('each card has its process, its number as nvidia-smi counts, and its flags after the common ones', () => {
  const settings = settingsOf({ flags: ['--fast'], cards: [{ card: '0' }, { card: '1', flags: ['--lowvram'] }] })
  const [first, second] = settings.cards.map((card) => launch({ settings, card }))
  expect([first!.env.CUDA_VISIBLE_DEVICES, second!.env.CUDA_VISIBLE_DEVICES]).toEqual(['0', '1'])
  expect(second!.env.CUDA_DEVICE_ORDER).toBe('PCI_BUS_ID')
  expect(second!.args.slice(-2)).toEqual(['--fast', '--lowvram'])
  expect(settings.cards.map((card) => processId('local', settings.cards, card))).toEqual(['local-0', 'local-1'])
})

test('the processor, no custom nodes and another base folder are flags', () => {
  const settings = settingsOf({ cards: [{ card: 'cpu' }], withCustomNodes: false, baseDir: '/models here' })
  expect(launch({ settings }).args.slice(6)).toEqual([
    ...['--base-directory', '/models here', '--database-url', 'sqlite:////data/engines/local/local.db'],
    ...['--disable-all-custom-nodes', '--cpu'],
  ])
})

test('flags an older ComfyUI lacks are left out; what a person gives is not said twice', () => {
  expect(launch({ known: new Set() }).args).not.toContain('--database-url')
  const settings = settingsOf({ flags: ['--database-url', 'sqlite:///mine.db', '--cpu'], cards: [{ card: 'cpu' }] })
  expect(launch({ settings }).args.slice(6)).toEqual(['--database-url', 'sqlite:///mine.db', '--cpu'])
})

test.each(['--listen', '--port', '--port=1', '--auto-launch', '--dont-print-server'])('%s is ours', (flag) => {
  expect(() => launch({ settings: settingsOf({ flags: [flag] }) })).toThrow(
    expect.objectContaining({ code: 'engine.flag-ours' }),
  )
})

test('the flags of a ComfyUI are read from its own declaration', () => {
  const source = `parser.add_argument("--listen", type=str)\ngroup.add_argument(\n    "--cpu", action="store_true")\nx("--no")`
  expect([...flagsIn(source)]).toEqual(['--listen', '--cpu'])
})
