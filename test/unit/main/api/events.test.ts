import { expect, test, vi } from 'vitest'
import { z } from 'zod'
import { event } from '../../../../core/contract/procedure.ts'
import { EventHub, type Frame, throttled } from '../../../../main/api/events.ts'

const contract = { counted: event(z.object({ n: z.int() })) }
type Told = Frame<typeof contract>

function hubAfter(events: number, limit = 100) {
  const hub = new EventHub<typeof contract>(1000, limit)
  for (let n = 1; n <= events; n += 1) hub.tell('counted', { n })
  return hub
}
function heard(hub: EventHub<typeof contract>, since: number | null) {
  const frames: Told[] = []
  const leave = hub.subscribe(since, (frame) => frames.push(frame))
  return { frames, leave }
}

test('a listener who says what it heard last is told what followed, and then what happens', () => {
  const hub = hubAfter(3)
  const { frames } = heard(hub, 1001)
  hub.tell('counted', { n: 4 })
  expect(frames).toEqual([
    { seq: 1002, name: 'counted', payload: { n: 2 } },
    { seq: 1003, name: 'counted', payload: { n: 3 } },
    { seq: 1004, name: 'counted', payload: { n: 4 } },
  ])
})

test('a listener who asks for nothing past is told only what follows', () => {
  const hub = hubAfter(3)
  const { frames } = heard(hub, null)
  expect(frames).toEqual([])
  hub.tell('counted', { n: 4 })
  expect(frames).toHaveLength(1)
})

test.each([
  ['from before what is kept', 1001],
  ['from an earlier run, whose numbers are smaller', 7],
  ['from a run that had told more', 99_999],
])('a listener %s is told to ask for everything again, and can go on from there', (_name, since) => {
  const hub = hubAfter(50, 10)
  const { frames } = heard(hub, since)
  expect(frames).toEqual([{ seq: hub.seq, name: 'reset', payload: {} }])
  hub.tell('counted', { n: 51 })
  expect(heard(hub, frames[0]!.seq).frames).toEqual([{ seq: 1051, name: 'counted', payload: { n: 51 } }])
})

test('what is kept does not grow without bound, and holds at least its limit', () => {
  const hub = hubAfter(1000, 10)
  expect(heard(hub, 1990).frames).toHaveLength(10)
})

test('who left hears nothing more', () => {
  const hub = hubAfter(0)
  const { frames, leave } = heard(hub, null)
  leave()
  hub.tell('counted', { n: 1 })
  expect(frames).toEqual([])
})

test('a throttled telling happens at once, then at most once in its time, and never loses the last', () => {
  vi.useFakeTimers()
  try {
    const tell = vi.fn()
    const { push, stop } = throttled(tell, 100)
    for (let at = 0; at < 10; at += 1) push()
    expect(tell).toHaveBeenCalledTimes(1)
    vi.advanceTimersByTime(100)
    expect(tell).toHaveBeenCalledTimes(2)
    vi.advanceTimersByTime(1000)
    expect(tell).toHaveBeenCalledTimes(2)
    push()
    push()
    stop()
    expect(tell).toHaveBeenCalledTimes(4)
    vi.advanceTimersByTime(1000)
    expect(tell).toHaveBeenCalledTimes(4)
  } finally {
    vi.useRealTimers()
  }
})
