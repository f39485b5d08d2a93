import path from 'node:path'
import { onTestFinished } from 'vitest'
import type { Prompt } from '../../core/contract/comfyui.ts'
import type { PublishedWorkflow } from '../../core/contract/release.ts'
import { findParameters } from '../../core/domain/workflow/parameters.ts'
import { readAddress } from '../../core/engine/comfy/address.ts'
import { bundledDefinitions } from '../../core/engine/definitions.ts'
import { RehearsalServer } from '../../core/engine/rehearsal/server.ts'
import { FolderBucket } from '../../core/engine/store/bucket.ts'
import { KeyList } from '../../core/gateway/callers.ts'
import { FcDoor } from '../../core/gateway/fc/door.ts'
import { ComfyRunner } from '../../core/gateway/fc/runner.ts'
import { BucketTasks } from '../../core/gateway/fc/tasks.ts'
import { pageOf } from '../../core/gateway/page.ts'
import { json } from '../../core/gateway/wire.ts'
import { KEY } from './agent-kit.ts'
import { tempDir } from './temp-dir.ts'

/** A photo scaled to a width, with a title that nothing needs: what a form can ask for, without a model. */
export const postcard: Prompt = {
  '1': { class_type: 'LoadImage', inputs: { image: 'example.png' } },
  '2': {
    class_type: 'ImageScale',
    inputs: { image: ['1', 0], upscale_method: 'nearest-exact', width: 64, height: 48, crop: 'disabled' },
  },
  '3': { class_type: 'SaveImage', inputs: { filename_prefix: 'card', images: ['2', 0] } },
}

export const published = (over: Partial<PublishedWorkflow> = {}): PublishedWorkflow => ({
  id: 'postcard',
  name: 'Postcard',
  prompt: postcard,
  panel: {
    title: 'Postcard',
    params: [
      { type: 'image', id: '1', key: 'image', title: 'Photo' },
      { type: 'number', id: '2', key: 'width', title: 'Width', min: 16, max: 512 },
      { type: 'select', id: '2', key: 'crop', title: 'Cut', options: ['disabled', 'center'] },
    ],
  },
  parameters: findParameters(postcard, bundledDefinitions().definitions, null),
  ...over,
})

/** What a key opens, with workflows published at it, before a rehearsal. */
export async function aPublishedDoor(workflows: readonly PublishedWorkflow[], pageDir?: string, keys = [KEY]) {
  const { stop, ...door } = await openPublishedDoor(tempDir(), workflows, pageDir, keys)
  onTestFinished(stop)
  return door
}

export async function openPublishedDoor(
  dir: string,
  workflows: readonly PublishedWorkflow[],
  pageDir?: string,
  keys = [KEY],
) {
  const server = new RehearsalServer({
    dir: path.join(dir, 'server'),
    stepMs: 0,
    assumeModels: true,
    sketchUnknown: true,
  })
  await server.start()
  const place = readAddress(server.url)
  const store = new BucketTasks(new FolderBucket(path.join(dir, 'tasks')))
  const runner = new ComfyRunner({ places: () => [place], store, now: Date.now })
  const door = new FcDoor({
    host: '127.0.0.1',
    port: 0,
    names: [],
    origins: [],
    callers: new KeyList(keys, Date.now),
    runner,
    store,
    address: () => place,
    routes: [{ prefix: '/v1/releases', scope: 'publish', serve: async ({ reply }) => json(reply, 200, { rows: [] }) }],
    workflows: () => workflows,
    ...(pageDir !== undefined && { page: pageOf(pageDir, '/form') }),
    ready: async () => null,
    now: Date.now,
  })
  await door.start()
  await runner.start()
  const stop = async () => {
    server.release()
    await runner.stop(0)
    await door.stop()
    await server.stop()
  }
  return { door, server, url: door.url, stop }
}
