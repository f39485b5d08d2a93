import { expect, test, vi } from 'vitest'
import { z } from 'zod'
import { AppError } from '../../../../core/contract/errors.ts'
import { command, event, query } from '../../../../core/contract/procedure.ts'
import { call } from '../../../../main/api/call.ts'

const contract = {
  double: query(z.object({ n: z.int(), also: z.int().default(1) }), z.object({ n: z.int() })),
  secret: query(z.object({}), z.object({}), 'local'),
  fails: command(z.object({}), z.object({})),
  breaks: command(z.object({}), z.object({})),
  lies: query(z.object({}), z.object({ n: z.int() })),
  happened: event(z.object({})),
}
const router = {
  double: ({ n, also }: { n: number; also: number }) => ({ n: n * 2 + also, hidden: 'not in the contract' }),
  secret: () => ({}),
  fails: () => {
    throw new AppError('app.not-found', { what: 'It' })
  },
  breaks: () => {
    throw new TypeError('undefined is not a function')
  },
  lies: () => ({ n: 'many' }) as never,
}
const ask = (name: string, input: unknown = {}, reach: 'any' | 'local' = 'any', onFault?: () => void) =>
  call(contract, router, name, input, reach, onFault)

test('a procedure gets its input with defaults, and gives only what the contract says', async () => {
  expect(await ask('double', { n: 4 })).toEqual({ ok: true, value: { n: 9 } })
})

test('a wrong input is the caller’s fault, told with the place', async () => {
  const envelope = await ask('double', { n: 'four' })
  expect(envelope).toMatchObject({ ok: false, failure: { code: 'app.bad-request' } })
  expect(envelope.ok === false && envelope.failure.message).toContain('n:')
})

test.each(['nothing', 'happened', 'toString', '__proto__', 'constructor'])('%s is no procedure', async (name) => {
  expect(await ask(name)).toMatchObject({ ok: false, failure: { code: 'app.unknown-procedure' } })
})

test('what only this machine may ask is refused to others', async () => {
  expect(await ask('secret', {}, 'any')).toMatchObject({ ok: false, failure: { code: 'app.refused' } })
  expect(await ask('secret', {}, 'local')).toEqual({ ok: true, value: {} })
})

test('a failure of ours keeps its code, words and facts, and is no fault', async () => {
  const onFault = vi.fn()
  expect(await ask('fails', {}, 'any', onFault)).toEqual({
    ok: false,
    failure: {
      code: 'app.not-found',
      message: 'It was not found.',
      remedy: 'It may have been removed; go back to the list.',
      facts: { what: 'It' },
    },
  })
  expect(onFault).not.toHaveBeenCalled()
})

test.each(['breaks', 'lies'])('%s: a mistake in the program is told to the log', async (name) => {
  const onFault = vi.fn()
  expect(await ask(name, {}, 'any', onFault)).toMatchObject({ ok: false, failure: { code: 'app.internal' } })
  expect(onFault).toHaveBeenCalledOnce()
})
