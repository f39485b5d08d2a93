import type { Failure } from '../../contract/errors.ts'

/** What went wrong, without what names the machine and the network behind us. */
export function toldOf(failure: Failure) {
  const { code, message, remedy, facts } = failure
  const behind = isBehind(failure)
  return { type: code, message: behind ? BEHIND[code]! : message, remedy, facts: behind ? {} : facts }
}
export const isBehind = ({ code }: Failure) => Object.hasOwn(BEHIND, code)
const AWAY = 'The storage of the agent does not answer as it should.'
const BEHIND: Record<string, string> = {
  'app.internal': 'Something went wrong inside the agent.',
  'worker.unreachable': 'ComfyUI does not answer.',
  'disk.full': 'The storage of the agent is full.',
  'disk.denied': AWAY,
  'store.unreachable': AWAY,
  'store.refused': AWAY,
  'store.no-bucket': AWAY,
  'store.failed': AWAY,
}

/** Seconds after which it is worth asking again. */
export const RETRY: Record<string, string> = {
  'agent.busy': '5',
  'agent.too-many': '60',
  'agent.stopping': '1',
  'agent.not-ready': '5',
  'store.unreachable': '5',
}

export function statusOf({ code, facts }: Failure): number {
  const known = STATUS[code]
  if (known !== undefined) return known
  if (code === 'prompt.rejected' && String(facts.type).startsWith('http_5')) return 502
  if (code.startsWith('release.')) return 422
  if (code.startsWith('store.')) return 503
  if (/^prompt\.(rejected|missing-node|outputs-dropped|invalid|paid)$/.test(code)) return 422
  return /^(worker|output)\./.test(code) ? 502 : 500
}
const STATUS: Record<string, number> = {
  'app.bad-request': 400,
  'app.not-found': 404,
  'app.too-large': 413,
  'agent.no-key': 401,
  'agent.refused': 403,
  'agent.no-task': 404,
  'agent.task-differs': 409,
  'agent.bad-input': 422,
  'agent.bad-value': 422,
  'agent.bad-file': 422,
  'agent.no-release': 409,
  'agent.busy': 429,
  'agent.too-many': 429,
  'agent.stopping': 503,
  'agent.not-ready': 503,
  'agent.too-long': 504,
  'disk.full': 507,
  'prompt.interrupted': 499,
  'prompt.forgotten': 502,
}

/** fc-comfyui's own words for what went wrong. */
export function kindOf(code: string): string {
  if (code === 'agent.no-task' || code === 'app.not-found') return 'LoadProgressError'
  return /^(prompt|worker|output)\./.test(code) || code === 'agent.too-long'
    ? 'CallComfyUIPromptError'
    : 'RequestParamsError'
}
