import type { Values } from '../../contract/batch.ts'
import { AppError } from '../../contract/errors.ts'
import type { Json } from '../../contract/json.ts'
import type { Parameter } from '../../contract/workflow.ts'
import { chanceOf } from './chance.ts'

/** A row of the table: its number there, the values it gives by parameter key, and what its other columns say. */
export interface Row {
  readonly row: number
  readonly values: Values
  readonly extra?: Readonly<Record<string, string>>
}

/** A batch plan whose values are keyed by `Parameter.key` and are what the nodes take. */
export interface Grid {
  readonly sets: Values
  readonly rows: readonly Row[]
  readonly axes: readonly { readonly key: string; readonly values: readonly Json[] }[]
  readonly repeat: number
}

/**
 * One job to make. `overrides`: all that differs from the base prompt with `sets` in it, which is kept once; every
 * value made by chance is among them, so the job is the same whenever it runs.
 */
export interface Expanded {
  readonly row: number
  /** 0 for the batch's first job. */
  readonly index: number
  readonly overrides: Values
  readonly label: string
  readonly extra: Readonly<Record<string, string>>
}

export const MAX_JOBS = 1_000_000
/** The editor's own bounds when it makes a seed. */
const MAX_SEED = 2 ** 50
const LABEL_LENGTH = 120

/** A placeholder within a text: it is filled per job, since once filled it is gone. */
const isMark = (key: string) => key.includes('{{')

/** The part of `sets` that goes into the base prompt. */
export const setsOfBase = (sets: Values): Values =>
  Object.fromEntries(Object.entries(sets).filter(([key]) => !isMark(key)))

export function countJobs({ rows, axes, repeat }: Pick<Grid, 'axes' | 'repeat'> & { rows: { length: number } }) {
  return axes.reduce((count, { values }) => count * values.length, rows.length * repeat)
}

/**
 * The overrides of each job, in order: for each row, for each combination of the axes (the last turns fastest), each
 * repetition. An axis wins over the row, and both over `sets`.
 * @throws AppError 'batch.too-large' above `limit`
 */
export function* expandBatch(
  grid: Grid,
  parameters: readonly Parameter[],
  chance: number,
  limit = MAX_JOBS,
): Iterable<Expanded> {
  const count = countJobs(grid)
  if (count > limit) throw new AppError('batch.too-large', { count, limit })
  const marks = Object.fromEntries(Object.entries(grid.sets).filter(([key]) => isMark(key)))
  const turning = parameters.filter((parameter) => turns(parameter, grid))
  const names = new Map(parameters.map(({ key, name }) => [key, name]))
  let index = 0
  for (const { row, values, extra = {} } of grid.rows) {
    for (const combination of combinations(grid.axes)) {
      const given: Values = { ...marks, ...values, ...combination }
      const label = labelOf(values, combination, names)
      for (let time = 0; time < grid.repeat; time++) {
        const overrides = { ...given }
        for (const parameter of turning) {
          const said = given[parameter.key]
          const value = turned(parameter, { said, set: grid.sets[parameter.key], index, repeat: grid.repeat, chance })
          if (value !== undefined) overrides[parameter.key] = value
        }
        yield { row, index, overrides, label, extra }
        index++
      }
    }
  }
}

function* combinations(axes: Grid['axes']): Iterable<Values> {
  const at = axes.map(() => 0)
  for (;;) {
    const combination: Values = {}
    for (const [axis, { key, values }] of axes.entries()) combination[key] = values[at[axis]!]!
    yield combination
    let axis = axes.length - 1
    while (axis >= 0 && ++at[axis]! === axes[axis]!.values.length) at[axis--] = 0
    if (axis < 0) return
  }
}

export const isSeed = ({ role }: Parameter) => role === 'seed'
/** −1, or a template's `{{seed}}` that nobody filled. */
const isRandomSeed = (parameter: Parameter, value: Json | undefined) =>
  isSeed(parameter) && (value === -1 || (typeof value === 'string' && value.includes('{{')))

/** Whether a parameter may take values nobody wrote down. */
const turns = (parameter: Parameter, { repeat, sets, rows, axes }: Grid) =>
  isSeed(parameter)
    ? (repeat > 1 && parameter.control !== 'fixed') ||
      (parameter.control ?? 'fixed') !== 'fixed' ||
      isRandomSeed(parameter, parameter.default) ||
      isRandomSeed(parameter, sets[parameter.key]) ||
      rows.some(({ values }) => isRandomSeed(parameter, values[parameter.key])) ||
      axes.some(({ key, values }) => key === parameter.key && values.some((value) => isRandomSeed(parameter, value)))
    : (parameter.control ?? 'fixed') !== 'fixed'

