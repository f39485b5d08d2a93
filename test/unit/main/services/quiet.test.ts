import { expect, onTestFinished, test } from 'vitest'
import { Quiet, type RunningPrompt } from '../../../../main/services/quiet.ts'
import { turnableClock } from '../../../kit/turnable-clock.ts'

const MINUTE = 60_000

/** A worker of this machine, on card 0, whose processes and card do as told. */
async function watched() {
  const clock = turnableClock()
  const machine = { running: [] as RunningPrompt[], workedMs: 0 as number | null, use: 0 as number | null, here: true }
  const quiet = new Quiet({
    clock,
    running: () => machine.running,
    localEngine: { worked: async () => (machine.here ? { card: '0', workedMs: machine.workedMs } : null) },
    cardUse: async () => machine.use,
    quietAfterMs: 10 * MINUTE,
    lookEveryMs: MINUTE,
  })
  const told: string[] = []
  quiet.events.on('changed', (id) => told.push(id))
  await quiet.start()
  onTestFinished(() => quiet.stop())
  const pass = async (minutes: number, each = () => {}) => {
    for (let at = 0; at < minutes; at++) {
      each()
      clock.turn(MINUTE)
      await new Promise((done) => setImmediate(done))
      await new Promise((done) => setImmediate(done))
    }
  }
  const begin = () => {
    machine.running = [{ workerId: 'local', jobId: 'j1', heardAt: clock.now() }]
  }
  return { clock, machine, quiet, told, pass, begin }
}

test('a prompt that tells nothing on a card that does nothing is told of, once; when it tells something, no more', async () => {
  const { machine, quiet, told, pass, begin, clock } = await watched()
  begin()
  const since = clock.now()
  await pass(9)
  expect(quiet.of('local')).toBeNull()
  await pass(3)
  expect(quiet.of('local')).toEqual({ jobId: 'j1', since, idle: true })
  const times = told.length
  await pass(20)
  expect(told).toHaveLength(times)
  begin()
  await pass(2)
  expect(quiet.of('local')).toBeNull()
  machine.running = []
  await pass(30)
  expect(quiet.of('local')).toBeNull()
})

test.each(['process', 'card'])('while its %s works, a silent prompt is not said to hang', async (what) => {
  const { machine, quiet, pass, begin } = await watched()
  begin()
  if (what === 'card') machine.use = 97
  await pass(15, () => {
    if (what === 'process') machine.workedMs = machine.workedMs! + 0.9 * MINUTE
  })
  expect(quiet.of('local')).toMatchObject({ jobId: 'j1', idle: false })
})

test('of a server elsewhere only the silence is known', async () => {
  const { machine, quiet, pass, begin } = await watched()
  machine.here = false
  begin()
  await pass(15)
  expect(quiet.of('local')).toMatchObject({ idle: null })
})

test('where a system says nothing of processes, the card says it; where neither does, nobody', async () => {
  const { machine, quiet, pass, begin } = await watched()
  machine.workedMs = null
  begin()
  await pass(15)
  expect(quiet.of('local')).toMatchObject({ idle: true })
  machine.use = null
  await pass(2)
  expect(quiet.of('local')).toMatchObject({ idle: null })
})
