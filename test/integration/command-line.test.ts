import { type ChildProcess, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import sharp from 'sharp'
import { expect, onTestFinished, test } from 'vitest'
import type { Prompt } from '../../core/contract/comfyui.ts'
import { isJsonObject, type JsonObject, parseJson } from '../../core/contract/json.ts'
import { RehearsalServer } from '../../core/engine/rehearsal/server.ts'
import { everyContainer, gif, zip } from '../kit/containers.ts'
import { eventually } from '../kit/eventually.ts'
import { aPicture, promptFile, startApp } from '../kit/start-app.ts'
import { tempDir } from '../kit/temp-dir.ts'

const cli = path.resolve(import.meta.dirname, '../../main/cli.ts')

interface Ran {
  code: number | null
  out: string
  err: string
  events: JsonObject[]
}
type Running = { child: ChildProcess; out: () => string; ended: Promise<Ran> }

/** A command line of its own process. */
function start(
  args: string[],
  { cwd = tempDir(), env = {} }: { cwd?: string; env?: Record<string, string> } = {},
): Running {
  const { npm_lifecycle_event: _event, INIT_CWD: _cwd, ...inherited } = process.env
  const child = spawn(process.execPath, [cli, ...args], {
    cwd,
    env: { ...inherited, LANG: 'en_US.UTF-8', LC_ALL: '', NIGHTSHIFT_NO_OPEN: '1', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  onTestFinished(() => void child.kill('SIGKILL'))
  let out = ''
  let err = ''
  child.stdout.on('data', (data) => (out += data))
  child.stderr.on('data', (data) => (err += data))
  const ended = once(child, 'close').then(([code]) => ({ code, out, err, events: eventsIn(out) }) as Ran)
  return { child, out: () => out, ended }
}
const cliRun = (args: string[], options = {}) => start(args, options).ended

function eventsIn(out: string): JsonObject[] {
  return out.split('\n').flatMap((line) => {
    try {
      const event = parseJson(line)
      return isJsonObject(event) ? [event] : []
    } catch {
      return []
    }
  })
}
const named = ({ events }: Ran, name: string) => events.filter(({ event }) => event === name)
const last = ({ events }: Ran) => events.at(-1)

/** A folder with a workflow file, a data folder and an output folder in it. */
function workplace(prompt: Prompt = aPicture) {
  const dir = tempDir()
  const workflow = path.join(dir, 'picture.json')
  writeFileSync(workflow, promptFile(prompt))
  return { dir, workflow, data: path.join(dir, 'data'), out: path.join(dir, 'out') }
}
/** Pictures below a folder, by their path in it. */
const pictures = (dir: string) =>
  existsSync(dir)
    ? readdirSync(dir, { recursive: true, encoding: 'utf8' })
        .filter((name) => name.endsWith('.png'))
        .sort()
    : []

/** A rehearsal that takes its time, in this process. */
async function slowServer(stepMs: number) {
  const server = new RehearsalServer({ dir: tempDir(), stepMs, sketchUnknown: true, assumeModels: true })
  await server.start()
  onTestFinished(() => server.stop())
  return server
}
const sampled: Prompt = {
  '1': { class_type: 'CheckpointLoaderSimple', inputs: { ckpt_name: 'any.safetensors' } },
  '2': { class_type: 'CLIPTextEncode', inputs: { text: 'a lighthouse', clip: ['1', 1] } },
  '3': { class_type: 'EmptyLatentImage', inputs: { width: 64, height: 64, batch_size: 1 } },
  '4': {
    class_type: 'KSampler',
    inputs: {
      seed: 1,
      steps: 4,
      cfg: 7,
      sampler_name: 'euler',
      scheduler: 'normal',
      denoise: 1,
      model: ['1', 0],
      positive: ['2', 0],
      negative: ['2', 0],
      latent_image: ['3', 0],
    },
  },
  '5': { class_type: 'VAEDecode', inputs: { samples: ['4', 0], vae: ['1', 2] } },
  '6': { class_type: 'SaveImage', inputs: { filename_prefix: 'night', images: ['5', 0] } },
}

test('rows times a grid are queued, made and named; a faulty row is told with its column and left out', async () => {
  const { dir, workflow, data, out } = workplace()
  writeFileSync(path.join(dir, 'sizes.csv'), 'width,title\n32,small\nwide,wrong\n96,large\n')
  const ran = await cliRun(
    [
      ...['run', 'picture.json', '--table', 'sizes.csv', '--grid', '1.height=16,24', '--worker', 'rehearsal'],
      ...['--out', out, '--name', '{title}-{param Height}', '--data', data, '--json'],
    ],
    { cwd: dir },
  )
  expect(ran.err).toContain('Row 2')
  expect(named(ran, 'fault')).toEqual([
    {
      ...{ event: 'fault', row: 2, column: 'width', value: 'wide', reason: 'must be a whole number, not "wide"' },
      ...{ code: 'value.not-whole', facts: { value: '"wide"' } },
    },
  ])
  expect(named(ran, 'batch')).toEqual([{ event: 'batch', batchId: expect.any(String), jobs: 4 }])
  const jobs = named(ran, 'job').toSorted((one, other) => Number(one.row) - Number(other.row)) // two end at once
  expect(jobs.map(({ row, state }) => [row, state])).toEqual([
    [1, 'done'],
    [1, 'done'],
    [3, 'done'],
    [3, 'done'],
  ])
  const files = jobs.flatMap(({ artifacts }) => artifacts as string[])
  const sizes = await Promise.all(files.map(async (file) => [path.basename(file), await sizeOf(file)]))
  expect(Object.fromEntries(sizes)).toEqual({
    'small-16.png': [32, 16],
    'small-24.png': [32, 24],
    'large-16.png': [96, 16],
    'large-24.png': [96, 24],
  })
  expect(last(ran)).toMatchObject({ event: 'done', ok: false, done: 4, failed: 0, parked: 0, cancelled: 0 })
  expect(ran.code).toBe(1)
  expect(existsSync(workflow)).toBe(true)
})
const sizeOf = async (file: string) => {
  const { width, height } = await sharp(file).metadata()
  return [width, height]
}

test('all well ends with 0, and every line of standard output is an event', async () => {
  const { workflow, data, out } = workplace()
  const ran = await cliRun([
    '--json',
    'run',
    workflow,
    '--set',
    'width=40',
    '--repeat',
    '2',
    '--out',
    out,
    '--data',
    data,
  ])
  expect(ran.code).toBe(0)
  expect(
    ran.out
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line).event),
  ).toEqual(['batch', 'job', 'job', 'done'])
  expect(last(ran)).toMatchObject({ ok: true, done: 2, seconds: expect.any(Number) })
  expect(pictures(out)).toHaveLength(2)
  expect(existsSync(path.join(data, 'nightshift.lock'))).toBe(false)
})

test('a column called as the pages call a parameter in Chinese fills that one', async () => {
  const { dir, workflow, data } = workplace({
    ...sampled,
    '7': { class_type: 'KSampler', inputs: { ...sampled['4']!.inputs, latent_image: ['4', 0], denoise: 0.5, seed: 2 } },
    '5': { class_type: 'VAEDecode', inputs: { samples: ['7', 0], vae: ['1', 2] } },
  })
  writeFileSync(path.join(dir, 'steps.csv'), '步数（第二遍）,步数（第一遍）\n9,many\n')
  const ran = await cliRun([
    'run',
    workflow,
    '--table',
    path.join(dir, 'steps.csv'),
    '--dry-run',
    '--data',
    data,
    '--json',
  ])
  expect(named(ran, 'fault')).toMatchObject([{ row: 1, column: '步数（第一遍）', code: 'value.not-whole' }])
  const set = ['--set', '步数（第二遍）=many', '--dry-run', '--data', data, '--json']
  expect(named(await cliRun(['run', workflow, ...set]), 'error')).toMatchObject([
    { code: 'parameter.bad-value', facts: { name: 'Steps (second pass)' } },
  ])
})

test('a preset is told as what it changes, gives way to what is set, and is used', async () => {
  const { dir, workflow, data, out } = workplace({
    ...sampled,
    '1': { class_type: 'CheckpointLoaderSimple', inputs: { ckpt_name: 'sd_xl_base_1.0.safetensors' } },
  })
  const run = ['run', workflow, '--worker', 'rehearsal', '--out', out, '--data', data, '--json']
  const ran = await cliRun([...run, '--preset', 'fast', '--set', '调度器=simple', '--lang', 'zh'])
  expect(ran.err).toContain('SDXL 的快速预设')
  expect(ran.err).toContain('步数：4 → 20')
  const why = expect.stringContaining('stabilityai/stable-diffusion-xl-base-1.0')
  expect(named(ran, 'batch')).toMatchObject([
    {
      ...{ preset: 'fast', family: 'sdxl' },
      changes: [
        { key: '4.steps', name: 'Steps', from: 4, to: 20, why },
        { key: '4.sampler_name', name: 'Sampler', from: 'euler', to: 'dpmpp_2m', why },
      ],
    },
  ])
  const { prompt } = JSON.parse(readFileSync(path.join(out, `${pictures(out)[0]!}.json`), 'utf8'))
  expect(prompt['4'].inputs).toMatchObject({ steps: 20, sampler_name: 'dpmpp_2m', scheduler: 'simple', cfg: 7 })

  const unknown = await cliRun([...run, '--preset', 'best'])
  expect([unknown.code, named(unknown, 'error')]).toMatchObject([2, [{ code: 'app.usage' }]])
  writeFileSync(path.join(dir, 'plain.json'), promptFile(aPicture))
  const none = await cliRun(['run', path.join(dir, 'plain.json'), '--preset', 'fast', '--data', data, '--json'])
  expect([none.code, named(none, 'error')]).toMatchObject([
    2,
    [{ facts: { reason: expect.stringContaining('nothing is known of the models') } }],
  ])
})

test('pictures of a folder are jobs, in the order people count, and are what the nodes load', async () => {
  const { dir, workflow, data, out } = workplace({
    '1': { class_type: 'LoadImage', inputs: { image: 'example.png' } },
    '2': { class_type: 'SaveImage', inputs: { filename_prefix: 'x', images: ['1', 0] } },
  })
  mkdirSync(path.join(dir, 'photos'))
  for (const width of [10, 2]) {
    const background = { r: width * 20, g: 0, b: 0 }
    await sharp({ create: { width, height: 4, channels: 3, background } })
      .png()
      .toFile(path.join(dir, 'photos', `${width}.png`))
  }
  const ran = await cliRun([
    'run',
    workflow,
    '--folder',
    `image=${path.join(dir, 'photos')}`,
    '--out',
    out,
    '--data',
    data,
    '--json',
  ])
  expect(last(ran)).toMatchObject({ ok: true, done: 2 })
  const jobs = named(ran, 'job').toSorted((one, other) => Number(one.row) - Number(other.row))
  const widths = await Promise.all(jobs.map(async ({ artifacts }) => (await sizeOf((artifacts as string[])[0]!))[0]))
  expect(widths).toEqual([2, 10])
})

test('--dry-run shows what would be queued, and queues nothing', async () => {
  const { workflow, data } = workplace()
  const ran = await cliRun(['run', workflow, '--grid', '1.width=16,32,nonsense', '--dry-run', '--data', data, '--json'])
  expect([ran.code, last(ran)?.ok]).toEqual([2, false])
  const good = await cliRun(['run', workflow, '--grid', '1.width=16,32', '--dry-run', '--data', data, '--json'])
  expect(good.code).toBe(0)
  expect(named(good, 'preview')).toMatchObject([{ jobs: 2, exampleNames: [expect.any(String), expect.any(String)] }])
  const list = await cliRun(['queue', 'list', '--data', data, '--json'])
  expect(named(list, 'batch')).toEqual([])
})

test('what is wrong with a row is told in the language asked for', async () => {
  const { dir, data } = workplace()
  writeFileSync(path.join(dir, 'sizes.csv'), 'width\n32\nwide\n')
  const ran = await cliRun(
    ['run', 'picture.json', '--table', 'sizes.csv', '--dry-run', '--data', data, '--lang', 'zh'],
    { cwd: dir },
  )
  expect(ran.err).toContain('第 2 行，width：必须是整数，而不是 "wide"（wide）。该行已跳过。')
  expect(ran.code).toBe(1)
})

test.skipIf(process.platform === 'win32')(
  'Ctrl-C pauses with 130, the same command continues, and nothing is made twice',
  async () => {
    const { workflow, data, out } = workplace(sampled)
    const server = await slowServer(60)
    const seeds = Array.from({ length: 8 }, (_, at) => at + 1).join(',')
    const command = [
      'run',
      workflow,
      '--grid',
      `seed=${seeds}`,
      '--worker',
      server.url,
      '--out',
      out,
      '--data',
      data,
      '--json',
    ]
    const first = start(command)
    await eventually(() => named({ events: eventsIn(first.out()) } as Ran, 'job').length >= 2)
    first.child.kill('SIGINT')
    const stopped = await first.ended
    expect(stopped.code).toBe(130)
    expect(stopped.events.slice(-2)).toMatchObject([
      { event: 'error', code: 'app.interrupted' },
      { event: 'done', ok: false },
    ])
    const doneFirst = named(stopped, 'job').length
    expect(doneFirst).toBeLessThan(8)

    const second = await cliRun(command)
    expect(second.err).toContain('Continuing')
    expect(named(second, 'batch')).toEqual([
      { event: 'batch', batchId: named(stopped, 'batch')[0]?.batchId, jobs: 8, continued: true },
    ])
    expect(last(second)).toMatchObject({ ok: true, done: 8, failed: 0 })
    expect(second.code).toBe(0)
    const contents = pictures(out).map((name) =>
      createHash('sha256')
        .update(readFileSync(path.join(out, name)))
        .digest('hex'),
    )
    expect(new Set(contents).size).toBe(8)
    expect(contents).toHaveLength(8)
    expect(server.submissions).toBe(8) // what ran at the interruption was adopted, not run again
    expect(doneFirst + named(second, 'job').length).toBeGreaterThanOrEqual(8 - 2) // up to two finished between the two

    const third = await cliRun([...command, '--dry-run'])
    expect(third.code).toBe(0)
  },
)

test('while another process has the folder, the command line speaks to it', async () => {
  const app = await startApp()
  const { workflow, out } = workplace()
  const ran = await cliRun(['run', workflow, '--out', out, '--data', app.dataDir, '--json'])
  expect(last(ran)).toMatchObject({ ok: true, done: 1 })
  expect(pictures(out)).toHaveLength(1)
  const { rows } = await app.client.call('batch.list', {})
  expect(rows).toMatchObject([{ counts: { done: 1 }, outDir: out }])
  const refused = await cliRun(['serve', '--port', '0', '--data', app.dataDir, '--json'])
  expect(refused.code).toBe(4)
  expect(named(refused, 'error')).toMatchObject([{ code: 'app.data-in-use', facts: { pid: process.pid } }])
})

test('what was chosen in the settings holds for the command line too', async () => {
  const app = await startApp()
  await app.client.call('settings.set', { stripMetadata: true, textMagic: false })
  const { workflow, out } = workplace(sampled)
  const ran = await cliRun(['run', workflow, '--set', '2.text={a|b}', '--out', out, '--data', app.dataDir, '--json'])
  const [{ artifacts }] = named(ran, 'job') as [{ artifacts: string[] }]
  const record = parseJson(readFileSync(`${artifacts[0]}.json`, 'utf8'))
  expect(record).toMatchObject({ stripped: true, prompt: { '2': { inputs: { text: '{a|b}' } } } })
  expect(readFileSync(artifacts[0]!).includes('class_type')).toBe(false)
})

test.skipIf(process.platform === 'win32')(
  'a run goes on by itself when the process that did its work ends',
  async () => {
    const app = await startApp({ rehearsal: { stepMs: 80 } })
    const { workflow, out } = workplace(sampled)
    const running = start([
      'run',
      workflow,
      '--grid',
      'seed=1,2,3,4,5,6',
      '--out',
      out,
      '--data',
      app.dataDir,
      '--json',
    ])
    await eventually(() => named({ events: eventsIn(running.out()) } as Ran, 'job').length >= 1)
    await app.stop()
    const ran = await running.ended
    expect(last(ran)).toMatchObject({ ok: true, done: 6 })
    expect(pictures(out)).toHaveLength(6)
  },
)

test('queue: batches and jobs are listed, shown, retried, cancelled, moved and reported', async () => {
  const { workflow, data, out } = workplace()
  const made = await cliRun(['run', workflow, '--grid', '1.width=16,32', '--out', out, '--data', data, '--json'])
  const batchId = String(named(made, 'batch')[0]?.batchId)
  const queue = (...args: string[]) => cliRun(['queue', ...args, '--data', data, '--json'])
  const list = await queue('list')
  expect(named(list, 'batch')).toMatchObject([{ batchId, counts: { done: 2 } }])
  expect(last(list)).toEqual({ event: 'done', ok: true })
  const show = await queue('show', batchId)
  expect(named(show, 'job')).toMatchObject([{ state: 'done' }, { state: 'done' }])
  const job = await queue('show', String(named(show, 'job')[0]?.jobId))
  expect(named(job, 'job')[0]?.artifacts).toHaveLength(1)
  expect(named(await queue('cancel', batchId), 'changed')).toEqual([{ event: 'changed', changed: 0 }])
  expect(named(await queue('report', batchId), 'report')[0]).toMatchObject({
    report: { jobs: [{ state: 'done' }, { state: 'done' }] },
  })
  const text = await cliRun(['queue', 'report', batchId, '--data', data])
  expect(text.out.trimEnd().split('\n')).toHaveLength(3)
  expect((await queue('pause')).code).toBe(0)
  expect(named(await queue('list'), 'queue')).toMatchObject([{ paused: 'after-current' }])
  expect((await queue('resume')).code).toBe(0)
  expect((await queue('show', 'x9')).code).toBe(2)
  expect((await queue('show', 'b99')).code).toBe(2)
  expect((await queue('juggle')).code).toBe(2)
})

test('workers: one is tested, added, asked and removed; one that does not answer is refused', async () => {
  const { data } = workplace()
  const server = await slowServer(0)
  const workers = (...args: string[]) => cliRun(['workers', ...args, '--data', data, '--json'])
  const added = await workers('add', server.url, '--name', 'desk')
  expect([added.code, named(added, 'worker')[0]]).toMatchObject([0, { id: 'desk', health: { is: 'ready' } }])
  const status = await workers('status')
  expect(named(status, 'worker').map(({ id, health }) => [id, (health as JsonObject).is])).toEqual([
    ['rehearsal', 'ready'],
    ['desk', 'ready'],
  ])
  expect((await workers('remove', 'desk')).code).toBe(0)
  expect(named(await workers('list'), 'worker').map(({ id }) => id)).toEqual(['rehearsal'])
  const nobody = await workers('add', 'http://127.0.0.1:9')
  expect([nobody.code, named(nobody, 'error')[0]?.code]).toEqual([4, 'worker.unreachable'])
  expect((await workers('add', 'not an address')).code).toBe(2)
})

test('inspect and convert print one document, and need no data folder', async () => {
  const { workflow, data, dir } = workplace(sampled)
  const inspected = await cliRun(['inspect', workflow, '--data', data, '--json'])
  expect(JSON.parse(inspected.out)).toMatchObject({
    format: 'api',
    nodes: 6,
    models: [{ file: 'any.safetensors', folder: 'checkpoints' }],
    outputs: [{ node: '6', classType: 'SaveImage' }],
  })
  const output = path.join(dir, 'prompt.json')
  const converted = await cliRun(['convert', workflow, '-o', output, '--data', data])
  expect([converted.code, converted.out]).toEqual([0, ''])
  expect(JSON.parse(readFileSync(output, 'utf8'))).toMatchObject({ '4': { class_type: 'KSampler' } })
  expect(existsSync(data)).toBe(false)
})

test('convert refuses to lose anything with 3 and the list, unless told to', async () => {
  const { dir, data } = workplace()
  const file = path.join(dir, 'editor.json')
  const node = {
    id: 1,
    type: 'NobodyKnowsThis',
    mode: 0,
    inputs: [],
    outputs: [],
    widgets_values: ['x'],
    pos: [0, 0],
    size: [1, 1],
  }
  writeFileSync(file, JSON.stringify({ version: 0.4, last_node_id: 1, last_link_id: 0, nodes: [node], links: [] }))
  const refused = await cliRun(['convert', file, '--data', data])
  expect(refused).toMatchObject({ code: 3, out: '' })
  expect(refused.err).toContain('NobodyKnowsThis')
  const json = await cliRun(['convert', file, '--json', '--data', data])
  expect([json.code, JSON.parse(json.out).losses.length > 0]).toEqual([3, true])
  expect((await cliRun(['convert', file, '--allow-loss', '--json', '--data', data])).code).toBe(0)
})

test.each([
  ['no command', [], 2, 'app.usage'],
  ['an unknown one', ['dance'], 2, 'app.usage'],
  ['no file', ['run'], 2, 'app.usage'],
  ['a file that is not there', ['run', 'nothing.json'], 2, 'input.missing'],
  ['an unknown option', ['run', 'a.json', '--fast'], 2, 'app.usage'],
  ['a time that is none', ['run', 'a.json', '--start-at', '25:00'], 2, 'app.usage'],
  ['a number that is none', ['run', 'a.json', '--repeat', 'many'], 2, 'app.usage'],
  ['a value without a name', ['run', 'a.json', '--set', '=1'], 2, 'app.usage'],
  ['a parameter nobody knows', ['run', 'a.json', '--set', 'colour=1'], 2, 'parameter.unknown'],
  ['a worker nobody knows', ['run', 'a.json', '--worker', 'nobody'], 2, 'batch.unknown-worker'],
  ['a worker that does not answer', ['run', 'a.json', '--worker', 'http://127.0.0.1:9'], 4, 'worker.unreachable'],
  ['a table without rows', ['run', 'a.json', '--table', 'a.json'], 2, 'table.empty'],
] as const)('%s ends with an error event, its remedy and the right code', async (_what, args, code, error) => {
  const { dir, data } = workplace()
  writeFileSync(path.join(dir, 'a.json'), promptFile())
  const ran = await cliRun([...args, '--data', data, '--json'], { cwd: dir })
  expect(named(ran, 'error')).toMatchObject([
    { code: error, message: expect.any(String), remedy: expect.stringMatching(/./) },
  ])
  expect([ran.code, last(ran)]).toEqual([code, { event: 'done', ok: false }])
})

test('a file above 64 MiB is refused by its size', async () => {
  const { dir, data } = workplace()
  const file = path.join(dir, 'huge.json')
  writeFileSync(file, '')
  truncateSync(file, 200 * 1024 * 1024)
  for (const command of ['run', 'inspect', 'convert']) {
    const ran = await cliRun([command, file, '--data', data, '--json'])
    expect(named(ran, 'error')).toMatchObject([{ code: 'import.too-large', facts: { sizeMiB: 200, limitMiB: 64 } }])
    expect(ran.code).toBe(2)
  }
})

test.each([
  [['run', 'a.json', '--frob'], '这里没有 --frob 这个选项。'],
  [['convert', 'a.json', '-o'], '--output 缺少值，或者不接受值。'],
  [['run', 'a.json', '--grid', 'width=1,"2'], '--grid width：1,"2 不是 a,b,"c, d" 这样的列表。'],
])('what is wrong with the options is said in the person’s language: %j', async (args, said) => {
  const { dir, data } = workplace()
  writeFileSync(path.join(dir, 'a.json'), promptFile())
  const ran = await cliRun([...args, '--data', data, '--lang', 'zh'], { cwd: dir })
  expect([ran.code, ran.err.split('\n')[0]]).toEqual([2, said])
})

test.skipIf(process.platform === 'win32')('a device that never ends is refused, not read for ever', async () => {
  const { data } = workplace()
  const ran = await cliRun(['inspect', '/dev/zero', '--data', data, '--json'])
  expect(named(ran, 'error')).toMatchObject([{ code: 'import.too-large', facts: { limitMiB: 64 } }])
  expect(ran.code).toBe(2)
})

test('import brings in files, folders and archives; what fails is told with what to do, and 1 says so', async () => {
  const { dir, data } = importPlace()
  const ran = await cliRun(['import', 'night', 'gone.json', '--data', data, '--json'], { cwd: dir })
  expect(ran.code).toBe(1)
  expect(named(ran, 'workflow').map(({ file, name, runnable }) => [file, name, runnable])).toEqual([
    ['1.png', '1', true],
    ['2.mkv', '2', true],
    ['in/3.json', '3', true],
  ])
  expect(named(ran, 'failed')).toMatchObject([
    { file: 'plain.gif', code: 'import.no-workflow', remedy: expect.stringContaining('output folder') },
    { file: 'gone.json', code: 'input.missing' },
  ])
  expect(last(ran)).toEqual({ event: 'done', ok: false, imported: 3, failed: 2 })
})

test('a video of gigabytes is inspected, converted and run by what is in it', async () => {
  const { dir, data } = importPlace()
  const film = path.join(dir, 'film.mkv')
  writeFileSync(film, everyContainer.mkv!.make({ prompt: promptFile().toString() }))
  truncateSync(film, 3 * 1024 ** 3)
  const inspected = parseJson((await cliRun(['inspect', film, '--json', '--data', data])).out)
  expect(inspected).toMatchObject({ container: 'mkv', nodes: 2 })
  expect(parseJson((await cliRun(['convert', film, '--data', data])).out)).toEqual(aPicture)
  const ran = await cliRun(['run', film, '--data', data, '--out', path.join(dir, 'out'), '--json'])
  expect(last(ran)).toMatchObject({ ok: true, done: 1 })
})

/** A folder of files that hold a workflow, or none. */
function importPlace() {
  const dir = tempDir()
  const night = path.join(dir, 'night')
  mkdirSync(night)
  const file = (kind: string, name: string, width: number) => {
    const prompt = { ...aPicture, '1': { ...aPicture['1']!, inputs: { ...aPicture['1']!.inputs, width } } }
    writeFileSync(path.join(night, name), everyContainer[kind]!.make({ prompt: promptFile(prompt).toString() }))
  }
  file('png', '1.png', 64)
  file('mkv', '2.mkv', 65)
  writeFileSync(path.join(night, '3.zip'), zip([['in/3.json', promptFile({ ...aPicture, '9': aPicture['2']! })]]))
  writeFileSync(path.join(night, 'plain.gif'), gif([]))
  writeFileSync(path.join(night, 'notes.md'), 'not taken')
  return { dir, data: path.join(dir, 'data') }
}

test('import gives forms to the workflows they came with, however far apart, and tells of those that fit none', async () => {
  const { dir, data } = workplace()
  const folder = path.join(dir, 'many')
  mkdirSync(folder)
  const params = [{ type: 'number', id: '1', key: 'width' }]
  const file = (name: string, value: unknown) => writeFileSync(path.join(folder, name), JSON.stringify(value))
  file('a-form.json', [{ title: 'Form', prompt: {}, params }])
  file('b-form.json', [{ title: 'Lost', prompt: {}, params: [{ type: 'number', id: '77', key: 'width' }] }])
  for (let at = 0; at < 20; at++) file(`m${at}.json`, { '9': { class_type: 'PreviewAny', inputs: { at } } })
  file('z.json', aPicture)
  const ran = await cliRun(['import', folder, '--data', data, '--json'])
  expect(ran.code).toBe(1)
  expect(last(ran)).toMatchObject({ imported: 21, failed: 1 })
  expect(named(ran, 'workflow').filter(({ forms }) => forms)).toMatchObject([
    { file: 'a-form.json', name: 'z', forms: ['Form'] },
  ])
  expect(named(ran, 'failed')).toMatchObject([{ file: 'b-form.json', code: 'panel.no-workflow' }])
})

test('a workflow with a form says so to inspect, and run takes the form’s titles as names', async () => {
  const { dir, data, out } = workplace()
  const file = path.join(dir, 'form.json')
  const params = [{ type: 'number', id: '1', key: 'width', title: '画面宽度', min: 16 }]
  writeFileSync(file, JSON.stringify([{ title: 'Form', prompt: aPicture, params }]))
  const inspected = await cliRun(['inspect', file, '--json'])
  expect(JSON.parse(inspected.out)).toMatchObject({ panels: [{ title: 'Form', params }], problems: [] })
  const common = ['--data', data, '--out', out, '--worker', 'rehearsal', '--json']
  const made = await cliRun(['run', file, '--set', '画面宽度=80', ...common])
  expect(last(made)).toMatchObject({ ok: true, done: 1 })
  const { width } = await sharp(path.join(out, pictures(out)[0]!)).metadata()
  expect(width).toBe(80)
  const unknown = await cliRun(['run', file, '--set', '画面高度=80', ...common])
  expect(unknown.code).toBe(2)
})

test.skipIf(process.platform === 'win32')('serve says where it listens, and ends cleanly when told to', async () => {
  const { data } = workplace()
  const serving = start(['serve', '--port', '0', '--data', data, '--json'])
  const { event, url } = await eventually(
    () => eventsIn(serving.out())[0] as { event: string; url: string } | undefined,
  )
  expect([event, url]).toEqual(['listening', expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+\/#t=[\w-]{40,}$/)])
  expect((await fetch(new URL('/rpc/app.info', url), { method: 'POST' })).status).toBe(403)
  serving.child.kill('SIGTERM')
  const ran = await serving.ended
  expect([ran.code, last(ran)]).toEqual([0, { event: 'done', ok: true }])
  expect(existsSync(path.join(data, 'nightshift.lock'))).toBe(false)
})

test('help and version speak the language asked for', async () => {
  expect((await cliRun(['help', '--lang', 'zh'])).out).toContain('用法')
  expect((await cliRun(['run', '--help', '--lang', 'en'])).out).toContain('--grid')
  expect((await cliRun(['version', '--json'])).events).toMatchObject([
    { event: 'version', version: expect.stringMatching(/^\d/) },
  ])
})

test('run refuses paid nodes with code 3, allows them by word, and keeps the key it is given out of everything', async () => {
  const dir = tempDir()
  const key = 'comfyui-7d3c9a1b5e2f4860'
  const inputs = { prompt: 'a cat', prompt_upsampling: false, seed: 1, aspect_ratio: '1:1', raw: false }
  const prompt: Prompt = {
    '1': { class_type: 'FluxProUltraImageNode', inputs },
    '2': { class_type: 'SaveImage', inputs: { filename_prefix: 'paid', images: ['1', 0] } },
  }
  writeFileSync(path.join(dir, 'w.json'), promptFile(prompt))
  writeFileSync(path.join(dir, 'key.txt'), `${key}\n`)
  const server = new RehearsalServer({ dir: tempDir(), stepMs: 0 })
  await server.start()
  onTestFinished(() => server.stop())
  const where = ['--data', 'data', '--out', 'out', '--worker', server.url, '--json']
  const refused = await cliRun(['run', 'w.json', ...where, '--api-key-file', 'key.txt'], { cwd: dir })
  expect(refused.code).toBe(3)
  expect(named(refused, 'error')).toMatchObject([
    { code: 'prompt.paid', facts: { classTypes: 'FluxProUltraImageNode' } },
  ])
  const here = ['--data', 'data', '--out', 'out', '--worker', 'rehearsal', '--json']
  const rehearsed = await cliRun(['run', 'w.json', ...here], { cwd: dir })
  expect([rehearsed.code, named(rehearsed, 'batch')]).toEqual([3, []])
  const allowed = await cliRun(['run', 'w.json', ...where, '--allow-paid'], { cwd: dir }) // by the key kept before
  expect(allowed.code).toBe(0)
  const sent = await (await fetch(new URL('history', server.url))).text()
  expect(sent).toContain(`"api_key_comfy_org":"${key}"`)
  const argv = await cliRun(['run', 'w.json', ...where, '--allow-paid', '--new', `--api-key=${key}`], { cwd: dir })
  expect(argv.err).toContain('--api-key-file is safer')
  const empty = await cliRun(['run', 'w.json', ...where], { cwd: dir, env: { NIGHTSHIFT_COMFY_API_KEY: ' ' } })
  expect(empty).toMatchObject({ code: 2 })

  for (const { out, err } of [refused, allowed, argv, empty]) expect(out + err).not.toContain(key)
  const files = readdirSync(dir, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
  const holding = files.filter((file) => readFileSync(path.join(file.parentPath, file.name)).includes(key))
  expect(holding.map(({ name }) => name)).toEqual(['key.txt'])
})

test('an input file that the server lacks is named by inspect, and by run before anything is queued', async () => {
  const dir = tempDir()
  const prompt: Prompt = {
    '1': { class_type: 'LoadImage', inputs: { image: 'not-there.png' } },
    '2': { class_type: 'SaveImage', inputs: { filename_prefix: 'x', images: ['1', 0] } },
  }
  writeFileSync(path.join(dir, 'w.json'), promptFile(prompt))
  const server = await slowServer(0)
  const there = ['--worker', server.url, '--data', 'data', '--json']
  const inspected = await cliRun(['inspect', 'w.json', ...there], { cwd: dir })
  expect(parseJson(inspected.out)).toMatchObject({
    problems: [{ code: 'missing-input-file', node: '1', input: 'image', facts: { file: 'not-there.png' } }],
  })
  const refused = await cliRun(['run', 'w.json', ...there], { cwd: dir })
  expect(refused.code).toBe(2)
  expect(named(refused, 'fault')).toMatchObject([{ row: 1, code: 'row.file-not-there', value: 'not-there.png' }])
})
