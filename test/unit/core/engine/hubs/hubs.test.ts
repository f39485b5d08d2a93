import { expect, test } from 'vitest'
import type { AppError } from '../../../../../core/contract/errors.ts'
import type { FileRef } from '../../../../../core/contract/hub.ts'
import { byHash, byName, filesMeant, search, wordsOf } from '../../../../../core/engine/hubs/look.ts'
import { expiryOf, mayFetch, sourcesOf } from '../../../../../core/engine/hubs/sources.ts'
import { COMMIT, type Farm, hubFarm, sha256 } from '../../../../kit/hub-farm.ts'

const vae = { path: 'split_files/vae/ae.safetensors', content: 'the bytes of a vae' }
const farm: Farm = {
  huggingface: {
    'Comfy-Org/z_image_turbo': { files: [vae, { path: 'README.md', content: '# hello' }], downloads: 9 },
    'someone/ae-collection': { files: [{ path: 'ae.safetensors', content: 'another ae' }] },
    'makers/closed': { gated: 'auto', licence: 'other', files: [{ path: 'big.safetensors', content: 'gated bytes' }] },
  },
  modelscope: {
    'Comfy-Org/z_image_turbo': { files: [{ path: 'vae/ae.safetensors', content: vae.content }] },
  },
  civitai: [
    {
      modelId: 11,
      name: 'Painted worlds',
      type: 'LORA',
      versionId: 22,
      baseModel: 'SDXL 1.0',
      files: [{ id: 33, name: 'painted.safetensors', content: 'lora bytes' }],
    },
  ],
}
const aeRef: FileRef = {
  hub: 'huggingface',
  kind: 'models',
  repo: 'Comfy-Org/z_image_turbo',
  revision: 'main',
  path: vae.path,
}
const unknown = { sizeBytes: null, sha256: null }
const failureOf = async (thing: Promise<unknown>) =>
  thing.then(
    () => 'nothing failed',
    (cause: AppError) => ({ code: cause.code, ...cause.facts }),
  )
const signal = new AbortController().signal

test('a file is pinned to its commit, with the size and hash its hub gives', async () => {
  const { network } = await hubFarm(farm)
  const [file] = await filesMeant(network, { is: 'file', ref: aeRef })
  expect(file).toMatchObject({
    ref: { ...aeRef, revision: COMMIT },
    name: 'ae.safetensors',
    sizeBytes: vae.content.length,
    sha256: sha256(vae.content),
    licence: 'apache-2.0',
    gated: false,
  })
})

test('the same bytes are fetched from the mirror, the hub and another hub, each by a signed link asked for late', async () => {
  const { network, base, cdn, lines } = await hubFarm(farm, { mirror: farm })
  const found = await sourcesOf(network, [aeRef], unknown)
  expect(found).toMatchObject({ sizeBytes: vae.content.length, sha256: sha256(vae.content) })
  expect(found.sources.map(({ address }) => new URL(address).origin)).toEqual([
    network.hosts()[0]!.base,
    base('huggingface'),
    base('modelscope'),
  ])
  expect(lines().some((line) => line.includes('/resolve/'))).toBe(false)
  const links = await Promise.all(found.sources.map((source) => source.resolve!(signal)))
  expect(links.map(({ address, expiresAt }) => [new URL(address).origin === cdn, expiresAt])).toEqual([
    [true, Date.UTC(2027, 0, 15, 9)],
    [true, Date.UTC(2027, 0, 15, 9)],
    [true, 1_900_000_000_000],
  ])
  expect(found.sources[2]).toMatchObject({ connections: 8 })
  expect(found.sources[2]).not.toHaveProperty('whole')
})

test('what ModelScope keeps in git is fetched whole: its gateway miscounts ranges', async () => {
  const { network } = await hubFarm({ modelscope: { 'o/r': { files: [{ path: 'config.yaml', content: 'a: 1' }] } } })
  const ref: FileRef = { hub: 'modelscope', repo: 'o/r', revision: 'master', path: 'config.yaml' }
  expect((await sourcesOf(network, [ref], unknown)).sources).toMatchObject([{ whole: true }])
})

