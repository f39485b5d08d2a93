import type { Prompt } from '../../../contract/comfyui.ts'
import { AppError } from '../../../contract/errors.ts'
import { isJsonObject, type Json } from '../../../contract/json.ts'
import type { Problem } from '../../../contract/workflow.ts'
import { parseForeignJson } from '../json-text.ts'
import { parseA1111, settingsOf } from './a1111.ts'
import { readDream, readSettings, type Understood } from './programs.ts'
import { promptOf } from './settings.ts'

export interface ForeignPrompt {
  prompt: Prompt
  problems: Problem[]
}

const built = ({ settings, problems }: Understood): ForeignPrompt => {
  const made = promptOf(settings)
  return { prompt: made.prompt, problems: [...made.problems, ...problems] }
}

/** How another program says it made a picture, as a prompt; null: it says nothing that is understood. */
export function readForeignText(text: string): ForeignPrompt | null {
  const described = parseA1111(text)
  if (described) return built(settingsOf(described))
  const dream = readDream(text)
  return dream && built(dream)
}

/** The same of JSON; the answer of AUTOMATIC1111's interface holds the text once more. */
export function readForeignJson(value: Json, depth = 0): ForeignPrompt | null {
  if (typeof value === 'string') return readForeignText(value)
  if (!isJsonObject(value) || depth > 3) return null
  const infos = Array.isArray(value.infotexts) ? value.infotexts : []
  if (typeof infos[0] === 'string') {
    const read = readForeignText(infos[0])
    if (read) return read
  }
  const settings = readSettings(value)
  if (settings) return built(settings)
  for (const key of ['info', 'parameters', 'meta', 'metadata', 'extraMetadata', 'image_meta', 'sd-metadata']) {
    const inner = value[key]
    const read =
      inner === undefined ? null : readForeignJson(typeof inner === 'string' ? jsonIn(inner) : inner, depth + 1)
    if (read) return read
  }
  return null
}

/** A picture's texts by key, whichever holds the settings. */
export function readForeignTexts(texts: Record<string, string>): ForeignPrompt | null {
  const keys = Object.keys(texts).sort((one, other) => rank(one) - rank(other))
  for (const key of keys) {
    const value = jsonIn(texts[key]!)
    // Some readers hand over only the inner part, under its own key.
    const isInner = key.toLowerCase() === 'sui_image_params' && isJsonObject(value) && !('sui_image_params' in value)
    const read = readForeignJson(isInner ? { sui_image_params: value } : value)
    if (read) return read
  }
  return null
}
const first = ['parameters', 'usercomment', 'invokeai_metadata', 'sd-metadata', 'comment', 'sui_image_params']
const rank = (key: string) => {
  const at = first.indexOf(key.toLowerCase())
  return at < 0 ? first.length : at
}

/** The JSON a text is; otherwise the text itself. */
function jsonIn(text: string): Json {
  if (!/^\s*[{["]/.test(text)) return text
  try {
    return parseForeignJson('', text)
  } catch (cause) {
    if (cause instanceof AppError) return text
    throw cause
  }
}
