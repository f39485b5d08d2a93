import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { AppError } from '../../../../../core/contract/errors.ts'
import { type Json, writeJson } from '../../../../../core/contract/json.ts'
import { Inspection } from '../../../../../core/contract/workflow.ts'
import { drawGraph } from '../../../../../core/domain/workflow/graph.ts'
import { inspectWorkflow } from '../../../../../core/domain/workflow/inspect.ts'
import { fitFiles } from '../../../../../core/domain/workflow/needs.ts'
import { readWorkflow } from '../../../../../core/domain/workflow/read.ts'
import { advise } from '../../../../../core/domain/workflow/suggest.ts'
import { definitions } from '../../../../kit/definitions.ts'

const inspect = (value: unknown, from = 'bundled', known = definitions) =>
  inspectWorkflow(readWorkflow('w.json', { json: writeJson(value) }), 'json', known, { from })
/** A server that has these checkpoints. */
const serverWith = (...files: string[]) => ({
  ...definitions,
  CheckpointLoaderSimple: {
    ...definitions.CheckpointLoaderSimple!,
    input: { required: { ckpt_name: [files] as [string[]] } },
  },
})
const loader = (ckpt_name: string) => ({ '1': { class_type: 'CheckpointLoaderSimple', inputs: { ckpt_name } } })

test.each([
  ['bundled', 'a.safetensors', [], null],
  ['gpu', 'a.safetensors', ['a.safetensors'], true],
  ['gpu', 'sub/A.safetensors', ['sub\\a.safetensors'], true],
  ['gpu', 'a.safetensors', ['sd/a.safetensors'], true],
  ['gpu', 'a.safetensors', ['b.safetensors'], false],
  ['gpu', 'a.safetensors', ['x/a.safetensors', 'y/a.safetensors'], false],
] as const)('by %s definitions %s among %j is present: %j', (from, file, there, present) => {
  const { models, problems } = inspect(loader(file), from, serverWith(...there))
  expect(models).toMatchObject([{ file, folder: 'checkpoints', node: '1', input: 'ckpt_name', present, sources: [] }])
  expect(problems.some(({ code }) => code === 'missing-model')).toBe(present === false)
})

test('a prompt is sent with its models named as the worker names them, and shared where nothing changes', () => {
  const prompt = { ...loader('sub/A.safetensors'), '2': { class_type: 'EmptyImage', inputs: {} } }
  const fitted = fitFiles(prompt, serverWith('sub\\a.safetensors'))
  expect(fitted['1']!.inputs.ckpt_name).toBe('sub\\a.safetensors')
  expect(fitted['2']).toBe(prompt['2'])
  expect(fitFiles(prompt, serverWith('b.safetensors'))).toBe(prompt)
})

test('models are said where to get, custom nodes where they are from, paid nodes by name', () => {
  const model = {
    name: 'a.safetensors',
    url: 'https://example.com/a.safetensors',
    directory: 'checkpoints',
    hash: 'ff',
  }
  const found = inspect({
    nodes: [
      {
        id: 1,
        type: 'CheckpointLoaderSimple',
        widgets_values: ['a.safetensors'],
        properties: { models: [model, { name: 'a.safetensors', url: 'file:///x' }] },
      },
      { id: 2, type: 'Unheard', properties: { cnr_id: 'some-pack', aux_id: 'owner/repo' } },
      { id: 3, type: 'FluxProUltraImageNode', widgets_values: [] },
    ],
    links: [],
  })
  expect(found.models[0]!.sources).toEqual([{ url: model.url, hash: 'ff' }])
  expect(found.customNodes).toMatchObject([{ classType: 'Unheard', candidates: ['owner/repo', 'some-pack'] }])
  expect(found.paid).toEqual(Object.hasOwn(definitions, 'FluxProUltraImageNode') ? ['FluxProUltraImageNode'] : [])
})

