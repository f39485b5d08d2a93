import type { NodeId, Prompt } from '../../contract/comfyui.ts'
import type { ComfyMessage } from './messages.ts'

export interface ProgressStep {
  readonly is: 'progress'
  readonly node: NodeId | null
  readonly value: number
  readonly max: number
  readonly overall: number
}

/** How far a prompt has come. A node that samples counts by its steps, any other as one; what is cached counts as done. */
export class PromptProgress {
  readonly #weights: Map<NodeId, number>
  readonly #total: number
  readonly #done = new Set<NodeId>()
  #node: NodeId | null = null
  #value = 0
  #max = 0
  #overall = 0
  #told = ''

  constructor(prompt: Prompt) {
    this.#weights = new Map(Object.entries(prompt).map(([id, { inputs }]) => [id, weightOf(inputs?.steps)]))
    this.#total = [...this.#weights.values()].reduce((sum, weight) => sum + weight, 0)
  }

  /** The step to tell, if this message moved anything. */
  hear(message: ComfyMessage): ProgressStep | undefined {
    switch (message.is) {
      case 'cached':
        for (const node of message.nodes) this.#done.add(node)
        break
      case 'executing':
        if (message.node === null) return undefined
        this.#enter(message.node)
        break
      case 'progress':
        if (message.node === null) return undefined
        this.#enter(message.node)
        this.#value = message.value
        this.#max = message.max
        break
      case 'executed':
        this.#enter(message.node)
        this.#done.add(message.node)
        break
      case 'progress-state':
        for (const [id, { state, displayNode, value, max }] of Object.entries(message.nodes)) {
          if (state === 'finished' && id === displayNode) this.#done.add(id)
          if (state !== 'running') continue
          this.#enter(displayNode)
          this.#value = value
          this.#max = max
        }
        break
      default:
        return undefined
    }
    return this.#step()
  }

  #enter(node: NodeId) {
    if (this.#node === node) return
    if (this.#node !== null) this.#done.add(this.#node)
    this.#done.delete(node)
    this.#node = node
    this.#value = 0
    this.#max = 0
  }

  #step(): ProgressStep | undefined {
    const [node, value, max] = [this.#node, this.#value, this.#max]
    let sum = [...this.#done].reduce((total, id) => total + (this.#weights.get(id) ?? 0), 0)
    if (node !== null && max > 0 && !this.#done.has(node)) sum += (this.#weights.get(node) ?? 0) * (value / max)
    this.#overall = Math.max(this.#overall, Math.min(1, this.#total > 0 ? sum / this.#total : 0))
    const now = `${node} ${value} ${max} ${this.#overall}`
    if (now === this.#told) return undefined
    this.#told = now
    return { is: 'progress', node, value, max, overall: this.#overall }
  }
}

const weightOf = (steps: unknown) => 1 + (typeof steps === 'number' && steps > 0 ? Math.min(steps, 1000) : 0)
