import type { Json } from '../contract/json.ts'
import { formatDate } from './workflow/text.ts'

/** What a name may tell about an output. */
export interface NameFacts {
  readonly batch: string
  readonly workflow: string
  readonly worker: string
  readonly row: number
  /** 1 for the batch's first job. */
  readonly index: number
  readonly seed: Json
  /** The most telling words, see `tellingName`. */
  readonly name: string
  readonly now: Date
  /** Counts the outputs of a batch. */
  readonly counter: number
  readonly node: string
  /** 1 for the first output of its node. */
  readonly output: number
  readonly ext: string
  /** What the row says, by its table's columns, mapped or not. */
  readonly columns: Readonly<Record<string, string>>
  /** The value of each parameter by its name. */
  readonly params: Readonly<Record<string, Json>>
}

const FOLDER_BYTES = 80
/** Leaves room below the file systems' 255 for ` (99999)`, a record's `.json` and a temporary name. */
const FILE_BYTES = 200
const MAX_FOLDERS = 5
/** Stands for a token with nothing to say; `clean` leaves no other. */
const EMPTY = '<'
/** A slash outside of braces. */
const PART_ENDS = /[/\\](?![^{}]*\})/
const TOKEN = /\{([^{}:]+)(?::([^{}]*))?\}/g

/**
 * Where an output goes, relative to its folder, with forward slashes; it never leaves that folder, and every part is a
 * name Windows, macOS and Linux take.
 * Tokens: batch workflow worker row index seed name date time counter node output ext, `{column NAME}`, `{param NAME}`,
 * and the bare name of a column or parameter, in any case where no other is spelt so; `{row:04}` pads, `{date:yyyy-MM-dd}` formats, `{name:20}` clips text.
 */
export function artifactName(pattern: string, facts: NameFacts): string {
  const ext = facts.ext
    .replace(/[^a-z0-9]/gi, '')
    .toLowerCase()
    .slice(0, 12)
  const suffix = ext && `.${ext}`
  const parts = pattern.split(PART_ENDS).map((part) => fillTokens(part, facts))
  const last = parts.pop() ?? ''
  const stem = suffix && last.toLowerCase().endsWith(suffix) ? last.slice(0, -suffix.length) : last
  const folders = parts.map((part) => safePart(part, FOLDER_BYTES)).filter(Boolean)
  const file = safePart(stem, FILE_BYTES - suffix.length) || String(facts.index)
  return [...folders.slice(0, MAX_FOLDERS), `${file}${suffix}`].join('/')
}

/** `name` as every file system and server takes it, its extension kept. */
export function safeFileName(name: string): string {
  const [, stem = name, suffix = ''] = /^(.*?)(\.[a-z0-9]{1,12})?$/is.exec(name) ?? []
  return `${safePart(clean(stem), FILE_BYTES - suffix.length) || 'file'}${suffix}`
}

/** The name to try when `times - 1` before it were taken: `a.png`, `a (2).png`, `a (3).png`. */
export function nextName(name: string, times: number): string {
  if (times < 2) return name
  const [, stem = name, suffix = ''] = /^(.*?)(\.[a-z0-9]{1,12})?$/s.exec(name) ?? []
  return `${stem} (${times})${suffix}`
}

/** Tokens of a pattern that name nothing, so that they would stand in file names as they are. */
export function unknownTokens(pattern: string, columns: readonly string[], params: readonly string[]): string[] {
  const all = [...Object.keys(plainTokens), ...columns, ...params]
  const unknown: string[] = []
  for (const [whole, token = ''] of pattern.matchAll(TOKEN)) {
    const name = token.trim()
    const [, said, rest = ''] = /^(column|param)\s+(.+)$/i.exec(name) ?? []
    const kind = said?.toLowerCase()
    const known = kind ? (kind === 'column' ? columns : params) : all
    if (spelt(known, kind ? rest : name) === undefined) unknown.push(whole)
  }
  return unknown
}

/** The one that is spelt so, else in other case. */
function spelt(names: readonly string[], name: string): string | undefined {
  const folded = name.toLowerCase()
  return names.find((one) => one === name) ?? names.find((one) => one.toLowerCase() === folded)
}

const plainTokens: Record<string, (facts: NameFacts, format: string | undefined) => Json> = {
  batch: ({ batch }) => batch,
  workflow: ({ workflow }) => workflow,
  worker: ({ worker }) => worker,
  row: ({ row }) => row,
  index: ({ index }) => index,
  seed: ({ seed }) => seed,
  name: ({ name }) => name,
  date: ({ now }, format) => formatDate(format || 'yyyy-MM-dd', now),
  time: ({ now }, format) => formatDate(format || 'hhmmss', now),
  counter: ({ counter }) => counter,
  node: ({ node }) => node,
  output: ({ output }) => output,
  ext: ({ ext }) => ext,
}

