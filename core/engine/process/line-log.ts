import { readFile } from 'node:fs/promises'
import { StringDecoder } from 'node:string_decoder'
import type { LogLine } from '../../contract/engine.ts'
import { hideSecrets, RotatingFile } from '../log.ts'
import { plain } from './startup.ts'

export interface LogQuery {
  /** Only lines that hold it, whatever the case. */
  search?: string
  /** Only lines with a smaller, or larger, `n`. */
  before?: number
  after?: number
  limit: number
}

const ROTATE_AT_BYTES = 3 * 1024 * 1024
const IN_MEMORY = 300
const LONGEST_LINE = 4_000
/** What a second may write; more is counted and left out, so that a flood costs neither disk nor attention. */
const BYTES_A_SECOND = 1024 * 1024
const LAST_WORDS_BYTES = 8 * 1024
const CUT = '…'

/** What a process says, line by line, kept in a few files that never grow beyond a bound. */
export class LineLog {
  readonly #file: RotatingFile
  readonly #now: () => number
  readonly #last: string[] = []
  #n: number | null = null
  #second = 0
  #written = 0
  #leftOut = 0

  constructor(file: string, { now, rotateAtBytes = ROTATE_AT_BYTES }: { now: () => number; rotateAtBytes?: number }) {
    this.#file = new RotatingFile(file, { rotateAtBytes })
    this.#now = now
  }

  /** Continues the count of the files that are there. */
  async open() {
    if (this.#n !== null) return
    const [latest] = await this.read({ limit: 1 })
    this.#n ??= latest?.n ?? 0
  }

  get n() {
    return this.#n ?? 0
  }

  /** The newest lines, without times; at most 300. */
  lastLines(count: number): string[] {
    return this.#last.slice(-count)
  }

  /** A stream of bytes as its lines; each is given to `hear` too, unless a flood left it out. */
  reader(hear: (line: string) => void): { write(chunk: Buffer): void; end(): void } {
    const decoder = new StringDecoder('utf8')
    let rest = ''
    const take = (text: string) => {
      const lines = (rest + text).split('\n')
      rest = lines.pop()!
      if (rest.length > LONGEST_LINE) rest = afterReturn(rest).slice(0, LONGEST_LINE)
      const whole = lines.map((line) => clip(afterReturn(line.endsWith('\r') ? line.slice(0, -1) : line)))
      this.#keep(whole)
      for (const line of whole) hear(line)
    }
    return {
      write: (chunk) => {
        if (!this.#floods(chunk.length)) return take(decoder.write(chunk))
        const newline = chunk.lastIndexOf(10)
        if (newline < 0) {
          rest = (rest + chunk.toString('utf8')).slice(0, LONGEST_LINE)
          return
        }
        this.#leftOut += countLines(chunk)
        // its last words may tell why it ends
        const words = (rest + chunk.toString('utf8', Math.max(0, newline - LAST_WORDS_BYTES), newline)).split('\n')
        this.#remember(words.map((line) => clip(afterReturn(line))))
        rest = chunk.toString('utf8', newline + 1)
      },
      end: () => {
        take(decoder.end())
        if (rest.trim() !== '') take('\n')
      },
    }
  }

  /** A line of ours. */
  note(text: string) {
    this.#keep([text])
  }

  /** The newest that fit, in the order they were said; with `after`, the oldest. */
  async read({ search, before = Number.POSITIVE_INFINITY, after, limit }: LogQuery): Promise<LogLine[]> {
    const wanted = search?.toLowerCase()
    const fits = ({ n, text }: LogLine) =>
      n < before && n > (after ?? -1) && (!wanted || text.toLowerCase().includes(wanted))
    let found: LogLine[] = []
    const files = after === undefined ? this.#file.files().toReversed() : this.#file.files()
    for (const file of files) {
      if (found.length >= limit) break
      const text = await readFile(file, 'utf8').catch(() => '')
      const lines = text.split('\n').flatMap(readLine).filter(fits)
      found = after === undefined ? [...lines, ...found].slice(-limit) : [...found, ...lines].slice(0, limit)
    }
    return found
  }

  close() {
    this.#tellLeftOut()
    this.#file.close()
  }

  #floods(bytes: number): boolean {
    const second = Math.floor(this.#now() / 1000)
    if (second !== this.#second) {
      this.#second = second
      this.#written = 0
      this.#tellLeftOut()
    }
    this.#written += bytes
    return this.#written > BYTES_A_SECOND
  }

  #tellLeftOut() {
    if (this.#leftOut === 0) return
    const count = this.#leftOut
    this.#leftOut = 0
    this.#keep([`${CUT} ${count} lines left out: too many at once ${CUT}`])
  }

  #keep(lines: readonly string[]) {
    if (lines.length === 0) return
    const at = new Date(this.#now()).toISOString()
    let text = ''
    let n = this.#n ?? 0
    for (const line of lines) text += `${++n} ${at} ${plain(line)}\n`
    this.#n = n
    this.#remember(lines)
    this.#file.write(hideSecrets(text))
  }

  #remember(lines: readonly string[]) {
    this.#last.push(...lines.slice(-IN_MEMORY))
    if (this.#last.length > IN_MEMORY) this.#last.splice(0, this.#last.length - IN_MEMORY)
  }
}

/** What a bar that draws over itself shows at the end. */
function afterReturn(line: string): string {
  const at = line.lastIndexOf('\r')
  return at < 0 ? line : line.slice(at + 1) || line.slice(line.lastIndexOf('\r', at - 1) + 1, at)
}

const clip = (line: string) => (line.length > LONGEST_LINE ? line.slice(0, LONGEST_LINE) + CUT : line)

function countLines(chunk: Buffer): number {
  let count = 0
  for (let at = chunk.indexOf(10); at >= 0; at = chunk.indexOf(10, at + 1)) count++
  return count
}

function readLine(line: string): LogLine[] {
  const found = /^(\d+) (\S+Z) (.*)$/s.exec(line)
  return found ? [{ n: Number(found[1]), at: Date.parse(found[2]!), text: found[3]! }] : []
}
