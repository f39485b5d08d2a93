import { readFileSync } from 'node:fs'
import path from 'node:path'
import type { ObjectInfo, Prompt } from '../../core/contract/comfyui.ts'
import { type Json, parseJson } from '../../core/contract/json.ts'

interface Run {
  name: string
  file: Json
  /** For `cli run`. */
  args: string[]
}
const root = path.resolve(import.meta.dirname, '../..')
const flags = (option: string, values: Record<string, string | number>) =>
  Object.entries(values).flatMap(([name, value]) => [option, `${name}=${value}`])

const picture: Prompt = {
  '1': {
    class_type: 'EmptyImage',
    inputs: { width: 64, height: 48, batch_size: 1, color: 0 },
    _meta: { title: 'A plain' },
  },
  '2': { class_type: 'ImageInvert', inputs: { image: ['1', 0] } },
  '3': {
    class_type: 'SaveImage',
    inputs: { filename_prefix: 'picture', images: ['2', 0] },
  },
}

const SUBGRAPH = '7d1f0c52-9a43-4f0e-8a51-3f1f6f0b2a10'
const link = (id: number, from: number, fromSlot: number, to: number, slot: number, type: string) => [
  ...[id, from, fromSlot, to, slot, type],
]
const output = (name: string, type: string, links: number[]) => ({
  name,
  type,
  links,
  slot_index: 0,
})
const widget = (name: string, link: number | null, type = 'INT') => ({
  name,
  type,
  link,
  widget: { name },
})

/** Two instances of a subgraph with widgets of their own, a primitive, a reroute, and a node that is bypassed. */
const subgraphs = {
  id: '2f9c0d4e-6c0a-4c6b-9d0e-0a9b5c3d1e22',
  revision: 0,
  last_node_id: 9,
  last_link_id: 8,
  nodes: [
    instance(1, [100, 200], [80, 'first'], 1),
    instance(2, [100, 500], [96, 'second'], 2),
    {
      ...at(3, 'ImageBatch', [500, 200]),
      inputs: [
        { name: 'image1', type: 'IMAGE', link: 3 },
        { name: 'image2', type: 'IMAGE', link: 2 },
      ],
      outputs: [output('IMAGE', 'IMAGE', [4])],
    },
    {
      ...at(4, 'Reroute', [380, 120]),
      inputs: [{ name: '', type: '*', link: 1 }],
      outputs: [output('', 'IMAGE', [3])],
      properties: { showOutputText: false, horizontal: false },
    },
    {
      ...at(5, 'ImageInvert', [760, 200]),
      mode: 4,
      inputs: [{ name: 'image', type: 'IMAGE', link: 4 }],
      outputs: [output('IMAGE', 'IMAGE', [5])],
    },
    {
      ...at(6, 'ImageScaleBy', [980, 200]),
      inputs: [{ name: 'image', type: 'IMAGE', link: 5 }, widget('scale_by', 6, 'FLOAT')],
      outputs: [output('IMAGE', 'IMAGE', [7])],
      widgets_values: ['nearest-exact', 1],
    },
    {
      ...at(7, 'PrimitiveNode', [760, 420]),
      outputs: [
        {
          name: 'FLOAT',
          type: 'FLOAT',
          links: [6],
          widget: { name: 'scale_by' },
        },
      ],
      properties: { 'Run widget replace on values': false },
      widgets_values: [1.5, 'fixed'],
    },
    {
      ...at(8, 'SaveImage', [1260, 200]),
      inputs: [{ name: 'images', type: 'IMAGE', link: 7 }],
      widgets_values: ['subgraphs'],
    },
  ],
  links: [
    link(1, 1, 0, 4, 0, 'IMAGE'),
    link(2, 2, 0, 3, 1, 'IMAGE'),
    link(3, 4, 0, 3, 0, 'IMAGE'),
    link(4, 3, 0, 5, 0, 'IMAGE'),
    link(5, 5, 0, 6, 0, 'IMAGE'),
    link(6, 7, 0, 6, 1, 'FLOAT'),
    link(7, 6, 0, 8, 0, 'IMAGE'),
  ],
  groups: [],
  config: {},
  extra: {},
  version: 0.4,
  definitions: {
    subgraphs: [
      {
        id: SUBGRAPH,
        version: 1,
        state: {
          lastGroupId: 0,
          lastNodeId: 12,
          lastLinkId: 13,
          lastRerouteId: 0,
        },
        revision: 0,
        config: {},
        name: 'Plain and inverted',
        inputNode: { id: -10, bounding: [0, 0, 120, 80] },
        outputNode: { id: -20, bounding: [700, 0, 120, 60] },
        inputs: [
          {
            id: '0b0b2c1a-0000-4000-8000-000000000001',
            name: 'width',
            type: 'INT',
            linkIds: [11],
            pos: [100, 20],
          },
          {
            id: '0b0b2c1a-0000-4000-8000-000000000002',
            name: 'note',
            type: 'STRING',
            linkIds: [12],
            pos: [100, 40],
          },
        ],
        outputs: [
          {
            id: '0b0b2c1a-0000-4000-8000-000000000003',
            name: 'IMAGE',
            type: 'IMAGE',
            linkIds: [14],
            pos: [720, 20],
          },
        ],
        widgets: [],
        nodes: [
          {
            ...at(11, 'EmptyImage', [180, 0]),
            inputs: [widget('width', 11)],
            outputs: [output('IMAGE', 'IMAGE', [13])],
            widgets_values: [64, 48, 1, 255],
          },
          {
            ...at(12, 'ImageInvert', [460, 0]),
            inputs: [{ name: 'image', type: 'IMAGE', link: 13 }],
            outputs: [output('IMAGE', 'IMAGE', [14])],
          },
          {
            ...at(13, 'PreviewAny', [460, 160]),
            inputs: [{ name: 'source', type: '*', link: 15 }],
          },
          {
            ...at(14, 'PrimitiveString', [180, 260]),
            inputs: [widget('value', 12, 'STRING')],
            outputs: [output('STRING', 'STRING', [15])],
            widgets_values: ['inside'],
          },
        ],
        groups: [],
        links: [
          {
            id: 11,
            origin_id: -10,
            origin_slot: 0,
            target_id: 11,
            target_slot: 0,
            type: 'INT',
          },
          {
            id: 12,
            origin_id: -10,
            origin_slot: 1,
            target_id: 14,
            target_slot: 0,
            type: 'STRING',
          },
          {
            id: 13,
            origin_id: 11,
            origin_slot: 0,
            target_id: 12,
            target_slot: 0,
            type: 'IMAGE',
          },
          {
            id: 14,
            origin_id: 12,
            origin_slot: 0,
            target_id: -20,
            target_slot: 0,
            type: 'IMAGE',
          },
          {
            id: 15,
            origin_id: 14,
            origin_slot: 0,
            target_id: 13,
            target_slot: 0,
            type: 'STRING',
          },
        ],
        extra: {},
      },
    ],
  },
}

