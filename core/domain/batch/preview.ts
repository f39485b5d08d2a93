import type { BatchPreview, RowFault, Sentence, Values } from '../../contract/batch.ts'
import type { Json } from '../../contract/json.ts'
import type { Parameter } from '../../contract/workflow.ts'
import { countJobs, differsByJob, type Grid, isSeed } from './expand.ts'
import { warning } from './words.ts'

/** Faults told one by one; the rest are only counted. */
export const MAX_FAULTS = 1000

interface Seen {
  readonly grid: Grid
  readonly parameters: readonly Parameter[]
  readonly textMagic: boolean
  readonly rows: number
  readonly faults: readonly RowFault[]
  readonly emptyTexts: number
}

/** What a batch would be, without making its jobs: a hundred thousand rows take no longer than reading them. */
export function previewBatch(seen: Seen): Omit<BatchPreview, 'exampleNames'> {
  const { grid, parameters, rows, faults, emptyTexts } = seen
  const jobs = countJobs(grid)
  const warnings: Sentence[] = []
  const { prompts, runs } = countDistinct(seen)
  if (runs < jobs) {
    const count = jobs - runs
    const seeds = parameters.filter(isSeed).map(({ name }) => name)
    if (seeds.length > 0) warnings.push(warning('batch.repeated-seed', { count, seeds: seeds.join(', ') }))
    else warnings.push(warning('batch.identical-jobs', { count }))
  }
  if (emptyTexts > 0) warnings.push(warning('batch.empty-cells', { count: emptyTexts }))
  if (faults.length > MAX_FAULTS)
    warnings.push(warning('batch.more-faults', { limit: MAX_FAULTS, count: faults.length }))
  return {
    jobs,
    rows,
    goodRows: grid.rows.length,
    distinctPrompts: prompts,
    faults: faults.slice(0, MAX_FAULTS),
    warnings,
  }
}

/**
 * `prompts`: how many differ in more than seed and file name. `runs`: how many differ at all. Axes win over rows, so
 * what rows and axes each tell apart multiplies.
 */
function countDistinct({ grid, parameters, textMagic }: Seen): { prompts: number; runs: number } {
  const { sets, rows, axes, repeat } = grid
  const byAxis = new Map(axes.map(({ key, values }) => [key, values]))
  const aside = new Set(parameters.filter((it) => isSeed(it) || it.role === 'filename-prefix').map(({ key }) => key))
  const mayDiffer = parameters.filter((it) => isSeed(it) || (it.control ?? 'fixed') !== 'fixed')
  const turnsAlways = (values: Values) =>
    mayDiffer.some((parameter) => {
      const { key } = parameter
      const said = byAxis.has(key) ? byAxis.get(key)! : [values[key]]
      return said.every((one) => differsByJob(parameter, { said: one, set: sets[key], repeat }))
    })
  const isMagic = parameters.some(({ key, dynamicPrompts, default: standing }) => {
    if (!textMagic || !dynamicPrompts) return false
    const base = sets[key] ?? standing
    return [base, ...(byAxis.get(key) ?? [])].some(hasChoice) || rows.some(({ values }) => hasChoice(values[key]))
  })

  const promptRows = new Set<string>()
  const runRows = new Set<string>()
  let oneOfAKind = 0
  for (const { values } of rows) {
    const kept = Object.entries(values).filter(([key]) => !byAxis.has(key))
    promptRows.add(fingerprint(kept.filter(([key]) => !aside.has(key))))
    if (isMagic || turnsAlways(values)) oneOfAKind++
    else runRows.add(fingerprint(kept))
  }
  const distinctValues = (keep: (key: string) => boolean) =>
    axes.reduce((count, { key, values }) => (keep(key) ? count * new Set(values.map(print)).size : count), 1)
  const perRow = axes.reduce((count, { values }) => count * values.length, repeat)
  return {
    prompts: promptRows.size * distinctValues((key) => !aside.has(key)),
    runs: oneOfAKind * perRow + runRows.size * distinctValues(() => true),
  }
}

const hasChoice = (value: Json | undefined) => typeof value === 'string' && value.includes('{')
const print = (value: Json) => (typeof value === 'object' ? JSON.stringify(value) : `${typeof value}${value}`)
const fingerprint = (entries: readonly [string, Json][]) =>
  entries.map(([key, value]) => `${key}\u0001${print(value)}`).join('\u0002')
