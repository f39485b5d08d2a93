import { execFileSync } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import {
  closeSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  statfsSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import {
  type GroupPlan,
  type MergedFile,
  merge,
  mergesIn,
  type Outcome,
  partOf,
  planMerge,
  recoverMerge,
  undoMerge,
} from '../../../../../core/engine/models/duplicates.ts'
import { put } from '../../../../kit/model-files.ts'
import { tempDir } from '../../../../kit/temp-dir.ts'
import { mayMount, mountVolumes } from '../../../../kit/volumes.ts'

const MiB = 1 << 20
const hashOf = (file: string) => createHash('sha256').update(readFileSync(file)).digest('hex')
const inodeOf = (file: string) => statSync(file).ino
/** What a journal would keep, in order. */
function journal() {
  const told: string[] = []
  const outcomes = new Map<string, Outcome>()
  return {
    told,
    outcomes,
    planned: (file: MergedFile) => told.push(`planned ${path.basename(file.path)}`),
    settled: (file: MergedFile, outcome: Outcome) => {
      told.push(`${outcome} ${path.basename(file.path)}`)
      outcomes.set(file.path, outcome)
    },
  }
}
const group = (...paths: string[]) => ({ sha256: hashOf(paths[0]!), paths })
const freedIn = (plans: GroupPlan[]) =>
  plans.flatMap(({ volumes }) => volumes).reduce((sum, { freedBytes }) => sum + freedBytes, 0)

test('copies come to share their bytes and each has its own again, with time and permissions as before', async () => {
  const dir = tempDir()
  const bytes = randomBytes(MiB)
  put(dir, { 'a/x.safetensors': bytes, 'b/y.safetensors': bytes })
  const [a, b] = [path.join(dir, 'a/x.safetensors'), path.join(dir, 'b/y.safetensors')]
  utimesSync(b, 1_700_000_000, 1_700_000_000)
  utimesSync(a, 1_600_000_000, 1_600_000_000)
  const plans = await planMerge([group(a, b)])
  expect(freedIn(plans)).toBe(MiB)
  const kept = journal()
  await merge(mergesIn(plans), kept)
  expect(kept.told).toEqual(['planned y.safetensors', 'merged y.safetensors'])
  expect(readFileSync(b)).toEqual(bytes)
  if (plans[0]!.volumes[0]!.how === 'hard-link') expect(inodeOf(b)).toBe(inodeOf(a))
  expect(freedIn(await planMerge([group(a, b)])) === 0 || plans[0]!.volumes[0]!.how === 'reflink').toBe(true)

  await undoMerge(mergesIn(plans), kept)
  expect(inodeOf(b)).not.toBe(inodeOf(a))
  expect(readFileSync(b)).toEqual(bytes)
  expect(statSync(b).mtimeMs).toBe(1_700_000_000_000)
  expect(readdirSync(path.dirname(b))).toEqual(['y.safetensors'])
  writeFileSync(b, 'another')
  expect(readFileSync(a)).toEqual(bytes)
})

test('what only was said to be the same is left, and so is what changed meanwhile', async () => {
  const dir = tempDir()
  put(dir, { 'a.bin': Buffer.alloc(MiB, 1), 'b.bin': Buffer.alloc(MiB, 2), 'c.bin': Buffer.alloc(MiB, 1) })
  const [a, b, c] = ['a', 'b', 'c'].map((name) => path.join(dir, `${name}.bin`)) as [string, string, string]
  const files = mergesIn(await planMerge([{ sha256: hashOf(a), paths: [a, b, c] }]))
  expect(files.length).toBe(2)
  writeFileSync(c, Buffer.alloc(MiB, 3))
  const kept = journal()
  await merge(files, kept)
  expect([...kept.outcomes.values()]).toEqual(['changed', 'changed'])
  expect([readFileSync(b)[0], readFileSync(c)[0]]).toEqual([2, 3])
})

test('a file with other names outside gives nothing back, so it is left; one with several names inside counts once', async () => {
  const dir = tempDir()
  const bytes = randomBytes(MiB)
  put(dir, { 'in/a.bin': bytes, 'in/b.bin': bytes, 'in/c.bin': bytes, 'out/x': '' })
  const at = (name: string) => path.join(dir, 'in', name)
  linkSync(at('b.bin'), at('b2.bin'))
  linkSync(at('c.bin'), path.join(dir, 'out/c'))
  linkSync(at('a.bin'), path.join(dir, 'out/a'))
  linkSync(at('a.bin'), path.join(dir, 'out/a2'))
  const plans = await planMerge([group(at('a.bin'), at('b.bin'), at('b2.bin'), at('c.bin'))])
  const will = Object.fromEntries(
    plans[0]!.volumes[0]!.files.map((file) => [path.basename(file.path), file.because ?? file.will]),
  )
  expect(will).toEqual({ 'a.bin': 'kept', 'b.bin': 'merge', 'b2.bin': 'merge', 'c.bin': 'linked-elsewhere' })
  expect(freedIn(plans)).toBe(MiB)
})

test.skipIf(process.platform !== 'linux')(
  'a file that another program has open is left as it is, and told',
  async () => {
    const dir = tempDir()
    const bytes = randomBytes(2 * MiB)
    put(dir, { 'a.bin': bytes, 'b.bin': bytes })
    const [a, b] = [path.join(dir, 'a.bin'), path.join(dir, 'b.bin')]
    utimesSync(a, 1, 1)
    const file = openSync(b, 'r')
    const { spawn } = await import('node:child_process')
    const other = spawn('sleep', ['60'], { stdio: [file, 'ignore', 'ignore'] })
    await new Promise((spawned) => other.once('spawn', spawned))
    closeSync(file)
    const plans = await planMerge([group(a, b)])
    other.kill()
    expect(plans[0]!.volumes[0]!.files.map((each) => each.because)).toEqual([null, 'in-use'])
  },
)

test('a crash at any moment leaves whole files, and what was left is told by the file itself', async () => {
  const dir = tempDir()
  const bytes = randomBytes(MiB)
  put(dir, { 'a.bin': bytes, 'b.bin': bytes })
  const [a, b] = [path.join(dir, 'a.bin'), path.join(dir, 'b.bin')]
  const [file] = mergesIn(await planMerge([group(a, b)])) as [MergedFile]
  const part = path.join(dir, `.nightshift-${path.basename(file.path)}.part`)
  linkSync(file.keep, part) // killed before the name changed
  expect(await recoverMerge(file, 'merging')).toBe('as-before')
  expect(readdirSync(dir).toSorted()).toEqual(['a.bin', 'b.bin'])
  await merge([file], journal()) // killed after it changed, before that was written down
  expect(await recoverMerge(file, 'merging')).toBe('merged')
  writeFileSync(part, bytes.subarray(0, 100)) // killed while it was undone
  expect(await recoverMerge(file, 'undoing')).toBe('merged')
  await undoMerge([file], journal())
  if (file.how === 'hard-link') expect(await recoverMerge(file, 'undoing')).toBe('undone')
  expect([hashOf(a), hashOf(b)]).toEqual([file.sha256, file.sha256])
})

test.skipIf(!mayMount)(
  '30 % duplicates on three volumes: freed as foretold, every name opens, and undoing restores',
  async () => {
    const volumes = mountVolumes([40, 40, 40])
    const hashes = new Map<string, string[]>()
    const expected = new Map<string, string>()
    let copies = 0
    const files = 30
    for (let at = 0; at < files; at++) {
      const bytes = randomBytes(MiB + at * 4096)
      const names = [path.join(volumes[at % 3]!, `models ${at % 4}`, `${at}.safetensors`)]
      // some copies lie on the same volume, some on another, and some on both
      if (at % 4 === 0) names.push(path.join(volumes[at % 3]!, 'other tool', `copy of ${at}.safetensors`))
      if (at % 5 === 0)
        names.push(
          path.join(volumes[(at + 1) % 3]!, 'other', `${at}.safetensors`),
          path.join(volumes[(at + 1) % 3]!, 'more', `${at}.safetensors`),
        )
      copies += names.length - 1
      for (const name of names) {
        mkdirSync(path.dirname(name), { recursive: true })
        writeFileSync(name, bytes)
        expected.set(name, createHash('sha256').update(bytes).digest('hex'))
      }
      hashes.set(expected.get(names[0]!)!, names)
    }
    expect(copies / expected.size).toBeGreaterThan(0.3)
    const used = (volume: string) => {
      execFileSync('sync', ['-f', volume])
      const { blocks, bfree, bsize } = statfsSync(volume)
      return (blocks - bfree) * bsize
    }
    const before = volumes.map(used)
    const plans = await planMerge([...hashes].map(([sha256, paths]) => ({ sha256, paths })))
    const foretold = volumes.map((volume) =>
      plans
        .flatMap((plan) => plan.volumes)
        .filter(({ mount }) => mount === volume)
        .reduce((sum, one) => sum + one.freedBytes, 0),
    )
    expect(foretold.every((bytes) => bytes > MiB)).toBe(true)
    await merge(mergesIn(plans), journal())
    expect(volumes.map((volume, at) => before[at]! - used(volume))).toEqual(foretold)
    for (const [name, sha256] of expected) expect(hashOf(name)).toBe(sha256)

    await undoMerge(mergesIn(plans), journal())
    expect(volumes.map(used)).toEqual(before)
    for (const [name, sha256] of expected) expect(hashOf(name)).toBe(sha256)
    expect(new Set([...expected.keys()].map((name) => `${statSync(name).dev}:${inodeOf(name)}`)).size).toBe(
      expected.size,
    )
  },
)

test('one name that cannot be changed does not keep the others from it', async () => {
  const dir = tempDir()
  const [one, other] = [randomBytes(4096), randomBytes(4096)]
  put(dir, { 'a.bin': one, 'b.bin': one, 'c.bin': other, 'd.bin': other })
  const at = (name: string) => path.join(dir, name)
  const files = mergesIn(await planMerge([group(at('a.bin'), at('b.bin')), group(at('c.bin'), at('d.bin'))]))
  put(dir, { [`${path.basename(partOf(files[0]!.path))}/in the way`]: one })
  const kept = journal()
  await merge(files, kept)
  expect([...kept.outcomes.values()]).toEqual(['failed', 'merged'])
  expect(readFileSync(files[0]!.path)).toEqual(one)
  expect(readFileSync(files[1]!.path)).toEqual(other)
})
