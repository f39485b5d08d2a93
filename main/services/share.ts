import { EventEmitter } from 'node:events'
import { type Failure, toFailure } from '../../core/contract/errors.ts'
import type { ShareSettings } from '../../core/contract/key.ts'
import { type Place, ShareDoor } from '../../core/gateway/share.ts'
import type { Clock } from './clock.ts'
import type { Keys } from './keys.ts'
import type { Service } from './service.ts'
import type { KeptSettings } from './settings.ts'
import type { Fleet } from './workers/fleet.ts'

interface Deps {
  readonly settings: KeptSettings
  readonly keys: Keys
  readonly fleet: Pick<Fleet, 'list' | 'addressOf'>
  readonly clock: Clock
  /** For this run only, whatever the settings say. */
  readonly given?: { host: string; port: number }
  readonly log?: (event: string, facts: object) => void
}

/** The ComfyUIs that run here, for other machines; off unless the person says so. */
export class Share implements Service {
  readonly events = new EventEmitter<{ changed: [] }>()
  readonly #deps: Deps
  #door: ShareDoor | null = null
  /** What the door was opened for. */
  #opened: ShareSettings | null = null
  #failure: Failure | null = null
  #applying: Promise<void> = Promise.resolve()
  #running = false

  constructor(deps: Deps) {
    this.#deps = deps
  }

  async start() {
    if (this.#running) return
    this.#running = true
    const { settings, keys } = this.#deps
    settings.events.on('changed', this.#apply)
    keys.events.on('revoked', this.#drop)
    await this.settled()
  }

  async stop() {
    if (!this.#running) return
    this.#running = false
    const { settings, keys } = this.#deps
    settings.events.off('changed', this.#apply)
    keys.events.off('revoked', this.#drop)
    await this.settled()
  }

  /** Once what the settings say is so, or has failed. */
  async settled() {
    this.#apply()
    await this.#applying
  }

  async state() {
    await this.#applying
    const { given } = this.#deps
    return {
      ...this.#wanted(),
      url: this.#door?.url ?? null,
      given: given !== undefined,
      failure: this.#failure,
      places: this.#places().map(({ id, address }) => ({ id, ready: address !== null })),
    }
  }

  // ---- inside ----

  #wanted(): ShareSettings {
    const { settings, given } = this.#deps
    const { share } = settings.get()
    return given ? { ...share, ...given, on: true } : share
  }

  #apply = () => {
    this.#applying = this.#applying.then(async () => {
      const wanted = this.#running ? this.#wanted() : null
      const same = JSON.stringify(wanted) === JSON.stringify(this.#opened)
      if (same && this.#failure === null) return
      await this.#door?.stop()
      this.#door = null
      this.#failure = null
      this.#opened = wanted
      if (wanted?.on) await this.#open(wanted)
      this.events.emit('changed')
    })
  }

  async #open({ host, port, names }: ShareSettings) {
    const { keys, clock, log } = this.#deps
    const enter = (token: string) => keys.enter(token, 'comfyui')
    const door = new ShareDoor({ host, port, names, places: () => this.#places(), enter, now: clock.now, log })
    try {
      await door.start()
      this.#door = door
      log?.('share.open', { url: door.url })
    } catch (cause) {
      this.#failure = toFailure(cause)
      log?.('share.not-open', { code: this.#failure.code })
    }
  }

  #drop = (key: string) => this.#door?.drop(key)

  /** Only those that run here: what others share with us is theirs to share. */
  #places(): Place[] {
    const { fleet } = this.#deps
    return fleet
      .list()
      .filter(({ kind }) => kind === 'local')
      .map(({ id, health }) => ({
        id,
        device: health.is === 'ready' ? (health.devices[0]?.name ?? null) : null,
        address: health.is === 'ready' ? fleet.addressOf(id) : null,
      }))
  }
}
