import { type ChildProcess, spawn as spawnProcess } from 'node:child_process'
import { EventEmitter } from 'node:events'
import type { Service } from './service.ts'

type Spawn = (command: string, args: readonly string[]) => ChildProcess
type Deps = {
  /** Whether there is work that may run, and the person wants the machine awake for it. */
  needed: () => boolean
  /** Told, in a sentence, when the system refuses. */
  note: (reason: string) => void
  /** False where the desktop's window does it. */
  holdsItself: boolean
  spawn?: Spawn
  platform?: NodeJS.Platform
}

const LOOK_EVERY_MS = 60_000

/** Keeps the machine awake while there is work; a system that cannot is noted, never an error. */
export class Awake implements Service {
  readonly events = new EventEmitter<{ changed: [on: boolean] }>()
  #deps: Deps
  #on = false
  #holder: ChildProcess | null = null
  #noted = false
  #clock: NodeJS.Timeout | undefined

  constructor(deps: Deps) {
    this.#deps = deps
  }

  get on() {
    return this.#on
  }

  async start() {
    this.look()
    this.#clock = setInterval(() => this.look(), LOOK_EVERY_MS).unref() // an hour that comes near is told by nobody
  }

  async stop() {
    clearInterval(this.#clock)
    this.#set(false)
  }

  /** To be called whenever the answer of `needed` may have changed. */
  look() {
    this.#set(this.#deps.needed())
  }

  #set(on: boolean) {
    if (on === this.#on) return
    this.#on = on
    if (on) this.#hold()
    else this.#letGo()
    this.events.emit('changed', on)
  }

  #hold() {
    const { holdsItself, spawn = spawnQuietly, platform = process.platform, note } = this.#deps
    const command = holdsItself ? holdCommand(platform, process.pid) : null
    if (!command) return
    const holder = spawn(...command)
    this.#holder = holder
    const gaveUp = (reason: string) => {
      if (this.#holder !== holder) return // let go of on purpose
      this.#holder = null
      if (!this.#noted) note(reason)
      this.#noted = true
    }
    holder.on('error', (cause) => gaveUp(cause.message))
    holder.on('exit', (code) => gaveUp(`${command[0]} ended with ${code}`))
  }

  #letGo() {
    const holder = this.#holder
    this.#holder = null
    holder?.kill()
  }
}

const spawnQuietly: Spawn = (command, args) => spawnProcess(command, args, { stdio: ['pipe', 'ignore', 'ignore'] })

/** Commands that hold sleep off until they end; each ends by itself when this process (`pid`) does. */
function holdCommand(platform: NodeJS.Platform, pid: number): [string, string[]] | null {
  if (platform === 'darwin') return ['caffeinate', ['-i', '-w', String(pid)]]
  if (platform === 'linux')
    // `cat` ends when its input, a pipe of ours, is closed
    return [
      'systemd-inhibit',
      ['--what=sleep:idle', '--who=Nightshift', '--why=A batch is running', '--mode=block', 'cat'],
    ]
  if (platform === 'win32') {
    const awake = '[uint32]"0x80000001"' // ES_CONTINUOUS | ES_SYSTEM_REQUIRED
    const script = `
      $power = Add-Type -Name Power -Namespace Nightshift -PassThru -MemberDefinition '[DllImport("kernel32.dll")] public static extern uint SetThreadExecutionState(uint flags);'
      $null = $power::SetThreadExecutionState(${awake})
      Wait-Process -Id ${pid}`
    return ['powershell', ['-NoProfile', '-NonInteractive', '-Command', script]]
  }
  return null
}
