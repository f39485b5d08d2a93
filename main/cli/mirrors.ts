import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { AppError } from '../../core/contract/errors.ts'
import type { Json } from '../../core/contract/json.ts'
import {
  MirrorKind,
  type MirrorKindView,
  type MirrorView,
  type NetworkView,
  TokenHost,
} from '../../core/contract/mirror.ts'
import { type Action, commandOf } from './actions.ts'
import { type Context, usageError } from './context.ts'
import { sayBytes } from './terminal.ts'

const OPTIONS = {
  id: { type: 'string' },
  name: { type: 'string' },
  prefix: { type: 'boolean' },
  direct: { type: 'boolean' },
  'token-file': { type: 'string' },
  token: { type: 'string' },
  'password-file': { type: 'string' },
  certificates: { type: 'string' },
  'give-to': { type: 'string' },
  'take-from': { type: 'string' },
  remove: { type: 'boolean' },
} as const

const actions: Record<string, Action<typeof OPTIONS>> = {
  async list(context, client, args) {
    const kinds = kindsIn(context, args)
    tellAll(context, (await client.call('mirror.list', {})).kinds, kinds)
    return true
  },

  /** All is well when every kind has a place that is good. */
  async test(context, client, args, { id }) {
    const { terminal } = context
    const asked = kindsIn(context, args)
    const { kinds: before } = await client.call('mirror.list', {})
    const chosen = before.filter(({ kind }) => asked === null || asked.includes(kind))
    const waiting = new Set(
      chosen.flatMap(({ kind, places }) =>
        places.filter((place) => id === undefined || place.id === id).map((place) => `${kind} ${place.id}`),
      ),
    )
    // a place is told of once it was seen being tried and is done
    const trying = new Set<string>()
    const leave = client.subscribe(null, ({ name }) => {
      if (name === 'mirror.changed') void hear()
    })
    const hear = async (over = false) => {
      for (const { kind, places } of (await client.call('mirror.list', {})).kinds)
        for (const place of places) {
          const mark = `${kind} ${place.id}`
          if (place.testing) trying.add(mark)
          else if ((over || trying.has(mark)) && waiting.delete(mark)) tell(context, kind, place)
        }
    }
    let kinds: MirrorKindView[]
    try {
      kinds = (await client.call('mirror.test', { ...(asked && { kinds: asked }), ...(id !== undefined && { id }) }))
        .kinds
    } finally {
      leave()
    }
    await hear(true)
    const tried = kinds.filter(({ kind }) => asked === null || asked.includes(kind))
    for (const { kind, places } of tried) {
      const [first] = places.filter(({ used, measured }) => used && measured?.ok)
      terminal.event('chosen', { kind, id: first?.id ?? null })
      if (terminal.json) continue
      const { mirrors: said } = terminal.speech.words
      if (first) terminal.say(said.chosen, { kind: said.kinds[kind], name: first.name })
      else terminal.say(said.noneGood, { kind: said.kinds[kind] })
    }
    return tried.every(({ places }) => places.some(({ measured }) => measured?.ok))
  },

  async use(context, client, [what, id, ...more]) {
    const { terminal } = context
    const { reason } = terminal.speech.words
    if (more.length > 0) throw usageError(reason.tooMany, { value: more[0]! })
    if (what === undefined) throw usageError(reason.missing, { what: 'KIND' })
    if (/^(?:auto|first|last|none)$/.test(what) && id === undefined) {
      const policy = what as NetworkView['settings']['mirrors']
      await client.call('network.set', { settings: { mirrors: policy } })
      if (policy === 'auto')
        for (const { kind, choice } of (await client.call('mirror.list', {})).kinds)
          if (choice !== 'auto') await client.call('mirror.choose', { kind, id: null })
      tellAll(context, (await client.call('mirror.list', {})).kinds, null)
      return true
    }
    const [kind] = kindsIn(context, [what])!
    if (id === undefined) throw usageError(reason.missing, { what: 'ID' })
    const { kinds } = await client.call('mirror.choose', { kind: kind!, id: id === 'auto' ? null : id })
    tellAll(context, kinds, [kind!])
    return true
  },

  async add(context, client, [what, address, ...more], { name, prefix = false, direct = false }) {
    const { reason } = context.terminal.speech.words
    if (what === undefined || address === undefined)
      throw usageError(reason.missing, { what: what ? 'ADDRESS' : 'KIND' })
    if (more.length > 0) throw usageError(reason.tooMany, { value: more[0]! })
    const [kind] = kindsIn(context, [what])!
    const given = { kind: kind!, address, prefix, direct, ...(name !== undefined && { name }) }
    const { kinds } = await client.call('mirror.add', given)
    tellAll(context, kinds, [kind!])
    return true
  },

  async remove(context, client, [what, id]) {
    const { reason } = context.terminal.speech.words
    if (what === undefined || id === undefined) throw usageError(reason.missing, { what: what ? 'ID' : 'KIND' })
    const [kind] = kindsIn(context, [what])!
    const { kinds } = await client.call('mirror.remove', { kind: kind!, id })
    tellAll(context, kinds, [kind!])
    return true
  },

  /** The token of a hub: given in a file, taken away, or lent to a mirror. */
  async token(context, client, [what], options) {
    const { terminal } = context
    const read = TokenHost.safeParse(what)
    if (!read.success && what !== undefined)
      throw usageError(terminal.speech.words.mirrors.unknownHost, { value: what, all: TokenHost.options.join(', ') })
    if (!read.success) return tellNetwork(context, await client.call('network.get', {}))
    const host = read.data
    const { mirrors: said } = terminal.speech.words
    if (options.token !== undefined) terminal.note(said.tokenOnArgv)
    const token = (await textOf(context, options['token-file'])) ?? options.token
    let view = await client.call('network.get', {})
    if (options.remove) view = await client.call('token.remove', { host })
    if (token !== undefined) view = await client.call('token.set', { host, token })
    for (const [mirror, given] of [
      [options['give-to'], true],
      [options['take-from'], false],
    ] as const)
      if (mirror !== undefined) view = await client.call('token.give', { host, mirror, given })
    return tellNetwork(context, view)
  },

  /** `system`, `none`, or an address. */
  async proxy(context, client, [what], options) {
    const { certificates } = options
    if (certificates !== undefined) {
      const file = certificates === 'none' ? '' : path.resolve(context.cwd, certificates)
      await client.call('network.set', { settings: { certificates: file } })
    }
    if (what !== undefined) {
      const settings =
        what === 'system' || what === 'none'
          ? { proxy: what as 'system' | 'none' }
          : { proxy: 'manual' as const, proxyAddress: what }
      const [user, ...password] = ((await textOf(context, options['password-file'])) ?? '').split(':')
      const credentials = user ? { user, password: password.join(':') } : undefined
      await client.call('network.set', { settings, ...(credentials && { credentials }) })
    }
    return tellNetwork(context, await client.call('network.get', {}))
  },
}

