// Questions and news between two processes, over a channel that clones what it is given.

type Message =
  | { is: 'ask'; id: number; name: string; given: unknown }
  | { is: 'tell'; name: string; given: unknown }
  | { is: 'answer'; id: number; value?: unknown; error?: string }

// biome-ignore lint/suspicious/noExplicitAny: each side knows what the other sends
type Handlers = Record<string, (given: any) => unknown>

export interface Line {
  /** Rejects with the other side's message, or when it is gone. */
  // biome-ignore lint/suspicious/noExplicitAny: each side knows what the other sends
  ask(name: string, given?: unknown): Promise<any>
  tell(name: string, given?: unknown): void
  hear(message: unknown): void
  /** The other side is gone. */
  cut(reason: string): void
}

export function makeLine(send: (message: Message) => void, handlers: Handlers): Line {
  const waiting = new Map<number, { resolve: (value: unknown) => void; reject: (cause: Error) => void }>()
  let asked = 0
  let gone: string | null = null

  async function answer(id: number, name: string, given: unknown) {
    try {
      if (!handlers[name]) throw new Error(`nobody answers ${name}`)
      send({ is: 'answer', id, value: await handlers[name](given) })
    } catch (cause) {
      send({ is: 'answer', id, error: cause instanceof Error ? cause.message : String(cause) })
    }
  }
  async function take(name: string, given: unknown) {
    try {
      await handlers[name]?.(given)
    } catch (cause) {
      console.error('stand-in:', cause)
    }
  }
  return {
    ask(name, given) {
      if (gone !== null) return Promise.reject(new Error(gone))
      asked += 1
      const { promise, resolve, reject } = Promise.withResolvers()
      waiting.set(asked, { resolve, reject })
      send({ is: 'ask', id: asked, name, given })
      return promise
    },
    tell(name, given) {
      if (gone === null) send({ is: 'tell', name, given })
    },
    hear(raw) {
      const message = raw as Message
      if (message.is === 'tell') void take(message.name, message.given)
      else if (message.is === 'ask') void answer(message.id, message.name, message.given)
      else {
        const asker = waiting.get(message.id)
        waiting.delete(message.id)
        if (message.error === undefined) asker?.resolve(message.value)
        else asker?.reject(new Error(message.error))
      }
    },
    cut(reason) {
      gone = reason
      for (const { reject } of waiting.values()) reject(new Error(reason))
      waiting.clear()
    },
  }
}
