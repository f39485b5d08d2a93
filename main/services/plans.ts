import path from 'node:path'
import type { BatchPlan, BatchPreview, RowFault, Sentence, Values } from '../../core/contract/batch.ts'
import type { Prompt } from '../../core/contract/comfyui.ts'
import { AppError, type Facts } from '../../core/contract/errors.ts'
import type { Json } from '../../core/contract/json.ts'
import type { Settings } from '../../core/contract/settings.ts'
import type { WorkerView } from '../../core/contract/worker.ts'
import type { ModelNeed, Parameter } from '../../core/contract/workflow.ts'
import { artifactName, unknownTokens } from '../../core/domain/artifact-name.ts'
import {
  checkRows,
  checkValue,
  type Fault,
  type FileCheck,
  faultOf,
  isLocalFile,
  isWebAddress,
  type Standing,
} from '../../core/domain/batch/check.ts'
import { guessColumns } from '../../core/domain/batch/columns.ts'
import { expandBatch, type Grid, isSeed, newSeed, type Row, setsOfBase } from '../../core/domain/batch/expand.ts'
import { materialise, withOverrides } from '../../core/domain/batch/materialise.ts'
import { previewBatch } from '../../core/domain/batch/preview.ts'
import { nameFacts } from '../../core/domain/batch/telling.ts'
import { type BatchCode, warning } from '../../core/domain/batch/words.ts'
import { titlesIn } from '../../core/domain/workflow/panel.ts'
import { resolveParameter } from '../../core/domain/workflow/parameters.ts'
import type { Clock } from './clock.ts'
import type { Inputs } from './inputs.ts'
import type { Library, Loaded } from './library.ts'
import type { Queue, QueuedJob } from './queue.ts'
import { type ServerFiles, serverFileOf } from './server-files.ts'

interface Deps {
  queue: Pick<Queue, 'submit' | 'findOpen' | 'batch' | 'resumeBatch' | 'retry'>
  library: Pick<Library, 'load' | 'used'>
  fleet: {
    view(): WorkerView[]
    find(nameOrUrl: string): WorkerView | undefined
    /** The worker of this name or address, added if it is new. */
    ensure(address: { url: string; header: null }): Promise<WorkerView>
  }
  inputs: Pick<Inputs, 'check' | 'addPath' | 'addUrl'>
  serverFiles: Pick<ServerFiles, 'lacking'>
  settings: { get(): Settings }
  /** Whether nodes that cost money have a key to pay with. */
  /** Files these values name that may run code when they are loaded, and that nobody trusts yet. */
  readonly unsafeModels?: (values: unknown) => { id: string; name: string }[]
  hasAccountKey: () => boolean
  clock: Clock
  /** In [0, 1). */
  random: () => number
  /** Where pictures go when neither plan nor settings say. */
  defaultOutputDir: string
}

/** Who asks. Only a door of this machine may name its files and folders. */
export interface Asker {
  readonly mayUsePaths: boolean
}

/** A plan whose names are keys and whose values are what the nodes take. */
interface Understood {
  readonly loaded: Loaded
  readonly grid: Grid
  readonly base: Prompt
  readonly columns: Record<string, string>
  readonly faults: RowFault[]
  readonly emptyTexts: number
  /** Known ids, in the order given; an address nobody added yet stays an address. */
  readonly workers: string[]
}

const EXAMPLES = 5
const FETCHES_AT_ONCE = 6
const ADDRESS = /^((https?|ssh):\/\/|[\w.-]+:\d+)/i

/** Batch plans: what they would make, and into the queue. */
export class Plans {
  #deps: Deps

  constructor(deps: Deps) {
    this.#deps = deps
  }

  async guessColumns(workflowId: string, columns: string[], sample: string[][]) {
    const { parameters, panels } = await this.#deps.library.load(workflowId)
    return { parameters: guessColumns(columns, sample, parameters, titlesIn(panels)) }
  }

