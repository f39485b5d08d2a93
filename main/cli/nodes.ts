import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import {
  BisectCheck,
  type BisectView,
  type NodeChange,
  type NodeChangeView,
  NodeConsent,
  NodeFolder,
  type NodePlan,
} from '../../core/contract/custom-node.ts'
import { AppError, FailureError } from '../../core/contract/errors.ts'
import type { Json } from '../../core/contract/json.ts'
import type { NodeLists } from '../../core/contract/workflow.ts'
import type { Client } from '../api/client.ts'
import { type Action, commandOf, type ValuesOf } from './actions.ts'
import { type Context, EXIT, onlyArgument, usageError } from './context.ts'
import { hearInterruption } from './interruption.ts'

const text = { type: 'string' } as const
const flag = { type: 'boolean' } as const
const OPTIONS = {
  engine: text,
  plan: flag,
  'allow-scripts': flag,
  'allow-builds': flag,
  'allow-packages': flag,
  without: { type: 'string', multiple: true },
  check: text,
  restore: text,
} as const
type Options = ValuesOf<typeof OPTIONS>

const actions: Record<string, Action<typeof OPTIONS>> = {
  list: (context, client, _, { engine }) => tellNodes(context, client, engine),
  async find(context, client, classTypes) {
    const { terminal } = context
    if (classTypes.length === 0) throw usageError(terminal.speech.words.reason.missing, { what: 'CLASS_TYPE' })
    const { rows, lists } = await client.call('nodes.find', { classTypes })
    for (const need of rows) {
      terminal.event('class', need as unknown as Record<string, Json>)
      if (terminal.json) continue
      terminal.say(need.classType)
      for (const { id, title, url, why, stars } of need.packs)
        terminal.say('  - {id}  {title}  {url}  {stars}({why})', {
          id,
          title: title === id ? '' : title,
          url: url ?? '',
          stars: stars == null ? '' : `★${stars} `,
          why: terminal.speech.words.inspect.why[why],
        })
      if (need.packs.length === 0) terminal.say('  - {none}', { none: terminal.speech.words.nodes.nobody })
    }
    tellLists(context, lists)
    return rows.every(({ packs }) => packs.length > 0)
  },
  async search(context, client, words, { engine }) {
    const { terminal } = context
    const { rows, total, lists } = await client.call('nodes.search', {
      engine,
      search: words.join(' '),
      limit: 50,
      offset: 0,
    })
    for (const pack of rows) {
      terminal.event('pack', pack as unknown as Record<string, Json>)
      if (terminal.json) continue
      const { id, title, author, stars, description, installed } = pack
      terminal.say('{id}  {title}  {author}  {stars}{installed}\n    {description}', {
        id,
        title,
        author,
        stars: stars === null ? '' : `★${stars}`,
        installed: installed === null ? '' : ` (${terminal.speech.words.nodes.on})`,
        description: description.slice(0, 160),
      })
    }
    if (!terminal.json && total > rows.length)
      terminal.say(terminal.speech.words.nodes.more, { count: total - rows.length })
    tellLists(context, lists)
    return true
  },
  async install(context, client, args, options) {
    if (args.length === 0) throw usageError(context.terminal.speech.words.reason.missing, { what: 'ITEM' })
    return change(context, client, { items: args.map((item) => itemIn(context, item)), changes: [] }, options)
  },
  async update(context, client, args, options) {
    const { rows } = await client.call('nodes.list', { engine: options.engine })
    const wanted = args.map((arg) => /^(.+?)(?:@([\w./+-]+))?$/.exec(arg)!)
    const changes =
      wanted.length > 0
        ? wanted.map(([, name, ref]): NodeChange => {
            const folder = folderIn(context, name!)
            if (ref === undefined) return { is: 'update', folder, from: null }
            const source = rows.find((row) => row.folder === folder)?.source
            const url = source && 'remote' in source ? source.remote : null
            if (!url) throw new AppError('nodes.no-source', { source: folder, reason: '–' })
            return { is: 'update', folder, from: { is: 'git', url, ref } }
          })
        : rows
            .filter(
              ({ enabled, source }) => enabled && (source.is === 'registry' || (source.is === 'git' && source.remote)),
            )
            .map(({ folder }): NodeChange => ({ is: 'update', folder, from: null }))
    if (changes.length === 0) {
      context.terminal.note(context.terminal.speech.words.nodes.nothing)
      return true
    }
    return change(context, client, { items: [], changes }, options)
  },
  enable: (context, client, args, options) => turn(context, client, 'enable', args, options),
  disable: (context, client, args, options) => turn(context, client, 'disable', args, options),
  remove: (context, client, args, options) => turn(context, client, 'remove', args, options),
  async rollback(context, client, _, options) {
    const engine = await engineOf(client, options)
    await client.call('nodes.rollback', { engine })
    return tellNodes(context, client, engine)
  },
  async bisect(context, client, _, options) {
    const [, is = 'start', classType] = /^(\w+)(?:=(.+))?$/.exec(options.check ?? 'start') ?? []
    const check = BisectCheck.safeParse({ is, ...(classType !== undefined && { classType }) })
    if (!check.success)
      throw usageError('--check start|picture|loads|class=CLASS_TYPE: {value}', { value: options.check ?? '' })
    const engine = await engineOf(client, options)
    return followBisect(context, client, await client.call('nodes.bisect', { engine, check: check.data }))
  },
  async snapshot(context, client, args, options) {
    const { terminal, cwd } = context
    if (options.restore !== undefined) {
      const file = path.resolve(cwd, options.restore)
      const bytes = await readFile(file).catch((cause: unknown) => {
        throw new AppError('input.missing', { name: file }, { cause })
      })
      const given = { engine: options.engine, name: path.basename(file), base64: bytes.toString('base64') }
      const { view, same, lost, comfyui } = await client.call('nodes.planSnapshot', given)
      terminal.event('snapshot', { same, lost, comfyui })
      if (lost.length > 0) terminal.note(terminal.speech.words.nodes.lost, { names: lost.join(', ') })
      if (comfyui !== null) terminal.note(terminal.speech.words.nodes.otherComfy, { commit: comfyui })
      if (view) return carryOut(context, client, view, options)
      terminal.note(terminal.speech.words.nodes.nothing)
      return true
    }
    const { name, base64 } = await client.call('nodes.snapshot', { engine: options.engine })
    const file = path.resolve(cwd, args.length === 0 ? name : onlyArgument(context, args, 'FILE'))
    await writeFile(file, Buffer.from(base64, 'base64'))
    terminal.event('snapshot', { file })
    if (!terminal.json) terminal.say(file)
    return true
  },
}

