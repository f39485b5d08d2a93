import { createHash } from 'node:crypto'
import { createReadStream, createWriteStream, lstatSync, type Stats, statSync } from 'node:fs'
import fs from 'node:fs/promises'
import path from 'node:path'
import { pipeline } from 'node:stream/promises'
import { isDeepStrictEqual } from 'node:util'
import { zstdCompressSync, zstdDecompressSync } from 'node:zlib'
import sharp from 'sharp'
import type { z } from 'zod'
import type { Artifact, ArtifactFilter, Sidecar } from '../../core/contract/artifact.ts'
import type { Values } from '../../core/contract/batch.ts'
import type { Prompt } from '../../core/contract/comfyui.ts'
import { AppError } from '../../core/contract/errors.ts'
import { isJsonObject, type Json, parseJson, writeJson } from '../../core/contract/json.ts'
import { artifactName, type NameFacts, nextName } from '../../core/domain/artifact-name.ts'
import { HEAD_BYTES, type Media, mediaOf } from '../../core/domain/media.ts'
import { syncFolder } from '../../core/engine/download/disk.ts'
import { textsIn } from '../../core/engine/metadata/read-file.ts'
import { canStrip, stripTexts } from '../../core/engine/metadata/strip.ts'
import type { Clock } from './clock.ts'
import type { Database } from './database/open.ts'
import type { Made } from './dispatcher.ts'
import type { Service } from './service.ts'
import type { ThumbnailSize, Thumbnails } from './thumbnails.ts'
import type { Output } from './workers/worker.ts'

/** All a name may tell about an output but what only its keeping decides. */
export type JobNames = Omit<NameFacts, 'now' | 'counter' | 'node' | 'output' | 'ext'>
type Deps = {
  database: Database
  thumbnails: Thumbnails
  clock: Clock
  newId: () => string
  /** Nightshift's, for sidecars. */
  version: string
  nameFacts: (made: Made) => JobNames
  point?: (name: string) => void
  log?: (event: string, facts: Record<string, Json>) => void
}
/** What made the outputs of an attempt: a sidecar but for what differs from output to output. */
type MakingRecord = Omit<Sidecar, 'artifact' | 'jobId' | 'batchId' | 'row' | 'promptId' | 'stripped' | 'createdAt'> & {
  label: string
  strip: boolean
}
type Fetched = {
  output: Output
  part: string
  media: Media
  sha256: string
  sizeBytes: number
  width: number | null
  height: number | null
}
type Row = {
  seq: number
  id: string
  prompt_id: string
  job_id: string
  batch_id: string
  row: number
  node: string
  idx: number
  state: 'planned' | 'kept'
  dir: string
  name: string
  place: string
  part: string
  counter: number
  sha256: string
  size_bytes: number
  media_type: string
  kind: Artifact['kind']
  width: number | null
  height: number | null
  rehearsal: 0 | 1
  created_at: number
}
export type ServedFile = {
  status: 200 | 206 | 304 | 416
  headers: Record<string, string>
  stream: NodeJS.ReadableStream | null
}

sharp.cache(false) // an open handle would keep Windows from moving the file

const HASHED_HERE_BYTES = 64 << 20 // larger files are hashed in a thread
const READ_WHOLE_BYTES = 64 << 20
const DICTIONARY_BYTES = 8 << 20 // zstd looks no further back than this at its usual level
const PICTURES = ['image/png', 'image/webp', 'image/jpeg', 'image/gif']

/**
 * Outputs kept as files: each once, none over another. The row is planned (with name and sha256), the whole file gets
 * its name by a link, which fails where a name is taken, and only then is the row kept.
 */
export class Artifacts implements Service {
  readonly #deps: Deps
  readonly #sql: ReturnType<typeof statements>
  /** Begins the names of our temporary files, so that another data folder's are left alone. */
  readonly #mark: string
  readonly #keeping = new Map<string, Promise<Artifact[]>>()
  #dictionary: { promptId: string; text: Buffer } | null = null

  constructor(deps: Deps) {
    this.#deps = deps
    this.#sql = statements(deps.database)
    this.#mark = `.nightshift-${createHash('sha256').update(deps.database.name).digest('hex').slice(0, 8)}-`
  }

