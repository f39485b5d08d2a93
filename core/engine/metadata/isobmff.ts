import { brotliDecompressSync } from 'node:zlib'
import { type ByteSource, begins, letters, partOf, viewOf } from './source.ts'
import { type Texts, textOf, utf16Of } from './text.ts'
import { readTiff } from './tiff.ts'
import { readXmp } from './xml.ts'

interface Box {
  readonly type: string
  readonly source: ByteSource
  /** The file says it is larger than what is there. */
  readonly cut: boolean
}

const MOST_BOXES = 50_000
const XMP_BOX = 'be7acfcb97a942e89c71999491e3afac'
const HOLDING = ['moov', 'udta', 'trak']
const DEEPEST = 8

/** MP4, MOV, AVIF, HEIF and JPEG XL: boxes of size, type and data, boxes within boxes. Only their heads are read. */
export function readBoxes(file: ByteSource, texts: Texts): string | null {
  const budget = { left: MOST_BOXES }
  let damage: string | null = null
  const waiting = [{ source: file, depth: 0 }]
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    const { source, depth } = next
    for (const box of boxesIn(source, budget)) {
      if (box.cut) damage = `it ends inside its ${/^[\x20-\x7e]{4}$/.test(box.type) ? `${box.type} ` : ''}box`
      const inside = HOLDING.includes(box.type)
      if (inside && depth < DEEPEST) waiting.push({ source: box.source, depth: depth + 1 })
      else readBox(box, file, texts, budget)
    }
  }
  return damage
}

function* boxesIn(source: ByteSource, budget: { left: number }): Generator<Box> {
  for (let at = 0; at + 8 <= source.sizeBytes && budget.left > 0; budget.left--) {
    const head = source.read(at, 16)
    const type = letters(head, 4)
    let size = viewOf(head).getUint32(0)
    let from = 8
    if (size === 1 && head.length === 16) {
      size = Number(viewOf(head).getBigUint64(8))
      from = 16
    } else if (size === 0) size = source.sizeBytes - at
    if (size < from) return
    yield { type, source: partOf(source, at + from, size - from), cut: at + size > source.sizeBytes }
    at += size
  }
}

function readBox({ type, source }: Box, file: ByteSource, texts: Texts, budget: { left: number }) {
  const all = () => (texts.take(source.sizeBytes) ? source.read(0, source.sizeBytes) : new Uint8Array())
  if (type === 'meta') readMeta(source, file, texts, budget)
  else if (type === 'uuid' && Buffer.from(source.read(0, 16)).toString('hex') === XMP_BOX)
    readXmp(textOf(all().subarray(16)), texts)
  else if (type === 'XMP_' || type === 'xml ') readXmp(textOf(all()), texts)
  else if (type === 'Exif') readTiff(afterOffset(all()), texts)
  else if (type === 'brob') readPacked(all(), texts)
  else if (/^\xa9[a-z]{3}$/i.test(type)) readQuickTime(nameOf(type), all(), texts)
}

/** JPEG XL packs a box by Brotli, its own type first. */
function readPacked(data: Uint8Array, texts: Texts) {
  const type = letters(data)
  if (type !== 'Exif' && type !== 'xml ') return
  const bytes = texts.inflated(data.subarray(4), brotliDecompressSync)
  if (bytes && type === 'Exif') readTiff(afterOffset(bytes), texts)
  else if (bytes) readXmp(textOf(bytes), texts)
}

/** An EXIF item says first where its TIFF header is, counted from after that number. */
const afterOffset = (data: Uint8Array) => (data.length < 4 ? data : data.subarray(4 + viewOf(data).getUint32(0)))

const NAMES: Record<string, string> = { '©cmt': 'comment', '©des': 'description', '©nam': 'title', desc: 'description' }
const nameOf = (type: string) => NAMES[type.replace('\xa9', '©')] ?? type.replace('\xa9', '')

/** QuickTime's own texts: size, language, letters. */
function readQuickTime(name: string, data: Uint8Array, texts: Texts) {
  if (data.length < 4) return
  const size = viewOf(data).getUint16(0)
  const text = data.subarray(4, 4 + size)
  texts.putLoose(name, begins(text, '\xfe\xff') || begins(text, '\xff\xfe') ? utf16Of(text) : textOf(text))
}

/** A list of texts (MP4, MOV) or of items (AVIF, HEIF). Version and flags come first, but not in QuickTime's own. */
function readMeta(meta: ByteSource, file: ByteSource, texts: Texts, budget: { left: number }) {
  const skip = /^[a-z]{4}$/.test(letters(meta.read(4, 4))) ? 0 : 4
  const boxes = new Map<string, ByteSource>()
  for (const { type, source } of boxesIn(partOf(meta, skip, meta.sizeBytes), budget))
    if (!boxes.has(type)) boxes.set(type, source)
  const list = boxes.get('ilst')
  if (list) readList(list, readKeys(boxes.get('keys'), budget), texts, budget)
  const places = boxes.get('iloc')
  const infos = boxes.get('iinf')
  if (places && infos) readItems(infos, places, boxes.get('idat'), file, texts, budget)
  const xml = boxes.get('xml ')
  if (xml && texts.take(xml.sizeBytes)) readXmp(textOf(xml.read(4, xml.sizeBytes)), texts)
}

