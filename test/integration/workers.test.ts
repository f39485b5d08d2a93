import { randomUUID } from 'node:crypto'
import { onTestFinished } from 'vitest'
import { readAddress } from '../../core/engine/comfy/address.ts'
import { RehearsalServer } from '../../core/engine/rehearsal/server.ts'
import { ComfyWorker } from '../../main/services/workers/comfy-worker.ts'
import { eventually } from '../kit/eventually.ts'
import { tempDir } from '../kit/temp-dir.ts'
import { workerPromises } from './worker-promises.ts'

const pace = { absenceMs: 200, patienceMs: 3_000 }

async function openAt(url: string, kind: 'rehearsal' | 'remote') {
  const address = readAddress(url)
  const worker = new ComfyWorker({ id: kind, kind, address, newId: randomUUID, now: Date.now, pace })
  onTestFinished(() => worker.close())
  worker.start()
  await eventually(() => worker.health.is === 'ready')
  return worker
}

workerPromises('the rehearsal', async () => {
  const server = new RehearsalServer({ dir: tempDir(), stepMs: 0 })
  await server.start()
  onTestFinished(() => server.stop())
  return openAt(server.url, 'rehearsal')
})

// NIGHTSHIFT_TEST_COMFYUI=http://127.0.0.1:8188,… makes real ones keep the same promises
for (const url of (process.env.NIGHTSHIFT_TEST_COMFYUI ?? '').split(',').filter(Boolean))
  workerPromises(url, () => openAt(url, 'remote'))
