import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import path from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { dispatcherFor, fetchFile } from '../../../../../core/engine/download/fetch-file.ts'
import { findUv } from '../../../../../core/engine/install/uv.ts'
import { tempDir } from '../../../../kit/temp-dir.ts'
import { zipOf } from '../../../../kit/tiny-comfy.ts'

const bytes = randomBytes(2_000_000)
const sha256 = createHash('sha256').update(bytes).digest('hex')
const half = bytes.length / 2

/** Serves a range, or all of it. */
function serve(request: IncomingMessage, response: ServerResponse, whole: Buffer = bytes) {
  const from = Number(/bytes=(\d+)-/.exec(request.headers.range ?? '')?.[1] ?? 0)
  if (from > 0) response.statusCode = 206
  if (from > 0) response.setHeader('content-range', `bytes ${from}-${whole.length - 1}/${whole.length}`)
  response.setHeader('content-length', whole.length - from)
  response.end(whole.subarray(from))
}
type Behaviour = (request: IncomingMessage, response: ServerResponse) => void
const behaviours: Record<string, Behaviour> = {
  '403': (_, response) => void response.writeHead(403).end(),
  stalls: (_, response) =>
    void response.writeHead(200, { 'content-length': bytes.length }).write(bytes.subarray(0, half)),
  resets: (_, response) => {
    response.writeHead(200, { 'content-length': bytes.length })
    response.write(bytes.subarray(0, half), () => response.destroy())
  },
  'ends early': (_, response) => {
    response.writeHead(200, { 'content-length': half })
    response.end(bytes.subarray(0, half))
  },
  'lies about its size': (_, response) => {
    response.writeHead(200, { 'content-length': bytes.length + 5 })
    response.end(Buffer.concat([bytes, Buffer.alloc(5)]))
  },
  'sends something else': (request, response) => serve(request, response, Buffer.alloc(bytes.length)),
  'has a portal': (_, response) =>
    void response.writeHead(200, { 'content-type': 'text/html' }).end('<html>Log in</html>'),
  'never answers': () => {},
  'points nowhere': (_, response) => void response.writeHead(302, { location: 'ftp://elsewhere' }).end(),
}

async function host(behaviour: Behaviour): Promise<string> {
  const server = createServer(behaviour).listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}
function dispatcher() {
  const made = dispatcherFor('none', {})
  onTestFinished(() => made.destroy())
  return made
}

test.each(Object.keys(behaviours))(
  'a first host that %s: the file comes whole from the next, and it is told',
  async (name) => {
    const [bad, good] = [await host(behaviours[name]!), await host(serve)]
    const to = path.join(tempDir(), 'file.bin')
    const got = await fetchFile({
      addresses: [`${bad}/file`, `${good}/file`],
      to,
      sha256,
      sizeBytes: bytes.length,
      limitBytes: 10_000_000,
      dispatcher: dispatcher(),
      stallMs: 300,
    })
    expect(readFileSync(to).equals(bytes)).toBe(true)
    expect(existsSync(`${to}.part`)).toBe(false)
    expect(got.switched).toEqual([{ from: new URL(bad).host, to: new URL(good).host, reason: expect.any(String) }])
    // only what cannot be told from the file before its hash can is fetched in vain
    if (name !== 'sends something else') expect(got.fetchedBytes).toBeLessThanOrEqual(bytes.length * 1.05)
  },
)

test('what was fetched before a stop is continued; without a known hash it begins anew', async () => {
  const to = path.join(tempDir(), 'file.bin')
  const [cut, good] = [await host(behaviours.resets!), await host(serve)]
  const asked = { to, limitBytes: 10_000_000, dispatcher: dispatcher() }
  const soon = { ...asked, addresses: [cut], stallMs: 300 }
  await expect(fetchFile({ ...soon, sha256 })).rejects.toMatchObject({ code: 'install.unreachable' })
  const got = await fetchFile({ ...asked, addresses: [good], sha256 })
  expect(got.fetchedBytes).toBeGreaterThanOrEqual(bytes.length - half)
  expect(got.fetchedBytes).toBeLessThan(bytes.length * 0.75) // where it is slow, connections that share the rest overlap a little
  await expect(fetchFile(soon)).rejects.toMatchObject({ code: 'install.unreachable' })
  expect((await fetchFile({ ...asked, addresses: [good] })).fetchedBytes).toBe(bytes.length)
})

test('a stop asked for is no failure of a host', async () => {
  const stopping = new AbortController()
  const silent = await host(() => stopping.abort(new Error('stopped')))
  const to = path.join(tempDir(), 'file.bin')
  const asked = { addresses: [silent], to, limitBytes: 1, dispatcher: dispatcher(), signal: stopping.signal }
  await expect(fetchFile(asked)).rejects.toThrow('stopped')
})

const posix = process.platform === 'linux'
test.skipIf(!posix).each(['403', 'has a portal', 'never answers', 'sends something else'])(
  'uv comes from its wheel on a Python index; a first index that %s is passed over',
  async (name) => {
    const tag = process.arch === 'arm64' ? 'manylinux_2_17_aarch64' : 'manylinux_2_17_x86_64'
    const file = `uv-9.9.9-py3-none-${tag}.whl`
    const wheel = zipOf({ 'uv-9.9.9.data/scripts/uv': '#!/bin/sh\necho "uv 9.9.9 (test)"\n' })
    const hash = createHash('sha256').update(wheel).digest('hex')
    const good = await host((request, response) => {
      if (request.url === '/simple/uv/') response.end(`<a href="/files/${file}#sha256=${hash}">${file}</a>`)
      else serve(request, response, wheel)
    })
    const bad = await host((request, response) => {
      const listing = name === 'sends something else' && request.url === '/simple/uv/'
      if (listing) response.end(`<a href="/files/${file}#sha256=${hash}">${file}</a>`)
      else behaviours[name]!(request, response)
    })
    const dir = tempDir()
    const { uv, switched } = await findUv({
      toolsDir: path.join(dir, 'uv'),
      indexes: [`${bad}/simple`, `${good}/simple/`],
      dispatcher: dispatcher(),
      env: { PATH: '/nowhere' },
      pipEnv: {},
      log: path.join(dir, 'log'),
      platform: 'linux',
      arch: process.arch,
      pythons: [],
      stallMs: name === 'never answers' ? 3_500 : 15_000, // of the good one as well
    })
    expect(uv).toBe(path.join(dir, 'uv', '9.9.9', 'uv'))
    expect(switched.map(({ from }) => from)).toContain(new URL(bad).host)
  },
)
