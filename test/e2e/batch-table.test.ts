import { mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import type { Page } from 'playwright'
import sharp from 'sharp'
import { expect, test } from 'vitest'
import type { Prompt } from '../../core/contract/comfyui.ts'
import { eventually } from '../kit/eventually.ts'
import { promptFile } from '../kit/start-app.ts'
import { tempDir } from '../kit/temp-dir.ts'
import { workbook } from '../kit/workbook.ts'
import { barriers, choose, drop, go, openScreens, paste } from './kit.ts'

/** The batch page of the sample, or of `prompt`; the queue is paused, so that what is queued can be looked at. */
async function openBatch(prompt?: Prompt, options?: Parameters<typeof openScreens>[0]) {
  const opened = await openScreens(options)
  const { client, page } = opened
  await client.call('queue.pause', { how: 'after-current' })
  const { id } = prompt
    ? await client.call('workflow.import', { name: 'p.json', base64: promptFile(prompt).toString('base64') })
    : await client.call('workflow.sample', {})
  await go(page, `/batch/${id}`)
  await page.getByRole('grid').waitFor()
  const { inspection } = await client.call('workflow.get', { id })
  const keyOf = (role: string) => inspection.parameters.find((parameter) => parameter.role === role)!.key
  return {
    ...opened,
    id,
    keyOf,
    /** Presses Queue once it says `label`; gives what each job got, in order. */
    async queue(label: string) {
      await page.getByRole('button', { name: label, exact: true }).click()
      await page.getByRole('heading', { name: /^(Queue|队列)$/ }).waitFor()
      const { rows } = await client.call('job.page', {})
      const details = await Promise.all(rows.map(({ id }) => client.call('job.get', { id })))
      return details.sort((one, other) => one.index - other.index)
    },
  }
}
const cell = (page: Page, row: number, column: number) =>
  page.locator(`[role=row][aria-rowindex="${row + 1}"] [role=gridcell][aria-colindex="${column + 1}"]`)
const mapping = (page: Page, column: string) =>
  page.getByRole('combobox', { name: `Parameter of the column ${column}` })

const sheetRow = (number: number, cells: string[]) =>
  `<row r="${number}">${cells
    .map((text, at) =>
      text.startsWith('=')
        ? `<c r="${'ABC'[at]}${number}"><f>${text.slice(1, text.indexOf('→'))}</f><v>${text.slice(text.indexOf('→') + 1)}</v></c>`
        : `<c r="${'ABC'[at]}${number}" t="inlineStr"><is><t>${text}</t></is></c>`,
    )
    .join('')}</row>`

test('a workbook dropped on the batch is read with its formulas’ values, and another of its sheets on choice', async () => {
  const { page, queue, keyOf } = await openBatch()
  const bytes = await workbook({
    Monday:
      sheetRow(1, ['Prompt', 'Steps']) + sheetRow(2, ['a tram', '=10*2→20']) + sheetRow(3, ['a kite', '=B2+1→21']),
    Tuesday: sheetRow(1, ['Prompt', 'CFG']) + sheetRow(2, ['a boat', '=1/2→0.5']),
  })
  await drop(page, [{ name: 'week.xlsx', mediaType: 'application/octet-stream', bytes }])
  await page.getByText('from 2 rows').waitFor()
  expect(await cell(page, 1, 2).textContent()).toBe('20')
  expect(await cell(page, 2, 2).textContent()).toBe('21')
  await page.getByRole('combobox', { name: 'Sheet' }).click()
  await page.getByRole('option', { name: 'Tuesday' }).click()
  await page.getByText('from 1 row ').waitFor()
  await expect.poll(() => mapping(page, 'CFG').inputValue()).toBe('CFG')
  const [job] = await queue('Queue 1')
  expect(job!.overrides).toMatchObject({ [keyOf('prompt')]: 'a boat', [keyOf('cfg')]: 0.5 })
})

test('a workbook and a CSV are also opened by the file dialog', async () => {
  const { page } = await openBatch()
  const bytes = await workbook({ One: sheetRow(1, ['Prompt']) + sheetRow(2, ['a tram']) })
  for (const [name, buffer, row] of [
    ['one.xlsx', bytes, 'a tram'],
    ['two.csv', Buffer.from('Prompt\na kite\n'), 'a kite'],
  ] as const) {
    const chooser = page.waitForEvent('filechooser')
    await page.getByRole('button', { name: 'Import table…' }).click()
    await (await chooser).setFiles({ name, mimeType: 'application/octet-stream', buffer })
    await page.getByText(name).waitFor()
    expect(await cell(page, 1, 1).textContent()).toBe(row)
  }
})

test('a CSV in GB18030 keeps every character, and its Chinese columns find their parameters', async () => {
  const { page, queue, keyOf } = await openBatch()
  // 提示词,步数,编号 / 一只猫在𠮷野家,12,甲 / 一只猫,13,乙
  const lines = [
    'cce1 cabe b4ca 2c b2bd cafd 2c b1e0 bac5',
    'd2bb d6bb c3a8 d4da 9534b235 d2b0 bcd2 2c 3132 2c bcd7',
    'd2bb d6bb c3a8 2c 3133 2c d2d2',
  ]
  const bytes = Buffer.from(lines.map((line) => line.replaceAll(' ', '')).join('0d0a'), 'hex')
  await drop(page, [{ name: '表.csv', mediaType: 'text/csv', bytes }])
  await page.getByText('from 2 rows').waitFor()
  await page.getByText('2 of 3 columns matched').waitFor()
  await page.getByText('gb18030').waitFor()
  await expect.poll(() => mapping(page, '编号').inputValue()).toBe('only for names')
  const jobs = await queue('Queue 2')
  expect(jobs.map(({ overrides }) => [overrides[keyOf('prompt')], overrides[keyOf('steps')]])).toEqual([
    ['一只猫在𠮷野家', 12],
    ['一只猫', 13],
  ])
})

test('what a table says of itself is said in the person’s language', async () => {
  const { page, client } = await openBatch()
  await client.call('settings.set', { language: 'zh-CN' })
  await page.locator('html[lang="zh-CN"]').waitFor()
  const csv = 'Prompt,Steps\n"a tram",20\n\na kite,21,more\n'
  await drop(page, [{ name: 'rows.csv', mediaType: 'text/csv', bytes: Buffer.from(csv) }])
  await page.getByText('1 个空行').waitFor()
  await page.getByText('第 2 行').first().waitFor()
  await page.emulateMedia({ reducedMotion: 'reduce' })
  expect(await barriers(page)).toEqual([])
})

test('a column’s parameter is guessed, shown and changed; one parameter is filled by one column', async () => {
  const { page, queue, keyOf } = await openBatch()
  const csv = 'Prompt,Guess,Other\nx,5,6\n'
  await drop(page, [{ name: 'rows.csv', mediaType: 'text/csv', bytes: Buffer.from(csv) }])
  await page.getByText('1 of 3 columns matched').waitFor()
  const map = (column: string, parameter: string) => choose(page, mapping(page, column), parameter)
  await map('Guess', 'CFG')
  await page.getByText('2 of 3 columns matched').waitFor()
  await expect.poll(() => mapping(page, 'Guess').inputValue()).toBe('CFG')
  await map('Other', 'CFG')
  await expect.poll(() => mapping(page, 'Guess').inputValue()).toBe('only for names')
  await map('Guess', 'Steps')
  await page.getByText('3 of 3 columns matched').waitFor()
  await page.getByRole('button', { name: 'Remove the column Prompt' }).click()
  await page.getByText('2 of 2 columns matched').waitFor()
  const [job] = await queue('Queue 1')
  expect(job!.overrides).toMatchObject({ [keyOf('steps')]: 5, [keyOf('cfg')]: 6 })
})

test('rows pasted under Chinese names that the screen shows are taken as columns', async () => {
  const { page, client, queue, keyOf } = await openBatch()
  await client.call('settings.set', { language: 'zh-CN' })
  await page.locator('html[lang="zh-CN"]').waitFor()
  await page.getByRole('grid').focus()
  await paste(page, '提示词\t步数\t备注\n一只猫\t12\t甲\n"两行\n文字"\t13\t乙')
  await page.getByText('来自 2 行').waitFor()
  const jobs = await queue('加入队列（2）')
  expect(jobs.map(({ overrides }) => [overrides[keyOf('prompt')], overrides[keyOf('steps')]])).toEqual([
    ['一只猫', 12],
    ['两行\n文字', 13],
  ])
})

test('a paste into the middle of a table writes there, grows it, and leaves the rest alone', async () => {
  const { page } = await openBatch()
  await page.getByRole('grid').focus()
  await paste(page, 'Prompt\tSteps\na\t10\nb\t11\nc\t12')
  await page.getByText('from 3 rows').waitFor()
  await cell(page, 3, 1).click()
  await paste(page, 'C\t20\nD\t21\nE\t22')
  await page.getByText('from 5 rows').waitFor()
  const texts = await page.getByRole('gridcell').allTextContents()
  expect(texts).toEqual(['a', '10', 'b', '11', 'C', '20', 'D', '21', 'E', '22'])
  await cell(page, 1, 2).click()
  await cell(page, 5, 2).click({ modifiers: ['Shift'] })
  await paste(page, '7')
  await expect.poll(() => cell(page, 5, 2).textContent()).toBe('7')
  expect(await cell(page, 1, 2).textContent()).toBe('7')
})

test('a cell is edited in place: double click, Enter, Tab and Escape do as in a spreadsheet', async () => {
  const { page } = await openBatch()
  await page.getByRole('grid').focus()
  await paste(page, 'Prompt\tSampler\na\teuler\nb\theun')
  await page.getByText('from 2 rows').waitFor()
  await cell(page, 1, 1).dblclick()
  const editor = page.getByRole('textbox', { name: 'Row 1, Prompt' })
  expect(await editor.inputValue()).toBe('a')
  await page.keyboard.type(' tram')
  await page.keyboard.press('Tab')
  expect(await cell(page, 1, 1).textContent()).toBe('a tram')
  await page.keyboard.press('F2')
  const sampler = page.getByRole('combobox', { name: 'Row 1, Sampler' })
  expect(await sampler.inputValue()).toBe('euler')
  expect(
    await page.locator('datalist option').evaluateAll((all) => all.map((one) => one.getAttribute('value'))),
  ).toContain('dpmpp_2m')
  await sampler.fill('nonsense')
  await page.keyboard.press('Escape')
  expect(await cell(page, 1, 2).textContent()).toBe('euler')
  await page.keyboard.type('dpmpp_2m')
  await page.keyboard.press('Enter')
  expect(await cell(page, 1, 2).textContent()).toBe('dpmpp_2m')
  // Enter went down a row
  await page.keyboard.press('Delete')
  expect(await cell(page, 2, 2).textContent()).toBe('')
  // a click elsewhere keeps what was typed
  await cell(page, 2, 1).dblclick()
  await page.keyboard.type('!')
  await cell(page, 1, 1).click()
  expect(await cell(page, 2, 1).textContent()).toBe('b!')
  await page.getByText('1 row with faults').waitFor({ state: 'detached' })
})

test('a faulty row is named by its number in the table, the good ones are queued under theirs', async () => {
  const { page, queue, keyOf } = await openBatch()
  await page.getByRole('grid').focus()
  await paste(page, 'Prompt\tSteps\na\t10\n\t\nb\tmany\n\t\nc\t12')
  await page.getByText('1 row with faults left out').waitFor()
  const fault = page.getByRole('region', { name: 'Faults' }).getByRole('button')
  expect(await fault.textContent()).toMatch(/^Row 3Steps.*\(many\)$/)
  expect(await cell(page, 3, 2).getAttribute('aria-invalid')).toBe('true')
  expect(await page.locator('[role=gridcell][aria-invalid]').count()).toBe(1)
  const jobs = await queue('Queue the 2 good ones')
  expect(jobs.map(({ row, overrides }) => [row, overrides[keyOf('steps')]])).toEqual([
    [1, 10],
    [5, 12],
  ])
})

const turned: Prompt = {
  '1': { class_type: 'LoadImage', inputs: { image: 'example.png' } },
  '2': { class_type: 'ImageInvert', inputs: { image: ['1', 0] } },
  '3': { class_type: 'SaveImage', inputs: { filename_prefix: 'turned', images: ['2', 0] } },
}
/** Pictures each of its own width, and a file that is none. */
async function folderOfPictures() {
  const dir = path.join(tempDir(), 'products')
  mkdirSync(dir)
  for (const [name, width] of [
    ['cup 10.png', 30],
    ['cup 2.png', 20],
    ['Äpfel.png', 40],
  ] as const)
    writeFileSync(
      path.join(dir, name),
      await sharp({ create: { width, height: 8, channels: 3, background: '#446688' } })
        .png()
        .toBuffer(),
    )
  writeFileSync(path.join(dir, 'notes.txt'), 'no picture')
  return dir
}
const inOrder = ['Äpfel.png', 'cup 2.png', 'cup 10.png']

test('a folder of pictures becomes a column in the order people expect, and each is made from', async () => {
  const { page, client, queue } = await openBatch(turned)
  const dir = await folderOfPictures()
  const chooser = page.waitForEvent('filechooser')
  await page.getByRole('button', { name: 'Pictures' }).click()
  await page.getByRole('menuitem', { name: 'Choose a folder…' }).click()
  await (await chooser).setFiles(dir)
  await page.getByText('from 3 rows').waitFor()
  expect((await page.getByRole('gridcell').allTextContents()).filter(Boolean)).toEqual(inOrder)
  await queue('Queue 3')
  await client.call('queue.resume', {})
  const made = await eventually(async () => {
    const { rows, total } = await client.call('artifact.page', {})
    return total === 3 ? rows : undefined
  })
  expect(made.map(({ width }) => width).sort()).toEqual([20, 30, 40])
})

test('pictures and whole folders dropped on the batch are added below what is there', async () => {
  const { page, context } = await openBatch(turned)
  const dir = await folderOfPictures()
  const devtools = await context.newCDPSession(page)
  const dropPaths = async (files: string[]) => {
    const data = { items: [], files, dragOperationsMask: 1 }
    for (const type of ['dragEnter', 'dragOver', 'drop'] as const)
      await devtools.send('Input.dispatchDragEvent', { type, x: 400, y: 300, data })
  }
  await dropPaths([path.join(dir, 'cup 10.png'), path.join(dir, 'cup 2.png')])
  await page.getByText('from 2 rows').waitFor()
  await dropPaths([dir])
  await page.getByText('from 5 rows').waitFor()
  const names = (await page.getByRole('gridcell').allTextContents()).filter(Boolean)
  expect(names.slice(0, 2).sort()).toEqual(['cup 10.png', 'cup 2.png'])
  expect(names.slice(2)).toEqual(inOrder)
})

test('rows, a grid over values and repeats multiply, each repeat with a seed of its own', async () => {
  const { page, queue, keyOf } = await openBatch()
  await page.getByRole('grid').focus()
  await paste(page, 'a tram\na kite')
  await page.getByRole('button', { name: 'Add values' }).click()
  await choose(page, page.getByRole('combobox', { name: 'Parameter of values 1' }), 'CFG')
  await page.getByRole('textbox', { name: 'Values 1, between commas' }).fill('4, 6.5, 8')
  await page.getByText('3 values').waitFor()
  await page.getByRole('textbox', { name: 'Repeat' }).fill('2')
  const jobs = await queue('Queue 12')
  expect(jobs.map(({ row, overrides }) => [row, overrides[keyOf('prompt')], overrides[keyOf('cfg')]])).toEqual(
    ['a tram', 'a kite'].flatMap((prompt, at) => [4, 4, 6.5, 6.5, 8, 8].map((cfg) => [at + 1, prompt, cfg])),
  )
  expect(new Set(jobs.map(({ overrides }) => overrides[keyOf('seed')])).size).toBe(12)
})

test('an axis with a value its node refuses is told at once and cannot be queued', async () => {
  const { page } = await openBatch()
  await page.getByRole('button', { name: 'Add values' }).click()
  await choose(page, page.getByRole('combobox', { name: 'Parameter of values 1' }), 'Steps')
  await page.getByRole('textbox', { name: 'Values 1, between commas' }).fill('20, lots')
  await page.getByText(/Steps: .*lots/).waitFor()
  expect(await page.getByRole('button', { name: /^Queue/ }).isDisabled()).toBe(true)
})
