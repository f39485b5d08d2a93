import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import type { DownloadView, DownloadWanted } from '../../../../core/contract/download.ts'
import { type FileRef, GetAsk } from '../../../../core/contract/hub.ts'
import type { Json } from '../../../../core/contract/json.ts'
import type { Model } from '../../../../core/contract/model.ts'
import type { ModelNeed } from '../../../../core/contract/workflow.ts'
import { Catalogue } from '../../../../main/services/catalogue.ts'
import { type Farm, hubFarm, sha256 } from '../../../kit/hub-farm.ts'
import { tempDir } from '../../../kit/temp-dir.ts'

const farm: Farm = {
  huggingface: {
    'Comfy-Org/z': {
      files: [
        { path: 'split_files/vae/z_vae.safetensors', content: 'vae bytes' },
        { path: 'split_files/diffusion_models/z.safetensors', content: 'unet bytes' },
      ],
    },
    'Comfy-Org/other': { files: [{ path: 'vae/only_here.safetensors', content: 'official bytes' }] },
    'someone/only_named': { files: [{ path: 'only_named.safetensors', content: 'stranger' }] },
    'makers/closed': { gated: 'auto', files: [{ path: 'closed.safetensors', content: 'gated' }] },
  },
  civitai: [
    {
      modelId: 1,
      name: 'Painted',
      type: 'LORA',
      versionId: 2,
      baseModel: 'SDXL 1.0',
      files: [{ id: 3, name: 'painted.safetensors', content: 'lora bytes' }],
    },
  ],
}
const own = JSON.stringify({
  publishers: ['Comfy-Org'],
  models: [
    {
      title: 'Z',
      base: 'Z',
      licence: 'apache-2.0',
      vramGiB: 12,
      files: [
        { folder: 'diffusion_models', at: 'hf:Comfy-Org/z/split_files/diffusion_models/z.safetensors' },
        { folder: 'vae', at: 'hf:Comfy-Org/z/split_files/vae/z_vae.safetensors' },
      ],
    },
  ],
})
const managerList: Json = {
  models: [
    {
      name: 'Sharp',
      type: 'upscale',
      base: 'upscale',
      save_path: 'default',
      filename: 'sharp.pth',
      url: 'https://files.example/sharp.pth',
      reference: 'https://files.example',
      size: '67.0MB',
    },
    {
      name: 'x',
      type: 'lora',
      base: '',
      save_path: '../../etc',
      filename: 'evil.safetensors',
      url: 'https://files.example/e',
      size: '',
    },
  ],
}

const need = (file: string, folder: string, more: Partial<ModelNeed> = {}): ModelNeed => ({
  file,
  folder,
  node: '1',
  present: false,
  sources: [],
  workers: [],
  sizeBytes: null,
  ...more,
})

async function kit({
  here = [] as Partial<Model>[],
  of = farm,
  manager = managerList as Json | undefined,
  cameFrom = {} as Record<string, FileRef[]>,
  engines = [] as string[],
} = {}) {
  const dir = tempDir()
  const added: DownloadWanted[] = []
  const taken: string[] = []
  const hubs = await hubFarm(of)
  const models = here as Model[]
  const catalogue = new Catalogue({
    network: hubs.network,
    own: async () => own,
    manager: async () => ({ list: manager, from: { fetchedAt: 1, url: null, licence: 'GPL-3.0', because: null } }),
    shelf: {
      roots: () => engines.map((engine) => ({ id: engine, kind: 'engine', engine, dir, folders: [] })),
      folderFor: (engine, folder) => path.join(dir, engine ?? '', folder),
      bySha256: (hash) => models.find((model) => model.sha256 === hash) ?? null,
      byName: (folder, name, engine) =>
        models.find(
          (model) =>
            model.folder === folder &&
            model.name === name &&
            (engine === undefined || model.places?.some(({ root }) => root === engine)),
        ) ?? null,
      page: ({ search = '' }) => {
        const rows = models.filter(({ name }) => name.includes(search))
        return { rows, total: rows.length, bytes: 0 }
      },
      async takeIn(file) {
        taken.push(file)
        return null
      },
      sha256Of: async (id) => sha256(readFileSync(models.find((model) => model.id === id)!.places[0]!.path, 'utf8')),
    },
    downloads: {
      add(wanted) {
        added.push(wanted)
        return { id: String(added.length), to: wanted.to } as DownloadView
      },
      open: () => added.map(({ to }, at) => ({ id: String(at + 1), to }) as DownloadView),
      cameFrom: (to) => cameFrom[to] ?? [],
    },
    needsOf: async () => [],
  })
  const ask = (more: object) => GetAsk.parse(more)
  return { catalogue, added, taken, dir, hubs, ask }
}

