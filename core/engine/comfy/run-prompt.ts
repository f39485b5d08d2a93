import { setTimeout as pause } from 'node:timers/promises'
import type { HistoryEntry, NodeErrors, NodeId, Prompt, PromptError, PromptReply } from '../../contract/comfyui.ts'
import { AppError, type Failure, toFailure } from '../../contract/errors.ts'
import type { Json } from '../../contract/json.ts'
import type { ComfyClient, Submission } from './client.ts'
import type { ComfyMessage } from './messages.ts'
import { collectOutputs, type Output } from './outputs.ts'
import { PromptProgress } from './progress.ts'

/** How a prompt ended. */
export type Ending =
  | { readonly is: 'saved'; readonly outputs: readonly Output[]; readonly seconds: number }
  /** `retryable`: the same prompt may work another time (out of memory, connection), unlike a refused value. */
  | { readonly is: 'failed'; readonly failure: Failure; readonly retryable: boolean }
  | { readonly is: 'interrupted' }
  /** The server no longer knows it: neither queue nor history. */
  | { readonly is: 'lost' }

export type JobStep =
  | { readonly is: 'submitted' }
  | { readonly is: 'started' }
  | {
      readonly is: 'progress'
      readonly node: NodeId | null
      readonly value: number
      readonly max: number
      /** Of the whole prompt, 0 to 1; never falls. */
      readonly overall: number
    }
  | { readonly is: 'preview'; readonly mediaType: string; readonly bytes: Uint8Array }
  | Ending

/** What became of a prompt we lost sight of. */
export type Recovered = Ending | { readonly is: 'queued' } | { readonly is: 'running' }

export interface Pace {
  /** The net under the socket: how often the server is asked, while a prompt is there, whether something was missed. */
  lookEveryMs: number
  /** Between two looks that both found nothing, before a prompt counts as lost. */
  absenceMs: number
  /** How long the server may stay silent before we let go of the prompt and say it is unreachable. */
  patienceMs: number
}
const PACE: Pace = { lookEveryMs: 5_000, absenceMs: 1_000, patienceMs: 10_000 }

/**
 * Submits a prompt and tells what happens, up to its ending. Our ears are open before the server hears of it, since it
 * may tell of the end before it replies.
 * @throws AppError 'worker.unreachable': the prompt may be there or not, `recoverPrompt` says later
 */
export async function* runPrompt(
  client: ComfyClient,
  submission: Submission,
  signal: AbortSignal,
  pace: Partial<Pace> = {},
): AsyncGenerator<JobStep> {
  const { promptId, prompt } = submission
  await client.socket.opened(signal)
  const ears = new Ears(client, promptId)
  try {
    const refused = await submit(client, submission, signal)
    if (refused) {
      yield refused
      return
    }
    yield { is: 'submitted' }
    yield* listen(client, promptId, prompt, ears, signal, { ...PACE, ...pace })
  } finally {
    ears.close()
  }
}

/** As `runPrompt`, for a prompt that was submitted earlier. */
export async function* followPrompt(
  client: ComfyClient,
  promptId: string,
  signal: AbortSignal,
  pace: Partial<Pace> = {},
): AsyncGenerator<JobStep> {
  const ears = new Ears(client, promptId)
  try {
    client.socket.start()
    const { running, pending } = await client.queue(signal)
    const item = [...running, ...pending].find(([, id]) => id === promptId)
    ears.lookSoon()
    yield* listen(client, promptId, item?.[2] ?? {}, ears, signal, { ...PACE, ...pace })
  } finally {
    ears.close()
  }
}

/**
 * What became of a prompt: its ending, still there, or lost.
 * @throws AppError 'worker.unreachable' when nobody can say
 */
export async function recoverPrompt(
  client: ComfyClient,
  promptId: string,
  signal?: AbortSignal,
  absenceMs = PACE.absenceMs,
): Promise<Recovered> {
  const first = await look(client, promptId, signal)
  if (first.is !== 'lost') return first
  await pause(absenceMs, undefined, { signal })
  return look(client, promptId, signal)
}

