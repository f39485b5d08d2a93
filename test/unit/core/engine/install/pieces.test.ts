import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { InstallChoices } from '../../../../../core/contract/engine.ts'
import { pathPitfalls, upkeepSentences } from '../../../../../core/domain/upkeep.ts'
import {
  currentInstall,
  generationDir,
  Journal,
  listGenerations,
  readPointer,
  tidy,
  unfinishedOf,
  writeJournal,
  writePointer,
} from '../../../../../core/engine/install/generations.ts'
import { damageIn, filesIn, requirementsIn, writeLock } from '../../../../../core/engine/install/lock.ts'
import { newestTag } from '../../../../../core/engine/install/source.ts'
import { newestWheel, UvStory, uvEnvironment } from '../../../../../core/engine/install/uv.ts'
import { tempDir } from '../../../../kit/temp-dir.ts'

const sha = (letter: string) => letter.repeat(64)
const name = (version: string, tag: string) => `uv-${version}-py3-none-${tag}.whl`
const html = [
  name('0.9.2', 'manylinux_2_17_x86_64.manylinux2014_x86_64'),
  name('0.12.5', 'manylinux_2_17_x86_64.manylinux2014_x86_64'),
  name('0.12.5', 'win_amd64'),
  name('0.12.5', 'macosx_11_0_arm64'),
  name('0.12.5', 'musllinux_1_1_x86_64'),
  name('0.13.0rc1', 'manylinux_2_17_x86_64.manylinux2014_x86_64'),
]
  .map(
    (file) => `<a href="../../packages/aa/bb/${file}#sha256=${sha('a')}" data-requires-python="&gt;=3.8">${file}</a>`,
  )
  .join('<br/>\n')

test.each([
  ['linux', 'x64', name('0.12.5', 'manylinux_2_17_x86_64.manylinux2014_x86_64')],
  ['win32', 'x64', name('0.12.5', 'win_amd64')],
  ['darwin', 'arm64', name('0.12.5', 'macosx_11_0_arm64')],
] as const)(
  'the newest finished uv for %s %s is chosen from a page in HTML, with its address and hash',
  (platform, arch, file) => {
    expect(newestWheel(html, 'https://index.example/simple/uv/', platform, arch)).toEqual({
      name: file,
      version: '0.12.5',
      url: `https://index.example/packages/aa/bb/${file}`,
      sha256: sha('a'),
      sizeBytes: null,
    })
  },
)

test('a page in JSON tells sizes; what was withdrawn, has no hash or is no page is not chosen', () => {
  const file = name('0.12.5', 'win_amd64')
  const withdrawn = { filename: name('0.13.0', 'win_amd64'), url: '/b', hashes: { sha256: sha('b') }, yanked: 'bad' }
  const unhashed = { filename: name('0.14.0', 'win_amd64'), url: '/c', hashes: {} }
  const page = JSON.stringify({
    files: [
      withdrawn,
      unhashed,
      { filename: file, url: 'https://f.example/x.whl', hashes: { sha256: sha('c') }, size: 17 },
    ],
  })
  expect(newestWheel(page, 'https://index.example/uv/', 'win32', 'x64')).toMatchObject({ name: file, sizeBytes: 17 })
  expect(newestWheel('<html>A portal</html>', 'https://index.example/uv/', 'win32', 'x64')).toBe(null)
  expect(newestWheel('{ not JSON', 'https://index.example/uv/', 'win32', 'x64')).toBe(null)
})

test('what uv says of its downloads becomes bytes done of bytes known', () => {
  const story = new UvStory()
  const heard = [
    'Resolved 3 packages in 4ms',
    'Downloading torch (1.5GiB)',
    'Downloading numpy (16.0MiB)',
    ' Downloaded numpy',
  ]
    .map((line) => story.hear(line))
    .filter((progress) => progress !== null)
  expect(heard).toEqual([
    { bytes: 0, totalBytes: 1.5 * 2 ** 30 },
    { bytes: 0, totalBytes: 1.5 * 2 ** 30 + 2 ** 24 },
    { bytes: 2 ** 24, totalBytes: 1.5 * 2 ** 30 + 2 ** 24 },
  ])
})

