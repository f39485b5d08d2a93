import { readFile } from 'node:fs/promises'
import path from 'node:path'
import type { SecretFound } from '../../contract/snapshot.ts'
import { sha256 } from './pack.ts'

/** Names that hold secrets by their purpose; they never travel. */
export const SECRET_FILES =
  /(?:^|\/)(?:\.env(?:\.(?!example$|sample$|template$)[\w.-]+)?|\.netrc|\.npmrc|\.pypirc|\.git-credentials|id_(?:rsa|dsa|ecdsa|ed25519)|[^/]+\.(?:pem|p12|pfx|keystore))$/i

const KINDS: readonly (readonly [kind: string, pattern: RegExp])[] = [
  ['Hugging Face token', /\bhf_[A-Za-z0-9]{30,}/g],
  ['GitHub token', /\b(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{40,})/g],
  ['API key', /\bsk-(?:proj-|ant-)?[A-Za-z0-9_-]{20,}/g],
  ['AWS key', /\b(?:AKIA|ASIA)[A-Z0-9]{16}\b/g],
  ['Aliyun key', /\bLTAI[A-Za-z0-9]{12,26}\b/g],
  ['Google key', /\bAIza[A-Za-z0-9_-]{35}\b/g],
  ['Slack token', /\bxox[abprs]-[A-Za-z0-9-]{10,}/g],
  ['private key', /-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----/g],
  ['token in an address', /\bhttps?:\/\/[^\s/:@"']+:[^\s/:@"']{6,}@/g],
  ['signed token', /\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}/g],
  [
    'secret by its name',
    /\b(?:api[_-]?key|secret[_-]?(?:key)?|access[_-]?token|auth[_-]?token|password|passwd)["']?\s*[:=]\s*["']([A-Za-z0-9_+/=.-]{16,})["']/gi,
  ],
]
/** Text only: nobody writes a key by hand into a larger file. */
const LARGEST_BYTES = 2 << 20
const TEXT =
  /\.(?:py|pyi|json|ya?ml|toml|ini|cfg|conf|txt|md|js|mjs|ts|html|css|sh|bat|ps1|csv|env|properties|xml|ipynb)$|(?:^|\/)[^./]+$/i
const MOST_FOUND = 200

/** What looks like a secret in these files (paths under `root`, with /). */
export async function findSecrets(
  root: string,
  files: readonly { path: string; size: number }[],
): Promise<SecretFound[]> {
  const found: SecretFound[] = []
  for (const { path: at, size } of files) {
    if (size > LARGEST_BYTES || !TEXT.test(at)) continue
    const text = await readFile(path.join(root, at), 'utf8').catch(() => '')
    if (text.includes('\0')) continue
    for (const each of secretsIn(text)) found.push({ path: at, ...each })
    if (found.length >= MOST_FOUND) break
  }
  return found
}

/** Pure. */
export function secretsIn(text: string): Omit<SecretFound, 'path'>[] {
  const found = new Map<string, Omit<SecretFound, 'path'>>()
  for (const [kind, pattern] of KINDS) {
    for (const match of text.matchAll(pattern)) {
      const secret = match[1] ?? match[0]
      if (isPlaceholder(secret)) continue
      const id = sha256(secret).slice(0, 16)
      const line = text.slice(0, match.index).split('\n').length
      found.set(id, { line, kind, shown: `${secret.slice(0, 6)}…`, id })
    }
  }
  return [...found.values()]
}

const isPlaceholder = (secret: string) =>
  /^(?:x+|\*+|\.+|your|<|example|placeholder|changeme|none|null|undefined)/i.test(secret) || new Set(secret).size < 5
