import { copyFile, link, lstat, mkdir, readdir, readFile, readlink, rename, rm, symlink } from 'node:fs/promises'
import path from 'node:path'
import { z } from 'zod'
import { NodeFolder } from '../../contract/custom-node.ts'
import { AppError } from '../../contract/errors.ts'
import { parseJson, writeJson } from '../../contract/json.ts'
import { readPointer, removeDir, writePointer } from '../install/generations.ts'
import { writeWhole } from '../write-whole.ts'
import { type NodesPlaces, type NodesSite, placesOf } from './site.ts'

/** The custom nodes that belong to a generation. A key tells one content of a folder from another. */
export const NodeSet = z.object({
  nodes: z.record(z.string(), z.object({ key: z.string(), enabled: z.boolean() })),
  /** The classes each brought when this was tried; null: it was not. */
  classes: z.record(z.string(), z.array(z.string())).nullable(),
})
export type NodeSet = z.infer<typeof NodeSet>

type Site = Pick<NodesSite, 'kind' | 'dir' | 'settings' | 'home'>
const SET = 'custom-nodes.json'
const SETTLED = 'custom-nodes.settled'
const Pointer = z.object({ current: z.string(), previous: z.string().nullable() })

/**
 * What is to run is said by one file, the generations' pointer, or one of our own for a ComfyUI that is not ours. After it
 * changed the folders follow, before the next start, each by one rename: whoever is killed between leaves it to the next.
 */
const setsDir = ({ kind, home }: Site) =>
  kind === 'installed' ? path.join(home, 'generations') : path.join(home, 'node-sets')
const setFile = (site: Site, id: string) => path.join(setsDir(site), id, SET)

export function pointerOf(site: Site): { current: string; previous: string | null } | null {
  return readPointer(site.kind === 'installed' ? site.home : setsDir(site))
}

export async function readSet(site: Site, id: string): Promise<NodeSet | null> {
  const text = await readFile(setFile(site, id), 'utf8').catch(() => null)
  try {
    return text === null ? null : NodeSet.parse(parseJson(text))
  } catch {
    return null // damaged: its folders stay as they are
  }
}
export async function writeSet(site: Site, id: string, set: NodeSet) {
  await mkdir(path.dirname(setFile(site, id)), { recursive: true })
  await writeWhole(setFile(site, id), writeJson(set as never))
}
async function allSets(site: Site): Promise<NodeSet[]> {
  const ids = await readdir(setsDir(site)).catch(() => [])
  const sets = await Promise.all(ids.map((id) => readSet(site, id)))
  return sets.filter((set) => set !== null)
}

/** From now on this one is to run, which happens with `settle`. */
export async function pointAt(site: Site, id: string) {
  const before = pointerOf(site)
  if (before?.current === id) return
  const dir = site.kind === 'installed' ? site.home : setsDir(site)
  await mkdir(dir, { recursive: true })
  await writePointer(dir, { current: id, previous: before?.current ?? null })
}

/** Of a ComfyUI that is not ours: the custom nodes as they were before the last change. @throws AppError 'nodes.no-undo' */
export async function pointBack(site: Site & Pick<NodesSite, 'name'>) {
  const pointer = pointerOf(site)
  if (!pointer?.previous) throw new AppError('nodes.no-undo', { name: site.name })
  await writePointer(setsDir(site), Pointer.parse({ current: pointer.previous, previous: pointer.current }))
}

// ---- folders ----

export interface LiveNode {
  /** What ComfyUI calls it. */
  readonly folder: string
  /** Within custom_nodes. */
  readonly name: string
  readonly enabled: boolean
}

