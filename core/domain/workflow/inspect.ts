import type { ObjectInfo, Prompt } from '../../contract/comfyui.ts'
import type { Inspection, Parameter, Problem } from '../../contract/workflow.ts'
import { convertWorkflow } from './convert.ts'
import { definitionOf } from './definitions.ts'
import { coreVersions, customNodeNeeds, madeWith, modelNeeds, paidNodes } from './needs.ts'
import { findParameters } from './parameters.ts'
import { familyOf } from './presets.ts'
import { problem } from './problems.ts'
import type { ReadWorkflow } from './read.ts'
import { type Validation, validatePrompt } from './validate.ts'
import { compareVersions } from './versions.ts'
import { estimateVram } from './vram.ts'

/** ComfyUI's own nodes in the newest version we know, whatever the server has. */
export interface CoreDefinitions {
  readonly definitions: ObjectInfo
  readonly version: string
}

/**
 * All there is to know of a workflow before it runs, judged by one set of definitions. Those that are `bundled`, or
 * from a file, know nothing of the models and input files of a server.
 */
export function inspectWorkflow(
  read: ReadWorkflow,
  container: Inspection['container'],
  definitions: ObjectInfo,
  definitionsFrom: Inspection['definitions'],
  core?: CoreDefinitions,
): Inspection & { prompt: Prompt } {
  const { prompt, problems } = convertWorkflow(read, definitions)
  const sure = definitionsFrom.from !== 'bundled'
  const parameters = findParameters(prompt, definitions, read.editor)
  const models = modelNeeds(prompt, definitions, read.editor, sure)
  const judged = validatePrompt(prompt, definitions, { assumeModels: !sure, version: definitionsFrom.version })
  const customNodes = customNodeNeeds(prompt, definitions, read.editor)
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
    customNodes: fromCore(customNodes, read, core),
    family: familyOf(prompt, definitions, parameters),
    paid: paidNodes(prompt, definitions, core?.definitions),
    outputs: Object.entries(prompt).flatMap(([node, { class_type, _meta }]) => {
      const definition = definitionOf(definitions, class_type)
      if (!definition?.output_node) return []
      return [{ node, classType: class_type, title: String(_meta?.title ?? definition.display_name ?? class_type) }]
    }),
    problems: [
      ...problems,
      ...missing,
      ...refusals(judged, prompt, parameters, missing),
      ...olderServer(customNodes, read, definitionsFrom, core),
      ...cachedCopy(definitionsFrom),
    ],
    definitions: definitionsFrom,
    madeWith: madeWith(read.editor),
    vram: estimateVram(models, prompt),
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

/** Classes that a newer ComfyUI brings itself: by what the file says, else because the newest we know has them. */
function newerClasses(customNodes: Inspection['customNodes'], { editor }: ReadWorkflow, core?: CoreDefinitions) {
  const missing = new Set(customNodes.map(({ classType }) => classType))
  const versions = coreVersions(missing, editor)
  for (const classType of missing) {
    const known = core && definitionOf(core.definitions, classType)
    if (known && !versions.has(classType)) versions.set(classType, core.version)
  }
  return versions
}

function fromCore(customNodes: Inspection['customNodes'], read: ReadWorkflow, core?: CoreDefinitions) {
  const newer = newerClasses(customNodes, read, core)
  return customNodes.map((need) => {
    const version = newer.get(need.classType)
    if (version === undefined) return need
    const comfyui = { id: 'comfy-core', title: `ComfyUI ${version}`, url: null, why: 'file' as const }
    return { ...need, candidates: [comfyui.id, ...need.candidates], packs: [comfyui, ...need.packs] }
  })
}

function olderServer(
  customNodes: Inspection['customNodes'],
  read: ReadWorkflow,
  { version: at }: Inspection['definitions'],
  core?: CoreDefinitions,
): Problem[] {
  const newer = newerClasses(customNodes, read, core)
  if (newer.size === 0) return []
  const version = [...newer.values()].reduce((a, b) => (compareVersions(a, b) > 0 ? a : b))
  const facts = { classTypes: [...newer.keys()].join(', '), version, at: at ?? '?' }
  return [problem('warning', 'comfyui-too-old', facts)]
}

/** Definitions that are not today's: what a server has may have changed since. */
const cachedCopy = ({ from, cachedAt }: Inspection['definitions']): Problem[] =>
  cachedAt === undefined ? [] : [problem('warning', 'definitions-cached', { worker: from, at: minuteOf(cachedAt) })]
const minuteOf = (at: number) => `${new Date(at).toISOString().slice(0, 16).replace('T', ' ')} UTC`
