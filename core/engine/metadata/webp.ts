import { AppError } from '../../contract/errors.ts'
import { putText, textOf } from './text.ts'

/**
 * The texts of a WebP: ComfyUI writes `key:value` into the ASCII tags of its EXIF block.
 * @throws AppError 'import.damaged' when the file is cut short and no workflow was read whole
 */
export function webpTexts(name: string, bytes: Uint8Array): Record<string, string> {
  const texts: Record<string, string> = {}
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const end = 8 + (bytes.length >= 8 ? view.getUint32(4, true) : 0)
  let cut = end > bytes.length
  let at = 12
  while (at + 8 <= Math.min(end, bytes.length)) {
    const type = textOf(bytes.subarray(at, at + 4))
    const size = view.getUint32(at + 4, true)
    if (at + 8 + size > bytes.length) {
      cut = true
      break
    }
    if (type === 'EXIF') readExif(bytes.subarray(at + 8, at + 8 + size), texts)
    at += 8 + size + (size % 2)
  }
  if (cut && !('workflow' in texts) && !('prompt' in texts)) {
    throw new AppError('import.damaged', { name, reason: 'it ends before its last chunk' })
  }
  return texts
}

const ASCII = 2 // TIFF field type
const EXIF_IFD = 0x8769 // a tag that points at the Exif directory
const EXIF_PREFIX = 'Exif\0\0'

/** A TIFF block: directories of 12-byte entries (tag, type, count, value or where it lies). */
function readExif(data: Uint8Array, texts: Record<string, string>) {
  const prefixed = String.fromCharCode(...data.subarray(0, 6)) === EXIF_PREFIX
  const tiff = prefixed ? data.subarray(6) : data
  if (tiff.length < 8) return
  const view = new DataView(tiff.buffer, tiff.byteOffset, tiff.byteLength)
  const little = view.getUint16(0) === 0x4949
  if (view.getUint16(2, little) !== 42) return
  const waiting = [view.getUint32(4, little)]
  const seen = new Set<number>()
  for (let directory = waiting.pop(); directory !== undefined; directory = waiting.pop()) {
    if (seen.has(directory) || directory + 2 > tiff.length) continue
    seen.add(directory)
    const entries = view.getUint16(directory, little)
    for (let index = 0; index < entries; index++) {
      const entry = directory + 2 + index * 12
      if (entry + 12 > tiff.length) return
      if (view.getUint16(entry, little) === EXIF_IFD) waiting.push(view.getUint32(entry + 8, little))
      if (view.getUint16(entry + 2, little) !== ASCII) continue
      const count = view.getUint32(entry + 4, little)
      const start = count <= 4 ? entry + 8 : view.getUint32(entry + 8, little)
      if (start + count > tiff.length) continue
      const text = textOf(tiff.subarray(start, start + count))
      const colon = text.indexOf(':')
      if (colon > 0 && colon <= 64) putText(texts, text.slice(0, colon), text.slice(colon + 1))
    }
  }
}
