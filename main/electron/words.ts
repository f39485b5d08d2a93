import { fill } from '../../core/contract/errors.ts'
import en from '../../resources/locales/en/desktop.json' with { type: 'json' }
import zh from '../../resources/locales/zh-CN/desktop.json' with { type: 'json' }
import type { Language } from '../language.ts'

export type Words = typeof en

export const wordsIn = (language: Language): Words => (language === 'zh-CN' ? zh : en)

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
