import { expect, onTestFinished, test } from 'vitest'
import { AgentClient } from '../../../../core/engine/agent-client.ts'
import { publishPlaces } from '../../../../main/services/publish-places.ts'
import { serve } from '../../../kit/serve.ts'

function places(url: string) {
  const client = new AgentClient({ url, key: 'sk_of_the_test' })
  onTestFinished(() => client.close())
  const pushed: unknown[] = []
  const snapshots = {
    engineFor: () => ({ name: 'desk' }),
    planPush: async (...given: unknown[]) => void pushed.push(given),
  }
  const { target, desk } = publishPlaces({
    ...({ endpoints: { client: () => client }, snapshots } as never as object),
    ...({ localEngine: { run: async () => {}, view: () => ({ processes: [] }) } } as never as object),
    ...({ fleet: { get: () => undefined }, newId: () => 'id', clock: { now: () => 0 } } as never as object),
  } as Parameters<typeof publishPlaces>[0])
  return { gpu: target('gpu'), desk, pushed }
}

test('a candidate is run by its number, and the key goes to its own agent', async () => {
  const asked: Record<string, unknown>[] = []
  const { url } = await serve(({ method, headers }, response) => {
    asked.push({ method, release: headers['x-release'], key: headers.authorization })
    response.writeHead(400, { 'content-type': 'application/json' }).end('{"code":"agent.no-release","error":{}}')
  })
  const { gpu, pushed } = places(`${url}/`)
  const run = async (release: number | null) => {
    const worker = gpu.worker(release)
    const attempt = { promptId: 'p', jobId: 'j', prompt: {}, pngInfo: {} }
    for await (const step of worker.run(attempt, new AbortController().signal))
      expect(step).toMatchObject({ is: 'failed', failure: { code: 'agent.no-release' } })
    await worker.close()
  }
  await run(7)
  await run(null)
  const key = 'Bearer sk_of_the_test'
  expect(asked).toEqual([
    { method: 'POST', release: '7', key },
    { method: 'POST', release: undefined, key },
  ])
  await gpu.planPush('a', [])
  expect(pushed).toEqual([['a', { to: `${url}/`, key: 'sk_of_the_test' }, { models: [], signal: undefined }]])
})

test('only a loopback address is this machine', () => {
  const isHere = (url: string) => places(url).gpu.isHere
  expect([isHere('http://127.0.0.1:9000/'), isHere('http://[::1]:9000/'), isHere('http://localhost/')]).toEqual([
    true,
    true,
    true,
  ])
  expect([isHere('http://10.0.0.7:9000/'), isHere('https://gpu.example.com/')]).toEqual([false, false])
})

test('without a ComfyUI here that answers it is said that none runs', async () => {
  await expect(places('http://gpu/').desk(undefined, new AbortController().signal)).rejects.toMatchObject({
    code: 'engine.not-running',
  })
})
