import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import path from 'node:path'
import type { Page } from 'playwright'
import sharp from 'sharp'
import { expect, onTestFinished, test } from 'vitest'
import type { Prompt } from '../../core/contract/comfyui.ts'
import { parseJson } from '../../core/contract/json.ts'
import { eventually } from '../kit/eventually.ts'
import { promptFile } from '../kit/start-app.ts'
import { barriers, drop, go, openScreens } from './kit.ts'

const fixtures = path.resolve(import.meta.dirname, '../fixtures/couple-photo')
const json = (name: string, value: unknown) => ({
  name,
  mediaType: 'application/json',
  bytes: Buffer.isBuffer(value) ? value : Buffer.from(JSON.stringify(value)),
})
const aFile = (background: string) =>
  sharp({ create: { width: 40, height: 30, channels: 3, background } })
    .png()
    .toBuffer()

/** Lets a picture fall on one field, as from a folder. */
async function dropOn(page: Page, field: string, name: string, bytes: Buffer) {
  const transfer = await page.evaluateHandle(
    ({ name, base64 }) => {
      const transfer = new DataTransfer()
      const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0))
      transfer.items.add(new File([bytes], name, { type: 'image/png' }))
      return transfer
    },
    { name, base64: bytes.toString('base64') },
  )
  const target = page.locator(`[data-field="${field}"] .border-dashed`)
  await target.dispatchEvent('dragenter', { dataTransfer: transfer })
  await target.dispatchEvent('dragover', { dataTransfer: transfer })
  await target.dispatchEvent('drop', { dataTransfer: transfer })
}

/** A scaled picture with a border colour: everything a form can ask for, without a model. */
const postcard: Prompt = {
  '1': { class_type: 'LoadImage', inputs: { image: 'example.png' } },
  '2': {
    class_type: 'ImageScale',
    inputs: { image: ['1', 0], upscale_method: 'nearest-exact', width: 64, height: 48, crop: 'disabled' },
  },
  '3': { class_type: 'SaveImage', inputs: { filename_prefix: 'card', images: ['2', 0] } },
}
const form = {
  title: 'Postcard',
  params: [
    {
      type: 'group',
      title: 'Your picture',
      children: [{ type: 'image', id: '1', key: 'image', title: 'Photo', description: 'Any picture of yours.' }],
    },
    {
      type: 'group',
      title: 'Look',
      children: [
        { type: 'number', id: '2', key: 'width', title: 'How wide', min: 16, max: 200, step: 1 },
        {
          type: 'select',
          id: '2',
          key: 'upscale_method',
          title: 'Manner',
          options: [
            { value: 'nearest-exact', label: 'Blocks' },
            { value: 'bilinear', label: 'Smooth' },
          ],
        },
        { type: 'number', id: '2', key: 'height', hidden: true, default: 20 },
      ],
    },
  ],
}

async function withForm() {
  const opened = await openScreens()
  await drop(opened.page, [json('card.json', promptFile(postcard)), json('forms.json', [{ ...form, prompt: {} }])])
  await opened.page.getByRole('heading', { name: 'Postcard' }).waitFor()
  const [workflow] = (await opened.client.call('workflow.list', {})).rows
  return { ...opened, id: workflow!.id }
}

