import { createServer, get, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, onTestFinished, test } from 'vitest'
import { WebSocket, WebSocketServer } from 'ws'
import { EditorProxy } from '../../../../../core/engine/comfy/editor-proxy.ts'

const PAGE = '<!doctype html><html><head><title>ComfyUI</title></head><body></body></html>'

/** A server with an editor's page, and its proxy; `seen` is what reached the server. */
async function start({ base = '', header = null as { name: string; value: string } | null } = {}) {
  const seen: IncomingMessage[] = []
  const server = createServer((request, reply) => {
    seen.push(request)
    if (request.url?.split('?')[0] === `${base}/`)
      return void reply.setHeader('content-type', 'text/html').setHeader('set-cookie', 'nightshift=stolen').end(PAGE)
    if (request.method !== 'POST') return void reply.writeHead(404).end('none')
    request.pipe(reply)
  })
  const sockets = new WebSocketServer({ server, path: `${base}/ws` })
  sockets.on('connection', (socket, request) => {
    seen.push(request)
    socket.on('message', (data) => socket.send(`heard ${data}`))
  })
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}${base}/`
  const proxy = new EditorProxy({
    address: { url, header },
    host: '127.0.0.1',
    port: 0,
    words: () => ({ notOpened: 'not opened', noEntry: 'no entry' }),
  })
  await proxy.start()
  onTestFinished(async () => {
    await proxy.stop()
    sockets.close()
    server.closeAllConnections()
    server.close()
  })
  return { server, seen, proxy, origin: `http://127.0.0.1:${proxy.port}` }
}
const go = (url: string, headers: Record<string, string> = {}, more: RequestInit = {}) =>
  fetch(url, { redirect: 'manual', headers, ...more })

async function enter({ proxy, origin }: Awaited<ReturnType<typeof start>>, json = '{"nodes":[]}') {
  const path = proxy.open({ name: 'night', json })
  const reply = await go(origin + path)
  return {
    path,
    status: reply.status,
    cookie: reply.headers.get('set-cookie')?.split(';')[0] ?? '',
    location: reply.headers.get('location') ?? '',
  }
}

test('a ticket enters once, the page then brings the file to the editor', async () => {
  const kit = await start()
  const { path, status, cookie, location } = await enter(kit, '{"seed":18446744073709551615}')
  expect(status).toBe(302)
  expect((await go(kit.origin + path)).status).toBe(403)
  const page = await (await go(kit.origin + location, { cookie })).text()
  expect(page).toBe(PAGE.replace('</head>', '<script src="/nightshift/open.js" defer></script></head>'))
  expect(await (await go(`${kit.origin}/`, { cookie })).text()).toBe(PAGE)
  const id = new URLSearchParams(location.slice(2)).get('nightshift')
  const file = (await (await go(`${kit.origin}/nightshift/file/${id}`, { cookie })).json()) as object
  expect(file).toEqual({ notOpened: 'not opened', name: 'night', json: '{"seed":18446744073709551615}' })
  expect((await go(`${kit.origin}/nightshift/open.js`, { cookie })).headers.get('content-type')).toMatch(/javascript/)
})

test('the editor opens alone too, as it was left', async () => {
  const { proxy, origin } = await start()
  const reply = await go(origin + proxy.open(null))
  expect([reply.status, reply.headers.get('location')]).toEqual([302, '/'])
  const cookie = reply.headers.get('set-cookie')!.split(';')[0]!
  expect(await (await go(`${origin}/`, { cookie })).text()).toBe(PAGE)
})

test('who has no session, or comes from another page, reaches nothing', async () => {
  const kit = await start()
  const { cookie, location } = await enter(kit)
  const asked = kit.seen.length
  for (const headers of [
    {},
    { cookie: 'nightshift-editor=guess' },
    { cookie, origin: 'http://127.0.0.1:9' },
    { cookie, 'sec-fetch-site': 'same-site', 'sec-fetch-mode': 'no-cors' },
    { cookie, 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'cors' },
  ] as Record<string, string>[]) {
    const reply = await go(`${kit.origin}/api/prompt`, headers, { method: 'POST', body: '{}' })
    expect([headers, reply.status, await reply.text()]).toEqual([headers, 403, 'no entry'])
  }
  expect(kit.seen.length).toBe(asked)
  // a person who comes from our page navigates
  const navigating = { cookie, 'sec-fetch-site': 'same-site', 'sec-fetch-mode': 'navigate' }
  const status = new Promise((resolve) =>
    get(kit.origin + location, { headers: navigating }, (reply) => resolve(reply.resume().statusCode)),
  )
  expect(await status).toBe(200)
})

test('requests go on with the server’s header, and without cookies, to its base path; its cookies stay there', async () => {
  const kit = await start({ base: '/comfy', header: { name: 'Authorization', value: 'Bearer k' } })
  const { cookie, location } = await enter(kit)
  const page = await go(kit.origin + location, { cookie: `nightshift=ours; ${cookie}`, authorization: 'Bearer ours' })
  expect(page.status).toBe(200)
  expect(page.headers.get('set-cookie')).toBeNull()
  const echoed = await go(
    `${kit.origin}/api/prompt?x=1`,
    { cookie, origin: kit.origin, 'content-type': 'application/json' },
    { method: 'POST', body: '{"a":"夜"}' },
  )
  expect(await echoed.text()).toBe('{"a":"夜"}')
  const [first, second] = kit.seen
  expect(first!.headers).toMatchObject({ authorization: 'Bearer k' })
  expect(first!.headers.cookie).toBeUndefined()
  expect(second!.url).toBe('/comfy/api/prompt?x=1')
  expect(second!.headers.origin).toBe(`http://${second!.headers.host}`)
  expect(second!.headers.host).toBe(`127.0.0.1:${(kit.server.address() as AddressInfo).port}`)
})

test('its socket is carried both ways, for its own page only', async () => {
  const kit = await start()
  const { cookie } = await enter(kit)
  const address = `ws://127.0.0.1:${kit.proxy.port}/ws?clientId=1`
  const socket = new WebSocket(address, { headers: { cookie, origin: kit.origin } })
  const answer = new Promise((resolve) => socket.on('message', (data) => resolve(String(data))))
  socket.on('open', () => socket.send('hello'))
  expect(await answer).toBe('heard hello')
  expect(kit.seen.at(-1)!.headers.cookie).toBeUndefined()
  socket.close()
  for (const headers of [{ cookie }, { origin: kit.origin }, { cookie, origin: 'http://127.0.0.1:9' }]) {
    const refused = new WebSocket(address, { headers: headers as Record<string, string> })
    const why = await new Promise((resolve) => refused.on('error', ({ message }) => resolve(message)))
    expect(why).toContain('403')
  }
})

test('a server that is gone is said to be gone; a taken port gives way', async () => {
  const kit = await start()
  const { cookie } = await enter(kit)
  const second = new EditorProxy({
    address: { url: 'http://127.0.0.1:9/', header: null },
    host: '127.0.0.1',
    port: kit.proxy.port,
    words: () => ({ notOpened: '', noEntry: '' }),
  })
  await second.start()
  onTestFinished(() => second.stop())
  expect(second.port).not.toBe(kit.proxy.port)
  kit.server.closeAllConnections()
  await new Promise((done) => kit.server.close(done))
  const reply = await go(`${kit.origin}/api/queue`, { cookie })
  expect([reply.status, await reply.text()]).toEqual([502, expect.stringContaining('does not answer')])
})
