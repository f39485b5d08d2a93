import { randomUUID } from 'node:crypto'
import { onTestFinished } from 'vitest'
import { type AgentOptions, startAgent } from '../../agent/agent.ts'
import { RehearsalServer } from '../../core/engine/rehearsal/server.ts'
import { EndpointWorker, type EndpointWorkerOptions } from '../../main/services/workers/endpoint.ts'
import { tempDir } from '../kit/temp-dir.ts'
import { workerPromises } from './worker-promises.ts'

workerPromises('an endpoint', async () => (await open({}, { worker: await comfy() })).worker, {
  uploads: /^store:[0-9a-f]{64}\.png$/,
})

/** A ComfyUI that knows only what it has. */
async function comfy() {
  const server = new RehearsalServer({ dir: tempDir(), stepMs: 0 })
  await server.start()
  onTestFinished(() => server.stop())
  return server.url
}

const KEY = 'sk_test_of_endpoints'

async function agentOn(store = tempDir(), more: Partial<AgentOptions> = {}) {
  const agent = await startAgent({
    host: '127.0.0.1',
    port: 0,
    names: [],
    origins: [],
    keys: [KEY],
    store,
    worker: 'rehearsal',
    ...more,
  })
  onTestFinished(() => agent.stop(0))
  return agent
}

async function open(options: Partial<EndpointWorkerOptions> = {}, more: Partial<AgentOptions> = {}) {
  const agent = await agentOn(tempDir(), more)
  const worker = new EndpointWorker({
    id: 'gpu',
    address: { url: `${agent.url}/`, key: KEY },
    settings: { enabled: true, capacity: 4, checkpoints: [] },
    pace: { coldSeconds: null, coldRuns: 0, warmSeconds: null, warmRuns: 0 },
    newId: randomUUID,
    now: Date.now,
    healthEveryMs: 200,
    absenceMs: 50,
    ...options,
  })
  onTestFinished(() => worker.close())
  const ready = new Promise<void>((resolve) => worker.onHealth(({ is }) => is === 'ready' && resolve()))
  worker.start()
  await ready
  return { agent, worker }
}
