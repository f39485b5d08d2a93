/** The converter is broken on purpose, part by part: the count that does not use those parts has to notice. */
import { beforeEach, expect, test, vi } from 'vitest'
import type { JsonObject } from '../../../../../core/contract/json.ts'
import { convertWorkflow } from '../../../../../core/domain/workflow/convert.ts'
import type * as Flatten from '../../../../../core/domain/workflow/flatten.ts'
import type * as Widgets from '../../../../../core/domain/workflow/widgets.ts'
import { definitions } from '../../../../kit/definitions.ts'

const broken = vi.hoisted(() => ({ part: '' }))
vi.mock('../../../../../core/domain/workflow/flatten.ts', async (original) => {
  const real = await original<typeof Flatten>()
  const flatten: typeof real.flatten = (...args) => {
    const flat = real.flatten(...args)
    return broken.part === 'a node' ? { ...flat, nodes: flat.nodes.filter(({ id }) => id !== '2:11') } : flat
  }
  const sourceOf: typeof real.sourceOf = (...args) => {
    const source = real.sourceOf(...args)
    if (broken.part === 'a connection') return { is: 'nothing', because: 'open' }
    return broken.part === 'an origin' && source.is === 'link' ? { ...source, id: '3' } : source
  }
  return { ...real, flatten, sourceOf }
})
vi.mock('../../../../../core/domain/workflow/widgets.ts', async (original) => {
  const real = await original<typeof Widgets>()
  const placeWidgets: typeof real.placeWidgets = (...args) => {
    const placed = real.placeWidgets(...args)
    return broken.part === 'a value' ? { ...placed, widgets: placed.widgets.slice(1) } : placed
  }
  return { ...real, placeWidgets }
})
beforeEach(() => {
  broken.part = ''
})

const image = (link: number) => [{ name: 'image', type: 'IMAGE', link }]
const workflow: JsonObject = {
  nodes: [
    { id: 1, type: 'EmptyImage', outputs: [{ name: 'IMAGE', type: 'IMAGE' }], widgets_values: [64, 32, 1, 7] },
    { id: 2, type: 'S', inputs: image(1), outputs: [{ name: 'IMAGE', type: 'IMAGE' }] },
    { id: 3, type: 'EmptyImage', outputs: [{ name: 'IMAGE', type: 'IMAGE' }], widgets_values: [8, 8, 1, 0] },
    { id: 4, type: 'SaveImage', inputs: [{ name: 'images', type: 'IMAGE', link: 2 }], widgets_values: ['x'] },
  ],
  links: [
    [1, 1, 0, 2, 0, 'IMAGE'],
    [2, 2, 0, 4, 0, 'IMAGE'],
  ],
  definitions: {
    subgraphs: [
      {
        id: 'S',
        inputs: [{ name: 'image', type: 'IMAGE' }],
        outputs: [{ name: 'IMAGE', type: 'IMAGE' }],
        nodes: [{ id: 11, type: 'ImageInvert', inputs: image(1), outputs: [{ name: 'IMAGE', type: 'IMAGE' }] }],
        links: [
          { id: 1, origin_id: -10, origin_slot: 0, target_id: 11, target_slot: 0 },
          { id: 2, origin_id: 11, origin_slot: 0, target_id: -20, target_slot: 0 },
        ],
      },
    ],
  },
}
const losses = () =>
  convertWorkflow({ format: 'editor-0.4', editor: workflow, prompt: null }, definitions)
    .problems.filter(({ kind }) => kind === 'loss')
    .map(({ code, node, input }) => [code, node, ...(input ? [input] : [])].join(' '))

test('a whole converter loses nothing', () => {
  expect(losses()).toEqual([])
})

test.each([
  ['a node', 'node-unaccounted 2:11'],
  ['a connection', 'link-unaccounted 4 images'],
  ['an origin', 'link-unaccounted 4 images'],
  ['a value', 'value-unaccounted 1'],
])('a converter that gets %s wrong is told of, and its prompt refused', (part, told) => {
  broken.part = part
  expect(losses()).toContain(told)
})
