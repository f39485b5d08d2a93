/** The same numbers for the same seed: mulberry32. */
export function chanceOf(seed: number) {
  let state = seed >>> 0
  return (below: number): number => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below
  }
}

const EXTREMES = [0, 1, 0x7f, 0x80, 0xff]
const SIZES = [0, 1, 0x7fffffff, 0x80000000, 0xffffffff, 0xfffffffe, 16, 8]

/** A good file with a few bytes, sizes, pieces changed, doubled, moved or cut off. */
export function mutated(whole: Uint8Array, chance: (below: number) => number): Uint8Array {
  let file = Buffer.from(whole)
  for (let changes = 1 + chance(6); changes > 0 && file.length > 0; changes--) {
    const at = chance(file.length)
    switch (chance(10)) {
      case 0:
      case 1:
        file[at] = chance(256)
        break
      case 2:
        file[at] = EXTREMES[chance(EXTREMES.length)]!
        break
      case 3:
        file[at]! ^= 1 << chance(8)
        break
      case 4: {
        const size = SIZES[chance(SIZES.length)]!
        if (at + 4 <= file.length) chance(2) === 0 ? file.writeUInt32BE(size, at) : file.writeUInt32LE(size, at)
        break
      }
      case 5:
        file = file.subarray(0, at)
        break
      case 6: {
        const piece = file.subarray(at, at + 1 + chance(64))
        const to = chance(file.length)
        file = Buffer.concat([file.subarray(0, to), piece, file.subarray(to)])
        break
      }
      case 7:
        file = Buffer.concat([file.subarray(0, at), file.subarray(at + 1 + chance(32))])
        break
      case 8: {
        // near the beginning is where the sizes are
        const early = chance(Math.min(64, file.length))
        file[early] = chance(256)
        break
      }
      case 9:
        file.fill(chance(256), at, Math.min(file.length, at + 1 + chance(16)))
    }
  }
  return new Uint8Array(file)
}
