/** What a spreadsheet puts on the clipboard → cells; a quoted cell may hold tabs, line breaks and doubled quotes. */
export function readTsv(text: string): string[][] {
  const rows: string[][] = [[]]
  let cell = ''
  let at = 0
  const endCell = () => {
    rows.at(-1)!.push(cell)
    cell = ''
  }
  const body = text.replace(/\r\n?/g, '\n').replace(/\n$/, '')
  while (at < body.length) {
    const letter = body[at]!
    if (letter === '"' && cell === '') {
      const end = closingQuote(body, at + 1)
      // a quote that never closes, or does not end its cell, is a letter like any other
      if (end !== -1 && (end + 1 === body.length || /[\t\n]/.test(body[end + 1]!))) {
        cell = body.slice(at + 1, end).replaceAll('""', '"')
        at = end + 1
        continue
      }
    }
    if (letter === '\t') endCell()
    else if (letter === '\n') {
      endCell()
      rows.push([])
    } else cell += letter
    at += 1
  }
  endCell()
  return rows
}

function closingQuote(text: string, from: number): number {
  for (let at = from; at < text.length; at += 1) {
    if (text[at] !== '"') continue
    if (text[at + 1] !== '"') return at
    at += 1
  }
  return -1
}

/** Cells → what spreadsheets read back. */
export const writeTsv = (rows: readonly (readonly string[])[]) =>
  rows
    .map((row) => row.map((cell) => (/["\t\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell)).join('\t'))
    .join('\n')

/** `a, b, "c, d"` or one a line → the values. */
export function valuesOf(text: string): string[] {
  const parts = text.includes('\n') ? text.split('\n') : (text.match(/"(?:[^"]|"")*"|[^,，]+/g) ?? [])
  return parts
    .map((part) => part.trim())
    .map((part) => (/^".*"$/s.test(part) ? part.slice(1, -1).replaceAll('""', '"') : part))
    .filter((part) => part !== '')
}
