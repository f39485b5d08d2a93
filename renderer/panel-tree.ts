import { controlTypes, isGroup, type PanelItem } from '../core/contract/panel.ts'

/** Where an item stands: its place in the form, then in each group. */
export type Path = readonly number[]
type Items = readonly PanelItem[]

export interface Row {
  readonly item: PanelItem
  readonly path: Path
}
/** Every item as the outline lists it, groups before what is in them. */
export const rowsOf = (items: Items, above: Path = []): Row[] =>
  items.flatMap((item, at) => {
    const path = [...above, at]
    return [{ item, path }, ...(isGroup(item) ? rowsOf(item.children ?? [], path) : [])]
  })

export function itemAt(items: Items, [at, ...rest]: Path): PanelItem | undefined {
  const item = at === undefined ? undefined : items[at]
  return rest.length === 0 || !item ? item : itemAt(item.children ?? [], rest)
}

/** With the list that holds `path` changed. */
function inList(items: Items, path: Path, change: (list: Items, at: number) => PanelItem[]): PanelItem[] {
  const [at = 0, ...rest] = path
  if (rest.length === 0) return change(items, at)
  return items.map((item, place) =>
    place === at ? { ...item, children: inList(item.children ?? [], rest, change) } : item,
  )
}
export const replaced = (items: Items, path: Path, item: PanelItem) =>
  inList(items, path, (list, at) => list.toSpliced(at, 1, item))
export const removed = (items: Items, path: Path) => inList(items, path, (list, at) => list.toSpliced(at, 1))
export const inserted = (items: Items, path: Path, item: PanelItem) =>
  inList(items, path, (list, at) => list.toSpliced(at, 0, item))

const isWithin = (path: Path, around: Path) => around.every((at, depth) => path[depth] === at)

/** Takes an item to a place named as it was before; null: into itself. */
export function moved(items: Items, from: Path, to: Path): { items: PanelItem[]; path: Path } | null {
  const item = itemAt(items, from)
  if (!item || (to.length > from.length && isWithin(to, from))) return null
  const depth = from.length - 1
  // what comes after in the same list moves up by one when the item is taken out
  const shifts = isWithin(to, from.slice(0, depth)) && to.length > depth && to[depth]! > from[depth]!
  const path = shifts ? to.with(depth, to[depth]! - 1) : to
  return { items: inserted(removed(items, from), path, item), path }
}

/** One step of the keyboard: up and down within and across groups' borders, into the group above, out of one's own. */
export function stepped(items: Items, path: Path, step: 'up' | 'down' | 'into' | 'out') {
  const at = path.at(-1)!
  const above = path.slice(0, -1)
  const siblings = above.length === 0 ? items : (itemAt(items, above)?.children ?? [])
  const out = (after: boolean): Path | null =>
    above.length === 0 ? null : [...above.slice(0, -1), above.at(-1)! + (after ? 1 : 0)]
  const before = siblings[at - 1]
  const to = {
    up: at > 0 ? [...above, at - 1] : out(false),
    down: at < siblings.length - 1 ? [...above, at + 2] : out(true),
    into: before && isGroup(before) ? [...above, at - 1, before.children?.length ?? 0] : null,
    out: out(true),
  }[step]
  return to === null ? null : moved(items, path, to)
}

/** How an item looks; `other`: in a way we do not know. */
export type Kind = 'group' | (typeof controlTypes)[number] | 'other'
export const typeOf = ({ type }: PanelItem): Kind =>
  type === 'group' || controlTypes.includes(type as 'string') ? (type as Kind) : 'other'
