import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import type { Prompt } from '../../core/contract/comfyui.ts'
import { FailureError } from '../../core/contract/errors.ts'
import { RehearsalServer } from '../../core/engine/rehearsal/server.ts'
import { eventually } from '../kit/eventually.ts'
import { startApp } from '../kit/start-app.ts'
import { tempDir } from '../kit/temp-dir.ts'

const KEY = 'comfyui-3f9d0c7b5a1e4d2c8b6a'
const paidPicture: Prompt = {
  '1': {
    class_type: 'FluxProUltraImageNode',
    inputs: { prompt: 'a cat', prompt_upsampling: false, seed: 1, aspect_ratio: '1:1', raw: false },
  },
  '2': { class_type: 'SaveImage', inputs: { filename_prefix: 'paid', images: ['1', 0] } },
}
const filesUnder = (dir: string) =>
  readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.join(entry.parentPath, entry.name))
const holding = (dir: string, text: string) =>
  filesUnder(dir).filter((file) => {
    const bytes = readFileSync(file)
    return bytes.includes(text) || bytes.includes(Buffer.from(text).toString('base64'))
  })

test('paid nodes run only where they are allowed; the key goes to the server, and into nothing we keep or tell', async () => {
  const server = new RehearsalServer({ dir: tempDir(), stepMs: 0 })
  await server.start()
  const app = await startApp()
  try {
    const { client } = app
    const { id: gpu } = await client.call('worker.add', { url: server.url, name: 'gpu' })
    expect(await client.call('account.get', {})).toEqual({ isSet: false })
    expect(await client.call('account.set', { key: ` ${KEY}\n` })).toEqual({ isSet: true })
    await expect(client.call('account.set', { key: 'two words' })).rejects.toMatchObject({
      failure: { code: 'app.bad-request' },
    })

    const refusal = await app.submit({ workers: [gpu] }, paidPicture).catch((cause) => cause)
    expect(refusal).toBeInstanceOf(FailureError)
    expect(refusal.failure).toMatchObject({ code: 'prompt.paid', facts: { classTypes: 'FluxProUltraImageNode' } })
    expect(server.submissions).toBe(0)

    // the first fails, and is told and kept as well
    server.onNext('error')
    const { batchId } = await app.submit({ workers: [gpu], allowPaid: true, repeat: 2 }, paidPicture)
    const batch = await eventually(async () => {
      const { counts } = await client.call('batch.get', { id: batchId })
      return counts.done + counts.failed === 2 && counts
    })
    expect(batch).toMatchObject({ done: 1, failed: 1 })
    const history = await (await fetch(new URL('history', server.url))).text()
    expect(history.match(new RegExp(`"api_key_comfy_org":"${KEY}"`, 'g'))).toHaveLength(2)

    const told = [
      client.call('job.page', { batchId }),
      client.call('batch.get', { id: batchId }),
      client.call('batch.report', { id: batchId, as: 'json' }),
      client.call('account.get', {}),
      client.call('worker.list', {}),
    ]
    expect(JSON.stringify(await Promise.all(told))).not.toContain(KEY)
    const { rows } = await client.call('artifact.page', { batchId })
    expect(rows).toHaveLength(1)
    expect(JSON.stringify(await client.call('artifact.get', { id: rows[0]!.id }))).not.toContain(KEY)
  } finally {
    await app.stop()
    await server.stop()
  }
  expect(filesUnder(app.dataDir).length).toBeGreaterThan(5)
  expect(holding(app.dataDir, 'a cat').length).toBeGreaterThan(1) // the search finds what is there
  expect(holding(app.dataDir, KEY)).toEqual([])
})

test('a prompt without paid nodes, and the rehearsal, are not given the key; a removed key is given to nobody', async () => {
  const server = new RehearsalServer({ dir: tempDir(), stepMs: 0 })
  await server.start()
  const app = await startApp()
  try {
    const { client } = app
    await client.call('account.set', { key: KEY })
    const { id: gpu } = await client.call('worker.add', { url: server.url, name: 'gpu' })
    await app.ended((await app.submit({ workers: [gpu] })).batchId)
    const { batchId } = await app.submit({ workers: ['rehearsal'] }, paidPicture)
    await app.ended(batchId)
    await client.call('account.remove', {})
    await app.ended((await app.submit({ workers: [gpu], allowPaid: true }, paidPicture)).batchId)
    expect(server.submissions).toBe(2)
    expect(await (await fetch(new URL('history', server.url))).text()).not.toContain('api_key_comfy_org')
  } finally {
    await app.stop()
    await server.stop()
  }
})
