import { readFileSync } from 'node:fs'
import type { Page } from 'playwright'
import sharp from 'sharp'
import { expect, test } from 'vitest'
import { RehearsalServer } from '../../core/engine/rehearsal/server.ts'
import { eventually } from '../kit/eventually.ts'
import { tempDir } from '../kit/temp-dir.ts'
import { choose, go, openScreens } from './kit.ts'

/** Four waiting jobs in two batches, widths 10, 20 and 30, 40; nothing runs. */
async function waiting() {
  const opened = await openScreens()
  const { client, page, submit } = opened
  await client.call('queue.pause', { how: 'after-current' })
  const widths = (...all: number[]) => ({ rows: all.map((width) => ({ '1.width': width })) })
  const first = await submit({ ...widths(10, 20), name: 'Early' })
  const second = await submit({ ...widths(30, 40), name: 'Late' })
  await go(page, '/queue?state=waiting')
  await page.locator('[aria-posinset="4"] button').waitFor()
  return {
    ...opened,
    first: first.batchId,
    second: second.batchId,
    /** The width of each waiting job, in the order they will run. */
    async order() {
      const { rows } = await client.call('job.page', { states: ['waiting'] })
      return Promise.all(rows.map(async ({ id }) => (await client.call('job.get', { id })).overrides['1.width']))
    },
    async counts() {
      const { waiting, running, done, failed, cancelled } = (await client.call('queue.state', {})).counts
      return { waiting, running, done, failed, cancelled }
    },
  }
}
const row = (page: Page, place: number) => page.locator(`[aria-posinset="${place}"]`)
const act = async (page: Page, menu: string, item: string | RegExp) => {
  await page.getByRole('button', { name: menu, exact: true }).click()
  await page.getByRole('menuitem', { name: item }).click()
  await page.getByRole('menu').waitFor({ state: 'detached' })
}
const pressed = async (page: Page, ...keys: string[]) => {
  for (const key of keys) await page.keyboard.press(key)
}

test('waiting jobs are dragged into another order, upwards and downwards', async () => {
  const { page, order } = await waiting()
  await row(page, 4).dragTo(row(page, 1))
  await expect.poll(order).toEqual([40, 10, 20, 30])
  await row(page, 1).getByText('40').waitFor()
  await row(page, 1).dragTo(row(page, 3))
  await expect.poll(order).toEqual([10, 20, 40, 30])
})

test('waiting jobs are moved by the keyboard as far as the keys are pressed, and the focus goes along', async () => {
  const { page, order } = await waiting()
  await row(page, 1).getByRole('button').focus()
  await pressed(page, 'Alt+ArrowDown', 'Alt+ArrowDown', 'Alt+ArrowDown')
  await expect.poll(order).toEqual([20, 30, 40, 10])
  await expect
    .poll(() => page.evaluate(() => document.activeElement?.closest('[aria-posinset]')?.getAttribute('aria-posinset')))
    .toBe('4')
  await row(page, 4).getByText('10').waitFor()
  await pressed(page, 'Alt+ArrowUp')
  await expect.poll(order).toEqual([20, 30, 10, 40])
})

test('a job runs next, a batch goes first, and a priority typed into a job is kept', async () => {
  const { page, order, client, second } = await waiting()
  await row(page, 3).getByRole('button').click()
  const detail = page.getByRole('complementary', { name: 'Job' })
  await detail.getByRole('button', { name: 'Run next' }).click()
  await expect.poll(order).toEqual([30, 10, 20, 40])
  await act(page, 'Actions for Late', 'Put first')
  await expect.poll(order).toEqual([30, 40, 10, 20])
  await row(page, 4).getByText('20').waitFor()
  await row(page, 4).getByRole('button').click()
  await detail.getByText('1.width').or(detail.getByText('Width')).first().waitFor()
  await detail.getByRole('spinbutton', { name: 'Priority' }).fill('500')
  await page.keyboard.press('Tab')
  await expect.poll(order).toEqual([20, 30, 40, 10])
  const { rows } = await client.call('job.page', { batchId: second })
  expect(rows.map(({ priority }) => priority)).toEqual([100, 100])
})

test('times set on a batch are shown on it, kept, and taken away again', async () => {
  const { page, client, first } = await waiting()
  await act(page, 'Actions for Early', 'Set times…')
  const dialog = page.getByRole('dialog', { name: 'Set times…' })
  await dialog.getByLabel('Start at').fill('23:30')
  await dialog.getByLabel('Stop at').fill('06:15')
  await dialog.getByRole('button', { name: 'Save' }).click()
  await page.getByText('23:30 – 06:15').waitFor()
  expect(await client.call('batch.get', { id: first })).toMatchObject({ startAt: '23:30', stopAt: '06:15' })
  await act(page, 'Actions for Early', 'Set times…')
  await dialog.getByLabel('Start at').fill('')
  await dialog.getByLabel('Stop at').fill('')
  await dialog.getByRole('button', { name: 'Save' }).click()
  await page.getByText('23:30 – 06:15').waitFor({ state: 'detached' })
  expect(await client.call('batch.get', { id: first })).toMatchObject({ startAt: null, stopAt: null })
})

