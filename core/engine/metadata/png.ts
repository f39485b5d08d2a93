import { crc32 } from 'node:zlib'
import { type ByteSource, letters, viewOf } from './source.ts'
import { type Texts, textOf } from './text.ts'
import { readTiff } from './tiff.ts'
import { readXmp } from './xml.ts'

const TEXTS = ['tEXt', 'zTXt', 'iTXt', 'comf', 'eXIf']

/**
 * PNG: tEXt, zTXt, iTXt, EXIF and ComfyUI's own `comf`, before or after the pixels. A file cut short is read as far as
 * it goes. As every reader here it gives what is wrong with the file; null: nothing.
 */
export function readPng(source: ByteSource, texts: Texts): string | null {
  let damage: string | null = null
  let at = 8
  while (at + 12 <= source.sizeBytes) {
    const head = source.read(at, 8)
    const size = viewOf(head).getUint32(0)
    const type = letters(head, 4)
    const end = at + 8 + size
    if (end + 4 > source.sizeBytes)
      return damage ?? `it ends inside a ${/^[A-Za-z]{4}$/.test(type) ? `${type} ` : ''}chunk`
    if (type === 'IEND') return damage
    if (TEXTS.includes(type) && size <= texts.room) {
      const chunk = source.read(at + 4, size + 8)
      const isWhole = crc32(chunk.subarray(0, size + 4)) === viewOf(chunk).getUint32(size + 4)
      if (isWhole) readChunk(type, chunk.subarray(4, size + 4), texts)
      else damage ??= `the checksum of a ${type} chunk is wrong`
    }
    at = end + 4
  }
  return damage ?? 'it ends before its last chunk'
}

function readChunk(type: string, data: Uint8Array, texts: Texts) {
  if (type === 'eXIf') return readTiff(data, texts)
  const nul = data.indexOf(0)
  if (nul < 0) return
  const key = textOf(data.subarray(0, Math.min(nul, 200)))
  let text: Uint8Array | null = data.subarray(nul + 1)
  if (type === 'zTXt') text = texts.inflated(text.subarray(1))
  else if (type === 'iTXt') {
    const [compressed, method] = text // flag, method, language NUL, translated keyword NUL, text
    const language = text.indexOf(0, 2)
    const keyword = language < 0 ? -1 : text.indexOf(0, language + 1)
    if (keyword < 0) return
    text = text.subarray(keyword + 1)
    if (compressed === 1) text = method === 0 ? texts.inflated(text) : null
  }
  if (text === null || !texts.take(text.length)) return
  if (key === 'XML:com.adobe.xmp') readXmp(textOf(text), texts)
  else texts.put(key, textOf(text))
}
