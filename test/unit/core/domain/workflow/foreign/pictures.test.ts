import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Prompt } from '../../../../../../core/contract/comfyui.ts'
import { isJsonObject, type Json } from '../../../../../../core/contract/json.ts'
import { samplingOf } from '../../../../../../core/domain/workflow/foreign/samplers.ts'
import { readWorkflow } from '../../../../../../core/domain/workflow/read.ts'
import { validatePrompt } from '../../../../../../core/domain/workflow/validate.ts'
import { bundledDefinitions } from '../../../../../../core/engine/definitions.ts'
import { stopwatch } from '../../../../../kit/stopwatch.ts'
import { pictures } from './pictures.ts'

const { definitions } = bundledDefinitions()
const shown = (value: Json): string =>
  Array.isArray(value) ? value.join('.') : typeof value === 'string' ? JSON.stringify(value) : String(value)
const linesOf = (prompt: Prompt) =>
  Object.entries(prompt).map(([id, { class_type, inputs }]) => {
    const values = Object.entries(inputs).map(([name, value]) => `${name}=${shown(value)}`)
    return [id, class_type, ...values].join(' ')
  })
const settings = (rest = '') =>
  `Steps: 20, Sampler: Euler, CFG scale: 7, Seed: 1, Size: 512x512, Model: a.safetensors, RNG: CPU${rest}`
const promptOf = (parameters: string) => readWorkflow('a.png', { parameters }).prompt!
const positiveOf = (words: string) =>
  Object.values(promptOf(`${words}\n${settings()}`)).find(({ _meta }) => _meta?.title === 'Positive prompt')!.inputs
    .text

test.each(pictures.map((one) => [one.name, one] as const))('%s', (_, { texts, nodes, told }) => {
  const { prompt, problems, format, editor } = readWorkflow('picture.png', texts)
  expect({ format, editor }).toEqual({ format: 'a1111', editor: null })
  expect(linesOf(prompt!)).toEqual(nodes.trim().split('\n'))
  expect((problems ?? []).map(({ kind, code, facts }) => [kind, code, facts?.part].filter(Boolean).join(' '))).toEqual(
    told,
  )
})

test.each(pictures.map((one) => [one.name, one] as const))('%s: a server would take the prompt', (_, { texts }) => {
  const { prompt, problems } = readWorkflow('picture.png', texts)
  const waiting = new Set(
    problems?.flatMap(({ kind, node, input }) => (kind === 'bad-value' ? [`${node}.${input}`] : [])),
  )
  const { error, node_errors } = validatePrompt(prompt!, definitions, { assumeModels: true, hasInputFile: () => true })
  const faults = Object.entries(node_errors).flatMap(([node, { errors }]) =>
    errors.map(({ extra_info, type }) => `${node}.${extra_info.input_name ?? type}`),
  )
  expect(faults.filter((fault) => !waiting.has(fault))).toEqual([])
  const needsPack = Object.values(prompt!).some(({ class_type }) => class_type.endsWith('GGUF'))
  expect(error === null || needsPack || waiting.size > 0).toBe(true)
})

test('every node has a title, and every link leads to a node', () => {
  for (const { texts } of pictures) {
    const { prompt } = readWorkflow('picture.png', texts)
    for (const { inputs, _meta } of Object.values(prompt!)) {
      expect(_meta?.title).toMatch(/^[A-Z]/)
      for (const value of Object.values(inputs))
        if (Array.isArray(value)) expect(prompt).toHaveProperty([String(value[0])])
    }
  }
})

