import { once } from 'node:events'
import path from 'node:path'
import type { App } from '../../core/contract/app.ts'
import type { EngineCard, EngineChange, EngineProcess, EngineView } from '../../core/contract/engine.ts'
import { Card } from '../../core/contract/engine.ts'
import { AppError, type Facts, fill } from '../../core/contract/errors.ts'
import type { Json } from '../../core/contract/json.ts'
import type { OutputOf } from '../../core/contract/procedure.ts'
import type { Client } from '../api/client.ts'
import { type Action, commandOf, type ValuesOf } from './actions.ts'
import { type Context, EXIT, onlyArgument, usageError, wholeNumber } from './context.ts'
import { INSTALL_OPTIONS, installActions } from './install.ts'
import { hearInterruption } from './interruption.ts'

const text = { type: 'string' } as const
const list = { type: 'string', multiple: true } as const
const flag = { type: 'boolean' } as const
const OPTIONS = {
  card: list,
  port: text,
  flag: list,
  'base-directory': text,
  'auto-start': flag,
  'no-auto-start': flag,
  'custom-nodes': flag,
  'no-custom-nodes': flag,
  search: text,
  lines: text,
  follow: flag,
  ...INSTALL_OPTIONS,
} as const
type Options = ValuesOf<typeof OPTIONS>

const actions: Record<string, Action<typeof OPTIONS>> = {
  ...installActions,
  async status(context, client) {
    tellMachine(context, await client.call('machine.look', {}))
    const { rows } = await client.call('engine.list', {})
    if (rows.length === 0) context.terminal.note(context.terminal.speech.words.engine.none)
    for (const row of rows) tell(context, row)
    return rows.every(({ processes }) => processes.every(({ state }) => state.is !== 'failed'))
  },
  async adopt(context, client, args, options) {
    const dir = path.resolve(context.cwd, onlyArgument(context, args, 'DIR'))
    const python = options.python === undefined ? undefined : path.resolve(context.cwd, options.python)
    const baseDir = options['base-directory']
    const settings = {
      ...settingsOf(context, options),
      ...(baseDir !== undefined && { baseDir: path.resolve(context.cwd, baseDir) }),
    }
    if (!('cards' in settings)) await client.call('machine.look', {}) // on which card it runs is chosen by what is there
    tell(context, await client.call('engine.adopt', { dir, python, name: options.name, settings }))
    return true
  },
  async set(context, client, args, options) {
    const { name, settings } = await chosen(context, client, args)
    const changes = settingsOf(context, options, settings.cards)
    tell(context, await client.call('engine.set', { name, settings: changes }))
    return true
  },
  async start(context, client, args, _, elsewhere) {
    const { name } = await chosen(context, client, args)
    const interrupt = hearInterruption(EXIT.interrupted)
    try {
      const interrupted = once(interrupt.signal, 'abort').then(() => null)
      const started = await Promise.race([startTelling(context, client, name), interrupted])
      if (started === null) throw new AppError('app.interrupted')
      tell(context, started)
      if (elsewhere) return true
      context.terminal.note(context.terminal.speech.words.engine.stays)
      await interrupted
      await client.call('engine.stop', { name })
      return true
    } finally {
      interrupt.end()
    }
  },
  async stop(context, client, args) {
    const { name } = await chosen(context, client, args)
    tell(context, await client.call('engine.stop', { name }))
    return true
  },
  async logs(context, client, args, { search, lines = '50', follow }) {
    const { processes } = await chosen(context, client, args)
    const { id } = processes.find((process) => process.id === args[0]) ?? processes[0]!
    const limit = Math.min(1000, Math.max(1, wholeNumber(context, '--lines', lines)))
    const { rows } = await client.call('engine.log', { process: id, search, limit })
    for (const row of rows) tellLine(context, row)
    if (follow) await followLog(context, client, { id, search, after: rows.at(-1)?.n ?? 0 })
    return true
  },
  async remove(context, client, args) {
    const { name } = await chosen(context, client, args)
    await client.call('engine.remove', { name })
    context.terminal.event('removed', { name })
    if (!context.terminal.json) context.terminal.say(context.terminal.speech.words.engine.removed, { name })
    return true
  },
}

/** `engine`: the ComfyUIs of this machine that Nightshift runs. */
export const engine = commandOf('engine', { options: OPTIONS, actions, works: 'start' })

/** The engine named, or the only one. */
async function chosen(context: Context, client: Client, args: string[]): Promise<EngineView> {
  const { rows } = await client.call('engine.list', {})
  const name = args.length === 0 && rows.length === 1 ? rows[0]!.name : onlyArgument(context, args, 'NAME')
  const found = rows.find((row) => row.name === name || row.processes.some(({ id }) => id === name))
  if (!found) throw new AppError('engine.unknown', { name })
  return found
}

