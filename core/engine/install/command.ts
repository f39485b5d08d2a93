import { spawn } from 'node:child_process'
import { appendFile } from 'node:fs/promises'
import { hideSecrets } from '../log.ts'

export interface CommandOptions {
  readonly cwd?: string
  readonly env: NodeJS.ProcessEnv
  readonly signal?: AbortSignal
  /** Where all it says is kept. */
  readonly log: string
  readonly onLine?: (line: string) => void
}
/** What a command ended with; `lines` are its last. */
export class CommandFailed extends Error {
  readonly lines: readonly string[]
  constructor(command: string, how: string, lines: readonly string[]) {
    const said = lines.findLast((line) => /\S/.test(line))?.trim()
    super(`${command.split(/[\\/]/).at(-1)}: ${said ?? how}`)
    this.name = 'CommandFailed'
    this.lines = lines
  }
}

const LAST_LINES = 200
const LONGEST_LINE = 2_000

/** Runs a command to its end and gives what it printed. Aborting ends it and all it started. */
export async function runCommand(command: string, args: readonly string[], options: CommandOptions): Promise<string> {
  const { cwd, env, signal, log, onLine } = options
  signal?.throwIfAborted()
  const note = (text: string) => appendFile(log, hideSecrets(text)).catch(() => {})
  await note(`\n$ ${[command, ...args].map(withoutUser).join(' ')}\n`)
  const posix = process.platform !== 'win32'
  const child = spawn(command, args, {
    cwd,
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: posix,
    windowsHide: true,
  })
  const lines: string[] = []
  let out = ''
  for (const stream of [child.stdout, child.stderr]) {
    let rest = ''
    stream.setEncoding('utf8').on('data', (text: string) => {
      if (stream === child.stdout) out += text
      const parts = (rest + text).split(/\r?\n|\r/)
      rest = parts.pop()!.slice(-LONGEST_LINE)
      for (const line of parts) hear(line)
    })
    stream.on('end', () => {
      if (rest !== '') hear(rest)
    })
  }
  const hear = (line: string) => {
    lines.push(line.slice(0, LONGEST_LINE))
    if (lines.length > LAST_LINES) lines.shift()
    void note(`${withoutUser(line)}\n`)
    onLine?.(line)
  }
  const stop = () => {
    const { pid } = child
    if (pid === undefined) return
    try {
      if (posix) process.kill(-pid, 'SIGKILL')
      else spawn('taskkill', ['/F', '/T', '/PID', String(pid)], { stdio: 'ignore', windowsHide: true })
    } catch {} // it was quicker
  }
  signal?.addEventListener('abort', stop)
  try {
    const { promise, resolve } = Promise.withResolvers<string | null>()
    child.on('error', (cause) => resolve(cause.message))
    child.on('close', (code, by) => resolve(code === 0 ? null : `exit code ${code ?? by}`))
    const failed = await promise
    signal?.throwIfAborted()
    if (failed !== null) throw new CommandFailed(command, failed, lines)
    return out
  } finally {
    signal?.removeEventListener('abort', stop)
  }
}

/** Addresses may hold credentials. */
const withoutUser = (text: string) => text.replace(/(:\/\/)[^/\s]*@/g, '$1***@')
