import { mkdir, readFile } from 'node:fs/promises'
import path from 'node:path'
import { type BisectBoot, type BisectCheck, BisectView, type NodeRemedy } from '../../contract/custom-node.ts'
import type { EngineView } from '../../contract/engine.ts'
import { type Failure, toFailure } from '../../contract/errors.ts'
import { parseJson, writeJson } from '../../contract/json.ts'
import { removeDir } from '../install/generations.ts'
import { writeWhole } from '../write-whole.ts'
import { listLive, pointerOf, readSet } from './places.ts'
import { readProject } from './requirements.ts'
import { sourceOf } from './scan.ts'
import { currentSite, type NodesSite, type NodesTools, placesOf } from './site.ts'
import { tryNodes } from './trial.ts'

interface Bisect {
  readonly site: NodesSite
  readonly tools: NodesTools
  readonly check: BisectCheck
  /** What the log names already; these are looked at first. */
  readonly hints?: readonly string[]
  /** Which may be it; else all that are switched on. */
  readonly folders?: readonly string[]
  readonly onNews?: (view: BisectView) => void
}

const STATE = 'bisect.json'

/** The last search, under way or over; null: there was none. */
export async function readBisect({ home }: Pick<NodesSite, 'home'>): Promise<BisectView | null> {
  const text = await readFile(path.join(home, STATE), 'utf8').catch(() => null)
  const read = text === null ? null : BisectView.safeParse(parseJson(text))
  return read?.success ? read.data : null
}

/** What a ComfyUI that did not start, or started without some, said itself. */
export function hintsOf({ processes }: Pick<EngineView, 'processes'>): string[] {
  const named = processes.flatMap(({ state, facts }) => {
    const folder = state.is === 'failed' || state.is === 'pausing' ? state.because.facts.folder : null
    const failed = facts.customNodes.filter((load) => load.failed).map((load) => path.basename(load.folder))
    return [...(typeof folder === 'string' ? [folder] : []), ...failed]
  })
  return [...new Set(named)]
}

/**
 * Starts a ComfyUI beside what runs, with ever fewer custom nodes, until it is known which break it: one, or those that do
 * so only together. One that was cut off goes on where it was.
 */
export async function bisectNodes({
  site: given,
  tools,
  check,
  hints = [],
  folders,
  onNews,
}: Bisect): Promise<BisectView> {
  const site = currentSite(given)
  const { live } = placesOf(site)
  const there = (await listLive(live)).filter(({ enabled }) => enabled)
  const wanted = there.filter(({ folder }) => folders === undefined || folders.includes(folder))
  const names = wanted.map(({ folder }) => folder)
  const before = await readBisect(site)
  const same =
    before?.is === 'running' || before?.is === 'cancelled'
      ? writeJson(before.check as never) === writeJson(check as never) && before.folders.join('\n') === names.join('\n')
      : false
  const view: BisectView = {
    engine: site.name,
    check,
    is: 'running',
    folders: names,
    suspects: names,
    boots: same ? before!.boots : [],
    culprits: [],
    because: null,
    remedies: [],
    failure: null,
  }
  await mkdir(site.home, { recursive: true })
  const tell = async () => {
    await writeWhole(path.join(site.home, STATE), writeJson(view as never))
    onNews?.(structuredClone(view))
  }
  const keyOf = (set: readonly string[]) => set.toSorted().join('\n')
  const known = new Map(view.boots.map((boot) => [keyOf(boot.folders), boot]))
  const boot = async (set: readonly string[]): Promise<BisectBoot> => {
    const again = known.get(keyOf(set))
    if (again) return again
    tools.signal?.throwIfAborted()
    const since = performance.now()
    const nodes = wanted
      .filter(({ folder }) => set.includes(folder))
      .map(({ folder, name }) => ({ folder, dir: path.join(live, name) }))
    const { failure } = await tryNodes({ site, tools, nodes, dir: path.join(site.home, 'bisect'), check })
    const one: BisectBoot = { folders: [...set], failure, seconds: Math.round((performance.now() - since) / 100) / 10 }
    known.set(keyOf(set), one)
    view.boots.push(one)
    await tell()
    return one
  }
  await tell()
  try {
    const hinted = hints.filter((hint) => names.includes(hint))
    const found = await findCulprits([...hinted, ...names.filter((name) => !hinted.includes(name))], {
      hinted: hinted.length,
      test: async (set) => (await boot(set)).failure,
      onSuspects: (suspects) => {
        view.suspects = [...suspects]
      },
    })
    view.is = 'done'
    view.culprits = found.culprits
    view.suspects = found.culprits
    view.because = found.because
    view.remedies = await remediesFor(site, found.culprits)
  } catch (cause) {
    view.is = tools.signal?.aborted ? 'cancelled' : 'failed'
    if (view.is === 'failed') view.failure = toFailure(cause)
  }
  await tell()
  return view
}

