import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { type DirectoryRecord, extractFile, getRawHeader, listPackage } from '@electron/asar'
import { FuseV1Options, FuseVersion, getCurrentFuseWire } from '@electron/fuses'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ensureBuilt } from '../kit/built.ts'

const root = path.resolve(import.meta.dirname, '../..')
const builder = createRequire(createRequire(import.meta.url).resolve('electron-builder'))
const { loadConfig } = { loadConfig: builder('app-builder-lib/out/util/config/config') } as {
  loadConfig: {
    getConfig(dir: string, file: string, overrides: object | null): Promise<Record<string, unknown>>
    validateConfiguration(config: object, log: { isEnabled: boolean; add(): void }): Promise<void>
  }
}
const quiet = { isEnabled: false, add() {} }
const readConfig = () => loadConfig.getConfig(root, 'electron-builder.yml', null)

test('the packager knows every word of its configuration', async () => {
  const config = await readConfig()
  await expect(loadConfig.validateConfiguration(config, quiet)).resolves.toBeUndefined()
  await expect(loadConfig.validateConfiguration({ ...config, filez: [] }, quiet)).rejects.toThrow(/filez/)
})

test('each system gets its usual kind of package, with icons that are there', async () => {
  const { win, linux, mac } = (await readConfig()) as Record<string, { target: unknown; icon: string }>
  expect([win, linux, mac].map((one) => one?.target)).toEqual(['nsis', ['AppImage', 'deb'], 'dmg'])
  for (const one of [win, linux, mac]) expect(existsSync(path.join(root, one?.icon ?? ''))).toBe(true)
})

test('the icons hold every size that Windows and macOS draw', () => {
  const ico = readFileSync(path.join(root, 'resources/icons/icon.ico'))
  const sizes = Array.from({ length: ico.readUInt16LE(4) }, (_, at) => ico.readUInt8(6 + 16 * at) || 256)
  expect(sizes).toEqual([16, 24, 32, 48, 64, 128, 256])
  for (const [at, size] of sizes.entries()) {
    const png = ico.subarray(ico.readUInt32LE(6 + 16 * at + 12))
    expect([png.toString('latin1', 1, 4), png.readUInt32BE(16)]).toEqual(['PNG', size])
  }

  const icns = readFileSync(path.join(root, 'resources/icons/icon.icns'))
  const chunks: [string, number][] = []
  for (let at = 8; at < icns.length; at += icns.readUInt32BE(at + 4))
    chunks.push([icns.toString('latin1', at, at + 4), icns.readUInt32BE(at + 8 + 16)])
  expect(icns.readUInt32BE(4)).toBe(icns.length)
  expect(Object.fromEntries(chunks)).toEqual({
    ic11: 32,
    ic12: 64,
    ic07: 128,
    ic13: 256,
    ic08: 256,
    ic14: 512,
    ic09: 512,
    ic10: 1024,
  })
})

