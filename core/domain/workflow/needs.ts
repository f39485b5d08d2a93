import { decoded } from '../../contract/address.ts'
import type { ObjectInfo, Prompt } from '../../contract/comfyui.ts'
import { isJsonObject, type Json } from '../../contract/json.ts'
import type { Inspection, ModelNeed } from '../../contract/workflow.ts'
import { definitionOf, inputNamed, inputsOf } from './definitions.ts'
import { type EditorNode, type EditorWorkflow, readEditor } from './editor.ts'
import { looksLikeModel, matchFile, modelFolderOf, namesModelFile } from './models.ts'
import { compareVersions } from './versions.ts'

/** A server's model files: what its definitions list, and the files of those folders that were asked for. */
export interface WorkerFiles {
  readonly worker: string
  readonly definitions: ObjectInfo | null
  readonly files: ReadonlyMap<string, readonly { name: string; sizeBytes: number | null }[]>
}

/** Classes that read `<lora:name:1>` in a text. */
const readsLoraTags =
  /lora.*(tag|text|prompt|manager)|(tag|text|prompt).*lora|wildcard|^PC[A-Z]|^ScheduleTo|^easy (positive|negative)|^ttN |WeiLin/i

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
  const said = editor ? saidOfFiles(editor) : new Map<string, Said>()
  const folderOfList = sure ? foldersByList(definitions) : new Map<string, string>()
  const needs: ModelNeed[] = []
  const seen = new Set<string>()
  const add = (node: string, input: string, file: string, folder: string, present: boolean | null) => {
    const key = `${node}\0${file}\0${folder}`
    if (seen.has(key)) return
    seen.add(key)
    const sources = said.get(baseName(file))?.sources ?? []
    needs.push({ file, folder, node, present, sources, input, workers: [], sizeBytes: null })
  }
  for (const [id, { class_type, inputs }] of Object.entries(prompt)) {
    const definition = definitionOf(definitions, class_type)
    for (const [name, value] of Object.entries(inputs)) {
      if (isJsonObject(value) && typeof value.lora === 'string' && value.lora !== 'None' && value.on !== false)
        add(id, name, value.lora, 'loras', null)
      if (typeof value !== 'string') continue
      for (const [, file] of value.matchAll(/\bembedding:([^\s,:;()[\]{}<>|]+)/g))
        add(id, name, file!, 'embeddings', null)
      if (readsLoraTags.test(class_type))
        for (const [, file] of value.matchAll(/<lora:([^:<>\n]+)(?::[^<>\n]*)?>/gi))
          add(id, name, file!.trim(), 'loras', null)
      const declared = definition ? inputNamed(definition, name, inputs) : null
      const folder =
        modelFolderOf(class_type, name, value) ??
        (namesModelFile(value) && (!declared || looksLikeModel(declared, value))
          ? (folderOfList.get(listKey(declared?.choices ?? null)) ??
            said.get(baseName(value))?.folder ??
            folderByName(name))
          : null)
      if (folder === null) continue
      const listed = sure && declared?.choices && declared.options.remote === undefined ? declared.choices : null
      add(id, name, value, folder, listed ? matchFile(listed, value) !== null : null)
    }
  }
  return needs
}

/** The folders a server has to be asked about: those whose files no definition of a class in the prompt lists. */
export const foldersOf = (models: readonly ModelNeed[]) => [...new Set(models.map(({ folder }) => folder))]

/** The same needs, with what each server has of them; `judged`: the one whose definitions were used. */
export function onWorkers(
  models: readonly ModelNeed[],
  prompt: Prompt,
  workers: readonly WorkerFiles[],
  judged?: string,
): ModelNeed[] {
  return models.map((need) => {
    let sizeBytes: number | null = need.sizeBytes
    const found = workers.map(({ worker, definitions, files }) => {
      const { class_type, inputs } = prompt[need.node] ?? { class_type: '', inputs: {} }
      const definition = definitions && definitionOf(definitions, class_type)
      const declared = definition && need.input !== undefined ? inputNamed(definition, need.input, inputs) : null
      const inFolder = files.get(need.folder)
      const value = need.input === undefined ? undefined : inputs[need.input]
      const isChoice = value === need.file && declared?.choices && declared.options.remote === undefined
      const names = isChoice ? declared.choices! : inFolder?.map(({ name }) => name)
      if (!names) return { worker, present: null }
      const as = matchFile(names, need.file)
      const size = as === null ? null : inFolder?.find(({ name }) => name === as)?.sizeBytes
      sizeBytes ??= size ?? null
      return { worker, present: as !== null, ...(as !== null && as !== need.file && { as }) }
    })
    const there = found.find(({ worker }) => worker === judged)?.present ?? null
    return { ...need, present: need.present ?? there, sizeBytes, workers: found }
  })
}

