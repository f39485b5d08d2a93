import type { CustomNodeNeed, NodePack } from '../../contract/workflow.ts'
import { CORE, keyOf, type ListedPack } from '../custom-nodes/packs.ts'

/** A pattern is a claim on a name, which a copy of the class in another package is not: the better known of both leads. */
const order = { file: 0, owner: 1, exact: 2, pattern: 2, registry: 3, name: 4 } as const

/** So many of a package's classes that begin alike are a family. */
const FAMILY = 5
/** A word that more packages begin with is one of everybody's, such as Load. */
const MOST_FAMILIES = 40

/**
 * Adds the packages that may bring each class: what the file itself names first, then who claims the class, lists it, or whose
 * pattern fits. Among equals: what is installed, what is needed for another class anyway, the better known, whoever brings
 * more of the missing classes.
 */
export function withPacks(
  needs: readonly CustomNodeNeed[],
  packs: readonly ListedPack[],
  isInstalled: (pack: ListedPack) => boolean = () => false,
): CustomNodeNeed[] {
  const wanted = new Set(needs.map(({ classType }) => classType))
  const found = new Map<string, Map<ListedPack, NodePack['why']>>()
  const brings = new Map<ListedPack, number>()
  for (const pack of packs) {
    const hits = new Map<string, NodePack['why']>()
    if (pack.pattern) for (const name of wanted) if (pack.pattern.test(name)) hits.set(name, 'pattern')
    for (const name of pack.classNames) if (wanted.has(name)) hits.set(name, 'exact')
    for (const name of pack.owns) if (wanted.has(name)) hits.set(name, 'owner')
    if (hits.size === 0) continue
    brings.set(pack, hits.size)
    for (const [name, why] of hits) found.set(name, (found.get(name) ?? new Map()).set(pack, why))
  }
  const anyway = new Set([...found.values()].flatMap((of) => (of.size === 1 ? [...of.keys()] : [])))
  for (const name of wanted) {
    if (found.has(name)) continue
    const called = guessed(name, packs)
    found.set(name, new Map(called.map((pack) => [pack, 'name'])))
    for (const pack of called) brings.set(pack, (brings.get(pack) ?? 0) + 1)
  }
  const better = ([a, why]: [ListedPack, NodePack['why']], [b, other]: [ListedPack, NodePack['why']]) =>
    order[why] - order[other] ||
    Number(isInstalled(b)) - Number(isInstalled(a)) ||
    Number(anyway.has(b)) - Number(anyway.has(a)) ||
    (b.stars ?? -1) - (a.stars ?? -1) ||
    brings.get(b)! - brings.get(a)!
  return needs.map((need) => {
    const listed = [...(found.get(need.classType) ?? [])].sort(better)
    const own: NodePack[] = []
    const used = new Set<ListedPack>()
    for (const said of need.packs) {
      const same = packs.find((pack) => isSame(said, pack))
      if (same && used.has(same)) continue // the registry's id and the repository of one package
      if (same) used.add(same)
      own.push(same ? { ...said, ...tell(same, isInstalled) } : said)
    }
    const others = listed.filter(([pack]) => !used.has(pack))
    const all = [...own, ...others.map(([pack, why]) => ({ id: pack.id, ...tell(pack, isInstalled), why }))]
    return { ...need, packs: all, candidates: all.map(({ id }) => id) }
  })
}

/** Nobody lists it: who is called what it says in brackets, or whose classes begin as it does, far more often than others'. */
function guessed(name: string, packs: readonly ListedPack[]): ListedPack[] {
  const inBrackets = bare(/\(([^()]+)\)$/.exec(name)?.[1] ?? '')
  if (inBrackets.length >= 4) return packs.filter(({ key }) => bare(key.replace(/^.*\//, '')) === inBrackets)
  const [first = ''] = /^(?:[A-Z\d]{2,}(?=[A-Z][a-z]|$)|[A-Z][a-z]+)\d*/.exec(name) ?? []
  if (first.length < 4) return []
  const families = packs
    .filter(({ key }) => key !== CORE)
    .map((pack) => ({ pack, size: pack.classNames.filter((other) => other.startsWith(first)).length }))
    .filter(({ size }) => size > 0)
    .sort((a, b) => b.size - a.size)
  if (families.length > MOST_FAMILIES) return []
  const [largest, next] = families
  return largest && largest.size >= Math.max(FAMILY, 2 * (next?.size ?? 0)) ? [largest.pack] : []
}

const tell = (pack: ListedPack, isInstalled: (pack: ListedPack) => boolean) => ({
  title: pack.title,
  url: pack.url,
  stars: pack.stars,
  ...(isInstalled(pack) && { installed: true }),
})

/** A name without what many packages have in theirs, and without what people spell differently. */
const bare = (name: string) =>
  name
    .toLowerCase()
    .replace(/[^a-z\d]/g, '')
    .replace(/^comfyui|comfyui$/g, '')

/** The file names a package by its repository, or by an id of the registry, which most often is the repository's name. */
function isSame(said: NodePack, pack: ListedPack): boolean {
  if (said.url !== null) return keyOf(said.url) === pack.key
  const alike = (name: string) => name.toLowerCase().replaceAll('_', '-')
  return alike(pack.registryId ?? pack.key.replace(/^.*\//, '')) === alike(said.id)
}