function fillTokens(part: string, facts: NameFacts): string {
  let filled = ''
  let from = 0
  for (const { 0: whole, 1: token = '', 2: format, index } of part.matchAll(TOKEN)) {
    const value = tokenValue(token.trim(), format, facts)
    filled += clean(part.slice(from, index))
    filled += value === undefined ? clean(whole) : clean(padded(value, token.trim(), format)) || EMPTY
    from = index + whole.length
  }
  filled += clean(part.slice(from))
  // A token with nothing to say takes the separator beside it along: `0001-{name}-{seed}` without a seed is `0001-name`.
  return filled.replace(/^<[-_ .]*/, '').replace(/[-_ .]*</g, '')
}

function tokenValue(name: string, format: string | undefined, facts: NameFacts): Json | undefined {
  const plain = (of: string | undefined) => (of === undefined ? undefined : plainTokens[of]!(facts, format))
  if (Object.hasOwn(plainTokens, name)) return plain(name)
  const [, said, rest = name] = /^(column|param)\s+(.+)$/i.exec(name) ?? []
  const kind = said?.toLowerCase()
  if (kind !== 'param' && Object.hasOwn(facts.columns, rest)) return facts.columns[rest]
  if (kind !== 'column' && Object.hasOwn(facts.params, rest)) return facts.params[rest]
  const column = kind === 'param' ? undefined : spelt(Object.keys(facts.columns), rest)
  if (column !== undefined) return facts.columns[column]
  const param = kind === 'column' ? undefined : spelt(Object.keys(facts.params), rest)
  if (param !== undefined) return facts.params[param]
  return kind ? '' : plain(spelt(Object.keys(plainTokens), name))
}

/** The longest text one token may put into a name; the pattern's other tokens keep their place. */
const TOKEN_LENGTH = 60

function padded(value: Json, token: string, format: string | undefined): string {
  if (value === null || typeof value === 'object') return ''
  const text = String(value)
  if (token === 'date' || token === 'time') return text
  const width = format && /^\d{1,3}$/.test(format) ? Number(format) : 0
  if (typeof value !== 'string' || (format?.startsWith('0') && /^\d+$/.test(text))) {
    return text.padStart(Math.min(width, 20), '0')
  }
  return clip(text.replace(/\s+/g, ' ').trim(), width || TOKEN_LENGTH)
}

/** At most `length` code units, cut between the characters a person sees, at a word's end when one is near. */
export function clip(text: string, length: number): string {
  if (text.length <= length) return text
  const head = takeGraphemes(text.slice(0, length + 64), (taken) => taken.length <= length)
  const space = text[head.length] === ' ' ? head.length : head.lastIndexOf(' ')
  return space > length * 0.6 ? head.slice(0, space) : head
}

const graphemes = new Intl.Segmenter('en', { granularity: 'grapheme' })

function takeGraphemes(text: string, fits: (taken: string) => boolean): string {
  let end = 0
  for (const { segment, index } of graphemes.segment(text)) {
    if (!fits(text.slice(0, index + segment.length))) break
    end = index + segment.length
  }
  return text.slice(0, end)
}

const RESERVED_ON_WINDOWS = /^(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$)\s*(\.|$)/i

/** Without anything a file system forbids, or that would show a name other than it is (bidi marks, zero widths). */
function clean(text: string): string {
  return (
    text
      .normalize('NFC')
      // biome-ignore lint/suspicious/noControlCharactersInRegex: names may not hold them
      .replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]+/g, ' ')
      .replace(/\p{Cs}/gu, '_')
      .replace(/[\u{E0000}-\u{E0FFF}]|(?!\u200d)\p{Cf}/gu, '')
      .replace(/(?<!\p{Extended_Pictographic}[\ufe0f\u{1f3fb}-\u{1f3ff}]?)\u200d/gu, '')
      .replace(/[<>:"/\\|?*]/g, '_')
  )
}

/** One part of a path, or nothing when nothing of it is left. */
function safePart(part: string, limitBytes: number): string {
  const trimmed = part.replace(/\s+/g, ' ').replace(/^[ .]+/, '')
  const free = RESERVED_ON_WINDOWS.test(trimmed) ? `_${trimmed}` : trimmed
  return clipBytes(free, limitBytes).replace(/[ .]+$/, '')
}

function clipBytes(text: string, limit: number): string {
  if (utf8Length(text) <= limit) return text
  return takeGraphemes(text.slice(0, limit), (taken) => utf8Length(taken) <= limit)
}

function utf8Length(text: string): number {
  let bytes = 0
  for (const sign of text) {
    const code = sign.codePointAt(0)!
    bytes += code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4
  }
  return bytes
}
