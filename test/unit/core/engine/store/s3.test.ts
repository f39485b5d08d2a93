import { createHash, randomBytes } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { seal } from '../../../../../core/engine/snapshot/manifest.ts'
import { textOf } from '../../../../../core/engine/store/bucket.ts'
import { credentialsIn, openStore } from '../../../../../core/engine/store/open-store.ts'
import { CREDENTIALS, type FakeS3, fakeS3 } from '../../../../kit/fake-s3.ts'
import { aManifest } from '../../../../kit/manifest.ts'
import { tempDir } from '../../../../kit/temp-dir.ts'

const MIB = 2 ** 20
const PART_BYTES = 5 * MIB // storages take no smaller ones
const LARGE_BYTES = 4 * PART_BYTES + 5 // five parts
const large = randomBytes(LARGE_BYTES)
const largeId = createHash('sha256').update(large).digest('hex')
function largeFile() {
  const file = path.join(tempDir(), 'large')
  writeFileSync(file, large)
  return file
}
/** The first three parts arrive, and no other does before it was stopped. */
async function brokenOff(storage: FakeS3, file: string) {
  const { depot, close } = await storage.open('', { partBytes: PART_BYTES })
  const stopping = new AbortController()
  storage.gate = () => {
    const [upload] = storage.uploads.values()
    if ((upload?.parts.size ?? 0) >= 3) stopping.abort()
  }
  await expect(depot.putModel(largeId, file, { signal: stopping.signal })).rejects.toThrow()
  storage.gate = () => {}
  expect(await depot.models()).toEqual(new Map())
  await close()
  await storage.left()
}

describe('a large file', () => {
  test('that broke off is gone on with by whoever sends it next, from the parts that are right', async () => {
    const storage = await fakeS3()
    storage.pageSize = 2
    const file = largeFile()
    await brokenOff(storage, file)
    const [upload] = storage.uploads.values()
    const had = [...upload!.parts.keys()]
    const [damaged] = had
    upload!.parts.set(damaged!, { bytes: Buffer.alloc(PART_BYTES), at: 0, etag: '0'.repeat(32) })
    const before = storage.requests.length
    const { depot } = await storage.open('', { partBytes: PART_BYTES })
    let there = 0
    await depot.putModel(largeId, file, {
      onThere: (bytes) => {
        there += bytes
      },
    })
    const sent = storage.requests.slice(before).filter((line) => line.includes('partNumber'))
    expect(sent.length).toBeGreaterThanOrEqual(1)
    expect(sent.length).toBeLessThanOrEqual(5 - (had.length - 1))
    expect(there).toBeGreaterThanOrEqual((had.length - 2) * PART_BYTES) // the last is small
    expect(await depot.models()).toEqual(new Map([[largeId, LARGE_BYTES]]))
    expect(storage.uploads.size).toBe(0)
    const to = path.join(tempDir(), 'to')
    await depot.getModel(largeId, to, {})
    expect(readFileSync(to).equals(large)).toBe(true)
  })

  test('that nobody went on with for a week is paid for no longer; a younger one stays', async () => {
    const storage = await fakeS3()
    await brokenOff(storage, largeFile())
    const [upload] = storage.uploads.values()
    const { depot } = await storage.open()
    const published = { sealed: seal(aManifest(), null), packs: [] }
    await depot.putSnapshot(published)
    expect(storage.uploads.size).toBe(1)
    upload!.at -= 8 * 86_400_000
    await depot.putSnapshot(published)
    expect(storage.uploads.size).toBe(0)
  })

  test('that changed on the way is not there, and nothing of it stays', async () => {
    const storage = await fakeS3()
    const { depot } = await storage.open('', { partBytes: PART_BYTES })
    const file = path.join(tempDir(), 'large')
    writeFileSync(file, Buffer.concat([large.subarray(0, -1), Buffer.of(large.at(-1)! ^ 1)]))
    await expect(depot.putModel(largeId, file, {})).rejects.toMatchObject({ code: 'snapshot.damaged' })
    expect([storage.objects.size, storage.uploads.size]).toEqual([0, 0])
  })

  test('comes back whole though every connection breaks', async () => {
    const storage = await fakeS3()
    const { depot, bucket } = await storage.open('', { partBytes: PART_BYTES })
    await bucket.put('models/aa/x', large.subarray(0, 12 * MIB))
    storage.onNext({ when: /^GET \/night-bucket\/models/, is: 'cut', times: 6 })
    const to = path.join(tempDir(), 'to')
    storage.objects.set(`models/${largeId.slice(0, 2)}/${largeId}`, storage.objects.get('models/aa/x')!)
    await depot.getModel(largeId, to, {})
    expect(readFileSync(to).equals(large.subarray(0, 12 * MIB))).toBe(true)
  })
})

test('a stream of unknown length arrives in parts, or not at all', async () => {
  const storage = await fakeS3()
  const { bucket } = await storage.open('', { partBytes: PART_BYTES })
  async function* video(end?: Error) {
    for (let at = 0; at < 12; at++) yield large.subarray(at * MIB, (at + 1) * MIB)
    if (end) throw end
  }
  expect(await bucket.put('video', video())).toEqual({ sizeBytes: 12 * MIB })
  expect(storage.objects.get('video')!.bytes.equals(large.subarray(0, 12 * MIB))).toBe(true)
  await expect(bucket.put('other', video(new Error('cut')))).rejects.toThrow('cut')
  expect([storage.objects.has('other'), storage.uploads.size]).toEqual([false, 0])
})

