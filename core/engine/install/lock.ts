import { createHash } from 'node:crypto'
import { readdir, readFile, stat } from 'node:fs/promises'
import path from 'node:path'
import { z } from 'zod'
import { parseJson, writeJson } from '../../contract/json.ts'
import { writeWhole } from '../write-whole.ts'

/** What an environment is made of. The hash is that of a package's RECORD, which holds those of all its files. */
export const Lock = z.object({
  packages: z.record(z.string(), z.object({ version: z.string(), recordSha256: z.string() })),
  /** Files that were not as their package says already then. */
  exceptions: z.array(z.string()).default([]),
})
export type Lock = z.infer<typeof Lock>
export interface Damage {
  readonly package: string
  readonly version: string
  /** null: the whole package is gone. */
  readonly file: string | null
}

const LOCK = 'lock.json'
const AT_ONCE = 64
/** Written by what runs, not by who installed. */
const LEFT_OUT =
  /(?:^|\/)__pycache__\/|\.pyc$|\.dist-info\/(?:RECORD|INSTALLER|REQUESTED|direct_url\.json|uv_cache\.json)$/

export async function sitePackages(generation: string): Promise<string> {
  const venv = path.join(generation, 'venv')
  for (const name of await readdir(path.join(venv, 'lib')).catch(() => [] as string[]))
    if (/^python3/.test(name)) return path.join(venv, 'lib', name, 'site-packages')
  return path.join(venv, 'Lib', 'site-packages')
}

export const readLock = async (generation: string): Promise<Lock | null> => {
  const text = await readFile(path.join(generation, LOCK), 'utf8').catch(() => null)
  return text === null ? null : Lock.parse(parseJson(text))
}

/** `name==version`, a line each. */
export const requirementsIn = ({ packages }: Lock): string[] =>
  Object.entries(packages).map(([name, { version }]) => `${name}==${version}`)

export async function writeLock(generation: string): Promise<Lock> {
  const site = await sitePackages(generation)
  const packages: Lock['packages'] = {}
  for (const info of (await readdir(site)).toSorted()) {
    const [, name, version] = /^(.+?)-([^-]+)\.dist-info$/.exec(info) ?? []
    if (!name || !version) continue
    const record = await readFile(path.join(site, info, 'RECORD')).catch(() => null)
    if (record) packages[normal(name)] = { version, recordSha256: sha256(record) }
  }
  const lock: Lock = { packages, exceptions: [] }
  const before = await damageIn(generation, lock)
  lock.exceptions = before.flatMap(({ file }) => (file === null ? [] : [file]))
  await writeWhole(path.join(generation, LOCK), writeJson(lock as never))
  return lock
}

/** What is no longer as it was installed: packages gone or of another version, files gone or of another size. */
export async function damageIn(generation: string, lock: Lock): Promise<Damage[]> {
  const site = await sitePackages(generation)
  const infos = new Map<string, { info: string; version: string }>()
  for (const info of await readdir(site).catch(() => [] as string[])) {
    const [, name, version] = /^(.+?)-([^-]+)\.dist-info$/.exec(info) ?? []
    if (name && version) infos.set(normal(name), { info, version })
  }
  const excepted = new Set(lock.exceptions)
  const damages: Damage[] = []
  for (const [name, { version, recordSha256 }] of Object.entries(lock.packages)) {
    const found = infos.get(name)
    const record = found && (await readFile(path.join(site, found.info, 'RECORD')).catch(() => null))
    if (!found || !record) damages.push({ package: name, version, file: null })
    else if (sha256(record) !== recordSha256) damages.push({ package: name, version, file: `${found.info}/RECORD` })
    else {
      const file = await firstDamaged(site, filesIn(record.toString('utf8')), excepted)
      for (const each of file) damages.push({ package: name, version, file: each })
    }
  }
  return damages
}

async function firstDamaged(
  site: string,
  files: readonly { name: string; size: number | null }[],
  excepted: Set<string>,
) {
  const damaged: string[] = []
  for (let at = 0; at < files.length; at += AT_ONCE) {
    const some = files.slice(at, at + AT_ONCE)
    await Promise.all(
      some.map(async ({ name, size }) => {
        const found = await stat(path.join(site, name)).catch(() => null)
        if ((found && (size === null || found.size === size)) || excepted.has(name)) return
        damaged.push(name)
      }),
    )
  }
  return damaged
}

/** `name,sha256=…,size` a line, names with commas in quotes. Pure. */
export function filesIn(record: string): { name: string; size: number | null }[] {
  return record.split(/\r?\n/).flatMap((line) => {
    const [, quoted, plain, size] = /^(?:"((?:[^"]|"")*)"|([^,]+)),[^,]*,(\d*)$/.exec(line) ?? []
    const name = quoted?.replaceAll('""', '"') ?? plain
    // entry scripts name the Python they were made for
    if (name === undefined || LEFT_OUT.test(name) || /^\.\.\//.test(name)) return []
    return [{ name, size: size ? Number(size) : null }]
  })
}

/** Packages whose files their names differ from only in these are one. */
export const normal = (name: string) => name.toLowerCase().replace(/[-_.]+/g, '-')
const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')
