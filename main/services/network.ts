import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { EventEmitter } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { promisify } from 'node:util'
import { Dispatcher, request } from 'undici'
import { decoded } from '../../core/contract/address.ts'
import { AppError } from '../../core/contract/errors.ts'
import { isJsonObject, parseJson, writeJson } from '../../core/contract/json.ts'
import {
  type MirrorKind,
  NetworkSettings,
  type NetworkView,
  TokenHost,
  type TokenView,
} from '../../core/contract/mirror.ts'
import { reasonOf } from '../../core/engine/comfy/client.ts'
import { bytesWithin } from '../../core/engine/download/follow.ts'
import { baseAt, hostIn, placesOf } from '../../core/engine/download/mirrors.ts'
import {
  DIRECT,
  dispatcherBy,
  proxyAddress,
  type Route,
  routeInEnv,
  routeOfSystem,
  trusted,
} from '../../core/engine/download/proxy.ts'
import type { AnswerCache, HubNetwork } from '../../core/engine/hubs/ask.ts'
import type { HubHost } from '../../core/engine/hubs/link.ts'
import type { AddressesFor } from '../../core/engine/hubs/sources.ts'
import { writeWholeSync } from '../../core/engine/write-whole.ts'
import type { Clock } from './clock.ts'
import type { Database } from './database/open.ts'
import { MirrorList } from './mirrors.ts'
import type { Secrets } from './secrets.ts'
import type { Service } from './service.ts'
import type { KeptSettings } from './settings.ts'

interface Deps {
  readonly dataDir: string
  readonly resourcesDir: string
  readonly database: Database
  readonly settings: KeptSettings
  readonly secrets: Secrets
  readonly clock: Clock
  readonly version: string
  readonly locale: string
  readonly timeZone?: string
  readonly env: NodeJS.ProcessEnv
  readonly platform?: NodeJS.Platform
  readonly run?: (command: string, args: readonly string[]) => Promise<string>
  readonly log?: (event: string, facts: object) => void
}
interface KeptToken {
  readonly token: string
  readonly account: string | null
  readonly checkedAt: number | null
}
const HOST_NAMES = { huggingface: 'Hugging Face', modelscope: 'ModelScope', civitai: 'Civitai', github: 'GitHub' }
const PROXY_USER = 'proxy-user'
/** A proxy that nobody runs. */
const NOWHERE: Route = { http: 'http://127.0.0.1:9', https: 'http://127.0.0.1:9', bypass: [] }
const HUBS = ['huggingface', 'modelscope', 'civitai'] as const
const CHECK_MS = 15_000
const GIT_RULES = /^url\..*\.insteadof$/i

/** How this machine reaches the internet: its proxy, its certificates, the person's tokens, and the mirrors. */
export class Network implements Service {
  readonly events = new EventEmitter<{ changed: [] }>()
  readonly mirrors: MirrorList
  readonly #deps: Deps
  readonly #dispatcher: Current
  #system: Route | null = null
  #hasGitRules = false

