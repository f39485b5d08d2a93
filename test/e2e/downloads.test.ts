import { createHash, randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import path from 'node:path'
import { expect, test } from 'vitest'
import type { DownloadWanted } from '../../core/contract/download.ts'
import { systemClock } from '../../main/services/clock.ts'
import { openDatabase } from '../../main/services/database/open.ts'
import { Downloads } from '../../main/services/downloads.ts'
import { KeptSettings } from '../../main/services/settings.ts'
import { eventually } from '../kit/eventually.ts'
import { hostOf } from '../kit/network-kit.ts'
import { serve } from '../kit/serve.ts'
import { tempDir } from '../kit/temp-dir.ts'
import { barriers, go, openScreens } from './kit.ts'

const bytes = randomBytes(24_000_000)
const sha256 = createHash('sha256').update(bytes).digest('hex')

/** Gives ranges of one file, slowly. */
const slowly =
  (everyMs: number) =>
  async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const [, from = '0', to = ''] = /bytes=(\d+)-(\d*)/.exec(request.headers.range ?? '') ?? []
    const part = bytes.subarray(Number(from), to === '' ? bytes.length : Number(to) + 1)
    response.writeHead(request.headers.range ? 206 : 200, {
      'content-length': part.length,
      etag: '"one"',
      ...(request.headers.range && {
        'content-range': `bytes ${from}-${Number(from) + part.length - 1}/${bytes.length}`,
      }),
    })
    for (let at = 0; at < part.length && !response.destroyed; at += 65_536) {
      response.write(part.subarray(at, at + 65_536))
      await new Promise((later) => setTimeout(later, everyMs))
    }
    response.end()
  }

/** A data folder in which these were asked for before. */
function waiting(...wanted: ((dir: string) => DownloadWanted)[]): string {
  const dataDir = tempDir()
  const database = openDatabase(path.join(dataDir, 'nightshift.db'))
  const settings = new KeptSettings(database)
  const downloads = new Downloads({
    database,
    clock: systemClock,
    settings,
    dispatcher: () => undefined as never,
    sourcesOf: () => Promise.reject(new Error('not started')),
  })
  for (const each of wanted) downloads.add(each(dataDir))
  settings.set({ downloads: { ...settings.get().downloads, bytesPerSecond: 250_000 } })
  database.close()
  return dataDir
}
const fileOf =
  (name: string, sources: string[], also: Partial<DownloadWanted> = {}) =>
  (dir: string): DownloadWanted => ({
    name,
    kind: 'model',
    to: path.join(dir, 'models', 'checkpoints', name),
    sources: sources.map((url) => ({ hub: 'url', url })),
    sizeBytes: bytes.length,
    sha256,
    ...also,
  })

/** An hour that is far from this one. */
const hour = `${(new Date().getHours() + 12) % 24}`.padStart(2, '0')

test('downloads are seen live by source, paused, moved by keys, and end in a list of their own', async () => {
  const [one, two] = [await serve(slowly(2)), await serve(slowly(4))]
  const dataDir = waiting(
    fileOf('painter.safetensors', [`${one.url}/a`, `${two.url}/a`]),
    fileOf('sketcher.safetensors', [`${one.url}/b`], { sha256: null, startAt: `${hour}:00`, stopAt: `${hour}:01` }),
    fileOf('lost.safetensors', [`${one.url}/c`], { sha256: 'a'.repeat(64) }),
  )
  const { page } = await openScreens({}, { dataDir })
  await go(page, '/downloads')
  const card = page.getByRole('listitem', { name: 'painter.safetensors' })
  await card.getByRole('button', { name: /2 sources/ }).click()
  await card
    .getByText(`${hostOf(two.url)}`)
    .first()
    .waitFor()
  await card.getByRole('img', { name: /connection/ }).waitFor()
  expect(await barriers(page)).toEqual([])
  await card.focus()
  await page.keyboard.press(' ')
  await card.getByText('paused').waitFor()
  const order = () =>
    page.getByRole('list', { name: 'On their way' }).getByRole('heading', { level: 2 }).allTextContents()
  const before = await order()
  await card.focus()
  await page.keyboard.press('Alt+ArrowDown')
  await eventually(
    async () => (await order()).indexOf('painter.safetensors') === before.indexOf('painter.safetensors') + 1,
  )
  await card.getByRole('button', { name: 'Go on with painter.safetensors' }).click()
  await page.getByRole('button', { name: 'Limits and hours' }).click()
  await page.getByLabel('Most in all, MB/s').fill('0')
  expect(await page.getByRole('button', { name: 'Save' }).isDisabled()).toBe(true)
  await page.getByLabel('Most in all, MB/s').fill('')
  await page.getByRole('button', { name: 'Save' }).click()
  const ended = page.getByRole('region', { name: 'Ended' })
  await ended.getByText('painter.safetensors').first().waitFor()
  expect(existsSync(path.join(dataDir, 'models', 'checkpoints', 'painter.safetensors'))).toBe(true)

  const failed = page.getByRole('listitem', { name: 'lost.safetensors' })
  await failed.getByRole('alert').waitFor()
  await failed.getByRole('link', { name: 'Test the mirrors' }).waitFor()
  await failed.getByRole('button', { name: 'Cancel lost.safetensors' }).click()
  await page.getByRole('dialog').getByRole('button', { name: 'Cancel the download' }).click()
  await ended.getByText('cancelled').waitFor()
  await ended.getByRole('button', { name: 'Clear the list' }).click()
  await ended.waitFor({ state: 'detached' })

  await page.getByRole('button', { name: 'Hold all' }).click()
  await page.getByText('All downloads are held').waitFor()
})

