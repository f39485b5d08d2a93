import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Prompt } from '../../../../../core/contract/comfyui.ts'
import { type Json, parseJson, writeJson } from '../../../../../core/contract/json.ts'
import { choicesOf, fieldOf, itemsOf, type Panel, type PanelItem } from '../../../../../core/contract/panel.ts'
import {
  checkPanel,
  missingFrom,
  panelFromParameters,
  panelValues,
  readPanel,
  titlesIn,
  writePanel,
  writePanels,
} from '../../../../../core/domain/workflow/panel.ts'
import { coerceValue, findParameters } from '../../../../../core/domain/workflow/parameters.ts'
import { bundledDefinitions } from '../../../../../core/engine/definitions.ts'

const { definitions } = bundledDefinitions()
const fixtures = path.resolve(import.meta.dirname, '../../../../fixtures/couple-photo')
const read = (file: string) => parseJson(readFileSync(file, 'utf8'))
const couple = read(path.join(fixtures, 'prompt.json')) as unknown as Prompt
const panels = read(path.join(fixtures, 'panels.json')) as Json[]
const corpus = path.resolve(import.meta.dirname, '../../../../../../shared/corpus/couple-photo/panels.json')

const painting: Prompt = {
  '1': { class_type: 'CheckpointLoaderSimple', inputs: { ckpt_name: 'a.safetensors' } },
  '2': { class_type: 'CLIPTextEncode', inputs: { text: 'a boat', clip: ['1', 1] } },
  '3': { class_type: 'CLIPTextEncode', inputs: { text: 'blurry', clip: ['1', 1] } },
  '4': { class_type: 'EmptyLatentImage', inputs: { width: 512, height: 768, batch_size: 1 } },
  '5': {
    class_type: 'KSampler',
    inputs: {
      seed: 7,
      steps: 20,
      cfg: 7,
      sampler_name: 'euler',
      scheduler: 'normal',
      denoise: 1,
      model: ['1', 0],
      positive: ['2', 0],
      negative: ['3', 0],
      latent_image: ['4', 0],
    },
  },
  '6': { class_type: 'VAEDecode', inputs: { samples: ['5', 0], vae: ['1', 2] } },
  '7': { class_type: 'SaveImage', inputs: { filename_prefix: 'x', images: ['6', 0] } },
  '8': { class_type: 'LoadImage', inputs: { image: 'face.png' } },
  '9': { class_type: 'PreviewImage', inputs: { images: ['8', 0] } },
}
const parameters = findParameters(painting, definitions, null)
const panelOf = (...params: PanelItem[]): Panel => ({ title: 'Form', params })
const words = { title: 'Boats', pictures: 'Pictures', words: 'Words', size: 'Size', more: 'More', names: {} }

describe('reading and writing', () => {
  test.each(panels.map((raw, at) => [at, raw] as const))('form %d of a file is written as it was read', (_, raw) => {
    const { panel, problems } = readPanel(raw, 'x')!
    expect(problems).toEqual([])
    const [written] = writePanels([panel], {})
    expect(writeJson(written)).toBe(writeJson(raw))
  })

  test.skipIf(!existsSync(corpus))('so is every form of the collection', () => {
    const all = read(corpus) as Json[]
    expect(
      writeJson(
        writePanels(
          all.map((raw) => readPanel(raw, 'x')!.panel),
          {},
        ),
      ),
    ).toBe(writeJson(all))
  })

  test('any JSON in the place of items comes back as it was, with what could not be read told by its place', () => {
    const value = fc.jsonValue({ maxDepth: 4 }) as fc.Arbitrary<Json>
    const { item } = fc.letrec<{ item: Json }>((tie) => ({
      item: fc.oneof(
        { maxDepth: 4, withCrossShrink: true },
        value,
        fc.record(
          {
            type: fc.constantFrom('group', 'image', 'select', 'number', 'string', 'seed', 'unreadable', 'odd'),
            id: fc.oneof(fc.string(), fc.integer(), value),
            key: fc.oneof(fc.constant('text'), value),
            title: fc.oneof(fc.string(), value),
            options: fc.oneof(fc.array(fc.string()), fc.constant('KSampler'), value),
            min: fc.oneof(fc.integer(), fc.bigInt({ min: 2n ** 60n, max: 2n ** 64n }), value),
            hidden: fc.oneof(fc.boolean(), value),
            more: value,
            children: fc.oneof(fc.array(tie('item')), value),
          },
          { requiredKeys: [] },
        ) as fc.Arbitrary<Json>,
      ),
    }))
    fc.assert(
      fc.property(fc.array(item), value, (params, more) => {
        const raw = { title: 'Form', params, more } as Json
        const { panel } = readPanel(raw, 'x')!
        expect(writePanel(panel)).toEqual(raw)
        // what was kept is read again as the same
        const again = readPanel(parseJson(writeJson(writePanel(panel))), 'x')!
        expect(writeJson(writePanel(again.panel))).toBe(writeJson(raw))
      }),
      { numRuns: 400, seed: 12 },
    )
  })

  test('broken items are named, and the good ones beside them still work', () => {
    const raw = {
      title: 'Form',
      params: [
        7,
        { type: 'number', title: 'Steps', id: '5', key: 'steps', min: 'few' },
        { type: 'group', title: 'Words', children: [{ type: 'string', title: 'Nothing' }, 'x'] },
        { type: 'string', title: 'Prompt', id: '2', key: 'text' },
      ],
    }
    const { panel, problems } = readPanel(raw as Json, 'x')!
    expect(problems.map(({ code, facts }) => [code, facts?.title])).toEqual([
      ['panel.unreadable-item', '1'],
      ['panel.unreadable-item', 'Steps'],
      ['panel.no-input', 'Nothing'],
      ['panel.unreadable-item', '3.2'],
    ])
    expect([...itemsOf(panel.params)].flatMap(({ key }) => key ?? [])).toEqual(['2.text'])
  })

  test('what is no form is told apart from an empty one', () => {
    expect(readPanel({ title: 'x' }, 'x')).toBeNull()
    expect(readPanel('x', 'x')).toBeNull()
    expect(readPanel([], 'given')).toEqual({ panel: { title: 'given', params: [] }, problems: [] })
  })

  test('nesting without end is kept and not walked', () => {
    let item: Json = { type: 'string', id: '2', key: 'text' }
    for (let depth = 0; depth < 5000; depth++) item = { type: 'group', children: [item] }
    const { panel, problems } = readPanel({ title: 'deep', params: [item] }, 'x')!
    expect(problems).toHaveLength(1)
    expect((writePanel(panel) as { params: Json[] }).params[0]).toEqual(item)
  })
})

