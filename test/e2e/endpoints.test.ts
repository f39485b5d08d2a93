import path from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { startAgent } from '../../agent/agent.ts'
import { ownPort } from '../kit/own-port.ts'
import { aPublishedDoor, published } from '../kit/published-kit.ts'
import { tempDir } from '../kit/temp-dir.ts'
import { barriers, copied, go, openScreens } from './kit.ts'

const KEY = 'sk_for_the_screens'

async function agentOn(port: number) {
  const agent = await startAgent({
    host: '127.0.0.1',
    port,
    names: [],
    origins: [],
    keys: [KEY],
    store: tempDir(),
    worker: 'rehearsal',
  })
  onTestFinished(() => agent.stop(0))
  return agent
}

test('an endpoint is added with its key, runs a batch, tells of itself, loses its agent and finds it again', async () => {
  const port = await ownPort()
  const agent = await agentOn(port)
  const { page, client, submit, ended } = await openScreens()
  await go(page, '/endpoints')
  await page.getByText('No endpoints yet').waitFor()
  expect(await barriers(page)).toEqual([])
  await page.getByRole('button', { name: 'Add an endpoint' }).last().click()
  const adding = page.getByRole('dialog')
  await adding.getByLabel('Address').fill(agent.url)
  await adding.getByLabel('Key').fill('sk_of_somebody_else')
  await adding.getByRole('button', { name: 'Test' }).click()
  await adding.getByRole('alert').getByText('does not take this key').waitFor()
  await adding.getByLabel('Key').fill(KEY)
  await adding.getByRole('button', { name: 'Test' }).click()
  await adding.getByText('This key may publish.').waitFor()
  await adding.getByLabel('Name').fill('night-gpu')
  expect(await barriers(page)).toEqual([])
  await page.keyboard.press('Enter')
  await adding.waitFor({ state: 'detached' })

  const card = page.getByRole('listitem', { name: 'night-gpu' })
  await card.getByText('Ready', { exact: true }).waitFor()
  const { batchId } = await submit({ workers: ['night-gpu'] })
  await ended(batchId)
  const rows = async () => (await client.call('endpoint.list', {})).rows
  await expect.poll(rows).toMatchObject([{ name: 'night-gpu', pace: { warmRuns: 1 }, inFlight: 0 }])
  expect(JSON.stringify(await rows())).not.toContain(KEY)

  await card.getByRole('button', { name: 'Use from a program' }).click()
  await card.getByRole('button', { name: 'Python' }).click()
  await card.getByRole('button', { name: 'Copy' }).click()
  expect(await copied(page, `URL = "${agent.url}/"`)).not.toContain(KEY)
  await card.getByRole('button', { name: 'Versions' }).click()
  await card.getByText('Nothing was published there yet.').waitFor()
  await card.getByRole('button', { name: 'Log' }).click()
  await card.getByText('ready', { exact: true }).first().waitFor()
  expect(await barriers(page)).toEqual([])

  await card.getByRole('button', { name: 'Actions for night-gpu' }).click()
  await page.getByRole('menuitem', { name: 'Settings…' }).click()
  await page.getByRole('dialog').getByLabel('Only for these checkpoints').fill('sdxl.safetensors\n')
  await page.getByRole('dialog').getByRole('button', { name: 'Save' }).click()
  await card.getByText('Only for sdxl.safetensors').waitFor()

  const pageDir = path.resolve(import.meta.dirname, '../../out/agent/form')
  const day = await aPublishedDoor([published()], pageDir, ['sk_publishes_there', 'sk_opens_forms run'])
  await client.call('endpoint.add', { name: 'day-gpu', url: day.url, key: 'sk_publishes_there' })
  const forms = page.getByRole('listitem', { name: 'day-gpu' })
  await forms.getByRole('button', { name: 'Forms' }).click()
  const form = forms.getByRole('listitem', { name: 'Postcard' })
  await form.getByRole('button', { name: 'Copy link' }).click()
  expect(await copied(page, '/form/')).toBe(`${day.url}/form/postcard`)
  expect(await form.getByRole('link', { name: 'Open form' }).getAttribute('href')).toBe(`${day.url}/form/postcard`)
  await form.getByRole('button', { name: 'Share with a key' }).click()
  const share = page.getByRole('dialog')
  await share.getByLabel('Key that may only run').fill('sk_publishes_there')
  await share.getByRole('button', { name: 'Make the link' }).click()
  await share.getByText('This key may also publish.').waitFor()
  await share.getByRole('button', { name: 'Think up a key' }).click()
  await share.getByText(/^sk_\w+ run$/).waitFor()
  await share.getByRole('button', { name: 'Make the link' }).click()
  await share.getByRole('alert').getByText('does not take this key').waitFor()
  await share.getByLabel('Key that may only run').fill('sk_opens_forms')
  await share.getByRole('button', { name: 'Make the link' }).click()
  await share.getByRole('button', { name: 'Copy link' }).click()
  expect(await barriers(page)).toEqual([])
  const opened = await page.context().newPage()
  await opened.goto(await copied(page, '#key='))
  await opened.getByRole('heading', { name: 'Postcard' }).waitFor()
  await opened.close()
  await page.keyboard.press('Escape')
  await client.call('endpoint.remove', { name: 'day-gpu' })

  await agent.stop(0)
  await client.call('endpoint.look', { name: 'night-gpu' })
  await card.getByText('No answer').waitFor()
  await agentOn(port)
  await card.getByRole('button', { name: 'Ask now' }).click()
  await card.getByText('Ready', { exact: true }).waitFor()

  await card.getByRole('button', { name: 'Actions for night-gpu' }).click()
  await page.getByRole('menuitem', { name: 'Remove' }).click()
  await page.getByRole('dialog').getByRole('button', { name: 'Remove' }).click()
  await page.getByText('No endpoints yet').waitFor()
})
