import path from 'node:path'
import { inflateRawSync } from 'node:zlib'
import type { Sentence, Table } from '../../core/contract/batch.ts'
import { AppError } from '../../core/contract/errors.ts'
import { findSheets, readSheet } from '../../core/domain/batch/sheet.ts'
import { MAX_ROWS, parseDelimited, tidyTable } from '../../core/domain/batch/table.ts'
import { warning } from '../../core/domain/batch/words.ts'

const MIB = 2 ** 20
const MAX_BYTES = 64 * MIB
/** Of one unpacked part of a workbook: a small file can claim to hold much. */
const MAX_PART_BYTES = 512 * MIB

/**
 * A table a person dropped or pasted: CSV, TSV and the like in any usual encoding, or XLSX.
 * @throws AppError 'table.unreadable', 'table.empty', 'table.too-large', 'app.too-large'
 */
export function readTable({ name, bytes, sheet }: { name: string; bytes: Uint8Array; sheet?: string }): Table {
  if (bytes.length > MAX_BYTES)
    throw new AppError('app.too-large', { name, sizeMiB: Math.ceil(bytes.length / MIB), limitMiB: MAX_BYTES / MIB })
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const magic = buffer.subarray(0, 4).toString('latin1')
  if (magic === 'PK\u0003\u0004') return readWorkbook(name, buffer, sheet)
  if (magic === '\u00d0\u00cf\u0011\u00e0')
    throw new AppError('table.unreadable', { name, reason: 'it is an old (.xls) or password-protected Excel file' })
  const { text, encoding, notes } = decode(name, buffer)
  const cells = parseDelimited(text)
  return {
    ...tidyTable(name, { rows: cells.rows, notes: [...notes, ...cells.notes] }),
    encoding,
    sheet: null,
    sheets: [],
  }
}

function readWorkbook(name: string, file: Buffer, wanted: string | undefined): Table {
  const unreadable = (reason: string, cause?: unknown) => new AppError('table.unreadable', { name, reason }, { cause })
  let part: (path: string) => string | undefined
  try {
    part = openZip(file)
  } catch (cause) {
    throw unreadable('the file is damaged', cause)
  }
  try {
    const sheets = findSheets(part)
    if (sheets.length === 0) throw unreadable('it is an archive, but not an Excel (.xlsx) file')
    const sheet = wanted
      ? (sheets.find((one) => one.name === wanted) ?? sheets[Number(wanted) - 1])
      : (sheets.find((one) => /<(?:\w+:)?c\b/.test(part(one.path) ?? '')) ?? sheets[0])
    if (!sheet)
      throw unreadable(`it has no sheet named ${wanted}; its sheets are ${sheets.map((one) => one.name).join(', ')}`)
    const cells = readSheet(part, sheet.path, MAX_ROWS + 1000)
    return {
      ...tidyTable(name, cells),
      encoding: 'xlsx',
      sheet: sheet.name,
      sheets: sheets.map((one) => one.name),
    }
  } catch (cause) {
    throw cause instanceof AppError ? cause : unreadable('the file is damaged', cause)
  }
}

// ZIP, APPNOTE.TXT: little-endian; the central directory at the end names each file and where it begins.
const END_OF_DIRECTORY = 0x06054b50
const DIRECTORY_ENTRY = 0x02014b50
const STORED = 0
const DEFLATED = 8

