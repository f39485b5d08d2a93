import type { Values } from '../../contract/batch.ts'
import type { Prompt } from '../../contract/comfyui.ts'
import type { Json } from '../../contract/json.ts'
import type { Parameter } from '../../contract/workflow.ts'
import type { NameFacts } from '../artifact-name.ts'
import { clip } from '../artifact-name.ts'
import { isSeed } from './expand.ts'

interface Told {
  readonly batch: string
  readonly workflow: string
  readonly row: number
  /** 0 for the batch's first job. */
  readonly index: number
  readonly overrides: Values
  /** Table columns that are no parameter. */
  readonly extra: Readonly<Record<string, string>>
  /** The original column of each parameter, by its key. */
  readonly columns: Readonly<Record<string, string>>
  readonly parameters: readonly Parameter[]
  /** The job's, complete. */
  readonly prompt: Prompt
  /** The input files it uses as a person gave them, by parameter key: a server calls them otherwise. */
  readonly inputs?: Values
}

const NAME_COLUMN = /^(name|file ?name|title|id|名称|名字|文件名|标题|编号|名)$/i
const NAME_LENGTH = 40

/** What a job knows of the names of its outputs. */
export function nameFacts(
  told: Told,
): Pick<NameFacts, 'batch' | 'workflow' | 'row' | 'index' | 'seed' | 'name' | 'columns' | 'params'> {
  const { parameters, overrides } = told
  const params: Record<string, Json> = {}
  const columns: Record<string, string> = { ...told.extra }
  let seed: Json = null
  for (const parameter of parameters) {
    const value = valueIn(told, parameter)
    if (value === undefined || (typeof value === 'object' && value !== null)) continue
    params[parameter.name] = fileName(value)
    const column = told.columns[parameter.key]
    if (column !== undefined && parameter.key in overrides)
      columns[column] = String(fileName(overrides[parameter.key]!))
    if (seed === null && isSeed(parameter)) seed = value
  }
  const { batch, workflow, row, index } = told
  return { batch, workflow, row, index: index + 1, seed, name: tellingName(told), columns, params }
}

/** The words a person would know a job by: a column called name, else its prompt, else the other text it gives. */
function tellingName(told: Told): string {
  const { overrides, extra, parameters } = told
  const named = Object.entries(extra).find(([column, value]) => NAME_COLUMN.test(column.trim()) && value.trim() !== '')
  if (named) return clip(tidy(named[1]), NAME_LENGTH)
  const byRole = (role: Parameter['role'], given: boolean) =>
    parameters.filter((it) => it.role === role && it.key in overrides === given)
  const own = parameters.filter((it) => it.key in overrides && typeof overrides[it.key] === 'string')
  const candidates = [
    ...byRole('prompt', true),
    ...own.filter(({ role }) => role === 'placeholder' || role === 'image' || role === 'video' || role === 'audio'),
    ...own.filter(({ role }) => role !== 'negative' && role !== 'filename-prefix'),
    ...byRole('prompt', false),
  ]
  for (const parameter of candidates) {
    const value = valueIn(told, parameter)
    const words = typeof value === 'string' ? tidy(String(fileName(value))) : ''
    if (words) return clip(words, NAME_LENGTH)
  }
  return ''
}

const valueIn = ({ prompt, inputs }: Told, { key, node, input }: Parameter) =>
  inputs?.[key] ?? prompt[node]?.inputs[input]

/** What of a value may stand in a name: an input file is its name without folder and extension. */
function fileName(value: Json): Json {
  if (
    typeof value !== 'string' ||
    !/^(input:|[^\n]*\.(png|jpe?g|webp|gif|bmp|tiff?|avif|mp4|mov|webm|mkv|wav|mp3|flac|ogg|safetensors|ckpt|pth?|gguf)$)/i.test(
      value,
    )
  )
    return value
  return value.replace(/^.*[/\\]/s, '').replace(/\.[a-z0-9]+$/i, '')
}

/** Without weights and line breaks: `(masterpiece:1.2),  cat` → `masterpiece, cat`. */
const tidy = (text: string) =>
  text
    .replace(/[()[\]{}<>]+/g, '')
    .replace(/:-?\d+(\.\d+)?/g, '')
    .replace(/\s+/g, ' ')
    .replace(/^[\s,，。;；]+|[\s,，。;；]+$/g, '')