/** `mirrors`: where things are fetched from, and how the internet is reached. */
export const mirrors = commandOf('mirrors', { options: OPTIONS, actions })

async function textOf({ cwd }: Context, name: string | undefined): Promise<string | undefined> {
  if (name === undefined) return undefined
  const file = path.resolve(cwd, name)
  const text = await readFile(file, 'utf8').catch((cause: unknown) => {
    throw new AppError('input.missing', { name: file }, { cause })
  })
  return text.trim()
}

/** null: all of them. */
function kindsIn({ terminal }: Context, args: readonly string[]): MirrorKind[] | null {
  if (args.length === 0) return null
  return args.map((value) => {
    const read = MirrorKind.safeParse(value)
    if (!read.success)
      throw usageError(terminal.speech.words.mirrors.unknownKind, { value, all: MirrorKind.options.join(', ') })
    return read.data
  })
}

function tellAll(context: Context, kinds: readonly MirrorKindView[], only: readonly MirrorKind[] | null) {
  const { terminal } = context
  const { mirrors: said } = terminal.speech.words
  for (const { kind, choice, places } of kinds) {
    if (only && !only.includes(kind)) continue
    terminal.event('kind', { kind, choice, used: places.filter(({ used }) => used).map(({ id }) => id) })
    if (!terminal.json)
      terminal.say(choice === 'auto' ? said.kind : said.kindFixed, { kind: said.kinds[kind], name: kind, choice })
    for (const place of places) tell(context, kind, place)
  }
}

function tell({ terminal }: Context, kind: MirrorKind, place: MirrorView) {
  terminal.event('place', { kind, ...(place as unknown as Record<string, Json>) })
  if (terminal.json) return
  const { mirrors: said } = terminal.speech.words
  const { measured } = place
  const how = () => {
    if (measured === null) return said.notTried
    if (!measured.ok)
      return `${said.faults[measured.fault ?? 'unreachable']} (${terminal.speech.reason(measured.reason ?? '')})`
    const rate = measured.bytesPerSecond === null ? '' : `${sayBytes(measured.bytesPerSecond)}/s  `
    return `${rate}${measured.latencyMs ?? '?'} ms`
  }
  const marks = [place.official && said.official, place.own && said.own].filter((mark) => mark !== false).join(', ')
  terminal.say('  {id}  {how}  {marks}', { id: place.id.padEnd(34), how: how(), marks })
}

function tellNetwork({ terminal }: Context, view: NetworkView): boolean {
  terminal.event('network', view as unknown as Record<string, Json>)
  if (terminal.json) return true
  const { mirrors: said } = terminal.speech.words
  terminal.say(said.proxy, { how: said.proxies[view.settings.proxy], address: view.proxyInUse ?? '-' })
  for (const { host, isSet, account, given, page } of view.tokens)
    terminal.say(isSet ? said.tokenSet : said.tokenNone, {
      host,
      account: account ?? '?',
      given: given.join(', ') || '-',
      page,
    })
  return true
}
