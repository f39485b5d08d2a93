import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { test as anyTest, expect } from 'vitest'
import { type NodeChangeView, NodeConsent } from '../../core/contract/custom-node.ts'
import { writeJson } from '../../core/contract/json.ts'
import type { Client } from '../../main/api/client.ts'
import { comfyFolderForNodes } from '../kit/comfy-folder.ts'
import { eventually } from '../kit/eventually.ts'
import { hasGit } from '../kit/has-git.ts'
import { nodeCode, nodeRepository, writeTree } from '../kit/nodes-kit.ts'
import { serve } from '../kit/serve.ts'
import { startApp } from '../kit/start-app.ts'
import { tempDir } from '../kit/temp-dir.ts'

const test = anyTest.skipIf(!hasGit || process.platform === 'win32') // its Python is a script of the shell

// answers in the shapes of ComfyUI-Manager's lists and of the Comfy registry's API as of August 2026
const lists = (root: string): Record<string, unknown> => ({
  '/map.json': {
    [`${root}/flip`]: [['Flip', 'FlipTwo'], { title_aux: 'Flipper' }],
    'https://example.org/o/Other': [['Flip'], { title_aux: 'Other' }],
  },
  '/list.json': {
    custom_nodes: [
      {
        reference: `${root}/flip`,
        files: [`${root}/flip`],
        id: 'flipper',
        title: 'Flipper',
        author: 'Ada',
        description: 'turns pictures',
      },
      { reference: 'https://example.org/o/Other', title: 'Same name', author: 'Bo' },
      { reference: 'https://example.org/p/Other', title: 'Same name', author: 'Cy' },
    ],
  },
  '/stats.json': { [`${root}/flip`]: { stars: 7, last_update: '2026-01-02 03:04:05' } },
  '/api/comfy-nodes/OnlyThere/node': {
    id: 'only-there',
    name: 'Only there',
    repository: 'https://example.org/q/only-there',
  },
  '/api/nodes/withdrawn/versions': [
    { version: '1.0.0', status: 'NodeVersionStatusBanned', downloadUrl: 'https://example.org/x.zip' },
  ],
  '/api/nodes/search?search=nothing%20like%20it&limit=30': { nodes: [{ id: 'far', name: 'Far', repository: '' }] },
})

async function kit({ run = false } = {}) {
  const root = tempDir()
  const commits = nodeRepository(
    path.join(root, 'flip'),
    { '__init__.py': nodeCode(['Flip']) },
    { '__init__.py': nodeCode(['Flip', 'FlipTwo']), 'install.py': 'print("installing")' },
  )
  const answers = lists(root)
  const { url } = await serve((request, response) => {
    const url = request.url ?? ''
    const answer = answers[url] ?? (url.startsWith('/api/nodes/search') ? { nodes: [] } : undefined)
    response.writeHead(answer === undefined ? 404 : 200).end(writeJson(answer ?? {}))
  })
  const dataDir = path.join(root, 'data')
  mkdirSync(dataDir)
  const at = (name: string) => ({ url: `${url}/${name}.json`, licence: 'GPL-3.0' })
  const mirrors = {
    lists: { 'extension-node-map': at('map'), 'custom-node-list': at('list'), 'github-stats': at('stats') },
    sources: { 'node-registry': `${url}/api` },
  }
  writeFileSync(path.join(dataDir, 'mirrors.json'), writeJson(mirrors))
  const app = await startApp({ dataDir })
  const comfy = comfyFolderForNodes({ dir: path.join(root, 'ComfyUI') })
  await app.client.call('engine.adopt', { ...comfy, name: 'mine', settings: { autoStart: run } })
  const live = path.join(comfy.dir, 'custom_nodes')
  mkdirSync(live, { recursive: true })
  return { ...app, root, commits, live, repository: path.join(root, 'flip') }
}
const settled = (client: Client, ...states: NodeChangeView['is'][]) =>
  eventually(async () => {
    const [view] = (await client.call('nodes.changes', {})).rows
    return view && states.includes(view.is) && view
  })