/** `before`: as its cards are run now; what is not said stays. */
function settingsOf(context: Context, options: Options, before: readonly EngineCard[] = []): EngineChange {
  const { reason } = context.terminal.speech.words
  const cards = options.cpu ? ['cpu'] : options.card
  for (const card of cards ?? [])
    if (!Card.safeParse(card).success) throw usageError(reason.notCard, { option: '--card', value: card })
  const port = options.port === undefined ? null : wholeNumber(context, '--port', options.port)
  if (port !== null && (port < 1 || port > 65_535))
    throw usageError(reason.notNumber, { option: '--port', value: options.port! })
  const either = (yes: boolean | undefined, no: boolean | undefined) => (yes ? true : no ? false : undefined)
  const autoStart = either(options['auto-start'], options['no-auto-start'])
  const withCustomNodes = either(options['custom-nodes'], options['no-custom-nodes'])
  return {
    ...(options.flag && { flags: options.flag }),
    ...((cards || port !== null) && {
      cards: (cards ?? (before.length > 0 ? before.map(({ card }) => card) : ['auto'])).map((card, at) => {
        const known = before.find((each) => each.card === card)
        return { card, flags: known?.flags ?? [], port: port === null ? (known?.port ?? null) : port + at }
      }),
    }),
    ...(autoStart !== undefined && { autoStart }),
    ...(withCustomNodes !== undefined && { withCustomNodes }),
  }
}

/** Starts an engine, telling each phase; resolves when it answers. */
export async function startTelling(context: Context, client: Client, name: string): Promise<EngineView> {
  const said = new Map<string, string>()
  const look = async () => {
    const { rows } = await client.call('engine.list', {})
    for (const process of rows.find((row) => row.name === name)?.processes ?? []) {
      const { state } = process
      const key = state.is === 'starting' ? state.phase : state.is
      if (said.get(process.id) === key) continue
      said.set(process.id, key)
      tellState(context, process)
    }
  }
  const leave = client.subscribe(null, ({ name: event }) => {
    if (event === 'engine.changed') look().catch(() => {})
  })
  try {
    return await client.call('engine.start', { name })
  } finally {
    leave()
  }
}

async function followLog(
  context: Context,
  client: Client,
  { id, search, after }: { id: string; search: string | undefined; after: number },
) {
  const interrupt = hearInterruption(EXIT.interrupted)
  let last = after
  let looking = Promise.resolve()
  const look = async () => {
    for (;;) {
      const { rows } = await client.call('engine.log', { process: id, search, after: last, limit: 1000 })
      for (const row of rows) tellLine(context, row)
      last = rows.at(-1)?.n ?? last
      if (rows.length < 1000) return
    }
  }
  const leave = client.subscribe(null, ({ name }) => {
    if (name === 'engine.logged' || name === 'engine.changed') looking = looking.then(look).catch(() => {})
  })
  await once(interrupt.signal, 'abort')
  leave()
  await looking
  interrupt.end()
}

function tellLine({ terminal }: Context, line: { n: number; at: number; text: string }) {
  terminal.event('line', line)
  if (!terminal.json) terminal.say('{at}  {text}', { at: new Date(line.at).toLocaleTimeString(), text: line.text })
}

function tell(context: Context, view: EngineView) {
  const { terminal } = context
  terminal.event('engine', view as unknown as Record<string, Json>)
  if (terminal.json) return
  const { engine: said } = terminal.speech.words
  const { name, dir, version, kind } = view
  terminal.say(said.line, { name, dir, version: version ?? '?', kind: said.kinds[kind] })
  for (const process of view.processes)
    terminal.say(said.process, { id: process.id, card: process.card, state: sayState(context, process) })
}

function tellMachine({ terminal }: Context, machine: OutputOf<App, 'machine.look'>) {
  terminal.event('machine', machine as unknown as Record<string, Json>)
  if (terminal.json) return
  const { engine: said } = terminal.speech.words
  const { verdict, report } = machine
  terminal.say(said.runs[verdict.runs], { gpu: verdict.gpu?.name ?? report.cpu.name, torch: verdict.torch })
  for (const found of verdict.findings)
    terminal.say('  {level}  {message}{link}', {
      level: said.levels[found.level],
      message: terminal.speech.problem(found),
      link: found.link === null ? '' : `  ${found.link}`,
    })
}

function tellState(context: Context, process: EngineProcess) {
  const { terminal } = context
  const { id, state } = process
  terminal.event('state', { id, ...(state as unknown as Record<string, Json>) })
  terminal.note('{id}  {state}', { id, state: sayState(context, process) })
}

function sayState({ terminal }: Context, { state, facts, restarts }: EngineProcess): string {
  const { engine: said } = terminal.speech.words
  const reason = 'because' in state ? terminal.speech.failure(state.because) : null
  const all: Facts = {
    reason: reason?.message ?? '',
    remedy: reason?.remedy ?? '',
    url: state.is === 'ready' ? state.url : '',
    pid: state.is === 'ready' ? state.pid : '',
    device: facts.device ?? '?',
    restarts,
    phase: state.is === 'starting' ? said.phases[state.phase] : '',
  }
  return fill(said.states[state.is], all)
}
