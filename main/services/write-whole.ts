import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { threadId } from 'node:worker_threads'

/** The file takes its name last: whoever reads it finds all of it, or what was there before. */
export function writeWhole(
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
