import type { Browser } from 'playwright'
import { expect, onTestFinished, test } from 'vitest'
import { RehearsalServer } from '../../core/engine/rehearsal/server.ts'
import { everyContainer, zip } from '../kit/containers.ts'
import { eventually } from '../kit/eventually.ts'
import { imagePrompt } from '../kit/library-kit.ts'
import { png, textChunk } from '../kit/pictures.ts'
import { tempDir } from '../kit/temp-dir.ts'
import { barriers, drop, held, openScreens, paste } from './kit.ts'

const different = (at: number) =>
  JSON.stringify(imagePrompt({ '9': { class_type: 'PreviewImage', inputs: { images: ['1', 0] }, at } }))
const kinds = Object.values(everyContainer)
/** Files of every kind in turn. */
const mixed = (count: number, from = 0) =>
  Array.from({ length: count }, (_, at) => {
    const { ext, make } = kinds[at % kinds.length]!
    return { name: `night-${from + at}.${ext}`, mediaType: '', bytes: make({ prompt: different(from + at) }) }
  })
const workflows = async (page: Awaited<ReturnType<typeof openScreens>>['client']) =>
  (await page.call('workflow.list', {})).total

/** The longest piece of work, in milliseconds of processor time, that kept a page from everything else meanwhile. */
async function longestTask(browser: Browser, meanwhile: () => Promise<unknown>): Promise<number> {
  const devtools = await browser.newBrowserCDPSession()
  const pages = new Set<string>()
  const longest = new Map<string, number>()
  devtools.on('Tracing.dataCollected', ({ value }) => {
    for (const { name, pid, tid, tdur = 0, args } of value as unknown as TraceEvent[]) {
      const thread = `${pid}/${tid}`
      if (name === 'thread_name' && args.name === 'CrRendererMain') pages.add(thread)
      if (name === 'ThreadControllerImpl::RunTask') longest.set(thread, Math.max(longest.get(thread) ?? 0, tdur / 1000))
    }
  })
  const traceConfig = { includedCategories: ['toplevel'], excludedCategories: ['*'] }
  await devtools.send('Tracing.start', { transferMode: 'ReportEvents', traceConfig })
  await meanwhile()
  const complete = new Promise((told) => devtools.once('Tracing.tracingComplete', told))
  await devtools.send('Tracing.end')
  await complete
  return Math.max(...[...pages].map((thread) => longest.get(thread) ?? 0))
}
interface TraceEvent {
  name: string
  pid: number
  tid: number
  /** Microseconds. */
  tdur?: number
  args: { name?: string }
}

test('two hundred files dropped at once are in the library, and the page stays awake', async () => {
  const { page, client, context } = await openScreens()
  const dataTransfer = await held(page, mixed(200))
  const longest = await longestTask(context.browser()!, async () => {
    await page.dispatchEvent('body', 'drop', { dataTransfer })
    await page.getByText('200 workflows imported').waitFor()
  })
  expect(await workflows(client)).toBe(200)
  expect(longest).toBeGreaterThan(0)
  expect(longest).toBeLessThan(500)
})

test('of many files those that failed are listed with what to do, and the others are there', async () => {
  const { page, client } = await openScreens()
  const files = [
    ...mixed(6),
    { name: 'holiday.png', mediaType: 'image/png', bytes: png([]) },
    { name: 'cut.json', mediaType: 'application/json', bytes: Buffer.from('{"nodes":[') },
    {
      name: 'all.zip',
      mediaType: '',
      bytes: zip([
        ['in/a.json', Buffer.from(different(50))],
        ['in/b.png', png([])],
      ]),
    },
  ]
  await drop(page, files)
  const dialog = page.getByRole('dialog', { name: '7 workflows imported' })
  await dialog.getByText('3 files could not be imported').waitFor()
  const failed = dialog.getByRole('list', { name: 'What could not be imported' }).getByRole('listitem')
  expect(await failed.count()).toBe(3)
  await failed.filter({ hasText: 'There is no workflow in holiday.png' }).getByText('ComfyUI’s output folder').waitFor()
  expect(await barriers(page)).toEqual([])
  await dialog.getByRole('button', { name: 'Show the workflows' }).click()
  await page.getByRole('link', { name: /night-0/ }).waitFor()
  expect(await workflows(client)).toBe(7)
})

test('an import of many can be cancelled; what was imported stays', async () => {
  const { page, client } = await openScreens()
  let released = () => {}
  const goesOn = new Promise<void>((release) => {
    released = release
  })
  await page.route('**/files/workflow?name=night-2*', async (route) => {
    await goesOn
    await route.continue().catch(() => {})
  })
  await drop(page, mixed(20))
  await page.getByRole('region', { name: 'Importing' }).getByRole('button', { name: 'Cancel' }).click()
  released()
  await page.getByText(/Cancelled after \d+ of 20/).waitFor()
  await page.getByRole('button', { name: 'Close' }).click()
  await page.getByText(/Cancelled after/).waitFor({ state: 'detached' })
  expect(await workflows(client)).toBeLessThan(20)
})

test('a picture dragged from another page is fetched from its address', async () => {
  const comfyui = new RehearsalServer({ dir: tempDir() })
  await comfyui.start()
  onTestFinished(() => comfyui.stop())
  const form = new FormData()
  form.set('image', new File([Buffer.from(png([textChunk('prompt', different(1))]))], 'from-comfy.png'))
  await fetch(`${comfyui.url}/upload/image`, { method: 'POST', body: form })
  const { page, client } = await openScreens()
  await client.call('worker.add', { url: comfyui.url })
  const transfer = await page.evaluateHandle((url) => {
    const transfer = new DataTransfer()
    transfer.setData('text/uri-list', url)
    return transfer
  }, `${comfyui.url}/view?filename=from-comfy.png&type=input`)
  await page.dispatchEvent('body', 'drop', { dataTransfer: transfer })
  await eventually(async () =>
    (await page.getByRole('textbox', { name: 'Name of the workflow' }).inputValue()).includes('from-comfy'),
  )
})

test('text that is pasted or dropped is imported: JSON, or how A1111 made a picture', async () => {
  const { page } = await openScreens()
  const name = page.getByRole('textbox', { name: 'Name of the workflow' })
  const transfer = await page.evaluateHandle((text) => {
    const transfer = new DataTransfer()
    transfer.setData('text/plain', text)
    return transfer
  }, different(4))
  await page.dispatchEvent('body', 'drop', { dataTransfer: transfer })
  await name.waitFor()
  await page.goBack()
  await name.waitFor({ state: 'detached' })
  await paste(page, `  ${different(3)}`)
  await name.waitFor()
  await page.goBack()
  await name.waitFor({ state: 'detached' })
  await paste(
    page,
    'a cat on a mat\nNegative prompt: dog\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 5, Size: 512x512, Model: sd15',
  )
  await name.waitFor()
  await page.getByText('a cat on a mat').first().waitFor()
})
