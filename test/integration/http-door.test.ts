import { mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs'
import { request as httpRequest, type IncomingHttpHeaders } from 'node:http'
import path from 'node:path'
import { buffer } from 'node:stream/consumers'
import sharp from 'sharp'
import { expect, onTestFinished, test } from 'vitest'
import { WebSocket } from 'ws'
import type { Envelope } from '../../core/contract/errors.ts'
import { parseJson } from '../../core/contract/json.ts'
import { connect } from '../../main/api/client.ts'
import { box, everyContainer, zip } from '../kit/containers.ts'
import { eventually } from '../kit/eventually.ts'
import { serve } from '../kit/serve.ts'
import { promptFile, startApp } from '../kit/start-app.ts'
import { tempDir } from '../kit/temp-dir.ts'

interface Answer {
  status: number
  headers: IncomingHttpHeaders
  bytes: Buffer
  envelope: Envelope<never>
}
type Asked = { method?: string; headers?: Record<string, string>; body?: string | Uint8Array }

/** The app behind a port, with pages of its own, and a plain way to ask it anything. */
async function served(options: Parameters<typeof startApp>[0] = {}) {
  const app = await startApp(options)
  const rendererDir = path.join(tempDir(), 'renderer')
  mkdirSync(path.join(rendererDir, 'assets'), { recursive: true })
  writeFileSync(path.join(rendererDir, 'index.html'), '<!doctype html><title>Nightshift</title>')
  writeFileSync(path.join(rendererDir, 'assets', 'a.js'), 'export {}')
  writeFileSync(path.join(rendererDir, '..', 'outside.txt'), 'canary')
  const { url } = await app.host.serve({ host: '127.0.0.1', port: 0, rendererDir })
  const { port, host, hash } = new URL(url)
  const token = hash.slice('#t='.length)
  const origin = `http://${host}`

  const ask = async (target: string, { method = 'GET', headers = {}, body }: Asked = {}): Promise<Answer> => {
    const { promise, resolve, reject } = Promise.withResolvers<Answer>()
    const request = httpRequest({ host: '127.0.0.1', port, path: target, method, headers }, async (response) => {
      const bytes = await buffer(response)
      const json = response.headers['content-type']?.startsWith('application/json')
      const envelope = (json ? parseJson(bytes.toString()) : null) as unknown as Envelope<never>
      resolve({ status: response.statusCode!, headers: response.headers, bytes, envelope })
    })
    request.on('error', reject)
    request.end(body)
    return promise
  }
  const json = { 'content-type': 'application/json' }
  const enter = async () => {
    const answer = await ask('/session', {
      method: 'POST',
      headers: { ...json, origin },
      body: JSON.stringify({ token }),
    })
    return String(answer.headers['set-cookie']?.[0])
  }
  const cookie = (await enter()).split(';', 1)[0]!
  const call = (name: string, body: string | Buffer = '{}', headers: Record<string, string> = {}) =>
    ask(`/rpc/${name}`, { method: 'POST', headers: { ...json, origin, cookie, ...headers }, body })
  return { ...app, ask, call, enter, origin, host, token, cookie, port: Number(port) }
}

const refused = { ok: false, failure: expect.objectContaining({ code: 'app.refused' }) }

test('the key is exchanged for a session that scripts cannot read and other sites do not send', async () => {
  const { enter, call, ask, origin, token } = await served()
  const cookie = await enter()
  expect(cookie).toMatch(/; HttpOnly; SameSite=Strict; Path=\//)
  expect(cookie).not.toContain(token)
  expect((await call('app.info')).envelope).toMatchObject({ ok: true, value: { door: 'headless' } })
  const wrong = await ask('/session', {
    method: 'POST',
    headers: { 'content-type': 'application/json', origin },
    body: JSON.stringify({ token: `${token}x` }),
  })
  expect([wrong.status, wrong.headers['set-cookie']]).toEqual([403, undefined])
})

test('a key made for a command line enters once', async () => {
  const app = await startApp()
  const { url, urlOnce } = await app.host.serve({ host: '127.0.0.1', port: 0, rendererDir: null })
  const once = new URL(urlOnce())
  expect(once.host).toBe(new URL(url).host)
  expect(once.hash).not.toBe(new URL(url).hash)
  const enter = () =>
    fetch(new URL('/session', url), {
      method: 'POST',
      headers: { 'content-type': 'application/json', origin: once.origin },
      body: JSON.stringify({ token: once.hash.slice('#t='.length) }),
    })
  expect([(await enter()).status, (await enter()).status]).toEqual([200, 403])
})

test('a bookmarked key keeps working after a restart', async () => {
  const app = await startApp()
  const first = await app.host.serve({ host: '127.0.0.1', port: 0, rendererDir: null })
  await app.stop()
  const again = await startApp({ dataDir: app.dataDir })
  const second = await again.host.serve({ host: '127.0.0.1', port: 0, rendererDir: null })
  expect(new URL(second.url).hash).toBe(new URL(first.url).hash)
  expect(new URL(second.url).hash.length).toBeGreaterThan(40)
})

test('without a session procedures, events and files are refused', async () => {
  const { ask, origin, port, host } = await served()
  const json = { 'content-type': 'application/json', origin }
  for (const cookie of ['', 'nightshift=', 'nightshift=wrong', 'other=1'])
    expect(await ask('/rpc/app.info', { method: 'POST', headers: { ...json, cookie }, body: '{}' })).toMatchObject({
      status: 403,
      envelope: refused,
    })
  expect((await ask('/files/artifact/a1')).status).toBe(403)
  expect(await socketStatus(`ws://127.0.0.1:${port}/events`, { origin: `http://${host}` })).toBe(403)
})

test.each([
  ['a name that was pointed here (DNS rebinding)', { host: 'evil.example:8420' }],
  ['our address with another port', { host: '127.0.0.1:1' }],
  ['another site’s page', { origin: 'https://evil.example' }],
  ['a page of another program on this machine', { origin: 'http://127.0.0.1:8188' }],
  ['a page without an origin', { origin: 'null' }],
  ['what a browser marks as from another site', { 'sec-fetch-site': 'cross-site' }],
  ['what a browser marks as from another port', { 'sec-fetch-site': 'same-site' }],
])('%s is refused although the session is right', async (_who, headers) => {
  const { call } = await served()
  expect(await call('app.info', '{}', headers)).toMatchObject({ status: 403, envelope: refused })
})

test('a change that names no origin needs the key itself; a program may show it', async () => {
  const { ask, cookie, token } = await served()
  const json = { 'content-type': 'application/json' }
  const asked = (headers: Record<string, string>) =>
    ask('/rpc/app.info', { method: 'POST', headers: { ...json, ...headers }, body: '{}' })
  expect((await asked({ cookie })).status).toBe(403)
  expect((await asked({ authorization: `Bearer ${token}` })).status).toBe(200)
  expect((await asked({ authorization: 'Bearer wrong' })).status).toBe(403)
})

test.each(['/%72pc/app.info', '/r%70c/app.info', 'http://HOST/rpc/app.info', '/rpc/app%2einfo'])(
  'another way to write an address does not open it: %s',
  async (target) => {
    const { ask, origin, host } = await served()
    const headers = { 'content-type': 'application/json', origin }
    const answer = await ask(target.replace('HOST', host), { method: 'POST', headers, body: '{}' })
    expect([answer.status, answer.envelope]).toEqual([403, refused])
  },
)

test('a link from another site opens the page, and nothing else', async () => {
  const { ask, cookie } = await served()
  const headers = { cookie, 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate' }
  expect((await ask('/', { headers })).status).toBe(200)
  expect((await ask('/files/artifact/a1', { headers })).status).toBe(403)
})

test('pages carry a strict policy, and no answer invites other origins', async () => {
  const { ask, call, host } = await served()
  const page = await ask('/')
  expect(page.bytes.toString()).toContain('Nightshift')
  expect(page.headers['content-security-policy']).toBe(
    `default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; connect-src 'self' ws://${host}; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`,
  )
  for (const { headers } of [page, await call('app.info'), await ask('/assets/a.js')]) {
    expect(headers['x-content-type-options']).toBe('nosniff')
    expect(headers['access-control-allow-origin']).toBeUndefined()
  }
  expect((await ask('/rpc/app.info', { method: 'OPTIONS' })).headers['access-control-allow-origin']).toBeUndefined()
})

test.each([
  '/../outside.txt',
  '/..%2foutside.txt',
  '/%2e%2e/outside.txt',
  '/assets/..%2f..%2foutside.txt',
  '/assets/%2e%2e%5c%2e%2e%5coutside.txt',
  '/..%00/outside.txt',
  '//etc/passwd',
  '/%2fetc%2fpasswd',
  '/assets/%252e%252e/%252e%252e/outside.txt',
])('%s does not lead out of the pages’ folder', async (target) => {
  const { ask } = await served()
  const { status, bytes } = await ask(target)
  expect(status).toBeGreaterThanOrEqual(400)
  expect(bytes.toString()).not.toMatch(/canary|root:/)
})

test.each([
  ['no JSON', '{"id":', 'application/json', 400, 'app.bad-request'],
  ['another type', '{}', 'text/plain', 400, 'app.bad-request'],
  ['a wrong value', '{"id":7}', 'application/json', 400, 'app.bad-request'],
])('%s is answered as a bad request, not as a fault', async (_what, body, type, status, code) => {
  const { call } = await served()
  expect(await call('batch.get', body, { 'content-type': type })).toMatchObject({
    status,
    envelope: { ok: false, failure: { code } },
  })
})

test('a procedure that does not exist, and one for this machine alone', async () => {
  const { call } = await served()
  expect(await call('no.such')).toMatchObject({ status: 404, envelope: { failure: { code: 'app.unknown-procedure' } } })
  expect(await call('input.addPath', '{"path":"/etc/passwd"}')).toMatchObject({ status: 403, envelope: refused })
  expect(await call('artifact.locate', '{}')).toMatchObject({ status: 403, envelope: refused })
  expect(await call('settings.set', '{"outputDir":"/tmp"}')).toMatchObject({ status: 403, envelope: refused })
})

test('a value nested deeper than can be walked is refused', async () => {
  const { call } = await served()
  const deep = '['.repeat(50_000) + ']'.repeat(50_000)
  const body = `{"workflowId":"w","sets":{"3.text":${deep}},"axes":[{"parameter":"3.text","values":[${deep}]}]}`
  const answer = await call('batch.preview', body)
  expect([answer.status, answer.envelope]).toMatchObject([400, { failure: { code: 'app.bad-request' } }])
})

test('what a procedure refuses is data, not a broken request', async () => {
  const { call } = await served()
  const base64 = Buffer.from('no workflow').toString('base64')
  expect(await call('workflow.import', JSON.stringify({ name: 'a.json', base64 }))).toMatchObject({
    status: 200,
    envelope: { ok: false, failure: { code: 'import.not-json' } },
  })
})

test('a body is limited, more generously where files are sent', async () => {
  const { call } = await served()
  const body = (sizeMiB: number) => JSON.stringify({ id: 'x'.repeat(sizeMiB * 1024 * 1024) })
  expect(await call('batch.get', body(9))).toMatchObject({
    status: 413,
    envelope: { failure: { code: 'app.too-large', facts: { limitMiB: 8 } } },
  })
  expect(await call('table.read', body(9))).toMatchObject({
    status: 400,
    envelope: { failure: { code: 'app.bad-request' } },
  })
})

test('a seed keeps all its digits on the wire', async () => {
  const { call } = await served()
  const seed = '18446744073709551615'
  const workflow = `{"1":{"class_type":"KSampler","inputs":{"seed":${seed},"steps":1}}}`
  const base64 = Buffer.from(workflow).toString('base64')
  const { bytes } = await call('workflow.convert', JSON.stringify({ name: 'a.json', base64 }))
  expect(bytes.toString()).toContain(`"seed":${seed}`)
})

/** The status a socket was refused with, or 101. */
function socketStatus(url: string, headers: Record<string, string>) {
  const { promise, resolve } = Promise.withResolvers<number>()
  const socket = new WebSocket(url, { headers })
  onTestFinished(() => socket.terminate())
  socket.on('open', () => resolve(101))
  socket.on('unexpected-response', (_request, { statusCode = 0 }) => resolve(statusCode))
  socket.on('error', () => {})
  return promise
}

test('events come over a socket of our own page only, from where the listener was', async () => {
  const { port, origin, cookie, submit, ended, host: _ } = await served()
  const url = `ws://127.0.0.1:${port}/events`
  expect(await socketStatus(url, { cookie, origin: 'https://evil.example' })).toBe(403)
  expect(await socketStatus(url, { cookie })).toBe(403)
  expect(await socketStatus(`ws://127.0.0.1:${port}/rpc/app.info`, { cookie, origin })).toBe(404)

  const listen = (query = '') => {
    const socket = new WebSocket(url + query, { headers: { cookie, origin } })
    const frames: { seq: number; name: string }[] = []
    onTestFinished(() => socket.terminate())
    socket.on('message', (data) => frames.push(parseJson(data.toString()) as never))
    return { socket, frames }
  }
  const { socket: first, frames: seen } = listen()
  await eventually(() => first.readyState === WebSocket.OPEN)
  const { batchId } = await submit()
  await ended(batchId)
  await eventually(() => seen.some(({ name }) => name === 'batch.ended'))
  first.terminate()
  const names = seen.map(({ name }) => name)
  expect(names).toEqual(expect.arrayContaining(['queue.changed', 'job.changed', 'artifact.added', 'batch.ended']))

  const at = Math.floor(seen.length / 2)
  const { frames: later } = listen(`?since=${seen[at]!.seq}`)
  await eventually(() => later.some(({ name }) => name === 'batch.ended'))
  expect(later[0]).toEqual(seen[at + 1])

  const { frames: late } = listen('?since=5')
  await eventually(() => late.length > 0)
  expect(late[0]).toMatchObject({ name: 'reset', payload: {} })
})

test('a picture is served whole, in part, small, or not at all', async () => {
  const { ask, cookie, submit, ended, client } = await served()
  const { batchId } = await submit()
  await ended(batchId)
  const { rows } = await client.call('artifact.page', { batchId })
  const [{ id, sizeBytes }] = rows as [(typeof rows)[0]]
  const headers = { cookie, 'sec-fetch-site': 'same-origin' }
  const whole = await ask(`/files/artifact/${id}`, { headers })
  expect([whole.status, whole.headers['content-type'], whole.bytes.length]).toEqual([200, 'image/png', sizeBytes])
  expect(whole.headers['content-security-policy']).toMatch(/^sandbox; default-src 'none'/)
  const part = await ask(`/files/artifact/${id}`, { headers: { ...headers, range: 'bytes=0-7' } })
  expect([part.status, part.bytes.toString('latin1')]).toEqual([206, '\x89PNG\r\n\x1a\n'])
  const again = await ask(`/files/artifact/${id}`, { headers: { ...headers, 'if-none-match': whole.headers.etag! } })
  expect([again.status, again.bytes.length]).toEqual([304, 0])
  const saved = await ask(`/files/artifact/${id}?download`, { headers })
  expect(saved.headers['content-disposition']).toMatch(/^attachment/)
  const small = await ask(`/files/thumb/${id}?size=200`, { headers })
  expect([small.status, small.headers['content-type'], small.bytes.toString('latin1', 8, 12)]).toEqual([
    200,
    'image/webp',
    'WEBP',
  ])
  for (const gone of ['/files/artifact/nothing', '/files/thumb/nothing', '/files/preview/nothing'])
    expect((await ask(gone, { headers })).status).toBe(404)
})

test('an input file is sent as it is, however large, and its reference comes back', async () => {
  const { ask, cookie, origin, port } = await served()
  const headers = { cookie, origin, 'content-type': 'application/octet-stream' }
  const body = Buffer.alloc(20 * 1024 * 1024, 'frame')
  const { envelope } = await ask(`/files/input?name=${encodeURIComponent('影片.mp4')}`, {
    method: 'POST',
    headers,
    body,
  })
  expect(envelope).toMatchObject({ ok: true, value: { name: '影片.mp4', sizeBytes: body.length } })
  const nameless = await ask('/files/input', { method: 'POST', headers, body: 'x' })
  expect(nameless).toMatchObject({ status: 400, envelope: { failure: { code: 'app.bad-request' } } })
  const foreign = await ask('/files/input?name=a.png', {
    method: 'POST',
    headers: { ...headers, origin: `http://127.0.0.1:${port + 1}` },
    body: 'x',
  })
  expect(foreign.status).toBe(403)
})

test('a workflow file of any size is sent as it is, and each workflow or fault in it told of', async () => {
  const { ask, cookie, origin, dataDir } = await served()
  const headers = { cookie, origin, 'content-type': 'application/octet-stream' }
  const send = (name: string, body: Uint8Array, more = {}) =>
    ask(`/files/workflow?name=${encodeURIComponent(name)}`, { method: 'POST', headers: { ...headers, ...more }, body })
  const film = Buffer.concat([
    everyContainer.mp4!.make({ prompt: promptFile().toString() }),
    box('free', Buffer.alloc(70 * 1024 * 1024)),
  ])
  expect((await send('影片.mp4', film)).envelope).toMatchObject({
    ok: true,
    value: { results: [{ ok: true, name: '影片.mp4', workflow: { name: '影片', nodes: 2, runnable: true } }] },
  })
  expect(readdirSync(path.join(dataDir, 'uploads'))).toEqual([])
  const many = zip([
    ['a.json', promptFile()],
    ['b.gif', everyContainer.gif!.make({})],
  ])
  expect((await send('many.zip', many)).envelope).toMatchObject({
    ok: true,
    value: {
      results: [
        { ok: true, name: 'a.json' },
        { ok: false, failure: { code: 'import.no-workflow' } },
      ],
    },
  })
  expect((await send('huge.json', Buffer.alloc(65 * 1024 * 1024, ' '))).envelope).toMatchObject({
    failure: { code: 'import.too-large', facts: { sizeMiB: 65 } },
  })
  expect((await send('a.json', promptFile(), { cookie: '' })).status).toBe(403)
})

test.skipIf(process.platform === 'win32')('the control socket is this user’s alone, and may name paths', async () => {
  const { host, dataDir } = await startApp()
  expect(statSync(host.socket).mode & 0o777).toBe(0o600)
  const client = connect(host.socket)
  onTestFinished(() => client.close())
  const file = path.join(dataDir, 'picture.png')
  writeFileSync(file, promptFile())
  expect(await client.call('input.addPath', { path: file })).toMatchObject({ name: 'picture.png' })
  await expect(client.call('batch.get', { id: 'b77' })).rejects.toMatchObject({ failure: { code: 'app.not-found' } })
})

test('a client of the control socket hears what happened while its connection was gone', async () => {
  const first = await startApp()
  const client = connect(first.host.socket)
  onTestFinished(() => client.close())
  const names: string[] = []
  client.subscribe(null, ({ name }) => names.push(name))
  await eventually(async () => {
    await first.client.call('settings.set', { theme: 'dark' }) // again, until the listener is there
    return names.includes('settings.changed')
  })
  await first.stop()
  await expect(client.call('app.info', {})).rejects.toMatchObject({ code: 'app.disconnected' })
  names.length = 0
  await startApp({ dataDir: first.dataDir })
  await eventually(() => names.includes('reset'))
  expect(await client.call('settings.get', {})).toMatchObject({ theme: 'dark' })
})

test('a port that is taken is told as such', async () => {
  const { port } = await served()
  const other = await startApp()
  await expect(other.host.serve({ host: '127.0.0.1', port, rendererDir: null })).rejects.toMatchObject({
    code: 'app.port-in-use',
  })
})

test('a kept input file, or a picture a form names, is shown small; nothing else is fetched, and nothing that is no picture', async () => {
  const picture = await sharp({ create: { width: 900, height: 300, channels: 3, background: 'red' } })
    .png()
    .toBuffer()
  const asked: string[] = []
  const { url: at } = await serve(({ url = '' }, reply) => {
    asked.push(url)
    reply.end(url.startsWith('/picture') ? picture : '<svg xmlns="http://www.w3.org/2000/svg"/>')
  })
  const { ask, cookie, client } = await served({ mayReach: () => true })
  const prompt = {
    '1': { class_type: 'LoadImage', inputs: { image: 'x.png' } },
    '2': { class_type: 'SaveImage', inputs: { filename_prefix: 'x', images: ['1', 0] } },
  }
  const base64 = Buffer.from(JSON.stringify(prompt)).toString('base64')
  const { id } = await client.call('workflow.import', { name: 'w.json', base64 })
  const options = [`${at}/picture.png`, `${at}/page.png`]
  const params = [{ type: 'image', id: '1', key: 'image', options }]
  await client.call('workflow.panel.set', { id, panels: [{ title: 'Form', params }] })
  const thumb = (of: string, headers: Record<string, string> = { cookie }) =>
    ask(`/files/input-thumb?of=${encodeURIComponent(of)}&workflow=${id}&size=100`, { headers })

  const shown = await thumb(`${at}/picture.png`)
  expect([shown.status, shown.headers['content-type']]).toEqual([200, 'image/webp'])
  expect(await sharp(shown.bytes).metadata()).toMatchObject({ width: 128 })
  expect((await thumb(`${at}/page.png`)).envelope).toMatchObject({ ok: false, failure: { code: 'input.not-media' } })
  expect((await thumb(`${at}/other.png`)).envelope).toMatchObject({ ok: false, failure: { code: 'app.not-found' } })
  expect((await thumb(`${at}/picture.png`, {})).envelope).toMatchObject({ failure: { code: 'app.refused' } })
  expect(asked).toEqual(['/picture.png', '/page.png'])

  const { ref } = await client.call('input.add', { name: 'own.png', base64: picture.toString('base64') })
  expect((await thumb(ref)).status).toBe(200)
  for (const other of ['input:../../nightshift.db', `input:${'0'.repeat(64)}/own.png`, '/etc/passwd', ''])
    expect((await thumb(other)).envelope).toMatchObject({ ok: false })
})
