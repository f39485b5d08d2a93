import { readdir, readFile } from 'node:fs/promises'
import path from 'node:path'

export interface PageFile {
  readonly bytes: Buffer
  readonly mediaType: string
}

const TYPES: Record<string, string> = {
  '.css': 'text/css; charset=utf-8',
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.woff2': 'font/woff2',
}

/** A page that was built into a folder, below `prefix` (as /form): its files by name, and itself at every address without a dot. */
export function pageOf(dir: string, prefix: string): (path: string) => Promise<PageFile | null> {
  const read = (async () => {
    const files = new Map<string, PageFile>()
    const entries = await readdir(dir, { recursive: true, withFileTypes: true }).catch(() => [])
    for (const entry of entries) {
      const mediaType = TYPES[path.extname(entry.name)]
      if (!entry.isFile() || mediaType === undefined) continue
      const file = path.join(entry.parentPath, entry.name)
      files.set(path.relative(dir, file).replaceAll(path.sep, '/'), { bytes: await readFile(file), mediaType })
    }
    return files
  })()
  return async (asked) => {
    if (!asked.startsWith(`${prefix}/`)) return null
    const name = asked.slice(prefix.length + 1)
    return (await read).get(name.includes('.') ? name : 'index.html') ?? null
  }
}
