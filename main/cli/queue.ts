import type { Batch } from '../../core/contract/batch.ts'
import type { Job, JobSelection } from '../../core/contract/job.ts'
import type { Json } from '../../core/contract/json.ts'
import { type Action, commandOf } from './actions.ts'
import { type Context, onlyArgument, usageError, wholeNumber } from './context.ts'

const OPTIONS = { now: { type: 'boolean', default: false } } as const
const PAGE = 200

const actions: Record<string, Action<typeof OPTIONS>> = {
  async list(context, client, args) {
    const { terminal } = context
    noneOf(context, args)
    const { queue: said } = terminal.speech.words
    const { running: _, ...state } = await client.call('queue.state', {})
    let seen = 0
    for (let offset = 0; ; offset += PAGE) {
      const { rows } = await client.call('batch.list', { offset, limit: PAGE })
      for (const batch of rows) tellBatch(context, batch)
      seen += rows.length
      if (rows.length < PAGE) break
    }
    terminal.event('queue', state)
    if (terminal.json) return
    if (seen === 0) terminal.say(said.empty)
    if (state.stalled) terminal.say(said.stalled, { reason: terminal.speech.problem(state.stalled) })
  },
  async show(context, client, args) {
    const { terminal } = context
    const id = onlyArgument(context, args, 'ID')
    if (isJob(id)) {
      const job = await client.call('job.get', { id })
      const { files } = await client.call('artifact.locate', { jobId: id })
      const artifacts = files.map(({ path }) => path)
      terminal.event('job', { ...(job as unknown as Record<string, Json>), jobId: id, artifacts })
      if (!terminal.json) {
        sayJob(context, job)
        for (const artifact of artifacts) terminal.say('    {artifact}', { artifact })
      }
      return
    }
    const batchId = mustBeBatch(context, id)
    tellBatch(context, await client.call('batch.get', { id: batchId }))
    for (let offset = 0; ; offset += PAGE) {
      const { rows } = await client.call('job.page', { batchId, offset, limit: PAGE })
      for (const job of rows) {
        terminal.event('job', { ...(job as unknown as Record<string, Json>), jobId: job.id })
        if (!terminal.json) sayJob(context, job)
      }
      if (rows.length < PAGE) return
    }
  },
  async pause(context, client, args, { now }) {
    const { queue: said } = context.terminal.speech.words
    const how = now ? 'now' : 'after-current'
    const id = maybeBatch(context, args)
    if (id) await client.call('batch.pause', { id, how })
    else await client.call('queue.pause', { how })
    context.terminal.event('paused', { how, batchId: id })
    if (!context.terminal.json) context.terminal.say(now ? said.pausedNow : said.paused)
  },
  async resume(context, client, args) {
    const id = maybeBatch(context, args)
    if (id) await client.call('batch.resume', { id })
    else await client.call('queue.resume', {})
    context.terminal.event('resumed', { batchId: id })
    if (!context.terminal.json) context.terminal.say(context.terminal.speech.words.queue.resumed)
  },
  async cancel(context, client, args) {
    tellChanged(context, await client.call('job.cancel', selectionOf(context, args)))
  },
  async retry(context, client, args) {
    tellChanged(context, await client.call('job.retry', selectionOf(context, args)))
  },
  async move(context, client, args) {
    const { reason } = context.terminal.speech.words
    const [id, position, ...more] = args
    if (id === undefined || position === undefined) throw usageError(reason.missing, { what: id ? 'POSITION' : 'ID' })
    noneOf(context, more)
    if (!isJob(id)) throw usageError(reason.notId, { value: id })
    const place = wholeNumber(context, 'POSITION', position)
    tellChanged(context, await client.call('job.move', { id, position: Math.max(0, place) }))
  },
  async report(context, client, args) {
    const { terminal } = context
    const id = mustBeBatch(context, onlyArgument(context, args, 'BATCH'))
    const { name, base64 } = await client.call('batch.report', { id, as: terminal.json ? 'json' : 'csv' })
    const text = Buffer.from(base64, 'base64').toString('utf8')
    if (terminal.json) terminal.event('report', { name, report: JSON.parse(text) as Json })
    else terminal.say('{text}', { text: text.trimEnd() })
  },
}

/** `queue`: what is queued, seen and steered. */
export const queue = commandOf('queue', { options: OPTIONS, actions })

const isJob = (id: string) => /^j\d+$/.test(id)
const isBatch = (id: string) => /^b\d+$/.test(id)

function mustBeBatch({ terminal }: Context, id: string): string {
  if (!isBatch(id)) throw usageError(terminal.speech.words.reason.notId, { value: id })
  return id
}
function maybeBatch(context: Context, args: string[]): string | undefined {
  return args.length === 0 ? undefined : mustBeBatch(context, onlyArgument(context, args, 'BATCH'))
}
function noneOf({ terminal }: Context, args: string[]) {
  if (args[0] !== undefined) throw usageError(terminal.speech.words.reason.tooMany, { value: args[0] })
}
function selectionOf(context: Context, args: string[]): JobSelection {
  const id = onlyArgument(context, args, 'ID')
  if (id === 'all') return { all: true }
  return isJob(id) ? { ids: [id] } : { batchId: mustBeBatch(context, id) }
}

function tellChanged({ terminal }: Context, { changed }: { changed: number }) {
  terminal.event('changed', { changed })
  if (!terminal.json) terminal.say(terminal.speech.words.queue.changed, { changed })
}
function tellBatch({ terminal }: Context, batch: Batch) {
  const { id, name, counts, paused, endedAt } = batch
  terminal.event('batch', { ...(batch as unknown as Record<string, Json>), batchId: id })
  if (terminal.json) return
  const { states, queue: said } = terminal.speech.words
  const state =
    endedAt !== null ? states.done : paused ? states.paused : counts.running > 0 ? states.running : states.waiting
  const total = Object.values(counts).reduce((sum, count) => sum + count, 0)
  terminal.say(said.batch, { id, state, done: counts.done, total, name })
}
function sayJob({ terminal }: Context, { id, row, state, label, failure }: Job) {
  const { states, queue: said } = terminal.speech.words
  terminal.say(said.job, { id, row, state: states[state], label })
  if (failure) terminal.say('    {reason}', { reason: terminal.speech.failure(failure).message })
}