  constructor(deps: Deps) {
    this.#deps = deps
    this.mirrors = new MirrorList({
      ...deps,
      dispatcher: () => dispatcherBy(this.route()),
      headersFor: (address) => this.headersFor(address),
    })
    this.#dispatcher = new Current(dispatcherBy(this.#routeOrNone()))
    deps.settings.events.on('changed', this.#renew)
    this.mirrors.events.on('changed', this.#renew)
  }

  async start() {
    await this.mirrors.start()
    const { platform = process.platform, env, run = runQuietly } = this.#deps
    const [system, rules] = await Promise.all([
      routeInEnv(env) ? null : routeOfSystem(platform, run),
      run('git', ['config', '--get-regexp', GIT_RULES.source]).catch(() => ''),
    ])
    this.#system = system
    this.#hasGitRules = /github\.com/i.test(rules)
    this.#renew()
  }

  async stop() {
    this.#deps.settings.events.off('changed', this.#renew)
    this.mirrors.events.off('changed', this.#renew)
    await this.mirrors.stop()
    await this.#dispatcher.destroy()
  }

  /** Goes where the settings say, also after they changed. */
  dispatcher(): Dispatcher {
    return this.#dispatcher
  }

  /** Best first; the official address is one of them. */
  addressesFor(address: string, kind?: MirrorKind): string[] {
    return this.mirrors.addressesFor(address, kind)
  }

  /** The hosts of the hubs, those of each hub in the order to ask them. */
  hosts(): HubHost[] {
    const all = this.mirrors.all()
    return HUBS.flatMap((hub) =>
      this.mirrors.places(hub).flatMap((place) => {
        const base = baseAt(place, all.kinds[hub]!.official)
        return base === null ? [] : [{ hub, base: base.replace(/\/$/, ''), official: place.mirror === null }]
      }),
    )
  }

  /** How the hubs of models are asked; what they answer is kept in the cache. */
  hubs(): HubNetwork & { addressesFor: AddressesFor } {
    const { clock, dataDir } = this.#deps
    return {
      dispatcherFor: () => this.#dispatcher,
      hosts: () => this.hosts(),
      tokenFor: (host) => this.tokenFor(host),
      addressesFor: (address) => this.addressesFor(address),
      cache: answersIn(path.join(dataDir, 'cache', 'hubs')),
      now: clock.now,
      userAgent: this.userAgent,
    }
  }

  get userAgent() {
    return `Nightshift/${this.#deps.version}`
  }

  /** The token that a host may be sent: its own hub's, or that of a hub it stands in for where the person said so. */
  tokenFor(host: string): string | null {
    const { tokensTo } = this.#deps.settings.get().network
    for (const [account, { hosts }] of Object.entries(this.mirrors.all().accounts))
      if (hosts.includes(host) || tokensTo.includes(`${account}:${host}`)) {
        const kept = this.#token(account as TokenHost)
        if (kept) return kept.token
      }
    return null
  }

  /** What a host is told of who asks; credentials never without encryption, but on this machine. */
  headersFor(address: string): Record<string, string> {
    const url = URL.parse(address)
    const safe = url?.protocol === 'https:' || /^(?:127\.0\.0\.1|localhost|\[::1\])$/.test(url?.hostname ?? '')
    const token = url && safe ? this.tokenFor(url.host) : null
    return { 'user-agent': this.userAgent, ...(token !== null && { authorization: `Bearer ${token}` }) }
  }

  /** The proxy in use. @throws AppError 'network.bad-proxy' | 'network.bad-certificates' */
  route(): Route {
    const { certificates } = this.#deps.settings.get().network
    return { ...this.#proxied(), certificates: certificates === '' ? [] : [readCertificates(certificates)] }
  }

  #proxied(): Route {
    const { settings, env, secrets } = this.#deps
    const { proxy, proxyAddress: address, bypass } = settings.get().network
    const direct = this.mirrors.all().mirrors.flatMap((mirror) => (mirror.direct ? [hostIn(mirror.pattern)] : []))
    const base = proxy === 'none' ? DIRECT : proxy === 'system' ? (routeInEnv(env) ?? this.#system ?? DIRECT) : null
    const given = base ?? manualRoute(address, secrets.get(PROXY_USER))
    return { ...given, bypass: [...given.bypass, ...bypass, ...direct] }
  }

  /**
   * The environment for a program that fetches by itself, so that it does so as we do. What the person set up there stays.
   * `mirrors: false`: it is told in another way where to fetch from.
   */
  childEnvironment(env: NodeJS.ProcessEnv = this.#deps.env, { mirrors = true } = {}): NodeJS.ProcessEnv {
    const { proxy } = this.#deps.settings.get().network
    const route = this.#routeOrNone()
    const result: NodeJS.ProcessEnv = { ...env }
    if (proxy !== 'system' || !routeInEnv(env)) setProxy(result, route)
    const set = (name: string, value: string | null | undefined) => {
      if (value && !result[name]) result[name] = value
    }
    const file = this.#certificatesFile()
    for (const name of CERTIFICATES) set(name, file)
    set('UV_SYSTEM_CERTS', '1')
    for (const [name, value] of Object.entries(GIT_MANNERS)) set(name, value)
    if (!mirrors) return result
    this.#addGitRules(result)
    const hub = this.#best('huggingface')
    if (hub !== null && !result.HF_ENDPOINT) {
      result.HF_ENDPOINT = hub.replace(/\/$/, '')
      set('HF_HUB_DISABLE_XET', '1') // mirrors have no such store
    }
    set('HF_HUB_DOWNLOAD_TIMEOUT', '60')
    set('HF_HUB_ETAG_TIMEOUT', '60')
    set('HF_HUB_DISABLE_TELEMETRY', '1')
    const index = this.#best('python-index')
    const hasIndex = ['PIP_INDEX_URL', 'UV_DEFAULT_INDEX', 'UV_INDEX_URL', 'UV_INDEX'].some((name) => result[name])
    if (index !== null && !hasIndex) {
      result.PIP_INDEX_URL = index
      result.UV_DEFAULT_INDEX = index
    }
    set('PIP_DEFAULT_TIMEOUT', '60')
    set('UV_HTTP_TIMEOUT', '120')
    set('UV_PYTHON_INSTALL_MIRROR', this.#best('python-builds')?.replace(/\/$/, ''))
    return result
  }

  view(): NetworkView {
    const { settings, secrets } = this.#deps
    const { network } = settings.get()
    const route = this.#routeOrNone()
    const { accounts } = this.mirrors.all()
    const tokens = TokenHost.options.flatMap((host): TokenView[] => {
      const account = accounts[host]
      if (!account) return []
      const kept = this.#token(host)
      const given = network.tokensTo
        .filter((pair) => pair.startsWith(`${host}:`))
        .map((pair) => pair.slice(host.length + 1))
      return [
        {
          host,
          isSet: kept !== null,
          account: kept?.account ?? null,
          checkedAt: kept?.checkedAt ?? null,
          page: account.page,
          given,
        },
      ]
    })
    const user = secrets.get(PROXY_USER)
    return {
      settings: network,
      proxyInUse: withoutUser(route.https ?? route.http),
      proxyUser: user ? decoded(user.split(':')[0]!) : null,
      tokens,
    }
  }

  /** `credentials`: `user:password` of a manual proxy; null removes them. */
  set(changes: Partial<NetworkSettings>, credentials?: { user: string; password: string } | null): NetworkView {
    const { settings, secrets } = this.#deps
    const next = NetworkSettings.parse({ ...settings.get().network, ...changes })
    if (next.proxyAddress !== '') {
      const address = manualAddress(next.proxyAddress)
      const { username, password } = new URL(address)
      if (username !== '') secrets.set(PROXY_USER, `${username}:${password}`)
      next.proxyAddress = withoutUser(address)!
    } else if (next.proxy === 'manual') throw new AppError('network.bad-proxy', { address: '' })
    if (next.certificates !== '') readCertificates(next.certificates)
    if (credentials === null) secrets.remove(PROXY_USER)
    else if (credentials)
      secrets.set(PROXY_USER, `${encodeURIComponent(credentials.user)}:${encodeURIComponent(credentials.password)}`)
    settings.set({ network: next })
    this.#renew()
    return this.view()
  }

  /**
   * Keeps a token, once its host says whose it is; where the host cannot be asked now, it is kept unchecked.
   * @throws AppError 'token.refused'
   */
  async setToken(host: TokenHost, token: string): Promise<NetworkView> {
    const { secrets, clock } = this.#deps
    const check = this.mirrors.all().accounts[host]?.check ?? null
    const checked = check === null ? null : await this.#whose(host, check, token)
    const kept: KeptToken = { token, account: checked?.account ?? null, checkedAt: checked ? clock.now() : null }
    secrets.set(`token:${host}`, writeJson(kept))
    this.events.emit('changed')
    return this.view()
  }

  removeToken(host: TokenHost): NetworkView {
    this.#deps.secrets.remove(`token:${host}`)
    this.events.emit('changed')
    return this.view()
  }

  /** Lets a mirror have a hub's token, or no longer. @throws AppError 'mirror.unknown' */
  giveToken(host: TokenHost, mirror: string, given: boolean): NetworkView {
    const { settings } = this.#deps
    const { network } = settings.get()
    const kinds = this.mirrors.all().accounts[host] ? ([host === 'github' ? 'github' : host] as MirrorKind[]) : []
    const known = kinds.flatMap((kind) => placesOf(kind, this.mirrors.all())).some(({ id }) => id === mirror)
    if (!known && given) throw new AppError('mirror.unknown', { id: mirror, kind: host })
    const pair = `${host}:${mirror}`
    const others = network.tokensTo.filter((each) => each !== pair)
    settings.set({ network: { ...network, tokensTo: given ? [...others, pair] : others } })
    this.events.emit('changed')
    return this.view()
  }

  // ---- inside ----

  #renew = () => {
    this.#dispatcher.use(this.#routeOrNone())
    this.events.emit('changed')
  }

  /** What cannot be used is told where it is set. Until then nothing goes past the proxy that was to be used. */
  #routeOrNone(): Route {
    try {
      return this.route()
    } catch (cause) {
      this.#deps.log?.('network.not-as-set', { reason: reasonOf(cause) })
    }
    try {
      return this.#proxied()
    } catch {
      return NOWHERE
    }
  }

  #token(host: TokenHost): KeptToken | null {
    const kept = this.#deps.secrets.get(`token:${host}`)
    return kept === undefined ? null : (parseJson(kept) as unknown as KeptToken)
  }

  async #whose(host: TokenHost, check: string, token: string): Promise<{ account: string | null } | null> {
    let status = 0
    let text = ''
    try {
      // no redirect is followed: the token is for this host
      const reply = await request(check, {
        dispatcher: this.#dispatcher,
        headers: { authorization: `Bearer ${token}`, 'user-agent': this.userAgent, accept: 'application/json' },
        signal: AbortSignal.timeout(CHECK_MS),
      })
      status = reply.statusCode
      text = (await bytesWithin(reply, 1024 * 1024)).toString('utf8')
    } catch {
      return null
    }
    if (status === 401 || status === 403)
      throw new AppError('token.refused', { host: HOST_NAMES[host], reason: `HTTP ${status}` })
    if (status !== 200) return null
    try {
      const said = parseJson(text)
      const name = isJsonObject(said) ? (said.name ?? said.username ?? said.login) : null
      return typeof name === 'string' ? { account: name } : null
    } catch {
      return null
    }
  }

  /** Where a kind is asked first, as the base of its paths; null: officially. */
  #best(kind: MirrorKind): string | null {
    const [first] = this.mirrors.places(kind)
    const official = this.mirrors.all().kinds[kind]?.official
    return first?.mirror && official !== undefined ? baseAt(first, official) : null
  }

