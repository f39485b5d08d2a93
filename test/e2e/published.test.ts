import path from 'node:path'
import sharp from 'sharp'
import { expect, onTestFinished, test } from 'vitest'
import { KEY } from '../kit/agent-kit.ts'
import { ensureBuilt } from '../kit/built.ts'
import { aPublishedDoor, published } from '../kit/published-kit.ts'
import { barriers, launchBrowser, PATIENCE_MS } from './kit.ts'

const pageDir = path.resolve(import.meta.dirname, '../../out/agent/form')

test('whoever has the key fills in a published form, corrects what does not fit, and gets the picture', async () => {
  ensureBuilt()
  const { url } = await aPublishedDoor([published()], pageDir)
  const browser = await launchBrowser()
  onTestFinished(() => browser.close())
  const context = await browser.newContext({ locale: 'en-GB', viewport: { width: 1280, height: 800 } })
  context.setDefaultTimeout(PATIENCE_MS)
  const page = await context.newPage()
  const faults: string[] = []
  page.on('pageerror', ({ message }) => faults.push(message))

  await page.goto(`${url}/form/postcard#key=wrong`)
  await expect.poll(() => page.getByRole('alert').textContent()).toContain('key')
  expect(page.url()).toBe(`${url}/form/postcard`) // the key is not in the address any more
  await page.getByLabel('Key', { exact: true }).fill(KEY)
  await page.getByRole('button', { name: 'Open' }).click()

  const make = page.getByRole('button', { name: /Make a picture/ })
  const photo = await sharp({ create: { width: 40, height: 30, channels: 3, background: '#36c' } })
    .png()
    .toBuffer()
  const chooser = page.waitForEvent('filechooser')
  await page.getByRole('button', { name: 'Photo' }).click()
  await (await chooser).setFiles({ name: 'mine.png', mimeType: 'image/png', buffer: photo })
  await page.getByText('mine.png').waitFor()
  await page.getByRole('textbox', { name: 'Width' }).fill('4096')
  await make.click()
  await page.locator('[data-field="2.width"]').getByText(/512/).last().waitFor()
  await page.getByRole('textbox', { name: 'Width' }).fill('96')
  await make.click()
  const result = page.getByRole('region', { name: 'Pictures' }).getByRole('img')
  await result.waitFor()
  await expect
    .poll(() => result.evaluate((image: HTMLImageElement) => [image.naturalWidth, image.naturalHeight]))
    .toEqual([96, 48])
  expect(await barriers(page)).toEqual([])
  await page.reload()
  await result.waitFor() // what was made from this tab is found again
  const saved = page.waitForEvent('download')
  await page.getByRole('button', { name: 'Download card_00001_.png' }).click()
  expect((await saved).suggestedFilename()).toBe('card_00001_.png')
  await page.getByText('中文').click()
  await page.getByRole('button', { name: '生成' }).waitFor()
  await page.getByRole('button', { name: '忘记密钥' }).click()
  await page.getByRole('heading', { name: '打开此页需要密钥' }).waitFor()
  expect(faults).toEqual([])
})

test('several published workflows are a list; none yet says so', async () => {
  ensureBuilt()
  const { url } = await aPublishedDoor([published(), published({ id: 'b', name: '第二个', panel: null })], pageDir)
  const browser = await launchBrowser()
  onTestFinished(() => browser.close())
  const page = await browser.newPage({ locale: 'en-GB' })
  page.setDefaultTimeout(PATIENCE_MS)
  await page.goto(`${url}/form/#key=${KEY}`)
  await page.getByRole('link', { name: '第二个' }).click()
  await page.getByRole('heading', { name: '第二个', level: 1 }).waitFor()
  await page.getByRole('link', { name: 'All forms' }).click()
  await page.getByRole('link', { name: 'Postcard' }).waitFor()
  await page.goto(`${url}/form/withdrawn`)
  await page.getByText('is not published here any more').waitFor()

  const empty = await aPublishedDoor([], pageDir)
  await page.goto(`${empty.url}/form/#key=${KEY}`)
  await page.getByText('Nothing is published here yet').waitFor()
})
