import type { Page } from 'playwright'
import { expect, test } from 'vitest'
import { go, openScreens } from './kit.ts'

async function arranging() {
  const opened = await openScreens()
  const { page, client } = opened
  const { id } = await client.call('workflow.sample', {})
  await go(page, `/workflow/${id}`)
  await page.getByRole('button', { name: 'Arrange' }).click()
  const form = page.getByRole('region', { name: 'Parameters', exact: true })
  await form.getByRole('listitem').first().waitFor()
  return {
    ...opened,
    id,
    form,
    /** The names as the host keeps them. */
    kept: async () => (await client.call('workflow.get', { id })).inspection.parameters,
    names: () => namesIn(page),
  }
}
const namesIn = (page: Page) =>
  page
    .getByRole('textbox', { name: /^Name of .*\(/ })
    .evaluateAll((all) => all.map((one) => (one as HTMLInputElement).value))
const nameOf = (page: Page, name: string) => page.getByRole('textbox', { name: `Name of ${name} (` })

test('parameters are renamed, pinned and hidden, and the form follows, also after a reload', async () => {
  const { page, form, kept } = await arranging()
  await nameOf(page, 'Prompt').fill('Motif')
  await nameOf(page, 'Prompt').press('Enter')
  await page.getByRole('button', { name: 'Pin Steps' }).click()
  await page.getByRole('button', { name: 'Show Height on the form' }).click()
  await expect
    .poll(async () => (await kept()).filter(({ name }) => ['Motif', 'Steps', 'Height'].includes(name)))
    .toMatchObject(
      expect.arrayContaining([
        expect.objectContaining({ name: 'Motif', role: 'prompt' }),
        expect.objectContaining({ name: 'Steps', pinned: true }),
        expect.objectContaining({ name: 'Height', shown: false }),
      ]),
    )
  await page.reload()
  await form.getByRole('textbox', { name: 'Motif' }).waitFor()
  expect(await form.getByRole('textbox', { name: 'Height' }).count()).toBe(0)
  const labels = await form.locator('label').allTextContents()
  expect(labels[0]).toBe('Steps')
  await page.getByRole('button', { name: /^Show all inputs/ }).click()
  await form.getByRole('textbox', { name: 'height' }).waitFor()
})

test('a name that another parameter has is refused with what to do, and the old one stays', async () => {
  const { page, kept } = await arranging()
  const before = (await kept()).map(({ name }) => name)
  await nameOf(page, 'Prompt').fill('Steps')
  await nameOf(page, 'Prompt').press('Enter')
  await expect.poll(() => nameOf(page, 'Prompt').inputValue()).toBe('Prompt')
  expect((await kept()).map(({ name }) => name)).toEqual(before)
})

test('parameters are dragged into another order, which stays', async () => {
  const { page, names, kept } = await arranging()
  const before = await names()
  const rows = page.getByRole('listitem').filter({ has: page.getByRole('textbox', { name: /^Name of/ }) })
  const grip = (at: number) => rows.nth(at).locator('svg').first()
  await grip(3).dragTo(grip(0))
  const after = [before[3]!, ...before.filter((_, at) => at !== 3)]
  await expect.poll(names).toEqual(after)
  await expect.poll(async () => (await kept()).map(({ name }) => name)).toEqual(after)
  // down: it takes the place of the row it is dropped on
  await grip(0).dragTo(grip(2))
  const again = [after[1]!, after[2]!, after[0]!, ...after.slice(3)]
  await expect.poll(names).toEqual(again)
  await expect.poll(async () => (await kept()).map(({ name }) => name)).toEqual(again)
})

test('parameters are moved by the keyboard, and the focus goes with the one that moves', async () => {
  const { page, names, kept } = await arranging()
  const before = await names()
  await nameOf(page, before[0]!).focus()
  await page.keyboard.press('Alt+ArrowDown')
  await page.keyboard.press('Alt+ArrowDown')
  const after = [before[1]!, before[2]!, before[0]!, ...before.slice(3)]
  await expect.poll(names).toEqual(after)
  await expect.poll(() => page.evaluate(() => (document.activeElement as HTMLInputElement).value)).toBe(before[0])
  await page.keyboard.press('Alt+ArrowUp')
  const back = [before[1]!, before[0]!, ...before.slice(2)]
  await expect.poll(names).toEqual(back)
  await expect.poll(async () => (await kept()).map(({ name }) => name)).toEqual(back)
})
