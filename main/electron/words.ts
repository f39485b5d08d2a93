import { type Failure, fill } from '../../core/contract/errors.ts'
import type { Settings } from '../../core/contract/settings.ts'
import en from '../../resources/locales/en/desktop.json' with { type: 'json' }
import zh from '../../resources/locales/zh-CN/desktop.json' with { type: 'json' }
import zhErrors from '../../resources/locales/zh-CN/errors.json' with { type: 'json' }
import zhProblems from '../../resources/locales/zh-CN/problems.json' with { type: 'json' }

export type Language = 'zh-CN' | 'en'
export type Words = typeof en

export const wordsIn = (language: Language): Words => (language === 'zh-CN' ? zh : en)

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
  return words ? { message: fill(words.message, facts), remedy: fill(words.remedy, facts) } : { message, remedy }
}

/** Why nothing moves: a problem, or an error that paused the queue. */
export function sayReason({ code, message }: { code: string; message: string }, language: Language): string {
  if (language === 'en') return message
  const problem = (zhProblems as Record<string, string>)[code]
  return problem ?? explain({ code, message, remedy: '', facts: {} }, language).message
}

/** How long something takes, as roughly as a person would say it. */
export function sayDuration(seconds: number, { duration }: Words): string {
  const minutes = Math.round(seconds / 60)
  if (minutes < 1) return duration.soon
  if (minutes < 60) return fill(duration.minutes, { minutes })
  const hours = minutes / 60
  if (hours >= 10 || minutes % 60 === 0) return fill(duration.hours, { hours: Math.round(hours) })
  // to the nearest ten minutes: nobody plans a night by the minute
  const tens = Math.round(minutes / 10) * 10
  return tens % 60 === 0
    ? fill(duration.hours, { hours: tens / 60 })
    : fill(duration.hoursMinutes, { hours: Math.floor(tens / 60), minutes: tens % 60 })
}
