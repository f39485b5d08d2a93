import type { NodeReport, Task } from '../../contract/agent.ts'
import type { NodeId, Prompt } from '../../contract/comfyui.ts'
import { isJsonObject, type Json, type JsonObject, writeJson } from '../../contract/json.ts'
import type { ComfyMessage } from '../../engine/comfy/messages.ts'
import { toldOf } from './failures.ts'

type Entry = NodeReport

/** fc-comfyui's progress map, from what ComfyUI tells of one prompt. */
export class RunProgress {
  readonly #entries = new Map<NodeId, Entry>()

  constructor(prompt: Prompt) {
    for (const id of Object.keys(prompt)) this.#entries.set(id, blank())
  }

  get nodes(): Task['nodes'] {
    return Object.fromEntries(this.#entries)
  }

  /** Whether anything moved. `now` in whole seconds. */
  hear(message: ComfyMessage, now: number): boolean {
    switch (message.is) {
      case 'executing':
        if (message.node === null) this.#at('', now)
        else this.#begin(message.node, now)
        return true
      case 'progress':
        if (message.node === null) return false
        this.#move(message.node, message.value, message.max, now)
        return true
      case 'progress-state':
        for (const { state, value, max, displayNode } of Object.values(message.nodes)) {
          if (state === 'running') this.#move(displayNode, value, max, now)
          else if (state === 'finished' && this.#entries.get(displayNode)?.max) this.#finish(displayNode, now)
        }
        return true
      case 'cached':
        for (const id of message.nodes)
          Object.assign(this.#at(id, now), { max: 1, value: 1, start: 0, cached: true } satisfies Partial<Entry>)
        return true
      case 'executed':
        this.#finish(message.node, now)
        if (message.output) this.show(message.node, message.output, now)
        return true
      case 'errored': {
        const { node_id, node_type, exception_message } = message.facts
        const node = said(node_id)
        const error = { type: message.type, message: said(exception_message).trim(), node_type: said(node_type) }
        if (node !== '') this.#at(node, now).error = error
        return true
      }
      default:
        return false
    }
  }

  /** What a node gave out: pictures as fc-comfyui has them, all else beside. */
  show(node: NodeId, output: JsonObject, now: number) {
    const entry = this.#at(node, now)
    const { images, ...others } = output
    const pictures = (Array.isArray(images) ? images : []).filter(isFile)
    if (pictures.length > 0)
      entry.images = pictures.map(({ filename, subfolder, type }) => ({
        filename: said(filename),
        subfolder: said(subfolder),
        type: said(type) || 'output',
      }))
    if (Object.keys(others).length > 0) entry.outputs = others
  }

  /** All is done: what began has ended. */
  succeed(now: number) {
    for (const entry of this.#entries.values()) if (entry.max > 0) entry.value = entry.max
    Object.assign(this.#at('', now), { max: 1, value: 1 })
  }

  #begin(node: NodeId, now: number): Entry {
    const entry = this.#at(node, now)
    if (entry.start === 0) entry.start = now
    if (entry.max === 0) entry.max = 1
    return entry
  }

  #move(node: NodeId, value: number, max: number, now: number) {
    const entry = this.#begin(node, now)
    const most = Math.ceil(max)
    if (most < 1 || !Number.isSafeInteger(most)) return
    entry.max = most
    entry.value = Math.min(most, Math.max(0, Math.trunc(value)))
  }

  #finish(node: NodeId, now: number) {
    const entry = this.#at(node, now)
    entry.max = Math.max(1, entry.max)
    entry.value = entry.max
  }

  #at(node: NodeId, now: number): Entry {
    let entry = this.#entries.get(node)
    if (!entry) {
      entry = blank()
      this.#entries.set(node, entry)
    }
    entry.last_updated = now
    return entry
  }
}

/** A task as callers see it: its nodes, and itself under the empty name. */
export function progressMap(task: Task): Record<NodeId, JsonObject> {
  const { id, promptId, state, nodes, queuePosition, seeds, failure, seconds } = task
  const whole = nodes[''] ?? blank()
  const error = failure && { ...toldOf(failure), ...errorAt(nodes) }
  const own: JsonObject = {
    ...(whole as unknown as JsonObject),
    start: Math.floor(task.createdAt / 1000),
    last_updated: Math.floor(task.updatedAt / 1000),
    state,
    task_id: id,
    prompt_id: promptId,
    seeds,
    ...(seconds !== undefined && { seconds }),
    ...(queuePosition !== null && { queue_position: queuePosition }),
    ...(error && { error }),
  }
  const others = Object.entries(nodes).filter(([node]) => node !== '')
  return Object.fromEntries([['', own], ...others]) as Record<NodeId, JsonObject>
}

function errorAt(nodes: Task['nodes']): JsonObject {
  const [node, entry] = Object.entries(nodes).find(([, { error }]) => error !== undefined) ?? []
  return entry?.error ? { node_id: node!, node_type: entry.error.node_type ?? '' } : {}
}

const blank = (): Entry => ({ max: 0, value: 0, start: 0, last_updated: 0, images: null })
const said = (value: Json | undefined) => (typeof value === 'string' ? value : '')
const isFile = (item: Json): item is JsonObject => isJsonObject(item) && said(item.filename) !== ''

/** The chosen seeds as a header may hold them; null where they are too many. */
export function seedsHeader(seeds: Record<string, number>): string | null {
  const text = writeJson(seeds).replace(/[^\x20-\x7e]/g, (at) => `\\u${at.charCodeAt(0).toString(16).padStart(4, '0')}`)
  return text.length > 4096 ? null : text
}
