import { createHash } from 'node:crypto'
import { statSync } from 'node:fs'
import path from 'node:path'
import { parse as parseCsv } from 'csv-parse/sync'
import type { Axis, BatchPlanInput, BatchPreview, RowFault, Values } from '../../core/contract/batch.ts'
import { AppError, FailureError } from '../../core/contract/errors.ts'
import { type Json, writeJson } from '../../core/contract/json.ts'
import { SecretText } from '../../core/contract/key.ts'
import type { WorkerView } from '../../core/contract/worker.ts'
import { type Parameter, PresetId } from '../../core/contract/workflow.ts'
import type { Client } from '../api/client.ts'
import type { ImportSource } from '../services/importer.ts'
import {
  type Command,
  type Context,
  EXIT,
  onlyArgument,
  pair,
  parseOptions,
  readInput,
  readWorkflowInput,
  usageError,
  wholeNumber,
} from './context.ts'
import { startTelling } from './engine.ts'
import { Follower } from './follow.ts'
import { hearInterruption } from './interruption.ts'
import { reachApp, settledWorkers } from './reach.ts'
import { sayTime } from './terminal.ts'
import { calledInChinese, parameterMeant } from './words.ts'

const list = { type: 'string', multiple: true, default: [] as string[] } as const
const text = { type: 'string' } as const
const flag = { type: 'boolean', default: false } as const
const OPTIONS = {
  set: list,
  grid: list,
  table: text,
  map: list,
  sheet: text,
  folder: list,
  repeat: { type: 'string', default: '1' },
  worker: list,
  out: text,
  name: text,
  priority: { type: 'string', default: '0' },
  retries: { type: 'string', default: '0' },
  'start-at': text,
  'stop-at': text,
  'dry-run': flag,
  'allow-paid': flag,
  'trust-models': flag,
  'allow-loss': flag,
  'api-key-file': text,
  'api-key': text,
  preset: text,
  new: flag,
} as const
type Values_ = ReturnType<typeof readOptions>['values']
const readOptions = (args: string[]) => parseOptions(args, OPTIONS)

