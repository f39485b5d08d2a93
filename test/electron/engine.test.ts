import { expect, test } from 'vitest'
import { comfyFolder } from '../kit/comfy-folder.ts'
import { call, startApp, withBrowser } from './kit.ts'

withBrowser()

test('in the window a folder is typed to run a ComfyUI in place, and an installation may have a proxy and sources of one’s own', async () => {
  const { page } = await startApp()
  const { dir, python } = comfyFolder()
  await page.evaluate(() => {
    location.hash = '#/engine'
  })
  await page.getByRole('button', { name: 'Run an existing ComfyUI…' }).first().click()
  const dialog = page.getByRole('dialog')
  await dialog.getByRole('textbox', { name: 'Its folder' }).fill(`${dir}-that-is-not-there`)
  await dialog.getByRole('button', { name: 'Run this one' }).click()
  await dialog.getByRole('alert').getByText('There is no ComfyUI in').waitFor()
  await dialog.getByRole('textbox', { name: 'Its folder' }).fill(dir)
  await dialog.getByRole('textbox', { name: 'Its Python' }).fill(python)
  await dialog.getByRole('button', { name: 'Run this one' }).click()
  await expect.poll(async () => (await call(page, 'engine.list', {})).rows.map((row) => row.dir)).toEqual([dir])

  await page.getByRole('button', { name: 'Install ComfyUI…' }).click()
  const plan = page.getByRole('region', { name: 'Install ComfyUI', exact: true })
  await plan.getByRole('combobox', { name: 'Proxy' }).click()
  await page.getByRole('option', { name: 'This one' }).click()
  expect(await plan.getByRole('button', { name: 'Install', exact: true }).isDisabled()).toBe(true)
  await plan.getByRole('textbox', { name: 'Address' }).fill('127.0.0.1:7890')
  await plan.getByRole('textbox', { name: 'User' }).fill('me')
  await plan.getByLabel('Password').fill('p@ss')
  await plan.getByText('Sources of one’s own').click()
  await plan.getByRole('textbox', { name: 'PyTorch' }).fill('torch==2.13.0')
  await plan.getByText(/^torch==2\.13\.0 \(/).waitFor()
  await expect.poll(() => plan.getByRole('button', { name: 'Install', exact: true }).isEnabled()).toBe(true)
})