/** Forgets it. */
export const forgetBisect = ({ home }: Pick<NodesSite, 'home'>) => removeDir(path.join(home, STATE))

/**
 * The smallest set that fails, where what fails does so with more beside it too: one of n in ⌈log₂(n + 1)⌉ + 1 tests at
 * most, and as many again for each further one that it takes. Empty: all together are well, or all is ill without any.
 * `order`: the likeliest first. Deterministic.
 */
export async function findCulprits(
  order: readonly string[],
  {
    test,
    hinted = 0,
    onSuspects,
  }: {
    /** null: well. */
    test: (set: readonly string[]) => Promise<Failure | null>
    /** So many at the front were named already. */
    hinted?: number
    onSuspects?: (suspects: readonly string[]) => void
  },
): Promise<{ culprits: string[]; because: Failure | null }> {
  const culprits: string[] = []
  let because: Failure | null = null
  let list = [...order]
  // how many of the list, in this order, are well, and how many are not; one more than all: nobody said they are not
  let [well, ill] = [0, list.length + 1]
  let asked: number | null = hinted > 0 && hinted < list.length ? hinted : null
  for (;;) {
    while (ill - well > 1) {
      const middle = asked ?? (well + ill) >> 1
      asked = null
      const set = [...culprits, ...list.slice(0, middle)]
      const failure = await test(set)
      if (failure === null) well = middle
      else {
        ill = middle
        because = failure
        // whom its log names goes first, and is asked first
        const named = list.indexOf(String(failure.facts.folder ?? ''))
        if (named > well && named < ill && ill - well > 2) {
          const name = list[named]!
          list = [...list.slice(0, well), name, ...list.slice(well, named), ...list.slice(named + 1)]
          asked = well + 1
        }
      }
      onSuspects?.([...culprits, ...list.slice(well, Math.min(ill, list.length))])
    }
    if (ill > list.length) return { culprits: [], because: null }
    culprits.push(list[ill - 1]!)
    if (ill === 1) {
      // nothing was seen to be well yet: it may be ill without any
      if (culprits.length > 1) return { culprits, because }
      const alone = await test([])
      return alone === null ? { culprits, because } : { culprits: [], because: alone }
    }
    const alone = await test(culprits)
    if (alone !== null) return { culprits, because: alone }
    list = list.slice(0, ill - 1)
    ;[well, ill] = [0, list.length]
    onSuspects?.([...culprits, ...list])
  }
}

/** What helps against those: back to what ran before, where the last change brought them; an update, where there may be one. */
async function remediesFor(site: NodesSite, culprits: readonly string[]): Promise<NodeRemedy[]> {
  if (culprits.length === 0) return []
  const pointer = pointerOf(site)
  const [now, before] = await Promise.all(
    [pointer?.current, pointer?.previous].map((id) => (id ? readSet(site, id).catch(() => null) : null)),
  )
  const other = (folder: string) =>
    now?.nodes[folder]?.key !== before?.nodes[folder]?.key ||
    now?.nodes[folder]?.enabled !== before?.nodes[folder]?.enabled
  const remedies: NodeRemedy[] = now && before && culprits.some(other) ? ['roll-back', 'disable'] : ['disable']
  const { live } = placesOf(site)
  for (const folder of culprits) {
    const dir = path.join(live, folder)
    const { source } = await sourceOf(dir, await readProject(dir))
    if (source.is === 'registry' || (source.is !== 'file' && source.remote !== null)) return [...remedies, 'update']
  }
  return remedies
}
