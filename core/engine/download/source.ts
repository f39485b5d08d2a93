import { lookup } from 'node:dns/promises'
import { isIP } from 'node:net'
import type { Dispatcher } from 'undici'
import type { AppError } from '../../contract/errors.ts'
import type { FileSource } from './download.ts'
import { isPublic, NotPublic } from './fetch-public.ts'

const REDIRECTS = 10
const ASSUMED_LIFE_MS = 4 * 60_000 // of a signed link that does not say
const RENEW_BEFORE_MS = 60_000
const BACKOFF_MS = 500
const BACKOFF_LIMIT_MS = 30_000
const FIRST_LANES = 4
const GROW_AGAIN_MS = 10_000
const WORTH_IT = 1.15 // twice the connections bring so much more
const RATE_WEIGHT = 0.3 // of the newest measurement

export type Headers = Record<string, string>
/** What a request is told of its answer, in this order. */
export interface Receiver {
  /** May throw; then the rest does not come. */
  answered(status: number, headers: Headers): void
  /** false: `resume` of the control is called later. */
  came(bytes: Buffer): boolean
}
export interface Control {
  stop(reason: Error): void
  resume(): void
}

/** A source does not do as it should. */
export class SourceError extends Error {
  /**
   * `rest`: it may do better later. `whole`: no ranges from it. `differs`: it has another file. `anew`: it has a newer one.
   * `out`: nothing more from it. `refused`: out, by its own will.
   */
  readonly verdict: 'rest' | 'whole' | 'differs' | 'anew' | 'out' | 'refused'
  readonly status: number | null
  readonly restMs: number | null
  /** What was said with a code of its own. */
  readonly because: AppError | null
  constructor(
    verdict: SourceError['verdict'],
    reason: string,
    {
      status = null,
      restMs = null,
      because = null,
    }: { status?: number | null; restMs?: number | null; because?: AppError | null } = {},
  ) {
    super(reason)
    this.because = because
    this.verdict = verdict
    this.status = status
    this.restMs = restMs
  }
}

interface Place {
  readonly url: URL
  readonly expiresAt: number | null
  /** Somebody else than `address` itself. */
  readonly elsewhere: boolean
}

/** One place a file comes from: where that is now, how it does, and what it is still good for. */
export class Source {
  readonly given: FileSource
  readonly index: number
  /** `new`: not known to have the same file as the others. `differs`: it has another one; kept in reserve. */
  is: 'new' | 'in' | 'differs' | 'out' = 'new'
  /** Ranges are not to be asked of it. */
  whole: boolean
  refusedStatus: number | null = null
  reason: string | null = null
  /** The reason, where it has a code of its own. */
  because: AppError | null = null
  /** In a row, without a byte of use. */
  failures = 0
  againAt = 0
  /** Learned: more at once are turned away. */
  mostConnections: number
  active = 0
  /** How many are worth it, as far as was tried: more are, as long as they bring more. */
  lanes = FIRST_LANES
  #seenBytes = 0
  #grown: { from: number; rate: number; at: number } | null = null
  #growAfter = 0
  fetchedBytes = 0
  /** Of one connection; null: not known yet. */
  bytesPerSecond: number | null = null
  roundTripMs = 100
  etag: string | null = null
  lastModified: string | null = null
  /** It has answered a range with that range. */
  ranges = false
  /** What it shows of its file is enough to know that it is still the same. */
  mayContinue = false
  /** What it has where all are compared. */
  sample: Buffer | null = null
  /** Left out, to see whether the hash is right without it. */
  suspect = false
  #place: Place | null = null
  #locating: Promise<unknown> | null = null
  readonly #proven = new WeakSet<Place>()

  constructor(given: FileSource, index: number) {
    this.given = given
    this.index = index
    this.whole = given.whole ?? false
    this.mostConnections = given.connections ?? Number.POSITIVE_INFINITY
  }

  get host(): string {
    return this.#place?.url.host ?? URL.parse(this.given.address)?.host ?? this.given.id
  }

  measure(bytes: number, ms: number) {
    if (ms < 20) return
    const rate = (bytes / ms) * 1000
    this.bytesPerSecond =
      this.bytesPerSecond === null ? rate : this.bytesPerSecond + RATE_WEIGHT * (rate - this.bytesPerSecond)
  }

