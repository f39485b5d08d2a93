#!/usr/bin/env node
// The front door beside a GPU: plain Node, nothing of the app. Says one JSON line per event.
import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { Card } from '../core/contract/engine.ts'
import { AppError, toFailure } from '../core/contract/errors.ts'
import { type JsonObject, parseJson, writeJson } from '../core/contract/json.ts'
import { Mirrors } from '../core/contract/mirror.ts'
import { hideSecrets } from '../core/engine/log.ts'
import { credentialsIn, isS3 } from '../core/engine/store/open-store.ts'
import { type RunningAgent, startAgent } from './agent.ts'

const CREDENTIALS = ['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY', 'AWS_SESSION_TOKEN']
const EXIT = { usage: 2, environment: 4 }
const tell = (event: string, facts: JsonObject) => process.stdout.write(`${writeJson({ event, ...facts })}\n`)
const log = (event: string, facts: JsonObject) =>
  process.stderr.write(`${hideSecrets(writeJson({ time: new Date().toISOString(), event, ...facts }))}\n`)

let agent: RunningAgent | undefined
let graceMs = 30_000
let wanted = false
const stop = () => {
  wanted = true
  agent?.stop(graceMs).then(
    () => {
      tell('done', { ok: true })
      process.exit(0)
    },
    () => process.exit(1),
  )
}
for (const name of ['SIGTERM', 'SIGINT', 'SIGHUP', 'disconnect'] as const) process.on(name, stop)
for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {}) // whoever read along has gone

try {
  const { values } = readArgs()
  graceMs = numberOf('--grace', values.grace, 3_600) * 1000
  const store = isS3(values.store) ? values.store : path.resolve(values.store)
  // where the store is far away, or shared by several machines, this should be a disk of this one
  const cache = path.resolve(values.cache ?? (isS3(store) ? 'nightshift-agent-cache' : path.join(store, 'cache')))
  const { keys, keyFile } = await readKeys(values['api-key-file'], isS3(store) ? cache : store)
  const credentials = credentialsIn(process.env)
  for (const name of CREDENTIALS) delete process.env[name] // custom nodes run with what is left of it
  const publishing = values.snapshot !== undefined || values.models.length > 0
  const worker = values.worker.length > 0 ? values.worker : publishing ? [] : ['rehearsal']
  if (worker.includes('rehearsal') && worker.length > 1)
    throw new AppError('app.usage', { reason: '--worker rehearsal stands alone' })
  agent = await startAgent({
    host: values.host,
    port: numberOf('--port', values.port, 65_535),
    names: values.name,
    origins: values.origin,
    webhookHosts: values['webhook-host'],
    keys,
    store,
    credentials,
    cache,
    worker: worker[0] === 'rehearsal' ? 'rehearsal' : worker.filter((each) => each !== 'none'),
    snapshot: values.snapshot ?? null,
    models: values.models.map((dir) => path.resolve(dir)),
    python: values.python ?? null,
    cards: cardsOf(values.card),
    workers: values.workers === undefined ? null : Math.max(1, numberOf('--workers', values.workers, 16)),
    trusted: values['trusted-key'] ?? null,
    mirrors: await readMirrors(),
    pageDir: [path.join(import.meta.dirname, 'form'), path.join(import.meta.dirname, '../out/agent/form')].find(
      existsSync,
    ),
    env: process.env,
    inFlight: Math.max(1, numberOf('--in-flight', values['in-flight'], 64)),
    managed: process.env.FC_FUNCTION_NAME !== undefined, // Function Compute says so
    log,
  })
  tell('listening', { url: agent.url, ...(keyFile !== null && { keyFile }) })
  if (wanted) stop()
} catch (cause) {
  const { code, message, remedy, facts } = toFailure(cause)
  tell('error', { code, message, remedy, facts })
  process.exitCode = /^(app\.usage|worker\.bad-address|store\.bad-address|input\.missing)$/.test(code)
    ? EXIT.usage
    : EXIT.environment
  if (process.connected) process.disconnect()
}

