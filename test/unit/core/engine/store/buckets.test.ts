import { readdirSync } from 'node:fs'
import path from 'node:path'
import type { Readable } from 'node:stream'
import { describe, expect, test } from 'vitest'
import { type Bucket, FolderBucket, type ListOptions, textOf, within } from '../../../../../core/engine/store/bucket.ts'
import { fakeS3 } from '../../../../kit/fake-s3.ts'
import { tempDir } from '../../../../kit/temp-dir.ts'

/** `open` again: somebody else on the same. */
const kinds: [string, () => Promise<() => Promise<Bucket>>][] = [
  [
    'a folder',
    async () => {
      const dir = path.join(tempDir(), 'made', 'when needed')
      return async () => new FolderBucket(dir)
    },
  ],
  [
    'object storage',
    async () => {
      const storage = await fakeS3()
      storage.pageSize = 2
      return async () => (await storage.open('some/where')).bucket
    },
  ],
  [
    'part of another',
    async () => {
      const dir = tempDir()
      return async () => within(new FolderBucket(dir), 'part/')
    },
  ],
]
const read = async (stream: Readable | null) => stream && Buffer.concat(await stream.toArray()).toString()
async function names(bucket: Bucket, folder: string, options?: ListOptions) {
  const found: string[] = []
  for await (const { name } of bucket.list(folder, options)) found.push(name)
  return found
}

describe.each(kinds)('a bucket in %s', (_, make) => {
  test('gives back what was put last, whole or in part, and tells how much it is', async () => {
    const open = await make()
    const bucket = await open()
    expect([await bucket.get('a/b'), await bucket.stat('a/b')]).toEqual([null, null])
    expect(await bucket.put('a/b', '夜班')).toEqual({ sizeBytes: 6 })
    await bucket.put('a/b', Buffer.from('0123456789'))
    expect(await textOf(await open(), 'a/b')).toBe('0123456789')
    expect(await read(await bucket.get('a/b', { from: 2, length: 3 }))).toBe('234')
    expect(await read(await bucket.get('a/b', { from: 8, length: 30 }))).toBe('89')
    expect(await bucket.stat('a/b')).toMatchObject({ name: 'a/b', sizeBytes: 10 })
    expect(Math.abs((await bucket.stat('a/b'))!.changedAt - Date.now())).toBeLessThan(60_000)
    await bucket.put('empty', '')
    expect(await textOf(bucket, 'empty')).toBe('')
  })

  test('makes what is not there for one of many, and never changes it', async () => {
    const open = await make()
    const buckets = await Promise.all(Array.from({ length: 4 }, open))
    const tries = Array.from({ length: 12 }, (_, n) => buckets[n % 4]!.create('live', String(n)))
    const made = await Promise.all(tries)
    expect(made.filter(Boolean)).toHaveLength(1)
    expect(await textOf(await open(), 'live')).toBe(String(made.indexOf(true)))
    expect(await (await open()).create('live', 'late')).toBe(false)
  })

  test('lists a folder by name, from anywhere, and nothing that is gone', async () => {
    const bucket = await (await make())()
    for (const name of ['b/2', 'b/1', 'b/c/3', 'a', 'ba', 'b/4']) await bucket.put(name, name)
    await bucket.remove('b/4')
    await bucket.remove('b/none')
    expect(await names(bucket, 'b/')).toEqual(['b/1', 'b/2', 'b/c/3'])
    expect(await names(bucket, 'b/', { after: 'b/1' })).toEqual(['b/2', 'b/c/3'])
    expect(await names(bucket, 'none/')).toEqual([])
    expect(await names(bucket, '')).toEqual(['a', 'b/1', 'b/2', 'b/c/3', 'ba'])
  })

  test.each(['../out', 'a/../../out', '/etc/x', '.hidden', 'a/.', 'A', 'a b', 'a//b', 'a\\b', '', 'a/', '名'])(
    'knows no object called %j',
    async (name) => {
      const bucket = await (await make())()
      await expect((async () => bucket.put(name, 'x'))()).rejects.toThrow('no name for an object')
      await expect((async () => bucket.get(name))()).rejects.toThrow('no name for an object')
    },
  )

  test('keeps nothing of what breaks off', async () => {
    const bucket = await (await make())()
    async function* broken() {
      yield Buffer.alloc(1_000)
      throw new Error('cut')
    }
    await expect(bucket.put('a', broken())).rejects.toThrow('cut')
    expect(await bucket.stat('a')).toBeNull()
    expect(await names(bucket, '')).toEqual([])
  })
})

test('a folder that was emptied has no folders left, also while others put something there', async () => {
  const dir = tempDir()
  const bucket = new FolderBucket(dir)
  const comeAndGo = async (n: number) => {
    for (let round = 0; round < 60; round++) {
      await bucket.put(`a/b/${n}`, 'x')
      await bucket.remove(`a/b/${n}`)
    }
  }
  await Promise.all(Array.from({ length: 6 }, (_, n) => comeAndGo(n)))
  expect(readdirSync(dir)).toEqual([])
})
