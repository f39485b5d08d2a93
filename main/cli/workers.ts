import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { AppError, fill } from '../../core/contract/errors.ts'
import type { Json } from '../../core/contract/json.ts'
import type { Key } from '../../core/contract/key.ts'
import type { WorkerHealth, WorkerView } from '../../core/contract/worker.ts'
import { type Action, commandOf, type ValuesOf } from './actions.ts'
import { type Context, hostAndPort, onlyArgument, usageError, wholeNumber } from './context.ts'
import { settledWorkers } from './reach.ts'

const OPTIONS = {
  name: { type: 'string' },
  key: { type: 'string' },
  'token-file': { type: 'string' },
  token: { type: 'string' },
  'header-file': { type: 'string' },
  header: { type: 'string' },
  for: { type: 'string', default: 'share' },
  days: { type: 'string' },
  origin: { type: 'string', multiple: true },
} as const
type Options = ValuesOf<typeof OPTIONS>

const actions: Record<string, Action<typeof OPTIONS>> = {
  async list(context, client) {
    const { rows } = await client.call('worker.list', {})
    for (const worker of rows) tell(context, worker)
    return true
  },
  async add(context, client, args, { name, ...options }) {
    const { terminal } = context
    const { workers: said } = terminal.speech.words
    const url = withKeyFile(context, onlyArgument(context, args, 'URL'), options.key)
    const secret = await readSecret(context, options)
    const found = await client.call('worker.test', { url, ...secret })
    const urls = found.is === 'shared' && found.places.length > 1 ? found.places.map((place) => place.url) : [url]
    if (urls.length > 1) terminal.note(said.found, { url, places: urls.length })
    for (const [at, each] of urls.entries()) {
      const called = name === undefined || at === 0 ? name : `${name}-${at + 1}`
      const worker = await client.call('worker.add', { url: each, name: called, ...secret })
      terminal.event('worker', worker as unknown as Record<string, Json>)
      if (!terminal.json) terminal.say(said.added, { id: worker.id, health: sayHealth(context, worker.health) })
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
  async show(context, client, args) {
    const id = onlyArgument(context, args, 'NAME')
    await settledWorkers(client, ANSWER_WITHIN_MS)
    const contents = await client.call('worker.contents', { id })
    const { terminal } = context
    terminal.event('contents', { id, ...contents })
    if (terminal.json) return true
    const { workers: said } = terminal.speech.words
    if (contents.cachedAt !== null) terminal.note(said.asOf, { date: sayDate(context, contents.cachedAt) })
    terminal.say(said.classes, { count: contents.classes })
    terminal.say(said.customNodes)
    if (contents.customNodes.length === 0) terminal.say(`  ${said.noCustomNodes}`)
    for (const { folder, classes } of contents.customNodes)
      terminal.say(`  ${fill(said.folder, { folder, count: classes })}`)
    terminal.say(said.models)
    if (contents.models.length === 0) terminal.say(`  ${said.noModels}`)
    for (const { folder, files } of contents.models) {
      terminal.say(`  ${fill(said.folder, { folder, count: files.length })}`)
      for (const file of files) terminal.say(`    ${file.name}`)
    }
    return true
  },
  async share(context, client, args) {
    const [where, extra] = args
    if (extra !== undefined) throw usageError(context.terminal.speech.words.reason.tooMany, { value: extra })
    if (where !== undefined) {
      const { share: before } = await client.call('settings.get', {})
      const change = where === 'off' ? { on: false } : { on: true, ...hostAndPort(context, 'share', where) }
      await client.call('settings.set', { share: { ...before, ...change } })
    }
    const state = await client.call('share.state', {})
    const { terminal } = context
    terminal.event('share', state as unknown as Record<string, Json>)
    if (state.failure) terminal.failure(state.failure)
    else if (!terminal.json) {
      const { workers: said } = terminal.speech.words
      const { host, port, url, places } = state
      if (!state.on) terminal.say(said.notShared)
      else if (url === null) terminal.say(said.willShare, { host, port })
      else terminal.say(said.sharedAt, { url, places: places.map(({ id }) => id).join(', ') })
    }
    return state.failure === null
  },
  async tasks(context, client, args, { origin }) {
    const [where, extra] = args
    const { terminal } = context
    const { workers: said, reason } = terminal.speech.words
    if (extra !== undefined) throw usageError(reason.tooMany, { value: extra })
    if (where !== undefined || origin) {
      const { taskDoor: before } = await client.call('settings.get', {})
      const at = where === undefined || where === 'off' ? {} : hostAndPort(context, 'tasks', where, '127.0.0.1')
      const on = where === undefined ? before.on : where !== 'off'
      const origins = origin?.filter((page) => page !== '') ?? before.origins
      await client.call('settings.set', { taskDoor: { ...before, ...at, on, origins } })
    }
    const state = await client.call('taskDoor.state', {})
    terminal.event('tasks', state as unknown as Record<string, Json>)
    if (state.failure) terminal.failure(state.failure)
    else if (!terminal.json) {
      const { host, port, url, places } = state
      if (!state.on) terminal.say(said.noTasks)
      else if (url === null) terminal.say(said.willTakeTasks, { host, port })
      else terminal.say(said.tasksAt, { url, places: places.join(', ') })
    }
    return state.failure === null
  },
  async keys(context, client, [what = 'list', ...args], { for: use, days }) {
    const { terminal } = context
    const { workers: said, reason } = terminal.speech.words
    if (what === 'make') {
      if (use !== 'share' && use !== 'tasks') throw usageError(said.keyFor, { value: use })
      const count = days === undefined ? null : wholeNumber(context, '--days', days)
      if (count !== null && count < 1) throw usageError(reason.notNumber, { option: '--days', value: days! })
      const { key, token } = await client.call('key.make', {
        name: onlyArgument(context, args, 'NAME'),
        scopes: [use === 'tasks' ? 'run' : 'comfyui'],
        expiresAt: count && Date.now() + count * DAY_MS,
      })
      terminal.event('key', { ...key, token })
      if (!terminal.json) {
        terminal.note(said.keyMade, { name: key.name })
        terminal.say(token)
      }
      return true
    }
    if (what !== 'list' && what !== 'revoke')
      throw usageError(reason.unknownAction, { command: 'workers keys', action: what })
    const { rows } = await client.call('key.list', {})
    if (what === 'revoke') {
      const wanted = onlyArgument(context, args, 'ID')
      const found = rows.filter(({ id, name, revokedAt }) => id === wanted || (name === wanted && revokedAt === null))
      if (found.length === 0) throw new AppError('app.not-found', { what: wanted })
      for (const { id } of found) {
        const key = await client.call('key.revoke', { id })
        terminal.event('key', key)
        if (!terminal.json) terminal.say(said.revoked, { name: key.name })
      }
      return true
    }
    for (const key of rows) {
      terminal.event('key', key)
      const state =
        key.revokedAt !== null
          ? fill(said.keyRevoked, { date: sayDate(context, key.revokedAt) })
          : key.expiresAt !== null && key.expiresAt <= Date.now()
            ? fill(said.keyOver, { date: sayDate(context, key.expiresAt) })
            : key.usedAt === null
              ? said.keyUnused
              : fill(said.keyUsed, { date: sayDate(context, key.usedAt) })
      if (!terminal.json)
        terminal.say(said.key, { id: key.id, name: key.name, start: key.start, uses: usesOf(context, key), state })
    }
    if (rows.length === 0 && !terminal.json) terminal.say(said.noKeys)
    return true
  },
}

/** `workers`: the ComfyUIs that do the work. */
export const workers = commandOf('workers', { options: OPTIONS, actions })

const DAY_MS = 86_400_000
const sayDate = ({ terminal }: Context, at: number) => new Date(at).toLocaleString(terminal.speech.language)

const usesOf = ({ terminal }: Context, { scopes }: Key) =>
  scopes.map((scope) => terminal.speech.words.workers.keyOpens[scope]).join(', ')

/** The key file of an ssh address may be given beside it; relative paths are the caller's. */
function withKeyFile({ terminal, cwd, env }: Context, url: string, key: string | undefined): string {
  if (key === undefined) return url
  if (!/^ssh:/i.test(url)) throw usageError(terminal.speech.words.workers.keyNeedsSsh)
  const home = env.HOME ?? env.USERPROFILE ?? ''
  const file = path.resolve(cwd, key.startsWith('~/') ? path.join(home, key.slice(2)) : key)
  return `${url}${url.includes('?') ? '&' : /:\/\/[^/]+\//.test(url) ? '?' : '/?'}key=${encodeURIComponent(file)}`
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

/** What it asks for is a secret: from a file or the environment, since other programs see a command line. */
async function readSecret(
  { terminal, cwd, env }: Context,
  options: Options,
): Promise<{ token?: string; header: string | null }> {
  const { workers: said } = terminal.speech.words
  const ofFile = async (name: string | undefined) => {
    if (name === undefined) return undefined
    const file = path.resolve(cwd, name)
    const text = await readFile(file, 'utf8').catch((cause: unknown) => {
      throw new AppError('input.missing', { name: file }, { cause })
    })
    return text.trim()
  }
  if (options.token !== undefined) terminal.note(said.tokenOnArgv)
  if (options.header !== undefined) terminal.note(said.headerOnArgv)
  const given = {
    token: (await ofFile(options['token-file'])) ?? options.token,
    header: (await ofFile(options['header-file'])) ?? options.header,
  }
  if (given.token !== undefined && given.header !== undefined) throw usageError(said.notBoth)
  if (given.token === undefined && given.header === undefined) {
    given.header = env.NIGHTSHIFT_HEADER
    given.token = given.header === undefined ? env.NIGHTSHIFT_TOKEN : undefined
  }
  return { ...(given.token !== undefined && { token: given.token }), header: given.header ?? null }
}
