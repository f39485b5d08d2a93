import { isJsonObject, isWholeFloat, type Json, type JsonObject } from '../../contract/json.ts'

/** Python's way with values, as the server converts, compares and shows them. */

/** What Python would raise; the server turns it into a reason of the node that led here. */
export class PythonError extends Error {
  readonly type: string
  constructor(type: string, message: string) {
    super(message)
    this.type = type
  }
}

export const isNumber = (value: Json | undefined): value is number | bigint =>
  typeof value === 'number' || typeof value === 'bigint'

/** `int(v)`, `float(v)`, `str(v)`, `bool(v)`: lenient in odd ways, as the server is. */
export function convert(type: string | Json[], value: Json): Json {
  if (type === 'INT') return toInt(value)
  if (type === 'FLOAT') return toFloat(value)
  if (type === 'STRING') return str(value)
  if (type === 'BOOLEAN') return isTrue(value)
  return value
}

function toInt(value: Json): number | bigint {
  if (typeof value === 'bigint') return value
  if (typeof value === 'boolean') return Number(value)
  if (typeof value === 'number') {
    const whole = Math.trunc(value)
    return Number.isSafeInteger(whole) ? whole : BigInt(whole)
  }
  if (typeof value !== 'string')
    throw new PythonError(
      'TypeError',
      `int() argument must be a string, a bytes-like object or a real number, not '${pythonTypeName(value)}'`,
    )
  const digits = value.trim()
  if (!/^[+-]?\d+(_\d+)*$/.test(digits))
    throw new PythonError('ValueError', `invalid literal for int() with base 10: ${repr(value)}`)
  const number = BigInt(digits.replaceAll('_', '').replace('+', ''))
  return BigInt.asIntN(54, number) === number ? Number(number) : number
}

function toFloat(value: Json): number {
  if (isNumber(value) || typeof value === 'boolean') return Number(value)
  if (typeof value !== 'string')
    throw new PythonError(
      'TypeError',
      `float() argument must be a string or a real number, not '${pythonTypeName(value)}'`,
    )
  const text = value.trim().replace(/(?<=\d)_(?=\d)/g, '')
  if (/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text)) return Number(text)
  if (/^[+-]?inf(inity)?$/i.test(text)) return text.startsWith('-') ? -Infinity : Infinity
  if (/^[+-]?nan$/i.test(text)) return Number.NaN
  throw new PythonError('ValueError', `could not convert string to float: ${repr(value)}`)
}

export function isTrue(value: Json): boolean {
  if (Array.isArray(value)) return value.length > 0
  if (isJsonObject(value)) return Object.keys(value).length > 0
  return Boolean(value)
}

/** `<` and `>` as Python has them: of numbers and booleans; anything else it refuses. @throws PythonError */
export function compare(value: Json, sign: '<' | '>', limits: JsonObject, key: string): boolean {
  const limit = limits[key]!
  const numbers = [value, limit].map((each) => (typeof each === 'boolean' ? Number(each) : each))
  const [a, b] = numbers
  if (isNumber(a) && isNumber(b)) return sign === '<' ? a < b : a > b
  const bound = isWholeFloat(limits, key) ? 'float' : pythonTypeName(limit)
  const types = `'${pythonTypeName(value)}' and '${bound}'`
  throw new PythonError('TypeError', `'${sign}' not supported between instances of ${types}`)
}

/** A member as Python shows it, a float as a float. */
export const strIn = (holder: JsonObject | Json[], key: string | number): string => {
  const value = (holder as JsonObject)[key]!
  return isWholeFloat(holder, String(key)) ? float(value as number) : repr(value)
}

export const str = (value: Json): string => (typeof value === 'string' ? value : repr(value))

/** What Python does not print as it is: controls, formats, separators but the space, surrogates, what is unassigned. */
const UNPRINTABLE = /(?! )[\p{C}\p{Z}]/gu

/** A value as Python shows it: 'text', True, None, [1, 2]. */
export function repr(value: Json): string {
  if (value === null) return 'None'
  if (typeof value === 'boolean') return value ? 'True' : 'False'
  if (typeof value === 'bigint') return value.toString()
  if (typeof value === 'number') return Number.isInteger(value) ? value.toString() : float(value)
  if (typeof value === 'string') {
    const quote = value.includes("'") && !value.includes('"') ? '"' : "'"
    const escaped = value
      .replaceAll('\\', '\\\\')
      .replaceAll('\n', '\\n')
      .replaceAll('\r', '\\r')
      .replaceAll('\t', '\\t')
      .replace(UNPRINTABLE, (character) => {
        const code = character.codePointAt(0)!
        if (code < 0x100) return `\\x${code.toString(16).padStart(2, '0')}`
        return code < 0x10000 ? `\\u${code.toString(16).padStart(4, '0')}` : `\\U${code.toString(16).padStart(8, '0')}`
      })
    return quote + (quote === "'" ? escaped.replaceAll("'", "\\'") : escaped) + quote
  }
  if (Array.isArray(value)) return `[${value.map((_, at) => strIn(value, at)).join(', ')}]`
  return `{${Object.entries(value)
    .map(([key]) => `${repr(key)}: ${strIn(value, key)}`)
    .join(', ')}}`
}

export function float(value: number | bigint): string {
  const number = Number(value)
  if (!Number.isFinite(number)) return String(number).toLowerCase().replace('infinity', 'inf')
  const text = String(number)
  const scientific = text.includes('e') || (Math.abs(number) >= 1e16 && number !== 0)
  if (scientific) return (text.includes('e') ? text : number.toExponential()).replace(/e([+-])(\d)$/, 'e$10$2')
  if (Math.abs(number) < 1e-4 && number !== 0) return number.toExponential().replace(/e-(\d)$/, 'e-0$1')
  return Number.isInteger(number) ? `${text}.0` : text
}

export function pythonTypeName(value: Json): string {
  if (value === null) return 'NoneType'
  if (Array.isArray(value)) return 'list'
  if (typeof value === 'bigint') return 'int'
  // as JSON has it: 1e21 and beyond are written with an exponent
  if (typeof value === 'number') return Number.isInteger(value) && Math.abs(value) < 1e21 ? 'int' : 'float'
  return { string: 'str', boolean: 'bool', object: 'dict' }[typeof value as 'string' | 'boolean' | 'object']
}

/** `==` as Python has it: 1 is 1.0 and True, but never "1". */
export function equal(a: Json, b: Json): boolean {
  if (a === b) return true
  if (Array.isArray(a) && Array.isArray(b))
    return a.length === b.length && a.every((item, index) => equal(item, b[index]!))
  const number = (value: Json) => (typeof value === 'boolean' ? Number(value) : isNumber(value) ? value : undefined)
  const [x, y] = [number(a), number(b)]
  // biome-ignore lint/suspicious/noDoubleEquals: a bigint equals the number of the same worth only this way
  return x !== undefined && y !== undefined && x == y
}
