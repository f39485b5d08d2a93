import path from 'node:path'
import { createInterface } from 'node:readline/promises'
import { AppError, fill } from '../../core/contract/errors.ts'
import type { Json } from '../../core/contract/json.ts'
import type { ImportHow, LeftModel, MergeResult, Model, ModelProgress } from '../../core/contract/model.ts'
import type { Client } from '../api/client.ts'
import { type Action, commandOf } from './actions.ts'
import { type Context, onlyArgument, usageError } from './context.ts'
import { findModels, getModels, tellSilent } from './get-models.ts'
import { sayBytes, sayTime } from './terminal.ts'

const flag = { type: 'boolean', default: false } as const
const OPTIONS = {
  hash: flag,
  add: { type: 'string', multiple: true, default: [] as string[] },
  move: flag,
  copy: flag,
  link: flag,
  folder: { type: 'string' },
  engine: { type: 'string' },
  name: { type: 'string' },
  merge: flag,
  undo: flag,
  workflow: { type: 'string' },
  'dry-run': flag,
  unused: flag,
  empty: flag,
} as const

const actions: Record<string, Action<typeof OPTIONS>> = {
  find: (context, client, words) => findModels(context, client, words),
  get: (context, client, items, options) => getModels(context, client, items, options),
  async scan(context, client, _args, { add, hash }) {
    const { terminal, cwd } = context
    const { models: said } = terminal.speech.words
    for (const dir of add) await client.call('model.addFolder', { dir: path.resolve(cwd, dir) })
    let state = await client.call('model.scan', {})
    if (hash) {
      await client.call('model.hash', { wait: true })
      state = await client.call('model.state', {})
    }
    for await (const model of allModels(client)) {
      terminal.event('model', model as unknown as Record<string, Json>)
      if (!terminal.json && model.flags.some((each) => each !== 'duplicate' && each !== 'trusted'))
        terminal.say(said.flagged, { name: model.name, flags: model.flags.map((each) => said.flags[each]).join(', ') })
    }
    for (const root of state.roots) {
      terminal.event('root', root as unknown as Record<string, Json>)
      if (!terminal.json && root.models > 0)
        terminal.say(said.root, { dir: root.dir, models: root.models, size: sayBytes(root.bytes) })
    }
    for (const { path: at, failure } of state.faults) {
      terminal.event('fault', { path: at, code: failure.code, message: failure.message })
      terminal.note(terminal.speech.failure(failure).message)
    }
    const { models: count, bytes, unhashed, unused, kinds } = state
    terminal.event('scanned', { models: count, bytes, unhashed, unused, kinds, faults: state.faults.length })
    if (!terminal.json) {
      for (const { kind, count: n } of kinds) terminal.say(said.kind, { kind: said.kinds[kind], count: n })
      terminal.say(said.scanned, { models: count, size: sayBytes(bytes), unhashed })
      if (unused.models > 0) terminal.say(said.unused, { models: unused.models, size: sayBytes(unused.bytes) })
    }
    return state.faults.length === 0
  },

  async import(context, client, args, { folder, engine, name, ...hows }) {
    const { terminal, cwd } = context
    const { models: said, reason } = terminal.speech.words
    const file = path.resolve(cwd, onlyArgument(context, args, 'FILE'))
    const looked = await client.call('model.inspect', { path: file })
    for (const { code, message, facts } of looked.faults)
      terminal.note(terminal.speech.problem({ code, message, facts }))
    const chosen = (['move', 'copy', 'link'] as const).filter((each) => hows[each])
    if (chosen.length > 1) throw usageError(reason.oneOf, { options: '--move, --copy, --link' })
    const how = chosen[0] ?? (await askHow(context))
    await client.call('model.scan', {})
    const model = await client.call('model.import', { path: file, how, folder, engine: engine ?? null, name })
    terminal.event('imported', { how, from: file, model: model as unknown as Json })
    if (!terminal.json)
      terminal.say(said.imported, { name: model.name, path: model.places[0]?.path ?? '', kind: said.kinds[model.kind] })
    return true
  },

  async verify(context, client, args) {
    const { terminal } = context
    const { models: said } = terminal.speech.words
    await client.call('model.scan', {})
    const ids = args.length === 0 ? null : await Promise.all(args.map((name) => idOf(context, client, name)))
    const { rows, silent } = await client.call('model.verify', { ids })
    for (const row of rows) {
      terminal.event('verified', row as unknown as Record<string, Json>)
      if (terminal.json) continue
      terminal.say(said.verified, { name: row.name, is: said.checked[row.is], sha256: row.sha256 ?? '' })
      if (row.published)
        terminal.say(`  ${said[row.published.same ? 'publishedSame' : 'publishedOther']}`, { ...row.published })
    }
    tellSilent(context, silent)
    return rows.every(({ is }) => is === 'good' || is === 'new')
  },

  async duplicates(context, client, args, { merge, undo }) {
    const { terminal } = context
    const { models: said, reason } = terminal.speech.words
    if (merge && undo) throw usageError(reason.oneOf, { options: '--merge, --undo' })
    if (undo) {
      const { merges } = await client.call('model.duplicates', {})
      const id = args[0] ?? merges.find((each) => !each.undone)?.id
      if (id === undefined) throw new AppError('app.not-found', { what: said.nothingMerged })
      return tellMerge(context, await client.call('model.undoMerge', { id }), 'undone')
    }
    await client.call('model.scan', {})
    await client.call('model.hash', { likely: true, wait: true })
    const { groups, freed, total } = await allDuplicates(client)
    if (!merge) {
      for (const group of groups) {
        terminal.event('duplicate', group as unknown as Record<string, Json>)
        if (terminal.json) continue
        terminal.say(said.duplicate, { name: group.name, size: sayBytes(group.sizeBytes) })
        for (const { files } of group.volumes)
          for (const { path: file, will, because } of files)
            terminal.say(said.copy, {
              path: file,
              will: because ? said.because[because as keyof typeof said.because] : said.will[will],
            })
      }
      for (const { mount, bytes, files } of freed) {
        terminal.event('volume', { mount, freedBytes: bytes, files })
        if (!terminal.json) terminal.say(said.volume, { mount, size: sayBytes(bytes), files })
      }
      if (!terminal.json && total === 0) terminal.say(said.noDuplicates)
      return true
    }
    return tellMerge(context, await client.call('model.merge', { hashes: null }), 'merged')
  },

  async trash(context, client, args, { unused, undo, empty }) {
    const { terminal } = context
    const { models: said, reason } = terminal.speech.words
    if ([unused, undo, empty].filter(Boolean).length > 1)
      throw usageError(reason.oneOf, { options: '--unused, --undo, --empty' })
    const tellLeft = (left: readonly LeftModel[]) => {
      for (const { failure } of left) terminal.failure(failure)
      return left.length === 0
    }
    const { rows: aside } = await client.call('model.trashed', {})
    const meant = (name: string) => {
      const at = path.resolve(context.cwd, name)
      const found = aside.find((one) => one.id === name || one.name === name || one.paths.includes(at))
      if (!found) throw new AppError('app.not-found', { what: name })
      return found.id
    }
    if (undo || empty) {
      const ids = args.length > 0 ? args.map(meant) : undo ? aside.slice(0, 1).map(({ id }) => id) : null
      if (undo && ids?.length === 0) throw new AppError('app.not-found', { what: said.trashNone })
      const { changed, left, freedBytes } = undo
        ? { ...(await client.call('model.restore', { ids: ids! })), freedBytes: 0 }
        : await client.call('model.emptyTrash', { ids })
      terminal.event(undo ? 'restored' : 'emptied', { models: changed, freedBytes })
      if (!terminal.json)
        terminal.say(undo ? said.restored : said.emptied, { models: changed, size: sayBytes(freedBytes) })
      return tellLeft(left)
    }
    if (args.length === 0 && !unused) {
      for (const one of aside) {
        terminal.event('trashed', one)
        if (!terminal.json)
          terminal.say(said.inTrash, { id: one.id, path: one.paths[0] ?? '', size: sayBytes(one.sizeBytes) })
      }
      if (aside.length === 0 && !terminal.json) terminal.say(said.trashNone)
      return true
    }
    await client.call('model.scan', {})
    const ids = unused ? [] : await Promise.all(args.map((name) => idOf(context, client, name)))
    if (unused) for await (const { id } of allModels(client, { unused })) ids.push(id)
    let whole = true
    for (let at = 0; at < ids.length; at += 1000) {
      const { rows, left } = await client.call('model.trash', { ids: ids.slice(at, at + 1000) })
      for (const one of rows) {
        terminal.event('trashed', one)
        if (!terminal.json)
          terminal.say(said.trashed, { id: one.id, path: one.paths[0] ?? '', size: sayBytes(one.sizeBytes) })
      }
      whole = tellLeft(left) && whole
    }
    return whole
  },

  async trust(context, client, args, { undo }) {
    const { terminal } = context
    const { models: said, reason } = terminal.speech.words
    if (args.length === 0) throw usageError(reason.missing, { what: 'FILE' })
    const ids = await Promise.all(args.map((name) => idOf(context, client, name)))
    const { rows } = await client.call('model.trust', { ids, trusted: !undo })
    for (const { name, sha256 } of rows) {
      terminal.event('trusted', { name, sha256, trusted: !undo })
      if (!terminal.json) terminal.say(undo ? said.distrusted : said.trusted, { name })
    }
    return true
  },
}

