import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import type { Page } from 'playwright'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Settings } from '../../core/contract/settings.ts'
import { takeDataFolder } from '../../main/services/data-folder.ts'
import { alive } from '../kit/alive.ts'
import { eventually } from '../kit/eventually.ts'
import { tempDir } from '../kit/temp-dir.ts'
import { call, callRaw, dataFolder, launchApp, startApp, withBrowser } from './kit.ts'
import type { LaunchedApp } from './stand-in/launch.ts'

withBrowser()

describe('a page in the window', () => {
  const folder = dataFolder()
  let app: LaunchedApp
  let page: Page
  beforeAll(async () => {
    app = await launchApp({ dir: folder.dir })
    page = await app.firstWindow()
  })
  afterAll(async () => {
    await app?.end()
    folder.remove()
  })

  test('lives in a sandbox, and its window has a background before it is shown', () => {
    const [made] = app.recorded('BrowserWindow')
    expect(made).toMatchObject({
      show: false,
      backgroundColor: '#f3f5f9',
      webPreferences: { sandbox: true, contextIsolation: true, nodeIntegration: false, webSecurity: true },
    })
    expect(app.recorded('app.enableSandbox').length).toBe(1)
    expect(app.recorded('preload-error')).toEqual([])
  })

  test('gets the bridge, frozen, and nothing else of ours', async () => {
    const seen = await page.evaluate(() => ({
      keys: Object.keys(window.bridge ?? {}).sort(),
      frozen: Object.isFrozen(window.bridge),
      others: ['require', 'process', 'Buffer', 'module', 'standInOut', 'standInHear'].filter(
        (name) => name in globalThis,
      ),
      platform: window.bridge?.platform,
    }))
    expect(seen).toEqual({
      keys: [
        'call',
        'chooseFolder',
        'openArtifact',
        'openExternal',
        'pathForFile',
        'platform',
        'revealArtifact',
        'startDrag',
        'subscribe',
      ],
      frozen: true,
      others: [],
      platform: process.platform,
    })
  })

  test('speaks to the host, and long integers arrive whole', async () => {
    expect(await call(page, 'app.info', {})).toMatchObject({ door: 'desktop', platform: process.platform })
    expect(await callRaw(page, 'settings.set', { theme: 9007199254740993n })).toMatchObject({ ok: false })
  })

  test('that tampers with the language’s own objects does not reach the preload', async () => {
    const reply = await page.evaluate(async () => {
      const { map } = Array.prototype
      Array.prototype.map = () => {
        throw new Error('tampered')
      }
      try {
        return await window.bridge?.call('settings.get', {})
      } finally {
        Array.prototype.map = map
      }
    })
    expect(reply).toMatchObject({ ok: true })
  })

  test('is refused what is no procedure, in data and not by an exception', async () => {
    for (const name of ['no.such', 'queue.changed', 'toString', '__proto__', 'desktop.noSuch'])
      expect(await callRaw(page, name), name).toMatchObject({ ok: false, failure: { code: 'app.unknown-procedure' } })
    expect(await callRaw(page, 'desktop.openExternal', { url: 5 })).toMatchObject({
      failure: { code: 'app.bad-request' },
    })
    expect(await callRaw(page, 'settings.set', { theme: 'pink' })).toMatchObject({
      failure: { code: 'app.bad-request' },
    })
    const odd = await page.evaluate(() =>
      [window.bridge?.call(5 as never, {}), window.bridge?.call('settings.set', new Map([['theme', 'dark']]))].reduce(
        async (all, one) => [...(await all), await one],
        Promise.resolve([] as unknown[]),
      ),
    )
    expect(odd).toMatchObject([{ failure: { code: 'app.bad-request' } }, { failure: { code: 'app.bad-request' } }])
  })

  test('cannot send a function', async () => {
    await expect(page.evaluate(() => window.bridge?.call('settings.set', { theme: () => 1 }))).rejects.toThrow(
      /could not be cloned/,
    )
  })

  test('is the only caller: another origin, a frame within, a frame that is gone and a huge request are refused', async () => {
    const replies = await app.evaluate(async ({ ipcMain, BrowserWindow }) => {
      const handler = ipcMain.handlers.get('call')
      const sender = BrowserWindow.getAllWindows()[0]?.webContents
      const url = 'nightshift://app/index.html'
      const ask = (senderFrame: unknown, input: unknown) => handler?.({ sender, senderFrame }, 'settings.get', input)
      return [
        await ask({ url: 'https://elsewhere.invalid/', parent: null }, {}),
        await ask({ url: 'nightshift://app.elsewhere/', parent: null }, {}),
        await ask({ url, parent: { url } }, {}),
        await ask(null, {}),
        await ask({ url, parent: null }, { base64: 'A'.repeat(97 * 1024 * 1024) }),
        await ask({ url, parent: null }, {}),
      ]
    })
    expect(replies).toMatchObject([
      { ok: false, failure: { code: 'app.refused' } },
      { ok: false, failure: { code: 'app.refused' } },
      { ok: false, failure: { code: 'app.refused' } },
      { ok: false, failure: { code: 'app.refused' } },
      { ok: false, failure: { code: 'app.too-large', facts: { limitMiB: 96 } } },
      { ok: true },
    ])
  })

  test('a frame within it gets no bridge', async () => {
    await page.evaluate(async () => {
      const frame = document.createElement('iframe')
      frame.src = '/index.html?inner'
      document.body.append(frame)
      await new Promise((resolve) => frame.addEventListener('load', resolve, { once: true }))
    })
    const inner = await eventually(() => page.frames().find((frame) => frame !== page.mainFrame()))
    expect(await inner.evaluate(() => 'bridge' in window)).toBe(false)
    await page.evaluate(() => document.querySelector('iframe')?.remove())
  })

  test('runs no inline script and reaches no other place', async () => {
    const ran = await page.evaluate(() => {
      const script = document.createElement('script')
      script.textContent = 'window.ran = true'
      document.head.append(script)
      return 'ran' in window
    })
    expect(ran).toBe(false)
    await expect(page.evaluate(() => fetch('https://elsewhere.invalid/'))).rejects.toThrow()
    await eventually(
      () => app.consoleLines.filter((line) => line.includes('Content Security Policy')).length >= 2, // one each
    )
    expect(app.recorded('network')).toEqual([])
  })

  test('is read from the renderer’s folder only', async () => {
    const status = (url: string) => page.evaluate(async (url) => (await fetch(url)).status, url)
    expect(await status('/index.html')).toBe(200)
    expect(await status('/..%2f..%2fpackage.json')).toBe(404)
    expect(await status('/%2e%2e%5cmain/index.js')).toBe(404)
    expect(await status('/no-such-file.js')).toBe(404)
    expect(await page.evaluate(async () => (await fetch('/index.html', { method: 'POST' })).status)).toBe(405)
    expect(await status('/files/artifact/no-such-id')).toBe(404)
  })

  test('stays where it is: no navigation, no window of another', async () => {
    const before = page.url()
    await page.evaluate(() => {
      location.href = 'https://elsewhere.invalid/'
    })
    await page.evaluate(() => {
      const link = document.createElement('a')
      Object.assign(link, { href: 'https://elsewhere.invalid/page', target: '_blank', id: 'away', textContent: 'away' })
      Object.assign(link.style, { position: 'fixed', top: '0', left: '0', zIndex: '9999' })
      document.body.append(link)
    })
    await page.locator('#away').click()
    await page.evaluate(() => void window.open('nightshift://app/index.html'))
    await page.evaluate(() => void window.open('https://github.com/comfyanonymous/ComfyUI'))
    await eventually(() => app.recorded('window.open').length >= 3)
    expect(app.recorded('window.open').map(({ action }) => action)).toEqual(['deny', 'deny', 'deny'])
    await eventually(async () => (await app.pageCount()) === 1)
    expect(page.url()).toBe(before)
    // a place that is not well known is asked about (the stand-in's person says yes), ours is not opened outside
    await eventually(() => app.recorded('shell.openExternal').length >= 2)
    expect(
      app
        .recorded('shell.openExternal')
        .map(({ url }) => url)
        .sort(),
    ).toEqual(['https://elsewhere.invalid/page', 'https://github.com/comfyanonymous/ComfyUI'])
    expect(app.recorded('dialog.showMessageBox').map(({ detail }) => detail)).toEqual([
      'https://elsewhere.invalid/page',
    ])
    await page.evaluate(() => document.querySelector('#away')?.remove())
  })

  test('may ask the browser for https only, and hears whether it was opened', async () => {
    const open = (url: string) => page.evaluate((url) => window.bridge?.openExternal(url), url)
    await app.evaluate(({ dialog }) => dialog.willAnswer('showMessageBox', { response: 1 }))
    expect(await open('https://unknown.invalid/')).toEqual({ ok: true, value: { opened: false } })
    expect(await open('http://github.com/')).toEqual({ ok: true, value: { opened: false } })
    expect(await open('file:///etc/passwd')).toEqual({ ok: true, value: { opened: false } })
    expect(await open('https://github.com/')).toEqual({ ok: true, value: { opened: true } })
  })

  test('is granted copying text, and no other permission', async () => {
    expect(await app.permission('clipboard-sanitized-write')).toEqual({ granted: true, checked: true, device: false })
    for (const name of ['notifications', 'media', 'geolocation', 'clipboard-read', 'openExternal', 'fileSystem'])
      expect(await app.permission(name), name).toEqual({ granted: false, checked: false, device: false })
  })

  test('chooses a folder through the system', async () => {
    await app.evaluate(({ dialog }) =>
      dialog.willAnswer('showOpenDialog', { canceled: false, filePaths: ['/pictures'] }),
    )
    expect(await page.evaluate(() => window.bridge?.chooseFolder('/from'))).toBe('/pictures')
    expect(await page.evaluate(() => window.bridge?.chooseFolder())).toBeNull()
    expect(app.recorded('dialog.showOpenDialog')[0]).toMatchObject({
      defaultPath: '/from',
      properties: ['openDirectory', 'createDirectory'],
    })
  })

  test('hears events until it unsubscribes, and a reload starts afresh', async () => {
    await page.evaluate(() => {
      window.heard = []
      const leave = window.bridge?.subscribe(null, (frame) => {
        window.heard.push(frame)
        if (frame.name === 'settings.changed') leave?.()
      })
    })
    const names = () => page.evaluate(() => window.heard.map(({ name }) => name))
    await eventually(async () => (await names()).includes('connection'))
    await call(page, 'settings.set', { stripMetadata: true })
    await eventually(async () => (await names()).includes('settings.changed'))
    await call(page, 'settings.set', { stripMetadata: false })
    await call(page, 'settings.get', {})
    expect((await names()).filter((name) => name === 'settings.changed').length).toBe(1)

    await page.evaluate(() => void window.bridge?.subscribe(null, () => {}))
    await page.reload()
    await page.evaluate(() => {
      window.heard = []
      window.bridge?.subscribe(null, (frame) => void window.heard.push(frame))
    })
    await eventually(async () => (await names()).includes('connection'))
    await call(page, 'settings.set', { stripMetadata: true })
    const again = () =>
      page.evaluate(() =>
        window.heard.flatMap(({ name, payload }) =>
          name === 'settings.changed' ? [(payload as Settings).stripMetadata] : [],
        ),
      )
    await eventually(async () => (await again()).includes(true))
    expect((await again()).filter(Boolean)).toEqual([true])
  })

  test('a page that crashes is drawn again', async () => {
    await app.evaluate(({ BrowserWindow }) => {
      const contents = BrowserWindow.getAllWindows()[0]?.webContents
      contents?.emit('render-process-gone', {}, { reason: 'crashed' })
    })
    await page.waitForFunction(() => !('heard' in window) && 'bridge' in window)
    expect(await call(page, 'settings.get', {})).toMatchObject({ theme: 'system' })
  })
})

