import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import sharp, { type Sharp } from 'sharp'
import type { NodeDefinition } from '../../contract/comfyui.ts'
import type { Json } from '../../contract/json.ts'
import { withTexts } from './png-text.ts'
import { type Picture, sketch, sketchPreview } from './sketch.ts'

/**
 * What travels along a link: its type and what is known of it. A checkpoint is only a name, a conditioning only its text;
 * pictures are real.
 */
export interface Thing {
  readonly kind: string
  readonly literal?: Json
  readonly text?: string
  readonly seed?: string
  readonly steps?: number
  /** In pixels of the finished picture, also for latents. */
  readonly width?: number
  readonly height?: number
  /** Pictures of a batch, or frames. */
  readonly count?: number
  readonly frames?: readonly Picture[]
  readonly mask?: Mask
}
/** width × height, 8 bits each; 255 is masked. */
export interface Mask {
  readonly width: number
  readonly height: number
  readonly data: Buffer
}
export type Given = Record<string, Thing>

export interface NodeContext {
  readonly classType: string
  readonly definition: NodeDefinition
  readonly inputs: Given
  /** Types wanted of each output, where the definition does not say. */
  readonly wanted: readonly string[]
  inputFile(name: string): string
  save(
    kind: 'output' | 'temp',
    prefix: string,
    extension: string,
    bytes: (counter: number) => Promise<Buffer>,
  ): Promise<SavedFile>
  texts(): Record<string, string>
  /** One step of a sampler; also where an interrupt is noticed. */
  step(value: number, max: number, preview: () => Promise<Buffer>): Promise<void>
}
export interface SavedFile {
  filename: string
  subfolder: string
  type: 'output' | 'temp'
}
export interface NodeResult {
  readonly things: readonly Thing[]
  readonly ui?: Record<string, Json>
}

/** A film is sketched by its first frames; a batch has all its pictures. */
const MOST_FRAMES = 24
const MOST_BYTES = 1.5 * 1024 ** 3

/** A node that failed; worded as `execution_error` words it. */
export class NodeFailure extends Error {
  readonly type: string
  constructor(type: string, message: string) {
    super(message)
    this.type = type
  }
}

/** One prompt must not bring down the app the rehearsal lives in. */
function checkAffordable(bytes: number) {
  if (bytes <= MOST_BYTES) return
  const asked = (bytes / 1024 ** 3).toFixed(2)
  throw new NodeFailure(
    'torch.OutOfMemoryError',
    `Allocation on device: out of memory. Tried to allocate ${asked} GiB.`,
  )
}

const number = (thing: Thing | undefined, otherwise: number) => {
  const value = Number(thing?.literal ?? Number.NaN)
  return Number.isFinite(value) ? value : otherwise
}
const string = (thing: Thing | undefined, otherwise = '') =>
  thing?.literal === undefined || thing.literal === null ? otherwise : String(thing.literal)

const open = ({ data, width, height }: Picture): Sharp => sharp(data, { raw: { width, height, channels: 3 } })
async function close(image: Sharp): Promise<Picture> {
  const { data, info } = await image.removeAlpha().toColourspace('srgb').raw().toBuffer({ resolveWithObject: true })
  if (info.channels === 3) return { width: info.width, height: info.height, data }
  return close(
    sharp(data, { raw: { width: info.width, height: info.height, channels: info.channels } }).toColourspace('srgb'),
  )
}
const images = (frames: readonly Picture[]): Thing => ({
  kind: 'IMAGE',
  frames,
  width: frames[0]!.width,
  height: frames[0]!.height,
  count: frames.length,
})
const masked = (mask: Mask): Thing => ({ kind: 'MASK', mask, width: mask.width, height: mask.height })
const solid = (width: number, height: number, colour: number): Picture => {
  const data = Buffer.allocUnsafe(width * height * 3)
  for (let at = 0; at < data.length; at += 3) data.writeUIntBE(colour, at, 3)
  return { width, height, data }
}