test('an empty list says what will be there, and leads to the mirrors', async () => {
  const { page } = await openScreens()
  await page.getByRole('navigation').getByRole('link', { name: 'Downloads' }).click()
  await page.getByText('Nothing is on its way').waitFor()
  expect(await barriers(page)).toEqual([])
  await page.getByRole('main').getByRole('link', { name: 'Test the mirrors' }).click()
  await page.getByRole('heading', { name: 'Mirrors' }).waitFor()
})

test('mirrors are measured, chosen, added; a token is checked and kept, a proxy refused that is none', async () => {
  const small = randomBytes(200_000)
  const known = createHash('sha256').update(small).digest('hex')
  const official = await serve((request, response) => {
    if (request.url !== '/whoami') return void response.end(small)
    const right = request.headers.authorization === 'Bearer hf_the_right_token'
    response.writeHead(right ? 200 : 401).end(JSON.stringify({ name: 'ann' }))
  })
  const near = await serve((_, response) => void response.end(small))
  const lies = await serve((_, response) => void response.end('something else'))
  const dataDir = tempDir()
  mkdirSync(dataDir, { recursive: true })
  const kinds = [
    'huggingface',
    'modelscope',
    'civitai',
    'git',
    'github',
    'lists',
    'python-index',
    'torch-index',
    'python-builds',
  ]
  const check = { is: 'file', url: `${official.url}/known`, sha256: known }
  const kind = { official: official.url, standsIn: [hostOf(official.url)], checks: [check] }
  writeFileSync(
    path.join(dataDir, 'mirrors.json'),
    JSON.stringify({
      kinds: Object.fromEntries(
        kinds.map((name) => [name, name === 'huggingface' ? kind : { ...kind, standsIn: ['none.invalid'] }]),
      ),
      accounts: {
        huggingface: {
          hosts: [hostOf(official.url)],
          page: 'https://hub.invalid/tokens',
          check: `${official.url}/whoami`,
        },
      },
      mirrors: [lies, near].map(({ url }) => ({ standsInFor: hostOf(official.url), pattern: `${url}{path}` })),
    }),
  )
  const { page } = await openScreens({}, { dataDir })
  await go(page, '/mirrors')
  const hub = page.getByRole('region', { name: 'Hugging Face' })
  await hub.getByRole('button', { name: 'Test' }).click()
  const row = (url: string) => hub.getByRole('row', { name: new RegExp(`${hostOf(url)}(?!\\d)`) })
  await row(near.url).getByText('right content').waitFor()
  await row(lies.url).getByText('sends something else').waitFor()
  expect(await barriers(page)).toEqual([])
  await hub.getByRole('combobox').click()
  await page.getByRole('option', { name: hostOf(near.url) }).click()
  await row(near.url).getByText('asked first').waitFor()
  await hub.getByRole('button', { name: 'Add' }).click()
  await page.getByLabel('Address', { exact: true }).fill(near.url.replace('127.0.0.1', 'localhost'))
  await page.getByLabel('Name (optional)').fill('Mine')
  await page.getByRole('button', { name: 'Add and test' }).click()
  const mine = hub.getByRole('row', { name: 'Mine' })
  await mine.getByText('right content').waitFor()
  await mine.getByRole('button', { name: 'More for Mine' }).click()
  await page.getByRole('menuitem', { name: 'Remove' }).click()
  await mine.waitFor({ state: 'detached' })

  const token = page.getByRole('listitem', { name: 'Hugging Face' })
  await token.getByLabel('Token for Hugging Face').fill('hf_some_other_token')
  await token.getByRole('button', { name: 'Check and keep' }).click()
  await page.getByText('does not accept this token').first().waitFor()
  await token.getByLabel('Token for Hugging Face').fill('hf_the_right_token')
  await token.getByRole('button', { name: 'Check and keep' }).click()
  await token.getByText('Token of ann').waitFor()
  await row(near.url)
    .getByRole('button', { name: /More for/ })
    .click()
  await page.getByRole('menuitem', { name: 'Give it your token' }).click()
  await page.getByRole('dialog').getByRole('button', { name: 'Give it your token' }).click()
  await row(near.url).getByText('has your token').waitFor()

  await page.getByRole('button', { name: 'My own' }).click()
  await page.getByLabel('Address', { exact: true }).fill('ftp://x.invalid')
  await page.getByRole('button', { name: 'Save' }).click()
  await page.getByText('is no address of a proxy').first().waitFor()
  await page.getByLabel('Address', { exact: true }).fill('socks5://127.0.0.1:7890')
  await page.getByRole('button', { name: 'Save' }).click()
  await page.getByText('The proxy in use is socks5://127.0.0.1:7890.').waitFor()
})
