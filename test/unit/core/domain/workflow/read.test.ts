import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { AppError } from '../../../../../core/contract/errors.ts'
import { convertWorkflow } from '../../../../../core/domain/workflow/convert.ts'
import { type ReadWorkflow, readWorkflow, readWorkflows } from '../../../../../core/domain/workflow/read.ts'
import { definitions } from '../../../../kit/definitions.ts'

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
  ['a template that is the prompt itself', { workflow_template: prompt }, { format: 'api', prompt }],
  ['a template', { workflow_template: { name: 'T', nodes: prompt } }, { format: 'template', prompt }],
  ['a request', { prompt, client_id: 'c', extra_data: { extra_pnginfo: { workflow: editor } } }, { editor, prompt }],
  [
    'a history entry',
    { 'id-1': { prompt: [1, 'id-1', prompt, { extra_pnginfo: { workflow: editor } }, ['9']], outputs: {} } },
    { editor, prompt },
  ],
  ['a request of a serverless worker', { input: { workflow: prompt } }, { prompt, editor: null }],
  ['a request of a deployment', { workflow_api: prompt, workflow: editor }, { prompt, editor }],
  ['what the editor sends itself', { output: prompt, workflow: editor }, { prompt, editor }],
  ['a body within a body', { body: JSON.stringify({ input: { prompt: JSON.stringify(prompt) } }) }, { prompt }],
  ['a queue record', [3, 'id-1', prompt, { extra_pnginfo: { workflow: editor } }, ['9']], { prompt, editor }],
  [
    'a prompt that Civitai ran',
    { ...prompt, extra: { airs: ['urn:air:sdxl'] }, extraMetadata: '{"prompt":"a cat","steps":20,"cfgScale":7}' },
    { format: 'api', prompt },
  ],
  ['a prompt with its workflow among the nodes', { ...prompt, workflow: editor }, { prompt, editor }],
  [
    'nodes and links by their ids',
    { nodes: { '1': { type: 'A' }, x: { id: 2, type: 'B' } }, links: { '7': { origin_id: 1, target_id: 2 } } },
    {
      editor: {
        nodes: [
          { id: '1', type: 'A' },
          { id: 2, type: 'B' },
        ],
        links: [{ id: '7', origin_id: 1, target_id: 2 }],
      },
    },
  ],
  [
    'what was copied in the editor',
    { nodes: [{ id: 1, type: 'A' }], links: [], subgraphs: [{ id: 'u', nodes: [] }] },
    {
      editor: {
        nodes: [{ id: 1, type: 'A' }],
        links: [],
        subgraphs: [{ id: 'u', nodes: [] }],
        definitions: { subgraphs: [{ id: 'u', nodes: [] }] },
      },
    },
  ],
  ['JSON within JSON', JSON.stringify(JSON.stringify(JSON.stringify(prompt))), { prompt }],
  ['a node without inputs', { '1': { class_type: 'X' } }, { prompt: { '1': { class_type: 'X', inputs: {} } } }],
])('%s is recognised', (_, value, expected) => {
  expect(read(value)).toMatchObject(expected)
})

test.each([
  [
    'comments and commas too many',
    `// mine\n{"3": {"class_type": "A", /* the model */ "inputs": {"x": [1, 2,], "u": "http://a//b,}"},},}`,
  ],
  ['a byte order mark and zeros', '\uFEFF{"3":{"class_type":"A","inputs":{"x":[1,2],"u":"http://a//b,}"}}}\0'],
  [
    'fences in a message',
    'Try this:\n```json\n{"3":{"class_type":"A","inputs":{"x":[1,2],"u":"http://a//b,}"}}}\n```\nIt is **good**.',
  ],
  ['words around it', 'Workflow: {"3":{"class_type":"A","inputs":{"x":[1,2],"u":"http://a//b,}"}}} enjoy!'],
])('JSON with %s is read', (_, text) => {
  expect(read(text).prompt).toEqual({ '3': { class_type: 'A', inputs: { x: [1, 2], u: 'http://a//b,}' } } })
})

test('line ends within a text are kept', () => {
  expect(read('{"3":{"class_type":"A","inputs":{"text":"a\n\tb"}}}').prompt!['3']!.inputs).toEqual({ text: 'a\n\tb' })
})

test('what stands beside a workflow and would count is told', () => {
  const { problems } = read({ input: { workflow: prompt, images: [{ name: 'a.png', image: 'data:' }] }, webhook: 'x' })
  expect(problems).toMatchObject([{ kind: 'warning', code: 'unused-parts', facts: { keys: 'images' } }])
})

