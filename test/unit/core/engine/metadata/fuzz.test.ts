import { expect, test } from 'vitest'
import { everyContainer } from '../../../../kit/containers.ts'
import { fuzzContainer } from '../../../../kit/fuzz-import.ts'

test.each(Object.keys(everyContainer))('damaged files of kind %s give workflows or errors of ours, soon', (kind) => {
  const { files, workflows, refused, slowestMs } = fuzzContainer(kind, 500)
  const refusals = Object.values(refused).reduce((sum, count) => sum + count, 0)
  expect(files).toBe(500)
  if (kind !== 'gzip') expect(workflows).toBeGreaterThan(0) // its checksum finds every change
  expect(refusals).toBeGreaterThan(0)
  expect(slowestMs).toBeLessThan(1000)
})
