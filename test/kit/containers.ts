import { brotliCompressSync, deflateRawSync, gzipSync } from 'node:zlib'
import { png, textChunk, webp } from './pictures.ts'

/** Small valid files of every kind that can hold a workflow; each holds these texts as the programs that write it do. */
export type Texts = Record<string, string>
const bytes = (text: string, encoding: BufferEncoding = 'utf8') => Buffer.from(text, encoding)
const u16 = (value: number) => Buffer.from([value >> 8, value & 255])
const u16le = (value: number) => u16(value).reverse()
const u32 = (value: number) => {
  const four = Buffer.alloc(4)
  four.writeUInt32BE(value)
  return four
}
const u32le = (value: number) => u32(value).reverse()
const u64 = (value: number) => Buffer.concat([u32(Math.floor(value / 2 ** 32)), u32(value % 2 ** 32)])
const utf16be = (text: string) => bytes(text, 'utf16le').swap16()
const nothing = Buffer.alloc(0)

type Tag = [tag: number, type: number, value: Buffer]
export const ASCII = 2
export const UNDEFINED = 7

/** A TIFF block whose first directory holds `main` and whose Exif directory holds `exif`. */
export function tiff(main: Tag[], exif: Tag[] = []): Buffer {
  const heap: Buffer[] = []
  const tags = exif.length > 0 ? [...main, [0x8769, 4, nothing] as Tag] : main
  const exifAt = 8 + 2 + tags.length * 12 + 4
  let heapAt = exifAt + (exif.length > 0 ? 2 + exif.length * 12 + 4 : 0)
  const directory = (entries: Tag[]) => {
    const lines = entries.map(([tag, type, value]) => {
      if (tag === 0x8769) return Buffer.concat([u16le(tag), u16le(type), u32le(1), u32le(exifAt)])
      const place = value.length <= 4 ? Buffer.concat([value, Buffer.alloc(4)]).subarray(0, 4) : u32le(heapAt)
      if (value.length > 4) {
        heap.push(value)
        heapAt += value.length
      }
      return Buffer.concat([u16le(tag), u16le(type), u32le(value.length), place])
    })
    return Buffer.concat([u16le(entries.length), ...lines, u32le(0)])
  }
  const first = directory(tags)
  const second = exif.length > 0 ? directory(exif) : nothing
  return Buffer.concat([bytes('II*\0'), u32le(8), first, second, ...heap])
}
const prefixed = (texts: Texts): Tag[] =>
  Object.entries(texts).map(([key, value], index) => [0x0110 - index, ASCII, bytes(`${key}:${value}\0`)])
export const userComment = (text: string): Tag => [
  0x9286,
  UNDEFINED,
  Buffer.concat([bytes('UNICODE\0'), utf16be(text)]),
]

export const xmp = (texts: Texts) =>
  `<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description>${Object.entries(
    texts,
  )
    .map(
      ([key, value]) =>
        `<c:${key}><rdf:Alt><rdf:li xml:lang="x-default">${escaped(value)}</rdf:li></rdf:Alt></c:${key}>`,
    )
    .join('')}</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>`
