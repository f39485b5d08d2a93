import { randomBytes } from 'node:crypto'
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { safeStorage } from 'electron'

const KEY_BYTES = 32
/** A key store may ask the person to unlock it; the work does not wait for that longer than this. */
const PATIENCE_MS = 20_000

/**
 * The key that secrets are sealed with, kept in `file` as the system's key store sealed it. Undefined where there is
 * no key store, or only one that anybody can read ('basic_text'): then the host keeps a key of its own.
 */
export async function secretKey(file: string): Promise<Uint8Array | undefined> {
  const asking = new AbortController()
  try {
    const late = pause(PATIENCE_MS, undefined, { signal: asking.signal })
    return await Promise.race([read(file), late])
  } catch (cause) {
    console.error('the key store cannot be used', cause)
    return undefined
  } finally {
    asking.abort()
  }
}

async function read(file: string): Promise<Uint8Array | undefined> {
  if (!(await safeStorage.isAsyncEncryptionAvailable())) return undefined
  if (process.platform === 'linux' && safeStorage.getSelectedStorageBackend() === 'basic_text') return undefined
  const sealed = await readFile(file).catch(() => null)
  if (sealed) {
    try {
      const { result } = await safeStorage.decryptStringAsync(sealed)
      const key = Buffer.from(result, 'base64')
      if (key.length === KEY_BYTES) return key
    } catch {
      // sealed by a key store that is no more: what it guarded is lost, and has to be given again
    }
    await rename(file, `${file}.unreadable`)
  }
  const key = randomBytes(KEY_BYTES)
  await mkdir(path.dirname(file), { recursive: true })
  await writeFile(`${file}.part`, await safeStorage.encryptStringAsync(key.toString('base64')), { mode: 0o600 })
  await rename(`${file}.part`, file)
  return key
}