/** `run`: a workflow into the queue, and followed to the end. Ctrl-C pauses it. */
export const run: Command = async (context, args) => {
  const { terminal } = context
  const { values, positionals } = readOptions(args)
  const file = onlyArgument(context, positionals, 'WORKFLOW')
  const settings = checkSettings(context, values)
  const workflow = await readWorkflowInput(context, file)
  const table = values.table === undefined ? undefined : await readInput(context, values.table, 'app.too-large')
  const interrupt = hearInterruption(EXIT.interrupted)
  const started = performance.now()

  let app = await reachApp(context, { work: !values['dry-run'] })
  try {
    const workers = values['dry-run'] ? values.worker : await findWorkers(context, app.client, values.worker)
    const { id, parameters, panels, paid } = await importWorkflow(context, app.client, workflow)
    const meant: Meant = (name) => parameterMeant(parameters, panels, name)
    const given = await readRows(context, app.client, { id, parameters, meant, table, values })
    const said = readSets(context, meant, values.set)
    const preset = await applyPreset(context, app.client, { id, parameters, values }, said, given)
    const sets = { ...preset?.sets, ...said }
    const asked: BatchPlanInput = { workflowId: id, sets, ...given, ...settings, workers }
    const { textMagic, stripMetadata } = await app.client.call('settings.get', {})
    const plan = { ...asked, textMagic, stripMetadata }
    const key = await readKey(context, values)
    if (key !== null && !values['dry-run']) await app.client.call('account.set', { key })
    if (values['dry-run']) return preview(context, await app.client.call('batch.preview', plan), preset?.facts)
    // also for the rehearsal, which costs nothing: a line that was tried on it may be run elsewhere by changing one word
    if (paid.length > 0 && !plan.allowPaid) throw new AppError('prompt.paid', { classTypes: paid.join(', ') })

    const continueKey = values.new ? null : keyOf(workflow.bytes, asked)
    const { batchId, jobs, faults, warnings, continued } = await submit(
      context,
      app.client,
      { ...plan, continueKey },
      values['trust-models'],
    )
    const follower = new Follower(batchId, terminal)
    if (continued) {
      await follower.skipEnded(app.client)
      await resumeAfterDisk(app.client)
      const { counts } = await app.client.call('batch.get', { id: batchId })
      terminal.note(terminal.speech.words.run.continued, { batchId, jobs, done: counts.done })
    } else if (!terminal.json) terminal.say(terminal.speech.words.run.queued, { batchId, jobs })
    const odd = warnings.length > 0 && { warnings: warnings.map(({ code, message }) => ({ code, message })) }
    terminal.event('batch', { batchId, jobs, ...(continued && { continued }), ...odd, ...preset?.facts })
    for (const warning of warnings)
      terminal.note(terminal.speech.words.run.warning, { message: terminal.speech.problem(warning) })
    tellFaults(context, faults)

    for (;;) {
      try {
        const { counts } = await follower.toTheEnd(app.client, interrupt.signal)
        terminal.endProgress()
        const { done, failed, parked, cancelled } = counts
        const seconds = Math.round(performance.now() - started) / 1000
        const ok = failed + parked + cancelled === 0 && faults.length === 0
        const facts = { done, failed, parked, cancelled }
        if (!terminal.json) terminal.say(terminal.speech.words.run.done, { ...facts, time: sayTime(seconds) })
        terminal.event('done', { ok, batchId, ...facts, seconds })
        return ok ? EXIT.ok : EXIT.someFailed
      } catch (cause) {
        if (interrupt.signal.aborted) {
          await pause(app.client, batchId)
          terminal.endProgress()
          terminal.note(terminal.speech.words.run.paused)
          throw new AppError('app.interrupted')
        }
        if (!(cause instanceof AppError && cause.code === 'app.disconnected')) throw cause
        // whoever did the work has ended; the batch is still in the data folder
        terminal.note(terminal.speech.words.run.lost)
        await app.close()
        app = await reachApp(context, { work: true })
      }
    }
  } finally {
    await app.close()
    interrupt.end()
  }
}

/** The key for paid nodes, which goes to the key store; null: none is given, and the one kept there serves. */
async function readKey(context: Context, values: Values_): Promise<string | null> {
  const { reason, run: said } = context.terminal.speech.words
  const file = values['api-key-file']
  const [option, given] =
    file !== undefined
      ? ['--api-key-file', (await readInput(context, file, 'app.too-large')).bytes.toString('utf8')]
      : values['api-key'] !== undefined
        ? ['--api-key', values['api-key']]
        : ['NIGHTSHIFT_COMFY_API_KEY', context.env.NIGHTSHIFT_COMFY_API_KEY]
  if (given === undefined) return null
  if (option === '--api-key') context.terminal.note(said.keyOnArgv)
  const key = SecretText.safeParse(given)
  if (!key.success) throw usageError(reason.badKey, { option })
  return key.data
}

async function pause(client: Client, id: string) {
  try {
    // what runs may finish on its server; it is found again by whoever continues
    await client.call('batch.pause', { id, how: 'after-current' })
  } catch (cause) {
    if (!(cause instanceof AppError && cause.code === 'app.disconnected')) throw cause
  }
}

/** The queue paused itself for want of room; who runs the command again has made some. */
async function resumeAfterDisk(client: Client) {
  const { stalled } = await client.call('queue.state', {})
  if (stalled?.code.startsWith('disk.')) await client.call('queue.resume', {})
}

/** The same workflow with the same options is the same batch. */
function keyOf(workflow: Uint8Array, plan: BatchPlanInput): string {
  const hash = createHash('sha256').update(workflow).update('\0')
  return hash.update(writeJson({ ...plan, workflowId: '' })).digest('hex')
}