/** The names that the list's items are numbered by, from 1. */
function readKeys(keys: ByteSource | undefined, budget: { left: number }): string[] {
  const names: string[] = []
  if (keys)
    for (const { source } of boxesIn(partOf(keys, 8, keys.sizeBytes), budget))
      names.push(textOf(source.read(0, Math.min(source.sizeBytes, 1000))))
  return names
}

function readList(list: ByteSource, keys: readonly string[], texts: Texts, budget: { left: number }) {
  for (const { type, source } of boxesIn(list, budget)) {
    const number = viewOf(Uint8Array.from(type, (letter) => letter.charCodeAt(0))).getUint32(0)
    let name = keys[number - 1]?.replace(/^.*\./, '') ?? nameOf(type)
    for (const inner of boxesIn(source, budget)) {
      if (inner.type === 'name') name = textOf(inner.source.read(4, 1000))
      if (inner.type !== 'data') continue
      const value = inner.source.read(8, Math.min(inner.source.sizeBytes, texts.room))
      const isWide = inner.source.read(0, 4)[3] === 2
      if (isWide && texts.take(value.length)) texts.putLoose(name, utf16Of(value))
      else if (!isWide) texts.putBytes(name, value)
    }
  }
}

const MOST_ITEMS = 10_000

function readItems(
  infos: ByteSource,
  places: ByteSource,
  idat: ByteSource | undefined,
  file: ByteSource,
  texts: Texts,
  budget: { left: number },
) {
  const kinds = new Map<number, string>()
  const isLong = infos.read(0, 1)[0] !== 0
  for (const { source } of boxesIn(partOf(infos, isLong ? 8 : 6, infos.sizeBytes), budget)) {
    const info = source.read(0, 200)
    const longId = info[0] === 3
    if (info.length < (longId ? 14 : 12) || info[0]! < 2) continue
    const view = viewOf(info)
    const type = letters(info, longId ? 10 : 8)
    const isXmp = type === 'mime' && letters(info, 12, 180).includes('rdf+xml')
    if (type === 'Exif' || isXmp) kinds.set(longId ? view.getUint32(4) : view.getUint16(4), type)
  }
  if (kinds.size === 0) return
  for (const { id, parts } of placesIn(places.read(0, Math.min(places.sizeBytes, 1 << 20)), new Set(kinds.keys()))) {
    const bytes = parts.flatMap(({ inIdat, at, length }) => {
      const from = inIdat ? idat : file
      const size = length > 0 ? length : (from?.sizeBytes ?? 0) - at
      return from && texts.take(size) ? [from.read(at, size)] : []
    })
    const item = Buffer.concat(bytes)
    if (kinds.get(id) === 'Exif') readTiff(afterOffset(item), texts)
    else readXmp(textOf(item), texts)
  }
}

type Place = { inIdat: boolean; at: number; length: number }

/** `iloc`: where each item's parts lie; the widths of its numbers are stated first. */
function placesIn(box: Uint8Array, wanted: ReadonlySet<number>): { id: number; parts: Place[] }[] {
  if (box.length < 8) return []
  const view = viewOf(box)
  const version = box[0]!
  const width = {
    offset: box[4]! >> 4,
    length: box[4]! & 15,
    base: box[5]! >> 4,
    index: version > 0 ? box[5]! & 15 : 0,
  }
  let at = 6
  const take = (bytes: number): number => {
    at += bytes
    if (at > box.length) return 0
    if (bytes === 8) return Number(view.getBigUint64(at - 8))
    return bytes === 4 ? view.getUint32(at - 4) : bytes === 2 ? view.getUint16(at - 2) : 0
  }
  const places: { id: number; parts: Place[] }[] = []
  const count = Math.min(take(version < 2 ? 2 : 4), MOST_ITEMS)
  for (let item = 0; item < count && at < box.length; item++) {
    const id = take(version < 2 ? 2 : 4)
    const method = version > 0 ? take(2) & 15 : 0
    take(2) // whose file: only our own is looked in
    const base = take(width.base)
    const parts: Place[] = []
    const extents = take(2)
    for (let part = 0; part < extents && at < box.length; part++) {
      take(width.index)
      const offset = take(width.offset)
      parts.push({ inIdat: method === 1, at: base + offset, length: take(width.length) })
      if (width.index + width.offset + width.length === 0) break
    }
    if (wanted.has(id) && method < 2) places.push({ id, parts })
  }
  return places
}
