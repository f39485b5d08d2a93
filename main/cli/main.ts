import { FailureError, toFailure } from '../../core/contract/errors.ts'
import { dataDirOf } from '../services/data-folder.ts'
import { version } from '../version.ts'
import {
  type Command,
  type Context,
  EXIT,
  exitCodeOf,
  onlyArgument,
  sayOption,
  takeGlobals,
  usageError,
} from './context.ts'
import { Terminal } from './terminal.ts'
import { speechIn } from './words.ts'

/** Loaded when asked for: most commands need little of the app. */
const commands: Record<string, () => Promise<Command>> = {
  serve: async () => (await import('../headless.ts')).serve,
  run: async () => (await import('./run.ts')).run,
  import: async () => (await import('./import.ts')).importFiles,
  inspect: async () => (await import('./look.ts')).inspect,
  convert: async () => (await import('./look.ts')).convert,
  queue: async () => (await import('./queue.ts')).queue,
  workers: async () => (await import('./workers.ts')).workers,
  engine: async () => (await import('./engine.ts')).engine,
  nodes: async () => (await import('./nodes.ts')).nodes,
  models: async () => (await import('./models.ts')).models,
  endpoint: async () => (await import('./endpoint.ts')).endpoint,
  snapshot: async () => (await import('./snapshot.ts')).snapshot,
  agent: async () => (await import('./agent.ts')).agent,
  downloads: async () => (await import('./downloads.ts')).downloads,
  mirrors: async () => (await import('./mirrors.ts')).mirrors,
  help: async () => help,
  version:
    async () =>
    async ({ terminal }) => {
      terminal.event('version', { version, node: process.versions.node })
      if (!terminal.json) terminal.say(version)
      return EXIT.ok
    },
}
/** They print one JSON document, not events. */
const DOCUMENTS = ['inspect', 'convert']

/** Runs one command line; gives the exit code. */
export async function runCli(args: readonly string[], env = process.env): Promise<number> {
  let terminal = new Terminal(args.includes('--json'), speechIn(undefined, env))
  let name = ''
  try {
    const { globals, rest } = takeGlobals(args)
    terminal = new Terminal(globals.json, speechIn(globals.lang, env))
    const context: Context = { terminal, dataDir: dataDirOf(globals.data, env), env, cwd: callersFolder(env) }
    const [first = '', ...others] = rest
    name = /^(-h|--help)$/.test(first) ? 'help' : /^(-v|--version)$/.test(first) ? 'version' : first
    if (others.some((arg) => arg === '--help' || arg === '-h')) return await help(context, [name])
    const { reason } = terminal.speech.words
    if (name === '') throw usageError(reason.noCommand)
    const load = Object.hasOwn(commands, name) ? commands[name] : undefined
    if (!load) throw usageError(reason.unknownCommand, { name })
    const command = await load()
    const code = await command(context, others)
    return code
  } catch (cause) {
    const failure = sayOption(toFailure(cause), terminal)
    const code = exitCodeOf(failure)
    terminal.endProgress()
    terminal.failure(failure)
    if (failure.code === 'app.internal' && env.NIGHTSHIFT_DEBUG && !(cause instanceof FailureError))
      console.error(cause)
    if (!DOCUMENTS.includes(name)) terminal.event('done', { ok: false })
    return code
  }
}

const help: Command = async (context, args) => {
  const { terminal } = context
  const { help: said, commands: list, usage } = terminal.speech.words
  const name = args[0] === undefined ? '' : onlyArgument(context, args, 'COMMAND')
  if (Object.hasOwn(usage, name)) terminal.say(usage[name as keyof typeof usage])
  else {
    const width = Math.max(...Object.keys(list).map((each) => each.length)) + 2
    const lines = Object.entries(list).map(([each, does]) => `  ${each.padEnd(width)}${does}`)
    const globals = [said.data, said.json, said.lang].map((line) => `  ${line}`)
    terminal.say([said.usage, '', ...lines, '', said.global, ...globals, '', said.more, said.exit].join('\n'))
  }
  terminal.event('done', { ok: true })
  return EXIT.ok
}

/** `npm run` moves to the project's folder and says where it was called. */
function callersFolder(env: NodeJS.ProcessEnv): string {
  const byNpm = env.npm_lifecycle_event === 'cli' || env.npm_lifecycle_event === 'serve'
  return (byNpm && env.INIT_CWD) || process.cwd()
}
