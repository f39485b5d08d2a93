import { createHash } from 'node:crypto'
import sharp from 'sharp'
import { expect, test } from 'vitest'
import type { Prompt } from '../../core/contract/comfyui.ts'
import { findParameters } from '../../core/domain/workflow/parameters.ts'
import { fillPublished } from '../../core/domain/workflow/published.ts'
import { bundledDefinitions } from '../../core/engine/definitions.ts'
import { KEY } from '../kit/agent-kit.ts'
import { aPublishedDoor, published } from '../kit/published-kit.ts'

const headers = { authorization: `Bearer ${KEY}` }
const post = async (url: string, body: string | Buffer, more: Record<string, string> = {}, method = 'POST') => {
  const reply = await fetch(url, { method, headers: { ...headers, ...more }, body: new Uint8Array(Buffer.from(body)) })
  return { status: reply.status, json: await reply.json() }
}

test('a published workflow tells its form and no prompt, and is run by the values of it', async () => {
  const { url } = await aPublishedDoor([published()])
  const told = await (await fetch(`${url}/api/workflows`, { headers })).json()
  expect(told.workflows).toMatchObject([
    { id: 'postcard', name: 'Postcard', panel: { params: [{ title: 'Photo' }, { title: 'Width' }, { title: 'Cut' }] } },
  ])
  expect(told.workflows[0]).not.toHaveProperty('prompt')
  const photo = await sharp({ create: { width: 40, height: 30, channels: 3, background: '#c33' } })
    .png()
    .toBuffer()
  const name = `${createHash('sha256').update(photo).digest('hex')}.png`
  expect((await post(`${url}/api/inputs/${name}`, photo, {}, 'PUT')).status).toBe(201)
  const made = await post(
    `${url}/api/workflows/postcard`,
    JSON.stringify({ values: { Photo: `store:${name}`, '2.width': 128, Cut: 'center' } }),
  )
  expect(made.status).toBe(200)
  const picture = sharp(Buffer.from(made.json[3].results[0], 'base64'))
  expect(await picture.metadata()).toMatchObject({ width: 128, height: 48 })
  expect(await picture.raw().toBuffer()).toSatisfy((pixels: Buffer) => pixels[0] === 0xcc && pixels[1] === 0x33)
})

test('choices in its texts are made anew for each task, and the same way when one is asked for twice', async () => {
  const prompt = {
    '1': { class_type: 'EmptyImage', inputs: { width: 16, height: 16, batch_size: 1, color: 0 } },
    '2': { class_type: 'SaveImage', inputs: { filename_prefix: 'x', images: ['1', 0] } },
    '3': { class_type: 'CheckpointLoaderSimple', inputs: { ckpt_name: 'sd.safetensors' } },
    '4': { class_type: 'CLIPTextEncode', inputs: { text: '{warm|cold} lanterns', clip: ['3', 1] } },
  } satisfies Prompt
  const parameters = findParameters(prompt, bundledDefinitions().definitions, null)
  const workflow = published({ prompt, panel: null, parameters })
  const said = (chance: number) => fillPublished(workflow, {}, chance).prompt['4']!.inputs.text
  expect(new Set(Array.from({ length: 20 }, (_, chance) => said(chance)))).toEqual(
    new Set(['warm lanterns', 'cold lanterns']),
  )
  expect(said(7)).toBe(said(7))
  const { url } = await aPublishedDoor([workflow])
  const ask = (id: string) => post(`${url}/api/workflows/postcard`, '{"values":{}}', { 'task-id': id })
  const once = await ask('once')
  expect(once.status).toBe(200)
  expect(await ask('once')).toEqual(once)
})

test.each([
  ['a value that does not fit', { Photo: 'a.png', Width: 4096 }, 422, 'agent.bad-value', 'Width'],
  ['a choice there is not', { Photo: 'a.png', Cut: 'left' }, 422, 'agent.bad-value', 'Cut'],
  ['what must be given and is not', { Photo: '' }, 422, 'agent.bad-value', 'Photo'],
  ['what is not on the form', { '2.height': 100000 }, 400, 'app.bad-request', '2.height'],
])('%s is refused in words, and nothing is run', async (_, values, status, code, said) => {
  const { url, server } = await aPublishedDoor([published()])
  const reply = await post(`${url}/api/workflows/postcard`, JSON.stringify({ values }))
  expect(reply).toMatchObject({ status, json: { code } })
  expect(reply.json.error.message).toContain(said)
  const history = await (await fetch(`${server.url}/history`)).json()
  expect(history).toEqual({})
})

test('without a form of its own the workflow’s shown values are it; other names, bodies and keys are refused', async () => {
  const { url } = await aPublishedDoor([published({ panel: null })])
  const one = await (await fetch(`${url}/api/workflows/postcard`, { headers })).json()
  expect(one.panel.params.map(({ id, key }: { id: string; key: string }) => `${id}.${key}`)).toContain('2.width')
  expect((await post(`${url}/api/workflows/other`, '{"values":{}}')).status).toBe(404)
  expect((await post(`${url}/api/workflows/postcard`, '[]')).status).toBe(400)
  expect((await fetch(`${url}/api/workflows`)).status).toBe(401)
})
