import { Agent, type Dispatcher } from 'undici'
import { AppError } from '../../contract/errors.ts'
import { type Json, parseJson } from '../../contract/json.ts'
import { reasonOf } from '../comfy/client.ts'
import { bytesWithin, follow } from './follow.ts'

export interface ListRequest {
  /** In the order to try them. */
  addresses: readonly URL[]
  /** Whether it is what was asked for: some proxies answer anything with a page of their own. */
  isRight: (list: Json) => boolean
  /** Where there is none, the list is null. */
  mayLack?: boolean
  limitBytes: number
  /** Without an answer for this long, the next address is tried as well. */
  patienceMs?: number
  timeoutMs?: number
  /** Of the copy we have: sent only to the address that gave it. */
  etag?: { url: string; value: string } | null
  signal?: AbortSignal
  /** How the network is reached; not said: directly. */
  dispatcher?: Dispatcher
}
export type FetchedList =
  | { is: 'new'; url: string; etag: string | null; text: string; list: Json }
  /** The copy we have is still what the source has. */
  | { is: 'same'; url: string }

/**
 * A list that others keep, from whichever address has it first. No token, cookie or header of ours goes along.
 * @throws AppError 'list.unreachable' when no address gives it
 */
export async function fetchList(asked: ListRequest): Promise<FetchedList> {
  const { addresses, patienceMs = 3_000, timeoutMs = 60_000 } = asked
  const over = new AbortController()
  const agent = asked.dispatcher ?? new Agent({ connect: { timeout: 10_000 } })
  const limits = [over.signal, AbortSignal.timeout(timeoutMs), asked.signal]
  const signal = AbortSignal.any(limits.filter((given) => given !== undefined))
  const reasons: string[] = []
  const { promise: won, resolve: win } = Promise.withResolvers<FetchedList | null>()
  const underWay = new Set<Promise<void>>()
  let next = 0
  const tryNext = () => {
    const address = addresses[next++]
    if (!address) return
    let later: NodeJS.Timeout | undefined
    const attempt = askOne(address, asked, agent, signal)
      .then(win, (cause) => {
        reasons.push(`${address.host}: ${reasonOf(cause)}`)
        tryNext()
      })
      .finally(() => {
        clearTimeout(later)
        underWay.delete(attempt)
        if (underWay.size === 0) win(null)
      })
    underWay.add(attempt)
    later = setTimeout(tryNext, patienceMs)
  }
  tryNext()
  try {
    const found = await won
    asked.signal?.throwIfAborted()
    if (!found) throw new AppError('list.unreachable', { reason: reasons[0] ?? 'no answer in time', reasons })
    return found
  } finally {
    next = addresses.length
    over.abort()
    await Promise.allSettled(underWay)
    if (!asked.dispatcher) await agent.destroy()
  }
}

async function askOne(address: URL, asked: ListRequest, agent: Dispatcher, signal: AbortSignal): Promise<FetchedList> {
  const { isRight, limitBytes, etag } = asked
  const headers = etag?.url === address.href ? { 'if-none-match': etag.value } : {}
  const reply = await follow(address, { dispatcher: agent, signal, headers })
  if (reply.statusCode === 304) {
    await reply.body.dump()
    return { is: 'same', url: address.href }
  }
  if (reply.statusCode === 404 && asked.mayLack) {
    await reply.body.dump()
    return { is: 'new', url: address.href, etag: null, text: 'null', list: null }
  }
  if (reply.statusCode !== 200) {
    await reply.body.dump()
    throw new Error(`HTTP ${reply.statusCode}`)
  }
  const text = (await bytesWithin(reply, limitBytes)).toString('utf8')
  const list = parseJson(text)
  if (!isRight(list)) throw new Error('it sent something else')
  const { etag: mark } = reply.headers
  return { is: 'new', url: address.href, etag: typeof mark === 'string' ? mark : null, text, list }
}