async function carryOut(client: Client, wanted: object, consent = {}) {
  await client.call('nodes.plan', { engine: 'mine', ...wanted } as never)
  const planned = await settled(client, 'planned', 'failed')
  if (!planned.plan) return planned
  await client.call('nodes.begin', { engine: 'mine', plan: planned.plan.id, consent })
  return settled(client, 'done', 'failed')
}
const listed = async (client: Client) =>
  (await client.call('nodes.list', {})).rows.map(({ folder, enabled, source }) => [
    folder,
    enabled,
    'commit' in source ? source.commit : null,
  ])

test('a custom node is planned, added by what the lists call it, pinned, switched off, taken back and removed', async () => {
  const { client, live, commits, repository } = await kit()
  expect(await client.call('nodes.list', {})).toMatchObject({
    engine: 'mine',
    way: 'in-place',
    mayRollBack: false,
    rows: [],
  })
  await client.call('nodes.plan', { items: [repository] })
  const { plan } = await settled(client, 'planned')
  expect(plan).toMatchObject({
    engine: 'mine',
    nodes: [{ folder: 'flip', change: 'add', to: { is: 'git', commit: commits[1] } }],
    scripts: [{ file: 'install.py', text: 'print("installing")' }],
  })
  expect(existsSync(path.join(live, 'flip'))).toBe(false)
  const { result } = await carryOut(client, { items: [repository] })
  expect(result).toMatchObject({ generation: null, scripts: [{ file: 'install.py', is: 'not-allowed' }] })
  expect(await listed(client)).toEqual([['flip', true, commits[1]]])

  await carryOut(client, {
    changes: [{ is: 'update', folder: 'flip', from: { is: 'git', url: repository, ref: commits[0] } }],
  })
  expect(await listed(client)).toEqual([['flip', true, commits[0]]])
  await client.call('nodes.rollback', { engine: 'mine' })
  expect(await listed(client)).toEqual([['flip', true, commits[1]]])
  await carryOut(client, { changes: [{ is: 'disable', folder: 'flip' }] })
  expect(await listed(client)).toEqual([['flip', false, commits[1]]])
  await carryOut(client, { changes: [{ is: 'remove', folder: 'flip' }] })
  expect(await listed(client)).toEqual([])
  expect((await client.call('nodes.list', {})).mayRollBack).toBe(true)
  await client.call('nodes.rollback', { engine: 'mine' })
  expect(await listed(client)).toEqual([['flip', false, commits[1]]])
})

test('a running one takes the change after its work, and is started again with it', async () => {
  const { client, repository, submit, ended } = await kit({ run: true })
  const ready = () =>
    eventually(async () => {
      const state = (await client.call('engine.list', {})).rows[0]!.processes[0]!.state
      return state.is === 'ready' && state
    })
  const before = await ready()
  const { batchId } = await submit({ workers: ['mine'], repeat: 3 })
  const { failure } = await carryOut(client, { items: [repository] })
  expect(failure).toBeNull()
  const after = await ready()
  expect(after.pid).not.toBe(before.pid)
  expect((await ended(batchId)).counts).toMatchObject({ done: 3, failed: 0 })
})

