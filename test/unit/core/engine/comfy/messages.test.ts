import { describe, expect, test } from 'vitest'
import { readAddress } from '../../../../../core/engine/comfy/address.ts'
import { readMessage } from '../../../../../core/engine/comfy/messages.ts'
import { collectOutputs } from '../../../../../core/engine/comfy/outputs.ts'
import { PromptProgress } from '../../../../../core/engine/comfy/progress.ts'
import { endingOf } from '../../../../../core/engine/comfy/run-prompt.ts'

const file = (filename: string, type = 'output', subfolder = '') => ({ filename, type, subfolder })

describe('a socket frame', () => {
  test.each([
    ['{"type":"executing","data":{"node":null,"prompt_id":"p"}}', { is: 'executing', promptId: 'p', node: null }],
    [
      '{"type":"executing","data":{"node":"5.0.1","display_node":"5","prompt_id":"p"}}',
      { is: 'executing', promptId: 'p', node: '5' },
    ],
    [
      '{"type":"executed","data":{"node":"3","output":null,"prompt_id":"p"}}',
      { is: 'executed', promptId: 'p', node: '3', output: null },
    ],
    [
      '{"type":"progress","data":{"node":"3","value":NaN,"max":2,"prompt_id":"p"}}',
      { is: 'progress', promptId: 'p', node: '3', value: 0, max: 2 },
    ],
    ['{"type":"crystools.monitor","data":{}}', { is: 'unknown', type: 'crystools.monitor' }],
    ['{"type":"execution_start","data":{}}', { is: 'unknown', type: 'execution_start' }],
    ['not json', null],
    ['[]', null],
  ])('%s', (frame, message) => {
    expect(readMessage(frame)).toEqual(message)
  })

  test('binary frames that are too short, or of a kind nobody knows, do no harm', () => {
    expect(readMessage(Buffer.from([0, 0]))).toBeNull()
    expect(readMessage(Buffer.from([0, 0, 0, 99, 0, 0, 0, 0]))).toEqual({ is: 'unknown', type: 'binary 99' })
    expect(readMessage(Buffer.from([0, 0, 0, 4, 0, 0, 0, 200, 1]))).toBeNull()
  })
})

test.each([
  ['text/html', 'image/jpeg'],
  ['image/png\r\nset-cookie: a=b', 'image/jpeg'],
  ['image/svg+xml', 'image/jpeg'],
  ['image/webp', 'image/webp'],
])('a preview that calls itself %j is served as %s', (image_type, mediaType) => {
  const facts = Buffer.from(JSON.stringify({ prompt_id: 'p', node_id: '3', image_type }))
  const head = Buffer.alloc(8)
  head.writeUInt32BE(4)
  head.writeUInt32BE(facts.length, 4)
  expect(readMessage(Buffer.concat([head, facts, Buffer.from('x')]))).toMatchObject({ is: 'preview', mediaType })
})

test('a number without end is no progress', () => {
  const frame = '{"type":"progress","data":{"prompt_id":"p","node":"3","value":1e999,"max":-1e999}}'
  expect(readMessage(frame)).toMatchObject({ value: 0, max: 0 })
})

describe('the outputs of a history entry', () => {
  test('are found whatever a node calls its lists', () => {
    const outputs = collectOutputs({
      1: { images: [file('a.png'), file('b.png')], animated: [true] },
      2: { gifs: [{ ...file('c.mp4', 'output', 'vid'), format: 'video/h264-mp4', frame_rate: 8 }] },
      3: { audio: [file('d.flac')], '3d': [file('e.glb')], result: ['e.glb', null] },
      4: { text: ['said', ''], tags: ['no file'] },
      5: { images: [file('shown.png', 'temp')] },
    })
    expect(
      outputs.map((it) => (it.is === 'file' ? [it.node, it.index, it.key, it.file.filename] : [it.node, it.text])),
    ).toEqual([
      ['1', 0, 'images', 'a.png'],
      ['1', 1, 'images', 'b.png'],
      ['2', 0, 'gifs', 'c.mp4'],
      ['3', 0, 'audio', 'd.flac'],
      ['3', 1, '3d', 'e.glb'],
      ['4', 'said'],
    ])
  })

  test('are the previews where nothing else was made', () => {
    expect(collectOutputs({ 5: { images: [file('shown.png', 'temp'), file('given.png', 'input')] } })).toEqual([
      { is: 'file', node: '5', index: 0, key: 'images', file: file('shown.png', 'temp') },
    ])
  })
})

