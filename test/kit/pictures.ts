import { crc32, deflateSync } from 'node:zlib'

type Chunk = [type: string, data: Uint8Array]
const bytes = (text: string, encoding: BufferEncoding = 'utf8') => new Uint8Array(Buffer.from(text, encoding))
export const textChunk = (key: string, value: string, type = 'tEXt'): Chunk => [type, bytes(`${key}\0${value}`)]
export const zippedChunk = (key: string, value: string): Chunk => [
  'zTXt',
  new Uint8Array(Buffer.concat([bytes(`${key}\0\0`), deflateSync(value)])),
]
export const internationalChunk = (key: string, value: string, zipped = false): Chunk => [
  'iTXt',
  new Uint8Array(
    Buffer.concat([bytes(`${key}\0${zipped ? '\x01' : '\0'}\0en\0\0`), zipped ? deflateSync(value) : bytes(value)]),
  ),
]

/** A PNG of one pixel with these chunks before its pixel, and those after it. */
export function png(before: Chunk[], after: Chunk[] = []): Uint8Array {
  const header = Buffer.from([0, 0, 0, 1, 0, 0, 0, 1, 8, 0, 0, 0, 0])
  const chunks: Chunk[] = [
    ['IHDR', header],
    ...before,
    ['IDAT', deflateSync(Buffer.from([0, 0]))],
    ...after,
    ['IEND', bytes('')],
  ]
  const parts = chunks.map(([type, data]) => {
    const named = Buffer.concat([Buffer.from(type, 'latin1'), data])
    const [size, check] = [Buffer.alloc(4), Buffer.alloc(4)]
    size.writeUInt32BE(data.length)
    check.writeUInt32BE(crc32(named))
    return Buffer.concat([size, named, check])
  })
  return new Uint8Array(Buffer.concat([Buffer.from([0x89, 0x50, 0x4e, 0x47, 13, 10, 26, 10]), ...parts]))
}

/** A WebP container whose EXIF block holds these `key:value` texts, as ComfyUI writes them. */
export function webp(texts: Record<string, string>, { prefix = false, big = false } = {}): Uint8Array {
  const values = Object.entries(texts).map(([key, value]) => Buffer.from(`${key}:${value}\0`))
  const u16 = (value: number) => (big ? [value >> 8, value & 255] : [value & 255, value >> 8])
  const u32 = (value: number) => {
    const four = Buffer.alloc(4)
    if (big) four.writeUInt32BE(value)
    else four.writeUInt32LE(value)
    return [...four]
  }
  let at = 8 + 2 + values.length * 12 + 4
  const entries = values.flatMap((value, index) => {
    const place = value.length <= 4 ? [...value, 0, 0, 0, 0].slice(0, 4) : u32(at)
    if (value.length > 4) at += value.length
    return [...u16(0x0110 - index), ...u16(2), ...u32(value.length), ...place]
  })
  const tiff = Buffer.from([
    ...Buffer.from(big ? 'MM' : 'II'),
    ...u16(42),
    ...u32(8),
    ...u16(values.length),
    ...entries,
    ...u32(0),
  ])
  const exif = Buffer.concat([
    Buffer.from(prefix ? 'Exif\0\0' : ''),
    tiff,
    ...values.filter((value) => value.length > 4),
  ])
  const chunk = (type: string, data: Buffer) => {
    const size = Buffer.alloc(4)
    size.writeUInt32LE(data.length)
    return Buffer.concat([Buffer.from(type), size, data, Buffer.alloc(data.length % 2)])
  }
  const body = Buffer.concat([Buffer.from('WEBP'), chunk('VP8 ', Buffer.alloc(10)), chunk('EXIF', exif)])
  return new Uint8Array(Buffer.concat([chunk('RIFF', body)]))
}
