import { expect, test } from 'vitest'
import { barriers, drop, go, openScreens } from './kit.ts'

const node = (class_type: string, inputs: Record<string, unknown>) => ({ class_type, inputs })
/** A plain SDXL prompt for something wide, in a square picture. */
const prompt = {
  '1': node('CheckpointLoaderSimple', { ckpt_name: 'sd_xl_base_1.0.safetensors' }),
  '2': node('CLIPTextEncode', { text: 'a landscape with a lake, watercolor', clip: ['1', 1] }),
  '3': node('CLIPTextEncode', { text: 'text', clip: ['1', 1] }),
  '4': node('EmptyLatentImage', { width: 1024, height: 1024, batch_size: 1 }),
  '5': node('KSampler', {
    seed: 1,
    steps: 25,
    cfg: 8,
    sampler_name: 'euler',
    scheduler: 'normal',
    denoise: 1,
    model: ['1', 0],
    positive: ['2', 0],
    negative: ['3', 0],
    latent_image: ['4', 0],
  }),
  '6': node('VAEDecode', { samples: ['5', 0], vae: ['1', 2] }),
  '7': node('SaveImage', { images: ['6', 0], filename_prefix: 'x' }),
}
const file = { name: 'lake.json', mediaType: 'application/json', bytes: Buffer.from(JSON.stringify(prompt)) }

test('a preset is shown as what it would change, applied as far as it is ticked, and undone', async () => {
  const { page } = await openScreens()
  await drop(page, [file])
  const bar = page.getByRole('group', { name: 'Presets and suggestions' })
  await bar.getByText('SDXL').waitFor()
  const value = (name: string) => page.getByRole('textbox', { name, exact: true, includeHidden: true }).inputValue()
  await bar.getByRole('button', { name: 'Quality' }).click()
  const dialog = page.getByRole('dialog', { name: 'Quality · SDXL' })
  await dialog.getByText('Nothing changes until you apply it').waitFor()
  const lines = await dialog.getByRole('listitem').allInnerTexts()
  expect(lines.map((line) => line.split('\n').slice(0, 3))).toEqual([
    ['Steps', '25', '50'],
    ['Sampler', 'euler', 'dpmpp_2m'],
    ['Scheduler', 'normal', 'karras'],
  ])
  expect(await barriers(page)).toEqual([])
  expect(await value('Steps')).toBe('25')
  await dialog.getByRole('checkbox', { name: /Scheduler/ }).uncheck()
  await dialog.getByRole('button', { name: 'Apply 2 changes' }).click()
  await page.getByText('2 values changed').first().waitFor()
  await expect
    .poll(async () => [await value('Steps'), await page.getByRole('combobox', { name: 'Sampler' }).inputValue()])
    .toEqual(['50', 'dpmpp_2m'])
  await bar.getByRole('button', { name: 'Undo' }).click()
  await page.getByText('As in the file').waitFor()
  expect(await value('Steps')).toBe('25')
})

test('what the prompt asks for is suggested with its reason, and goes away when it is so', async () => {
  const { page, client } = await openScreens()
  await drop(page, [file])
  const bar = page.getByRole('group', { name: 'Presets and suggestions' })
  await bar.getByRole('button', { name: '1 suggestion' }).click()
  const dialog = page.getByRole('dialog', { name: 'Suggestions for this prompt' })
  await dialog.getByText('asks for something wide (“landscape”)').waitFor()
  await dialog.getByRole('button', { name: 'Apply 2 changes' }).click()
  await bar.getByRole('button', { name: /suggestion/ }).waitFor({ state: 'detached' })
  await page.reload()
  const width = page.getByRole('textbox', { name: 'Width', exact: true })
  await width.waitFor()
  expect([
    await width.inputValue(),
    await page.getByRole('textbox', { name: 'Height', exact: true }).inputValue(),
  ]).toEqual(['1216', '832'])
  await page.getByRole('textbox', { name: 'Prompt', exact: true }).fill('一只猫')
  await bar.getByRole('button', { name: '1 suggestion' }).waitFor()
  await client.call('settings.set', { language: 'zh-CN' })
  await page.getByRole('group', { name: '预设与建议' }).getByRole('button', { name: '1 条建议' }).click()
  await page.getByText('SDXL 只学过英文').waitFor()
})

test('a switch brings the steps that count onto the form', async () => {
  const { page } = await openScreens()
  const switched = {
    ...prompt,
    '5': node('KSampler', { ...prompt['5'].inputs, steps: ['10', 0], model: ['12', 0] }),
    '8': { ...node('PrimitiveInt', { value: 20 }), _meta: { title: 'Steps' } },
    '9': { ...node('PrimitiveInt', { value: 8 }), _meta: { title: 'Steps' } },
    '10': node('ComfySwitchNode', { switch: ['13', 0], on_false: ['8', 0], on_true: ['9', 0] }),
    '11': node('LoraLoaderModelOnly', {
      lora_name: 'sdxl_lightning_8step.safetensors',
      strength_model: 1,
      model: ['1', 0],
    }),
    '12': node('ComfySwitchNode', { switch: ['13', 0], on_false: ['1', 0], on_true: ['11', 0] }),
    '13': { ...node('PrimitiveBoolean', { value: false }), _meta: { title: 'Enable Lightning' } },
  }
  await drop(page, [{ ...file, bytes: Buffer.from(JSON.stringify(switched)) }])
  const steps = page.getByRole('textbox', { name: 'Steps', exact: true })
  await steps.waitFor()
  expect(await steps.inputValue()).toBe('20')
  await page.getByRole('group', { name: 'Presets and suggestions' }).getByRole('button', { name: 'Fast' }).click()
  const dialog = page.getByRole('dialog', { name: 'Fast · SDXL' })
  await dialog.getByRole('checkbox', { name: /Enable Lightning.*off.*on/ }).waitFor()
  await dialog.getByRole('button', { name: 'Apply 2 changes' }).click()
  await page
    .getByRole('combobox', { name: 'LoRA', exact: true })
    .or(page.getByRole('textbox', { name: 'LoRA', exact: true }))
    .waitFor()
  await expect.poll(async () => [await steps.count(), await steps.inputValue()]).toEqual([1, '8'])
})

test('parameters are called by their names in the language of the page', async () => {
  const { page, client } = await openScreens()
  await client.call('settings.set', { language: 'zh-CN' })
  await drop(page, [file])
  for (const name of ['提示词', '反向提示词', '种子', '步数', '宽度'])
    await page.getByRole('textbox', { name, exact: true }).waitFor()
  await go(page, '/')
})
