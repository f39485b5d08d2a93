import type { RowFault, Values } from '../../contract/batch.ts'
import { AppError, type Facts } from '../../contract/errors.ts'
import type { Json } from '../../contract/json.ts'
import type { Parameter } from '../../contract/workflow.ts'
import { coerceValue } from '../workflow/parameters.ts'
import { isSeed, type Row } from './expand.ts'
import { placesOf } from './materialise.ts'
import { type BatchCode, warning } from './words.ts'

export interface Checked {
  /** Rows that can be queued, their values as the nodes take them. */
  readonly good: Row[]
  readonly faults: RowFault[]
  /** Cells of text left empty, which keep the workflow's value. */
  readonly emptyTexts: number
}

/** Why a file may not be given for an upload parameter, whoever has it; undefined: it may. */
export type FileCheck = (value: string) => Fault | undefined
export type FileFault = Extract<BatchCode, `row.file-${string}`>

/** Why a value does not fit: a sentence, its code and facts. */
export type Fault = Pick<RowFault, 'reason' | 'code' | 'facts'>

interface Asked {
  readonly parameters: readonly Parameter[]
  /** What each parameter's column is called, by key. */
  readonly columns: Readonly<Record<string, string>>
  /** Parameters that have a value from elsewhere (sets, axes). */
  readonly given: ReadonlySet<string>
  /** Values of the workflow's own that its nodes refuse: a fault of each row that does not replace them. */
  readonly standing?: readonly Standing[]
  readonly checkFile: FileCheck
}

export interface Standing {
  readonly key: string
  readonly value: Json
  readonly fault: Fault
}

/** Sorts rows, keyed by parameter key, into those every node would take and those with faults, each told with column and reason. */
export function checkRows(
  rows: readonly Row[],
  { parameters, columns, given, standing = [], checkFile }: Asked,
): Checked {
  const byKey = new Map(parameters.map((parameter) => [parameter.key, parameter]))
  const needed = new Map<string, { name: string; parameter: Parameter }>()
  for (const parameter of parameters) {
    const name = placeholderIn(parameter)
    if (name !== undefined && !given.has(parameter.key)) needed.set(parameter.key, { name, parameter })
  }
  const good: Row[] = []
  const faults: RowFault[] = []
  let emptyTexts = 0
  for (const row of rows) {
    const values: Values = {}
    const faulty = new Set<string>()
    const tell = (key: string, value: Json, fault: Fault) => {
      faulty.add(key)
      faults.push({ row: row.row, column: columns[key] ?? byKey.get(key)?.name ?? key, value: shown(value), ...fault })
    }
    for (const [key, raw] of Object.entries(row.values)) {
      const parameter = byKey.get(key)!
      if (raw === null || (typeof raw === 'string' && raw.trim() === '')) {
        if (parameter.type === 'STRING' && !needed.has(key)) emptyTexts++
        continue
      }
      const { value, fault } = checkValue(parameter, raw, checkFile)
      if (fault) tell(key, raw, fault)
      else values[key] = value
    }
    for (const [key, { name, parameter }] of needed) {
      if (key in values || faulty.has(key)) continue
      if (!isReplaced(parameter, (text) => text in values || given.has(text)))
        tell(key, '', faultOf('row.placeholder-empty', { placeholder: `{{${name}}}` }))
    }
    for (const { key, value, fault } of standing) {
      if (!(key in values || faulty.has(key) || given.has(key))) tell(key, value, fault)
    }
    if (faulty.size === 0) good.push({ ...row, values })
  }
  return { good, faults, emptyTexts }
}

const PLACEHOLDER = /^\s*\{\{\s*([^{}|]+?)\s*\}\}\s*$/

/** What stands in a parameter that cannot run as it is; a seed can: it is made by chance. */
function placeholderIn(parameter: Parameter): string | undefined {
  const { default: standing } = parameter
  return typeof standing === 'string' && !isSeed(parameter) ? PLACEHOLDER.exec(standing)?.[1] : undefined
}

/** Whether every text that holds this placeholder was replaced as a whole. */
const isReplaced = (parameter: Parameter, isGiven: (key: string) => boolean) =>
  placesOf(parameter).every(({ node, input, mark }) => mark !== undefined && isGiven(`${node}.${input}`))

export function faultOf(code: BatchCode, facts: Facts = {}): Fault {
  return { reason: warning(code, facts).message, code, facts }
}

/** One value as its node takes it, or why it does not. */
export function checkValue(
  parameter: Parameter,
  raw: Json,
  checkFile: FileCheck,
): { value: Json; fault?: undefined } | { value?: undefined; fault: Fault } {
  try {
    if (parameter.upload && typeof raw === 'string') {
      const fault = checkFile(raw.trim())
      if (fault) return { fault }
      if (isLocalFile(raw)) return { value: raw.trim() }
    }
    return { value: coerceValue(parameter, raw) }
  } catch (cause) {
    if (!(cause instanceof AppError)) throw cause
    const { name: _, reason, code, ...facts } = cause.facts
    return {
      fault: { reason: String(reason ?? cause.message), ...(typeof code === 'string' && { code, facts }) },
    }
  }
}

/** A file of this machine, rather than one the worker already has: kept by us, or an absolute path. */
export const isLocalFile = (value: string) => /^\s*(input:|\/|~\/|\\\\|[a-z]:[\\/]|file:\/\/)/i.test(value)

/** A file somewhere on the web, which is fetched before the batch is queued. */
export const isWebAddress = (value: string) => /^\s*https?:\/\/\S+\s*$/i.test(value)

const shown = (value: Json) => {
  const text = typeof value === 'object' && value !== null ? '[…]' : String(value)
  return text.length > 200 ? `${text.slice(0, 199)}…` : text
}
