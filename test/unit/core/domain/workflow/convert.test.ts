import { existsSync, readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Prompt } from '../../../../../core/contract/comfyui.ts'
import { type Json, type JsonObject, parseJson, writeJson } from '../../../../../core/contract/json.ts'
import { convertWorkflow, findCycle } from '../../../../../core/domain/workflow/convert.ts'
import { findParameters } from '../../../../../core/domain/workflow/parameters.ts'
import { readWorkflow } from '../../../../../core/domain/workflow/read.ts'
import { definitions } from '../../../../kit/definitions.ts'
import { stopwatch } from '../../../../kit/stopwatch.ts'

const convert = (workflow: unknown) =>
  convertWorkflow(readWorkflow('w.json', { json: writeJson(workflow) }), definitions)
const inputsOf = (prompt: Prompt) =>
  Object.fromEntries(Object.entries(prompt).map(([id, { class_type, inputs }]) => [id, { class_type, inputs }]))
const codes = ({ problems }: ReturnType<typeof convert>) =>
  problems.filter(({ kind }) => kind !== 'warning').map(({ code, node }) => `${code} ${node}`)
const warnings = ({ problems }: ReturnType<typeof convert>) =>
  problems.filter(({ kind }) => kind === 'warning').map(({ code, node }) => `${code} ${node}`)

const input = (name: string, type: string, link: number | null) => ({ name, type, link })
const widget = (name: string, type: string, link: number | null) => ({ name, type, link, widget: { name } })
const save = (id: number, link: number) => ({
  id,
  type: 'SaveImage',
  inputs: [input('images', 'IMAGE', link)],
  widgets_values: ['x'],
})

/** Bypassed LoRA, primitive, note, reroute and a subgraph: comfyui.md's worked example. */
const worked = {
  version: 0.4,
  nodes: [
    {
      id: 1,
      type: 'CheckpointLoaderSimple',
      mode: 0,
      outputs: [
        { name: 'MODEL', type: 'MODEL' },
        { name: 'CLIP', type: 'CLIP' },
        { name: 'VAE', type: 'VAE' },
      ],
      widgets_values: ['sd15.safetensors'],
    },
    {
      id: 2,
      type: 'LoraLoader',
      mode: 4,
      inputs: [input('model', 'MODEL', 1), input('clip', 'CLIP', 2)],
      outputs: [
        { name: 'MODEL', type: 'MODEL' },
        { name: 'CLIP', type: 'CLIP' },
      ],
      widgets_values: ['x.safetensors', 1, 1],
    },
    { id: 3, type: 'CLIPTextEncode', inputs: [input('clip', 'CLIP', 4)], widgets_values: ['a cat'] },
    { id: 4, type: 'CLIPTextEncode', inputs: [input('clip', 'CLIP', 5)], widgets_values: ['blurry'] },
    {
      id: 5,
      type: 'KSampler',
      inputs: [
        input('model', 'MODEL', 3),
        input('positive', 'CONDITIONING', 6),
        input('negative', 'CONDITIONING', 7),
        input('latent_image', 'LATENT', 8),
        widget('seed', 'INT', 9),
      ],
      widgets_values: [123, 'randomize', 20, 7, 'euler', 'normal', 1],
    },
    { id: 6, type: 'EmptyLatentImage', widgets_values: [512, 512, 1] },
    {
      id: 7,
      type: 'S',
      inputs: [input('latent', 'LATENT', 10), input('vae', 'VAE', 12), widget('prefix', 'STRING', null)],
      properties: { proxyWidgets: [['-1', 'prefix']] },
      widgets_values: ['cats/shot'],
    },
    {
      id: 8,
      type: 'PrimitiveNode',
      outputs: [{ name: 'INT', type: 'INT', links: [9] }],
      widgets_values: [777, 'fixed'],
    },
    { id: 9, type: 'Note', widgets_values: ['hi'] },
    {
      id: 10,
      type: 'Reroute',
      inputs: [{ name: '', type: '*', link: 11 }],
      outputs: [{ name: '', type: '*', links: [12] }],
    },
  ],
  links: [
    ...[
      [1, 1, 0, 2, 0, 'MODEL'],
      [2, 1, 1, 2, 1, 'CLIP'],
      [3, 2, 0, 5, 0, 'MODEL'],
      [4, 2, 1, 3, 0, 'CLIP'],
      [5, 2, 1, 4, 0, 'CLIP'],
      null,
    ],
    ...[
      [6, 3, 0, 5, 1, 'CONDITIONING'],
      [7, 4, 0, 5, 2, 'CONDITIONING'],
      [8, 6, 0, 5, 3, 'LATENT'],
      [9, 8, 0, 5, 4, 'INT'],
    ],
    ...[
      [10, 5, 0, 7, 0, 'LATENT'],
      [11, 1, 2, 10, 0, 'VAE'],
      [12, 10, 0, 7, 1, 'VAE'],
    ],
  ],
  definitions: {
    subgraphs: [
      {
        id: 'S',
        name: 'Save',
        inputs: [
          { name: 'latent', type: 'LATENT' },
          { name: 'vae', type: 'VAE' },
          { name: 'prefix', type: 'STRING' },
        ],
        outputs: [],
        nodes: [
          { id: 1, type: 'VAEDecode', inputs: [input('samples', 'LATENT', 1), input('vae', 'VAE', 2)] },
          {
            id: 2,
            type: 'SaveImage',
            inputs: [input('images', 'IMAGE', 4), widget('filename_prefix', 'STRING', 3)],
            widgets_values: ['ComfyUI'],
          },
        ],
        links: [
          { id: 1, origin_id: -10, origin_slot: 0, target_id: 1, target_slot: 0 },
          { id: 2, origin_id: -10, origin_slot: 1, target_id: 1, target_slot: 1 },
          { id: 3, origin_id: -10, origin_slot: 2, target_id: 2, target_slot: 1 },
          { id: 4, origin_id: 1, origin_slot: 0, target_id: 2, target_slot: 0 },
        ],
      },
    ],
  },
}