test('uv inherits no other installer’s settings, but the wish to fetch no Python, and the proxy chosen', () => {
  const env = {
    PATH: '/bin',
    PYTHONPATH: '/x',
    PIP_INDEX_URL: 'u',
    VIRTUAL_ENV: '/v',
    CONDA_PREFIX: '/c',
    UV_TARGET: '/t',
    UV_PYTHON_DOWNLOADS: 'never',
    https_proxy: 'http://old',
  }
  const given = { cache: '/cache', pythons: '/pythons' }
  const made = uvEnvironment(env, { ...given, proxy: 'http://me:word@proxy:1' })
  expect(made).toMatchObject({
    PATH: '/bin',
    UV_CACHE_DIR: '/cache',
    UV_PYTHON_DOWNLOADS: 'never',
    HTTPS_PROXY: 'http://me:word@proxy:1',
  })
  for (const name of ['PYTHONPATH', 'PIP_INDEX_URL', 'VIRTUAL_ENV', 'CONDA_PREFIX', 'UV_TARGET', 'https_proxy'])
    expect(made).not.toHaveProperty(name)
  const without = uvEnvironment(env, { ...given, proxy: 'none' })
  expect(without.https_proxy ?? without.HTTPS_PROXY).toBe(undefined)
})

test('the newest release is told by numbers, not by letters', () => {
  expect(newestTag('a\trefs/tags/v0.3.9\nb\trefs/tags/v0.33.0\nc\trefs/tags/v0.4.0\nd\trefs/tags/vnext\n')).toBe(
    'v0.33.0',
  )
  expect(newestTag('')).toBe(null)
})

describe('generations', () => {
  const journal = (createdAt: number, done: Journal['done'], more: Partial<Journal> = {}) =>
    Journal.parse({
      purpose: 'install',
      choices: InstallChoices.parse({}),
      createdAt,
      done,
      version: `0.${createdAt}.0`,
      ...more,
    })
  test('the flags it is run with are those of what its generation has, whatever was chosen', async () => {
    const home = tempDir()
    const choices = InstallChoices.parse({ manager: true, speedUps: ['sage-attention', 'triton'] })
    const put = async (id: string, more: Partial<Journal>) => {
      await writeJournal(generationDir(home, id), journal(1, ['manager', 'trial', 'switch'], { choices, ...more }))
      await writePointer(home, { current: id, previous: null })
      return currentInstall(home)!.ownFlags
    }
    expect(await put('a', { speedUps: ['sage-attention', 'triton'] })).toEqual([
      '--enable-manager',
      '--use-sage-attention',
    ])
    expect(await put('b', { speedUps: [], manager: false })).toEqual([])
    expect(await put('c', { speedUps: ['flash-attention'], manager: true })).toEqual([
      '--enable-manager',
      '--use-flash-attention',
    ])
  })

  async function threeGenerations() {
    const home = tempDir()
    await writeJournal(generationDir(home, 'a'), journal(1, ['trial', 'switch']))
    await writeJournal(generationDir(home, 'b'), journal(2, ['trial', 'switch']))
    await writeJournal(generationDir(home, 'c'), journal(3, ['source']))
    await writePointer(home, { current: 'b', previous: 'a' })
    return home
  }

  test('those that were tried can be run; one that was begun is gone on with; a pointer is whole or not there', async () => {
    const home = await threeGenerations()
    expect((await listGenerations(home)).map(({ id, current }) => [id, current])).toEqual([
      ['b', true],
      ['a', false],
    ])
    expect((await unfinishedOf(home))?.id).toBe('c')
    writeFileSync(path.join(home, 'current.part'), '{"current":"c"') // killed while writing
    expect(readPointer(home)).toEqual({ current: 'b', previous: 'a' })
    expect(readPointer(tempDir())).toBe(null)
  })

  test('tidying keeps the current, the one before and the one being made', async () => {
    const home = await threeGenerations()
    await writeJournal(generationDir(home, 'd'), journal(4, []))
    await tidy(home, 'c')
    expect(['a', 'b', 'c', 'd'].map((id) => existsSync(generationDir(home, id)))).toEqual([true, true, true, false])
  })
})

