import { hash, randomBytes } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, statSync, truncateSync, utimesSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { FolderDepot } from '../../../../core/engine/snapshot/depot.ts'
import { newSigningKey, seal } from '../../../../core/engine/snapshot/manifest.ts'
import { PackWriter, packFile } from '../../../../core/engine/snapshot/pack.ts'
import { freeBytes } from '../../../../core/engine/volume.ts'
import { httpDepot, serveDepot } from '../../../kit/depot-server.ts'
import { aManifest } from '../../../kit/manifest.ts'
import { serve } from '../../../kit/serve.ts'
import { tempDir } from '../../../kit/temp-dir.ts'

const MIB = 1 << 20

/** A file that is no pack, by its hash. */
function aModel(bytes = 3 * MIB) {
  const content = randomBytes(bytes)
  const file = path.join(tempDir(), 'model')
  writeFileSync(file, content)
  return { file, content, id: hash('sha256', content) }
}
function aPack(bytes = MIB) {
  const dir = tempDir()
  const writer = new PackWriter(dir, 'one')
  const content = randomBytes(bytes)
  writer.add(content, [{ hash: hash('sha256', content), length: bytes }])
  const { id } = writer.close()!
  return { id, file: packFile(dir, id), bytes: readFileSync(packFile(dir, id)) }
}
/** What a transfer tells. */
function told() {
  const sum = { sent: 0, there: 0 }
  return {
    sum,
    transfer: {
      onBytes: (bytes: number) => {
        sum.sent += bytes
      },
      onThere: (bytes: number) => {
        sum.there += bytes
      },
    },
  }
}

test('packs, models and snapshots go to an agent and come back the same', async () => {
  const at = tempDir()
  const server = await serveDepot(new FolderDepot(at))
  const depot = httpDepot(server.url)
  const pack = aPack()
  const model = aModel()
  await depot.putPack(pack.id, pack.file, {})
  await depot.putModel(model.id, model.file, {})
  expect(await depot.packs()).toEqual(new Map([[pack.id, pack.bytes.length]]))
  expect(await depot.models()).toEqual(new Map([[model.id, model.content.length]]))
  expect([await depot.packBytes(pack.id), await depot.modelBytes(pack.id)]).toEqual([pack.bytes.length, null])
  expect((await depot.readPack(pack.id, -10, 10)).equals(pack.bytes.subarray(-10))).toBe(true)
  expect((await depot.readModel(model.id, 5, 7)).equals(model.content.subarray(5, 12))).toBe(true)

  const to = path.join(tempDir(), 'model')
  writeFileSync(to, model.content.subarray(0, MIB)) // of an earlier try
  const { sum, transfer } = told()
  await depot.getModel(model.id, to, transfer)
  expect(readFileSync(to).equals(model.content)).toBe(true)
  expect(sum).toEqual({ sent: 2 * MIB, there: MIB })

  const sealed = seal(aManifest(), newSigningKey())
  const published = { sealed, packs: [{ id: pack.id, bytes: pack.bytes.length }] }
  expect(await depot.getSnapshot(sealed.id)).toBeNull()
  await depot.putSnapshot(published)
  expect(await depot.snapshots()).toEqual([sealed.id])
  expect(await depot.getSnapshot(sealed.id)).toEqual(published)
})

test('what is there already is not sent again', async () => {
  const server = await serveDepot(new FolderDepot(tempDir()))
  const depot = httpDepot(server.url)
  const model = aModel()
  await depot.putModel(model.id, model.file, {})
  const { sum, transfer } = told()
  await depot.putModel(model.id, model.file, transfer)
  expect(sum).toEqual({ sent: 0, there: 3 * MIB })
})

