import { closeSync, fstatSync, openSync, readSync, statSync } from 'node:fs'
import { basename } from 'node:path'
import { AppError } from '../../contract/errors.ts'

/** Random access to a file, so that a video of gigabytes is read only where its texts are. */
export interface ByteSource {
  readonly sizeBytes: number
  /** Fewer bytes than asked for only where the file ends; none outside of it. Not to be changed. */
  read(at: number, length: number): Uint8Array
}
export interface OpenFile extends ByteSource {
  close(): void
}

export const bytesSource = (bytes: Uint8Array): ByteSource => ({
  sizeBytes: bytes.length,
  read: (at, length) => bytes.subarray(...within(bytes.length, at, length)),
})

/** What lies at `at`, as a file of its own. */
export function partOf(source: ByteSource, at: number, length: number): ByteSource {
  const [from, to] = within(source.sizeBytes, at, length)
  return {
    sizeBytes: to - from,
    read(inner, wanted) {
      const [start, end] = within(to - from, inner, wanted)
      return source.read(from + start, end - start)
    },
  }
}

/** Headers lie close together: a short read takes this much. */
const PAGE_BYTES = 4096

/** Blocks while it reads: for a thread of its own, or the command line. @throws AppError 'input.missing' */
export function openFile(path: string): OpenFile {
  const file = open(path)
  const sizeBytes = fstatSync(file).size
  let page = new Uint8Array()
  let pageAt = 0
  const fresh = (at: number, length: number) => {
    const bytes = new Uint8Array(length)
    let filled = 0
    while (filled < length) {
      const got = readSync(file, bytes, filled, length - filled, at + filled)
      if (got === 0) break // it became shorter meanwhile
      filled += got
    }
    return bytes.subarray(0, filled)
  }
  return {
    sizeBytes,
    read(at, length) {
      const [from, to] = within(sizeBytes, at, length)
      if (to - from > PAGE_BYTES) return fresh(from, to - from)
      if (from < pageAt || to > pageAt + page.length) {
        pageAt = from
        page = fresh(from, Math.min(PAGE_BYTES, sizeBytes - from))
      }
      return page.subarray(from - pageAt, to - pageAt)
    },
    close: () => closeSync(file),
  }
}

function open(path: string): number {
  try {
    if (statSync(path).isFile()) return openSync(path, 'r')
  } catch (cause) {
    throw new AppError('input.missing', { name: basename(path) }, { cause })
  }
  throw new AppError('input.missing', { name: basename(path) })
}

/** From and to, inside the file whatever was asked: sizes in a damaged file can say anything. */
function within(sizeBytes: number, at: number, length: number): [from: number, to: number] {
  const from = at >= 0 && at < sizeBytes ? Math.floor(at) : sizeBytes
  return [from, length > 0 ? Math.min(from + Math.floor(length), sizeBytes) : from]
}

export const viewOf = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)

/** Four (or some) bytes as letters. */
export function letters(bytes: Uint8Array, at = 0, length = 4): string {
  return String.fromCharCode(...bytes.subarray(at, at + length))
}
export const begins = (bytes: Uint8Array, mark: string, at = 0) =>
  bytes.length >= at + mark.length && letters(bytes, at, mark.length) === mark
