import { expect, test } from 'vitest'
import { png, textChunk } from '../kit/pictures.ts'
import { barriers, drop, go, openScreens } from './kit.ts'

const parameters = [
  'a lighthouse, <lora:storm:0.7> [calm]',
  'Negative prompt: blurry',
  'Steps: 4, Sampler: DPM++ 2M Karras, CFG scale: 6.5, Seed: 18446744073709551614, Size: 64x64, Model: sea_v2,',
  'ADetailer model: face_yolov8n.pt, Version: v1.6.0',
]
const picture = png([textChunk('parameters', `${parameters.slice(0, 2).join('\n')}\n${parameters.slice(2).join(' ')}`)])

test('a picture of AUTOMATIC1111 is dropped, what is lost is allowed, and it is queued', async () => {
  const { page, client } = await openScreens()
  await drop(page, [{ name: 'lighthouse.png', mediaType: 'image/png', bytes: picture }])
  await page.getByText('A1111 settings').first().waitFor()
  const [workflow] = (await client.call('workflow.list', {})).rows
  await go(page, `/workflow/${workflow!.id}`)

  await page.getByText('ADetailer of AUTOMATIC1111 is not brought over', { exact: false }).waitFor()
  expect(await page.getByRole('textbox', { name: 'Prompt', exact: true }).inputValue()).toBe(
    'a lighthouse, (calm:0.909)',
  )
  expect(await page.getByRole('textbox', { name: 'Seed' }).inputValue()).toBe('18446744073709551614')
  const queue = page.getByRole('button', { name: 'Queue', exact: true })
  expect(await queue.isDisabled()).toBe(true)
  await page.getByRole('switch', { name: 'Queue without what would be lost' }).click()
  expect(await barriers(page)).toEqual([])
  await queue.click()
  await expect
    .poll(async () => (await client.call('batch.list', {})).rows.map(({ counts }) => counts.done))
    .toEqual([1])

  await go(page, `/batch/${workflow!.id}`)
  expect(await page.getByRole('switch', { name: 'Queue without what would be lost' }).isChecked()).toBe(true)
})
