/** Nodes of common packs that exist in the editor only, and widgets their scripts make. */
import { describe, expect, test } from 'vitest'
import type { NodeDefinition } from '../../../../../core/contract/comfyui.ts'
import type { Json, JsonObject } from '../../../../../core/contract/json.ts'
import { convertWorkflow } from '../../../../../core/domain/workflow/convert.ts'
import { definitions } from '../../../../kit/definitions.ts'

const convert = (nodes: JsonObject[], links: Json[] = [], more: Record<string, NodeDefinition> = {}) =>
  convertWorkflow(
    { format: 'editor-0.4', editor: { version: 0.4, nodes, links }, prompt: null },
    { ...definitions, ...more },
  )
const told = ({ problems }: ReturnType<typeof convert>, kind: string) =>
  problems.filter((one) => one.kind === kind).map(({ code, node }) => `${code} ${node}`)

const socket = (name: string, type: string, link: number | null) => ({ name, type, link })
const image = (id: number) => ({
  id,
  type: 'EmptyImage',
  inputs: [],
  outputs: [{ name: 'IMAGE', type: 'IMAGE' }],
  widgets_values: [8, 8, 1, 0],
})
const save = (id: number, link: number | null) => ({
  id,
  type: 'SaveImage',
  inputs: [socket('images', 'IMAGE', link)],
  widgets_values: ['x'],
})

test.each([
  ...['Note', 'MarkdownNote', 'Note Plus (mtb)', 'easy bookmark', 'Label (rgthree)', 'Bookmark (rgthree)'],
  ...[
    'Fast Groups Muter (rgthree)',
    'Fast Groups Bypasser (rgthree)',
    'Fast Muter (rgthree)',
    'Fast Bypasser (rgthree)',
  ],
  ...['Fast Node Muter (rgthree)', 'Node Collector (rgthree)', 'Node Combiner (rgthree)', 'Random Unmuter (rgthree)'],
  ...['Mute / Bypass Repeater (rgthree)', 'Mute / Bypass Relay (rgthree)', 'Fast Actions Button (rgthree)'],
])('%s is left out without a loss, whatever is connected to it', (type) => {
  const inputs = [socket('IMAGE', 'IMAGE', 2)]
  const converted = convert(
    [image(1), save(2, 1), { id: 3, type, inputs, outputs: [{ name: 'OPT', type: '*' }], widgets_values: [true, 'x'] }],
    [
      [1, 1, 0, 2, 0, 'IMAGE'],
      [2, 1, 0, 3, 0, 'IMAGE'],
    ],
  )
  expect(Object.keys(converted.prompt)).toEqual(['1', '2'])
  expect(converted.problems).toEqual([])
})

test.each([
  ['SetNode', 'GetNode'],
  ['easy setNode', 'easy getNode'],
  ['SetNode [Eclipse]', 'GetNode [Eclipse]'],
])('%s and %s connect by name, from a graph around a subgraph too', (set, get) => {
  const inside = {
    id: 'S',
    nodes: [{ id: 11, type: get, outputs: [{ name: 'IMAGE', type: 'IMAGE' }], widgets_values: ['pic'] }, save(12, 1)],
    links: [{ id: 1, origin_id: 11, origin_slot: 0, target_id: 12, target_slot: 0 }],
  }
  const editor: JsonObject = {
    nodes: [
      image(1),
      { id: 2, type: set, inputs: [socket('IMAGE', 'IMAGE', 1)], outputs: [], widgets_values: ['pic'] },
      { id: 3, type: 'S', inputs: [], outputs: [] },
    ],
    links: [[1, 1, 0, 2, 0, 'IMAGE']],
    definitions: { subgraphs: [inside] },
  }
  const { prompt, problems } = convertWorkflow({ format: 'editor-0.4', editor, prompt: null }, definitions)
  expect(prompt['3:12']!.inputs.images).toEqual(['1', 0])
  expect(problems).toEqual([])
})