test.each(['if-none-match', 'forbid-overwrite', 'ignored', 'refused'] as const)(
  'a name is given to one of many by a storage whose condition is: %s',
  async (conditions) => {
    const storage = await fakeS3()
    storage.conditions = conditions
    const stores = await Promise.all(Array.from({ length: 5 }, () => storage.open('p')))
    const made = await Promise.all(stores.map(({ bucket }, n) => bucket.create('releases/1.json', String(n))))
    expect(made.filter(Boolean)).toHaveLength(1)
    expect(await textOf(stores[0]!.bucket, 'releases/1.json')).toBe(String(made.indexOf(true)))
    expect([...storage.objects.keys()]).toEqual(['p/releases/1.json'])
  },
)

test('the claim of one that died holds nobody up', async () => {
  const storage = await fakeS3()
  storage.conditions = 'ignored'
  const { bucket } = await storage.open()
  await bucket.create('first', '')
  storage.objects.set('live.claims/dead', { bytes: Buffer.alloc(0), at: Date.now() - 120_000, etag: '' })
  expect(await bucket.create('live', '1')).toBe(true)
  expect(await bucket.create('live', '2')).toBe(false)
})

test('a storage that is busy or breaks off is asked again', async () => {
  const storage = await fakeS3()
  const { bucket } = await storage.open()
  storage.onNext(
    { when: /^PUT/, is: { status: 503, code: 'SlowDown' }, times: 1 },
    { when: /^PUT/, is: 'gone', times: 1 },
    { when: /^PUT/, is: { status: 500, code: 'InternalError' }, times: 1 },
  )
  await bucket.put('a', 'x')
  expect(await textOf(bucket, 'a')).toBe('x')
  expect(storage.requests.filter((line) => line.startsWith('PUT'))).toHaveLength(4)
})

test('a link opens one object, by its name and kind, for whoever has it; one that was changed opens nothing', async () => {
  const storage = await fakeS3()
  const { bucket } = await storage.open('agents/one')
  await bucket.put('tasks/a', 'picture')
  const link = (await bucket.link('tasks/a', { as: '猫 1.png', mediaType: 'image/png', seconds: 60 }))!
  const answer = await fetch(link)
  expect([answer.status, await answer.text(), answer.headers.get('content-type')]).toEqual([
    200,
    'picture',
    'image/png',
  ])
  expect(answer.headers.get('content-disposition')).toContain("filename*=UTF-8''%E7%8C%AB%201.png")
  expect((await fetch(link.replace('tasks/a', 'tasks/b'))).status).toBe(403)
  expect((await fetch(link.replace('X-Amz-Expires=60', 'X-Amz-Expires=600'))).status).toBe(403)
  const address = `${storage.address()}&public=https://pictures.example`
  const elsewhere = await openStore(address, { credentials: CREDENTIALS })
  const named = { as: 'a', mediaType: 'image/png', seconds: 60 }
  expect(await elsewhere.bucket.link('a', named)).toMatch(/^https:\/\/pictures\.example\/night-bucket\/a\?/)
  await elsewhere.close()
})

describe('what is wrong is told, without secrets', () => {
  const failing = async (address: string, credentials = CREDENTIALS) => {
    const store = await openStore(address, { credentials })
    try {
      return await store.bucket.put('a', 'x').then(
        () => null,
        (cause) => cause,
      )
    } finally {
      await store.close()
    }
  }
  test('a wrong secret', async () => {
    const storage = await fakeS3()
    const cause = await failing(storage.address(), { ...CREDENTIALS, secretAccessKey: 'another-planted-secret' })
    expect(cause).toMatchObject({ code: 'store.refused', facts: { reason: 'SignatureDoesNotMatch' } })
    expect(JSON.stringify([cause.facts, cause.message])).not.toMatch(/planted|AKID/)
  })
  test('a bucket that is not there', async () => {
    const storage = await fakeS3()
    const cause = await failing(storage.address().replace('night-bucket', 'day-bucket'))
    expect(cause).toMatchObject({ code: 'store.no-bucket', facts: { bucket: 'day-bucket' } })
  })
  test('nobody there', async () => {
    const cause = await failing('s3://night-bucket/?endpoint=http://127.0.0.1:1')
    expect(cause).toMatchObject({
      code: 'store.unreachable',
      facts: { where: 's3://night-bucket/?endpoint=http://127.0.0.1:1' },
    })
  })
  test('no credentials', async () => {
    await expect(openStore('s3://night-bucket/')).rejects.toMatchObject({ code: 'store.no-credentials' })
  })
  test.each([
    's3://id:secret@night-bucket/',
    's3://night-bucket/?endpoint=ftp://x',
    's3://night-bucket/?colour=red',
    's3://night-bucket/?style=round',
    's3://NOT_A_BUCKET!/',
    's3://',
    'gs://night-bucket/',
  ])('%s', async (address) => {
    await expect(openStore(address, { credentials: CREDENTIALS })).rejects.toMatchObject({ code: 'store.bad-address' })
  })
})

test('credentials are those other programs know', () => {
  expect(credentialsIn({ AWS_ACCESS_KEY_ID: 'a' })).toBeNull()
  const env = { AWS_ACCESS_KEY_ID: 'a', AWS_SECRET_ACCESS_KEY: 'b', AWS_SESSION_TOKEN: 'c' }
  expect(credentialsIn(env)).toEqual({ accessKeyId: 'a', secretAccessKey: 'b', sessionToken: 'c' })
})