  /** Every quarter of a second or so: whether more connections bring more. */
  grow(seconds: number, now: number) {
    const rate = (this.fetchedBytes - this.#seenBytes) / seconds
    this.#seenBytes = this.fetchedBytes
    if (this.#grown) {
      if (now - this.#grown.at < Math.max(200, 5 * this.roundTripMs)) return
      if (rate < WORTH_IT * this.#grown.rate) {
        this.lanes = this.#grown.from
        this.#growAfter = now + GROW_AGAIN_MS
      }
      this.#grown = null
    }
    if (rate === 0 || this.active < this.lanes || now < this.#growAfter) return
    this.#grown = { from: this.lanes, rate, at: now }
    this.lanes *= 2
  }

  /** Bytes of use. */
  gave() {
    this.failures = 0
  }

  failed(cause: SourceError, now: number, retryMs = BACKOFF_MS) {
    this.reason = cause.message
    this.because = cause.because
    if (cause.verdict === 'whole') {
      this.whole = true
    } else if (cause.verdict === 'differs') {
      this.is = 'differs'
    } else if (cause.verdict === 'out' || cause.verdict === 'refused') {
      this.is = 'out'
      this.refusedStatus = cause.verdict === 'refused' ? cause.status : null
    } else {
      this.failures += 1
      const backoff = Math.min(BACKOFF_LIMIT_MS, retryMs * 2 ** (this.failures - 1)) * (0.5 + Math.random())
      this.againAt = Math.max(this.againAt, now + (cause.restMs ?? backoff))
    }
  }

  /**
   * Asks for bytes where they are now, through redirects; one connection finds out for all. Resolves when the body ended.
   * @throws SourceError
   */
  async ask(
    range: Headers,
    receiver: Receiver,
    { dispatcher, signal, now, headersTimeoutMs, declines }: Asking,
    control: (control: Control) => void,
  ): Promise<void> {
    while (this.#locating) await this.#locating
    signal.throwIfAborted()
    let found = () => {}
    if (!this.#fresh(now())) {
      this.#locating = new Promise<void>((resolve) => {
        found = () => {
          this.#locating = null
          resolve()
        }
      })
    }
    try {
      let place = this.#fresh(now()) ?? (await this.#start(signal))
      for (let redirects = 0; ; redirects++) {
        const asked = performance.now()
        const headers = { ...this.#headersFor(place.url), ...range }
        const reply = await this.#request(
          place.url,
          headers,
          { dispatcher, signal, headersTimeoutMs },
          control,
          (status, answer) => {
            this.roundTripMs = 0.7 * this.roundTripMs + 0.3 * (performance.now() - asked)
            if (isRedirect(status, answer)) return null
            if ([400, 401, 403].includes(status) && this.#proven.has(place)) {
              // a link that was good expired: the way to it is found anew
              if (this.#place === place) this.#place = null
              throw new SourceError('rest', `HTTP ${status}`, { status, restMs: 0 })
            }
            this.#place = place
            if (status < 300 && place.elsewhere) this.#proven.add(place)
            found()
            receiver.answered(status, answer)
            return receiver
          },
        )
        if (!reply) return
        if (redirects === REDIRECTS) throw new SourceError('out', 'it redirects too often')
        place = this.#redirected(place, reply.location, now(), declines)
      }
    } finally {
      found()
    }
  }

  /** Whoever is on the internet leads nowhere inside this network, whatever the names are. */
  async #request(url: URL, ...[headers, asking, control, judge]: Rest<Parameters<typeof request>>) {
    const start = URL.parse(this.given.address)
    const publicOnly = start !== null && start.hostname !== url.hostname && !isInside(start)
    try {
      return await request(url, headers, { ...asking, publicOnly }, control, judge)
    } catch (cause) {
      if (!(cause instanceof NotPublic)) throw cause
      if (await leadsInside(start!.hostname)) return request(url, headers, asking, control, judge)
      throw new SourceError('out', `it redirects to ${url.host}, inside this network`)
    }
  }

  #fresh(now: number): Place | null {
    const place = this.#place
    return place && (place.expiresAt === null || now < place.expiresAt) ? place : null
  }

  async #start(signal: AbortSignal): Promise<Place> {
    const { address, resolve } = this.given
    const found = resolve ? await resolve(signal) : { address, expiresAt: null }
    const url = URL.parse(found.address)
    if (!url || !/^https?:$/.test(url.protocol)) throw new SourceError('out', 'it is no web address')
    const expiresAt = found.expiresAt === null ? null : found.expiresAt - RENEW_BEFORE_MS
    return { url, expiresAt, elsewhere: resolve !== undefined }
  }

