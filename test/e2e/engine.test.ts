import { expect, test } from 'vitest'
import { comfyFolder } from '../kit/comfy-folder.ts'
import { barriers, go, openScreens } from './kit.ts'

test('a ComfyUI of this machine is watched, searched, stopped and started; what fails says why and offers a remedy', async () => {
  const { page, client } = await openScreens()
  await go(page, '/engine')
  await page.getByText('No ComfyUI of this machine is run yet').waitFor()
  await page.getByRole('region', { name: 'This machine' }).waitFor()
  expect(await barriers(page)).toEqual([])

  const folder = comfyFolder()
  await client.call('engine.adopt', folder)
  const card = page.getByRole('listitem', { name: 'local' })
  await card.getByText('Ready', { exact: true }).waitFor()
  await card.getByRole('button', { name: 'Log' }).click()
  await card.getByRole('list', { name: 'Log of local' }).getByText('To see the GUI go to').waitFor()
  await card.getByRole('searchbox', { name: 'Search the log' }).fill('DEVICE:')
  await expect.poll(() => card.getByRole('list', { name: 'Log of local' }).getByRole('listitem').count()).toBe(1)
  expect(await barriers(page)).toEqual([])

  await card.getByRole('button', { name: 'Stop' }).click()
  await card.getByText('Stopped', { exact: true }).waitFor()
  await card.getByRole('button', { name: 'Start', exact: true }).press('Enter')
  await card.getByText('Ready', { exact: true }).waitFor()

  await client.call('engine.adopt', { ...folder, name: 'broken', settings: { flags: ['--fails'] } })
  const broken = page.getByRole('listitem', { name: 'broken' })
  await broken.getByRole('alert').getByText('The Python package torch is missing.').waitFor()
  await broken.getByRole('button', { name: 'Start without custom nodes' }).waitFor()
  expect(await barriers(page)).toEqual([])
  await broken.getByRole('button', { name: 'Actions for broken' }).click()
  await page.getByRole('menuitem', { name: 'Settings' }).click()
  await page.getByRole('textbox', { name: 'Flags', exact: true }).fill('')
  await page.getByRole('button', { name: 'Save' }).click()
  await broken.getByText('Stopped', { exact: true }).waitFor()
  await broken.getByRole('button', { name: 'Start', exact: true }).click()
  await broken.getByText('Ready', { exact: true }).waitFor()
})