function readArgs() {
  try {
    return parseArgs({
      options: {
        host: { type: 'string', default: '127.0.0.1' },
        port: { type: 'string', default: '9000' },
        worker: { type: 'string', multiple: true, default: listOf(process.env.NIGHTSHIFT_WORKER) },
        workers: { type: 'string' },
        card: { type: 'string', multiple: true, default: [] },
        snapshot: { type: 'string', default: process.env.NIGHTSHIFT_SNAPSHOT || undefined },
        models: { type: 'string', multiple: true, default: listOf(process.env.NIGHTSHIFT_MODELS) },
        python: { type: 'string' },
        cache: { type: 'string', default: process.env.NIGHTSHIFT_CACHE || undefined },
        'trusted-key': { type: 'string', default: process.env.NIGHTSHIFT_TRUSTED_KEY || undefined },
        store: { type: 'string', default: process.env.NIGHTSHIFT_STORE ?? 'nightshift-agent' },
        'api-key-file': { type: 'string' },
        name: { type: 'string', multiple: true, default: [] },
        origin: { type: 'string', multiple: true, default: [] },
        'webhook-host': { type: 'string', multiple: true, default: [] },
        'in-flight': { type: 'string', default: '2' },
        grace: { type: 'string', default: '30' },
      },
    })
  } catch (cause) {
    throw new AppError('app.usage', { reason: (cause as Error).message }, { cause })
  }
}

/** A key a line; where none is given, one is made and kept in the store. */
async function readKeys(given: string | undefined, store: string): Promise<{ keys: string[]; keyFile: string | null }> {
  const fromEnv = process.env.NIGHTSHIFT_API_KEY
  delete process.env.NIGHTSHIFT_API_KEY
  if (given === undefined && fromEnv) return { keys: [fromEnv], keyFile: null }
  const file = path.resolve(given ?? path.join(store, 'api-key'))
  const text = await readFile(file, 'utf8').catch(() => null)
  if (text === null && given !== undefined) throw new AppError('input.missing', { name: given })
  const keys = (text ?? '')
    .split(/\r?\n/)
    .map((line) => line.trim())
    .filter((line) => line !== '')
  if (keys.length > 0) return { keys, keyFile: given === undefined ? file : null }
  if (given !== undefined) throw new AppError('app.usage', { reason: `there is no key in ${given}` })
  const key = `sk_${randomBytes(32).toString('base64url')}`
  await mkdir(store, { recursive: true, mode: 0o700 })
  await writeFile(file, `${key}\n`, { mode: 0o600 })
  return { keys: [key], keyFile: file }
}

/** @throws AppError 'app.usage' */
function cardsOf(given: readonly string[]): string[] | null {
  const cards = given.flatMap((each) => each.split(','))
  if (cards.some((card) => !Card.safeParse(card).success))
    throw new AppError('app.usage', { reason: '--card is cpu, auto, or numbers of cards such as 0,1' })
  return cards.length === 0 ? null : cards
}

function listOf(text: string | undefined): string[] {
  return (text ?? '').split(',').filter((each) => each !== '')
}

/** Beside the bundle, or where the sources are. */
async function readMirrors(): Promise<Mirrors> {
  for (const up of ['..', '../..']) {
    const file = path.resolve(import.meta.dirname, up, 'resources', 'mirrors.json')
    const text = await readFile(file, 'utf8').catch(() => null)
    if (text !== null) return Mirrors.parse(parseJson(text))
  }
  return Mirrors.parse({})
}

function numberOf(option: string, value: string, most: number): number {
  if (/^\d{1,6}$/.test(value) && Number(value) <= most) return Number(value)
  throw new AppError('app.usage', { reason: `${option} is a whole number up to ${most}, not ${value}` })
}
