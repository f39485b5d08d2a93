import { EventEmitter } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import type { Values } from '../../core/contract/batch.ts'
import type { ObjectInfo, Prompt } from '../../core/contract/comfyui.ts'
import { AppError } from '../../core/contract/errors.ts'
import { isJsonObject, type Json, parseJson, writeJson } from '../../core/contract/json.ts'
import { choicesOf, itemsOf, type Panel } from '../../core/contract/panel.ts'
import type {
  Advice,
  Inspection,
  Parameter,
  ParameterChoice,
  Workflow,
  WorkflowSummary,
} from '../../core/contract/workflow.ts'
import { mediaOf } from '../../core/domain/media.ts'
import { drawGraph } from '../../core/domain/workflow/graph.ts'
import { modelFilesIn } from '../../core/domain/workflow/models.ts'
import {
  checkPanel,
  missingFrom,
  type PanelWords,
  panelFromParameters,
  panelValues,
  readPanel,
  writePanel,
  writePanels,
} from '../../core/domain/workflow/panel.ts'
import { arrange } from '../../core/domain/workflow/parameters.ts'
import type { ReadWorkflow } from '../../core/domain/workflow/read.ts'
import { advise } from '../../core/domain/workflow/suggest.ts'
import { bytesSource } from '../../core/engine/metadata/source.ts'
import type { Clock } from './clock.ts'
import type { Database } from './database/open.ts'
import { inspect, type ReadSource, readForKeeping, summaryOf } from './read-import.ts'

/** Node definitions, and where they are from: a worker's name, a file, or `bundled`. */
export interface Definitions {
  readonly definitions: ObjectInfo
  readonly from: string
  readonly version?: string
  /** They are a copy from then. */
  readonly cachedAt?: number
}

interface Deps {
  database: Database
  clock: Clock
  newId: () => string
  dataDir: string
  /** Where `sample/<language>.json` is. */
  resourcesDir: string
  fleet: { definitionsFor(workerId?: string): Promise<Definitions> }
  queue: { batchesOf(workflowId: string): number }
}

interface Row {
  id: string
  name: string
  format: WorkflowSummary['format']
  container: Inspection['container']
  source_sha256: string
  source_ext: string
  choices: string
  panels: string
  summary: string
  imported_at: number
  used_at: number | null
}

/** A workflow ready to make prompts from, by one set of definitions. */
export interface Loaded {
  readonly id: string
  readonly name: string
  readonly read: ReadWorkflow
  readonly prompt: Prompt
  readonly inspection: Inspection
  /** As the person arranged them. */
  readonly parameters: Parameter[]
  readonly panels: Panel[]
  readonly definitions: ObjectInfo
}

const COLUMNS =
  'id, name, format, container, source_sha256, source_ext, choices, panels, summary, imported_at, used_at' as const
const MOST_LOADED = 16

/** The workflows a person dropped, each kept as it came, with what was read from it. */
export class Library {
  readonly events = new EventEmitter<{ changed: [id: string] }>()
  #deps: Deps
  #dir: string
  readonly #modelNames = new Map<string, readonly string[]>()
  /** The latest loaded, by id; each for the definitions it was made with. */
  #loaded = new Map<string, { definitions: ObjectInfo; loaded: Omit<Loaded, 'name' | 'parameters' | 'panels'> }>()

  constructor(deps: Deps) {
    this.#deps = deps
    this.#dir = path.join(deps.dataDir, 'workflows')
  }

