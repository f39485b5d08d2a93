import { crc32 } from 'node:zlib'
import { isJsonObject, type Json } from '../../contract/json.ts'

const IHDR_END = 8 + 4 + 4 + 13 + 4

/** A PNG with `tEXt` chunks put right after its header, as ComfyUI's writer does. Values must be ASCII. */
export function withTexts(png: Buffer, texts: Record<string, string>): Buffer {
  const chunks = Object.entries(texts).map(([key, value]) => {
    const body = Buffer.concat([
      Buffer.from('tEXt'),
      Buffer.from(key, 'latin1'),
      Buffer.of(0),
      Buffer.from(value, 'latin1'),
    ])
    const chunk = Buffer.alloc(body.length + 8)
    chunk.writeUInt32BE(body.length - 4, 0)
    body.copy(chunk, 4)
    chunk.writeUInt32BE(crc32(body), chunk.length - 4)
    return chunk
  })
  return Buffer.concat([png.subarray(0, IHDR_END), ...chunks, png.subarray(IHDR_END)])
}

/** JSON as Python's `json.dumps` writes it: a space after commas and colons, every character beyond ASCII escaped. */
export function pythonJson(value: Json): string {
  if (Array.isArray(value)) return `[${value.map(pythonJson).join(', ')}]`
  if (isJsonObject(value)) {
    const entries = Object.entries(value).map(([key, item]) => `${pythonJson(key)}: ${pythonJson(item)}`)
    return `{${entries.join(', ')}}`
  }
  if (typeof value !== 'string') return String(value)
  return JSON.stringify(value).replace(
    /[\u007f-\uffff]/g,
    (found) => `\\u${found.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}