test('a file of a workflow goes to the folder its node says, from the place a list knows, with size and hash of its hub', async () => {
  const { catalogue, ask, dir } = await kit()
  const plan = await catalogue.plan(ask({ needs: [need('Z\\z_vae.safetensors', 'vae')] }))
  expect(plan.rows).toMatchObject([
    {
      item: 'vae/Z\\z_vae.safetensors',
      folder: 'vae',
      folderBy: 'node',
      to: path.join(dir, 'vae', 'Z', 'z_vae.safetensors'),
      chosen: 0,
      candidates: [{ sure: 'catalogue', from: 'own', sizeBytes: 9, sha256: sha256('vae bytes') }],
      state: { is: 'ready' },
    },
  ])
  expect(plan.totalBytes).toBe(9)
})

test('what the author names goes before the lists; with a hash that its hub confirms it is sure, with another it is not', async () => {
  const { catalogue, ask, hubs } = await kit()
  const url = `${hubs.base('huggingface')}/Comfy-Org/other/blob/main/vae/only_here.safetensors`
  const sure = async (hash?: string) => {
    const needs = [need('z_vae.safetensors', 'vae', { sources: [{ url, ...(hash && { hash }) }] })]
    const { rows } = await catalogue.plan(ask({ needs }))
    return rows[0]!.candidates.map((each) => [each.title, each.sure])
  }
  expect(await sure()).toEqual([
    ['Comfy-Org/other', 'author'],
    ['Comfy-Org/z', 'catalogue'],
  ])
  expect((await sure(sha256('official bytes')))[0]).toEqual(['Comfy-Org/other', 'hash'])
  expect(await sure(sha256('vae bytes'))).toEqual([
    ['Comfy-Org/z', 'hash'],
    ['Comfy-Org/other', 'name'],
  ])
})

test('a name that only a publisher has is taken from there; one that a stranger has is shown and not taken', async () => {
  const { catalogue, ask, added } = await kit()
  const needs = ['only_here.safetensors', 'only_named.safetensors', 'nobody.safetensors'].map((file) =>
    need(file, 'vae'),
  )
  const { rows } = await catalogue.get(ask({ needs }))
  expect(rows.map(({ chosen, state, candidates }) => [chosen, state.is, candidates[0]?.sure])).toEqual([
    [0, 'queued', 'official'],
    [null, 'asks', 'name'],
    [null, 'unknown', undefined],
  ])
  expect(added.map(({ name }) => name)).toEqual(['only_here.safetensors'])
})

test('a name that says nothing is never taken for a file of that name', async () => {
  const of: Farm = {
    huggingface: { 'Comfy-Org/x': { files: [{ path: 'vae/diffusion_pytorch_model.safetensors', content: 'x' }] } },
  }
  const { catalogue, ask } = await kit({
    of,
    manager: {
      models: [
        {
          name: 'x',
          type: 'vae',
          base: '',
          save_path: 'vae',
          filename: 'diffusion_pytorch_model.safetensors',
          url: 'https://files.example/d.safetensors',
          size: '',
        },
      ],
    },
  })
  const { rows } = await catalogue.plan(ask({ needs: [need('diffusion_pytorch_model.safetensors', 'vae')] }))
  expect(rows.map(({ chosen, state }) => [chosen, state])).toEqual([[null, { is: 'asks', what: 'file' }]])
})

test('what the person chose or linked is taken', async () => {
  const { catalogue, ask, added, hubs } = await kit()
  const needs = [need('only_named.safetensors', 'vae'), need('nobody.safetensors', 'loras')]
  const first = await catalogue.plan(ask({ needs }))
  const choices = {
    'vae/only_named.safetensors': { ref: first.rows[0]!.candidates[0]!.ref },
    'loras/nobody.safetensors': { link: `${hubs.base('civitai')}/models/1?modelVersionId=2` },
  }
  await catalogue.get(ask({ needs, choices }))
  expect(added.map(({ name, sha256: hash }) => [name, hash])).toEqual([
    ['only_named.safetensors', sha256('stranger')],
    ['nobody.safetensors', sha256('lora bytes')],
  ])
})

