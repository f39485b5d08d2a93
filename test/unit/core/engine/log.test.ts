import { readdirSync, readFileSync, statSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { hideSecrets, openLog } from '../../../../core/engine/log.ts'
import { tempDir } from '../../../kit/temp-dir.ts'

test('each event is one line of JSON, with secrets left out wherever they stand', () => {
  const dir = tempDir()
  const { log, close } = openLog({ dir })
  const secret = 'canary-1234567890'
  log.info(
    { token: secret, worker: { header: `Authorization: Bearer ${secret}` }, url: `http://h/#t=${secret}` },
    'said',
  )
  log.error({ err: new Error(`GET http://user:${secret}@host/ failed with Bearer ${secret}`) }, 'failed')
  close()
  const text = readFileSync(path.join(dir, 'nightshift.log'), 'utf8')
  const lines = text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line))
  expect(lines.map(({ level, msg }) => [level, msg])).toEqual([
    ['info', 'said'],
    ['error', 'failed'],
  ])
  expect(text).not.toContain(secret)
})

test('a long log becomes several files, and never more than five', () => {
  const dir = tempDir()
  const { log, close } = openLog({ dir })
  const text = 'x'.repeat(1024 * 1024)
  for (let at = 0; at < 40; at += 1) log.info({ at, text }, 'long')
  close()
  const files = readdirSync(dir).sort()
  expect(files).toEqual(['nightshift.log', ...[1, 2, 3, 4].map((at) => `nightshift.log.${at}`)])
  for (const file of files) expect(statSync(path.join(dir, file)).size).toBeLessThan(7 * 1024 * 1024)
  expect(readFileSync(path.join(dir, 'nightshift.log'), 'utf8')).toContain('"at":39')
})

test.each([
  ['open http://127.0.0.1:8420/#t=abcdefgh now', 'open http://127.0.0.1:8420/#t=[hidden] now'],
  ['http://host/view?a=1&token=abc&b=2', 'http://host/view?a=1&token=[hidden]&b=2'],
  ['Authorization: Basic dXNlcjpwYXNz', 'Authorization: Basic [hidden]'],
  ['https://user:pass@host/path', 'https://[hidden]@host/path'],
  ['http://user:p@ss@proxy:3128/ failed', 'http://[hidden]@proxy:3128/ failed'],
  ['invalid hf_abcdefghijklmnopqrstuvwxyz0123456789, said the hub', 'invalid [hidden], said the hub'],
  ['key ns_AbCdEfGhIjKlMnOpQrStUvWxYz0123456789-_abcde', 'key [hidden]'],
  ['a basic idea at 10:30@home', 'a basic idea at 10:30@home'],
])('%s', (line, expected) => {
  expect(hideSecrets(line)).toBe(expected)
})
