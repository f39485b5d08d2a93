import { fill } from '../contract/errors.ts'

/** What may be wrong with a model file. Other languages: resources/locales, problems.json, under the same codes. */
export const modelSentences: Readonly<Record<string, string>> = {
  'model.empty': 'The file is empty.',
  'model.not-a-model': 'This is no model but text that begins with “{begins}”: a download went wrong.',
  'model.damaged': 'The file is damaged: {reason}.',
  'model.truncated': 'The file was cut short: it has {size} bytes of {wanted}. Fetch it again.',
  'model.too-long': 'The file goes on after its end: it has {size} bytes where {wanted} belong to it.',
  'model.runs-code': 'Loading it would run {names}. Do not use it unless you know exactly who made it.',
  'model.unreadable-code': 'What it would run when loaded cannot be told: {reason}.',
  'model.unknown-code': 'Loading it uses {names}, which nobody here knows to be harmless.',
}

export const sayModelFault = ({ code, facts }: { code: string; facts: Record<string, string> }) => ({
  code,
  message: fill(modelSentences[code] ?? code, facts),
  facts,
})
