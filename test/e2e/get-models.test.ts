import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { writeJson } from '../../core/contract/json.ts'
import { eventually } from '../kit/eventually.ts'
import { hubFarm, sha256 } from '../kit/hub-farm.ts'
import { installedComfy } from '../kit/installed-comfy.ts'
import { tempDir } from '../kit/temp-dir.ts'
import { barriers, drop, go, openScreens, paste } from './kit.ts'

const dream = 'the bytes of a checkpoint'
/** Of a LoRA, as its header tells. */
function lora(): Buffer {
  const tensor = { dtype: 'F16', shape: [2], data_offsets: [0, 4] }
  const header = Buffer.from(JSON.stringify({ 'lora_unet_mid_block.lora_up.weight': tensor }))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(header.length))
  return Buffer.concat([length, header, Buffer.alloc(4)])
}

test('what a workflow lacks is planned, fetched and then there; a model or a link that is dropped goes where it belongs', async () => {
  const farm = await hubFarm({
    huggingface: { 'makers/dreams': { licence: 'mit', files: [{ path: 'dream.safetensors', content: dream }] } },
  })
  const hub = farm.base('huggingface')
  const dataDir = tempDir()
  const kinds = { huggingface: { official: hub, standsIn: [new URL(hub).host], checks: [] } }
  writeFileSync(path.join(dataDir, 'mirrors.json'), writeJson({ kinds }))
  await installedComfy({ dataDir })
  const { page, client } = await openScreens({}, { dataDir })
  const modelsDir = await eventually(async () => {
    const { roots } = await client.call('model.state', {})
    const [folder] = roots
      .flatMap(({ engine, folders }) => (engine === null ? [] : folders))
      .filter((each) => each.folder === 'checkpoints')
    return path.dirname(folder!.dir)
  })
  const link = `${hub}/makers/dreams/blob/main/dream.safetensors`
  const workflow = {
    nodes: [
      {
        id: 1,
        type: 'CheckpointLoaderSimple',
        widgets_values: ['dream.safetensors'],
        properties: {
          models: [{ name: 'dream.safetensors', url: link, directory: 'checkpoints', hash: sha256(dream) }],
        },
      },
    ],
    links: [],
  }
  const base64 = Buffer.from(writeJson(workflow)).toString('base64')
  const { id } = await client.call('workflow.import', { name: 'night.json', base64 })
  await go(page, `/workflow/${id}`)
  await page.getByRole('tab', { name: /Needs/ }).click()
  await page.getByRole('button', { name: 'Get missing models' }).click()
  const dialog = page.getByRole('dialog', { name: 'Get what this workflow needs' })
  await dialog.getByText('Hash confirmed').waitFor()
  await dialog.getByText('models/checkpoints').waitFor()
  await dialog.getByText('mit', { exact: true }).waitFor()
  expect(await barriers(page)).toEqual([])
  await dialog.getByRole('button', { name: 'Get the file' }).click()
  await dialog.waitFor({ state: 'detached' })
  const file = path.join(modelsDir, 'checkpoints', 'dream.safetensors')
  await eventually(() => existsSync(file))
  expect(readFileSync(file, 'utf8')).toBe(dream)

  await page.getByRole('button', { name: 'Get missing models' }).click()
  await page.getByText('The file is there already.').waitFor()
  await dialog.getByRole('button', { name: 'Close' }).click()

  await drop(page, [{ name: 'glow.safetensors', mediaType: '', bytes: lora() }])
  await page.getByText('glow.safetensors is in models/loras now.').waitFor()
  expect(existsSync(path.join(modelsDir, 'loras', 'glow.safetensors'))).toBe(true)

  await paste(page, link)
  const pasted = page.getByRole('dialog', { name: 'Get models' })
  await pasted.getByText('dream.safetensors').first().waitFor()
  await pasted.getByRole('button', { name: 'Close' }).click()

  await go(page, '/models?tab=get')
  const card = page
    .getByRole('listitem')
    .filter({ has: page.getByRole('button', { name: 'Get Z-Image Turbo', exact: true }) })
  await card.getByText('about 16 GB VRAM').waitFor()
  await page.getByRole('searchbox').fill('nothing is called like this')
  await page.getByText('Nothing matches.').waitFor()
  expect(await barriers(page)).toEqual([])
})
