import { expect, onTestFinished, test } from 'vitest'
import { readAddress } from '../../../../../core/engine/comfy/address.ts'
import { ComfyClient } from '../../../../../core/engine/comfy/client.ts'
import { type JobStep, runPrompt } from '../../../../../core/engine/comfy/run-prompt.ts'
import { readTrace, serveTrace, submissionOf } from '../../../../kit/trace-server.ts'

const pace = { lookEveryMs: 5_000, absenceMs: 50, patienceMs: 1_000 }

async function replay(scene: string) {
  const trace = readTrace(scene)
  const server = await serveTrace(trace)
  const client = new ComfyClient(readAddress(server.url), { clientId: '11112222333344445555666677778888' })
  onTestFinished(() => client.close())
  const steps: JobStep[] = []
  for await (const step of runPrompt(client, submissionOf(trace), AbortSignal.timeout(50_000), pace)) steps.push(step)
  const progress = steps.filter((step) => step.is === 'progress')
  return {
    server,
    kinds: steps.map(({ is }) => is).filter((is, index, all) => is !== all[index - 1]),
    ending: steps.at(-1)!,
    progress,
    previews: steps.filter((step) => step.is === 'preview'),
  }
}
const image = (node: string, filename: string, type: 'output' | 'temp' = 'output') => ({
  is: 'file',
  node,
  index: 0,
  key: 'images',
  file: { filename, subfolder: '', type },
})

test('a prompt that was told of in full before the server replied ends with its file', async () => {
  const { kinds, ending, progress } = await replay('success')
  expect(kinds).toEqual(['submitted', 'started', 'progress', 'saved'])
  expect(ending).toEqual({ is: 'saved', outputs: [image('3', 'trace_00001_.png')], seconds: expect.any(Number) })
  expect(progress.map(({ overall }) => overall)).toEqual(
    progress.map(({ overall }) => overall).toSorted((a, b) => a - b),
  )
  expect(progress.at(-1)!.overall).toBe(1)
})

test('an identical prompt that wrote nothing new ends with the file of the first one', async () => {
  const { ending } = await replay('fully_cached')
  expect(ending).toMatchObject({ is: 'saved', outputs: [image('3', 'trace_00001_.png')] })
})

test('progress and previews that name no prompt are taken for those of the prompt that runs', async () => {
  const { progress, previews, ending } = await replay('progress_and_previews')
  expect(progress.filter(({ node, max }) => node === '1' && max === 4).map(({ value }) => value)).toEqual(
    expect.arrayContaining([1, 2, 3, 4]),
  )
  expect(previews.at(-1)).toMatchObject({ mediaType: 'image/jpeg' })
  expect([...previews.at(-1)!.bytes.subarray(0, 3)]).toEqual([0xff, 0xd8, 0xff])
  expect(ending).toMatchObject({ is: 'saved', outputs: [image('2', 'ComfyUI_temp_ugpcp_00001_.png', 'temp')] })
})

test('previews with metadata are understood', async () => {
  const { previews, ending } = await replay('features_negotiated_previews')
  expect([...previews.at(-1)!.bytes]).toEqual([0xff, 0xd8, 0xff])
  expect(ending.is).toBe('saved')
})

test('a node that raised is named, with its reason', async () => {
  const { ending, server } = await replay('execution_error')
  expect(ending).toMatchObject({
    is: 'failed',
    failure: { code: 'prompt.failed', facts: { nodeType: 'RaiseError', node: '4' } },
  })
  expect(server.requests).not.toContain('POST /free')
})

test('running out of memory may be tried again, and the server is asked to let go of its models', async () => {
  const { ending, server } = await replay('out_of_memory')
  expect(ending).toMatchObject({
    is: 'failed',
    retryable: true,
    failure: { code: 'prompt.out-of-memory', facts: { nodeType: 'RaiseOom' } },
  })
  expect(server.requests).toContain('POST /free')
})

test('an interrupted prompt is interrupted, not failed', async () => {
  expect((await replay('interrupt')).ending).toEqual({ is: 'interrupted' })
})

test('a socket that breaks mid-run is replaced and the prompt followed to its end', async () => {
  const { kinds, ending, progress } = await replay('reconnect_mid_run')
  expect(kinds.at(0)).toBe('submitted')
  expect(progress.some(({ value, max }) => value === 20 && max === 20)).toBe(true)
  expect(ending).toMatchObject({ is: 'saved', outputs: [image('2', 'ComfyUI_temp_ugpcp_00004_.png', 'temp')] })
})

test('a prompt of which some outputs were refused is taken back', async () => {
  const { ending, server } = await replay('validation_errors')
  expect(ending).toMatchObject({
    is: 'failed',
    retryable: false,
    failure: {
      code: 'prompt.outputs-dropped',
      facts: {
        reason: 'LoadImage 6: Custom validation failed for node: image - Invalid image file: missing.png',
      },
    },
  })
  expect(server.requests).toContain('GET /queue')
})
