import { type brotliDecompressSync, inflateSync, type ZlibOptions } from 'node:zlib'

/** All the text one file may unpack to. */
export const maxTextBytes = 64 * 1024 * 1024

/** UTF-8, as ComfyUI writes; else Latin-1, as the PNG standard says. NULs at the end are padding. */
export function textOf(bytes: Uint8Array): string {
  let end = bytes.length
  while (end > 0 && bytes[end - 1] === 0) end--
  const text = bytes.subarray(0, end)
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(text)
  } catch {
    return new TextDecoder('latin1').decode(text)
  }
}

/** UTF-16 in either order, by its mark, else by which order gives more plain letters: writers ignore the file's own. */
export function utf16Of(bytes: Uint8Array): string {
  if (bytes[0] === 0xff && bytes[1] === 0xfe) return decode('utf-16le', bytes)
  if (bytes[0] === 0xfe && bytes[1] === 0xff) return decode('utf-16be', bytes)
  let zeros = 0
  for (let at = 0; at < Math.min(bytes.length, 8192); at++) if (bytes[at] === 0) zeros += at % 2 === 0 ? 1 : -1
  return decode(zeros > 0 ? 'utf-16be' : 'utf-16le', bytes)
}
const decode = (encoding: string, bytes: Uint8Array) =>
  new TextDecoder(encoding).decode(bytes).replace(/(?<!\0)\0+$/, '')

/** A program writes a few; a model's training, some dozens. */
const MOST_TEXTS = 1000
const KNOWN = /^(workflow|prompt|parameters)$/i
/** ComfyUI's WebP writer: `key:value`, the key being any of its own. */
const PREFIXED = /^([A-Za-z_][\w.-]{0,63})\s*[:=]\s*(?=[{["]|\w)/
const JSON_BEGINS = /^[\s\0\uFEFF]*[{["]/
/** What A1111 and its relatives write about a picture, whatever they write it into. */
const A1111 = /(^|\n)[ \t]{0,9}Steps: \d+,/

export const isA1111 = (text: string) => A1111.test(text)

/** The texts a file holds, by key; the first under a key stands. Takes no more than it has room for. */
export class Texts {
  readonly found: Record<string, string> = {}
  #room = maxTextBytes
  #count = 0

  get room() {
    return this.#room
  }
  /** To be asked before text is decoded, also one that may then be dropped: a file can name the same bytes often. */
  take(sizeBytes: number): boolean {
    if (!(sizeBytes <= this.#room)) return false
    this.#room -= sizeBytes
    return true
  }

  /** Some programs write `Workflow` or `PROMPT`. */
  put(key: string, value: string) {
    const plain = KNOWN.test(key) ? key.toLowerCase() : key
    if (plain === '' || plain === '__proto__' || Object.hasOwn(this.found, plain)) return
    if (this.#count >= MOST_TEXTS && !KNOWN.test(plain)) return
    this.#count += 1
    this.found[plain] = value
  }

  /** A text from a field that holds anything: a comment, a description, an EXIF tag. */
  putLoose(field: string, value: string) {
    if (KNOWN.test(field)) return this.put(field, value)
    if (JSON_BEGINS.test(value)) return this.put(field, value)
    if (isA1111(value) && !/^\s*(prompt|workflow)\s*[:=]\s*\{/i.test(value))
      return this.put('parameters', value.replace(/^parameters\s*[:=]\s*/i, ''))
    const [whole, key] = PREFIXED.exec(value.slice(0, 128)) ?? []
    if (whole !== undefined) this.put(key!, value.slice(whole.length))
    else this.put(field, value)
  }

  putBytes(field: string, bytes: Uint8Array) {
    if (this.take(bytes.length)) this.putLoose(field, textOf(bytes))
  }

  /** null: damaged, or a bomb. */
  inflated(data: Uint8Array, inflate: typeof inflateSync | typeof brotliDecompressSync = inflateSync) {
    if (this.#room === 0) return null
    try {
      const bytes = inflate(data, { maxOutputLength: this.#room } as ZlibOptions)
      return this.take(bytes.length) ? bytes : null
    } catch {
      return null
    }
  }

  /** Something the workflow can be made from. */
  get hasWorkflow() {
    return Object.entries(this.found).some(([key, value]) => KNOWN.test(key) || JSON_BEGINS.test(value.slice(0, 64)))
  }
}
