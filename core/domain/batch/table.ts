import type { Sentence } from '../../contract/batch.ts'
import { AppError } from '../../contract/errors.ts'
import { warning } from './words.ts'

export const MAX_ROWS = 100_000
/** Notes told one by one; more are summed up. */
const MAX_NOTES = 20

export interface Cells {
  readonly rows: string[][]
  readonly notes: Sentence[]
}

/** The records of a CSV, TSV or semicolon file. A quote that is never properly closed is an ordinary character, so a damaged row cannot swallow the ones after it. */
export function parseDelimited(text: string): Cells {
  const asked = /^sep=([,;\t|])\r?\n/i.exec(text)
  const body = asked ? text.slice(asked[0].length) : text
  const delimiter = asked?.[1] ?? sniffDelimiter(body)
  const rows: string[][] = []
  const notes: Sentence[] = []
  for (const { cells, line, isDamaged } of records(body, delimiter)) {
    rows.push(cells)
    if (isDamaged) notes.push(warning('table.open-quote', { line }))
  }
  return { rows, notes }
}

interface Read {
  cells: string[]
  line: number
  isDamaged: boolean
}

function* records(text: string, delimiter: string): Iterable<Read> {
  const unquotedEnd = new RegExp(`[\\r\\n${delimiter === '|' ? '\\|' : delimiter}]`, 'g')
  let at = 0
  let line = 1
  while (at < text.length) {
    const read: Read = { cells: [], line, isDamaged: false }
    for (;;) {
      const quoted = text[at] === '"' ? quotedCell(text, at, delimiter) : undefined
      if (quoted) {
        read.cells.push(quoted.cell)
        line += quoted.cell.split(/\r\n?|\n/).length - 1
        at = quoted.end
      } else {
        if (text[at] === '"') read.isDamaged = true
        unquotedEnd.lastIndex = at
        const end = unquotedEnd.exec(text)?.index ?? text.length
        read.cells.push(text.slice(at, end))
        at = end
      }
      if (text[at] !== delimiter) break
      at++
    }
    if (text[at] === '\r' && text[at + 1] === '\n') at++
    at++
    line++
    yield read
  }
}

const LONGEST_CELL = 200_000

/** A cell that begins with a quote; undefined when what closes it is not followed by a delimiter or a line's end. */
function quotedCell(text: string, from: number, delimiter: string): { cell: string; end: number } | undefined {
  let cell = ''
  let at = from + 1
  for (;;) {
    const quote = text.indexOf('"', at)
    if (quote < 0 || quote - from > LONGEST_CELL) return undefined
    cell += text.slice(at, quote)
    if (text[quote + 1] !== '"') {
      let end = quote + 1
      while (text[end] === ' ') end++
      const next = text[end]
      return next === undefined || next === delimiter || next === '\n' || next === '\r' ? { cell, end } : undefined
    }
    cell += '"'
    at = quote + 2
  }
}

/** The delimiter that splits the header most often; of equals, the one that splits the next rows as often; none for a single column, whose texts may hold any. */
function sniffDelimiter(text: string): string {
  const head = text.slice(0, 64 * 1024)
  let best = { delimiter: '', columns: 1, alike: 0 }
  for (const delimiter of ['\t', ',', ';', '|']) {
    const counts: number[] = []
    for (const { cells } of records(head, delimiter)) {
      if (cells.length > 1 || cells[0]?.trim()) counts.push(cells.length)
      if (counts.length > 20) break
    }
    const columns = counts[0] ?? 1
    const alike = counts.filter((count) => count === columns).length
    if (columns > best.columns || (columns > 1 && columns === best.columns && alike > best.alike))
      best = { delimiter, columns, alike }
  }
  return best.delimiter
}

/**
 * Header and rows of what was read: every column has a name of its own, every row as many cells as there are columns,
 * empty rows are left out. What was mended is noted with the row's number as the table shows it.
 * @throws AppError 'table.empty', 'table.too-large'
 */
export function tidyTable(name: string, { rows: read, notes: before }: Cells) {
  const notes = [...before]
  const isEmpty = (row: readonly string[]) => row.every((cell) => cell.trim() === '')
  const start = read.findIndex((row) => !isEmpty(row))
  const header = start < 0 ? [] : read[start]!
  const body = read.slice(start + 1)
  while (body.length > 0 && isEmpty(body.at(-1)!)) body.pop()
  if (start < 0 || body.length === 0) throw new AppError('table.empty', { name })
  const filled = body.filter((row) => !isEmpty(row))
  if (filled.length > MAX_ROWS) throw new AppError('table.too-large', { name, limit: MAX_ROWS })
  if (filled.length < body.length) notes.push(warning('table.empty-rows', { count: body.length - filled.length }))

  let width = header.length
  while (width > 1 && header[width - 1]!.trim() === '' && filled.every((row) => !row[width - 1]?.trim())) width--
  const columns = uniqueNames(header.slice(0, width))
  const rows = filled.map((row, at) => {
    const extra = row.slice(width).filter((cell) => cell.trim() !== '')
    if (extra.length > 0)
      notes.push(warning('table.long-row', { row: at + 1, cells: row.length, width, left: short(extra.join(' | ')) }))
    else if (row.length < width) notes.push(warning('table.short-row', { row: at + 1, cells: row.length, width }))
    return Array.from({ length: width }, (_, column) => row[column] ?? '')
  })
  if (notes.length > MAX_NOTES)
    notes.splice(MAX_NOTES, Infinity, warning('table.more-notes', { count: notes.length - MAX_NOTES }))
  return { columns, rows, notes }
}

function uniqueNames(header: readonly string[]): string[] {
  const taken = new Set<string>()
  return header.map((cell, at) => {
    const wanted = cell.replace(/\s+/g, ' ').trim() || `column ${at + 1}`
    let name = wanted
    for (let times = 2; taken.has(name); times++) name = `${wanted} (${times})`
    taken.add(name)
    return name
  })
}

const short = (text: string) => (text.length > 60 ? `${text.slice(0, 59)}…` : text)