  /** Reads and keeps a file here and now; the importer does so without holding up anything. @throws AppError import.* */
  async import(name: string, bytes: Uint8Array): Promise<WorkflowSummary> {
    const known = await this.#deps.fleet.definitionsFor()
    let fault: AppError | null = null
    const kept: WorkflowSummary[] = []
    for (const read of readForKeeping(name, bytesSource(bytes), this.#dir, known)) {
      if ('fault' in read) fault ??= read.fault
      else kept.push(...this.keep(read))
    }
    if (!kept[0]) throw fault ?? new AppError('import.no-workflow', { name })
    return kept[0]
  }

  /**
   * What was read from a file. The same bytes are the same workflows: they come back to the top of the list, with their
   * arrangement, read as they are read today.
   */
  keep({ container, sha256, ext, workflows }: ReadSource): WorkflowSummary[] {
    const { database, clock, newId } = this.#deps
    const now = clock.now()
    const known = database.prepare<[string], string>(
      'SELECT id FROM workflows WHERE source_sha256 = ? ORDER BY rowid', // as they stand in the file
    )
    const refresh = database.prepare(
      `UPDATE workflows SET imported_at = :now, removed_at = NULL, format = :format, read = :read, summary = :summary,
         panels = CASE panels WHEN '[]' THEN :panels ELSE panels END
       WHERE id = :id`,
    )
    const insert = database.prepare(
      `INSERT INTO workflows (id, name, format, container, source_sha256, source_ext, read, summary, panels, imported_at)
       VALUES (:id, :name, :format, :container, :sha256, :ext, :read, :summary, :panels, :now)`,
    )
    const ids = database.transaction(() => {
      const before = known.pluck().all(sha256)
      return workflows.map(({ name, format, read, summary, panels }, index) => {
        const id = before[index] ?? newId()
        const forms = writeJson(panels.map(writePanel))
        if (id === before[index]) refresh.run({ id, format, read, summary, panels: forms, now })
        else {
          insert.run({
            id,
            name: name.slice(0, 200),
            format,
            container,
            sha256,
            ext,
            read,
            summary,
            panels: forms,
            now,
          })
        }
        return id
      })
    })()
    for (const id of ids) {
      this.#loaded.delete(id)
      this.#modelNames.delete(id)
      this.events.emit('changed', id)
    }
    return ids.map((id) => this.summary(id))
  }

  /** The built-in workflow, in the person's language. */
  async sample(locale: string): Promise<WorkflowSummary> {
    const language = locale.toLowerCase().startsWith('zh') ? 'zh-CN' : 'en'
    const file = path.join(this.#deps.resourcesDir, 'sample', `${language}.json`)
    return this.import(language === 'en' ? 'Sample.json' : '示例.json', readFileSync(file))
  }

  list({ search = '', offset = 0, limit = 100 }: { search?: string; offset?: number; limit?: number }) {
    const { database } = this.#deps
    const where = `removed_at IS NULL AND name LIKE '%' || :like || '%' ESCAPE '\\'`
    const like = search.trim().replace(/[\\%_]/g, '\\$&')
    const rows = database
      .prepare<[Record<string, unknown>], Row>(
        `SELECT ${COLUMNS} FROM workflows WHERE ${where}
         ORDER BY max(imported_at, coalesce(used_at, 0)) DESC, id LIMIT :limit OFFSET :offset`,
      )
      .all({ like, limit, offset })
    const total = database
      .prepare<[Record<string, unknown>], number>(`SELECT count(*) FROM workflows WHERE ${where}`)
      .pluck()
      .get({ like })
    return { rows: rows.map((row) => this.#toSummary(row)), total: total ?? 0 }
  }

  /** @throws AppError 'app.not-found' */
  summary(id: string): WorkflowSummary {
    return this.#toSummary(this.#row(id))
  }

  async get(id: string, workerId?: string): Promise<Workflow> {
    const { read, prompt, inspection, parameters, panels, definitions } = await this.load(id, workerId)
    return {
      ...this.summary(id),
      inspection: { ...inspection, parameters },
      graph: drawGraph(read, prompt, definitions),
      prompt,
      panels,
      panelProblems: panels.flatMap((panel) => checkPanel(panel, prompt, parameters)),
    }
  }

  /** By the definitions of one worker, or the best known ones; made anew when those have changed. */
  async load(id: string, workerId?: string): Promise<Loaded> {
    const row = this.#row(id)
    const known = await this.#deps.fleet.definitionsFor(workerId)
    const found = this.#loaded.get(id)
    const isSame = found?.definitions === known.definitions && found.loaded.inspection.definitions.from === known.from
    const loaded = isSame ? found.loaded : this.#make(row, known)
    this.#loaded.delete(id)
    this.#loaded.set(id, { definitions: known.definitions, loaded })
    for (const oldest of this.#loaded.keys()) {
      if (this.#loaded.size <= MOST_LOADED) break
      this.#loaded.delete(oldest)
    }
    const parameters = arrange(loaded.inspection.parameters, parseJson(row.choices) as unknown as ParameterChoice[])
    return { ...loaded, name: row.name, parameters, panels: panelsIn(row) }
  }

  #make(row: Row, known: Definitions): Omit<Loaded, 'name' | 'parameters' | 'panels'> {
    const kept = this.#deps.database
      .prepare<[string], string>('SELECT read FROM workflows WHERE id = ?')
      .pluck()
      .get(row.id)
    const read = parseJson(kept!) as unknown as ReadWorkflow
    const { prompt, ...inspection } = inspect(read, row.container, known)
    const summary = summaryOf(inspection)
    if (summary !== row.summary)
      this.#deps.database.prepare('UPDATE workflows SET summary = ? WHERE id = ?').run(summary, row.id)
    return { id: row.id, read, prompt, inspection, definitions: known.definitions }
  }

  rename(id: string, name: string): WorkflowSummary {
    this.#change('UPDATE workflows SET name = ? WHERE id = ?', name.trim() || 'workflow', id)
    return this.summary(id)
  }
  /** Out of the list; its batches and pictures stay, and `restore` brings it back. */
  remove(id: string): { changed: number } {
    return this.#change(
      'UPDATE workflows SET removed_at = ? WHERE id = ? AND removed_at IS NULL',
      this.#deps.clock.now(),
      id,
    )
  }
  restore(id: string): { changed: number } {
    return this.#change('UPDATE workflows SET removed_at = NULL WHERE id = ? AND removed_at IS NOT NULL', id)
  }
  /** Presets and suggestions for it with these values. */
  async advise(id: string, values: Values): Promise<Advice> {
    const { prompt, definitions, parameters } = await this.load(id)
    return advise(prompt, definitions, parameters, values)
  }
  /** @throws AppError 'parameter.name-taken' */
  arrange(id: string, choices: readonly ParameterChoice[]): { changed: number } {
    const names = new Set<string>()
    for (const { name } of choices) {
      if (names.has(name)) throw new AppError('parameter.name-taken', { name })
      names.add(name)
    }
    return this.#change('UPDATE workflows SET choices = ? WHERE id = ?', writeJson(choices), id)
  }

  /** All its forms, in order; the ones before can be brought back. */
  setPanels(id: string, panels: readonly Panel[]): { changed: number } {
    return this.#change(
      'UPDATE workflows SET panels_before = panels, panels = ? WHERE id = ?',
      writeJson(panels.map(writePanel)),
      id,
    )
  }
  /** Brings back the forms before the last change; twice changes nothing. */
  undoPanels(id: string): { changed: number } {
    return this.#change(
      'UPDATE workflows SET panels = panels_before, panels_before = panels WHERE panels_before IS NOT NULL AND id = ?',
      id,
    )
  }
  async proposePanel(id: string, words: PanelWords): Promise<Panel> {
    return panelFromParameters((await this.load(id)).parameters, words)
  }
  async fillPanel(id: string, panel: Panel, values: Values) {
    return panelValues(panel, values, (await this.load(id)).parameters)
  }

  /** An address that the workflow or a form of it names; nothing else is fetched for a picture of it. */
  async knownAddress(id: string, url: string): Promise<string> {
    const { panels, parameters } = await this.load(id)
    const named = panels.flatMap(({ params }) =>
      [...itemsOf(params)].flatMap(({ item }) => [
        item.default,
        ...(choicesOf(item) ?? []).flatMap(({ value, thumbnail }) => [value, thumbnail]),
      ]),
    )
    if (!named.includes(url) && !parameters.some(({ upload, default: value }) => upload && value === url))
      throw new AppError('app.not-found', { what: url })
    return url
  }

  /**
   * Gives forms that came without a workflow to the one that has all they turn: one that came with them, else any. A
   * form of the same title is replaced.
   * @throws AppError 'panel.no-workflow', 'panel.several-workflows'; then none is given
   */
  async attachPanels(
    panels: readonly Panel[],
    cameWith: readonly string[],
  ): Promise<{ id: string; titles: string[] }[]> {
    const given = new Map<string, Panel[]>()
    for (const panel of panels) {
      const id = await this.#workflowFor(panel, cameWith)
      given.set(id, [...(given.get(id) ?? []), panel])
    }
    return [...given].map(([id, some]) => {
      const titles = some.map(({ title }) => title)
      const before = panelsIn(this.#row(id))
      const replaced = before.map((one) => some.find(({ title }) => title === one.title) ?? one)
      this.setPanels(id, [...replaced, ...some.filter((one) => !replaced.includes(one))])
      return { id, titles }
    })
  }

  async #workflowFor(panel: Panel, cameWith: readonly string[]): Promise<string> {
    const { title } = panel
    let nearest: string[] | null = null
    for (const ids of [cameWith, this.#recent().filter((id) => !cameWith.includes(id))]) {
      const fitting: string[] = []
      for (const id of new Set(ids)) {
        let missing = this.#plainlyMissing(panel, id)
        if (missing.length === 0) missing = missingFrom(panel, (await this.load(id)).prompt)
        if (missing.length === 0) fitting.push(id)
        else if (!nearest || missing.length < nearest.length) nearest = missing
      }
      if (fitting.length > 1) {
        const names = fitting.map((id) => this.#row(id).name).join(', ')
        throw new AppError('panel.several-workflows', { title, names })
      }
      if (fitting[0]) return fitting[0]
    }
    throw new AppError('panel.no-workflow', { title, missing: (nearest ?? missingFrom(panel, {})).join(', ') })
  }
  /** What a workflow lacks of what a form turns, as far as it can be said without converting it. */
  #plainlyMissing(panel: Panel, id: string): string[] {
    const kept = this.#deps.database
      .prepare<[string], string>('SELECT read FROM workflows WHERE id = ?')
      .pluck()
      .get(id)
    const { prompt, editor } = parseJson(kept ?? '{}') as unknown as ReadWorkflow
    if (!editor) return missingFrom(panel, prompt ?? {})
    const listed = Array.isArray(editor.nodes) ? editor.nodes : []
    const nodes = new Set(listed.map((node) => (isJsonObject(node) ? String(node.id) : '')))
    return missingFrom(panel, {}).filter((key) => !nodes.has(key.split(/[.:]/, 1)[0]!))
  }
  #recent(): string[] {
    return this.#deps.database
      .prepare<[], string>(
        'SELECT id FROM workflows WHERE removed_at IS NULL ORDER BY max(imported_at, coalesce(used_at, 0)) DESC',
      )
      .pluck()
      .all()
  }

  /** Which model files each workflow's file names; read once. */
  *modelNames(): Generator<{ id: string; name: string; files: readonly string[] }> {
    const { database } = this.#deps
    const rows = database
      .prepare<[], { id: string; name: string }>('SELECT id, name FROM workflows WHERE removed_at IS NULL')
      .all()
    const text = database.prepare<[string], string>('SELECT read FROM workflows WHERE id = ?').pluck()
    for (const { id, name } of rows) {
      const files = this.#modelNames.get(id) ?? modelFilesIn(text.get(id) ?? '')
      this.#modelNames.set(id, files)
      yield { id, name, files }
    }
  }

  /** A batch was queued from it. */
  used(id: string) {
    this.#change('UPDATE workflows SET used_at = ? WHERE id = ?', this.#deps.clock.now(), id)
  }

  async export(id: string, as: 'original' | 'prompt' | 'panel') {
    const { name, source_sha256, source_ext } = this.#row(id)
    if (as === 'panel') {
      const { prompt, panels } = await this.load(id)
      return textFile(`${name}.panels.json`, 'application/json', Buffer.from(writeJson(writePanels(panels, prompt), 2)))
    }
    if (as === 'prompt') {
      const { prompt } = await this.load(id)
      return textFile(`${name}.api.json`, 'application/json', Buffer.from(writeJson(prompt, 2)))
    }
    const file = path.join(this.#dir, `${source_sha256}${source_ext}`)
    if (!existsSync(file)) throw new AppError('app.not-found', { what: `${name}${source_ext}` })
    return textFile(`${name}${source_ext}`, mediaOf(new Uint8Array(), file).mediaType, readFileSync(file))
  }

  #row(id: string): Row {
    const row = this.#deps.database.prepare<[string], Row>(`SELECT ${COLUMNS} FROM workflows WHERE id = ?`).get(id)
    if (!row) throw new AppError('app.not-found', { what: `workflow ${id}` })
    return row
  }

  #toSummary({ id, name, format, panels, summary, imported_at, used_at }: Row): WorkflowSummary {
    const known = parseJson(summary) as Pick<WorkflowSummary, 'nodes' | 'problems' | 'runnable'>
    const batches = this.#deps.queue.batchesOf(id)
    const panelCount = (parseJson(panels) as Json[]).length
    return { id, name, format, ...known, batches, panelCount, importedAt: imported_at, usedAt: used_at }
  }

  #change(sql: string, ...values: unknown[]): { changed: number } {
    const id = values.at(-1) as string
    const { changes } = this.#deps.database.prepare(sql).run(...values)
    if (changes > 0) this.events.emit('changed', id)
    return { changed: changes }
  }
}

const panelsIn = ({ panels }: Row): Panel[] =>
  (parseJson(panels) as Json[]).flatMap((raw, at) => readPanel(raw, String(at + 1))?.panel ?? [])

const textFile = (name: string, mediaType: string, bytes: Buffer) => ({
  name,
  mediaType,
  base64: bytes.toString('base64'),
})
