import { createHash, createHmac } from 'node:crypto'
import { isIP } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import { Agent, request } from 'undici'
import { type Hook, isOver, type Task } from '../../contract/agent.ts'
import { AppError } from '../../contract/errors.ts'
import { type JsonObject, writeJson } from '../../contract/json.ts'
import { reasonOf } from '../../engine/comfy/client.ts'
import { isPublic, lookupAmong } from '../../engine/download/fetch-public.ts'
import type { Links } from './links.ts'
import { progressMap } from './progress.ts'
import type { TaskStore } from './tasks.ts'

export interface WebhookOptions {
  readonly store: TaskStore
  readonly links: Links
  /** Epoch ms. */
  readonly now: () => number
  /** Addresses that may be told; of the internet alone where nothing is said. */
  readonly mayReach?: (address: string) => boolean
  /** Hosts that may be told wherever they are, as in the network of whoever runs this. */
  readonly hosts?: readonly string[]
  readonly lookEveryMs?: number
  readonly log?: (event: string, facts: JsonObject) => void
}

/** Six tries in about an hour. */
const PAUSES_MS = [5_000, 30_000, 120_000, 600_000, 2_700_000]
const CONNECT_WITHIN_MS = 8_000
const ANSWER_WITHIN_MS = 10_000
const LOOK_EVERY_MS = 5_000
const LOOK_AGAIN_MS = 10_000
/** A try that was claimed and not told of for so long is of an agent that is gone. */
const GONE_AFTER_MS = 60_000
/** What never became a task by then was refused, or its caller will send it again. */
const FORGET_AFTER_MS = 600_000
const LINKS_SECONDS = 86_400
const MOST_AT_ONCE = 8

/**
 * Tells the address a caller gave when its task is over: signed as Standard Webhooks are, until it is taken, by whichever
 * agent of the store is there. What is owed lies in the store before its task does.
 */
export class Webhooks {
  readonly #options: WebhookOptions
  readonly #agent: Agent
  readonly #inside: Agent
  readonly #stopped = new AbortController()
  /** When one is worth looking at again. */
  readonly #lookAt = new Map<string, number>()
  /** When a try of another was first seen to be claimed. */
  readonly #claimed = new Map<string, number>()
  readonly #telling = new Map<string, Promise<void>>()
  /** Those that came to be due while they were being looked at. */
  readonly #again = new Set<string>()
  #watch: Promise<void> = Promise.resolve()
  #key: Promise<Buffer> | undefined

  constructor(options: WebhookOptions) {
    this.#options = options
    this.#agent = new Agent({ connect: { timeout: CONNECT_WITHIN_MS, lookup: lookupAmong(this.#mayReach) } })
    this.#inside = new Agent({ connect: { timeout: CONNECT_WITHIN_MS } })
  }

  start() {
    this.#watch = this.#keepWatch()
  }

