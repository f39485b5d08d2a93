import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import path from 'node:path'
import {
  type Command,
  type Context,
  EXIT,
  hostAndPort,
  localeOf,
  parseOptions,
  rendererDir,
  usageError,
  wholeNumber,
} from './cli/context.ts'
import { hearInterruption } from './cli/interruption.ts'
import { killPoint } from './kill-point.ts'
import { type Host, openHost } from './open-host.ts'

const LOOPBACK = ['127.0.0.1', 'localhost', '::1']

/** `serve`: the app for a browser, until it is told to stop. */
export const serve: Command = async (context, args) => {
  const { terminal, dataDir, env } = context
  const { serve: said, reason } = terminal.speech.words
  const { values, positionals } = parseOptions(args, {
    host: { type: 'string', default: '127.0.0.1' },
    port: { type: 'string', default: '8420' },
    share: { type: 'string' },
    tasks: { type: 'string' },
    open: { type: 'boolean', default: false },
  })
  if (positionals[0] !== undefined) throw usageError(reason.tooMany, { value: positionals[0] })
  const port = wholeNumber(context, '--port', values.port)
  if (port < 0 || port > 65_535) throw usageError(reason.notNumber, { option: '--port', value: values.port })

  const share = values.share === undefined ? undefined : hostAndPort(context, '--share', values.share)
  const tasks = values.tasks === undefined ? undefined : hostAndPort(context, '--tasks', values.tasks, '127.0.0.1')

  const interrupt = hearInterruption(EXIT.interrupted)
  await buildPages(context)
  const host = await openHost({
    dataDir,
    door: 'headless',
    locale: localeOf(env),
    share,
    tasks,
    point: killPoint(env.NIGHTSHIFT_KILL_AT, env.NIGHTSHIFT_KILL_PID),
  })
  try {
    const { url, urlOnce } = await host.serve({ host: values.host, port, rendererDir: rendererDir() })
    terminal.event('listening', { url })
    if (!terminal.json) terminal.say(said.listening, { url })
    if (!LOOPBACK.includes(values.host)) terminal.note(said.open, { host: values.host })
    await tellDoors(context, host)
    if (values.open && !env.CI && !env.NIGHTSHIFT_NO_OPEN) openInBrowser(urlOnce())
    if (!interrupt.signal.aborted) await once(interrupt.signal, 'abort')
    terminal.note(said.stopping)
  } finally {
    await host.stop()
    interrupt.end()
  }
  terminal.event('done', { ok: true })
  return EXIT.ok
}

/** Where other machines and programs come in, if they may. */
async function tellDoors({ terminal }: Context, { served }: Host) {
  const { serve: said } = terminal.speech.words
  const { 'share.state': share, 'taskDoor.state': tasks, 'key.list': keys } = served.routers.local
  const doors = [
    { event: 'sharing', state: await share({}), scope: 'comfyui', open: said.sharing, shut: said.notSharing },
    { event: 'tasks', state: await tasks({}), scope: 'run', open: said.tasks, shut: said.noTasks },
  ] as const
  const { rows } = await keys({})
  for (const { event, state, scope, open, shut } of doors) {
    const { on, url, failure } = state
    if (!on) continue
    terminal.event(event, { url, failure: failure as never })
    if (failure) terminal.note(shut, { reason: terminal.speech.failure(failure).message })
    else if (!terminal.json) terminal.say(open, { url: url ?? '' })
    const held = rows.some(({ revokedAt, scopes }) => revokedAt === null && scopes.includes(scope))
    if (!failure && !held) terminal.note(scope === 'run' ? said.noTaskKeys : said.noKeys)
  }
}

/** From the sources the pages may not have been built yet; the bundler is there then. */
async function buildPages({ terminal }: Context) {
  if (existsSync(path.join(rendererDir(), 'index.html'))) return
  const { serve: said } = terminal.speech.words
  const root = path.resolve(import.meta.dirname, '..')
  const vite = path.join(root, 'node_modules', 'vite', 'bin', 'vite.js')
  if (!existsSync(vite) || !existsSync(path.join(root, 'renderer'))) return terminal.note(said.notBuilt)
  terminal.note(said.building)
  const config = path.join(root, 'vite.config.ts')
  const build = spawn(process.execPath, [vite, 'build', '--config', config, '--logLevel', 'error'], {
    cwd: root,
    stdio: ['ignore', 2, 2],
  })
  const [code] = await once(build, 'exit')
  if (code !== 0) terminal.note(said.notBuilt)
}

function openInBrowser(url: string) {
  const [command, args]: [string, string[]] =
    process.platform === 'win32'
      ? ['rundll32', ['url.dll,FileProtocolHandler', url]]
      : [process.platform === 'darwin' ? 'open' : 'xdg-open', [url]]
  const opener = spawn(command, args, { stdio: 'ignore', detached: true })
  opener.on('error', () => {}) // the address was printed
  opener.unref()
}