  /** Finishes what a crash left planned, and removes temporary files. To be done before anything new is kept. */
  async start() {
    for (const row of this.#sql.planned.all()) {
      if (!(await exists(row.dir))) continue // a drive that is not there: its files may be whole
      try {
        if (await this.#isWhole(row)) this.#commit([await this.#place(row, true)])
        else await this.#unplan(row)
      } catch (cause) {
        this.#log('artifact.not-finished', { id: row.id, reason: String(cause) })
      }
    }
    const inUse = new Set(this.#sql.planned.all().map(({ part }) => part))
    for (const dir of this.#sql.dirs.all()) {
      const names = await fs.readdir(dir).catch(() => null)
      if (!names) continue
      const stale = names.filter((name) => name.startsWith(this.#mark)).map((name) => path.join(dir, name))
      for (const part of stale) if (!inUse.has(part)) await fs.rm(part, { force: true }).catch(() => {})
      this.#sql.removeDir.run(dir)
    }
  }

  async stop() {
    await Promise.allSettled(this.#keeping.values())
  }

  /**
   * The artifacts of a job, all of them kept. Asked again, for the same attempt or a later one, what is kept stays and
   * what is missing is added.
   * @throws AppError disk.full, disk.denied (nothing is lost: ask again), output.*, prompt.no-files, and as `Worker.fetch`
   */
  keep(made: Made): Promise<Artifact[]> {
    const { id } = made.job
    const keeping = this.#keeping.get(id) ?? this.#keep(made).finally(() => this.#keeping.delete(id))
    this.#keeping.set(id, keeping)
    return keeping
  }

  /** The artifacts of a job when all outputs of this attempt are kept; null when the worker must be asked. */
  finished(jobId: string, promptId: string): Artifact[] | null {
    const outputs = this.#sql.outputs.get(promptId)
    const kept = this.#kept(jobId)
    return outputs !== undefined && kept.length >= outputs ? kept.map(toArtifact) : null
  }

  async #keep(made: Made): Promise<Artifact[]> {
    const outputs = withoutRepeats(made.ending.outputs)
    if (outputs.length === 0) throw new AppError('prompt.no-files')
    const dir = made.job.batch.outDir
    const fetched: Fetched[] = []
    const resumed: Row[] = []
    try {
      const rows = new Map(this.#sql.ofJob.all(made.job.id).map((row) => [keyOf(row.node, row.idx), row]))
      for (const [place, output] of outputs.entries()) {
        const row = rows.get(keyOf(output.node, output.index))
        if (row?.state === 'kept') continue
        if (row && (await this.#isWhole(row))) {
          resumed.push(row)
          continue
        }
        if (row) await this.#unplan(row)
        await fs.mkdir(dir, { recursive: true })
        this.#sql.addDir.run(dir)
        const part = path.join(dir, `${this.#mark}${made.attempt.promptId}-${place}.part`)
        fetched.push(await this.#fetch(made, output, part))
      }
      this.#point('downloaded')
      const planned = fetched.length > 0 ? this.#plan(made, outputs.length, fetched) : []
      fetched.length = 0 // from here on the rows know the temporary files
      this.#point('artifact-planned')
      const placed: Row[] = []
      for (const row of resumed) placed.push(await this.#place(row, true))
      for (const row of planned) placed.push(await this.#place(row, false))
      this.#point('before-artifact-commit')
      this.#commit(placed)
      this.#point('after-artifact-commit')
    } catch (cause) {
      for (const { part } of fetched) await fs.rm(part, { force: true }).catch(() => {})
      throw diskError(cause, dir)
    }
    return this.#kept(made.job.id).map(toArtifact)
  }
  #kept(jobId: string) {
    return this.#sql.ofJob.all(jobId).filter(({ state }) => state === 'kept')
  }

  /** The whole output, verified and on the disk, under its temporary name. */
  async #fetch(made: Made, output: Output, part: string): Promise<Fetched> {
    const name = output.is === 'file' ? output.file.filename : 'text.txt'
    try {
      const bytes = output.is === 'file' ? made.worker.fetch(output.file, made.signal) : [Buffer.from(output.text)]
      let { sha256, sizeBytes } =
        (await this.#link(made, output, part)) ?? (await this.#write(bytes, part, made.signal))
      const media = mediaOf(await readHead(part), name)
      const size = await this.#verify(made, { name, part, media, sizeBytes, isFile: output.is === 'file' })
      if (made.job.batch.plan.stripMetadata && output.is === 'file') {
        const stripped = canStrip(media.mediaType) ? stripTexts(await fs.readFile(part), media.mediaType) : null
        if (stripped) ({ sha256, sizeBytes } = await this.#write([stripped], part, made.signal))
        else this.#log('artifact.metadata-stays', { name, mediaType: media.mediaType })
      }
      return { output, part, media, sha256, sizeBytes, ...size }
    } catch (cause) {
      await fs.rm(part, { force: true }).catch(() => {})
      throw cause
    }
  }

  /**
   * The same bytes under another name, where the server is on this machine and the volume too: a night's videos are not
   * there twice. Only a file whose name is the attempt's alone, since another might be written over; and none that is
   * stripped, which would strip the server's.
   */
  async #link({ worker, attempt, job }: Made, output: Output, part: string) {
    if (output.is !== 'file' || job.batch.plan.stripMetadata) return null
    if (!output.file.filename.startsWith(attempt.promptId)) return null
    const file = worker.pathOf?.(output.file) ?? null
    if (file === null || !(await fs.lstat(file).catch(() => null))?.isFile()) return null
    try {
      await fs.rm(part, { force: true })
      await fs.link(file, part)
      const linked = await fs.open(part, 'r+')
      await linked.sync().finally(() => linked.close())
      const { size } = await fs.stat(part)
      return { sha256: await this.#deps.thumbnails.hash(part), sizeBytes: size }
    } catch {
      await fs.rm(part, { force: true }) // writing through it would write over the server's own
      return null // another volume, or one without links: copied as from anywhere
    }
  }

  async #write(bytes: AsyncIterable<Uint8Array> | Iterable<Uint8Array>, part: string, signal: AbortSignal) {
    const sum = createHash('sha256')
    let sizeBytes = 0
    async function* counted() {
      for await (const chunk of bytes) {
        sizeBytes += chunk.length
        if (sizeBytes <= HASHED_HERE_BYTES) sum.update(chunk)
        yield chunk
      }
    }
    // opened first: a fault before the stream had opened it would create the file after it was cleared away
    const file = await fs.open(part, 'w')
    try {
      await file.writeFile(counted(), { signal })
      await file.sync()
    } finally {
      await file.close()
    }
    const sha256 = sizeBytes <= HASHED_HERE_BYTES ? sum.digest('hex') : await this.#deps.thumbnails.hash(part)
    return { sha256, sizeBytes }
  }

  /** @throws AppError 'output.damaged', 'output.foreign' */
  async #verify(
    made: Made,
    {
      name,
      part,
      media,
      sizeBytes,
      isFile,
    }: { name: string; part: string; media: Media; sizeBytes: number; isFile: boolean },
  ) {
    const damaged = (cause?: unknown) => new AppError('output.damaged', { name }, { cause })
    if (isFile && sizeBytes === 0) throw damaged()
    let size: { width: number | null; height: number | null } = { width: null, height: null }
    if (media.kind === 'image') {
      try {
        const { width, height, pageHeight } = await sharp(part).metadata()
        size = { width, height: pageHeight ?? height }
      } catch (cause) {
        if (PICTURES.includes(media.mediaType)) throw damaged(cause)
      }
    }
    if (!['image/png', 'image/webp'].includes(media.mediaType) || sizeBytes > READ_WHOLE_BYTES) return size
    const bytes = await fs.readFile(part)
    if (!isComplete(bytes, media.mediaType)) throw damaged()
    if (isForeign(textsIn(bytes), made)) throw new AppError('output.foreign', { name })
    return size
  }

  /** Takes names and says what will lie there; one commit for all outputs of an attempt. */
  #plan(made: Made, outputs: number, fetched: readonly Fetched[]): Row[] {
    const { job, attempt, worker } = made
    const dir = job.batch.outDir
    const now = this.#deps.clock.now()
    const names = this.#deps.nameFacts(made)
    return this.#deps.database
      .transaction(() => {
        this.#sql.addRecord.run({ promptId: attempt.promptId, batchId: job.batchId, outputs, ...this.#record(made) })
        return fetched.map(({ output, part, media, sha256, sizeBytes, width, height }) => {
          const counter = (this.#sql.lastCounter.get(job.batchId) ?? 0) + 1
          const { node, index } = output
          const facts = { ...names, now: new Date(now), counter, node, output: index + 1, ext: media.ext || 'bin' }
          const name = this.#freeName(dir, artifactName(job.batch.pattern, facts))
          return this.#sql.plan.get({
            id: this.#deps.newId(),
            promptId: attempt.promptId,
            jobId: job.id,
            batchId: job.batchId,
            row: job.row,
            node,
            index,
            dir,
            name,
            place: placeOf(dir, name),
            part,
            counter,
            sha256,
            sizeBytes,
            mediaType: media.mediaType,
            kind: media.kind,
            width,
            height,
            rehearsal: worker.kind === 'rehearsal' ? 1 : 0,
            now,
          })!
        })
      })
      .immediate()
  }

  /** `wanted`, or the next like it that neither a row nor a file has, nor its sidecar's. */
  #freeName(dir: string, wanted: string): string {
    const name = aroundFiles(dir, wanted)
    const isTaken = (candidate: string) =>
      this.#sql.hasPlace.get(placeOf(dir, candidate)) !== undefined || lstat(path.join(dir, candidate)) !== null
    for (let times = 1; ; times++) {
      const candidate = nextName(name, times)
      const described = candidate.endsWith('.json') ? candidate.slice(0, -5) : null // whose sidecar this could be
      if (isTaken(candidate) || isTaken(`${candidate}.json`)) continue
      if (described && this.#sql.hasPlace.get(placeOf(dir, described)) !== undefined) continue
      return candidate
    }
  }

  /** Under its final name, or on its way there with all its bytes. */
  async #isWhole(row: Row): Promise<boolean> {
    return (await this.#holds(pathOf(row), row)) || (await this.#holds(row.part, row))
  }
  async #holds(file: string, { sha256, size_bytes }: Row): Promise<boolean> {
    const stat = await fs.lstat(file).catch(() => null)
    return stat?.isFile() === true && stat.size === size_bytes && (await this.#deps.thumbnails.hash(file)) === sha256
  }

  /** A plan whose bytes are lost: its name is free again. */
  async #unplan(row: Row) {
    await fs.rm(row.part, { force: true })
    this.#sql.unplan.run(row.seq)
  }

  /** Gives the file its final name, or the next one where a name was taken since. `resumed`: it may have it already. */
  async #place(planned: Row, resumed: boolean): Promise<Row> {
    let row = planned
    if (!resumed || !(await this.#holds(pathOf(row), row))) {
      for (;;) {
        const file = pathOf(row)
        await fs.mkdir(path.dirname(file), { recursive: true })
        if (await linkNew(row.part, file, resumed)) {
          await syncFolder(file)
          break
        }
        row = this.#renamed(row)
      }
    }
    await fs.rm(row.part, { force: true })
    this.#point('artifact-placed')
    await this.#writeSidecar(row, resumed)
    return row
  }
  #renamed(row: Row): Row {
    return this.#deps.database
      .transaction(() => {
        const name = this.#freeName(row.dir, row.name)
        return this.#sql.rename.get(name, placeOf(row.dir, name), row.seq)!
      })
      .immediate()
  }

  async #writeSidecar(row: Row, resumed: boolean) {
    const sidecar = this.#sidecarOf(row)
    const file = `${pathOf(row)}.json`
    const part = row.part.replace(/\.part$/, '.json.part')
    await fs.writeFile(part, `${writeJson(sidecar, 2)}\n`)
    if (!(await linkNew(part, file, resumed)) && !(await isSidecarOf(file, row.id))) {
      this.#log('artifact.sidecar-not-written', { id: row.id, reason: 'another file has its name' })
    }
    await fs.rm(part, { force: true })
  }

  /** The files are there: now, and all at once, the rows say so. */
  #commit(rows: readonly Row[]) {
    if (rows.length === 0) return
    this.#deps.database
      .transaction(() => {
        for (const { seq, prompt_id, name } of rows) {
          const { label, overrides, seeds, chosenText } = this.#readRecord(prompt_id)
          const values = [overrides, seeds, chosenText].flatMap((part) => Object.values(part))
          this.#sql.keep.run(seq)
          this.#sql.addWords.run(seq, wordsOf([name, label, ...values.map(textOf)].join(' \n ')))
        }
      })
      .immediate()
  }

  page(filter: z.input<typeof ArtifactFilter> & { offset?: number; limit?: number }): {
    rows: Artifact[]
    total: number
  } {
    const { offset = 0, limit = 100 } = filter
    const where = ["state = 'kept'"]
    const values: (string | number)[] = []
    const also = (sql: string, value: string | number | undefined) => {
      if (value === undefined) return
      where.push(sql)
      values.push(value)
    }
    also('batch_id = ?', filter.batchId)
    also('job_id = ?', filter.jobId)
    also('row = ?', filter.row)
    also('kind = ?', filter.kind)
    const search = filter.search?.trim()
    if (search) {
      const query = queryOf(search)
      if (query) also('seq IN (SELECT rowid FROM artifact_words WHERE artifact_words MATCH ?)', query)
      else also('instr(lower(name), ?) > 0', search.toLowerCase()) // signs that are no words, such as emoji
    }
    const condition = where.join(' AND ')
    const { database } = this.#deps
    const total = database
      .prepare(`SELECT count(*) FROM artifacts WHERE ${condition}`)
      .pluck()
      .get(...values) as number
    const rows = database
      .prepare<unknown[], Row>(
        `SELECT artifacts.* FROM (SELECT seq FROM artifacts WHERE ${condition} ORDER BY seq DESC LIMIT ? OFFSET ?)
         JOIN artifacts USING (seq) ORDER BY seq DESC`,
      )
      .all(...values, limit, offset)
    return { rows: rows.map(toArtifact), total }
  }

  get(id: string): { artifact: Artifact; sidecar: Sidecar } {
    const row = this.#row(id)
    return { artifact: toArtifact(row), sidecar: this.#sidecarOf(row) }
  }

  /** Where they lie. Unknown ids are left out. */
  locate({ ids, jobId }: { ids?: readonly string[]; jobId?: string }): { id: string; path: string }[] {
    const ofJob = jobId === undefined ? [] : this.#sql.ofJob.all(jobId)
    const named = (ids ?? []).map((id) => this.#sql.byId.get(id))
    const rows = [...named, ...ofJob].filter((row) => row?.state === 'kept') as Row[]
    return [...new Map(rows.map((row) => [row.id, { id: row.id, path: pathOf(row) }])).values()]
  }

  /** A batch's artifacts in the order of its rows. */
  *ofBatch(batchId: string): Iterable<Artifact & { row: number; label: string }> {
    let after: [row: number, seq: number] = [Number.MIN_SAFE_INTEGER, 0]
    for (;;) {
      const rows = this.#sql.ofBatch.all(batchId, ...after)
      for (const row of rows) {
        yield { ...toArtifact(row), row: row.row, label: this.#readRecord(row.prompt_id).label }
        after = [row.row, row.seq]
      }
      if (rows.length === 0) return
    }
  }

  /** What a report tells of a job: its files, and what made them. Null: nothing is kept of it. */
  ofJob(jobId: string): { names: string[]; seeds: Values; seconds: number } | null {
    const rows = this.#kept(jobId)
    const [first] = rows
    if (!first) return null
    const { seeds, seconds } = this.#readRecord(first.prompt_id)
    return { names: rows.map(({ name }) => name), seeds, seconds }
  }

  /** What makes the same again: every value used, chosen texts and seeds included; `seeds`: which of them are seeds. */
  rerunFacts(id: string): { jobId: string; batchId: string; sets: Values; seeds: string[] } {
    const { overrides, seeds, chosenText, jobId, batchId } = this.get(id).sidecar
    return { jobId, batchId, sets: { ...overrides, ...chosenText, ...seeds }, seeds: Object.keys(seeds) }
  }

  /** WebP bytes; null for what cannot be shown small (sounds, texts, films …). */
  async thumbnail(id: string, size: ThumbnailSize): Promise<Uint8Array | null> {
    const row = this.#row(id)
    return row.kind === 'image' ? this.#deps.thumbnails.thumbnail(row.sha256, pathOf(row), size) : null
  }

  /** The file for `GET`, whole or one range of it. @throws AppError 'artifact.gone' */
  async serve(id: string, asked: { range?: string; ifNoneMatch?: string } = {}): Promise<ServedFile> {
    const row = this.#row(id)
    const file = pathOf(row)
    const stat = await fs.stat(file).catch(() => null)
    if (!stat?.isFile()) throw new AppError('artifact.gone', { name: row.name })
    const etag = `"${row.sha256}"`
    const fileName = encodeURIComponent(row.name.split('/').at(-1)!).replace(/'/g, '%27')
    const headers: Record<string, string> = {
      'content-type': row.kind === 'text' ? 'text/plain; charset=utf-8' : row.media_type,
      'content-disposition': `inline; filename*=UTF-8''${fileName}`,
      'content-security-policy': "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:", // an SVG may hold script
      'x-content-type-options': 'nosniff',
      'accept-ranges': 'bytes',
      'cache-control': 'private, max-age=0, must-revalidate',
      etag,
    }
    if (asked.ifNoneMatch === etag) return { status: 304, headers, stream: null }
    const range = rangeOf(asked.range, stat.size)
    if (range === 'unsatisfiable') {
      return { status: 416, headers: { ...headers, 'content-range': `bytes */${stat.size}` }, stream: null }
    }
    const [start, end] = range ?? [0, stat.size - 1]
    headers['content-length'] = String(end - start + 1)
    if (range) headers['content-range'] = `bytes ${start}-${end}/${stat.size}`
    return { status: range ? 206 : 200, headers, stream: createReadStream(file, { start, end: Math.max(end, 0) }) }
  }

  #row(id: string): Row {
    const row = this.#sql.byId.get(id)
    if (row?.state !== 'kept') throw new AppError('app.not-found', { what: `Artifact ${id}` })
    return row
  }

  #sidecarOf(row: Row): Sidecar {
    const { label: _label, strip, ...record } = this.#readRecord(row.prompt_id)
    const { id, node, index, name, sha256, mediaType } = toArtifact(row)
    return {
      artifact: { id, node, index, name, sha256, mediaType },
      jobId: row.job_id,
      batchId: row.batch_id,
      row: row.row,
      promptId: row.prompt_id,
      ...record,
      stripped: strip && canStrip(mediaType),
      createdAt: row.created_at,
    }
  }

  /** The first of a batch is kept whole; later ones hardly differ from it, and take a few hundred bytes. */
  #record({ job, record, worker, ending }: Made): { dictionary: string | null; body: Buffer } {
    const { health } = worker
    const { prompt, workflow, seeds, chosenText } = record
    const making: MakingRecord = {
      nightshift: this.#deps.version,
      prompt,
      workflow,
      overrides: { ...job.batch.plan.sets, ...job.overrides },
      seeds,
      chosenText,
      worker: {
        id: worker.id,
        kind: worker.kind,
        url: worker.url === null ? null : withoutSecrets(worker.url),
        comfyuiVersion: health.is === 'ready' ? health.comfyuiVersion : null,
      },
      seconds: ending.seconds,
      label: job.label,
      strip: job.batch.plan.stripMetadata,
    }
    const text = Buffer.from(writeJson(making))
    const dictionary = text.length > DICTIONARY_BYTES ? undefined : this.#sql.dictionary.get(job.batchId)
    if (dictionary === undefined) return { dictionary: null, body: zstdCompressSync(text) }
    return { dictionary, body: zstdCompressSync(text, { dictionary: this.#recordText(dictionary) }) }
  }
  #readRecord(promptId: string): MakingRecord {
    return parseJson(this.#recordText(promptId).toString()) as unknown as MakingRecord
  }
  #recordText(promptId: string): Buffer {
    if (this.#dictionary?.promptId === promptId) return this.#dictionary.text
    const { dictionary, body } = this.#sql.record.get(promptId)!
    if (dictionary !== null) return zstdDecompressSync(body, { dictionary: this.#recordText(dictionary) })
    const text = zstdDecompressSync(body)
    this.#dictionary = { promptId, text }
    return text
  }

  #point(name: string) {
    this.#deps.point?.(name)
  }
  #log(event: string, facts: Record<string, Json>) {
    this.#deps.log?.(event, facts)
  }
}

const keyOf = (node: string, index: number) => `${node}\u0000${index}`
const pathOf = ({ dir, name }: Pick<Row, 'dir' | 'name'>) => path.join(dir, ...name.split('/'))
/** Two names a file system may take for one are the same place. */
const placeOf = (dir: string, name: string) => pathOf({ dir, name }).normalize('NFC').toLowerCase()
const textOf = (value: Json) => (typeof value === 'string' ? value : writeJson(value))

/** Each file once, however many nodes name it. */
function withoutRepeats(outputs: readonly Output[]): Output[] {
  const seen = new Set<string>()
  return outputs.filter((output) => {
    if (output.is === 'text') return true
    const { filename, subfolder, type } = output.file
    const file = [type, subfolder, filename].join('\u0000')
    return !seen.has(file) && seen.add(file)
  })
}

/**
 * A picture marked by another attempt. Where the server answered an identical prompt with the file it had, that file
 * is still right: the prompt in it says so.
 */
function isForeign(texts: Record<string, string>, { attempt, record }: Made): boolean {
  const mark = parsed(texts.nightshift)
  if (!isJsonObject(mark) || mark.attempt === attempt.promptId) return false
  const prompt = parsed(texts.prompt)
  return !isJsonObject(prompt) || !isDeepStrictEqual(essence(prompt as never), essence(record.prompt))
}
const parsed = (text: string | undefined): Json => {
  try {
    return text === undefined ? null : parseJson(text)
  } catch {
    return null
  }
}
/** What decides the picture, not the file's name. */
function essence(prompt: Prompt) {
  const nodes = Object.entries(prompt).map(([id, { class_type, inputs }]) => {
    const { filename_prefix: _name, ...decisive } = inputs
    return [id, { class_type, inputs: decisive }]
  })
  return parseJson(writeJson(Object.fromEntries(nodes)))
}

/** Whether its end is there: a picture cut short has a good beginning. */
function isComplete(bytes: Buffer, mediaType: string): boolean {
  if (mediaType === 'image/png') return bytes.includes('IEND', Math.max(0, bytes.length - 4096), 'latin1')
  return bytes.readUInt32LE(4) + 8 <= bytes.length // WebP says its size
}

async function readHead(file: string): Promise<Uint8Array> {
  const handle = await fs.open(file)
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(HEAD_BYTES), 0, HEAD_BYTES, 0)
    return buffer.subarray(0, bytesRead)
  } finally {
    await handle.close()
  }
}

const exists = (file: string) =>
  fs.access(file).then(
    () => true,
    () => false,
  )
function lstat(file: string): Stats | null {
  return lstatSync(file, { throwIfNoEntry: false }) ?? null
}

/** Where a file stands in the way of a folder, the folder gets the next name. */
function aroundFiles(dir: string, name: string): string {
  const parts = name.split('/')
  const file = parts.pop()!
  let folder = ''
  for (const part of parts) {
    for (let times = 1; ; times++) {
      const candidate = path.posix.join(folder, times === 1 ? part : `${part} (${times})`)
      if (statSync(path.join(dir, candidate), { throwIfNoEntry: false })?.isDirectory() === false) continue
      folder = candidate
      break
    }
  }
  return path.posix.join(folder, file)
}

/**
 * Gives a whole file its name unless the name is taken (false). Where links are not supported the name is reserved by
 * creating it, then renamed over; `resumed`: an empty file there is the reservation a crash left.
 */
async function linkNew(part: string, file: string, resumed: boolean): Promise<boolean> {
  try {
    await fs.link(part, file)
    return true
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException
    if (code === 'EEXIST' && !resumed) return false
    if (code === 'EEXIST' && lstat(file)?.size !== 0) return false
  }
  try {
    await (await fs.open(file, 'wx')).close()
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'EEXIST') throw cause
    if (!resumed || lstat(file)?.size !== 0) return false
  }
  try {
    await fs.rename(part, file)
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'EXDEV') throw cause
    const beside = path.join(path.dirname(file), path.basename(part)) // the folder is on another volume
    await pipeline(createReadStream(part), createWriteStream(beside, { flush: true }))
    await fs.rename(beside, file)
  }
  return true
}

async function isSidecarOf(file: string, id: string): Promise<boolean> {
  const sidecar = parsed(await fs.readFile(file, 'utf8').catch(() => undefined))
  return isJsonObject(sidecar) && isJsonObject(sidecar.artifact) && sidecar.artifact.id === id
}

const FULL = ['ENOSPC', 'EDQUOT', 'SQLITE_FULL']
const DENIED = ['EACCES', 'EPERM', 'EROFS', 'ENOENT', 'ENOTDIR', 'EEXIST'] // the last three: the folder cannot be made
function diskError(cause: unknown, dir: string): unknown {
  const code = cause instanceof AppError ? '' : String((cause as NodeJS.ErrnoException)?.code)
  if (FULL.includes(code)) return new AppError('disk.full', { dir }, { cause })
  return DENIED.includes(code) ? new AppError('disk.denied', { dir }, { cause }) : cause
}

function withoutSecrets(address: string): string {
  const url = URL.parse(address)
  return url ? `${url.origin}${url.pathname}` : ''
}

/** Scripts that put no space between words: each character counts as one. */
const UNSPACED = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}]/gu
const wordsOf = (text: string) => text.normalize('NFKC').replace(UNSPACED, ' $& ')
/** All the words, the last of each run possibly just begun; null: there are none. */
function queryOf(search: string): string | null {
  const runs = search.split(/\s+/).map((run) => wordsOf(run).match(/[\p{L}\p{N}\p{M}]+/gu) ?? [])
  const phrases = runs.filter((words) => words.length > 0).map((words) => `"${words.join(' ')}" *`)
  return phrases.length > 0 ? phrases.join(' AND ') : null
}