test('times and priority given on the batch page go with the batch', async () => {
  const { page, client } = await openScreens()
  await client.call('queue.pause', { how: 'after-current' })
  const { id } = await client.call('workflow.sample', {})
  await go(page, `/batch/${id}`)
  await page.getByLabel('Start at').fill('22:00')
  await page.getByLabel('Stop at').fill('07:30')
  await page.getByRole('spinbutton', { name: 'Priority' }).fill('-7')
  await page.getByRole('spinbutton', { name: 'Retries' }).fill('3')
  await page.getByRole('textbox', { name: 'Name of the batch' }).fill('Tonight')
  await page.getByRole('button', { name: 'Queue 1', exact: true }).click()
  await page.getByText('22:00 – 07:30').waitFor()
  const { rows } = await client.call('batch.list', {})
  expect(rows[0]).toMatchObject({ name: 'Tonight', startAt: '22:00', stopAt: '07:30', priority: -7 })
})

/** A worker that holds the job that runs, with `jobs` jobs for it. */
async function holding(jobs = 3) {
  const server = new RehearsalServer({ dir: tempDir() })
  await server.start()
  const opened = await openScreens()
  const { client, page, submit } = opened
  const { id } = await client.call('worker.add', { url: server.url, name: 'desk' })
  server.onNext('hold')
  const { batchId } = await submit({ workers: [id], repeat: jobs, name: 'Held' })
  await go(page, '/queue')
  await page.getByRole('list', { name: 'Being made now' }).getByRole('listitem').first().waitFor()
  const counts = async () => (await client.call('queue.state', {})).counts
  await eventually(async () => (await counts()).running >= 1)
  return { ...opened, server, batchId, counts }
}

test('pause after this job lets the running one finish; resume goes on', async () => {
  const { page, server, counts, ended, batchId } = await holding()
  try {
    await act(page, 'Pause', 'Pause after this job')
    await page.getByText('The queue is paused.').first().waitFor()
    const { running } = await counts()
    server.release()
    await expect.poll(async () => (await counts()).done).toBe(running)
    expect((await counts()).waiting).toBe(3 - running)
    await page.getByRole('main').getByRole('button', { name: 'Resume', exact: true }).click()
    await ended(batchId)
    expect((await counts()).done).toBe(3)
    await page.getByRole('button', { name: 'Pause', exact: true }).waitFor()
  } finally {
    await server.stop()
  }
})

test('pause now interrupts what runs, which waits again and is made on resume', async () => {
  const { page, server, counts, ended, batchId } = await holding()
  try {
    await act(page, 'Pause', 'Pause now')
    await expect.poll(async () => ({ ...(await counts()) })).toMatchObject({ running: 0, waiting: 3 })
    await page.getByRole('list', { name: 'Being made now' }).waitFor({ state: 'detached' })
    await page.getByRole('main').getByRole('button', { name: 'Resume', exact: true }).click()
    await ended(batchId)
    expect(await counts()).toMatchObject({ done: 3, failed: 0, cancelled: 0 })
  } finally {
    await server.stop()
  }
})

test('one job is cancelled while it runs and brought back; then everything is cancelled', async () => {
  const { page, server, counts } = await holding()
  try {
    await act(page, 'Pause', 'Pause after this job')
    await page.getByText('The queue is paused.').first().waitFor()
    await page
      .getByRole('list', { name: 'Being made now' })
      .getByRole('button', { name: /^Cancel / })
      .first()
      .click()
    await expect.poll(async () => (await counts()).cancelled).toBe(1)
    await page.getByRole('button', { name: 'Undo' }).click()
    await expect.poll(async () => (await counts()).cancelled).toBe(0)
    await act(page, 'More actions', 'Cancel everything')
    await expect.poll(async () => ({ ...(await counts()) })).toMatchObject({ waiting: 0, running: 0 })
    const { cancelled, done } = await counts()
    expect(cancelled + done).toBe(3)
  } finally {
    await server.stop()
  }
})

