import { expect, test } from 'vitest'
import { AppError } from '../../../../../core/contract/errors.ts'
import { type ReadWorkflow, readWorkflow } from '../../../../../core/domain/workflow/read.ts'

const node = { class_type: 'KSampler', inputs: { seed: 1 } }
const prompt = { '3': node }
const editor = { nodes: [{ id: 1, type: 'Note' }], links: [], version: 0.4 }
const read = (value: unknown) =>
  readWorkflow('a.json', { json: typeof value === 'string' ? value : JSON.stringify(value) })
const refusal = (text: string) => {
  try {
    readWorkflow('a.json', { json: text })
  } catch (cause) {
    if (cause instanceof AppError) return { code: cause.code, message: cause.message }
    throw cause
  }
  return null
}

test.each<[string, unknown, Partial<ReadWorkflow>]>([
  ['a prompt', prompt, { format: 'api', editor: null, prompt }],
  ['a workflow 0.4', editor, { format: 'editor-0.4', editor, prompt: null }],
  [
    'a workflow 1.0',
    { ...editor, version: 1 },
    { format: 'editor-1.0', editor: { ...editor, version: 1 }, prompt: null },
  ],
  ['both', { source: 'x', workflow: editor, prompt }, { format: 'editor-0.4', editor, prompt }],
  ['both as text', { workflow: JSON.stringify(editor), prompt: JSON.stringify(prompt) }, { editor, prompt }],
  ['a template', { workflow_template: { name: 'T', nodes: prompt } }, { format: 'template', prompt }],
  ['a request', { prompt, client_id: 'c', extra_data: { extra_pnginfo: { workflow: editor } } }, { editor, prompt }],
  [
    'a history entry',
    { 'id-1': { prompt: [1, 'id-1', prompt, { extra_pnginfo: { workflow: editor } }, ['9']], outputs: {} } },
    { editor, prompt },
  ],
  ['JSON within JSON', JSON.stringify(JSON.stringify(JSON.stringify(prompt))), { prompt }],
  ['a node without inputs', { '1': { class_type: 'X' } }, { prompt: { '1': { class_type: 'X', inputs: {} } } }],
])('%s is recognised', (_, value, expected) => {
  expect(read(value)).toMatchObject(expected)
})

test('seeds keep every digit, and NaN is nothing', () => {
  const { prompt } = read(
    '{"3":{"class_type":"KSampler","inputs":{"seed":18446744073709551615,"cfg":NaN},"is_changed":[NaN]}}',
  )
  expect(prompt!['3']!.inputs).toEqual({ seed: 18446744073709551615n, cfg: null })
})

test('what is no node in a prompt is told', () => {
  const { prompt: found, problems } = read({ ...prompt, extra: { a: 1 } })
  expect(Object.keys(found!)).toEqual(['3'])
  expect(problems).toMatchObject([{ kind: 'loss', code: 'not-a-node', facts: { key: 'extra' } }])
})

test.each([
  ['nothing', '', 'import.empty'],
  ['no JSON', '{"a":', 'import.not-json'],
  ['words', 'hello', 'import.not-json'],
  ['a number', '7', 'import.unknown-format'],
  ['an empty object', '{}', 'import.unknown-format'],
  ['another kind of JSON', '{"colors":["red"]}', 'import.unknown-format'],
  ['a list', '[1,2,3]', 'import.unknown-format'],
  ['a node twice', '{"3":{"class_type":"A","inputs":{}},"3":{"class_type":"B","inputs":{}}}', 'import.damaged'],
  ['two nodes with one id', '{"nodes":[{"id":1,"type":"A"},{"id":1,"type":"B"}],"links":[]}', 'import.damaged'],
  ['a node without type', '{"nodes":[{"id":1}],"links":[]}', 'import.damaged'],
  ['two links with one id', '{"nodes":[],"links":[[1,1,0,2,0,"A"],[1,3,0,2,0,"A"]]}', 'import.damaged'],
  ['a million brackets', '['.repeat(1_000_000), 'import.not-json'],
  ['a deep nest', `${'{"a":'.repeat(300)}1${'}'.repeat(300)}`, 'import.not-json'],
])('%s is refused with a reason', (_, text, code) => {
  expect(refusal(text)?.code).toBe(code)
})

test('a picture without a workflow says so; one with a garbled workflow falls back on its prompt', () => {
  expect(() => readWorkflow('a.png', { Software: 'x' })).toThrow(
    expect.objectContaining({ code: 'import.no-workflow' }),
  )
  expect(() => readWorkflow('a.png', { prompt: '{' })).toThrow(expect.objectContaining({ code: 'import.not-json' }))
  expect(readWorkflow('a.png', { workflow: '{', prompt: JSON.stringify(prompt) })).toMatchObject({
    prompt,
    problems: [{ kind: 'warning', code: 'metadata-unreadable' }],
  })
})

test('keys that would change the nature of objects do no harm', () => {
  const { prompt } = read(
    '{"__proto__":{"polluted":1},"constructor":{"class_type":"toString","inputs":{"__proto__":{"polluted":2}}}}',
  )
  expect(Object.keys(prompt!)).toEqual(['constructor'])
  expect(({} as Record<string, unknown>).polluted).toBeUndefined()
  expect((Object.entries(prompt!)[0]![1].inputs as Record<string, unknown>).polluted).toBeUndefined()
})

test('more nodes than can be read are refused', () => {
  const nodes = Array.from({ length: 50_001 }, (_, id) => ({ id, type: 'Note' }))
  expect(refusal(JSON.stringify({ nodes, links: [] }))?.code).toBe('import.too-many-nodes')
})