test('a token goes to its own host alone: no mirror and no signed address sees it', async () => {
  const { network, asked } = await hubFarm(farm, { mirror: farm, token: 'hf_secret' })
  const { sources } = await sourcesOf(network, [aeRef], unknown)
  for (const source of sources) await source.resolve!(signal)
  const seen = asked.filter(({ authorization }) => authorization !== undefined).map(({ line }) => line.split(' ')[0])
  expect(new Set(seen)).toEqual(new Set(['huggingface', 'modelscope']))
  expect(sources[0]!.headers).not.toHaveProperty('authorization')
  expect(sources[1]!.headers).toHaveProperty('authorization', 'Bearer hf_secret')
})

test('a mirror that redirects to the hub has declined; one that shows another file lies', async () => {
  let how: 'declines' | 'lies' | 'portal' = 'declines'
  const state: { official: string } = { official: '' }
  const mirror: Farm = {
    ...farm,
    instead(_hub, request, reply) {
      if (!request.url?.includes('/resolve/')) return false
      if (how === 'portal') reply.writeHead(200, { 'content-type': 'text/html' }).end('<h1>Sign in</h1>')
      else if (how === 'declines') reply.writeHead(308, { location: `${state.official}${request.url}` }).end()
      else
        reply
          .writeHead(302, { 'x-repo-commit': COMMIT, 'x-linked-etag': `"${sha256('other')}"`, location: '/bucket' })
          .end()
      return true
    },
  }
  const { network, base } = await hubFarm(farm, { mirror })
  state.official = base('huggingface')
  const { sources } = await sourcesOf(network, [aeRef], unknown)
  expect(await failureOf(sources[0]!.resolve!(signal))).toMatchObject({ code: 'hub.unreachable' })
  how = 'portal'
  expect(await failureOf(sources[0]!.resolve!(signal))).toMatchObject({ code: 'hub.wrong-answer' })
  how = 'lies'
  expect(await failureOf(sources[0]!.resolve!(signal))).toMatchObject({ code: 'hub.wrong-answer' })
  await expect(sources[1]!.resolve!(signal)).resolves.toBeTruthy()
})

test('what a page of the network answers instead of a hub is passed over, and the next host is asked', async () => {
  const portal: Farm = {
    instead: (_hub, _request, reply) => {
      reply.writeHead(200, { 'content-type': 'text/html' }).end('<html>Sign in to the hotel</html>')
      return true
    },
  }
  const through = await hubFarm(farm, { mirror: portal })
  expect(await filesMeant(through.network, { is: 'file', ref: aeRef })).toHaveLength(1)
  const caught = await hubFarm(portal)
  expect(await failureOf(filesMeant(caught.network, { is: 'file', ref: aeRef }))).toMatchObject({
    code: 'hub.wrong-answer',
    hub: 'Hugging Face',
  })
})

test('a gated repository is named with its page before anything is queued; a token that was not granted access as well', async () => {
  const ref = { ...aeRef, repo: 'makers/closed', path: 'big.safetensors' }
  const without = await hubFarm(farm)
  const [file] = await filesMeant(without.network, { is: 'file', ref })
  expect(await failureOf(mayFetch(without.network, file!))).toEqual({
    code: 'hub.gated',
    hub: 'Hugging Face',
    what: 'makers/closed',
    page: `${without.base('huggingface')}/makers/closed`,
  })
  const granted = await hubFarm(farm, { token: 't' })
  await expect(mayFetch(granted.network, file!)).resolves.toBeUndefined()
  const manual: Farm = { huggingface: { 'makers/closed': { ...farm.huggingface!['makers/closed']!, gated: 'manual' } } }
  const waiting = await hubFarm(manual, { token: 't' })
  expect(await failureOf(mayFetch(waiting.network, file!))).toMatchObject({ code: 'hub.no-access' })
})

