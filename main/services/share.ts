import type { ShareSettings } from '../../core/contract/key.ts'
import { type Place, ShareDoor } from '../../core/gateway/share.ts'
import type { Clock } from './clock.ts'
import { Doorway } from './doorway.ts'
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
  readonly #deps: Deps
  readonly #doorway: Doorway<ShareSettings>
  #door: ShareDoor | null = null

  constructor(deps: Deps) {
    this.#deps = deps
    const { settings, given, log } = deps
    const open = (wanted: ShareSettings) => this.#open(wanted)
    this.#doorway = new Doorway({ name: 'share', settings, wanted: () => settings.get().share, given, open, log })
  }

  get events() {
    return this.#doorway.events
  }

  async start() {
    this.#deps.keys.events.on('revoked', this.#drop)
    await this.#doorway.start()
  }

  async stop() {
    this.#deps.keys.events.off('revoked', this.#drop)
    await this.#doorway.stop()
  }

  /** Once what the settings say is so, or has failed. */
  settled() {
    return this.#doorway.settled()
  }

  async state() {
    const places = this.#places().map(({ id, address }) => ({ id, ready: address !== null }))
    return { ...(await this.#doorway.state()), places }
  }

  async #open({ host, port, names }: ShareSettings) {
    const { keys, clock, log } = this.#deps
    const enter = (token: string) => keys.enter(token, 'comfyui')
    const door = new ShareDoor({ host, port, names, places: () => this.#places(), enter, now: clock.now, log })
    await door.start()
    this.#door = door
    return door
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
