import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { expandBatch, type Grid } from '../../../../../core/domain/batch/expand.ts'
import { aParameter, textParameters } from '../../../../kit/batch-kit.ts'

const grid = (more: Partial<Grid>): Grid => ({ sets: {}, rows: [{ row: 1, values: {} }], axes: [], repeat: 1, ...more })
const seed = (more = {}) => aParameter('3.seed', { role: 'seed', default: 42, min: 0, max: 2n ** 64n - 1n, ...more })
const seedsOf = (plan: Partial<Grid>, parameter = seed(), chance = 7) =>
  [...expandBatch(grid(plan), [parameter], chance)].map(({ overrides }) => overrides['3.seed'])

describe('the order of jobs', () => {
  test('rows turn slowest, the last axis fastest, and an axis wins over its row', () => {
    const plan = grid({
      rows: [
        { row: 2, values: { 'a.a': 1, 'c.c': 0 }, extra: { note: 'x' } },
        { row: 5, values: { 'a.a': 2 } },
      ],
      axes: [
        { key: 'b.b', values: ['p', 'q'] },
        { key: 'c.c', values: [8, 9] },
      ],
    })
    const jobs = [...expandBatch(plan, [], 1)]
    expect(jobs.map(({ row, index, overrides }) => [row, index, ...Object.values(overrides)])).toEqual([
      [2, 0, 1, 8, 'p'],
      [2, 1, 1, 9, 'p'],
      [2, 2, 1, 8, 'q'],
      [2, 3, 1, 9, 'q'],
      [5, 4, 2, 'p', 8],
      [5, 5, 2, 'p', 9],
      [5, 6, 2, 'q', 8],
      [5, 7, 2, 'q', 9],
    ])
    expect(jobs[0]).toMatchObject({ extra: { note: 'x' }, label: 'a.a 1 · c.c 8 · b.b p' })
  })

  test('as many jobs as rows × axes × repeat, each with an index of its own', () => {
    fc.assert(
      fc.property(
        fc.nat(4),
        fc.array(fc.integer({ min: 1, max: 4 }), { maxLength: 3 }),
        fc.integer({ min: 1, max: 3 }),
        (rows, sizes, repeat) => {
          const plan = grid({
            rows: Array.from({ length: rows }, (_, at) => ({ row: at + 1, values: {} })),
            axes: sizes.map((size, at) => ({
              key: `${at}.x`,
              values: Array.from({ length: size }, (_, value) => value),
            })),
            repeat,
          })
          const jobs = [...expandBatch(plan, [], 1)]
          expect(jobs.map(({ index }) => index)).toEqual(jobs.map((_, at) => at))
          expect(jobs).toHaveLength(sizes.reduce((all, size) => all * size, rows * repeat))
        },
      ),
      { seed: 1 },
    )
  })

  test('more jobs than allowed are refused before the first is made', () => {
    const plan = grid({ axes: [{ key: 'a.a', values: [1, 2, 3] }], repeat: 4 })
    expect(() => [...expandBatch(plan, [], 1, 11)]).toThrow('This would make 12 jobs')
  })
})