describe('the window', () => {
  test('hides when closed and says so once; the tray brings it back', async () => {
    const { app, page } = await startApp()
    await call(page, 'app.info', {})
    await eventually(() => app.evaluate(({ BrowserWindow }) => BrowserWindow.getAllWindows()[0]?.isVisible()))
    const closeAndSee = () =>
      app.evaluate(({ BrowserWindow }) => {
        const [window] = BrowserWindow.getAllWindows()
        window?.close()
        return window?.isVisible()
      })
    await call(page, 'settings.set', { theme: 'dark' })
    await eventually(() => app.evaluate(({ nativeTheme }) => nativeTheme.themeSource === 'dark')) // it has the settings
    expect(await call(page, 'settings.get', {})).toMatchObject({ toldAboutTray: false })
    expect(await closeAndSee()).toBe(false)
    await eventually(async () => (await call(page, 'settings.get', {})).toldAboutTray)
    await app.evaluate(({ Tray }) => Tray.all[0]?.menu?.items.find(({ label }) => label === 'Open Nightshift')?.click())
    expect(await app.evaluate(({ BrowserWindow }) => BrowserWindow.getAllWindows()[0]?.isVisible())).toBe(true)
    expect(await closeAndSee()).toBe(false)
    await app.evaluate(({ Tray }) => void Tray.all[0]?.emit('click'))
    expect(await app.evaluate(({ BrowserWindow }) => BrowserWindow.getAllWindows()[0]?.isVisible())).toBe(true)
    expect(app.recorded('notification.show')).toMatchObject([{ title: 'Nightshift is still here' }])
  })

  test('quits when closed where there is no tray', async () => {
    const { app, page } = await startApp({ env: { STAND_IN_NO_TRAY: '1' } })
    await call(page, 'app.info', {})
    await app.evaluate(({ BrowserWindow }) => BrowserWindow.getAllWindows()[0]?.close())
    expect(await app.exited).toEqual({ code: 0, signal: null })
  })

  test('opens where it was, unless that screen is gone', async () => {
    const dir = tempDir()
    const first = await startApp({ dir })
    await call(first.page, 'settings.set', { theme: 'dark' })
    await eventually(() => first.app.evaluate(({ nativeTheme }) => nativeTheme.themeSource === 'dark'))
    await first.app.evaluate(({ BrowserWindow }) =>
      BrowserWindow.getAllWindows()[0]?.setBounds({ x: 200, y: 150, width: 1000, height: 700 }),
    )
    const file = path.join(dir, 'data/window/state.json')
    await eventually(() => readFileSync(file, 'utf8').includes('"x":200'))
    await first.app.evaluate(({ app }) => app.quit())
    expect(await first.app.exited).toEqual({ code: 0, signal: null })

    const second = await startApp({ dir })
    expect(second.app.recorded('BrowserWindow')[0]).toMatchObject({
      ...{ x: 200, y: 150, width: 1000, height: 700 },
      backgroundColor: '#0b0f1a',
    })
    await second.app.evaluate(({ app }) => app.quit())
    await second.app.exited
    writeFileSync(file, '{"bounds":{"x":5000,"y":150,"width":1000,"height":700}}')
    const third = await startApp({ dir })
    expect(third.app.recorded('BrowserWindow')[0]?.x).toBeUndefined()
  })

  test('speaks the system’s language, and changes it without a restart', async () => {
    const { app, page } = await startApp({ locale: 'zh-CN' })
    const menus = () =>
      app.evaluate(({ Menu, Tray }) => ({
        window: Menu.application?.items.map(({ label }) => label),
        tray: Tray.all[0]?.menu?.items.map(({ label }) => label).filter(Boolean),
      }))
    await eventually(async () => (await menus()).tray?.includes('队列为空'))
    expect(await menus()).toEqual({
      window: ['文件', '编辑', '队列', '视图', '帮助'],
      tray: ['队列为空', '当前任务完成后暂停', '打开 Nightshift', '打开队列', '退出'],
    })
    await call(page, 'settings.set', { language: 'en' })
    await eventually(async () => (await menus()).window?.[0] === 'File')
  })

  test('is brought forward by a second start, which ends at once; its files are opened here', async () => {
    const dir = tempDir()
    const { app, page } = await startApp({ dir })
    await call(page, 'app.info', {})
    await app.evaluate(({ BrowserWindow }) => BrowserWindow.getAllWindows()[0]?.hide())
    const file = path.join(dir, '空.json')
    writeFileSync(file, '')
    const second = await launchApp({ dir, args: [file] })
    const told = new Promise<{ argv: string[]; dir: string; extra: unknown }>((resolve) =>
      second.events.once('second-instance', resolve),
    )
    const { argv, dir: startedIn, extra } = await told
    expect((await second.exited).code).toBe(0)
    expect(extra).toEqual({ files: [file] })
    await app.emitOnApp('second-instance', argv, startedIn, extra)
    expect(await app.evaluate(({ BrowserWindow }) => BrowserWindow.getAllWindows()[0]?.isVisible())).toBe(true)
    // an empty file is no workflow: the person hears which and why
    const said = await eventually(() => app.recorded('dialog.showMessageBox')[0])
    expect(said).toMatchObject({ type: 'error', message: '空.json could not be opened.' })
    expect(said.detail).toContain('empty')
  })

  test('says so when the data folder belongs to another program, and goes on when it is let go', async () => {
    const dir = tempDir()
    const held = await takeDataFolder(path.join(dir, 'data'))
    const { app, page } = await startApp({ dir })
    const said = await eventually(() => app.recorded('dialog.showMessageBox')[0])
    expect(said).toMatchObject({ type: 'error', buttons: ['Try again', 'Quit'] })
    expect(said.message).toContain(`process ${process.pid}`)
    expect(await callRaw(page, 'settings.get')).toMatchObject({ failure: { code: 'app.disconnected' } })
    await held.release() // the stand-in's person keeps pressing Try again
    await eventually(async () => (await callRaw(page, 'settings.get')).ok)
  })

  test('does not open for a command: the program is the command line too', async () => {
    const dir = tempDir()
    const app = await launchApp({ dir, args: ['version', '--json'] })
    expect(await app.exited).toEqual({ code: 0, signal: null })
    expect(JSON.parse(app.output().split('\n')[0] ?? '')).toMatchObject({ event: 'version', version: '0.1.0' })
    expect(app.recorded('BrowserWindow')).toEqual([])
    const wrong = await launchApp({ dir, args: ['nonsense'] })
    expect(await wrong.exited).toEqual({ code: 2, signal: null })
  })

  test('quits without a question when there is no work, leaving no process', async () => {
    const { app, page } = await startApp()
    await call(page, 'app.info', {})
    await app.evaluate(({ app }) => app.quit())
    expect(await app.exited).toEqual({ code: 0, signal: null })
    expect(app.recorded('dialog.showMessageBox')).toEqual([])
    expect(app.utilities.filter(alive)).toEqual([])
  })

  test('seals secrets with the system’s key store, and tells nobody the key', async () => {
    const dir = tempDir()
    const { app, page } = await startApp({ dir })
    await call(page, 'app.info', {})
    const kept = readFileSync(path.join(dir, 'data/window/secret-key'))
    expect(kept.subarray(0, 3).toString()).toBe('v10')
    const commandLine = readFileSync(`/proc/${app.utilities[0]}/cmdline`, 'utf8').split('\0')
    expect(commandLine.at(-2)).toBe('--key')
  })
})
