import path from 'node:path'
import { AppError, fill } from '../../core/contract/errors.ts'
import type { Json } from '../../core/contract/json.ts'
import type {
  PushPlan,
  SecretFound,
  SnapshotChange,
  SnapshotProgress,
  SnapshotView,
} from '../../core/contract/snapshot.ts'
import { credentialsIn, isS3, writeCredentials } from '../../core/engine/store/open-store.ts'
import { type Action, commandOf } from './actions.ts'
import { type Context, onlyArgument, readKeyFile, usageError, wholeNumber } from './context.ts'
import { sayBytes, sayTime } from './terminal.ts'

const OPTIONS = {
  engine: { type: 'string' },
  name: { type: 'string' },
  consent: { type: 'string', multiple: true },
  to: { type: 'string' },
  from: { type: 'string' },
  python: { type: 'string' },
  'find-links': { type: 'string' },
  index: { type: 'string' },
  cpu: { type: 'boolean' },
  label: { type: 'string' },
  off: { type: 'boolean' },
  'dry-run': { type: 'boolean' },
  'api-key-file': { type: 'string' },
  'without-models': { type: 'boolean' },
  limit: { type: 'string' },
  all: { type: 'boolean' },
} as const

const actions: Record<string, Action<typeof OPTIONS>> = {
  async create(context, client, _, { engine, name, consent = [], label }) {
    const { terminal } = context
    const { snapshot: said } = terminal.speech.words
    const made = await client.call('snapshot.create', { engine, name, consent, label })
    for (const { path: at, what } of made.left) {
      terminal.event('left', { path: at, what })
      terminal.note(said.left, { path: at, what })
    }
    for (const secret of made.secrets) tellSecret(context, secret)
    const [first] = made.secrets
    if (!made.snapshot || first)
      throw new AppError('snapshot.secrets', {
        count: made.secrets.length,
        kind: first?.kind ?? '',
        path: first?.path ?? '',
      })
    tell(context, made.snapshot, { newBytes: made.newBytes })
    if (!terminal.json) terminal.say(said.added, { size: sayBytes(made.newBytes) })
    return true
  },
  async list(context, client) {
    const { rows } = await client.call('snapshot.list', {})
    for (const row of rows) tell(context, row)
    if (rows.length === 0) context.terminal.note(context.terminal.speech.words.snapshot.none)
    return true
  },
  async show(context, client, args) {
    const sealed = await client.call('snapshot.show', { id: onlyArgument(context, args, 'ID') })
    if (context.terminal.json) context.terminal.event('snapshot', sealed as unknown as Record<string, Json>)
    else context.terminal.document(sealed.manifest)
    return true
  },
  async diff(context, client, args) {
    const { terminal } = context
    const [before, after] = args
    if (before === undefined || after === undefined)
      throw usageError(terminal.speech.words.reason.missing, { what: 'ID' })
    const { changes } = await client.call('snapshot.diff', { before, after })
    for (const change of changes) {
      terminal.event('change', change)
      if (!terminal.json) sayChange(context, change)
    }
    if (changes.length === 0) terminal.note(terminal.speech.words.snapshot.same)
    return true
  },
  async push(context, client, args, { to, limit, 'dry-run': dry, 'without-models': without = false, ...how }) {
    const { terminal } = context
    const { snapshot: said } = terminal.speech.words
    const id = onlyArgument(context, args, 'ID')
    const where = placeOf(context, needed(context, '--to', to))
    const key = await keyFor(context, how['api-key-file'], where)
    const bytesPerSecond = limit === undefined ? null : wholeNumber(context, '--limit', limit)
    const asked = { id, to: where, key, models: !without }
    const plan = dry
      ? await client.call('snapshot.plan', asked)
      : await client.call('snapshot.push', { ...asked, bytesPerSecond })
    terminal.endProgress()
    terminal.event(dry ? 'plan' : 'pushed', plan as unknown as Record<string, Json>)
    if (dry) sayPush(context, plan, said.would, said.wouldModels)
    else sayPush(context, plan, said.sent, said.sentModels)
    return true
  },
  async restore(context, client, args, { to, from, python, 'api-key-file': keyFile }) {
    const { terminal, cwd } = context
    const id = onlyArgument(context, args, 'ID')
    const dir = path.resolve(cwd, needed(context, '--to', to))
    const place = from === undefined ? null : placeOf(context, from)
    const key = place === null ? null : await keyFor(context, keyFile, place)
    const made = await client.call('snapshot.restore', { id, to: dir, python, from: place, key })
    terminal.endProgress()
    terminal.event('restored', made)
    if (!terminal.json) terminal.say(terminal.speech.words.snapshot.restored, { ...made })
    return true
  },
  async derive(context, client, args, { python, 'find-links': links, index, cpu }) {
    const { terminal, cwd } = context
    const id = onlyArgument(context, args, 'ID')
    const findLinks = links === undefined || /^https?:/.test(links) ? links : path.resolve(cwd, links)
    const { snapshot, left } = await client.call('snapshot.derive', { id, python, findLinks, index, cpu })
    for (const { path: at, what } of left) {
      terminal.event('left', { path: at, what })
      terminal.note(terminal.speech.words.snapshot.left, { path: at, what })
    }
    tell(context, snapshot, { derivedFrom: id })
    return true
  },
  async verify(context, client) {
    const { terminal } = context
    const { snapshot: said } = terminal.speech.words
    const found = await client.call('snapshot.verify', {})
    terminal.event('verified', found as unknown as Record<string, Json>)
    for (const { pack, reason } of found.damaged) terminal.note(said.damaged, { pack: pack.slice(0, 12), reason })
    for (const { id, reason } of found.broken) terminal.note(said.broken, { id: id.slice(0, 12), reason })
    if (!terminal.json) terminal.say(said.verified, { packs: found.packs, size: sayBytes(found.bytes) })
    return found.damaged.length === 0 && found.broken.length === 0
  },
  async gc(context, client, _, { all, to, from }) {
    if (to !== undefined || from !== undefined) throw usageError(context.terminal.speech.words.snapshot.onlyHere)
    const freed = await client.call('snapshot.collect', { ...(all && { graceMs: 0 }) })
    context.terminal.event('collected', freed)
    if (!context.terminal.json)
      context.terminal.say(context.terminal.speech.words.snapshot.freed, {
        size: sayBytes(freed.bytes),
        packs: freed.packs,
      })
    return true
  },
  async label(context, client, args, { off = false }) {
    const [id, label] = args
    if (id === undefined || label === undefined)
      throw usageError(context.terminal.speech.words.reason.missing, { what: 'LABEL' })
    tell(context, await client.call('snapshot.label', { id, label, on: !off }))
    return true
  },
  async remove(context, client, args) {
    const id = onlyArgument(context, args, 'ID')
    await client.call('snapshot.remove', { id })
    context.terminal.event('removed', { id })
    return true
  },
}