function checkSettings(context: Context, values: Values_) {
  const { reason } = context.terminal.speech.words
  const time = (option: 'start-at' | 'stop-at') => {
    const value = values[option]
    if (value === undefined) return null
    if (!/^([01]?\d|2[0-3]):[0-5]\d$/.test(value)) throw usageError(reason.notTime, { option: `--${option}`, value })
    return value
  }
  if (values.map.length > 0 && !values.table) throw usageError(reason.noTable, { option: '--map' })
  if (values.sheet !== undefined && !values.table) throw usageError(reason.noTable, { option: '--sheet' })
  return {
    repeat: wholeNumber(context, '--repeat', values.repeat),
    priority: wholeNumber(context, '--priority', values.priority),
    retries: wholeNumber(context, '--retries', values.retries),
    startAt: time('start-at'),
    stopAt: time('stop-at'),
    pattern: values.name ?? '',
    outDir: values.out === undefined ? '' : path.resolve(context.cwd, values.out),
    allowPaid: values['allow-paid'],
    allowLoss: values['allow-loss'],
  }
}

/** Of several in one file, the first, which is said. */
async function importWorkflow({ terminal }: Context, client: Client, file: { source: ImportSource }) {
  const { results } = await client.call('workflow.importMany', { sources: [file.source] })
  const [first, ...others] = results.flatMap((result) => (result.ok ? [result.workflow] : []))
  if (!first) throw results.flatMap((result) => (result.ok ? [] : [new FailureError(result.failure)]))[0]
  const { id, name } = first
  if (others.length > 0) terminal.note(terminal.speech.words.run.several, { count: others.length + 1, name })
  const { inspection, panels } = await client.call('workflow.get', { id })
  return { id, parameters: inspection.parameters, panels, paid: inspection.paid }
}

/** What a preset changes beside what is asked for anyway; said before anything is queued. */
async function applyPreset(
  { terminal }: Context,
  client: Client,
  { id, parameters, values }: { id: string; parameters: Parameter[]; values: Values_ },
  said: Values,
  { rows, axes }: { rows: readonly Values[]; axes: readonly Axis[] },
) {
  if (values.preset === undefined) return undefined
  const { speech } = terminal
  const { family, presets } = await client.call('workflow.presets', { id, values: said })
  const preset = presets.find((one) => one.id === values.preset)
  if (!PresetId.safeParse(values.preset).success)
    throw usageError(speech.words.reason.notPreset, { value: values.preset, presets: PresetId.options.join(', ') })
  if (!family || !preset) throw usageError(speech.words.reason.noFamily, { option: '--preset' })
  const asked = new Set([...Object.keys(said), ...axes.map(({ parameter }) => parameter)])
  for (const row of rows) for (const key of Object.keys(row)) asked.add(key)
  const changes = preset.changes.filter(({ key }) => !asked.has(key))
  const found = (key: string) => parameters.find((parameter) => parameter.key === key)!
  const facts = { preset: speech.words.presets[preset.id], family: family.name }
  terminal.note(changes.length > 0 ? speech.words.run.preset : speech.words.run.presetSame, facts)
  for (const { key, from, to, why, code, facts } of changes) {
    const line = { name: speech.parameter(found(key)), from: String(from), to: String(to) }
    terminal.note(speech.words.run.change, { ...line, why: speech.problem({ code, message: why, facts }) })
  }
  return {
    sets: Object.fromEntries(changes.map(({ key, to }) => [key, to])) as Values,
    facts: {
      preset: preset.id,
      family: family.id,
      changes: changes.map(({ key, from, to, why }) => ({ key, name: found(key).name, from, to, why })),
    },
  }
}

const ADDRESS = /^https?:\/\//i
const WORKERS_ANSWER_WITHIN_MS = 10_000

/**
 * The ids of the workers asked for. An address that is new is asked and kept before anything is queued, so that a
 * typing error is not waited for and its own node definitions are the ones that hold.
 */