test('a file that is here under another name is linked, and nothing is fetched', async () => {
  const dir = tempDir()
  const file = path.join(dir, 'mine.safetensors')
  writeFileSync(file, 'vae bytes')
  const here = [
    {
      id: 'm',
      name: 'mine.safetensors',
      folder: 'vae',
      sha256: sha256('vae bytes'),
      sizeBytes: 9,
      flags: [],
      places: [{ path: file }],
    },
  ] as unknown as Model[]
  const it = await kit({ here })
  const asked = it.ask({ needs: [need('z_vae.safetensors', 'vae')] })
  expect((await it.catalogue.plan(asked)).rows[0]!.state).toEqual({
    is: 'elsewhere',
    modelId: 'm',
    at: 'vae/mine.safetensors',
    sure: 'hash',
  })
  const { rows } = await it.catalogue.get(asked)
  const to = path.join(it.dir, 'vae', 'z_vae.safetensors')
  expect(rows[0]!.state).toEqual({ is: 'present' })
  expect([readFileSync(to, 'utf8'), it.taken, it.added]).toEqual(['vae bytes', [to], []])
})

test.each([
  ['is it', 'vae bytes', 'present', 0],
  ['is another', 'vae BYTES', 'queued', 1],
])(
  'a file of that name and size in another folder is linked only where its hash %s',
  async (_, text, state, fetched) => {
    const file = path.join(tempDir(), 'z_vae.safetensors')
    writeFileSync(file, text)
    const here = [
      {
        id: 'm',
        name: 'z_vae.safetensors',
        folder: 'loras',
        sha256: null,
        sizeBytes: 9,
        flags: [],
        places: [{ path: file }],
      },
    ] as unknown as Model[]
    const { catalogue, ask, added } = await kit({ here })
    const asked = ask({ needs: [need('z_vae.safetensors', 'vae')] })
    expect((await catalogue.plan(asked)).rows[0]!.state).toMatchObject({ is: 'elsewhere', sure: 'name' })
    expect((await catalogue.get(asked)).rows[0]!.state.is).toBe(state)
    expect(added).toHaveLength(fetched)
  },
)

test('of several engines the one asked for gets the file; what another loads by that name is linked, not fetched', async () => {
  const place = path.join(tempDir(), 'z_vae.safetensors')
  writeFileSync(place, 'vae bytes')
  const theirs = {
    id: 'm',
    name: 'z_vae.safetensors',
    folder: 'vae',
    sha256: sha256('vae bytes'),
    sizeBytes: 9,
    flags: [],
  }
  const here = [{ ...theirs, places: [{ root: 'one', folder: 'vae', name: theirs.name, path: place, linked: false }] }]
  const { catalogue, ask, dir, added } = await kit({ here, engines: ['one', 'two'] })
  const needs = [need('z_vae.safetensors', 'vae', { present: true }), need('z.safetensors', 'diffusion_models')]
  const states = async (engine?: string) =>
    (await catalogue.plan(ask({ needs, ...(engine && { engine }) }))).rows.map(({ state, to }) => [
      state.is,
      to && path.relative(dir, to),
    ])
  const unet = path.join('diffusion_models', 'z.safetensors')
  const vae = path.join('two', 'vae', 'z_vae.safetensors')
  expect(await states()).toEqual([
    ['present', null],
    ['ready', unet],
  ])
  expect(await states('one')).toEqual([
    ['present', null],
    ['ready', path.join('one', unet)],
  ])
  expect(await states('two')).toEqual([
    ['elsewhere', vae],
    ['ready', path.join('two', unet)],
  ])
  await catalogue.get(ask({ needs, engine: 'two' }))
  expect(readFileSync(path.join(dir, vae), 'utf8')).toBe('vae bytes')
  expect(added.map(({ to }) => path.relative(dir, to))).toEqual([path.join('two', unet)])
  await expect(states('three')).rejects.toMatchObject({ code: 'engine.unknown', facts: { name: 'three' } })
  // one nobody publishes, that another engine has
  const own = [{ ...here[0]!, name: 'mine.safetensors', sha256: null }]
  const alone = await kit({ here: own, engines: ['one', 'two'] })
  const mine = { needs: [need('mine.safetensors', 'vae')], engine: 'two' }
  expect((await alone.catalogue.get(ask(mine))).rows).toMatchObject([{ state: { is: 'present' } }])
  expect(readFileSync(path.join(alone.dir, 'two', 'vae', 'mine.safetensors'), 'utf8')).toBe('vae bytes')
})