test('a class that a newer ComfyUI brings is no custom node to look for; the server is to be updated', () => {
  const core = { definitions, version: '0.33.0' }
  const { EmptyImage: _, ...older } = definitions
  const read = (properties: object) =>
    readWorkflow('w.json', {
      json: writeJson({
        nodes: [
          { id: 1, type: 'EmptyImage', widgets_values: [8, 8, 1, 0] },
          { id: 2, type: 'Later', properties },
        ],
        links: [],
      }),
    })
  const from = { from: 'gpu', version: '0.3.64' }
  const known = inspectWorkflow(read({ cnr_id: 'comfy-core', ver: '0.40.1' }), 'json', older, from, core)
  expect(known.customNodes).toMatchObject([
    { classType: 'EmptyImage', candidates: ['comfy-core'], packs: [{ title: 'ComfyUI 0.33.0' }] },
    { classType: 'Later', candidates: ['comfy-core'], packs: [{ title: 'ComfyUI 0.40.1' }] },
  ])
  expect(known.problems.find(({ code }) => code === 'comfyui-too-old')?.facts).toEqual({
    classTypes: 'Later, EmptyImage',
    version: '0.40.1',
    at: '0.3.64',
  })
  const unsaid = inspectWorkflow(read({}), 'json', definitions, from, core)
  expect(unsaid.customNodes).toMatchObject([{ classType: 'Later', candidates: [] }])
  expect(unsaid.problems.some(({ code }) => code === 'comfyui-too-old')).toBe(false)
})

test('definitions that are a copy are said to be one, with their date', () => {
  const from = { from: 'gpu', cachedAt: Date.UTC(2026, 6, 1, 12, 30) }
  const { problems, definitions: said } = inspectWorkflow(
    readWorkflow('w.json', { json: writeJson(loader('a.safetensors')) }),
    'json',
    definitions,
    from,
  )
  expect(said).toEqual(from)
  expect(problems.find(({ code }) => code === 'definitions-cached')?.facts).toEqual({
    worker: 'gpu',
    at: '2026-07-01 12:30 UTC',
  })
})

test('what a server would refuse is told with node and input; a placeholder only waits for its value', () => {
  const image = (width: unknown) => ({
    '1': { class_type: 'EmptyImage', inputs: { width, height: 8, batch_size: 1, color: 0 } },
    '2': { class_type: 'SaveImage', inputs: { images: ['1', 0], filename_prefix: 'x' } },
  })
  expect(inspect(image(0)).problems).toMatchObject([
    { kind: 'bad-value', node: '1', input: 'width', code: 'value_smaller_than_min' },
  ])
  expect(inspect(image('{{width}}')).problems).toEqual([])
  expect(inspect(loader('a.safetensors')).problems).toMatchObject([{ code: 'no-output' }])
})

test('classes called like the parts of every object are missing nodes', () => {
  const { customNodes } = inspect({
    '1': { class_type: 'constructor', inputs: {} },
    '2': { class_type: '__proto__', inputs: { toString: 1 } },
  })
  expect(customNodes.map(({ classType }) => classType)).toEqual(['constructor', '__proto__'])
})

test.each(['{"toString":null}', '[[{"toString":null}]]', 'null', '""', '-1', '[]', '{}'])(
  'with %s for any of its values a workflow is read, judged and advised on, or refused in words of ours',
  (odd) => {
    const whole = readFileSync(path.resolve(import.meta.dirname, '../../../../../resources/sample/en.json'), 'utf8')
    const places = (value: Json, at: (string | number)[] = []): (string | number)[][] =>
      typeof value === 'object' && value !== null
        ? [at, ...Object.entries(value).flatMap(([key, item]) => places(item as Json, [...at, key]))]
        : [at]
    for (const place of places(JSON.parse(whole)).slice(1)) {
      const damaged = JSON.parse(whole)
      const holder = place.slice(0, -1).reduce((inside, key) => inside[key], damaged)
      holder[place.at(-1)!] = JSON.parse(odd)
      try {
        const { prompt, parameters } = inspect(damaged)
        advise(prompt, definitions, parameters, {})
      } catch (cause) {
        expect([place, cause]).toEqual([place, expect.any(AppError)])
      }
    }
  },
)