test('an upload that was cut off goes on from the bytes that arrived, also after the agent was started anew', async () => {
  const at = tempDir()
  const server = await serveDepot(new FolderDepot(at))
  const model = aModel(5 * MIB)
  const cut = new AbortController()
  let sent = 0
  const first = httpDepot(server.url).putModel(model.id, model.file, {
    signal: cut.signal,
    onBytes: (bytes) => {
      sent += bytes
      if (sent > 2 * MIB) cut.abort()
    },
  })
  await expect(first).rejects.toThrow()
  expect(await httpDepot(server.url).models()).toEqual(new Map())
  server.restart()
  const { sum, transfer } = told()
  await httpDepot(server.url).putModel(model.id, model.file, transfer)
  expect(sum.there).toBeGreaterThanOrEqual(MIB)
  expect(sum.sent).toBe(5 * MIB - sum.there)
  expect(readFileSync(path.join(at, 'models', model.id.slice(0, 2), model.id)).equals(model.content)).toBe(true)
})

test('what nobody went on with for a week makes room for others', async () => {
  const incoming = tempDir()
  for (const [name, daysAgo] of Object.entries({ old: 8, young: 6 })) {
    writeFileSync(path.join(incoming, `models-${name}.part`), name)
    const at = Date.now() / 1000 - daysAgo * 86_400
    utimesSync(path.join(incoming, `models-${name}.part`), at, at)
  }
  const server = await serveDepot(new FolderDepot(tempDir()), { incoming })
  const model = aModel(1000)
  await httpDepot(server.url).putModel(model.id, model.file, {})
  expect(readdirSync(incoming)).toEqual(['models-young.part'])
})

test('connections that break and an agent that is busy are waited out; what was told adds up to the file', async () => {
  const server = await serveDepot(new FolderDepot(tempDir()))
  const model = aModel(5 * MIB)
  let puts = 0
  server.fault = (request, reply) => {
    if (request.method !== 'PUT') return false
    puts++
    if (puts === 1) request.socket.destroy()
    if (puts === 3) reply.writeHead(503, { 'retry-after': '0' }).end('busy')
    if (puts === 4) request.once('data', () => setImmediate(() => request.socket.destroy()))
    return puts === 1 || puts === 3
  }
  const { sum, transfer } = told()
  await httpDepot(server.url).putModel(model.id, model.file, transfer)
  expect(puts).toBeGreaterThan(4)
  expect(sum.sent + sum.there).toBe(5 * MIB)
})

test('an agent that went away is waited for longer than an address where nobody ever answered', async () => {
  const server = await serveDepot(new FolderDepot(tempDir()))
  const depot = httpDepot(server.url, { tries: 5 })
  await depot.packs()
  server.fault = (request) => {
    request.socket.destroy()
    return true
  }
  await expect(depot.packs()).rejects.toMatchObject({ code: 'depot.unreachable' })
  expect(server.answers).toHaveLength(1 + 5)
  await expect(httpDepot(server.url, { tries: 5 }).packs()).rejects.toMatchObject({ code: 'depot.unreachable' })
  expect(server.answers).toHaveLength(1 + 5 + 3)
})

test('an agent that stays away is given up with its address and without the key', async () => {
  const server = await serveDepot(new FolderDepot(tempDir()))
  server.fault = (request) => {
    request.socket.destroy()
    return true
  }
  const model = aModel(10)
  const failed = await httpDepot(server.url, { tries: 3 })
    .putModel(model.id, model.file, {})
    .catch((cause: unknown) => cause)
  expect(failed).toMatchObject({ code: 'depot.unreachable', facts: { where: server.url } })
  expect(JSON.stringify(failed)).not.toContain('sk_test')
  expect(server.answers).toHaveLength(3)
})

