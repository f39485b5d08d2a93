import i18next from 'i18next'
import { initReactI18next, useTranslation } from 'react-i18next'
import { type Failure, fill } from '../core/contract/errors.ts'
import type { JsonObject } from '../core/contract/json.ts'
import { sayName } from '../core/contract/names.ts'
import * as reasons from '../core/contract/reasons.ts'
import type { Settings } from '../core/contract/settings.ts'
import type { Parameter } from '../core/contract/workflow.ts'
import en from '../resources/locales/en/app.json'
import enProblems from '../resources/locales/en/problems.json'
import enReasons from '../resources/locales/en/reasons.json'
import zh from '../resources/locales/zh-CN/app.json'
import zhErrors from '../resources/locales/zh-CN/errors.json'
import zhNames from '../resources/locales/zh-CN/names.json'
import zhProblems from '../resources/locales/zh-CN/problems.json'
import zhReasons from '../resources/locales/zh-CN/reasons.json'

declare module 'i18next' {
  interface CustomTypeOptions {
    defaultNS: 'app'
    resources: { app: typeof en }
  }
}

const KEPT = 'nightshift.language'
type Language = 'en' | 'zh-CN'

const systemLanguage = (): Language => (/^zh\b/i.test(navigator.language) ? 'zh-CN' : 'en')

await i18next.use(initReactI18next).init({
  lng: localStorage.getItem(KEPT) ?? systemLanguage(),
  fallbackLng: 'en',
  supportedLngs: ['en', 'zh-CN'],
  ns: ['app'],
  defaultNS: 'app',
  resources: { en: { app: en }, 'zh-CN': { app: zh } },
  interpolation: { escapeValue: false, prefix: '{', suffix: '}' },
})
document.documentElement.lang = i18next.language

export function chooseLanguage(choice: Settings['language']) {
  const language = choice === 'system' ? systemLanguage() : choice
  localStorage.setItem(KEPT, language)
  document.documentElement.lang = language
  if (i18next.language !== language) void i18next.changeLanguage(language)
}

const language = () => i18next.language as Language

/** What happened and what to do, in the person's language where we have the words. */
export function sayFailure(failure: Failure): { message: string; remedy: string } {
  const words =
    language() === 'zh-CN' ? (zhErrors as Record<string, { message: string; remedy: string }>)[failure.code] : null
  const { message, remedy } = failure
  const asItCame = { message: reasons.sayFilled(message, failure.facts, reasonWords()), remedy }
  if (!words) return asItCame
  const facts = reasons.sayFacts(failure.facts, reasonWords())
  const said = { message: fill(words.message, facts), remedy: fill(words.remedy, facts) }
  return /\{\w+\}/.test(said.message) ? asItCame : said
}

const reasonWords = () => (language() === 'zh-CN' ? zhReasons : enReasons)
/** Why a connection or source failed, in the person's language where we have the words. */
export const sayReason = (reason: string) => reasons.sayReason(reason, reasonWords())

/** The rehearsal's device in the person's language; real ones are called what they are called. */
export const sayDevice = (name: string) => (name === 'Rehearsal (no GPU)' ? i18next.t('workers.noCard') : name)

/** A sentence with a code: a problem of a workflow, a warning, a fault in a row. */
export function saySentence(one: { code?: string; message: string; facts?: JsonObject }): string {
  const words: Record<string, string | undefined> = language() === 'zh-CN' ? zhProblems : enProblems
  const said = fill(words[one.code ?? ''] ?? one.message, one.facts ?? {})
  return /\{\w+\}/.test(said) ? one.message : said
}

/** A parameter's name; one that was never renamed is said in the person's language. */
export const sayParameter = ({ name, role }: Pick<Parameter, 'name' | 'role'>): string =>
  role === null || language() === 'en' ? name : sayName(name, zhNames)

const BYTE_UNITS = ['byte', 'kilobyte', 'megabyte', 'gigabyte', 'terabyte'] as const

/** Numbers, sizes, times, as the person's language writes them. */
export function formats(language: string) {
  const number = new Intl.NumberFormat(language)
  const stamp = new Intl.DateTimeFormat(language, { dateStyle: 'medium', timeStyle: 'short' })
  const clock = new Intl.DateTimeFormat(language, { timeStyle: 'short' })
  const zh = language === 'zh-CN'
  const span = (amount: number, unit: string) =>
    new Intl.NumberFormat(language, { style: 'unit', unit, unitDisplay: zh ? 'long' : 'narrow' }).format(amount)
  return {
    number: (value: number) => number.format(value),
    percent: (part: number) => new Intl.NumberFormat(language, { style: 'percent' }).format(part),
    bytes(value: number) {
      const power = Math.min(
        BYTE_UNITS.length - 1,
        Math.max(0, Math.floor(Math.log(Math.max(1, value)) / Math.log(1024))),
      )
      if (power === 0) return `${number.format(value)} B`
      return new Intl.NumberFormat(language, {
        style: 'unit',
        unit: BYTE_UNITS[power]!,
        unitDisplay: 'short',
        maximumFractionDigits: power < 2 ? 0 : 1,
      }).format(value / 1024 ** power)
    },
    time: (at: number) => clock.format(at),
    stamp: (at: number) => stamp.format(at),
    /** "2h 5m", "40s"; two units at most. */
    duration(seconds: number) {
      if (seconds < 9.95) return span(Math.round(Math.max(0, seconds) * 10) / 10, 'second')
      const whole = Math.round(seconds)
      const parts = [
        [Math.floor(whole / 86_400), 'day'],
        [Math.floor(whole / 3600) % 24, 'hour'],
        [Math.floor(whole / 60) % 60, 'minute'],
        [whole % 60, 'second'],
      ] as const
      const first = parts.findIndex(([amount]) => amount > 0)
      const two = parts.slice(first, first + 2).filter(([amount], place) => place === 0 || amount > 0)
      return two.map(([amount, unit]) => span(amount, unit)).join(zh ? '' : ' ')
    },
    ago(at: number, now = Date.now()) {
      const relative = new Intl.RelativeTimeFormat(language, { numeric: 'auto' })
      const seconds = Math.round((at - now) / 1000)
      if (seconds > -60) return relative.format(0, 'second')
      if (seconds > -3600) return relative.format(Math.round(seconds / 60), 'minute')
      if (seconds > -86_400) return relative.format(Math.round(seconds / 3600), 'hour')
      return seconds > -7 * 86_400 ? relative.format(Math.round(seconds / 86_400), 'day') : stamp.format(at)
    },
  }
}

const kept = new Map<string, ReturnType<typeof formats>>()
/** The words and formats of the language now chosen. */
export function useWords() {
  const { t, i18n } = useTranslation()
  const format = kept.get(i18n.language) ?? formats(i18n.language)
  kept.set(i18n.language, format)
  return { t, format, language: i18n.language }
}
export type Say = ReturnType<typeof useWords>['t']
