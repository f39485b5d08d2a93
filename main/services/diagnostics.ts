import { open, readdir } from 'node:fs/promises'
import { homedir, hostname, userInfo } from 'node:os'
import path from 'node:path'
import { ZipFile } from 'yazl'
import { writeJson } from '../../core/contract/json.ts'
import { type Private, scrub } from '../../core/domain/scrub.ts'
import { generationDir, readJournal, readPointer } from '../../core/engine/install/generations.ts'
import { readLock, requirementsIn } from '../../core/engine/install/lock.ts'
import { RotatingFile } from '../../core/engine/log.ts'
import type { Clock } from './clock.ts'
import type { Installations } from './installations.ts'
import type { LocalEngine } from './local-engine.ts'
import type { Secrets } from './secrets.ts'

interface Deps {
  readonly dataDir: string
  readonly version: string
  readonly localEngine: LocalEngine
  readonly installations: Installations
  readonly secrets: Pick<Secrets, 'values'>
  readonly clock: Clock
  /** For tests: whose machine it is. */
  readonly who?: Omit<Private, 'secrets'>
}

const TAIL_BYTES = 512 * 1024
const INSTALL_LOGS = 3

/** What somebody who helps needs to know of an engine, in one file, without secrets and names. */
export class Diagnostics {
  readonly #deps: Deps

  constructor(deps: Deps) {
    this.#deps = deps
  }

  /** @throws AppError 'engine.unknown' */
  async bundle(name: string): Promise<{ name: string; mediaType: string; base64: string }> {
    const { clock } = this.#deps
    const zip = new ZipFile()
    const entries = await this.#entries(name)
    const told = this.#private()
    for (const [entry, text] of entries) zip.addBuffer(Buffer.from(scrub(text, told)), entry)
    zip.end()
    const chunks: Uint8Array[] = []
    for await (const chunk of zip.outputStream as AsyncIterable<Uint8Array>) chunks.push(chunk)
    const day = new Date(clock.now()).toISOString().slice(0, 10)
    const bytes = Buffer.concat(chunks)
    return { name: `nightshift-${name}-${day}.zip`, mediaType: 'application/zip', base64: bytes.toString('base64') }
  }

  #private(): Private {
    const { secrets, who } = this.#deps
    const known = who ?? { home: homedir(), user: safely(() => userInfo().username), hostname: hostname() }
    return { ...known, secrets: secrets.values() }
  }

  async #entries(name: string): Promise<Map<string, string>> {
    const { dataDir, version, localEngine, installations, clock } = this.#deps
    const engine = localEngine.view(name)
    const entries = new Map<string, string>()
    const json = (entry: string, value: unknown) => entries.set(entry, pretty(value))
    const logs = path.join(dataDir, 'logs')
    const { versions, platform, arch } = process
    json('versions.json', { nightshift: version, node: versions.node, platform, arch, at: new Date(clock.now()) })
    json('machine.json', await localEngine.machine())
    json('engine.json', engine)
    const { findings } = await installations
      .doctor(name, false)
      .catch((cause: Error) => ({ findings: [{ message: cause.message }] }))
    json('findings.json', findings)
    json('installs.json', installations.viewsOf(name))
    json('generations.json', await installations.generations(name))

    const home = path.join(dataDir, 'engines', name)
    const pointer = readPointer(home)
    for (const id of [pointer?.current, pointer?.previous].filter((each) => typeof each === 'string')) {
      const dir = generationDir(home, id)
      json(`generations/${id}/journal.json`, await readJournal(dir))
      const lock = await readLock(dir).catch(() => null)
      if (lock) entries.set(`generations/${id}/packages.txt`, requirementsIn(lock).join('\n'))
      entries.set(`generations/${id}/trial.log`, await tailOf([path.join(dir, 'trial.log')]))
    }
    if (!pointer) entries.set('packages.txt', (await packagesBeside(engine.python)).join('\n'))

    for (const { generation } of installations.viewsOf(name).slice(0, INSTALL_LOGS)) {
      const file = `install-${name}-${generation}.log`
      entries.set(`logs/${file}`, await tailOf([path.join(logs, file)]))
    }
    for (const { id } of engine.processes) {
      const file = `engine-${id}.log`
      entries.set(`logs/${file}`, await tailOf(RotatingFile.namesOf(path.join(logs, file))))
    }
    entries.set('logs/doctor.log', await tailOf([path.join(logs, `doctor-${name}.log`)]))
    entries.set('logs/nightshift.log', await tailOf(RotatingFile.namesOf(path.join(logs, 'nightshift.log'))))
    return entries
  }
}

/** The end of what several files hold, the oldest first, from the beginning of a line. */
async function tailOf(files: readonly string[]): Promise<string> {
  let text = ''
  for (const file of files.toReversed()) {
    if (text.length >= TAIL_BYTES) break
    const handle = await open(file, 'r').catch(() => null)
    if (!handle) continue
    try {
      const { size } = await handle.stat()
      const from = Math.max(0, size - (TAIL_BYTES - text.length))
      const bytes = Buffer.alloc(size - from)
      await handle.read(bytes, 0, bytes.length, from)
      const read = bytes.toString('utf8')
      text = (from === 0 ? read : read.slice(read.indexOf('\n') + 1)) + text
    } finally {
      await handle.close()
    }
  }
  return text
}

/** Of an adopted one: the packages in the environment of its Python. */
async function packagesBeside(python: string): Promise<string[]> {
  const root = path.dirname(path.dirname(python))
  const libraries = await readdir(path.join(root, 'lib')).catch(() => [])
  const sites = [
    ...libraries.filter((each) => /^python3/.test(each)).map((each) => path.join(root, 'lib', each, 'site-packages')),
    path.join(path.dirname(python), 'Lib', 'site-packages'),
    path.join(root, 'Lib', 'site-packages'),
  ]
  const found = await Promise.all(sites.map((site) => readdir(site).catch(() => [] as string[])))
  const names = found.flat().flatMap((entry) => /^(.+?)-([^-]+)\.dist-info$/.exec(entry)?.slice(1, 3).join('==') ?? [])
  return [...new Set(names)].toSorted()
}

const pretty = (value: unknown) => writeJson(value as never, 2)

function safely(read: () => string): string {
  try {
    return read()
  } catch {
    return ''
  }
}