test('a reroute of rgthree passes on; its context and switches are the server’s own and stay', () => {
  const { prompt } = convert(
    [
      image(1),
      { id: 2, type: 'Reroute (rgthree)', inputs: [socket('', '*', 1)], outputs: [{ name: '', type: '*' }] },
      {
        id: 3,
        type: 'Any Switch (rgthree)',
        inputs: [socket('any_01', 'IMAGE', 2)],
        outputs: [{ name: '*', type: '*' }],
      },
      save(4, 3),
    ],
    [
      [1, 1, 0, 2, 0, 'IMAGE'],
      [2, 2, 0, 3, 0, 'IMAGE'],
      [3, 3, 0, 4, 0, 'IMAGE'],
    ],
  )
  expect(prompt['3']).toMatchObject({ class_type: 'Any Switch (rgthree)', inputs: { any_01: ['1', 0] } })
  expect(prompt['4']!.inputs.images).toEqual(['3', 0])
})

test('a class nobody knows is kept, with what its sockets name, and told as missing', () => {
  const converted = convert(
    [
      image(1),
      {
        id: 2,
        type: 'Unheard Of',
        inputs: [socket('image', 'IMAGE', 1), { ...socket('amount', 'FLOAT', null), widget: { name: 'amount' } }],
        outputs: [{ name: 'IMAGE', type: 'IMAGE' }],
        widgets_values: [0.5],
      },
      save(3, 2),
    ],
    [
      [1, 1, 0, 2, 0, 'IMAGE'],
      [2, 2, 0, 3, 0, 'IMAGE'],
    ],
  )
  expect(converted.prompt['2']).toMatchObject({ class_type: 'Unheard Of', inputs: { image: ['1', 0], amount: 0.5 } })
  expect(converted.prompt['3']!.inputs.images).toEqual(['2', 0])
  expect(told(converted, 'missing-node')).toEqual(['missing-node 2'])
  expect(told(converted, 'loss')).toEqual([])
})

test('values a pack stores by name reach the prompt, those of its previews do not', () => {
  const combine = {
    id: 2,
    type: 'VHS_VideoCombine',
    inputs: [socket('images', 'IMAGE', 1)],
    widgets_values: { frame_rate: 8, format: 'video/h264-mp4', crf: 19, videopreview: { hidden: false } },
  }
  const { prompt } = convert([image(1), combine], [[1, 1, 0, 2, 0, 'IMAGE']])
  expect(prompt['2']!.inputs).toEqual({ images: ['1', 0], frame_rate: 8, format: 'video/h264-mp4', crf: 19 })
})

