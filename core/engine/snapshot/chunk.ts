/** Sizes of the pieces a large file is kept in, bytes. They and the table are part of the format: with others nothing is found again. */
export const CHUNK = { min: 2 << 20, normal: 4 << 20, max: 16 << 20 } as const
/** Files from here on are kept in pieces. */
export const CHUNKED_FROM = 8 << 20

const GEAR = gearTable()
/** 24 and 20 high bits: a cut is rare before the normal size and likely after it. */
const RARE = 0xffffff00 | 0
const LIKELY = 0xfffff000 | 0

/**
 * Where the piece that begins at `from` ends, by what the bytes are: what is inserted before moves no later cut. With less
 * than `CHUNK.max` bytes from there, `bytes` has to reach the file's end. Pure.
 */
export function nextCut(bytes: Uint8Array, from: number): number {
  const end = Math.min(bytes.length, from + CHUNK.max)
  const normal = Math.min(end, from + CHUNK.normal)
  let at = from + CHUNK.min
  if (at >= end) return end
  let hash = 0
  for (; at < normal; at++) {
    hash = ((hash << 1) + GEAR[bytes[at]!]!) | 0
    if ((hash & RARE) === 0) return at + 1
  }
  for (; at < end; at++) {
    hash = ((hash << 1) + GEAR[bytes[at]!]!) | 0
    if ((hash & LIKELY) === 0) return at + 1
  }
  return end
}

/** 256 numbers of 32 bits that look random and are the same everywhere. */
function gearTable(): Int32Array {
  let state = 0x6e696768
  return Int32Array.from({ length: 256 }, () => {
    state = (state + 0x9e3779b9) | 0
    let mixed = state
    mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b)
    mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35)
    return mixed ^ (mixed >>> 16)
  })
}
