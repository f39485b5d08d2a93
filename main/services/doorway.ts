import { EventEmitter } from 'node:events'
import { type Failure, toFailure } from '../../core/contract/errors.ts'
import type { Service } from './service.ts'
import type { KeptSettings } from './settings.ts'

export interface Door {
  /** Where others reach it. */
  readonly url: string
  stop(): Promise<void>
}
interface Wanted {
  readonly on: boolean
  readonly host: string
  readonly port: number
}
interface Options<S extends Wanted> {
  readonly name: string
  readonly settings: KeptSettings
  readonly wanted: () => S
  /** For this run only, whatever the settings say. */
  readonly given: { host: string; port: number } | undefined
  /** Gives what listens already. */
  readonly open: (settings: S) => Promise<Door>
  readonly log?: ((event: string, facts: object) => void) | undefined
}

/** A door that is open while the settings say so, and as they say. */
export class Doorway<S extends Wanted> implements Service {
  readonly events = new EventEmitter<{ changed: [] }>()
  readonly #options: Options<S>
  #door: Door | null = null
  /** What the door was opened for. */
  #opened: S | null = null
  #failure: Failure | null = null
  #applying: Promise<void> = Promise.resolve()
  #running = false

  constructor(options: Options<S>) {
    this.#options = options
  }

  async start() {
    if (this.#running) return
    this.#running = true
    this.#options.settings.events.on('changed', this.#apply)
    await this.settled()
  }

  async stop() {
    if (!this.#running) return
    this.#running = false
    this.#options.settings.events.off('changed', this.#apply)
    await this.settled()
  }

  /** Once what the settings say is so, or has failed. */
  async settled() {
    this.#apply()
    await this.#applying
  }

  async state() {
    await this.#applying
    const { given } = this.#options
    return { ...this.#wanted(), url: this.#door?.url ?? null, given: given !== undefined, failure: this.#failure }
  }

  #wanted(): S {
    const { wanted, given } = this.#options
    return given ? { ...wanted(), ...given, on: true } : wanted()
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

  async #open(settings: S) {
    const { name, open, log } = this.#options
    try {
      this.#door = await open(settings)
      log?.(`${name}.open`, { url: this.#door.url })
    } catch (cause) {
      this.#failure = toFailure(cause)
      log?.(`${name}.not-open`, { code: this.#failure.code })
    }
  }
}