test('bypass, primitive, reroute, note and subgraph become the prompt the editor would export', () => {
  const converted = convert(worked)
  expect(inputsOf(converted.prompt)).toEqual({
    '1': { class_type: 'CheckpointLoaderSimple', inputs: { ckpt_name: 'sd15.safetensors' } },
    '3': { class_type: 'CLIPTextEncode', inputs: { text: 'a cat', clip: ['1', 1] } },
    '4': { class_type: 'CLIPTextEncode', inputs: { text: 'blurry', clip: ['1', 1] } },
    '5': {
      class_type: 'KSampler',
      inputs: {
        seed: 777,
        steps: 20,
        cfg: 7,
        sampler_name: 'euler',
        scheduler: 'normal',
        denoise: 1,
        model: ['1', 0],
        positive: ['3', 0],
        negative: ['4', 0],
        latent_image: ['6', 0],
      },
    },
    '6': { class_type: 'EmptyLatentImage', inputs: { width: 512, height: 512, batch_size: 1 } },
    '7:1': { class_type: 'VAEDecode', inputs: { samples: ['5', 0], vae: ['1', 2] } },
    '7:2': { class_type: 'SaveImage', inputs: { filename_prefix: 'cats/shot', images: ['7:1', 0] } },
  })
  expect(converted.problems).toEqual([])
})

test('the same graph as version 1.0, its links as objects, converts to the same prompt', () => {
  const links = worked.links.flatMap((link) =>
    link
      ? [
          {
            id: link[0],
            origin_id: link[1],
            origin_slot: link[2],
            target_id: link[3],
            target_slot: link[4],
            type: link[5],
          },
        ]
      : [],
  )
  expect(convert({ ...worked, version: 1, links }).prompt).toEqual(convert(worked).prompt)
})

/** A subgraph around one SaveImage with its prefix promoted, nested `inner` times. */
function promoted(instance: JsonObject, nodes: Json[] = []) {
  return {
    nodes: [{ id: 1, type: 'EmptyImage', widgets_values: [8, 8, 1, 0] }, { id: 2, type: 'S', ...instance }, ...nodes],
    links: [
      [1, 1, 0, 2, 0, 'IMAGE'],
      [2, 3, 0, 2, 1, 'STRING'],
    ],
    definitions: {
      subgraphs: [
        {
          id: 'S',
          inputs: [
            { name: 'image', type: 'IMAGE' },
            { name: 'prefix', type: 'STRING' },
          ],
          nodes: [
            {
              id: 5,
              type: 'SaveImage',
              inputs: [input('images', 'IMAGE', 1), widget('filename_prefix', 'STRING', 2)],
              widgets_values: ['inner'],
            },
          ],
          links: [
            { id: 1, origin_id: -10, origin_slot: 0, target_id: 5, target_slot: 0 },
            { id: 2, origin_id: -10, origin_slot: 1, target_id: 5, target_slot: 1 },
          ],
        },
      ],
    },
  }
}