/** Pictures of a thing: its own, or sketches of what it stands for. */
async function framesOf(thing: Thing | undefined): Promise<readonly Picture[]> {
  if (thing?.frames) return thing.frames
  if (thing?.mask) return [greyPicture(thing.mask)]
  const { width = 512, height = 512, count = 1, text = '', seed = '0', steps = 0 } = thing ?? {}
  checkAffordable(pixels(width) * pixels(height) * 3 * count)
  const frames: Picture[] = []
  for (let index = 0; index < count; index += 1)
    frames.push(await sketch({ text, seed, steps, width: pixels(width), height: pixels(height), index }))
  return frames
}
const pixels = (pixels: number) => Math.max(8, Math.min(4096, Math.round(pixels)))
const greyPicture = ({ width, height, data }: Mask): Picture => {
  const rgb = Buffer.allocUnsafe(width * height * 3)
  for (let i = 0; i < data.length; i += 1) rgb.fill(data[i]!, i * 3, i * 3 + 3)
  return { width, height, data: rgb }
}
function channelOf({ width, height, data }: Picture, channel: number): Mask {
  const grey = Buffer.allocUnsafe(width * height)
  for (let i = 0; i < grey.length; i += 1) grey[i] = data[i * 3 + channel]!
  return { width, height, data: grey }
}

const kernels: Record<string, 'nearest' | 'linear' | 'cubic' | 'lanczos3'> = {
  'nearest-exact': 'nearest',
  bilinear: 'linear',
  area: 'linear',
  bicubic: 'cubic',
  lanczos: 'lanczos3',
}
const scaled = (picture: Picture, width: number, height: number, method: string, crop = 'disabled') =>
  close(
    open(picture).resize(Math.max(1, width), Math.max(1, height), {
      kernel: kernels[method] ?? 'cubic',
      fit: crop === 'center' ? 'cover' : 'fill',
    }),
  )
async function each(thing: Thing | undefined, change: (picture: Picture) => Promise<Picture>): Promise<Thing> {
  const frames = await framesOf(thing)
  const changed = [await change(frames[0]!)]
  checkAffordable(changed[0]!.data.length * frames.length)
  return images([...changed, ...(await Promise.all(frames.slice(1).map(change)))])
}

async function loadPicture(file: string): Promise<{ picture: Picture; alpha: Mask | undefined }> {
  const image = sharp(await readFile(file)).rotate()
  const { data, info } = await image.toColourspace('srgb').ensureAlpha().raw().toBuffer({ resolveWithObject: true })
  const { width, height } = info
  const rgb = Buffer.allocUnsafe(width * height * 3)
  const grey = Buffer.allocUnsafe(width * height)
  let seeThrough = false
  for (let i = 0; i < grey.length; i += 1) {
    data.copy(rgb, i * 3, i * 4, i * 4 + 3)
    grey[i] = 255 - data[i * 4 + 3]!
    seeThrough ||= grey[i] !== 0
  }
  return { picture: { width, height, data: rgb }, alpha: seeThrough ? { width, height, data: grey } : undefined }
}

type Maker = (context: NodeContext) => Promise<NodeResult>
const one = (thing: Thing): NodeResult => ({ things: [thing] })

