import { isJsonObject, type Json, type JsonObject, parseJson } from '../../contract/json.ts'

export interface NodeProgress {
  state: string
  value: number
  max: number
  /** The node of the prompt that a person sees; the entry's own id may be one the server made while expanding it. */
  displayNode: string
}

/** What a ComfyUI tells over its socket. `node` is the id in the prompt; `promptId` is null where the server leaves it out. */
export type ComfyMessage =
  | { is: 'status'; queueRemaining: number; sid: string | null }
  | { is: 'features'; flags: JsonObject }
  | { is: 'started'; promptId: string }
  | { is: 'cached'; promptId: string; nodes: string[] }
  /** `node` null: the prompt has left the executor, well or not, and is in the history. */
  | { is: 'executing'; promptId: string | null; node: string | null }
  | { is: 'progress-state'; promptId: string; nodes: Record<string, NodeProgress> }
  | { is: 'progress'; promptId: string | null; node: string | null; value: number; max: number }
  | { is: 'executed'; promptId: string; node: string; output: JsonObject | null }
  | { is: 'succeeded'; promptId: string }
  | { is: 'errored'; promptId: string; type: string; facts: JsonObject }
  | { is: 'interrupted'; promptId: string }
  | { is: 'preview'; promptId: string | null; node: string | null; mediaType: string; bytes: Uint8Array }
  | { is: 'text'; node: string; text: string }
  | { is: 'unknown'; type: string }

/** A socket frame as a message; null for a frame that is damaged. Pure. */
export function readMessage(frame: string | Uint8Array): ComfyMessage | null {
  try {
    return typeof frame === 'string' ? readText(parseJson(frame)) : readBinary(frame)
  } catch {
    return null
  }
}

const text = (value: Json | undefined) => (typeof value === 'string' ? value : null)
/** 0 for what is no number: `1e999` is read as Infinity, which is none either. */
function number(value: Json | undefined): number {
  const given = typeof value === 'number' || typeof value === 'bigint' ? Number(value) : 0
  return Number.isFinite(given) ? given : 0
}
export function wholeNumber(value: Json | undefined): number {
  const given = Math.trunc(number(value))
  return Number.isSafeInteger(given) ? given : 0
}

function readText(frame: Json): ComfyMessage | null {
  if (!isJsonObject(frame) || typeof frame.type !== 'string') return null
  const data = isJsonObject(frame.data) ? frame.data : {}
  const promptId = text(data.prompt_id)
  const node = text(data.display_node) ?? text(data.node)
  const unknown: ComfyMessage = { is: 'unknown', type: frame.type }
  switch (frame.type) {
    case 'status': {
      const status = isJsonObject(data.status) ? data.status : {}
      const exec = isJsonObject(status.exec_info) ? status.exec_info : {}
      return { is: 'status', queueRemaining: wholeNumber(exec.queue_remaining), sid: text(data.sid) }
    }
    case 'feature_flags':
      return { is: 'features', flags: data }
    case 'executing':
      return { is: 'executing', promptId, node }
    case 'progress':
      return { is: 'progress', promptId, node, value: number(data.value), max: number(data.max) }
  }
  if (promptId === null) return unknown
  switch (frame.type) {
    case 'execution_start':
      return { is: 'started', promptId }
    case 'execution_cached': {
      const nodes = Array.isArray(data.nodes) ? data.nodes.filter((id) => typeof id === 'string') : []
      return { is: 'cached', promptId, nodes }
    }
    case 'progress_state': {
      const nodes = Object.entries(isJsonObject(data.nodes) ? data.nodes : {}).map(([id, state]) => {
        const { state: name, value, max, display_node_id } = isJsonObject(state) ? state : ({} as JsonObject)
        const displayNode = text(display_node_id) ?? id
        return [id, { state: text(name) ?? '', value: number(value), max: number(max), displayNode }] as const
      })
      return { is: 'progress-state', promptId, nodes: Object.fromEntries(nodes) }
    }
    case 'executed':
      return { is: 'executed', promptId, node: node ?? '', output: isJsonObject(data.output) ? data.output : null }
    case 'execution_success':
      return { is: 'succeeded', promptId }
    case 'execution_error':
      return { is: 'errored', promptId, type: text(data.exception_type) ?? '', facts: data }
    case 'execution_interrupted':
      return { is: 'interrupted', promptId }
  }
  return unknown
}

// protocol.py, BinaryEventTypes: the first four bytes of a binary frame, big-endian
const PREVIEW_IMAGE = 1
const TEXT = 3
const PREVIEW_IMAGE_WITH_METADATA = 4
const IMAGE_FORMATS: Record<number, string> = { 1: 'image/jpeg', 2: 'image/png' }
/** A preview is served as what it says it is, so it may say nothing but a picture. */
const PICTURE = /^image\/(jpeg|png|webp|gif|avif|bmp)$/
const pictureType = (value: Json | undefined) => (PICTURE.test(text(value) ?? '') ? (value as string) : 'image/jpeg')

function readBinary(frame: Uint8Array): ComfyMessage | null {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength)
  const event = view.getUint32(0)
  const second = view.getUint32(4)
  const decoder = new TextDecoder()
  switch (event) {
    case PREVIEW_IMAGE: {
      const mediaType = IMAGE_FORMATS[second] ?? 'image/jpeg'
      return { is: 'preview', promptId: null, node: null, mediaType, bytes: frame.subarray(8) }
    }
    case PREVIEW_IMAGE_WITH_METADATA: {
      const facts = parseJson(decoder.decode(frame.subarray(8, 8 + second)))
      if (!isJsonObject(facts)) return null
      return {
        is: 'preview',
        promptId: text(facts.prompt_id),
        node: text(facts.display_node_id) ?? text(facts.node_id),
        mediaType: pictureType(facts.image_type),
        bytes: frame.subarray(8 + second),
      }
    }
    case TEXT:
      return {
        is: 'text',
        node: decoder.decode(frame.subarray(8, 8 + second)),
        text: decoder.decode(frame.subarray(8 + second)),
      }
  }
  return { is: 'unknown', type: `binary ${event}` }
}