/** Ends a prompt, waiting or running; resolves when the server no longer has it. */
export async function cancelPrompt(client: ComfyClient, promptId: string, signal?: AbortSignal): Promise<void> {
  for (let waitMs = 25; ; waitMs = Math.min(1_000, waitMs * 2)) {
    const { running, pending } = await client.queue(signal)
    const has = (items: readonly (readonly Json[])[]) => items.some(([, id]) => id === promptId)
    const [runs, waits] = [has(running as unknown as Json[][]), has(pending as unknown as Json[][])]
    if (!runs && !waits) {
      client.events.emit('cancelled', promptId)
      return
    }
    if (!(await client.cancelJob(promptId, signal))) {
      if (runs) await client.interrupt(promptId, signal)
      else await client.deletePending(promptId, signal)
    }
    await pause(waitMs, undefined, { signal })
  }
}

// ---- submitting ----

async function submit(client: ComfyClient, submission: Submission, signal: AbortSignal): Promise<Ending | undefined> {
  const reply = await client.submit(submission, signal).catch(async (cause: unknown): Promise<PromptReply> => {
    signal.throwIfAborted()
    if (!(cause instanceof AppError) || cause.code !== 'worker.unreachable') throw cause
    const seen = await recoverPrompt(client, submission.promptId, signal) // the reply was lost, the prompt perhaps not
    if (seen.is === 'lost') throw cause
    return {}
  })
  if (reply.error) return rejection(reply.error, reply.node_errors ?? {}, submission.prompt)
  if (Object.keys(reply.node_errors ?? {}).length === 0) return undefined
  await cancelPrompt(client, submission.promptId, signal)
  const failure = new AppError('prompt.outputs-dropped', {
    reason: describe(reply.node_errors!),
    nodeErrors: reply.node_errors as unknown as Json,
  })
  return { is: 'failed', failure: toFailure(failure), retryable: false }
}

function rejection(error: PromptError, nodeErrors: NodeErrors, prompt: Prompt): Ending {
  const failed = (failure: AppError, retryable = false): Ending => ({
    is: 'failed',
    failure: toFailure(failure),
    retryable,
  })
  if (error.type === 'missing_node_type' || error.type === 'invalid_prompt') {
    const node = /#(.+)'$/.exec(error.details)?.[1] ?? ''
    const classType = error.extra_info?.class_type ?? prompt[node]?.class_type
    if (typeof classType === 'string') return failed(new AppError('prompt.missing-node', { classType, node }))
  }
  const reason = describe(nodeErrors) || [error.message, error.details].filter(Boolean).join(': ')
  const facts = { reason, type: error.type, nodeErrors: nodeErrors as unknown as Json }
  return failed(new AppError('prompt.rejected', facts), error.type.startsWith('http_5'))
}

/** `KSampler 3: Required input is missing: model; …` */
function describe(nodeErrors: NodeErrors): string {
  const sentences = Object.entries(nodeErrors).flatMap(([id, { class_type, errors }]) =>
    errors.map(({ message, details }) => `${class_type} ${id}: ${message}${details ? `: ${details}` : ''}`),
  )
  return sentences.join('; ')
}

// ---- listening ----

type Heard = ComfyMessage | { is: 'look' }

/** Keeps what the socket tells of one prompt until somebody asks for it. */
class Ears {
  readonly #client: ComfyClient
  readonly #promptId: string
  #heard: Heard[] = []
  #wake: (() => void) | undefined
  /** The last node known to run is ours: previews that name no prompt are then ours too. */
  #ours = false

