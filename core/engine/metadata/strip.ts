/**
 * A picture without the texts in it (prompt, workflow, marks); the pixels and how they are to be shown stay as they are.
 * null: this kind of file cannot be stripped. A damaged file comes back as far as it can be read.
 */
export function stripTexts(bytes: Uint8Array, mediaType: string): Uint8Array | null {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  return canStrip(mediaType) ? strippers[mediaType](bytes, view) : null
}

export const canStrip = (mediaType: string): mediaType is keyof typeof strippers => Object.hasOwn(strippers, mediaType)
const strippers = { 'image/png': stripPng, 'image/webp': stripWebp, 'image/jpeg': stripJpeg }

/** `comf` is where ComfyUI's animated PNGs keep the prompt. */
const PNG_TEXTS = new Set(['tEXt', 'zTXt', 'iTXt', 'eXIf', 'comf'])

function stripPng(bytes: Uint8Array, view: DataView): Uint8Array {
  const kept = [bytes.subarray(0, 8)]
  for (let at = 8; at + 12 <= bytes.length; ) {
    const end = at + 12 + view.getUint32(at)
    if (!PNG_TEXTS.has(fourCC(bytes, at + 4))) kept.push(bytes.subarray(at, end))
    at = end
  }
  return Buffer.concat(kept)
}

const WEBP_TEXTS = new Set(['EXIF', 'XMP '])
const VP8X_HAS_XMP = 0x04
const VP8X_HAS_EXIF = 0x08

function stripWebp(bytes: Uint8Array, view: DataView): Uint8Array {
  const kept = [Buffer.from(bytes.subarray(0, 12))]
  for (let at = 12; at + 8 <= bytes.length; ) {
    const size = view.getUint32(at + 4, true)
    const end = at + 8 + size + (size % 2)
    const kind = fourCC(bytes, at)
    const chunk = Buffer.from(bytes.subarray(at, end))
    if (kind === 'VP8X' && size > 0) chunk[8] = chunk[8]! & ~(VP8X_HAS_XMP | VP8X_HAS_EXIF)
    if (!WEBP_TEXTS.has(kind)) kept.push(chunk)
    at = end
  }
  const stripped = Buffer.concat(kept)
  stripped.writeUInt32LE(stripped.length - 8, 4)
  return stripped
}

/** EXIF and XMP, Photoshop's block, comments. */
const JPEG_TEXTS = new Set([0xe1, 0xed, 0xfe])
const JPEG_SCAN = 0xda

function stripJpeg(bytes: Uint8Array, view: DataView): Uint8Array {
  const kept = [bytes.subarray(0, 2)]
  let at = 2
  while (at + 4 <= bytes.length && bytes[at] === 0xff && bytes[at + 1] !== JPEG_SCAN) {
    if (bytes[at + 1] === 0xff) {
      at += 1 // a fill byte
      continue
    }
    const end = at + 2 + view.getUint16(at + 2)
    if (!JPEG_TEXTS.has(bytes[at + 1]!)) kept.push(bytes.subarray(at, end))
    at = end
  }
  kept.push(bytes.subarray(at))
  return Buffer.concat(kept)
}

const fourCC = (bytes: Uint8Array, at: number) => Buffer.from(bytes.subarray(at, at + 4)).toString('latin1')
