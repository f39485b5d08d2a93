import path from 'node:path'
import sharp, { type Sharp } from 'sharp'
import { expect, test } from 'vitest'
import { compareFiles } from '../../../../core/engine/proof.ts'
import { tempDir } from '../../../kit/temp-dir.ts'

type Draw = (x: number, y: number) => readonly [number, number, number]
const WIDTH = 96
const HEIGHT = 64
const base: Draw = (x, y) => [(x * 5 + y * 3) % 256, (x * x + y * 7) % 256, (x * 2 + y * y) % 256]
/** Each value moved by up to 6, by a rule that every language can follow. */
const noisy: Draw = (x, y) => {
  const by = ((x * 31 + y * 17) % 13) - 6
  const [r, g, b] = base(x, y)
  return [clamp(r + by), clamp(g - by), clamp(b + by)]
}
const clamp = (value: number) => Math.min(255, Math.max(0, value))

function pixels(draw: Draw, width = WIDTH, height = HEIGHT) {
  const data = Buffer.alloc(width * height * 3)
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) for (const [n, value] of draw(x, y).entries()) data[(y * width + x) * 3 + n] = value
  return sharp(data, { raw: { width, height, channels: 3 } })
}

/** Writes both and compares them. */
async function compare(one: Sharp, other: Sharp, ext = 'png') {
  const dir = tempDir()
  const [desk, endpoint, difference] = [`desk.${ext}`, `endpoint.${ext}`, 'difference.png'].map((name) =>
    path.join(dir, name),
  ) as [string, string, string]
  await Promise.all([one.toFile(desk), other.toFile(endpoint)])
  return { compared: await compareFiles(desk, endpoint, { difference }), difference }
}

test('the same pixels are identical, whatever is written beside them or how they are packed', async () => {
  const told = pixels(base).withExif({ IFD0: { ImageDescription: 'another prompt' } })
  const { compared } = await compare(pixels(base).png({ compressionLevel: 1 }), told.png({ compressionLevel: 9 }))
  expect(compared).toEqual({ verdict: 'identical', ssim: 1, changed: 0, largest: 0, why: null })
})

test('SSIM is what scipy reckons for the same picture by the paper’s formula', async () => {
  const { compared } = await compare(pixels(base), pixels(noisy))
  expect(compared.ssim).toBeCloseTo(SCIPY_SSIM, 9)
  expect(compared).toMatchObject({ verdict: 'equivalent', largest: 6, changed: SCIPY_CHANGED, why: null })
})
// scipy 1.17.1: gaussian_filter1d(sigma=1.5, truncate=3.5) of values, squares and products, border of 5 cut, mean of channels
const SCIPY_SSIM = 0.9818706021988812
const SCIPY_CHANGED = 0.9231770833333334

test('a picture with one corner changed is equivalent, and the difference glows there and nowhere else', async () => {
  const marked: Draw = (x, y) => (x < 4 && y < 4 ? [255, 0, 0] : base(x, y))
  const { compared, difference } = await compare(pixels(base), pixels(marked))
  expect(compared.verdict).toBe('equivalent')
  expect(compared.changed).toBeCloseTo(16 / (WIDTH * HEIGHT), 6)
  const drawn = await sharp(difference).raw().toBuffer({ resolveWithObject: true })
  const at = (x: number, y: number) => [...drawn.data.subarray((y * WIDTH + x) * 3, (y * WIDTH + x) * 3 + 3)]
  const [red = 0, , blue = 0] = at(1, 1)
  expect(red - blue).toBeGreaterThan(60)
  const [quietRed, quietGreen, quietBlue] = at(60, 40)
  expect([quietGreen, quietBlue]).toEqual([quietRed, quietRed])
})

test('another picture is different, and so is one of another size or another number of frames', async () => {
  const { compared } = await compare(
    pixels(base),
    pixels((x, y) => base(y, x * 3)),
  )
  expect(compared).toMatchObject({ verdict: 'different', why: 'unlike' })
  expect(compared.ssim).toBeLessThan(0.5)
  const smaller = await compare(pixels(base), pixels(base, 64, 64))
  expect(smaller.compared).toEqual({ verdict: 'different', ssim: null, changed: null, largest: null, why: 'size' })
})

test('one bit of sixteen is seen, though no screen shows it', async () => {
  const deep = (add: number) => {
    const data = new Uint16Array(WIDTH * HEIGHT * 3).map((_, at) => ((at * 257) % 65_536) + (at === 99 ? add : 0))
    return sharp(data, { raw: { width: WIDTH, height: HEIGHT, channels: 3 } })
      .toColourspace('rgb16')
      .png()
  }
  expect((await compare(deep(0), deep(0).withExif({ IFD0: { Copyright: 'x' } }))).compared.verdict).toBe('identical')
  expect((await compare(deep(0), deep(1))).compared).toMatchObject({ verdict: 'equivalent', changed: 0, largest: 0 })
})

test('what is transparent here and not there differs', async () => {
  const veiled = (alpha: number) => pixels(base).ensureAlpha(alpha)
  const { compared } = await compare(veiled(1), veiled(0))
  expect(compared).toMatchObject({ verdict: 'different', why: 'unlike' })
})

test('of moving pictures every frame counts', async () => {
  const frames = (last: Draw) =>
    sharp(joined([base, noisy, last]), {
      raw: { width: WIDTH, height: HEIGHT * 3, channels: 3, pageHeight: HEIGHT },
    }).webp({ lossless: true, loop: 0 })
  expect(
    (await compare(frames(base), frames(base).withExif({ IFD0: { Copyright: 'x' } }), 'webp')).compared.verdict,
  ).toBe('identical')
  const { compared } = await compare(
    frames(base),
    frames((x, y) => base(y, x * 3)),
    'webp',
  )
  expect(compared.verdict).toBe('different')
  expect(compared.changed).toBeLessThan(0.34)
})
function joined(draws: Draw[]) {
  const all = Buffer.alloc(WIDTH * HEIGHT * 3 * draws.length)
  for (const [page, draw] of draws.entries())
    for (let y = 0; y < HEIGHT; y++)
      for (let x = 0; x < WIDTH; x++)
        for (const [n, value] of draw(x, y).entries()) all[((page * HEIGHT + y) * WIDTH + x) * 3 + n] = value
  return all
}

test('a large picture is measured in strips to the same number', async () => {
  const large = (draw: Draw) => pixels(draw, 40, 600)
  const { compared } = await compare(
    large(base),
    large((x, y) => (y > 250 && y < 270 ? noisy(x, y) : base(x, y))),
  )
  expect(compared.ssim).toBeGreaterThan(0.99)
  expect(compared.ssim).toBeLessThan(1)
})
