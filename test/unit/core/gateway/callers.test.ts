import { createHash, createHmac } from 'node:crypto'
import { expect, test } from 'vitest'
import { checkSignature, KeyList, keyIdOf, signatureOf } from '../../../../core/gateway/callers.ts'

const NOW = Date.parse('2026-11-21T12:00:00Z')
const codeOf = (act: () => unknown): string => {
  try {
    act()
  } catch (cause) {
    return `${(cause as { code: string }).code}: ${(cause as { facts: { reason: string } }).facts.reason}`
  }
  return 'let in'
}

test('a line of keys says what a key opens, until when, and how often', () => {
  const keys = new KeyList(
    [
      '# who',
      '',
      'both',
      'runs run',
      'shared  run expires=2026-11-22 rate=5',
      'old publish expires=2026-11-21T11:59:59Z',
    ],
    () => NOW,
  )
  expect(keys.size).toBe(4)
  expect(keys.enter('both')).toEqual({ id: keyIdOf('both'), scopes: ['run', 'publish'] })
  expect(keys.enter('runs')).toEqual({ id: keyIdOf('runs'), scopes: ['run'] })
  expect(keys.enter('shared')).toEqual({ id: keyIdOf('shared'), scopes: ['run'], perMinute: 5 })
  expect([keys.enter('old'), keys.enter('nobody'), keys.enter('#'), keys.enter('')]).toEqual([null, null, null, null])
  expect([keys.signing(keyIdOf('old')), keys.signing(keyIdOf('runs'))?.key]).toEqual([null, 'runs'])
})

test('a key opens nothing from the moment it ends', () => {
  let now = NOW
  const keys = new KeyList(['k expires=2026-11-21T12:00:01Z'], () => now)
  expect(keys.enter('k')).not.toBeNull()
  now += 1_000
  expect(keys.enter('k')).toBeNull()
})

test.each(['secret admin', 'secret run,admin', 'secret expires=never', 'secret rate=0', 'secret rate=x', 'sécret'])(
  'the line %j is refused by its number, without the key',
  (line) => {
    const said = codeOf(() => new KeyList(['fine', line], () => NOW))
    expect(said).toMatch(/^app\.usage: line 2 of the keys/)
    expect(said).not.toMatch(/s.cret/)
  },
)

const signed = (change: Record<string, string> = {}, by = 'key') => {
  const bodySha256 = createHash('sha256').update('{}').digest('hex')
  const said = { timestamp: String(NOW / 1000), nonce: 'n'.repeat(16), bodySha256 }
  const headers = {
    'x-timestamp': said.timestamp,
    'x-nonce': said.nonce,
    'x-content-sha256': bodySha256,
    'x-signature': signatureOf(by, { method: 'POST', url: '/api/run?b=2&a=1', ...said }),
  }
  return { ...headers, ...change }
}
const check = (headers: Record<string, string>, { method = 'POST', url = '/api/run?b=2&a=1', now = NOW } = {}) =>
  codeOf(() => checkSignature('key', method, url, headers, now))

test('a signature is the HMAC of method, path, sorted query, time, nonce and hash of the body', () => {
  const nonce = 'n'.repeat(16)
  const text = `GET\n/api/tasks\na=1&b=2\n5\n${nonce}\n${'0'.repeat(64)}`
  const said = { method: 'GET', url: '/api/tasks?b=2&a=1', timestamp: '5', nonce, bodySha256: '0'.repeat(64) }
  expect(signatureOf('k', said)).toBe(`v2=${createHmac('sha256', 'k').update(text).digest('hex')}`)
})

test('what was signed is let in; what was changed since, or is not of now, is not', () => {
  expect(check(signed())).toBe('let in')
  expect(check(signed(), { now: NOW + 299_000 })).toBe('let in')
  const wrong = 'agent.refused: the signature is not right'
  expect(check(signed(), { method: 'PUT' })).toBe(wrong)
  expect(check(signed(), { url: '/api/cancel?b=2&a=1' })).toBe(wrong)
  expect(check(signed(), { url: '/api/run?b=3&a=1' })).toBe(wrong)
  expect(check(signed({ 'x-content-sha256': '0'.repeat(64) }))).toBe(wrong)
  expect(check(signed({ 'x-nonce': 'm'.repeat(16) }))).toBe(wrong)
  expect(check(signed({}, 'other'))).toBe(wrong)
  expect(check(signed({ 'x-signature': 'v2=' }))).toBe(wrong)
  expect(check(signed({ 'x-nonce': 'short' }))).toBe('agent.refused: the signature is not complete')
  for (const now of [NOW + 301_000, NOW - 301_000])
    expect(check(signed(), { now })).toBe('agent.refused: the time of the signature is not now')
  expect(check(signed({ 'x-timestamp': 'x' }))).toBe('agent.refused: the time of the signature is not now')
})