test('what is not an agent, and a key that may not publish, are told at once', async () => {
  const page = await serve((_, reply) => reply.end('<html>'))
  await expect(httpDepot(page.url).packs()).rejects.toMatchObject({ code: 'depot.refused' })
  let asked = 0
  const closed = await serve((_, reply) => {
    asked++
    reply.writeHead(403, { 'content-type': 'application/json' }).end('{"error":{"message":"this key may not publish"}}')
  })
  await expect(httpDepot(closed.url).packs()).rejects.toMatchObject({
    code: 'depot.refused',
    facts: { status: 403, reason: 'this key may not publish' },
  })
  expect(asked).toBe(1)
  for (const url of ['ftp://x', 'http://user:key@host/', 'nonsense'])
    expect(() => httpDepot(url)).toThrow(/http\(s\):\/\/host/)
})

test('the key does not follow a redirect', async () => {
  let heard: string | undefined
  const elsewhere = await serve((request, reply) => {
    heard = request.headers.authorization ?? 'nothing'
    reply.end('{"bytes":{}}')
  })
  const moved = await serve((_, reply) => reply.writeHead(307, { location: `${elsewhere.url}/v1/packs` }).end())
  await expect(httpDepot(moved.url).packs()).rejects.toMatchObject({ code: 'depot.refused' })
  expect(heard).toBeUndefined()
})

test('bytes that are not what their name says never get it, and the next try starts anew', async () => {
  const at = tempDir()
  const server = await serveDepot(new FolderDepot(at))
  const depot = httpDepot(server.url)
  const [model, other, pack] = [aModel(), aModel(), aPack()]
  await expect(depot.putModel(model.id, other.file, {})).rejects.toMatchObject({
    failure: { code: 'snapshot.damaged' },
  })
  expect(await depot.models()).toEqual(new Map())
  await depot.putModel(model.id, model.file, {})
  expect([...(await depot.models()).keys()]).toEqual([model.id])
  // of the right hash, and no pack
  await expect(depot.putPack(model.id, model.file, {})).rejects.toMatchObject({ failure: { code: 'snapshot.damaged' } })
  truncateSync(pack.file, 1000)
  await expect(depot.putPack(pack.id, pack.file, {})).rejects.toMatchObject({ failure: { code: 'snapshot.damaged' } })
  expect(await depot.packs()).toEqual(new Map())
})