const escaped = (text: string) => text.replace(/[&<>"]/g, (sign) => `&#${sign.charCodeAt(0)};`)

type Segment = [marker: number, data: Buffer]
export const exifSegment = (block: Buffer): Segment => [0xe1, Buffer.concat([bytes('Exif\0\0'), block])]
export const commentSegment = (text: string): Segment => [0xfe, bytes(text)]
export const xmpSegment = (packet: string): Segment => [0xe1, bytes(`http://ns.adobe.com/xap/1.0/\0${packet}`)]
/** XMP beyond 64 KiB lies in parts. */
export const xmpParts = (packet: string): Segment[] =>
  (packet.match(/[\s\S]{1,60000}/g) ?? []).map((part, index) => [
    0xe1,
    Buffer.concat([
      bytes(`http://ns.adobe.com/xmp/extension/\0${'0'.repeat(32)}`),
      u32(packet.length),
      u32(index * 60_000),
      bytes(part),
    ]),
  ])
export const jpeg = (segments: Segment[]) =>
  Buffer.concat([
    Buffer.from([0xff, 0xd8]),
    ...segments.flatMap(([marker, data]) => [Buffer.from([0xff, marker]), u16(data.length + 2), data]),
    Buffer.from([0xff, 0xda, 0, 2, 1, 2, 3, 0xff, 0xd9]),
  ])

export const box = (type: string, ...parts: Buffer[]) => {
  const data = Buffer.concat(parts)
  return Buffer.concat([u32(data.length + 8), bytes(type, 'latin1'), data])
}
/** With a size of 64 bits. */
export const longBox = (type: string, ...parts: Buffer[]) => {
  const data = Buffer.concat(parts)
  return Buffer.concat([u32(1), bytes(type, 'latin1'), u64(data.length + 16), data])
}
const handler = (kind: string) => box('hdlr', Buffer.alloc(8), bytes(kind), Buffer.alloc(13))
const dataBox = (value: string) => box('data', u32(1), u32(0), bytes(value))
const media = (brand: string) => [box('ftyp', bytes(brand), u32(512), bytes('iso2mp41'))]
const pixels = box('mdat', Buffer.alloc(100, 7))

/** As ffmpeg writes it with `use_metadata_tags`, and ComfyUI with it. */
export const mdtaMeta = (texts: Texts) =>
  box(
    'meta',
    u32(0),
    handler('mdta'),
    box('keys', u32(0), u32(Object.keys(texts).length), ...Object.keys(texts).map((key) => box('mdta', bytes(key)))),
    box(
      'ilst',
      ...Object.values(texts).map((value, index) => box(String.fromCharCode(0, 0, 0, index + 1), dataBox(value))),
    ),
  )
/** As iTunes has it: fixed names. */
export const commentMeta = (comment: string) =>
  box('meta', u32(0), handler('mdir'), box('ilst', box('\xa9cmt', dataBox(comment))))
export const mp4 = (udta: Buffer[], { brand = 'isom', moovFirst = false, make = box } = {}) => {
  const moov = make(
    'moov',
    box('mvhd', Buffer.alloc(100)),
    box('trak', box('tkhd', Buffer.alloc(84))),
    box('udta', ...udta),
  )
  return Buffer.concat([...media(brand), ...(moovFirst ? [moov, pixels] : [pixels, moov])])
}
export const quickTimeComment = (text: string) => box('\xa9cmt', u16(Buffer.byteLength(text)), u16(0), bytes(text))

/** AVIF or HEIF: an item of EXIF, its place given by `iloc`. */
export function heif(exif: Buffer, { brand = 'avif', inIdat = false, version = 1 } = {}) {
  const item = Buffer.concat([u32(0), exif])
  const ftyp = box('ftyp', bytes(brand), u32(0), bytes(`mif1${brand}`))
  const info = (id: number, type: string) => box('infe', u32(0x02000000), u16(id), u16(0), bytes(`${type}\0`))
  const meta = (at: number) => {
    const extent = Buffer.concat([u16(0), u16(1), u32(at), u32(item.length)])
    const place = (id: number) =>
      Buffer.concat([version === 2 ? u32(id) : u16(id), ...(version > 0 ? [u16(inIdat ? 1 : 0)] : []), extent])
    return box(
      'meta',
      u32(0),
      handler('pict'),
      box('iinf', u32(0), u16(2), info(1, 'av01'), info(2, 'Exif')),
      box('iloc', u32(version << 24), Buffer.from([0x44, 0]), version === 2 ? u32(1) : u16(1), place(2)),
      inIdat ? box('idat', item) : nothing,
    )
  }
  const size = meta(0).length
  const inFile = Buffer.concat([ftyp, meta(ftyp.length + size + 8), box('mdat', item)])
  return inIdat ? Buffer.concat([ftyp, meta(0), pixels]) : inFile
}

/** JPEG XL in boxes; `packed`: by Brotli. */
export function jxl(exif: Buffer, packed = false) {
  const item = Buffer.concat([u32(0), exif])
  const codestream = box('jxlc', Buffer.from([0xff, 0x0a, 0, 0]))
  const told = packed ? box('brob', bytes('Exif'), brotliCompressSync(item)) : box('Exif', item)
  return Buffer.concat([
    box('JXL ', Buffer.from([13, 10, 0x87, 10])),
    box('ftyp', bytes('jxl '), u32(0)),
    codestream,
    told,
  ])
}

export const gif = (extensions: Buffer[]) =>
  Buffer.concat([
    bytes('GIF89a'),
    Buffer.from([1, 0, 1, 0, 0x80, 0, 0, 0, 0, 0, 255, 255, 255]),
    ...extensions,
    Buffer.from([0x2c, 0, 0, 0, 0, 1, 0, 1, 0, 0, 2, 2, 0x44, 1, 0, 0x3b]),
  ])
export const gifComment = (text: string) => {
  const blocks =
    bytes(text)
      .toString('latin1')
      .match(/[\s\S]{1,255}/g) ?? []
  return Buffer.concat([
    Buffer.from([0x21, 0xfe]),
    ...blocks.map((block) => Buffer.concat([Buffer.from([block.length]), bytes(block, 'latin1')])),
    Buffer.from([0]),
  ])
}
/** XMP lies there whole; after it 257 bytes lead a reader of blocks to the end. */
export const gifXmp = (packet: string) =>
  Buffer.concat([
    Buffer.from([0x21, 0xff, 11]),
    bytes('XMP DataXMP'),
    bytes(packet),
    Buffer.from([1, ...Array.from({ length: 256 }, (_, index) => 255 - index), 0]),
  ])

/** An EBML element; `open`: of unknown size, as a stream that was sent while it was made. */
export const element = (id: number, parts: Buffer[], open = false) => {
  const data = Buffer.concat(parts)
  const idBytes = bytes(id.toString(16), 'hex')
  const size = open
    ? Buffer.from([0x01, 255, 255, 255, 255, 255, 255, 255])
    : Buffer.concat([Buffer.from([0x08]), u32(data.length)])
  return Buffer.concat([idBytes, size, data])
}
const ebml = (type: string) => element(0x1a45dfa3, [element(0x4282, [bytes(type)])])
const tags = (texts: Texts) =>
  element(0x1254c367, [
    element(
      0x7373,
      Object.entries(texts).map(([key, value]) =>
        element(0x67c8, [element(0x45a3, [bytes(key.toUpperCase())]), element(0x4487, [bytes(value)])]),
      ),
    ),
  ])
export function matroska(
  texts: Texts,
  { type = 'webm', place = 'start' as 'start' | 'end', open = false, seek = false } = {},
) {
  const cluster = element(0x1f43b675, [element(0xe7, [u32(0)]), element(0xa3, [Buffer.alloc(64, 9)])], open)
  const info = element(0x1549a966, [element(0x4d80, [bytes('muxer')])])
  const seekHead = (at: number) =>
    seek
      ? element(0x114d9b74, [element(0x4dbb, [element(0x53ab, [u32(0x1254c367)]), element(0x53ac, [u32(at)])])])
      : nothing
  const before = [seekHead(0), info, ...(place === 'start' ? [] : [cluster, cluster])]
  const at = before.reduce((sum, { length }) => sum + length, 0)
  const rest = place === 'start' ? [tags(texts), cluster] : [tags(texts)]
  return Buffer.concat([ebml(type), element(0x18538067, [seekHead(at), ...before.slice(1), ...rest], open)])
}

export const vorbisComments = (texts: Texts) =>
  Buffer.concat([
    u32le(4),
    bytes('test'),
    u32le(Object.keys(texts).length),
    ...Object.entries(texts).map(([key, value]) => {
      const line = bytes(`${key}=${value}`)
      return Buffer.concat([u32le(line.length), line])
    }),
  ])
export const flac = (texts: Texts) => {
  const comments = vorbisComments(texts)
  const block = (type: number, data: Buffer) => Buffer.concat([u32(type * 2 ** 24 + data.length), data])
  return Buffer.concat([bytes('fLaC'), block(0, Buffer.alloc(34)), block(0x84, comments), Buffer.alloc(50, 0xff)])
}
/** Pages of at most `pageBytes`, so that long comments run over several. */
export function ogg(texts: Texts, { kind = 'opus' as 'opus' | 'vorbis' | 'flac', pageBytes = 4080 } = {}) {
  const [first, second] = {
    opus: [bytes('OpusHead'), Buffer.concat([bytes('OpusTags'), vorbisComments(texts)])],
    vorbis: [bytes('\x01vorbis'), Buffer.concat([bytes('\x03vorbis'), vorbisComments(texts), Buffer.from([1])])],
    flac: [
      Buffer.concat([Buffer.from([0x7f]), bytes('FLAC')]),
      Buffer.concat([u32(0x84000000), vorbisComments(texts)]),
    ],
  }[kind] as [Buffer, Buffer]
  const pages: Buffer[] = []
  const page = (flags: number, data: Buffer, isEnd: boolean) => {
    const lacing = [...Array<number>(Math.floor(data.length / 255)).fill(255), ...(isEnd ? [data.length % 255] : [])]
    pages.push(
      Buffer.concat([
        bytes('OggS\0'),
        Buffer.from([flags]),
        Buffer.alloc(8),
        u32le(77),
        u32le(pages.length),
        u32(0),
        Buffer.from([lacing.length, ...lacing]),
        data,
      ]),
    )
  }
  page(2, first, true)
  const step = Math.floor(pageBytes / 255) * 255
  for (let at = 0; at <= second.length; at += step)
    page(at > 0 ? 1 : 0, second.subarray(at, at + step), at + step > second.length)
  page(0, Buffer.alloc(100, 3), true)
  return Buffer.concat(pages)
}

const synchsafe = (value: number) =>
  Buffer.from([(value >> 21) & 127, (value >> 14) & 127, (value >> 7) & 127, value & 127])
type Frame = [id: string, data: Buffer]
export const textFrame = (key: string, value: string, encoding = 3): Frame => {
  const say = (text: string) =>
    encoding === 1
      ? Buffer.concat([Buffer.from([0xff, 0xfe]), bytes(text, 'utf16le')])
      : encoding === 2
        ? utf16be(text)
        : bytes(text, encoding === 0 ? 'latin1' : 'utf8')
  const end = Buffer.alloc(encoding === 1 || encoding === 2 ? 2 : 1)
  return ['TXXX', Buffer.concat([Buffer.from([encoding]), say(key), end, say(value)])]
}
export const commentFrame = (text: string): Frame => [
  'COMM',
  Buffer.concat([Buffer.from([3]), bytes('eng\0'), bytes(text)]),
]
export function id3(frames: Frame[], { version = 4, unsynchronised = false, plainSizes = false } = {}) {
  const spread = (data: Buffer) => bytes(data.toString('latin1').replace(/\xff/g, '\xff\0'), 'latin1')
  const body = Buffer.concat(
    frames.map(([id, data]) => {
      if (version === 2) return Buffer.concat([bytes(id.slice(0, 3)), u32(data.length).subarray(1), data])
      const perFrame = unsynchronised && version === 4
      const whole = perFrame ? spread(data) : data
      const size = version === 4 && !plainSizes ? synchsafe(whole.length) : u32(whole.length)
      return Buffer.concat([bytes(id), size, Buffer.from([0, perFrame ? 2 : 0]), whole])
    }),
  )
  const whole = unsynchronised && version < 4 ? spread(body) : body
  return Buffer.concat([
    bytes('ID3'),
    Buffer.from([version, 0, unsynchronised ? 0x80 : 0]),
    synchsafe(whole.length),
    whole,
  ])
}
export const mp3 = (tag: Buffer) => Buffer.concat([tag, Buffer.from([0xff, 0xfb, 0x90, 0]), Buffer.alloc(200)])

export const riff = (kind: string, chunks: [type: string, data: Buffer][], mark = 'RIFF') => {
  const body = chunks.map(([type, data]) =>
    Buffer.concat([bytes(type), u32le(data.length), data, Buffer.alloc(data.length % 2)]),
  )
  const inside = Buffer.concat([bytes(kind), ...body])
  return Buffer.concat([bytes(mark), u32le(inside.length), inside])
}
const sound: [string, Buffer] = ['data', Buffer.alloc(40, 1)]
export const wav = (chunks: [string, Buffer][]) => riff('WAVE', [['fmt ', Buffer.alloc(16)], sound, ...chunks])
export const infoList = (texts: Texts): [string, Buffer] => [
  'LIST',
  Buffer.concat([
    bytes('INFO'),
    ...Object.entries(texts).map(([key, value]) => {
      const text = bytes(`${value}\0`)
      return Buffer.concat([bytes(key), u32le(text.length), text, Buffer.alloc(text.length % 2)])
    }),
  ]),
]

export const svg = (texts: Texts) =>
  bytes(
    `<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"><metadata><![CDATA[\n${JSON.stringify(texts)}\n]]></metadata><path d="M0 0 L 1 > 2"/></svg>`.replace(
      ' >',
      '',
    ),
  )
export function glb(texts: Record<string, unknown>, inAsset = true) {
  const json = bytes(
    JSON.stringify({
      asset: { version: '2.0', ...(inAsset && { extras: texts }) },
      ...(!inAsset && { extras: texts }),
    }),
  )
  const padded = Buffer.concat([json, Buffer.alloc((4 - (json.length % 4)) % 4, 0x20)])
  const rest = Buffer.concat([u32le(4), bytes('BIN\0'), Buffer.alloc(4)])
  return Buffer.concat([
    bytes('glTF'),
    u32le(2),
    u32le(20 + padded.length + rest.length),
    u32le(padded.length),
    bytes('JSON'),
    padded,
    rest,
  ])
}
export function safetensors(texts: Texts, dataBytes = 32) {
  const header = bytes(
    JSON.stringify({
      __metadata__: { format: 'pt', ...texts },
      latent: { dtype: 'F32', shape: [8], data_offsets: [0, 32] },
    }),
  )
  return Buffer.concat([u32le(header.length), u32le(0), header, Buffer.alloc(dataBytes)])
}
export const exr = (texts: Texts) =>
  Buffer.concat([
    bytes('v/1\x01', 'latin1'),
    u32le(2),
    ...Object.entries(texts).map(([key, value]) =>
      Buffer.concat([bytes(`${key}\0string\0`), u32le(Buffer.byteLength(value)), bytes(value)]),
    ),
    bytes('\0'),
    Buffer.alloc(30),
  ])

/** An archive; `zip64`: with the long forms of every number; `name` raw bytes where it is no UTF-8. */
export function zip(
  files: [name: string | Buffer, data: Uint8Array][],
  { stored = false, zip64 = false, before = nothing, encrypted = false } = {},
) {
  const locals: Buffer[] = [before]
  const directory: Buffer[] = []
  let at = before.length
  for (const [name, data] of files) {
    const rawName = typeof name === 'string' ? bytes(name) : name
    const packed = stored ? Buffer.from(data) : deflateRawSync(data)
    const flags = (typeof name === 'string' ? 0x800 : 0) | (encrypted ? 1 : 0)
    const common = (extra: Buffer, size: number, whole: number) =>
      Buffer.concat([
        u16le(20),
        u16le(flags),
        u16le(stored ? 0 : 8),
        u32le(0),
        u32le(0),
        u32le(size),
        u32le(whole),
        u16le(rawName.length),
        u16le(extra.length),
      ])
    const local = Buffer.concat([bytes('PK\x03\x04'), common(nothing, packed.length, data.length), rawName, packed])
    const long = Buffer.concat([
      u16le(1),
      u16le(24),
      ...[data.length, packed.length, at].map((value) => u64(value).reverse()),
    ])
    const extra = zip64 ? long : nothing
    const sizes: [number, number] = zip64 ? [0xffffffff, 0xffffffff] : [packed.length, data.length]
    directory.push(
      Buffer.concat([
        bytes('PK\x01\x02'),
        u16le(20),
        common(extra, ...sizes),
        u16le(0),
        u16le(0),
        u16le(0),
        u32le(0),
        u32le(zip64 ? 0xffffffff : at),
        rawName,
        extra,
      ]),
    )
    locals.push(local)
    at += local.length
  }
  const list = Buffer.concat(directory)
  const end64 = Buffer.concat([
    Buffer.concat([bytes('PK\x06\x06'), u64(44).reverse(), u16le(45), u16le(45), u32le(0), u32le(0)]),
    ...[files.length, files.length, list.length, at].map((value) => u64(value).reverse()),
    Buffer.concat([bytes('PK\x06\x07'), u32le(0), u64(at + list.length).reverse(), u32le(1)]),
  ])
  const end = zip64
    ? [u16le(0xffff), u16le(0xffff), u32le(0xffffffff), u32le(0xffffffff)]
    : [u16le(files.length), u16le(files.length), u32le(list.length), u32le(at)]
  return Buffer.concat([...locals, list, ...(zip64 ? [end64] : []), bytes('PK\x05\x06'), u32le(0), ...end, u16le(0)])
}

/** One file of each container, with the texts where the programs that are used put them. */
export const everyContainer: Record<string, { ext: string; container: string; make: (texts: Texts) => Uint8Array }> = {
  json: { ext: 'json', container: 'json', make: (texts) => bytes(JSON.stringify(texts)) },
  png: {
    ext: 'png',
    container: 'png',
    make: (texts) => png(Object.entries(texts).map(([key, value]) => textChunk(key, value))),
  },
  apng: {
    ext: 'png',
    container: 'png',
    make: (texts) =>
      png(
        [],
        Object.entries(texts).map(([key, value]) => textChunk(key, value, 'comf')),
      ),
  },
  webp: { ext: 'webp', container: 'webp', make: (texts) => webp(texts) },
  jpeg: {
    ext: 'jpg',
    container: 'jpeg',
    make: (texts) => jpeg([exifSegment(tiff(prefixed(texts), [userComment(JSON.stringify(texts))]))]),
  },
  avif: { ext: 'avif', container: 'avif', make: (texts) => heif(tiff(prefixed(texts))) },
  heif: {
    ext: 'heic',
    container: 'heif',
    make: (texts) => heif(tiff(prefixed(texts)), { brand: 'heic', inIdat: true, version: 2 }),
  },
  jxl: { ext: 'jxl', container: 'jxl', make: (texts) => jxl(tiff(prefixed(texts))) },
  tiff: { ext: 'tif', container: 'tiff', make: (texts) => tiff(prefixed(texts)) },
  exr: { ext: 'exr', container: 'exr', make: exr },
  gif: { ext: 'gif', container: 'gif', make: (texts) => gif([gifComment(JSON.stringify(texts))]) },
  svg: { ext: 'svg', container: 'svg', make: svg },
  mp4: { ext: 'mp4', container: 'mp4', make: (texts) => mp4([mdtaMeta(texts)]) },
  mov: {
    ext: 'mov',
    container: 'mov',
    make: (texts) => mp4([quickTimeComment(JSON.stringify(texts))], { brand: 'qt  ', make: longBox }),
  },
  webm: { ext: 'webm', container: 'webm', make: (texts) => matroska(texts) },
  mkv: {
    ext: 'mkv',
    container: 'mkv',
    make: (texts) => matroska({ comment: JSON.stringify(texts) }, { type: 'matroska', place: 'end', seek: true }),
  },
  avi: {
    ext: 'avi',
    container: 'avi',
    make: (texts) => riff('AVI ', [infoList({ ICMT: JSON.stringify(texts) }), ['movi', Buffer.alloc(40)]]),
  },
  flac: { ext: 'flac', container: 'flac', make: flac },
  mp3: {
    ext: 'mp3',
    container: 'mp3',
    make: (texts) =>
      mp3(
        id3(
          Object.entries(texts).map(([key, value]) => textFrame(key, value, 1)),
          { unsynchronised: true },
        ),
      ),
  },
  ogg: { ext: 'ogg', container: 'ogg', make: (texts) => ogg(texts, { pageBytes: 510 }) },
  wav: { ext: 'wav', container: 'wav', make: (texts) => wav([infoList({ ICMT: JSON.stringify(texts) })]) },
  glb: { ext: 'glb', container: 'glb', make: (texts) => glb(texts) },
  safetensors: { ext: 'latent', container: 'safetensors', make: (texts) => safetensors(texts) },
  zip: { ext: 'zip', container: 'json', make: (texts) => zip([['a/b.json', bytes(JSON.stringify(texts))]]) },
  gzip: { ext: 'json.gz', container: 'json', make: (texts) => gzipSync(JSON.stringify(texts)) },
}
