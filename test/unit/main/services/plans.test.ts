import { mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { AppError, toFailure } from '../../../../core/contract/errors.ts'
import { asBytes, aView, imagePrompt, libraryKit } from '../../../kit/library-kit.ts'
import { stopwatch } from '../../../kit/stopwatch.ts'

const here = { mayUsePaths: true }
const remote = { mayUsePaths: false }

async function kit(prompt: unknown = imagePrompt(), options: Parameters<typeof libraryKit>[0] = {}) {
  const made = libraryKit(options)
  const { id } = await made.library.import('plain.json', asBytes(prompt))
  const plan = (more: object = {}) => made.plan({ workflowId: id, ...more })
  const claimAll = (taker: Parameters<typeof made.queue.claim>[0] = { id: 'rehearsal', kind: 'rehearsal' }) => {
    const jobs = []
    for (let job = made.queue.claim(taker); job; job = made.queue.claim(taker)) jobs.push(job)
    return jobs
  }
  return { ...made, id, plan, claimAll }
}

describe('submitting', () => {
  test('names become keys, texts become numbers, and the jobs are in the queue in order', async () => {
    const { plans, plan, claimAll, queue, library, id, defaultOutputDir } = await kit()
    const { batchId, jobs, faults, continued } = await plans.submit(
      plan({
        sets: { Height: '128' },
        rows: [{ Width: '32' }, { width: '96' }],
        columns: { Width: '宽' },
        extra: [{ note: 'first' }, { note: 'second' }],
        axes: [{ parameter: '1.color', values: ['1', '2'] }],
      }),
      remote,
    )
    expect({ jobs, faults, continued }).toEqual({ jobs: 4, faults: [], continued: false })
    const made = claimAll()
    expect(made.map(({ row, index, overrides, extra }) => [row, index, overrides, extra.note])).toEqual([
      [1, 0, { '1.width': 32, '1.color': 1 }, 'first'],
      [1, 1, { '1.width': 32, '1.color': 2 }, 'first'],
      [2, 2, { '1.width': 96, '1.color': 1 }, 'second'],
      [2, 3, { '1.width': 96, '1.color': 2 }, 'second'],
    ])
    const { batch } = made[0]!
    expect(batch.prompt['1']?.inputs).toMatchObject({ height: 128, width: 64 })
    expect(batch).toMatchObject({
      outDir: defaultOutputDir,
      workers: ['rehearsal'],
      pattern: '{batch}/{row:04}-{name}-{seed}',
    })
    expect(batch.plan).toMatchObject({ chance: 2 ** 30, columns: { '1.width': '宽' } })
    expect(queue.batch(batchId).name).toBe('plain 06-15 1200')
    expect(library.summary(id)).toMatchObject({ batches: 1, usedAt: expect.any(Number) })
  })

  test('of 1 000 rows with 12 faulty ones 988 are queued and 12 are named; or none, when asked', async () => {
    const { plans, plan, queue } = await kit()
    const rows = Array.from({ length: 1000 }, (_, at) => ({ Width: at % 83 === 5 ? 'wide' : String(64 + at) }))
    const asked = { rows: rows.slice(0, 1000), columns: { Width: '宽度' } }
    const { jobs, faults } = await plans.submit(plan(asked), remote)
    expect(faults).toHaveLength(12)
    expect(jobs).toBe(988)
    expect(faults[1]).toMatchObject({
      row: 89,
      column: '宽度',
      value: 'wide',
      reason: expect.stringContaining('whole number'),
    })
    await expect(plans.submit(plan({ ...asked, skipFaulty: false }), remote)).rejects.toMatchObject({
      code: 'batch.faulty',
      facts: { rows: 12, row: 6, column: '宽度' },
    })
    expect(queue.batches().total).toBe(1)
  })

  test.each<[string, object, object]>([
    [
      'a name the workflow has not',
      { sets: { Nothing: 1 } },
      { code: 'parameter.unknown', facts: { name: 'Nothing' } },
    ],
    ['a value no row could mend', { sets: { Width: 'wide' } }, { code: 'parameter.bad-value' }],
    [
      'an axis value outside the range',
      { axes: [{ parameter: 'Width', values: [64, 0] }] },
      { code: 'parameter.bad-value' },
    ],
    ['only faulty rows', { rows: [{ Width: 'x' }] }, { code: 'batch.empty' }],
    ['a worker nobody knows', { workers: ['gpu7'] }, { code: 'batch.unknown-worker' }],
    ['more jobs than the queue takes', { repeat: 100_000, rows: Array(11).fill({}) }, { code: 'batch.too-large' }],
    ['a folder chosen from elsewhere', { outDir: '/tmp/x' }, { code: 'app.refused' }],
  ])('%s is refused, and nothing is queued', async (_, more, expected) => {
    const { plans, plan, queue } = await kit()
    await expect(plans.submit(plan(more), remote)).rejects.toMatchObject(expected)
    expect(queue.batches().total).toBe(0)
  })

  test('a workflow without anything to save is refused', async () => {
    const { plans, plan } = await kit({ '1': imagePrompt()['1'] })
    await expect(plans.submit(plan(), remote)).rejects.toMatchObject({ code: 'batch.no-output' })
  })

  test('a value of the workflow that its node refuses is a fault of each row that keeps it, before anything is queued', async () => {
    const size = { width: 0, height: 32, batch_size: 1, color: 0 }
    const { plans, plan, claimAll } = await kit(imagePrompt({ '1': { class_type: 'EmptyImage', inputs: size } }))
    const rows = [{ Height: '16' }, { Height: '16', Width: '24' }]
    const { jobs, faults } = await plans.submit(plan({ rows, workers: ['rehearsal'] }), remote)
    expect({ jobs, faults }).toMatchObject({
      jobs: 1,
      faults: [{ row: 1, column: 'Width', value: '0', code: 'value.not-between', facts: { min: 1 } }],
    })
    expect(claimAll().map(({ row }) => row)).toEqual([2])
    await expect(plans.submit(plan({ workers: ['rehearsal'] }), remote)).rejects.toMatchObject({ code: 'batch.empty' })
    expect(await plans.submit(plan({ sets: { Width: 8 }, workers: ['rehearsal'] }), remote)).toMatchObject({ jobs: 1 })
  })

  test('nodes the worker lacks are refused there, and sketched by the rehearsal', async () => {
    const prompt = imagePrompt({ '3': { class_type: 'MyNode', inputs: { image: ['1', 0] } } })
    const { plans, plan } = await kit(prompt, { workers: [aView('gpu')] })
    await expect(plans.submit(plan({ workers: ['gpu'] }), remote)).rejects.toMatchObject({
      code: 'prompt.missing-node',
      facts: { classType: 'MyNode' },
    })
    expect(await plans.submit(plan({ workers: ['rehearsal'] }), remote)).toMatchObject({ jobs: 1 })
  })

  test('a prompt every taker would refuse is refused before anything is queued, in the server’s words', async () => {
    const prompt = {
      '1': { class_type: 'EmptyImage', inputs: { width: 64, height: 64, batch_size: 1, color: 0 } },
      '2': { class_type: 'SaveImage', inputs: { filename_prefix: 'x' } },
      '3': { class_type: 'PreviewImage', inputs: { images: ['1', 0] } },
    }
    const { plans, plan, views } = await kit(prompt, { workers: [aView('gpu')] })
    await expect(plans.submit(plan({ workers: ['gpu'] }), remote)).rejects.toMatchObject({
      code: 'prompt.invalid',
      facts: { reason: 'SaveImage 2: Required input is missing: images' },
    })
    views.push(aView('other')) // of which nothing is known
    expect(await plans.submit(plan({ workers: ['gpu', 'other'] }), remote)).toMatchObject({ jobs: 1 })
  })

  test('nodes that cost money need a word of consent, except in rehearsal', async () => {
    const { definitions } = (await libraryKit().fleet.definitionsFor()) as { definitions: Record<string, object> }
    const paid = { ...definitions.EmptyImage, api_node: true } as never
    const options = { workers: [aView('gpu')], definitions: { ...definitions, EmptyImage: paid } as never }
    const { plans, plan, account } = await kit(imagePrompt(), options)
    await expect(plans.submit(plan({ workers: ['gpu'] }), remote)).rejects.toMatchObject({ code: 'prompt.paid' })
    const warnings = async () => (await plans.preview(plan({ workers: ['gpu'] }), remote)).warnings
    expect(await warnings()).toMatchObject([{ code: 'batch.paid' }])
    account.hasKey = false
    expect(await warnings()).toMatchObject([{ code: 'batch.paid' }, { code: 'batch.paid-no-key' }])
    expect(await plans.submit(plan({ workers: ['rehearsal'] }), remote)).toMatchObject({ jobs: 1 })
    expect(await plans.submit(plan({ workers: ['gpu'], allowPaid: true }), remote)).toMatchObject({ jobs: 1 })
  })

  test('what would lose part of the workflow is refused until that is allowed', async () => {
    const parameters =
      'a cat\nSteps: 4, Sampler: Euler, CFG scale: 7, Seed: 1, Size: 64x64, Model: a, ADetailer model: face.pt'
    const { plans, library, plan } = await kit()
    const { id } = await library.import('a1111.txt', new TextEncoder().encode(parameters))
    const lossy = (more: object = {}) => plan({ workflowId: id, workers: ['rehearsal'], ...more })
    const warnings = async (more: object) => (await plans.preview(lossy(more), remote)).warnings.map(({ code }) => code)
    await expect(plans.submit(lossy(), remote)).rejects.toMatchObject({
      code: 'convert.would-lose',
      facts: { count: 1 },
    })
    expect(await warnings({})).toContain('batch.would-lose')
    expect(await warnings({ allowLoss: true })).toContain('batch.loses')
    expect(await plans.submit(lossy({ allowLoss: true }), remote)).toMatchObject({ jobs: 1 })
  })

  test('without a choice the real workers take it; an address is added; the rehearsal only when there is none', async () => {
    const { plans, plan, queue, views } = await kit(imagePrompt(), { workers: [aView('gpu', { enabled: false })] })
    const workersOf = async (more: object) => queue.batchOf((await plans.submit(plan(more), remote)).batchId).workers
    expect(await workersOf({})).toEqual(['rehearsal'])
    expect(await workersOf({ workers: ['http://other:8188'] })).toEqual(['other'])
    expect(views.map(({ id }) => id)).toEqual(['rehearsal', 'gpu', 'other'])
    expect(await workersOf({})).toEqual([])
    expect(await workersOf({ workers: ['http://gpu:8188', 'gpu'] })).toEqual(['gpu'])
  })
})

describe('continuing', () => {
  test('the same key goes on with the batch that is open, cancelled jobs included; a new one begins when it has ended', async () => {
    const { plans, plan, queue, claimAll } = await kit()
    const asked = plan({ rows: [{ Width: 1 }, { Width: 2 }, { Width: 'x' }], continueKey: 'night' })
    const first = await plans.submit(asked, remote)
    const [job] = queue.page({ batchId: first.batchId }).rows
    queue.cancel({ ids: [job!.id] })
    queue.pauseBatch(first.batchId, 'now')
    const again = await plans.submit(asked, remote)
    expect(again).toEqual({ batchId: first.batchId, jobs: 2, faults: first.faults, warnings: [], continued: true })
    expect(claimAll()).toHaveLength(2)
    queue.cancel({ all: true })
    for (const { id } of queue.page({ batchId: first.batchId }).rows) queue.cancelClaimed(id)
    expect((await plans.submit(asked, remote)).continued).toBe(false)
  })
})

describe('input files', () => {
  const loader = () => ({
    '1': { class_type: 'LoadImage', inputs: { image: 'example.png' } },
    '2': { class_type: 'SaveImage', inputs: { images: ['1', 0], filename_prefix: 'x' } },
  })

  test('paths are kept as inputs from this machine’s own doors, each file once', async () => {
    const { plans, plan, claimAll, inputs, dataDir } = await kit(loader())
    const dir = path.join(dataDir, 'pictures')
    mkdirSync(dir)
    const file = path.join(dir, 'mug.png')
    writeFileSync(file, 'pixels')
    const rows = [{ Image: file }, { Image: path.join(dir, 'none.png') }, { Image: file }]
    const { jobs, faults } = await plans.submit(plan({ rows }), here)
    expect({ jobs, faults }).toMatchObject({ jobs: 2, faults: [{ row: 2, reason: 'There is no such file.' }] })
    const refs = claimAll().map(({ overrides }) => String(overrides['1.image']))
    expect(refs[0]).toMatch(/^input:[0-9a-f]{64}\/mug\.png$/)
    expect(refs[1]).toBe(refs[0])
    expect(inputs.resolve(refs[0]!).name).toBe('mug.png')
    await expect(plans.submit(plan({ rows: [{ Image: file }] }), remote)).rejects.toMatchObject({ code: 'batch.empty' })
  })
})

describe('input files a server should have', () => {
  const loader = {
    '1': { class_type: 'LoadImage', inputs: { image: 'example.png' } },
    '2': { class_type: 'SaveImage', inputs: { images: ['1', 0], filename_prefix: 'x' } },
  }
  const named = { reason: expect.stringContaining('desk has no input file'), code: 'row.file-not-there' }

  test('rows that name one it lacks are told, the others go', async () => {
    const { plans, plan, lacking, claimAll } = await kit(loader, { workers: [aView('desk')] })
    lacking.add('gone.png')
    const rows = [{ Image: 'there.png' }, { Image: 'gone.png' }, {}]
    const { faults } = await plans.preview(plan({ rows, workers: ['desk'] }), remote)
    expect(faults).toEqual([expect.objectContaining({ row: 2, value: 'gone.png', ...named })])
    await plans.submit(plan({ rows, workers: ['rehearsal'] }), remote)
    expect(claimAll().map(({ overrides }) => overrides)).toEqual([{ '1.image': 'there.png' }, {}])
  })

  test('the workflow’s own is a fault of every row that keeps it; as a value for all rows it is refused', async () => {
    const { plans, plan, lacking } = await kit(loader, { workers: [aView('desk')] })
    lacking.add('example.png')
    const rows = [{}, { Image: 'there.png' }]
    const { faults } = await plans.preview(plan({ rows }), remote)
    expect(faults).toEqual([expect.objectContaining({ row: 1, value: 'example.png', ...named })])
    await expect(plans.preview(plan({ sets: { Image: 'example.png' } }), remote)).rejects.toMatchObject({
      code: 'parameter.bad-value',
    })
  })
})

describe('the preview', () => {
  test('counts what would be made and shows the first names', async () => {
    const { plans, plan, queue } = await kit()
    const preview = await plans.preview(
      plan({
        rows: [{ Width: 32 }, { Width: 'x' }, { Width: 48 }],
        axes: [{ parameter: 'Height', values: [16, 32, 64] }],
        pattern: '{batch}/{row:03}-{param Width}x{param Height}-{counter}',
        name: 'Night',
      }),
      remote,
    )
    expect(preview).toEqual({
      jobs: 6,
      rows: 3,
      goodRows: 2,
      distinctPrompts: 6,
      exampleNames: [
        'Night/001-32x16-1.png',
        'Night/001-32x32-2.png',
        'Night/001-32x64-3.png',
        'Night/003-48x16-4.png',
        'Night/003-48x32-5.png',
      ],
      faults: [expect.objectContaining({ row: 2, column: 'Width' })],
      warnings: [expect.objectContaining({ code: 'batch.rehearsal-only' })],
    })
    expect(queue.batches().total).toBe(0)
  })

  test('tells what is odd about the pattern and the worker', async () => {
    const prompt = imagePrompt({ '3': { class_type: 'MyNode', inputs: { image: ['1', 0] } } })
    const { plans, plan } = await kit(prompt, { workers: [aView('gpu')] })
    const { warnings } = await plans.preview(plan({ workers: ['gpu'], pattern: '{row}-{colour}', repeat: 2 }), remote)
    expect(warnings.map(({ code }) => code)).toEqual([
      'batch.missing-nodes',
      'batch.unknown-token',
      'batch.identical-jobs',
    ])
    const bare = await kit(prompt)
    const sketched = await bare.plans.preview(bare.plan({ workers: ['rehearsal'] }), remote)
    expect(sketched.warnings[0]?.message).toMatch(/^ComfyUI\b.* has no MyNode; /)
  })

  test('a model the worker lacks is told, unless the batch uses another', async () => {
    const { library, plans, plan, known } = libraryKit({ workers: [aView('gpu')] })
    const there = structuredClone(known.definitions.CheckpointLoaderSimple!)
    there.input.required!.ckpt_name = [['other.safetensors'], {}]
    known.definitions = { ...known.definitions, CheckpointLoaderSimple: there }
    const { id } = await library.sample('en')
    const codes = async (more: object) => {
      const { warnings } = await plans.preview(plan({ workflowId: id, workers: ['gpu'], ...more }), remote)
      return warnings.map(({ code }) => code)
    }
    expect(await codes({})).toEqual(['batch.missing-models'])
    expect(await codes({ sets: { checkpoint: 'other.safetensors' } })).toEqual([])
    expect(await codes({ rows: [{ checkpoint: 'other.safetensors' }, { Steps: 3 }] })).toEqual(['batch.missing-models'])
    expect(await codes({ rows: [{ checkpoint: 'other.safetensors' }] })).toEqual([])
  })

  test('a worker that does not answer is no reason not to plan', async () => {
    const view = aView('gpu', { health: { is: 'unreachable', because: toFailure(new Error('gone')), retryAt: 0 } })
    const { plans, plan } = await kit(imagePrompt(), { workers: [view] })
    expect(await plans.preview(plan({ workers: ['gpu'] }), remote)).toMatchObject({ jobs: 1 })
  })

  test('a hundred thousand rows are previewed in a moment', async () => {
    const { plans, plan } = await kit()
    const rows = Array.from({ length: 100_000 }, (_, at) => ({ Width: String(64 + (at % 512)), Height: '128' }))
    const asked = plan({ rows })
    const took = stopwatch()
    expect(await plans.preview(asked, remote)).toMatchObject({ jobs: 100_000, distinctPrompts: 512 })
    expect(took()).toBeLessThan(2000)
  })
})

test('columns are guessed by the workflow’s own parameters', async () => {
  const { plans, id } = await kit()
  expect(await plans.guessColumns(id, ['宽', '备注'], [['64', 'x']])).toEqual({
    parameters: { 宽: '1.width', 备注: null },
  })
})

test('a job once more is the same job in a batch of its own; with new seeds its texts stay', async () => {
  const { library, plans, plan, queue } = libraryKit()
  const { id } = await library.sample('en')
  await plans.submit(plan({ workflowId: id, rows: [{ Steps: 5 }, { Steps: 6 }], continueKey: 'k' }), remote)
  queue.claim({ id: 'rehearsal', kind: 'rehearsal' })
  const job = queue.claim({ id: 'rehearsal', kind: 'rehearsal' })!
  const next = () => queue.claim({ id: 'rehearsal', kind: 'rehearsal' })!
  plans.again(job, { newSeeds: false, sets: {} })
  expect(next()).toMatchObject({
    row: 2,
    index: 1,
    overrides: job.overrides,
    batch: { plan: { chance: job.batch.plan.chance, continueKey: null } },
  })
  plans.again(job, { newSeeds: true, sets: { CFG: '3.5' } })
  const other = next()
  expect(other.overrides).toMatchObject({ '3.steps': 6, '3.cfg': 3.5 })
  expect(other.overrides['3.seed']).not.toBe(job.overrides['3.seed'])
  expect([other.index, other.batch.plan.chance]).toEqual([job.index, job.batch.plan.chance])
})

describe('pictures of the web', () => {
  const withPicture = {
    ...imagePrompt(),
    '3': { class_type: 'LoadImage', inputs: { image: 'https://example.com/standing.png' } },
    '4': { class_type: 'PreviewImage', inputs: { images: ['3', 0] } },
  }
  const kept = (url: string) => `input:${'a'.repeat(64)}/${url.split('/').at(-1)}`

  test('those given and those standing in the workflow are fetched, and queued as what they are kept as', async () => {
    const { plans, plan, claimAll, inputs } = await kit(withPicture)
    inputs.addUrl = async (url) => kept(url)
    inputs.check = () => undefined
    await plans.submit(plan({ rows: [{ Width: '32' }, { '3.image': 'https://example.com/row.png' }] }), remote)
    await plans.submit(plan({ sets: { '3.image': ' https://example.com/set.png ' } }), remote)
    await plans.submit(
      plan({ axes: [{ parameter: '3.image', values: ['https://example.com/axis.png', 'on-the-server.png'] }] }),
      remote,
    )
    const used = claimAll().map((job) => job.overrides['3.image'] ?? job.batch.prompt['3']!.inputs.image)
    expect(used).toEqual([
      kept('standing.png'),
      kept('row.png'),
      kept('set.png'),
      kept('axis.png'),
      'on-the-server.png',
    ])
  })

  test('one that cannot be had is refused for a ComfyUI, and left to be sketched by the rehearsal alone', async () => {
    const { plans, plan, claimAll, inputs, queue } = await kit(withPicture, { workers: [aView('gpu')] })
    inputs.addUrl = async (url) => {
      throw new AppError('input.unreachable', { url, reason: 'off' })
    }
    await expect(plans.submit(plan({ workers: ['gpu'] }), remote)).rejects.toMatchObject({ code: 'input.unreachable' })
    expect(queue.batches({}).total).toBe(0)
    await plans.submit(plan({ workers: ['rehearsal'] }), remote)
    expect(claimAll()[0]!.batch.prompt['3']!.inputs.image).toBe('https://example.com/standing.png')
  })

  test('those that only some rows name and cannot be had are faults of theirs; the others go, each address asked once', async () => {
    const { plans, plan, claimAll, inputs } = await kit(withPicture, { workers: [aView('gpu')] })
    const asked: string[] = []
    inputs.check = () => undefined
    inputs.addUrl = async (url) => {
      asked.push(url)
      if (url.endsWith('gone.png')) throw new AppError('input.unreachable', { url, reason: 'HTTP 404' })
      if (url.endsWith('page')) throw new AppError('input.not-media', { name: url })
      return kept(url)
    }
    const rows = ['gone.png', 'a.png', 'page', 'a.png'].map((name) => ({ '3.image': `https://example.com/${name}` }))
    const { jobs, faults } = await plans.submit(plan({ workers: ['gpu'], rows }), remote)
    expect([jobs, faults.map(({ row, code }) => [row, code])]).toEqual([
      2,
      [
        [1, 'row.file-unreachable'],
        [3, 'row.file-not-media'],
      ],
    ])
    expect(faults[0]).toMatchObject({
      value: 'https://example.com/gone.png',
      reason: 'It could not be fetched: HTTP 404.',
    })
    const made = claimAll({ id: 'gpu', kind: 'remote' })
    expect(made.map(({ overrides }) => overrides['3.image'])).toEqual([kept('a.png'), kept('a.png')])
    expect(asked.toSorted()).toEqual(['a.png', 'gone.png', 'page'].map((name) => `https://example.com/${name}`))
  })

  test('looking ahead fetches nothing and holds nothing against an address', async () => {
    const { plans, plan, inputs } = await kit(withPicture)
    inputs.addUrl = () => {
      throw new Error('was fetched')
    }
    expect(await plans.preview(plan({ rows: [{ '3.image': 'https://example.com/row.png' }] }), remote)).toMatchObject({
      goodRows: 1,
      faults: [],
    })
  })
})