describe('a value promoted to a subgraph is found', () => {
  const image = input('image', 'IMAGE', 1)
  const prefix = widget('prefix', 'STRING', null)
  test.each<[string, JsonObject, string]>([
    ['on the instance, in order', { inputs: [image, prefix], widgets_values: ['outer'] }, 'outer'],
    [
      'on the instance when its unlinked sockets were stripped',
      { inputs: [image], widgets_values: ['outer'] },
      'outer',
    ],
    [
      'beside proxyWidgets',
      { inputs: [image, prefix], properties: { proxyWidgets: [['-1', 'prefix']] }, widgets_values: ['outer'] },
      'outer',
    ],
    [
      'beside proxyWidgets that are text',
      { inputs: [image], properties: { proxyWidgets: '[["5","filename_prefix"]]' }, widgets_values: ['outer'] },
      'outer',
    ],
    [
      'inside when the instance keeps none',
      { inputs: [image, prefix], properties: { proxyWidgets: [['5', 'filename_prefix']] }, widgets_values: [] },
      'inner',
    ],
    [
      'inside when the instance keeps null',
      { inputs: [image, prefix], properties: { proxyWidgets: [['5', 'filename_prefix']] }, widgets_values: [null] },
      'inner',
    ],
    [
      'by name before position',
      { inputs: [image, prefix], widgets_values: ['position'], widgets_values_named: { prefix: 'named' } },
      'named',
    ],
  ])('%s', (_, instance, expected) => {
    const converted = convert(promoted(instance))
    expect(converted.prompt['2:5']!.inputs).toEqual({ images: ['1', 0], filename_prefix: expected })
    expect(codes(converted)).toEqual([])
  })

  test('behind a link to the instance', () => {
    const { prompt } = convert(
      promoted({ inputs: [image, widget('prefix', 'STRING', 2)], widgets_values: ['outer'] }, [
        { id: 3, type: 'PrimitiveString', widgets_values: ['linked'] },
      ]),
    )
    expect(prompt['2:5']!.inputs.filename_prefix).toEqual(['3', 0])
  })
})

test('two instances of a subgraph in a subgraph each have their own nodes and values', () => {
  const base = promoted({ inputs: [input('image', 'IMAGE', 1)], widgets_values: ['a'] })
  const inner = base.definitions.subgraphs[0]!
  const outer = {
    id: 'O',
    inputs: [
      { name: 'pic', type: 'IMAGE' },
      { name: 'name', type: 'STRING' },
    ],
    nodes: [
      {
        id: 8,
        type: 'S',
        inputs: [input('image', 'IMAGE', 1), widget('prefix', 'STRING', 2)],
        widgets_values: ['middle'],
      },
    ],
    links: [
      { id: 1, origin_id: -10, origin_slot: 0, target_id: 8, target_slot: 0 },
      { id: 2, origin_id: -10, origin_slot: 1, target_id: 8, target_slot: 1 },
    ],
    definitions: { subgraphs: [inner] },
  }
  const instance = (id: number, link: number, values: string[]) => ({
    id,
    type: 'O',
    inputs: [input('pic', 'IMAGE', link), widget('name', 'STRING', null)],
    widgets_values: values,
  })
  const converted = convert({
    nodes: [base.nodes[0], instance(2, 1, ['one']), instance(3, 2, [])],
    links: [
      [1, 1, 0, 2, 0, 'IMAGE'],
      [2, 1, 0, 3, 0, 'IMAGE'],
    ],
    definitions: { subgraphs: [outer] },
  })
  expect(inputsOf(converted.prompt)).toEqual({
    '1': expect.anything(),
    '2:8:5': { class_type: 'SaveImage', inputs: { images: ['1', 0], filename_prefix: 'one' } },
    '3:8:5': { class_type: 'SaveImage', inputs: { images: ['1', 0], filename_prefix: 'middle' } },
  })
})

test('a socket beside a widget on one subgraph input gets the same value', () => {
  const subgraph = {
    id: 'S',
    inputs: [{ name: 'width', type: 'INT' }],
    nodes: [
      { id: 5, type: 'EmptyImage', inputs: [widget('width', 'INT', 1)], widgets_values: [64, 8, 1, 0] },
      { id: 6, type: 'PreviewAny', inputs: [input('source', '*', 2)] },
    ],
    links: [
      { id: 1, origin_id: -10, origin_slot: 0, target_id: 5, target_slot: 0 },
      { id: 2, origin_id: -10, origin_slot: 0, target_id: 6, target_slot: 0 },
    ],
  }
  const sourceWith = (values: number[]) => {
    const { prompt } = convert({
      nodes: [{ id: 2, type: 'S', widgets_values: values }],
      links: [],
      definitions: { subgraphs: [subgraph] },
    })
    return [prompt['2:5']!.inputs.width, prompt['2:6']!.inputs.source]
  }
  expect(sourceWith([128])).toEqual([128, 128])
  expect(sourceWith([])).toEqual([64, 64])
})

