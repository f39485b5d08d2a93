import { type FileHandle, open, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { z } from 'zod'
import { parseJson } from '../../contract/json.ts'
import { syncFolder } from './disk.ts'
import { Spans } from './spans.ts'

const MIB = 1 << 20
const MOST_BLOCKS = 1 << 16
const MOST_SOURCES = 1000
const Place = z.int().nonnegative()
const SourceIndex = Place.max(MOST_SOURCES)

/** What the bytes in a `.part` are of, and who gave them. The first line of its journal. */
export const Kept = z.object({
  v: z.literal(1),
  sizeBytes: z.int().nonnegative(),
  /** null: only the source that began it can continue it, as long as its mark is the same. */
  sha256: z.string().nullable(),
  blockBytes: z.int().min(MIB),
  /** Of this start of the machine: after a power cut only what was synced counts. */
  boot: z.string(),
  /** No address, which may hold a secret: a hash of it. */
  sources: z.array(z.object({ key: z.string(), etag: z.string().nullable() })),
})
export type Kept = z.infer<typeof Kept>

const Line = z.union([
  z.tuple([z.literal('wrote'), Place, Place, SourceIndex]),
  z.tuple([z.literal('lost'), Place, Place]),
  /** crc32 of whole blocks, from the first one on. */
  z.tuple([z.literal('read'), Place, z.array(Place)]),
  z.tuple([z.literal('source'), SourceIndex, z.object({ key: z.string(), etag: z.string().nullable() })]),
  /** So many of the lines that say `wrote` are on disk for good, and what they say is. */
  z.tuple([z.literal('synced'), Place]),
])
type Line = z.infer<typeof Line>

export interface Continued {
  readonly kept: Kept
  readonly have: Spans
  readonly checks: Uint32Array
}

export const journalOf = (part: string) => `${part}.json`

/** What an earlier run left; null: nothing that can be trusted. */
export async function readJournal(part: string, boot: string): Promise<Continued | null> {
  const [text, file] = await Promise.all([
    readFile(journalOf(part), 'utf8').catch(() => null),
    stat(part).catch(() => null),
  ])
  if (text === null || !file) return null
  const lines = text.split('\n')
  const first = Kept.safeParse(jsonOf(lines[0]!))
  if (!first.success || file.size > first.data.sizeBytes) return null
  const kept = { ...first.data, sources: [...first.data.sources] }
  const blocks = Math.ceil(kept.sizeBytes / kept.blockBytes)
  if (blocks > MOST_BLOCKS) return null
  const checks = new Uint32Array(blocks)
  const have = new Spans()
  const parsed = lines.slice(1, -1).map((line) => Line.safeParse(jsonOf(line))) // what follows the last line end was cut off
  const marks = parsed.flatMap(({ data: line }) => (line?.[0] === 'synced' ? [line[1]] : []))
  let trusted = boot === kept.boot && boot !== '' ? Number.POSITIVE_INFINITY : Math.max(0, ...marks)
  for (const { data: line } of parsed) {
    if (!line || (line[0] === 'wrote' && trusted-- <= 0)) continue
    if (line[0] === 'wrote') have.add(line[1], Math.min(line[2], kept.sizeBytes), line[3])
    else if (line[0] === 'lost') have.remove(line[1], line[2])
    else if (line[0] === 'source') kept.sources[line[1]] = line[2]
    else if (line[0] === 'read' && line[1] < blocks) checks.set(line[2].slice(0, blocks - line[1]), line[1])
  }
  have.remove(file.size, kept.sizeBytes)
  return { kept, have, checks }
}

/** Begins with what is there; what comes is added to its end, so that a kill costs no more than what was on its way. */
export class Journal {
  #file: FileHandle
  #lines: string[] = []
  #writing: Promise<void> = Promise.resolve()
  private constructor(file: FileHandle, wrote: number) {
    this.#file = file
    this.wrote = wrote
  }

  static async begin(part: string, { kept, have, checks }: Continued): Promise<Journal> {
    const at = journalOf(part)
    const lines: (Kept | Line)[] = [
      kept,
      ...have.runs.map(({ from, to, source }): Line => ['wrote', from, to, source]),
      ['read', 0, [...checks]],
      ['synced', have.runs.length],
    ]
    await writeFile(`${at}.tmp`, lines.map((line) => `${JSON.stringify(line)}\n`).join(''), { flush: true })
    await rename(`${at}.tmp`, at)
    await syncFolder(at)
    return new Journal(await open(at, 'a'), have.runs.length)
  }

  /** How many lines say `wrote`. */
  wrote: number

  note(line: Line) {
    if (line[0] === 'wrote') this.wrote += 1
    this.#lines.push(`${JSON.stringify(line)}\n`)
  }

  /** What was noted so far is in the file, and outlives a kill; with `sync`, a power cut. */
  flush({ sync = false } = {}): Promise<void> {
    this.#writing = this.#writing.then(async () => {
      const text = this.#lines.join('')
      if (text !== '') await this.#file.appendFile(text)
      this.#lines = this.#lines.slice(text.split('\n').length - 1)
      if (sync) await this.#file.datasync()
    })
    const writing = this.#writing
    this.#writing = writing.catch(() => {}) // what could not be written is tried again with the next
    return writing
  }

  async close() {
    await this.#writing
    await this.#file.close()
  }
}

/** Forgets what an earlier run left of a file: its bytes and its journal. */
export async function discard(to: string) {
  await rm(journalOf(`${to}.part`), { force: true })
  await rm(`${to}.part`, { force: true })
}

function jsonOf(line: string): unknown {
  try {
    return parseJson(line)
  } catch {
    return null
  }
}