/** The first and last byte asked for; null: the whole file. */
function rangeOf(header: string | undefined, size: number): [number, number] | 'unsatisfiable' | null {
  const [, from = '', to = ''] = /^bytes=(\d*)-(\d*)$/.exec(header ?? '') ?? []
  if (from === '' && to === '') return null
  const start = from === '' ? Math.max(0, size - Number(to)) : Number(from)
  const end = from === '' || to === '' ? size - 1 : Math.min(Number(to), size - 1)
  if (start >= size || (from === '' && Number(to) === 0)) return 'unsatisfiable'
  return start > end ? null : [start, end]
}

const toArtifact = (row: Row): Artifact => ({
  id: row.id,
  jobId: row.job_id,
  batchId: row.batch_id,
  node: row.node,
  index: row.idx,
  name: row.name,
  sha256: row.sha256,
  sizeBytes: row.size_bytes,
  mediaType: row.media_type,
  kind: row.kind,
  width: row.width,
  height: row.height,
  rehearsal: row.rehearsal === 1,
  createdAt: row.created_at,
})

function statements(database: Database) {
  const get = <P extends unknown[], R>(sql: string) => database.prepare<P, R>(sql)
  const pluck = <P extends unknown[], R>(sql: string) => database.prepare<P, R>(sql).pluck()
  return {
    planned: get<[], Row>(`SELECT * FROM artifacts WHERE state = 'planned' ORDER BY seq`),
    ofJob: get<[string], Row>('SELECT * FROM artifacts WHERE job_id = ? ORDER BY seq'),
    ofBatch: get<[string, number, number], Row>(`SELECT * FROM artifacts
      WHERE batch_id = ? AND state = 'kept' AND (row, seq) > (?, ?) ORDER BY row, seq LIMIT 200`),
    byId: get<[string], Row>('SELECT * FROM artifacts WHERE id = ?'),
    hasPlace: pluck<[string], number>('SELECT 1 FROM artifacts WHERE place = ?'),
    lastCounter: pluck<[string], number | null>('SELECT max(counter) FROM artifacts WHERE batch_id = ?'),
    plan: get<[Record<string, unknown>], Row>(`INSERT INTO artifacts (id, prompt_id, job_id, batch_id, row, node, idx,
        state, dir, name, place, part, counter, sha256, size_bytes, media_type, kind, width, height, rehearsal, created_at)
      VALUES (:id, :promptId, :jobId, :batchId, :row, :node, :index, 'planned', :dir, :name, :place, :part, :counter,
        :sha256, :sizeBytes, :mediaType, :kind, :width, :height, :rehearsal, :now) RETURNING *`),
    rename: get<[string, string, number], Row>('UPDATE artifacts SET name = ?, place = ? WHERE seq = ? RETURNING *'),
    unplan: get<[number], never>(`DELETE FROM artifacts WHERE seq = ? AND state = 'planned'`),
    keep: get<[number], never>(`UPDATE artifacts SET state = 'kept' WHERE seq = ? AND state = 'planned'`),
    addWords: get<[number, string], never>('INSERT INTO artifact_words (rowid, words) VALUES (?, ?)'),
    addRecord: get<[Record<string, unknown>], never>(`INSERT OR IGNORE INTO artifact_records
      (prompt_id, batch_id, dictionary, outputs, body) VALUES (:promptId, :batchId, :dictionary, :outputs, :body)`),
    record: get<[string], { dictionary: string | null; body: Buffer }>(
      'SELECT dictionary, body FROM artifact_records WHERE prompt_id = ?',
    ),
    dictionary: pluck<[string], string>(
      'SELECT prompt_id FROM artifact_records WHERE batch_id = ? AND dictionary IS NULL LIMIT 1',
    ),
    outputs: pluck<[string], number>('SELECT outputs FROM artifact_records WHERE prompt_id = ?'),
    dirs: pluck<[], string>('SELECT dir FROM artifact_dirs'),
    addDir: get<[string], never>('INSERT OR IGNORE INTO artifact_dirs (dir) VALUES (?)'),
    removeDir: get<[string], never>('DELETE FROM artifact_dirs WHERE dir = ?'),
  }
}