describe('seeds', () => {
  test('a workflow that randomises gets another seed in each job, the same ones for the same chance', () => {
    const plan = { axes: [{ key: 'a.a', values: [1, 2, 3] }] }
    const seeds = seedsOf(plan, seed({ control: 'randomize' }))
    expect(new Set(seeds).size).toBe(3)
    expect(seedsOf(plan, seed({ control: 'randomize' }))).toEqual(seeds)
    expect(seedsOf(plan, seed({ control: 'randomize' }), 8)).not.toEqual(seeds)
  })

  test('without repetition a seed nobody turns stays as the workflow has it', () => {
    expect(seedsOf({ axes: [{ key: 'a.a', values: [1, 2] }] })).toEqual([undefined, undefined])
    expect(seedsOf({ axes: [{ key: 'a.a', values: [1, 2] }] }, seed({ control: 'fixed' }))).toEqual([
      undefined,
      undefined,
    ])
  })

  test('repeating makes new seeds, unless a seed was said', () => {
    expect(new Set(seedsOf({ repeat: 5 })).size).toBe(5)
    expect(seedsOf({ repeat: 3, sets: { '3.seed': 9 } })).toEqual([undefined, undefined, undefined])
    expect(seedsOf({ repeat: 2, rows: [{ row: 1, values: { '3.seed': 9 } }] })).toEqual([9, 9])
  })

  test('repeating keeps a seed that the editor fixed, until −1 asks for new ones', () => {
    expect(seedsOf({ repeat: 2 }, seed({ control: 'fixed' }))).toEqual([undefined, undefined])
    expect(new Set(seedsOf({ repeat: 2, sets: { '3.seed': -1 } }, seed({ control: 'fixed' }))).size).toBe(2)
  })

  test.each([
    ['for the batch', { repeat: 2, sets: { '3.seed': -1 } }],
    ['by a row', { repeat: 2, rows: [{ row: 1, values: { '3.seed': -1 } }] }],
    ['by an axis', { axes: [{ key: '3.seed', values: [-1, -1] }] }],
  ])('a seed of −1 %s is a new seed for each job', (_, plan) => {
    const seeds = seedsOf(plan)
    expect(seeds).toHaveLength(2)
    for (const value of seeds) expect(value).toSatisfy((it: number) => Number.isInteger(it) && it >= 0 && it <= 2 ** 50)
    expect(seeds[0]).not.toBe(seeds[1])
  })

  test('a template’s seed that nobody filled is made by chance', () => {
    const [made] = seedsOf({}, seed({ default: '{{seed}}', type: 'INT' }))
    expect(made).toBeTypeOf('number')
    expect(seedsOf({ sets: { '3.seed': 5 } }, seed({ default: '{{seed}}' }))).toEqual([undefined])
  })

  test('counting goes on from the value that stands, keeps every digit and stays in range', () => {
    const three = { axes: [{ key: 'a.a', values: [1, 2, 3] }] }
    expect(seedsOf(three, seed({ control: 'increment' }))).toEqual([42, 43, 44])
    expect(seedsOf({ ...three, sets: { '3.seed': 100 } }, seed({ control: 'decrement' }))).toEqual([100, 99, 98])
    const last = 2n ** 64n - 2n
    expect(seedsOf(three, seed({ control: 'increment', default: last }))).toEqual([last, last + 1n, last + 1n])
    expect(seedsOf(three, seed({ control: 'decrement', default: 1 }))).toEqual([1, 0, 0])
  })

  test('a seed in the row is not counted on', () => {
    expect(
      seedsOf(
        {
          rows: [
            { row: 1, values: { '3.seed': 7 } },
            { row: 2, values: {} },
          ],
        },
        seed({ control: 'increment' }),
      ),
    ).toEqual([7, 43])
  })

  test('made seeds keep to the parameter’s own range', () => {
    fc.assert(
      fc.property(fc.nat(1000), fc.nat(1000), fc.nat(), (min, range, chance) => {
        const made = seedsOf({ repeat: 3 }, seed({ min, max: min + range }), chance) as number[]
        for (const value of made) expect(value >= min && value <= min + range).toBe(true)
      }),
      { seed: 1 },
    )
  })

  test('a choice that counts takes the next option, and wraps only when it says so', () => {
    const combo = (control: 'increment' | 'increment-wrap') =>
      aParameter('1.x', { type: 'COMBO', options: ['a', 'b', 'c'], default: 'b', control })
    const values = (control: 'increment' | 'increment-wrap') =>
      [...expandBatch(grid({ repeat: 4 }), [combo(control)], 1)].map(({ overrides }) => overrides['1.x'])
    expect(values('increment')).toEqual(['b', 'c', 'c', 'c'])
    expect(values('increment-wrap')).toEqual(['b', 'c', 'a', 'b'])
  })
})

test('what holds for the whole batch is not repeated in each job, but a mark in a text is', () => {
  const plan = grid({ sets: { '3.steps': 5, '6.text{{who}}': 'cat' }, axes: [{ key: '5.width', values: [64] }] })
  expect([...expandBatch(plan, textParameters(), 1)][0]?.overrides).toEqual({ '6.text{{who}}': 'cat', '5.width': 64 })
})
