import { readFileSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { RehearsalServer } from '../../core/engine/rehearsal/server.ts'
import { eventually } from '../kit/eventually.ts'
import { ownPort } from '../kit/own-port.ts'
import { promptFile } from '../kit/start-app.ts'
import { tempDir } from '../kit/temp-dir.ts'
import { drop, go, openScreens, paste } from './kit.ts'

const picture = (name = 'picture.json') => ({ name, mediaType: 'application/json', bytes: promptFile() })

test('the first picture is three clicks away from the first launch', async () => {
  const { page } = await openScreens()
  await page.getByRole('button', { name: 'Try the sample' }).click()
  await page.getByRole('button', { name: 'Queue', exact: true }).click()
  await page
    .getByRole('region', { name: 'Last run' })
    .getByRole('link', { name: /^Open .*\.png$/ })
    .click()
  const shown = page.getByRole('dialog').getByRole('img')
  await shown.waitFor()
  await eventually(() => shown.evaluate((image: HTMLImageElement) => image.complete && image.naturalWidth))
  expect(await shown.evaluate((image: HTMLImageElement) => [image.naturalWidth, image.naturalHeight])).toEqual([
    1024, 768,
  ])
  await page.getByText('Not AI output').waitFor()
})

test('the key in the address is exchanged for a session and leaves the address bar; without it nothing is shown', async () => {
  const { page, context, origin } = await openScreens()
  expect(page.url()).toBe(`${origin}/#/`)
  await page.reload()
  await page.getByRole('button', { name: 'Try the sample' }).waitFor()
  const stranger = await context.browser()!.newContext({ locale: 'en-GB' })
  const outside = await stranger.newPage()
  await outside.goto(origin)
  await outside.getByRole('heading', { name: 'This page needs its key' }).waitFor()
  await stranger.close()
})

test('a dropped workflow opens as a form with its own ranges, and what is typed survives a reload', async () => {
  const { page } = await openScreens()
  await drop(page, [picture('night.json')])
  await page.getByRole('textbox', { name: 'Name of the workflow' }).waitFor()
  const width = page.getByRole('textbox', { name: 'Width' })
  await width.fill('0')
  await page.getByText('At least 1.').waitFor()
  expect(await page.getByRole('button', { name: 'Queue', exact: true }).isDisabled()).toBe(true)
  await width.fill('96')
  await page.getByText('1 value changed').waitFor()
  await page.reload()
  await width.waitFor()
  expect(await width.inputValue()).toBe('96')
})

test('a picture that was made here brings its workflow back when it is dropped', async () => {
  const { page, client, submit, ended, outputDir } = await openScreens()
  const { batchId } = await submit()
  await ended(batchId)
  const { rows } = await client.call('artifact.page', { batchId })
  const bytes = readFileSync(path.join(outputDir, rows[0]!.name))
  await drop(page, [{ name: 'from-the-night.png', mediaType: 'image/png', bytes }])
  await page.getByRole('textbox', { name: 'Name of the workflow' }).waitFor()
  expect(await page.getByRole('textbox', { name: 'Name of the workflow' }).inputValue()).toContain('from-the-night')
})

test('a file that holds no workflow is refused with what to do', async () => {
  const { page } = await openScreens()
  await drop(page, [{ name: 'notes.json', mediaType: 'application/json', bytes: Buffer.from('{"a":1}') }])
  await page.getByText('not a ComfyUI workflow or prompt').first().waitFor()
  await page.getByText('Drop a file saved by ComfyUI').first().waitFor()
})

test('a file above 64 MiB is refused by its size and never read', async () => {
  const { page } = await openScreens()
  await page.evaluate(() => {
    FileReader.prototype.readAsDataURL = () => {
      throw new Error('was read')
    }
    const transfer = new DataTransfer()
    const mib = new Uint8Array(1024 * 1024)
    transfer.items.add(
      new File(
        Array.from({ length: 65 }, () => mib),
        'huge.json',
      ),
    )
    document.body.dispatchEvent(new DragEvent('drop', { dataTransfer: transfer, bubbles: true }))
  })
  await page.getByText('huge.json is 65 MiB').first().waitFor()
})

test('a seed beyond 2^53 keeps every digit from the file to the picture', async () => {
  const { page, client } = await openScreens()
  const seed = 18_446_744_073_709_551_557n
  const { id } = await client.call('workflow.sample', {})
  const { inspection } = await client.call('workflow.get', { id })
  await go(page, `/workflow/${id}`)
  const field = page.getByRole('textbox', { name: 'Seed' })
  await field.fill(String(seed))
  await field.press('ArrowUp')
  expect(await field.inputValue()).toBe(String(seed + 1n))
  await page.getByRole('button', { name: 'Queue', exact: true }).click()
  const artifact = await eventually(async () => (await client.call('artifact.page', {})).rows[0])
  const { sidecar } = await client.call('artifact.get', { id: artifact.id })
  const seedKey = inspection.parameters.find(({ role }) => role === 'seed')!
  expect(sidecar.prompt[seedKey.node]!.inputs[seedKey.input]).toBe(seed + 1n)
})

test('rows pasted from a spreadsheet become columns by name, are queued, and open as pictures', async () => {
  const { page, client, ended } = await openScreens()
  await drop(page, [picture()])
  await page.getByRole('link', { name: 'Make a batch' }).click()
  const grid = page.getByRole('grid')
  await grid.focus()
  await paste(page, 'Width\tHeight\tNote\n40\t30\tfirst\n50\t30\tsecond\n60\t30\tthird')
  await page.getByText('from 3 rows').waitFor()
  await page.getByRole('button', { name: 'Queue 3' }).click()
  await page.getByRole('heading', { name: 'Queue', exact: true }).waitFor()
  const { rows } = await client.call('batch.list', {})
  await ended(rows[0]!.id)
  await go(page, `/gallery?batch=${rows[0]!.id}`)
  await page.getByText('3 files').waitFor()
  const sizes = (await client.call('artifact.page', {})).rows.map(({ width, height }) => [width, height])
  expect(sizes.toSorted()).toEqual([
    [40, 30],
    [50, 30],
    [60, 30],
  ])
})

test('a CSV with faults names their rows, queues the good ones, and an edit can be undone', async () => {
  const { page, client } = await openScreens()
  await client.call('queue.pause', { how: 'after-current' })
  await drop(page, [picture()])
  await page.getByRole('link', { name: 'Make a batch' }).click()
  await page.getByRole('grid').waitFor()
  const lines = Array.from({ length: 1000 }, (_, row) => `${(row + 1) % 83 === 0 ? 'wide' : 64},${row}`)
  await drop(page, [
    { name: 'thousand.csv', mediaType: 'text/csv', bytes: Buffer.from(['Width,Ticket', ...lines].join('\n')) },
  ])
  await page.getByText('12 rows with faults left out').waitFor()
  await page.getByText('1 of 2 columns matched').waitFor()
  await page.getByRole('button', { name: /^Row 83 / }).click()
  // the table has the focus, at the faulty cell
  await page.keyboard.type('70')
  await page.keyboard.press('Enter')
  await page.getByText('11 rows with faults left out').waitFor()
  await page.keyboard.press('Control+z')
  await page.getByText('12 rows with faults left out').waitFor()
  expect(await page.getByRole('row').count()).toBeLessThan(120)
  await page.getByRole('button', { name: 'Queue the 988 good ones' }).click()
  await page.getByRole('heading', { name: 'Queue', exact: true }).waitFor()
  expect((await client.call('queue.state', {})).counts.waiting).toBe(988)
})

test('a failed job says what happened and what to do, and is made on retry', async () => {
  const server = new RehearsalServer({ dir: tempDir() })
  await server.start()
  const { page, client, submit, ended } = await openScreens()
  try {
    const { id } = await client.call('worker.add', { url: server.url })
    server.onNext('oom')
    const { batchId } = await submit({ workers: [id] })
    await ended(batchId)
    await go(page, `/queue?batch=${batchId}`)
    await page.getByRole('button', { name: /Failed.*Row 1/ }).click()
    const detail = page.getByRole('complementary', { name: 'Job' })
    await detail.getByText('The GPU ran out of memory').waitFor()
    await detail.getByText('Use a smaller picture').waitFor()
    await detail.getByRole('button', { name: 'Retry' }).click()
    await detail.getByRole('link', { name: /^Open / }).waitFor()
    await detail.getByText('Done').first().waitFor()
  } finally {
    await server.stop()
  }
})

test('a server that dies is shown dead, with the reason and the remedy, and comes back by itself', async () => {
  const server = new RehearsalServer({ dir: tempDir(), port: await ownPort() })
  await server.start()
  const { page } = await openScreens()
  try {
    await go(page, '/workers')
    await page.getByRole('button', { name: 'Add a ComfyUI' }).first().click()
    await page.getByRole('textbox', { name: 'Address' }).fill(server.url)
    await page.getByRole('textbox', { name: 'Name' }).fill('desk')
    await page.getByRole('button', { name: 'Test' }).click()
    await page.getByText(/ComfyUI 0\.33\.0 answered/).waitFor()
    await page.getByRole('button', { name: 'Add', exact: true }).click()
    const desk = page.getByRole('listitem', { name: 'desk' })
    await desk.getByText('Ready').waitFor()
    await server.die()
    await desk.getByText('No answer').waitFor()
    await desk.getByText('Check that ComfyUI is running there').waitFor()
    await server.start()
    await desk.getByText('Ready').waitFor()
    await desk.getByRole('button', { name: 'Actions for desk' }).click()
    await page.getByRole('menuitem', { name: 'Remove' }).click()
    await desk.waitFor({ state: 'detached' })
    await page.getByRole('button', { name: 'Undo' }).click()
    await desk.waitFor()
  } finally {
    await server.stop()
  }
})

test('a hundred thousand jobs open as a list of a few drawn rows, and its end is one key away', async () => {
  const { page, client, submit } = await openScreens()
  await client.call('queue.pause', { how: 'after-current' })
  const { batchId, jobs } = await submit({ repeat: 100_000 })
  expect(jobs).toBe(100_000)
  await go(page, `/queue?batch=${batchId}&state=waiting`)
  const list = page.getByRole('list', { name: 'Jobs' })
  await list.getByRole('button').first().waitFor()
  expect(await list.getByRole('listitem').first().getAttribute('aria-setsize')).toBe('100000')
  expect(await list.getByRole('listitem').count()).toBeLessThan(80)
  await list.evaluate((element) => element.parentElement!.scrollTo(0, element.scrollHeight))
  await page.locator('[aria-posinset="100000"]').getByRole('button').waitFor()
  expect(await list.getByRole('listitem').count()).toBeLessThan(80)
})

test('pictures are compared, and one is made again with a new seed', async () => {
  const { page, client } = await openScreens()
  const { id: workflowId } = await client.call('workflow.sample', {})
  const { batchId } = await client.call('batch.submit', { workflowId, workers: ['rehearsal'], repeat: 2 })
  await eventually(async () => (await client.call('batch.get', { id: batchId })).endedAt !== null, 90_000)
  await go(page, `/gallery?batch=${batchId}`)
  const select = page.getByRole('button', { name: /^Select / })
  await select.nth(0).click()
  await select.nth(1).click()
  await page.getByRole('button', { name: 'Compare' }).click()
  await page.getByRole('complementary', { name: 'Differences' }).getByText('Seed').waitFor()
  await page.getByRole('button', { name: 'Side by side' }).click()
  await expect.poll(() => page.getByRole('dialog').getByRole('img').count()).toBe(2)
  await page.keyboard.press('Escape')
  await page
    .getByRole('button', { name: /^Open .*png$/ })
    .first()
    .click()
  await page.getByRole('button', { name: 'New seed' }).click()
  await page.getByText('Queued again').waitFor()
  await eventually(
    async () => (await client.call('batch.list', {})).rows.every(({ endedAt }) => endedAt !== null),
    60_000,
  )
  const pictures = (await client.call('artifact.page', {})).rows
  expect(new Set(pictures.map(({ sha256 }) => sha256)).size).toBe(3)
})
