import { createHash } from 'node:crypto'
import { readdirSync, readFileSync, rmSync, statSync, utimesSync } from 'node:fs'
import path from 'node:path'
import { gunzipSync, gzipSync } from 'node:zlib'
import type { ObjectInfo } from '../../../core/contract/comfyui.ts'
import { isJsonObject, parseJsonWithFloats, writeJson } from '../../../core/contract/json.ts'
import { writeWholeSync } from '../../../core/engine/write-whole.ts'

export interface CachedDefinitions {
  readonly definitions: ObjectInfo
  readonly version: string | undefined
  /** When the server said so; epoch milliseconds. */
  readonly at: number
}

const KEPT_SETS = 3

/**
 * What each server's nodes looked like when it last answered, kept by server and by its set of classes and packages, so
 * that a workflow can be judged while the server is off.
 */
export class DefinitionsCache {
  readonly #dir: string
  readonly #written = new Map<string, ObjectInfo>()
  readonly #read = new Map<string, CachedDefinitions | null>()

  constructor(cacheDir: string) {
    this.#dir = path.join(cacheDir, 'definitions')
  }

  keep(worker: string, { definitions, version, at }: CachedDefinitions) {
    if (this.#written.get(worker) === definitions) return
    this.#written.set(worker, definitions)
    this.#read.delete(worker)
    const file = path.join(this.#dirOf(worker), `${setOf(definitions, version)}.json.gz`)
    writeWholeSync(file, gzipSync(writeJson({ worker, version: version ?? null, at, definitions }), { level: 1 }))
    utimesSync(file, at / 1000, at / 1000) // when it was written is too coarse to tell which is newest
    const others = this.#files(worker).filter((other) => other !== file)
    for (const old of others.slice(KEPT_SETS - 1)) rmSync(old, { force: true })
  }

  /** The latest; null: it never answered, or what was kept is damaged. */
  latest(worker: string): CachedDefinitions | null {
    const known = this.#read.get(worker)
    if (known !== undefined) return known
    let found: CachedDefinitions | null = null
    for (const file of this.#files(worker)) {
      found = read(file)
      if (found) break
    }
    this.#read.set(worker, found)
    return found
  }

  forget(worker: string) {
    this.#written.delete(worker)
    this.#read.delete(worker)
    rmSync(this.#dirOf(worker), { recursive: true, force: true })
  }

  #dirOf = (worker: string) => path.join(this.#dir, createHash('sha256').update(worker).digest('hex').slice(0, 16))

  /** Newest first. */
  #files(worker: string): string[] {
    const dir = this.#dirOf(worker)
    let names: string[]
    try {
      names = readdirSync(dir).filter((name) => name.endsWith('.json.gz'))
    } catch {
      return []
    }
    const dated = names.map((name) => ({ file: path.join(dir, name), at: statSync(path.join(dir, name)).mtimeMs }))
    return dated.toSorted((a, b) => b.at - a.at).map(({ file }) => file)
  }
}

/** The server's version, its packages and its classes, as one short word. */
function setOf(definitions: ObjectInfo, version: string | undefined): string {
  const classes = Object.entries(definitions).map(([name, { python_module }]) => `${name}\0${python_module ?? ''}`)
  return createHash('sha256')
    .update([version ?? '', ...classes.sort()].join('\n'))
    .digest('hex')
    .slice(0, 16)
}

function read(file: string): CachedDefinitions | null {
  try {
    const kept = parseJsonWithFloats(gunzipSync(readFileSync(file)).toString('utf8'))
    if (!isJsonObject(kept) || !isJsonObject(kept.definitions) || typeof kept.at !== 'number') return null
    const version = typeof kept.version === 'string' ? kept.version : undefined
    return { definitions: kept.definitions as unknown as ObjectInfo, version, at: kept.at }
  } catch {
    return null
  }
}
