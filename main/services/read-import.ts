import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import path from 'node:path'
import type { Prompt } from '../../core/contract/comfyui.ts'
import { AppError } from '../../core/contract/errors.ts'
import { isJsonObject, type Json, writeJson } from '../../core/contract/json.ts'
import type { Panel } from '../../core/contract/panel.ts'
import type { Inspection, Problem, WorkflowFormat } from '../../core/contract/workflow.ts'
import { convertWorkflow } from '../../core/domain/workflow/convert.ts'
import { inspectWorkflow } from '../../core/domain/workflow/inspect.ts'
import { parseForeignJson } from '../../core/domain/workflow/json-text.ts'
import { checkPanel, readPanel } from '../../core/domain/workflow/panel.ts'
import { problem } from '../../core/domain/workflow/problems.ts'
import { type FoundWorkflow, type ReadWorkflow, readWorkflow, readWorkflows } from '../../core/domain/workflow/read.ts'
import { bundledDefinitions } from '../../core/engine/definitions.ts'
import {
  type FoundFile,
  maxWorkflowBytes,
  readWorkflowFile,
  readWorkflowFiles,
} from '../../core/engine/metadata/read-file.ts'
import type { ByteSource } from '../../core/engine/metadata/source.ts'
import { writeWholeSync } from '../../core/engine/write-whole.ts'
import type { Definitions } from './library.ts'

/** One file's workflows, ready to be kept. It crosses from a thread. */
export interface ReadSource {
  readonly name: string
  readonly container: Inspection['container']
  /** Of what is kept of it. */
  readonly sha256: string
  readonly ext: string
  readonly workflows: readonly {
    readonly name: string
    readonly format: WorkflowFormat
    /** JSON. */
    readonly read: string
    /** JSON: what a list shows. */
    readonly summary: string
    readonly panels: readonly Panel[]
  }[]
  /** Forms that came without a workflow. */
  readonly loosePanels: readonly Panel[]
}
export interface Unread {
  readonly name: string
  readonly fault: AppError
}

/**
 * Reads a dropped file, and every file in a dropped archive, and keeps each in `dir` as it came. One above 64 MiB (a
 * video, a model) is not copied: the texts read from it are kept instead, as JSON that can be dropped again.
 */
export function* readForKeeping(
  name: string,
  source: ByteSource,
  dir: string,
  known: Definitions,
): Generator<ReadSource | Unread> {
  for (const found of readWorkflowFiles(name, source)) {
    if ('fault' in found) {
      yield found
      continue
    }
    try {
      yield readFound(found, dir, known)
    } catch (cause) {
      if (!(cause instanceof AppError)) throw cause
      yield { name: found.name, fault: cause }
    }
  }
}

function readFound({ name, source, file }: FoundFile, dir: string, known: Definitions): ReadSource {
  const { container, texts } = file
  const base = baseName(name)
  const all = readWorkflows(path.basename(name), texts)
  const isWhole = source.sizeBytes <= maxWorkflowBytes
  const bytes = isWhole ? source.read(0, source.sizeBytes) : Buffer.from(writeJson(texts))
  const sha256 = createHash('sha256').update(bytes).digest('hex')
  const ext = isWhole ? extensionOf(name) : '.json'
  const workflows = all.filter(({ read }) => read.editor !== null || read.prompt !== null)
  const kept = workflows.map((one, index) => ({
    name: one.title ?? (index === 0 ? base : `${base} ${index + 1}`),
    format: one.read.format,
    read: writeJson(one.read),
    summary: summaryOf(inspect(one.read, container, known)),
    panels: panelOf(one, base),
  }))
  const loosePanels = all.filter((one) => !workflows.includes(one)).flatMap((one) => panelOf(one, base))
  const place = path.join(dir, `${sha256}${ext}`)
  if (kept.length > 0 && !existsSync(place)) writeWholeSync(place, bytes, { flush: true })
  return { name, container, sha256, ext, workflows: kept, loosePanels }
}

const panelOf = ({ title, read }: FoundWorkflow, base: string): Panel[] => {
  const found = read.panel === undefined ? null : readPanel(read.panel, title ?? base)
  return found ? [found.panel] : []
}

