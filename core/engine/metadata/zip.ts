import { inflateRawSync, zstdDecompressSync } from 'node:zlib'
import { AppError } from '../../contract/errors.ts'
import { type ByteSource, begins, bytesSource, partOf, viewOf } from './source.ts'

// APPNOTE.TXT: little-endian; the directory at the end names each entry and where it begins.
const END = 'PK\x05\x06'
const END_64_PLACE = 'PK\x06\x07'
const END_64 = 'PK\x06\x06'
const ENTRY = 'PK\x01\x02'
const LOCAL = 'PK\x03\x04'
const END_BYTES = 22
const LONGEST_COMMENT = 65_535
const ENCRYPTED = 1
const UTF8 = 0x800
const EXTRA_64 = 1
const EXTRA_NAME = 0x7075
const STORED = 0
const UNPACK: Record<number, typeof inflateRawSync> = { 8: inflateRawSync, 93: zstdDecompressSync as never }

const MiB = 1024 * 1024
export const zipLimits = {
  entries: 10_000,
  directoryBytes: 32 * MiB,
  /** One packed entry, and all of them together. Entries that are only stored take no memory. */
  entryBytes: 64 * MiB,
  totalBytes: 512 * MiB,
}

export interface ZipEntry {
  /** With its folders, divided by `/`. */
  readonly name: string
  /** As it is written, byte for byte: by what readers that know nothing of encodings find it. */
  readonly rawName: string
  readonly sizeBytes: number
  /** @throws AppError 'import.damaged', 'import.too-large', 'import.locked', 'import.unsupported-file' */
  open(): ByteSource
}

/**
 * The files in an archive. `exact`: its directory lies just where it says, as some readers believe, whatever stands there.
 * @throws AppError 'import.damaged', 'import.too-many-files'
 */
export function readZip(name: string, source: ByteSource, { exact = false } = {}): ZipEntry[] {
  const damaged = (reason: string) => new AppError('import.damaged', { name, reason })
  const tailAt = Math.max(0, source.sizeBytes - END_BYTES - LONGEST_COMMENT)
  const tail = source.read(tailAt, source.sizeBytes - tailAt)
  let end = tail.length - END_BYTES
  while (end >= 0 && !begins(tail, END, end)) end--
  if (end < 0) throw damaged('it ends before its directory')
  const view = viewOf(tail)
  let count = view.getUint16(end + 10, true)
  let size = view.getUint32(end + 12, true)
  let at = view.getUint32(end + 16, true)
  const long = longEnd(source, tailAt + end) // some write one whether it is needed or not, as PyTorch does
  if (long) [count, size, at] = long
  if (count > zipLimits.entries) throw new AppError('import.too-many-files', { name, limit: zipLimits.entries })
  // what was put before the archive, as in a self-extracting one, moves everything
  const shift = long ? 0 : tailAt + end - size - at
  if (shift < 0 || (exact && shift > 0) || size > zipLimits.directoryBytes)
    throw damaged('its directory is not where it should be')
  const directory = source.read(at + shift, size)
  const budget = { left: zipLimits.totalBytes }
  const entries: ZipEntry[] = []
  for (let from = 0; entries.length < count; ) {
    if (!begins(directory, ENTRY, from) || from + 46 > directory.length) throw damaged('its directory is damaged')
    const entry = viewOf(directory.subarray(from))
    const nameLength = entry.getUint16(28, true)
    const extraLength = entry.getUint16(30, true)
    const rawName = directory.subarray(from + 46, from + 46 + nameLength)
    const extra = directory.subarray(from + 46 + nameLength, from + 46 + nameLength + extraLength)
    const flags = entry.getUint16(8, true)
    const method = entry.getUint16(10, true)
    const sizes = longSizes(extra, entry.getUint32(24, true), entry.getUint32(20, true), entry.getUint32(42, true))
    const entryName = nameFrom(rawName, extra, (flags & UTF8) !== 0)
    entries.push({
      name: entryName,
      rawName: Buffer.from(rawName).toString('latin1'),
      sizeBytes: sizes.whole,
      open: () => openEntry(source, entryName, { ...sizes, at: sizes.at + shift, flags, method }, budget),
    })
    from += 46 + nameLength + extraLength + entry.getUint16(32, true)
  }
  return entries
}

