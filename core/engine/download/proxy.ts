import { getCACertificates, rootCertificates } from 'node:tls'
import { Dispatcher, EnvHttpProxyAgent, Pool } from 'undici'
import { decoded } from '../../contract/address.ts'
import { isPublic, lookupAmong } from './fetch-public.ts'

/** How the internet is reached. Addresses may hold credentials: http://, https:// or socks5://. */
export interface Route {
  readonly http: string | null
  readonly https: string | null
  /** Hosts reached directly: a name means those below it too; `*` all. */
  readonly bypass: readonly string[]
  /** More certificates to trust, PEM. */
  readonly certificates?: readonly string[]
}

export const DIRECT: Route = { http: null, https: null, bypass: [] }
/** What is of this machine is never asked of a proxy. */
const ALWAYS_DIRECT = ['localhost', '127.0.0.1', '::1']
export const CONNECT_MS = 10_000

/** What EnvHttpProxyAgent asks a proxy by: one that takes connections and says nothing is given up. It has to reach the other, too. */
export const tunnelling = (connectMs: number) => ({
  clientFactory: (proxy: URL, options: object) => new Pool(proxy, { ...options, headersTimeout: 2 * connectMs }),
})

/** Speaks to the internet by a route, trusting what the system trusts. */
export function dispatcherBy(route: Route, connectMs = CONNECT_MS): Dispatcher {
  const ca = trusted(route.certificates)
  const proxies = [route.https, route.http].flatMap((address) => (address === null ? [] : [new URL(address)]))
  const socks = proxies.find(({ protocol }) => protocol === 'socks5:')
  const proxied = {
    connect: { timeout: connectMs, ca },
    connectTimeout: connectMs,
    ...tunnelling(connectMs),
    requestTls: { ca },
    // undici takes it for a wish to speak TLS with a SOCKS proxy, and its user as it is written
    ...(socks ? userOf(socks) : { proxyTls: { ca } }),
    httpProxy: route.http ?? '',
    httpsProxy: route.https ?? '',
    noProxy: [...ALWAYS_DIRECT, ...route.bypass].join(','),
  }
  const abroad = { ...proxied, connect: { ...proxied.connect, lookup: lookupAmong(isPublic) } }
  return new ByRoute(new EnvHttpProxyAgent(proxied), new EnvHttpProxyAgent(abroad))
}

/** Of a request that somebody else's redirect led to. */
export type MaybePublicOnly = Dispatcher.DispatchOptions & { publicOnly?: boolean }

/**
 * With `publicOnly` a name that stands for an address of this machine or network is not connected to (NotPublic). Where a
 * proxy is asked it is the proxy that resolves: to ask for the name ourselves would tell others what the proxy is to hide.
 */
class ByRoute extends Dispatcher {
  readonly #any: Dispatcher
  readonly #abroad: Dispatcher
  constructor(any: Dispatcher, abroad: Dispatcher) {
    super()
    this.#any = any
    this.#abroad = abroad
  }