const baseName = (name: string) => {
  const last = path.posix.basename(name.replaceAll('\\', '/'))
  return path.posix.basename(last, path.posix.extname(last)).trim().slice(0, 200) || 'workflow'
}
const extensionOf = (name: string) =>
  path
    .extname(name)
    .toLowerCase()
    .replace(/[^.a-z0-9]/g, '')
    .slice(0, 12) || '.json'

export const inspect = (
  read: ReadWorkflow,
  container: Inspection['container'],
  { definitions, from, version, cachedAt }: Definitions,
) =>
  inspectWorkflow(
    read,
    container,
    definitions,
    { from, version, ...(cachedAt !== undefined && { cachedAt }) },
    bundledDefinitions(),
  )

/** What a list shows of a workflow, as JSON. */
export const summaryOf = (inspection: Inspection) =>
  writeJson({
    nodes: inspection.nodes,
    problems: inspection.problems.length,
    runnable: isRunnable(inspection),
  })

/** Whether it may be queued at all; a node the worker lacks is still sketched by the rehearsal. */
const isRunnable = ({ problems, outputs, nodes }: Inspection) =>
  nodes > 0 &&
  !problems.some(({ kind }) => kind === 'loss') &&
  (outputs.length > 0 || problems.some(({ kind }) => kind === 'missing-node'))

/**
 * The workflow of a file, without keeping it. Of several, in one file or an archive, the first, which then says so.
 * @throws AppError import.*
 */
function readFirst(name: string, source: ByteSource): { read: ReadWorkflow; container: Inspection['container'] } {
  let fault: AppError | null = null
  let first: { read: ReadWorkflow; container: Inspection['container'] } | null = null
  const others: string[] = []
  for (const found of readWorkflowFiles(name, source)) {
    if ('fault' in found) fault ??= found.fault
    else if (first) others.push(found.name)
    else
      try {
        first = { read: readWorkflow(found.name, found.file.texts), container: found.file.container }
      } catch (cause) {
        if (!(cause instanceof AppError)) throw cause
        fault ??= cause
      }
  }
  if (!first) throw fault ?? new AppError('import.no-workflow', { name })
  if (others.length > 0) {
    const titles = others.slice(0, 12).join(', ') + (others.length > 12 ? ', …' : '')
    const told = problem('warning', 'more-workflows', { count: others.length + 1, titles })
    first.read.problems = [...(first.read.problems ?? []), told]
  }
  return first
}

/** The forms in a file, without keeping them. @throws AppError 'panel.unreadable' */
export function readPanelsFile(name: string, bytes: Uint8Array): { panels: Panel[]; problems: Problem[] } {
  const { texts } = readWorkflowFile(name, bytes)
  const raw = texts.json === undefined ? undefined : parseForeignJson(name, texts.json)
  const isEach = Array.isArray(raw) && raw.some((entry) => isJsonObject(entry) && Array.isArray(entry.params))
  const title = path.basename(name, path.extname(name))
  const read = (isEach ? (raw as Json[]) : [raw]).flatMap((entry) => readPanel(entry, title) ?? [])
  if (read.length === 0) throw new AppError('panel.unreadable', { name })
  return { panels: read.map(({ panel }) => panel), problems: read.flatMap(({ problems }) => problems) }
}

/** What a file holds, without keeping it. */
export function inspectFile(name: string, file: ByteSource, known: Definitions): Inspection & { prompt: Prompt } {
  const { read, container } = readFirst(name, file)
  const inspection = inspect(read, container, known)
  const form = read.panel === undefined ? null : readPanel(read.panel, path.parse(name).name)
  if (!form) return inspection
  const { prompt, parameters, problems } = inspection
  const misfits = read.prompt || read.editor ? checkPanel(form.panel, prompt, parameters) : []
  const told = [...form.problems, ...misfits]
  return { ...inspection, panels: [form.panel], problems: [...problems, ...told] }
}

/** The prompt a file stands for, without keeping it, and what of it would be lost. */
export function convertFile(name: string, file: ByteSource, known: Definitions): { prompt: Prompt; losses: Problem[] } {
  const { read } = readFirst(name, file)
  const { prompt, problems } = convertWorkflow(read, known.definitions)
  return { prompt, losses: problems.filter(({ kind }) => kind === 'loss' || kind === 'missing-node') }
}
