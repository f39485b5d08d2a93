import { statSync } from 'node:fs'
import path from 'node:path'
import sharp from 'sharp'
import { expect, test } from 'vitest'
import { eventually } from '../kit/eventually.ts'
import { aCheckpoint, aLora, aPickle, put } from '../kit/model-files.ts'
import { tempDir } from '../kit/temp-dir.ts'
import { barriers, go, openScreens } from './kit.ts'

test('models are found, looked at, moved to where they belong, trusted, merged and undone', async () => {
  const dir = tempDir()
  const picture = await sharp({ create: { width: 64, height: 64, channels: 3, background: '#3a6' } })
    .png()
    .toBuffer()
  put(dir, {
    'loras/ink wash.safetensors': aLora(1, { 'modelspec.trigger_phrase': 'ink wash' }),
    'loras/ink wash.preview.png': picture,
    'loras/again.safetensors': aLora(1, { 'modelspec.trigger_phrase': 'ink wash' }),
    'checkpoints/dream.safetensors': aCheckpoint(),
    'checkpoints/strayed.safetensors': aLora(2),
    'embeddings/odd.pt': aPickle('os', 'system'),
  })
  const { page, client } = await openScreens()
  await client.call('model.addFolder', { dir })
  await go(page, '/models')
  await page.getByRole('button', { name: /^strayed\.safetensors/ }).click()
  const details = page.getByRole('complementary', { name: 'Details of strayed.safetensors' })
  await details.getByRole('button', { name: 'Move to loras' }).click()
  await eventually(
    async () => (await client.call('model.find', { asked: 'strayed.safetensors' })).model?.folder === 'loras',
  )
  await page.getByRole('button', { name: 'Undo' }).click()
  await eventually(
    async () => (await client.call('model.find', { asked: 'strayed.safetensors' })).model?.folder === 'checkpoints',
  )

  await page.getByRole('searchbox', { name: 'Find a model' }).fill('ink wash')
  await page.getByRole('button', { name: /^strayed/ }).waitFor({ state: 'detached' })
  await page.getByRole('button', { name: /^ink wash/ }).click()
  const ink = page.getByRole('complementary', { name: /ink wash/ })
  await ink.getByRole('textbox', { name: 'Note' }).fill('at 0.7')
  await ink.getByRole('button', { name: 'Verify' }).click()
  await page.getByText('ink wash.safetensors was hashed for the first time.').waitFor()
  await eventually(async () => (await client.call('model.find', { asked: 'ink wash.safetensors' })).model?.hasNote)
  expect(await barriers(page)).toEqual([])
  await page.keyboard.press('Escape')

  await page.getByRole('searchbox', { name: 'Find a model' }).fill('odd')
  await page.getByRole('button', { name: /^odd\.pt/ }).click()
  await page.getByRole('button', { name: 'Trust this file' }).click()
  await page.getByRole('dialog').getByRole('button', { name: 'Trust this file' }).click()
  await page.getByRole('button', { name: 'Trust it no longer' }).waitFor()

  await page.getByRole('button', { name: 'Duplicates' }).click()
  await page.getByRole('button', { name: 'Compare them' }).click()
  await page.getByRole('button', { name: 'Merge all' }).click()
  await page.getByRole('dialog').getByRole('button', { name: 'Merge' }).click()
  await page.getByText(/1 file merged/).waitFor()
  const inodes = () => ['again', 'ink wash'].map((name) => statSync(path.join(dir, `loras/${name}.safetensors`)).ino)
  expect(await barriers(page)).toEqual([])
  await page.getByRole('region', { name: 'Merged before' }).getByRole('button', { name: 'Undo' }).click()
  await page.getByText('undone', { exact: true }).waitFor()
  expect(new Set(inodes()).size).toBe(2)

  await page.getByRole('button', { name: 'Unused' }).click()
  await page.getByText(/models that no workflow and no picture names/).waitFor()
})
