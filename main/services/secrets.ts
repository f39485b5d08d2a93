import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'
import { chmodSync, existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { parseJson, writeJson } from '../../core/contract/json.ts'
import { writeWholeSync } from '../../core/engine/write-whole.ts'

/** Tokens and headers by name. Never logged, never in an error's facts. */
export interface Secrets {
  get(name: string): string | undefined
  set(name: string, value: string): void
  remove(name: string): void
  /** To take them out of what is shown to others. */
  values(): string[]
}

/** The key of a person's ComfyUI account, which nodes that cost money ask for. */
export const ACCOUNT_KEY = 'comfyui-account'

const ALGORITHM = 'aes-256-gcm'
const KEY_BYTES = 32
const NONCE_BYTES = 12
const TAG_BYTES = 16
const MARK = Buffer.from('NSS1')

/**
 * Secrets, encrypted in the data folder. With `key` (32 bytes, which the desktop door keeps in the system's key store)
 * in `secrets.sealed`; else in `secrets`, with a random key beside it, readable by its owner alone: that keeps them out
 * of a copied file or a searched disk image, not from someone who can read this account's files. Whoever has the key
 * also reads what was set without it. A file its key does not open (another machine, a lost key) is moved aside, and
 * its secrets have to be given again.
 */
export function openSecrets(dataDir: string, key?: Uint8Array): Secrets {
  const withoutKey = path.join(dataDir, 'secrets')
  if (!key) return keptIn(withoutKey, ownKey(path.join(dataDir, 'secrets.key')))
  const sealed = keptIn(path.join(dataDir, 'secrets.sealed'), key)
  if (!existsSync(withoutKey)) return sealed
  const unsealed = keptIn(withoutKey, ownKey(path.join(dataDir, 'secrets.key')))
  return {
    get: (name) => sealed.get(name) ?? unsealed.get(name),
    set(name, value) {
      sealed.set(name, value)
      unsealed.remove(name)
    },
    remove(name) {
      sealed.remove(name)
      unsealed.remove(name)
    },
    values: () => [...sealed.values(), ...unsealed.values()],
  }
}

function keptIn(file: string, key: Uint8Array): Secrets {
  if (key.length !== KEY_BYTES) throw new Error(`a key of ${KEY_BYTES} bytes is needed`)
  const secrets = read(file, key)
  const write = () =>
    writeWholeSync(file, seal(writeJson(Object.fromEntries(secrets)), key), { mode: 0o600, flush: true })
  return {
    get: (name) => secrets.get(name),
    set(name, value) {
      secrets.set(name, value)
      write()
    },
    remove(name) {
      if (secrets.delete(name)) write()
    },
    values: () => [...secrets.values()],
  }
}

function ownKey(file: string): Buffer {
  try {
    writeFileSync(file, randomBytes(KEY_BYTES), { flag: 'wx', mode: 0o600, flush: true })
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'EEXIST') throw cause
    chmodSync(file, 0o600)
  }
  return readFileSync(file)
}

function read(file: string, key: Uint8Array): Map<string, string> {
  if (!existsSync(file)) return new Map()
  try {
    return new Map(Object.entries(parseJson(open(readFileSync(file), key)) as Record<string, string>))
  } catch {
    renameSync(file, `${file}.unreadable`)
    return new Map()
  }
}

function seal(text: string, key: Uint8Array): Buffer {
  const nonce = randomBytes(NONCE_BYTES)
  const cipher = createCipheriv(ALGORITHM, key, nonce)
  const sealed = Buffer.concat([cipher.update(text, 'utf8'), cipher.final()])
  return Buffer.concat([MARK, nonce, cipher.getAuthTag(), sealed])
}

function open(sealed: Buffer, key: Uint8Array): string {
  const nonceEnd = MARK.length + NONCE_BYTES
  if (!sealed.subarray(0, MARK.length).equals(MARK)) throw new Error('not a secrets file')
  const decipher = createDecipheriv(ALGORITHM, key, sealed.subarray(MARK.length, nonceEnd))
  decipher.setAuthTag(sealed.subarray(nonceEnd, nonceEnd + TAG_BYTES))
  return Buffer.concat([decipher.update(sealed.subarray(nonceEnd + TAG_BYTES)), decipher.final()]).toString('utf8')
}