async function findWorkers(context: Context, client: Client, asked: readonly string[]): Promise<string[]> {
  const { rows: engines } = await client.call('engine.list', {})
  for (const { name, processes } of engines)
    if (processes.some(({ id, state }) => asked.includes(id) && state.is !== 'ready'))
      await startTelling(context, client, name)
  const same = (known: WorkerView, name: string) =>
    known.id === name || known.url?.replace(/\/+$/, '') === name.replace(/\/+$/, '')
  const known = (await settledWorkers(client, WORKERS_ANSWER_WITHIN_MS)).rows
  const ids: string[] = []
  for (const name of asked) {
    const found = known.find((worker) => same(worker, name))
    if (found) ids.push(found.id)
    else ids.push(ADDRESS.test(name) ? (await client.call('worker.add', { url: name })).id : name)
  }
  const named = known.filter(({ id }) => ids.includes(id))
  const away = named.map(({ health }) => health).filter((health) => health.is === 'unreachable')
  if (away[0] && away.length === ids.length) throw new FailureError(away[0].because)
  return ids
}

/** A file of the caller's, as the process that does the work knows it; anything else stays as it is. */
function fileOf(value: string, folders: readonly string[]): string {
  const found = folders
    .map((folder) => path.resolve(folder, value))
    .find((file) => statSync(file, { throwIfNoEntry: false })?.isFile())
  return found ?? value
}
const withFile = (parameter: Parameter, value: string, ...folders: string[]): Json =>
  parameter.upload && value.trim() !== '' && !value.startsWith('input:') ? fileOf(value.trim(), folders) : value

/** The parameter a name stands for. */
type Meant = (name: string) => Parameter

function readSets(context: Context, meant: Meant, given: readonly string[]): Values {
  const sets: Values = {}
  for (const each of given) {
    const [name, value] = pair(context, '--set', each)
    const parameter = meant(name)
    sets[parameter.key] = withFile(parameter, value, context.cwd)
  }
  return sets
}

function readGrid(context: Context, meant: Meant, given: string): Axis {
  const [name, values] = pair(context, '--grid', given)
  const parameter = meant(name)
  let records: string[][]
  try {
    records = parseCsv(values, { relaxColumnCount: true, ltrim: true })
  } catch {
    throw usageError(context.terminal.speech.words.reason.notList, { name, values })
  }
  const each = records.flat()
  if (each.length === 0)
    throw usageError(context.terminal.speech.words.reason.notPair, { option: '--grid', value: given })
  return { parameter: parameter.key, values: each.map((value) => withFile(parameter, value, context.cwd)) }
}

type Given = {
  id: string
  parameters: Parameter[]
  meant: Meant
  table: { name: string; path: string; bytes: Buffer } | undefined
  values: Values_
}

/** Rows and axes: a table's rows, else a folder's files as rows; grids, and further folders, as axes. */
async function readRows(context: Context, client: Client, { id, parameters, meant, table, values }: Given) {
  const { reason } = context.terminal.speech.words
  const axes = values.grid.map((given) => readGrid(context, meant, given))
  const rows = table
    ? await readTable(context, client, { id, parameters, meant, table, values })
    : { rows: [] as Values[], columns: {}, extra: [] }
  for (const given of values.folder) {
    const [name, dir] = pair(context, '--folder', given)
    const { key } = meant(name)
    const { files } = await client.call('input.addFolder', { path: path.resolve(context.cwd, dir) })
    if (files.length === 0) throw usageError(reason.notFolder, { value: dir })
    const refs = files.map(({ ref }) => ref)
    if (rows.rows.length === 0) {
      rows.rows = refs.map((ref) => ({ [key]: ref }))
      rows.columns = { [key]: name }
    } else axes.push({ parameter: key, values: refs })
  }
  return { ...rows, axes }
}

const SAMPLE_ROWS = 50