  override dispatch(options: MaybePublicOnly, handler: Dispatcher.DispatchHandler): boolean {
    return (options.publicOnly ? this.#abroad : this.#any).dispatch(options, handler)
  }
  override async close(): Promise<void> {
    await Promise.all([this.#any.close(), this.#abroad.close()])
  }
  override async destroy(): Promise<void> {
    await Promise.all([this.#any.destroy(), this.#abroad.destroy()])
  }
}

const userOf = ({ username, password }: URL) =>
  username === '' ? {} : { username: decoded(username), password: decoded(password) }

export const trusted = (more: readonly string[] = []): string[] => [
  ...new Set([...rootCertificates, ...getCACertificates('system'), ...getCACertificates('extra'), ...more]),
]

/**
 * A proxy's address as undici takes it, SOCKS names resolved there: `host:port` is HTTP, socks5h is socks5.
 * @throws Error for what is no such address
 */
export function proxyAddress(given: string): string {
  const url = URL.parse(/^[a-z\d+.-]+:\/\//i.test(given) ? given : `http://${given}`)
  const protocol = url?.protocol.replace(/^socks5?h?:$/, 'socks5:') ?? ''
  if (!url || url.hostname === '' || !/^(?:https?|socks5):$/.test(protocol)) throw new Error('it is no proxy address')
  // a stray % would end whoever reads it
  const [name, password] = [url.username, url.password].map((part) => encodeURIComponent(decoded(part)))
  const user = name === '' ? '' : `${name}${password === '' ? '' : `:${password}`}@`
  return `${protocol}//${user}${url.host}`
}

/** What the environment says, in either case; null: nothing. Pure. */
export function routeInEnv(env: NodeJS.ProcessEnv): Route | null {
  const said = (name: string) => env[name] || env[name.toUpperCase()] || ''
  const usable = (given: string) => {
    try {
      return given === '' ? null : proxyAddress(given)
    } catch {
      return null
    }
  }
  const all = usable(said('all_proxy'))
  const http = usable(said('http_proxy')) ?? all
  const https = usable(said('https_proxy')) ?? all
  const bypass = said('no_proxy').split(/[\s,]+/)
  return http || https ? { http, https, bypass: bypass.filter((host) => host !== '') } : null
}

type Run = (command: string, args: readonly string[]) => Promise<string>

/** What the system's own settings say (Windows, macOS, GNOME); null: nothing. */
export async function routeOfSystem(platform: NodeJS.Platform, run: Run): Promise<Route | null> {
  try {
    if (platform === 'win32')
      return readRegistry(
        await run('reg', ['query', 'HKCU\\Software\\Microsoft\\Windows\\CurrentVersion\\Internet Settings']),
      )
    if (platform === 'darwin') return readScutil(await run('scutil', ['--proxy']))
    return readGsettings(await run('gsettings', ['list-recursively', 'org.gnome.system.proxy']))
  } catch {
    return null // no such program
  }
}

/** `reg query`: ProxyEnable 0x1, ProxyServer `host:port` or `http=…;https=…;socks=…`, ProxyOverride. Pure. */
export function readRegistry(text: string): Route | null {
  const value = (name: string) => new RegExp(`^\\s*${name}\\s+REG_\\w+\\s+(.*?)\\s*$`, 'm').exec(text)?.[1] ?? ''
  const server = value('ProxyServer')
  if (Number(value('ProxyEnable')) !== 1 || server === '') return null
  const parts = new Map(
    server.includes('=')
      ? server.split(';').map((part) => part.split('=', 2) as [string, string])
      : [['all', server] as [string, string]],
  )
  const socks = parts.get('socks')
  const one = (scheme: string) => parts.get(scheme) ?? parts.get('all') ?? (socks ? `socks5://${socks}` : null)
  const bypass = value('ProxyOverride')
    .split(';')
    .filter((host) => host !== '' && host !== '<local>')
    .map((host) => host.replace(/^\*\./, '.').replace(/\.\*$/, ''))
  return route(one('http'), one('https'), bypass)
}

/** `scutil --proxy`. Pure. */
export function readScutil(text: string): Route | null {
  const value = (name: string) => new RegExp(`^\\s*${name}\\s*:\\s*(\\S+)`, 'm').exec(text)?.[1] ?? ''
  const at = (kind: string) =>
    value(`${kind}Enable`) === '1' ? `${value(`${kind}Proxy`)}:${value(`${kind}Port`)}` : null
  const socks = at('SOCKS')
  const list = /ExceptionsList\s*:\s*<array>\s*\{([^}]*)\}/.exec(text)?.[1] ?? ''
  const bypass = [...list.matchAll(/\d+\s*:\s*(\S+)/g)].map(([, host]) => host!.replace(/^\*\./, '.'))
  const other = socks === null ? null : `socks5://${socks}`
  return route(at('HTTP') ?? other, at('HTTPS') ?? other, bypass)
}

/** `gsettings list-recursively org.gnome.system.proxy`. Pure. */
export function readGsettings(text: string): Route | null {
  const value = (schema: string, key: string) =>
    new RegExp(`^org\\.gnome\\.system\\.proxy${schema} ${key} (.*)$`, 'm').exec(text)?.[1] ?? ''
  if (!/manual/.test(value('', 'mode'))) return null
  const at = (kind: string) => {
    const host = value(`.${kind}`, 'host').replace(/'/g, '')
    return host === '' ? null : `${host}:${value(`.${kind}`, 'port')}`
  }
  const socks = at('socks')
  const other = socks === null ? null : `socks5://${socks}`
  const bypass = [...value('', 'ignore-hosts').matchAll(/'([^']+)'/g)].map(([, host]) => host!.replace(/^\*\./, '.'))
  return route(at('http') ?? other, at('https') ?? other, bypass)
}

function route(http: string | null, https: string | null, bypass: string[]): Route | null {
  if (http === null && https === null) return null
  return { http: http && proxyAddress(http), https: https && proxyAddress(https), bypass }
}