describe('cg-use-everywhere', () => {
  const everywhere = (id: number, link: number, type = 'Anything Everywhere', values: Json[] = []): JsonObject => ({
    id,
    type,
    inputs: [socket('IMAGE', '*', link)],
    widgets_values: values,
  })
  const two = [
    [1, 1, 0, 11, 0, 'IMAGE'],
    [2, 2, 0, 12, 0, 'IMAGE'],
  ]

  test('the more particular broadcast wins where two fit', () => {
    const particular = everywhere(12, 2, 'Anything Everywhere?', ['Keep', '^images$'])
    const named = { ...save(4, null), title: 'Keep this' }
    const converted = convert([image(1), image(2), everywhere(11, 1), particular, save(3, null), named], two)
    expect(converted.prompt['3']!.inputs.images).toEqual(['1', 0])
    expect(converted.prompt['4']!.inputs.images).toEqual(['2', 0])
    expect(told(converted, 'loss')).toEqual([])
  })

  test('positive and negative prompts go to the sockets named so', () => {
    const text = (id: number) => ({
      id,
      type: 'CLIPTextEncode',
      outputs: [{ name: 'CONDITIONING', type: 'CONDITIONING' }],
      widgets_values: [`${id}`],
    })
    const sampler = {
      id: 4,
      type: 'KSampler',
      inputs: [socket('positive', 'CONDITIONING', null), socket('negative', 'CONDITIONING', null)],
      widgets_values: [1, 'fixed', 20, 7, 'euler', 'normal', 1],
    }
    const prompts = {
      id: 3,
      type: 'Prompts Everywhere',
      inputs: [socket('+ve', '*', 1), socket('-ve', '*', 2)],
    }
    const { prompt } = convert(
      [text(1), text(2), prompts, sampler],
      [
        [1, 1, 0, 3, 0, 'CONDITIONING'],
        [2, 2, 0, 3, 1, 'CONDITIONING'],
      ],
    )
    expect(prompt['4']!.inputs).toMatchObject({ positive: ['1', 0], negative: ['2', 0] })
  })

  test('a seed goes to the widgets a person opened for it, and the server has its node', () => {
    const seed = definitions.PrimitiveInt!
    const sampler = (id: number, open: boolean) => ({
      id,
      type: 'KSampler',
      inputs: [{ ...socket('seed', 'INT', null), widget: { name: 'seed' } }],
      properties: { ue_properties: { widget_ue_connectable: { seed: open } } },
      widgets_values: [5, 'fixed', 20, 7, 'euler', 'normal', 1],
    })
    const { prompt } = convert(
      [
        { id: 1, type: 'Seed Everywhere', outputs: [{ name: 'INT', type: 'INT' }], widgets_values: [7] },
        sampler(2, true),
        sampler(3, false),
      ],
      [],
      { 'Seed Everywhere': { ...seed, name: 'Seed Everywhere' } },
    )
    expect([prompt['2']!.inputs.seed, prompt['3']!.inputs.seed]).toEqual([['1', 0], 5])
    expect(prompt['1']!.class_type).toBe('Seed Everywhere')
  })

  test('its own nodes are in the prompt where the server has them, and left out where it has not', () => {
    const own = {
      'Anything Everywhere': {
        ...definitions.PreviewAny!,
        name: 'Anything Everywhere',
        python_module: 'custom_nodes.cg-use-everywhere',
        input: { required: {}, optional: { anything: ['*', {}] } },
      } as NodeDefinition,
    }
    const nodes = [image(1), everywhere(11, 1), save(3, null)]
    const links = [[1, 1, 0, 11, 0, 'IMAGE']]
    expect(Object.keys(convert(nodes, links, own).prompt)).toEqual(['1', '3', '11'])
    const without = convert(nodes, links)
    expect(Object.keys(without.prompt)).toEqual(['1', '3'])
    expect(without.prompt['3']!.inputs.images).toEqual(['1', 0])
  })

  test.each([
    ['a group', everywhere(11, 1), { group_restricted: 1 }],
    ['a pattern that may not end', everywhere(11, 1, 'Anything Everywhere?', ['(a+)+$', '.*']), {}],
    ['a rule of a later version', everywhere(11, 1), { ue_properties: { version: '9', moon_phase: 'full' } }],
  ])('restricted to %s is a loss, not a guess', (_, node, properties) => {
    const converted = convert([image(1), { ...node, properties }, save(3, null)], [[1, 1, 0, 11, 0, 'IMAGE']])
    expect(told(converted, 'loss')).toEqual(['use-everywhere-unclear 11'])
    expect(converted.prompt['3']!.inputs).not.toHaveProperty('images')
  })
})

describe('files of the first years', () => {
  const one = (type: string, node: JsonObject) => convert([{ id: 1, type, ...node }])

  test('a node without sockets, properties or mode has its values', () => {
    expect(one('CLIPTextEncode', { widgets_values: ['a cat'] }).prompt['1']!.inputs).toEqual({ text: 'a cat' })
  })
  test('a node without stored values has its class’s', () => {
    expect(one('EmptyLatentImage', {}).prompt['1']!.inputs).toEqual({ width: 512, height: 512, batch_size: 1 })
  })
  test('an empty choice is the first one, and a sampler named as its function is that sampler', () => {
    const { inputs } = one('KSampler', { widgets_values: [5, true, 20, 7, 'sample_dpmpp_2m', null, 1] }).prompt['1']!
    expect(inputs).toMatchObject({ sampler_name: 'dpmpp_2m', scheduler: 'simple' })
  })
  test('a widget made an input keeps its place among the values, and the connection counts', () => {
    const converted = convert(
      [
        {
          id: 1,
          type: 'PrimitiveNode',
          outputs: [{ name: 'INT', type: 'INT', links: [1] }],
          widgets_values: [77, 'randomize'],
        },
        {
          id: 2,
          type: 'KSampler',
          inputs: [{ ...socket('seed', 'INT', 1), widget: { name: 'seed', config: ['INT', { default: 0 }] } }],
          widgets_values: [5, 'randomize', 20, 7, 'euler', 'normal', 1],
        },
      ],
      [[1, 1, 0, 2, 0, 'INT']],
    )
    expect(converted.prompt['2']!.inputs).toMatchObject({ seed: 77, steps: 20, cfg: 7 })
    expect(converted.problems).toEqual([])
  })
})