/** `nodes`: the custom nodes of a ComfyUI of this machine. */
export const nodes = commandOf('nodes', { options: OPTIONS, actions })

async function tellNodes(context: Context, client: Client, engine: string | undefined): Promise<boolean> {
  const { terminal } = context
  const { nodes: said } = terminal.speech.words
  const listed = await client.call('nodes.list', { engine })
  if (listed.engine === null) throw new AppError('nodes.no-engine')
  for (const node of listed.rows) {
    terminal.event('node', node as unknown as Record<string, Json>)
    if (terminal.json) continue
    const { source } = node
    const at = source.is === 'registry' ? source.version : 'commit' in source ? (source.commit?.slice(0, 10) ?? '') : ''
    terminal.say(said.line, {
      folder: node.folder,
      state: node.load?.failed ? said.failed : node.enabled ? said.on : said.off,
      version: node.version ?? '',
      at,
      classes: node.classes?.length ?? '?',
    })
  }
  if (!terminal.json && listed.rows.length === 0) terminal.say(said.none)
  return listed.rows.every(({ load }) => !load?.failed)
}

async function engineOf(client: Client, { engine }: Options): Promise<string> {
  if (engine !== undefined) return engine
  const { engines } = await client.call('nodes.list', {})
  const [first, ...others] = engines
  if (first === undefined) throw new AppError('nodes.no-engine')
  if (others.length > 0) throw new AppError('nodes.which-engine', { candidates: engines.join(', ') })
  return first
}

function folderIn({ terminal }: Context, name: string): NodeFolder {
  const read = NodeFolder.safeParse(name.replace(/[\\/]+$/, ''))
  if (!read.success) throw usageError(terminal.speech.words.nodes.notFolder, { value: name })
  return read.data
}

