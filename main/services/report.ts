import sharp, { type OverlayOptions } from 'sharp'
import type { Values } from '../../core/contract/batch.ts'
import { type Json, writeJson } from '../../core/contract/json.ts'
import type { Artifacts } from './artifacts.ts'
import type { Queue } from './queue.ts'

type Deps = { queue: Queue; artifacts: Artifacts }
type Text = { name: string; mediaType: string; base64: string }
/** One job as the report tells it. */
type Line = {
  row: number
  job: string
  state: string
  /** By the names people know: a table's columns, then parameters. */
  values: Record<string, Json>
  seeds: Record<string, Json>
  files: string[]
  seconds: number | null
  worker: string | null
  attempts: number
  failure: string | null
}

/** What became of a batch, on paper. */
export class Report {
  readonly #deps: Deps
  constructor(deps: Deps) {
    this.#deps = deps
  }

  async table(batchId: string, as: 'csv' | 'json'): Promise<Text> {
    const { name } = this.#deps.queue.batch(batchId)
    const lines = await this.#lines(batchId)
    const text = as === 'csv' ? csvOf(lines) : writeJson({ batch: batchId, name, jobs: lines }, 2)
    const mediaType = as === 'csv' ? 'text/csv' : 'application/json'
    return { name: `${fileName(name)}.${as}`, mediaType, base64: Buffer.from(text).toString('base64') }
  }

  async #lines(batchId: string): Promise<Line[]> {
    const { queue, artifacts } = this.#deps
    const { parameters, plan } = queue.batchOf(batchId)
    const names = new Map(parameters.map(({ key, name }) => [key, plan.columns[key] ?? plan.columns[name] ?? name]))
    const named = (values: Values) =>
      Object.fromEntries(Object.entries(values).map(([key, value]) => [names.get(key) ?? key, value]))
    const lines: Line[] = []
    for (let offset = 0; ; offset += 200) {
      const { rows } = queue.page({ batchId, offset, limit: 200 })
      for (const { id, row, state, workerId, attempts, failure } of rows) {
        const { overrides, extra } = queue.job(id)
        const made = artifacts.ofJob(id)
        lines.push({
          row,
          job: id,
          state,
          values: { ...extra, ...named(overrides) },
          seeds: named(made?.seeds ?? {}),
          files: made?.names ?? [],
          seconds: made?.seconds ?? null,
          worker: workerId,
          attempts,
          failure: failure?.message ?? null,
        })
      }
      if (rows.length < 200) return lines
      await new Promise(setImmediate) // others have their turn between two pages
    }
  }

  /** One PNG: each picture small, its row and name below it. A long batch shows its first pictures and says so. */
  async contactSheet(batchId: string): Promise<Text> {
    const { queue, artifacts } = this.#deps
    const { name } = queue.batch(batchId)
    const { total } = artifacts.page({ batchId, limit: 1 })
    const count = Math.min(total, MOST_PICTURES)
    const rowCount = Math.max(1, Math.ceil(count / COLUMNS))
    const width = GAP + Math.min(COLUMNS, Math.max(count, 3)) * (CELL + GAP)
    const height = HEAD + rowCount * (CELL + CAPTION + GAP)
    const pictures: OverlayOptions[] = []
    const texts: string[] = []
    let place = 0
    for (const artifact of artifacts.ofBatch(batchId)) {
      if (place === count) break
      const left = GAP + (place % COLUMNS) * (CELL + GAP)
      const top = HEAD + Math.floor(place / COLUMNS) * (CELL + CAPTION + GAP)
      const small = await artifacts.thumbnail(artifact.id, CELL)
      if (small) {
        const { width: w = CELL, height: h = CELL } = await sharp(small).metadata()
        pictures.push({ input: Buffer.from(small), left: left + ((CELL - w) >> 1), top: top + ((CELL - h) >> 1) })
      } else {
        texts.push(`<rect x="${left}" y="${top}" width="${CELL}" height="${CELL}" fill="#8884" rx="6"/>`)
        texts.push(line(left + CELL / 2, top + CELL / 2, artifact.mediaType, 'font-size="16" text-anchor="middle"'))
      }
      const file = artifact.name.split('/').at(-1)!
      texts.push(line(left, top + CELL + 18, fitted(`${artifact.row} · ${artifact.label}`), 'font-weight="bold"'))
      texts.push(line(left, top + CELL + 36, fitted(file), 'fill="#555"'))
      place += 1
    }
    const shown = place < total ? `1–${place} / ${total}` : `${total}`
    const title = `${name}  ·  ${shown}`
    const head = line(GAP, 38, fitted(title, Math.floor(width / 13)), 'font-size="22" font-weight="bold"')
    const words = `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}"
      font-family="${FONTS}" font-size="13" fill="#111">${head}${texts.join('')}</svg>`
    const bytes = await sharp({ create: { width, height, channels: 3, background: '#ffffff' } })
      .composite([...pictures, { input: Buffer.from(words), left: 0, top: 0 }])
      .png()
      .toBuffer()
    return { name: `${fileName(name)}.png`, mediaType: 'image/png', base64: bytes.toString('base64') }
  }
}

