import type { DownloadView } from '../../core/contract/download.ts'
import { AppError, type Failure, fill } from '../../core/contract/errors.ts'
import type { Candidate, GetAsk, GetPlan, GetRow } from '../../core/contract/hub.ts'
import type { Json } from '../../core/contract/json.ts'
import type { Client } from '../api/client.ts'
import { type Context, EXIT, readWorkflowInput, usageError } from './context.ts'
import { hearInterruption } from './interruption.ts'
import { sayBytes, sayTime } from './terminal.ts'

const LOOK_EVERY_MS = 500
const ENDED = ['done', 'failed', 'cancelled', 'paused']
const HUBS = ['huggingface', 'modelscope', 'civitai'] as const
type Said = Record<string, Json>

/** `models find NAME|HASH|LINK…`: here first, then in the lists and at the hubs. */
export async function findModels(context: Context, client: Client, words: readonly string[]): Promise<boolean> {
  const { terminal } = context
  const { models: said, reason } = terminal.speech.words
  const search = words.join(' ').trim()
  if (search === '') throw usageError(reason.missing, { what: 'NAME' })
  const { model } = await client.call('model.find', { asked: search })
  if (model) {
    terminal.event('here', model as unknown as Said)
    if (!terminal.json) terminal.say(said.findHere, { name: model.name, path: model.places[0]?.path ?? '' })
  }
  const { rows, silent } = await client.call('catalogue.find', { search, hubs: [...HUBS] })
  for (const row of rows) {
    terminal.event('found', row as unknown as Said)
    if (terminal.json) continue
    const facts = [row.baseModel, row.licence, row.gated ? said.gated : null].filter(Boolean).join(', ')
    terminal.say(`${row.title}${facts && ` (${facts})`}`)
    terminal.say(`  ${row.item}`)
    for (const file of row.files.slice(0, 12))
      terminal.say(`  ${file.folder === null ? '' : `${file.folder}/`}${file.name}  ${sizeOf(file.sizeBytes)}`)
  }
  tellSilent(context, silent)
  if (rows.length === 0 && !model && !terminal.json) terminal.note(said.nothingFound)
  return rows.length > 0 || model !== null
}

export interface GetOptions {
  workflow?: string | undefined
  folder?: string | undefined
  engine?: string | undefined
  'dry-run'?: boolean | undefined
}

/** `models get ITEM…|--workflow FILE`: the plan, then the downloads to their end. */
export async function getModels(
  context: Context,
  client: Client,
  items: readonly string[],
  { workflow, folder, engine, 'dry-run': dryRun = false }: GetOptions,
): Promise<boolean> {
  const { terminal } = context
  const { models: said, reason } = terminal.speech.words
  if (items.length === 0 && workflow === undefined) throw usageError(reason.missing, { what: 'ITEM' })
  const ask: GetAsk = { items: [...items], needs: [], choices: {}, ...(engine !== undefined && { engine }) }
  if (workflow !== undefined) {
    const { name, bytes } = await readWorkflowInput(context, workflow)
    ask.needs = (await client.call('workflow.inspect', { name, base64: bytes.toString('base64') })).models
  }
  if (folder !== undefined) for (const item of items) ask.choices[item] = { folder }
  const plan = await client.call('catalogue.plan', ask)
  for (const row of plan.rows) {
    terminal.event('file', { ...(row as unknown as Said), because: sayState(row, said) })
    if (!terminal.json) tell(context, row)
  }
  tellSilent(context, plan.silent)
  const ready = plan.rows.filter(({ state }) => state.is === 'ready' || state.is === 'elsewhere')
  const { totalBytes, freeBytes, unknownSizes } = plan
  terminal.event('plan', { files: ready.length, totalBytes, unknownSizes, freeBytes })
  if (!terminal.json && ready.length > 0)
    terminal.say(said.getTotal, {
      size: unknownSizes === 0 ? sayBytes(totalBytes) : totalBytes === 0 ? '?' : `≥ ${sayBytes(totalBytes)}`,
      free: freeBytes === null ? '?' : sayBytes(freeBytes),
    })
  const whole = plan.rows.every(({ state }) => ['present', 'queued', 'ready', 'elsewhere'].includes(state.is))
  if (dryRun) return whole
  const began = await client.call('catalogue.get', ask)
  const ids = began.rows.flatMap(({ state }) => (state.is === 'queued' ? [state.downloadId] : []))
  // what an earlier run began, and left waiting, paused or failed, goes on with this one
  const before = plan.rows.flatMap(({ state }) => (state.is === 'queued' ? [state.downloadId] : []))
  if (before.length > 0) {
    await client.call('download.resume', { ids: before })
    await client.call('download.retry', { ids: before })
  }
  const refused = began.rows.filter(({ state }, at) => state.is === 'refused' && plan.rows[at]?.state.is !== 'refused')
  for (const { state } of refused) if (state.is === 'refused') terminal.failure(state.because)
  const arrived = await followDownloads(context, client, ids)
  return whole && refused.length === 0 && arrived
}

/** Tells how they go, until each has ended. Interrupted, they are paused by whoever stops the app; nothing is lost. */
export async function followDownloads(context: Context, client: Client, ids: readonly string[]): Promise<boolean> {
  const interrupt = hearInterruption(EXIT.interrupted)
  try {
    return await follow(context, client, ids, interrupt.signal)
  } finally {
    interrupt.end()
  }
}

