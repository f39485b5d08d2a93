import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { writeJson } from '../../../../core/contract/json.ts'
import { readAllMirrors } from '../../../../main/services/mirrors.ts'
import { NodePacks } from '../../../../main/services/node-packs.ts'
import { eventually } from '../../../kit/eventually.ts'
import { gives, listFarm, refuses } from '../../../kit/list-farm.ts'
import { tempDir } from '../../../kit/temp-dir.ts'
import { turnableClock } from '../../../kit/turnable-clock.ts'

const DAY = 24 * 60 * 60_000
const map = writeJson({ 'https://github.com/a/Pack': [['Blur'], { title_aux: 'A Pack' }] })
const blur = [{ classType: 'Blur', candidates: [], packs: [] }]
const own = [
  {
    classType: 'Blur',
    candidates: ['o/r'],
    packs: [{ id: 'o/r', title: 'o/r', url: null, why: 'file' as const }],
  },
]

async function kit(...ways: Parameters<typeof listFarm>) {
  const farm = await listFarm(...ways)
  const [dataDir, resourcesDir] = [tempDir(), tempDir()]
  const [source, ...mirrors] = farm.addresses
  writeFileSync(
    path.join(resourcesDir, 'mirrors.json'),
    writeJson({
      lists: { 'extension-node-map': { url: source!.href, licence: 'GPL-3.0' } },
      mirrors: mirrors.map(({ href }) => ({ standsInFor: source!.host, pattern: href })),
    }),
  )
  const clock = turnableClock()
  const open = (waitMs?: number) =>
    new NodePacks({
      dataDir,
      mirrors: () => readAllMirrors(dataDir, resourcesDir),
      clock,
      patienceMs: 20,
      timeoutMs: 30_000,
      ...(waitMs && { waitMs }),
    })
  return { ...farm, dataDir, resourcesDir, clock, open }
}

test('the list is fetched when a class is missing, kept, and asked for again after a day by its mark', async () => {
  const { open, clock, asked, addresses, dataDir } = await kit(gives(map, { etag: '"1"' }))
  const packs = open()
  expect(await packs.complete([])).toEqual({ customNodes: [] })
  expect(asked[0]).toHaveLength(0)
  const { customNodes, nodeLists } = await packs.complete(blur)
  expect(customNodes).toMatchObject([{ candidates: ['a/Pack'], packs: [{ title: 'A Pack', why: 'exact' }] }])
  const at = clock.now()
  expect(nodeLists).toEqual({ fetchedAt: at, url: addresses[0]!.href, licence: 'GPL-3.0', because: null })
  clock.turn(DAY / 2)
  await open().complete(blur) // another start of the app
  expect(asked[0]).toHaveLength(1)
  expect(readFileSync(path.join(dataDir, 'cache', 'lists', 'extension-node-map.json'), 'utf8')).toBe(map)
  clock.turn(DAY)
  const later = await open().complete(blur)
  expect(asked[0]!.map((headers) => headers['if-none-match'])).toEqual([undefined, '"1"'])
  expect(later.nodeLists).toMatchObject({ fetchedAt: at + 1.5 * DAY, because: null })
})

test('the source is asked before its mirrors; where it fails, a mirror gives the list', async () => {
  const { open, asked, addresses } = await kit(refuses(403), gives(map))
  const { customNodes, nodeLists } = await open().complete(blur)
  expect(customNodes[0]!.candidates).toEqual(['a/Pack'])
  expect(nodeLists!.url).toBe(addresses[1]!.href)
  expect(asked[0]).toHaveLength(1)
})

test('without network it says why, keeps to what the file names, and does not ask at every look', async () => {
  const { open, asked, clock } = await kit(refuses(503))
  const packs = open()
  const first = await packs.complete(own)
  expect(first.customNodes).toEqual(own)
  expect(first.nodeLists).toMatchObject({ fetchedAt: null, because: { code: 'list.unreachable' } })
  expect((await packs.complete(own)).nodeLists).toEqual(first.nodeLists)
  expect(asked[0]).toHaveLength(1)
  clock.turn(DAY)
  await packs.complete(own)
  expect(asked[0]).toHaveLength(2)
})

test('a list that cannot be renewed serves on, with its date and the reason', async () => {
  let there = true
  const way: Parameters<typeof listFarm>[0] = (request, response) =>
    (there ? gives(map) : refuses(500))(request, response)
  const { open, clock } = await kit(way)
  await open().complete(blur)
  const at = clock.now()
  there = false
  clock.turn(2 * DAY)
  const { customNodes, nodeLists } = await open().complete(blur)
  expect(customNodes[0]!.candidates).toEqual(['a/Pack'])
  expect(nodeLists).toMatchObject({ fetchedAt: at, because: { code: 'list.unreachable' } })
})

test('a list that takes long is not waited for, and there the next time', async () => {
  const answers: (() => void)[] = []
  const { open } = await kit((request, response) => void answers.push(() => gives(map)(request, response)))
  const packs = open(50)
  expect((await packs.complete(own)).nodeLists).toMatchObject({
    fetchedAt: null,
    because: { code: 'list.unreachable' },
  })
  await eventually(() => answers.length > 0)
  for (const answer of answers) answer()
  await eventually(async () => (await packs.complete(blur)).customNodes[0]!.candidates.length === 1)
})

test('a person’s own lists and mirrors go before ours; a file of theirs that cannot be read is named', async () => {
  const { open, dataDir, addresses, asked } = await kit(gives('{}'), gives(map))
  const file = path.join(dataDir, 'mirrors.json')
  const theirs = { lists: { 'extension-node-map': { url: addresses[1]!.href, licence: 'mine' } } }
  writeFileSync(file, writeJson(theirs))
  expect((await open().complete(blur)).nodeLists).toMatchObject({ url: addresses[1]!.href, licence: 'mine' })
  expect(asked[0]).toHaveLength(0)
  writeFileSync(file, '{')
  const { nodeLists } = await open().complete(blur)
  expect(nodeLists!.because).toMatchObject({ code: 'list.bad-mirrors', facts: { file } })
})

test('a list that moved is asked for where it was before when nobody has it where it is', async () => {
  const { addresses, asked } = await listFarm(refuses(404), gives(map))
  const [now, before] = addresses
  const [dataDir, resourcesDir] = [tempDir(), tempDir()]
  const lists = { 'extension-node-map': { url: now!.href, formerly: before!.href, licence: 'GPL-3.0' } }
  writeFileSync(path.join(resourcesDir, 'mirrors.json'), writeJson({ lists }))
  const mirrors = () => readAllMirrors(dataDir, resourcesDir)
  const packs = new NodePacks({ dataDir, mirrors, clock: turnableClock(), patienceMs: 2_000, timeoutMs: 30_000 })
  const { customNodes, nodeLists } = await packs.complete(blur)
  expect(customNodes).toMatchObject([{ candidates: ['a/Pack'] }])
  expect(nodeLists).toMatchObject({ url: before!.href, because: null })
  expect(asked.map((each) => each.length)).toEqual([1, 1])
})