/** ZIP64: the numbers that did not fit. */
function longEnd(source: ByteSource, end: number): [count: number, size: number, at: number] | null {
  const place = source.read(end - 20, 20)
  if (!begins(place, END_64_PLACE)) return null
  const record = source.read(Number(viewOf(place).getBigUint64(8, true)), 56)
  if (record.length < 56 || !begins(record, END_64)) return null
  const view = viewOf(record)
  return [32, 40, 48].map((from) => Number(view.getBigUint64(from, true))) as [number, number, number]
}

function longSizes(extra: Uint8Array, whole: number, packed: number, at: number) {
  const long = extraField(extra, EXTRA_64)
  let from = 0
  const [wholeBytes, packedBytes, place] = [whole, packed, at].map((short) => {
    if (short !== 0xffffffff || !long || from + 8 > long.length) return short
    from += 8
    return Number(viewOf(long).getBigUint64(from - 8, true))
  })
  return { whole: wholeBytes!, packed: packedBytes!, at: place! }
}

function extraField(extra: Uint8Array, wanted: number): Uint8Array | null {
  const view = viewOf(extra)
  for (let at = 0; at + 4 <= extra.length; ) {
    const size = view.getUint16(at + 2, true)
    if (view.getUint16(at, true) === wanted) return extra.subarray(at + 4, at + 4 + size)
    at += 4 + size
  }
  return null
}

/** UTF-8 where it says so or happens to be; else the Chinese Windows' own. */
function nameFrom(raw: Uint8Array, extra: Uint8Array, isUtf8: boolean): string {
  const better = isUtf8 ? null : extraField(extra, EXTRA_NAME)
  const bytes = better && better.length > 5 ? better.subarray(5) : raw
  let name: string
  try {
    name = new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    name = new TextDecoder('gb18030').decode(bytes)
  }
  return name.replaceAll('\\', '/')
}

type Place = { whole: number; packed: number; at: number; flags: number; method: number }

function openEntry(source: ByteSource, name: string, place: Place, budget: { left: number }): ByteSource {
  const { whole, packed, at, flags, method } = place
  if (flags & ENCRYPTED) throw new AppError('import.locked', { name })
  const head = source.read(at, 30)
  if (head.length < 30 || !begins(head, LOCAL))
    throw new AppError('import.damaged', { name, reason: 'it is not where the archive says' })
  const from = at + 30 + viewOf(head).getUint16(26, true) + viewOf(head).getUint16(28, true)
  if (from + packed > source.sizeBytes)
    throw new AppError('import.damaged', { name, reason: 'the archive ends inside it' })
  if (method === STORED) return partOf(source, from, packed)
  const unpack = Object.hasOwn(UNPACK, method) ? UNPACK[method] : undefined
  if (!unpack) throw new AppError('import.unsupported-file', { name, kind: `ZIP, ${method}` })
  const limit = Math.min(zipLimits.entryBytes, budget.left)
  // what it says about its size is not believed, only used to refuse early
  if (whole > limit || packed > zipLimits.entryBytes) throw tooLarge(name, whole)
  try {
    const bytes = unpack(source.read(from, packed), { maxOutputLength: limit })
    budget.left -= bytes.length
    return bytesSource(bytes)
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE') {
      budget.left = 0 // a bomb: nothing more of this archive is unpacked
      throw tooLarge(name, limit)
    }
    throw new AppError('import.damaged', { name, reason: 'it cannot be unpacked' }, { cause })
  }
}

const tooLarge = (name: string, sizeBytes: number) =>
  new AppError('import.too-large', { name, sizeMiB: Math.ceil(sizeBytes / MiB), limitMiB: zipLimits.entryBytes / MiB })