/** Image nodes, done for real. */
const makers: Record<string, Maker> = {
  async EmptyImage({ inputs }) {
    const picture = solid(number(inputs.width, 512), number(inputs.height, 512), number(inputs.color, 0))
    return one(images(Array.from({ length: number(inputs.batch_size, 1) }, () => picture)))
  },
  async LoadImage({ inputs, inputFile }) {
    const { picture, alpha } = await loadPicture(inputFile(string(inputs.image)))
    const none = { width: 64, height: 64, data: Buffer.alloc(64 * 64) }
    return { things: [images([picture]), masked(alpha ?? none)] }
  },
  async LoadImageMask({ inputs, inputFile }) {
    const { picture, alpha } = await loadPicture(inputFile(string(inputs.image)))
    const channel = ['red', 'green', 'blue'].indexOf(string(inputs.channel))
    const none = { width: picture.width, height: picture.height, data: Buffer.alloc(picture.width * picture.height) }
    return one(masked(channel < 0 ? (alpha ?? none) : channelOf(picture, channel)))
  },
  async ImageScale({ inputs }) {
    const [width, height] = [number(inputs.width, 0), number(inputs.height, 0)]
    return one(
      await each(inputs.image, async (picture) => {
        if (width === 0 && height === 0) return picture
        const w = width || Math.max(1, Math.round((picture.width * height) / picture.height))
        const h = height || Math.max(1, Math.round((picture.height * width) / picture.width))
        return scaled(picture, w, h, string(inputs.upscale_method), string(inputs.crop))
      }),
    )
  },
  async ImageScaleBy({ inputs }) {
    const by = number(inputs.scale_by, 1)
    return one(
      await each(inputs.image, (picture) =>
        scaled(picture, Math.round(picture.width * by), Math.round(picture.height * by), string(inputs.upscale_method)),
      ),
    )
  },
  async ImageScaleToTotalPixels({ inputs }) {
    const pixels = number(inputs.megapixels, 1) * 1024 * 1024
    const round = (value: number) =>
      Math.max(1, Math.round(value / number(inputs.resolution_steps, 1))) * number(inputs.resolution_steps, 1)
    return one(
      await each(inputs.image, (picture) => {
        const by = Math.sqrt(pixels / (picture.width * picture.height))
        return scaled(picture, round(picture.width * by), round(picture.height * by), string(inputs.upscale_method))
      }),
    )
  },
  async ImageScaleToMaxDimension({ inputs }) {
    const largest = number(inputs.largest_size, 512)
    return one(
      await each(inputs.image, (picture) => {
        const by = largest / Math.max(picture.width, picture.height)
        const [width, height] = [Math.round(picture.width * by), Math.round(picture.height * by)]
        return scaled(picture, width, height, string(inputs.upscale_method))
      }),
    )
  },
  async GetImageSize({ inputs }) {
    const frames = await framesOf(inputs.image)
    const { width, height } = frames[0]!
    return { things: [width, height, frames.length].map((literal) => ({ kind: 'INT', literal })) }
  },
  async BatchImagesNode({ inputs }) {
    const frames = (await Promise.all(Object.values(inputs).map(framesOf))).flat()
    const { width, height } = frames[0]!
    return one(images(await Promise.all(frames.map((picture) => scaled(picture, width, height, 'lanczos', 'center')))))
  },
  async ImageCrop({ inputs }) {
    return one(
      await each(inputs.image, async (picture) => {
        const left = Math.min(number(inputs.x, 0), picture.width - 1)
        const top = Math.min(number(inputs.y, 0), picture.height - 1)
        const width = Math.min(number(inputs.width, 512), picture.width - left)
        const height = Math.min(number(inputs.height, 512), picture.height - top)
        return close(open(picture).extract({ left, top, width, height }))
      }),
    )
  },
  async ImageInvert({ inputs }) {
    return one(await each(inputs.image, (picture) => close(open(picture).negate({ alpha: false }))))
  },
  async ImageBatch({ inputs }) {
    const first = await framesOf(inputs.image1)
    const { width, height } = first[0]!
    const second = await Promise.all(
      (await framesOf(inputs.image2)).map((picture) =>
        picture.width === width && picture.height === height
          ? picture
          : scaled(picture, width, height, 'bilinear', 'center'),
      ),
    )
    return one(images([...first, ...second]))
  },
  async ImageBlend({ inputs }) {
    const over = await framesOf(inputs.image2)
    const factor = number(inputs.blend_factor, 0.5)
    const blend = blends[string(inputs.blend_mode, 'normal')] ?? blends.normal!
    const frames = await Promise.all(
      (await framesOf(inputs.image1)).map(async (under, i) => {
        const top = await scaled(over[Math.min(i, over.length - 1)]!, under.width, under.height, 'bicubic', 'center')
        const data = Buffer.allocUnsafe(under.data.length)
        for (let at = 0; at < data.length; at += 1) {
          const a = under.data[at]! / 255
          const mixed = a * (1 - factor) + blend(a, top.data[at]! / 255) * factor
          data[at] = Math.round(Math.max(0, Math.min(1, mixed)) * 255)
        }
        return { width: under.width, height: under.height, data }
      }),
    )
    return one(images(frames))
  },
  async ImageBlur({ inputs }) {
    const sigma = Math.max(0.3, Math.min(number(inputs.sigma, 1), number(inputs.blur_radius, 1)))
    return one(await each(inputs.image, (picture) => close(open(picture).blur(sigma))))
  },
  async ImageSharpen({ inputs }) {
    const sigma = Math.max(0.3, Math.min(10, number(inputs.sigma, 1)))
    return one(
      await each(inputs.image, (picture) => close(open(picture).sharpen({ sigma, m2: number(inputs.alpha, 1) * 3 }))),
    )
  },
  async ImageFlip({ inputs }) {
    const vertical = string(inputs.flip_method).startsWith('x')
    return one(await each(inputs.image, (picture) => close(vertical ? open(picture).flip() : open(picture).flop())))
  },
  async ImageRotate({ inputs }) {
    const angle = Number.parseInt(string(inputs.rotation), 10) || 0
    return one(await each(inputs.image, (picture) => close(open(picture).rotate(angle))))
  },
  async RepeatImageBatch({ inputs }) {
    const frames = await framesOf(inputs.image)
    return one(images(Array.from({ length: number(inputs.amount, 1) }, () => frames).flat()))
  },
  async ImageFromBatch({ inputs }) {
    const frames = await framesOf(inputs.image)
    const asked = number(inputs.batch_index, 0)
    const first = Math.max(0, Math.min(frames.length - 1, asked < 0 ? frames.length + asked : asked))
    return one(images(frames.slice(first, first + number(inputs.length, 1))))
  },
  async ImagePadForOutpaint({ inputs }) {
    const [left, top, right, bottom] = (['left', 'top', 'right', 'bottom'] as const).map((side) =>
      number(inputs[side], 0),
    )
    const padded = await each(inputs.image, (picture) =>
      close(open(picture).extend({ left, top, right, bottom, background: { r: 127, g: 127, b: 127 } })),
    )
    const { width, height } = padded.frames![0]!
    const data = Buffer.alloc(width * height, 255)
    for (let y = top!; y < height - bottom!; y += 1) data.fill(0, y * width + left!, (y + 1) * width - right!)
    return { things: [padded, masked({ width, height, data })] }
  },
  async SolidMask({ inputs }) {
    const [width, height] = [number(inputs.width, 512), number(inputs.height, 512)]
    return one(masked({ width, height, data: Buffer.alloc(width * height, Math.round(number(inputs.value, 1) * 255)) }))
  },
  async InvertMask({ inputs }) {
    const { width, height, data } = inputs.mask?.mask ?? { width: 64, height: 64, data: Buffer.alloc(64 * 64) }
    return one(masked({ width, height, data: Buffer.from(data.map((value) => 255 - value)) }))
  },
  async MaskToImage({ inputs }) {
    return one(images(await framesOf(inputs.mask)))
  },
  async ImageToMask({ inputs }) {
    const [picture] = await framesOf(inputs.image)
    const channel = ['red', 'green', 'blue'].indexOf(string(inputs.channel))
    const { width, height } = picture!
    return one(
      masked(channel < 0 ? { width, height, data: Buffer.alloc(width * height) } : channelOf(picture!, channel)),
    )
  },
  async StringConcatenate({ inputs }) {
    const literal = [string(inputs.string_a), string(inputs.string_b)].join(string(inputs.delimiter))
    return one({ kind: 'STRING', literal, text: literal })
  },
}