  async stop() {
    this.#stopped.abort()
    await Promise.allSettled([this.#watch, ...this.#telling.values()])
    await Promise.all([this.#agent.destroy(), this.#inside.destroy()])
  }

  get #mayReach() {
    return this.#options.mayReach ?? isPublic
  }
  #isNamed({ hostname }: URL) {
    return this.#options.hosts?.some((host) => host.toLowerCase() === hostname) === true
  }

  /** What a receiver checks signatures with; each key of the agent has one of its own. */
  async secretOf(caller: string): Promise<string> {
    this.#key ??= this.#options.store.secret()
    const key = createHmac('sha256', await this.#key).update(JSON.stringify(['webhook', caller]))
    return `whsec_${key.digest('base64')}`
  }

  /** Before its task is taken in; a task has one. @throws AppError 'app.bad-request' */
  async owe(id: string, url: string, caller: string, base: string) {
    const { store, now } = this.#options
    const refuse = (reason: string) => new AppError('app.bad-request', { reason: `the webhook ${reason}` })
    const target = URL.parse(url)
    if (!target || !/^https?:$/.test(target.protocol) || url.length > 2_000) throw refuse('is no http(s) address')
    if (target.username || target.password) throw refuse('has credentials in its address')
    const host = target.hostname.replace(/^\[|\]$/g, '')
    if (isIP(host) && !this.#mayReach(host) && !this.#isNamed(target)) throw refuse('is not on the internet')
    const before = await store.hook(id)
    if (before && before.reason !== NO_TASK) return
    const at = now()
    const hook = { id, url: target.href, caller, base, createdAt: at, tries: 0, nextAt: at, toldAt: null, reason: null }
    await store.putHook(hook)
  }

  /** Its task was refused. */
  async drop(id: string) {
    const { store } = this.#options
    const hook = await store.hook(id)
    if (hook && (await store.get(id)) === null) await store.putHook({ ...hook, nextAt: null, reason: NO_TASK })
  }

  /** Once more from the beginning. @throws AppError 'app.not-found' */
  async again(id: string): Promise<Hook> {
    const { store, now } = this.#options
    const hook = await store.hook(id)
    if (!hook) throw new AppError('app.not-found', { what: id })
    const next = { ...hook, nextAt: now(), toldAt: null, reason: null, tries: hook.tries }
    await store.putHook(next)
    this.look(id)
    return next
  }

  /** It may be due now. */
  look(id: string) {
    this.#lookAt.delete(id)
    if (this.#stopped.signal.aborted) return
    if (this.#telling.has(id)) return void this.#again.add(id)
    const telling = this.#tell(id)
      .catch((cause) => this.#options.log?.('webhook.unreadable', { id, reason: reasonOf(cause) }))
      .finally(() => {
        this.#telling.delete(id)
        if (this.#again.delete(id)) this.look(id)
      })
    this.#telling.set(id, telling)
  }

  async #keepWatch() {
    const { store, now, log, lookEveryMs = LOOK_EVERY_MS } = this.#options
    const { signal } = this.#stopped
    while (!signal.aborted) {
      try {
        const owed = await store.owed()
        for (const id of this.#lookAt.keys()) if (!owed.includes(id)) this.#lookAt.delete(id)
        for (const id of owed) {
          if ((this.#lookAt.get(id) ?? 0) > now() || this.#telling.has(id)) continue
          while (this.#telling.size >= MOST_AT_ONCE) await Promise.race(this.#telling.values())
          this.look(id)
        }
      } catch (cause) {
        log?.('webhooks.unreadable', { reason: reasonOf(cause) })
      }
      await pause(lookEveryMs, undefined, { signal }).catch(() => {})
    }
  }

  async #tell(id: string) {
    const { store, now, log } = this.#options
    const hook = await store.hook(id)
    if (!hook || hook.nextAt === null) return
    if (hook.nextAt > now()) return void this.#lookAt.set(id, hook.nextAt)
    const task = await store.get(id)
    if (!task && hook.createdAt < now() - FORGET_AFTER_MS)
      return store.putHook({ ...hook, nextAt: null, reason: NO_TASK })
    if (!task || !isOver(task.state)) return void this.#lookAt.set(id, now() + LOOK_AGAIN_MS)
    if (task.owner !== undefined && task.owner !== hook.caller)
      // of another key, who is told nothing of it
      return store.putHook({ ...hook, nextAt: null, reason: NO_TASK })
    const tries = hook.tries + 1
    const claim = `hook-${tries}`
    let reason: string | null = 'the agent that was telling it has gone'
    if (await store.mark(id, claim)) {
      reason = await this.#post(hook, task)
      if (reason !== null && this.#stopped.signal.aborted) return // another agent, or the next start, goes on
    } else {
      const seen = this.#claimed.get(`${claim} ${id}`) ?? now()
      this.#claimed.set(`${claim} ${id}`, seen)
      if (now() - seen < GONE_AFTER_MS) return void this.#lookAt.set(id, now() + LOOK_AGAIN_MS)
    }
    this.#claimed.delete(`${claim} ${id}`)
    const waitMs = reason === GONE ? undefined : PAUSES_MS[tries - 1]
    const next: Hook = {
      ...hook,
      tries,
      toldAt: reason === null ? now() : null,
      nextAt: reason === null || waitMs === undefined ? null : Math.round(now() + waitMs * (0.8 + 0.4 * Math.random())),
      reason,
    }
    await store.putHook(next)
    if (next.nextAt !== null) this.#lookAt.set(id, next.nextAt)
    const host = URL.parse(hook.url)?.host ?? ''
    log?.(reason === null ? 'webhook.told' : 'webhook.failed', { id, host, tries, ...(reason !== null && { reason }) })
  }

  /** null: it was taken; else why not. */
  async #post(hook: Hook, task: Task): Promise<string | null> {
    const { links, now } = this.#options
    const linked = await links.withLinks(task, LINKS_SECONDS, hook.base)
    const at = now()
    const body = writeJson({
      type: `task.${task.state}`,
      timestamp: new Date(at).toISOString(),
      data: progressMap(linked),
    })
    const id = `task_${createHash('sha256').update(hook.id).digest('hex').slice(0, 32)}`
    const timestamp = String(Math.floor(at / 1000))
    const key = Buffer.from((await this.secretOf(hook.caller)).slice('whsec_'.length), 'base64')
    const signature = createHmac('sha256', key).update(`${id}.${timestamp}.${body}`).digest('base64')
    try {
      const answer = await request(hook.url, {
        method: 'POST',
        headers: {
          'content-type': 'application/json',
          'user-agent': 'nightshift',
          'webhook-id': id,
          'webhook-timestamp': timestamp,
          'webhook-signature': `v1,${signature}`,
        },
        body,
        dispatcher: this.#isNamed(new URL(hook.url)) ? this.#inside : this.#agent,
        signal: AbortSignal.any([AbortSignal.timeout(ANSWER_WITHIN_MS), this.#stopped.signal]),
      })
      answer.body.on('error', () => {}).destroy() // what it says beside its status is of no use
      const { statusCode } = answer
      if (statusCode === 410) return GONE
      return statusCode >= 200 && statusCode < 300 ? null : `HTTP ${statusCode}`
    } catch (cause) {
      return reasonOf(cause)
    }
  }
}

const GONE = 'HTTP 410'
const NO_TASK = 'it never became a task'