test.each([
  ['DPM++ 2M Karras', null, 'dpmpp_2m', 'karras'],
  ['DPM++ 2M', 'Karras', 'dpmpp_2m', 'karras'],
  ['DPM++ 2M', 'Automatic', 'dpmpp_2m', 'karras'],
  ['DPM++ 2M', null, 'dpmpp_2m', 'normal'],
  ['DPM++ 2M', 'Uniform', 'dpmpp_2m', 'normal'],
  ['DPM++ 2M SDE Karras', null, 'dpmpp_2m_sde', 'karras'],
  ['DPM++ 2M SDE Exponential', null, 'dpmpp_2m_sde', 'exponential'],
  ['DPM++ 2M SDE Heun Karras', null, 'dpmpp_2m_sde_heun', 'karras'],
  ['DPM++ 2M SDE SGMUniform', null, 'dpmpp_2m_sde', 'sgm_uniform'],
  ['DPM++ 3M SDE Exponential', null, 'dpmpp_3m_sde', 'exponential'],
  ['DPM++ SDE', 'SGM Uniform', 'dpmpp_sde', 'sgm_uniform'],
  ['DPM++ 2S a Karras', null, 'dpmpp_2s_ancestral', 'karras'],
  ['DPM2', null, 'dpm_2', 'normal'],
  ['DPM2 a Karras', null, 'dpm_2_ancestral', 'karras'],
  ['DPM fast', null, 'dpm_fast', 'normal'],
  ['DPM adaptive', 'Automatic', 'dpm_adaptive', 'normal'],
  ['LMS Karras', null, 'lms', 'karras'],
  ['Euler a', 'Beta', 'euler_ancestral', 'beta'],
  ['Heun', 'KL Optimal', 'heun', 'kl_optimal'],
  ['HeunPP2', 'DDIM', 'heunpp2', 'ddim_uniform'],
  ['UniPC', 'Normal', 'uni_pc', 'normal'],
  ['LCM', 'Simple', 'lcm', 'simple'],
  ['IPNDM_V', 'Simple', 'ipndm_v', 'simple'],
  ['DEIS', null, 'deis', 'normal'],
  ['DDPM', null, 'ddpm', 'normal'],
  ['Euler A CFG++', 'Simple', 'euler_ancestral_cfg_pp', 'simple'],
  ['Res Multistep', 'Simple', 'res_multistep', 'simple'],
  ['ER SDE', 'Simple', 'er_sde', 'simple'],
  ['dpmpp_2m_k', null, 'dpmpp_2m', 'karras'],
  ['kdpm_2_a', null, 'dpm_2_ancestral', 'normal'],
  ['k_dpmpp_2s_ancestral', 'native', 'dpmpp_2s_ancestral', 'normal'],
  ['k_euler_ancestral', 'karras', 'euler_ancestral', 'karras'],
  ['dpmpp_2m_sde_gpu', 'sgm_uniform', 'dpmpp_2m_sde_gpu', 'sgm_uniform'],
  ['unipc', null, 'uni_pc', 'normal'],
  ['DPM++ 2S a_ddim_uniform', null, 'dpmpp_2s_ancestral', 'ddim_uniform'],
  ['dpmpp_2m_sde_karras', null, 'dpmpp_2m_sde', 'karras'],
  ['Euler_beta', null, 'euler', 'beta'],
  ['euler_ancestral_normal', null, 'euler_ancestral', 'normal'],
])('%s, %s is a sampler of ComfyUI', (name, schedule, sampler, scheduler) => {
  expect(samplingOf(name, schedule)).toEqual({ sampler, scheduler, near: false })
})

test.each([
  ['Restart', null],
  ['PLMS', null],
  ['Some new one', null],
  ['Euler', 'Polyexponential'],
  ['Euler', 'Align Your Steps'],
])('%s, %s only comes near', (name, schedule) => {
  const { sampler, scheduler, near } = samplingOf(name, schedule)
  const { sampler_name, scheduler: schedules } = definitions.KSampler!.input.required as unknown as Record<
    string,
    [string[]]
  >
  expect(near).toBe(true)
  expect(sampler_name![0]).toContain(sampler)
  expect(schedules![0]).toContain(scheduler)
})

test.each([
  ['a cat', 'a cat'],
  ['a (cat)', 'a (cat)'],
  ['a (cat:1.3), (dog)', 'a (cat:1.3), (dog)'],
  ['[cat]', '(cat:0.909)'],
  ['[[cat]]', '(cat:0.826)'],
  ['((cat))', '((cat))'],
  ['((cat:1.5))', '(cat:1.65)'],
  ['(a (b:1.5) c)', '(a :1.1)(b:1.65)( c:1.1)'],
  ['\\(not more\\)', '\\(not more\\)'],
  ['(half', '(half:1.1)'],
  ['half)', 'half\\)'],
  ['a:b', 'a:b'],
  ['(cat:dog)', '(cat:dog)'],
])('the weights of %s are what AUTOMATIC1111 made of them', (given, expected) => {
  expect(positiveOf(given)).toBe(expected)
})

describe('ComfyUI’s own record', () => {
  const prompt = { '1': { class_type: 'KSampler', inputs: { seed: 1 } } }
  test('wins over a text beside it', () => {
    const read = readWorkflow('a.png', { parameters: `a cat\n${settings()}`, prompt: JSON.stringify(prompt) })
    expect(read).toEqual({ format: 'api', editor: null, prompt })
  })
  test('gives way when it cannot be read', () => {
    const read = readWorkflow('a.png', { parameters: `a cat\n${settings()}`, prompt: '{' })
    expect(read.format).toBe('a1111')
    expect(read.problems?.map(({ code }) => code)).toContain('metadata-unreadable')
  })
})

test('settings may come as a text file, in a message, or fenced', () => {
  const text = `a [cat:dog:0.5]\nNegative prompt: {x}\n${settings()}`
  const prompt = promptOf(text)
  for (const json of [text, `Here:\n\`\`\`\n${text}\n\`\`\`\nbye`]) {
    expect(readWorkflow('a.txt', { json })).toMatchObject({ format: 'a1111', prompt })
  }
})