test('a subgraph that contains itself, and one that is not in the file, are losses', () => {
  const self = { id: 'S', nodes: [{ id: 1, type: 'S' }], links: [] }
  expect(codes(convert({ nodes: [{ id: 1, type: 'S' }], links: [], definitions: { subgraphs: [self] } }))).toEqual([
    'subgraph-recursive 1:1',
  ])
  const uuid = '3fa85f64-5717-4562-b3fc-2c963f66afa6'
  expect(codes(convert({ nodes: [{ id: 1, type: uuid }], links: [] }))).toEqual([`subgraph-missing 1`])
})

test('subgraphs that multiply without end are refused', () => {
  const level = (id: number) => ({
    id: `L${id}`,
    nodes: Array.from({ length: 10 }, (_, n) => ({ id: n, type: `L${id + 1}` })),
    links: [],
  })
  const subgraphs = Array.from({ length: 9 }, (_, id) => level(id))
  expect(() => convert({ nodes: [{ id: 1, type: 'L0' }], links: [], definitions: { subgraphs } })).toThrow(
    expect.objectContaining({ code: 'import.too-many-nodes' }),
  )
})

test('Set and Get connect by name, a muted Set does not, a Get without Set is a loss', () => {
  const get = (id: number, name: string, link: number) => ({
    id,
    type: 'GetNode',
    outputs: [{ name: 'IMAGE', type: 'IMAGE', links: [link] }],
    widgets_values: [name],
  })
  const set = (id: number, name: string, link: number, mode = 0) => ({
    id,
    type: 'SetNode',
    mode,
    inputs: [input('IMAGE', 'IMAGE', link)],
    widgets_values: [name],
  })
  const converted = convert({
    nodes: [
      { id: 1, type: 'EmptyImage', widgets_values: [8, 8, 1, 0] },
      set(2, 'a', 1),
      set(3, 'b', 2, 2),
      get(4, 'a', 3),
      get(5, 'b', 4),
      get(6, 'c', 5),
      save(7, 3),
      save(8, 4),
      save(9, 5),
    ],
    links: [
      [1, 1, 0, 2, 0, 'IMAGE'],
      [2, 1, 0, 3, 0, 'IMAGE'],
      [3, 4, 0, 7, 0, 'IMAGE'],
      [4, 5, 0, 8, 0, 'IMAGE'],
      [5, 6, 0, 9, 0, 'IMAGE'],
    ],
  })
  expect(converted.prompt['7']!.inputs.images).toEqual(['1', 0])
  expect(warnings(converted)).toEqual(['link-from-muted 8'])
  expect(codes(converted)).toEqual(['no-set-node 9'])
})

test('dynamic combos bring the widgets of their choice, autogrowing inputs their connected sockets', () => {
  const converted = convert({
    nodes: [
      { id: 1, type: 'EmptyImage', widgets_values: [8, 8, 1, 0] },
      {
        id: 2,
        type: 'ResizeImageMaskNode',
        inputs: [input('input', 'IMAGE', 1)],
        widgets_values: ['scale dimensions', 512, 256, 'center', 'area'],
      },
      {
        id: 3,
        type: 'BatchImagesNode',
        inputs: [
          input('images.image0', 'IMAGE', 2),
          input('images.image1', 'IMAGE', 3),
          input('images.image2', 'IMAGE', null),
        ],
      },
      save(4, 4),
    ],
    links: [
      [1, 1, 0, 2, 0, 'IMAGE'],
      [2, 2, 0, 3, 0, 'IMAGE'],
      [3, 1, 0, 3, 1, 'IMAGE'],
      [4, 3, 0, 4, 0, 'IMAGE'],
    ],
  })
  expect(converted.prompt['2']!.inputs).toEqual({
    resize_type: 'scale dimensions',
    'resize_type.width': 512,
    'resize_type.height': 256,
    'resize_type.crop': 'center',
    scale_method: 'area',
    input: ['1', 0],
  })
  expect(converted.prompt['3']!.inputs).toEqual({ 'images.image0': ['2', 0], 'images.image1': ['1', 0] })
  expect(converted.problems).toEqual([])
})

