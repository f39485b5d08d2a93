import { begins, viewOf } from './source.ts'
import { type Texts, textOf, utf16Of } from './text.ts'
import { readXmp } from './xml.ts'

const BYTE = 1
const ASCII = 2
const UNDEFINED = 7
const EXIF_DIRECTORY = 0x8769 // a tag that points at the Exif directory
const USER_COMMENT = 0x9286
const XMP = 0x02bc
/** The tags programs hide things in, by the names ExifTool gives them; XP… are Windows' own, in UTF-16. */
const NAMES: Record<number, string> = {
  269: 'DocumentName',
  270: 'ImageDescription',
  271: 'Make',
  272: 'Model',
  305: 'Software',
  315: 'Artist',
  33432: 'Copyright',
  40091: 'XPTitle',
  40092: 'XPComment',
  40093: 'XPAuthor',
  40094: 'XPKeywords',
  40095: 'XPSubject',
  [USER_COMMENT]: 'UserComment',
}
const MOST_DIRECTORIES = 16
const MOST_ENTRIES = 4096

/**
 * An EXIF block: directories of 12-byte entries (tag, type, count, value or where it lies). ComfyUI writes `key:value`
 * into the ASCII tags; A1111 and its relatives use UserComment.
 */
export function readTiff(block: Uint8Array, texts: Texts) {
  const tiff = begins(block, 'Exif\0\0') ? block.subarray(6) : block
  if (tiff.length < 8) return
  const view = viewOf(tiff)
  const little = view.getUint16(0) === 0x4949
  if (view.getUint16(2, little) !== 42) return
  const waiting = [view.getUint32(4, little)]
  const seen = new Set<number>()
  for (let directory = waiting.pop(); directory !== undefined; directory = waiting.pop()) {
    if (seen.has(directory) || seen.size === MOST_DIRECTORIES || directory + 2 > tiff.length) continue
    seen.add(directory)
    const entries = Math.min(view.getUint16(directory, little), MOST_ENTRIES)
    for (let index = 0; index < entries; index++) {
      const entry = directory + 2 + index * 12
      if (entry + 12 > tiff.length) break
      const tag = view.getUint16(entry, little)
      const type = view.getUint16(entry + 2, little)
      if (tag === EXIF_DIRECTORY) waiting.push(view.getUint32(entry + 8, little))
      if (type !== ASCII && type !== BYTE && type !== UNDEFINED) continue
      if (type !== ASCII && tag !== XMP && !Object.hasOwn(NAMES, tag)) continue
      const count = view.getUint32(entry + 4, little)
      const start = count <= 4 ? entry + 8 : view.getUint32(entry + 8, little)
      if (start + count > tiff.length || !texts.take(count)) continue
      readTag(tag, tiff.subarray(start, start + count), texts)
    }
  }
}

function readTag(tag: number, value: Uint8Array, texts: Texts) {
  const name = NAMES[tag] ?? `exif-${tag.toString(16)}`
  if (tag === XMP) readXmp(textOf(value), texts)
  else if (tag === USER_COMMENT) texts.putLoose(name, commentOf(value))
  else texts.putLoose(name, name.startsWith('XP') ? utf16Of(value) : textOf(value))
}

/** UserComment begins with eight bytes that name its encoding; some writers leave them out. */
function commentOf(value: Uint8Array): string {
  const rest = value.subarray(8)
  if (begins(value, 'UNICODE\0')) return utf16Of(rest)
  if (begins(value, 'JIS\0')) return new TextDecoder('iso-2022-jp').decode(rest)
  return begins(value, 'ASCII\0') || begins(value, '\0\0\0\0\0\0\0\0') ? textOf(rest) : textOf(value)
}
