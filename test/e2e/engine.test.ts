import { mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { app } from '../../core/contract/app.ts'
import { writeLock } from '../../core/engine/install/lock.ts'
import { comfyFolder } from '../kit/comfy-folder.ts'
import { installedComfy } from '../kit/installed-comfy.ts'
import { barriers, go, openScreens } from './kit.ts'

test('a ComfyUI of this machine is watched, searched, stopped and started; what fails says why and offers a remedy', async () => {
  const { page, client } = await openScreens()
  await go(page, '/engine')
  await page.getByText('No ComfyUI runs here yet').waitFor()
  await page.getByRole('region', { name: 'This machine', exact: true }).waitFor()
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

test('a script in ComfyUI’s own editor that tries every procedure of ours, with our cookie, is refused every time', async () => {
  const { page, client, context, origin } = await openScreens()
  await client.call('engine.adopt', comfyFolder())
  await go(page, '/engine')
  const card = page.getByRole('listitem', { name: 'local' })
  const opening = context.waitForEvent('page')
  await card.getByRole('button', { name: 'Open ComfyUI' }).click()
  const editor = await opening
  await editor.waitForLoadState()
  expect(new URL(editor.url()).port).not.toBe(new URL(origin).port)

  const names = Object.entries(app).flatMap(([name, { kind }]) => (kind === 'event' ? [] : [name]))
  const tried = await editor.evaluate(
    async ({ origin, names }) => {
      const reached: string[] = []
      for (const name of names)
        for (const mode of ['cors', 'no-cors'] as const) {
          const url = `${origin}/rpc/${name}?${mode}`
          const headers = mode === 'cors' ? { 'content-type': 'application/json' } : undefined
          const reply = await fetch(url, { method: 'POST', mode, credentials: 'include', headers, body: '{}' }).catch(
            () => null,
          )
          if (reply?.ok) reached.push(url)
        }
      const socket = new WebSocket(`${origin.replace('http', 'ws')}/events`)
      const opened = await new Promise((resolve) => {
        socket.onopen = () => resolve(true)
        socket.onerror = () => resolve(false)
      })
      return { reached, opened }
    },
    { origin, names },
  )
  expect(tried).toEqual({ reached: [], opened: false })
  expect(names.length).toBeGreaterThan(40)
  // what the server itself says to such a request, which a page may not see
  const cookie = (await context.cookies()).map(({ name, value }) => `${name}=${value}`).join('; ')
  const headers = { cookie, origin: new URL(editor.url()).origin, 'content-type': 'application/json' }
  const ask = async (name: string, more = {}) =>
    (await fetch(`${origin}/rpc/${name}`, { method: 'POST', headers: { ...headers, ...more }, body: '{}' })).status
  expect(await ask('engine.list', { origin })).toBe(200)
  expect(new Set(await Promise.all(names.map((name) => ask(name))))).toEqual(new Set([403]))
  expect((await client.call('engine.list', {})).rows).toHaveLength(1)
})

test('what an installation would fetch is shown before it is begun', async () => {
  const { page, client } = await openScreens()
  await go(page, '/engine')
  await page.getByRole('button', { name: 'Install ComfyUI…' }).click()
  const plan = page.getByRole('region', { name: 'Install ComfyUI', exact: true })
  await plan.getByText(/to fetch and .* on the disk/).waitFor()
  await plan.getByRole('switch', { name: 'For the processor, not a graphics card' }).click()
  await plan.getByText('torch (cpu), torchvision, torchaudio').waitFor()
  expect(await barriers(page)).toEqual([])
  await plan.getByRole('button', { name: 'Not now' }).click()
  await expect.poll(() => plan.count()).toBe(0)
  expect((await client.call('engine.installs', {})).rows).toEqual([])
})

test('an installed ComfyUI: its versions, back with a press, a check-up that mends, models of another, diagnostics; what removes asks first', async () => {
  const { dataDir, current } = await installedComfy()
  await writeLock(current)
  const other = comfyFolder()
  mkdirSync(path.join(other.dir, 'models', 'checkpoints'), { recursive: true })
  writeFileSync(path.join(other.dir, 'models', 'checkpoints', 'sd15.safetensors'), Buffer.alloc(4096))
  const { page, client } = await openScreens({}, { dataDir })
  await go(page, '/engine')
  const card = page.getByRole('listitem', { name: 'local' })
  await card.getByText('ComfyUI 0.33.0').first().waitFor()

  await card.getByRole('button', { name: 'Versions' }).click()
  const versions = card.getByRole('region', { name: 'Versions' })
  await versions.getByRole('row', { name: /0\.33\.0 .*Runs now/ }).waitFor()
  expect(await barriers(page)).toEqual([])
  await versions
    .getByRole('row', { name: /0\.32\.0/ })
    .getByRole('button', { name: 'Go back to this' })
    .click()
  await page.getByRole('dialog').getByRole('button', { name: 'Go back to this' }).click()
  await versions.getByRole('row', { name: /0\.32\.0 .*Runs now/ }).waitFor()
  await versions
    .getByRole('row', { name: /0\.33\.0/ })
    .getByRole('button', { name: 'Go back to this' })
    .press('Enter')
  await page.getByRole('dialog').getByRole('button', { name: 'Go back to this' }).press('Enter')
  await versions.getByRole('row', { name: /0\.33\.0 .*Runs now/ }).waitFor()

  await card.getByRole('button', { name: 'Check-up' }).click()
  const doctor = card.getByRole('region', { name: 'Check-up' })
  await doctor.getByText('All 1 packages are as they were installed.').waitFor()
  writeFileSync(path.join(current, 'venv/lib/python3.12/site-packages/tinydep/__init__.py'), '')
  await doctor.getByRole('button', { name: 'Check again' }).click()
  await doctor.getByText('The package tinydep 1.5.0 is damaged: tinydep/__init__.py').waitFor()
  expect(await barriers(page)).toEqual([])
  const saving = page.waitForEvent('download')
  await doctor.getByRole('button', { name: 'Save diagnostics' }).click()
  expect((await saving).suggestedFilename()).toMatch(/^nightshift-local-.*\.zip$/)
  await doctor.getByRole('button', { name: 'Mend' }).click()
  await page.getByRole('dialog').getByRole('button', { name: 'Mend' }).click()
  // there is nothing here that it could be installed from, so it fails, and what ran runs on
  const repair = page.getByRole('region', { name: 'Repairing local' })
  await repair.getByRole('alert').waitFor()
  await repair.getByRole('button', { name: 'Go on' }).waitFor()
  await repair.getByRole('button', { name: 'Log' }).click()
  await repair.getByRole('log').waitFor()
  expect(await barriers(page)).toEqual([])

  await client.call('engine.shareModels', { name: 'local', dir: other.dir, use: true })
  await card.getByRole('button', { name: 'Models of another' }).click()
  const models = card.getByRole('region', { name: 'Models of another' })
  await models.getByText(other.dir).waitFor()
  await models.getByRole('button', { name: 'No longer use' }).click()
  await expect.poll(async () => (await client.call('engine.list', {})).rows[0]?.settings.modelsOf).toEqual([])

  await card.getByRole('button', { name: 'Actions for local' }).click()
  await page.getByRole('menuitem', { name: 'Remove' }).click()
  await page.getByRole('dialog').getByText('Models, pictures, workflows and custom nodes stay').waitFor()
  await page.getByRole('dialog').getByRole('button', { name: 'Cancel' }).click()
  await card.waitFor()
})
