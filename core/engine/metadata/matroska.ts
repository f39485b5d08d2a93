import type { ByteSource } from './source.ts'
import { type Texts, textOf } from './text.ts'

const EBML = 0x1a45dfa3
const SEGMENT = 0x18538067
const CLUSTER = 0x1f43b675
const SEEK_HEAD = 0x114d9b74
const SEEK = 0x4dbb
const SEEK_ID = 0x53ab
const SEEK_POSITION = 0x53ac
const TAGS = 0x1254c367
const TAG = 0x7373
const SIMPLE_TAG = 0x67c8
const TAG_NAME = 0x45a3
const TAG_STRING = 0x4487
const ATTACHMENTS = 0x1941a469
const ATTACHED_FILE = 0x61a7
const FILE_NAME = 0x466e
const FILE_DATA = 0x465c

const MOST_ELEMENTS = 200_000

interface Element {
  readonly id: number
  readonly at: number
  /** Where its data begins and ends; an unknown size (a stream as it was sent) reaches to the end of what holds it. */
  readonly from: number
  readonly to: number
  readonly isOpen: boolean
}

/** WebM and MKV: tags and attached JSON, by the index at the beginning, else by going from element to element. */
export function readMatroska(source: ByteSource, texts: Texts): string | null {
  let damage: string | null = null
  let left = MOST_ELEMENTS
  let segmentAt = 0
  const sought: number[] = []
  const read = new Set<number>()
  const visit = (element: Element) => {
    if (read.has(element.from)) return
    read.add(element.from)
    if (element.id === TAGS) readTags(source, element, texts)
    else if (element.id === ATTACHMENTS) readAttachments(source, element, texts)
  }
  for (let at = 0; at < source.sizeBytes && left > 0; left--) {
    const element = elementAt(source, at, source.sizeBytes)
    if (!element) {
      damage = 'an element is not where it should be'
      break
    }
    const { id, from, to } = element
    if (id === SEGMENT) segmentAt = from
    if (id === SEEK_HEAD) sought.push(...seeks(source, element))
    if (id === TAGS || id === ATTACHMENTS) visit(element)
    if (id === CLUSTER && sought.length > 0) {
      for (const place of sought.splice(0)) {
        const found = elementAt(source, segmentAt + place, source.sizeBytes)
        if (found?.id === TAGS || found?.id === ATTACHMENTS) visit(found)
      }
      if (texts.hasWorkflow) return null
    }
    // a segment holds the rest; so does a cluster of unknown size, until what cannot be in it
    at = id === SEGMENT || (element.isOpen && id !== EBML) ? from : to
    if (at > source.sizeBytes) damage = 'it ends inside an element'
  }
  return damage
}

/** Ids and sizes say their own length by the zeros they begin with. null: this is none. */
function elementAt(source: ByteSource, at: number, end: number): Element | null {
  const head = source.read(at, 12)
  const idLength = lengthOf(head[0])
  const sizeLength = lengthOf(head[idLength])
  if (idLength === 0 || idLength > 4 || sizeLength === 0 || idLength + sizeLength > head.length) return null
  let id = 0
  for (let index = 0; index < idLength; index++) id = id * 256 + head[index]!
  let size = head[idLength]! & (0xff >> sizeLength)
  let isOpen = size === 0xff >> sizeLength
  for (let index = 1; index < sizeLength; index++) {
    const byte = head[idLength + index]!
    if (byte !== 0xff) isOpen = false
    size = size * 256 + byte
  }
  const from = at + idLength + sizeLength
  return { id, at, from, to: isOpen ? end : from + size, isOpen }
}
const lengthOf = (byte = 0) => (byte === 0 ? 0 : Math.clz32(byte) - 23)

function* elementsIn(source: ByteSource, { from, to }: Element): Generator<Element> {
  const end = Math.min(to, source.sizeBytes)
  let left = MOST_ELEMENTS
  for (let at = from; at < end && left > 0; left--) {
    const element = elementAt(source, at, end)
    if (!element || element.to > end) return
    yield element
    at = element.to
  }
}

function seeks(source: ByteSource, head: Element): number[] {
  const places: number[] = []
  for (const seek of elementsIn(source, head)) {
    if (seek.id !== SEEK || places.length > 100) continue
    let id = 0
    let place = 0
    for (const part of elementsIn(source, seek)) {
      if (part.id === SEEK_ID) id = numberIn(source, part)
      if (part.id === SEEK_POSITION) place = numberIn(source, part)
    }
    if (id === TAGS || id === ATTACHMENTS) places.push(place)
  }
  return places
}

const numberIn = (source: ByteSource, { from, to }: Element) =>
  source.read(from, Math.min(8, to - from)).reduce((sum, byte) => sum * 256 + byte, 0)

function readTags(source: ByteSource, tags: Element, texts: Texts) {
  if (!texts.take(Math.min(tags.to, source.sizeBytes) - tags.from)) return
  for (const tag of elementsIn(source, tags)) {
    if (tag.id !== TAG) continue
    for (const simple of elementsIn(source, tag)) if (simple.id === SIMPLE_TAG) readSimpleTag(source, simple, texts)
  }
}

function readSimpleTag(source: ByteSource, simple: Element, texts: Texts) {
  let name = ''
  let value: string | null = null
  for (const { id, from, to } of elementsIn(source, simple)) {
    if (id === TAG_NAME) name = textOf(source.read(from, Math.min(to - from, 1000)))
    else if (id === TAG_STRING) value = textOf(source.read(from, to - from))
  }
  if (value !== null) texts.putLoose(name.toLowerCase(), value)
}

function readAttachments(source: ByteSource, attachments: Element, texts: Texts) {
  for (const file of elementsIn(source, attachments)) {
    if (file.id !== ATTACHED_FILE) continue
    let name = ''
    let data: Element | null = null
    for (const part of elementsIn(source, file)) {
      if (part.id === FILE_NAME) name = textOf(source.read(part.from, Math.min(part.to - part.from, 1000)))
      else if (part.id === FILE_DATA) data = part
    }
    if (data && /\.json$/i.test(name))
      texts.putBytes(name.slice(0, -5), source.read(data.from, Math.min(data.to - data.from, texts.room)))
  }
}
