import { type Measured, Mirror, type MirrorKind, Mirrors, type NetworkSettings } from '../../contract/mirror.ts'

export { Mirror, Mirrors }

/** A mirror with this pattern is the place itself: what stands after it in a list is tried after it. */
const ITSELF = '{url}'

/** In the order of the mirrors, the place itself last. A mirror whose pattern asks for what the address lacks is left out. */
export function addressesFor(source: URL, mirrors: readonly Mirror[]): URL[] {
  const [, owner, repo, ref, file] = /^\/([^/]+)\/([^/]+)\/([^/]+)\/(.+)$/.exec(source.pathname) ?? []
  const facts: Record<string, string | undefined> = {
    path: source.pathname + source.search,
    url: source.href,
    owner,
    repo,
    ref,
    file,
  }
  const whole = source.host + source.pathname
  const addresses = mirrors.flatMap(({ standsInFor, pattern }) => {
    const under = standsInFor.includes('/') && whole.startsWith(standsInFor)
    if (standsInFor !== source.host && !under) return []
    facts.rest = under ? whole.slice(standsInFor.length) + source.search : undefined
    const filled = pattern.replace(/\{(\w+)\}/g, (_, name: string) => facts[name] ?? '\0')
    return filled.includes('\0') || !URL.canParse(filled) ? [] : [new URL(filled).href]
  })
  return [...new Set([...addresses, source.href])].map((address) => new URL(address))
}

/** Whether the mirrors for an address are in the order that was settled, the place itself among them. */
export const isOrdered = (source: string, mirrors: readonly Mirror[]): boolean => {
  const { host = '', pathname = '' } = URL.parse(source) ?? {}
  return mirrors.some(
    ({ standsInFor, pattern }) =>
      pattern === ITSELF &&
      (standsInFor === host || (standsInFor.includes('/') && (host + pathname).startsWith(standsInFor))),
  )
}

/** One of the places that have what is of a kind. */
export interface MirrorPlace {
  /** Its host; the official place's too. */
  readonly id: string
  /** null: the official one. */
  readonly mirror: Mirror | null
}
type Kinds = Pick<Mirrors, 'kinds' | 'mirrors'>

/** The official place first, then as listed; of two on one host the first. */
export function placesOf(kind: MirrorKind, { kinds, mirrors }: Kinds): MirrorPlace[] {
  const facts = kinds[kind]
  if (!facts) return []
  const listed = mirrors.filter(
    (mirror) =>
      facts.standsIn.includes(mirror.standsInFor) &&
      mirror.pattern !== ITSELF &&
      (!mirror.kinds || mirror.kinds.includes(kind)),
  )
  const places = [
    { id: new URL(facts.official).host, mirror: null },
    ...listed.map((mirror) => ({ id: hostIn(mirror.pattern), mirror })),
  ]
  return [...new Map(places.toReversed().map((place) => [place.id, place])).values()]
    .toReversed()
    .toSorted((a, b) => places.findIndex(({ id }) => id === a.id) - places.findIndex(({ id }) => id === b.id))
}

/** The host a pattern leads to. */
export const hostIn = (pattern: string) => URL.parse(pattern.split('{', 1)[0]!)?.host ?? pattern

/** The kinds an address may be of; the one that says most of its path first. */
export function kindsOf(address: URL, { kinds }: Pick<Mirrors, 'kinds'>): MirrorKind[] {
  const whole = address.host + address.pathname
  const found = Object.entries(kinds).flatMap(([kind, facts]) => {
    const fits = facts.standsIn.filter((place) =>
      place.includes('/') ? whole.startsWith(place) : place === address.host,
    )
    return fits.length === 0 ? [] : [{ kind: kind as MirrorKind, length: Math.max(...fits.map((fit) => fit.length)) }]
  })
  return found.toSorted((a, b) => b.length - a.length).map(({ kind }) => kind)
}

export interface Ranking {
  /** A place's id; not said: the best measured. */
  readonly choice: string | undefined
  readonly policy: Exclude<NetworkSettings['mirrors'], 'auto'>
  readonly measured: (id: string) => Measured | null
}

/**
 * In the order to try them: what was chosen; what was measured good, the fastest first; what nobody measured; what could not
 * be reached. A mirror that sent something else, or sends people away, is left out; so are all of them with `none`.
 */
export function ranked(places: readonly MirrorPlace[], { choice, policy, measured }: Ranking): MirrorPlace[] {
  const usable = places.filter(({ id, mirror }) => {
    if (mirror === null || id === choice) return true
    const fault = measured(id)?.fault
    return policy !== 'none' && fault !== 'wrong' && fault !== 'declined'
  })
  const anyGood = usable.some(({ id }) => measured(id)?.ok)
  const group = ({ id, mirror }: MirrorPlace) => {
    if (id === choice) return 0
    const seen = measured(id)
    if (seen?.ok) return 1
    if (seen) return mirror === null && !anyGood ? 3 : 4
    if (mirror === null) return policy === 'last' ? 2 : 3
    return policy === 'last' ? 3 : 2
  }
  const rate = ({ id }: MirrorPlace) => goodput(measured(id))
  return usable.toSorted((a, b) => group(a) - group(b) || rate(b) - rate(a))
}

const TYPICAL_BYTES = 4 * 2 ** 20
/** Bytes a second of a file of some megabytes, waiting included. */
export function goodput(measured: Measured | null): number {
  if (!measured?.ok) return 0
  if (!measured.bytesPerSecond) return 1000 / (1 + (measured.latencyMs ?? 0))
  return TYPICAL_BYTES / ((measured.latencyMs ?? 0) / 1000 + TYPICAL_BYTES / measured.bytesPerSecond)
}

/** The mirrors of a kind in the order of its places; the official one is among them as itself. */
export function inOrder(kind: MirrorKind, places: readonly MirrorPlace[], { kinds }: Pick<Mirrors, 'kinds'>): Mirror[] {
  return places.flatMap(({ mirror }) =>
    mirror ? [mirror] : (kinds[kind]?.standsIn ?? []).map((standsInFor) => ({ standsInFor, pattern: ITSELF })),
  )
}

/** Where a place has what is at an official address; null: it cannot have it. */
export function addressAt(place: MirrorPlace, official: string): string | null {
  if (place.mirror === null) return official
  const [first] = addressesFor(new URL(official), [place.mirror])
  return first && first.href !== new URL(official).href ? first.href : null
}

/** Before which every path of an official host is asked of a place: for git's `insteadOf` and for endpoints. */
export function baseAt(place: MirrorPlace, official: string): string | null {
  const marked = addressAt(place, `${official.replace(/\/$/, '')}/x-marks-the-path`)
  return marked?.endsWith('/x-marks-the-path') ? marked.slice(0, -'x-marks-the-path'.length) : null
}

/** Whether mirrors are likely to be nearer than what they stand in for: by the clock and language of this machine. */
export const nearMirrors = (timeZone: string, locale: string): boolean =>
  /^Asia\/(?:Shanghai|Chongqing|Harbin|Urumqi|Kashgar)$|^PRC$/.test(timeZone) || /^zh-(?:Hans-)?CN\b/.test(locale)