const MOST_PICTURES = 200
const COLUMNS = 5
const CELL = 256
const CAPTION = 44
const GAP = 16
const HEAD = 64
const FONTS = "'Noto Sans CJK SC','Source Han Sans SC','Microsoft YaHei','PingFang SC','WenQuanYi Micro Hei',sans-serif"

const fileName = (name: string) =>
  name
    // biome-ignore lint/suspicious/noControlCharactersInRegex: names may not hold them
    .replace(/[\u0000-\u001f\\/:*?"<>|]+/g, '_')
    .slice(0, 80)
    .replace(/[. ]+$/, '') || 'batch'

const ENTITIES: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' }
const line = (x: number, y: number, text: string, more: string) =>
  `<text x="${x}" y="${y}" ${more}>${text.replace(/[&<>"]/g, (sign) => ENTITIES[sign]!)}</text>`

/** Cut to about `halves` half-widths, as wide as a cell; Chinese and Japanese characters take two. */
function fitted(text: string, halves = 34): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: XML cannot hold them
  const clean = text.replace(/[\s\u0000-\u001f\ufffe\uffff]+/gu, ' ').replace(/\p{Cs}/gu, '')
  let left = halves
  let fits = ''
  for (const sign of clean) {
    left -= sign.codePointAt(0)! >= 0x1100 ? 2 : 1
    if (left < 0) return `${fits}…`
    fits += sign
  }
  return fits
}

const BYTE_ORDER_MARK = '\ufeff' // Excel reads UTF-8 only behind one
function csvOf(lines: readonly Line[]): string {
  const columns = [...new Set(lines.flatMap(({ values }) => Object.keys(values)))]
  const seeds = [...new Set(lines.flatMap((each) => Object.keys(each.seeds)))].filter((name) => !columns.includes(name))
  const head = ['row', 'job', 'state', ...columns, ...seeds, 'files', 'seconds', 'worker', 'attempts', 'failure']
  const rows = lines.map((each) => [
    each.row,
    each.job,
    each.state,
    // a seed is told as it was used, not as the −1 that asked for one
    ...columns.map((name) => each.seeds[name] ?? each.values[name]),
    ...seeds.map((name) => each.seeds[name]),
    each.files.join('\n'),
    each.seconds,
    each.worker,
    each.attempts,
    each.failure,
  ])
  return BYTE_ORDER_MARK + [head, ...rows].map((cells) => `${cells.map(cellOf).join(',')}\r\n`).join('')
}

function cellOf(value: Json | undefined): string {
  if (value === null || value === undefined) return ''
  if (typeof value === 'number' || typeof value === 'boolean') return String(value)
  const text = typeof value === 'string' ? value : writeJson(value)
  // a spreadsheet would run it as a formula
  const safe = /^[=+\-@\t\r]/.test(text) && !/^[+-]?\d+(\.\d+)?$/.test(text) ? `'${text}` : text
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe
}