  #addGitRules(env: NodeJS.ProcessEnv) {
    const official = this.mirrors.all().kinds.git?.official
    const base = this.#best('git')
    if (base === null || official === undefined || this.#hasGitRules) return
    const count = Number(env.GIT_CONFIG_COUNT ?? 0) || 0
    const host = new URL(official).host
    for (const [at, asked] of [`${official.replace(/\/$/, '')}/`, `git@${host}:`].entries()) {
      env[`GIT_CONFIG_KEY_${count + at}`] = `url.${base}.insteadOf`
      env[`GIT_CONFIG_VALUE_${count + at}`] = asked
    }
    env.GIT_CONFIG_COUNT = String(count + 2)
  }

  /** All that is trusted, in one file: programs take theirs instead of the system's. */
  #certificatesFile(): string | null {
    const { certificates } = this.#deps.settings.get().network
    if (certificates === '' || !existsSync(certificates)) return null
    const file = path.join(this.#deps.dataDir, 'cache', 'certificates.pem')
    const all = `${trusted([readFileSync(certificates, 'utf8')]).join('\n')}\n`
    if (!existsSync(file) || readFileSync(file, 'utf8') !== all) writeWholeSync(file, all)
    return file
  }
}

/** Whoever holds it goes on while what is behind it changes. */
class Current extends Dispatcher {
  #behind: Dispatcher
  #as = ''
  constructor(behind: Dispatcher) {
    super()
    this.#behind = behind
  }

