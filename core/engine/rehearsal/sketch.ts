import { createHash } from 'node:crypto'
import sharp from 'sharp'

/** RGB, 8 bits each, row after row. */
export interface Picture {
  readonly width: number
  readonly height: number
  readonly data: Buffer
}
/** What a sketch shows of the prompt it stands for. */
export interface SketchFacts {
  readonly text: string
  readonly seed: string
  readonly steps: number
  readonly width: number
  readonly height: number
  /** Its place in the batch, or in time. */
  readonly index: number
}

const BANNER = [24, 24, 32] as const
const INK = [255, 255, 255] as const
const PREVIEW_SIZE = 256

/**
 * A picture that stands for one a GPU would have made: the same facts always give the same picture, other facts another,
 * and nobody takes it for the real thing.
 */
export function sketch(facts: SketchFacts): Promise<Picture> {
  return draw(facts, 1)
}

/** A small JPEG of a sketch that has come as far as `part`, from 0 to 1. */
export async function sketchPreview(facts: SketchFacts, part: number): Promise<Buffer> {
  const scale = Math.min(1, PREVIEW_SIZE / Math.max(facts.width, facts.height))
  const small = { width: Math.ceil(facts.width * scale), height: Math.ceil(facts.height * scale) }
  const { data, width, height } = await draw({ ...facts, ...small }, part)
  return sharp(data, { raw: { width, height, channels: 3 } })
    .jpeg({ quality: 70 })
    .toBuffer()
}

async function draw(facts: SketchFacts, part: number): Promise<Picture> {
  const { width, height } = facts
  const data = await sharp(Buffer.from(landscape(facts, part)))
    .blur(0.3 + (1 - part) * Math.max(1, width / 40))
    .flatten({ background: '#000' })
    .toColourspace('srgb')
    .raw()
    .toBuffer()
  const picture: Picture = { width, height, data }
  label(picture, facts, part)
  return withForeignText(picture, facts)
}

/** Hills under a moon, their shapes and colours following from the facts alone; greyed out while sampling is not done. */
function landscape({ seed, text, steps, index, width: w, height: h }: SketchFacts, part: number): string {
  const digest = createHash('sha256').update(`${seed}\0${text}\0${steps}`).digest()
  const random = mulberry(digest.readUInt32LE(0))
  const hue = Math.round(random() * 360)
  const moon = {
    x: (0.18 + random() * 0.64) * w,
    y: (0.14 + random() * 0.22) * h,
    r: (0.06 + random() * 0.07) * Math.min(w, h),
  }
  // frames of a video: the moon wanders
  const moonX = moon.x + index * 0.01 * w
  const dot = Math.min(w, h) / 400
  const stars = Array.from({ length: 60 }, () => {
    const [x, y, r] = [random() * w, random() ** 1.6 * h * 0.6, (0.5 + random()) * dot]
    return `<circle cx="${x}" cy="${y}" r="${r}" fill="#fff" opacity="${0.3 + random() * 0.6}"/>`
  })
  const hills = [0.52, 0.63, 0.76].map((level, layer) => {
    const at = (i: number) => [(i / 6) * w, (level + (random() - 0.5) * 0.16) * h] as const
    const points = Array.from({ length: 7 }, (_, i) => at(i))
    const curves = points.slice(1).map(([x, y], i) => {
      const [fromX, fromY] = points[i]!
      const middle = (fromX + x) / 2
      return `C${middle},${fromY} ${middle},${y} ${x},${y}`
    })
    const path = `M0,${h} L${points[0]!.join()} ${curves.join(' ')} L${w},${h} Z`
    return `<path d="${path}" fill="hsl(${hue + layer * 18},${34 - layer * 4}%,${34 - layer * 11}%)"/>`
  })
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${w}" height="${h}">
    <defs><linearGradient id="sky" x1="0" y1="0" x2="0" y2="1">
      <stop offset="0" stop-color="hsl(${hue - 20},52%,12%)"/>
      <stop offset="0.6" stop-color="hsl(${hue + 30},48%,46%)"/>
    </linearGradient></defs>
    <rect width="${w}" height="${h}" fill="url(#sky)"/>${stars.join('')}
    <circle cx="${moonX}" cy="${moon.y}" r="${moon.r * 1.9}" fill="hsl(48,80%,86%)" opacity=".12"/>
    <circle cx="${moonX}" cy="${moon.y}" r="${moon.r}" fill="hsl(48,80%,88%)"/>
    ${hills.join('')}
    <rect width="${w}" height="${h}" fill="hsl(${hue},12%,50%)" opacity="${(1 - part) * 0.85}"/>
  </svg>`
}

function label(picture: Picture, { seed, text, steps }: SketchFacts, part: number) {
  const { width, height } = picture
  const size = Math.max(1, Math.floor(Math.min(width, height * 1.5) / 230)) // pixels per dot of a letter
  const perLine = Math.floor((width / size - 4) / 4)
  if (perLine < 4) return
  const lines = [`REHEARSAL - SEED ${seed}`]
  if (part < 1) lines.push(`STEP ${Math.round(part * steps)} OF ${steps}`)
  if (isAscii(text)) lines.push(...wrap(text, perLine).slice(0, 3))
  const fitting = lines.slice(0, Math.max(1, Math.floor((height / size - 4) / 7)))
  fillRect(picture, 0, height - (fitting.length * 7 + 3) * size, width, (fitting.length * 7 + 3) * size, BANNER)
  fitting.forEach((line, row) => {
    const y = height - (fitting.length * 7 + 1) * size + row * 7 * size
    writeText(picture, line.slice(0, perLine), 2 * size, y, size, INK)
  })
}

/** Letters our dots lack (Chinese, say) are left to the fonts of the machine. */
async function withForeignText(picture: Picture, { text }: SketchFacts): Promise<Picture> {
  const { width, height } = picture
  if (isAscii(text) || width < 64 || height < 64) return picture
  const size = Math.max(10, Math.round(width / 24))
  const lines = wrap(text, Math.floor(width / size) - 1).slice(0, 4)
  const escaped = (line: string) => line.replace(/[<>&"']/g, (found) => `&#${found.codePointAt(0)};`)
  const spans = lines.map((line, row) => `<text x="${size / 2}" y="${size * 1.3 * (row + 1)}">${escaped(line)}</text>`)
  const svg =
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}">` +
    `<rect width="${width}" height="${size * 1.3 * lines.length + size * 0.6}" fill="rgb(${BANNER})"/>` +
    `<g fill="white" font-family="sans-serif" font-size="${size}">${spans.join('')}</g></svg>`
  const data = await sharp(picture.data, { raw: { width, height, channels: 3 } })
    .composite([{ input: Buffer.from(svg) }])
    .removeAlpha()
    .raw()
    .toBuffer()
  return { ...picture, data }
}

