import { readId3 } from './id3.ts'
import { type ByteSource, begins, letters, viewOf } from './source.ts'
import { type Texts, textOf } from './text.ts'
import { readTiff } from './tiff.ts'
import { readXmp } from './xml.ts'

const MOST_CHUNKS = 100_000
const UNKNOWN_SIZE = 0xffffffff
/** Where a broadcast extension's free text begins; before it 256 bytes of description and fixed fields. */
const CODING_HISTORY = 602

/** WebP, WAV (also RF64) and AVI: chunks of fourcc, little-endian size and data, padded to even. */
export function readRiff(source: ByteSource, texts: Texts): string | null {
  const head = source.read(0, 12)
  const isLong = !begins(head, 'RIFF')
  const stated = 8 + viewOf(head).getUint32(4, true)
  const end = isLong || stated === 8 + UNKNOWN_SIZE ? source.sizeBytes : Math.min(stated, source.sizeBytes)
  let longSize = 0
  let at = 12
  for (let count = 0; at + 8 <= end && count < MOST_CHUNKS; count++) {
    const chunk = source.read(at, 8)
    const type = letters(chunk)
    let size = viewOf(chunk).getUint32(4, true)
    if (size === UNKNOWN_SIZE && isLong && type === 'data') size = longSize
    if (at + 8 + size > source.sizeBytes) return 'it ends before its last chunk'
    const data = () => source.read(at + 8, Math.min(size, texts.room))
    if (type === 'ds64' && size >= 16) longSize = Number(viewOf(data()).getBigUint64(8, true))
    else if (type === 'EXIF' && texts.take(size)) readTiff(data(), texts)
    else if ((type === 'XMP ' || type === '_PMX' || type === 'iXML') && texts.take(size)) readXmp(textOf(data()), texts)
    else if (type === 'LIST' && letters(source.read(at + 8, 4)) === 'INFO' && texts.take(size)) readInfo(data(), texts)
    else if (/^id3 $/i.test(type)) readId3(data(), texts)
    else if (type === 'bext') {
      texts.putBytes('description', data().subarray(0, 256))
      texts.putBytes('history', data().subarray(CODING_HISTORY))
    }
    at += 8 + size + (size % 2)
  }
  return !isLong && stated > source.sizeBytes && stated !== 8 + UNKNOWN_SIZE ? 'it ends before its last chunk' : null
}

const INFO: Record<string, string> = { ICMT: 'comment', INAM: 'title', ISBJ: 'subject', IKEY: 'keywords' }

function readInfo(list: Uint8Array, texts: Texts) {
  for (let at = 4; at + 8 <= list.length; ) {
    const type = letters(list, at)
    const size = viewOf(list).getUint32(at + 4, true)
    texts.putLoose(INFO[type] ?? type, textOf(list.subarray(at + 8, at + 8 + size)))
    at += 8 + size + (size % 2)
  }
}
