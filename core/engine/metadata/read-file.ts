import { gunzipSync } from 'node:zlib'
import { AppError } from '../../contract/errors.ts'
import type { Container } from '../../contract/workflow.ts'
import { readGif } from './gif.ts'
import { readExr, readGlb, readSafetensors, safetensorsHeaderSize } from './headers.ts'
import { id3Size, readMp3 } from './id3.ts'
import { readBoxes } from './isobmff.ts'
import { readJpeg } from './jpeg.ts'
import { readMatroska } from './matroska.ts'
import { readPng } from './png.ts'
import { readRiff } from './riff.ts'
import { type ByteSource, begins, bytesSource } from './source.ts'
import { isA1111, Texts } from './text.ts'
import { readTiff } from './tiff.ts'
import { readFlac, readOgg } from './vorbis.ts'
import { readXmp } from './xml.ts'
import { readZip } from './zip.ts'

/** JSON and other text above this is refused by its size, unread. Of other files only the texts are read. */
export const maxWorkflowBytes = 64 * 1024 * 1024
const MiB = 1024 * 1024

/** What a file holds: `json` is the whole file; otherwise its metadata, by key (`workflow`, `prompt`, …). */
export interface WorkflowFile {
  readonly container: Container
  readonly texts: Record<string, string>
}
/** A file, or one found in an archive. */
export interface FoundFile {
  /** In an archive with its folders. */
  readonly name: string
  readonly source: ByteSource
  readonly file: WorkflowFile
}
export interface FaultyFile {
  readonly name: string
  readonly fault: AppError
}

type Reader = (source: ByteSource, texts: Texts) => string | null
const HEAD_BYTES = 64

const readWholeTiff: Reader = (source, texts) => {
  readTiff(source.read(0, Math.min(source.sizeBytes, maxWorkflowBytes)), texts)
  return null
}
const readWholeXml: Reader = (source, texts) => {
  readXmp(decoded(source.read(0, source.sizeBytes)) ?? '', texts)
  return null
}

/** Some programs put an MP3’s tag before a FLAC. */
const readTaggedFlac: Reader = (source, texts) => readMp3(source, texts) ?? readFlac(source, texts)

/** By what a file begins with; its name may say anything. */
function sniff(source: ByteSource): [Container, Reader] | null {
  const head = source.read(0, HEAD_BYTES)
  if (begins(head, '\x89PNG')) return ['png', readPng]
  if (begins(head, '\xff\xd8\xff')) return ['jpeg', readJpeg]
  if (begins(head, 'RIFF') || begins(head, 'RF64') || begins(head, 'BW64')) {
    if (begins(head, 'WEBP', 8)) return ['webp', readRiff]
    if (begins(head, 'WAVE', 8)) return ['wav', readRiff]
    if (begins(head, 'AVI ', 8)) return ['avi', readRiff]
  }
  if (begins(head, 'ftyp', 4)) return [containerOfBrand(head), readBoxes]
  if (begins(head, 'JXL ', 4)) return ['jxl', readBoxes]
  if (begins(head, '\xff\x0a')) return ['jxl', () => null] // pixels and nothing else
  if (begins(head, 'moov', 4) || begins(head, 'mdat', 4) || begins(head, 'wide', 4)) return ['mov', readBoxes]
  if (begins(head, 'GIF8')) return ['gif', readGif]
  if (begins(head, 'II*\0') || begins(head, 'MM\0*')) return ['tiff', readWholeTiff]
  if (begins(head, 'v/1\x01')) return ['exr', readExr]
  if (begins(head, '\x1aE\xdf\xa3'))
    return [String.fromCharCode(...head).includes('webm') ? 'webm' : 'mkv', readMatroska]
  if (begins(head, 'fLaC')) return ['flac', readFlac]
  if (begins(head, 'OggS')) return ['ogg', readOgg]
  if (begins(head, 'ID3') && begins(source.read(id3Size(head), 4), 'fLaC')) return ['flac', readTaggedFlac]
  if (begins(head, 'ID3') || (head[0] === 0xff && [0xfb, 0xfa, 0xf3, 0xf2].includes(head[1]!))) return ['mp3', readMp3]
  if (begins(head, 'glTF')) return ['glb', readGlb]
  return null
}