  use(route: Route) {
    const as = writeJson(route)
    if (as === this.#as) return
    this.#as = as
    const before = this.#behind
    this.#behind = dispatcherBy(route)
    before.close().catch(() => {}) // what runs over it ends by itself
  }

  override dispatch(options: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandler): boolean {
    return this.#behind.dispatch(options, handler)
  }
  override destroy(): Promise<void> {
    return this.#behind.destroy()
  }
}

/** One file for each question; the question is in it, since names are made of its hash. */
function answersIn(dir: string): AnswerCache {
  const fileOf = (key: string) => path.join(dir, `${createHash('sha256').update(key).digest('hex').slice(0, 32)}.json`)
  return {
    get(key) {
      try {
        const kept = parseJson(readFileSync(fileOf(key), 'utf8'))
        if (!isJsonObject(kept) || kept.key !== key) return null
        return typeof kept.at === 'number' && typeof kept.text === 'string' ? { at: kept.at, text: kept.text } : null
      } catch {
        return null
      }
    },
    set: (key, answer) => writeWholeSync(fileOf(key), writeJson({ key, ...answer })),
  }
}

const CERTIFICATES = [
  'SSL_CERT_FILE',
  'REQUESTS_CA_BUNDLE',
  'PIP_CERT',
  'GIT_SSL_CAINFO',
  'NODE_EXTRA_CA_CERTS',
  'CURL_CA_BUNDLE',
]
/** A transfer that stalls ends, and nobody is asked for a password. */
const GIT_MANNERS = {
  GIT_TERMINAL_PROMPT: '0',
  GCM_INTERACTIVE: 'never',
  GIT_HTTP_LOW_SPEED_LIMIT: '1000',
  GIT_HTTP_LOW_SPEED_TIME: '30',
}

const withoutUser = (address: string | null) => address?.replace(/\/\/[^/@]*@/, '//') ?? null

function manualAddress(given: string): string {
  try {
    return proxyAddress(given)
  } catch {
    throw new AppError('network.bad-proxy', { address: withoutUser(given) ?? '' })
  }
}

function manualRoute(given: string, user: string | undefined): Route {
  const address = manualAddress(given)
  const whole = user ? address.replace('://', `://${user}@`) : address
  return { http: whole, https: whole, bypass: [] }
}

function readCertificates(file: string): string {
  try {
    const text = readFileSync(file, 'utf8')
    if (!text.includes('-----BEGIN CERTIFICATE-----')) throw new Error('it holds no certificate (PEM)')
    return text
  } catch (cause) {
    throw new AppError('network.bad-certificates', { file, reason: reasonOf(cause) })
  }
}

/** As most programs read it: both cases, and SOCKS names resolved by the proxy. */
function setProxy(env: NodeJS.ProcessEnv, route: Route) {
  for (const name of Object.keys(env)) if (/^(?:https?|all|no)_proxy$/i.test(name)) delete env[name]
  if (route.http === null && route.https === null) return
  const said = (address: string | null) => address?.replace(/^socks5:/, 'socks5h:')
  const set = (name: string, value: string | undefined) => {
    if (value === undefined) return
    env[name] = value
    env[name.toUpperCase()] = value
  }
  set('http_proxy', said(route.http))
  set('https_proxy', said(route.https))
  set('all_proxy', said(route.https ?? route.http))
  set('no_proxy', ['localhost', '127.0.0.1', '::1', ...route.bypass].join(','))
}

async function runQuietly(command: string, args: readonly string[]): Promise<string> {
  const { stdout } = await promisify(execFile)(command, [...args], { timeout: 5_000, windowsHide: true })
  return stdout
}