describe('the stored values of a node', () => {
  const one = (type: string, values: Json, more: JsonObject = {}) =>
    convert({ nodes: [{ id: 1, type, widgets_values: values, ...more }], links: [] })
  const sampler = { seed: 5, steps: 20, cfg: 7, sampler_name: 'euler', scheduler: 'normal', denoise: 0.5 }
  test.each<[string, string, Json, JsonObject]>([
    ['with a control', 'KSampler', [5, 'randomize', 20, 7, 'euler', 'normal', 0.5], sampler],
    ['with the first editors’ switch', 'KSampler', [5, true, 20, 7, 'euler', 'normal', 0.5], sampler],
    ['without a control', 'KSampler', [5, 20, 7, 'euler', 'normal', 0.5], sampler],
    ['as an object', 'KSampler', { ...sampler, control_after_generate: 'fixed' }, sampler],
    ['as a list-like object', 'SaveImage', { '0': 'cats', length: 1 }, { filename_prefix: 'cats' }],
    ['with an upload button', 'LoadImage', ['a.png', 'image'], { image: 'a.png' }],
    ['without an upload button', 'LoadImage', ['a.png'], { image: 'a.png' }],
    ['of a sound with its player and button', 'LoadAudio', ['a.wav', null, ''], { audio: 'a.wav' }],
    [
      'from before an input existed',
      'DualCLIPLoader',
      ['a', 'b', 'flux'],
      { clip_name1: 'a', clip_name2: 'b', type: 'flux', device: 'default' },
    ],
    ['beyond 2^53', 'RandomNoise', [18446744073709551615n, 'fixed'], { noise_seed: 18446744073709551615n }],
    ['with a list', 'CurveEditor', [[[0, 0]]], { curve: { __type__: 'CURVE', __value__: [[0, 0]] } }],
    ['with a curve', 'CurveEditor', [{ points: [[0, 0]] }], { curve: { points: [[0, 0]] } }],
  ])('%s are brought to their inputs', (_, type, values, expected) => {
    const converted = one(type, values)
    expect(converted.prompt['1']!.inputs).toEqual(expected)
    expect(codes(converted)).toEqual([])
  })

  test('by name are surer than by position', () => {
    const { prompt } = one('KSampler', [20, 5, 'x'], { widgets_values_named: sampler })
    expect(prompt['1']!.inputs).toEqual(sampler)
  })

  test('that fit no input are a loss', () => {
    expect(codes(one('KSampler', [5, 'randomize', 20, 7, 'euler', 'normal', 1, 'more', 3]))).toContain(
      'values-left-over 1',
    )
    expect(codes(one('KSampler', ['euler', 20, 'x']))).toContain('values-misaligned 1')
  })

  test('that only a browser can make are a loss', () => {
    expect(codes(one('Load3D', ['a.glb', 'upload3dmodel', 'uploadExtraResources', 'clear', '', 512, 256]))).toContain(
      'browser-widget 1',
    )
    const { prompt } = one('Load3D', ['a.glb', 'upload3dmodel', 'uploadExtraResources', 'clear', '', 512, 256])
    expect(prompt['1']!.inputs).toMatchObject({ model_file: 'a.glb', width: 512, height: 256 })
  })

  test('of a class nobody knows are kept where the file names their inputs, else they are a loss', () => {
    const named = one('Unheard', ['x', 7], { inputs: [widget('text', 'STRING', null), widget('count', 'INT', null)] })
    expect(named.prompt['1']).toMatchObject({ class_type: 'Unheard', inputs: { text: 'x', count: 7 } })
    expect(codes(named)).toEqual(['missing-node 1'])
    expect(codes(one('Unheard', ['x', 7]))).toEqual(['values-unknown 1', 'missing-node 1'])
  })
})

test('a group node is taken apart: its inner nodes, its values, its sockets', () => {
  const group = {
    nodes: [
      { type: 'EmptyImage', outputs: [{ name: 'IMAGE', type: 'IMAGE' }], widgets_values: [8, 8, 1, 0] },
      { type: 'Reroute', inputs: [{ name: '', type: '*' }], outputs: [{ name: '', type: '*' }] },
      {
        type: 'ImageBlend',
        inputs: [input('image1', 'IMAGE', null), input('image2', 'IMAGE', null)],
        outputs: [{ name: 'IMAGE', type: 'IMAGE' }],
        widgets_values: [0.5, 'normal'],
      },
    ],
    links: [
      [null, 0, 1, 0, 9, 'IMAGE'],
      [0, 0, 2, 0, 1, 'IMAGE'],
      [1, 0, 2, 1, 1, 'IMAGE'],
    ],
    external: [[2, 0, 'IMAGE']],
  }
  const workflow = (values: Json[]) => ({
    nodes: [
      { id: 1, type: 'EmptyImage', widgets_values: [16, 16, 1, 0] },
      {
        id: 2,
        type: 'workflow/Mix',
        inputs: [input('image2', 'IMAGE', 1)],
        outputs: [{ name: 'IMAGE', type: 'IMAGE', links: [2] }],
        widgets_values: values,
      },
      save(3, 2),
    ],
    links: [
      [1, 1, 0, 2, 0, 'IMAGE'],
      [2, 2, 0, 3, 0, 'IMAGE'],
    ],
    extra: { groupNodes: { Mix: group } },
  })
  const converted = convert(workflow([32, 32, 1, 7, 0.25, 'multiply']))
  expect(inputsOf(converted.prompt)).toEqual({
    '1': expect.anything(),
    '2:0': { class_type: 'EmptyImage', inputs: { width: 32, height: 32, batch_size: 1, color: 7 } },
    '2:2': {
      class_type: 'ImageBlend',
      inputs: { image1: ['2:0', 0], image2: ['1', 0], blend_factor: 0.25, blend_mode: 'multiply' },
    },
    '3': { class_type: 'SaveImage', inputs: { filename_prefix: 'x', images: ['2:2', 0] } },
  })
  expect(converted.problems).toEqual([])
  expect(codes(convert(workflow([1, 2])))).toContain('group-node 2')
})

