import { expect, test } from 'vitest'
import { comfyFolder } from '../kit/comfy-folder.ts'
import { keepPublication, releasesAgent } from '../kit/publication-kit.ts'
import { serve } from '../kit/serve.ts'
import { startApp } from '../kit/start-app.ts'
import { tempDir } from '../kit/temp-dir.ts'
import { barriers, go, openScreens } from './kit.ts'

test('what differs is looked at and accepted, which is kept; a version before it comes back', async () => {
  const dataDir = tempDir()
  const agent = await serve(releasesAgent())
  const before = await startApp({ dataDir })
  await before.client.call('endpoint.add', { name: 'night-gpu', url: agent.url })
  await before.client.call('engine.adopt', { ...comfyFolder(), settings: { autoStart: false } })
  const sample = await before.client.call('workflow.sample', {})
  await before.stop()
  await keepPublication(dataDir, 'night-gpu', sample.id)
  const { page, client } = await openScreens({}, { dataDir })
  await go(page, '/publish')

  const publication = page.getByRole('region', { name: 'Version 3' })
  await publication.getByText('The endpoint makes something else than this machine.').waitFor()
  await publication.getByText('different', { exact: true }).first().waitFor()
  const drawn = publication.getByRole('img', { name: 'Difference' })
  await expect.poll(() => drawn.evaluate((img: HTMLImageElement) => img.naturalWidth)).toBe(640)
  await publication.getByText(/SSIM 0\.\d{4} · \d+% of the pixels differ · by \d+ of 255 at most/).waitFor()
  expect(await barriers(page)).toEqual([])
  await publication.getByRole('button', { name: 'Enlarge: Endpoint' }).click()
  await page.getByRole('dialog').getByRole('button', { name: 'Difference' }).click()
  await page.getByRole('dialog').getByRole('img', { name: 'Difference' }).waitFor()
  await page.keyboard.press('Escape')

  await publication.getByRole('button', { name: 'Publish all the same' }).click()
  await page.getByRole('dialog').getByRole('button', { name: 'Publish all the same' }).click()
  await publication.getByText('live', { exact: true }).waitFor()
  await publication.getByText(/accepted the difference on/).waitFor()
  const again = page.getByRole('region', { name: 'Publish to night-gpu' })
  await expect.poll(() => again.getByRole('checkbox', { name: 'Sample' }).isChecked()).toBe(true) // as the version before
  const versions = page.getByRole('region', { name: 'Versions' })
  await versions.getByRole('row', { name: /^3/ }).getByText('live', { exact: true }).waitFor()
  await versions
    .getByRole('row', { name: /^3/ })
    .getByText(/^accepted by /)
    .waitFor()

  await versions.getByRole('row', { name: /^2/ }).getByRole('button', { name: 'Roll back' }).click()
  await page.getByRole('dialog').getByRole('button', { name: 'Roll back' }).click()
  await versions.getByRole('row', { name: /^2/ }).getByText('live', { exact: true }).waitFor()
  await publication.getByText('served before', { exact: true }).waitFor()
  await versions.getByRole('row', { name: /^3/ }).getByRole('button', { name: 'Put live again' }).waitFor()
  await page.getByRole('button', { name: 'Close' }).waitFor() // of what was told: to be reached while it is there
  expect(await barriers(page)).toEqual([])
  const { rows } = await client.call('publish.versions', { endpoint: 'night-gpu' })
  expect(rows.map(({ version, state }) => [version, state.is])).toEqual([
    [3, 'retired'],
    [2, 'live'],
    [1, 'retired'],
  ])
})

test('without an endpoint, or without a ComfyUI, the page leads to where one is had', async () => {
  const { page, client } = await openScreens()
  await go(page, '/publish')
  await page.getByText('No endpoint to publish to').waitFor()
  await page.getByRole('link', { name: 'Add an endpoint' }).waitFor()
  await client.call('endpoint.add', { name: 'night-gpu', url: (await serve(releasesAgent())).url })
  await page.getByText('No ComfyUI here to publish').waitFor()
  await page.getByRole('link', { name: 'Set up a ComfyUI' }).waitFor()

  await client.call('workflow.sample', {})
  await client.call('engine.adopt', { ...comfyFolder(), settings: { autoStart: false } })
  const compose = page.getByRole('region', { name: 'Publish to night-gpu' })
  await compose.getByText('Publish to night-gpu for the first time').waitFor()
  await compose.getByRole('button', { name: 'See what would travel' }).click()
  await compose.getByRole('alert').waitFor() // what stands for a Python here cannot say what it has
  await compose.getByRole('button', { name: 'Try again' }).waitFor()
  expect(await barriers(page)).toEqual([])
})
