import { AppError } from '../../contract/errors.ts'
import type { Manifest, SnapshotChange } from '../../contract/snapshot.ts'
import type { ObjectStore } from './store.ts'
import { type Entry, MOST_DEPTH, parseTree } from './tree.ts'

/** `changes` with each file of the custom nodes named that differs where nothing else says why. */
export function withChangedFiles(
  changes: readonly SnapshotChange[],
  before: Manifest,
  after: Manifest,
  store: ObjectStore,
): SnapshotChange[] {
  const told = new Set(changes.flatMap(({ what, name }) => (what === 'node' ? [name] : [])))
  const treeOf = ({ layers }: Manifest) => layers.find(({ name }) => name === 'nodes')?.tree ?? null
  try {
    const files = changedFiles(store, treeOf(before), treeOf(after), 'custom_nodes', (folder) => !told.has(folder))
    return [...changes.filter(({ what }) => what !== 'file'), ...files]
  } catch (cause) {
    if (cause instanceof AppError) return [...changes] // what is damaged here cannot be compared any closer
    throw cause
  }
}

function changedFiles(
  store: ObjectStore,
  before: string | null,
  after: string | null,
  at: string,
  wanted: (name: string) => boolean = () => true,
  depth = 0,
): SnapshotChange[] {
  if (before === after || depth > MOST_DEPTH) return []
  const entries = (tree: string | null) =>
    new Map((tree === null ? [] : parseTree(store.read(tree), at)).map((entry) => [entry.name, entry]))
  const [from, to] = [entries(before), entries(after)]
  return [...new Set([...from.keys(), ...to.keys()])].filter(wanted).flatMap((name): SnapshotChange[] => {
    const [a, b] = [from.get(name), to.get(name)]
    const place = `${at}/${name}`
    const under = changedFiles(store, folder(a), folder(b), place, undefined, depth + 1)
    const [one, other] = [content(a), content(b)]
    if (one === other) return under
    const is = one === null ? 'added' : other === null ? 'removed' : 'changed'
    return [...under, { what: 'file', is, name: place, before: null, after: null }]
  })
}

const folder = (entry: Entry | undefined) => (entry?.is === 'folder' ? entry.tree : null)
/** What a file or link is; null: it is neither. Times say nothing. */
const content = (entry: Entry | undefined) =>
  entry === undefined || entry.is === 'folder' ? null : JSON.stringify({ ...entry, mtime: 0 })
