import { existsSync, readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import type { Prompt } from '../../../../../core/contract/comfyui.ts'
import { type JsonObject, parseJson, writeJson } from '../../../../../core/contract/json.ts'
import { convertWorkflow } from '../../../../../core/domain/workflow/convert.ts'
import { withValues } from '../../../../../core/domain/workflow/embed.ts'
import { readWorkflow } from '../../../../../core/domain/workflow/read.ts'
import { expandChoices } from '../../../../../core/domain/workflow/text.ts'
import { definitions } from '../../../../kit/definitions.ts'

const promptOf = (workflow: unknown) =>
  convertWorkflow(readWorkflow('w.json', { json: writeJson(workflow) }), definitions).prompt
const widget = (name: string, link: number | null) => ({ name, type: 'STRING', link, widget: { name } })

/** A job's prompt: the workflow's own with some values changed. */
function changed(prompt: Prompt, values: Record<string, JsonObject>): Prompt {
  const entries = Object.entries(prompt).map(([id, node]) => [
    id,
    { ...node, inputs: { ...node.inputs, ...values[id] } },
  ])
  return Object.fromEntries(entries)
}

test('values land where the editor keeps them: in the node, its named values, its object, its primitive', () => {
  const workflow = {
    nodes: [
      { id: 1, type: 'KSampler', pos: [1, 2], widgets_values: [1, 'fixed', 20, 7, 'euler', 'normal', 1] },
      { id: 2, type: 'SaveImage', widgets_values: ['a'], widgets_values_named: { filename_prefix: 'a' } },
      { id: 3, type: 'CLIPTextEncode', widgets_values: { text: 'a' } },
      {
        id: 4,
        type: 'RandomNoise',
        inputs: [{ name: 'noise_seed', type: 'INT', link: 1, widget: { name: 'noise_seed' } }],
        widgets_values: [1, 'fixed'],
      },
      { id: 5, type: 'PrimitiveNode', widgets_values: [5, 'randomize'] },
    ],
    links: [[1, 5, 0, 4, 0, 'INT']],
  }
  const before = structuredClone(workflow)
  const job = changed(promptOf(workflow), {
    '1': { seed: 18446744073709551615n, steps: 9 },
    '2': { filename_prefix: 'b' },
    '3': { text: 'c' },
    '4': { noise_seed: 6 },
  })
  expect(withValues(workflow as never, definitions, job)).toEqual({
    nodes: [
      { ...workflow.nodes[0], widgets_values: [18446744073709551615n, 'fixed', 9, 7, 'euler', 'normal', 1] },
      { ...workflow.nodes[1], widgets_values: ['b'], widgets_values_named: { filename_prefix: 'b' } },
      { ...workflow.nodes[2], widgets_values: { text: 'c' } },
      workflow.nodes[3],
      { ...workflow.nodes[4], widgets_values: [6, 'randomize'] },
    ],
    links: workflow.links,
  })
  expect(workflow).toEqual(before)
})

test('values of a subgraph land on its instance, or inside where the instance keeps none', () => {
  const subgraph = {
    id: 'S',
    inputs: [{ name: 'prefix', type: 'STRING' }],
    nodes: [{ id: 5, type: 'SaveImage', inputs: [widget('filename_prefix', 1)], widgets_values: ['inner'] }],
    links: [{ id: 1, origin_id: -10, origin_slot: 0, target_id: 5, target_slot: 0 }],
  }
  const workflow = (values: string[]) => ({
    nodes: [{ id: 2, type: 'S', inputs: [widget('prefix', null)], widgets_values: values }],
    links: [],
    definitions: { subgraphs: [subgraph] },
  })
  for (const values of [['outer'], []]) {
    const job = changed(promptOf(workflow(values)), { '2:5': { filename_prefix: 'new' } })
    const made = withValues(workflow(values) as never, definitions, job)
    expect(promptOf(made)['2:5']!.inputs.filename_prefix).toBe('new')
  }
})

test('braces that were sent stand for themselves where the editor would choose, and are kept as typed on request', () => {
  const text = 'a {b|c} \\| d'
  const subgraph = {
    id: 'S',
    inputs: [{ name: 'text', type: 'STRING', linkIds: [1] }],
    nodes: [{ id: 5, type: 'CLIPTextEncode', inputs: [widget('text', 1)], widgets_values: ['inside'] }],
    links: [{ id: 1, origin_id: -10, origin_slot: 0, target_id: 5, target_slot: 0 }],
  }
  const workflow = {
    nodes: [
      { id: 1, type: 'CLIPTextEncode', widgets_values: ['a'] },
      { id: 2, type: 'S', inputs: [widget('text', null)], widgets_values: ['outside'] },
      { id: 3, type: 'SaveImage', widgets_values: ['a'] },
    ],
    links: [],
    definitions: { subgraphs: [subgraph] },
  }
  const job = changed(promptOf(workflow), { '1': { text }, '2:5': { text }, '3': { filename_prefix: text } })
  const valuesIn = (made: unknown) => {
    const { nodes, definitions } = made as typeof workflow
    return [...nodes, ...definitions.subgraphs[0]!.nodes].map(({ widgets_values }) => widgets_values[0])
  }
  const made = withValues(workflow as never, definitions, job)
  expect(valuesIn(made)).toEqual(['a \\{b|c\\} \\\\| d', text, text, 'inside'])
  expect(expandChoices(String(valuesIn(made)[0]), () => 0)).toBe(text)
  expect(valuesIn(withValues(workflow as never, definitions, job, { asTyped: true }))).toEqual([
    text,
    text,
    text,
    'inside',
  ])
})

test('values that the file keeps once and the job had different are parted: a subgraph of its own, a widget no longer fed', () => {
  const inner = {
    id: '11111111-0000-4000-8000-000000000000',
    inputs: [{ name: 'steps', type: 'INT', linkIds: [1, 2] }],
    nodes: [
      {
        id: 5,
        type: 'KSampler',
        inputs: [widget('steps', 1)],
        widgets_values: [1, 'fixed', 20, 7, 'euler', 'normal', 1],
      },
      {
        id: 6,
        type: 'KSampler',
        inputs: [widget('steps', 2)],
        widgets_values: [1, 'fixed', 20, 7, 'euler', 'normal', 1],
      },
    ],
    links: [
      { id: 1, origin_id: -10, origin_slot: 0, target_id: 5, target_slot: 0 },
      { id: 2, origin_id: -10, origin_slot: 0, target_id: 6, target_slot: 0 },
    ],
  }
  const outer = {
    id: '22222222-0000-4000-8000-000000000000',
    nodes: [{ id: 7, type: inner.id, inputs: [widget('steps', null)], widgets_values: [20] }],
    links: [],
  }
  const workflow = {
    nodes: [
      { id: 1, type: outer.id, pos: [1, 1] },
      { id: 2, type: outer.id, pos: [2, 2] },
      { id: 3, type: 'EmptyImage', inputs: [widget('width', 1)], widgets_values: [9, 9, 1, 0] },
      { id: 4, type: 'EmptyImage', inputs: [widget('width', 2)], widgets_values: [9, 9, 1, 0] },
      { id: 8, type: 'PrimitiveNode', outputs: [{ name: 'INT', links: [1, 2] }], widgets_values: [64, 'fixed'] },
    ],
    links: [
      [1, 8, 0, 3, 0, 'INT'],
      [2, 8, 0, 4, 0, 'INT'],
    ],
    definitions: { subgraphs: [outer, inner] },
  }
  const base = promptOf(workflow)
  const job = changed(base, {
    '1:7:5': { steps: 1, cfg: 1.5 },
    '1:7:6': { steps: 2 },
    '2:7:5': { steps: 3, cfg: 2.5 },
    '2:7:6': { steps: 3, sampler_name: 'heun' },
    '3': { width: 65 },
    '4': { width: 66 },
  })
  const before = structuredClone(workflow)
  const made = withValues(workflow as never, definitions, job)
  expect(promptOf(made)).toEqual(job)
  expect(workflow).toEqual(before)
  expect(withValues(workflow as never, definitions, job)).toEqual(made)
  // nothing is parted where nothing has to be
  expect(withValues(workflow as never, definitions, base)).toEqual(workflow)
})

const pairs = path.resolve(import.meta.dirname, '../../../../../../shared/corpus/workflow-pairs')
describe.skipIf(!existsSync(pairs))('a workflow with the values of a job', () => {
  const files = existsSync(pairs) ? readdirSync(pairs) : []
  test.each(files)('%s converts to that job’s prompt, with its layout kept', (file) => {
    const { workflow } = parseJson(readFileSync(path.join(pairs, file), 'utf8')) as {
      workflow: { nodes: JsonObject[] }
    }
    const turned = promptOf(workflow)
    for (const { inputs } of Object.values(turned)) {
      for (const [name, value] of Object.entries(inputs)) {
        if (typeof value === 'string')
          inputs[name] = /^(text|filename_prefix|.*_name)$/.test(name) ? `${value}!` : value
        if (/seed$/.test(name) && typeof value === 'number') inputs[name] = 18446744073709551615n
      }
    }
    const made = withValues(workflow as never, definitions, turned) as { nodes: JsonObject[] }
    expect(promptOf(made)).toEqual(turned)
    expect(made.nodes.map(({ id, pos, size }) => ({ id, pos, size }))).toEqual(
      workflow.nodes.map(({ id, pos, size }) => ({ id, pos, size })),
    )
  })
})
