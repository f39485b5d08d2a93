// node test/e2e/screenshots.ts OUTDIR [--readme DIR] [--only REGEX]: every screen with real data, in both themes, languages and
// sizes; or only those of such a name, for example `^custom-nodes.*-1024-dark`.
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import type { Page } from 'playwright'
import { chromium } from 'playwright'
import sharp from 'sharp'
import { startAgent } from '../../agent/agent.ts'
import type { App } from '../../core/contract/app.ts'
import type { Prompt } from '../../core/contract/comfyui.ts'
import type { DownloadWanted } from '../../core/contract/download.ts'
import { parseJson, writeJson } from '../../core/contract/json.ts'
import type { OutputOf, ProcedureName } from '../../core/contract/procedure.ts'
import type { Publication, PublishPlan } from '../../core/contract/publish.ts'
import type { ReleaseView } from '../../core/contract/release.ts'
import { RehearsalServer } from '../../core/engine/rehearsal/server.ts'
import { connectInProcess } from '../../main/api/client.ts'
import { openHost } from '../../main/open-host.ts'
import { systemClock } from '../../main/services/clock.ts'
import { openDatabase } from '../../main/services/database/open.ts'
import { Downloads } from '../../main/services/downloads.ts'
import { KeptSettings } from '../../main/services/settings.ts'
import { ensureBuilt } from '../kit/built.ts'
import { comfyFolderForNodes } from '../kit/comfy-folder.ts'
import { eventually } from '../kit/eventually.ts'
import { installedComfy } from '../kit/installed-comfy.ts'
import { aCheckpoint, aLora, aPickle, put } from '../kit/model-files.ts'
import { nodeCode, nodeRepository } from '../kit/nodes-kit.ts'
import { keepPublication, releasesAgent, SNAPSHOTS } from '../kit/publication-kit.ts'
import { openPublishedDoor } from '../kit/published-kit.ts'

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { readme: { type: 'string' }, only: { type: 'string' } },
})
const README = new Set(
  [
    ...['start-1440-dark', 'batch-1440-light', 'workflow-1440-dark', 'form-1440-light', 'queue-1440-dark'],
    ...['gallery-1440-light', 'models-get-1440-light', 'custom-nodes-find-1440-light'],
    ...['publish-1440-dark', 'endpoints-1440-light'],
  ].map((screen) => `${screen}-en.png`),
)
const outDir = path.resolve(positionals[0] ?? 'screenshots')
const rendererDir = path.resolve(import.meta.dirname, '../../out/renderer')
mkdirSync(outDir, { recursive: true })
ensureBuilt()

const dir = mkdtempSync(path.join(tmpdir(), 'nightshift-screenshots-'))
const installed = await installedComfy({ dataDir: path.join(dir, 'data') })
const agents: { stop(graceMs: number): Promise<void> }[] = []
const KEY = 'sk_of_the_pictures'
const servers: ReturnType<typeof createServer>[] = []
await askForDownloads()
const comfy = await fillNodes()
const host = await openHost({
  dataDir: installed.dataDir,
  outputDir: path.join(dir, 'pictures'),
  door: 'headless',
  locale: 'en',
})
const { call, close } = connectInProcess(host.served)
const failing = new RehearsalServer({ dir: path.join(dir, 'server'), stepMs: 60, assumeModels: true })
await failing.start()
const dying = new RehearsalServer({ dir: path.join(dir, 'dying') })
await dying.start()
const browser = await chromium.launch({
  executablePath: process.env.NIGHTSHIFT_CHROMIUM || '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-dev-shm-usage'],
})
try {
  await shoot()
} finally {
  await browser.close()
  close()
  await host.stop()
  await failing.stop()
  for (const agent of agents) await agent.stop(0)
  for (const server of servers) server.closeAllConnections()
  rmSync(dir, { recursive: true, force: true })
}

async function serve(answer: RequestListener): Promise<string> {
  const server = createServer(answer)
  servers.push(server)
  server.unref()
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening))
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