test('a form dropped with its workflow opens as a page, is filled in, and makes the picture it says', async () => {
  const { page, client } = await withForm()
  const go = page.getByRole('button', { name: 'Make a picture' })
  await page.getByRole('slider', { name: 'How wide' }).fill('120')
  await page.getByRole('button', { name: 'Smooth' }).click()
  await dropOn(page, '1.image', 'me.png', await aFile('red'))
  await page.getByText('me.png').waitFor()
  const shown = page.locator('[data-field="1.image"] img')
  await eventually(() => shown.evaluate((image: HTMLImageElement) => image.complete && image.naturalWidth > 0))
  await go.click()
  await page
    .getByRole('region', { name: 'Pictures' })
    .getByRole('link', { name: /^Open .*png$/ })
    .waitFor()
  const [picture] = (await client.call('artifact.page', {})).rows
  expect([picture!.width, picture!.height]).toEqual([120, 20])
  const { sidecar } = await client.call('artifact.get', { id: picture!.id })
  expect(sidecar.prompt['2']!.inputs.upscale_method).toBe('bilinear')

  await page.getByRole('button', { name: 'The same again' }).click()
  await eventually(async () => (await client.call('artifact.page', {})).total === 2)
  await page.getByRole('button', { name: 'Start over' }).click()
  await expect.poll(() => page.getByRole('slider', { name: 'How wide' }).inputValue()).toBe('64')
  await page.getByRole('button', { name: 'Filled in before' }).click()
  await page.getByRole('menuitem').first().click()
  await expect.poll(() => page.getByRole('slider', { name: 'How wide' }).inputValue()).toBe('120')
  await page.reload()
  await page.getByText('me.png').waitFor()
})

test('a form dropped later is told of and can be taken back; one dropped with its workflow does not go to an older one', async () => {
  const { page, client } = await openScreens()
  const panelCounts = async () =>
    Object.fromEntries((await client.call('workflow.list', {})).rows.map(({ name, panelCount }) => [name, panelCount]))
  const forms = json('forms.json', [{ ...form, prompt: {} }])
  await drop(page, [json('old.json', promptFile(postcard))])
  await page.getByRole('textbox', { name: 'Name of the workflow' }).waitFor()
  await drop(page, [forms])
  await page.getByText('“Postcard” was added to old').waitFor()
  expect(await panelCounts()).toEqual({ old: 1 })
  await page.getByRole('button', { name: 'Undo' }).click()
  await page.getByRole('heading', { name: 'This workflow has no form yet' }).waitFor()
  expect(await panelCounts()).toEqual({ old: 0 })
  const newer = {
    ...postcard,
    '3': { ...postcard['3']!, inputs: { ...postcard['3']!.inputs, filename_prefix: 'new' } },
  }
  await drop(page, [forms, json('new.json', promptFile(newer))])
  await page.getByText('“Postcard” was added to new').waitFor()
  expect(await panelCounts()).toEqual({ old: 0, new: 1 })
})

test('what a form does not take is said at the field, and nothing is made of it', async () => {
  const { page, client } = await withForm()
  const width = page.locator('[data-field="2.width"]').getByRole('textbox')
  await width.fill('9')
  await page.getByText('must be between 16 and 200').waitFor()
  await page.getByRole('button', { name: 'Make a picture' }).click()
  await page.getByText('1 field needs you.').waitFor()
  await eventually(() => width.evaluate((element) => element === document.activeElement))
  expect((await client.call('batch.list', {})).total).toBe(0)
})

test('several are made at once and cancelled, by the keyboard too', async () => {
  const { page, client } = await withForm()
  await client.call('queue.pause', { how: 'after-current' })
  await dropOn(page, '1.image', 'me.png', await aFile('blue'))
  await page.getByText('me.png').waitFor()
  await page.getByRole('textbox', { name: 'How many pictures' }).fill('3')
  await page.getByRole('button', { name: 'Make 3 pictures' }).waitFor()
  await page.keyboard.press('Control+Enter')
  const pictures = page.getByRole('region', { name: 'Pictures' })
  await pictures.getByText('0 of 3 done').waitFor()
  await pictures.getByRole('button', { name: 'Cancel' }).click()
  await pictures.getByText('Cancelled.').waitFor()
  expect((await client.call('queue.state', {})).counts).toMatchObject({ waiting: 0, running: 0 })
})

