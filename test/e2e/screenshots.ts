// node test/e2e/screenshots.ts OUTDIR [--readme DIR]: every screen with real data, in both themes, languages and sizes.
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import type { Page } from 'playwright'
import { chromium } from 'playwright'
import sharp from 'sharp'
import { RehearsalServer } from '../../core/engine/rehearsal/server.ts'
import { connectInProcess } from '../../main/api/client.ts'
import { openHost } from '../../main/open-host.ts'
import { ensureBuilt } from '../kit/built.ts'
import { eventually } from '../kit/eventually.ts'
import { installedComfy } from '../kit/installed-comfy.ts'
import { aCheckpoint, aLora, aPickle, put } from '../kit/model-files.ts'

const { positionals, values } = parseArgs({ allowPositionals: true, options: { readme: { type: 'string' } } })
const outDir = path.resolve(positionals[0] ?? 'screenshots')
const rendererDir = path.resolve(import.meta.dirname, '../../out/renderer')
mkdirSync(outDir, { recursive: true })
ensureBuilt()

const dir = mkdtempSync(path.join(tmpdir(), 'nightshift-screenshots-'))
const installed = await installedComfy({ dataDir: path.join(dir, 'data') })
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
  rmSync(dir, { recursive: true, force: true })
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
    models: (page) => open(page, '/models'),
    'models-pictures': async (page) => {
      await open(page, '/models?find=style')
      await page.getByRole('button', { name: /^(Pictures|图片)$/ }).click()
      await page.getByRole('button', { name: /ink wash/ }).click()
      await page.getByRole('complementary').getByRole('textbox').waitFor()
    },
    'models-duplicates': async (page) => {
      await open(page, '/models?tab=duplicates')
      await page.getByRole('button', { name: /^(Merge all|全部合并)$/ }).waitFor()
    },
    'models-get': (page) => open(page, '/models?tab=get'),
    'models-plan': async (page) => {
      await open(page, '/models?tab=get')
      await page.getByRole('button', { name: 'Z-Image Turbo' }).first().click()
      await page.getByRole('dialog').waitFor()
    },
    engine: (page) => open(page, '/engine'),
    downloads: (page) => open(page, '/downloads'),
    mirrors: (page) => open(page, '/mirrors'),
    'engine-versions': (page) => enginePanel(page, 0),
    'engine-check-up': (page) => enginePanel(page, 1),
    'engine-models': (page) => enginePanel(page, 2),
    'engine-install': async (page) => {
      await open(page, '/engine')
      await page.getByRole('button', { name: /Install ComfyUI…|安装 ComfyUI…/ }).click()
      await settled(page)
    },
    settings: (page) => open(page, '/settings'),
  }
  async function enginePanel(page: Page, at: number) {
    await open(page, '/engine')
    const card = page.getByRole('listitem', { name: installed.name })
    await card.getByRole('button', { expanded: false }).nth(at).click()
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
          await show(page)
          await page.screenshot({ path: path.join(outDir, `${name}-${size.width}-${theme}-${language}.png`) })
          const readme = values.readme && size.width === 1440 && language === 'en'
          if (readme && ['start', 'batch', 'queue', 'gallery'].includes(name))
            await sharp(await page.screenshot())
              .png({ palette: true, quality: 95, compressionLevel: 9, effort: 10 })
              .toFile(path.join(values.readme!, `${name}-${theme}.png`))
        }
        await context.close()
      }
}

/** Nothing is being asked for, loaded or moved any more. */
async function settled(page: Page) {
  await page.locator('main').waitFor()
  await eventually(async () => (await page.locator('[aria-label="Loading…"], [aria-label="正在载入…"]').count()) === 0)
  await page.evaluate(() => Promise.all([...document.images].map((image) => image.decode().catch(() => null))))
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
