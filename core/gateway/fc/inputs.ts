import { createHash, randomInt } from 'node:crypto'
import type { Readable } from 'node:stream'
import { imageInputs } from '../../contract/agent.ts'
import type { NodeId, Prompt } from '../../contract/comfyui.ts'
import { AppError } from '../../contract/errors.ts'
import type { Json } from '../../contract/json.ts'
import { mediaOf } from '../../domain/media.ts'
import type { ComfyClient } from '../../engine/comfy/client.ts'
import { fetchPublic } from '../../engine/download/fetch-public.ts'
import type { TaskStore } from './tasks.ts'

export interface InputRules {
  readonly limitBytes?: number
  readonly timeoutMs?: number
  /** Where files lie that were sent ahead. */
  readonly store?: Pick<TaskStore, 'read'>
  /** What cannot be reached keeps its address: a rehearsal draws something in its place. */
  readonly sketchUnreachable?: boolean
  /** For tests: which addresses may be asked. */
  readonly mayReach?: (address: string) => boolean
}

const LIMIT_BYTES = 64 * 2 ** 20
const SHORTEST_BASE64 = 64
const LONGEST_NAME = 255
const MOST_AT_ONCE = 4
const MOST_SEED = 2 ** 48 - 1 // what randomInt can reach; within what every JSON reader keeps

/** -1 for a seed means any: those are chosen here. The prompt that came is not changed. */
export function chooseSeeds(prompt: Prompt): { prompt: Prompt; seeds: Record<NodeId, number> } {
  const seeds: [NodeId, number][] = []
  const nodes = Object.entries(prompt).map(([id, node]): [NodeId, Prompt[string]] => {
    const free = Object.keys(node.inputs).filter((name) => /^(noise_)?seed$/.test(name) && isAny(node.inputs[name]))
    if (free.length === 0) return [id, node]
    const seed = randomInt(MOST_SEED)
    seeds.push([id, seed])
    const inputs = Object.entries(node.inputs).map(([name, value]) => [name, free.includes(name) ? seed : value])
    return [id, { ...node, inputs: Object.fromEntries(inputs) }]
  })
  return { prompt: Object.fromEntries(nodes), seeds: Object.fromEntries(seeds) }
}
const isAny = (value: Json | undefined) => value === -1 || value === '-1'

/**
 * Pictures, videos and sounds that came along in the workflow, as addresses in it, or ahead of it (`store:NAME`, in any
 * node), are put where ComfyUI reads them, each once, called by its sha256; names of files are left as they are.
 * @throws AppError 'agent.bad-input' | 'worker.unreachable' | 'worker.unauthorised'
 */
export async function placeInputs(
  client: Pick<ComfyClient, 'upload'>,
  prompt: Prompt,
  signal: AbortSignal,
  rules: InputRules = {},
): Promise<Prompt> {
  const placed = new Map<string, Promise<string>>()
  const wanted = Object.entries(prompt).flatMap(([node, { class_type, inputs }]) =>
    Object.entries(inputs).flatMap(([input, value]) => {
      const kinds = Object.hasOwn(imageInputs, class_type) ? imageInputs[class_type]! : {}
      if (typeof value !== 'string') return []
      if (STORED.test(value)) return [{ node, input, kind: '', value }]
      return Object.hasOwn(kinds, input) ? [{ node, input, kind: kinds[input]!, value }] : []
    }),
  )
  const names = new Map<NodeId, Record<string, string>>()
  const next = wanted.values()
  const work = async () => {
    for (const { node, input, kind, value } of next) {
      const key = `${kind} ${value}`
      if (!placed.has(key)) placed.set(key, place(client, value, kind, signal, rules))
      const name = await placed.get(key)!.catch((cause: unknown) => {
        if (!(cause instanceof Unusable)) throw cause
        throw new AppError('agent.bad-input', { node, input, reason: cause.message }, { cause })
      })
      names.set(node, { ...names.get(node), [input]: name })
    }
  }
  await Promise.all(Array.from({ length: MOST_AT_ONCE }, work))
  const nodes = Object.entries(prompt).map(([id, node]): [NodeId, Prompt[string]] => [
    id,
    names.has(id) ? { ...node, inputs: { ...node.inputs, ...names.get(id) } } : node,
  ])
  return Object.fromEntries(nodes)
}

class Unusable extends Error {}

