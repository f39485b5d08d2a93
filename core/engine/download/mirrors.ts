import { z } from 'zod'

/**
 * Another place that has what a host has, or what lies under a path of it: `host/path`. `pattern` holds {path} for another host, {url} for a proxy before it, or the
 * parts of a file in a repository: {owner}, {repo}, {ref}, {file}; {rest} is what follows the path stood in for.
 */
export const Mirror = z.object({ standsInFor: z.string(), pattern: z.string() })
export type Mirror = z.infer<typeof Mirror>

/** What resources/mirrors.json holds, and a person's own `mirrors.json` in the data folder, which goes before it. */
export const Mirrors = z.object({
  lists: z.record(z.string(), z.object({ url: z.url(), licence: z.string() })).default({}),
  /** Where an installation takes what it needs from, by kind. */
  sources: z.record(z.string(), z.string()).default({}),
  mirrors: z.array(Mirror).default([]),
})
export type Mirrors = z.infer<typeof Mirrors>

/** Best mirror first, the source last. A mirror whose pattern asks for what the address lacks is left out. */
export function addressesFor(source: URL, mirrors: readonly Mirror[]): URL[] {
  const [, owner, repo, ref, file] = /^\/([^/]+)\/([^/]+)\/([^/]+)\/(.+)$/.exec(source.pathname) ?? []
  const facts: Record<string, string | undefined> = { path: source.pathname, url: source.href, owner, repo, ref, file }
  const whole = source.host + source.pathname
  const addresses = mirrors.flatMap(({ standsInFor, pattern }) => {
    const under = standsInFor.includes('/') && whole.startsWith(standsInFor)
    if (standsInFor !== source.host && !under) return []
    facts.rest = under ? whole.slice(standsInFor.length) : undefined
    const filled = pattern.replace(/\{(\w+)\}/g, (_, name: string) => facts[name] ?? '\0')
    return filled.includes('\0') || !URL.canParse(filled) ? [] : [new URL(filled)]
  })
  return [...addresses, source]
}