/** Endpoints: one that works, one that gets a new version ready, one that is gone. */
async function fillEndpoints(workflowId: string) {
  const common = { host: '127.0.0.1', port: 0, names: [], origins: [], keys: [KEY], worker: 'rehearsal' }
  const works = await startAgent({ ...common, store: path.join(dir, 'agent') })
  const goes = await startAgent({ ...common, store: path.join(dir, 'agent-gone') })
  agents.push(works)
  const releases: ReleaseView[] = ([3, 2, 1] as const).map((version) => ({
    version,
    snapshotId: String(version).repeat(3) + 'c41f09ab'.repeat(8).slice(0, 61),
    note: ['', 'As it was on Friday', 'Face Mender 2.1 and the new lighting', 'Without the video nodes'][version]!,
    createdAt: Date.now() - (4 - version) * 86_400_000,
    workflows: [{ id: 'postcards', name: 'Postcards' }],
    models: 4,
    state:
      version === 3
        ? { is: 'preparing', phase: 'models', bytes: 4.1e9, totalBytes: 6.9e9 }
        : { is: version === 2 ? 'live' : 'retired' },
    seconds:
      version === 3
        ? { fetch: 11, restore: 24 }
        : { fetch: 14, restore: 31, models: 2, start: 19, verify: 3, canary: 8 },
  }))
  const card = { name: 'NVIDIA H200', type: 'cuda', vram_total: 150e9, vram_free: 121e9 }
  const answers: Record<string, unknown> = {
    '/readyz': { ok: true },
    '/api/system_stats': { system: { comfyui_version: '0.33.0' }, devices: [card] },
    '/v1/releases': { rows: releases },
    '/api/workflows': { workflows: [{ id: 'postcards', name: 'Postcards', panel: {}, parameters: [] }] },
    '/v1/log': { rows: [{ at: Date.now() - 60_000, text: 'release.phase {"version":3,"phase":"models"}' }] },
  }
  const rented = await serve((request, response) => {
    const answer = answers[request.url ?? '']
    response.writeHead(answer ? 200 : 404, { 'content-type': 'application/json' }).end(writeJson(answer ?? {}))
  })
  const add = (name: string, url: string) => call('endpoint.add', { name, url, key: KEY })
  await add('studio-agent', works.url)
  await add('rented-h200', rented)
  await add('cluster', goes.url)
  await call('endpoint.set', { name: 'rented-h200', settings: { checkpoints: ['sd_xl_base_1.0.safetensors'] } })
  await call('endpoint.releases', { name: 'rented-h200' })
  const { batchId } = await call('batch.submit', {
    workflowId,
    name: 'Tried there',
    workers: ['studio-agent'],
    repeat: 2,
  })
  await eventually(async () => (await call('batch.get', { id: batchId })).endedAt !== null, 120_000)
  await goes.stop(0)
  await call('endpoint.look', { name: 'cluster' })
  await call('endpoint.add', { name: 'atelier', url: await serve(releasesAgent()) })
  await keepPublication(installed.dataDir, 'atelier')
}

/** Downloads in every state, from servers that take their time. */
async function askForDownloads() {
  const sizeBytes = 2 ** 30
  const slowly = (everyMs: number) =>
    serve(async (request, response) => {
      const [, from = '0', to = ''] = /bytes=(\d+)-(\d*)/.exec(request.headers.range ?? '') ?? []
      const end = to === '' ? sizeBytes - 1 : Number(to)
      const range = { 'content-range': `bytes ${from}-${end}/${sizeBytes}` }
      const length = { 'content-length': end - Number(from) + 1, etag: '"one"' }
      response.writeHead(request.headers.range ? 206 : 200, { ...length, ...(request.headers.range && range) })
      for (let left = length['content-length']; left > 0 && !response.destroyed; left -= 16_384) {
        response.write(Buffer.alloc(Math.min(left, 16_384)))
        await pause(everyMs)
      }
      response.end()
    })
  const [near, far] = [await slowly(300), await slowly(700)]
  const small = await serve((_, response) => void response.end(Buffer.alloc(3_000_000)))
  const database = openDatabase(path.join(installed.dataDir, 'nightshift.db'))
  const downloads = new Downloads({
    database,
    clock: systemClock,
    settings: new KeptSettings(database),
    dispatcher: () => undefined as never,
    sourcesOf: () => Promise.reject(new Error('not started')),
  })
  const ask = (name: string, from: string[], also: Partial<DownloadWanted> = {}) =>
    downloads.add({
      name,
      kind: 'model',
      to: path.join(installed.dataDir, 'models', name),
      sources: from.map((url) => ({ hub: 'url', url: `${url}/${name}` })),
      sizeBytes,
      ...also,
    })
  ask('flux1-schnell-fp8.safetensors', [near, far], { sha256: 'b'.repeat(64) })
  ask('t5xxl_fp16.safetensors', [far])
  ask('sd3.5_large.safetensors', [near], { startAt: '03:00', stopAt: '03:01' })
  ask('ae.safetensors', [small], { sizeBytes: 3_000_000, sha256: 'a'.repeat(64) })
  ask('clip_l.safetensors', [small], { sizeBytes: 3_000_000 })
  database.close()
}