function at(id: number, type: string, pos: [number, number]) {
  return {
    id,
    type,
    pos,
    size: [210, 120],
    flags: {},
    order: id,
    mode: 0,
    inputs: [],
    outputs: [],
    properties: {},
  }
}
function instance(id: number, pos: [number, number], values: Json[], to: number) {
  return {
    ...at(id, SUBGRAPH, pos),
    inputs: [widget('width', null), widget('note', null, 'STRING')],
    outputs: [output('IMAGE', 'IMAGE', [to])],
    widgets_values: values,
  }
}

/** What any server can run, and what one with a checkpoint can. */
export function runs(definitions: ObjectInfo): Run[] {
  const [checkpoints] = (definitions.CheckpointLoaderSimple?.input?.required?.ckpt_name ?? [[]]) as [Json]
  const checkpoint = Array.isArray(checkpoints) ? checkpoints[0] : undefined
  const sample = parseJson(readFileSync(path.join(root, 'resources/sample/en.json'), 'utf8'))
  const small = {
    checkpoint: String(checkpoint),
    width: 64,
    height: 64,
    steps: 2,
    prompt: 'a {red|blue} fox, “夜” \\{x\\}',
  }
  return [
    {
      name: 'prompt',
      file: picture as unknown as Json,
      args: flags('--grid', { '1.width': '64,80', '1.color': '0,255' }),
    },
    {
      name: 'subgraphs',
      file: subgraphs as unknown as Json,
      args: [
        ...flags('--set', {
          '1:11.width': 72,
          '2:11.width': 88,
          '1:14.value': 'one',
          '8.filename_prefix': 'x/y',
        }),
        ...flags('--grid', { '6.scale_by': '0.5,2' }),
      ],
    },
    ...(typeof checkpoint === 'string'
      ? [
          {
            name: 'sample',
            file: sample,
            args: [...flags('--set', small), ...flags('--grid', { cfg: '4,7.5', seed: '1,9007199254740991' })],
          },
        ]
      : []),
  ]
}
