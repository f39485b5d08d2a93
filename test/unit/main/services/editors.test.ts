import { expect, onTestFinished, test } from 'vitest'
import type { Prompt } from '../../../../core/contract/comfyui.ts'
import { type JsonObject, parseJson, writeJson } from '../../../../core/contract/json.ts'
import { RehearsalServer } from '../../../../core/engine/rehearsal/server.ts'
import { aPicture, startApp } from '../../../kit/start-app.ts'
import { tempDir } from '../../../kit/temp-dir.ts'

/** The app with one ComfyUI, whose editor is asked for what it would open. */
async function withComfy() {
  const server = new RehearsalServer({ dir: tempDir() })
  await server.start()
  onTestFinished(() => server.stop())
  const app = await startApp()
  const { id: worker } = await app.client.call('worker.add', { url: server.url, name: 'desk' })
  return { ...app, server, worker, opened: (subject: object) => openedBy(app.client, subject) }
}
async function openedBy(client: Awaited<ReturnType<typeof startApp>>['client'], subject: object) {
  const { port, path, worker } = await client.call('editor.open', subject)
  const origin = `http://127.0.0.1:${port}`
  const entered = await fetch(origin + path, { redirect: 'manual' })
  const id = new URL(entered.headers.get('location')!, origin).searchParams.get('nightshift')
  const cookie = entered.headers.get('set-cookie')!.split(';')[0]!
  const file = (await (await fetch(`${origin}/nightshift/file/${id}`, { headers: { cookie } })).json()) as JsonObject
  return { worker, port, name: file.name, content: parseJson(String(file.json)) as JsonObject }
}
const editorWorkflow = {
  nodes: [
    {
      id: 1,
      type: 'EmptyImage',
      pos: [10, 20],
      widgets_values: [64, 48, 1, 0],
      outputs: [{ name: 'IMAGE', type: 'IMAGE', links: [1] }],
    },
    {
      id: 2,
      type: 'SaveImage',
      pos: [300, 20],
      widgets_values: ['a'],
      inputs: [{ name: 'images', type: 'IMAGE', link: 1 }],
    },
  ],
  links: [[1, 1, 0, 2, 0, 'IMAGE']],
  version: 0.4,
}
const base64 = (value: unknown) => Buffer.from(writeJson(value)).toString('base64')

test('a picture opens as what made it, where it was made, with its layout and the values used', async () => {
  const { client, ended, opened, worker } = await withComfy()
  const { id: workflowId } = await client.call('workflow.import', { name: 'w.json', base64: base64(editorWorkflow) })
  const { batchId } = await client.call('batch.submit', { workflowId, workers: [worker], sets: { '1.width': 80 } })
  await ended(batchId)
  const { rows } = await client.call('artifact.page', { batchId })
  const { name, content, worker: by } = await opened({ artifactId: rows[0]!.id })
  expect(by).toBe('desk')
  expect(rows[0]!.name).toContain(String(name))
  expect(content.nodes).toMatchObject([
    { id: 1, pos: [10, 20], widgets_values: [80, 48, 1, 0] },
    { id: 2, pos: [300, 20], widgets_values: ['a'] },
  ])
})

test('a job that waits opens with its values, laid out where nobody did, its files where the server has them', async () => {
  const { client, opened, worker } = await withComfy()
  await client.call('queue.pause', { how: 'after-current' })
  const bytes = Buffer.from(
    'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==',
    'base64',
  )
  const { ref } = await client.call('input.add', { name: 'cup.png', base64: bytes.toString('base64') })
  const prompt: Prompt = {
    '1': { class_type: 'LoadImage', inputs: { image: 'x.png' } },
    '2': { class_type: 'SaveImage', inputs: { filename_prefix: 'p', images: ['1', 0] } },
  }
  const { id: workflowId } = await client.call('workflow.import', { name: 'p.json', base64: base64(prompt) })
  const { batchId } = await client.call('batch.submit', { workflowId, workers: [worker], rows: [{ '1.image': ref }] })
  const { rows } = await client.call('job.page', { batchId })
  const { content } = await opened({ jobId: rows[0]!.id })
  expect(content.nodes).toMatchObject([
    { id: 1, widgets_values: [expect.stringMatching(/^nightshift\/.*\.png$/), 'image'] },
    { id: 2, widgets_values: ['p'] },
  ])
})

test('a workflow opens as it was dropped, or with the values of the form', async () => {
  const { client, opened } = await withComfy()
  const { id: workflowId } = await client.call('workflow.import', { name: 'w.json', base64: base64(editorWorkflow) })
  const whole = await opened({ workflowId })
  expect(whole).toMatchObject({ name: 'w', content: editorWorkflow })
  const { content, port } = await opened({ workflowId, sets: { '1.width': '96', '2.filename_prefix': '{a|b}' } })
  expect(content.nodes).toMatchObject([{ widgets_values: [96, 48, 1, 0] }, { widgets_values: ['{a|b}'] }])
  expect(port).toBe(whole.port)
})

test('without a ComfyUI it says that the rehearsal has no editor; one that is away is named', async () => {
  const { client, submit, ended } = await startApp()
  const { batchId } = await submit({}, aPicture)
  await ended(batchId)
  const { rows } = await client.call('artifact.page', { batchId })
  await expect(client.call('editor.open', { artifactId: rows[0]!.id })).rejects.toMatchObject({
    failure: { code: 'editor.none', remedy: expect.stringContaining('Workers') },
  })
  const server = new RehearsalServer({ dir: tempDir() })
  await server.start()
  const { id: workerId } = await client.call('worker.add', { url: server.url, name: 'desk' })
  await server.stop()
  await client.call('worker.enable', { id: workerId, enabled: false })
  await expect(client.call('editor.open', { artifactId: rows[0]!.id, workerId })).rejects.toMatchObject({
    failure: { code: 'worker.unreachable' },
  })
})