/** A ComfyUI with custom nodes, and lists of more of them. */
async function fillNodes() {
  const packs = [
    ['Tile Upscaler', 'Enlarges pictures tile by tile, without seams.', 2341],
    ['Face Mender', 'Finds faces and draws them again at full size.', 1874],
    ['Prompt Wheel', 'Words by weight, by turn or by chance.', 1206],
    ['Video Strip', 'Cuts videos into pictures, and sews them again.', 998],
    ['Colour Grade', 'Curves, tables and film looks.', 640],
    ['水墨工具', '水墨、宣纸与印章效果。', 412],
  ] as const
  const repos = packs.map(([title], at) => {
    const repo = path.join(dir, 'repositories', title.toLowerCase().replaceAll(' ', '-'))
    const classes = [title.replace(' ', ''), `${title.replace(' ', '')}Preview`]
    nodeRepository(repo, {
      '__init__.py': nodeCode(classes),
      ...(at === 0 && { 'install.py': 'print("looking for a graphics card")\n' }),
    })
    return { repo, classes }
  })
  // the shapes of ComfyUI-Manager's lists as of August 2026
  const page = (at: number) => `https://example.org/o/pack-${at}`
  const answers: Record<string, unknown> = {
    '/map.json': Object.fromEntries(
      repos.map(({ repo, classes }, at) => [repo, [classes, { title_aux: packs[at]![0] }]]),
    ),
    '/list.json': {
      custom_nodes: packs.map(([title, description], at) => ({
        reference: page(at),
        files: [repos[at]!.repo],
        title,
        author: 'Ada',
        description,
      })),
    },
    '/models.json': { models: [{}] },
    '/stats.json': Object.fromEntries(
      packs.map(([, , stars], at) => [page(at), { stars, last_update: `2026-0${9 - at}-12 08:00:00` }]),
    ),
  }
  const url = await serve((request, response) => {
    const answer = answers[request.url ?? '']
    response.writeHead(answer ? 200 : 404).end(writeJson(answer ?? {}))
  })
  const at = (name: string) => ({ url: `${url}/${name}.json`, licence: 'GPL-3.0' })
  const lists = {
    'extension-node-map': at('map'),
    'custom-node-list': at('list'),
    'github-stats': at('stats'),
    'model-list': at('models'),
  }
  writeFileSync(path.join(installed.dataDir, 'mirrors.json'), writeJson({ lists, sources: { 'node-registry': url } }))
  const comfy = comfyFolderForNodes({ dir: path.join(dir, 'ComfyUI') })
  const folder = path.join(comfy.dir, 'custom_nodes')
  mkdirSync(folder)
  for (const { repo } of repos.slice(2, 5))
    execFileSync('git', ['clone', '-q', repo, path.join(folder, path.basename(repo))])
  writeFileSync(path.join(folder, 'prompt-wheel', '__init__.py'), `${nodeCode(['PromptWheel'])}# mine\n`)
  put(folder, { 'my own nodes/__init__.py': nodeCode(['MyOwn']) })
  return comfy
}