// ---- letters of three by five dots, a row an octal digit ----

const GLYPHS: Record<string, string> = Object.fromEntries(
  `A25755 B65656 C34443 D65556 E74647 F74644 G34553 H55755 I72227 J11152 K55655 L44447 M57755 N65555 O25552 P65644
   Q25563 R65655 S34216 T72222 U55557 V55552 W55775 X55255 Y55222 Z71247 075557 126227 261247 361216 455711 574616
   634757 771222 875757 975716 .00002 ,00024 :02020 -00700 _00007 /11244 (12221 )42224 !22202 ?61202 '22000 "55000
   +02720 =07070 #57575 %51245 *52500 &25253 ;02024 <12421 >42124 [32223 ]62226 @75543 |22222`
    .split(/\s+/)
    .map((entry) => [entry[0], entry.slice(1)]),
)

const isAscii = (text: string) => /^[\x20-\x7e\s]*$/.test(text)

function writeText(picture: Picture, text: string, x: number, y: number, size: number, ink: readonly number[]) {
  ;[...text.toUpperCase()].forEach((letter, place) => {
    ;[...(GLYPHS[letter] ?? '00000')].forEach((bits, row) => {
      for (let column = 0; column < 3; column++)
        if (Number(bits) & (4 >> column))
          fillRect(picture, x + (place * 4 + column) * size, y + row * size, size, size, ink)
    })
  })
}

function fillRect(
  { width, height, data }: Picture,
  x: number,
  y: number,
  w: number,
  h: number,
  ink: readonly number[],
) {
  for (let row = Math.max(0, y); row < Math.min(height, y + h); row++)
    for (let column = Math.max(0, x); column < Math.min(width, x + w); column++)
      for (let channel = 0; channel < 3; channel++) data[(row * width + column) * 3 + channel] = ink[channel]!
}

function wrap(text: string, perLine: number): string[] {
  const lines: string[] = []
  let line = ''
  for (const word of text.replace(/\s+/g, ' ').trim().split(' ')) {
    if (line && line.length + 1 + word.length > perLine) {
      lines.push(line)
      line = ''
    }
    line = line ? `${line} ${word}` : word
    for (; line.length > perLine; line = line.slice(perLine)) lines.push(line.slice(0, perLine))
  }
  return line ? [...lines, line] : lines
}

/** Even numbers from 0 to 1 that follow from `seed`. */
function mulberry(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296
  }
}
