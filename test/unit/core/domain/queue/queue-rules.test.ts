import { describe, expect, test } from 'vitest'
import { chooseWorker, mayTake } from '../../../../../core/domain/queue/choose-worker.ts'
import { reconcile } from '../../../../../core/domain/queue/reconcile.ts'
import { retryAfterMs } from '../../../../../core/domain/queue/retry.ts'
import { isOpen, opensNext, planWindow } from '../../../../../core/domain/queue/window.ts'

describe('reconcile', () => {
  const fresh = { submitted: false, began: false, lostAfterBegin: 0, lostAfterSubmit: 0 }
  const began = { ...fresh, submitted: true, began: true }
  test.each([
    ['an attempt that ended while nobody looked is adopted', began, 'saved', 'adopt'],
    ['a failure is an ending like any other', began, 'failed', 'adopt'],
    ['an interruption too', began, 'interrupted', 'adopt'],
    ['one still queued is followed again', fresh, 'queued', 'reattach'],
    ['one still running is followed again', fresh, 'running', 'reattach'],
    ['one that never arrived is run, however often', { ...fresh, lostAfterSubmit: 9 }, 'lost', 'rerun'],
    ['one whose server died is run once more', began, 'lost', 'rerun'],
    [
      'one that was running both times its server died is given up',
      { ...began, lostAfterBegin: 1 },
      'lost',
      'forgotten',
    ],
    ['one that only waited there is not to blame', { ...fresh, submitted: true, lostAfterBegin: 1 }, 'lost', 'rerun'],
    ['one that vanishes without ever running ends too', { ...began, lostAfterSubmit: 4 }, 'lost', 'forgotten'],
    ['an answer that means nothing needs a person', began, 'perhaps', 'park'],
  ])('%s', (_name, attempt, is, decision) => {
    expect(reconcile(attempt, { is })).toBe(decision)
  })
})

describe('retry', () => {
  test('pauses grow threefold up to five minutes, as often as the batch says', () => {
    const pauses = [1, 2, 3, 4, 5, 6, 7].map((failures) => retryAfterMs({ failures, retries: 6, retryable: true }))
    expect(pauses).toEqual([5_000, 15_000, 45_000, 135_000, 300_000, 300_000, null])
  })
  test('a refused prompt is not tried again', () => {
    expect(retryAfterMs({ failures: 1, retries: 6, retryable: false })).toBeNull()
  })
})

describe('window', () => {
  const at = (hours: number, minutes = 0, day = 15) => new Date(2026, 5, day, hours, minutes).getTime()
  test.each([
    ['22:00', '07:00', at(21, 59), false],
    ['22:00', '07:00', at(22), true],
    ['22:00', '07:00', at(3, 0, 16), true],
    ['22:00', '07:00', at(7, 0, 16), false],
    ['22:00', '07:00', at(23, 0, 18), true],
    ['09:00', '17:00', at(12), true],
    ['09:00', '17:00', at(17), false],
    ['22:00', null, at(21), false],
    ['22:00', null, at(12, 0, 16), true],
    [null, '07:00', at(23), true],
    [null, '07:00', at(7, 0, 16), false],
    [null, null, at(4), true],
    ['08:00', '08:00', at(4), true],
  ])('from %s to %s, asked for at 20:00', (startAt, stopAt, now, open) => {
    expect(isOpen(planWindow(startAt, stopAt, at(20)), now)).toBe(open)
  })
  test('a closed window says when it opens', () => {
    expect(opensNext(planWindow('22:00', '07:00', at(20)), at(20))).toBe(at(22))
    expect(opensNext(planWindow('22:00', null, at(20)), at(20))).toBe(at(22))
    expect(opensNext(planWindow('22:00', '07:00', at(20)), at(23))).toBeNull()
    expect(opensNext(planWindow(null, '07:00', at(20)), at(8, 0, 16))).toBeNull()
  })
})

describe('choosing a worker', () => {
  test('each has one before any has two, in share of what it holds', () => {
    const workers = [
      { id: 'a', capacity: 2, inFlight: 1 },
      { id: 'b', capacity: 2, inFlight: 0 },
      { id: 'c', capacity: 8, inFlight: 1 },
    ]
    expect(chooseWorker(workers)?.id).toBe('b')
    expect(chooseWorker(workers.filter(({ id }) => id !== 'b'))?.id).toBe('c')
    expect(chooseWorker([{ capacity: 1, inFlight: 1 }])).toBeUndefined()
  })
  test('sketches are made only for batches that ask for them', () => {
    expect(mayTake([], { id: 'rehearsal', kind: 'rehearsal' })).toBe(false)
    expect(mayTake(['rehearsal'], { id: 'rehearsal', kind: 'rehearsal' })).toBe(true)
    expect(mayTake([], { id: 'gpu', kind: 'remote' })).toBe(true)
    expect(mayTake(['other'], { id: 'gpu', kind: 'remote' })).toBe(false)
  })
})
