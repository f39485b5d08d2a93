import { crc32, inflateSync } from 'node:zlib'
import { AppError } from '../../contract/errors.ts'
import { maxTextBytes, putText, textOf } from './text.ts'

/**
 * The texts of a PNG: tEXt, zTXt, iTXt and ComfyUI's own `comf`, before or after the pixels. A file cut short is read
 * as far as it goes.
 * @throws AppError 'import.damaged' when it is cut short, or a text is garbled, and no workflow was read whole
 */
export function pngTexts(name: string, bytes: Uint8Array): Record<string, string> {
  const texts: Record<string, string> = {}
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  let damage: string | null = 'it ends before its last chunk'
  let room = maxTextBytes
  let at = 8
  while (at + 12 <= bytes.length) {
    const size = view.getUint32(at)
    const type = textOf(bytes.subarray(at + 4, at + 8))
    const end = at + 8 + size
    if (end + 4 > bytes.length) {
      damage = `it ends inside a ${/^[A-Za-z]{4}$/.test(type) ? `${type} ` : ''}chunk`
      break
    }
    if (type === 'IEND') {
      damage = null
      break
    }
    if (type === 'tEXt' || type === 'zTXt' || type === 'iTXt' || type === 'comf') {
      if (crc32(bytes.subarray(at + 4, end)) === view.getUint32(end)) {
        const text = readText(type, bytes.subarray(at + 8, end), room)
        if (text) {
          room -= text.value.length
          putText(texts, text.key, text.value)
        }
      } else if (damage !== null) {
        damage = `the checksum of a ${type} chunk is wrong`
        if (!hasWorkflow(texts)) throw new AppError('import.damaged', { name, reason: damage })
      }
    }
    at = end + 4
  }
  if (damage !== null && !hasWorkflow(texts)) throw new AppError('import.damaged', { name, reason: damage })
  return texts
}

const hasWorkflow = (texts: Record<string, string>) => 'workflow' in texts || 'prompt' in texts

function readText(type: string, data: Uint8Array, room: number): { key: string; value: string } | null {
  const nul = data.indexOf(0)
  if (nul < 0) return null
  const key = textOf(data.subarray(0, nul))
  const rest = data.subarray(nul + 1)
  if (type === 'tEXt' || type === 'comf') return { key, value: textOf(rest) }
  if (type === 'zTXt') return inflated(key, rest.subarray(1), room)
  const [compressed, method] = rest // iTXt: flag, method, language NUL, translated keyword NUL, text
  const language = rest.indexOf(0, 2)
  const keyword = language < 0 ? -1 : rest.indexOf(0, language + 1)
  if (keyword < 0) return null
  const text = rest.subarray(keyword + 1)
  return compressed === 1 && method === 0 ? inflated(key, text, room) : { key, value: textOf(text) }
}

function inflated(key: string, data: Uint8Array, room: number): { key: string; value: string } | null {
  try {
    return { key, value: textOf(inflateSync(data, { maxOutputLength: Math.max(1, room) })) }
  } catch {
    return null // damaged, or a bomb
  }
}
