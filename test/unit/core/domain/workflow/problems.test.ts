import { readFileSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { problemSentences } from '../../../../../core/domain/workflow/problems.ts'

test('a screen in English says a problem as the problem says itself', () => {
  const file = path.resolve(import.meta.dirname, '../../../../../resources/locales/en/problems.json')
  expect(JSON.parse(readFileSync(file, 'utf8'))).toMatchObject(problemSentences)
})
