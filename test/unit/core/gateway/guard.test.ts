import { expect, test } from 'vitest'
import { isOurHost } from '../../../../core/gateway/guard.ts'
import { Rate } from '../../../../core/gateway/rate.ts'

test.each([
  ['127.0.0.1:8421', '127.0.0.1', true],
  ['localhost:8421', '127.0.0.1', true],
  ['[::1]:8421', '::1', true],
  ['127.0.0.1:8422', '127.0.0.1', false],
  ['127.0.0.1', '127.0.0.1', false],
  ['evil.test:8421', '127.0.0.1', false],
  ['evil.test:8421', '0.0.0.0', false],
  ['192.0.2.7:8421', '0.0.0.0', false],
  ['127.0.0.1.evil.test:8421', '0.0.0.0', false],
  ['', '0.0.0.0', false],
])('Host %j while listening on %s is ours: %s', (host, listening, ours) => {
  expect(isOurHost(host, listening, 8421)).toBe(ours)
})

test('a name the person gave is ours on any port, since a proxy of theirs may be before it', () => {
  expect(isOurHost('gpu.example:443', '127.0.0.1', 8421, ['GPU.example'])).toBe(true)
  expect(isOurHost('gpu.example.evil.test', '127.0.0.1', 8421, ['gpu.example'])).toBe(false)
})

test('so many at once, then so many a second; each name on its own', () => {
  let now = 0
  const rate = new Rate(3, 1, () => now)
  const take = (name: string, times: number) => Array.from({ length: times }, () => rate.take(name))
  expect(take('a', 4)).toEqual([true, true, true, false])
  expect(take('b', 1)).toEqual([true])
  now = 2_000
  expect(take('a', 3)).toEqual([true, true, false])
  now = 1_000_000
  expect(take('a', 4)).toEqual([true, true, true, false])
})