const blends: Record<string, (a: number, b: number) => number> = {
  normal: (_a, b) => b,
  multiply: (a, b) => a * b,
  screen: (a, b) => 1 - (1 - a) * (1 - b),
  overlay: (a, b) => (a <= 0.5 ? 2 * a * b : 1 - 2 * (1 - a) * (1 - b)),
  soft_light: (a, b) =>
    b <= 0.5
      ? a - (1 - 2 * b) * a * (1 - a)
      : a + (2 * b - 1) * ((a <= 0.25 ? ((16 * a - 12) * a + 4) * a : Math.sqrt(a)) - a),
  difference: (a, b) => Math.abs(a - b),
}

/** Whatever a saver of another kind would have written, as the smallest honest file: still frames, silence, an empty scene. */
const wav = () => {
  const samples = 8000
  const file = Buffer.alloc(44 + samples * 2)
  file.write('RIFF', 0, 'latin1')
  file.writeUInt32LE(36 + samples * 2, 4)
  file.write('WAVEfmt ', 8, 'latin1')
  file.writeUInt32LE(16, 16)
  file.writeUInt16LE(1, 20)
  file.writeUInt16LE(1, 22)
  file.writeUInt32LE(8000, 24)
  file.writeUInt32LE(16000, 28)
  file.writeUInt16LE(2, 32)
  file.writeUInt16LE(16, 34)
  file.write('data', 36, 'latin1')
  file.writeUInt32LE(samples * 2, 40)
  return file
}
const glb = () => {
  const scene = Buffer.from(
    '{"asset":{"version":"2.0","generator":"Nightshift rehearsal"},"scenes":[{}],"scene":0}'.padEnd(88),
  )
  const head = Buffer.alloc(20)
  head.write('glTF', 0, 'latin1')
  head.writeUInt32LE(2, 4)
  head.writeUInt32LE(20 + scene.length, 8)
  head.writeUInt32LE(scene.length, 12)
  head.write('JSON', 16, 'latin1')
  return Buffer.concat([head, scene])
}
async function animatedWebp(frames: readonly Picture[], fps: number): Promise<Buffer> {
  const { width, height } = frames[0]!
  const data = Buffer.concat(frames.map((frame) => frame.data))
  return sharp(data, { raw: { width, height: height * frames.length, channels: 3, pageHeight: height } })
    .webp({ quality: 80, delay: frames.map(() => Math.round(1000 / fps)), loop: 0 })
    .toBuffer()
}

