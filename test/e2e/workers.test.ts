import path from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { RehearsalServer } from '../../core/engine/rehearsal/server.ts'
import { comfyFolder } from '../kit/comfy-folder.ts'
import { eventually } from '../kit/eventually.ts'
import { tempDir } from '../kit/temp-dir.ts'
import { barriers, go, openScreens } from './kit.ts'

const fakeSsh = {
  programs: [[process.execPath, path.join(import.meta.dirname, '..', 'kit', 'fake-ssh.mjs')]] as const,
  env: process.env,
  pace: { readyLookMs: 20, watchEveryMs: 100, firstPauseMs: 50, longestPauseMs: 100 },
}

test('this machine’s ComfyUI is shared with a key, added on another machine, looked into, and shut out again', async () => {
  const there = await openScreens()
  await there.client.call('engine.adopt', comfyFolder())
  await there.client.call('engine.start', { name: 'local' })
  await there.client.call('settings.set', { share: { on: false, host: '127.0.0.1', port: 0, names: [] } })
  await go(there.page, '/workers')
  const share = there.page.getByRole('region', { name: 'Share this machine’s ComfyUIs' })
  await share.getByRole('switch').click()
  await share.getByText('local is ready.').waitFor()
  const url = (await share.locator('code').first().textContent())!
  await share.getByText('Nobody has a key yet').waitFor()
  await share.getByRole('button', { name: 'Make a key' }).click()
  const dialog = there.page.getByRole('dialog')
  await dialog.getByLabel('For whom').fill('laptop')
  await there.page.keyboard.press('Enter')
  const token = (await dialog.locator('code').textContent())!
  expect(token).toMatch(/^ns_/)
  expect(await barriers(there.page)).toEqual([])
  await there.page.keyboard.press('Escape')
  await share.getByText('laptop').waitFor()
  expect(await share.textContent()).not.toContain(token)

  const here = await openScreens()
  const { page } = here
  await go(page, '/workers')
  await page.getByRole('button', { name: 'Add a ComfyUI' }).first().click()
  const adding = page.getByRole('dialog')
  await adding.getByRole('button', { name: 'From another Nightshift' }).click()
  await adding.getByLabel('Address').fill(url)
  await adding.getByRole('button', { name: 'Test' }).click()
  await adding.getByRole('alert').getByText('refused the connection').waitFor()
  await adding.getByLabel('Key', { exact: true }).fill(token)
  await adding.getByRole('button', { name: 'Test' }).click()
  await adding.getByText('It shares 1 ComfyUI.').waitFor()
  expect(await barriers(page)).toEqual([])
  await adding.getByRole('button', { name: 'Add', exact: true }).click()
  await adding.waitFor({ state: 'detached' })
  const card = page.getByRole('listitem', { name: '127.0.0.1-local' })
  await card.getByText('Ready').waitFor()
  await card.getByText('Started and stopped over there').waitFor()
  await card.getByRole('button', { name: 'Models and custom nodes' }).click()
  await card.getByText(/\d+ node classes/).waitFor()
  await card.getByText('It has none').waitFor()
  const { batchId } = await here.submit({ workers: ['127.0.0.1-local'] })
  await here.ended(batchId)

  await share.getByRole('button', { name: 'Revoke' }).click()
  await there.page.getByRole('dialog').getByRole('button', { name: 'Revoke' }).click()
  await share.getByText('Nobody has a key yet').waitFor()
  await card.getByText('No answer').waitFor()
})

test('workflows of other programs are taken once it is switched on, by a key that ends, from pages that are named', async () => {
  const { page, client } = await openScreens()
  await client.call('settings.set', {
    taskDoor: { on: false, host: '127.0.0.1', port: 0, names: [], origins: [] },
  })
  await go(page, '/workers')
  const door = page.getByRole('region', { name: 'Run workflows for other programs' })
  await door.getByRole('switch').click()
  await door.getByText('Run on rehearsal.').waitFor()
  let url = (await door.locator('code').first().textContent())!
  await door.getByText('No program has a key yet').waitFor()
  await door.getByRole('button', { name: 'Make a key' }).click()
  const dialog = page.getByRole('dialog')
  await dialog.getByLabel('For whom').fill('script')
  await dialog.getByLabel('It opens').click()
  await page.getByRole('option', { name: 'for 7 days' }).click()
  await dialog.getByRole('button', { name: 'Make' }).click()
  const token = (await dialog.locator('code').textContent())!
  await page.keyboard.press('Escape')
  await door.getByText(/until/).waitFor()
  expect(await door.textContent()).not.toContain(token)
  expect(await barriers(page)).toEqual([])
  const ask = (origin?: string) =>
    fetch(`${url}/api/tasks`, { headers: { authorization: `Bearer ${token}`, ...(origin && { origin }) } })
  expect([(await ask()).status, (await ask('https://page.example')).status]).toEqual([200, 403])

  await door.getByRole('button', { name: 'Change…' }).click()
  await dialog.getByLabel('Pages that may ask').fill('page.example')
  await dialog.getByText('Addresses such as https://page.example').waitFor()
  await dialog.getByLabel('Pages that may ask').fill('https://page.example')
  await dialog.getByRole('button', { name: 'Save' }).click()
  await dialog.waitFor({ state: 'detached' })
  // it was opened anew, maybe at another port
  await eventually(async () => {
    url = (await client.call('taskDoor.state', {})).url!
    return (await ask('https://page.example')).status === 200
  })
  await door.getByRole('button', { name: 'Revoke' }).click()
  await page.getByRole('dialog').getByRole('button', { name: 'Revoke' }).click()
  await door.getByText('No program has a key yet').waitFor()
  await door.getByRole('switch').click()
  await door.getByText('Taken at').waitFor({ state: 'detached' })
})

test('a ComfyUI behind ssh is added by fields; what ssh does not like is said with what to do', async () => {
  const comfyui = new RehearsalServer({ dir: tempDir(), stepMs: 0 })
  await comfyui.start()
  onTestFinished(() => comfyui.stop())
  const { port } = new URL(comfyui.url)
  const { page, client } = await openScreens({}, { ssh: fakeSsh })
  await go(page, '/workers')
  await page.getByRole('button', { name: 'Add a ComfyUI' }).first().click()
  const adding = page.getByRole('dialog')
  await adding.getByRole('button', { name: 'Over SSH' }).click()
  await adding.getByLabel('Machine').fill('stranger')
  await adding.getByLabel('User').fill('me')
  await adding.getByLabel('ComfyUI’s port').fill(port)
  await page.keyboard.press('Enter')
  await adding.getByText('ssh -l me stranger exit').waitFor()
  await adding.getByLabel('Machine').fill('gpu')
  await adding.getByLabel('SSH port').fill('99999')
  await adding.getByText('A port is a number').waitFor()
  await adding.getByLabel('SSH port').fill('2222')
  await adding.getByRole('button', { name: 'Add', exact: true }).click()
  await adding.waitFor({ state: 'detached' })
  await page.getByText(`me@gpu:2222 over ssh, ComfyUI’s port ${port}`).waitFor()
  await eventually(async () =>
    (await client.call('worker.list', {})).rows.some(({ id, health }) => id === 'gpu' && health.is === 'ready'),
  )
})
