/** Numbers in [0, 1), the same for the same arguments: every choice a batch makes by chance can be made again. */
export function chanceOf(chance: number, ...parts: readonly (number | string)[]): () => number {
  const [a, b] = hash([chance, ...parts].join('\u0000'))
  const state = new Uint32Array([a, b, a ^ 0x9e3779b9, 1])
  const random = () => (next(state) * 0x200000 + (next(state) >>> 11)) / 2 ** 53
  for (let round = 0; round < 8; round++) random()
  return random
}

/** sfc32: three words of state and a counter. */
function next(state: Uint32Array): number {
  const [a = 0, b = 0, c = 0, count = 0] = state
  const drawn = (a + b + count) >>> 0
  state[3] = count + 1
  state[0] = b ^ (b >>> 9)
  state[1] = c + (c << 3)
  state[2] = ((c << 21) | (c >>> 11)) + drawn
  return drawn
}

/** Two unlike 32-bit FNV-1a sums of a text. */
function hash(text: string): [number, number] {
  let a = 0x811c9dc5
  let b = 0x01000193
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at)
    a = Math.imul(a ^ code, 0x01000193)
    b = Math.imul(b ^ (code + 0x9e37), 0x85ebca6b)
  }
  return [a >>> 0, b >>> 0]
}