  async preview(plan: BatchPlan, asker: Asker): Promise<BatchPreview> {
    const understood = await this.#understand(plan, asker)
    const seen = look(plan, understood)
    const exampleNames = this.#exampleNames(plan, understood)
    return { ...seen, exampleNames, warnings: [...this.#warnings(plan, understood), ...seen.warnings] }
  }

  async submit(asIs: BatchPlan, asker: Asker) {
    const { queue, library, settings } = this.#deps
    const asked = await this.#addWorkers(asIs.workers)
    const { plan, notHad } = await this.#fetchAddresses(asIs)
    const understood = await this.#understand({ ...plan, workers: plan.workers.length > 0 ? asked : [] }, asker, notHad)
    const { loaded, columns, faults, workers } = understood
    const open = plan.continueKey === null ? null : queue.findOpen(plan.continueKey)
    if (open !== null) {
      queue.retry({ batchId: open, states: ['cancelled'] })
      queue.resumeBatch(open)
      const jobs = Object.values(queue.batch(open).counts).reduce((sum, count) => sum + count, 0)
      return { batchId: open, jobs, faults, warnings: [], continued: true }
    }
    const takers = workers.length > 0 ? workers : this.#realWorkers().map(({ id }) => id)
    refuseWhatCannotRun(plan, understood, takers)
    this.#refuseUnsafe(understood, takers)
    const outDir = plan.outDir || settings.get().outputDir || this.#deps.defaultOutputDir
    const chance = plan.chance ?? Math.floor(this.#deps.random() * 2 ** 32)
    const pattern = plan.pattern || settings.get().pattern
    const name = plan.name?.trim() || this.#nameOf(loaded)
    const grid = await this.#keepFiles(understood)
    const submitted = queue.submit(
      {
        workflowId: loaded.id,
        name,
        plan: {
          ...plan,
          name,
          chance,
          rowNumbers: [], // each job knows its own
          columns,
          sets: grid.sets,
          axes: grid.axes.map(({ key, values }) => ({ parameter: key, values: [...values] })),
        },
        prompt: withOverrides(loaded.prompt, setsOfBase(grid.sets), loaded.parameters),
        editor: loaded.read.editor as Json,
        parameters: loaded.parameters,
        workers,
        pattern,
        outDir,
      },
      expandBatch(grid, loaded.parameters, chance),
    )
    library.used(loaded.id)
    const warnings = [...this.#warnings(plan, understood), ...look(plan, understood).warnings]
    return { ...submitted, faults, warnings, continued: false }
  }

  /** The same job once more as a batch of its own, its texts chosen as before; with new seeds, or other values. */
  again(job: QueuedJob, { newSeeds, sets }: { newSeeds: boolean; sets: Values }): { batchId: string } {
    const { batch } = job
    const parameters = [...batch.parameters]
    const values = this.#readSets(parameters, sets, this.#fileCheck({ mayUsePaths: false }, new Map()))
    const seeds: Values = {}
    if (newSeeds) for (const it of parameters.filter(isSeed)) seeds[it.key] = newSeed(it, this.#deps.random)
    const { batchId } = this.#deps.queue.submit({ ...batch, plan: { ...batch.plan, continueKey: null, retries: 0 } }, [
      { ...job, overrides: { ...job.overrides, ...seeds, ...values } },
    ])
    return { batchId }
  }

  /** @throws AppError 'parameter.unknown', 'parameter.ambiguous', 'parameter.bad-value', 'batch.unknown-worker' */
  async #understand(plan: BatchPlan, asker: Asker, notHad?: ReadonlyMap<string, Fault>): Promise<Understood> {
    if (plan.outDir && !asker.mayUsePaths)
      throw new AppError('app.refused', { reason: 'an output folder can only be chosen on the machine itself' })
    if (plan.outDir && !path.isAbsolute(plan.outDir))
      throw new AppError('app.bad-request', { reason: `${plan.outDir} is not an absolute path` })
    const workers = this.#findWorkers(plan.workers)
    const loaded = await this.#load(plan.workflowId, workers)
    const { parameters } = loaded
    const keyOf = keysOf(parameters)
    const keyed = (values: Values) => Object.fromEntries(Object.entries(values).map(([name, at]) => [keyOf(name), at]))
    const raw: Row[] = (plan.rows.length > 0 ? plan.rows : [{}]).map((values, at) => ({
      row: plan.rowNumbers[at] ?? at + 1,
      values: keyed(values),
      extra: plan.extra[at],
    }))
    const rawAxes = plan.axes.map(({ parameter, values }) => ({ key: keyOf(parameter), values }))
    const rawSets = keyed(plan.sets)
    const takers = workers.length > 0 ? workers : this.#realWorkers().map(({ id }) => id)
    const lacking = await this.#deps.serverFiles.lacking(
      takers,
      serverFilesIn(parameters, [...raw.map(({ values }) => values), rawSets], rawAxes),
    )
    const checkLocal = this.#fileCheck(asker, lacking)
    const checkFile: FileCheck = (value) => notHad?.get(value) ?? checkLocal(value)

    const sets = this.#readSets(parameters, rawSets, checkFile)
    const axes = rawAxes.map(({ key, values }) => {
      const parameter = resolveParameter(parameters, key)
      return { key, values: values.map((value) => mustFit(parameter, value, checkFile)) }
    })
    const columns: Record<string, string> = {}
    for (const [name, column] of Object.entries(plan.columns)) columns[keyOf(name)] = column
    const given = new Set([...Object.keys(sets), ...axes.map(({ key }) => key)])
    const { good, faults, emptyTexts } = checkRows(raw, {
      parameters,
      columns,
      given,
      standing: [...standingFaults(loaded, workers), ...standingFiles(parameters, checkFile)],
      checkFile,
    })
    const grid = { sets, rows: good, axes, repeat: plan.repeat }
    return {
      loaded,
      grid,
      base: withOverrides(loaded.prompt, setsOfBase(sets), parameters),
      columns,
      faults,
      emptyTexts,
      workers,
    }
  }

  /** Values for the whole batch; a field left empty keeps the workflow's value, unless it holds text. */
  #readSets(parameters: Parameter[], sets: Values, checkFile: FileCheck): Values {
    const read: Values = {}
    for (const [name, raw] of Object.entries(sets)) {
      const parameter = resolveParameter(parameters, name)
      if (raw === null || (raw === '' && parameter.type !== 'STRING')) continue
      read[parameter.key] = mustFit(parameter, raw, checkFile)
    }
    return read
  }

