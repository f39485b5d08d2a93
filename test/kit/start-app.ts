import { mkdirSync } from 'node:fs'
import path from 'node:path'
import { onTestFinished } from 'vitest'
import type { BatchPlanInput } from '../../core/contract/batch.ts'
import type { Prompt } from '../../core/contract/comfyui.ts'
import { writeJson } from '../../core/contract/json.ts'
import { thisMachine } from '../../core/engine/installs.ts'
import { connectInProcess } from '../../main/api/client.ts'
import { type HostOptions, openHost } from '../../main/open-host.ts'
import { eventually } from './eventually.ts'
import { tempDir } from './temp-dir.ts'

/** Draws a picture at once, without any model: `1.width` and the like are its parameters. */
export const aPicture: Prompt = {
  '1': { class_type: 'EmptyImage', inputs: { width: 64, height: 48, batch_size: 1, color: 0 } },
  '2': { class_type: 'SaveImage', inputs: { filename_prefix: 'picture', images: ['1', 0] } },
}
export const promptFile = (prompt: Prompt = aPicture) => Buffer.from(writeJson(prompt))

/** The whole app in this process, on a folder of its own and the rehearsal; gone when the test ends. */
export async function startApp(options: Partial<HostOptions> = {}) {
  const dataDir = options.dataDir ?? tempDir()
  const outputDir = options.outputDir ?? path.join(dataDir, 'pictures')
  mkdirSync(dataDir, { recursive: true })
  const look = { ...thisMachine(process.env), home: path.join(dataDir, 'nobody'), list: async () => [] } // not a person’s own
  const host = await openHost({ door: 'headless', locale: 'en', look, ...options, dataDir, outputDir })
  const client = connectInProcess(host.served)
  const stop = async () => {
    client.close()
    await host.stop()
  }
  onTestFinished(stop)
  return {
    host,
    client,
    dataDir,
    outputDir,
    stop,
    /** Queues a prompt on the rehearsal; gives the batch's id. */
    async submit(plan: Omit<BatchPlanInput, 'workflowId'> = {}, prompt: Prompt = aPicture) {
      const base64 = promptFile(prompt).toString('base64')
      const { id: workflowId } = await client.call('workflow.import', { name: 'picture.json', base64 })
      return client.call('batch.submit', { workers: ['rehearsal'], ...plan, workflowId })
    },
    /** Resolves when all jobs of a batch have ended. */
    async ended(id: string) {
      return eventually(async () => {
        const batch = await client.call('batch.get', { id })
        return batch.endedAt !== null && batch
      }, 120_000)
    },
  }
}