const IGNORED = /^(?:__pycache__|\.git|\.disabled|\.nightshift\.disabled|example_node\.py\.example)$/
/** All there is in a custom_nodes folder, switched off ones too; of two of one name, the one that runs. */
export async function listLive(live: string): Promise<LiveNode[]> {
  const found = new Map<string, LiveNode>()
  const add = (node: LiveNode) => {
    const before = found.get(node.folder)
    if (!NodeFolder.safeParse(node.folder).success) return // nothing we could name to anybody
    if (!before || (!before.enabled && node.enabled)) found.set(node.folder, node)
  }
  for (const entry of await readdir(live, { withFileTypes: true }).catch(() => [])) {
    if (IGNORED.test(entry.name) || entry.name.startsWith('.')) continue
    const enabled = !entry.name.endsWith('.disabled')
    const folder = entry.name.replace(/\.disabled$/, '')
    const isFile = entry.isFile()
    if (isFile && !folder.endsWith('.py')) continue
    if (folder !== '') add({ folder, name: entry.name, enabled })
  }
  const inner = path.join(live, '.disabled')
  for (const entry of await readdir(inner, { withFileTypes: true }).catch(() => [])) {
    if (!entry.isDirectory() && !entry.isSymbolicLink() && !entry.name.endsWith('.py')) continue
    // the Manager's way: <id>@<version, with _ for .>
    const folder = entry.name.replace(/@[\w]+$/, '')
    if (!folder.startsWith('.')) add({ folder, name: path.join('.disabled', entry.name), enabled: false })
  }
  return [...found.values()].toSorted((a, b) => a.folder.localeCompare(b.folder, 'en'))
}

/** What is live now, as a set; folders unknown so far get this key. */
export async function setOfLive(site: Site, key: string): Promise<NodeSet> {
  const places = placesOf(site)
  const sets = await allSets(site)
  const nodes: NodeSet['nodes'] = {}
  for (const { folder, enabled } of await listLive(places.live))
    nodes[folder] = { key: (await liveKeys(places, sets, folder))[0] ?? key, enabled }
  return { nodes, classes: null }
}

/** The contents of a folder that are known and not kept aside: the one that is live is among them. */
async function liveKeys({ aside }: NodesPlaces, sets: readonly NodeSet[], folder: string): Promise<string[]> {
  const keys = [...new Set(sets.flatMap(({ nodes }) => nodes[folder]?.key ?? []))]
  const kept = await Promise.all(keys.map((key) => exists(path.join(aside, key, folder))))
  return keys.filter((_, at) => !kept[at])
}

const settling = new Map<string, Promise<void>>()
/**
 * Makes custom_nodes what the pointer says; folders that no set knows stay as they are. Once it has been done, whatever a
 * person changes there by hand is theirs.
 * @throws AppError 'nodes.not-moved'
 */
export function settle(site: Site, point?: (name: string) => void): Promise<void> {
  const before = settling.get(site.home) ?? Promise.resolve()
  const now = before.catch(() => {}).then(() => settleNow(site, point))
  settling.set(site.home, now)
  return now.finally(() => {
    if (settling.get(site.home) === now) settling.delete(site.home)
  })
}

async function settleNow(site: Site, point?: (name: string) => void) {
  const pointer = pointerOf(site)
  if (!pointer) return
  const marker = path.join(site.home, SETTLED)
  if ((await readFile(marker, 'utf8').catch(() => null)) === pointer.current) return
  const wanted = await readSet(site, pointer.current)
  if (wanted) await place(placesOf(site), wanted, await allSets(site), pointer.current, point)
  await writeWhole(marker, pointer.current)
}

async function place(
  places: NodesPlaces,
  wanted: NodeSet,
  sets: readonly NodeSet[],
  id: string,
  point: (name: string) => void = () => {},
) {
  const { live, aside } = places
  const there = new Map((await listLive(live)).map((node) => [node.folder, node]))
  for (const folder of new Set(sets.flatMap(({ nodes }) => Object.keys(nodes)))) {
    const want = wanted.nodes[folder]
    const now = there.get(folder)
    const kept = want && (await exists(path.join(aside, want.key, folder)))
    if (now && (kept || !want)) {
      const keys = await liveKeys(places, sets, folder)
      // put there by hand under a name of ours: kept all the same
      const key = keys.find((each) => each !== want?.key) ?? (kept ? `found-${id}` : null)
      if (key === null) continue
      await move(path.join(live, now.name), path.join(aside, key, folder), folder)
      point('nodes.put-aside')
    }
    if (kept) {
      await move(path.join(aside, want.key, folder), path.join(live, nameOf(folder, want.enabled)), folder)
      point('nodes.put-in')
    } else if (want && now && now.enabled !== want.enabled) {
      await move(path.join(live, now.name), path.join(live, nameOf(folder, want.enabled)), folder)
      point('nodes.renamed')
    }
  }
}