/** A few models of every sort, with pictures and copies. */
async function fillModels() {
  const models = path.join(dir, 'Models')
  const styles = ['ink wash', 'paper cut', 'night market', 'old film', 'blue hour', 'woodcut']
  for (const [at, style] of styles.entries()) {
    const lora = aLora(at, { 'modelspec.trigger_phrase': `${style}, soft light` })
    const hue = { r: 40 + at * 30, g: 90, b: 190 - at * 25 }
    const picture = await sharp({ create: { width: 320, height: 320, channels: 3, background: hue } })
      .png()
      .toBuffer()
    put(models, { [`loras/style ${style}.safetensors`]: lora, [`loras/style ${style}.preview.png`]: picture })
    if (at < 3) put(models, { [`loras/of another tool/style ${style}.safetensors`]: lora })
  }
  put(models, {
    'checkpoints/sd_xl_base_1.0.safetensors': aCheckpoint(1, 2048),
    'checkpoints/v1-5-pruned-emaonly-fp16.safetensors': aCheckpoint(2),
    'checkpoints/a lora that strayed.safetensors': aLora(9),
    'embeddings/easynegative.pt': aPickle('os', 'system'),
    'vae/cut short.safetensors': aCheckpoint(3).subarray(0, -9),
  })
  await call('model.addFolder', { dir: models })
  await call('model.hash', { likely: true, wait: true })
  const { rows } = await call('model.page', { search: 'woodcut' })
  await call('model.trash', { ids: rows.map(({ id }) => id) })
}

