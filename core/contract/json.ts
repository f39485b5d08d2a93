/** What ComfyUI's JSON can hold once read: an integer beyond 2^53 is a bigint, so a seed keeps every digit. */
export type Json = null | boolean | number | bigint | string | Json[] | { [key: string]: Json }
export type JsonObject = { [key: string]: Json }

type SourceReviver = (this: object, key: string, value: unknown, context: { source?: string }) => unknown
const parse = JSON.parse as (text: string, reviver?: SourceReviver) => unknown
const rawJson = (JSON as unknown as { rawJSON: (text: string) => object }).rawJSON

const LONG_DIGITS = /\d{16}/
const PYTHON_NUMBER = /NaN|Infinity/
const INTEGER = /^-?\d+$/

/**
 * Reads JSON as Python writes it: bare `NaN` and `Infinity` become null, integers beyond 2^53 become bigint.
 * @throws SyntaxError as JSON.parse
 */
export function parseJson(text: string): Json {
  const clean = PYTHON_NUMBER.test(text) ? withoutPythonNumbers(text) : text
  return (LONG_DIGITS.test(clean) ? parse(clean, keepLongIntegers) : parse(clean)) as Json
}

/** undefined: it is no JSON. */
export function tryJson(text: string, read = parseJson): Json | undefined {
  try {
    return read(text)
  } catch {
    return undefined
  }
}

/** Strings are skipped whole, by hand: a pattern for them overflows on texts of some megabytes. */
function withoutPythonNumbers(text: string): string {
  let clean = ''
  let from = 0
  for (let quote = text.indexOf('"'); from < text.length; quote = text.indexOf('"', from)) {
    const end = quote < 0 ? text.length : quote
    clean += text.slice(from, end).replace(/-?\bInfinity\b|\bNaN\b/g, 'null')
    if (quote < 0) break
    let close = quote + 1
    while (close < text.length && text.charCodeAt(close) !== 0x22) close += text.charCodeAt(close) === 0x5c ? 2 : 1
    clean += text.slice(quote, close + 1)
    from = close + 1
  }
  return clean
}

function keepLongIntegers(_key: string, value: unknown, { source }: { source?: string }) {
  if (typeof value !== 'number' || Number.isSafeInteger(value) || source === undefined) return value
  return INTEGER.test(source) ? BigInt(source) : value
}

/** Whole numbers that Python wrote as floats (`1.0`), by what holds them: it shows them so when it speaks of them. */
const wholeFloats = new WeakMap<object, Set<string>>()
export const isWholeFloat = (holder: object, key: string) => wholeFloats.get(holder)?.has(key) === true

/** As `parseJson`, and remembers which whole numbers were floats; `writeJson` writes them as such again. */
export function parseJsonWithFloats(text: string): Json {
  const clean = PYTHON_NUMBER.test(text) ? withoutPythonNumbers(text) : text
  return parse(clean, function (this: object, key, value, context) {
    if (typeof value !== 'number' || context.source === undefined) return value
    if (Number.isInteger(value) && !INTEGER.test(context.source)) {
      const keys = wholeFloats.get(this)
      if (keys) keys.add(key)
      else wholeFloats.set(this, new Set([key]))
      return value
    }
    return keepLongIntegers(key, value, context)
  }) as Json
}

/** Writes JSON with bigints as plain integers; the opposite of `parseJson`. */
export function writeJson(value: unknown, indent?: number): string {
  return JSON.stringify(
    value,
    function (this: object, key, item) {
      if (typeof item === 'bigint') return rawJson(item.toString())
      if (typeof item === 'number' && isWholeFloat(this, key)) return rawJson(item.toFixed(1))
      return item
    },
    indent,
  )
}

export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Whether a value is nested no deeper than can be walked by a function that calls itself. */
export const walkable = (value: Json, depth = 100): boolean =>
  typeof value !== 'object' ||
  value === null ||
  (depth > 0 && Object.values(value).every((it) => walkable(it, depth - 1)))
