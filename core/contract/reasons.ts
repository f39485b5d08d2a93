import { type Facts, fill } from './errors.ts'

type Pattern = readonly [key: string, found: RegExp]

/**
 * What Node, its HTTP client and OpenSSL say of a connection or a file, and what our downloads say of a source, as keys of
 * resources/locales/…/reasons.json. Groups are the facts. The first that is found counts.
 */
const patterns: readonly Pattern[] = [
  ['refused', /^(?:\w+ )?ECONNREFUSED(?: (?<at>\S+))?/],
  ['unknown-host', /^(?:\w+ )?(?:ENOTFOUND|EAI_AGAIN|EAI_NODATA|EAI_NONAME)(?: (?<host>\S+))?/],
  ['unreachable', /^(?:\w+ )?(?:ENETUNREACH|EHOSTUNREACH|ENETDOWN|EHOSTDOWN|EADDRNOTAVAIL)(?: (?<at>\S+))?/],
  ['proxy-password', /^Proxy response \(407\)|^socks5? authentication failed/i],
  ['proxy', /^Proxy response \((?<status>\d+)\)/i],
  ['proxy-refuses', /^socks.*(?:rejected|refused|failed|not allowed|unreachable)/i],
  ['slow-connect', /^Connect Timeout Error\b|^connect ETIMEDOUT\b/],
  ['no-answer', /^no answer in time$|^(?:\w+ )?ETIMEDOUT\b|^(?:Headers|Body) Timeout Error$|aborted due to timeout$/],
  ['not-encrypted', /wrong version number|packet length too long|SSL routines.*(?:http request|unknown protocol)/i],
  [
    'cut',
    /^(?:\w+ )?(?:ECONNRESET|EPIPE|ECONNABORTED)\b|^(?:socket hang up|other side closed|terminated)$|disconnected before secure TLS/,
  ],
  ['expired-certificate', /^certificate has expired/i],
  ['other-certificate', /does not match certificate's altnames/i],
  ['untrusted-certificate', /^(?:self[- ]signed certificate|unable to (?:verify|get)[\w ]*certificate)/i],
  ['no-tls', /^(?:\w+ )?EPROTO\b|SSL routines|tlsv1 alert/i],
  ['not-http', /^Parse Error: |^Response does not match the HTTP\/1.1 protocol/],
  ['no-program', /^spawn (?<path>.+) ENOENT$/],
  ['not-run', /^spawn (?<path>.+) E(?:ACCES|NOEXEC|PERM)$|^spawn E(?:ACCES|NOEXEC|PERM|UNKNOWN)$|^spawn UNKNOWN$/],
  ['disk-full', /^ENOSPC\b/],
  ['denied', /^(?:EACCES|EPERM|EROFS)\b(?:[^']*'(?<path>[^']+)')?/],
  ['missing-file', /^ENOENT\b(?:[^']*'(?<path>[^']+)')?/],
  ['in-use', /^(?:EBUSY|ETXTBSY)\b(?:[^']*'(?<path>[^']+)')?/],
  ['no-bytes', /^it does not send these bytes \(HTTP 416\)$/],
  ['http-401', /^HTTP 401\b(?:: (?<said>.+))?/s],
  ['http-403', /^HTTP 403\b(?:: (?<said>.+))?/s],
  ['http-404', /^HTTP (?:404|410)\b(?:: (?<said>.+))?/s],
  ['http-429', /^HTTP 429\b(?:: (?<said>.+))?/s],
  ['http-5xx', /^HTTP (?<status>5\d\d)\b(?:: (?<said>.+))?/s],
  ['http', /^HTTP (?<status>\d{3})\b(?:: (?<said>.+))?/s],
  ['stalled', /^it stalled$/],
  ['slow', /^it became slow$/],
  ['sent-nothing', /^it sent nothing$/],
  ['ended-early', /^it ended early$/],
  ['wrong-size', /^its size is (?:wrong|another)$/],
  ['changed', /^its file changed$/],
  ['another-file', /^it has another file$/],
  ['others-have-another', /^the others have another file$/],
  ['something-else', /^it sent something else$/],
  ['too-large', /^it is too large$/],
  ['a-page', /^it sent a page \((?<type>[^)]*)\) instead of the file$/],
  ['redirects', /^it redirects too often$/],
  ['sends-away', /^it sends everybody to (?<host>\S+)$/],
  ['sends-on', /^(?<host>\S+) sends on to (?<other>\S+)$/],
  ['unencrypted', /^it redirects to (?<host>\S+) without encryption$/],
  ['inside', /^it redirects to (?<host>\S+), inside this network$/],
  ['no-address', /^it (?:is|redirects to) no web address$/],
  [
    'no-parts',
    /^it (?:does not send parts|does not say which bytes it sends|sends other bytes than were asked for|packs what it sends.*)$/,
  ],
  ['no-source', /^no source is left$/],
  ['no-host', /^no host of it is known$/],
]

/** Every key that words are needed for. */
export const reasonKeys: readonly string[] = patterns.map(([key]) => key)

/**
 * A reason as people say it: `mirror.example: connect ECONNREFUSED 10.0.0.1:443; …`, each of its parts. What is not known
 * stays as it is.
 */
export function sayReason(reason: string, words: Readonly<Record<string, string>>): string {
  const text = reason.trim()
  if (/\n(?!; )/.test(text)) return reason // what a program printed
  return text
    .split(/\s*; /)
    .map((part) => {
      // whose reason it is stands before it
      const [, source = '', said = part] = /^((?:[\w-]+\.)*[\w-]+(?::\d+)?(?: \d+)?: )(.+)$/s.exec(part) ?? []
      const whole = sayOne(part, words)
      return whole ?? source + (sayOne(said, words) ?? said)
    })
    .join('; ')
}

function sayOne(said: string, words: Readonly<Record<string, string>>): string | null {
  for (const [key, found] of patterns) {
    const match = found.exec(said)
    if (!match) continue
    const { groups = {} } = match
    const named = Object.entries(groups).filter((entry): entry is [string, string] => entry[1] !== undefined)
    const facts: Facts = Object.fromEntries(named)
    const sentence = words[Object.keys(groups).length > named.length ? `${key}-somewhere` : key] ?? words[key]
    if (sentence === undefined) return null
    return [fill(sentence, facts), ...(groups.said ? [groups.said] : [])].join(': ')
  }
  return null
}

/** Facts for a sentence, with the reason among them as people say it. */
export const sayFacts = (facts: Facts, words: Readonly<Record<string, string>>): Facts =>
  typeof facts.reason === 'string' ? { ...facts, reason: sayReason(facts.reason, words) } : facts

/** A sentence that was filled already, with the reason in it as people say it. */
export const sayFilled = (sentence: string, { reason }: Facts, words: Readonly<Record<string, string>>): string =>
  typeof reason === 'string' && reason !== '' ? sentence.replace(reason, () => sayReason(reason, words)) : sentence
