import { expect, test } from 'vitest'
import type { Prompt } from '../../../core/contract/comfyui.ts'
import type { JsonObject } from '../../../core/contract/json.ts'
import { differencesBetween, madeAnew, titlesThatDiffer, without } from '../../fidelity/compare.ts'
import { declareMissing } from '../../fidelity/declare.ts'

const prompt: Prompt = {
  '1': { class_type: 'RandomNoise', inputs: { noise_seed: 2 ** 64 }, _meta: { title: 'Noise' } },
  '2': { class_type: 'Sampler', inputs: { noise: ['1', 0], steps: 20 } },
}

test('prompts are equal with a seed of every digit beside the editor’s rounded one, and with other titles', () => {
  const ours = structuredClone(prompt)
  ours['1']!.inputs.noise_seed = 18446744073709551615n
  ours['1']!._meta = { title: 'Other' }
  expect(differencesBetween(prompt, ours)).toEqual([])
  expect(titlesThatDiffer(prompt, ours)).toHaveLength(1)
})

test.each<[string, (prompt: Prompt) => void, string]>([
  ['a node less', (ours) => delete ours['2'], 'is missing'],
  ['a node more', (ours) => Object.assign(ours, { '3': prompt['1'] }), 'the editor has not'],
  ['another class', (ours) => Object.assign(ours['2']!, { class_type: 'Other' }), 'class Other'],
  ['another link', (ours) => Object.assign(ours['2']!.inputs, { noise: ['1', 1] }), '["1",1]'],
  ['a link less', (ours) => delete ours['2']!.inputs.noise, 'ours nothing'],
  ['another value', (ours) => Object.assign(ours['2']!.inputs, { steps: 21 }), 'ours 21'],
  ['a value as text', (ours) => Object.assign(ours['2']!.inputs, { steps: '20' }), 'ours "20"'],
  ['an input more', (ours) => Object.assign(ours['2']!.inputs, { cfg: null }), 'ours null'],
])('%s is a difference', (_, spoil, told) => {
  const ours = structuredClone(prompt)
  spoil(ours)
  const differences = differencesBetween(prompt, ours)
  expect(differences).toHaveLength(1)
  expect(differences[0]).toContain(told)
})

test('what the editor makes anew at each export can be set aside, and nothing else', () => {
  const again = structuredClone(prompt)
  again['2']!.inputs.steps = 99
  const anew = madeAnew(prompt, again)
  expect([...anew]).toEqual(['2.steps'])
  expect(without(prompt, anew)['2']!.inputs).toEqual({ noise: ['1', 0] })
})

test('a class the server lacks is declared as its nodes describe it', () => {
  const node: JsonObject = {
    type: 'Caption',
    inputs: [
      { name: 'image', type: 'IMAGE' },
      { name: 'seed', type: 'INT', widget: { name: 'seed' } },
    ],
    outputs: [{ name: 'TEXT', type: 'STRING' }],
    widgets_values: ['model', true, 7, 'randomize'],
  }
  const workflow: JsonObject = { nodes: [node, { type: 'Known' }], definitions: { subgraphs: [{ nodes: [node] }] } }
  const declared = declareMissing([workflow], (type) => type === 'Known')
  expect(Object.keys(declared)).toEqual(['Caption'])
  expect(declared.Caption).toMatchObject({
    input: {
      required: {
        image: ['IMAGE', {}],
        value_0: ['STRING', {}],
        value_1: ['BOOLEAN', {}],
        seed: ['INT', { control_after_generate: true }],
      },
    },
    output: ['STRING'],
  })
})
