import { AppError } from '../../core/contract/errors.ts'
import type { TaskDoorSettings } from '../../core/contract/key.ts'
import type { ComfyAddress } from '../../core/engine/comfy/address.ts'
import type { Caller } from '../../core/gateway/callers.ts'
import { FcDoor } from '../../core/gateway/fc/door.ts'
import { ComfyRunner } from '../../core/gateway/fc/runner.ts'
import type { TaskStore } from '../../core/gateway/fc/tasks.ts'
import { isLoopback } from '../../core/gateway/guard.ts'
import type { Clock } from './clock.ts'
import { Doorway } from './doorway.ts'
import type { Keys } from './keys.ts'
import type { Service } from './service.ts'
import type { KeptSettings } from './settings.ts'
import type { Fleet } from './workers/fleet.ts'

interface Deps {
  readonly settings: KeptSettings
  readonly keys: Keys
  readonly fleet: Pick<Fleet, 'list' | 'addressOf' | 'events'>
  readonly store: TaskStore
  readonly clock: Clock
  /** For this run only, whatever the settings say. */
  readonly given?: { host: string; port: number }
  readonly log?: (event: string, facts: object) => void
}

/** Who comes from this machine may have its programs told. */
const LOCAL = ['127.0.0.1', 'localhost', '[::1]']
const GRACE_MS = 2_000 // what has not ended by then is taken up at the next start

/** Workflows that other programs send, run on the ComfyUIs there are here; off unless the person says so. */
export class TaskDoor implements Service {
  readonly #deps: Deps
  readonly #doorway: Doorway<TaskDoorSettings>
  #runner: ComfyRunner | null = null

  constructor(deps: Deps) {
    this.#deps = deps
    const { settings, given, log } = deps
    const open = (wanted: TaskDoorSettings) => this.#open(wanted)
    this.#doorway = new Doorway({
      name: 'task-door',
      settings,
      wanted: () => settings.get().taskDoor,
      given,
      open,
      log,
    })
  }

  get events() {
    return this.#doorway.events
  }

  async start() {
    this.#deps.fleet.events.on('changed', this.#look)
    await this.#doorway.start()
  }

  async stop() {
    this.#deps.fleet.events.off('changed', this.#look)
    await this.#doorway.stop()
  }

  /** Once what the settings say is so, or has failed. */
  settled() {
    return this.#doorway.settled()
  }

  async state() {
    const { running, waiting } = this.#runner?.counts ?? { running: 0, waiting: 0 }
    return { ...(await this.#doorway.state()), places: this.#ready().map(({ id }) => id), running, waiting }
  }

  #look = () => this.#runner?.look()

  async #open({ host, port, names, origins }: TaskDoorSettings) {
    const { keys, store, clock, log } = this.#deps
    const { now } = clock
    const runner = new ComfyRunner({ places: (release) => (release === null ? this.#places() : []), store, now, log })
    const enter = (token: string): Caller | null => {
      const key = keys.enter(token, 'run')
      return key && { id: key.id, scopes: ['run'] }
    }
    const address = () => {
      const [first] = this.#places()
      if (!first) throw new AppError('agent.not-ready', { reason: 'no ComfyUI is running' })
      return first
    }
    const ready = async () => (this.#places().length > 0 ? null : { phase: 'no-comfyui' })
    const once = (mark: string) => store.mark(mark, 'once')
    const callers = { enter }
    const door = new FcDoor({
      host,
      port,
      names,
      origins,
      callers,
      once,
      runner,
      store,
      address,
      ready,
      now,
      log,
      own: true,
      webhookHosts: isLoopback(host) ? LOCAL : [],
    })
    await door.start()
    await runner.start()
    this.#runner = runner
    return {
      url: door.url,
      stop: async () => {
        this.#runner = null
        door.close()
        await runner.stop(GRACE_MS)
        await door.stop()
      },
    }
  }

  #places(): ComfyAddress[] {
    return this.#ready().map(({ id }) => this.#deps.fleet.addressOf(id))
  }

  /** Real ones; the embedded rehearsal where there is nothing else. Endpoints have doors of their own. */
  #ready() {
    const all = this.#deps.fleet.list().filter(({ health, kind }) => health.is === 'ready' && kind !== 'endpoint')
    const real = all.filter(({ kind }) => kind !== 'rehearsal')
    return real.length > 0 ? real : all
  }
}