test('the couple photo: both forms open, characters are tiles, and offline too a sketch comes of it', async () => {
  const picture = await aFile('green')
  const web = createServer((_, reply) => reply.end(picture))
  await new Promise<void>((listening) => web.listen(0, '127.0.0.1', listening))
  onTestFinished(() => void web.close())
  const at = `http://127.0.0.1:${(web.address() as AddressInfo).port}`
  const moved = (name: string) =>
    Buffer.from(
      readFileSync(path.join(fixtures, name), 'utf8').replaceAll(
        /https:\/\/[^/"]+(?=\/aigc\/json\/couple\/[^"]*\.png)/g,
        at,
      ),
    )
  const { page, client } = await openScreens({}, { mayReach: () => true })
  await drop(page, [json('panels.json', moved('panels.json')), json('prompt.json', moved('prompt.json'))])
  await page.getByRole('button', { name: '背景替换' }).click()
  await page.getByText('STEP 1 - 选择角色').waitFor()
  await page.getByRole('button', { name: '破次元壁合照' }).click()
  const tiles = page.getByRole('radiogroup', { name: /选择角色/ })
  await expect.poll(() => tiles.getByRole('radio').count()).toBe(3)
  await expect
    .poll(() => tiles.locator('img').evaluateAll((all) => all.map((one) => (one as HTMLImageElement).naturalWidth > 0)))
    .toEqual([true, true, true])
  await tiles.getByRole('radio', { name: '玥瑶' }).check()
  await tiles.getByRole('radio', { name: '百里东君' }).check()
  await page.keyboard.press('ArrowRight')
  await expect.poll(() => tiles.getByRole('radio', { name: '司空长风' }).isChecked()).toBe(true)
  web.closeAllConnections()
  web.close()
  await page.getByRole('button', { name: 'Make a picture' }).click()
  const artifact = await eventually(async () => (await client.call('artifact.page', {})).rows[0])
  const { sidecar } = await client.call('artifact.get', { id: artifact.id })
  const image = (node: string) => String(sidecar.prompt[node]!.inputs.image)
  // what was seen is kept and was uploaded; the mask nobody saw could not be had any more
  expect(image('10')).toMatch(/^nightshift\//)
  expect(image('13')).toContain('http')
})

test('a form is proposed, changed by mouse and keyboard, undone, saved, and is there after a reload', async () => {
  const { page, client } = await openScreens()
  await drop(page, [json('card.json', promptFile(postcard))])
  await page.getByRole('link', { name: 'Make a form' }).click()
  await page.getByRole('heading', { name: 'Edit form' }).waitFor()
  const outline = page.getByRole('region', { name: 'Fields' })
  const rows = () =>
    outline
      .getByRole('listitem')
      .locator('[data-path]')
      .evaluateAll((all) => all.map((one) => `${one.getAttribute('data-path')} ${one.firstElementChild?.textContent}`))
  const preview = page.getByRole('region', { name: 'Preview' })
  await preview.getByText('Your pictures').waitFor()
  const proposed = await rows()
  expect(proposed).toContain('0.0 Image')

  await page.getByRole('combobox', { name: 'Add a field' }).fill('upscale')
  await page
    .getByRole('option', { name: /upscale/i })
    .first()
    .click()
  await page.getByRole('textbox', { name: 'Title' }).last().fill('Manner')
  await preview.getByText('Manner').waitFor()
  await page.getByRole('textbox', { name: 'Choices' }).fill('bilinear | Smooth\nbicubic')
  await preview.getByRole('button', { name: 'Smooth' }).waitFor()

  await page.getByRole('button', { name: 'Add a group' }).click()
  await page.getByRole('textbox', { name: 'Title' }).last().fill('Look')
  const named = (name: string) => outline.getByRole('button', { name: new RegExp(`^${name} `) })
  await named('Manner').focus()
  const before = await rows()
  const at = before.findIndex((row) => row.endsWith(' Manner'))
  // keys that come at once, as from a page that is busy
  await page.evaluate(() => {
    for (const key of ['ArrowDown', 'ArrowRight'])
      document.activeElement!.dispatchEvent(new KeyboardEvent('keydown', { key, altKey: true, bubbles: true }))
  })
  await eventually(async () => (await rows()).findIndex((row) => row.endsWith(' Manner')) > at)
  await eventually(async () => /^\d+\.0 Manner$/.test((await rows()).find((row) => row.endsWith(' Manner'))!))
  await eventually(() => named('Manner').evaluate((element) => element === document.activeElement))

  await named('Image').dragTo(named('Look'))
  await eventually(async () => (await rows()).some((row) => /^\d+\.\d Image$/.test(row) && !row.startsWith('0.')))
  const arranged = await rows()
  await page.keyboard.press('Control+z')
  await eventually(async () => (await rows()).includes('0.0 Image'))
  await page.keyboard.press('Control+Shift+z')
  await eventually(async () => String(await rows()) === String(arranged))

  await page.getByRole('button', { name: 'Save', exact: true }).click()
  await page.getByText('The form is saved').first().waitFor()
  await page.reload()
  await named('Manner').waitFor()
  expect(await rows()).toEqual(arranged)
  const [workflow] = (await client.call('workflow.list', {})).rows
  expect(workflow!.panelCount).toBe(1)

  await go(page, '/')
  await page.getByRole('link', { name: /card/ }).first().click()
  await page.getByRole('button', { name: 'Make a picture' }).waitFor()
})

