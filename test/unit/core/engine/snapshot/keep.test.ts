import { appendFileSync, chmodSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { Keeper, type KeepNews } from '../../../../../core/engine/snapshot/keep.ts'
import { restoreTree } from '../../../../../core/engine/snapshot/restore.ts'
import { ObjectStore } from '../../../../../core/engine/snapshot/store.ts'
import { tempDir } from '../../../../kit/temp-dir.ts'

/** `changed`: between finding the files and reading them, and again before each later try. */
async function keep(dir: string, changed: (news: KeepNews) => void = () => {}) {
  const store = await ObjectStore.open(tempDir())
  const keeper = await Keeper.open(store, 1)
  try {
    const kept = await keeper.keep(dir, { onNews: changed })
    await keeper.finish()
    const to = path.join(tempDir(), 'restored')
    const restore = () => restoreTree(store, kept.tree, to, { threads: 1 })
    return { ...kept, restore, text: (name: string) => readFileSync(path.join(to, name), 'utf8') }
  } catch (cause) {
    await keeper.abandon()
    throw cause
  }
}

test('a file that grows while it is kept is kept as it then is, and comes back so', async () => {
  const dir = tempDir()
  for (const name of ['a', 'b']) writeFileSync(path.join(dir, name), 'begin')
  let times = 0
  const { restore, text, bytes } = await keep(dir, () => {
    if (times++ === 0) appendFileSync(path.join(dir, 'b'), ' and more')
  })
  await restore()
  expect([text('a'), text('b'), bytes]).toEqual(['begin', 'begin and more', 19])
})

test('what goes away while it is kept is not in it', async () => {
  const dir = tempDir()
  mkdirSync(path.join(dir, 'cache'))
  for (const name of ['a', path.join('cache', 'b')]) writeFileSync(path.join(dir, name), 'begin')
  const { files, restore, text } = await keep(dir, () =>
    rmSync(path.join(dir, 'cache'), { recursive: true, force: true }),
  )
  await restore()
  expect([files, text('a')]).toEqual([1, 'begin'])
})

test.skipIf(process.platform === 'win32' || process.getuid?.() === 0)(
  'what may not be read is told, and all else comes back',
  async () => {
    const dir = tempDir()
    mkdirSync(path.join(dir, 'closed'))
    for (const name of ['good', 'mine']) writeFileSync(path.join(dir, name), 'begin')
    for (const name of ['closed', 'mine']) chmodSync(path.join(dir, name), 0)
    const { left, restore, text } = await keep(dir)
    chmodSync(path.join(dir, 'closed'), 0o700)
    expect(left.map((each) => `${each.path}: ${each.what}`).toSorted()).toEqual([
      'closed: it may not be read',
      'mine: it may not be read',
    ])
    await restore()
    expect(text('good')).toBe('begin')
  },
)

test.skipIf(process.platform === 'win32')(
  'names that no restore would take are told, and all else comes back',
  async () => {
    const dir = tempDir()
    const deep = 'd/'.repeat(120)
    mkdirSync(path.join(dir, deep), { recursive: true })
    for (const name of ['good', 'a\\b.txt', `${deep}x`]) writeFileSync(path.join(dir, name), 'begin')
    writeFileSync(Buffer.concat([Buffer.from(`${dir}/`), Buffer.from([0xff, 0xfe])]), 'begin')
    const { left, restore, text } = await keep(dir)
    expect(left.map(({ path: at, what }) => [at.length > 100 ? 'deep' : at, what]).toSorted()).toEqual([
      ['a\\b.txt', 'its name has a backslash, which elsewhere is no name'],
      ['deep', 'it lies too deep'],
      ['\ufffd\ufffd', 'its name is not UTF-8'],
    ])
    await restore()
    expect(text('good')).toBe('begin')
  },
)
