import { expect, test } from 'vitest'
import { Rate } from '../../../../core/gateway/rate.ts'

test('so many at once, then as many as time brings; who asks too early is told when', () => {
  let now = 0
  const rate = new Rate(2, 0.5, () => now)
  expect([rate.wait('a'), rate.wait('a'), rate.wait('a'), rate.wait('b')]).toEqual([0, 0, 2, 0])
  now = 1_000
  expect(rate.wait('a')).toBe(1)
  now = 2_000
  expect([rate.take('a'), rate.take('a')]).toEqual([true, false])
  now = 60_000
  expect([rate.wait('a'), rate.wait('a'), rate.wait('a')]).toEqual([0, 0, 2])
})