test('connections that come from nowhere, run in a circle or lead to an input that is gone are losses', () => {
  const reroute = (id: number, link: number) => ({ id, type: 'Reroute', inputs: [{ name: '', type: '*', link }] })
  const image = { id: 1, type: 'EmptyImage', widgets_values: [8, 8, 1, 0] }
  expect(codes(convert({ nodes: [save(1, 5)], links: [] }))).toEqual(['dangling-link 1'])
  expect(codes(convert({ nodes: [save(1, 5)], links: [[5, 9, 0, 1, 0, 'IMAGE']] }))).toEqual(['dangling-link 1'])
  expect(
    codes(
      convert({
        nodes: [reroute(2, 1), reroute(3, 2), save(4, 3)],
        links: [
          [1, 3, 0, 2, 0, '*'],
          [2, 2, 0, 3, 0, '*'],
          [3, 3, 0, 4, 0, '*'],
        ],
      }),
    ),
  ).toEqual(['link-cycle 4'])
  expect(
    codes(
      convert({
        nodes: [image, { ...save(2, 1), inputs: [input('pixels', 'IMAGE', 1)] }],
        links: [[1, 1, 0, 2, 0, 'IMAGE']],
      }),
    ),
  ).toEqual(['unknown-input 2'])
})

test('nodes that feed each other are told, in a workflow and in a prompt', () => {
  const invert = (id: number, link: number) => ({ id, type: 'ImageInvert', inputs: [input('image', 'IMAGE', link)] })
  const circle = convert({
    nodes: [invert(1, 2), invert(2, 1)],
    links: [
      [1, 1, 0, 2, 0, 'IMAGE'],
      [2, 2, 0, 1, 0, 'IMAGE'],
    ],
  })
  expect(circle.problems.map(({ message }) => message)).toEqual(['These nodes feed each other in a circle: 1 → 2 → 1.'])
  expect(codes(convert(circle.prompt))).toEqual(['cycle 1'])
})

test('a prompt passes through without what servers left in it', () => {
  const prompt = { '3': { class_type: 'EmptyImage', inputs: { width: 9 }, is_changed: [null], _meta: { title: 'E' } } }
  expect(convert(prompt).prompt).toEqual({
    '3': { class_type: 'EmptyImage', inputs: { width: 9 }, _meta: { title: 'E' } },
  })
  expect(codes(convert({ '3': { class_type: 'SaveImage', inputs: { images: ['9', 0] } } }))).toEqual(['bad-link 3'])
})

test('a title that is no text is none', () => {
  const odd = { class_type: 'EmptyImage', inputs: { width: 9 }, _meta: { title: { toString: null }, by: 1 } }
  const { prompt } = convert({ 3: odd })
  expect(prompt).toEqual({ 3: { ...odd, _meta: { by: 1 } } })
  expect(findParameters(prompt, definitions, null)).toMatchObject([{ nodeTitle: 'Empty Image' }])
})

