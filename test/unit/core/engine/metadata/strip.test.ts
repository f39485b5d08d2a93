import sharp from 'sharp'
import { expect, test } from 'vitest'
import { canStrip, stripTexts } from '../../../../../core/engine/metadata/strip.ts'
import { aPng, pngChunk } from '../../../../kit/artifact-kit.ts'

const texts = { prompt: '{"3":{"class_type":"KSampler"}}' }
const pixels = (bytes: Uint8Array) => sharp(bytes).raw().toBuffer()
const noisy = () =>
  sharp({
    create: {
      width: 40,
      height: 30,
      channels: 3,
      background: 'red',
      noise: { type: 'gaussian', mean: 128, sigma: 50 },
    },
  })

test('a PNG loses its texts of every kind, before and after the pixels, and nothing else', async () => {
  const png = await aPng(texts)
  const more = ['zTXt', 'iTXt', 'comf', 'eXIf'].map((type) => pngChunk(type, 'prompt\0KSampler'))
  const physical = pngChunk('pHYs', '\0\0\x0b\x13\0\0\x0b\x13\x01')
  const full = Buffer.concat([png.subarray(0, 33), physical, png.subarray(33, -12), ...more, png.subarray(-12)])
  const stripped = Buffer.from(stripTexts(full, 'image/png')!)
  expect(stripped.includes('KSampler')).toBe(false)
  expect(stripped.includes('pHYs')).toBe(true)
  expect(stripped).toEqual(Buffer.concat([png.subarray(0, 33), physical, (await aPng()).subarray(33)]))
  expect(await pixels(stripped)).toEqual(await pixels(png))
})
test('a WebP loses EXIF and XMP and says so; its pixels and colours stay', async () => {
  const plain = await noisy().webp({ lossless: true }).toBuffer()
  const webp = await sharp(plain)
    .withExif({ IFD0: { Model: 'prompt:KSampler' } })
    .withXmp('<x:xmpmeta xmlns:x="adobe:ns:meta/">KSampler</x:xmpmeta>')
    .withIccProfile('p3')
    .webp({ lossless: true })
    .toBuffer()
  expect(webp.includes('KSampler')).toBe(true)
  const stripped = Buffer.from(stripTexts(webp, 'image/webp')!)
  const { exif, xmp, icc, width } = await sharp(stripped).metadata()
  expect({ exif, xmp, hasIcc: icc !== undefined, width }).toEqual({
    exif: undefined,
    xmp: undefined,
    hasIcc: true,
    width: 40,
  })
  expect(stripped.includes('KSampler')).toBe(false)
  expect(stripped.readUInt32LE(4)).toBe(stripped.length - 8)
  expect(stripped[20]! & 0x0c).toBe(0)
  expect(await pixels(stripped)).toEqual(await pixels(webp))
})
test('a JPEG loses EXIF, XMP and comments; its pixels and colours stay', async () => {
  const jpeg = await noisy()
    .withExif({ IFD0: { ImageDescription: 'prompt:KSampler' } })
    .withXmp('<x:xmpmeta xmlns:x="adobe:ns:meta/">KSampler</x:xmpmeta>')
    .withIccProfile('p3')
    .jpeg()
    .toBuffer()
  const comment = Buffer.from('\xff\xfe\0\x0aKSampler', 'latin1')
  const full = Buffer.concat([jpeg.subarray(0, 2), comment, Buffer.from([0xff]), jpeg.subarray(2)])
  const stripped = Buffer.from(stripTexts(full, 'image/jpeg')!)
  expect(stripped.includes('KSampler')).toBe(false)
  expect((await sharp(stripped).metadata()).icc).toBeDefined()
  expect(await pixels(stripped)).toEqual(await pixels(jpeg))
})
test('other kinds cannot be stripped, and damaged ones end early instead of failing', async () => {
  expect([canStrip('video/mp4'), stripTexts(new Uint8Array(3), 'video/mp4')]).toEqual([false, null])
  const png = await aPng(texts)
  for (const cut of [0, 9, 40, 60, png.length - 5]) {
    expect(stripTexts(png.subarray(0, cut), 'image/png')!.length).toBeLessThanOrEqual(Math.max(cut, 8))
  }
})