test('the picture of a workflow is as the editor placed it', () => {
  const workflow = {
    nodes: [
      { id: 1, type: 'EmptyImage', pos: [10, 20], size: { '0': 200, '1': 90 }, widgets_values: [8, 8, 1, 0] },
      {
        id: 2,
        type: 'SaveImage',
        pos: { '0': 300, '1': 20 },
        size: [150, 60],
        mode: 2,
        inputs: [{ name: 'images', type: 'IMAGE', link: 1 }],
        widgets_values: ['x'],
      },
    ],
    links: [[1, 1, 0, 2, 0, 'IMAGE']],
  }
  const read = readWorkflow('w.json', { json: writeJson(workflow) })
  expect(drawGraph(read, {}, definitions)).toMatchObject({
    laidOut: false,
    nodes: [
      { id: '1', x: 10, y: 20, width: 200, height: 90, mode: 'active', known: true },
      { id: '2', x: 300, mode: 'muted' },
    ],
    edges: [{ from: '1', fromSlot: 0, to: '2', toInput: 'images', type: 'IMAGE' }],
  })
})

test('a prompt is laid out from left to right without overlaps, circles included', () => {
  const prompt = {
    a: { class_type: 'EmptyImage', inputs: {} },
    b: { class_type: 'ImageInvert', inputs: { image: ['a', 0] } },
    c: { class_type: 'ImageBlend', inputs: { image1: ['a', 0], image2: ['b', 0] } },
    x: { class_type: 'ImageInvert', inputs: { image: ['y', 0] } },
    y: { class_type: 'ImageInvert', inputs: { image: ['x', 0] } },
  }
  const { nodes, laidOut, edges } = drawGraph({ format: 'api', editor: null, prompt }, prompt, definitions)
  const at = Object.fromEntries(nodes.map((node) => [node.id, node]))
  expect(laidOut).toBe(true)
  expect(edges).toHaveLength(5)
  expect(at.a!.x < at.b!.x && at.b!.x < at.c!.x).toBe(true)
  for (const one of nodes) {
    for (const other of nodes) {
      const apart =
        one.x + one.width <= other.x ||
        other.x + other.width <= one.x ||
        one.y + one.height <= other.y ||
        other.y + other.height <= one.y
      expect(one === other || apart).toBe(true)
    }
  }
})

const couple = path.resolve(import.meta.dirname, '../../../../../../shared/corpus/couple-photo/prompt.json')
test.skipIf(!existsSync(couple))(
  'the couple photo lists its parameters, missing nodes and models, and fits the contract',
  () => {
    const found = inspect(JSON.parse(readFileSync(couple, 'utf8')))
    expect(() => Inspection.parse(found)).not.toThrow()
    expect(found.customNodes.map(({ classType }) => classType).sort()).toEqual([
      'ConditioningCombineMultiple+',
      'IPAdapterCombineParams',
      'IPAdapterFromParams',
      'IPAdapterInsightFaceLoader',
      'IPAdapterModelLoader',
      'IPAdapterRegionalConditioning',
      'IPAdapterUnifiedLoader',
      'MaskFromRGBCMYBW+',
      'OpenposePreprocessor',
    ])
    expect(found.models.map(({ file, folder }) => `${folder}/${file}`)).toEqual([
      'checkpoints/majicMIX realistic_v7.safetensors',
      'clip_vision/CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors',
      'ipadapter/ip-adapter-plus_sd15.safetensors',
      'controlnet/control_v11p_sd15_openpose_fp16.safetensors',
    ])
    const keysOf = (role: string) => found.parameters.filter((one) => one.role === role).map(({ key }) => key)
    expect([keysOf('prompt'), keysOf('negative'), keysOf('image')]).toEqual([
      ['6.text', '24.text', '26.text'],
      ['25.text'],
      ['10.image', '11.image', '12.image', '13.image'],
    ])
  },
)
