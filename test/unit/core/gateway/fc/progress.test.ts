import { expect, test } from 'vitest'
import type { Task } from '../../../../../core/contract/agent.ts'
import type { Prompt } from '../../../../../core/contract/comfyui.ts'
import { readMessage } from '../../../../../core/engine/comfy/messages.ts'
import { progressMap, RunProgress, seedsHeader } from '../../../../../core/gateway/fc/progress.ts'

const prompt: Prompt = {
  3: { class_type: 'KSampler', inputs: {} },
  9: { class_type: 'SaveImage', inputs: {} },
}
const zero = { max: 0, value: 0, start: 0, last_updated: 0, images: null }

/** The map after these frames, one a second from second 100 on. */
function after(...frames: [type: string, data: object][]) {
  const progress = new RunProgress(prompt)
  for (const [at, [type, data]] of frames.entries()) {
    const message = readMessage(JSON.stringify({ type, data: { prompt_id: 'p', ...data } }))
    if (message) progress.hear(message, 100 + at)
  }
  return progress.nodes
}

test('before the run every node is there, all zero', () => {
  expect(after()).toEqual({ 3: zero, 9: zero })
})

test('a node that begins has a maximum; its steps are copied; what it saved is told', () => {
  const picture = { filename: 'a 图.png', subfolder: 'x', type: 'output' }
  const nodes = after(
    ['execution_start', {}],
    ['executing', { node: '3' }],
    ['progress', { node: '3', value: 7, max: 20 }],
    ['executing', { node: '9' }],
    ['executed', { node: '9', output: { images: [picture], animated: [false] } }],
  )
  expect(nodes['3']).toEqual({ max: 20, value: 7, start: 101, last_updated: 102, images: null })
  expect(nodes['9']).toEqual({
    max: 1,
    value: 1,
    start: 103,
    last_updated: 104,
    images: [picture],
    outputs: { animated: [false] },
  })
})

test('progress_state, with nodes as an object, is understood', () => {
  const nodes = after([
    'progress_state',
    { nodes: { 3: { state: 'running', value: 2, max: 4 }, 9: { state: 'pending', value: 0, max: 1 } } },
  ])
  expect(nodes['3']).toMatchObject({ max: 4, value: 2 })
  expect(nodes['9']).toEqual(zero)
})

test.each([
  [0.5, 1.5, { max: 2, value: 0 }],
  [3, 0, { max: 1, value: 0 }],
  [-1, 5, { max: 5, value: 0 }],
  [9, 5, { max: 5, value: 5 }],
  [1, 1e300, { max: 1, value: 0 }],
])('progress %j of %j leaves whole numbers', (value, max, expected) => {
  expect(after(['progress', { node: '3', value, max }])['3']).toMatchObject(expected)
})

test('what was cached counts as done, and says so', () => {
  expect(after(['execution_cached', { nodes: ['3', '9'] }])['9']).toMatchObject({ max: 1, value: 1, cached: true })
})

test('an error is told at the node that failed', () => {
  const nodes = after(
    ['executing', { node: '3' }],
    [
      'execution_error',
      { node_id: '3', node_type: 'KSampler', exception_type: 'ValueError', exception_message: 'no\n' },
    ],
  )
  expect(nodes['3']).toMatchObject({ value: 0, error: { type: 'ValueError', message: 'no', node_type: 'KSampler' } })
})

test('unknown events, damaged frames and binary previews change nothing', () => {
  const progress = new RunProgress(prompt)
  const preview = Buffer.concat([Buffer.from([0, 0, 0, 1, 0, 0, 0, 1]), Buffer.from('jpeg')])
  for (const frame of ['{"type":"new_in_2027","data":[1]}', '{', preview]) {
    const message = readMessage(frame)
    if (message) expect(progress.hear(message, 100)).toBe(false)
  }
  expect(progress.nodes).toEqual({ 3: zero, 9: zero })
})

test('the whole task is under the empty name, its node ids may be anything', () => {
  const nodes = Object.fromEntries([['__proto__', zero]])
  const task = {
    id: 't',
    promptId: 'p',
    state: 'queued',
    createdAt: 5_900,
    updatedAt: 7_100,
    queuePosition: 2,
    seeds: { 3: 77 },
    failure: null,
    nodes,
  } as unknown as Task
  const map = progressMap(task)
  expect(Object.keys(map).toSorted()).toEqual(['', '__proto__'])
  expect(map['']).toMatchObject({ start: 5, last_updated: 7, state: 'queued', queue_position: 2, seeds: { 3: 77 } })
})

test('seeds fit into a header whatever the nodes are called', () => {
  expect(seedsHeader({ 节: 1 })).toBe('{"\\u8282":1}')
  expect(seedsHeader(Object.fromEntries(Array.from({ length: 2_000 }, (_, at) => [`n${at}`, at])))).toBeNull()
})
