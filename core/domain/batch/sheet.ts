import type { Sentence } from '../../contract/batch.ts'
import type { Cells } from './table.ts'
import { warning } from './words.ts'

/** The parts of an XLSX file that hold text, by their path in it. */
export type Parts = (path: string) => string | undefined

export interface SheetPlace {
  readonly name: string
  readonly path: string
}

// Office Open XML (ECMA-376), the parts a table needs; elements may carry a namespace prefix.
const element = (name: string) =>
  new RegExp(`<(?:\\w+:)?${name}\\b([^>]*?)(?:/>|>([\\s\\S]*?)</(?:\\w+:)?${name}>)`, 'g')
const SHEET = /<(?:\w+:)?sheet\b([^>]*?)\/?>/g
const RELATIONSHIP = /<(?:\w+:)?Relationship\b([^>]*?)\/?>/g
const NUMBER_FORMAT = /<(?:\w+:)?numFmt\b([^>]*?)\/?>/g
const CELL_FORMAT = /<(?:\w+:)?xf\b([^>]*?)\/?>/g

const VALUE = new RegExp(element('v').source)
const FORMULA = /<(?:\w+:)?f\b/
const ROWS = element('row')
const CELLS = element('c')
const ITEMS = element('si')
const TEXTS = element('t')
const READING_AIDS = element('rPh')

const attributeOf = new Map<string, RegExp>()
function attribute(attributes: string, name: string): string | undefined {
  const pattern = attributeOf.get(name) ?? new RegExp(`(?:^|[\\s:])${name}\\s*=\\s*(?:"([^"]*)"|'([^']*)')`)
  attributeOf.set(name, pattern)
  const found = pattern.exec(attributes)
  return found ? plainText(found[1] ?? found[2] ?? '') : undefined
}

const ENTITIES: Record<string, string> = { lt: '<', gt: '>', amp: '&', quot: '"', apos: "'" }