test('all failed jobs are retried at once', async () => {
  const server = new RehearsalServer({ dir: tempDir() })
  await server.start()
  const { page, client, submit, ended } = await openScreens()
  try {
    const { id } = await client.call('worker.add', { url: server.url, name: 'desk' })
    server.onNext('error')
    server.onNext('oom')
    const { batchId } = await submit({ workers: [id], repeat: 2 })
    await ended(batchId)
    await go(page, `/queue?batch=${batchId}`)
    await page.getByRole('button', { name: 'Retry failed (2)' }).click()
    await eventually(async () => (await client.call('batch.get', { id: batchId })).counts.done === 2)
    await page.getByRole('button', { name: 'Retry failed (2)' }).waitFor({ state: 'detached' })
    await page.getByRole('toolbar', { name: 'Filter by state' }).getByRole('button', { name: 'Done 2' }).waitFor()
  } finally {
    await server.stop()
  }
})

/** The sample with three prompts, made; the gallery shows them. */
async function gallery() {
  const opened = await openScreens()
  const { client, page, ended } = opened
  const { id: workflowId } = await client.call('workflow.sample', {})
  const { inspection } = await client.call('workflow.get', { id: workflowId })
  const keyOf = (role: string) => inspection.parameters.find((parameter) => parameter.role === role)!.key
  const small = { [keyOf('width')]: 64, [keyOf('height')]: 64, [keyOf('steps')]: 1 }
  const { batchId } = await client.call('batch.submit', {
    workflowId,
    workers: ['rehearsal'],
    name: 'Zoo',
    sets: small,
    rows: ['a red fox', 'a grey owl', 'a red panda'].map((prompt) => ({ [keyOf('prompt')]: prompt })),
  })
  await ended(batchId)
  await go(page, '/gallery')
  await page.getByText('3 files').waitFor()
  const pictures = page.getByRole('list', { name: 'Pictures' }).getByRole('listitem')
  return { ...opened, workflowId, batchId, keyOf, pictures }
}
const saved = async (page: Page, press: () => Promise<void>) => {
  const coming = page.waitForEvent('download')
  await press()
  const download = await coming
  return { name: download.suggestedFilename(), bytes: readFileSync(await download.path()) }
}

test('the gallery is searched by words, and filtered by batch, row and kind', async () => {
  const { page, client, submit, ended, pictures } = await gallery()
  const { batchId } = await submit({ name: 'Other' })
  await ended(batchId)
  await page.getByText('4 files').waitFor()
  await page.getByRole('searchbox', { name: 'Search names, values' }).fill('red')
  await page.getByText('2 files').waitFor()
  await page.getByRole('searchbox', { name: 'Search names, values' }).fill('no such animal')
  await page.getByRole('button', { name: 'Clear the filters' }).click()
  await page.getByText('4 files').waitFor()
  expect(await page.getByRole('searchbox', { name: 'Search names, values' }).inputValue()).toBe('')
  await choose(page, page.getByRole('combobox', { name: 'Batch' }), 'Zoo')
  await page.getByText('3 files').waitFor()
  await page.getByRole('textbox', { name: 'Row' }).fill('2')
  await page.getByText('1 file', { exact: true }).waitFor()
  await expect.poll(() => pictures.count()).toBe(1)
  await choose(page, page.getByRole('combobox', { name: 'Batch' }), 'Other')
  await page.getByText('1 file', { exact: true }).waitFor()
  expect(await page.getByRole('textbox', { name: 'Row' }).inputValue()).toBe('')
  await page.getByRole('combobox', { name: 'Kind of file' }).click()
  await page.getByRole('option', { name: 'Videos' }).click()
  await page.getByRole('heading', { name: 'No pictures match' }).waitFor()
  expect((await client.call('artifact.page', {})).total).toBe(4)
})

test('a batch is taken away as a report, in CSV and JSON, and as a contact sheet', async () => {
  const { page, batchId } = await gallery()
  await go(page, `/gallery?batch=${batchId}`)
  const take = (item: string) =>
    saved(page, async () => {
      await page.getByRole('button', { name: 'Take away' }).click()
      await page.getByRole('menuitem', { name: item }).click()
      await page.getByRole('menu').waitFor({ state: 'detached' })
    })
  const csv = await take('Report as CSV')
  expect(csv.name).toBe('Zoo.csv')
  const lines = csv.bytes.toString('utf8').trim().split('\r\n')
  expect(lines).toHaveLength(4)
  expect(lines[2]).toContain('a grey owl')
  const json = await take('Report as JSON')
  expect(json.name).toBe('Zoo.json')
  expect(JSON.parse(json.bytes.toString('utf8'))).toMatchObject({ name: 'Zoo', jobs: [{ state: 'done' }, {}, {}] })
  const sheet = await take('Contact sheet (PNG)')
  expect(sheet.name).toBe('Zoo.png')
  const { width, height } = await sharp(sheet.bytes).metadata()
  expect(width).toBeGreaterThan(3 * 256)
  expect(height).toBeGreaterThan(256)
})

