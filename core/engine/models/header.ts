import { isJsonObject, type Json, parseJson } from '../../contract/json.ts'
import type { ModelFormat } from '../../contract/model.ts'
import { isPickleFile } from '../../contract/model-file.ts'
import { type ByteSource, begins, viewOf } from '../metadata/source.ts'
import { textOf } from '../metadata/text.ts'
import { type PickleVerdict, scanPickle } from './pickle.ts'

/** What is wrong with a file; the sentences go by `code` (problems.json). */
export interface Fault {
  readonly code: string
  readonly facts: Record<string, string>
}
/** A model file as far as it says what it is, without its numbers. */
export interface ModelHeader {
  readonly format: ModelFormat
  /** Of each tensor; empty where only its name is known. */
  readonly shapes: ReadonlyMap<string, readonly number[]>
  /** How many numbers of each type. */
  readonly types: ReadonlyMap<string, number>
  readonly metadata: Record<string, string>
  readonly faults: Fault[]
  readonly pickle: PickleVerdict | null
}

const LARGEST_HEADER = 100_000_000 // what the reference parser of safetensors takes
const LONGEST_VALUE = 4 * 1024 * 1024

/** Higher whenever more is found in files than before. */
export const READER = 2

/** By what the file begins with; its name may say anything, and is asked only where the bytes do not tell. */
export function readHeader(source: ByteSource, name: string): ModelHeader {
  const head = source.read(0, 16)
  if (source.sizeBytes === 0) return nothing('other', { code: 'model.empty', facts: {} })
  // what its name says goes to PyTorch, whatever else it may be as well: one file can be both
  if (isPickleFile(name)) {
    const read = readPickle(source, name)
    if (!read.pickle?.isNone) return read
  }
  if (begins(head, 'GGUF')) return readGguf(source)
  const isSafe = head.length >= 9 && head[8] === 0x7b && !begins(head, 'PK')
  if (begins(head, 'PK\x03\x04') || head[0] === 0x80 || isPickleFile(name))
    return isSafe ? readSafetensors(source) : readPickle(source, name)
  if (/\.(safetensors|sft)$/i.test(name) || (head.length >= 9 && head[8] === 0x7b)) {
    const text = textOf(source.read(0, 64))
    if (/^\s*(\{"|<!doctype|<html|version https:\/\/git-lfs)/i.test(text))
      return nothing('other', { code: 'model.not-a-model', facts: { begins: text.slice(0, 40) } })
    return readSafetensors(source)
  }
  return nothing(/\.onnx$/i.test(name) ? 'onnx' : 'other')
}

const nothing = (format: ModelFormat, ...faults: Fault[]): ModelHeader => ({
  format,
  shapes: new Map(),
  types: new Map(),
  metadata: {},
  faults,
  pickle: null,
})

/** Bits of one number. */
const bits: Readonly<Record<string, number>> = {
  BOOL: 8,
  U8: 8,
  I8: 8,
  F8_E5M2: 8,
  F8_E4M3: 8,
  F8_E8M0: 8,
  F4: 4,
  F6_E2M3: 6,
  F6_E3M2: 6,
  I16: 16,
  U16: 16,
  F16: 16,
  BF16: 16,
  I32: 32,
  U32: 32,
  F32: 32,
  C64: 64,
  F64: 64,
  I64: 64,
  U64: 64,
}

/** The layout as the reference parser checks it: every byte of the file belongs to one tensor. */
function readSafetensors(source: ByteSource): ModelHeader {
  const damaged = (reason: string) => nothing('safetensors', { code: 'model.damaged', facts: { reason } })
  const head = source.read(0, 8)
  if (head.length < 8) return damaged('it ends inside its header')
  const size = Number(viewOf(head).getBigUint64(0, true))
  if (size > LARGEST_HEADER || size < 2) return damaged('its header has no sensible size')
  if (8 + size > source.sizeBytes) return damaged('it ends inside its header')
  let header: Json
  try {
    header = parseJson(textOf(source.read(8, size)))
  } catch {
    return damaged('its header is not JSON')
  }
  if (!isJsonObject(header)) return damaged('its header is not JSON')
  const shapes = new Map<string, readonly number[]>()
  const types = new Map<string, number>()
  const metadata: Record<string, string> = {}
  const faults: Fault[] = []
  const spans: [begin: number, end: number][] = []
  const wrong = (reason: string) => {
    if (faults.length === 0) faults.push({ code: 'model.damaged', facts: { reason } })
  }
  for (const [name, tensor] of Object.entries(header)) {
    if (name === '__metadata__') {
      for (const [key, value] of Object.entries(isJsonObject(tensor) ? tensor : {}))
        if (typeof value === 'string') metadata[key] = value.slice(0, LONGEST_VALUE)
        else wrong('its metadata holds more than text')
      continue
    }
    const { dtype, shape, data_offsets: offsets } = isJsonObject(tensor) ? tensor : {}
    if (typeof dtype !== 'string' || !isNumbers(shape) || !isNumbers(offsets) || offsets.length !== 2) {
      wrong('a tensor in its header is not described')
      continue
    }
    const count = shape.reduce((product, side) => product * side, 1)
    const [begin, end] = offsets as [number, number]
    if (bits[dtype] !== undefined && count * bits[dtype] !== (end - begin) * 8)
      wrong('a tensor is not of the size it says')
    spans.push([begin, end])
    shapes.set(name, shape)
    types.set(dtype, (types.get(dtype) ?? 0) + count)
  }
  spans.sort((a, b) => a[0] - b[0] || a[1] - b[1])
  let at = 0
  for (const [begin, end] of spans) {
    if (begin !== at || end < begin) wrong('its tensors leave gaps or overlap')
    at = end
  }
  const wanted = 8 + size + at
  if (source.sizeBytes < wanted)
    faults.unshift({ code: 'model.truncated', facts: { size: String(source.sizeBytes), wanted: String(wanted) } })
  else if (source.sizeBytes > wanted)
    faults.unshift({ code: 'model.too-long', facts: { size: String(source.sizeBytes), wanted: String(wanted) } })
  return { format: 'safetensors', shapes, types, metadata, faults, pickle: null }
}

const isNumbers = (value: unknown): value is number[] =>
  Array.isArray(value) && value.every((it) => typeof it === 'number' && Number.isSafeInteger(it) && it >= 0)

// ---- GGUF ----

const GGUF_MOST = 1_000_000
const GGUF_TEXT = 16 * 1024 * 1024
/** Values kept of the many a tokenizer brings. */
const GGUF_KEPT = /^(general|split)\./
const sizes = [1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8] as const
const TEXT = 8
const LIST = 9
/** ggml's types: name, numbers in a block, bytes of a block. */
const ggml: Readonly<Record<number, readonly [string, number, number]>> = {
  0: ['F32', 1, 4],
  1: ['F16', 1, 2],
  2: ['Q4_0', 32, 18],
  3: ['Q4_1', 32, 20],
  6: ['Q5_0', 32, 22],
  7: ['Q5_1', 32, 24],
  8: ['Q8_0', 32, 34],
  10: ['Q2_K', 256, 84],
  11: ['Q3_K', 256, 110],
  12: ['Q4_K', 256, 144],
  13: ['Q5_K', 256, 176],
  14: ['Q6_K', 256, 210],
  15: ['Q8_K', 256, 292],
  16: ['IQ2_XXS', 256, 66],
  17: ['IQ2_XS', 256, 74],
  18: ['IQ3_XXS', 256, 98],
  19: ['IQ1_S', 256, 50],
  20: ['IQ4_NL', 32, 18],
  21: ['IQ3_S', 256, 110],
  22: ['IQ2_S', 256, 82],
  23: ['IQ4_XS', 256, 136],
  24: ['I8', 1, 1],
  25: ['I16', 1, 2],
  26: ['I32', 1, 4],
  27: ['I64', 1, 8],
  28: ['F64', 1, 8],
  29: ['IQ1_M', 256, 56],
  30: ['BF16', 1, 2],
}

class Ended extends Error {}

/** Reads onward in larger pieces, since a tokenizer's list has a hundred thousand short texts. */
function reader(source: ByteSource) {
  const PIECE = 1 << 20
  let piece: Uint8Array = new Uint8Array()
  let pieceAt = 0
  let at = 0
  const take = (length: number) => {
    if (at + length > source.sizeBytes) throw new Ended('it ends inside its header')
    if (at < pieceAt || at + length > pieceAt + piece.length) {
      pieceAt = at
      piece = source.read(at, Math.max(length, PIECE))
    }
    const bytes = piece.subarray(at - pieceAt, at - pieceAt + length)
    if (bytes.length < length) throw new Ended('it ends inside its header')
    at += length
    return viewOf(bytes)
  }
  const u32 = () => take(4).getUint32(0, true)
  const u64 = () => Number(take(8).getBigUint64(0, true))
  return {
    u32,
    u64,
    text() {
      const length = u64()
      if (length > GGUF_TEXT) throw new Ended('a text in its header is too long')
      const view = take(length)
      return textOf(new Uint8Array(view.buffer, view.byteOffset, length))
    },
    number(type: number): string {
      const view = take(sizes[type]!)
      if (type === 0) return String(view.getUint8(0))
      if (type === 1) return String(view.getInt8(0))
      if (type === 2) return String(view.getUint16(0, true))
      if (type === 3) return String(view.getInt16(0, true))
      if (type === 4) return String(view.getUint32(0, true))
      if (type === 5) return String(view.getInt32(0, true))
      if (type === 6) return String(view.getFloat32(0, true))
      if (type === 7) return String(view.getUint8(0) !== 0)
      if (type === 10) return String(view.getBigUint64(0, true))
      return String(type === 11 ? view.getBigInt64(0, true) : view.getFloat64(0, true))
    },
    skip(length: number) {
      if (at + length > source.sizeBytes) throw new Ended('it ends inside its header')
      at += length
    },
    get at() {
      return at
    },
  }
}

function readGguf(source: ByteSource): ModelHeader {
  const shapes = new Map<string, readonly number[]>()
  const types = new Map<string, number>()
  const metadata: Record<string, string> = {}
  const faults: Fault[] = []
  try {
    const next = reader(source)
    next.skip(4)
    const version = next.u32()
    if (version !== 2 && version !== 3) throw new Ended(`its version is ${version}`)
    const tensors = next.u64()
    const pairs = next.u64()
    if (tensors > GGUF_MOST || pairs > GGUF_MOST) throw new Ended('its header counts more than can be')
    let alignment = 32
    for (let pair = 0; pair < pairs; pair++) {
      const key = next.text()
      const value = ggufValue(next, next.u32())
      if (key === 'general.alignment' && Number(value) > 0) alignment = Number(value)
      if (value !== null && GGUF_KEPT.test(key)) metadata[key] = value.slice(0, LONGEST_VALUE)
    }
    let last = 0
    for (let tensor = 0; tensor < tensors; tensor++) {
      const name = next.text()
      const rank = next.u32()
      if (rank > 8) throw new Ended('a tensor has too many sides')
      const inner = Array.from({ length: rank }, () => next.u64())
      const type = next.u32()
      const offset = next.u64()
      const count = inner.reduce((product, side) => product * side, 1)
      const [label, block, bytes] = ggml[type] ?? [`type ${type}`, 1, 0]
      shapes.set(name, inner.toReversed())
      types.set(label, (types.get(label) ?? 0) + count)
      if (offset % alignment !== 0) throw new Ended('a tensor does not lie where it may')
      last = Math.max(last, offset + Math.ceil(count / block) * bytes)
    }
    const begin = Math.ceil(next.at / alignment) * alignment
    if (begin + last > source.sizeBytes && tensors > 0)
      faults.push({
        code: 'model.truncated',
        facts: { size: String(source.sizeBytes), wanted: String(begin + last) },
      })
  } catch (cause) {
    if (!(cause instanceof Ended)) throw cause
    faults.push({ code: 'model.damaged', facts: { reason: cause.message } })
  }
  return { format: 'gguf', shapes, types, metadata, faults, pickle: null }
}

/** null: a list, which is passed over. */
function ggufValue(next: ReturnType<typeof reader>, type: number, depth = 0): string | null {
  if (type === TEXT) return next.text()
  if (type === LIST) {
    const inner = next.u32()
    const count = next.u64()
    if (count > 100 * GGUF_MOST || depth > 4) throw new Ended('its header counts more than can be')
    if (inner !== TEXT && inner !== LIST) next.skip(count * (sizes[inner] ?? 1))
    else for (let item = 0; item < count; item++) ggufValue(next, inner, depth + 1)
    return null
  }
  if (!sizes[type]) throw new Ended('its header holds a value of no known type')
  return next.number(type)
}

// ---- pickle ----

function readPickle(source: ByteSource, name: string): ModelHeader {
  const verdict = scanPickle(source, name)
  const faults: Fault[] = []
  if (verdict.is === 'unsafe')
    faults.push(
      verdict.found.length > 0
        ? { code: 'model.runs-code', facts: { names: verdict.found.slice(0, 8).join(', ') } }
        : { code: 'model.unreadable-code', facts: { reason: verdict.reason ?? '' } },
    )
  if (verdict.is === 'unknown')
    faults.push({ code: 'model.unknown-code', facts: { names: verdict.found.slice(0, 8).join(', ') } })
  if (verdict.truncated) faults.unshift({ code: 'model.damaged', facts: { reason: verdict.reason ?? '' } })
  const shapes = new Map(verdict.strings.map((text) => [text, []] as [string, number[]]))
  const types = new Map<string, number>()
  for (const type of verdict.storages) types.set(type, 1)
  return { format: 'pickle', shapes, types, metadata: {}, faults, pickle: verdict }
}

// ---- what the numbers are ----

const precisionNames: Readonly<Record<string, string>> = {
  F32: 'fp32',
  F16: 'fp16',
  BF16: 'bf16',
  F64: 'fp64',
  F8_E4M3: 'fp8_e4m3fn',
  F8_E5M2: 'fp8_e5m2',
  F4: 'fp4',
  I8: 'int8',
  U8: 'uint8',
}

/** Of the type most numbers have. */
export function precisionOf({ types, format }: ModelHeader): string | null {
  const most = [...types].toSorted((a, b) => b[1] - a[1])[0]?.[0]
  if (most === undefined || (format === 'pickle' && types.size > 1)) return null
  return precisionNames[most] ?? most
}

export function parametersOf({ types, format }: ModelHeader): number | null {
  if (format === 'pickle' || types.size === 0) return null
  const packed = (types.get('U8') ?? 0) > 0 ? 2 : 1 // two four-bit numbers in a byte
  return [...types].reduce((sum, [type, count]) => sum + (type === 'U8' ? count * packed : count), 0)
}

/** Words a LoRA was trained on, most frequent first, and those its maker says to use. */
export function trainedWords(metadata: Readonly<Record<string, string>>): string[] {
  const words = new Set<string>()
  for (const key of ['modelspec.trigger_phrase', 'ss_trigger_words', 'trigger_words', 'activation_text'])
    for (const word of (metadata[key] ?? '').split(',')) if (word.trim() !== '') words.add(word.trim())
  const counts = new Map<string, number>()
  try {
    const said = parseJson(metadata.ss_tag_frequency ?? '{}')
    for (const folder of Object.values(isJsonObject(said) ? said : {}))
      for (const [tag, count] of Object.entries(isJsonObject(folder) ? folder : {}))
        counts.set(tag.trim(), (counts.get(tag.trim()) ?? 0) + Number(count))
  } catch {
    // Cut short by us or by its trainer: the words it has are not worth a fault.
  }
  for (const [tag] of [...counts].toSorted((a, b) => b[1] - a[1]).slice(0, 30)) if (tag !== '') words.add(tag)
  return [...words].slice(0, 40)
}
