import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { AppError, fill } from '../../core/contract/errors.ts'
import type { Json } from '../../core/contract/json.ts'
import type { WorkerHealth, WorkerView } from '../../core/contract/worker.ts'
import type { Client } from '../api/client.ts'
import { type Command, type Context, EXIT, onlyArgument, parseOptions, usageError } from './context.ts'
import { reachApp, settledWorkers } from './reach.ts'

const OPTIONS = { name: { type: 'string' }, 'header-file': { type: 'string' }, header: { type: 'string' } } as const
type Options = { name?: string; 'header-file'?: string; header?: string }
/** Gives whether all is well. */
type Action = (context: Context, client: Client, args: string[], options: Options) => Promise<boolean>

/** `workers`: the ComfyUIs that do the work. */
export const workers: Command = async (context, args) => {
  const { terminal } = context
  const { reason } = terminal.speech.words
  const { values, positionals } = parseOptions(args, OPTIONS)
  const [name, ...others] = positionals
  if (name === undefined) throw usageError(reason.missing, { what: 'ACTION' })
  const action = Object.hasOwn(actions, name) ? actions[name] : undefined
  if (!action) throw usageError(reason.unknownAction, { command: 'workers', action: name })
  const app = await reachApp(context, { work: false })
  try {
    const ok = await action(context, app.client, others, values)
    terminal.event('done', { ok })
    return ok ? EXIT.ok : EXIT.someFailed
  } finally {
    await app.close()
  }
}

const actions: Record<string, Action> = {
  async list(context, client) {
    const { rows } = await client.call('worker.list', {})
    for (const worker of rows) tell(context, worker)
    return true
  },
  async add(context, client, args, { name, ...options }) {
    const url = onlyArgument(context, args, 'URL')
    const header = await readHeader(context, options)
    const worker = await client.call('worker.add', { url, name, header })
    const { terminal } = context
    terminal.event('worker', worker as unknown as Record<string, Json>)
    if (!terminal.json) {
      terminal.say(terminal.speech.words.workers.added, { id: worker.id, health: sayHealth(context, worker.health) })
    }
    return true
  },
  async remove(context, client, args) {
    const id = onlyArgument(context, args, 'NAME')
    const { changed } = await client.call('worker.remove', { id })
    if (changed === 0) throw new AppError('batch.unknown-worker', { name: id })
    context.terminal.event('removed', { id })
    if (!context.terminal.json) context.terminal.say(context.terminal.speech.words.workers.removed, { id })
    return true
  },
  async status(context, client) {
    const { rows } = await settledWorkers(client, ANSWER_WITHIN_MS)
    for (const worker of rows) tell(context, worker)
    return rows.every(({ health }) => health.is === 'ready' || health.is === 'disabled')
  },
}

const ANSWER_WITHIN_MS = 15_000

function tell(context: Context, worker: WorkerView) {
  const { terminal } = context
  terminal.event('worker', worker as unknown as Record<string, Json>)
  if (terminal.json) return
  terminal.say(terminal.speech.words.workers.line, {
    id: worker.id,
    url: worker.url ?? '',
    health: sayHealth(context, worker.health),
  })
}

function sayHealth({ terminal }: Context, health: WorkerHealth): string {
  const { workers: said } = terminal.speech.words
  if (health.is === 'unreachable')
    return fill(said.unreachable, { reason: terminal.speech.failure(health.because).message })
  if (health.is !== 'ready') return said[health.is]
  const { comfyuiVersion, queueLength, latencyMs } = health
  return fill(said.ready, { version: comfyuiVersion ?? '?', queue: queueLength, latency: Math.round(latencyMs) })
}

/** A header is a secret: from a file or the environment, since other programs see a command line. */
async function readHeader({ terminal, cwd, env }: Context, options: Options): Promise<string | null> {
  if (options['header-file'] !== undefined) {
    const file = path.resolve(cwd, options['header-file'])
    const text = await readFile(file, 'utf8').catch((cause: unknown) => {
      throw new AppError('input.missing', { name: file }, { cause })
    })
    return text.trim()
  }
  if (options.header !== undefined) terminal.note(terminal.speech.words.workers.headerOnArgv)
  return options.header ?? env.NIGHTSHIFT_HEADER ?? null
}