function containerOfBrand(head: Uint8Array): Container {
  const brands = String.fromCharCode(...head.subarray(8, HEAD_BYTES))
  if (/^avi[fs]/.test(brands)) return 'avif'
  if (/^(hei[cxfms]|hev[cx]|mif1|msf1)/.test(brands)) return brands.includes('avif') ? 'avif' : 'heif'
  if (brands.startsWith('qt')) return 'mov'
  return 'mp4'
}

/** Files people drop by mistake, named so that they see which. */
const knownKinds: readonly [mark: string, kind: string][] = [
  ['7z\xbc\xaf', '7-Zip'],
  ['Rar!', 'RAR'],
  ['BM', 'BMP'],
  ['%PDF', 'PDF'],
  ['8BPS', 'PSD'],
  ['MZ', 'EXE'],
  ['\x7fELF', 'ELF'],
  ['SQLite', 'SQLite'],
]

/** To be asked before text is read. @throws AppError 'import.too-large' */
export function checkWorkflowSize(name: string, sizeBytes: number) {
  if (sizeBytes <= maxWorkflowBytes) return
  const mib = (bytes: number) => Math.ceil(bytes / MiB)
  throw new AppError('import.too-large', { name, sizeMiB: mib(sizeBytes), limitMiB: mib(maxWorkflowBytes) })
}

/**
 * What one file holds; of an archive, the first file in it that holds something.
 * @throws AppError 'import.too-large', 'import.empty', 'import.unsupported-file', 'import.damaged', 'import.not-json',
 * 'import.no-workflow', 'import.too-many-files'
 */
export const readWorkflowFile = (name: string, bytes: Uint8Array): WorkflowFile => firstFile(name, bytesSource(bytes))

/** As readWorkflowFile, of a file that is only read where its texts are. */
export function firstFile(name: string, source: ByteSource): WorkflowFile {
  let fault: AppError | null = null
  for (const found of readWorkflowFiles(name, source)) {
    if ('file' in found) return found.file
    fault ??= found.fault
  }
  throw fault ?? new AppError('import.no-workflow', { name })
}

/** Every file in a dropped one: itself, or what is in an archive, one after the other as they are asked for. */
export function* readWorkflowFiles(name: string, source: ByteSource): Generator<FoundFile | FaultyFile> {
  yield* filesIn(name, source, 0)
}

/** An archive in an archive is opened, one in that no more. */
const DEEPEST = 2

function* filesIn(name: string, source: ByteSource, depth: number): Generator<FoundFile | FaultyFile> {
  const head = source.read(0, HEAD_BYTES)
  try {
    if (begins(head, 'PK\x03\x04') || begins(head, 'PK\x05\x06') || /\.zip$/i.test(name)) {
      if (depth === DEEPEST) throw new AppError('import.unsupported-file', { name, kind: 'ZIP in ZIP' })
      return yield* filesInZip(name, source, depth)
    }
    if (begins(head, '\x1f\x8b') && depth < DEEPEST) {
      const inside = name.replace(/\.(gz|svgz)$/i, (_, ext: string) => (ext.length === 2 ? '' : '.svg'))
      return yield* filesIn(inside, bytesSource(gunzipped(name, source)), DEEPEST)
    }
    yield { name, source, file: readOne(name, head, source) }
  } catch (cause) {
    if (!(cause instanceof AppError)) throw cause
    yield { name, fault: cause }
  }
}

function gunzipped(name: string, source: ByteSource): Uint8Array {
  checkWorkflowSize(name, source.sizeBytes)
  try {
    return gunzipSync(source.read(0, source.sizeBytes), { maxOutputLength: maxWorkflowBytes })
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException
    if (code === 'ERR_BUFFER_TOO_LARGE') checkWorkflowSize(name, maxWorkflowBytes + 1)
    throw new AppError('import.damaged', { name, reason: 'it cannot be unpacked' }, { cause })
  }
}

