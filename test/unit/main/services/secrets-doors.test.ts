import { randomBytes } from 'node:crypto'
import { expect, test } from 'vitest'
import { openSecrets } from '../../../../main/services/secrets.ts'
import { tempDir } from '../../../kit/temp-dir.ts'

test('a data folder used with and without the key store loses no secret', () => {
  const dir = tempDir()
  const key = randomBytes(32)
  openSecrets(dir).set('worker:a', 'from the command line')
  const desktop = openSecrets(dir, key)
  expect(desktop.get('worker:a')).toBe('from the command line')
  desktop.set('worker:b', 'from the window')
  expect(openSecrets(dir).get('worker:a')).toBe('from the command line')
  expect(openSecrets(dir).get('worker:b')).toBeUndefined()
  expect(openSecrets(dir, key).get('worker:b')).toBe('from the window')
})

test('a secret set anew with the key is the one that counts, and no copy stays without it', () => {
  const dir = tempDir()
  const key = randomBytes(32)
  openSecrets(dir).set('worker:a', 'old')
  openSecrets(dir, key).set('worker:a', 'new')
  expect(openSecrets(dir, key).get('worker:a')).toBe('new')
  expect(openSecrets(dir).get('worker:a')).toBeUndefined()
})