/** A file that is there is meant by its whole path. */
function itemIn({ cwd }: Context, item: string): string {
  const [, place = item, ref = ''] = /^(.+?)(@[\w.+-]+)?$/.exec(item) ?? []
  const file = path.resolve(cwd, place)
  return /[\\/.]/.test(place) && !/^[a-z+]+:\/\/|^git@/i.test(place) && existsSync(file) ? file + ref : item
}

const turn = (
  context: Context,
  client: Client,
  is: 'enable' | 'disable' | 'remove',
  args: string[],
  options: Options,
) => {
  if (args.length === 0) throw usageError(context.terminal.speech.words.reason.missing, { what: 'NAME' })
  const changes = args.map((name): NodeChange => ({ is, folder: folderIn(context, name) }))
  return change(context, client, { items: [], changes }, options)
}

async function change(
  context: Context,
  client: Client,
  wanted: { items: string[]; changes: NodeChange[] },
  options: Options,
): Promise<boolean> {
  return carryOut(context, client, await client.call('nodes.plan', { engine: options.engine, ...wanted }), options)
}

/** Tells what would change, and carries it out unless that was all that was asked for. */
async function carryOut(context: Context, client: Client, begun: NodeChangeView, options: Options): Promise<boolean> {
  const { terminal } = context
  const { plan } = await follow(context, client, begun)
  if (!plan) throw new AppError('nodes.plan-gone', { id: '-' })
  tellPlan(context, plan)
  const { engine } = plan
  if (options.plan) {
    await client.call('nodes.cancel', { engine })
    return plan.clashes.length === 0
  }
  const without = (options.without ?? []).flatMap((line) =>
    plan.clashes.filter(({ wants }) => wants.line === line).map(({ wants }) => ({ folder: wants.folder, line })),
  )
  const consent = NodeConsent.parse({
    scripts: options['allow-scripts'] ? plan.scripts.map(({ sha256 }) => sha256) : [],
    builds: options['allow-builds'] ?? false,
    packages: options['allow-packages'] ?? false,
    without,
  })
  const { result } = await follow(context, client, await client.call('nodes.begin', { engine, plan: plan.id, consent }))
  if (!result) return false
  terminal.event('result', result as unknown as Record<string, Json>)
  const { nodes: said } = terminal.speech.words
  for (const { folder, file, is } of result.scripts) terminal.note(said.script[is], { file: `${folder}/${file}` })
  for (const found of result.findings) terminal.note('{message}', { message: terminal.speech.problem(found) })
  if (!terminal.json)
    for (const [folder, classes] of Object.entries(result.classes))
      if (classes.length > 0) terminal.say(said.brings, { folder, classes: classes.join(', ') })
  return result.scripts.every(({ is }) => is === 'done' || is === 'not-allowed')
}

/** Tells each step up to the end of planning or carrying out. Ctrl-C ends it: what ran before runs as before. */
async function follow(context: Context, client: Client, { engine }: NodeChangeView): Promise<NodeChangeView> {
  const { terminal } = context
  const { nodes: said } = terminal.speech.words
  const told = new Map<string, string>()
  const view = await until(
    context,
    client,
    () => client.call('nodes.cancel', { engine }),
    async () => {
      const { rows } = await client.call('nodes.changes', {})
      const now = rows.find((row) => row.engine === engine)
      for (const step of now?.steps ?? []) {
        const key = `${step.is} ${Math.floor(step.bytes / 1e6)}`
        if (step.is === 'waiting' || told.get(step.id) === key) continue
        told.set(step.id, key)
        terminal.event('step', { ...step })
        if (step.is === 'running') terminal.note('{step}', { step: said.steps[step.id] })
      }
      return now && now.is !== 'planning' && now.is !== 'running' ? now : null
    },
  )
  if (view.is === 'failed' && view.failure) throw new FailureError(view.failure)
  if (view.is === 'cancelled') throw new AppError('app.interrupted')
  return view
}

