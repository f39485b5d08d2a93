import { expect, test } from 'vitest'
import { isJsonObject } from '../../../../../core/contract/json.ts'
import { fetchList } from '../../../../../core/engine/download/fetch-list.ts'
import { addressesFor } from '../../../../../core/engine/download/mirrors.ts'
import { gives, hangs, listFarm, refuses } from '../../../../kit/list-farm.ts'

const asked = { isRight: (list: unknown) => isJsonObject(list) && 'right' in list, limitBytes: 1000, patienceMs: 30 }
const right = '{"right":1}'

test('addresses: mirrors in their order, the source last; patterns that do not fit are left out', () => {
  const mirrors = [
    { standsInFor: 'raw.example.com', pattern: 'https://cdn.example.org/gh/{owner}/{repo}@{ref}/{file}' },
    { standsInFor: 'other.example.com', pattern: 'https://no.example.org{path}' },
    { standsInFor: 'raw.example.com', pattern: 'https://proxy.example.org/{url}' },
    { standsInFor: 'raw.example.com', pattern: 'https://twin.example.org{path}' },
    { standsInFor: 'raw.example.com', pattern: 'https://odd.example.org/{commit}' },
    { standsInFor: 'raw.example.com', pattern: 'not an address {path}' },
  ]
  const list = addressesFor(new URL('https://raw.example.com/o/r/main/dir/map.json'), mirrors)
  expect(list.map(String)).toEqual([
    'https://cdn.example.org/gh/o/r@main/dir/map.json',
    'https://proxy.example.org/https://raw.example.com/o/r/main/dir/map.json',
    'https://twin.example.org/o/r/main/dir/map.json',
    'https://raw.example.com/o/r/main/dir/map.json',
  ])
  const bare = addressesFor(new URL('https://raw.example.com/top.json'), mirrors)
  expect(bare.map(({ host }) => host)).toEqual(['proxy.example.org', 'twin.example.org', 'raw.example.com'])
})

test.each([
  ['an error', refuses(503)],
  ['a page of its own', gives('<html>welcome</html>')],
  ['another list', gives('{"wrong":1}')],
  ['too much', gives(`{"right":"${'x'.repeat(2000)}"}`)],
  ['silence', hangs],
])('an address that answers with %s gives way to the next', async (_, way) => {
  const { addresses, asked: seen } = await listFarm(way, gives(right, { etag: '"1"' }))
  const found = await fetchList({ ...asked, addresses })
  expect(found).toMatchObject({ is: 'new', url: addresses[1]!.href, etag: '"1"', list: { right: 1 } })
  expect(seen[1]![0]).not.toHaveProperty('authorization')
})

test('a copy that is still right is not sent again, and its mark goes only to who gave it', async () => {
  const { addresses, asked: seen } = await listFarm(refuses(500), gives(right, { etag: '"7"' }))
  const etag = { url: addresses[1]!.href, value: '"7"' }
  expect(await fetchList({ ...asked, addresses, etag })).toEqual({ is: 'same', url: addresses[1]!.href })
  expect(seen[0]![0]).not.toHaveProperty('if-none-match')
})

test('when nobody gives it, the reason of each is told; when the time is over, it ends', async () => {
  const { addresses } = await listFarm(refuses(404), gives('{}'))
  const failure = await fetchList({ ...asked, addresses, patienceMs: 60_000 }).catch((cause) => cause)
  expect(failure).toMatchObject({ code: 'list.unreachable' })
  expect(failure.facts.reasons).toEqual([
    `${addresses[0]!.host}: HTTP 404`,
    `${addresses[1]!.host}: it sent something else`,
  ])
  expect(failure.facts.reason).toBe(failure.facts.reasons[0])
  const silent = await listFarm(hangs, hangs)
  await expect(fetchList({ ...asked, addresses: silent.addresses, timeoutMs: 100 })).rejects.toMatchObject({
    code: 'list.unreachable',
  })
})
