import type { DownloadSelection, DownloadView } from '../../core/contract/download.ts'
import { AppError, fill } from '../../core/contract/errors.ts'
import type { Json } from '../../core/contract/json.ts'
import type { Client } from '../api/client.ts'
import { type Action, commandOf } from './actions.ts'
import { type Context, onlyArgument, usageError, wholeNumber } from './context.ts'
import { followDownloads } from './get-models.ts'
import { sayBytes, sayTime } from './terminal.ts'

const OPTIONS = {
  all: { type: 'boolean', default: false },
  from: { type: 'string' },
  until: { type: 'string' },
  'per-host': { type: 'boolean', default: false },
} as const
const PAGE = 200
const OPEN = ['waiting', 'running', 'paused', 'failed'] as const

const steer =
  (what: 'pause' | 'resume' | 'retry' | 'cancel' | 'clear'): Action<typeof OPTIONS> =>
  async (context, client, args) => {
    tellChanged(context, await client.call(`download.${what}`, selectionOf(context, args)))
    return undefined
  }

const actions: Record<string, Action<typeof OPTIONS>> = {
  async list(context, client, args, { all }) {
    const { terminal } = context
    noneOf(context, args)
    const { downloads: said } = terminal.speech.words
    const states = all ? undefined : [...OPEN]
    for await (const view of allDownloads(client, states)) tell(context, view)
    const { totals } = await client.call('download.list', { states, limit: 1 })
    terminal.event('downloads', totals)
    if (terminal.json) return
    const open = totals.counts.waiting + totals.counts.running + totals.counts.paused + totals.counts.failed
    if (open === 0) terminal.say(said.none)
    if (totals.held) terminal.say(said.held)
    if (totals.counts.running > 0)
      terminal.say(said.totals, {
        left: sayBytes(totals.leftBytes),
        rate: sayBytes(totals.bytesPerSecond),
        time: totals.etaSeconds === null ? '?' : sayTime(totals.etaSeconds),
      })
  },
  async show(context, client, args) {
    const { terminal } = context
    const id = idIn(context, onlyArgument(context, args, 'ID'))
    const view = await one(client, id)
    const { downloads: said } = terminal.speech.words
    tell(context, view)
    if (terminal.json) return
    terminal.say('    {to}', { to: view.to })
    for (const { host, is, connections, fetchedBytes, bytesPerSecond, reason } of view.sources)
      terminal.say(said.source, {
        ...{ host, connections, is: said.sources[is], reason: reason === null ? '' : terminal.speech.reason(reason) },
        ...{ bytes: sayBytes(fetchedBytes), rate: sayBytes(bytesPerSecond) },
      })
    for (const { from, to, reason } of view.switched)
      terminal.say(said.switched, { from, to, reason: terminal.speech.reason(reason) })
  },
  pause: steer('pause'),
  resume: steer('resume'),
  retry: steer('retry'),
  cancel: steer('cancel'),
  clear: steer('clear'),
  async move(context, client, args) {
    const { reason } = context.terminal.speech.words
    const [id, position, ...more] = args
    if (id === undefined || position === undefined) throw usageError(reason.missing, { what: id ? 'POSITION' : 'ID' })
    noneOf(context, more)
    const place = Math.max(0, wholeNumber(context, 'POSITION', position))
    tellChanged(context, await client.call('download.move', { id: idIn(context, id), position: place }))
  },
  /** Without hours: whenever downloads may. */
  async schedule(context, client, args, { from, until }) {
    const { reason } = context.terminal.speech.words
    for (const [option, value] of Object.entries({ '--from': from, '--until': until }))
      if (value !== undefined && !/^([01]?\d|2[0-3]):[0-5]\d$/.test(value))
        throw usageError(reason.notTime, { option, value })
    if ((from === undefined) !== (until === undefined)) throw usageError(reason.missing, { what: '--from, --until' })
    const downloads = selectionOf(context, args)
    const hours = { startAt: from ?? null, stopAt: until ?? null }
    tellChanged(context, await client.call('download.schedule', { downloads, ...hours }))
  },
  async hold(context, client, args) {
    noneOf(context, args)
    tellChanged(context, await client.call('download.hold', { held: true }))
  },
  async release(context, client, args) {
    noneOf(context, args)
    tellChanged(context, await client.call('download.hold', { held: false }))
  },
  async limit(context, client, args, { 'per-host': perHost }) {
    const { terminal } = context
    const { downloads: said, reason } = terminal.speech.words
    const given = onlyArgument(context, args, 'RATE')
    const rate = given === 'none' ? null : bytesIn(given)
    if (rate !== null && (rate === undefined || rate < 1024)) throw usageError(reason.notRate, { value: given })
    const { downloads } = await client.call('settings.get', {})
    const key = perHost ? 'bytesPerSecondPerHost' : 'bytesPerSecond'
    await client.call('settings.set', { downloads: { ...downloads, [key]: rate } })
    terminal.event('limited', { [key]: rate })
    if (!terminal.json) terminal.say(rate === null ? said.unlimited : said.limited, { rate: sayBytes(rate ?? 0) })
  },
  /** Those named, or all that wait or run; where no Nightshift runs, this one fetches them meanwhile. */
  async follow(context, client, args) {
    const { terminal } = context
    const ids = args.map((id) => idIn(context, id))
    if (ids.length === 0) for await (const { id } of allDownloads(client, ['waiting', 'running'])) ids.push(id)
    if (ids.length === 0) {
      if (!terminal.json) terminal.say(terminal.speech.words.downloads.none)
      return true
    }
    const waiting = (await Promise.all(ids.map((id) => one(client, id)))).filter(({ state }) => state === 'waiting')
    if (waiting.length > 0) await client.call('download.resume', { ids: waiting.map(({ id }) => id) })
    return followDownloads(context, client, ids)
  },
}

