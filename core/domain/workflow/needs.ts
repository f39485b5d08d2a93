import type { ObjectInfo, Prompt } from '../../contract/comfyui.ts'
import { isJsonObject, type Json } from '../../contract/json.ts'
import type { Inspection } from '../../contract/workflow.ts'
import { definitionOf, inputNamed, inputsOf } from './definitions.ts'
import { type EditorWorkflow, readEditor } from './editor.ts'
import { looksLikeModel, matchFile, modelFolderOf } from './models.ts'

type ModelNeed = Inspection['models'][number]

/**
 * Every model file the prompt names. `sure`: the definitions are those of the server that would run it, so their
 * lists say what is there.
 */
export function modelNeeds(
  prompt: Prompt,
  definitions: ObjectInfo,
  editor: EditorWorkflow | null,
  sure: boolean,
): ModelNeed[] {
  const sources = editor ? modelSources(editor) : new Map<string, ModelNeed['sources']>()
  const folderOfList = sure ? foldersByList(definitions) : new Map<string, string>()
  const needs: ModelNeed[] = []
  const seen = new Set<string>()
  const add = (node: string, file: string, folder: string, present: boolean | null) => {
    const key = `${node}\0${file}\0${folder}`
    if (seen.has(key)) return
    seen.add(key)
    needs.push({ file, folder, node, present, sources: sources.get(baseName(file)) ?? [] })
  }
  for (const [id, { class_type, inputs }] of Object.entries(prompt)) {
    const definition = definitionOf(definitions, class_type)
    for (const [name, value] of Object.entries(inputs)) {
      if (isJsonObject(value) && typeof value.lora === 'string' && value.lora !== 'None')
        add(id, value.lora, 'loras', null)
      if (typeof value !== 'string') continue
      for (const embedding of value.matchAll(/\bembedding:([^\s,:;()[\]{}<>|]+)/g))
        add(id, embedding[1]!, 'embeddings', null)
      const declared = definition ? inputNamed(definition, name, inputs) : null
      const folder =
        modelFolderOf(class_type, name, value) ??
        (declared?.type === 'COMBO' && looksLikeModel(declared, value)
          ? (folderOfList.get(listKey(declared.choices)) ?? folderByName(name))
          : null)
      if (folder === null) continue
      const listed = sure && declared?.choices && declared.options.remote === undefined ? declared.choices : null
      add(id, value, folder, listed ? matchFile(listed, value) !== null : null)
    }
  }
  return needs
}

const baseName = (file: string) => file.replace(/^.*[\\/]/s, '').toLowerCase()
const listKey = (choices: Json[] | null) => (choices && choices.length > 0 ? JSON.stringify(choices) : '')
/** `sam_model_name` → `sam`: a guess at a folder that a pack brought. */
const folderByName = (input: string) => input.replace(/_?(model)?_?(name|file|path)?$/i, '') || 'models'

/** A list of choices equal to that of a known loader is that folder's. */
function foldersByList(definitions: ObjectInfo): Map<string, string> {
  const folders = new Map<string, string>()
  for (const [classType, definition] of Object.entries(definitions)) {
    for (const { name, choices } of inputsOf(definition)) {
      const folder = choices && choices.length > 0 ? modelFolderOf(classType, name, choices[0]) : null
      if (folder) folders.set(listKey(choices), folder)
    }
  }
  return folders
}

/** Where the author says the files come from: on each loader, or for the whole workflow. */
function modelSources(editor: EditorWorkflow): Map<string, ModelNeed['sources']> {
  const sources = new Map<string, ModelNeed['sources']>()
  const take = (models: Json | undefined) => {
    for (const model of Array.isArray(models) ? models : []) {
      if (!isJsonObject(model) || typeof model.name !== 'string' || typeof model.url !== 'string') continue
      if (!/^https?:\/\//i.test(model.url)) continue
      const known = sources.get(baseName(model.name)) ?? []
      if (known.some(({ url }) => url === model.url)) continue
      const source = { url: model.url, ...(typeof model.hash === 'string' && { hash: model.hash }) }
      sources.set(baseName(model.name), [...known, source])
    }
  }
  take(editor.models)
  const { root, subgraphs } = readEditor(editor)
  for (const graph of [root, ...subgraphs.values()]) {
    for (const node of graph.nodes.values()) take(node.properties.models)
  }
  return sources
}

/** Classes no definition is known for, with the packs the file itself names for them. */
export function customNodeNeeds(
  prompt: Prompt,
  definitions: ObjectInfo,
  editor: EditorWorkflow | null,
): Inspection['customNodes'] {
  const needs = new Map<string, Set<string>>()
  for (const { class_type } of Object.values(prompt)) {
    if (!definitionOf(definitions, class_type) && !needs.has(class_type)) needs.set(class_type, new Set())
  }
  if (needs.size > 0 && editor) {
    const { root, subgraphs } = readEditor(editor)
    for (const graph of [root, ...subgraphs.values()]) {
      for (const { type, properties } of graph.nodes.values()) {
        const { cnr_id, aux_id } = properties
        if (typeof aux_id === 'string' && aux_id !== '') needs.get(type)?.add(aux_id)
        if (typeof cnr_id === 'string' && cnr_id !== '' && cnr_id !== 'comfy-core') needs.get(type)?.add(cnr_id)
      }
    }
  }
  return [...needs].map(([classType, candidates]) => ({ classType, candidates: [...candidates] }))
}

/** Classes that call a paid service. */
export function paidNodes(prompt: Prompt, definitions: ObjectInfo): string[] {
  const classes = new Set(Object.values(prompt).map(({ class_type }) => class_type))
  return [...classes].filter((classType) => definitionOf(definitions, classType)?.api_node === true)
}

/**
 * The prompt with its model files named as one worker names them: the other slash, other case, another folder. Where
 * nothing needs it, nodes are shared and values are what they were.
 */
export function fitFiles(prompt: Prompt, definitions: ObjectInfo): Prompt {
  let fitted = prompt
  for (const [id, node] of Object.entries(prompt)) {
    const definition = definitionOf(definitions, node.class_type)
    if (!definition) continue
    for (const [input, value] of Object.entries(node.inputs)) {
      if (typeof value !== 'string') continue
      const declared = inputNamed(definition, input, node.inputs)
      if (!declared?.choices || !looksLikeModel(declared, value)) continue
      const there = matchFile(declared.choices, value)
      if (there === null || there === value) continue
      fitted = { ...fitted, [id]: { ...node, inputs: { ...fitted[id]!.inputs, [input]: there } } }
    }
  }
  return fitted
}
