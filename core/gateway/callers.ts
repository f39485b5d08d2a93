import { createHash, createHmac, timingSafeEqual } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import { AppError } from '../contract/errors.ts'
import type { KeyScope } from '../contract/key.ts'

/** Who came in. */
export interface Caller {
  /** Of the key: the first 16 letters of its SHA-256. */
  readonly id: string
  readonly scopes: readonly KeyScope[]
  /** Workflows it may send; as many as it likes where nothing is said. */
  readonly perMinute?: number
}

/** Keys that let callers in. */
export interface Callers {
  /** Whose key it is; null: nobody's, or nobody's any more. */
  enter(key: string): Caller | null
  /** The key of this id, to check what was signed with it; where keys are kept only as hashes, there is none. */
  signing?(id: string): { key: string; caller: Caller } | null
}

interface Line {
  readonly key: string
  readonly hash: Buffer
  readonly caller: Caller
  /** Epoch ms. */
  readonly expiresAt: number
}

/**
 * A list of keys, one a line: `KEY [run,publish] [expires=2027-01-31] [rate=10]`. Without scopes a key opens all; `rate`
 * is how many workflows it may send a minute.
 * @throws AppError 'app.usage' that names the line, and nothing of it
 */
export class KeyList implements Callers {
  readonly #lines: readonly Line[]
  readonly #now: () => number

  constructor(lines: readonly string[], now: () => number) {
    this.#lines = lines.flatMap((line, at) => readLine(line, at + 1))
    this.#now = now
  }

  get size() {
    return this.#lines.length
  }

  enter(key: string): Caller | null {
    const given = hashOf(key)
    let found: Line | null = null
    for (const line of this.#lines) if (timingSafeEqual(line.hash, given)) found = line // all, in the same time
    return found && found.expiresAt > this.#now() ? found.caller : null
  }

  signing(id: string) {
    const line = this.#lines.find(({ caller, expiresAt }) => caller.id === id && expiresAt > this.#now())
    return line ? { key: line.key, caller: line.caller } : null
  }
}

function readLine(text: string, at: number): Line[] {
  const [key = '', ...words] = text.trim().split(/\s+/)
  if (key === '' || key.startsWith('#')) return []
  const refuse = (reason: string) => new AppError('app.usage', { reason: `line ${at} of the keys: ${reason}` })
  if (!/^[\x21-\x7e]{1,500}$/.test(key)) throw refuse('a key has up to 500 plain characters')
  let scopes: KeyScope[] = ['run', 'publish']
  let expiresAt = Number.POSITIVE_INFINITY
  let perMinute: number | undefined
  for (const word of words) {
    const [, name, value = ''] = /^(expires|rate)=(.*)$/.exec(word) ?? []
    if (name === 'expires') {
      expiresAt = Date.parse(value)
      if (Number.isNaN(expiresAt)) throw refuse('expires= is a time such as 2027-01-31T12:00:00Z')
    } else if (name === 'rate') {
      perMinute = Number(value)
      if (!/^\d{1,6}$/.test(value) || perMinute < 1) throw refuse('rate= is a whole number from 1')
    } else {
      const named = word.split(',')
      if (!named.every((name) => name === 'run' || name === 'publish')) throw refuse('after the key: run, publish')
      scopes = named as KeyScope[]
    }
  }
  return [{ key, hash: hashOf(key), caller: { id: keyIdOf(key), scopes, perMinute }, expiresAt }]
}

const hashOf = (key: string) => createHash('sha256').update(key).digest()
/** How a key is named where it is not told. */
export const keyIdOf = (key: string) => hashOf(key).toString('hex').slice(0, 16)

// ---- signed requests ----

const WINDOW_MS = 300_000
const NO_BODY = createHash('sha256').digest('hex')
const HEX_256 = /^[\da-f]{64}$/

export interface Signed {
  readonly method: string
  /** As it was sent, with what follows `?`. */
  readonly url: string
  /** Unix seconds. */
  readonly timestamp: string
  /** 16 to 128 characters, each time others. */
  readonly nonce: string
  /** SHA-256 of the body, in hex. */
  readonly bodySha256: string
}

/** `v2=…`: that whoever has the key sent this, as it is, and then. */
export function signatureOf(key: string, { method, url, timestamp, nonce, bodySha256 }: Signed): string {
  const [path = '', query = ''] = url.split('?', 2)
  const sorted = query.split('&').toSorted().join('&')
  const text = [method, path, sorted, timestamp, nonce, bodySha256].join('\n')
  return `v2=${createHmac('sha256', key).update(text).digest('hex')}`
}

/**
 * What a signed request says of itself, once that is true; its body has yet to be compared with `bodySha256`.
 * @throws AppError 'agent.refused'
 */
export function checkSignature(key: string, method: string, url: string, headers: IncomingHttpHeaders, now: number) {
  const text = (name: string) => (typeof headers[name] === 'string' ? headers[name] : '')
  const refuse = (reason: string) => new AppError('agent.refused', { reason })
  const [timestamp, nonce] = [text('x-timestamp'), text('x-nonce')]
  const bodySha256 = text('x-content-sha256') || NO_BODY
  if (!/^\d{1,12}$/.test(timestamp) || Math.abs(now - Number(timestamp) * 1000) > WINDOW_MS)
    throw refuse('the time of the signature is not now')
  if (!/^[\x21-\x7e]{16,128}$/.test(nonce) || !HEX_256.test(bodySha256)) throw refuse('the signature is not complete')
  const expected = Buffer.from(signatureOf(key, { method, url, timestamp, nonce, bodySha256 }))
  const given = Buffer.from(text('x-signature'))
  if (given.length !== expected.length || !timingSafeEqual(given, expected)) throw refuse('the signature is not right')
  return { nonce, bodySha256 }
}

/** @throws AppError 'agent.refused': it is not what was signed */
export function checkBody(bytes: Uint8Array, sha256: string) {
  if (createHash('sha256').update(bytes).digest('hex') !== sha256)
    throw new AppError('agent.refused', { reason: 'the body is not the one that was signed' })
}

/** Of the last while, each let through once. */
export class Nonces {
  readonly #seen = new Map<string, number>()
  take(mark: string, now: number): boolean {
    for (const [old, at] of this.#seen) {
      if (now - at < NONCE_KEPT_MS) break
      this.#seen.delete(old)
    }
    if (this.#seen.has(mark)) return false
    this.#seen.set(mark, now)
    return true
  }
}
const NONCE_KEPT_MS = 660_000 // longer than a signature is good for
