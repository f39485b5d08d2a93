import { AppError } from '../../contract/errors.ts'
import { pngTexts } from './png.ts'
import { webpTexts } from './webp.ts'

/** Files above this are refused by their size, unread. */
export const maxWorkflowBytes = 64 * 1024 * 1024

/** What a file holds: `json` is the whole file; otherwise a picture's metadata, by key (`workflow`, `prompt`, …). */
export interface WorkflowFile {
  container: 'json' | 'png' | 'webp'
  texts: Record<string, string>
}

/** To be asked before a file is read. @throws AppError 'import.too-large' */
export function checkWorkflowSize(name: string, sizeBytes: number) {
  if (sizeBytes <= maxWorkflowBytes) return
  const mib = (bytes: number) => Math.ceil(bytes / (1024 * 1024))
  throw new AppError('import.too-large', { name, sizeMiB: mib(sizeBytes), limitMiB: mib(maxWorkflowBytes) })
}

/** @throws AppError 'import.too-large', 'import.empty', 'import.unsupported-file', 'import.damaged', 'import.not-json' */
export function readWorkflowFile(name: string, bytes: Uint8Array): WorkflowFile {
  checkWorkflowSize(name, bytes.length)
  if (bytes.length === 0) throw new AppError('import.empty', { name })
  if (begins(bytes, [0x89, 0x50, 0x4e, 0x47])) return { container: 'png', texts: pngTexts(name, bytes) }
  if (begins(bytes, ascii('RIFF')) && begins(bytes, ascii('WEBP'), 8)) {
    return { container: 'webp', texts: webpTexts(name, bytes) }
  }
  const kind = kindOf(bytes)
  if (kind !== null) throw new AppError('import.unsupported-file', { name, kind })
  const json = decodeText(name, bytes)
  if (json.trim() === '') throw new AppError('import.empty', { name })
  return { container: 'json', texts: { json } }
}

const ascii = (text: string) => [...text].map((letter) => letter.charCodeAt(0))
const begins = (bytes: Uint8Array, mark: readonly number[], at = 0) =>
  bytes.length >= at + mark.length && mark.every((byte, index) => bytes[at + index] === byte)

/** Files people drop by mistake, named so that they see which. */
const knownKinds: readonly [mark: readonly number[], at: number, kind: string][] = [
  [[0x50, 0x4b, 0x03, 0x04], 0, 'a ZIP archive'],
  [[0x50, 0x4b, 0x05, 0x06], 0, 'an empty ZIP archive'],
  [[0x1f, 0x8b], 0, 'a gzip archive'],
  [[0x37, 0x7a, 0xbc, 0xaf], 0, 'a 7-Zip archive'],
  [ascii('Rar!'), 0, 'a RAR archive'],
  [[0xff, 0xd8, 0xff], 0, 'a JPEG picture'],
  [ascii('GIF8'), 0, 'a GIF picture'],
  [ascii('BM'), 0, 'a BMP picture'],
  [ascii('ftypavif'), 4, 'an AVIF picture'],
  [ascii('ftyp'), 4, 'an MP4 video'],
  [[0x1a, 0x45, 0xdf, 0xa3], 0, 'a WebM or MKV video'],
  [ascii('fLaC'), 0, 'a FLAC sound'],
  [ascii('OggS'), 0, 'an Ogg sound'],
  [ascii('ID3'), 0, 'an MP3 sound'],
  [ascii('RIFF'), 0, 'a WAV or AVI file'],
  [ascii('%PDF'), 0, 'a PDF document'],
  [ascii('glTF'), 0, 'a GLB model'],
  [ascii('MZ'), 0, 'a Windows program'],
  [[0x7f, 0x45, 0x4c, 0x46], 0, 'a Linux program'],
]
function kindOf(bytes: Uint8Array): string | null {
  for (const [mark, at, kind] of knownKinds) if (begins(bytes, mark, at)) return kind
  // A safetensors file begins with the size of its JSON header, little-endian.
  if (bytes[8] === 0x7b && begins(bytes, [0, 0, 0, 0], 4)) return 'a model file (safetensors)'
  return null
}

function decodeText(name: string, bytes: Uint8Array): string {
  for (const encoding of encodingsOf(bytes)) {
    try {
      return new TextDecoder(encoding, { fatal: true }).decode(bytes)
    } catch {
      // not this one
    }
  }
  throw new AppError('import.not-json', { name, reason: 'it is not text in UTF-8 or UTF-16' })
}

/** JSON begins with two ASCII characters, so its zero bytes tell UTF-16 where there is no byte order mark. */
function encodingsOf(bytes: Uint8Array): string[] {
  if (begins(bytes, [0xff, 0xfe]) || (bytes[0] !== 0 && bytes[1] === 0)) return ['utf-16le']
  if (begins(bytes, [0xfe, 0xff]) || (bytes[0] === 0 && bytes[1] !== 0)) return ['utf-16be']
  return ['utf-8']
}
