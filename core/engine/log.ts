import { closeSync, fstatSync, mkdirSync, openSync, renameSync, rmSync, writeSync } from 'node:fs'
import path from 'node:path'
import { type Logger, pino } from 'pino'
import { KEYS } from '../domain/scrub.ts'

export type Log = Logger

const ROTATE_AT_BYTES = 5 * 1024 * 1024
const KEPT_FILES = 4
const HIDDEN = '[hidden]'
const SECRETS = ['token', 'header', 'headers', 'authorization', 'cookie', 'password', 'apiKey', 'secret']

/** One JSON line per event, in a folder that never grows beyond a few files. Secrets stay out of it. */
export function openLog({ dir, level = 'info' }: { dir: string; level?: string }): { log: Log; close(): void } {
  const file = new RotatingFile(path.join(dir, 'nightshift.log'))
  const log = pino(
    {
      level,
      base: { pid: process.pid },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      redact: { paths: SECRETS.flatMap((name) => [name, `*.${name}`, `*.*.${name}`]), censor: HIDDEN },
      hooks: { streamWrite: hideSecrets },
    },
    file,
  )
  return { log, close: () => file.close() }
}

/** What a person may paste into an address or a message: keys, bearer tokens, `user:password@` (an @ may be in it). */
export function hideSecrets(line: string): string {
  return line
    .replace(/([#?&](?:t|token|key|api_?key|access_token)=)[^&\s"\\]+/gi, `$1${HIDDEN}`)
    .replace(/\b(Bearer|Basic)\s+[\w.~+/=-]{6,}/gi, `$1 ${HIDDEN}`)
    .replace(/(\b[a-z][a-z\d+.-]{0,15}:\/\/)[^/\s:@"]{1,200}:[^/\s"]{1,500}@/gi, `$1${HIDDEN}@`)
    .replace(KEYS, HIDDEN)
}

/** `name.log`, and `name.log.1` … the older the higher. Writes at once: a crash loses no line. */
export class RotatingFile {
  readonly #file: string
  readonly #rotateAtBytes: number
  #handle: number | null = null
  #size = 0

  constructor(file: string, { rotateAtBytes = ROTATE_AT_BYTES } = {}) {
    this.#file = file
    this.#rotateAtBytes = rotateAtBytes
    mkdirSync(path.dirname(file), { recursive: true, mode: 0o700 })
  }

  /** A log that cannot be written (disk full) must not stop the work. */
  write(line: string) {
    try {
      if (this.#handle === null) this.#open()
      if (this.#size > this.#rotateAtBytes) this.#rotate()
      this.#size += writeSync(this.#handle!, line)
    } catch {
      this.close()
    }
  }

  close() {
    if (this.#handle !== null) closeSync(this.#handle)
    this.#handle = null
  }

  /** Those that may be there, oldest first. */
  files(): string[] {
    return RotatingFile.namesOf(this.#file)
  }
  static namesOf(file: string): string[] {
    const older = Array.from({ length: KEPT_FILES }, (_, at) => `${file}.${KEPT_FILES - at}`)
    return [...older, file]
  }

  #open() {
    this.#handle = openSync(this.#file, 'a', 0o600)
    this.#size = fstatSync(this.#handle).size
  }

  #rotate() {
    this.close()
    rmSync(`${this.#file}.${KEPT_FILES}`, { force: true })
    for (let at = KEPT_FILES - 1; at >= 0; at -= 1) {
      const from = at === 0 ? this.#file : `${this.#file}.${at}`
      try {
        renameSync(from, `${this.#file}.${at + 1}`)
      } catch {} // not there yet
    }
    this.#open()
  }
}