/** Writes what an output node was given; the ui part is what the real node reports. */
async function saveOutputs(context: NodeContext): Promise<NodeResult> {
  const { classType, definition, inputs, save, texts } = context
  const given = Object.values(inputs)
  const picture = given.find(({ kind }) => kind === 'IMAGE' || kind === 'MASK')
  const temp = /^Preview/.test(classType)
  const where = temp ? 'temp' : 'output'
  const prefix = temp
    ? `ComfyUI_temp_${createHash('sha256').update(JSON.stringify(texts())).digest('hex').slice(0, 5)}`
    : string(inputs.filename_prefix, 'ComfyUI').replace(/%(width|height)%/g, (_, side: 'width' | 'height') =>
        String(picture?.[side] ?? 0),
      )
  const pass = definition.output.map((type) => given.find(({ kind }) => kind === type) ?? { kind: String(type) })
  const done = (key: string, files: readonly SavedFile[], more: Record<string, Json> = {}): NodeResult => ({
    things: pass,
    ui: { [key]: files.map((file) => ({ ...file })), ...more },
  })
  if (/Audio/i.test(classType)) return done('audio', [await save(where, prefix, 'wav', async () => wav())])
  if (/GLB|3D|Mesh/i.test(classType)) return done('3d', [await save(where, prefix, 'glb', async () => glb())])
  const video = given.find(({ kind }) => kind === 'VIDEO')
  if (video || /Animated|WEBM|Video/i.test(classType)) {
    const frames = await framesOf(video ?? picture)
    const bytes = await animatedWebp(frames, number(inputs.fps, 6))
    return done('images', [await save(where, prefix, 'webp', async () => bytes)], { animated: [true] })
  }
  if (picture) {
    const files: SavedFile[] = []
    for (const frame of await framesOf(picture)) {
      const png = await open(frame)
        .png({ compressionLevel: temp ? 1 : 4 })
        .toBuffer()
      files.push(await save(where, prefix, 'png', async () => withTexts(png, texts())))
    }
    return done('images', files)
  }
  const said = given.find(({ literal, text }) => literal !== undefined || text !== undefined)
  return { things: pass, ui: { text: [said?.text ?? string(said)] } }
}

/** What all inputs together say: the words, the seed, the size. The negative says nothing. */
function gathered(inputs: Given): Partial<Thing> {
  const entries = Object.entries(inputs).filter(([name]) => !/^(negative|neg)/i.test(name))
  const literalOf = (names: RegExp) =>
    entries.find(([name, { literal }]) => literal !== undefined && names.test(name))?.[1].literal
  const first = <K extends keyof Thing>(key: K) => entries.find(([, thing]) => thing[key] !== undefined)?.[1][key]
  const numeric = (value: Json | undefined) =>
    value === undefined || !Number.isFinite(Number(value)) ? undefined : Number(value)
  const words = literalOf(/^(text|prompt|text_g|clip_l|t5xxl|tags|value|user_prompt)$/)
  const seed = literalOf(/^(seed|noise_seed)$/)
  const facts: Record<string, unknown> = {
    text: typeof words === 'string' && words !== '' ? words : first('text'),
    seed: seed === undefined ? first('seed') : String(seed),
    steps: numeric(literalOf(/^steps$/)) ?? first('steps'),
    width: numeric(literalOf(/^width$/)) ?? first('width'),
    height: numeric(literalOf(/^height$/)) ?? first('height'),
    count: countOf(numeric(literalOf(/^length$/)), numeric(literalOf(/^batch_size$/))) ?? first('count'),
  }
  return Object.fromEntries(Object.entries(facts).filter(([, value]) => value !== undefined))
}