  /** Files of this machine are looked for here, names of the servers' own among those they lack. */
  #fileCheck({ mayUsePaths }: Asker, lacking: ReadonlyMap<string, string>): FileCheck {
    return remembered((value) => {
      if (isLocalFile(value)) {
        const code = this.#deps.inputs.check(value, mayUsePaths)
        return code && faultOf(code)
      }
      const worker = lacking.get(value)
      return worker === undefined ? undefined : faultOf('row.file-not-there', { worker })
    })
  }

  /**
   * Files of the web, given or standing in the workflow, are fetched and kept; what only some rows name and cannot be had is
   * a fault of theirs. For the rehearsal alone it stays an address: it sketches that too.
   * @throws AppError 'input.unreachable', 'input.not-media'
   */
  async #fetchAddresses(plan: BatchPlan): Promise<{ plan: BatchPlan; notHad: Map<string, Fault> }> {
    const workers = this.#findWorkers(plan.workers)
    const { parameters } = await this.#load(plan.workflowId, workers)
    const uploads = new Map(parameters.filter(({ upload }) => upload).map((one) => [one.key, one]))
    const notHad = new Map<string, Fault>()
    if (uploads.size === 0) return { plan, notHad }
    const keyOf = keysOf(parameters)
    const refs = new Map<string, string>()
    const fetch = async (address: string, isShared: boolean) => {
      try {
        refs.set(address, await this.#deps.inputs.addUrl(address, { anew: true }))
      } catch (cause) {
        if (isRehearsalOnly(workers)) return
        if (isShared || !(cause instanceof AppError)) throw cause
        const isMedia = cause.code !== 'input.not-media'
        notHad.set(address, isMedia ? faultOf('row.file-unreachable', cause.facts) : faultOf('row.file-not-media'))
      }
    }
    const addressesIn = (some: Iterable<readonly [string, Json]>) =>
      [...some].flatMap(([name, value]) =>
        typeof value === 'string' && isWebAddress(value) && uploads.has(keyOf(name)) ? [value.trim()] : [],
      )
    const isGiven = (values: Values, key: string) =>
      Object.entries(values).some(([name, value]) => keyOf(name) === key && value !== null && value !== '')
    const axes = plan.axes.flatMap(({ parameter, values }) => values.map((value) => [parameter, value] as const))
    const given = new Set([...Object.keys(plan.sets), ...plan.axes.map(({ parameter }) => parameter)].map(keyOf))
    const standing = [...uploads].flatMap(([key, { default: value }]) => {
      const isNeeded = plan.rows.length === 0 || plan.rows.some((row) => !isGiven(row, key))
      return isNeeded && !given.has(key) ? [[key, value] as const] : []
    })
    const shared = new Set(addressesIn([...Object.entries(plan.sets), ...axes, ...standing]))
    const waiting = new Set([...shared, ...plan.rows.flatMap((row) => addressesIn(Object.entries(row)))]).values()
    const fetchThem = async () => {
      for (const address of waiting) await fetch(address, shared.has(address))
    }
    await Promise.all(Array.from({ length: FETCHES_AT_ONCE }, fetchThem))

    const had = (name: string, value: Json) => {
      const [address = ''] = addressesIn([[name, value]])
      return refs.get(address) ?? value
    }
    const all = (values: Values): Values =>
      Object.fromEntries(Object.entries(values).map(([name, value]) => [name, had(name, value)]))
    const fetched = {
      ...plan,
      sets: { ...all(plan.sets), ...all(Object.fromEntries(standing.filter((it) => addressesIn([it]).length > 0))) },
      rows: plan.rows.map(all),
      axes: plan.axes.map(({ parameter, values }) => ({ parameter, values: values.map((it) => had(parameter, it)) })),
    }
    return { plan: fetched, notHad }
  }

  /** Input files named by path are kept, and their paths replaced by what they are kept as. */
  async #keepFiles({ grid, loaded }: Understood): Promise<Grid> {
    const uploads = new Set(loaded.parameters.filter(({ upload }) => upload).map(({ key }) => key))
    if (uploads.size === 0) return grid
    const refs = new Map<string, string>()
    const keep = async (key: string, value: Json): Promise<Json> => {
      if (!uploads.has(key) || typeof value !== 'string') return value
      if (!isLocalFile(value) || value.startsWith('input:')) return value
      const ref = refs.get(value) ?? (await this.#deps.inputs.addPath(value)).ref
      refs.set(value, ref)
      return ref
    }
    const keepAll = async (values: Values) => {
      const kept: Values = {}
      for (const [key, value] of Object.entries(values)) kept[key] = await keep(key, value)
      return kept
    }
    const rows: Row[] = []
    for (const row of grid.rows) rows.push({ ...row, values: await keepAll(row.values) })
    const axes: { key: string; values: Json[] }[] = []
    for (const { key, values } of grid.axes) {
      const kept: Json[] = []
      for (const value of values) kept.push(await keep(key, value))
      axes.push({ key, values: kept })
    }
    return { ...grid, sets: await keepAll(grid.sets), rows, axes }
  }

  /** The ids of known workers; an address nobody added yet stays an address. @throws AppError 'batch.unknown-worker' */
  #findWorkers(asked: readonly string[]): string[] {
    const { fleet } = this.#deps
    const found = asked.map((name) => {
      const known = fleet.find(name)
      if (!known && !ADDRESS.test(name)) throw new AppError('batch.unknown-worker', { name })
      return known?.id ?? name
    })
    if (found.length > 0) return [...new Set(found)]
    return this.#realWorkers().length > 0 ? [] : ['rehearsal']
  }

  #realWorkers(): WorkerView[] {
    return this.#deps.fleet.view().filter((it) => it.enabled && it.kind !== 'rehearsal')
  }

  async #addWorkers(asked: readonly string[]): Promise<string[]> {
    const ids: string[] = []
    for (const worker of this.#findWorkers(asked))
      ids.push((await this.#deps.fleet.ensure({ url: worker, header: null })).id)
    return ids
  }

  /** By the definitions of the first real worker chosen that can be asked, else the best known ones. */
  async #load(workflowId: string, workers: readonly string[]): Promise<Loaded> {
    const { library } = this.#deps
    const real = this.#realWorkers().find(({ id, health }) => workers.includes(id) && health.is !== 'unreachable')
    if (!real) return library.load(workflowId)
    try {
      return await library.load(workflowId, real.id)
    } catch (cause) {
      if (cause instanceof AppError && cause.code.startsWith('worker.')) return library.load(workflowId)
      throw cause
    }
  }

  #nameOf({ name }: Loaded): string {
    const now = new Date(this.#deps.clock.now())
    const two = (number: number) => String(number).padStart(2, '0')
    return `${name} ${two(now.getMonth() + 1)}-${two(now.getDate())} ${two(now.getHours())}${two(now.getMinutes())}`
  }

  #exampleNames(plan: BatchPlan, { loaded, grid, base, columns, workers }: Understood): string[] {
    const { parameters, inspection } = loaded
    const chance = plan.chance ?? 0
    const now = new Date(this.#deps.clock.now())
    const pattern = plan.pattern || this.#deps.settings.get().pattern
    const names: string[] = []
    for (const { row, index, overrides, extra } of expandBatch(grid, parameters, chance)) {
      if (names.length === EXAMPLES) break
      const { prompt } = materialise(base, overrides, parameters, { chance, index, textMagic: plan.textMagic, now })
      const batch = plan.name?.trim() || this.#nameOf(loaded)
      const told = { batch, workflow: loaded.name, row, index, overrides, extra, columns, parameters, prompt }
      names.push(
        artifactName(pattern, {
          ...nameFacts(told),
          worker: workers[0] ?? '',
          now,
          counter: index + 1,
          node: inspection.outputs[0]?.node ?? '',
          output: 1,
          ext: 'png',
        }),
      )
    }
    return names
  }

  /** Only what this machine would load itself. @throws AppError 'model.unsafe' */
  #refuseUnsafe({ loaded, grid }: Understood, takers: readonly string[]) {
    const { fleet, unsafeModels } = this.#deps
    if (!unsafeModels || !takers.some((id) => fleet.view().find((worker) => worker.id === id)?.kind === 'local')) return
    const { rows, axes, sets } = grid
    const unsafe = unsafeModels([loaded.prompt, rows.map(({ values }) => values), axes, sets])
    if (unsafe.length === 0) return
    const files = unsafe.map(({ name }) => name).join(', ')
    throw new AppError('model.unsafe', { files, ids: unsafe.map(({ id }) => id) })
  }

  #warnings(plan: BatchPlan, { loaded, grid, workers, columns }: Understood): Sentence[] {
    const { inspection, parameters } = loaded
    const warnings: Sentence[] = []
    const warn = (code: BatchCode, facts: Facts = {}) => warnings.push(warning(code, facts))
    const losses = inspection.problems.filter(({ kind }) => kind === 'loss')
    if (losses.length > 0) warn(plan.allowLoss ? 'batch.loses' : 'batch.would-lose', { count: losses.length })
    const replaced = new Set([...Object.keys(grid.sets), ...grid.axes.map(({ key }) => key)])
    const stands = (model: ModelNeed) =>
      !parameters.some(({ key, node, default: file }) => {
        const isOther = replaced.has(key) || grid.rows.every(({ values }) => key in values)
        return node === model.node && file === model.file && isOther
      })
    const { from, version } = inspection.definitions
    const worker = from === 'bundled' ? `ComfyUI ${version ?? ''}`.trim() : from
    const classTypes = missingNodes(loaded).join(', ')
    if (classTypes) warn('batch.missing-nodes', { worker, classTypes })
    if (!isRehearsalOnly(workers)) {
      const models = inspection.models
        .filter((model) => model.present === false && stands(model))
        .map(({ file }) => file)
      if (models.length > 0) warn('batch.missing-models', { worker, models: models.join(', ') })
      if (inspection.paid.length > 0) {
        warn('batch.paid', { classTypes: inspection.paid.join(', ') })
        if (!this.#deps.hasAccountKey()) warn('batch.paid-no-key')
      }
    }
    if (plan.workers.length === 0 && isRehearsalOnly(workers)) warn('batch.rehearsal-only')
    const pattern = plan.pattern || this.#deps.settings.get().pattern
    const columnNames = [...Object.values(columns), ...Object.keys(plan.extra[0] ?? {})]
    const names = parameters.map(({ name }) => name)
    const tokens = unknownTokens(pattern, columnNames, names)
    if (tokens.length > 0) warn('batch.unknown-token', { tokens: tokens.join(' ') })
    return warnings
  }
}

