import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { writeJson } from '../../core/contract/json.ts'
import { Inspection } from '../../core/contract/workflow.ts'
import { RehearsalServer } from '../../core/engine/rehearsal/server.ts'
import { eventually } from '../kit/eventually.ts'
import { gives, listFarm } from '../kit/list-farm.ts'
import { startApp } from '../kit/start-app.ts'
import { tempDir } from '../kit/temp-dir.ts'

const GIB = 1024 ** 3
const workflow = {
  nodes: [
    { id: 1, type: 'CheckpointLoaderSimple', widgets_values: ['SD/Dream.safetensors'] },
    { id: 2, type: 'FaceDetailer', widgets_values: [], properties: { cnr_id: 'impact-pack' } },
    { id: 3, type: 'EmptyLatentImage', widgets_values: [512, 512, 1] },
  ],
  links: [],
}

/** A folder whose mirrors lead to a list of ours. */
async function aFolder() {
  const map = { 'https://github.com/i/Impact-Pack': [['FaceDetailer'], { title_aux: 'Impact' }] }
  const { addresses } = await listFarm(gives(writeJson(map)))
  const dataDir = tempDir()
  const lists = { 'extension-node-map': { url: addresses[0]!.href, licence: 'GPL-3.0' } }
  writeFileSync(path.join(dataDir, 'mirrors.json'), writeJson({ lists }))
  return dataDir
}

/** A ComfyUI with one checkpoint, as far as a look at it goes. */
const aComfyui = (definitions: object) =>
  listFarm((request, response) => {
    const answers: Record<string, unknown> = {
      '/system_stats': { system: { os: 'linux', python_version: '3', comfyui_version: '0.33.0' }, devices: [] },
      '/prompt': { exec_info: { queue_remaining: 0 } },
      '/object_info': definitions,
      '/experiment/models/checkpoints': [{ name: 'sd\\dream.safetensors', pathIndex: 0, size: 2 * GIB }],
    }
    const answer = answers[request.url ?? '']
    response.writeHead(answer === undefined ? 404 : 200).end(writeJson(answer ?? {}))
  })

test('what a workflow needs is told for each server, with packages and sizes; inspect says the same', async () => {
  const dataDir = await aFolder()
  const empty = new RehearsalServer({ dir: tempDir(), stepMs: 0 })
  await empty.start()
  const app = await startApp({ dataDir })
  try {
    const { client } = app
    const loader = {
      name: 'CheckpointLoaderSimple',
      input: { required: { ckpt_name: [['sd\\dream.safetensors'], {}] } },
      output: ['MODEL', 'CLIP', 'VAE'],
    }
    const { addresses } = await aComfyui({ CheckpointLoaderSimple: loader })
    await client.call('worker.add', { url: addresses[0]!.origin, name: 'windows' })
    await client.call('worker.add', { url: empty.url, name: 'empty' })
    const base64 = Buffer.from(writeJson(workflow)).toString('base64')
    const { id } = await client.call('workflow.import', { name: 'w.json', base64 })
    const needs = await client.call('workflow.needs', { id, workerId: 'empty' })
    expect(needs.models).toMatchObject([
      {
        file: 'SD/Dream.safetensors',
        folder: 'checkpoints',
        present: false,
        sizeBytes: 2 * GIB,
        workers: [
          { worker: 'windows', present: true, as: 'sd\\dream.safetensors' },
          { worker: 'empty', present: false },
        ],
      },
    ])
    expect(needs.customNodes).toMatchObject([
      { classType: 'FaceDetailer', candidates: ['impact-pack'], packs: [{ title: 'Impact', why: 'file' }] },
    ])
    expect(needs.nodeLists).toMatchObject({ licence: 'GPL-3.0', because: null })
    expect(needs.vram!.because).toMatchObject([{ what: 'model', bytes: 2 * GIB }, { what: 'activations' }])
    expect(needs.vram!.aboutBytes).toBeGreaterThan(3 * GIB)

    const told = await client.call('workflow.inspect', { name: 'w.json', base64, worker: 'empty' })
    expect(Inspection.parse(told)).toEqual(told)
    expect(told).toMatchObject(JSON.parse(JSON.stringify(needs)))
    expect(told).not.toHaveProperty('prompt')

    empty.die()
    await eventually(async () =>
      (await client.call('worker.list', {})).rows.some(
        ({ id, health }) => id === 'empty' && health.is === 'unreachable',
      ),
    )
    const off = await client.call('workflow.needs', { id, workerId: 'empty' })
    expect(off.definitions).toMatchObject({ from: 'empty', cachedAt: expect.any(Number) })
    expect(off.models[0]!.workers.map(({ worker }) => worker)).toEqual(['windows'])
  } finally {
    await app.stop()
    await empty.stop()
  }
})
