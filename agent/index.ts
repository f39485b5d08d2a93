#!/usr/bin/env node
// The front door beside a GPU: plain Node, nothing of the app. Says one JSON line per event.
import { randomBytes } from 'node:crypto'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { AppError, toFailure } from '../core/contract/errors.ts'
import { type JsonObject, writeJson } from '../core/contract/json.ts'
import { hideSecrets } from '../core/engine/log.ts'
import { type RunningAgent, startAgent } from './agent.ts'

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
  const store = path.resolve(values.store)
  const { keys, keyFile } = await readKeys(values['api-key-file'], store)
  agent = await startAgent({
    host: values.host,
    port: numberOf('--port', values.port, 65_535),
    names: values.name,
    origins: values.origin,
    keys,
    store: path.join(store, 'tasks'),
    worker: values.worker,
    inFlight: Math.max(1, numberOf('--in-flight', values['in-flight'], 64)),
    managed: process.env.FC_FUNCTION_NAME !== undefined, // Function Compute says so
    log,
  })
  tell('listening', { url: agent.url, ...(keyFile !== null && { keyFile }) })
  if (wanted) stop()
} catch (cause) {
  const { code, message, remedy, facts } = toFailure(cause)
  tell('error', { code, message, remedy, facts })
  process.exitCode = /^(app\.usage|worker\.bad-address|input\.missing)$/.test(code) ? EXIT.usage : EXIT.environment
  if (process.connected) process.disconnect()
}

function readArgs() {
  try {
    return parseArgs({
      options: {
        host: { type: 'string', default: '127.0.0.1' },
        port: { type: 'string', default: '9000' },
        worker: { type: 'string', default: process.env.NIGHTSHIFT_WORKER ?? 'rehearsal' },
        store: { type: 'string', default: process.env.NIGHTSHIFT_STORE ?? 'nightshift-agent' },
        'api-key-file': { type: 'string' },
        name: { type: 'string', multiple: true, default: [] },
        origin: { type: 'string', multiple: true, default: [] },
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

function numberOf(option: string, value: string, most: number): number {
  if (/^\d{1,6}$/.test(value) && Number(value) <= most) return Number(value)
  throw new AppError('app.usage', { reason: `${option} is a whole number up to ${most}, not ${value}` })
}
