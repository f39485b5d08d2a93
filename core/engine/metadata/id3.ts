import { type ByteSource, begins, letters, viewOf } from './source.ts'
import { type Texts, textOf, utf16Of } from './text.ts'

/** MP3: the tag before the sound, or the one ID3v2.4 may put after it. */
export function readMp3(source: ByteSource, texts: Texts): string | null {
  const size = id3Size(source.read(0, 10))
  if (size > 0) {
    readId3(source.read(0, Math.min(size, texts.room)), texts)
    if (size > source.sizeBytes) return 'it ends inside its tag'
  }
  for (const before of [0, 128]) {
    const foot = source.read(source.sizeBytes - before - 10, 10)
    if (!begins(foot, '3DI')) continue
    const tag = 10 + id3Size(new Uint8Array([...foot].with(0, 0x49).with(1, 0x44).with(2, 0x33)))
    readId3(source.read(source.sizeBytes - before - tag, Math.min(tag, texts.room)), texts)
  }
  return null
}

/** With its header; 0: there is none. */
export function id3Size(head: Uint8Array): number {
  if (head.length < 10 || !begins(head, 'ID3') || head[3] === 0xff) return 0
  return 10 + synchsafe(head, 6) + (head[5]! & 0x10 ? 10 : 0)
}

/** Sizes of seven bits a byte, so that nothing in a tag looks like the beginning of sound. */
const synchsafe = (bytes: Uint8Array, at: number) =>
  ((bytes[at]! & 0x7f) << 21) |
  ((bytes[at + 1]! & 0x7f) << 14) |
  ((bytes[at + 2]! & 0x7f) << 7) |
  (bytes[at + 3]! & 0x7f)

const UNSYNCHRONISED = 0x80
const EXTENDED = 0x40

/** ID3v2.2 to 2.4: TXXX (a key and a value) and comments. */
export function readId3(tag: Uint8Array, texts: Texts) {
  const size = id3Size(tag)
  if (size === 0) return
  const [, , , version = 0, , flags = 0] = tag
  let body = tag.subarray(10, size)
  if (flags & UNSYNCHRONISED && version < 4) body = synchronised(body)
  let at = 0
  if (flags & EXTENDED && version > 2 && body.length >= 4)
    at = version === 4 ? synchsafe(body, 0) : viewOf(body).getUint32(0) + 4
  const short = version === 2
  const headBytes = short ? 6 : 10
  while (at + headBytes <= body.length) {
    const id = letters(body, at, short ? 3 : 4)
    if (!/^[A-Z][A-Z0-9]{2,3}$/.test(id)) break // padding
    const length = frameSize(body, at, version)
    const data = body.subarray(at + headBytes, at + headBytes + length)
    if (/^(TXXX?|COMM?|USLT|ULT)$/.test(id) && texts.take(data.length)) {
      const whole = short ? data : unwrapped(data, body[at + 9]!, version, flags, texts)
      if (whole) readFrame(id, whole, texts)
    }
    at += headBytes + length
  }
}

function frameSize(body: Uint8Array, at: number, version: number): number {
  const view = viewOf(body)
  if (version === 2) return (view.getUint16(at + 3) << 8) | body[at + 5]!
  const plain = view.getUint32(at + 4)
  if (version < 4) return plain
  // some programs write 2.4 with plain sizes: a byte above 0x7f, or a next frame only there, tells
  const safe = synchsafe(body, at + 4)
  const fits = (size: number) => at + 10 + size >= body.length || /^[A-Z\0]/.test(letters(body, at + 10 + size, 1))
  return plain & 0x80808080 || (plain !== safe && !fits(safe) && fits(plain)) ? plain : safe
}

/** Undoes a frame's own packing; null: encrypted, or damaged. */
function unwrapped(data: Uint8Array, format: number, version: number, flags: number, texts: Texts): Uint8Array | null {
  if (version === 3) {
    if (format & 0x40) return null
    return format & 0x80 ? texts.inflated(data.subarray(4)) : data.subarray(format & 0x20 ? 1 : 0)
  }
  if (format & 0x04) return null
  let rest = data.subarray((format & 0x40 ? 1 : 0) + (format & 0x01 ? 4 : 0))
  if (format & 0x02 || flags & UNSYNCHRONISED) rest = synchronised(rest)
  return format & 0x08 ? texts.inflated(rest) : rest
}

/** Takes out the zero that was put after every 0xff. */
function synchronised(bytes: Uint8Array): Uint8Array {
  const out = new Uint8Array(bytes.length)
  let size = 0
  for (let at = 0; at < bytes.length; at++) {
    out[size++] = bytes[at]!
    if (bytes[at] === 0xff && bytes[at + 1] === 0) at++
  }
  return out.subarray(0, size)
}

function readFrame(id: string, data: Uint8Array, texts: Texts) {
  const isOwn = id.startsWith('TX')
  const encoding = data[0] ?? 0
  const wide = encoding === 1 || encoding === 2
  const from = isOwn ? 1 : 4 // a comment names its language first
  const end = endOfText(data, from, wide)
  const say = (bytes: Uint8Array) =>
    encoding === 2 ? new TextDecoder('utf-16be').decode(bytes) : wide ? utf16Of(bytes) : textOf(bytes)
  const key = say(data.subarray(from, end))
  const value = say(data.subarray(end + (wide ? 2 : 1))).replace(/(?<!\0)\0+$/, '')
  if (isOwn) texts.put(key, value)
  else if (key !== '') texts.putLoose(key, value)
  else texts.putLoose('comment', value)
}

function endOfText(data: Uint8Array, from: number, wide: boolean): number {
  if (!wide) {
    const end = data.indexOf(0, from)
    return end < 0 ? data.length : end
  }
  for (let at = from; at + 1 < data.length; at += 2) if (data[at] === 0 && data[at + 1] === 0) return at
  return data.length
}
