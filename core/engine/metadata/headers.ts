import { isJsonObject, type Json, writeJson } from '../../contract/json.ts'
import { parseForeignJson } from '../../domain/workflow/json-text.ts'
import { type ByteSource, letters, viewOf } from './source.ts'
import { maxTextBytes, type Texts, textOf } from './text.ts'

/** Files that begin with a header of names and values: safetensors and latents, GLB, OpenEXR. */

/** What a safetensors file's header can be: its size comes first. */
export function safetensorsHeaderSize(source: ByteSource): number | null {
  const head = source.read(0, 9)
  if (head.length < 9 || head[8] !== 0x7b) return null
  const size = Number(viewOf(head).getBigUint64(0, true))
  return size >= 2 && size <= 128 * 1024 * 1024 ? size : null
}

/** safetensors and .latent: the header is JSON, and `__metadata__` in it holds texts. */
export function readSafetensors(source: ByteSource, texts: Texts): string | null {
  const size = safetensorsHeaderSize(source)
  if (size === null || 8 + size > source.sizeBytes) return 'it ends inside its header'
  if (size > maxTextBytes) return 'its header is larger than can be read'
  const header = parsed(source.read(8, size))
  if (!isJsonObject(header)) return 'its header is not JSON'
  if (isJsonObject(header.__metadata__)) putValues(header.__metadata__, texts)
  return null
}

/** GLB: the first chunk is JSON; ComfyUI writes into `asset.extras`. */
export function readGlb(source: ByteSource, texts: Texts): string | null {
  const head = source.read(0, 20)
  if (head.length < 20 || letters(head, 16) !== 'JSON') return 'it has no JSON chunk'
  const size = viewOf(head).getUint32(12, true)
  if (20 + size > source.sizeBytes) return 'it ends inside its JSON chunk'
  if (size > maxTextBytes) return 'its JSON chunk is larger than can be read'
  const scene = parsed(source.read(20, size))
  if (!isJsonObject(scene)) return 'its JSON chunk is not JSON'
  for (const extras of [isJsonObject(scene.asset) ? scene.asset.extras : null, scene.extras])
    if (isJsonObject(extras)) putValues(extras, texts)
  return null
}

const EXR_LONG_NAMES = 0x400

/** OpenEXR: name, type, size and value, until an empty name. */
export function readExr(source: ByteSource, texts: Texts): string | null {
  const head = source.read(0, 8)
  const longest = head.length === 8 && viewOf(head).getUint32(4, true) & EXR_LONG_NAMES ? 255 : 31
  let at = 8
  const name = () => {
    const bytes = source.read(at, longest + 1)
    const end = bytes.indexOf(0)
    at += end + 1
    return end < 0 ? null : textOf(bytes.subarray(0, end))
  }
  for (;;) {
    const key = name()
    if (key === '') return null
    const type = key === null ? null : name()
    const size = source.read(at, 4)
    if (key === null || type === null || size.length < 4) return 'it ends inside its header'
    const length = viewOf(size).getUint32(0, true)
    if (type === 'string') texts.putBytes(key, source.read(at + 4, Math.min(length, texts.room)))
    at += 4 + length
  }
}

function putValues(values: { [key: string]: Json }, texts: Texts) {
  for (const [key, value] of Object.entries(values))
    if (typeof value === 'string') texts.putLoose(key, value)
    else if (isJsonObject(value)) texts.put(key, writeJson(value))
}

function parsed(bytes: Uint8Array): Json {
  try {
    return parseForeignJson('header', textOf(bytes))
  } catch {
    return null
  }
}