  constructor(client: ComfyClient, promptId: string) {
    this.#client = client
    this.#promptId = promptId
    client.socket.events.on('message', this.#onMessage)
    client.socket.events.on('opened', this.lookSoon)
    client.socket.events.on('lost', this.lookSoon)
    client.events.on('cancelled', this.#onCancelled)
  }

  close() {
    this.#client.socket.events.off('message', this.#onMessage)
    this.#client.socket.events.off('opened', this.lookSoon)
    this.#client.socket.events.off('lost', this.lookSoon)
    this.#client.events.off('cancelled', this.#onCancelled)
  }

  /** Whatever happened meanwhile may have been missed. */
  lookSoon = () => this.#keep({ is: 'look' })

  async next(withinMs: number, signal: AbortSignal): Promise<Heard> {
    const until = performance.now() + withinMs
    for (;;) {
      signal.throwIfAborted()
      const heard = this.#heard.shift()
      if (heard) return heard
      const left = until - performance.now()
      if (left <= 0) return { is: 'look' }
      const { promise, resolve } = Promise.withResolvers<void>()
      this.#wake = resolve
      const timer = setTimeout(resolve, left)
      signal.addEventListener('abort', this.#onAbort)
      await promise
      clearTimeout(timer)
      signal.removeEventListener('abort', this.#onAbort)
    }
  }

  #onCancelled = (promptId: string) => {
    if (promptId === this.#promptId) this.lookSoon()
  }

  #onAbort = () => this.#wake?.()

  #onMessage = (message: ComfyMessage) => {
    if (!('promptId' in message)) return
    if (message.promptId !== null) this.#ours = message.promptId === this.#promptId
    if (this.#ours) this.#keep(message)
  }

  #keep(heard: Heard) {
    // only the newest picture matters to somebody who has not looked at the one before
    if (heard.is === 'preview') this.#heard = this.#heard.filter(({ is }) => is !== 'preview')
    this.#heard.push(heard)
    this.#wake?.()
  }
}

async function* listen(
  client: ComfyClient,
  promptId: string,
  prompt: Prompt,
  ears: Ears,
  signal: AbortSignal,
  pace: Pace,
): AsyncGenerator<JobStep> {
  const progress = new PromptProgress(prompt)
  let started = false
  let silentSince: number | undefined
  let absent = 0
  let nextLookMs = pace.lookEveryMs
  let state: Recovered['is'] = 'queued'
  let heardAtLook = client.socket.heard
  for (;;) {
    const heard = await ears.next(nextLookMs, signal)
    const ended = isEnd(heard)
    if (heard.is !== 'look' && !ended) {
      if (!started) yield { is: 'started' }
      started = true
      if (heard.is === 'preview') yield { is: 'preview', mediaType: heard.mediaType, bytes: heard.bytes }
      const step = progress.hear(heard)
      if (step) yield step
      continue
    }
    let seen: Recovered
    try {
      seen = ended ? await entryAfterEnd(client, promptId, ears, signal) : await look(client, promptId, signal)
      silentSince = undefined
    } catch (cause) {
      signal.throwIfAborted()
      if (!(cause instanceof AppError) || cause.code !== 'worker.unreachable') throw cause
      silentSince ??= performance.now()
      if (performance.now() - silentSince > pace.patienceMs) throw cause
      nextLookMs = Math.min(pace.lookEveryMs, pace.patienceMs / 4)
      continue
    }
    // something happened and the socket said nothing at all since we looked last: it is deaf
    const { heard: heardByNow } = client.socket
    if (!ended && seen.is !== state && heardByNow === heardAtLook) client.socket.renew()
    state = seen.is
    heardAtLook = heardByNow
    absent = seen.is === 'lost' ? absent + 1 : 0
    nextLookMs = absent > 0 ? pace.absenceMs : pace.lookEveryMs
    if (seen.is === 'queued' || absent === 1) continue
    if (seen.is === 'running') {
      if (!started) yield { is: 'started' }
      started = true
    } else {
      if (seen.is === 'failed' && seen.failure.code === 'prompt.out-of-memory')
        await client.free(signal).catch(() => signal.throwIfAborted())
      yield seen
      return
    }
  }
}

/** Messages after which the history knows, or is about to. A blocked branch is told as an error while the rest runs on. */
function isEnd(heard: Heard): boolean {
  if (heard.is === 'errored') return heard.type !== 'ExecutionBlocked'
  if (heard.is === 'executing') return heard.node === null && heard.promptId !== null
  return heard.is === 'succeeded' || heard.is === 'interrupted'
}

/** The history may lag behind the socket; whatever is told next is a reason to look again at once. */
async function entryAfterEnd(
  client: ComfyClient,
  promptId: string,
  ears: Ears,
  signal: AbortSignal,
): Promise<Recovered> {
  const until = performance.now() + HISTORY_LAG_MS
  for (let waitMs = 50; performance.now() < until; waitMs *= 2) {
    const entry = await client.history(promptId, signal)
    if (entry) return endingOf(entry)
    await ears.next(Math.min(waitMs, 1_000), signal)
  }
  return look(client, promptId, signal)
}
const HISTORY_LAG_MS = 5_000

// ---- looking ----

/** Queue first, then history: a prompt moves from one to the other in one step, so it cannot slip between two looks. */
async function look(client: ComfyClient, promptId: string, signal?: AbortSignal): Promise<Recovered> {
  const { running, pending } = await client.queue(signal)
  if (running.some(([, id]) => id === promptId)) return { is: 'running' }
  if (pending.some(([, id]) => id === promptId)) return { is: 'queued' }
  const entry = await client.history(promptId, signal)
  return entry ? endingOf(entry) : { is: 'lost' }
}

/** How the prompt of a history entry ended. The messages say; `status_str` may be left over from the prompt before. Pure. */
export function endingOf(entry: HistoryEntry): Ending {
  const told = entry.status?.messages
  const messages = Array.isArray(told) ? told.filter(Array.isArray) : []
  const [end, facts] = messages.findLast(([type]) => ENDS.includes(type)) ?? []
  if (end === 'execution_interrupted') return { is: 'interrupted' }
  if (end === 'execution_error') return failureOf(facts!)
  if (end === undefined && entry.status?.status_str === 'error')
    return failureOf({ exception_type: '', exception_message: 'no reason given' })
  const outputs = collectOutputs(entry.outputs ?? {})
  if (outputs.length === 0)
    return { is: 'failed', failure: toFailure(new AppError('prompt.no-files')), retryable: false }
  const at = (type: string) => Number(messages.findLast(([name]) => name === type)?.[1].timestamp ?? Number.NaN)
  const seconds = (at('execution_success') - at('execution_start')) / 1000
  return { is: 'saved', outputs, seconds: Number.isFinite(seconds) ? seconds : 0 }
}
const ENDS = ['execution_success', 'execution_error', 'execution_interrupted']

const OUT_OF_MEMORY = /out ?of ?memory|DefaultCPUAllocator/i
/** By exception type: trying the same prompt again cannot help, something is missing or a value is wrong. */
export const HOPELESS =
  /^(FileNotFound|Type|Value|Key|Index|Attribute|Import|ModuleNotFound|NotImplemented|Assertion|Name)Error$/

function failureOf(facts: Record<string, Json>): Ending {
  const text = (value: Json | undefined) => (typeof value === 'string' ? value : '')
  const [type, message] = [text(facts.exception_type), text(facts.exception_message).trim()]
  const node = { nodeType: text(facts.node_type) || 'ComfyUI', node: text(facts.node_id), exceptionType: type }
  const reason = message || type
  if (OUT_OF_MEMORY.test(type) || OUT_OF_MEMORY.test(message)) {
    const failure = new AppError('prompt.out-of-memory', { ...node, reason })
    return { is: 'failed', failure: toFailure(failure), retryable: true }
  }
  const traceback = Array.isArray(facts.traceback) ? facts.traceback.slice(-4) : []
  const failure = new AppError('prompt.failed', { ...node, reason, traceback })
  return { is: 'failed', failure: toFailure(failure), retryable: !HOPELESS.test(type) }
}
