import { AppError } from '../../contract/errors.ts'
import { isJsonObject, type Json, parseJson } from '../../contract/json.ts'

const maxDepth = 200
/** Values, keys and commas together: what fits a file of some megabytes could fill the memory. */
const maxTokens = 8_000_000
/** How often JSON may be wrapped as a string of JSON. */
const maxWrappings = 8

/**
 * JSON from a stranger: unwrapped while it is a string of JSON, no deeper than we can walk, no key twice in one object
 * (a reader would drop one of the two silently), and none of the keys that would harm.
 * @throws AppError 'import.empty', 'import.not-json', 'import.damaged'
 */
export function parseForeignJson(name: string, text: string): Json {
  let value: Json = text
  for (let wrapping = 0; typeof value === 'string' && wrapping < maxWrappings; wrapping++) {
    const trimmed: string = trim(value)
    if (trimmed === '') throw new AppError('import.empty', { name })
    if (wrapping > 0 && !/^[[{"]/.test(trimmed)) break // a plain string, not JSON once more
    value = parseOnce(name, trimmed)
  }
  return value
}

/** By hand: a pattern looks at a long run of spaces once for each of them. */
function trim(text: string): string {
  const isSpace = (at: number) => text.charCodeAt(at) <= 0x20 || /[\s\uFEFF]/.test(text[at]!)
  let start = 0
  let end = text.length
  while (start < end && isSpace(start)) start++
  while (end > start && isSpace(end - 1)) end--
  return text.slice(start, end)
}

function parseOnce(name: string, text: string, isRepaired = false): Json {
  const { depth, tokens, repeated } = scan(text)
  if (tokens > maxTokens) throw new AppError('import.not-json', { name, reason: 'it holds too many values' })
  if (depth > maxDepth) throw new AppError('import.not-json', { name, reason: 'it is nested too deeply' })
  let value: Json
  try {
    value = parseJson(text)
  } catch (cause) {
    const repaired = isRepaired ? text : repair(text)
    if (repaired !== text) return parseOnce(name, repaired, true)
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new AppError('import.not-json', { name, reason: reason.slice(0, 200) }, { cause })
  }
  if (repeated !== null) {
    throw new AppError('import.damaged', { name, reason: `the key ${JSON.stringify(repeated)} appears twice` })
  }
  withoutHarm(value)
  return value
}

/** JSON written by hand: without its comments, without commas after the last item, line ends in strings escaped. */
function repair(text: string): string {
  const pieces: string[] = []
  let from = 0
  let comma = -1 // the piece that is a comma with nothing behind it yet
  const take = (end: number) => {
    if (end > from) pieces.push(text.slice(from, end))
    from = end
  }
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at)
    if (code === 0x22) {
      take(at)
      at = endOfString(text, at + 1)
      pieces.push(escapeControls(text.slice(from, at + 1)))
      from = at + 1
      comma = -1
    } else if (code === 0x2f && (text[at + 1] === '/' || text[at + 1] === '*')) {
      take(at)
      const isLine = text[at + 1] === '/'
      const end = text.indexOf(isLine ? '\n' : '*/', at + 2)
      from = end < 0 ? text.length : isLine ? end : end + 2
      at = from - 1
    } else if (code === 0x2c) {
      take(at)
      take(at + 1)
      comma = pieces.length - 1
    } else if (code > 0x20) {
      if (comma >= 0 && (code === 0x5d || code === 0x7d)) pieces[comma] = ''
      comma = -1
    }
  }
  take(text.length)
  return pieces.join('')
}
const escapeControls = (string: string) =>
  /[\n\r\t]/.test(string) ? string.replaceAll('\n', '\\n').replaceAll('\r', '\\r').replaceAll('\t', '\\t') : string

/** What stands in the fences of a text in Markdown, or between its first and last brace when it has none. */
export function fencedTexts(text: string): string[] {
  const fenced = text.split(/^[ \t]*```[^\n]*$/m).filter((_, index) => index % 2 === 1)
  if (fenced.length > 0) return fenced
  const start = text.search(/[{[]/)
  const end = Math.max(text.lastIndexOf('}'), text.lastIndexOf(']'))
  return start > 0 && end > start && /"(nodes|class_type)"/.test(text) ? [text.slice(start, end + 1)] : []
}

/** How deep the text nests, how many strings, lists, objects and commas it has, and the first key that one of its objects has twice. Never fails, whatever the text. */
function scan(text: string): { depth: number; tokens: number; repeated: string | null } {
  const open: (Set<string> | null)[] = [] // null: a list
  let depth = 0
  let tokens = 0
  let repeated: string | null = null
  let string = ''
  for (let at = 0; at < text.length && tokens <= maxTokens; at++) {
    switch (text.charCodeAt(at)) {
      case 0x2c:
        tokens += 1
        break
      case 0x22: {
        tokens += 1
        const start = at + 1
        at = endOfString(text, start)
        string = text.slice(start, at)
        break
      }
      case 0x3a: {
        const keys = open.at(-1)
        if (!keys || repeated !== null) break
        if (keys.has(string)) repeated = string
        keys.add(string)
        break
      }
      case 0x7b:
        tokens += 1
        open.push(new Set())
        break
      case 0x5b:
        tokens += 1
        open.push(null)
        break
      case 0x7d:
      case 0x5d:
        open.pop()
        break
    }
    if (open.length > depth) depth = open.length
    if (depth > maxDepth) break
  }
  return { depth, tokens, repeated }
}

function endOfString(text: string, start: number): number {
  for (let at = text.indexOf('"', start); at >= 0; at = text.indexOf('"', at + 1)) {
    let slashes = 0
    while (text.charCodeAt(at - 1 - slashes) === 0x5c && at - 1 - slashes >= start) slashes++
    if (slashes % 2 === 0) return at
  }
  return text.length
}

/** Such a key would change an object's nature when it is copied, or when it is read as a number or a text. */
const HARMFUL = ['__proto__', 'toString', 'valueOf']
function withoutHarm(root: Json) {
  const waiting: Json[] = [root]
  for (let value = waiting.pop(); value !== undefined; value = waiting.pop()) {
    if (Array.isArray(value)) {
      for (const item of value) if (typeof item === 'object' && item !== null) waiting.push(item)
    } else if (isJsonObject(value)) {
      for (const key of HARMFUL) if (Object.hasOwn(value, key)) Reflect.deleteProperty(value, key)
      for (const item of Object.values(value)) if (typeof item === 'object' && item !== null) waiting.push(item)
    }
  }
}
