import { existsSync, statSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import sharp from 'sharp'
import { expect, test } from 'vitest'
import { eventually } from '../kit/eventually.ts'
import { hubFarm, mirrorsOf } from '../kit/hub-farm.ts'
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
  const dataDir = tempDir()
  writeFileSync(path.join(dataDir, 'mirrors.json'), mirrorsOf(await hubFarm({})))
  const { page, client } = await openScreens({}, { dataDir })
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
  await details.getByRole('button', { name: 'Move to loras' }).waitFor() // the page has followed it back

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
  const dream = path.join(dir, 'checkpoints/dream.safetensors')
  await page.getByRole('searchbox', { name: 'Find a model' }).fill('')
  await page.getByRole('button', { name: /^dream\.safetensors/ }).click()
  await page.getByRole('complementary').getByRole('button', { name: 'Put in the trash' }).click()
  await page.getByText(/^dream\.safetensors is in the trash/).waitFor()
  expect(existsSync(dream)).toBe(false)
  await page.getByRole('button', { name: 'Trash (1)' }).click()
  const trash = page.getByRole('dialog', { name: 'Trash', exact: true })
  await trash.getByText('dream.safetensors').waitFor()
  expect(await barriers(page)).toEqual([])
  await trash.getByRole('button', { name: 'Put back' }).click()
  await trash.getByText('The trash is empty').waitFor()
  expect(existsSync(dream)).toBe(true)
})
