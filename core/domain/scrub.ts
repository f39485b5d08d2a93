/** What is in a text's place that is nobody else's business. */
const HIDDEN = '[hidden]'

/** What a person is known by on a machine; it is taken out wherever it stands. */
export interface Private {
  /** Values kept as secrets. */
  readonly secrets: readonly string[]
  readonly home: string
  readonly user: string
  readonly hostname: string
}

/** Shapes of keys that tell themselves: ours, hubs, code hosts, clouds, model services, signed tokens. */
export const KEYS =
  /\b(?:hf_[A-Za-z\d]{16,}|(?:sk|pk|rk)[-_][\w-]{16,}|gh[opsur]_[A-Za-z\d]{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|xox[abprs]-[\w-]{10,}|(?:AKIA|ASIA)[A-Z\d]{16}|LTAI[A-Za-z\d]{12,}|AIza[\w-]{30,}|comfyui-[A-Za-z\d]{20,}|ms-[\da-f-]{30,}|eyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?|ns_[\w-]{30,})/g
const NAMED =
  /(["']?[\w.-]*(?:token|secret|passw(?:or)?d|passwd|pwd|api[-_]?key|access[-_]?key|private[-_]?key|account[-_]?key|credentials?|session[-_]?id|signature)["']?\s*[:=]\s*)(?:"(?:[^"\\]|\\.)*"|'[^']*'|[^\s,;&"'}\])]+)/gi
/** As written in a shell, and as a list in JSON. */
const OPTIONS =
  /((?:^|[^\w-]|\\[nrt])--?[\w-]*(?:token|secret|password|api-?key|access-?key)(?:[=\s]+|["']\s*,\s*["']))(?!-)[^\s"'\\]+/gim
const HEADERS =
  /((?:["']?)(?:proxy-)?authorization["']?\s*[:=]\s*["']?|["']?(?:set-)?cookie["']?\s*[:=]\s*["']?|["']?x-(?:api-key|auth-token|amz-security-token)["']?\s*[:=]\s*["']?)[^"'\r\n]+/gi
const SCHEMES = /\b(Bearer|Basic|Digest|Negotiate)\s+[\w.~+/=-]{6,}/gi
const PEM = /-----BEGIN [A-Z ]+-----[\s\S]*?(?:-----END [A-Z ]+-----|$)/g
const EMAIL = /[\w.+-]+@(?:[\w-]+\.)+[a-z]{2,}/gi
const ADDRESS = /\b([a-z][a-z\d+.-]{0,15}:\/\/)([^\s"'<>\\]+)/gi
const HOMES = /((?:\/home|\/Users|[A-Za-z]:(?:\\{1,2}|\/)Users)(?:\\{1,2}|\/))([^\\/\s"':;,<>|]+)/g
/** Whom somebody is elsewhere. */
const SSH = /(\bssh(?: -[ip] \S+)* -l )[^\s"']+|(\bssh )[^\s"'@/]+@/g
const SHORTEST = 4

/** Takes what is secret or personal out of a text, whatever wrote it. */
export function scrub(text: string, { secrets, home, user, hostname }: Private): string {
  let clean = text
  for (const secret of secrets)
    for (const form of formsOf(secret)) if (form.length >= SHORTEST) clean = clean.replaceAll(form, HIDDEN)
  clean = clean.replace(PEM, HIDDEN).replace(HEADERS, `$1${HIDDEN}`).replace(SCHEMES, `$1 ${HIDDEN}`)
  clean = clean.replace(ADDRESS, (_, scheme: string, rest: string) => scheme + withoutSecrets(rest))
  clean = clean
    .replace(KEYS, HIDDEN)
    .replace(NAMED, `$1${HIDDEN}`)
    .replace(OPTIONS, `$1${HIDDEN}`)
    .replace(SSH, (_, by = '', at = '') => (by ? `${by}user` : `${at}user@`))
    .replace(EMAIL, HIDDEN)
  if (home.length >= SHORTEST) clean = clean.replaceAll(home, '~').replaceAll(home.replaceAll('\\', '\\\\'), '~')
  clean = clean.replace(HOMES, '$1user')
  for (const [name, instead] of [
    [user, 'user'],
    [hostname, 'this-machine'],
  ] as const)
    if (name.length >= SHORTEST && !/^(?:root|user|admin|localhost)$/i.test(name))
      clean = clean.replace(new RegExp(`(?<![\\p{L}\\d])${escaped(name)}(?![\\p{L}\\d])`, 'giu'), instead)
  return clean
}

/** Of an address nobody's name, and nothing that opens it: a signed link is one. */
function withoutSecrets(rest: string): string {
  const end = rest.search(/[/?#]/)
  const authority = end < 0 ? rest : rest.slice(0, end)
  const after = end < 0 ? '' : rest.slice(end)
  const query = after.search(/[?#]/)
  const host = authority.slice(authority.lastIndexOf('@') + 1)
  return host + (query < 0 ? after : `${after.slice(0, query)}?${HIDDEN}`)
}

const formsOf = (secret: string) => {
  const parts = secret.includes(':') ? [secret, secret.slice(secret.indexOf(':') + 1)] : [secret]
  return parts.flatMap((part) => [part, encodeURIComponent(part), JSON.stringify(part).slice(1, -1)])
}
const escaped = (text: string) => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