async function follow(context: Context, client: Client, ids: readonly string[], signal: AbortSignal): Promise<boolean> {
  const { terminal } = context
  const { models: said } = terminal.speech.words
  const ended = new Map<string, DownloadView>()
  const told = new Map<string, number | null>()
  while (ended.size < ids.length) {
    if (signal.aborted) throw new AppError('app.interrupted')
    const views = await viewsOf(client, ids)
    for (const view of views) {
      if (ended.has(view.id) || !ENDED.includes(view.state)) continue
      ended.set(view.id, view)
      terminal.endProgress()
      terminal.event('download', { id: view.id, name: view.name, state: view.state, to: view.to, sha256: view.sha256 })
      if (view.failure) terminal.failure(view.failure)
      else if (!terminal.json)
        terminal.say(said.arrived, { name: view.name, to: view.to, state: said.downloadIs[view.state as 'done'] })
    }
    for (const view of views) {
      const { id, failure, opensAt } = view
      if (view.waitsFor !== 'retry' || !failure || told.get(id) === opensAt) continue
      told.set(id, opensAt)
      tellRetry(context, view, failure)
    }
    // what was cleared from the list meanwhile is not waited for
    if (views.length < ids.length) return false
    drawAll(context, views)
    if (ended.size < ids.length) await pause(LOOK_EVERY_MS, signal)
  }
  terminal.endProgress()
  return [...ended.values()].every(({ state }) => state === 'done')
}

/** It failed and is tried again by itself, which may take an hour. */
function tellRetry({ terminal }: Context, { id, name, opensAt }: DownloadView, failure: Failure) {
  const { message } = terminal.speech.failure(failure)
  terminal.event('retry', { id, name, code: failure.code, message, at: opensAt })
  const time = opensAt === null ? '?' : new Date(opensAt).toTimeString().slice(0, 8)
  if (!terminal.json) terminal.note(`${message} (${fill(terminal.speech.words.downloads.waits.retry, { time })})`)
}

async function viewsOf(client: Client, ids: readonly string[]): Promise<DownloadView[]> {
  const wanted = new Set(ids)
  const views: DownloadView[] = []
  for (let offset = 0; views.length < wanted.size; ) {
    const { rows, total } = await client.call('download.list', { offset, limit: 200 })
    views.push(...rows.filter(({ id }) => wanted.has(id)))
    offset += rows.length
    if (rows.length === 0 || offset >= total) break
  }
  return views
}

function drawAll({ terminal }: Context, views: readonly DownloadView[]) {
  const sum = (pick: (view: DownloadView) => number | null) => views.reduce((all, view) => all + (pick(view) ?? 0), 0)
  const [done, size, rate] = [sum((v) => v.doneBytes), sum((v) => v.sizeBytes), sum((v) => v.bytesPerSecond)]
  const left = rate > 0 && size > done ? sayTime((size - done) / rate) : ''
  const ended = views.filter(({ state }) => ENDED.includes(state)).length
  terminal.bar(
    size > 0 ? done / size : 0,
    fill('{ended}/{count} {done}/{size} {rate}/s {left}', {
      ended,
      count: views.length,
      done: sayBytes(done),
      size: sayBytes(size),
      rate: sayBytes(rate),
      left,
    }),
  )
}

function tell({ terminal }: Context, row: GetRow) {
  const { models: said } = terminal.speech.words
  const chosen = row.chosen === null ? undefined : row.candidates[row.chosen]
  const where = row.folder === null ? row.name : `${row.folder}/${row.name}`
  terminal.say(`${where}  ${sizeOf(chosen?.sizeBytes ?? null)}  ${sayState(row, said)}`)
  if (chosen && row.state.is !== 'present')
    terminal.say(`  ${[chosen.title, said.sure[chosen.sure], chosen.licence].filter(Boolean).join(' · ')}`)
  if (row.state.is === 'refused') {
    const { message, remedy } = terminal.speech.failure(row.state.because)
    terminal.say(`  ${message} ${remedy}`)
  }
  if (row.state.is === 'asks' && row.state.what === 'file')
    for (const each of row.candidates.slice(0, 12)) terminal.say(`  ${lineOf(each)}`)
}
const lineOf = ({ title, name, sizeBytes }: Candidate) => `${title}  ${name}  ${sizeOf(sizeBytes)}`
const sizeOf = (bytes: number | null) => (bytes === null ? '' : sayBytes(bytes))

type Words = Context['terminal']['speech']['words']['models']
function sayState({ state }: GetRow, said: Words): string {
  if (state.is === 'asks') return said.getIs[state.what === 'folder' ? 'asksFolder' : 'asksFile']
  if (state.is === 'elsewhere') return fill(said.getIs.elsewhere, { at: state.at })
  return said.getIs[state.is]
}

export function tellSilent({ terminal }: Context, silent: GetPlan['silent']) {
  for (const { from, because } of silent) {
    const { message, remedy } = terminal.speech.failure(because)
    terminal.event('silent', { from, code: because.code, message })
    if (!terminal.json) terminal.note(`${message} ${remedy}`)
  }
}

const pause = (ms: number, signal: AbortSignal) =>
  new Promise<void>((resolve) => {
    const done = () => {
      clearTimeout(timer)
      signal.removeEventListener('abort', done)
      resolve()
    }
    const timer = setTimeout(done, ms)
    signal.addEventListener('abort', done)
  })