/** Gives the text of each file inside, unpacked when asked for. */
function openZip(file: Buffer): (path: string) => string | undefined {
  let end = file.length - 22
  while (end >= 0 && file.readUInt32LE(end) !== END_OF_DIRECTORY) end--
  if (end < 0) throw new Error('no directory')
  const places = new Map<string, { method: number; packed: number; at: number }>()
  let at = file.readUInt32LE(end + 16)
  for (let left = file.readUInt16LE(end + 10); left > 0; left--) {
    if (file.readUInt32LE(at) !== DIRECTORY_ENTRY) throw new Error('damaged directory')
    const nameLength = file.readUInt16LE(at + 28)
    const name = file.toString('utf8', at + 46, at + 46 + nameLength).replaceAll('\\', '/')
    const place = {
      method: file.readUInt16LE(at + 10),
      packed: file.readUInt32LE(at + 20),
      at: file.readUInt32LE(at + 42),
    }
    places.set(name.toLowerCase(), place)
    at += 46 + nameLength + file.readUInt16LE(at + 30) + file.readUInt16LE(at + 32)
  }
  const unpacked = new Map<string, string>()
  return (name) => {
    const key = path.posix.normalize(name).toLowerCase()
    const place = places.get(key)
    if (!place) return undefined
    const known = unpacked.get(key)
    if (known !== undefined) return known
    const from = place.at + 30 + file.readUInt16LE(place.at + 26) + file.readUInt16LE(place.at + 28)
    const packed = file.subarray(from, from + place.packed)
    if (place.method !== STORED && place.method !== DEFLATED) throw new Error(`packed by method ${place.method}`)
    const bytes = place.method === STORED ? packed : inflateRawSync(packed, { maxOutputLength: MAX_PART_BYTES })
    const text = bytes.toString('utf8').replace(/^\ufeff/, '')
    unpacked.set(key, text)
    return text
  }
}

interface Decoded {
  text: string
  encoding: string
  notes: Sentence[]
}

/** By its byte order mark; without one UTF-16 by its zero bytes, then UTF-8, then GB18030, the Chinese Windows' own. */
function decode(name: string, bytes: Buffer): Decoded {
  const lossy = (encoding: string, fatal = false) => new TextDecoder(encoding, { fatal }).decode(bytes)
  if (bytes[0] === 0xff && bytes[1] === 0xfe) return { text: lossy('utf-16le'), encoding: 'utf-16le', notes: [] }
  if (bytes[0] === 0xfe && bytes[1] === 0xff) return { text: lossy('utf-16be'), encoding: 'utf-16be', notes: [] }
  const head = bytes.subarray(0, 4096)
  const zeros = [0, 1].map((side) => head.filter((byte, at) => byte === 0 && at % 2 === side).length)
  if (zeros[0]! + zeros[1]! > head.length / 5) {
    if (zeros[0]! > zeros[1]! * 10) return { text: lossy('utf-16be'), encoding: 'utf-16be', notes: [] }
    if (zeros[1]! > zeros[0]! * 10) return { text: lossy('utf-16le'), encoding: 'utf-16le', notes: [] }
  }
  if (zeros[0]! + zeros[1]! > 0) throw new AppError('table.unreadable', { name, reason: 'it is not text' })
  try {
    const text = lossy('utf-8', true)
    if (!isMixedUp(text)) return { text, encoding: 'utf-8', notes: [] }
  } catch {
    const text = lossy('utf-8')
    const damaged = text.split('\ufffd').length - 1
    const whole = text.match(/[\u0080-\ufffc\u{10000}-\u{10ffff}]/gu)?.length ?? 0
    if (damaged * 20 < whole) return { text, encoding: 'utf-8', notes: damagedNote(damaged) }
  }
  const text = lossy('gb18030')
  const damaged = text.split('\ufffd').length - 1
  if (damaged * 20 > text.length)
    throw new AppError('table.unreadable', { name, reason: 'its text is neither UTF-8, UTF-16 nor GB18030' })
  return { text, encoding: 'gb18030', notes: damagedNote(damaged) }
}

const SCRIPTS = [
  /\p{Script=Latin}/u,
  /\p{Script=Cyrillic}/u,
  /\p{Script=Greek}/u,
  /\p{Script=Hebrew}/u,
  /\p{Script=Arabic}/u,
]

/** Short Chinese text in GB18030 can pass for UTF-8; read so, it has words of several alphabets at once, as `һֻè`. */
function isMixedUp(text: string): boolean {
  if (!/[\u0080-\u07ff]/.test(text) || /[\u0800-\uffff]/.test(text)) return false
  const words = text.match(/[\u0080-\u07ff]{2,}/g) ?? []
  return words.some((word) => SCRIPTS.filter((script) => script.test(word)).length > 1)
}

const damagedNote = (count: number) => (count > 0 ? [warning('table.damaged-text', { count })] : [])
