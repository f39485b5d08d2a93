import { hostname, networkInterfaces } from 'node:os'

/**
 * Whether a Host header means us: a name that is not ours is DNS rebinding. `listening`: what we listen on; `names`: what
 * else the person said we are called.
 */
export function isOurHost(host: string, listening: string, port: number, names: readonly string[] = []): boolean {
  const [, name = '', given] = /^(\[[^\]]+\]|[^:]*)(?::(\d+))?$/.exec(host.toLowerCase()) ?? []
  if (names.some((each) => each.toLowerCase() === name)) return true // before a proxy of theirs, on its port
  if (Number(given ?? 80) !== port) return false
  const bare = name.replace(/^\[|\]$/g, '')
  const own = ['127.0.0.1', 'localhost', '::1', listening.toLowerCase()]
  if (own.includes(bare)) return true
  if (isLoopback(listening)) return false
  const reachable = Object.values(networkInterfaces()).flatMap((all) => all?.map(({ address }) => address) ?? [])
  const called = hostname().toLowerCase()
  return bare === called || bare === `${called}.local` || reachable.includes(bare)
}

export const isLoopback = (host: string) => host === '127.0.0.1' || host === 'localhost' || host === '::1'

/** How others reach what listens on `host`; on every address, the first that others can use too. */
export function reachableAs(host: string): string {
  if (host !== '0.0.0.0' && host !== '::') return host.includes(':') ? `[${host}]` : host
  const all = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? [])
  return all.find(({ internal, family }) => !internal && family === 'IPv4')?.address ?? '127.0.0.1'
}