test('what nobody knows, what could be several, what is withdrawn, and what may not be added are refused by name', async () => {
  const { client, repository } = await kit()
  const refused = (items: string[]) =>
    client.call('nodes.plan', { items }).then(
      () => null,
      (cause) => [cause.failure.code, cause.failure.facts],
    )
  expect(await refused(['no-such-pack'])).toEqual(['nodes.unknown-item', { item: 'no-such-pack' }])
  expect(await refused(['same name'])).toEqual([
    'nodes.ambiguous',
    { item: 'same name', candidates: 'o/Other, p/Other' },
  ])
  expect(await refused(['withdrawn@1.0.0'])).toMatchObject(['nodes.withdrawn', { version: '1.0.0' }])
  expect(await refused(['./not/there'])).toMatchObject(['input.missing', {}])
  await client.call('settings.set', { customNodes: { from: 'listed', chosen: [] } })
  expect(await refused(['https://example.org/z/unlisted'])).toMatchObject(['nodes.not-allowed', {}])
  await client.call('settings.set', { customNodes: { from: 'chosen', chosen: ['o/*', 'q/one'] } })
  expect(await refused(['https://example.org/q/two'])).toMatchObject(['nodes.not-allowed', {}])
  expect(await refused([repository])).toMatchObject(['nodes.not-allowed', {}])
  // owner/name is GitHub's, wherever else somebody has the same name
  for (const elsewhere of ['https://example.org/q/one', 'https://example.org/github.com/q/one', 'git@example.org:o/x'])
    expect(await refused([elsewhere]), elsewhere).toMatchObject(['nodes.not-allowed', {}])
  const from = { is: 'git' as const, url: 'https://example.org/q/two', ref: null }
  await expect(
    client.call('nodes.plan', { items: [], changes: [{ is: 'update', folder: 'flip', from }] } as never),
  ).rejects.toMatchObject({ failure: { code: 'nodes.not-allowed' } })
  await client.call('settings.set', { customNodes: { from: 'chosen', chosen: [repository] } })
  expect(await refused(['flipper'])).toBeNull()
  expect(await settled(client, 'planned')).toMatchObject({ plan: { nodes: [{ folder: 'flip' }] } })
})

test('search finds by name and class and says what is installed; who brings a class is asked of lists, then of the registry', async () => {
  const { client, repository } = await kit()
  await carryOut(client, { items: [repository] })
  const search = async (text: string) =>
    (await client.call('nodes.search', { search: text })).rows.map(({ title, installed, stars }) => [
      title,
      installed,
      stars,
    ])
  expect(await search('fliptwo')).toEqual([['Flipper', 'flip', 7]])
  expect(await search('nothing like it')).toEqual([['Far', null, null]])
  const { rows, lists } = await client.call('nodes.find', { classTypes: ['Flip', 'OnlyThere', 'Nobody'] })
  expect(rows.map(({ packs }) => packs.map(({ title, why, installed }) => [title, why, installed ?? false]))).toEqual([
    [
      ['Flipper', 'exact', true],
      ['Same name', 'exact', false],
    ],
    [['Only there', 'registry', false]],
    [],
  ])
  expect(lists).toMatchObject({ licence: 'GPL-3.0', because: null })
})

test('a snapshot of the Manager is written, and read as what would change; other files are refused', async () => {
  const { client, repository, commits, live } = await kit()
  await carryOut(client, { items: [`${repository}@${commits[0]}`] })
  const { name, base64 } = await client.call('nodes.snapshot', {})
  expect(name).toMatch(/^\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d_snapshot\.json$/)
  const text = Buffer.from(base64, 'base64').toString()
  expect(JSON.parse(text).git_custom_nodes).toEqual({ [repository]: { hash: commits[0], disabled: false } })
  const given = { name, base64 }
  expect(await client.call('nodes.planSnapshot', given)).toMatchObject({ view: null, same: 1, lost: [] })
  writeTree(live, { 'stray/__init__.py': nodeCode(['Stray']) })
  await carryOut(client, { changes: [{ is: 'update', folder: 'flip', from: null }] })
  await client.call('nodes.planSnapshot', given)
  const { plan } = await settled(client, 'planned')
  expect(plan!.nodes.map(({ folder, change }) => [folder, change])).toEqual([
    ['flip', 'update'],
    ['stray', 'disable'],
  ])
  const other = { name: 'x.json', base64: Buffer.from('{"nodes":[]}').toString('base64') }
  await expect(client.call('nodes.planSnapshot', other)).rejects.toMatchObject({
    failure: { code: 'nodes.bad-snapshot' },
  })
  const yaml = `custom_nodes:\n  git_custom_nodes:\n    ${repository}:\n      hash: ${commits[1]}\n      disabled: false\n`
  const asYaml = { name: 'x.yaml', base64: Buffer.from(yaml).toString('base64') }
  expect(await client.call('nodes.planSnapshot', asYaml)).toMatchObject({ same: 1 })
})

