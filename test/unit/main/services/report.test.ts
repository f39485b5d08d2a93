import path from 'node:path'
import { parse } from 'csv-parse/sync'
import sharp from 'sharp'
import { expect, onTestFinished, test } from 'vitest'
import { AppError, toFailure } from '../../../../core/contract/errors.ts'
import type { Parameter } from '../../../../core/contract/workflow.ts'
import { Queue } from '../../../../main/services/queue.ts'
import { Report } from '../../../../main/services/report.ts'
import type { Output } from '../../../../main/services/workers/worker.ts'
import { aPng, buildArtifacts, FileWorker } from '../../../kit/artifact-kit.ts'
import { aBatch, testDatabase } from '../../../kit/queue-kit.ts'
import { tempDir } from '../../../kit/temp-dir.ts'
import { turnableClock } from '../../../kit/turnable-clock.ts'

const parameter = (key: string, name: string): Parameter => ({
  key,
  name,
  node: key.split('.')[0]!,
  input: key.split('.')[1]!,
  classType: 'KSampler',
  nodeTitle: '',
  type: 'STRING',
  role: null,
  default: '',
  shown: true,
  pinned: false,
})

async function startReport() {
  const dir = tempDir()
  const database = testDatabase()
  const { artifacts, thumbnails } = buildArtifacts(database, path.join(dir, 'cache'))
  await thumbnails.start()
  onTestFinished(() => thumbnails.stop())
  const queue = new Queue({ database, clock: turnableClock() })
  const worker = new FileWorker()
  const gpu = { id: 'gpu', kind: 'remote' } as const
  /** Runs the next job and keeps these outputs. */
  const run = async (outputs: (promptId: string) => readonly Output[]) => {
    const job = queue.claim(gpu)!
    const promptId = `p-${job.id}`
    queue.beginAttempt(job.id, { promptId, workerId: 'gpu', promptHash: 'h', startedAt: 0 })
    const kept = await artifacts.keep({
      job,
      attempt: { promptId, startedAt: 0 },
      record: { prompt: job.batch.prompt, workflow: null, seeds: { '3.seed': 99n }, chosenText: {} },
      worker: worker as never,
      ending: { is: 'saved', outputs: outputs(promptId), seconds: 1.5 },
      signal: new AbortController().signal,
    })
    queue.finish(promptId, { seconds: 1.5, artifacts: kept.length })
  }
  return { report: new Report({ queue, artifacts }), queue, worker, run, gpu, outDir: path.join(dir, 'out') }
}
const bytesOf = ({ base64 }: { base64: string }) => Buffer.from(base64, 'base64')

test('a report has a line for every job: its values, seeds, files, and why it failed', async () => {
  const { report, queue, worker, run, gpu, outDir } = await startReport()
  const { batchId } = queue.submit(
    aBatch(
      { columns: { '3.text': '提示词' } },
      {
        name: '夜/班',
        outDir,
        parameters: [parameter('3.text', 'prompt'), parameter('3.seed', 'seed')],
        pattern: '{row}-{node}',
      },
    ),
    [
      {
        row: 1,
        index: 0,
        overrides: { '3.text': '=HYPERLINK("x")', '3.seed': -1 },
        label: '',
        extra: { note: 'a, "b"\nc' },
      },
      { row: 2, index: 1, overrides: { '3.text': '-5' }, label: '' },
      { row: 3, index: 2, overrides: { '3.text': '+cmd' }, label: '' },
    ],
  )
  const png = await aPng()
  await run(() => [worker.put(png, 'a.png'), { is: 'text', node: '4', index: 0, text: 'hi' }])
  const failing = queue.claim(gpu)!
  queue.beginAttempt(failing.id, { promptId: 'p2', workerId: 'gpu', promptHash: 'h', startedAt: 0 })
  queue.fail('p2', toFailure(new AppError('prompt.out-of-memory', { nodeType: 'KSampler' })), false)

  const [first, second, third] = queue.page({ batchId }).rows.map(({ id }) => id)
  const csv = await report.table(batchId, 'csv')
  expect([csv.name, csv.mediaType]).toEqual(['夜_班.csv', 'text/csv'])
  expect([...bytesOf(csv).subarray(0, 3)]).toEqual([0xef, 0xbb, 0xbf])
  expect(parse(bytesOf(csv), { bom: true })).toEqual([
    ['row', 'job', 'state', 'note', '提示词', 'seed', 'files', 'seconds', 'worker', 'attempts', 'failure'],
    ['1', first, 'done', 'a, "b"\nc', `'=HYPERLINK("x")`, '99', '1-9.png\n1-4.txt', '1.5', 'gpu', '1', ''],
    ['2', second, 'failed', '', '-5', '', '', '', 'gpu', '1', 'The GPU ran out of memory in KSampler.'],
    ['3', third, 'waiting', '', `'+cmd`, '', '', '', '', '0', ''],
  ])
  const json = JSON.parse(bytesOf(await report.table(batchId, 'json')).toString())
  expect(json.jobs).toHaveLength(3)
  expect(json.jobs[0]).toEqual({
    row: 1,
    job: first,
    state: 'done',
    values: { note: 'a, "b"\nc', 提示词: '=HYPERLINK("x")', seed: -1 },
    seeds: { seed: 99 },
    files: ['1-9.png', '1-4.txt'],
    seconds: 1.5,
    worker: 'gpu',
    attempts: 1,
    failure: null,
  })
})

test('a contact sheet shows each picture in the order of its row', async () => {
  const { report, queue, worker, run, outDir } = await startReport()
  const jobs = [1, 2, 3].map((row) => ({ row, index: row - 1, overrides: {}, label: `猫 <&> ${row}` }))
  const { batchId } = queue.submit(aBatch({}, { name: '夜班', outDir }), jobs)
  for (const shade of [250, 130, 0]) {
    const png = await aPng({}, { width: 300, height: 300, shade })
    await run((promptId) => [worker.put(png, `${promptId}.png`)])
  }
  const sheet = await report.contactSheet(batchId)
  expect([sheet.name, sheet.mediaType]).toEqual(['夜班.png', 'image/png'])
  const { data, info } = await sharp(bytesOf(sheet)).raw().toBuffer({ resolveWithObject: true })
  const redAt = (x: number, y: number) => data[(y * info.width + x) * info.channels]!
  const reds = [0, 1, 2].map((place) => redAt(16 + place * 272 + 128, 64 + 128))
  expect(reds.map((red, at) => Math.abs(red - [250, 130, 0][at]!) < 12)).toEqual([true, true, true])
})
test('a contact sheet of a batch that made nothing is an empty page', async () => {
  const { report, queue, outDir } = await startReport()
  const { batchId } = queue.submit(aBatch({}, { outDir }), [])
  expect(await sharp(bytesOf(await report.contactSheet(batchId))).metadata()).toMatchObject({ format: 'png' })
})
