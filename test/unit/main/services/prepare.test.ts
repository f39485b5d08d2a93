import { expect, test } from 'vitest'
import type { ObjectInfo } from '../../../../core/contract/comfyui.ts'
import type { WorkerHealth } from '../../../../core/contract/worker.ts'
import { bundledDefinitions } from '../../../../core/engine/definitions.ts'
import { createMake, createPrepare, jobNames } from '../../../../main/services/prepare.ts'
import type { Worker } from '../../../../main/services/workers/worker.ts'
import { asBytes, libraryKit } from '../../../kit/library-kit.ts'

const { signal } = new AbortController()
const first = { promptId: '11111111-1111-4111-8111-111111111111', at: 0 }
const second = { promptId: '22222222-2222-4222-8222-222222222222', at: 9 }

function aWorker(id = 'gpu', definitions: ObjectInfo = bundledDefinitions().definitions) {
  const uploads: string[] = []
  let tell: (health: WorkerHealth) => void = () => {}
  const worker = {
    id,
    definitions: async () => definitions,
    async upload({ name }: { name: string }) {
      uploads.push(name)
      return `sub/0a1b2c3d.${name.split('.').at(-1)}`
    },
    onHealth(listener: typeof tell) {
      tell = listener
      return () => {}
    },
  } as Pick<Worker, 'id' | 'definitions' | 'upload' | 'onHealth'> as Worker
  return { worker, uploads, goAway: () => tell({ is: 'connecting' }) }
}

test('the wire carries the mark of the attempt, the record the name a person wanted', async () => {
  const { library, plans, plan, queue, inputs } = libraryKit()
  const { id } = await library.sample('en')
  await plans.submit(plan({ workflowId: id, sets: { 'Filename prefix': '%date:yyyy%/x' } }), { mayUsePaths: false })
  const job = queue.claim({ id: 'rehearsal', kind: 'rehearsal' })!
  const prepare = createPrepare(createMake({ inputs }))
  const { worker } = aWorker()
  const { attempt, record } = await prepare(job, worker, first, signal)

  expect(attempt.prompt['9']?.inputs.filename_prefix).toBe(`nightshift/${first.promptId}`)
  expect(record.prompt['9']?.inputs.filename_prefix).toBe('2026/x')
  expect(attempt).toMatchObject({ promptId: first.promptId, jobId: job.id })
  expect(attempt.pngInfo.nightshift).toEqual({ job: job.id, attempt: first.promptId })
  const text = String(record.prompt['6']?.inputs.text)
  expect(text).toMatch(/(warm lanterns|fireflies|paper boats) on the water/)
  expect(record.chosenText).toEqual({ '6.text': text })
  expect(record.seeds).toEqual({ '3.seed': job.overrides['3.seed'] })

  const workflow = attempt.pngInfo.workflow as { nodes: { id: number; widgets_values?: unknown[] }[] }
  const values = (node: number) => workflow.nodes.find((it) => it.id === node)?.widgets_values
  expect(values(3)?.[0]).toBe(job.overrides['3.seed'])
  expect(values(6)).toEqual([text])
  expect(values(9)).toEqual(['2026/x'])

  const again = await prepare(job, worker, second, signal)
  expect(again.record).toEqual(record)
  expect({ ...again.attempt.prompt, '9': null }).toEqual({ ...attempt.prompt, '9': null })
})

test('an input file is uploaded once to each worker, and again when the worker had gone away', async () => {
  const { library, plans, plan, queue, inputs } = libraryKit()
  const prompt = {
    '1': { class_type: 'LoadImage', inputs: { image: 'example.png' } },
    '2': { class_type: 'SaveImage', inputs: { images: ['1', 0], filename_prefix: 'x' } },
  }
  const { id } = await library.import('a.json', asBytes(prompt))
  const { ref } = await inputs.add('mug.png', Buffer.from('pixels'))
  await plans.submit(plan({ workflowId: id, rows: [{ Image: ref }, { Image: ref }] }), { mayUsePaths: false })
  const jobs = [1, 2].map(() => queue.claim({ id: 'rehearsal', kind: 'rehearsal' })!)
  const prepare = createPrepare(createMake({ inputs }))
  const { worker, uploads, goAway } = aWorker()
  for (const job of jobs) {
    const { attempt, record } = await prepare(job, worker, first, signal)
    expect(attempt.prompt['1']?.inputs.image).toBe('sub/0a1b2c3d.png')
    // nobody laid it out, so we did: with the file as the server has it, and the prefix a person wanted
    expect(attempt.pngInfo.workflow).toMatchObject({
      nodes: [{ widgets_values: ['sub/0a1b2c3d.png', 'image'] }, { widgets_values: ['x'] }],
    })
    expect(jobNames({ job, worker, record } as Parameters<typeof jobNames>[0], 'mugs')).toMatchObject({
      name: 'mug',
      row: job.row,
      worker: 'gpu',
      workflow: 'mugs',
    })
  }
  expect(uploads).toEqual(['mug.png'])
  goAway()
  await prepare(jobs[0]!, worker, second, signal)
  expect(uploads).toEqual(['mug.png', 'mug.png'])
})

test('every node that saves is marked, its prefix linked or not; others keep theirs', async () => {
  const { library, plans, plan, queue, inputs, known } = libraryKit()
  const { SaveImage, EmptyImage } = bundledDefinitions().definitions as Required<ObjectInfo>
  const prefixed = { required: { filename_prefix: ['STRING', {}] } } as NonNullable<typeof SaveImage>['input']
  known.definitions = {
    ...known.definitions,
    Words: { ...EmptyImage!, name: 'Words', input: prefixed, output: ['STRING'] },
  }
  const prompt = {
    '1': { class_type: 'EmptyImage', inputs: { width: 64, height: 64, batch_size: 1, color: 0 } },
    '2': { class_type: 'Words', inputs: { filename_prefix: 'kept' } },
    '3': { class_type: 'SaveImage', inputs: { images: ['1', 0], filename_prefix: ['2', 0] } },
    '4': { class_type: 'PreviewImage', inputs: { images: ['1', 0] } },
  }
  const { id } = await library.import('a.json', asBytes(prompt))
  await plans.submit(plan({ workflowId: id }), { mayUsePaths: false })
  const job = queue.claim({ id: 'rehearsal', kind: 'rehearsal' })!
  const { attempt } = await createPrepare(createMake({ inputs }))(
    job,
    aWorker('gpu', known.definitions).worker,
    first,
    signal,
  )
  expect(attempt.prompt).toEqual({
    ...job.batch.prompt,
    '3': { ...job.batch.prompt['3'], inputs: { images: ['1', 0], filename_prefix: `nightshift/${first.promptId}` } },
  })
})
