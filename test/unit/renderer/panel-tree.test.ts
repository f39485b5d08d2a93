import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { PanelItem } from '../../../core/contract/panel.ts'
import { itemAt, moved, type Path, rowsOf, stepped } from '../../../renderer/panel-tree.ts'

const leaf = (title: string): PanelItem => ({ type: 'string', title })
const group = (title: string, ...children: PanelItem[]): PanelItem => ({ type: 'group', title, children })
const tree = [leaf('a'), group('G', leaf('b'), group('H', leaf('c'))), leaf('d')]
/** `a G(b H(c)) d` */
const said = (items: readonly PanelItem[]): string =>
  items.map(({ title, children }) => (children ? `${title}(${said(children)})` : title)).join(' ')

test('the outline lists groups before what is in them', () => {
  expect(rowsOf(tree).map(({ item, path }) => `${path.join('.')} ${item.title}`)).toEqual([
    '0 a',
    '1 G',
    '1.0 b',
    '1.1 H',
    '1.1.0 c',
    '2 d',
  ])
})

test.each<[Path, Path, string]>([
  [[0], [3], 'G(b H(c)) d a'],
  [[2], [0], 'd a G(b H(c))'],
  [[0], [1, 2], 'G(b H(c) a) d'],
  [[1, 1, 0], [0], 'c a G(b H()) d'],
  [[0], [1, 1, 1], 'G(b H(c a)) d'],
  [[1, 0], [1, 2], 'a G(H(c) b) d'],
])('what is taken from %j to %j is there', (from, to, expected) => {
  expect(said(moved(tree, from, to)!.items)).toBe(expected)
})

test('a group does not go into itself', () => {
  expect(moved(tree, [1], [1, 0])).toBeNull()
  expect(moved(tree, [1], [1, 1, 0])).toBeNull()
})

test('the keyboard steps over siblings, out at the borders, into the group above and out of it', () => {
  const after = (path: Path, step: Parameters<typeof stepped>[2]) => {
    const done = stepped(tree, path, step)
    return done && said(done.items)
  }
  expect(after([2], 'up')).toBe('a d G(b H(c))')
  expect(after([0], 'down')).toBe('G(b H(c)) a d')
  expect(after([1, 0], 'up')).toBe('a b G(H(c)) d')
  expect(after([1, 1], 'down')).toBe('a G(b) H(c) d')
  expect(after([2], 'into')).toBe('a G(b H(c) d)')
  expect(after([1, 1, 0], 'out')).toBe('a G(b H() c) d')
  expect(after([0], 'up')).toBeNull()
  expect(after([2], 'down')).toBeNull()
  expect(after([0], 'out')).toBeNull()
  expect(after([1], 'into')).toBeNull()
})

test('however items are moved, none is lost or doubled, and the path given leads to the one moved', () => {
  const { items } = fc.letrec<{ items: PanelItem[]; item: PanelItem }>((tie) => ({
    items: fc.array(tie('item'), { maxLength: 4 }),
    item: fc.oneof(
      { maxDepth: 3 },
      fc.constant({ type: 'string' } as PanelItem),
      tie('items').map((children) => ({ type: 'group', children }) as PanelItem),
    ),
  }))
  const numbered = items.map((some) => {
    let number = 0
    const name = (item: PanelItem): PanelItem => ({
      ...item,
      title: String(number++),
      ...(item.children && { children: item.children.map(name) }),
    })
    return some.map(name)
  })
  const steps = fc.constantFrom('up', 'down', 'into', 'out' as const)
  fc.assert(
    fc.property(numbered, fc.nat(), fc.nat(), fc.option(steps), (before, one, other, step) => {
      const rows = rowsOf(before)
      if (rows.length === 0) return
      const { item, path } = rows[one % rows.length]!
      const done = step ? stepped(before, path, step as 'up') : moved(before, path, rows[other % rows.length]!.path)
      if (!done) return
      const titles = (some: PanelItem[]) =>
        rowsOf(some)
          .map((row) => Number(row.item.title))
          .toSorted((a, b) => a - b)
      expect(titles(done.items)).toEqual(titles(before))
      expect(itemAt(done.items, done.path)).toEqual(item)
    }),
    { seed: 20 },
  )
})