test('what is there, or on its way, is not fetched again', async () => {
  const here = [{ name: 'z.safetensors', folder: 'diffusion_models' }] as Model[]
  const { catalogue, ask, added } = await kit({ here })
  const asked = ask({ items: ['Z'] })
  expect((await catalogue.get(asked)).rows.map(({ state }) => state.is)).toEqual(['present', 'queued'])
  expect((await catalogue.get(asked)).rows.map(({ state }) => state.is)).toEqual(['present', 'queued'])
  expect(added).toHaveLength(1)
})

test('a gated file is refused before it is queued, with the page where terms are agreed to', async () => {
  const { catalogue, ask, added, hubs } = await kit()
  const { rows } = await catalogue.get(
    ask({
      items: ['hf:makers/closed/closed.safetensors'],
      choices: { 'hf:makers/closed/closed.safetensors': { folder: 'vae' } },
    }),
  )
  expect(rows[0]!.state).toMatchObject({
    is: 'refused',
    because: { code: 'hub.gated', facts: { page: `${hubs.base('huggingface')}/makers/closed` } },
  })
  expect(added).toEqual([])
})

test('an AIR, a link, a name and the name of a model are read; a page with several files asks which', async () => {
  const { catalogue, ask, dir } = await kit()
  const items = ['urn:air:sdxl:lora:civitai:1@2', 'sharp.pth', 'Z', 'hf:Comfy-Org/z', 'nonsense that nobody knows']
  const { rows } = await catalogue.plan(ask({ items }))
  expect(rows.map(({ to, state }) => [to === null ? null : path.relative(dir, to), state.is])).toEqual([
    [path.join('loras', 'painted.safetensors'), 'ready'],
    [path.join('upscale_models', 'sharp.pth'), 'ready'],
    [path.join('diffusion_models', 'z.safetensors'), 'ready'],
    [path.join('vae', 'z_vae.safetensors'), 'ready'],
    [null, 'asks'],
    [null, 'unknown'],
  ])
})

test('no name of another leads out of the models folder', async () => {
  const { catalogue, ask } = await kit()
  const needs = ['../../escape.safetensors', 'a/../../escape.safetensors', 'C:\\escape.safetensors'].map((file) =>
    need(file, 'vae', { sources: [{ url: 'https://files.example/x.safetensors' }] }),
  )
  const { rows } = await catalogue.plan(ask({ needs }))
  expect(rows.map(({ state, to }) => [to, state.is === 'refused' && state.because.code])).toEqual(
    needs.map(() => [null, 'model.bad-name']),
  )
  expect((await catalogue.plan(ask({ items: ['evil.safetensors'] }))).rows[0]!.state.is).toBe('unknown')
})

test('while no hub answers, lists and links still make a plan, and it is told who was not asked', async () => {
  const { catalogue, ask } = await kit({
    of: {
      instead: (_hub, request) => {
        request.socket.destroy()
        return true
      },
    },
  })
  const plan = await catalogue.plan(
    ask({ needs: [need('z_vae.safetensors', 'vae'), need('nobody.safetensors', 'vae')] }),
  )
  expect(plan.rows.map(({ state }) => state.is)).toEqual(['ready', 'unknown'])
  expect(plan.unknownSizes).toBe(1)
  expect(plan.silent.map(({ from }) => from).sort()).toEqual(['civitai', 'huggingface', 'modelscope'])
})

test('a search finds known models by their words, and asks the hubs that were named', async () => {
  const { catalogue } = await kit()
  const all = await catalogue.find({ search: '', hubs: [] })
  expect(all.rows.map(({ title, vramBytes }) => [title, vramBytes])).toEqual([['Z', 12 * 1024 ** 3]])
  const painted = await catalogue.find({ search: 'painted', hubs: ['civitai'] })
  expect(painted.rows.map(({ from, title }) => [from, title])).toEqual([['civitai', 'Painted']])
  const byHash = await catalogue.find({ search: sha256('lora bytes'), hubs: [] })
  expect(byHash.rows[0]).toMatchObject({ from: 'civitai', files: [{ name: 'painted.safetensors', folder: 'loras' }] })
})