  #redirected(from: Place, location: string, now: number, declines: (host: string, by: Source) => boolean): Place {
    const url = URL.parse(location, from.url.href)
    if (!url || !/^https?:$/.test(url.protocol)) throw new SourceError('out', 'it redirects to no web address')
    const start = URL.parse(this.given.address)!
    if (from.url.protocol === 'https:' && url.protocol === 'http:')
      throw new SourceError('out', `it redirects to ${url.host} without encryption`)
    if (!isInside(start) && isInside(url))
      throw new SourceError('out', `it redirects to ${url.host}, inside this network`)
    if (declines(url.host, this)) throw new SourceError('out', `it sends everybody to ${url.host}`)
    return { url, expiresAt: expiryOf(url, now), elsewhere: true }
  }

  /** What was given goes to its own origin only; a signed link with a token is refused by many stores, too. */
  #headersFor(url: URL): Headers {
    const own = URL.parse(this.given.address)?.origin === url.origin
    const given = Object.entries(this.given.headers ?? {}).filter(([name]) => own || /^user-agent$/i.test(name))
    return { 'user-agent': 'Nightshift', ...Object.fromEntries(given), 'accept-encoding': 'identity' }
  }
}

export interface Asking {
  readonly dispatcher: Dispatcher
  readonly signal: AbortSignal
  readonly now: () => number
  readonly headersTimeoutMs: number
  /** Whether a host that a mirror redirects to is where another source lies: it has nothing itself. */
  readonly declines: (host: string, by: Source) => boolean
}

const isRedirect = (status: number, headers: Headers) =>
  [301, 302, 303, 307, 308].includes(status) && headers.location !== undefined

type Rest<T extends unknown[]> = T extends [unknown, ...infer R] ? R : never

const leadsInside = (host: string) =>
  lookup(host, { all: true }).then(
    (found) => found.some(({ address }) => !isPublic(address)),
    () => false,
  )

/** By name or number; what a name stands for is looked at when it is connected to. */
function isInside(url: URL): boolean {
  const host = url.hostname.replace(/^\[|\]$/g, '')
  return isIP(host) ? !isPublic(host) : /(^|\.)(localhost|local|internal)$/i.test(host)
}

/** When a signed link is to be asked for anew, from what it says of itself. Pure. */
export function expiryOf(url: URL, now: number): number {
  const of = (name: string) => url.searchParams.get(name) ?? ''
  const [, year, month, day, hour, minute, second] =
    /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(of('X-Amz-Date')) ?? []
  const signedAt = year ? Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`) : Number.NaN
  const candidates = [
    signedAt + Number(of('X-Amz-Expires')) * 1000,
    Number(of('Expires') || Number.NaN) * 1000,
    Date.parse(of('se')),
    Number(/^(\d{10})-/.exec(of('auth_key'))?.[1] ?? Number.NaN) * 1000,
  ]
  const said = candidates.find((each) => Number.isFinite(each) && each > 0)
  if (said === undefined) return now + ASSUMED_LIFE_MS
  return said - Math.min(RENEW_BEFORE_MS, Math.max(0, said - now) * 0.2)
}

/** One request. `judge` gives who takes the body; null: it is a redirect, whose location is given back. */
function request(
  url: URL,
  headers: Headers,
  {
    dispatcher,
    signal,
    headersTimeoutMs,
    publicOnly = false,
  }: Pick<Asking, 'dispatcher' | 'signal' | 'headersTimeoutMs'> & { publicOnly?: boolean },
  control: (control: Control) => void,
  judge: (status: number, headers: Headers) => Receiver | null,
): Promise<{ location: string } | null> {
  return new Promise((resolve, reject) => {
    let over = false
    let receiver: Receiver | null = null
    let controller: Dispatcher.DispatchController | null = null
    const end = (settle: () => void) => {
      if (over) return
      over = true
      signal.removeEventListener('abort', aborted)
      settle()
    }
    const stop = (reason: Error) => {
      end(() => reject(reason))
      controller?.abort(reason)
    }
    const aborted = () => stop(signal.reason as Error)
    signal.addEventListener('abort', aborted)
    control({ stop, resume: () => controller?.resume() })
    const options = {
      origin: url.origin,
      path: url.pathname + url.search,
      method: 'GET',
      headers,
      headersTimeout: headersTimeoutMs,
      bodyTimeout: 0,
      publicOnly,
    } as const
    dispatcher.dispatch(options, {
      onRequestStart(given) {
        controller = given
        if (over) given.abort(new Error('stopped'))
      },
      onResponseStart(given, status, raw) {
        if (status < 200 || over) return
        const answer = Object.fromEntries(Object.entries(raw).map(([name, value]) => [name, String(value)]))
        try {
          receiver = judge(status, answer)
        } catch (cause) {
          stop(cause as Error)
          return
        }
        if (receiver) return
        end(() => resolve({ location: answer.location! }))
        given.abort(new Error('redirected'))
      },
      onResponseData(given, chunk) {
        if (!over && receiver && !receiver.came(chunk)) given.pause()
      },
      onResponseEnd() {
        end(() => resolve(null))
      },
      onResponseError(_, cause) {
        end(() => reject(cause))
      },
    })
  })
}