describe('how a prompt ended', () => {
  const entry = (last: [string, object], status_str = 'success') => ({
    prompt: [],
    outputs: { 9: { images: [file('a.png')] } },
    status: { status_str, completed: true, messages: [['execution_start', { timestamp: 1_000 }], last] as never },
  })
  test('is read from the messages, not from a status left over from the prompt before', () => {
    expect(endingOf(entry(['execution_success', { timestamp: 3_500 }], 'error'))).toMatchObject({
      is: 'saved',
      seconds: 2.5,
    })
    expect(endingOf(entry(['execution_interrupted', {}], 'success'))).toEqual({ is: 'interrupted' })
    expect(endingOf(entry(['execution_error', { exception_type: 'ValueError', node_type: 'X' }]))).toMatchObject({
      retryable: false,
    })
  })
  test.each([
    ['torch.OutOfMemoryError', 'Allocation on device'],
    ['torch.cuda.OutOfMemoryError', ''],
    ['RuntimeError', 'MPS backend out of memory (MPS allocated: 9 GB)'],
    ['RuntimeError', '[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: not enough memory'],
    ['torch.AcceleratorError', 'CUDA error: out of memory'],
  ])('as want of memory: %s %s', (exception_type, exception_message) => {
    expect(
      endingOf(entry(['execution_error', { exception_type, exception_message, node_type: 'KSampler' }])),
    ).toMatchObject({
      is: 'failed',
      retryable: true,
      failure: { code: 'prompt.out-of-memory', facts: { nodeType: 'KSampler' } },
    })
  })
  test.each(['x', 5, null, [1, null]])('a history whose messages are %j still tells by its outputs', (messages) => {
    const images = [{ filename: 'a.png', subfolder: '', type: 'output' }]
    const odd = { prompt: [], outputs: { 9: { images } }, status: { status_str: 'success', completed: true, messages } }
    expect(endingOf(odd as unknown as Parameters<typeof endingOf>[0])).toMatchObject({ is: 'saved', seconds: 0 })
  })
  test('without any file is not success', () => {
    const bare = { ...entry(['execution_success', {}]), outputs: {} }
    expect(endingOf(bare)).toMatchObject({ is: 'failed', failure: { code: 'prompt.no-files' } })
  })
})

test('sampling weighs more than its neighbours, and the whole never runs backwards', () => {
  const progress = new PromptProgress({
    1: { class_type: 'Loader', inputs: {} },
    2: { class_type: 'KSampler', inputs: { steps: 8 } },
    3: { class_type: 'Save', inputs: {} },
  })
  const hear = (value: number) =>
    progress.hear({ is: 'progress', promptId: 'p', node: '2', value, max: 8 })?.overall ?? Number.NaN
  progress.hear({ is: 'cached', promptId: 'p', nodes: ['1'] })
  expect(hear(4)).toBeCloseTo((1 + 4.5) / 11)
  expect(hear(8)).toBeCloseTo(10 / 11)
  expect(hear(1)).toBeCloseTo(10 / 11) // a second pass of the same node
  expect(progress.hear({ is: 'executed', promptId: 'p', node: '3', output: null })?.overall).toBeGreaterThan(10 / 11)
})

test.each([
  ['192.168.1.5:8188', 'http://192.168.1.5:8188/'],
  ['localhost', 'http://localhost/'],
  ['https://host.example/comfy//', 'https://host.example/comfy/'],
  ['HTTP://Host:80/?token=x#y', 'http://host/'],
  ['[::1]:8188', 'http://[::1]:8188/'],
])('an address typed as %s', (typed, url) => {
  expect(readAddress(typed).url).toBe(url)
})

test('credentials in an address become a header and leave the address', () => {
  expect(readAddress('https://me:s%40y@host')).toEqual({
    url: 'https://host/',
    header: { name: 'Authorization', value: `Basic ${Buffer.from('me:s@y').toString('base64')}` },
  })
})
