import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { type Failure, toFailure } from '../../core/contract/errors.ts'
import { isJsonObject, type Json, parseJson } from '../../core/contract/json.ts'
import { type Command, EXIT, exitCodeOf, sayOption } from './context.ts'
import { hearInterruption } from './interruption.ts'

/** `agent`: the program that sits beside a GPU, here; a process of its own, as it is there, with options of its own. */
export const agent: Command = async ({ terminal, dataDir, cwd, env }, args) => {
  const { agent: said } = terminal.speech.words
  const hasStore = env.NIGHTSHIFT_STORE || args.some((arg) => /^--store(=|$)/.test(arg))
  const interrupt = hearInterruption(EXIT.interrupted)
  const child = spawn(
    process.execPath,
    [program(), ...(hasStore ? [] : [`--store=${path.join(dataDir, 'agent')}`]), ...args],
    { cwd, env, stdio: ['ignore', 'pipe', 'inherit', 'ipc'] },
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
        const failure = sayOption(facts as unknown as Failure, terminal)
        terminal.failure(failure)
        failed = exitCodeOf(failure)
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