test('what the workflows lack is gathered, with who uses it', async () => {
  const { client } = await kit()
  const workflow = (types: string[]) => ({
    nodes: types.map((type, at) => ({
      id: at + 1,
      type,
      widgets_values: [],
      ...(type.startsWith('Flip') && { outputs: [] }),
    })),
    links: [],
  })
  for (const [name, types] of [
    ['one.json', ['Flip']],
    ['two.json', ['Flip', 'Nobody']],
  ] as const)
    await client.call('workflow.import', {
      name,
      base64: Buffer.from(writeJson(workflow([...types]))).toString('base64'),
    })
  const { rows } = await client.call('nodes.missing', {})
  expect(
    rows.map(({ classType, packs, workflows }) => [
      classType,
      packs[0]?.title,
      workflows.map(({ name }) => name).toSorted(),
    ]),
  ).toEqual([
    ['Flip', 'Flipper', ['one', 'two']],
    ['Nobody', undefined, ['two']],
  ])
})

test('an engine that is forgotten in the middle of a change is left as it was', async () => {
  const { client, repository, dataDir, live } = await kit()
  await client.call('nodes.plan', { items: [repository] })
  const { plan } = await settled(client, 'planned')
  await client.call('nodes.begin', { engine: 'mine', plan: plan!.id })
  await client.call('engine.remove', { name: 'mine' })
  expect((await client.call('nodes.changes', {})).rows).toEqual([])
  const home = path.join(dataDir, 'engines', 'mine')
  const of = (name: string) => existsSync(path.join(home, name))
  expect([existsSync(path.join(live, 'flip')), of('node-change.json'), of('trial')]).toEqual([false, false, false])
})

test('a change that was cut off while it was planned again is gone on with by the next start', async () => {
  const { client, repository, dataDir, stop, live } = await kit()
  await client.call('nodes.plan', { items: [repository] })
  const { plan } = await settled(client, 'planned')
  await stop()
  const home = path.join(dataDir, 'engines', 'mine')
  // the old plan is gone, the new one is not there yet
  rmSync(path.join(home, 'node-plan'), { recursive: true })
  const changes = [{ is: 'add', from: { is: 'git', url: repository, ref: null }, folder: null }]
  const begun = { changes, plan: null, consent: NodeConsent.parse({ builds: true }) }
  writeFileSync(path.join(home, 'node-change.json'), writeJson(begun as never))
  const again = await startApp({ dataDir })
  const done = await settled(again.client, 'done', 'failed')
  expect([done.is, done.plan?.nodes]).toEqual(['done', plan!.nodes])
  expect(existsSync(path.join(live, 'flip', '__init__.py'))).toBe(true)
  expect(existsSync(path.join(home, 'node-change.json'))).toBe(false)
})

test('a plan that waits is there again after a restart, and can be let go of', async () => {
  const { client, repository, dataDir, stop } = await kit()
  await client.call('nodes.plan', { items: [repository] })
  const before = await settled(client, 'planned')
  await stop()
  const again = await startApp({ dataDir })
  const { rows } = await again.client.call('nodes.changes', {})
  expect(rows).toMatchObject([{ is: 'planned', plan: { id: before.plan!.id } }])
  await expect(again.client.call('nodes.begin', { engine: 'mine', plan: 'another' })).rejects.toMatchObject({
    failure: { code: 'nodes.plan-gone' },
  })
  expect(await again.client.call('nodes.cancel', { engine: 'mine' })).toEqual({ changed: 1 })
  await expect(again.client.call('nodes.begin', { engine: 'mine', plan: before.plan!.id })).rejects.toMatchObject({
    failure: { code: 'nodes.plan-gone' },
  })
})
