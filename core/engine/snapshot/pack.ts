import { createHash, type Hash, hash } from 'node:crypto'
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readSync,
  renameSync,
  statSync,
  unlinkSync,
  writeSync,
} from 'node:fs'
import path from 'node:path'
import { constants, zstdCompressSync, zstdDecompressSync } from 'node:zlib'
import { AppError } from '../../contract/errors.ts'

/** Where an object is: `length` raw bytes from `offset` of a frame. */
export interface Place {
  readonly frame: number
  readonly offset: number
  readonly length: number
}
/** A run of objects compressed together. `at` and `stored` in the pack, `raw` unpacked. */
export interface Frame {
  readonly at: number
  readonly stored: number
  readonly raw: number
  readonly codec: 0 | 1
}
export interface PackIndex {
  readonly frames: readonly Frame[]
  /** By sha256 of the object, hex. */
  readonly objects: ReadonlyMap<string, Place>
}

/** A pack is closed once it holds so much. */
const FULL_BYTES = 32 << 20
/** No frame may claim to be larger unpacked: a small file could otherwise fill the memory. */
const MOST_RAW_BYTES = 64 << 20
const MOST_INDEX_BYTES = 256 << 20
const MAGIC = Buffer.from('NSPACK1\n')
const FOOTER_BYTES = 12
const END = 0x4b50534e
const FRAME_BYTES = 17
const OBJECT_BYTES = 44
const LEVEL = 3
/** Less saved than this is not worth the unpacking. */
const WORTH = 0.97

/**
 * Objects that were not there before, in one file: `magic, frames, index, footer`, named by the sha256 of all of it. It has
 * its final name once it is whole and on the disk.
 */
export class PackWriter {
  readonly #dir: string
  readonly #part: string
  readonly #frames: Frame[] = []
  readonly #objects = new Map<string, Place>()
  readonly #hash: Hash = createHash('sha256')
  #file: number | null = null
  #at = 0

  constructor(dir: string, name: string) {
    this.#dir = dir
    this.#part = path.join(dir, `${name}.part`)
  }

  get isFull() {
    return this.#at >= FULL_BYTES
  }

  /** `raw` is what the objects are, one after the other; they are compressed together: put what is small into one call. */
  add(raw: Uint8Array, objects: readonly { hash: string; length: number }[]) {
    const params = { [constants.ZSTD_c_compressionLevel]: LEVEL }
    // with room for all of it at once it is faster, and smaller
    const packed = zstdCompressSync(raw, { params, chunkSize: mostPacked(raw.length) })
    const smaller = packed.length < raw.length * WORTH
    this.addFrame(smaller ? packed : raw, raw.length, smaller ? 1 : 0, lay(objects))
  }

