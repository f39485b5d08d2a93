import { buffer } from 'node:stream/consumers'
import { ZipFile } from 'yazl'

export async function zip(files: Record<string, string>): Promise<Buffer> {
  const file = new ZipFile()
  for (const [name, text] of Object.entries(files)) file.addBuffer(Buffer.from(text), name)
  file.end()
  return buffer(file.outputStream)
}
/** An XLSX file of sheets given as their rows’ XML. */
export const workbook = (sheets: Record<string, string>, more: Record<string, string> = {}) =>
  zip({
    'xl/workbook.xml': `<workbook xmlns:r="r"><sheets>${Object.keys(sheets)
      .map((name, at) => `<sheet name="${name}" sheetId="${at + 1}" r:id="rId${at + 1}"/>`)
      .join('')}</sheets></workbook>`,
    'xl/_rels/workbook.xml.rels': `<Relationships>${Object.keys(sheets)
      .map((_, at) => `<Relationship Id="rId${at + 1}" Target="worksheets/sheet${at + 1}.xml"/>`)
      .join('')}</Relationships>`,
    ...Object.fromEntries(
      Object.values(sheets).map((rows, at) => [
        `xl/worksheets/sheet${at + 1}.xml`,
        `<worksheet><sheetData>${rows}</sheetData></worksheet>`,
      ]),
    ),
    'xl/sharedStrings.xml': `<sst><si><t>prompt</t></si><si><r><t>a </t></r><r><t xml:space="preserve">cat &amp; dog</t></r><rPh><t>ネコ</t></rPh></si></sst>`,
    'xl/styles.xml': `<styleSheet><numFmts><numFmt numFmtId="164" formatCode="yyyy\\-mm\\-dd"/></numFmts><cellXfs><xf numFmtId="0"/><xf numFmtId="164"/><xf numFmtId="14"/></cellXfs></styleSheet>`,
    ...more,
  })