test('a broadcasting node feeds what is open, and says so; two that offer the same are a loss', () => {
  const everywhere = (id: number, link: number) => ({
    id,
    type: 'Anything Everywhere',
    inputs: [{ name: 'IMAGE', type: '*', link }],
  })
  const image = (id: number) => ({
    id,
    type: 'EmptyImage',
    outputs: [{ name: 'IMAGE', type: 'IMAGE' }],
    widgets_values: [8, 8, 1, 0],
  })
  const open = { id: 9, type: 'SaveImage', inputs: [input('images', 'IMAGE', null)], widgets_values: ['x'] }
  const single = convert({ nodes: [image(1), everywhere(2, 1), open], links: [[1, 1, 0, 2, 0, 'IMAGE']] })
  expect(single.prompt['9']!.inputs.images).toEqual(['1', 0])
  expect(warnings(single)).toEqual(['use-everywhere 2'])
  const both = convert({
    nodes: [image(1), image(3), everywhere(2, 1), everywhere(4, 2), open],
    links: [
      [1, 1, 0, 2, 0, 'IMAGE'],
      [2, 3, 0, 4, 0, 'IMAGE'],
    ],
  })
  expect(codes(both)).toEqual(['use-everywhere-unclear 9'])
})

test('10 000 nodes in one chain of reroutes and samplers convert in under a second', () => {
  const nodes: Json[] = [{ id: 0, type: 'EmptyImage', widgets_values: [8, 8, 1, 0] }]
  const links: Json[] = []
  for (let id = 1; id < 10_000; id++) {
    const type = id % 2 ? 'Reroute' : 'ImageInvert'
    nodes.push({
      id,
      type,
      inputs: [{ name: id % 2 ? '' : 'image', type: 'IMAGE', link: id }],
      outputs: [{ name: 'IMAGE', type: 'IMAGE', links: [id + 1] }],
    })
    links.push([id, id - 1, 0, id, 0, 'IMAGE'])
  }
  const text = writeJson({ nodes, links })
  const took = stopwatch()
  const { prompt, problems } = convertWorkflow(readWorkflow('big.json', { json: text }), definitions)
  expect(took()).toBeLessThan(1000)
  expect(Object.keys(prompt)).toHaveLength(5000)
  expect(problems).toEqual([])
})

test('a chain of 20 000 reroutes is walked, not recursed', () => {
  const nodes: Json[] = [{ id: 0, type: 'EmptyImage', widgets_values: [8, 8, 1, 0] }, save(20_001, 20_001)]
  const links: Json[] = [[20_001, 20_000, 0, 20_001, 0, 'IMAGE']]
  for (let id = 1; id <= 20_000; id++) {
    nodes.push({ id, type: 'Reroute', inputs: [{ name: '', type: '*', link: id }] })
    links.push([id, id - 1, 0, id, 0, '*'])
  }
  expect(convert({ nodes, links }).prompt['20001']!.inputs.images).toEqual(['0', 0])
})

/** Any graph of pictures: sources, filters in every mode, reroutes and savers, connected backwards, or anyhow. */
const graphs = (acyclic: boolean) =>
  fc
    .array(
      fc.record({
        kind: fc.constantFrom('source', 'invert', 'reroute', 'save'),
        mode: fc.constantFrom(0, 0, 0, 2, 4),
        from: fc.nat(30),
      }),
      { minLength: 1, maxLength: 30 },
    )
    .map((specs) => {
      const links: Json[] = []
      const nodes = specs.map(({ kind, mode, from }, id) => {
        const link = 100 + id
        const origin = acyclic ? (id === 0 ? -1 : from % id) : from % specs.length
        const connected = kind !== 'source' && origin >= 0 && specs[origin]!.kind !== 'save'
        if (connected) links.push([link, origin, 0, id, 0, 'IMAGE'])
        const socket = (name: string) => [{ name, type: 'IMAGE', link: connected ? link : null }]
        const outputs = [{ name: 'IMAGE', type: 'IMAGE' }]
        if (kind === 'source') return { id, mode, type: 'EmptyImage', outputs, widgets_values: [8, 8, 1, 0] }
        if (kind === 'invert') return { id, mode, type: 'ImageInvert', inputs: socket('image'), outputs }
        if (kind === 'reroute') return { id, mode: 0, type: 'Reroute', inputs: socket(''), outputs }
        return { id, mode, type: 'SaveImage', inputs: socket('images'), widgets_values: ['x'] }
      })
      return { nodes, links }
    })

test('whatever is bypassed or rerouted, every active node and its nearest active source are in the prompt', () => {
  fc.assert(
    fc.property(graphs(true), ({ nodes, links }) => {
      const { prompt, problems } = convert({ nodes, links })
      const active = nodes.filter(({ type, mode }) => type !== 'Reroute' && mode === 0)
      expect(Object.keys(prompt).sort()).toEqual(active.map(({ id }) => String(id)).sort())
      const originOf = (id: number) =>
        (links as [number, number, number, number][]).find(([, , , to]) => to === id)?.[1]
      for (const { id, type } of active) {
        let at = originOf(id)
        // upstream through reroutes and bypassed filters, as a person would follow the wires
        while (
          at !== undefined &&
          (nodes[at]!.type === 'Reroute' || (nodes[at]!.mode === 4 && nodes[at]!.type === 'ImageInvert'))
        )
          at = originOf(at)
        const source = at !== undefined && nodes[at]!.mode === 0 ? [String(at), 0] : undefined
        expect(prompt[id]!.inputs[type === 'SaveImage' ? 'images' : 'image']).toEqual(source)
      }
      expect(problems.filter(({ kind }) => kind === 'loss')).toEqual([])
    }),
    { numRuns: 500, seed: 2 },
  )
})

