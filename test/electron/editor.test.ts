import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, onTestFinished, test } from 'vitest'
import { eventually } from '../kit/eventually.ts'
import { startApp, withBrowser } from './kit.ts'

withBrowser()

/** A ComfyUI's editor as a custom node of a stranger's may have made it. */
async function hostileEditor(): Promise<string> {
  const server = createServer((request, response) => {
    if (request.url?.startsWith('/nightshift/enter')) response.writeHead(303, { location: '/' }).end()
    else response.writeHead(200, { 'content-type': 'text/html' }).end('<title>ComfyUI</title><p>the editor</p>')
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => void server.close())
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

test('ComfyUI’s editor opens in a window that has nothing of ours, and does not leave its address', async () => {
  const { app, page } = await startApp()
  const editor = await hostileEditor()
  await page.evaluate((url) => void window.open(url), `${editor}/nightshift/enter?ticket=t`)
  await eventually(() => app.windowCount() === 2)
  const shown = await app.page(2)
  await eventually(async () => (await shown.locator('p').textContent({ timeout: 1000 })) === 'the editor')
  expect(app.recorded('shell.openExternal')).toEqual([])

  const made = app.recorded('BrowserWindow').at(-1)!
  expect(made.webPreferences).toMatchObject({
    partition: 'persist:editors',
    sandbox: true,
    contextIsolation: true,
    nodeIntegration: false,
    webSecurity: true,
  })
  expect(made.webPreferences.preload).toBeUndefined()
  expect(await shown.evaluate(() => 'bridge' in window)).toBe(false)

  await shown.evaluate(() => {
    location.href = 'https://elsewhere.invalid/'
  })
  await shown.evaluate(() => void window.open('nightshift://app/index.html'))
  await shown.evaluate(() => void window.open('https://elsewhere.invalid/docs'))
  await eventually(() => app.recorded('shell.openExternal').length > 0)
  expect(app.recorded('shell.openExternal').map(({ url }) => url)).toEqual(['https://elsewhere.invalid/docs'])
  expect(shown.url()).toBe(`${editor}/`)
  expect(app.windowCount()).toBe(2)

  // a picture in a tab of its own is the editor's too
  await shown.evaluate(() => void window.open('/view?filename=a.png'))
  await eventually(() => app.windowCount() === 3)
})
