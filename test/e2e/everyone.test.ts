import type { Page } from 'playwright'
import { expect, test } from 'vitest'
import { comfyFolder } from '../kit/comfy-folder.ts'
import { eventually } from '../kit/eventually.ts'
import { ownPort } from '../kit/own-port.ts'
import { startApp } from '../kit/start-app.ts'
import { barriers, go, openScreens, paste } from './kit.ts'

async function withWork() {
  const opened = await openScreens()
  const { client } = opened
  const { id: workflowId } = await client.call('workflow.sample', {})
  const { batchId } = await client.call('batch.submit', { workflowId, workers: ['rehearsal'], name: 'Night' })
  await eventually(async () => (await client.call('batch.get', { id: batchId })).endedAt !== null, 90_000)
  const [job] = (await client.call('job.page', { batchId })).rows
  const [picture] = (await client.call('artifact.page', { batchId })).rows
  await client.call('engine.adopt', comfyFolder())
  await client.call('engine.adopt', { ...comfyFolder(), name: 'broken', settings: { flags: ['--fails'] } })
  const pages = {
    start: '/',
    workflow: `/workflow/${workflowId}`,
    batch: `/batch/${workflowId}`,
    queue: `/queue?batch=${batchId}&job=${job!.id}`,
    gallery: `/gallery?batch=${batchId}`,
    picture: `/gallery?batch=${batchId}&open=${picture!.id}`,
    workers: '/workers',
    engine: '/engine',
    settings: '/settings',
  }
  return { ...opened, pages, workflowId, batchId }
}
/** What each page shows once it is there, in either language. */
const landmark: Record<string, (page: Page) => Promise<void>> = {
  workflow: (page) => page.locator('.react-flow__node').first().waitFor(),
  batch: (page) => page.getByRole('grid').waitFor(),
  queue: (page) => page.locator('aside').getByRole('img').or(page.locator('aside a img')).first().waitFor(),
  gallery: (page) => page.locator('[data-index="0"] img').waitFor(),
  picture: (page) => page.getByRole('dialog').getByRole('img').waitFor(),
  async engine(page) {
    await page.getByRole('listitem', { name: 'broken' }).getByRole('alert').waitFor()
    const ready = page.getByRole('listitem', { name: 'local' })
    await ready.getByRole('button', { name: /^(Log|日志)$/ }).click()
    await ready.getByText('To see the GUI go to').waitFor()
  },
}

test.each([
  ['light', 'en'],
  ['light', 'zh-CN'],
  ['dark', 'en'],
  ['dark', 'zh-CN'],
] as const)('axe finds nothing serious on any page (%s, %s)', async (theme, language) => {
  const { page, client, pages } = await withWork()
  // colours still on their way would be measured as they are at that moment
  await page.emulateMedia({ reducedMotion: 'reduce' })
  await client.call('settings.set', { theme, language })
  await page.locator(`html[data-theme="${theme}"][lang="${language}"]`).waitFor()
  const found: Record<string, string[]> = {}
  for (const [name, at] of Object.entries(pages)) {
    await go(page, at)
    await landmark[name]?.(page)
    const serious = await barriers(page)
    if (serious.length > 0) found[name] = serious
  }
  expect(found).toEqual({})
})

test('language and theme change at once, without a reload, and stay', async () => {
  const { page } = await openScreens()
  await page.evaluate(() => Object.assign(window, { stillHere: true }))
  await go(page, '/settings')
  await page.getByRole('combobox', { name: 'Language' }).click()
  await page.getByRole('option', { name: '简体中文' }).click()
  await page.getByRole('heading', { name: '设置' }).waitFor()
  await page.getByRole('button', { name: '深色' }).click()
  await page.locator('html[data-theme="dark"][lang="zh-CN"]').waitFor()
  expect(await page.evaluate(() => 'stillHere' in window)).toBe(true)
  await page.reload()
  await page.getByRole('heading', { name: '设置' }).waitFor()
  expect(await page.locator('html').getAttribute('data-theme')).toBe('dark')
})

test('a window narrower than the pages is scrolled to what is beside it, and no wide one is', async () => {
  const { page, client } = await openScreens({ viewport: { width: 720, height: 520 } })
  const { id } = await client.call('workflow.sample', {})
  await go(page, `/workflow/${id}`)
  const queue = page.getByRole('button', { name: 'Queue', exact: true })
  await queue.waitFor()
  const rightEdge = async () => queue.evaluate((button) => Math.ceil(button.getBoundingClientRect().right))
  expect(await rightEdge()).toBeGreaterThan(720)
  await page.mouse.move(300, 20)
  await page.mouse.wheel(400, 0)
  await eventually(async () => (await rightEdge()) <= 720)
  await page.setViewportSize({ width: 1024, height: 720 })
  const widths = await page.locator('#root').evaluate(({ scrollWidth, clientWidth }) => [scrollWidth, clientWidth])
  expect(widths).toEqual([1024, 1024])
})