test('of a gated file no mirror is asked: it would need the token', async () => {
  const { network, base } = await hubFarm(farm, { mirror: farm, token: 't' })
  const { sources } = await sourcesOf(network, [{ ...aeRef, repo: 'makers/closed', path: 'big.safetensors' }], unknown)
  expect(sources.map(({ address }) => new URL(address).origin)).toEqual([base('huggingface')])
})

test.each([
  [
    '401 {"error":"The creator of this asset requires you to be logged in to download it"}',
    { code: 'hub.needs-token' },
  ],
  ['401 {"error":"The creator has disabled downloads on this file"}', { code: 'hub.disabled' }],
  ['403 {"error":"Early Access","deadline":"2027-02-01"}', { code: 'hub.early-access', until: '2027-02-01' }],
  ['410 {"error":"Model archived"}', { code: 'hub.disabled' }],
  ['429 {"error":"unusual amount of downloading"}', { code: 'hub.busy', seconds: 300 }],
])('Civitai says %s', async (said, failure) => {
  const { network } = await hubFarm({
    civitai: farm.civitai!.map((model) => ({ ...model, files: [{ ...model.files[0]!, noDownload: said }] })),
  })
  const { sources } = await sourcesOf(network, [{ hub: 'civitai', versionId: 22, fileId: 33 }], unknown)
  expect(await failureOf(sources[0]!.resolve!(signal))).toMatchObject(failure)
})

test('a hub that asks for a pause is left alone for as long, and then asked again', async () => {
  let busy = true
  const { network, lines } = await hubFarm({
    ...farm,
    instead(_hub, _request, reply) {
      if (busy) reply.writeHead(429, { ratelimit: '"api";r=0;t=41' }).end('{}')
      return busy
    },
  })
  let now = 1_000_000
  const turned = { ...network, now: () => now }
  const ask = () => failureOf(filesMeant(turned, { is: 'file', ref: aeRef }))
  expect(await ask()).toMatchObject({ code: 'hub.busy', seconds: 42 })
  await ask()
  expect(lines()).toHaveLength(1)
  busy = false
  now += 42_000
  expect(await ask()).toBe('nothing failed')
})

test('an answer is kept, and serves for weeks while its hub cannot be reached', async () => {
  let down = false
  let now = 1_000_000
  const { network, lines } = await hubFarm({
    ...farm,
    instead(_hub, request) {
      if (down) request.socket.destroy()
      return down
    },
  })
  const turned = { ...network, now: () => now }
  const ask = () => filesMeant(turned, { is: 'file', ref: aeRef })
  await ask()
  await ask()
  expect(lines()).toHaveLength(1)
  down = true
  now += 24 * 60 * 60_000
  expect(await ask()).toHaveLength(1)
  now += 40 * 24 * 60 * 60_000
  expect(await failureOf(ask())).toMatchObject({ code: 'hub.unreachable' })
})

test('a page of a repository stands for its model files; a folder of it for those within', async () => {
  const { network } = await hubFarm(farm)
  const page = {
    is: 'repo',
    hub: 'huggingface',
    kind: 'models',
    repo: 'Comfy-Org/z_image_turbo',
    revision: null,
  } as const
  expect((await filesMeant(network, { ...page, dir: '' })).map(({ name }) => name)).toEqual(['ae.safetensors'])
  expect(await filesMeant(network, { ...page, dir: 'split_files/loras' })).toEqual([])
  expect(await failureOf(filesMeant(network, { ...page, repo: 'Comfy-Org/gone', dir: '' }))).toMatchObject({
    code: 'hub.needs-token',
    what: 'Comfy-Org/gone/revision/main',
  })
})

