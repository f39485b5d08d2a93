import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import type { ObjectInfo } from '../../../../../core/contract/comfyui.ts'
import { parseJsonWithFloats } from '../../../../../core/contract/json.ts'
import { validatePrompt } from '../../../../../core/domain/workflow/validate.ts'
import { type Case, typesIn, verdictOf } from '../../../../conformance/validation.ts'

// recorded by `npm run conformance -- --validation --record`, which compares some thousand more
describe.each(['0.33.0', '0.3.64'])('what ComfyUI %s said of broken prompts', (version) => {
  const file = new URL(`../../../../fixtures/comfyui-${version}/validation.json`, import.meta.url)
  const recorded = parseJsonWithFloats(readFileSync(file, 'utf8')) as unknown
  const { definitions, cases } = recorded as { definitions: ObjectInfo; cases: Case[] }
  const options = {
    version,
    guessUploads: false,
    hasInputFile: (name: string) => name.replace(/ ?\[input\]$/, '') === 'example.png',
  }

  test.each(cases.map((one) => [one.seed, one.broken.join(', ') || 'whole', one] as const))(
    'number %i (%s) is said alike: types, messages, details and extra_info',
    (_seed, _broken, { prompt, reply }) => {
      expect(verdictOf(validatePrompt(prompt, definitions, options))).toEqual(verdictOf(reply))
    },
  )

  test('covers every kind of error', () => {
    const types = new Set(cases.flatMap(({ reply }) => typesIn(reply)))
    const expected = [
      ...['accepted', 'bad_linked_input', 'custom_validation_failed', 'exception_during_inner_validation'],
      ...['exception_during_validation', 'invalid_input_type', 'prompt_no_outputs', 'prompt_outputs_failed_validation'],
      ...['required_input_missing', 'return_type_mismatch', 'value_bigger_than_max', 'value_not_in_list'],
      ...[
        'value_smaller_than_min',
        ...(version === '0.33.0' ? ['dependency_cycle', 'missing_node_type'] : ['invalid_prompt']),
      ],
    ]
    expect([...types].sort()).toEqual(expected.sort())
  })
})