async function readTable(
  context: Context,
  client: Client,
  { id, parameters, meant, table, values }: Given & { table: NonNullable<Given['table']> },
) {
  const { run: said, reason } = context.terminal.speech.words
  const { columns, rows, notes } = await client.call('table.read', {
    name: table.name,
    base64: table.bytes.toString('base64'),
    sheet: values.sheet,
  })
  for (const note of notes) context.terminal.note(said.warning, { message: context.terminal.speech.problem(note) })
  const sample = rows.slice(0, SAMPLE_ROWS)
  const guessed = (await client.call('table.map', { workflowId: id, columns, sample })).parameters
  const mapped = new Map(Object.entries(guessed))
  const map = (column: string, wanted: string | null) => {
    for (const [other, key] of mapped) if (key === wanted) mapped.set(other, null) // a guess gives way
    mapped.set(column, wanted)
  }
  for (const column of columns) {
    const named = calledInChinese(parameters, column)
    if (named) map(column, named.key)
  }
  for (const each of values.map) {
    const [column, name] = pair(context, '--map', each)
    if (!columns.includes(column)) throw usageError(reason.noColumn, { column, columns: columns.join(', ') })
    const wanted = name === '' ? null : meant(name).key
    map(column, wanted)
  }
  const keys = columns.map((column) => mapped.get(column) ?? null)
  if (keys.every((key) => key === null)) throw new AppError('table.unmapped', { column: columns[0] ?? '' })
  const asked = new Set(values.map.map((each) => pair(context, '--map', each)[0]))
  columns.forEach((column, at) => {
    if (keys[at] === null && !asked.has(column)) context.terminal.note(said.unmapped, { column })
  })

  const byKey = new Map(parameters.map((parameter) => [parameter.key, parameter]))
  const folder = path.dirname(table.path)
  const read = (row: string[], wanted: (key: string | null) => boolean) =>
    columns.flatMap((column, at) => (wanted(keys[at]!) ? [{ column, key: keys[at]!, cell: row[at] ?? '' }] : []))
  return {
    rows: rows.map(
      (row): Values =>
        Object.fromEntries(
          read(row, (key) => key !== null).map(({ key, cell }) => [
            key,
            withFile(byKey.get(key)!, cell, folder, context.cwd),
          ]),
        ),
    ),
    columns: Object.fromEntries(read([], (key) => key !== null).map(({ key, column }) => [key, column])),
    extra: rows.map((row) =>
      Object.fromEntries(read(row, (key) => key === null).map(({ column, cell }) => [column, cell])),
    ),
  }
}

/** Tells the faults also where they leave nothing to queue. */
async function submit(context: Context, client: Client, plan: BatchPlanInput, trustModels: boolean) {
  try {
    return await client.call('batch.submit', plan)
  } catch (cause) {
    if (trustModels && cause instanceof FailureError && cause.failure.code === 'model.unsafe') {
      await client.call('model.trust', { ids: cause.failure.facts.ids as string[] })
      return client.call('batch.submit', plan)
    }
    if (cause instanceof FailureError && cause.failure.code === 'batch.empty') {
      tellFaults(context, (await client.call('batch.preview', plan)).faults)
    }
    throw cause
  }
}

function tellFaults({ terminal }: Context, faults: readonly RowFault[]) {
  const { words, problem } = terminal.speech
  for (const { code, facts, ...fault } of faults) {
    terminal.event('fault', { ...fault, ...(code !== undefined && { code, facts: facts ?? {} }) })
    const sentence = code === undefined ? fault.reason : problem({ code, message: fault.reason, facts })
    const reason = sentence.replace(/[.。]$/, '')
    terminal.note(fault.value === '' ? words.run.faultOfNothing : words.run.fault, { ...fault, reason })
  }
}

function preview(
  context: Context,
  { faults, warnings, exampleNames, ...counts }: BatchPreview,
  preset: Record<string, Json> = {},
): number {
  const { terminal } = context
  const { run: said } = terminal.speech.words
  terminal.event('preview', { ...counts, exampleNames, warnings: warnings as unknown as Json, ...preset })
  if (!terminal.json) {
    terminal.say(said.preview, counts)
    for (const name of exampleNames) terminal.say(said.name, { name })
  }
  for (const warning of warnings) terminal.note(said.warning, { message: terminal.speech.problem(warning) })
  tellFaults(context, faults)
  const ok = faults.length === 0
  terminal.event('done', { ok, dryRun: true, jobs: counts.jobs })
  return ok ? EXIT.ok : EXIT.someFailed
}
