import { type Facts, type Failure, fill } from '../core/contract/errors.ts'
import { sayFacts, sayFilled, sayReason } from '../core/contract/reasons.ts'
import type { Settings } from '../core/contract/settings.ts'
import enProblems from '../resources/locales/en/problems.json' with { type: 'json' }
import enReasons from '../resources/locales/en/reasons.json' with { type: 'json' }
import zhErrors from '../resources/locales/zh-CN/errors.json' with { type: 'json' }
import zhProblems from '../resources/locales/zh-CN/problems.json' with { type: 'json' }
import zhReasons from '../resources/locales/zh-CN/reasons.json' with { type: 'json' }

export type Language = 'zh-CN' | 'en'

/** What the person chose, else the first of the system's languages that we speak, else English. */
export function languageOf(chosen: Settings['language'], system: readonly string[]): Language {
  if (chosen !== 'system') return chosen
  for (const language of system) {
    if (/^zh\b/i.test(language)) return 'zh-CN'
    if (/^en\b/i.test(language)) return 'en'
  }
  return 'en'
}

/** What happened and what to do, in the person's language. */
export function explain({ code, message, remedy, facts }: Failure, language: Language) {
  const words =
    language === 'zh-CN' ? (zhErrors as Record<string, { message: string; remedy: string }>)[code] : undefined
  if (!words) return { message: sayFilled(message, facts, language === 'zh-CN' ? zhReasons : enReasons), remedy }
  const said = sayFacts(facts, zhReasons)
  return { message: fill(words.message, said), remedy: fill(words.remedy, said) }
}

/** Why a connection or source failed. */
export const explainReason = (reason: string, language: Language) =>
  sayReason(reason, language === 'zh-CN' ? zhReasons : enReasons)

/** A problem, a warning, or the reason why nothing moves; or an error that is one of these. */
export function sayProblem(
  { code, message, facts = {} }: { code: string; message: string; facts?: Facts },
  language: Language,
): string {
  const problems: Record<string, string> = language === 'zh-CN' ? zhProblems : enProblems
  const sentence = problems[code]
  return sentence === undefined
    ? explain({ code, message, remedy: '', facts }, language).message
    : fill(sentence, facts)
}
