import { readFileSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { batchSentences } from '../../../../../core/domain/batch/words.ts'
import { valueSentences } from '../../../../../core/domain/workflow/parameters.ts'

test('what is told of a batch can be said by every door in the same words', () => {
  const file = path.resolve(import.meta.dirname, '../../../../../resources/locales/en/problems.json')
  expect(JSON.parse(readFileSync(file, 'utf8'))).toMatchObject({ ...batchSentences, ...valueSentences })
})