/** `models`: the model files of this machine. */
export const models = commandOf('models', {
  options: OPTIONS,
  actions,
  watch: (context, client) =>
    client.subscribe(null, ({ name, payload }) => {
      if (name === 'model.progress') draw(context, (payload as { progress: ModelProgress[] }).progress)
    }),
})

function tellMerge(context: Context, { id, files, freedBytes }: MergeResult, good: 'merged' | 'undone'): boolean {
  const { terminal } = context
  const { models: said } = terminal.speech.words
  terminal.endProgress()
  for (const file of files) {
    terminal.event(good === 'merged' ? 'merge' : 'undo', file)
    if (!terminal.json && file.outcome !== good)
      terminal.say(said.copy, { path: file.path, will: said.outcomes[file.outcome] })
  }
  const done = files.filter(({ outcome }) => outcome === good).length
  terminal.event(good, { id, files: done, freedBytes })
  if (!terminal.json)
    terminal.say(good === 'merged' ? said.merged : said.undone, { files: done, size: sayBytes(freedBytes), id })
  return files.every(({ outcome }) => outcome === good)
}

async function* allModels(client: Client, filter: { unused?: boolean } = {}): AsyncGenerator<Model> {
  for (let offset = 0; ; offset += 200) {
    const { rows, total } = await client.call('model.page', { ...filter, offset, limit: 200 })
    yield* rows
    if (offset + rows.length >= total || rows.length === 0) return
  }
}

