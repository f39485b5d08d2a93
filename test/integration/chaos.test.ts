import { expect, test } from 'vitest'
import { noHits, playRound, points } from '../chaos/rounds.ts'

// The whole of it, five times each: npm run chaos:queue
test('killed once at every named point, the host loses nothing and makes nothing twice', async () => {
  const hits = noHits()
  const round = await playRound({ jobs: 10, victim: 'host', hits, times: 1 })
  expect(round).toMatchObject({ violations: [], outputs: 10, executed: 10 })
  expect(hits).toEqual(Object.fromEntries(points.map((point) => [point, 1])))
}, 120_000)

test('a server killed while it runs, and after it saved, costs no picture and doubles none', async () => {
  const hits = {
    ...noHits(),
    'job-row': 1,
    'attempt-row': 1,
    downloaded: 1,
    'before-artifact-commit': 1,
    'after-artifact-commit': 1,
  }
  const round = await playRound({ jobs: 10, victim: 'server', hits, times: 1 })
  expect(round).toMatchObject({ violations: [], outputs: 10 })
  expect(hits).toEqual(Object.fromEntries(points.map((point) => [point, 1])))
}, 120_000)
