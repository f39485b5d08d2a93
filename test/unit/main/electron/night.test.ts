import { expect, test } from 'vitest'
import { type Night, nightOf, nothingYet, taskbarOf, trayView } from '../../../../main/electron/night.ts'
import { sayDuration, wordsIn } from '../../../../main/electron/words.ts'
import { explain, languageOf, sayProblem } from '../../../../main/language.ts'

const none = { waiting: 0, running: 0, done: 0, failed: 0, cancelled: 0, parked: 0 }
const en = wordsIn('en')
const working: Night = { ...nothingYet, link: 'up', running: 1, waiting: 36, over: 3, total: 40, etaSeconds: 7200 }

test('the numbers are those of the batches that have not ended, not of all nights so far', () => {
  const counts = { ...none, waiting: 36, running: 1, done: 902, failed: 1 }
  const batches = [
    { counts: { ...none, done: 900 }, endedAt: 1 },
    { counts: { ...none, waiting: 36, running: 1, done: 2, failed: 1 }, endedAt: null },
  ]
  expect(nightOf({ counts, paused: 'no', etaSeconds: 7200, stalled: null }, batches, ({ message }) => message)).toEqual(
    {
      ...working,
      attention: 1,
    },
  )
})

test.each<[string, Partial<Night>, ReturnType<typeof trayView>]>([
  ['starting', { link: 'starting' }, { icon: 'idle', status: 'Starting …', action: null }],
  [
    'restarting',
    { link: 'down' },
    { icon: 'error', status: 'Nightshift is restarting its engine room …', action: null },
  ],
  ['idle', { total: 0, over: 0, running: 0, waiting: 0 }, { icon: 'idle', status: 'Nothing queued', action: 'pause' }],
  ['running', {}, { icon: 'running', status: '3 of 40, 2 h left', action: 'pause' }],
  ['running, time unknown', { etaSeconds: null }, { icon: 'running', status: '3 of 40', action: 'pause' }],
  ['paused', { paused: true }, { icon: 'paused', status: 'Paused, 3 of 40', action: 'resume' }],
  ['paused while idle', { paused: true, total: 0 }, { icon: 'paused', status: 'Nothing queued', action: 'resume' }],
  ['with failed jobs', { attention: 2 }, { icon: 'error', status: '3 of 40, 2 h left · 2 need you', action: 'pause' }],
  [
    'stalled',
    { running: 0, stalled: 'No worker is connected.' },
    { icon: 'idle', status: '3 of 40, waiting: No worker is connected.', action: 'pause' },
  ],
])('the tray while %s', (_name, part, expected) => {
  expect(trayView({ ...working, ...part }, en)).toEqual(expected)
})

test('the tray speaks Chinese', () => {
  expect(trayView(working, wordsIn('zh-CN')).status).toBe('已完成 3/40，还需 2 小时')
})

test.each<[Partial<Night>, ReturnType<typeof taskbarOf>]>([
  [{}, { value: 0.075, mode: 'normal' }],
  [{ paused: true }, { value: 0.075, mode: 'paused' }],
  [
    { attention: 1, paused: true },
    { value: 0.075, mode: 'error' },
  ],
  [{ total: 0 }, { value: -1, mode: 'none' }],
  [{ link: 'down' }, { value: -1, mode: 'none' }],
])('the taskbar with %o shows %o', (part, expected) => {
  expect(taskbarOf({ ...working, ...part })).toEqual(expected)
})

test.each([
  [5, 'less than a minute'],
  [60, '1 min'],
  [3540, '59 min'],
  [3600, '1 h'],
  [4500, '1 h 20 min'],
  [7140, '2 h'],
  [9 * 3600 + 1800, '9 h 30 min'],
  [35_990, '10 h'],
  [100_000, '28 h'],
])('%i seconds are said as %s', (seconds, expected) => {
  expect(sayDuration(seconds, en)).toBe(expected)
})

test.each([
  ['system', ['zh-TW', 'en-US'], 'zh-CN'],
  ['system', ['fr-FR', 'zh-CN'], 'zh-CN'],
  ['system', ['fr-FR'], 'en'],
  ['system', ['en-GB', 'zh-CN'], 'en'],
  ['en', ['zh-CN'], 'en'],
] as const)('chosen %s on a system of %o: %s', (chosen, system, expected) => {
  expect(languageOf(chosen, system)).toBe(expected)
})

test('reasons and failures are said in Chinese, with their facts; what has no words there, as it came', () => {
  expect(sayProblem({ code: 'queue.paused', message: 'The queue is paused.' }, 'zh-CN')).toBe('队列已暂停。')
  expect(sayProblem({ code: 'queue.paused', message: 'The queue is paused.' }, 'en')).toBe('The queue is paused.')
  expect(sayProblem({ code: 'no.such', message: 'As it came.' }, 'zh-CN')).toBe('As it came.')
  const failure = {
    code: 'import.empty',
    message: 'a.json is empty.',
    remedy: 'Export it again.',
    facts: { name: 'a.json' },
  }
  expect(explain(failure, 'zh-CN').message).toMatch(/a\.json.*空/)
  expect(explain(failure, 'en')).toEqual({ message: 'a.json is empty.', remedy: 'Export it again.' })
})