async function allDuplicates(client: Client) {
  const all = await client.call('model.duplicates', { limit: 200 })
  while (all.groups.length < all.total) {
    const { groups } = await client.call('model.duplicates', { offset: all.groups.length, limit: 200 })
    if (groups.length === 0) break
    all.groups.push(...groups)
  }
  return all
}

async function idOf({ cwd }: Context, client: Client, name: string): Promise<string> {
  const { model } = await client.call('model.find', { asked: name })
  const found = model ?? (await client.call('model.find', { asked: path.resolve(cwd, name) })).model
  if (!found) throw new AppError('app.not-found', { what: name })
  return found.id
}

/** A file is nothing to move about unasked. */
async function askHow({ terminal }: Context): Promise<ImportHow> {
  const { models: said, reason } = terminal.speech.words
  if (terminal.json || !process.stdin.isTTY) throw usageError(reason.oneOf, { options: '--move, --copy, --link' })
  const asking = createInterface({ input: process.stdin, output: process.stderr })
  try {
    const answer = (await asking.question(`${said.askHow} `)).trim().toLowerCase()
    const how = ({ m: 'move', c: 'copy', l: 'link' } as const)[answer.slice(0, 1)]
    if (!how) throw usageError(reason.oneOf, { options: '--move, --copy, --link' })
    return how
  } finally {
    asking.close()
  }
}

function draw({ terminal }: Context, [first]: readonly ModelProgress[]) {
  if (!first) return terminal.endProgress()
  const { what, file, doneFiles, files, doneBytes, bytes, bytesPerSecond, etaSeconds } = first
  const { models: said } = terminal.speech.words
  const share = bytes > 0 ? doneBytes / bytes : files > 0 ? doneFiles / files : 0
  const rate = bytesPerSecond === null ? '' : `${sayBytes(bytesPerSecond)}/s`
  const left = etaSeconds === null ? '' : sayTime(etaSeconds)
  terminal.bar(share, fill(said.bar, { what: said.what[what], done: doneFiles, files, rate, left, file }))
}