async function shoot() {
  const { url } = await host.serve({ host: '127.0.0.1', port: 0, rendererDir })
  const prompts = [
    'a lighthouse on a basalt cliff, storm light, long exposure',
    'paper lanterns over a canal, blue hour',
    'an old observatory in the snow, warm windows',
    'a tram under plane trees, rain, reflections',
    'a night market seen from above',
    'terraced rice fields at dawn, mist',
  ]
  const sample = await call('workflow.sample', {})
  await fillModels()
  await call('engine.adopt', { ...comfy, name: 'studio', settings: { autoStart: false } })
  const lacking = { nodes: ['TileUpscaler', 'FaceMender'].map((type, at) => ({ id: at + 1, type })), links: [] }
  const base64 = Buffer.from(writeJson(lacking)).toString('base64')
  await call('workflow.import', { name: 'Portraits, enlarged.json', base64 })
  const { inspection } = await call('workflow.get', { id: sample.id })
  const key = (role: string) => inspection.parameters.find((parameter) => parameter.role === role)!.key
  const [look, patience] = ['sampler', 'steps'].map((role) =>
    inspection.parameters.find((parameter) => parameter.role === role),
  )
  const form = await call('workflow.panel.propose', {
    id: sample.id,
    words: {
      title: 'Night postcards',
      pictures: 'Your pictures',
      words: 'What shall be on it?',
      size: 'How large?',
      more: 'Chance',
      names: { [key('prompt')]: 'The scene', [key('negative')]: 'What it must not have' },
    },
  })
  const brushes = [
    { value: 'euler', label: 'Soft' },
    { value: 'dpmpp_2m', label: 'Crisp' },
    { value: 'lcm', label: 'Rough' },
  ]
  form.params.push({
    type: 'group',
    title: '4. How it is painted',
    children: [
      { type: 'select', id: look!.node, key: look!.input, title: 'Brush', options: brushes },
      { type: 'number', id: patience!.node, key: patience!.input, title: 'Patience', min: 4, max: 40, step: 1 },
    ],
  })
  await call('workflow.panel.set', { id: sample.id, panels: [form] })
  const done = await call('batch.submit', {
    workflowId: sample.id,
    name: 'Postcards',
    workers: ['rehearsal'],
    sets: { [key('steps')]: 8 },
    rows: prompts.map((prompt) => ({ [key('prompt')]: prompt })),
    axes: [{ parameter: key('cfg'), values: [4, 7] }],
  })
  await eventually(async () => (await call('batch.get', { id: done.batchId })).endedAt !== null, 180_000)
  failing.onNext('oom')
  await call('worker.add', { url: failing.url, name: 'studio-4090', header: null })
  await call('worker.add', { url: dying.url, name: 'old-laptop', header: null })
  await dying.stop()
  await eventually(async () => {
    const { rows } = await call('worker.list', {})
    return rows.some(({ id, health }) => id === 'studio-4090' && health.is === 'ready')
  })
  const trouble = await call('batch.submit', {
    workflowId: sample.id,
    name: 'Large prints',
    workers: ['studio-4090'],
    sets: { [key('steps')]: 4 },
    rows: prompts.slice(0, 3).map((prompt) => ({ [key('prompt')]: prompt })),
  })
  await eventually(async () => (await call('batch.get', { id: trouble.batchId })).endedAt !== null, 120_000)
  const night = await call('batch.submit', {
    workflowId: sample.id,
    name: 'Winter catalogue',
    workers: ['studio-4090'],
    sets: { [key('steps')]: 400 },
    rows: prompts.map((prompt) => ({ [key('prompt')]: prompt })),
    repeat: 60,
    startAt: null,
    stopAt: null,
  })
  await fillEndpoints(sample.id)
  const exported = await call('workflow.export', { id: sample.id, as: 'prompt' })
  const prompt = parseJson(Buffer.from(exported.base64, 'base64').toString()) as unknown as Prompt
  const offered = { id: 'postcards', name: 'Postcards', prompt, panel: form }
  const doorDir = path.join(dir, 'door')
  const published = await openPublishedDoor(
    doorDir,
    [{ ...offered, parameters: inspection.parameters }],
    path.resolve(rendererDir, '../agent/form'),
    [KEY],
  )
  agents.push(published)
  const failed = await call('job.page', { batchId: trouble.batchId, states: ['failed'], limit: 1 })
  const pictures = await call('artifact.page', { batchId: done.batchId, limit: 12 })
  await eventually(async () => (await call('queue.state', {})).running.some(({ preview }) => preview > 0), 60_000)

  const screens: Record<string, (page: Page) => Promise<void>> = {
    start: (page) => open(page, '/'),
    workflow: (page) => open(page, `/workflow/${sample.id}`),
    form: (page) => open(page, `/form/${sample.id}`),
    'form-editor': async (page) => {
      await open(page, `/form/${sample.id}/edit`)
      await page.locator('[data-path]').last().click()
      await settled(page)
    },
    batch: async (page) => {
      await open(page, `/batch/${sample.id}`)
      await fillTable(page, prompts)
    },
    queue: (page) => open(page, `/queue?batch=${night.batchId}`),
    failure: (page) => open(page, `/queue?batch=${trouble.batchId}&job=${failed.rows[0]?.id}`),
    gallery: (page) => open(page, `/gallery?batch=${done.batchId}`),
    picture: (page) => open(page, `/gallery?batch=${done.batchId}&open=${pictures.rows[2]?.id}`),
    compare: (page) => open(page, `/gallery?open=${pictures.rows[0]?.id}&compare=${pictures.rows[1]?.id}`),
    workers: (page) => open(page, '/workers'),
    'add-worker': async (page) => {
      await open(page, '/workers')
      await page
        .getByRole('button', { name: /Add a ComfyUI|添加 ComfyUI/ })
        .first()
        .click()
      await page.getByRole('button', { name: /Over SSH|通过 SSH/ }).click()
      await settled(page)
    },
    endpoints: async (page) => {
      await open(page, '/endpoints')
      const rented = page.getByRole('listitem', { name: 'rented-h200' })
      await rented.getByRole('button', { name: /^(Versions|版本)$/ }).click()
      await rented.getByText('Face Mender 2.1').waitFor()
      await settled(page)
    },
    'endpoints-none': async (page) => {
      await say(page, { 'endpoint.list': { rows: [] } })
      await open(page, '/endpoints')
    },
    'endpoint-log': async (page) => {
      await open(page, '/endpoints')
      const rented = page.getByRole('listitem', { name: 'rented-h200' })
      await rented.getByRole('button', { name: /^(Log|日志)$/ }).click()
      await rented.getByText('release.phase').first().waitFor()
      await settled(page)
    },
    'endpoint-forms': async (page) => {
      await open(page, '/endpoints')
      const rented = page.getByRole('listitem', { name: 'rented-h200' })
      await rented.getByRole('button', { name: /^(Forms|表单)$/ }).click()
      await rented.getByText('Postcards').first().waitFor()
      await settled(page)
    },
    'endpoint-gone': async (page) => {
      await open(page, '/endpoints')
      await page.getByRole('listitem', { name: 'cluster' }).scrollIntoViewIfNeeded()
    },
    'publish-none': async (page) => {
      await say(page, { 'endpoint.list': { rows: [] } })
      await open(page, '/publish')
    },
    'publish-plan': (page) => planned(page, aPlan),
    'publish-secrets': (page) => planned(page, aPlanWithSecrets),
    'publish-sending': (page) => onItsWay(page, sending),
    'publish-preparing': (page) => onItsWay(page, preparing),
    'published-key': async (page) => {
      await page.goto(`${published.url}/form/postcards`)
      await page.evaluate(() => sessionStorage.clear())
      await page.reload()
      await page.locator('input[type=password]').waitFor()
      await settled(page)
    },
    'published-form': async (page) => {
      await page.goto(`${published.url}/form/postcards#key=${KEY}`)
      await page.reload()
      await page.getByRole('button', { name: /Make a picture|^生成/ }).click()
      await page
        .getByRole('region', { name: /^(Pictures|图片)$/ })
        .getByRole('img')
        .first()
        .waitFor()
      await settled(page)
    },
    publish: async (page) => {
      await open(page, '/publish?endpoint=atelier')
      await page.getByRole('img', { name: /^(Difference|差别)$/ }).waitFor()
      await settled(page)
    },
    'publish-first': async (page) => {
      await open(page, '/publish?endpoint=studio-agent')
      await settled(page)
    },
    'endpoint-programs': async (page) => {
      await open(page, '/endpoints')
      const rented = page.getByRole('listitem', { name: 'rented-h200' })
      await rented.getByRole('button', { name: /^(Use from a program|在程序中使用)$/ }).click()
      await rented.getByRole('button', { name: 'Python' }).click()
      await rented.scrollIntoViewIfNeeded()
      await settled(page)
    },
    'add-endpoint': async (page) => {
      await open(page, '/endpoints')
      await page
        .getByRole('button', { name: /Add an endpoint|添加端点/ })
        .first()
        .click()
      await settled(page)
    },
    models: (page) => open(page, '/models'),
    'models-pictures': async (page) => {
      await open(page, '/models?find=style')
      await page.getByRole('button', { name: /^(Pictures|图片)$/ }).click()
      await page
        .getByRole('button', { name: /ink wash/ })
        .first()
        .click()
      await page.getByRole('complementary').getByRole('textbox').waitFor()
    },
    'models-duplicates': async (page) => {
      await open(page, '/models?tab=duplicates')
      await page.getByRole('button', { name: /^(Merge all|全部合并)$/ }).waitFor()
    },
    'models-unused': (page) => open(page, '/models?tab=unused'),
    'models-trash': async (page) => {
      await open(page, '/models?tab=unused')
      await page.getByRole('button', { name: /^(Trash|回收站)/ }).click()
      await page.getByRole('dialog').getByText('woodcut').first().waitFor()
    },
    'models-verified': async (page) => {
      await open(page, '/models')
      await page
        .getByRole('button', { name: /^(More|更多)/ })
        .last()
        .click()
      await page.getByRole('menuitem', { name: /^(Verify all files|校验全部文件)$/ }).click()
      await page
        .getByText(/cut short/)
        .last()
        .waitFor()
      await settled(page)
    },
    'models-get': (page) => open(page, '/models?tab=get'),
    'models-plan': async (page) => {
      await open(page, '/models?tab=get')
      await page.getByRole('button', { name: 'Z-Image Turbo' }).first().click()
      await page.getByRole('dialog').waitFor()
    },
    engine: (page) => open(page, '/engine'),
    'custom-nodes': async (page) => {
      await call('nodes.cancel', { engine: 'studio' })
      await open(page, '/custom-nodes?engine=studio')
      await page.getByRole('listitem', { name: 'prompt-wheel' }).getByRole('button').first().click()
      await settled(page)
    },
    'custom-nodes-find': (page) => open(page, '/custom-nodes?engine=studio&view=find'),
    'custom-nodes-missing': (page) => open(page, '/custom-nodes?engine=studio&view=missing'),
    'custom-nodes-plan': async (page) => {
      await open(page, '/custom-nodes?engine=studio&view=find')
      await page
        .getByRole('listitem', { name: 'Tile Upscaler' })
        .getByRole('button', { name: /Install|安装/ })
        .click()
      await page.getByText('tile-upscaler/install.py').first().click()
      await settled(page)
    },
    downloads: async (page) => {
      await open(page, '/downloads')
      await page
        .getByRole('button', { name: /2 sources|2 个来源/ })
        .first()
        .click()
      await settled(page)
    },
    mirrors: (page) => open(page, '/mirrors'),
    'mirrors-measured': async (page) => {
      await say(page, { 'mirror.list': await measured() })
      await open(page, '/mirrors')
    },
    'engine-versions': (page) => enginePanel(page, /^(Versions|版本)$/),
    'engine-check-up': (page) => enginePanel(page, /^(Check-up|体检)$/),
    'engine-models': (page) => enginePanel(page, /^(Models of another ComfyUI|使用其他 ComfyUI 的模型)$/),
    'engine-install': async (page) => {
      await open(page, '/engine')
      await page.getByRole('button', { name: /Install ComfyUI…|安装 ComfyUI…/ }).click()
      await settled(page)
    },
    settings: (page) => open(page, '/settings'),
  }
  const noWait = { phase: null, perSecond: null, etaSeconds: null }
  const snapshot = {
    id: SNAPSHOTS[0],
    name: 'studio',
    labels: [],
    createdAt: new Date().toISOString(),
    platform: 'linux-x64 · Python 3.12 · torch 2.9.1+cu129',
    comfyuiVersion: '0.33.0',
    commit: 'c41f09ab'.repeat(5),
    ...{ nodes: 14, packages: 212, models: 3, files: 31_480, bytes: 7.4e9 },
  }
  const push = {
    ...{ id: SNAPSHOTS[0], where: 'studio-agent', packs: 9, objects: { missing: 318, all: 24_180 } },
    bytes: { missing: 41e6, all: 2.6e9 },
    models: { count: 3, bytes: 17.9e9, missing: 1, missingBytes: 6.9e9, fetched: 1 },
  }
  const aPlan: PublishPlan = {
    ...{ endpoint: 'studio-agent', snapshot, secrets: [], push, workflows: [{ id: sample.id, name: 'Sample' }] },
    models: [
      { folder: 'checkpoints', name: 'sd_xl_base_1.0.safetensors', size: 6.9e9 },
      { folder: 'diffusion_models', name: 'z_image_turbo_bf16.safetensors', size: 10.6e9 },
      { folder: 'loras', name: 'style ink wash.safetensors', size: 0.4e9 },
    ],
    live:
      (await call('endpoint.releases', { name: 'rented-h200' })).rows.find(({ state }) => state.is === 'live') ?? null,
    changes: [
      { what: 'node', is: 'changed', name: 'face-mender', before: '9b1c2d4', after: '41aa07e' },
      { what: 'package', is: 'changed', name: 'transformers', before: '4.57.1', after: '4.57.3' },
      { what: 'file', is: 'added', name: 'custom_nodes/prompt-wheel/lists/night.txt', before: null, after: null },
    ],
    refusals: [],
  }
  const aPlanWithSecrets: PublishPlan = {
    ...{ endpoint: 'studio-agent', snapshot: null, push: null, models: [], workflows: aPlan.workflows, live: null },
    ...{ changes: null, refusals: [] },
    secrets: [
      ['custom_nodes/prompt-wheel/config.json', 'API key', 'sk-p…3f9a'],
      ['user/default/comfy.settings.json', 'Hugging Face token', 'hf_K…x2Qm'],
    ].map(([file, kind, shown], at) => ({ id: `s${at}`, path: file!, line: 4 + at * 9, kind: kind!, shown: shown! })),
  }
  const sending: Publication = {
    ...{
      id: 'p9',
      endpoint: 'studio-agent',
      snapshotId: SNAPSHOTS[0],
      workflows: aPlan.workflows,
      note: 'New lighting',
    },
    ...{ createdAt: Date.now() - 95_000, endedAt: null, version: null, sent: null, proof: null, consent: null },
    seconds: {},
    state: { is: 'running', ...noWait, step: 'push', done: 2.9e9, total: 6.94e9, perSecond: 31e6, etaSeconds: 130 },
  }
  const preparing: Publication = {
    ...{ ...sending, version: 3, sent: push, seconds: { push: 214, release: 1 } },
    state: { is: 'running', ...noWait, step: 'prepare', phase: 'restore', done: 1.1e9, total: 2.6e9, etaSeconds: 44 },
  }
  async function planned(page: Page, plan: PublishPlan) {
    await say(page, { 'publish.plan': plan })
    await open(page, '/publish?endpoint=studio-agent')
    await page.getByLabel('Sample', { exact: true }).check()
    await page.getByRole('button', { name: /^(See what would travel|查看将传送的内容)$/ }).click()
    await settled(page)
  }
  async function onItsWay(page: Page, publication: Publication) {
    await say(page, { 'publish.list': { rows: [publication] } })
    await open(page, '/publish?endpoint=studio-agent')
  }
  async function enginePanel(page: Page, name: RegExp) {
    await open(page, '/engine')
    const card = page.getByRole('listitem', { name: installed.name })
    await card.getByRole('button', { name }).click()
    await settled(page)
    await card.scrollIntoViewIfNeeded()
  }
  async function open(page: Page, to: string) {
    await page.goto(`${new URL(url).origin}/#${to}`)
    await page.reload()
    await settled(page)
  }
  for (const size of [
    { width: 1440, height: 900 },
    { width: 1024, height: 720 },
  ])
    for (const theme of ['light', 'dark'] as const)
      for (const language of ['en', 'zh-CN'] as const) {
        await call('settings.set', { theme, language })
        const context = await browser.newContext({ viewport: size, locale: language, colorScheme: theme })
        const page = await context.newPage()
        await page.goto(url)
        await page.getByRole('navigation').waitFor()
        for (const [name, show] of Object.entries(screens)) {
          const file = `${name}-${size.width}-${theme}-${language}.png`
          if (values.only && !new RegExp(values.only).test(file)) continue
          await show(page)
          await page.screenshot({ path: path.join(outDir, file) })
          await page.unrouteAll()
          if (values.readme && README.has(file))
            await sharp(path.join(outDir, file))
              .png({ palette: true, quality: 95, compressionLevel: 9, effort: 10 })
              .toFile(path.join(values.readme, `${name}-${theme}.png`))
        }
        await context.close()
      }
}

