import { isJsonObject, type Json, type JsonObject } from '../../contract/json.ts'
import type { CustomNodeNeed, NodePack } from '../../contract/workflow.ts'
import { safePattern } from './safe-pattern.ts'

/** ComfyUI-Manager's extension-node-map.json: address of a package → its classes, and what else is known of it. */
export type ExtensionMap = Record<string, [string[], JsonObject]>

export const isExtensionMap = (value: Json): boolean =>
  isJsonObject(value) &&
  Object.values(value).length > 0 &&
  Object.values(value).every(
    (entry) =>
      Array.isArray(entry) &&
      Array.isArray(entry[0]) &&
      entry[0].every((name) => typeof name === 'string') &&
      isJsonObject(entry[1]),
  )

const CORE = 'github.com/comfyanonymous/comfyui'
const order = { file: 0, owner: 1, exact: 2, pattern: 3 } as const

/**
 * Adds the packages that may bring each class: what the file itself names first, then who claims the class, lists it, or
 * whose pattern fits. Among equals, whoever brings more of the missing classes; then as the map has them.
 */
export function withPacks(needs: readonly CustomNodeNeed[], map: ExtensionMap): CustomNodeNeed[] {
  const wanted = new Set(needs.map(({ classType }) => classType))
  const found = new Map<string, Map<string, NodePack>>()
  const brings = new Map<string, number>()
  for (const [address, [classes, about]] of Object.entries(map)) {
    const claimed = strings(about.preemptions)
    const hits = new Map<string, NodePack['why']>()
    const pattern = safePattern(about.nodename_pattern)
    if (pattern) for (const name of wanted) if (pattern.test(name)) hits.set(name, 'pattern')
    for (const name of classes) if (wanted.has(name)) hits.set(name, 'exact')
    for (const name of claimed) if (wanted.has(name)) hits.set(name, 'owner')
    if (hits.size === 0) continue
    const key = keyOf(address)
    brings.set(key, Math.max(brings.get(key) ?? 0, hits.size))
    const title = [about.title_aux, about.title].find((text) => typeof text === 'string' && text !== '')
    const pack = { id: idOf(address), title: String(title ?? idOf(address)), url: webAddress(address) }
    for (const [name, why] of hits) {
      const packs = found.get(name) ?? new Map<string, NodePack>()
      found.set(name, packs)
      const known = packs.get(key)
      if (!known || order[why] < order[known.why]) packs.set(key, { ...pack, why })
    }
  }
  return needs.map((need) => {
    const fromMap = [...(found.get(need.classType) ?? [])]
    const packs: NodePack[] = []
    const used = new Set<string>()
    for (const own of need.packs) {
      const [key, same] = fromMap.find(([key, { id }]) => isSame(own, key, id)) ?? []
      if (key !== undefined && used.has(key)) continue // the registry's id and the repository of one package
      if (key !== undefined) used.add(key)
      packs.push(same ? { ...own, title: same.title, url: same.url } : own)
    }
    const others = fromMap.filter(([key]) => !used.has(key))
    others.sort(
      ([a, one], [b, other]) => order[one.why] - order[other.why] || (brings.get(b) ?? 0) - (brings.get(a) ?? 0),
    )
    packs.push(...others.map(([, pack]) => pack))
    return { ...need, packs, candidates: packs.map(({ id }) => id) }
  })
}

const strings = (value: Json | undefined): string[] =>
  Array.isArray(value) ? value.filter((item) => typeof item === 'string') : []

/** Host and path without case, `.git`, `/tree/…` and slashes at the end: how addresses of one repository compare. */
const keyOf = (address: string) =>
  address
    .toLowerCase()
    .replace(/^[a-z]+:\/\/(www\.)?/, '')
    .replace(/[?#].*$/, '')
    .replace(/\/tree\/.*$/, '')
    .replace(/\/+$/, '')
    .replace(/\.git$/, '')

function idOf(address: string): string {
  const key = keyOf(address)
  if (key === CORE) return 'comfy-core'
  const [, owner, name] = /^[a-z]+:\/\/[^/]+\/([^/]+)\/([^/?#]+)/i.exec(address) ?? []
  return owner && name ? `${owner}/${name.replace(/\.git$/i, '')}` : address
}
const webAddress = (address: string) => (/^https?:\/\//i.test(address) ? address : null)

/** The file names a package by its repository, or by an id of the registry, which most often is the repository's name. */
function isSame(own: NodePack, key: string, id: string): boolean {
  if (own.url !== null) return keyOf(own.url) === key
  return own.id.toLowerCase() === id.toLowerCase().replace(/^.*\//, '')
}