test('everything on the way to a batch can be done with the keyboard', async () => {
  const { page, client } = await openScreens()
  await client.call('queue.pause', { how: 'after-current' })
  const press = (...keys: string[]) =>
    keys.reduce((done, key) => done.then(() => page.keyboard.press(key)), Promise.resolve())
  await page.getByRole('button', { name: 'Try the sample' }).focus()
  await press('Enter')
  await page.getByRole('button', { name: 'Queue', exact: true }).waitFor()
  await page.getByRole('link', { name: 'Make a batch' }).focus()
  await press('Enter')
  const grid = page.getByRole('grid')
  await grid.focus()
  await page.keyboard.type('a red boat')
  await press('Enter')
  await page.keyboard.type('a blue boat')
  await press('Enter', 'ArrowUp', 'ArrowUp', 'Shift+ArrowDown')
  await page.getByText('from 2 rows').waitFor()
  await press('Control+Enter')
  await page.getByRole('heading', { name: 'Queue', exact: true }).waitFor()
  const { rows } = await client.call('job.page', {})
  expect(rows.map(({ label }) => label)).toEqual([
    expect.stringContaining('a red boat'),
    expect.stringContaining('a blue boat'),
  ])

  await go(page, '/queue?state=waiting')
  await page.getByRole('button', { name: /^Waiting/, pressed: true }).waitFor()
  const jobs = page.getByRole('list', { name: 'Jobs' }).getByRole('button')
  await jobs.first().focus()
  await press('Alt+ArrowDown')
  await eventually(async () =>
    ((await client.call('job.page', { states: ['waiting'] })).rows[0]?.label ?? '').includes('a blue boat'),
  )

  await press('Control+k')
  await page.getByRole('dialog', { name: 'Commands' }).waitFor()
  await page.keyboard.type('gallery')
  await press('Enter')
  await page.getByRole('heading', { name: 'No pictures yet' }).waitFor()
  await page.getByRole('dialog', { name: 'Commands' }).waitFor({ state: 'detached' })
  await press('?')
  await page.getByRole('dialog', { name: 'Keyboard shortcuts' }).waitFor()
})

test('cells are copied, filled, cleared and brought back', async () => {
  const { page, client } = await openScreens()
  const { id } = await client.call('workflow.sample', {})
  await go(page, `/batch/${id}`)
  const grid = page.getByRole('grid')
  await grid.focus()
  await paste(page, 'one\n"two\nlines"\nthree')
  await page.getByText('from 3 rows').waitFor()
  const copied = await page.evaluate(() => {
    const clipboardData = new DataTransfer()
    document.activeElement?.dispatchEvent(
      new ClipboardEvent('copy', { clipboardData, bubbles: true, cancelable: true }),
    )
    return clipboardData.getData('text/plain')
  })
  expect(copied).toBe('one\n"two\nlines"\nthree')
  await page.keyboard.press('Delete')
  await page.getByText('from 1 row ').waitFor()
  await page.keyboard.press('Control+z')
  await page.getByText('from 3 rows').waitFor()
  await page.keyboard.press('Control+Shift+z')
  await page.getByText('from 1 row ').waitFor()
})

test('when the host is gone the page says so, and goes on by itself when it is back', async () => {
  const port = await ownPort()
  const { page, stop, dataDir } = await openScreens({}, { port })
  await page.getByRole('button', { name: 'Try the sample' }).waitFor()
  await stop()
  await page.getByText('The connection to Nightshift was lost.').waitFor()
  const { host, client } = await startApp({ dataDir })
  await host.serve({ host: '127.0.0.1', port, rendererDir: null })
  await page.getByText('The connection to Nightshift was lost.').waitFor({ state: 'detached' })
  await client.call('workflow.sample', {})
  await page.getByRole('link', { name: /Sample.*nodes/ }).waitFor()
})

test('a workflow that is removed can be put back', async () => {
  const { page, client } = await openScreens()
  await client.call('workflow.sample', {})
  await go(page, '/settings')
  await go(page, '/')
  await page.getByRole('button', { name: 'Remove Sample' }).click()
  await page.getByRole('heading', { name: 'No workflows yet' }).waitFor()
  await page.getByRole('button', { name: 'Undo' }).click()
  await page.getByRole('link', { name: /Sample.*nodes/ }).waitFor()
})

test.each([
  [1024, 720],
  [1440, 900],
])('no page is wider or taller than a window of %d × %d', async (width, height) => {
  const { page, pages } = await withWork()
  await page.setViewportSize({ width, height })
  await page.emulateMedia({ reducedMotion: 'reduce' })
  for (const [name, at] of Object.entries(pages)) {
    await go(page, at)
    await landmark[name]?.(page)
    const over = await page.evaluate(() => {
      const { scrollWidth, scrollHeight, clientWidth, clientHeight } = document.documentElement
      return [scrollWidth - clientWidth, scrollHeight - clientHeight]
    })
    expect([name, ...over]).toEqual([name, 0, 0])
  }
})
