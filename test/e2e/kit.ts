import path from 'node:path'
import AxeBuilder from '@axe-core/playwright'
import { type Browser, type BrowserContext, chromium, type Locator, type Page } from 'playwright'
import { afterAll, onTestFinished } from 'vitest'
import { ensureBuilt } from '../kit/built.ts'
import { eventually } from '../kit/eventually.ts'
import { startApp } from '../kit/start-app.ts'

const rendererDir = path.resolve(import.meta.dirname, '../../out/renderer')
let browser: Browser | undefined
/** How long a page may take for what is asked of it, on a slow machine at its busiest. */
export const PATIENCE_MS = 60_000

/** The browser `npm test` found, or Debian's. */
export const launchBrowser = () =>
  chromium.launch({
    executablePath: process.env.NIGHTSHIFT_CHROMIUM || '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-dev-shm-usage'],
  })

afterAll(async () => {
  await browser?.close()
  browser = undefined
})

type Options = Parameters<Browser['newContext']>[0]

/** The real app on a folder of its own, its real pages in a real browser; a fault in a page fails the test. */
export async function openScreens(
  options: Options = {},
  { port = 0, ...app }: Parameters<typeof startApp>[0] & { port?: number } = {},
) {
  ensureBuilt()
  browser ??= await launchBrowser()
  const started = await startApp(app)
  const { url } = await started.host.serve({ host: '127.0.0.1', port, rendererDir })
  const context = await browser.newContext({
    viewport: { width: 1280, height: 800 },
    locale: 'en-GB',
    colorScheme: 'light',
    permissions: ['clipboard-read', 'clipboard-write'],
    ...options,
  })
  context.setDefaultTimeout(PATIENCE_MS)
  const page = await context.newPage()
  const faults: string[] = []
  page.on('pageerror', (fault) => faults.push(fault.message))
  onTestFinished(async () => {
    await context.close()
    if (faults.length > 0) throw new Error(`the page broke: ${faults.join('; ')}`)
  })
  await page.goto(url)
  await page.getByRole('navigation').waitFor()
  return { ...started, context: context as BrowserContext, page, url, origin: new URL(url).origin }
}

/** Changes the page without loading it anew. */
export async function go(page: Page, to: string) {
  await page.evaluate((hash) => {
    location.hash = hash
  }, `#${to}`)
}

type DroppedFile = { name: string; mediaType: string; bytes: Uint8Array }
/** Files in the page's hand, to be dropped. */
export const held = (page: Page, files: readonly DroppedFile[]) =>
  page.evaluateHandle(
    (files) => {
      const transfer = new DataTransfer()
      for (const { name, mediaType, base64 } of files) {
        const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0))
        transfer.items.add(new File([bytes], name, { type: mediaType }))
      }
      return transfer
    },
    files.map(({ name, mediaType, bytes }) => ({ name, mediaType, base64: Buffer.from(bytes).toString('base64') })),
  )

/** Lets files fall on the window, as from a folder. */
export async function drop(page: Page, files: readonly DroppedFile[]) {
  await page.dispatchEvent('body', 'drop', { dataTransfer: await held(page, files) })
}

/** Pastes text into whatever has the focus, as a spreadsheet would give it. */
export async function paste(page: Page, text: string) {
  await page.evaluate((text) => {
    const clipboardData = new DataTransfer()
    clipboardData.setData('text/plain', text)
    document.activeElement?.dispatchEvent(
      new ClipboardEvent('paste', { clipboardData, bubbles: true, cancelable: true }),
    )
  }, text)
}

/** Picks from a combobox by typing, and waits until its choices are gone. */
export async function choose(page: Page, combobox: Locator, name: string) {
  await combobox.click()
  await combobox.fill(name)
  await page.getByRole('option', { name: new RegExp(`^${name}`) }).click()
  await page.getByRole('option').first().waitFor({ state: 'detached' })
}

/** What the page has copied, once it is what is waited for: copying goes on after the click. */
export async function copied(page: Page, text: string): Promise<string> {
  return eventually(async () => {
    const copy = await page.evaluate(() => navigator.clipboard.readText())
    return copy.includes(text) && copy
  })
}

/** What axe calls serious or critical, a line each; of the page as it stands once nothing fades in any more. */
export async function barriers(page: Page): Promise<string[]> {
  await page.emulateMedia({ reducedMotion: 'reduce' }) // nor will what comes while axe looks
  await page.evaluate(async () => {
    const ending = document.getAnimations().filter(({ effect }) => Number.isFinite(effect?.getComputedTiming().endTime))
    await Promise.allSettled(ending.map(({ finished }) => finished))
  })
  const { violations } = await new AxeBuilder({ page }).analyze()
  return violations
    .filter(({ impact }) => impact === 'serious' || impact === 'critical')
    .flatMap(({ id, nodes }) =>
      nodes.map(({ html, failureSummary }) => `${id}: ${html.slice(0, 160)} ${failureSummary}`),
    )
}
