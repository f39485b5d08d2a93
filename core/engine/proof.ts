import sharp from 'sharp'
import type { Compared, ProofVerdict } from '../contract/publish.ts'
import { hashFile } from './hash-file.ts'

/** From here on two pictures show the same. */
const EQUIVALENT_SSIM = 0.95
/** Wang, Bovik, Sheikh, Simoncelli 2004: a Gaussian window of 11 × 11 with σ 1.5. */
const WINDOW = 11
const SIGMA = 1.5
const C1 = (0.01 * 255) ** 2
const C2 = (0.03 * 255) ** 2
/** Rows taken at once, so that a large picture costs time and not memory. */
const STRIP_ROWS = 128
/** The longer side of the picture that shows where two differ. */
const DIFFERENCE_PX = 1536

interface Raw {
  readonly width: number
  readonly height: number
  /** Three bytes a pixel; what is transparent lies on grey. */
  readonly rgb: Buffer
}

/**
 * How alike what was made here and there is. Files of other kinds than pictures are identical or different. Where pictures
 * of one size differ, `difference` becomes a PNG that shows where.
 */
export async function compareFiles(
  desk: string,
  endpoint: string,
  { difference, signal }: { difference: string; signal?: AbortSignal },
): Promise<Compared> {
  if ((await hashFile(desk, signal)) === (await hashFile(endpoint, signal))) return identical
  const [one, other] = await Promise.all([look(desk), look(endpoint)])
  if (!one || !other) return { ...different, why: one || other ? 'kind' : 'not-measured' }
  if (one.width !== other.width || one.height !== other.height || one.pages !== other.pages)
    return { ...different, why: 'size' }
  let pixels = 0
  let changed = 0
  let largest = 0
  let sum = 0
  let worst = { ssim: Number.POSITIVE_INFINITY, page: -1 }
  let exact = true
  for (let page = 0; page < one.pages; page++) {
    signal?.throwIfAborted()
    exact &&= await same(desk, endpoint, page, one.deep || other.deep)
    const [a, b] = await Promise.all([read(desk, page), read(endpoint, page)])
    const seen = measure(a.rgb, b.rgb)
    const ssim = seen.changed === 0 ? 1 : ssimOf(a, b)
    pixels += a.width * a.height
    changed += seen.changed
    largest = Math.max(largest, seen.largest)
    sum += ssim
    if (ssim < worst.ssim) worst = { ssim, page }
  }
  if (exact) return identical
  if (largest > 0) {
    const [a, b] = await Promise.all([read(desk, worst.page), read(endpoint, worst.page)])
    await drawDifference(a, b, largest, difference)
  }
  const ssim = sum / one.pages
  const verdict: ProofVerdict = ssim >= EQUIVALENT_SSIM ? 'equivalent' : 'different'
  return { verdict, ssim, changed: changed / pixels, largest, why: verdict === 'different' ? 'unlike' : null }
}
const identical: Compared = { verdict: 'identical', ssim: 1, changed: 0, largest: 0, why: null }
const different: Compared = { verdict: 'different', ssim: null, changed: null, largest: null, why: null }

/** null: it is no picture that can be measured. */
async function look(file: string) {
  try {
    const { width, height, pages = 1, pageHeight, depth } = await sharp(file).metadata()
    return { width, height: pageHeight ?? height, pages, deep: depth !== 'uchar' }
  } catch {
    return null
  }
}

async function read(file: string, page: number): Promise<Raw> {
  const { data, info } = await sharp(file, { page })
    .toColourspace('srgb')
    .flatten({ background: '#808080' })
    .raw()
    .toBuffer({ resolveWithObject: true })
  return { width: info.width, height: info.height, rgb: info.channels === 3 ? data : inThree(data, info.channels) }
}
function inThree(data: Buffer, channels: number) {
  const rgb = Buffer.alloc((data.length / channels) * 3)
  for (let at = 0, to = 0; at < data.length; at += channels) for (let n = 0; n < 3; n++) rgb[to++] = data[at]!
  return rgb
}

/** Every value of every channel, with all its bits. */
async function same(desk: string, endpoint: string, page: number, deep: boolean) {
  const exactly = (file: string) => {
    const picture = sharp(file, { page })
    return (deep ? picture.toColourspace('rgb16').raw({ depth: 'ushort' }) : picture.raw()).toBuffer()
  }
  const [a, b] = await Promise.all([exactly(desk), exactly(endpoint)])
  return a.equals(b)
}

/** How many pixels differ, and by how much the one that differs most. */
function measure(a: Uint8Array, b: Uint8Array) {
  let changed = 0
  let largest = 0
  for (let at = 0; at < a.length; at += 3) {
    const by = distance(a, b, at)
    if (by === 0) continue
    changed++
    if (by > largest) largest = by
  }
  return { changed, largest }
}
const distance = (a: Uint8Array, b: Uint8Array, at: number) =>
  Math.max(Math.abs(a[at]! - b[at]!), Math.abs(a[at + 1]! - b[at + 1]!), Math.abs(a[at + 2]! - b[at + 2]!))

