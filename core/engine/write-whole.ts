import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { open, rename } from 'node:fs/promises'
import path from 'node:path'
import { threadId } from 'node:worker_threads'

/** Replaces a file at once and for good: after a power cut it is the old one or the new one. */
export async function writeWhole(file: string, text: string | Uint8Array) {
  const part = `${file}.part`
  const handle = await open(part, 'w', 0o600) // a proxy's address may hold a password
  try {
    await handle.writeFile(text)
    await handle.sync()
  } finally {
    await handle.close()
  }
  await rename(part, file)
  if (process.platform === 'win32') return // a folder cannot be opened there; NTFS keeps renames in its journal
  const dir = await open(path.dirname(file), 'r')
  try {
    await dir.sync()
  } finally {
    await dir.close()
  }
}

/** The file takes its name last: whoever reads it finds all of it, or what was there before. Its folder is made. */
export function writeWholeSync(
  file: string,
  content: string | Uint8Array,
  options: { mode?: number; flush?: boolean } = {},
) {
  mkdirSync(path.dirname(file), { recursive: true })
  const part = `${file}.${process.pid}-${threadId}.part`
  try {
    writeFileSync(part, content, options)
    renameSync(part, file)
  } catch (cause) {
    rmSync(part, { force: true })
    throw cause
  }
}