test('two who send the same model at once both end well, and it is there once', async () => {
  const at = tempDir()
  const server = await serveDepot(new FolderDepot(at))
  const model = aModel(4 * MIB)
  const [one, two] = [httpDepot(server.url), httpDepot(server.url)]
  await Promise.all([one.putModel(model.id, model.file, {}), two.putModel(model.id, model.file, {})])
  const files = readdirSync(at, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
  expect(files.map(({ name }) => name)).toEqual([model.id])
})

test('a snapshot is taken only whole, as its id says, and signed by who is trusted', async () => {
  const [mine, theirs] = [newSigningKey(), newSigningKey()]
  const sealed = seal(aManifest(), mine)
  const at = tempDir()
  const server = await serveDepot(new FolderDepot(at), { trusted: [sealed.publicKey!] })
  const depot = httpDepot(server.url)
  const pack = aPack()
  const packs = [{ id: pack.id, bytes: pack.bytes.length }]
  const refused = (code: string) => ({ failure: { code } })
  await expect(depot.putSnapshot({ sealed, packs })).rejects.toMatchObject(refused('snapshot.incomplete'))
  await depot.putPack(pack.id, pack.file, {})
  const stranger = seal(aManifest(), theirs)
  await expect(depot.putSnapshot({ sealed: stranger, packs })).rejects.toMatchObject(refused('snapshot.untrusted'))
  const changed = { ...sealed, manifest: { ...sealed.manifest, name: 'changed' } }
  await expect(depot.putSnapshot({ sealed: changed, packs })).rejects.toMatchObject(refused('snapshot.damaged'))
  expect(await depot.snapshots()).toEqual([])
  await depot.putSnapshot({ sealed, packs })
  expect(await depot.snapshots()).toEqual([sealed.id])
})

test('names that are no hashes lead nowhere, and nothing that comes malformed breaks the agent', async () => {
  const at = tempDir()
  writeFileSync(path.join(at, 'secret'), 'x')
  const { url } = await serveDepot(new FolderDepot(at))
  const id = 'a'.repeat(64)
  const ask = async (target: string, method = 'GET', headers: Record<string, string> = {}, body?: string) =>
    (await fetch(url + target, { method, headers, ...(body !== undefined && { body }) })).status
  expect(await ask('/v1/packs/../secret')).toBe(404)
  expect(await ask(`/v1/models/${id.toUpperCase()}`)).toBe(404)
  expect(await ask(`/v1/models/${id}`, 'DELETE')).toBe(404)
  expect(await ask(`/v1/models/${id}`, 'PUT', { 'content-range': 'bytes 5-9/10' }, '12345')).toBe(409)
  expect(await ask(`/v1/models/${id}`, 'PUT', { 'content-range': 'bytes 0-9/3' }, '1234567890')).toBe(400)
  expect(await ask(`/v1/models/${id}`, 'PUT', { 'content-range': 'nonsense' }, '')).toBe(422)
  const hasRoom = ((await freeBytes(tempDir())) ?? Number.POSITIVE_INFINITY) > 2 ** 49
  expect(await ask(`/v1/models/${id}`, 'PUT', { 'content-range': `bytes 0-1/${2 ** 49}` }, '12')).toBe(
    hasRoom ? 202 : 507,
  )
  expect(await ask(`/v1/snapshots/${id}`, 'PUT', {}, '{')).toBe(422)
  expect(await ask(`/v1/models/${id}/fetch`, 'POST', {}, '{"size":-1}')).toBe(400)
  expect(await ask(`/v1/models/${id}/fetch`, 'POST', {}, '{"size":1,"sources":["file:///etc/passwd"]}')).toBe(400)
  expect(existsSync(path.join(at, 'models'))).toBe(false)
})

test('an agent gets a model for itself, through a mirror, and the sender sends none of it', async () => {
  const model = aModel()
  const asked: string[] = []
  const mirror = await serve((request, reply) => {
    asked.push(request.url ?? '')
    const [, from = '0', to] = /^bytes=(\d+)-(\d+)?$/.exec(request.headers.range ?? '') ?? []
    const end = to === undefined ? model.content.length : Number(to) + 1
    const part = model.content.subarray(Number(from), end)
    reply.writeHead(request.headers.range ? 206 : 200, {
      'content-range': `bytes ${from}-${end - 1}/${model.content.length}`,
      'content-length': part.length,
    })
    reply.end(part)
  })
  const mirrors = [{ standsInFor: 'hub.invalid', pattern: `${mirror.url}{path}` }]
  const at = tempDir()
  const server = await serveDepot(new FolderDepot(at), { mirrors })
  const depot = httpDepot(server.url)
  const { sum, transfer } = told()
  const wanted = { sha256: model.id, size: model.content.length, sources: ['https://hub.invalid/a/model'] }
  await depot.fetchModel(wanted, transfer)
  expect(sum.sent).toBe(model.content.length)
  expect(asked).toContain('/a/model')
  expect(statSync(path.join(at, 'models', model.id.slice(0, 2), model.id)).size).toBe(model.content.length)
  expect(server.answers.some((answer) => answer.startsWith('PUT'))).toBe(false)
})

test('a source on this side of the internet is not asked', async () => {
  let asked = 0
  const inside = await serve((_, reply) => {
    asked++
    reply.end('secret')
  })
  const server = await serveDepot(new FolderDepot(tempDir()), { mayReach: (address) => !address.startsWith('127.') })
  const wanted = {
    sha256: 'a'.repeat(64),
    size: 6,
    sources: [`${inside.url}/x`, inside.url.replace('127.0.0.1', 'localhost')],
  }
  await expect(httpDepot(server.url).fetchModel(wanted, {})).rejects.toMatchObject({ code: 'download.unreachable' })
  expect(asked).toBe(0)
})
