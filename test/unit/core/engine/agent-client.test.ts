import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, onTestFinished, test } from 'vitest'
import { AgentClient, codeOf, outputsOf, readAgentUrl } from '../../../../core/engine/agent-client.ts'

const KEY = 'sk_only_for_its_own_host'

async function serve(answer: RequestListener) {
  const server = createServer(answer)
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening))
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
}
function clientAt(url: string) {
  const client = new AgentClient({ url, key: KEY })
  onTestFinished(() => client.close())
  return client
}
const failing = (asked: Promise<unknown>) => asked.then(() => 'no failure', codeOf)

test.each([
  [200, '<html>', 'endpoint.not-agent'],
  [200, '[]', 'endpoint.not-agent'],
  [302, '', 'endpoint.not-agent'],
  [404, '<html>not found', 'endpoint.not-agent'],
  [401, '', 'endpoint.key-refused'],
  [403, '<html>', 'endpoint.key-refused'],
  [407, '<html>proxy', 'worker.unreachable'],
  [429, '', 'worker.unreachable'],
  [502, '<html>nginx', 'worker.unreachable'],
  [503, '', 'worker.unreachable'],
  [401, '{"message":"x","error":{},"code":"agent.no-key"}', 'endpoint.key-refused'],
  [403, '{"message":"x","error":{},"code":"agent.refused"}', 'agent.refused'],
  [403, '{"error":{},"code":"agent.refused","facts":{"scope":"publish"}}', 'endpoint.may-not-publish'],
  [403, '{"error":{},"code":"agent.refused","facts":{"reason":"GET /v1/releases"}}', 'endpoint.takes-no-releases'],
  [429, '{"message":"x","error":{"message":"full"},"code":"agent.busy"}', 'agent.busy'],
])('a status of %i with the body %j is told as %s once it asks', async (status, body, code) => {
  const url = await serve((_, reply) => void reply.writeHead(status, { location: 'http://other.example/' }).end(body))
  expect(await failing(clientAt(url).status('t'))).toBe(code)
})

test('nobody there is unreachable, in words, and an end that was asked for is no failure of its', async () => {
  const client = clientAt('http://127.0.0.1:1/')
  expect(await failing(client.phase())).toBe('worker.unreachable')
  const reason = new Error('enough')
  await expect(client.phase(AbortSignal.abort(reason))).rejects.toBe(reason)
})

test('when to come again comes with what was refused, and its facts make our own words', async () => {
  const said = { message: 'x', code: 'agent.busy', error: { message: 'theirs' }, facts: { count: 7 } }
  const url = await serve((_, reply) => void reply.writeHead(429, { 'retry-after': '5' }).end(JSON.stringify(said)))
  await expect(clientAt(url).run('t', {})).rejects.toMatchObject({
    failure: { message: '7 tasks are waiting already.', facts: { count: 7, retryAfterSeconds: 5 } },
  })
})

test('the key goes to the agent alone: a result that lies elsewhere is fetched without it, a redirect is not followed', async () => {
  const seen: (string | undefined)[] = []
  const elsewhere = await serve(({ headers }, reply) => {
    seen.push(headers.authorization)
    reply.end('picture')
  })
  const own: (string | undefined)[] = []
  const agent = await serve(({ headers, url }, reply) => {
    own.push(`${url} ${headers.authorization}`)
    if (url === '/moved') reply.writeHead(307, { location: elsewhere })
    reply.end('own')
  })
  const client = clientAt(agent)
  const bytes = async (url: string) => {
    const chunks: Uint8Array[] = []
    const file = { filename: 'a.png', subfolder: '', type: 'output' as const, url }
    for await (const chunk of client.file(file)) chunks.push(chunk)
    return Buffer.concat(chunks).toString()
  }
  expect(await bytes(`${elsewhere}bucket/a.png?sig=1`)).toBe('picture')
  expect(await bytes('/api/result?id=t&node=9&index=0')).toBe('own')
  expect(await failing(bytes('/moved'))).toBe('endpoint.not-agent')
  expect(seen).toEqual([undefined])
  expect(own[0]).toBe(`/api/result?id=t&node=9&index=0 Bearer ${KEY}`)
})

test('behind a prefix its own files are asked for behind it, too', async () => {
  const asked: string[] = []
  const url = await serve((request, reply) => {
    asked.push(request.url!)
    reply.end('x')
  })
  const file = { filename: 'a.png', subfolder: '', type: 'output' as const, url: '/api/result?id=t' }
  for await (const _ of clientAt(`${url}gpu/`).file(file));
  expect(asked).toEqual(['/gpu/api/result?id=t'])
})

test('outputs come with where each file is had, pictures first; what was only shown counts where nothing was saved', () => {
  const report = { max: 1, value: 1, start: 1, last_updated: 1, images: null }
  const image = (filename: string, type: string) => ({ filename, subfolder: '', type })
  const task = { id: 't', promptId: 't', state: 'succeeded', queuePosition: null, seeds: {}, failure: null, seconds: 1 }
  const outputs = outputsOf({
    ...task,
    state: 'succeeded',
    nodes: {
      3: {
        ...report,
        images: [image('a.png', 'output'), image('t.png', 'temp')],
        outputs: { text: ['said'], gifs: [image('b.mp4', 'output')] },
        urls: ['/a', '/t', '/b'],
      },
      4: { ...report, images: [image('seen.png', 'temp')], urls: ['/seen'] },
    },
  })
  expect(outputs.map((output) => (output.is === 'file' ? [output.node, output.file.url] : output.text))).toEqual([
    ['3', '/a'],
    'said',
    ['3', '/b'],
  ])
})

test.each([
  ['gpu.example:9000', 'http://gpu.example:9000/'],
  [' https://gpu.example/agent ', 'https://gpu.example/agent/'],
  ['ftp://gpu.example', null],
  ['http://me:word@gpu.example', null],
  ['not an address', null],
  ['', null],
])('%j as an address', (typed, url) => {
  if (url === null) {
    expect(() => readAgentUrl(typed)).toThrow(expect.objectContaining({ code: 'endpoint.bad-address' }))
    expect(() => readAgentUrl(typed)).not.toThrow(/word/)
  } else expect(readAgentUrl(typed)).toBe(url)
})
