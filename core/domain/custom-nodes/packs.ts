import { isJsonObject, type Json, type JsonObject } from '../../contract/json.ts'
import type { Pack } from '../../contract/pack.ts'
import { safePattern } from '../workflow/safe-pattern.ts'

/** A package, with what is matched against. */
export interface ListedPack extends Pack {
  /** What it is known by: an address without what differs between spellings. */
  readonly key: string
  /** To clone from, or to fetch. */
  readonly files: readonly string[]
  readonly classNames: readonly string[]
  /** Classes that it says are its own, where others list them too. */
  readonly owns: readonly string[]
  readonly pattern: RegExp | null
}

/** ComfyUI-Manager's extension-node-map.json: address of a package → its classes, and what else is known of it. */
type ExtensionMap = Record<string, [string[], JsonObject]>

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
/** custom-node-list.json. */
export const isPackList = (value: Json): boolean =>
  isJsonObject(value) &&
  Array.isArray(value.custom_nodes) &&
  value.custom_nodes.length > 0 &&
  value.custom_nodes.every((entry) => isJsonObject(entry) && typeof entry.reference === 'string')
/** github-stats.json: address → stars and last change. */
export const isStats = (value: Json): boolean =>
  isJsonObject(value) && Object.values(value).length > 0 && Object.values(value).every(isJsonObject)

/** The three lists as one; any may be missing. */
export function readPacks({ map, list, stats }: { map?: Json; list?: Json; stats?: Json }): ListedPack[] {
  const packs = new Map<string, ListedPack>()
  const starsOf = new Map(Object.entries((stats ?? {}) as JsonObject).map(([url, said]) => [keyOf(url), said]))
  const add = (address: string, said: JsonObject, more: Partial<ListedPack>) => {
    const key = keyOf(address)
    const numbers = starsOf.get(key)
    const { stars, last_update } = isJsonObject(numbers) ? numbers : {}
    const id = idOf(address)
    packs.set(key, {
      key,
      id,
      registryId: textOf(said.id) || null,
      title: textOf(said.title) || id,
      author: textOf(said.author),
      description: plainText(textOf(said.description)),
      url: webAddress(address),
      how: 'git',
      stars: typeof stars === 'number' && stars >= 0 ? Math.floor(stars) : null,
      updatedAt: dateOf(last_update),
      classes: 0,
      pip: strings(said.pip),
      system: strings(said.apt_dependency),
      files: [address],
      classNames: [],
      owns: strings(said.preemptions),
      pattern: safePattern(said.nodename_pattern),
      ...more,
    })
    return key
  }
  const byFile = new Map<string, string>()
  const entries = isJsonObject(list) && Array.isArray(list.custom_nodes) ? list.custom_nodes : []
  for (const said of entries as JsonObject[]) {
    const files = strings(said.files)
    const kind = textOf(said.install_type).toLowerCase()
    const how = kind === 'copy' ? 'files' : kind === 'unzip' ? 'archive' : 'git'
    const repository = how === 'git' && files[0] !== undefined && webAddress(files[0]) !== null
    const address = repository ? files[0]! : String(said.reference)
    const known = packs.has(keyOf(address))
    // several of one repository are told apart by what they install
    const key = known && how !== 'git' ? (files[0] ?? address) : address
    if (packs.has(keyOf(key))) continue
    const own = add(key, said, {
      how,
      files: files.length > 0 ? files : [address],
      url: webAddress(textOf(said.reference)),
    })
    for (const file of [textOf(said.reference), ...files]) if (!byFile.has(keyOf(file))) byFile.set(keyOf(file), own)
  }
  for (const [address, [names, about]] of Object.entries((map ?? {}) as ExtensionMap)) {
    const found = packs.has(keyOf(address)) ? keyOf(address) : byFile.get(keyOf(address))
    const title = [about.title_aux, about.title].find((text) => typeof text === 'string' && text !== '')
    const key =
      found ?? add(address, { ...about, title: title ?? null }, /\.py$/i.test(address) ? { how: 'files' } : {})
    const pack = packs.get(key)!
    const classNames = [...new Set([...pack.classNames, ...names])]
    packs.set(key, {
      ...pack,
      classNames,
      classes: classNames.length,
      owns: [...new Set([...pack.owns, ...strings(about.preemptions)])],
      pattern: pack.pattern ?? safePattern(about.nodename_pattern),
    })
  }
  return [...packs.values()]
}

