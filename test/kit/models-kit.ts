import { EventEmitter } from 'node:events'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { onTestFinished } from 'vitest'
import { EngineSettings, type EngineView } from '../../core/contract/engine.ts'
import { thisMachine } from '../../core/engine/installs.ts'
import { openDatabase } from '../../main/services/database/open.ts'
import { Models } from '../../main/services/models.ts'
import { tempDir } from './temp-dir.ts'
import { turnableClock } from './turnable-clock.ts'

type Workflow = { id: string; name: string; files: string[] }

/** A library over one ComfyUI's folder. */
export async function modelsKit({
  dir = tempDir(),
  data = tempDir(),
  workflows = [] as Workflow[],
  isBusy = (): boolean => true,
  published = undefined as ConstructorParameters<typeof Models>[0]['published'],
} = {}) {
  const database = openDatabase(path.join(data, 'nightshift.db'))
  const engine: EngineView = {
    name: 'local',
    kind: 'manual',
    dir,
    python: 'python',
    version: null,
    settings: EngineSettings.parse({ cards: [{ card: 'auto' }] }),
    processes: [],
  }
  const library = { modelNames: () => workflows, events: new EventEmitter<{ changed: [string] }>() }
  const look = { ...thisMachine({}), home: path.join(dir, 'nobody'), list: async () => [] }
  const clock = turnableClock()
  let ids = 0
  const models = new Models({
    database,
    dataDir: data,
    clock,
    newId: () => `merge-${++ids}`,
    localEngine: { list: () => [engine], events: new EventEmitter() },
    library: library as never,
    thumbnails: { thumbnail: async (_hash, file) => readFileSync(file) },
    artifactsOf: (batchId) => [`picture of ${batchId}`],
    civitai: () => 'https://models.example',
    isBusy,
    ...(published && { published }),
    look,
  })
  await models.start()
  const stop = async () => {
    await models.stop()
    database.close()
  }
  onTestFinished(() => stop().catch(() => {}))
  return { models, dir, data, database, clock, stop }
}
