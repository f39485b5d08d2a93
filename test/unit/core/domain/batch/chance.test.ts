import { expect, test } from 'vitest'
import { chanceOf } from '../../../../../core/domain/batch/chance.ts'

test('the same arguments give the same numbers, others give others', () => {
  const draw = (...parts: (number | string)[]) => Array.from({ length: 3 }, chanceOf(1, ...parts))
  expect(draw(0, 'a')).toEqual(draw(0, 'a'))
  const all = [draw(0, 'a'), draw(1, 'a'), draw(0, 'b'), draw('0a'), draw(0, '', 'a')]
  expect(new Set(all.flat()).size).toBe(15)
})

test('neighbouring jobs share nothing: their first numbers fall evenly', () => {
  const tenths = Array<number>(10).fill(0)
  for (let index = 0; index < 10_000; index++) tenths[Math.floor(chanceOf(7, index, 'text', '6.text')() * 10)]!++
  for (const count of tenths) expect(Math.abs(count - 1000)).toBeLessThan(120)
})
