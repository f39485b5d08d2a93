import Sqlite, { type Database } from 'better-sqlite3'
import { migrate } from './migrate.ts'
import { migrations } from './migrations/index.ts'

export type { Database } from 'better-sqlite3'

/**
 * Opens the database, up to date. `synchronous = FULL`: a commit is on the disk before it returns, since a prompt is
 * sent to another machine right after its row is written, and a power cut here must not make it run twice there.
 * @throws AppError 'database.newer-than-app'
 */
export function openDatabase(file: string): Database {
  const database = new Sqlite(file)
  try {
    database.pragma('busy_timeout = 5000')
    database.pragma('journal_mode = WAL')
    database.pragma('synchronous = FULL')
    database.pragma('foreign_keys = ON')
    database.pragma('cache_size = -65536')
    database.pragma('temp_store = MEMORY')
    migrate(database, migrations)
  } catch (cause) {
    database.close()
    throw cause
  }
  return database
}