test('a picture is downloaded whole, its settings copied, made again, and used on the form', async () => {
  const { page, client, keyOf, batchId, workflowId } = await gallery()
  const { rows } = await client.call('artifact.page', { batchId, search: 'owl' })
  const owl = rows[0]!
  await go(page, `/gallery?batch=${batchId}&open=${owl.id}`)
  const viewer = page.getByRole('dialog')
  const file = await saved(page, () => viewer.getByRole('button', { name: 'Download' }).click())
  expect(file.bytes.length).toBe(owl.sizeBytes)
  expect(file.name).toBe(owl.name.split('/').at(-1))
  await viewer.getByRole('button', { name: 'Copy settings' }).click()
  await page.getByText('Settings copied').waitFor()
  expect(JSON.parse(await page.evaluate(() => navigator.clipboard.readText()))).toMatchObject({
    [keyOf('prompt')]: 'a grey owl',
  })
  await viewer.getByRole('button', { name: 'Make again' }).click()
  await page.getByText('Queued again').waitFor()
  const again = await eventually(async () => {
    const { rows } = await client.call('artifact.page', {})
    return rows.length === 4 ? rows[0] : undefined
  })
  const [before, after] = await Promise.all(
    [owl, again].map(async ({ id }) => (await client.call('artifact.get', { id })).sidecar),
  )
  expect(after!.seeds).toEqual(before!.seeds)
  expect(after!.prompt).toEqual(before!.prompt)
  await viewer.getByRole('button', { name: 'Use on form' }).click()
  await page.waitForURL(`**/#/workflow/${workflowId}`)
  await expect.poll(() => page.getByRole('textbox', { name: 'Prompt', exact: true }).inputValue()).toBe('a grey owl')
})

test('rows removed from the table come back by the undo that is offered', async () => {
  const { page, client } = await openScreens()
  const { id } = await client.call('workflow.sample', {})
  await go(page, `/batch/${id}`)
  await page.getByRole('grid').focus()
  for (const word of ['one', 'two', 'three']) {
    await page.keyboard.type(word)
    await page.keyboard.press('Enter')
  }
  await page.getByText('from 3 rows').waitFor()
  await pressed(page, 'ArrowUp', 'ArrowUp', 'Shift+ArrowUp')
  await page.getByRole('button', { name: 'Remove chosen rows' }).click()
  await page.getByText('from 1 row ').waitFor()
  await page.getByRole('button', { name: 'Undo' }).last().click()
  await page.getByText('from 3 rows').waitFor()
  const cells = await page.getByRole('gridcell').allTextContents()
  expect(cells.filter(Boolean)).toEqual(['one', 'two', 'three'])
})

test('what made a picture opens in the editor of its ComfyUI; where there is none, it says what to do', async () => {
  const { page, client, context, submit, ended, batchId } = await gallery()
  const { rows } = await client.call('artifact.page', { batchId })
  await go(page, `/gallery?batch=${batchId}&open=${rows[0]!.id}`)
  await page.getByRole('dialog').getByRole('button', { name: 'Open in ComfyUI' }).click()
  await page.getByText('the rehearsal has no editor').first().waitFor()
  await page.getByText('Add a ComfyUI under Workers').first().waitFor()
  const server = new RehearsalServer({ dir: tempDir() })
  await server.start()
  try {
    const { id } = await client.call('worker.add', { url: server.url, name: 'desk' })
    const made = await submit({ workers: [id], sets: { '1.width': 80 } })
    await ended(made.batchId)
    const [job] = (await client.call('job.page', { batchId: made.batchId })).rows
    await go(page, `/queue?batch=${made.batchId}&job=${job!.id}`)
    const opened = context.waitForEvent('page')
    await page.getByRole('complementary', { name: 'Job' }).getByRole('button', { name: 'Open in ComfyUI' }).click()
    const editor = await opened
    await editor.waitForURL(/\/\?nightshift=/)
    expect(new URL(editor.url()).port).not.toBe(new URL(page.url()).port)
    const file = await editor.evaluate(
      async () =>
        (await (await fetch(`/nightshift/file/${new URLSearchParams(location.search).get('nightshift')}`)).json()) as {
          json: string
        },
    )
    expect(JSON.parse(file.json)).toMatchObject({ nodes: [{ type: 'EmptyImage', widgets_values: [80, 48, 1, 0] }, {}] })
    await page.getByText('Opened in the editor of desk').first().waitFor()
    await editor.close()
  } finally {
    await server.stop()
  }
})
