import { randomBytes } from 'node:crypto'
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { openSecrets } from '../../../../main/services/secrets.ts'
import { tempDir } from '../../../kit/temp-dir.ts'

test('a secret is there after a restart, and its words are in no file', () => {
  const dir = tempDir()
  const secrets = openSecrets(dir)
  secrets.set('worker:a', 'Authorization: Bearer hunter2')
  secrets.set('worker:b', 'gone')
  secrets.remove('worker:b')
  const again = openSecrets(dir)
  expect([again.get('worker:a'), again.get('worker:b')]).toEqual(['Authorization: Bearer hunter2', undefined])
  for (const name of readdirSync(dir)) {
    const file = path.join(dir, name)
    expect(readFileSync(file, 'latin1')).not.toMatch(/hunter2|worker:a/)
    if (process.platform !== 'win32') expect(statSync(file).mode & 0o077).toBe(0)
  }
})

test('another key, or a damaged file, opens nothing and keeps the file aside', () => {
  const dir = tempDir()
  openSecrets(dir, randomBytes(32)).set('a', 'x')
  expect(openSecrets(dir, randomBytes(32)).get('a')).toBeUndefined()
  expect(readdirSync(dir).some((name) => name.endsWith('.unreadable'))).toBe(true)
  const plain = tempDir()
  openSecrets(plain).set('a', 'x')
  writeFileSync(path.join(plain, 'secrets'), 'damaged')
  const opened = openSecrets(plain)
  expect(opened.get('a')).toBeUndefined()
  opened.set('a', 'y')
  expect(openSecrets(plain).get('a')).toBe('y')
})