function look(plan: BatchPlan, { loaded, grid, faults, emptyTexts }: Understood) {
  const { parameters } = loaded
  const rows = plan.rows.length || 1
  return previewBatch({ grid, parameters, textMagic: plan.textMagic, rows, faults, emptyTexts })
}

const isRehearsalOnly = (workers: readonly string[]) => workers.length > 0 && workers.every((id) => id === 'rehearsal')

const missingNodes = ({ inspection }: Loaded) => [
  ...new Set(inspection.problems.flatMap(({ kind, classType }) => (kind === 'missing-node' && classType) || [])),
]

/** @throws AppError 'convert.would-lose', 'batch.no-output', 'prompt.missing-node', 'prompt.paid', 'prompt.invalid', 'batch.empty', 'batch.faulty' */
function refuseWhatCannotRun(plan: BatchPlan, { loaded, grid, faults }: Understood, takers: readonly string[]) {
  const { inspection, name } = loaded
  const losses = inspection.problems.filter(({ kind }) => kind === 'loss')
  if (losses.length > 0 && !plan.allowLoss)
    throw new AppError('convert.would-lose', {
      name,
      count: losses.length,
      losses: losses.map(({ message }) => message),
    })
  const missing = missingNodes(loaded)
  if (inspection.outputs.length === 0 && missing.length === 0) throw new AppError('batch.no-output')
  if (missing.length > 0 && takers.every((id) => id === inspection.definitions.from))
    throw new AppError('prompt.missing-node', { classType: missing.join(', ') })
  if (inspection.paid.length > 0 && !plan.allowPaid && !isRehearsalOnly(takers))
    throw new AppError('prompt.paid', { classTypes: inspection.paid.join(', ') })
  const wrong = graphFaults(loaded, takers)
  if (wrong.length > 0) throw new AppError('prompt.invalid', { reason: wrong.join('; ') })
  const told = faults.slice(0, 100) as unknown as Json[]
  if (grid.rows.length === 0) throw new AppError('batch.empty', { faults: told })
  const [first] = faults
  if (first && !plan.skipFaulty) {
    const rows = new Set(faults.map(({ row }) => row)).size
    const { row, column, reason } = first
    throw new AppError('batch.faulty', { rows, row, column, reason, faults: told })
  }
}