const words = fc.constantFrom(
  ...[
    'Steps: 2, ',
    'Sampler: ',
    'Negative prompt:',
    '\n',
    ', ',
    ':',
    '[',
    ']',
    '(',
    ')',
    '|',
    '{',
    '}',
    '"',
    '\\',
    '<lora:',
    '>',
  ],
  ...[
    'a cat',
    ' AND ',
    ' BREAK ',
    '0.5',
    '1e9',
    '-1',
    'Size: 9x9',
    'Hires upscale: 2',
    'Model: m',
    '++',
    '::',
    'TI hashes: "a: b"',
  ],
  ...[
    'Seed: 99999999999999999999',
    'CFG scale: NaN',
    'Denoising strength: 7',
    'Module 1: ae',
    'Clip skip: 99',
    '\u{1f431}',
    '\0',
  ],
)
test('whatever stands in a picture, reading it neither fails oddly nor takes long', () => {
  const any = fc.oneof(
    fc.string({ maxLength: 200 }),
    fc.array(words, { maxLength: 60 }).map((all) => all.join('')),
  )
  fc.assert(
    fc.property(any, any, fc.boolean(), (before, after, ended) => {
      const took = stopwatch()
      const text = `${before}\n${ended ? settings(`, ${after}`) : after}`
      try {
        const { prompt } = readWorkflow('a.png', { parameters: text })
        const { node_errors } = validatePrompt(prompt!, definitions, { assumeModels: true, hasInputFile: () => true })
        // Only what waits for a person may be amiss.
        for (const { errors } of Object.values(node_errors)) {
          for (const { type } of errors) expect(type).toBe('value_not_in_list')
        }
      } catch (cause) {
        if ((cause as { code?: string }).code !== 'import.no-workflow') throw cause
      }
      expect(took()).toBeLessThan(1000)
    }),
    { numRuns: 1500, seed: 15 },
  )
})

test('settings that can be made neither number nor text are none', () => {
  const odd = [{ toString: null }]
  const said = { prompt: 'a', uc: '', sampler: 'k_euler', steps: odd, seed: odd, n_samples: odd }
  expect(Object.keys(readWorkflow('a.png', { Comment: JSON.stringify(said) }).prompt!)).not.toEqual([])
})

test('settings in JSON of any shape neither fail oddly nor take long', () => {
  const templates = pictures.flatMap(({ texts }) =>
    Object.entries(texts).flatMap(([key, text]) =>
      /^\{/.test(text) ? [[key, JSON.parse(text) as Json] as const] : [],
    ),
  )
  const mutated = fc.tuple(
    fc.constantFrom(...templates),
    fc.infiniteStream(fc.jsonValue()),
    fc.infiniteStream(fc.nat(9)),
  )
  fc.assert(
    fc.property(mutated, ([[key, template], values, dice]) => {
      const change = (value: Json): Json => {
        if (dice.next().value === 0) return values.next().value as Json
        if (Array.isArray(value)) return value.map(change)
        if (!isJsonObject(value)) return value
        return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, change(item)]))
      }
      const text = JSON.stringify(change(template))
      try {
        readWorkflow('a.png', { [key]: text })
      } catch (cause) {
        expect((cause as { code?: string }).code).toMatch(/^import\./)
      }
    }),
    { numRuns: 600, seed: 16 },
  )
})

test.each([
  ['brackets that never close', '['.repeat(100_000)],
  ['round brackets that never close', '('.repeat(100_000)],
  ['brackets that close', `${'['.repeat(50_000)}${']'.repeat(50_000)}`],
  ['brackets in brackets', '(a[b'.repeat(15_000) + '])'.repeat(15_000)],
  ['many weights', '(a:1.1)'.repeat(14_000)],
  ['many switches', '[a:b:3]'.repeat(14_000)],
  ['many choices', '[a|b]'.repeat(20_000)],
  ['many tags', '<lora:a:1>'.repeat(10_000)],
  ['tags that never close', '<lora:'.repeat(16_000)],
  ['digits', `(a:${'1'.repeat(100_000)}`],
  ['colons and spaces', ': '.repeat(50_000)],
  ['many parts', 'a AND '.repeat(16_000)],
  ['many chunks', 'a BREAK '.repeat(12_000)],
  ['commas', ','.repeat(100_000)],
  ['line ends', `${'\n'.repeat(80_000)}!`],
  ['spaces after commas', `${', '.repeat(20_000)}${' '.repeat(50_000)}!`],
  ['quotes', '"'.repeat(100_000)],
  ['flags', `"a"${' -s 1'.repeat(4_000)} "`],
  ['keys', 'a: b, '.repeat(15_000)],
  ['backslashes', '\\'.repeat(100_000)],
])('%s: read in under a second', (_, text) => {
  const took = stopwatch()
  const prompt = promptOf(`${text}\nNegative prompt: ${text.slice(0, 1000)}\n${settings()}`)
  expect(Object.keys(prompt).length).toBeGreaterThan(5)
  expect(took()).toBeLessThan(1000)
  const tookOthers = stopwatch()
  try {
    readWorkflow('a.png', {
      parameters: `a\n${settings(`, X: ${text}`)}`,
      Dream: text,
      invokeai_metadata: JSON.stringify({ app_version: '1', positive_prompt: text }),
      Comment: JSON.stringify({ prompt: text, uc: '', sampler: 'k_euler' }),
    })
  } finally {
    expect(tookOthers()).toBeLessThan(1000)
  }
})
