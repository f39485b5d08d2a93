import { readFile } from 'node:fs/promises'
import path from 'node:path'
import type { SecretFound } from '../../contract/snapshot.ts'
import { sha256 } from './pack.ts'

/** Names that hold secrets by their purpose; they never travel. */
export const SECRET_FILES =
  /(?:^|\/)(?:\.env(?:\.(?!example$|sample$|template$)[\w.-]+)?|\.netrc|\.npmrc|\.pypirc|\.git-credentials|id_(?:rsa|dsa|ecdsa|ed25519)|[^/]+\.(?:pem|p12|pfx|keystore))$/i

/** Names of what is secret, however they are spelt and whatever stands before: `openaiApiKey`, `CIVITAI_TOKEN`. */
const NAMED =
  '(?:api[_-]?key|secret(?:[_-]?(?:access[_-]?)?key)?|access[_-]?key(?:[_-]?(?:id|secret))?|token|password|passwd)'

const KINDS: readonly (readonly [kind: string, pattern: RegExp, isSecret?: (text: string) => boolean])[] = [
  ['Hugging Face token', /\bhf_[A-Za-z0-9]{30,}/g],
  ['GitHub token', /\b(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{40,})/g],
  ['GitLab token', /\bglpat-[A-Za-z0-9_-]{20,}/g],
  ['API key', /\bsk-(?:proj-|ant-)?[A-Za-z0-9_-]{20,}/g, looksRandom],
  ['AWS key', /\b(?:AKIA|ASIA)[A-Z0-9]{16}\b/g],
  ['Aliyun key', /\bLTAI[A-Za-z0-9]{12,26}\b/g],
  ['Google key', /\bAIza[A-Za-z0-9_-]{35}\b/g],
  ['Slack token', /\bxox[abprs]-[A-Za-z0-9-]{10,}/g],
  ['private key', /-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----/g],
  ['token in an address', /\b[a-z][a-z0-9+.-]{1,20}:\/\/[^\s/:@"'`<>]{1,100}:([^\s/:@"'`<>]{6,200})@[\w[]/gi],
  ['token in an address', /\bhttps?:\/\/([^\s/:@"'`<>]{16,200})@/gi, looksRandom],
  ['signed token', /\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}/g],
  ['bearer token', /\bBearer\s+([A-Za-z0-9_~+/.-]{20,})/g, looksRandom],
  ['secret by its name', /[a-z][_-]?key["']?\s*[:=]\s*["']([A-Za-z0-9]{24,})["']/gi, looksRandom], // civitaiKey, hf_key
  // in quotes, as code and JSON have it; and without, at the end of a line, as settings have it
  ['secret by its name', new RegExp(`${NAMED}["']?\\s*[:=]\\s*["']([\\w+/=~-]{16,})["']`, 'gi'), looksRandom],
  ['secret by its name', new RegExp(`${NAMED}\\s*[:=]\\s*([\\w+/=-]{20,})[ \\t\\r]*$`, 'gim'), looksRandom],
]
/** Nobody writes a key by hand into a larger file. */
const LARGEST_BYTES = 2 << 20

/** What looks like a secret in these files (paths under `root`, with /). */
export async function findSecrets(
  root: string,
  files: readonly { path: string; size: number }[],
): Promise<SecretFound[]> {
  const found: SecretFound[] = []
  for (const { path: at, size } of files) {
    if (size > LARGEST_BYTES) continue
    const bytes = await readFile(path.join(root, at)).catch(() => null)
    if (!bytes || bytes.includes(0)) continue // no text
    for (const each of secretsIn(bytes.toString('utf8'))) found.push({ path: at, ...each })
  }
  return found
}

/** Pure. */
export function secretsIn(text: string): Omit<SecretFound, 'path'>[] {
  const found = new Map<string, Omit<SecretFound, 'path'>>()
  for (const [kind, pattern, isSecret] of KINDS) {
    for (const match of text.matchAll(pattern)) {
      const secret = match[1] ?? match[0]
      if (isPlaceholder(secret) || isSecret?.(secret) === false) continue
      const id = sha256(secret).slice(0, 16)
      if (found.has(id)) continue // under a better name
      const line = text.slice(0, match.index).split('\n').length
      found.set(id, { line, kind, shown: `${secret.slice(0, Math.min(6, secret.length >> 2))}…`, id })
    }
  }
  return [...found.values()]
}

const isPlaceholder = (secret: string) =>
  /^(?:x{3,}|\*+|\.+|your|my[_-]|<|\$|%|\{|example|placeholder|changeme|pass(?:word|wd)?$|secret|none|null|undefined)/i.test(
    secret,
  ) || new Set(secret).size < 5

/** No word, name or path: letters and digits, mixed. */
function looksRandom(secret: string): boolean {
  const digits = secret.replace(/\D/g, '').length
  return digits > 0 && digits < secret.length && new Set(secret).size >= 6
}
