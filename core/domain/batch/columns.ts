import type { Parameter } from '../../contract/workflow.ts'
import { plain, plainWords } from '../workflow/role-words.ts'

/**
 * Which parameter each column most likely means, at most one column for each: by its exact key, its name, what forms
 * call it (`titles`, by key), words for its role, its input's name, then by what contains what; null where nothing fits.
 */
export function guessColumns(
  columns: readonly string[],
  sample: readonly (readonly string[])[],
  parameters: readonly Parameter[],
  titles: ReadonlyMap<string, readonly string[]> = new Map(),
): Record<string, string | null> {
  const numeric = columns.map((_, at) => looksNumeric(sample.map((row) => row[at] ?? '')))
  const pairs: { column: string; key: string; score: number }[] = []
  for (const [at, column] of columns.entries()) {
    for (const parameter of parameters) {
      const score = likeness(column, parameter, titles.get(parameter.key) ?? [])
      const fits = score >= SURE || !/^(INT|FLOAT)$/.test(parameter.type) || numeric[at] !== false
      if (score > 0 && fits) pairs.push({ column, key: parameter.key, score: score + standing(parameter) })
    }
  }
  const guessed: Record<string, string | null> = Object.fromEntries(columns.map((column) => [column, null]))
  const taken = new Set<string>()
  for (const { column, key } of pairs.sort((one, other) => other.score - one.score)) {
    if (guessed[column] !== null || taken.has(key)) continue
    guessed[column] = key
    taken.add(key)
  }
  return guessed
}

const SURE = 80

function likeness(column: string, { key, name, role, input, nodeTitle }: Parameter, titles: readonly string[]): number {
  if (column.trim() === key) return 100
  const said = plain(column)
  if (!said) return 0
  if (said === plain(name)) return 90
  if (titles.some((title) => said === plain(title))) return 88
  if (said === plain(key) || said === plain(`${nodeTitle} ${input}`)) return 85
  const roleWords = (role && plainWords.get(role)) ?? []
  const rank = roleWords.indexOf(said)
  if (rank >= 0) return 70 - rank * 0.1
  if (said === plain(input)) return 60
  if (said === plain(nodeTitle)) return 50
  const longest = Math.max(0, ...roleWords.filter((word) => telling(word) && said.includes(word)).map(weight))
  if (longest > 0) return 20 + Math.min(longest, 20)
  const named = plain(name)
  if (telling(named) && said.includes(named)) return 15
  if (telling(said) && named.includes(said)) return 10
  return 0
}

/** Long enough to mean something inside another word: three letters, or two Chinese characters. */
const telling = (word: string) => weight(word) >= 3
const weight = (word: string) => word.length + (word.match(/\p{Script=Han}/gu)?.length ?? 0)

/** Among equals, what the person pinned or sees on the form comes first. */
const standing = ({ pinned, shown, role }: Parameter) => (pinned ? 0.04 : 0) + (shown ? 0.02 : 0) + (role ? 0.01 : 0)

/** Whether the filled cells are numbers; undefined where there are none. */
function looksNumeric(cells: readonly string[]): boolean | undefined {
  const filled = cells.filter((cell) => cell.trim() !== '')
  if (filled.length === 0) return undefined
  return filled.filter((cell) => Number.isFinite(Number(cell))).length * 2 >= filled.length
}
