import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { isJsonObject, type Json, type JsonObject, parseJson } from '../../contract/json.ts'

/** What other programs put beside a model: Civitai helpers, Stability Matrix, LoRA managers, A1111. */
export interface Beside {
  readonly title: string | null
  readonly version: string | null
  /** Where Civitai has it. */
  readonly civitai: { readonly modelId: number; readonly versionId: number | null } | null
  /** As Civitai calls the family. */
  readonly base: string | null
  readonly triggerWords: string[]
  readonly note: string | null
  readonly picture: string | null
}

const PICTURE = /\.(png|jpe?g|webp|gif|avif)$/i
const LARGEST = 4 * 1024 * 1024

/** `names`: of the files beside `file` that belong to it. */
export async function readBeside(file: string, names: readonly string[]): Promise<Beside> {
  const dir = path.dirname(file)
  const pictures = names.filter((name) => PICTURE.test(name))
  const picture = pictures.find((name) => /\.preview\.[a-z]+$/i.test(name)) ?? pictures[0]
  const told: JsonObject[] = []
  for (const ending of ['.civitai.info', '.cm-info.json', '.metadata.json', '.json']) {
    const name = names.find(
      (each) =>
        each.toLowerCase().endsWith(ending) && (ending !== '.json' || !/\.(cm-info|metadata)\.json$/i.test(each)),
    )
    const read = name === undefined ? null : await readJson(path.join(dir, name))
    if (read) told.push(read)
  }
  const beside: { -readonly [K in keyof Beside]: Beside[K] } = {
    title: null,
    version: null,
    civitai: null,
    base: null,
    triggerWords: [],
    note: null,
    picture: picture === undefined ? null : path.join(dir, picture),
  }
  for (const one of told) {
    const civitai = isJsonObject(one.civitai) ? one.civitai : one
    const model = isJsonObject(civitai.model) ? civitai.model : {}
    const modelId = idOf(civitai.modelId) ?? idOf(one.ModelId)
    const versionId = idOf(one.VersionId) ?? (modelId === null ? null : idOf(civitai.id))
    beside.title ??= textIn(model.name) ?? textIn(one.ModelName) ?? textIn(one.model_name)
    beside.version ??= (modelId === null ? null : textIn(civitai.name)) ?? textIn(one.VersionName)
    beside.base ??=
      textIn(civitai.baseModel) ?? textIn(one.BaseModel) ?? textIn(one.base_model) ?? textIn(one['sd version'])
    beside.note ??= textIn(one.notes) ?? textIn(one.description)
    if (modelId !== null) beside.civitai ??= { modelId, versionId }
    if (beside.triggerWords.length === 0)
      beside.triggerWords = words(civitai.trainedWords ?? one.TrainedWords ?? one['activation text'])
  }
  return beside
}

async function readJson(file: string): Promise<JsonObject | null> {
  try {
    const bytes = await readFile(file)
    if (bytes.length > LARGEST) return null
    const read = parseJson(bytes.toString('utf8').replace(/^\uFEFF/, ''))
    return isJsonObject(read) ? read : null
  } catch {
    return null // not ours, and only an addition
  }
}

const textIn = (value: Json | undefined) =>
  typeof value === 'string' && value.trim() !== '' ? value.trim().slice(0, 4000) : null
const idOf = (value: Json | undefined) =>
  typeof value === 'number' && Number.isSafeInteger(value) && value > 0 ? value : null
const words = (value: Json | undefined): string[] => {
  const list = Array.isArray(value) ? value : typeof value === 'string' ? value.split(',') : []
  return list.flatMap((word) => textIn(word) ?? []).slice(0, 40)
}
