import { readdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import type { ObjectInfo } from '../../../../core/contract/comfyui.ts'
import { DefinitionsCache } from '../../../../main/services/workers/definitions-cache.ts'
import { definitions } from '../../../kit/definitions.ts'
import { tempDir } from '../../../kit/temp-dir.ts'

const some = (...names: string[]): ObjectInfo =>
  Object.fromEntries(names.map((name) => [name, { ...definitions.EmptyImage!, name }]))
const files = (dir: string) =>
  readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.join(entry.parentPath, entry.name))

test('what a server last said is there after a restart; each set of classes is a file of its own, and few are kept', () => {
  const dir = tempDir()
  const cache = new DefinitionsCache(dir)
  const day = (number: number) => number * 86_400_000
  expect(cache.latest('gpu')).toBeNull()
  for (let at = 1; at <= 5; at++)
    cache.keep('gpu', { definitions: some('A', `B${at}`), version: '0.33.0', at: day(at) })
  cache.keep('gpu/../other', { definitions: some('C'), version: undefined, at: day(9) })
  expect(files(dir)).toHaveLength(4)
  const again = new DefinitionsCache(dir)
  expect(again.latest('gpu')).toEqual({ definitions: some('A', 'B5'), version: '0.33.0', at: day(5) })
  expect(again.latest('gpu/../other')).toMatchObject({ at: day(9) })
  cache.keep('gpu', { definitions: some('A', 'B5'), version: '0.33.0', at: day(6) })
  expect(files(dir)).toHaveLength(4)
  expect(new DefinitionsCache(dir).latest('gpu')?.at).toBe(day(6))
  cache.forget('gpu')
  expect(cache.latest('gpu')).toBeNull()
})

test('a damaged copy is as none', () => {
  const dir = tempDir()
  new DefinitionsCache(dir).keep('gpu', { definitions: some('A'), version: undefined, at: 1 })
  for (const file of files(dir)) writeFileSync(file, 'x')
  expect(new DefinitionsCache(dir).latest('gpu')).toBeNull()
})