test('a file is compared with what is published: by its hash, where it was fetched from, a note beside it and its name', async () => {
  const from = { hub: 'huggingface', kind: 'models', repo: 'someone/only_named', revision: 'main' } as const
  let silent = false
  const instead: Farm['instead'] = (_hub, _request, reply) => silent && Boolean(reply.destroy())
  const of = { ...farm, instead }
  const { catalogue } = await kit({ of, cameFrom: { '/x/mine': [{ ...from, path: 'only_named.safetensors' }] } })
  const told: string[] = []
  const ask = (name: string, folder: string, content: string, more: { path?: string; versionId?: number } = {}) =>
    catalogue.published(
      {
        ...{ name, folder, sizeBytes: content.length, sha256: sha256(content), path: more.path ?? '/x/other' },
        civitai: more.versionId === undefined ? null : { modelId: 1, versionId: more.versionId },
      },
      (hub) => told.push(hub),
    )
  expect(await ask('any.safetensors', '', 'lora bytes')).toMatchObject({
    same: true,
    hub: 'Civitai',
    title: 'Painted · v1',
  })
  expect(await ask('z/Z_VAE.safetensors', 'vae', 'vae bytes')).toMatchObject({ same: true, title: 'Comfy-Org/z' })
  // of its name and size, yet another: damaged
  const damaged = await ask('z_vae.safetensors', 'vae', 'vae bites')
  expect(damaged).toMatchObject({ same: false, hub: 'Hugging Face', sha256: sha256('vae bytes') })
  expect(await ask('painted.safetensors', 'loras', 'lore bytes', { versionId: 2 })).toMatchObject({ same: false })
  // of another size it is another file, which says nothing, unless it came from there
  expect(await ask('z_vae.safetensors', 'vae', 'a vae of somebody')).toBeNull()
  expect(await ask('mine.safetensors', 'loras', 'no stranger', { path: '/x/mine' })).toMatchObject({ same: false })
  expect(await ask('mine.safetensors', 'loras', 'stranger', { path: '/x/mine' })).toMatchObject({ same: true })
  expect(await ask('nobody.safetensors', 'loras', 'bytes')).toBeNull()
  expect(told).toEqual([])
  silent = true
  expect(await ask('nobody.safetensors', 'loras', 'other bytes')).toBeNull()
  expect(told).toEqual(['civitai'])
})

test('our own list holds what it says: known folders, references that are read, no host of a hub', async () => {
  const text = readFileSync('resources/models.json', 'utf8')
  const mirrors = JSON.parse(readFileSync('resources/mirrors.json', 'utf8')) as {
    kinds: Record<string, { standsIn: string[] }>
  }
  for (const hub of ['huggingface', 'modelscope', 'civitai'])
    for (const host of mirrors.kinds[hub]!.standsIn) expect(text).not.toContain(host)
  const list = new Catalogue({ ...catalogueDeps(await hubFarm({})), own: async () => text })
  const { rows } = await list.find({ search: '', hubs: [] })
  expect(rows.length).toBeGreaterThan(50)
  expect(rows.filter(({ files }) => files.length === 0)).toEqual([])
  expect(rows.flatMap(({ files }) => files).filter(({ name }) => !/\.(safetensors|pth)$/.test(name))).toEqual([])
})

function catalogueDeps({ network }: Awaited<ReturnType<typeof hubFarm>>) {
  const dir = tempDir()
  return {
    network,
    manager: async () => ({ list: undefined, from: { fetchedAt: null, url: null, licence: '', because: null } }),
    shelf: {
      roots: () => [],
      folderFor: () => dir,
      bySha256: () => null,
      byName: () => null,
      page: () => ({ rows: [], total: 0, bytes: 0 }),
      takeIn: async () => null,
      sha256Of: async () => '',
    },
    downloads: { add: () => ({}) as DownloadView, open: () => [], cameFrom: () => [] },
    needsOf: async () => [],
  }
}
