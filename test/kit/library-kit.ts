import path from 'node:path'
import { onTestFinished } from 'vitest'
import { BatchPlan, type BatchPlanInput } from '../../core/contract/batch.ts'
import type { ObjectInfo } from '../../core/contract/comfyui.ts'
import type { WorkerView } from '../../core/contract/worker.ts'
import { bundledDefinitions } from '../../core/engine/definitions.ts'
import { openDatabase } from '../../main/services/database/open.ts'
import { Inputs } from '../../main/services/inputs.ts'
import { Library } from '../../main/services/library.ts'
import { Plans } from '../../main/services/plans.ts'
import { Queue } from '../../main/services/queue.ts'
import { resourcesDir } from '../../main/services/resources.ts'
import { KeptSettings } from '../../main/services/settings.ts'
import { tempDir } from './temp-dir.ts'
import { turnableClock } from './turnable-clock.ts'

export const aView = (id: string, more: Partial<WorkerView> = {}): WorkerView => ({
  id,
  kind: id === 'rehearsal' ? 'rehearsal' : 'remote',
  url: `http://${id}:8188`,
  hasHeader: false,
  enabled: true,
  capacity: 2,
  inFlight: 0,
  quiet: null,
  health: { is: 'ready', comfyuiVersion: '0.33.0', devices: [], queueLength: 0, latencyMs: 1 },
  ...more,
})

/** Library, queue and plans over a real database and folder; the fleet is a list of names. */
export function libraryKit({ workers = [] as WorkerView[], definitions = bundledDefinitions().definitions } = {}) {
  const dataDir = tempDir()
  const database = openDatabase(':memory:')
  onTestFinished(() => void database.close())
  const clock = turnableClock()
  const views = [aView('rehearsal'), ...workers]
  const known: { definitions: ObjectInfo } = { definitions }
  let ids = 0
  const fleet = {
    view: () => views,
    find: (name: string) => views.find(({ id, url }) => id === name || url === name),
    async ensure({ url }: { url: string }) {
      const there = fleet.find(url)
      if (there) return there
      views.push(aView(new URL(url).hostname, { url }))
      return views.at(-1)!
    },
    async definitionsFor(id?: string) {
      return { definitions: known.definitions, from: id ?? 'bundled' }
    },
  }
  const queue = new Queue({ database, clock })
  const inputs = new Inputs(dataDir)
  const settings = new KeptSettings(database)
  const newId = () => `workflow-${++ids}`
  const library = new Library({ database, clock, newId, dataDir, resourcesDir, fleet, queue })
  const defaultOutputDir = path.join(dataDir, 'out')
  const random = () => 0.25
  /** Input files that no server has. */
  const lacking = new Set<string>()
  const serverFiles = {
    lacking: async ([worker = 'none']: readonly string[], names: Iterable<string>) =>
      new Map([...names].filter((name) => lacking.has(name)).map((name) => [name, worker])),
  }
  const account = { hasKey: true }
  const hasAccountKey = () => account.hasKey
  const shared = { queue, serverFiles, library, fleet, inputs, settings, clock, random, defaultOutputDir }
  const plans = new Plans({ ...shared, hasAccountKey })
  const plan = (more: Partial<BatchPlanInput> & { workflowId: string }) => BatchPlan.parse(more)
  return {
    dataDir,
    database,
    clock,
    views,
    known,
    fleet,
    queue,
    inputs,
    lacking,
    account,
    settings,
    library,
    plans,
    plan,
    defaultOutputDir,
  }
}

export const asBytes = (value: unknown) => Buffer.from(JSON.stringify(value))

/** A prompt every ComfyUI can run: no models, no custom nodes. */
export const imagePrompt = (more: Record<string, unknown> = {}) => ({
  '1': { class_type: 'EmptyImage', inputs: { width: 64, height: 64, batch_size: 1, color: 0 } },
  '2': { class_type: 'SaveImage', inputs: { images: ['1', 0], filename_prefix: 'plain' } },
  ...more,
})
