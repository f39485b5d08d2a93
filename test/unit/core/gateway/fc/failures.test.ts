import { expect, test } from 'vitest'
import { AppError, toFailure } from '../../../../../core/contract/errors.ts'
import { toldOf } from '../../../../../core/gateway/fc/failures.ts'

test('what lies behind the agent is not told', () => {
  const failure = toFailure(new AppError('disk.full', { dir: '/srv/store' }))
  expect(toldOf(failure)).toMatchObject({ type: 'disk.full', message: 'The storage of the agent is full.', facts: {} })
  const other = toFailure(new AppError('agent.no-task', { id: 't' }))
  expect(toldOf(other)).toMatchObject({ message: other.message, facts: { id: 't' } })
})
