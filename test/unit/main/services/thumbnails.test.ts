import { createHash } from 'node:crypto'
import { readdirSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import sharp from 'sharp'
import { expect, onTestFinished, test } from 'vitest'
import { Thumbnails } from '../../../../main/services/thumbnails.ts'
import { aPng } from '../../../kit/artifact-kit.ts'
import { eventually } from '../../../kit/eventually.ts'
import { tempDir } from '../../../kit/temp-dir.ts'

async function startThumbnails(limitBytes?: number, dir = tempDir()) {
  const thumbnails = new Thumbnails({ cacheDir: dir, limitBytes })
  await thumbnails.start()
  onTestFinished(() => thumbnails.stop())
  const kept = () => readdirSync(path.join(dir, 'thumbs')).sort()
  return { thumbnails, dir, kept }
}
const fakeHash = (digit: number) => String(digit).repeat(64)

test('a picture is made small once, never larger, and is then had without the picture', async () => {
  const { thumbnails, dir, kept } = await startThumbnails()
  const file = path.join(dir, '图片.png')
  writeFileSync(file, await aPng({}, { width: 600, height: 300 }))
  const sizes = await Promise.all(
    ([128, 256, 256, 512] as const).map((size) => thumbnails.thumbnail(fakeHash(1), file, size)),
  )
  const shapes = await Promise.all(sizes.map(async (bytes) => (await sharp(bytes!).metadata()).width))
  expect(shapes).toEqual([128, 256, 256, 512])
  expect(sizes[1]).toBe(sizes[2]) // asked for twice at once, made once
  rmSync(file)
  expect(Buffer.from((await thumbnails.thumbnail(fakeHash(1), file, 256))!)).toEqual(Buffer.from(sizes[1]!))
  expect(kept()).toEqual([128, 256, 512].map((size) => `${fakeHash(1)}-${size}.webp`))

  const tiny = path.join(dir, 'tiny.png')
  writeFileSync(tiny, await aPng({}, { width: 20, height: 10 }))
  expect(await sharp((await thumbnails.thumbnail(fakeHash(2), tiny, 128))!).metadata()).toMatchObject({ width: 20 })
})

test('what cannot be shown small has no thumbnail, and the thread goes on', async () => {
  const { thumbnails, dir, kept } = await startThumbnails()
  const file = path.join(dir, 'a.png')
  writeFileSync(file, 'no picture')
  expect(await thumbnails.thumbnail(fakeHash(1), file, 128)).toBeNull()
  expect(await thumbnails.thumbnail(fakeHash(1), path.join(dir, 'gone.png'), 128)).toBeNull()
  writeFileSync(file, await aPng())
  expect(await thumbnails.thumbnail(fakeHash(1), file, 128)).not.toBeNull()
  expect(kept()).toHaveLength(1)
})

test('a moving picture shows its first frame', async () => {
  const { thumbnails, dir } = await startThumbnails()
  const frame = (red: number) => Buffer.alloc(8 * 8 * 3, Buffer.from([red, 0, 0]))
  const webp = await sharp(Buffer.concat([frame(255), frame(0)]), {
    raw: { width: 8, height: 16, channels: 3, pageHeight: 8 },
  })
    .webp({ lossless: true, delay: [100, 100] })
    .toBuffer()
  expect((await sharp(webp).metadata()).pages).toBe(2)
  const file = path.join(dir, 'a.webp')
  writeFileSync(file, webp)
  const small = sharp((await thumbnails.thumbnail(fakeHash(1), file, 128))!)
  expect(await small.metadata()).toMatchObject({ width: 8, height: 8 })
  expect((await small.raw().toBuffer())[0]).toBeGreaterThan(200)
})

test('above the limit those not looked at for longest go', async () => {
  const first = await startThumbnails()
  const file = path.join(first.dir, 'a.png')
  writeFileSync(file, await aPng({}, { width: 100, height: 100 }))
  for (let digit = 0; digit < 10; digit++) await first.thumbnails.thumbnail(fakeHash(digit), file, 128)
  const thumbs = path.join(first.dir, 'thumbs')
  const one = statSync(path.join(thumbs, first.kept()[0]!)).size
  for (const [age, name] of first.kept().entries()) utimesSync(path.join(thumbs, name), age + 1, age + 1)
  await first.thumbnails.thumbnail(fakeHash(0), file, 128) // looked at: now the newest
  const second = await startThumbnails(one * 5, first.dir)
  const digits = () => second.kept().map((name) => name[0])
  await eventually(() => digits().join() === '0,7,8,9')
  await second.thumbnails.thumbnail(fakeHash(3), file, 128)
  await second.thumbnails.thumbnail(fakeHash(4), file, 128)
  await eventually(() => digits().join() === '0,3,4,9')
})

test('a file is hashed in the thread; a missing one says so', async () => {
  const { thumbnails, dir } = await startThumbnails()
  const file = path.join(dir, 'large.bin')
  const bytes = Buffer.alloc(3 << 20, 'night')
  writeFileSync(file, bytes)
  expect(await thumbnails.hash(file)).toBe(createHash('sha256').update(bytes).digest('hex'))
  await expect(thumbnails.hash(path.join(dir, 'gone'))).rejects.toMatchObject({ code: 'ENOENT' })
})

test('stopping twice, or before starting, is fine; what is asked for afterwards starts a new thread', async () => {
  const { thumbnails, dir } = await startThumbnails()
  const file = path.join(dir, 'a')
  writeFileSync(file, 'a')
  await thumbnails.hash(file)
  await thumbnails.stop()
  await thumbnails.stop()
  await new Thumbnails({ cacheDir: dir }).stop()
  expect(await thumbnails.hash(file)).toHaveLength(64)
})
