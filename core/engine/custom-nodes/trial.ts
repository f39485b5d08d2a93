import { randomUUID } from 'node:crypto'
import { appendFile, copyFile, lstat, mkdir, readFile, rm, stat, symlink } from 'node:fs/promises'
import path from 'node:path'
import type { BisectCheck } from '../../contract/custom-node.ts'
import { type CustomNodeLoad, EngineSettings } from '../../contract/engine.ts'
import { AppError, type Failure, toFailure } from '../../contract/errors.ts'
import { readAddress } from '../comfy/address.ts'
import { ComfyClient } from '../comfy/client.ts'
import { paintCanary } from '../install/canary.ts'
import { removeDir } from '../install/generations.ts'
import { hideSecrets } from '../log.ts'
import { flagsIn, launchOf } from '../process/launch.ts'
import { LineLog } from '../process/line-log.ts'
import { plain } from '../process/startup.ts'
import { Supervisor, startSomewhere } from '../process/supervisor.ts'
import { type NodesSite, type NodesTools, nodesLog, placesOf } from './site.ts'

export interface TrialNode {
  readonly folder: string
  /** What is tried, wherever it lies. */
  readonly dir: string
}
export interface Trial {
  /** Why it did not start or paint; null: it did. */
  readonly failure: Failure | null
  readonly loads: readonly CustomNodeLoad[]
  /** Folder → why it does not load. */
  readonly broken: ReadonlyMap<string, string>
  readonly classes: NodeClasses | null
  /** Classes that are there and cannot say what they take, so no list has them. */
  readonly unreadable: readonly string[]
}
export interface NodeClasses {
  /** Folder → the classes it brings. */
  readonly nodes: Record<string, string[]>
  /** ComfyUI's own. */
  readonly core: string[]
}

/** Classes by the folder that brings them, from what a server says of itself. */
export async function classesOf(url: string, signal?: AbortSignal): Promise<NodeClasses> {
  const client = new ComfyClient(readAddress(url), { clientId: randomUUID() })
  try {
    const nodes: Record<string, string[]> = {}
    const core: string[] = []
    for (const [name, { python_module: module }] of Object.entries(await client.objectInfo(signal))) {
      const folder = /^custom_nodes\.(.+)$/.exec(String(module ?? ''))?.[1]
      if (folder === undefined) core.push(name)
      else nodes[folder] = [...(nodes[folder] ?? []), name]
    }
    return { nodes, core }
  } finally {
    await client.close()
  }
}
/** A file's module lacks its ending. */
export const classesIn = (classes: NodeClasses | null, folder: string): string[] | null =>
  classes && (classes.nodes[folder] ?? classes.nodes[folder.replace(/\.py$/, '')] ?? [])

/**
 * Starts a ComfyUI with these custom nodes, on a port of its own and in a folder of its own that has the models, and has it
 * do what `check` says. Ended when this resolves, whatever came of it.
 */
