import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { _electron } from 'playwright'
import { expect, test } from 'vitest'
import { ensureBuilt } from '../kit/built.ts'
import { call, dataFolder } from './kit.ts'

const root = path.resolve(import.meta.dirname, '../..')
const marker = path.join(root, 'node_modules/electron/path.txt')
const program = existsSync(marker) ? path.join(root, 'node_modules/electron/dist', readFileSync(marker, 'utf8')) : ''
const hasScreen = process.platform !== 'linux' || Boolean(process.env.DISPLAY || process.env.WAYLAND_DISPLAY)

test.skipIf(!existsSync(program) || !hasScreen)(
  'the window opens in the real Electron and speaks to the host',
  async () => {
    ensureBuilt()
    const folder = dataFolder()
    const app = await _electron.launch({
      executablePath: program,
      args: [root, '--data', path.join(folder.dir, 'data'), ...(process.getuid?.() === 0 ? ['--no-sandbox'] : [])],
    })
    try {
      const page = await app.firstWindow()
      expect(await call(page, 'app.info', {})).toMatchObject({ door: 'desktop', platform: process.platform })
      expect(await page.evaluate(() => [Object.isFrozen(window.bridge), 'require' in window])).toEqual([true, false])
      expect(page.url()).toContain('nightshift://app/')
    } finally {
      await app.evaluate(({ app }) => app.exit(0))
      folder.remove()
    }
  },
)