test('graphs connected anyhow, in circles too, end and keep every active node', () => {
  fc.assert(
    fc.property(graphs(false), ({ nodes, links }) => {
      const { prompt, problems } = convert({ nodes, links })
      expect(Object.keys(prompt)).toHaveLength(
        nodes.filter(({ type, mode }) => type !== 'Reroute' && mode === 0).length,
      )
      expect(problems.some(({ code }) => code === 'cycle')).toBe(findCycle(prompt) !== null)
    }),
    { numRuns: 500, seed: 3 },
  )
})

const corpus = path.resolve(import.meta.dirname, '../../../../../../shared/corpus')
const pairs = path.join(corpus, 'workflow-pairs')

describe.skipIf(!existsSync(pairs))('workflows beside the prompt the editor made of them', () => {
  const captured = ['0.3.64', '0.33'] as const
  const earlier = path.join(corpus, 'object_info-0.3.64.json')
  /** Values old editors sent for their upload buttons and previews; no server reads them. */
  const buttons = new Set(['upload', 'choose file to upload', 'video-preview'])
  const files = existsSync(pairs) ? readdirSync(pairs) : []
  const known = {
    '0.3.64': existsSync(earlier) ? (parseJson(readFileSync(earlier, 'utf8')) as unknown as typeof definitions) : {},
    '0.33': definitions,
  }

  test.each(captured.flatMap((version) => files.map((file) => ({ version, file }))))(
    '$file, by ComfyUI $version',
    ({ version, file }) => {
      const pair = parseJson(readFileSync(path.join(pairs, file), 'utf8')) as {
        workflow: Json
        prompt: Record<string, JsonObject>
      }
      const { prompt, problems } = convertWorkflow(
        readWorkflow(file, { json: writeJson(pair.workflow) }),
        known[version],
      )
      expect(problems.filter(({ kind }) => kind !== 'warning')).toEqual([])
      const ids = alike(prompt, pair.prompt)
      const theirs = Object.fromEntries(
        Object.entries(pair.prompt).map(([id, { class_type, inputs }]) => {
          const kept = Object.entries(inputs as JsonObject).filter(([name]) => !buttons.has(name))
          return [id, { class_type, inputs: Object.fromEntries(kept) }]
        }),
      )
      const ours = Object.fromEntries(
        Object.entries(prompt).map(([id, { class_type, inputs }]) => {
          const their = theirs[ids.get(id) ?? id]?.inputs as JsonObject | undefined
          // Inputs that newer definitions added are not in an old prompt.
          const kept = Object.entries(inputs).filter(
            ([name, value]) => Array.isArray(value) || (their && name in their),
          )
          const renamed = kept.map(([name, value]) => [
            name,
            Array.isArray(value) ? [ids.get(String(value[0])) ?? value[0], value[1]] : value,
          ])
          return [ids.get(id) ?? id, { class_type, inputs: Object.fromEntries(renamed) }]
        }),
      )
      expect(ours).toEqual(theirs)
    },
  )

  /**
   * An editor that had just grouped nodes still sent their ids from before, which its file does not keep. Nodes of a
   * group are matched by class where that leaves one choice; the comparison of their links then proves the match.
   */
  function alike(ours: Prompt, theirs: Record<string, JsonObject>): Map<string, string> {
    const ids = new Map<string, string>()
    const extra = Object.keys(theirs).filter((id) => !(id in ours))
    for (const id of Object.keys(ours).filter((one) => !(one in theirs) && one.includes(':'))) {
      const same = extra.filter((other) => theirs[other]!.class_type === ours[id]!.class_type)
      if (same.length === 1) ids.set(id, same[0]!)
    }
    return ids
  }

  test.each(files)('%s passes through when its prompt is beside it', (file) => {
    const text = readFileSync(path.join(pairs, file), 'utf8')
    const { prompt } = convertWorkflow(readWorkflow(file, { json: text }), definitions)
    expect(Object.keys(prompt)).toEqual(Object.keys((parseJson(text) as { prompt: JsonObject }).prompt))
  })
})
