import { id3Size } from './id3.ts'
import { type ByteSource, begins, viewOf } from './source.ts'
import { type Texts, textOf } from './text.ts'

const COMMENTS = 4 // a FLAC block's type
const LAST = 0x80

/** FLAC: blocks before the sound; one of them holds Vorbis comments. */
export function readFlac(source: ByteSource, texts: Texts): string | null {
  let at = id3Size(source.read(0, 10)) + 4
  for (;;) {
    const head = source.read(at, 4)
    if (head.length < 4) return 'it ends before its sound'
    const size = viewOf(head).getUint32(0) & 0xffffff
    if ((head[0]! & 0x7f) === COMMENTS && texts.take(size)) readComments(source.read(at + 4, size), texts)
    at += 4 + size
    if (at > source.sizeBytes) return 'it ends inside a block'
    if (head[0]! & LAST) return null
  }
}

const CONTINUED = 0x01
const FIRST = 0x02
const MOST_PAGES = 20_000

/** Ogg (Opus, Vorbis, FLAC, Theora): each stream's second packet, put together again from its pages. */
export function readOgg(source: ByteSource, texts: Texts): string | null {
  const streams = new Map<number, { packet: number; parts: Uint8Array[] }>()
  let waiting = 0
  let at = 0
  for (let page = 0; page < MOST_PAGES; page++) {
    const head = source.read(at, 27)
    if (head.length < 27 || !begins(head, 'OggS')) return 'it ends before its comments'
    const flags = head[5]!
    const serial = viewOf(head).getUint32(14, true)
    const lacing = source.read(at + 27, head[26]!)
    let stream = streams.get(serial)
    if (!stream && flags & FIRST && streams.size < 64) {
      stream = { packet: 0, parts: [] }
      streams.set(serial, stream)
      waiting += 1
    }
    let from = at + 27 + lacing.length
    let size = 0
    const close = () => {
      if (stream?.packet === 1 && texts.take(size)) stream.parts.push(source.read(from, size))
      from += size
      size = 0
    }
    if (stream && stream.packet === 1 && !(flags & CONTINUED)) stream.parts = [] // the rest of it was lost
    for (const length of lacing) {
      size += length
      if (length === 255) continue
      close()
      if (stream?.packet === 1) {
        readPacket(Buffer.concat(stream.parts), texts)
        waiting -= 1
      }
      if (stream) stream.packet += 1
    }
    close()
    at = from
    if (waiting === 0 && streams.size > 0) return null
  }
  return null
}

function readPacket(packet: Uint8Array, texts: Texts) {
  for (const mark of ['OpusTags', '\x03vorbis', '\x81theora'])
    if (begins(packet, mark)) return readComments(packet.subarray(mark.length), texts)
  if ((packet[0]! & 0x7f) === COMMENTS) readComments(packet.subarray(4), texts) // a FLAC block
}

/** Size and vendor, count, then size and `KEY=value` each; little-endian. */
function readComments(data: Uint8Array, texts: Texts) {
  if (data.length < 8) return
  const view = viewOf(data)
  let at = 4 + view.getUint32(0, true)
  if (at + 4 > data.length) return
  const count = view.getUint32(at, true)
  at += 4
  for (let index = 0; index < count && at + 4 <= data.length; index++) {
    const end = at + 4 + view.getUint32(at, true)
    if (end > data.length) return
    const text = textOf(data.subarray(at + 4, end))
    const sign = text.indexOf('=')
    if (sign > 0 && sign <= 200) texts.putLoose(text.slice(0, sign).toLowerCase(), text.slice(sign + 1))
    at = end
  }
}
