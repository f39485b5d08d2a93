import { expect, test } from 'vitest'
import { type Hits, noHits, playRound, points, type Round, type Victim } from '../chaos/rounds.ts'

const ROUNDS = 6 // on a slow machine a round may end before every point came by

/** Rounds of ten jobs until every point was hit once; each of them whole. */
async function playUntilHit(victim: Victim, hits: Hits, wanted: Partial<Round>) {
  for (let n = 0; n < ROUNDS && points.some((point) => hits[point] < 1); n += 1)
    expect(await playRound({ jobs: 10, victim, hits, times: 1 })).toMatchObject({
      violations: [],
      outputs: 10,
      ...wanted,
    })
  expect(hits).toEqual(Object.fromEntries(points.map((point) => [point, 1])))
}

// The whole of it, five times each: npm run chaos:queue
test('killed once at every named point, the host loses nothing and makes nothing twice', async () => {
  await playUntilHit('host', noHits(), { executed: 10 })
}, 240_000)

test('a server killed while it runs, and after it saved, costs no picture and doubles none', async () => {
  const onTheWay = { posted: 0, 'mid-run': 0, 'server-saved': 0 }
  const hits = Object.fromEntries(points.map((point) => [point, point in onTheWay ? 0 : 1])) as Hits
  await playUntilHit('server', hits, {})
}, 240_000)