/** `downloads`: what is fetched, seen and steered. */
export const downloads = commandOf('downloads', { options: OPTIONS, actions })

function idIn({ terminal }: Context, id: string): string {
  if (!/^f\d+$/.test(id)) throw usageError(terminal.speech.words.reason.notId, { value: id })
  return id
}
function noneOf({ terminal }: Context, args: readonly string[]) {
  if (args[0] !== undefined) throw usageError(terminal.speech.words.reason.tooMany, { value: args[0] })
}
function selectionOf(context: Context, args: readonly string[]): DownloadSelection {
  if (args.length === 0) throw usageError(context.terminal.speech.words.reason.missing, { what: 'ID' })
  return args[0] === 'all' && args.length === 1 ? { all: true } : { ids: args.map((id) => idIn(context, id)) }
}

/** `5M`, `800 KiB`: bytes; a unit counts in 1024. */
function bytesIn(text: string): number | undefined {
  const [, number, unit = ''] = /^(\d+(?:\.\d+)?)\s*(?:([KMG])(?:i?B)?(?:\/s)?)?$/i.exec(text) ?? []
  const scale = { '': 1, K: 1024, M: 1024 ** 2, G: 1024 ** 3 }[unit.toUpperCase()]
  return number === undefined || scale === undefined ? undefined : Math.round(Number(number) * scale)
}

async function* allDownloads(
  client: Client,
  states: DownloadView['state'][] | undefined,
): AsyncGenerator<DownloadView> {
  for (let offset = 0; ; offset += PAGE) {
    const { rows } = await client.call('download.list', { states, offset, limit: PAGE })
    yield* rows
    if (rows.length < PAGE) return
  }
}
async function one(client: Client, id: string): Promise<DownloadView> {
  for await (const view of allDownloads(client, undefined)) if (view.id === id) return view
  throw new AppError('app.not-found', { what: id })
}

function tell({ terminal }: Context, view: DownloadView) {
  const { downloads: said, states } = terminal.speech.words
  terminal.event('download', view as unknown as Record<string, Json>)
  if (terminal.json) return
  const { id, name, state, waitsFor, opensAt, sizeBytes, doneBytes, bytesPerSecond, etaSeconds, failure } = view
  const time = opensAt === null ? '' : new Date(opensAt).toTimeString().slice(0, 5)
  terminal.say(said.row, {
    ...{ id, name, state: waitsFor === null ? states[state] : fill(said.waits[waitsFor], { time }) },
    size: `${state === 'done' ? '' : `${sayBytes(doneBytes)} / `}${sizeBytes === null ? '?' : sayBytes(sizeBytes)}`,
    rate: bytesPerSecond === null ? '' : `${sayBytes(bytesPerSecond)}/s`,
    left: etaSeconds === null ? '' : sayTime(etaSeconds),
  })
  if (failure) {
    const { message, remedy } = terminal.speech.failure(failure)
    terminal.say(`    ${message} ${remedy}`)
  }
}
function tellChanged({ terminal }: Context, { changed }: { changed: number }) {
  terminal.event('changed', { changed })
  if (!terminal.json) terminal.say(terminal.speech.words.downloads.changed, { changed })
}