const BAD_VALUES = new Set([
  'value_smaller_than_min',
  'value_bigger_than_max',
  'value_not_in_list',
  'invalid_input_type',
])

const GRAPH_FAULTS = new Set([
  'required_input_missing',
  'bad_linked_input',
  'return_type_mismatch',
  'dependency_cycle',
  'exception_during_validation',
  'exception_during_inner_validation',
])

/** What every taker would refuse whatever the values, in its own words. */
function graphFaults({ inspection }: Loaded, takers: readonly string[]): string[] {
  const { from, cachedAt } = inspection.definitions
  const areTheirs = from === 'bundled' ? isRehearsalOnly(takers) : takers.every((id) => id === from)
  if (!areTheirs || cachedAt !== undefined) return []
  return inspection.problems
    .filter(({ kind, code }) => kind === 'bad-value' && GRAPH_FAULTS.has(code))
    .map(({ node, classType, message }) => `${classType} ${node}: ${message}`)
}

/** What the takers' own definitions refuse of the workflow's values; others' say nothing certain. */
function standingFaults({ inspection, parameters, prompt }: Loaded, takers: readonly string[]): Standing[] {
  const { from } = inspection.definitions
  const areTheirs = from === 'bundled' ? isRehearsalOnly(takers) : takers.length === 0 || takers.includes(from)
  if (!areTheirs) return []
  return inspection.problems.flatMap(({ kind, node, input, code, message, facts }): Standing[] => {
    if (kind !== 'bad-value' || !BAD_VALUES.has(code) || node === null || input === null) return []
    const place = `${node}.${input}`
    const parameter = parameters.find(({ key, also }) => key === place || also?.includes(place))
    const value = prompt[node]?.inputs[input] ?? null
    if (!parameter) return [{ key: place, value, fault: { reason: message, code, facts } }]
    const { fault } = checkValue(parameter, value, () => undefined) // a seed of -1 is ours to draw
    return fault ? [{ key: parameter.key, value, fault }] : []
  })
}

