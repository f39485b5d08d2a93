import { expect, test } from 'vitest'
import { app } from '../../core/contract/app.ts'
import { comfyFolder } from '../kit/comfy-folder.ts'
import { barriers, go, openScreens } from './kit.ts'

test('a ComfyUI of this machine is watched, searched, stopped and started; what fails says why and offers a remedy', async () => {
  const { page, client } = await openScreens()
  await go(page, '/engine')
  await page.getByText('No ComfyUI of this machine is run yet').waitFor()
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