export async function tryNodes({
  site,
  tools,
  nodes,
  dir,
  check,
}: {
  site: NodesSite
  tools: NodesTools
  nodes: readonly TrialNode[]
  /** Its own; gone afterwards but for the log. */
  dir: string
  check: BisectCheck
}): Promise<Trial> {
  const { signal = new AbortController().signal, now, newId, stateDir, platform, pace } = tools
  await removeDir(dir)
  await rm(`${dir}.log`, { force: true })
  await furnish(site, nodes, dir)
  const { cards } = site.settings
  const card = { ...cards[0]!, flags: withoutPlaces(cards[0]!.flags), port: null }
  const flags = withoutPlaces(site.settings.flags)
  const settings = EngineSettings.parse({ ...site.settings, flags, cards: [card], baseDir: dir, withCustomNodes: true })
  const declared = await readFile(path.join(site.dir, 'comfy', 'cli_args.py'), 'utf8').catch(() => null)
  const known = declared === null ? null : flagsIn(declared)
  const file = `${dir}.log`
  const log = new LineLog(file, { now })
  const supervisor = new Supervisor({
    id: `${site.name}.nodes`,
    port: null,
    taken: () => new Set([8188]), // where people look for theirs
    stateDir,
    log,
    newId,
    now,
    pace: { crashes: 1, ...pace },
    launch: (port) =>
      launchOf({
        kind: site.kind,
        dir: site.dir,
        python: site.python,
        settings,
        card,
        port,
        outputDir: null,
        database: path.join(dir, 'trial.db'),
        known,
        platform,
        // what is checked against a lock stays as it was installed
        env: { ...tools.env, ...tools.childEnv, PYTHONDONTWRITEBYTECODE: '1' },
      }),
  })
  let failure: Failure | null = null
  let classes: NodeClasses | null = null
  let lines: string[] = []
  try {
    await startSomewhere(supervisor, signal)
    const { state } = supervisor
    if (state.is !== 'ready') throw new AppError('engine.not-running', { name: site.name })
    if (check.is === 'picture') await paintCanary(state.url, signal)
    classes = await classesOf(state.url, signal)
  } catch (cause) {
    signal.throwIfAborted()
    failure = toFailure(cause)
  } finally {
    await supervisor.stop()
    lines = await linesOf(log)
    log.close()
    await appendFile(nodesLog(site), hideSecrets(`\n$ trial\n${lines.join('\n')}\n`)).catch(() => {})
    await removeDir(dir)
    await rm(file, { force: true })
  }
  const heard = new Map<string, string>()
  for (const line of lines) hear(line, heard)
  const unreadable = lines.flatMap((line) => UNREADABLE.exec(line)?.[1] ?? [])
  const loads = supervisor.facts.customNodes.map((load) => ({ ...load, folder: path.basename(load.folder) }))
  const broken = new Map(
    nodes.flatMap(({ folder }) => {
      const load = loads.find((each) => each.folder === folder)
      const reason = heard.get(folder)
      return load?.failed || reason !== undefined ? [[folder, reason ?? ''] as const] : []
    }),
  )
  failure ??= failing(check, broken, classes)
  return { failure, loads, broken, classes, unreadable: [...new Set(unreadable)] }
}

function failing(check: BisectCheck, broken: ReadonlyMap<string, string>, classes: NodeClasses | null): Failure | null {
  const [first] = broken
  if (check.is === 'loads' && first)
    return toFailure(new AppError('nodes.broken', { folder: first[0], reason: first[1] }))
  if (check.is !== 'class' || !classes) return null
  const there = [...classes.core, ...Object.values(classes.nodes).flat()].includes(check.classType)
  return there ? null : toFailure(new AppError('nodes.class-missing', { classType: check.classType }))
}

const CANNOT = /Cannot import (.+?) module for custom nodes: (.*)/
const UNREADABLE = /An error occurred while retrieving information for the '(.+)' node/
const ENTRY = /(?:Error while calling comfy_entrypoint in|comfy_entrypoint in) (.+?)(?::| is not| did not) ?(.*)/
function hear(line: string, heard: Map<string, string>) {
  const found = CANNOT.exec(line) ?? ENTRY.exec(line)
  if (found) heard.set(path.basename(found[1]!.replaceAll('\\', '/')), found[2]!.slice(0, 500))
}

async function linesOf(log: LineLog): Promise<string[]> {
  const lines = await log.read({ limit: 5_000 }).catch(() => [])
  return lines.map(({ text }) => plain(text))
}

/** A folder as ComfyUI wants one, with the models and inputs that are there, and these custom nodes. */
async function furnish(site: NodesSite, nodes: readonly TrialNode[], dir: string) {
  const base = path.dirname(placesOf(site).live)
  for (const name of ['output', 'user', 'temp', 'custom_nodes']) await mkdir(path.join(dir, name), { recursive: true })
  for (const name of ['models', 'input']) {
    const from = path.join(base, name)
    const there = await stat(from).catch(() => null)
    if (there) await symlink(from, path.join(dir, name), 'junction')
    else await mkdir(path.join(dir, name), { recursive: true })
  }
  for (const { folder, dir: from } of nodes) {
    const to = path.join(dir, 'custom_nodes', folder)
    if ((await lstat(from)).isFile()) await copyFile(from, to)
    else await symlink(path.resolve(from), to, 'junction')
  }
}

/** Where things lie is a trial's own. Pure. */
export function withoutPlaces(flags: readonly string[]): string[] {
  const places = /^--(?:(?:base|output|input|temp|user)-directory|database-url)(=|$)/
  return flags.filter((flag, at) => !places.test(flag) && places.exec(flags[at - 1] ?? '')?.[1] !== '')
}
