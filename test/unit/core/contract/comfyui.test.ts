import { describe, expect, it } from 'vitest'
import { readObjectInfo } from '../../../../core/contract/comfyui.ts'
import type { Json } from '../../../../core/contract/json.ts'
import { convertWorkflow } from '../../../../core/domain/workflow/convert.ts'
import { inspectWorkflow } from '../../../../core/domain/workflow/inspect.ts'
import { readWorkflow } from '../../../../core/domain/workflow/read.ts'

const good = {
  name: 'Say',
  display_name: 'Say it',
  input: { required: { text: ['STRING', { multiline: true }] } },
  input_order: { required: ['text'] },
  output: ['CONDITIONING'],
}
const prompt = {
  1: { class_type: 'Say', inputs: { text: 'a cat', clip: ['2', 0] } },
  2: { class_type: 'Other', inputs: { width: 64, mode: 'a' } },
  3: { class_type: 'SaveImage', inputs: { images: ['1', 0], filename_prefix: 'x' } },
}
const editor = {
  version: 0.4,
  nodes: [
    { id: 1, type: 'Say', mode: 0, inputs: [], outputs: [], widgets_values: ['a cat'] },
    { id: 2, type: 'Other', mode: 4, inputs: [], outputs: [], widgets_values: [64] },
  ],
  links: [],
}

describe('what a server says of its classes', () => {
  it('stays as it is where it is in form', () => {
    expect(readObjectInfo({ Say: good })).toEqual({ Say: good })
  })
  it.each<[string, Json]>([
    ['nothing', null],
    ['a list', []],
    ['no definition', { Say: null, Other: 'x', SaveImage: [] }],
    ['empty definitions', { Say: {}, Other: {}, SaveImage: {} }],
    [
      'sections of other kinds',
      { Say: { input: [] }, Other: { input: { required: null, optional: [], hidden: 'x' } } },
    ],
    ['inputs of other kinds', { Say: { input: { required: { text: '?', a: null, b: [], c: {}, d: [null], e: 3 } } } }],
    ['options of other kinds', { Say: { input: { required: { text: ['STRING', 'x'], mode: [['a'], null] } } } }],
    ['orders of other kinds', { Say: { ...good, input_order: { required: 'text' } }, Other: { input_order: 7 } }],
    ['outputs of other kinds', { Say: { ...good, output: 'IMAGE', output_name: null, output_is_list: 1 } }],
    ['names of other kinds', { Say: { ...good, name: 3, display_name: ['x'], category: {}, description: false } }],
  ])('is used as far as it goes where it is %s', (_, said) => {
    const definitions = readObjectInfo(said)
    for (const file of [prompt, editor]) {
      const workflow = readWorkflow('w.json', { json: JSON.stringify(file) })
      expect(() => convertWorkflow(workflow, definitions)).not.toThrow()
      expect(() => inspectWorkflow(workflow, 'json', definitions, { from: 'a server' })).not.toThrow()
    }
  })
})
