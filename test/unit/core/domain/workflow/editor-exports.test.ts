import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import type { Prompt } from '../../../../../core/contract/comfyui.ts'
import { type JsonObject, parseJson } from '../../../../../core/contract/json.ts'
import { convertWorkflow } from '../../../../../core/domain/workflow/convert.ts'
import { definitions } from '../../../../kit/definitions.ts'

/** Small graphs, each asking the editor one question, and what the editor of ComfyUI 0.33.0 (1.49.6) exported. */
const file = new URL('../../../../fixtures/comfyui-0.33.0/editor-exports.json', import.meta.url)
const recorded = parseJson(readFileSync(file, 'utf8')) as unknown as Record<
  string,
  { workflow: JsonObject; prompt: Prompt }
>

test.each(Object.entries(recorded))('%s converts to what the editor exported', (_, { workflow, prompt }) => {
  const converted = convertWorkflow({ format: 'editor-0.4', editor: workflow, prompt: null }, definitions)
  const ours = Object.entries(converted.prompt).map(([id, { class_type, inputs }]) => [id, { class_type, inputs }])
  expect(Object.fromEntries(ours)).toEqual(prompt)
  expect(converted.problems.filter(({ kind }) => kind === 'loss')).toEqual([])
})
