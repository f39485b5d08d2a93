import { existsSync, readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { errors } from '../../../core/contract/errors.ts'

const locales = path.resolve(import.meta.dirname, '../../../resources/locales')
type Words = { [key: string]: string | Words }
const read = (language: string, file: string) =>
  JSON.parse(readFileSync(path.join(locales, language, file), 'utf8')) as Words

/** `a.b` → the names in braces of its sentence, sorted. */
const shape = (words: Words, at = ''): [string, string[]][] =>
  Object.entries(words).flatMap(([key, value]) =>
    typeof value === 'string'
      ? [[at + key, [...value.matchAll(/\{+(\w+)\}+/g)].map(([, name]) => name!).sort()] satisfies [string, string[]]]
      : shape(value, `${at + key}.`),
  )
/** i18next's plural forms differ between languages: English has two, Chinese one. */
const withoutPlurals = (shapes: [string, string[]][]) =>
  new Map(shapes.map(([key, names]) => [key.replace(/_(one|other)$/, ''), [...new Set(names)]]))

test('every error has Chinese words with the same facts', () => {
  expect(withoutPlurals(shape(read('zh-CN', 'errors.json')))).toEqual(withoutPlurals(shape(errors)))
})

test.each(readdirSync(path.join(locales, 'en')))('%s says the same things in English and Chinese', (file) => {
  expect(existsSync(path.join(locales, 'zh-CN', file))).toBe(true)
  expect(withoutPlurals(shape(read('zh-CN', file)))).toEqual(withoutPlurals(shape(read('en', file))))
})