test('changes that are not saved are not lost without a word; a form is exported and imported again', async () => {
  const { page, client, id } = await withForm()
  await page.getByRole('link', { name: 'Edit form' }).click()
  const title = page.getByRole('region', { name: 'Fields' }).getByRole('textbox', { name: 'Title' })
  await title.fill('Greeting')
  await page.getByRole('link', { name: 'To the form' }).click()
  const dialog = page.getByRole('dialog', { name: 'Leave without saving?' })
  await dialog.getByRole('button', { name: 'Close' }).click()
  expect(await title.inputValue()).toBe('Greeting')
  await page.getByRole('link', { name: 'To the form' }).click()
  await dialog.getByRole('button', { name: 'Save', exact: true }).click()
  await page.getByRole('heading', { name: 'Greeting' }).waitFor()

  await page.getByRole('link', { name: 'Edit form' }).click()
  await page.getByRole('button', { name: 'More actions' }).click()
  const downloading = page.waitForEvent('download')
  await page.getByRole('menuitem', { name: 'Export' }).click()
  const file = await (await downloading).path()
  const [exported] = parseJson(readFileSync(file, 'utf8')) as { title: string; params: unknown }[]
  expect(exported).toEqual({ ...form, title: 'Greeting', prompt: postcard })

  await page.getByRole('button', { name: 'More actions' }).click()
  const choosing = page.waitForEvent('filechooser')
  await page.getByRole('menuitem', { name: 'Import a form…' }).click()
  await (await choosing).setFiles({ name: 'f.json', mimeType: 'application/json', buffer: readFileSync(file) })
  await page.getByText('1 form imported').first().waitFor()
  await page.keyboard.press('Control+s')
  await eventually(async () => (await client.call('workflow.get', { id })).panels.length === 2)
})

test.each([
  ['light', 'en'],
  ['dark', 'zh-CN'],
] as const)('axe finds nothing serious on the form and its editor (%s, %s)', async (theme, language) => {
  const { page, client, id } = await withForm()
  await page.emulateMedia({ reducedMotion: 'reduce' })
  await client.call('settings.set', { theme, language })
  await page.locator(`html[data-theme="${theme}"][lang="${language}"]`).waitFor()
  await page.locator('[data-field="2.width"]').waitFor()
  const found = { form: await barriers(page), editor: [] as string[] }
  await go(page, `/form/${id}/edit`)
  await page.locator('[data-path="1.0"]').click()
  found.editor = await barriers(page)
  expect(found).toEqual({ form: [], editor: [] })
})

test.each([
  [390, 780],
  [1024, 720],
  [1440, 900],
])('the form fits a window of %d × %d', async (width, height) => {
  const { page } = await withForm()
  await page.setViewportSize({ width, height })
  const button = page.getByRole('button', { name: 'Make a picture' })
  await button.waitFor()
  await eventually(async () => {
    const box = (await button.boundingBox())!
    return box.x >= 0 && box.x + box.width <= width && box.y + box.height <= height
  })
  await expect
    .poll(() => page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth))
    .toBe(0)
})