const countOf = (length: number | undefined, batchSize: number | undefined) =>
  length === undefined ? batchSize : Math.min(length, MOST_FRAMES) * (batchSize ?? 1)

/** Draws what a sampler would: step by step, with previews. */
async function sample({ inputs, definition, step }: NodeContext): Promise<NodeResult> {
  const facts = gathered(inputs)
  const latent = Object.values(inputs).find(({ kind }) => kind === 'LATENT')
  const { text = '', seed = '0' } = facts
  const steps = Math.max(1, Math.min(10_000, facts.steps ?? 20))
  const width = pixels(latent?.width ?? facts.width ?? 512)
  const height = pixels(latent?.height ?? facts.height ?? 512)
  const count = latent?.count ?? facts.count ?? 1
  checkAffordable(width * height * 3 * count)
  for (let value = 1; value <= steps; value += 1)
    await step(value, steps, () => sketchPreview({ text, seed, steps, width, height, index: 0 }, value / steps))
  const frames: Picture[] = []
  for (let index = 0; index < count; index += 1) frames.push(await sketch({ text, seed, steps, width, height, index }))
  const made = { ...facts, text, seed, steps, width, height, count, frames }
  return { things: definition.output.map((type) => ({ ...made, kind: String(type) })) }
}

/** Any other node: each output takes after the input of its type, and knows what the inputs know. */
function passThrough({ definition, inputs, wanted }: NodeContext): NodeResult {
  const facts = gathered(inputs)
  const types = definition.output.map((type, slot) =>
    typeof type === 'string' && type !== '*' ? type : (wanted[slot] ?? '*'),
  )
  const used: Record<string, number> = {}
  const things = types.map((type): Thing => {
    const alike = Object.values(inputs).filter(({ kind }) => kind === type)
    const nth = used[type] ?? 0
    used[type] = nth + 1
    const found = alike[Math.min(nth, alike.length - 1)]
    const pictured = Object.values(inputs).find(({ frames }) => frames)
    const literal = found?.literal ?? firstLiteral(inputs, type)
    if (type === 'CONDITIONING' && found) return found
    return {
      ...facts,
      ...(pictured && ['IMAGE', 'LATENT', 'VIDEO'].includes(type)
        ? { frames: pictured.frames, width: pictured.width, height: pictured.height }
        : {}),
      ...found,
      ...(literal === undefined ? {} : { literal }),
      kind: type,
    }
  })
  return { things }
}
function firstLiteral(inputs: Given, type: string): Json | undefined {
  const fitsType: Record<string, (value: Json) => boolean> = {
    INT: (value) => typeof value === 'number' || typeof value === 'bigint',
    FLOAT: (value) => typeof value === 'number',
    STRING: (value) => typeof value === 'string',
    BOOLEAN: (value) => typeof value === 'boolean',
  }
  const test = fitsType[type]
  const literals = Object.values(inputs).flatMap(({ literal }) => (literal === undefined ? [] : [literal]))
  return test && (literals.find(test) ?? { INT: 0, FLOAT: 0, STRING: '', BOOLEAN: false }[type])
}

const SAMPLERS = /^(KSampler|KSamplerAdvanced|SamplerCustom|SamplerCustomAdvanced)$|Sampler.*(Efficient|Advanced)/

/** Carries out one node. @throws whatever makes the real node fail too. */
export function carryOut(context: NodeContext): Promise<NodeResult> {
  const { classType, definition } = context
  if (Object.hasOwn(makers, classType)) return makers[classType]!(context)
  if (definition.output_node) return saveOutputs(context)
  if (SAMPLERS.test(classType) && definition.output.includes('LATENT')) return sample(context)
  return Promise.resolve(passThrough(context))
}
