import type { Json } from '../../contract/json.ts'

const LONGEST_PATTERN = 200
const MOST_REPEATS = 3

/**
 * A pattern that a stranger wrote, searched anywhere: one that could take forever (a repeated group
 * with a repeat or a choice within, many repeats, a back reference) or that is none here is left out.
 */
export function safePattern(source: Json | undefined): RegExp | null {
  if (typeof source !== 'string' || source === '' || source.length > LONGEST_PATTERN) return null
  const bare = source.replace(/\\[^\dk]/g, 'x').replace(/\[\^?\]?[^\]]*\]/g, 'x')
  if (/\\/.test(bare) || /\(\?(?!:)/.test(bare)) return null
  if ((bare.match(/[*+]|\{\d*,?\d*\}/g) ?? []).length > MOST_REPEATS) return null
  if (/\)[*+{]/.test(bare)) return null
  try {
    return new RegExp(source)
  } catch {
    return null
  }
}