function plainText(xml: string): string {
  if (!/[&_<]/.test(xml)) return xml
  return xml
    .replace(/<!\[CDATA\[([\s\S]*?)\]\]>/g, (_, text: string) => text.replace(/&/g, '&amp;'))
    .replace(/&(?:#x([0-9a-f]+)|#(\d+)|(\w+));/gi, (whole, hex?: string, decimal?: string, name?: string) => {
      if (name) return ENTITIES[name] ?? whole
      const code = hex ? Number.parseInt(hex, 16) : Number(decimal)
      return code <= 0x10ffff ? String.fromCodePoint(code) : whole
    })
    .replace(/_x([0-9a-f]{4})_/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
}

/** The text of a string item or inline string: its runs joined, without the reading aids (`rPh`) of East Asian text. */
function stringOf(xml: string): string {
  let text = ''
  for (const [, , inner = ''] of xml.replace(READING_AIDS, '').matchAll(TEXTS)) text += plainText(inner)
  return text.replace(/\r\n?/g, '\n')
}

/** The sheets of a workbook, in their order. */
export function findSheets(part: Parts): SheetPlace[] {
  const targets = new Map<string, string>()
  for (const [, attributes = ''] of (part('xl/_rels/workbook.xml.rels') ?? '').matchAll(RELATIONSHIP)) {
    const target = attribute(attributes, 'Target') ?? ''
    targets.set(attribute(attributes, 'Id') ?? '', target.startsWith('/') ? target.slice(1) : `xl/${target}`)
  }
  const sheets: SheetPlace[] = []
  for (const [, attributes = ''] of (part('xl/workbook.xml') ?? '').matchAll(SHEET)) {
    const path = targets.get(attribute(attributes, 'id') ?? '')
    if (path?.includes('worksheets/')) sheets.push({ name: attribute(attributes, 'name') ?? '', path })
  }
  return sheets
}

/** Every cell of a sheet as text: formulas by the value stored with them, dates as 2026-11-21, errors as they show. */
export function readSheet(part: Parts, path: string, maxRows: number): Cells {
  const strings: string[] = []
  for (const [, , inner = ''] of (part('xl/sharedStrings.xml') ?? '').matchAll(ITEMS)) strings.push(stringOf(inner))
  const isDate = dateFormats(part('xl/styles.xml') ?? '')
  const isFrom1904 = /<(?:\w+:)?workbookPr\b[^>]*\bdate1904\s*=\s*"(?:1|true)"/.test(part('xl/workbook.xml') ?? '')
  const rows: string[][] = []
  const unknown: string[] = []
  const long: string[] = []
  let number = 0
  for (const [, attributes = '', inner = ''] of (part(path) ?? '').matchAll(ROWS)) {
    number = Number(attribute(attributes, 'r')) || number + 1
    if (number > maxRows) {
      if (inner.includes('<')) rows.push(['…'])
      if (rows.length > maxRows) break
      continue
    }
    while (rows.length < number - 1) rows.push([])
    const row: string[] = []
    for (const [, cell = '', content = ''] of inner.matchAll(CELLS)) {
      const address = attribute(cell, 'r')
      const column = address ? columnOf(address) : row.length
      if (column > 16_383) continue
      const { 2: value } = VALUE.exec(content) ?? []
      if (value === undefined && FORMULA.test(content)) unknown.push(address ?? '?')
      while (row.length < column) row.push('')
      const type = attribute(cell, 't') ?? 'n'
      if (type === 'inlineStr') row[column] = stringOf(content)
      else if (value === undefined) row[column] = ''
      else if (type === 's') row[column] = strings[Number(value)] ?? ''
      else if (type === 'b') row[column] = value === '1' ? 'TRUE' : 'FALSE'
      else if (type !== 'n') row[column] = plainText(value)
      else if (isDate(Number(attribute(cell, 's') ?? 0))) row[column] = dateText(Number(value), isFrom1904)
      else {
        if (Math.abs(Number(value)) >= 1e15) long.push(address ?? '?')
        row[column] = numberText(value)
      }
    }
    rows[number - 1] = row
  }
  const notes: Sentence[] = []
  if (unknown.length > 0) notes.push(warning('table.no-stored-value', { cells: listed(unknown) }))
  if (long.length > 0) notes.push(warning('table.long-number', { cells: listed(long) }))
  return { rows, notes }
}

const listed = (addresses: readonly string[]) =>
  addresses.length > 5 ? `${addresses.slice(0, 5).join(', ')} … (+${addresses.length - 5})` : addresses.join(', ')

/** `AB12` → 27. */
function columnOf(address: string): number {
  let column = 0
  for (const letter of /^[A-Z]*/i.exec(address)![0].toUpperCase()) column = column * 26 + letter.charCodeAt(0) - 64
  return Math.max(column - 1, 0)
}

/** As Excel shows it: 15 digits, so 0.1 + 0.2 is 0.3; whole numbers in full. */
function numberText(value: string): string {
  const number = Number(value)
  if (!Number.isFinite(number)) return plainText(value)
  if (Math.abs(number) >= 1e15) return Number.isInteger(number) ? BigInt(number).toString() : String(number)
  return String(Number(number.toPrecision(15)))
}

const BUILT_IN_DATES = [
  [14, 22],
  [27, 36],
  [45, 47],
  [50, 58],
] as const

function dateFormats(styles: string): (style: number) => boolean {
  const custom = new Map<number, boolean>()
  for (const [, attributes = ''] of styles.matchAll(NUMBER_FORMAT)) {
    const code = (attribute(attributes, 'formatCode') ?? '').replace(/"[^"]*"|\[(?![hms]+\])[^\]]*\]|\\.|_.|\*./gi, '')
    custom.set(Number(attribute(attributes, 'numFmtId')), /[ymdhs]/i.test(code) && !/general/i.test(code))
  }
  const { 2: formats = '' } = element('cellXfs').exec(styles) ?? []
  const areDates = [...formats.matchAll(CELL_FORMAT)].map(([, attributes = '']) => {
    const id = Number(attribute(attributes, 'numFmtId') ?? 0)
    return custom.get(id) ?? BUILT_IN_DATES.some(([from, to]) => id >= from && id <= to)
  })
  return (style) => areDates[style] ?? false
}

const DAY_MS = 86_400_000

/** Days since 1899-12-30, or 1904-01-01, as date, time or both. */
function dateText(days: number, isFrom1904: boolean): string {
  if (!Number.isFinite(days) || Math.abs(days) > 3_000_000) return String(days)
  const text = new Date(Math.round(days * 86_400) * 1000 + (isFrom1904 ? Date.UTC(1904, 0, 1) : Date.UTC(1899, 11, 30)))
    .toISOString()
    .slice(0, 19)
  const [date, time] = text.split('T') as [string, string]
  if (days < 1 && days >= 0) return time
  return (days * DAY_MS) % DAY_MS < 500 ? date : `${date} ${time}`
}
