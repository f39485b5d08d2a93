import { type FSWatcher, watch } from 'node:fs'
import { isModelFile } from '../../core/contract/model-file.ts'
import type { Clock } from './clock.ts'

interface Deps {
  readonly clock: Clock
  /** Something came, went or changed, and it is quiet since. */
  readonly onChange: () => void
  readonly log?: (event: string, facts: object) => void
}

/** After the last word of a file that is being copied. */
const QUIET_MS = 2_000
/** However long something is copied, the rest is seen by then. */
const LATEST_MS = 60_000
/** Where folders cannot be watched, as on many shares. */
const LOOK_EVERY_MS = 15 * 60_000
/** Systems let a process watch so many. */
const MOST_FOLDERS = 4_000
const SAYS_SOMETHING = /(?:^extra_model_paths\.ya?ml|\.(?:png|jpe?g|webp|gif|avif|json|info))$/i

/** Hears of model files that come and go in folders, and of what lies beside them. */
export class ModelWatch {
  readonly #deps: Deps
  readonly #watched = new Map<string, FSWatcher>()
  #changedAt: number | null = null
  #callOff: (() => void) | null = null
  #next: (() => void) | null = null

  constructor(deps: Deps) {
    this.#deps = deps
  }

  /** These from now on, and no others. */
  follow(dirs: Iterable<string>) {
    const wanted = new Set(dirs)
    for (const [dir, watcher] of this.#watched)
      if (!wanted.has(dir)) {
        this.#watched.delete(dir)
        watcher.close()
      }
    let blind = 0
    for (const dir of wanted) if (!this.#watched.has(dir) && !this.#begin(dir)) blind += 1
    this.#next?.()
    this.#next = null
    if (blind > 0) this.#next = this.#deps.clock.after(LOOK_EVERY_MS, this.#tell)
  }

  /** This one too, until the next `follow`. */
  also(dir: string) {
    if (!this.#watched.has(dir)) this.#begin(dir)
  }

  close() {
    this.follow([])
    this.#callOff?.()
    this.#callOff = null
    this.#changedAt = null
  }

  #begin(dir: string): boolean {
    if (this.#watched.size >= MOST_FOLDERS) return false
    try {
      const watcher = watch(dir, { persistent: false }, (_, name) => this.#hear(name))
      watcher.on('error', () => {
        // it went, or its disk did
        watcher.close()
        if (this.#watched.get(dir) === watcher) this.#watched.delete(dir)
        this.#hear(null)
      })
      this.#watched.set(dir, watcher)
      return true
    } catch (cause) {
      const { code } = cause as NodeJS.ErrnoException
      if (code === 'ENOENT') return true // its coming is seen in the folder above
      this.#deps.log?.('models.not-watched', { code: code ?? String(cause) })
      return false
    }
  }

  #hear(name: string | null) {
    // a name without an ending may be a folder
    if (name !== null && !isModelFile(name) && !SAYS_SOMETHING.test(name) && /.\.[^.]+$/.test(name)) return
    const { clock } = this.#deps
    const now = clock.now()
    this.#changedAt ??= now
    if (this.#callOff !== null && now - this.#changedAt > LATEST_MS - QUIET_MS) return
    this.#callOff?.()
    this.#callOff = clock.after(QUIET_MS, this.#tell)
  }

  readonly #tell = () => {
    this.#callOff = null
    this.#changedAt = null
    this.#deps.onChange()
  }
}