/** Has the page told what takes a network, a card or a clean slate. */
async function say(page: Page, answers: { [Name in ProcedureName<App>]?: OutputOf<App, Name> }) {
  for (const [name, value] of Object.entries(answers))
    await page.route(`**/rpc/${name}`, (route) =>
      route.fulfill({ contentType: 'application/json', body: writeJson({ ok: true, value }) }),
    )
}

/** Mirrors as they would be where they are reached, some well and some badly. */
async function measured(): Promise<OutputOf<App, 'mirror.list'>> {
  const { kinds } = await call('mirror.list', {})
  const common = { at: Date.now() - 90_000, reason: null, ranges: true }
  const results = [
    { ...common, ok: true, fault: null, latencyMs: 38, bytesPerSecond: 61e6 },
    { ...common, ok: true, fault: null, latencyMs: 212, bytesPerSecond: 8.4e6 },
    { ...common, ok: false, fault: 'wrong', latencyMs: 95, bytesPerSecond: null },
    { ...common, ok: false, fault: 'unreachable', reason: 'ECONNREFUSED', latencyMs: null, bytesPerSecond: null },
  ] as const
  return {
    kinds: kinds.map((kind) => ({
      ...kind,
      places: kind.places.map((place, at) => ({ ...place, measured: results[at % results.length]! })),
    })),
  }
}

