import { Writable } from 'node:stream'
import { expect, test } from 'vitest'
import { exitCodeOf, localeOf, takeGlobals } from '../../../../main/cli/context.ts'
import { sayTime, Terminal } from '../../../../main/cli/terminal.ts'
import { speechIn } from '../../../../main/cli/words.ts'

test('the options every command has may stand anywhere', () => {
  expect(takeGlobals(['--json', 'run', 'a.json', '--data', '/d', '--set', 'seed=-1', '--lang=zh'])).toEqual({
    globals: { json: true, data: '/d', lang: 'zh' },
    rest: ['run', 'a.json', '--set', 'seed=-1'],
  })
  expect(takeGlobals(['run', '--', '--json'])).toEqual({ globals: { json: false }, rest: ['run', '--', '--json'] })
})

test.each([['--data'], ['--lang'], ['--lang', 'fr']])('%s %s is a mistake', (...args) => {
  expect(() => takeGlobals(args)).toThrow(expect.objectContaining({ code: 'app.usage' }))
})

test.each([
  ['app.usage', 2],
  ['import.damaged', 2],
  ['table.unreadable', 2],
  ['mirror.unknown', 2],
  ['engine.unknown', 2],
  ['nodes.which-engine', 2],
  ['store.bad-address', 2],
  ['tunnel.unknown-host', 4],
  ['parameter.bad-value', 2],
  ['batch.empty', 2],
  ['convert.would-lose', 3],
  ['prompt.paid', 3],
  ['disk.full', 4],
  ['worker.unreachable', 4],
  ['app.data-in-use', 4],
  ['app.internal', 4],
  ['app.interrupted', 130],
])('%s ends with %i', (code, exit) => {
  expect(exitCodeOf({ code })).toBe(exit)
})

test.each([
  [{ LANG: 'zh_CN.UTF-8' }, 'zh-CN'],
  [{ LC_ALL: '', LANG: 'zh_CN.UTF-8' }, 'zh-CN'],
  [{ LC_ALL: 'C', LANG: 'zh_CN.UTF-8' }, 'en'],
])('of the environment %o the language is %s', (env, language) => {
  expect(localeOf(env)).toBe(language)
})

test.each([
  [0, '0:00'],
  [59.6, '1:00'],
  [3661, '1:01:01'],
])('%f seconds are said as %s', (seconds, said) => {
  expect(sayTime(seconds)).toBe(said)
})

function screen(isTTY: boolean) {
  let text = ''
  const kept = new Writable({
    write(more, _encoding, done) {
      text += more
      done()
    },
  })
  return { stream: Object.assign(kept, { isTTY, columns: 80 }), text: () => text }
}

test('with --json standard output holds nothing but events, and words go to standard error', () => {
  const out = screen(false)
  const err = screen(false)
  const terminal = new Terminal(true, speechIn('zh', {}), out.stream, err.stream)
  terminal.event('batch', { jobs: 2, seed: 18446744073709551615n })
  terminal.say('{n} jobs', { n: 2 })
  terminal.failure({ code: 'app.interrupted', message: 'Interrupted.', remedy: 'Again.', facts: {} })
  expect(out.text().trimEnd().split('\n')).toEqual([
    '{"event":"batch","jobs":2,"seed":18446744073709551615}',
    '{"event":"error","code":"app.interrupted","message":"Interrupted.","remedy":"Again.","facts":{}}',
  ])
  expect(err.text()).toContain('2 jobs')
  expect(err.text()).toMatch(/[\u4e00-\u9fff]/)
})

test('a bar with rate and time left is drawn on a terminal only, and gives way to words', () => {
  const drawn = [true, false].map((isTTY) => {
    const out = screen(isTTY)
    const err = screen(isTTY)
    const terminal = new Terminal(false, speechIn('en', {}), out.stream, err.stream)
    terminal.progress({ done: 5, total: 10, partial: 0.5, perMinute: 12, secondsLeft: 125 })
    terminal.say('row 1: a.png')
    terminal.endProgress()
    return { out: out.text(), err: err.text() }
  })
  expect(drawn[0]!.err).toContain('5/10  12/min  2:05 left')
  expect(drawn[0]!.out).toBe('row 1: a.png\n')
  expect(drawn[0]!.err.endsWith('\r\x1b[K')).toBe(true)
  expect(drawn[1]!.err).toBe('')
})