describe('against a workflow', () => {
  test('both forms of the couple photo fit its prompt', () => {
    const fitting = panels.map((raw) => missingFrom(readPanel(raw, 'x')!.panel, couple))
    expect(fitting).toEqual([[], []])
    const all = findParameters(couple, definitions, null)
    expect(panels.flatMap((raw) => checkPanel(readPanel(raw, 'x')!.panel, couple, all))).toEqual([])
  })

  test('items whose node or input is not there, or is fed by another node, are told', () => {
    const panel = panelOf(
      { type: 'string', title: 'A', id: '99', key: 'text' },
      { type: 'group', title: 'G', children: [{ type: 'string', title: 'B', id: '2', key: 'words' }] },
      { type: 'string', title: 'C', id: '2', key: 'clip' },
      { type: 'string', title: 'D', id: 2, key: 'text' },
    )
    expect(checkPanel(panel, painting, parameters).map(({ code, message }) => [code, message])).toEqual([
      ['panel.node-missing', 'A turns node 99, which is not in the workflow.'],
      ['panel.input-missing', 'B turns words of CLIPTextEncode, which has no such value.'],
      ['panel.input-linked', 'C turns clip of CLIPTextEncode, which another node feeds.'],
    ])
    expect(missingFrom(panel, painting)).toEqual(['99.text', '2.words'])
  })

  test('a first form asks what anyone can judge, in steps, and leaves the sampler out unless it was pinned', () => {
    const shape = (panel: Panel) =>
      panel.params.map(({ title, children }) => [title, children?.map(({ type, id, key }) => `${type} ${id}.${key}`)])
    const named = { ...words, names: { '2.text': 'What to paint' } }
    const panel = panelFromParameters(parameters, named)
    expect(shape(panel)).toEqual([
      ['1. Pictures', ['image 8.image']],
      ['2. Words', ['string 2.text', 'string 3.text']],
      ['3. Size', ['number 4.width', 'number 4.height', 'number 4.batch_size']],
      ['4. More', ['seed 5.seed', 'number 5.denoise']],
    ])
    expect(panel.params[1]!.children![0]!.title).toBe('What to paint')
    const pinned = parameters.map((one) => (one.key === '5.steps' ? { ...one, pinned: true } : one))
    expect(shape(panelFromParameters(pinned, words)).at(-1)![1]).toContain('number 5.steps')
    const unfed = parameters.filter(({ role }) => role !== 'image')
    expect(shape(panelFromParameters(unfed, words)).at(-1)).toEqual(['3. More', ['seed 5.seed']])
    expect(checkPanel(panel, painting, parameters)).toEqual([])
    expect(panelValues(panel, {}, parameters)).toEqual({ values: { '5.seed': -1 }, faults: [] })
  })
})

