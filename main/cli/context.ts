import { createReadStream, existsSync } from 'node:fs'
import { readFile, stat } from 'node:fs/promises'
import path from 'node:path'
import { type ParseArgsConfig, parseArgs } from 'node:util'
import { AppError, type Facts, type Failure, fill, toFailure } from '../../core/contract/errors.ts'
import { writeJson } from '../../core/contract/json.ts'
import { firstFile } from '../../core/engine/metadata/read-file.ts'
import { openFile } from '../../core/engine/metadata/source.ts'
import type { Terminal } from './terminal.ts'
import { speechIn } from './words.ts'

/** What a command is given. */
export interface Context {
  readonly terminal: Terminal
  readonly dataDir: string
  readonly env: NodeJS.ProcessEnv
  /** Relative paths are the caller's, also when npm has moved to the project's folder. */
  readonly cwd: string
}
/** Gives the exit code. */
export type Command = (context: Context, args: string[]) => Promise<number>

export const EXIT = { ok: 0, someFailed: 1, usage: 2, refused: 3, environment: 4, interrupted: 130 } as const

/** A change of custom nodes that would break what works, or that nobody agreed to. */
const NODES_REFUSED =
  /^nodes\.(clash|needs-consent|not-allowed|locked-changed|broken|classes-gone|changed-files|unsafe|withdrawn|undoes-more)$/
const NODES_USAGE = /^nodes\.(unknown-item|ambiguous|bad-snapshot|already|not-a-node|no-source|no-undo)$/
/** What was named is not there, could be several, or cannot be such a name. */
const MISNAMED = /\.(unknown|which-engine|bad-name|bad-address|name-taken|duplicate)$/

/** Whose fault a failure is, as an exit code. */
export function exitCodeOf({ code }: Pick<Failure, 'code'>): number {
  if (code === 'app.interrupted') return EXIT.interrupted
  if (['convert.would-lose', 'prompt.paid', 'model.unsafe', 'snapshot.secrets', 'publish.different'].includes(code))
    return EXIT.refused
  if (NODES_REFUSED.test(code)) return EXIT.refused
  if (NODES_USAGE.test(code)) return EXIT.usage
  if (['app.usage', 'app.bad-request', 'app.too-large', 'app.not-found', 'app.unknown-procedure'].includes(code))
    return EXIT.usage
  if (MISNAMED.test(code)) return EXIT.usage
  if (['worker.shares-several', 'engine.not-found', 'engine.flag-ours'].includes(code)) return EXIT.usage
  if (/^publish\.(missing|no|paid|busy)/.test(code)) return EXIT.usage
  if (code === 'batch.no-worker') return EXIT.environment
  return /^(import|convert|parameter|table|batch|input|prompt)\./.test(code) ? EXIT.usage : EXIT.environment
}

export const usageError = (sentence: string, facts: Facts = {}) =>
  new AppError('app.usage', { reason: fill(sentence, facts) })

type Options = NonNullable<ParseArgsConfig['options']>

/** @throws AppError 'app.usage' */
export function parseOptions<const O extends Options>(args: string[], options: O) {
  try {
    return parseArgs({ args, options, allowPositionals: true, strict: true })
  } catch (cause) {
    throw new AppError('app.usage', { reason: (cause as Error).message }, { cause })
  }
}

/** What Node says of an option, in the person's language. */
export function sayOption(failure: Failure, { speech }: Terminal): Failure {
  const [, what = '', named = ''] =
    /^(Unknown option|Option|Unexpected argument) '(?:-\w, )?(--?[\w-]+|[^']*)/.exec(String(failure.facts.reason)) ?? []
  const { unknownOption, optionValue, tooMany } = speech.words.reason
  const said = { 'Unknown option': unknownOption, Option: optionValue, 'Unexpected argument': tooMany }[what]
  if (failure.code !== 'app.usage' || said === undefined) return failure
  return toFailure(usageError(said, { option: named, value: named }))
}

const GLOBAL = { data: 'value', lang: 'value', json: 'switch' } as const

/** Takes --data, --lang and --json out of the arguments, wherever they stand. */
export function takeGlobals(args: readonly string[]) {
  const rest: string[] = []
  const globals: { data?: string; lang?: string; json: boolean } = { json: false }
  for (let at = 0; at < args.length; at += 1) {
    const [, name = '', value] = /^--([a-z]+)(?:=(.*))?$/s.exec(args[at]!) ?? []
    if (args[at] === '--') return { globals, rest: [...rest, ...args.slice(at)] }
    if (!(name in GLOBAL)) rest.push(args[at]!)
    else if (name === 'json') globals.json = true
    else {
      const given = value ?? args[++at]
      if (given === undefined) throw new AppError('app.usage', { reason: `--${name} needs a value` })
      globals[name as 'data' | 'lang'] = given
    }
  }
  if (globals.lang !== undefined && !/^(zh|en)\b/.test(globals.lang))
    throw new AppError('app.usage', { reason: `--lang is zh or en, not ${globals.lang}` })
  return { globals, rest }
}