/** The mean over all windows and the three channels. */
function ssimOf(a: Raw, b: Raw): number {
  const { width, height } = a
  const size = Math.min(WINDOW, width, height)
  const kernel = gaussian(size)
  const rows = height - size + 1
  const columns = width - size + 1
  let sum = 0
  for (let top = 0; top < rows; top += STRIP_ROWS) {
    const windows = Math.min(STRIP_ROWS, rows - top)
    const from = top * width * 3
    const to = (top + windows + size - 1) * width * 3
    const [x, y] = [a.rgb.subarray(from, to), b.rgb.subarray(from, to)]
    if (x.equals(y)) sum += windows * columns * 3
    else for (let channel = 0; channel < 3; channel++) sum += ssimOfStrip(x, y, channel, width, kernel)
  }
  return sum / (rows * columns * 3)
}

function gaussian(size: number): Float64Array {
  const kernel = Float64Array.from({ length: size }, (_, at) =>
    Math.exp(-((at - (size - 1) / 2) ** 2) / (2 * SIGMA ** 2)),
  )
  const sum = kernel.reduce((all, one) => all + one, 0)
  return kernel.map((one) => one / sum)
}

/** The sum over all windows that lie in the strip. */
function ssimOfStrip(a: Uint8Array, b: Uint8Array, channel: number, width: number, kernel: Float64Array): number {
  const size = kernel.length
  const count = a.length / 3
  const height = count / width
  const columns = width - size + 1
  // values, squares and products, first blurred along the rows
  const along = Array.from({ length: 5 }, () => new Float64Array(height * columns))
  const [rowA, rowB] = [new Float64Array(width), new Float64Array(width)]
  for (let row = 0; row < height; row++) {
    for (let column = 0, at = row * width * 3 + channel; column < width; column++, at += 3) {
      rowA[column] = a[at]!
      rowB[column] = b[at]!
    }
    for (let column = 0; column < columns; column++) {
      let [sa, sb, saa, sbb, sab] = [0, 0, 0, 0, 0]
      for (let n = 0; n < size; n++) {
        const weight = kernel[n]!
        const va = rowA[column + n]!
        const vb = rowB[column + n]!
        sa += weight * va
        sb += weight * vb
        saa += weight * va * va
        sbb += weight * vb * vb
        sab += weight * va * vb
      }
      const at = row * columns + column
      along[0]![at] = sa
      along[1]![at] = sb
      along[2]![at] = saa
      along[3]![at] = sbb
      along[4]![at] = sab
    }
  }
  const [meanA, meanB, squareA, squareB, product] = along as [
    Float64Array,
    Float64Array,
    Float64Array,
    Float64Array,
    Float64Array,
  ]
  let sum = 0
  for (let row = 0; row + size <= height; row++) {
    for (let column = 0; column < columns; column++) {
      let [ma, mb, aa, bb, ab] = [0, 0, 0, 0, 0]
      for (let n = 0, at = row * columns + column; n < size; n++, at += columns) {
        const weight = kernel[n]!
        ma += weight * meanA[at]!
        mb += weight * meanB[at]!
        aa += weight * squareA[at]!
        bb += weight * squareB[at]!
        ab += weight * product[at]!
      }
      const [varianceA, varianceB, covariance] = [aa - ma * ma, bb - mb * mb, ab - ma * mb]
      sum += ((2 * ma * mb + C1) * (2 * covariance + C2)) / ((ma * ma + mb * mb + C1) * (varianceA + varianceB + C2))
    }
  }
  return sum
}

/** Where they differ glows on what was made here, dimmed; the largest difference glows most. */
async function drawDifference(a: Raw, b: Raw, largest: number, file: string) {
  const { width, height } = a
  const drawn = Buffer.alloc(a.rgb.length)
  for (let at = 0; at < drawn.length; at += 3) {
    const grey = (0.299 * a.rgb[at]! + 0.587 * a.rgb[at + 1]! + 0.114 * a.rgb[at + 2]!) * 0.35
    const by = distance(a.rgb, b.rgb, at)
    const glow = by === 0 ? 0 : 0.25 + 0.75 * Math.sqrt(by / largest)
    drawn[at] = grey + (255 - grey) * glow
    drawn[at + 1] = grey + (140 - grey) * glow
    drawn[at + 2] = grey * (1 - glow)
  }
  await sharp(drawn, { raw: { width, height, channels: 3 } })
    .resize(DIFFERENCE_PX, DIFFERENCE_PX, { fit: 'inside', withoutEnlargement: true })
    .png()
    .toFile(file)
}