describe('locks', () => {
  async function environment() {
    const dir = tempDir()
    const site = path.join(dir, 'venv', 'lib', 'python3.12', 'site-packages')
    const put = (file: string, text: string) => {
      mkdirSync(path.dirname(path.join(site, file)), { recursive: true })
      writeFileSync(path.join(site, file), text)
    }
    for (const name of ['one', 'Two_Words']) {
      put(`${name}/__init__.py`, 'x = 1\n')
      put(`${name}-1.0.dist-info/METADATA`, `Name: ${name}\n`)
      put(
        `${name}-1.0.dist-info/RECORD`,
        `${name}/__init__.py,sha256=x,6\n${name}/__pycache__/a.pyc,,\n${name}-1.0.dist-info/RECORD,,\n`,
      )
    }
    put('one/left_out.so', '')
    return { dir, site, put }
  }

  test('a whole environment has no damage; what is gone, shorter or of another version is named', async () => {
    const { dir, site, put } = await environment()
    const lock = await writeLock(dir)
    expect(requirementsIn(lock)).toEqual(['two-words==1.0', 'one==1.0'])
    expect(await damageIn(dir, lock)).toEqual([])
    put('one/__init__.py', '')
    expect(await damageIn(dir, lock)).toEqual([{ package: 'one', version: '1.0', file: 'one/__init__.py' }])
    put('Two_Words-1.0.dist-info/RECORD', 'other\n')
    expect(await damageIn(dir, lock)).toHaveLength(2)
    expect(readFileSync(path.join(dir, 'lock.json'), 'utf8')).toContain('recordSha256')
    rmSync(path.join(site, 'one-1.0.dist-info'), { recursive: true })
    expect(await damageIn(dir, lock)).toContainEqual({ package: 'one', version: '1.0', file: null })
  })

  test('files of a RECORD: names in quotes, sizes, and not what running writes', () => {
    const record =
      '"a ""b"", c.py",sha256=x,3\r\nd.py,,\n../../bin/tool,sha256=y,9\nd/__pycache__/d.cpython-312.pyc,,\nx-1.dist-info/RECORD,,\n'
    expect(filesIn(record)).toEqual([
      { name: 'a "b", c.py', size: 3 },
      { name: 'd.py', size: null },
    ])
  })
})

test.each([
  ['/home/me/nightshift', 'linux', 'ext4', []],
  ['/home/me/my files', 'linux', 'ext4', ['doctor.path-spaces']],
  ['/home/我/nightshift', 'linux', 'ext4', ['doctor.path-letters']],
  ['/home/me/🌙', 'linux', 'ext4', ['doctor.path-emoji']],
  ['/home/me/👩🏽‍🎨 画室', 'linux', 'ext4', ['doctor.path-spaces', 'doctor.path-letters', 'doctor.path-emoji']],
  [`/srv/${'long/'.repeat(50)}`, 'linux', 'ext4', ['doctor.path-long']],
  [`C:\\${'long\\'.repeat(12)}`, 'win32', 'NTFS', ['doctor.path-long']],
  ['C:\\ComfyUI', 'win32', 'NTFS', []],
  ['C:\\Users\\me\\OneDrive - Work\\x', 'win32', 'NTFS', ['doctor.path-spaces', 'doctor.path-synced']],
  [
    '/Users/me/Library/Mobile Documents/com~apple~CloudDocs/x',
    'darwin',
    'apfs',
    ['doctor.path-spaces', 'doctor.path-synced'],
  ],
  ['/Users/me/Library/CloudStorage/x', 'darwin', 'apfs', ['doctor.path-synced']],
  ['/home/me/Dropbox/x', 'linux', 'ext4', ['doctor.path-synced']],
  ['/home/me/Dropbox (Work)/x', 'linux', 'ext4', ['doctor.path-spaces', 'doctor.path-synced']],
  ['/home/me/Dropboxes/x', 'linux', 'ext4', []],
  ['D:\\坚果云\\x', 'win32', 'NTFS', ['doctor.path-letters', 'doctor.path-synced']],
  ['/media/stick', 'linux', 'exfat', ['doctor.path-exfat']],
  ['/media/stick', 'linux', 'vfat', ['doctor.path-fat32', 'doctor.path-exfat']],
  ['E:\\ai', 'win32', 'FAT32', ['doctor.path-fat32', 'doctor.path-exfat']],
  ['/mnt/nas', 'linux', 'nfs', ['doctor.path-network']],
  ['/Volumes/nas', 'darwin', 'smbfs', ['doctor.path-network']],
  ['\\\\nas\\ai', 'win32', null, ['doctor.path-network']],
  ['\\\\?\\C:\\ai', 'win32', null, []],
  ['/mnt/c/ai', 'linux', '9p', ['doctor.path-wsl']],
  ['/mnt/c/ai', 'linux', 'drvfs', ['doctor.path-wsl']],
  ['/mnt/c/ai', 'linux', 'ext4', []],
  ['/srv/x', 'linux', '9p', []],
] as [string, string, string | null, string[]][])(
  'what about a path makes trouble: %s on %s',
  (dir, platform, type, codes) => {
    expect(pathPitfalls(dir, platform, type).map(({ code }) => code)).toEqual(codes)
  },
)

test.each(['en', 'zh-CN'])('every finding has its sentence in %s', (language) => {
  const words = JSON.parse(readFileSync(`resources/locales/${language}/problems.json`, 'utf8')) as Record<
    string,
    string
  >
  if (language === 'en') expect(words).toMatchObject(upkeepSentences)
  else expect(Object.keys(words)).toEqual(expect.arrayContaining(Object.keys(upkeepSentences)))
})
