import { EventEmitter } from 'node:events'
import { parseJson, writeJson } from '../../core/contract/json.ts'
import { Settings } from '../../core/contract/settings.ts'
import type { Database } from './database/open.ts'

/** What the person chose; what they never touched, or an older version wrote differently, has its default. */
export class KeptSettings {
  readonly events = new EventEmitter<{ changed: [Settings] }>()
  #database: Database

  constructor(database: Database) {
    this.#database = database
  }

  get(): Settings {
    const rows = this.#database.prepare<[], { key: string; value: string }>('SELECT key, value FROM settings').all()
    const settings: Record<string, unknown> = {}
    for (const { key, value } of rows) {
      const schema = Object.hasOwn(Settings.shape, key) ? Settings.shape[key as keyof Settings] : undefined
      const read = schema?.safeParse(parseJson(value))
      if (read?.success) settings[key] = read.data
    }
    return Settings.parse(settings)
  }

  set(changes: Partial<Settings>): Settings {
    const write = this.#database.prepare(
      'INSERT INTO settings (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value',
    )
    this.#database.transaction(() => {
      for (const [key, value] of Object.entries(changes)) if (value !== undefined) write.run(key, writeJson(value))
    })()
    const settings = this.get()
    this.events.emit('changed', settings)
    return settings
  }
}
