import { type ByteSource, begins, viewOf } from './source.ts'
import { type Texts, textOf } from './text.ts'
import { readTiff } from './tiff.ts'
import { readXmp } from './xml.ts'

const APP1 = 0xe1
const COMMENT = 0xfe
const SCAN = 0xda
const END = 0xd9
const MOST_BYTES_IN_SEGMENT = 65_533
const XMP = 'http://ns.adobe.com/xap/1.0/\0'
/** Then a GUID of 32 letters, the whole size and where this part belongs. */
const XMP_PART = 'http://ns.adobe.com/xmp/extension/\0'

/** JPEG: EXIF, XMP (also in parts, since a segment holds 64 KiB) and comments, all before the pixels. */
export function readJpeg(source: ByteSource, texts: Texts): string | null {
  const exif: Uint8Array[][] = []
  const comments: Uint8Array[][] = []
  const xmpParts: Uint8Array[] = []
  let damage: string | null = 'it ends before its picture'
  let at = 2
  while (at + 4 <= source.sizeBytes) {
    const head = source.read(at, 4)
    const marker = head[1]!
    if (head[0] !== 0xff) {
      damage = 'a segment is not where it should be'
      break
    }
    if (marker === 0xff) {
      at += 1 // a fill byte
      continue
    }
    if (marker === SCAN || marker === END) {
      damage = null
      break
    }
    const size = viewOf(head).getUint16(2) - 2
    const data = source.read(at + 4, size)
    if (size < 0 || data.length < size) {
      damage = 'it ends inside a segment'
      break
    }
    if (marker === COMMENT) {
      const isMore = comments.at(-1)?.at(-1)?.length === MOST_BYTES_IN_SEGMENT
      if (isMore) comments.at(-1)!.push(data)
      else comments.push([data])
    } else if (marker === APP1 && begins(data, 'Exif\0\0')) {
      const block = data.subarray(6)
      if (exif.length > 0 && !begins(block, 'II*\0') && !begins(block, 'MM\0*')) exif.at(-1)!.push(block)
      else exif.push([block])
    } else if (marker === APP1 && begins(data, XMP_PART)) xmpParts.push(data.subarray(XMP_PART.length + 40))
    else if (marker === APP1 && begins(data, XMP) && texts.take(size)) readXmp(textOf(data.subarray(XMP.length)), texts)
    at += 4 + size
  }
  for (const parts of exif) readTiff(Buffer.concat(parts), texts)
  const xmp = Buffer.concat(xmpParts)
  if (xmp.length > 0 && texts.take(xmp.length)) readXmp(textOf(xmp), texts)
  for (const parts of comments) texts.putBytes('comment', Buffer.concat(parts))
  return damage
}