  /** A frame as another pack has it. */
  addFrame(stored: Uint8Array, raw: number, codec: 0 | 1, places: Iterable<readonly [string, Omit<Place, 'frame'>]>) {
    if (this.#file === null) {
      mkdirSync(this.#dir, { recursive: true })
      this.#file = openSync(this.#part, 'w', 0o600)
      this.#write(MAGIC)
    }
    for (const [key, place] of places) this.#objects.set(key, { frame: this.#frames.length, ...place })
    this.#frames.push({ at: this.#at, stored: stored.length, raw, codec })
    this.#write(stored)
  }

  /** null: nothing was added. */
  close(): { id: string; bytes: number; index: PackIndex } | null {
    if (this.#file === null) return null
    const index = { frames: this.#frames, objects: this.#objects }
    const plain = writeIndex(index)
    const packed = zstdCompressSync(plain)
    this.#write(packed)
    const footer = Buffer.alloc(FOOTER_BYTES)
    footer.writeUInt32LE(packed.length, 0)
    footer.writeUInt32LE(plain.length, 4)
    footer.writeUInt32LE(END, 8)
    this.#write(footer)
    fsyncSync(this.#file)
    closeSync(this.#file)
    this.#file = null
    const id = this.#hash.digest('hex')
    const to = packFile(this.#dir, id)
    mkdirSync(path.dirname(to), { recursive: true })
    renameSync(this.#part, to)
    return { id, bytes: this.#at, index }
  }

  abandon() {
    if (this.#file === null) return
    closeSync(this.#file)
    this.#file = null
    unlinkSync(this.#part)
  }

  #write(bytes: Uint8Array) {
    this.#hash.update(bytes)
    for (let done = 0; done < bytes.length; ) done += writeSync(this.#file!, bytes, done)
    this.#at += bytes.length
  }
}

export const packFile = (dir: string, id: string) => path.join(dir, id.slice(0, 2), `${id}.pack`)

/** @throws Error when it is not a pack of ours, or cut short */
export function readIndex(file: string): PackIndex {
  const handle = openSync(file, 'r')
  try {
    const { size } = statSync(file)
    const tail = Buffer.alloc(Math.min(size, INDEX_TAIL_BYTES))
    readSync(handle, tail, 0, tail.length, size - tail.length)
    const { bytes } = footerOf(tail)
    if (bytes > size) throw new Error('it is cut short')
    const own = Buffer.alloc(bytes)
    readSync(handle, own, 0, bytes, size - bytes)
    return readTail(own, size)
  } finally {
    closeSync(handle)
  }
}

/** Most indexes are no longer than this. */
export const INDEX_TAIL_BYTES = 256 << 10

/** How much of a pack's end is its index. @throws Error */
export function footerOf(tail: Buffer): { stored: number; raw: number; bytes: number } {
  const at = tail.length - FOOTER_BYTES
  if (at < 0 || tail.readUInt32LE(at + 8) !== END) throw new Error('it has no index')
  const [stored, raw] = [tail.readUInt32LE(at), tail.readUInt32LE(at + 4)]
  if (raw > MOST_INDEX_BYTES) throw new Error('its index is wrong')
  return { stored, raw, bytes: stored + FOOTER_BYTES }
}

/** The index out of the last bytes of a pack of `packBytes`, at least as many as `footerOf` says. @throws Error */
export function readTail(tail: Buffer, packBytes: number): PackIndex {
  const { stored, raw, bytes } = footerOf(tail)
  const from = tail.length - bytes
  if (from < 0) throw new Error('it is cut short')
  const index = parseIndex(zstdDecompressSync(tail.subarray(from, from + stored), { maxOutputLength: raw }))
  for (const { at, stored, raw } of index.frames)
    if (at < MAGIC.length || at + stored > packBytes - bytes || raw > MOST_RAW_BYTES)
      throw new Error('its index is wrong')
  return index
}

/** The bytes of one frame, unpacked. Whoever takes an object out of it checks its hash. */
export function readFrame(handle: number, frame: Frame): Buffer {
  const { raw, codec } = frame
  const bytes = readStored(handle, frame)
  const plain = codec === 0 ? bytes : zstdDecompressSync(bytes, { maxOutputLength: Math.max(raw, 1) })
  if (plain.length !== raw) throw new Error('a frame has another size than its index says')
  return plain
}

/** As it lies in the pack. */
export function readStored(handle: number, { at, stored }: Frame): Buffer {
  const bytes = Buffer.allocUnsafe(stored)
  for (let done = 0; done < stored; ) {
    const read = readSync(handle, bytes, done, stored - done, at + done)
    if (read === 0) throw new Error('the pack ends early')
    done += read
  }
  return bytes
}

/**
 * Frames of a pack into another, one at each turn: as they are, or, where not all that is in one may go along, packed anew
 * without the rest.
 * @throws Error when one of them is damaged; see `damageOr`
 */
export function* copyFrames(
  file: string,
  { frames, objects }: PackIndex,
  wanted: ReadonlySet<number>,
  to: PackWriter,
  mayGo: (key: string) => boolean = () => true,
): Generator<void> {
  const byFrame = Map.groupBy(objects, ([, { frame }]) => frame)
  const handle = openSync(file, 'r')
  try {
    for (const n of wanted) {
      const frame = frames[n]!
      const all = byFrame.get(n)!
      const going = all.filter(([key]) => mayGo(key))
      const raw = readFrame(handle, frame)
      const parts = going.map(([key, place]) => ({ hash: key, bytes: takeObject(raw, key, place) })) // damage does not spread
      if (going.length === all.length)
        to.addFrame(
          readStored(handle, frame),
          frame.raw,
          frame.codec,
          all.map(([key, { offset, length }]) => [key, { offset, length }] as const),
        )
      else
        to.add(
          Buffer.concat(parts.map(({ bytes }) => bytes)),
          parts.map(({ hash, bytes }) => ({ hash, length: bytes.length })),
        )
      yield
    }
  } finally {
    closeSync(handle)
  }
}

/** @throws Error naming the object when the bytes are not what its name says */
export function takeObject(frame: Buffer, key: string, { offset, length }: Place): Buffer {
  const bytes = frame.subarray(offset, offset + length)
  if (bytes.length !== length || sha256(bytes) !== key) throw new Error(`object ${key.slice(0, 12)} is damaged`)
  return bytes
}

/** What went wrong with a pack, as an AppError where it is damage. */
export function damageOr(cause: unknown): unknown {
  const { code, message } = cause as NodeJS.ErrnoException
  const isDamage =
    /^ZSTD|^ERR_BUFFER|^ERR_OUT_OF_RANGE/.test(code ?? '') ||
    /is damaged|ends early|another size|its index|has no index|cut short/.test(message)
  return isDamage && !(cause instanceof AppError)
    ? new AppError('snapshot.damaged', { reason: message }, { cause })
    : cause
}

export const sha256 = (bytes: Uint8Array | string) => hash('sha256', bytes, 'hex')

/** How long zstd makes what it cannot make smaller. */
const mostPacked = (bytes: number) => bytes + (bytes >> 8) + 1024

function* lay(objects: readonly { hash: string; length: number }[]) {
  let offset = 0
  for (const { hash: key, length } of objects) {
    yield [key, { offset, length }] as const
    offset += length
  }
}

function writeIndex({ frames, objects }: PackIndex): Buffer {
  const bytes = Buffer.alloc(8 + frames.length * FRAME_BYTES + objects.size * OBJECT_BYTES)
  let at = bytes.writeUInt32LE(frames.length, 0)
  for (const frame of frames) {
    at = bytes.writeBigUInt64LE(BigInt(frame.at), at)
    at = bytes.writeUInt32LE(frame.stored, at)
    at = bytes.writeUInt32LE(frame.raw, at)
    at = bytes.writeUInt8(frame.codec, at)
  }
  at = bytes.writeUInt32LE(objects.size, at)
  for (const [key, place] of objects) {
    at += bytes.write(key, at, 'hex')
    at = bytes.writeUInt32LE(place.frame, at)
    at = bytes.writeUInt32LE(place.offset, at)
    at = bytes.writeUInt32LE(place.length, at)
  }
  return bytes
}

function parseIndex(bytes: Buffer): PackIndex {
  const frameCount = bytes.readUInt32LE(0)
  let at = 4
  const frames: Frame[] = []
  for (let n = 0; n < frameCount; n++, at += FRAME_BYTES) {
    const codec = bytes.readUInt8(at + 16)
    if (codec > 1) throw new Error('it was written by a newer Nightshift')
    frames.push({
      at: Number(bytes.readBigUInt64LE(at)),
      stored: bytes.readUInt32LE(at + 8),
      raw: bytes.readUInt32LE(at + 12),
      codec: codec as 0 | 1,
    })
  }
  const objectCount = bytes.readUInt32LE(at)
  at += 4
  const objects = new Map<string, Place>()
  for (let n = 0; n < objectCount; n++, at += OBJECT_BYTES) {
    const place = {
      frame: bytes.readUInt32LE(at + 32),
      offset: bytes.readUInt32LE(at + 36),
      length: bytes.readUInt32LE(at + 40),
    }
    const frame = frames[place.frame]
    if (!frame || place.offset + place.length > frame.raw) throw new Error('its index is wrong')
    objects.set(bytes.toString('hex', at, at + 32), place)
  }
  return { frames, objects }
}
