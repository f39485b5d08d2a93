import type { ObjectInfo, Prompt } from '../../contract/comfyui.ts'
import type { Inspection, Parameter, Problem } from '../../contract/workflow.ts'
import { convertWorkflow } from './convert.ts'
import { definitionOf } from './definitions.ts'
import { customNodeNeeds, modelNeeds, paidNodes } from './needs.ts'
import { findParameters } from './parameters.ts'
import { problem } from './problems.ts'
import type { ReadWorkflow } from './read.ts'
import { type Validation, validatePrompt } from './validate.ts'

/**
 * All there is to know of a workflow before it runs, judged by one set of definitions. Those that are `bundled`, or
 * from a file, know nothing of the models and input files of a server.
 */
export function inspectWorkflow(
  read: ReadWorkflow,
  container: Inspection['container'],
  definitions: ObjectInfo,
  definitionsFrom: Inspection['definitions'],
  validation?: Validation,
): Inspection & { prompt: Prompt } {
  const { prompt, problems } = convertWorkflow(read, definitions)
  const sure = definitionsFrom.from !== 'bundled'
  const parameters = findParameters(prompt, definitions, read.editor)
  const models = modelNeeds(prompt, definitions, read.editor, sure)
  const judged = validation ?? validatePrompt(prompt, definitions, { assumeModels: !sure })
  const missing = models.flatMap(({ file, folder, node, present }) => {
    const classType = prompt[node]?.class_type
    return present === false ? [problem('missing-model', 'missing-model', { file, folder }, { node, classType })] : []
  })
  return {
    format: read.format,
    container,
    nodes: Object.keys(prompt).length,
    parameters,
    models,
    customNodes: customNodeNeeds(prompt, definitions, read.editor),
    paid: paidNodes(prompt, definitions),
    outputs: Object.entries(prompt).flatMap(([node, { class_type, _meta }]) => {
      const definition = definitionOf(definitions, class_type)
      if (!definition?.output_node) return []
      return [{ node, classType: class_type, title: String(_meta?.title ?? definition.display_name ?? class_type) }]
    }),
    problems: [...problems, ...missing, ...refusals(judged, prompt, parameters, missing)],
    definitions: definitionsFrom,
    prompt,
  }
}

/** What the server would refuse, save for what is told already or still waits for a value. */
function refusals(
  { error, node_errors }: Validation,
  prompt: Prompt,
  parameters: Parameter[],
  missing: Problem[],
): Problem[] {
  const waiting = new Set(
    parameters
      .filter(({ default: value }) => typeof value === 'string' && value.includes('{{'))
      .flatMap(({ key, also }) => [key, ...(also ?? [])]),
  )
  const absent = new Set(missing.map((one) => `${one.node} ${String(one.facts?.file)}`))
  const problems: Problem[] = error?.type === 'prompt_no_outputs' ? [problem('bad-value', 'no-output', {})] : []
  for (const [node, { errors, class_type }] of Object.entries(node_errors)) {
    for (const { type, message, details, extra_info } of errors) {
      const input = typeof extra_info.input_name === 'string' ? extra_info.input_name : null
      const value = input === null ? undefined : prompt[node]?.inputs[input]
      if (input !== null && waiting.has(`${node}.${input}`)) continue
      if (type === 'value_not_in_list' && absent.has(`${node} ${String(value)}`)) continue
      problems.push({
        kind: 'bad-value',
        node,
        classType: class_type,
        input,
        message: details === '' ? message : `${message}: ${details}`,
        code: type,
        facts: { title: String(prompt[node]?._meta?.title ?? class_type), input: input ?? '', details },
      })
    }
  }
  return problems
}