interface Said {
  /** By the row or an axis. */
  said: Json | undefined
  set: Json | undefined
  index: number
  repeat: number
  chance: number
}

/**
 * The value of a turning parameter for one job; undefined: what stands in the prompt. A row or an axis has the last
 * word, except that a seed of −1 asks for a new one; a value set for the whole batch is where counting starts.
 */
function turned(parameter: Parameter, { said, set, index, repeat, chance }: Said): Json | undefined {
  const random = () => newSeed(parameter, chanceOf(chance, index, parameter.key))
  const stands = said ?? set ?? parameter.default
  if (isRandomSeed(parameter, stands)) return random()
  if (said !== undefined) return said
  if (parameter.control === 'increment' || parameter.control === 'decrement' || parameter.control === 'increment-wrap')
    return counted(parameter, stands, index)
  if (set !== undefined) return undefined
  // what the editor fixed stays fixed; a prompt without the editor's control says nothing of it
  if (parameter.control === 'randomize' || (isSeed(parameter) && !parameter.control && repeat > 1)) return random()
  return undefined
}

/** Whether this parameter gets a value of its own in each job when row, axes and sets say what they say here. */
export function differsByJob(parameter: Parameter, { said, set, repeat }: Omit<Said, 'index' | 'chance'>): boolean {
  const at = (index: number) => turned(parameter, { said, set, repeat, index, chance: 0 })
  return at(0) !== at(1)
}

/** A value of the parameter's own range by chance, as the editor's randomize makes it. */
export function newSeed({ options, min, max, step, type, default: standing }: Parameter, random: () => number): Json {
  if (options) return options.length > 0 ? options[Math.floor(random() * options.length)]! : standing
  const stride = positive(step) ?? 1
  const low = Math.max(Number(min ?? 0), 0)
  const high = Math.max(low, Math.min(Number(max ?? MAX_SEED), MAX_SEED))
  const value = low + Math.floor(random() * (Math.floor((high - low) / stride) + 1)) * stride
  return type === 'FLOAT' ? Number(value.toFixed(10)) : value
}

const positive = (value: Json | undefined) => (typeof value === 'number' && value > 0 ? value : undefined)

/** `times` steps from where it stands, kept within its range; among choices, the ones after it. */
function counted({ control, options, min, max, step, type }: Parameter, standing: Json, times: number): Json {
  const direction = control === 'decrement' ? -1 : 1
  if (options) {
    const from = Math.max(options.indexOf(standing), 0)
    const at = from + direction * times
    const bounded = control === 'increment-wrap' ? at % options.length : Math.min(Math.max(at, 0), options.length - 1)
    return options[bounded] ?? standing
  }
  const stride = positive(step) ?? 1
  if (type === 'FLOAT' || !Number.isInteger(stride)) {
    const value = Number((Number(standing) + direction * stride * times).toFixed(10))
    return Math.min(Math.max(value, Number(min ?? -Infinity)), Number(max ?? Infinity))
  }
  if (typeof standing !== 'number' && typeof standing !== 'bigint') return standing
  let value = BigInt(standing) + BigInt(direction * stride) * BigInt(times)
  if (isWhole(max) && value > BigInt(max)) value = BigInt(max)
  if (isWhole(min) && value < BigInt(min)) value = BigInt(min)
  return Number.isSafeInteger(Number(value)) ? Number(value) : value
}

const isWhole = (value: Json | undefined): value is number | bigint =>
  typeof value === 'bigint' || (typeof value === 'number' && Number.isInteger(value))

/** What a person tells this job apart by: the row's values, then the axes'. */
function labelOf(values: Values, combination: Values, names: ReadonlyMap<string, string>): string {
  const said: string[] = []
  let length = 0
  for (const [key, value] of Object.entries({ ...values, ...combination })) {
    if (value === null || typeof value === 'object' || length > LABEL_LENGTH) continue
    const text = short(String(value))
    said.push(typeof value === 'string' && !(key in combination) ? text : `${names.get(key) ?? key} ${text}`)
    length += said.at(-1)!.length
  }
  return said.join(' · ')
}

const short = (text: string) => {
  const line = text
    .slice(0, 200)
    .replace(/^input:[0-9a-f]{64}\//, '')
    .replace(/\s+/g, ' ')
    .trim()
  return line.length > 60 ? `${line.slice(0, 59).replace(/[\ud800-\udbff]$/, '')}…` : line
}