test('a nested workflow that cannot be read is told, and the other still counts', () => {
  const { prompt: found, problems } = read({ workflow: '{"nodes":[}', prompt })
  expect(found).toEqual(prompt)
  expect(problems).toMatchObject([{ kind: 'warning', code: 'entry-unreadable' }])
})

describe('a file with several workflows', () => {
  const all = (value: unknown) => readWorkflows('a.json', { json: JSON.stringify(value) })
  const record = (id: string, seed: number) => ({
    prompt: [1, id, { '3': { class_type: 'KSampler', inputs: { seed } } }, {}, []],
    outputs: {},
  })
  const seedOf = (seed: number) => ({ '3': { class_type: 'KSampler', inputs: { seed } } })

  test('gives each with its title and its panel', () => {
    const params = [{ type: 'string', id: '3', key: 'seed' }]
    expect(
      all([
        { title: 'One', prompt, params },
        { title: 'Two', prompt: {}, params },
        { title: 'Three', prompt },
      ]),
    ).toEqual([
      { title: 'One', read: { format: 'api', editor: null, prompt, panel: { title: 'One', params } } },
      { title: 'Two', read: { format: 'panels', editor: null, prompt: null, panel: { title: 'Two', params } } },
      { title: 'Three', read: { format: 'api', editor: null, prompt } },
    ])
  })
  test('may hold a single one', () => {
    expect(all({ title: ' One ', prompt, params: [] })).toMatchObject([
      { title: 'One', read: { prompt, panel: { params: [] } } },
    ])
    expect(all(editor)).toEqual([{ title: null, read: { format: 'editor-0.4', editor, prompt: null } }])
  })
  test('is a history', () => {
    expect(all({ a: record('a', 1), b: record('b', 2) }).map(({ read }) => read.prompt)).toEqual([seedOf(1), seedOf(2)])
  })
  test('is a queue', () => {
    const queue = {
      queue_running: [record('a', 1).prompt],
      queue_pending: [record('b', 2).prompt, record('c', 3).prompt],
    }
    expect(all(queue).map(({ read }) => read.prompt)).toEqual([seedOf(1), seedOf(2), seedOf(3)])
  })
  test('is one prompt a line', () => {
    const lines = `${JSON.stringify(seedOf(1))}\n\n${JSON.stringify({ prompt: seedOf(2) })}\r\n`
    expect(readWorkflows('a.jsonl', { json: lines }).map(({ read }) => read.prompt)).toEqual([seedOf(1), seedOf(2)])
  })
  test('is fenced pieces of a message', () => {
    const piece = (seed: number) => `\`\`\`\n${JSON.stringify(seedOf(seed))}\n\`\`\`\n`
    const found = readWorkflows('a.md', { json: `# two\n${piece(1)}and\n${piece(2)}` })
    expect(found.map(({ read }) => read.prompt)).toEqual([seedOf(1), seedOf(2)])
  })
  test('tells of the entries it could not read', () => {
    const [first, ...others] = all([{ title: 'Good', prompt }, { title: 'Bad' }, { title: 'Worse', prompt: 7 }])
    expect(others).toEqual([])
    expect(first!.read.problems).toMatchObject([
      { kind: 'loss', code: 'entry-unreadable', facts: { entry: '#2' } },
      { kind: 'loss', code: 'entry-unreadable', facts: { entry: 'Worse' } },
    ])
  })
  test('is read as its first where only one can be taken, and says so', () => {
    const read = readWorkflow('a.json', {
      json: JSON.stringify([{ title: 'A', prompt }, { title: 'B', prompt }, [1, 'x', prompt, {}]]),
    })
    expect(read).toMatchObject({
      prompt,
      problems: [{ kind: 'warning', code: 'more-workflows', facts: { count: 3, titles: 'B, #3' } }],
    })
  })
  test('gives the first that is a workflow, not a panel alone; panels alone are a loss', () => {
    const panel = { title: 'P', prompt: {}, params: [{ type: 'string' }] }
    const one = (value: unknown) => readWorkflow('a.json', { json: JSON.stringify(value) })
    expect(one([panel, { title: 'A', prompt }])).toMatchObject({
      prompt,
      problems: [{ facts: { count: 2, titles: 'P' } }],
    })
    expect(one(panel)).toMatchObject({
      format: 'panels',
      prompt: null,
      problems: [{ kind: 'loss', code: 'panel-alone' }],
    })
  })
  test('is refused when together they have too many nodes', () => {
    const many = { nodes: Array.from({ length: 20_000 }, (_, id) => ({ id, type: 'Note' })), links: [] }
    expect(() => all([many, many, many])).toThrow(expect.objectContaining({ code: 'import.too-many-nodes' }))
  })
})

