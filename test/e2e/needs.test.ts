import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { writeJson } from '../../core/contract/json.ts'
import { RehearsalServer } from '../../core/engine/rehearsal/server.ts'
import { gives, listFarm } from '../kit/list-farm.ts'
import { tempDir } from '../kit/temp-dir.ts'
import { barriers, go, openScreens } from './kit.ts'

const workflow = {
  nodes: [
    { id: 1, type: 'CheckpointLoaderSimple', widgets_values: ['dream.safetensors'] },
    { id: 2, type: 'FaceDetailer', widgets_values: [] },
    { id: 3, type: 'FluxProUltraImageNode', widgets_values: ['a cat', false, 0, 'fixed', '16:9', false, 0.1] },
  ],
  links: [],
}

test('a workflow shows what it needs on each server, who brings what is missing, and what costs money; its key is kept unseen', async () => {
  const dataDir = tempDir()
  const map = { 'https://github.com/i/Impact-Pack': [['FaceDetailer'], { title_aux: 'Impact Pack' }] }
  const { addresses } = await listFarm(gives(writeJson(map)))
  const lists = { 'extension-node-map': { url: addresses[0]!.href, licence: 'GPL-3.0' } }
  writeFileSync(path.join(dataDir, 'mirrors.json'), writeJson({ lists }))
  const server = new RehearsalServer({ dir: tempDir(), stepMs: 0 })
  await server.start()
  try {
    const { page, client } = await openScreens({}, { dataDir })
    await client.call('worker.add', { url: server.url, name: 'studio' })
    const base64 = Buffer.from(writeJson(workflow)).toString('base64')
    const { id } = await client.call('workflow.import', { name: 'night.json', base64 })
    await go(page, `/workflow/${id}`)
    await page.getByRole('tab', { name: /Needs/ }).click()
    const row = page.getByRole('row', { name: /dream\.safetensors/ })
    await row.getByText('Missing').waitFor()
    await page.getByRole('columnheader', { name: 'studio' }).waitFor()
    await page.getByRole('link', { name: 'Impact Pack' }).waitFor()
    await page.getByText('FluxProUltraImageNode').first().waitFor()
    const noKey = page.getByText('No key of a ComfyUI account is set; see Settings.')
    await noKey.waitFor()
    expect(await barriers(page)).toEqual([])

    await go(page, '/settings')
    const field = page.getByLabel('ComfyUI account API key')
    await field.fill('comfyui-0123456789')
    await field.press('Enter')
    await page.getByText('A key is set.').waitFor()
    await expect.poll(() => field.inputValue()).toBe('')
    expect(await page.content()).not.toContain('comfyui-0123456789')
    await go(page, `/workflow/${id}`)
    await page.getByRole('tab', { name: /Needs/ }).click()
    await row.waitFor()
    await noKey.waitFor({ state: 'detached' })
    await go(page, '/settings')
    await page.getByRole('button', { name: 'Remove key' }).click()
    await page.getByText('No key is set.').waitFor()
    expect(await client.call('account.get', {})).toEqual({ isSet: false })
  } finally {
    await server.stop()
  }
})
