import { execFile } from 'node:child_process'
import { existsSync, statSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import type { Prompt } from '../../core/contract/comfyui.ts'
import { isJsonObject, type JsonObject, parseJson } from '../../core/contract/json.ts'
import { comfyFolder } from '../kit/comfy-folder.ts'
import { hubFarm, mirrorsOf } from '../kit/hub-farm.ts'
import { aLora, aPickle, put } from '../kit/model-files.ts'
import { aPicture, promptFile, startApp } from '../kit/start-app.ts'
import { tempDir } from '../kit/temp-dir.ts'

const main = path.resolve(import.meta.dirname, '../../main/cli.ts')
const cli = (data: string, ...args: string[]) =>
  new Promise<{ code: number; events: JsonObject[] }>((done) => {
    execFile(process.execPath, [main, '--data', data, '--json', 'models', ...args], (cause, out) => {
      const events = out.split('\n').filter(Boolean).map(parseJson).filter(isJsonObject)
      done({ code: typeof cause?.code === 'number' ? cause.code : 0, events })
    })
  })
const of = (events: readonly JsonObject[], name: string) => events.filter(({ event }) => event === name)

test('models: folders are scanned, a file taken in, copies told, merged and undone, damage found, and one put aside', async () => {
  const data = tempDir()
  writeFileSync(path.join(data, 'mirrors.json'), mirrorsOf(await hubFarm({})))
  await startApp({ dataDir: data }) // it knows of no ComfyUI of whoever runs this
  const dir = path.join(tempDir(), 'store')
  put(dir, {
    'loras/a.safetensors': aLora(1),
    'loras/b.safetensors': aLora(1),
    'vae/cut.safetensors': aLora(2).subarray(1),
  })
  const at = (name: string) => path.join(dir, 'loras', `${name}.safetensors`)
  const scanned = await cli(data, 'scan', '--add', dir)
  expect(scanned.code).toBe(0)
  const ours = of(scanned.events, 'model').filter(({ places }) => JSON.stringify(places).includes(dir))
  expect(ours.map(({ name }) => name)).toEqual(['a.safetensors', 'b.safetensors', 'cut.safetensors'])
  expect(ours[2]).toMatchObject({ flags: expect.arrayContaining(['damaged']) })

  const seen = await cli(data, 'duplicates')
  const [volume] = of(seen.events, 'volume')
  expect(volume).toMatchObject({ files: 1, freedBytes: expect.any(Number) })
  expect(statSync(at('a')).ino).not.toBe(statSync(at('b')).ino) // nothing was done
  const merged = await cli(data, 'duplicates', '--merge')
  expect(of(merged.events, 'merged')).toMatchObject([{ files: 1, freedBytes: volume!.freedBytes }])
  const undone = await cli(data, 'duplicates', '--undo')
  expect([undone.code, of(undone.events, 'undone')]).toMatchObject([0, [{ files: 1 }]])
  expect(statSync(at('a')).ino).not.toBe(statSync(at('b')).ino)

  const verified = await cli(data, 'verify', at('a'), path.join(dir, 'vae', 'cut.safetensors'))
  expect(verified.code).toBe(1)
  expect(of(verified.events, 'verified').map(({ is }) => is)).toEqual(['good', 'damaged'])
  const outside = path.join(tempDir(), 'new.safetensors')
  put(path.dirname(outside), { 'new.safetensors': aLora(5) })
  expect((await cli(data, 'import', outside)).code).toBe(2) // it is not said how
  const { code, events } = await cli(data, 'import', outside, '--move')
  expect([code, of(events, 'imported')]).toMatchObject([0, [{ how: 'move', model: { folder: 'loras' } }]])
  expect([existsSync(outside), existsSync(at('new'))]).toEqual([false, true])

  const trashed = await cli(data, 'trash', at('new'))
  expect([trashed.code, of(trashed.events, 'trashed')]).toMatchObject([0, [{ name: 'new.safetensors' }]])
  expect(existsSync(at('new'))).toBe(false)
  const restored = await cli(data, 'trash', '--undo')
  expect([restored.code, of(restored.events, 'restored')]).toMatchObject([0, [{ models: 1 }]])
  expect(existsSync(at('new'))).toBe(true)
})

test('a file that may run programs is not loaded by a ComfyUI of ours until it is trusted', async () => {
  const { client, submit } = await startApp()
  const { dir, python } = comfyFolder()
  put(dir, { 'models/embeddings/bad.pt': aPickle('os', 'system') })
  const settings = { autoStart: false }
  await client.call('engine.adopt', { dir, python, settings })
  await client.call('model.scan', {})
  const prompt: Prompt = { ...aPicture, '3': { class_type: 'CLIPTextEncode', inputs: { text: 'embedding:bad' } } }
  const base64 = promptFile(prompt).toString('base64')
  const { id: workflowId } = await client.call('workflow.import', { name: 'bad.json', base64 })
  const here = { workflowId, workers: ['local'], allowLoss: true }
  const refused = await client.call('batch.submit', here).catch((cause) => cause.failure)
  expect(refused).toMatchObject({ code: 'model.unsafe', facts: { files: 'bad.pt', ids: [expect.any(String)] } })
  expect(await submit({ workers: ['local'] })).toMatchObject({ jobs: 1 }) // another workflow is not held up
  await client.call('model.trust', { ids: refused.facts.ids })
  expect(await client.call('batch.submit', here)).toMatchObject({ jobs: 1 })
})