describe('filling in', () => {
  const fill = (item: PanelItem, value?: Json) =>
    panelValues(panelOf(item), value === undefined ? {} : { [`${item.id}.${item.key}`]: value }, parameters)

  test('values are taken and refused exactly as their parameters take and refuse them', () => {
    const anything = fc.oneof(fc.string(), fc.integer(), fc.double(), fc.boolean(), fc.bigInt()) as fc.Arbitrary<Json>
    const plain: PanelItem[] = parameters
      .filter(({ upload }) => !upload)
      .map(({ node, input }) => ({ type: 'plain', id: node, key: input }))
    fc.assert(
      fc.property(fc.constantFrom(...plain), anything, (item, value) => {
        const parameter = parameters.find(({ key }) => key === `${item.id}.${item.key}`)!
        let expected: unknown
        try {
          expected = { values: { [parameter.key]: coerceValue(parameter, value) }, faults: [] }
        } catch (cause) {
          expected = (cause as { facts: Record<string, Json> }).facts.reason
        }
        const { values, faults } = fill(item, value)
        expect(faults[0] ? faults[0].reason : { values, faults }).toEqual(expected)
      }),
      { seed: 13 },
    )
  })

  test('a form narrows what its node takes, and never widens it', () => {
    const steps = { type: 'number', title: 'Steps', id: '5', key: 'steps', min: 4, max: 99_999 }
    expect(fill(steps, 3).faults).toMatchObject([{ title: 'Steps', reason: 'must be between 4 and 10000' }])
    expect(fill(steps, '8')).toEqual({ values: { '5.steps': 8 }, faults: [] })
  })

  test('only the choices of the form are taken, whatever its node would take', () => {
    const size = {
      type: 'select',
      title: 'Size',
      id: '4',
      key: 'width',
      options: ['512', { value: 1024, label: 'Large' }],
    }
    expect(fill(size, '512').values).toEqual({ '4.width': 512 })
    expect(fill(size, 1024).values).toEqual({ '4.width': 1024 })
    expect(fill(size, 768).faults).toMatchObject([{ code: 'value.not-a-choice' }])
    const face = { type: 'image', id: '8', key: 'image', options: ['https://example.com/a%20b.png'] }
    expect(fill(face, 'https://example.com/a%20b.png').faults).toEqual([])
    expect(fill(face, 'https://elsewhere.example/x.png').faults).toMatchObject([{ code: 'value.not-a-choice' }])
    expect(choicesOf(face)).toEqual([
      { value: 'https://example.com/a%20b.png', label: 'a b', thumbnail: 'https://example.com/a%20b.png' },
    ])
  })

  test('hidden items always send their own value, and nothing given replaces it', () => {
    const hidden = { type: 'number', id: '5', key: 'steps', hidden: true, default: 30 }
    expect(fill(hidden, 5).values).toEqual({ '5.steps': 30 })
    const inGroup = panelOf({ type: 'group', hidden: true, children: [{ type: 'number', id: '5', key: 'steps' }] })
    expect(panelValues(inGroup, { '5.steps': 5 }, parameters)).toEqual({ values: {}, faults: [] })
  })

  test('zero, false and an empty text are values; a file that must be given is missed', () => {
    expect(fill({ type: 'number', id: '5', key: 'cfg' }, 0).values).toEqual({ '5.cfg': 0 })
    expect(fill({ type: 'string', id: '2', key: 'text' }, '').values).toEqual({ '2.text': '' })
    expect(fill({ type: 'string', title: 'Words', id: '2', key: 'text', required: true }, ' ').faults).toEqual([
      { key: '2.text', title: 'Words', reason: 'must be filled in', code: 'value.needed', facts: {} },
    ])
    expect(fill({ type: 'image', id: '8', key: 'image' }, '').faults).toMatchObject([{ code: 'value.needed' }])
    expect(fill({ type: 'image', id: '8', key: 'image', required: false }, '').faults).toEqual([])
  })

  test('a seed of -1 is drawn anew, also where the form alone says that it is a seed', () => {
    expect(fill({ type: 'seed', id: '5', key: 'seed' }, '-1').values).toEqual({ '5.seed': -1 })
    const field = fieldOf({ type: 'seed', id: '5', key: 'steps' }, parameters.find(({ key }) => key === '5.steps')!)
    expect(field.role).toBe('seed')
  })
})

test('what is shown on a form has its title there as a name, hidden items have none', () => {
  const panel = panelOf(
    { type: 'string', title: '参考形象描述', id: '2', key: 'text' },
    { type: 'group', title: 'G', children: [{ type: 'number', title: 'How much', id: '5', key: 'cfg' }] },
    { type: 'number', title: 'Kept', id: '5', key: 'steps', hidden: true },
  )
  const other = panelOf({ type: 'string', title: 'Words', id: '2', key: 'text' })
  expect([...titlesIn([panel, other])]).toEqual([
    ['2.text', ['参考形象描述', 'Words']],
    ['5.cfg', ['How much']],
  ])
})
