import type { Endpoint, EndpointForm, EndpointState } from '../../core/contract/endpoint.ts'
import { AppError, fill } from '../../core/contract/errors.ts'
import type { Json } from '../../core/contract/json.ts'
import { type Action, commandOf, type ValuesOf } from './actions.ts'
import { type Command, type Context, onlyArgument, readKeyFile, usageError, wholeNumber } from './context.ts'
import { DEPLOY_OPTIONS, deploy, rollBack } from './deploy.ts'
import { settledWorkers } from './reach.ts'
import { run } from './run.ts'

const OPTIONS = {
  name: { type: 'string' },
  'api-key-file': { type: 'string' },
  'in-flight': { type: 'string' },
  checkpoint: { type: 'string', multiple: true },
  ...DEPLOY_OPTIONS,
} as const
type Options = ValuesOf<typeof OPTIONS>

const ANSWER_WITHIN_MS = 15_000

const actions: Record<string, Action<typeof OPTIONS>> = {
  async list(context, client) {
    const { rows } = await client.call('endpoint.list', {})
    for (const endpoint of rows) tell(context, endpoint)
    const { terminal } = context
    if (rows.length === 0 && !terminal.json) terminal.say(terminal.speech.words.endpoint.none)
    return true
  },
  async add(context, client, args, options) {
    const url = onlyArgument(context, args, 'URL')
    const key = await readKey(context, options)
    const endpoint = await client.call('endpoint.add', {
      url,
      key,
      name: options.name,
      ...settingsOf(context, options),
    })
    tell(context, endpoint)
    return true
  },
  /** Each as it answers now; false where one does not. */
  async status(context, client, args) {
    const wanted = args.length === 0 ? null : onlyArgument(context, args, 'NAME')
    await settledWorkers(client, ANSWER_WITHIN_MS)
    const { rows } = await client.call('endpoint.list', {})
    const shown = rows.filter(({ name }) => wanted === null || name === wanted)
    if (wanted !== null && shown.length === 0) throw new AppError('endpoint.unknown', { name: wanted })
    for (const { name } of shown) {
      // a key that may only run is told nothing of releases
      await client.call('endpoint.releases', { name }).catch(() => null)
      const { rows: now } = await client.call('endpoint.list', {})
      const endpoint = now.find((each) => each.name === name)
      if (!endpoint) continue
      tell(context, endpoint, true)
      const forms = await client.call('endpoint.forms', { name }).catch(() => null) // where nobody answers
      for (const form of forms?.rows ?? []) tellForm(context, name, form)
    }
    return shown.every(({ state }) => state.is === 'ready' || state.is === 'disabled')
  },
  async set(context, client, args, options) {
    const name = onlyArgument(context, args, 'NAME')
    const key = await readKey(context, options)
    if (key !== null) await client.call('endpoint.setKey', { name, key })
    tell(context, await client.call('endpoint.set', { name, settings: settingsOf(context, options) }))
    return true
  },
  deploy: (context, client, args, options) => deploy(context, client, args, options),
  rollback: (context, client, args) => rollBack(context, client, args),
  async remove(context, client, args) {
    const name = onlyArgument(context, args, 'NAME')
    await client.call('endpoint.remove', { name })
    const { terminal } = context
    terminal.event('removed', { name })
    if (!terminal.json) terminal.say(terminal.speech.words.endpoint.removed, { name })
    return true
  },
}

const steer = commandOf('endpoint', { options: OPTIONS, actions, works: 'deploy' })

/** `endpoint`: remote places with an agent. `invoke` is `run` on one of them, with all its options. */
export const endpoint: Command = (context, args) => {
  if (args[0] !== 'invoke') return steer(context, args)
  const [, name, ...others] = args
  if (name === undefined || name.startsWith('-'))
    throw usageError(context.terminal.speech.words.reason.missing, { what: 'NAME' })
  return run(context, [...others, '--worker', name])
}

function settingsOf(context: Context, { 'in-flight': inFlight, checkpoint }: Options) {
  return {
    ...(inFlight !== undefined && { capacity: wholeNumber(context, '--in-flight', inFlight) }),
    ...(checkpoint !== undefined && { checkpoints: checkpoint.filter((name) => name !== '') }),
  }
}

/** A secret: from a file or the environment, since other programs see a command line. */
const readKey = async (context: Context, { 'api-key-file': file }: Options): Promise<string | null> =>
  file === undefined ? context.env.NIGHTSHIFT_API_KEY || null : readKeyFile(context, file)

function tell(context: Context, endpoint: Endpoint, whole = false) {
  const { terminal } = context
  terminal.event('endpoint', endpoint as unknown as Record<string, Json>)
  if (terminal.json) return
  const { endpoint: said } = terminal.speech.words
  const { name, url, state, inFlight, capacity, pace, live, checkpoints } = endpoint
  terminal.say(said.line, { name, url, state: sayState(context, state) })
  if (!whole) return
  terminal.say(said.inFlight, { inFlight, capacity })
  const seconds = (value: number | null) =>
    value === null ? said.unknown : fill(said.seconds, { value: sayTenth(value) })
  terminal.say(said.pace, { cold: seconds(pace.coldSeconds), warm: seconds(pace.warmSeconds), runs: pace.warmRuns })
  if (live) terminal.say(said.live, { version: live.version, snapshot: live.snapshotId.slice(0, 12), note: live.note })
  if (checkpoints.length > 0) terminal.say(said.checkpoints, { names: checkpoints.join(', ') })
}

function tellForm({ terminal }: Context, endpoint: string, form: EndpointForm) {
  terminal.event('form', { endpoint, ...form })
  if (!terminal.json) terminal.say(terminal.speech.words.endpoint.form, { ...form })
}

const sayTenth = (value: number) => (Math.round(value * 10) / 10).toString()

function sayState({ terminal }: Context, state: EndpointState): string {
  const { endpoint: said } = terminal.speech.words
  if (state.is === 'starting') return fill(said.starting, { phase: state.phase })
  if (state.is === 'unreachable' || state.is === 'resting')
    return fill(said[state.is], { reason: terminal.speech.failure(state.because).message })
  return said[state.is]
}