/** `snapshot`: environments as they were, to keep, compare, push and restore. */
export const snapshot = commandOf('snapshot', {
  options: OPTIONS,
  actions,
  watch: (context, client) => {
    let asking = false
    return client.subscribe(null, async ({ name }) => {
      if (name !== 'snapshot.changed' || asking) return
      asking = true
      const { progress } = await client.call('snapshot.list', {}).catch(() => ({ progress: null }))
      asking = false
      if (progress) draw(context, progress)
    })
  },
})

function draw({ terminal }: Context, { what, part, bytes, totalBytes, bytesPerSecond, etaSeconds }: SnapshotProgress) {
  const { snapshot: said } = terminal.speech.words
  terminal.bar(
    totalBytes > 0 ? bytes / totalBytes : 0,
    fill(said.bar, {
      what: said.what[what],
      part,
      done: sayBytes(bytes),
      of: sayBytes(totalBytes),
      rate: bytesPerSecond === null ? '' : `${sayBytes(bytesPerSecond)}/s`,
      left: etaSeconds === null ? '' : sayTime(etaSeconds),
    }),
  )
}

/** One thing that differs between two snapshots. */
export function sayChange({ terminal }: Context, { what, is, name, before, after }: SnapshotChange) {
  const from = [before, after].filter((part) => part !== null && part !== name)
  terminal.say(`${terminal.speech.words.snapshot.is[is]} ${what} ${name} ${from.join(' → ')}`.trimEnd())
}

/** What of a snapshot travels, or did. */
export function sayPush(
  { terminal }: Context,
  { objects, bytes, models }: PushPlan,
  words: string,
  modelWords: string,
) {
  if (terminal.json) return
  const { missing, all } = objects
  terminal.say(words, { missing, all, bytes: sayBytes(bytes.missing), of: sayBytes(bytes.all) })
  if (models.count === 0) return
  terminal.say(modelWords, {
    missing: models.missing,
    all: models.count,
    bytes: sayBytes(models.missingBytes),
    of: sayBytes(models.bytes),
    fetched: models.fetched,
  })
}

/** A folder from here, or an address as it is. */
const placeOf = ({ cwd }: Context, place: string) => (/^\w[\w+.-]+:\/\//.test(place) ? place : path.resolve(cwd, place))

/**
 * The first key of the file, for object storage `ID:SECRET`; never from the command line. What is in the environment here may
 * not be in that of the owner of the data.
 */
async function keyFor(context: Context, file: string | undefined, place: string): Promise<string | null> {
  if (!/^(?:https?|s3):/i.test(place)) return null
  if (file === undefined && isS3(place)) {
    const credentials = credentialsIn(context.env)
    return credentials && writeCredentials(credentials)
  }
  return (file === undefined ? context.env.NIGHTSHIFT_API_KEY : await readKeyFile(context, file)) || null
}

function needed({ terminal }: Context, option: string, value: string | undefined): string {
  if (value === undefined) throw usageError(terminal.speech.words.reason.missing, { what: option })
  return value
}

function tell({ terminal }: Context, view: SnapshotView, more: Record<string, Json> = {}) {
  terminal.event('snapshot', { ...view, ...more })
  if (terminal.json) return
  terminal.say(terminal.speech.words.snapshot.line, {
    id: view.id.slice(0, 12),
    name: view.name,
    at: view.createdAt.slice(0, 16).replace('T', ' '),
    version: view.comfyuiVersion ?? '',
    nodes: view.nodes,
    packages: view.packages,
    size: sayBytes(view.bytes),
    labels: view.labels.join(' '),
  })
}

function tellSecret({ terminal }: Context, secret: SecretFound) {
  terminal.event('secret', secret)
  terminal.note(terminal.speech.words.snapshot.secret, { ...secret })
}