/** Every value that names a file a server should have already: of rows, sets and axes, and the workflow's own. */
function* serverFilesIn(
  parameters: readonly Parameter[],
  given: readonly Values[],
  axes: readonly { key: string; values: readonly Json[] }[],
): Iterable<string> {
  for (const parameter of parameters.filter(({ upload }) => upload)) {
    const { key, default: standing } = parameter
    const values = [
      standing,
      ...given.map((row) => row[key]),
      ...axes.flatMap((axis) => (axis.key === key ? axis.values : [])),
    ]
    for (const value of values) {
      const file = serverFileOf(parameter, value)
      if (file !== null) yield file
    }
  }
}

/** The workflow's own files that a taker lacks: a fault of each row that does not replace them. */
const standingFiles = (parameters: readonly Parameter[], checkFile: FileCheck): Standing[] =>
  parameters.flatMap((parameter) => {
    const file = serverFileOf(parameter, parameter.default)
    const fault = file === null ? undefined : checkFile(file)
    return file !== null && fault ? [{ key: parameter.key, value: file, fault }] : []
  })

function mustFit(parameter: Parameter, raw: Json, checkFile: FileCheck): Json {
  const { value, fault } = checkValue(parameter, raw, checkFile)
  if (fault) throw new AppError('parameter.bad-value', { name: parameter.name, value: raw, ...fault, ...fault.facts })
  return value
}

/** A parameter's key by its key or name, each looked up once. */
function keysOf(parameters: Parameter[]): (name: string) => string {
  const keys = new Map<string, string>()
  return (name) => {
    const key = keys.get(name) ?? resolveParameter(parameters, name).key
    keys.set(name, key)
    return key
  }
}

function remembered<T>(look: (value: string) => T): (value: string) => T {
  const seen = new Map<string, T>()
  return (value) => {
    if (!seen.has(value)) seen.set(value, look(value))
    return seen.get(value)!
  }
}