/** What archives hold besides: a readme, a program's own files. Said of a file dropped by itself, not of one of many. */
const BESIDE = ['import.unsupported-file', 'import.not-json', 'import.unknown-format', 'import.empty']
const HIDDEN = /(^|\/)(__MACOSX\/|\.[^/]*$|Thumbs\.db$|desktop\.ini$)/i

function* filesInZip(name: string, source: ByteSource, depth: number): Generator<FoundFile | FaultyFile> {
  let any = false
  for (const entry of readZip(name, source)) {
    if (entry.name.endsWith('/') || HIDDEN.test(entry.name)) continue
    try {
      const inside = entry.open()
      for (const found of filesIn(entry.name, inside, depth + 1)) {
        const { code } = 'fault' in found ? found.fault : {}
        const isText = 'file' in found && found.file.texts.json !== undefined && !/^\s*[[{]/.test(found.file.texts.json)
        if ((isText || BESIDE.includes(code ?? '')) && !/\.json$/i.test(found.name)) continue
        any = true
        yield found
      }
    } catch (cause) {
      if (!(cause instanceof AppError)) throw cause
      any = true
      yield { name: entry.name, fault: cause }
    }
  }
  if (!any) throw new AppError('import.empty-archive', { name })
}

/** Not `<lora:…>`, as prompts begin. */
const MARKUP = /^\s*<(\?xml|!--|!doctype|[a-z]+[\s>])/i

function readOne(name: string, head: Uint8Array, source: ByteSource): WorkflowFile {
  if (source.sizeBytes === 0) throw new AppError('import.empty', { name })
  const known = sniff(source)
  if (known) return readTexts(name, source, ...known)
  for (const [mark, kind] of knownKinds)
    if (begins(head, mark)) throw new AppError('import.unsupported-file', { name, kind })
  if (safetensorsHeaderSize(source) !== null) return readTexts(name, source, 'safetensors', readSafetensors)
  checkWorkflowSize(name, source.sizeBytes)
  const text = decoded(source.read(0, source.sizeBytes))
  if (text === null) throw new AppError('import.not-json', { name, reason: 'it is not text in UTF-8 or UTF-16' })
  if (text.trim() === '') throw new AppError('import.empty', { name })
  if (MARKUP.test(text)) {
    if (/<svg[\s>]/i.test(text.slice(0, 65_536))) return readTexts(name, source, 'svg', readWholeXml)
    const kind = /^\s*<(!doctype html|html)/i.test(text) ? 'HTML' : 'XML'
    throw new AppError('import.unsupported-file', { name, kind })
  }
  if (isA1111(text) && !/^\s*[{[]/.test(text)) return { container: 'json', texts: { parameters: text } }
  return { container: 'json', texts: { json: text } }
}

/** All texts in a picture, sound or video, as far as it can be read. */
export function textsIn(bytes: Uint8Array): Record<string, string> {
  const texts = new Texts()
  const source = bytesSource(bytes)
  const [, read] = sniff(source) ?? []
  read?.(source, texts)
  return texts.found
}

function readTexts(name: string, source: ByteSource, container: Container, read: Reader): WorkflowFile {
  const texts = new Texts()
  const damage = read(source, texts)
  if (!texts.hasWorkflow) {
    if (damage !== null) throw new AppError('import.damaged', { name, reason: damage })
    throw new AppError('import.no-workflow', { name })
  }
  return { container, texts: texts.found }
}

function decoded(bytes: Uint8Array): string | null {
  try {
    return new TextDecoder(encodingOf(bytes), { fatal: true }).decode(bytes)
  } catch {
    return null
  }
}

/** JSON begins with two ASCII characters, so its zero bytes tell UTF-16 where there is no byte order mark. */
function encodingOf(bytes: Uint8Array): string {
  if (begins(bytes, '\xff\xfe') || (bytes[0] !== 0 && bytes[1] === 0)) return 'utf-16le'
  if (begins(bytes, '\xfe\xff') || (bytes[0] === 0 && bytes[1] !== 0)) return 'utf-16be'
  return 'utf-8'
}