/** As told: without what is only matched against. */
export const tellPack = ({
  key: _,
  files: __,
  classNames: ___,
  owns: ____,
  pattern: _____,
  ...pack
}: ListedPack): Pack => pack

export interface PackHit {
  readonly pack: ListedPack
  /** Of its classes, those that were meant. */
  readonly classes: readonly string[]
}

/** By name, author, class and description, in that order; among equals the better known first. All words must be found. */
export function searchPacks(packs: readonly ListedPack[], text: string): PackHit[] {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean)
  const whole = words.join(' ')
  // classes are written together
  const joined = words.join('')
  const hits: (PackHit & { rank: number })[] = []
  for (const pack of packs) {
    if (pack.key === CORE) continue
    const names = [pack.title, pack.id, pack.registryId ?? ''].map((name) => name.toLowerCase())
    const author = pack.author.toLowerCase()
    const description = pack.description.toLowerCase()
    const classes =
      words.length === 0
        ? []
        : pack.classNames.filter((name) => name.toLowerCase().includes(whole) || name.toLowerCase().includes(joined))
    const isIn = (word: string) => names.some((name) => name.includes(word)) || author.includes(word)
    const inText = (word: string) => isIn(word) || description.includes(word)
    let rank = 5
    if (names.includes(whole) || names[1]!.endsWith(`/${whole}`)) rank = 0
    else if (pack.classNames.some((name) => name.toLowerCase().replace(/[\s_]/g, '') === joined)) rank = 1
    else if (words.every((word) => names.some((name) => name.includes(word)))) rank = 2
    else if (words.every(isIn)) rank = 3
    else if (classes.length > 0) rank = 4
    else if (!words.every(inText)) continue
    hits.push({ pack, classes, rank })
  }
  return hits.sort((a, b) => a.rank - b.rank || (b.pack.stars ?? -1) - (a.pack.stars ?? -1))
}

/** The package that is meant by a registry's id, `owner/repository`, an address, or its title; several: nobody can tell. */
export function packsMeant(packs: readonly ListedPack[], item: string): ListedPack[] {
  const key = keyOf(/^[\w.-]+\/[\w.-]+$/.test(item) ? `https://github.com/${item}` : item)
  const name = item.toLowerCase()
  const rules: ((pack: ListedPack) => boolean)[] = [
    (pack) => pack.key === key || pack.id.toLowerCase() === name,
    (pack) => pack.registryId?.toLowerCase() === name,
    (pack) => pack.title.toLowerCase() === name,
    (pack) => pack.key.endsWith(`/${name}`),
  ]
  for (const rule of rules) {
    const found = packs.filter(rule)
    if (found.length > 0) return found
  }
  return []
}

export const CORE = 'github.com/comfyanonymous/comfyui'
const strings = (value: Json | undefined): string[] =>
  Array.isArray(value) ? value.filter((item) => typeof item === 'string') : []
const textOf = (value: Json | undefined): string => (typeof value === 'string' ? value.trim() : '')

/** Links as `[a/text](address)` and tags that strangers write lose all but their text. */
const plainText = (text: string) =>
  text
    .replace(/\[(?:a\/)?([^\]]*)\]\([^)]*\)/g, '$1')
    .replace(/<[^>]*>/g, ' ')
    .replace(/\s+/g, ' ')
    .trim()
    .slice(0, 600)

const dateOf = (value: Json | undefined): number | null => {
  const [, date, time] = /^(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)/.exec(textOf(value)) ?? []
  const at = date ? Date.parse(`${date}T${time}Z`) : Number.NaN
  return Number.isNaN(at) ? null : at
}

/** Host and path without case, `.git`, `/tree/…` and slashes at the end: how addresses of one repository compare. */
export const keyOf = (address: string) =>
  address
    .trim()
    .toLowerCase()
    .replace(/^git@([^:/]+):/, '$1/')
    .replace(/^[a-z+]+:\/\/([^@/]*@)?(www\.)?/, '')
    .replace(/[?#].*$/, '')
    .replace(/\/tree\/.*$/, '')
    .replace(/\/+$/, '')
    .replace(/\.git$/, '')

export function idOf(address: string): string {
  const key = keyOf(address)
  if (key === CORE) return 'comfy-core'
  const [, owner, name] = /^[a-z]+:\/\/[^/]+\/([^/]+)\/([^/?#]+)/i.exec(address) ?? []
  if (/\.py$/i.test(address)) return address
  return owner && name ? `${owner}/${name.replace(/\.git$/i, '')}` : address
}
const webAddress = (address: string) => (/^https?:\/\//i.test(address) ? address : null)
