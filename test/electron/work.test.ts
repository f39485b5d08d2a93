import { existsSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import type { Page } from 'playwright'
import { expect, onTestFinished, test } from 'vitest'
import { RehearsalServer } from '../../core/engine/rehearsal/server.ts'
import { eventually } from '../kit/eventually.ts'
import { tempDir } from '../kit/temp-dir.ts'
import { call, startApp, withBrowser } from './kit.ts'
import type { LaunchedApp } from './stand-in/launch.ts'

withBrowser()

const WITHIN_MS = 90_000

/** The sample, so many times over. */
async function submit(page: Page, jobs: number, workers = ['rehearsal']) {
  const { id } = await call(page, 'workflow.sample', {})
  const { batchId } = await call(page, 'batch.submit', { workflowId: id, repeat: jobs, workers })
  return batchId
}
/** A worker whose first job waits to be let go, so that work is seen while it runs. */
async function holding(page: Page) {
  const server = new RehearsalServer({ dir: tempDir(), assumeModels: true })
  await server.start()
  onTestFinished(() => server.stop())
  server.onNext('hold')
  await call(page, 'worker.add', { url: server.url, name: 'desk' })
  return server
}
const batchOf = (page: Page, id: string) => call(page, 'batch.get', { id })
const ended = async (page: Page, id: string) => {
  try {
    return await eventually(async () => {
      const batch = await batchOf(page, id)
      return batch.endedAt === null ? null : batch
    }, WITHIN_MS)
  } catch (cause) {
    const seen = { ...(await batchOf(page, id)).counts, queue: await call(page, 'queue.state', {}) }
    throw new Error(`the batch did not end: ${JSON.stringify(seen)}`, { cause })
  }
}

const trayOf = (app: LaunchedApp) =>
  app.evaluate(({ Tray }) => ({
    toolTip: Tray.all[0]?.toolTip,
    icon: Tray.all[0]?.image.file.split(/[\\/]/).at(-1),
    labels: Tray.all[0]?.menu?.items.map(({ label }) => label).filter(Boolean),
  }))
const clickInTray = (app: LaunchedApp, id: string) =>
  app.evaluate(({ Tray }, id) => Tray.all[0]?.menu?.items.find((item) => item.id === id)?.click(), id)

test('a batch keeps the machine awake and shows in tray and taskbar; its end is told once, and leads to its pictures', async () => {
  const { app, page } = await startApp()
  const desk = await holding(page)
  const id = await submit(page, 4, ['desk'])
  await eventually(() => app.recorded('powerSaveBlocker.start').length === 1)
  expect(app.recorded('powerSaveBlocker.start')[0]).toMatchObject({ type: 'prevent-app-suspension' })
  await eventually(async () => (await trayOf(app)).icon === 'tray-running.png')
  expect((await trayOf(app)).toolTip).toMatch(/^Nightshift · [0-4] of 4/)
  const progress = () => app.evaluate(({ BrowserWindow }) => BrowserWindow.getAllWindows()[0]?.progress)
  await eventually(async () => (await progress())?.mode === 'normal')
  desk.release()

  const batch = await ended(page, id)
  expect(batch.counts).toMatchObject({ done: 4, failed: 0 })
  const told = await eventually(() => app.recorded('notification.show')[0])
  expect(told).toMatchObject({ title: `${batch.name} is finished`, body: '4 done.' })
  await eventually(() => app.recorded('powerSaveBlocker.stop').length === 1)
  await eventually(async () => (await trayOf(app)).toolTip === 'Nightshift · Nothing queued')
  await eventually(async () => (await progress())?.value === -1)
  expect(app.recorded('notification.show').length).toBe(1)

  await app.evaluate(({ BrowserWindow }) => BrowserWindow.getAllWindows()[0]?.hide())
  await app.evaluate(({ Notification }) => void Notification.all[0]?.emit('click'))
  await page.waitForURL(new RegExp(`#/gallery\\?batch=${id}$`))
  expect(await app.evaluate(({ BrowserWindow }) => BrowserWindow.getAllWindows()[0]?.isVisible())).toBe(true)

  // what the gallery does with a picture
  const { rows } = await call(page, 'artifact.page', { batchId: id })
  const [first, second] = rows
  const sizes = await page.evaluate(async (id) => {
    const load = async (src: string) => {
      const image = new Image()
      image.src = src
      await image.decode()
      return image.naturalWidth
    }
    return [await load(`/files/artifact/${id}`), await load(`/files/thumb/${id}?size=128`)]
  }, first?.id)
  expect(sizes).toEqual([first?.width, 128])
  await page.evaluate((id) => window.bridge?.openArtifact(id as string), first?.id)
  await page.evaluate((id) => window.bridge?.revealArtifact(id as string), first?.id)
  const [opened] = app.recorded('shell.openPath')
  expect(existsSync(opened?.file)).toBe(true)
  expect(app.recorded('shell.showItemInFolder')).toMatchObject([{ file: opened?.file }])
  await page.evaluate((ids) => window.bridge?.startDrag(ids as string[]), [first?.id, second?.id])
  const dragged = await eventually(() => app.recorded('webContents.startDrag')[0])
  expect(dragged.files.map((file: string) => existsSync(file))).toEqual([true, true])
})

test('the tray pauses and resumes the queue', async () => {
  const { app, page } = await startApp()
  await eventually(async () => (await trayOf(app)).labels?.includes('Nothing queued'))
  await clickInTray(app, 'pause')
  await eventually(async () => (await trayOf(app)).icon === 'tray-paused.png')
  expect(await call(page, 'queue.state', {})).toMatchObject({ paused: 'after-current' })
  const id = await submit(page, 2)
  await eventually(async () => (await trayOf(app)).labels?.[0] === 'Paused, 0 of 2')
  expect(app.recorded('powerSaveBlocker.start')).toEqual([]) // nothing may run, so the machine may sleep
  await clickInTray(app, 'resume')
  expect((await ended(page, id)).counts.done).toBe(2)
})

test('who wants neither hears nothing and lets the machine sleep', async () => {
  const { app, page } = await startApp()
  await call(page, 'settings.set', { notifyAtEnd: false, keepAwake: false })
  const id = await submit(page, 2)
  await ended(page, id)
  await eventually(async () => (await trayOf(app)).toolTip === 'Nightshift · Nothing queued')
  expect(app.recorded('notification.show')).toEqual([])
  expect(app.recorded('powerSaveBlocker.start')).toEqual([])
})

test('a host that is killed is started again: the page hears of it, and the batch ends whole', async () => {
  const { app, page } = await startApp()
  const id = await submit(page, 8)
  await page.evaluate(() => {
    window.heard = []
    window.bridge?.subscribe(null, (frame) => void window.heard.push(frame))
  })
  await eventually(async () => (await batchOf(page, id)).counts.done >= 2, WITHIN_MS)
  process.kill(app.utilities[0] as number, 'SIGKILL')
  const states = () =>
    page.evaluate(() => window.heard.filter(({ name }) => name === 'connection').map(({ payload }) => payload))
  await eventually(async () => (await states()).join() === 'connected,disconnected,connected', WITHIN_MS)
  const { counts } = await ended(page, id)
  expect(counts).toMatchObject({ done: 8, failed: 0, parked: 0 })
  expect((await call(page, 'artifact.page', { batchId: id })).total).toBe(8)
  expect(app.utilities.length).toBe(2)
  await eventually(() => app.recorded('powerSaveBlocker.stop').length === app.recorded('powerSaveBlocker.start').length)
})

test('quitting asks while work runs; what was parked is finished after the next start', async () => {
  const dir = tempDir()
  const first = await startApp({ dir })
  const desk = await holding(first.page)
  const id = await submit(first.page, 6, ['rehearsal', 'desk'])
  await eventually(async () => (await batchOf(first.page, id)).counts.done >= 1, WITHIN_MS)
  await eventually(async () => (await trayOf(first.app)).icon === 'tray-running.png')

  await first.app.evaluate(({ app, dialog }) => {
    dialog.willAnswer('showMessageBox', { response: 1 })
    app.quit()
  })
  const asked = await eventually(() => first.app.recorded('dialog.showMessageBox')[0])
  expect(asked).toMatchObject({
    message: 'Work is still running.',
    buttons: ['Quit and keep the queue', 'Keep working'],
  })
  expect((await call(first.page, 'app.info', {})).door).toBe('desktop') // still here

  await first.app.evaluate(({ app, dialog }) => {
    dialog.willAnswer('showMessageBox', { response: 0 })
    app.quit()
  })
  expect(await first.app.exited).toEqual({ code: 0, signal: null })
  expect(first.app.recorded('powerSaveBlocker.stop').length).toBe(1)

  desk.release()
  const second = await startApp({ dir })
  const { counts } = await ended(second.page, id)
  expect(counts).toMatchObject({ done: 6, failed: 0, parked: 0 })
  expect((await call(second.page, 'artifact.page', { batchId: id })).total).toBe(6)
})

test('a workflow dropped on the window is imported and shown', async () => {
  const dir = tempDir()
  const { app, page } = await startApp({ dir })
  const { prompt } = aPrompt()
  const file = path.join(dir, '夜 workflow.json')
  writeFileSync(file, JSON.stringify(prompt))
  await page.locator('main button').first().waitFor() // the page itself, not only its frame
  await app.dropFiles(page, [file], page.getByText('Drop it here'))
  await eventually(async () => (await call(page, 'workflow.list', {})).rows[0]?.name === '夜 workflow')
  await eventually(() => page.url().includes('#/workflow/'))
})

test('a workflow given at the start is imported and shown', async () => {
  const dir = tempDir()
  const file = path.join(dir, 'given.json')
  writeFileSync(file, JSON.stringify(aPrompt().prompt))
  const { page } = await startApp({ dir, args: [file] })
  await page.waitForURL(/#\/workflow\//)
  expect((await call(page, 'workflow.list', {})).rows.map(({ name }) => name)).toEqual(['given'])
})

const aPrompt = () => ({
  prompt: {
    '1': { class_type: 'EmptyImage', inputs: { width: 64, height: 64, batch_size: 1, color: 255 } },
    '2': { class_type: 'SaveImage', inputs: { images: ['1', 0], filename_prefix: 'blue' } },
  },
})