describe('a blueprint', () => {
  const definition = (id: string, name: string, nodes: unknown[] = []) => ({
    id,
    name,
    inputNode: { id: -10 },
    outputNode: { id: -20 },
    inputs: [
      { name: 'image', type: 'IMAGE', label: 'Picture' },
      { name: 'amount', type: 'FLOAT' },
      { name: 'mask', type: 'MASK' },
    ],
    outputs: [{ name: 'IMAGE', type: 'IMAGE' }],
    nodes: [
      {
        id: 5,
        type: 'ImageSharpen',
        inputs: [
          { name: 'image', type: 'IMAGE', link: 1 },
          { name: 'alpha', type: 'FLOAT', link: 2, widget: { name: 'alpha' } },
          { name: 'mask', type: 'MASK', link: 3, shape: 7 },
        ],
        outputs: [{ name: 'IMAGE', type: 'IMAGE', links: [4] }],
        widgets_values: [1],
      },
      ...nodes,
    ],
    links: [
      { id: 1, origin_id: -10, origin_slot: 0, target_id: 5, target_slot: 0, type: 'IMAGE' },
      { id: 2, origin_id: -10, origin_slot: 1, target_id: 5, target_slot: 1, type: 'FLOAT' },
      { id: 3, origin_id: -10, origin_slot: 2, target_id: 5, target_slot: 2, type: 'MASK' },
      { id: 4, origin_id: 5, origin_slot: 0, target_id: -20, target_slot: 0, type: 'IMAGE' },
    ],
  })
  const told = [
    { kind: 'bad-value', code: 'blueprint-inputs', facts: { title: 'Sharper', inputs: 'Picture' } },
    { kind: 'bad-value', code: 'blueprint-outputs', facts: { title: 'Sharper', outputs: 'IMAGE' } },
  ]

  test('as ComfyUI publishes it tells what has to be connected', () => {
    const published = {
      nodes: [{ id: 140, type: 'u', title: 'Sharper', inputs: [{ name: 'image', type: 'IMAGE', link: null }] }],
      links: [],
      version: 0.4,
      definitions: { subgraphs: [definition('u', 'Sharper')] },
    }
    expect(read(published)).toMatchObject({ format: 'editor-0.4', editor: published, problems: told })
  })
  test('as a bare definition becomes a workflow with one instance of it', () => {
    const bare = definition('u', 'Sharper')
    expect(read(bare)).toMatchObject({
      editor: {
        nodes: [{ id: 6, type: 'u', title: 'Sharper', inputs: [{ name: 'image', link: null }, {}, {}] }],
        definitions: { subgraphs: [bare] },
      },
      problems: told,
    })
    const { prompt } = convertWorkflow(read(bare), definitions)
    expect(prompt).toMatchObject({ '6:5': { class_type: 'ImageSharpen' } })
  })
  test('with those it uses inside is one workflow; several that stand alone are several', () => {
    const inner = definition('inner', 'Inner')
    const outer = definition('outer', 'Outer', [{ id: 9, type: 'inner' }])
    const alone = definition('alone', 'Alone')
    const found = (subgraphs: unknown[]) =>
      readWorkflows('a.json', { json: JSON.stringify({ definitions: { subgraphs } }) }).map(({ title, read }) => [
        title,
        (read.editor!.nodes as { type: string }[])[0]!.type,
      ])
    expect(found([inner, outer])).toEqual([[null, 'outer']])
    expect(found([inner, outer, alone])).toEqual([
      ['Outer', 'outer'],
      ['Alone', 'alone'],
    ])
  })
  test('that is connected, or only one node of several, tells nothing', () => {
    const workflow = {
      nodes: [
        { id: 1, type: 'u' },
        { id: 2, type: 'Note' },
      ],
      links: [],
      definitions: { subgraphs: [definition('u', 'Sharper')] },
    }
    expect(read(workflow).problems).toBeUndefined()
  })
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
  [
    'a list of templates',
    '[{"moduleName":"default","title":"Basics","templates":[{"name":"x","mediaType":"image"}]}]',
    'import.template-index',
  ],
  ['templates told by one object', '{"templates":[{"name":"x","title":"X"}]}', 'import.template-index'],
  ['saved node templates', '{"templates":[{"name":"x","data":"{}"}]}', 'import.node-templates'],
  [
    'the record of a run',
    '{"":{"max":0,"value":0,"images":null},"3":{"max":17,"value":17,"last_updated":1}}',
    'import.run-record',
  ],
  [
    'a list of node definitions',
    '{"KSampler":{"input":{},"output":["LATENT"],"output_node":false}}',
    'import.object-info',
  ],
  [
    'a workflow of n8n',
    '{"nodes":[{"parameters":{},"type":"n8n-nodes-base.set","position":[0,0]}],"connections":{}}',
    'import.other-program',
  ],
  ['a flow of Node-RED', '[{"id":"a","type":"inject","z":"f","wires":[[]]}]', 'import.other-program'],
  [
    'a workflow of InvokeAI',
    '{"nodes":[{"id":"a","type":"invocation","data":{"nodePack":"invokeai"}}],"edges":[]}',
    'import.other-program',
  ],
  ['a graph of InvokeAI', '{"nodes":{"a":{"type":"noise","is_intermediate":true}},"edges":[]}', 'import.other-program'],
  ['a flow of Langflow', '{"data":{"nodes":[],"edges":[]},"name":"x"}', 'import.other-program'],
  ['a flow with edges', '{"nodes":[{"id":"a","position":{},"data":{}}],"edges":[]}', 'import.other-program'],
  [
    'a graph of LiteGraph itself',
    '{"nodes":[{"id":1,"type":"basic/const"},{"id":2,"type":"math/sum"}],"links":[]}',
    'import.other-program',
  ],
  ['such a graph within a request', '{"workflow":{"nodes":[{"id":"a","data":{}}],"edges":[]}}', 'import.other-program'],
  ['a million commas', '{'.padEnd(1_000_000, ','), 'import.not-json'],
  ['a million comments', `{"a":${'/*'.repeat(500_000)}`, 'import.not-json'],
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

const keys = fc.constantFrom(
  ...[
    'nodes',
    'links',
    'prompt',
    'workflow',
    'definitions',
    'subgraphs',
    'inputNode',
    'outputNode',
    'class_type',
    'inputs',
  ],
  ...[
    'outputs',
    'id',
    'type',
    'title',
    'params',
    'name',
    'widget',
    'templates',
    'data',
    'edges',
    'connections',
    '3',
    '-10',
  ],
  ...[
    'origin_id',
    'origin_slot',
    'target_id',
    'target_slot',
    'workflow_template',
    'queue_running',
    'extra_data',
    'input',
  ],
  ...[
    'extra_pnginfo',
    'info',
    'parameters',
    'infotexts',
    'steps',
    'sampler',
    'seed',
    'properties',
    'proxyWidgets',
    'mode',
  ],
)
const leaf = fc.oneof(
  fc.constantFrom<unknown>(null, true, 0, 1, 3, -10, -20, 4, '', 'u', 'KSampler', '3', '{"nodes":[', '*', 1e308, '-10'),
  keys,
)
const anyJson = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { depthSize: 'medium' },
    leaf,
    fc.array(tie('value'), { maxLength: 5 }),
    fc.dictionary(keys, tie('value'), { maxKeys: 6 }),
  ),
})).value
test('JSON of any shape is read or refused in words, and converts', () => {
  fc.assert(
    fc.property(fc.dictionary(keys, anyJson, { maxKeys: 8 }), fc.boolean(), (value, asList) => {
      try {
        for (const { read } of readWorkflows('a.json', { json: JSON.stringify(asList ? [value, value] : value) })) {
          convertWorkflow(read, definitions)
        }
      } catch (cause) {
        expect((cause as { code?: string }).code).toMatch(/^import\./)
      }
    }),
    { numRuns: 5000, seed: 14 },
  )
})

const corpus = path.resolve(import.meta.dirname, '../../../../../../shared/corpus/couple-photo')
test.skipIf(!existsSync(corpus))('the panels of a workflow that comes separately are carried without one', () => {
  const json = readFileSync(path.join(corpus, 'panels.json'), 'utf8')
  expect(readWorkflows('panels.json', { json })).toMatchObject([
    { title: '破次元壁合照', read: { format: 'panels', editor: null, prompt: null, panel: { title: '破次元壁合照' } } },
    { title: '背景替换', read: { format: 'panels', editor: null, prompt: null } },
  ])
})
