import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { toFailure } from '../../core/contract/errors.ts'
import { isJsonObject, type Json, parseJson } from '../../core/contract/json.ts'
import { type Command, EXIT, exitCodeOf, parseOptions, usageError } from './context.ts'
import { hearInterruption } from './interruption.ts'

/** `agent`: the program that sits beside a GPU, here; a process of its own, as it is there. */
export const agent: Command = async ({ terminal, dataDir, cwd, env }, args) => {
  const { agent: said, reason } = terminal.speech.words
  const { values, positionals } = parseOptions(args, {
    host: { type: 'string', default: '127.0.0.1' },
    port: { type: 'string', default: '9000' },
    worker: { type: 'string', multiple: true, default: [] },
    workers: { type: 'string' },
    card: { type: 'string', multiple: true, default: [] },
    snapshot: { type: 'string' },
    models: { type: 'string', multiple: true, default: [] },
    python: { type: 'string' },
    cache: { type: 'string' },
    'trusted-key': { type: 'string' },
    store: { type: 'string' },
    'api-key-file': { type: 'string' },
    name: { type: 'string', multiple: true, default: [] },
    origin: { type: 'string', multiple: true, default: [] },
    'webhook-host': { type: 'string', multiple: true, default: [] },
    'in-flight': { type: 'string', default: '2' },
    grace: { type: 'string', default: '30' },
  })
  if (positionals[0] !== undefined) throw usageError(reason.tooMany, { value: positionals[0] })
  const at = (place: string) => (/^s3:\/\//i.test(place) ? place : path.resolve(cwd, place))
  const store = values.store === undefined ? path.join(dataDir, 'agent') : at(values.store)
  // what restores an environment may be a program on the path
  const python = values.python?.includes('/') ? at(values.python) : values.python
  const given = (name: string, value: string | undefined) => (value === undefined ? [] : [`--${name}=${value}`])
  const each = (name: string, all: readonly string[]) => all.map((value) => `--${name}=${value}`)
  const interrupt = hearInterruption(EXIT.interrupted)
  const child = spawn(
    process.execPath,
    [
      program(),
      ...(['host', 'port', 'in-flight', 'grace', 'workers', 'snapshot', 'trusted-key'] as const).flatMap((name) =>
        given(name, values[name]),
      ),
      `--store=${store}`,
      ...given('cache', values.cache && at(values.cache)),
      ...given('python', python),
      ...given('api-key-file', values['api-key-file'] && at(values['api-key-file'])),
      ...each('worker', values.worker),
      ...each('card', values.card),
      ...each('models', values.models.map(at)),
      ...each('name', values.name),
      ...each('origin', values.origin),
      ...each('webhook-host', values['webhook-host']),
    ],
    { env, stdio: ['ignore', 'pipe', 'inherit', 'ipc'] },
  )
  const leave = () => child.connected && child.disconnect() // as when we die: it ends in peace
  interrupt.signal.addEventListener('abort', leave)
  const exited = once(child, 'exit')
  let failed: number | null = null
  try {
    for await (const line of createInterface({ input: child.stdout! })) {
      const { event, ...facts } = read(line)
      if (typeof event !== 'string') continue
      if (event === 'error') {
        const failure = { code: '', message: '', remedy: '', facts: {}, ...facts }
        terminal.failure(failure)
        failed = exitCodeOf(failure as Parameters<typeof exitCodeOf>[0])
        continue
      }
      terminal.event(event, facts)
      if (event !== 'listening' || terminal.json) continue
      terminal.say(said.listening, { url: facts.url ?? '' })
      if (facts.keyFile !== undefined) terminal.note(said.key, { file: facts.keyFile })
    }
    const [code] = (await exited) as [number | null]
    return failed ?? code ?? EXIT.environment
  } catch (cause) {
    terminal.failure(toFailure(cause))
    return EXIT.environment
  } finally {
    interrupt.signal.removeEventListener('abort', leave)
    interrupt.end()
  }
}

function read(line: string): Record<string, Json> {
  try {
    const said = parseJson(line)
    return isJsonObject(said) ? said : {}
  } catch {
    return {}
  }
}

/** Beside this bundle, or from the sources. */
function program(): string {
  const bundled = path.resolve(import.meta.dirname, '../agent/index.js')
  return existsSync(bundled) ? bundled : path.resolve(import.meta.dirname, '../../agent/index.ts')
}