test('a file is found by any of its hashes at Civitai, with the folder its type means', async () => {
  const { network } = await hubFarm(farm)
  for (const hash of [sha256('lora bytes'), sha256('lora bytes').slice(0, 10)])
    expect(await byHash(network, hash)).toMatchObject({
      files: [{ name: 'painted.safetensors', folder: 'loras', baseModel: 'SDXL 1.0', sha256: sha256('lora bytes') }],
      silent: [],
    })
  expect(await byHash(network, 'f'.repeat(64))).toEqual({ files: [], silent: [] })
})

test('by name, a publisher is believed before anybody else; elsewhere the name is all there is', async () => {
  const { network } = await hubFarm(farm)
  const official = await byName(network, 'sub\\ae.safetensors', ['Comfy-Org'])
  expect(official.official.map(({ title }) => title)).toEqual(['Comfy-Org/z_image_turbo'])
  expect(official.others).toEqual([])
  const others = await byName(network, 'painted.safetensors', ['Comfy-Org'])
  expect(others.official).toEqual([])
  expect(others.others.map(({ title }) => title)).toEqual(['Painted worlds · v1'])
  expect(await byName(network, 'nobody-has-it.safetensors', ['Comfy-Org'])).toEqual({
    official: [],
    others: [],
    silent: [],
  })
})

test('hubs that cannot be asked are told of, and the others are asked all the same', async () => {
  const { network } = await hubFarm({
    ...farm,
    instead(hub, request) {
      if (hub === 'huggingface') request.socket.destroy()
      return hub === 'huggingface'
    },
  })
  const found = await byName(network, 'painted.safetensors', ['Comfy-Org', 'Kijai'])
  expect(found.others.map(({ name }) => name)).toEqual(['painted.safetensors'])
  expect(found.silent.map(({ from, because }) => [from, because.code])).toEqual([['huggingface', 'hub.unreachable']])
  const searched = await search(network, 'painted', ['huggingface', 'civitai'])
  expect(searched.map(({ from, found: some, because }) => [from, some.length, because?.code])).toEqual([
    ['huggingface', 0, 'hub.unreachable'],
    ['civitai', 1, undefined],
  ])
})

test('a file that is another by now is not taken for the one whose hash is known', async () => {
  const { network } = await hubFarm(farm)
  expect(await failureOf(sourcesOf(network, [aeRef], { sizeBytes: null, sha256: 'a'.repeat(64) }))).toMatchObject({
    code: 'hub.not-found',
  })
})

test('without a hash one plain address is used; with one, those that stand in for it too', async () => {
  const { network } = await hubFarm(farm)
  const url = 'https://files.example/x.pth'
  const standIn = { ...network, addressesFor: () => ['https://copy.example/x.pth', url] }
  const ref: FileRef = { hub: 'url', url }
  expect((await sourcesOf(standIn, [ref], unknown)).sources.map(({ id }) => id)).toEqual(['files.example'])
  const checked = await sourcesOf(standIn, [ref], { sizeBytes: 1, sha256: 'b'.repeat(64) })
  expect(checked.sources.map(({ id }) => id)).toEqual(['copy.example', 'files.example'])
})

test.each([
  ['X-Amz-Date=20270115T080000Z&X-Amz-Expires=3600', Date.UTC(2027, 0, 15, 9)],
  ['Expires=1900000000&Signature=x', 1_900_000_000_000],
  ['se=2027-01-15T09%3A00%3A00Z&sig=x', Date.UTC(2027, 0, 15, 9)],
  ['auth_key=1900000000-0-0-x', 1_900_000_000_000],
  ['nothing=said', 1_000 + 240_000],
])('a link signed with %s ends when it says', (query, at) => {
  expect(expiryOf(new URL(`https://cdn.example/x?${query}`), 1_000)).toBe(at)
})

test('a name is searched for by all of its words first, then without how its numbers are stored', () => {
  expect(wordsOf('qwen_image_edit_2511_fp8mixed.safetensors')).toEqual([
    'qwen image edit 2511 fp8mixed',
    'qwen image edit 2511',
    'qwen image',
  ])
})