async function followBisect(context: Context, client: Client, { engine }: BisectView): Promise<boolean> {
  const { terminal } = context
  const { nodes: said } = terminal.speech.words
  let boots = 0
  const view = await until(
    context,
    client,
    () => client.call('nodes.cancelBisect', { engine }),
    async () => {
      const { rows } = await client.call('nodes.bisects', {})
      const now = rows.find((row) => row.engine === engine)
      for (const boot of now?.boots.slice(boots) ?? []) {
        boots += 1
        terminal.event('boot', boot as unknown as Record<string, Json>)
        terminal.note(boot.failure ? said.bootBad : said.bootGood, {
          count: boot.folders.length,
          seconds: boot.seconds,
          left: now!.suspects.length,
        })
      }
      return now && now.is !== 'running' ? now : null
    },
  )
  if (view.is === 'failed' && view.failure) throw new FailureError(view.failure)
  if (view.is === 'cancelled') throw new AppError('app.interrupted')
  const { culprits, because, remedies } = view
  terminal.event('found', { culprits, because: because as unknown as Json, remedies, boots })
  if (culprits.length === 0 && !because) terminal.say(said.well)
  else terminal.say(said.culprits, { names: culprits.join(', ') || said.withoutAny })
  if (because) terminal.note('{message}', { message: terminal.speech.failure(because).message })
  return culprits.length === 0 && because === null
}

/** Looks after every event until something is found. */
async function until<T>(
  { terminal: _ }: Context,
  client: Client,
  cancel: () => Promise<unknown>,
  look: () => Promise<T | null>,
): Promise<T> {
  const interrupt = hearInterruption(EXIT.interrupted)
  const { promise, resolve, reject } = Promise.withResolvers<T>()
  let looking = Promise.resolve()
  const lookAgain = () => {
    looking = looking
      .then(look)
      .then((found) => {
        if (found !== null) resolve(found)
      })
      .catch(reject)
  }
  const leave = client.subscribe(null, ({ name }) => {
    if (name === 'nodes.progress' || name === 'nodes.changed') lookAgain()
  })
  lookAgain()
  const interrupted = once(interrupt.signal, 'abort').then(async () => {
    await cancel()
    throw new AppError('app.interrupted')
  })
  interrupted.catch(() => {})
  try {
    return await Promise.race([promise, interrupted])
  } finally {
    leave()
    interrupt.end()
  }
}

function tellPlan({ terminal }: Context, plan: NodePlan) {
  terminal.event('plan', plan as unknown as Record<string, Json>)
  const { nodes: said } = terminal.speech.words
  const tell = terminal.json ? () => {} : terminal.say.bind(terminal)
  for (const node of plan.nodes)
    tell(said.planned, {
      change: said.changes[node.change],
      folder: node.folder,
      version: whereIn(node.to) || (node.version ?? ''),
    })
  for (const { package: name, from, to } of plan.packages)
    tell(said.package, { name, from: from ?? '–', to: to ?? '–' })
  for (const { folder, line, reason } of plan.leftOut)
    tell(said.leftOut, { folder, line, reason: said.leftOutWhy[reason] })
  for (const { wants, against, because, package: name } of plan.clashes)
    tell(said.clash[because], {
      folder: wants.folder,
      line: wants.line,
      package: name,
      against: against.map((each) => `${each.who} (${each.wants})`).join(', ') || '–',
    })
  for (const script of plan.scripts) {
    tell(said.scriptShown, { file: `${script.folder}/${script.file}`, sha256: script.sha256 })
    tell('{text}', { text: script.text.replace(/^/gm, '    ') })
  }
  for (const name of plan.builds) tell(said.build, { name })
}

const whereIn = (source: NodePlan['nodes'][number]['to']): string =>
  source === null
    ? ''
    : source.is === 'registry'
      ? source.version
      : 'commit' in source
        ? (source.commit?.slice(0, 10) ?? '')
        : ''

function tellLists({ terminal }: Context, lists: NodeLists | undefined) {
  if (!lists) return
  terminal.event('lists', lists as unknown as Record<string, Json>)
  if (lists.because) terminal.note('{message}', { message: terminal.speech.failure(lists.because).message })
  if (lists.fetchedAt !== null)
    terminal.note(terminal.speech.words.nodes.lists, {
      when: new Date(lists.fetchedAt).toLocaleString(),
      licence: lists.licence,
    })
}
