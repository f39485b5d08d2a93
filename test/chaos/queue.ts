// Kills the host, then the server, at every named point of a job's way, and looks whether anything was lost or doubled.
import { parseArgs } from 'node:util'
import { noHits, playRound, points, type Victim } from './rounds.ts'

const { values } = parseArgs({
  options: {
    jobs: { type: 'string', default: '40' },
    times: { type: 'string', default: '5' },
    rounds: { type: 'string', default: '12' },
  },
})
const [jobs, times, most] = [Number(values.jobs), Number(values.times), Number(values.rounds)]
let ok = true
for (const victim of ['host', 'server'] satisfies Victim[]) {
  const hits = noHits()
  for (let round = 1; round <= most && points.some((point) => hits[point] < times); round += 1) {
    const before = performance.now()
    const played = await playRound({ jobs, victim, hits, times })
    ok &&= played.violations.length === 0
    console.log(
      JSON.stringify({
        event: 'round',
        victim,
        round,
        ...played,
        hits,
        seconds: Math.round((performance.now() - before) / 1000),
      }),
    )
  }
  const enough = points.every((point) => hits[point] >= times)
  ok &&= enough
  console.log(JSON.stringify({ event: 'victim', victim, ok: enough, times, hits }))
}
console.log(JSON.stringify({ event: 'done', ok }))
process.exitCode = ok ? 0 : 1
