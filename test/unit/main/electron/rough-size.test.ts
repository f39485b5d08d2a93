import { expect, test } from 'vitest'
import { AppError } from '../../../../core/contract/errors.ts'
import { roughSizeOf } from '../../../../main/electron/rough-size.ts'

const MiB = 1024 * 1024

test('a long text, a long list and a deep tree are all too large', () => {
  const deep = Array.from({ length: 300 }).reduce<object>((inner) => ({ inner }), {})
  expect(roughSizeOf({ base64: 'A'.repeat(2 * MiB) }, MiB)).toBeGreaterThan(MiB)
  expect(roughSizeOf(new Array(2 * MiB), MiB)).toBeGreaterThan(MiB)
  expect(roughSizeOf(deep, 1000)).toBeGreaterThan(1000)
})

test('what holds itself ends at the limit', () => {
  const ring: { self?: unknown } = {}
  ring.self = ring
  expect(roughSizeOf(ring, MiB)).toBeGreaterThan(MiB)
})

test('ordinary input counts about its length, long integers included', () => {
  const size = roughSizeOf({ name: 'seed', values: [1, 18446744073709551615n, null, true, 'x'.repeat(100)] }, MiB)
  expect(size).toBeGreaterThan(100)
  expect(size).toBeLessThan(400)
})

test.each([[new Map([[1, 2]])], [{ inside: new Uint8Array(4) }], [[new Date(0)]]])('%o is not JSON', (value) => {
  expect(() => roughSizeOf(value, MiB)).toThrow(AppError)
})