// Packed with a folder in place of Electron's: what the packager adds and changes is all that is looked at.
describe.skipIf(process.platform !== 'linux')('packed for Linux', () => {
  const work = mkdtempSync(path.join(tmpdir(), 'nightshift-pack-'))
  const app = path.join(work, 'out', `linux${process.arch === 'x64' ? '' : `-${process.arch}`}-unpacked`)
  const archive = path.join(app, 'resources', 'app.asar')
  let files: string[] = []

  beforeAll(() => {
    ensureBuilt()
    const electronDist = path.join(work, 'electron')
    makeElectronFolder(electronDist)
    const { status, stdout, stderr } = spawnSync(
      process.execPath,
      [
        path.join(root, 'node_modules/electron-builder/cli.js'),
        '--linux',
        'dir',
        '--publish',
        'never',
        `-c.electronDist=${electronDist}`,
        `-c.directories.output=${path.join(work, 'out')}`,
      ],
      { cwd: root, encoding: 'utf8', env: { ...process.env, FORCE_COLOR: '0' } },
    )
    if (status !== 0) throw new Error(`${stdout}\n${stderr}`)
    files = listPackage(archive, { isPack: false }).map((file) => file.replaceAll('\\', '/').slice(1))
  })
  afterAll(() => rmSync(work, { recursive: true, force: true }))

  test('the archive holds the bundles, the resources and nothing of the sources', () => {
    for (const file of [
      'package.json',
      'out/main/index.js',
      'out/host/index.js',
      'out/host/media-worker.js',
      'out/host/import-worker.js',
      'out/preload/index.cjs',
      'out/renderer/index.html',
      'resources/icons/tray-idle.png',
      'resources/icons/tray-idle@2x.png',
      'resources/icons/app/256x256.png',
    ])
      expect(files, file).toContain(file)
    const tops = new Set(files.map((file) => file.split('/')[0]))
    expect([...tops].sort()).toEqual(['node_modules', 'out', 'package.json', 'resources'])
    expect(files.filter((file) => /\.(map|ts|tsx)$/.test(file))).toEqual([])
  })

  test('the entry named in package.json is there, and no script or tool is named', () => {
    const packed = JSON.parse(extractFile(archive, 'package.json').toString('utf8'))
    expect(files).toContain(packed.main)
    expect(packed.devDependencies).toBeUndefined()
    expect(packed.scripts).toBeUndefined()
  })

  test('all that the bundles ask for at run time is carried, and no package more', () => {
    const carried = new Set(
      files.flatMap((file) => /^node_modules\/((?:@[^/]+\/)?[^/]+)\/package\.json$/.exec(file)?.[1] ?? []),
    )
    const native = `${process.platform}-${process.arch}`
    expect([...carried].sort()).toEqual(
      [
        '@img/colour',
        `@img/sharp-${native}`,
        `@img/sharp-libvips-${native}`,
        'better-sqlite3',
        'detect-libc',
        'semver',
        'sharp',
      ].sort(),
    )
  })

  test('libraries lie beside the archive: one per native package, and only this platform’s', () => {
    const unpacked = walk(path.join(app, 'resources', 'app.asar.unpacked'))
    const native = `${process.platform}-${process.arch}`
    expect(unpacked.filter((file) => file.endsWith('.node'))).toEqual([
      `node_modules/@img/sharp-${native}/lib/sharp-${native}-0.35.5.node`,
      `node_modules/better-sqlite3/prebuilds/${native}.node`,
    ])
    expect(unpacked.filter((file) => /libvips.*\.so/.test(file)).length).toBeGreaterThan(0)
    const inside = files.filter((file) => /\.(node|so[.\d]*)$/.test(file))
    for (const file of inside) expect(unpacked, file).toContain(file)
  })

  test('every file in the archive can be checked against its hash', () => {
    const { header } = getRawHeader(archive)
    const without: string[] = []
    const look = (record: DirectoryRecord, at: string) => {
      for (const [name, entry] of Object.entries(record.files)) {
        if ('files' in entry) look(entry, `${at}/${name}`)
        else if (!('link' in entry) && !entry.integrity?.hash) without.push(`${at}/${name}`)
      }
    }
    look(header as DirectoryRecord, '')
    expect(without).toEqual([])
  })

  test('the doors that Electron leaves open are shut', async () => {
    const fuses = await getCurrentFuseWire(path.join(app, 'nightshift'))
    const [off, on] = ['0'.charCodeAt(0), '1'.charCodeAt(0)]
    expect(fuses).toMatchObject({
      version: FuseVersion.V1,
      [FuseV1Options.RunAsNode]: off,
      [FuseV1Options.EnableCookieEncryption]: on,
      [FuseV1Options.EnableNodeOptionsEnvironmentVariable]: off,
      [FuseV1Options.EnableNodeCliInspectArguments]: off,
      [FuseV1Options.EnableEmbeddedAsarIntegrityValidation]: on,
      [FuseV1Options.OnlyLoadAppFromAsar]: on,
      [FuseV1Options.GrantFileProtocolExtraPrivileges]: off,
    })
  })

  test('two languages, our licence and those of what is bundled are carried; the whole is small', () => {
    expect(readdirSync(path.join(app, 'locales')).sort()).toEqual(['en-US.pak', 'zh-CN.pak'])
    expect(existsSync(path.join(app, 'resources', 'LICENSE.nightshift.txt'))).toBe(true)
    for (const [file, bundled] of [
      ['out/renderer/licences.md', 'react'],
      ['out/host/index.licences.md', 'zod'],
      ['out/agent/index.licences.md', 'undici'],
    ] as const)
      expect(
        new RegExp(`^## ${bundled} - [\\d.]+ \\(MIT\\)[^#]*Permission is hereby granted`, 'm').test(
          extractFile(archive, file).toString('utf8'),
        ),
        bundled,
      ).toBe(true)
    const MiB = 1024 * 1024
    expect(statSync(archive).size).toBeLessThan(40 * MiB)
  })
})

/** As Electron's, as far as the packager looks: a program with a fuse wire, languages, a version. */
function makeElectronFolder(dir: string) {
  const SENTINEL = 'dL7pKGdnNz796PbbjQWNKmHXBZaB9tsX'
  const FUSES = 9
  mkdirSync(path.join(dir, 'locales'), { recursive: true })
  for (const language of ['en-US', 'zh-CN', 'fr', 'de']) writeFileSync(path.join(dir, 'locales', `${language}.pak`), '')
  const wire = Buffer.concat([Buffer.from(SENTINEL), Buffer.from([1, FUSES]), Buffer.from('1'.repeat(FUSES))])
  writeFileSync(path.join(dir, 'electron'), Buffer.concat([Buffer.from('not a program '), wire]), { mode: 0o755 })
  writeFileSync(path.join(dir, 'version'), '45.4.1')
  writeFileSync(path.join(dir, 'LICENSE'), '')
}

function walk(dir: string): string[] {
  return readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.relative(dir, path.join(entry.parentPath, entry.name)).replaceAll('\\', '/'))
    .sort()
}