/** The root's, then those inside of subgraphs. */
function nodesIn(editor: EditorWorkflow): EditorNode[] {
  const { root, subgraphs } = readEditor(editor)
  return [root, ...subgraphs.values()].flatMap(({ nodes }) => [...nodes.values()])
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

/** What an author says of a file: where it comes from, and which folder it goes to. */
interface Said {
  readonly sources: ModelNeed['sources']
  folder?: string
}

/** By file name: on each loader, for the whole workflow, and in the notes beside them. */
function saidOfFiles(editor: EditorWorkflow): Map<string, Said> {
  const said = new Map<string, Said>()
  const take = (name: string, url: string, folder: unknown, hash?: unknown) => {
    if (!/^https?:\/\//i.test(url)) return
    const known = said.get(baseName(name)) ?? { sources: [] }
    said.set(baseName(name), known)
    if (typeof folder === 'string' && /^[\w-]+([/\\][\w-]+)*$/.test(folder)) known.folder ??= folder
    if (!known.sources.some((source) => source.url === url))
      known.sources.push({ url, ...(typeof hash === 'string' && { hash }) })
  }
  const takeAll = (models: Json | undefined) => {
    for (const model of Array.isArray(models) ? models : []) {
      if (!isJsonObject(model) || typeof model.name !== 'string' || typeof model.url !== 'string') continue
      take(model.name, model.url, model.directory, model.hash)
    }
  }
  takeAll(editor.models)
  const nodes = nodesIn(editor)
  for (const { properties } of nodes) takeAll(properties.models)
  for (const { type, raw } of nodes) {
    if (type !== 'MarkdownNote' && type !== 'Note') continue
    const values = raw.widgets_values
    const texts = Array.isArray(values) ? values : isJsonObject(values) ? Object.values(values) : []
    for (const text of texts) if (typeof text === 'string') readNote(text, take)
  }
  return said
}

/** Links to model files in a note, each under the heading before it: `**vae**`, then `- [file](address)`. */
function readNote(text: string, take: (name: string, url: string, folder: unknown) => void) {
  let heading: string | undefined
  for (const line of text.slice(0, 100_000).split('\n')) {
    const title =
      /^\s*(?:#{1,6}\s+|\*\*|[-*]\s+\*\*)`?(?:models\/)?([\w/-]+)`?(?:\*\*)?:?(?:\*\*)?\s*(?:\(.*\))?$/.exec(line)
    if (title) heading = /^[a-z\d_/]+$/.test(title[1]!) ? title[1] : undefined
    for (const [, url] of line.matchAll(/(https?:\/\/[^\s)\]>"'`]+)/g)) {
      const name = decoded(url!.replace(/[?#].*$/s, ''))
      if (!namesModelFile(name.replace(/^.*\//s, ''))) continue
      take(name, url!, heading)
      const label = line
        .slice(0, line.indexOf(url!))
        .match(/\[([^\][]+)\]\($/)?.[1]
        ?.trim()
      if (label && namesModelFile(label) && baseName(label) !== baseName(name)) take(label, url!, heading)
    }
  }
}

/** Classes no definition is known for, with the packs the file itself names for them. */
export function customNodeNeeds(
  prompt: Prompt,
  definitions: ObjectInfo,
  editor: EditorWorkflow | null,
): Inspection['customNodes'] {
  const needs = new Map<string, Map<string, Inspection['customNodes'][number]['packs'][number]>>()
  for (const { class_type } of Object.values(prompt)) {
    if (!definitionOf(definitions, class_type) && !needs.has(class_type)) needs.set(class_type, new Map())
  }
  if (needs.size > 0 && editor) {
    for (const { type, properties } of nodesIn(editor)) {
      const { cnr_id, aux_id, ver } = properties
      const packs = needs.get(type)
      const said = { why: 'file' as const, ...(typeof ver === 'string' && ver !== '' && { version: ver }) }
      if (typeof aux_id === 'string' && aux_id !== '')
        packs?.set(aux_id, { id: aux_id, title: aux_id, url: repositoryOf(aux_id), ...said })
      if (typeof cnr_id === 'string' && cnr_id !== '' && cnr_id !== 'comfy-core')
        packs?.set(cnr_id, { id: cnr_id, title: cnr_id, url: null, ...said })
    }
  }
  return [...needs].map(([classType, packs]) => ({
    classType,
    candidates: [...packs.keys()],
    packs: [...packs.values()],
  }))
}

/** `owner/repository`, as the editor notes it. */
const repositoryOf = (auxId: string) => (/^[\w.-]+\/[\w.-]+$/.test(auxId) ? `https://github.com/${auxId}` : null)

/** The newest ComfyUI that any of its nodes was saved from, and the editor; null: not noted. */
export function madeWith(editor: EditorWorkflow | null): { comfyui: string | null; editor: string | null } {
  if (!editor) return { comfyui: null, editor: null }
  const types = nodesIn(editor).map(({ type }) => type)
  const versions = [...coreVersions(new Set(types), editor).values()]
  const frontend = isJsonObject(editor.extra) ? editor.extra.frontendVersion : null
  return {
    comfyui: versions.toSorted(compareVersions).at(-1) ?? null,
    editor: typeof frontend === 'string' ? frontend : null,
  }
}

/** The version of ComfyUI that each of these classes was saved with, where the editor noted that it is ComfyUI's own. */
export function coreVersions(classTypes: ReadonlySet<string>, editor: EditorWorkflow | null): Map<string, string> {
  const versions = new Map<string, string>()
  if (!editor) return versions
  for (const { type, properties } of nodesIn(editor)) {
    const { cnr_id, ver } = properties
    if (!classTypes.has(type) || cnr_id !== 'comfy-core' || typeof ver !== 'string') continue
    if (compareVersions(ver, versions.get(type) ?? '0') > 0) versions.set(type, ver)
  }
  return versions
}

/** Classes that call a paid service; what these definitions lack may be known to `core`. */
export function paidNodes(prompt: Prompt, definitions: ObjectInfo, core?: ObjectInfo): string[] {
  const classes = new Set(Object.values(prompt).map(({ class_type }) => class_type))
  const known = (classType: string) =>
    definitionOf(definitions, classType) ?? (core ? definitionOf(core, classType) : null)
  return [...classes].filter((classType) => known(classType)?.api_node === true)
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