const nameOf = (folder: string, enabled: boolean) => (enabled ? folder : `${folder}.disabled`)

/** Windows keeps files of a process that just ended for a moment. */
async function move(from: string, to: string, folder: string) {
  await mkdir(path.dirname(to), { recursive: true })
  for (let left = 20; ; left--) {
    try {
      if (await exists(to)) throw new Error(`${path.basename(to)} is there already`)
      return await rename(from, to)
    } catch (cause) {
      const { code = '' } = cause as NodeJS.ErrnoException
      if (left === 0 || !/^(?:EPERM|EACCES|EBUSY)$/.test(code))
        throw new AppError('nodes.not-moved', { folder, reason: (cause as Error).message }, { cause })
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
  }
}

/** Contents that belong to no set any more. */
export async function tidyAside(site: Site, keep: readonly string[] = []) {
  const { aside } = placesOf(site)
  const pointer = pointerOf(site)
  if (site.kind !== 'installed')
    for (const id of await readdir(setsDir(site)).catch(() => []))
      if (id !== pointer?.current && id !== pointer?.previous && id !== 'current' && !keep.includes(id))
        await removeDir(path.join(setsDir(site), id))
  const used = new Set((await allSets(site)).flatMap(({ nodes }) => Object.values(nodes).map(({ key }) => key)))
  for (const key of await readdir(aside).catch(() => []))
    if (!used.has(key) && !keep.includes(key) && !key.startsWith('found-')) await removeDir(path.join(aside, key))
}

/** Where the content of a folder of a set is now: kept aside, or live. */
export async function whereIs(
  { live, aside }: NodesPlaces,
  folder: string,
  key: string,
  there: readonly LiveNode[],
): Promise<string | null> {
  const kept = path.join(aside, key, folder)
  if (await exists(kept)) return kept
  const node = there.find((each) => each.folder === folder)
  return node ? path.join(live, node.name) : null
}

const exists = (file: string) =>
  lstat(file).then(
    () => true,
    () => false,
  )

// ---- trees ----

const AT_ONCE = 64

/**
 * The same tree again. `linked` says which files may be one with theirs; links stay links.
 * @throws the signal's reason
 */
export async function copyTree(
  from: string,
  to: string,
  {
    linked,
    leave,
    signal,
  }: { linked: (sizeBytes: number) => boolean; leave?: (name: string) => boolean; signal?: AbortSignal },
) {
  const files: [from: string, to: string][] = []
  const walk = async (dir: string, target: string) => {
    signal?.throwIfAborted()
    await mkdir(target, { recursive: true })
    for (const entry of await readdir(dir, { withFileTypes: true })) {
      if (entry.name === '__pycache__' || leave?.(entry.name)) continue
      const [source, copy] = [path.join(dir, entry.name), path.join(target, entry.name)]
      if (entry.isSymbolicLink()) await symlink(await readlink(source), copy)
      else if (entry.isDirectory()) await walk(source, copy)
      else if (entry.isFile()) files.push([source, copy])
    }
  }
  await walk(from, to)
  let links = true
  const next = files.values()
  await Promise.all(
    Array.from({ length: AT_ONCE }, async () => {
      for (const [source, copy] of next) {
        signal?.throwIfAborted()
        const { size } = await lstat(source)
        if (links && linked(size)) {
          try {
            await link(source, copy)
            continue
          } catch {
            links = false // another volume, or one without links
            await rm(copy, { force: true })
          }
        }
        await copyFile(source, copy)
      }
    }),
  )
}