/** The name ComfyUI is to be told. */
async function place(
  client: Pick<ComfyClient, 'upload'>,
  value: string,
  kind: string,
  signal: AbortSignal,
  rules: InputRules,
): Promise<string> {
  const { limitBytes = LIMIT_BYTES, timeoutMs = 60_000, mayReach, sketchUnreachable, store } = rules
  const [, stored] = STORED.exec(value) ?? []
  if (stored !== undefined) return sendStored(client, store, stored, signal)
  let bytes: Buffer
  if (/^https?:\/\//i.test(value)) {
    try {
      bytes = (await fetchPublic(value, { limitBytes, timeoutMs, signal, mayReach })).bytes
    } catch (cause) {
      if (!(cause instanceof AppError)) throw cause
      const reason = String(cause.facts.reason)
      if (sketchUnreachable && NO_NETWORK.test(reason)) return value
      throw new Unusable(reason, { cause })
    }
  } else {
    const found = fromBase64(value, limitBytes)
    if (!found) return value
    bytes = found
  }
  const media = mediaOf(bytes.subarray(0, 4096), '')
  if (media.kind !== kind && !(kind === 'audio' && media.kind === 'video')) {
    if (value.length <= LONGEST_NAME && !/^(data:|https?:)/i.test(value)) return value // a long name, after all
    throw new Unusable(`it is no ${kind}`)
  }
  const name = `${createHash('sha256').update(bytes).digest('hex')}.${media.ext}`
  const file = await client.upload({ bytes: new Uint8Array(bytes), name, subfolder: '' }, signal)
  return file.subfolder ? `${file.subfolder}/${file.filename}` : file.filename
}
const NO_NETWORK = /ENOTFOUND|EAI_AGAIN|ENETUNREACH|EHOSTUNREACH|ECONNREFUSED|ETIMEDOUT|timeout|no answer in time/i

async function sendStored(
  client: Pick<ComfyClient, 'upload'>,
  store: InputRules['store'],
  name: string,
  signal: AbortSignal,
) {
  const kept = store && (await readInput(store, name))
  if (!kept) throw new Unusable('it has not been sent, or was forgotten since')
  const bytes = Buffer.concat((await kept.toArray({ signal })) as Buffer[])
  const file = await client.upload({ bytes: new Uint8Array(bytes), name, subfolder: '' }, signal)
  return file.subfolder ? `${file.subfolder}/${file.filename}` : file.filename
}

// ---- files that are sent ahead of the tasks that use them ----

const STORED = /^store:([\da-f]{64}\.[a-z\d]{1,8})$/
const DAY_MS = 86_400_000
/** No task is called so: their ids have no blanks. */
const placeOf = (name: string) => `input ${name.slice(0, 64)}`
const BYTES = 'bytes'
export const isInputName = (name: string) => STORED.test(`store:${name}`)

/** Kept for as long as tasks are since it was last asked for. */
export async function hasInput(store: TaskStore, name: string, now: number): Promise<boolean> {
  if (!(await store.marked(placeOf(name), 'whole'))) return false
  await store.mark(placeOf(name), `asked-${Math.floor(now / DAY_MS)}`) // which changes it, as far as `expire` can tell
  return true
}

/** @throws AppError 'agent.bad-file': it is not what its name says; nothing is kept */
export async function keepInput(store: TaskStore, name: string, bytes: AsyncIterable<Uint8Array>, limitBytes: number) {
  const checked = async function* () {
    const hash = createHash('sha256')
    let size = 0
    for await (const chunk of bytes) {
      size += chunk.length
      if (size > limitBytes)
        throw new AppError('app.too-large', {
          name,
          sizeMiB: Math.ceil(size / 2 ** 20),
          limitMiB: Math.floor(limitBytes / 2 ** 20),
        })
      hash.update(chunk)
      yield chunk
    }
    if (hash.digest('hex') !== name.slice(0, 64)) throw new AppError('agent.bad-file', { name })
  }
  const kept = await store.keep(placeOf(name), BYTES, checked())
  await store.mark(placeOf(name), 'whole')
  return kept
}

const readInput = (store: Pick<TaskStore, 'read'>, name: string): Promise<Readable | null> =>
  store.read(placeOf(name), BYTES)

/** Standard or URL-safe, padded or not, alone or in a data: address; null for what is a name. @throws Unusable */
function fromBase64(value: string, limitBytes: number): Buffer | null {
  const [head = ''] = /^data:[^,]{0,200},/i.exec(value) ?? []
  if (value.startsWith('data:') && !/;base64,$/i.test(head)) throw new Unusable('a data: address holds base64')
  const text = value.slice(head.length)
  if (!head && text.length < SHORTEST_BASE64) return null
  if (!/^[A-Za-z0-9+/_\-\s]*={0,2}\s*$/.test(text)) {
    if (head) throw new Unusable('it is no base64')
    if (text.length > LONGEST_NAME) throw new Unusable('it is neither base64 nor the name of a file')
    return null
  }
  if (text.length * 0.75 > limitBytes + 3) throw new Unusable(`it is more than ${limitBytes / 2 ** 20} MiB`)
  return Buffer.from(text, 'base64') // takes either alphabet
}