/** Nothing is being asked for, loaded or moved any more. */
async function settled(page: Page) {
  await page.locator('main').waitFor()
  await eventually(async () => (await page.locator('[aria-label="Loading…"], [aria-label="正在载入…"]').count()) === 0)
  // what is out of sight may be fetched never
  await page.waitForFunction(() =>
    [...document.images].every((image) => image.complete || image.getBoundingClientRect().top > innerHeight),
  )
  await pause(350) // pictures fade and panels slide for this long
}

async function fillTable(page: Page, prompts: readonly string[]) {
  const grid = page.getByRole('grid')
  await grid.waitFor()
  if (((await grid.textContent()) ?? '').includes('lighthouse')) return
  await grid.focus()
  const rows = [
    'Prompt\tSteps\tCFG',
    ...prompts.map((prompt, row) => `${prompt}\t${20 + row * 5}\t${row === 3 ? 'high' : 6.5}`),
  ]
  await page.evaluate((text) => {
    const clipboardData = new DataTransfer()
    clipboardData.setData('text/plain', text)
    document.activeElement?.dispatchEvent(
      new ClipboardEvent('paste', { clipboardData, bubbles: true, cancelable: true }),
    )
  }, rows.join('\n'))
  await page.getByText('lighthouse').first().waitFor()
  await settled(page)
  await pause(600) // the preview is asked for once the typing stops
}
