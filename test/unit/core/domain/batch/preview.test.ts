import { describe, expect, test } from 'vitest'
import { expandBatch, type Grid } from '../../../../../core/domain/batch/expand.ts'
import { previewBatch } from '../../../../../core/domain/batch/preview.ts'
import { textParameters } from '../../../../kit/batch-kit.ts'
import { stopwatch } from '../../../../kit/stopwatch.ts'

const preview = (more: Partial<Grid>, { parameters = textParameters(), emptyTexts = 0, textMagic = true } = {}) => {
  const grid = { sets: {}, rows: [{ row: 1, values: {} }], axes: [], repeat: 1, ...more }
  const seen = previewBatch({ grid, parameters, textMagic, rows: grid.rows.length, faults: [], emptyTexts })
  expect(seen.jobs).toBe([...expandBatch(grid, parameters, 1)].length)
  return { jobs: seen.jobs, distinct: seen.distinctPrompts, codes: seen.warnings.map(({ code }) => code), all: seen }
}

test('prompts that differ only in their seed count once', () => {
  const rows = ['cat', 'dog', 'cat'].map((text, at) => ({ row: at + 1, values: { '6.text': text, '3.seed': at } }))
  const axes = [
    { key: '3.steps', values: [10, 20] },
    { key: '3.seed', values: [1, 2, 3] },
  ]
  expect(preview({ rows })).toMatchObject({ jobs: 3, distinct: 2, codes: [] })
  expect(preview({ rows: rows.slice(0, 2), axes })).toMatchObject({ jobs: 12, distinct: 4, codes: [] })
})

describe('repeating a fixed seed', () => {
  test('is warned about, with how many jobs repeat another', () => {
    const { all } = preview({ repeat: 4, sets: { '3.seed': 5 } })
    expect(all.warnings).toEqual([
      { code: 'batch.repeated-seed', message: expect.stringContaining('3 jobs'), facts: { count: 3, seeds: 'Seed' } },
    ])
  })
  test.each<[string, Partial<Grid>]>([
    ['the seeds are new', { repeat: 4 }],
    ['the seed is −1', { repeat: 4, sets: { '3.seed': -1 } }],
    ['an axis turns the seed', { sets: { '3.seed': 5 }, axes: [{ key: '3.seed', values: [1, 2] }] }],
    ['the text is chosen by chance', { repeat: 2, sets: { '3.seed': 5, '6.text': '{a|b|c}' } }],
  ])('is not warned about when %s', (_, plan) => {
    expect(preview(plan).codes).toEqual([])
  })
  test('identical rows are found too', () => {
    const rows = [1, 2, 3].map((row) => ({ row, values: { '6.text': 'cat', '3.seed': row === 3 ? -1 : 7 } }))
    expect(preview({ rows }).all.warnings[0]?.facts).toMatchObject({ count: 1 })
  })
  test('without any seed the jobs are simply the same', () => {
    const parameters = textParameters().filter(({ role }) => role !== 'seed')
    expect(preview({ repeat: 2 }, { parameters }).codes).toEqual(['batch.identical-jobs'])
  })
})

test('a hundred thousand rows are previewed in less than two seconds', () => {
  const rows = Array.from({ length: 100_000 }, (_, at) => ({
    row: at + 1,
    values: { '6.text': `a cat number ${at}`, '7.text': 'blurry', '3.steps': 20 },
  }))
  const took = stopwatch()
  const grid = { sets: {}, rows, axes: [{ key: '5.width', values: [512, 768] }], repeat: 2 }
  const seen = previewBatch({
    grid,
    parameters: textParameters(),
    textMagic: true,
    rows: rows.length,
    faults: [],
    emptyTexts: 0,
  })
  expect(seen).toMatchObject({ jobs: 400_000, distinctPrompts: 200_000 })
  expect(took()).toBeLessThan(2000)
})