/** Exactly one positional argument. */
export function onlyArgument({ terminal }: Context, positionals: string[], what: string): string {
  const { reason } = terminal.speech.words
  const [value, extra] = positionals
  if (value === undefined) throw usageError(reason.missing, { what })
  if (extra !== undefined) throw usageError(reason.tooMany, { value: extra })
  return value
}

export function wholeNumber({ terminal }: Context, option: string, value: string): number {
  if (!/^-?\d{1,15}$/.test(value)) throw usageError(terminal.speech.words.reason.notNumber, { option, value })
  return Number(value)
}

/** `HOST:PORT`, or a port of every address. */
export function hostAndPort(
  { terminal }: Context,
  option: string,
  value: string,
  host = '0.0.0.0',
): { host: string; port: number } {
  const [, bracketed, plain, digits] = /^(?:(?:\[([\da-f:]+)\]|([\w.-]+)):)?(\d{1,5})$/i.exec(value) ?? []
  const port = Number(digits)
  if (digits === undefined || port > 65_535)
    throw usageError(terminal.speech.words.reason.notAddress, { option, value })
  return { host: bracketed ?? plain ?? host, port }
}

/** `NAME=VALUE`, split at the first `=`. */
export function pair({ terminal }: Context, option: string, value: string): [string, string] {
  const at = value.indexOf('=')
  if (at < 1) throw usageError(terminal.speech.words.reason.notPair, { option, value })
  return [value.slice(0, at), value.slice(at + 1)]
}

const MiB = 1024 * 1024
const LIMIT_MIB = 64

/** A file's bytes; what is larger than 64 MiB is refused by its size, unread. */
export async function readInput({ cwd }: Context, file: string, tooLarge: 'import.too-large' | 'app.too-large') {
  const full = path.resolve(cwd, file)
  const name = path.basename(full)
  try {
    const found = await stat(full)
    const refuse = (size: number) =>
      new AppError(tooLarge, { name, sizeMiB: Math.ceil(size / MiB), limitMiB: LIMIT_MIB })
    if (found.size > LIMIT_MIB * MiB) throw refuse(found.size)
    if (found.isFile()) return { name, path: full, bytes: await readFile(full) }
    // a pipe or a device does not say how much it has, and may never end
    const parts: Buffer[] = []
    let size = 0
    for await (const part of createReadStream(full) as AsyncIterable<Buffer>) {
      parts.push(part)
      size += part.length
      if (size > LIMIT_MIB * MiB) throw refuse(size)
    }
    return { name, path: full, bytes: Buffer.concat(parts) }
  } catch (cause) {
    if (cause instanceof AppError) throw cause
    throw new AppError('input.missing', { name: file }, { cause })
  }
}

/** The first key of a list as an agent reads it: what it opens stands behind it, and lines of `#` are none; else empty. */
export async function readKeyFile(context: Context, file: string): Promise<string> {
  const text = (await readInput(context, file, 'app.too-large')).bytes.toString('utf8')
  const line = text.split('\n').find((each) => /^\s*[^\s#]/.test(each)) ?? ''
  return line.trim().split(/\s/)[0]!
}

/**
 * A workflow file of any size and kind. Of a video or model above 64 MiB, the texts in it, as JSON. `source` is what to
 * import: a pipe's bytes can be read only once.
 * @throws AppError 'input.missing', import.*
 */
export async function readWorkflowInput(context: Context, file: string) {
  const full = path.resolve(context.cwd, file)
  const found = await stat(full).catch(() => null)
  if (!found?.isFile() || found.size <= LIMIT_MIB * MiB) {
    const read = await readInput(context, file, 'import.too-large')
    const source = found?.isFile() ? { path: full } : { name: read.name, base64: read.bytes.toString('base64') }
    return { ...read, source, container: undefined }
  }
  const name = path.basename(full)
  const source = openFile(full)
  try {
    const { texts, container } = firstFile(name, source)
    const bytes = Buffer.from(writeJson(texts))
    return { name: `${path.parse(name).name}.json`, path: full, bytes, source: { path: full }, container }
  } finally {
    source.close()
  }
}

/** The built pages: beside the bundle, or under `out` when run from the sources. */
export function rendererDir(): string {
  const bundled = path.resolve(import.meta.dirname, '../renderer')
  return existsSync(path.join(bundled, 'index.html'))
    ? bundled
    : path.resolve(import.meta.dirname, '../../out/renderer')
}

export const localeOf = (env: NodeJS.ProcessEnv) => speechIn(undefined, env).language
